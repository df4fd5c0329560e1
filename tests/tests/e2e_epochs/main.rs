//! The validators and the parameters of a running chain change, and validators go on after the loss of their vote log:
//! all of it with the commands that operators give, on real processes.
//!
//! At the end of each: one chain on every node, every transaction that was acknowledged in it once, nobody accused.

mod joiner;

use quorate_crypto::SecretKey;
use quorate_ledger::{Operation, TRANSACTION_BYTES_LIMIT, Transaction};
use quorate_tests::chain::assert_whole;
use quorate_tests::client::{Client, number};
use quorate_tests::load::{HANDS, Load, Outcomes};
use quorate_tests::program;
use quorate_tests::testnet::Testnet;
use quorate_tests::wait::{SOON, until};
use quorate_tests::wallet::Wallet;
use serde_json::{Value, json};

use joiner::Joiner;

/// Each hand has one transaction under way: more than these are not committed by what was under way already.
const MORE: usize = 2 * HANDS;

/// Who gives an approval: a key file, and the node that is given it.
struct Approver {
    key_file: String,
    rpc: String,
}

impl Approver {
    fn node(testnet: &Testnet, node: usize) -> Self {
        let node = &testnet.nodes()[node];
        let key_file = node.home.join("config/validator.pem").to_string_lossy().into_owned();
        Self { key_file, rpc: node.rpc.clone() }
    }

    fn joiner(joiner: &Joiner) -> Self {
        let key_file = joiner.key_file().to_string_lossy().into_owned();
        Self { key_file, rpc: joiner.rpc().to_owned() }
    }

    /// Gives `tx approve` with these arguments; its outcome.
    async fn approve(&self, change: &[&str]) -> Value {
        // A new one's node makes no statement while it is behind, as it may be for a moment under load.
        until("it is approved", SOON, async || {
            let finished = self.try_approve(change).await;
            if finished.code == Some(0) { Ok(finished.json()) } else { Err(finished.stderr) }
        })
        .await
    }

    async fn try_approve(&self, change: &[&str]) -> program::Finished {
        let line = [&["tx", "approve"], change, &["--key", &self.key_file, "--rpc", &self.rpc, "--json"]];
        program::run(line.concat()).await
    }
}

/// All of these give the same approval, and the last one's decides; returns the last height of the epoch.
async fn decided(approvers: &[Approver], change: &[&str]) -> u64 {
    let (last, before) = approvers.split_last().expect("somebody approves");
    for (given, approver) in before.iter().enumerate() {
        let outcome = approver.approve(change).await;
        let events = &outcome["receipt"]["events"];
        assert_eq!(number(&events[0]["approvals"]), given as u64 + 1, "{outcome}");
        assert!(events[1].is_null(), "a quorum is not there yet: {outcome}");
    }
    let outcome = last.approve(change).await;
    let ends = &outcome["receipt"]["events"][1];
    assert_eq!(ends["type"], "epoch_ends", "{outcome}");
    number(&ends["last"])
}

