//! `docs/pbft.md` §7: one instance ends, the next begins.

use std::sync::Arc;

use quorate_ledger::{
    Anchor, Block, CheckpointCertificate, Epoch, ExecutionOutcome, Header, Height, Tip, UnixMillis,
    ValidatorSet, View,
};

use super::bench::{Bench, index};
use crate::{
    drive::drive,
    engine::{Action, Engine as _, Event, Input, Log, OpenError, Output, Role, Setup, To, Voter},
    evidence::VoteKind,
    pbft::{
        Message, Pbft, Record,
        message::{PrePrepare, Recall},
    },
    rejection::Rejection,
    replica::Replica,
    vote_log::{Mark, VoteLog},
};

/// The last height of epoch 0 in these tests.
const LAST: Height = Height(2);

/// A replica of four whose first epoch is ending, and all that its neighbours know.
struct Line {
    /// The first epoch's keys and forms.
    bench: Bench,
    replica: Replica<Pbft>,
    blocks: Vec<Arc<Block>>,
}

impl Line {
    /// Replica `me` at the beginning of epoch 0.
    fn new(me: usize) -> Self {
        let bench = Bench::new(4, me);
        let blocks = bench.chain(2);
        let replica =
            Replica::open(bench.setup(), None, &super::bench::genesis_tip(&bench.scope), Vec::new());
        let mut line = Self { bench, replica: replica.expect("an empty log opens"), blocks };
        line.answer_questions(0);
        line
    }

    /// The same, which has executed the last block of epoch 0.
    fn ended(me: usize) -> Self {
        let mut line = Self::new(me);
        line.end();
        line
    }

    /// The epoch's blocks come, and are executed.
    fn end(&mut self) {
        let certified = self.bench.certified(&self.blocks, &[0, 2, 3]);
        self.event(certified);
        for place in 0..self.blocks.len() {
            let outcome = self.outcome(place);
            self.event(Event::Executed { outcome });
        }
    }

    /// The same, after the next epoch began with these validators.
    fn begun(me: usize, validators: &[usize]) -> Self {
        let mut line = Self::ended(me);
        let (setup, tip) = (line.next_setup(validators), line.tip());
        line.input(Input::Begin { setup: Box::new(setup), tip: Box::new(tip) });
        line.answer_questions(1);
        line
    }

    fn input(&mut self, input: Input<Message>) -> Vec<(Epoch, Action<Message>)> {
        let mut out = Output::new(self.replica.epoch());
        self.replica.step(self.bench.now, input, &mut out);
        out.commit(&mut self.bench.log).expect("memory does not fail")
    }

    fn event(&mut self, event: Event<Message>) -> Vec<(Epoch, Action<Message>)> {
        self.input(Input::Event(event))
    }

    fn receive(&mut self, from: usize, message: Message) -> Vec<(Epoch, Action<Message>)> {
        let scope = match message.epoch() {
            Epoch(0) => self.bench.scope.clone(),
            _ => self.next_setup(&[0, 1, 2, 3]).scope,
        };
        let message = Pbft::verify(&scope, Default::default(), message).expect("it is well made");
        self.event(Event::Message { from: index(from), message })
    }

    fn answer_questions(&mut self, epoch: u64) {
        let me = self.bench.me.as_usize();
        for other in (0..4).filter(|it| *it != me).take(2) {
            let Message::Holdings(mut holdings) = self.bench.holdings(Vec::new()) else {
                unreachable!("an answer")
            };
            holdings.epoch = Epoch(epoch);
            self.receive(other, Message::Holdings(holdings));
        }
    }

    fn outcome(&self, place: usize) -> ExecutionOutcome {
        let checkpoint = self.bench.result(&self.blocks[place]);
        ExecutionOutcome { checkpoint, due: None, epoch_ends: Some(LAST) }
    }

    /// The ledger's tip at the last block of epoch 0.
    fn tip(&self) -> Tip {
        Tip { outcome: self.outcome(1), ..self.bench.tip_at(&self.blocks[1], &[0, 2, 3]) }
    }

