//! One replica under test, and everybody's keys.

use std::sync::Arc;

use quorate_crypto::{Domain, Hash, MultiSignature, SecretKey, Signers};
use quorate_ledger::{
    Account, Anchor, Block, CertifiedBlocks, CheckpointCertificate, CheckpointPayload, CommitCertificate,
    CommitPayload, Epoch, ExecutionOutcome, Header, Height, Parameters, Tip, UnixMillis, ValidatorIndex,
    ValidatorSet, View,
};

use crate::{
    engine::{
        Action, Backlog, Engine, Event, Horizon, Log, Mono, Now, Output, Scope, Setup, To, Verdict, Voter,
    },
    evidence::VoteKind,
    pbft::{
        Message, Pbft, Record,
        message::{
            Base, CheckpointVote, Holdings, NewView, NewViewPayload, PrePrepare, PreparedCertificate, Proof,
            Statement, StatusReport, ViewChange, ViewChangePayload, Vote,
        },
        reproposal::reproposal,
    },
    rejection::Rejection,
};

/// Where the tests' wall clock starts.
pub(super) const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// A log in memory that says what was appended.
#[derive(Debug, Default)]
pub(super) struct MemoryLog {
    pub(super) records: Vec<Record>,
}

impl Log<Record> for MemoryLog {
    fn append(&mut self, records: &[Record]) -> std::io::Result<()> {
        self.records.extend_from_slice(records);
        Ok(())
    }

    fn wants_compaction(&self) -> bool {
        false
    }

    fn compact(&mut self, records: &[Record]) -> std::io::Result<()> {
        self.records = records.to_vec();
        Ok(())
    }
}

pub(super) struct Bench {
    pub(super) keys: Vec<SecretKey>,
    pub(super) scope: Scope,
    pub(super) parameters: Parameters,
    pub(super) me: ValidatorIndex,
    pub(super) log: MemoryLog,
    pub(super) now: Now,
    pub(super) engine: Pbft,
}

pub(super) fn index(place: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(place).expect("a small index"))
}

fn genesis_checkpoint(scope: &Scope) -> CheckpointPayload {
    CheckpointPayload {
        epoch: Epoch(0),
        height: Height(0),
        block: scope.chain,
        state_root: Hash::of(b"state at the genesis"),
        receipts_root: quorate_ledger::receipts_root(&[]),
        next_validators: scope.validators.hash(),
    }
}

pub(super) fn genesis_tip(scope: &Scope) -> Tip {
    let checkpoint = genesis_checkpoint(scope);
    Tip {
        height: Height(0),
        hash: scope.chain,
        time: START,
        anchor: checkpoint.anchor(),
        outcome: ExecutionOutcome { checkpoint, due: None, epoch_ends: None },
        base_height: Height(0),
        base: None,
        stable: checkpoint.anchor(),
        stable_certificate: None,
    }
}

impl Bench {
    /// Replica `me` of `n`, on the genesis, after its first tick.
    pub(super) fn new(n: usize, me: usize) -> Self {
        Self::with(n, me, Parameters::default())
    }

    pub(super) fn with(n: usize, me: usize, parameters: Parameters) -> Self {
        let mut keys: Vec<SecretKey> =
            (0..n).map(|it| SecretKey::from_seed([u8::try_from(it + 1).expect("few keys"); 32])).collect();
        keys.sort_by_key(SecretKey::public);
        let validators = keys.iter().map(SecretKey::public).collect();
        let validators = ValidatorSet::new(validators).expect("distinct keys");
        let chain = Hash::of(b"a test chain");
        let window = u64::from(parameters.window);
        let start = (Height(0), chain);
        let scope = Scope { chain, epoch: Epoch(0), validators, start, previous: None, window };
        let me = index(me);
        let setup = Self::setup_of(&scope, &parameters, &keys, Some(me));
        let engine = Pbft::open(setup, genesis_tip(&scope), Vec::new()).expect("an empty log opens");
        let now = Now { mono: Mono(1), wall: START };
        let mut bench = Self { keys, scope, parameters, me, log: MemoryLog::default(), now, engine };
        bench.step(Event::Tick);
        bench.hear_holdings();
        bench
    }

    fn setup_of(
        scope: &Scope,
        parameters: &Parameters,
        keys: &[SecretKey],
        me: Option<ValidatorIndex>,
    ) -> Setup {
        let voter = me.map(|index| Voter { index, key: keys[index.as_usize()].clone() });
        Setup { scope: scope.clone(), voter, parameters: parameters.clone(), nonce: 7 }
    }

