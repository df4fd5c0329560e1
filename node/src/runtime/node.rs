//! Putting a node together, and taking it apart in good order.

use std::{
    sync::{
        Arc, Mutex,
        atomic::AtomicBool,
        mpsc::{SyncSender, sync_channel},
    },
    thread::available_parallelism,
};

use prometheus_client::registry::Registry;
use quorate_consensus::{Engine, OpenError, Replica, Scope, pbft::Pbft, vote_log::VoteLogError};
use quorate_crypto::{PublicKey, SecretKey};
use quorate_genesis::Genesis;
use quorate_ledger::{
    Account, Candidates, Deliveries, EpochStart, Ledger, LedgerError, Parent, Reader, RocksStore, StoreError,
    TransactionRules, UnixMillis, VALIDATORS_MAX,
};
use quorate_network::{Inbound, Network, NetworkError};
use tokio::sync::{mpsc, watch};

use super::{
    clock::{self, Clock},
    conduct::Conduct,
    consensus::{Consensus, Outlets, setup_of},
    epochs::{CurrentRules, Epochs, scope_of},
    evidence::{self, Keeper, Recorder},
    executor::{self, Executor},
    handle::{ConsensusView, NodeHandle, PoolHandle, PoolShared, TipView},
    inbox::Inbox,
    intake::Intake,
    lanes::{Lanes, Serves},
    offences::Offences,
    pool::{self, Author, Pool, PoolCommand, PoolParts, PoolSender},
    readiness::{OwnReadiness, ReadinessSearch},
    sizes,
    sync::{self, Sync, SyncParts},
    threads::{Failure, Threads},
    voting::{Part, VotePaths},
};
use crate::{
    config::{Config, PoolConfig},
    home::Home,
    mempool::{self, Mempool},
    metrics::{self, Metrics},
};

/// The engine of this chain. The genesis document names it; there is one so far.
type ChainEngine = Pbft;
type ChainMessage = <ChainEngine as Engine>::Message;

/// Verifying threads: at least two, so that one can serve urgent things alone; at most so many.
const VERIFIERS_MAX: usize = 8;
// While an epoch closes the network binds its validators and those of the next, who may be all others.
const _: () = assert!(2 * VALIDATORS_MAX == quorate_network::limits::VALIDATORS_MAX);
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
    /// The machine has no thread or no randomness left.
    #[error("the machine refuses: {0}")]
    Machine(#[from] std::io::Error),
}

/// A running node.
pub(crate) struct Node {
    handle: NodeHandle,
    inbox: Arc<Inbox<ChainMessage>>,
    intake: Arc<Intake<ChainEngine>>,
    pool: PoolSender,
    threads: Threads,
    failures: mpsc::Receiver<Failure>,
}

/// What opening the ledger gave.
struct Opened {
    ledger: Ledger<RocksStore>,
    reader: Reader,
    epoch: Arc<EpochStart>,
    scope: Arc<Scope>,
    /// The epoch before, while no commit certificate of this one is known.
    closing: Option<(Arc<EpochStart>, Arc<Scope>)>,
    rules: TransactionRules,
}

/// The parts that threads and tasks share.
struct Shared {
    clock: Clock,
    network: Network,
    metrics: Metrics,
    offences: Offences,
    inbox: Arc<Inbox<ChainMessage>>,
    pool: PoolSender,
    tip: watch::Receiver<TipView>,
    view: watch::Sender<Arc<ConsensusView>>,
    epochs: Arc<Epochs>,
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
        let opened = open_ledger(home, &genesis)?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let paths = VotePaths { log: home.votes_dir(), mark: home.validator_mark_file() };
        let (part, records): (Part<<ChainEngine as Engine>::Record>, _) =
            Part::open(keys.validator.clone(), paths, started, &metrics)?;
        let votes = part.voter(&opened.scope.validators).is_some();
        // A log that is refused was told of when it was opened.
        if let Some(why) = part.no_validator_because(opened.scope.epoch, &opened.scope.validators) {
            tracing::warn!(
                "this node follows without voting: {why}. It votes once it is a validator; if it should be one now, check \
                 that config/validator.pem is the key you meant"
            );
        }
        let setup = setup_of(&part, &opened.scope, &opened.epoch.parameters)?;
        let closing = match &opened.closing {
            Some((epoch, scope)) => Some(setup_of(&part, scope, &epoch.parameters)?),
            None => None,
        };
        let replica = Replica::<ChainEngine>::open(setup, closing, &opened.ledger.tip(), records)?;
        let closing = opened.closing.iter().map(|(_, scope)| Arc::clone(scope));
        let scopes: Vec<Arc<Scope>> = std::iter::once(Arc::clone(&opened.scope)).chain(closing).collect();
        let epochs = Arc::new(Epochs::new(scopes.clone()));

        let network_config = network_config(home, config, &opened, &keys);
        let (network, inbound) =
            quorate_network::start(network_config, metrics::prefixed(&mut registry)).await?;
        sizes::raise_to_all(&network, &opened.reader);
        network.set_validators(epochs.validators());

