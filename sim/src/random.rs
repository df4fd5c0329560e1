//! All randomness of a run: streams of one generator, so that one number replays everything.
//!
//! Each part draws from its own stream. A part that draws more often than before does not shift what the others draw,
//! which keeps traces of one seed close to each other while the code changes.

use std::ops::RangeInclusive;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Who draws. The numbers are part of what a seed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// What the scenario itself is made of.
    Scenario,
    /// Fate of each packet.
    Network,
    /// What clients do.
    Clients,
    /// What is nobody's own.
    World,
    /// What is approved of, and when.
    Plans,
    /// What operators do.
    Operators,
    /// Who dies where an epoch ends.
    Ends,
    /// Whose monotonic clocks run at what rates, and when.
    Rates,
    /// What happens to marks.
    Marks,
    /// The rate of one machine's monotonic clock.
    Monotonic(usize),
    /// One liar.
    Liar(usize),
    /// One node: its latencies, and what a crash leaves on its disk.
    Node(usize),
}

impl Stream {
    fn number(self) -> u64 {
        match self {
            Stream::Scenario => 0,
            Stream::Network => 1,
            Stream::Clients => 2,
            Stream::World => 3,
            Stream::Plans => 4,
            Stream::Operators => 5,
            Stream::Ends => 6,
            Stream::Rates => 7,
            Stream::Marks => 8,
            Stream::Monotonic(index) => (1 << 32) + index as u64,
            Stream::Node(index) => 16 + 2 * index as u64,
            Stream::Liar(index) => 17 + 2 * index as u64,
        }
    }
}

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(ChaCha12Rng);

impl Random {
    /// The stream that `seed` gives to `stream`.
    pub(crate) fn new(seed: u64, stream: Stream) -> Self {
        let mut generator = ChaCha12Rng::seed_from_u64(seed);
        generator.set_stream(stream.number());
        Self(generator)
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which must not be 0. (Lemire's multiplication; the bias of 2^-64 per value is nothing
    /// to a simulator.)
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        ((u128::from(self.any()) * u128::from(bound)) >> 64) as u64
    }

    /// An index of a list with `length` items.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number in the range.
    pub(crate) fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let width = range.end().checked_sub(*range.start()).expect("ranges are not empty");
        range.start() + self.below(width.saturating_add(1))
    }

    /// True in so many of 1,000 draws.
    pub(crate) fn chance(&mut self, permille: u32) -> bool {
        self.below(1_000) < u64::from(permille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |seed, stream| {
            let mut random = Random::new(seed, stream);
            [random.any(), random.any()]
        };
        assert_eq!(draw(7, Stream::Network), draw(7, Stream::Network));
        assert_ne!(draw(7, Stream::Network), draw(7, Stream::Clients));
        assert_ne!(draw(7, Stream::Network), draw(8, Stream::Network));
    }

    #[test]
    fn ranges_are_reached_at_both_ends_and_never_left() {
        let mut random = Random::new(1, Stream::Scenario);
        let draws: Vec<u64> = (0..200).map(|_| random.within(&(3..=5))).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&3), Some(&5)));
        assert_eq!(random.within(&(9..=9)), 9);
        assert!(!random.chance(0));
        assert!(random.chance(1_000));
    }
}
