//! Every window and limit of `docs/pbft.md` §3, §4.2 and §5, at its edge and one past it; what is not here is beside the
//! rule it belongs to: W, 2W and L in `proposals`, L for CHECKPOINTs in `checkpoints`, heights of a STATUS in
//! `verification`, the hundred heights of rotation in `timers`.

use std::sync::Arc;

use quorate_crypto::{Domain, Hash};
use quorate_ledger::{
    Account, Block, CommitCertificate, CommitPayload, Epoch, ExecutionOutcome, Height, Parameters, View,
};

use super::{
    bench::{Bench, START, delivered, genesis_tip, index, sent},
    cluster::quiet,
};
use crate::{
    engine::{Action, Engine, Event, Horizon},
    evidence::VoteKind,
    pbft::{
        Message, Pbft, Record,
        message::{
            Base, NewView, PrePrepare, PreparedCertificate, Proof, Recall, Statement, StatusReport,
            ViewChange,
        },
    },
    rejection::Rejection,
};

const SIGNERS: [usize; 3] = [0, 1, 3];

fn taken(bench: &Bench, message: Message) -> Result<(), Rejection> {
    let verified = Pbft::verify(&bench.scope, Horizon::default(), message)?;
    verified.fault().cloned().map_or(Ok(()), Err)
}

fn change_taken(bench: &Bench, change: ViewChange) -> bool {
    match taken(bench, Message::ViewChange(Box::new(change))) {
        Ok(()) => true,
        Err(Rejection::Malformed(_) | Rejection::BadCertificate { .. } | Rejection::WrongEpoch { .. }) => {
            false
        }
        Err(other) => panic!("refused for another reason: {other:?}"),
    }
}

fn genesis_base(bench: &Bench) -> Base {
    Base { height: Height(0), block: bench.scope.chain, certificate: None }
}

fn all_prepared(bench: &Bench, blocks: &[Arc<Block>]) -> Vec<PreparedCertificate> {
    blocks.iter().map(|it| bench.prepared(0, it, &SIGNERS)).collect()
}

fn certificate_in(bench: &Bench, view: u64, block: &Block, signers: &[usize]) -> CommitCertificate {
    let payload = bench.payload_in(view, block);
    CommitCertificate { payload, signatures: bench.signatures(Domain::Commit, &payload, signers) }
}

fn votes(actions: &[Action<Message>], kind: VoteKind) -> Vec<(u64, u64, Hash)> {
    let sent = sent(actions).into_iter().filter_map(|(_, message)| match (kind, message) {
        (VoteKind::Prepare, Message::Prepare(vote)) | (VoteKind::Commit, Message::Commit(vote)) => {
            Some((vote.payload.view.0, vote.payload.height.0, vote.payload.block))
        }
        _ => None,
    });
    sent.collect()
}

fn enter(bench: &mut Bench, new_view: NewView) -> Vec<Action<Message>> {
    let from = new_view.signer.as_usize();
    bench.receive(from, Message::NewView(Box::new(new_view)))
}

/// A block that the primary of a view proposes first.
fn fresh(bench: &Bench, proposer: usize, height: u64, parent: Hash) -> Arc<Block> {
    let block = bench.block(Height(height), parent, START.plus_millis(100 + height));
    let mut header = block.header().clone();
    header.proposer = Account(bench.keys[proposer].public());
    Arc::new(Block::new(header, Vec::new()))
}

fn propose_in(bench: &mut Bench, view: u64, block: &Arc<Block>) -> Vec<Action<Message>> {
    let primary = usize::try_from(view).expect("a small view") % bench.keys.len();
    let prepare = bench.vote_in(view, VoteKind::Prepare, primary, block);
    bench.receive(primary, Message::PrePrepare(PrePrepare::of(block, prepare, None)));
    bench.accept(block)
}

/// A replica that is asked to prepare in view 1, with these blocks proposed again on the genesis.
fn in_view_one(parameters: Parameters, prepared: &[Arc<Block>]) -> Bench {
    let mut bench = Bench::with(4, 2, parameters);
    let certificates = prepared.iter().map(|it| bench.prepared(0, it, &SIGNERS)).collect();
    let changes = vec![
        bench.change(0, 1, certificates),
        bench.change(1, 1, Vec::new()),
        bench.change(3, 1, Vec::new()),
    ];
    let new_view = bench.new_view(1, changes, prepared.iter().map(|it| it.hash()).collect());
    enter(&mut bench, new_view);
    bench
}

// §4.2: > A VIEW-CHANGE is valid if its signature holds and certificates that hold prove all that it claims, and nothing
// > else (only the block the epoch starts from needs none as a base), its heights rise above the base and are at most `2W`,
// > its certificates are of views below the one asked for, and headers match hashes.

#[test]
fn a_request_reports_at_most_two_windows() {
    let bench = Bench::with(4, 2, Parameters { window: 2, ..quiet() });
    let blocks = bench.chain(5);
    for (count, fits) in [(4, true), (5, false)] {
        let change = bench.change(0, 1, all_prepared(&bench, &blocks[..count]));
        assert_eq!(change_taken(&bench, change), fits, "{count} heights");
    }
}

