//! Several replicas at once, message by message: what is sent lies in the mail until a test delivers or loses it.
//!
//! Replicas that lie have no engine here: a test speaks for them, with their keys. Bodies are found, blocks execute at once unless it says otherwise. After every event it is checked that no two replicas
//! delivered different blocks, that no correct replica contradicted itself, and that nobody correct is accused.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::{
    Account, Anchor, Block, CertifiedBlocks, CommitCertificate, Delivered, Deliveries, ExecutionOutcome,
    Header, Height, Operation, Parameters, Payload, Tip, Transaction, UnixMillis, ValidatorIndex,
};

use super::bench::{Bench, genesis_tip, index};
use crate::{
    engine::{Action, Backlog, Engine, Event, Horizon, Proposal, To, Verdict},
    evidence::{Evidence, VoteKind},
    pbft::{
        Message, Pbft,
        message::{NewView, PrePrepare, ViewChange, Vote},
    },
    rejection::Rejection,
};

/// How long a chain may take to go on once all is well, in simulated milliseconds.
const RECOVERY_MS: u64 = 30_000;
/// How far apart a test looks in the meantime.
const PACE_MS: u64 = 25;

/// Something on its way.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Message(Box<Message>),
    Blocks(CertifiedBlocks),
}

impl Letter {
    fn message(&self) -> Option<&Message> {
        match &self.content {
            Content::Message(message) => Some(message),
            Content::Blocks(_) => None,
        }
    }

    pub(super) fn is_proposal(&self) -> bool {
        matches!(self.message(), Some(Message::PrePrepare(_)))
    }

    pub(super) fn is_prepare(&self) -> bool {
        matches!(self.message(), Some(Message::Prepare(_)))
    }

    pub(super) fn is_commit(&self) -> bool {
        matches!(self.message(), Some(Message::Commit(_)))
    }

    pub(super) fn is_change(&self) -> bool {
        matches!(self.message(), Some(Message::ViewChange(_)))
    }

    pub(super) fn is_new_view(&self) -> bool {
        matches!(self.message(), Some(Message::NewView(_)))
    }
}

/// What a replica has delivered, and how much of it is synced: up to a block with a certificate of its own.
#[derive(Debug, Default)]
struct Ledger {
    blocks: Vec<(Arc<Block>, Option<CommitCertificate>)>,
    synced: usize,
}

pub(super) struct Cluster {
    pub(super) replicas: Vec<Bench>,
    liars: BTreeSet<usize>,
    stopped: BTreeSet<usize>,
    mail: VecDeque<Letter>,
    bodies: BTreeMap<Hash, Arc<Block>>,
    ledgers: Vec<Ledger>,
    executes: bool,
    evidence: Vec<Evidence>,
    rejected: Vec<(usize, Rejection)>,
    signed: BTreeMap<(usize, VoteKind, u64, u64), Hash>,
    changes: BTreeMap<(usize, u64), ViewChange>,
    starts: BTreeMap<(usize, u64), NewView>,
    nonce: u64,
}

/// Parameters under which nothing happens unless a test wants it.
pub(super) fn quiet() -> Parameters {
    Parameters { heartbeat_ms: 0, rotation_blocks: 0, rotation_time_ms: 0, ..Parameters::default() }
}

impl Cluster {
    pub(super) fn new(n: usize, liars: &[usize]) -> Self {
        Self::with(n, liars, &quiet())
    }

    pub(super) fn with(n: usize, liars: &[usize], parameters: &Parameters) -> Self {
        Self {
            replicas: (0..n).map(|me| Bench::with(n, me, parameters.clone())).collect(),
            liars: liars.iter().copied().collect(),
            stopped: BTreeSet::new(),
            mail: VecDeque::new(),
            bodies: BTreeMap::new(),
            ledgers: (0..n).map(|_| Ledger::default()).collect(),
            executes: true,
            evidence: Vec::new(),
            rejected: Vec::new(),
            signed: BTreeMap::new(),
            changes: BTreeMap::new(),
            starts: BTreeMap::new(),
            nonce: 0,
        }
    }

