//! A signed transaction and what makes it valid on its own, whatever the state (`docs/pbft.md §3.1`).
//!
//! Its *id* is the hash of the signed bytes without the signature: what users know and what is included once. Its
//! *hash* covers the signature too: one payload can have several valid signatures, and roots, proposals and fetches
//! must name bytes. Both are computed where a transaction is made or decoded, never read from outside.

mod error;

use std::fmt;
use std::sync::{Arc, OnceLock};

use borsh::io::{Read, Result as IoResult, Write};
use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Domain, Hash, SecretKey, Signature, verify};

use crate::approval::{ProposedChange, ProposedChangeError};
use crate::bounded::{self, invalid};
use crate::decimal;
use crate::epoch::EpochStart;
use crate::operation::Operation;
use crate::parameters::{ParameterError, Parameters, TRANSACTION_BYTES_LIMIT};
use crate::primitives::{Account, Amount, Epoch, UnixMillis};
use crate::validators::ValidatorSet;

pub use error::TransactionError;

/// What the sender signs.
#[derive(
    Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// Format of the transaction: [`Payload::VERSION`].
    pub version: u8,
    /// The chain it is meant for: the hash of its genesis.
    pub chain: Hash,
    /// Who signs, pays the fee and owns what it creates.
    pub sender: Account,
    /// Any number: it only makes otherwise equal transactions differ.
    #[serde(with = "decimal")]
    pub nonce: u64,
    /// The first block time at which it can no longer be included.
    pub expires_at: UnixMillis,
    /// What it pays to the proposer of its block.
    #[serde(with = "decimal")]
    pub fee: Amount,
    /// What it does, in order, all or nothing.
    #[borsh(deserialize_with = "bounded::operations")]
    pub operations: Vec<Operation>,
}

impl Payload {
    /// The only format there is.
    pub const VERSION: u8 = 1;
}

/// A payload with a signature over it, which nobody need have verified yet, and the names computed from both.
#[derive(Clone)]
pub struct Transaction {
    payload: Payload,
    signature: Signature,
    id: Hash,
    hash: Hash,
    size: usize,
    /// Whether the sender is a usable key, once that was asked: decompressing the point costs as much as executing the
    /// transaction, and a validator asks when the pool takes it and again in every block proposed with it.
    usable_sender: OnceLock<bool>,
    /// What is wrong with a change it approves of, once that was asked: the same is true of every key in there.
    bad_change: OnceLock<Option<Box<TransactionError>>>,
}

/// By name: the content can be a mebibyte.
impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = f.debug_struct("Transaction");
        names
            .field("id", &self.id)
            .field("hash", &self.hash)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// The hash names the bytes.
impl PartialEq for Transaction {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Transaction {}

/// What the chain asks of a transaction: the same for every block of an epoch.
#[derive(Clone, Debug)]
pub struct TransactionRules {
    /// The hash of the genesis.
    pub chain: Hash,
    /// The epoch.
    pub epoch: Epoch,
    /// Its parameters.
    pub parameters: Arc<Parameters>,
    /// Its validators, who may approve of a change for nothing.
    pub validators: Arc<ValidatorSet>,
}

impl TransactionRules {
    /// The rules in an epoch of a chain.
    #[must_use]
    pub fn of(chain: Hash, epoch: &EpochStart) -> Self {
        TransactionRules {
            chain,
            epoch: epoch.number,
            parameters: Arc::new(epoch.parameters.clone()),
            validators: Arc::new(epoch.validators.clone()),
        }
    }

    /// The least fee of a transaction of `size` bytes: `fee_base + fee_per_byte * size`.
    #[must_use]
    pub fn least_fee(&self, size: usize) -> Amount {
        // The bounds of the parameters keep this far from u128::MAX; saturating only refuses more.
        self.parameters.fee_base.saturating_add(self.parameters.fee_per_byte.saturating_mul(size as Amount))
    }
}

impl Transaction {
    /// Bytes of the smallest possible encoding: no operations.
    pub const BYTES_MIN: usize = 1 + 32 + 32 + 8 + 8 + 16 + 4 + Self::SIGNATURE_BYTES;

    const SIGNATURE_BYTES: usize = 64;

    /// Joins a payload and a signature made elsewhere.
    #[must_use]
    pub fn new(payload: Payload, signature: Signature) -> Self {
        let message = Domain::Transaction.message(&payload.chain, &payload);
        Self::with_message(payload, signature, &message)
    }

