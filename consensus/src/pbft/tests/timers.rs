//! `docs/pbft.md` §5, row by row: when each timer starts, starts again, stands still and runs out.
//!
//! Times are exact: nothing happens a millisecond before, and the replica wants to be woken when it is time.

use std::sync::Arc;

use quorate_crypto::SecretKey;
use quorate_ledger::{
    Account, Block, ExecutionOutcome, Header, Height, Operation, Parameters, Payload, Transaction,
    UnixMillis, View,
};

use super::{
    bench::{Bench, START, delivered, genesis_tip, sent},
    cluster::quiet,
};
use crate::{
    engine::{Action, Backlog, Engine, Event, To},
    evidence::VoteKind,
    pbft::{
        Message,
        message::{NewView, PrePrepare, Proof, StatusReport, ViewChange},
    },
};

/// Long enough for every timer at its longest.
const LONG_MS: u64 = 3_600_000;

/// No timer but those of the table's first two rows.
fn calm() -> Parameters {
    Parameters { inclusion_timeout_ms: LONG_MS, ..quiet() }
}

fn view(bench: &Bench) -> u64 {
    bench.engine.status().view.0
}

/// Nothing happens for a millisecond less than that, and then the replica asks for the next view, by that rule.
fn asks_after(bench: &mut Bench, millis: u64, rule: &str) {
    let before = view(bench);
    bench.after_millis(millis - 1);
    bench.step(Event::Tick);
    assert_eq!(view(bench), before, "not a millisecond before {millis}");
    bench.after_millis(1);
    assert!(bench.engine.deadline().is_some_and(|it| it <= bench.now.mono), "it wants to be woken");
    let actions = bench.step(Event::Tick);
    assert_eq!(view(bench), before + 1, "after {millis} ms");
    let left =
        actions.iter().find_map(|it| if let Action::Leave { rule, .. } = it { Some(*rule) } else { None });
    assert_eq!(left, Some(rule));
}

/// For that long it stays in its view.
fn stays(bench: &mut Bench, millis: u64) {
    let before = view(bench);
    bench.after_millis(millis);
    bench.step(Event::Tick);
    assert_eq!(view(bench), before);
}

fn eligible(bench: &mut Bench) {
    let since = Some(bench.now.mono);
    bench.step(Event::Backlog(Backlog { bytes: 1, count: 1, oldest: since, eligible: since }));
}

fn certify(bench: &mut Bench, block: &Arc<Block>) {
    let actions = bench.step(bench.certified(std::slice::from_ref(block), &[0, 1, 3]));
    assert_eq!(delivered(&actions).len(), 1);
}

/// Signers ask for a view, so that it may be waited for.
fn ask(bench: &mut Bench, signers: &[usize], view: u64) {
    for signer in signers {
        let change = bench.change(*signer, view, Vec::new());
        bench.receive(*signer, Message::ViewChange(Box::new(change)));
    }
}

/// Three replicas ask for a view or the one after it, so that it may be waited for and nobody can start it.
fn ask_apart(bench: &mut Bench, view: u64) {
    ask(bench, &[1], view + 1);
    ask(bench, &[0], view);
}

/// The view starts, with nothing proposed again.
fn start_view(bench: &mut Bench, view: u64) {
    let others = (0..4).filter(|it| *it != bench.me.as_usize());
    let changes: Vec<ViewChange> = others.map(|it| bench.change(it, view, Vec::new())).collect();
    let new_view: NewView = bench.new_view(view, changes, Vec::new());
    let from = new_view.signer.as_usize();
    bench.receive(from, Message::NewView(Box::new(new_view)));
    assert_eq!(bench.engine.status().view, View(view));
}

