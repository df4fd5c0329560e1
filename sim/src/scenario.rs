//! What a run is made of. Equal scenarios give equal traces.

mod draw;
mod text;

use std::sync::Arc;

use quorate_consensus::Scope;
use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::{Epoch, GenesisState, Height, Parameters, UnixMillis, ValidatorSet};

use crate::client::{Workload, account_keys, start_balances};
use crate::faults::{Fault, NetworkFaults, Scheduled};
use crate::liar::{LiarPlan, Lie};
use crate::machine::{Chain, Timing};

/// What the simulated wall clocks show at the start.
const START: UnixMillis = UnixMillis(1_800_000_000_000);

/// Nodes, faults and work of one run.
///
/// A run has two phases: for `chaos_ms` the network is faulty, the script is played, and clients submit. Then faults
/// stop: the network is calm, clocks are right, all that are to come back do, and only liars go on lying. From there the
/// chain must commit within [`Scenario::bound_ms`], whatever happened before, every transaction must have its outcome, and
/// all running nodes must come to stand at one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
    pub(crate) parameters: Parameters,
    pub(crate) network: NetworkFaults,
    pub(crate) script: Vec<Scheduled>,
    pub(crate) liars: Vec<LiarPlan>,
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
            parameters: Parameters::default(),
            network: NetworkFaults::calm(),
            script: Vec::new(),
            liars: Vec::new(),
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

    /// Makes a validator lie. At most `f` may, together with those that the script takes away for good.
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

    /// The claim of the second phase: within what time the chain commits again, and what is submitted is committed. It
    /// follows from the parameters alone, not from what happened before.
    ///
    /// A view that gets nowhere is left after at most the longest wait; the next one may take as long to start; of the
    /// views that follow at most f have a faulty primary. Everything that was lost comes again with a STATUS.
    #[must_use]
    pub fn bound_ms(&self) -> u64 {
        let Parameters { base_timeout_ms, timeout_cap_ms, inclusion_timeout_ms, resend_ms, .. } =
            self.parameters;
        let faulty = (self.nodes as u64 - 1) / 3;
        let view = 2 * timeout_cap_ms + 2 * resend_ms;
        let noticed = 2 * base_timeout_ms + inclusion_timeout_ms;
        noticed + (faulty + 2) * view + 2 * self.workload.retry_ms
    }

    /// The most validators that can be faulty.
    pub(crate) fn faulty_max(&self) -> usize {
        (self.nodes - 1) / 3
    }

    /// Whether no more validators are faulty than the protocol is made for.
    #[must_use]
    pub fn is_fair(&self) -> bool {
        let mut faulty: Vec<usize> = self.liars.iter().map(|liar| liar.node).collect();
        faulty.extend(self.script.iter().filter_map(|scheduled| scheduled.fault.takes_away()));
        faulty.sort_unstable();
        faulty.dedup();
        faulty.len() <= self.faulty_max()
    }

    /// How many machines there are: one a validator, and the twins.
    pub(crate) fn machines(&self) -> usize {
        self.nodes + self.twins().count()
    }

    /// Validators whose key is on a second machine.
    pub(crate) fn twins(&self) -> impl Iterator<Item = usize> + '_ {
        self.liars.iter().filter(|liar| liar.lies.contains(&Lie::Twin)).map(|liar| liar.node)
    }

    /// How a validator lies.
    pub(crate) fn lies_of(&self, node: usize) -> Vec<Lie> {
        let plan = self.liars.iter().find(|liar| liar.node == node);
        plan.map(|liar| liar.lies.clone()).unwrap_or_default()
    }

    /// The chain that its nodes run, with the keys in the order of the set.
    pub(crate) fn chain(&self) -> Arc<Chain> {
        let seed = self.seed.to_le_bytes();
        let mut keys: Vec<SecretKey> = (0..self.nodes as u64)
            .map(|number| {
                let bytes = [&seed[..], b"validator", &number.to_le_bytes()].concat();
                SecretKey::from_seed(*Hash::of(&bytes).as_bytes())
            })
            .collect();
        keys.sort_by_key(|key| *key.public().as_bytes());
        let publics = keys.iter().map(SecretKey::public).collect();
        let validators = ValidatorSet::new(publics).expect("a handful of different keys");
        let chain = Hash::of(&[&seed[..], b"chain"].concat());
        let start = (Height(0), chain);
        let window = u64::from(self.parameters.window);
        let (epoch, previous) = (Epoch(0), None);
        let scope = Scope { chain, epoch, validators: validators.clone(), start, previous, window };
        let accounts = start_balances(&account_keys(self.seed, self.workload.accounts));
        let genesis =
            GenesisState { chain, time: START, validators, parameters: self.parameters.clone(), accounts };
        let liars = (0..self.nodes).map(|node| !self.lies_of(node).is_empty()).collect();
        Arc::new(Chain { seed: self.seed, scope, genesis, keys, liars })
    }
}
