//! Fuzz target (`docs/testing.md`, Fuzzing): any bytes as the body of a call, to the whole server behind the socket of a node
//! that runs a chain of one validator, with its store, pool and threads.
//!
//! What one body makes the server hold is spread over threads, so memory is not counted here; the decoders have targets of
//! their own.

use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method as HttpMethod, Request, StatusCode, header};
use jsonrpsee::server::ServerHandle;
use jsonrpsee::types::error::INTERNAL_ERROR_CODE;
use quorate_consensus::vote_log::Mark;
use quorate_crypto::{Hash, SecretKey, encode, to_hex};
use quorate_genesis::GenesisBuilder;
use quorate_ledger::{Account, Height, Operation, Payload, Transaction};
use serde_json::{Value, json};
use tower::Service as _;

use super::*;
use crate::config::Config;
use crate::home::Home;
use crate::rpc::node::clock;
use crate::rpc::verify::Source;
use crate::runtime::{Keys, Node};

/// How long the chain may take to commit what the samples speak of.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node with what it serves, and what may be asked of it.
struct Bench {
    node: Node,
    router: axum::Router,
    response_bytes_max: usize,
    stop: watch::Sender<bool>,
    _web_sockets: ServerHandle,
    transaction: Transaction,
    _dir: tempfile::TempDir,
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

impl Bench {
    /// A node whose chain has committed a transaction.
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = Home::new(dir.path());
        home.create().expect("writable");
        Mark::create_unused(&home.validator_mark_file()).expect("writable");
        let builder = GenesisBuilder::new("fuzz", clock()).validator(key(1).public(), "only");
        let genesis = builder.account(Account(key(2).public()), 1_000_000).build().expect("every rule holds");
        let payload = Payload {
            version: Payload::VERSION,
            chain: genesis.hash(),
            sender: Account(key(2).public()),
            nonce: 1,
            expires_at: clock().plus_millis(genesis.parameters().transaction_lifetime_max_ms / 2),
            fee: 0,
            operations: vec![
                Operation::Transfer { to: Account(key(3).public()), amount: 5 },
                Operation::Put { key: b"key".to_vec(), value: b"value".to_vec() },
            ],
        };
        let mut config = Config::default();
        config.p2p.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
        let keys = Keys { node: key(9), validator: Some(key(1)) };
        let node = Node::start(&home, &config, genesis, keys).await.expect("the machine has room");
        let sizes = Sizes::of(node.handle().reader, config.rpc.body_bytes_max);
        let response_bytes_max = sizes.now().response_bytes_max as usize;
        let (stop, stopping) = watch::channel(false);
        let (stopped, web_sockets) = stop_channel();
        let router = site(node.handle(), &config.rpc, stopping, stopped).router();
        let transaction = Transaction::sign(payload, &key(2));
        let bench = Self {
            node,
            router,
            response_bytes_max,
            stop,
            _web_sockets: web_sockets,
            transaction,
            _dir: dir,
        };
        let submitted = bench.answer(&bench.submit_and_wait()).await;
        assert_eq!(submitted["result"]["status"], "committed", "{submitted}");
        bench
    }

    fn submit_and_wait(&self) -> Vec<u8> {
        let bytes = to_hex(&encode(&self.transaction));
        call("tx_submitAndWait", &json!({ "transaction": bytes, "timeout_ms": 30_000 }))
    }

    /// One call of every method, and batches.
    fn samples(&self) -> Vec<Vec<u8>> {
        let bytes = to_hex(&encode(&self.transaction));
        let block = self.node.handle().reader.header(Height(1)).expect("readable").expect("it is there");
        let account = Account(key(2).public()).to_string();
        let calls = [
            ("node_status", json!([])),
            ("tx_submit", json!([bytes])),
            ("tx_get", json!({ "transaction": bytes })),
            ("tx_get", json!([self.transaction.id()])),
            ("chain_getBlock", json!(["latest"])),
            ("chain_getBlock", json!({ "hash": block.header.hash() })),
            ("chain_getHeader", json!([1])),
            ("chain_getBlocks", json!({ "from": 0, "limit": 9 })),
            ("chain_getCertificate", json!({ "height": 1, "kind": "checkpoint" })),
            ("state_getAccount", json!([account, 1])),
            ("state_getKey", json!([to_hex(b"key")])),
            ("validators_get", json!([1])),
            ("validators_getReadiness", json!([key(1).public()])),
            ("consensus_getState", json!({})),
            ("consensus_getEvidence", json!(null)),
            ("net_getPeers", json!([])),
            ("mempool_getStatus", json!([])),
            ("chain_subscribe", json!([1])),
            ("chain_unsubscribe", json!({ "subscription": "abc" })),
            ("nothing", json!([Hash::ZERO])),
        ];
        let mut samples: Vec<_> = calls.iter().map(|(method, parameters)| call(method, parameters)).collect();
        samples.push(self.submit_and_wait());
        let batch = [&b"["[..], &samples[0], b",", &samples[4], b",7,", &samples[10], b"]"].concat();
        samples.push(batch);
        samples
    }

