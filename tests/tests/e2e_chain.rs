//! Four processes, one chain: what is final is final on all of them, once, and can be checked by anyone.

use std::collections::BTreeMap;
use std::path::Path;

use futures::future::{join_all, try_join_all};
use quorate_crypto::{decode, from_hex, to_hex};
use quorate_ledger::{CommitCertificate, Header, Operation};
use quorate_tests::client::{CallError, Client, Place, Status};
use quorate_tests::program::{finish, paste, run};
use quorate_tests::testnet::Testnet;
use quorate_tests::wait::SOON;
use serde_json::{Value, json};
use tokio::process::Command;

/// The independent verifier, which shares no code with the crates.
const VERIFIER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/verifier/verify_chain.py");

/// Holds the whole chain of a node against the genesis document alone; gives the hash of its last block and the state
/// root after it.
async fn verify(url: &str, genesis: &Path, to: u64) -> (String, String) {
    let mut command = Command::new("python3");
    command.arg(VERIFIER).args(["--rpc", url, "--to", &to.to_string(), "--genesis"]).arg(genesis);
    let output = finish(command).await.success();
    let value = |name: &str| {
        let line = output.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{output}"));
        line.rsplit(' ').next().expect("a word").to_owned()
    };
    (value("last block"), value("state root"))
}

