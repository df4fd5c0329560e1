//! Bad input: each gets its documented error, or a disconnection with a reason in the log, and the node goes on.

use std::time::Duration;

use quorate_crypto::{Hash, PublicKey, SecretKey, Signature};
use quorate_ledger::{Account, Operation, Payload, Transaction};
use quorate_tests::client::{CallError, Client};
use quorate_tests::program::{self, free_address, run};
use quorate_tests::testnet::Testnet;
use quorate_tests::wait::{SOON, soon, until};
use quorate_tests::wallet::{Wallet, bytes, from_now};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// What a node says, in bounds of the default configuration and chain.
const BODY_BYTES_MAX: usize = 2 << 20;
const BATCH_MAX: usize = 100;
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 16_384;
const OPERATIONS_MAX: usize = 64;

/// "Invalid params" of JSON-RPC 2.0.
const INVALID_PARAMS: i64 = -32602;

fn put(key_bytes: usize, value_bytes: usize) -> Operation {
    Operation::Put { key: vec![b'k'; key_bytes], value: vec![b'v'; value_bytes] }
}

/// Something a client sends, and the reason for which it must be refused.
struct BadTransaction {
    reason: &'static str,
    transaction: String,
}

fn bad_transactions(alice: &Wallet, to: Account) -> Vec<BadTransaction> {
    let transfer = Operation::Transfer { to, amount: 1 };
    let bad = |reason, transaction: Transaction| BadTransaction { reason, transaction: bytes(&transaction) };
    let with = |change: &dyn Fn(&mut Payload)| {
        let mut payload = alice.payload(vec![transfer.clone()]);
        change(&mut payload);
        alice.sign(payload)
    };
    let doing = |operations: Vec<Operation>| alice.sign(alice.payload(operations));
    let good = alice.transfer(to, 1);
    let whole = bytes(&good);
    // The point of order one: anybody can sign for it.
    let nobody = Account(PublicKey::from_bytes({
        let mut identity = [0; 32];
        identity[0] = 1;
        identity
    }));
    let malformed = |transaction: &str| BadTransaction {
        reason: "MALFORMED_TRANSACTION",
        transaction: transaction.to_owned(),
    };
    vec![
        malformed("0x"),
        malformed("0x00"),
        malformed(&whole[..whole.len() - 2]),
        malformed(&format!("{whole}00")),
        malformed(&format!("0x01{}", "f".repeat(2_000))),
        bad("WRONG_VERSION", with(&|payload| payload.version = 2)),
        bad("WRONG_CHAIN", with(&|payload| payload.chain = Hash::of(b"another chain"))),
        bad("TOO_LARGE", doing(vec![put(8, VALUE_BYTES_MAX); 4])),
        bad("NO_OPERATIONS", doing(Vec::new())),
        bad("TOO_MANY_OPERATIONS", doing(vec![transfer.clone(); OPERATIONS_MAX + 1])),
        bad("KEY_SIZE", doing(vec![put(0, 1)])),
        bad("KEY_SIZE", doing(vec![put(KEY_BYTES_MAX + 1, 1)])),
        bad("VALUE_SIZE", doing(vec![put(1, VALUE_BYTES_MAX + 1)])),
        bad("BAD_SENDER", with(&|payload| payload.sender = nobody)),
        bad("BAD_SIGNATURE", Transaction::new(good.payload().clone(), Signature::from_bytes([7; 64]))),
        bad("BAD_SIGNATURE", with(&|payload| payload.sender = Account(SecretKey::generate().public()))),
        bad("EXPIRED", with(&|payload| payload.expires_at = from_now(Duration::ZERO))),
        bad("EXPIRED", with(&|payload| payload.expires_at.0 = 0)),
        bad("EXPIRES_TOO_LATE", with(&|payload| payload.expires_at = from_now(Duration::from_secs(600)))),
        bad("EXPIRES_TOO_LATE", with(&|payload| payload.expires_at.0 = u64::MAX)),
    ]
}

fn transaction(bytes: &str) -> Value {
    json!({ "transaction": bytes })
}

