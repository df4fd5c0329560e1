//! Claims about a whole chain, held against the production engine and ledger in the simulator.
//!
//! Every run checks agreement, continuity, equal states, exactly-once, votes on disk before the wire, no second vote in
//! one place, nothing acknowledged lost, and progress once faults stop (`quorate_sim`); a test here says under which
//! faults. What fails prints the command that runs it again:
//!
//! - `QUORATE_SEED=n` replaces a test's seeds by that one, and leaves the whole trace in `QUORATE_TRACE` if that names a
//!   file;
//! - `QUORATE_SEEDS=n` makes `any_seed_holds_every_claim` try the seeds below `n`, `QUORATE_SEEDS=m..n` those from `m` on.

use std::ops::Range;
use std::thread;

use quorate_consensus::pbft::Pbft;
use quorate_ledger::{Height, Parameters};
use quorate_sim::{Failure, Fault, NetworkFaults, Report, Scenario, Timing, Workload};

/// The sizes that matter: alone, `3f + 1`, and those between, where `2f + 1` would be too few.
const SIZES: [usize; 6] = [1, 4, 5, 6, 7, 10];

/// How many random runs are made where `QUORATE_SEEDS` does not say: some 30 seconds of one core.
const SEEDS: u64 = 100;

/// How many of them are made at a time.
const WORKERS: usize = 2;

/// A number from the environment.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

/// The seed that is asked for, if one is.
fn asked_seed() -> Option<u64> {
    std::env::var("QUORATE_SEED").ok().map(|text| number(&text))
}

/// The seed that is asked for, or this one.
fn seed(default: u64) -> u64 {
    asked_seed().unwrap_or(default)
}

/// The seeds of random runs.
fn seeds() -> Range<u64> {
    if let Some(seed) = asked_seed() {
        return seed..seed + 1;
    }
    match std::env::var("QUORATE_SEEDS") {
        Ok(text) => match text.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => 0..number(&text),
        },
        Err(_) => 0..SEEDS,
    }
}

/// Runs a scenario, and leaves the trace where it is asked for.
fn attempt(scenario: &Scenario) -> Result<Report, Box<Failure>> {
    let outcome = scenario.run::<Pbft>();
    if let Some(path) = std::env::var_os("QUORATE_TRACE") {
        let trace = outcome.as_ref().map_or_else(|failure| &failure.trace, |report| &report.trace);
        std::fs::write(&path, trace.text()).expect("QUORATE_TRACE names a file that can be written");
    }
    outcome
}

/// Runs a scenario that must hold every claim.
fn hold(scenario: &Scenario) -> Report {
    attempt(scenario).unwrap_or_else(|failure| panic!("{failure}"))
}

fn lossy() -> NetworkFaults {
    NetworkFaults::calm().losing(200).doubling(200).delaying(100..=30_000).spiking(20, 50_000..=500_000)
}

#[test]
fn a_calm_network_commits_everything_once() {
    for nodes in SIZES {
        let scenario = Scenario::new("a_calm_network_commits_everything_once", nodes, seed(1))
            .workload(Workload { short_permille: 0, ..Workload::default() });
        let report = hold(&scenario);
        assert_eq!(report.committed, 200, "all of n = {nodes}");
        assert!(report.height >= Height(50), "n = {nodes} makes blocks as work comes: {}", report.height);
        assert!(report.settled_after_ms < 1_000, "nothing is left to wait for: {}", report.settled_after_ms);
    }
}

#[test]
fn lossy_network_commits_everything_once() {
    for nodes in SIZES {
        let scenario = Scenario::new("lossy_network_commits_everything_once", nodes, seed(2))
            .network(lossy())
            .workload(Workload { transactions: 100, short_permille: 0, ..Workload::default() });
        assert_eq!(hold(&scenario).committed, 100, "all of n = {nodes}");
    }
}

#[test]
fn doubled_and_reordered_messages_change_nothing() {
    for nodes in SIZES {
        let network = NetworkFaults::calm().doubling(1_000).delaying(100..=100_000);
        let scenario = Scenario::new("doubled_and_reordered_messages_change_nothing", nodes, seed(3))
            .network(network)
            .workload(Workload { transactions: 100, short_permille: 0, ..Workload::default() });
        assert_eq!(hold(&scenario).committed, 100, "all of n = {nodes}");
    }
}

#[test]
fn every_replica_can_crash_and_comes_back_without_contradiction() {
    for nodes in SIZES {
        let mut scenario =
            Scenario::new("every_replica_can_crash_and_comes_back_without_contradiction", nodes, seed(4))
                .chaos_ms(8_000);
        for node in 0..nodes {
            let at_ms = 300 + 700 * node as u64;
            scenario = scenario.fault(at_ms, Fault::Crash { node, restart_after_ms: Some(150) }).fault(
                at_ms + 300,
                Fault::CrashMidway { node, after_actions: node % 4, restart_after_ms: 50 },
            );
        }
        hold(&scenario);
    }
}

