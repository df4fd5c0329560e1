//! The monotonic clock of a machine: it never jumps, and runs at a rate of its own, as oscillators do.
//!
//! A process lives by its machine's clocks alone. Everything that it measures (timers, deadlines, patience) is in *local*
//! time; the queue of what happens next is in time of the *world*. The one is made of the other where something reaches a
//! process, and where a process asks to be woken.

use quorate_consensus::Mono;

use crate::random::Random;

/// How far a clock that is in order is off at most, in millionths.
pub(crate) const PPM_MAX: i64 = 1_000;

const MILLION: i128 = 1_000_000;

/// A rate, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monotonic {
    /// The rate of this oscillator when it is in order, in millionths too fast.
    own_ppm: i64,
    ppm: i64,
    /// What the world's time was when the rate last changed, and what this clock showed.
    since: (Mono, Mono),
}

impl Monotonic {
    /// A clock in order.
    pub(crate) fn new(random: &mut Random) -> Self {
        let own_ppm = random.within(&(0..=2 * PPM_MAX.unsigned_abs())) as i64 - PPM_MAX;
        Self { own_ppm, ppm: own_ppm, since: (Mono(0), Mono(0)) }
    }

    /// What it shows at a time of the world.
    pub(crate) fn local(&self, world: Mono) -> Mono {
        let passed = i128::from(world.0.saturating_sub(self.since.0.0));
        self.after(self.since.1, passed * self.rate() / MILLION)
    }

    /// The first time of the world at which it shows this or more.
    pub(crate) fn world(&self, local: Mono) -> Mono {
        let passed = i128::from(local.0.saturating_sub(self.since.1.0));
        self.after(self.since.0, (passed * MILLION + self.rate() - 1) / self.rate())
    }

    /// From this time of the world on it runs at another rate; at its own again, if none is given.
    pub(crate) fn pace(&mut self, world: Mono, ppm: Option<i64>) {
        self.since = (world, self.local(world));
        self.ppm = ppm.unwrap_or(self.own_ppm);
    }

    fn rate(&self) -> i128 {
        MILLION + i128::from(self.ppm)
    }

    fn after(&self, from: Mono, nanos: i128) -> Mono {
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Mono(from.0.saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn a_deadline_is_reached_when_the_world_says_so_and_not_before() {
        for seed in 0..100 {
            let mut random = Random::new(seed, Stream::Node(0));
            let mut clock = Monotonic::new(&mut random);
            let mut last = Mono(0);
            for turn in 0..20u64 {
                let now = Mono(turn * 1_000_000_007);
                clock.pace(now, Some(random.below(100_001) as i64 - 50_000));
                assert!(clock.local(now) >= last, "it never goes back");
                let deadline = Mono(clock.local(now).0 + random.below(1_000_000_000));
                let world = clock.world(deadline);
                assert!(world >= now && clock.local(world) >= deadline);
                assert!(world == now || clock.local(Mono(world.0 - 1)) < deadline);
                last = clock.local(now);
            }
        }
    }

    #[test]
    fn its_rate_is_what_it_is_said_to_be() {
        let mut clock = Monotonic::new(&mut Random::new(1, Stream::Node(0)));
        let own = clock.local(Mono(1_000_000_000));
        assert!((999_000_000..=1_001_000_000).contains(&own.0), "{own:?}");
        clock.pace(Mono(1_000_000_000), Some(50_000));
        assert_eq!(clock.local(Mono(2_000_000_000)).0, own.0 + 1_050_000_000);
        clock.pace(Mono(2_000_000_000), None);
        let passed = clock.local(Mono(3_000_000_000)).0 - clock.local(Mono(2_000_000_000)).0;
        assert!(passed.abs_diff(own.0) <= 1, "its own again");
    }
}
