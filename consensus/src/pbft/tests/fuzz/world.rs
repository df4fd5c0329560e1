//! Everything around the replica of one life: the others with their keys, the ledger, the disk. It turns happenings into
//! events that could happen, and hands what comes of them to the oracle.

mod ledger;
mod others;

use std::sync::Arc;

use quorate_crypto::{Hash, Signers};
use quorate_ledger::{
    Account, Anchor, Block, CertifiedBlocks, Header, Height, Operation, Parameters, Payload, Transaction,
    UnixMillis, View,
};

use self::{
    ledger::Ledger,
    others::{Known, Others},
};
use super::{
    happening::{Boundary, Company, Happening, LedgerAfter, Life, Near, Report},
    oracle::Oracle,
};
use crate::{
    engine::{Action, Backlog, Engine as _, Event, Horizon, Now, Output, Verdict},
    evidence::VoteKind,
    pbft::{
        Message, Pbft, Record,
        message::{
            CheckpointReport, HeightReport, NewView, PrePrepare, Recall, Statement, StatusReport, ViewChange,
        },
        primary,
        reproposal::reproposal,
        tests::bench::{Bench, MemoryLog, START, index},
    },
};

/// Messages that are remembered, to be sent again or forged.
const SAID_MAX: usize = 48;

/// A block that the replica asked for.
struct Asked {
    height: Height,
    parent: Hash,
    anchor: Anchor,
    time: UnixMillis,
}

pub(super) struct World {
    bench: Bench,
    company: Company,
    others: Others,
    ledger: Ledger,
    oracle: Oracle,
    /// Every record that was ever synced, whatever compaction did since.
    ever: Vec<Record>,
    /// The same replica, opened from all of them: it must do what the one does that was opened from a compacted log.
    shadow: Option<Pbft>,
    /// The highest checkpoint that was stable when the log was compacted.
    compacted_stable: Height,
    transaction: Arc<Transaction>,
    building: Option<Asked>,
    checks: Vec<Hash>,
    said: Vec<Message>,
    crash: Option<(Boundary, LedgerAfter)>,
    over: bool,
}

impl World {
    pub(super) fn new(life: &Life) -> Self {
        let n = match life.company {
            Company::Alone => 1,
            Company::Four | Company::Liars => 4,
            Company::Seven => 7,
        };
        let me = usize::from(life.me) % n;
        let window = 1 + u32::from(life.window % 4);
        let parameters = Parameters {
            window,
            log_window: 2 * window + u32::from(life.window / 4 % 4),
            max_clock_drift_ms: 60_000,
            heartbeat_ms: 2_000,
            rotation_blocks: 5,
            ..Parameters::default()
        };
        let bench = Bench::with(n, me, parameters);
        let liars = match life.company {
            Company::Alone => Vec::new(),
            Company::Four => vec![(me + 1) % n],
            Company::Seven => vec![(me + 1) % n, (me + 2) % n],
            Company::Liars => (0..n).filter(|it| *it != me).collect(),
        };
        let key = &bench.keys[0];
        let payload = Payload {
            version: Payload::VERSION,
            chain: bench.scope.chain,
            sender: Account(key.public()),
            nonce: 1,
            expires_at: START.plus_millis(1_000_000),
            fee: 0,
            operations: vec![Operation::Delete { key: vec![1] }],
        };
        let transaction = Arc::new(Transaction::sign(payload, key));
        Self {
            others: Others::new(n, me, liars),
            company: life.company,
            ledger: Ledger::default(),
            oracle: Oracle::default(),
            ever: Vec::new(),
            shadow: None,
            compacted_stable: Height(0),
            transaction,
            building: None,
            checks: Vec::new(),
            said: Vec::new(),
            crash: None,
            over: false,
            bench,
        }
    }