/// A block of view 0's primary with one transaction.
fn with_transaction(
    bench: &Bench,
    height: Height,
    parent: quorate_crypto::Hash,
    time: UnixMillis,
) -> Arc<Block> {
    let key = SecretKey::from_seed([9; 32]);
    let payload = Payload {
        version: 1,
        chain: bench.scope.chain,
        sender: Account(key.public()),
        nonce: height.0,
        expires_at: time.plus_millis(1_000),
        fee: 0,
        operations: vec![Operation::Delete { key: b"k".to_vec() }],
    };
    let transaction = Arc::new(Transaction::sign(payload, &key));
    let transactions_root = Block::transactions_root(&[transaction.hash()]);
    let header = Header { transactions_root, ..bench.block(height, parent, time).header().clone() };
    Arc::new(Block::new(header, vec![transaction]))
}

// > proposal | work waits (an eligible transaction, a due block) and the window has room; again from each accepted
// > proposal | asks for the next view

#[test]
fn the_proposal_timer_starts_with_eligible_work() {
    let mut bench = Bench::with(4, 2, calm());
    stays(&mut bench, 300);
    eligible(&mut bench);
    let base = bench.parameters.base_timeout_ms;
    asks_after(&mut bench, base, "proposal");
}

#[test]
fn a_due_time_that_has_passed_wakes_nobody_again() {
    let slow = Parameters { base_timeout_ms: 60_000, timeout_cap_ms: 60_000, ..calm() };
    let late_ms = slow.max_clock_drift_ms + 1_000;
    let mut bench = Bench::with(4, 2, Parameters { heartbeat_ms: 1_000, ..slow });
    bench.step(Event::Tick);
    eligible(&mut bench);
    bench.after_millis(late_ms + 1);
    bench.step(Event::Tick);
    assert!(bench.engine.deadline().is_some_and(|it| it > bench.now.mono));
}

#[test]
fn the_proposal_timer_starts_again_with_each_accepted_proposal() {
    let mut bench = Bench::with(4, 2, calm());
    eligible(&mut bench);
    let block = bench.first();
    stays(&mut bench, 400);
    bench.propose(&block);
    stays(&mut bench, 50);
    certify(&mut bench, &block); // what is in flight has its own timer
    asks_after(&mut bench, 450, "proposal");
}

#[test]
fn the_proposal_timer_does_not_start_again_for_what_is_only_announced() {
    let mut bench = Bench::with(4, 2, calm());
    eligible(&mut bench);
    stays(&mut bench, 400);
    let message = bench.pre_prepare(&bench.first());
    bench.receive(0, message); // its bodies are withheld
    asks_after(&mut bench, 100, "proposal");
}

#[test]
fn the_proposal_timer_stands_still_without_room_in_the_window() {
    let mut bench = Bench::with(4, 2, Parameters { window: 1, ..calm() });
    let block = bench.first();
    certify(&mut bench, &block);
    eligible(&mut bench);
    stays(&mut bench, 5_000); // height 1 is not executed, so height 2 is outside the window
    bench.executed(&block);
    asks_after(&mut bench, 500, "proposal");
}

#[test]
fn the_proposal_timer_stops_when_nothing_waits_any_more() {
    let mut bench = Bench::with(4, 2, calm());
    eligible(&mut bench);
    stays(&mut bench, 400);
    bench.backlog(0);
    stays(&mut bench, LONG_MS);
    eligible(&mut bench);
    asks_after(&mut bench, 500, "proposal");
}

#[test]
fn a_primary_does_not_suspect_itself_of_proposing_nothing() {
    let mut bench = Bench::with(4, 0, Parameters { inclusion_timeout_ms: 10, ..quiet() });
    eligible(&mut bench);
    let first = bench.step(Event::Tick);
    assert!(!first.iter().any(|it| matches!(it, Action::Build { .. })), "it waits its batch delay");
    stays(&mut bench, LONG_MS);
}

/// > A due block counts as work […] once this clock is `max_clock_drift` past the due time
#[test]
fn a_heartbeat_counts_as_work_when_every_clock_must_have_seen_it() {
    let parameters = Parameters { heartbeat_ms: 1_000, max_clock_drift_ms: 5_000, ..calm() };
    let mut bench = Bench::with(4, 2, parameters);
    stays(&mut bench, 5_999);
    assert_eq!(bench.engine.deadline(), Some(bench.now.mono.plus_millis(1)), "it wants to be woken");
    stays(&mut bench, 1);
    asks_after(&mut bench, 500, "proposal");
}

