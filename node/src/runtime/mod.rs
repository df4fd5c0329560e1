//! The threads that join the parts of a node: who owns what, and what flows between them.
//!
//! ```text
//! client ─JSON-RPC submit─▶ rpc ─▶ POOL ─bundles─▶ network ─▶ other pools
//!                                  │  ▲
//!                                  │  └───── Build, Check ──────┐
//!                                  └ Backlog, Built, Checked ─┐ │
//!                                                             ▼ │
//! peers ─▶ network ─bytes─▶ INTAKE ─Verified<Message>─▶ CONSENSUS: step → disk → act ─Send─▶ network ─▶ peers
//!                             │                                      │
//!                             │                                      │ Commit{block, certificate}
//!                             └─offers─▶ SYNC ─Certified─▶ CONSENSUS ├──────▶ EXECUTOR: execute → one synced batch
//!                                                              ▲     │                      │
//!                                                              └─────┼───── Executed ───────┤
//! client ◀─receipt, proof─ rpc reads the store          POOL ◀───────┴──── Executed ────────┘ tip (watch)
//! ```
//!
//! | thread or task | file | owns |
//! | --- | --- | --- |
//! | `consensus` | [`consensus`] | the engine and its log |
//! | `pool` | [`pool`] | what waits and what may go into blocks |
//! | `executor` | [`executor`] | the ledger |
//! | `evidence` | [`evidence`] | proofs that validators broke the protocol |
//! | `verifier…` | [`intake`] | nothing: they verify what peers send |
//! | intake, sync (tasks) | [`intake`], [`sync`] | the network's channel; whom to catch up from |
//!
//! Between them only bounded queues of plain values. Who waits for whom has no circle: consensus waits for the executor
//! and the pool, the executor for the pool, verifiers for all; nobody waits for consensus but verifiers ([`inbox`]).

mod clock;
mod conduct;
mod consensus;
mod epochs;
mod evidence;
mod executor;
mod handle;
mod inbox;
mod intake;
mod lanes;
mod log;
mod node;
mod offences;
mod pool;
mod readiness;
mod sizes;
mod sync;
mod threads;
mod voting;

use quorate_genesis::Genesis;
use quorate_ledger::LedgerError;
use quorate_network::NetworkError;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

pub(crate) use epochs::{CurrentRules, EpochWalk};
pub(crate) use evidence::FoundEvidence;
pub(crate) use handle::{ConsensusView, NodeHandle, RETRY_AFTER_MS, SubmitError, TipView};
pub(crate) use node::{Keys, Node, StartError};

use self::threads::Failure;
use crate::{config::Config, exit::Fault, home::Home};

/// Exit code after a second signal: the node did not stop in good order.
const EXIT_AT_ONCE: i32 = 1;

/// Runs a node until SIGTERM or SIGINT, or until it cannot go on. A second signal ends the process at once.
///
/// # Errors
/// Why it could not start or go on; [`Fault`] in it gives the exit code.
pub(crate) async fn run(home: Home, config: Config, genesis: Genesis, keys: Keys) -> anyhow::Result<()> {
    let mut stop = watch_signals()?;
    tracing::info!(chain = %genesis.hash(), name = genesis.name(), home = %home.dir().display(), "starting");
    let mut node = Node::start(&home, &config, genesis, keys).await.map_err(start_fault)?;
    for address in node.handle().network.listen_addresses() {
        tracing::info!(%address, "listening for peers");
    }
    if let Some(ahead_ms) = node.handle().ahead_ms() {
        tracing::warn!(
            ahead_ms,
            "the chain's time is ahead of this machine's clock, at height 0 the genesis time: no block comes before it"
        );
    }
    let rpc = match crate::rpc::serve(node.handle(), &config.rpc).await {
        Ok(rpc) => rpc,
        Err(error) => {
            node.stop().await;
            return Err(Fault::Usage(error.to_string()).into());
        }
    };
    tracing::info!(rpc = %rpc.address(), role = node.handle().started_as(), "started");
    let failure = tokio::select! {
        failure = node.failure() => Some(failure),
        name = stop.recv() => {
            tracing::info!(signal = name.unwrap_or("none"), "stopping; a second signal ends the node at once");
            None
        }
    };
    if let Some(failure) = &failure {
        tracing::error!(%failure, "stopping");
    }
    rpc.stop().await;
    node.stop().await;
    tracing::info!("stopped");
    failure.map_or(Ok(()), |failure| Err(failure_fault(failure)))
}

/// Tells the first signal; ends the process at the second.
fn watch_signals() -> anyhow::Result<mpsc::Receiver<&'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, stop) = mpsc::channel(1);
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        // An error means that the node has stopped by itself.
        let _ = first.send(name).await;
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "ending at once");
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok(stop)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// A start that failed, with the exit code of its culprit.
fn start_fault(error: StartError) -> anyhow::Error {
    let words = error.to_string();
    match error {
        StartError::Ledger(LedgerError::WrongGenesis { .. } | LedgerError::Genesis(_))
        | StartError::Network(NetworkError::Listen { .. } | NetworkError::Limit { .. }) => {
            Fault::Usage(words).into()
        }
        StartError::Ledger(LedgerError::WrongFormat { .. } | LedgerError::Diverged { .. })
        | StartError::Engine(_) => Fault::Damaged(words).into(),
        StartError::Store(store) | StartError::Ledger(LedgerError::Store(store)) if store.is_damage() => {
            Fault::Damaged(words).into()
        }
        // The machine's: a full disk, a missing permission. Damaged vote logs do not come here, the node follows then.
        StartError::Store(_)
        | StartError::Ledger(_)
        | StartError::VoteLog(_)
        | StartError::Network(_)
        | StartError::Machine(_) => anyhow::anyhow!(words),
    }
}

/// A node that could not go on, with the exit code of its culprit.
fn failure_fault(failure: Failure) -> anyhow::Error {
    let words = failure.to_string();
    match failure {
        Failure::Ledger(LedgerError::Diverged { .. }) => Fault::Consensus(words).into(),
        Failure::Ledger(LedgerError::Store(error)) if error.is_damage() => Fault::Damaged(words).into(),
        Failure::Ledger(_) | Failure::VoteLog(_) | Failure::Panicked(_) => anyhow::anyhow!(words),
    }
}
