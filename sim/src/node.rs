//! A machine with, or at times without, the process that runs on it.
//!
//! What reaches the process here is told the time by the machine's own clock; everybody outside counts in the world's.

use std::rc::Rc;
use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_ledger::{Height, Ledger, MemoryStore, Transaction};

use crate::effect::{Death, Effects, Wake};
use crate::liar::Deceptive;
use crate::machine::Machine;
use crate::process::{Process, Sizes, Submitted};
use crate::wire::Parcel;

/// One machine of a run.
pub(crate) struct Node<E: Deceptive> {
    pub(crate) machine: Machine<E::Record>,
    process: Option<Process<E>>,
    /// How many processes there were: what was meant for an earlier one does not reach a later one.
    life: u32,
    /// Until when it stands still.
    paused: Option<Mono>,
}

impl<E: Deceptive> Node<E> {
    pub(crate) fn new(machine: Machine<E::Record>) -> Self {
        Self { machine, process: None, life: 0, paused: None }
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
    pub(crate) fn start(&mut self, now: Mono, out: &mut Effects<E::Message>) {
        if self.process.is_none() {
            self.life += 1;
            self.paused = None;
            let now = self.machine.local(now);
            self.process = Process::open(&mut self.machine, now, self.life, out);
        }
    }

    /// Kills the process. Says whether that tore what it was writing.
    pub(crate) fn crash(&mut self) -> bool {
        self.process.take().is_some() && self.machine.lose_process()
    }

    /// The process ends by itself, at some point of its work. Says whether that tore what it was writing.
    pub(crate) fn die(&mut self, how: Death) -> bool {
        if self.process.take().is_none() {
            return false;
        }
        match how {
            Death::Struck | Death::Disk => self.machine.lose_process(),
            Death::BeforeAppend => {
                self.machine.lose_process_keeping(false);
                false
            }
            Death::BeforeActions => {
                self.machine.lose_process_keeping(true);
                false
            }
        }
    }

    /// Cuts the machine's power. Says whether that tore what it was writing.
    pub(crate) fn power_cut(&mut self) -> bool {
        self.process = None;
        self.machine.lose_power()
    }

    /// Lets it stand still.
    pub(crate) fn pause(&mut self, until: Mono) {
        self.paused = self.paused.max(Some(until));
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self) {
        self.paused = None;
    }

    /// Until when it stands still, if it does now.
    pub(crate) fn paused(&self, now: Mono) -> Option<Mono> {
        self.paused.filter(|until| *until > now && self.process.is_some())
    }

    /// Goes on where a process asked to be woken.
    pub(crate) fn wake(&mut self, now: Mono, why: Wake, out: &mut Effects<E::Message>) {
        let now = self.machine.local(now);
        if let Some(process) = &mut self.process {
            process.wake(&mut self.machine, now, why, out);
        }
    }

    /// Takes a packet; lost on a node that is down.
    pub(crate) fn receive(
        &mut self,
        now: Mono,
        from: usize,
        parcel: &Rc<Parcel<E::Message>>,
        out: &mut Effects<E::Message>,
    ) {
        let now = self.machine.local(now);
        if let Some(process) = &mut self.process {
            process.receive(&mut self.machine, now, from, parcel, out);
        }
    }

    /// Takes a transaction of a client; nothing comes of it on a node that is down.
    pub(crate) fn submit(
        &mut self,
        now: Mono,
        transaction: &Arc<Transaction>,
        out: &mut Effects<E::Message>,
    ) -> Option<Submitted> {
        let now = self.machine.local(now);
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

    /// How much the running process holds on to.
    pub(crate) fn sizes(&self) -> Option<Sizes> {
        self.process.as_ref().map(|process| process.sizes(self.machine.log.len()))
    }
}
