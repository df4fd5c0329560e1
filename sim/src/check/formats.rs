//! What is signed and hashed, by `docs/formats.md` §2 alone.

use quorate_crypto::{Hash, encode};
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

/// What says that a transaction was included: its payload, without the signature.
pub(crate) fn transaction_id(transaction: &Transaction) -> Hash {
    let payload = transaction.payload();
    Hash::of(&tagged("transaction", &[payload.chain.as_bytes(), &encode(payload)]))
}

/// What the root of a block covers: its signature too.
pub(super) fn transaction_hash(transaction: &Transaction) -> Hash {
    let (id, signature) = (transaction_id(transaction), encode(transaction.signature()));
    Hash::of(&tagged("transaction-hash", &[id.as_bytes(), &signature]))
}

/// What names the result of a block.
pub(crate) fn result_hash(payload: &CheckpointPayload) -> Hash {
    Hash::of(&tagged("checkpoint", &[&encode(payload)]))
}
