//! `docs/pbft.md` §6: what a replica does after a crash.

use std::sync::Arc;

use quorate_ledger::{ExecutionOutcome, Height, Parameters, Tip, UnixMillis, View};

use super::bench::{Bench, START, delivered, genesis_tip, index, sent};
use crate::{
    engine::{Action, Engine, Event, Horizon, Log, OpenError, Output, Role, To, Verdict},
    evidence::VoteKind,
    pbft::{Message, Pbft, Record, message::PrePrepare},
    vote_log::{Mark, VoteLog, VoteLogError},
};

#[test]
fn a_restarted_replica_sends_the_same_bytes_and_signs_nothing_against_them() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block);
    let vote = bench.prepare(2, &block);
    bench.receive(2, vote);
    let before = bench.log.records.clone();
    bench.restart(genesis_tip(&bench.scope));

    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(2));
    let message = bench.pre_prepare(&other);
    assert!(sent(&bench.receive(0, message)).iter().all(|(_, it)| matches!(it, Message::Status(_))));
    assert!(bench.accept(&other).is_empty(), "another block is accepted there");
    let status = Message::Status(Box::new(bench.empty_status()));
    let to = To::One(index(3));
    let expected = vec![
        (to, bench.pre_prepare(&block)),
        (to, Message::Prepare(bench.vote(VoteKind::Prepare, 1, &block))),
        (to, Message::Commit(bench.vote(VoteKind::Commit, 1, &block))),
    ];
    assert_eq!(sent(&bench.receive(3, status)), expected);
    assert_eq!(bench.log.records, before, "nothing new was promised");
}

#[test]
fn a_crash_between_acceptance_and_vote_is_made_good() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block);
    bench.log.records.truncate(1); // as if the machine had stopped in a batch that held acceptance only
    let vote = Message::Prepare(bench.vote(VoteKind::Prepare, 1, &block));
    assert!(sent(&bench.restart(genesis_tip(&bench.scope))).contains(&(To::All, vote)));
}

#[test]
fn records_say_all_that_every_record_ever_written_said() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(3);
    for block in &blocks {
        bench.propose(block);
        let vote = bench.prepare(2, block);
        bench.receive(2, vote);
    }
    for signer in [2, 3] {
        let vote = bench.commit(signer, &blocks[0]);
        bench.receive(signer, vote);
    }
    bench.executed(&blocks[0]);
    let tip = bench.tip_at(&blocks[0], &[1, 2, 3]);
    let all = Pbft::open(bench.setup(), tip.clone(), bench.log.records.clone()).expect("all records");
    let kept = Pbft::open(bench.setup(), tip, bench.engine.records()).expect("the records that matter");
    assert_eq!(all.status(), kept.status());
    assert_eq!(all.records().len(), kept.records().len());
    for record in kept.records().into_iter().filter(|it| !matches!(it, Record::Dropped { .. })) {
        assert!(all.records().contains(&record), "{record:?}");
    }
    assert!(kept.records().len() < bench.log.records.len(), "height 1 is the ledger's");
}

/// > A replica whose base, or whose executed height, is below it … follows without signing until certified blocks have
/// > brought it back up.
#[test]
fn a_ledger_below_what_was_dropped_is_followed_until_it_has_executed_that_too() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    let (epoch, height) = (bench.scope.epoch, Height(2));
    bench.log.records = vec![Record::Dropped { epoch, height, checkpoint: Height(0) }];
    bench.restart(genesis_tip(&bench.scope));
    bench.step(bench.certified(&blocks, &[0, 2, 3]));
    for block in &blocks {
        assert_eq!(bench.engine.status().role, Role::Follower, "the base alone is there");
        bench.executed(block);
    }
    assert_eq!(bench.engine.status().role, Role::Replica);
}

/// > If that fails there are no actions and the node ends
#[test]
fn nothing_is_done_that_could_not_be_written() {
    struct Broken;
    impl Log<Record> for Broken {
        fn append(&mut self, _: &[Record]) -> std::io::Result<()> {
            Err(std::io::Error::other("the disk is full"))
        }

        fn wants_compaction(&self) -> bool {
            false
        }

        fn compact(&mut self, _: &[Record]) -> std::io::Result<()> {
            unreachable!("nobody asks for it")
        }
    }
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let message = bench.pre_prepare(&block);
    bench.receive(0, message);
    let mut out = Output::new(bench.scope.epoch);
    let verdict = Verdict::Accept(Arc::clone(&block));
    bench.engine.step(bench.now, Event::Checked { block: block.hash(), verdict }, &mut out);
    assert!(out.commit(&mut Broken).is_err(), "the vote stays here");
}

