use quorate_crypto::{Hash, PublicKey, SecretKey};
use quorate_ledger::{
    Account, Anchor, Condition, Epoch, Header, Height, LedgerEvent, Operation, Outcome, Payload, Receipt,
    UnixMillis, Version,
};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, json};

use super::*;

fn account() -> Account {
    Account(SecretKey::from_seed([1; 32]).public())
}

fn payload() -> Payload {
    Payload {
        version: Payload::VERSION,
        chain: Hash::of(b"genesis"),
        sender: account(),
        nonce: u64::MAX,
        expires_at: UnixMillis(5),
        fee: u128::MAX,
        operations: vec![
            Operation::Transfer { to: account(), amount: 1 },
            Operation::Put { key: b"k".to_vec(), value: vec![] },
            Operation::Delete { key: b"k".to_vec() },
            Operation::Check(Condition::KeyAbsent { key: b"k".to_vec() }),
        ],
    }
}

fn receipt() -> Receipt {
    Receipt {
        id: Hash::of(b"id"),
        height: Height(3),
        index: 0,
        fee_paid: 2,
        outcome: Outcome::Ok,
        events: vec![LedgerEvent::KeyPut { key: b"k".to_vec(), version: Version(9) }],
    }
}

fn header() -> Header {
    Header {
        version: Header::VERSION,
        chain: Hash::of(b"genesis"),
        epoch: Epoch(0),
        height: Height(3),
        parent: Hash::of(b"parent"),
        transactions_root: Hash::ZERO,
        time: UnixMillis(7),
        proposer: account(),
        anchor: Anchor { height: Height(1), state_root: Hash::ZERO, checkpoint: Hash::ZERO },
    }
}

/// Holds a value against what its schema says of objects, strings and numbers.
fn assert_described(value: &Value, schema: &Value, definitions: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().expect("a name");
        return assert_described(value, &definitions[name], definitions, place);
    }
    let Value::Object(members) = value else {
        let expected = schema["type"].as_str().unwrap_or_else(|| panic!("{place} has no type: {schema}"));
        let matches = match value {
            Value::String(_) => expected == "string",
            Value::Number(_) => expected == "integer" || expected == "number",
            Value::Bool(_) => expected == "boolean",
            Value::Array(items) => {
                let item = &schema["items"];
                items.iter().for_each(|one| assert_described(one, item, definitions, place));
                expected == "array"
            }
            Value::Null | Value::Object(_) => false,
        };
        assert!(matches, "{place}: {value} is no {expected}");
        return;
    };
    assert_eq!(schema["type"], "object", "{place}");
    // What is told apart by a tag is described in words.
    let Some(properties) = schema["properties"].as_object().filter(|all| !all.contains_key("type")) else {
        return;
    };
    if properties.contains_key("status") {
        return;
    }
    let keys: Vec<&String> = members.keys().collect();
    assert_eq!(keys, properties.keys().collect::<Vec<_>>(), "{place}");
    for (name, member) in members {
        assert_described(member, &properties[name], definitions, &format!("{place}.{name}"));
    }
}

fn assert_schema<T: JsonSchema>(value: &impl Serialize) {
    let mut generator = SchemaGenerator::default();
    let schema = generator.subschema_for::<T>();
    let definitions = Value::Object(generator.take_definitions(true));
    let value = serde_json::to_value(value).expect("plain values");
    assert_described(&value, schema.as_value(), &definitions, std::any::type_name::<T>());
}

#[test]
fn the_schemas_of_the_ledgers_types_describe_them() {
    assert_schema::<schema::Payload>(&payload());
    assert_schema::<schema::Header>(&header());
    assert_schema::<schema::Receipt>(&receipt());
}

#[test]
fn an_answer_describes_itself() {
    let answer = BlockAnswer {
        hash: header().hash(),
        header: header(),
        size: 300,
        certified: true,
        transactions: vec![TransactionInBlock {
            id: Hash::of(b"id"),
            hash: Hash::of(b"hash"),
            payload: payload(),
            signature: SecretKey::from_seed([1; 32]).sign_bytes(b"x"),
            receipt: receipt(),
        }],
    };
    assert_schema::<BlockAnswer>(&answer);
    let text = serde_json::to_string(&answer).expect("plain values");
    assert_eq!(serde_json::from_str::<BlockAnswer>(&text).expect("what was written"), answer);
}

#[test]
fn what_does_not_exist_is_null() {
    let account = AccountAnswer { height: Height(7), account: account(), balance: None };
    let value = serde_json::to_value(&account).expect("plain values");
    assert_eq!(value["balance"], Value::Null);
    assert_eq!(value["height"], 7);
    assert_eq!(serde_json::from_value::<AccountAnswer>(value).expect("what was written"), account);
    let key =
        KeyAnswer { height: Height(7), key: Bytes(b"k".to_vec()), value: None, version: None, owner: None };
    assert_eq!(
        serde_json::to_value(&key).expect("plain values"),
        json!({ "height": 7, "key": "0x6b", "value": null, "version": null, "owner": null })
    );
}

#[test]
fn amounts_are_decimal_strings_and_nothing_else() {
    let account = AccountAnswer { height: Height(7), account: account(), balance: Some(u128::MAX) };
    let mut value = serde_json::to_value(&account).expect("plain values");
    assert_eq!(value["balance"], "340282366920938463463374607431768211455");
    for wrong in [json!(5), json!("+5"), json!("05"), json!("0x5"), json!("")] {
        value["balance"] = wrong;
        assert!(serde_json::from_value::<AccountAnswer>(value.clone()).is_err(), "{value}");
    }
}

#[test]
fn statuses_and_certificates_are_read_back_as_they_were_written() {
    let (id, as_of) = (Hash::of(b"id"), Height(9));
    let statuses = [
        TransactionStatus::Pending { id, as_of },
        TransactionStatus::Unknown { id, as_of },
        TransactionStatus::Expired { id, as_of, expires_at: UnixMillis(5), at: Height(8) },
        TransactionStatus::Committed {
            id,
            as_of,
            height: Height(3),
            block: Hash::of(b"block"),
            time: UnixMillis(7),
            index: 0,
            payload: payload(),
            receipt: receipt(),
        },
    ];
    for status in statuses {
        let text = serde_json::to_string(&status).expect("plain values");
        assert_eq!(serde_json::from_str::<TransactionStatus>(&text).expect("what was written"), status);
    }
    let commit = CertificateBody::Commit {
        epoch: Epoch(0),
        view: quorate_ledger::View(2),
        height: Height(3),
        block: Hash::of(b"block"),
    };
    let checkpoint = CertificateBody::Checkpoint {
        epoch: Epoch(0),
        height: Height(3),
        block: Hash::of(b"block"),
        state_root: Hash::ZERO,
        receipts_root: Hash::ZERO,
        next_validators: Hash::ZERO,
    };
    for body in [commit, checkpoint] {
        let text = serde_json::to_string(&body).expect("plain values");
        assert_eq!(serde_json::from_str::<CertificateBody>(&text).expect("what was written"), body);
    }
}

#[test]
fn clients_ignore_fields_they_do_not_know() {
    let value = json!({ "index": 1, "key": PublicKey::from_bytes([7; 32]), "weight": 3 });
    assert_eq!(serde_json::from_value::<Primary>(value).expect("readable").index.0, 1);
}
