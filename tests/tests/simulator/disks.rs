//! Disks that are slow, fail, rot or are put back, and what becomes of a key whose log or mark is refused.

use quorate_ledger::Parameters;
use quorate_sim::{Approvers, Counter, Fault, MarkFault, Point, Timing, VoteKind, Workload};

use crate::{hold, set, votes};

#[test]
fn a_slow_disk_and_executor_only_cost_time() {
    let timing = Timing {
        step_us: 10..=5_000,
        sync_us: 5_000..=60_000,
        answer_us: 1_000..=50_000,
        execute_us: 10_000..=200_000,
    };
    for nodes in [1, 4] {
        let scenario = scenario!(nodes, 10)
            .timing(timing.clone())
            .workload(Workload { short_permille: 0, ..Workload::default() })
            .fault(1_000, Fault::PowerCut { node: 0, restart_after_ms: 100 })
            .fault(2_000, Fault::CrashAt { node: 0, point: Point::AfterActions(1), restart_after_ms: 100 });
        assert_eq!(hold(&scenario).committed, 200, "all of n = {nodes}");
    }
}

#[test]
fn a_disk_that_fails_stops_its_node_and_no_other() {
    for nodes in [1, 4] {
        let scenario = scenario!(nodes, 31)
            .fault(500, Fault::SyncFails { node: 0, restart_after_ms: 200 })
            .fault(1_500, Fault::DiskFull { node: 0, ledger: false, restart_after_ms: 200 })
            .fault(2_500, Fault::DiskFull { node: 0, ledger: true, restart_after_ms: 200 });
        let report = hold(&scenario);
        assert_eq!(report.coverage.of(Counter::STOPPED_ON_A_FAILED_SYNC), 1, "n = {nodes}");
        assert!(report.coverage.of(Counter::STOPPED_ON_A_FULL_DISK) >= 2, "n = {nodes}");
    }
}

#[test]
fn a_rotten_vote_log_is_refused_and_its_node_follows() {
    let scenario = scenario!(4, 32).fault(1_000, Fault::BitRot { node: 2, restart_after_ms: 300 });
    assert_eq!(hold(&scenario).coverage.of(Counter::ROTTEN_LOG_REFUSED), 1);
}

#[test]
fn a_restored_vote_log_is_noticed_by_the_answers_of_the_others() {
    let scenario = scenario!(4, 33)
        // While blocks wait to be executed the others still hold the votes for them.
        .timing(Timing { execute_us: 150_000..=300_000, ..Timing::default() })
        .workload(Workload { every_ms: 1..=5, ..Workload::default() })
        .fault(700, Fault::LogRestored { node: 1, syncs: 12, restart_after_ms: 5 });
    assert_eq!(hold(&scenario).coverage.of(Counter::FORGETFUL_REPLICA_ABSTAINS), 1);
}

/// `docs/pbft.md` §6:
///
/// > Refused are: a key without a mark, […] a log of another id, a log below the mark's promise […] The node then follows,
/// > signs nothing, and says why […] A key whose log is refused votes again in a later epoch
#[test]
fn a_key_whose_mark_is_spoilt_is_refused_and_its_node_follows_until_a_later_epoch() {
    let faults = [
        (MarkFault::Lost, "mark is missing: the key may have signed before, elsewhere"),
        (MarkFault::Torn, "mark: not a mark: "),
        (MarkFault::Foreign, "image is not the log that this key has signed with"),
        (MarkFault::Unused, "image is not the log that this key has signed with"),
    ];
    for (what, why) in faults {
        let scenario = scenario!(4, 66)
            .chaos_ms(9_000)
            .workload(Workload { every_ms: 1..=80, ..Workload::default() })
            .fault(1_000, Fault::Mark { node: 2, what, restart_after_ms: 100 })
            // It is refused again by each life, and clocks may be apart by 5 s.
            .fault(1_500, Fault::Crash { node: 2, restart_after_ms: Some(100) })
            .change(7_500, set(0..4), Approvers::All);
        let report = hold(&scenario);
        assert_eq!(report.coverage.of(Counter::SPOILT_MARK_REFUSED), 2, "{what:?}");
        assert_eq!(report.coverage.of(Counter::ROTTEN_LOG_RENEWED), 1, "{what:?}");
        // That it signs nothing meanwhile is a claim that every run is held to.
        let said = format!("n2   follows without voting: {why}");
        assert!(report.trace.text().contains(&said), "{what:?}");
        assert!(votes(&report, 2, VoteKind::Commit, 0) > 0, "{what:?}: it had voted");
        assert!(votes(&report, 2, VoteKind::Commit, 1) > 0, "{what:?}: it votes again");
    }
}

/// `docs/pbft.md` §6:
///
/// > When a promise rises, the mark is rewritten once the log is synced
///
/// Whatever happens between the two, or to the mark alone that leaves a lower promise in it, the log knows better.
#[test]
fn a_mark_that_lags_behind_its_log_costs_nobody_a_vote() {
    let parameters = Parameters { rotation_blocks: 3, ..Parameters::default() };
    let scenario =
        (0..12).fold(scenario!(4, 67).parameters(parameters).chaos_ms(8_000), |scenario, turn: u64| {
            let (node, restart_after_ms) = (turn as usize % 4, 60);
            let fault = match turn % 3 {
                0 => Fault::CrashAt { node, point: Point::BeforeMark, restart_after_ms },
                1 => Fault::MarkSyncFails { node, restart_after_ms },
                _ => Fault::Mark { node, what: MarkFault::Older, restart_after_ms },
            };
            scenario.fault(300 + 350 * turn, fault)
        });
    let report = hold(&scenario);
    let restored = Fault::Mark { node: 0, what: MarkFault::Older, restart_after_ms: 60 }.counter();
    for what in [Counter::DIED_BETWEEN_LOG_AND_MARK, Counter::STOPPED_ON_A_FAILED_SYNC, restored] {
        assert!(report.coverage.of(what) > 1, "{what}: {}", report.coverage);
    }
    assert_eq!(report.coverage.of(Counter::SPOILT_MARK_REFUSED), 0);
}
