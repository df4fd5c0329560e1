//! `docs/pbft.md` §4 and §5: leaving a view and starting the next.

use std::sync::Arc;

use quorate_crypto::Hash;
use quorate_ledger::{Block, Height, Parameters, View};

use super::bench::{Bench, START, delivered, genesis_tip, index, sent};
use crate::{
    engine::{Action, Backlog, Engine, Event, Role, To},
    evidence::{Evidence, VoteKind},
    pbft::{
        Message, Record,
        message::{NewView, PrePrepare, StatusReport, ViewChange},
        reproposal::reproposal,
    },
};

fn changes_of(actions: &[Action<Message>]) -> Vec<ViewChange> {
    let sent = sent(actions).into_iter().filter_map(|(to, message)| match message {
        Message::ViewChange(change) if to == To::All => Some(*change),
        _ => None,
    });
    sent.collect()
}

fn new_views_of(actions: &[Action<Message>]) -> Vec<NewView> {
    let sent = sent(actions).into_iter().filter_map(|(_, message)| match message {
        Message::NewView(it) => Some(*it),
        _ => None,
    });
    sent.collect()
}

fn evidence_of(actions: &[Action<Message>]) -> Vec<Evidence> {
    let found = actions.iter().filter_map(|action| match action {
        Action::Accuse { evidence } => Some((**evidence).clone()),
        _ => None,
    });
    found.collect()
}

fn prepares_of(actions: &[Action<Message>]) -> Vec<(u64, Hash)> {
    let sent = sent(actions).into_iter().filter_map(|(_, message)| match message {
        Message::Prepare(vote) => Some((vote.payload.view.0, vote.payload.block)),
        _ => None,
    });
    sent.collect()
}

fn receive_change(bench: &mut Bench, change: ViewChange) -> Vec<Action<Message>> {
    let from = change.signer.as_usize();
    bench.receive(from, Message::ViewChange(Box::new(change)))
}

fn receive_new_view(bench: &mut Bench, new_view: NewView) -> Vec<Action<Message>> {
    let from = new_view.signer.as_usize();
    bench.receive(from, Message::NewView(Box::new(new_view)))
}

/// Replica 2 of four, that has prepared `block` in view 0.
fn with_prepared() -> (Bench, Arc<Block>) {
    let parameters = Parameters { base_timeout_ms: 5_000, ..Parameters::default() };
    let mut bench = Bench::with(4, 2, parameters);
    let block = bench.first();
    bench.propose(&block);
    let vote = bench.prepare(1, &block);
    bench.receive(1, vote);
    (bench, block)
}

#[test]
fn no_f_requests_move_anybody_and_f_plus_one_do() {
    let mut bench = Bench::new(4, 2);
    let change = bench.change(0, 7, Vec::new());
    assert!(receive_change(&mut bench, change).is_empty());
    let change = bench.change(1, 3, Vec::new());
    let own = changes_of(&receive_change(&mut bench, change));
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].payload.view, View(3), "the second highest of 7 and 3");
    assert_eq!(bench.log.records, vec![Record::ViewChanged(Box::new(own[0].clone()))]);
}

#[test]
fn a_request_carries_what_is_prepared_and_repeats_its_bytes() {
    let (mut bench, block) = with_prepared();
    for signer in [0, 3] {
        let change = bench.change(signer, 1, Vec::new());
        receive_change(&mut bench, change);
    }
    let Some(Record::ViewChanged(own)) = bench.log.records.last().cloned() else { panic!("it is recorded") };
    assert_eq!(own.proof.prepared, vec![bench.prepared(0, &block, &[0, 1, 2])]);
    assert_eq!(own.payload.prepared, vec![bench.payload(&block)]);
    // It learns that the block committed: the request stays what it was.
    bench.step(bench.certified(std::slice::from_ref(&block), &[0, 1, 3]));
    bench.after_millis(bench.parameters.resend_ms);
    assert_eq!(changes_of(&bench.step(Event::Tick)), vec![*own.clone()]);
    let actions = bench.restart(genesis_tip(&bench.scope));
    assert_eq!(changes_of(&actions), vec![*own], "also after a restart");
}