/// Calls with parameters that no method takes, and the code with which each must be refused.
fn bad_calls() -> Vec<(i64, &'static str, Value)> {
    const METHOD_NOT_FOUND: i64 = -32601;
    vec![
        (METHOD_NOT_FOUND, "tx_steal", json!({})),
        (METHOD_NOT_FOUND, "", json!({})),
        (METHOD_NOT_FOUND, "chain_subscribe", json!({})),
        (INVALID_PARAMS, "tx_submit", json!({})),
        (INVALID_PARAMS, "tx_submit", json!([])),
        (INVALID_PARAMS, "tx_submit", transaction("00")),
        (INVALID_PARAMS, "tx_submit", transaction("0xzz")),
        (INVALID_PARAMS, "tx_submit", transaction("0x0")),
        (INVALID_PARAMS, "tx_submit", json!({ "transaction": 7 })),
        (INVALID_PARAMS, "tx_submit", json!({ "transaction": "0x00", "tip": 1 })),
        (INVALID_PARAMS, "tx_submit", json!(["0x00", "0x00"])),
        (INVALID_PARAMS, "tx_submitAndWait", json!({ "transaction": "0x00", "timeout_ms": 1e12 })),
        (INVALID_PARAMS, "tx_submitAndWait", json!({ "transaction": "0x00", "timeout_ms": -1 })),
        (INVALID_PARAMS, "tx_get", json!({})),
        (INVALID_PARAMS, "tx_get", json!({ "id": "0x12" })),
        (INVALID_PARAMS, "chain_getBlock", json!({ "height": -1 })),
        (INVALID_PARAMS, "chain_getBlock", json!({ "height": "newest" })),
        (INVALID_PARAMS, "chain_getBlock", json!({ "height": 1, "hash": Hash::ZERO })),
        (INVALID_PARAMS, "chain_getBlock", json!({ "height": 1.5 })),
        (INVALID_PARAMS, "chain_getBlocks", json!({ "from": 1, "limit": 0 })),
        (INVALID_PARAMS, "state_getAccount", json!({ "account": "qr1qqqq" })),
        (INVALID_PARAMS, "state_getAccount", json!({ "account": "bob" })),
        (INVALID_PARAMS, "state_getKey", json!({ "key": null })),
    ]
}

