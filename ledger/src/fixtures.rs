//! Keys, transactions and blocks for the tests of this crate.

use std::sync::Arc;

use quorate_crypto::{Hash, SecretKey};

use crate::{
    Account, Anchor, Block, Epoch, Header, Height, Operation, Parameters, Parent, Payload, Transaction,
    TransactionRules, UnixMillis, ValidatorSet,
};

/// The genesis of the tests' chain.
pub(crate) fn chain() -> Hash {
    Hash::of(b"a chain for tests")
}

/// The time of the tests' genesis.
pub(crate) const GENESIS_TIME: UnixMillis = UnixMillis(1_700_000_000_000);

/// The `number`-th key of the tests.
pub(crate) fn key(number: u16) -> SecretKey {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&number.to_le_bytes());
    SecretKey::from_seed(seed)
}

/// The account of [`key`].
pub(crate) fn account(number: u16) -> Account {
    Account(key(number).public())
}

/// The validators of the tests' chain: the holders of the first four keys.
pub(crate) fn validators() -> ValidatorSet {
    ValidatorSet::new((0..4).map(|number| key(number).public()).collect()).expect("four keys")
}

/// The rules of the tests' chain with these parameters.
pub(crate) fn rules(parameters: Parameters) -> TransactionRules {
    let validators = Arc::new(validators());
    TransactionRules { chain: chain(), epoch: Epoch(0), parameters: Arc::new(parameters), validators }
}

/// What stands below the first block.
pub(crate) fn genesis() -> Parent {
    Parent { height: Height(0), hash: chain(), time: GENESIS_TIME }
}

/// A small transfer that expires a second after the genesis.
pub(crate) fn payload(nonce: u64) -> Payload {
    Payload {
        version: Payload::VERSION,
        chain: chain(),
        sender: account(1),
        nonce,
        expires_at: GENESIS_TIME.plus_millis(1_000),
        fee: 0,
        operations: vec![Operation::Transfer { to: account(2), amount: 5 }],
    }
}

/// [`payload`], signed.
pub(crate) fn transaction(nonce: u64) -> Arc<Transaction> {
    Arc::new(Transaction::sign(payload(nonce), &key(1)))
}

/// The header of a block on `parent`, 10 ms later, that holds these transactions.
pub(crate) fn header_on(parent: Parent, transactions: &[Arc<Transaction>]) -> Header {
    let hashes: Vec<Hash> = transactions.iter().map(|transaction| transaction.hash()).collect();
    Header {
        version: Header::VERSION,
        chain: chain(),
        epoch: Epoch(0),
        height: parent.height.next(),
        parent: parent.hash,
        transactions_root: Block::transactions_root(&hashes),
        time: parent.time.plus_millis(10),
        proposer: account(100),
        anchor: anchor(),
    }
}

/// The block of [`header_on`].
pub(crate) fn block_on(parent: Parent, transactions: Vec<Arc<Transaction>>) -> Block {
    Block::new(header_on(parent, &transactions), transactions)
}

/// Some state to build on.
pub(crate) fn anchor() -> Anchor {
    Anchor { height: Height(0), state_root: Hash::of(b"state"), checkpoint: Hash::of(b"checkpoint") }
}

/// Checks what every decoder of ours must do with `value`: take its encoding back, whole, and nothing cut or longer.
pub(crate) fn check_decoder<T>(value: &T)
where
    T: borsh::BorshSerialize + borsh::BorshDeserialize + PartialEq + std::fmt::Debug,
{
    use quorate_crypto::codec::{decode, encode};
    let bytes = encode(value);
    assert_eq!(&decode::<T>(&bytes).expect("own encoding"), value);
    for cut in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..cut]).is_err(), "cut to {cut} of {} bytes", bytes.len());
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(decode::<T>(&longer).is_err(), "one byte more");
}

/// Checks that bytes from anywhere are refused or are the one encoding of what they decode to.
pub(crate) fn check_bytes<T>(bytes: &[u8])
where
    T: borsh::BorshSerialize + borsh::BorshDeserialize,
{
    if let Ok(value) = quorate_crypto::codec::decode::<T>(bytes) {
        assert_eq!(quorate_crypto::codec::encode(&value), bytes);
    }
}
