//! What can go wrong, by culprit: the operator's settings and machine ([`NetworkError`]), a request's partner
//! ([`RequestError`]). Faults of peers are not errors: the peer is disconnected and the reason logged.

use std::{io, path::PathBuf};

use libp2p::Multiaddr;

/// Why the network could not start.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A limit contradicts another one.
    #[error("limit {name} = {value}: {reason}")]
    Limit {
        /// The field of [`Limits`](crate::Limits).
        name: &'static str,
        /// Its value.
        value: usize,
        /// What is allowed.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address as configured.
        address: Multiaddr,
        /// What the transport said.
        reason: String,
    },
    /// The file that holds the sequence of the last announcement cannot be read or written.
    #[error("announcement sequence {}: {source}", path.display())]
    Sequence {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A part of the network stack could not be set up.
    #[error("cannot set up {part}: {reason}")]
    Setup {
        /// Which part.
        part: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Why a request brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request exceeds [`Limits::request_bytes_max`](crate::Limits::request_bytes_max).
    #[error("the request has {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Size of the request.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// No announcement has bound this validator's key to a peer.
    #[error("no peer is known for this validator")]
    Unknown,
    /// There is no connection with the peer.
    #[error("the peer is not connected")]
    NotConnected,
    /// Too many requests of ours are under way.
    #[error("too many requests are under way")]
    Busy,
    /// The peer declined, being busy or having nothing to answer.
    #[error("the peer refused the request")]
    Refused,
    /// No answer came in time.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The connection closed before the answer came.
    #[error("the connection closed before the answer came")]
    Disconnected,
    /// The peer does not speak the protocol.
    #[error("the peer does not answer requests of this chain")]
    Unsupported,
    /// The stream failed, or the answer was malformed or too large.
    #[error("the request failed: {0}")]
    Failed(String),
    /// The network has been shut down.
    #[error("the network is shut down")]
    Stopped,
}
