//! What the checkers may see of an engine's messages and records: who signed what.
//!
//! What runs and checks an engine knows nothing of its types but this. An engine that says here which votes its messages
//! carry and which votes its records cover, and in `liar` how they are lied about, can be simulated like any other.

use std::fmt;

use quorate_consensus::{
    Engine, Evidence, Scope, evidence,
    pbft::{Message, Pbft, Record, message},
};
use quorate_crypto::{Hash, MultiSignature, PublicKey, encode};
use quorate_ledger::{
    CheckpointCertificate, CheckpointPayload, CommitCertificate, CommitPayload, Epoch, Height,
    ValidatorIndex, View,
};

use crate::check::choice::Claimed;
use crate::check::formats::result_hash;
use crate::coverage::Counter;
use crate::trace::Short;

/// Kinds of vote; a validator casts at most one of a kind in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoteKind {
    /// First vote on a block.
    Prepare,
    /// Second vote on a block.
    Commit,
    /// The result of executing a block.
    Checkpoint,
    /// The wish for a view.
    ViewChange,
    /// The start of a view.
    NewView,
}

impl VoteKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Prepare, Self::Commit, Self::Checkpoint, Self::ViewChange, Self::NewView];
}

/// Where a vote is cast: in each such place a correct validator signs one thing for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Of which kind.
    pub kind: VoteKind,
    /// Epoch.
    pub epoch: Epoch,
    /// View; 0 where the kind has none.
    pub view: View,
    /// Height.
    pub height: Height,
}

/// A signed vote, as anyone can read it off the wire or the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vote {
    /// Who signed.
    pub signer: ValidatorIndex,
    /// Where.
    pub slot: Slot,
    /// For what: a block, or for a checkpoint the whole result.
    pub target: Hash,
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Slot { kind, epoch, view, height } = self.slot;
        let kind = match kind {
            VoteKind::Prepare => "PREPARE",
            VoteKind::Commit => "COMMIT",
            VoteKind::Checkpoint => "CHECKPOINT",
            VoteKind::ViewChange => "VIEW-CHANGE",
            VoteKind::NewView => "NEW-VIEW",
        };
        write!(f, "{kind} e{epoch} v{view} h{height} {} of #{}", Short(&self.target), self.signer)
    }
}

/// What a record keeps that votes are or rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A vote, of anybody.
    Vote(Vote),
    /// A block was accepted.
    Accepted {
        /// Epoch, view and height of where, and the block, as votes name them.
        payload: CommitPayload,
        /// Whether its body is in the record; else it is in an earlier one.
        whole: bool,
    },
    /// PREPAREs, with which a block is prepared.
    Prepared {
        /// What was signed.
        payload: CommitPayload,
        /// By whom.
        signatures: MultiSignature,
    },
}

/// What one validator accuses another of.
#[derive(Clone, Debug)]
pub(crate) struct Accusation {
    /// Who is accused.
    pub(crate) signer: PublicKey,
    /// Where it happened.
    pub(crate) slot: Slot,
    /// What it is called.
    pub(crate) kind: &'static str,
    /// How it is counted.
    pub(crate) counter: Counter,
    /// Whether it proves itself to others.
    pub(crate) holds: bool,
}

