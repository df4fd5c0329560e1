//! What the loop does with what strangers send, event by event, with the time as it is given.

use std::time::Duration;

use futures::FutureExt;
use libp2p::identify;
use quorate_crypto::{Hash, encode};
use tempfile::TempDir;

use super::*;
use crate::{
    Limits,
    announcement::{Exchange, SignedAnnouncement},
    codec::Response,
    identity,
    limits::{ANSWER_BYTES_PER_SECOND, CREDIT, REQUEST_COST, VALIDATORS_MAX},
};

/// Some connection: what is tested does not depend on which.
fn connection() -> ConnectionId {
    ConnectionId::new_unchecked(0)
}

/// A node that listens on loopback; nothing happens in it but what a test does.
async fn prepared(folder: &TempDir) -> Prepared {
    let config = Config {
        chain: Hash::of(b"chain"),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
        external: vec![],
        bootstrap: vec![],
        mdns: false,
        identity: SecretKey::from_seed([1; 32]),
        validator: None,
        sequence_file: folder.path().join("sequence"),
        limits: Limits::default(),
        max_clock_drift_ms: 5_000,
    };
    prepare(config, &mut Registry::default()).await.expect("loopback works")
}

/// > Of a peer the routing table keeps the addresses that it told last, at most 8, and at most 8 others, however often it
/// > tells new ones.
#[tokio::test]
async fn a_peer_that_pushes_thousands_of_addresses_leaves_a_few() {
    let folder = TempDir::new().expect("a folder");
    let mut event_loop = prepared(&folder).await.event_loop;
    let key = Keypair::generate_ed25519().public();
    let peer = key.to_peer_id();
    let names = event_loop.names.clone();
    event_loop.unidentified.insert(peer, Instant::now());
    for push in 0..1_000 {
        let listens = |port| format!("/dns4/host-{push}.example/tcp/{port}").parse().expect("an address");
        event_loop.on_identify(identify::Event::Received {
            connection_id: connection(),
            peer_id: peer,
            info: identify::Info {
                public_key: key.clone(),
                protocol_version: names.version.clone(),
                agent_version: "pusher".to_owned(),
                listen_addrs: (1..=8).map(listens).collect(),
                protocols: vec![names.requests.clone(), names.announcements.clone(), names.routing.clone()],
                observed_addr: Multiaddr::empty(),
                signed_peer_record: None,
            },
        });
    }
    let kept = identity::known(&mut event_loop.swarm.behaviour_mut().routing, &peer);
    assert_eq!(kept.len(), 16, "{kept:?}");
    let last = "/dns4/host-999.example/tcp/8".parse::<Multiaddr>().expect("an address");
    assert!(kept.contains(&last.with_p2p(peer).expect("no peer yet")), "{kept:?}");
}

fn exchanges(event_loop: &mut Loop, peer: PeerId, theirs: &[u8], now: Instant) -> u32 {
    let answered = |_: &u32| event_loop.exchange(peer, connection(), theirs, now) != Response::Refused;
    (0..10_000).take_while(answered).count() as u32
}

/// > An exchange counts as a request […]: whoever exchanges more often than it may ask is refused.
#[tokio::test]
async fn announcements_are_exchanged_as_often_as_anything_may_be_asked() {
    let folder = TempDir::new().expect("a folder");
    let mut event_loop = prepared(&folder).await.event_loop;
    let (peer, other, now) = (PeerId::random(), PeerId::random(), Instant::now());
    let nothing = encode(&Exchange(Vec::new()));
    let requests = CREDIT.div_duration_f64(REQUEST_COST) as u32;
    assert!((1..=requests + 1).contains(&exchanges(&mut event_loop, peer, &nothing, now)));
    assert_eq!(event_loop.exchange(peer, connection(), &nothing, now), Response::Refused, "and it stays so");
    assert_ne!(event_loop.exchange(other, connection(), &nothing, now), Response::Refused, "each for itself");
    let later = now + CREDIT + REQUEST_COST * 2;
    assert_ne!(
        event_loop.exchange(peer, connection(), &nothing, later),
        Response::Refused,
        "until it has paid"
    );
}

/// Announcements of keys that are no validators' are no fault, since sets differ for a moment; they are not free either.
#[tokio::test]
async fn announcements_of_strangers_are_paid_for_by_their_bytes() {
    let folder = TempDir::new().expect("a folder");
    let mut event_loop = prepared(&folder).await.event_loop;
    let key = SecretKey::from_seed([2; 32]);
    let addresses: Vec<_> =
        (0..8).map(|place| format!("/dns4/{}{place}/tcp/1", "x".repeat(240)).parse().expect("one")).collect();
    let signed = SignedAnnouncement::sign(&Hash::of(b"chain"), &key, &key, &addresses, 1);
    let theirs = encode(&Exchange(vec![signed; VALIDATORS_MAX]));
    let free = (CREDIT.as_secs_f64() * ANSWER_BYTES_PER_SECOND as f64) as usize / theirs.len() + 1;
    let taken = exchanges(&mut event_loop, PeerId::random(), &theirs, Instant::now());
    assert!((1..=free as u32).contains(&taken), "{taken} of {} bytes, {free} are paid for", theirs.len());
}

/// > a request is not looked at before it is paid for
#[tokio::test]
async fn what_is_asked_too_fast_is_not_looked_at_before_it_is_paid_for() {
    let (requests, mut application) = mpsc::channel(1);
    let (reply, _answer) = oneshot::channel();
    let request = Inbound::Request { from: PeerId::random(), validator: None, bytes: Vec::new(), reply };
    let mut held_back = Box::pin(exchange::hand_over_after(Duration::from_secs(3_600), &requests, request));
    assert!(held_back.as_mut().now_or_never().is_none());
    assert!(application.try_recv().is_err(), "an hour too early");
}