#[test]
fn nothing_is_voted_between_two_views() {
    let mut bench = Bench::new(4, 2);
    for signer in [0, 1] {
        let change = bench.change(signer, 1, Vec::new());
        receive_change(&mut bench, change);
    }
    let block = bench.first();
    assert!(prepares_of(&bench.propose(&block)).is_empty(), "view 0 is left");
    let actions = bench.step(bench.certified(&[block], &[0, 1, 3]));
    assert_eq!(delivered(&actions), vec![(1, true)], "commits are learned all the same");
}

#[test]
fn the_primary_of_the_next_view_starts_it_with_q_requests() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let change = bench.change(2, 1, vec![bench.prepared(0, &block, &[0, 2, 3])]);
    receive_change(&mut bench, change);
    let change = bench.change(3, 1, Vec::new());
    let actions = receive_change(&mut bench, change);
    let started = new_views_of(&actions);
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].payload.blocks, vec![block.hash()]);
    assert!(bench.log.records.contains(&Record::NewView(Box::new(started[0].clone()))));
    let fetch = actions.iter().find_map(|it| match it {
        Action::Fetch { header, from } => Some((header.hash(), *from)),
        _ => None,
    });
    assert_eq!(fetch, Some((block.hash(), index(2))), "its body is asked from a signer of the certificate");
    let actions = bench.step(Event::Fetched { block: Arc::clone(&block) });
    assert_eq!(prepares_of(&actions), vec![(1, block.hash())]);
}

#[test]
fn a_body_is_asked_from_one_holder_after_another_until_it_comes() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let change = bench.change(2, 1, vec![bench.prepared(0, &block, &[0, 2, 3])]);
    receive_change(&mut bench, change);
    let change = bench.change(3, 1, Vec::new());
    let mut asked = Vec::new();
    let mut actions = receive_change(&mut bench, change);
    for _ in 0..4 {
        asked.extend(actions.iter().filter_map(|it| match it {
            Action::Fetch { from, .. } => Some(from.0),
            _ => None,
        }));
        bench.after_millis(bench.parameters.base_timeout_ms / 4);
        assert!(bench.engine.deadline() <= Some(bench.now.mono), "it wants to be woken for that");
        actions = bench.step(Event::Tick);
    }
    assert_eq!(asked, vec![2, 3, 0, 2], "every holder comes before the view's time is over");
}

#[test]
fn new_view_is_entered_recorded_and_its_blocks_voted_for() {
    let (mut bench, block) = with_prepared();
    let changes = vec![
        bench.change(0, 1, vec![bench.prepared(0, &block, &[0, 1, 2])]),
        bench.change(1, 1, Vec::new()),
        bench.change(3, 1, Vec::new()),
    ];
    let new_view = bench.new_view(1, changes, vec![block.hash()]);
    let actions = receive_new_view(&mut bench, new_view.clone());
    assert_eq!(changes_of(&actions).len(), 1, "it asks for the view before it enters");
    assert_eq!(prepares_of(&actions), vec![(1, block.hash())]);
    assert!(bench.log.records.contains(&Record::NewView(Box::new(new_view))));
    assert_eq!(bench.engine.status().view, View(1));
}

#[test]
fn a_new_view_that_proposes_something_else_is_evidence_and_not_entered() {
    let (mut bench, block) = with_prepared();
    let changes = vec![
        bench.change(0, 1, vec![bench.prepared(0, &block, &[0, 1, 2])]),
        bench.change(1, 1, Vec::new()),
        bench.change(3, 1, Vec::new()),
    ];
    let new_view = bench.new_view(1, changes, Vec::new());
    let actions = receive_new_view(&mut bench, new_view.clone());
    let found = evidence_of(&actions);
    assert!(matches!(found[..], [Evidence::FalseNewView { .. }]), "{actions:?}");
    assert!(found[0].holds(&bench.scope.chain, &bench.scope.validators));
    assert!(prepares_of(&actions).is_empty());
    assert_eq!(bench.engine.status().view, View(1), "the requests in it carried the replica there");
    assert!(evidence_of(&receive_new_view(&mut bench, new_view)).is_empty(), "reported once");
    assert_eq!(bench.engine.status().view, View(2), "and left for the next");
}

