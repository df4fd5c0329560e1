//! The running process of a node: the production engine, ledger and candidates, joined as a node joins them.
//!
//! ```text
//! packets ─decode, verify─▶ inbox ─Turn─▶ drive(engine, log) ─Synced─▶ actions ─▶ packets
//!                             ▲                                          │ Build, Check      │ Commit
//!                             ├──────────── Answer ◀── candidates ◀──────┘                   ▼
//!                             └──────────── Executed ◀──────────────────────────── ledger (executor)
//! ```
//!
//! The engine takes all events that are ready in one turn; their actions are held back until the fsync of what the turn
//! recorded has come back. The executor works beside it and syncs a batch of blocks at once. Everything in here dies
//! with the process; [`Machine`] is what it starts from again.

mod actions;
pub(crate) mod epochs;
mod executor;
mod follow;
mod outbound;
mod receive;
mod transactions;
mod turn;

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use quorate_consensus::{Action, Backlog, Event, Input, Mono, Replica};
use quorate_crypto::Hash;
use quorate_ledger::{
    Candidates, Epoch, Height, Ledger, MemoryStore, Parameters, Parent, TransactionRules, UnixMillis,
};

use crate::bodies::Bodies;
use crate::coverage::Counter;
use crate::effect::{Effects, Sighting, Wake};
use crate::liar::{Deceptive, Liar};
use crate::log::Found;
use crate::machine::Machine;
use crate::pool::Pool;
pub(crate) use actions::SERVE_BLOCKS;
use epochs::{Epochs, Opening, opening};
use executor::{Executor, stored_blocks};
use follow::Follow;
pub(crate) use transactions::Submitted;

/// How long a liar waits at most until it says something unasked, in microseconds.
const LIE_EVERY_US: u64 = 400_000;

/// So often at most may an engine be woken for one deadline; each time it may only just have been about to be told
/// something.
const IDLE_TICKS_MAX: u32 = 20;

/// A node while it runs.
pub(crate) struct Process<E: Deceptive> {
    replica: Replica<E>,
    ledger: Ledger<MemoryStore>,
    candidates: Candidates,
    pool: Pool,
    bodies: Bodies,
    epochs: Epochs,
    inbox: Vec<Input<E::Message>>,
    /// Who sent messages in there that the network has changed and that verify all the same: those that nobody signs.
    corrupted_from: Vec<usize>,
    /// The same of what the engine took in its last turn: if it refuses what came from them, that is nobody's fault.
    corrupted_from_now: Vec<usize>,
    turn: Turn<E::Message>,
    /// Answers of candidates that are on their way to the inbox.
    answers: VecDeque<Event<E::Message>>,
    executor: Executor,
    /// When it will be woken for its deadline.
    tick: Option<Mono>,
    /// The deadline that the engine was last woken for, and how often in a row.
    idle_ticks: (Mono, u32),
    hand_out: Option<Mono>,
    /// What the engine was told last; none when it has to be told anew.
    backlog: Option<Backlog>,
    /// What the engine had in flight then, which does not count as waiting.
    in_flight: Vec<Hash>,
    /// Whether the engine has stepped since it was told.
    stepped: bool,
    /// Blocks that the engine wants from others.
    wanted: BTreeSet<Hash>,
    follow: Follow,
    /// A key whose log is refused begins anew in an epoch that begins later than this: it has surely signed nothing there.
    may_renew_after: UnixMillis,
    /// The epoch that it was seen to be in.
    began: Epoch,
    /// On a liar: how it lies.
    liar: Option<Liar<E::Message>>,
}

/// What the consensus thread is at.
enum Turn<M> {
    /// It waits for an event.
    Idle,
    /// It will take what is in the inbox.
    Scheduled,
    /// It waits for the disk, with these actions in hand.
    Syncing(Vec<(Epoch, Action<M>)>),
}

/// How much a process holds on to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) inbox: usize,
    pub(crate) log: usize,
    pub(crate) records: usize,
    pub(crate) accepted: usize,
    pub(crate) bodies: usize,
    pub(crate) pool: usize,
}

