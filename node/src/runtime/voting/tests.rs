//! `docs/pbft.md` §6: what a key whose log is refused may do, and from when on it may vote again.

use std::{fs, path::Path};

use prometheus_client::registry::Registry;
use quorate_consensus::{pbft::Record, vote_log::Mark};
use tempfile::TempDir;

use super::*;

const STARTED: UnixMillis = UnixMillis(1_000_000);
const DRIFT_MS: u64 = 5_000;

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
        part.begin(Epoch(epoch), below, DRIFT_MS);
        assert!(part.voter(&set()).is_none(), "epoch {epoch} may have begun before this node was started");
    }
    part.begin(Epoch(5), at.plus_millis(1), DRIFT_MS);
    assert!(part.voter(&set()).is_some());
    assert_eq!(part.silent_because(Epoch(5), &set()), None);
    assert!(matches!(part.log, NodeLog::Votes { .. }));
}

#[test]
fn a_key_never_votes_again_in_an_epoch_that_its_mark_has_promised() {
    let home = lost_log();
    let mut part = open(home.path());
    part.begin(Epoch(0), STARTED.plus_millis(2 * DRIFT_MS + 1), DRIFT_MS);
    assert!(part.voter(&set()).is_none());
}
