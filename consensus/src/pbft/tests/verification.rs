//! `docs/pbft.md` §2: what is refused before an engine sees it.

use std::sync::Arc;

use proptest::prelude::*;
use quorate_crypto::{Domain, Hash, codec};
use quorate_ledger::{
    BLOCK_TRANSACTIONS_LIMIT, Block, CheckpointPayload, CommitPayload, Epoch, Header, Height, View,
};

use super::bench::{Bench, index};
use crate::{
    engine::{Action, Engine as _, Event, Horizon, Proposal, Verified},
    evidence::VoteKind,
    pbft::{
        Message, Pbft, Record,
        message::{
            CheckpointReport, HeightReport, PREPARED_MAX, PrePrepare, REPROPOSED_MAX, Recall, STATEMENTS_MAX,
            STATUS_HEIGHTS_MAX, Statement, StatusReport, VIEW_CHANGES_MAX, Vote,
        },
        primary,
    },
    rejection::Rejection,
};

#[test]
fn signatures_hold_for_one_kind_of_message_only() {
    let bench = Bench::new(4, 1);
    let vote = bench.vote(VoteKind::Prepare, 2, &bench.first());
    assert_eq!(bench.refused(Message::Commit(vote)), Rejection::BadSignature(index(2)));
}

#[test]
fn signatures_hold_for_one_signer_place_and_chain_only() {
    let bench = Bench::new(4, 1);
    let vote = bench.vote(VoteKind::Commit, 2, &bench.first());
    let mut forged = vote.clone();
    forged.signer = index(3);
    assert_eq!(bench.refused(Message::Commit(forged)), Rejection::BadSignature(index(3)));
    let mut forged = vote.clone();
    forged.signer = index(4);
    assert_eq!(bench.refused(Message::Commit(forged)), Rejection::UnknownSigner(index(4)));
    let mut forged = vote.clone();
    forged.payload.view = View(1);
    assert_eq!(bench.refused(Message::Commit(forged)), Rejection::BadSignature(index(2)));
    let mut forged = vote.clone();
    forged.payload.height = Height(2);
    assert_eq!(bench.refused(Message::Commit(forged)), Rejection::BadSignature(index(2)));
    let mut elsewhere = Bench::new(4, 1);
    elsewhere.scope.chain = Hash::of(b"another chain");
    assert_eq!(elsewhere.refused(Message::Commit(vote)), Rejection::BadSignature(index(2)));
}

#[test]
fn no_kind_of_message_is_taken_with_the_signature_of_another_payload() {
    let bench = Bench::new(4, 2);
    let block = bench.first();
    let mut vote = bench.vote(VoteKind::Prepare, 3, &block);
    vote.payload.view = View(1);
    assert_eq!(bench.refused(Message::Prepare(vote)), Rejection::BadSignature(index(3)));
    let mut checkpoint = bench.checkpoint(3, bench.result(&block));
    checkpoint.payload.state_root = Hash::of(b"another state");
    assert_eq!(bench.refused(Message::Checkpoint(checkpoint)), Rejection::BadSignature(index(3)));
    let mut change = bench.change(3, 1, Vec::new());
    change.payload.view = View(2);
    assert_eq!(bench.refused(Message::ViewChange(Box::new(change))), Rejection::BadSignature(index(3)));
    let changes = [0, 1, 3].map(|signer| bench.change(signer, 1, Vec::new()));
    let mut new_view = bench.new_view(1, changes.to_vec(), Vec::new());
    new_view.payload.blocks.push(block.hash());
    assert_eq!(bench.refused(Message::NewView(Box::new(new_view))), Rejection::BadSignature(index(1)));
}

#[test]
fn other_epochs_are_refused() {
    let mut bench = Bench::new(4, 1);
    let vote = bench.vote(VoteKind::Commit, 2, &bench.first());
    bench.scope.epoch = Epoch(1);
    let why = bench.refused(Message::Commit(vote));
    assert_eq!(why, Rejection::WrongEpoch { got: Epoch(0), want: Epoch(1) });
}