    /// Signs a payload. The key should be the sender's; [`Transaction::verify_signature`] says whether it was.
    #[must_use]
    pub fn sign(payload: Payload, key: &SecretKey) -> Self {
        let message = Domain::Transaction.message(&payload.chain, &payload);
        let signature = key.sign_bytes(&message);
        Self::with_message(payload, signature, &message)
    }

    fn with_message(payload: Payload, signature: Signature, message: &[u8]) -> Self {
        let id = Hash::of(message);
        let hash = Domain::TransactionHash.hash(&[id.as_bytes(), signature.as_bytes()]);
        let prefix = Domain::Transaction.tag().len() + payload.chain.as_bytes().len();
        let size = message.len() - prefix + Self::SIGNATURE_BYTES;
        Transaction {
            payload,
            signature,
            id,
            hash,
            size,
            usable_sender: OnceLock::new(),
            bad_change: OnceLock::new(),
        }
    }

    /// What the sender signed.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The signature, verified or not.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// SHA-256 of the signed bytes: what is included once.
    #[must_use]
    pub fn id(&self) -> Hash {
        self.id
    }

    /// Hash over id and signature: what names these very bytes.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Encoded size in bytes, signature included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Who signs and pays.
    #[must_use]
    pub fn sender(&self) -> Account {
        self.payload.sender
    }

    /// The first block time at which it can no longer be included.
    #[must_use]
    pub fn expires_at(&self) -> UnixMillis {
        self.payload.expires_at
    }

    /// The bytes the signature is over: domain tag, chain id, payload.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        Domain::Transaction.message(&self.payload.chain, &self.payload)
    }

    /// Whether the signature is the sender's (ZIP-215). The one check here that costs more than a few microseconds.
    #[must_use]
    pub fn verify_signature(&self) -> bool {
        verify(&self.payload.sender.0, &self.message(), &self.signature)
    }

    /// Everything that can be said without the state, the block's time and the signature.
    ///
    /// # Errors
    /// The first rule it breaks, cheap ones first.
    pub fn check(&self, rules: &TransactionRules) -> Result<(), TransactionError> {
        let parameters = &*rules.parameters;
        let payload = &self.payload;
        if payload.version != Payload::VERSION {
            return Err(TransactionError::WrongVersion { version: payload.version });
        }
        if payload.chain != rules.chain {
            return Err(TransactionError::WrongChain { chain: payload.chain, expected: rules.chain });
        }
        if exceeds(self.size, parameters.transaction_bytes_max) {
            return Err(TransactionError::TooLarge {
                size: self.size,
                max: parameters.transaction_bytes_max,
            });
        }
        let count = payload.operations.len();
        if count == 0 {
            return Err(TransactionError::NoOperations);
        }
        if exceeds(count, parameters.operations_max) {
            return Err(TransactionError::TooManyOperations { count, max: parameters.operations_max });
        }
        for (index, operation) in payload.operations.iter().enumerate() {
            check_operation(index, operation, parameters)?;
        }
        let least = rules.least_fee(self.size);
        if payload.fee < least && !self.is_free_approval(rules) {
            return Err(TransactionError::FeeTooLow { fee: payload.fee, least });
        }
        if !*self.usable_sender.get_or_init(|| payload.sender.0.check().is_ok()) {
            return Err(TransactionError::BadSender { sender: payload.sender });
        }
        match self.bad_change.get_or_init(|| bad_change(&payload.operations).map(Box::new)) {
            Some(error) => Err((**error).clone()),
            None => Ok(()),
        }
    }

    /// Whether it pays less than everybody has to because it is a validator's approval and nothing else, for which the
    /// fee may be 0: who decides about the chain need not have coins. A block holds one such of each validator.
    #[must_use]
    pub fn is_free_approval(&self, rules: &TransactionRules) -> bool {
        self.payload.fee == 0
            && rules.least_fee(self.size) > 0
            && matches!(*self.payload.operations, [Operation::Approve { .. }])
            && rules.validators.index_of(&self.payload.sender.0).is_some()
    }

    /// Whether it approves of validators with statements that new ones are ready: each costs whoever executes it the check of
    /// a signature, so a block holds one such transaction of each sender.
    #[must_use]
    pub fn carries_statements(&self) -> bool {
        self.payload.operations.iter().any(|operation| {
            matches!(operation, Operation::Approve { change: ProposedChange::Validators(proposed) }
                if proposed.iter().any(|validator| validator.readiness.is_some()))
        })
    }

