//! `docs/pbft.md` §4.3 and §8: which NEW-VIEWs prove something against their signer, and which are only refused.
//!
//! > All of a NEW-VIEW is under its signer's signature … One that no correct validator signs is evidence by itself

use quorate_crypto::{Domain, SecretKey};

use super::bench::{Bench, delivered, index, sent};
use crate::{
    engine::{Action, Engine as _},
    evidence::{Evidence, Signed},
    pbft::{
        Message, Pbft, Record,
        message::{Base, NewView, NewViewPayload, ViewChange},
    },
    rejection::Rejection,
};

const SIGNERS: [usize; 3] = [0, 1, 3];

/// A payload, signed by whoever it is said to be of.
fn signed(bench: &Bench, signer: usize, payload: NewViewPayload) -> NewView {
    let signature = bench.keys[signer].sign(Domain::NewView, &bench.scope.chain, &payload);
    NewView { payload, signer: index(signer), signature }
}

/// An honest start of view 1 above a base, with one block that is proposed again.
fn honest(bench: &Bench) -> NewView {
    let blocks = bench.chain(2);
    let base = bench.base(&blocks[0], &SIGNERS);
    let changes = vec![
        bench.change_from(0, 1, base, vec![bench.prepared(0, &blocks[1], &SIGNERS)]),
        bench.change(1, 1, Vec::new()),
        bench.change(3, 1, Vec::new()),
    ];
    bench.new_view(1, changes, vec![blocks[1].hash()])
}

/// A way in which the payload of an honest NEW-VIEW is made false.
type Falsify = fn(&Bench, &mut NewViewPayload);

fn reask(bench: &Bench, payload: &mut NewViewPayload, place: usize, change: &ViewChange) {
    assert_eq!(change.signer, payload.changes[place].signer, "bench {:?}", bench.me);
    payload.changes[place] = change.request();
}

const FALSE: [(&str, Falsify); 13] = [
    ("other blocks", |_, it| it.blocks.clear()),
    ("one request short", |_, it| drop(it.changes.pop())),
    ("one request more", |bench, it| it.changes.push(bench.change(2, 1, Vec::new()).request())),
    ("one request twice", |_, it| it.changes[2] = it.changes[1].clone()),
    ("a request for another view", |bench, it| reask(bench, it, 2, &bench.change(3, 2, Vec::new()))),
    ("a request that nobody signed", |bench, it| {
        it.changes[2].signature = bench.change(0, 1, vec![]).signature
    }),
    ("a request of a stranger", |_, it| it.changes[2].signer = index(4)),
    ("heights that do not rise", |bench, it| {
        let block = bench.first();
        let twice = vec![bench.prepared(0, &block, &SIGNERS); 2];
        reask(bench, it, 2, &bench.change(3, 1, twice));
    }),
    ("a certificate of the view itself", |bench, it| {
        let own = vec![bench.prepared(1, &bench.first(), &SIGNERS)];
        reask(bench, it, 2, &bench.change(3, 1, own));
    }),
    ("no certificate of a block", |_, it| it.proof.prepared.clear()),
    ("one certificate more", |bench, it| it.proof.prepared.push(bench.prepared(0, &bench.first(), &SIGNERS))),
    ("a certificate that does not hold", |bench, it| {
        it.proof.prepared[0].signatures = bench.prepared(0, &bench.first(), &SIGNERS).signatures;
    }),
    ("a base whose certificate is short", |bench, it| {
        it.proof.base = Some(bench.certificate(&bench.first(), &SIGNERS[..2]));
    }),
];

fn accused(actions: &[Action<Message>]) -> Vec<Evidence> {
    let found = actions.iter().filter_map(|it| match it {
        Action::Accuse { evidence } => Some((**evidence).clone()),
        _ => None,
    });
    found.collect()
}

