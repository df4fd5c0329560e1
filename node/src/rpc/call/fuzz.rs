//! Fuzz target (`docs/testing.md`, Fuzzing): any text as the parameters of each method.

use std::fmt::Debug;

use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::Account;

use super::*;
use crate::rpc::types::{
    AccountParameters, BlockParameters, BlocksParameters, CertificateParameters, KeyParameters, NoParameters,
    ReadinessParameters, SubscribeParameters, TransactionParameters, TxGetParameters, UnsubscribeParameters,
    ValidatorsParameters, WaitParameters,
};

/// Parameters are refused in words, or are what they are written as, by name and by position.
fn read<P: Parameters + PartialEq + Debug>(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let parameters: P = match parse(Some(text)) {
        Ok(parameters) => parameters,
        Err(RpcError::Parameters(words)) => {
            assert!(words.ends_with(&takes::<P>()) || words.contains("an object or an array"), "{words}");
            return None;
        }
        Err(error @ (RpcError::Refused { .. } | RpcError::Internal)) => panic!("{error:?}"),
    };
    let written = serde_json::to_value(&parameters).expect("plain");
    assert_eq!(parse::<P>(Some(&written.to_string())).as_ref(), Ok(&parameters), "by name");
    let by_position: Vec<Value> =
        P::NAMES.iter().map(|name| written.get(name).cloned().unwrap_or(Value::Null)).collect();
    if P::NAMES.iter().all(|name| written.get(name).is_some()) {
        let text = Value::Array(by_position).to_string();
        assert_eq!(parse::<P>(Some(&text)).as_ref(), Ok(&parameters), "by position");
    }
    Some(bytes.to_vec())
}

#[test]
fn parameters() {
    let hash = Hash::of(b"block");
    let account = Account(SecretKey::from_seed([1; 32]).public());
    let samples: Vec<Vec<u8>> = [
        "".to_owned(),
        "[]".to_owned(),
        r#"{"transaction":"0x0102","timeout_ms":500}"#.to_owned(),
        format!(r#"{{"id":"{hash}"}}"#),
        format!(r#"["{hash}"]"#),
        r#"["latest"]"#.to_owned(),
        format!(r#"{{"kind":"checkpoint","hash":"{hash}"}}"#),
        r#"[7, "commit"]"#.to_owned(),
        r#"{"from":1,"limit":100}"#.to_owned(),
        format!(r#"{{"account":"{account}","min_height":3}}"#),
        r#"["0x6b", 9007199254740991]"#.to_owned(),
        r#"{"subscription":"abc"}"#.to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    bolero::check!(name = "parameters").for_each(|input: &[u8]| {
        for read in [
            read::<NoParameters>,
            read::<TransactionParameters>,
            read::<WaitParameters>,
            read::<TxGetParameters>,
            read::<BlockParameters>,
            read::<CertificateParameters>,
            read::<BlocksParameters>,
            read::<AccountParameters>,
            read::<KeyParameters>,
            read::<ReadinessParameters>,
            read::<ValidatorsParameters>,
            read::<SubscribeParameters>,
            read::<UnsubscribeParameters>,
        ] {
            quorate_fuzz::decoder(input, &samples, read);
        }
    });
}