impl Accusation {
    pub(crate) fn of(accused: &Evidence, scope: &Scope) -> Self {
        let (slot, counter) = match accused {
            Evidence::DoubleVote { kind, first, .. } => {
                let (kind, counter) = match kind {
                    evidence::VoteKind::Prepare => (VoteKind::Prepare, Counter::EVIDENCE_TWO_PREPARES),
                    evidence::VoteKind::Commit => (VoteKind::Commit, Counter::EVIDENCE_TWO_COMMITS),
                };
                let it = &first.payload;
                (Slot { kind, epoch: it.epoch, view: it.view, height: it.height }, counter)
            }
            Evidence::DoubleCheckpoint { first, .. } => {
                let it = &first.payload;
                let slot =
                    Slot { kind: VoteKind::Checkpoint, epoch: it.epoch, view: View(0), height: it.height };
                (slot, Counter::EVIDENCE_TWO_CHECKPOINTS)
            }
            Evidence::DoubleViewChange { first: it, .. } => {
                let slot = view_slot(VoteKind::ViewChange, it.payload.epoch, it.payload.view);
                (slot, Counter::EVIDENCE_TWO_VIEW_CHANGES)
            }
            Evidence::DoubleNewView { first: it, .. } => {
                let slot = view_slot(VoteKind::NewView, it.payload.epoch, it.payload.view);
                (slot, Counter::EVIDENCE_TWO_NEW_VIEWS)
            }
            Evidence::FalseNewView { new_view: it, .. } => {
                let slot = view_slot(VoteKind::NewView, it.payload.epoch, it.payload.view);
                (slot, Counter::EVIDENCE_FALSE_NEW_VIEW)
            }
        };
        let signer = *accused.signer();
        let holds = accused.holds(&scope.chain, &scope.validators);
        Self { signer, slot, kind: accused.kind(), counter, holds }
    }
}

/// An engine whose messages and records the simulator can read.
pub trait Observed: Engine {
    /// The votes that a message carries.
    fn votes(message: &Self::Message) -> Vec<Vote>;

    /// Who signed a message, in which epoch; nobody signs a few.
    fn signer(message: &Self::Message) -> Option<(Epoch, ValidatorIndex)>;

    /// All other votes that can be read off it: in certificates, and in what is held of others.
    fn shown(message: &Self::Message) -> Vec<Vote>;

    /// The votes that come inside of it, and count as if they came by themselves: VIEW-CHANGEs in a NEW-VIEW.
    fn carried(message: &Self::Message) -> Vec<Vote>;

    /// Whether it is a NEW-VIEW that proposes what does not follow from what it rests on.
    fn proposes_wrongly(message: &Self::Message) -> bool;

    /// What a record keeps, in order: votes each with its signer, those of others with them.
    fn kept(record: &Self::Record) -> Vec<Kept>;

    /// One line about a message, for the trace.
    fn describe(message: &Self::Message) -> String;
}

impl Observed for Pbft {
    fn votes(message: &Message) -> Vec<Vote> {
        match message {
            Message::PrePrepare(it) => vec![vote(VoteKind::Prepare, &it.prepare)],
            Message::Prepare(it) => vec![vote(VoteKind::Prepare, it)],
            Message::Commit(it) => vec![vote(VoteKind::Commit, it)],
            Message::Checkpoint(it) => vec![checkpoint(it)],
            Message::ViewChange(it) => vec![view_change(it)],
            Message::NewView(it) => vec![new_view(it)],
            Message::Status(_) | Message::Recall(_) | Message::Holdings(_) => Vec::new(),
        }
    }

    fn shown(message: &Message) -> Vec<Vote> {
        match message {
            Message::PrePrepare(it) => it.anchor.iter().flat_map(|it| in_checkpoint(it)).collect(),
            Message::Prepare(_) | Message::Commit(_) | Message::Checkpoint(_) | Message::Recall(_) => {
                Vec::new()
            }
            Message::ViewChange(it) => in_proof(&it.proof).collect(),
            Message::NewView(it) => in_new_view(it).collect(),
            Message::Status(it) => {
                let commits = it.certificate.iter().flat_map(in_commit);
                commits.chain(it.checkpoint.iter().flat_map(in_checkpoint)).collect()
            }
            Message::Holdings(it) => it.statements.iter().flat_map(in_statement).collect(),
        }
    }

    fn signer(message: &Message) -> Option<(Epoch, ValidatorIndex)> {
        match message {
            Message::PrePrepare(it) => Some((it.prepare.payload.epoch, it.prepare.signer)),
            Message::Prepare(it) | Message::Commit(it) => Some((it.payload.epoch, it.signer)),
            Message::Checkpoint(it) => Some((it.payload.epoch, it.signer)),
            Message::ViewChange(it) => Some((it.payload.epoch, it.signer)),
            Message::NewView(it) => Some((it.payload.epoch, it.signer)),
            Message::Status(_) | Message::Recall(_) | Message::Holdings(_) => None,
        }
    }

