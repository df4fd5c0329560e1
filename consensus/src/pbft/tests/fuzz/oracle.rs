//! What must hold after every step, told from outside: from the records, the actions and what the replica says of itself.
//!
//! It remembers everything that was ever synced, across restarts, and shares nothing with the engine but the types.

use std::collections::{BTreeMap, BTreeSet};

use quorate_crypto::{Domain, Hash};
use quorate_ledger::{CheckpointPayload, CommitPayload, Height, ValidatorIndex, View};

use crate::{
    engine::{Engine as _, Horizon, Scope, Status},
    evidence::VoteKind,
    pbft::{
        Message, Pbft, Record,
        message::{NewView, STATUS_HEIGHTS_MAX, ViewChange, Vote},
    },
};

/// What a replica has promised and done, as its disk would show.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    votes: BTreeMap<(VoteKind, View, Height), Vote>,
    accepted: BTreeMap<(View, Height), Hash>,
    /// The bodies in the log as it stands.
    bodies: BTreeSet<Hash>,
    prepared: BTreeSet<(View, Height, Hash)>,
    checkpoints: BTreeMap<Height, CheckpointPayload>,
    pub(super) changes: BTreeMap<View, ViewChange>,
    new_views: BTreeMap<View, NewView>,
    /// It votes in no view below.
    promise: View,
    /// Up to here it may have forgotten what it accepted.
    dropped: Height,
    /// Views that anything was recorded in.
    views: BTreeSet<View>,
}

impl Oracle {
    /// Its vote of a kind at a place, if it cast one.
    pub(super) fn vote(&self, kind: VoteKind, view: View, height: Height) -> Option<&Vote> {
        self.votes.get(&(kind, view, height))
    }

    /// The log was replaced by what matters.
    pub(super) fn compact(&mut self, records: &[Record]) {
        self.bodies.clear();
        for record in records {
            match record {
                Record::Dropped { height, .. } => self.dropped = self.dropped.max(*height),
                Record::Accepted { block, .. } => self.record_body(block.hash()),
                Record::AcceptedAgain { payload, .. } => self.expect_body(payload.block),
                Record::Voted { .. }
                | Record::Prepared { .. }
                | Record::Checkpointed(_)
                | Record::ViewChanged(_)
                | Record::NewView(_)
                | Record::Abstained { .. } => {}
            }
        }
    }

    fn record_body(&mut self, block: Hash) {
        assert!(self.bodies.insert(block), "a body is written once: {block}");
    }

    fn expect_body(&self, block: Hash) {
        assert!(self.bodies.contains(&block), "a body is written before what names it: {block}");
    }

    /// Records that were synced. `result` is what executing a block that the ledger has comes to.
    pub(super) fn record(
        &mut self,
        scope: &Scope,
        me: ValidatorIndex,
        records: &[Record],
        result: impl Fn(Height) -> Option<CheckpointPayload>,
    ) {
        for record in records {
            match record {
                Record::Dropped { .. } => panic!("only a compacted log says what was dropped"),
                Record::Abstained { .. } => {}
                Record::Accepted { block, view, .. } => {
                    self.record_body(block.hash());
                    self.accept(*view, block.height(), block.hash());
                }
                Record::AcceptedAgain { payload: CommitPayload { view, height, block, .. }, .. } => {
                    self.expect_body(*block);
                    self.accept(*view, *height, *block);
                }
                Record::Voted { kind, vote } => self.record_vote(me, *kind, vote),
                Record::Prepared { payload, signatures } => {
                    let message = Domain::Prepare.message(&scope.chain, payload);
                    let proof = signatures.verify(scope.validators.keys(), scope.quorum().q(), &message);
                    proof.expect("a prepared certificate holds");
                    self.prepared.insert((payload.view, payload.height, payload.block));
                }
                Record::Checkpointed(vote) => {
                    assert_eq!(vote.signer, me);
                    let height = vote.payload.height;
                    assert_eq!(
                        Some(vote.payload),
                        result(height),
                        "a result is signed that was executed and synced"
                    );
                    let first = *self.checkpoints.entry(height).or_insert(vote.payload);
                    assert_eq!(first, vote.payload, "no two different CHECKPOINTs at a height");
                }
                Record::ViewChanged(change) => {
                    let view = change.payload.view;
                    assert_eq!(change.signer, me);
                    assert!(view > self.promise, "a view is asked for above the one promised");
                    self.changes.insert(view, ViewChange::clone(change));
                    self.promise = view;
                }
                Record::NewView(new_view) => {
                    let view = new_view.payload.view;
                    assert!(view >= self.promise, "no view below the promise starts");
                    let other = self.new_views.insert(view, NewView::clone(new_view));
                    assert!(other.is_none_or(|it| it == **new_view), "a view starts in one way");
                    self.promise = view;
                }
            }
        }
    }