#[test]
fn a_requests_heights_rise_above_its_base() {
    let bench = Bench::new(4, 2);
    let blocks = bench.chain(3);
    let base = bench.base(&blocks[0], &SIGNERS);
    let with = |base: &Base, blocks: &[Arc<Block>]| {
        change_taken(&bench, bench.change_from(0, 1, base.clone(), all_prepared(&bench, blocks)))
    };
    assert!(with(&base, &blocks[1..2]), "one above");
    assert!(!with(&base, &blocks[..1]), "at it");
    let genesis = genesis_base(&bench);
    assert!(with(&genesis, &[Arc::clone(&blocks[0]), Arc::clone(&blocks[2])]), "gaps are allowed");
    assert!(!with(&genesis, &[Arc::clone(&blocks[0]), Arc::clone(&blocks[0])]), "twice");
    assert!(!with(&genesis, &[Arc::clone(&blocks[1]), Arc::clone(&blocks[0])]), "falling");
}

#[test]
fn a_request_reports_certificates_of_earlier_views_only() {
    let bench = Bench::new(4, 2);
    let block = bench.first();
    for (view, fits) in [(4, true), (5, false), (6, false)] {
        let change = bench.change(0, 5, vec![bench.prepared(view, &block, &SIGNERS)]);
        assert_eq!(change_taken(&bench, change), fits, "a certificate of view {view} to ask for view 5");
    }
}

#[test]
fn a_base_needs_its_certificate_unless_the_epoch_starts_there() {
    let bench = Bench::new(4, 2);
    let blocks = bench.chain(2);
    let with = |base: Base| change_taken(&bench, bench.change_from(0, 3, base, Vec::new()));
    assert!(with(genesis_base(&bench)));
    assert!(!with(Base { block: blocks[0].hash(), ..genesis_base(&bench) }), "another hash there");
    assert!(!with(Base { height: Height(1), ..genesis_base(&bench) }), "another height");
    assert!(!with(Base { certificate: None, ..bench.base(&blocks[0], &SIGNERS) }));
    assert!(!with(bench.base(&blocks[0], &SIGNERS[..2])), "one signature short");
    let twin = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    for other in [&blocks[1], &twin] {
        let certificate = bench.base(other, &SIGNERS).certificate;
        assert!(!with(Base { certificate, ..bench.base(&blocks[0], &SIGNERS) }), "another block's");
    }
    for view in [0, 3, 1_000] {
        let certificate = Some(certificate_in(&bench, view, &blocks[0], &SIGNERS));
        assert!(with(Base { certificate, ..bench.base(&blocks[0], &SIGNERS) }), "of any view, also {view}");
    }
}

#[test]
fn a_requests_certificates_hold_and_match_their_headers() {
    let bench = Bench::new(4, 2);
    let blocks = bench.chain(2);
    let with = |certificate: PreparedCertificate| change_taken(&bench, bench.change(0, 1, vec![certificate]));
    let good = bench.prepared(0, &blocks[0], &SIGNERS);
    assert!(with(good.clone()));
    assert!(!with(bench.prepared(0, &blocks[0], &SIGNERS[..2])), "one signature short");
    let twin = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    for other in [&blocks[1], &twin] {
        assert!(!with(PreparedCertificate { header: other.header().clone(), ..good.clone() }));
    }
    let commits = certificate_in(&bench, 0, &blocks[0], &SIGNERS).signatures;
    assert!(!with(PreparedCertificate { signatures: commits, ..good.clone() }), "COMMITs prepare nothing");
    let payload = CommitPayload { epoch: Epoch(1), ..good.payload };
    let signatures = bench.signatures(Domain::Prepare, &payload, &SIGNERS);
    assert!(!with(PreparedCertificate { payload, signatures, ..good }), "of another epoch");
}

#[test]
fn a_requests_signature_is_over_all_it_says() {
    let bench = Bench::new(4, 2);
    let block = bench.first();
    let good = bench.change(0, 1, vec![bench.prepared(0, &block, &SIGNERS)]);
    let refused = |change: ViewChange| bench.refused(Message::ViewChange(Box::new(change)));
    let mut partial = good.clone();
    partial.payload.prepared.clear();
    assert_eq!(refused(partial), Rejection::BadSignature(index(0)), "a certificate left out on the way");
    let mut other = good.clone();
    other.payload.view = View(2);
    assert_eq!(refused(other), Rejection::BadSignature(index(0)));
    let mut other = good;
    other.signer = index(3);
    assert_eq!(refused(other), Rejection::BadSignature(index(3)));
}

#[test]
fn requests_below_ones_own_view_are_not_looked_at() {
    let bench = Bench::new(4, 2);
    for (view, fits) in [(4, false), (5, true)] {
        let change = Message::ViewChange(Box::new(bench.change(0, view, Vec::new())));
        let horizon = Horizon { view: View(5), ..Horizon::default() };
        assert_eq!(Pbft::verify(&bench.scope, horizon, change).is_ok(), fits);
    }
}

/// > The new primary takes Q valid VIEW-CHANGEs.
#[test]
fn a_new_view_rests_on_exactly_q_requests_of_different_signers_for_its_view() {
    for n in [4, 5, 6, 7] {
        let bench = Bench::new(n, 2);
        let q = bench.scope.quorum().q();
        let changes: Vec<ViewChange> = (0..n).map(|it| bench.change(it, 1, Vec::new())).collect();
        let taken = |changes: Vec<ViewChange>| {
            taken(&bench, Message::NewView(Box::new(bench.new_view(1, changes, Vec::new())))).is_ok()
        };
        assert!(taken(changes[..q].to_vec()));
        assert!(!taken(changes[..q - 1].to_vec()), "n = {n}: one short");
        assert!(!taken(changes[..=q.min(n - 1)].to_vec()) || q == n, "n = {n}: one too many");
        let twice = [&changes[..q - 1], &changes[..1]].concat();
        assert!(!taken(twice), "n = {n}: one signer twice");
        for view in [0, 2] {
            let mut other = changes[..q].to_vec();
            other[0] = bench.change(0, view, Vec::new());
            assert!(!taken(other), "n = {n}: one for view {view}");
        }
    }
}

