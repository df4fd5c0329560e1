//! Exponential back-off with jitter, so that many nodes that lost the same peer do not return in step.

use std::time::Duration;

/// Pauses that double from the first to the longest, each off by up to a half either way.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new((first, longest): (Duration, Duration)) -> Self {
        assert!(first <= longest, "the first pause is not longer than the longest");
        Self { first, longest, next: first }
    }

    /// The pause before the next attempt: between half and one and a half of the current step.
    pub(crate) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.longest);
        // Without randomness (which does not happen on a running system) the pause is merely not jittered.
        let random = getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX));
        step.mul_f64(0.5 + random)
    }

    /// Starts over, after success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over() {
        let step = Duration::from_millis(100);
        let mut backoff = Backoff::new((step, step * 4));
        for factor in [1, 2, 4, 4] {
            let pause = backoff.pause();
            let expected = step * factor;
            assert!(pause >= expected / 2 && pause <= expected * 3 / 2, "{pause:?} for {expected:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= step * 3 / 2);
    }
}
