//! `docs/pbft.md` §6: the log and the mark, at every way of losing them.

use std::{fs, path::Path};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_ledger::{Epoch, View};
use tempfile::TempDir;

use super::{FILE, FILE_NEXT, FILE_REFUSED, Mark, VoteLog, VoteLogError};
use crate::engine::{Log as _, OpenError, Promise, Promised};

/// A record with a promise and a body.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Note {
    view: u64,
    text: String,
}

impl Promised for Note {
    fn epoch(&self) -> Epoch {
        Epoch(0)
    }

    fn beginning(epoch: Epoch) -> Self {
        note(0, &format!("from epoch {epoch}"))
    }

    fn is_beginning(&self) -> bool {
        self.text.starts_with("from epoch")
    }

    fn check(_: &[Self]) -> Result<(), OpenError> {
        Ok(())
    }

    fn promised(&self) -> Option<Promise> {
        Some(Promise { epoch: Epoch(0), view: View(self.view) })
    }
}

fn note(view: u64, text: &str) -> Note {
    Note { view, text: text.to_owned() }
}

/// A directory for the log with an unused mark beside it.
fn home() -> TempDir {
    let home = tempfile::tempdir().expect("a temporary directory");
    Mark::create_unused(&home.path().join("mark")).expect("a new mark");
    home
}

fn open(home: &Path) -> Result<(VoteLog<Note>, Vec<Note>), VoteLogError> {
    VoteLog::open(&home.join("votes"), &home.join("mark"))
}

fn must_open(home: &Path) -> (VoteLog<Note>, Vec<Note>) {
    open(home).expect("the log opens")
}

fn log_file(home: &Path) -> std::path::PathBuf {
    home.join("votes").join(FILE)
}

fn written(home: &Path) -> Vec<Vec<Note>> {
    let batches = vec![vec![note(0, "a"), note(0, "b")], vec![note(1, "c")], vec![note(2, "d")]];
    let (mut log, records) = must_open(home);
    assert!(records.is_empty());
    for batch in &batches {
        log.append(batch).expect("the disk works");
    }
    batches
}

#[test]
fn what_was_appended_is_read_back_in_order() {
    let home = home();
    let batches = written(home.path());
    let (mut log, records) = must_open(home.path());
    assert_eq!(records, batches.concat());
    log.append(&[note(2, "e")]).expect("the disk works");
    drop(log);
    let (_, records) = must_open(home.path());
    assert_eq!(records.last(), Some(&note(2, "e")));
}

#[test]
fn compaction_keeps_what_it_is_given_and_goes_on_counting() {
    let home = home();
    written(home.path());
    let (mut log, _) = must_open(home.path());
    log.compact(&[note(2, "all that matters")]).expect("the disk works");
    log.append(&[note(2, "and one more")]).expect("the disk works");
    drop(log);
    let (_, records) = must_open(home.path());
    assert_eq!(records, vec![note(2, "all that matters"), note(2, "and one more")]);
}

/// > A compaction writes as many frames as it takes, each of 16 MiB or of one record, far below the 4 GiB that a frame can
/// > hold, and an empty one behind them
#[test]
fn a_compaction_of_any_size_is_read_back_and_damage_to_any_of_it_is_refused() {
    let home = home();
    written(home.path());
    let (mut log, _) = must_open(home.path());
    let long = "x".repeat(9 << 20);
    let records: Vec<Note> = (0..4).map(|_| note(2, &long)).collect();
    log.compact(&records).expect("the disk works");
    drop(log);
    assert_eq!(must_open(home.path()).1, records);

    let whole = fs::read(log_file(home.path())).expect("the log");
    let frame = 20 + borsh::to_vec(&records[..1]).expect("memory").len();
    assert_eq!(whole.len(), 24 + 4 * frame + 24, "two of them would pass 16 MiB");
    for at in [24 + 30, 24 + 3 * frame + 30] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(log_file(home.path()), &bytes).expect("the log");
        let error = open(home.path()).expect_err("the damage shows");
        assert!(matches!(error, VoteLogError::Damaged { .. }), "byte {at}: {error}");
    }
    fs::write(log_file(home.path()), &whole).expect("the log");
    let (mut log, _) = must_open(home.path());
    log.append(&[note(2, "goes on")]).expect("the disk works");
    drop(log);
    assert_eq!(must_open(home.path()).1.last(), Some(&note(2, "goes on")));
}

