//! Transactions for tests that care little what is in them.

use std::sync::Arc;

use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::{Account, Operation, Payload, Transaction, UnixMillis};

/// Signed, of the one sender of tests.
pub(crate) fn transaction(nonce: u64, expires_at: u64, operations: Vec<Operation>) -> Arc<Transaction> {
    let key = SecretKey::from_seed([7; 32]);
    let payload = Payload {
        version: Payload::VERSION,
        chain: Hash::ZERO,
        sender: Account(key.public()),
        nonce,
        expires_at: UnixMillis(expires_at),
        fee: 0,
        operations,
    };
    Arc::new(Transaction::sign(payload, &key))
}

/// One whose size its value makes.
pub(crate) fn put(nonce: u64, value_bytes: usize) -> Arc<Transaction> {
    transaction(nonce, 1, vec![Operation::Put { key: vec![1], value: vec![0; value_bytes] }])
}
