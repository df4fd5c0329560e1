//! Any bytes where a message or a record is expected.

use quorate_crypto::{Hash, codec};
use quorate_ledger::Height;

use super::super::bench::{Bench, genesis_tip};
use crate::{
    engine::{Engine as _, Evidence, Horizon},
    evidence::{Signed, VoteKind},
    pbft::{
        Message, Pbft, Record,
        message::{CheckpointReport, HeightReport, PrePrepare, Recall, Statement, StatusReport},
    },
};

/// One message of each kind, with whatever it can carry.
fn messages(bench: &Bench) -> Vec<Message> {
    let blocks = bench.chain(3);
    let (first, second) = (&blocks[0], &blocks[1]);
    let checkpoint = bench.checkpoint_certificate(bench.result(first), &[0, 2, 3]);
    let mut proposal = PrePrepare::of(second, bench.vote(VoteKind::Prepare, 0, second), None);
    proposal.anchor = Some(checkpoint.clone().into());
    let prepared = vec![bench.prepared(0, second, &[0, 1, 2]), bench.prepared(0, &blocks[2], &[0, 2, 3])];
    let change = |signer| bench.change_from(signer, 1, bench.base(first, &[1, 2, 3]), prepared.clone());
    let new_view = bench.new_view(1, (1..4).map(change).collect(), vec![second.hash(), blocks[2].hash()]);
    let signers = bench.signers(&[0, 3]);
    let height = HeightReport {
        height: Height(2),
        proposal: true,
        prepares: signers.clone(),
        commits: signers.clone(),
    };
    let status = StatusReport {
        delivered: Height(1),
        certificate: Some(bench.certificate(first, &[0, 1, 2])),
        stable: Height(1),
        checkpoint: Some(checkpoint),
        heights: vec![height],
        checkpoints: vec![CheckpointReport { height: Height(2), signers }],
        ..bench.empty_status()
    };
    vec![
        Message::PrePrepare(proposal),
        bench.pre_prepare(first),
        bench.prepare(2, first),
        bench.commit(3, first),
        Message::Checkpoint(bench.checkpoint(2, bench.result(first))),
        Message::ViewChange(Box::new(change(2))),
        Message::NewView(Box::new(new_view)),
        Message::Status(Box::new(status)),
        Message::Recall(Recall { epoch: bench.scope.epoch, nonce: 7 }),
        bench.holdings(vec![
            Statement::Prepare(bench.vote(VoteKind::Prepare, 1, first)),
            Statement::Commit(bench.vote(VoteKind::Commit, 1, first)),
            Statement::Checkpoint(bench.checkpoint(1, bench.result(first))),
            Statement::ViewChange(Box::new(change(1).request())),
        ]),
    ]
}

/// Whatever a peer sends is refused, or is what encodes to it; and judging it ends, whatever it says.
#[test]
fn message() {
    let bench = Bench::new(4, 1);
    let samples: Vec<_> = messages(&bench).iter().map(codec::encode).collect();
    bolero::check!(name = "message").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let message = codec::decode::<Message>(bytes).ok()?;
            let encoding = codec::encode(&message);
            // Refused or not: judging it ends.
            let _ = Pbft::verify(&bench.scope, Horizon::default(), message);
            Some(encoding)
        });
    });
}

