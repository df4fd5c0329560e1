//! What passes through: gossip with its verdicts, requests and their answers.

use std::{
    io,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, FutureExt};
use libp2p::{
    PeerId,
    gossipsub::{self, MessageAcceptance, MessageId, PublishError},
    request_response::{self, Message, OutboundFailure, ResponseChannel},
};
use quorate_crypto::PublicKey;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tracing::{debug, error};

use super::Loop;
use crate::{
    GossipToken, GossipVerdict, Inbound, RequestError, Target, Topic,
    codec::{Request, Response},
    limits::{REQUESTS_IN_MAX, REQUESTS_IN_OF_STRANGERS_MAX, REQUESTS_IN_PER_PEER_MAX, REQUESTS_OUT_MAX},
    metrics::{Direction, GossipOutcome, RequestOutcome},
    quota::Asker,
};

/// A request being answered by the application.
pub(super) type Reply = BoxFuture<'static, Replied>;

/// What came of it: `None` if the application declined or took too long.
pub(super) struct Replied {
    peer: PeerId,
    asker: Asker,
    channel: ResponseChannel<Response>,
    answer: Option<Vec<u8>>,
}

impl Loop {
    // Gossip

    pub(super) fn publish(&mut self, topic: Topic, message: Vec<u8>) {
        let hash = self.names.topic(topic).hash();
        let outcome = match self.swarm.behaviour_mut().gossip.publish(hash, message) {
            // A duplicate is a message that everybody is being told already.
            Ok(_) | Err(PublishError::Duplicate) => GossipOutcome::Published,
            Err(error) => {
                debug!(topic = topic.name(), %error, "message not gossiped");
                GossipOutcome::Unpublished
            }
        };
        self.shared.metrics.gossip(topic, outcome);
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                self.on_gossip_message(propagation_source, message_id, message);
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                debug!(peer = %peer_id, "peer is slow to take gossip");
            }
            gossipsub::Event::Subscribed { .. }
            | gossipsub::Event::Unsubscribed { .. }
            // A peer without gossip has another chain's or none of our protocols, which it will say itself.
            | gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    fn on_gossip_message(&mut self, source: PeerId, id: MessageId, message: gossipsub::Message) {
        let topic = if message.topic == self.names.announcements_topic.hash() {
            let acceptance = self.on_announcement_gossip(&message.data);
            self.report(&id, &source, acceptance);
            return;
        } else if message.topic == self.names.transactions_topic.hash() {
            Topic::Transactions
        } else if message.topic == self.names.blocks_topic.hash() {
            Topic::Blocks
        } else {
            debug!(peer = %source, topic = %message.topic, "gossip on a topic that we are not subscribed to");
            self.report(&id, &source, MessageAcceptance::Ignore);
            return;
        };
        self.shared.metrics.gossip(topic, GossipOutcome::Received);
        let max = self.config.limits.gossip_bytes_max;
        if message.data.len() > max {
            self.report(&id, &source, MessageAcceptance::Reject);
            self.expel(
                source,
                format!("it gossiped {} bytes, at most {max} are allowed", message.data.len()),
            );
            return;
        }
        let Some(number) = self.gossip.admit(id.clone(), source, Instant::now()) else {
            return self.overflow(topic, &id, &source);
        };
        let token = GossipToken { number, topic };
        let inbound = Inbound::Gossip { topic, source, bytes: message.data, token };
        if self.lanes.gossip.try_send(inbound).is_err() {
            self.gossip.settle(number);
            self.overflow(topic, &id, &source);
        }
    }

    fn overflow(&mut self, topic: Topic, id: &MessageId, source: &PeerId) {
        self.shared.metrics.gossip(topic, GossipOutcome::Overflow);
        self.report(id, source, MessageAcceptance::Ignore);
    }

    pub(super) fn on_verdict(&mut self, token: &GossipToken, verdict: GossipVerdict) {
        let outcome = match self.gossip.settle(token.number) {
            None => GossipOutcome::Expired,
            Some(pending) => {
                let (acceptance, outcome) = match verdict {
                    GossipVerdict::Accept => (MessageAcceptance::Accept, GossipOutcome::Accepted),
                    GossipVerdict::Ignore => (MessageAcceptance::Ignore, GossipOutcome::Ignored),
                    GossipVerdict::Reject => (MessageAcceptance::Reject, GossipOutcome::Rejected),
                };
                self.report(&pending.id, &pending.source, acceptance);
                outcome
            }
        };
        self.shared.metrics.gossip(token.topic, outcome);
    }

    fn report(&mut self, id: &MessageId, source: &PeerId, acceptance: MessageAcceptance) {
        // False means that gossipsub has let go of the message, so there is nothing to forward.
        self.swarm.behaviour_mut().gossip.report_message_validation_result(id, source, acceptance);
    }

    // Requests

    pub(super) fn request(
        &mut self,
        target: Target,
        request: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, RequestError>>,
    ) {
        match self.requested(target) {
            Ok(peer) => {
                let id = self.swarm.behaviour_mut().requests.send_request(&peer, Request::Message(request));
                self.requests.insert(id, reply);
            }
            Err(error) => {
                // The caller may have stopped waiting.
                let _ = reply.send(Err(error));
            }
        }
    }

    fn requested(&self, target: Target) -> Result<PeerId, RequestError> {
        let peer = match target {
            Target::Peer(peer) => peer,
            Target::Validator(validator) => self.book.binding(&validator).ok_or(RequestError::Unknown)?.peer,
        };
        if !self.swarm.is_connected(&peer) {
            return Err(RequestError::NotConnected);
        }
        if self.requests.len() >= REQUESTS_OUT_MAX {
            return Err(RequestError::Busy);
        }
        Ok(peer)
    }

