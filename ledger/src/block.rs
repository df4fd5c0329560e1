//! Headers and blocks, and the names computed from them.
//!
//! The view is not in the header: a block proposed again in a later view keeps its bytes, its hash, its time and its
//! first proposer (`docs/pbft.md §2`). The hash of a block is that of its header, which commits to the transactions by
//! their root; whether a block's transactions are those its header names is asked with [`Block::check_root`], once,
//! where the block comes from outside.

use std::sync::Arc;

use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Domain, Hash, codec, merkle};

use crate::bounded::invalid;
use crate::parameters::{BLOCK_BYTES_LIMIT, BLOCK_TRANSACTIONS_LIMIT, Parameters};
use crate::primitives::{Account, Epoch, Height, UnixMillis};
use crate::transaction::Transaction;

/// An executed state that a header builds on: the newest one its proposer held a checkpoint certificate for. It never
/// goes back from parent to child.
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
pub struct Anchor {
    /// The height executed.
    pub height: Height,
    /// Root of the state after it.
    pub state_root: Hash,
    /// Hash of the whole CHECKPOINT payload, see [`CheckpointPayload::hash`](crate::CheckpointPayload::hash).
    pub checkpoint: Hash,
}

/// What validators vote on.
#[derive(
    Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Format of the block: [`Header::VERSION`].
    pub version: u8,
    /// The hash of the genesis.
    pub chain: Hash,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// Its place in the chain, from 1.
    pub height: Height,
    /// Hash of the block below; of the genesis at height 1.
    pub parent: Hash,
    /// RFC 6962 root over the hashes of the transactions, see [`Block::transactions_root`].
    pub transactions_root: Hash,
    /// By the proposer's clock, above the parent's time.
    pub time: UnixMillis,
    /// The validator that proposed it first, and that its fees go to.
    pub proposer: Account,
    /// The newest certified state its proposer knew.
    pub anchor: Anchor,
}

impl Header {
    /// The only format there is.
    pub const VERSION: u8 = 1;

    /// Bytes of every header: its fields have fixed sizes.
    pub const BYTES: usize = 1 + 32 + 8 + 8 + 32 + 32 + 8 + 32 + (8 + 32 + 32);

    /// The name of the block.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Domain::Header.hash(&[&codec::encode(self)])
    }
}

/// A header with transactions, and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    header: Header,
    transactions: Vec<Arc<Transaction>>,
    hash: Hash,
}

/// The transactions beside a header are not those it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header names transactions with root {named}, these have {found}")]
pub struct RootError {
    /// What the header says.
    pub named: Hash,
    /// What the transactions give.
    pub found: Hash,
}

impl Block {
    /// Joins a header and transactions. Whether they belong together is [`Block::check_root`]'s to say.
    #[must_use]
    pub fn new(header: Header, transactions: Vec<Arc<Transaction>>) -> Self {
        let hash = header.hash();
        Block { header, transactions, hash }
    }

    /// What was voted on.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What it includes, in order of execution.
    #[must_use]
    pub fn transactions(&self) -> &[Arc<Transaction>] {
        &self.transactions
    }

    /// The hash of its header.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Its place in the chain.
    #[must_use]
    pub fn height(&self) -> Height {
        self.header.height
    }

    /// Hash of the block below.
    #[must_use]
    pub fn parent(&self) -> Hash {
        self.header.parent
    }

    /// The time all its transactions see.
    #[must_use]
    pub fn time(&self) -> UnixMillis {
        self.header.time
    }

    /// The hashes of its transactions, in order: what a proposal names them by.
    #[must_use]
    pub fn transaction_hashes(&self) -> Vec<Hash> {
        self.transactions.iter().map(|transaction| transaction.hash()).collect()
    }

    /// The RFC 6962 root over transaction hashes, as a header carries it.
    #[must_use]
    pub fn transactions_root(hashes: &[Hash]) -> Hash {
        let leaves: Vec<&[u8; 32]> = hashes.iter().map(Hash::as_bytes).collect();
        merkle::root(&leaves)
    }

    /// That its transactions are those its header names.
    ///
    /// # Errors
    /// [`RootError`] with both roots.
    pub fn check_root(&self) -> Result<(), RootError> {
        let found = Self::transactions_root(&self.transaction_hashes());
        let named = self.header.transactions_root;
        if found == named { Ok(()) } else { Err(RootError { named, found }) }
    }

    /// Bytes of its transactions: what `block_bytes_max` limits.
    #[must_use]
    pub fn transaction_bytes(&self) -> usize {
        self.transactions.iter().map(|transaction| transaction.size()).sum()
    }

    /// Whether what waits may have been left out of it for want of room: it holds as many transactions as it may, or the
    /// largest that there can be would not have fitted. Whoever looks at a block does not know the size of what its proposer
    /// left out: with room for the largest, there was room for it.
    #[must_use]
    pub fn is_full(&self, parameters: &Parameters) -> bool {
        let bytes = self.transaction_bytes().saturating_add(parameters.transaction_bytes_max as usize);
        bytes > parameters.block_bytes_max as usize
            || self.transactions.len() >= parameters.block_transactions_max as usize
    }

    /// Encoded size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        Header::BYTES + size_of::<u32>() + self.transaction_bytes()
    }
}

impl BorshSerialize for Block {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.header.serialize(writer)?;
        let count = u32::try_from(self.transactions.len())
            .map_err(|_| invalid("a block of more than 2^32 transactions"))?;
        count.serialize(writer)?;
        self.transactions.iter().try_for_each(|transaction| transaction.serialize(writer))
    }
}

impl BorshDeserialize for Block {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let header = Header::deserialize_reader(reader)?;
        let mut room = BLOCK_BYTES_LIMIT as usize;
        let transactions = codec::bounded_list(
            reader,
            BLOCK_TRANSACTIONS_LIMIT as usize,
            "transactions of a block",
            |reader| {
                let transaction = Transaction::deserialize_reader(reader)?;
                room = room.checked_sub(transaction.size()).ok_or_else(|| {
                    invalid(format!("a block of more than {BLOCK_BYTES_LIMIT} bytes of transactions"))
                })?;
                Ok(Arc::new(transaction))
            },
        )?;
        Ok(Block::new(header, transactions))
    }
}

#[cfg(test)]
mod tests;
