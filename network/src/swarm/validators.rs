//! Validators: their announcements, our own, and the streams with those that are bound to a peer.

use std::{collections::BTreeSet, io, sync::Arc, time::Instant};

use libp2p::{
    Multiaddr, PeerId, Stream,
    gossipsub::MessageAcceptance,
    multiaddr::Protocol,
    request_response::{self, Message, OutboundFailure},
    swarm::ConnectionId,
};
use quorate_crypto::{PublicKey, decode, encode};
use tracing::{debug, error, info, warn};

use super::{Loop, Task, exchange::asker};
use crate::{
    announcement::{Binding, Exchange, Merged, Refusal, SignedAnnouncement},
    codec::{Request, Response},
    limits::{ANNOUNCE_INTERVAL_MIN, HELD_STREAM_TIME_MAX, HELD_STREAMS_MAX},
    streams::{Outbound, Queue, Reader},
    unix_millis,
};

/// An inbound stream whose peer is not bound to a validator yet. It is not read.
pub(super) struct Held {
    stream: Stream,
    since: Instant,
}

/// The task that writes to a validator.
pub(super) struct Writer {
    pub(super) peer: PeerId,
    queue: Arc<Queue>,
    pub(super) task: Task,
}

impl Loop {
    pub(super) fn set_validators(&mut self, validators: BTreeSet<PublicKey>) {
        info!(count = validators.len(), "validator set");
        for binding in self.book.set_validators(validators) {
            self.unbind(&binding);
            self.shared.status.forget(&binding.validator);
        }
        let now = Instant::now();
        self.announce_soon(now);
        self.exchange.reset(now);
        // A validator that left and came back between two looks of ours has a new queue.
        self.writers.retain(|validator, writer| {
            self.shared.queue(validator).is_some_and(|queue| Arc::ptr_eq(&queue, &writer.queue))
        });
        // Streams are for validators: they come and go with our own membership.
        if self.is_validator() {
            for peer in self.swarm.connected_peers().copied().collect::<Vec<_>>() {
                self.write_to_peer(peer);
            }
        } else {
            self.writers.clear();
            // One that waited for its time: nobody takes it any more, we ourselves no more than others.
            self.announce_at = None;
        }
    }

    fn is_validator(&self) -> bool {
        self.shared.own_validator.is_some_and(|own| self.book.is_validator(&own))
    }

    /// The peers that we keep connections with: those of all other validators if we are one.
    pub(super) fn wanted_validators(&self) -> impl Iterator<Item = PeerId> {
        let local = self.shared.local_peer;
        let wanted = self.is_validator();
        self.book.bindings().map(|binding| binding.peer).filter(move |peer| wanted && *peer != local)
    }

    // Announcements

    /// Has our own announcement made, unless the last one is too recent: then after a while.
    pub(super) fn announce_soon(&mut self, now: Instant) {
        if self.is_validator() {
            let at = self.last_announced.map_or(now, |last| now.max(last + ANNOUNCE_INTERVAL_MIN));
            self.announce_at = Some(at);
            self.announce_if_due(now);
        }
    }

    pub(super) fn announce_if_due(&mut self, now: Instant) {
        if self.announce_at.is_some_and(|at| now >= at) {
            self.announce_at = None;
            self.last_announced = Some(now);
            self.announce();
        }
    }

    fn announce(&mut self) {
        let Some((validator, sequence)) = self.config.validator.as_ref().zip(self.sequence.as_mut()) else {
            return;
        };
        let now_ms = unix_millis();
        let number = match sequence.next(now_ms) {
            Ok(number) => number,
            Err(error) => {
                error!(path = %sequence.path().display(), %error, "cannot keep the announcement sequence: not announcing");
                return;
            }
        };
        if self.shared.drift.is_ahead(number, now_ms) {
            warn!(
                sequence = number,
                now_ms, "the clock is behind our last announcement: others will not take this one"
            );
        }
        let listening: Vec<_> = self.swarm.listeners().cloned().collect();
        let addresses = announced_addresses(&self.config.external, &listening);
        let chain = &self.config.chain;
        let signed = SignedAnnouncement::sign(chain, validator, &self.config.identity, &addresses, number);
        // Against our own clock it may be ahead, see above; it is ours none the less.
        match self.book.merge(signed.clone(), number) {
            Ok(merged) => {
                info!(sequence = number, ?addresses, "announcing this validator");
                self.rebind(merged);
            }
            Err(refusal) => error!(%refusal, "our own announcement is refused"),
        }
        self.publish_announcement(&signed);
        self.exchange.reset(Instant::now());
    }

