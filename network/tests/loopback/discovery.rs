//! Nodes that know one address find all validators, and find them again.

use std::collections::BTreeSet;

use quorate_network::{Class, NetworkError, start};

use crate::harness::{Node, QUIC, TCP, cluster, config, folder, public, publics};

/// Every validator sends one frame to every other and receives one of each.
async fn every_pair_exchanges_frames(listen: &str) {
    let folder = folder();
    let mut nodes = cluster(4, listen, &folder).await;
    for (from, node) in (1u8..).zip(&nodes) {
        for to in (1..=4).filter(|to| *to != from) {
            assert!(node.network.send(&public(to), Class::Urgent, vec![from, to]));
        }
        assert!(!node.network.send(&public(from), Class::Urgent, vec![]), "not to itself");
        assert!(!node.network.send(&public(9), Class::Urgent, vec![]), "not to a stranger");
    }
    for (to, node) in (1u8..).zip(&mut nodes) {
        let mut received = BTreeSet::new();
        while received.len() < 3 {
            received.insert(node.frame().await);
        }
        let expected = (1..=4).filter(|from| *from != to).map(|from| (public(from), vec![from, to]));
        assert_eq!(received, expected.collect());
        let others: BTreeSet<_> = publics((1..=4).filter(|other| *other != to)).into_iter().collect();
        assert_eq!(node.network.connected_validators().into_iter().collect::<BTreeSet<_>>(), others);
        let peers = node.network.peers();
        let shown: BTreeSet<_> = peers.iter().filter_map(|peer| peer.validator).collect();
        assert_eq!(shown, others);
        assert!(peers.iter().all(|peer| peer.inbound_stream && peer.outbound_stream), "{peers:?}");
    }
}

#[tokio::test]
async fn every_pair_exchanges_frames_over_tcp() {
    every_pair_exchanges_frames(TCP).await;
}

#[tokio::test]
async fn every_pair_exchanges_frames_over_quic() {
    every_pair_exchanges_frames(QUIC).await;
}

#[tokio::test]
async fn restarted_validator_is_found_again_at_another_address() {
    let folder = folder();
    let mut nodes = cluster(3, TCP, &folder).await;
    let bootstrap = nodes[0].address();
    let stopped = nodes.pop().expect("three");
    let former = stopped.address();
    stopped.network.shutdown().await;
    for node in &mut nodes {
        node.until_down(public(3)).await;
        assert!(node.network.send(&public(3), Class::Urgent, vec![7]), "it waits for the validator");
    }
    let mut config = config(3, TCP, folder.path());
    config.bootstrap = vec![bootstrap];
    let mut restarted = Node::start(config).await;
    assert_ne!(restarted.address(), former);
    restarted.network.set_validators(publics(1..=3));
    for node in &mut nodes {
        node.until_up([public(3)]).await;
    }
    let received = BTreeSet::from([restarted.frame().await, restarted.frame().await]);
    assert_eq!(received, BTreeSet::from([(public(1), vec![7]), (public(2), vec![7])]));
}

#[tokio::test]
async fn bootstrap_peer_that_comes_later_is_dialled_again() {
    let folder = folder();
    // An address that nobody listens on any more.
    let first = Node::start(config(1, TCP, folder.path())).await;
    let address = first.address();
    first.network.shutdown().await;

    let mut late = config(2, TCP, folder.path());
    late.bootstrap = vec![address.clone()];
    let mut late = Node::start(late).await;
    late.network.set_validators(publics(1..=2));
    let listen = address.to_string();
    let (listen, _) = listen.split_once("/p2p/").expect("it ends with the peer");
    let first = Node::start(config(1, listen, folder.path())).await;
    first.network.set_validators(publics(1..=2));
    late.until_up([public(1)]).await;
}

#[tokio::test]
async fn observer_finds_all_through_one_and_keeps_no_streams() {
    let folder = folder();
    let nodes = cluster(3, TCP, &folder).await;
    let mut observer = config(4, TCP, folder.path());
    observer.validator = None;
    observer.bootstrap = vec![nodes[0].address()];
    let observer = Node::start(observer).await;
    observer.network.set_validators(publics(1..=3));
    observer
        .shows("all validators by their announcements", |network| {
            let peers = network.peers();
            (1..=3).all(|number| peers.iter().any(|peer| peer.validator == Some(public(number))))
        })
        .await;
    assert!(observer.network.connected_validators().is_empty());
}

#[tokio::test]
async fn address_in_use_is_refused_by_name() {
    let folder = folder();
    let first = Node::start(config(1, TCP, folder.path())).await;
    let listen = first.address().to_string();
    let (listen, _) = listen.split_once("/p2p/").expect("it ends with the peer");
    let second = config(2, listen, folder.path());
    let error =
        start(second, &mut prometheus_client::registry::Registry::default()).await.expect_err("in use");
    assert!(
        matches!(&error, NetworkError::Listen { address, .. } if address.to_string() == listen),
        "{error}"
    );
}