    fn carried(message: &Message) -> Vec<Vote> {
        let Message::NewView(it) = message else { return Vec::new() };
        it.payload.changes.iter().map(request).collect()
    }

    fn proposes_wrongly(message: &Message) -> bool {
        let Message::NewView(it) = message else { return false };
        let payload = &it.payload;
        let key = |it: &CommitPayload| (it.height, it.view, it.block);
        let claims = payload.changes.iter().flat_map(|it| &it.payload.prepared);
        let proven = payload.proof.prepared.iter();
        let claimed = Claimed {
            bases: payload.changes.iter().map(|it| (it.payload.base.height, it.payload.base.block)).collect(),
            prepared: claims.map(key).collect(),
            parents: proven.map(|it| (key(&it.payload), it.header.parent)).collect(),
            blocks: payload.blocks.clone(),
        };
        claimed.proposes_wrongly()
    }

    fn kept(record: &Record) -> Vec<Kept> {
        // At the primary the PREPARE is its own vote, and a restart finds it there.
        let accepted = |payload, whole, prepare: &Option<message::Vote>| {
            let vote = prepare.iter().map(|it| Kept::Vote(vote(VoteKind::Prepare, it)));
            std::iter::once(Kept::Accepted { payload, whole }).chain(vote).collect()
        };
        match record {
            Record::Voted { kind: evidence::VoteKind::Prepare, vote: it } => {
                vec![Kept::Vote(vote(VoteKind::Prepare, it))]
            }
            Record::Voted { kind: evidence::VoteKind::Commit, vote: it } => {
                vec![Kept::Vote(vote(VoteKind::Commit, it))]
            }
            Record::Checkpointed(it) => vec![Kept::Vote(checkpoint(it))],
            Record::Accepted { block, view, prepare, .. } => {
                let (header, view) = (block.header(), *view);
                let (epoch, height) = (header.epoch, header.height);
                accepted(CommitPayload { epoch, view, height, block: block.hash() }, true, prepare)
            }
            Record::AcceptedAgain { payload, prepare, .. } => accepted(*payload, false, prepare),
            Record::Prepared { payload, signatures } => {
                vec![Kept::Prepared { payload: *payload, signatures: signatures.clone() }]
            }
            Record::ViewChanged(it) => vec![Kept::Vote(view_change(it))],
            Record::NewView(it) => {
                let requests = it.payload.changes.iter().map(request);
                requests.chain([new_view(it)]).map(Kept::Vote).collect()
            }
            Record::Dropped { .. } | Record::Abstained { .. } => Vec::new(),
        }
    }

    fn describe(message: &Message) -> String {
        match message {
            Message::PrePrepare(it) => {
                let header = &it.proposal.header;
                format!(
                    "PRE-PREPARE on {} anchor {} with {} transactions, {}",
                    Short(&header.parent),
                    header.anchor.height,
                    it.proposal.transactions.len(),
                    vote(VoteKind::Prepare, &it.prepare)
                )
            }
            Message::Prepare(it) => vote(VoteKind::Prepare, it).to_string(),
            Message::Commit(it) => vote(VoteKind::Commit, it).to_string(),
            Message::Checkpoint(it) => checkpoint(it).to_string(),
            Message::ViewChange(it) => {
                let heights = it.payload.prepared.len();
                format!("{} base {} with {heights} prepared", view_change(it), it.payload.base.height)
            }
            Message::NewView(it) => format!("{} with {} blocks", new_view(it), it.payload.blocks.len()),
            Message::Status(it) => {
                let certified = it.certificate.as_ref().map_or(0, |certificate| certificate.payload.height.0);
                format!(
                    "STATUS e{} v{} delivered {} certified {certified} stable {}",
                    it.epoch, it.view, it.delivered, it.stable
                )
            }
            Message::Recall(it) => format!("RECALL e{}", it.epoch),
            Message::Holdings(it) => format!("HOLDINGS e{} of {} messages", it.epoch, it.statements.len()),
        }
    }
}

