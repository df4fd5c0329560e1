//! What a replica must find again after a crash (`docs/pbft.md` §6).

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Hash, MultiSignature, encode};
use quorate_ledger::{Block, CheckpointCertificate, CommitPayload, Epoch, Height, ValidatorIndex, View};

use super::message::{CheckpointVote, NewView, ViewChange, Vote};
use crate::{
    engine::{OpenError, Promise, Promised},
    evidence::VoteKind,
};

/// A record of the PBFT engine. All carry their epoch: an instance leaves those of other epochs alone.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Record {
    /// The highest height whose records were dropped: everything below is the ledger's alone.
    Dropped {
        /// Epoch.
        epoch: Epoch,
        /// Height.
        height: Height,
        /// The height of the stable checkpoint then: CHECKPOINTs up to it were dropped too.
        checkpoint: Height,
    } = 0,
    /// A proposal was accepted whose body the log did not hold: here it is.
    Accepted {
        /// The block.
        block: Arc<Block>,
        /// The view it was accepted in.
        view: View,
        /// The primary's PREPARE; none for a block that the view's NEW-VIEW proposes again.
        prepare: Option<Vote>,
        /// The anchor's certificate, to repeat the PRE-PREPARE with.
        anchor: Option<Arc<CheckpointCertificate>>,
    } = 1,
    /// A vote was cast here.
    Voted {
        /// Which phase.
        kind: VoteKind,
        /// The vote.
        vote: Vote,
    } = 2,
    /// A block became prepared here.
    Prepared {
        /// What Q replicas signed as PREPARE.
        payload: CommitPayload,
        /// Their signatures.
        signatures: MultiSignature,
    } = 3,
    /// A CHECKPOINT was cast here.
    Checkpointed(CheckpointVote) = 4,
    /// A later view was asked for: the promise never to vote below it.
    ViewChanged(Box<ViewChange>) = 5,
    /// A view was started or entered.
    NewView(Box<NewView>) = 6,
    /// Something of this replica's own was met that the log does not know: it signs nothing more in the epoch.
    Abstained {
        /// Epoch.
        epoch: Epoch,
    } = 7,
    /// A proposal was accepted whose body an earlier record holds. A body may be megabytes, and a chain that commits nothing
    /// proposes the same blocks in view after view.
    AcceptedAgain {
        /// What a vote for it names: the block, and where it was accepted.
        payload: CommitPayload,
        /// As in [`Record::Accepted`].
        prepare: Option<Vote>,
        /// As in [`Record::Accepted`].
        anchor: Option<Arc<CheckpointCertificate>>,
    } = 8,
}

/// That no two of these records say what one log never says: two blocks accepted at one place, one view started in two ways,
/// two statements of one signer that exclude each other. Others' PREPAREs among them came with the one block that was accepted there.
/// And that none names a body that no record before it holds.
///
/// # Errors
/// [`OpenError::Contradiction`] or [`OpenError::ContradictionOfViews`], with the first place where they do.
fn check(records: &[Record]) -> Result<(), OpenError> {
    let mut bodies: BTreeSet<(Epoch, Height, Hash)> = BTreeSet::new();
    let mut said: BTreeMap<(Epoch, Place), Hash> = BTreeMap::new();
    let mut say = |epoch, place: Place, what: Hash| match said.entry((epoch, place)) {
        Entry::Vacant(entry) => {
            entry.insert(what);
            Ok(())
        }
        Entry::Occupied(entry) if *entry.get() == what => Ok(()),
        Entry::Occupied(_) => Err(place.contradiction()),
    };
    let vote = |kind, vote: &Vote| {
        let CommitPayload { epoch, view, height, block } = vote.payload;
        (epoch, Place::Vote(height, view, kind, vote.signer), block)
    };
    for record in records {
        match record {
            Record::Accepted { block, view, prepare, .. } => {
                let (epoch, height) = (block.header().epoch, block.height());
                say(epoch, Place::Accepted(height, *view), block.hash())?;
                bodies.insert((epoch, height, block.hash()));
                if let Some(prepare) = prepare {
                    let (epoch, place, block) = vote(VoteKind::Prepare, prepare);
                    say(epoch, place, block)?;
                }
            }
            Record::AcceptedAgain { payload, prepare, .. } => {
                let CommitPayload { epoch, view, height, block } = *payload;
                say(epoch, Place::Accepted(height, view), block)?;
                if !bodies.contains(&(epoch, height, block)) {
                    let what = "a block was accepted again whose body it does not hold";
                    return Err(OpenError::Contradiction { height, what });
                }
                if let Some(prepare) = prepare {
                    let (epoch, place, block) = vote(VoteKind::Prepare, prepare);
                    say(epoch, place, block)?;
                }
            }
            Record::Voted { kind, vote: cast } => {
                let (epoch, place, block) = vote(*kind, cast);
                say(epoch, place, block)?;
            }
            Record::Checkpointed(it) => {
                let place = Place::Checkpoint(it.payload.height, it.signer);
                say(it.payload.epoch, place, it.payload.hash())?;
            }
            Record::ViewChanged(it) => {
                let place = Place::Asked(it.payload.view, it.signer);
                say(it.payload.epoch, place, Hash::of(&encode(&it.payload)))?;
            }
            Record::NewView(it) => {
                say(it.payload.epoch, Place::Started(it.payload.view), Hash::of(&encode(&it.payload)))?;
            }
            Record::Dropped { .. } | Record::Prepared { .. } | Record::Abstained { .. } => {}
        }
    }
    Ok(())
}