/// Whole bodies that are no call at all: status and code of the answer.
fn bad_bodies() -> Vec<(u16, i64, Vec<u8>)> {
    const PARSE_ERROR: i64 = -32700;
    const INVALID_REQUEST: i64 = -32600;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"node_status"}"#;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tx_get","params":{deep}}}"#);
    let large = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tx_submit","params":["0x{}"]}}"#,
        "0".repeat(BODY_BYTES_MAX)
    );
    vec![
        (200, PARSE_ERROR, b"{".to_vec()),
        (400, PARSE_ERROR, b"\xff\xfe\x00".to_vec()),
        (200, INVALID_PARAMS, deep.into_bytes()),
        (200, INVALID_REQUEST, br#"{"id":1}"#.to_vec()),
        (200, INVALID_REQUEST, b"{}".to_vec()),
        (200, INVALID_REQUEST, br#"{"jsonrpc":"2.0","id":{},"method":"node_status"}"#.to_vec()),
        (200, INVALID_REQUEST, b"[]".to_vec()),
        (200, -32010, format!("[{}]", vec![call; BATCH_MAX + 1].join(",")).into_bytes()),
        (413, -32007, large.into_bytes()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_call_gets_its_error_and_the_node_goes_on() {
    let testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let client = testnet.client(0);
    for BadTransaction { reason, transaction: bytes } in bad_transactions(&alice, bob.account()) {
        for method in ["tx_submit", "tx_submitAndWait"] {
            let refused = client.try_call(method, transaction(&bytes)).await;
            match &refused {
                Err(CallError::Refused { code, reason: Some(said), .. }) => {
                    assert_eq!(said, reason, "{method} {bytes:.100}");
                    assert!((-32059..=-32020).contains(code), "{reason} has code {code}");
                }
                other => panic!("{reason}: {method} {bytes:.100}: {other:?}"),
            }
        }
    }
    for (code, method, parameters) in bad_calls() {
        let refused = client.try_call(method, parameters.clone()).await;
        let Err(CallError::Refused { code: said, .. }) = refused else {
            panic!("{method} {parameters}: {refused:?}")
        };
        assert_eq!(i64::from(said), code, "{method} {parameters}");
    }
    for (status, code, body) in bad_bodies() {
        let (said, answer) = client.post(&body).await.expect("an answer");
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(said, status, "{start}: {answer}");
        let answer: Value =
            serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{start}: {error}: {answer}"));
        assert_eq!(answer["error"]["code"], code, "{start}: {answer}");
    }
    assert_eq!(client.call("mempool_getStatus", json!({})).await["transactions"], 0, "none of it was taken");
    goes_on(&testnet, &client).await;
}

/// What does not exist is `null`, and what is at the bound is taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_just_within_bounds_is_taken() {
    let testnet = Testnet::up().await;
    let alice = testnet.wallet("alice");
    let client = testnet.client(3);
    let many: Vec<_> =
        (0..OPERATIONS_MAX).map(|_| Operation::Transfer { to: alice.account(), amount: 0 }).collect();
    for operations in [vec![put(KEY_BYTES_MAX, 1)], vec![put(1, VALUE_BYTES_MAX)], many] {
        client.execute(&alice.sign(alice.payload(operations))).await;
    }
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"node_status"}"#;
    let (status, answers) =
        client.post(format!("[{}]", vec![call; BATCH_MAX].join(",")).as_bytes()).await.expect("answered");
    let answers: Value = serde_json::from_str(&answers).expect("JSON");
    assert_eq!((status, answers.as_array().map(Vec::len)), (200, Some(BATCH_MAX)));

    for (method, parameters) in [
        ("chain_getBlock", json!({ "height": 1_000_000 })),
        ("chain_getBlock", json!({ "hash": Hash::ZERO })),
        ("chain_getHeader", json!({ "height": u64::MAX })),
        ("chain_getCertificate", json!({ "height": 1_000_000 })),
    ] {
        assert_eq!(client.call(method, parameters.clone()).await, Value::Null, "{method} {parameters}");
    }
    let stranger = Account(SecretKey::generate().public());
    assert_eq!(client.call("state_getAccount", json!({ "account": stranger })).await["balance"], Value::Null);
    let early =
        client.try_call("state_getAccount", json!({ "account": stranger, "min_height": 1_000_000 })).await;
    assert!(
        matches!(&early, Err(CallError::Refused { reason: Some(reason), .. }) if reason == "NOT_YET"),
        "{early:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_peers_port_is_hung_up_on_and_the_node_goes_on() {
    let mut testnet = Testnet::up().await;
    let node = testnet.backups().await[0];
    // Strangers that say nothing sensible are not worth a line unless somebody looks for them.
    testnet.manage("stop", node).await;
    testnet.configure(node, "# filter = ", "filter = \"info,quorate_network=debug\" # ");
    testnet.start(node).await;
    let port = testnet.nodes()[node].p2p_port();

    for seed in 0u8..6 {
        let mut garbage = Vec::new();
        while garbage.len() < 65_536 {
            garbage.extend_from_slice(Hash::of(&[[seed].as_slice(), &garbage].concat()).as_bytes());
        }
        // Half of them begin as a peer would.
        if seed % 2 == 1 {
            garbage.splice(0..0, *b"\x13/multistream/1.0.0\n\x07/noise\n");
        }
        let datagrams = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        for datagram in garbage.chunks(1_200) {
            let _ = datagrams.send_to(datagram, ("127.0.0.1", port)).await;
        }
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        // Hung up on while writing is as good as after it.
        let _ = stream.write_all(&garbage).await;
        let mut answer = Vec::new();
        let _ = soon("the node hangs up", stream.read_to_end(&mut answer)).await;
    }
    until("a reason in the log", SOON, async || {
        let log = testnet.nodes()[node].log();
        let lines = log.lines().filter(|line| line.contains("connection failed") && line.contains("error="));
        if lines.count() >= 6 { Ok(()) } else { Err(log) }
    })
    .await;
    goes_on(&testnet, &testnet.client(node)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_chain_is_sent_away_with_a_reason() {
    let testnet = Testnet::up().await;
    let target = &testnet.nodes()[1];
    let peers_before = peers(&testnet.client(1)).await;

    // The only validator of a chain of its own, which has been told of ours.
    let root = tempfile::tempdir().expect("a temporary directory");
    let home = root.path().join("stranger").to_string_lossy().into_owned();
    let genesis = root.path().join("genesis.json").to_string_lossy().into_owned();
    let made = run(["init", "--home", &home, "--validator", "--json"]).await.json();
    let key = made["validator"].as_str().expect("a key");
    run(["genesis", "new", "--name", "elsewhere", "--validator", key, "--out", &genesis]).await.success();
    run(["init", "--home", &home, "--genesis", &genesis]).await.success();
    let rpc = free_address().await;
    let log = root.path().join("log");
    let mut command = program::command([
        "start",
        "--home",
        &home,
        "--rpc-listen",
        &rpc,
        "--p2p-listen",
        "/ip4/127.0.0.1/tcp/0",
        "--bootstrap",
        &target.p2p,
    ]);
    let log_file = std::fs::File::create(&log).expect("writable");
    command.stdout(log_file.try_clone().expect("a second handle")).stderr(log_file);
    let mut stranger = command.spawn().expect("it runs");

    // Whichever of the two hears first what the other is hangs up and says why.
    until("a disconnection with its reason", SOON, async || {
        let theirs = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(stranger.try_wait().expect("a child of ours").is_none(), "{theirs}");
        let logs = format!("{theirs}{}", target.log());
        let told = |line: &str| line.contains("disconnecting peer") && line.contains("chain");
        if logs.lines().any(told) { Ok(()) } else { Err(logs) }
    })
    .await;
    until("it is nobody's peer", SOON, async || match peers(&testnet.client(1)).await {
        now if now == peers_before => Ok(()),
        now => Err(format!("{now} peers")),
    })
    .await;
    let status = until("the stranger runs", SOON, async || {
        let status = Client::new(&format!("http://{rpc}")).try_call("node_status", json!({})).await;
        status.map_err(|error| format!("{error:?}"))
    })
    .await;
    assert_eq!(status["peers"], 0, "{status}");
    stranger.kill().await.expect("a child of ours");
    goes_on(&testnet, &testnet.client(1)).await;
}

async fn peers(client: &Client) -> usize {
    client.call("net_getPeers", json!({})).await["peers"].as_array().expect("a list").len()
}

/// A node that is asked for it still gets a transaction executed, everywhere, and accuses nobody.
async fn goes_on(testnet: &Testnet, client: &Client) {
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let place = client.execute(&alice.transfer(bob.account(), 1)).await;
    testnet.agreed(place.height).await;
    testnet.assert_no_evidence().await;
}
