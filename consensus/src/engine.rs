//! The interface of every consensus engine: what happens to it, what it asks for, and what must outlive a crash.
//!
//! Contract between an engine and whoever runs it:
//! - at most one [`Action::Build`] and as many [`Action::Check`]s as the window is wide are outstanding;
//!   [`Event::Built`] always comes and may hold an empty block; answers that come late are ignored, never asserted;
//! - messages are verified before the engine sees them ([`Engine::verify`], pure, may run on any thread), and the type
//!   [`Verified`] shows it;
//! - [`Event::Executed`] is reported in height order, and only when the block is synced;
//! - a commit certificate covers the ancestors of the block it names.

use std::{fmt, io, sync::Arc};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Hash, SecretKey, Signature, codec::bounded_list};
use quorate_ledger::{
    Anchor, BLOCK_TRANSACTIONS_LIMIT, Block, CertifiedBlocks, CheckpointCertificate, CommitCertificate,
    Epoch, ExecutionOutcome, Header, Height, Parameters, Quorum, Tip, UnixMillis, VALIDATORS_MAX,
    ValidatorIndex, ValidatorSet, View,
};

pub use crate::{evidence::Evidence, rejection::Rejection};

/// A replicated state machine's ordering protocol, one instance an epoch; [`crate::Replica`] holds them.
pub trait Engine: Sized {
    /// What replicas of this protocol say to each other.
    type Message: BorshSerialize + BorshDeserialize + Clone + fmt::Debug + Send + 'static;
    /// What must survive a crash: promises, not inputs.
    type Record: BorshSerialize + BorshDeserialize + Clone + fmt::Debug + Promised;

    /// Starts an instance on the ledger's tip with what the log holds of its epoch.
    ///
    /// # Errors
    /// [`OpenError`] when the records contradict the setup or each other: a damaged or foreign log.
    fn open(setup: Setup, tip: Tip, records: Vec<Self::Record>) -> Result<Self, OpenError>;

    /// The epoch that a message belongs to, and so the instance that it is for.
    fn epoch_of(message: &Self::Message) -> Epoch;

    /// Checks all that can be checked of a message without the engine's state: shape, epoch, signatures.
    ///
    /// A message that proves by itself that its signer is faulty passes, to be accused of ([`Verified::fault`]).
    ///
    /// # Errors
    /// [`Rejection`], which names the rule that the message breaks.
    fn verify(
        scope: &Scope,
        horizon: Horizon,
        message: Self::Message,
    ) -> Result<Verified<Self::Message>, Rejection>;

    /// Takes one event. Synchronous and infallible: what a peer did wrong comes out as data.
    fn step(&mut self, now: Now, event: Event<Self::Message>, out: &mut Output<Self>);

    /// When [`Event::Tick`] is due next; at once after `open`.
    fn deadline(&self) -> Option<Mono>;

    /// The epoch of this instance.
    fn epoch(&self) -> Epoch;

    /// Whether a commit certificate of this instance's epoch is or was known: proof that a quorum has left the epoch before.
    fn has_begun(&self) -> bool;

    /// The certificate of the last stable checkpoint.
    fn stable_certificate(&self) -> Option<&CheckpointCertificate>;

    /// Whether the last block of its epoch is executed here: this instance decides nothing more.
    fn has_ended(&self) -> bool;

    /// How far it has come, for [`Engine::verify`].
    fn horizon(&self) -> Horizon;

    /// What still matters: an engine opened with these equals one opened with every record ever written, so the log
    /// can be replaced by them.
    fn records(&self) -> Vec<Self::Record>;

    /// Blocks accepted and not yet delivered, of every view, lowest first. The runtime keeps their bodies, to check their
    /// children against and to send to whoever asks.
    fn accepted(&self) -> Vec<Arc<Block>>;

    /// Those of them that are in flight now: what they hold no longer waits. What only an earlier view accepted does.
    fn in_flight(&self) -> Vec<Hash>;

