//! What a call can be refused with: one table of reasons, from which the error objects, `rpc.discover` and the table
//! in `docs/json-rpc.md` are made.
//!
//! Reasons of this interface have codes from [`CODE_FIRST`] to [`CODE_LAST`], one each and never used again for
//! another. `data.reason` is the word for programs; beside it stand the values needed to act. Mistakes in the request
//! itself have the codes that JSON-RPC 2.0 gives them (-32700 to -32600).

use std::fmt::Display;

use jsonrpsee::types::{
    ErrorObjectOwned,
    error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE},
};
use quorate_ledger::{Height, TransactionError};
use serde_json::{Map, Value, json};

use crate::runtime::{RETRY_AFTER_MS, SubmitError};

/// The codes that this interface uses for reasons of its own, the first nearest to zero.
const CODE_FIRST: i32 = -32020;
/// See [`CODE_FIRST`].
const CODE_LAST: i32 = -32059;

// Each code is lower than the one before it, so none stands for two reasons.
const _: () = {
    let mut place = 0;
    while place < Reason::TABLE.len() {
        let code = Reason::TABLE[place].code;
        assert!(CODE_LAST <= code && code <= CODE_FIRST, "a code is out of range");
        assert!(place == 0 || code < Reason::TABLE[place - 1].code, "codes are out of order");
        place += 1;
    }
};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The reason.
    pub(crate) reason: Reason,
    /// `error.code`.
    pub(crate) code: i32,
    /// `error.data.reason`.
    pub(crate) word: &'static str,
    /// What has happened.
    pub(crate) meaning: &'static str,
    /// What the caller can do.
    pub(crate) remedy: &'static str,
    /// Further members of `error.data`.
    pub(crate) data: &'static [&'static str],
}

macro_rules! reasons {
    ($($reason:ident = $code:literal, $word:literal, [$($data:literal),*], $meaning:literal, $remedy:literal;)*) => {
        /// Why a call is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Reason {
            $( #[doc = $meaning] $reason, )*
        }

        impl Reason {
            /// Every reason there is, by descending code.
            pub(crate) const TABLE: &'static [Row] = &[$(
                Row {
                    reason: Reason::$reason,
                    code: $code,
                    word: $word,
                    meaning: $meaning,
                    remedy: $remedy,
                    data: &[$($data),*],
                },
            )*];
        }
    };
}

