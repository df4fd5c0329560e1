use std::pin::pin;

use futures::FutureExt;
use futures::future::join_all;
use jsonrpsee::types::Id;
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::*;

/// Answers each call, or none.
#[derive(Clone, Copy)]
enum Service {
    Prompt,
    Silent,
}

impl RpcServiceT for Service {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let service = *self;
        async move {
            match service {
                Service::Prompt => {
                    let answer = jsonrpsee::ResponsePayload::success(request.method_name().to_owned());
                    MethodResponse::response(request.id(), answer, 1_000)
                }
                Service::Silent => std::future::pending().await,
            }
        }
    }

    fn batch<'a>(&self, _: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        futures::future::lazy(|_| unreachable!("the guard takes batches apart"))
    }

    fn notification<'a>(&self, _: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        std::future::ready(MethodResponse::notification())
    }
}

fn guard(service: Service, transport: Transport) -> Guard<Service> {
    let shared = Shared {
        request_timeout: Duration::from_secs(5),
        sizes: Sizes::fixed(10_000, 10_000),
        metrics: Metrics::register(&mut Registry::default()),
    };
    Guard::new(service, transport, Arc::new(shared))
}

fn request(method: &'static str) -> Request<'static> {
    Request::borrowed(method, None, Id::Number(1))
}

fn json(response: &MethodResponse) -> Value {
    serde_json::from_str(response.as_json().get()).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_as_many_calls_in_hand_as_allowed_and_not_one_more() {
    let guard = guard(Service::Silent, Transport::WebSocket);
    let mut held = pin!(join_all((0..CALLS_MAX).map(|_| guard.call(request("tx_submitAndWait")))));
    assert!(held.as_mut().now_or_never().is_none());
    let refused = guard.call(request("node_status")).now_or_never().expect("refused at once");
    assert_eq!(json(&refused)["error"]["data"]["reason"], "BUSY");
    assert_eq!(json(&refused)["error"]["data"]["retry_after_ms"], crate::runtime::RETRY_AFTER_MS);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_in_time_but_a_wait_has_a_time_of_its_own() {
    let guard = guard(Service::Silent, Transport::Http);
    let started = tokio::time::Instant::now();
    let late = guard.call(request("node_status")).await;
    assert_eq!(json(&late)["error"]["data"]["reason"], "REQUEST_TIMEOUT");
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    let wait = guard.call(request("tx_submitAndWait"));
    assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_err(), "still waiting");
}

#[tokio::test]
async fn subscriptions_need_a_connection_that_can_carry_them() {
    for method in ["chain_subscribe", "chain_unsubscribe"] {
        let refused = guard(Service::Prompt, Transport::Http).call(request(method)).await;
        assert_eq!(json(&refused)["error"]["data"]["reason"], "NEEDS_WEB_SOCKET");
        assert_eq!(refused.as_error_code(), Some(-32601));
    }
    let taken = guard(Service::Prompt, Transport::WebSocket).call(request("chain_subscribe")).await;
    assert_eq!(json(&taken)["result"], "chain_subscribe");
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order() {
    let names = ["node_status", "rpc.discover", "nothing"];
    let batch = Batch::from(names.iter().map(|name| Ok(BatchEntry::Call(request(name)))).collect());
    let answers = guard(Service::Prompt, Transport::Http).batch(batch).await;
    let answers: Vec<Value> =
        json(&answers).as_array().expect("a list").iter().map(|one| one["result"].clone()).collect();
    assert_eq!(answers, names);
}
