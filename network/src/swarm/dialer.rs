//! When to dial whom again. Pure: the time is an argument.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use crate::{backoff::Backoff, limits::DIAL_BACKOFF};

/// Something that is due again and again, each time after a longer pause.
#[derive(Debug)]
pub(crate) struct Due {
    at: Instant,
    backoff: Backoff,
}

impl Due {
    /// Due at once, then after pauses between the two given.
    pub(crate) fn new(pauses: (Duration, Duration), now: Instant) -> Self {
        Self { at: now, backoff: Backoff::new(pauses) }
    }

    /// Whether it is due; if so, the next pause begins.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let due = now >= self.at;
        if due {
            self.at = now + self.backoff.pause();
        }
        due
    }

    /// Starts over with the shortest pause; due no later than after it.
    pub(crate) fn reset(&mut self, now: Instant) {
        self.backoff.reset();
        self.at = self.at.min(now + self.backoff.pause());
    }
}

/// What is dialled: a validator's node, or the bootstrap peer with this index in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dial {
    Validator(PeerId),
    Bootstrap(usize),
}

/// When each of those that are wanted and not connected is dialled next.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    due: HashMap<Dial, Due>,
}

impl Dialer {
    /// Those of `missing` that are due. Those no longer missing are remembered until [`Dialer::retain`], so that a
    /// peer that connects and drops us at once is not dialled without pause.
    pub(crate) fn take(&mut self, missing: impl IntoIterator<Item = Dial>, now: Instant) -> Vec<Dial> {
        missing
            .into_iter()
            .filter(|dial| self.due.entry(*dial).or_insert_with(|| Due::new(DIAL_BACKOFF, now)).take(now))
            .collect()
    }

    /// The connection proved good: if it is lost, the pauses start over.
    pub(crate) fn succeeded(&mut self, dial: Dial, now: Instant) {
        if let Some(due) = self.due.get_mut(&dial) {
            due.reset(now);
        }
    }

    /// Forgets all but the wanted ones.
    pub(crate) fn retain(&mut self, wanted: &HashSet<Dial>) {
        self.due.retain(|dial, _| wanted.contains(dial));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIAL: Dial = Dial::Bootstrap(0);

    /// Longer than the longest pause with its jitter.
    fn long() -> Duration {
        DIAL_BACKOFF.1 * 2
    }

    #[test]
    fn dials_at_once_and_then_after_a_pause() {
        let start = Instant::now();
        let mut dialer = Dialer::default();
        assert_eq!(dialer.take([DIAL], start), [DIAL]);
        assert_eq!(dialer.take([DIAL], start), []);
        assert_eq!(dialer.take([DIAL], start + DIAL_BACKOFF.0 * 3 / 2), [DIAL]);
    }

    #[test]
    fn pauses_grow_until_a_connection_proves_good() {
        let mut now = Instant::now();
        let mut dialer = Dialer::default();
        for _ in 0..10 {
            assert_eq!(dialer.take([DIAL], now), [DIAL]);
            now += long();
        }
        assert_eq!(dialer.take([DIAL], now), [DIAL]);
        assert_eq!(dialer.take([DIAL], now + DIAL_BACKOFF.1 / 3), [], "the pause is long by now");
        dialer.succeeded(DIAL, now);
        assert_eq!(dialer.take([DIAL], now + DIAL_BACKOFF.0 * 3 / 2), [DIAL], "and short again");
    }

    #[test]
    fn forgets_what_is_no_longer_wanted() {
        let now = Instant::now();
        let mut dialer = Dialer::default();
        let gone = Dial::Validator(PeerId::random());
        dialer.take([DIAL, gone], now);
        dialer.retain(&HashSet::from([DIAL]));
        assert_eq!(dialer.due.len(), 1);
    }
}
