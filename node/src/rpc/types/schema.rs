//! JSON schemas of what the lower crates put into JSON, and the byte string, which has no type there.
//!
//! The types below that are never constructed only describe: a field of a ledger type points at the one that says
//! how it looks (`#[schemars(with = …)]`). The test beside the shapes holds them against real values.

#![allow(dead_code, reason = "types that only describe are never constructed")]

use std::borrow::Cow;

use quorate_crypto::hex_bytes;
use quorate_ledger::Failure;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A byte string: `0x` and two lower-case hex digits a byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bytes(#[serde(with = "hex_bytes")] pub(crate) Vec<u8>);

macro_rules! strings {
    ($($name:ident: $description:literal, $pattern:literal;)*) => { $(
        pub(crate) struct $name;

        described!($name, { "type": "string", "description": $description, "pattern": $pattern });
    )* };
}

macro_rules! described {
    ($name:ident, { $($schema:tt)* }) => {
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ $($schema)* })
            }
        }
    };
}

described!(Bytes, { "type": "string", "description": "Bytes in hex.", "pattern": "^0x([0-9a-f]{2})*$" });

strings! {
    Hash: "A SHA-256 hash.", "^0x[0-9a-f]{64}$";
    PublicKey: "A raw ed25519 public key.", "^0x[0-9a-f]{64}$";
    Signature: "An ed25519 signature.", "^0x[0-9a-f]{128}$";
    Address: "An account: its public key in bech32m.", "^qr1[02-9ac-hj-np-z]+$";
    Decimal: "A whole number in decimal digits.", "^(0|[1-9][0-9]*)$";
}

/// A whole number from 0 that JSON carries as a number: a height, view, epoch or time in unix milliseconds.
pub(crate) struct Number;

described!(Number, { "type": "integer", "minimum": 0, "description": "A whole number from 0." });

/// What the sender signed.
#[derive(JsonSchema)]
pub(crate) struct Payload {
    /// Format of the transaction.
    version: u8,
    /// Hash of the genesis of the chain it is meant for.
    chain: Hash,
    /// Who signs, pays the fee and owns what it creates.
    sender: Address,
    /// Any number: it only makes otherwise equal transactions differ.
    nonce: Decimal,
    /// The first block time, in unix milliseconds, at which it can no longer be included.
    expires_at: Number,
    /// What it pays to the proposer of its block.
    fee: Decimal,
    /// What it does, in order, all or nothing.
    operations: Vec<Operation>,
}

/// One step of a transaction.
pub(crate) struct Operation;

described!(Operation, {
    "type": "object",
    "description": "One step of a transaction, told apart by `type`: `transfer` (`to`: address, `amount`: decimal), `put` \
        (`key`: bytes, `value`: bytes), `delete` (`key`: bytes), `check` (`condition`: `key_absent`, `key_present`, \
        `key_at_version` with `version`: decimal, `key_equals` with `value`: bytes; `key`: bytes) or `approve` (`change`: \
        `validators`, each with `key`: public key and `readiness`: object or `null`, or `parameters`).",
    "properties": { "type": { "enum": ["transfer", "put", "delete", "check", "approve"] } },
    "required": ["type"]
});

/// What the chain says of a block without its transactions.
#[derive(JsonSchema)]
pub(crate) struct Header {
    /// Format of the block.
    version: u8,
    /// Hash of the genesis.
    chain: Hash,
    /// Number of the span of heights with one validator set.
    epoch: Number,
    /// Its place in the chain.
    height: Number,
    /// Hash of the block before it.
    parent: Hash,
    /// RFC 6962 root over the hashes of its transactions.
    transactions_root: Hash,
    /// Unix milliseconds; it grows from block to block.
    time: Number,
    /// Account of the validator that proposed it first.
    proposer: Address,
    /// The executed state that it builds on.
    anchor: Anchor,
}

/// An executed state that a quorum vouches for.
#[derive(JsonSchema)]
pub(crate) struct Anchor {
    /// Height after which the state is.
    height: Number,
    /// Root over its records.
    state_root: Hash,
    /// Hash of the payload of its checkpoint.
    checkpoint: Hash,
}

/// What the next epoch changes.
pub(crate) struct Change;

described!(Change, {
    "type": "object",
    "description": "What an epoch changes when it begins, one of the two: `validators`, a list of all public keys from then \
        on, or `parameters`, all of them from then on.",
    "properties": {
        "validators": {
            "type": "array",
            "items": { "type": "string" },
            "description": "The keys of all validators from then on."
        },
        "parameters": { "type": "object", "description": "All parameters from then on." }
    }
});

