//! JSON-RPC 2.0, health and metrics over HTTP: what applications and operators talk to.
//!
//! One port. `POST /` and WebSocket at `/` are JSON-RPC; `GET /livez`, `/readyz`, `/metrics` and `/openrpc.json` stand
//! beside it. The server never talks to the consensus engine: it gives transactions to the pool and reads the store, and
//! finality is a read. Only statements of validators to come are asked of peers.
//!
//! ```text
//! TCP ─▶ server (connections) ─▶ socket (stalls) ─▶ http (routes, bodies, ids) ─▶ guard (calls, time) ─▶ call (parameters)
//!                                                                                 ─▶ a method: transactions, chain, state, …
//! ```
//!
//! Whatever a stranger can make this node hold has a limit: those an operator may set are in [`RpcConfig`], the others
//! are the constants of the module that enforces them. A call over a limit is refused with a reason and costs nothing
//! more.

mod call;
mod chain;
mod consensus;
mod discover;
#[cfg(test)]
mod docs;
pub(crate) mod error;
#[cfg(test)]
mod fuzz;
mod guard;
mod http;
mod id;
mod metrics;
mod node;
pub(crate) mod origin;
mod outcomes;
mod server;
mod sizes;
mod socket;
mod state;
mod subscriptions;
pub(crate) mod table;
mod transactions;
pub(crate) mod types;
mod verify;

use std::net::SocketAddr;
use std::sync::{Arc, MutexGuard};
use std::thread::available_parallelism;

use jsonrpsee::server::{StopHandle, stop_channel};
use jsonrpsee::{Methods, RpcModule};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};

use crate::config::RpcConfig;
use crate::runtime::{CurrentRules, NodeHandle};

use http::{Health, Site};
use metrics::Metrics;
use node::Readiness;
use outcomes::Outcomes;
use server::Server;
use sizes::Sizes;
use verify::VerifyPool;

/// Threads that drive connections, at most.
const WORKERS_MAX: usize = 4;

/// Threads that read the store for clients, at most; more reads wait for one of them. Fewer on a machine with few cores: see
/// [`readers`].
const READERS_MAX: usize = 64;

/// What every method is given.
pub(crate) struct Context {
    /// The node behind this server.
    pub(crate) node: NodeHandle,
    /// What the chain asks of a transaction.
    pub(crate) rules: CurrentRules,
    /// Checks the signatures of what is submitted.
    pub(crate) verify: VerifyPool,
    /// Wakes those who wait for a transaction.
    pub(crate) outcomes: Outcomes,
    /// One permit for each call that waits.
    pub(crate) waits: Semaphore,
    /// The largest answer.
    pub(crate) sizes: Sizes,
    /// Set when the server stops: whoever waits then ends.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// A running server.
pub(crate) struct RpcServer {
    server: Server,
    runtime: Threads,
}

/// Why the server cannot run: the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The address.
    #[error(
        "cannot listen for JSON-RPC at {address}: {source}; set `rpc.listen` to an address of this machine that is free"
    )]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the machine said.
        source: std::io::Error,
    },
    /// The machine has no thread left.
    #[error("the threads of JSON-RPC cannot be started: {0}")]
    Threads(std::io::Error),
}

/// The server's own threads. Whatever clients ask, and however much, the threads on which this node fetches, checks and
/// serves blocks are others.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<Self, ServeError> {
        let cores = available_parallelism().map_or(2, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores.clamp(2, WORKERS_MAX))
            .max_blocking_threads(readers(cores) + verify::workers())
            .thread_name("rpc")
            .enable_all()
            .build();
        runtime.map(|runtime| Self(Some(runtime))).map_err(ServeError::Threads)
    }

    /// Runs something there to its end.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.0.as_ref().expect("there until dropped");
        runtime.spawn(work).await.expect("nothing ends a task of the server but its own end")
    }
}

/// How many threads read for clients. A read may wait for the disk, so they are more than the cores; what they make of what
/// they read is work, so they are not many more.
fn readers(cores: usize) -> usize {
    (4 * cores).clamp(4, READERS_MAX)
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Not waiting for what a read that hangs does: nothing of the store is written from there.
            runtime.shutdown_background();
        }
    }
}