    /// The ledger's tip at the first block of epoch 1, whose certificate the disk has lost.
    fn tip_of_next(&self) -> Tip {
        let first = self.first_of_next(self.closing().payload.anchor());
        let mut outcome = self.outcome(1);
        outcome.checkpoint.epoch = Epoch(1);
        (outcome.checkpoint.height, outcome.checkpoint.block) = (first.height(), first.hash());
        outcome.epoch_ends = None;
        let (height, hash, time, anchor) =
            (first.height(), first.hash(), first.time(), first.header().anchor);
        Tip { height, hash, time, anchor, outcome, ..self.tip() }
    }

    fn next_setup(&self, validators: &[usize]) -> Setup {
        let keys = validators.iter().map(|it| self.bench.keys[*it].public()).collect();
        let mut setup = self.bench.setup();
        let set = ValidatorSet::new(keys).expect("different keys");
        let key = &self.bench.keys[self.bench.me.as_usize()];
        setup.voter = set.index_of(&key.public()).map(|index| Voter { index, key: key.clone() });
        setup.scope.previous = Some(setup.scope.validators.clone());
        setup.scope.validators = set;
        setup.scope.epoch = Epoch(1);
        setup.scope.start = (LAST, self.blocks[1].hash());
        setup
    }

    /// The certificate of the checkpoint that closes epoch 0.
    fn closing(&self) -> CheckpointCertificate {
        self.bench.checkpoint_certificate(self.bench.result(&self.blocks[1]), &[0, 1, 2])
    }

    /// The first block of epoch 1 on this anchor.
    fn first_of_next(&self, anchor: Anchor) -> Arc<Block> {
        let header = Header {
            epoch: Epoch(1),
            ..self
                .bench
                .block_with(LAST.next(), self.blocks[1].hash(), self.blocks[1].time().plus_millis(1), anchor)
                .header()
                .clone()
        };
        Arc::new(Block::new(header, Vec::new()))
    }

    /// Its PRE-PREPARE by the primary of view 0.
    fn pre_prepare(&self, block: &Block, anchor: Option<CheckpointCertificate>) -> Message {
        let mut vote = self.bench.vote(VoteKind::Prepare, 0, block);
        vote.payload.epoch = Epoch(1);
        vote.signature =
            self.bench.keys[0].sign(VoteKind::Prepare.domain(), &self.bench.scope.chain, &vote.payload);
        Message::PrePrepare(PrePrepare::of(block, vote, anchor.map(Arc::new)))
    }
}

fn sent(actions: &[(Epoch, Action<Message>)]) -> Vec<(Epoch, To, Message)> {
    let sent = actions.iter().filter_map(|(epoch, action)| {
        if let Action::Send { to, message } = action { Some((*epoch, *to, message.clone())) } else { None }
    });
    sent.collect()
}

#[test]
fn an_ended_instance_signs_its_checkpoint_and_nothing_else() {
    let mut line = Line::ended(1);
    let own = line.bench.checkpoint(1, line.bench.result(&line.blocks[1]));
    assert!(line.bench.log.records.contains(&Record::Checkpointed(own)));
    assert!(line.replica.current().has_ended());
    let records = line.bench.log.records.clone();
    // It neither follows others into a view nor complains nor accepts.
    for signer in [0, 2, 3] {
        let change = line.bench.change(signer, 1, Vec::new());
        line.receive(signer, Message::ViewChange(Box::new(change)));
    }
    let oldest = Some(line.bench.now.mono);
    line.event(Event::Backlog(crate::Backlog { bytes: 9, count: 1, oldest, eligible: oldest }));
    let above = line.bench.child(&line.blocks[1]);
    let message = line.bench.pre_prepare(&above);
    line.receive(0, message);
    line.bench.after_millis(60_000);
    line.event(Event::Tick);
    assert_eq!(line.bench.log.records, records);
    assert_eq!(line.replica.current().status().view, View(0));
}

