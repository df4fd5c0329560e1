//! `docs/pbft.md` §3.3, §3.4.

use std::sync::Arc;

use quorate_ledger::{Block, Height, Quorum};

use super::bench::{Bench, START, delivered, sent};
use crate::{
    engine::{Action, Engine, Event, Role, To},
    evidence::VoteKind,
    pbft::{Message, Record, message::StatusReport},
};

#[test]
fn prepared_needs_q_prepares_and_is_recorded_before_commit() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block); // the primary's PREPARE and its own: two
    let vote = bench.prepare(2, &block);
    let actions = bench.receive(2, vote);
    let commit = bench.vote(VoteKind::Commit, 1, &block);
    assert_eq!(sent(&actions), vec![(To::All, Message::Commit(commit.clone()))]);
    let records = &bench.log.records[2..];
    assert!(matches!(&records[0], Record::Prepared { signatures, .. } if signatures.signatures().len() == 3));
    assert_eq!(records[1], Record::Voted { kind: VoteKind::Commit, vote: commit });
}

/// > Two certificates for different blocks at one height cannot exist while at most `f` validators lie. A replica that sees
/// > them halts
#[test]
fn certified_blocks_that_contradict_what_is_committed_halt() {
    let bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    let halts = |mut bench: Bench, blocks: &[Arc<Block>]| {
        let actions = bench.step(bench.certified(blocks, &[0, 2, 3]));
        assert!(matches!(&actions[..], [.., Action::Halt { .. }]), "{actions:?}");
        assert_eq!(delivered(&actions), [], "they are handed over whole or not at all");
        bench.after_millis(bench.parameters.resend_ms);
        assert!(bench.step(Event::Tick).is_empty() && bench.propose(&blocks[0]).is_empty(), "it has stopped");
    };
    // A certificate of another block at that height is known.
    let mut knows = Bench::new(4, 1);
    let certificate = Some(knows.certificate(&knows.child(&other), &[0, 2, 3]));
    let report = StatusReport { certificate, ..knows.empty_status() };
    knows.receive(2, Message::Status(Box::new(report)));
    halts(knows, &blocks);
    // They stand on another block than the one delivered.
    let mut stands = Bench::new(4, 1);
    stands.step(stands.certified(std::slice::from_ref(&other), &[0, 2, 3]));
    halts(stands, &blocks[1..]);
}

#[test]
fn certified_blocks_that_leave_a_gap_are_left_alone() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    assert!(bench.step(bench.certified(&blocks[1..], &[0, 2, 3])).is_empty());
    assert_eq!(bench.engine.status().delivered, Height(0));
}

/// > as soon as all of them are here. A certificate may be known long before that.
#[test]
fn a_body_that_was_being_checked_is_delivered_when_its_height_has_committed_meanwhile() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let message = bench.pre_prepare(&block);
    bench.receive(0, message);
    let certificate = Some(bench.certificate(&block, &[0, 2, 3]));
    let report = StatusReport { certificate, ..bench.empty_status() };
    bench.receive(2, Message::Status(Box::new(report)));
    assert_eq!(bench.engine.status().committed, Height(1));
    assert_eq!(delivered(&bench.accept(&block)), vec![(1, true)]);
    assert!(bench.log.records.is_empty(), "nothing is accepted at a height that has committed");
}

#[test]
fn the_quorum_is_not_two_f_plus_one_at_five_and_six() {
    for n in [4, 5, 6, 7, 10] {
        let q = Quorum::of(n).q();
        let mut bench = Bench::new(n, 1);
        let block = bench.first();
        bench.propose(&block);
        for signer in 2..q {
            let vote = bench.prepare(signer, &block);
            let commits = sent(&bench.receive(signer, vote));
            // Own, the primary's and `signer - 1` more have voted now.
            assert_eq!(!commits.is_empty(), signer + 1 == q, "n = {n}, {} votes of {q}", signer + 1);
        }
    }
}

#[test]
fn votes_alone_do_not_prepare_what_was_not_accepted() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    for signer in [0, 2, 3] {
        let vote = bench.prepare(signer, &block);
        assert!(bench.receive(signer, vote).is_empty());
    }
    let sent = sent(&bench.propose(&block));
    assert_eq!(sent.len(), 2, "PREPARE and COMMIT follow at once: {sent:?}");
}

#[test]
fn one_validator_counts_once() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block);
    let vote = bench.prepare(0, &block);
    assert!(bench.receive(0, vote.clone()).is_empty());
    assert!(bench.receive(2, vote).is_empty(), "whoever relays it");
}

