//! Every bound of the crate, by name. What an operator may want to change is in [`Limits`]; the rest are constants.

use std::time::Duration;

use crate::NetworkError;

/// Bounds that fit the chain's parameters and the machine. The defaults fit the default parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Established connections others opened. Peers bound to a validator of the current set are not counted.
    pub connections_incoming_max: u32,
    /// Established connections this node opened. Peers bound to a validator of the current set are not counted.
    pub connections_outgoing_max: u32,
    /// Connections being set up, in each direction.
    pub connections_pending_max: u32,
    /// Connections with one peer, validators included. Two arise when both sides dial at once.
    pub connections_per_peer_max: u32,
    /// Resident memory of the process above which no new connections are made; `None`: nine tenths of the machine's.
    pub process_memory_bytes_max: Option<usize>,
    /// After this long without a stream an idle connection is closed.
    pub idle_timeout: Duration,
    /// Size of one frame on a validator stream; a larger one disconnects.
    pub frame_bytes_max: usize,
    /// Frames of [`Class::Urgent`](crate::Class::Urgent) waiting for one validator.
    pub urgent_frames_max: usize,
    /// Frames of [`Class::Bulk`](crate::Class::Bulk) waiting for one validator.
    pub bulk_frames_max: usize,
    /// Bytes waiting for one validator in each class.
    pub queue_bytes_max: usize,
    /// Size of one gossiped message.
    pub gossip_bytes_max: usize,
    /// Whether what this node publishes goes to every subscriber it is connected with instead of its mesh peers
    /// only. Validator sets are tens of nodes: one copy to each is little more than the mesh's, and saves hops.
    pub flood_publish: bool,
    /// Size of a request; a larger one disconnects.
    pub request_bytes_max: usize,
    /// Size of a response; a larger one disconnects.
    pub response_bytes_max: usize,
    /// How long a request may take from sending it to having the whole response.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_incoming_max: 256,
            connections_outgoing_max: 256,
            connections_pending_max: 128,
            connections_per_peer_max: 4,
            process_memory_bytes_max: None,
            idle_timeout: Duration::from_secs(300),
            frame_bytes_max: 8 << 20,
            urgent_frames_max: 1_024,
            bulk_frames_max: 256,
            queue_bytes_max: 16 << 20,
            gossip_bytes_max: 1 << 20,
            flood_publish: true,
            request_bytes_max: 1 << 20,
            response_bytes_max: 16 << 20,
            request_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// That these limits can work together.
    ///
    /// # Errors
    /// Sizes of zero or beyond what a length prefix can say; queues that cannot hold one frame.
    pub fn check(&self) -> Result<(), NetworkError> {
        let sizes = [
            ("frame_bytes_max", self.frame_bytes_max),
            ("gossip_bytes_max", self.gossip_bytes_max),
            ("request_bytes_max", self.request_bytes_max),
            ("response_bytes_max", self.response_bytes_max),
        ];
        for (name, value) in sizes {
            if value == 0 || value > MESSAGE_BYTES_CEILING {
                let reason = format!("must be in 1..={MESSAGE_BYTES_CEILING}");
                return Err(NetworkError::Limit { name, value, reason });
            }
        }
        if self.queue_bytes_max < self.frame_bytes_max {
            let reason = format!("must be at least frame_bytes_max = {}", self.frame_bytes_max);
            return Err(NetworkError::Limit { name: "queue_bytes_max", value: self.queue_bytes_max, reason });
        }
        for (name, value) in
            [("urgent_frames_max", self.urgent_frames_max), ("bulk_frames_max", self.bulk_frames_max)]
        {
            if value == 0 {
                return Err(NetworkError::Limit { name, value, reason: "must be at least 1".to_owned() });
            }
        }
        Ok(())
    }
}

/// No size limit may exceed this; it keeps every length within the `u32` prefix with room to spare.
pub const MESSAGE_BYTES_CEILING: usize = 256 << 20;

/// Validators at a time, hence announcements held and exchanged at once: of two sets of 200 that have nobody in common, while
/// one takes over from the other.
pub const VALIDATORS_MAX: usize = 400;
/// Addresses in one announcement, and taken from one peer's identification. Of the others under which a peer is known the
/// routing table keeps as many once more.
pub const ADDRESSES_MAX: usize = 8;
/// Bytes of one address in an announcement (a DNS name has up to 253).
pub const ADDRESS_BYTES_MAX: usize = 300;
/// Bytes of an exchange of announcements: as many as there can be of the largest announcements (2.6 KB) fits.
pub const ANNOUNCEMENTS_BYTES_MAX: usize = VALIDATORS_MAX * 3 * 1024;

/// Items the application has not yet taken from the channel that [`start`](crate::start) returned.
pub const INBOX_MAX: usize = 16;
/// Frames read and waiting for room in that channel, over all streams; beyond, streams are not read.
pub const INBOX_FRAMES_MAX: usize = 64;
/// Gossiped messages waiting for room in that channel; beyond, they are ignored.
pub const INBOX_GOSSIP_MAX: usize = 256;
/// Requests waiting for room in that channel; beyond, they are refused.
pub const INBOX_REQUESTS_MAX: usize = 64;

/// Gossiped messages without a verdict yet.
pub const GOSSIP_PENDING_MAX: usize = 1_024;
/// Gossiped messages of one peer without a verdict yet.
pub const GOSSIP_PENDING_PER_PEER_MAX: usize = 256;
/// After this long a verdict makes no difference: gossipsub has let go of the message.
pub const GOSSIP_PENDING_TIME_MAX: Duration = Duration::from_secs(5);
/// Messages waiting to be written to one gossip peer.
pub const GOSSIP_SEND_QUEUE_MAX: usize = 512;