    /// What an operator may want to know.
    fn status(&self) -> Status;
}

/// Monotonic time in nanoseconds since an arbitrary start; timers use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub u64);

impl Mono {
    /// This time and `millis` milliseconds more.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1_000_000)))
    }
}

/// Both clocks at the moment of an event: `mono` for timers, `wall` for header times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock.
    pub mono: Mono,
    /// Wall clock, unix milliseconds.
    pub wall: UnixMillis,
}

/// What every part of a replica may know of the instance: enough to verify, nothing secret.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Hash of the genesis.
    pub chain: Hash,
    /// The epoch of this instance.
    pub epoch: Epoch,
    /// The validators of the epoch.
    pub validators: ValidatorSet,
    /// The last block of the epoch before, which needs no certificate in this one; the genesis in the first.
    pub start: (Height, Hash),
    /// The validators of the epoch before, who sign the checkpoint that this epoch's first header anchors; none in the
    /// first epoch, which starts from a checkpoint that everybody computes.
    pub previous: Option<ValidatorSet>,
    /// The chain's `window` in this epoch: how many heights may be in flight.
    pub window: u64,
}

impl Scope {
    /// Quorum arithmetic of the epoch's set.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        self.validators.quorum()
    }
}

/// Who votes.
#[derive(Clone, Debug)]
pub struct Voter {
    /// Place in the epoch's ordered set.
    pub index: ValidatorIndex,
    /// The key of that place.
    pub key: SecretKey,
}

/// All that an instance is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Chain, epoch and validators.
    pub scope: Scope,
    /// Who votes here; without one the instance follows and signs nothing.
    pub voter: Option<Voter>,
    /// The chain's parameters in this epoch.
    pub parameters: Parameters,
    /// A number of this instance alone: no other, in this or an earlier life of the replica, may have the same. It
    /// tells answers to its questions from those to earlier ones.
    pub nonce: u64,
}

/// How far this replica has come: what teaches it nothing need not be verified, only dropped. One that knows nothing (the
/// default) has all verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    /// Highest committed height.
    pub committed: Height,
    /// Height of the last stable checkpoint.
    pub stable: Height,
    /// The view it is in or asks for.
    pub view: View,
    /// Who it is: it is nobody else's view that it starts, and proofs that only the one who starts a view needs it need not
    /// look at.
    pub voice: Voice,
    /// The view that it last entered, with its primary's signature over how: whoever repeats that tells nothing new.
    pub entered: Option<(View, Signature)>,
    /// Whose requests for the view that it is to start next are proven here: their proofs tell nothing new.
    pub proven: Places,
}

/// Validators by their places in the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places([u64; VALIDATORS_MAX.div_ceil(64)]);

impl Places {
    /// Whether a validator is among them.
    #[must_use]
    pub fn has(&self, place: ValidatorIndex) -> bool {
        let place = place.as_usize();
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

impl FromIterator<ValidatorIndex> for Places {
    fn from_iter<I: IntoIterator<Item = ValidatorIndex>>(places: I) -> Self {
        let mut words = [0; VALIDATORS_MAX.div_ceil(64)];
        for place in places {
            words[place.as_usize() / 64] |= 1 << (place.as_usize() % 64);
        }
        Self(words)
    }
}

/// Whose voice a replica has in its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// Nobody has said yet.
    #[default]
    Unknown,
    /// It follows, and starts no view.
    Nobody,
    /// The one of this place in the set.
    Of(ValidatorIndex),
}

/// A message that has passed [`Engine::verify`]: it is well made, or its signer is to be accused of it.
#[derive(Clone, Debug)]
pub struct Verified<M> {
    message: M,
    fault: Option<Rejection>,
}

impl<M> Verified<M> {
    /// Only an engine's `verify` may say so.
    pub(crate) fn new(message: M) -> Self {
        Self { message, fault: None }
    }