fn vote(kind: VoteKind, vote: &message::Vote) -> Vote {
    Vote { signer: vote.signer, slot: slot_of(kind, &vote.payload), target: vote.payload.block }
}

/// Where a PREPARE or COMMIT of this payload is cast.
pub(crate) fn slot_of(kind: VoteKind, payload: &CommitPayload) -> Slot {
    Slot { kind, epoch: payload.epoch, view: payload.view, height: payload.height }
}

/// The votes that make a commit certificate.
pub(crate) fn in_commit(certificate: &CommitCertificate) -> impl Iterator<Item = Vote> {
    let payload = &certificate.payload;
    in_certificate(slot_of(VoteKind::Commit, payload), payload.block, &certificate.signatures)
}

/// The votes that make the certificate of a checkpoint.
pub(crate) fn in_checkpoint(certificate: &CheckpointCertificate) -> impl Iterator<Item = Vote> {
    let payload = &certificate.payload;
    in_certificate(result_slot(payload), result_hash(payload), &certificate.signatures)
}

fn in_certificate(slot: Slot, target: Hash, signatures: &MultiSignature) -> impl Iterator<Item = Vote> {
    let place = |signer| ValidatorIndex(u16::try_from(signer).expect("a set has at most 200 places"));
    signatures.signers().iter().map(move |signer| Vote { signer: place(signer), slot, target })
}

fn in_proof(proof: &message::Proof) -> impl Iterator<Item = Vote> {
    let prepared = proof.prepared.iter().flat_map(|it| {
        in_certificate(slot_of(VoteKind::Prepare, &it.payload), it.payload.block, &it.signatures)
    });
    proof.base.iter().flat_map(in_commit).chain(prepared)
}

fn in_new_view(new_view: &message::NewView) -> impl Iterator<Item = Vote> {
    new_view.payload.changes.iter().map(request).chain(in_proof(&new_view.payload.proof))
}

fn in_statement(statement: &message::Statement) -> Vec<Vote> {
    match statement {
        message::Statement::Prepare(it) => vec![vote(VoteKind::Prepare, it)],
        message::Statement::Commit(it) => vec![vote(VoteKind::Commit, it)],
        message::Statement::Checkpoint(it) => vec![checkpoint(it)],
        message::Statement::ViewChange(it) => vec![request(it)],
        message::Statement::NewView(it) => std::iter::once(new_view(it)).chain(in_new_view(it)).collect(),
    }
}

fn view_change(change: &message::ViewChange) -> Vote {
    request_of(&change.payload, change.signer)
}

fn request(request: &message::Request) -> Vote {
    request_of(&request.payload, request.signer)
}

fn request_of(payload: &message::ViewChangePayload, signer: ValidatorIndex) -> Vote {
    Vote {
        signer,
        slot: view_slot(VoteKind::ViewChange, payload.epoch, payload.view),
        target: Hash::of(&encode(payload)),
    }
}

/// The place of what is signed once for each view.
fn view_slot(kind: VoteKind, epoch: Epoch, view: View) -> Slot {
    Slot { kind, epoch, view, height: Height(0) }
}

fn new_view(new_view: &message::NewView) -> Vote {
    let (epoch, view) = (new_view.payload.epoch, new_view.payload.view);
    let slot = Slot { kind: VoteKind::NewView, epoch, view, height: Height(0) };
    Vote { signer: new_view.signer, slot, target: Hash::of(&encode(&new_view.payload)) }
}

fn checkpoint(vote: &message::CheckpointVote) -> Vote {
    Vote { signer: vote.signer, slot: result_slot(&vote.payload), target: result_hash(&vote.payload) }
}

