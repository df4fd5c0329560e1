//! The application's handle on the network.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use quorate_crypto::PublicKey;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info};

use crate::{
    Class, Disconnection, GossipToken, GossipVerdict, Limits, NetworkError, PeerInfo, RequestError, Topic,
    announcement::ClockDrift,
    bound::Bound,
    limits::{DISCONNECTIONS_MAX, VALIDATORS_MAX},
    metrics::{GossipOutcome, Metrics},
    status::Status,
    streams::Queue,
};

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The node that the validator's announcement names.
    Validator(PublicKey),
    /// A node.
    Peer(PeerId),
}

/// What the handle asks of the event loop.
#[derive(Debug)]
pub(crate) enum Command {
    Request { target: Target, request: Vec<u8>, reply: oneshot::Sender<Result<Vec<u8>, RequestError>> },
    Verdict { token: GossipToken, verdict: GossipVerdict },
    Disconnect { peer: PeerId, reason: String },
    Shutdown { done: oneshot::Sender<()> },
}

/// The sizes that grow with what the chain allows.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub(crate) frames: Bound,
    pub(crate) queues: Bound,
    pub(crate) responses: Bound,
}

impl Sizes {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            frames: Bound::new(limits.frame_bytes_max),
            queues: Bound::new(limits.queue_bytes_max),
            responses: Bound::new(limits.response_bytes_max),
        }
    }

    /// Queues first: they hold at least one frame of any size.
    fn raise(&self, limits: &Limits) {
        self.queues.raise(limits.queue_bytes_max);
        self.frames.raise(limits.frame_bytes_max);
        self.responses.raise(limits.response_bytes_max);
    }
}

