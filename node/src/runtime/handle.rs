//! What the rest of the node may hold of a running node: reads of the store, a way into the pool, and views of what the
//! threads are doing.
//!
//! Everything here is cheap to clone and never waits for consensus: JSON-RPC writes the pool and reads the store,
//! finality is a read. What changes is published on watch channels, so that a slow reader sees the newest state and
//! costs the writers nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::registry::Registry;
use quorate_consensus::{Role, Status};
use quorate_crypto::{Hash, PublicKey};
use quorate_genesis::Genesis;
use quorate_ledger::{
    Amount, Epoch, Height, Reader, Transaction, TransactionError, UnixMillis, ValidatorIndex, View,
};
use quorate_network::Network;
use tokio::sync::{oneshot, watch};

use super::{
    clock,
    evidence::EvidenceShelf,
    pool::{NotTaken, PoolCommand, PoolSender},
    readiness::ReadinessSearch,
};

/// Expired transactions that are remembered; beyond it the one that expired first is forgotten.
const EXPIRED_MAX: usize = 16_384;

/// What a client is told to wait that is refused because too much is under way.
pub(crate) const RETRY_AFTER_MS: u64 = 500;

/// A running node, as its servers see it.
#[derive(Clone)]
pub(crate) struct NodeHandle {
    /// The document that this chain began with.
    pub(crate) genesis: Arc<Genesis>,
    /// Reads of the store, through the overlay of what is not yet written.
    pub(crate) reader: Reader,
    /// The way into the pool.
    pub(crate) pool: PoolHandle,
    /// Peers.
    pub(crate) network: Network,
    /// The highest executed block; changes once for each batch of executed blocks.
    pub(crate) tip: watch::Receiver<TipView>,
    /// What the consensus thread last said of itself.
    pub(crate) consensus: watch::Receiver<Arc<ConsensusView>>,
    /// The validator's key that this node was started with, if it was.
    pub(crate) own: Option<PublicKey>,
    /// The registry that `GET /metrics` encodes.
    pub(crate) registry: Arc<Mutex<Registry>>,
    /// When the node was started, by the wall clock.
    pub(crate) started: UnixMillis,
    /// Proofs that validators did what a correct one never does.
    pub(crate) evidence: EvidenceShelf,
    /// Statements of those who may become validators.
    pub(crate) readiness: ReadinessSearch,
}

impl NodeHandle {
    /// What the node was started as, in the word that users see. A validator may still be kept from voting:
    /// [`ConsensusView::role`] tells.
    pub(crate) fn started_as(&self) -> &'static str {
        if self.own.is_some() { "validator" } else { "observer" }
    }

    /// By how many milliseconds the chain's time is ahead of this machine's clock, if that is more than the chain's clocks
    /// may differ: no honest validator accepts a block of this node then.
    pub(crate) fn ahead_ms(&self) -> Option<u64> {
        let (time, now) = (self.tip.borrow().time, clock::wall());
        let drift = self.reader.epoch().parameters.max_clock_drift_ms;
        (time > now.plus_millis(drift)).then(|| time.millis_since(now))
    }
}

/// The highest executed and synced block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TipView {
    /// Its height.
    pub(crate) height: Height,
    /// Its hash.
    pub(crate) hash: Hash,
    /// The time in its header.
    pub(crate) time: UnixMillis,
}

/// What an operator sees of consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsensusView {
    /// Epoch of the engine's instance.
    pub(crate) epoch: Epoch,
    /// Its view.
    pub(crate) view: View,
    /// Who leads it.
    pub(crate) primary: Option<ValidatorIndex>,
    /// What this node is in it.
    pub(crate) role: Role,
    /// This node's place in the epoch's set, if its key stands there.
    pub(crate) index: Option<ValidatorIndex>,
    /// Highest height that a known commit certificate covers.
    pub(crate) committed: Height,
    /// Highest block executed and synced.
    pub(crate) executed: Height,
    /// Highest stable checkpoint.
    pub(crate) stable: Height,
    /// Heights above the delivered one, and who voted for them.
    pub(crate) in_flight: Vec<InFlightView>,
    /// Whether peers are known to be further than this node is.
    pub(crate) syncing: bool,
    /// Why the engine stopped signing, if it did.
    pub(crate) halted: Option<String>,
    /// Why a node with a validator's key does not vote, if it does not.
    pub(crate) refused: Option<String>,
}

/// One height in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InFlightView {
    /// The height.
    pub(crate) height: Height,
    /// The block accepted there.
    pub(crate) block: Option<Hash>,
    /// Whose PREPAREs for it are here.
    pub(crate) prepares: Vec<u16>,
    /// Whose COMMITs for it are here.
    pub(crate) commits: Vec<u16>,
}

impl ConsensusView {
    /// Whether this node votes in that epoch.
    pub(crate) fn votes(&self) -> bool {
        self.index.is_some() && self.refused.is_none() && self.halted.is_none()
    }

    /// The engine's status in the words of the node; the rest is filled in by the consensus thread.
    pub(crate) fn of(status: Status) -> Self {
        let in_flight = status
            .in_flight
            .into_iter()
            .map(|one| InFlightView {
                height: one.height,
                block: one.block,
                prepares: one.prepares.into_iter().map(|index| index.0).collect(),
                commits: one.commits.into_iter().map(|index| index.0).collect(),
            })
            .collect();
        Self {
            epoch: status.epoch,
            view: status.view,
            primary: Some(status.primary),
            role: status.role,
            index: None,
            committed: status.committed,
            executed: status.executed,
            stable: status.stable,
            in_flight,
            syncing: false,
            halted: None,
            refused: None,
        }
    }
}

