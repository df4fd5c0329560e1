//! Submitting a transaction, waiting for what becomes of it, and saying so.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use quorate_crypto::{Hash, encode};
use quorate_ledger::{Account, Condition, Height, Operation, Outcome, Transaction, UnixMillis};

use super::super::{Globals, approve, block_on, output, values};
use crate::client::{Client, ClientError, DEFAULT_URL};
use crate::rpc::types::TransactionStatus;

/// How long one call waits on the node; the command asks again until its own wait is over.
const WAIT_PER_CALL: Duration = Duration::from_secs(10);

/// Between two calls, for a node that answers at once.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// Whether to wait for the outcome.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct WaitingArgs {
    /// Return once the node has taken it, without waiting for the outcome
    #[arg(long)]
    pub(super) no_wait: bool,
    /// How long to wait for the outcome
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = values::duration)]
    pub(super) timeout: Duration,
}

/// Submits, and unless told otherwise waits until the outcome is final.
pub(super) fn send(
    globals: &Globals,
    waiting: &WaitingArgs,
    transaction: &Transaction,
    tell: impl FnOnce(&TransactionStatus) -> Option<String>,
) -> anyhow::Result<()> {
    let client = globals.client()?;
    let bytes = encode(transaction);
    if waiting.no_wait {
        let submitted = block_on(async { Ok(client.submit(bytes).await?) })?;
        return output::result(globals.json, &submitted, |submitted| {
            let ask = ask_again(&client, &submitted.id);
            format!("{}\nAsk what became of it: {ask}\n", submitted.id)
        });
    }
    let spinner = output::spinner("waiting for the outcome");
    let status = block_on(outcome(&client, bytes, waiting.timeout));
    spinner.finish_and_clear();
    let status = status.with_context(|| format!("transaction {}", transaction.id()))?;
    output::result(globals.json, &status, |status| {
        let told = tell(status).map_or(String::new(), |told| format!("\n{told}"));
        super::status::text(status) + &told
    })?;
    verdict(&client, transaction, &status)
}

/// The command that tells what became of a transaction, at the node that was given it.
fn ask_again(client: &Client, id: &Hash) -> String {
    let rpc = match client.url() {
        DEFAULT_URL => String::new(),
        url => format!(" --rpc {}", output::quoted(url.as_ref())),
    };
    format!("quorate query tx {id}{rpc}")
}

/// Asks until the outcome is final or the wait is over.
pub(super) async fn outcome(
    client: &Client,
    bytes: Vec<u8>,
    timeout: Duration,
) -> anyhow::Result<TransactionStatus> {
    let end = Instant::now() + timeout;
    let mut told = false;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let status = client.submit_and_wait(bytes.clone(), left.min(WAIT_PER_CALL)).await;
        let status = match status {
            Ok(status) => status,
            // A transaction that has expired is refused when it comes again: then the chain is asked what it knows.
            Err(ClientError::Refused { reason: Some(reason), .. }) if reason == "EXPIRED" => {
                if !std::mem::replace(&mut told, true) {
                    eprintln!(
                        "its time is over; waiting for the block that proves it, which an idle chain makes at its heartbeat"
                    );
                }
                client.transaction_of_bytes(bytes.clone()).await?
            }
            Err(error) => return Err(error.into()),
        };
        let is_final =
            matches!(status, TransactionStatus::Committed { .. } | TransactionStatus::Expired { .. });
        if is_final || Instant::now() >= end {
            return Ok(status);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Success only for what was executed with success.
fn verdict(client: &Client, transaction: &Transaction, status: &TransactionStatus) -> anyhow::Result<()> {
    match status {
        TransactionStatus::Committed { receipt, payload, height, .. } => match receipt.outcome {
            Outcome::Ok => Ok(()),
            Outcome::FeeUnpaid => Err(anyhow::anyhow!(
                "the sender could not pay the fee; nothing else was done; fund it and send anew"
            )),
            Outcome::Failed { operation, reason } => {
                let now = block_on(async {
                    let operation = payload.operations.get(operation as usize);
                    Ok(match operation {
                        Some(operation) => state_now(client, payload.sender, operation, *height).await,
                        None => None,
                    })
                })?;
                let now = now.or_else(|| approve::advice(reason).map(str::to_owned));
                let now = now.map_or(String::new(), |now| format!(" ({now})"));
                Err(anyhow::anyhow!(
                    "operation {operation} failed: {}{now}; none of the transaction took effect except its fee",
                    reason.reason()
                ))
            }
        },
        TransactionStatus::Expired { .. } => Err(anyhow::anyhow!(
            "the transaction expired without being included and never will be; send a new one"
        )),
        TransactionStatus::Pending { id, .. } => Err(anyhow::anyhow!(
            "{}; ask again with `{}`",
            open(transaction, values::now()?),
            ask_again(client, id)
        )),
        // By the id alone the node could not tell of one that it never held.
        TransactionStatus::Unknown { .. } => Err(anyhow::anyhow!(
            "{}; ask again with its signed bytes: `quorate tx send FILE`, or `quorate query tx FILE`",
            open(transaction, values::now()?)
        )),
    }
}

/// What may become of a transaction that the chain has not decided.
fn open(transaction: &Transaction, now: UnixMillis) -> String {
    let expires = values::from_now(transaction.expires_at(), now);
    if transaction.expires_at() > now {
        format!("no outcome yet; it may still be included until it expires, {expires}")
    } else {
        format!(
            "its time is over, {expires}, and no block proves yet that it was not included; the next one does, on an idle \
             chain that of the heartbeat"
        )
    }
}

/// What the node knows now of that on which an operation failed: receipts, which all nodes must compute alike, say only
/// why. It may have changed since the block, so the height is told; where the node does not answer nothing is.
async fn state_now(client: &Client, sender: Account, failed: &Operation, since: Height) -> Option<String> {
    match failed {
        Operation::Transfer { amount, .. } => {
            let account = client.account(sender, Some(since)).await.ok()?;
            let balance = account.balance.unwrap_or(0);
            Some(format!("it moves {amount}; at height {} the sender has {balance}", account.height))
        }
        Operation::Put { key, .. } | Operation::Delete { key } => key_now(client, key, since).await,
        Operation::Check(
            Condition::KeyAbsent { key }
            | Condition::KeyPresent { key }
            | Condition::KeyAtVersion { key, .. }
            | Condition::KeyEquals { key, .. },
        ) => key_now(client, key, since).await,
        Operation::Approve { .. } => None,
    }
}

async fn key_now(client: &Client, key: &[u8], since: Height) -> Option<String> {
    let answer = client.key(key.to_vec(), Some(since)).await.ok()?;
    let name = values::shown(key);
    Some(match (&answer.owner, answer.version) {
        (Some(owner), Some(version)) => {
            format!("at height {} {name} belongs to {owner} and has version {version}", answer.height)
        }
        _ => format!("at height {} there is no {name}", answer.height),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::transaction;
    use super::*;

    #[test]
    fn only_what_has_time_left_may_still_be_included() {
        let transaction = transaction();
        let before = open(&transaction, UnixMillis(999));
        assert!(before.contains("may still be included"), "{before}");
        let after = open(&transaction, UnixMillis(1_000));
        assert!(after.contains("its time is over") && !after.contains("may still"), "{after}");
    }
}
