//! Proof of a record, or of its absence, against a state root.
//!
//! The trie (`docs/formats.md`, State): a record's *path* is `SHA-256(borsh(RecordKey))`, its leaf hash
//! `StateLeaf(path ‖ SHA-256(borsh(Record)))`. A subtree without records has the hash of 32 zero bytes; a subtree with
//! exactly one record has that record's leaf hash; any other has `StateNode(left ‖ right)`. A subtree at depth `d`
//! holds the records whose paths share their first `d` bits, most significant bit of byte 0 first; 0 is left.
//!
//! A proof walks from the root along the path of the key asked about to where the trie ends, and holds the hash of
//! the other side at each step. It ends at the record itself, at an empty subtree, or at the leaf of another record
//! that stands alone where the one asked about would have to be.

use std::io::{Read, Result as IoResult};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Domain, Hash, codec};

use super::records::{Record, RecordKey};

/// A path has 256 bits, so no record stands deeper.
pub const PROOF_SIBLINGS_MAX: usize = 256;

/// What a verifier needs, beside the key, the record and the root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateProof {
    /// The hash of the subtree on the other side, from the root downwards.
    #[borsh(deserialize_with = "siblings")]
    pub siblings: Vec<Hash>,
    /// What stands at the end of the walk.
    pub end: ProofEnd,
}

fn siblings<R: Read>(reader: &mut R) -> IoResult<Vec<Hash>> {
    codec::bounded_list(reader, PROOF_SIBLINGS_MAX, "siblings", Hash::deserialize_reader)
}

/// Where the walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum ProofEnd {
    /// At the record.
    Present = 0,
    /// At a subtree without records: there is no such record.
    Empty = 1,
    /// At the only record of its subtree, which is another: there is no such record.
    Other {
        /// That record's path, which begins as the path walked.
        path: Hash,
        /// The hash of that record.
        record: Hash,
    } = 2,
}

impl StateProof {
    /// True when `root` commits to exactly this `record` under `key`; without a record: when it commits to none.
    #[must_use]
    pub fn verify(&self, key: &RecordKey, record: Option<&Record>, root: &Hash) -> bool {
        self.verify_hashes(&key.path(), record.map(Record::hash), root)
    }

    /// The same for a path and the hash of the record that should be there.
    pub(super) fn verify_hashes(&self, path: &Hash, record: Option<Hash>, root: &Hash) -> bool {
        let depth = self.siblings.len();
        if depth > PROOF_SIBLINGS_MAX {
            return false;
        }
        let end = match (self.end, record) {
            (ProofEnd::Present, Some(record)) => leaf_hash(path, &record),
            (ProofEnd::Empty, None) => Hash::ZERO,
            (ProofEnd::Other { path: other, record }, None)
                if other != *path && shares(&other, path, depth) =>
            {
                leaf_hash(&other, &record)
            }
            (ProofEnd::Present | ProofEnd::Empty | ProofEnd::Other { .. }, _) => return false,
        };
        let walked = self.siblings.iter().enumerate().rev().fold(end, |below, (depth, sibling)| {
            if bit(path, depth) { node_hash(sibling, &below) } else { node_hash(&below, sibling) }
        });
        walked == *root
    }
}

/// The hash of the subtree in which this record is alone.
pub(super) fn leaf_hash(path: &Hash, record: &Hash) -> Hash {
    Domain::StateLeaf.hash(&[path.as_bytes(), record.as_bytes()])
}

/// The hash of a subtree with two records or more.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Domain::StateNode.hash(&[left.as_bytes(), right.as_bytes()])
}

/// The bit of a path that chooses the side at `depth`; true is right.
pub(super) fn bit(path: &Hash, depth: usize) -> bool {
    path.as_bytes()[depth / 8] >> (7 - depth % 8) & 1 == 1
}

/// True when the first `bits` bits are equal.
fn shares(one: &Hash, other: &Hash, bits: usize) -> bool {
    (0..bits).all(|depth| bit(one, depth) == bit(other, depth))
}
