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
use quorate_ledger::{Epoch, Height, Parameters};
use quorate_sim::{
    Approvers, Change, Counter, Failure, Fault, Lasting, Lie, Link, MarkFault, NetworkFaults, Point, Report,
    Scenario, Timing, VoteKind, Workload,
};

/// The sizes that matter: alone, `3f + 1`, and those between, where `2f + 1` would be too few.
const SIZES: [usize; 6] = [1, 4, 5, 6, 7, 10];

/// How many random runs are made where `QUORATE_SEEDS` does not say: less than a minute of two cores.
const SEEDS: u64 = 400;

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
    let outcome = scenario.run_traced::<Pbft>();
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
                Fault::CrashAt { node, point: Point::AfterActions(1 + node % 3), restart_after_ms: 50 },
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
                .workload(Workload {
                    transactions: 100,
                    every_ms: 20..=80,
                    short_permille: 0,
                    ..Workload::default()
                }),
            |scenario, node| {
                scenario.fault(300 + 1_200 * node as u64, Fault::Crash { node, restart_after_ms: None })
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

/// The bound knows nothing of how long the outage was, and holds after each.
#[test]
fn the_chain_recovers_within_its_bound_however_long_the_outage_was() {
    for (outage_ms, gone) in [10_000, 60_000, 300_000].into_iter().flat_map(|ms| [(ms, false), (ms, true)]) {
        let name = "the_chain_recovers_within_its_bound_however_long_the_outage_was";
        let parameters = Parameters { timeout_cap_ms: 2_000, ..Parameters::default() };
        let scenario = Scenario::new(name, 4, seed(68))
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
        assert!((1..=bound_ms).contains(&after_ms), "{outage_ms} {gone}: {after_ms} ms of {bound_ms} ms");
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
            .fault(2_000, Fault::CrashAt { node: 0, point: Point::AfterActions(1), restart_after_ms: 100 });
        assert_eq!(hold(&scenario).committed, 200, "all of n = {nodes}");
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
            let name = "a_process_can_die_at_every_boundary_of_its_work";
            // A batch of so many actions does not come in every run when a crash waits for it.
            let deaths = (30..33).map(|number| {
                let scenario = (0..12).fold(Scenario::new(name, nodes, seed(number)), |scenario, turn| {
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
fn a_disk_that_fails_stops_its_node_and_no_other() {
    for nodes in [1, 4] {
        let scenario = Scenario::new("a_disk_that_fails_stops_its_node_and_no_other", nodes, seed(31))
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
    let scenario = Scenario::new("a_rotten_vote_log_is_refused_and_its_node_follows", 4, seed(32))
        .fault(1_000, Fault::BitRot { node: 2, restart_after_ms: 300 });
    assert_eq!(hold(&scenario).coverage.of(Counter::ROTTEN_LOG_REFUSED), 1);
}

#[test]
fn a_restored_vote_log_is_noticed_by_the_answers_of_the_others() {
    let scenario = Scenario::new("a_restored_vote_log_is_noticed_by_the_answers_of_the_others", 4, seed(33))
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
    let name = "a_key_whose_mark_is_spoilt_is_refused_and_its_node_follows_until_a_later_epoch";
    let faults = [
        (MarkFault::Lost, "mark is missing: the key may have signed before, elsewhere"),
        (MarkFault::Torn, "mark: not a mark: "),
        (MarkFault::Foreign, "image is not the log that this key has signed with"),
        (MarkFault::Unused, "image is not the log that this key has signed with"),
    ];
    for (what, why) in faults {
        let scenario = Scenario::new(name, 4, seed(66))
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
    let name = "a_mark_that_lags_behind_its_log_costs_nobody_a_vote";
    let parameters = Parameters { rotation_blocks: 3, ..Parameters::default() };
    let scenario = (0..12).fold(
        Scenario::new(name, 4, seed(67)).parameters(parameters).chaos_ms(8_000),
        |scenario, turn: u64| {
            let (node, restart_after_ms) = (turn as usize % 4, 60);
            let fault = match turn % 3 {
                0 => Fault::CrashAt { node, point: Point::BeforeMark, restart_after_ms },
                1 => Fault::MarkSyncFails { node, restart_after_ms },
                _ => Fault::Mark { node, what: MarkFault::Older, restart_after_ms },
            };
            scenario.fault(300 + 350 * turn, fault)
        },
    );
    let report = hold(&scenario);
    let restored = Fault::Mark { node: 0, what: MarkFault::Older, restart_after_ms: 60 }.counter();
    for what in [Counter::DIED_BETWEEN_LOG_AND_MARK, Counter::STOPPED_ON_A_FAILED_SYNC, restored] {
        assert!(report.coverage.of(what) > 1, "{what}: {}", report.coverage);
    }
    assert_eq!(report.coverage.of(Counter::SPOILT_MARK_REFUSED), 0);
}

#[test]
fn a_paused_primary_loses_its_view_and_contradicts_nobody_when_it_goes_on() {
    for nodes in [4, 7] {
        let name = "a_paused_primary_loses_its_view_and_contradicts_nobody_when_it_goes_on";
        let scenario =
            Scenario::new(name, nodes, seed(34)).fault(500, Fault::Pause { node: 0, for_ms: 2_500 });
        let report = hold(&scenario);
        let apart = report.committed_at_ms.iter().filter(|at_ms| (600..2_900).contains(*at_ms)).count();
        assert!(apart >= 10, "the others go on: {apart} blocks");
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
        let scenario = Scenario::new("no_partition_forks_the_chain_and_every_one_heals", 4, seed(35))
            .fault(500, Fault::Cut { links, for_ms: 3_000 });
        hold(&scenario);
    }
}

#[test]
fn slow_links_and_new_connections_only_cost_time() {
    let links = (1..4).map(|to| Link { from: 0, to }).collect();
    let scenario = (1..8).fold(
        Scenario::new("slow_links_and_new_connections_only_cost_time", 4, seed(36))
            .workload(Workload { transactions: 100, short_permille: 0, ..Workload::default() })
            .fault(200, Fault::Slow { links, by_ms: 120, for_ms: 3_000 }),
        |scenario, turn| scenario.fault(400 * turn, Fault::Reconnect { node: turn as usize % 4 }),
    );
    assert_eq!(hold(&scenario).committed, 100);
}

#[test]
fn what_the_network_has_changed_is_refused() {
    let scenario = Scenario::new("what_the_network_has_changed_is_refused", 4, seed(37))
        .network(NetworkFaults::calm().corrupting(50));
    let report = hold(&scenario);
    assert!(
        report.coverage.of(Counter::PACKETS_CORRUPTED) > 100
            && report.coverage.of(Counter::CORRUPTION_REFUSED) > 50
    );
}

#[test]
fn wrong_clocks_cost_time_and_nothing_else() {
    let scenario = Scenario::new("wrong_clocks_cost_time_and_nothing_else", 4, seed(38))
        .fault(100, Fault::ClockDrift { node: 1, ppm: 50_000 })
        .fault(500, Fault::ClockJump { node: 0, by_ms: 60_000 })
        .fault(1_500, Fault::ClockJump { node: 2, by_ms: -60_000 })
        .fault(2_500, Fault::ClockJump { node: 0, by_ms: -90_000 });
    hold(&scenario);
}

#[test]
fn monotonic_clocks_of_other_rates_cost_time_and_nothing_else() {
    let name = "monotonic_clocks_of_other_rates_cost_time_and_nothing_else";
    for nodes in [4, 7] {
        let scenario = Scenario::new(name, nodes, seed(39))
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

#[test]
fn no_lie_alone_hurts_anybody() {
    for lie in Lie::ALL {
        for nodes in [4, 5] {
            let parameters = Parameters {
                rotation_blocks: 5,
                timeout_cap_ms: 1_000,
                inclusion_timeout_ms: 500,
                ..Parameters::default()
            };
            let scenario = Scenario::new("no_lie_alone_hurts_anybody", nodes, seed(40))
                .parameters(parameters)
                .liar(1, &[lie])
                .workload(Workload { transactions: 100, ..Workload::default() })
                .fault(2_000, Fault::PowerCutAll { restart_after_ms: 100 });
            let report = hold(&scenario);
            assert!(report.coverage.of(lie.counter()) > 0, "{lie:?} is told");
        }
    }
}

#[test]
fn two_liars_that_help_each_other_fork_nothing() {
    let lies = [
        [Lie::Equivocate, Lie::VoteForAll],
        [Lie::Twin, Lie::VoteForAll],
        [Lie::WrongReproposal, Lie::TwoViewChanges],
        [Lie::FalseBlocks, Lie::WithholdBodies],
    ];
    for lies in lies {
        let parameters = Parameters { rotation_blocks: 5, timeout_cap_ms: 1_000, ..Parameters::default() };
        let scenario = Scenario::new("two_liars_that_help_each_other_fork_nothing", 7, seed(41))
            .parameters(parameters)
            .liar(0, &lies)
            .liar(3, &[lies[1], lies[0]])
            .workload(Workload { transactions: 100, ..Workload::default() });
        hold(&scenario);
    }
}

#[test]
fn two_votes_of_one_validator_are_evidence_against_it() {
    let scenario = Scenario::new("two_votes_of_one_validator_are_evidence_against_it", 4, seed(42))
        .liar(1, &[Lie::ConflictingVotes, Lie::TwoViewChanges, Lie::PartialViewChange]);
    let report = hold(&scenario);
    assert!(report.coverage.of(Counter::EVIDENCE_TWO_COMMITS) > 0);
}

/// `docs/pbft.md` §4.3:
///
/// > A claim of a liar's that would play one has no certificate, and a NEW-VIEW that lacks one, or has one more, is false.
/// > […] One that no correct validator signs is evidence by itself
#[test]
fn a_primary_that_lies_about_itself_in_its_own_new_view_is_refused_or_accused() {
    let name = "a_primary_that_lies_about_itself_in_its_own_new_view_is_refused_or_accused";
    let parameters = Parameters { rotation_blocks: 2, timeout_cap_ms: 500, ..Parameters::default() };
    let scenario = Scenario::new(name, 4, seed(44))
        .parameters(parameters)
        // Blocks are prepared and not committed where views end.
        .network(NetworkFaults::calm().losing(100).delaying(1_000..=20_000))
        .workload(Workload { transactions: 6_000, every_ms: 1..=10, ..Workload::default() })
        .chaos_ms(30_000)
        .liar(1, &[Lie::FalseClaim]);
    let report = hold(&scenario);
    let told = [
        Counter::FALSE_CLAIM_TIED,
        Counter::FALSE_CLAIM_TIED_BASE,
        Counter::FALSE_CLAIM_LOWER_VIEW,
        Counter::FALSE_CLAIM_STALE_BASE,
        Counter::FALSE_CLAIM_TRUE_BLOCKS,
        Counter::FALSE_CLAIM_MATCHING_BLOCKS,
        Counter::FALSE_CLAIM_LONE_BLOCKS,
    ];
    for what in told {
        assert!(report.coverage.of(what) > 0, "{what}: {}", report.coverage);
    }
    let refused =
        report.trace.text().matches("refuses what comes from n1: a message does not verify").count();
    assert!(refused > 0, "{}", report.coverage);
    for what in [
        Counter::EVIDENCE_TWO_VIEW_CHANGES,
        Counter::EVIDENCE_TWO_NEW_VIEWS,
        Counter::EVIDENCE_FALSE_NEW_VIEW,
    ] {
        assert!(report.coverage.of(what) > 0, "{what}: {}", report.coverage);
    }
}

/// The change to a set of these members.
fn set(members: impl IntoIterator<Item = usize>) -> Change {
    Change::Validators(members.into_iter().collect())
}

/// How many votes of a kind a node has sent in an epoch.
fn votes(report: &Report, node: usize, kind: VoteKind, epoch: u64) -> u64 {
    report.votes_of.get(&(node, kind, Epoch(epoch))).copied().unwrap_or_default()
}

#[test]
fn a_validator_is_added_and_votes() {
    let scenario =
        Scenario::new("a_validator_is_added_and_votes", 4, seed(50)).change(1_000, set(0..5), Approvers::All);
    let report = hold(&scenario);
    assert_eq!(
        (report.coverage.of(Counter::EPOCHS_BEGUN), report.coverage.of(Counter::VALIDATORS_ADDED)),
        (1, 1)
    );
    assert!(votes(&report, 4, VoteKind::Commit, 0) == 0 && votes(&report, 4, VoteKind::Commit, 1) > 20);
}

#[test]
fn a_validator_that_is_removed_follows_and_signs_nothing_more() {
    let name = "a_validator_that_is_removed_follows_and_signs_nothing_more";
    let scenario = Scenario::new(name, 5, seed(51)).change(1_000, set([0, 1, 3, 4]), Approvers::All);
    let report = hold(&scenario);
    assert_eq!(
        (report.coverage.of(Counter::EPOCHS_BEGUN), report.coverage.of(Counter::VALIDATORS_REMOVED)),
        (1, 1)
    );
    let signed = VoteKind::ALL.map(|kind| votes(&report, 2, kind, 1));
    assert!(votes(&report, 2, VoteKind::Commit, 0) > 20 && signed == [0; VoteKind::ALL.len()]);
}

#[test]
fn a_validator_is_replaced_under_loss() {
    for nodes in [4, 7] {
        let scenario = Scenario::new("a_validator_is_replaced_under_loss", nodes, seed(52))
            .network(lossy())
            .chaos_ms(10_000)
            .workload(Workload { every_ms: 1..=80, ..Workload::default() })
            .change(1_000, set(1..=nodes), Approvers::All);
        let report = hold(&scenario);
        assert_eq!(report.coverage.of(Counter::VALIDATORS_REPLACED), 1, "n = {nodes}");
        assert!(votes(&report, nodes, VoteKind::Commit, 1) > 5, "n = {nodes}");
    }
}

#[test]
fn parameters_change_with_an_epoch_and_are_kept_to() {
    for window in [1, 2, 8] {
        let name = "parameters_change_with_an_epoch_and_are_kept_to";
        let others =
            Parameters { window, rotation_blocks: 7, block_transactions_max: 3, ..Parameters::default() };
        let scenario = Scenario::new(name, 4, seed(53))
            .parameters(Parameters { window: 4, ..Parameters::default() })
            .change(1_000, Change::Parameters(Box::new(others)), Approvers::All);
        let report = hold(&scenario);
        assert_eq!(report.coverage.of(Counter::PARAMETERS_CHANGED), 1, "window {window}");
        let views = (0..4).map(|node| votes(&report, node, VoteKind::NewView, 1)).sum::<u64>();
        assert!(votes(&report, 0, VoteKind::ViewChange, 0) == 0 && views >= 3, "window {window}: {views}");
    }
}

#[test]
fn a_chain_of_one_grows_to_four_and_shrinks_back_to_another_one() {
    let name = "a_chain_of_one_grows_to_four_and_shrinks_back_to_another_one";
    let sets = [vec![0, 1], vec![0, 1, 2], vec![0, 1, 2, 3], vec![1, 2, 3], vec![2, 3], vec![3]];
    let scenario = (1..).zip(sets).fold(
        Scenario::new(name, 1, seed(54))
            .chaos_ms(8_000)
            .workload(Workload { every_ms: 1..=80, ..Workload::default() }),
        |scenario, (turn, members)| scenario.change(1_000 * turn, set(members), Approvers::All),
    );
    let report = hold(&scenario);
    assert_eq!(report.coverage.of(Counter::EPOCHS_BEGUN), 6);
    assert!(votes(&report, 3, VoteKind::Commit, 6) > 10, "the last one alone goes on");
}

#[test]
fn heirs_who_were_no_validators_take_the_chain_over() {
    for (nodes, network) in [(4, NetworkFaults::calm()), (4, lossy()), (7, NetworkFaults::calm())] {
        let scenario = Scenario::new("heirs_who_were_no_validators_take_the_chain_over", nodes, seed(55))
            .network(network)
            .chaos_ms(10_000)
            .workload(Workload { every_ms: 1..=80, ..Workload::default() })
            .change(1_000, set(nodes..2 * nodes), Approvers::All)
            .change(5_000, set(0..nodes), Approvers::All);
        let report = hold(&scenario);
        assert_eq!(report.coverage.of(Counter::EPOCHS_BEGUN_BY_HEIRS), 2, "n = {nodes}");
    }
}

#[test]
fn approvals_without_a_quorum_come_to_nothing() {
    let name = "approvals_without_a_quorum_come_to_nothing";
    let few = Scenario::new(name, 4, seed(56)).change(1_000, set(0..5), Approvers::These(vec![0, 1]));
    let split = Scenario::new(name, 4, seed(57))
        .change(1_000, set(0..5), Approvers::These(vec![0, 1]))
        .change(1_000, set(0..3), Approvers::These(vec![2, 3]));
    let strangers =
        Scenario::new(name, 4, seed(58)).change(1_000, set(0..7), Approvers::These(vec![4, 5, 6]));
    for scenario in [few, split, strangers] {
        let report = hold(&scenario);
        assert_eq!(report.coverage.of(Counter::EPOCHS_BEGUN), 0, "{scenario}");
    }
}

#[test]
fn what_was_split_is_decided_once_all_agree() {
    let scenario = Scenario::new("what_was_split_is_decided_once_all_agree", 4, seed(59))
        .change(1_000, set(0..5), Approvers::These(vec![0, 1]))
        .change(1_000, set(0..3), Approvers::These(vec![2, 3]))
        .change(2_500, set(1..5), Approvers::All);
    let report = hold(&scenario);
    assert_eq!(
        (report.coverage.of(Counter::EPOCHS_BEGUN), report.coverage.of(Counter::VALIDATORS_REPLACED)),
        (1, 1)
    );
}

#[test]
fn a_validator_whose_log_is_lost_votes_again_in_an_epoch_with_the_same_set() {
    let name = "a_validator_whose_log_is_lost_votes_again_in_an_epoch_with_the_same_set";
    let scenario = Scenario::new(name, 4, seed(60))
        .chaos_ms(9_000)
        .workload(Workload { every_ms: 1..=80, ..Workload::default() })
        .fault(500, Fault::BitRot { node: 2, restart_after_ms: 100 })
        // Clocks may be apart by 5 s.
        .change(7_000, set(0..4), Approvers::All);
    let report = hold(&scenario);
    assert_eq!(report.coverage.of(Counter::ROTTEN_LOG_RENEWED), 1);
    assert!(votes(&report, 2, VoteKind::Commit, 1) > 0);
}

#[test]
fn a_process_can_die_at_every_boundary_of_an_epochs_end() {
    let points = [
        Point::BeforeExecuted,
        Point::BeforeAppend,
        Point::BeforeSync,
        Point::BeforeActions,
        Point::AfterActions(1),
        Point::AfterActions(2),
        Point::AfterActions(4),
    ];
    for point in points {
        for dying in [vec![1], vec![0, 1, 2, 3], vec![0, 1, 2, 3, 4, 5]] {
            let name = "a_process_can_die_at_every_boundary_of_an_epochs_end";
            let sets = [set([1, 2, 3, 4]), set([2, 3, 4, 5]), set([0, 1, 2, 3])];
            let scenario =
                (0..).zip(sets).fold(Scenario::new(name, 4, seed(61)), |scenario, (turn, members)| {
                    let at_ms = 500 + 1_300 * turn;
                    dying.iter().fold(scenario.change(at_ms, members, Approvers::All), |scenario, node| {
                        let fault = Fault::CrashAtEnd { node: *node, point, restart_after_ms: 40 };
                        scenario.fault(at_ms, fault)
                    })
                });
            let report = hold(&scenario);
            let deaths = report.coverage.of(Counter::CRASH_AT_EPOCH_END);
            assert!(
                report.coverage.of(Counter::EPOCHS_BEGUN) == 3 && deaths >= 2,
                "{point:?} {dying:?}: {deaths}"
            );
            let closing = report.coverage.of(Counter::CLOSING_INSTANCE_RESTARTED);
            assert!(closing > 0 || dying.len() == 1, "{point:?} {dying:?}");
        }
    }
}

#[test]
fn the_power_fails_everywhere_where_epochs_change() {
    for at_ms in (1_000..1_200).step_by(10) {
        let name = "the_power_fails_everywhere_where_epochs_change";
        let scenario = Scenario::new(name, 4, seed(62))
            .change(1_000, set(1..5), Approvers::All)
            .fault(at_ms, Fault::PowerCutAll { restart_after_ms: 50 })
            .fault(at_ms + 300, Fault::PowerCutAll { restart_after_ms: 10 });
        assert_eq!(hold(&scenario).coverage.of(Counter::EPOCHS_BEGUN), 1);
    }
}

#[test]
fn a_node_that_slept_through_epochs_finds_its_way_through_all_of_them() {
    let name = "a_node_that_slept_through_epochs_finds_its_way_through_all_of_them";
    for member in [3, 5] {
        // Five epochs, and none of those whom it knew is a validator any more.
        let sets = [set([0, 1, 2, 3, 4]), set([1, 2, 4, 5, 6]), set([4, 5, 6, 7]), set([3, 5, 6, 7])];
        let scenario = (1..).zip(sets).fold(
            Scenario::new(name, 4, seed(63)).chaos_ms(9_000).workload(Workload {
                every_ms: 1..=60,
                transactions: 250,
                ..Workload::default()
            }),
            |scenario, (turn, members)| scenario.change(1_500 * turn, members, Approvers::All),
        );
        let scenario = match member {
            3 => scenario.fault(700, Fault::Isolate { node: 3, for_ms: 4_800 }),
            _ => scenario.fault(5_300, Fault::Isolate { node: 1, for_ms: 3_000 }),
        };
        assert_eq!(hold(&scenario).coverage.of(Counter::EPOCHS_BEGUN), 4);
    }
}

#[test]
fn an_epoch_that_is_changing_when_faults_stop_goes_over_in_bounded_time() {
    for offset_ms in (0..120).step_by(15) {
        let name = "an_epoch_that_is_changing_when_faults_stop_goes_over_in_bounded_time";
        let parts = [(0, 1), (0, 2), (1, 2), (3, 1), (4, 2)].map(|(from, to)| Link { from, to });
        let scenario = Scenario::new(name, 4, seed(64))
            .chaos_ms(2_000)
            .workload(Workload { every_ms: 1..=20, ..Workload::default() })
            .change(1_980 - offset_ms, set(1..5), Approvers::All)
            .fault(1_990 - offset_ms, Fault::Cut { links: parts.to_vec(), for_ms: 5_000 });
        assert_eq!(hold(&scenario).coverage.of(Counter::EPOCHS_BEGUN), 1);
    }
}

#[test]
fn no_lie_alone_hurts_anybody_across_epochs() {
    for lie in Lie::ALL {
        let parameters = Parameters {
            rotation_blocks: 5,
            timeout_cap_ms: 1_000,
            inclusion_timeout_ms: 500,
            window: 4,
            ..Parameters::default()
        };
        // It stays, loses its place, and gets one again: another, for the set is ordered by key.
        let scenario = Scenario::new("no_lie_alone_hurts_anybody_across_epochs", 4, seed(65))
            .parameters(parameters)
            .liar(1, &[lie])
            .workload(Workload { every_ms: 1..=60, ..Workload::default() })
            .chaos_ms(6_000)
            .change(1_000, set(0..5), Approvers::All)
            .change(2_500, set([0, 2, 3, 4]), Approvers::All)
            .change(4_000, set([1, 3, 4, 5]), Approvers::All)
            .fault(4_500, Fault::PowerCutAll { restart_after_ms: 100 });
        let report = hold(&scenario);
        assert!(report.coverage.of(lie.counter()) > 0, "{lie:?} is told");
        assert_eq!(report.coverage.of(Counter::EPOCHS_BEGUN), 3, "{lie:?}");
    }
}

#[test]
fn clients_check_what_they_read_and_believe_no_false_proof() {
    let scenario = Scenario::new("clients_check_what_they_read_and_believe_no_false_proof", 4, seed(45))
        .liar(2, &[Lie::FalseCheckpoint])
        .change(1_500, set([0, 2, 3, 4]), Approvers::All)
        .workload(Workload { transactions: 600, ..Workload::default() })
        .chaos_ms(10_000);
    let report = hold(&scenario);
    let checked = [
        Counter::READS_CHECKED,
        Counter::PROOFS_OF_CERTIFIED_ROOT,
        Counter::PROOFS_OF_ANCHORED_ROOT,
        Counter::PROOFS_OF_PRESENCE,
        Counter::PROOFS_OF_ABSENCE,
        Counter::FALSE_PROOFS_REFUSED,
    ];
    for what in checked {
        assert!(report.coverage.of(what) > 0, "{what}: {}", report.coverage);
    }
}

/// Real signatures are slow, so few runs have them; the code is the same but for the curve.
#[test]
fn real_signatures_change_nothing() {
    let run = |real| {
        let scenario = Scenario::new("real_signatures_change_nothing", 4, seed(43))
            .real_signatures(real)
            .workload(Workload { transactions: 30, ..Workload::default() })
            .network(NetworkFaults::calm().losing(50));
        let report = hold(&scenario);
        (report.height, report.committed, report.votes, report.lasted_ms)
    };
    assert_eq!(run(true), run(false));
}

/// The switch that lets a simulator sign by the model is compiled into nothing that anybody is given.
#[test]
fn the_released_binary_knows_no_model_signatures() {
    let features = |package: &str| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = std::process::Command::new(cargo)
            .args(["tree", "--locked", "--edges", "normal,features", "--package", package])
            .args(["--invert", "quorate-crypto"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("cargo prints text")
    };
    assert!(features("quorate-sim").contains("model-signatures"), "the test looks for the right name");
    assert!(!features("quorate-node").contains("model-signatures"));
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
        seeds.try_for_each(|seed| {
            let scenario = Scenario::random("any_seed_holds_every_claim", seed);
            // A trace costs more than the run, and is made anew where something fails.
            if asked_seed().is_some() { attempt(&scenario) } else { scenario.run::<Pbft>() }.map(drop)
        })
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a run turns panics into failures")).collect()
    });
    for outcome in outcomes {
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }
}
