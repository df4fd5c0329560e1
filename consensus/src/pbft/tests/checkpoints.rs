//! `docs/pbft.md` §3.5.

use super::bench::{Bench, genesis_tip, sent};
use crate::{
    engine::{Action, Engine, Event, Role, To},
    pbft::{Message, Record, message::StatusReport},
};
use quorate_ledger::{ExecutionOutcome, Height};

#[test]
fn executing_is_signed_recorded_and_stable_with_q_equal_results() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.step(bench.certified(std::slice::from_ref(&block), &[0, 2, 3]));
    let actions = bench.executed(&block);
    let own = bench.checkpoint(1, bench.result(&block));
    assert_eq!(sent(&actions), vec![(To::All, Message::Checkpoint(own.clone()))]);
    assert_eq!(bench.log.records, vec![Record::Checkpointed(own)]);
    let vote = bench.checkpoint(0, bench.result(&block));
    assert!(bench.receive(0, Message::Checkpoint(vote)).is_empty());
    let vote = bench.checkpoint(3, bench.result(&block));
    let actions = bench.receive(3, Message::Checkpoint(vote));
    let [Action::Stable { certificate }] = &actions[..] else { panic!("it is stable: {actions:?}") };
    assert_eq!(certificate.verify(&bench.scope.chain, &bench.scope.validators), Ok(()));
    assert_eq!(bench.engine.status().stable, Height(1));
    // > votes at and below it are let go
    let vote = bench.checkpoint(2, bench.result(&block));
    assert!(bench.receive(2, Message::Checkpoint(vote)).is_empty());
    assert!(!bench.engine.records().iter().any(|it| matches!(it, Record::Checkpointed(_))));
    bench.after_millis(bench.parameters.resend_ms);
    let reported = sent(&bench.step(Event::Tick)).into_iter().find_map(|(_, it)| match it {
        Message::Status(report) => Some(report.checkpoints.len()),
        _ => None,
    });
    assert_eq!(reported, Some(0));
}

/// > After a restart the replica votes as recorded … and signs nothing against them.
#[test]
fn a_checkpoint_that_was_cast_is_known_after_a_restart_and_nothing_is_signed_against_it() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let certified = |bench: &Bench| bench.certified(std::slice::from_ref(&block), &[0, 2, 3]);
    bench.step(certified(&bench));
    bench.executed(&block);
    let own = Record::Checkpointed(bench.checkpoint(1, bench.result(&block)));
    assert!(bench.engine.records().contains(&own), "a compaction keeps it until its height is stable");
    let records = bench.log.records.clone();
    for another_result in [false, true] {
        // The ledger lost the block, and executes it again.
        bench.restart(genesis_tip(&bench.scope));
        bench.step(certified(&bench));
        let mut checkpoint = bench.result(&block);
        if another_result {
            checkpoint.state_root = quorate_crypto::Hash::of(b"another state");
        }
        let outcome = ExecutionOutcome { checkpoint, due: None, epoch_ends: None };
        let actions = bench.step(Event::Executed { outcome });
        assert_eq!(actions.iter().any(|it| matches!(it, Action::Halt { .. })), another_result);
        assert!(sent(&actions).is_empty(), "{actions:?}");
        assert_eq!(bench.log.records, records);
    }
}

#[test]
fn the_height_up_to_which_checkpoints_were_dropped_is_kept() {
    let mut bench = Bench::new(4, 1);
    let (epoch, height, checkpoint) = (bench.scope.epoch, Height(1), Height(2));
    bench.log.records = vec![Record::Dropped { epoch, height, checkpoint }];
    bench.restart(genesis_tip(&bench.scope));
    assert!(bench.engine.records().contains(&Record::Dropped { epoch, height, checkpoint }));
}

#[test]
fn nothing_is_stable_before_it_is_executed_here() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    for signer in [0, 2, 3] {
        let vote = bench.checkpoint(signer, bench.result(&block));
        assert!(bench.receive(signer, Message::Checkpoint(vote)).is_empty());
    }
    bench.step(bench.certified(std::slice::from_ref(&block), &[0, 2, 3]));
    let actions = bench.executed(&block);
    assert!(actions.iter().any(|it| matches!(it, Action::Stable { .. })), "{actions:?}");
}

#[test]
fn a_quorum_that_contradicts_the_own_result_halts() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.step(bench.certified(std::slice::from_ref(&block), &[0, 2, 3]));
    bench.executed(&block);
    let mut other = bench.result(&block);
    other.state_root = quorate_crypto::Hash::of(b"another state");
    for signer in [0, 2, 3] {
        let vote = bench.checkpoint(signer, other);
        let actions = bench.receive(signer, Message::Checkpoint(vote));
        assert_eq!(actions.iter().any(|it| matches!(it, Action::Halt { .. })), signer == 3);
    }
    assert_eq!(bench.engine.status().role, Role::Halted);
}

#[test]
fn two_results_of_one_validator_are_evidence() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let first = bench.result(&block);
    let mut second = first;
    second.receipts_root = quorate_crypto::Hash::of(b"other receipts");
    let vote = bench.checkpoint(2, first);
    bench.receive(2, Message::Checkpoint(vote));
    let vote = bench.checkpoint(2, second);
    let actions = bench.receive(2, Message::Checkpoint(vote));
    let [Action::Accuse { evidence }] = &actions[..] else { panic!("one accusation, not {actions:?}") };
    assert!(evidence.holds(&bench.scope.chain, &bench.scope.validators));
    assert!(!evidence.holds(&quorate_crypto::Hash::of(b"another chain"), &bench.scope.validators));
}

#[test]
fn checkpoints_are_taken_up_to_l_above_the_executed_height() {
    let mut bench = Bench::new(4, 1);
    let window = u64::from(bench.parameters.log_window);
    let mut payload = bench.result(&bench.first());
    payload.height = Height(window);
    let vote = bench.checkpoint(2, payload);
    assert!(bench.receive(2, Message::Checkpoint(vote)).is_empty());
    payload.height = Height(window + 1);
    let vote = bench.checkpoint(2, payload);
    let actions = bench.receive(2, Message::Checkpoint(vote));
    assert!(matches!(actions[..], [Action::Reject { .. }]), "{actions:?}");
}

#[test]
fn a_replica_that_hears_of_a_later_checkpoint_signs_none_below_it() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(3);
    let status = bench.empty_status();
    let checkpoint = Some(bench.checkpoint_certificate(bench.result(&blocks[2]), &[0, 2, 3]));
    let report = StatusReport { checkpoint, stable: Height(3), ..status };
    bench.receive(2, Message::Status(Box::new(report)));
    bench.step(bench.certified(&blocks, &[0, 2, 3]));
    for block in &blocks[..2] {
        assert!(sent(&bench.executed(block)).is_empty());
    }
    let actions = bench.executed(&blocks[2]);
    assert!(matches!(actions[..], [Action::Stable { .. }]), "{actions:?}");
}
