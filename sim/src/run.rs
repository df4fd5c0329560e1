//! One run: the loop over what happens next.

mod audit;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_ledger::Height;

use crate::check::{Checks, Violation};
use crate::client::Clients;
use crate::effect::{Effect, Effects, Sighting, Wake};
use crate::faults::{Fault, NetworkFaults};
use crate::machine::{Chain, Machine};
use crate::network::Network;
use crate::node::Node;
use crate::observe::Observed;
use crate::process::Submitted;
use crate::queue::Queue;
use crate::random::{Random, Stream};
use crate::scenario::Scenario;
use crate::trace::{Place, Trace};

/// How often it is seen whether everything has its outcome, once faults have stopped.
const PROBE_MS: u64 = 50;
/// More events than this in one run are a loop without end.
const HAPPENINGS_MAX: u64 = 20_000_000;
/// Lines of the trace that a failure shows; the whole is in [`Failure::trace`].
const TAIL_LINES: usize = 60;

/// What a run that held all claims has to show.
#[derive(Clone, Debug)]
pub struct Report {
    /// The height of the chain at the end.
    pub height: Height,
    /// Transactions made by clients.
    pub made: u32,
    /// Transactions committed.
    pub committed: usize,
    /// Votes sent, each counted once.
    pub votes: u64,
    /// When each height was first committed by any node, in virtual milliseconds; height 1 first.
    pub committed_at_ms: Vec<u64>,
    /// Virtual milliseconds from the last fault until everything had its outcome.
    pub settled_after_ms: u64,
    /// Everything that happened.
    pub trace: Trace,
}

/// A run in which a claim did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was run.
    pub scenario: Scenario,
    /// The claim.
    pub violation: Violation,
    /// Everything that happened until then.
    pub trace: Trace,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        writeln!(f, "{}", self.scenario)?;
        writeln!(f, "the last of what happened:\n{}", self.trace.tail(TAIL_LINES))?;
        writeln!(f, "run it again: {}", self.scenario.replay())
    }
}

impl std::error::Error for Failure {}

impl Scenario {
    /// Runs engine `E` through this scenario.
    ///
    /// # Errors
    /// The first claim that did not hold, with the trace up to there; a panic in the code under test is one.
    pub fn run<E: Observed>(&self) -> Result<Report, Box<Failure>> {
        let mut simulation = Simulation::<E>::new(self);
        let outcome = catch_unwind(AssertUnwindSafe(|| simulation.run()));
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
            Err(Violation::new("nothing panics", text))
        });
        match outcome {
            Ok(settled_after_ms) => Ok(simulation.report(settled_after_ms)),
            Err(violation) => {
                Err(Box::new(Failure { scenario: self.clone(), violation, trace: simulation.trace }))
            }
        }
    }
}

/// What can happen next.
enum Happening {
    /// A node's process of that life asked to be woken.
    Wake { node: usize, life: u32, why: Wake },
    /// A packet arrives.
    Arrive { from: usize, to: usize, bytes: Arc<[u8]> },
    /// The fault at this place of the script.
    Fault(usize),
    /// A node is started, unless it runs.
    Start(usize),
    /// An isolated node can be reached again.
    Rejoin(usize),
    /// Clients make a transaction.
    Make,
    /// Clients look after a transaction.
    Retry(u32),
    /// Faults stop.
    Calm,
    /// Everything may have its outcome by now.
    Probe,
}

struct Simulation<'a, E: Observed> {
    scenario: &'a Scenario,
    chain: Arc<Chain>,
    queue: Queue<Happening>,
    network: Network,
    nodes: Vec<Node<E>>,
    /// Nodes that are not meant to come back.
    gone: Vec<bool>,
    /// How long a node stays down that dies in the middle of its actions.
    restart_ms: Vec<u64>,
    clients: Clients,
    checks: Checks,
    trace: Trace,
    /// For what is nobody's own: the pauses of a restart of all.
    random: Random,
    committed_at_ms: Vec<u64>,
    /// The height at which every transaction had its outcome.
    goal: Option<Height>,
}

impl<'a, E: Observed> Simulation<'a, E> {
    fn new(scenario: &'a Scenario) -> Self {
        let chain = scenario.chain();
        let machine = |index| {
            Machine::new(index, Arc::clone(&chain), scenario.timing.clone(), scenario.clock_offset_max_ms)
        };
        Self {
            scenario,
            queue: Queue::new(),
            network: Network::new(scenario.seed, scenario.network.clone()),
            nodes: (0..scenario.nodes).map(|index| Node::new(machine(index))).collect(),
            gone: vec![false; scenario.nodes],
            restart_ms: vec![0; scenario.nodes],
            clients: Clients::new(scenario.seed, scenario.workload.clone()),
            checks: Checks::new(&chain),
            trace: Trace::default(),
            random: Random::new(scenario.seed, Stream::World),
            committed_at_ms: Vec::new(),
            goal: None,
            chain,
        }
    }