/// > NEW-VIEW holds the claims of its VIEW-CHANGEs, and of their certificates exactly those that the choice looks at
#[test]
fn a_new_view_proves_exactly_what_its_blocks_follow_from() {
    let bench = Bench::new(4, 2);
    let blocks = bench.chain(4);
    let other = bench.block(Height(3), blocks[0].hash(), START.plus_millis(99));
    let base = bench.base(&blocks[0], &SIGNERS);
    let low = vec![bench.prepared(0, &blocks[1], &SIGNERS), bench.prepared(0, &blocks[2], &SIGNERS)];
    let high = vec![bench.prepared(1, &blocks[1], &SIGNERS), bench.prepared(2, &other, &SIGNERS)];
    let changes = [
        bench.change_from(0, 5, base.clone(), low.clone()),
        bench.change(1, 5, vec![bench.prepared(0, &blocks[0], &SIGNERS)]),
        bench.change_from(3, 5, base.clone(), high.clone()),
    ];
    let with = |proof: Proof| {
        let new_view = bench.new_view_with(5, &changes, proof, vec![blocks[1].hash()]);
        taken(&bench, Message::NewView(Box::new(new_view)))
    };
    // The base, what stands on it, and what shows that nothing more does: each of the highest view.
    let proof = Proof { base: base.certificate.clone(), prepared: high.clone() };
    assert_eq!(with(proof.clone()), Ok(()));
    assert_eq!(bench.new_view(5, changes.to_vec(), Vec::new()).payload.proof, proof);
    let wrong = [
        ("no base", Proof { base: None, ..proof.clone() }),
        ("another base", Proof { base: bench.base(&blocks[1], &SIGNERS).certificate, ..proof.clone() }),
        ("no block", Proof { prepared: high[1..].to_vec(), ..proof.clone() }),
        ("nothing that stops it", Proof { prepared: high[..1].to_vec(), ..proof.clone() }),
        ("nothing", Proof::default()),
        ("a lower view's", Proof { prepared: vec![low[0].clone(), high[1].clone()], ..proof.clone() }),
        ("one more", Proof { prepared: [&high[..], &low[..1]].concat(), ..proof.clone() }),
        ("one twice", Proof { prepared: [&high[..1], &high[..]].concat(), ..proof.clone() }),
        ("another order", Proof { prepared: vec![high[1].clone(), high[0].clone()], ..proof.clone() }),
    ];
    for (what, wrong) in wrong {
        assert!(matches!(with(wrong), Err(Rejection::Malformed(_))), "{what}");
    }
    for place in [0, 1] {
        let mut forged = proof.clone();
        forged.prepared[place].signatures = bench.prepared(3, &blocks[3], &SIGNERS).signatures;
        assert!(matches!(with(forged), Err(Rejection::BadCertificate { .. })), "certificate {place}");
    }
    let mut forged = proof;
    forged.base = Some(certificate_in(&bench, 0, &blocks[0], &SIGNERS[..2]));
    assert!(matches!(with(forged), Err(Rejection::BadCertificate { .. })));
}

/// What a liar claims without having it decides nothing: either it is looked at, and must be proven, or it is not.
#[test]
fn claims_in_a_new_view_that_nobody_can_prove_choose_nothing() {
    let bench = Bench::new(4, 2);
    let blocks = bench.chain(2);
    let real = bench.prepared(3, &blocks[0], &SIGNERS);
    let twin = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    let with = |view: u64, block: &Block| {
        let claimed = bench.change(0, 5, vec![bench.prepared(view, block, &SIGNERS[..1])]);
        let changes = [claimed, bench.change(1, 5, Vec::new()), bench.change(3, 5, vec![real.clone()])];
        let proof = Proof { base: None, prepared: vec![real.clone()] };
        let new_view = bench.new_view_with(5, &changes, proof, vec![blocks[0].hash()]);
        taken(&bench, Message::NewView(Box::new(new_view)))
    };
    assert_eq!(with(2, &twin), Ok(()), "below the highest view");
    assert!(matches!(with(4, &twin), Err(Rejection::Malformed(_))), "at the highest view");
    assert!(matches!(with(4, &blocks[0]), Err(Rejection::Malformed(_))), "also for the same block");
    // Nor does a base that nobody can prove.
    let claimed = Base { certificate: None, ..bench.base(&blocks[1], &SIGNERS) };
    let changes = [0, 1, 3].map(|it| match it {
        0 => bench.change_from(0, 5, claimed.clone(), Vec::new()),
        other => bench.change(other, 5, Vec::new()),
    });
    let new_view = bench.new_view_with(5, &changes, Proof::default(), Vec::new());
    assert!(matches!(taken(&bench, Message::NewView(Box::new(new_view))), Err(Rejection::Malformed(_))));
}

/// A request says the same whoever's signatures its certificates hold: nobody is accused of having it proven in two ways.
#[test]
fn another_proof_of_one_request_is_no_contradiction() {
    let mut bench = Bench::new(4, 2);
    let block = bench.first();
    for signers in [[0, 1, 3], [0, 1, 2]] {
        let change = bench.change(0, 1, vec![bench.prepared(0, &block, &signers)]);
        let actions = bench.receive(0, Message::ViewChange(Box::new(change)));
        assert!(actions.is_empty(), "{actions:?}");
    }
}

