//! `docs/pbft.md` §8: evidence is checked by whoever reads it, and nothing that a correct validator says is any.
//!
//! > Two signed statements that no correct validator makes together, in whatever order they arrive and however often it
//! > restarts

use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::{Height, View};

use super::bench::{Bench, START};
use crate::{
    evidence::{Evidence, Signed, VoteKind},
    pbft::message::{CheckpointVote, NewView, ViewChange, Vote},
};

fn double_vote(bench: &Bench, kind: VoteKind, signer: usize, votes: [Vote; 2]) -> Evidence {
    let [first, second] = votes.map(|it| Signed { payload: it.payload, signature: it.signature });
    Evidence::DoubleVote { signer: bench.keys[signer].public(), kind, first, second }
}

fn double_change(bench: &Bench, signer: usize, changes: [ViewChange; 2]) -> Evidence {
    let [first, second] = changes.map(|it| Box::new(Signed { payload: it.payload, signature: it.signature }));
    Evidence::DoubleViewChange { signer: bench.keys[signer].public(), first, second }
}

fn signed_start(new_view: NewView) -> Box<Signed<crate::pbft::message::NewViewPayload>> {
    Box::new(Signed { payload: new_view.payload, signature: new_view.signature })
}

fn holds(bench: &Bench, evidence: &Evidence) -> bool {
    evidence.holds(&bench.scope.chain, &bench.scope.validators)
}

#[test]
fn two_votes_prove_something_only_of_one_kind_for_two_blocks_at_one_place() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    for kind in [VoteKind::Prepare, VoteKind::Commit] {
        let vote = |view: u64, block| bench.vote_in(view, kind, 2, block);
        let proof = double_vote(&bench, kind, 2, [vote(0, &block), vote(0, &other)]);
        assert!(holds(&bench, &proof));
        let votes = [vote(0, &block), vote(0, &block)];
        assert!(!holds(&bench, &double_vote(&bench, kind, 2, votes)), "one vote twice");
        let votes = [vote(0, &block), vote(1, &other)];
        assert!(!holds(&bench, &double_vote(&bench, kind, 2, votes)), "two views");
        let child = bench.child(&block);
        let votes = [vote(0, &block), vote(0, &child)];
        assert!(!holds(&bench, &double_vote(&bench, kind, 2, votes)), "two heights");
        let votes = [vote(0, &block), vote(0, &other)];
        assert!(!holds(&bench, &double_vote(&bench, kind, 3, votes)), "of another signer");
        for place in [0, 1] {
            let mut votes = [vote(0, &block), vote(0, &other)];
            votes[place].signature = votes[1 - place].signature;
            assert!(!holds(&bench, &double_vote(&bench, kind, 2, votes)), "one is not signed");
        }
        let wrong = if kind == VoteKind::Prepare { VoteKind::Commit } else { VoteKind::Prepare };
        let votes = [vote(0, &block), vote(0, &other)];
        assert!(!holds(&bench, &double_vote(&bench, wrong, 2, votes)), "of the other kind");
    }
}

#[test]
fn two_requests_prove_something_only_for_one_view() {
    let bench = Bench::new(4, 1);
    let prepared = vec![bench.prepared(0, &bench.first(), &[0, 2, 3])];
    let (empty, full) = (bench.change(2, 1, Vec::new()), bench.change(2, 1, prepared.clone()));
    assert!(holds(&bench, &double_change(&bench, 2, [empty.clone(), full.clone()])));
    assert!(!holds(&bench, &double_change(&bench, 2, [empty.clone(), empty.clone()])));
    let later = bench.change(2, 2, prepared);
    assert!(!holds(&bench, &double_change(&bench, 2, [empty.clone(), later])), "it asks again, for another");
    assert!(!holds(&bench, &double_change(&bench, 3, [empty, full])));
}

#[test]
fn two_results_prove_something_only_for_one_height() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let result = bench.result(&block);
    let mut other = result;
    other.state_root = Hash::of(b"another state");
    let double = |votes: [CheckpointVote; 2]| {
        let [first, second] = votes.map(|it| Signed { payload: it.payload, signature: it.signature });
        Evidence::DoubleCheckpoint { signer: bench.keys[2].public(), first, second }
    };
    let votes = |second| [bench.checkpoint(2, result), bench.checkpoint(2, second)];
    assert!(holds(&bench, &double(votes(other))));
    assert!(!holds(&bench, &double(votes(result))), "one result twice");
    let above = bench.result(&bench.child(&block));
    assert!(!holds(&bench, &double(votes(above))), "two heights");
    for place in [0, 1] {
        let mut votes = votes(other);
        votes[place].signature = votes[1 - place].signature;
        assert!(!holds(&bench, &double(votes)), "one is not signed");
    }
}

#[test]
fn a_new_view_proves_something_only_if_it_does_not_follow() {
    let bench = Bench::new(4, 2);
    let block = bench.first();
    let changes = vec![
        bench.change(0, 1, vec![bench.prepared(0, &block, &[0, 1, 2])]),
        bench.change(1, 1, Vec::new()),
        bench.change(3, 1, Vec::new()),
    ];
    let signer = bench.keys[1].public();
    let honest = bench.new_view(1, changes.clone(), vec![block.hash()]);
    let wrong = bench.new_view(1, changes, Vec::new());
    let accuse = |it: &NewView| Evidence::FalseNewView { signer, new_view: signed_start(it.clone()) };
    assert!(!holds(&bench, &accuse(&honest)));
    assert!(holds(&bench, &accuse(&wrong)));
    let pair = |first: &NewView, second: &NewView| {
        let (first, second) = (signed_start(first.clone()), signed_start(second.clone()));
        Evidence::DoubleNewView { signer, first, second }
    };
    assert!(holds(&bench, &pair(&honest, &wrong)));
    assert!(!holds(&bench, &pair(&honest, &honest)));
    // Validator 1 is the primary of view 5 too.
    let changes = [0, 1, 3].map(|it| bench.change(it, 5, Vec::new()));
    let later = bench.new_view(5, changes.to_vec(), Vec::new());
    assert!(!holds(&bench, &pair(&honest, &later)), "two views");
    let mut forged = wrong;
    forged.payload.view = View(5);
    assert!(!holds(&bench, &accuse(&forged)), "not what was signed");
}

#[test]
fn only_validators_of_the_set_and_chain_are_accused() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    let members = bench.scope.validators.clone();
    bench.keys[2] = SecretKey::from_seed([77; 32]);
    let votes = [&block, &other].map(|it| bench.vote(VoteKind::Commit, 2, it));
    let stranger = double_vote(&bench, VoteKind::Commit, 2, votes);
    assert!(!stranger.holds(&bench.scope.chain, &members));
    let votes = [&block, &other].map(|it| bench.vote(VoteKind::Commit, 3, it));
    let member = double_vote(&bench, VoteKind::Commit, 3, votes);
    assert!(member.holds(&bench.scope.chain, &members));
    assert!(!member.holds(&Hash::of(b"another chain"), &members));
}