/// > A due block counts as work at once when the epoch ends
#[test]
fn the_end_of_an_epoch_counts_as_work_at_once_and_nothing_does_above_it() {
    let mut bench = Bench::with(4, 2, calm());
    let blocks = bench.chain(3);
    let ends = |bench: &Bench, block: &Block| {
        let epoch_ends = Some(Height(3));
        Event::Executed {
            outcome: ExecutionOutcome { checkpoint: bench.result(block), due: None, epoch_ends },
        }
    };
    certify(&mut bench, &blocks[0]);
    bench.step(ends(&bench, &blocks[0]));
    stays(&mut bench, 499);
    for block in &blocks[1..] {
        certify(&mut bench, block);
        bench.step(ends(&bench, block));
    }
    stays(&mut bench, LONG_MS); // the last height is there
    eligible(&mut bench);
    stays(&mut bench, LONG_MS - 1); // also what waits does not count: there is no room
    let mut bench = Bench::with(4, 2, calm());
    certify(&mut bench, &blocks[0]);
    bench.step(ends(&bench, &blocks[0]));
    asks_after(&mut bench, 500, "proposal");
}

/// > (a) to bring an ending epoch to its last height
#[test]
fn a_primary_fills_an_ending_epoch_with_empty_blocks_and_stops_at_its_end() {
    let mut bench = Bench::with(4, 0, calm());
    let first = bench.first();
    bench.after_millis(10);
    certify(&mut bench, &first);
    let checkpoint = bench.result(&first);
    let outcome = ExecutionOutcome { checkpoint, due: None, epoch_ends: Some(Height(3)) };
    let mut actions = bench.step(Event::Executed { outcome });
    let mut parent = first;
    for height in [2, 3] {
        let built = actions.iter().any(|it| matches!(it, Action::Build { height: at, .. } if at.0 == height));
        assert!(built, "height {height} is asked for: {actions:?}");
        parent = bench.child(&parent);
        actions = bench.step(Event::Built { block: Arc::clone(&parent) });
        assert!(sent(&actions).contains(&(To::All, bench.pre_prepare(&parent))));
    }
    assert!(!actions.iter().any(|it| matches!(it, Action::Build { .. })), "nothing above the last height");
}

// > progress | a block is in flight, or a certificate known whose block is not; again from each commit and delivery |
// > asks for the next view

#[test]
fn the_progress_timer_starts_again_with_each_commit() {
    let mut bench = Bench::with(4, 2, calm());
    let blocks = bench.chain(2);
    for block in &blocks {
        bench.propose(block);
    }
    stays(&mut bench, 400);
    certify(&mut bench, &blocks[0]);
    asks_after(&mut bench, 500, "progress");
}

#[test]
fn the_progress_timer_stops_at_the_certificate_and_not_after_execution() {
    let mut bench = Bench::with(4, 2, calm());
    let block = bench.first();
    bench.propose(&block);
    stays(&mut bench, 499);
    certify(&mut bench, &block);
    stays(&mut bench, LONG_MS);
}

#[test]
fn a_proposal_whose_bodies_are_missing_is_not_in_flight() {
    let mut bench = Bench::with(4, 2, calm());
    let message = bench.pre_prepare(&bench.first());
    bench.receive(0, message);
    stays(&mut bench, LONG_MS);
}

/// > A replica that knows itself more than a window behind does not count that as the primary's fault.
#[test]
fn a_certificate_whose_block_is_not_here_counts_as_work() {
    let window = u64::from(Parameters::default().window);
    for (height, counts) in [(1, true), (window, true), (window + 1, false)] {
        let mut bench = Bench::with(4, 2, calm());
        let count = usize::try_from(height).expect("a small number");
        let block = bench.chain(count).pop().expect("at least one");
        let certificate = Some(bench.certificate(&block, &[0, 1, 3]));
        let report = StatusReport { certificate, ..bench.empty_status() };
        bench.receive(3, Message::Status(Box::new(report)));
        if counts {
            asks_after(&mut bench, 500, "progress");
        } else {
            stays(&mut bench, LONG_MS);
        }
    }
}

