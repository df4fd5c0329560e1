//! Putting a node together, and taking it apart in good order.

use std::{
    sync::{
        Arc, Mutex,
        atomic::AtomicBool,
        mpsc::{SyncSender, sync_channel},
    },
    thread::available_parallelism,
    time::Duration,
};

use prometheus_client::registry::Registry;
use quorate_consensus::{Engine, OpenError, Scope, Setup, pbft::Pbft, vote_log::VoteLogError};
use quorate_crypto::{PublicKey, SecretKey};
use quorate_genesis::Genesis;
use quorate_ledger::{
    Account, Candidates, EpochStart, Ledger, LedgerError, Parameters, Parent, Reader, RocksStore, StoreError,
    TransactionRules, UnixMillis,
};
use quorate_network::{Inbound, Limits, Network, NetworkError, limits::MESSAGE_BYTES_CEILING};
use tokio::sync::{mpsc, watch};

use super::{
    clock::{self, Clock},
    conduct::Conduct,
    consensus::{Consensus, Outlets, SharedHorizon},
    evidence::{self, Keeper, Recorder},
    executor::{self, Executor},
    handle::{ConsensusView, NodeHandle, PoolHandle, PoolShared, Role, TipView},
    inbox::Inbox,
    intake::Intake,
    lanes::{Lanes, Serves},
    pool::{self, Author, Pool, PoolCommand, PoolParts},
    sync::{self, Sync, SyncParts},
    threads::{Failure, Threads},
    voting::{Part, VotePaths},
};
use crate::{
    config::{Config, PoolConfig},
    home::Home,
    mempool::{self, Mempool},
    metrics::Metrics,
    wire::{ANSWER_BYTES, BUNDLE_BYTES},
};

/// The engine of this chain. The genesis document names it; there is one so far.
type ChainEngine = Pbft;
type ChainMessage = <ChainEngine as Engine>::Message;

/// Verifying threads: at least two, so that one can serve urgent things alone; at most so many.
const VERIFIERS_MAX: usize = 8;
// A set that the ledger allows must be one that the network can bind.
const _: () = assert!(quorate_ledger::VALIDATORS_MAX == quorate_network::limits::VALIDATORS_MAX);
/// What a message may be beyond the transactions in it: headers, lengths, certificates.
const MESSAGE_BYTES_SLACK: usize = 256 << 10;

