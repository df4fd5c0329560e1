//! The event loop: one task owns the libp2p swarm and everything that is decided about peers.
//!
//! ```text
//!  handles ─ commands, publish, validators ─▶ ┌──────┐ ─ lanes ─▶ inbox ─▶ application
//!  stream tasks ─ faults ───────────────────▶ │ loop │ ─ spawns, aborts ─▶ stream tasks
//!  libp2p ─ events, inbound streams ────────▶ └──────┘
//! ```
//! The loop never waits for the application or for a peer: what cannot be taken is refused. One file per concern:
//! [`peers`] (connections, discovery), [`validators`] (announcements, streams), [`exchange`] (gossip, requests).

mod dialer;
mod exchange;
mod peers;
mod validators;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io, mem,
    net::{IpAddr, TcpListener},
    sync::Arc,
    time::Instant,
};

use futures::{StreamExt, stream::FuturesUnordered};
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm,
    core::transport::ListenerId,
    identity::Keypair,
    metrics::{Metrics as Libp2pMetrics, Recorder},
    multiaddr::Protocol,
    request_response::OutboundRequestId,
    swarm::{ConnectionId, SwarmEvent},
};
use libp2p_stream::Control;
use prometheus_client::registry::Registry;
use quorate_crypto::{PublicKey, SecretKey};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{debug, info, warn};

use self::{
    dialer::Dialer,
    exchange::Reply,
    validators::{Held, Writer},
};
use crate::{
    Config, Inbound, Network, NetworkError, RequestError, Topic,
    announcement::{Book, ClockDrift},
    behaviour::{self, Behaviour, BehaviourEvent},
    gossip::PendingGossip,
    handle::{Command, Shared, Sizes},
    inbox::{self, Lanes},
    limits::{
        COMMANDS_MAX, EXCHANGE_BACKOFF, INCOMING_STREAMS_MAX, LISTEN_TIMEOUT, PUBLISH_QUEUE_MAX,
        SHUTDOWN_TIMEOUT, TICK,
    },
    metrics::Metrics,
    names::Names,
    quota::Quota,
    sequence::Sequence,
    streams::Fault,
};

/// Starts the network: returns when it listens on all addresses. The receiver yields what peers send; the network
/// works on, refusing what it must, if the application is slow to take it.
///
/// # Errors
/// Refuses limits that contradict each other, addresses that cannot be listened on, a sequence file that cannot be
/// read, and a machine that lacks what the network stack needs.
pub async fn start(
    config: Config,
    metrics: &mut Registry,
) -> Result<(Network, mpsc::Receiver<Inbound>), NetworkError> {
    let Prepared { event_loop, inputs, tasks, meanwhile, network, receiver } =
        prepare(config, metrics).await?;
    tokio::spawn(event_loop.run(inputs, tasks, meanwhile));
    Ok((network, receiver))
}

/// A network that listens, and whose loop does not run yet.
struct Prepared {
    event_loop: Loop,
    inputs: Inputs,
    tasks: Vec<Task>,
    /// What happened until it listened.
    meanwhile: Vec<Event>,
    network: Network,
    receiver: mpsc::Receiver<Inbound>,
}

