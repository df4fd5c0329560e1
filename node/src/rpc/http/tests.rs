//! The server with methods of its own: what is limited here does not depend on what a method does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonrpsee::core::client::{ClientT, Subscription, SubscriptionClientT};
use jsonrpsee::server::stop_channel;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};
use jsonrpsee::{RpcModule, rpc_params};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::rpc::server::{HEAD_BYTES_MAX, Server};

const RESPONSE_BYTES_MAX: u32 = 10_000;

struct Bench {
    server: Server,
    ready: Arc<AtomicBool>,
}

impl Bench {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

fn limits() -> RpcConfig {
    RpcConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        body_bytes_max: 1_000,
        batch_max: 3,
        connections_max: 4,
        subscriptions_max: 2,
        request_timeout_ms: 50,
        origins: vec!["https://wallet.example".to_owned()],
    }
}

async fn start(config: RpcConfig) -> Bench {
    let mut module = RpcModule::new(());
    module
        .register_method("length", |parameters, (), _| parameters.as_str().map_or(0, str::len))
        .expect("new");
    module.register_async_method("never", |_, _, _| std::future::pending::<()>()).expect("new");
    module
        .register_method("large", |parameters, (), _| {
            "x".repeat(parameters.one::<usize>().unwrap_or_default())
        })
        .expect("new");
    module
        .register_subscription(
            "chain_subscribe",
            "chain_subscription",
            "chain_unsubscribe",
            |_, pending, _, _| async {
                if let Ok(sink) = pending.accept().await {
                    sink.closed().await;
                }
            },
        )
        .expect("new");
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let ready = Arc::new(AtomicBool::new(false));
    let told = ready.clone();
    let health = Health {
        ready: Arc::new(move || match told.load(Ordering::Relaxed) {
            true => Ready {
                ready: true,
                reasons: Vec::new(),
                votes: false,
                refused: Some("its log is lost".to_owned()),
            },
            false => Ready { ready: false, reasons: vec!["not yet".to_owned()], votes: true, refused: None },
        }),
        metrics: Arc::new(move || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).expect("memory");
            text
        }),
    };
    let (stopped, web_sockets) = stop_channel();
    let sizes = Sizes::fixed(config.body_bytes_max, RESPONSE_BYTES_MAX);
    let site = Site::new(module.into(), &config, sizes, metrics, health, stopped);
    let listener = TcpListener::bind(config.listen).await.expect("a free port");
    let (stop, _) = watch::channel(false);
    let server =
        Server::start(listener, site.router(), config.connections_max, stop, web_sockets).expect("listening");
    Bench { server, ready }
}

/// Sends a request and reads the whole response.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("listening");
    stream.write_all(request.as_bytes()).await.expect("connected");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("connected");
    String::from_utf8(response).expect("text")
}

async fn get(address: SocketAddr, path: &str) -> String {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")).await
}

async fn post(address: SocketAddr, body: &str) -> String {
    let length = body.len();
    exchange(
        address,
        &format!(
            "POST / HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        ),
    )
    .await
}

/// The JSON of a response.
fn json_of(response: &str) -> Value {
    let (_, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {response}"))
}

/// A call that makes a body of exactly so many bytes.
fn call_of(bytes: usize) -> String {
    let empty = r#"{"jsonrpc":"2.0","id":1,"method":"length","params":[""]}"#;
    empty.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - empty.len())))
}

async fn web_socket(address: SocketAddr) -> WsClient {
    WsClientBuilder::default().build(format!("ws://{address}")).await.expect("within the limits")
}

#[tokio::test]
async fn a_body_may_be_as_large_as_allowed_and_no_larger() {
    let bench = start(limits()).await;
    let at = call_of(1_000);
    assert_eq!(at.len(), 1_000);
    assert!(json_of(&post(bench.address(), &at).await)["result"].is_number());
    let past = post(bench.address(), &call_of(1_001)).await;
    assert!(past.starts_with("HTTP/1.1 413"), "{past}");
    assert_eq!(json_of(&past)["error"]["code"], -32007);

    // Without an announced length the body is counted as it comes.
    let body = call_of(1_001);
    let chunked = exchange(
        bench.address(),
        &format!(
            "POST / HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
    )
    .await;
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
}

#[tokio::test]
async fn a_batch_may_be_as_long_as_allowed_and_no_longer() {
    let bench = start(limits()).await;
    let batch = |count: usize| format!("[{}]", vec![call_of(60); count].join(","));
    let at = json_of(&post(bench.address(), &batch(3)).await);
    assert_eq!(at.as_array().expect("one answer a call").len(), 3);
    let past = json_of(&post(bench.address(), &batch(4)).await);
    assert_eq!(past["error"]["code"], -32010, "{past}");
}

#[tokio::test]
async fn every_entry_of_a_batch_is_answered_and_notifications_are_not() {
    let bench = start(limits()).await;
    let body = r#"[{"jsonrpc":"2.0","id":"a","method":"length"},{"jsonrpc":"2.0","method":"length"},7]"#;
    let answers = json_of(&post(bench.address(), body).await);
    let answers = answers.as_array().expect("a list");
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["id"], "a");
    assert_eq!(answers[1]["error"]["code"], -32600);
}

