//! Stands before every call: how many at a time, how long each, and what is counted.
//!
//! The library calls a batch's entries behind a middleware's back, so the batch is taken apart here and every entry goes
//! the way of a single call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jsonrpsee::BatchResponseBuilder;
use jsonrpsee::MethodResponse;
use jsonrpsee::core::middleware::{Batch, BatchEntry, BatchEntryErr, Notification, RpcServiceT};
use jsonrpsee::types::{ErrorObject, ErrorObjectOwned, Request};
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::sync::Semaphore;

use super::call;
use super::error::{Reason, RpcError};
use super::metrics::Metrics;
use super::sizes::Sizes;
use super::table::{self, ChainUnsubscribe, Method, TxSubmitAndWait};
use super::types::UnsubscribeParameters;

/// Calls in hand of one connection, at most.
pub(crate) const CALLS_MAX: usize = 4_096;

/// Calls of one batch that run at the same time.
pub(crate) const BATCH_CONCURRENCY: usize = 32;

/// What a call comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One request, one response.
    Http,
    /// A connection that can carry notifications.
    WebSocket,
}

/// The limits of one connection.
#[derive(Clone)]
pub(crate) struct Guard<S> {
    service: S,
    transport: Transport,
    shared: Arc<Shared>,
    calls: Arc<Semaphore>,
}

/// What all guards of a server share.
pub(crate) struct Shared {
    /// The longest a call may take.
    pub(crate) request_timeout: Duration,
    /// The largest response to a batch.
    pub(crate) sizes: Sizes,
    /// What is counted.
    pub(crate) metrics: Metrics,
}

impl<S> Guard<S> {
    /// A guard for one connection.
    pub(crate) fn new(service: S, transport: Transport, shared: Arc<Shared>) -> Self {
        Self { service, transport, shared, calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }
}

impl<S> Guard<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Send + Sync + Clone + 'static,
{
    async fn guarded(self, mut request: Request<'_>) -> MethodResponse {
        let started = Instant::now();
        let method = table::row(request.method_name()).map_or("unknown", |row| row.name);
        let response = match self.admit(&mut request) {
            Ok(()) => self.timed(method, request).await,
            Err(error) => MethodResponse::error(request.id(), error),
        };
        self.shared.metrics.observe(method, response.as_error_code(), started.elapsed());
        response
    }

    /// What is refused before the method is looked at.
    fn admit(&self, request: &mut Request<'_>) -> Result<(), ErrorObjectOwned> {
        let row = table::row(request.method_name());
        let on_connection =
            row.is_some_and(|row| row.notification.is_some() || row.name == ChainUnsubscribe::NAME);
        if on_connection && self.transport == Transport::Http {
            let message = format!("`{}` needs a WebSocket, at the same address", request.method_name());
            return Err(ErrorObject::owned(
                NEEDS_WEB_SOCKET,
                message,
                Some(json!({ "reason": "NEEDS_WEB_SOCKET" })),
            ));
        }
        // The library reads the parameter of this one method itself, and by position only.
        if request.method_name() == ChainUnsubscribe::NAME {
            let parameters: UnsubscribeParameters = call::parameters(&request.params())?;
            let by_position = to_raw_value(&[parameters.subscription]).map_err(RpcError::internal)?;
            request.params = Some(std::borrow::Cow::Owned(by_position));
        }
        Ok(())
    }

    async fn timed(&self, method: &str, request: Request<'_>) -> MethodResponse {
        let id = request.id();
        let Ok(_permit) = self.calls.try_acquire() else {
            let error = RpcError::busy(format_args!("this connection has {CALLS_MAX} calls in hand"));
            return MethodResponse::error(id, ErrorObjectOwned::from(error));
        };
        let call = self.service.call(request);
        if method == TxSubmitAndWait::NAME {
            // Has a time of its own, which its caller chooses up to a limit.
            return call.await;
        }
        let timeout = self.shared.request_timeout;
        tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let error = RpcError::refused(
                Reason::RequestTimeout,
                format_args!("not done within {timeout_ms} ms"),
                json!({ "timeout_ms": timeout_ms }),
            );
            MethodResponse::error(id, ErrorObjectOwned::from(error))
        })
    }
}

/// "Method not found": there is no such method on this transport.
const NEEDS_WEB_SOCKET: i32 = jsonrpsee::types::error::METHOD_NOT_FOUND_CODE;

impl<S> RpcServiceT for Guard<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse, NotificationResponse = MethodResponse>
        + Send
        + Sync
        + Clone
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.clone().guarded(request)
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let guard = self.clone();
        async move {
            let response_bytes_max = guard.shared.sizes.now().response_bytes_max as usize;
            let mut responses = BatchResponseBuilder::new_with_limit(response_bytes_max);
            let mut notified = false;
            let calls: Vec<_> = batch.into_iter().map(|entry| guard.clone().entry(entry)).collect();
            let answers = stream::iter(calls).buffered(BATCH_CONCURRENCY);
            futures::pin_mut!(answers);
            while let Some(answer) = answers.next().await {
                match answer {
                    Some(response) => {
                        if let Err(too_large) = responses.append(response) {
                            return too_large;
                        }
                    }
                    None => notified = true,
                }
            }
            if responses.is_empty() && notified {
                MethodResponse::notification()
            } else {
                MethodResponse::from_batch(responses.finish())
            }
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.service.notification(notification)
    }
}

impl<S> Guard<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Send + Sync + Clone + 'static,
{
    /// The response to one entry of a batch; a notification, which asks for nothing, has none and does nothing.
    async fn entry(self, entry: Result<BatchEntry<'_>, BatchEntryErr<'_>>) -> Option<MethodResponse> {
        match entry {
            Ok(BatchEntry::Call(request)) => Some(self.guarded(request).await),
            Ok(BatchEntry::Notification(_)) => None,
            Err(error) => {
                let (error, id) = error.into_parts();
                Some(MethodResponse::error(id, error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
