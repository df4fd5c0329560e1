//! The Merkle tree of RFC 6962 (Certificate Transparency) §2.1, with SHA-256.
//!
//! ```text
//! empty tree   SHA-256("")
//! leaf         SHA-256(0x00 ‖ data)
//! node         SHA-256(0x01 ‖ left ‖ right), with the largest power of two below n of its n leaves on the left
//! ```
//!
//! The two prefixes keep a node from being presented as a leaf. Nothing is duplicated to fill the tree up, so
//! two lists never share a root. Building a level at a time, with a last node without a partner carried up as
//! it is, gives the same tree as the recursive definition.

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{Hash, codec};

/// The longest path there can be: a tree has at most 2^64 - 1 leaves.
pub const PATH_MAX: usize = 64;

/// The root over the leaves, in order.
#[must_use]
pub fn root<T: AsRef<[u8]>>(leaves: &[T]) -> Hash {
    let mut level = leaf_level(leaves);
    while level.len() > 1 {
        level = parent_level(&level);
    }
    level.first().copied().unwrap_or_else(|| Hash::of(b""))
}

/// Proof that a leaf stands at a place in a tree of a size (RFC 6962 §2.1.1, an audit path).
///
/// A root does not commit to the size of its tree: `index` is proven only as far as `size` is known from
/// elsewhere. That the leaf is in the tree is proven either way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MerkleProof {
    /// Place of the leaf, from 0.
    pub index: u64,
    /// Number of leaves in the tree.
    pub size: u64,
    /// The siblings on the way up, the lowest first; at most [`PATH_MAX`].
    #[borsh(deserialize_with = "read_path")]
    #[serde(deserialize_with = "path_from_text")]
    pub path: Vec<Hash>,
}

fn read_path<R: io::Read>(reader: &mut R) -> io::Result<Vec<Hash>> {
    codec::bounded_list(reader, PATH_MAX, "hashes of a path", Hash::deserialize_reader)
}

fn path_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hash>, D::Error> {
    let path: Vec<Hash> = serde::Deserialize::deserialize(deserializer)?;
    if path.len() > PATH_MAX {
        return Err(D::Error::custom(format_args!(
            "{} hashes of a path, at most {PATH_MAX} are allowed",
            path.len()
        )));
    }
    Ok(path)
}

/// The proof for the leaf at `index`; `None` if there is none.
#[must_use]
pub fn prove<T: AsRef<[u8]>>(leaves: &[T], index: usize) -> Option<MerkleProof> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let mut level = leaf_level(leaves);
    let mut place = index;
    while level.len() > 1 {
        path.extend(level.get(place ^ 1));
        level = parent_level(&level);
        place /= 2;
    }
    Some(MerkleProof { index: index as u64, size: leaves.len() as u64, path })
}

impl MerkleProof {
    /// Whether `leaf` stands at `index` in the tree of `size` leaves with this root (RFC 9162 §2.1.3.2). A
    /// path that is too short or too long proves nothing.
    #[must_use]
    pub fn verify(&self, leaf: &[u8], root: &Hash) -> bool {
        if self.index >= self.size {
            return false;
        }
        let (mut place, mut last) = (self.index, self.size - 1);
        let mut hash = leaf_hash(leaf);
        for sibling in &self.path {
            if last == 0 {
                return false;
            }
            if place % 2 == 1 || place == last {
                hash = node_hash(sibling, &hash);
                // A last node without a partner was carried up: skip the levels on which it had none. `place`
                // is not zero here, since it is odd or equals `last`.
                let carried = place.trailing_zeros();
                place >>= carried;
                last >>= carried;
            } else {
                hash = node_hash(&hash, sibling);
            }
            place >>= 1;
            last >>= 1;
        }
        last == 0 && hash == *root
    }
}

fn leaf_level<T: AsRef<[u8]>>(leaves: &[T]) -> Vec<Hash> {
    leaves.iter().map(|leaf| leaf_hash(leaf.as_ref())).collect()
}

fn parent_level(level: &[Hash]) -> Vec<Hash> {
    let parent = |children: &[Hash]| match children {
        [left, right] => node_hash(left, right),
        alone => alone[0],
    };
    level.chunks(2).map(parent).collect()
}

fn leaf_hash(data: &[u8]) -> Hash {
    Hash::of_parts([&[0x00][..], data])
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::of_parts([&[0x01][..], left.as_ref(), right.as_ref()])
}

#[cfg(test)]
mod tests;
