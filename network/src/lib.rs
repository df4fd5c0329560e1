//! How the nodes of one chain find each other and exchange bytes, over libp2p.
//!
//! This crate knows bytes and peers, not rules: what a frame, a gossiped bundle or a request means is decided by
//! the node. It offers three ways for bytes to travel, each for what it is good at:
//!
//! ```text
//!  frames     validator ──one long-lived stream per direction──▶ validator      votes, proposals: ordered, never relayed
//!  gossip     any node ──gossipsub mesh──▶ all nodes                            transaction bundles, block announcements
//!  requests   any node ──request, response──▶ one connected node                missing bodies and blocks
//! ```
//!
//! A validator is named by its key, a node by its peer id. What joins the two is an [`announcement`]: signed by
//! both keys, gossiped, exchanged on every new connection, the newer wins. Frames are attributed to the validator
//! whose announcement binds the peer at the other end of the stream.
//!
//! Invariants:
//! - A frame is handed over under a validator's key only if it came over a connection authenticated as the node
//!   which that validator, by signature, said is its own, and which signed that it is.
//! - Gossip is forwarded to others only after the application accepted it.
//! - Every queue, map and message has a limit ([`Limits`], [`limits`]). A full queue towards a peer loses the
//!   oldest frame; a full inbox stops reading that peer's stream, ignores gossip, refuses requests.
//! - Peers of another chain are disconnected as soon as they say what they speak: all protocol names of ours carry
//!   the chain id (the gossip protocol is the standard one; there the chain id is in the topics).
//!
//! [`start`] listens and returns a [`Network`] (a handle, cheap to clone) and the channel of [`Inbound`] things.

pub mod announcement;
mod backoff;
mod behaviour;
mod bound;
mod codec;
mod config;
mod error;
mod framing;
#[cfg(test)]
mod fuzz;
mod gossip;
mod handle;
mod identity;
mod inbox;
pub mod limits;
mod metrics;
mod names;
mod peer;
mod quota;
mod sequence;
mod status;
mod streams;
mod swarm;

pub use config::Config;
pub use error::{NetworkError, RequestError};
pub use handle::{Network, Target};
pub use inbox::{GossipToken, GossipVerdict, Inbound};
pub use libp2p::{Multiaddr, PeerId};
pub use limits::Limits;
pub use names::Topic;
pub use peer::{Disconnection, PeerInfo};
pub use streams::Class;
pub use swarm::start;

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch by this machine's clock; 0 for a clock set before it.
fn unix_millis() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
