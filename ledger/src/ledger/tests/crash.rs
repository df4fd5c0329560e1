//! What is left after the power went, and what is noticed when what is left is damaged.

use proptest::prelude::*;
use quorate_crypto::encode;

use super::*;
use crate::store::rows;

/// A store that lost its power holds the synced blocks and older records: opening it executes the rest again.
fn reopened(chain: &Chain, ledger: Ledger<MemoryStore>, kept: usize) -> Ledger<MemoryStore> {
    let store = ledger.store().clone();
    drop(ledger);
    store.power_cut_keeping(kept);
    chain.open(store)
}

#[test]
fn a_power_cut_loses_no_applied_block_and_no_record() {
    let mut chain = Chain::new();
    let mut ledger = chain.open(MemoryStore::new());
    chain.grow(&mut ledger, 7);
    let tip = ledger.tip();
    let ledger = reopened(&chain, ledger, 0);
    assert_eq!(ledger.tip(), tip);
    let reader = ledger.reader();
    assert_eq!((balance(&reader, account(1)), balance(&reader, account(3))), (Some(986), Some(7)));
    let key = reader.key(b"shared").expect("reads").1.expect("is there");
    assert_eq!(key.value, b"7");
    for height in 1..=7 {
        let stored = reader.block(Height(height)).expect("reads").expect("is there");
        let id = stored.block.transactions()[0].id();
        assert_eq!(reader.transaction(&id).expect("reads").expect("indexed").height, Height(height));
        assert_eq!(reader.height_of(&stored.block.hash()).expect("reads"), Some(Height(height)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Blocks, flushes, checkpoints and power cuts that leave any prefix of what was not synced, in any order.
    #[test]
    fn whatever_was_lost_the_same_chain_comes_back(steps in proptest::collection::vec((0..5u8, 0..3usize), 1..24)) {
        let mut chain = Chain::new();
        let mut ledger = chain.open(MemoryStore::new());
        let mut twin = chain.open(MemoryStore::new());
        for (step, kept) in steps {
            match step {
                0 | 1 => {
                    let below = ledger.tip().height;
                    chain.grow(&mut ledger, u64::from(step) + 1);
                    let batch: Vec<_> = (below.0 + 1..=ledger.tip().height.0)
                        .map(|height| ledger.reader().block(Height(height)).expect("reads").expect("is there"))
                        .map(|stored| Delivered { block: stored.block, certificate: stored.certificate })
                        .collect();
                    twin.apply(&batch).expect("the same chain");
                }
                2 => {
                    let now = ledger.tip().time;
                    ledger.flush_due(now).expect("memory");
                    ledger.flush_due(now.plus_millis(WRITE_BEHIND_MS)).expect("memory");
                }
                3 if ledger.tip().height > Height(0) => ledger.stable(&chain.checkpoint()).expect("as executed"),
                _ => ledger = reopened(&chain, ledger, kept),
            }
            let (tip, expected) = (ledger.tip(), twin.tip());
            prop_assert_eq!(&tip.outcome, &expected.outcome);
            prop_assert_eq!(tip.base_height, tip.height);
            prop_assert_eq!((tip.base, tip.anchor, tip.time), (expected.base, expected.anchor, expected.time));
            for key in [b"shared".as_slice(), b"key-1", b"key-2"] {
                let one = ledger.reader().key(key).expect("reads");
                prop_assert_eq!(one, twin.reader().key(key).expect("reads"));
            }
        }
    }
}

#[test]
fn records_are_written_behind_after_a_while_and_once() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    let now = UnixMillis(5_000);
    assert!(!ledger.flush_due(now).expect("memory"), "nothing waits");
    chain.grow(&mut ledger, 3);
    let shared = RecordKey::Key(b"shared".to_vec());
    assert!(!ledger.flush_due(now).expect("memory"));
    assert!(!ledger.flush_due(now.plus_millis(WRITE_BEHIND_MS - 1)).expect("memory"));
    assert_eq!(rows::record(&store, &shared).expect("reads"), None);
    assert!(ledger.flush_due(now.plus_millis(WRITE_BEHIND_MS)).expect("memory"));
    assert!(rows::record(&store, &shared).expect("reads").is_some());
    assert_eq!(store.unsynced(), 1, "one batch, without a sync of its own");
    assert!(!ledger.flush_due(now.plus_millis(2 * WRITE_BEHIND_MS)).expect("memory"), "nothing waits");
    assert_eq!(ledger.reader().key(b"shared").expect("reads").1.expect("is there").value, b"3");
}

#[test]
fn many_bytes_do_not_wait() {
    let mut chain = Chain::new();
    let mut ledger = chain.open(MemoryStore::new());
    let value = vec![7; 16_384];
    let mut number = 0;
    while ledger.shared.live().overlay.bytes() < WRITE_BEHIND_BYTES {
        assert!(!ledger.flush_due(UnixMillis(0)).expect("memory"));
        let put = |number: u32| Operation::Put { key: number.to_be_bytes().to_vec(), value: value.clone() };
        let transaction = chain.transaction(1_000, (number..number + 64).map(put).collect());
        let delivered = chain.block(vec![transaction], true);
        chain.extend(&mut ledger, delivered);
        number += 64;
    }
    assert!(ledger.flush_due(UnixMillis(0)).expect("memory"));
    assert!(ledger.shared.live().overlay.is_empty());
}

/// Strangers send what was committed long ago, as often as they like: finding it must not cost a block's receipts.
#[test]
fn the_height_of_a_transaction_is_found_without_its_receipts() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    let reader = ledger.reader();
    let transaction = chain.transaction(1_000, vec![Operation::Transfer { to: account(3), amount: 1 }]);
    let id = transaction.id();
    assert_eq!(reader.height_of_transaction(&id).expect("reads"), None);
    let delivered = chain.block(vec![transaction], true);
    chain.extend(&mut ledger, delivered);
    assert_eq!(reader.height_of_transaction(&id).expect("reads"), Some(Height(1)), "written behind");
    ledger.flush().expect("memory");
    let mut batch = WriteBatch::default();
    batch.delete(Family::Receipts, rows::height_key(Height(1)));
    store.write(batch, Durability::Synced).expect("memory");
    assert!(reader.transaction(&id).is_err(), "the receipts are gone");
    assert_eq!(reader.height_of_transaction(&id).expect("reads"), Some(Height(1)));
}

/// Puts a row over what the ledger wrote.
fn overwrite(store: &MemoryStore, family: Family, key: &[u8], value: &[u8]) {
    let mut batch = WriteBatch::default();
    batch.put(family, key, value);
    store.write(batch, Durability::Synced).expect("memory");
}

fn open_error(chain: &Chain, store: MemoryStore) -> LedgerError {
    Ledger::open(store, &chain.genesis).expect_err("damage is noticed")
}

#[test]
fn a_record_that_does_not_decode_is_named_by_family_and_key() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    chain.grow(&mut ledger, 2);
    ledger.flush().expect("memory");
    drop(ledger);
    let row = RecordKey::Key(b"shared".to_vec()).row();
    overwrite(&store, Family::State, &row, &[1, 2, 3]);
    let error = open_error(&chain, store).to_string();
    assert!(error.contains("`state`") && error.contains("0x01736861726564"), "{error}");
}