reasons! {
    Malformed = -32020, "MALFORMED_TRANSACTION", ["detail"],
        "The bytes are not one transaction in the one encoding there is.",
        "Encode payload and signature as `docs/formats.md` says.";
    WrongVersion = -32021, "WRONG_VERSION", ["version", "expected"],
        "The transaction has a format that this node does not know.",
        "Use the format `expected`.";
    WrongChain = -32022, "WRONG_CHAIN", ["chain", "expected"],
        "The transaction was signed for another chain.",
        "Sign again with the chain `expected`.";
    TooLarge = -32023, "TOO_LARGE", ["size", "max"],
        "The transaction has more bytes than the chain allows.",
        "Split it.";
    NoOperations = -32024, "NO_OPERATIONS", [],
        "The transaction does nothing.",
        "Give it at least one operation.";
    TooManyOperations = -32025, "TOO_MANY_OPERATIONS", ["count", "max"],
        "The transaction has more operations than the chain allows.",
        "Split it.";
    KeySize = -32026, "KEY_SIZE", ["operation", "size", "max"],
        "A key is empty or longer than the chain allows.",
        "Use a key of 1 to `max` bytes.";
    ValueSize = -32027, "VALUE_SIZE", ["operation", "size", "max"],
        "A value is longer than the chain allows.",
        "Use a value of at most `max` bytes.";
    FeeTooLow = -32028, "FEE_TOO_LOW", ["fee", "least"],
        "The fee is less than the chain asks for a transaction of this size.",
        "Sign again with a fee of at least `least`.";
    BadSender = -32029, "BAD_SENDER", ["sender"],
        "The sender is not a key that only its owner can sign with.",
        "Use a key made by `quorate key generate` or another ed25519 implementation.";
    BadSignature = -32030, "BAD_SIGNATURE", [],
        "The signature is not the sender's over this payload.",
        "Sign the payload, for this chain, with the sender's key.";
    Expired = -32031, "EXPIRED", ["expires_at", "time"],
        "The transaction's life is over, by the chain's time or by this node's clock.",
        "Ask `tx_get` with the signed bytes what became of it; sign again with a later `expires_at`.";
    ExpiresTooLate = -32032, "EXPIRES_TOO_LATE", ["expires_at", "latest"],
        "The transaction's life ends later than the chain remembers ids.",
        "Sign again with `expires_at` at most `latest`.";
    PoolFull = -32033, "POOL_FULL", ["retry_after_ms"],
        "As many transactions wait as this node keeps.",
        "Send it again after `retry_after_ms`, or to another node.";
    AccountFull = -32034, "ACCOUNT_FULL", ["max"],
        "As many transactions of this sender wait as one account may have.",
        "Wait until some are included, then send it again.";
    FeesExceedBalance = -32035, "FEES_EXCEED_BALANCE", ["balance", "pending"],
        "The sender's balance does not pay the fees of what it has waiting and of this.",
        "Fund the account, or wait until some are included, then send it again.";
    ShuttingDown = -32036, "SHUTTING_DOWN", [],
        "This node is stopping.",
        "Use another node.";
    TooManyWaits = -32037, "TOO_MANY_WAITS", ["max", "retry_after_ms"],
        "As many calls of `tx_submitAndWait` wait as this node allows; the transaction was not taken.",
        "Use `tx_submit` and ask `tx_get`, or send it again after `retry_after_ms`.";
    Busy = -32038, "BUSY", ["retry_after_ms"],
        "This node, or this connection, has as many calls in hand as it allows.",
        "Send it again after `retry_after_ms`.";
    RequestTimeout = -32039, "REQUEST_TIMEOUT", ["timeout_ms"],
        "The call took longer than this node allows.",
        "Ask for less; a transaction may have been taken, so ask `tx_get`.";
    NotYet = -32040, "NOT_YET", ["height", "min_height"],
        "The state of the height asked for is not executed here yet.",
        "Ask again later, or another node.";
    InsufficientFunds = -32041, "INSUFFICIENT_FUNDS", ["needed", "balance", "height"],
        "The transaction moves more than the sender has, its fee counted, and nothing that waits here pays the sender.",
        "Fund the account and wait until that is committed, then send it again.";
    BadValidators = -32050, "BAD_VALIDATORS", ["operation", "detail"],
        "The transaction approves of keys that are no validator set.",
        "Approve of 1 to 200 different ed25519 keys.";
    BadParameters = -32051, "BAD_PARAMETERS", ["operation", "parameter", "detail"],
        "The transaction approves of parameters that no epoch can have.",
        "Change `parameter` as `detail` says.";
}

impl Reason {
    /// Its row of the table.
    pub(crate) fn row(self) -> &'static Row {
        Self::TABLE.iter().find(|row| row.reason == self).expect("the table is made with the enum")
    }
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RpcError {
    /// The caller's parameters are not what the method takes.
    Parameters(String),
    /// The caller is told why and what to do.
    Refused {
        /// The row of the table.
        reason: Reason,
        /// The same in words, with values.
        message: String,
        /// The members of `data` beside `reason`.
        data: Map<String, Value>,
    },
    /// This node's machine has failed; the log says how, the caller need not know.
    Internal,
}

impl RpcError {
    /// A refusal with the members of `data` that its row promises.
    pub(crate) fn refused(reason: Reason, message: impl Display, data: Value) -> Self {
        let data = match data {
            Value::Object(data) => data,
            Value::Null => Map::new(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                panic!("the data of an error is an object")
            }
        };
        let promised = reason.row().data;
        assert!(
            data.len() == promised.len() && promised.iter().all(|member| data.contains_key(*member)),
            "{reason:?} promises {promised:?}"
        );
        Self::Refused { reason, message: message.to_string(), data }
    }

    /// Parameters that no rule of a type could refuse.
    pub(crate) fn parameters(message: impl Display) -> Self {
        Self::Parameters(message.to_string())
    }

    /// A failure of the machine, which is logged here.
    pub(crate) fn internal(error: impl Display) -> Self {
        tracing::error!(%error, "a JSON-RPC call failed on this node's side");
        Self::Internal
    }

    /// The state asked for is not executed here yet.
    pub(crate) fn not_yet(height: Height, min_height: Height) -> Self {
        Self::refused(
            Reason::NotYet,
            format_args!("height {min_height} is not executed here yet, {height} is"),
            json!({ "height": height, "min_height": min_height }),
        )
    }

