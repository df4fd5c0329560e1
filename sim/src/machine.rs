//! What of a node survives its process: disks, clock, key, and the chances that its crashes take.

use std::ops::RangeInclusive;
use std::sync::Arc;

use quorate_consensus::{Mono, Now, Promised, Scope, Setup, Voter};
use quorate_crypto::{PublicKey, SecretKey};
use quorate_ledger::{Epoch, GenesisState, MemoryStore, Parameters, UnixMillis};

use crate::faults::{MarkFault, Point};
use crate::liar::{Lie, Plot};
use crate::log::{DiskLog, Found};
use crate::monotonic::Monotonic;
use crate::observe::Kept;
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
    pub(crate) genesis: GenesisState,
    /// The members' keys: those of the first set in its order, then of those who may be validators later.
    pub(crate) keys: Vec<SecretKey>,
    /// Which members lie.
    pub(crate) liars: Vec<bool>,
}

impl Chain {
    /// The parameters at the start.
    pub(crate) fn parameters(&self) -> &Parameters {
        &self.genesis.parameters
    }

    /// What verifies the messages of the first epoch.
    pub(crate) fn first_scope(&self) -> Scope {
        let epoch = self.genesis.epoch();
        Scope {
            chain: self.genesis.chain,
            epoch: epoch.number,
            start: epoch.base(),
            previous: None,
            window: u64::from(epoch.parameters.window),
            validators: epoch.validators,
        }
    }

    /// Whose key this is.
    pub(crate) fn member(&self, key: &PublicKey) -> Option<usize> {
        self.keys.iter().position(|it| it.public() == *key)
    }

    /// What a perfect wall clock shows.
    pub(crate) fn wall(&self, now: Mono) -> UnixMillis {
        self.genesis.time.plus_millis(now.0 / 1_000_000)
    }
}

/// A machine that can run a node.
#[derive(Debug)]
pub(crate) struct Machine<R> {
    /// The member whose key it has.
    pub(crate) member: usize,
    pub(crate) chain: Arc<Chain>,
    pub(crate) timing: Timing,
    pub(crate) random: Random,
    clock: Clock,
    monotonic: Monotonic,
    pub(crate) log: DiskLog<R>,
    /// What became of the log's bytes, where they have rotted.
    rotten: Option<Vec<u8>>,
    pub(crate) store: MemoryStore,
    store_fails: bool,
    /// Where in its work the process will die.
    pub(crate) doom: Option<Point>,
    /// Where in its work the process will die once it has executed the last block of an epoch, in whichever life that is.
    pub(crate) doom_at_end: Option<Point>,
    /// How its member lies, if it does.
    pub(crate) lies: Vec<Lie>,
    /// With whom.
    pub(crate) plot: Plot,
}

/// A wall clock that may be wrong, and run at a wrong pace.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    ahead_ms: i64,
    drift_ppm: i64,
    /// Since when it drifts.
    since: Mono,
}

impl Clock {
    fn ahead_ms(&self, now: Mono) -> i64 {
        let millis = now.0.saturating_sub(self.since.0) / 1_000_000;
        let millis = i64::try_from(millis).expect("a run is short");
        self.ahead_ms + millis * self.drift_ppm / 1_000_000
    }
}

impl<R: borsh::BorshSerialize + borsh::BorshDeserialize + Clone + Promised> Machine<R> {
    /// A machine with empty disks.
    pub(crate) fn new(
        number: usize,
        member: usize,
        chain: Arc<Chain>,
        timing: Timing,
        clock_offset_max_ms: u64,
        lies: Vec<Lie>,
        kept: fn(&R) -> Vec<Kept>,
    ) -> Self {
        let mut random = Random::new(chain.seed, Stream::Node(number));
        let ahead_ms = random.within(&(0..=clock_offset_max_ms)) as i64;
        let monotonic = Monotonic::new(&mut Random::new(chain.seed, Stream::Monotonic(number)));
        Self {
            member,
            chain,
            timing,
            random,
            clock: Clock { ahead_ms, ..Clock::default() },
            monotonic,
            log: DiskLog::new(number as u64, kept, R::promised),
            rotten: None,
            store: MemoryStore::new(),
            store_fails: false,
            doom: None,
            doom_at_end: None,
            lies,
            plot: Plot::default(),
        }
    }

    /// Its key.
    pub(crate) fn key(&self) -> &SecretKey {
        &self.chain.keys[self.member]
    }