    /// A message that its signer has signed and no correct validator signs, as anybody can see: nothing that it holds is to be
    /// believed.
    pub(crate) fn provably_false(message: M, why: Rejection) -> Self {
        Self { message, fault: Some(why) }
    }

    /// The message.
    pub fn inner(&self) -> &M {
        &self.message
    }

    /// The rule that its signer broke, if it must be accused.
    pub fn fault(&self) -> Option<&Rejection> {
        self.fault.as_ref()
    }

    /// The message itself.
    pub fn into_inner(self) -> M {
        self.message
    }
}

/// Transactions that wait here, without those in accepted blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Their encoded size in bytes.
    pub bytes: u64,
    /// Their number.
    pub count: u64,
    /// When the oldest of them came.
    pub oldest: Option<Mono>,
    /// When the oldest *eligible* one became so: it had been handed to every validator and would still pass
    /// (`docs/pbft.md` §5).
    pub eligible: Option<Mono>,
}

/// A proposed block without its bodies.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The header.
    pub header: Header,
    /// Hashes of the transactions, in order; at most [`BLOCK_TRANSACTIONS_LIMIT`].
    #[borsh(deserialize_with = "transaction_hashes")]
    pub transactions: Vec<Hash>,
}

fn transaction_hashes<R: io::Read>(reader: &mut R) -> io::Result<Vec<Hash>> {
    let limit = usize::try_from(BLOCK_TRANSACTIONS_LIMIT).expect("a small constant");
    bounded_list(reader, limit, "hashes of transactions", Hash::deserialize_reader)
}

/// What the ledger's rules say of a proposal.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It holds; here is the whole block.
    Accept(Arc<Block>),
    /// It breaks a rule, which is named.
    Refuse(String),
    /// It cannot be judged, through nobody's fault: the chain has moved on, say. The question may be asked again.
    Withdraw,
}

/// What happens to an engine.
#[derive(Clone, Debug)]
pub enum Event<M> {
    /// The deadline has passed.
    Tick,
    /// A verified message came in from `from`.
    Message {
        /// Whose stream it came by; relayed messages carry their own signer.
        from: ValidatorIndex,
        /// The message.
        message: Verified<M>,
    },
    /// What waits in the pool has changed.
    Backlog(Backlog),
    /// The answer to [`Action::Build`].
    Built {
        /// The block, perhaps empty.
        block: Arc<Block>,
    },
    /// The answer to [`Action::Check`].
    Checked {
        /// Hash of the header that was checked.
        block: Hash,
        /// What came out.
        verdict: Verdict,
    },
    /// The answer to [`Action::Fetch`]: the whole block, whose transactions match its header.
    Fetched {
        /// The block.
        block: Arc<Block>,
    },
    /// A block was executed and synced.
    Executed {
        /// Its results.
        outcome: ExecutionOutcome,
    },
    /// Blocks with a certificate came from elsewhere; [`CertifiedBlocks::check`] has passed.
    Certified(CertifiedBlocks),
    /// A checkpoint certificate came from elsewhere; it was verified under the set of its epoch.
    Checkpoint(CheckpointCertificate),
}

/// What happens to a replica: to one of its instances, or to the line of them.
#[derive(Clone, Debug)]
pub enum Input<M> {
    /// Something for the instance that it concerns.
    Event(Event<M>),
    /// The ledger has executed the last block of the current epoch, and `Executed` has said so: here is all that the next
    /// instance is made of.
    Begin {
        /// The next epoch's.
        setup: Box<Setup>,
        /// The ledger's, at that last block.
        tip: Box<Tip>,
    },
}

impl<M> From<Event<M>> for Input<M> {
    fn from(event: Event<M>) -> Self {
        Self::Event(event)
    }
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every other validator.
    All,
    /// One validator.
    One(ValidatorIndex),
}

