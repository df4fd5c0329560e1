//! `docs/pbft.md` §2, §4.2 and §5: which proofs a replica looks at, and what it starts a view from.
//!
//! > Not verified is what would change nothing […] a VIEW-CHANGE or NEW-VIEW for a view below that of this replica, and the
//! > NEW-VIEW by which it has entered its view, however many repeat it; in a VIEW-CHANGE the prepared certificates, and the
//! > certificate of a base that is committed here, unless this replica is to start the view next and knows the request
//! > unproven (§4.2).

use std::sync::Arc;

use quorate_ledger::{Height, View};

use super::bench::{Bench, genesis_tip, index, sent};
use crate::{
    engine::{Action, Engine as _, Event, Horizon, Setup, Verified, Voice},
    evidence::{Evidence, VoteKind},
    pbft::{
        Message, Pbft,
        message::{Base, NewView, PrePrepare, StatusReport, ViewChange},
    },
    rejection::Rejection,
};

const SIGNERS: [usize; 3] = [0, 1, 3];

fn change_verified(bench: &Bench, horizon: Horizon, change: &ViewChange) -> Result<ViewChange, Rejection> {
    let message = Message::ViewChange(Box::new(change.clone()));
    match Pbft::verify(&bench.scope, horizon, message)?.into_inner() {
        Message::ViewChange(change) => Ok(*change),
        other => panic!("a VIEW-CHANGE stays one: {other:?}"),
    }
}

fn voter(place: usize) -> Horizon {
    Horizon { voice: Voice::Of(index(place)), ..Horizon::default() }
}

/// A NEW-VIEW from the genesis, that proposes nothing again.
fn start(bench: &Bench, view: u64, signers: [usize; 3]) -> NewView {
    let changes = signers.map(|it| bench.change(it, view, Vec::new()));
    bench.new_view(view, changes.to_vec(), Vec::new())
}

fn new_views(actions: &[Action<Message>]) -> Vec<NewView> {
    let sent = sent(actions).into_iter().filter_map(|(_, it)| match it {
        Message::NewView(it) => Some(*it),
        _ => None,
    });
    sent.collect()
}

/// > with a proposal for a committed height, the certificate of an anchor that is not above what is stable here
#[test]
fn the_anchor_of_a_closed_height_is_looked_at_where_it_teaches() {
    let bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    let short = bench.checkpoint_certificate(bench.result(&blocks[0]), &[0, 1]);
    let time = blocks[1].time();
    let block = bench.block_with(Height(2), blocks[0].hash(), time, short.payload.anchor());
    let message = || {
        let prepare = bench.vote(VoteKind::Prepare, 0, &block);
        Message::PrePrepare(PrePrepare::of(&block, prepare, Some(Arc::new(short.clone()))))
    };
    for (committed, stable, looks) in [(2, 1, false), (1, 1, true), (2, 0, true)] {
        let horizon = Horizon { committed: Height(committed), stable: Height(stable), ..Horizon::default() };
        match Pbft::verify(&bench.scope, horizon, message()).map(Verified::into_inner) {
            Ok(Message::PrePrepare(it)) => assert!(!looks && it.anchor.is_none(), "{horizon:?}"),
            Ok(other) => panic!("a PRE-PREPARE stays one: {other:?}"),
            Err(why) => {
                assert!(looks && matches!(why, Rejection::BadCertificate { .. }), "{horizon:?}: {why}")
            }
        }
    }
}