impl<E: Deceptive> Process<E> {
    /// Starts on what the machine's disks hold.
    pub(crate) fn open(
        machine: &mut Machine<E::Record>,
        now: Mono,
        life: u32,
        out: &mut Effects<E::Message>,
    ) -> Option<Self> {
        let wrong = |what, detail| Sighting::Wrong { what, detail };
        let ledger = match Ledger::open(machine.store.clone(), &machine.chain.genesis) {
            Ok(ledger) => ledger,
            Err(why) => {
                out.see(wrong("the ledger does not open", why.to_string()));
                return None;
            }
        };
        let tip = ledger.tip();
        // What is to come of it, before it is read: reading enters the log in its mark.
        let refused = machine.is_refused();
        let records = match (machine.read_log(), refused) {
            (Found::Records(records), false) => records,
            (Found::Damage(why), true) => {
                out.note(|| format!("follows without voting: {why}"));
                out.count(if machine.log.has_spoilt_mark() {
                    Counter::SPOILT_MARK_REFUSED
                } else {
                    Counter::ROTTEN_LOG_REFUSED
                });
                out.see(Sighting::Refused);
                Vec::new()
            }
            (Found::Records(_), true) => {
                out.see(wrong("a vote log or mark that was damaged is taken", String::new()));
                return None;
            }
            (Found::Damage(why), false) => {
                out.see(wrong("a vote log that crashes alone have touched is refused", why));
                return None;
            }
        };
        out.see(Sighting::Kept(records.iter().flat_map(E::kept).collect()));
        let Opening { setup, closing, epochs } = opening(machine, &ledger, out);
        let replica = match Replica::<E>::open(setup, closing, &tip, records) {
            Ok(replica) => replica,
            Err(why) => {
                out.see(wrong("the engine does not open", why.to_string()));
                return None;
            }
        };
        let epoch = ledger.epoch();
        let parent = Parent { height: tip.height, hash: tip.hash, time: tip.time };
        let mut candidates =
            Candidates::new(TransactionRules::of(machine.chain.genesis.chain, &epoch), parent);
        let blocks = stored_blocks(&ledger);
        blocks.iter().for_each(|block| candidates.remember(block));
        replica.current().accepted().into_iter().for_each(|block| candidates.insert(block));
        let hashes = blocks.iter().map(|block| block.hash()).collect();
        out.see(Sighting::Opened { tip: tip.height, outcome: tip.outcome, blocks: hashes });
        let lies = machine.lies.clone();
        let liar = (!lies.is_empty()).then(|| {
            let (chain, plot) = (machine.chain.clone(), machine.plot.clone());
            Liar::new(lies, machine.member, chain, plot, epochs.current(), life)
        });
        let mut process = Self {
            replica,
            ledger,
            candidates,
            pool: Pool::default(),
            bodies: Bodies::default(),
            epochs,
            inbox: Vec::new(),
            corrupted_from: Vec::new(),
            corrupted_from_now: Vec::new(),
            turn: Turn::Idle,
            answers: VecDeque::new(),
            executor: Executor::above(tip.base_height),
            tick: None,
            idle_ticks: (Mono(0), 0),
            hand_out: None,
            backlog: None,
            in_flight: Vec::new(),
            stepped: true,
            wanted: BTreeSet::new(),
            follow: Follow::default(),
            may_renew_after: machine.clocks(now).wall.plus_millis(epoch.parameters.max_clock_drift_ms),
            began: epoch.number,
            liar,
        };
        out.see(Sighting::Began(process.began));
        process.lie_later(now, out);
        process.follow_if_outside(machine, now, out);
        process.settle(machine, now, out);
        Some(process)
    }

    /// Highest block executed and synced.
    pub(crate) fn executed(&self) -> Height {
        self.ledger.height()
    }

    /// Highest block executed and synced that has a commit certificate of its own.
    pub(crate) fn certified(&self) -> Height {
        self.ledger.base_height()
    }

    /// The ledger, to be read by the checkers and by clients.
    pub(crate) fn ledger(&self) -> &Ledger<MemoryStore> {
        &self.ledger
    }

    /// The parameters in force.
    fn parameters(&self) -> &Parameters {
        &self.candidates.rules().parameters
    }

    /// How much it holds on to, with a log of so many records.
    pub(crate) fn sizes(&self, log: usize) -> Sizes {
        Sizes {
            log,
            inbox: self.inbox.len(),
            records: self.replica.records().len(),
            accepted: self.replica.current().accepted().len(),
            bodies: self.bodies.len(),
            pool: self.pool.len(),
        }
    }

