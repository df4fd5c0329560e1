//! Networks that lose, double, delay and part, and clocks that are wrong: time is all that it costs.

use quorate_ledger::{Height, Parameters};
use quorate_sim::{Counter, Fault, Lasting, Link, NetworkFaults, Workload};

use crate::{SIZES, hold, lossy};

#[test]
fn a_calm_network_commits_everything_once() {
    for nodes in SIZES {
        let scenario = scenario!(nodes, 1).workload(Workload { short_permille: 0, ..Workload::default() });
        let report = hold(&scenario);
        assert_eq!(report.committed, 200, "all of n = {nodes}");
        assert!(report.height >= Height(50), "n = {nodes} makes blocks as work comes: {}", report.height);
        assert!(report.settled_after_ms < 1_000, "nothing is left to wait for: {}", report.settled_after_ms);
    }
}

#[test]
fn lossy_network_commits_everything_once() {
    for nodes in SIZES {
        let scenario = scenario!(nodes, 2).network(lossy()).workload(Workload {
            transactions: 100,
            short_permille: 0,
            ..Workload::default()
        });
        assert_eq!(hold(&scenario).committed, 100, "all of n = {nodes}");
    }
}

#[test]
fn doubled_and_reordered_messages_change_nothing() {
    for nodes in SIZES {
        let network = NetworkFaults::calm().doubling(1_000).delaying(100..=100_000);
        let scenario = scenario!(nodes, 3).network(network).workload(Workload {
            transactions: 100,
            short_permille: 0,
            ..Workload::default()
        });
        assert_eq!(hold(&scenario).committed, 100, "all of n = {nodes}");
    }
}

#[test]
fn an_idle_chain_makes_a_block_at_each_heartbeat_and_else_none() {
    for nodes in SIZES {
        let idle = |heartbeat_ms| {
            let parameters = Parameters { heartbeat_ms, ..Parameters::default() };
            let scenario =
                scenario!(nodes, 9).parameters(parameters).workload(Workload::none()).chaos_ms(10_000);
            hold(&scenario).height
        };
        assert_eq!(idle(0), Height(0), "n = {nodes} never beats");
        let height = idle(1_000);
        assert!((Height(8)..=Height(11)).contains(&height), "n = {nodes} beats each second: {height}");
    }
}

#[test]
fn planned_rotation_goes_on_under_load_and_loses_nothing() {
    for nodes in SIZES {
        let parameters = Parameters { rotation_blocks: 4, ..Parameters::default() };
        let scenario = scenario!(nodes, 22).parameters(parameters).workload(Workload {
            transactions: 100,
            short_permille: 0,
            ..Workload::default()
        });
        let report = hold(&scenario);
        assert_eq!(report.committed, 100, "all of n = {nodes}");
        let views = report.trace.text().matches("-> all NEW-VIEW").count();
        assert!(nodes == 1 || views >= 3, "n = {nodes} rotated: {views}");
    }
}

#[test]
fn a_primary_that_is_cut_off_loses_its_view_and_follows_the_next() {
    for nodes in [4, 7] {
        let scenario = scenario!(nodes, 21).fault(400, Fault::Isolate { node: 0, for_ms: 3_000 });
        let report = hold(&scenario);
        let apart = report.committed_at_ms.iter().filter(|at_ms| (400..3_400).contains(*at_ms)).count();
        assert!(apart >= 20, "the others go on: {apart} blocks");
    }
}

#[test]
fn a_replica_that_was_cut_off_catches_up_by_certified_blocks() {
    for nodes in [4, 7] {
        // Longer than the log reaches back, so that votes alone could not bring it back.
        let parameters = Parameters { log_window: 16, window: 4, ..Parameters::default() };
        let scenario = scenario!(nodes, 8)
            .parameters(parameters)
            .fault(500, Fault::Isolate { node: nodes - 1, for_ms: 3_000 });
        let report = hold(&scenario);
        assert!(report.trace.text().contains("CERTIFIED"), "blocks were served");
        assert!(report.settled_after_ms < 2_000, "it is back soon: {} ms", report.settled_after_ms);
    }
}