// > inclusion | an eligible transaction waits `inclusion_timeout`; counted anew from each full block and from the view's
// > start | asks for the next view

/// Only the third row.
fn patient() -> Parameters {
    Parameters { base_timeout_ms: LONG_MS, timeout_cap_ms: LONG_MS, ..quiet() }
}

#[test]
fn the_inclusion_timer_counts_from_when_the_oldest_became_eligible() {
    let mut bench = Bench::with(4, 2, patient());
    let since = Some(bench.now.mono);
    bench.after_millis(1_500);
    bench.step(Event::Backlog(Backlog { bytes: 1, count: 1, oldest: since, eligible: since }));
    asks_after(&mut bench, 500, "inclusion");
}

#[test]
fn the_inclusion_timer_counts_anew_from_a_full_block_and_not_from_another() {
    // A block is full by its number, or when the largest transaction would not have fitted any more.
    for (transactions, bytes, wait) in [(1, 1 << 20, 2_000), (2, 1 << 20, 500), (2, 1_024, 2_000)] {
        let parameters = Parameters {
            block_transactions_max: transactions,
            block_bytes_max: bytes,
            transaction_bytes_max: 1_024,
            ..patient()
        };
        let mut bench = Bench::with(4, 2, parameters);
        eligible(&mut bench);
        stays(&mut bench, 1_500);
        let block = with_transaction(&bench, Height(1), bench.scope.chain, START.plus_millis(1));
        certify(&mut bench, &block);
        bench.executed(&block);
        asks_after(&mut bench, wait, "inclusion");
    }
}

#[test]
fn the_inclusion_timer_counts_anew_from_the_views_start() {
    let mut bench = Bench::with(4, 2, patient());
    eligible(&mut bench);
    stays(&mut bench, 1_500);
    start_view(&mut bench, 1);
    asks_after(&mut bench, 2_000, "inclusion");
}

/// > due blocks fill it up, nothing above is proposed, and the pipeline drains there.
#[test]
fn what_waits_for_the_next_epoch_accuses_nobody_in_this_one() {
    for rotation_time_ms in [0, 1_000] {
        let mut bench = Bench::with(4, 2, Parameters { rotation_time_ms, ..patient() });
        let blocks = bench.chain(2);
        certify(&mut bench, &blocks[0]);
        let checkpoint = bench.result(&blocks[0]);
        let outcome = ExecutionOutcome { checkpoint, due: None, epoch_ends: Some(Height(2)) };
        bench.step(Event::Executed { outcome });
        certify(&mut bench, &blocks[1]); // the last one is here, and takes its time to execute
        eligible(&mut bench);
        stays(&mut bench, 10_000);
    }
}

/// > it casts no other vote, takes no proposal and asks for no view
#[test]
fn an_ended_epoch_is_not_rotated() {
    let mut bench = Bench::with(4, 2, Parameters { rotation_blocks: 2, ..calm() });
    let blocks = bench.chain(2);
    for block in &blocks {
        certify(&mut bench, block);
        let checkpoint = bench.result(block);
        let outcome = ExecutionOutcome { checkpoint, due: None, epoch_ends: Some(Height(2)) };
        bench.step(Event::Executed { outcome });
    }
    stays(&mut bench, LONG_MS);
}

// > new view | Q validators, itself included, ask for this view or a higher one, and it has not started | asks for the
// > next view

#[test]
fn the_new_view_timer_starts_with_the_request_that_makes_q() {
    let mut bench = Bench::with(4, 2, calm());
    let block = bench.first();
    bench.propose(&block);
    asks_after(&mut bench, 500, "progress"); // alone
    ask(&mut bench, &[0], 1);
    stays(&mut bench, LONG_MS); // two of four: it repeats and waits
    ask(&mut bench, &[3], 2);
    let base = bench.parameters.base_timeout_ms;
    asks_after(&mut bench, 2 * base, "new_view"); // the first view failed and this one does
}

