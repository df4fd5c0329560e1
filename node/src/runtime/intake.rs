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
//!   ([`Conduct`]). A bundle is forwarded only when all of it verified.
//! - What is here already, has expired or is committed is neither verified nor forwarded ([`sift`]).

mod sift;

use std::{
    sync::{Arc, mpsc::SyncSender},
    thread::available_parallelism,
};

use quorate_consensus::{Engine, Event, Rejection, Verified};
use quorate_crypto::{Batch, Hash, PublicKey, decode, encode};
use quorate_ledger::{Height, Reader, StoreError, Transaction, TransactionError, TransactionRules};
use quorate_network::{Class, GossipToken, GossipVerdict, Inbound, Network, PeerId, Target, Topic};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use self::sift::{Sifted, Way};
use super::{
    clock::Clock,
    conduct::{Conduct, Consequence, Source, Trust},
    epochs::{CurrentRules, Epochs, Place},
    handle::{PoolShared, TipView},
    inbox::Inbox,
    lanes::{Lanes, Serves, Taken, Weigh},
    pool::PoolCommand,
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
/// Requests of other peers answered at a time, at most; more are refused. An answer may be megabytes read and encoded, so
/// they are fewer, and fewer still on a machine with few cores: see [`answers_to_others`].
const ANSWERS_TO_OTHERS_MAX: usize = 8;

/// What the task and the verifiers share.
pub(super) struct Intake<E: Engine> {
    pub(super) epochs: Arc<Epochs>,
    pub(super) rules: CurrentRules,
    pub(super) lanes: Lanes<Source, Item>,
    pub(super) conduct: Conduct,
    pub(super) clock: Clock,
    pub(super) network: Network,
    pub(super) reader: Reader,
    pub(super) tip: watch::Receiver<TipView>,
    pub(super) inbox: Arc<Inbox<E::Message>>,
    pub(super) pool: SyncSender<PoolCommand>,
    /// What waits in the pool.
    pub(super) waiting: Arc<PoolShared>,
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
            Ok(Frame::Consensus(message)) => self.message(from, message),
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

    fn message(&self, from: PublicKey, message: E::Message) {
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
            Ok(message) => self.inbox.message(Event::Message { from: index, message }),
            Err(why) => {
                tracing::debug!(validator = %from, %why, "message refused");
                self.metrics.rejected(why.kind());
            }
        }
    }

    /// Verifies what is new in a bundle and gives it to the pool: all of it or nothing.
    fn bundle(&self, source: Source, Bundle(transactions): Bundle) -> GossipVerdict {
        let rules = self.rules.now();
        let Fitting { transactions, all } = match fitting(transactions, &rules) {
            Ok(fitting) => fitting,
            Err(error) => {
                self.offended(source, &format!("a transaction that no pool takes: {error}"));
                return GossipVerdict::Reject;
            }
        };
        let (fresh, verdict) = match self.sift(transactions, way_of(source)) {
            Sifted::Nothing => return GossipVerdict::Ignore,
            Sifted::Fresh { transactions, may_be_forwarded: true } if all => {
                (transactions, GossipVerdict::Accept)
            }
            Sifted::Fresh { transactions, .. } => (transactions, GossipVerdict::Ignore),
        };
        let now = self.clock.mono();
        let valid = match self.conduct.trust(source, fresh.len(), now) {
            Trust::Batch => verify_batch(&fresh),
            Trust::Singly => fresh.iter().all(|transaction| transaction.verify_signature()),
            Trust::NotNow => return GossipVerdict::Ignore,
        };
        if !valid {
            self.conduct.batch_failed(source, now);
            self.offended(source, "a transaction with a bad signature");
            return GossipVerdict::Reject;
        }
        // An error means that the pool has stopped.
        let _ = self.pool.send(PoolCommand::Take(fresh));
        verdict
    }

    fn sift(&self, bundle: Vec<Arc<Transaction>>, way: Way) -> Sifted {
        let time = self.tip.borrow().time;
        let known = |id: &Hash| self.waiting.hash_of(id);
        // The executor meets the same disk and ends the node; until then the pool is asked.
        let committed =
            |id: &Hash| self.reader.height_of_transaction(id).is_ok_and(|height| height.is_some());
        sift::sift(bundle, way, time, known, committed)
    }

    fn offended(&self, source: Source, what: &str) {
        tracing::debug!(?source, %what, "offence");
        self.metrics.offended();
        if self.conduct.offend(source, self.clock.mono()) == Consequence::Noted {
            return;
        }
        let peer = match source {
            Source::Peer(peer) => Some(peer),
            Source::Validator(key) => self
                .network
                .peers()
                .into_iter()
                .find(|info| info.validator == Some(key))
                .map(|info| info.peer),
        };
        if let Some(peer) = peer {
            self.network.disconnect(peer, format!("it keeps sending invalid things, the last: {what}"));
        }
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
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            validators: Arc::new(Semaphore::new(ANSWERS_TO_VALIDATORS_MAX)),
            others: Arc::new(Semaphore::new(answers_to_others(cores))),
        }
    }

    fn take(&self, validator: Option<PublicKey>) -> Option<OwnedSemaphorePermit> {
        let places = if validator.is_some() { &self.validators } else { &self.others };
        Arc::clone(places).try_acquire_owned().ok()
    }
}

