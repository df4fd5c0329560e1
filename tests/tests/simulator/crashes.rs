//! Processes that die, stand still or are gone for good, and machines that lose power.

use quorate_sim::{Counter, Fault, Point, Workload};

use crate::{SIZES, hold};

#[test]
fn every_replica_can_crash_and_comes_back_without_contradiction() {
    for nodes in SIZES {
        let mut scenario = scenario!(nodes, 4).chaos_ms(8_000);
        for node in 0..nodes {
            let at_ms = 300 + 700 * node as u64;
            scenario = scenario.fault(at_ms, Fault::Crash { node, restart_after_ms: Some(150) }).fault(
                at_ms + 300,
                Fault::CrashAt { node, point: Point::AfterActions(1 + node % 3), restart_after_ms: 50 },
            );
        }
        hold(&scenario);
    }
}

#[test]
fn the_chain_goes_on_while_a_replica_is_down_and_takes_it_back() {
    for nodes in [4, 7] {
        let scenario = scenario!(nodes, 5)
            .workload(Workload { every_ms: 5..=20, ..Workload::default() })
            .fault(500, Fault::Crash { node: nodes - 1, restart_after_ms: Some(2_000) });
        let report = hold(&scenario);
        let down = report.committed_at_ms.iter().filter(|at_ms| (600..2_400).contains(*at_ms)).count();
        assert!(down >= 20, "blocks are made while n{} is down: {down}", nodes - 1);
    }
}

#[test]
fn f_replicas_may_be_gone_for_good() {
    for (nodes, gone) in [(4, 1), (5, 1), (6, 1), (7, 2), (10, 3)] {
        let scenario = (nodes - gone..nodes).fold(
            scenario!(nodes, 6).workload(Workload {
                transactions: 100,
                short_permille: 0,
                ..Workload::default()
            }),
            |scenario, node| scenario.fault(400, Fault::Crash { node, restart_after_ms: None }),
        );
        assert_eq!(hold(&scenario).committed, 100, "all of n = {nodes} without {gone}");
    }
}

#[test]
fn primaries_that_die_one_after_the_other_cost_a_view_each() {
    for (nodes, gone) in [(4, 1), (5, 1), (6, 1), (7, 2), (10, 3)] {
        let scenario = (0..gone).fold(
            scenario!(nodes, 20).chaos_ms(9_000).workload(Workload {
                transactions: 100,
                every_ms: 60..=100,
                short_permille: 0,
                ..Workload::default()
            }),
            |scenario, node| {
                scenario.fault(1_000 + 2_000 * node as u64, Fault::Crash { node, restart_after_ms: None })
            },
        );
        let report = hold(&scenario);
        assert_eq!(report.committed, 100, "all of n = {nodes} without its first {gone} primaries");
        let (views, left) = (report.coverage.of(Counter::VIEWS_ENTERED), (nodes - gone) as u64);
        assert!(
            views >= gone as u64 * left,
            "the {left} of n = {nodes} that are left enter views {views} times"
        );
    }
}

#[test]
fn a_power_cut_of_all_loses_nothing_acknowledged() {
    for nodes in SIZES {
        let scenario = scenario!(nodes, 7)
            .chaos_ms(6_000)
            .fault(700, Fault::PowerCutAll { restart_after_ms: 300 })
            .fault(2_600, Fault::PowerCutAll { restart_after_ms: 10 })
            .fault(3_300, Fault::PowerCutAll { restart_after_ms: 100 });
        hold(&scenario);
    }
}

/// Faults that leave every replica able to vote, with the crash at every boundary of its work but that between log and mark,
/// which has a test of its own.
#[test]
fn a_process_can_die_at_every_boundary_of_its_work() {
    let points = [
        Point::BeforeAppend,
        Point::BeforeSync,
        Point::BeforeActions,
        Point::AfterActions(1),
        Point::AfterActions(2),
        Point::AfterActions(3),
        Point::BeforeExecuted,
    ];
    for nodes in [1, 4] {
        // Alone, a replica has nobody to send to, and its batches are short.
        let short = [Point::AfterActions(2), Point::AfterActions(3)];
        for point in points.into_iter().filter(|point| nodes > 1 || !short.contains(point)) {
            // A batch of so many actions does not come in every run when a crash waits for it.
            let deaths = (30..33).map(|number| {
                let scenario = (0..12).fold(scenario!(nodes, number), |scenario, turn| {
                    let fault = Fault::CrashAt { node: turn % nodes, point, restart_after_ms: 60 };
                    scenario.fault(300 + 350 * turn as u64, fault)
                });
                hold(&scenario).trace.text().matches("in the middle of its work").count()
            });
            let died: usize = deaths.sum();
            assert!(died >= 3, "n = {nodes}, {point:?}: {died} deaths");
        }
    }
}

#[test]
fn a_paused_primary_loses_its_view_and_contradicts_nobody_when_it_goes_on() {
    for nodes in [4, 7] {
        let scenario = scenario!(nodes, 34).fault(500, Fault::Pause { node: 0, for_ms: 2_500 });
        let report = hold(&scenario);
        let apart = report.committed_at_ms.iter().filter(|at_ms| (600..2_900).contains(*at_ms)).count();
        assert!(apart >= 10, "the others go on: {apart} blocks");
    }
}