#[test]
fn only_the_primary_proposes() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let prepare = bench.vote(VoteKind::Prepare, 2, &block);
    let why = bench.refused(Message::PrePrepare(PrePrepare::of(&block, prepare, None)));
    assert_eq!(why, Rejection::NotPrimary { signer: index(2), view: View(0) });
}

#[test]
fn a_relayed_proposal_must_name_the_headers_transactions() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let prepare = bench.vote(VoteKind::Prepare, 0, &block);
    let header = block.header().clone();
    let proposal = Arc::new(Proposal { header, transactions: vec![Hash::of(b"not in it")] });
    let message = Message::PrePrepare(PrePrepare { proposal, prepare, anchor: None });
    assert!(matches!(bench.refused(message), Rejection::Malformed(_)));
}

#[test]
fn the_prepare_with_a_proposal_must_be_for_it() {
    let bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    let other = bench.block(Height(1), bench.scope.chain, blocks[1].time());
    let named = [&blocks[1], &other].map(|it| bench.payload(it));
    // The block is the one, and the height another.
    let elsewhere = CommitPayload { height: Height(2), ..bench.payload(&blocks[0]) };
    for payload in named.into_iter().chain([elsewhere]) {
        let signature = bench.keys[0].sign(Domain::Prepare, &bench.scope.chain, &payload);
        let prepare = Vote { payload, signer: index(0), signature };
        let message = Message::PrePrepare(PrePrepare::of(&blocks[0], prepare, None));
        assert!(matches!(bench.refused(message), Rejection::Malformed(_)));
    }
}

#[test]
fn a_proposal_is_of_this_chain() {
    let bench = Bench::new(4, 1);
    let header = Header { chain: Hash::of(b"another chain"), ..bench.first().header().clone() };
    let block = Block::new(header, Vec::new());
    assert_eq!(bench.refused(bench.pre_prepare(&block)), Rejection::WrongChain);
}

#[test]
fn a_proposal_is_of_this_epoch_and_version() {
    let bench = Bench::new(4, 1);
    let header = bench.first().header().clone();
    let epoch = Header { epoch: Epoch(1), ..header.clone() };
    let version = Header { version: header.version + 1, ..header };
    for header in [epoch, version] {
        let block = Block::new(header, Vec::new());
        assert!(matches!(bench.refused(bench.pre_prepare(&block)), Rejection::Malformed(_)));
    }
}

/// A signature of one's own makes no number true: whatever a validator names, the others refuse or wait, and go on.
#[test]
fn no_number_that_a_liar_signs_stops_a_replica() {
    for epoch in EXTREMES {
        for view in EXTREMES {
            for height in EXTREMES {
                for message in says_alone(Epoch(epoch), View(view), Height(height)) {
                    let mut bench = Bench::new(4, 1);
                    let Ok(verified) = Pbft::verify(&bench.scope, Horizon::default(), message) else {
                        continue;
                    };
                    let actions =
                        bench.step(Event::Message { from: primary(View(view), 4), message: verified });
                    assert!(actions.iter().all(|it| !matches!(it, Action::Halt { .. })), "{actions:?}");
                    bench.after_millis(60_000);
                    bench.step(Event::Tick);
                }
            }
        }
    }
}

const EXTREMES: [u64; 4] = [0, 1, u64::MAX - 1, u64::MAX];