/// The rules of an epoch that are numbers.
pub(crate) struct Parameters;

impl JsonSchema for Parameters {
    fn schema_name() -> Cow<'static, str> {
        "Parameters".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let values = serde_json::to_value(quorate_ledger::Parameters::default()).expect("plain values");
        let mut properties = serde_json::Map::new();
        for row in quorate_ledger::Parameters::table() {
            // Amounts are strings of digits, as everywhere; the values themselves say which they are.
            let kind = if values[row.key].is_string() { "string" } else { "integer" };
            let description = format!("{} ({})", row.meaning, row.unit);
            properties
                .insert(row.key.to_owned(), serde_json::json!({ "type": kind, "description": description }));
        }
        json_schema!({
            "type": "object",
            "description": "The rules of an epoch that are numbers.",
            "properties": properties,
            "required": properties.keys().collect::<Vec<_>>()
        })
    }
}

/// What became of a transaction.
#[derive(JsonSchema)]
pub(crate) struct Receipt {
    /// Id of the transaction.
    id: Hash,
    /// Height of the block that includes it.
    height: Number,
    /// Its place in the block, from 0.
    index: u32,
    /// What was taken from its sender for the proposer.
    fee_paid: Decimal,
    /// How it ended.
    outcome: Outcome,
    /// What it did to the state, in order.
    events: Vec<Event>,
}

/// How a transaction ended.
pub(crate) struct Outcome;

impl JsonSchema for Outcome {
    fn schema_name() -> Cow<'static, str> {
        "Outcome".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let reason = |failure: Failure| serde_json::json!({ "const": failure.reason(), "description": meaning(failure) });
        json_schema!({
            "type": "object",
            "description": "How a transaction ended, told apart by `status`: `ok`; `fee_unpaid`: the sender could not pay \
                the fee, what it had was taken, and nothing else happened; or `failed`: the fee was paid, and nothing else \
                happened, for the step at place `operation` (number, from 0) could not be done for `reason`.",
            "properties": {
                "status": { "enum": ["ok", "fee_unpaid", "failed"] },
                "operation": { "type": "integer", "minimum": 0, "description": "Only with `failed`: which step, from 0." },
                "reason": {
                    "description": "Only with `failed`: why.",
                    "oneOf": failures().map(reason).collect::<Vec<_>>()
                }
            },
            "required": ["status"]
        })
    }
}

/// Every failure, in the order of its numbers in the format.
fn failures() -> impl Iterator<Item = Failure> {
    (0..=u8::MAX).map_while(|number| quorate_crypto::decode(&[number]).ok())
}

/// Which operation fails so, and why.
fn meaning(failure: Failure) -> &'static str {
    match failure {
        Failure::InsufficientFunds => "`transfer`: the sender has less than that.",
        Failure::BalanceOverflow => "`transfer`: the receiver would have 2^128 or more.",
        Failure::NotOwner => "`put`, `delete`: the key belongs to another account.",
        Failure::KeyNotFound => "`delete`, `check`: there is no such key.",
        Failure::KeyExists => "`check` that a key is absent: it is there.",
        Failure::WrongVersion => "`check` of a version: the key is at another.",
        Failure::WrongValue => "`check` of a value: the key has another.",
        Failure::NotValidator => "`approve`: the sender is no validator of the epoch.",
        Failure::NotReady => "`approve`: a new validator comes without its statement that it is ready.",
        Failure::ReadinessStale => {
            "`approve`: such a statement names no checkpoint that one of the last 1,000 headers anchors. Make a new one."
        }
        Failure::ReadinessInvalid => {
            "`approve`: such a statement is not the key's for this chain and this epoch. Make a new one."
        }
    }
}

/// What a transaction did to the state.
pub(crate) struct Event;

described!(Event, {
    "type": "object",
    "description": "What a transaction did to the state, told apart by `type`: `transferred` (`from`: address, `to`: \
        address, `amount`: decimal), `key_put` (`key`: bytes, `version`: decimal), `key_deleted` (`key`: bytes), `approved` \
        (`validator`: address, `change`: hash, `approvals`: number) or `epoch_ends` (`last`: number, `change`: hash).",
    "properties": {
        "type": { "enum": ["transferred", "key_put", "key_deleted", "approved", "epoch_ends"] }
    },
    "required": ["type"]
});
