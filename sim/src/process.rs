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

mod outbound;
mod transactions;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use quorate_consensus::{Action, Backlog, Event, Horizon, Input, Mono, Rejection, Replica, drive};
use quorate_crypto::{Hash, decode};
use quorate_ledger::{
    Account, Block, Candidates, CommitCertificate, Delivered, Height, Ledger, MemoryStore, Parent,
    Transaction,
};

use crate::bodies::Bodies;
use crate::effect::{Effects, Sighting, Wake};
use crate::machine::Machine;
use crate::observe::Observed;
use crate::pool::Pool;
use crate::trace::Short;
use crate::wire::Packet;
use outbound::{place, reject, send, to_one};
pub(crate) use transactions::Submitted;

/// Most blocks of one answer to a node that is behind.
const SERVE_BLOCKS: usize = 64;
/// Most bytes of one.
const SERVE_BYTES: usize = 1 << 20;

/// A node while it runs.
pub(crate) struct Process<E: Observed> {
    replica: Replica<E>,
    ledger: Ledger<MemoryStore>,
    candidates: Candidates,
    pool: Pool,
    bodies: Bodies,
    inbox: Vec<Event<E::Message>>,
    turn: Turn<E::Message>,
    /// Answers of candidates that are on their way to the inbox.
    answers: VecDeque<Event<E::Message>>,
    executor: Executor,
    horizon: Horizon,
    tick: Option<Mono>,
    hand_out: Option<Mono>,
    /// What the engine was told last; none when it has to be told anew.
    backlog: Option<Backlog>,
}

/// What the consensus thread is at.
enum Turn<M> {
    /// It waits for an event.
    Idle,
    /// It will take what is in the inbox.
    Scheduled,
    /// It waits for the disk, with these actions in hand.
    Syncing(Vec<Action<M>>),
}

/// Blocks on their way into the ledger.
#[derive(Default)]
struct Executor {
    queue: VecDeque<Delivered>,
    /// How many of them are being executed.
    running: usize,
    /// Highest block given with a certificate of its own.
    base: Height,
}

impl<E: Observed> Process<E> {
    /// Starts on what the machine's disks hold.
    pub(crate) fn open(machine: &mut Machine<E::Record>, now: Mono, out: &mut Effects) -> Option<Self> {
        let ledger = match Ledger::open(machine.store.clone(), &machine.chain.genesis) {
            Ok(ledger) => ledger,
            Err(why) => {
                out.see(Sighting::Wrong { what: "the ledger does not open", detail: why.to_string() });
                return None;
            }
        };
        let (tip, records) = (ledger.tip(), machine.log.records());
        out.see(Sighting::Kept(records.iter().flat_map(E::kept).collect()));
        let replica = match Replica::<E>::open(machine.setup(), None, &tip, records) {
            Ok(replica) => replica,
            Err(why) => {
                out.see(Sighting::Wrong { what: "the engine does not open", detail: why.to_string() });
                return None;
            }
        };
        let parent = Parent { height: tip.height, hash: tip.hash, time: tip.time };
        let mut candidates = Candidates::new(machine.chain.rules(), parent);
        let blocks = stored_blocks(&ledger, tip.height);
        blocks.iter().for_each(|block| candidates.remember(block));
        replica.current().accepted().into_iter().for_each(|block| candidates.insert(block));
        let hashes = blocks.iter().map(|block| block.hash()).collect();
        out.see(Sighting::Opened { tip: tip.height, outcome: tip.outcome, blocks: hashes });
        let mut process = Self {
            replica,
            ledger,
            candidates,
            pool: Pool::default(),
            bodies: Bodies::default(),
            inbox: Vec::new(),
            turn: Turn::Idle,
            answers: VecDeque::new(),
            executor: Executor { base: tip.base_height, ..Executor::default() },
            horizon: Horizon::default(),
            tick: None,
            hand_out: None,
            backlog: None,
        };
        process.settle(machine, now, out);
        Some(process)
    }

    /// Highest block executed and synced.
    pub(crate) fn executed(&self) -> Height {
        self.ledger.tip().height
    }

    /// Highest block executed and synced that has a commit certificate of its own.
    pub(crate) fn certified(&self) -> Height {
        self.ledger.tip().base_height
    }

