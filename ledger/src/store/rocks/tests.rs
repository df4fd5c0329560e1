//! The store on disk, alone and under a ledger.

use super::*;
use crate::ledger::Ledger;
use crate::ledger::tests::Chain;
use crate::ledger::tests::epochs::proposed;
use crate::primitives::{Epoch, Height};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn it_is_a_store() {
    let directory = directory();
    crate::store::tests::keeps_rows_in_order(&RocksStore::open(directory.path()).expect("opens"));
}

#[test]
fn rows_are_there_when_it_is_opened_again() {
    let directory = directory();
    let path = directory.path().join("data/ledger");
    let store = RocksStore::open(&path).expect("makes the directories above it");
    let mut batch = WriteBatch::default();
    batch.put(Family::Blocks, [1], [2]);
    store.write(batch, Durability::Synced).expect("writes");
    let taken = RocksStore::open(&path).err().expect("one process at a time").to_string();
    assert!(taken.contains(&path.display().to_string()), "{taken}");
    drop(store);
    let store = RocksStore::open(&path).expect("opens again");
    assert_eq!(store.get(Family::Blocks, &[1]).expect("reads"), Some(vec![2]));
}

#[test]
fn a_damaged_file_is_told_from_a_machine_that_refuses() {
    let directory = directory();
    let store = RocksStore::open(directory.path()).expect("opens");
    assert!(!RocksStore::open(directory.path()).err().expect("one process at a time").is_damage());
    drop(store);
    let files = std::fs::read_dir(directory.path()).expect("a directory");
    let manifest = files
        .map(|entry| entry.expect("readable").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST")))
        .expect("RocksDB keeps one");
    std::fs::write(manifest, "damaged").expect("writes");
    assert!(RocksStore::open(directory.path()).err().expect("damaged").is_damage());
}

#[test]
fn a_ledger_dropped_without_flush_comes_back_by_executing_again() {
    let directory = directory();
    let mut chain = Chain::new();
    let mut ledger = chain.open(RocksStore::open(directory.path()).expect("opens"));
    chain.grow(&mut ledger, 5);
    ledger.flush().expect("writes");
    chain.grow(&mut ledger, 6);
    let tip = ledger.tip();
    drop(ledger);

    let ledger = chain.open(RocksStore::open(directory.path()).expect("opens again"));
    assert_eq!(ledger.tip(), tip);
    let (height, shared) = ledger.reader().key(b"shared").expect("reads");
    assert_eq!((height, shared.expect("is there").value), (Height(11), b"11".to_vec()));
    assert_eq!(ledger.reader().list_keys(b"key-", None, 100).expect("reads").1.len(), 11);
    let certified = ledger.reader().certified_above(Height(0), 100, usize::MAX).expect("reads");
    assert_eq!(certified.expect("up to the tip").blocks.len(), 11);
}

#[test]
fn a_ledger_flushed_and_dropped_opens_as_it_was() {
    let directory = directory();
    let mut chain = Chain::new();
    let mut ledger = chain.open(RocksStore::open(directory.path()).expect("opens"));
    chain.grow(&mut ledger, 4);
    ledger.stable(&chain.checkpoint()).expect("as executed");
    ledger.flush().expect("writes");
    let tip = ledger.tip();
    drop(ledger);
    let store = RocksStore::open(directory.path()).expect("opens again");
    let ledger = Ledger::open(store, &chain.genesis).expect("a sound store");
    assert_eq!(ledger.tip(), tip);
    assert_eq!(ledger.store().path(), directory.path());
}

#[test]
fn a_ledger_dropped_across_the_end_of_an_epoch_comes_back_in_the_next() {
    let directory = directory();
    let mut chain = Chain::new();
    let mut ledger = chain.open(RocksStore::open(directory.path()).expect("opens"));
    chain.grow(&mut ledger, 2);
    let last = chain.end_epoch(&mut ledger, &[0, 1, 2], &proposed(&[0, 1, 2]));
    chain.grow(&mut ledger, 1);
    let (tip, epoch) = (ledger.tip(), ledger.epoch());
    drop(ledger);

    let mut ledger = chain.open(RocksStore::open(directory.path()).expect("opens again"));
    assert_eq!((ledger.tip(), ledger.epoch()), (tip, epoch.clone()));
    assert_eq!((epoch.number, epoch.start), (Epoch(1), last.next()));
    chain.end_epoch(&mut ledger, &[0, 1, 2], &proposed(&[0, 1]));
    ledger.flush().expect("writes");
    let epoch = ledger.epoch();
    drop(ledger);
    let ledger = chain.open(RocksStore::open(directory.path()).expect("opens again"));
    assert_eq!((ledger.epoch(), epoch.number), (epoch.clone(), Epoch(2)));
    assert_eq!(ledger.reader().validators(Height(1)).len(), 4);
}
