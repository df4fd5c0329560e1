//! What PBFT replicas say to each other (`docs/pbft.md` §2, §3, §5).
//!
//! Votes carry their signer, so they prove themselves whoever relays them. STATUS is not signed: it claims nothing that
//! is believed without a certificate, and the stream it comes by is authenticated.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Hash, Signature, Signers};
use quorate_ledger::{
    Block, CheckpointCertificate, CheckpointPayload, CommitCertificate, CommitPayload, Epoch, Height,
    ValidatorIndex, View,
};

use crate::engine::Proposal;

/// A message of the PBFT engine.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Message {
    /// The primary's proposal, or anybody's repetition of it.
    PrePrepare(PrePrepare) = 0,
    /// First vote.
    Prepare(Vote) = 1,
    /// Second vote.
    Commit(Vote) = 2,
    /// What executing a block came to.
    Checkpoint(CheckpointVote) = 3,
    /// How far a replica has come and what it holds.
    Status(Box<StatusReport>) = 6,
}

/// PREPARE or COMMIT.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// What is voted for.
    pub payload: CommitPayload,
    /// Who votes.
    pub signer: ValidatorIndex,
    /// Over the payload, in the domain of the vote's kind.
    pub signature: Signature,
}

/// CHECKPOINT.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CheckpointVote {
    /// The result.
    pub payload: CheckpointPayload,
    /// Who says so.
    pub signer: ValidatorIndex,
    /// Over the payload.
    pub signature: Signature,
}

/// PRE-PREPARE: header and transaction hashes with the primary's own PREPARE, which signs both (the header holds the
/// root of the hashes).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PrePrepare {
    /// The block without its bodies.
    pub proposal: Arc<Proposal>,
    /// The primary's PREPARE.
    pub prepare: Vote,
    /// Certificate of the checkpoint that the header's anchor names, where it is above the parent's.
    pub anchor: Option<CheckpointCertificate>,
}

impl PrePrepare {
    /// The PRE-PREPARE of a block whose body is known.
    #[must_use]
    pub fn of(block: &Block, prepare: Vote, anchor: Option<CheckpointCertificate>) -> Self {
        let proposal = Proposal { header: block.header().clone(), transactions: block.transaction_hashes() };
        Self { proposal: Arc::new(proposal), prepare, anchor }
    }

    /// The view it was made for.
    #[must_use]
    pub fn view(&self) -> View {
        self.prepare.payload.view
    }

    /// The height it fills.
    #[must_use]
    pub fn height(&self) -> Height {
        self.prepare.payload.height
    }

    /// Hash of the block.
    #[must_use]
    pub fn block(&self) -> Hash {
        self.prepare.payload.block
    }
}

/// STATUS: lets whoever is ahead send what is missing.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StatusReport {
    /// Epoch of the sender's instance.
    pub epoch: Epoch,
    /// The sender's view.
    pub view: View,
    /// Highest block that it has given to its ledger: certified blocks above are wanted.
    pub delivered: Height,
    /// The highest commit certificate it knows.
    pub certificate: Option<CommitCertificate>,
    /// Height of its last stable checkpoint.
    pub stable: Height,
    /// That checkpoint's certificate; none at the genesis.
    pub checkpoint: Option<CheckpointCertificate>,
    /// What it holds of its view above the delivered height; heights that are not named hold nothing.
    pub heights: Vec<HeightReport>,
    /// Whose CHECKPOINTs it holds above the stable height; heights that are not named hold nothing.
    pub checkpoints: Vec<CheckpointReport>,
}

/// What a replica holds of one height in its view.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HeightReport {
    /// The height.
    pub height: Height,
    /// Whether it holds a proposal.
    pub proposal: bool,
    /// Whose PREPAREs.
    pub prepares: Signers,
    /// Whose COMMITs.
    pub commits: Signers,
}

/// Whose CHECKPOINTs a replica holds for one height.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CheckpointReport {
    /// The height.
    pub height: Height,
    /// Whose.
    pub signers: Signers,
}