    fn publish_announcement(&mut self, signed: &SignedAnnouncement) {
        let topic = self.names.announcements_topic.hash();
        if let Err(error) = self.swarm.behaviour_mut().gossip.publish(topic, encode(signed)) {
            // Nobody listens yet, or all have it: the exchange with each new peer covers both.
            debug!(%error, "announcement not gossiped");
        }
    }

    /// Takes up an announcement and acts on the binding. The error says whether it changed nothing or was a fault.
    fn learn(&mut self, signed: SignedAnnouncement) -> Result<(), Refusal> {
        let validator = signed.announcement.validator;
        let own = self.shared.own_validator == Some(validator);
        let sequence = signed.announcement.sequence;
        match self.book.merge(signed, unix_millis()) {
            Ok(merged) => {
                if own {
                    // Ours, and newer than what we know: the sequence file was lost.
                    warn!(sequence, "others know a newer announcement of ours, exceeding it");
                    if let Some(kept) = &mut self.sequence {
                        kept.observe(sequence);
                    }
                    self.rebind(merged);
                    self.announce_soon(Instant::now());
                } else {
                    self.rebind(merged);
                }
                Ok(())
            }
            Err(refusal) => {
                if let Refusal::OurKey(peer) = &refusal {
                    error!(%validator, %peer, "another node announces our validator key: is it in use twice?");
                }
                Err(refusal)
            }
        }
    }

    pub(super) fn on_announcement_gossip(&mut self, bytes: &[u8]) -> MessageAcceptance {
        let Ok(signed) = decode::<SignedAnnouncement>(bytes) else {
            return MessageAcceptance::Reject;
        };
        match self.learn(signed) {
            Ok(()) => MessageAcceptance::Accept,
            Err(refusal) if refusal.is_fault() => MessageAcceptance::Reject,
            Err(_) => MessageAcceptance::Ignore,
        }
    }

    // Exchange: both sides tell all they know. On every new connection, and now and then with somebody.

    pub(super) fn exchange_with(&mut self, peer: PeerId) {
        let ours = self.known_announcements();
        self.swarm.behaviour_mut().announcements.send_request(&peer, Request::Message(ours));
    }

    pub(super) fn exchange_if_due(&mut self, now: Instant) {
        if !self.exchange.take(now) || self.book.is_complete() {
            return;
        }
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        if peers.is_empty() {
            return;
        }
        // Without randomness the first peer is asked; that is no worse than a poor choice.
        let choice = getrandom::u32().unwrap_or_default() as usize % peers.len();
        self.exchange_with(peers[choice]);
    }

    /// All that is known, as [`Exchange`] has it.
    fn known_announcements(&self) -> Vec<u8> {
        encode(&self.book.bindings().map(|binding| &binding.signed).collect::<Vec<_>>())
    }

    /// Takes up what a peer knows and answers what we know, if the peer may ask: both are work for this loop, and both count.
    pub(super) fn exchange(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        theirs: &[u8],
        now: Instant,
    ) -> Response {
        let asker = asker(self.book.validator_of(&peer));
        if !self.quota.request_at_once(peer, asker, now) {
            debug!(%peer, "announcements not exchanged: it asks too often");
            return Response::Refused;
        }
        // Before learning, so that they are not told what they just told us.
        let ours = self.known_announcements();
        self.quota.answered(peer, asker, ours.len() + theirs.len(), now);
        self.learn_all(peer, connection, theirs);
        Response::Answer(ours)
    }

