//! The trie against a recomputation that shares nothing with it but SHA-256, and proofs against that root.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_crypto::{Hash, decode, encode};

use super::*;
use crate::fixtures::account;
use crate::primitives::Height;

type Leaves = BTreeMap<[u8; 32], Hash>;

/// `docs/formats.md`, State, word for word: empty is 32 zero bytes, one record is its leaf, else both halves hashed.
fn naive_root(leaves: &[([u8; 32], Hash)], depth: usize) -> Hash {
    match leaves {
        [] => Hash::ZERO,
        [(path, record)] => {
            Hash::of(&[b"quorate/1/state-leaf\0".as_slice(), path, record.as_bytes()].concat())
        }
        _ => {
            let right = |path: &[u8; 32]| path[depth / 8] & (0x80 >> (depth % 8)) != 0;
            let (ones, zeros): (Vec<_>, Vec<_>) = leaves.iter().copied().partition(|(path, _)| right(path));
            let (left, right) = (naive_root(&zeros, depth + 1), naive_root(&ones, depth + 1));
            Hash::of(&[b"quorate/1/state-node\0".as_slice(), left.as_bytes(), right.as_bytes()].concat())
        }
    }
}

fn root_of(leaves: &Leaves) -> Hash {
    let leaves: Vec<_> = leaves.iter().map(|(path, record)| (*path, *record)).collect();
    naive_root(&leaves, 0)
}

fn build(leaves: &Leaves, window: usize) -> Trie {
    let records = leaves.iter().map(|(path, record)| (Hash::from_bytes(*path), *record));
    Trie::build(Height(0), records, window)
}

fn apply(leaves: &mut Leaves, batch: &BTreeMap<[u8; 32], Option<u8>>) -> Vec<LeafChange> {
    for (path, value) in batch {
        match value {
            Some(value) => leaves.insert(*path, Hash::of(&[*value])),
            None => leaves.remove(path),
        };
    }
    let change = |(path, value): (&[u8; 32], &Option<u8>)| LeafChange {
        path: Hash::from_bytes(*path),
        record: value.map(|value| Hash::of(&[value])),
    };
    batch.iter().map(change).collect()
}

/// Few enough to meet again, with common beginnings of anything from none to all 255 bits but the last.
fn path() -> impl Strategy<Value = [u8; 32]> {
    let first = prop_oneof![Just(0u8), Just(1), Just(0x80), Just(0xff), any::<u8>()];
    (first, prop_oneof![Just(0u8), Just(0x10)], 0..4u8).prop_map(|(first, middle, last)| {
        let mut path = [0; 32];
        (path[0], path[15], path[31]) = (first, middle, last);
        path
    })
}

fn batch() -> impl Strategy<Value = BTreeMap<[u8; 32], Option<u8>>> {
    proptest::collection::btree_map(path(), proptest::option::weighted(0.6, 0..3u8), 0..12)
}

proptest! {
    #[test]
    fn the_root_is_that_of_the_records_whatever_the_history(batches in proptest::collection::vec(batch(), 1..12)) {
        let (mut leaves, mut trie) = (Leaves::new(), build(&Leaves::new(), 3));
        for batch in &batches {
            let changes = apply(&mut leaves, batch);
            prop_assert_eq!(trie.advance(changes), root_of(&leaves));
            prop_assert_eq!(build(&leaves, 0).root(), trie.root());
        }
        prop_assert_eq!(trie.height(), Height(batches.len() as u64));
    }

    #[test]
    fn records_and_absences_are_proven_at_every_height_of_the_window(
        batches in proptest::collection::vec(batch(), 1..8),
        asked in proptest::collection::vec(path(), 8),
    ) {
        const WINDOW: usize = 4;
        let (mut leaves, mut trie) = (Leaves::new(), build(&Leaves::new(), WINDOW));
        let mut past = vec![leaves.clone()];
        for batch in &batches {
            let changes = apply(&mut leaves, batch);
            trie.advance(changes);
            past.push(leaves.clone());
        }
        let oldest = past.len().saturating_sub(WINDOW + 1);
        prop_assert_eq!(trie.oldest(), Height(oldest as u64));
        for (height, leaves) in past.iter().enumerate() {
            let root = root_of(leaves);
            for path in asked.iter().chain(leaves.keys()) {
                let proof = trie.prove(&Hash::from_bytes(*path), Height(height as u64));
                prop_assert_eq!(proof.is_some(), height >= oldest, "the window and no height below it");
                let Some(proof) = proof else { continue };
                prop_assert_eq!(&decode::<StateProof>(&encode(&proof)).expect("own encoding"), &proof);
                let (path, record) = (Hash::from_bytes(*path), leaves.get(path).copied());
                let holds = |record, root: Hash| proof.verify_hashes(&path, record, &root);
                prop_assert!(holds(record, root));
                prop_assert!(!holds(Some(Hash::of(b"another record")), root));
                prop_assert!(!holds(record, Hash::of(b"another root")));
                if record.is_some() {
                    prop_assert!(!holds(None, root), "a record that is there is not absent");
                }
            }
        }
        prop_assert_eq!(trie.prove(&Hash::ZERO, Height(past.len() as u64)), None, "not yet");
    }

    #[test]
    fn what_no_height_needs_is_freed(batches in proptest::collection::vec(batch(), 1..12)) {
        const WINDOW: usize = 2;
        let (mut leaves, mut trie) = (Leaves::new(), build(&Leaves::new(), WINDOW));
        for batch in &batches {
            let changes = apply(&mut leaves, batch);
            trie.advance(changes);
        }
        for _ in 0..WINDOW {
            trie.advance(Vec::new());
        }
        prop_assert_eq!(trie.nodes(), build(&leaves, 0).nodes());
    }

    #[test]
    fn a_window_that_changes_keeps_no_more_and_no_less(
        batches in proptest::collection::vec((batch(), proptest::option::of(0..6usize)), 1..12)
    ) {
        let (mut leaves, mut trie, mut window) = (Leaves::new(), build(&Leaves::new(), 3), 3);
        let mut oldest = 0;
        for (height, (batch, changed)) in (1u64..).zip(&batches) {
            let changes = apply(&mut leaves, batch);
            trie.advance(changes);
            oldest = oldest.max(height.saturating_sub(window as u64));
            if let Some(changed) = *changed {
                window = changed;
                trie.set_window(window);
                oldest = oldest.max(height.saturating_sub(window as u64));
            }
            prop_assert_eq!(trie.oldest(), Height(oldest), "what was let go of does not come back");
            prop_assert_eq!(trie.root(), root_of(&leaves));
        }
        trie.set_window(0);
        prop_assert_eq!(trie.nodes(), build(&leaves, 0).nodes());
    }
}

