//! Frames on validator streams.

use quorate_network::{Class, Inbound};

use crate::harness::{Node, TCP, cluster, config, folder, public, publics};

#[tokio::test]
async fn frames_of_a_stream_keep_their_order_and_content() {
    let folder = folder();
    let mut nodes = cluster(2, TCP, &folder).await;
    let frame = |number: usize| vec![number as u8; number * number];
    for number in 0..200 {
        assert!(nodes[0].network.send(&public(2), Class::Urgent, frame(number)));
    }
    for number in 0..200 {
        assert_eq!(nodes[1].frame().await, (public(1), frame(number)));
    }
}

#[tokio::test]
async fn metrics_count_what_passes() {
    let folder = folder();
    let mut nodes = cluster(2, TCP, &folder).await;
    assert!(nodes[0].network.send(&public(2), Class::Bulk, vec![7; 10]));
    nodes[1].frame().await;
    let sender = nodes[0].metrics();
    for line in [
        "network_frames_sent_total{class=\"bulk\"} 1",
        "network_frame_bytes_total{direction=\"Outbound\"} 10",
        "network_streams{direction=\"Outbound\"} 1",
        "network_validators_connected 1",
        "network_peers 1",
    ] {
        assert!(sender.lines().any(|found| found == line), "{line} in:\n{sender}");
    }
    assert!(sender.contains("libp2p_"), "libp2p's own are there");
    let receiver = nodes[1].metrics();
    assert!(receiver.lines().any(|found| found == "network_frames_received_total 1"), "{receiver}");
}

#[tokio::test]
async fn frame_at_the_limit_passes_and_one_past_it_disconnects() {
    let folder = folder();
    let mut small = config(2, TCP, folder.path());
    small.limits.frame_bytes_max = 100_000;
    let mut small = Node::start(small).await;
    let mut large = config(1, TCP, folder.path());
    large.bootstrap = vec![small.address()];
    let large = Node::start(large).await;
    for node in [&small, &large] {
        node.network.set_validators(publics(1..=2));
    }
    small.until_up([public(1)]).await;
    assert!(!small.network.send(&public(1), Class::Bulk, vec![0; 100_001]), "not sent by ourselves");
    assert!(large.network.send(&public(2), Class::Bulk, vec![1; 100_000]));
    assert_eq!(small.frame().await.1.len(), 100_000);
    assert!(large.network.send(&public(2), Class::Bulk, vec![1; 100_001]));
    small.until_down(public(1)).await;
    let reason = "it sent a message of 100001 bytes, at most 100000 are allowed in a frame";
    let gone = small.network.disconnections();
    assert!(
        gone.iter().any(|gone| gone.reason == reason && gone.peer == large.network.local_peer()),
        "{gone:?}"
    );
    // It may come back, and is heard again if it keeps to the limit.
    small.until_up([public(1)]).await;
    assert!(large.network.send(&public(2), Class::Bulk, vec![2; 7]));
    assert_eq!(small.frame().await, (public(1), vec![2; 7]));
}

#[tokio::test]
async fn frames_wait_until_the_announcement_makes_their_sender_known() {
    let folder = folder();
    let mut receiver = Node::start(config(2, TCP, folder.path())).await;
    // So far the receiver takes itself for the only validator; it announces itself, and knows no other.
    receiver.network.set_validators(publics([2]));
    let mut sender = config(1, TCP, folder.path());
    sender.bootstrap = vec![receiver.address()];
    let sender = Node::start(sender).await;
    sender.network.set_validators(publics(1..=2));
    assert!(sender.network.send(&public(2), Class::Urgent, vec![1]));
    sender
        .shows("the receiver's announcement", |network| {
            network.peers().iter().any(|peer| peer.validator == Some(public(2)))
        })
        .await;
    assert!(sender.network.connected_validators().is_empty());
    receiver.network.set_validators(publics(1..=2));
    assert_eq!(receiver.frame().await, (public(1), vec![1]));
}

#[tokio::test]
async fn validator_that_leaves_the_set_is_heard_no_more() {
    let folder = folder();
    let mut nodes = cluster(3, TCP, &folder).await;
    nodes[0].network.set_validators(publics(1..=2));
    nodes[0].until_down(public(3)).await;
    assert!(!nodes[0].network.send(&public(3), Class::Urgent, vec![]));
    assert!(nodes[2].network.send(&public(1), Class::Urgent, b"from outside".to_vec()));
    assert!(nodes[1].network.send(&public(1), Class::Urgent, b"from inside".to_vec()));
    assert_eq!(nodes[0].frame().await, (public(2), b"from inside".to_vec()));
    // And is heard again when it returns.
    nodes[0].network.set_validators(publics(1..=3));
    nodes[0].until_up([public(3)]).await;
}

#[tokio::test]
async fn slow_application_stops_one_stream_and_loses_nothing_that_was_read() {
    let folder = folder();
    let mut nodes = cluster(2, TCP, &folder).await;
    // More than inbox, lane and reader hold; the sender's queue holds the rest.
    let count = 500u32;
    for number in 0..count {
        assert!(nodes[0].network.send(&public(2), Class::Urgent, number.to_be_bytes().to_vec()));
    }
    let mut received = Vec::new();
    while received.len() < count as usize {
        if let Some(Inbound::Frame { bytes, .. }) = nodes[1].next().await {
            received.push(u32::from_be_bytes(bytes.try_into().expect("four bytes")));
        }
    }
    assert!(received.into_iter().eq(0..count));
}