/// Where the CHECKPOINT of a result is cast.
pub(crate) fn result_slot(payload: &CheckpointPayload) -> Slot {
    Slot { kind: VoteKind::Checkpoint, epoch: payload.epoch, view: View(0), height: payload.height }
}

#[cfg(test)]
mod tests {
    use quorate_crypto::Signature;

    use super::*;

    const SIGNATURE: [u8; 64] = [7; 64];

    fn signatures(signers: &[usize]) -> MultiSignature {
        MultiSignature::from_votes(4, signers.iter().map(|it| (*it, Signature::from_bytes(SIGNATURE))))
    }

    fn payload(view: u64) -> CommitPayload {
        CommitPayload { epoch: Epoch(0), view: View(view), height: Height(3), block: Hash::of(b"block") }
    }

    fn requested(signer: u16) -> message::Request {
        let base = message::BaseClaim { height: Height(2), block: Hash::of(b"base") };
        let payload =
            message::ViewChangePayload { epoch: Epoch(0), view: View(5), base, prepared: Vec::new() };
        let signature = Signature::from_bytes(SIGNATURE);
        message::Request { payload, signer: ValidatorIndex(signer), signature }
    }

    /// Kinds and signers.
    fn shown(message: &Message) -> Vec<(VoteKind, u16)> {
        Pbft::shown(message).iter().map(|vote| (vote.slot.kind, vote.signer.0)).collect()
    }

    #[test]
    fn every_signature_that_a_message_holds_of_others_is_shown() {
        let commit = CommitCertificate { payload: payload(1), signatures: signatures(&[0, 2]) };
        let result = CheckpointPayload {
            epoch: Epoch(0),
            height: Height(2),
            block: Hash::ZERO,
            state_root: Hash::ZERO,
            receipts_root: Hash::ZERO,
            next_validators: Hash::ZERO,
        };
        let checkpoint = CheckpointCertificate { payload: result, signatures: signatures(&[1]) };
        let status = message::StatusReport {
            epoch: Epoch(0),
            view: View(1),
            active: true,
            delivered: Height(3),
            certificate: Some(commit.clone()),
            stable: Height(2),
            checkpoint: Some(checkpoint),
            heights: Vec::new(),
            checkpoints: Vec::new(),
        };
        let told = shown(&Message::Status(Box::new(status)));
        assert_eq!(told, [(VoteKind::Commit, 0), (VoteKind::Commit, 2), (VoteKind::Checkpoint, 1)]);

        let proof = message::Proof { base: Some(commit), prepared: Vec::new() };
        let new_view = message::NewView {
            payload: message::NewViewPayload {
                epoch: Epoch(0),
                view: View(5),
                changes: vec![requested(1), requested(3)],
                proof,
                blocks: Vec::new(),
            },
            signer: ValidatorIndex(1),
            signature: Signature::from_bytes(SIGNATURE),
        };
        let inside = [
            (VoteKind::ViewChange, 1),
            (VoteKind::ViewChange, 3),
            (VoteKind::Commit, 0),
            (VoteKind::Commit, 2),
        ];
        assert_eq!(shown(&Message::NewView(Box::new(new_view.clone()))), inside);

        let vote = message::Vote {
            payload: payload(1),
            signer: ValidatorIndex(2),
            signature: Signature::from_bytes(SIGNATURE),
        };
        let statements = vec![
            message::Statement::Prepare(vote.clone()),
            message::Statement::Commit(vote),
            message::Statement::ViewChange(Box::new(requested(2))),
            message::Statement::NewView(Box::new(new_view)),
        ];
        let holdings = message::Holdings { epoch: Epoch(0), nonce: 1, statements };
        let own = [
            (VoteKind::Prepare, 2),
            (VoteKind::Commit, 2),
            (VoteKind::ViewChange, 2),
            (VoteKind::NewView, 1),
        ];
        assert_eq!(shown(&Message::Holdings(Box::new(holdings))), [&own[..], &inside[..]].concat());
    }
}
