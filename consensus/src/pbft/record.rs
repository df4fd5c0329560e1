//! What a replica must find again after a crash (`docs/pbft.md` §6).

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::MultiSignature;
use quorate_ledger::{Block, CheckpointCertificate, CommitPayload, Epoch, Height};

use super::message::{CheckpointVote, Vote};
use crate::{
    engine::{Promise, Promised},
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
    } = 0,
    /// A proposal was accepted, with its body.
    Accepted {
        /// The block.
        block: Arc<Block>,
        /// The primary's PREPARE; it names the view.
        prepare: Vote,
        /// The anchor's certificate, to repeat the PRE-PREPARE with.
        anchor: Option<CheckpointCertificate>,
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
}

impl Record {
    /// The epoch it belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Dropped { epoch, .. } => *epoch,
            Self::Accepted { prepare, .. } => prepare.payload.epoch,
            Self::Voted { vote, .. } => vote.payload.epoch,
            Self::Prepared { payload, .. } => payload.epoch,
            Self::Checkpointed(vote) => vote.payload.epoch,
        }
    }
}

impl Promised for Record {
    fn promised(&self) -> Option<Promise> {
        match self {
            Self::Voted { vote, .. } => Some(Promise { epoch: vote.payload.epoch, view: vote.payload.view }),
            Self::Dropped { .. } | Self::Accepted { .. } | Self::Prepared { .. } | Self::Checkpointed(_) => {
                None
            }
        }
    }
}
