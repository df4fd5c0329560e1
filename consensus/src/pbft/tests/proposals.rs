//! `docs/pbft.md` §3.1, §3.2 and due blocks.

use std::sync::Arc;

use quorate_ledger::{Block, CheckpointPayload, Header, Height, Parameters, UnixMillis, View};

use super::bench::{Bench, START, delivered, index, rejection, sent};
use crate::{
    engine::{Action, Engine, Event, Proposal, To, Verdict},
    evidence::{Evidence, VoteKind},
    pbft::{Message, Record, message::PrePrepare},
    rejection::Rejection,
};

fn check_of(actions: &[Action<Message>]) -> Option<quorate_crypto::Hash> {
    match actions {
        [Action::Check { proposal, from }] if *from == index(0) => Some(proposal.header.hash()),
        _ => None,
    }
}

#[test]
fn replica_records_acceptance_and_body_then_votes() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let message = bench.pre_prepare(&block);
    let actions = bench.receive(0, message);
    assert_eq!(check_of(&actions), Some(block.hash()));
    assert!(bench.log.records.is_empty(), "nothing is promised before the bodies are here");

    let actions = bench.accept(&block);
    let vote = bench.vote(VoteKind::Prepare, 1, &block);
    assert_eq!(sent(&actions), vec![(To::All, Message::Prepare(vote.clone()))]);
    let prepare = bench.vote(VoteKind::Prepare, 0, &block);
    assert_eq!(
        bench.log.records,
        vec![
            Record::Accepted { block, view: View(0), prepare: Some(prepare), anchor: None },
            Record::Voted { kind: VoteKind::Prepare, vote }
        ]
    );
}

#[test]
fn refused_bodies_are_not_voted_for_and_leave_the_place_open() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let message = bench.pre_prepare(&block);
    bench.receive(0, message.clone());
    let verdict = Verdict::Refuse("the roots differ".to_owned());
    let actions = bench.step(Event::Checked { block: block.hash(), verdict });
    assert_eq!(rejection(&actions), Rejection::Refused("the roots differ".to_owned()));
    assert!(bench.log.records.is_empty());
    assert_eq!(check_of(&bench.receive(0, message)), Some(block.hash()), "it may be judged again");
}

#[test]
fn a_question_withdrawn_leaves_the_place_open_and_blames_nobody() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let message = bench.pre_prepare(&block);
    bench.receive(0, message.clone());
    assert!(bench.step(Event::Checked { block: block.hash(), verdict: Verdict::Withdraw }).is_empty());
    assert_eq!(check_of(&bench.receive(0, message)), Some(block.hash()));
}

#[test]
fn verdicts_nobody_waits_for_change_nothing() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    assert!(bench.accept(&block).is_empty());
    bench.propose(&block);
    assert!(bench.accept(&block).is_empty(), "it was answered before");
}

#[test]
fn second_block_for_one_place_is_evidence_and_not_accepted() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(2));
    bench.propose(&block);
    let message = bench.pre_prepare(&other);
    let actions = bench.receive(0, message.clone());
    let [Action::Accuse { evidence }] = &actions[..] else { panic!("one accusation, not {actions:?}") };
    assert_eq!(*evidence.signer(), bench.keys[0].public());
    assert!(evidence.holds(&bench.scope.chain, &bench.scope.validators));
    assert!(matches!(**evidence, Evidence::DoubleVote { kind: VoteKind::Prepare, .. }));
    assert!(bench.receive(0, message).is_empty(), "once is enough");
}

#[test]
fn time_must_be_above_the_parents() {
    let mut bench = Bench::new(4, 1);
    let block = bench.block(Height(1), bench.scope.chain, START);
    let message = bench.pre_prepare(&block);
    let why = rejection(&bench.receive(0, message));
    assert_eq!(why, Rejection::TimeNotRising { time: START, parent: START });
}

#[test]
fn clock_drift_is_judged_at_its_bound_and_one_past() {
    let drift_max_ms = Parameters::default().max_clock_drift_ms;
    for (ahead, fits) in [(drift_max_ms, true), (drift_max_ms + 1, false)] {
        let mut bench = Bench::new(4, 1);
        let time = START.plus_millis(ahead);
        let message = bench.pre_prepare(&bench.block(Height(1), bench.scope.chain, time));
        let actions = bench.receive(0, message);
        assert_eq!(check_of(&actions).is_some(), fits, "{ahead} ms ahead");
        if !fits {
            assert_eq!(rejection(&actions), Rejection::ClockDrift { time, now: START, drift_max_ms });
        }
        let mut bench = Bench::new(4, 1);
        let message = bench.pre_prepare(&bench.first());
        bench.now.wall = START.plus_millis(1 + ahead);
        assert_eq!(check_of(&bench.receive(0, message)).is_some(), fits, "{ahead} ms behind");
    }
}

