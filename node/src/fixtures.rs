//! Transactions and blocks for tests that care little what is in them.

use std::sync::Arc;

use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::{
    Account, Anchor, Block, Epoch, EpochStart, Header, Height, Operation, Parameters, Payload, Transaction,
    UnixMillis, ValidatorSet,
};

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

/// An epoch from the genesis on, of one validator, in which nothing costs a fee.
pub(crate) fn epoch() -> EpochStart {
    EpochStart {
        number: Epoch(0),
        start: Height(0),
        below: Hash::ZERO,
        validators: ValidatorSet::new(vec![SecretKey::from_seed([1; 32]).public()]).expect("one key"),
        parameters: Parameters { fee_base: 0, fee_per_byte: 0, ..Parameters::default() },
    }
}

/// A block on the one of this hash.
pub(crate) fn block_on(parent: Hash, height: u64, transactions: Vec<Arc<Transaction>>) -> Arc<Block> {
    let hashes: Vec<Hash> = transactions.iter().map(|transaction| transaction.hash()).collect();
    let header = Header {
        version: Header::VERSION,
        chain: Hash::ZERO,
        epoch: Epoch(0),
        height: Height(height),
        parent,
        transactions_root: Block::transactions_root(&hashes),
        time: UnixMillis(1_000 + height),
        proposer: Account(SecretKey::from_seed([1; 32]).public()),
        anchor: Anchor { height: Height(0), state_root: Hash::ZERO, checkpoint: Hash::ZERO },
    };
    Arc::new(Block::new(header, transactions))
}

/// So many empty blocks from the genesis on.
pub(crate) fn chain(count: u64) -> Vec<Arc<Block>> {
    let mut parent = Hash::ZERO;
    let block = |height| {
        let block = block_on(parent, height, Vec::new());
        parent = block.hash();
        block
    };
    (1..=count).map(block).collect()
}