/// The way into the pool, for clients' transactions.
#[derive(Clone)]
pub(crate) struct PoolHandle {
    commands: PoolSender,
    shared: Arc<PoolShared>,
}

impl PoolHandle {
    pub(super) fn new(commands: PoolSender, shared: Arc<PoolShared>) -> Self {
        Self { commands, shared }
    }

    /// Gives the pool a transaction whose signature was verified. Once this is `Ok` the pool keeps it until it is
    /// included or has expired. The same id again is `Ok` again.
    ///
    /// # Errors
    /// [`SubmitError`], which says what to do.
    pub(crate) async fn submit(&self, transaction: Arc<Transaction>) -> Result<(), SubmitError> {
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(PoolCommand::Submit(Submission { transaction, reply })) {
            Ok(()) => answer.await.unwrap_or(Err(SubmitError::ShuttingDown)),
            Err(NotTaken::Full) => Err(SubmitError::PoolFull { retry_after_ms: RETRY_AFTER_MS }),
            Err(NotTaken::Ended) => Err(SubmitError::ShuttingDown),
        }
    }

    /// Whether a transaction of this id waits here, or was in a block that is committed and not yet executed.
    pub(crate) fn contains(&self, id: &Hash) -> bool {
        self.shared.hash_of(id).is_some()
    }

    /// When a transaction of this id expired that waited here, as far as that is remembered.
    pub(crate) fn expired(&self, id: &Hash) -> Option<UnixMillis> {
        self.shared.expired.read().expect("no holder of this lock panics").at.get(id).copied()
    }

    /// How full the pool is.
    pub(crate) fn status(&self) -> PoolStatus {
        PoolStatus {
            transactions: self.shared.transactions.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            transactions_max: self.shared.transactions_max,
            bytes_max: self.shared.bytes_max,
        }
    }
}

/// A client's transaction on its way into the pool.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(super) transaction: Arc<Transaction>,
    pub(super) reply: oneshot::Sender<Result<(), SubmitError>>,
}

/// How full the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolStatus {
    /// Transactions that wait, those in blocks in flight included.
    pub(crate) transactions: u64,
    /// Their encoded size.
    pub(crate) bytes: u64,
    /// The most that may wait.
    pub(crate) transactions_max: u64,
    /// The most bytes that may wait.
    pub(crate) bytes_max: u64,
}

/// Why the pool does not take a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubmitError {
    /// It is in the chain already.
    #[error("already committed in block {height}")]
    AlreadyCommitted {
        /// Where.
        height: Height,
    },
    /// It breaks a rule that needs no state.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The pool or the queue before it is full.
    #[error("the pool is full; try again in {retry_after_ms} ms")]
    PoolFull {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// As many of this sender's transactions wait as may.
    #[error("{max} transactions of this account wait already, which is the most that may")]
    AccountFull {
        /// The most that may wait.
        max: usize,
    },
    /// The sender's committed balance does not pay the fees of what it has waiting.
    #[error("the balance of {balance} does not pay this fee beside the {pending} of what waits already")]
    FeesExceedBalance {
        /// Committed balance.
        balance: Amount,
        /// Fees of the sender's waiting transactions, without this one.
        pending: Amount,
    },
    /// The sender's committed balance does not pay what the transaction moves and its fee.
    #[error(
        "it takes {needed} from its sender, who has {balance} at height {height}, and nothing that waits here pays the \
         sender"
    )]
    InsufficientFunds {
        /// Committed balance.
        balance: Amount,
        /// The height it is of.
        height: Height,
        /// What is moved and the fee.
        needed: Amount,
    },
    /// The node is stopping.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Transactions that waited here and expired. Who has no more than an id learns of them what became of it: the expiry,
/// which the proof needs, is in the signed bytes alone.
#[derive(Debug, Default)]
pub(crate) struct Expired {
    at: HashMap<Hash, UnixMillis>,
    /// The one that expired first in front.
    order: VecDeque<Hash>,
}

impl Expired {
    pub(super) fn remember(&mut self, expired: Vec<(Hash, UnixMillis)>) {
        for (id, at) in expired {
            if self.at.insert(id, at).is_none() {
                self.order.push_back(id);
            }
            if self.order.len() > EXPIRED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.at.remove(&oldest);
            }
        }
    }
}

/// What others may read of the pool without asking its thread, which alone writes it.
#[derive(Debug)]
pub(crate) struct PoolShared {
    /// Hashes of transactions by their ids.
    pub(super) ids: RwLock<HashMap<Hash, Hash>>,
    /// The last that expired here.
    pub(super) expired: RwLock<Expired>,
    pub(super) transactions: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) transactions_max: u64,
    pub(super) bytes_max: u64,
}

impl PoolShared {
    pub(super) fn new(transactions_max: u64, bytes_max: u64) -> Self {
        Self {
            ids: RwLock::default(),
            expired: RwLock::default(),
            transactions: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            transactions_max,
            bytes_max,
        }
    }

    /// The hash of the transaction of this id that waits, or that is committed and not yet executed.
    pub(super) fn hash_of(&self, id: &Hash) -> Option<Hash> {
        self.ids.read().expect("no holder of this lock panics").get(id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_expired_ones_are_remembered_as_may_and_the_first_goes() {
        let id = |number: usize| Hash::of(&number.to_le_bytes());
        let mut expired = Expired::default();
        expired.remember((0..EXPIRED_MAX).map(|number| (id(number), UnixMillis(7))).collect());
        assert_eq!(expired.at.get(&id(0)), Some(&UnixMillis(7)));
        expired.remember(vec![(id(EXPIRED_MAX), UnixMillis(8))]);
        assert_eq!((expired.at.get(&id(0)), expired.at.len()), (None, EXPIRED_MAX));
    }
}