#[test]
fn fresh_block_must_name_the_views_primary_as_its_proposer() {
    let mut bench = Bench::new(4, 1);
    let mut header = bench.first().header().clone();
    header.proposer = quorate_ledger::Account(bench.keys[2].public());
    let message = bench.pre_prepare(&Block::new(header, Vec::new()));
    assert_eq!(rejection(&bench.receive(0, message)), Rejection::WrongProposer);
}

/// Two windows of proposals may wait: a liar's must take no more memory than the chain's blocks do.
#[test]
fn a_proposal_that_waits_names_no_more_transactions_than_a_block_may_hold() {
    let parameters = Parameters { block_transactions_max: 2, ..Parameters::default() };
    for (count, fits) in [(2, true), (3, false)] {
        let mut bench = Bench::with(4, 1, parameters.clone());
        let blocks = bench.chain(2);
        let transactions = vec![quorate_crypto::Hash::ZERO; count];
        let transactions_root = Block::transactions_root(&transactions);
        let header = Header { transactions_root, ..blocks[1].header().clone() };
        let prepare = bench.vote(VoteKind::Prepare, 0, &Block::new(header.clone(), Vec::new()));
        let proposal = Arc::new(Proposal { header, transactions });
        let actions = bench.receive(0, Message::PrePrepare(PrePrepare { proposal, prepare, anchor: None }));
        if fits {
            assert!(actions.is_empty(), "it waits for its parent");
        } else {
            assert!(matches!(rejection(&actions), Rejection::Malformed(_)));
        }
    }
}

#[test]
fn proposal_waits_for_its_parent_and_blames_nobody() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    let message = bench.pre_prepare(&blocks[1]);
    assert!(bench.receive(0, message).is_empty());
    let message = bench.pre_prepare(&blocks[0]);
    assert_eq!(check_of(&bench.receive(0, message)), Some(blocks[0].hash()));
    let actions = bench.accept(&blocks[0]);
    assert!(
        actions.iter().any(
            |it| matches!(it, Action::Check { proposal, .. } if proposal.header.hash() == blocks[1].hash())
        ),
        "the child is checked once its parent is accepted"
    );
}

#[test]
fn child_of_another_block_is_refused() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block);
    let stranger = bench.block(Height(2), quorate_crypto::Hash::of(b"elsewhere"), START.plus_millis(2));
    let message = bench.pre_prepare(&stranger);
    assert_eq!(rejection(&bench.receive(0, message)), Rejection::WrongParent(Height(2)));
}

/// > nor when another block is committed below it meanwhile that was not accepted in this view
#[test]
fn a_proposal_on_a_block_that_lost_is_let_go_and_its_primary_is_not_blamed() {
    let mut bench = Bench::new(4, 1);
    let lost = bench.chain(2);
    let committed = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    let message = bench.pre_prepare(&lost[1]);
    assert!(bench.receive(0, message).is_empty(), "its parent is not here");
    let event = bench.certified(&[committed], &[0, 2, 3]);
    let actions = bench.step(event);
    assert_eq!(delivered(&actions), [(1, true)]);
    assert!(
        actions.iter().all(|it| !matches!(it, Action::Reject { .. } | Action::Check { .. })),
        "{actions:?}"
    );
}

