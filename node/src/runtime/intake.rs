//! From bytes to verified things: decodes what peers send, verifies it on threads of its own, and hands it on.
//!
//! ```text
//!  network ──▶ one task ──▶ lanes: a queue for each source ──▶ verifiers ──▶ consensus   votes, proposals
//!                  │                                              ├───────▶ pool        bundles
//!                  │                                              └───────▶ sync        offers, notices
//!                  └─ requests ──▶ a task each, a few at a time ──▶ answer
//! ```
//!
//! - Nothing unverified passes; the type `Verified` says so for messages, the order of lines below for bundles.
//! - Each source's things are handled in order; a source that floods delays itself alone ([`Lanes`]).
//! - A batch of signatures is of one source; what fails it is bisected by the batch, and the source is rationed
//!   ([`Conduct`](super::conduct::Conduct)). A bundle is forwarded only when all of it verified and the pool has taken most of
//!   what was new ([`bundle`]): a verifier waits for the pool's word, and so no more of them wait there than there are verifiers.
//! - What is here already, has expired or is committed is neither verified nor forwarded ([`sift`]).

mod bundle;
mod sift;

use std::sync::Arc;

use quorate_consensus::{Engine, Event, Rejection, Verified};
use quorate_crypto::{Hash, PublicKey, decode, encode};
use quorate_ledger::{Height, Reader, StoreError, Transaction};
use quorate_network::{Class, GossipToken, GossipVerdict, Inbound, Network, PeerId, Target, Topic};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use self::{
    bundle::{Facts, Judged},
    sift::Span,
};
use super::{
    clock::Clock,
    conduct::Source,
    epochs::{CurrentRules, Epochs, Place},
    handle::{PoolShared, TipView},
    inbox::Inbox,
    lanes::{Lanes, Serves, Taken, Weigh},
    offences::Offences,
    pool::{PoolCommand, PoolSender, TAKE_MAX},
    readiness::OwnReadiness,
    sync::Hint,
};
use crate::{
    metrics::Metrics,
    wire::{
        ANSWER_BYTES, BLOCKS_PER_ANSWER_MAX, BlockNotice, Bodies, Bundle, Frame, Hashes, Lane, Request,
        Response, Stretch,
    },
};

/// Requests of validators answered at a time; more are refused.
const ANSWERS_TO_VALIDATORS_MAX: usize = 16;
/// Requests of other peers answered at a time; more are refused. Fewer, for an answer may be megabytes read and encoded.
const ANSWERS_TO_OTHERS_MAX: usize = 8;

/// What the task and the verifiers share.
pub(super) struct Intake<E: Engine> {
    pub(super) epochs: Arc<Epochs>,
    pub(super) rules: CurrentRules,
    pub(super) lanes: Lanes<Source, Item>,
    pub(super) offences: Offences,
    pub(super) clock: Clock,
    pub(super) network: Network,
    pub(super) reader: Reader,
    pub(super) tip: watch::Receiver<TipView>,
    pub(super) inbox: Arc<Inbox<E::Message>>,
    pub(super) pool: PoolSender,
    /// What waits in the pool.
    pub(super) waiting: Arc<PoolShared>,
    /// What this node can state of its key.
    pub(super) own_readiness: Arc<OwnReadiness>,
    pub(super) hints: mpsc::Sender<Hint>,
    pub(super) metrics: Metrics,
}

/// Something that waits for a verifier.
#[derive(Debug)]
pub(super) enum Item {
    /// A frame of a validator.
    Frame(Vec<u8>),
    /// A gossiped bundle.
    Bundle(Vec<u8>, GossipToken),
}

impl Weigh for Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Frame(bytes) | Self::Bundle(bytes, _) => bytes.len(),
        }
    }
}

