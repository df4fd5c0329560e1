//! The command line as scripts see it: exit codes, one JSON value on stdout, everything else on stderr.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_crypto::SecretKey;
use quorate_ledger::Account;
use quorate_tests::client::{CallError, Client};
use quorate_tests::program::{self, Finished, free_address, run};
use quorate_tests::testnet::Testnet;
use quorate_tests::wait::{SOON, soon, until};
use quorate_tests::wallet::{LIFETIME, Wallet};
use serde_json::{Value, json};

/// Runs a command line whose words hold no blanks, and asserts its exit code.
async fn ends_with(code: i32, line: &str, says: &str) -> Finished {
    let finished = run(line.split(' ')).await;
    assert_eq!(finished.code, Some(code), "{finished}");
    assert!(finished.stderr.contains(says), "{says:?} should be in: {finished}");
    finished
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_and_configuration_end_with_two_and_say_what_is_allowed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    ends_with(0, "--version", "").await;
    ends_with(0, "--help", "").await;
    ends_with(2, "tx teleport", "teleport").await;
    ends_with(2, &format!("tx transfer bob 1 --key {}", path("none.pem")), "bob").await;
    ends_with(2, "query status --rpc 127.0.0.1:1", "http://").await;
    ends_with(2, &format!("testnet status --dir {}", path("none")), "quorate testnet up").await;
    ends_with(2, &format!("start --home {}", path("none")), "quorate init").await;

    let key = path("key.pem");
    run(["key", "generate", &key]).await.success();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
    ends_with(2, &format!("key show {key}"), "chmod 600").await;

    let genesis = path("genesis.json");
    fs::write(&genesis, r#"{"name":"x","validatrs":[]}"#).expect("writable");
    let refused = ends_with(2, &format!("genesis check {genesis}"), "validatrs").await;
    assert!(refused.stderr.contains(&genesis) && refused.stdout.is_empty(), "{refused}");

    let home = path("home");
    run(["init", "--home", &home, "--validator"]).await.success();
    let config = Path::new(&home).join("config/config.toml");
    fs::write(&config, "[rpc]\nbatch_maximum = 3\n").expect("writable");
    ends_with(2, &format!("config show --home {home}"), "rpc.batch_max").await;
    fs::write(&config, "[rpc]\nbatch_max = 0\n").expect("writable");
    ends_with(2, &format!("config show --home {home}"), "1 to 10000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_understood_and_failed_ends_with_one() {
    let testnet = Testnet::up().await;
    let rpc = &testnet.nodes()[0].rpc;
    let bob = testnet.wallet("bob").account().to_string();
    let key = testnet.key_file("alice").to_string_lossy().into_owned();
    let transfer = async |amount: &str, more: &[&str]| {
        run(["tx", "transfer", &bob, amount, "--key", &key, "--rpc", rpc].iter().chain(more)).await
    };

    let too_much = transfer("1000000000001", &["--json"]).await;
    assert_eq!(too_much.code, Some(1), "{too_much}");
    assert!(too_much.stderr.contains("INSUFFICIENT_FUNDS") && too_much.stdout.is_empty(), "{too_much}");
    assert!(
        too_much.stderr.contains("1000000000001") && too_much.stderr.contains("1000000000000"),
        "{too_much}"
    );

    let put = async |owner: &str| {
        let key = testnet.key_file(owner).to_string_lossy().into_owned();
        run(["tx", "put", "name", owner, "--key", &key, "--rpc", rpc, "--json"]).await
    };
    put("bob").await.success();
    let taken = put("alice").await;
    assert_eq!(taken.code, Some(1), "{taken}");
    assert!(taken.stderr.contains("NOT_OWNER") && taken.stderr.contains(&bob), "whose it is: {taken}");
    let outcome: serde_json::Value =
        serde_json::from_str(&taken.stdout).expect("one JSON value all the same");
    assert_eq!(outcome["status"], "committed");

    let missing = run(["query", "key", "nothing", "--rpc", rpc, "--json"]).await;
    assert_eq!(missing.code, Some(1), "{missing}");
    assert!(missing.stderr.contains("there is no key nothing at height"), "{missing}");
    let answer: serde_json::Value =
        serde_json::from_str(&missing.stdout).expect("one JSON value all the same");
    assert!(answer["value"].is_null(), "{answer}");
    let there = run(["query", "key", "name", "--rpc", rpc, "--json"]).await.json();
    assert_eq!(there["owner"], *bob);

    let taken = transfer("1", &["--no-wait", "--json"]).await.json();
    let id = taken["id"].as_str().expect("an id");
    testnet.client(0).execute(&testnet.wallet("alice").transfer(testnet.wallet("bob").account(), 1)).await;
    let known = run(["query", "tx", id, "--rpc", rpc, "--json"]).await.json();
    assert_eq!(known["status"], "committed");

    let nobody = format!("http://{}", free_address().await);
    ends_with(1, &format!("query status --rpc {nobody}"), "no node answers").await;
    let home = &testnet.nodes()[0].home;
    let second = run(["start", "--home", &home.to_string_lossy()]).await;
    assert_eq!(second.code, Some(1), "{second}");
    assert!(second.stderr.contains("in use by process"), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_bytes_can_be_kept_and_sent_later_and_again() {
    let testnet = Testnet::up().await;
    let rpc = &testnet.nodes()[2].rpc;
    let bob = testnet.wallet("bob").account().to_string();
    let key = testnet.key_file("alice").to_string_lossy().into_owned();
    let genesis = testnet.genesis_file().to_string_lossy().into_owned();
    let file = testnet.dir().join("signed").to_string_lossy().into_owned();
    let offline =
        ["tx", "transfer", &bob, "5", "--key", &key, "--genesis", &genesis, "--out", &file, "--json"];
    let signed = run(offline).await.json();
    let shown = run(["tx", "show", &file, "--json"]).await.json();
    assert_eq!(shown["id"], signed["id"]);
    assert_eq!(shown["signature_valid"], true);

    let send = ["tx", "send", &file, "--rpc", rpc, "--json"];
    let sent = run(send).await.json();
    assert_eq!(sent["status"], "committed");
    assert_eq!(sent["id"], signed["id"]);
    let again = run(send).await.json();
    assert_eq!(again["height"], sent["height"], "the same transaction, not another");
    let asked = run(["query", "tx", &file, "--rpc", rpc, "--json"]).await.json();
    assert_eq!(asked["block"], sent["block"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_tells_what_became_of_each_line() {
    let testnet = Testnet::up().await;
    let rpc = &testnet.nodes()[0].rpc;
    let key = testnet.key_file("alice");
    let key = key.to_string_lossy();
    let bob = testnet.wallet("bob").account();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("lines");
    let batch = async |text: &str, json: &[&str]| {
        fs::write(&file, text).expect("ours");
        let line = ["tx", "batch", &file.to_string_lossy(), "--key", &key, "--rpc", rpc];
        run([&line, json].concat()).await
    };
    // More than are under way at a time, and the same line makes another transaction each time.
    let many = format!("transfer {bob} 1\n").repeat(300);
    let told = batch(&format!("# payments\n{many}"), &[]).await.success();
    assert_eq!(told.lines().filter(|line| line.contains("  ok at height ")).count(), 300, "{told}");
    assert_eq!(testnet.client(0).balance(bob, 0).await % 1_000, 300, "each once");

    let some = batch("delete 'no such key'\nput a b\n", &["--json"]).await;
    assert_eq!(some.code, Some(1), "{some}");
    let told: Value = serde_json::from_str(&some.stdout).expect("one JSON value");
    let outcomes: Vec<&Value> = told.as_array().expect("a list").iter().collect();
    assert_eq!((&outcomes[0]["line"], &outcomes[1]["line"]), (&json!(1), &json!(2)));
    let reason = &outcomes[0]["transaction"]["receipt"]["outcome"];
    assert!(reason.to_string().contains("KEY_NOT_FOUND"), "{told}");
    assert_eq!(outcomes[1]["transaction"]["status"], "committed", "{told}");

    let wrong = batch("put c d\nput c\n", &[]).await;
    assert_eq!(wrong.code, Some(2), "{wrong}");
    assert!(wrong.stderr.contains("line 2"), "{wrong}");
    let nothing = run(["query", "key", "c", "--rpc", rpc]).await;
    assert_eq!(nothing.code, Some(1), "nothing is sent before all is understood: {nothing}");
}

/// Whatever fails, a script that asked for JSON reads JSON.
#[tokio::test(flavor = "multi_thread")]
async fn failures_are_json_for_who_asks_for_it() {
    let testnet = Testnet::up().await;
    let rpc = &testnet.nodes()[0].rpc;
    let key = testnet.key_file("alice");
    let key = key.to_string_lossy();
    let bob = testnet.wallet("bob").account().to_string();
    let nobody = format!("http://{}", free_address().await);
    let too_much = u128::MAX.to_string();
    let cases: [(&[&str], i32, Option<&str>); 5] = [
        (&["query", "key", "no such key", "--rpc", rpc], 1, None),
        (&["query", "status", "--rpc", &nobody], 1, None),
        (&["query", "block", "no height"], 2, None),
        (&["no such command"], 2, None),
        (&["tx", "transfer", &bob, &too_much, "--key", &key, "--rpc", rpc], 1, Some("INSUFFICIENT_FUNDS")),
    ];
    for (line, code, reason) in cases {
        let failed = run([line, &["--json"]].concat()).await;
        assert_eq!(failed.code, Some(code), "{failed}");
        let last = failed.stderr.lines().last().unwrap_or_default();
        let told: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {failed}"));
        assert_eq!(told["error"]["code"], code, "{failed}");
        assert!(told["error"]["message"].as_str().is_some_and(|words| !words.is_empty()), "{failed}");
        assert_eq!(told["error"]["reason"].as_str(), reason, "{failed}");
        let in_words = run(line).await;
        assert!(in_words.stderr.contains("error: "), "{in_words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_data_ends_with_three() {
    let mut testnet = Testnet::up().await;
    let node = testnet.backups().await[0];
    testnet.manage("stop", node).await;
    let home = testnet.nodes()[node].home.clone();
    // The list of the database's files, cut in the middle.
    let manifest = fs::read_dir(home.join("data/ledger"))
        .expect("a database")
        .map(|entry| entry.expect("readable").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST")))
        .expect("RocksDB has one");
    fs::write(&manifest, "damaged").expect("ours");
    let refused = run(["start", "--home", &home.to_string_lossy()]).await;
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stderr.contains("data/ledger"), "{refused}");
}

/// Of all that is stored the vote log alone may be damaged and the node go on: it follows, signs nothing, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_damaged_vote_log_a_node_follows_and_says_so() {
    let mut testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let node = testnet.backups().await[0];
    testnet.client(node).execute(&alice.transfer(bob.account(), 1)).await;
    testnet.manage("stop", node).await;
    let votes = testnet.nodes()[node].home.join("data/votes");
    let log = fs::read_dir(&votes)
        .expect("it has voted")
        .map(|entry| entry.expect("readable").path())
        .max_by_key(|path| fs::metadata(path).expect("readable").len())
        .expect("a log");
    let mut bytes = fs::read(&log).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).expect("ours");

    testnet.start(node).await;
    let status = testnet.client(node).status().await;
    assert_eq!(status["votes"], false, "{status}");
    assert!(status["refused"].as_str().is_some_and(|why| why.contains("damage")), "{status}");
    let said = testnet.nodes()[node].log();
    assert!(said.contains("this node follows without voting"), "{said}");
    // Whoever watches it sees that, and goes on sending it requests.
    let (code, told) = testnet.client(node).get("/readyz").await.expect("it answers");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["votes"], &told["refused"]), (200, &json!(false), &status["refused"]), "{told}");
    let (_, metrics) = testnet.client(node).get("/metrics").await.expect("it answers");
    for level in ["quorate_validator 1", "quorate_votes 0", "quorate_epoch 0"] {
        assert!(metrics.lines().any(|line| line == level), "{level}: {metrics}");
    }
    let place = testnet.client(node).execute(&alice.transfer(bob.account(), 1)).await;
    testnet.client(node).reach(place.height).await;
}

/// A chain made by hand, as people do who are no testnet: keys, document, home, start; with fees.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_one_validator_is_made_by_hand_and_asks_for_fees() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (home, genesis, key) = (path("home"), path("genesis.json"), path("owner.pem"));
    let owner = run(["key", "generate", &key, "--json"]).await.json();
    let owner = owner["address"].as_str().expect("an address").to_owned();
    let made = run(["init", "--home", &home, "--validator", "--json"]).await.json();
    let validator = format!("{}=solo", made["validator"].as_str().expect("a key"));
    let account = format!("{owner}=1000");
    run([
        "genesis",
        "new",
        "--name",
        "solo",
        "--validator",
        &validator,
        "--account",
        &account,
        "--parameter",
        "fee_base=10",
        "--out",
        &genesis,
    ])
    .await
    .success();
    let hash = run(["genesis", "hash", &genesis, "--json"]).await.json();
    let checked = run(["genesis", "check", &genesis, "--json"]).await.json();
    assert_eq!(checked["hash"], hash);
    assert_eq!(checked["quorum"], 1);
    run(["init", "--home", &home, "--genesis", &genesis]).await.success();

    let address = free_address().await;
    let rpc = format!("http://{address}");
    let mut node = program::command([
        "start",
        "--home",
        &home,
        "--rpc-listen",
        &address,
        "--p2p-listen",
        "/ip4/127.0.0.1/tcp/0",
    ])
    .stderr(fs::File::create(path("log")).expect("writable"))
    .spawn()
    .expect("it runs");
    let client = Client::new(&rpc);
    until("it is ready", SOON, async || {
        let ready = client.is_ready().await;
        ready.map_err(|why| format!("{why}: {}", fs::read_to_string(path("log")).unwrap_or_default()))
    })
    .await;

    let someone = Account(SecretKey::generate().public());
    let wallet =
        Wallet::open(Path::new(&key), hash.as_str().and_then(|hash| hash.parse().ok()).expect("a hash"));
    let free = client.try_submit_and_wait(&wallet.transfer(someone, 1), LIFETIME).await;
    assert!(
        matches!(&free, Err(CallError::Refused { reason: Some(reason), .. }) if reason == "FEE_TOO_LOW"),
        "{free:?}"
    );
    let stranger =
        Wallet::of(SecretKey::generate(), hash.as_str().and_then(|hash| hash.parse().ok()).expect("a hash"));
    let mut payload = stranger.payload(vec![quorate_ledger::Operation::Transfer { to: someone, amount: 0 }]);
    payload.fee = 10;
    let poor = client.try_submit_and_wait(&stranger.sign(payload), LIFETIME).await;
    assert!(
        matches!(&poor, Err(CallError::Refused { reason: Some(reason), .. }) if reason == "FEES_EXCEED_BALANCE"),
        "{poor:?}"
    );

    // The command line pays what is asked for.
    let paid = run(["tx", "transfer", &someone.to_string(), "100", "--key", &key, "--rpc", &rpc, "--json"])
        .await
        .json();
    assert_eq!(paid["receipt"]["fee_paid"], "10");
    assert_eq!(client.balance(wallet.account(), paid["height"].as_u64().expect("a height")).await, 890);

    let pid = node.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("a child of ours");
    let status = soon("it stops", node.wait()).await.expect("a child of ours");
    assert_eq!(status.code(), Some(0), "{}", fs::read_to_string(path("log")).unwrap_or_default());
    let gone = client.try_call("node_status", json!({})).await;
    assert!(matches!(gone, Err(CallError::NoAnswer(_))), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_testnet_is_managed_by_its_commands() {
    let mut testnet = Testnet::up().await;
    let dir = testnet.dir().to_string_lossy().into_owned();
    let genesis = testnet.genesis().hash();
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    testnet.client(0).execute(&alice.transfer(bob.account(), 1)).await;

    let running = run(["testnet", "reset", "--dir", &dir]).await;
    assert_eq!(running.code, Some(2), "{running}");
    testnet.manage("stop", 2).await;
    // For a moment after the last block a node may think that others are further.
    until("three are ready and one is stopped", SOON, async || {
        let status = run(["testnet", "status", "--dir", &dir, "--json"]).await.json();
        let nodes = status["nodes"].as_array().expect("nodes");
        let states: Vec<_> = nodes.iter().map(|node| node["state"].clone()).collect();
        if states == ["ready", "ready", "stopped", "ready"] { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let log = run(["testnet", "logs", "2", "--dir", &dir, "--lines", "1"]).await.success();
    assert!(log.contains("stopped"), "{log}");

    run(["testnet", "down", "--dir", &dir]).await.success();
    run(["testnet", "reset", "--dir", &dir]).await.success();
    testnet.up_again().await;
    assert_eq!(testnet.genesis().hash(), genesis, "the same chain");
    assert_eq!(testnet.client(1).height().await, 0, "from its beginning");
    let place = testnet.client(1).execute(&alice.transfer(bob.account(), 1)).await;
    testnet.agreed(place.height).await;
    testnet.assert_no_evidence().await;
}
