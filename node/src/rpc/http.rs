//! What stands at which path, and the limits of bodies.
//!
//! JSON-RPC is at `/`, by POST and by WebSocket. A batch is answered over HTTP only: on a WebSocket calls can be sent
//! one after the other without waiting, and a batch there would be a second way to the same end with limits of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use jsonrpsee::Methods;
use jsonrpsee::core::middleware::RpcServiceBuilder;
use jsonrpsee::server::{
    BatchRequestConfig, HttpResponse, PingConfig, RandomStringIdProvider, ServerBuilder, ServerConfig,
    StopHandle, TowerServiceBuilder, http as rpc_http, ws,
};
use tower::Service;
use tower::layer::util::Identity;

use super::discover;
use super::guard::{Guard, Shared, Transport};
use super::id;
use super::metrics::Metrics;
use super::node::Ready;
use super::origin;
use super::sizes::{Allowed, Sizes};
use crate::config::RpcConfig;

/// How long the body of a request may take to arrive.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Messages to one WebSocket that wait for the socket.
const MESSAGES_MAX: u32 = 16;

/// Random characters of a subscription's id: it cannot be guessed.
const SUBSCRIPTION_ID_LENGTH: usize = 16;

/// How often a WebSocket is pinged; one that answers no ping for [`PING_ANSWER_MAX`] is closed.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// See [`PING_INTERVAL`].
const PING_ANSWER_MAX: Duration = Duration::from_secs(90);

/// What Prometheus reads: OpenMetrics text.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the paths beside JSON-RPC tell.
#[derive(Clone)]
pub(crate) struct Health {
    /// Whether the node can serve and whether it votes.
    pub(crate) ready: Arc<dyn Fn() -> Ready + Send + Sync>,
    /// The metrics as text.
    pub(crate) metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Everything that is served.
#[derive(Clone)]
pub(crate) struct Site {
    methods: Methods,
    config: RpcConfig,
    sizes: Sizes,
    guard: Arc<Shared>,
    health: Health,
    stop: StopHandle,
}

impl Site {
    /// A site within the limits of the configuration.
    pub(crate) fn new(
        methods: Methods,
        config: &RpcConfig,
        sizes: Sizes,
        metrics: Metrics,
        health: Health,
        stop: StopHandle,
    ) -> Self {
        Self {
            methods,
            config: config.clone(),
            sizes: sizes.clone(),
            guard: Arc::new(Shared {
                request_timeout: Duration::from_millis(config.request_timeout_ms),
                sizes,
                metrics,
            }),
            health,
            stop,
        }
    }

    /// The paths.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/", any(root))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/openrpc.json", get(openrpc))
            .fallback(async || (StatusCode::NOT_FOUND, "nothing here; JSON-RPC is at /\n"))
            .with_state(self)
    }

    /// What serves one request, or one WebSocket as long as it is open, within what is allowed when it comes.
    fn service(&self, transport: Transport) -> TowerServiceBuilder<Identity, Identity> {
        let Allowed { body_bytes_max, response_bytes_max } = self.sizes.now();
        let base = ServerConfig::builder()
            .max_request_body_size(body_bytes_max)
            .max_response_body_size(response_bytes_max)
            // The server counts TCP connections, which are at least as many.
            .max_connections(self.config.connections_max)
            .max_subscriptions_per_connection(self.config.subscriptions_max)
            .set_message_buffer_capacity(MESSAGES_MAX)
            .set_id_provider(RandomStringIdProvider::new(SUBSCRIPTION_ID_LENGTH));
        let config = match transport {
            Transport::Http => {
                base.http_only().set_batch_request_config(BatchRequestConfig::Limit(self.config.batch_max))
            }
            Transport::WebSocket => {
                let ping = PingConfig::new().ping_interval(PING_INTERVAL).inactive_limit(PING_ANSWER_MAX);
                base.ws_only().set_batch_request_config(BatchRequestConfig::Disabled).enable_ws_ping(ping)
            }
        };
        ServerBuilder::with_config(config.build()).to_service_builder()
    }

    async fn call(&self, transport: Transport, request: Request) -> Response {
        let guard = self.guard.clone();
        let layer =
            RpcServiceBuilder::new().layer_fn(move |service| Guard::new(service, transport, guard.clone()));
        let mut service =
            self.service(transport).set_rpc_middleware(layer).build(self.methods.clone(), self.stop.clone());
        match service.call(request).await {
            Ok(response) => adapt(response),
            Err(error) => {
                tracing::error!(%error, "the JSON-RPC service failed");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }

    /// A JSON-RPC call or batch: its body is read first, within its limits of size and time.
    async fn post(&self, request: Request) -> Response {
        let max = self.sizes.now().body_bytes_max;
        let too_large = || adapt(rpc_http::response::too_large(max));
        if announced_length(&request).is_some_and(|length| length > u64::from(max)) {
            return too_large();
        }
        let (mut parts, body) = request.into_parts();
        match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, max as usize)).await {
            Ok(Ok(bytes)) => {
                let bytes = id::refuse_unreadable(bytes);
                parts.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
                self.call(Transport::Http, Request::from_parts(parts, Body::from(bytes))).await
            }
            Ok(Err(_)) => too_large(),
            Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body took too long\n").into_response(),
        }
    }
}

/// The length that a request says its body has.
fn announced_length(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn adapt(response: HttpResponse) -> Response {
    response.map(Body::new)
}

async fn root(State(site): State<Site>, request: Request) -> Response {
    let calls = ws::is_upgrade_request(&request) || *request.method() == Method::POST;
    if calls && !origin::may_call(request.headers(), &site.config.origins) {
        return (StatusCode::FORBIDDEN, "this page may not use this node; see `rpc.origins`\n")
            .into_response();
    }
    if ws::is_upgrade_request(&request) {
        return site.call(Transport::WebSocket, request).await;
    }
    match *request.method() {
        Method::POST => site.post(request).await,
        Method::GET | Method::HEAD => typed("text/plain; charset=utf-8", BANNER),
        _ => (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD, POST")], "POST JSON-RPC here\n")
            .into_response(),
    }
}

/// What a browser sees.
const BANNER: &str = concat!(
    "Quorate ",
    env!("CARGO_PKG_VERSION"),
    "\n\n",
    "JSON-RPC 2.0 is at this address: POST /, or a WebSocket at /.\n",
    "What it can do: GET /openrpc.json, or the method rpc.discover.\n",
    "Health: GET /livez, GET /readyz. Metrics: GET /metrics.\n",
);

async fn ready(State(site): State<Site>) -> Response {
    let told = (site.health.ready)();
    let status = if told.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&told).expect("plain values");
    (status, typed("application/json", format!("{body}\n"))).into_response()
}

async fn metrics(State(site): State<Site>) -> Response {
    typed(METRICS_TYPE, (site.health.metrics)())
}

async fn openrpc() -> Response {
    typed("application/json", format!("{:#}\n", discover::document()))
}

fn typed(content_type: &'static str, body: impl Into<Body>) -> Response {
    const TYPE: HeaderName = header::CONTENT_TYPE;
    ([(TYPE, content_type)], body.into()).into_response()
}

#[cfg(test)]
mod tests;
