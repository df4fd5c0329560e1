//! What reaches the application, and how it is kept from being flooded.
//!
//! Frames, gossip, requests and the comings and goings of validators wait in lanes of their own and are handed over
//! in turn, so that a peer that fills one lane does not shut the others:
//!
//! ```text
//!  frames   ─ 64 ─┐   full: the streams are not read
//!  gossip   ─ 256 ┼─▶ forward ── 16 ──▶ application
//!  requests ─ 64 ─┤   full: ignored; refused
//!  status   ──────┘   latest counts, nothing to fill
//! ```

use std::collections::BTreeMap;

use libp2p::PeerId;
use quorate_crypto::PublicKey;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Topic,
    limits::{INBOX_FRAMES_MAX, INBOX_GOSSIP_MAX, INBOX_MAX, INBOX_REQUESTS_MAX},
    status::Streamed,
};

/// What the network hands to the application.
#[derive(Debug)]
pub enum Inbound {
    /// A frame from a validator's stream. Frames of one stream keep their order.
    Frame {
        /// The validator whose announcement binds the peer at the other end.
        from: PublicKey,
        /// What it sent.
        bytes: Vec<u8>,
    },
    /// A gossiped message, forwarded to nobody until [`Network::accept`](crate::Network::accept) says so.
    Gossip {
        /// Its topic.
        topic: Topic,
        /// The peer it came from, not its author.
        source: PeerId,
        /// What it says.
        bytes: Vec<u8>,
        /// For the verdict.
        token: GossipToken,
    },
    /// A request. Dropping `reply` refuses it; answering late is answering nobody.
    Request {
        /// Who asks.
        from: PeerId,
        /// The validator it is bound to.
        validator: Option<PublicKey>,
        /// What it asks.
        bytes: Vec<u8>,
        /// Takes the answer.
        reply: oneshot::Sender<Vec<u8>>,
    },
    /// The streams of both directions with this validator are up, or are up again. Not ordered with its frames.
    ValidatorUp(PublicKey),
    /// They no longer are.
    ValidatorDown(PublicKey),
}

/// Stands for a gossiped message whose verdict is due.
#[derive(Debug)]
pub struct GossipToken {
    pub(crate) number: u64,
    pub(crate) topic: Topic,
}

/// What the application thinks of a gossiped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GossipVerdict {
    /// All of it is valid: it is forwarded.
    Accept,
    /// Neither useful nor wrong (known, expired, no room): it is not forwarded, the peer is not blamed.
    Ignore,
    /// No honest node would have forwarded it: the peer's score suffers until it is no longer listened to.
    Reject,
}

/// The ends at which things enter.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    pub(crate) frames: mpsc::Sender<Inbound>,
    pub(crate) gossip: mpsc::Sender<Inbound>,
    pub(crate) requests: mpsc::Sender<Inbound>,
}

/// The lanes, the application's end, and the task that joins them.
pub(crate) fn inbox(
    status: watch::Receiver<Streamed>,
) -> (Lanes, mpsc::Receiver<Inbound>, impl Future<Output = ()> + Send + 'static) {
    let (frames, frames_out) = mpsc::channel(INBOX_FRAMES_MAX);
    let (gossip, gossip_out) = mpsc::channel(INBOX_GOSSIP_MAX);
    let (requests, requests_out) = mpsc::channel(INBOX_REQUESTS_MAX);
    let (application, receiver) = mpsc::channel(INBOX_MAX);
    let forward = forward(application, status, frames_out, gossip_out, requests_out);
    (Lanes { frames, gossip, requests }, receiver, forward)
}

/// Runs until the application has dropped its end.
async fn forward(
    application: mpsc::Sender<Inbound>,
    mut status: watch::Receiver<Streamed>,
    mut frames: mpsc::Receiver<Inbound>,
    mut gossip: mpsc::Receiver<Inbound>,
    mut requests: mpsc::Receiver<Inbound>,
) {
    let mut reported = BTreeMap::new();
    loop {
        let items = tokio::select! {
            Ok(()) = status.changed() => report(&mut reported, &status.borrow_and_update()),
            Some(frame) = frames.recv() => vec![frame],
            Some(message) = gossip.recv() => vec![message],
            Some(request) = requests.recv() => vec![request],
            () = application.closed() => return,
            else => return,
        };
        for item in items {
            if application.send(item).await.is_err() {
                return;
            }
        }
    }
}

