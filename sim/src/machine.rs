//! What of a node survives its process: disks, clock, key, and the chances that its crashes take.

use std::ops::RangeInclusive;
use std::sync::Arc;

use quorate_consensus::{Mono, Now, Scope, Setup, Voter};
use quorate_crypto::SecretKey;
use quorate_ledger::{GenesisState, MemoryStore, Parameters, TransactionRules, UnixMillis, ValidatorIndex};

use crate::log::MemoryLog;
use crate::random::{Random, Stream};

/// How long a node's own work takes, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From an event until the engine takes it; events that come meanwhile are taken together.
    pub step_us: RangeInclusive<u64>,
    /// An fsync of the log.
    pub sync_us: RangeInclusive<u64>,
    /// Building or judging a block.
    pub answer_us: RangeInclusive<u64>,
    /// Executing and syncing a batch of blocks.
    pub execute_us: RangeInclusive<u64>,
}

impl Default for Timing {
    fn default() -> Self {
        Self { step_us: 5..=50, sync_us: 50..=2_000, answer_us: 10..=1_000, execute_us: 100..=4_000 }
    }
}

/// What all nodes of a run share.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) seed: u64,
    pub(crate) scope: Scope,
    pub(crate) genesis: GenesisState,
    /// The validators' keys, in the order of the set.
    pub(crate) keys: Vec<SecretKey>,
}

impl Chain {
    pub(crate) fn parameters(&self) -> &Parameters {
        &self.genesis.parameters
    }

    pub(crate) fn rules(&self) -> TransactionRules {
        TransactionRules::of(self.genesis.chain, &self.genesis.epoch())
    }

    /// What a perfect wall clock shows.
    pub(crate) fn wall(&self, now: Mono) -> UnixMillis {
        self.genesis.time.plus_millis(now.0 / 1_000_000)
    }
}

/// A machine that can run a node.
#[derive(Debug)]
pub(crate) struct Machine<R> {
    /// The node's place among all, which is its index in the validator set.
    pub(crate) index: usize,
    pub(crate) chain: Arc<Chain>,
    pub(crate) timing: Timing,
    pub(crate) random: Random,
    /// How far its wall clock is ahead.
    pub(crate) clock_ahead_ms: u64,
    pub(crate) log: MemoryLog<R>,
    pub(crate) store: MemoryStore,
    /// Dies when it has taken so many actions of a batch and has more to take.
    pub(crate) doomed_after: Option<usize>,
}

impl<R: borsh::BorshSerialize + borsh::BorshDeserialize> Machine<R> {
    /// A machine with empty disks.
    pub(crate) fn new(index: usize, chain: Arc<Chain>, timing: Timing, clock_offset_max_ms: u64) -> Self {
        let mut random = Random::new(chain.seed, Stream::Node(index));
        let clock_ahead_ms = random.within(&(0..=clock_offset_max_ms));
        Self {
            index,
            chain,
            timing,
            random,
            clock_ahead_ms,
            log: MemoryLog::new(),
            store: MemoryStore::new(),
            doomed_after: None,
        }
    }

    /// Its place in the validator set.
    pub(crate) fn place(&self) -> ValidatorIndex {
        ValidatorIndex(u16::try_from(self.index).expect("a run has a handful of nodes"))
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.chain.keys.len()
    }

    /// What its clocks show.
    pub(crate) fn clocks(&self, now: Mono) -> Now {
        Now { mono: now, wall: self.chain.wall(now).plus_millis(self.clock_ahead_ms) }
    }

    /// What the engine of its next life is opened with.
    pub(crate) fn setup(&mut self) -> Setup {
        let voter = Voter { index: self.place(), key: self.chain.keys[self.index].clone() };
        Setup {
            scope: self.chain.scope.clone(),
            voter: Some(voter),
            parameters: self.chain.parameters().clone(),
            seed: self.random.below(u64::MAX),
        }
    }

    /// The process is gone. What it wrote to the store stays; of the log's last batch a prefix may.
    pub(crate) fn lose_process(&mut self) {
        self.doomed_after = None;
        self.log.crash(&mut self.random);
    }

    /// The power is gone: of the store, too, only what was synced surely stays.
    pub(crate) fn lose_power(&mut self) {
        self.lose_process();
        let survivors = self.random.index(self.store.unsynced() + 1);
        self.store.power_cut_keeping(survivors);
    }
}
