//! What is known of connected peers, for operators and for the explorer.

use std::time::{Duration, SystemTime};

use libp2p::{Multiaddr, PeerId};
use quorate_crypto::PublicKey;

/// A connected peer.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Who it is: the hash of its node key, proven by the handshake.
    pub peer: PeerId,
    /// The far ends of its connections.
    pub addresses: Vec<Multiaddr>,
    /// What it calls itself, cut and cleaned of control characters; `None` until it has identified itself.
    pub agent: Option<String>,
    /// The validator of the current set that its announcement binds it to.
    pub validator: Option<PublicKey>,
    /// Whether its stream of frames to us is up.
    pub inbound_stream: bool,
    /// Whether our stream of frames to it is up.
    pub outbound_stream: bool,
    /// When the first of its present connections was made.
    pub since: SystemTime,
    /// The last measured round trip.
    pub ping: Option<Duration>,
}

/// A peer that this node disconnected, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnection {
    /// Who.
    pub peer: PeerId,
    /// Why, in words for an operator.
    pub reason: String,
    /// When.
    pub at: SystemTime,
}

/// What a peer says, fit for a log: without control characters, and not longer than `max` characters.
pub(crate) fn printable(text: &str, max: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn foreign_text_is_cut_and_cleaned() {
        assert_eq!(printable("a\n\u{1b}[31mb", 64), "a[31mb");
        assert_eq!(printable(&"x".repeat(64), 64).len(), 64);
        assert_eq!(printable(&"x".repeat(65), 64).len(), 64);
    }
}