/// What an engine asks for.
#[derive(Clone, Debug)]
pub enum Action<M> {
    /// Send a message.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: M,
    },
    /// Make a block of what waits; answered by [`Event::Built`].
    Build {
        /// Its height.
        height: Height,
        /// Hash of the block below.
        parent: Hash,
        /// The state that its header vouches for.
        anchor: Anchor,
        /// Its time.
        time: UnixMillis,
    },
    /// Get the bodies of a proposal and check what the ledger's rules say; answered by [`Event::Checked`].
    Check {
        /// What is proposed.
        proposal: Arc<Proposal>,
        /// Who sent it and surely has the bodies.
        from: ValidatorIndex,
    },
    /// Get a block that was accepted elsewhere; answered by [`Event::Fetched`], if at all.
    Fetch {
        /// Its header.
        header: Header,
        /// Who should have it.
        from: ValidatorIndex,
    },
    /// This block is final: execute it. Comes in height order.
    Commit {
        /// The block.
        block: Arc<Block>,
        /// Its commit certificate, unless a descendant's covers it.
        certificate: Option<CommitCertificate>,
    },
    /// Store this checkpoint certificate; it agrees with what was executed here.
    Stable {
        /// The certificate.
        certificate: CheckpointCertificate,
    },
    /// Tell whoever watches: this replica has left its view (term, ballot) for a later one.
    Leave {
        /// For which.
        view: View,
        /// The rule that made it: a timer, or others who had left. One of a few words.
        rule: &'static str,
    },
    /// Let this validator have certified blocks above a height.
    Serve {
        /// To whom.
        to: ValidatorIndex,
        /// The highest height that it has.
        above: Height,
    },
    /// A validator did what a correct one never does.
    Accuse {
        /// The proof.
        evidence: Box<Evidence>,
    },
    /// A message broke a rule.
    Reject {
        /// Who sent it.
        from: ValidatorIndex,
        /// Which rule.
        why: Rejection,
    },
    /// Somebody holds a signed message of this replica that its log does not know: the log was lost, copied or restored. It
    /// signs nothing more in this epoch, and goes on following.
    Abstain {
        /// What is held, and by whom.
        why: String,
    },
    /// The engine cannot go on safely and signs nothing more.
    Halt {
        /// What it saw.
        fault: String,
    },
}

/// Where records go before anything they allow is done.
pub trait Log<R> {
    /// Writes the records and syncs them, all of them or an error.
    ///
    /// # Errors
    /// Any failure of the machine, after which the log must not be used again: a failed sync is never retried.
    fn append(&mut self, records: &[R]) -> io::Result<()>;

    /// Whether so much has gathered that the log should be replaced by [`Engine::records`].
    fn wants_compaction(&self) -> bool;

    /// Replaces what the log holds.
    ///
    /// # Errors
    /// As [`Log::append`].
    fn compact(&mut self, records: &[R]) -> io::Result<()>;
}

/// The highest (epoch, view) below which a replica has promised not to vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Promise {
    /// Epoch.
    pub epoch: Epoch,
    /// View (term, ballot) within it.
    pub view: View,
}

/// A record that may raise the promise.
pub trait Promised: Sized {
    /// That no records of one epoch contradict each other: all that can be said of a log before their instances begin.
    ///
    /// # Errors
    /// [`OpenError::Contradiction`] or [`OpenError::ContradictionOfViews`].
    fn check(records: &[Self]) -> Result<(), OpenError>;

    /// The epoch whose instance wrote it.
    fn epoch(&self) -> Epoch;

    /// What this record promises, if anything.
    fn promised(&self) -> Option<Promise>;

    /// The record that begins a log in an epoch: it promises to sign nothing below.
    fn beginning(epoch: Epoch) -> Self;

    /// Whether what is known of an epoch may begin with this record: it is a [`Promised::beginning`], or what compaction left
    /// of earlier ones.
    fn is_beginning(&self) -> bool;
}