/// *It takes no proposal and asks for no view*: also where the end comes while a view has not started.
#[test]
fn an_epoch_that_ends_between_two_views_is_left_in_peace() {
    let mut line = Line::new(3);
    for signer in [0, 2] {
        let change = line.bench.change(signer, 1, Vec::new());
        line.receive(signer, Message::ViewChange(Box::new(change)));
    }
    assert_eq!(line.replica.current().status().view, View(1), "it asks for it, and the primary is silent");
    line.end();
    let records = line.bench.log.records.clone();
    line.bench.after_millis(60_000);
    let actions = sent(&line.event(Event::Tick));
    assert!(actions.iter().all(|(_, _, it)| !matches!(it, Message::ViewChange(_))), "{actions:?}");
    assert_eq!(line.bench.log.records, records);
}

#[test]
fn the_first_header_of_an_epoch_anchors_exactly_the_checkpoint_that_closed_the_one_before() {
    let mut line = Line::begun(1, &[0, 1, 2, 3]);
    let closing = line.closing();
    let stale = line.blocks[1].header().anchor;
    let block = line.first_of_next(stale);
    let message = line.pre_prepare(&block, None);
    let refused = line.receive(0, message);
    let why = Rejection::BadAnchor("is not the checkpoint that closes the epoch before");
    assert!(refused.iter().any(|(_, it)| matches!(it, Action::Reject { why: found, .. } if *found == why)));

    let block = line.first_of_next(closing.payload.anchor());
    let message = line.pre_prepare(&block, Some(closing));
    let actions = line.receive(0, message);
    assert!(actions.iter().any(|(epoch, it)| *epoch == Epoch(1) && matches!(it, Action::Check { .. })));
}

#[test]
fn a_primary_begins_its_epoch_once_the_closing_checkpoint_is_certified() {
    let mut line = Line::begun(0, &[0, 1, 2, 3]);
    let oldest = Some(line.bench.now.mono);
    line.bench.after_millis(1_000);
    let waits = Event::Backlog(crate::Backlog { bytes: 9, count: 1, oldest, eligible: None });
    let builds = |actions: &[(Epoch, Action<Message>)]| {
        actions.iter().find_map(|(epoch, it)| match it {
            Action::Build { height, anchor, .. } => Some((*epoch, *height, *anchor)),
            _ => None,
        })
    };
    let actions = line.event(waits);
    assert_eq!(builds(&actions), None, "there is nothing to anchor yet");
    // Two more CHECKPOINTs reach the closing instance; what it then knows is handed to the current one.
    let result = line.bench.result(&line.blocks[1]);
    let mut actions = Vec::new();
    for signer in [1, 2] {
        let vote = line.bench.checkpoint(signer, result);
        actions = line.receive(signer, Message::Checkpoint(vote));
    }
    assert_eq!(builds(&actions), Some((Epoch(1), LAST.next(), result.anchor())));
}

#[test]
fn the_closing_instance_stays_until_a_commit_certificate_of_the_new_epoch_is_known() {
    let mut line = Line::begun(1, &[0, 1, 2, 3]);
    let behind = Message::Status(Box::new(line.bench.empty_status()));
    let actions = line.receive(3, behind.clone());
    let serves =
        |it: &(Epoch, Action<Message>)| matches!(it, (Epoch(0), Action::Serve { above: Height(0), .. }));
    assert!(actions.iter().any(serves));
    let own = line.bench.checkpoint(1, line.bench.result(&line.blocks[1]));
    assert!(sent(&actions).contains(&(Epoch(0), To::One(index(3)), Message::Checkpoint(own.clone()))));
    let recall = Message::Recall(Recall { epoch: Epoch(0), nonce: 99 });
    let answers = sent(&line.receive(3, recall));
    assert!(
        matches!(&answers[..], [(Epoch(0), To::One(to), Message::Holdings(_)), ..] if *to == index(3)),
        "it answers questions: {answers:?}"
    );
    assert!(line.replica.records().contains(&Record::Checkpointed(own)), "a compaction keeps what it signed");

    let block = line.first_of_next(line.closing().payload.anchor());
    let mut certificate = line.bench.certificate(&block, &[0, 2, 3]);
    certificate.payload.epoch = Epoch(1);
    certificate.signatures =
        line.bench.signatures(quorate_crypto::Domain::Commit, &certificate.payload, &[0, 2, 3]);
    let certified = quorate_ledger::CertifiedBlocks { blocks: vec![block], certificate };
    line.event(Event::Certified(certified));
    assert!(line.replica.closing().is_none());
    assert!(line.receive(3, behind).is_empty(), "epoch 0 is over for this replica");
}