#[test]
fn a_request_proves_all_that_it_claims_and_nothing_else() {
    let bench = Bench::new(4, 2);
    let blocks = bench.chain(2);
    let good = bench.change(0, 1, all_prepared(&bench, &blocks));
    assert!(change_taken(&bench, good.clone()));
    for wrong in [vec![], vec![0], vec![1], vec![1, 0], vec![0, 1, 1]] {
        let mut change = good.clone();
        change.proof.prepared = wrong.iter().map(|it| good.proof.prepared[*it].clone()).collect();
        assert!(!change_taken(&bench, change), "{wrong:?}");
    }
}

#[test]
fn a_new_view_is_the_primarys() {
    let bench = Bench::new(4, 2);
    let changes: Vec<ViewChange> = (0..3).map(|it| bench.change(it, 1, Vec::new())).collect();
    let NewView { payload, .. } = bench.new_view(1, changes, Vec::new());
    let signature = bench.keys[3].sign(Domain::NewView, &bench.scope.chain, &payload);
    let forged = NewView { payload: payload.clone(), signer: index(3), signature };
    let why = taken(&bench, Message::NewView(Box::new(forged)));
    assert_eq!(why, Err(Rejection::NotPrimary { signer: index(3), view: View(1) }));
    let forged = NewView { payload, signer: index(1), signature };
    assert_eq!(bench.refused(Message::NewView(Box::new(forged))), Rejection::BadSignature(index(1)));
}

#[test]
fn a_primary_starts_its_view_with_q_requests_and_not_with_one_less() {
    for n in [4, 5, 6, 7] {
        let mut bench = Bench::new(n, 1);
        let (q, f) = (bench.scope.quorum().q(), bench.scope.quorum().f());
        let others = (0..n).filter(|it| *it != 1);
        for (place, signer) in others.enumerate() {
            let change = bench.change(signer, 1, Vec::new());
            let actions = bench.receive(signer, Message::ViewChange(Box::new(change)));
            let starts = sent(&actions).iter().any(|(_, it)| matches!(it, Message::NewView(_)));
            // With f + 1 of others it joins, and counts itself.
            let asking = place + 1 + usize::from(place + 1 > f);
            assert_eq!(starts, asking == q && place + 1 > f, "n = {n}, {asking} ask");
            if starts {
                break;
            }
        }
        assert_eq!(bench.engine.status().view, View(1), "n = {n}");
    }
}

/// > Fewer than that move nobody.
#[test]
fn f_requests_move_nobody_whatever_they_ask_for() {
    for n in [4, 5, 6, 7, 10] {
        let mut bench = Bench::new(n, n - 1);
        let f = bench.scope.quorum().f();
        for signer in 0..f {
            let change = bench.change(signer, u64::MAX, Vec::new());
            assert!(bench.receive(signer, Message::ViewChange(Box::new(change))).is_empty());
        }
        bench.after_millis(60_000);
        bench.step(Event::Tick);
        assert_eq!(bench.engine.status().view, View(0), "n = {n}");
        let block = bench.first();
        bench.now.wall = START;
        assert_eq!(votes(&bench.propose(&block), VoteKind::Prepare).len(), 1, "n = {n}: it goes on");
        // One correct replica more, and the highest view that a correct one asks for is taken.
        let change = bench.change(f, 3, Vec::new());
        bench.receive(f, Message::ViewChange(Box::new(change)));
        assert_eq!(bench.engine.status().view, View(3), "n = {n}");
    }
}

/// With f = 0 one message moves everybody, also to the last number that there is.
#[test]
fn no_view_follows_the_last_and_nothing_breaks_there() {
    let mut bench = Bench::with(2, 0, Parameters { rotation_blocks: 1, ..quiet() });
    let change = bench.change(1, u64::MAX, Vec::new());
    bench.receive(1, Message::ViewChange(Box::new(change.clone())));
    assert_eq!(bench.engine.status().view, View(u64::MAX));
    bench.after_millis(60_000);
    bench.step(Event::Tick);
    let own = bench.log.records.iter().find_map(|it| match it {
        Record::ViewChanged(own) => Some((**own).clone()),
        _ => None,
    });
    let new_view = bench.new_view(u64::MAX, vec![own.expect("it asked"), change], Vec::new());
    enter(&mut bench, new_view);
    let block = fresh(&bench, 1, 1, bench.scope.chain);
    bench.now.wall = block.time();
    let prepare = bench.vote_in(u64::MAX, VoteKind::Prepare, 1, &block);
    bench.receive(1, Message::PrePrepare(PrePrepare::of(&block, prepare, None)));
    assert_eq!(votes(&bench.accept(&block), VoteKind::Prepare), vec![(u64::MAX, 1, block.hash())]);
    let vote = bench.vote_in(u64::MAX, VoteKind::Commit, 1, &block);
    assert_eq!(delivered(&bench.receive(1, Message::Commit(vote))), vec![(1, true)]);
    bench.after_millis(60_000);
    bench.step(Event::Tick); // it would rotate
    assert_eq!(bench.engine.status().view, View(u64::MAX));
}