    pub(super) fn happen(&mut self, happening: &Happening) {
        if self.over {
            return;
        }
        match *happening {
            Happening::Pass { millis, scale, wall } => self.pass(millis, scale, wall),
            Happening::Tick { due } => self.tick(due),
            Happening::Propose { view, on, oddity, from } => {
                let view = self.view(view);
                self.propose(view, on, oddity, from);
            }
            Happening::Votes { commit, view, block, signers } => {
                let kind = if commit { VoteKind::Commit } else { VoteKind::Prepare };
                let view = self.view(view);
                if let Some(known) = self.block(block) {
                    self.votes(kind, view, &known, signers);
                }
            }
            Happening::Checkpoints { block, signers, wrong } => self.checkpoint_votes(block, signers, wrong),
            Happening::Changes { view, ref reports, signers } => self.change_votes(view, reports, signers),
            Happening::Start { view, ref reports, wrong } => self.start(view, reports, wrong),
            Happening::Status { from, view, active, delivered, certificate, checkpoint, holds } => {
                let view = self.view(view);
                let report = self.status_report(view, active, delivered, certificate, checkpoint, holds);
                self.receive(usize::from(from), Message::Status(Box::new(report)));
            }
            Happening::Forged { which, how } => self.forged(which, how),
            Happening::Again { which, from } => {
                if let Some(message) = pick(&self.said, which).cloned() {
                    self.receive(usize::from(from), message);
                }
            }
            Happening::Backlog { count, eligible } => self.backlog(count, eligible),
            Happening::Built { transaction } => self.built(transaction),
            Happening::Checked { which, verdict } => self.checked(which, verdict),
            Happening::Fetched { which } => {
                if let Some(known) = self.block(which) {
                    self.step(Event::Fetched { block: known.block });
                }
            }
            Happening::Executed { count, report } => self.execute(count, report),
            Happening::Certified { block, from } => self.certified(block, from),
            Happening::Progress { steps, view, on } => self.progress(steps, view, on),
            Happening::Crash { when: Boundary::Between, ledger } => self.restart(ledger),
            Happening::Crash { when, ledger } => self.crash = Some((when, ledger)),
            Happening::Answered { count } => self.answered(count),
            Happening::Asked { from } => {
                let question = Recall { epoch: self.bench.scope.epoch, nonce: u64::from(from) };
                self.receive(usize::from(from), Message::Recall(question));
            }
            Happening::Certificate { block } => {
                let known = self.block(block).filter(|it| self.others.is_final(&it.block));
                if let Some(certificate) = known.and_then(|it| self.others.checkpoint(&self.bench, &it.block))
                {
                    self.step(Event::Checkpoint(certificate));
                }
            }
            Happening::Compact => {
                self.bench.log.records = self.bench.engine.records();
                self.oracle.compact(&self.bench.log.records);
                self.compacted_stable = self.compacted_stable.max(self.bench.engine.status().stable);
            }
        }
    }

    /// Lets the replica take one event, and everybody look at what comes of it.
    fn step(&mut self, event: Event<Message>) {
        if self.over {
            return;
        }
        let is_tick = matches!(event, Event::Tick);
        let (records, actions) = take(&mut self.bench.engine, self.bench.now, event.clone());
        let crash = self.crash.take();
        if let Some((Boundary::BeforeSync, ledger)) = crash {
            return self.restart(ledger);
        }
        if let Some(shadow) = &mut self.shadow {
            let (same_records, same_actions) = take(shadow, self.bench.now, event);
            assert_eq!(records, same_records, "opened from what matters it records the same");
            let (one, other) = (format!("{actions:?}"), format!("{same_actions:?}"));
            assert_eq!(one, other, "opened from what matters it does the same");
        }
        let bench = &self.bench;
        let result = |height| self.ledger.synced_block(height).map(|it| bench.result(&it));
        self.oracle.record(&bench.scope, bench.me, &records, result);
        self.ever.extend_from_slice(&records);
        self.bench.log.records.extend(records);
        if let Some((_, ledger)) = crash {
            return self.restart(ledger);
        }
        for action in actions {
            self.act(action);
        }
        let status = self.bench.engine.status();
        let parameters = &self.bench.parameters;
        let (window, log_window) = (u64::from(parameters.window), u64::from(parameters.log_window));
        self.oracle.state(&status, &self.bench.engine, window, log_window);
        match self.bench.engine.deadline() {
            None => assert!(self.over, "only a halted replica waits for nothing"),
            Some(deadline) => {
                assert!(!is_tick || deadline > self.bench.now.mono, "a tick leaves nothing to do now");
            }
        }
    }

