//! What the checkers may see of an engine's messages and records: who signed what.
//!
//! What runs and checks an engine knows nothing of its types but this. An engine that says here which votes its messages
//! carry and which votes its records cover, and in `liar` how they are lied about, can be simulated like any other.

use std::fmt;

use quorate_consensus::{
    Engine, Evidence, Scope, evidence,
    pbft::{Message, Pbft, Record, message},
};
use quorate_crypto::{Hash, PublicKey, encode};
use quorate_ledger::{CommitPayload, Epoch, Height, ValidatorIndex, View};

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

    /// The votes that come inside of it, and count as if they came by themselves: VIEW-CHANGEs in a NEW-VIEW.
    fn carried(message: &Self::Message) -> Vec<Vote>;

    /// Whether it is a NEW-VIEW that proposes what does not follow from what it rests on.
    fn proposes_wrongly(message: &Self::Message) -> bool;

    /// The votes that a record keeps, each with its signer, those of others with them.
    fn kept(record: &Self::Record) -> Vec<Vote>;

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
            // What others hold of somebody was sent before.
            Message::Status(_) | Message::Recall(_) | Message::Holdings(_) => Vec::new(),
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

    fn kept(record: &Record) -> Vec<Vote> {
        match record {
            Record::Voted { kind: evidence::VoteKind::Prepare, vote: it } => {
                vec![vote(VoteKind::Prepare, it)]
            }
            Record::Voted { kind: evidence::VoteKind::Commit, vote: it } => {
                vec![vote(VoteKind::Commit, it)]
            }
            Record::Checkpointed(it) => vec![checkpoint(it)],
            // At the primary that is its own vote, and a restart finds it there.
            Record::Accepted { prepare: it, .. } | Record::AcceptedAgain { prepare: it, .. } => {
                it.iter().map(|it| vote(VoteKind::Prepare, it)).collect()
            }
            Record::ViewChanged(it) => vec![view_change(it)],
            Record::NewView(it) => it.payload.changes.iter().map(request).chain([new_view(it)]).collect(),
            Record::Dropped { .. } | Record::Prepared { .. } | Record::Abstained { .. } => Vec::new(),
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
    let payload = &vote.payload;
    let slot = Slot { kind, epoch: payload.epoch, view: payload.view, height: payload.height };
    Vote { signer: vote.signer, slot, target: payload.block }
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
    let payload = &vote.payload;
    let slot =
        Slot { kind: VoteKind::Checkpoint, epoch: payload.epoch, view: View(0), height: payload.height };
    Vote { signer: vote.signer, slot, target: result_hash(payload) }
}
