//! `docs/pbft.md` §6: what a key whose log is refused may do, and from when on it may vote again.

use std::{fs, path::Path};

use prometheus_client::registry::Registry;
use quorate_consensus::{Mono, pbft::Record, vote_log::Mark};
use tempfile::TempDir;

use super::*;

const STARTED: UnixMillis = UnixMillis(1_000_000);
const DRIFT_MS: u64 = 5_000;

/// A clock that was right at the start and is, when the block below an epoch is of this time.
fn right(below: UnixMillis) -> Now {
    shows(below, below.millis_since(STARTED))
}

/// What the clocks of a process show that has run for so long.
fn shows(wall: UnixMillis, ran_ms: u64) -> Now {
    Now { mono: Mono(ran_ms * 1_000_000), wall }
}

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn set() -> ValidatorSet {
    ValidatorSet::new(vec![key().public()]).expect("one key")
}

fn open(home: &Path) -> Part<Record> {
    let paths = VotePaths { log: home.join("votes"), mark: home.join("mark") };
    let metrics = Metrics::register(&mut Registry::default());
    Part::open(Some(key()), paths, STARTED, &metrics).expect("the disk works").0
}

/// A machine on which the key has voted and its log was lost since.
fn lost_log() -> TempDir {
    let home = tempfile::tempdir().expect("a temporary directory");
    Mark::create_unused(&home.path().join("mark")).expect("a new mark");
    let part = open(home.path());
    assert!(part.voter(&set()).is_some(), "an unused key votes");
    drop(part);
    fs::remove_dir_all(home.path().join("votes")).expect("the log of its first life");
    home
}

/// > Refused are: […] a mark whose log is missing […] The node then follows, signs nothing, and says why and what to do.
#[test]
fn a_key_whose_log_is_refused_has_no_vote_and_says_why() {
    let home = lost_log();
    let part = open(home.path());
    assert!(part.voter(&set()).is_none());
    assert!(matches!(part.log, NodeLog::Nothing));
    let why = part.silent_because(Epoch(0), &set()).expect("it is a validator without a vote");
    assert!(why.contains("votes") && why.contains("tx approve validators --same"), "{why}");
}

/// > It must be an epoch that began after the key was last used: above the mark's promise, and begun since this node
/// > started, as the time of the block before it shows: later than the start by more than twice `max_clock_drift`
#[test]
fn a_refused_key_votes_again_in_an_epoch_that_began_more_than_twice_the_drift_after_the_start() {
    let home = lost_log();
    let mut part = open(home.path());
    // A judge whose clock is ahead of this one by the drift may have accepted, before the start, what was ahead of it by as
    // much.
    let (skewed, at) = (STARTED.plus_millis(DRIFT_MS + 1), STARTED.plus_millis(2 * DRIFT_MS));
    for (epoch, below) in [(1, UnixMillis(0)), (2, STARTED), (3, skewed), (4, at)] {
        part.begin(Epoch(epoch), below, DRIFT_MS, right(below));
        assert!(part.voter(&set()).is_none(), "epoch {epoch} may have begun before this node was started");
    }
    let after = at.plus_millis(1);
    part.begin(Epoch(5), after, DRIFT_MS, right(after));
    assert!(part.voter(&set()).is_some());
    assert_eq!(part.silent_because(Epoch(5), &set()), None);
    assert!(matches!(part.log, NodeLog::Votes { .. }));
}

#[test]
fn a_key_never_votes_again_in_an_epoch_that_its_mark_has_promised() {
    let home = lost_log();
    let mut part = open(home.path());
    let after = STARTED.plus_millis(2 * DRIFT_MS + 1);
    part.begin(Epoch(0), after, DRIFT_MS, right(after));
    assert!(part.voter(&set()).is_none());
}

/// > The start is what the clock showed then, or what it shows now less the time since, whichever is later: a clock that was
/// > behind and has been set corrects it.
#[test]
fn a_clock_that_is_set_after_the_start_corrects_the_start() {
    const BEHIND_MS: u64 = 3_600_000;
    const RAN_MS: u64 = 60_000;
    let home = lost_log();
    let mut part = open(home.path());
    let start = STARTED.plus_millis(BEHIND_MS);
    let now = shows(start.plus_millis(RAN_MS), RAN_MS);
    // Begun while the key still signed: after what the clock said of the start, and before the start.
    for (epoch, below) in [(1, start.plus_millis(2 * DRIFT_MS)), (2, STARTED.plus_millis(BEHIND_MS / 2))] {
        part.begin(Epoch(epoch), below, DRIFT_MS, now);
        assert!(part.voter(&set()).is_none(), "epoch {epoch} may have begun before this node was started");
    }
    part.begin(Epoch(3), start.plus_millis(2 * DRIFT_MS + 1), DRIFT_MS, now);
    assert!(part.voter(&set()).is_some());
}

/// > A block later than the clock shows now by more than twice `max_clock_drift` shows that the clock is behind still, and
/// > the key stays silent.
#[test]
fn a_key_does_not_begin_anew_by_a_clock_that_is_seen_to_be_behind() {
    const RAN_MS: u64 = 60_000;
    let home = lost_log();
    let mut part = open(home.path());
    let now = shows(STARTED.plus_millis(RAN_MS), RAN_MS);
    let latest = now.wall.plus_millis(2 * DRIFT_MS);
    part.begin(Epoch(1), latest.plus_millis(1), DRIFT_MS, now);
    assert!(part.voter(&set()).is_none(), "an hour may have passed unseen before the start");
    part.begin(Epoch(2), latest, DRIFT_MS, now);
    assert!(part.voter(&set()).is_some());
}
