//! `tx_submit`, `tx_submitAndWait`, `tx_get`: the way of a transaction into the pool, and what became of it.
//!
//! What is cheap to check is checked first: the encoding, the rules that need no state, the time, then the signature,
//! then the pool's own. Outcomes come from the store alone: `committed` and `expired` are facts of the chain, `pending`
//! and `unknown` say what this node's pool holds.

use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::{Extensions, RpcModule};
use quorate_crypto::{Hash, decode};
use quorate_ledger::{self as ledger, Transaction, TransactionError, TransactionRules, UnixMillis};
use serde_json::json;
use tokio::time::Instant;

use super::Context;
use super::call;
use super::error::{Reason, RpcError};
use super::node::clock;
use super::stopped;
use super::table::{Method, TxSubmit, TxSubmitAndWait};
use super::types::{
    Bytes, Submitted, TransactionParameters, TransactionStatus, TxGetParameters, WaitParameters,
};
use super::verify::Source;
use crate::runtime::{RETRY_AFTER_MS, SubmitError};

/// Calls of `tx_submitAndWait` that may wait at a time.
pub(crate) const WAITS_MAX: usize = 4_096;

/// How long `tx_submitAndWait` waits if it is not told.
pub(crate) const WAIT_DEFAULT_MS: u64 = 30_000;

/// The longest it may be told to wait.
pub(crate) const WAIT_MAX_MS: u64 = 120_000;

/// Registers the methods that wait, which must not hold a thread.
pub(crate) fn register(module: &mut RpcModule<Context>) {
    module
        .register_async_method(TxSubmit::NAME, |parameters, context: Arc<Context>, extensions| async move {
            submit(&context, source(&extensions), call::parameters(&parameters)?).await
        })
        .expect("the table names each method once");
    module
        .register_async_method(
            TxSubmitAndWait::NAME,
            |parameters, context: Arc<Context>, extensions| async move {
                submit_and_wait(&context, source(&extensions), call::parameters(&parameters)?).await
            },
        )
        .expect("the table names each method once");
}

/// Who sent the call.
fn source(extensions: &Extensions) -> Source {
    *extensions.get().expect("the server names the source of every request")
}

async fn submit(
    context: &Arc<Context>,
    source: Source,
    parameters: TransactionParameters,
) -> Result<Submitted, RpcError> {
    let transaction = Arc::new(parse(&parameters.transaction)?);
    let id = transaction.id();
    admit(context, source, transaction).await?;
    Ok(Submitted { id })
}

async fn submit_and_wait(
    context: &Arc<Context>,
    source: Source,
    parameters: WaitParameters,
) -> Result<TransactionStatus, RpcError> {
    let deadline = Instant::now() + wait_of(parameters.timeout_ms)?;
    let transaction = Arc::new(parse(&parameters.transaction)?);
    let Ok(_permit) = context.waits.try_acquire() else {
        return Err(RpcError::refused(
            Reason::TooManyWaits,
            format_args!("{WAITS_MAX} calls wait already"),
            json!({ "max": WAITS_MAX, "retry_after_ms": RETRY_AFTER_MS }),
        ));
    };
    let interest = context.outcomes.register(transaction.id(), transaction.expires_at());
    admit(context, source, transaction.clone()).await?;
    let mut stopping = context.stopping.clone();
    loop {
        if let Some(outcome) = outcome(context, transaction.clone()).await? {
            return Ok(outcome);
        }
        tokio::select! {
            () = interest.news() => {}
            () = tokio::time::sleep_until(deadline) => {
                return Ok(TransactionStatus::Pending { id: transaction.id(), as_of: context.node.tip.borrow().height });
            }
            () = stopped(&mut stopping) => return Err(RpcError::shutting_down()),
        }
    }
}

/// How long a caller wants to wait, if that is allowed.
fn wait_of(timeout_ms: Option<u64>) -> Result<Duration, RpcError> {
    match timeout_ms.unwrap_or(WAIT_DEFAULT_MS) {
        timeout_ms @ 0..=WAIT_MAX_MS => Ok(Duration::from_millis(timeout_ms)),
        timeout_ms => Err(RpcError::parameters(format_args!(
            "`timeout_ms` is {timeout_ms}, at most {WAIT_MAX_MS} is allowed"
        ))),
    }
}

/// `tx_get`.
pub(crate) fn get(context: &Context, parameters: TxGetParameters) -> Result<TransactionStatus, RpcError> {
    match (parameters.id, parameters.transaction) {
        (Some(id), None) => get_by_id(context, id),
        (None, Some(bytes)) => {
            let transaction = parse(&bytes)?;
            let (chain, expected) = (transaction.payload().chain, context.node.genesis.hash());
            if chain != expected {
                return Err(TransactionError::WrongChain { chain, expected }.into());
            }
            match decided(context, &transaction)? {
                Some(status) => Ok(status),
                None => Ok(open(context, transaction.id())),
            }
        }
        (Some(_), Some(_)) | (None, None) => Err(RpcError::parameters("give either `id` or `transaction`")),
    }
}