    fn act(&mut self, action: Action<Message>) {
        let bench = &self.bench;
        let honest = self.company != Company::Liars;
        match action {
            Action::Send { message, .. } => {
                self.oracle.send(&bench.scope, bench.me, &message);
                self.say(message);
            }
            Action::Build { height, parent, anchor, time } => {
                assert!(self.building.is_none(), "one block is asked for at a time");
                self.building = Some(Asked { height, parent, anchor, time });
            }
            Action::Check { proposal, from } => {
                assert_ne!(from, bench.me, "it does not ask itself");
                self.checks.push(proposal.header.hash());
            }
            Action::Fetch { from, .. } => assert_ne!(from, bench.me, "it does not ask itself"),
            Action::Commit { block, certificate } => {
                if let Some(certificate) = &certificate {
                    assert_eq!(certificate.payload.block, block.hash());
                    certificate
                        .verify(&bench.scope.chain, &bench.scope.validators)
                        .expect("a final block's holds");
                }
                self.ledger.commit(bench.scope.chain, block, certificate, honest);
            }
            Action::Stable { certificate } => {
                certificate
                    .verify(&bench.scope.chain, &bench.scope.validators)
                    .expect("a stable checkpoint's holds");
                let block = self.ledger.synced_block(certificate.payload.height).expect("it was executed");
                assert_eq!(certificate.payload, bench.result(&block), "what is stable was computed here");
                self.ledger.stable.push(certificate);
            }
            Action::Accuse { evidence } => {
                assert!(evidence.holds(&bench.scope.chain, &bench.scope.validators), "{evidence:?}");
                let accused = bench.keys.iter().position(|it| it.public() == *evidence.signer());
                assert!(
                    accused.is_some_and(|it| self.others.is_liar(it)),
                    "evidence is against liars: {evidence:?}"
                );
            }
            Action::Leave { .. } | Action::Serve { .. } | Action::Reject { .. } => {}
            Action::Abstain { why } => panic!("its log has all that it signed, and yet: {why}"),
            Action::Halt { fault } => {
                assert!(!honest, "at most f lie, and it stops: {fault}");
                self.over = true;
            }
        }
    }

    /// The machine starts again on what disk and ledger hold.
    fn restart(&mut self, after: LedgerAfter) {
        self.ledger.crash(after);
        let tip = self.ledger.tip(&self.bench);
        let setup = self.bench.setup();
        let open = |records: &[Record]| {
            Pbft::open(setup.clone(), tip.clone(), records.to_vec()).expect("its own log opens")
        };
        self.bench.engine = open(&self.bench.log.records);
        let dropped = self.bench.log.records.iter().filter_map(|it| match it {
            Record::Dropped { height, .. } => Some(*height),
            _ => None,
        });
        // On a base below what was dropped it follows, where all records would let it vote; and its CHECKPOINTs go when
        // a later one is stable, though the certificate may still be lost.
        let same = dropped.max().is_none_or(|it| it <= tip.base_height)
            && self.compacted_stable <= tip.stable.height;
        self.shadow = same.then(|| open(&self.ever));
        (self.building, self.crash) = (None, None);
        self.checks.clear();
        self.tick(false);
        // Mostly the others answer at once what they hold.
        if !self.ever.len().is_multiple_of(4) {
            self.answered(u8::MAX);
        }
    }

