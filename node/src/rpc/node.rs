//! `node_status`, `net_getPeers`, `mempool_getStatus`, and whether this node is ready to serve.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use quorate_crypto::PublicKey;
use quorate_ledger::{Height, UnixMillis};
use serde::Serialize;

use super::Context;
use super::consensus;
use super::error::RpcError;
use super::types::{Mempool, MempoolStatus, NoParameters, NodeStatus, Peer, PeersAnswer, Rules};
use crate::runtime::NodeHandle;

/// The wall clock.
pub(crate) fn clock() -> UnixMillis {
    millis(SystemTime::now())
}

/// A time of the wall clock; 0 for one before 1970.
fn millis(time: SystemTime) -> UnixMillis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `node_status`.
pub(crate) fn status(context: &Context, _: NoParameters) -> Result<NodeStatus, RpcError> {
    let node = &context.node;
    let (tip, view) = (*node.tip.borrow(), node.consensus.borrow().clone());
    let readiness = Readiness::of(node);
    let (pool, rules) = (node.pool.status(), context.rules.now());
    let parameters = &rules.parameters;
    let (_, end) = node.reader.epoch_end().map_err(RpcError::internal)?;
    // Between two epochs the engine's word and the store's may be of different ones for a moment.
    let ends = end.filter(|_| node.reader.epoch().number == view.epoch).map(|end| end.last);
    Ok(NodeStatus {
        chain: node.genesis.name().to_owned(),
        genesis_hash: rules.chain,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: node.started_as().to_owned(),
        peer: node.network.local_peer().to_string(),
        listen: node.network.listen_addresses().iter().map(ToString::to_string).collect(),
        height: tip.height,
        hash: tip.hash,
        time: tip.time,
        clock: clock(),
        started: node.started,
        epoch: view.epoch,
        epoch_ends: ends,
        votes: view.votes(),
        refused: view.refused.clone(),
        view: view.view,
        primary: consensus::primary(node, &view),
        syncing: view.syncing,
        ready: readiness.reasons().is_empty(),
        not_ready: readiness.reasons(),
        peers: node.network.peers().len() as u64,
        validators_connected: readiness.connected as u64,
        quorum: readiness.quorum as u64,
        mempool: Mempool { transactions: pool.transactions, bytes: pool.bytes },
        rules: Rules::of(parameters),
    })
}

/// `net_getPeers`.
pub(crate) fn peers(context: &Context, _: NoParameters) -> Result<PeersAnswer, RpcError> {
    let node = &context.node;
    let peers = node.network.peers().into_iter().map(|peer| Peer {
        peer: peer.peer.to_string(),
        addresses: peer.addresses.iter().map(ToString::to_string).collect(),
        agent: peer.agent,
        name: peer.validator.and_then(|key| node.genesis.validator_name(&key)).map(str::to_owned),
        validator: peer.validator,
        streams: peer.inbound_stream && peer.outbound_stream,
        since: millis(peer.since),
        ping_ms: peer.ping.map(|ping| ping.as_secs_f64() * 1_000.0),
    });
    Ok(PeersAnswer { local: node.network.local_peer().to_string(), peers: peers.collect() })
}

/// `mempool_getStatus`.
pub(crate) fn mempool(context: &Context, _: NoParameters) -> Result<MempoolStatus, RpcError> {
    let status = context.node.pool.status();
    Ok(MempoolStatus {
        transactions: status.transactions,
        bytes: status.bytes,
        transactions_max: status.transactions_max,
        bytes_max: status.bytes_max,
    })
}

/// What `GET /readyz` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Ready {
    /// Whether the node can serve.
    pub(crate) ready: bool,
    /// Why it cannot; empty when it can.
    pub(crate) reasons: Vec<String>,
    /// Whether it votes. A validator that does not still answers what is so and takes transactions: that it has no voice is
    /// the business of who watches it, and no reason to ask another node.
    pub(crate) votes: bool,
    /// Why it does not vote although it has a validator's key, if so.
    pub(crate) refused: Option<String>,
}

/// What decides whether a node can serve: it is up to date, takes part if it should, and has a quorum of validators
/// within reach, so that what it takes can get into a block and what it says is not long out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// The newest height executed here.
    height: Height,
    /// Whether peers are known to be further.
    syncing: bool,
    /// Why the engine has stopped, if it has.
    halted: Option<String>,
    /// Validators within reach, this node itself included if it is one.
    connected: usize,
    /// How many of them decide.
    quorum: usize,
    /// By how much the chain's time is ahead of this machine's clock, in milliseconds, beyond what the chain tolerates.
    ahead_ms: Option<u64>,
    /// Whether it votes.
    votes: bool,
    /// Why it does not vote although it has a validator's key, if so.
    refused: Option<String>,
}