    /// What a body is answered, if it asks for an answer.
    async fn post(&self, body: Vec<u8>) -> Option<Value> {
        let request = Request::builder()
            .method(HttpMethod::POST)
            .uri("/")
            .header(header::CONTENT_TYPE, "application/json")
            .extension(Source::of(Ipv4Addr::LOCALHOST.into()))
            .body(Body::from(body))
            .expect("a request");
        let response = self.router.clone().call(request).await.expect("it always answers");
        // What begins neither an object nor a list is a bad request, to HTTP too.
        let status = response.status();
        assert!([StatusCode::OK, StatusCode::BAD_REQUEST].contains(&status), "{status}");
        let bytes = to_bytes(response.into_body(), self.response_bytes_max).await.expect("within its limit");
        let answer: Value = serde_json::from_slice(&bytes).expect("answers are JSON");
        // The library's word for no answer, to notifications.
        (!answer.is_null()).then_some(answer)
    }

    async fn answer(&self, body: &[u8]) -> Value {
        let answered = tokio::time::timeout(PATIENCE, self.post(body.to_vec())).await;
        answered.expect("a call ends").expect("a call is answered")
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.node.stop().await;
    }
}

fn call(method: &str, parameters: &Value) -> Vec<u8> {
    let mut call = json!({ "jsonrpc": "2.0", "id": 1, "method": method });
    if !parameters.is_null() {
        call["params"] = parameters.clone();
    }
    call.to_string().into_bytes()
}

/// Whether JSON-RPC asks for an answer: something in a body has an `id`, whatever that is.
fn asks(body: &[u8]) -> bool {
    let has_id = |call: &Value| call.get("id").is_some();
    match serde_json::from_slice(body) {
        Ok(Value::Array(calls)) => calls.iter().any(has_id),
        Ok(call) => has_id(&call),
        Err(_) => false,
    }
}

/// An answer is a result or an error, in words that are not the node's own failure.
fn judge(answer: &Value) {
    assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
    assert!(answer.get("id").is_some(), "{answer}");
    match (answer.get("result"), answer.get("error")) {
        (Some(_), None) => {}
        (None, Some(error)) => {
            assert!(error["message"].as_str().is_some_and(|words| !words.is_empty()), "{answer}");
            assert_ne!(error["code"], INTERNAL_ERROR_CODE, "{answer}");
        }
        (Some(_), Some(_)) | (None, None) => panic!("neither a result nor an error, or both: {answer}"),
    }
}

/// Whatever is posted is answered in the form of JSON-RPC, and never by a failure of the node.
#[test]
fn http_body() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let bench = Arc::new(runtime.block_on(async { tokio::spawn(Bench::start()).await.expect("it starts") }));
    let samples = bench.samples();
    // Not used again after a panic, but to say what led to it.
    let feed = AssertUnwindSafe(|body: Vec<u8>| {
        let asks = asks(&body);
        let answered = runtime.block_on(async { tokio::time::timeout(PATIENCE, bench.post(body)).await });
        match answered.expect("a call ends") {
            None => assert!(!asks, "what has an id is answered"),
            Some(Value::Array(answers)) => answers.iter().for_each(judge),
            Some(answer) => judge(&answer),
        }
    });
    samples.iter().for_each(|sample| (*feed)(sample.clone()));
    bolero::check!(name = "http_body").for_each(|input: &[u8]| {
        (*feed)(input.to_vec());
        (*feed)(quorate_fuzz::damaged(input, &samples));
    });
    let height = |answer: &Value| answer["result"]["height"].as_u64();
    let alive = runtime.block_on(bench.answer(&samples[0]));
    assert!(height(&alive) >= Some(1), "the node still answers: {alive}");
    let bench = Arc::into_inner(bench).expect("nobody else holds it");
    runtime.block_on(bench.stop());
}