#[test]
fn a_compacted_log_knows_the_view_and_how_it_started() {
    for active in [false, true] {
        let mut bench = Bench::new(4, 2);
        let changes = [0, 1, 3].map(|it| bench.change(it, 3, Vec::new()));
        for change in &changes[..2] {
            bench.receive(change.signer.as_usize(), Message::ViewChange(Box::new(change.clone())));
        }
        if active {
            let new_view = bench.new_view(3, changes.to_vec(), Vec::new());
            bench.receive(3, Message::NewView(Box::new(new_view)));
        }
        let asked = bench.log.records.iter().find(|it| matches!(it, Record::ViewChanged(_))).cloned();
        bench.log.records = bench.engine.records();
        bench.restart(genesis_tip(&bench.scope));
        assert_eq!(bench.engine.status().view, View(3));
        bench.after_millis(bench.parameters.resend_ms);
        let sent = sent(&bench.step(Event::Tick));
        let status = sent.iter().find_map(|(_, it)| match it {
            Message::Status(report) => Some((report.view, report.active)),
            _ => None,
        });
        assert_eq!(status, Some((View(3), active)));
        let repeated = sent.iter().find_map(|(_, it)| match it {
            Message::ViewChange(change) => Some(Record::ViewChanged(change.clone())),
            _ => None,
        });
        assert_eq!(repeated, asked.filter(|_| !active), "the same bytes");
    }
}

#[test]
fn records_stay_until_the_ledger_has_synced() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block);
    let vote = bench.prepare(2, &block);
    bench.receive(2, vote);
    for signer in [2, 3] {
        let vote = bench.commit(signer, &block);
        bench.receive(signer, vote);
    }
    let holds_body =
        |bench: &Bench| bench.engine.records().iter().any(|it| matches!(it, Record::Accepted { .. }));
    assert!(holds_body(&bench), "delivered and not yet synced");
    bench.executed(&block);
    assert!(!holds_body(&bench));
}

/// > Records of a height go only when a base has reached it that the ledger has synced
///
/// A certificate may cover many blocks, and a crash may fall between them: from the ledger alone the replica then stands
/// on no base, and only its records say that what is below the certificate may have committed.
#[test]
fn records_stay_until_the_base_itself_is_synced() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(3);
    for block in &blocks {
        bench.propose(block);
        let vote = bench.prepare(2, block);
        bench.receive(2, vote);
    }
    let actions = bench.step(bench.certified(&blocks, &[0, 2, 3]));
    assert_eq!(delivered(&actions), vec![(1, false), (2, false), (3, true)]);
    for block in &blocks[..2] {
        bench.executed(block);
    }
    let prepared = |bench: &Bench| {
        let prepared = bench.engine.records().into_iter().filter_map(|it| match it {
            Record::Prepared { payload, .. } => Some(payload.height.0),
            _ => None,
        });
        prepared.collect::<Vec<_>>()
    };
    assert_eq!(prepared(&bench), vec![1, 2, 3], "the block with the certificate is not synced");

    bench.log.records = bench.engine.records();
    let outcome = ExecutionOutcome { checkpoint: bench.result(&blocks[1]), due: None, epoch_ends: None };
    let tip = Tip {
        base_height: Height(0),
        base: None,
        height: Height(2),
        hash: blocks[1].hash(),
        time: blocks[1].time(),
        outcome,
        ..genesis_tip(&bench.scope)
    };
    bench.restart(tip);
    for signer in [2, 3] {
        let change = Message::ViewChange(Box::new(bench.change(signer, 1, Vec::new())));
        bench.receive(signer, change);
    }
    let own = bench.log.records.iter().find_map(|it| match it {
        Record::ViewChanged(change) => Some(&change.payload),
        _ => None,
    });
    let own = own.expect("two others ask for the view");
    assert_eq!(own.base.height, Height(0));
    let reported: Vec<u64> = own.prepared.iter().map(|it| it.height.0).collect();
    assert_eq!(reported, vec![1, 2, 3], "what may have committed is not forgotten");

    let mut bench = Bench::new(4, 1);
    bench.step(bench.certified(&blocks, &[0, 2, 3]));
    for block in &blocks {
        bench.executed(block);
    }
    assert!(prepared(&bench).is_empty(), "the base is synced: all of it is the ledger's");
    let (epoch, height, checkpoint) = (bench.scope.epoch, Height(3), Height(0));
    assert!(bench.engine.records().contains(&Record::Dropped { epoch, height, checkpoint }));
}