    pub(super) fn setup(&self) -> Setup {
        Self::setup_of(&self.scope, &self.parameters, &self.keys, Some(self.me))
    }

    /// The same replica, started again on a ledger that stands at `tip`. It has asked nobody yet what it signed.
    pub(super) fn reopen(&mut self, tip: Tip) {
        self.engine = Pbft::open(self.setup(), tip, self.log.records.clone()).expect("its own log opens");
    }

    /// The same, and the others hold nothing of it that it does not know.
    pub(super) fn restart(&mut self, tip: Tip) -> Vec<Action<Message>> {
        self.reopen(tip);
        self.hear_holdings()
    }

    /// An answer to the question that this replica asks before it signs.
    pub(super) fn holdings(&self, statements: Vec<Statement>) -> Message {
        let Setup { nonce, .. } = self.setup();
        Message::Holdings(Box::new(Holdings { epoch: self.scope.epoch, nonce, statements }))
    }

    /// Q - 1 others answer that they hold nothing.
    pub(super) fn hear_holdings(&mut self) -> Vec<Action<Message>> {
        let answer = self.holdings(Vec::new());
        let others: Vec<_> = (0..self.keys.len()).filter(|it| index(*it) != self.me).collect();
        let others = others.into_iter().take(self.scope.quorum().q() - 1);
        others.flat_map(|other| self.receive(other, answer.clone())).collect()
    }

    pub(super) fn step(&mut self, event: Event<Message>) -> Vec<Action<Message>> {
        let mut out = Output::new(self.scope.epoch);
        self.engine.step(self.now, event, &mut out);
        let actions = out.commit(&mut self.log).expect("memory does not fail");
        actions.into_iter().map(|(_, action)| action).collect()
    }

    /// A message as it comes in: verified first, as every runtime must.
    pub(super) fn receive(&mut self, from: usize, message: Message) -> Vec<Action<Message>> {
        let horizon = Horizon::default();
        let message = Pbft::verify(&self.scope, horizon, message).expect("the message is well made");
        self.step(Event::Message { from: index(from), message })
    }

    /// Why nothing that a message holds is believed, although its signer signed it and is to be accused.
    pub(super) fn falsehood(&self, message: Message) -> Rejection {
        let verified = Pbft::verify(&self.scope, Horizon::default(), message);
        verified.expect("whoever signed it is accused").fault().expect("it is false").clone()
    }

    pub(super) fn refused(&self, message: Message) -> Rejection {
        Pbft::verify(&self.scope, Horizon::default(), message).expect_err("the message must be refused")
    }

    pub(super) fn after_millis(&mut self, millis: u64) {
        self.now = Now { mono: self.now.mono.plus_millis(millis), wall: self.now.wall.plus_millis(millis) };
    }

    pub(super) fn backlog(&mut self, count: u64) -> Vec<Action<Message>> {
        let oldest = (count > 0).then_some(self.now.mono);
        self.step(Event::Backlog(Backlog { bytes: count * 200, count, oldest, eligible: None }))
    }

    /// An empty block on top of `parent`, proposed by the primary of view 0, one millisecond later.
    pub(super) fn child(&self, parent: &Block) -> Arc<Block> {
        self.block(parent.height().next(), parent.hash(), parent.time().plus_millis(1))
    }

    /// The block at height 1.
    pub(super) fn first(&self) -> Arc<Block> {
        self.block(Height(1), self.scope.chain, START.plus_millis(1))
    }

    pub(super) fn block(&self, height: Height, parent: Hash, time: UnixMillis) -> Arc<Block> {
        self.block_with(height, parent, time, genesis_checkpoint(&self.scope).anchor())
    }

    pub(super) fn block_with(
        &self,
        height: Height,
        parent: Hash,
        time: UnixMillis,
        anchor: Anchor,
    ) -> Arc<Block> {
        let header = Header {
            version: Header::VERSION,
            chain: self.scope.chain,
            epoch: self.scope.epoch,
            height,
            parent,
            transactions_root: Block::transactions_root(&[]),
            time,
            proposer: Account(self.keys[0].public()),
            anchor,
        };
        Arc::new(Block::new(header, Vec::new()))
    }

    /// `count` blocks above the genesis, lowest first.
    pub(super) fn chain(&self, count: usize) -> Vec<Arc<Block>> {
        let mut blocks = vec![self.first()];
        while blocks.len() < count {
            blocks.push(self.child(&blocks[blocks.len() - 1]));
        }
        blocks
    }

    pub(super) fn payload(&self, block: &Block) -> CommitPayload {
        self.payload_in(0, block)
    }