    /// Others answer what they hold of the replica: messages that it has sent.
    fn answered(&mut self, count: u8) {
        let me = self.bench.me;
        let held = self.said.iter().filter_map(|it| match it {
            Message::Prepare(vote) => Some(Statement::Prepare(vote.clone())),
            Message::Commit(vote) => Some(Statement::Commit(vote.clone())),
            Message::Checkpoint(vote) => Some(Statement::Checkpoint(vote.clone())),
            Message::ViewChange(change) => Some(Statement::ViewChange(Box::new(change.request()))),
            Message::NewView(new_view) => Some(Statement::NewView(new_view.clone())),
            Message::PrePrepare(it) => Some(Statement::Prepare(it.prepare.clone())),
            Message::Status(_) | Message::Recall(_) | Message::Holdings(_) => None,
        });
        let held: Vec<Statement> = held.filter(|it| it.signer() == me).collect();
        let answer = self.bench.holdings(held);
        let others: Vec<usize> = (0..self.bench.keys.len()).filter(|it| *it != self.me()).collect();
        for from in others.into_iter().take(usize::from(count)) {
            self.receive(from, answer.clone());
        }
    }

    fn pass(&mut self, millis: u8, scale: u8, wall: i8) {
        let millis = u64::from(millis) << (scale % 8);
        let now = self.bench.now;
        let jump = i64::from(wall) * 50;
        let wall = now.wall.0.saturating_add(millis).saturating_add_signed(jump);
        self.bench.now = Now { mono: now.mono.plus_millis(millis), wall: UnixMillis(wall) };
    }

    fn tick(&mut self, due: bool) {
        if let Some(deadline) = self.bench.engine.deadline().filter(|it| due && *it > self.bench.now.mono) {
            let millis = (deadline.0 - self.bench.now.mono.0).div_ceil(1_000_000);
            self.bench.after_millis(millis);
        }
        self.step(Event::Tick);
    }

    fn view(&self, near: Near) -> View {
        let view = self.bench.engine.status().view;
        match near {
            Near::This => view,
            Near::Next => View(view.0 + 1),
            Near::Former => View(view.0.saturating_sub(1)),
            Near::Fixed(number) => View(u64::from(number % 4)),
        }
    }

    fn primary_of(&self, view: View) -> usize {
        primary(view, self.bench.keys.len()).as_usize()
    }

    fn me(&self) -> usize {
        self.bench.me.as_usize()
    }

    /// One of the blocks there are, the latest more often.
    fn block(&self, which: u8) -> Option<Known> {
        let recent = self.others.blocks.len().min(if which.is_multiple_of(2) { 3 } else { 12 });
        let back = usize::from(which / 2) % recent.max(1);
        self.others.blocks.iter().rev().nth(back).cloned()
    }

    /// A message comes in by somebody's stream, if it passes what every runtime checks first.
    fn receive(&mut self, from: usize, message: Message) {
        self.say(message.clone());
        let n = self.bench.keys.len();
        let from = (0..n).map(|ahead| (from + ahead) % n).find(|it| *it != self.me());
        let horizon = self.bench.engine.horizon();
        if let (Some(from), Ok(message)) = (from, Pbft::verify(&self.bench.scope, horizon, message)) {
            self.step(Event::Message { from: index(from), message });
        }
    }

    fn say(&mut self, message: Message) {
        if self.said.len() == SAID_MAX {
            self.said.remove(0);
        }
        self.said.push(message);
    }

