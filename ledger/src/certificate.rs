//! Proofs that a quorum of an epoch's validators signed one thing: that a block is committed, and what its execution
//! gave (`docs/pbft.md §2`).
//!
//! A commit certificate commits its block *and all its ancestors*: a block without one of its own is stored and served
//! with the nearest certified descendant, as [`CertifiedBlocks`].

use std::sync::Arc;

use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{CertificateError, Domain, Hash, MultiSignature, codec};

use crate::block::{Anchor, Block, Header, RootError};
use crate::bounded::invalid;
use crate::primitives::{Epoch, Height, View};
use crate::validators::ValidatorSet;

/// Most blocks of one [`CertifiedBlocks`].
pub const CERTIFIED_BLOCKS_LIMIT: usize = 1_024;

/// What PREPARE and COMMIT say; each signs it under its own domain, so that neither can stand in for the other.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct CommitPayload {
    /// The epoch whose set votes.
    pub epoch: Epoch,
    /// The view the vote was cast in.
    pub view: View,
    /// The height of the block.
    pub height: Height,
    /// The hash of the block.
    pub block: Hash,
}

/// What CHECKPOINT says: the outcome of executing everything up to a block.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct CheckpointPayload {
    /// The epoch whose set votes.
    pub epoch: Epoch,
    /// The height executed.
    pub height: Height,
    /// The hash of the block there.
    pub block: Hash,
    /// Root of the state after it.
    pub state_root: Hash,
    /// Root over its receipts, see [`receipts_root`](crate::receipts_root).
    pub receipts_root: Hash,
    /// Hash of the validator set that votes on the next height.
    pub next_validators: Hash,
}

impl CheckpointPayload {
    /// The name of this outcome, as later headers anchor it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Domain::Checkpoint.hash(&[&codec::encode(self)])
    }

    /// This outcome as a header refers to it.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        Anchor { height: self.height, state_root: self.state_root, checkpoint: self.hash() }
    }
}

/// A quorum's COMMITs: the block and all its ancestors are final.
#[derive(
    Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct CommitCertificate {
    /// What was signed.
    pub payload: CommitPayload,
    /// Who signed it, with the signatures.
    pub signatures: MultiSignature,
}

impl CommitCertificate {
    /// That a quorum of `set`, the set of the payload's epoch, signed it on this chain.
    ///
    /// # Errors
    /// What is wrong with signers or signatures.
    pub fn verify(&self, chain: &Hash, set: &ValidatorSet) -> Result<(), CertificateError> {
        let message = Domain::Commit.message(chain, &self.payload);
        self.signatures.verify(set.keys(), set.quorum().q(), &message)
    }
}

/// A quorum's CHECKPOINTs: anyone with the validator set can check a read against it.
#[derive(
    Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct CheckpointCertificate {
    /// What was signed.
    pub payload: CheckpointPayload,
    /// Who signed it, with the signatures.
    pub signatures: MultiSignature,
}

impl CheckpointCertificate {
    /// That a quorum of `set`, the set of the payload's epoch, signed it on this chain.
    ///
    /// # Errors
    /// What is wrong with signers or signatures.
    pub fn verify(&self, chain: &Hash, set: &ValidatorSet) -> Result<(), CertificateError> {
        let message = Domain::Checkpoint.message(chain, &self.payload);
        self.signatures.verify(set.keys(), set.quorum().q(), &message)
    }
}

/// Consecutive blocks, lowest first, with the certificate of the last, which covers them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedBlocks {
    /// 1 to [`CERTIFIED_BLOCKS_LIMIT`] blocks of one epoch.
    pub blocks: Vec<Arc<Block>>,
    /// Names the last of them.
    pub certificate: CommitCertificate,
}