/// The certificate that covers a block: it is of a quorum, and links to the block by headers.
async fn check_certificate(testnet: &Testnet, client: &Client, height: u64) {
    let genesis = testnet.genesis();
    let answer = client.call("chain_getCertificate", json!({ "height": height, "kind": "commit" })).await;
    let bytes = from_hex(answer["bytes"].as_str().expect("bytes")).expect("hex");
    let certificate: CommitCertificate = decode(&bytes).expect("a certificate in its one encoding");
    certificate.verify(&genesis.hash(), genesis.validators()).expect("signed by a quorum");
    let quorum = genesis.validators().quorum().q();
    assert_eq!(quorum, 3, "of four");
    assert_eq!(answer["votes"].as_array().expect("votes").len(), quorum, "{answer}");

    let mut hash = client.block(height).await["hash"].clone();
    for header in answer["headers"].as_array().expect("headers") {
        let header: Header = serde_json::from_value(header.clone()).expect("a header");
        assert_eq!(json!(header.parent), hash, "headers link up to the certificate");
        hash = json!(header.hash());
    }
    assert_eq!(json!(certificate.payload.block), hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_final_on_all_four_nodes() {
    let testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let before = testnet.client(0).balance(bob.account(), 0).await;

    let key = testnet.key_file("alice");
    let place = run([
        "tx",
        "transfer",
        &bob.account().to_string(),
        "100",
        "--key",
        &key.to_string_lossy(),
        "--rpc",
        &testnet.nodes()[1].rpc,
        "--json",
    ])
    .await
    .json();
    assert_eq!(place["status"], "committed");
    assert_eq!(place["payload"]["sender"], alice.account().to_string());
    let height = place["height"].as_u64().expect("a height");

    let (block, state_root) = testnet.agreed(height).await;
    assert_eq!(place["block"], block);
    for (node, client) in testnet.nodes().iter().zip(testnet.clients()) {
        assert_eq!(client.balance(bob.account(), height).await, before + 100, "on {}", node.name);
        check_certificate(&testnet, &client, height).await;
        let verified = verify(&node.rpc, &testnet.genesis_file(), height).await;
        assert_eq!(verified, (block.clone(), state_root.clone()), "on {}", node.name);
    }
    testnet.assert_no_evidence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_testnet_up_says_to_try_works_when_pasted() {
    let testnet = Testnet::up().await;
    let lines: Vec<&str> =
        testnet.welcome().lines().skip_while(|line| *line != "Try:").skip(1).take(3).collect();
    assert_eq!(lines.len(), 3, "{}", testnet.welcome());
    let mut said = String::new();
    for line in lines {
        said.push_str(&paste(line.trim()).await.success());
    }
    assert!(said.contains("committed: ok") && said.contains("balance"), "{said}");
    let client = testnet.client(0);
    let last = testnet.newest(&[0, 1, 2, 3]).await;
    client.reach(last).await;
    let greeting =
        client.call("state_getKey", json!({ "key": to_hex(b"greeting"), "min_height": last })).await;
    assert_eq!(greeting["value"], to_hex(b"hello"));
}

/// Reads the blocks of a node until so many transactions were seen.
async fn see(client: &Client, from: u64, transactions: usize) -> Vec<Place> {
    let mut blocks = client.follow(from).await;
    let mut seen = Vec::new();
    while seen.len() < transactions {
        let block = blocks.next().await;
        let place = |id| Place { id, height: block.height, block: block.hash.clone() };
        seen.extend(block.transactions.into_iter().map(place));
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_at_once_from_one_key_through_all_nodes_are_each_committed_once() {
    const TRANSACTIONS: usize = 2_000;
    let testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let before = testnet.client(0).balance(bob.account(), 0).await;
    let clients = testnet.clients();
    let sockets = join_all(clients.iter().map(Client::socket)).await;

    let all: Vec<_> = (0..TRANSACTIONS).map(|_| alice.transfer(bob.account(), 1)).collect();
    let submitted = all.iter().enumerate().map(|(place, one)| sockets[place % sockets.len()].execute(one));
    let seen = join_all(clients.iter().map(|client| see(client, 1, TRANSACTIONS)));
    let (mut places, mut seen) = tokio::join!(join_all(submitted), seen);

    places.sort();
    let distinct: BTreeMap<&str, u64> =
        places.iter().map(|place| (place.id.as_str(), place.height)).collect();
    assert_eq!(distinct.len(), TRANSACTIONS, "each has an id of its own");
    for (node, seen) in testnet.nodes().iter().zip(&mut seen) {
        seen.sort();
        assert!(*seen == places, "{} has each of them once, where it was said to be", node.name);
    }
    let last = places.iter().map(|place| place.height).max().expect("some");
    testnet.agreed(last).await;
    for client in clients {
        assert_eq!(client.balance(bob.account(), last).await, before + TRANSACTIONS as u128);
    }
    testnet.assert_no_evidence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_are_one_transaction() {
    let testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let before = testnet.client(0).balance(bob.account(), 0).await;
    let clients = testnet.clients();

    // At the same time to all, and to each twice.
    let transaction = alice.transfer(bob.account(), 7);
    let twice = clients.iter().chain(&clients).map(|client| client.submit(&transaction));
    let ids = join_all(twice).await;
    assert!(ids.iter().all(|id| *id == transaction.id().to_string()), "{ids:?}");

    let place = clients[0].execute(&transaction).await;
    for client in &clients {
        client.reach(place.height).await;
        // And once more, now that it is in the chain.
        assert_eq!(client.submit(&transaction).await, place.id);
        assert_eq!(client.execute(&transaction).await, place);
        assert_eq!(client.outcome_of(&place.id).await.place(), place);
    }
    // Whatever came of it is in the blocks up to one more.
    let after = clients[1].execute(&alice.transfer(bob.account(), 1)).await;
    for client in &clients {
        client.reach(after.height).await;
        let blocks = try_join_all((1..=after.height).map(async |height| {
            let block = client.block(height).await;
            let ids =
                block["transactions"].as_array().map(|all| all.iter().map(|one| one["id"].clone()).collect());
            ids.ok_or_else(|| block.to_string())
        }));
        let blocks: Vec<Vec<Value>> = blocks.await.expect("blocks have transactions");
        let times = blocks.concat().iter().filter(|id| **id == json!(place.id)).count();
        assert_eq!(times, 1);
        assert_eq!(client.balance(bob.account(), after.height).await, before + 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_final_too_and_does_nothing() {
    let testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let client = testnet.client(2);
    let has = client.balance(alice.account(), 0).await;
    let operations = vec![
        Operation::Transfer { to: bob.account(), amount: 1 },
        Operation::Delete { key: b"never put".to_vec() },
    ];
    let status = client.try_submit_and_wait(&alice.sign(alice.payload(operations)), SOON).await;
    let Ok(Status::Committed { receipt, height, .. }) = status else { panic!("{status:?}") };
    assert_eq!(receipt["outcome"], json!({ "status": "failed", "operation": 1, "reason": "KEY_NOT_FOUND" }));
    testnet.agreed(height).await;
    for client in testnet.clients() {
        assert_eq!(client.balance(alice.account(), height).await, has);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_sender_cannot_pay_is_refused_unless_a_payment_is_on_its_way() {
    let testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let client = testnet.client(2);
    let has = client.balance(alice.account(), 0).await;
    let refused = client.try_submit_and_wait(&alice.transfer(bob.account(), has + 1), SOON).await;
    let Err(CallError::Refused { reason, .. }) = &refused else { panic!("{refused:?}") };
    assert_eq!(reason.as_deref(), Some("INSUFFICIENT_FUNDS"));
    assert_eq!(client.balance(alice.account(), 0).await, has);

    // Paid and spent without waiting in between: the same node has seen both. Which comes first is the primary's to say.
    client.submit(&bob.transfer(alice.account(), 1)).await;
    let spent = client.try_submit_and_wait(&alice.transfer(bob.account(), has + 1), SOON).await;
    let Ok(Status::Committed { height, .. }) = spent else { panic!("{spent:?}") };
    testnet.agreed(height).await;
}