    /// Goes on where it asked to be woken.
    pub(crate) fn wake(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        why: Wake,
        out: &mut Effects<E::Message>,
    ) {
        match why {
            Wake::Turn => self.take_turn(machine, now, out),
            Wake::Synced => self.synced(machine, now, out),
            Wake::Answer => self.inbox.extend(self.answers.pop_front().map(Input::from)),
            Wake::Executed => self.execute(machine, now, out),
            Wake::Tick(at) => {
                if self.tick == Some(at) {
                    self.tick = None;
                    self.tick_if_due(now, out);
                }
            }
            Wake::Refetch(block) => self.fetch(machine, now, *block, out),
            Wake::HandOut => self.hand_out(machine, now, out),
            Wake::Follow => self.follow(machine, now, out),
            Wake::Lie => self.lie(machine, now, out),
        }
        self.settle(machine, now, out);
    }

    /// The engine is woken at its deadline, which must lead to something: another deadline at least.
    fn tick_if_due(&mut self, now: Mono, out: &mut Effects<E::Message>) {
        let Some(deadline) = self.replica.deadline().filter(|deadline| *deadline <= now) else { return };
        self.inbox.push(Event::Tick.into());
        self.idle_ticks =
            if self.idle_ticks.0 == deadline { (deadline, self.idle_ticks.1 + 1) } else { (deadline, 0) };
        if self.idle_ticks.1 == IDLE_TICKS_MAX {
            let detail = format!("{deadline:?} at {now:?}: {:?}", self.replica.current().status());
            out.see(Sighting::Wrong { what: "the engine is woken again and again for nothing", detail });
        }
    }

    /// After every step: the engine hears what waits, wakes when it is due, and gets its turn if it has events.
    fn settle(&mut self, machine: &mut Machine<E::Record>, now: Mono, out: &mut Effects<E::Message>) {
        self.tell_backlog();
        if let Turn::Idle = self.turn {
            if !self.inbox.is_empty() {
                self.turn = Turn::Scheduled;
                let micros = machine.random.within(&machine.timing.step_us);
                out.wake_after(now, micros, Wake::Turn);
            } else if let Some(at) = self.replica.deadline()
                && self.tick.is_none_or(|tick| tick > at)
            {
                // One that comes too early finds out, and asks again.
                self.tick = Some(at);
                out.wake(at, Wake::Tick(at));
            }
        }
    }

    /// Tells the engine what waits, if that has changed: the pool says so itself, and the engine when it has stepped.
    fn tell_backlog(&mut self) {
        let (changed, stepped) = (self.pool.take_changed(), std::mem::take(&mut self.stepped));
        if !changed && !stepped && self.backlog.is_some() {
            return;
        }
        let backlog = if self.pool.is_empty() {
            Backlog::default()
        } else {
            let in_flight = self.replica.current().in_flight();
            if !changed && self.backlog.is_some() && in_flight == self.in_flight {
                return;
            }
            self.in_flight = in_flight;
            let in_flight = &self.in_flight;
            let blocks: Vec<_> = in_flight.iter().filter_map(|hash| self.candidates.block(hash)).collect();
            let included = blocks.iter().flat_map(|block| block.transactions());
            let ids: Vec<Hash> = included.map(|transaction| transaction.id()).collect();
            self.pool.backlog(|id| ids.contains(id))
        };
        if self.backlog != Some(backlog) {
            self.backlog = Some(backlog);
            self.inbox.push(Event::Backlog(backlog).into());
        }
    }

    /// What a liar says unasked.
    fn lie(&mut self, machine: &Machine<E::Record>, now: Mono, out: &mut Effects<E::Message>) {
        let status = self.replica.current().status();
        if let Some(liar) = &mut self.liar {
            let instance = Rc::clone(self.epochs.current());
            liar.turn_to(&instance);
            let told = E::invent(liar, &status);
            self.tell(machine, &instance, told, out);
        }
        self.lie_later(now, out);
    }

    fn lie_later(&mut self, now: Mono, out: &mut Effects<E::Message>) {
        if let Some(liar) = &mut self.liar {
            let micros = liar.random.within(&(1_000..=LIE_EVERY_US));
            out.wake_after(now, micros, Wake::Lie);
        }
    }
}