impl<E: Engine + 'static> Intake<E> {
    /// Takes what the network hands over, until it is shut down.
    pub(super) async fn run(self: Arc<Self>, mut inbound: mpsc::Receiver<Inbound>) {
        let permits = AnswerPermits::new();
        while let Some(thing) = inbound.recv().await {
            match thing {
                Inbound::Frame { from, bytes } => {
                    let lane = Frame::<E::Message>::lane(&bytes);
                    self.queue(lane, Source::Validator(from), Item::Frame(bytes));
                }
                Inbound::Gossip { topic: Topic::Transactions, source, bytes, token } => {
                    self.queue(Lane::Bulk, Source::Peer(source), Item::Bundle(bytes, token));
                }
                Inbound::Gossip { topic: Topic::Blocks, source, bytes, token } => {
                    self.announced(source, &bytes, token);
                }
                Inbound::Request { from, validator, bytes, reply } => {
                    // Without a permit `reply` is dropped, which refuses.
                    if let Some(permit) = permits.take(validator) {
                        let intake = Arc::clone(&self);
                        tokio::spawn(async move {
                            intake.answer(from, &bytes, reply).await;
                            drop(permit);
                        });
                    }
                }
                Inbound::ValidatorUp(validator) => self.greet(&validator),
                Inbound::ValidatorDown(validator) => {
                    tracing::info!(%validator, "validator disconnected");
                    self.count_validators();
                }
            }
        }
    }

    fn queue(&self, lane: Lane, source: Source, item: Item) {
        for dropped in self.lanes.push(lane, source, item) {
            match dropped {
                Item::Frame(_) => {
                    self.metrics.frames_dropped.inc();
                }
                Item::Bundle(_, token) => self.network.accept(token, GossipVerdict::Ignore),
            }
        }
    }

    /// Lets a validator that came up know how far this node is, in case it is behind.
    fn greet(&self, validator: &PublicKey) {
        tracing::info!(%validator, "validator connected");
        self.count_validators();
        self.offer(validator);
        // A full queue loses it; what then waits costs a change of view at most.
        let _ = self.pool.try_send(PoolCommand::Connected(*validator));
    }

    fn offer(&self, validator: &PublicKey) {
        let height = self.tip.borrow().height;
        self.network.send(validator, Class::Urgent, encode(&Frame::<()>::Offer { height }));
    }

    fn count_validators(&self) {
        self.metrics.validators_connected.set(self.network.connected_validators().len() as u64);
    }

    fn announced(&self, source: PeerId, bytes: &[u8], token: GossipToken) {
        match decode::<BlockNotice>(bytes) {
            Ok(notice) => {
                let hint = Hint::Announced { source, notice, token };
                if let Err(mpsc::error::TrySendError::Full(Hint::Announced { token, .. })) =
                    self.hints.try_send(hint)
                {
                    self.network.accept(token, GossipVerdict::Ignore);
                }
            }
            Err(error) => {
                self.network.accept(token, GossipVerdict::Reject);
                self.offended(Source::Peer(source), &format!("a block notice that is none: {error}"));
            }
        }
    }

    /// Verifies what is queued, until the lanes are closed: what a verifier's thread does.
    pub(super) fn work(&self, serves: Serves) {
        while let Some(Taken { lane, source, item }) = self.lanes.take(serves) {
            match item {
                Item::Frame(bytes) => self.frame(source, &bytes),
                Item::Bundle(bytes, token) => {
                    let verdict = match decode::<Bundle>(&bytes) {
                        Ok(bundle) => self.bundle(source, bundle),
                        Err(error) => {
                            self.offended(source, &format!("a bundle that is none: {error}"));
                            GossipVerdict::Reject
                        }
                    };
                    self.network.accept(token, verdict);
                }
            }
            self.lanes.done(lane, &source);
        }
    }

    fn frame(&self, source: Source, bytes: &[u8]) {
        let Source::Validator(from) = source else { unreachable!("frames come from validators only") };
        match decode::<Frame<E::Message>>(bytes) {
            Ok(Frame::Consensus(message)) => self.message(from, message, bytes.len()),
            Ok(Frame::Transactions(bundle)) => {
                // Nobody waits for a verdict: the stream is not relayed.
                let _ = self.bundle(source, bundle);
            }
            Ok(Frame::Offer { height }) => {
                // A full queue loses a hint; the next STATUS brings another.
                let _ = self.hints.try_send(Hint::Offered { source: Target::Validator(from), height });
            }
            Err(error) => self.offended(source, &format!("a frame that is none: {error}")),
        }
    }

    fn message(&self, from: PublicKey, message: E::Message, bytes: usize) {
        let (scope, horizon) = match self.epochs.place_of(E::epoch_of(&message)) {
            Place::Here(scope, horizon) => (scope, horizon),
            // It will be told again once this node is there.
            Place::Future => return,
            Place::Past => return self.offer(&from),
        };
        // A key of the other epoch's set.
        let Some(index) = scope.validators.index_of(&from) else { return };
        let judged = E::verify(&scope, horizon, message);
        if let Some(why) = offence(&judged) {
            self.offended(Source::Validator(from), &why.to_string());
        }
        match judged {
            Ok(message) => self.inbox.message(Event::Message { from: index, message }, bytes),
            Err(why) => {
                tracing::debug!(validator = %from, %why, "message refused");
                self.metrics.rejected(why.kind());
            }
        }
    }

    /// Verifies what is new in a bundle and gives it to the pool: all of it or nothing.
    fn bundle(&self, source: Source, Bundle(transactions): Bundle) -> GossipVerdict {
        let now = self.clock.now();
        let rules = self.rules.now();
        let facts = Facts {
            rules: &rules,
            span: Span::of(self.tip.borrow().time, now.wall, &rules.parameters),
            known: |id: &Hash| self.waiting.hash_of(id),
            // The executor meets the same disk and ends the node; until then the pool is asked.
            committed: |id: &Hash| self.reader.height_of_transaction(id).is_ok_and(|height| height.is_some()),
        };
        match bundle::judge(transactions, source, facts, &self.offences.conduct, now.mono) {
            Judged::Nothing => GossipVerdict::Ignore,
            Judged::Offence(what) => {
                self.offended(source, &what.to_string());
                GossipVerdict::Reject
            }
            Judged::Verified { transactions, may_be_forwarded } => {
                let offered = transactions.len();
                let taken = give(&self.pool, &transactions);
                if may_be_forwarded && bundle::is_worth_forwarding(taken, offered) {
                    GossipVerdict::Accept
                } else {
                    GossipVerdict::Ignore
                }
            }
        }
    }

    fn offended(&self, source: Source, what: &str) {
        self.offences.count(source, what);
    }

    async fn answer(&self, from: PeerId, bytes: &[u8], reply: oneshot::Sender<Vec<u8>>) {
        let response = match decode::<Request>(bytes) {
            Ok(Request::Bodies(Hashes(hashes))) => self.bodies(hashes).await,
            Ok(Request::Block(hash)) => self.block(hash).await,
            Ok(Request::Blocks { above }) => {
                self.read(move |reader| stretch(reader, above)).await.map(Response::Blocks)
            }
            Ok(Request::Checkpoint { height }) => {
                let found = self.read(move |reader| reader.checkpoint(height)).await;
                found.map(|found| Response::Checkpoint(found.map(Box::new)))
            }
            Ok(Request::Readiness { key }) => {
                let own = Arc::clone(&self.own_readiness);
                self.read(move |_| own.statement(&key)).await.map(Response::Readiness)
            }
            Err(error) => {
                self.offended(Source::Peer(from), &format!("a request that is none: {error}"));
                None
            }
        };
        if let Some(response) = response {
            // Whoever asked may have gone.
            let _ = reply.send(encode(&response));
        }
    }

    /// Reads from the store for a peer.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let reader = self.reader.clone();
        let read = tokio::task::spawn_blocking(move || read(&reader)).await.ok()?;
        read.inspect_err(|error| tracing::error!(%error, "cannot read for a peer")).ok()
    }

    async fn block(&self, hash: Hash) -> Option<Response> {
        let (reply, answer) = oneshot::channel();
        self.pool.try_send(PoolCommand::Block { hash, reply }).ok()?;
        Some(Response::Block(answer.await.ok()?))
    }

    async fn bodies(&self, hashes: Vec<Hash>) -> Option<Response> {
        let (reply, answer) = oneshot::channel();
        self.pool.try_send(PoolCommand::Bodies { hashes, reply }).ok()?;
        let mut bytes = 0usize;
        let mut found = answer.await.ok()?;
        let fits = found.iter().take_while(|transaction| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(transaction.size());
            first || bytes <= ANSWER_BYTES
        });
        let fits = fits.count();
        found.truncate(fits);
        Some(Response::Bodies(Bodies(found)))
    }
}

