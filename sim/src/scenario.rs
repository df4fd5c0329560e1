//! What a run is made of. Equal scenarios give equal traces.

mod bounds;
mod change;
mod draw;
mod text;

use std::sync::Arc;

use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::{GenesisState, Parameters, UnixMillis, ValidatorSet};

use crate::client::{Workload, account_keys, start_balances};
use crate::faults::{Fault, NetworkFaults, Scheduled};
use crate::liar::{LiarPlan, Lie};
use crate::machine::{Chain, Timing};
use bounds::LIFETIME_MAX_MS;
pub use change::{Approvers, Change, Plan};

/// What the simulated wall clocks show at the start.
const START: UnixMillis = UnixMillis(1_800_000_000_000);

/// Nodes, faults and work of one run.
///
/// A run has two phases: for `chaos_ms` the network is faulty, the script is played, and clients submit. Then faults
/// stop: the network is calm, clocks are right, all that are to come back do, and only liars go on lying. From there the
/// chain must commit within [`Scenario::recovery_ms`], whatever happened before; within [`Scenario::bound_ms`] every
/// transaction must have its outcome, and all running nodes must come to stand at one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
    pub(crate) parameters: Parameters,
    pub(crate) network: NetworkFaults,
    pub(crate) script: Vec<Scheduled>,
    pub(crate) liars: Vec<LiarPlan>,
    pub(crate) plans: Vec<Plan>,
    pub(crate) workload: Workload,
    pub(crate) timing: Timing,
    pub(crate) clock_offset_max_ms: u64,
    pub(crate) chaos_ms: u64,
    pub(crate) real_signatures: bool,
}

impl Scenario {
    /// A calm run of `nodes` validators; `name` is that of the test, so that a failure can say how to run it again.
    ///
    /// # Panics
    /// When there are no validators.
    #[must_use]
    pub fn new(name: &str, nodes: usize, seed: u64) -> Self {
        assert!(nodes > 0, "a chain has a validator");
        Self {
            name: name.to_owned(),
            nodes,
            seed,
            parameters: calm_parameters(),
            network: NetworkFaults::calm(),
            script: Vec::new(),
            liars: Vec::new(),
            plans: Vec::new(),
            workload: Workload::default(),
            timing: Timing::default(),
            clock_offset_max_ms: 20,
            chaos_ms: 5_000,
            real_signatures: false,
        }
    }

    /// Sets what the network does while faults last.
    #[must_use]
    pub fn network(self, network: NetworkFaults) -> Self {
        Self { network, ..self }
    }

    /// Adds a fault to the script.
    #[must_use]
    pub fn fault(mut self, at_ms: u64, fault: Fault) -> Self {
        self.script.push(Scheduled { at_ms, fault });
        self
    }

    /// Lets a change of the chain be approved of. Whoever it names is a member from the start, with a machine that runs, and
    /// follows while it is no validator.
    #[must_use]
    pub fn change(mut self, at_ms: u64, change: Change, approvers: Approvers) -> Self {
        self.plans.push(Plan { at_ms, change, approvers });
        self
    }

    /// Makes a validator lie. At most `f` of any set may, together with those that the script takes away for good.
    #[must_use]
    pub fn liar(mut self, node: usize, lies: &[Lie]) -> Self {
        self.liars.push(LiarPlan { node, lies: lies.to_vec() });
        self
    }

    /// Sets what clients do.
    #[must_use]
    pub fn workload(self, workload: Workload) -> Self {
        Self { workload, ..self }
    }

    /// Sets the parameters of the chain.
    #[must_use]
    pub fn parameters(self, parameters: Parameters) -> Self {
        Self { parameters, ..self }
    }

    /// Sets how long the nodes' own work takes.
    #[must_use]
    pub fn timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// Sets how far wall clocks may be apart.
    #[must_use]
    pub fn clock_offset_max_ms(self, clock_offset_max_ms: u64) -> Self {
        Self { clock_offset_max_ms, ..self }
    }