/// Requests of peers without a key that are answered at a time: half of the machine is for them, not more.
fn answers_to_others(cores: usize) -> usize {
    (cores / 2).clamp(1, ANSWERS_TO_OTHERS_MAX)
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

fn verify_batch(transactions: &[Arc<Transaction>]) -> bool {
    let mut batch = Batch::default();
    for transaction in transactions {
        batch.push(transaction.sender().0, transaction.message(), *transaction.signature());
    }
    batch.verify().into_iter().all(|valid| valid)
}

fn way_of(source: Source) -> Way {
    match source {
        Source::Validator(_) => Way::HandedOver,
        Source::Peer(_) => Way::Gossiped,
    }
}

/// What of a bundle the rules of this node's epoch allow.
#[derive(Debug, PartialEq, Eq)]
struct Fitting {
    transactions: Vec<Arc<Transaction>>,
    /// Whether that is the whole bundle.
    all: bool,
}

/// Leaves out what other parameters would allow: its sender may be in another epoch than this node, or have taken it in the
/// one before, and is owed the rest of what it hands over.
///
/// # Errors
/// What no parameters allow.
fn fitting(bundle: Vec<Arc<Transaction>>, rules: &TransactionRules) -> Result<Fitting, TransactionError> {
    let offered = bundle.len();
    let mut transactions = Vec::with_capacity(offered);
    for transaction in bundle {
        match transaction.check(rules) {
            Ok(()) => transactions.push(transaction),
            Err(error) if is_of_the_epoch(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let all = transactions.len() == offered;
    Ok(Fitting { transactions, all })
}

/// Whether other parameters would allow a transaction that these refuse.
fn is_of_the_epoch(error: &TransactionError) -> bool {
    match error {
        TransactionError::TooLarge { .. }
        | TransactionError::TooManyOperations { .. }
        | TransactionError::KeySize { .. }
        | TransactionError::ValueSize { .. }
        | TransactionError::FeeTooLow { .. } => true,
        TransactionError::WrongVersion { .. }
        | TransactionError::WrongChain { .. }
        | TransactionError::NoOperations
        | TransactionError::BadSender { .. }
        | TransactionError::BadValidators { .. }
        | TransactionError::BadParameters { .. }
        | TransactionError::BadSignature
        | TransactionError::Expired { .. }
        | TransactionError::ExpiresTooLate { .. } => false,
    }
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
    use quorate_crypto::{Domain, SecretKey};
    use quorate_ledger::{Epoch, EpochStart, Parameters, ValidatorIndex, ValidatorSet, View};

    use super::*;
    use crate::fixtures;

    /// "Who is handed some takes all that is new to it, whatever else came along."
    #[test]
    fn what_only_another_epoch_allows_is_left_out_of_a_bundle_and_the_rest_is_not() {
        let epoch = EpochStart {
            number: Epoch(0),
            start: Height(0),
            below: Hash::ZERO,
            validators: ValidatorSet::new(vec![SecretKey::from_seed([1; 32]).public()]).expect("one key"),
            parameters: Parameters {
                fee_base: 0,
                fee_per_byte: 0,
                value_bytes_max: 100,
                ..Parameters::default()
            },
        };
        let rules = TransactionRules::of(Hash::ZERO, &epoch);
        let (fit, large) = (fixtures::put(1, 100), fixtures::put(2, 101));
        let some = fitting(vec![large, Arc::clone(&fit)], &rules);
        assert_eq!(some, Ok(Fitting { transactions: vec![Arc::clone(&fit)], all: false }));
        let all = fitting(vec![Arc::clone(&fit)], &rules);
        assert_eq!(all, Ok(Fitting { transactions: vec![Arc::clone(&fit)], all: true }));
        let never = fixtures::transaction(3, 1, Vec::new());
        assert_eq!(fitting(vec![fit, never], &rules), Err(TransactionError::NoOperations));
    }

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

    #[test]
    fn others_have_half_of_the_machine_for_their_answers() {
        assert_eq!([1, 2, 8, 200].map(answers_to_others), [1, 1, 4, ANSWERS_TO_OTHERS_MAX]);
    }
}
