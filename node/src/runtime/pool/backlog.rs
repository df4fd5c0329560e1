//! When consensus is told what waits.
//!
//! The first transaction after none is told at once, and so is whatever changes a decision: a full block, a transaction
//! that became eligible. The rest is told at most once in [`PAUSE_MS`], so that ten thousand submissions a second are not
//! ten thousand events. After a block was built the engine always gets a fresh word.

use quorate_consensus::{Backlog, Mono};
use quorate_ledger::Parameters;

/// Shortest time between two words that change no decision.
const PAUSE_MS: u64 = 1;
/// How long nothing is said to wait after a block came out empty although something did: what waits is unfit for now
/// (a clock was set back), and asking again at once would only spin.
const EMPTY_PAUSE_MS: u64 = 20;

/// What was last told, and when the next word is due.
#[derive(Debug)]
pub(super) struct BacklogReport {
    last: Backlog,
    last_at: Option<Mono>,
    next: Option<Mono>,
    fresh: bool,
    mute_until: Option<Mono>,
}

impl BacklogReport {
    pub(super) fn new() -> Self {
        Self { last: Backlog::default(), last_at: None, next: None, fresh: false, mute_until: None }
    }

    /// A block was built: the engine waits for a word.
    pub(super) fn built(&mut self, now: Mono, empty: bool) {
        self.fresh = true;
        self.mute_until = empty.then(|| now.plus_millis(EMPTY_PAUSE_MS));
    }

    /// When to ask again with what waits then.
    pub(super) fn next(&self) -> Option<Mono> {
        self.next
    }

    /// What to tell now, given what waits.
    pub(super) fn due(&mut self, now: Mono, backlog: Backlog, parameters: &Parameters) -> Option<Backlog> {
        let backlog = match self.mute_until {
            Some(until) if until > now && backlog.count > 0 => {
                self.next = Some(until);
                Backlog::default()
            }
            Some(_) | None => {
                self.mute_until = None;
                self.next = None;
                backlog
            }
        };
        if backlog == self.last && !self.fresh {
            return None;
        }
        let pause_ends = self.last_at.map_or(now, |at| at.plus_millis(PAUSE_MS));
        if !self.fresh && !self.decides(&backlog, parameters) && pause_ends > now {
            self.next = Some(self.next.map_or(pause_ends, |next| next.min(pause_ends)));
            return None;
        }
        self.last = backlog;
        self.last_at = Some(now);
        self.fresh = false;
        Some(backlog)
    }

    fn decides(&self, backlog: &Backlog, parameters: &Parameters) -> bool {
        let full = |backlog: &Backlog| {
            backlog.count >= u64::from(parameters.block_transactions_max)
                || backlog.bytes >= u64::from(parameters.block_bytes_max)
        };
        (self.last.count == 0) != (backlog.count == 0)
            || self.last.eligible != backlog.eligible
            || full(&self.last) != full(backlog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(count: u64) -> Backlog {
        Backlog { count, bytes: count * 100, oldest: (count > 0).then_some(Mono(1)), eligible: None }
    }

    const fn millis(millis: u64) -> Mono {
        Mono(millis * 1_000_000)
    }

    #[test]
    fn the_first_is_told_at_once_and_more_of_the_same_after_a_pause() {
        let parameters = Parameters::default();
        let mut report = BacklogReport::new();
        assert_eq!(report.due(millis(10), waiting(1), &parameters), Some(waiting(1)));
        assert_eq!(report.due(millis(10), waiting(2), &parameters), None);
        assert_eq!(report.next(), Some(millis(11)));
        assert_eq!(report.due(millis(11), waiting(3), &parameters), Some(waiting(3)));
        assert_eq!(report.due(millis(20), waiting(3), &parameters), None, "nothing has changed");
        assert_eq!(report.next(), None);
    }

    #[test]
    fn what_changes_a_decision_is_told_at_once() {
        let parameters = Parameters::default();
        let mut report = BacklogReport::new();
        let full = waiting(u64::from(parameters.block_transactions_max));
        report.due(millis(1), waiting(1), &parameters);
        assert_eq!(report.due(millis(1), full, &parameters), Some(full));
        let eligible = Backlog { eligible: Some(millis(1)), ..full };
        assert_eq!(report.due(millis(1), eligible, &parameters), Some(eligible));
        assert_eq!(report.due(millis(1), waiting(0), &parameters), Some(waiting(0)));
    }

    #[test]
    fn after_a_block_the_engine_hears_even_the_same_again() {
        let parameters = Parameters::default();
        let mut report = BacklogReport::new();
        report.due(millis(1), waiting(5), &parameters);
        report.built(millis(1), false);
        assert_eq!(report.due(millis(1), waiting(5), &parameters), Some(waiting(5)));
    }

    #[test]
    fn an_empty_block_of_a_filled_pool_is_not_asked_for_at_once_again() {
        let parameters = Parameters::default();
        let mut report = BacklogReport::new();
        report.due(millis(1), waiting(5), &parameters);
        report.built(millis(1), true);
        assert_eq!(report.due(millis(1), waiting(5), &parameters), Some(Backlog::default()));
        let again = millis(1 + EMPTY_PAUSE_MS);
        assert_eq!(report.next(), Some(again));
        assert_eq!(report.due(again, waiting(5), &parameters), Some(waiting(5)));
    }
}