/// > `h` is not past the end of the epoch
#[test]
fn the_window_ends_with_the_epoch_and_is_no_wider_for_an_end_far_off() {
    for (ends, highest) in [(2, 2), (3, 3), (4, 3), (100, 3)] {
        let mut bench = Bench::with(4, 2, Parameters { window: 2, ..quiet() });
        let blocks = bench.chain(5);
        bench.step(bench.certified(&blocks[..1], &SIGNERS));
        let checkpoint = bench.result(&blocks[0]);
        let outcome = ExecutionOutcome { checkpoint, due: None, epoch_ends: Some(Height(ends)) };
        bench.step(Event::Executed { outcome });
        for block in &blocks[1..] {
            let message = bench.pre_prepare(block);
            bench.receive(0, message);
        }
        let accepted: Vec<u64> = blocks[1..]
            .iter()
            .filter(|block| !votes(&bench.accept(block), VoteKind::Prepare).is_empty())
            .map(|block| block.height().0)
            .collect();
        assert_eq!(accepted, (2..=highest).collect::<Vec<_>>(), "the epoch ends at {ends}");
    }
}

// §4.3: > Heights up to the base are closed […]; what was chosen above is accepted again with its old bytes […]; new
// > blocks follow above.

#[test]
fn heights_that_new_view_fills_are_taken_from_it_alone() {
    let blocks = Bench::new(4, 2).chain(2);
    let mut bench = in_view_one(quiet(), &blocks);
    for (height, parent) in [(1, bench.scope.chain), (2, blocks[0].hash())] {
        let other = fresh(&bench, 1, height, parent);
        assert!(votes(&propose_in(&mut bench, 1, &other), VoteKind::Prepare).is_empty(), "height {height}");
    }
    // The old blocks come by their bodies alone; then the next height is open.
    for block in &blocks {
        let actions = bench.step(Event::Fetched { block: Arc::clone(block) });
        assert_eq!(votes(&actions, VoteKind::Prepare), vec![(1, block.height().0, block.hash())]);
    }
    let next = fresh(&bench, 1, 3, blocks[1].hash());
    assert_eq!(votes(&propose_in(&mut bench, 1, &next), VoteKind::Prepare), vec![(1, 3, next.hash())]);
}

#[test]
fn the_first_height_above_the_base_is_open_and_the_base_is_not() {
    let mut bench = Bench::with(4, 2, quiet());
    let blocks = bench.chain(1);
    let changes = vec![
        bench.change(0, 1, Vec::new()),
        bench.change_from(1, 1, bench.base(&blocks[0], &SIGNERS), Vec::new()),
        bench.change(3, 1, Vec::new()),
    ];
    let new_view = bench.new_view(1, changes, Vec::new());
    enter(&mut bench, new_view);
    let second = fresh(&bench, 1, 1, bench.scope.chain);
    assert!(votes(&propose_in(&mut bench, 1, &second), VoteKind::Prepare).is_empty());
    bench.step(bench.certified(&blocks, &SIGNERS));
    let next = fresh(&bench, 1, 2, blocks[0].hash());
    assert_eq!(votes(&propose_in(&mut bench, 1, &next), VoteKind::Prepare).len(), 1);
}

#[test]
fn bodies_that_nobody_asked_for_are_left_alone() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    assert!(bench.step(Event::Fetched { block: Arc::clone(&block) }).is_empty());
    assert!(bench.engine.accepted().is_empty());
    let mut bench = in_view_one(quiet(), std::slice::from_ref(&block));
    let other = fresh(&bench, 1, 1, bench.scope.chain);
    assert!(bench.step(Event::Fetched { block: other }).is_empty());
    assert!(bench.engine.in_flight().is_empty());
}

/// > For a block that comes again or comes certified, no clock and no anchor is asked again.
#[test]
fn what_comes_again_is_judged_by_no_clock() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    bench.after_millis(10 * bench.parameters.max_clock_drift_ms);
    let certificates = vec![bench.prepared(0, &block, &SIGNERS)];
    let changes = vec![
        bench.change(0, 1, certificates),
        bench.change(1, 1, Vec::new()),
        bench.change(3, 1, Vec::new()),
    ];
    let new_view = bench.new_view(1, changes, vec![block.hash()]);
    enter(&mut bench, new_view);
    let actions = bench.step(Event::Fetched { block: Arc::clone(&block) });
    assert_eq!(votes(&actions, VoteKind::Prepare), vec![(1, 1, block.hash())]);
}

mod anchors {
    //! > its anchor is the parent's; or it is higher, still below `h`, and the certificate of that checkpoint came along.
    //! > Whether this replica has executed that far makes no difference.

    use super::*;

    /// Two delivered blocks of which nothing was executed here, and a third that vouches for the state of one of them.
    fn vouching(bench: &mut Bench, anchored: usize) -> (Arc<Block>, Message, Message) {
        let blocks = bench.chain(3);
        bench.step(bench.certified(&blocks[..2], &SIGNERS));
        let result = bench.result(&blocks[anchored - 1]);
        let block = bench.block_with(Height(3), blocks[1].hash(), START.plus_millis(50), result.anchor());
        let prepare = bench.vote(VoteKind::Prepare, 0, &block);
        let certificate = bench.checkpoint_certificate(result, &SIGNERS);
        let whole = Message::PrePrepare(PrePrepare::of(&block, prepare.clone(), Some(certificate.into())));
        (Arc::clone(&block), Message::PrePrepare(PrePrepare::of(&block, prepare, None)), whole)
    }