/// The keys that a node runs with.
pub(crate) struct Keys {
    /// Its identity towards peers.
    pub(crate) node: SecretKey,
    /// What it votes with; none on an observer.
    pub(crate) validator: Option<SecretKey>,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The stored chain.
    #[error("data/ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The store under it.
    #[error("data/ledger: {0}")]
    Store(#[from] StoreError),
    /// The vote log.
    #[error("data/votes: {0}")]
    VoteLog(#[from] VoteLogError),
    /// What is in the vote log.
    #[error("data/votes: {0}")]
    Engine(#[from] OpenError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Parameters of the chain that no network can serve.
    #[error(
        "the chain's parameters allow {window} blocks of {block_bytes_max} bytes in flight; whoever falls behind by as much \
         could not be sent them in one message ({bytes} bytes, at most {MESSAGE_BYTES_CEILING}); choose a smaller `window` \
         or `block_bytes_max`"
    )]
    Window {
        /// `window`.
        window: u32,
        /// `block_bytes_max`.
        block_bytes_max: u32,
        /// What they could be together.
        bytes: usize,
    },
    /// The machine has no thread or no randomness left.
    #[error("the machine refuses: {0}")]
    Machine(#[from] std::io::Error),
}

/// A running node.
pub(crate) struct Node {
    handle: NodeHandle,
    inbox: Arc<Inbox<ChainMessage>>,
    intake: Arc<Intake<ChainEngine>>,
    pool: SyncSender<PoolCommand>,
    threads: Threads,
    failures: mpsc::Receiver<Failure>,
}

/// What opening the ledger gave.
struct Opened {
    ledger: Ledger<RocksStore>,
    reader: Reader,
    epoch: Arc<EpochStart>,
    scope: Scope,
    rules: TransactionRules,
}

/// The parts that threads and tasks share.
struct Shared {
    clock: Clock,
    network: Network,
    metrics: Metrics,
    inbox: Arc<Inbox<ChainMessage>>,
    pool: SyncSender<PoolCommand>,
    tip: watch::Receiver<TipView>,
    view: watch::Sender<Arc<ConsensusView>>,
    horizon: Arc<SharedHorizon>,
    syncing: Arc<AtomicBool>,
}

impl Node {
    /// Opens the data in `home`, joins the network and starts all threads.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub(crate) async fn start(
        home: &Home,
        config: &Config,
        genesis: Genesis,
        keys: Keys,
    ) -> Result<Self, StartError> {
        let started = clock::wall();
        let role = if keys.validator.is_some() { Role::Validator } else { Role::Observer };
        let opened = open_ledger(home, &genesis)?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let part: Part<<ChainEngine as Engine>::Record> = Part::of(
            keys.validator.as_ref(),
            &opened.scope.validators,
            opened.scope.epoch,
            &VotePaths { log: &home.votes_file(), mark: &home.validator_mark_file() },
            &metrics,
        )?;
        let voter = part.voter.clone();
        let setup = Setup {
            scope: opened.scope.clone(),
            voter: part.voter,
            parameters: opened.epoch.parameters.clone(),
            seed: getrandom::u64().map_err(std::io::Error::other)?,
        };
        let engine = ChainEngine::open(setup, opened.ledger.tip(), part.records)?;

        let network_config = network_config(home, config, &opened, &keys)?;
        let (network, inbound) = quorate_network::start(network_config, &mut registry).await?;
        network.set_validators(opened.scope.validators.keys().to_vec());

        let tip = opened.ledger.tip();
        let (tip_sender, tip) =
            watch::channel(TipView { height: tip.height, hash: tip.hash, time: tip.time });
        let view = watch::Sender::new(Arc::new(ConsensusView::of(engine.status())));
        let (pool_sender, pool_commands) = sync_channel(pool::COMMANDS_MAX);
        let shared = Shared {
            clock: Clock::start(),
            network: network.clone(),
            metrics,
            inbox: Arc::new(Inbox::new()),
            pool: pool_sender.clone(),
            tip: tip.clone(),
            view: view.clone(),
            horizon: Arc::new(SharedHorizon::default()),
            syncing: Arc::new(AtomicBool::new(false)),
        };
        let (mut threads, failures) = Threads::new();
        let votes = voter.is_some();

        // The pool first: it alone needs the engine before it moves to its thread.
        let pool_shared = Arc::new(pool_shared(&config.pool));
        let own = keys.validator.as_ref().map(SecretKey::public);
        let pool = make_pool(&shared, &opened, &engine, &config.pool, Arc::clone(&pool_shared), own, votes)?;
        threads.spawn("pool", move || {
            pool.run(&pool_commands);
            Ok(())
        })?;
        let index = own.and_then(|key| opened.scope.validators.index_of(&key));
        let (intake, sync) = make_edges(&shared, &opened, &pool_shared, votes);
        let reader = opened.reader.clone();
        let commands = spawn_executor(&mut threads, &shared, opened.ledger, tip_sender)?;
        let keeper = Keeper::open(home.evidence_dir());
        let evidence = keeper.shelf();
        let recorder = spawn_keeper(&mut threads, keeper)?;
        let consensus = Consensus {
            engine,
            log: part.log,
            clock: shared.clock,
            inbox: Arc::clone(&shared.inbox),
            outlets: Outlets {
                scope: opened.scope,
                index,
                network: network.clone(),
                pool: pool_sender.clone(),
                executor: commands,
                tip: tip.clone(),
                view: view.clone(),
                horizon: shared.horizon,
                syncing: shared.syncing,
                evidence: recorder,
                metrics: shared.metrics,
                refused: part.refused,
            },
        };
        threads.spawn("consensus", move || consensus.run().map_err(Failure::VoteLog))?;
        spawn_intake(&mut threads, &intake, inbound)?;
        threads.spawn_task("sync", sync.run());

        let handle = NodeHandle {
            genesis: Arc::new(genesis),
            reader,
            pool: PoolHandle::new(pool_sender.clone(), pool_shared),
            network,
            tip,
            consensus: view.subscribe(),
            role,
            registry: Arc::new(Mutex::new(registry)),
            started,
            evidence,
        };
        Ok(Self { handle, inbox: shared.inbox, intake, pool: pool_sender, threads, failures })
    }

    /// What servers may hold of it.
    pub(crate) fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Waits until some part cannot go on.
    pub(super) async fn failure(&mut self) -> Failure {
        self.failures.recv().await.expect("the threads hold the other end")
    }

    /// Ends everything: the network first, so that nothing more comes in, then the threads; the ledger is flushed last.
    pub(crate) async fn stop(self) {
        self.handle.network.clone().shutdown().await;
        self.intake.lanes.close();
        self.inbox.close();
        let pool = self.pool;
        // The queue may be full, so not on this thread. An error means that the pool has ended already.
        let told = tokio::task::spawn_blocking(move || {
            let _ = pool.send(PoolCommand::Stop);
        });
        if let Err(error) = told.await {
            tracing::error!(%error, "the pool cannot be told to stop");
        }
        self.threads.join().await;
    }
}

/// Opens the ledger where it was left: blocks above its state are executed again.
fn open_ledger(home: &Home, genesis: &Genesis) -> Result<Opened, StartError> {
    tracing::info!(path = %home.ledger_dir().display(), "opening the ledger");
    // On this thread: nothing else can start before it is done.
    let open = || -> Result<Ledger<RocksStore>, StartError> {
        Ok(Ledger::open(RocksStore::open(home.ledger_dir())?, &genesis.state())?)
    };
    let ledger = tokio::task::block_in_place(open)?;
    let (reader, epoch) = (ledger.reader(), ledger.epoch());
    // The first epoch starts from the genesis, whose hash is the chain id.
    let scope = Scope {
        chain: genesis.hash(),
        epoch: epoch.number,
        validators: epoch.validators.clone(),
        start: (epoch.start, genesis.hash()),
        window: u64::from(epoch.parameters.window),
    };
    let rules = TransactionRules { chain: scope.chain, parameters: Arc::new(epoch.parameters.clone()) };
    let tip = ledger.tip();
    tracing::info!(height = %tip.height, hash = %tip.hash, "ledger open");
    Ok(Opened { ledger, reader, epoch, scope, rules })
}

fn network_config(
    home: &Home,
    config: &Config,
    opened: &Opened,
    keys: &Keys,
) -> Result<quorate_network::Config, StartError> {
    let parameters = &opened.epoch.parameters;
    Ok(quorate_network::Config {
        chain: opened.scope.chain,
        listen: config.p2p.listen.clone(),
        external: config.p2p.external.clone(),
        bootstrap: config.p2p.bootstrap.clone(),
        mdns: config.p2p.mdns,
        identity: keys.node.clone(),
        validator: keys.validator.clone(),
        sequence_file: home.announcement_file(),
        limits: network_limits(parameters)?,
        max_clock_drift_ms: parameters.max_clock_drift_ms,
    })
}

/// Limits that let everything pass that the chain's parameters allow, and as little else as that.
///
/// # Errors
/// [`StartError::Window`].
fn network_limits(parameters: &Parameters) -> Result<Limits, StartError> {
    let defaults = Limits::default();
    let bundle = BUNDLE_BYTES.max(parameters.transaction_bytes_max as usize) + MESSAGE_BYTES_SLACK;
    // A certificate may come only after a whole window of blocks that have none of their own.
    let blocks = (parameters.window as usize + 1)
        .saturating_mul(parameters.block_bytes_max as usize + MESSAGE_BYTES_SLACK)
        .saturating_add(ANSWER_BYTES);
    if blocks > MESSAGE_BYTES_CEILING {
        let (window, block_bytes_max) = (parameters.window, parameters.block_bytes_max);
        return Err(StartError::Window { window, block_bytes_max, bytes: blocks });
    }
    Ok(Limits {
        gossip_bytes_max: defaults.gossip_bytes_max.max(bundle),
        response_bytes_max: defaults.response_bytes_max.max(blocks),
        ..defaults
    })
}

fn pool_shared(config: &PoolConfig) -> PoolShared {
    PoolShared::new(u64::from(config.transactions_max), config.bytes_max)
}

fn make_pool(
    shared: &Shared,
    opened: &Opened,
    engine: &ChainEngine,
    config: &PoolConfig,
    pool_shared: Arc<PoolShared>,
    own: Option<PublicKey>,
    votes: bool,
) -> Result<Pool<ChainMessage>, StartError> {
    let author =
        own.filter(|_| votes).map(|key| Author { epoch: opened.scope.epoch, proposer: Account(key) });
    let others = opened.scope.validators.keys().iter().copied().filter(|key| Some(*key) != own).collect();
    Ok(Pool::new(PoolParts {
        mempool: Mempool::new(mempool::Limits {
            transactions_max: config.transactions_max as usize,
            bytes_max: usize::try_from(config.bytes_max).unwrap_or(usize::MAX),
            per_account_max: config.per_account as usize,
        }),
        candidates: candidates(opened, engine)?,
        reader: opened.reader.clone(),
        inbox: Arc::clone(&shared.inbox),
        network: shared.network.clone(),
        runtime: tokio::runtime::Handle::current(),
        commands: shared.pool.clone(),
        shared: pool_shared,
        metrics: shared.metrics.clone(),
        clock: shared.clock,
        author,
        validators: others,
    }))
}

/// The candidates as they were: ids of recent blocks from the ledger, blocks in flight from the engine's own log.
fn candidates(opened: &Opened, engine: &ChainEngine) -> Result<Candidates, StartError> {
    let tip = opened.ledger.tip();
    let parent = Parent { height: tip.height, hash: tip.hash, time: tip.time };
    let mut candidates = Candidates::new(opened.rules.clone(), parent);
    let lifetime = opened.rules.parameters.transaction_lifetime_max_ms;
    let since = UnixMillis(tip.time.0.saturating_sub(lifetime));
    for block in opened.reader.recent_blocks(since)? {
        candidates.remember(&*block?);
    }
    for block in engine.accepted() {
        candidates.insert(block);
    }
    Ok(candidates)
}

/// What stands between the network and the rest.
fn make_edges(
    shared: &Shared,
    opened: &Opened,
    pool_shared: &Arc<PoolShared>,
    votes: bool,
) -> (Arc<Intake<ChainEngine>>, Sync<ChainMessage>) {
    let (hints, hints_out) = mpsc::channel(sync::HINTS_MAX);
    let intake = Intake {
        scope: opened.scope.clone(),
        rules: opened.rules.clone(),
        horizon: Arc::clone(&shared.horizon),
        lanes: Lanes::new(),
        conduct: Conduct::default(),
        clock: shared.clock,
        network: shared.network.clone(),
        reader: opened.reader.clone(),
        tip: shared.tip.clone(),
        inbox: Arc::clone(&shared.inbox),
        pool: shared.pool.clone(),
        waiting: Arc::clone(pool_shared),
        hints,
        metrics: shared.metrics.clone(),
    };
    let sync = Sync::new(SyncParts {
        chain: opened.scope.chain,
        network: shared.network.clone(),
        reader: opened.reader.clone(),
        inbox: Arc::clone(&shared.inbox),
        hints: hints_out,
        tip: shared.tip.clone(),
        view: shared.view.clone(),
        syncing: Arc::clone(&shared.syncing),
        metrics: shared.metrics.clone(),
        grace: if votes { sync::GRACE_OF_VOTERS } else { Duration::ZERO },
        window: u64::from(opened.epoch.parameters.window),
    });
    (Arc::new(intake), sync)
}

fn spawn_executor(
    threads: &mut Threads,
    shared: &Shared,
    ledger: Ledger<RocksStore>,
    tip: watch::Sender<TipView>,
) -> Result<SyncSender<executor::ExecutorCommand>, StartError> {
    let (sender, commands) = sync_channel(executor::COMMANDS_MAX);
    let executor = Executor {
        ledger,
        inbox: Arc::clone(&shared.inbox),
        pool: shared.pool.clone(),
        tip,
        metrics: shared.metrics.clone(),
        clock: shared.clock,
    };
    threads.spawn("executor", move || executor.run(&commands).map_err(Failure::Ledger))?;
    Ok(sender)
}

/// Ends when the consensus thread, the only one that accuses, has ended.
fn spawn_keeper(threads: &mut Threads, keeper: Keeper) -> Result<Recorder, StartError> {
    let (queue, accusations) = sync_channel(evidence::ACCUSATIONS_MAX);
    threads.spawn("evidence", move || {
        keeper.run(&accusations);
        Ok(())
    })?;
    Ok(Recorder::new(queue))
}

fn spawn_intake(
    threads: &mut Threads,
    intake: &Arc<Intake<ChainEngine>>,
    inbound: mpsc::Receiver<Inbound>,
) -> Result<(), StartError> {
    let verifiers = available_parallelism().map_or(2, |cores| cores.get().clamp(2, VERIFIERS_MAX));
    for verifier in 0..verifiers {
        let (name, serves) =
            if verifier == 0 { ("verifier-urgent", Serves::Urgent) } else { ("verifier", Serves::Both) };
        let intake = Arc::clone(intake);
        threads.spawn(name, move || {
            intake.work(serves);
            Ok(())
        })?;
    }
    threads.spawn_task("intake", Arc::clone(intake).run(inbound));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_parameters_can_be_served() {
        let limits = network_limits(&Parameters::default()).expect("the default");
        limits.check().expect("well formed");
    }

    #[test]
    fn a_window_of_blocks_that_no_message_holds_is_refused_in_words() {
        let parameters = Parameters { window: 128, block_bytes_max: 16 << 20, ..Parameters::default() };
        let refused = network_limits(&parameters).expect_err("two gigabytes").to_string();
        assert!(refused.contains("128 blocks of 16777216 bytes"), "{refused}");
        let parameters = Parameters { window: 12, ..parameters };
        network_limits(&parameters).expect("a quarter of a gigabyte").check().expect("well formed");
    }
}