#[test]
fn window_is_w_heights_above_the_executed_and_w_more_are_buffered() {
    let parameters = Parameters { window: 2, log_window: 4, ..Parameters::default() };
    let mut bench = Bench::with(4, 1, parameters);
    let blocks = bench.chain(5);
    for block in &blocks[..4] {
        let message = bench.pre_prepare(block);
        bench.receive(0, message);
    }
    let message = bench.pre_prepare(&blocks[4]);
    let why = rejection(&bench.receive(0, message));
    assert_eq!(why, Rejection::AboveWindow { height: Height(5), max: Height(4) });
    let vote = bench.prepare(2, &blocks[4]);
    let why = rejection(&bench.receive(2, vote));
    assert_eq!(why, Rejection::AboveWindow { height: Height(5), max: Height(4) });

    bench.accept(&blocks[0]);
    let actions = bench.accept(&blocks[1]);
    assert_eq!(check_of(&actions), None, "height 3 is outside the window of two");
    bench.step(bench.certified(&blocks[..1], &[0, 2, 3]));
    let actions = bench.executed(&blocks[0]);
    assert!(
        actions
            .iter()
            .any(|it| matches!(it, Action::Check { proposal, .. } if proposal.header.height == Height(3))),
        "the window moved with the executed height: {actions:?}"
    );
}

#[test]
fn nothing_is_accepted_more_than_l_above_the_stable_checkpoint() {
    let parameters = Parameters { window: 2, log_window: 4, ..Parameters::default() };
    let mut bench = Bench::with(4, 1, parameters);
    let blocks = bench.chain(5);
    bench.step(bench.certified(&blocks[..4], &[0, 2, 3]));
    for block in &blocks[..4] {
        bench.executed(block);
    }
    let message = bench.pre_prepare(&blocks[4]);
    assert!(bench.receive(0, message).is_empty(), "four above the stable checkpoint is the last");
    let vote = bench.checkpoint(2, bench.result(&blocks[0]));
    bench.receive(2, Message::Checkpoint(vote));
    let vote = bench.checkpoint(3, bench.result(&blocks[0]));
    let actions = bench.receive(3, Message::Checkpoint(vote));
    assert!(
        actions.iter().any(|it| matches!(it, Action::Check { .. })),
        "the stable checkpoint moved, and the block fits: {actions:?}"
    );
}

#[test]
fn committed_heights_are_closed_even_before_their_bodies_are_here() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let status = bench.empty_status();
    let certificate = Some(bench.certificate(&block, &[0, 2, 3]));
    bench.receive(2, Message::Status(Box::new(crate::pbft::message::StatusReport { certificate, ..status })));
    assert_eq!(bench.engine.status().committed, Height(1));
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(2));
    let message = bench.pre_prepare(&other);
    assert!(bench.receive(0, message).is_empty(), "no second block at a committed height");
}

#[test]
fn anchor_moves_forward_only_with_its_certificate() {
    let mut bench = Bench::new(4, 1);
    let first = bench.first();
    bench.step(bench.certified(std::slice::from_ref(&first), &[0, 2, 3]));
    bench.executed(&first);
    let result: CheckpointPayload = bench.result(&first);
    let time = START.plus_millis(2);
    let block = bench.block_with(Height(2), first.hash(), time, result.anchor());
    let prepare = bench.vote(VoteKind::Prepare, 0, &block);

    let bare = Message::PrePrepare(PrePrepare::of(&block, prepare.clone(), None));
    assert!(matches!(rejection(&bench.receive(0, bare)), Rejection::BadAnchor(_)));
    let certificate = bench.checkpoint_certificate(result, &[0, 2, 3]);
    let whole = Message::PrePrepare(PrePrepare::of(&block, prepare, Some(certificate.clone().into())));
    let actions = bench.receive(0, whole);
    let checks = |it: &Action<Message>| matches!(it, Action::Check { proposal, .. } if proposal.header.hash() == block.hash());
    assert!(actions.iter().any(checks));
    assert!(actions.iter().any(|it| matches!(it, Action::Stable { .. })), "and the certificate is learned");
    bench.accept(&block);
    let recorded = bench
        .log
        .records
        .iter()
        .any(|it| matches!(it, Record::Accepted { anchor: Some(anchor), .. } if **anchor == certificate));
    assert!(recorded, "whoever is sent the proposal again needs it too");

    let above = bench.block_with(Height(2), first.hash(), time.plus_millis(1), result.anchor());
    let mut other = certificate;
    other.payload.state_root = quorate_crypto::Hash::of(b"another state");
    let prepare = bench.vote(VoteKind::Prepare, 0, &above);
    let forged = Message::PrePrepare(PrePrepare::of(&above, prepare, Some(other.into())));
    assert!(matches!(bench.refused(forged), Rejection::BadAnchor(_)));
}