#[test]
fn a_torn_last_frame_is_cut_off_wherever_it_tore() {
    let home = home();
    let batches = written(home.path());
    let whole = fs::read(log_file(home.path())).expect("the log");
    let mark = fs::read(home.path().join("mark")).expect("the mark");
    let last = 20 + borsh::to_vec(&batches[2]).expect("memory").len();
    for cut in 1..=last {
        fs::write(log_file(home.path()), &whole[..whole.len() - cut]).expect("the log");
        // The mark of view 2 is written after its frame: with a torn frame it still says 1.
        let earlier = String::from_utf8(mark.clone()).expect("text").replace("view 2", "view 1");
        fs::write(home.path().join("mark"), earlier).expect("the mark");
        let (mut log, records) = must_open(home.path());
        assert_eq!(records, batches[..2].concat(), "cut by {cut}");
        log.append(&[note(1, "goes on")]).expect("the disk works");
        drop(log);
        assert_eq!(must_open(home.path()).1.last(), Some(&note(1, "goes on")));
    }
}

#[test]
fn any_changed_bit_before_the_last_frame_is_refused() {
    let home = home();
    let batches = written(home.path());
    let whole = fs::read(log_file(home.path())).expect("the log");
    let last = 20 + borsh::to_vec(&batches[2]).expect("memory").len();
    for at in 24..whole.len() - last {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(log_file(home.path()), &bytes).expect("the log");
        let error = open(home.path()).expect_err("the damage shows");
        assert!(matches!(error, VoteLogError::Damaged { .. }), "byte {at}: {error}");
        assert!(error.is_refusal());
    }
}

/// > all records of a batch under one sequence number
#[test]
fn a_log_that_leaves_a_frame_out_is_refused() {
    let home = home();
    let batches = written(home.path());
    let whole = fs::read(log_file(home.path())).expect("the log");
    let length = |batch: &Vec<Note>| 20 + borsh::to_vec(batch).expect("memory").len();
    let (first, second) = (24 + length(&batches[0]), 24 + length(&batches[0]) + length(&batches[1]));
    let without = [&whole[..first], &whole[second..]].concat();
    fs::write(log_file(home.path()), without).expect("the log");
    let error = open(home.path()).expect_err("one is missing");
    assert!(error.is_refusal(), "{error}");
}

#[test]
fn a_foreign_head_is_refused() {
    let home = home();
    written(home.path());
    let mut bytes = fs::read(log_file(home.path())).expect("the log");
    bytes[0] ^= 1;
    fs::write(log_file(home.path()), &bytes).expect("the log");
    assert!(matches!(open(home.path()), Err(VoteLogError::NotALog { .. })));
    bytes[0] ^= 1;
    bytes[8] ^= 1;
    fs::write(log_file(home.path()), &bytes).expect("the log");
    assert!(matches!(open(home.path()), Err(VoteLogError::Foreign { .. })), "another id");
}

#[test]
fn a_body_that_holds_a_whole_frame_does_not_make_a_torn_log_look_damaged() {
    let home = home();
    let (mut log, _) = must_open(home.path());
    // All that an outsider can know: the format, and a sequence number that is surely high enough.
    let stranger = super::mark::LogId([0; 16]);
    let frame = super::file::encode_frame(stranger, 1_000, &[note(0, "inner")]).expect("memory");
    let text = frame.iter().map(|byte| char::from(byte & 0x7f)).collect::<String>();
    log.append(&[note(0, &text)]).expect("the disk works");
    drop(log);
    let mut whole = fs::read(log_file(home.path())).expect("the log");
    whole.extend(&frame);
    whole.extend([0; 7]);
    let at = whole.len() - frame.len() - 7 - 30;
    whole[at] ^= 1; // the frame around it is torn
    fs::write(log_file(home.path()), &whole).expect("the log");
    assert!(must_open(home.path()).1.is_empty());
}

#[test]
fn lost_cloned_and_restored_logs_are_refused() {
    let home = home();
    written(home.path());
    let (mut log, _) = must_open(home.path());
    let old = fs::read(log_file(home.path())).expect("the log");
    log.append(&[note(7, "a later promise")]).expect("the disk works");
    drop(log);

    fs::write(log_file(home.path()), &old).expect("the log");
    assert!(matches!(open(home.path()), Err(VoteLogError::Behind { .. })), "restored from a copy");
    fs::remove_file(log_file(home.path())).expect("the log");
    assert!(matches!(open(home.path()), Err(VoteLogError::Lost { .. })), "lost");
    let other = self::home();
    written(other.path());
    fs::copy(log_file(other.path()), log_file(home.path())).expect("the other's log");
    assert!(matches!(open(home.path()), Err(VoteLogError::Foreign { .. })), "another key's");
    fs::remove_file(home.path().join("mark")).expect("the mark");
    assert!(matches!(open(home.path()), Err(VoteLogError::NoMark { .. })), "a key without a mark");
    fs::write(home.path().join("mark"), "log 12 epoch").expect("the mark");
    assert!(matches!(open(home.path()), Err(VoteLogError::BadMark { .. })));
}