    #[test]
    fn a_state_not_executed_here_may_be_vouched_for_with_its_certificate() {
        let mut bench = Bench::with(4, 2, quiet());
        let (block, bare, whole) = vouching(&mut bench, 2);
        let actions = bench.receive(0, bare);
        assert!(matches!(actions[..], [Action::Reject { why: Rejection::BadAnchor(_), .. }]), "{actions:?}");
        bench.receive(0, whole);
        assert_eq!(votes(&bench.accept(&block), VoteKind::Prepare).len(), 1);
    }

    #[test]
    fn a_block_vouches_for_states_below_it_only() {
        let mut bench = Bench::with(4, 2, quiet());
        let (_, _, whole) = vouching(&mut bench, 3);
        let actions = bench.receive(0, whole);
        assert!(matches!(actions[..], [Action::Reject { why: Rejection::BadAnchor(_), .. }]), "{actions:?}");
    }

    #[test]
    fn no_certificate_brings_an_anchor_back() {
        let mut bench = Bench::with(4, 2, quiet());
        let (third, _, _) = vouching(&mut bench, 2);
        bench.step(bench.certified(std::slice::from_ref(&third), &SIGNERS));
        let earlier = bench.result(&bench.chain(1)[0]);
        let block = bench.block_with(Height(4), third.hash(), START.plus_millis(60), earlier.anchor());
        let prepare = bench.vote(VoteKind::Prepare, 0, &block);
        let certificate = bench.checkpoint_certificate(earlier, &SIGNERS);
        let message = Message::PrePrepare(PrePrepare::of(&block, prepare, Some(certificate.into())));
        let actions = bench.receive(0, message);
        assert!(matches!(actions[..], [Action::Reject { why: Rejection::BadAnchor(_), .. }]), "{actions:?}");
    }

    #[test]
    fn what_comes_again_needs_no_certificate_for_its_anchor() {
        let mut bench = Bench::with(4, 2, quiet());
        let (block, _, _) = vouching(&mut bench, 2);
        let certificates = vec![bench.prepared(0, &block, &SIGNERS)];
        let changes = vec![
            bench.change(0, 1, certificates),
            bench.change_from(1, 1, bench.base(&bench.chain(2)[1], &SIGNERS), Vec::new()),
            bench.change(3, 1, Vec::new()),
        ];
        let new_view = bench.new_view(1, changes, vec![block.hash()]);
        enter(&mut bench, new_view);
        let actions = bench.step(Event::Fetched { block: Arc::clone(&block) });
        assert_eq!(votes(&actions, VoteKind::Prepare), vec![(1, 3, block.hash())]);
    }
}

// §4.1: > With its promise to vote in no lower view

#[test]
fn nothing_is_signed_below_the_promise() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    bench.propose(&block);
    for signer in [0, 1] {
        let change = bench.change(signer, 1, Vec::new());
        bench.receive(signer, Message::ViewChange(Box::new(change)));
    }
    for restarted in [false, true] {
        if restarted {
            bench.restart(genesis_tip(&bench.scope));
        }
        for signer in [0, 1, 3] {
            let vote = bench.prepare(signer, &block);
            assert!(
                votes(&bench.receive(signer, vote), VoteKind::Commit).is_empty(),
                "view 0 is promised away"
            );
        }
        let next = bench.child(&block);
        assert!(votes(&bench.propose(&next), VoteKind::Prepare).is_empty());
    }
    assert!(!bench.log.records.iter().any(|it| matches!(it, Record::Prepared { .. })));
}

/// > the prepared certificate of the highest view the replica ever held there
#[test]
fn a_certificate_is_reported_until_its_height_is_below_the_base_also_after_a_restart() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    bench.propose(&block);
    for signer in [1, 3] {
        let vote = bench.prepare(signer, &block);
        bench.receive(signer, vote);
    }
    // View 1 starts without knowing of it, and proposes another block there, which nobody else prepares.
    let changes: Vec<ViewChange> = [0, 1, 3].map(|it| bench.change(it, 1, Vec::new())).to_vec();
    let new_view = bench.new_view(1, changes, Vec::new());
    enter(&mut bench, new_view);
    let other = fresh(&bench, 1, 1, bench.scope.chain);
    assert_eq!(votes(&propose_in(&mut bench, 1, &other), VoteKind::Prepare).len(), 1);
    bench.restart(genesis_tip(&bench.scope));
    for signer in [0, 1] {
        let change = bench.change(signer, 2, Vec::new());
        bench.receive(signer, Message::ViewChange(Box::new(change)));
    }
    let reported = bench.log.records.iter().rev().find_map(|it| match it {
        Record::ViewChanged(change) => Some(change.clone()),
        _ => None,
    });
    let reported = reported.expect("it asked for view 2");
    assert_eq!(reported.payload.view, View(2));
    assert_eq!(reported.proof.prepared, vec![bench.prepared(0, &block, &[0, 1, 2])]);
}

// §3.4, §5: what is kept of other views.

/// > A height is committed by Q COMMITs for one block in one view […] Votes are counted for each view by itself.
#[test]
fn commits_of_an_earlier_view_still_commit_and_are_not_mixed_with_others() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    bench.propose(&block);
    let changes: Vec<ViewChange> = [0, 1, 3].map(|it| bench.change(it, 1, Vec::new())).to_vec();
    let new_view = bench.new_view(1, changes, Vec::new());
    enter(&mut bench, new_view);
    let commit = |bench: &mut Bench, view: u64, signer: usize| {
        let vote = bench.vote_in(view, VoteKind::Commit, signer, &block);
        delivered(&bench.receive(signer, Message::Commit(vote)))
    };
    assert!(commit(&mut bench, 0, 0).is_empty());
    assert!(commit(&mut bench, 0, 1).is_empty());
    assert!(commit(&mut bench, 1, 3).is_empty(), "two of view 0 and one of view 1 are no quorum");
    assert_eq!(commit(&mut bench, 0, 3), vec![(1, true)]);
}

