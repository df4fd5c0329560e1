//! Blocks, certificates, and what a subscription to the chain carries.

use quorate_crypto::{Hash, Signature};
use quorate_ledger::{Epoch, Header, Height, Payload, Receipt, ValidatorIndex, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parameters::CertificateKind;
use super::schema::{self, Bytes};

/// A block with everything it holds and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BlockAnswer {
    /// Hash of the header, which names the block.
    #[schemars(with = "schema::Hash")]
    pub(crate) hash: Hash,
    /// The header.
    #[schemars(with = "schema::Header")]
    pub(crate) header: Header,
    /// Encoded size in bytes.
    pub(crate) size: u64,
    /// Whether the block has a commit certificate of its own; one without is covered by a descendant's.
    pub(crate) certified: bool,
    /// Its transactions, in order.
    pub(crate) transactions: Vec<TransactionInBlock>,
}

/// A transaction where it stands in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TransactionInBlock {
    /// What the sender knows it by.
    #[schemars(with = "schema::Hash")]
    pub(crate) id: Hash,
    /// Covers the signature too: the leaf of the transactions root.
    #[schemars(with = "schema::Hash")]
    pub(crate) hash: Hash,
    /// What the sender signed.
    #[schemars(with = "schema::Payload")]
    pub(crate) payload: Payload,
    /// The sender's signature.
    #[schemars(with = "schema::Signature")]
    pub(crate) signature: Signature,
    /// What became of it.
    #[schemars(with = "schema::Receipt")]
    pub(crate) receipt: Receipt,
}

/// A block without its transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct HeaderAnswer {
    /// Hash of the header, which names the block.
    #[schemars(with = "schema::Hash")]
    pub(crate) hash: Hash,
    /// The header.
    #[schemars(with = "schema::Header")]
    pub(crate) header: Header,
}

/// A block as one line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BlockSummary {
    /// Hash of the header, which names the block.
    #[schemars(with = "schema::Hash")]
    pub(crate) hash: Hash,
    /// The header.
    #[schemars(with = "schema::Header")]
    pub(crate) header: Header,
    /// How many transactions it holds.
    pub(crate) transactions: u64,
}

/// Consecutive blocks, newest last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BlocksAnswer {
    /// The newest height executed on this node.
    #[schemars(with = "schema::Number")]
    pub(crate) as_of: Height,
    /// The blocks; none when the range lies above that height.
    pub(crate) blocks: Vec<BlockSummary>,
}

/// A certificate, and what connects it with the block that was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CertificateAnswer {
    /// What it proves.
    pub(crate) kind: CertificateKind,
    /// What was signed, in words.
    pub(crate) certificate: CertificateBody,
    /// The signatures, in the order of the validators of its epoch.
    pub(crate) votes: Vec<Vote>,
    /// The certificate as it is stored and checked (borsh).
    pub(crate) bytes: Bytes,
    /// The headers above the block asked about, up to the one the certificate names: none if it names that block.
    #[schemars(with = "Vec<schema::Header>")]
    pub(crate) headers: Vec<Header>,
}

/// What the validators signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum CertificateBody {
    /// The result of executing a block.
    Checkpoint {
        /// Epoch of the signers.
        #[schemars(with = "schema::Number")]
        epoch: Epoch,
        /// Height of the block.
        #[schemars(with = "schema::Number")]
        height: Height,
        /// Hash of the block.
        #[schemars(with = "schema::Hash")]
        block: Hash,
        /// Root over all records after the block.
        #[schemars(with = "schema::Hash")]
        state_root: Hash,
        /// RFC 6962 root over the receipts of the block.
        #[schemars(with = "schema::Hash")]
        receipts_root: Hash,
        /// Hash of the validator set that follows.
        #[schemars(with = "schema::Hash")]
        next_validators: Hash,
    },
    /// The place of a block in the order.
    Commit {
        /// Epoch of the signers.
        #[schemars(with = "schema::Number")]
        epoch: Epoch,
        /// View in which they committed.
        #[schemars(with = "schema::Number")]
        view: View,
        /// Height of the block.
        #[schemars(with = "schema::Number")]
        height: Height,
        /// Hash of the block.
        #[schemars(with = "schema::Hash")]
        block: Hash,
    },
}

/// The signature of one validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Vote {
    /// Its place in the set of the epoch.
    #[schemars(with = "schema::Number")]
    pub(crate) validator: ValidatorIndex,
    /// Its signature.
    #[schemars(with = "schema::Signature")]
    pub(crate) signature: Signature,
}

/// What `chain_subscribe` notifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one at a time, on its way to the wire")]
pub(crate) enum ChainEvent {
    /// The next block: every height once, in order.
    Block {
        /// Hash of the header, which names the block.
        #[schemars(with = "schema::Hash")]
        hash: Hash,
        /// The header.
        #[schemars(with = "schema::Header")]
        header: Header,
        /// The ids of its transactions, in order.
        #[schemars(with = "Vec<schema::Hash>")]
        transactions: Vec<Hash>,
    },
    /// The subscription has ended on the server's side; subscribe again from `next` and nothing is missed.
    Stopped {
        /// The first height that was not notified.
        #[schemars(with = "schema::Number")]
        next: Height,
        /// Why it ended.
        reason: String,
    },
}