#[test]
fn a_validator_that_leaves_closes_its_epoch_and_signs_nothing_in_the_next() {
    let mut line = Line::begun(1, &[0, 2, 3]);
    assert_eq!(line.replica.current().status().role, Role::Follower);
    line.bench.after_millis(line.bench.parameters.resend_ms);
    let actions = sent(&line.event(Event::Tick));
    let status = |epoch: u64| {
        actions.iter().any(|it| matches!(it, (of, To::All, Message::Status(_)) if of.0 == epoch))
    };
    assert!(status(0), "it repeats where it stands in its own epoch");
    assert!(line.bench.log.records.iter().all(|it| crate::Promised::epoch(it) == Epoch(0)));
}

#[test]
fn a_restart_at_the_end_of_an_epoch_closes_it_again() {
    let line = Line::begun(1, &[0, 1, 2, 3]);
    let next = line.next_setup(&[0, 1, 2, 3]);
    let records = line.replica.records();
    let replica = Replica::<Pbft>::open(next, Some(line.bench.setup()), &line.tip(), records);
    let replica = replica.expect("its own log opens");
    assert!(replica.closing().is_some_and(|it| it.has_ended()));
    assert_eq!(replica.epoch(), Epoch(1));
}

/// §6: a key whose log is refused votes again in a later epoch. If it starts again before that epoch has begun, the one before
/// closes, in which it has signed what the new log does not know.
#[test]
fn a_log_that_begins_with_an_epoch_has_no_voice_in_the_one_that_closes() {
    let kept = Line::begun(1, &[0, 1, 2, 3]).replica.records();
    // The last is one that never had anything to keep.
    for (records, asks) in
        [(vec![crate::Promised::beginning(Epoch(1))], vec![1]), (kept, vec![0, 1]), (Vec::new(), vec![0, 1])]
    {
        let mut line = Line::begun(1, &[0, 1, 2, 3]);
        let next = line.next_setup(&[0, 1, 2, 3]);
        let replica = Replica::<Pbft>::open(next, Some(line.bench.setup()), &line.tip(), records);
        line.replica = replica.expect("its own log opens");
        // Who has a voice asks before it uses it.
        let asked = sent(&line.event(Event::Tick))
            .into_iter()
            .filter_map(|(of, _, message)| matches!(message, Message::Recall(_)).then_some(of.0));
        assert_eq!(asked.collect::<Vec<u64>>(), asks);
    }
}

/// The same key, whose new log is compacted before the epoch in which it begins has had its first commit: that the instance of
/// the epoch before knows nothing is not all that the key ever signed there.
#[test]
fn a_log_that_begins_with_an_epoch_has_no_voice_in_the_one_before_when_it_is_compacted_either() {
    for during_the_run in [true, false] {
        let mut line = Line::begun(1, &[0, 1, 2, 3]);
        let next = line.next_setup(&[0, 1, 2, 3]);
        let begun = vec![crate::Promised::beginning(Epoch(1))];
        if during_the_run {
            // The log was refused in epoch 0, which the replica followed; it is renewed as epoch 1 begins.
            let silent = Setup { voter: None, ..line.bench.setup() };
            let genesis = super::bench::genesis_tip(&line.bench.scope);
            line.replica = Replica::open(silent, None, &genesis, Vec::new()).expect("nothing is opened");
            line.end();
            line.bench.log.records = begun;
            let tip = Box::new(line.tip());
            line.input(Input::Begin { setup: Box::new(next.clone()), tip });
        } else {
            let setup = Some(line.bench.setup());
            line.replica = Replica::open(next.clone(), setup, &line.tip(), begun).expect("its own log opens");
        }
        assert!(line.replica.closing().is_some());
        let compacted = line.replica.records();
        assert!(!compacted.is_empty());
        let replica = Replica::open(next, Some(line.bench.setup()), &line.tip(), compacted);
        line.replica = replica.expect("its own log opens");
        let asked = sent(&line.event(Event::Tick))
            .into_iter()
            .filter_map(|(of, _, message)| matches!(message, Message::Recall(_)).then_some(of.0));
        assert_eq!(asked.collect::<Vec<u64>>(), [1], "who has a voice asks before it uses it");
    }
}

