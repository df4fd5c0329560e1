//! What a peer says about itself, and what is kept of it.
//!
//! A peer may say it anew at any time and as often as it likes, so nothing that it says adds up: its name replaces the one
//! before, and of the addresses that it ever told the routing table keeps a bounded number (the library keeps all).

use libp2p::{
    Multiaddr, PeerId, identify,
    kad::{self, RoutingUpdate, store::MemoryStore},
};

use crate::{
    limits::{ADDRESSES_MAX, AGENT_CHARS_MAX},
    names::Names,
    peer::printable,
};

/// What a node of this chain said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What it calls itself, fit for a log.
    pub(crate) agent: String,
    /// Where it listens, if it can be asked for peers; at most [`ADDRESSES_MAX`].
    pub(crate) addresses: Vec<Multiaddr>,
}

impl Identity {
    /// Reads what a peer said.
    ///
    /// # Errors
    /// Why it is none of ours.
    pub(crate) fn of(info: identify::Info, names: &Names) -> Result<Self, String> {
        if let Some(reason) = names.stranger(&info.protocol_version, &info.protocols) {
            return Err(reason);
        }
        let addresses = match info.protocols.contains(&names.routing) {
            true => info.listen_addrs.into_iter().take(ADDRESSES_MAX).collect(),
            false => Vec::new(),
        };
        Ok(Self { agent: printable(&info.agent_version, AGENT_CHARS_MAX), addresses })
    }
}

/// Whether a peer says it for the first time since it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    First,
    Again,
}

/// Enters where a peer says it listens. Of the other addresses under which it is known those stay that have been known
/// longest, such as the configured one of a bootstrap peer, up to [`ADDRESSES_MAX`].
pub(crate) fn enter(
    routing: &mut kad::Behaviour<MemoryStore>,
    peer: PeerId,
    told: Vec<Multiaddr>,
    occasion: Occasion,
) {
    let told: Vec<_> = told.into_iter().filter_map(|address| address.with_p2p(peer).ok()).collect();
    for address in &told {
        let update = routing.add_address(&peer, address.clone());
        // It waits for a place of somebody who is gone. What waits cannot be looked at, so it gets nothing more.
        if matches!(update, RoutingUpdate::Pending) && occasion == Occasion::Again {
            routing.remove_address(&peer, address);
        }
    }
    let others = known(routing, &peer).into_iter().filter(|address| !told.contains(address));
    for address in others.skip(ADDRESSES_MAX).collect::<Vec<_>>() {
        routing.remove_address(&peer, &address);
    }
}

/// The addresses of a peer in the routing table, those known longest first.
pub(crate) fn known(routing: &mut kad::Behaviour<MemoryStore>, peer: &PeerId) -> Vec<Multiaddr> {
    let Some(bucket) = routing.kbucket(*peer) else { return Vec::new() };
    let entry = bucket.iter().find(|entry| entry.node.key.preimage() == peer);
    entry.map(|entry| entry.node.value.iter().cloned().collect()).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use libp2p::{
        core::ConnectedPoint,
        swarm::{ConnectionId, FromSwarm, NetworkBehaviour, behaviour::ConnectionEstablished},
    };
    use quorate_crypto::Hash;

    use super::*;
    use crate::behaviour;

    /// Most addresses of one peer in the routing table: what it tells now, and as many that were known before.
    pub(crate) const KNOWN_MAX: usize = 2 * ADDRESSES_MAX;

    pub(crate) fn routing() -> kad::Behaviour<MemoryStore> {
        behaviour::routing(PeerId::random(), &Names::new(&Hash::of(b"chain")))
    }

    /// So many addresses that differ from those of other rounds.
    fn addresses(round: usize) -> Vec<Multiaddr> {
        let address = |place| format!("/dns4/host-{round}-{place}.example/tcp/1");
        (0..ADDRESSES_MAX).map(|place| address(place).parse().expect("an address")).collect()
    }

    fn with_peer(addresses: Vec<Multiaddr>, peer: PeerId) -> Vec<Multiaddr> {
        addresses.into_iter().map(|address| address.with_p2p(peer).expect("no peer yet")).collect()
    }

    #[test]
    fn who_tells_ever_new_addresses_is_known_by_the_last_and_the_first_of_them() {
        let (mut routing, peer) = (routing(), PeerId::random());
        enter(&mut routing, peer, addresses(0), Occasion::First);
        for round in 1..1_000 {
            enter(&mut routing, peer, addresses(round), Occasion::Again);
        }
        let kept = [addresses(0), addresses(999)].map(|all| with_peer(all, peer)).concat();
        assert_eq!(kept.len(), KNOWN_MAX);
        assert_eq!(known(&mut routing, &peer), kept);
        // Connecting anew changes nothing about that.
        for round in 1_000..1_100 {
            enter(&mut routing, peer, addresses(round), Occasion::First);
        }
        assert_eq!(known(&mut routing, &peer).len(), KNOWN_MAX);
    }

    #[test]
    fn who_tells_the_same_again_is_known_by_it() {
        let (mut routing, peer) = (routing(), PeerId::random());
        for occasion in [Occasion::First, Occasion::Again] {
            enter(&mut routing, peer, addresses(0), occasion);
            assert_eq!(known(&mut routing, &peer), with_peer(addresses(0), peer));
        }
        enter(&mut routing, peer, Vec::new(), Occasion::Again);
        assert_eq!(known(&mut routing, &peer), with_peer(addresses(0), peer), "silence takes nothing back");
    }

    fn connect(routing: &mut kad::Behaviour<MemoryStore>, peer: PeerId) {
        let (local_addr, send_back_addr) = (Multiaddr::empty(), Multiaddr::empty());
        routing.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: ConnectionId::new_unchecked(0),
            endpoint: &ConnectedPoint::Listener { local_addr, send_back_addr },
            failed_addresses: &[],
            other_established: 0,
        }));
    }

    #[test]
    fn who_waits_for_a_place_in_the_table_waits_with_what_it_told_first() {
        let mut routing = routing();
        let first = || addresses(0).remove(0);
        // Half of all peers belong into one bucket: it is full of peers that are gone.
        for _ in 0..1_000 {
            routing.add_address(&PeerId::random(), first());
        }
        let waits = |peer: &PeerId| {
            connect(&mut routing, *peer);
            matches!(routing.add_address(peer, first()), RoutingUpdate::Pending)
        };
        let waiting = (0..100).map(|_| PeerId::random()).find(waits).expect("one of that half");
        enter(&mut routing, waiting, addresses(0), Occasion::First);
        for round in 1..100 {
            enter(&mut routing, waiting, addresses(round), Occasion::Again);
        }
        let entry = routing.remove_peer(&waiting).expect("it waits");
        assert_eq!(entry.node.value.into_vec(), with_peer(addresses(0), waiting));
    }
}
