use quorate_crypto::Hash;
use quorate_ledger::Height;

use super::*;
use crate::rpc::types::{
    BlockParameters, BlocksParameters, CertificateKind, CertificateParameters, HeightOrLatest, KeyParameters,
    NoParameters, WaitParameters,
};

fn refusal<P: Parameters + std::fmt::Debug>(text: &str) -> String {
    match parse::<P>(Some(text)).expect_err("refused") {
        RpcError::Parameters(message) => message,
        error @ (RpcError::Refused { .. } | RpcError::Internal) => panic!("{error:?}"),
    }
}

#[test]
fn parameters_come_by_name_or_by_position() {
    let by_name: KeyParameters = parse(Some(r#"{"key":"0x6b","min_height":7}"#)).expect("well formed");
    let by_position: KeyParameters = parse(Some(r#" ["0x6b", 7] "#)).expect("well formed");
    assert_eq!(by_name, by_position);
    assert_eq!(by_name.key.0, b"k");
    assert_eq!(by_name.min_height, Some(Height(7)));
}

#[test]
fn what_is_optional_may_be_absent_or_null() {
    let absent: KeyParameters = parse(Some(r#"["0x6b"]"#)).expect("well formed");
    let null: KeyParameters = parse(Some(r#"["0x6b", null]"#)).expect("well formed");
    assert_eq!(absent, null);
    for empty in [None, Some("[]"), Some("{}"), Some("")] {
        parse::<NoParameters>(empty).expect("none are taken");
        let blocks: BlocksParameters = parse(empty).expect("all are optional");
        assert_eq!(blocks, BlocksParameters { from: None, limit: None });
    }
}

#[test]
fn unknown_fields_are_refused_by_name() {
    let message = refusal::<WaitParameters>(r#"{"transaction":"0x00","timeout":5}"#);
    assert!(message.contains("unknown field `timeout`"), "{message}");
    assert!(message.contains("`transaction`, `timeout_ms`"), "{message}");
}

#[test]
fn as_many_positions_as_there_are_names_and_not_one_more() {
    parse::<WaitParameters>(Some(r#"["0x00", 5]"#)).expect("two");
    let message = refusal::<WaitParameters>(r#"["0x00", 5, 6]"#);
    assert!(message.starts_with("3 parameters were given"), "{message}");
    let message = refusal::<NoParameters>("[1]");
    assert!(message.ends_with("the method takes none"), "{message}");
}

#[test]
fn what_is_missing_or_of_another_type_is_named() {
    assert!(refusal::<KeyParameters>("{}").contains("missing field `key`"));
    assert!(refusal::<KeyParameters>(r#"["6b"]"#).contains("`key`"));
    assert!(refusal::<KeyParameters>(r#"{"key":"0x6b","key":"0x6c"}"#).contains("duplicate field `key`"));
    assert!(refusal::<BlockParameters>(r#"["newest"]"#).contains("a height or \"latest\""));
    assert!(refusal::<BlockParameters>("[-1]").contains("a height or \"latest\""));
    assert!(refusal::<NoParameters>("5").contains("an object or an array"));
}

#[test]
fn a_block_is_named_by_height_hash_or_latest() {
    let hash = Hash::of(b"block");
    let by_hash: BlockParameters = parse(Some(&format!(r#"["{hash}"]"#))).expect("a hash");
    assert_eq!(by_hash, BlockParameters { height: None, hash: Some(hash) });
    let latest: BlockParameters = parse(Some(r#"["latest"]"#)).expect("a word");
    assert_eq!(latest, BlockParameters { height: Some(HeightOrLatest::LATEST), hash: None });
    let by_height: CertificateParameters = parse(Some(r#"[9, "checkpoint"]"#)).expect("a height");
    assert_eq!(by_height.height, Some(HeightOrLatest::Height(Height(9))));
    assert_eq!(by_height.kind, CertificateKind::Checkpoint);
}