/// The key is not among the validators, and the epoch in which it was is closed: nothing but its log says what it promised.
#[test]
fn a_log_keeps_its_promise_while_its_key_has_no_voice() {
    /// A log that is always too large.
    struct Grown(VoteLog<Record>);
    impl Log<Record> for Grown {
        fn append(&mut self, records: &[Record]) -> std::io::Result<()> {
            self.0.append(records)
        }

        fn wants_compaction(&self) -> bool {
            true
        }

        fn compact(&mut self, records: &[Record]) -> std::io::Result<()> {
            self.0.compact(records)
        }
    }
    let line = Line::ended(1);
    // A mark knows of a view above 0 that its log is behind; of view 0 of epoch 0 it would not know.
    for view in [1, 0] {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (votes, mark) = (home.path().join("votes"), home.path().join("mark"));
        Mark::create_unused(&mark).expect("a new mark");
        let vote = line.bench.vote_in(view, VoteKind::Prepare, 1, &line.blocks[1]);
        let voted = vec![Record::Voted { kind: VoteKind::Prepare, vote }];
        let (mut log, _) = VoteLog::open(&votes, &mark).expect("a new log");
        log.append(&voted).expect("the disk works");
        let opened =
            Replica::<Pbft>::open(line.next_setup(&[0, 2, 3]), None, &line.tip_of_next(), voted.clone());
        let mut replica = opened.expect("its own log opens");
        drive(&mut replica, &mut Grown(log), line.bench.now, [Event::Tick.into()]).expect("the disk works");
        let (_, records) = VoteLog::<Record>::open(&votes, &mark).expect("it is as it was left");
        assert_eq!(records, voted, "in view {view}");
    }
}

/// > a new one is made, which has no voice in the epochs before, also not while the last of them closes.
///
/// Also where the ledger lost its tail, and the epoch before is gone through once more, in silence.
#[test]
fn an_instance_without_a_voice_adds_nothing_to_the_log() {
    let mut line = Line::new(2);
    let begun = vec![crate::Promised::beginning(Epoch(1))];
    let genesis = super::bench::genesis_tip(&line.bench.scope);
    line.replica =
        Replica::open(line.bench.setup(), None, &genesis, begun.clone()).expect("its own log opens");
    line.bench.log.records = begun.clone();
    let message = line.bench.pre_prepare(&line.blocks[0]);
    line.receive(0, message);
    let block = Arc::clone(&line.blocks[0]);
    line.event(Event::Checked { block: block.hash(), verdict: crate::Verdict::Accept(block) });
    let changes = [0, 1, 3].map(|it| line.bench.change(it, 1, Vec::new()));
    let new_view = line.bench.new_view(1, changes.to_vec(), Vec::new());
    line.receive(1, Message::NewView(Box::new(new_view)));
    assert_eq!(line.replica.current().accepted().len(), 1, "it follows what is proposed");
    assert_eq!(line.replica.current().status().view, View(1), "and into views");
    line.end();
    assert_eq!(line.bench.log.records, begun);

    let next = line.next_setup(&[0, 1, 2, 3]);
    let replica = Replica::open(next, Some(line.bench.setup()), &line.tip(), begun);
    line.replica = replica.expect("its own log opens");
    let asked = sent(&line.event(Event::Tick))
        .into_iter()
        .filter_map(|(of, _, message)| matches!(message, Message::Recall(_)).then_some(of.0));
    assert_eq!(asked.collect::<Vec<u64>>(), [1], "who has a voice asks before it uses it");
}

