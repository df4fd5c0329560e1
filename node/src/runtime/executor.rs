//! The thread that owns the ledger: executes committed blocks in order, several in one synced write when they queue up.
//!
//! Everything it says, to consensus, to the pool and to readers, is said after the write is synced.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use quorate_consensus::Event;
use quorate_ledger::{
    Block, CheckpointCertificate, CommitCertificate, Delivered, EpochStart, ExecutionOutcome, Height, Ledger,
    LedgerError, Store, UnixMillis,
};
use tokio::sync::watch;

use super::{
    clock::{self, Clock},
    handle::TipView,
    inbox::Inbox,
    pool::PoolCommand,
};
use crate::metrics::Metrics;

/// Committed blocks that wait for execution; consensus waits beyond it.
pub(super) const COMMANDS_MAX: usize = 256;
/// Blocks executed in one synced write.
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
    pub(super) inbox: Arc<Inbox<M>>,
    pub(super) pool: SyncSender<PoolCommand>,
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
        let mut batch = Vec::new();
        for command in std::iter::once(first).chain(commands.try_iter().take(BLOCKS_PER_BATCH_MAX - 1)) {
            match command {
                ExecutorCommand::Commit { block, certificate } => {
                    batch.push(Delivered { block, certificate });
                }
                ExecutorCommand::Stable(certificate) => {
                    self.execute(std::mem::take(&mut batch))?;
                    self.ledger.stable(&certificate)?;
                }
            }
        }
        self.execute(batch)
    }

    fn execute(&mut self, batch: Vec<Delivered>) -> Result<(), LedgerError> {
        let Some(last) = batch.last() else { return Ok(()) };
        let tip = TipView { height: last.block.height(), hash: last.block.hash(), time: last.block.time() };
        let started = Instant::now();
        let outcomes = self.ledger.apply(&batch)?;
        self.metrics.executed_batch(tip.height, started.elapsed());
        self.measure(&batch);
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