/// What the primary of a view can say of these numbers with its own key and nobody's help, whole or not.
fn says_alone(epoch: Epoch, view: View, height: Height) -> Vec<Message> {
    let mut bench = Bench::new(4, 1);
    let first = bench.first();
    let result = CheckpointPayload { epoch, height, ..bench.result(&first) };
    let signer = primary(view, 4).as_usize();
    let checkpoint = bench.checkpoint_certificate(result, &[signer]);
    let time = first.time().plus_millis(1);
    let anchored = bench.block_with(height, first.hash(), time, result.anchor());
    let of_epoch = Block::new(Header { epoch, ..anchored.header().clone() }, Vec::new());
    let proposals = [&anchored, &of_epoch].map(|block| {
        let vote = bench.vote_in(view.0, VoteKind::Prepare, signer, block);
        Message::PrePrepare(PrePrepare::of(block, vote, Some(Arc::new(checkpoint.clone()))))
    });
    bench.scope.epoch = epoch;
    let report = StatusReport {
        view,
        delivered: height,
        certificate: Some(bench.certificate(&anchored, &[signer])),
        stable: height,
        checkpoint: Some(checkpoint),
        heights: vec![HeightReport {
            height,
            proposal: true,
            prepares: bench.signers(&[signer]),
            commits: bench.signers(&[signer]),
        }],
        checkpoints: vec![CheckpointReport { height, signers: bench.signers(&[signer]) }],
        ..bench.empty_status()
    };
    let base = bench.base(&anchored, &[signer]);
    let change = bench.change_from(signer, view.0, base, vec![bench.prepared(view.0, &anchored, &[signer])]);
    let bare = StatusReport { certificate: None, checkpoint: None, ..report.clone() };
    proposals
        .into_iter()
        .chain([
            Message::Prepare(bench.vote_in(view.0, VoteKind::Prepare, signer, &anchored)),
            Message::Commit(bench.vote_in(view.0, VoteKind::Commit, signer, &anchored)),
            Message::Checkpoint(bench.checkpoint(signer, result)),
            Message::ViewChange(Box::new(bench.change(signer, view.0, Vec::new()))),
            Message::ViewChange(Box::new(change.clone())),
            Message::NewView(Box::new(bench.new_view(view.0, vec![change], vec![anchored.hash()]))),
            Message::Status(Box::new(report)),
            Message::Status(Box::new(bare)),
            Message::Recall(Recall { epoch, nonce: u64::MAX }),
        ])
        .collect()
}

/// `docs/pbft.md` §7: the checkpoint that an epoch starts from was signed by the set of the epoch before.
#[test]
fn the_checkpoint_that_closes_an_epoch_is_judged_by_the_set_that_signed_it() {
    let bench = Bench::new(4, 1);
    let last = bench.first();
    let mut next = bench.scope.clone();
    next.epoch = Epoch(1);
    next.start = (last.height(), last.hash());
    next.previous = Some(next.validators.clone());
    let keys = [5, 6, 7, 8].map(|it| quorate_crypto::SecretKey::from_seed([100 + it; 32]).public());
    next.validators = quorate_ledger::ValidatorSet::new(keys.to_vec()).expect("different keys");
    let closing = bench.checkpoint_certificate(bench.result(&last), &[0, 2, 3]);
    let with = |checkpoint| {
        let report = StatusReport { epoch: Epoch(1), checkpoint, ..bench.empty_status() };
        Pbft::verify(&next, Horizon::default(), Message::Status(Box::new(report))).map(drop)
    };
    assert_eq!(with(Some(closing.clone())), Ok(()));
    // Another height of that epoch is none of this one's business.
    let other = bench.checkpoint_certificate(bench.result(&bench.child(&last)), &[0, 2, 3]);
    assert!(matches!(with(Some(other)), Err(Rejection::WrongEpoch { .. })));
    let mut forged = closing;
    forged.payload.state_root = Hash::of(b"another state");
    assert!(matches!(with(Some(forged)), Err(Rejection::BadCertificate { .. })));
}

#[test]
fn certificates_need_a_quorum_and_good_signatures() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let with = |signers: &[usize]| {
        let certificate = Some(bench.certificate(&block, signers));
        Message::Status(Box::new(StatusReport { certificate, ..bench.empty_status() }))
    };
    assert!(Pbft::verify(&bench.scope, Horizon::default(), with(&[0, 1, 2])).is_ok());
    assert!(matches!(bench.refused(with(&[0, 1])), Rejection::BadCertificate { .. }));
    let mut forged = bench.certificate(&block, &[0, 1, 2]);
    forged.payload.block = Hash::of(b"another block");
    let report = StatusReport { certificate: Some(forged), ..bench.empty_status() };
    assert!(matches!(bench.refused(Message::Status(Box::new(report))), Rejection::BadCertificate { .. }));
}