#[test]
fn no_partition_forks_the_chain_and_every_one_heals() {
    let one_way = |from: &[usize], to: &[usize]| -> Vec<Link> {
        from.iter().flat_map(|from| to.iter().map(|to| Link { from: *from, to: *to })).collect()
    };
    let halves = [one_way(&[0, 1], &[2, 3]), one_way(&[2, 3], &[0, 1])].concat();
    let cuts = [halves, one_way(&[0], &[1, 2, 3]), one_way(&[1, 2, 3], &[0]), one_way(&[0], &[1])];
    for links in cuts {
        let scenario = scenario!(4, 35).fault(500, Fault::Cut { links, for_ms: 3_000 });
        hold(&scenario);
    }
}

#[test]
fn slow_links_and_new_connections_only_cost_time() {
    let links = (1..4).map(|to| Link { from: 0, to }).collect();
    let scenario = (1..8).fold(
        scenario!(4, 36)
            .workload(Workload { transactions: 100, short_permille: 0, ..Workload::default() })
            .fault(200, Fault::Slow { links, by_ms: 120, for_ms: 3_000 }),
        |scenario, turn| scenario.fault(400 * turn, Fault::Reconnect { node: turn as usize % 4 }),
    );
    assert_eq!(hold(&scenario).committed, 100);
}

#[test]
fn what_the_network_has_changed_is_refused() {
    let scenario = scenario!(4, 37).network(NetworkFaults::calm().corrupting(50));
    let report = hold(&scenario);
    assert!(
        report.coverage.of(Counter::PACKETS_CORRUPTED) > 100
            && report.coverage.of(Counter::CORRUPTION_REFUSED) > 50
    );
}

/// The bound knows nothing of how long the outage was, and holds after each.
#[test]
fn the_chain_recovers_within_its_bound_however_long_the_outage_was() {
    for (outage_ms, gone) in [10_000, 60_000, 300_000].into_iter().flat_map(|ms| [(ms, false), (ms, true)]) {
        let parameters = Parameters { timeout_cap_ms: 2_000, ..Parameters::default() };
        let scenario = scenario!(4, 68)
            .parameters(parameters)
            .chaos_ms(2_000 + outage_ms)
            .workload(Workload {
                lasting: Some(Lasting { for_ms: 3_000 + outage_ms, blocks: 0 }),
                transactions: u32::MAX,
                every_ms: 100..=500,
                ..Workload::default()
            })
            // A message comes through now and then: views have a quorum, commit nothing, and waits rise to their cap.
            .fault(2_000, Fault::Network(NetworkFaults::calm().losing(800)));
        let scenario = match gone {
            true => scenario.fault(2_000, Fault::Crash { node: 3, restart_after_ms: None }),
            false => scenario,
        };
        let report = hold(&scenario);
        let (after_ms, bound_ms) = (report.recovered_after_ms, report.recovery_bound_ms);
        let after_ms = after_ms.expect("a transaction waits when the outage is over");
        assert!((1..=bound_ms).contains(&after_ms), "{outage_ms} {gone}: {after_ms} ms of {bound_ms} ms");
    }
}

#[test]
fn wrong_clocks_cost_time_and_nothing_else() {
    let scenario = scenario!(4, 38)
        .fault(100, Fault::ClockDrift { node: 1, ppm: 50_000 })
        .fault(500, Fault::ClockJump { node: 0, by_ms: 60_000 })
        .fault(1_500, Fault::ClockJump { node: 2, by_ms: -60_000 })
        .fault(2_500, Fault::ClockJump { node: 0, by_ms: -90_000 });
    hold(&scenario);
}

#[test]
fn monotonic_clocks_of_other_rates_cost_time_and_nothing_else() {
    for nodes in [4, 7] {
        let scenario = scenario!(nodes, 39)
            .workload(Workload { transactions: 100, short_permille: 0, ..Workload::default() })
            .chaos_ms(20_000)
            .fault(0, Fault::ClockRate { node: 0, ppm: 50_000 })
            .fault(0, Fault::ClockRate { node: 1, ppm: -50_000 })
            .fault(10_000, Fault::Isolate { node: 2, for_ms: 3_000 });
        let report = hold(&scenario);
        assert_eq!(report.committed, 100, "all of n = {nodes}");
        // A STATUS at each `resend`: by whose clock?
        let sent = |node| report.trace.text().matches(&format!("n{node}   -> all STATUS")).count() as u64;
        let right = 20_000 / Parameters::default().resend_ms;
        let (fast, slow) = (sent(0), sent(1));
        let differ = fast.abs_diff(right * 105 / 100).max(slow.abs_diff(right * 95 / 100));
        assert!(differ <= 1, "n = {nodes}: {fast} and {slow} where a right clock makes {right}");
    }
}
