//! A node's JSON-RPC as the commands use it: typed calls, and errors that say what to do next.

use std::time::Duration;

use jsonrpsee::core::ClientError as TransportError;
use jsonrpsee::core::client::ClientT as _;
use jsonrpsee::core::params::ObjectParams;
use jsonrpsee::http_client::HttpClient;
use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Account, Header, Height};

use crate::rpc::table::{self, Method};
use crate::rpc::types::{
    AccountAnswer, AccountParameters, BlockAnswer, BlockParameters, Bytes, CertificateAnswer,
    CertificateKind, CertificateParameters, EvidenceAnswer, HeaderAnswer, HeightOrLatest, KeyAnswer,
    KeyParameters, NoParameters, NodeStatus, ReadinessAnswer, ReadinessParameters, Submitted,
    TransactionParameters, TransactionStatus, TxGetParameters, ValidatorsAnswer, ValidatorsParameters,
    WaitParameters,
};

/// Where a node listens unless it is told otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:7601";

/// How long an answer may take. Longer than any wait that a call asks for.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Largest answer that is read: a full block in hex with its receipts.
const ANSWER_BYTES_MAX: u32 = 128 << 20;

/// A node at the other end of HTTP.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient,
    url: String,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The URL is none.
    #[error("{url} is no URL of a node ({reason}); give --rpc one such as {DEFAULT_URL}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing, or nothing like a node, is there.
    #[error(
        "no node answers at {url} ({reason}); start one with `quorate testnet up`, or name another with --rpc URL"
    )]
    NoAnswer {
        /// Where.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// The node understood and refused.
    #[error("{}", refusal(.reason.as_deref(), .message))]
    Refused {
        /// JSON-RPC error code.
        code: i32,
        /// `data.reason`: a word for programs.
        reason: Option<String>,
        /// The node's words.
        message: String,
    },
    /// The answer tells what no chain can come to.
    #[error("the node at {url} answers {method} with what cannot be ({reason}); ask another")]
    Impossible {
        /// Where.
        url: String,
        /// What was called.
        method: &'static str,
        /// What cannot be.
        reason: String,
    },
    /// The answer is not of the shape that this version knows.
    #[error(
        "the node at {url} answers {method} in a way this version does not know ({reason}); use the same version as the node"
    )]
    Unreadable {
        /// Where.
        url: String,
        /// What was called.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Heights and epochs above this are no chain's. The commands count on from what a node says.
const NUMBER_MAX: u64 = u64::MAX >> 1;

/// What in an answer is beyond any chain.
fn beyond_any_chain(answer: &ValidatorsAnswer) -> Option<String> {
    let heights = [Some(answer.height), Some(answer.start), answer.ends];
    let heights = heights.into_iter().flatten().map(|height| ("height", height.0));
    let mut numbers = heights.chain([("epoch", answer.epoch.0)]);
    numbers.find(|(_, number)| *number > NUMBER_MAX).map(|(name, number)| format!("{name} {number}"))
}

fn refusal(reason: Option<&str>, message: &str) -> String {
    match reason {
        Some(reason) => format!("the node refused: {message} ({reason})"),
        None => format!("the node refused: {message}"),
    }
}

impl Client {
    /// A client of the node at `url`. Connects with the first call.
    pub(crate) fn new(url: &str) -> Result<Self, ClientError> {
        Self::with_timeout(url, ANSWER_WITHIN)
    }

    /// A client that waits for an answer no longer than `timeout`.
    pub(crate) fn with_timeout(url: &str, timeout: Duration) -> Result<Self, ClientError> {
        let http = HttpClient::builder()
            .request_timeout(timeout)
            .max_response_size(ANSWER_BYTES_MAX)
            .build(url)
            .map_err(|error| ClientError::Url { url: url.to_owned(), reason: error.to_string() })?;
        Ok(Client { http, url: url.to_owned() })
    }

    /// `node_status`.
    pub(crate) async fn status(&self) -> Result<NodeStatus, ClientError> {
        self.call::<table::NodeStatus>(&NoParameters {}).await
    }

    /// `tx_submit`.
    pub(crate) async fn submit(&self, transaction: Vec<u8>) -> Result<Submitted, ClientError> {
        self.call::<table::TxSubmit>(&TransactionParameters { transaction: Bytes(transaction) }).await
    }

    /// `tx_submitAndWait`.
    pub(crate) async fn submit_and_wait(
        &self,
        transaction: Vec<u8>,
        timeout: Duration,
    ) -> Result<TransactionStatus, ClientError> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let parameters = WaitParameters { transaction: Bytes(transaction), timeout_ms: Some(timeout_ms) };
        self.call::<table::TxSubmitAndWait>(&parameters).await
    }

    /// `tx_get` by id.
    pub(crate) async fn transaction(&self, id: Hash) -> Result<TransactionStatus, ClientError> {
        self.call::<table::TxGet>(&TxGetParameters { id: Some(id), transaction: None }).await
    }

    /// `tx_get` by the signed bytes, which carry the expiry.
    pub(crate) async fn transaction_of_bytes(
        &self,
        bytes: Vec<u8>,
    ) -> Result<TransactionStatus, ClientError> {
        self.call::<table::TxGet>(&TxGetParameters { id: None, transaction: Some(Bytes(bytes)) }).await
    }

    /// `chain_getBlock`.
    pub(crate) async fn block(&self, which: &BlockParameters) -> Result<Option<BlockAnswer>, ClientError> {
        self.call::<table::ChainGetBlock>(which).await
    }

    /// `chain_getHeader`.
    pub(crate) async fn header(&self, which: &BlockParameters) -> Result<Option<HeaderAnswer>, ClientError> {
        self.call::<table::ChainGetHeader>(which).await
    }

    /// The header of a height and the certificate that commits it; nothing while there is none.
    pub(crate) async fn header_with_commit(
        &self,
        height: Height,
    ) -> Result<Option<(Header, CertificateAnswer)>, ClientError> {
        let height = Some(HeightOrLatest::Height(height));
        let Some(header) = self.header(&BlockParameters { height, hash: None }).await? else {
            return Ok(None);
        };
        let which = CertificateParameters { height, kind: CertificateKind::Commit, hash: None };
        let commit = self.call::<table::ChainGetCertificate>(&which).await?;
        Ok(commit.map(|commit| (header.header, commit)))
    }

    /// `chain_getCertificate` of the result of a height.
    pub(crate) async fn checkpoint(&self, height: Height) -> Result<Option<CertificateAnswer>, ClientError> {
        self.call::<table::ChainGetCertificate>(&CertificateParameters {
            height: Some(HeightOrLatest::Height(height)),
            kind: CertificateKind::Checkpoint,
            hash: None,
        })
        .await
    }

    /// `state_getAccount`.
    pub(crate) async fn account(
        &self,
        account: Account,
        min_height: Option<Height>,
    ) -> Result<AccountAnswer, ClientError> {
        self.call::<table::StateGetAccount>(&AccountParameters { account, min_height }).await
    }

    /// `state_getKey`.
    pub(crate) async fn key(
        &self,
        key: Vec<u8>,
        min_height: Option<Height>,
    ) -> Result<KeyAnswer, ClientError> {
        self.call::<table::StateGetKey>(&KeyParameters { key: Bytes(key), min_height }).await
    }

    /// `validators_get`; nothing if that height is not executed there yet.
    pub(crate) async fn validators(
        &self,
        height: Option<Height>,
    ) -> Result<Option<ValidatorsAnswer>, ClientError> {
        let answer = self.call::<table::ValidatorsGet>(&ValidatorsParameters { height }).await?;
        match answer.as_ref().and_then(beyond_any_chain) {
            None => Ok(answer),
            Some(reason) => {
                let method = <table::ValidatorsGet as Method>::NAME;
                Err(ClientError::Impossible { url: self.url.clone(), method, reason })
            }
        }
    }

    /// `validators_getReadiness`.
    pub(crate) async fn readiness(&self, key: PublicKey) -> Result<Option<ReadinessAnswer>, ClientError> {
        self.call::<table::ValidatorsGetReadiness>(&ReadinessParameters { key }).await
    }

    /// `consensus_getEvidence`.
    pub(crate) async fn evidence(&self) -> Result<EvidenceAnswer, ClientError> {
        self.call::<table::ConsensusGetEvidence>(&NoParameters {}).await
    }

    /// Where the node is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    async fn call<M: Method>(&self, parameters: &M::Parameters) -> Result<M::Answer, ClientError> {
        let named = serde_json::to_value(parameters).expect("parameters are plain values");
        let mut object = ObjectParams::new();
        for (name, value) in named.as_object().expect("parameters are structs") {
            object.insert(name, value).expect("plain values");
        }
        // Read in two steps, so that an answer of an unknown shape is told apart from no answer.
        let answer: serde_json::Value =
            self.http.request(M::NAME, object).await.map_err(|error| self.error(error))?;
        serde_json::from_value(answer).map_err(|error| ClientError::Unreadable {
            url: self.url.clone(),
            method: M::NAME,
            reason: error.to_string(),
        })
    }

    fn error(&self, error: TransportError) -> ClientError {
        if let TransportError::Call(object) = error {
            let data: Option<serde_json::Value> =
                object.data().and_then(|raw| serde_json::from_str(raw.get()).ok());
            let reason = data.as_ref().and_then(|data| data["reason"].as_str()).map(str::to_owned);
            return ClientError::Refused {
                code: object.code(),
                reason,
                message: object.message().to_owned(),
            };
        }
        let reason = if matches!(error, TransportError::RequestTimeout) {
            "connected, but no answer came in time".to_owned()
        } else {
            deepest_cause(&error)
        };
        ClientError::NoAnswer { url: self.url.clone(), reason }
    }
}

/// The innermost cause, which names what the machine refused; the outer ones only say that it did.
fn deepest_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_nobody_listens_the_error_says_what_to_do() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", free.local_addr().expect("bound"));
        drop(free);
        let error = Client::new(&url).expect("a URL").status().await.expect_err("nobody").to_string();
        assert!(error.starts_with(&format!("no node answers at {url} (")), "{error}");
        assert!(error.contains("quorate testnet up"), "{error}");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for wrong in ["", "127.0.0.1:7601", "ftp://127.0.0.1"] {
            assert!(matches!(Client::new(wrong), Err(ClientError::Url { .. })), "{wrong:?}");
        }
    }
}