#[test]
fn an_unused_mark_beside_a_used_log_is_refused() {
    let home = home();
    written(home.path());
    Mark::reset_unused(&home.path().join("mark")).expect("the mark");
    assert!(matches!(open(home.path()), Err(VoteLogError::Foreign { .. })));
}

#[test]
fn a_first_start_that_was_cut_short_is_made_good() {
    let home = home();
    drop(must_open(home.path())); // the log is made and entered
    Mark::reset_unused(&home.path().join("mark")).expect("the mark");
    let (_, records) = must_open(home.path());
    assert!(records.is_empty());
    let mark = Mark::read(&home.path().join("mark")).expect("readable");
    assert!(matches!(mark, Some(Mark::Entered { .. })));
}

/// > the first start makes the log, then enters it
#[test]
fn a_first_start_that_was_cut_short_while_the_log_was_made_is_made_good() {
    let whole = {
        let home = home();
        drop(must_open(home.path()));
        fs::read(log_file(home.path())).expect("the log")
    };
    for length in 0..=whole.len() {
        let home = home();
        fs::create_dir(home.path().join("votes")).expect("a directory");
        fs::write(home.path().join("votes").join(FILE_NEXT), &whole[..length]).expect("part of a log");
        let (mut log, records) = must_open(home.path());
        assert!(records.is_empty(), "cut at {length}");
        log.append(&[note(1, "goes on")]).expect("the disk works");
        drop(log);
        assert_eq!(must_open(home.path()).1, [note(1, "goes on")], "cut at {length}");
    }
}

/// > All frames of a log begin with what follows from its id, which nobody knows
///
/// Trying each of these beginnings would take an hour.
#[test]
fn a_torn_frame_full_of_another_logs_beginnings_is_cut_off_at_once() {
    const TORN_BYTES: usize = 16 << 20;
    let home = home();
    let batches = written(home.path());
    let mut whole = fs::read(log_file(home.path())).expect("the log");
    let stranger = super::mark::LogId([0; 16]);
    let mut beginning = super::file::encode_frame::<Note>(stranger, 3, &[]).expect("memory")[..20].to_vec();
    beginning[12..16].copy_from_slice(&(8u32 << 20).to_le_bytes());
    whole.extend(beginning.iter().cycle().take(TORN_BYTES));
    fs::write(log_file(home.path()), &whole).expect("the log");
    assert_eq!(must_open(home.path()).1, batches.concat());
}

#[test]
fn the_mark_follows_the_promise() {
    let home = home();
    written(home.path());
    let mark = Mark::read(&home.path().join("mark")).expect("readable");
    let Some(Mark::Entered { promise, .. }) = mark else { panic!("entered, not {mark:?}") };
    assert_eq!(promise, Promise { epoch: Epoch(0), view: View(2) });
}

/// Directories may have names that are no text.
#[test]
#[cfg(unix)]
fn a_mark_stands_in_any_directory() {
    use std::os::unix::ffi::OsStrExt as _;
    let parent = tempfile::tempdir().expect("a temporary directory");
    let home = parent.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&home).expect("a directory");
    Mark::create_unused(&home.join("mark")).expect("a new mark");
    written(&home);
    let mark = Mark::read(&home.join("mark")).expect("readable");
    assert!(matches!(mark, Some(Mark::Entered { promise, .. }) if promise.view == View(2)));
}

#[test]
fn a_mark_is_never_overwritten_by_a_new_key() {
    let home = home();
    assert!(Mark::create_unused(&home.path().join("mark")).is_err());
}

#[test]
fn a_refused_key_begins_anew_in_an_epoch_above_its_promise() {
    let home = home();
    written(home.path());
    let (directory, mark) = (home.path().join("votes"), home.path().join("mark"));
    fs::remove_file(log_file(home.path())).expect("the log");
    assert!(matches!(open(home.path()), Err(VoteLogError::Lost { .. })));
    let bound = VoteLog::<Note>::renew(&directory, &mark, Epoch(0)).expect_err("it has signed in this epoch");
    assert!(matches!(bound, VoteLogError::Bound { promised: Epoch(0), .. }), "{bound}");
    VoteLog::<Note>::renew(&directory, &mark, Epoch(1)).expect("a later epoch");
    assert_eq!(must_open(home.path()).1, vec![Note::beginning(Epoch(1))], "it signs nothing below");
}