/// > Q equal votes, or a certificate heard of […], make that height stable
///
/// The certificate that came with a proposal may be the only copy: the ledger stores it without a sync of its own.
#[test]
fn the_certificate_of_an_accepted_proposals_anchor_is_heard_after_a_restart_too() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.step(bench.certified(std::slice::from_ref(&block), &[0, 2, 3]));
    bench.executed(&block);
    let result = bench.result(&block);
    let above = bench.block_with(Height(2), block.hash(), START.plus_millis(50), result.anchor());
    let prepare = bench.vote(VoteKind::Prepare, 0, &above);
    let certificate = bench.checkpoint_certificate(result, &[0, 2, 3]);
    let stable = |actions: &[Action<Message>]| {
        let is =
            |it: &Action<Message>| matches!(it, Action::Stable { certificate: it } if *it == certificate);
        actions.iter().any(is)
    };
    let proposal = PrePrepare::of(&above, prepare, Some(certificate.clone().into()));
    assert!(stable(&bench.receive(0, Message::PrePrepare(proposal))));
    bench.accept(&above);
    let tip = bench.tip_at(&block, &[0, 2, 3]);
    assert_eq!(tip.stable_certificate, None, "the power was cut");
    assert!(stable(&bench.restart(tip)));
}

#[test]
fn a_ledger_below_what_was_dropped_is_followed_without_signing() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    bench.step(bench.certified(&blocks[..1], &[0, 2, 3]));
    bench.executed(&blocks[0]);
    bench.log.records = bench.engine.records();
    bench.restart(genesis_tip(&bench.scope)); // the ledger lost its tail
    assert_eq!(bench.engine.status().role, Role::Follower);
    let other = bench.block(Height(1), bench.scope.chain, UnixMillis(START.0 + 2));
    bench.propose(&other);
    assert!(bench.log.records.iter().all(|it| !matches!(it, Record::Voted { .. })));
    let actions = bench.step(bench.certified(&blocks[..1], &[0, 2, 3]));
    assert_eq!(delivered(&actions), vec![(1, true)]);
    bench.executed(&blocks[0]);
    assert_eq!(bench.engine.status().role, Role::Replica);
    assert!(!sent(&bench.propose(&blocks[1])).is_empty(), "it votes again");
}

/// What was dropped is covered by a base, not by what the ledger has executed: below a certificate that is not synced it
/// may have executed blocks that it once prepared and no longer knows of.
#[test]
fn a_ledger_whose_base_is_below_what_was_dropped_is_followed_without_signing() {
    let mut bench = Bench::new(4, 2);
    let blocks = bench.chain(4);
    for block in &blocks[..3] {
        bench.propose(block);
        let vote = bench.prepare(3, block);
        bench.receive(3, vote);
        bench.step(bench.certified(std::slice::from_ref(block), &[0, 1, 3]));
        bench.executed(block);
    }
    bench.log.records = bench.engine.records();
    // Set back to height 1, it has come up again by certified blocks, with a certificate above what it has synced.
    let at_one = bench.tip_at(&blocks[0], &[0, 1, 3]);
    bench.restart(Tip { base_height: Height(1), base: at_one.base, ..bench.tip_at(&blocks[2], &[0, 1, 3]) });
    assert_eq!(bench.engine.status().role, Role::Follower);
    for signer in [0, 1] {
        let change = Message::ViewChange(Box::new(bench.change(signer, 1, Vec::new())));
        let sent = sent(&bench.receive(signer, change));
        assert!(sent.iter().all(|(_, it)| matches!(it, Message::Status(_))), "{sent:?}");
    }
    bench.step(bench.certified(&blocks[3..], &[0, 1, 3]));
    assert_eq!(bench.engine.status().role, Role::Replica, "all that it forgot is below its base");
}