/// > Missing transactions are fetched, from the proposer and whoever sent the proposal first.
#[test]
fn whoever_relays_a_proposal_is_asked_for_its_bodies_too() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let message = bench.pre_prepare(&block);
    let actions = bench.receive(3, message);
    assert!(matches!(&actions[..], [Action::Check { from, .. }] if *from == index(3)), "{actions:?}");
}

/// > while there is room in the window, one block at a time
#[test]
fn a_primary_builds_no_more_than_the_window_holds() {
    let parameters = Parameters { window: 1, log_window: 2, ..Parameters::default() };
    let mut bench = Bench::with(4, 0, parameters);
    let builds =
        |actions: &[Action<Message>]| actions.iter().filter(|it| matches!(it, Action::Build { .. })).count();
    bench.after_millis(bench.parameters.heartbeat_ms);
    assert_eq!(builds(&bench.step(Event::Tick)), 1);
    assert_eq!(builds(&bench.backlog(u64::MAX / 400)), 0, "one at a time");
    let block = bench.block(Height(1), bench.scope.chain, bench.now.wall);
    assert_eq!(sent(&bench.step(Event::Built { block })).len(), 1);
    assert_eq!(builds(&bench.backlog(u64::MAX / 400)), 0, "the window is full");
}

/// > its anchor is the parent's; or it is higher
///
/// A power cut may take the certificate of what the parent anchors.
#[test]
fn a_primary_that_lost_a_checkpoint_anchors_what_its_parent_does() {
    let mut bench = Bench::new(4, 0);
    let first = bench.first();
    let anchor = bench.result(&first).anchor();
    let second = bench.block_with(Height(2), first.hash(), first.time().plus_millis(1), anchor);
    let tip = bench.tip_at(&second, &[0, 1, 2]);
    assert!(tip.stable.height < anchor.height, "its certificate is gone");
    bench.restart(tip);
    bench.after_millis(bench.parameters.heartbeat_ms + 1_000);
    let actions = bench.step(Event::Tick);
    let built = actions.iter().find_map(|it| match it {
        Action::Build { anchor, .. } => Some(*anchor),
        _ => None,
    });
    assert_eq!(built, Some(anchor));
}

#[test]
fn whoever_leaves_out_the_anchors_certificate_is_blamed_for_it_and_not_the_primary() {
    let mut bench = Bench::new(4, 1);
    let first = bench.first();
    bench.step(bench.certified(std::slice::from_ref(&first), &[0, 2, 3]));
    bench.executed(&first);
    let anchor = bench.result(&first).anchor();
    let block = bench.block_with(Height(2), first.hash(), START.plus_millis(2), anchor);
    let bare = bench.pre_prepare(&block);
    let actions = bench.receive(3, bare);
    assert!(matches!(&actions[..], [Action::Reject { from, why: Rejection::BadAnchor(_) }] if from.0 == 3));
}

#[test]
fn anchor_never_goes_back() {
    let mut bench = Bench::new(4, 1);
    let first = bench.first();
    bench.step(bench.certified(std::slice::from_ref(&first), &[0, 2, 3]));
    bench.executed(&first);
    let anchor = bench.result(&first).anchor();
    let second = bench.block_with(Height(2), first.hash(), START.plus_millis(2), anchor);
    bench.step(bench.certified(std::slice::from_ref(&second), &[0, 2, 3]));
    let third = bench.child(&second); // anchored at the genesis
    let message = bench.pre_prepare(&third);
    assert!(matches!(rejection(&bench.receive(0, message)), Rejection::BadAnchor(_)));
}

#[test]
fn primary_builds_when_the_oldest_waited_its_batch_delay() {
    let mut bench = Bench::new(4, 0);
    assert!(bench.backlog(1).is_empty());
    let delay = u64::from(bench.parameters.batch_delay_ms);
    let due = bench.now.mono.plus_millis(delay);
    assert_eq!(bench.engine.deadline(), Some(due));
    bench.after_millis(delay);
    let actions = bench.step(Event::Tick);
    let [Action::Build { height, parent, anchor, time }] = &actions[..] else {
        panic!("one block is asked for, not {actions:?}")
    };
    assert_eq!((*height, *parent, anchor.height), (Height(1), bench.scope.chain, Height(0)));
    assert_eq!(*time, UnixMillis(START.0 + delay));
    bench.after_millis(delay);
    assert!(bench.step(Event::Tick).is_empty(), "one at a time");
}