    /// Runs to the end; returns how long it took from the last fault until everything had its outcome.
    fn run(&mut self) -> Result<u64, Violation> {
        self.schedule();
        for _ in 0..HAPPENINGS_MAX {
            let happening = self.queue.pop().expect("the probe is always in the queue");
            if let Happening::Probe = happening {
                if let Some(settled_after_ms) = self.probe()? {
                    self.audit()?;
                    return Ok(settled_after_ms);
                }
            } else {
                self.happen(happening)?;
            }
        }
        Err(Violation::new("a run comes to an end", format!("{HAPPENINGS_MAX} events are not enough")))
    }

    fn schedule(&mut self) {
        for node in 0..self.nodes.len() {
            self.queue.at(Mono(0), Happening::Start(node));
        }
        for (place, scheduled) in self.scenario.script.iter().enumerate() {
            self.queue.at(Mono(0).plus_millis(scheduled.at_ms), Happening::Fault(place));
        }
        self.make_later();
        let calm = Mono(0).plus_millis(self.scenario.chaos_ms);
        self.queue.at(calm, Happening::Calm);
        self.queue.at(calm.plus_millis(PROBE_MS), Happening::Probe);
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        let now = self.queue.now();
        match happening {
            Happening::Wake { node, life, why } => {
                if self.nodes[node].life() == life {
                    self.step(node, |node, out| node.wake(now, why, out))?;
                }
            }
            Happening::Arrive { from, to, bytes } => {
                self.step(to, |node, out| node.receive(now, from, &bytes, out))?;
            }
            Happening::Fault(place) => {
                let fault = self.scenario.script[place].fault.clone();
                self.note(Place::World, format_args!("{fault}"));
                self.strike(&fault);
            }
            Happening::Start(node) => self.start(node)?,
            Happening::Rejoin(node) => {
                self.note(Place::World, format_args!("n{node} rejoins"));
                self.network.rejoin(node);
            }
            Happening::Make => self.make()?,
            Happening::Retry(number) => self.retry(number)?,
            Happening::Calm => self.calm()?,
            Happening::Probe => unreachable!("the loop takes probes itself"),
        }
        Ok(())
    }

