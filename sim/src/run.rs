//! One run: the loop over what happens next.

mod audit;

mod clients;
mod operators;
mod outcome;
mod reads;
mod settle;
mod strike;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_crypto::model::Modelled;
use quorate_ledger::{Height, UnixMillis};

use crate::check::{Checks, Violation};
use crate::client::Clients;
use crate::coverage::{Counter, Coverage};
use crate::effect::{Effect, Effects, Sighting, Wake};
use crate::liar::{Deceptive, Plot};
use crate::machine::{Chain, Machine};
use crate::network::Network;
use crate::node::Node;
use crate::observe::{Kept, VoteKind};
use crate::queue::Queue;
use crate::random::{Random, Stream};
use crate::scenario::Scenario;
use crate::trace::{Place, Trace};
use crate::wire::Parcel;
use operators::Operators;
pub use outcome::{Failure, Inclusion, Report};

/// How often it is seen whether everything has its outcome, once faults have stopped.
const PROBE_MS: u64 = 100;
/// More events than this in one run are a loop without end.
const HAPPENINGS_MAX: u64 = 20_000_000;
/// For so long each of the others sees the same of two twins, in nanoseconds: a few views.
const TWIN_TURN_NS: u64 = 3_000_000_000;
/// In so many of 16 turns it sees both.
const BOTH_TWINS_OF_16: u64 = 5;
/// 2^64 by the golden ratio, whose high bits mix what it is multiplied with.
const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
const IN_TIME: &str = "a committed block is not further ahead of all clocks than clocks may be apart";
/// A liar's machine runs the production engine.
const LIARS_LIVE: &str = "nothing panics on a liar's machine either, whatever it says to others";
/// For so long a crash counts as being together with a view change.
const TOGETHER_MS: u64 = 2_000;

impl Scenario {
    /// Runs engine `E` through this scenario.
    ///
    /// # Errors
    /// The first claim that did not hold, with the trace up to there; a panic in the code under test is one.
    pub fn run<E: Deceptive>(&self) -> Result<Report, Box<Failure>> {
        // Equal scenarios run alike, so what went wrong can be seen by running it again.
        self.attempt::<E>(false).or_else(|_| self.attempt::<E>(true))
    }

    /// As [`Scenario::run`], with everything that happened written down.
    ///
    /// # Errors
    /// As [`Scenario::run`].
    pub fn run_traced<E: Deceptive>(&self) -> Result<Report, Box<Failure>> {
        self.attempt::<E>(true)
    }

    /// The claim that does not hold in this scenario, if one does not; without a trace.
    #[must_use]
    pub fn violation<E: Deceptive>(&self) -> Option<Violation> {
        self.attempt::<E>(false).err().map(|failure| failure.violation)
    }

    fn attempt<E: Deceptive>(&self, traced: bool) -> Result<Report, Box<Failure>> {
        let _modelled = (!self.real_signatures).then(Modelled::begin);
        let mut simulation = Simulation::<E>::new(self, traced);
        let outcome = catch_unwind(AssertUnwindSafe(|| simulation.run()));
        let outcome = outcome.unwrap_or_else(|panic| Err(Violation::new("nothing panics", text_of(&*panic))));
        match outcome {
            Ok(()) => Ok(simulation.report()),
            Err(violation) => {
                let trace = simulation.trace.unwrap_or_default();
                Err(Box::new(Failure { scenario: self.clone(), violation, trace }))
            }
        }
    }
}

/// What a panic says.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a text")
}

/// What can happen next.
enum Happening<M> {
    /// A machine's process of that life asked to be woken when its own clock shows this.
    Wake { node: usize, life: u32, local: Mono, why: Wake },
    /// A packet arrives, over the connection of that number.
    Arrive(Arrival<M>),
    /// The fault at this place of the script.
    Fault(usize),
    /// A node is started, unless it runs.
    Start(usize),
    /// What the fault at this place of the script did is taken back.
    Undo(usize),
    /// Clients make a transaction.
    Make,
    /// Clients look after a transaction.
    Retry(u32),
    /// Operators look after the change at this place of the plans.
    Approve(usize),
    /// Faults stop.
    Calm,
    /// Everything may have its outcome by now.
    Probe,
}

