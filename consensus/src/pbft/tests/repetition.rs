//! `docs/pbft.md` §5: STATUS and what it brings.

use quorate_ledger::{Height, Parameters, View};

use super::bench::{Bench, delivered, index, sent};
use crate::{
    engine::{Action, Backlog, Engine, Event, To},
    evidence::VoteKind,
    pbft::{
        Message,
        message::{CheckpointReport, HeightReport, StatusReport},
    },
};

fn report_of(actions: &[Action<Message>]) -> StatusReport {
    match &sent(actions)[..] {
        [(To::All, Message::Status(report))] => (**report).clone(),
        other => panic!("one STATUS to all, not {other:?}"),
    }
}

/// > STATUS carries … the highest commit certificate known
#[test]
fn a_status_tells_of_a_certificate_whose_blocks_are_not_here() {
    let mut bench = Bench::new(4, 1);
    let certificate = Some(bench.certificate(&bench.chain(2)[1], &[0, 2, 3]));
    let report = StatusReport { certificate: certificate.clone(), ..bench.empty_status() };
    bench.receive(2, Message::Status(Box::new(report)));
    bench.after_millis(bench.parameters.resend_ms);
    let told = sent(&bench.step(Event::Tick)).into_iter().find_map(|(_, it)| match it {
        Message::Status(report) => Some((report.delivered, report.certificate)),
        _ => None,
    });
    assert_eq!(told, Some((Height(0), certificate)));
}

#[test]
fn status_goes_out_every_resend_and_says_what_is_held() {
    let parameters = Parameters { base_timeout_ms: 5_000, ..Parameters::default() };
    let mut bench = Bench::with(4, 1, parameters);
    let block = bench.first();
    bench.propose(&block);
    assert!(bench.step(Event::Tick).is_empty(), "the first went out at the start");
    bench.after_millis(bench.parameters.resend_ms - 1);
    assert!(bench.step(Event::Tick).is_empty());
    bench.after_millis(1);
    let heights = vec![HeightReport {
        height: Height(1),
        proposal: true,
        prepares: bench.signers(&[0, 1]),
        commits: bench.signers(&[]),
    }];
    let expected = StatusReport { heights, ..bench.empty_status() };
    assert_eq!(report_of(&bench.step(Event::Tick)), expected);
}

#[test]
fn status_brings_the_proposal_and_own_votes_that_its_sender_lacks() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block);
    let vote = bench.prepare(2, &block);
    bench.receive(2, vote);
    let to = To::One(index(3));

    let status = Message::Status(Box::new(bench.empty_status()));
    let expected = vec![
        (to, bench.pre_prepare(&block)),
        (to, Message::Prepare(bench.vote(VoteKind::Prepare, 1, &block))),
        (to, Message::Commit(bench.vote(VoteKind::Commit, 1, &block))),
    ];
    assert_eq!(sent(&bench.receive(3, status)), expected);

    bench.after_millis(bench.parameters.resend_ms / 2);
    let heights = vec![HeightReport {
        height: Height(1),
        proposal: true,
        prepares: bench.signers(&[0, 1, 2, 3]),
        commits: bench.signers(&[0]),
    }];
    let status = Message::Status(Box::new(StatusReport { heights, ..bench.empty_status() }));
    assert_eq!(sent(&bench.receive(3, status)), expected[2..], "only what is missing");
}

#[test]
fn status_brings_own_checkpoints_above_the_senders_stable_one() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.step(bench.certified(std::slice::from_ref(&block), &[0, 2, 3]));
    bench.executed(&block);
    let own = Message::Checkpoint(bench.checkpoint(1, bench.result(&block)));
    let report = StatusReport { delivered: Height(1), ..bench.empty_status() };
    let status = Message::Status(Box::new(report.clone()));
    assert_eq!(sent(&bench.receive(3, status)), vec![(To::One(index(3)), own)]);
    bench.after_millis(bench.parameters.resend_ms / 2);
    let checkpoints = vec![CheckpointReport { height: Height(1), signers: bench.signers(&[1]) }];
    let status = Message::Status(Box::new(StatusReport { checkpoints, ..report }));
    assert!(sent(&bench.receive(3, status)).is_empty());
}