/// A ledger far below its log: what was signed in the epoch that it stands in is kept through a compaction, though nothing is
/// signed there now.
#[test]
fn votes_of_an_epoch_that_is_followed_in_silence_are_kept() {
    let mut line = Line::new(1);
    let message = line.bench.pre_prepare(&line.blocks[0]);
    line.receive(0, message);
    let block = Arc::clone(&line.blocks[0]);
    line.event(Event::Checked { block: block.hash(), verdict: crate::Verdict::Accept(block) });
    let mut records = line.bench.log.records.clone();
    assert!(records.iter().any(|it| matches!(it, Record::Voted { .. })));
    records.push(crate::Promised::beginning(Epoch(1)));
    let genesis = super::bench::genesis_tip(&line.bench.scope);
    let replica = Replica::<Pbft>::open(line.bench.setup(), None, &genesis, records.clone());
    assert_eq!(replica.expect("its own log opens").records(), records);
}

/// The ledger lost its tail and stands in the epoch before: what was signed since is found again when that epoch begins
/// again.
#[test]
fn votes_of_an_epoch_that_the_ledger_lost_are_kept_until_it_begins_again() {
    let mut line = Line::begun(1, &[0, 1, 2, 3]);
    let closing = line.closing();
    let block = line.first_of_next(closing.payload.anchor());
    let message = line.pre_prepare(&block, Some(closing.clone()));
    line.receive(0, message);
    let accept = crate::Verdict::Accept(Arc::clone(&block));
    line.event(Event::Checked { block: block.hash(), verdict: accept });
    let voted = |records: &[Record]| {
        records.iter().any(|it| matches!(it, Record::Voted { vote, .. } if vote.payload.epoch == Epoch(1)))
    };
    assert!(voted(&line.bench.log.records));

    let tip = super::bench::genesis_tip(&line.bench.scope);
    let records = line.bench.log.records.clone();
    line.replica = Replica::open(line.bench.setup(), None, &tip, records).expect("its own log opens");
    assert!(voted(&line.replica.records()), "a compaction keeps them");
    line.answer_questions(0);
    line.end();
    let (setup, tip) = (line.next_setup(&[0, 1, 2, 3]), line.tip());
    line.input(Input::Begin { setup: Box::new(setup), tip: Box::new(tip) });
    line.answer_questions(1);
    // Another block at the same place gets no vote.
    let mut header = block.header().clone();
    header.time = UnixMillis(header.time.0 + 1);
    let other = Arc::new(Block::new(header, Vec::new()));
    let message = line.pre_prepare(&other, Some(closing));
    assert!(
        line.receive(0, message)
            .iter()
            .all(|(_, it)| !matches!(it, Action::Check { .. } | Action::Send { .. }))
    );
}

/// A chain of one has its checkpoint stable with the block, before the next epoch begins.
#[test]
fn a_checkpoint_that_is_stable_before_the_epoch_begins_is_handed_over() {
    let mut line = Line::ended(0);
    let result = line.bench.result(&line.blocks[1]);
    for signer in [1, 2] {
        let vote = line.bench.checkpoint(signer, result);
        line.receive(signer, Message::Checkpoint(vote));
    }
    assert_eq!(line.replica.current().status().stable, LAST);
    let (setup, tip) = (line.next_setup(&[0, 1, 2, 3]), line.tip());
    assert!(tip.stable.height < LAST, "the ledger was asked before");
    line.input(Input::Begin { setup: Box::new(setup), tip: Box::new(tip) });
    assert_eq!(line.replica.current().status().stable, LAST);
}

/// A planned change counts from the start of the view, and that is when the epoch began.
#[test]
fn a_new_epoch_has_its_whole_time_in_view_0() {
    let mut line = Line::ended(1);
    line.bench.after_millis(10 * line.bench.parameters.rotation_time_ms);
    let (setup, tip) = (line.next_setup(&[0, 1, 2, 3]), line.tip());
    line.input(Input::Begin { setup: Box::new(setup), tip: Box::new(tip) });
    line.answer_questions(1);
    let oldest = Some(line.bench.now.mono);
    line.event(Event::Backlog(crate::Backlog { bytes: 9, count: 1, oldest, eligible: None }));
    line.event(Event::Tick);
    assert_eq!(line.replica.current().status().view, View(0));
}