#[test]
fn no_message_brings_a_certificate_that_does_not_hold() {
    let bench = Bench::new(4, 2);
    let first = bench.first();
    let short = bench.checkpoint_certificate(bench.result(&first), &[0, 1]);
    let report = StatusReport { checkpoint: Some(short.clone()), ..bench.empty_status() };
    assert!(matches!(bench.refused(Message::Status(Box::new(report))), Rejection::BadCertificate { .. }));
    let time = first.time().plus_millis(1);
    let block = bench.block_with(Height(2), first.hash(), time, short.payload.anchor());
    let prepare = bench.vote(VoteKind::Prepare, 0, &block);
    let proposal = PrePrepare::of(&block, prepare, Some(Arc::new(short)));
    assert!(matches!(bench.refused(Message::PrePrepare(proposal)), Rejection::BadCertificate { .. }));
    let change = bench.change_from(3, 1, bench.base(&first, &[0, 1]), Vec::new());
    assert!(matches!(bench.refused(Message::ViewChange(Box::new(change))), Rejection::BadCertificate { .. }));
}

/// > NEW-VIEW holds the claims of its VIEW-CHANGEs, and of their certificates exactly those that the choice looks at
#[test]
fn the_certificate_that_a_new_view_shows_is_verified_itself() {
    let bench = Bench::new(4, 2);
    let block = bench.first();
    let whole = bench.prepared(0, &block, &[0, 1, 2]);
    let showing = |shown| {
        let changes = vec![
            bench.change(0, 1, vec![shown]),
            bench.change(1, 1, vec![whole.clone()]),
            bench.change(3, 1, Vec::new()),
        ];
        Message::NewView(Box::new(bench.new_view(1, changes, vec![block.hash()])))
    };
    assert!(Pbft::verify(&bench.scope, Horizon::default(), showing(whole.clone())).is_ok());
    let short = bench.prepared(0, &block, &[0, 1]);
    let why = bench.falsehood(showing(short));
    assert!(
        matches!(why, Rejection::BadCertificate { .. }),
        "another VIEW-CHANGE's would have held: {why:?}"
    );
}

#[test]
fn certificates_at_or_below_the_horizon_are_dropped_unverified() {
    let bench = Bench::new(4, 1);
    let mut forged = bench.certificate(&bench.first(), &[0, 1]);
    forged.payload.block = Hash::of(b"another block");
    let short = bench.checkpoint_certificate(bench.result(&bench.first()), &[0, 1]);
    let told = StatusReport { certificate: Some(forged), checkpoint: Some(short), ..bench.empty_status() };
    for (committed, stable, looks) in [(1, 1, false), (0, 1, true), (1, 0, true)] {
        let horizon = Horizon { committed: Height(committed), stable: Height(stable), ..Horizon::default() };
        let verified = Pbft::verify(&bench.scope, horizon, Message::Status(Box::new(told.clone())));
        match verified.map(Verified::into_inner) {
            Ok(left) => assert!(!looks && left == Message::Status(Box::new(bench.empty_status()))),
            Err(why) => {
                assert!(looks && matches!(why, Rejection::BadCertificate { .. }), "{horizon:?}: {why}");
            }
        }
    }
}

#[test]
fn status_is_bounded_and_as_wide_as_the_set() {
    let bench = Bench::new(4, 1);
    let report = |heights: usize, n: usize| {
        let one = HeightReport {
            height: Height(1),
            proposal: false,
            prepares: quorate_crypto::Signers::new(n),
            commits: quorate_crypto::Signers::new(n),
        };
        let heights = vec![one; heights];
        Message::Status(Box::new(StatusReport { heights, ..bench.empty_status() }))
    };
    assert!(Pbft::verify(&bench.scope, Horizon::default(), report(STATUS_HEIGHTS_MAX, 4)).is_ok());
    assert!(matches!(bench.refused(report(STATUS_HEIGHTS_MAX + 1, 4)), Rejection::Malformed(_)));
    assert!(matches!(bench.refused(report(1, 5)), Rejection::Malformed(_)));
}