#[test]
fn primary_builds_at_once_when_what_waits_fills_a_block() {
    let mut bench = Bench::new(4, 0);
    let count = u64::from(bench.parameters.block_transactions_max);
    assert!(bench.backlog(count - 1).is_empty());
    assert!(matches!(bench.backlog(count)[..], [Action::Build { .. }]));
}

#[test]
fn a_clock_that_is_behind_gives_the_parents_time_and_one() {
    let mut bench = Bench::new(4, 0);
    bench.now.wall = UnixMillis(START.0 - 1_000);
    bench.backlog(1);
    bench.after_millis(100);
    let actions = bench.step(Event::Tick);
    let [Action::Build { time, .. }] = &actions[..] else { panic!("a block is asked for: {actions:?}") };
    assert_eq!(*time, START.plus_millis(1));
}

#[test]
fn primary_proposes_what_was_built_with_its_own_prepare() {
    let mut bench = Bench::new(4, 0);
    bench.backlog(u64::MAX / 400);
    let mut block = bench.first();
    // A block with a transaction in it: an empty one would only be proposed when due.
    let header = block.header().clone();
    let key = quorate_crypto::SecretKey::from_seed([9; 32]);
    let payload = quorate_ledger::Payload {
        version: 1,
        chain: bench.scope.chain,
        sender: quorate_ledger::Account(key.public()),
        nonce: 1,
        expires_at: START.plus_millis(1_000),
        fee: 0,
        operations: vec![quorate_ledger::Operation::Delete { key: b"k".to_vec() }],
    };
    let transaction = Arc::new(quorate_ledger::Transaction::sign(payload, &key));
    let root = Block::transactions_root(&[transaction.hash()]);
    let header = quorate_ledger::Header { transactions_root: root, ..header };
    block = Arc::new(Block::new(header, vec![transaction]));
    let actions = bench.step(Event::Built { block: Arc::clone(&block) });
    assert_eq!(sent(&actions), vec![(To::All, bench.pre_prepare(&block))]);
    assert_eq!(bench.log.records.len(), 2, "acceptance and PREPARE are on disk");
    assert!(bench.step(Event::Built { block }).is_empty(), "nobody asked for it again");
}

#[test]
fn idle_chain_makes_no_blocks_until_the_heartbeat() {
    let mut bench = Bench::new(4, 0);
    let beat = bench.parameters.heartbeat_ms;
    bench.after_millis(beat - 1);
    assert!(!bench.step(Event::Tick).iter().any(|it| matches!(it, Action::Build { .. })));
    bench.after_millis(1);
    let actions = bench.step(Event::Tick);
    assert!(actions.iter().any(|it| matches!(it, Action::Build { .. })), "{actions:?}");
    let block = bench.block(Height(1), bench.scope.chain, bench.now.wall);
    let actions = bench.step(Event::Built { block: Arc::clone(&block) });
    assert_eq!(sent(&actions), vec![(To::All, bench.pre_prepare(&block))], "a due block may be empty");
}

#[test]
fn an_empty_block_that_is_not_due_is_not_proposed() {
    let mut bench = Bench::new(4, 0);
    bench.backlog(10_000);
    let block = bench.first();
    assert!(bench.step(Event::Built { block }).is_empty());
    assert!(bench.log.records.is_empty());
}

#[test]
fn heartbeat_of_zero_means_never() {
    let mut bench = Bench::with(4, 0, Parameters { heartbeat_ms: 0, ..Parameters::default() });
    bench.after_millis(1_000_000_000);
    assert!(!bench.step(Event::Tick).iter().any(|it| matches!(it, Action::Build { .. })));
}

#[test]
fn backups_do_not_build() {
    let mut bench = Bench::new(4, 1);
    bench.backlog(10_000);
    bench.after_millis(1_000_000);
    assert!(!bench.step(Event::Tick).iter().any(|it| matches!(it, Action::Build { .. })));
}

#[test]
fn a_single_validator_decides_alone() {
    let mut bench = Bench::new(1, 0);
    bench.after_millis(bench.parameters.heartbeat_ms);
    bench.step(Event::Tick);
    let block = bench.block(Height(1), bench.scope.chain, bench.now.wall);
    let actions = bench.step(Event::Built { block: Arc::clone(&block) });
    assert_eq!(delivered(&actions), vec![(1, true)]);
    let actions = bench.executed(&block);
    assert!(actions.iter().any(|it| matches!(it, Action::Stable { .. })));
}
