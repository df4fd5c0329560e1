//! `docs/pbft.md` §6, bodies: each is in the log once, however many views accept it.

use std::sync::Arc;

use quorate_crypto::encode;
use quorate_ledger::{Block, Height, View};

use super::{
    bench::{Bench, START, genesis_tip, sent},
    cluster::quiet,
};
use crate::{
    engine::{Action, Engine, Event, OpenError},
    evidence::VoteKind,
    pbft::{Message, Pbft, Record},
};

const OTHERS: [usize; 3] = [0, 1, 3];

/// The bench's replica enters a view that proposes again what was prepared in an earlier one.
fn enter(bench: &mut Bench, view: u64, prepared_in: u64, block: &Block) -> Vec<Action<Message>> {
    let prepared = bench.prepared(prepared_in, block, &OTHERS);
    let changes = OTHERS.map(|it| bench.change(it, view, vec![prepared.clone()])).to_vec();
    let new_view = bench.new_view(view, changes, vec![block.hash()]);
    bench.receive(new_view.signer.as_usize(), Message::NewView(Box::new(new_view)))
}

fn prepare(bench: &mut Bench, view: u64, block: &Block) {
    for signer in [1, 3] {
        let vote = bench.vote_in(view, VoteKind::Prepare, signer, block);
        bench.receive(signer, Message::Prepare(vote));
    }
}

/// Replica 2, which has accepted one block in views 0 and 1.
fn accepted_twice() -> (Bench, Arc<Block>) {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    bench.propose(&block);
    prepare(&mut bench, 0, &block);
    enter(&mut bench, 1, 0, &block);
    (bench, block)
}

/// The view and whether the body is in it, of each acceptance.
fn acceptances(records: &[Record]) -> Vec<(u64, bool)> {
    let acceptances = records.iter().filter_map(|it| match it {
        Record::Accepted { view, .. } => Some((view.0, true)),
        Record::AcceptedAgain { payload, .. } => Some((payload.view.0, false)),
        _ => None,
    });
    acceptances.collect()
}

/// > A body is written once
#[test]
fn a_block_that_a_later_view_accepts_again_is_named_and_not_written_again() {
    let (bench, block) = accepted_twice();
    assert_eq!(acceptances(&bench.log.records), [(0, true), (1, false)]);
    let again = Record::AcceptedAgain { payload: bench.payload_in(1, &block), prepare: None, anchor: None };
    assert!(bench.log.records.contains(&again));
    let cast =
        Record::Voted { kind: VoteKind::Prepare, vote: bench.vote_in(1, VoteKind::Prepare, 2, &block) };
    assert_eq!(bench.log.records.last(), Some(&cast), "it is voted for behind that");
}

/// A body may be here without being in the log: then the first acceptance brings it there.
#[test]
fn a_body_that_was_fetched_is_written_when_it_is_accepted() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    let actions = enter(&mut bench, 1, 0, &block);
    assert!(actions.iter().any(|it| matches!(it, Action::Fetch { .. })));
    bench.step(Event::Fetched { block: Arc::clone(&block) });
    assert_eq!(acceptances(&bench.log.records), [(1, true)]);
}

#[test]
fn two_blocks_of_a_height_have_two_bodies() {
    let mut bench = Bench::with(4, 2, quiet());
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(2));
    bench.propose(&other);
    let block = bench.first();
    enter(&mut bench, 1, 0, &block);
    bench.step(Event::Fetched { block: Arc::clone(&block) });
    enter(&mut bench, 5, 1, &block);
    let expected = [(0, true), (1, true), (5, false)];
    assert_eq!(acceptances(&bench.log.records), expected);
    assert_eq!(acceptances(&bench.engine.records()), expected);
}

/// From the log as it was written, and from a compacted one.
#[test]
fn a_restarted_replica_knows_both_acceptances_and_has_the_body() {
    for compacted in [false, true] {
        let (mut bench, block) = accepted_twice();
        let (records, status) = (bench.engine.records(), bench.engine.status());
        assert_eq!(acceptances(&records), [(0, true), (1, false)]);
        if compacted {
            bench.log.records = records.clone();
        }
        let log = bench.log.records.clone();
        let told = sent(&bench.restart(genesis_tip(&bench.scope)));
        let votes = |it: &Message| !matches!(it, Message::Status(_) | Message::Recall(_));
        assert!(!told.iter().any(|(_, it)| votes(it)), "it voted already: {told:?}");
        assert_eq!((bench.engine.records(), &bench.log.records), (records, &log));
        assert_eq!(bench.engine.status().in_flight[0].block, status.in_flight[0].block);
        assert_eq!(bench.engine.accepted(), std::slice::from_ref(&block));
        // It goes on from there.
        prepare(&mut bench, 1, &block);
        enter(&mut bench, 5, 1, &block);
        assert_eq!(acceptances(&bench.log.records), [(0, true), (1, false), (5, false)]);
    }
}

