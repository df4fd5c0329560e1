//! The statement by which a new validator proves its key and that it has caught up (`docs/pbft.md` §7), made by its own node
//! when somebody is about to approve of it.
//!
//! ```text
//! tx approve ─JSON-RPC─▶ the approver's node ─request─▶ its peers: the one that holds the key signs and answers
//! ```
//!
//! A statement is taken for [`READINESS_HEADERS`] blocks, which a busy chain makes in seconds: too few for people to hand it
//! to each other. A node that votes, or could, is connected with a quorum of validators, so those whose approvals are needed
//! reach it without knowing where it is.
//!
//! Whoever asks is answered. That is safe: of what is signed nothing is the asker's choice, no vote can be read into it (it
//! has a tag of its own), and it decides nothing, for only the approvals of a quorum do. Running a node with a key says that
//! the key may be approved of.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use quorate_crypto::{PublicKey, SecretKey, decode, encode};
use quorate_ledger::{Header, READINESS_HEADERS, Reader, Readiness, StoreError};
use quorate_network::{Network, PeerId, Target};
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::timeout,
};

use super::handle::TipView;
use crate::wire::{Request, Response, Statement};

/// Searches of this node at a time; more wait. Each asks every peer, which strangers could have it do for nothing.
const SEARCHES_MAX: usize = 2;
/// Peers asked at a time by a search.
const ASKED_AT_ONCE_MAX: usize = 8;
/// How long a peer may take to answer, and this node to execute the height that the answer is of.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than the answer takes: a longer one is none, and is not decoded.
const ANSWER_BYTES_MAX: usize = 256;
/// How far behind this node's newest block a statement may be: it is still to get into a block.
const BEHIND_MAX: u64 = READINESS_HEADERS / 2;

/// What this node can state of its own key.
pub(super) struct OwnReadiness {
    key: Option<SecretKey>,
    reader: Reader,
}

impl OwnReadiness {
    /// A node with this key, if it has one.
    pub(super) fn new(key: Option<SecretKey>, reader: Reader) -> Self {
        Self { key, reader }
    }

    /// The statement of the holder of `key`, if that is this node: of the newest block it has, however old that is.
    pub(super) fn statement(&self, key: &PublicKey) -> Result<Option<Statement>, StoreError> {
        let Some(own) = self.key.as_ref().filter(|own| own.public() == *key) else { return Ok(None) };
        let height = self.reader.tip().0;
        // The genesis anchors nothing.
        let Some(newest) = self.reader.header(height)? else { return Ok(None) };
        let (chain, epoch) = (self.reader.chain(), self.reader.epoch().number);
        let readiness = Readiness::sign(&chain, epoch, newest.header.anchor.checkpoint, own);
        Ok(Some(Statement { epoch, height, readiness }))
    }
}

/// The way to the statement of whoever holds a key.
#[derive(Clone)]
pub(crate) struct ReadinessSearch {
    own: Arc<OwnReadiness>,
    network: Network,
    tip: watch::Receiver<TipView>,
    searches: Arc<Semaphore>,
}

impl ReadinessSearch {
    pub(super) fn new(own: Arc<OwnReadiness>, network: Network, tip: watch::Receiver<TipView>) -> Self {
        Self { own, network, tip, searches: Arc::new(Semaphore::new(SEARCHES_MAX)) }
    }

    /// A statement for `key`, as the chain takes it now, of this node or of a peer; `None` if none of them can give one.
    pub(crate) async fn statement(&self, key: PublicKey) -> Option<Statement> {
        if let Some(own) = self.judged(key, move |own| own.statement(&key)).await.flatten() {
            return Some(own);
        }
        let _turn = self.searches.acquire().await.expect("it is never closed");
        let peers = self.network.peers().into_iter().map(|info| info.peer);
        let answers = stream::iter(peers).map(|peer| self.ask(peer, key)).buffer_unordered(ASKED_AT_ONCE_MAX);
        let mut found = std::pin::pin!(answers.filter_map(std::future::ready));
        found.next().await
    }

    /// What a peer answers, if the chain would take it.
    async fn ask(&self, peer: PeerId, key: PublicKey) -> Option<Statement> {
        let request = self.network.request(Target::Peer(peer), encode(&Request::Readiness { key }));
        let answer = timeout(PATIENCE, request).await.ok()?.ok()?;
        if answer.len() > ANSWER_BYTES_MAX {
            return None;
        }
        let Ok(Response::Readiness(Some(statement))) = decode(&answer) else { return None };
        let mut tip = self.tip.clone();
        let executed = timeout(PATIENCE, tip.wait_for(|tip| tip.height >= statement.height)).await.is_ok();
        let taken = executed && self.judged(key, move |own| is_taken(&own.reader, &key, &statement)).await?;
        if !taken {
            tracing::debug!(%peer, %key, "a statement that the chain would not take");
        }
        taken.then_some(statement)
    }

    /// Reads the store where that may block.
    async fn judged<T: Send + 'static>(
        &self,
        key: PublicKey,
        read: impl FnOnce(&OwnReadiness) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let own = Arc::clone(&self.own);
        let read = spawn_blocking(move || read(&own)).await.ok()?;
        read.inspect_err(|error| tracing::error!(%error, %key, "cannot read what a statement is about")).ok()
    }
}

/// Whether the next block would take a statement, and for some time those above it.
fn is_taken(reader: &Reader, key: &PublicKey, statement: &Statement) -> Result<bool, StoreError> {
    let Statement { epoch, height, readiness } = statement;
    let fresh = reader.tip().0.0.saturating_sub(height.0) <= BEHIND_MAX;
    if !fresh || *epoch != reader.epoch().number {
        return Ok(false);
    }
    let anchors = |header: Header| header.anchor.checkpoint == readiness.checkpoint;
    let anchored = reader.header(*height)?.is_some_and(|stored| anchors(stored.header));
    Ok(anchored && readiness.verify(&reader.chain(), *epoch, key))
}

#[cfg(test)]
mod tests;
