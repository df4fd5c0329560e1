use proptest::collection::vec;
use proptest::prelude::*;
use quorate_crypto::codec::{decode, encode};

use super::*;
use crate::fixtures::{block_on, check_bytes, check_decoder, genesis, header_on, key, payload, transaction};
use crate::parameters::TRANSACTION_BYTES_LIMIT;
use crate::{Operation, Payload};

/// A transaction of exactly `size` bytes.
fn sized(nonce: u64, size: u32) -> Arc<Transaction> {
    let of = |value: usize| {
        let operations = vec![Operation::Put { key: vec![1], value: vec![0; value] }];
        Transaction::sign(Payload { operations, ..payload(nonce) }, &key(1))
    };
    let transaction = of(size as usize - of(0).size());
    assert_eq!(transaction.size(), size as usize);
    Arc::new(transaction)
}

#[test]
fn headers_have_one_size_and_the_hash_of_the_format() {
    // Made by a separate program from the words of `docs/formats.md`; the transaction is the golden one.
    let root = Hash::of(&[&[0], "golden".as_bytes()].concat());
    assert_ne!(root, Hash::ZERO);
    let header = header_on(genesis(), &[]);
    assert_eq!(encode(&header).len(), Header::BYTES);
    let known = Header { transactions_root: golden_root(), ..header };
    assert_eq!(
        known.hash().to_string(),
        "0xadfc8a08eed70680e543f5e43a119400b2646e83a2d7a2bc4f725f844c286a78"
    );
}

/// RFC 6962 §2.1: the root of one entry is SHA-256(0x00 ‖ entry).
fn golden_root() -> Hash {
    let entry: Hash =
        "0xd8b527ae96c97424536ec942975010dede1dbd1cade1feefe9530364894edad7".parse().expect("a hash");
    let root = Block::transactions_root(&[entry]);
    let mut leaf = vec![0];
    leaf.extend(entry.as_bytes());
    assert_eq!(root, Hash::of(&leaf));
    root
}

#[test]
fn the_hash_covers_every_field_of_the_header() {
    let original = header_on(genesis(), &[transaction(1)]);
    let changes: [fn(&mut Header); 11] = [
        |header| header.version += 1,
        |header| header.chain = Hash::ZERO,
        |header| header.epoch.0 += 1,
        |header| header.height.0 += 1,
        |header| header.parent = Hash::ZERO,
        |header| header.transactions_root = Hash::ZERO,
        |header| header.time.0 += 1,
        |header| header.proposer = crate::fixtures::account(5),
        |header| header.anchor.height.0 += 1,
        |header| header.anchor.state_root = Hash::ZERO,
        |header| header.anchor.checkpoint = Hash::ZERO,
    ];
    for (field, change) in changes.into_iter().enumerate() {
        let mut changed = original.clone();
        change(&mut changed);
        assert_ne!(changed.hash(), original.hash(), "field {field}");
    }
}

#[test]
fn a_block_is_as_large_as_its_encoding() {
    let block = block_on(genesis(), vec![transaction(1), transaction(2)]);
    assert_eq!(block.size(), encode(&block).len());
    assert_eq!(block.size(), Header::BYTES + 4 + block.transaction_bytes());
}

#[test]
fn the_root_names_transactions_by_hash_and_in_order() {
    let (first, second) = (transaction(1), transaction(2));
    let block = block_on(genesis(), vec![Arc::clone(&first), Arc::clone(&second)]);
    assert_eq!(block.check_root(), Ok(()));
    assert_eq!(block.transaction_hashes(), [first.hash(), second.hash()]);
    let forged = Transaction::new(first.payload().clone(), *second.signature());
    let others = [
        vec![],
        vec![Arc::clone(&first)],
        vec![Arc::clone(&second), Arc::clone(&first)],
        vec![Arc::clone(&first), Arc::clone(&second), Arc::clone(&second)],
        vec![Arc::new(forged), second],
    ];
    for transactions in others {
        let other = Block::new(block.header().clone(), transactions);
        assert_eq!(other.hash(), block.hash(), "the hash is the header's alone");
        let error = other.check_root().expect_err("other transactions");
        assert_eq!(error.named, block.header().transactions_root);
        assert_ne!(error.found, error.named);
    }
}