/// One sync may end anywhere: what is left is opened, with the body as soon as it was written.
#[test]
fn a_log_that_ends_behind_any_record_opens() {
    let (bench, block) = accepted_twice();
    let records = &bench.log.records;
    let first = records.iter().position(|it| matches!(it, Record::Accepted { .. })).expect("it was accepted");
    for end in 0..=records.len() {
        let opened = Pbft::open(bench.setup(), genesis_tip(&bench.scope), records[..end].to_vec());
        let held = opened.expect("nothing contradicts").accepted();
        let expected = if end > first { vec![Arc::clone(&block)] } else { Vec::new() };
        assert_eq!(held, expected, "{end} records");
    }
}

/// > a log that names a body which it does not hold before that is refused
#[test]
fn a_log_without_the_body_that_it_names_is_refused() {
    let (bench, block) = accepted_twice();
    let refused = |records: Vec<Record>| {
        let opened = Pbft::open(bench.setup(), genesis_tip(&bench.scope), records);
        matches!(opened, Err(OpenError::Contradiction { height: Height(1), .. }))
    };
    let first = |block| Record::Accepted { block, view: View(0), prepare: None, anchor: None };
    let payload = bench.payload_in(1, &block);
    let again = Record::AcceptedAgain { payload, prepare: None, anchor: None };
    assert!(refused(vec![again.clone()]));
    assert!(refused(vec![again.clone(), first(Arc::clone(&block))]), "the body is behind it");
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(2));
    assert!(refused(vec![first(Arc::clone(&other)), again.clone()]), "another body");
    let elsewhere = quorate_ledger::CommitPayload { height: Height(2), ..payload };
    let elsewhere = Record::AcceptedAgain { payload: elsewhere, prepare: None, anchor: None };
    let opened =
        Pbft::open(bench.setup(), genesis_tip(&bench.scope), vec![first(Arc::clone(&block)), elsewhere]);
    assert!(matches!(opened, Err(OpenError::Contradiction { height: Height(2), .. })), "of another height");
    assert!(!refused(vec![first(Arc::clone(&block)), again.clone()]));
    // And no two blocks are accepted at one place, in whatever words.
    let there = Record::Accepted { block: other, view: View(1), prepare: None, anchor: None };
    assert!(refused(vec![first(block), again, there]));
}

/// What is here of heights that are the ledger's is passed over, the body and what names it.
#[test]
fn acceptances_that_are_the_ledgers_are_passed_over() {
    let (mut bench, block) = accepted_twice();
    bench.restart(bench.tip_at(&block, &OTHERS));
    assert_eq!(acceptances(&bench.engine.records()), []);
}

/// > for each height proposed again, 59 bytes for the acceptance, 124 for each vote, 63 + ⌈n/8⌉ + 64 Q for the certificate […]
/// > Of all views but the newest 16 of a height (§3.4) a compaction keeps the own votes alone: 248 bytes for each view and
/// > height
#[test]
fn what_views_that_commit_nothing_leave_behind_is_small() {
    let (mut bench, block) = accepted_twice();
    let bytes = |records: &[Record]| records.iter().map(|it| encode(it).len()).sum::<usize>();
    // Views of one primary, which is not this replica.
    let mut kept = Vec::new();
    for view in (1..=81).step_by(4) {
        let written = bench.log.records.len();
        prepare(&mut bench, view, &block);
        enter(&mut bench, view + 4, view, &block);
        let of = |record: &Record| match record {
            Record::AcceptedAgain { .. } => Some(59),
            Record::Voted { .. } => Some(124),
            Record::Prepared { .. } => Some(63 + 1 + 64 * 3),
            _ => None,
        };
        let small: Vec<_> =
            bench.log.records[written..].iter().filter_map(|it| Some((encode(it).len(), of(it)?))).collect();
        assert!(small.len() == 4 && small.iter().all(|(is, told)| is == told), "{small:?}");
        kept.push(bytes(&bench.engine.records()));
    }
    let grown: Vec<_> = kept.windows(2).map(|it| it[1] - it[0]).collect();
    assert_eq!(grown[grown.len() - 3..], [248; 3], "{grown:?}");
}