#[test]
fn the_chain_goes_on_while_a_replica_is_down_and_takes_it_back() {
    for nodes in [4, 7] {
        let scenario =
            Scenario::new("the_chain_goes_on_while_a_replica_is_down_and_takes_it_back", nodes, seed(5))
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
            Scenario::new("f_replicas_may_be_gone_for_good", nodes, seed(6)).workload(Workload {
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
            Scenario::new("primaries_that_die_one_after_the_other_cost_a_view_each", nodes, seed(20))
                .workload(Workload { transactions: 100, short_permille: 0, ..Workload::default() }),
            |scenario, node| {
                scenario.fault(300 + 200 * node as u64, Fault::Crash { node, restart_after_ms: None })
            },
        );
        let report = hold(&scenario);
        assert_eq!(report.committed, 100, "all of n = {nodes} without its first {gone} primaries");
        assert!(report.trace.text().contains("NEW-VIEW"), "n = {nodes} changed its view");
    }
}

#[test]
fn a_primary_that_is_cut_off_loses_its_view_and_follows_the_next() {
    for nodes in [4, 7] {
        let scenario =
            Scenario::new("a_primary_that_is_cut_off_loses_its_view_and_follows_the_next", nodes, seed(21))
                .fault(400, Fault::Isolate { node: 0, for_ms: 3_000 });
        let report = hold(&scenario);
        let apart = report.committed_at_ms.iter().filter(|at_ms| (400..3_400).contains(*at_ms)).count();
        assert!(apart >= 20, "the others go on: {apart} blocks");
    }
}

#[test]
fn planned_rotation_goes_on_under_load_and_loses_nothing() {
    for nodes in SIZES {
        let parameters = Parameters { rotation_blocks: 4, ..Parameters::default() };
        let scenario =
            Scenario::new("planned_rotation_goes_on_under_load_and_loses_nothing", nodes, seed(22))
                .parameters(parameters)
                .workload(Workload { transactions: 100, short_permille: 0, ..Workload::default() });
        let report = hold(&scenario);
        assert_eq!(report.committed, 100, "all of n = {nodes}");
        let views = report.trace.text().matches("-> all NEW-VIEW").count();
        assert!(nodes == 1 || views >= 3, "n = {nodes} rotated: {views}");
    }
}

#[test]
fn a_power_cut_of_all_loses_nothing_acknowledged() {
    for nodes in SIZES {
        let scenario = Scenario::new("a_power_cut_of_all_loses_nothing_acknowledged", nodes, seed(7))
            .chaos_ms(6_000)
            .fault(700, Fault::PowerCutAll { restart_after_ms: 300 })
            .fault(2_600, Fault::PowerCutAll { restart_after_ms: 10 })
            .fault(3_300, Fault::PowerCutAll { restart_after_ms: 100 });
        hold(&scenario);
    }
}

#[test]
fn a_replica_that_was_cut_off_catches_up_by_certified_blocks() {
    for nodes in [4, 7] {
        // Longer than the log reaches back, so that votes alone could not bring it back.
        let parameters = Parameters { log_window: 16, window: 4, ..Parameters::default() };
        let scenario =
            Scenario::new("a_replica_that_was_cut_off_catches_up_by_certified_blocks", nodes, seed(8))
                .parameters(parameters)
                .fault(500, Fault::Isolate { node: nodes - 1, for_ms: 3_000 });
        let report = hold(&scenario);
        assert!(report.trace.text().contains("CERTIFIED"), "blocks were served");
        assert!(report.settled_after_ms < 2_000, "it is back soon: {} ms", report.settled_after_ms);
    }
}

#[test]
fn an_idle_chain_makes_a_block_at_each_heartbeat_and_else_none() {
    for nodes in SIZES {
        let idle = |heartbeat_ms| {
            let parameters = Parameters { heartbeat_ms, ..Parameters::default() };
            let scenario =
                Scenario::new("an_idle_chain_makes_a_block_at_each_heartbeat_and_else_none", nodes, seed(9))
                    .parameters(parameters)
                    .workload(Workload::none())
                    .chaos_ms(10_000);
            hold(&scenario).height
        };
        assert_eq!(idle(0), Height(0), "n = {nodes} never beats");
        let height = idle(1_000);
        assert!((Height(8)..=Height(11)).contains(&height), "n = {nodes} beats each second: {height}");
    }
}

#[test]
fn a_slow_disk_and_executor_only_cost_time() {
    let timing = Timing {
        step_us: 10..=5_000,
        sync_us: 5_000..=60_000,
        answer_us: 1_000..=50_000,
        execute_us: 10_000..=200_000,
    };
    for nodes in [1, 4] {
        let scenario = Scenario::new("a_slow_disk_and_executor_only_cost_time", nodes, seed(10))
            .timing(timing.clone())
            .workload(Workload { short_permille: 0, ..Workload::default() })
            .fault(1_000, Fault::PowerCut { node: 0, restart_after_ms: 100 })
            .fault(2_000, Fault::CrashMidway { node: 0, after_actions: 1, restart_after_ms: 100 });
        assert_eq!(hold(&scenario).committed, 200, "all of n = {nodes}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    for random in 0..5 {
        let scenario =
            Scenario::random("the_same_seed_gives_the_same_trace_byte_for_byte", seed(1_000 + random));
        let (first, second) = (hold(&scenario), hold(&scenario));
        assert!(!first.trace.text().is_empty());
        assert!(first.trace.text() == second.trace.text(), "seed {}", 1_000 + random);
    }
}

#[test]
fn any_seed_holds_every_claim() {
    let work = |worker| {
        let mut seeds = seeds().skip(worker).step_by(WORKERS);
        seeds.try_for_each(|seed| attempt(&Scenario::random("any_seed_holds_every_claim", seed)).map(drop))
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a run turns panics into failures")).collect()
    });
    for outcome in outcomes {
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }
}