    /// What its monotonic clock shows at a time of the world: all that its process knows of time besides the wall clock.
    pub(crate) fn local(&self, world: Mono) -> Mono {
        self.monotonic.local(world)
    }

    /// When its monotonic clock will show this.
    pub(crate) fn world(&self, local: Mono) -> Mono {
        self.monotonic.world(local)
    }

    /// What its clocks show when the monotonic one shows this.
    pub(crate) fn clocks(&self, local: Mono) -> Now {
        let world = self.world(local);
        let right = self.chain.wall(world);
        Now { mono: local, wall: UnixMillis(right.0.saturating_add_signed(self.clock.ahead_ms(world))) }
    }

    /// Its monotonic clock runs at another rate from now on, a time of the world: its own if none is given.
    pub(crate) fn pace(&mut self, world: Mono, ppm: Option<i64>) {
        self.monotonic.pace(world, ppm);
    }

    /// Its wall clock jumps.
    pub(crate) fn jump_clock(&mut self, by_ms: i64) {
        self.clock.ahead_ms += by_ms;
    }

    /// Its wall clock runs at another pace from now on.
    pub(crate) fn drift_clock(&mut self, now: Mono, drift_ppm: i64) {
        self.clock = Clock { ahead_ms: self.clock.ahead_ms(now), drift_ppm, since: now };
    }

    /// Its wall clock is set right.
    pub(crate) fn set_clock(&mut self) {
        self.clock = Clock::default();
    }

    /// What the vote log says to a process that starts.
    pub(crate) fn read_log(&mut self) -> Found<R> {
        self.log.open(self.rotten.as_deref())
    }

    /// Whether its vote log has rotted, or the mark beside its key is not that of the log: whoever notices must not sign
    /// by it any more.
    pub(crate) fn is_refused(&self) -> bool {
        self.rotten.is_some() || self.log.has_spoilt_mark()
    }

    /// Something happens to its mark while no process runs.
    pub(crate) fn strike_mark(&mut self, fault: MarkFault) {
        self.log.strike_mark(fault, &mut self.random);
    }

    /// Lets a bit of the vote log turn; false where no damage could be told from a torn tail.
    pub(crate) fn rot(&mut self) -> bool {
        if self.rotten.is_none() {
            self.rotten = self.log.rot(&mut self.random);
        }
        self.rotten.is_some()
    }

    /// A new vote log begins with this epoch, in which the key has signed nothing.
    pub(crate) fn renew_log(&mut self, epoch: Epoch) {
        self.rotten = None;
        self.log.renew(epoch);
    }

    /// From now on the ledger's disk is full, until the process ends.
    pub(crate) fn fill_store(&mut self) {
        self.store_fails = true;
        self.store.fail_after(Some(0));
    }

    /// Whether it is.
    pub(crate) fn store_fails(&self) -> bool {
        self.store_fails
    }

    /// What an instance of an epoch is opened with here: it votes if its key is in the set and its log in order.
    pub(crate) fn setup(&mut self, scope: &Scope, parameters: &Parameters) -> Setup {
        let place = scope.validators.index_of(&self.key().public());
        let voter = place.map(|index| Voter { index, key: self.key().clone() });
        Setup {
            scope: scope.clone(),
            voter: voter.filter(|_| !self.is_refused()),
            parameters: parameters.clone(),
            nonce: self.random.below(u64::MAX),
        }
    }

    /// The process is gone. What it wrote to the store stays; of the log's last batch some bytes may. Says whether they
    /// ended within a frame.
    pub(crate) fn lose_process(&mut self) -> bool {
        self.mend();
        self.log.crash(&mut self.random)
    }

    /// The process is gone, and of the log's last batch nothing stays, or all.
    pub(crate) fn lose_process_keeping(&mut self, all: bool) {
        self.mend();
        self.log.crash_keeping(all, &mut self.random);
    }

    /// The power is gone: of the store, too, only what was synced surely stays.
    pub(crate) fn lose_power(&mut self) -> bool {
        let torn = self.lose_process();
        let survivors = self.random.index(self.store.unsynced() + 1);
        self.store.power_cut_keeping(survivors);
        torn
    }

    /// What was going to happen to the process does not concern the next one.
    fn mend(&mut self) {
        self.doom = None;
        self.store_fails = false;
        self.store.fail_after(None);
    }
}
