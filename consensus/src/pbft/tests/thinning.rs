//! `docs/pbft.md` §3.4: what stays of a height that has been in more views than are kept, and has not committed.

use std::sync::Arc;

use quorate_ledger::{Account, Block, Height};

use super::{
    bench::{Bench, START, genesis_tip},
    cluster::quiet,
};
use crate::{
    engine::{Action, Engine},
    evidence::VoteKind,
    pbft::{
        Message, Record,
        message::{PrePrepare, PreparedCertificate},
    },
};

const OTHERS: [usize; 3] = [0, 1, 3];
/// Views are thinned out from the 17th on; what was wrong with that shows in the next.
const VIEWS: u64 = 20;

/// A view of validator 1, which is never the replica under test.
fn nth(count: u64) -> u64 {
    4 * count - 3
}

/// Replica 2 enters a view, to which validator 0 has reported these certificates and nobody else any.
fn enter(bench: &mut Bench, view: u64, prepared: Vec<PreparedCertificate>) -> Vec<Action<Message>> {
    let blocks = prepared.iter().map(|it| it.payload.block).collect();
    let reports = [prepared, Vec::new(), Vec::new()];
    let changes = OTHERS.into_iter().zip(reports).map(|(it, report)| bench.change(it, view, report));
    let new_view = bench.new_view(view, changes.collect(), blocks);
    bench.receive(new_view.signer.as_usize(), Message::NewView(Box::new(new_view)))
}

fn prepare(bench: &mut Bench, view: u64, signer: usize, block: &Block) {
    let vote = bench.vote_in(view, VoteKind::Prepare, signer, block);
    bench.receive(signer, Message::Prepare(vote));
}

/// What the replica reported when it last asked for a view.
fn reported(bench: &Bench) -> Vec<PreparedCertificate> {
    let mut asked = bench.log.records.iter().rev();
    let last = asked.find_map(|it| if let Record::ViewChanged(it) = it { Some(it) } else { None });
    last.expect("it has asked for a view").proof.prepared.clone()
}

/// > no more than its own votes, the newest PREPARE and COMMIT of each other validator, the bodies of the blocks it accepted and
/// > the prepared certificate of the highest view.
///
/// Without that certificate a block that a quorum has committed would not be reported, and another take its place.
#[test]
fn what_was_prepared_is_reported_however_many_views_with_votes_alone_came_after_it() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    bench.propose(&block);
    for signer in [1, 3] {
        prepare(&mut bench, 0, signer, &block);
    }
    let certificate = bench.prepared(0, &block, &[0, 1, 2]);
    for count in 1..=VIEWS {
        enter(&mut bench, nth(count), Vec::new());
        assert_eq!(reported(&bench), vec![certificate.clone()], "view {}", nth(count));
        prepare(&mut bench, nth(count), 1, &block);
    }
    bench.log.records = bench.engine.records();
    bench.restart(genesis_tip(&bench.scope));
    enter(&mut bench, nth(VIEWS + 1), Vec::new());
    assert_eq!(reported(&bench), vec![certificate], "from a compacted log too");
}

/// > keeps of all but the newest 16 no more than […] the bodies of the blocks it accepted
///
/// Whoever holds Q PREPAREs of an old view counts on f + 1 correct replicas that have the body.
#[test]
fn the_body_of_a_block_that_an_old_view_alone_accepted_stays_in_the_log() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    bench.propose(&block);
    let mut header = bench.block(Height(1), bench.scope.chain, START.plus_millis(9)).header().clone();
    header.proposer = Account(bench.keys[1].public());
    let other = Arc::new(Block::new(header, Vec::new()));
    for count in 1..=VIEWS {
        let view = nth(count);
        enter(&mut bench, view, Vec::new());
        let vote = bench.vote_in(view, VoteKind::Prepare, 1, &other);
        bench.receive(1, Message::PrePrepare(PrePrepare::of(&other, vote, None)));
        bench.accept(&other);
    }
    bench.log.records = bench.engine.records();
    bench.restart(genesis_tip(&bench.scope));
    let held = bench.engine.accepted();
    assert!(held.len() == 2 && held.contains(&block) && held.contains(&other), "{held:?}");
    // It is proposed again, and this replica has it.
    let view = nth(VIEWS + 1);
    let prepared = bench.prepared(0, &block, &OTHERS);
    let actions = enter(&mut bench, view, vec![prepared]);
    assert!(!actions.iter().any(|it| matches!(it, Action::Fetch { .. })), "{actions:?}");
    let vote = Message::Prepare(bench.vote_in(view, VoteKind::Prepare, 2, &block));
    assert!(actions.iter().any(|it| matches!(it, Action::Send { message, .. } if *message == vote)));
}
