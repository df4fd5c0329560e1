//! Which streams with which validators are up: written by the stream tasks, watched by everybody else.

use std::collections::BTreeMap;

use quorate_crypto::PublicKey;
use tokio::sync::watch;

use crate::metrics::{Direction, Metrics};

/// The streams with one validator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    /// Two for a moment, while a newer stream takes an older one's place.
    inbound: usize,
    outbound: usize,
    /// How often both directions came up: tells a stream that went down and up from one that stayed.
    generation: u64,
}

impl Streams {
    pub(crate) fn inbound(&self) -> bool {
        self.inbound > 0
    }

    pub(crate) fn outbound(&self) -> bool {
        self.outbound > 0
    }

    /// The generation, if both directions are up.
    pub(crate) fn connected(&self) -> Option<u64> {
        (self.inbound() && self.outbound()).then_some(self.generation)
    }
}

pub(crate) type Streamed = BTreeMap<PublicKey, Streams>;

/// The board on which streams are marked up and down.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    board: watch::Sender<Streamed>,
    metrics: Metrics,
}

impl Status {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { board: watch::Sender::new(Streamed::new()), metrics }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Streamed> {
        self.board.subscribe()
    }

    pub(crate) fn read(&self, validator: &PublicKey) -> Streams {
        self.board.borrow().get(validator).copied().unwrap_or_default()
    }

    pub(crate) fn connected(&self) -> Vec<PublicKey> {
        let up = |(validator, streams): (&PublicKey, &Streams)| streams.connected().map(|_| *validator);
        self.board.borrow().iter().filter_map(up).collect()
    }

    /// Forgets validators without a stream that left the set; those with one go when it ends.
    pub(crate) fn forget(&self, validator: &PublicKey) {
        self.board.send_modify(|board| {
            if board.get(validator).is_some_and(|streams| !streams.inbound() && !streams.outbound()) {
                board.remove(validator);
            }
        });
    }

    /// Marks a stream up until the mark is dropped, which happens even if its task is aborted.
    pub(crate) fn up(&self, validator: PublicKey, direction: Direction) -> Mark {
        self.change(validator, direction, |count| *count += 1);
        self.metrics.streams_up(direction, 1);
        Mark { status: self.clone(), validator, direction }
    }

    fn change(&self, validator: PublicKey, direction: Direction, change: impl FnOnce(&mut usize)) {
        self.board.send_modify(|board| {
            let streams = board.entry(validator).or_default();
            let before = streams.connected();
            change(match direction {
                Direction::Inbound => &mut streams.inbound,
                Direction::Outbound => &mut streams.outbound,
            });
            if before.is_none() && streams.connected().is_some() {
                streams.generation += 1;
            }
        });
        self.metrics.validators_connected(self.connected().len());
    }
}

/// A stream that is up.
#[derive(Debug)]
pub(crate) struct Mark {
    status: Status,
    validator: PublicKey,
    direction: Direction,
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.status.change(self.validator, self.direction, |count| *count -= 1);
        self.status.metrics.streams_up(self.direction, -1);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn validator_is_connected_while_both_directions_are_up() {
        let status = Status::new(Metrics::new(&mut Registry::default()));
        let key = PublicKey::from_bytes([1; 32]);
        let outbound = status.up(key, Direction::Outbound);
        assert!(status.connected().is_empty());
        let inbound = status.up(key, Direction::Inbound);
        assert_eq!(status.connected(), [key]);
        let first = status.read(&key).connected();

        let newer = status.up(key, Direction::Inbound);
        drop(inbound);
        assert_eq!(status.read(&key).connected(), first, "replacing a stream is no interruption");

        drop(newer);
        assert!(status.connected().is_empty());
        status.forget(&key);
        assert!(status.read(&key).outbound(), "a validator with a stream is not forgotten");

        let again = status.up(key, Direction::Inbound);
        assert_ne!(status.read(&key).connected(), first, "an interruption is told from none");
        drop((outbound, again));
        status.forget(&key);
        assert_eq!(status.read(&key), Streams::default());
    }
}
