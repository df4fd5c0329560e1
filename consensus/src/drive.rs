//! One turn of the loop that runs a replica: inputs in, records to disk, actions out.

use std::io;

use quorate_ledger::Epoch;

use crate::{
    engine::{Action, Engine, Input, Log, Now, Output},
    replica::Replica,
};

/// Lets the replica take everything that is ready, writes what it recorded with one sync, and returns what is to be done,
/// each action with the epoch whose validators it names. The log is compacted afterwards when it asks for it and the replica
/// writes to it, since what the replica still needs is known then.
///
/// # Errors
/// The log's. The replica is then ahead of its log and must not be used again: the process has to stop.
pub fn drive<E: Engine>(
    replica: &mut Replica<E>,
    log: &mut impl Log<E::Record>,
    now: Now,
    inputs: impl IntoIterator<Item = Input<E::Message>>,
) -> io::Result<Vec<(Epoch, Action<E::Message>)>> {
    let mut output = Output::new(replica.epoch());
    for input in inputs {
        replica.step(now, input, &mut output);
    }
    let actions = output.commit(log)?;
    if log.wants_compaction() && replica.has_voice() {
        log.compact(&replica.records())?;
    }
    Ok(actions)
}