    /// The ledger, to be read by the checkers.
    pub(crate) fn ledger(&self) -> &Ledger<MemoryStore> {
        &self.ledger
    }

    /// Takes a packet off the wire.
    pub(crate) fn receive(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        from: usize,
        bytes: &[u8],
        out: &mut Effects,
    ) {
        match decode::<Packet<E::Message>>(bytes) {
            Err(why) => {
                out.see(Sighting::Wrong {
                    what: "a packet does not decode",
                    detail: format!("of n{from}: {why}"),
                });
            }
            Ok(Packet::Consensus(message)) => self.hear(machine, from, message, out),
            Ok(Packet::Transactions(transactions)) => {
                out.note(format!("<- n{from}  {} transactions", transactions.len()));
                for transaction in transactions {
                    self.admit(machine, now, &Arc::new(transaction), out);
                }
            }
            Ok(Packet::Fetch { block, transactions }) => {
                out.note(format!("<- n{from}  FETCH {} of {}", transactions.len(), Short(&block)));
                let found = transactions.iter().filter_map(|hash| self.body(hash));
                let transactions = found.map(|transaction| Transaction::clone(&transaction)).collect();
                to_one(from, &Packet::<E::Message>::Bodies { block, transactions }, out);
            }
            Ok(Packet::Bodies { block, transactions }) => {
                out.note(format!("<- n{from}  BODIES {} of {}", transactions.len(), Short(&block)));
                for transaction in transactions.into_iter().filter(Transaction::verify_signature) {
                    self.bodies.found(&block, Arc::new(transaction));
                }
                self.judge_if_complete(machine, now, block, out);
            }
            Ok(Packet::FetchBlock(hash)) => {
                if let Some(block) = self.block(&hash) {
                    to_one(from, &Packet::<E::Message>::Block(Box::new(Block::clone(&block))), out);
                }
            }
            Ok(Packet::Block(block)) => {
                out.note(format!("<- n{from}  BLOCK h{} {}", block.height(), Short(&block.hash())));
                if block.check_root().is_ok() && block.height() > self.candidates.tip().height {
                    let block = Arc::new(*block);
                    self.candidates.insert(Arc::clone(&block));
                    self.inbox.push(Event::Fetched { block });
                }
            }
            Ok(Packet::Certified(blocks)) => {
                let scope = &machine.chain.scope;
                out.note(format!("<- n{from}  CERTIFIED up to h{}", blocks.certificate.payload.height));
                match blocks.check(&scope.chain, &scope.validators) {
                    Ok(()) => self.inbox.push(Event::Certified(blocks)),
                    Err(why) => {
                        let detail = format!("of n{from}: {why}");
                        out.see(Sighting::Wrong { what: "certified blocks do not check", detail });
                    }
                }
            }
        }
        self.settle(machine, now, out);
    }

    fn hear(&mut self, machine: &Machine<E::Record>, from: usize, message: E::Message, out: &mut Effects) {
        out.note(format!("<- n{from}  {}", E::describe(&message)));
        match E::verify(&machine.chain.scope, self.horizon, message) {
            Ok(message) => self.inbox.push(Event::Message { from: place(from), message }),
            Err(why @ Rejection::OldView(_)) => out.note(format!("drops a message of n{from}: {why}")),
            Err(why) => {
                let detail = format!("of n{from}: {why}");
                out.see(Sighting::Wrong { what: "a message does not verify", detail });
            }
        }
    }

    /// Goes on where it asked to be woken.
    pub(crate) fn wake(&mut self, machine: &mut Machine<E::Record>, now: Mono, why: Wake, out: &mut Effects) {
        match why {
            Wake::Turn => self.take_turn(machine, now, out),
            Wake::Synced => {
                let kept: Vec<_> = machine.log.sync().iter().flat_map(E::kept).collect();
                out.see(Sighting::Kept(kept));
                if let Turn::Syncing(actions) = std::mem::replace(&mut self.turn, Turn::Idle) {
                    self.act(machine, now, actions, out);
                }
            }
            Wake::Answer => self.inbox.extend(self.answers.pop_front()),
            Wake::Executed => self.execute(machine, now, out),
            Wake::Tick(at) => {
                if self.tick == Some(at) {
                    self.tick = None;
                    self.inbox.push(Event::Tick);
                }
            }
            Wake::Refetch(block) => self.fetch(machine, now, block, out),
            Wake::HandOut => self.hand_out(machine, now, out),
        }
        self.settle(machine, now, out);
    }

