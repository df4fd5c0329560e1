//! PREPARE and COMMIT: taking votes, casting them, and what they add up to (`docs/pbft.md` §3.2 to §3.4).

use quorate_crypto::PublicKey;
use quorate_ledger::{CommitCertificate, CommitPayload, Height, ValidatorIndex, View};

use super::{
    Pbft,
    message::{Message, Vote},
    record::Record,
    slot::{Prepared, ROUNDS_MAX, Round},
    tally::Counted,
};
use crate::{
    engine::{Action, Output, To},
    evidence::{Evidence, Signed, VoteKind},
    rejection::Rejection,
};

impl Pbft {
    /// Takes a vote at a height that is still open or not yet the ledger's alone. Votes above the window are kept too, as
    /// far as a proposal would be buffered.
    pub(super) fn on_vote(
        &mut self,
        kind: VoteKind,
        vote: &Vote,
        out: &mut Output<Self>,
    ) -> Result<(), Rejection> {
        let CommitPayload { view, height, .. } = vote.payload;
        if kind == VoteKind::Commit {
            self.participation.seen(height, vote.payload.block, vote.signer);
        }
        let late = kind == VoteKind::Commit && self.hears_late(view, height);
        if height <= self.pruned || !(late || self.hears(view, height)) {
            return Ok(());
        }
        let max = self.highest_buffered();
        if height > max {
            return Err(Rejection::AboveWindow { height, max });
        }
        self.count_vote(kind, vote, out);
        Ok(())
    }

    /// Whether votes of a view are kept: of this one and the next, and of older ones of which some are held, the newest of
    /// them, until the height commits.
    pub(super) fn hears(&self, view: View, height: Height) -> bool {
        let near = view == self.view || Some(view) == self.next_view();
        near || self.slots.get(&height).is_some_and(|slot| slot.counts(view))
    }

    /// COMMITs of an older view may still commit a height here although nothing else of that view was seen: so many views
    /// of them are kept.
    fn hears_late(&self, view: View, height: Height) -> bool {
        view < self.view && self.slots.get(&height).is_none_or(|slot| slot.rounds.len() < ROUNDS_MAX)
    }

    /// Counts a vote, and accuses its signer if it contradicts the signer's first.
    pub(super) fn count_vote(&mut self, kind: VoteKind, vote: &Vote, out: &mut Output<Self>) {
        let CommitPayload { view, height, .. } = vote.payload;
        let tally = self.round_mut(height, view).votes_mut(kind);
        if let Counted::Contradicts(first) = tally.count(vote.signer, &vote.payload, &vote.signature) {
            let second = Signed { payload: vote.payload, signature: vote.signature };
            let signer = self.key_of(vote.signer);
            out.act(Action::Accuse {
                evidence: Box::new(Evidence::DoubleVote { signer, kind, first, second }),
            });
        }
    }

    /// The one place where a PREPARE or COMMIT of this replica comes into being: recorded, counted, sent.
    pub(super) fn cast(
        &mut self,
        kind: VoteKind,
        vote: Vote,
        to: To,
        message: Message,
        out: &mut Output<Self>,
    ) {
        let CommitPayload { view, height, .. } = vote.payload;
        assert!(height > self.pruned, "no vote at height {height}, whose records were dropped");
        let tally = self.round_mut(height, view).votes_mut(kind);
        let counted = tally.count(vote.signer, &vote.payload, &vote.signature);
        assert_eq!(counted, Counted::New, "no other {kind:?} was cast at {height} in view {view}");
        out.record(Record::Voted { kind, vote });
        out.act(Action::Send { to, message });
    }

    /// Signs a vote for what a payload names.
    pub(super) fn vote_for(&self, kind: VoteKind, payload: CommitPayload) -> Option<Vote> {
        let voter = self.signing()?;
        let signature = voter.key.sign(kind.domain(), &self.setup.scope.chain, &payload);
        Some(Vote { payload, signer: voter.index, signature })
    }

    /// PREPARE for every block accepted in an active view that has none of this replica.
    pub(super) fn cast_prepares(&mut self, out: &mut Output<Self>) -> bool {
        let mut changed = false;
        if !self.is_active() {
            return false;
        }
        for (height, payload) in self.accepted_payloads() {
            if self.voted(VoteKind::Prepare, height) {
                continue;
            }
            let Some(vote) = self.vote_for(VoteKind::Prepare, payload) else { return changed };
            self.cast(VoteKind::Prepare, vote.clone(), To::All, Message::Prepare(vote), out);
            changed = true;
        }
        changed
    }