    pub(super) fn payload_in(&self, view: u64, block: &Block) -> CommitPayload {
        let epoch = self.scope.epoch;
        CommitPayload { epoch, view: View(view), height: block.height(), block: block.hash() }
    }

    pub(super) fn vote(&self, kind: VoteKind, signer: usize, block: &Block) -> Vote {
        self.vote_in(0, kind, signer, block)
    }

    pub(super) fn vote_in(&self, view: u64, kind: VoteKind, signer: usize, block: &Block) -> Vote {
        let payload = self.payload_in(view, block);
        let signature = self.keys[signer].sign(kind.domain(), &self.scope.chain, &payload);
        Vote { payload, signer: index(signer), signature }
    }

    pub(super) fn prepare(&self, signer: usize, block: &Block) -> Message {
        Message::Prepare(self.vote(VoteKind::Prepare, signer, block))
    }

    pub(super) fn commit(&self, signer: usize, block: &Block) -> Message {
        Message::Commit(self.vote(VoteKind::Commit, signer, block))
    }

    pub(super) fn pre_prepare(&self, block: &Block) -> Message {
        Message::PrePrepare(PrePrepare::of(block, self.vote(VoteKind::Prepare, 0, block), None))
    }

    pub(super) fn signatures<T: borsh::BorshSerialize>(
        &self,
        domain: Domain,
        payload: &T,
        signers: &[usize],
    ) -> MultiSignature {
        let votes = signers.iter().map(|it| (*it, self.keys[*it].sign(domain, &self.scope.chain, payload)));
        MultiSignature::from_votes(self.keys.len(), votes)
    }

    pub(super) fn certificate(&self, block: &Block, signers: &[usize]) -> CommitCertificate {
        let payload = self.payload(block);
        CommitCertificate { payload, signatures: self.signatures(Domain::Commit, &payload, signers) }
    }

    pub(super) fn certified(&self, blocks: &[Arc<Block>], signers: &[usize]) -> Event<Message> {
        let last = blocks.last().expect("at least one block");
        let certificate = self.certificate(last, signers);
        Event::Certified(CertifiedBlocks { blocks: blocks.to_vec(), certificate })
    }

    /// What executing a block comes to, in these tests.
    pub(super) fn result(&self, block: &Block) -> CheckpointPayload {
        CheckpointPayload {
            epoch: self.scope.epoch,
            height: block.height(),
            block: block.hash(),
            state_root: Hash::of(block.hash().as_bytes()),
            receipts_root: quorate_ledger::receipts_root(&[]),
            next_validators: self.scope.validators.hash(),
        }
    }

    pub(super) fn executed(&mut self, block: &Block) -> Vec<Action<Message>> {
        let checkpoint = self.result(block);
        self.step(Event::Executed { outcome: ExecutionOutcome { checkpoint, due: None, epoch_ends: None } })
    }

    pub(super) fn checkpoint(&self, signer: usize, payload: CheckpointPayload) -> CheckpointVote {
        let signature = self.keys[signer].sign(Domain::Checkpoint, &self.scope.chain, &payload);
        CheckpointVote { payload, signer: index(signer), signature }
    }

    pub(super) fn checkpoint_certificate(
        &self,
        payload: CheckpointPayload,
        signers: &[usize],
    ) -> CheckpointCertificate {
        CheckpointCertificate { payload, signatures: self.signatures(Domain::Checkpoint, &payload, signers) }
    }

    /// A prepared certificate of a view.
    pub(super) fn prepared(&self, view: u64, block: &Block, signers: &[usize]) -> PreparedCertificate {
        let payload = self.payload_in(view, block);
        let signatures = self.signatures(Domain::Prepare, &payload, signers);
        PreparedCertificate { header: block.header().clone(), payload, signatures }
    }

    /// A VIEW-CHANGE from the genesis.
    pub(super) fn change(&self, signer: usize, view: u64, prepared: Vec<PreparedCertificate>) -> ViewChange {
        let base = Base { height: Height(0), block: self.scope.chain, certificate: None };
        self.change_from(signer, view, base, prepared)
    }

    pub(super) fn change_from(
        &self,
        signer: usize,
        view: u64,
        base: Base,
        prepared: Vec<PreparedCertificate>,
    ) -> ViewChange {
        let claims = prepared.iter().map(|it| it.payload).collect();
        let (epoch, view) = (self.scope.epoch, View(view));
        let payload = ViewChangePayload { epoch, view, base: base.claim(), prepared: claims };
        let signature = self.keys[signer].sign(Domain::ViewChange, &self.scope.chain, &payload);
        let proof = Proof { base: base.certificate, prepared };
        ViewChange { payload, signer: index(signer), signature, proof }
    }