/// What to report so that `reported` says what `streamed` does: a validator that went down and came up again since
/// the last report is reported as both.
fn report(reported: &mut BTreeMap<PublicKey, u64>, streamed: &Streamed) -> Vec<Inbound> {
    let connected: BTreeMap<_, _> = streamed
        .iter()
        .filter_map(|(validator, streams)| streams.connected().map(|generation| (*validator, generation)))
        .collect();
    let stale = |(validator, generation): &(&PublicKey, &u64)| connected.get(*validator) != Some(*generation);
    let down: Vec<_> = reported.iter().filter(stale).map(|(validator, _)| *validator).collect();
    let fresh = |(validator, generation): &(&PublicKey, &u64)| reported.get(*validator) != Some(*generation);
    let up: Vec<_> = connected.iter().filter(fresh).map(|(validator, _)| *validator).collect();
    *reported = connected;
    down.into_iter().map(Inbound::ValidatorDown).chain(up.into_iter().map(Inbound::ValidatorUp)).collect()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::{
        metrics::{Direction, Metrics},
        status::Status,
    };

    fn key(byte: u8) -> PublicKey {
        PublicKey::from_bytes([byte; 32])
    }

    #[test]
    fn interruption_between_reports_is_reported() {
        let status = Status::new(Metrics::new(&mut Registry::default()));
        let watch = status.watch();
        let mut reported = BTreeMap::new();
        let _out = status.up(key(1), Direction::Outbound);
        let inbound = status.up(key(1), Direction::Inbound);
        let events = report(&mut reported, &watch.borrow());
        assert!(matches!(events[..], [Inbound::ValidatorUp(up)] if up == key(1)));
        assert!(report(&mut reported, &watch.borrow()).is_empty());

        drop(inbound);
        let inbound = status.up(key(1), Direction::Inbound);
        let events = report(&mut reported, &watch.borrow());
        assert!(matches!(events[..], [Inbound::ValidatorDown(_), Inbound::ValidatorUp(_)]), "{events:?}");

        drop(inbound);
        let events = report(&mut reported, &watch.borrow());
        assert!(matches!(events[..], [Inbound::ValidatorDown(down)] if down == key(1)));
    }

    #[tokio::test]
    async fn full_lane_of_frames_leaves_requests_a_way() {
        let status = Status::new(Metrics::new(&mut Registry::default()));
        let (lanes, mut receiver, forward) = inbox(status.watch());
        let task = tokio::spawn(forward);
        let flood = lanes.frames.clone();
        let flood = tokio::spawn(async move {
            while flood.send(Inbound::Frame { from: key(1), bytes: vec![] }).await.is_ok() {}
        });
        let (reply, _answer) = oneshot::channel();
        let request = Inbound::Request { from: PeerId::random(), validator: None, bytes: vec![7], reply };
        lanes.requests.try_send(request).expect("room");
        loop {
            match receiver.recv().await.expect("open") {
                Inbound::Request { bytes, .. } => break assert_eq!(bytes, [7]),
                Inbound::Frame { .. } => {}
                other @ (Inbound::Gossip { .. } | Inbound::ValidatorUp(_) | Inbound::ValidatorDown(_)) => {
                    panic!("{other:?}")
                }
            }
        }
        drop(receiver);
        task.await.expect("ends when the application is gone");
        flood.await.expect("ends with the lane");
    }

    #[tokio::test]
    async fn lane_takes_what_it_holds_and_no_more() {
        let status = Status::new(Metrics::new(&mut Registry::default()));
        let (lanes, _receiver, _forward) = inbox(status.watch());
        let request = || {
            let (reply, _) = oneshot::channel();
            Inbound::Request { from: PeerId::random(), validator: None, bytes: vec![], reply }
        };
        for _ in 0..INBOX_REQUESTS_MAX {
            lanes.requests.try_send(request()).expect("at the bound");
        }
        lanes.requests.try_send(request()).expect_err("one past it");
        for _ in 0..INBOX_FRAMES_MAX {
            let frame = Inbound::Frame { from: key(1), bytes: vec![] };
            lanes.frames.send(frame).now_or_never().expect("at the bound").expect("open");
        }
        let frame = Inbound::Frame { from: key(1), bytes: vec![] };
        assert!(lanes.frames.send(frame).now_or_never().is_none(), "one past it waits");
    }
}
