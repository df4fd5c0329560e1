//! Peers that are none of ours, and bytes that are nothing at all.

use quorate_crypto::Hash;
use quorate_network::{Class, Network};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Node, QUIC, TCP, cluster, config, folder, public, within};

async fn other_chain_is_disconnected(listen: &str) {
    let folder = folder();
    let ours = Node::start(config(1, listen, folder.path())).await;
    let mut theirs = config(2, listen, folder.path());
    theirs.chain = Hash::of(b"another chain");
    theirs.bootstrap = vec![ours.address()];
    let theirs = Node::start(theirs).await;
    let told = |network: &Network| {
        network.disconnections().iter().any(|gone| {
            gone.reason.contains("another chain") || gone.reason.contains("announcements of this chain")
        })
    };
    // Whoever hears of it first hangs up.
    tokio::select! {
        () = ours.shows("the disconnection", told) => {}
        () = theirs.shows("the disconnection", told) => {}
    }
    ours.shows("nobody", |network| network.peers().is_empty()).await;
}

#[tokio::test]
async fn other_chain_is_disconnected_over_tcp() {
    other_chain_is_disconnected(TCP).await;
}

#[tokio::test]
async fn other_chain_is_disconnected_over_quic() {
    other_chain_is_disconnected(QUIC).await;
}

#[tokio::test]
async fn garbage_on_the_port_disturbs_nobody() {
    let folder = folder();
    let mut nodes = cluster(2, TCP, &folder).await;
    let address = nodes[1].address().to_string();
    let port: u16 = address.split('/').nth(4).and_then(|port| port.parse().ok()).expect("/ip4/…/tcp/port");
    for seed in 0u8..8 {
        let mut garbage = Vec::new();
        while garbage.len() < 16_384 {
            garbage.extend_from_slice(Hash::of(&[[seed].as_slice(), &garbage].concat()).as_bytes());
        }
        // The second half of them begins as a peer would.
        if seed >= 4 {
            garbage.splice(0..0, *b"\x13/multistream/1.0.0\n\x07/noise\n");
        }
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        // Hung up on while writing is as good as after it.
        let _ = stream.write_all(&garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = within("the node to hang up", stream.read_to_end(&mut answer)).await;
    }
    assert!(nodes[0].network.send(&public(2), Class::Urgent, b"still there".to_vec()));
    assert_eq!(nodes[1].frame().await, (public(1), b"still there".to_vec()));
    assert_eq!(nodes[1].network.peers().len(), 1);
}

#[tokio::test]
async fn disconnected_peer_is_named_with_the_reason() {
    let folder = folder();
    let mut nodes = cluster(2, TCP, &folder).await;
    let peer = nodes[1].network.local_peer();
    nodes[0].network.disconnect(peer, "the operator says so".to_owned());
    nodes[0].until_down(public(2)).await;
    let gone = nodes[0].network.disconnections();
    assert!(gone.iter().any(|gone| gone.peer == peer && gone.reason == "the operator says so"), "{gone:?}");
    nodes[0].until_up([public(2)]).await;
}