/// > a contradiction is reported once for each signer and place
#[test]
fn a_second_start_of_a_view_is_reported_once() {
    let (mut bench, _) = with_prepared();
    let start = |bench: &Bench, signers: [usize; 3]| {
        bench.new_view(1, signers.map(|it| bench.change(it, 1, Vec::new())).to_vec(), Vec::new())
    };
    let (first, second) = (start(&bench, [0, 1, 3]), start(&bench, [3, 1, 0]));
    receive_new_view(&mut bench, first);
    let found = evidence_of(&receive_new_view(&mut bench, second.clone()));
    assert!(matches!(found[..], [Evidence::DoubleNewView { .. }]), "{found:?}");
    assert!(evidence_of(&receive_new_view(&mut bench, second)).is_empty());
}

/// > A replica asks for a higher view … when the primary provably sent a false NEW-VIEW
#[test]
fn a_view_whose_primary_began_it_falsely_is_left_at_once() {
    let (mut bench, block) = with_prepared();
    let changes = [0, 1].map(|signer| bench.change(signer, 1, vec![bench.prepared(0, &block, &[0, 1, 2])]));
    for change in changes.clone() {
        receive_change(&mut bench, change);
    }
    assert_eq!(bench.engine.status().view, View(1));
    let changes = [changes.to_vec(), vec![bench.change(3, 1, Vec::new())]].concat();
    let new_view = bench.new_view(1, changes, Vec::new());
    let actions = receive_new_view(&mut bench, new_view);
    assert_eq!(changes_of(&actions).iter().map(|it| it.payload.view.0).collect::<Vec<_>>(), vec![2]);
}

/// > Proposals are kept for this view and the next; votes also of an older view of which some are held already
#[test]
fn votes_of_a_view_that_was_left_still_count_where_some_are_held() {
    let (mut bench, block) = with_prepared();
    let changes = [0, 1, 3].map(|it| bench.change(it, 1, Vec::new()));
    let new_view = bench.new_view(1, changes.to_vec(), Vec::new());
    receive_new_view(&mut bench, new_view);
    assert_eq!(bench.engine.status().view, View(1));
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    let votes = [&block, &other].map(|it| bench.prepare(3, it));
    let found = votes.map(|vote| evidence_of(&bench.receive(3, vote)));
    assert!(matches!(&found.concat()[..], [Evidence::DoubleVote { .. }]), "{found:?}");
}

/// > of the highest view each asks for
#[test]
fn an_earlier_request_that_comes_late_takes_nothing_back() {
    let mut bench = Bench::new(4, 3);
    for (signer, view) in [(0, 5), (0, 2), (2, 5)] {
        let change = bench.change(signer, view, Vec::new());
        receive_change(&mut bench, change);
    }
    assert_eq!(bench.engine.status().view, View(5), "both ask for 5, and two are more than f");
}

/// > bodies that are missing asked from the signers of its certificate …; new blocks follow above.
#[test]
fn a_new_primary_builds_nothing_in_the_place_of_a_block_whose_body_it_lacks() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let prepared = vec![bench.prepared(0, &block, &[0, 2, 3])];
    for (signer, prepared) in [(0, prepared), (2, Vec::new())] {
        let change = bench.change(signer, 1, prepared);
        receive_change(&mut bench, change);
    }
    assert_eq!(bench.engine.status().role, Role::Primary);
    let builds = |actions: &[Action<Message>]| actions.iter().any(|it| matches!(it, Action::Build { .. }));
    assert!(!builds(&bench.backlog(u64::MAX / 400)));
    assert!(builds(&bench.step(Event::Fetched { block })), "it follows above");
}