    /// A base that has a certificate.
    pub(super) fn base(&self, block: &Block, signers: &[usize]) -> Base {
        let certificate = Some(self.certificate(block, signers));
        Base { height: block.height(), block: block.hash(), certificate }
    }

    pub(super) fn new_view(&self, view: u64, changes: Vec<ViewChange>, blocks: Vec<Hash>) -> NewView {
        let proof = reproposal(&changes).map_or_else(Proof::default, |it| it.proof());
        self.new_view_with(view, &changes, proof, blocks)
    }

    pub(super) fn new_view_with(
        &self,
        view: u64,
        changes: &[ViewChange],
        proof: Proof,
        blocks: Vec<Hash>,
    ) -> NewView {
        let changes = changes.iter().map(ViewChange::request).collect();
        let payload = NewViewPayload { epoch: self.scope.epoch, view: View(view), changes, proof, blocks };
        let signer = crate::pbft::primary(View(view), self.keys.len());
        let key = &self.keys[signer.as_usize()];
        let signature = key.sign(Domain::NewView, &self.scope.chain, &payload);
        NewView { payload, signer, signature }
    }

    /// The verdict that a block holds.
    pub(super) fn accept(&mut self, block: &Arc<Block>) -> Vec<Action<Message>> {
        self.step(Event::Checked { block: block.hash(), verdict: Verdict::Accept(Arc::clone(block)) })
    }

    /// PRE-PREPARE and a good verdict: the replica has accepted the block and sent its PREPARE.
    pub(super) fn propose(&mut self, block: &Arc<Block>) -> Vec<Action<Message>> {
        let message = self.pre_prepare(block);
        self.receive(0, message);
        self.accept(block)
    }

    /// The tip of a ledger that has executed `block` under a certificate of its own.
    pub(super) fn tip_at(&self, block: &Block, signers: &[usize]) -> Tip {
        let outcome = ExecutionOutcome { checkpoint: self.result(block), due: None, epoch_ends: None };
        Tip {
            height: block.height(),
            hash: block.hash(),
            time: block.time(),
            anchor: block.header().anchor,
            outcome,
            base_height: block.height(),
            base: Some(self.certificate(block, signers)),
            ..genesis_tip(&self.scope)
        }
    }

    /// A STATUS that holds nothing above the genesis.
    pub(super) fn empty_status(&self) -> StatusReport {
        StatusReport {
            epoch: self.scope.epoch,
            view: View(0),
            active: true,
            delivered: Height(0),
            certificate: None,
            stable: Height(0),
            checkpoint: None,
            heights: Vec::new(),
            checkpoints: Vec::new(),
        }
    }

    pub(super) fn signers(&self, signers: &[usize]) -> Signers {
        let mut all = Signers::new(self.keys.len());
        for signer in signers {
            all.insert(*signer);
        }
        all
    }
}

/// What an output sends, with to whom.
pub(super) fn sent(actions: &[Action<Message>]) -> Vec<(To, Message)> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { to, message } => Some((*to, message.clone())),
        Action::Build { .. }
        | Action::Check { .. }
        | Action::Fetch { .. }
        | Action::Commit { .. }
        | Action::Stable { .. }
        | Action::Leave { .. }
        | Action::Serve { .. }
        | Action::Accuse { .. }
        | Action::Reject { .. }
        | Action::Abstain { .. }
        | Action::Halt { .. } => None,
    });
    sent.collect()
}

/// The heights that an output delivers, and whether with a certificate.
pub(super) fn delivered(actions: &[Action<Message>]) -> Vec<(u64, bool)> {
    let delivered = actions.iter().filter_map(|action| match action {
        Action::Commit { block, certificate } => Some((block.height().0, certificate.is_some())),
        Action::Send { .. }
        | Action::Build { .. }
        | Action::Check { .. }
        | Action::Fetch { .. }
        | Action::Stable { .. }
        | Action::Leave { .. }
        | Action::Serve { .. }
        | Action::Accuse { .. }
        | Action::Reject { .. }
        | Action::Abstain { .. }
        | Action::Halt { .. } => None,
    });
    delivered.collect()
}

/// The one rejection in an output.
pub(super) fn rejection(actions: &[Action<Message>]) -> Rejection {
    match actions {
        [Action::Reject { why, .. }] => why.clone(),
        other => panic!("one rejection and nothing else, not {other:?}"),
    }
}
