//! What a node holds on to is bounded by parameters, whatever others send.

use quorate_ledger::Parameters;

use super::Violation;
use crate::log::COMPACT_RECORDS;
use crate::process::Sizes;

/// How many views of one height an engine may keep votes and blocks of: all of the newest 16
/// (`docs/pbft.md` §3.4), and the little that it keeps of others as if it were 8 more.
const VIEWS_KEPT: u64 = 24;
/// Events that may wait for one turn: a turn comes every few microseconds of a node that is not held up.
const INBOX_MAX: usize = 100_000;

/// The largest of the parameters that bound something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    window: u64,
    log_window: u64,
}

impl Most {
    pub(crate) fn of<'a>(all: impl Iterator<Item = &'a Parameters>) -> Self {
        all.fold(Self { window: 0, log_window: 0 }, |most, parameters| Self {
            window: most.window.max(u64::from(parameters.window)),
            log_window: most.log_window.max(u64::from(parameters.log_window)),
        })
    }
}

/// Judges the sizes of one node.
pub(crate) fn bounded(node: usize, sizes: &Sizes, most: Most, transactions: usize) -> Result<(), Violation> {
    let heights = 3 * most.window + 1;
    // Each round holds a block, two votes and a certificate; checkpoints, promise, view and mark come on top.
    let records = heights * VIEWS_KEPT * 4 + most.log_window + 4;
    let limits = [
        ("events in the inbox", sizes.inbox, INBOX_MAX as u64),
        // Of the current instance, and of the one that closes.
        ("records that matter", sizes.records, 2 * records),
        // It is made smaller at twice what mattered then, and one more batch came before that was seen.
        ("records in the log", sizes.log, COMPACT_RECORDS as u64 + 5 * records),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_holds_more_of_anything_is_caught() {
        let parameters = Parameters { window: 1, log_window: 2, ..Parameters::default() };
        let most = Most::of(std::iter::once(&parameters));
        // Three heights above the lowest, of 24 views each; 4 records a round, and 2 + 4 that come on top.
        let (blocks, records) = (4 * 24, 4 * 24 * 4 + 6);
        let log = 256 + 5 * records;
        let limits =
            Sizes { inbox: 100_000, log, records: 2 * records, accepted: blocks, bodies: blocks, pool: 7 };
        assert!(bounded(0, &limits, most, 7).is_ok());
        let more: [fn(&mut Sizes); 6] = [
            |it| it.inbox += 1,
            |it| it.log += 1,
            |it| it.records += 1,
            |it| it.accepted += 1,
            |it| it.bodies += 1,
            |it| it.pool += 1,
        ];
        for grow in more {
            let mut sizes = limits;
            grow(&mut sizes);
            assert!(bounded(0, &sizes, most, 7).is_err(), "{sizes:?}");
        }
    }
}
