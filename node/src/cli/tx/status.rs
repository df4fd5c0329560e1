//! What became of a transaction, in words for people: as a line, and with all that is known.

use quorate_ledger::{LedgerEvent, Outcome, Receipt};

use super::super::{output, values};
use super::operation_text;
use crate::rpc::types::TransactionStatus;

/// Whether it was executed with success.
pub(super) fn is_success(status: &TransactionStatus) -> bool {
    match status {
        TransactionStatus::Committed { receipt, .. } => receipt.outcome == Outcome::Ok,
        TransactionStatus::Pending { .. }
        | TransactionStatus::Expired { .. }
        | TransactionStatus::Unknown { .. } => false,
    }
}

/// One line.
pub(super) fn line(status: &TransactionStatus) -> String {
    match status {
        TransactionStatus::Committed { height, receipt, .. } => {
            format!("{} at height {height}", outcome_text(receipt))
        }
        TransactionStatus::Pending { as_of, .. } => {
            format!("pending at height {as_of}: in the node's pool, not in a block yet")
        }
        TransactionStatus::Expired { expires_at, at, .. } => format!(
            "expired: its time ended at {}; block {at} is past that, and no block up to it holds it",
            values::shown_time(*expires_at)
        ),
        TransactionStatus::Unknown { as_of, .. } => {
            format!("unknown at height {as_of}: this node has not seen it")
        }
    }
}

/// All that is known of it.
pub(in crate::cli) fn text(status: &TransactionStatus) -> String {
    match status {
        TransactionStatus::Committed { id, height, block, time, index, payload, receipt, .. } => {
            let mut pairs = vec![
                ("status", format!("committed: {}", outcome_text(receipt))),
                ("id", id.to_string()),
                ("block", format!("{block}, height {height}, place {index}")),
                ("time", values::shown_time(*time)),
                ("sender", payload.sender.to_string()),
                ("fee paid", receipt.fee_paid.to_string()),
            ];
            pairs.extend(payload.operations.iter().map(|operation| ("operation", operation_text(operation))));
            pairs.extend(receipt.events.iter().map(|event| ("event", event_text(event))));
            output::pairs(&pairs)
        }
        TransactionStatus::Pending { id, .. }
        | TransactionStatus::Expired { id, .. }
        | TransactionStatus::Unknown { id, .. } => {
            output::pairs(&[("status", line(status)), ("id", id.to_string())])
        }
    }
}

/// How a transaction of a block ended.
pub(in crate::cli) fn outcome_text(receipt: &Receipt) -> String {
    match receipt.outcome {
        Outcome::Ok => "ok".to_owned(),
        Outcome::FeeUnpaid => "FEE_UNPAID".to_owned(),
        Outcome::Failed { operation, reason } => format!("{} at operation {operation}", reason.reason()),
    }
}

fn event_text(event: &LedgerEvent) -> String {
    match event {
        LedgerEvent::Transferred { from, to, amount } => format!("transferred {amount} from {from} to {to}"),
        LedgerEvent::KeyPut { key, version } => format!("put {}, version {version}", values::shown(key)),
        LedgerEvent::KeyDeleted { key } => format!("deleted {}", values::shown(key)),
        LedgerEvent::Approved { validator, change, approvals } => {
            format!("{validator} approved of {change}, which {approvals} validators approve of now")
        }
        LedgerEvent::EpochEnds { last, change } => {
            format!("decided: the epoch ends with block {last}, then {change} is in force")
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_crypto::Hash;
    use quorate_ledger::{Failure, Height, UnixMillis};

    use super::super::tests::transaction;
    use super::*;

    fn committed(outcome: Outcome) -> TransactionStatus {
        let transaction = transaction();
        let (id, height) = (transaction.id(), Height(12));
        TransactionStatus::Committed {
            id,
            as_of: Height(13),
            height,
            block: Hash::ZERO,
            time: UnixMillis(900),
            index: 0,
            payload: transaction.payload().clone(),
            receipt: Receipt { id, height, index: 0, fee_paid: 0, outcome, events: Vec::new() },
        }
    }

    fn undecided() -> [TransactionStatus; 3] {
        let (id, as_of) = (transaction().id(), Height(13));
        [
            TransactionStatus::Pending { id, as_of },
            TransactionStatus::Expired { id, as_of, expires_at: UnixMillis(1_000), at: Height(13) },
            TransactionStatus::Unknown { id, as_of },
        ]
    }

    #[test]
    fn success_is_to_be_committed_and_executed_without_fault() {
        let failed = Outcome::Failed { operation: 0, reason: Failure::InsufficientFunds };
        assert!(is_success(&committed(Outcome::Ok)));
        for status in [committed(Outcome::FeeUnpaid), committed(failed)].iter().chain(&undecided()) {
            assert!(!is_success(status), "{status:?}");
        }
    }

    #[test]
    fn a_line_and_the_whole_say_the_same() {
        for status in undecided() {
            assert!(text(&status).contains(&line(&status)), "{status:?}");
        }
        let failed = committed(Outcome::Failed { operation: 0, reason: Failure::InsufficientFunds });
        assert_eq!(line(&failed), "INSUFFICIENT_FUNDS at operation 0 at height 12");
        assert!(text(&failed).contains("committed: INSUFFICIENT_FUNDS at operation 0"));
        assert_eq!(line(&committed(Outcome::Ok)), "ok at height 12");
    }
}
