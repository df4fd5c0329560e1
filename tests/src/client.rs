//! JSON-RPC of a node as any client speaks it, and bare HTTP for what no client would send.

use std::time::Duration;

use jsonrpsee::core::ClientError;
use jsonrpsee::core::client::{ClientT as _, Subscription, SubscriptionClientT as _};
use jsonrpsee::core::traits::ToRpcParams;
use jsonrpsee::http_client::HttpClient;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};
use quorate_ledger::{Account, Amount, Header, Transaction, ValidatorIndex};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wait::soon;
use crate::wallet::bytes;

/// How long `tx_submitAndWait` is told to wait.
const OUTCOME_WITHIN: Duration = Duration::from_secs(60);

/// Longer than any wait that a call asks for.
const ANSWER_WITHIN: Duration = Duration::from_secs(150);

/// Calls of one connection that may be under way.
const CALLS_MAX: usize = 4_096;

/// Blocks of a subscription that wait to be looked at.
const BLOCKS_WAITING_MAX: usize = 100_000;

/// One node's JSON-RPC over HTTP.
#[derive(Clone, Debug)]
pub struct Client {
    http: HttpClient,
    url: String,
}

/// One node's JSON-RPC over a WebSocket: many calls at a time on one connection.
#[derive(Debug)]
pub struct Socket {
    ws: WsClient,
    url: String,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The node understood, and refused.
    Refused {
        /// `error.code`.
        code: i32,
        /// `error.data.reason`.
        reason: Option<String>,
        /// `error.message`.
        message: String,
    },
    /// Nobody answered.
    NoAnswer(String),
}

/// What a node says of a transaction.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// In the node's pool.
    Pending {
        /// Its id.
        id: String,
    },
    /// In a block.
    Committed {
        /// Its id.
        id: String,
        /// Height of the block.
        height: u64,
        /// Hash of the block.
        block: String,
        /// What became of it.
        receipt: Value,
    },
    /// Never to be included.
    Expired {
        /// Its id.
        id: String,
        /// The block that proves it.
        at: u64,
    },
    /// Not seen.
    Unknown {
        /// Its id.
        id: String,
    },
}

/// Where a transaction stands in the chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its id.
    pub id: String,
    /// Height of its block.
    pub height: u64,
    /// Hash of its block.
    pub block: String,
}

/// What a commit certificate says beside the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The view in which it was decided.
    pub view: u64,
    /// Whose votes stand in it, by their places in the set.
    pub voters: Vec<ValidatorIndex>,
}

impl Status {
    /// Where it stands, if it was executed with success.
    ///
    /// # Panics
    /// If it was not.
    #[must_use]
    pub fn place(self) -> Place {
        match self {
            Self::Committed { id, height, block, receipt } => {
                assert_eq!(receipt["outcome"]["status"], "ok", "transaction {id}: {receipt}");
                Place { id, height, block }
            }
            Self::Pending { .. } | Self::Expired { .. } | Self::Unknown { .. } => {
                panic!("not committed: {self:?}")
            }
        }
    }
}

/// A JSON object as parameters.
struct Named(Value);

impl ToRpcParams for Named {
    fn to_rpc_params(self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        to_raw_value(&self.0).map(Some)
    }
}

fn call_error(url: &str, error: ClientError) -> CallError {
    let ClientError::Call(object) = error else { return CallError::NoAnswer(format!("{url}: {error}")) };
    let data: Option<Value> = object.data().and_then(|raw| serde_json::from_str(raw.get()).ok());
    let reason = data.and_then(|data| data["reason"].as_str().map(str::to_owned));
    CallError::Refused { code: object.code(), reason, message: object.message().to_owned() }
}