/// Listens and answers until [`RpcServer::stop`], on threads of its own.
///
/// # Errors
/// When the address cannot be listened at.
pub(crate) async fn serve(node: NodeHandle, config: &RpcConfig) -> Result<RpcServer, ServeError> {
    let runtime = Threads::start()?;
    let config = config.clone();
    let server = runtime.run(async move { start(node, &config).await }).await?;
    tracing::info!(address = %server.address(), "JSON-RPC is served");
    Ok(RpcServer { server, runtime })
}

async fn start(node: NodeHandle, config: &RpcConfig) -> Result<Server, ServeError> {
    let failed = |source| ServeError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let (stop, stopping) = watch::channel(false);
    let (stopped, web_sockets) = stop_channel();
    let router = site(node, config, stopping, stopped).router();
    Server::start(listener, router, config.connections_max, stop, web_sockets).map_err(failed)
}

/// All that is served of a node, until it is `stopping`; WebSockets, until they are `stopped`.
fn site(node: NodeHandle, config: &RpcConfig, stopping: watch::Receiver<bool>, stopped: StopHandle) -> Site {
    let sizes = Sizes::of(node.reader.clone(), config.body_bytes_max);
    let metrics = Metrics::register(&mut lock(&node));
    let context = Context {
        rules: CurrentRules::new(node.reader.clone()),
        verify: VerifyPool::new(verify::workers()),
        outcomes: Outcomes::follow(node.reader.clone(), node.tip.clone(), stopping.clone()),
        waits: Semaphore::new(transactions::WAITS_MAX),
        sizes: sizes.clone(),
        stopping,
        node: node.clone(),
    };
    Site::new(methods(context), config, sizes, metrics, health(node), stopped)
}

impl RpcServer {
    /// Where it listens: with the port that was chosen, if the configuration left that open.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Takes no more calls, lets those in hand end, and closes.
    pub(crate) async fn stop(self) {
        self.runtime.run(self.server.stop()).await;
    }
}

/// What the paths beside JSON-RPC tell of a node.
fn health(node: NodeHandle) -> Health {
    let measured = node.clone();
    Health {
        ready: Arc::new(move || Readiness::of(&node).told()),
        metrics: Arc::new(move || {
            let mut text = String::new();
            encode(&mut text, &lock(&measured)).expect("writing to memory does not fail");
            text
        }),
    }
}

fn lock(node: &NodeHandle) -> MutexGuard<'_, Registry> {
    node.registry.lock().expect("no holder of this lock panics")
}

/// Returns when the server stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error says that whoever could have said so is gone, which comes to the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Every method of the table with what answers it.
fn methods(context: Context) -> Methods {
    let mut module = RpcModule::new(context);
    call::register::<table::NodeStatus>(&mut module, node::status);
    transactions::register(&mut module);
    call::register::<table::TxGet>(&mut module, transactions::get);
    call::register::<table::ChainGetBlock>(&mut module, chain::block);
    call::register::<table::ChainGetHeader>(&mut module, chain::header);
    call::register::<table::ChainGetBlocks>(&mut module, chain::blocks);
    call::register::<table::ChainGetCertificate>(&mut module, chain::certificate);
    call::register::<table::StateGetAccount>(&mut module, state::account);
    call::register::<table::StateGetKey>(&mut module, state::key);
    call::register::<table::ValidatorsGet>(&mut module, state::validators);
    state::register(&mut module);
    call::register::<table::ConsensusGetState>(&mut module, consensus::state);
    call::register::<table::ConsensusGetEvidence>(&mut module, consensus::evidence);
    call::register::<table::NetGetPeers>(&mut module, node::peers);
    call::register::<table::MempoolGetStatus>(&mut module, node::mempool);
    subscriptions::register(&mut module);
    call::register::<table::Discover>(&mut module, |_, _| Ok(discover::document().clone()));
    for row in table::TABLE {
        assert!(module.method(row.name).is_some(), "{} is in the table but nothing answers it", row.name);
    }
    module.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_machine_reads_little_at_a_time_and_a_large_one_not_without_end() {
        assert_eq!([1, 2, 16, 200].map(readers), [4, 8, READERS_MAX, READERS_MAX]);
    }

    #[tokio::test]
    async fn the_server_has_threads_of_its_own_and_ends_them() {
        let threads = Threads::start().expect("the machine has threads");
        let name = threads.run(async { std::thread::current().name().map(str::to_owned) }).await;
        assert_eq!(name.as_deref(), Some("rpc"));
        drop(threads);
    }
}