    /// The least balance that its sender must have for it to succeed, as far as the transaction itself tells: the fee
    /// and all it transfers to others, and what it transfers to itself in between. `None`: more than there can be.
    ///
    /// *Advisory*: for telling a client at once what would most likely fail. Coins may come and go before the block, and
    /// a sender that proposes the block itself gets the fee back; no rule of the chain looks at this.
    #[must_use]
    pub fn least_balance(&self) -> Option<Amount> {
        let mut spent = self.payload.fee;
        let mut least = spent;
        for operation in &self.payload.operations {
            if let Operation::Transfer { to, amount } = operation {
                let needed = spent.checked_add(*amount)?;
                least = least.max(needed);
                if *to != self.payload.sender {
                    spent = needed;
                }
            }
        }
        Some(least)
    }

    /// Whether a block of this time may hold it: `time < expires_at <= time + lifetime_max`.
    ///
    /// # Errors
    /// [`TransactionError::Expired`] or [`TransactionError::ExpiresTooLate`].
    pub fn fits_time(&self, time: UnixMillis, lifetime_max: u64) -> Result<(), TransactionError> {
        let expires_at = self.payload.expires_at;
        let latest = time.plus_millis(lifetime_max);
        if expires_at <= time {
            Err(TransactionError::Expired { expires_at, time })
        } else if expires_at > latest {
            Err(TransactionError::ExpiresTooLate { expires_at, latest })
        } else {
            Ok(())
        }
    }
}

fn check_operation(
    index: usize,
    operation: &Operation,
    parameters: &Parameters,
) -> Result<(), TransactionError> {
    if let Some(key) = operation.key()
        && (key.is_empty() || exceeds(key.len(), parameters.key_bytes_max))
    {
        let max = parameters.key_bytes_max;
        return Err(TransactionError::KeySize { operation: index, size: key.len(), max });
    }
    if let Some(value) = operation.value()
        && exceeds(value.len(), parameters.value_bytes_max)
    {
        let max = parameters.value_bytes_max;
        return Err(TransactionError::ValueSize { operation: index, size: value.len(), max });
    }
    if let Operation::Approve { change: ProposedChange::Parameters(proposed) } = operation
        && proposed.transaction_lifetime_max_ms != parameters.transaction_lifetime_max_ms
    {
        let source = ParameterError {
            key: "transaction_lifetime_max_ms",
            value: u128::from(proposed.transaction_lifetime_max_ms),
            reason: format!("must stay {}: no epoch changes it", parameters.transaction_lifetime_max_ms),
        };
        return Err(TransactionError::BadParameters { operation: index, source });
    }
    Ok(())
}

/// The first operation that approves of what no epoch can be.
fn bad_change(operations: &[Operation]) -> Option<TransactionError> {
    operations.iter().enumerate().find_map(|(operation, it)| match it {
        Operation::Approve { change } => match change.resulting().err()? {
            ProposedChangeError::Validators(source) => {
                Some(TransactionError::BadValidators { operation, source })
            }
            ProposedChangeError::Parameters(source) => {
                Some(TransactionError::BadParameters { operation, source })
            }
        },
        Operation::Transfer { .. }
        | Operation::Put { .. }
        | Operation::Delete { .. }
        | Operation::Check(_) => None,
    })
}

/// Whether a size passes a limit; `usize` may be wider than `u32` or, on small machines, not.
fn exceeds(size: usize, max: u32) -> bool {
    size as u64 > u64::from(max)
}

impl BorshSerialize for Transaction {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        self.payload.serialize(writer)?;
        self.signature.serialize(writer)
    }
}

impl BorshDeserialize for Transaction {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        // The limit holds for the whole as well as for each part: 1,024 values of a mebibyte are refused while the
        // second is being read.
        let mut reader = reader.take(u64::from(TRANSACTION_BYTES_LIMIT) + 1);
        let payload = Payload::deserialize_reader(&mut reader)?;
        let signature = Signature::deserialize_reader(&mut reader)?;
        if reader.limit() == 0 {
            return Err(invalid(format!("a transaction of more than {TRANSACTION_BYTES_LIMIT} bytes")));
        }
        Ok(Transaction::new(payload, signature))
    }
}

#[cfg(test)]
mod tests;