/// > for as long as more is prepared above its base than can be in flight (2W): all of it would have to be reported, and
/// > the others would refuse that.
///
/// Records that are all here beside a ledger that is not: they report more above the old base than can be in flight.
#[test]
fn a_ledger_far_below_the_records_is_followed_without_signing_what_others_would_refuse() {
    let mut bench = Bench::with(4, 1, Parameters { window: 1, log_window: 8, ..Parameters::default() });
    let blocks = bench.chain(3);
    for block in &blocks {
        bench.propose(block);
        let vote = bench.prepare(2, block);
        bench.receive(2, vote);
        bench.step(bench.certified(std::slice::from_ref(block), &[0, 2, 3]));
        bench.executed(block);
    }
    bench.restart(genesis_tip(&bench.scope)); // a copy from before, of the ledger only
    assert_eq!(bench.engine.status().role, Role::Follower);
    for signer in [2, 3] {
        let change = Message::ViewChange(Box::new(bench.change(signer, 1, Vec::new())));
        let sent = sent(&bench.receive(signer, change));
        assert!(sent.iter().all(|(_, it)| matches!(it, Message::Status(_))), "{sent:?}");
    }
    bench.step(bench.certified(&blocks[..1], &[0, 2, 3]));
    assert_eq!(
        bench.engine.status().role,
        Role::Primary,
        "two heights above the base can be in flight: it joins view 1"
    );
    let change = bench.log.records.iter().find_map(|it| match it {
        Record::ViewChanged(change) => Some(change.clone()),
        _ => None,
    });
    let change = Message::ViewChange(change.expect("it joins those who ask"));
    assert!(Pbft::verify(&bench.scope, Horizon::default(), change).is_ok());
}

#[test]
fn a_replica_without_a_key_follows_and_signs_nothing() {
    let mut bench = Bench::new(4, 1);
    let setup = crate::engine::Setup { voter: None, ..bench.setup() };
    bench.engine = Pbft::open(setup, genesis_tip(&bench.scope), Vec::new()).expect("a follower opens");
    let block = bench.first();
    assert!(sent(&bench.propose(&block)).iter().all(|(_, it)| matches!(it, Message::Status(_))));
    let actions = bench.step(bench.certified(&[block], &[0, 2, 3]));
    assert_eq!(delivered(&actions), vec![(1, true)]);
    assert!(bench.log.records.iter().all(|it| matches!(it, Record::Accepted { .. })));
}

/// > A certificate teaches the same wherever it comes from.
///
/// The power goes everywhere, and all ledgers are back below what a view started from: nobody would say it again.
#[test]
fn what_a_view_rests_on_is_known_to_be_committed_after_a_restart_too() {
    let known = |bench: &Bench| (bench.engine.status().view, bench.engine.status().committed);
    let mut bench = Bench::new(4, 2);
    let block = bench.first();
    let base = bench.base(&block, &[0, 1, 3]);
    let changes = vec![
        bench.change(0, 3, Vec::new()),
        bench.change_from(1, 3, base, Vec::new()),
        bench.change(3, 3, Vec::new()),
    ];
    let new_view = bench.new_view(3, changes, Vec::new());
    bench.receive(3, Message::NewView(Box::new(new_view)));
    assert_eq!(known(&bench), (View(3), Height(1)));
    bench.restart(genesis_tip(&bench.scope));
    assert_eq!(known(&bench), (View(3), Height(1)));
}

/// The same of what one asked for another view with.
#[test]
fn what_a_request_rests_on_is_known_to_be_committed_after_a_restart_too() {
    let mut bench = Bench::new(4, 2);
    bench.step(bench.certified(&[bench.first()], &[0, 1, 3]));
    for signer in [0, 1] {
        let change = bench.change(signer, 3, Vec::new());
        bench.receive(signer, Message::ViewChange(Box::new(change)));
    }
    bench.restart(genesis_tip(&bench.scope));
    let status = bench.engine.status();
    assert_eq!((status.view, status.committed), (View(3), Height(1)));
}

