//! A machine with, or at times without, the process that runs on it.

use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_ledger::{Height, Ledger, MemoryStore, Transaction};

use crate::effect::{Effects, Wake};
use crate::machine::Machine;
use crate::observe::Observed;
use crate::process::{Process, Submitted};

/// One validator of a run.
pub(crate) struct Node<E: Observed> {
    machine: Machine<E::Record>,
    process: Option<Process<E>>,
    /// How many processes there were: what was meant for an earlier one does not reach a later one.
    life: u32,
}

impl<E: Observed> Node<E> {
    pub(crate) fn new(machine: Machine<E::Record>) -> Self {
        Self { machine, process: None, life: 0 }
    }

    /// Which of its lives it is in.
    pub(crate) fn life(&self) -> u32 {
        self.life
    }

    /// Whether a process runs.
    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Starts a process, if none runs.
    pub(crate) fn start(&mut self, now: Mono, out: &mut Effects) {
        if self.process.is_none() {
            self.life += 1;
            self.process = Process::open(&mut self.machine, now, out);
        }
    }

    /// Kills the process.
    pub(crate) fn crash(&mut self) {
        if self.process.take().is_some() {
            self.machine.lose_process();
        }
    }

    /// Cuts the machine's power.
    pub(crate) fn power_cut(&mut self) {
        self.process = None;
        self.machine.lose_power();
    }

    /// Lets the process die in the middle of a batch of more than so many actions.
    pub(crate) fn doom(&mut self, after_actions: usize) {
        if self.process.is_some() {
            self.machine.doomed_after = Some(after_actions);
        }
    }

    /// Takes back [`Node::doom`].
    pub(crate) fn spare(&mut self) {
        self.machine.doomed_after = None;
    }

    /// Goes on where a process asked to be woken.
    pub(crate) fn wake(&mut self, now: Mono, why: Wake, out: &mut Effects) {
        if let Some(process) = &mut self.process {
            process.wake(&mut self.machine, now, why, out);
        }
    }

    /// Takes a packet; lost on a node that is down.
    pub(crate) fn receive(&mut self, now: Mono, from: usize, bytes: &[u8], out: &mut Effects) {
        if let Some(process) = &mut self.process {
            process.receive(&mut self.machine, now, from, bytes, out);
        }
    }

    /// Takes a transaction of a client; nothing comes of it on a node that is down.
    pub(crate) fn submit(
        &mut self,
        now: Mono,
        transaction: &Arc<Transaction>,
        out: &mut Effects,
    ) -> Option<Submitted> {
        Some(self.process.as_mut()?.submit(&mut self.machine, now, transaction, out))
    }

    /// Highest block executed, synced and certified by the running process.
    pub(crate) fn certified(&self) -> Option<Height> {
        self.process.as_ref().map(Process::certified)
    }

    /// The running process's ledger.
    pub(crate) fn ledger(&self) -> Option<&Ledger<MemoryStore>> {
        self.process.as_ref().map(Process::ledger)
    }
}