#[test]
fn a_record_that_was_changed_is_noticed_by_the_root() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    chain.grow(&mut ledger, 2);
    ledger.flush().expect("memory");
    drop(ledger);
    let rich = Record::Account { balance: Amount::MAX };
    overwrite(&store, Family::State, &RecordKey::Account(account(3)).row(), &encode(&rich));
    let error = open_error(&chain, store);
    assert!(matches!(error, LedgerError::Diverged { height: Height(2), what: "state root", .. }), "{error}");
}

#[test]
fn a_block_that_was_changed_or_lost_is_noticed_before_it_is_executed() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    chain.grow(&mut ledger, 3);
    drop(ledger);
    let key = rows::height_key(Height(2));
    let whole = store.get(Family::Blocks, &key).expect("reads").expect("is there");
    let header = rows::must::<StoredHeader>(&store, Family::Headers, Height(2)).expect("reads").header;
    let other = Block::new(header, vec![chain.transaction(1_000, Vec::new())]);
    for damage in [whole[..whole.len() - 1].to_vec(), Vec::new(), encode(&other)] {
        overwrite(&store, Family::Blocks, &key, &damage);
        let error = open_error(&chain, store.clone()).to_string();
        assert!(error.contains("`blocks`") && error.contains("key 2"), "{error}");
    }
    overwrite(&store, Family::Blocks, &key, &whole);
    let mut batch = WriteBatch::default();
    batch.delete(Family::Headers, rows::height_key(Height(1)));
    store.write(batch, Durability::Synced).expect("memory");
    let error = open_error(&chain, store).to_string();
    assert!(error.contains("`headers`") && error.contains("key 1"), "{error}");
}

#[test]
fn what_is_executed_again_must_be_what_was_certified() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    chain.grow(&mut ledger, 1);
    let mut certificate = chain.checkpoint();
    certificate.payload.state_root = Hash::of(b"what others executed");
    drop(ledger);
    overwrite(&store, Family::Checkpoints, &rows::height_key(Height(1)), &encode(&certificate));
    let error = open_error(&chain, store);
    assert!(matches!(error, LedgerError::Diverged { height: Height(1), what: "state root", .. }), "{error}");
}

/// > The highest block that a ledger has synced has a commit certificate of its own.
#[test]
fn a_highest_block_without_a_certificate_is_damage() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    chain.grow(&mut ledger, 4);
    drop(ledger);
    let key = rows::height_key(Height(4));
    let certificate = store.get(Family::Certificates, &key).expect("reads").expect("is there");
    let mut batch = WriteBatch::default();
    batch.delete(Family::Certificates, key);
    store.write(batch, Durability::Synced).expect("memory");
    let error = open_error(&chain, store.clone());
    assert!(matches!(&error, LedgerError::Store(why) if why.is_damage()), "{error}");
    assert!(error.to_string().contains("`certificates`, key 4"), "{error}");
    overwrite(&store, Family::Certificates, &key, &certificate);
    assert_eq!(chain.open(store).tip().height, Height(4));
}

#[test]
fn data_of_another_format_are_refused() {
    let chain = Chain::new();
    let store = MemoryStore::new();
    drop(chain.open(store.clone()));
    overwrite(&store, Family::Meta, b"format", &encode(&(rows::FORMAT + 1)));
    let error = open_error(&chain, store);
    assert!(matches!(error, LedgerError::WrongFormat { stored: 3, known: 2 }), "{error}");
}