#[test]
fn a_key_at_the_wrong_place_is_refused() {
    let bench = Bench::new(4, 1);
    let mut setup = bench.setup();
    if let Some(voter) = &mut setup.voter {
        voter.index = index(2);
    }
    let error = Pbft::open(setup, genesis_tip(&bench.scope), Vec::new()).expect_err("it is another's place");
    assert!(matches!(error, OpenError::ForeignKey { .. }));
}

#[test]
fn a_log_that_contradicts_itself_is_refused() {
    let bench = Bench::new(4, 1);
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(2));
    let records = [bench.first(), Arc::clone(&other)].map(|block| Record::Voted {
        kind: VoteKind::Prepare,
        vote: bench.vote(VoteKind::Prepare, 1, &block),
    });
    let refused = |records: Vec<Record>| {
        let opened = Pbft::open(bench.setup(), genesis_tip(&bench.scope), records);
        assert!(matches!(opened, Err(OpenError::Contradiction { height: Height(1), .. })));
    };
    refused(records.to_vec());
    let records = [bench.first(), Arc::clone(&other)].map(|block| Record::Accepted {
        block,
        view: View(0),
        prepare: None,
        anchor: None,
    });
    refused(records.to_vec());
    let records =
        [&bench.first(), &other].map(|it| Record::Checkpointed(bench.checkpoint(1, bench.result(it))));
    refused(records.to_vec());
}

/// > Refused are: […] The node then follows, signs nothing, and says why
#[test]
fn a_file_whose_records_contradict_each_other_is_refused_like_a_damaged_one() {
    let bench = Bench::new(4, 1);
    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(2));
    let voted = [bench.first(), other]
        .map(|block| Record::Voted { kind: VoteKind::Commit, vote: bench.vote(VoteKind::Commit, 1, &block) });
    let home = tempfile::tempdir().expect("a temporary directory");
    let (votes, mark) = (home.path().join("votes"), home.path().join("mark"));
    Mark::create_unused(&mark).expect("a new mark");
    let open = || VoteLog::<Record>::open(&votes, &mark);
    let (mut log, _) = open().expect("a new log");
    for (record, opens) in voted.into_iter().zip([true, false]) {
        log.append(&[record]).expect("the disk works");
        match open() {
            Ok(_) => assert!(opens),
            Err(error) => {
                assert!(!opens && error.is_refusal(), "{error}");
                assert!(matches!(error, VoteLogError::Contradiction { .. }), "{error}");
            }
        }
    }
}

/// > A log that contradicts itself is refused when it is opened
#[test]
fn a_log_that_asks_for_or_starts_one_view_in_two_ways_is_refused() {
    let bench = Bench::new(4, 1);
    let asked = |view, prepared| Record::ViewChanged(Box::new(bench.change(1, view, prepared)));
    let started = |view, signers: [usize; 3]| {
        let changes = signers.map(|it| bench.change(it, view, Vec::new())).to_vec();
        Record::NewView(Box::new(bench.new_view(view, changes, Vec::new())))
    };
    let prepared = || vec![bench.prepared(0, &bench.first(), &[0, 1, 2])];
    let proven_by_others = vec![bench.prepared(0, &bench.first(), &[0, 1, 3])];
    for (first, second, refused) in [
        (asked(1, Vec::new()), asked(1, prepared()), Some(View(1))),
        (asked(1, Vec::new()), asked(2, prepared()), None),
        (asked(1, prepared()), asked(1, proven_by_others), None),
        (started(2, [0, 1, 2]), started(2, [2, 1, 0]), Some(View(2))),
        (started(2, [0, 1, 2]), started(2, [0, 1, 2]), None),
        (started(1, [0, 1, 2]), started(2, [2, 1, 0]), None),
    ] {
        let opened = Pbft::open(bench.setup(), genesis_tip(&bench.scope), vec![first, second]);
        match (opened.map(drop), refused) {
            (Ok(()), None) => {}
            (Err(OpenError::ContradictionOfViews { view, .. }), Some(expected)) => assert_eq!(view, expected),
            (opened, _) => panic!("{opened:?} and not {refused:?}"),
        }
    }
}
