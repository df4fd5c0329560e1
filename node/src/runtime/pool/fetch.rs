//! Getting the bodies that a proposal names and that are not here: from the proposer, then from the other validators, until
//! all have come or nobody wants them any more.

use std::{
    collections::HashSet,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use quorate_crypto::{Batch, Hash, PublicKey, decode, encode};
use quorate_ledger::{Height, Transaction};
use quorate_network::{Network, Target};

use super::PoolCommand;
use crate::wire::{BODIES_PER_REQUEST_MAX, Bodies, Hashes, Request, Response};

/// First pause after all sources were asked in vain; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What to get.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) block: Hash,
    pub(super) height: Height,
    pub(super) missing: Vec<Hash>,
    /// Whom to ask, in this order.
    pub(super) sources: Vec<PublicKey>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(super) block: Hash,
    pub(super) height: Height,
    /// The bodies, verified; or the hash of one that is not validly signed.
    pub(super) result: Result<Vec<Arc<Transaction>>, Hash>,
}

/// Asks until all is here, and tells the pool. It ends when it is aborted: the pool knows when a block is wanted no more.
pub(super) async fn run(fetching: Fetching, network: Network, pool: SyncSender<PoolCommand>) {
    let Fetching { block, height, missing, sources } = fetching;
    let mut missing: HashSet<Hash> = missing.into_iter().collect();
    let mut found = Vec::with_capacity(missing.len());
    let mut pause = PAUSE_FIRST;
    while !missing.is_empty() {
        for source in &sources {
            while !missing.is_empty() && ask(&network, source, &mut missing, &mut found).await {}
        }
        if !missing.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
    // Verifying is work, and the pool's queue may be full: neither belongs on a thread of the async runtime.
    let done = tokio::task::spawn_blocking(move || {
        let result = verify(found);
        // An error means that the pool has stopped.
        let _ = pool.send(PoolCommand::Fetched(Fetched { block, height, result }));
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "verifying fetched bodies failed");
    }
}

/// Asks one validator for a whole block, and tells the pool if it is the one that was asked for.
pub(super) async fn block(hash: Hash, from: PublicKey, network: Network, pool: SyncSender<PoolCommand>) {
    let answer = network.request(Target::Validator(from), encode(&Request::Block(hash))).await;
    let done = tokio::task::spawn_blocking(move || {
        let block = match answer.as_deref().map(decode::<Response>) {
            Ok(Ok(Response::Block(Some(block)))) => block,
            _ => return,
        };
        // Both hashes are computed from what came: the header is the one that a quorum signed, and it names the rest.
        if block.hash() == hash && block.check_root().is_ok() {
            // An error means that the pool has stopped.
            let _ = pool.send(PoolCommand::FetchedBlock(block));
        }
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "checking a fetched block failed");
    }
}

/// Asks one source for some of what is missing; whether any of it came.
async fn ask(
    network: &Network,
    source: &PublicKey,
    missing: &mut HashSet<Hash>,
    found: &mut Vec<Arc<Transaction>>,
) -> bool {
    let wanted: Vec<Hash> = missing.iter().take(BODIES_PER_REQUEST_MAX).copied().collect();
    let request = encode(&Request::Bodies(Hashes(wanted)));
    let answer = match network.request(Target::Validator(*source), request).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(validator = %source, %error, "no bodies");
            return false;
        }
    };
    let Ok(Response::Bodies(Bodies(transactions))) = decode::<Response>(&answer) else {
        tracing::debug!(validator = %source, "an answer that is none");
        return false;
    };
    let before = found.len();
    // The hash is computed from what came, so a body under a name that was asked for is that body.
    found.extend(transactions.into_iter().filter(|transaction| missing.remove(&transaction.hash())));
    found.len() > before
}

fn verify(transactions: Vec<Arc<Transaction>>) -> Result<Vec<Arc<Transaction>>, Hash> {
    let mut batch = Batch::default();
    for transaction in &transactions {
        batch.push(transaction.sender().0, transaction.message(), *transaction.signature());
    }
    let bad = batch.verify().into_iter().zip(&transactions).find(|(valid, _)| !valid);
    match bad {
        Some((_, transaction)) => Err(transaction.hash()),
        None => Ok(transactions),
    }
}
