//! The thread that owns the ledger: executes committed blocks in order, several in one synced write when they queue up.
//! Each write ends with a block that has a commit certificate of its own (`docs/pbft.md` §6); blocks that wait for theirs
//! when the thread ends are dropped, and come again.
//!
//! Everything it says, to consensus, to the pool and to readers, is said after the write is synced.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use quorate_consensus::Event;
use quorate_ledger::{
    Block, CheckpointCertificate, CommitCertificate, Delivered, Deliveries, EpochStart, ExecutionOutcome,
    Height, Ledger, LedgerError, Store, UnixMillis,
};
use tokio::sync::watch;

use super::{
    clock::{self, Clock},
    handle::TipView,
    inbox::Inbox,
    pool::{PoolCommand, PoolSender},
};
use crate::metrics::Metrics;

/// Committed blocks that wait for execution; consensus waits beyond it.
pub(super) const COMMANDS_MAX: usize = 256;
/// Blocks executed in one synced write, unless more wait for one certificate.
const BLOCKS_PER_BATCH_MAX: usize = 64;
/// How often the ledger is asked whether something is due to be written behind.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);

/// What the ledger's thread is asked. It ends, with a last flush, when nobody can ask any more.
#[derive(Debug)]
pub(super) enum ExecutorCommand {
    /// Execute a final block.
    Commit {
        /// The block.
        block: Arc<Block>,
        /// Its own commit certificate, unless a descendant's covers it.
        certificate: Option<CommitCertificate>,
    },
    /// Keep the certificate of a checkpoint.
    Stable(CheckpointCertificate),
}

/// The thread's state.
pub(super) struct Executor<S: Store, M> {
    pub(super) ledger: Ledger<S>,
    /// Blocks that were committed and are not executed: a descendant's certificate, which covers them, is still to come.
    pub(super) deliveries: Deliveries,
    pub(super) inbox: Arc<Inbox<M>>,
    pub(super) pool: PoolSender,
    pub(super) tip: watch::Sender<TipView>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

impl<S: Store, M> Executor<S, M> {
    /// Runs until nobody can ask any more.
    ///
    /// # Errors
    /// The ledger's, after which nothing more may be done with it.
    pub(super) fn run(mut self, commands: &Receiver<ExecutorCommand>) -> Result<(), LedgerError> {
        let mut next_flush = Instant::now() + FLUSH_INTERVAL;
        loop {
            match commands.recv_timeout(next_flush.saturating_duration_since(Instant::now())) {
                Ok(command) => self.take(command, commands)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.ledger.flush(),
            }
            if next_flush <= Instant::now() {
                // Monotonic, counted from the start of the process: all the ledger wants to know is how long it is.
                self.ledger.flush_due(UnixMillis(self.clock.mono().0 / 1_000_000))?;
                next_flush = Instant::now() + FLUSH_INTERVAL;
            }
        }
    }

    /// Does what is asked, together with all blocks that are ready behind it.
    fn take(
        &mut self,
        first: ExecutorCommand,
        commands: &Receiver<ExecutorCommand>,
    ) -> Result<(), LedgerError> {
        for command in std::iter::once(first).chain(commands.try_iter().take(BLOCKS_PER_BATCH_MAX - 1)) {
            match command {
                ExecutorCommand::Commit { block, certificate } => {
                    self.deliveries.push(Delivered { block, certificate });
                }
                ExecutorCommand::Stable(certificate) => {
                    self.execute_ready()?;
                    self.ledger.stable(&certificate)?;
                }
            }
        }
        self.execute_ready()
    }

    /// Executes what ends with a certificate.
    fn execute_ready(&mut self) -> Result<(), LedgerError> {
        loop {
            let batch = self.deliveries.batch(BLOCKS_PER_BATCH_MAX);
            let Some(last) = batch.last() else { return Ok(()) };
            self.execute(&batch, last)?;
        }
    }

    fn execute(&mut self, batch: &[Delivered], last: &Delivered) -> Result<(), LedgerError> {
        let tip = TipView { height: last.block.height(), hash: last.block.hash(), time: last.block.time() };
        let started = Instant::now();
        let outcomes = self.ledger.apply(batch)?;
        self.metrics.executed_batch(tip.height, started.elapsed());
        self.measure(batch);
        self.tell(&outcomes, tip);
        Ok(())
    }

    fn measure(&self, batch: &[Delivered]) {
        let now = clock::wall();
        for Delivered { block, .. } in batch {
            self.metrics.blocks.inc();
            self.metrics.transactions.inc_by(block.transactions().len() as u64);
            self.metrics.commit_latency(now.millis_since(block.time()));
            tracing::debug!(height = %block.height(), transactions = block.transactions().len(), "executed");
        }
    }

