//! The ledger's executor: committed blocks in, a synced batch at a time.

use std::sync::Arc;

use quorate_consensus::{Event, Mono};
use quorate_ledger::{
    Block, CommitCertificate, Delivered, Deliveries, Height, Ledger, LedgerError, MemoryStore, UnixMillis,
};

use super::Process;
use crate::coverage::Counter;
use crate::effect::{Death, Effects, Sighting, Wake};
use crate::faults::Point;
use crate::liar::Deceptive;
use crate::machine::Machine;
use crate::trace::Short;

/// Blocks on their way into the ledger.
#[derive(Default)]
pub(super) struct Executor {
    /// Those that wait.
    deliveries: Deliveries,
    /// Those that are being executed: the last has a commit certificate of its own (`docs/pbft.md` §6).
    running: Vec<Delivered>,
    /// Highest block given with a certificate of its own.
    base: Height,
}

impl Executor {
    /// Nothing is on its way.
    pub(super) fn above(base: Height) -> Self {
        Self { base, ..Self::default() }
    }
}

impl<E: Deceptive> Process<E> {
    pub(super) fn commit(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        block: Arc<Block>,
        certificate: Option<CommitCertificate>,
        out: &mut Effects<E::Message>,
    ) {
        let certified = if certificate.is_some() { "" } else { ", by a descendant's certificate" };
        out.note(|| format!("commits h{} {}{certified}", block.height(), Short(&block.hash())));
        out.see(Sighting::Committed(Arc::clone(&block)));
        self.candidates.insert(Arc::clone(&block));
        self.candidates.remember(&block);
        self.bodies.release(block.height());
        self.wanted.remove(&block.hash());
        block.transactions().iter().for_each(|transaction| self.pool.remove(&transaction.id()));
        self.pool.expire(block.time());
        if certificate.is_some() {
            self.executor.base = block.height();
        }
        self.executor.deliveries.push(Delivered { block, certificate });
        self.start_executor(machine, now, out);
    }

    fn start_executor(&mut self, machine: &mut Machine<E::Record>, now: Mono, out: &mut Effects<E::Message>) {
        if !self.executor.running.is_empty() {
            return;
        }
        self.executor.running = self.executor.deliveries.batch(usize::MAX);
        if !self.executor.running.is_empty() {
            let micros = machine.random.within(&machine.timing.execute_us);
            out.wake_after(now, micros, Wake::Executed);
        }
    }

    /// The executor's batch is done: executed and synced in one.
    pub(super) fn execute(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        out: &mut Effects<E::Message>,
    ) {
        let batch = std::mem::take(&mut self.executor.running);
        let outcomes = match self.ledger.apply(&batch) {
            Ok(outcomes) => outcomes,
            Err(why) => {
                self.ledger_refuses(machine, "the ledger does not take a committed block", &why, out);
                return;
            }
        };
        if self.has_ended() && machine.doom_at_end.is_some() {
            machine.doom = machine.doom_at_end.take();
            out.count(Counter::CRASH_AT_EPOCH_END);
        }
        if machine.doom == Some(Point::BeforeExecuted) {
            out.die(Death::Struck);
            return;
        }
        for (delivered, outcome) in batch.into_iter().zip(outcomes) {
            out.note(|| format!("executed h{}", delivered.block.height()));
            out.see(Sighting::Executed { block: delivered.block, outcome });
            self.inbox.push(Event::Executed { outcome }.into());
        }
        self.begin_if_ended(machine, now, out);
        self.candidates.release(self.executor.base.min(self.executed()));
        if let Err(why) = self.ledger.flush_due(machine.clocks(now).wall) {
            self.ledger_refuses(machine, "the ledger does not write behind", &why, out);
            return;
        }
        self.start_executor(machine, now, out);
    }

    /// The ledger gives an error: that ends the node, and is right only where its disk was made to fail.
    pub(super) fn ledger_refuses(
        &self,
        machine: &Machine<E::Record>,
        what: &'static str,
        why: &LedgerError,
        out: &mut Effects<E::Message>,
    ) {
        if machine.store_fails() {
            out.note(|| format!("stops: {why}"));
            out.count(Counter::STOPPED_ON_A_FULL_DISK);
            out.die(Death::Disk);
        } else {
            out.see(Sighting::Wrong { what, detail: why.to_string() });
        }
    }
}

/// All blocks of a ledger, lowest first.
pub(super) fn stored_blocks(ledger: &Ledger<MemoryStore>) -> Vec<Arc<Block>> {
    let blocks = ledger.reader().recent_blocks(UnixMillis(0)).expect("memory reads");
    blocks.map(|block| block.expect("a ledger holds every block up to its tip")).collect()
}