    fn accept(&mut self, view: View, height: Height, block: Hash) {
        let other = self.accepted.insert((view, height), block);
        // What was dropped may come again, to a ledger that was set back; it is not voted for.
        let first = other.is_none() || height <= self.dropped;
        assert!(first, "one block is accepted at a place, and once: {block} at {height} in view {view}");
        self.views.insert(view);
    }

    fn record_vote(&mut self, me: ValidatorIndex, kind: VoteKind, vote: &Vote) {
        let CommitPayload { view, height, block, .. } = vote.payload;
        assert_eq!(vote.signer, me, "it signs for itself");
        assert!(
            view >= self.promise,
            "no vote in view {view} after a promise not to vote below {}",
            self.promise
        );
        match kind {
            VoteKind::Prepare => {
                assert_eq!(
                    self.accepted.get(&(view, height)),
                    Some(&block),
                    "the body is on disk before PREPARE"
                );
            }
            VoteKind::Commit => {
                assert!(
                    self.prepared.contains(&(view, height, block)),
                    "the certificate is on disk before COMMIT"
                );
            }
        }
        let first = self.votes.entry((kind, view, height)).or_insert_with(|| vote.clone());
        assert_eq!(first, vote, "no two different votes of one kind at a place");
        self.views.insert(view);
    }

    /// A message that leaves: everybody accepts it, and what is signed in it is on disk.
    pub(super) fn send(&self, scope: &Scope, me: ValidatorIndex, message: &Message) {
        let verified = Pbft::verify(scope, Horizon::default(), message.clone());
        assert!(
            verified.is_ok(),
            "no correct replica refuses what is sent: {:?} for {message:?}",
            verified.err()
        );
        match message {
            Message::PrePrepare(it) if it.prepare.signer == me => {
                self.expect_vote(VoteKind::Prepare, &it.prepare);
                let place = (it.view(), it.height());
                assert_eq!(self.accepted.get(&place), Some(&it.block()), "its own proposal is on disk");
            }
            Message::PrePrepare(it) => {
                let place = (it.view(), it.height());
                assert_eq!(self.accepted.get(&place), Some(&it.block()), "only what it accepted is repeated");
            }
            Message::Prepare(vote) => self.expect_vote(VoteKind::Prepare, vote),
            Message::Commit(vote) => self.expect_vote(VoteKind::Commit, vote),
            Message::Checkpoint(vote) => {
                assert_eq!(vote.signer, me);
                assert_eq!(
                    self.checkpoints.get(&vote.payload.height),
                    Some(&vote.payload),
                    "on disk before sent"
                );
            }
            Message::ViewChange(change) => {
                assert_eq!(self.changes.get(&change.payload.view), Some(&**change), "on disk before sent");
            }
            Message::NewView(new_view) => {
                assert_eq!(
                    self.new_views.get(&new_view.payload.view),
                    Some(&**new_view),
                    "on disk before sent"
                );
            }
            // What is held of somebody is signed by that one, which verifying has shown.
            Message::Recall(_) | Message::Holdings(_) => {}
            Message::Status(status) => {
                assert!(status.heights.len() <= STATUS_HEIGHTS_MAX);
                assert!(status.checkpoints.len() <= STATUS_HEIGHTS_MAX);
            }
        }
    }

    fn expect_vote(&self, kind: VoteKind, vote: &Vote) {
        let CommitPayload { view, height, .. } = vote.payload;
        assert_eq!(self.vote(kind, view, height), Some(vote), "a vote that leaves is its own and on disk");
    }

    /// What the replica says of itself, and how much it holds.
    pub(super) fn state(&self, status: &Status, engine: &Pbft, window: u64, log_window: u64) {
        assert!(status.delivered <= status.committed);
        assert!(status.executed <= status.delivered);
        assert!(status.stable <= status.executed);
        assert!(status.view >= self.promise, "it is not in a view below its promise");
        // Heights above the last synced base, of which a certificate may cover many, and 2W above the executed one.
        let heights = status.delivered.0.max(status.executed.0 + 2 * window) + 1;
        let rounds = usize::try_from(heights).expect("few heights") * (self.views.len() + 3);
        assert!(engine.accepted().len() <= rounds, "bodies are those of heights in flight");
        let checkpoints = usize::try_from(2 * log_window).expect("few heights");
        assert!(
            engine.records().len() <= 4 * rounds + checkpoints + 3,
            "records are those of heights in flight"
        );
    }
}