/// > Each validator is sent what it misses twice in `resend` at most
///
/// One that asks in a loop is sent no more than that, and costs the others nothing of theirs. What its STATUS proves is
/// learned each time.
#[test]
fn repetition_is_rationed_and_learning_is_not() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block);
    let status = Message::Status(Box::new(bench.empty_status()));
    let told = |bench: &mut Bench, to: usize| sent(&bench.receive(to, status.clone())).len();
    assert_eq!(told(&mut bench, 3), 2, "proposal and PREPARE");
    assert_eq!(told(&mut bench, 3), 0);
    assert_eq!(told(&mut bench, 2), 2, "each has its own ration");
    bench.after_millis(bench.parameters.resend_ms / 2 - 1);
    assert_eq!(told(&mut bench, 3), 0);
    bench.after_millis(1);
    assert_eq!(told(&mut bench, 3), 2, "twice in the time in which it asks again");
    let certificate = Some(bench.certificate(&block, &[0, 2, 3]));
    let report = StatusReport { certificate, ..bench.empty_status() };
    let actions = bench.receive(3, Message::Status(Box::new(report)));
    assert_eq!(delivered(&actions), vec![(1, true)]);
}

#[test]
fn who_is_behind_is_served_certified_blocks() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    bench.step(bench.certified(&blocks, &[0, 2, 3]));
    let report = StatusReport { delivered: Height(1), ..bench.empty_status() };
    let actions = bench.receive(3, Message::Status(Box::new(report.clone())));
    assert!(matches!(actions[..], [Action::Serve { to, above: Height(1) }] if to == index(3)), "{actions:?}");
    bench.after_millis(bench.parameters.resend_ms / 2);
    let report = StatusReport { delivered: Height(2), ..report };
    assert!(bench.receive(3, Message::Status(Box::new(report))).is_empty());
}

#[test]
fn a_claimed_height_is_not_believed_without_its_certificate() {
    let mut bench = Bench::new(4, 1);
    let report = StatusReport { delivered: Height(1_000), stable: Height(1_000), ..bench.empty_status() };
    assert!(bench.receive(3, Message::Status(Box::new(report))).is_empty());
    let status = bench.engine.status();
    assert_eq!((status.committed, status.stable), (Height(0), Height(0)));
}

#[test]
fn any_claimed_numbers_are_survived() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block);
    for number in [0, 1, 2, u64::MAX - 1, u64::MAX] {
        let heights = vec![HeightReport {
            height: Height(number),
            proposal: false,
            prepares: bench.signers(&[]),
            commits: bench.signers(&[]),
        }];
        let checkpoints = vec![CheckpointReport { height: Height(number), signers: bench.signers(&[]) }];
        for view in [View(0), View(number)] {
            let report = StatusReport {
                view,
                delivered: Height(number),
                stable: Height(number),
                heights: heights.clone(),
                checkpoints: checkpoints.clone(),
                ..bench.empty_status()
            };
            bench.receive(3, Message::Status(Box::new(report)));
        }
    }
    assert_eq!(bench.engine.status().committed, Height(0));
}

#[test]
fn certified_blocks_are_taken_where_they_fit_and_nowhere_else() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(4);
    assert!(bench.step(bench.certified(&blocks[1..3], &[0, 1, 2])).is_empty(), "there is a gap below");
    let actions = bench.step(bench.certified(&blocks[..2], &[0, 1, 2]));
    assert_eq!(delivered(&actions), vec![(1, false), (2, true)]);
    let actions = bench.step(bench.certified(&blocks[..3], &[0, 1, 2]));
    assert_eq!(delivered(&actions), vec![(3, true)], "what is here already is skipped");
    assert!(bench.step(bench.certified(&blocks[..3], &[0, 1, 2])).is_empty());
}

#[test]
fn a_certificate_learned_before_its_block_delivers_it_when_it_comes() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    let certificate = Some(bench.certificate(&blocks[0], &[0, 2, 3]));
    let report = StatusReport { certificate, ..bench.empty_status() };
    bench.receive(2, Message::Status(Box::new(report)));
    let actions = bench.step(bench.certified(&blocks, &[0, 2, 3]));
    assert_eq!(delivered(&actions), vec![(1, true), (2, true)], "the first has its own certificate");
}

/// A due block counts as late once both clocks' worst is over; whoever waits for something else meanwhile is not woken for
/// ever by that.
#[test]
fn no_deadline_stays_in_the_past_while_a_transaction_waits() {
    let mut bench = Bench::new(1, 0);
    let oldest = Some(bench.now.mono);
    bench.step(Event::Backlog(Backlog { bytes: 200, count: 1, oldest, eligible: oldest }));
    bench.after_millis(bench.parameters.heartbeat_ms + bench.parameters.max_clock_drift_ms + 1_000);
    bench.step(Event::Tick);
    let deadline = bench.engine.deadline().expect("STATUS goes out again");
    assert!(deadline > bench.now.mono, "a tick leaves nothing to do now");
}