#[test]
fn an_anchors_certificate_is_learned_from_the_proposal_that_brings_it() {
    let mut line = Line::begun(1, &[0, 1, 2, 3]);
    let closing = line.closing();
    let block = line.first_of_next(closing.payload.anchor());
    let message = line.pre_prepare(&block, Some(closing));
    let actions = line.receive(0, message);
    assert!(
        actions.iter().any(
            |(_, it)| matches!(it, Action::Stable { certificate } if certificate.payload.height == LAST)
        )
    );
}

/// The ledger stands in an epoch below that of the log: what was signed there was let go.
#[test]
fn a_ledger_in_an_epoch_below_the_log_signs_nothing() {
    let bench = Bench::new(4, 1);
    let records = vec![Record::Dropped { epoch: Epoch(1), height: LAST, checkpoint: LAST }];
    let tip = super::bench::genesis_tip(&bench.scope);
    let replica = Replica::<Pbft>::open(bench.setup(), None, &tip, records).expect("the log opens");
    assert_eq!(replica.current().status().role, Role::Follower);
    assert!(replica.status().silent.is_some_and(|why| why.contains("epoch 1")));
    let mut line = Line { blocks: bench.chain(2), bench, replica };
    line.answer_questions(0);
    assert_eq!(line.replica.current().status().role, Role::Follower, "although others hold nothing strange");
}

/// > A replica that sees them halts: it signs nothing more
#[test]
fn an_instance_that_halts_halts_the_replica() {
    let mut line = Line::begun(1, &[0, 1, 2, 3]);
    let mut other = line.bench.result(&line.blocks[1]);
    other.state_root = quorate_crypto::Hash::of(b"another state");
    let vote = |line: &Line, signer| Message::Checkpoint(line.bench.checkpoint(signer, other));
    for signer in [0, 2, 3] {
        let vote = vote(&line, signer);
        line.receive(signer, vote);
    }
    line.bench.after_millis(line.bench.parameters.resend_ms);
    assert!(line.event(Event::Tick).is_empty(), "neither epoch does anything more");
    assert_eq!(line.replica.deadline(), None);
}

/// > It answers STATUS, serves blocks, repeats its CHECKPOINT and the certificate it has
#[test]
fn the_closing_certificate_that_comes_with_blocks_is_repeated_by_the_closing_instance() {
    let mut line = Line::begun(1, &[0, 1, 2, 3]);
    let closing = line.closing();
    line.event(Event::Checkpoint(closing.clone()));
    line.bench.after_millis(line.bench.parameters.resend_ms);
    let repeated = |line: &mut Line| {
        let sent = sent(&line.event(Event::Tick)).into_iter();
        let reports = sent.filter_map(|(epoch, _, message)| match message {
            Message::Status(report) => Some((epoch, report.checkpoint)),
            _ => None,
        });
        reports.collect::<Vec<_>>()
    };
    let both = repeated(&mut line);
    assert!(both.contains(&(Epoch(0), Some(closing.clone()))), "{both:?}");
    assert!(both.contains(&(Epoch(1), Some(closing))), "the next one starts from it: {both:?}");
}

/// Of the epoch before, the next one can verify the closing checkpoint alone.
#[test]
fn an_earlier_checkpoint_of_the_epoch_before_is_not_told_in_the_next() {
    let mut line = Line::ended(1);
    let earlier = line.bench.checkpoint_certificate(line.bench.result(&line.blocks[0]), &[0, 2, 3]);
    let tip = Tip { stable: earlier.payload.anchor(), stable_certificate: Some(earlier), ..line.tip() };
    let setup = line.next_setup(&[0, 1, 2, 3]);
    line.input(Input::Begin { setup: Box::new(setup), tip: Box::new(tip) });
    line.bench.after_millis(line.bench.parameters.resend_ms);
    let sent = sent(&line.event(Event::Tick));
    let told = sent.iter().find_map(|(epoch, _, message)| match message {
        Message::Status(report) if *epoch == Epoch(1) => Some(report.checkpoint.clone()),
        _ => None,
    });
    assert_eq!(told, Some(None));
}