/// > a view above 0 is active after a restart only if its NEW-VIEW is found
#[test]
fn a_restart_finds_the_last_of_several_requests_and_views() {
    for entered in [false, true] {
        let mut bench = Bench::new(4, 0);
        for view in [1, 2] {
            let changes = [1, 2, 3].map(|it| bench.change(it, view, Vec::new()));
            if entered {
                let new_view = bench.new_view(view, changes.to_vec(), Vec::new());
                receive_new_view(&mut bench, new_view);
            } else {
                let [first, second, _] = changes;
                receive_change(&mut bench, first);
                receive_change(&mut bench, second);
            }
        }
        bench.restart(genesis_tip(&bench.scope));
        bench.after_millis(bench.parameters.resend_ms);
        let sent = sent(&bench.step(Event::Tick));
        let status = sent.iter().find_map(|(_, it)| match it {
            Message::Status(report) => Some((report.view, report.active)),
            _ => None,
        });
        assert_eq!(status, Some((View(2), entered)));
        let repeated = sent.iter().find_map(|(_, it)| match it {
            Message::ViewChange(change) => Some(change.payload.view),
            _ => None,
        });
        assert_eq!(repeated, (!entered).then_some(View(2)));
    }
}

#[test]
fn heights_up_to_the_base_are_closed_in_the_new_view() {
    // The fork that a model found: a liar alone knows the base's certificate, lets NEW-VIEW propose nothing again and
    // proposes a second block below the base.
    let (mut bench, block) = with_prepared();
    let changes = vec![
        bench.change_from(1, 1, bench.base(&block, &[0, 1, 2]), Vec::new()),
        bench.change(0, 1, vec![bench.prepared(0, &block, &[0, 1, 2])]),
        bench.change(3, 1, Vec::new()),
    ];
    let new_view = bench.new_view(1, changes, Vec::new());
    let actions = receive_new_view(&mut bench, new_view);
    assert_eq!(
        delivered(&actions),
        vec![(1, true)],
        "the base's certificate is learned as if it had come alone"
    );
    let mut header = bench.first().header().clone();
    header.proposer = quorate_ledger::Account(bench.keys[1].public());
    let second = Arc::new(Block::new(header, Vec::new()));
    let prepare = bench.vote_in(1, VoteKind::Prepare, 1, &second);
    let message = Message::PrePrepare(PrePrepare::of(&second, prepare, None));
    bench.receive(1, message);
    assert!(prepares_of(&bench.accept(&second)).is_empty());
}

#[test]
fn the_reproposal_takes_the_highest_view_and_stops_where_links_end() {
    let bench = Bench::new(4, 2);
    let blocks = bench.chain(3);
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    let signers = [0, 1, 2];
    let changes = vec![
        bench.change(
            0,
            5,
            vec![bench.prepared(0, &blocks[0], &signers), bench.prepared(2, &blocks[1], &signers)],
        ),
        bench.change(1, 5, vec![bench.prepared(3, &other, &signers)]),
        bench.change(
            2,
            5,
            vec![bench.prepared(0, &blocks[0], &signers), bench.prepared(0, &blocks[2], &signers)],
        ),
    ];
    let start = reproposal(&changes).expect("three requests");
    let chosen: Vec<Hash> = start.blocks.iter().map(|it| it.payload.block).collect();
    assert_eq!(chosen, vec![other.hash()], "view 3 wins at height 1, and nothing above stands on it");
    let start = reproposal(&changes[..1]).expect("one request");
    assert_eq!(start.blocks.len(), 2);
    let start = reproposal(&changes[2..]).expect("one request");
    assert_eq!(start.blocks.len(), 1, "there is a hole at height 2");
    assert_eq!(reproposal(&[]), None);
}

#[test]
fn the_reproposal_starts_from_the_highest_base() {
    let bench = Bench::new(4, 2);
    let blocks = bench.chain(2);
    let signers = [0, 1, 2];
    let changes = vec![
        bench.change(
            0,
            5,
            vec![bench.prepared(0, &blocks[0], &signers), bench.prepared(0, &blocks[1], &signers)],
        ),
        bench.change_from(1, 5, bench.base(&blocks[0], &signers), Vec::new()),
    ];
    let start = reproposal(&changes).expect("two requests");
    assert_eq!(start.base.height, Height(1));
    assert_eq!(start.blocks.len(), 1, "the base itself is not proposed again");
}