    /// Too much is in hand.
    pub(crate) fn busy(message: impl Display) -> Self {
        Self::refused(Reason::Busy, message, json!({ "retry_after_ms": RETRY_AFTER_MS }))
    }

    /// The node is stopping.
    pub(crate) fn shutting_down() -> Self {
        Self::refused(Reason::ShuttingDown, "the node is shutting down", Value::Null)
    }
}

impl From<TransactionError> for RpcError {
    fn from(error: TransactionError) -> Self {
        let (reason, data) = match &error {
            TransactionError::WrongVersion { version } => (
                Reason::WrongVersion,
                json!({ "version": version, "expected": quorate_ledger::Payload::VERSION }),
            ),
            TransactionError::WrongChain { chain, expected } => {
                (Reason::WrongChain, json!({ "chain": chain, "expected": expected }))
            }
            TransactionError::TooLarge { size, max } => {
                (Reason::TooLarge, json!({ "size": size, "max": max }))
            }
            TransactionError::NoOperations => (Reason::NoOperations, Value::Null),
            TransactionError::TooManyOperations { count, max } => {
                (Reason::TooManyOperations, json!({ "count": count, "max": max }))
            }
            TransactionError::KeySize { operation, size, max } => {
                (Reason::KeySize, json!({ "operation": operation, "size": size, "max": max }))
            }
            TransactionError::ValueSize { operation, size, max } => {
                (Reason::ValueSize, json!({ "operation": operation, "size": size, "max": max }))
            }
            TransactionError::FeeTooLow { fee, least } => {
                (Reason::FeeTooLow, json!({ "fee": fee.to_string(), "least": least.to_string() }))
            }
            TransactionError::BadSender { sender } => (Reason::BadSender, json!({ "sender": sender })),
            TransactionError::BadValidators { operation, source } => {
                (Reason::BadValidators, json!({ "operation": operation, "detail": source.to_string() }))
            }
            TransactionError::BadParameters { operation, source } => (
                Reason::BadParameters,
                json!({ "operation": operation, "parameter": source.key, "detail": source.to_string() }),
            ),
            TransactionError::BadSignature => (Reason::BadSignature, Value::Null),
            TransactionError::Expired { expires_at, time } => {
                (Reason::Expired, json!({ "expires_at": expires_at, "time": time }))
            }
            TransactionError::ExpiresTooLate { expires_at, latest } => {
                (Reason::ExpiresTooLate, json!({ "expires_at": expires_at, "latest": latest }))
            }
        };
        assert_eq!(reason.row().word, error.reason(), "the ledger and the table use one word");
        Self::refused(reason, error, data)
    }
}

/// What the pool says to a transaction that it does not take. That the chain holds it already is no error and is
/// answered before.
impl From<SubmitError> for RpcError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::AlreadyCommitted { .. } => unreachable!("answered with the id, not with an error"),
            SubmitError::Transaction(error) => error.into(),
            SubmitError::PoolFull { retry_after_ms } => {
                Self::refused(Reason::PoolFull, error, json!({ "retry_after_ms": retry_after_ms }))
            }
            SubmitError::AccountFull { max } => {
                Self::refused(Reason::AccountFull, error, json!({ "max": max }))
            }
            SubmitError::FeesExceedBalance { balance, pending } => Self::refused(
                Reason::FeesExceedBalance,
                error,
                json!({ "balance": balance.to_string(), "pending": pending.to_string() }),
            ),
            SubmitError::InsufficientFunds { balance, height, needed } => Self::refused(
                Reason::InsufficientFunds,
                error,
                json!({ "needed": needed.to_string(), "balance": balance.to_string(), "height": height }),
            ),
            SubmitError::ShuttingDown => Self::shutting_down(),
        }
    }
}

impl From<RpcError> for ErrorObjectOwned {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Parameters(message) => {
                Self::owned(INVALID_PARAMS_CODE, message, Some(json!({ "reason": "INVALID_PARAMS" })))
            }
            RpcError::Refused { reason, message, mut data } => {
                let row = reason.row();
                data.insert("reason".to_owned(), row.word.into());
                Self::owned(row.code, message, Some(data))
            }
            RpcError::Internal => Self::owned(
                INTERNAL_ERROR_CODE,
                "this node could not answer; its log says why",
                Some(json!({ "reason": "INTERNAL" })),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
