//! One turn of the loop that runs an engine: events in, records to disk, actions out.

use std::io;

use crate::engine::{Action, Engine, Event, Log, Now, Output};

/// Lets the engine take every event that is ready, writes what it recorded with one sync, and returns what is to be
/// done. The log is compacted afterwards when it asks for it, since what the engine still needs is known then.
///
/// # Errors
/// The log's. The engine is then ahead of its log and must not be used again: the process has to stop.
pub fn drive<E: Engine>(
    engine: &mut E,
    log: &mut impl Log<E::Record>,
    now: Now,
    events: impl IntoIterator<Item = Event<E::Message>>,
) -> io::Result<Vec<Action<E::Message>>> {
    let mut output = Output::default();
    for event in events {
        engine.step(now, event, &mut output);
    }
    let actions = output.commit(log)?;
    if log.wants_compaction() {
        log.compact(&engine.records())?;
    }
    Ok(actions)
}