    /// Lets a node do something, and carries out what it does to the world.
    fn step<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Node<E>, &mut Effects) -> T,
    ) -> Result<T, Violation> {
        let mut effects = Effects::default();
        let result = act(&mut self.nodes[index], &mut effects);
        for effect in effects {
            self.carry_out(index, effect)?;
        }
        Ok(result)
    }

    fn carry_out(&mut self, index: usize, effect: Effect) -> Result<(), Violation> {
        match effect {
            Effect::Send { to, bytes } => {
                for micros in self.network.fate(index, to) {
                    let bytes = Arc::clone(&bytes);
                    self.queue.after_micros(micros, Happening::Arrive { from: index, to, bytes });
                }
            }
            Effect::Wake { at, why } => {
                let life = self.nodes[index].life();
                self.queue.at(at, Happening::Wake { node: index, life, why });
            }
            Effect::Note(text) => self.note(Place::Node(index), format_args!("{text}")),
            Effect::See(sighting) => self.see(index, &sighting)?,
            Effect::Die => {
                self.note(Place::Node(index), format_args!("dies in the middle of its actions"));
                self.nodes[index].crash();
                let restart = self.queue.now().plus_millis(self.restart_ms[index]);
                self.queue.at(restart, Happening::Start(index));
            }
        }
        Ok(())
    }

    fn see(&mut self, index: usize, sighting: &Sighting) -> Result<(), Violation> {
        let before = self.checks.chain.height();
        self.checks.see(index, sighting)?;
        if self.checks.chain.height() > before {
            self.committed_at_ms.push(self.queue.now().0 / 1_000_000);
        }
        if let Sighting::Executed { block, .. } = sighting {
            for transaction in block.transactions() {
                self.clients.acknowledge(transaction.id(), block.height());
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<(), Violation> {
        let now = self.queue.now();
        if !self.nodes[index].is_up() {
            self.note(Place::Node(index), format_args!("starts"));
            self.step(index, |node, out| node.start(now, out))?;
        }
        Ok(())
    }

    fn strike(&mut self, fault: &Fault) {
        let start_in = |queue: &mut Queue<Happening>, node: usize, ms: u64| {
            queue.at(queue.now().plus_millis(ms), Happening::Start(node));
        };
        match *fault {
            Fault::Crash { node, restart_after_ms } => {
                self.nodes[node].crash();
                match restart_after_ms {
                    Some(ms) => start_in(&mut self.queue, node, ms),
                    None => self.gone[node] = true,
                }
            }
            Fault::CrashMidway { node, after_actions, restart_after_ms } => {
                self.nodes[node].doom(after_actions);
                self.restart_ms[node] = restart_after_ms;
            }
            Fault::PowerCut { node, restart_after_ms } => {
                self.nodes[node].power_cut();
                start_in(&mut self.queue, node, restart_after_ms);
            }
            Fault::PowerCutAll { restart_after_ms } => {
                for node in 0..self.nodes.len() {
                    self.nodes[node].power_cut();
                    let pause_ms = self.random.within(&(0..=restart_after_ms));
                    start_in(&mut self.queue, node, restart_after_ms + pause_ms);
                }
            }
            Fault::Isolate { node, for_ms } => {
                self.network.isolate(node);
                self.queue.at(self.queue.now().plus_millis(for_ms), Happening::Rejoin(node));
            }
            Fault::Network(ref faults) => self.network.become_like(faults.clone()),
        }
    }

    /// Faults stop: the network is calm, and everybody who is meant to comes back.
    fn calm(&mut self) -> Result<(), Violation> {
        self.note(Place::World, format_args!("calm"));
        self.network.become_like(NetworkFaults::calm());
        self.network.rejoin_all();
        for index in 0..self.nodes.len() {
            self.nodes[index].spare();
            if !self.gone[index] {
                self.start(index)?;
            }
        }
        Ok(())
    }

    fn make_later(&mut self) {
        if let Some(ms) = self.clients.next_in_ms() {
            self.queue.at(self.queue.now().plus_millis(ms), Happening::Make);
        }
    }

    fn make(&mut self) -> Result<(), Violation> {
        let (number, nodes) = self.clients.make(&self.chain, self.queue.now());
        for node in nodes {
            self.submit(number, node)?;
        }
        let retry = self.queue.now().plus_millis(self.clients.retry_ms());
        self.queue.at(retry, Happening::Retry(number));
        self.make_later();
        Ok(())
    }

    fn retry(&mut self, number: u32) -> Result<(), Violation> {
        let Some(transaction) = self.clients.open(number) else { return Ok(()) };
        let now = self.queue.now();
        if transaction.expires_at() > self.chain.wall(now) {
            let node = self.clients.any_node(&self.chain);
            self.submit(number, node)?;
            self.queue.at(now.plus_millis(self.clients.retry_ms()), Happening::Retry(number));
        }
        Ok(())
    }

    fn submit(&mut self, number: u32, index: usize) -> Result<(), Violation> {
        let Some(transaction) = self.clients.open(number) else { return Ok(()) };
        let now = self.queue.now();
        let submitted = self.step(index, |node, out| node.submit(now, &transaction, out))?;
        self.note(Place::World, format_args!("t{number} to n{index}: {submitted:?}"));
        if let Some(Submitted::Committed(height)) = submitted {
            self.clients.acknowledge(transaction.id(), height);
        }
        Ok(())
    }

    /// Once faults have stopped: how long ago that was, if everything has its outcome; an error if it took too long.
    fn probe(&mut self) -> Result<Option<u64>, Violation> {
        let since_ms = (self.queue.now().0 / 1_000_000).saturating_sub(self.scenario.chaos_ms);
        let Some(waits) = self.unsettled() else { return Ok(Some(since_ms)) };
        if since_ms > self.scenario.settle_ms && self.clients.is_done() {
            return Err(Violation::new(
                "once faults have stopped, what waits is committed in bounded time",
                waits,
            ));
        }
        self.queue.at(self.queue.now().plus_millis(PROBE_MS), Happening::Probe);
        Ok(None)
    }

    /// What still has no outcome. Once every transaction has one, the height of the chain is the goal that each node must
    /// reach; an idle chain with a heartbeat goes on meanwhile.
    fn unsettled(&mut self) -> Option<String> {
        if !self.clients.is_done() {
            return Some(format!("clients have made {} transactions", self.clients.made()));
        }
        let height = self.checks.chain.height();
        // What has expired by every clock is in no block any more, and no block need come to say so.
        let wall = self.chain.wall(self.queue.now());
        let mut open = self.clients.all_open().filter(|transaction| transaction.expires_at() > wall);
        if let Some(one) = open.next() {
            let others = open.count();
            return Some(format!("transaction {} and {others} others are open at height {height}", one.id()));
        }
        let goal = *self.goal.get_or_insert(height);
        let behind =
            self.nodes.iter().position(|node| node.certified().is_some_and(|height| height < goal))?;
        Some(format!("n{behind} has executed {:?} of {goal} blocks", self.nodes[behind].certified()))
    }

    fn note(&mut self, place: Place, what: fmt::Arguments<'_>) {
        self.trace.line(self.queue.now(), place, what);
    }

    fn report(self, settled_after_ms: u64) -> Report {
        Report {
            height: self.checks.chain.height(),
            made: self.clients.made(),
            committed: self.checks.chain.transactions(),
            votes: self.checks.votes.count(),
            committed_at_ms: self.committed_at_ms,
            settled_after_ms,
            trace: self.trace,
        }
    }
}
