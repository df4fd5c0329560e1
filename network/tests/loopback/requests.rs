//! Requests and their answers.

use quorate_network::{Class, Inbound, Limits, PeerId, RequestError, Target};
use tokio::sync::oneshot;

use crate::harness::{Node, TCP, cluster, config, folder, public, publics};

async fn request(node: &mut Node) -> (Vec<u8>, oneshot::Sender<Vec<u8>>) {
    node.wait("a request", |inbound| match inbound {
        Inbound::Request { from, validator, bytes, reply } => {
            assert_eq!(validator, Some(public(1)));
            assert_ne!(Some(from), None::<PeerId>);
            Some((bytes, reply))
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn request_is_answered_refused_or_fails() {
    let folder = folder();
    let mut nodes = cluster(2, TCP, &folder).await;
    let asker = nodes[0].network.clone();
    let answerer = &mut nodes[1];
    let by_key = Target::Validator(public(2));
    let by_peer = Target::Peer(answerer.network.local_peer());

    for target in [by_key, by_peer] {
        let asked = tokio::spawn({
            let asker = asker.clone();
            async move { asker.request(target, b"question".to_vec()).await }
        });
        let (bytes, reply) = request(answerer).await;
        assert_eq!(bytes, b"question");
        reply.send(b"answer".to_vec()).expect("it is waited for");
        assert_eq!(asked.await.expect("no panic"), Ok(b"answer".to_vec()));
    }

    let asked = tokio::spawn({
        let asker = asker.clone();
        async move { asker.request(by_key, vec![]).await }
    });
    let (_, reply) = request(answerer).await;
    drop(reply);
    assert_eq!(asked.await.expect("no panic"), Err(RequestError::Refused));

    assert_eq!(asker.request(Target::Validator(public(3)), vec![]).await, Err(RequestError::Unknown));
    assert_eq!(asker.request(Target::Peer(PeerId::random()), vec![]).await, Err(RequestError::NotConnected));
    let max = Limits::default().request_bytes_max;
    let refused = Err(RequestError::TooLarge { bytes: max + 1, max });
    assert_eq!(asker.request(by_key, vec![0; max + 1]).await, refused);
}

#[tokio::test]
async fn request_at_the_limit_passes_and_one_past_it_disconnects() {
    let folder = folder();
    let mut small = config(2, TCP, folder.path());
    small.limits.request_bytes_max = 1_000;
    let mut small = Node::start(small).await;
    let mut large = config(1, TCP, folder.path());
    large.bootstrap = vec![small.address()];
    let mut large = Node::start(large).await;
    for node in [&small, &large] {
        node.network.set_validators(publics(1..=2));
    }
    large.until_up([public(2)]).await;
    small.until_up([public(1)]).await;

    let target = Target::Validator(public(2));
    let ask = |bytes: usize| {
        let network = large.network.clone();
        tokio::spawn(async move { network.request(target, vec![1; bytes]).await })
    };
    let asked = ask(1_000);
    let (bytes, reply) = request(&mut small).await;
    assert_eq!(bytes.len(), 1_000);
    reply.send(vec![]).expect("it is waited for");
    assert_eq!(asked.await.expect("no panic"), Ok(vec![]));

    let asked = ask(1_001);
    small
        .shows("the disconnection", |network| {
            network
                .disconnections()
                .iter()
                .any(|gone| gone.reason.contains("1001 bytes, at most 1000 are allowed, as a request"))
        })
        .await;
    asked.await.expect("no panic").expect_err("disconnected");
}

#[tokio::test]
async fn response_too_large_is_refused_by_its_sender() {
    let folder = folder();
    let mut config2 = config(2, TCP, folder.path());
    config2.limits.response_bytes_max = 1_000;
    let mut answerer = Node::start(config2).await;
    let mut config1 = config(1, TCP, folder.path());
    config1.bootstrap = vec![answerer.address()];
    let mut asker = Node::start(config1).await;
    for node in [&answerer, &asker] {
        node.network.set_validators(publics(1..=2));
    }
    asker.until_up([public(2)]).await;
    for (size, expected) in [(1_000, Ok(vec![5; 1_000])), (1_001, Err(RequestError::Refused))] {
        let network = asker.network.clone();
        let asked = tokio::spawn(async move { network.request(Target::Validator(public(2)), vec![]).await });
        let (_, reply) = request(&mut answerer).await;
        reply.send(vec![5; size]).expect("it is waited for");
        assert_eq!(asked.await.expect("no panic"), expected);
    }
}

/// A later epoch may allow larger blocks, and nobody starts the nodes again for it.
#[tokio::test]
async fn what_may_be_sent_grows_while_the_network_runs() {
    let folder = folder();
    let mut nodes = Vec::new();
    for number in 1..=2 {
        let mut config = config(number, TCP, folder.path());
        config.limits.response_bytes_max = 1_000;
        config.limits.frame_bytes_max = 1_000;
        config.limits.queue_bytes_max = 1_000;
        config.bootstrap = nodes.iter().map(Node::address).collect();
        nodes.push(Node::start(config).await);
    }
    let [asker, answerer] = &mut nodes[..] else { panic!("two") };
    for node in [&*answerer, &*asker] {
        node.network.set_validators(publics(1..=2));
    }
    asker.until_up([public(2)]).await;
    answerer.until_up([public(1)]).await;
    assert!(!asker.network.send(&public(2), Class::Bulk, vec![0; 1_001]));
    for node in [&*answerer, &*asker] {
        let raised = Limits {
            response_bytes_max: 2_000,
            frame_bytes_max: 2_000,
            queue_bytes_max: 2_000,
            ..Limits::default()
        };
        node.network.raise_sizes(&raised).expect("they fit together");
    }
    assert!(asker.network.send(&public(2), Class::Bulk, vec![0; 2_000]));
    assert_eq!(answerer.frame().await, (public(1), vec![0; 2_000]), "over the stream that was open");
    // They never fall, and must go together.
    let low = Limits { response_bytes_max: 1, ..Limits::default() };
    asker.network.raise_sizes(&low).expect("well formed");
    let contradictory = Limits { queue_bytes_max: 1, ..Limits::default() };
    asker.network.raise_sizes(&contradictory).expect_err("a queue holds a frame");
    for (size, expected) in [(2_000, Ok(vec![5; 2_000])), (2_001, Err(RequestError::Refused))] {
        let network = asker.network.clone();
        let asked = tokio::spawn(async move { network.request(Target::Validator(public(2)), vec![]).await });
        let (_, reply) = request(answerer).await;
        reply.send(vec![5; size]).expect("it is waited for");
        assert_eq!(asked.await.expect("no panic"), expected);
    }
}

#[tokio::test]
async fn after_shutdown_nothing_comes_and_nothing_goes() {
    let folder = folder();
    let mut nodes = cluster(2, TCP, &folder).await;
    let mut stopped = nodes.pop().expect("two");
    let handle = stopped.network.clone();
    handle.clone().shutdown().await;
    while stopped.next().await.is_some() {}
    assert_eq!(handle.request(Target::Validator(public(1)), vec![]).await, Err(RequestError::Stopped));
    assert!(handle.peers().is_empty());
    assert!(handle.connected_validators().is_empty());
    handle.shutdown().await;
    nodes[0].until_down(public(2)).await;
}
