//! What a transaction does: its operations, all or nothing.
//!
//! Discriminants are part of the format and never change meaning; 4 to 8 are kept for `Grant`, `Revoke`,
//! `Lock`, `Renew` and `Unlock`.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::hex_bytes;
use serde::{Deserialize, Serialize};

use crate::approval::ProposedChange;
use crate::bounded;
use crate::decimal;
use crate::primitives::{Account, Amount, Version};

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[repr(u8)]
pub enum Operation {
    /// Moves coins from the sender to an account, which comes into being with it.
    Transfer {
        /// Who receives.
        to: Account,
        /// How much.
        #[serde(with = "decimal")]
        amount: Amount,
    } = 0,
    /// Sets a key; the first to set it owns it.
    Put {
        /// 1 to `key_bytes_max` bytes.
        #[borsh(deserialize_with = "bounded::key")]
        #[serde(with = "hex_bytes")]
        key: Vec<u8>,
        /// Up to `value_bytes_max` bytes.
        #[borsh(deserialize_with = "bounded::value")]
        #[serde(with = "hex_bytes")]
        value: Vec<u8>,
    } = 1,
    /// Removes a key the sender owns.
    Delete {
        /// 1 to `key_bytes_max` bytes.
        #[borsh(deserialize_with = "bounded::key")]
        #[serde(with = "hex_bytes")]
        key: Vec<u8>,
    } = 2,
    /// Guards everything after it: the transaction fails unless the condition holds.
    Check(Condition) = 3,
    /// A validator's vote for what the next epoch changes; a newer one takes the place of its open one.
    Approve {
        /// What it approves of.
        change: ProposedChange,
    } = 9,
}

/// What an [`Operation::Check`] demands of the state it finds.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(tag = "condition", rename_all = "snake_case", deny_unknown_fields)]
#[repr(u8)]
pub enum Condition {
    /// No such key.
    KeyAbsent {
        /// The key asked about.
        #[borsh(deserialize_with = "bounded::key")]
        #[serde(with = "hex_bytes")]
        key: Vec<u8>,
    } = 0,
    /// The key is there, whatever its value.
    KeyPresent {
        /// The key asked about.
        #[borsh(deserialize_with = "bounded::key")]
        #[serde(with = "hex_bytes")]
        key: Vec<u8>,
    } = 1,
    /// The key is as that operation left it.
    KeyAtVersion {
        /// The key asked about.
        #[borsh(deserialize_with = "bounded::key")]
        #[serde(with = "hex_bytes")]
        key: Vec<u8>,
        /// The version it must have.
        version: Version,
    } = 2,
    /// The key has this value.
    KeyEquals {
        /// The key asked about.
        #[borsh(deserialize_with = "bounded::key")]
        #[serde(with = "hex_bytes")]
        key: Vec<u8>,
        /// The value it must have.
        #[borsh(deserialize_with = "bounded::value")]
        #[serde(with = "hex_bytes")]
        value: Vec<u8>,
    } = 3,
}

impl Operation {
    /// The key it names, if any.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Operation::Transfer { .. } | Operation::Approve { .. } => None,
            Operation::Put { key, .. } | Operation::Delete { key } => Some(key),
            Operation::Check(condition) => Some(condition.key()),
        }
    }

    /// The value it carries, if any.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Operation::Put { value, .. } | Operation::Check(Condition::KeyEquals { value, .. }) => {
                Some(value)
            }
            Operation::Transfer { .. }
            | Operation::Delete { .. }
            | Operation::Approve { .. }
            | Operation::Check(
                Condition::KeyAbsent { .. } | Condition::KeyPresent { .. } | Condition::KeyAtVersion { .. },
            ) => None,
        }
    }
}

impl Condition {
    /// The key it asks about.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Condition::KeyAbsent { key }
            | Condition::KeyPresent { key }
            | Condition::KeyAtVersion { key, .. }
            | Condition::KeyEquals { key, .. } => key,
        }
    }
}