    /// A block on top of another, perhaps not a good one, proposed in a view.
    fn propose(&mut self, view: View, on: u8, oddity: u8, from: u8) -> Option<Known> {
        let signer = self.primary_of(view);
        if signer == self.me() {
            return None;
        }
        let parent = match on % 4 {
            0 | 1 => self.others.best(&self.bench.engine.accepted(), self.ledger.last()),
            2 => self.block(on / 4),
            _ => self.ledger.last().map(|block| Known { block, sound: true }),
        };
        let chain = self.bench.scope.chain;
        let (mut height, mut hash, mut time, mut anchor, mut sound) = match &parent {
            Some(Known { block, sound }) => {
                (block.height().next(), block.hash(), block.time(), block.header().anchor, *sound)
            }
            None => (Height(1), chain, START, self.ledger.genesis_anchor(&self.bench), true),
        };
        time = time.plus_millis(1 + u64::from(oddity / 16 % 3));
        let mut proposer = signer;
        let mut certificate = None;
        match oddity % 16 {
            8 | 9 => {
                let ancestor = parent.as_ref().and_then(|it| self.others.final_ancestor(&it.block));
                certificate = ancestor.and_then(|it| self.others.checkpoint(&self.bench, &it));
                anchor = certificate.as_ref().map_or(anchor, |it| it.payload.anchor());
            }
            10 => (hash, sound) = (Hash::of(b"no block"), false),
            11 => (time, sound) = (UnixMillis(time.0 - 10), false),
            12 => (time, sound) = (UnixMillis(time.0 + 1_000_000), false),
            13 => (proposer, sound) = ((signer + 1) % self.bench.keys.len(), false),
            14 => (height, sound) = (height.next(), false),
            _ => {}
        }
        let header = Header {
            version: Header::VERSION,
            chain,
            epoch: self.bench.scope.epoch,
            height,
            parent: hash,
            transactions_root: Block::transactions_root(&[]),
            time,
            proposer: Account(self.bench.keys[proposer].public()),
            anchor,
        };
        let known = Known { block: Arc::new(Block::new(header, Vec::new())), sound };
        self.others.learn(known.clone());
        let prepare = self.others.vote(&self.bench, VoteKind::Prepare, view, &known, signer)?;
        let message = Message::PrePrepare(PrePrepare::of(&known.block, prepare, certificate.map(Arc::new)));
        self.receive(usize::from(from), message);
        Some(known)
    }

    fn votes(&mut self, kind: VoteKind, view: View, known: &Known, signers: u8) {
        for signer in (0..self.bench.keys.len()).filter(|it| signers >> (it % 8) & 1 == 1) {
            if let Some(vote) = self.others.vote(&self.bench, kind, view, known, signer) {
                let message = match kind {
                    VoteKind::Prepare => Message::Prepare(vote),
                    VoteKind::Commit => Message::Commit(vote),
                };
                self.receive(signer, message);
            }
        }
    }

    fn checkpoint_votes(&mut self, block: u8, signers: u8, wrong: bool) {
        let Some(known) = self.block(block) else { return };
        for signer in (0..self.bench.keys.len()).filter(|it| signers >> (it % 8) & 1 == 1) {
            if let Some(vote) = self.others.checkpoint_vote(&self.bench, &known, signer, wrong) {
                self.receive(signer, Message::Checkpoint(vote));
            }
        }
    }

    /// What one of the others asks for a view with.
    fn change(&mut self, view: View, signer: usize, report: &Report) -> Option<ViewChange> {
        let base = self.block(report.base).filter(|_| !report.base.is_multiple_of(3));
        let mut prepared = Vec::new();
        for (block, earlier) in report.prepared {
            let earlier = View(u64::from(earlier) % view.0.max(1));
            if !block.is_multiple_of(3)
                && let Some(known) = self.block(block / 3)
            {
                prepared.extend(self.others.prepared(&self.bench, &self.oracle, earlier, &known));
            }
        }
        self.others.change(&self.bench, &self.oracle, view, signer, base.as_ref(), prepared)
    }

    fn change_votes(&mut self, view: Near, reports: &[Report], signers: u8) {
        let view = self.view(view);
        let chosen: Vec<usize> =
            (0..self.bench.keys.len()).filter(|it| signers >> (it % 8) & 1 == 1).collect();
        for (signer, report) in chosen.into_iter().zip(reports) {
            if let Some(change) = self.change(view, signer, report) {
                self.receive(signer, Message::ViewChange(Box::new(change)));
            }
        }
    }

