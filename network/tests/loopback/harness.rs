//! Nodes to test with.

use std::{collections::BTreeSet, future::Future, path::Path, time::Duration};

use prometheus_client::{encoding::text::encode, registry::Registry};
use quorate_crypto::{Hash, PublicKey, SecretKey};
use quorate_network::{Config, Inbound, Limits, Multiaddr, Network, start};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

/// No event takes this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Validator `number` signs with this key; its node's key differs.
pub(crate) fn validator_key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

pub(crate) fn public(number: u8) -> PublicKey {
    validator_key(number).public()
}

pub(crate) fn publics(numbers: impl IntoIterator<Item = u8>) -> Vec<PublicKey> {
    numbers.into_iter().map(public).collect()
}

pub(crate) fn config(number: u8, listen: &str, folder: &Path) -> Config {
    Config {
        chain: Hash::of(b"loopback"),
        listen: vec![listen.parse().expect("an address")],
        external: vec![],
        bootstrap: vec![],
        mdns: false,
        identity: SecretKey::from_seed([number + 100; 32]),
        validator: Some(validator_key(number)),
        sequence_file: folder.join(format!("sequence-{number}")),
        limits: Limits::default(),
        max_clock_drift_ms: 5_000,
    }
}

/// A running node and what it has received.
pub(crate) struct Node {
    pub(crate) network: Network,
    inbox: mpsc::Receiver<Inbound>,
    metrics: Registry,
}

impl Node {
    pub(crate) async fn start(config: Config) -> Self {
        let mut metrics = Registry::default();
        let (network, inbox) = start(config, &mut metrics).await.expect("loopback works");
        Self { network, inbox, metrics }
    }

    /// The metrics as a scraper sees them.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.metrics).expect("strings take anything");
        text
    }

    pub(crate) fn address(&self) -> Multiaddr {
        self.network.listen_addresses().first().expect("it listens").clone()
    }

    /// What comes next, or that nothing more comes.
    pub(crate) async fn next(&mut self) -> Option<Inbound> {
        within("anything to be received", self.inbox.recv()).await
    }

    /// Drops what comes until `pick` takes something.
    pub(crate) async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(Inbound) -> Option<T>) -> T {
        within(what, async {
            loop {
                let inbound = self.inbox.recv().await.expect("the network runs");
                if let Some(picked) = pick(inbound) {
                    return picked;
                }
            }
        })
        .await
    }

    pub(crate) async fn until_up(&mut self, validators: impl IntoIterator<Item = PublicKey>) {
        let mut missing: BTreeSet<_> = validators.into_iter().collect();
        for connected in self.network.connected_validators() {
            missing.remove(&connected);
        }
        while !missing.is_empty() {
            let up = self.wait("streams with the validators", |inbound| match inbound {
                Inbound::ValidatorUp(validator) => Some(validator),
                _ => None,
            });
            let up = up.await;
            missing.remove(&up);
        }
    }

    pub(crate) async fn until_down(&mut self, validator: PublicKey) {
        self.wait("the streams to end", |inbound| match inbound {
            Inbound::ValidatorDown(down) if down == validator => Some(()),
            _ => None,
        })
        .await;
    }

    pub(crate) async fn frame(&mut self) -> (PublicKey, Vec<u8>) {
        self.wait("a frame", |inbound| match inbound {
            Inbound::Frame { from, bytes } => Some((from, bytes)),
            _ => None,
        })
        .await
    }

    /// Waits until what the handle shows fulfils a condition.
    pub(crate) async fn shows(&self, what: &str, condition: impl Fn(&Network) -> bool) {
        let mut changes = self.network.changes();
        within(what, async {
            while !condition(&self.network) {
                changes.changed().await.expect("the handle lives");
            }
        })
        .await;
    }
}

/// Validators `1..=count`, all bootstrapping from the first.
pub(crate) async fn cluster(count: u8, listen: &str, folder: &TempDir) -> Vec<Node> {
    let validators = publics(1..=count);
    let mut nodes: Vec<Node> = Vec::new();
    for number in 1..=count {
        let mut config = config(number, listen, folder.path());
        config.bootstrap = nodes.first().map(Node::address).into_iter().collect();
        let node = Node::start(config).await;
        node.network.set_validators(validators.clone());
        nodes.push(node);
    }
    for (number, node) in (1..).zip(&mut nodes) {
        node.until_up(validators.iter().copied().filter(|validator| *validator != public(number))).await;
    }
    nodes
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("temporary folder")
}
