//! What the node tells the network when it starts.

use std::path::PathBuf;

use libp2p::Multiaddr;
use quorate_crypto::{Hash, SecretKey};

use crate::Limits;

/// Settings of [`start`](crate::start).
#[derive(Clone, Debug)]
pub struct Config {
    /// The chain's id. It is part of every protocol name and topic, so that chains never mix.
    pub chain: Hash,
    /// Addresses to listen on, TCP (`/ip4/…/tcp/…`) or QUIC (`/ip4/…/udp/…/quic-v1`); port 0 chooses a free one.
    pub listen: Vec<Multiaddr>,
    /// Addresses under which others reach this node, if they differ from what it listens on (NAT, load balancers).
    pub external: Vec<Multiaddr>,
    /// Peers to find the others through, with or without `/p2p/…`. This node's own address among them is skipped.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether to look for peers on the local network by multicast DNS.
    pub mdns: bool,
    /// The node's key (`node.pem`): it authenticates connections, its public half is the peer id.
    pub identity: SecretKey,
    /// The validator's key, to sign its announcement; none on an observer.
    pub validator: Option<SecretKey>,
    /// Where the sequence of the last announcement is kept. Only used with `validator`.
    pub sequence_file: PathBuf,
    /// Sizes and counts.
    pub limits: Limits,
    /// How far the sequence of an announcement may be ahead of this machine's clock, until
    /// [`Network::set_clock_drift`](crate::Network::set_clock_drift) says otherwise.
    pub max_clock_drift_ms: u64,
}