#[test]
fn the_new_view_timer_stops_when_the_view_starts() {
    let mut bench = Bench::with(4, 2, calm());
    ask(&mut bench, &[0, 1], 1);
    stays(&mut bench, 499);
    start_view(&mut bench, 1);
    stays(&mut bench, LONG_MS);
}

/// > While its view has not started it votes for nothing
#[test]
fn no_timer_that_suspects_runs_in_a_view_that_has_not_started() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    bench.propose(&block);
    asks_after(&mut bench, 500, "progress");
    eligible(&mut bench);
    stays(&mut bench, LONG_MS);
}

/// > Waits are `base_timeout · 2^k` […] at most `timeout_cap`; `k` counts views in a row that had a quorum and committed
/// > nothing
#[test]
fn waits_double_with_each_view_that_fails_up_to_their_cap() {
    let mut bench = Bench::with(4, 2, calm());
    ask_apart(&mut bench, 1);
    for wait in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
        asks_after(&mut bench, wait, "new_view");
        let next = view(&bench);
        ask_apart(&mut bench, next);
    }
}

#[test]
fn a_view_that_starts_and_commits_nothing_counts_as_failed() {
    let mut bench = Bench::with(4, 3, calm());
    for (next, wait) in [(1, 500), (2, 1_000)] {
        eligible(&mut bench);
        asks_after(&mut bench, wait, "proposal");
        start_view(&mut bench, next);
    }
    eligible(&mut bench);
    asks_after(&mut bench, 2_000, "proposal");
}

/// > and `inclusion_timeout · 2^k` for inclusion
#[test]
fn inclusion_waits_longer_in_each_view_that_fails_until_something_commits() {
    let mut bench = Bench::with(4, 3, patient());
    for (next, wait) in [(1, 2_000), (2, 4_000), (4, 8_000)] {
        eligible(&mut bench);
        asks_after(&mut bench, wait, "inclusion");
        start_view(&mut bench, next);
    }
    let block = bench.first();
    certify(&mut bench, &block);
    eligible(&mut bench);
    asks_after(&mut bench, 2_000, "inclusion");
}

/// > and a commit sets it to 0
#[test]
fn a_commit_makes_waits_short_again() {
    let mut bench = Bench::with(4, 2, calm());
    ask_apart(&mut bench, 1);
    for wait in [500, 1_000, 2_000] {
        asks_after(&mut bench, wait, "new_view");
        let next = view(&bench);
        ask_apart(&mut bench, next);
    }
    let block = bench.first();
    certify(&mut bench, &block);
    start_view(&mut bench, 4);
    eligible(&mut bench);
    asks_after(&mut bench, 500, "proposal");
}

/// A start that its primary signed and that holds nothing.
fn false_start(bench: &mut Bench, view: u64) -> Vec<Action<Message>> {
    let new_view = bench.new_view_with(view, &[], Proof::default(), Vec::new());
    let from = new_view.signer.as_usize();
    bench.receive(from, Message::NewView(Box::new(new_view)))
}

/// > `k` counts views in a row that had a quorum and committed nothing
///
/// View 1 is left for its primary's false start, before a quorum has asked for it or after that.
#[test]
fn a_false_start_fails_a_view_that_had_its_quorum() {
    for (asking, wait) in [(&[0, 4][..], 500), (&[0, 2, 4][..], 1_000)] {
        let mut bench = Bench::with(5, 3, calm());
        ask(&mut bench, asking, 1);
        assert_eq!(view(&bench), 1);
        false_start(&mut bench, 1);
        assert_eq!(view(&bench), 2);
        ask(&mut bench, &[0, 2, 4], 2);
        asks_after(&mut bench, wait, "new_view");
    }
}