struct Arrival<M> {
    /// The machine that sent it.
    from: usize,
    /// The machine that it goes to.
    to: usize,
    connection: u32,
    parcel: Rc<Parcel<M>>,
}

struct Simulation<'a, E: Deceptive> {
    scenario: &'a Scenario,
    /// [`Scenario::bound_ms`] and [`Scenario::inclusion_ms`], which every probe asks for.
    bound_ms: u64,
    inclusion_ms: u64,
    chain: Arc<Chain>,
    queue: Queue<Happening<E::Message>>,
    network: Network,
    /// The machines: one a member, then the twins.
    nodes: Vec<Node<E>>,
    /// Nodes that are not meant to come back.
    gone: Vec<bool>,
    /// How long a node stays down that dies in the middle of its work.
    restart_ms: Vec<u64>,
    clients: Clients,
    operators: Operators,
    checks: Checks,
    coverage: Coverage,
    /// Only where somebody will read it.
    trace: Option<Trace>,
    /// For what is nobody's own: the pauses of a restart of all.
    random: Random,
    committed_at_ms: Vec<u64>,
    /// The latest time that a correct node's clock showed when clocks were last set.
    latest: UnixMillis,
    /// When a process last died.
    died: Option<Mono>,
    calm: Option<Calm>,
    /// Since when some validator is awaited that has not voted in its epoch.
    silent_since: Option<Mono>,
    /// When the first block of each epoch but the first was committed.
    epochs_began: Vec<Mono>,
    /// When everything that was to be made was made, and when everything had its outcome.
    done: Option<Mono>,
    /// When every node knew it.
    quiet: Option<Mono>,
    /// The height at which every transaction had its outcome.
    goal: Option<Height>,
    happenings: u64,
    /// Room for the effects of the next step.
    spare: Vec<Effect<E::Message>>,
}

/// Faults have stopped.
#[derive(Clone, Copy)]
struct Calm {
    since: Mono,
    /// How many blocks some correct node lacked that runs.
    behind: u64,
    /// When the first block was committed since, and the last.
    committed: Option<(Mono, Mono)>,
    /// Of what clients submitted, the one that took longest to be committed since.
    slowest: Option<Inclusion>,
}

impl<'a, E: Deceptive> Simulation<'a, E> {
    fn new(scenario: &'a Scenario, traced: bool) -> Self {
        let chain = scenario.chain();
        let machines = scenario.machines();
        let plot = Plot::default();
        let members = (0..scenario.members()).chain(scenario.twins());
        let machine = |(number, member)| {
            let (chain, timing) = (Arc::clone(&chain), scenario.timing.clone());
            let lies = scenario.lies_of(member);
            let offset_max_ms = scenario.clock_offset_max_ms;
            let mut machine = Machine::new(number, member, chain, timing, offset_max_ms, lies, E::kept);
            machine.plot = plot.clone();
            machine
        };
        let mut coverage = Coverage::default();
        scenario.liars.iter().flat_map(|liar| &liar.lies).for_each(|lie| coverage.count(lie.counter()));
        coverage.add(Counter::RUNS, 1);
        coverage.add(Counter::RUNS_WITH_REAL_SIGNATURES, u64::from(scenario.real_signatures));
        coverage.add(Counter::RUNS_WITH_PLANS, u64::from(!scenario.plans.is_empty()));
        coverage.add(Counter::RUNS_WITH_A_LIAR, u64::from(!scenario.liars.is_empty()));
        coverage.add(Counter::RUNS_WITH_SEVERAL_LIARS, u64::from(scenario.liars.len() > 1));
        Self {
            scenario,
            bound_ms: scenario.bound_ms(),
            inclusion_ms: scenario.inclusion_ms(),
            queue: Queue::new(),
            network: Network::new(scenario.seed, machines, scenario.network.clone()),
            nodes: members.enumerate().map(machine).map(Node::new).collect(),
            gone: vec![false; machines],
            restart_ms: vec![0; machines],
            clients: Clients::new(scenario.seed, scenario.workload.clone()),
            operators: Operators::new(scenario.seed, scenario.plans.len()),
            checks: Checks::new(&chain, machines),
            coverage,
            trace: traced.then(Trace::default),
            random: Random::new(scenario.seed, Stream::World),
            committed_at_ms: Vec::new(),
            latest: UnixMillis(0),
            died: None,
            calm: None,
            silent_since: None,
            epochs_began: Vec::new(),
            done: None,
            quiet: None,
            goal: None,
            happenings: 0,
            spare: Vec::new(),
            chain,
        }
    }

