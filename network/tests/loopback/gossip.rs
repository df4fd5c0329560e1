//! Gossip reaches all, and passes nobody that did not accept it.

use std::time::Duration;

use quorate_network::{GossipToken, GossipVerdict, Inbound, Topic};
use tokio::time::interval;

use crate::harness::{Node, TCP, cluster, config, folder, within};

fn gossip(inbound: Inbound) -> Option<(Vec<u8>, GossipToken)> {
    match inbound {
        Inbound::Gossip { topic, bytes, token, .. } => {
            assert_eq!(topic, Topic::Transactions);
            Some((bytes, token))
        }
        _ => None,
    }
}

#[tokio::test]
async fn message_reaches_all_others_once() {
    let folder = folder();
    let mut nodes = cluster(4, TCP, &folder).await;
    let (publisher, others) = nodes.split_last_mut().expect("four");
    // Subscriptions travel beside the streams: probe until they have arrived everywhere.
    let mut probe = interval(Duration::from_millis(50));
    for node in others {
        let mut count = 0u32;
        within("a probe", async {
            loop {
                tokio::select! {
                    _ = probe.tick() => {
                        count += 1;
                        publisher.network.publish(Topic::Transactions, count.to_be_bytes().to_vec());
                    }
                    Some(inbound) = node.next() => if let Some((_, token)) = gossip(inbound) {
                        node.network.accept(token, GossipVerdict::Accept);
                        break;
                    }
                }
            }
        })
        .await;
    }
    publisher.network.publish(Topic::Transactions, b"bundle".to_vec());
    publisher.network.publish(Topic::Transactions, b"last".to_vec());
    for node in others_of(&mut nodes) {
        let mut seen = 0;
        loop {
            let (bytes, token) = node.wait("the bundle", gossip).await;
            node.network.accept(token, GossipVerdict::Accept);
            seen += usize::from(bytes == b"bundle");
            if bytes == b"last" {
                break;
            }
        }
        assert_eq!(seen, 1);
    }
}

fn others_of(nodes: &mut [Node]) -> &mut [Node] {
    nodes.split_last_mut().expect("four").1
}

/// `a` and `c` listen on nothing, so that all they say to each other goes through `b`.
async fn line() -> (Node, Node, Node, tempfile::TempDir) {
    let folder = folder();
    let b = Node::start(config(2, TCP, folder.path())).await;
    let mut ends = Vec::new();
    for number in [1, 3] {
        let mut config = config(number, TCP, folder.path());
        config.listen.clear();
        config.bootstrap = vec![b.address()];
        ends.push(Node::start(config).await);
    }
    let c = ends.pop().expect("two");
    let a = ends.pop().expect("two");
    (a, b, c, folder)
}

#[tokio::test]
async fn message_is_forwarded_only_when_accepted() {
    let (a, mut b, mut c, _folder) = line().await;
    // Each probe is refused or accepted in turn; the first that reaches `c` must be an accepted one.
    let mut probe = interval(Duration::from_millis(50));
    let mut count = 0u8;
    let verdict = |number: u8| match number % 3 {
        0 => GossipVerdict::Accept,
        1 => GossipVerdict::Reject,
        _ => GossipVerdict::Ignore,
    };
    let (mut judged, mut reached) = (0, 0);
    while reached < 3 {
        tokio::select! {
            _ = probe.tick() => {
                count = count.checked_add(1).expect("three of the first 250 get through");
                a.network.publish(Topic::Transactions, vec![count]);
            }
            Some(inbound) = b.next() => if let Some((bytes, token)) = gossip(inbound) {
                b.network.accept(token, verdict(bytes[0]));
                judged += 1;
            },
            Some(inbound) = c.next() => if let Some((bytes, token)) = gossip(inbound) {
                assert_eq!(verdict(bytes[0]), GossipVerdict::Accept, "{bytes:?}");
                c.network.accept(token, GossipVerdict::Ignore);
                reached += 1;
            },
        }
    }
    assert!(judged > reached);
}

#[tokio::test]
async fn message_without_a_verdict_goes_nowhere() {
    let (a, mut b, mut c, _folder) = line().await;
    let mut probe = interval(Duration::from_millis(50));
    let mut count = 0u8;
    let mut withheld = Vec::new();
    loop {
        tokio::select! {
            _ = probe.tick() => {
                count = count.checked_add(1).expect("one of the first 250 gets through");
                a.network.publish(Topic::Transactions, vec![count]);
            }
            Some(inbound) = b.next() => if let Some((bytes, token)) = gossip(inbound) {
                if withheld.len() < 3 {
                    withheld.push((bytes, token));
                } else {
                    b.network.accept(token, GossipVerdict::Accept);
                }
            },
            Some(inbound) = c.next() => if let Some((bytes, _)) = gossip(inbound) {
                assert!(withheld.iter().all(|(held, _)| *held != bytes), "{bytes:?}");
                break;
            },
        }
    }
}

#[tokio::test]
async fn message_too_large_is_not_published() {
    let (a, mut b, _c, _folder) = line().await;
    let max = quorate_network::Limits::default().gossip_bytes_max;
    let mut probe = interval(Duration::from_millis(50));
    let mut count = 0u8;
    loop {
        tokio::select! {
            _ = probe.tick() => {
                count = count.checked_add(1).expect("one of the first 250 gets through");
                a.network.publish(Topic::Transactions, vec![count; max + 1]);
                a.network.publish(Topic::Transactions, vec![count; max]);
            }
            Some(inbound) = b.next() => if let Some((bytes, _)) = gossip(inbound) {
                assert_eq!(bytes.len(), max, "at the bound, never one past it");
                break;
            },
        }
    }
}