/// > the parent is prepared in this view, or delivered, or named by a commit certificate
#[test]
fn a_parent_prepared_in_an_earlier_view_does_not_prepare_its_child() {
    let mut bench = Bench::with(4, 2, quiet());
    let blocks = bench.chain(2);
    bench.propose(&blocks[0]);
    let vote = bench.prepare(1, &blocks[0]);
    assert_eq!(votes(&bench.receive(1, vote), VoteKind::Commit).len(), 1, "prepared in view 0");
    let certificates = all_prepared(&bench, &blocks);
    let changes = vec![
        bench.change(0, 1, certificates),
        bench.change(1, 1, Vec::new()),
        bench.change(3, 1, Vec::new()),
    ];
    let new_view = bench.new_view(1, changes, blocks.iter().map(|it| it.hash()).collect());
    enter(&mut bench, new_view);
    bench.step(Event::Fetched { block: Arc::clone(&blocks[1]) });
    let prepare = |bench: &mut Bench, signer: usize, block: &Block| {
        let vote = bench.vote_in(1, VoteKind::Prepare, signer, block);
        votes(&bench.receive(signer, Message::Prepare(vote)), VoteKind::Commit)
    };
    for signer in [0, 1, 3] {
        assert!(prepare(&mut bench, signer, &blocks[1]).is_empty(), "the first is not prepared in view 1");
    }
    assert!(prepare(&mut bench, 0, &blocks[0]).is_empty());
    let both = blocks.iter().map(|it| (1, it.height().0, it.hash())).collect::<Vec<_>>();
    assert_eq!(prepare(&mut bench, 1, &blocks[0]), both);
}

/// The same: a block whose parent lost its height to another is prepared by nobody's votes.
#[test]
fn nothing_is_signed_above_a_block_that_lost_its_height() {
    let mut bench = Bench::with(4, 2, quiet());
    let blocks = bench.chain(2);
    for block in &blocks {
        bench.propose(block);
    }
    // Another block is committed at height 1, in a later view; only its certificate is here.
    let twin = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    let certificate = Some(certificate_in(&bench, 5, &twin, &SIGNERS));
    let report = StatusReport { certificate, ..bench.empty_status() };
    bench.receive(3, Message::Status(Box::new(report)));
    for signer in [0, 1, 3] {
        let vote = bench.prepare(signer, &blocks[1]);
        assert!(votes(&bench.receive(signer, vote), VoteKind::Commit).is_empty());
    }
    assert!(!bench.log.records.iter().any(|it| matches!(it, Record::Prepared { .. })));
}

/// > Proposals are kept for this view and the next; votes also of an older view
#[test]
fn votes_and_proposals_of_the_next_view_are_kept_for_its_start_and_later_ones_are_not() {
    for (view, kept) in [(1, true), (2, false)] {
        let mut bench = Bench::with(4, 3, quiet());
        let primary = usize::try_from(view).expect("small");
        let block = fresh(&bench, primary, 1, bench.scope.chain);
        let prepare = bench.vote_in(view, VoteKind::Prepare, primary, &block);
        bench.receive(primary, Message::PrePrepare(PrePrepare::of(&block, prepare, None)));
        let vote = bench.vote_in(view, VoteKind::Prepare, 0, &block);
        bench.receive(0, Message::Prepare(vote));
        let changes: Vec<ViewChange> = [0, 1, 2].map(|it| bench.change(it, view, Vec::new())).to_vec();
        let new_view = bench.new_view(view, changes, Vec::new());
        let actions = enter(&mut bench, new_view);
        let checks = actions.iter().any(|it| matches!(it, Action::Check { .. }));
        assert_eq!(checks, kept, "a proposal of view {view} in view 0");
        let prepare = bench.vote_in(view, VoteKind::Prepare, primary, &block);
        bench.receive(primary, Message::PrePrepare(PrePrepare::of(&block, prepare, None)));
        let actions = bench.accept(&block);
        assert_eq!(votes(&actions, VoteKind::Prepare), vec![(view, 1, block.hash())]);
        // The third vote is the one that came early, if it was kept.
        assert_eq!(votes(&actions, VoteKind::Commit).len(), usize::from(kept), "view {view}");
    }
}

/// A liar cannot fill the memory with views: of one height COMMITs of sixteen are kept.
#[test]
fn commits_of_old_views_are_kept_for_so_many_views_of_a_height() {
    for (others, commits) in [(15, true), (16, false)] {
        let mut bench = Bench::with(4, 2, quiet());
        let block = bench.first();
        let changes: Vec<ViewChange> = [0, 1, 3].map(|it| bench.change(it, 100, Vec::new())).to_vec();
        let new_view = bench.new_view(100, changes, Vec::new());
        enter(&mut bench, new_view);
        for view in 0..others {
            let vote = bench.vote_in(view, VoteKind::Commit, 1, &block);
            bench.receive(1, Message::Commit(vote));
        }
        for signer in [0, 1, 3] {
            let vote = bench.vote_in(50, VoteKind::Commit, signer, &block);
            bench.receive(signer, Message::Commit(vote));
        }
        assert_eq!(bench.engine.status().committed == Height(1), commits, "{others} other views");
    }
}