    /// Runs to the end.
    fn run(&mut self) -> Result<(), Violation> {
        self.schedule();
        while self.happenings < HAPPENINGS_MAX {
            self.happenings += 1;
            let happening = self.queue.pop().expect("the probe is always in the queue");
            if let Happening::Probe = happening {
                if self.probe()? {
                    return self.audit();
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
        for (place, plan) in self.scenario.plans.iter().enumerate() {
            self.queue.at(Mono(0).plus_millis(plan.at_ms), Happening::Approve(place));
        }
        self.make_later();
        let calm = Mono(0).plus_millis(self.scenario.chaos_ms);
        self.queue.at(calm, Happening::Calm);
        self.queue.at(Mono(0).plus_millis(PROBE_MS), Happening::Probe);
    }

    fn happen(&mut self, happening: Happening<E::Message>) -> Result<(), Violation> {
        let now = self.queue.now();
        match happening {
            Happening::Wake { node, life, local, why } => {
                if self.nodes[node].life() == life {
                    let at = self.nodes[node].machine.world(local);
                    if let Some(until) = self.nodes[node].paused(now).or(Some(at).filter(|at| *at > now)) {
                        // Or its clock runs slower by now than when it asked.
                        self.queue.at(until, Happening::Wake { node, life, local, why });
                    } else {
                        self.step(node, |node, out| node.wake(now, why, out))?;
                    }
                }
            }
            Happening::Arrive(arrival) => self.arrive(arrival)?,
            Happening::Fault(place) => self.strike(place),
            Happening::Start(node) => self.start(node)?,
            Happening::Undo(place) => self.undo(place),
            Happening::Make => self.make()?,
            Happening::Retry(number) => self.retry(number)?,
            Happening::Approve(place) => self.approve(place)?,
            Happening::Calm => self.calm()?,
            Happening::Probe => unreachable!("the loop takes probes itself"),
        }
        Ok(())
    }

    fn arrive(&mut self, arrival: Arrival<E::Message>) -> Result<(), Violation> {
        let now = self.queue.now();
        let Arrival { from, to, connection, .. } = arrival;
        if let Some(until) = self.nodes[to].paused(now) {
            self.queue.at(until, Happening::Arrive(arrival));
        } else if connection == self.network.connection(from, to) {
            let member = self.nodes[from].machine.member;
            self.step(to, |node, out| node.receive(now, member, &arrival.parcel, out))?;
        }
        Ok(())
    }

    /// Lets a node do something, and carries out what it does to the world.
    fn step<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Node<E>, &mut Effects<E::Message>) -> T,
    ) -> Result<T, Violation> {
        let mut effects = Effects::new(self.trace.is_some(), std::mem::take(&mut self.spare));
        let lies = !self.checks.is_correct(index);
        let node = &mut self.nodes[index];
        // Under a liar's mask works the production engine, on what any engine may be sent: it panics no more than others do.
        let result = if lies {
            let result = catch_unwind(AssertUnwindSafe(|| act(node, &mut effects)));
            result.map_err(|panic| Violation::new(LIARS_LIVE, text_of(&*panic)))?
        } else {
            act(node, &mut effects)
        };
        let mut effects = effects.into_list();
        for effect in effects.drain(..) {
            self.carry_out(index, effect)?;
        }
        self.spare = effects;
        Ok(result)
    }

    fn carry_out(&mut self, index: usize, effect: Effect<E::Message>) -> Result<(), Violation> {
        match effect {
            Effect::Send { to, parcel, after_us } => self.send(index, to, &parcel, after_us),
            Effect::Wake { at: local, why } => {
                let node = &self.nodes[index];
                let (life, at) = (node.life(), node.machine.world(local));
                self.queue.at(at, Happening::Wake { node: index, life, local, why });
            }
            Effect::Note(text) => self.note(Place::Node(index), format_args!("{text}")),
            Effect::See(sighting) => self.see(index, &sighting)?,
            Effect::Count(what) => self.coverage.count(what),
            Effect::Die(how) => {
                self.note(Place::Node(index), format_args!("dies in the middle of its work: {how:?}"));
                let torn = self.nodes[index].die(how);
                self.has_died(torn);
                let restart = self.queue.now().plus_millis(self.restart_ms[index]);
                self.queue.at(restart, Happening::Start(index));
            }
        }
        Ok(())
    }

    /// Puts a packet for a member on the network: for the one machine with its key, or for its twins.
    fn send(&mut self, from: usize, to: usize, parcel: &Rc<Parcel<E::Message>>, after_us: u64) {
        for machine in 0..self.nodes.len() {
            if self.nodes[machine].machine.member != to || !self.is_connected(from, machine) {
                continue;
            }
            for arrival in self.network.fate(from, machine).into_iter().flatten() {
                let parcel = if arrival.corrupted {
                    self.coverage.count(Counter::PACKETS_CORRUPTED);
                    parcel.corrupt(&mut self.random)
                } else {
                    Rc::clone(parcel)
                };
                let connection = self.network.connection(from, machine);
                let arrive = Happening::Arrive(Arrival { from, to: machine, connection, parcel });
                self.queue.after_micros(arrival.micros + after_us, arrive);
            }
        }
    }

    /// Of twins, each of the others sees the one, the other or both, for some seconds at a time.
    fn is_connected(&self, from: usize, to: usize) -> bool {
        let members = self.chain.keys.len();
        if self.nodes.len() == members {
            return true;
        }
        let member = self.nodes[to].machine.member;
        let twinned = self.scenario.twins().any(|twin| twin == member);
        let second = to >= members;
        // Four bits that each pair, turn and seed mixes anew.
        let turn = self.queue.now().0 / TWIN_TURN_NS;
        let mix = (turn ^ (from as u64) << 8 ^ self.scenario.seed).wrapping_mul(GOLDEN_RATIO) >> 60;
        !twinned || mix < BOTH_TWINS_OF_16 || mix.is_multiple_of(2) == second
    }

    fn see(&mut self, index: usize, sighting: &Sighting) -> Result<(), Violation> {
        let before = self.checks.chain.height();
        self.checks.see(index, sighting)?;
        let correct = self.checks.is_correct(index);
        if self.checks.chain.height() > before {
            self.is_in_time()?;
            self.count_epochs();
            let now = self.queue.now();
            self.committed_at_ms.push(now.0 / 1_000_000);
            if let Some(calm) = &mut self.calm {
                calm.committed = Some((calm.committed.map_or(now, |(first, _)| first), now));
            }
        }
        if !correct {
            return Ok(());
        }
        match sighting {
            Sighting::Executed { block, .. } => {
                let now = self.queue.now();
                for transaction in block.transactions() {
                    let made = self.clients.acknowledge(transaction.id(), block.height());
                    if let (Some(made), Some(calm)) = (made, &mut self.calm) {
                        let after_ms = now.0.saturating_sub(made.max(calm.since).0) / 1_000_000;
                        let inclusion = Inclusion { after_ms, bound_ms: self.bound_ms };
                        calm.slowest = calm.slowest.max(Some(inclusion));
                    }
                }
            }
            Sighting::Kept(kept) => {
                let starts =
                    |it: &&Kept| matches!(it, Kept::Vote(vote) if vote.slot.kind == VoteKind::NewView);
                let entered = kept.iter().filter(starts).count();
                (0..entered).for_each(|_| self.count_view_change());
            }
            Sighting::Accuses(accusation) => self.coverage.count(accusation.counter),
            Sighting::Blames { .. } => self.coverage.count(Counter::LIARS_MESSAGE_REFUSED),
            Sighting::Abstains(_) => self.coverage.count(Counter::FORGETFUL_REPLICA_ABSTAINS),
            Sighting::Opened { .. }
            | Sighting::Began(_)
            | Sighting::Refused
            | Sighting::Renewed(_)
            | Sighting::Sent(_)
            | Sighting::Committed(_)
            | Sighting::Heard(_)
            | Sighting::Wrong { .. } => {}
        }
        Ok(())
    }

    /// The latest time that a correct node's clock has ever shown: between the times at which clocks are set they go on.
    fn latest(&self) -> UnixMillis {
        let now = self.queue.now();
        let correct = self.nodes.iter().enumerate().filter(|(index, _)| self.checks.is_correct(*index));
        let shown = correct.map(|(_, node)| node.machine.clocks(node.machine.local(now)).wall);
        shown.fold(self.latest, Ord::max)
    }

    /// Whoever accepted the newest block had a clock that its time was not too far ahead of.
    fn is_in_time(&self) -> Result<(), Violation> {
        let chain = &self.checks.chain;
        let drift_max_ms = chain.epochs.newest().parameters.max_clock_drift_ms;
        let (time, latest) = (chain.time(), self.latest());
        if time <= latest.plus_millis(drift_max_ms) {
            return Ok(());
        }
        let detail = format!("block {} is of {time}, no correct clock was past {latest}", chain.height());
        Err(Violation::new(IN_TIME, detail))
    }

    /// A correct node has entered a view: what goes on meanwhile?
    fn count_view_change(&mut self) {
        self.coverage.count(Counter::VIEWS_ENTERED);
        self.count_meanwhile([
            Counter::VIEWS_ENTERED_WITH_TWINS,
            Counter::VIEWS_ENTERED_WITH_A_LIAR,
            Counter::VIEWS_ENTERED_UNDER_LOSS,
            Counter::VIEWS_ENTERED_IN_A_PARTITION,
            Counter::VIEWS_ENTERED_AROUND_A_CRASH,
        ]);
    }

    /// Counts that something happened while there were twins, liars, loss, a partition or a crash, each if it was so.
    fn count_meanwhile(&mut self, [twins, liar, loss, parted, crash]: [Counter; 5]) {
        let now = self.queue.now();
        let meanwhile = [
            (twins, self.scenario.twins().next().is_some()),
            (liar, !self.scenario.liars.is_empty()),
            (loss, self.network.faults().loss_permille > 0),
            (parted, self.network.is_parted()),
            (crash, self.died.is_some_and(|died| died.plus_millis(TOGETHER_MS) >= now)),
        ];
        meanwhile.into_iter().filter(|(_, so)| *so).for_each(|(what, _)| self.coverage.count(what));
    }

    fn has_died(&mut self, torn: bool) {
        self.died = Some(self.queue.now());
        if torn {
            self.coverage.count(Counter::TORN_RECORD);
        }
    }

    fn start(&mut self, index: usize) -> Result<(), Violation> {
        let now = self.queue.now();
        if !self.nodes[index].is_up() && !self.gone[index] {
            self.note(Place::Node(index), format_args!("starts"));
            self.step(index, |node, out| node.start(now, out))?;
        }
        Ok(())
    }

    fn note(&mut self, place: Place, what: std::fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.line(self.queue.now(), place, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_consensus::pbft::Pbft;

    use super::*;
    use crate::liar::Lie;

    #[test]
    fn a_panic_on_a_liars_machine_is_caught() {
        let scenario = Scenario::new("", 4, 1).liar(1, &[Lie::Censor]);
        let mut simulation = Simulation::<Pbft>::new(&scenario, false);
        let stepped = simulation.step(1, |_, _| -> () { panic!("what liars say to each other") });
        let wrong = stepped.expect_err("it is no affair of its own");
        assert_eq!((wrong.claim, wrong.detail.as_str()), (LIARS_LIVE, "what liars say to each other"));
    }

    #[test]
    fn a_block_further_ahead_than_clocks_may_be_apart_is_caught() {
        let scenario = Scenario::new("", 4, 1).clock_offset_max_ms(0);
        let drift_max_ms = scenario.parameters.max_clock_drift_ms as i64;
        // The genesis is of the time at which the clocks stand.
        let behind = |by_ms: i64| {
            let mut simulation = Simulation::<Pbft>::new(&scenario, false);
            simulation.nodes.iter_mut().for_each(|node| node.machine.jump_clock(-by_ms));
            simulation.is_in_time()
        };
        assert!(behind(drift_max_ms).is_ok());
        assert!(behind(drift_max_ms + 1).is_err());
    }
}