    pub(super) fn on_announcements(&mut self, event: request_response::Event<Request, Response>) {
        match event {
            request_response::Event::Message { peer, connection_id, message } => match message {
                Message::Request { request: Request::TooLarge(error), .. } => {
                    self.expel(peer, format!("it sent {error}, as announcements"));
                }
                Message::Request { request: Request::Message(theirs), channel, .. } => {
                    let response = self.exchange(peer, connection_id, &theirs, Instant::now());
                    // An error means that the connection is gone.
                    let _ = self.swarm.behaviour_mut().announcements.send_response(channel, response);
                }
                Message::Response { response, .. } => match response {
                    Response::Answer(theirs) => self.learn_all(peer, connection_id, &theirs),
                    Response::Refused => {}
                },
            },
            request_response::Event::OutboundFailure { peer, error, .. } => match error {
                OutboundFailure::UnsupportedProtocols => {
                    self.expel(peer, "it does not exchange announcements of this chain".to_owned());
                }
                OutboundFailure::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.expel(peer, format!("its announcements are malformed: {error}"));
                }
                OutboundFailure::DialFailure
                | OutboundFailure::Timeout
                | OutboundFailure::ConnectionClosed
                | OutboundFailure::Io(_) => debug!(%peer, %error, "no exchange of announcements"),
            },
            request_response::Event::InboundFailure { peer, error, .. } => {
                debug!(%peer, %error, "exchange of announcements not answered");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn learn_all(&mut self, peer: PeerId, connection: ConnectionId, bytes: &[u8]) {
        let all = match decode(bytes) {
            Ok(Exchange(all)) => all,
            Err(error) => return self.expel(peer, format!("its announcements are malformed: {error}")),
        };
        for signed in all {
            match self.learn(signed.clone()) {
                Ok(()) => {
                    // Those we are connected with may not have heard of it.
                    self.publish_announcement(&signed);
                    self.exchange.reset(Instant::now());
                }
                Err(refusal) if refusal.is_fault() => {
                    self.expel(peer, format!("it sent an announcement that is wrong: {refusal}"));
                    return;
                }
                Err(refusal) => debug!(%peer, %refusal, "announcement not taken up"),
            }
        }
        let binding = self.book.validator_of(&peer).and_then(|validator| self.book.binding(&validator));
        if let Some(sequence) = binding.map(|binding| binding.sequence) {
            self.supersede(peer, connection, sequence);
        }
    }

    // Bindings and streams

    fn rebind(&mut self, Merged { binding, previous, displaced }: Merged) {
        let Binding { validator, peer, sequence, .. } = &binding;
        if let Some(displaced) = displaced {
            warn!(validator = %displaced.validator, %peer, by = %validator, "peer now serves another validator");
            self.unbind(&displaced);
        }
        match previous {
            None => info!(%validator, %peer, sequence, "validator announced"),
            Some(previous) if previous.peer == *peer => {
                info!(%validator, %peer, sequence, previous = previous.sequence, "validator announced again");
            }
            Some(previous) => {
                warn!(%validator, %peer, sequence, previous = previous.sequence, previous_peer = %previous.peer,
                    "validator moved to another peer");
                self.unbind(&previous);
            }
        }
        if *peer == self.shared.local_peer {
            return;
        }
        self.swarm.behaviour_mut().connections.bypass_peer_id(peer);
        self.show_validator(*peer, Some(*validator));
        self.write_to_peer(*peer);
        if let Some(Held { stream, .. }) = self.held.remove(peer) {
            self.on_inbound_stream(*peer, stream);
        }
        self.dial_due(Instant::now());
    }

    /// Takes back what a binding gave its peer.
    fn unbind(&mut self, binding: &Binding) {
        self.writers.remove(&binding.validator);
        self.readers.remove(&binding.validator);
        self.swarm.behaviour_mut().connections.remove_peer_id(&binding.peer);
        self.show_validator(binding.peer, None);
    }

    fn show_validator(&self, peer: PeerId, validator: Option<PublicKey>) {
        self.shared.update_peers(|peers| {
            if let Some(info) = peers.get_mut(&peer) {
                info.validator = validator;
            }
        });
    }

    /// Has frames written to the validator that a connected peer is bound to, if it is and we are a validator.
    pub(super) fn write_to_peer(&mut self, peer: PeerId) {
        let Some(validator) = self.book.validator_of(&peer) else {
            return;
        };
        let written = self.writers.get(&validator).is_some_and(|writer| writer.peer == peer);
        if written || !self.is_validator() || !self.swarm.is_connected(&peer) {
            return;
        }
        // A validator of the set has a queue, unless the set has just changed and we are about to hear of it.
        let Some(queue) = self.shared.queue(&validator) else {
            return;
        };
        let outbound = Outbound {
            control: self.control.clone(),
            protocol: self.names.frames.clone(),
            validator,
            peer,
            queue: queue.clone(),
            status: self.shared.status.clone(),
            metrics: self.shared.metrics.clone(),
        };
        self.writers.insert(validator, Writer { peer, queue, task: Task::spawn(outbound.run()) });
    }

    /// Reads a stream if its peer is bound to a validator; else holds it until it is.
    pub(super) fn on_inbound_stream(&mut self, peer: PeerId, stream: Stream) {
        let Some(validator) = self.book.validator_of(&peer) else {
            if self.held.len() < HELD_STREAMS_MAX || self.held.contains_key(&peer) {
                debug!(%peer, "stream waits for its peer's announcement");
                // Another stream takes the place of the one that is held, for no longer, and nothing more is asked for it.
                let since = self.held.get(&peer).map(|held| held.since);
                self.held.insert(peer, Held { stream, since: since.unwrap_or_else(Instant::now) });
                if since.is_none() {
                    self.exchange_with(peer);
                }
            } else {
                debug!(%peer, "too many streams wait for announcements, one is closed");
            }
            return;
        };
        let reader = Reader {
            validator,
            peer,
            frame_bytes_max: self.shared.sizes.frames.clone(),
            frames: self.lanes.frames.clone(),
            faults: self.faults.clone(),
            status: self.shared.status.clone(),
            metrics: self.shared.metrics.clone(),
        };
        // The newer stream takes the older one's place: the opener has given the older up.
        self.readers.insert(validator, Task::spawn(reader.run(stream)));
    }

    pub(super) fn expire_held(&mut self, now: Instant) {
        let overdue = |since: Instant| now.duration_since(since) > HELD_STREAM_TIME_MAX;
        self.held.retain(|peer, held| {
            let keep = !overdue(held.since);
            if !keep {
                debug!(%peer, "stream closed: its peer announced no validator of the set");
            }
            keep
        });
    }
}

/// What to announce: the configured external addresses first, then what we listen on, without loopback addresses
/// unless there is nothing else.
fn announced_addresses(external: &[Multiaddr], listening: &[Multiaddr]) -> Vec<Multiaddr> {
    let all: Vec<_> = external.iter().chain(listening).cloned().collect();
    let reachable: Vec<_> = all.iter().filter(|address| !is_loopback(address)).cloned().collect();
    if reachable.is_empty() { all } else { reachable }
}

fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn loopback_is_announced_only_for_want_of_better() {
        let loopback = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"]);
        let public = addresses(&["/ip4/192.0.2.1/tcp/1"]);
        let external = addresses(&["/dns/example.org/tcp/1"]);
        assert_eq!(announced_addresses(&[], &loopback), loopback);
        let both = [loopback.clone(), public.clone()].concat();
        assert_eq!(announced_addresses(&[], &both), public);
        assert_eq!(announced_addresses(&external, &both), [external.clone(), public].concat());
        assert_eq!(announced_addresses(&external, &loopback), external);
    }
}