    /// *prepared(view, h)*: accepted here, Q PREPAREs for it, and its parent prepared in this view or committed. So a
    /// COMMIT says that its voter holds prepared certificates for every uncommitted ancestor.
    pub(super) fn prepare_and_commit(&mut self, out: &mut Output<Self>) -> bool {
        let mut changed = false;
        if !self.is_active() {
            return false;
        }
        for (height, payload) in self.accepted_payloads() {
            if self.round(height, self.view).prepared.is_none() {
                if !self.parent_is_prepared(height) {
                    break;
                }
                let q = self.quorum.q();
                let Some(signatures) = self.round(height, self.view).prepares.certify(&payload, q) else {
                    break;
                };
                out.record(Record::Prepared { payload, signatures: signatures.clone() });
                let view = self.view;
                self.round_mut(height, view).prepared = Some(Prepared { payload, signatures });
                changed = true;
            }
            if !self.voted(VoteKind::Commit, height)
                && let Some(vote) = self.vote_for(VoteKind::Commit, payload)
            {
                self.cast(VoteKind::Commit, vote.clone(), To::All, Message::Commit(vote), out);
                changed = true;
            }
        }
        changed
    }

    /// *committed(h)*: Q COMMITs for one block in one view, of any view.
    pub(super) fn collect_commits(&mut self, out: &mut Output<Self>) -> bool {
        let q = self.quorum.q();
        let mut found = Vec::new();
        for (_, slot) in self.slots.range(self.delivered.height.next()..) {
            for round in slot.rounds.values() {
                if let Some(payload) = round.commits.decided(q)
                    && !self.certificates.contains_key(&payload.height)
                    && let Some(signatures) = round.commits.certify(payload, q)
                {
                    found.push(CommitCertificate { payload: *payload, signatures });
                }
            }
        }
        let changed = !found.is_empty();
        for certificate in found {
            self.learn_commit(certificate, out);
        }
        changed
    }

    /// What is accepted in this view above the committed height, as votes name it; lowest first, without holes.
    fn accepted_payloads(&self) -> Vec<(Height, CommitPayload)> {
        let mut next = self.committed().next();
        let above = self.slots.range(next..);
        let accepted = above.map_while(|(height, slot)| {
            let accepted = slot.rounds.get(&self.view)?.accepted()?;
            let payload = self.payload_of(*height, accepted.block.hash(), self.view);
            (std::mem::replace(&mut next, height.next()) == *height).then_some((*height, payload))
        });
        accepted.collect()
    }

    /// Whether the parent of what is accepted at `height` in this view is prepared in it, or committed.
    fn parent_is_prepared(&self, height: Height) -> bool {
        let Some(accepted) = self.round(height, self.view).accepted() else { return false };
        let parent = accepted.block.parent();
        let below = Height(height.0 - 1);
        if below == self.delivered.height {
            return parent == self.delivered.hash;
        }
        if self.certificates.get(&below).is_some_and(|it| it.payload.block == parent) {
            return true;
        }
        let round = self.slots.get(&below).and_then(|slot| slot.rounds.get(&self.view));
        round.and_then(|it| it.prepared.as_ref()).is_some_and(|it| it.payload.block == parent)
    }

    fn voted(&self, kind: VoteKind, height: Height) -> bool {
        let voter = self.setup.voter.as_ref();
        voter.is_some_and(|voter| self.round(height, self.view).votes(kind).of(voter.index).is_some())
    }

    /// This replica's vote of a kind in a round.
    pub(super) fn own_vote(&self, round: &Round, kind: VoteKind) -> Option<Vote> {
        let signer = self.setup.voter.as_ref()?.index;
        let Signed { payload, signature } = round.votes(kind).of(signer)?.clone();
        Some(Vote { payload, signer, signature })
    }

    /// The key at a place that `verify` has looked up before.
    pub(super) fn key_of(&self, index: ValidatorIndex) -> PublicKey {
        *self.setup.scope.validators.key(index).expect("verified messages name members of the set")
    }

    /// The round of a height in a view, to be read.
    pub(super) fn round(&self, height: Height, view: View) -> &Round {
        let round = self.slots.get(&height).and_then(|slot| slot.rounds.get(&view));
        round.map_or(&self.no_round, |round| round)
    }

    /// The round of a height in a view, made if there is none.
    pub(super) fn round_mut(&mut self, height: Height, view: View) -> &mut Round {
        let n = self.quorum.n();
        let slot = self.slots.entry(height).or_default();
        slot.rounds.entry(view).or_insert_with(|| Box::new(Round::new(n)))
    }
}
