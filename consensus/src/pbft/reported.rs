//! What was reported of the messages that change views (`docs/pbft.md` §8): a contradiction is reported once. Votes are
//! looked after where they are counted, in [`Tally`](super::tally::Tally).

use std::collections::BTreeMap;

use quorate_ledger::{ValidatorIndex, View};

use super::Pbft;
use crate::{
    engine::{Action, Output},
    evidence::Evidence,
};

/// The view that each validator was last accused for, of each kind of contradiction.
#[derive(Clone, Debug, Default)]
pub(super) struct Reported(BTreeMap<(ValidatorIndex, &'static str), View>);

impl Pbft {
    /// Accuses a validator of what it signed for a view, unless that was reported last.
    pub(super) fn accuse(
        &mut self,
        signer: ValidatorIndex,
        view: View,
        evidence: Evidence,
        out: &mut Output<Self>,
    ) {
        if self.reported.0.insert((signer, evidence.kind()), view) != Some(view) {
            out.act(Action::Accuse { evidence: Box::new(evidence) });
        }
    }
}