/// Why blocks are not proven committed: the fault of whoever sent them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertifiedBlocksError {
    /// There is nothing to prove.
    #[error("no blocks")]
    Empty,
    /// More than [`CERTIFIED_BLOCKS_LIMIT`].
    #[error("{count} blocks, at most {CERTIFIED_BLOCKS_LIMIT} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A header of an unknown format.
    #[error("block format {version} at height {height} is unknown, {} is expected", Header::VERSION)]
    WrongVersion {
        /// Whose header.
        height: Height,
        /// The format it claims.
        version: u8,
    },
    /// A block of another chain.
    #[error("the block at height {height} is of another chain")]
    WrongChain {
        /// Whose header.
        height: Height,
    },
    /// A block of another epoch than the certificate; epochs are proven each by their own.
    #[error("the block at height {height} is of epoch {epoch}, its certificate of epoch {expected}")]
    WrongEpoch {
        /// Whose header.
        height: Height,
        /// The epoch it claims.
        epoch: Epoch,
        /// The certificate's.
        expected: Epoch,
    },
    /// Height, parent hash, time or anchor do not follow from the block below.
    #[error("the block at height {height} does not follow from the block given below it")]
    BrokenLink {
        /// Whose header.
        height: Height,
    },
    /// A block whose transactions are not those its header names.
    #[error("at height {height}: {source}")]
    WrongRoot {
        /// Whose transactions.
        height: Height,
        /// The two roots.
        source: RootError,
    },
    /// The certificate is of another block.
    #[error("the certificate names height {height}, block {block}, which is not the last given")]
    NotTheLast {
        /// The height it names.
        height: Height,
        /// The block it names.
        block: Hash,
    },
    /// The certificate itself does not hold.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl CertifiedBlocks {
    /// That the certificate holds under `set`, the set of its epoch, and covers these blocks. Signatures come last.
    ///
    /// Whether the first block follows from what the caller has is the caller's to see, and whether the transactions
    /// are valid was the voters'.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, chain: &Hash, set: &ValidatorSet) -> Result<(), CertifiedBlocksError> {
        let Some(last) = self.blocks.last() else {
            return Err(CertifiedBlocksError::Empty);
        };
        if self.blocks.len() > CERTIFIED_BLOCKS_LIMIT {
            return Err(CertifiedBlocksError::TooMany { count: self.blocks.len() });
        }
        let payload = &self.certificate.payload;
        if payload.height != last.height() || payload.block != last.hash() {
            return Err(CertifiedBlocksError::NotTheLast { height: payload.height, block: payload.block });
        }
        for block in &self.blocks {
            check_header(block.header(), chain, payload.epoch)?;
        }
        if let Some(pair) = self.blocks.windows(2).find(|pair| !follows(&pair[1], &pair[0])) {
            return Err(CertifiedBlocksError::BrokenLink { height: pair[1].height() });
        }
        for block in &self.blocks {
            let height = block.height();
            block.check_root().map_err(|source| CertifiedBlocksError::WrongRoot { height, source })?;
        }
        Ok(self.certificate.verify(chain, set)?)
    }
}

fn check_header(header: &Header, chain: &Hash, epoch: Epoch) -> Result<(), CertifiedBlocksError> {
    let height = header.height;
    if header.version != Header::VERSION {
        Err(CertifiedBlocksError::WrongVersion { height, version: header.version })
    } else if header.chain != *chain {
        Err(CertifiedBlocksError::WrongChain { height })
    } else if header.epoch != epoch {
        Err(CertifiedBlocksError::WrongEpoch { height, epoch: header.epoch, expected: epoch })
    } else {
        Ok(())
    }
}

/// Whether `child` can stand on `parent`.
fn follows(child: &Block, parent: &Block) -> bool {
    parent.height().0.checked_add(1) == Some(child.height().0)
        && child.parent() == parent.hash()
        && child.time() > parent.time()
        && child.header().anchor.height >= parent.header().anchor.height
}

impl BorshSerialize for CertifiedBlocks {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        let count = u32::try_from(self.blocks.len()).map_err(|_| invalid("more than 2^32 blocks"))?;
        count.serialize(writer)?;
        self.blocks.iter().try_for_each(|block| block.serialize(writer))?;
        self.certificate.serialize(writer)
    }
}

impl BorshDeserialize for CertifiedBlocks {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let blocks = codec::bounded_list(reader, CERTIFIED_BLOCKS_LIMIT, "blocks", |reader| {
            Block::deserialize_reader(reader).map(Arc::new)
        })?;
        Ok(CertifiedBlocks { blocks, certificate: CommitCertificate::deserialize_reader(reader)? })
    }
}

#[cfg(test)]
mod tests;
