//! What became of a transaction.

use quorate_crypto::Hash;
use quorate_ledger::{Height, Payload, Receipt, UnixMillis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// A transaction that this node's pool has taken, or that the chain already holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Submitted {
    /// Its id: the same bytes again answer the same id.
    #[schemars(with = "schema::Hash")]
    pub(crate) id: Hash,
}

/// What is known of a transaction. `as_of` is the newest height executed on this node when it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one at a time, on its way to the wire")]
pub(crate) enum TransactionStatus {
    /// In this node's pool, neither included nor expired.
    Pending {
        /// Its id.
        #[schemars(with = "schema::Hash")]
        id: Hash,
        /// The newest height executed on this node.
        #[schemars(with = "schema::Number")]
        as_of: Height,
    },
    /// Included in a committed block and executed; the receipt says whether with success. This is final.
    Committed {
        /// Its id.
        #[schemars(with = "schema::Hash")]
        id: Hash,
        /// The newest height executed on this node.
        #[schemars(with = "schema::Number")]
        as_of: Height,
        /// Height of its block.
        #[schemars(with = "schema::Number")]
        height: Height,
        /// Hash of its block.
        #[schemars(with = "schema::Hash")]
        block: Hash,
        /// Time of its block.
        #[schemars(with = "schema::Number")]
        time: UnixMillis,
        /// Its place in the block, from 0.
        index: u32,
        /// What the sender signed.
        #[schemars(with = "schema::Payload")]
        payload: Payload,
        /// How it ended and what it did.
        #[schemars(with = "schema::Receipt")]
        receipt: Receipt,
    },
    /// It can never be included: a committed block has reached the end of its life without it. This is final.
    Expired {
        /// Its id.
        #[schemars(with = "schema::Hash")]
        id: Hash,
        /// The newest height executed on this node.
        #[schemars(with = "schema::Number")]
        as_of: Height,
        /// The end of its life.
        #[schemars(with = "schema::Number")]
        expires_at: UnixMillis,
        /// The first block whose time reached it.
        #[schemars(with = "schema::Number")]
        at: Height,
    },
    /// Neither in the chain nor in this node's pool: it may still be elsewhere, or never have been sent.
    Unknown {
        /// Its id.
        #[schemars(with = "schema::Hash")]
        id: Hash,
        /// The newest height executed on this node.
        #[schemars(with = "schema::Number")]
        as_of: Height,
    },
}
