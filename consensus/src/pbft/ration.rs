//! How often a validator is given what it may ask for at any time (`docs/pbft.md` §5, §6).
//!
//! A question is small and its answer may be large. Whoever is correct asks once in a `resend`; a liar may ask in a loop, and
//! is answered twice in that time at most. So it is with what costs a look at a signature here, on the one thread that
//! decides.

use std::collections::BTreeMap;

use quorate_ledger::ValidatorIndex;

use crate::engine::{Mono, Now};

/// When each validator was last given one kind of answer: as many entries as there are validators.
#[derive(Clone, Debug, Default)]
pub(super) struct Ration(BTreeMap<ValidatorIndex, Mono>);

impl Ration {
    /// Whether this validator is answered now: not within half the time in which it asks again. Half, so that it is answered
    /// each time although its clock and the network do not keep time.
    pub(super) fn grant(&mut self, to: ValidatorIndex, now: Now, resend_ms: u64) -> bool {
        let due = self.0.get(&to).is_none_or(|last| last.plus_millis(resend_ms / 2) <= now.mono);
        if due {
            self.0.insert(to, now.mono);
        }
        due
    }
}