#[test]
fn commit_waits_for_prepared_parent() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    bench.propose(&blocks[0]);
    bench.propose(&blocks[1]);
    for signer in [2, 3] {
        let vote = bench.prepare(signer, &blocks[1]);
        assert!(bench.receive(signer, vote).is_empty(), "its parent is not prepared");
    }
    let vote = bench.prepare(2, &blocks[0]);
    let votes = sent(&bench.receive(2, vote));
    let heights: Vec<Height> = votes
        .iter()
        .map(|(_, it)| match it {
            Message::Commit(vote) => vote.payload.height,
            other => panic!("only COMMITs, not {other:?}"),
        })
        .collect();
    assert_eq!(heights, vec![Height(1), Height(2)]);
}

#[test]
fn blocks_are_delivered_in_height_order_each_with_its_certificate() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    for block in &blocks {
        bench.propose(block);
        let vote = bench.prepare(2, block);
        bench.receive(2, vote);
    }
    let vote = bench.commit(2, &blocks[0]);
    assert!(delivered(&bench.receive(2, vote)).is_empty(), "two of three");
    let vote = bench.commit(3, &blocks[0]);
    assert_eq!(delivered(&bench.receive(3, vote)), vec![(1, true)]);
    for signer in [2, 3] {
        let vote = bench.commit(signer, &blocks[1]);
        let heights = delivered(&bench.receive(signer, vote));
        assert_eq!(heights, if signer == 3 { vec![(2, true)] } else { vec![] });
    }
}

#[test]
fn a_certificate_commits_all_ancestors() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(3);
    for block in &blocks {
        bench.propose(block);
    }
    for signer in [0, 2, 3] {
        let vote = bench.commit(signer, &blocks[2]);
        let actions = bench.receive(signer, vote);
        if signer == 3 {
            assert_eq!(delivered(&actions), vec![(1, false), (2, false), (3, true)]);
        }
    }
}

#[test]
fn commits_count_for_a_block_that_is_not_here_and_close_its_height() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    for signer in [0, 2, 3] {
        let vote = bench.commit(signer, &block);
        assert!(bench.receive(signer, vote).is_empty());
    }
    let status = bench.engine.status();
    assert_eq!((status.committed, status.delivered), (Height(1), Height(0)));
}

#[test]
fn conflicting_commit_is_evidence_and_the_first_one_counts() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let other = bench.block(Height(1), bench.scope.chain, block.time().plus_millis(1));
    let vote = bench.commit(2, &block);
    bench.receive(2, vote);
    let vote = bench.commit(2, &other);
    let actions = bench.receive(2, vote);
    let [Action::Accuse { evidence }] = &actions[..] else { panic!("one accusation, not {actions:?}") };
    assert!(evidence.holds(&bench.scope.chain, &bench.scope.validators));
    for signer in [0, 3] {
        let vote = bench.commit(signer, &other);
        bench.receive(signer, vote);
    }
    assert_eq!(bench.engine.status().committed, Height(0), "the second vote does not count");
}

#[test]
fn two_committed_blocks_at_one_height_halt_the_replica() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let other = bench.block(Height(1), bench.scope.chain, block.time().plus_millis(1));
    bench.step(bench.certified(&[block], &[0, 2, 3]));
    let status = bench.empty_status();
    let certificate = Some(bench.certificate(&other, &[0, 2, 3]));
    let report = crate::pbft::message::StatusReport { certificate, ..status };
    let actions = bench.receive(2, Message::Status(Box::new(report)));
    assert!(actions.iter().any(|it| matches!(it, Action::Halt { .. })), "{actions:?}");
    assert_eq!(bench.engine.deadline(), None);
    let block = bench.first();
    assert!(bench.propose(&block).is_empty(), "it signs nothing more");
}

/// The blocks below a certificate may be here, and stand on another block than the one that was delivered: more than f lie.
#[test]
fn a_certified_chain_on_another_block_than_the_delivered_halts_the_replica() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    for block in &blocks {
        bench.propose(block);
    }
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    bench.step(bench.certified(&[other], &[0, 2, 3]));
    let certificate = Some(bench.certificate(&blocks[1], &[0, 2, 3]));
    let status = StatusReport { certificate, ..bench.empty_status() };
    let actions = bench.receive(2, Message::Status(Box::new(status)));
    assert!(actions.iter().any(|it| matches!(it, Action::Halt { .. })), "{actions:?}");
    assert_eq!(bench.engine.status().role, Role::Halted);
}
