//! The crate's own metrics; libp2p's are registered beside them under `libp2p`.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{Class, Topic};

/// Seen from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

/// What became of a gossiped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum GossipOutcome {
    Published,
    /// Not published: the queue was full, it was too large, or gossipsub had nobody to send it to.
    Unpublished,
    Received,
    /// Ignored because the application or its inbox was busy.
    Overflow,
    Accepted,
    Ignored,
    Rejected,
    /// The verdict came too late for the message to be forwarded.
    Expired,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum RequestOutcome {
    Answered,
    Refused,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: Direction,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GossipLabel {
    topic: &'static str,
    outcome: GossipOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    direction: Direction,
    outcome: RequestOutcome,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    frames_sent: Family<ClassLabel, Counter>,
    frames_dropped: Family<ClassLabel, Counter>,
    frames_received: Counter,
    frame_bytes: Family<DirectionLabel, Counter>,
    streams: Family<DirectionLabel, Gauge>,
    validators: Gauge,
    peers: Gauge,
    disconnections: Counter,
    gossip: Family<GossipLabel, Counter>,
    requests: Family<RequestLabel, Counter>,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("network");
        registry.register("frames_sent", "Frames written to validator streams", metrics.frames_sent.clone());
        let help = "Frames dropped because the queue towards a validator was full, the oldest first";
        registry.register("frames_dropped", help, metrics.frames_dropped.clone());
        registry.register("frames_received", "Frames read", metrics.frames_received.clone());
        registry.register("frame_bytes", "Bytes of frames on validator streams", metrics.frame_bytes.clone());
        registry.register("streams", "Validator streams that are up", metrics.streams.clone());
        let help = "Validators with which the streams of both directions are up";
        registry.register("validators_connected", help, metrics.validators.clone());
        registry.register("peers", "Connected peers", metrics.peers.clone());
        let help = "Peers disconnected for a stated reason";
        registry.register("disconnections", help, metrics.disconnections.clone());
        registry.register("gossip", "Gossiped messages by outcome", metrics.gossip.clone());
        registry.register("requests", "Requests by outcome", metrics.requests.clone());
        metrics
    }

    pub(crate) fn frame_sent(&self, class: Class, bytes: usize) {
        self.frames_sent.get_or_create(&ClassLabel { class: class.name() }).inc();
        self.count_bytes(Direction::Outbound, bytes);
    }

    pub(crate) fn frames_dropped(&self, class: Class, count: usize) {
        if count > 0 {
            self.frames_dropped.get_or_create(&ClassLabel { class: class.name() }).inc_by(count as u64);
        }
    }

    pub(crate) fn frame_received(&self, bytes: usize) {
        self.frames_received.inc();
        self.count_bytes(Direction::Inbound, bytes);
    }

    fn count_bytes(&self, direction: Direction, bytes: usize) {
        self.frame_bytes.get_or_create(&DirectionLabel { direction }).inc_by(bytes as u64);
    }

    pub(crate) fn streams_up(&self, direction: Direction, change: i64) {
        self.streams.get_or_create(&DirectionLabel { direction }).inc_by(change);
    }

    pub(crate) fn validators_connected(&self, count: usize) {
        self.validators.set(count as i64);
    }

    pub(crate) fn peers(&self, count: usize) {
        self.peers.set(count as i64);
    }

    pub(crate) fn disconnection(&self) {
        self.disconnections.inc();
    }

    pub(crate) fn gossip(&self, topic: Topic, outcome: GossipOutcome) {
        self.gossip.get_or_create(&GossipLabel { topic: topic.name(), outcome }).inc();
    }

    pub(crate) fn request(&self, direction: Direction, outcome: RequestOutcome) {
        self.requests.get_or_create(&RequestLabel { direction, outcome }).inc();
    }
}