/// > A certificate teaches the same wherever it comes from.
#[test]
fn a_certificate_in_a_request_teaches_as_if_it_had_come_alone() {
    let mut bench = Bench::with(4, 2, quiet());
    let block = bench.first();
    bench.propose(&block);
    let change = bench.change_from(1, 9, bench.base(&block, &SIGNERS), Vec::new());
    let actions = bench.receive(1, Message::ViewChange(Box::new(change)));
    assert_eq!(delivered(&actions), vec![(1, true)]);
    assert_eq!(bench.engine.status().view, View(0), "and moves nobody");
}

#[test]
fn status_brings_the_request_to_whoever_is_below_it() {
    for (view, active, wanted) in [(0, true, true), (1, false, true), (1, true, false), (2, false, false)] {
        let mut bench = Bench::with(4, 2, quiet());
        for signer in [0, 1] {
            let change = bench.change(signer, 1, Vec::new());
            bench.receive(signer, Message::ViewChange(Box::new(change)));
        }
        let report = StatusReport { view: View(view), active, ..bench.empty_status() };
        let told = sent(&bench.receive(3, Message::Status(Box::new(report.clone()))));
        let asked = told.iter().any(|(_, it)| matches!(it, Message::ViewChange(_)));
        assert_eq!(asked, wanted, "{report:?}");
    }
}

/// > Of more than 16 views of a height a replica that leaves its view keeps of all but the newest 16 no more than its own votes,
/// > the newest PREPARE and COMMIT of each other validator
#[test]
fn views_that_commit_nothing_do_not_fill_the_memory() {
    for (views, counted) in [(16, true), (17, false)] {
        let mut bench = Bench::with(4, 2, quiet());
        let block = bench.first();
        bench.propose(&block);
        let vote = bench.prepare(1, &block);
        bench.receive(1, vote);
        let vote = bench.commit(1, &block);
        bench.receive(1, vote);
        // Views of one primary, which is not this replica: what it started it would know.
        let nth = |count: u64| if count == 0 { 0 } else { 4 * count - 3 };
        for count in 1..views {
            let view = nth(count);
            let again = bench.prepared(nth(count - 1), &block, &SIGNERS);
            let changes = SIGNERS.map(|it| bench.change(it, view, vec![again.clone()])).to_vec();
            let new_view = bench.new_view(view, changes, vec![block.hash()]);
            enter(&mut bench, new_view);
            for signer in [1, 3] {
                let vote = bench.vote_in(view, VoteKind::Prepare, signer, &block);
                bench.receive(signer, Message::Prepare(vote));
            }
        }
        let leave = |bench: &mut Bench, view| {
            for signer in [0, 1] {
                let change = bench.change(signer, view, Vec::new());
                bench.receive(signer, Message::ViewChange(Box::new(change)));
            }
        };
        leave(&mut bench, nth(views));
        // One's own votes of all views, one body, an acceptance for each of the views whose votes count.
        let records = bench.engine.records();
        let own = |kind| {
            let cast =
                records.iter().filter(|it| matches!(it, Record::Voted { kind: of, .. } if *of == kind));
            u64::try_from(cast.count()).expect("a few")
        };
        assert_eq!((own(VoteKind::Prepare), own(VoteKind::Commit)), (views, views));
        let bodies = records.iter().filter(|it| matches!(it, Record::Accepted { .. })).count();
        let again = records.iter().filter(|it| matches!(it, Record::AcceptedAgain { .. })).count();
        let proofs = records.iter().filter(|it| matches!(it, Record::Prepared { .. })).count();
        assert_eq!((bodies, again, proofs), (1, 15, 16));
        // What was let go does not come back from a log that still holds all of it.
        let all = Pbft::open(bench.setup(), genesis_tip(&bench.scope), bench.log.records.clone());
        assert_eq!(all.expect("its own log").records(), records);
        // The own request names the highest certificate.
        let named = records.iter().find_map(|it| match it {
            Record::ViewChanged(it) => Some(it.payload.prepared.clone()),
            _ => None,
        });
        assert_eq!(named, Some(vec![bench.payload_in(nth(views - 1), &block)]));
        // A vote of one's own in the first view is known all the same.
        let held = Statement::Prepare(bench.vote(VoteKind::Prepare, 2, &block));
        let told = bench.holdings(vec![held]);
        assert!(bench.receive(0, told).iter().all(|it| !matches!(it, Action::Abstain { .. })));
        // Nor is the newest COMMIT of another forgotten, which it may ask for.
        let question = Message::Recall(Recall { epoch: Epoch(0), nonce: 1 });
        let told = sent(&bench.receive(1, question)).into_iter().any(|(_, it)| {
            let held = Statement::Commit(bench.vote(VoteKind::Commit, 1, &block));
            matches!(it, Message::Holdings(it) if it.statements.contains(&held))
        });
        assert!(told, "{views} views");
        // Of the first view's COMMITs this replica holds its own and one more, if they are still counted.
        let vote = bench.commit(3, &block);
        bench.receive(3, vote);
        assert_eq!(bench.engine.status().committed == Height(1), counted, "{views} views");
        // The highest view's commit it all the same.
        for signer in [1, 3] {
            let vote = bench.vote_in(nth(views - 1), VoteKind::Commit, signer, &block);
            bench.receive(signer, Message::Commit(vote));
        }
        assert_eq!(bench.engine.status().committed, Height(1));
    }
}
