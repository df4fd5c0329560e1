//! Why a ledger cannot be opened or cannot go on.

use quorate_crypto::Hash;
use thiserror::Error;

use super::GenesisStateError;
use crate::block::Anchor;
use crate::certificate::CheckpointPayload;
use crate::primitives::Height;
use crate::store::StoreError;

/// The ledger cannot be opened or cannot go on.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The machine, or damaged data.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The genesis cannot be executed.
    #[error(transparent)]
    Genesis(#[from] GenesisStateError),
    /// The data belong to another chain: the operator has given the wrong directory or the wrong genesis file.
    #[error("the data are of chain {stored}, the genesis file is that of chain {given}")]
    WrongGenesis {
        /// The chain id in the store.
        stored: Hash,
        /// The chain id given.
        given: Hash,
    },
    /// The data were written in a layout this program does not know.
    #[error("the data have format {stored}, this program reads format {known}")]
    WrongFormat {
        /// The number in the store.
        stored: u32,
        /// The number known here.
        known: u32,
    },
    /// What was executed here is not what the chain, or the store, says: damaged data, or a consensus fault. Nothing
    /// may be signed on top of it.
    #[error("at height {height} the {what} computed here is {own}, and {other} according to the chain")]
    Diverged {
        /// The height executed.
        height: Height,
        /// What differs.
        what: &'static str,
        /// The value computed here.
        own: Hash,
        /// The value stored, anchored or certified.
        other: Hash,
    },
    /// An error came before this; what is on disk is not known, so nothing more is written.
    #[error("the ledger has stopped after an error")]
    Stopped,
}

/// Compares what was executed here with what a quorum anchored or certified.
pub(super) fn compare(own: &CheckpointPayload, other: &Anchor) -> Result<(), LedgerError> {
    let height = own.height;
    assert_eq!(height, other.height, "things of one height are compared");
    if own.state_root != other.state_root {
        let (what, own, other) = ("state root", own.state_root, other.state_root);
        return Err(LedgerError::Diverged { height, what, own, other });
    }
    let hash = own.hash();
    if hash != other.checkpoint {
        return Err(LedgerError::Diverged { height, what: "checkpoint", own: hash, other: other.checkpoint });
    }
    Ok(())
}