    /// The view's primary starts it.
    fn start(&mut self, view: Near, reports: &[Report], wrong: bool) {
        let view = self.view(view);
        let signer = self.primary_of(view);
        if signer == self.me() || view == View(0) {
            return;
        }
        let own = self.oracle.changes.get(&view).cloned();
        let (n, me) = (self.bench.keys.len(), self.me());
        let others = (0..n).filter(|it| *it != me).zip(reports);
        let made: Vec<ViewChange> = others.filter_map(|(it, report)| self.change(view, it, report)).collect();
        let changes: Vec<ViewChange> =
            own.into_iter().chain(made).take(self.bench.scope.quorum().q()).collect();
        let Some(start) = reproposal(&changes).filter(|_| changes.len() == self.bench.scope.quorum().q())
        else {
            return;
        };
        let mut blocks: Vec<Hash> = start.blocks.iter().map(|it| it.payload.block).collect();
        if wrong && self.others.is_liar(signer) && blocks.pop().is_none() {
            blocks.push(Hash::of(b"no block"));
        }
        let new_view: NewView = self.bench.new_view(view.0, changes, blocks);
        let new_view = self.others.new_view(signer, new_view);
        self.receive(signer, Message::NewView(Box::new(new_view)));
    }

    fn status_report(
        &mut self,
        view: View,
        active: bool,
        delivered: u8,
        certificate: u8,
        checkpoint: u8,
        holds: u8,
    ) -> StatusReport {
        let n = self.bench.keys.len();
        let mut signers = Signers::new(n);
        (0..n).filter(|it| holds >> (it % 8) & 1 == 1).for_each(|it| assert!(signers.insert(it)));
        let certified = self.block(certificate).filter(|_| !certificate.is_multiple_of(3));
        let certificate = certified.and_then(|it| self.others.certificate(&self.bench, &self.oracle, &it));
        let stable = self
            .block(checkpoint)
            .filter(|_| !checkpoint.is_multiple_of(3))
            .filter(|it| self.others.is_final(&it.block));
        let checkpoint = stable.and_then(|it| self.others.checkpoint(&self.bench, &it.block));
        let delivered =
            if delivered == u8::MAX { Height(u64::MAX) } else { Height(u64::from(delivered % 12)) };
        let heights = (1..=u64::from(holds % 4)).map(|above| HeightReport {
            height: Height(delivered.0.saturating_add(above)),
            proposal: active,
            prepares: signers.clone(),
            commits: signers.clone(),
        });
        StatusReport {
            view,
            active,
            delivered,
            certificate,
            stable: checkpoint.as_ref().map_or(Height(0), |it| it.payload.height),
            checkpoint,
            heights: heights.collect(),
            checkpoints: vec![CheckpointReport { height: delivered, signers: signers.clone() }],
            ..self.bench.empty_status()
        }
    }

    /// What is changed after it was signed is refused before the replica sees it.
    fn forged(&mut self, which: u8, how: u8) {
        let Some(mut message) = pick(&self.said, which).cloned() else { return };
        let (signer, signature, view) = match &mut message {
            Message::PrePrepare(it) => {
                (&mut it.prepare.signer, &mut it.prepare.signature, &mut it.prepare.payload.view)
            }
            Message::Prepare(it) | Message::Commit(it) => {
                (&mut it.signer, &mut it.signature, &mut it.payload.view)
            }
            Message::ViewChange(it) => (&mut it.signer, &mut it.signature, &mut it.payload.view),
            Message::NewView(it) => (&mut it.signer, &mut it.signature, &mut it.payload.view),
            Message::Checkpoint(_) | Message::Status(_) | Message::Recall(_) | Message::Holdings(_) => return,
        };
        match how % 3 {
            0 => signer.0 = signer.0.wrapping_add(1 + u16::from(how / 3)),
            1 => *signature = quorate_crypto::Signature::from_bytes([how; 64]),
            _ => view.0 = view.0.wrapping_add(1 + u64::from(how / 3)),
        }
        let refused = Pbft::verify(&self.bench.scope, Horizon::default(), message.clone());
        assert!(refused.is_err(), "nobody signed this: {message:?}");
    }

    fn backlog(&mut self, count: u8, eligible: bool) {
        let now = self.bench.now.mono;
        let count = u64::from(count % 4);
        let oldest = (count > 0).then_some(now);
        let eligible = oldest.filter(|_| eligible);
        self.step(Event::Backlog(Backlog { bytes: count * 200, count, oldest, eligible }));
    }

