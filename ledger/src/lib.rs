//! What the chain consists of: transactions, blocks, validator sets, parameters, receipts and the certificates
//! over them, with the rules that can be checked without knowing how votes come about.
//!
//! Everything here is a deterministic function of its arguments: no clock, no randomness, no network. Formats are
//! borsh (`docs/formats.md`), decoded with [`quorate_crypto::codec::decode`], which accepts one encoding only;
//! every list and byte string has a limit that is enforced while it is being read.

mod anchors;
mod approval;
mod block;
mod bounded;
mod candidate;
mod certificate;
pub mod decimal;
mod delivery;
mod epoch;
mod execute;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod fuzz;
mod ledger;
mod operation;
mod parameters;
mod primitives;
mod receipt;
mod state;
mod store;
mod tip;
mod transaction;
mod validators;
mod window;

pub use anchors::{READINESS_HEADERS, RecentAnchors};
pub use approval::{ProposedChange, ProposedChangeError, ProposedValidator, Readiness};
pub use block::{Anchor, Block, Header, RootError};
pub use candidate::{BlockError, Candidates, Parent};
pub use certificate::{
    CERTIFIED_BLOCKS_LIMIT, CertifiedBlocks, CertifiedBlocksError, CheckpointCertificate, CheckpointPayload,
    CommitCertificate, CommitPayload,
};
pub use delivery::{Delivered, Deliveries};
pub use epoch::{Approval, EpochChange, EpochEnd, EpochRecord, EpochStart};
pub use execute::{Change, Execution, Records, execute};
pub use ledger::{
    ExecutionOutcome, GenesisState, GenesisStateError, KeyRecord, Ledger, LedgerError, NamedKey,
    OVERLAY_BYTES_MAX, ProvenRecord, Reader, StoredBlock, TransactionPlace, TransactionStatus,
    WRITE_BEHIND_BYTES, WRITE_BEHIND_MS,
};
pub use operation::{Condition, Operation};
pub use parameters::{
    BLOCK_BYTES_LIMIT, BLOCK_TRANSACTIONS_LIMIT, KEY_BYTES_LIMIT, OPERATIONS_LIMIT, ParameterError,
    ParameterRow, Parameters, TRANSACTION_BYTES_LIMIT, VALUE_BYTES_LIMIT, WINDOW_LIMIT,
};
pub use primitives::{
    Account, AccountError, Amount, Epoch, Height, UnixMillis, ValidatorIndex, Version, VersionError, View,
};
pub use receipt::{Failure, LedgerEvent, Outcome, Receipt, receipts_root};
pub use state::{LeafChange, PROOF_SIBLINGS_MAX, ProofEnd, Record, RecordKey, StateProof, Trie};
#[cfg(feature = "rocksdb")]
pub use store::RocksStore;
pub use store::{
    Durability, Family, MemoryStore, Row, Store, StoreError, StoredHeader, Visit, Write, WriteBatch,
};
pub use tip::Tip;
pub use transaction::{Payload, Transaction, TransactionError, TransactionRules};
pub use validators::{Quorum, VALIDATORS_MAX, ValidatorSet, ValidatorSetError};
pub use window::IdWindow;
