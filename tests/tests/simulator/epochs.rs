//! Validators and parameters that change while everything else goes wrong.

use quorate_ledger::Parameters;
use quorate_sim::{Approvers, Change, Counter, Fault, Lie, Link, NetworkFaults, Point, VoteKind, Workload};

use crate::{hold, lossy, set, votes};

#[test]
fn a_validator_is_added_and_votes() {
    let scenario = scenario!(4, 50).change(1_000, set(0..5), Approvers::All);
    let report = hold(&scenario);
    assert_eq!(
        (report.coverage.of(Counter::EPOCHS_BEGUN), report.coverage.of(Counter::VALIDATORS_ADDED)),
        (1, 1)
    );
    assert!(votes(&report, 4, VoteKind::Commit, 0) == 0 && votes(&report, 4, VoteKind::Commit, 1) > 20);
}

#[test]
fn a_validator_that_is_removed_follows_and_signs_nothing_more() {
    let scenario = scenario!(5, 51).change(1_000, set([0, 1, 3, 4]), Approvers::All);
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
        let scenario = scenario!(nodes, 52)
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
        let others =
            Parameters { window, rotation_blocks: 7, block_transactions_max: 3, ..Parameters::default() };
        let scenario = scenario!(4, 53).parameters(Parameters { window: 4, ..Parameters::default() }).change(
            1_000,
            Change::Parameters(Box::new(others)),
            Approvers::All,
        );
        let report = hold(&scenario);
        assert_eq!(report.coverage.of(Counter::PARAMETERS_CHANGED), 1, "window {window}");
        let views = (0..4).map(|node| votes(&report, node, VoteKind::NewView, 1)).sum::<u64>();
        assert!(votes(&report, 0, VoteKind::ViewChange, 0) == 0 && views >= 3, "window {window}: {views}");
    }
}

#[test]
fn a_chain_of_one_grows_to_four_and_shrinks_back_to_another_one() {
    let sets = [vec![0, 1], vec![0, 1, 2], vec![0, 1, 2, 3], vec![1, 2, 3], vec![2, 3], vec![3]];
    let scenario = (1..).zip(sets).fold(
        scenario!(1, 54).chaos_ms(8_000).workload(Workload { every_ms: 1..=80, ..Workload::default() }),
        |scenario, (turn, members)| scenario.change(1_000 * turn, set(members), Approvers::All),
    );
    let report = hold(&scenario);
    assert_eq!(report.coverage.of(Counter::EPOCHS_BEGUN), 6);
    assert!(votes(&report, 3, VoteKind::Commit, 6) > 10, "the last one alone goes on");
}

#[test]
fn heirs_who_were_no_validators_take_the_chain_over() {
    for (nodes, network) in [(4, NetworkFaults::calm()), (4, lossy()), (7, NetworkFaults::calm())] {
        let scenario = scenario!(nodes, 55)
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
    let few = scenario!(4, 56).change(1_000, set(0..5), Approvers::These(vec![0, 1]));
    let split = scenario!(4, 57).change(1_000, set(0..5), Approvers::These(vec![0, 1])).change(
        1_000,
        set(0..3),
        Approvers::These(vec![2, 3]),
    );
    let strangers = scenario!(4, 58).change(1_000, set(0..7), Approvers::These(vec![4, 5, 6]));
    for scenario in [few, split, strangers] {
        let report = hold(&scenario);
        assert_eq!(report.coverage.of(Counter::EPOCHS_BEGUN), 0, "{scenario}");
    }
}

#[test]
fn what_was_split_is_decided_once_all_agree() {
    let scenario = scenario!(4, 59)
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
    let scenario = scenario!(4, 60)
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
            let sets = [set([1, 2, 3, 4]), set([2, 3, 4, 5]), set([0, 1, 2, 3])];
            let scenario = (0..).zip(sets).fold(scenario!(4, 61), |scenario, (turn, members)| {
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
        let scenario = scenario!(4, 62)
            .change(1_000, set(1..5), Approvers::All)
            .fault(at_ms, Fault::PowerCutAll { restart_after_ms: 50 })
            .fault(at_ms + 300, Fault::PowerCutAll { restart_after_ms: 10 });
        assert_eq!(hold(&scenario).coverage.of(Counter::EPOCHS_BEGUN), 1);
    }
}

#[test]
fn a_node_that_slept_through_epochs_finds_its_way_through_all_of_them() {
    for member in [3, 5] {
        // Five epochs, and none of those whom it knew is a validator any more.
        let sets = [set([0, 1, 2, 3, 4]), set([1, 2, 4, 5, 6]), set([4, 5, 6, 7]), set([3, 5, 6, 7])];
        let scenario = (1..).zip(sets).fold(
            scenario!(4, 63).chaos_ms(9_000).workload(Workload {
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
        let parts = [(0, 1), (0, 2), (1, 2), (3, 1), (4, 2)].map(|(from, to)| Link { from, to });
        let scenario = scenario!(4, 64)
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
        let scenario = scenario!(4, 65)
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
