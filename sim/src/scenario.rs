//! What a run is made of. Equal scenarios give equal traces.

use std::fmt;
use std::sync::Arc;

use quorate_consensus::Scope;
use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::{Epoch, GenesisState, Height, Parameters, UnixMillis, ValidatorSet};

use crate::client::{Workload, account_keys, start_balances};
use crate::faults::{Fault, NetworkFaults, Scheduled, draw_losses, draw_script};
use crate::machine::{Chain, Timing};
use crate::random::{Random, Stream};

/// What the simulated wall clocks show at the start.
const START: UnixMillis = UnixMillis(1_800_000_000_000);

/// Nodes, faults and work of one run.
///
/// A run has two phases: for `chaos_ms` the network is faulty, the script is played, and clients submit. Then faults
/// stop: the network is calm, all that are to come back do, and within `settle_ms` every transaction must have its
/// outcome and all running nodes must stand at one height.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
    pub(crate) parameters: Parameters,
    pub(crate) network: NetworkFaults,
    pub(crate) script: Vec<Scheduled>,
    pub(crate) workload: Workload,
    pub(crate) timing: Timing,
    pub(crate) clock_offset_max_ms: u64,
    pub(crate) chaos_ms: u64,
    pub(crate) settle_ms: u64,
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
            workload: Workload::default(),
            timing: Timing::default(),
            clock_offset_max_ms: 20,
            chaos_ms: 5_000,
            settle_ms: 20_000,
        }
    }

    /// Any run: everything that is not given follows from the seed.
    #[must_use]
    pub fn random(name: &str, seed: u64) -> Self {
        let mut random = Random::new(seed, Stream::Scenario);
        let nodes = [1, 4, 4, 4, 5, 6, 7, 10][random.index(8)];
        let chaos_ms = random.within(&(1_000..=6_000));
        let slowest_ms = random.within(&(5..=200));
        let mut scenario = Self::new(name, nodes, seed)
            .chaos_ms(chaos_ms)
            .network(NetworkFaults::draw(&mut random))
            .clock_offset_max_ms([0, 20, 1_000][random.index(3)])
            .workload(Workload {
                transactions: u32::try_from(random.within(&(20..=150))).expect("a small number"),
                every_ms: 0..=slowest_ms,
                ..Workload::default()
            });
        scenario.parameters.window = [1, 2, 8, 8][random.index(4)];
        scenario.parameters.log_window = [16, 32, 128][random.index(3)];
        scenario.parameters.heartbeat_ms = [0, 500, 60_000][random.index(3)];
        scenario.parameters.base_timeout_ms = [60, 150, 500][random.index(3)];
        scenario.parameters.rotation_blocks = [0, 3, 20, 1_000][random.index(4)];
        scenario.parameters.rotation_time_ms = [0, 1_000, 30_000][random.index(3)];
        scenario.script = draw_script(&mut random, nodes, chaos_ms);
        if random.below(3) == 0 {
            scenario.script.extend(draw_losses(&mut random, nodes, chaos_ms));
            scenario.script.sort_by_key(|scheduled| scheduled.at_ms);
        }
        scenario
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

    /// Sets within what time after the last fault everything must have its outcome.
    #[must_use]
    pub fn settle_ms(self, settle_ms: u64) -> Self {
        Self { settle_ms, ..self }
    }

    /// The command that runs this again.
    #[must_use]
    pub fn replay(&self) -> String {
        let Self { name, seed, .. } = self;
        format!("QUORATE_SEED={seed} cargo test --release -p quorate-tests --test simulator {name}")
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
        Arc::new(Chain { seed: self.seed, scope, genesis, keys })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: seed {}, {} nodes, window {}, log window {}, heartbeat {} ms, clocks within {} ms, faults for {} ms",
            self.name,
            self.seed,
            self.nodes,
            self.parameters.window,
            self.parameters.log_window,
            self.parameters.heartbeat_ms,
            self.clock_offset_max_ms,
            self.chaos_ms,
        )?;
        writeln!(f, "  {:?}", self.network)?;
        writeln!(f, "  {:?}", self.workload)?;
        self.script
            .iter()
            .try_for_each(|scheduled| writeln!(f, "  at {} ms: {}", scheduled.at_ms, scheduled.fault))
    }
}