#[test]
fn a_block_in_flight_that_does_not_move_costs_the_primary_its_view() {
    let mut bench = Bench::new(4, 2);
    let block = bench.first();
    bench.propose(&block);
    let base = bench.parameters.base_timeout_ms;
    bench.after_millis(base - 1);
    assert!(changes_of(&bench.step(Event::Tick)).is_empty());
    bench.after_millis(1);
    let asked = changes_of(&bench.step(Event::Tick));
    assert_eq!(asked.iter().map(|it| it.payload.view).collect::<Vec<_>>(), vec![View(1)]);
}

#[test]
fn an_idle_replica_suspects_nobody() {
    let mut bench = Bench::with(4, 2, Parameters { heartbeat_ms: 0, ..Parameters::default() });
    for _ in 0..100 {
        bench.after_millis(60_000);
        assert!(changes_of(&bench.step(Event::Tick)).is_empty());
    }
}

#[test]
fn eligible_work_that_is_not_proposed_costs_the_primary_its_view() {
    let mut bench = Bench::new(4, 2);
    let oldest = Some(bench.now.mono);
    bench.step(Event::Backlog(Backlog { bytes: 1, count: 1, oldest, eligible: None }));
    bench.after_millis(bench.parameters.base_timeout_ms);
    assert!(changes_of(&bench.step(Event::Tick)).is_empty(), "the primary was not given it yet");
    let eligible = Some(bench.now.mono);
    bench.step(Event::Backlog(Backlog { bytes: 1, count: 1, oldest, eligible }));
    bench.after_millis(bench.parameters.base_timeout_ms);
    assert_eq!(changes_of(&bench.step(Event::Tick)).len(), 1);
}

#[test]
fn a_transaction_left_out_though_blocks_commit_costs_the_primary_its_view() {
    let mut bench = Bench::new(4, 2);
    let eligible = Some(bench.now.mono);
    bench.step(Event::Backlog(Backlog { bytes: 1, count: 1, oldest: eligible, eligible }));
    let blocks = bench.chain(10);
    let mut asked = Vec::new();
    for block in &blocks {
        bench.now.wall = block.time();
        asked.extend(changes_of(&bench.propose(block)));
        asked.extend(changes_of(&bench.step(bench.certified(std::slice::from_ref(block), &[0, 1, 3]))));
        asked.extend(changes_of(&bench.executed(block)));
        bench.after_millis(bench.parameters.inclusion_timeout_ms / 10);
        asked.extend(changes_of(&bench.step(Event::Tick)));
    }
    assert_eq!(asked.len(), 1, "after the inclusion time-out, whatever else was served");
}

#[test]
fn a_view_that_does_not_start_is_left_only_with_a_quorum_asking() {
    let mut bench = Bench::new(4, 2);
    let wait = bench.parameters.timeout_cap_ms;
    let change = bench.change(0, 1, Vec::new());
    receive_change(&mut bench, change);
    let change = bench.change(1, 5, Vec::new());
    receive_change(&mut bench, change);
    assert_eq!(bench.engine.status().view, View(1));
    // Three replicas ask for view 1 or a later one. Waiting for Q of exactly view 1 would stand still for ever.
    bench.after_millis(wait);
    bench.step(Event::Tick);
    assert_eq!(bench.engine.status().view, View(2));

    let mut alone = Bench::new(7, 2);
    for signer in [0, 1, 3] {
        let change = alone.change(signer, 1, Vec::new());
        receive_change(&mut alone, change);
    }
    alone.after_millis(10 * wait);
    alone.step(Event::Tick);
    assert_eq!(alone.engine.status().view, View(1), "four of seven repeat and wait");
}

