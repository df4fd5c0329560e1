//! What a node holds on to is bounded by parameters, whatever others send.

use quorate_ledger::Parameters;

use super::Violation;
use crate::process::Sizes;

/// How many views of one height an engine may keep votes and blocks of.
const VIEWS_KEPT: u64 = 24;
/// Events that may wait for one turn: a turn comes every few microseconds of a node that is not held up.
const INBOX_MAX: usize = 100_000;

/// Judges the sizes of one node.
pub(crate) fn bounded(
    node: usize,
    sizes: &Sizes,
    parameters: &Parameters,
    transactions: usize,
) -> Result<(), Violation> {
    let window = u64::from(parameters.window);
    let heights = 3 * window + 1;
    // Each round holds a block, two votes and a certificate; checkpoints, promise, view and mark come on top.
    let records = heights * VIEWS_KEPT * 4 + u64::from(parameters.log_window) + 4;
    let limits = [
        ("events in the inbox", sizes.inbox, INBOX_MAX as u64),
        ("records that matter", sizes.records, records),
        ("accepted blocks", sizes.accepted, heights * VIEWS_KEPT),
        ("proposals that wait for bodies", sizes.bodies, heights * VIEWS_KEPT),
        ("transactions that wait", sizes.pool, transactions as u64),
    ];
    match limits.iter().find(|(_, size, limit)| *size as u64 > *limit) {
        None => Ok(()),
        Some((what, size, limit)) => {
            let detail = format!("n{node} holds {size} {what}, {limit} are the most");
            Err(Violation::new("what a node holds is bounded", detail))
        }
    }
}