/// An epoch's instance begins in the middle of a run. What its records say against each other is found before.
#[test]
fn records_of_a_later_epoch_that_contradict_each_other_are_refused_when_the_log_is_opened() {
    let line = Line::begun(1, &[0, 1, 2, 3]);
    let first = line.first_of_next(line.closing().payload.anchor());
    let mut header = first.header().clone();
    header.time = UnixMillis(header.time.0 + 1);
    let other = Arc::new(Block::new(header, Vec::new()));
    let records = [first, other].map(|block| {
        let mut vote = line.bench.vote(VoteKind::Commit, 1, &block);
        vote.payload.epoch = Epoch(1);
        Record::Voted { kind: VoteKind::Commit, vote }
    });
    let tip = super::bench::genesis_tip(&line.bench.scope);
    let open = |records: &[Record]| {
        Replica::<Pbft>::open(line.bench.setup(), None, &tip, records.to_vec()).map(drop)
    };
    open(&records[..1]).expect("one vote contradicts nothing");
    let refused = open(&records);
    assert!(matches!(refused, Err(OpenError::Contradiction { height, .. }) if height == LAST.next()));
}

/// > again after a restart: a ledger that stands at an epoch's last block opens both instances.
///
/// One that stands above it opens one, also where the disk has lost the certificates of the blocks above: there was one, or
/// they would not have been executed.
#[test]
fn a_restart_above_an_epochs_last_block_closes_nothing() {
    let line = Line::begun(1, &[0, 1, 2, 3]);
    let tip = line.tip_of_next();
    assert!(tip.base.as_ref().is_some_and(|it| it.payload.epoch == Epoch(0)));
    for closing in [None, Some(line.bench.setup())] {
        let next = line.next_setup(&[0, 1, 2, 3]);
        let replica = Replica::<Pbft>::open(next, closing, &tip, line.replica.records());
        let replica = replica.expect("its own log opens");
        assert!(replica.closing().is_none());
        assert_eq!((replica.epoch(), replica.current().has_begun()), (Epoch(1), true));
    }
}

/// A set that has nobody in common with the one before: the closing instances of those who leave speak to it, and each of its
/// replicas has one of its own that listens.
#[test]
fn heirs_that_were_no_validators_hear_the_checkpoint_that_their_epoch_starts_from() {
    let mut line = Line::ended(1);
    let mut keys: Vec<_> = (0..4).map(|it| quorate_crypto::SecretKey::from_seed([100 + it; 32])).collect();
    keys.sort_by_key(quorate_crypto::SecretKey::public);
    let mut next = line.next_setup(&[0, 1, 2, 3]);
    let set = keys.iter().map(quorate_crypto::SecretKey::public).collect();
    next.scope.validators = ValidatorSet::new(set).expect("different keys");
    next.voter = Some(Voter { index: index(0), key: keys[0].clone() });
    let follower = Setup { voter: None, ..line.bench.setup() };
    let scope = next.scope.clone();
    let heir = Replica::open(next, Some(follower), &line.tip(), Vec::new());
    line.replica = heir.expect("an empty log opens");
    line.event(Event::Tick);
    for other in 1..4 {
        let Message::Holdings(mut holdings) = line.bench.holdings(Vec::new()) else {
            unreachable!("an answer")
        };
        holdings.epoch = Epoch(1);
        let message = Pbft::verify(&scope, Default::default(), Message::Holdings(holdings));
        line.event(Event::Message { from: index(other), message: message.expect("well made") });
    }
    let oldest = Some(line.bench.now.mono);
    line.bench.after_millis(1_000);
    line.event(Event::Backlog(crate::Backlog { bytes: 9, count: 1, oldest, eligible: None }));
    let result = line.bench.result(&line.blocks[1]);
    let mut actions = Vec::new();
    for signer in [0, 2, 3] {
        assert!(line.replica.current().status().stable < LAST);
        let vote = line.bench.checkpoint(signer, result);
        actions = line.receive(signer, Message::Checkpoint(vote));
    }
    assert_eq!(line.replica.current().status().stable, LAST);
    let builds = |(epoch, action): &(Epoch, Action<Message>)| {
        *epoch == Epoch(1) && matches!(action, Action::Build { anchor, .. } if *anchor == result.anchor())
    };
    assert!(actions.iter().any(builds), "its primary has what its first header must anchor");
}
