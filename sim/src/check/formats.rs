//! What is signed and hashed, by `docs/formats.md` §2 alone.

use quorate_crypto::{Hash, PublicKey, encode};
use quorate_ledger::{CheckpointPayload, Header, Transaction};

/// A tag, and what follows it.
pub(super) fn tagged(tag: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("quorate/1/{tag}\0").into_bytes();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// What a header's block is named by.
pub(super) fn header_hash(header: &Header) -> Hash {
    Hash::of(&tagged("header", &[&encode(header)]))
}

/// What a transaction is known by.
#[derive(Debug)]
pub(super) struct Named {
    /// What its sender signs.
    pub(super) message: Vec<u8>,
    /// What says that it was included: its payload, without the signature.
    pub(super) id: Hash,
    /// What the root of a block covers: its signature too.
    pub(super) hash: Hash,
    /// Bytes of payload and signature.
    pub(super) size: usize,
}

impl Named {
    pub(super) fn of(transaction: &Transaction) -> Self {
        let payload = transaction.payload();
        let (payload_bytes, signature) = (encode(payload), encode(transaction.signature()));
        let message = tagged("transaction", &[payload.chain.as_bytes(), &payload_bytes]);
        let id = Hash::of(&message);
        let hash = Hash::of(&tagged("transaction-hash", &[id.as_bytes(), &signature]));
        Self { message, id, hash, size: payload_bytes.len() + signature.len() }
    }
}

/// What names a set.
pub(super) fn set_hash(keys: &[PublicKey]) -> Hash {
    Hash::of(&tagged("validator-set", &[&encode(&keys.to_vec())]))
}

/// RFC 6962 §2.1, written down once more.
pub(super) fn merkle_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(b""),
        [leaf] => Hash::of(&[&[0], leaf.as_bytes().as_slice()].concat()),
        _ => {
            // The largest power of two below the number of leaves; this is called once a block, so depth is no matter.
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let (left, right) = (merkle_root(left), merkle_root(right));
            Hash::of(&[&[1], left.as_bytes().as_slice(), right.as_bytes()].concat())
        }
    }
}

/// What names the result of a block.
pub(crate) fn result_hash(payload: &CheckpointPayload) -> Hash {
    Hash::of(&tagged("checkpoint", &[&encode(payload)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_merkle_root_is_that_of_the_standard() {
        // RFC 6962's tree over one leaf, and over three: ((a b) c).
        let [a, b, c] = [b"a", b"b", b"c"].map(|leaf| Hash::of(leaf));
        let inner = |left: Hash, right: Hash| {
            Hash::of(&[&[1], left.as_bytes().as_slice(), right.as_bytes()].concat())
        };
        let leaf = |hash: Hash| merkle_root(&[hash]);
        assert_eq!(merkle_root(&[a, b, c]), inner(inner(leaf(a), leaf(b)), leaf(c)));
        assert_eq!(merkle_root(&[a, b, c, a]), inner(inner(leaf(a), leaf(b)), inner(leaf(c), leaf(a))));
    }
}