#[test]
fn a_log_that_is_set_aside_is_not_lost() {
    let home = home();
    written(home.path());
    let (directory, mark) = (home.path().join("votes"), home.path().join("mark"));
    let bytes = fs::read(log_file(home.path())).expect("the log");
    // A key without a mark, and one whose mark cannot be read.
    for text in [None, Some("what?")] {
        fs::write(log_file(home.path()), &bytes).expect("the log");
        match text {
            None => fs::remove_file(&mark).expect("the mark"),
            Some(text) => fs::write(&mark, text).expect("the mark"),
        }
        assert!(open(home.path()).is_err_and(|error| error.is_refusal()));
        VoteLog::<Note>::renew(&directory, &mark, Epoch(1)).expect("nothing tells against it");
        assert_eq!(fs::read(directory.join(FILE_REFUSED)).expect("the old log"), bytes);
        assert_eq!(must_open(home.path()).1, vec![Note::beginning(Epoch(1))]);
    }
}

/// > The refused log is set aside then and a new one is made, which has no voice in the epochs before
///
/// Wherever that is cut short, the key is refused as before, and may begin anew again.
#[test]
fn a_key_that_begins_anew_is_refused_until_all_of_it_is_done() {
    let renewed = |home: &Path| VoteLog::<Note>::renew(&home.join("votes"), &home.join("mark"), Epoch(1));
    // What the disk holds after the last step but one: the new log, and the mark from before.
    let (new, next_length) = {
        let home = home();
        written(home.path());
        renewed(home.path()).expect("a later epoch");
        let new = fs::read(log_file(home.path())).expect("the log");
        (new.clone(), new.len())
    };
    let marks =
        [None, Some("what?"), Some("unused"), Some("log 000102030405060708090a0b0c0d0e0f epoch 0 view 2")];
    for mark in marks {
        for (step, length) in (0..=next_length).map(|length| (0, length)).chain([(1, next_length), (2, 0)]) {
            let home = home();
            written(home.path());
            let votes = home.path().join("votes");
            match step {
                0 => fs::write(votes.join(FILE_NEXT), &new[..length]).expect("part of a log"),
                1 => {
                    fs::write(votes.join(FILE_NEXT), &new).expect("a log");
                    fs::hard_link(votes.join(FILE), votes.join(FILE_REFUSED)).expect("a second name");
                }
                _ => fs::write(votes.join(FILE), &new).expect("a log"),
            }
            match mark {
                None => fs::remove_file(home.path().join("mark")).expect("the mark"),
                Some(text) => fs::write(home.path().join("mark"), text).expect("the mark"),
            }
            let refused = open(home.path()).is_err_and(|error| error.is_refusal());
            assert!(refused, "mark {mark:?}, step {step}, {length} bytes");
            renewed(home.path()).expect("nothing tells against it");
            assert_eq!(must_open(home.path()).1, [Note::beginning(Epoch(1))]);
        }
    }
}

/// > A log is made beside, whole, and then given its name
#[test]
fn a_renewed_log_is_whole_before_it_is_entered() {
    let length = |home: &Path| fs::read(log_file(home)).expect("the log").len();
    let renewed =
        |home: &Path, mark: &str| VoteLog::<Note>::renew(&home.join("votes"), &home.join(mark), Epoch(1));
    let (whole, cut_short) = (home(), home());
    renewed(whole.path(), "mark").expect("nothing tells against it");
    renewed(cut_short.path(), "nowhere/mark").expect_err("there is no such directory");
    assert_eq!(length(cut_short.path()), length(whole.path()));
}

/// > If that fails […]: nobody knows what a disk holds after a failed sync, so it is not tried again.
#[test]
fn a_log_that_failed_takes_no_more() {
    let home = home();
    let (mut log, _) = must_open(home.path());
    log.append(&[note(0, "a")]).expect("the disk works");
    let (votes, aside) = (home.path().join("votes"), home.path().join("aside"));
    fs::rename(&votes, &aside).expect("the directory");
    log.compact(&[note(0, "a")]).expect_err("there is no place for a new file");
    fs::rename(&aside, &votes).expect("the directory");
    log.append(&[note(0, "b")]).expect_err("it failed before");
    log.compact(&[note(0, "a")]).expect_err("it failed before");
    drop(log);
    assert_eq!(must_open(home.path()).1, vec![note(0, "a")]);
}
