//! What a node says of itself, its peers, its pool and the consensus it takes part in.

use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Amount, Epoch, Height, Parameters, UnixMillis, ValidatorIndex, View, decimal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, Bytes};

/// What a node is and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NodeStatus {
    /// Name of the chain.
    pub(crate) chain: String,
    /// Hash of the genesis document: what transactions call the chain.
    #[schemars(with = "schema::Hash")]
    pub(crate) genesis_hash: Hash,
    /// Version of the program.
    pub(crate) version: String,
    /// `validator` if it was started with a validator's key, else `observer`; `votes` tells whether the key votes.
    pub(crate) role: String,
    /// Peer id on the network.
    pub(crate) peer: String,
    /// Addresses it listens at.
    pub(crate) listen: Vec<String>,
    /// The newest height executed here.
    #[schemars(with = "schema::Number")]
    pub(crate) height: Height,
    /// Hash of that block.
    #[schemars(with = "schema::Hash")]
    pub(crate) hash: Hash,
    /// Time of that block.
    #[schemars(with = "schema::Number")]
    pub(crate) time: UnixMillis,
    /// This node's clock when it answered.
    #[schemars(with = "schema::Number")]
    pub(crate) clock: UnixMillis,
    /// Since when it runs.
    #[schemars(with = "schema::Number")]
    pub(crate) started: UnixMillis,
    /// The epoch it is in.
    #[schemars(with = "schema::Number")]
    pub(crate) epoch: Epoch,
    /// The last height of that epoch; `null` while that is not decided. `validators_get` tells what follows.
    #[schemars(with = "Option<schema::Number>")]
    pub(crate) epoch_ends: Option<Height>,
    /// Whether it votes in that epoch.
    pub(crate) votes: bool,
    /// Why it does not vote although it has a validator's key, if so.
    pub(crate) refused: Option<String>,
    /// The view it is in.
    #[schemars(with = "schema::Number")]
    pub(crate) view: View,
    /// Whose term that view is; `null` while nobody's.
    pub(crate) primary: Option<Primary>,
    /// Whether it is catching up with the chain.
    pub(crate) syncing: bool,
    /// Whether it can serve: not syncing, and connected with a quorum of validators (what `/readyz` says).
    pub(crate) ready: bool,
    /// Why it is not ready; empty when it is.
    pub(crate) not_ready: Vec<String>,
    /// How many peers it is connected with.
    pub(crate) peers: u64,
    /// How many validators it is connected with, itself included if it is one.
    pub(crate) validators_connected: u64,
    /// How many validators make a quorum.
    pub(crate) quorum: u64,
    /// What waits in its pool.
    pub(crate) mempool: Mempool,
    /// What the chain asks of a transaction.
    pub(crate) rules: Rules,
}

/// A validator by its place and key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Primary {
    /// Its place in the set.
    #[schemars(with = "schema::Number")]
    pub(crate) index: ValidatorIndex,
    /// Its key.
    #[schemars(with = "schema::PublicKey")]
    pub(crate) key: PublicKey,
    /// What the genesis calls it.
    pub(crate) name: Option<String>,
}

/// What waits in a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Mempool {
    /// How many transactions.
    pub(crate) transactions: u64,
    /// Their encoded size in bytes.
    pub(crate) bytes: u64,
}

/// What the chain asks of a transaction, for those who build one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Rules {
    /// The part of the least fee that every transaction pays.
    #[serde(with = "decimal")]
    #[schemars(with = "schema::Decimal")]
    pub(crate) fee_base: Amount,
    /// The part of the least fee for each byte of the signed transaction.
    #[serde(with = "decimal")]
    #[schemars(with = "schema::Decimal")]
    pub(crate) fee_per_byte: Amount,
    /// How far after the block that includes it a transaction may expire, in milliseconds.
    pub(crate) transaction_lifetime_max_ms: u64,
    /// Bytes of a signed transaction.
    pub(crate) transaction_bytes_max: u32,
    /// Operations of a transaction.
    pub(crate) operations_max: u32,
    /// Bytes of a key.
    pub(crate) key_bytes_max: u32,
    /// Bytes of a value.
    pub(crate) value_bytes_max: u32,
}

impl Rules {
    /// Those of an epoch of these parameters.
    pub(crate) fn of(parameters: &Parameters) -> Self {
        Self {
            fee_base: parameters.fee_base,
            fee_per_byte: parameters.fee_per_byte,
            transaction_lifetime_max_ms: parameters.transaction_lifetime_max_ms,
            transaction_bytes_max: parameters.transaction_bytes_max,
            operations_max: parameters.operations_max,
            key_bytes_max: parameters.key_bytes_max,
            value_bytes_max: parameters.value_bytes_max,
        }
    }
}