/// One that waits to hear what it signed stays where it is, and so counts nothing.
#[test]
fn false_starts_do_not_lengthen_the_waits_of_a_replica_that_may_not_sign() {
    let mut bench = Bench::with(4, 2, calm());
    bench.reopen(genesis_tip(&bench.scope));
    start_view(&mut bench, 1);
    for _ in 0..5 {
        false_start(&mut bench, 1);
        assert_eq!(view(&bench), 1);
    }
    bench.hear_holdings();
    eligible(&mut bench);
    asks_after(&mut bench, 500, "proposal");
}

#[test]
fn a_view_that_committed_and_then_stopped_is_no_failure() {
    let mut bench = Bench::with(4, 2, calm());
    let block = bench.first();
    certify(&mut bench, &block);
    eligible(&mut bench);
    asks_after(&mut bench, 500, "proposal");
    ask(&mut bench, &[0, 1], 1);
    asks_after(&mut bench, 500, "new_view"); // and only now one has failed
    ask_apart(&mut bench, 2);
    asks_after(&mut bench, 1_000, "new_view");
}

// > resend: STATUS to everybody; a replica repeats its own request each `resend` until the view has started.

#[test]
fn a_request_is_repeated_each_resend_until_its_view_starts() {
    let mut bench =
        Bench::with(4, 2, Parameters { base_timeout_ms: 60_000, timeout_cap_ms: 60_000, ..calm() });
    ask(&mut bench, &[0, 1], 1);
    let repeats = |bench: &mut Bench| {
        let sent = sent(&bench.step(Event::Tick));
        sent.iter().filter(|(to, it)| *to == To::All && matches!(it, Message::ViewChange(_))).count()
    };
    for _ in 0..3 {
        bench.after_millis(499);
        assert_eq!(repeats(&mut bench), 0);
        bench.after_millis(1);
        assert_eq!(repeats(&mut bench), 1);
    }
    start_view(&mut bench, 1);
    bench.after_millis(500);
    assert_eq!(repeats(&mut bench), 0);
}

// > Planned rotation. A replica in an active view leaves it […] when it has lasted `rotation_time` and there is work; 0
// > means never. A view that has committed nothing is not left by its time

fn rotating() -> Parameters {
    Parameters { rotation_time_ms: 1_000, ..calm() }
}

/// The view commits something within its first half second.
fn serve(bench: &mut Bench) {
    stays(bench, 500);
    let block = bench.first();
    certify(bench, &block);
}

#[test]
fn rotation_time_counts_from_the_views_start_and_only_with_work() {
    let mut bench = Bench::with(4, 2, rotating());
    serve(&mut bench);
    stays(&mut bench, LONG_MS);
    let mut bench = Bench::with(4, 2, rotating());
    start_view(&mut bench, 1);
    serve(&mut bench);
    bench.backlog(1); // not eligible: nobody is suspected
    asks_after(&mut bench, 500, "rotation");
    start_view(&mut bench, 3);
    bench.backlog(1);
    stays(&mut bench, LONG_MS);
    let mut bench = Bench::with(4, 2, Parameters { rotation_time_ms: 0, ..rotating() });
    serve(&mut bench);
    bench.backlog(1);
    stays(&mut bench, LONG_MS);
    let mut bench = Bench::with(1, 0, rotating());
    bench.backlog(1);
    stays(&mut bench, LONG_MS);
}

#[test]
fn a_planned_change_does_not_lengthen_waits() {
    let mut bench = Bench::with(4, 3, rotating());
    start_view(&mut bench, 1);
    serve(&mut bench);
    bench.backlog(1);
    asks_after(&mut bench, 500, "rotation");
    ask_apart(&mut bench, 2);
    asks_after(&mut bench, 500, "new_view");
}

/// > new view | Q validators, itself included, ask for this view or a higher one, and it has not started
#[test]
fn a_view_that_is_moved_to_before_the_last_has_started_has_its_whole_wait() {
    let mut bench = Bench::with(4, 0, calm());
    ask(&mut bench, &[1, 2], 1);
    assert_eq!(view(&bench), 1, "two ask, and then three");
    stays(&mut bench, 400);
    ask(&mut bench, &[1, 2], 2);
    assert_eq!(view(&bench), 2);
    asks_after(&mut bench, 500, "new_view");
}