        let tip = opened.ledger.tip();
        let (tip_sender, tip) =
            watch::channel(TipView { height: tip.height, hash: tip.hash, time: tip.time });
        let view = watch::Sender::new(Arc::new(ConsensusView::of(replica.status())));
        let (pool_sender, pool_commands) = pool::commands();
        let clock = Clock::start();
        let shared = Shared {
            clock,
            network: network.clone(),
            offences: Offences {
                conduct: Arc::new(Conduct::default()),
                clock,
                network: network.clone(),
                metrics: metrics.clone(),
            },
            metrics,
            inbox: Arc::new(Inbox::new()),
            pool: pool_sender.clone(),
            tip: tip.clone(),
            view: view.clone(),
            epochs: Arc::clone(&epochs),
            syncing: Arc::new(AtomicBool::new(false)),
        };
        let (mut threads, failures) = Threads::new();

        // The pool first: it alone needs the engine before it moves to its thread.
        let pool_shared = Arc::new(pool_shared(&config.pool));
        let own = keys.validator.as_ref().map(SecretKey::public);
        let pool = make_pool(
            &shared,
            &opened,
            replica.current(),
            &config.pool,
            Arc::clone(&pool_shared),
            own,
            votes,
        )?;
        threads.spawn("pool", move || {
            pool.run(&pool_commands);
            Ok(())
        })?;
        let own_readiness = Arc::new(OwnReadiness::new(keys.validator, opened.reader.clone()));
        let readiness = ReadinessSearch::new(Arc::clone(&own_readiness), network.clone(), tip.clone());
        let (intake, sync) = make_edges(&shared, &opened, &pool_shared, own_readiness);
        let reader = opened.reader.clone();
        let commands = spawn_executor(&mut threads, &shared, opened.ledger, tip_sender)?;
        let keeper = Keeper::open(home.evidence_dir());
        let evidence = keeper.shelf();
        let recorder = spawn_keeper(&mut threads, keeper)?;
        let consensus = Consensus {
            replica,
            part,
            clock: shared.clock,
            inbox: Arc::clone(&shared.inbox),
            outlets: Outlets {
                scopes,
                own,
                reader: reader.clone(),
                network: network.clone(),
                pool: pool_sender.clone(),
                executor: commands,
                tip: tip.clone(),
                view: view.clone(),
                epochs: shared.epochs,
                syncing: shared.syncing,
                evidence: recorder,
                offences: shared.offences,
                metrics: shared.metrics,
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
            own,
            registry: Arc::new(Mutex::new(registry)),
            started,
            evidence,
            readiness,
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
    let chain = genesis.hash();
    let scope = |epoch: &EpochStart| Arc::new(scope_of(chain, epoch, |number| reader.epoch_numbered(number)));
    // Above the epoch's start a commit certificate of it was known, whether it was stored or not.
    let at_start = ledger.tip().height == epoch.base().0;
    let before = epoch.number.previous().filter(|_| at_start);
    let before = before.and_then(|number| reader.epoch_numbered(number));
    let closing = before.map(|before| (Arc::clone(&before), scope(&before)));
    let scope = scope(&epoch);
    let rules = TransactionRules::of(chain, &epoch);
    let tip = ledger.tip();
    tracing::info!(height = %tip.height, hash = %tip.hash, epoch = %epoch.number, "ledger open");
    Ok(Opened { ledger, reader, epoch, scope, closing, rules })
}

fn network_config(home: &Home, config: &Config, opened: &Opened, keys: &Keys) -> quorate_network::Config {
    let parameters = &opened.epoch.parameters;
    quorate_network::Config {
        chain: opened.scope.chain,
        listen: config.p2p.listen.clone(),
        external: config.p2p.external.clone(),
        bootstrap: config.p2p.bootstrap.clone(),
        mdns: config.p2p.mdns,
        identity: keys.node.clone(),
        validator: keys.validator.clone(),
        sequence_file: home.announcement_file(),
        limits: sizes::limits_of(parameters),
        max_clock_drift_ms: parameters.max_clock_drift_ms,
    }
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
        own,
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
    own_readiness: Arc<OwnReadiness>,
) -> (Arc<Intake<ChainEngine>>, Sync<ChainMessage>) {
    let (hints, hints_out) = mpsc::channel(sync::HINTS_MAX);
    let intake = Intake {
        epochs: Arc::clone(&shared.epochs),
        rules: CurrentRules::new(opened.reader.clone()),
        lanes: Lanes::new(),
        offences: shared.offences.clone(),
        clock: shared.clock,
        network: shared.network.clone(),
        reader: opened.reader.clone(),
        tip: shared.tip.clone(),
        inbox: Arc::clone(&shared.inbox),
        pool: shared.pool.clone(),
        waiting: Arc::clone(pool_shared),
        own_readiness,
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
        deliveries: Deliveries::default(),
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
