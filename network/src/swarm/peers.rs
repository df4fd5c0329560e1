//! Connections: who is connected, who they say they are, whom to dial, whom to send away.

use std::{
    collections::HashSet,
    time::{Instant, SystemTime},
};

use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    identify, mdns, ping,
    swarm::{
        ConnectionError, ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tracing::{debug, info};

use super::{Loop, dialer::Dial};
use crate::{
    PeerInfo,
    identity::{self, Identity, Occasion},
    limits::IDENTIFY_TIMEOUT,
};

impl Loop {
    pub(super) fn on_connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        established: u32,
    ) {
        for bootstrap in &mut self.bootstrap {
            if bootstrap.dialling == Some(connection) {
                bootstrap.dialling = None;
                bootstrap.peer = Some(peer);
            }
        }
        // Validators pass the limits of all connections; this one holds for them, too.
        if established > self.config.limits.connections_per_peer_max {
            debug!(%peer, established, "one connection too many with this peer");
            self.swarm.close_connection(connection);
            return;
        }
        self.connections.entry(peer).or_default().insert(connection);
        let address = endpoint.get_remote_address().clone();
        debug!(%peer, %address, "connected");
        let validator = self.book.validator_of(&peer);
        self.shared.update_peers(|peers| {
            let info = peers.entry(peer).or_insert_with(|| PeerInfo {
                peer,
                addresses: Vec::new(),
                agent: None,
                validator,
                inbound_stream: false,
                outbound_stream: false,
                since: SystemTime::now(),
                ping: None,
            });
            info.addresses.push(address);
        });
        if established == 1 {
            self.unidentified.insert(peer, Instant::now());
            self.write_to_peer(peer);
            if endpoint.is_dialer() {
                self.exchange_with(peer);
            }
        }
    }

    pub(super) fn on_closed(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        remaining: u32,
        cause: Option<ConnectionError>,
    ) {
        let address = endpoint.get_remote_address();
        debug!(%peer, %address, remaining, ?cause, "connection closed");
        if let Some(open) = self.connections.get_mut(&peer) {
            open.remove(&connection);
        }
        if remaining > 0 {
            self.shared.update_peers(|peers| {
                let addresses = peers.get_mut(&peer).map(|info| &mut info.addresses);
                if let Some(addresses) = addresses
                    && let Some(index) = addresses.iter().position(|known| known == address)
                {
                    addresses.swap_remove(index);
                }
            });
            return;
        }
        self.shared.update_peers(|peers| peers.remove(&peer));
        self.connections.remove(&peer);
        self.told.remove(&peer);
        self.unidentified.remove(&peer);
        self.held.remove(&peer);
        self.writers.retain(|_, writer| writer.peer != peer);
    }

    pub(super) fn on_dial_failed(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
    ) {
        let own_address = matches!(error, DialError::LocalPeerId { .. });
        self.bootstrap.iter_mut().filter(|bootstrap| bootstrap.dialling == Some(connection)).for_each(
            |bootstrap| {
                bootstrap.dialling = None;
                if own_address {
                    // Not dialled again: it counts as connected.
                    bootstrap.peer = Some(self.shared.local_peer);
                }
            },
        );
        debug!(?peer, %error, "dial failed");
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id: peer, info, .. } = event else {
            return;
        };
        let Identity { agent, addresses } = match Identity::of(info, &self.names) {
            Ok(identity) => identity,
            Err(reason) => return self.expel(peer, reason),
        };
        let occasion = match self.unidentified.remove(&peer) {
            Some(_) => Occasion::First,
            None => Occasion::Again,
        };
        if occasion == Occasion::First {
            info!(%peer, %agent, "peer connected");
        }
        self.shared.update_peers(|peers| {
            if let Some(known) = peers.get_mut(&peer) {
                known.agent = Some(agent);
            }
        });
        identity::enter(&mut self.swarm.behaviour_mut().routing, peer, addresses, occasion);
        let now = Instant::now();
        self.dialer.succeeded(Dial::Validator(peer), now);
        for (index, bootstrap) in self.bootstrap.iter().enumerate() {
            if bootstrap.peer == Some(peer) {
                self.dialer.succeeded(Dial::Bootstrap(index), now);
            }
        }
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(round_trip) => self.shared.update_ping(event.peer, round_trip),
            // Every node answers pings, so the other end is gone even if the connection has not noticed.
            Err(ping::Failure::Timeout) => {
                info!(peer = %event.peer, "peer does not answer, closing the connection");
                self.swarm.close_connection(event.connection);
            }
            Err(ping::Failure::Unsupported | ping::Failure::Other { .. }) => {}
        }
    }

    pub(super) fn on_mdns(&mut self, event: mdns::Event) {
        match event {
            mdns::Event::Discovered(found) => {
                for (peer, address) in found {
                    debug!(%peer, %address, "found on the local network");
                    let dial = DialOpts::peer_id(peer)
                        .condition(PeerCondition::DisconnectedAndNotDialing)
                        .addresses(vec![address])
                        .build();
                    self.dial(dial);
                }
            }
            mdns::Event::Expired(_) => {}
        }
    }

    /// Closes what a peer's former life left open. A process that is killed says no goodbye over QUIC, and frames written
    /// to it would go nowhere until the connection times out; a newer announcement that the peer brings over a new
    /// connection shows that it started again.
    pub(super) fn supersede(&mut self, peer: PeerId, connection: ConnectionId, sequence: u64) {
        let before = self.told.insert(peer, sequence);
        if before.is_none_or(|before| before >= sequence) {
            return;
        }
        let older = self.connections.get(&peer).into_iter().flat_map(|open| open.range(..connection));
        for connection in older.copied().collect::<Vec<_>>() {
            debug!(%peer, "closing a connection of its former life");
            self.swarm.close_connection(connection);
        }
    }

    /// Disconnects a peer and says why.
    pub(super) fn expel(&mut self, peer: PeerId, reason: String) {
        self.swarm.behaviour_mut().routing.remove_peer(&peer);
        if self.swarm.disconnect_peer_id(peer).is_ok() {
            self.shared.disconnected(peer, reason);
        }
    }

    pub(super) fn expel_unidentified(&mut self, now: Instant) {
        let overdue = self.unidentified.extract_if(|_, since| now.duration_since(*since) > IDENTIFY_TIMEOUT);
        for (peer, _) in overdue.collect::<Vec<_>>() {
            self.expel(peer, "it did not identify itself".to_owned());
        }
    }

    pub(super) fn start_bootstrap(&mut self) {
        for bootstrap in &self.bootstrap {
            if let Some(peer) = bootstrap.peer {
                self.swarm.behaviour_mut().routing.add_address(&peer, bootstrap.address.clone());
            }
        }
        self.dial_due(Instant::now());
    }

    /// Dials validators and bootstrap peers that are not connected, each after its pause.
    pub(super) fn dial_due(&mut self, now: Instant) {
        let wanted = self.wanted();
        self.dialer.retain(&wanted);
        let missing = wanted.into_iter().filter(|dial| match dial {
            Dial::Validator(peer) => !self.swarm.is_connected(peer),
            Dial::Bootstrap(index) => {
                let bootstrap = &self.bootstrap[*index];
                let away = |peer| peer != self.shared.local_peer && !self.swarm.is_connected(&peer);
                bootstrap.dialling.is_none() && bootstrap.peer.is_none_or(away)
            }
        });
        for dial in self.dialer.take(missing.collect::<Vec<_>>(), now) {
            match dial {
                Dial::Validator(peer) => self.dial_validator(peer),
                Dial::Bootstrap(index) => self.dial_bootstrap(index),
            }
        }
    }

    fn wanted(&self) -> HashSet<Dial> {
        let bootstrap = (0..self.bootstrap.len()).map(Dial::Bootstrap);
        bootstrap.chain(self.wanted_validators().map(Dial::Validator)).collect()
    }

    fn dial_bootstrap(&mut self, index: usize) {
        let address = self.bootstrap[index].address.clone();
        debug!(%address, "dialling bootstrap peer");
        let options = DialOpts::from(address);
        let connection = options.connection_id();
        if self.dial(options) {
            self.bootstrap[index].dialling = Some(connection);
        }
    }

    fn dial_validator(&mut self, peer: PeerId) {
        let Some(validator) = self.book.validator_of(&peer) else {
            return;
        };
        let addresses =
            self.book.binding(&validator).map(|binding| binding.addresses.clone()).unwrap_or_default();
        debug!(%validator, %peer, ?addresses, "dialling validator");
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour();
        self.dial(options.build());
    }

    /// Returns whether the dial is under way.
    fn dial(&mut self, options: DialOpts) -> bool {
        match self.swarm.dial(options) {
            Ok(()) => true,
            Err(error) => {
                debug!(%error, "not dialled");
                false
            }
        }
    }

    pub(super) fn listening_changed(&mut self) {
        let addresses: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        self.shared.set_listening(addresses);
        self.announce_soon(Instant::now());
    }
}