#[test]
fn two_paths_that_differ_in_the_last_bit_stand_256_deep() {
    let (mut one, mut other) = ([0xa5; 32], [0xa5; 32]);
    (one[31], other[31]) = (0, 1);
    let leaves = Leaves::from([(one, Hash::of(b"one")), (other, Hash::of(b"other"))]);
    let trie = build(&leaves, 0);
    assert_eq!(trie.root(), root_of(&leaves));
    let proof = trie.prove(&Hash::from_bytes(one), Height(0)).expect("the present");
    assert_eq!(proof.siblings.len(), PROOF_SIBLINGS_MAX);
    assert!(proof.verify_hashes(&Hash::from_bytes(one), Some(Hash::of(b"one")), &trie.root()));

    let mut longer = proof;
    longer.siblings.push(Hash::ZERO);
    assert!(!longer.verify_hashes(&Hash::from_bytes(one), Some(Hash::of(b"one")), &trie.root()));
}

#[test]
fn absence_is_not_proven_by_a_leaf_from_elsewhere() {
    let (here, there) = ([0x00; 32], [0xff; 32]);
    let leaves = Leaves::from([(here, Hash::of(b"here")), (there, Hash::of(b"there"))]);
    let trie = build(&leaves, 0);
    // The walk to a key on the left must not end at the leaf on the right.
    let elsewhere = trie.prove(&Hash::from_bytes(there), Height(0)).expect("the present");
    let forged = StateProof {
        siblings: elsewhere.siblings,
        end: ProofEnd::Other { path: Hash::from_bytes(there), record: Hash::of(b"there") },
    };
    assert!(!forged.verify_hashes(&Hash::from_bytes(here), None, &trie.root()));
    assert!(!forged.verify_hashes(&Hash::from_bytes(there), None, &trie.root()), "nor at the key itself");
}

#[test]
fn records_are_proven_under_their_keys() {
    let key = RecordKey::Account(account(1));
    let record = Record::Account { balance: 7 };
    let others =
        [(RecordKey::Epoch.path(), Hash::of(b"epoch")), (RecordKey::Parameters.path(), Hash::of(b"p"))];
    let trie = Trie::build(Height(5), others.into_iter().chain([(key.path(), record.hash())]), 8);
    let proof = trie.prove(&key.path(), Height(5)).expect("the present");
    assert!(proof.verify(&key, Some(&record), &trie.root()));
    assert!(!proof.verify(&key, Some(&Record::Account { balance: 8 }), &trie.root()));
    assert!(!proof.verify(&RecordKey::Account(account(2)), Some(&record), &trie.root()));
    let absent = RecordKey::Account(account(2));
    let proof = trie.prove(&absent.path(), Height(5)).expect("the present");
    assert!(proof.verify(&absent, None, &trie.root()));
}

#[test]
#[should_panic(expected = "changed twice")]
fn a_path_is_changed_once_in_a_batch() {
    let change = LeafChange { path: Hash::ZERO, record: None };
    build(&Leaves::new(), 0).advance(vec![change, change]);
}

#[test]
fn a_proof_decodes_with_as_many_siblings_as_a_path_has_bits_and_not_one_more() {
    let proof = |count| StateProof { siblings: vec![Hash::ZERO; count], end: ProofEnd::Empty };
    let read = |count| decode::<StateProof>(&encode(&proof(count)));
    assert_eq!(read(PROOF_SIBLINGS_MAX), Ok(proof(PROOF_SIBLINGS_MAX)));
    assert!(read(PROOF_SIBLINGS_MAX + 1).is_err());
}
