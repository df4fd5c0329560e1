//! Why a proposal is refused, and whether that is its proposer's fault.

use quorate_crypto::Hash;

use crate::block::{Header, RootError};
use crate::primitives::{Account, Epoch, Height, UnixMillis};
use crate::transaction::TransactionError;

/// Why a proposal is not a block to vote for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Nothing at or below the committed height is judged any more. Nobody's fault: the question came late.
    #[error("height {height} is not above the committed height {committed}")]
    AlreadyCommitted {
        /// The height asked about.
        height: Height,
        /// The height committed.
        committed: Height,
    },
    /// The block below is not here. Nobody's fault: it may come.
    #[error("the parent {parent} is not here")]
    UnknownParent {
        /// What the header names.
        parent: Hash,
    },
    /// The block below has lost against the committed one. Nobody's fault: that may be news.
    #[error("the parent {parent} does not descend from the committed block {committed}")]
    Abandoned {
        /// What the header names.
        parent: Hash,
        /// The committed tip.
        committed: Hash,
    },
    /// A header of an unknown format.
    #[error("block format {version} is unknown, {} is expected", Header::VERSION)]
    WrongVersion {
        /// The format it claims.
        version: u8,
    },
    /// A block of another chain.
    #[error("the block is of chain {chain}, this is {expected}")]
    WrongChain {
        /// The chain it names.
        chain: Hash,
        /// This chain.
        expected: Hash,
    },
    /// A block of another epoch than the one whose rules are known here. Nobody's fault: the engine has judged the
    /// epoch, and this part may be told of the next one later than it, or earlier.
    #[error("the block is of epoch {epoch}, the rules here are those of {expected}")]
    WrongEpoch {
        /// The epoch it names.
        epoch: Epoch,
        /// The epoch whose rules are known.
        expected: Epoch,
    },
    /// Not one above its parent.
    #[error("the height is {height}, above its parent stands {expected}")]
    WrongHeight {
        /// The height it claims.
        height: Height,
        /// Its parent's, plus one.
        expected: Height,
    },
    /// Not later than its parent.
    #[error("the time is {time}, its parent's {parent}")]
    NotAfterParent {
        /// The time it claims.
        time: UnixMillis,
        /// Its parent's.
        parent: UnixMillis,
    },
    /// More transactions than `block_transactions_max`.
    #[error("the block has {count} transactions, at most {max} are allowed")]
    TooManyTransactions {
        /// How many it has.
        count: usize,
        /// What is allowed.
        max: u32,
    },
    /// More bytes of transactions than `block_bytes_max`.
    #[error("the transactions have {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// How many they have.
        bytes: usize,
        /// What is allowed.
        max: u32,
    },
    /// The transactions are not those the header names.
    #[error(transparent)]
    WrongRoot(#[from] RootError),
    /// A transaction that may be in no block, or not at this time.
    #[error("transaction {index}: {source}")]
    Transaction {
        /// Which one, from 0.
        index: usize,
        /// The rule it breaks.
        source: TransactionError,
    },
    /// A transaction that is in the block twice, under one signature or two.
    #[error("transaction {index}, {id}, is in the block already")]
    Repeated {
        /// The place of the second, from 0.
        index: usize,
        /// The id of both.
        id: Hash,
    },
    /// A transaction that is in a block below.
    #[error("transaction {index}, {id}, is in an ancestor already")]
    Included {
        /// Which one, from 0.
        index: usize,
        /// Its id.
        id: Hash,
    },
    /// A second approval of one validator that pays nothing.
    #[error("transaction {index} is the second approval of {sender} in the block that pays no fee")]
    SecondFreeApproval {
        /// The place of the second, from 0.
        index: usize,
        /// The validator.
        sender: Account,
    },
    /// A second transaction of one sender with statements of new validators.
    #[error("transaction {index} is the second of {sender} in the block with statements of new validators")]
    SecondStatements {
        /// The place of the second, from 0.
        index: usize,
        /// The sender.
        sender: Account,
    },
}

impl BlockError {
    /// Whether a correct validator would never have proposed the block.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        match self {
            BlockError::AlreadyCommitted { .. }
            | BlockError::UnknownParent { .. }
            | BlockError::Abandoned { .. }
            | BlockError::WrongEpoch { .. } => false,
            BlockError::WrongVersion { .. }
            | BlockError::WrongChain { .. }
            | BlockError::WrongHeight { .. }
            | BlockError::NotAfterParent { .. }
            | BlockError::TooManyTransactions { .. }
            | BlockError::TooLarge { .. }
            | BlockError::WrongRoot(_)
            | BlockError::Transaction { .. }
            | BlockError::Repeated { .. }
            | BlockError::Included { .. }
            | BlockError::SecondFreeApproval { .. }
            | BlockError::SecondStatements { .. } => true,
        }
    }
}
