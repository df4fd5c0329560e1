//! The thread that owns what waits and what may go into blocks.
//!
//! ```text
//!  rpc ──Submit──▶ ┌──────────────┐ ──bundles───────────▶ gossip; after half the base wait, every validator's stream
//!  verifiers ─────▶│ Mempool      │ ──Backlog, Built, Checked──▶ consensus
//!  consensus ─────▶│ Candidates   │ ◀─Build, Check, Accepted, Committed
//!  executor ──────▶└──────────────┘ ◀─Executed
//! ```
//!
//! - A client is answered once its transaction is kept, or told why not.
//! - What consensus asks is done before what clients and peers send, in the order it was asked ([`queue`]).
//! - Verifiers wait for the pool's word ([`PoolCommand::Take`]): as many bundles wait here as there are verifiers.
//! - The thread waits for nobody: answers to consensus never wait ([`Inbox`]), the network drops what it cannot take, and
//!   bodies that are missing are fetched by a task ([`fetch`]).
//!
//! [`fetch`]: self::fetch
//! [`queue`]: self::queue

mod backlog;
mod command;
mod fetch;
mod proposals;
mod queue;
mod release;
mod room;
mod spread;

use std::{
    collections::{BTreeMap, VecDeque},
    iter,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use quorate_consensus::Mono;
use quorate_crypto::{Hash, PublicKey, encode};
use quorate_ledger::{
    Account, Amount, Block, Candidates, Epoch, Height, Reader, Transaction, TransactionError,
};
use quorate_network::{Class, Network, Topic};
use tokio::{runtime::Handle, sync::Semaphore};

use self::{backlog::BacklogReport, proposals::PendingCheck, release::Release, spread::Spread};
pub(crate) use self::{
    command::{NextEpoch, PoolCommand, TAKE_MAX},
    queue::{NotTaken, PoolReceiver, PoolSender, commands},
};
use super::{
    clock::{self, Clock},
    handle::{PoolShared, RETRY_AFTER_MS, Submission, SubmitError},
    inbox::Inbox,
};
use crate::{
    mempool::{Admitted, Mempool, Refusal},
    metrics::Metrics,
};

/// Commands taken in one turn, before the thread looks at the clock again.
const COMMANDS_PER_TURN_MAX: usize = 64;
/// Whole blocks fetched at once; the engine asks again for what did not get a place.
const BLOCK_FETCHES_MAX: usize = 16;
/// Longest sleep: nothing needs the thread so seldom, but clocks can be set.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// In whose name blocks are built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Author {
    /// The epoch.
    pub(super) epoch: Epoch,
    /// The validator's account, which is paid the fees.
    pub(super) proposer: Account,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// Ids that committed blocks took out of the pool and that the store does not tell of yet. Clients that ask for one in that
/// time hear that it is pending: to them a transaction goes from here into the store without a gap.
#[derive(Debug, Default)]
struct Leaving(VecDeque<(Height, Vec<Hash>)>);

impl Leaving {
    /// A block is committed: what it holds and what expired with it.
    fn note(&mut self, height: Height, ids: impl Iterator<Item = Hash>) {
        self.0.push_back((height, ids.collect()));
    }

    /// What the store tells of, now that the blocks up to `height` are executed.
    fn settled(&mut self, height: Height) -> Vec<Hash> {
        let waiting = self.0.partition_point(|(committed, _)| *committed <= height);
        self.0.drain(..waiting).flat_map(|(_, ids)| ids).collect()
    }
}

/// What the thread is made of.
pub(super) struct PoolParts<M> {
    pub(super) mempool: Mempool,
    pub(super) candidates: Candidates,
    pub(super) reader: Reader,
    pub(super) inbox: Arc<Inbox<M>>,
    pub(super) network: Network,
    pub(super) runtime: Handle,
    pub(super) commands: PoolSender,
    pub(super) shared: Arc<PoolShared>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    /// This node's validator key.
    pub(super) own: Option<PublicKey>,
    /// None on a node that does not vote in the epoch.
    pub(super) author: Option<Author>,
    /// The other validators.
    pub(super) validators: Vec<PublicKey>,
}

/// The thread's state.
pub(super) struct Pool<M> {
    parts: PoolParts<M>,
    checks: BTreeMap<(Height, Hash), PendingCheck>,
    /// Places for tasks that fetch whole blocks.
    block_fetches: Arc<Semaphore>,
    spread: Spread,
    report: BacklogReport,
    release: Release,
    leaving: Leaving,
}

impl<M: Send + 'static> Pool<M> {
    pub(super) fn new(parts: PoolParts<M>) -> Self {
        let tip = parts.reader.full_tip();
        let now = parts.clock.mono();
        Self {
            parts,
            checks: BTreeMap::new(),
            block_fetches: Arc::new(Semaphore::new(BLOCK_FETCHES_MAX)),
            spread: Spread::new(now),
            report: BacklogReport::new(),
            release: Release::new(tip.base_height, tip.height),
            leaving: Leaving::default(),
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self, commands: &PoolReceiver) {
        loop {
            let first = commands.next(self.sleep());
            // One by one, so that what consensus asks meanwhile is the next.
            let turn = first.into_iter().chain(iter::from_fn(|| commands.try_next()));
            for command in turn.take(COMMANDS_PER_TURN_MAX) {
                if self.handle(command) == Flow::Stop {
                    return;
                }
            }
            self.let_time_pass();
        }
    }

    fn handle(&mut self, command: PoolCommand) -> Flow {
        match command {
            PoolCommand::Submit(submission) => self.submit(submission),
            PoolCommand::Take { transactions, reply } => {
                let taken = transactions.into_iter().filter(|it| self.takes(it)).count();
                // The verifier may have ended.
                let _ = reply.send(taken);
            }
            PoolCommand::Build { height, parent, anchor, time } => self.build(height, parent, anchor, time),
            PoolCommand::Check { proposal, from } => self.check(proposal, from),
            PoolCommand::Fetched(fetched) => self.fetched(fetched),
            PoolCommand::FetchBlock { header, from } => self.fetch_block(header, from),
            PoolCommand::FetchedBlock(block) => self.fetched_block(block),
            PoolCommand::Accepted { blocks, in_flight } => self.accepted(&blocks, &in_flight),
            PoolCommand::Committed { block, certified } => self.committed(&block, certified),
            PoolCommand::Executed(height) => self.executed(height),
            PoolCommand::Epoch(next) => self.enter(&next),
            PoolCommand::Connected(validator) => {
                if self.parts.author.is_some() {
                    for frame in spread::hand_again(&self.parts.mempool) {
                        self.parts.network.send(&validator, Class::Bulk, frame);
                    }
                }
            }
            PoolCommand::Bodies { hashes, reply } => {
                let found = hashes.iter().filter_map(|hash| self.body(hash)).collect();
                // Whoever asked may have gone.
                let _ = reply.send(found);
            }
            PoolCommand::Block { hash, reply } => {
                let _ = reply.send(self.parts.candidates.block(&hash));
            }
            PoolCommand::Stop => return Flow::Stop,
        }
        Flow::Continue
    }

    fn submit(&mut self, Submission { transaction, reply }: Submission) {
        let result = match self.check_funds(&transaction).and_then(|()| self.admit(Arc::clone(&transaction)))
        {
            Ok(Admitted::New) => {
                self.spread.gossip(transaction, self.parts.clock.mono());
                Ok(())
            }
            Ok(Admitted::Known) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            self.parts.metrics.refused(refusal_name(error));
        }
        // The client may have gone; the transaction stays.
        let _ = reply.send(result);
    }

    /// Refuses a client's transaction that could not pay what it moves. One that is here or in the chain already is not
    /// asked again: its answer is the same as before.
    fn check_funds(&self, transaction: &Transaction) -> Result<(), SubmitError> {
        let id = transaction.id();
        if self.parts.mempool.contains(&id) || self.parts.candidates.contains_committed(&id).is_some() {
            return Ok(());
        }
        let balance = || balance(&self.parts.reader, &transaction.sender());
        Ok(self.parts.mempool.check_funds(transaction, balance)?)
    }

    /// Keeps a peer's transaction, if it may be kept; whether it is here now with this signature. One that is refused is its
    /// sender's and other pools' concern.
    fn takes(&mut self, transaction: &Arc<Transaction>) -> bool {
        match self.admit(Arc::clone(transaction)) {
            Ok(Admitted::New) => true,
            Ok(Admitted::Known) => self.parts.mempool.transaction(&transaction.hash()).is_some(),
            Err(_) => false,
        }
    }

    /// Keeps a transaction whose signature is verified, if it may still be included and its sender may have one more.
    fn admit(&mut self, transaction: Arc<Transaction>) -> Result<Admitted, SubmitError> {
        let id = transaction.id();
        if let Some(height) = self.parts.candidates.contains_committed(&id) {
            return Err(SubmitError::AlreadyCommitted { height });
        }
        if self.parts.mempool.contains(&id) {
            return Ok(Admitted::Known);
        }
        let rules = self.parts.candidates.rules();
        transaction.check(rules)?;
        // A block above the tip has a later time than it, whatever this machine's clock says.
        let earliest = self.parts.candidates.tip().time.plus_millis(1).max(clock::wall());
        transaction.fits_time(earliest, rules.parameters.transaction_lifetime_max_ms)?;
        let now = self.parts.clock.mono();
        let reader = &self.parts.reader;
        let balance = || balance(reader, &transaction.sender()).1;
        let admitted = self.parts.mempool.admit(Arc::clone(&transaction), now, balance)?;
        if admitted == Admitted::New {
            let mut ids = self.parts.shared.ids.write().expect("no holder of this lock panics");
            ids.insert(id, transaction.hash());
        }
        Ok(admitted)
    }

    /// A transaction by hash, from what waits or from blocks in flight.
    fn body(&self, hash: &Hash) -> Option<Arc<Transaction>> {
        self.parts.mempool.transaction(hash).or_else(|| self.parts.candidates.transaction(hash))
    }

    fn committed(&mut self, block: &Arc<Block>, certified: bool) {
        let height = block.height();
        self.parts.candidates.remember(block);
        self.parts.mempool.include(block);
        let expired = self.parts.mempool.expire(block.time());
        let included = block.transactions().iter().map(|transaction| transaction.id());
        self.leaving.note(height, included.chain(expired.iter().map(|(id, _)| *id)));
        self.parts.shared.expired.write().expect("no holder of this lock panics").remember(expired);
        self.release.committed(height, certified);
        self.drop_checks(height);
        let parameters = &self.parts.candidates.rules().parameters;
        self.spread.committed(block, parameters, self.parts.clock.mono());
        self.release();
    }

    fn executed(&mut self, height: Height) {
        self.release.executed(height);
        self.parts.mempool.settle(height);
        let mut ids = self.parts.shared.ids.write().expect("no holder of this lock panics");
        for id in self.leaving.settled(height) {
            ids.remove(&id);
        }
        drop(ids);
        self.release();
    }

    /// Goes over to the rules, the author and the validators of another epoch. What waits stays: what its rules refuse is
    /// left out of blocks and expires.
    fn enter(&mut self, NextEpoch { epoch, votes }: &NextEpoch) {
        self.parts.candidates.enter_epoch(epoch);
        self.parts.mempool.enter(self.parts.candidates.rules());
        let own = self.parts.own;
        self.parts.author =
            own.filter(|_| *votes).map(|key| Author { epoch: epoch.number, proposer: Account(key) });
        // The new epoch's instance has heard of nothing that waits.
        self.report = BacklogReport::new();
        let validators = epoch.validators.keys().iter().copied();
        self.parts.validators = validators.filter(|key| Some(*key) != own).collect();
    }

    /// Lets go of bodies that the ledger serves from now on.
    fn release(&mut self) {
        self.release.apply(&mut self.parts.candidates);
    }

    fn let_time_pass(&mut self) {
        let now = self.parts.clock.now();
        self.parts.mempool.lapse(now.wall);
        let parameters = &self.parts.candidates.rules().parameters;
        for bundle in self.spread.flush(now.mono) {
            self.parts.network.publish(Topic::Transactions, encode(&bundle));
        }
        if self.parts.author.is_some() {
            let (mempool, validators) = (&mut self.parts.mempool, &self.parts.validators);
            for (validator, frame) in self.spread.hand_over(now.mono, mempool, parameters, validators) {
                self.parts.network.send(&validator, Class::Bulk, frame);
            }
        }
        let backlog = self.parts.mempool.backlog();
        if let Some(backlog) = self.report.due(now.mono, backlog, parameters) {
            self.parts.inbox.backlog(backlog);
        }
        self.publish();
    }

    fn publish(&self) {
        let (count, bytes) = (self.parts.mempool.len() as u64, self.parts.mempool.bytes() as u64);
        self.parts.shared.transactions.store(count, Ordering::Relaxed);
        self.parts.shared.bytes.store(bytes, Ordering::Relaxed);
        self.parts.metrics.pool_transactions.set(count);
        self.parts.metrics.pool_bytes.set(bytes);
    }

    /// How long nothing is due.
    fn sleep(&self) -> Duration {
        let until = |mono: Mono| self.parts.clock.instant(mono).saturating_duration_since(Instant::now());
        let lapse = self.parts.mempool.next_lapse().map(|at| {
            let millis = at.millis_since(clock::wall());
            Duration::from_millis(millis.saturating_add(1))
        });
        let parameters = &self.parts.candidates.rules().parameters;
        let hands_over = self.parts.author.is_some();
        let spread = self.spread.due(&self.parts.mempool, parameters, hands_over).map(until);
        let report = self.report.next().map(until);
        [lapse, spread, report].into_iter().flatten().fold(SLEEP_MAX, Duration::min)
    }
}

/// An account's committed balance, and the height it is of.
fn balance(reader: &Reader, account: &Account) -> (Height, Amount) {
    match reader.account(account) {
        Ok((height, balance)) => (height, balance.unwrap_or(0)),
        // The executor meets the same disk and ends the node; until then nothing can be paid.
        Err(error) => {
            tracing::error!(%error, "cannot read an account");
            (reader.tip().0, 0)
        }
    }
}

impl From<Refusal> for SubmitError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::PoolFull { retry_after_ms: RETRY_AFTER_MS },
            Refusal::AccountFull { max } => Self::AccountFull { max },
            Refusal::FeesExceedBalance { balance, pending } => Self::FeesExceedBalance { balance, pending },
            Refusal::InsufficientFunds { balance, height, needed } => {
                Self::InsufficientFunds { balance, height, needed }
            }
        }
    }
}

/// A short constant name, for counters.
fn refusal_name(error: &SubmitError) -> &'static str {
    match error {
        SubmitError::AlreadyCommitted { .. } => "already_committed",
        SubmitError::Transaction(TransactionError::Expired { .. }) => "expired",
        SubmitError::Transaction(_) => "invalid",
        SubmitError::PoolFull { .. } => "pool_full",
        SubmitError::AccountFull { .. } => "account_full",
        SubmitError::FeesExceedBalance { .. } => "fees_exceed_balance",
        SubmitError::InsufficientFunds { .. } => "insufficient_funds",
        SubmitError::ShuttingDown => "shutting_down",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_known_until_its_block_is_executed() {
        let id = |byte: u8| Hash::from_bytes([byte; 32]);
        let mut leaving = Leaving::default();
        leaving.note(Height(4), [id(1), id(2)].into_iter());
        leaving.note(Height(5), [id(3)].into_iter());
        assert_eq!(leaving.settled(Height(3)), Vec::new());
        assert_eq!(leaving.settled(Height(4)), vec![id(1), id(2)]);
        assert_eq!(leaving.settled(Height(9)), vec![id(3)]);
        assert_eq!(leaving.settled(Height(9)), Vec::new());
    }
}
