//! Evidence is sound and complete (`docs/pbft.md` §8): never against a correct validator, and always where one that lies
//! told one replica two things that this counted, or began a view with other blocks than its claims lead to. Of the other ways
//! in which a NEW-VIEW is false by itself (§4.3) it is not held that they are found, only that who is accused of one lies.

use std::collections::{BTreeMap, BTreeSet};

use quorate_crypto::Hash;
use quorate_ledger::{Epoch, View};

use super::Violation;
use crate::effect::Heard;
use crate::observe::{Accusation, Slot, Vote, VoteKind};

/// Who hears or accuses, and who lies.
type Pair = (usize, usize);

/// Who heard what of liars, and who accused whom.
#[derive(Debug, Default)]
pub(crate) struct EvidenceCheck {
    /// By hearer, liar and place: what was heard first.
    heard: BTreeMap<(usize, usize, Slot), Hash>,
    /// By hearer and liar: the highest view that it may know of to be asked for, and the first request that it surely
    /// counted for that one.
    asked: BTreeMap<(Pair, Epoch), (View, Option<Hash>)>,
    /// By hearer and liar: the highest view whose start may have been reported as wrong.
    started: BTreeMap<(Pair, Epoch), View>,
    /// The NEW-VIEW by which a node entered its view.
    entered: BTreeMap<usize, Vote>,
    /// Accusations that are still to come.
    owed: BTreeSet<(usize, usize, Slot)>,
    /// Accusations that were made.
    made: BTreeSet<(usize, usize, Slot)>,
    count: u64,
}

impl EvidenceCheck {
    /// How many accusations there were.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// A node starts: its engine has forgotten what it heard, and what it was going to say; but not how it entered its view.
    pub(crate) fn opened(&mut self, node: usize) {
        self.heard.retain(|(hearer, ..), _| *hearer != node);
        self.asked.retain(|((hearer, _), _), _| *hearer != node);
        self.started.retain(|((hearer, _), _), _| *hearer != node);
        self.owed.retain(|(hearer, ..)| *hearer != node);
        self.made.retain(|(hearer, ..)| *hearer != node);
    }

    /// A node has entered a view by this NEW-VIEW.
    pub(crate) fn entered(&mut self, node: usize, new_view: &Vote) {
        self.entered.insert(node, *new_view);
    }

    /// A node's engine was given what a liar signed.
    pub(crate) fn heard(&mut self, node: usize, signer: usize, heard: &Heard) {
        match heard.vote.slot.kind {
            VoteKind::Prepare | VoteKind::Commit | VoteKind::Checkpoint => {
                let key = (node, signer, heard.vote.slot);
                if heard.counted || heard.continued && self.heard.contains_key(&key) {
                    self.heard_vote(key, heard.vote.target);
                }
            }
            VoteKind::ViewChange => self.heard_request((node, signer), heard),
            VoteKind::NewView => self.heard_start((node, signer), heard),
        }
    }

    fn heard_vote(&mut self, key: (usize, usize, Slot), target: Hash) {
        let first = *self.heard.entry(key).or_insert(target);
        if first != target {
            self.owe(key);
        }
    }

    /// Of requests each validator's highest counts, and one for the same view is compared with it.
    fn heard_request(&mut self, pair: Pair, heard: &Heard) {
        let Vote { slot, target, .. } = heard.vote;
        let known = self.asked.entry((pair, slot.epoch)).or_insert((slot.view, None));
        if slot.view > known.0 {
            *known = (slot.view, None);
        }
        if slot.view == known.0 && heard.counted {
            let first = *known.1.get_or_insert(target);
            if first != target {
                self.owe((pair.0, pair.1, slot));
            }
        }
    }

    /// A NEW-VIEW at or above the view that a replica is in is compared with what follows, and with the one that it has
    /// entered by; of each validator what is wrong in a later view than before is reported.
    fn heard_start(&mut self, pair: Pair, heard: &Heard) {
        let Vote { slot, target, .. } = heard.vote;
        let differs = self.entered.get(&pair.0).is_some_and(|it| it.slot == slot && it.target != target);
        let last = self.started.get(&(pair, slot.epoch)).copied();
        let wrong = heard.proposes_wrongly || differs;
        if last.is_none_or(|last| last < slot.view) && (wrong || !heard.counted) {
            self.started.insert((pair, slot.epoch), slot.view);
            if heard.counted {
                self.owe((pair.0, pair.1, slot));
            }
        }
    }

    fn owe(&mut self, accusation: (usize, usize, Slot)) {
        if !self.made.contains(&accusation) {
            self.owed.insert(accusation);
        }
    }

    /// A node accuses somebody: a liar, or else nobody who may be accused. Whose vote log has lost something is as good as one.
    pub(crate) fn accuses(
        &mut self,
        node: usize,
        liar: Option<usize>,
        accusation: &Accusation,
    ) -> Result<(), Violation> {
        let Accusation { signer, slot, kind, holds, .. } = accusation;
        let Some(liar) = liar.filter(|_| *holds) else {
            let detail = format!("n{node} accuses {signer} of {kind} at {slot:?}; it proves itself: {holds}");
            return Err(Violation::new("evidence is only ever against a liar, and proves itself", detail));
        };
        self.count += 1;
        if slot.kind == VoteKind::NewView {
            let last = self.started.entry(((node, liar), slot.epoch)).or_insert(slot.view);
            *last = slot.view.max(*last);
        }
        self.owed.remove(&(node, liar, *slot));
        self.made.insert((node, liar, *slot));
        Ok(())
    }