fn get_by_id(context: &Context, id: Hash) -> Result<TransactionStatus, RpcError> {
    let reader = &context.node.reader;
    let Some(place) = reader.transaction(&id).map_err(RpcError::internal)? else {
        // It waited here until it expired: with its expiry the chain proves what became of it.
        if let Some(expires_at) = context.node.pool.expired(&id)
            && let ledger::TransactionStatus::Expired { at } =
                reader.status(&id, expires_at).map_err(RpcError::internal)?
        {
            return Ok(TransactionStatus::Expired { id, as_of: reader.tip().0.max(at), expires_at, at });
        }
        return Ok(open(context, id));
    };
    let stored = reader.block(place.height).map_err(RpcError::internal)?;
    let stored =
        stored.ok_or_else(|| RpcError::internal(format_args!("block {} is missing", place.height)))?;
    let transaction = &stored.block.transactions()[place.index as usize];
    Ok(TransactionStatus::Committed {
        id,
        as_of: reader.tip().0,
        height: place.height,
        block: stored.block.hash(),
        time: stored.block.time(),
        index: place.index,
        payload: transaction.payload().clone(),
        receipt: place.receipt,
    })
}

/// Waiting here, or not known.
fn open(context: &Context, id: Hash) -> TransactionStatus {
    let as_of = context.node.reader.tip().0;
    if context.node.pool.contains(&id) {
        TransactionStatus::Pending { id, as_of }
    } else {
        TransactionStatus::Unknown { id, as_of }
    }
}

/// What the chain has decided of a transaction, if it has.
fn decided(context: &Context, transaction: &Transaction) -> Result<Option<TransactionStatus>, RpcError> {
    let (id, expires_at) = (transaction.id(), transaction.expires_at());
    let reader = &context.node.reader;
    let as_of = reader.tip().0;
    let place = match reader.status(&id, expires_at).map_err(RpcError::internal)? {
        ledger::TransactionStatus::Committed(place) => place,
        ledger::TransactionStatus::Expired { at } => {
            return Ok(Some(TransactionStatus::Expired { id, as_of: as_of.max(at), expires_at, at }));
        }
        ledger::TransactionStatus::Open { .. } => return Ok(None),
    };
    let stored = reader.header(place.height).map_err(RpcError::internal)?;
    let stored =
        stored.ok_or_else(|| RpcError::internal(format_args!("header {} is missing", place.height)))?;
    Ok(Some(TransactionStatus::Committed {
        id,
        as_of: as_of.max(place.height),
        height: place.height,
        block: stored.header.hash(),
        time: stored.header.time,
        index: place.index,
        // The id is a hash of the payload: the block holds the same one.
        payload: transaction.payload().clone(),
        receipt: place.receipt,
    }))
}

/// [`decided`], where the caller must not block.
async fn outcome(
    context: &Arc<Context>,
    transaction: Arc<Transaction>,
) -> Result<Option<TransactionStatus>, RpcError> {
    let context = context.clone();
    let read = tokio::task::spawn_blocking(move || decided(&context, &transaction));
    read.await.map_err(RpcError::internal)?
}

/// Decodes a signed transaction: the one encoding there is, whole.
fn parse(bytes: &Bytes) -> Result<Transaction, RpcError> {
    decode(&bytes.0).map_err(|error| {
        RpcError::refused(
            Reason::Malformed,
            format_args!("not a transaction: {error}"),
            json!({ "detail": error.to_string() }),
        )
    })
}

/// Checks a transaction and gives it to the pool. What the chain holds already is as good as taken.
async fn admit(
    context: &Arc<Context>,
    source: Source,
    transaction: Arc<Transaction>,
) -> Result<(), RpcError> {
    let rules = context.rules.now();
    transaction.check(&rules)?;
    if let Err(error) = check_time(context, &transaction, &rules, clock()) {
        let committed =
            matches!(outcome(context, transaction).await?, Some(TransactionStatus::Committed { .. }));
        return if committed { Ok(()) } else { Err(error.into()) };
    }
    let verified = context.verify.verify(source, transaction.clone()).await;
    if !verified.map_err(RpcError::busy)? {
        return Err(TransactionError::BadSignature.into());
    }
    match context.node.pool.submit(transaction).await {
        Ok(()) | Err(SubmitError::AlreadyCommitted { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// That the transaction's life is neither over, by the chain or by this node's clock, nor longer than a block that came
/// now could take.
fn check_time(
    context: &Context,
    transaction: &Transaction,
    rules: &TransactionRules,
    clock: UnixMillis,
) -> Result<(), TransactionError> {
    let now = context.node.tip.borrow().time.max(clock);
    transaction.fits_time(now, rules.parameters.transaction_lifetime_max_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_may_be_as_long_as_allowed_and_no_longer() {
        assert_eq!(wait_of(None), Ok(Duration::from_millis(WAIT_DEFAULT_MS)));
        assert_eq!(wait_of(Some(0)), Ok(Duration::ZERO));
        assert_eq!(wait_of(Some(WAIT_MAX_MS)), Ok(Duration::from_millis(WAIT_MAX_MS)));
        let refused = wait_of(Some(WAIT_MAX_MS + 1)).expect_err("one past it");
        assert!(matches!(refused, RpcError::Parameters(message) if message.contains("at most 120000")));
    }

    #[test]
    fn what_is_not_exactly_one_transaction_is_malformed() {
        for bytes in [vec![], vec![1; 10], vec![0; 300]] {
            let refused = parse(&Bytes(bytes)).expect_err("not a transaction");
            assert!(matches!(refused, RpcError::Refused { reason: Reason::Malformed, .. }));
        }
    }
}
