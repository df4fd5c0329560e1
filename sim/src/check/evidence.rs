//! Evidence is sound and complete (`docs/pbft.md` §8): never against a correct validator, and always where one that lies
//! told one replica two things.

use std::collections::{BTreeMap, BTreeSet};

use quorate_crypto::Hash;

use super::Violation;
use crate::observe::{Accusation, Slot, Vote};

/// Who heard what of liars, and who accused whom.
#[derive(Debug)]
pub(crate) struct EvidenceCheck {
    liars: Vec<bool>,
    /// By hearer, liar and place: what was heard first.
    heard: BTreeMap<(usize, usize, Slot), Hash>,
    /// Accusations that are still to come.
    owed: BTreeSet<(usize, usize, Slot)>,
    /// Accusations that were made.
    made: BTreeSet<(usize, usize, Slot)>,
    count: u64,
}

impl EvidenceCheck {
    pub(crate) fn new(liars: Vec<bool>) -> Self {
        Self { liars, heard: BTreeMap::new(), owed: BTreeSet::new(), made: BTreeSet::new(), count: 0 }
    }

    /// How many accusations there were.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// A validator's vote log has lost something that was safe: from now on it may be accused.
    pub(crate) fn forgets(&mut self, place: usize) {
        if let Some(liar) = self.liars.get_mut(place) {
            *liar = true;
        }
    }

    /// A node starts: its engine has forgotten what it heard, and what it was going to say.
    pub(crate) fn opened(&mut self, node: usize) {
        self.heard.retain(|(hearer, ..), _| *hearer != node);
        self.owed.retain(|(hearer, ..)| *hearer != node);
        self.made.retain(|(hearer, ..)| *hearer != node);
    }

    /// A node's engine has counted this vote of a liar.
    pub(crate) fn heard(&mut self, node: usize, signer: usize, vote: &Vote) {
        let key = (node, signer, vote.slot);
        let first = *self.heard.entry(key).or_insert(vote.target);
        if first != vote.target && !self.made.contains(&key) {
            self.owed.insert(key);
        }
    }

    /// A node accuses somebody.
    pub(crate) fn accuses(
        &mut self,
        node: usize,
        signer: Option<usize>,
        accusation: &Accusation,
    ) -> Result<(), Violation> {
        let Accusation { slot, kind, holds, .. } = accusation;
        let lies = signer.and_then(|signer| self.liars.get(signer)).copied().unwrap_or_default();
        if !lies || !holds {
            let detail =
                format!("n{node} accuses {signer:?} of {kind} at {slot:?}; it proves itself: {holds}");
            return Err(Violation::new("evidence is only ever against a liar, and proves itself", detail));
        }
        self.count += 1;
        if let (Some(signer), Some(slot)) = (signer, slot) {
            self.owed.remove(&(node, signer, *slot));
            self.made.insert((node, signer, *slot));
        }
        Ok(())
    }

    /// At the end nothing is owed any more.
    pub(crate) fn settled(&self) -> Result<(), Violation> {
        match self.owed.first() {
            None => Ok(()),
            Some((node, liar, slot)) => {
                let detail = format!("n{node} counted two votes of n{liar} at {slot:?} and accused nobody");
                Err(Violation::new("whoever counts two contradicting votes accuses their signer", detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_crypto::PublicKey;
    use quorate_ledger::{Epoch, Height, ValidatorIndex, View};

    use super::*;
    use crate::observe::VoteKind;

    const SLOT: Slot = Slot { kind: VoteKind::Commit, epoch: Epoch(0), view: View(0), height: Height(1) };

    fn vote(target: &[u8]) -> Vote {
        Vote { signer: ValidatorIndex(1), slot: SLOT, target: Hash::of(target) }
    }

    fn accuse(check: &mut EvidenceCheck, signer: Option<usize>, holds: bool) -> Result<(), Violation> {
        let key = PublicKey::from_bytes([1; 32]);
        let accusation = Accusation { signer: key, slot: Some(SLOT), kind: "double_commit", holds };
        check.accuses(0, signer, &accusation)
    }

    fn hear(check: &mut EvidenceCheck, targets: &[&[u8]]) {
        targets.iter().for_each(|target| check.heard(0, 1, &vote(target)));
    }

    #[test]
    fn an_accusation_of_a_correct_validator_is_caught() {
        let mut check = EvidenceCheck::new(vec![false, true]);
        assert!(accuse(&mut check, Some(0), true).is_err());
        assert!(accuse(&mut check, None, true).is_err());
        assert!(accuse(&mut check, Some(1), true).is_ok());
        assert!(accuse(&mut check, Some(1), false).is_err());
    }

    #[test]
    fn two_votes_that_were_counted_are_accused_or_caught() {
        let mut check = EvidenceCheck::new(vec![false, true]);
        hear(&mut check, &[b"a", b"a"]);
        assert!(check.settled().is_ok());
        hear(&mut check, &[b"b"]);
        assert!(check.settled().is_err());
        accuse(&mut check, Some(1), true).expect("sound");
        assert!(check.settled().is_ok());
        hear(&mut check, &[b"c"]);
        assert!(check.settled().is_ok(), "once a place is enough");
    }

    #[test]
    fn a_restart_forgets() {
        let mut check = EvidenceCheck::new(vec![false, true]);
        hear(&mut check, &[b"a", b"b"]);
        check.opened(0);
        assert!(check.settled().is_ok());
    }
}
