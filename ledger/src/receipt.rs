//! What became of a transaction. The receipts of a block are committed to by the CHECKPOINT of its height.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Hash, codec, hex_bytes, merkle};
use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::decimal;
use crate::primitives::{Account, Amount, Height, Version};

/// The outcome of one included transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The id of the transaction.
    pub id: Hash,
    /// The height of its block.
    pub height: Height,
    /// Its place in the block, from 0.
    pub index: u32,
    /// What its sender paid, whatever the outcome.
    #[serde(with = "decimal")]
    pub fee_paid: Amount,
    /// Whether its operations took effect: all or none.
    pub outcome: Outcome,
    /// What they did, in order; empty unless the outcome is [`Outcome::Ok`].
    #[borsh(deserialize_with = "bounded::events")]
    pub events: Vec<LedgerEvent>,
}

/// Whether a transaction took effect.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(tag = "status", rename_all = "snake_case", deny_unknown_fields)]
#[repr(u8)]
pub enum Outcome {
    /// All operations took effect.
    Ok = 0,
    /// The sender could not pay the fee: what it had was taken, nothing else happened.
    FeeUnpaid = 1,
    /// An operation could not be done: the fee was paid, nothing else happened.
    Failed {
        /// Which operation, from 0.
        operation: u32,
        /// Why.
        reason: Failure,
    } = 2,
}

/// Why an operation could not be done in the state it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum Failure {
    /// The sender has less than it would move.
    InsufficientFunds = 0,
    /// The receiver would have more than an amount can say.
    BalanceOverflow = 1,
    /// The key belongs to another account.
    NotOwner = 2,
    /// There is no such key.
    KeyNotFound = 3,
    /// The key should have been absent.
    KeyExists = 4,
    /// The key is at another version.
    WrongVersion = 5,
    /// The key has another value.
    WrongValue = 6,
    /// The sender approves of a change and is no validator.
    NotValidator = 7,
    /// A key that is not a validator's yet is approved of without its statement that it is ready.
    NotReady = 8,
    /// Such a statement names a checkpoint that no recent header anchors.
    ReadinessStale = 9,
    /// Such a statement is not signed by its key for this chain and epoch.
    ReadinessInvalid = 10,
}

impl Failure {
    /// The fixed word for programs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Failure::InsufficientFunds => "INSUFFICIENT_FUNDS",
            Failure::BalanceOverflow => "BALANCE_OVERFLOW",
            Failure::NotOwner => "NOT_OWNER",
            Failure::KeyNotFound => "KEY_NOT_FOUND",
            Failure::KeyExists => "KEY_EXISTS",
            Failure::WrongVersion => "WRONG_VERSION",
            Failure::WrongValue => "WRONG_VALUE",
            Failure::NotValidator => "NOT_VALIDATOR",
            Failure::NotReady => "NOT_READY",
            Failure::ReadinessStale => "READINESS_STALE",
            Failure::ReadinessInvalid => "READINESS_INVALID",
        }
    }
}

/// One change that a transaction made.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[repr(u8)]
pub enum LedgerEvent {
    /// Coins moved.
    Transferred {
        /// Who paid.
        from: Account,
        /// Who received.
        to: Account,
        /// How much.
        #[serde(with = "decimal")]
        amount: Amount,
    } = 0,
    /// A key was set.
    KeyPut {
        /// Which.
        #[borsh(deserialize_with = "bounded::key")]
        #[serde(with = "hex_bytes")]
        key: Vec<u8>,
        /// The version it has now.
        version: Version,
    } = 1,
    /// A key was removed.
    KeyDeleted {
        /// Which.
        #[borsh(deserialize_with = "bounded::key")]
        #[serde(with = "hex_bytes")]
        key: Vec<u8>,
    } = 2,
    /// A validator approved of a change.
    Approved {
        /// Which validator.
        validator: Account,
        /// The change, see [`EpochChange::hash`](crate::EpochChange::hash).
        change: Hash,
        /// How many of the validators in force approve of it now.
        approvals: u32,
    } = 3,
    /// That approval made a quorum: the epoch ends, and the change takes effect.
    EpochEnds {
        /// The last height of the epoch.
        last: Height,
        /// The change, see [`EpochChange::hash`](crate::EpochChange::hash).
        change: Hash,
    } = 4,
}

/// The RFC 6962 root over the encoded receipts of a block, in order.
#[must_use]
pub fn receipts_root(receipts: &[Receipt]) -> Hash {
    let leaves: Vec<Vec<u8>> = receipts.iter().map(codec::encode).collect();
    merkle::root(&leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reason with its number in the format; a new failure must be added at the end.
    const FAILURES: [Failure; 11] = [
        Failure::InsufficientFunds,
        Failure::BalanceOverflow,
        Failure::NotOwner,
        Failure::KeyNotFound,
        Failure::KeyExists,
        Failure::WrongVersion,
        Failure::WrongValue,
        Failure::NotValidator,
        Failure::NotReady,
        Failure::ReadinessStale,
        Failure::ReadinessInvalid,
    ];

    fn receipt(outcome: Outcome) -> Receipt {
        Receipt {
            id: Hash::of(b"id"),
            height: Height(7),
            index: 3,
            fee_paid: 1 << 100,
            outcome,
            events: Vec::new(),
        }
    }

    #[test]
    fn failures_are_called_the_same_in_json_and_in_code() {
        for (number, failure) in FAILURES.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(failure).expect("a word"), failure.reason());
            assert_eq!(codec::encode(&failure), [u8::try_from(number).expect("a handful")]);
        }
    }

    #[test]
    fn receipts_survive_both_encodings() {
        let failed = Outcome::Failed { operation: 2, reason: Failure::NotOwner };
        for outcome in [Outcome::Ok, Outcome::FeeUnpaid, failed] {
            let mut receipt = receipt(outcome);
            receipt
                .events
                .push(LedgerEvent::KeyPut { key: vec![1, 2], version: Version::new(Height(7), 3, 0) });
            receipt.events.push(LedgerEvent::KeyDeleted { key: vec![3] });
            let decoded: Receipt = codec::decode(&codec::encode(&receipt)).expect("own encoding");
            assert_eq!(decoded, receipt);
            let json = serde_json::to_string(&receipt).expect("json");
            assert_eq!(serde_json::from_str::<Receipt>(&json).expect("own json"), receipt, "{json}");
        }
    }

    #[test]
    fn the_root_covers_every_field_and_the_order() {
        let (first, second) = (receipt(Outcome::Ok), receipt(Outcome::FeeUnpaid));
        let root = receipts_root(&[first.clone(), second.clone()]);
        assert_ne!(root, receipts_root(&[second.clone(), first.clone()]));
        assert_ne!(root, receipts_root(&[first.clone(), Receipt { fee_paid: 0, ..second }]));
        assert_eq!(receipts_root(&[]), Hash::of(b""), "RFC 6962 §2.1: the root of no entries");
    }
}