    /// Sets how long faults last.
    #[must_use]
    pub fn chaos_ms(self, chaos_ms: u64) -> Self {
        Self { chaos_ms, ..self }
    }

    /// Signs with real signatures instead of model ones, which costs ten times the time.
    #[must_use]
    pub fn real_signatures(self, real_signatures: bool) -> Self {
        Self { real_signatures, ..self }
    }

    /// The parameters that may be in force.
    pub(crate) fn all_parameters(&self) -> impl Iterator<Item = &Parameters> {
        std::iter::once(&self.parameters).chain(self.plans.iter().filter_map(Plan::parameters))
    }

    /// The sets that may be in force.
    pub(crate) fn sets(&self) -> Vec<Vec<usize>> {
        let later = self.plans.iter().filter_map(Plan::validators).map(<[usize]>::to_vec);
        std::iter::once((0..self.nodes).collect()).chain(later).collect()
    }

    /// Members that are faulty for good, or may be.
    pub(crate) fn faulty(&self) -> Vec<usize> {
        let mut faulty: Vec<usize> = self.liars.iter().map(|liar| liar.node).collect();
        faulty.extend(self.script.iter().filter_map(|scheduled| scheduled.fault.takes_away()));
        faulty.sort_unstable();
        faulty.dedup();
        faulty
    }

    /// Whether in no set more validators are faulty than the protocol is made for.
    #[must_use]
    pub fn is_fair(&self) -> bool {
        let faulty = self.faulty();
        self.sets()
            .iter()
            .all(|set| set.iter().filter(|member| faulty.contains(member)).count() <= faulty_max(set.len()))
    }

    /// How many members there are: the validators of the first set, and those that may be one later.
    pub(crate) fn members(&self) -> usize {
        self.sets().iter().flatten().map(|member| member + 1).max().unwrap_or(self.nodes)
    }

    /// How many machines there are: one a member, and the twins.
    pub(crate) fn machines(&self) -> usize {
        self.members() + self.twins().count()
    }

    /// Members whose key is on a second machine.
    pub(crate) fn twins(&self) -> impl Iterator<Item = usize> + '_ {
        self.liars.iter().filter(|liar| liar.lies.contains(&Lie::Twin)).map(|liar| liar.node)
    }

    /// How a member lies.
    pub(crate) fn lies_of(&self, node: usize) -> Vec<Lie> {
        let plan = self.liars.iter().find(|liar| liar.node == node);
        plan.map(|liar| liar.lies.clone()).unwrap_or_default()
    }

    /// The chain that its nodes run. The keys of the first set are in its order.
    pub(crate) fn chain(&self) -> Arc<Chain> {
        let seed = self.seed.to_le_bytes();
        let mut keys: Vec<SecretKey> = (0..self.members() as u64)
            .map(|number| {
                let bytes = [&seed[..], b"validator", &number.to_le_bytes()].concat();
                SecretKey::from_seed(*Hash::of(&bytes).as_bytes())
            })
            .collect();
        keys[..self.nodes].sort_by_key(|key| *key.public().as_bytes());
        let publics = keys[..self.nodes].iter().map(SecretKey::public).collect();
        let validators = ValidatorSet::new(publics).expect("a handful of different keys");
        let chain = Hash::of(&[&seed[..], b"chain"].concat());
        let accounts = start_balances(&account_keys(self.seed, self.workload.accounts));
        let genesis =
            GenesisState { chain, time: START, validators, parameters: self.parameters.clone(), accounts };
        let liars = (0..keys.len()).map(|member| !self.lies_of(member).is_empty()).collect();
        Arc::new(Chain { seed: self.seed, genesis, keys, liars })
    }
}

/// Those of a run for which nothing else is said: the default, but for transactions that do not expire while it lasts.
fn calm_parameters() -> Parameters {
    Parameters { transaction_lifetime_max_ms: LIFETIME_MAX_MS, ..Parameters::default() }
}

/// The most validators of a set that can be faulty.
pub(crate) fn faulty_max(validators: usize) -> usize {
    (validators - 1) / 3
}