#[test]
fn a_request_is_proven_to_whoever_is_to_start_the_view() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let good = bench.change(0, 1, vec![bench.prepared(0, &block, &SIGNERS)]);
    let mut forged = good.clone();
    forged.proof.prepared = vec![bench.prepared(0, &block, &SIGNERS[..2])];
    let mut unsigned = good.clone();
    unsigned.signature = bench.change(0, 2, Vec::new()).signature;
    let entered = Some((View(1), start(&bench, 1, SIGNERS).signature));
    let follower = Setup { voter: None, ..bench.setup() };
    let follower = Pbft::open(follower, genesis_tip(&bench.scope), Vec::new()).expect("a follower opens");
    for (horizon, looks) in [
        (voter(1), true),
        (bench.engine.horizon(), true),
        (follower.horizon(), false),
        (Horizon::default(), true),
        (voter(0), false),
        (voter(2), false),
        (Horizon { entered, ..voter(1) }, false),
    ] {
        let kept = change_verified(&bench, horizon, &good).expect("it holds");
        assert_eq!(kept.proof.prepared.len(), usize::from(looks), "{horizon:?}");
        assert_eq!(change_verified(&bench, horizon, &forged).is_err(), looks, "{horizon:?}");
        let why = change_verified(&bench, horizon, &unsigned);
        assert_eq!(why, Err(Rejection::BadSignature(index(0))), "the signature always");
    }
}

/// > The primary looks only while that is the next view that it leads, from its own on, and once for each validator
#[test]
fn a_request_is_proven_for_the_next_view_that_one_leads_and_once() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let asks = |view| bench.change(0, view, vec![bench.prepared(0, &block, &SIGNERS)]);
    let (next, later) = (asks(5), asks(9));
    let looked = |horizon, change| {
        let kept = change_verified(&Bench::new(4, 1), horizon, change).expect("it holds");
        !kept.proof.prepared.is_empty()
    };
    let at = |view| Horizon { view: View(view), ..voter(1) };
    assert!(!looked(at(1), &next), "view 1 comes before");
    for view in 2..=5 {
        assert!(looked(at(view), &next) && !looked(at(view), &later), "from view {view} on");
    }
    let entered = Some((View(5), next.signature));
    assert!(looked(Horizon { entered, ..at(5) }, &later), "5 has started");

    let mut bench = Bench::new(7, 1);
    let block = bench.first();
    let known = [2, 3, 4].map(|it| bench.change(it, 1, vec![bench.prepared(0, &block, &[0, 2, 3, 4, 5])]));
    for change in &known {
        bench.receive(change.signer.as_usize(), Message::ViewChange(Box::new(change.clone())));
    }
    let forge = |of: usize| {
        let mut change = bench.change(of, 1, vec![bench.prepared(0, &block, &[0, 2, 3, 4, 5])]);
        change.proof.prepared = vec![bench.prepared(0, &block, &[0, 2])];
        change_verified(&bench, bench.engine.horizon(), &change)
    };
    assert!(forge(2).is_ok(), "it is proven, and not looked at again");
    assert!(forge(5).is_err());
}

#[test]
fn a_request_whose_proof_nobody_has_looked_at_starts_no_view() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let known = bench.base(&block, &SIGNERS);
    let claims = [
        bench.change(0, 1, vec![bench.prepared(0, &block, &SIGNERS)]),
        bench.change_from(0, 1, known, Vec::new()),
    ];
    for change in claims {
        let mut bench = Bench::new(4, 1);
        bench.receive(2, Message::ViewChange(Box::new(bench.change(2, 1, Vec::new()))));
        let passed_on = Horizon { committed: Height(1), ..voter(2) };
        let message = Message::ViewChange(Box::new(change.clone()));
        let message = Pbft::verify(&bench.scope, passed_on, message).expect("nothing is looked at");
        let actions = bench.step(Event::Message { from: index(0), message });
        assert_eq!(bench.engine.status().view, View(1));
        assert_eq!(new_views(&actions), Vec::new());
        let actions = bench.receive(0, Message::ViewChange(Box::new(change)));
        assert_eq!(new_views(&actions).len(), 1, "and with it, it does");
    }
}