async fn prepare(config: Config, metrics: &mut Registry) -> Result<Prepared, NetworkError> {
    config.limits.check()?;
    let sequence = match &config.validator {
        Some(_) => Some(
            Sequence::open(&config.sequence_file)
                .map_err(|source| NetworkError::Sequence { path: config.sequence_file.clone(), source })?,
        ),
        None => None,
    };
    let names = Names::new(&config.chain);
    let keypair =
        Keypair::ed25519_from_bytes(config.identity.seed()).expect("a seed of 32 bytes makes an ed25519 key");
    let own_metrics = Metrics::new(metrics);
    let libp2p_metrics = Libp2pMetrics::new(metrics);
    let sizes = Sizes::of(&config.limits);
    let mut swarm = behaviour::swarm(&config, keypair, &names, sizes.responses.clone(), metrics)?;
    let mut control = swarm.behaviour().streams.new_control();
    let mut incoming = control.accept(names.frames.clone()).expect("nobody else accepts this protocol");
    for address in &config.external {
        swarm.add_external_address(address.clone());
    }
    let (listening, meanwhile) = listen(&mut swarm, &config.listen).await?;

    let own_validator = config.validator.as_ref().map(SecretKey::public);
    let limits = config.limits.clone();
    let drift = ClockDrift::new(config.max_clock_drift_ms);
    let shared =
        Arc::new(Shared::new(*swarm.local_peer_id(), own_validator, limits, sizes, drift, own_metrics));
    shared.set_listening(listening);
    let (lanes, receiver, forward) = inbox::inbox(shared.status.watch());
    let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
    let (publish, publish_queue) = mpsc::channel(PUBLISH_QUEUE_MAX);
    let (validators, validators_watch) = watch::channel(BTreeSet::new());
    let (streams, stream_queue) = mpsc::channel(INCOMING_STREAMS_MAX);
    let (faults, fault_queue) = mpsc::channel(INCOMING_STREAMS_MAX);
    // libp2p-stream drops an inbound stream if nobody is waiting for it: this task does nothing else.
    let accept = async move {
        while let Some(stream) = incoming.next().await {
            if streams.send(stream).await.is_err() {
                break;
            }
        }
    };
    let tasks = vec![Task::spawn(forward), Task::spawn(accept)];
    let network = Network { shared: shared.clone(), commands, publish, validators };
    let inputs = Inputs { command_queue, publish_queue, validators_watch, stream_queue, fault_queue };
    let event_loop =
        Loop::new(config, names, swarm, control, sequence, shared, lanes, faults, libp2p_metrics);
    Ok(Prepared { event_loop, inputs, tasks, meanwhile, network, receiver })
}

/// Listens on all addresses. Returns the addresses that result, and what else happened meanwhile, which is for the
/// event loop to deal with.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<(Vec<Multiaddr>, Vec<Event>), NetworkError> {
    let failed =
        |address: &Multiaddr, reason: String| NetworkError::Listen { address: address.clone(), reason };
    let mut waiting: HashMap<ListenerId, &Multiaddr> = HashMap::new();
    for address in addresses {
        if let Err(error) = probe_port(address) {
            return Err(failed(address, error.to_string()));
        }
        let listener =
            swarm.listen_on(address.clone()).map_err(|error| failed(address, error.to_string()))?;
        waiting.insert(listener, address);
    }
    let mut listening = Vec::new();
    let mut meanwhile = Vec::new();
    while let Some(address) = waiting.values().next().copied() {
        let event = timeout(LISTEN_TIMEOUT, swarm.select_next_some()).await;
        let event = event.map_err(|_| failed(address, "it takes too long".to_owned()))?;
        if let SwarmEvent::NewListenAddr { listener_id, address } = event {
            info!(%address, "listening");
            waiting.remove(&listener_id);
            listening.push(address);
        } else if let SwarmEvent::ListenerClosed { listener_id, reason, .. } = &event
            && let Some(address) = waiting.get(listener_id)
        {
            let closed = || "the listener closed".to_owned();
            return Err(failed(address, reason.as_ref().err().map_or_else(closed, io::Error::to_string)));
        } else {
            meanwhile.push(event);
        }
    }
    Ok((listening, meanwhile))
}

