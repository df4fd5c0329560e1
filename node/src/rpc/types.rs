//! The JSON of the interface, for both ends of it: what the server reads and writes, and what the command line, the
//! testnet and the tests send and expect.
//!
//! Byte strings are `0x` hex, addresses bech32m `qr1…`, amounts and nonces decimal strings; heights, views and times
//! (unix milliseconds) are numbers. A thing that does not exist is `null`. What a caller sends is read strictly: an
//! unknown field is refused. What the server sends may gain fields, so clients ignore those they do not know.
//!
//! Every shape also describes itself as a JSON schema, from which `rpc.discover` is made.

mod chain;
mod node;
mod parameters;
mod schema;
mod state;
mod transaction;

pub(crate) use chain::{
    BlockAnswer, BlockSummary, BlocksAnswer, CertificateAnswer, CertificateBody, ChainEvent, HeaderAnswer,
    TransactionInBlock, Vote,
};
pub(crate) use node::{
    ConsensusState, EvidenceAnswer, EvidenceEntry, Mempool, MempoolStatus, NodeStatus, Peer, PeersAnswer,
    Primary, Proposal, Rules,
};
pub(crate) use parameters::{
    AccountParameters, BlockParameters, BlocksParameters, CertificateKind, CertificateParameters,
    HeightOrLatest, KeyParameters, NoParameters, Parameters, ReadinessParameters, SubscribeParameters,
    TransactionParameters, TxGetParameters, UnsubscribeParameters, ValidatorsParameters, WaitParameters,
};
pub(crate) use schema::Bytes;
pub(crate) use state::{
    AccountAnswer, Change, KeyAnswer, OpenChange, Participation, ReadinessAnswer, ValidatorEntry,
    ValidatorsAnswer,
};
pub(crate) use transaction::{Submitted, TransactionStatus};

#[cfg(test)]
mod tests;