/// Requests of others being answered.
pub const REQUESTS_IN_MAX: usize = 64;
/// Those of them that peers without a validator's key may have. What is asked too fast is held back, and must
/// not take the places of validators meanwhile.
pub const REQUESTS_IN_OF_STRANGERS_MAX: usize = 48;
/// Requests of one peer being answered.
pub const REQUESTS_IN_PER_PEER_MAX: usize = 8;
/// Requests of ours under way.
pub const REQUESTS_OUT_MAX: usize = 128;
/// What a request costs whoever asks, beside its answer: it may make 200 a second.
pub const REQUEST_COST: Duration = Duration::from_millis(5);
/// Bytes that one peer is answered in a second.
pub const ANSWER_BYTES_PER_SECOND: u64 = 32 << 20;
/// How far ahead of paying a peer may be before its requests are held back.
pub const CREDIT: Duration = Duration::from_secs(1);
/// The longest that a request is held back; what would have to wait longer is refused. Shorter than a request may take.
pub const DELAY_MAX: Duration = Duration::from_secs(3);
/// How many times as much a validator is answered.
pub const VALIDATORS_SHARE: u32 = 4;
/// Request streams on one connection, both directions together.
pub const REQUEST_STREAMS_MAX: usize = 64;
/// The same for exchanges of announcements, of which nobody needs many at a time.
pub const EXCHANGE_STREAMS_MAX: usize = 8;

/// Commands of the application that the event loop has not yet taken.
pub const COMMANDS_MAX: usize = 256;
/// Messages of the application to gossip that the event loop has not yet taken; beyond, they are dropped.
pub const PUBLISH_QUEUE_MAX: usize = 64;
/// Inbound validator streams that the event loop has not yet taken.
pub const INCOMING_STREAMS_MAX: usize = 256;
/// Inbound streams of peers whose announcement has not arrived yet.
pub const HELD_STREAMS_MAX: usize = 256;
/// How long such a stream waits for the announcement.
pub const HELD_STREAM_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the opener of a stream waits for it to be opened, and then accepted; longer than the other holds it.
pub const STREAM_ACCEPT_TIMEOUT: Duration = Duration::from_secs(15);
/// First and longest pause before a validator stream is opened again.
pub const STREAM_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Bytes of frames written to a stream at once.
pub const WRITE_BATCH_BYTES: usize = 64 << 10;

/// First and longest pause before a peer is dialled again.
pub const DIAL_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// First and longest pause between exchanges of announcements with a random peer, while and after some are missing.
pub const EXCHANGE_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Shortest time between two announcements of our own, as addresses come and go.
pub const ANNOUNCE_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Least difference between the sequences, which are milliseconds, of two announcements of one validator. Since no sequence
/// may be ahead of the clock, a validator is heard no more often than this, whatever it signs.
pub const ANNOUNCE_STEP_MS: u64 = 500;
/// How often due dials, exchanges and expiries are looked at.
pub const TICK: Duration = Duration::from_millis(100);
/// How long an address may take to be listened on.
pub const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that has not identified itself after this long is disconnected.
pub const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a connection is pinged, and after how long without an answer it is taken for dead.
pub const PING_INTERVAL: Duration = Duration::from_secs(2);
/// See [`PING_INTERVAL`].
pub const PING_TIMEOUT: Duration = Duration::from_secs(4);
/// After how long in silence a QUIC connection is given up, and how often it is kept from being silent.
pub const QUIC_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// See [`QUIC_IDLE_TIMEOUT`].
pub const QUIC_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the routing table is refreshed.
pub const ROUTING_REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// How long [`Network::shutdown`](crate::Network::shutdown) waits for connections to close in good order.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// Recent disconnections that are remembered with their reasons.
pub const DISCONNECTIONS_MAX: usize = 64;
/// Characters kept of what a peer calls itself.
pub const AGENT_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_allowed() {
        Limits::default().check().expect("defaults");
    }

    #[test]
    fn sizes_at_the_ceiling_are_allowed_and_one_past_refused() {
        let at = Limits { response_bytes_max: MESSAGE_BYTES_CEILING, ..Limits::default() };
        at.check().expect("at the ceiling");
        let past = Limits { response_bytes_max: MESSAGE_BYTES_CEILING + 1, ..Limits::default() };
        assert!(matches!(past.check(), Err(NetworkError::Limit { name: "response_bytes_max", .. })));
        let none = Limits { request_bytes_max: 0, ..Limits::default() };
        assert!(matches!(none.check(), Err(NetworkError::Limit { name: "request_bytes_max", .. })));
    }

    #[test]
    fn queue_must_hold_one_frame() {
        let fits = Limits { frame_bytes_max: 1_000, queue_bytes_max: 1_000, ..Limits::default() };
        fits.check().expect("one frame fits");
        let small = Limits { frame_bytes_max: 1_000, queue_bytes_max: 999, ..Limits::default() };
        assert!(matches!(small.check(), Err(NetworkError::Limit { name: "queue_bytes_max", .. })));
        let none = Limits { bulk_frames_max: 0, ..Limits::default() };
        assert!(matches!(none.check(), Err(NetworkError::Limit { name: "bulk_frames_max", .. })));
    }
}
