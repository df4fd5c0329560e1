//! Where a ledger stands, as a consensus engine needs to know it when it starts.

use quorate_crypto::Hash;

use crate::{Anchor, CheckpointCertificate, CommitCertificate, ExecutionOutcome, Height, UnixMillis};

/// The highest block that is executed and synced, and what is proven about the chain up to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Height of the block; 0 is the genesis.
    pub height: Height,
    /// Its hash; the genesis has the chain id.
    pub hash: Hash,
    /// Its time.
    pub time: UnixMillis,
    /// The anchor in its header; for the genesis that of its own checkpoint.
    pub anchor: Anchor,
    /// What executing it came to.
    pub outcome: ExecutionOutcome,
    /// Height of the highest block, at or below, with a commit certificate of its own; 0 if there is none.
    pub base_height: Height,
    /// That certificate; the genesis needs none.
    pub base: Option<CommitCertificate>,
    /// The last stable checkpoint; the genesis' own if there is no later one.
    pub stable: Anchor,
    /// Its certificate; the genesis' checkpoint needs none, since everybody computes it.
    pub stable_certificate: Option<CheckpointCertificate>,
}