/// What the consensus engine of this node is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ConsensusState {
    /// The epoch it is in.
    #[schemars(with = "schema::Number")]
    pub(crate) epoch: Epoch,
    /// The view it is in.
    #[schemars(with = "schema::Number")]
    pub(crate) view: View,
    /// Whose term that view is; `null` while nobody's.
    pub(crate) primary: Option<Primary>,
    /// What this node is in that view.
    pub(crate) role: String,
    /// The highest block committed.
    #[schemars(with = "schema::Number")]
    pub(crate) committed: Height,
    /// The highest block executed.
    #[schemars(with = "schema::Number")]
    pub(crate) executed: Height,
    /// The highest block whose result a quorum vouched for.
    #[schemars(with = "schema::Number")]
    pub(crate) stable: Height,
    /// Whether it is catching up with the chain.
    pub(crate) syncing: bool,
    /// Why it has stopped taking part, if it has.
    pub(crate) halted: Option<String>,
    /// Why it does not vote although it has a validator's key, if so.
    pub(crate) refused: Option<String>,
    /// Proposals that are being voted on, lowest first.
    pub(crate) in_flight: Vec<Proposal>,
}

/// A proposal that is being voted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Proposal {
    /// Its height.
    #[schemars(with = "schema::Number")]
    pub(crate) height: Height,
    /// Hash of the block proposed; `null` while only votes have come.
    #[schemars(with = "Option<schema::Hash>")]
    pub(crate) block: Option<Hash>,
    /// Who has sent a PREPARE, by place in the set.
    pub(crate) prepares: Vec<u16>,
    /// Who has sent a COMMIT, by place in the set.
    pub(crate) commits: Vec<u16>,
}

/// Proofs of misbehaviour that this node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EvidenceAnswer {
    /// How many it holds, also from before a restart.
    pub(crate) count: u64,
    /// The newest of them, newest last.
    pub(crate) evidence: Vec<EvidenceEntry>,
}

/// Signed statements of one validator that no correct one makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EvidenceEntry {
    /// When this node found it.
    #[schemars(with = "schema::Number")]
    pub(crate) at: UnixMillis,
    /// `double_prepare`, `double_commit`, `double_checkpoint`, `double_view_change`, `double_new_view`, or
    /// `false_new_view`.
    pub(crate) kind: String,
    /// Who signed them.
    #[schemars(with = "schema::PublicKey")]
    pub(crate) validator: PublicKey,
    /// What the genesis calls that validator.
    pub(crate) name: Option<String>,
    /// The epoch they are about.
    #[schemars(with = "schema::Number")]
    pub(crate) epoch: Epoch,
    /// The height they are about.
    #[schemars(with = "schema::Number")]
    pub(crate) height: Height,
    /// SHA-256 of the proof, which names it.
    #[schemars(with = "schema::Hash")]
    pub(crate) hash: Hash,
    /// How many bytes the proof has.
    pub(crate) size: u64,
    /// The statements with their signatures (borsh): anyone who knows the set can check them, for instance with
    /// `quorate evidence verify`. `null` where the newer ones leave it no room in the answer; the node holds it in `data/evidence`.
    pub(crate) proof: Option<Bytes>,
}

/// The peers this node is connected with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PeersAnswer {
    /// This node's own peer id.
    pub(crate) local: String,
    /// The peers.
    pub(crate) peers: Vec<Peer>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Peer {
    /// Its peer id.
    pub(crate) peer: String,
    /// Addresses it was reached at.
    pub(crate) addresses: Vec<String>,
    /// What program it says it is.
    pub(crate) agent: Option<String>,
    /// The validator key bound to it, if any.
    #[schemars(with = "Option<schema::PublicKey>")]
    pub(crate) validator: Option<PublicKey>,
    /// What the genesis calls that validator.
    pub(crate) name: Option<String>,
    /// Whether the streams that carry votes are up in both directions.
    pub(crate) streams: bool,
    /// Since when it is connected.
    #[schemars(with = "schema::Number")]
    pub(crate) since: UnixMillis,
    /// Round trip in milliseconds, with fractions, once measured.
    pub(crate) ping_ms: Option<f64>,
}

/// The pool and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MempoolStatus {
    /// How many transactions wait.
    pub(crate) transactions: u64,
    /// Their encoded size in bytes.
    pub(crate) bytes: u64,
    /// How many may wait.
    pub(crate) transactions_max: u64,
    /// How many bytes may wait.
    pub(crate) bytes_max: u64,
}