/// > It asks for the next view whose primary is not *absent*: one of whom no COMMIT was seen, in a certificate or late,
/// > for any of the last 100 committed heights. With fewer seen since the start nobody is absent.
#[test]
fn a_planned_change_passes_over_the_absent() {
    let next = |heights: usize, late: Option<usize>| {
        let parameters = Parameters { rotation_blocks: heights as u64, ..calm() };
        let mut bench = Bench::with(4, 2, parameters);
        let blocks = bench.chain(heights);
        for block in &blocks {
            bench.step(bench.certified(std::slice::from_ref(block), &[0, 2, 3]));
            bench.executed(block);
        }
        if let Some(height) = late {
            let vote = bench.vote(VoteKind::Commit, 1, &blocks[height - 1]);
            bench.receive(1, Message::Commit(vote));
        }
        bench.step(Event::Tick);
        view(&bench)
    };
    assert_eq!(next(99, None), 1, "fewer than 100 heights say nothing");
    assert_eq!(next(100, None), 2, "validator 1 was not seen for 100");
    assert_eq!(next(100, Some(100)), 1, "a late COMMIT shows that it is there");
    assert_eq!(next(100, Some(1)), 1, "for any of them");
}

/// > If there is no such view, as for a validator alone, no change is planned.
#[test]
fn a_validator_alone_plans_no_change() {
    let mut bench = Bench::with(1, 0, Parameters { rotation_blocks: 1, ..rotating() });
    let block = bench.first();
    bench.step(bench.certified(std::slice::from_ref(&block), &[0]));
    bench.executed(&block);
    stays(&mut bench, 0);
    bench.backlog(1);
    stays(&mut bench, LONG_MS);
}

/// > (b) because the executed state names a time at which it wants one, but not within 1 s of the parent's time
#[test]
fn a_block_that_the_state_wants_is_built_at_its_time_and_a_second_after_the_parent() {
    for (due_after_ms, built_after_ms) in [(10, 1_000), (1_000, 1_000), (2_500, 2_500), (9_000, 5_000)] {
        let mut bench = Bench::with(4, 0, Parameters { heartbeat_ms: 5_000, ..calm() });
        let block = bench.first();
        certify(&mut bench, &block);
        let due = Some(block.time().plus_millis(due_after_ms));
        let checkpoint = bench.result(&block);
        bench.step(Event::Executed { outcome: ExecutionOutcome { checkpoint, due, epoch_ends: None } });
        bench.now.wall = block.time();
        let builds =
            |bench: &mut Bench| bench.step(Event::Tick).iter().any(|it| matches!(it, Action::Build { .. }));
        bench.after_millis(built_after_ms - 1);
        assert!(!builds(&mut bench), "due after {due_after_ms} ms");
        bench.after_millis(1);
        assert!(builds(&mut bench), "due after {due_after_ms} ms");
    }
}

/// > Timers are looked at on a tick, behind the messages that are ready
#[test]
fn a_paused_process_hears_the_others_before_it_judges_them() {
    let mut bench = Bench::with(4, 2, calm());
    let block = bench.first();
    bench.propose(&block);
    bench.after_millis(LONG_MS);
    for signer in [0, 1, 3] {
        let vote = bench.commit(signer, &block);
        bench.receive(signer, vote);
    }
    bench.step(Event::Tick);
    assert_eq!(view(&bench), 0);
}

#[test]
fn a_proposal_of_the_view_is_not_that_of_the_next() {
    // A replica that has voted in view 1 does not take the old primary's block for progress.
    let mut bench = Bench::with(4, 2, calm());
    start_view(&mut bench, 1);
    let block = bench.first();
    let prepare = bench.vote(VoteKind::Prepare, 0, &block);
    bench.receive(0, Message::PrePrepare(PrePrepare::of(&block, prepare, None)));
    bench.accept(&block);
    eligible(&mut bench);
    asks_after(&mut bench, 500, "proposal");
}
