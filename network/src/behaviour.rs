//! The protocols of libp2p that a node speaks, and how they are set.

use std::{iter, time::Duration};

use libp2p::{
    PeerId, Swarm, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    gossipsub::{self, IdentityTransform, WhitelistSubscriptionFilter},
    identify,
    identity::Keypair,
    kad::{self, store::MemoryStore},
    mdns, memory_connection_limits, noise, ping,
    request_response::{self, ProtocolSupport},
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};
use prometheus_client::registry::Registry;
use quorate_crypto::Hash;

use crate::{
    Config, Limits, NetworkError,
    bound::Bound,
    codec::Codec,
    limits::{
        ANNOUNCEMENTS_BYTES_MAX, EXCHANGE_STREAMS_MAX, GOSSIP_SEND_QUEUE_MAX, PING_INTERVAL, PING_TIMEOUT,
        QUIC_IDLE_TIMEOUT, QUIC_KEEP_ALIVE_INTERVAL, REQUEST_STREAMS_MAX, ROUTING_REFRESH_INTERVAL,
    },
    names::Names,
};

/// Room for what gossipsub adds to a message of the largest size.
const GOSSIP_OVERHEAD_BYTES: usize = 64 << 10;
/// Part of the machine's memory beyond which no new connections are made, if the configuration does not say.
const PROCESS_MEMORY_SHARE: f64 = 0.9;

pub(crate) type Gossip = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// The limits come first: what they deny never reaches the others.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) connections: connection_limits::Behaviour,
    pub(crate) memory: memory_connection_limits::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) routing: kad::Behaviour<MemoryStore>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(crate) gossip: Gossip,
    pub(crate) announcements: request_response::Behaviour<Codec>,
    pub(crate) requests: request_response::Behaviour<Codec>,
    pub(crate) streams: libp2p_stream::Behaviour,
}

/// Builds the transports (TCP with noise and yamux, QUIC, DNS in front of both) and the behaviour on top.
pub(crate) fn swarm(
    config: &Config,
    keypair: Keypair,
    names: &Names,
    responses: Bound,
    registry: &mut Registry,
) -> Result<Swarm<Behaviour>, NetworkError> {
    let setup = |part: &'static str, reason: String| NetworkError::Setup { part, reason };
    let behaviour = behaviour(config, &keypair, names, responses, registry)?;
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|error| setup("noise", error.to_string()))?
        .with_quic_config(|mut quic| {
            let idle = QUIC_IDLE_TIMEOUT.as_millis();
            quic.max_idle_timeout = u32::try_from(idle).expect("a few seconds");
            quic.keep_alive_interval = QUIC_KEEP_ALIVE_INTERVAL;
            quic
        })
        .with_dns()
        .map_err(|error| setup("the DNS resolver (/etc/resolv.conf)", error.to_string()))?
        .with_bandwidth_metrics(registry)
        .with_behaviour(|_| behaviour)
        .expect("it is built already")
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(config.limits.idle_timeout))
        .build();
    Ok(swarm)
}

/// Above how much memory of the process no new connections are made.
fn memory_limit(limits: &Limits) -> memory_connection_limits::Behaviour {
    use memory_connection_limits::Behaviour;

    let limit = match limits.process_memory_bytes_max {
        Some(bytes) => return Behaviour::with_max_bytes(bytes),
        None => Behaviour::with_max_percentage(PROCESS_MEMORY_SHARE),
    };
    if limit.max_allowed_bytes() > 0 {
        return limit;
    }
    // A share of nothing would refuse everybody: so it is where /proc is hidden from a service.
    tracing::warn!("the machine's memory cannot be told: connections are not limited by it");
    Behaviour::with_max_bytes(usize::MAX)
}

fn behaviour(
    config: &Config,
    keypair: &Keypair,
    names: &Names,
    responses: Bound,
    registry: &mut Registry,
) -> Result<Behaviour, NetworkError> {
    let limits = &config.limits;
    let peer = keypair.public().to_peer_id();
    let mdns = match config.mdns {
        true => Some(
            mdns::tokio::Behaviour::new(mdns::Config::default(), peer)
                .map_err(|error| NetworkError::Setup { part: "multicast DNS", reason: error.to_string() })?,
        ),
        false => None,
    };
    Ok(Behaviour {
        connections: connection_limits::Behaviour::new(connection_limits(limits)),
        memory: memory_limit(limits),
        identify: identify::Behaviour::new(
            identify::Config::new(names.version.clone(), keypair.public())
                .with_agent_version(format!("quorate/{}", env!("CARGO_PKG_VERSION")))
                .with_push_listen_addr_updates(true),
        ),
        ping: ping::Behaviour::new(
            ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT),
        ),
        routing: routing(peer, names),
        mdns: mdns.into(),
        gossip: gossip(limits, names, registry)?,
        announcements: requests(
            names.announcements.clone(),
            ANNOUNCEMENTS_BYTES_MAX,
            Bound::new(ANNOUNCEMENTS_BYTES_MAX),
            limits.request_timeout,
            EXCHANGE_STREAMS_MAX,
        ),
        requests: requests(
            names.requests.clone(),
            limits.request_bytes_max,
            responses,
            limits.request_timeout,
            REQUEST_STREAMS_MAX,
        ),
        streams: libp2p_stream::Behaviour::new(),
    })
}