    /// One turn of the loop that runs engines everywhere.
    fn take_turn(&mut self, machine: &mut Machine<E::Record>, now: Mono, out: &mut Effects) {
        let events = std::mem::take(&mut self.inbox);
        self.turn = Turn::Idle;
        self.tick = None;
        let clocks = machine.clocks(now);
        let inputs = events.into_iter().map(Input::from);
        let actions =
            drive(&mut self.replica, &mut machine.log, clocks, inputs).expect("memory does not fail");
        let actions = actions.into_iter().map(|(_, action)| action).collect();
        if machine.log.is_dirty() {
            self.turn = Turn::Syncing(actions);
            let micros = machine.random.within(&machine.timing.sync_us);
            out.wake_after(now, micros, Wake::Synced);
        } else {
            self.act(machine, now, actions, out);
        }
    }

    fn act(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        mut actions: Vec<Action<E::Message>>,
        out: &mut Effects,
    ) {
        let dies = machine.doomed_after.is_some_and(|count| actions.len() > count);
        if dies {
            actions.truncate(machine.doomed_after.take().unwrap_or_default());
        }
        for action in actions {
            self.take(machine, now, action, out);
        }
        if dies {
            out.die();
        }
    }

    fn take(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        action: Action<E::Message>,
        out: &mut Effects,
    ) {
        match action {
            Action::Send { to, message } => send::<E>(machine, to, message, out),
            Action::Build { height, parent, anchor, time } => {
                let epoch = machine.chain.scope.epoch;
                let proposer = Account(machine.chain.keys[machine.index].public());
                let waiting = self.pool.oldest_first();
                let block = self.candidates.build(height, parent, anchor, time, epoch, proposer, waiting);
                out.note(format!(
                    "builds h{height} {}, {} transactions",
                    Short(&block.hash()),
                    block.transactions().len()
                ));
                self.backlog = None;
                self.answer(machine, now, Event::Built { block }, out);
            }
            Action::Check { proposal, from } => {
                let block = proposal.header.hash();
                let (pool, candidates) = (&self.pool, &self.candidates);
                let here = |hash: &Hash| pool.by_hash(hash).or_else(|| candidates.transaction(hash));
                self.bodies.begin(proposal, from.as_usize(), here);
                self.judge_if_complete(machine, now, block, out);
                self.fetch(machine, now, block, out);
            }
            Action::Fetch { header, from } => {
                out.note(format!("-> n{from}  FETCH-BLOCK {}", Short(&header.hash())));
                to_one(from.as_usize(), &Packet::<E::Message>::FetchBlock(header.hash()), out);
            }
            Action::Commit { block, certificate } => self.commit(machine, now, block, certificate, out),
            Action::Stable { certificate } => {
                out.note(format!("stable h{}", certificate.payload.height));
                if let Err(why) = self.ledger.stable(&certificate) {
                    let detail = why.to_string();
                    out.see(Sighting::Wrong { what: "the ledger refuses a checkpoint certificate", detail });
                }
            }
            Action::Serve { to, above } => self.serve(to.as_usize(), above, out),
            Action::Accuse { evidence } => {
                let detail = format!("{evidence:?}");
                out.see(Sighting::Wrong { what: "a correct validator is accused", detail });
            }
            Action::Reject { from, why } => reject(from.as_usize(), &why, out),
            Action::Abstain { why } => {
                out.see(Sighting::Wrong {
                    what: "a correct validator is told what it never signed",
                    detail: why,
                });
            }
            Action::Halt { fault } => out.see(Sighting::Wrong { what: "the engine halts", detail: fault }),
        }
    }