/// Waits until nodes are in an epoch.
async fn in_epoch(clients: &[Client], epoch: u64) {
    for client in clients {
        until("the epoch begins", SOON, async || {
            let status = client.status().await;
            if number(&status["epoch"]) >= epoch { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }
}

/// Waits until a node says that it votes, and its signature stands in a certificate of the epoch.
async fn votes(client: &Client, key: &str) {
    until("it votes", SOON, async || {
        let status = client.status().await;
        let validators = client.call("validators_get", json!({})).await;
        let entries = validators["validators"].as_array().expect("entries");
        let own = entries.iter().find(|entry| entry["key"] == key);
        let signed = own.map_or(0, |own| number(&own["signed"]) + number(&own["proposed"]));
        if status["votes"] == true && signed > 0 { Ok(()) } else { Err(format!("{status}\n{validators}")) }
    })
    .await;
}

/// The keys of the validators that decide a height.
async fn validators_at(client: &Client, height: u64) -> Vec<String> {
    client.reach(height).await;
    let answer = client.call("validators_get", json!({ "height": height })).await;
    let entries = answer["validators"].as_array().expect("entries");
    entries.iter().map(|entry| entry["key"].as_str().expect("a key").to_owned()).collect()
}

/// The largest that any chain may allow.
fn largest_transaction(wallet: &Wallet) -> Transaction {
    let put = |bytes| {
        let value = vec![7; bytes];
        wallet.sign(wallet.payload(vec![Operation::Put { key: b"large".to_vec(), value }]))
    };
    let largest = TRANSACTION_BYTES_LIMIT as usize;
    let transaction = put(largest - put(0).size());
    assert_eq!(transaction.size(), largest);
    transaction
}

/// Anyone with the genesis document can follow the line of sets, with this node alone.
async fn proves_all_epochs(rpc: &str, epochs: usize) {
    until("the line of epochs is whole", SOON, async || {
        let asked = program::run(["query", "epochs", "--rpc", rpc, "--json"]).await;
        let line: Value = serde_json::from_str(&asked.stdout).map_err(|_| asked.stderr)?;
        let count = line.as_array().map(Vec::len);
        if count == Some(epochs) { Ok(()) } else { Err(format!("{count:?} of {epochs}")) }
    })
    .await;
}

/// Nobody is accused, and those who joined have the chain of the others.
async fn assert_same(testnet: &Testnet, joiners: &[&Joiner], outcomes: &Outcomes) {
    let last = assert_whole(testnet, outcomes).await;
    let expected = testnet.client(0);
    for joiner in joiners {
        let (mut chain, mut of_others) = (joiner.client().follow(1).await, expected.follow(1).await);
        for height in 1..=last {
            let (own, other) = (chain.next().await, of_others.next().await);
            assert_eq!((own.height, own), (height, other), "{}", joiner.rpc());
        }
        let evidence = joiner.client().call("consensus_getEvidence", json!({})).await;
        assert_eq!(number(&evidence["count"]), 0, "{evidence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_are_added_replaced_and_removed_under_load() {
    let testnet = Testnet::of(4, 0).await;
    let load = Load::on(&testnet);
    let all = testnet.clients();
    let node = |node| Approver::node(&testnet, node);

    let first = Joiner::start(&testnet, "joiner one").await;
    // By its key: each approver's node asks for a statement. Nobody runs with this other one.
    let stranger = SecretKey::generate().public().to_string();
    let refused = node(0).try_approve(&["validators", "--add", &stranger]).await;
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("a peer of it answers for"), "{refused}");
    decided(&[node(0), node(1), node(2)], &["validators", "--add", first.key()]).await;
    in_epoch(&all, 1).await;
    votes(first.client(), first.key()).await;
    load.goes_on(MORE).await;

    // Of five, four decide: the new one's approval counts. By a statement that was made before, and handed over.
    let second = Joiner::start(&testnet, "joiner two").await;
    let leaver = first.key().to_owned();
    let approvers = [node(0), node(1), node(2), Approver::joiner(&first)];
    let change = ["validators", "--add", &second.statement().await, "--remove", &leaver];
    let ends = decided(&approvers, &change).await;
    in_epoch(&all, 2).await;
    votes(second.client(), second.key()).await;
    load.goes_on(MORE).await;
    assert!(validators_at(&all[0], ends).await.contains(&leaver), "it decides up to the last height");
    assert!(!validators_at(&all[0], ends + 1).await.contains(&leaver), "and none above");
    let status = first.client().status().await;
    assert_eq!(status["votes"], false, "{status}");
    assert!(status["refused"].as_str().is_some_and(|why| why.contains("not among")), "{status}");

    let leaver = second.key().to_owned();
    let approvers = [node(0), node(1), node(2), Approver::joiner(&second)];
    decided(&approvers, &["validators", "--remove", &leaver]).await;
    in_epoch(&all, 3).await;
    load.goes_on(MORE).await;
    let outcomes = load.stop().await;
    assert_same(&testnet, &[&first, &second], &outcomes).await;

    // To be removed is nothing that went wrong.
    for joiner in [&first, &second] {
        let log = joiner.log();
        assert_eq!(log.matches("is a validator: it votes").count(), 1, "{log}");
        assert_eq!(log.matches("is no validator any more").count(), 1, "{log}");
        assert!(!log.contains("ERROR"), "{log}");
    }

    for rpc in testnet.nodes().iter().map(|node| &*node.rpc).chain([first.rpc(), second.rpc()]) {
        proves_all_epochs(rpc, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_change_on_an_idle_chain() {
    let testnet = Testnet::of(4, 1).await;
    let all = testnet.clients();
    let approvers = [0, 1, 2].map(|node| Approver::node(&testnet, node));
    let larger = ["transaction_bytes_max=1048576", "value_bytes_max=1048576"];
    let change = [&["parameters", "batch_delay_ms=17", "fee_base=0"][..], &larger].concat();
    let ends = decided(&approvers, &change).await;
    in_epoch(&all, 1).await;
    for client in &all {
        let before = client.call("validators_get", json!({ "height": ends })).await;
        let now = client.call("validators_get", json!({})).await;
        assert_eq!(number(&before["parameters"]["batch_delay_ms"]), 5, "{before}");
        assert_eq!(number(&now["parameters"]["batch_delay_ms"]), 17, "{now}");
        assert_eq!(before["hash"], now["hash"], "the same validators");
    }
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let place = all[3].execute(&alice.transfer(bob.account(), 1)).await;
    // No node is started again for what has become larger: bodies of requests, bundles, blocks.
    let largest = all[3].execute(&largest_transaction(&alice)).await;
    let outcomes = Outcomes { committed: vec![place, largest], expired: Vec::new() };
    assert_same(&testnet, &[], &outcomes).await;
    for node in testnet.nodes() {
        proves_all_epochs(&node.rpc, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_validator_grows_to_four_and_shrinks_back() {
    let testnet = Testnet::of(1, 0).await;
    let only = testnet.clients();
    let load = Load::on(&testnet);
    let mut joiners = Vec::new();
    for name in ["joiner one", "joiner two", "joiner three"] {
        joiners.push(Joiner::start(&testnet, name).await);
    }
    let mut change = vec!["validators".to_owned()];
    for joiner in &joiners {
        change.extend(["--add".to_owned(), joiner.statement().await]);
    }
    let change: Vec<&str> = change.iter().map(String::as_str).collect();
    decided(&[Approver::node(&testnet, 0)], &change).await;
    in_epoch(&only, 1).await;
    for joiner in &joiners {
        votes(joiner.client(), joiner.key()).await;
    }
    load.goes_on(MORE).await;

    let mut change = vec!["validators"];
    for joiner in &joiners {
        change.extend(["--remove", joiner.key()]);
    }
    let approvers: Vec<Approver> = joiners.iter().map(Approver::joiner).collect();
    decided(&approvers, &change).await;
    in_epoch(&only, 2).await;
    load.goes_on(MORE).await;
    let outcomes = load.stop().await;
    let joiners: Vec<&Joiner> = joiners.iter().collect();
    assert_same(&testnet, &joiners, &outcomes).await;
}

/// > A set that has nobody in common with the one before is spoken to as well.
#[tokio::test(flavor = "multi_thread")]
async fn all_validators_are_replaced_at_once_by_others_that_follow() {
    let testnet = Testnet::of(4, 0).await;
    let old = testnet.clients();
    let load = Load::on(&testnet);
    let mut heirs = Vec::new();
    for name in ["heir one", "heir two", "heir three", "heir four"] {
        heirs.push(Joiner::start(&testnet, name).await);
    }
    let mut change = vec!["validators".to_owned()];
    for heir in &heirs {
        change.extend(["--add".to_owned(), heir.key().to_owned()]);
    }
    let leavers = validators_at(&old[0], 1).await;
    change.extend(leavers.iter().flat_map(|key| ["--remove".to_owned(), key.clone()]));
    let change: Vec<&str> = change.iter().map(String::as_str).collect();
    let approvers = [0, 1, 2].map(|node| Approver::node(&testnet, node));
    let ends = decided(&approvers, &change).await;
    for heir in &heirs {
        votes(heir.client(), heir.key()).await;
    }
    in_epoch(&old, 1).await;
    load.goes_on(MORE).await;
    let outcomes = load.stop().await;
    let set = validators_at(&old[0], ends + 1).await;
    assert!(
        heirs.iter().all(|heir| set.contains(&heir.key().to_owned())) && set.len() == heirs.len(),
        "{set:?}"
    );
    for (client, node) in old.iter().zip(testnet.nodes()) {
        let status = client.status().await;
        assert_eq!(status["votes"], false, "{status}");
        assert!(status["refused"].as_str().is_some_and(|why| why.contains("not among")), "{status}");
        assert!(node.log().contains("is no validator any more"), "{}", node.log());
    }
    let heirs: Vec<&Joiner> = heirs.iter().collect();
    assert_same(&testnet, &heirs, &outcomes).await;
    for rpc in testnet.nodes().iter().map(|node| &*node.rpc).chain(heirs.iter().map(|heir| heir.rpc())) {
        proves_all_epochs(rpc, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_whose_vote_log_was_lost_votes_again_in_the_next_epoch() {
    let mut testnet = Testnet::of(4, 0).await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let mut outcomes = Outcomes::default();
    outcomes.committed.push(testnet.client(3).execute(&alice.transfer(bob.account(), 1)).await);
    testnet.stop(3).await;
    std::fs::remove_dir_all(testnet.nodes()[3].home.join("data/votes")).expect("it has voted");
    testnet.start(3).await;
    let status = testnet.client(3).status().await;
    assert_eq!(status["votes"], false, "{status}");
    assert!(status["refused"].is_string(), "{status}");

    // An epoch that might have begun before the node was started, as far as clocks tell, is too early.
    let validators = testnet.client(3).call("validators_get", json!({})).await;
    let drift_ms = number(&validators["parameters"]["max_clock_drift_ms"]);
    until("an epoch that begins now begins later", SOON, async || {
        let status = testnet.client(3).status().await;
        let since = number(&status["clock"]) - number(&status["started"]);
        if since > 2 * drift_ms { Ok(()) } else { Err(format!("{since} ms")) }
    })
    .await;
    let approvers = [0, 1, 2].map(|node| Approver::node(&testnet, node));
    decided(&approvers, &["validators", "--same"]).await;
    in_epoch(&testnet.clients(), 1).await;
    until("it votes again", SOON, async || {
        let status = testnet.client(3).status().await;
        if status["votes"] == true { Ok(()) } else { Err(status.to_string()) }
    })
    .await;

    // With another one gone, nothing is decided unless the one that lost its log votes.
    testnet.kill_at_once(&[2]).await;
    outcomes.committed.push(testnet.client(3).execute(&alice.transfer(bob.account(), 1)).await);
    testnet.start(2).await;
    assert_same(&testnet, &[], &outcomes).await;
}