impl Readiness {
    /// As it is now.
    pub(crate) fn of(node: &NodeHandle) -> Self {
        let view = node.consensus.borrow().clone();
        let height = node.tip.borrow().height;
        let set = &node.reader.epoch_at(height.next()).validators;
        let own = view.index.and_then(|index| set.key(index).copied());
        // Votes travel on streams between validators; for a node that has none it is enough to be connected.
        let within_reach: Vec<PublicKey> = match own {
            Some(_) => node.network.connected_validators(),
            None => node.network.peers().into_iter().filter_map(|peer| peer.validator).collect(),
        };
        let connected: BTreeSet<PublicKey> =
            within_reach.into_iter().chain(own).filter(|key| set.index_of(key).is_some()).collect();
        Self {
            height,
            syncing: view.syncing,
            halted: view.halted.clone(),
            connected: connected.len(),
            quorum: set.quorum().q(),
            ahead_ms: node.ahead_ms(),
            votes: view.votes(),
            refused: view.refused.clone(),
        }
    }

    /// What whoever asks for the node's health is told.
    pub(crate) fn told(self) -> Ready {
        let reasons = self.reasons();
        Ready { ready: reasons.is_empty(), reasons, votes: self.votes, refused: self.refused }
    }

    /// Why the node is not ready, in words; empty if it is.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let syncing = self.syncing.then(|| format!("syncing: peers are further than height {}", self.height));
        let unconnected = (self.connected < self.quorum)
            .then(|| format!("connected with {} validators, {} make a quorum", self.connected, self.quorum));
        let halted = self.halted.as_ref().map(|why| format!("halted: {why}"));
        let ahead = self.ahead_ms.map(|ahead_ms| match self.height {
            Height(0) => format!(
                "the genesis time is {ahead_ms} ms ahead of this machine's clock: no block comes before it"
            ),
            _ => format!("the chain's time is {ahead_ms} ms ahead of this machine's clock: set the clock"),
        });
        [syncing, unconnected, halted, ahead].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Readiness = Readiness {
        height: Height(7),
        syncing: false,
        halted: None,
        connected: 3,
        quorum: 3,
        ahead_ms: None,
        votes: true,
        refused: None,
    };

    #[test]
    fn a_node_is_ready_with_a_quorum_within_reach_and_not_with_one_less() {
        assert_eq!(READY.reasons(), Vec::<String>::new());
        let fewer = Readiness { connected: 2, ..READY };
        assert_eq!(fewer.reasons(), ["connected with 2 validators, 3 make a quorum"]);
    }

    /// A validator without a voice follows: what it reads is fresh and what it takes gets into a block. Those who stop
    /// sending requests to a node that is not ready, or wait for it, would do so until the next epoch.
    #[test]
    fn a_validator_that_does_not_vote_is_ready_and_says_why_it_does_not() {
        let why = "data/votes is missing".to_owned();
        let silent = Readiness { votes: false, refused: Some(why.clone()), ..READY };
        let told = Ready { ready: true, reasons: Vec::new(), votes: false, refused: Some(why) };
        assert_eq!(silent.told(), told);
        assert_eq!(READY.told(), Ready { votes: true, refused: None, ..told });
    }

    #[test]
    fn a_chain_that_is_ahead_of_the_clock_is_told_by_whose_fault_it_may_be() {
        let behind = Readiness { ahead_ms: Some(60_000), ..READY };
        assert_eq!(
            behind.reasons(),
            ["the chain's time is 60000 ms ahead of this machine's clock: set the clock"]
        );
        let early = Readiness { height: Height(0), ..behind };
        assert_eq!(
            early.reasons(),
            ["the genesis time is 60000 ms ahead of this machine's clock: no block comes before it"]
        );
    }

    #[test]
    fn every_reason_is_told() {
        let node =
            Readiness { syncing: true, halted: Some("two blocks at height 8".into()), connected: 0, ..READY };
        assert_eq!(
            node.reasons(),
            [
                "syncing: peers are further than height 7",
                "connected with 0 validators, 3 make a quorum",
                "halted: two blocks at height 8",
            ]
        );
    }
}