/// Whatever the log holds is refused, or is what encodes to it; and an engine opens on it, or says why not.
#[test]
fn record() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let payload = bench.payload(&block);
    let signatures = bench.prepared(0, &block, &[0, 1, 2]).signatures;
    let change = bench.change(1, 1, vec![bench.prepared(0, &block, &[0, 1, 2])]);
    let anchor = Some(bench.checkpoint_certificate(bench.result(&block), &[0, 2, 3]).into());
    let prepare = Some(bench.vote(VoteKind::Prepare, 0, &block));
    let again = Record::AcceptedAgain { payload, prepare: prepare.clone(), anchor: anchor.clone() };
    let accepted = Record::Accepted { block: block.clone(), view: quorate_ledger::View(0), prepare, anchor };
    let changes = vec![change.clone(), bench.change(2, 1, Vec::new()), bench.change(3, 1, Vec::new())];
    let records = [
        Record::Dropped { epoch: bench.scope.epoch, height: Height(1), checkpoint: Height(1) },
        accepted,
        Record::Voted { kind: VoteKind::Commit, vote: bench.vote(VoteKind::Commit, 1, &block) },
        Record::Prepared { payload, signatures },
        Record::Checkpointed(bench.checkpoint(1, bench.result(&block))),
        Record::ViewChanged(Box::new(change)),
        Record::NewView(Box::new(bench.new_view(1, changes, vec![block.hash()]))),
        again,
    ];
    let samples: Vec<_> = records.iter().map(codec::encode).collect();
    bolero::check!(name = "record").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            Some(codec::encode(&codec::decode::<Record>(bytes).ok()?))
        });
    });
    // Whole records that do not belong together are a damaged log, not a panic.
    for first in &records {
        for second in &records {
            let opened =
                Pbft::open(bench.setup(), genesis_tip(&bench.scope), vec![first.clone(), second.clone()]);
            let again = |it: &Record| matches!(it, Record::AcceptedAgain { .. });
            let bodiless = again(first) || again(second) && !matches!(first, Record::Accepted { .. });
            assert_eq!(opened.is_err(), bodiless, "only a body that is missing contradicts here");
        }
    }
}

/// Evidence comes from peers of peers, and is checked by strangers.
#[test]
fn evidence() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let other = bench.block(Height(1), bench.scope.chain, super::super::bench::START.plus_millis(9));
    let signer = bench.keys[2].public();
    let vote = |block| {
        let vote = bench.vote(VoteKind::Prepare, 2, block);
        Signed { payload: vote.payload, signature: vote.signature }
    };
    let change = |prepared| {
        let change = bench.change(2, 1, prepared);
        Box::new(Signed { payload: change.payload, signature: change.signature })
    };
    let new_view = |blocks| {
        let changes =
            (1..4).map(|it| bench.change(it, 2, vec![bench.prepared(0, &block, &[0, 1, 2])])).collect();
        let new_view = bench.new_view(2, changes, blocks);
        Box::new(Signed { payload: new_view.payload, signature: new_view.signature })
    };
    let result = |root| {
        let mut payload = bench.result(&block);
        payload.state_root = root;
        Signed { payload, signature: bench.checkpoint(2, payload).signature }
    };
    let all = [
        Evidence::DoubleVote { signer, kind: VoteKind::Prepare, first: vote(&block), second: vote(&other) },
        Evidence::DoubleCheckpoint { signer, first: result(Hash::ZERO), second: result(block.hash()) },
        Evidence::DoubleViewChange {
            signer,
            first: change(Vec::new()),
            second: change(vec![bench.prepared(0, &block, &[0, 1, 2])]),
        },
        Evidence::DoubleNewView { signer, first: new_view(vec![block.hash()]), second: new_view(Vec::new()) },
        Evidence::FalseNewView { signer, new_view: new_view(vec![other.hash()]) },
    ];
    for evidence in &all {
        assert!(evidence.holds(&bench.scope.chain, &bench.scope.validators), "{evidence:?}");
    }
    let samples: Vec<_> = all.iter().map(codec::encode).collect();
    bolero::check!(name = "evidence").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let evidence = codec::decode::<Evidence>(bytes).ok()?;
            if evidence.holds(&bench.scope.chain, &bench.scope.validators) {
                assert_eq!(
                    *evidence.signer(),
                    signer,
                    "nobody else signed anything here that excludes something"
                );
            }
            let _ = (evidence.kind(), evidence.place());
            Some(codec::encode(&evidence))
        });
    });
}