    /// Anybody's keys, to speak for a liar.
    pub(super) fn keys(&self) -> &Bench {
        &self.replicas[0]
    }

    /// Replicas that run and do not lie.
    pub(super) fn correct(&self) -> Vec<usize> {
        (0..self.replicas.len()).filter(|it| self.runs(*it)).collect()
    }

    fn runs(&self, at: usize) -> bool {
        !self.liars.contains(&at) && !self.stopped.contains(&at)
    }

    /// A block of a proposer with a transaction of its own, whose body everybody can get.
    pub(super) fn block(&mut self, proposer: usize, height: u64, parent: Hash) -> Arc<Block> {
        let anchor = genesis_tip(&self.keys().scope).anchor;
        let time = self.keys().now.wall.plus_millis(height);
        self.make(proposer, Height(height), parent, time, anchor)
    }

    fn make(
        &mut self,
        proposer: usize,
        height: Height,
        parent: Hash,
        time: UnixMillis,
        anchor: Anchor,
    ) -> Arc<Block> {
        self.nonce += 1;
        let key = SecretKey::from_seed([99; 32]);
        let payload = Payload {
            version: 1,
            chain: self.keys().scope.chain,
            sender: Account(key.public()),
            nonce: self.nonce,
            expires_at: time.plus_millis(1_000),
            fee: 0,
            operations: vec![Operation::Delete { key: b"k".to_vec() }],
        };
        let transaction = Arc::new(Transaction::sign(payload, &key));
        let header = Header {
            version: Header::VERSION,
            chain: self.keys().scope.chain,
            epoch: self.keys().scope.epoch,
            height,
            parent,
            transactions_root: Block::transactions_root(&[transaction.hash()]),
            time,
            proposer: Account(self.keys().keys[proposer].public()),
            anchor,
        };
        let block = Arc::new(Block::new(header, vec![transaction]));
        self.bodies.insert(block.hash(), Arc::clone(&block));
        block
    }

    /// From here on blocks wait to be executed.
    pub(super) fn hold_execution(&mut self) {
        self.executes = false;
    }

    /// A replica is given an event, and what it asks of its own runtime.
    pub(super) fn step(&mut self, at: usize, event: Event<Message>) {
        if !self.runs(at) {
            return;
        }
        let actions = self.replicas[at].step(event);
        self.follow(at, actions);
    }

