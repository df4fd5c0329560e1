//! Why a transaction can be in no block: always its sender's fault.

use quorate_crypto::Hash;

use super::Payload;
use crate::parameters::ParameterError;
use crate::primitives::{Account, Amount, UnixMillis};
use crate::validators::ValidatorSetError;

/// Why a transaction can be in no block, or not in one of that time: the sender's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// A format this node does not know.
    #[error("transaction format {version} is unknown, {} is expected", Payload::VERSION)]
    WrongVersion {
        /// The format it claims.
        version: u8,
    },
    /// Meant for another chain.
    #[error("the transaction is for chain {chain}, this is {expected}")]
    WrongChain {
        /// The chain it names.
        chain: Hash,
        /// This chain.
        expected: Hash,
    },
    /// More bytes than `transaction_bytes_max`.
    #[error("the transaction has {size} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its encoded size.
        size: usize,
        /// What is allowed.
        max: u32,
    },
    /// It does nothing.
    #[error("the transaction has no operations")]
    NoOperations,
    /// More operations than `operations_max`.
    #[error("the transaction has {count} operations, at most {max} are allowed")]
    TooManyOperations {
        /// How many it has.
        count: usize,
        /// What is allowed.
        max: u32,
    },
    /// An empty key, or one longer than `key_bytes_max`.
    #[error("the key of operation {operation} has {size} bytes, 1 to {max} are allowed")]
    KeySize {
        /// Which operation, from 0.
        operation: usize,
        /// Length of its key.
        size: usize,
        /// What is allowed.
        max: u32,
    },
    /// A value longer than `value_bytes_max`.
    #[error("the value of operation {operation} has {size} bytes, at most {max} are allowed")]
    ValueSize {
        /// Which operation, from 0.
        operation: usize,
        /// Length of its value.
        size: usize,
        /// What is allowed.
        max: u32,
    },
    /// Less than `fee_base + fee_per_byte * size`.
    #[error("the fee is {fee}, at least {least} is required")]
    FeeTooLow {
        /// What it offers.
        fee: Amount,
        /// What it must offer.
        least: Amount,
    },
    /// The sender is not a key that one party alone can sign with.
    #[error("the sender {sender} is not a usable key")]
    BadSender {
        /// The account it names.
        sender: Account,
    },
    /// An operation approves of keys that are no validator set.
    #[error("the validators that operation {operation} approves of: {source}")]
    BadValidators {
        /// Which operation, from 0.
        operation: usize,
        /// What is wrong with them.
        source: ValidatorSetError,
    },
    /// An operation approves of parameters that no epoch can have.
    #[error("the parameters that operation {operation} approves of: {source}")]
    BadParameters {
        /// Which operation, from 0.
        operation: usize,
        /// Which one, and what is allowed.
        source: ParameterError,
    },
    /// The signature is not the sender's over this payload.
    #[error("the signature is not the sender's")]
    BadSignature,
    /// The block's time has reached its end.
    #[error("the transaction expired at {expires_at}, it is {time}")]
    Expired {
        /// Its end.
        expires_at: UnixMillis,
        /// The time it was held against.
        time: UnixMillis,
    },
    /// Its end lies further ahead than ids are remembered.
    #[error("the transaction expires at {expires_at}, at most {latest} is allowed now")]
    ExpiresTooLate {
        /// Its end.
        expires_at: UnixMillis,
        /// The latest end allowed.
        latest: UnixMillis,
    },
}

impl TransactionError {
    /// The fixed word for programs, as JSON-RPC gives it in `data.reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            TransactionError::WrongVersion { .. } => "WRONG_VERSION",
            TransactionError::WrongChain { .. } => "WRONG_CHAIN",
            TransactionError::TooLarge { .. } => "TOO_LARGE",
            TransactionError::NoOperations => "NO_OPERATIONS",
            TransactionError::TooManyOperations { .. } => "TOO_MANY_OPERATIONS",
            TransactionError::KeySize { .. } => "KEY_SIZE",
            TransactionError::ValueSize { .. } => "VALUE_SIZE",
            TransactionError::FeeTooLow { .. } => "FEE_TOO_LOW",
            TransactionError::BadSender { .. } => "BAD_SENDER",
            TransactionError::BadValidators { .. } => "BAD_VALIDATORS",
            TransactionError::BadParameters { .. } => "BAD_PARAMETERS",
            TransactionError::BadSignature => "BAD_SIGNATURE",
            TransactionError::Expired { .. } => "EXPIRED",
            TransactionError::ExpiresTooLate { .. } => "EXPIRES_TOO_LATE",
        }
    }
}