/// Places for answers under way. Validators have their own: what they ask for moves consensus, and peers without a key may
/// be any number.
struct AnswerPermits {
    validators: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl AnswerPermits {
    fn new() -> Self {
        Self {
            validators: Arc::new(Semaphore::new(ANSWERS_TO_VALIDATORS_MAX)),
            others: Arc::new(Semaphore::new(ANSWERS_TO_OTHERS_MAX)),
        }
    }

    fn take(&self, validator: Option<PublicKey>) -> Option<OwnedSemaphorePermit> {
        let places = if validator.is_some() { &self.validators } else { &self.others };
        Arc::clone(places).try_acquire_owned().ok()
    }
}

/// Certified blocks above a height, with the newest checkpoint certificate of one of them.
fn stretch(reader: &Reader, above: Height) -> Result<Option<Box<Stretch>>, StoreError> {
    let Some(blocks) = reader.certified_above(above, BLOCKS_PER_ANSWER_MAX, ANSWER_BYTES)? else {
        return Ok(None);
    };
    let mut heights = blocks.blocks.iter().rev().map(|block| block.height());
    let checkpoint = heights.find_map(|height| reader.checkpoint(height).transpose());
    Ok(Some(Box::new(Stretch { blocks, checkpoint: checkpoint.transpose()? })))
}

/// Gives verified transactions to the pool, not too many at once, and waits for it; how many are there then.
fn give(pool: &PoolSender, transactions: &[Arc<Transaction>]) -> usize {
    let taken = |some: &[Arc<Transaction>]| {
        let (reply, answer) = oneshot::channel();
        // Whichever fails, the pool has stopped.
        pool.send(PoolCommand::Take { transactions: some.to_vec(), reply }).ok()?;
        answer.blocking_recv().ok()
    };
    transactions.chunks(TAKE_MAX).map_while(taken).sum()
}

/// What shows that whoever sent a message is faulty. That a message accuses its signer does: nobody correct passes it on.
fn offence<M>(judged: &Result<Verified<M>, Rejection>) -> Option<&Rejection> {
    match judged {
        Ok(message) => message.fault(),
        Err(why) => Some(why).filter(|why| is_offence(why)),
    }
}

/// Whether only a faulty validator sends a message that is refused for this; the others come of being early, late or slow.
fn is_offence(why: &Rejection) -> bool {
    match why {
        Rejection::WrongChain
        | Rejection::UnknownSigner(_)
        | Rejection::BadSignature(_)
        | Rejection::ForgedAnswer(_)
        | Rejection::BadCertificate { .. }
        | Rejection::Malformed(_) => true,
        Rejection::WrongEpoch { .. }
        | Rejection::OldView(_)
        | Rejection::NotPrimary { .. }
        | Rejection::AboveWindow { .. }
        | Rejection::WrongParent(_)
        | Rejection::TimeNotRising { .. }
        | Rejection::ClockDrift { .. }
        | Rejection::WrongProposer
        | Rejection::BadAnchor(_)
        | Rejection::Refused(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use quorate_consensus::{
        Horizon, Scope,
        pbft::{
            Message, Pbft,
            message::{NewView, NewViewPayload, Proof},
        },
    };
    use quorate_crypto::{Domain, MultiSignature, SecretKey};
    use quorate_ledger::{
        Block, CheckpointCertificate, CommitCertificate, CommitPayload, Delivered, Epoch, EpochStart,
        GenesisState, Header, Ledger, MemoryStore, UnixMillis, ValidatorIndex, ValidatorSet, View,
    };

    use super::*;
    use crate::{fixtures, runtime::pool};

    /// > One that no correct validator signs is evidence by itself
    #[test]
    fn whoever_sends_a_false_new_view_offends() {
        let mut keys: Vec<SecretKey> = (1..=4).map(|seed| SecretKey::from_seed([seed; 32])).collect();
        keys.sort_by_key(SecretKey::public);
        let set = ValidatorSet::new(keys.iter().map(SecretKey::public).collect()).expect("different keys");
        let (chain, start) = (Hash::ZERO, (Height(0), Hash::ZERO));
        let scope = Scope { chain, epoch: Epoch(0), validators: set, start, previous: None, window: 8 };
        let judge = |signer: u16, horizon| {
            let (view, epoch) = (View(1), Epoch(0));
            let proof = Proof::default();
            let payload = NewViewPayload { epoch, view, changes: Vec::new(), proof, blocks: Vec::new() };
            let signature = keys[usize::from(signer)].sign(Domain::NewView, &chain, &payload);
            let new_view = NewView { payload, signer: ValidatorIndex(signer), signature };
            Pbft::verify(&scope, horizon, Message::NewView(Box::new(new_view)))
        };
        for signer in [1, 2] {
            let judged = judge(signer, Horizon::default());
            assert!(judged.is_ok() && offence(&judged).is_some(), "signed by {signer}");
        }
        let late = judge(1, Horizon { view: View(2), ..Horizon::default() });
        assert!(late.is_err() && offence(&late).is_none(), "it has not been looked at");
    }

    #[test]
    fn a_verifier_gives_the_pool_a_bounded_number_at_once_and_hears_how_many_it_took() {
        let (sender, receiver) = pool::commands();
        let transactions = vec![fixtures::put(1, 0); TAKE_MAX + 1];
        let verifier = std::thread::spawn(move || give(&sender, &transactions));
        for expected in [TAKE_MAX, 1] {
            let command = std::iter::repeat_with(|| receiver.try_next()).flatten().next();
            let Some(PoolCommand::Take { transactions, reply }) = command else { panic!("it gives them") };
            assert_eq!(transactions.len(), expected);
            assert!(receiver.try_next().is_none(), "it waits for the answer");
            reply.send(expected / 2 + 1).expect("it waits");
        }
        assert_eq!(verifier.join().expect("it returned"), TAKE_MAX / 2 + 2);
    }

    #[test]
    fn a_pool_that_has_stopped_takes_nothing() {
        let (sender, receiver) = pool::commands();
        drop(receiver);
        assert_eq!(give(&sender, &[fixtures::put(1, 0)]), 0);
    }

    /// > Later certificates of checkpoints come with certified blocks, so that whoever is further behind gets them too.
    #[test]
    fn certified_blocks_come_with_the_newest_checkpoint_certificate_of_one_of_them() {
        let EpochStart { validators, parameters, .. } = fixtures::epoch();
        let (chain, time) = (Hash::ZERO, UnixMillis(1_000));
        let genesis = GenesisState { chain, time, validators, parameters, accounts: Vec::new() };
        let mut ledger = Ledger::open(MemoryStore::new(), &genesis).expect("a sound store");
        let signatures = || MultiSignature::from_votes(1, std::iter::empty());
        let delivered = |block: Arc<Block>| {
            let (epoch, view) = (Epoch(0), View(0));
            let payload = CommitPayload { epoch, view, height: block.height(), block: block.hash() };
            let certificate = Some(CommitCertificate { payload, signatures: signatures() });
            Delivered { block, certificate }
        };
        let (anchor, mut parent) = (ledger.tip().anchor, chain);
        let block = |height| {
            let header = fixtures::block_on(parent, height, Vec::new()).header().clone();
            let block = Arc::new(Block::new(Header { anchor, ..header }, Vec::new()));
            parent = block.hash();
            block
        };
        let batch: Vec<Delivered> = (1..=3).map(block).map(delivered).collect();
        let outcomes = ledger.apply(&batch).expect("memory");
        let reader = ledger.reader();
        let told = |above| {
            let stretch = stretch(&reader, Height(above)).expect("memory").expect("there are blocks above");
            stretch.checkpoint.map(|certificate| certificate.payload.height)
        };
        assert_eq!(told(0), None);
        for outcome in &outcomes[..2] {
            let payload = outcome.checkpoint;
            let certificate = CheckpointCertificate { payload, signatures: signatures() };
            ledger.stable(&certificate).expect("it is what was executed");
        }
        assert_eq!([told(0), told(1), told(2)], [Some(Height(2)), Some(Height(2)), None]);
    }

    #[test]
    fn strangers_leave_validators_their_places() {
        let permits = AnswerPermits::new();
        let strangers: Vec<_> = (0..ANSWERS_TO_OTHERS_MAX).map_while(|_| permits.take(None)).collect();
        assert_eq!(strangers.len(), ANSWERS_TO_OTHERS_MAX);
        assert!(permits.take(None).is_none(), "one more is refused");
        let validator = SecretKey::from_seed([1; 32]).public();
        let answers = (0..ANSWERS_TO_VALIDATORS_MAX).map_while(|_| permits.take(Some(validator)));
        let validators: Vec<_> = answers.collect();
        assert_eq!(validators.len(), ANSWERS_TO_VALIDATORS_MAX);
        assert!(permits.take(Some(validator)).is_none());
        drop(strangers);
        assert!(permits.take(None).is_some());
    }
}
