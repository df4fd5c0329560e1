//! `chain_subscribe`: every block from a height on, once each and in order.
//!
//! Nothing is queued for a subscriber. Its blocks are read from the store as fast as it takes them, so it cannot miss
//! one and costs the same however far behind it is. One that takes nothing for [`STALL_MAX`] is told the first height it
//! did not get, and the subscription ends.

use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::core::server::{SendTimeoutError, SubscriptionCloseResponse, SubscriptionMessage};
use jsonrpsee::{PendingSubscriptionSink, RpcModule, SubscriptionSink};
use quorate_ledger::Height;
use serde_json::value::to_raw_value;

use super::Context;
use super::call;
use super::error::RpcError;
use super::stopped;
use super::table::{self, ChainSubscribe, Method};
use super::types::{ChainEvent, SubscribeParameters};

/// How long a subscriber may take nothing. Shorter than what its connection may (`socket::STALL_MAX`), so that one that
/// reads again learns where it stopped.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);

/// Registers `chain_subscribe` and `chain_unsubscribe`.
pub(crate) fn register(module: &mut RpcModule<Context>) {
    let row = table::row(ChainSubscribe::NAME).expect("in the table");
    let notification = row.notification.as_ref().expect("a subscription");
    module
        .register_subscription(
            row.name,
            notification.name,
            notification.unsubscribe,
            |parameters, pending, context, _| async move {
                match call::parameters::<SubscribeParameters>(&parameters) {
                    Ok(parameters) => subscribe(&context, pending, parameters).await,
                    Err(error) => {
                        pending.reject(error).await;
                        SubscriptionCloseResponse::None
                    }
                }
            },
        )
        .expect("the table names each method once");
}

async fn subscribe(
    context: &Arc<Context>,
    pending: PendingSubscriptionSink,
    parameters: SubscribeParameters,
) -> SubscriptionCloseResponse {
    // Read before the subscription is accepted: what is committed after the answer is notified.
    let newest = context.node.tip.borrow().height;
    let from = parameters.from.unwrap_or(newest.next()).max(Height(1));
    let Ok(sink) = pending.accept().await else { return SubscriptionCloseResponse::None };
    match follow(context, &sink, from).await {
        Some((next, reason)) => match message(&ChainEvent::Stopped { next, reason: reason.to_owned() }) {
            Ok(stopped) => SubscriptionCloseResponse::Notif(stopped),
            Err(_) => SubscriptionCloseResponse::None,
        },
        None => SubscriptionCloseResponse::None,
    }
}

/// Notifies blocks until the subscriber goes, which gives `None`, or must be stopped: then at which height, and why.
async fn follow(
    context: &Arc<Context>,
    sink: &SubscriptionSink,
    from: Height,
) -> Option<(Height, &'static str)> {
    let (mut tip, mut stopping) = (context.node.tip.clone(), context.stopping.clone());
    let mut next = from;
    loop {
        let newest = tip.borrow_and_update().height;
        while next <= newest {
            let Ok(block) = read(context, next).await else {
                return Some((next, "this node could not read on"));
            };
            match sink.send_timeout(block, STALL_MAX).await {
                Ok(()) => next = next.next(),
                Err(SendTimeoutError::Timeout(_)) => {
                    return Some((next, "too slow: nothing was taken for 30 s"));
                }
                Err(SendTimeoutError::Closed(_)) => return None,
            }
        }
        tokio::select! {
            changed = tip.changed() => if changed.is_err() { return Some((next, STOPPING)) },
            () = sink.closed() => return None,
            () = stopped(&mut stopping) => return Some((next, STOPPING)),
        }
    }
}

const STOPPING: &str = "the node is shutting down";

/// The notification of a block, read where blocking is allowed.
async fn read(context: &Arc<Context>, height: Height) -> Result<SubscriptionMessage, RpcError> {
    let reader = context.node.reader.clone();
    let read = tokio::task::spawn_blocking(move || {
        let stored = reader.header(height).map_err(RpcError::internal)?;
        let receipts = reader.receipts(height).map_err(RpcError::internal)?;
        let (Some(stored), Some(receipts)) = (stored, receipts) else {
            return Err(RpcError::internal(format_args!("block {height} is missing")));
        };
        message(&ChainEvent::Block {
            hash: stored.header.hash(),
            header: stored.header,
            transactions: receipts.iter().map(|receipt| receipt.id).collect(),
        })
    });
    read.await.map_err(RpcError::internal)?
}

fn message(event: &ChainEvent) -> Result<SubscriptionMessage, RpcError> {
    to_raw_value(event).map(SubscriptionMessage::from).map_err(RpcError::internal)
}