fn against(bench: &Bench, new_view: NewView) -> Evidence {
    let NewView { payload, signer, signature } = new_view;
    let signer = bench.keys[signer.as_usize()].public();
    Evidence::FalseNewView { signer, new_view: Box::new(Signed { payload, signature }) }
}

#[test]
fn whatever_no_correct_primary_signs_is_evidence_and_not_entered() {
    for (what, falsify) in FALSE {
        let mut bench = Bench::new(4, 2);
        let mut payload = honest(&bench).payload;
        falsify(&bench, &mut payload);
        let new_view = signed(&bench, 1, payload);
        let actions = bench.receive(1, Message::NewView(Box::new(new_view.clone())));
        assert_eq!(accused(&actions), [against(&bench, new_view.clone())], "{what}");
        assert!(
            against(&bench, new_view.clone()).holds(&bench.scope.chain, &bench.scope.validators),
            "{what}"
        );
        assert!(!bench.log.records.iter().any(|it| matches!(it, Record::NewView(_))), "{what}: not entered");
        let again = bench.receive(1, Message::NewView(Box::new(new_view)));
        assert!(accused(&again).is_empty(), "{what}: reported once");
    }
}

#[test]
fn a_start_of_anothers_view_is_evidence_and_the_primarys_view_is_not_left_for_it() {
    let mut bench = Bench::new(4, 2);
    for signer in [1, 3] {
        let change = bench.change(signer, 1, Vec::new());
        bench.receive(signer, Message::ViewChange(Box::new(change)));
    }
    let new_view = signed(&bench, 3, honest(&bench).payload);
    let actions = bench.receive(3, Message::NewView(Box::new(new_view.clone())));
    assert_eq!(accused(&actions), [against(&bench, new_view.clone())]);
    assert!(against(&bench, new_view).holds(&bench.scope.chain, &bench.scope.validators));
    assert_eq!(bench.engine.status().view.0, 1, "nothing is wrong with its primary");
    let actions = bench.receive(1, Message::NewView(Box::new(honest(&bench))));
    assert!(accused(&actions).is_empty());
    assert!(bench.log.records.iter().any(|it| matches!(it, Record::NewView(_))), "and it is entered");
}

/// Certificates and requests in it may be forged, so they teach nothing and move nobody.
#[test]
fn nothing_in_a_false_new_view_is_believed() {
    let mut bench = Bench::new(4, 2);
    let block = bench.first();
    bench.propose(&block);
    let mut payload = honest(&bench).payload;
    payload.proof.base = Some(bench.certificate(&block, &SIGNERS[..2]));
    let new_view = signed(&bench, 1, payload);
    let actions = bench.receive(1, Message::NewView(Box::new(new_view)));
    assert!(delivered(&actions).is_empty());
    assert_eq!(bench.engine.status().view.0, 0);
    assert!(sent(&actions).is_empty());
    let refused = |it: &Action<Message>| matches!(it, Action::Reject { from, why: Rejection::BadCertificate { .. } } if *from == index(1));
    assert!(actions.iter().any(refused), "whoever sent it is told of: {actions:?}");
}

/// > §4 … when the primary provably sent a false NEW-VIEW
#[test]
fn a_primary_whose_proof_is_wrong_is_suspected() {
    let mut bench = Bench::new(4, 2);
    for signer in [1, 3] {
        let change = bench.change(signer, 1, Vec::new());
        bench.receive(signer, Message::ViewChange(Box::new(change)));
    }
    let mut payload = honest(&bench).payload;
    payload.proof.prepared.clear();
    let new_view = signed(&bench, 1, payload);
    bench.receive(1, Message::NewView(Box::new(new_view)));
    assert_eq!(bench.engine.status().view.0, 2);
}

