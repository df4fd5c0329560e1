//! Validators that lie, and clients that believe nobody.

use quorate_consensus::pbft::Pbft;
use quorate_ledger::Parameters;
use quorate_sim::{AGREEMENT, Approvers, Counter, Fault, Lie, NetworkFaults, Workload};

use crate::{attempt, hold, seed, set};

/// Runs that making a failure smaller may cost.
const SHRINKING_RUNS: usize = 60;

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
            let scenario = scenario!(nodes, 40)
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
        let scenario = scenario!(7, 41)
            .parameters(parameters)
            .liar(0, &lies)
            .liar(3, &[lies[1], lies[0]])
            .workload(Workload { transactions: 100, ..Workload::default() });
        hold(&scenario);
    }
}

#[test]
fn two_votes_of_one_validator_are_evidence_against_it() {
    let scenario =
        scenario!(4, 42).liar(1, &[Lie::ConflictingVotes, Lie::TwoViewChanges, Lie::PartialViewChange]);
    let report = hold(&scenario);
    assert!(report.coverage.of(Counter::EVIDENCE_TWO_COMMITS) > 0);
}

/// `docs/pbft.md` §4.3:
///
/// > A claim of a liar's that would play one has no certificate, and a NEW-VIEW that lacks one, or has one more, is false.
/// > […] One that no correct validator signs is evidence by itself
#[test]
fn a_primary_that_lies_about_itself_in_its_own_new_view_is_refused_or_accused() {
    let parameters = Parameters { rotation_blocks: 2, timeout_cap_ms: 1_000, ..Parameters::default() };
    let scenario = scenario!(4, 44)
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

#[test]
fn clients_check_what_they_read_and_believe_no_false_proof() {
    let scenario = scenario!(4, 45)
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

/// What all other tests rest on: a claim that does not hold is seen, and what is printed of it leads back to it.
#[test]
fn more_than_f_liars_fork_the_chain_which_is_seen_made_smaller_and_run_again() {
    let scenario = scenario!(4, 70)
        .liar(0, &[Lie::Equivocate])
        .liar(3, &[Lie::VoteForAll])
        .fault(1_000, Fault::Reconnect { node: 1 })
        .fault(4_000, Fault::ClockJump { node: 2, by_ms: 10 });
    assert!(!scenario.is_fair());
    let failure = attempt(&scenario).map(|report| report.height).expect_err("one of four may lie");
    assert_eq!(failure.violation.claim, AGREEMENT, "{failure}");

    let replay = format!(
        "QUORATE_SEED={} cargo test --release -p quorate-tests --test simulator {}",
        seed(70),
        name!()
    );
    assert!(failure.to_string().contains(&replay), "{failure}");
    let again = attempt(&failure.scenario).map(|report| report.height).expect_err("the same again");
    assert_eq!((&again.violation, &again.trace), (&failure.violation, &failure.trace));

    let smaller = failure.shrink::<Pbft>(SHRINKING_RUNS);
    let code = (smaller.as_code(), scenario.as_code());
    assert!(code.0.len() < code.1.len() && !code.0.contains(".fault("), "{}\n{}", code.0, code.1);
    assert_eq!(smaller.violation::<Pbft>().map(|it| it.claim), Some(AGREEMENT), "{smaller}");
}
