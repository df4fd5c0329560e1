//! The state: records under the hash of their key, committed to by a binary Merkle trie.
//!
//! The flat [`records`] live in the store (and, while they wait to be written, in the ledger's overlay); the
//! [`trie`] over their hashes lives in memory and is built from them at start. Its root depends on the records
//! alone, never on the order in which they came to be, so that every replica has the same root however it got there: by
//! executing, or by executing again after a crash.
//!
//! A [`StateProof`] shows one record, or that there is none, against the root that a checkpoint certificate signs.

mod proof;
mod records;
mod trie;

pub use proof::{PROOF_SIBLINGS_MAX, ProofEnd, StateProof};
pub use records::{Record, RecordKey};
pub use trie::{LeafChange, Trie};

#[cfg(test)]
mod tests;