#[test]
fn decoding_bounds_the_bytes_of_a_block() {
    let full: Vec<_> = (0..u64::from(BLOCK_BYTES_LIMIT / TRANSACTION_BYTES_LIMIT))
        .map(|nonce| sized(nonce, TRANSACTION_BYTES_LIMIT))
        .collect();
    let at = block_on(genesis(), full.clone());
    assert_eq!(at.transaction_bytes(), BLOCK_BYTES_LIMIT as usize);
    assert_eq!(decode::<Block>(&encode(&at)).expect("at the limit").hash(), at.hash());
    let more = full.into_iter().chain([transaction(99)]).collect();
    let past = block_on(genesis(), more);
    assert!(decode::<Block>(&encode(&past)).is_err());
}

#[test]
fn decoding_bounds_the_number_of_transactions() {
    let one = transaction(1);
    let with = |count: u32| {
        let hashes = [one.hash()];
        let header = header_on(genesis(), &[]);
        let root = Block::transactions_root(&hashes);
        let header = Header { transactions_root: root, ..header };
        encode(&Block::new(header, (0..count).map(|_| Arc::clone(&one)).collect()))
    };
    assert!(u64::from(BLOCK_TRANSACTIONS_LIMIT) * (one.size() as u64) < u64::from(BLOCK_BYTES_LIMIT));
    let decoded: Block = decode(&with(BLOCK_TRANSACTIONS_LIMIT)).expect("at the limit");
    assert_eq!(decoded.transactions().len(), BLOCK_TRANSACTIONS_LIMIT as usize);
    assert!(decode::<Block>(&with(BLOCK_TRANSACTIONS_LIMIT + 1)).is_err());
}

/// `docs/pbft.md` §5: a block is full if it holds as many transactions as it may, or so many bytes that the largest transaction
/// would not have fitted any more.
#[test]
fn a_block_is_full_when_what_waits_may_not_have_fitted() {
    let parameters = |count, bytes| Parameters {
        block_transactions_max: count,
        block_bytes_max: bytes,
        transaction_bytes_max: 1_024,
        ..Parameters::default()
    };
    let of = |sizes: &[u32]| {
        let transactions = sizes.iter().zip(1..).map(|(size, nonce)| sized(nonce, *size)).collect();
        block_on(genesis(), transactions)
    };
    for (sizes, count, bytes, full) in [
        (&[300, 300][..], 2, 1 << 20, true),
        (&[300, 300], 3, 1 << 20, false),
        (&[300, 300], 10, 600 + 1_024, false),
        (&[300, 301], 10, 600 + 1_024, true),
        (&[], 1, 1_024, false),
        // Nine tenths of what it may hold, and room for any transaction.
        (&[1_024; 9], 100, 10 * 1_024, false),
    ] {
        let parameters = parameters(count, bytes);
        assert_eq!(of(sizes).is_full(&parameters), full, "{sizes:?} of {count} and {bytes}");
    }
}

proptest! {
    #[test]
    fn blocks_survive_their_encoding_and_nothing_else_does(nonces in vec(any::<u64>(), 0..4)) {
        let block = block_on(genesis(), nonces.into_iter().map(transaction).collect());
        check_decoder(&block);
        check_decoder(block.header());
        let decoded: Block = decode(&encode(&block)).expect("own encoding");
        prop_assert_eq!(decoded.hash(), block.hash());
    }

    #[test]
    fn random_bytes_are_no_block_or_exactly_one(bytes in vec(any::<u8>(), 0..800)) {
        check_bytes::<Block>(&bytes);
        check_bytes::<Header>(&bytes);
        // The same behind a real header, so that the list is reached.
        let mut behind = encode(&header_on(genesis(), &[]));
        behind.extend(bytes);
        check_bytes::<Block>(&behind);
    }
}