    fn built(&mut self, transaction: bool) {
        let Some(asked) = self.building.take() else { return };
        let transactions = if transaction { vec![Arc::clone(&self.transaction)] } else { Vec::new() };
        let hashes: Vec<Hash> = transactions.iter().map(|it| it.hash()).collect();
        let header = Header {
            version: Header::VERSION,
            chain: self.bench.scope.chain,
            epoch: self.bench.scope.epoch,
            height: asked.height,
            parent: asked.parent,
            transactions_root: Block::transactions_root(&hashes),
            time: asked.time,
            proposer: Account(self.bench.keys[self.me()].public()),
            anchor: asked.anchor,
        };
        let block = Arc::new(Block::new(header, transactions));
        self.others.learn(Known { block: Arc::clone(&block), sound: true });
        self.step(Event::Built { block });
    }

    fn checked(&mut self, which: u8, verdict: u8) {
        let asked = pick(&self.checks, which).copied().filter(|_| !which.is_multiple_of(5));
        let known = match asked {
            Some(hash) => self.others.blocks.iter().find(|it| it.block.hash() == hash).cloned(),
            None => self.block(which),
        };
        let Some(Known { block, .. }) = known else { return };
        self.checks.retain(|it| *it != block.hash());
        let verdict = match verdict % 8 {
            0 => Verdict::Refuse("it breaks a rule".to_owned()),
            1 => Verdict::Withdraw,
            _ => Verdict::Accept(Arc::clone(&block)),
        };
        self.step(Event::Checked { block: block.hash(), verdict });
    }

    fn execute(&mut self, count: u8, report: bool) {
        for _ in 0..=count % 4 {
            self.ledger.sync();
        }
        while report
            && !self.over
            && let Some(block) = self.ledger.report()
        {
            self.step(Event::Executed { outcome: ledger::outcome(&self.bench, &block) });
        }
    }

    fn certified(&mut self, block: u8, from: u8) {
        let Some(last) = self.block(block).filter(|it| it.sound) else { return };
        let first = self.ledger.height().0 + 1 - u64::from(from % 3).min(self.ledger.height().0);
        let Some(blocks) = self.others.path(&last.block, Height(first)) else { return };
        let Some(certificate) = self.others.certificate(&self.bench, &self.oracle, &last) else { return };
        let certified = CertifiedBlocks { blocks, certificate };
        certified
            .check(&self.bench.scope.chain, &self.bench.scope.validators)
            .expect("what others certified");
        self.step(Event::Certified(certified));
    }

    /// A few blocks from proposal to execution, or only so far.
    fn progress(&mut self, steps: u8, view: Near, on: u8) {
        for _ in 0..=steps / 8 % 4 {
            let view = self.view(view);
            let known = if self.primary_of(view) == self.me() {
                self.backlog(1, false);
                self.bench.after_millis(10);
                self.tick(false);
                self.built(true);
                self.others.blocks.last().cloned()
            } else {
                self.propose(view, on, 0, 0)
            };
            let Some(known) = known else { return };
            let hash = known.block.hash();
            if self.checks.contains(&hash) {
                self.checks.retain(|it| *it != hash);
                let verdict = Verdict::Accept(Arc::clone(&known.block));
                self.step(Event::Checked { block: hash, verdict });
            }
            for (at_least, kind) in [(2, VoteKind::Prepare), (4, VoteKind::Commit)] {
                if steps % 8 >= at_least {
                    self.votes(kind, view, &known, u8::MAX);
                }
            }
            if steps % 8 >= 5 {
                self.execute(steps / 32, true);
            }
        }
    }
}

/// One step of an engine, on a disk of its own.
fn take(engine: &mut Pbft, now: Now, event: Event<Message>) -> (Vec<Record>, Vec<Action<Message>>) {
    let mut out = Output::new(engine.epoch());
    engine.step(now, event, &mut out);
    let mut log = MemoryLog::default();
    let actions = out.commit(&mut log).expect("memory does not fail");
    (log.records, actions.into_iter().map(|(_, action)| action).collect())
}

fn pick<T>(all: &[T], which: u8) -> Option<&T> {
    all.get(usize::from(which) % all.len().max(1))
}