/// Where one thing is said at most, within an epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Accepted(Height, View),
    Vote(Height, View, VoteKind, ValidatorIndex),
    Checkpoint(Height, ValidatorIndex),
    Asked(View, ValidatorIndex),
    Started(View),
}

impl Place {
    fn contradiction(self) -> OpenError {
        let at = |height, what| OpenError::Contradiction { height, what };
        let of = |view, what| OpenError::ContradictionOfViews { view, what };
        match self {
            Self::Accepted(height, _) => at(height, "two blocks were accepted in one view"),
            Self::Vote(height, ..) => at(height, "two different votes of one kind were cast in one view"),
            Self::Checkpoint(height, _) => at(height, "two different CHECKPOINTs were cast"),
            Self::Asked(view, _) => of(view, "it was asked for in two ways"),
            Self::Started(view) => of(view, "it was started in two ways"),
        }
    }
}

impl Promised for Record {
    fn check(records: &[Self]) -> Result<(), OpenError> {
        check(records)
    }

    fn epoch(&self) -> Epoch {
        match self {
            Self::Dropped { epoch, .. } | Self::Abstained { epoch } => *epoch,
            Self::Accepted { block, .. } => block.header().epoch,
            Self::Voted { vote, .. } => vote.payload.epoch,
            Self::Prepared { payload, .. } | Self::AcceptedAgain { payload, .. } => payload.epoch,
            Self::Checkpointed(vote) => vote.payload.epoch,
            Self::ViewChanged(change) => change.payload.epoch,
            Self::NewView(new_view) => new_view.payload.epoch,
        }
    }

    fn beginning(epoch: Epoch) -> Self {
        Self::Dropped { epoch, height: Height(0), checkpoint: Height(0) }
    }

    fn is_beginning(&self) -> bool {
        matches!(self, Self::Dropped { .. })
    }

    fn promised(&self) -> Option<Promise> {
        match self {
            Self::Voted { vote, .. } => Some(Promise { epoch: vote.payload.epoch, view: vote.payload.view }),
            Self::ViewChanged(it) => Some(Promise { epoch: it.payload.epoch, view: it.payload.view }),
            Self::NewView(it) => Some(Promise { epoch: it.payload.epoch, view: it.payload.view }),
            // What stays of an epoch when all else was dropped.
            Self::Dropped { epoch, .. } => Some(Promise { epoch: *epoch, view: View(0) }),
            Self::Accepted { .. }
            | Self::AcceptedAgain { .. }
            | Self::Prepared { .. }
            | Self::Checkpointed(_)
            | Self::Abstained { .. } => None,
        }
    }
}