    /// Whether somebody is still to be accused.
    pub(crate) fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// At the end nothing is owed any more.
    pub(crate) fn settled(&self) -> Result<(), Violation> {
        match self.owed.first() {
            None => Ok(()),
            Some((node, liar, slot)) => {
                let detail =
                    format!("n{node} was told by n{liar} what is false, or twice what differs, at {slot:?}");
                Err(Violation::new(
                    "whoever counts two contradicting statements accuses their signer",
                    detail,
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_crypto::PublicKey;
    use quorate_ledger::{Epoch, Height, ValidatorIndex, View};

    use super::*;
    use crate::coverage::Counter;
    use crate::observe::VoteKind;

    const SLOT: Slot = Slot { kind: VoteKind::Commit, epoch: Epoch(0), view: View(0), height: Height(1) };

    fn vote(target: &[u8]) -> Vote {
        Vote { signer: ValidatorIndex(1), slot: SLOT, target: Hash::of(target) }
    }

    fn counted(vote: Vote) -> Heard {
        Heard { vote, counted: true, continued: false, inside: false, proposes_wrongly: false }
    }

    /// A VIEW-CHANGE or NEW-VIEW of a view.
    fn of_view(kind: VoteKind, view: u64, target: &[u8]) -> Vote {
        Vote { slot: Slot { kind, view: View(view), height: Height(0), ..SLOT }, ..vote(target) }
    }

    fn accuse(check: &mut EvidenceCheck, liar: Option<usize>, holds: bool) -> Result<(), Violation> {
        let key = PublicKey::from_bytes([1; 32]);
        let accusation = Accusation {
            signer: key,
            slot: SLOT,
            kind: "double_commit",
            counter: Counter::EVIDENCE_TWO_COMMITS,
            holds,
        };
        check.accuses(0, liar, &accusation)
    }

    fn hear(check: &mut EvidenceCheck, targets: &[&[u8]]) {
        targets.iter().for_each(|target| check.heard(0, 1, &counted(vote(target))));
    }

    #[test]
    fn an_accusation_of_a_correct_validator_is_caught() {
        let mut check = EvidenceCheck::default();
        assert!(accuse(&mut check, None, true).is_err());
        assert!(accuse(&mut check, Some(1), true).is_ok());
        assert!(accuse(&mut check, Some(1), false).is_err());
    }

    #[test]
    fn two_votes_that_were_counted_are_accused_or_caught() {
        let mut check = EvidenceCheck::default();
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
    fn a_second_vote_of_a_view_that_is_over_counts_where_the_first_did() {
        let late = |target: &[u8]| Heard { counted: false, continued: true, ..counted(vote(target)) };
        let mut check = EvidenceCheck::default();
        check.heard(0, 1, &late(b"a"));
        check.heard(0, 1, &late(b"b"));
        assert!(!check.is_owed(), "nothing of that view may be held");
        hear(&mut check, &[b"a"]);
        check.heard(0, 1, &late(b"a"));
        assert!(!check.is_owed());
        check.heard(0, 1, &late(b"b"));
        assert!(check.is_owed());
    }

    #[test]
    fn a_restart_forgets() {
        let mut check = EvidenceCheck::default();
        hear(&mut check, &[b"a", b"b"]);
        check.opened(0);
        assert!(check.settled().is_ok());
    }

    #[test]
    fn two_requests_for_the_highest_view_that_is_asked_for_are_accused_or_caught() {
        let ask = |view, target: &[u8]| counted(of_view(VoteKind::ViewChange, view, target));
        let settled = |heard: &[Heard]| {
            let mut check = EvidenceCheck::default();
            heard.iter().for_each(|it| check.heard(0, 1, it));
            check.settled().is_ok()
        };
        assert!(settled(&[ask(3, b"a"), ask(3, b"a"), ask(4, b"b")]));
        assert!(!settled(&[ask(3, b"a"), ask(3, b"b")]));
        assert!(settled(&[ask(3, b"a"), ask(4, b"a"), ask(3, b"b")]), "lower ones are passed over");
        let unsure = Heard { counted: false, ..ask(4, b"c") };
        assert!(settled(&[ask(3, b"a"), unsure, ask(3, b"b"), ask(4, b"d")]));
        assert!(!settled(&[ask(3, b"a"), unsure, ask(4, b"d"), ask(4, b"e")]));
    }

    #[test]
    fn a_view_that_is_started_falsely_or_twice_is_accused_or_caught() {
        let start = |view, target: &[u8]| counted(of_view(VoteKind::NewView, view, target));
        let mut check = EvidenceCheck::default();
        check.entered(0, &of_view(VoteKind::NewView, 3, b"a"));
        check.heard(0, 1, &start(3, b"a"));
        check.heard(0, 1, &start(7, b"b"));
        assert!(check.settled().is_ok());
        check.heard(0, 1, &start(3, b"b"));
        assert!(check.is_owed(), "it has entered by another");
        check.opened(0);
        assert!(!check.is_owed());
        check.heard(0, 1, &Heard { proposes_wrongly: true, ..start(7, b"b") });
        assert!(check.is_owed());
        check.opened(0);
        check.heard(0, 1, &Heard { proposes_wrongly: true, counted: false, ..start(7, b"b") });
        check.heard(0, 1, &Heard { proposes_wrongly: true, ..start(7, b"b") });
        assert!(!check.is_owed(), "it may have been reported before");
    }
}