/// JSON-RPC 2.0 §4: an id "MUST contain a String, Number, or NULL value if included. If it is not included it is assumed to
/// be a notification"; §5: "If there was an error in detecting the id in the Request object (e.g. Parse error/Invalid
/// Request), it MUST be Null."
#[tokio::test]
async fn a_call_whose_id_is_no_id_is_answered_that_it_is_no_request() {
    let bench = start(limits()).await;
    let call = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"length"}}"#);
    for id in ["{}", "[1]", "true", "-1", "1.5"] {
        let answer = json_of(&post(bench.address(), &call(id)).await);
        assert_eq!(answer["error"]["code"], -32600, "{id}: {answer}");
        assert_eq!(answer.get("id"), Some(&Value::Null), "{id}: {answer}");

        let body = format!("[{},{},{}]", call("1"), call(id), call("null"));
        let answers = json_of(&post(bench.address(), &body).await);
        let answers = answers.as_array().expect("a list");
        let told: Vec<_> = answers.iter().map(|it| (&it["id"], &it["error"]["code"])).collect();
        assert_eq!(
            told,
            [(&json!(1), &json!(null)), (&json!(null), &json!(-32600)), (&json!(null), &json!(null))]
        );
    }
}

#[tokio::test]
async fn a_response_over_its_limit_becomes_an_error() {
    let bench = start(limits()).await;
    let large = |bytes: usize| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"large","params":[{bytes}]}}"#);
    let envelope = r#"{"jsonrpc":"2.0","id":1,"result":""}"#.len();
    let at = json_of(&post(bench.address(), &large(RESPONSE_BYTES_MAX as usize - envelope)).await);
    assert!(at["result"].is_string());
    let past = json_of(&post(bench.address(), &large(RESPONSE_BYTES_MAX as usize - envelope + 1)).await);
    assert_eq!(past["error"]["code"], -32008);
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_told_so() {
    let bench = start(limits()).await;
    let answer = json_of(&post(bench.address(), r#"{"jsonrpc":"2.0","id":1,"method":"never"}"#).await);
    assert_eq!(answer["error"]["data"], json!({ "reason": "REQUEST_TIMEOUT", "timeout_ms": 50 }));
    let answer = json_of(&post(bench.address(), r#"[{"jsonrpc":"2.0","id":1,"method":"never"}]"#).await);
    assert_eq!(answer[0]["error"]["data"]["reason"], "REQUEST_TIMEOUT");
}

#[tokio::test]
async fn as_many_connections_as_allowed_and_not_one_more() {
    let bench = start(limits()).await;
    let web_socket = web_socket(bench.address()).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(bench.address()).await.expect("listening");
        // An answer shows that the connection was accepted and is kept.
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: node\r\n\r\n").await.expect("connected");
        let mut line = [0; 15];
        stream.read_exact(&mut line).await.expect("connected");
        assert_eq!(&line, b"HTTP/1.1 200 OK");
        open.push(stream);
    }
    let mut refused = TcpStream::connect(bench.address()).await.expect("listening");
    let mut response = String::new();
    refused.read_to_string(&mut response).await.expect("an answer");
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(response.ends_with("\r\n\r\ntoo many connections\n"), "{response}");

    // A WebSocket counts as long as it lives, not only until it is made.
    let length: usize = web_socket.request("length", rpc_params![]).await.expect("still open");
    assert_eq!(length, 0);
}

#[tokio::test]
async fn as_many_subscriptions_as_allowed_and_not_one_more() {
    let bench = start(limits()).await;
    let client = web_socket(bench.address()).await;
    let subscribe = || -> std::pin::Pin<Box<dyn Future<Output = _> + '_>> {
        Box::pin(client.subscribe::<Value, _>("chain_subscribe", rpc_params![], "chain_unsubscribe"))
    };
    let mut held: Vec<Subscription<Value>> = Vec::new();
    for _ in 0..2 {
        held.push(subscribe().await.expect("within the limit"));
    }
    let refused = subscribe().await.expect_err("one past it");
    assert!(refused.to_string().contains("-32006"), "{refused}");
    held.pop().expect("held").unsubscribe().await.expect("connected");
    held.push(subscribe().await.expect("there is room again"));
}

#[tokio::test]
async fn a_subscription_ends_by_name_or_by_position_and_only_once() {
    let bench = start(limits()).await;
    let client = web_socket(bench.address()).await;
    let id: String = client.request("chain_subscribe", rpc_params![]).await.expect("within the limit");
    let mut by_name = jsonrpsee::core::params::ObjectParams::new();
    by_name.insert("subscription", &id).expect("plain");
    assert!(client.request::<bool, _>("chain_unsubscribe", by_name).await.expect("answered"));
    assert!(!client.request::<bool, _>("chain_unsubscribe", rpc_params![id]).await.expect("answered"));
}

#[tokio::test]
async fn batches_are_for_http_and_subscriptions_for_web_sockets() {
    let bench = start(limits()).await;
    let client = web_socket(bench.address()).await;
    let mut batch = jsonrpsee::core::params::BatchRequestBuilder::new();
    batch.insert("length", rpc_params![]).expect("plain");
    assert!(client.batch_request::<Value>(batch).await.is_err());
    let answer =
        json_of(&post(bench.address(), r#"{"jsonrpc":"2.0","id":1,"method":"chain_subscribe"}"#).await);
    assert_eq!(answer["error"]["data"]["reason"], "NEEDS_WEB_SOCKET");
}

#[tokio::test]
async fn what_is_not_json_rpc_is_answered_as_the_standard_says() {
    let bench = start(limits()).await;
    let code = async |body: &str| json_of(&post(bench.address(), body).await)["error"]["code"].clone();
    assert_eq!(code("{").await, -32700);
    assert_eq!(code("[1").await, -32700);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":{},"method":"length"} {"#).await, -32700);
    assert_eq!(code("[]").await, -32600);
    assert_eq!(code(r#"{"id":1}"#).await, -32600);
    assert_eq!(code("{}").await, -32600);
    assert_eq!(code("7").await, -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"nothing"}"#).await, -32601);
    let typeless = exchange(
        bench.address(),
        "POST / HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
    )
    .await;
    assert!(typeless.starts_with("HTTP/1.1 415"), "{typeless}");
}

/// > A call or a WebSocket that a web page asks for is answered with 403, unless the page is the node's own
#[tokio::test]
async fn a_foreign_page_can_neither_call_nor_open_a_web_socket() {
    let bench = start(limits()).await;
    let own = format!("http://{}", bench.address());
    for (origin, served) in
        [("https://evil.example", false), (own.as_str(), true), ("https://wallet.example", true)]
    {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"length"}"#;
        let head = format!("host: {}\r\norigin: {origin}\r\nconnection: close\r\n", bench.address());
        let posted = exchange(
            bench.address(),
            &format!(
                "POST / HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{call}",
                call.len()
            ),
        )
        .await;
        let expected = if served { "HTTP/1.1 200" } else { "HTTP/1.1 403" };
        assert!(posted.starts_with(expected), "{origin}: {posted}");

        let mut stream = TcpStream::connect(bench.address()).await.expect("listening");
        let upgrade = format!(
            "GET / HTTP/1.1\r\nhost: {}\r\norigin: {origin}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            bench.address()
        );
        stream.write_all(upgrade.as_bytes()).await.expect("connected");
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.expect("an answer");
        assert_eq!(&line, if served { b"HTTP/1.1 101" } else { b"HTTP/1.1 403" }, "{origin}");
    }
}

#[tokio::test]
async fn a_head_may_not_be_endless() {
    let bench = start(limits()).await;
    let padding = "x".repeat(HEAD_BYTES_MAX);
    let response = exchange(
        bench.address(),
        &format!("GET /livez HTTP/1.1\r\nhost: node\r\npadding: {padding}\r\n\r\n"),
    )
    .await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}

#[tokio::test]
async fn health_says_why_it_is_not_ready() {
    let bench = start(limits()).await;
    assert!(get(bench.address(), "/livez").await.starts_with("HTTP/1.1 200"));
    let response = get(bench.address(), "/readyz").await;
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    let expected = json!({ "ready": false, "reasons": ["not yet"], "votes": true, "refused": null });
    assert_eq!(json_of(&response), expected);
    bench.ready.store(true, Ordering::Relaxed);
    let response = get(bench.address(), "/readyz").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let expected = json!({ "ready": true, "reasons": [], "votes": false, "refused": "its log is lost" });
    assert_eq!(json_of(&response), expected);
}

#[tokio::test]
async fn calls_are_counted_by_method_without_letting_callers_make_names() {
    let bench = start(limits()).await;
    post(bench.address(), r#"{"jsonrpc":"2.0","id":1,"method":"made_up_by_a_caller"}"#).await;
    let text = get(bench.address(), "/metrics").await;
    assert!(text.contains("application/openmetrics-text"), "{text}");
    assert!(text.contains(r#"quorate_rpc_calls_total{method="unknown",code="-32601"} 1"#), "{text}");
    assert!(!text.contains("made_up_by_a_caller"), "{text}");
}

#[tokio::test]
async fn a_browser_is_told_where_things_are() {
    let bench = start(limits()).await;
    let page = get(bench.address(), "/").await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("/openrpc.json"), "{page}");
    assert_eq!(&json_of(&get(bench.address(), "/openrpc.json").await), discover::document());
    assert!(get(bench.address(), "/elsewhere").await.starts_with("HTTP/1.1 404"));
    let put = exchange(bench.address(), "PUT / HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await;
    assert!(put.starts_with("HTTP/1.1 405"), "{put}");
}

#[tokio::test]
async fn stopping_closes_what_is_open() {
    let bench = start(limits()).await;
    let client = web_socket(bench.address()).await;
    let mut idle = TcpStream::connect(bench.address()).await.expect("listening");
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: node\r\n\r\n").await.expect("connected");
    let mut head = [0; 15];
    idle.read_exact(&mut head).await.expect("connected");
    let address = bench.address();
    bench.server.stop().await;
    client.on_disconnect().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("closed in order");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