    /// Does what a replica asks for, and what it asks for then.
    fn follow(&mut self, at: usize, actions: Vec<Action<Message>>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            for event in self.act(at, action) {
                actions.extend(self.replicas[at].step(event));
            }
        }
        self.assert_agreement();
    }

    fn act(&mut self, at: usize, action: Action<Message>) -> Vec<Event<Message>> {
        let answer = match action {
            Action::Send { to, message } => {
                self.audit(at, &message);
                let all: Vec<usize> = match to {
                    To::All => (0..self.replicas.len()).filter(|to| *to != at).collect(),
                    To::One(to) => vec![to.as_usize()],
                };
                for to in all {
                    self.post(at, to, Content::Message(Box::new(message.clone())));
                }
                None
            }
            Action::Build { height, parent, anchor, time } => {
                let block = self.make(at, height, parent, time, anchor);
                Some(Event::Built { block })
            }
            Action::Check { proposal, .. } => self.check(&proposal),
            Action::Fetch { header, from } => self.fetched(from, header.hash()),
            Action::Commit { block, certificate } => {
                self.ledgers[at].blocks.push((block, certificate));
                return if self.executes { self.execute(at, usize::MAX) } else { Vec::new() };
            }
            Action::Serve { to, above } => {
                self.serve(at, to.as_usize(), above);
                None
            }
            Action::Accuse { evidence } => {
                let scope = &self.keys().scope;
                assert!(evidence.holds(&scope.chain, &scope.validators), "{evidence:?} proves nothing");
                let accused = scope.validators.index_of(evidence.signer()).expect("a member");
                assert!(
                    self.liars.contains(&accused.as_usize()),
                    "replica {at} accuses {accused}, who is correct: {evidence:?}"
                );
                self.evidence.push(*evidence);
                None
            }
            Action::Reject { why, .. } => {
                self.rejected.push((at, why));
                None
            }
            Action::Halt { fault } => panic!("replica {at} halts: {fault}"),
            Action::Abstain { why } => panic!("replica {at} does not know itself: {why}"),
            Action::Stable { .. } | Action::Leave { .. } => None,
        };
        answer.into_iter().collect()
    }

    /// Executes and syncs as the executor does that has been given this many blocks, lowest first.
    pub(super) fn execute(&mut self, at: usize, given: usize) -> Vec<Event<Message>> {
        let ledger = &mut self.ledgers[at];
        let mut deliveries = Deliveries::default();
        for (block, certificate) in ledger.blocks.iter().take(given).skip(ledger.synced) {
            deliveries.push(Delivered { block: Arc::clone(block), certificate: certificate.clone() });
        }
        let end = ledger.synced + deliveries.batch(usize::MAX).len();
        let blocks = &ledger.blocks[std::mem::replace(&mut ledger.synced, end)..end];
        let executed = |(block, _): &(Arc<Block>, _)| {
            let checkpoint = self.replicas[at].result(block);
            Event::Executed { outcome: ExecutionOutcome { checkpoint, due: None, epoch_ends: None } }
        };
        blocks.iter().map(executed).collect()
    }

    fn post(&mut self, from: usize, to: usize, content: Content) {
        if !self.liars.contains(&to) {
            self.mail.push_back(Letter { from, to, content });
        }
    }

    fn check(&self, proposal: &Proposal) -> Option<Event<Message>> {
        let block = proposal.header.hash();
        let body = Arc::clone(self.bodies.get(&block)?);
        Some(Event::Checked { block, verdict: Verdict::Accept(body) })
    }

    /// What another replica sends of a block that it has accepted.
    fn fetched(&self, from: ValidatorIndex, block: Hash) -> Option<Event<Message>> {
        let from = from.as_usize();
        if !self.runs(from) {
            return None;
        }
        let accepted = self.replicas[from].engine.accepted();
        let delivered = self.ledgers[from].blocks.iter().map(|(block, _)| block);
        let block = accepted.iter().chain(delivered).find(|it| it.hash() == block).cloned();
        block.map(|block| Event::Fetched { block })
    }

    fn serve(&mut self, from: usize, to: usize, above: Height) {
        let above = usize::try_from(above.0).expect("a short chain");
        let blocks = &self.ledgers[from].blocks;
        let Some(last) = blocks.iter().rposition(|(_, certificate)| certificate.is_some()) else { return };
        if last < above {
            return;
        }
        let certificate = blocks[last].1.clone().expect("it was looked for");
        let blocks = blocks[above..=last].iter().map(|(block, _)| Arc::clone(block)).collect();
        self.post(from, to, Content::Blocks(CertifiedBlocks { blocks, certificate }));
    }

    /// A correct replica says one thing only, also across restarts.
    fn audit(&mut self, at: usize, message: &Message) {
        match message {
            Message::Prepare(vote) => self.audit_vote(at, VoteKind::Prepare, vote),
            Message::Commit(vote) => self.audit_vote(at, VoteKind::Commit, vote),
            Message::PrePrepare(it) if it.prepare.signer == index(at) => {
                self.audit_vote(at, VoteKind::Prepare, &it.prepare);
            }
            Message::ViewChange(change) => {
                let known =
                    self.changes.entry((at, change.payload.view.0)).or_insert_with(|| (**change).clone());
                assert_eq!(known, &**change, "replica {at} asks for one view in two ways");
            }
            Message::NewView(it) if it.signer == index(at) => {
                let known = self.starts.entry((at, it.payload.view.0)).or_insert_with(|| (**it).clone());
                assert_eq!(known, &**it, "replica {at} starts one view in two ways");
            }
            Message::PrePrepare(_)
            | Message::NewView(_)
            | Message::Checkpoint(_)
            | Message::Status(_)
            | Message::Recall(_)
            | Message::Holdings(_) => {}
        }
    }

    fn audit_vote(&mut self, at: usize, kind: VoteKind, vote: &Vote) {
        let payload = &vote.payload;
        let place = (at, kind, payload.view.0, payload.height.0);
        let known = *self.signed.entry(place).or_insert(payload.block);
        assert_eq!(known, payload.block, "replica {at} votes twice: {payload:?}");
    }

    fn assert_agreement(&self) {
        let longest = self.correct().into_iter().map(|it| &self.ledgers[it].blocks).max_by_key(|it| it.len());
        for at in self.correct() {
            for ((own, _), (other, _)) in self.ledgers[at].blocks.iter().zip(longest.into_iter().flatten()) {
                assert_eq!(own.hash(), other.hash(), "replica {at} forks at height {}", own.height());
            }
        }
    }

    /// What a liar says to one replica.
    pub(super) fn says(&mut self, liar: usize, to: usize, message: Message) {
        assert!(self.liars.contains(&liar), "correct replicas speak for themselves");
        self.hand(Letter { from: liar, to, content: Content::Message(Box::new(message)) });
    }

    /// What a liar says to every correct replica.
    pub(super) fn tells(&mut self, liar: usize, message: &Message) {
        for to in self.correct() {
            self.says(liar, to, message.clone());
        }
    }

    /// A liar's proposal for a view.
    pub(super) fn proposal(&self, view: u64, liar: usize, block: &Block) -> Message {
        let prepare = self.keys().vote_in(view, VoteKind::Prepare, liar, block);
        Message::PrePrepare(PrePrepare::of(block, prepare, None))
    }

    fn hand(&mut self, letter: Letter) {
        let Letter { from, to, content } = letter;
        let event = match content {
            Content::Message(message) => {
                let scope = &self.replicas[to].scope;
                let message = Pbft::verify(scope, Horizon::default(), *message);
                Event::Message { from: index(from), message: message.expect("everything said here is valid") }
            }
            Content::Blocks(blocks) => Event::Certified(blocks),
        };
        self.step(to, event);
    }

    /// Delivers what is wanted, and what is sent because of it and is wanted too, oldest first.
    pub(super) fn deliver(&mut self, wanted: impl Fn(&Letter) -> bool) {
        while let Some(letter) = self.mail.iter().position(&wanted).and_then(|place| self.mail.remove(place))
        {
            self.hand(letter);
        }
    }

    /// Loses what is unwanted of what is on its way now.
    pub(super) fn lose(&mut self, unwanted: impl Fn(&Letter) -> bool) {
        self.mail.retain(|letter| !unwanted(letter));
    }

    /// Time goes by everywhere, and every replica that wants to be woken is.
    pub(super) fn wait(&mut self, millis: u64) {
        for replica in &mut self.replicas {
            replica.after_millis(millis);
        }
        for at in self.correct() {
            self.step(at, Event::Tick);
        }
    }

    /// A transaction waits at a replica, and every validator was given it.
    pub(super) fn work(&mut self, at: usize) {
        let now = self.replicas[at].now.mono;
        let backlog = Backlog { bytes: 200, count: 1, oldest: Some(now), eligible: Some(now) };
        self.step(at, Event::Backlog(backlog));
    }

    /// The primary of view 0 proposes its next block.
    pub(super) fn propose(&mut self, at: usize) {
        let parameters = &self.keys().parameters;
        let count = u64::from(parameters.block_transactions_max);
        self.step(at, Event::Backlog(Backlog { bytes: 1, count, oldest: None, eligible: None }));
    }

    /// A replica stops for good, or until it is started again.
    pub(super) fn stop(&mut self, at: usize) {
        self.stopped.insert(at);
        self.mail.retain(|letter| letter.to != at);
    }

    /// Starts a replica on its log as it is, with a ledger that holds what was synced. The others hold nothing of it that it
    /// does not know.
    pub(super) fn start(&mut self, at: usize) {
        self.stopped.remove(&at);
        let ledger = &mut self.ledgers[at];
        ledger.blocks.truncate(ledger.synced);
        let tip = self.tip(at);
        let actions = self.replicas[at].restart(tip);
        self.follow(at, actions);
        self.step(at, Event::Tick);
    }

    fn tip(&self, at: usize) -> Tip {
        let bench = &self.replicas[at];
        let genesis = genesis_tip(&bench.scope);
        let blocks = &self.ledgers[at].blocks;
        let Some((last, _)) = blocks.last() else { return genesis };
        let base = blocks.iter().rev().find_map(|(_, certificate)| certificate.clone());
        Tip {
            height: last.height(),
            hash: last.hash(),
            time: last.time(),
            anchor: last.header().anchor,
            outcome: ExecutionOutcome { checkpoint: bench.result(last), due: None, epoch_ends: None },
            base_height: base.as_ref().map_or(Height(0), |it| it.payload.height),
            base,
            ..genesis
        }
    }

    /// The ledgers of all lose what was not executed; what is executed from here on is synced.
    pub(super) fn execute_again(&mut self) {
        self.executes = true;
    }

    /// Heights delivered by a replica.
    pub(super) fn delivered(&self, at: usize) -> usize {
        self.ledgers[at].blocks.len()
    }

    /// The block delivered by a replica at a height.
    pub(super) fn block_at(&self, at: usize, height: usize) -> Option<Hash> {
        self.ledgers[at].blocks.get(height - 1).map(|(block, _)| block.hash())
    }

    /// The blocks that a replica has in flight, lowest first.
    pub(super) fn in_flight(&self, at: usize) -> Vec<Arc<Block>> {
        let hashes = self.replicas[at].engine.in_flight();
        hashes.iter().map(|it| Arc::clone(&self.bodies[it])).collect()
    }

    /// What lies in the mail and is wanted.
    pub(super) fn waiting(&self, wanted: impl Fn(&Letter) -> bool) -> usize {
        self.mail.iter().filter(|it| wanted(it)).count()
    }

    /// The view that a replica is in or asks for.
    pub(super) fn view(&self, at: usize) -> u64 {
        self.replicas[at].engine.status().view.0
    }

    /// The VIEW-CHANGE that a replica sent for a view.
    pub(super) fn change(&self, at: usize, view: u64) -> Option<&ViewChange> {
        self.changes.get(&(at, view))
    }

    /// The NEW-VIEW that a replica sent for its view.
    pub(super) fn start_of(&self, view: u64) -> Option<&NewView> {
        self.starts.values().find(|it| it.payload.view.0 == view)
    }

    /// Everything that was said so far in the way of votes: (who, kind, view, height) to block.
    pub(super) fn voted(&self, at: usize, kind: VoteKind, view: u64, height: u64) -> Option<Hash> {
        self.signed.get(&(at, kind, view, height)).copied()
    }

    pub(super) fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// Faults are over but for the liars, who say nothing: with work at every replica the chain must go on everywhere.
    pub(super) fn recovers(&mut self) {
        self.recovers_within(RECOVERY_MS);
    }

    pub(super) fn recovers_within(&mut self, millis: u64) {
        let goal = self.correct().iter().map(|it| self.delivered(*it)).max().expect("somebody runs") + 3;
        // What waits became eligible when the last block left it out.
        let mut since = vec![(0, self.keys().now.mono); self.replicas.len()];
        for _ in 0..millis / PACE_MS {
            if self.correct().iter().all(|it| self.delivered(*it) >= goal) {
                return;
            }
            for at in self.correct() {
                if self.delivered(at) > since[at].0 {
                    since[at] = (self.delivered(at), self.keys().now.mono);
                }
                let waits = Some(since[at].1);
                self.step(
                    at,
                    Event::Backlog(Backlog { bytes: 200, count: 1, oldest: waits, eligible: waits }),
                );
            }
            self.wait(PACE_MS);
            self.deliver(|_| true);
        }
        let stood: Vec<_> = self.correct().iter().map(|it| self.replicas[*it].engine.status()).collect();
        panic!("{goal} blocks everywhere within {millis} ms; instead: {stood:#?}");
    }
}