#[test]
fn a_replica_behind_is_given_the_new_view_and_one_that_asks_in_vain_repeats() {
    let (mut bench, block) = with_prepared();
    let changes =
        [0, 1, 3].map(|signer| bench.change(signer, 1, vec![bench.prepared(0, &block, &[0, 1, 2])]));
    let new_view = bench.new_view(1, changes.to_vec(), vec![block.hash()]);
    receive_new_view(&mut bench, new_view.clone());
    let status = Message::Status(Box::new(bench.empty_status()));
    let told = new_views_of(&bench.receive(3, status));
    assert_eq!(told, vec![new_view.clone()]);
    bench.after_millis(bench.parameters.resend_ms);
    let report = StatusReport { view: View(1), active: false, ..bench.empty_status() };
    assert_eq!(new_views_of(&bench.receive(3, Message::Status(Box::new(report)))), vec![new_view]);
    bench.after_millis(bench.parameters.resend_ms);
    let report = StatusReport { view: View(1), active: true, ..bench.empty_status() };
    assert!(new_views_of(&bench.receive(3, Message::Status(Box::new(report)))).is_empty());
}

#[test]
fn a_restarted_replica_is_active_only_with_the_new_view_on_disk() {
    let (mut bench, block) = with_prepared();
    let changes =
        [0, 1, 3].map(|signer| bench.change(signer, 1, vec![bench.prepared(0, &block, &[0, 1, 2])]));
    let new_view = bench.new_view(1, changes.to_vec(), vec![block.hash()]);
    receive_new_view(&mut bench, new_view.clone());
    let all = bench.log.records.clone();
    bench.restart(genesis_tip(&bench.scope));
    assert!(bench.engine.status().in_flight.iter().any(|it| it.block == Some(block.hash())));
    assert_eq!(bench.engine.in_flight(), vec![block.hash()]);

    bench.log.records = all.into_iter().filter(|it| !matches!(it, Record::NewView(_))).collect();
    bench.log.records.retain(|it| !matches!(it, Record::Voted { vote, .. } if vote.payload.view == View(1)));
    bench
        .log
        .records
        .retain(|it| !matches!(it, Record::AcceptedAgain { payload, .. } if payload.view == View(1)));
    bench.restart(genesis_tip(&bench.scope));
    assert!(prepares_of(&bench.step(Event::Tick)).is_empty(), "it waits for NEW-VIEW");
    assert_eq!(prepares_of(&receive_new_view(&mut bench, new_view)), vec![(1, block.hash())]);
}

#[test]
fn planned_rotation_after_its_blocks_needs_no_suspicion() {
    let parameters = Parameters { rotation_blocks: 3, ..Parameters::default() };
    let mut bench = Bench::with(4, 2, parameters);
    let blocks = bench.chain(3);
    bench.step(bench.certified(&blocks[..2], &[0, 1, 3]));
    assert!(changes_of(&bench.step(Event::Tick)).is_empty());
    bench.step(bench.certified(&blocks, &[0, 1, 3]));
    let asked = changes_of(&bench.step(Event::Tick));
    assert_eq!(asked.iter().map(|it| it.payload.view).collect::<Vec<_>>(), vec![View(1)]);
}

#[test]
fn two_requests_for_one_view_are_evidence() {
    let mut bench = Bench::new(4, 2);
    let block = bench.first();
    let first = bench.change(0, 1, Vec::new());
    let second = bench.change(0, 1, vec![bench.prepared(0, &block, &[0, 1, 3])]);
    receive_change(&mut bench, first);
    let found = evidence_of(&receive_change(&mut bench, second.clone()));
    assert!(matches!(found[..], [Evidence::DoubleViewChange { .. }]));
    assert!(found[0].holds(&bench.scope.chain, &bench.scope.validators));
    assert!(evidence_of(&receive_change(&mut bench, second)).is_empty(), "reported once");
    let third = bench.change_from(0, 1, bench.base(&block, &[0, 1, 3]), Vec::new());
    assert!(evidence_of(&receive_change(&mut bench, third)).is_empty(), "for each signer and place");
    // Another view is another place.
    let changes = [Vec::new(), vec![bench.prepared(0, &block, &[0, 1, 3])]].map(|it| bench.change(0, 2, it));
    let [first, second] = changes;
    receive_change(&mut bench, first);
    assert_eq!(evidence_of(&receive_change(&mut bench, second)).len(), 1);
}
