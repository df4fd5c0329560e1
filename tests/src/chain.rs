//! What must hold of a network whatever was done to it: one chain, on every node; what was acknowledged stands in it
//! once, where it was said to stand; what expired does not; and nobody is accused of anything.

use std::collections::HashMap;

use futures::future::join_all;

use crate::client::{BlockSeen, Client};
use crate::load::Outcomes;
use crate::testnet::Testnet;

/// Holds every node of a network, all of which run and have no more work, against what became of the transactions; gives
/// the height up to which that was looked at.
///
/// # Panics
/// With what is not as it must be.
pub async fn assert_whole(testnet: &Testnet, outcomes: &Outcomes) -> u64 {
    assert!(!outcomes.committed.is_empty(), "nothing was acknowledged, so nothing would be shown");
    let last = testnet.settled().await;
    let (hash, _state_root) = testnet.agreed(last).await;
    let chains = join_all(testnet.clients().iter().map(|client| read(client, last))).await;
    for (node, chain) in testnet.nodes().iter().zip(&chains) {
        assert!(*chain == chains[0], "{} and {} have different chains", node.name, testnet.nodes()[0].name);
    }
    let chain = &chains[0];
    assert_eq!(chain.last().map(|block| &block.hash), Some(&hash), "the block that was agreed on");
    assert_linked(testnet, chain);
    assert_each_once(chain, outcomes);
    testnet.assert_no_evidence().await;
    last
}

/// The chain of a node from its first block to a height.
async fn read(client: &Client, last: u64) -> Vec<BlockSeen> {
    let mut blocks = client.follow(1).await;
    let mut chain = Vec::new();
    while chain.last().is_none_or(|block: &BlockSeen| block.height < last) {
        chain.push(blocks.next().await);
    }
    chain
}

/// Hashes are those of the headers, and each header names the one below, down to the genesis.
fn assert_linked(testnet: &Testnet, chain: &[BlockSeen]) {
    let mut parent = testnet.genesis().hash();
    for block in chain {
        assert_eq!(block.header.parent, parent, "the parent of block {}", block.height);
        parent = block.header.hash();
        assert_eq!(parent.to_string(), block.hash, "the hash of block {}", block.height);
    }
}

fn assert_each_once(chain: &[BlockSeen], outcomes: &Outcomes) {
    let mut included: HashMap<&str, &BlockSeen> = HashMap::new();
    for block in chain {
        for id in &block.transactions {
            let before = included.insert(id, block);
            assert!(before.is_none(), "transaction {id} stands in the chain twice: {before:?}, {block:?}");
        }
    }
    for place in &outcomes.committed {
        let block = included.get(place.id.as_str());
        let found = block.map(|block| (block.height, &block.hash));
        assert_eq!(found, Some((place.height, &place.block)), "transaction {} was acknowledged", place.id);
    }
    for id in &outcomes.expired {
        assert!(!included.contains_key(id.as_str()), "transaction {id} was said to have expired");
    }
}