impl Client {
    /// The node at a URL; it is asked nothing yet.
    ///
    /// # Panics
    /// If that is no URL.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let http =
            HttpClient::builder().request_timeout(ANSWER_WITHIN).build(url).expect("a URL of a testnet");
        Self { http, url: url.to_owned() }
    }

    /// Calls a method with parameters by name.
    ///
    /// # Errors
    /// Whatever the node says, or that it says nothing.
    pub async fn try_call(&self, method: &str, parameters: Value) -> Result<Value, CallError> {
        self.http.request(method, Named(parameters)).await.map_err(|error| call_error(&self.url, error))
    }

    /// The same, where only a result will do.
    ///
    /// # Panics
    /// If there is none.
    pub async fn call(&self, method: &str, parameters: Value) -> Value {
        let result = self.try_call(method, parameters.clone()).await;
        result.unwrap_or_else(|error| panic!("{}: {method} {parameters}: {error:?}", self.url))
    }

    /// `node_status`.
    pub async fn status(&self) -> Value {
        self.call("node_status", json!({})).await
    }

    /// The newest height executed there.
    pub async fn height(&self) -> u64 {
        number(&self.status().await["height"])
    }

    /// Gives it a transaction, and returns the id.
    pub async fn submit(&self, transaction: &Transaction) -> String {
        let submitted = self.call("tx_submit", json!({ "transaction": bytes(transaction) })).await;
        submitted["id"].as_str().expect("an id").to_owned()
    }

    /// Gives it a transaction, and waits for the outcome at most so long.
    ///
    /// # Errors
    /// Whatever the node says, or that it says nothing.
    pub async fn try_submit_and_wait(
        &self,
        transaction: &Transaction,
        within: Duration,
    ) -> Result<Status, CallError> {
        let timeout_ms = u64::try_from(within.as_millis()).expect("a short time");
        let parameters = json!({ "transaction": bytes(transaction), "timeout_ms": timeout_ms });
        self.try_call("tx_submitAndWait", parameters).await.map(status)
    }

    /// Gives it a transaction, and waits until that is executed with success.
    ///
    /// # Panics
    /// If it is not.
    pub async fn execute(&self, transaction: &Transaction) -> Place {
        let status = self.try_submit_and_wait(transaction, OUTCOME_WITHIN).await;
        status.unwrap_or_else(|error| panic!("{}: {error:?}", self.url)).place()
    }

    /// What it says of a transaction when asked with the signed bytes.
    pub async fn outcome(&self, transaction: &Transaction) -> Status {
        status(self.call("tx_get", json!({ "transaction": bytes(transaction) })).await)
    }

    /// The same.
    ///
    /// # Errors
    /// Whatever the node says, or that it says nothing.
    pub async fn try_outcome(&self, transaction: &Transaction) -> Result<Status, CallError> {
        self.try_call("tx_get", json!({ "transaction": bytes(transaction) })).await.map(status)
    }

    /// What it says of a transaction when asked with the id.
    pub async fn outcome_of(&self, id: &str) -> Status {
        status(self.call("tx_get", json!({ "id": id })).await)
    }

    /// What an account has there, once a height is executed.
    ///
    /// # Panics
    /// If it has nothing.
    pub async fn balance(&self, account: Account, min_height: u64) -> Amount {
        let parameters = json!({ "account": account, "min_height": min_height });
        let answer = self.call("state_getAccount", parameters).await;
        answer["balance"].as_str().and_then(|digits| digits.parse().ok()).expect("the account exists")
    }

    /// A block with its transactions.
    pub async fn block(&self, height: u64) -> Value {
        let block = self.call("chain_getBlock", json!({ "height": height })).await;
        assert!(!block.is_null(), "{} has no block {height}", self.url);
        block
    }

    /// What commits a block: the view in which that was decided, and who voted. For a block without a certificate of its
    /// own, those of the next one that has one; nobody if there is none yet.
    pub async fn decision(&self, height: u64) -> Option<Decision> {
        let parameters = json!({ "height": height, "kind": "commit" });
        let answer = self.call("chain_getCertificate", parameters).await;
        let votes = answer["votes"].as_array()?;
        let place = |vote: &Value| {
            ValidatorIndex(number(&vote["validator"]).try_into().expect("the set is not that large"))
        };
        Some(Decision {
            view: number(&answer["certificate"]["view"]),
            voters: votes.iter().map(place).collect(),
        })
    }

    /// Its blocks from a height on, as they are executed.
    ///
    /// # Panics
    /// If the subscription is refused.
    pub async fn follow(&self, from: u64) -> Blocks {
        let Socket { ws, url } = self.socket().await;
        let subscription = ws
            .subscribe("chain_subscribe", Named(json!({ "from": from })), "chain_unsubscribe")
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        Blocks { subscription, next: from, url, _ws: ws }
    }

    /// Waits until a height is executed there.
    pub async fn reach(&self, height: u64) {
        if self.height().await < height {
            let block = self.follow(height).await.next().await;
            assert_eq!(block.height, height, "a subscription begins where it was told");
        }
    }

    /// A connection for many calls at a time.
    ///
    /// # Panics
    /// If none is made.
    pub async fn socket(&self) -> Socket {
        let url = self.url.replace("http://", "ws://");
        let builder = WsClientBuilder::new()
            .max_concurrent_requests(CALLS_MAX)
            .max_buffer_capacity_per_subscription(BLOCKS_WAITING_MAX)
            .request_timeout(ANSWER_WITHIN);
        let ws = builder.build(&url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        Socket { ws, url }
    }

    /// A GET of another path: status and body.
    ///
    /// # Errors
    /// What the machine says if there is no answer.
    pub async fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let address = self.address();
        self.exchange(
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await
    }

    /// Whether the node says that it is ready.
    ///
    /// # Errors
    /// What it says instead, or what the machine says if there is no answer.
    pub async fn is_ready(&self) -> Result<(), String> {
        match self.get("/readyz").await {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("{status} {body}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A POST of any bytes: status and body.
    ///
    /// # Errors
    /// What the machine says if there is no answer.
    pub async fn post(&self, body: &[u8]) -> std::io::Result<(u16, String)> {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.address(),
            body.len()
        );
        self.exchange(&[head.as_bytes(), body].concat()).await
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("URLs of a testnet")
    }

    async fn exchange(&self, request: &[u8]) -> std::io::Result<(u16, String)> {
        let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is not HTTP");
        let mut stream = TcpStream::connect(self.address()).await?;
        // A server that refuses early need not read to the end.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let read = soon("an answer to an HTTP request", stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            return Err(read.err().unwrap_or_else(invalid));
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
        Ok((status, body.to_owned()))
    }
}

impl Socket {
    /// Gives the node a transaction, and waits until that is executed with success.
    ///
    /// # Panics
    /// If it is not.
    pub async fn execute(&self, transaction: &Transaction) -> Place {
        let timeout_ms = u64::try_from(OUTCOME_WITHIN.as_millis()).expect("a short time");
        let parameters = json!({ "transaction": bytes(transaction), "timeout_ms": timeout_ms });
        let answer: Result<Value, ClientError> = self.ws.request("tx_submitAndWait", Named(parameters)).await;
        status(answer.unwrap_or_else(|error| panic!("{}: {error}", self.url))).place()
    }
}

/// A subscription to the blocks of a node.
#[derive(Debug)]
pub struct Blocks {
    subscription: Subscription<Value>,
    next: u64,
    url: String,
    /// The subscription lives as long as its connection.
    _ws: WsClient,
}

/// A block as a subscription tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSeen {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: String,
    /// What the hash is of.
    pub header: Header,
    /// The ids of its transactions.
    pub transactions: Vec<String>,
}

impl Blocks {
    /// The next block.
    ///
    /// # Panics
    /// If none comes soon, or another than the next.
    pub async fn next(&mut self) -> BlockSeen {
        let event = soon("a block", self.subscription.next()).await;
        let event = event.unwrap_or_else(|| panic!("{}: the subscription has ended", self.url));
        let event = event.unwrap_or_else(|error| panic!("{}: {error}", self.url));
        assert_eq!(event["type"], "block", "{}: {event}", self.url);
        let height = number(&event["header"]["height"]);
        assert_eq!(height, self.next, "{}: every block once and in order", self.url);
        self.next += 1;
        let words = |value: &Value| value.as_str().expect("a hash").to_owned();
        let transactions = event["transactions"].as_array().expect("ids").iter().map(words).collect();
        let header: Header = serde_json::from_value(event["header"].clone()).expect("a header");
        BlockSeen { height, hash: words(&event["hash"]), header, transactions }
    }
}

fn status(answer: Value) -> Status {
    serde_json::from_value(answer.clone()).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// A number of an answer.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number, not {value}"))
}