    fn commit(
        &mut self,
        machine: &mut Machine<E::Record>,
        now: Mono,
        block: Arc<Block>,
        certificate: Option<CommitCertificate>,
        out: &mut Effects,
    ) {
        let certified = if certificate.is_some() { "" } else { ", by a descendant's certificate" };
        out.note(format!("commits h{} {}{certified}", block.height(), Short(&block.hash())));
        out.see(Sighting::Committed(Arc::clone(&block)));
        self.candidates.insert(Arc::clone(&block));
        self.candidates.remember(&block);
        self.bodies.release(block.height());
        block.transactions().iter().for_each(|transaction| self.pool.remove(&transaction.id()));
        self.pool.expire(block.time());
        if certificate.is_some() {
            self.executor.base = block.height();
        }
        self.executor.queue.push_back(Delivered { block, certificate });
        self.start_executor(machine, now, out);
    }

    fn start_executor(&mut self, machine: &mut Machine<E::Record>, now: Mono, out: &mut Effects) {
        if self.executor.running == 0 && !self.executor.queue.is_empty() {
            self.executor.running = self.executor.queue.len();
            let micros = machine.random.within(&machine.timing.execute_us);
            out.wake_after(now, micros, Wake::Executed);
        }
    }

    /// The executor's batch is done: executed and synced in one.
    fn execute(&mut self, machine: &mut Machine<E::Record>, now: Mono, out: &mut Effects) {
        let batch: Vec<Delivered> = self.executor.queue.drain(..self.executor.running).collect();
        self.executor.running = 0;
        let outcomes = match self.ledger.apply(&batch) {
            Ok(outcomes) => outcomes,
            Err(why) => {
                let detail = why.to_string();
                out.see(Sighting::Wrong { what: "the ledger does not take a committed block", detail });
                return;
            }
        };
        for (delivered, outcome) in batch.into_iter().zip(outcomes) {
            out.note(format!("executed h{}", delivered.block.height()));
            out.see(Sighting::Executed { block: delivered.block, outcome });
            self.inbox.push(Event::Executed { outcome });
        }
        self.candidates.release(self.executor.base.min(self.executed()));
        if let Err(why) = self.ledger.flush_due(machine.clocks(now).wall) {
            out.see(Sighting::Wrong { what: "the ledger does not write behind", detail: why.to_string() });
        }
        self.start_executor(machine, now, out);
    }

    fn serve(&self, to: usize, above: Height, out: &mut Effects) {
        let reader = self.ledger.reader();
        match reader.certified_above(above, SERVE_BLOCKS, SERVE_BYTES) {
            Ok(Some(blocks)) => {
                out.note(format!(
                    "-> n{to}  CERTIFIED h{} to h{}",
                    above.next(),
                    blocks.certificate.payload.height
                ));
                to_one(to, &Packet::<E::Message>::Certified(blocks), out);
            }
            Ok(None) => out.note(format!("has no certified blocks above h{above}")),
            Err(why) => {
                out.see(Sighting::Wrong { what: "the ledger does not read", detail: why.to_string() });
            }
        }
    }

    /// After every step: the engine hears what waits, wakes when it is due, and gets its turn if it has events.
    fn settle(&mut self, machine: &mut Machine<E::Record>, now: Mono, out: &mut Effects) {
        let in_flight = self.replica.current().in_flight();
        let blocks: Vec<_> = in_flight.iter().filter_map(|hash| self.candidates.block(hash)).collect();
        let ids: BTreeSet<Hash> = blocks
            .iter()
            .flat_map(|block| block.transactions())
            .map(|transaction| transaction.id())
            .collect();
        let backlog = self.pool.backlog(|id| ids.contains(id));
        if self.backlog != Some(backlog) {
            self.backlog = Some(backlog);
            self.inbox.push(Event::Backlog(backlog));
        }
        self.horizon = self.replica.current().horizon();
        if let Turn::Idle = self.turn {
            if !self.inbox.is_empty() {
                self.turn = Turn::Scheduled;
                let micros = machine.random.within(&machine.timing.step_us);
                out.wake_after(now, micros, Wake::Turn);
            } else if let deadline @ Some(at) = self.replica.deadline()
                && self.tick != deadline
            {
                self.tick = deadline;
                out.wake(at, Wake::Tick(at));
            }
        }
    }
}

fn stored_blocks(ledger: &Ledger<MemoryStore>, tip: Height) -> Vec<Arc<Block>> {
    let reader = ledger.reader();
    (1..=tip.0)
        .map(|height| {
            let stored = reader.block(Height(height)).expect("memory reads");
            stored.expect("a ledger holds every block up to its tip").block
        })
        .collect()
}
