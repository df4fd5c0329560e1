//! A transaction decoded, for people and for programs.

use quorate_crypto::{Hash, encode};
use quorate_ledger::{
    Condition, Operation, Parameters, Payload, ProposedChange, ProposedValidator, Transaction,
};
use serde::Serialize;

use super::super::{Globals, output, values};
use crate::rpc::types::Bytes;

/// A transaction decoded.
#[derive(Serialize)]
struct Shown<'a> {
    id: Hash,
    hash: Hash,
    size: usize,
    signature_valid: bool,
    payload: &'a Payload,
    bytes: Bytes,
}

pub(super) fn show(globals: &Globals, transaction: &Transaction) -> anyhow::Result<()> {
    let now = values::now()?;
    let shown = Shown {
        id: transaction.id(),
        hash: transaction.hash(),
        size: transaction.size(),
        signature_valid: transaction.verify_signature(),
        payload: transaction.payload(),
        bytes: Bytes(encode(transaction)),
    };
    output::result(globals.json, &shown, |shown| {
        let payload = shown.payload;
        let mut pairs = vec![
            ("id", shown.id.to_string()),
            ("chain", payload.chain.to_string()),
            ("sender", payload.sender.to_string()),
            ("nonce", payload.nonce.to_string()),
            ("expires", values::from_now(payload.expires_at, now)),
            ("fee", payload.fee.to_string()),
            ("size", format!("{} bytes", shown.size)),
            ("signature", if shown.signature_valid { "valid".to_owned() } else { "NOT VALID".to_owned() }),
        ];
        pairs.extend(payload.operations.iter().map(|operation| ("operation", operation_text(operation))));
        output::pairs(&pairs)
    })
}

/// An operation in a line.
pub(in crate::cli) fn operation_text(operation: &Operation) -> String {
    match operation {
        Operation::Transfer { to, amount } => format!("transfer {amount} to {to}"),
        Operation::Put { key, value } => format!("put {} = {}", values::shown(key), values::shown(value)),
        Operation::Delete { key } => format!("delete {}", values::shown(key)),
        Operation::Check(condition) => format!("check {}", condition_text(condition)),
        Operation::Approve { change } => format!("approve {}", change_text(change)),
    }
}

fn change_text(change: &ProposedChange) -> String {
    match change {
        ProposedChange::Validators(proposed) => {
            let keys: Vec<String> = proposed.iter().map(proposed_text).collect();
            format!("validators {}", keys.join(", "))
        }
        ProposedChange::Parameters(parameters) => {
            let rows = Parameters::table().iter().zip(parameters.values());
            let values: Vec<String> = rows.map(|(row, value)| format!("{} = {value}", row.key)).collect();
            format!("parameters {}", values.join(", "))
        }
    }
}

fn proposed_text(validator: &ProposedValidator) -> String {
    let ready = if validator.readiness.is_some() { " (says that it is ready)" } else { "" };
    format!("{}{ready}", validator.key)
}

fn condition_text(condition: &Condition) -> String {
    match condition {
        Condition::KeyAbsent { key } => format!("{} is absent", values::shown(key)),
        Condition::KeyPresent { key } => format!("{} is present", values::shown(key)),
        Condition::KeyAtVersion { key, version } => format!("{} has version {version}", values::shown(key)),
        Condition::KeyEquals { key, value } => format!("{} = {}", values::shown(key), values::shown(value)),
    }
}
