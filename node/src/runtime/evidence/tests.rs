//! Claims about what is kept, on double votes signed with keys of small seeds.

use std::{fs, path::Path, sync::mpsc::sync_channel};

use quorate_consensus::evidence::{Signed, VoteKind};
use quorate_crypto::{Domain, SecretKey};
use quorate_ledger::{CommitPayload, View};

use super::*;

fn vote(key: &SecretKey, height: u64, block: &[u8]) -> Signed<CommitPayload> {
    let payload =
        CommitPayload { epoch: Epoch(0), view: View(0), height: Height(height), block: Hash::of(block) };
    let signature = key.sign(Domain::Commit, &Hash::ZERO, &payload);
    Signed { payload, signature }
}

/// Validator `signer` signed two COMMITs at `height`; `second` tells proofs of one offence apart.
fn double_commit(signer: u8, height: u64, second: &[u8]) -> Evidence {
    let key = SecretKey::from_seed([signer + 1; 32]);
    Evidence::DoubleVote {
        signer: key.public(),
        kind: VoteKind::Commit,
        first: vote(&key, height, b"one"),
        second: vote(&key, height, second),
    }
}

fn found(at: u64, evidence: Evidence) -> FoundEvidence {
    FoundEvidence::new(UnixMillis(at), evidence)
}

fn heights(pieces: &[FoundEvidence]) -> Vec<u64> {
    pieces.iter().map(|piece| piece.evidence.place().1.0).collect()
}

/// Gives `evidence` to the keeper of `dir` and ends it.
fn kept(dir: &Path, evidence: Vec<Evidence>) -> Vec<FoundEvidence> {
    let keeper = Keeper::open(dir.join("evidence"));
    let shelf = keeper.shelf();
    let (queue, accusations) = sync_channel(ACCUSATIONS_MAX);
    let recorder = Recorder::new(queue);
    for (at, evidence) in evidence.into_iter().enumerate() {
        recorder.record(UnixMillis(1_000 + at as u64), evidence);
    }
    drop(recorder);
    keeper.run(&accusations);
    shelf.list()
}

#[test]
fn what_is_found_is_there_after_a_restart_byte_for_byte() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let first = kept(dir.path(), vec![double_commit(0, 4, b"two"), double_commit(1, 4, b"two")]);
    assert_eq!(first.len(), 2);
    assert_eq!(kept(dir.path(), Vec::new()), first, "with the time when it was found");
    let again = kept(dir.path(), vec![double_commit(0, 4, b"two"), double_commit(0, 5, b"two")]);
    assert_eq!(heights(&again), [4, 4, 5], "what is found again is the same, and what is new comes behind");
}

#[test]
fn a_file_holds_what_the_hash_in_its_name_is_of() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let piece = kept(dir.path(), vec![double_commit(0, 4, b"two")]).remove(0);
    let files: Vec<_> = fs::read_dir(dir.path().join("evidence"))
        .expect("a directory")
        .map(|entry| entry.expect("readable").path())
        .collect();
    assert_eq!(files.len(), 1, "no draft stays: {files:?}");
    let bytes = fs::read(&files[0]).expect("readable");
    assert_eq!(bytes, encode(&*piece.evidence));
    assert_eq!(Hash::of(&bytes), piece.hash);
    assert!(files[0].to_string_lossy().ends_with(&piece.hash.to_string()[2..]), "{files:?}");
}

#[test]
fn damaged_files_are_left_alone_and_cost_nothing_but_themselves() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    kept(dir.path(), vec![double_commit(0, 4, b"two"), double_commit(0, 5, b"two")]);
    let files = dir.path().join("evidence");
    let mut names: Vec<_> =
        fs::read_dir(&files).expect("a directory").map(|entry| entry.expect("readable").path()).collect();
    names.sort();
    let mut bytes = fs::read(&names[0]).expect("readable");
    bytes[40] ^= 1;
    fs::write(&names[0], &bytes).expect("writable");
    fs::write(files.join("notes.txt"), "not ours").expect("writable");
    fs::write(files.join(files::name(UnixMillis(1), &Hash::of(b"short"))), "short").expect("writable");
    fs::write(files.join(".draft"), "cut short").expect("writable");

    assert_eq!(heights(&kept(dir.path(), Vec::new())), [5]);
    let again = kept(dir.path(), vec![double_commit(0, 4, b"two")]);
    assert_eq!(heights(&again), [5, 4], "the damaged one can be proven anew");
    assert_eq!(fs::read(&names[0]).expect("still there"), bytes);
    assert!(files.join("notes.txt").exists());
}

#[test]
fn where_nothing_can_be_stored_it_is_kept_in_memory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("evidence"), "a file in the way").expect("writable");
    assert_eq!(heights(&kept(dir.path(), vec![double_commit(0, 4, b"two")])), [4]);
}

#[test]
fn one_piece_is_kept_for_one_offence() {
    let mut shelf = Shelf::default();
    assert_eq!(shelf.put(found(1, double_commit(0, 4, b"two"))), Placed::Kept(vec![]));
    assert_eq!(shelf.put(found(2, double_commit(0, 4, b"three"))), Placed::Left);
    assert_eq!(shelf.put(found(3, double_commit(0, 5, b"two"))), Placed::Kept(vec![]));
    assert_eq!(shelf.put(found(4, double_commit(1, 4, b"two"))), Placed::Kept(vec![]));
    assert_eq!(heights(&shelf.pieces.into_iter().collect::<Vec<_>>()), [4, 5, 4]);
}

#[test]
fn against_one_validator_the_first_pieces_are_kept_and_no_more() {
    let mut shelf = Shelf::default();
    let most = PER_VALIDATOR_MAX as u64;
    for height in 1..=most {
        assert_eq!(shelf.put(found(height, double_commit(0, height, b"two"))), Placed::Kept(vec![]));
    }
    assert_eq!(shelf.put(found(99, double_commit(0, most + 1, b"two"))), Placed::Left);
    assert_eq!(shelf.put(found(99, double_commit(1, most + 1, b"two"))), Placed::Kept(vec![]));
}

#[test]
fn over_the_number_the_oldest_goes() {
    let mut shelf = Shelf::default();
    let piece = |number: usize| {
        let signer = u8::try_from(number / PER_VALIDATOR_MAX).expect("few signers");
        found(number as u64, double_commit(signer, number as u64, b"two"))
    };
    for number in 0..KEPT_MAX {
        assert_eq!(shelf.put(piece(number)), Placed::Kept(vec![]), "{number}");
    }
    assert_eq!(shelf.put(piece(KEPT_MAX)), Placed::Kept(vec![piece(0)]));
    assert_eq!(shelf.pieces.len(), KEPT_MAX);
}

#[test]
fn over_the_bytes_the_largest_goes_even_if_it_is_the_newest() {
    let sized =
        |signer: u8, size: usize| FoundEvidence { size, ..found(0, double_commit(signer, 1, b"two")) };
    let mut shelf = Shelf::default();
    let half = KEPT_BYTES_MAX / 2;
    assert_eq!(shelf.put(sized(0, half)), Placed::Kept(vec![]));
    assert_eq!(shelf.put(sized(1, KEPT_BYTES_MAX - half)), Placed::Kept(vec![]), "at the limit");
    assert_eq!(shelf.put(sized(2, KEPT_BYTES_MAX)), Placed::Left, "one that is all too large moves nobody");
    assert_eq!(shelf.put(sized(3, 1_000)), Placed::Kept(vec![sized(1, KEPT_BYTES_MAX - half)]));
    assert_eq!(shelf.bytes, half + 1_000);
}