    pub(super) fn on_requests(&mut self, event: request_response::Event<Request, Response>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                Message::Request { request: Request::Message(bytes), channel, .. } => {
                    self.on_request(peer, bytes, channel);
                }
                Message::Request { request: Request::TooLarge(error), .. } => {
                    self.expel(peer, format!("it sent {error}, as a request"));
                }
                Message::Response { request_id, response } => {
                    let answer = match response {
                        Response::Answer(bytes) => Ok(bytes),
                        Response::Refused => Err(RequestError::Refused),
                    };
                    self.finish(request_id, answer);
                }
            },
            request_response::Event::OutboundFailure { peer, request_id, error, .. } => {
                let failure = self.on_outbound_failure(peer, error);
                self.finish(request_id, Err(failure));
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                debug!(%peer, %error, "request not answered");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn finish(&mut self, id: request_response::OutboundRequestId, answer: Result<Vec<u8>, RequestError>) {
        let outcome = match &answer {
            Ok(_) => RequestOutcome::Answered,
            Err(RequestError::Refused) => RequestOutcome::Refused,
            Err(_) => RequestOutcome::Failed,
        };
        self.shared.metrics.request(Direction::Outbound, outcome);
        if let Some(reply) = self.requests.remove(&id) {
            // The caller may have stopped waiting.
            let _ = reply.send(answer);
        }
    }

    fn on_outbound_failure(&mut self, peer: PeerId, error: OutboundFailure) -> RequestError {
        match error {
            OutboundFailure::DialFailure => RequestError::NotConnected,
            OutboundFailure::Timeout => RequestError::Timeout,
            OutboundFailure::ConnectionClosed => RequestError::Disconnected,
            OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
            OutboundFailure::Io(error) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    self.expel(peer, format!("its response is malformed: {error}"));
                }
                RequestError::Failed(error.to_string())
            }
        }
    }

    fn on_request(&mut self, peer: PeerId, request: Vec<u8>, channel: ResponseChannel<Response>) {
        let of_peer = self.replies_per_peer.get(&peer).copied().unwrap_or_default();
        let validator = self.book.validator_of(&peer);
        let asker = asker(validator);
        let full = match asker {
            Asker::Validator => self.replies.len() >= REQUESTS_IN_MAX,
            Asker::Stranger => self.replies_to_strangers >= REQUESTS_IN_OF_STRANGERS_MAX,
        };
        if full || of_peer >= REQUESTS_IN_PER_PEER_MAX {
            return self.respond(channel, Response::Refused);
        }
        let Some(delay) = self.quota.request(peer, asker, Instant::now()) else {
            return self.respond(channel, Response::Refused);
        };
        let (reply, answer) = oneshot::channel();
        let inbound = Inbound::Request { from: peer, validator, bytes: request, reply };
        let held_back = if delay.is_zero() {
            if self.lanes.requests.try_send(inbound).is_err() {
                return self.respond(channel, Response::Refused);
            }
            None
        } else {
            Some((delay, self.lanes.requests.clone(), inbound))
        };
        *self.replies_per_peer.entry(peer).or_default() += 1;
        self.replies_to_strangers += usize::from(asker == Asker::Stranger);
        let patience = self.config.limits.request_timeout;
        let reply = async move {
            if let Some((delay, requests, inbound)) = held_back {
                hand_over_after(delay, &requests, inbound).await;
            }
            // Either error means that there is no answer.
            let answer = timeout(patience, answer).await.ok().and_then(Result::ok);
            Replied { peer, asker, channel, answer }
        };
        self.replies.push(reply.boxed());
    }

    pub(super) fn on_reply(&mut self, Replied { peer, asker, channel, answer }: Replied) {
        self.quota.answered(peer, asker, answer.as_ref().map_or(0, Vec::len), Instant::now());
        self.replies_to_strangers -= usize::from(asker == Asker::Stranger);
        let of_peer = self.replies_per_peer.get_mut(&peer).expect("every request being answered is counted");
        *of_peer -= 1;
        if *of_peer == 0 {
            self.replies_per_peer.remove(&peer);
        }
        let max = self.shared.sizes.responses.max();
        match answer {
            Some(bytes) if bytes.len() <= max => self.respond(channel, Response::Answer(bytes)),
            Some(bytes) => {
                error!(bytes = bytes.len(), max, "a response of ours is too large to be sent");
                self.respond(channel, Response::Refused);
            }
            None => self.respond(channel, Response::Refused),
        }
    }

    fn respond(&mut self, channel: ResponseChannel<Response>, response: Response) {
        let outcome = match &response {
            Response::Answer(_) => RequestOutcome::Answered,
            Response::Refused => RequestOutcome::Refused,
        };
        self.shared.metrics.request(Direction::Inbound, outcome);
        // An error means that the peer is gone or no longer waits.
        let _ = self.swarm.behaviour_mut().requests.send_response(channel, response);
    }
}

/// Hands a request of somebody who asks too fast to the application, once it is paid for. Not before: to answer is work,
/// whether or not the answer is then held back.
pub(super) async fn hand_over_after(delay: Duration, requests: &mpsc::Sender<Inbound>, request: Inbound) {
    sleep(delay).await;
    // Where there is no room the reply is dropped with the request, which refuses it.
    let _ = requests.try_send(request);
}

pub(super) fn asker(validator: Option<PublicKey>) -> Asker {
    if validator.is_some() { Asker::Validator } else { Asker::Stranger }
}