/// What a relay changes, and what only those can judge who know more than the validators, accuses nobody.
#[test]
fn what_is_not_provable_is_refused_and_accuses_nobody() {
    let bench = Bench::new(4, 2);
    let holds = |it: &NewView| against(&bench, it.clone()).holds(&bench.scope.chain, &bench.scope.validators);
    for (what, falsify) in FALSE {
        let mut relayed = honest(&bench);
        falsify(&bench, &mut relayed.payload);
        let why = bench.refused(Message::NewView(Box::new(relayed.clone())));
        assert_eq!(why, Rejection::BadSignature(index(1)), "{what}");
        assert!(!holds(&relayed), "{what}");
    }
    // A base without its certificate may be where the epoch starts.
    let blocks = bench.chain(17);
    let base = Base { certificate: None, ..bench.base(&blocks[0], &SIGNERS) };
    let baseless = [0, 1, 3].map(|it| bench.change_from(it, 1, base.clone(), Vec::new()));
    // The window is the chain's.
    let wide = blocks.iter().map(|it| bench.prepared(0, it, &SIGNERS)).collect();
    let wide = [bench.change(0, 1, wide), bench.change(1, 1, Vec::new()), bench.change(3, 1, Vec::new())];
    let all = blocks.iter().map(|it| it.hash()).collect();
    for new_view in [bench.new_view(1, baseless.to_vec(), Vec::new()), bench.new_view(1, wide.to_vec(), all)]
    {
        assert!(matches!(
            bench.refused(Message::NewView(Box::new(new_view.clone()))),
            Rejection::Malformed(_)
        ));
        assert!(!holds(&new_view));
    }
}

/// VIEW-CHANGEs' certificates are unsigned: whoever changes them on their way makes no correct primary sign what is false.
#[test]
fn a_primary_starts_from_what_it_has_verified_whatever_became_of_it_on_the_way() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let good = bench.change(2, 1, vec![bench.prepared(0, &block, &[0, 2, 3])]);
    let mut stripped = good.clone();
    stripped.proof.prepared.clear();
    let mut forged = good.clone();
    forged.proof.prepared[0].signatures = bench.prepared(3, &block, &[0, 2, 3]).signatures;
    for changed in [stripped, forged] {
        bench.refused(Message::ViewChange(Box::new(changed)));
    }
    let mut started = Vec::new();
    for change in [good, bench.change(3, 1, Vec::new())] {
        let from = change.signer.as_usize();
        started.extend(sent(&bench.receive(from, Message::ViewChange(Box::new(change)))));
    }
    let started = started.into_iter().find_map(|(_, it)| match it {
        Message::NewView(it) => Some(*it),
        _ => None,
    });
    let started = started.expect("three ask for it");
    assert!(!against(&bench, started.clone()).holds(&bench.scope.chain, &bench.scope.validators));
    let verified = Pbft::verify(&bench.scope, Default::default(), Message::NewView(Box::new(started)));
    assert!(verified.expect("it is well made").fault().is_none());
}

/// A key that runs elsewhere, too, and lies there.
#[test]
fn a_false_new_view_of_ones_own_silences() {
    let mut bench = Bench::new(4, 2);
    let own = signed(&bench, 2, honest(&bench).payload);
    let actions = bench.receive(1, Message::NewView(Box::new(own)));
    assert!(actions.iter().any(|it| matches!(it, Action::Abstain { .. })), "{actions:?}");
    assert!(accused(&actions).is_empty());
}

/// Who is no validator of a set, or of another chain, is not accused under it.
#[test]
fn a_false_new_view_proves_something_in_its_set_and_chain_alone() {
    let bench = Bench::new(4, 2);
    let mut payload = honest(&bench).payload;
    payload.blocks.clear();
    let proof = against(&bench, signed(&bench, 1, payload));
    assert!(proof.holds(&bench.scope.chain, &bench.scope.validators));
    let strangers = (0..4).map(|it| SecretKey::from_seed([100 + it; 32]).public()).collect();
    let strangers = quorate_ledger::ValidatorSet::new(strangers).expect("different keys");
    assert!(!proof.holds(&bench.scope.chain, &strangers));
    assert!(!proof.holds(&quorate_crypto::Hash::of(b"another chain"), &bench.scope.validators));
}