#[test]
fn messages_survive_their_encoding() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let messages = [
        bench.pre_prepare(&block),
        bench.prepare(2, &block),
        bench.commit(3, &block),
        Message::Checkpoint(bench.checkpoint(1, bench.result(&block))),
        Message::Status(Box::new(bench.empty_status())),
    ];
    for message in messages {
        let bytes = codec::encode(&message);
        assert_eq!(codec::decode::<Message>(&bytes).expect("it was just encoded"), message);
        for cut in 0..bytes.len() {
            assert!(codec::decode::<Message>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}

/// That a message decodes with lists as long as they may be, and not with one item more.
fn assert_bound(limit: usize, message: impl Fn(usize) -> Message) {
    assert!(codec::decode::<Message>(&codec::encode(&message(limit))).is_ok(), "at {limit}");
    let past = codec::decode::<Message>(&codec::encode(&message(limit + 1)));
    let reason = past.expect_err("one past the bound").to_string();
    assert!(reason.contains(&format!("at most {limit} are allowed")), "{reason}");
}

#[test]
fn lists_decode_up_to_their_bounds_and_not_one_past_them() {
    let bench = Bench::new(4, 1);
    let block = bench.first();
    let certificate = bench.prepared(0, &block, &[0, 1, 2]);
    assert_bound(PREPARED_MAX, |count| {
        let mut change = bench.change(2, 1, Vec::new());
        change.payload.prepared = vec![certificate.payload; count];
        Message::ViewChange(Box::new(change))
    });
    assert_bound(PREPARED_MAX, |count| {
        let mut change = bench.change(2, 1, Vec::new());
        change.proof.prepared = vec![certificate.clone(); count];
        Message::ViewChange(Box::new(change))
    });
    let change = bench.change(2, 1, Vec::new());
    assert_bound(VIEW_CHANGES_MAX, |count| {
        Message::NewView(Box::new(bench.new_view(1, vec![change.clone(); count], Vec::new())))
    });
    assert_bound(REPROPOSED_MAX, |count| {
        Message::NewView(Box::new(bench.new_view(1, Vec::new(), vec![block.hash(); count])))
    });
    let prepares = bench.signers(&[1]);
    let height =
        HeightReport { height: Height(1), proposal: true, prepares: prepares.clone(), commits: prepares };
    assert_bound(STATUS_HEIGHTS_MAX, |count| {
        let heights = vec![height.clone(); count];
        Message::Status(Box::new(StatusReport { heights, ..bench.empty_status() }))
    });
    let checkpoint = CheckpointReport { height: Height(1), signers: bench.signers(&[1]) };
    assert_bound(STATUS_HEIGHTS_MAX, |count| {
        let checkpoints = vec![checkpoint.clone(); count];
        Message::Status(Box::new(StatusReport { checkpoints, ..bench.empty_status() }))
    });
    assert_bound(STATEMENTS_MAX, |count| {
        bench.holdings(vec![Statement::Commit(bench.vote(VoteKind::Commit, 1, &block)); count])
    });
    let transactions = usize::try_from(BLOCK_TRANSACTIONS_LIMIT).expect("a small constant");
    assert_bound(transactions, |count| {
        let proposal = Proposal { header: block.header().clone(), transactions: vec![Hash::ZERO; count] };
        let prepare = bench.vote(VoteKind::Prepare, 0, &block);
        Message::PrePrepare(PrePrepare { proposal: Arc::new(proposal), prepare, anchor: None })
    });
}

proptest! {
    #[test]
    fn any_bytes_decode_to_an_error_or_to_what_encodes_to_them(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(message) = codec::decode::<Message>(&bytes) {
            prop_assert_eq!(codec::encode(&message), bytes.clone());
        }
        if let Ok(record) = codec::decode::<Record>(&bytes) {
            prop_assert_eq!(codec::encode(&record), bytes);
        }
    }

    #[test]
    fn a_changed_byte_never_gives_another_verified_vote(at in 0usize..1_000, flip in 1u8..) {
        let bench = Bench::new(4, 1);
        let mut bytes = codec::encode(&bench.commit(2, &bench.first()));
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(message) = codec::decode::<Message>(&bytes) {
            prop_assert!(Pbft::verify(&bench.scope, Horizon::default(), message).is_err());
        }
    }
}