/// What a step yields: records to write, then actions to take. Both are private, so that the only way to the actions
/// leads over the disk.
#[derive(Debug)]
pub struct Output<E: Engine> {
    /// The epoch whose instance is being stepped.
    epoch: Epoch,
    records: Vec<E::Record>,
    actions: Vec<(Epoch, Action<E::Message>)>,
}

impl<E: Engine> Output<E> {
    /// An empty one, to be filled by the instance of `epoch` first.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, records: Vec::new(), actions: Vec::new() }
    }

    /// From here on the instance of this epoch speaks.
    pub(crate) fn turn_to(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Adds what must be on disk before any action of this output is taken.
    pub(crate) fn record(&mut self, record: E::Record) {
        self.records.push(record);
    }

    /// How many records there are.
    pub(crate) fn recorded(&self) -> usize {
        self.records.len()
    }

    /// Takes back the records that were added after the first `count`.
    pub(crate) fn drop_records_since(&mut self, count: usize) {
        self.records.truncate(count);
    }

    /// Adds what is to be done.
    pub(crate) fn act(&mut self, action: Action<E::Message>) {
        self.actions.push((self.epoch, action));
    }

    /// What was added after the first `count` actions.
    pub(crate) fn acted_since(&self, count: usize) -> &[(Epoch, Action<E::Message>)] {
        &self.actions[count..]
    }

    /// How many actions there are.
    pub(crate) fn acted(&self) -> usize {
        self.actions.len()
    }

    /// Writes and syncs the records, then hands out the actions, each with the epoch whose validators its indices name.
    ///
    /// # Errors
    /// The log's; the actions are lost with it, as they must be.
    pub fn commit(self, log: &mut impl Log<E::Record>) -> io::Result<Vec<(Epoch, Action<E::Message>)>> {
        if !self.records.is_empty() {
            log.append(&self.records)?;
        }
        Ok(self.actions)
    }
}

/// Why an instance cannot be opened on these records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The key does not stand where the setup says.
    #[error("validator {index} of epoch {epoch} has another key than the one given")]
    ForeignKey {
        /// Claimed place.
        index: ValidatorIndex,
        /// Epoch.
        epoch: Epoch,
    },
    /// The records contradict each other.
    #[error("the vote log contradicts itself at height {height}: {what}")]
    Contradiction {
        /// Where.
        height: Height,
        /// What.
        what: &'static str,
    },
    /// The records contradict each other about a view.
    #[error("the vote log contradicts itself about view {view}: {what}")]
    ContradictionOfViews {
        /// Which view.
        view: View,
        /// What.
        what: &'static str,
    },
}

/// One height in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Height.
    pub height: Height,
    /// The block accepted there, if one was.
    pub block: Option<Hash>,
    /// Who is known to have sent PREPARE for it.
    pub prepares: Vec<ValidatorIndex>,
    /// Who is known to have sent COMMIT for it.
    pub commits: Vec<ValidatorIndex>,
}

/// What a replica is in the view that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads the view.
    Primary,
    /// It votes.
    Replica,
    /// It signs nothing.
    Follower,
    /// It has stopped for a fault that it saw.
    Halted,
}

impl Role {
    /// The word that users see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Follower => "follower",
            Self::Halted => "halted",
        }
    }
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Epoch of the instance.
    pub epoch: Epoch,
    /// View (term, ballot).
    pub view: View,
    /// Who leads it.
    pub primary: ValidatorIndex,
    /// What the replica is in it.
    pub role: Role,
    /// Why a replica with a voice does not use it, for now or in this epoch.
    pub silent: Option<String>,
    /// Highest height that a known commit certificate covers.
    pub committed: Height,
    /// Highest block handed to the ledger.
    pub delivered: Height,
    /// Highest block executed and synced.
    pub executed: Height,
    /// Highest stable checkpoint.
    pub stable: Height,
    /// Heights above the delivered one.
    pub in_flight: Vec<InFlight>,
}