fn connection_limits(limits: &Limits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.connections_pending_max))
        .with_max_pending_outgoing(Some(limits.connections_pending_max))
        .with_max_established_incoming(Some(limits.connections_incoming_max))
        .with_max_established_outgoing(Some(limits.connections_outgoing_max))
        .with_max_established_per_peer(Some(limits.connections_per_peer_max))
}

/// Kademlia for finding peers alone: nobody's records are stored.
pub(crate) fn routing(peer: PeerId, names: &Names) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(names.routing.clone());
    config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(Some(ROUTING_REFRESH_INTERVAL));
    let mut routing = kad::Behaviour::with_config(peer, MemoryStore::new(peer), config);
    // Every node answers: which of its addresses are reachable is for others to find out.
    routing.set_mode(Some(kad::Mode::Server));
    routing
}

fn requests(
    name: libp2p::StreamProtocol,
    request_bytes_max: usize,
    response_bytes_max: Bound,
    timeout: Duration,
    streams_max: usize,
) -> request_response::Behaviour<Codec> {
    request_response::Behaviour::with_codec(
        Codec { request_bytes_max: Bound::new(request_bytes_max), response_bytes_max },
        iter::once((name, ProtocolSupport::Full)),
        request_response::Config::default()
            .with_request_timeout(timeout)
            .with_max_concurrent_streams(streams_max),
    )
}

/// Gossipsub with content-addressed ids under its policy *StrictNoSign*: messages carry no author, sequence number
/// or signature, and one that does is invalid. What is gossiped is signed in itself, so a signature per message
/// would prove nothing and cost a verification per hop.
///
/// The protocol keeps its standard name, because only under that name libp2p speaks version 1.2, whose IDONTWANT
/// spares most of the copies of a bundle; the chain id is in the topics.
fn gossip(limits: &Limits, names: &Names, registry: &mut Registry) -> Result<Gossip, NetworkError> {
    let setup = |reason: String| NetworkError::Setup { part: "gossipsub", reason };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(limits.gossip_bytes_max + GOSSIP_OVERHEAD_BYTES)
        .connection_handler_queue_len(GOSSIP_SEND_QUEUE_MAX)
        .flood_publish(limits.flood_publish)
        // The mesh forms at once. Its degree (4 to 12, aiming at 6) stays the default: with fewer peers than that,
        // as among four validators, every peer is in the mesh.
        .heartbeat_initial_delay(Duration::from_millis(100))
        .heartbeat_interval(Duration::from_secs(1))
        .build()
        .map_err(|error| setup(error.to_string()))?;
    let topics = names.topics();
    let filter = WhitelistSubscriptionFilter(topics.iter().map(|topic| topic.hash()).collect());
    let mut gossip =
        Gossip::new_with_subscription_filter(gossipsub::MessageAuthenticity::Anonymous, config, filter)
            .map_err(|error| setup(error.to_owned()))?
            .with_metrics(
                registry.sub_registry_with_prefix("gossipsub"),
                gossipsub::MetricsConfig::default(),
            );
    let (params, thresholds) = peer_score(names);
    gossip.with_peer_score(params, thresholds).map_err(setup)?;
    for topic in topics {
        gossip.subscribe(topic).map_err(|error| setup(error.to_string()))?;
    }
    Ok(gossip)
}

/// A message is its topic and its content, whoever sends it.
fn message_id(message: &gossipsub::Message) -> gossipsub::MessageId {
    let topic = message.topic.as_str().as_bytes();
    let content = [&(topic.len() as u64).to_be_bytes(), topic, &message.data].concat();
    gossipsub::MessageId::new(Hash::of(&content).as_bytes())
}

/// Peers are judged by invalid messages and broken protocol alone. What gossipsub can also count against a peer
/// (few messages, slowness, sharing an address with others) is normal in a chain of few nodes, or of nodes that all
/// run on one machine.
///
/// Nine invalid messages within seconds reach the score at which a peer is no longer listened to; it is forgiven
/// within a minute.
fn peer_score(names: &Names) -> (gossipsub::PeerScoreParams, gossipsub::PeerScoreThresholds) {
    let topic = gossipsub::TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.9,
        ..Default::default()
    };
    let params = gossipsub::PeerScoreParams {
        topics: names.topics().iter().map(|name| (name.hash(), topic.clone())).collect(),
        ip_colocation_factor_weight: 0.0,
        slow_peer_weight: 0.0,
        behaviour_penalty_threshold: 6.0,
        ..Default::default()
    };
    (params, gossipsub::PeerScoreThresholds::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_named_by_topic_and_content() {
        let names = Names::new(&Hash::of(b"chain"));
        let message = |topic: &gossipsub::IdentTopic, data: &[u8], sequence_number| gossipsub::Message {
            source: None,
            data: data.to_vec(),
            sequence_number,
            topic: topic.hash(),
        };
        let id = message_id(&message(&names.blocks_topic, b"x", None));
        assert_eq!(id, message_id(&message(&names.blocks_topic, b"x", Some(7))));
        assert_ne!(id, message_id(&message(&names.blocks_topic, b"y", None)));
        assert_ne!(id, message_id(&message(&names.transactions_topic, b"x", None)));
    }
}