/// Finds out whether another process listens on this TCP port already. libp2p would not notice: it sets
/// `SO_REUSEPORT`, by which two processes of one user share a port, each getting some of the connections.
fn probe_port(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip),
        Some(_) | None => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind((ip, port)).map(drop),
        Some(_) | None => Ok(()),
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Task {
    fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Ends the task and waits until it has ended.
    async fn end(mut self) {
        self.0.abort();
        // Whether it was cancelled or had ended by itself: it is over.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Event = SwarmEvent<BehaviourEvent>;

/// What the loop listens to besides libp2p.
struct Inputs {
    command_queue: mpsc::Receiver<Command>,
    publish_queue: mpsc::Receiver<(Topic, Vec<u8>)>,
    validators_watch: watch::Receiver<BTreeSet<PublicKey>>,
    stream_queue: mpsc::Receiver<(PeerId, Stream)>,
    fault_queue: mpsc::Receiver<Fault>,
}

/// The state of the event loop.
struct Loop {
    config: Config,
    names: Names,
    swarm: Swarm<Behaviour>,
    control: Control,
    shared: Arc<Shared>,
    lanes: Lanes,
    libp2p_metrics: Libp2pMetrics,

    /// When each peer connected that has not identified itself yet.
    unidentified: HashMap<PeerId, Instant>,
    bootstrap: Vec<Bootstrap>,
    dialer: Dialer,

    book: Book,
    /// `Some` on a validator.
    sequence: Option<Sequence>,
    /// When our own announcement is due, if it is.
    announce_at: Option<Instant>,
    last_announced: Option<Instant>,
    exchange: dialer::Due,
    writers: BTreeMap<PublicKey, Writer>,
    /// The tasks that read from validators.
    readers: BTreeMap<PublicKey, Task>,
    /// Inbound streams of peers that are not bound yet.
    held: HashMap<PeerId, Held>,
    /// Open connections of each peer, in the order they were made.
    connections: HashMap<PeerId, BTreeSet<ConnectionId>>,
    /// The sequence of each connected peer's own announcement, as it told us itself.
    told: HashMap<PeerId, u64>,
    faults: mpsc::Sender<Fault>,

    gossip: PendingGossip,
    requests: HashMap<OutboundRequestId, oneshot::Sender<Result<Vec<u8>, RequestError>>>,
    replies: FuturesUnordered<Reply>,
    replies_per_peer: HashMap<PeerId, usize>,
    replies_to_strangers: usize,
    quota: Quota,
}

/// A peer to find the others through.
struct Bootstrap {
    address: Multiaddr,
    /// Known from the address, or since it was first connected.
    peer: Option<PeerId>,
    /// The dial under way, by which its peer id becomes known.
    dialling: Option<ConnectionId>,
}

impl Loop {
    #[expect(clippy::too_many_arguments, reason = "called once, from `start`, which makes all of them")]
    fn new(
        config: Config,
        names: Names,
        swarm: Swarm<Behaviour>,
        control: Control,
        sequence: Option<Sequence>,
        shared: Arc<Shared>,
        lanes: Lanes,
        faults: mpsc::Sender<Fault>,
        libp2p_metrics: Libp2pMetrics,
    ) -> Self {
        let local = shared.local_peer;
        let bootstrap = config
            .bootstrap
            .iter()
            .map(|address| Bootstrap { address: address.clone(), peer: last_peer(address), dialling: None })
            .filter(|bootstrap| bootstrap.peer != Some(local))
            .collect();
        let own = shared.own_validator.map(|validator| (validator, local));
        let book = Book::new(config.chain, shared.drift.clone(), own);
        Self {
            config,
            names,
            swarm,
            control,
            shared,
            lanes,
            libp2p_metrics,
            unidentified: HashMap::new(),
            bootstrap,
            dialer: Dialer::default(),
            book,
            sequence,
            announce_at: None,
            last_announced: None,
            exchange: dialer::Due::new(EXCHANGE_BACKOFF, Instant::now()),
            writers: BTreeMap::new(),
            readers: BTreeMap::new(),
            held: HashMap::new(),
            connections: HashMap::new(),
            told: HashMap::new(),
            faults,
            gossip: PendingGossip::default(),
            requests: HashMap::new(),
            replies: FuturesUnordered::new(),
            replies_per_peer: HashMap::new(),
            replies_to_strangers: 0,
            quota: Quota::default(),
        }
    }

    /// Runs until shut down, or until all handles are gone.
    async fn run(mut self, mut inputs: Inputs, tasks: Vec<Task>, meanwhile: Vec<Event>) {
        for event in meanwhile {
            self.on_swarm_event(event);
        }
        self.start_bootstrap();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let done = loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = inputs.command_queue.recv() => match command {
                    Some(Command::Shutdown { done }) => break Some(done),
                    Some(command) => self.on_command(command),
                    None => break None,
                },
                Some((topic, message)) = inputs.publish_queue.recv() => self.publish(topic, message),
                Ok(()) = inputs.validators_watch.changed() => {
                    let validators = inputs.validators_watch.borrow_and_update().clone();
                    self.set_validators(validators);
                }
                Some((peer, stream)) = inputs.stream_queue.recv() => self.on_inbound_stream(peer, stream),
                Some((peer, reason)) = inputs.fault_queue.recv() => self.expel(peer, reason),
                Some(reply) = self.replies.next() => self.on_reply(reply),
                _ = tick.tick() => self.on_tick(Instant::now()),
            }
        };
        // Handles that still exist get errors from now on instead of waiting.
        drop(inputs);
        self.shut_down(tasks).await;
        if let Some(done) = done {
            // The caller may have stopped waiting.
            let _ = done.send(());
        }
    }

    /// Ends all tasks and closes all connections, in good order if that does not take long.
    async fn shut_down(mut self, tasks: Vec<Task>) {
        let writers = mem::take(&mut self.writers).into_values().map(|writer| writer.task);
        let readers = mem::take(&mut self.readers).into_values();
        for task in writers.chain(readers).chain(tasks) {
            task.end().await;
        }
        for peer in self.swarm.connected_peers().copied().collect::<Vec<_>>() {
            // An error means that it is not connected.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if timeout(SHUTDOWN_TIMEOUT, closed).await.is_err() {
            warn!("some connections did not close in time");
        }
        self.shared.update_peers(BTreeMap::clear);
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Request { target, request, reply } => self.request(target, request, reply),
            Command::Verdict { token, verdict } => self.on_verdict(&token, verdict),
            Command::Disconnect { peer, reason } => self.expel(peer, reason),
            Command::Shutdown { .. } => unreachable!("the loop takes it"),
        }
    }

    fn on_tick(&mut self, now: Instant) {
        self.gossip.expire(now);
        self.quota.expire(now);
        self.expire_held(now);
        self.expel_unidentified(now);
        self.announce_if_due(now);
        self.exchange_if_due(now);
        self.dial_due(now);
    }

    fn on_swarm_event(&mut self, event: Event) {
        self.libp2p_metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id, connection_id, endpoint, num_established, ..
            } => {
                self.on_connected(peer_id, connection_id, &endpoint, num_established.get());
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, endpoint, num_established, cause } => {
                self.on_closed(peer_id, connection_id, &endpoint, num_established, cause);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                debug!(from = %send_back_addr, %error, "connection failed");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                info!(%address, "listening");
                self.listening_changed();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                info!(%address, "no longer listening");
                self.listening_changed();
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                warn!(?addresses, ?reason, "listener closed");
                self.listening_changed();
            }
            SwarmEvent::ListenerError { error, .. } => warn!(%error, "listener failed"),
            SwarmEvent::IncomingConnection { .. }
            | SwarmEvent::Dialing { .. }
            | SwarmEvent::NewExternalAddrCandidate { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. }
            | SwarmEvent::NewExternalAddrOfPeer { .. }
            // Later versions of libp2p may add events.
            | _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(event) => {
                self.libp2p_metrics.record(&event);
                self.on_identify(event);
            }
            BehaviourEvent::Ping(event) => {
                self.libp2p_metrics.record(&event);
                self.on_ping(event);
            }
            BehaviourEvent::Routing(event) => {
                self.libp2p_metrics.record(&event);
            }
            BehaviourEvent::Mdns(event) => self.on_mdns(event),
            BehaviourEvent::Gossip(event) => {
                self.libp2p_metrics.record(&event);
                self.on_gossip(event);
            }
            BehaviourEvent::Announcements(event) => self.on_announcements(event),
            BehaviourEvent::Requests(event) => self.on_requests(event),
            BehaviourEvent::Streams(()) => {}
            BehaviourEvent::Connections(never) => match never {},
            BehaviourEvent::Memory(never) => match never {},
        }
    }
}

/// The peer that an address ends with.
fn last_peer(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests;