/// What the event loop and all handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) local_peer: PeerId,
    pub(crate) own_validator: Option<PublicKey>,
    pub(crate) limits: Limits,
    pub(crate) sizes: Sizes,
    pub(crate) drift: ClockDrift,
    pub(crate) metrics: Metrics,
    pub(crate) status: Status,
    /// A queue for every other validator of the set, whether its peer is known yet or not.
    queues: RwLock<BTreeMap<PublicKey, Arc<Queue>>>,
    peers: RwLock<BTreeMap<PeerId, PeerInfo>>,
    disconnections: RwLock<VecDeque<Disconnection>>,
    listening: RwLock<Vec<Multiaddr>>,
    /// Counts changes of anything that a handle shows.
    changes: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(
        local_peer: PeerId,
        own_validator: Option<PublicKey>,
        limits: Limits,
        sizes: Sizes,
        drift: ClockDrift,
        metrics: Metrics,
    ) -> Self {
        Self {
            local_peer,
            own_validator,
            limits,
            sizes,
            drift,
            status: Status::new(metrics.clone()),
            metrics,
            queues: RwLock::default(),
            peers: RwLock::default(),
            disconnections: RwLock::default(),
            listening: RwLock::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn queue(&self, validator: &PublicKey) -> Option<Arc<Queue>> {
        read(&self.queues).get(validator).cloned()
    }

    /// Changes what is shown of the peers.
    pub(crate) fn update_peers<T>(&self, update: impl FnOnce(&mut BTreeMap<PeerId, PeerInfo>) -> T) -> T {
        let result = {
            let mut peers = write(&self.peers);
            let result = update(&mut peers);
            self.metrics.peers(peers.len());
            result
        };
        self.changed();
        result
    }

    /// Notes a round trip; too frequent and too small a change to be told to everybody who watches.
    pub(crate) fn update_ping(&self, peer: PeerId, round_trip: Duration) {
        if let Some(info) = write(&self.peers).get_mut(&peer) {
            info.ping = Some(round_trip);
        }
    }

    /// Notes that a peer was disconnected on purpose, in the log and for operators to ask.
    pub(crate) fn disconnected(&self, peer: PeerId, reason: String) {
        info!(%peer, %reason, "disconnecting peer");
        self.metrics.disconnection();
        {
            let mut recent = write(&self.disconnections);
            if recent.len() == DISCONNECTIONS_MAX {
                recent.pop_front();
            }
            recent.push_back(Disconnection { peer, reason, at: SystemTime::now() });
        }
        self.changed();
    }

    pub(crate) fn set_listening(&self, addresses: Vec<Multiaddr>) {
        *write(&self.listening) = addresses;
        self.changed();
    }

    pub(crate) fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// A handle on the running network; clones act on the same one. The network ends with [`Network::shutdown`], or when
/// the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) publish: mpsc::Sender<(Topic, Vec<u8>)>,
    pub(crate) validators: watch::Sender<BTreeSet<PublicKey>>,
}

impl Network {
    /// This node's peer id.
    pub fn local_peer(&self) -> PeerId {
        self.shared.local_peer
    }

    /// The addresses this node listens on, each with `/p2p/` and its peer id.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        let with_peer = |address: &Multiaddr| {
            address.clone().with_p2p(self.shared.local_peer).unwrap_or_else(|address| address)
        };
        read(&self.shared.listening).iter().map(with_peer).collect()
    }

    /// Sets the current validators: whose announcements bind, and with whom a validator keeps streams. What waits
    /// for validators that are no longer among them is dropped.
    ///
    /// # Panics
    /// If there are more than [`VALIDATORS_MAX`]; sets are checked where they enter, and there are two at most.
    pub fn set_validators(&self, validators: Vec<PublicKey>) {
        let validators: BTreeSet<_> = validators.into_iter().collect();
        assert!(
            validators.len() <= VALIDATORS_MAX,
            "two validator sets have at most {VALIDATORS_MAX} members"
        );
        let mut queues = write(&self.shared.queues);
        queues.retain(|validator, _| validators.contains(validator));
        for validator in validators.iter().filter(|validator| Some(**validator) != self.shared.own_validator)
        {
            queues.entry(*validator).or_insert_with(|| {
                let Shared { limits, sizes, metrics, .. } = &*self.shared;
                Arc::new(Queue::new(limits, &sizes.queues, metrics.clone()))
            });
        }
        // Within the lock, so that of two calls at once the same one counts for both.
        self.validators.send_replace(validators);
    }

    /// Lets frames, queues and responses be as large as these limits say, from now on and where that is more than before:
    /// blocks may have become larger. Whatever else the limits say stays as it was at the start.
    ///
    /// # Errors
    /// See [`Limits::check`]; nothing is changed then.
    pub fn raise_sizes(&self, limits: &Limits) -> Result<(), NetworkError> {
        limits.check()?;
        self.shared.sizes.raise(limits);
        Ok(())
    }

    /// Sets how far the sequence of an announcement may be ahead of this machine's clock. What is in force stays so.
    pub fn set_clock_drift(&self, max_ms: u64) {
        self.shared.drift.set(max_ms);
    }

    /// Queues a frame for a validator and returns at once; a full queue drops its oldest frame. What cannot be sent
    /// now waits for the stream to come up.
    ///
    /// Returns false, and queues nothing, if the key is our own or not of the current set, or if the frame exceeds
    /// [`Limits::frame_bytes_max`].
    pub fn send(&self, to: &PublicKey, class: Class, frame: impl Into<Bytes>) -> bool {
        let frame = frame.into();
        let max = self.shared.sizes.frames.max();
        if frame.len() > max {
            error!(bytes = frame.len(), max, "a frame of ours is too large to be sent");
            return false;
        }
        match read(&self.shared.queues).get(to) {
            Some(queue) => {
                queue.push(class, frame);
                true
            }
            None => false,
        }
    }

    /// Gossips a message and returns at once. It is lost if nobody is there to hear it, if too many wait to be
    /// published, or if it exceeds [`Limits::gossip_bytes_max`].
    pub fn publish(&self, topic: Topic, message: Vec<u8>) {
        let max = self.shared.limits.gossip_bytes_max;
        if message.len() > max {
            error!(bytes = message.len(), max, "a message of ours is too large to be gossiped");
        } else if self.publish.try_send((topic, message)).is_ok() {
            return;
        } else {
            debug!(topic = topic.name(), "too many messages wait to be published, one is dropped");
        }
        self.shared.metrics.gossip(topic, GossipOutcome::Unpublished);
    }

    /// Gives the verdict on a gossiped message. A verdict given too late, or that finds the event loop's queue full,
    /// makes no difference: the message is not forwarded and nobody is blamed.
    pub fn accept(&self, token: GossipToken, verdict: GossipVerdict) {
        let topic = token.topic;
        if self.commands.try_send(Command::Verdict { token, verdict }).is_err() {
            self.shared.metrics.gossip(topic, GossipOutcome::Expired);
        }
    }

    /// Asks a connected node and waits for its answer.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, target: Target, request: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let max = self.shared.limits.request_bytes_max;
        if request.len() > max {
            return Err(RequestError::TooLarge { bytes: request.len(), max });
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Request { target, request, reply };
        self.commands.send(command).await.map_err(|_| RequestError::Stopped)?;
        answer.await.unwrap_or(Err(RequestError::Stopped))
    }

    /// The connected peers.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let with_streams = |peer: &PeerInfo| {
            let streams =
                peer.validator.map(|validator| self.shared.status.read(&validator)).unwrap_or_default();
            PeerInfo {
                inbound_stream: streams.inbound(),
                outbound_stream: streams.outbound(),
                ..peer.clone()
            }
        };
        read(&self.shared.peers).values().map(with_streams).collect()
    }

    /// The validators with which the streams of both directions are up, by key.
    pub fn connected_validators(&self) -> Vec<PublicKey> {
        self.shared.status.connected()
    }

    /// The peers this node recently disconnected, with the reasons, the latest last.
    pub fn disconnections(&self) -> Vec<Disconnection> {
        read(&self.shared.disconnections).iter().cloned().collect()
    }

    /// A number that changes when [`Network::peers`], [`Network::disconnections`] or [`Network::listen_addresses`]
    /// do, except for ping times.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Closes all connections with a peer. Nothing keeps it from connecting again.
    pub fn disconnect(&self, peer: PeerId, reason: String) {
        if self.commands.try_send(Command::Disconnect { peer, reason }).is_err() {
            debug!(%peer, "too many commands wait, the peer is not disconnected");
        }
    }

    /// Closes all connections and ends all tasks. Other handles then do nothing.
    pub async fn shutdown(self) {
        let (done, finished) = oneshot::channel();
        if self.commands.send(Command::Shutdown { done }).await.is_ok() {
            // An error means that another shutdown was first.
            let _ = finished.await;
        }
    }
}