    fn tell(&self, outcomes: &[ExecutionOutcome], tip: TipView) {
        for outcome in outcomes {
            self.inbox.answer(Event::Executed { outcome: *outcome });
        }
        let epoch = self.ledger.epoch();
        if epoch.base().0 == tip.height && tip.height > Height(0) {
            tracing::info!(
                epoch = %epoch.number, start = %epoch.start, validators = epoch.validators.len(), "an epoch begins"
            );
            self.inbox.epoch(EpochStart::clone(&epoch), self.ledger.tip());
        }
        self.tip.send_replace(tip);
        // An error means that the pool has stopped, as this thread is about to.
        let _ = self.pool.send(PoolCommand::Executed(tip.height));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use prometheus_client::registry::Registry;
    use quorate_crypto::{Hash, MultiSignature, SecretKey};
    use quorate_ledger::{
        Account, CommitPayload, Epoch, GenesisState, Header, MemoryStore, Parameters, ValidatorSet, View,
    };

    use super::*;
    use crate::runtime::pool;

    fn genesis() -> GenesisState {
        let validators = ValidatorSet::new(vec![SecretKey::from_seed([1; 32]).public()]).expect("one key");
        let (time, parameters) = (UnixMillis(1_000), Parameters::default());
        GenesisState { chain: Hash::of(b"chain"), time, validators, parameters, accounts: Vec::new() }
    }

    /// Empty blocks on the genesis; those of these heights have a certificate.
    fn commands(count: u64, certified: &[u64]) -> Vec<ExecutorCommand> {
        let genesis = genesis();
        let anchor = genesis.checkpoint().expect("a sound genesis").anchor();
        let mut parent = genesis.chain;
        let command = |height| {
            let header = Header {
                version: Header::VERSION,
                chain: genesis.chain,
                epoch: Epoch(0),
                height: Height(height),
                parent,
                transactions_root: Block::transactions_root(&[]),
                time: genesis.time.plus_millis(height),
                proposer: Account(genesis.validators.keys()[0]),
                anchor,
            };
            let block = Arc::new(Block::new(header, Vec::new()));
            parent = block.hash();
            let payload =
                CommitPayload { epoch: Epoch(0), view: View(0), height: Height(height), block: parent };
            let signatures = MultiSignature::from_votes(1, std::iter::empty());
            let certificate =
                certified.contains(&height).then_some(CommitCertificate { payload, signatures });
            ExecutorCommand::Commit { block, certificate }
        };
        (1..=count).map(command).collect()
    }

    /// Runs the thread on a store until these commands are done: heights that it says are executed.
    fn run(store: &MemoryStore, commands: Vec<ExecutorCommand>) -> Vec<u64> {
        let (sender, receiver) = channel();
        commands.into_iter().for_each(|command| sender.send(command).expect("it is open"));
        drop(sender);
        let ledger = Ledger::open(store.clone(), &genesis()).expect("a sound store");
        let tip = ledger.tip();
        let inbox = Arc::new(Inbox::<()>::new());
        let (pool, told) = pool::commands();
        let executor = Executor {
            ledger,
            deliveries: Deliveries::default(),
            inbox: Arc::clone(&inbox),
            pool,
            tip: watch::channel(TipView { height: tip.height, hash: tip.hash, time: tip.time }).0,
            metrics: Metrics::register(&mut Registry::default()),
            clock: Clock::start(),
        };
        executor.run(&receiver).expect("memory");
        let heights = std::iter::from_fn(|| told.try_next()).filter_map(|command| {
            if let PoolCommand::Executed(height) = command { Some(height.0) } else { None }
        });
        heights.collect()
    }

    /// > The highest block that a ledger has synced has a commit certificate of its own.
    #[test]
    fn blocks_wait_for_the_certificate_that_covers_them_and_are_dropped_without_it() {
        let store = MemoryStore::new();
        assert_eq!(run(&store, commands(5, &[1, 3])), [3], "one write, up to the last certificate");
        store.power_cut();
        assert_eq!(Ledger::open(store.clone(), &genesis()).expect("sound").tip().base_height, Height(3));
        let above = commands(5, &[5]).split_off(3);
        assert_eq!(run(&store, above), [5], "they come again");
    }

    #[test]
    fn a_write_is_longer_where_one_certificate_covers_more() {
        let last = u64::try_from(BLOCKS_PER_BATCH_MAX).expect("small") + 1;
        assert_eq!(run(&MemoryStore::new(), commands(last, &[last])), [last]);
    }
}