/// > A certificate teaches the same wherever it comes from.
#[test]
fn the_certificate_of_a_base_is_verified_by_everybody_whom_it_would_teach_something() {
    let bench = Bench::new(4, 2);
    let block = bench.first();
    let good = bench.change_from(0, 1, bench.base(&block, &SIGNERS), Vec::new());
    let short = bench.change_from(0, 1, bench.base(&block, &SIGNERS[..2]), Vec::new());
    let elsewhere = Base { height: Height(2), ..bench.base(&block, &SIGNERS) };
    let elsewhere = bench.change_from(0, 1, elsewhere, Vec::new());
    let kept = change_verified(&bench, voter(2), &good).expect("it holds");
    assert_eq!(kept, good);
    assert!(matches!(change_verified(&bench, voter(2), &short), Err(Rejection::BadCertificate { .. })));
    assert!(matches!(change_verified(&bench, voter(2), &elsewhere), Err(Rejection::Malformed(_))));
    let known = Horizon { committed: Height(1), ..voter(2) };
    let kept = change_verified(&bench, known, &short).expect("it is not looked at");
    assert_eq!(kept.proof.base, None);
}

#[test]
fn a_new_view_by_which_a_view_started_here_is_not_verified_again_and_another_is() {
    let mut bench = Bench::new(4, 2);
    let first = start(&bench, 1, [0, 1, 3]);
    bench.receive(1, Message::NewView(Box::new(first.clone())));
    let horizon = bench.engine.horizon();
    let again = Pbft::verify(&bench.scope, horizon, Message::NewView(Box::new(first)));
    assert_eq!(again.map(drop), Err(Rejection::OldView(View(1))));
    let second = Message::NewView(Box::new(start(&bench, 1, [3, 1, 0])));
    let message = Pbft::verify(&bench.scope, horizon, second).expect("it holds by itself");
    let actions = bench.step(Event::Message { from: index(3), message });
    let accused = |it: &Action<Message>| matches!(it, Action::Accuse { evidence } if matches!(**evidence, Evidence::DoubleNewView { .. }));
    assert!(actions.iter().any(accused), "{actions:?}");
    let later = Message::NewView(Box::new(start(&bench, 2, [0, 1, 3])));
    assert!(Pbft::verify(&bench.scope, horizon, later).is_ok());
}

/// > the last NEW-VIEW entered here […] if the sender is below that view or has not entered it
#[test]
fn nobody_is_told_again_how_the_view_started_that_it_is_in() {
    for (view, active, wanted) in [(0, true, true), (1, false, true), (1, true, false), (2, false, false)] {
        let mut bench = Bench::new(4, 3);
        let new_view = start(&bench, 1, [0, 1, 2]);
        bench.receive(1, Message::NewView(Box::new(new_view.clone())));
        for signer in [0, 1] {
            let change = bench.change(signer, 2, Vec::new());
            bench.receive(signer, Message::ViewChange(Box::new(change)));
        }
        assert_eq!(bench.engine.status().view, View(2), "it asks for the next by now");
        let report = StatusReport { view: View(view), active, ..bench.empty_status() };
        let told = new_views(&bench.receive(0, Message::Status(Box::new(report))));
        assert_eq!(
            told,
            if wanted { vec![new_view] } else { Vec::new() },
            "in view {view}, active: {active}"
        );
    }
}

/// > The new primary takes Q valid VIEW-CHANGEs … each for this view
#[test]
fn requests_for_a_later_view_of_the_same_primary_start_no_earlier_one() {
    let mut bench = Bench::new(4, 1);
    let mut actions = Vec::new();
    for (signer, view) in [(2, 1), (3, 5)] {
        let change = bench.change(signer, view, Vec::new());
        actions.extend(bench.receive(signer, Message::ViewChange(Box::new(change))));
    }
    assert_eq!(bench.engine.status().view, View(1), "two more than f ask for 1 or later");
    assert!(new_views(&actions).is_empty(), "of them two for 1");
    let change = bench.change(0, 1, Vec::new());
    let started = new_views(&bench.receive(0, Message::ViewChange(Box::new(change))));
    let asked = started.iter().flat_map(|it| &it.payload.changes).map(|it| it.payload.view);
    assert_eq!(asked.collect::<Vec<_>>(), [View(1); 3]);
}
