use proptest::collection::vec;
use proptest::prelude::*;
use quorate_crypto::codec::{decode, encode};
use quorate_crypto::{PublicKey, from_hex};

use super::*;
use crate::fixtures::{account, chain, check_bytes, check_decoder, key, payload, rules};
use crate::parameters::{KEY_BYTES_LIMIT, OPERATIONS_LIMIT, VALUE_BYTES_LIMIT};
use crate::validators::ValidatorSetError;
use crate::{Condition, Height, ProposedValidator, Readiness, Version};

mod approvals;

fn every_operation() -> Vec<Operation> {
    vec![
        Operation::Transfer { to: account(2), amount: 5 },
        Operation::Put { key: b"door".to_vec(), value: b"open".to_vec() },
        Operation::Delete { key: b"old".to_vec() },
        Operation::Check(Condition::KeyAbsent { key: b"a".to_vec() }),
        Operation::Check(Condition::KeyPresent { key: b"b".to_vec() }),
        Operation::Check(Condition::KeyAtVersion {
            key: b"c".to_vec(),
            version: Version::new(Height(9), 4, 2),
        }),
        Operation::Check(Condition::KeyEquals { key: b"d".to_vec(), value: b"ee".to_vec() }),
    ]
}

fn rich_payload() -> Payload {
    let fee = 123_456_789_012_345_678_901_234_567_890;
    Payload { nonce: 77, fee, operations: every_operation(), ..payload(0) }
}

fn signed(change: impl FnOnce(&mut Payload)) -> Transaction {
    let mut payload = payload(1);
    change(&mut payload);
    Transaction::sign(payload, &key(1))
}

fn operation(operation: Operation) -> Transaction {
    signed(|payload| payload.operations = vec![operation])
}

/// Made by a separate program from the words of `docs/formats.md`, with another library's Ed25519.
mod golden {
    pub(super) const BYTES: &str = "0x01ea72df70d137cf0834af6a09ab883a86308ed4f3be2995bd8cd5a5c933f30bf3a7336e93\
        645e994c9dcd5840e98d930134f98a5586edd7b9736146a29dcc65484d00000000000000e86be5cf8b010000d20a3f4eeee073c3f60fe98e\
        0100000007000000002dbfaeb13e0022277664cf0a6be757ffcc7131e21dea2aea15bd075cab277117050000000000000000000000000000\
        000104000000646f6f72040000006f70656e02030000006f6c64030001000000610301010000006203020100000063020000000400000009\
        00000000000000030301000000640200000065659895b53ef8ab7f8f0ed45b33793d0eb9cc2a6ea3dd995123cc20f86ab6059b62159bc377\
        33ec7220281661ed24228322407caa77aedd25c1eceefbc4feb0b904";
    pub(super) const ID: &str = "0x02bc5b1eea1ebc1b53298b0d405f4e75b8658950ba83cdeded527d154c8dace1";
    pub(super) const HASH: &str = "0xd8b527ae96c97424536ec942975010dede1dbd1cade1feefe9530364894edad7";
}

#[test]
fn bytes_id_and_hash_are_those_of_the_format() {
    let transaction = Transaction::sign(rich_payload(), &key(1));
    let bytes = from_hex(golden::BYTES).expect("hex");
    assert_eq!(encode(&transaction), bytes);
    assert_eq!(transaction.size(), bytes.len());
    assert_eq!(transaction.id().to_string(), golden::ID);
    assert_eq!(transaction.hash().to_string(), golden::HASH);
    let decoded: Transaction = decode(&bytes).expect("golden bytes");
    assert_eq!(decoded, transaction);
    assert_eq!((decoded.id(), decoded.size()), (transaction.id(), transaction.size()));
    assert!(decoded.verify_signature());
}

#[test]
fn another_signature_keeps_the_id_and_changes_the_hash() {
    let first = Transaction::sign(rich_payload(), &key(1));
    let second = Transaction::new(rich_payload(), key(1).sign_bytes(b"something else"));
    assert_eq!(first.id(), second.id());
    assert_ne!(first.hash(), second.hash());
    assert_ne!(first, second);
    assert!(!second.verify_signature());
    assert!(!Transaction::sign(rich_payload(), &key(2)).verify_signature(), "signed by another");
}

#[test]
fn every_field_is_signed() {
    let original = signed(|_| {});
    let changes: [fn(&mut Payload); 7] = [
        |payload| payload.version = 2,
        |payload| payload.chain = Hash::of(b"another"),
        |payload| payload.sender = account(9),
        |payload| payload.nonce += 1,
        |payload| payload.expires_at = payload.expires_at.plus_millis(1),
        |payload| payload.fee += 1,
        |payload| payload.operations.push(Operation::Delete { key: vec![1] }),
    ];
    for (field, change) in changes.into_iter().enumerate() {
        let mut payload = original.payload().clone();
        change(&mut payload);
        let changed = Transaction::new(payload, *original.signature());
        assert_ne!(changed.id(), original.id(), "field {field}");
        assert!(!changed.verify_signature(), "field {field}");
    }
}

#[test]
fn the_smallest_transaction_has_the_least_bytes() {
    assert_eq!(signed(|payload| payload.operations.clear()).size(), Transaction::BYTES_MIN);
}

#[test]
fn a_plain_transaction_passes() {
    assert_eq!(signed(|_| {}).check(&rules(Parameters::default())), Ok(()));
}

#[test]
fn version_and_chain_must_be_ours() {
    let rules = rules(Parameters::default());
    for version in [0, 2] {
        let error = signed(|payload| payload.version = version).check(&rules);
        assert_eq!(error, Err(TransactionError::WrongVersion { version }));
    }
    let other = Hash::of(b"another");
    let error = signed(|payload| payload.chain = other).check(&rules);
    assert_eq!(error, Err(TransactionError::WrongChain { chain: other, expected: chain() }));
}

#[test]
fn size_is_limited() {
    let transaction = operation(Operation::Put { key: vec![1; 100], value: vec![2; 5_000] });
    let size = transaction.size();
    let max = u32::try_from(size).expect("small");
    let at = |transaction_bytes_max| rules(Parameters { transaction_bytes_max, ..Parameters::default() });
    assert_eq!(transaction.check(&at(max)), Ok(()));
    assert_eq!(transaction.check(&at(max - 1)), Err(TransactionError::TooLarge { size, max: max - 1 }));
}

#[test]
fn there_are_one_to_operations_max_operations() {
    let rules = rules(Parameters::default());
    let max = rules.parameters.operations_max;
    let with = |count: u32| {
        signed(|payload| {
            payload.operations = (0..count).map(|_| Operation::Delete { key: vec![1] }).collect()
        })
    };
    assert_eq!(with(0).check(&rules), Err(TransactionError::NoOperations));
    assert_eq!(with(1).check(&rules), Ok(()));
    assert_eq!(with(max).check(&rules), Ok(()));
    let count = max as usize + 1;
    assert_eq!(with(max + 1).check(&rules), Err(TransactionError::TooManyOperations { count, max }));
}

#[test]
fn keys_have_one_to_key_bytes_max_bytes_wherever_they_stand() {
    let rules = rules(Parameters::default());
    let max = rules.parameters.key_bytes_max;
    let carriers: [fn(Vec<u8>) -> Operation; 6] = [
        |key| Operation::Put { key, value: Vec::new() },
        |key| Operation::Delete { key },
        |key| Operation::Check(Condition::KeyAbsent { key }),
        |key| Operation::Check(Condition::KeyPresent { key }),
        |key| Operation::Check(Condition::KeyAtVersion { key, version: Version(1) }),
        |key| Operation::Check(Condition::KeyEquals { key, value: Vec::new() }),
    ];
    for carrier in carriers {
        let check = |size: usize| operation(carrier(vec![9; size])).check(&rules);
        assert_eq!(check(1), Ok(()));
        assert_eq!(check(max as usize), Ok(()));
        for size in [0, max as usize + 1] {
            assert_eq!(check(size), Err(TransactionError::KeySize { operation: 0, size, max }));
        }
    }
}

#[test]
fn values_have_up_to_value_bytes_max_bytes_wherever_they_stand() {
    let rules = rules(Parameters::default());
    let max = rules.parameters.value_bytes_max;
    let carriers: [fn(Vec<u8>) -> Operation; 2] = [
        |value| Operation::Put { key: vec![1], value },
        |value| Operation::Check(Condition::KeyEquals { key: vec![1], value }),
    ];
    for carrier in carriers {
        let check = |size: usize| {
            let guard = Operation::Check(Condition::KeyAbsent { key: vec![1] });
            signed(|payload| payload.operations = vec![guard, carrier(vec![9; size])]).check(&rules)
        };
        assert_eq!(check(0), Ok(()));
        assert_eq!(check(max as usize), Ok(()));
        let size = max as usize + 1;
        assert_eq!(check(size), Err(TransactionError::ValueSize { operation: 1, size, max }));
    }
}

#[test]
fn the_fee_covers_base_and_bytes() {
    let rules = rules(Parameters { fee_base: 1_000, fee_per_byte: 3, ..Parameters::default() });
    let least = 1_000 + 3 * signed(|_| {}).size() as Amount;
    assert_eq!(signed(|payload| payload.fee = least).check(&rules), Ok(()));
    let fee = least - 1;
    let error = signed(|payload| payload.fee = fee).check(&rules);
    assert_eq!(error, Err(TransactionError::FeeTooLow { fee, least }));
}

#[test]
fn the_greatest_fee_parameters_leave_room_in_an_amount() {
    let greatest =
        |key| Parameters::table().iter().find(|row| row.key == key).map(|row| row.max).expect("in the table");
    let (base, per_byte) = (greatest("fee_base"), greatest("fee_per_byte"));
    let fee = per_byte.checked_mul(TRANSACTION_BYTES_LIMIT.into()).and_then(|fee| fee.checked_add(base));
    let rules = rules(Parameters { fee_base: base, fee_per_byte: per_byte, ..Parameters::default() });
    assert_eq!(fee, Some(rules.least_fee(TRANSACTION_BYTES_LIMIT as usize)));
}

#[test]
fn nobody_sends_with_a_key_of_small_order() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let no_point = {
        let mut bytes = [0; 32];
        bytes[0] = 2;
        bytes
    };
    for bytes in [identity, [0; 32], no_point] {
        let sender = Account(PublicKey::from_bytes(bytes));
        let transaction = signed(|payload| payload.sender = sender);
        for _ in 0..2 {
            let refused = transaction.check(&rules(Parameters::default()));
            assert_eq!(refused, Err(TransactionError::BadSender { sender }), "asked once or twice");
        }
    }
}

#[test]
fn it_fits_a_block_before_its_end_and_not_too_long_before() {
    let transaction = signed(|payload| payload.expires_at = UnixMillis(1_000));
    let expires_at = UnixMillis(1_000);
    let fits = |time| transaction.fits_time(UnixMillis(time), 100);
    assert_eq!(fits(999), Ok(()));
    assert_eq!(fits(1_000), Err(TransactionError::Expired { expires_at, time: UnixMillis(1_000) }));
    assert_eq!(fits(900), Ok(()));
    assert_eq!(fits(899), Err(TransactionError::ExpiresTooLate { expires_at, latest: UnixMillis(999) }));
}

#[test]
fn decoding_bounds_operations_keys_values_and_the_whole() {
    let many = |count: u32| {
        signed(|payload| {
            payload.operations = (0..count).map(|_| Operation::Delete { key: vec![1] }).collect()
        })
    };
    let of = |key: u32, value: u32| {
        operation(Operation::Put { key: vec![1; key as usize], value: vec![2; value as usize] })
    };
    let decodes = |transaction: &Transaction| decode::<Transaction>(&encode(transaction)).is_ok();
    assert!(decodes(&many(OPERATIONS_LIMIT)));
    assert!(!decodes(&many(OPERATIONS_LIMIT + 1)));
    assert!(decodes(&of(KEY_BYTES_LIMIT, 0)));
    assert!(!decodes(&of(KEY_BYTES_LIMIT + 1, 0)));
    let room = TRANSACTION_BYTES_LIMIT - u32::try_from(of(1, 0).size()).expect("small");
    let whole = of(1, room);
    assert_eq!(whole.size(), TRANSACTION_BYTES_LIMIT as usize);
    assert!(decodes(&whole));
    assert!(!decodes(&of(1, room + 1)));
    assert!(!decodes(&of(1, VALUE_BYTES_LIMIT + 1)));
}

#[test]
fn an_unknown_operation_or_condition_is_refused() {
    for unknown in [vec![4], vec![8, 0], vec![10, 0], vec![3, 4], vec![3, 255], vec![9, 2]] {
        assert!(decode::<Operation>(&unknown).is_err(), "{unknown:?}");
    }
}

#[test]
fn json_names_everything_and_takes_nothing_unknown() {
    let json = serde_json::to_value(rich_payload()).expect("json");
    assert_eq!(json["nonce"], "77");
    assert_eq!(json["fee"], "123456789012345678901234567890");
    assert_eq!(json["expires_at"], 1_700_000_001_000_u64);
    let guard = serde_json::json!({"type": "check", "condition": "key_at_version", "key": "0x63",
        "version": Version::new(Height(9), 4, 2).to_string()});
    assert_eq!(json["operations"][5], guard);
    let put = serde_json::json!({"type": "put", "key": "0x646f6f72", "value": "0x6f70656e"});
    assert_eq!(json["operations"][1], put);
    assert_eq!(serde_json::from_value::<Payload>(json.clone()).expect("own json"), rich_payload());
    let mut unknown = json.clone();
    unknown["extra"] = true.into();
    assert!(serde_json::from_value::<Payload>(unknown).is_err());
    for operation in 0..every_operation().len() {
        let mut unknown = json.clone();
        unknown["operations"][operation]["extra"] = true.into();
        assert!(serde_json::from_value::<Payload>(unknown).is_err(), "operation {operation}");
    }
}

#[test]
fn reasons_are_words_for_programs() {
    let (time, hash) = (UnixMillis(0), chain());
    let all = [
        TransactionError::WrongVersion { version: 0 },
        TransactionError::WrongChain { chain: hash, expected: hash },
        TransactionError::TooLarge { size: 0, max: 0 },
        TransactionError::NoOperations,
        TransactionError::TooManyOperations { count: 0, max: 0 },
        TransactionError::KeySize { operation: 0, size: 0, max: 0 },
        TransactionError::ValueSize { operation: 0, size: 0, max: 0 },
        TransactionError::FeeTooLow { fee: 0, least: 0 },
        TransactionError::BadSender { sender: account(1) },
        TransactionError::BadValidators { operation: 0, source: ValidatorSetError::Empty },
        TransactionError::BadParameters {
            operation: 0,
            source: ParameterError { key: "window", value: 0, reason: String::new() },
        },
        TransactionError::BadSignature,
        TransactionError::Expired { expires_at: time, time },
        TransactionError::ExpiresTooLate { expires_at: time, latest: time },
    ];
    let words: std::collections::BTreeSet<&str> = all.iter().map(TransactionError::reason).collect();
    assert_eq!(words.len(), all.len());
    assert!(words.iter().all(|word| word.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase())));
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let bytes = || vec(any::<u8>(), 0..20);
    prop_oneof![
        (any::<[u8; 32]>(), any::<u128>())
            .prop_map(|(to, amount)| Operation::Transfer { to: Account(PublicKey::from_bytes(to)), amount }),
        (bytes(), bytes()).prop_map(|(key, value)| Operation::Put { key, value }),
        bytes().prop_map(|key| Operation::Delete { key }),
        bytes().prop_map(|key| Operation::Check(Condition::KeyAbsent { key })),
        bytes().prop_map(|key| Operation::Check(Condition::KeyPresent { key })),
        (bytes(), any::<u128>()).prop_map(|(key, version)| Operation::Check(Condition::KeyAtVersion {
            key,
            version: Version(version)
        })),
        (bytes(), bytes()).prop_map(|(key, value)| Operation::Check(Condition::KeyEquals { key, value })),
        vec(any_validator(), 0..5)
            .prop_map(|all| Operation::Approve { change: ProposedChange::Validators(all) }),
        any::<(u32, u64, u128)>().prop_map(|(window, heartbeat_ms, fee_base)| {
            let parameters = Parameters { window, heartbeat_ms, fee_base, ..Parameters::default() };
            Operation::Approve { change: ProposedChange::Parameters(Box::new(parameters)) }
        }),
    ]
}

fn any_validator() -> impl Strategy<Value = ProposedValidator> {
    any::<([u8; 32], Option<[u8; 32]>)>().prop_map(|(key, checkpoint)| {
        let readiness = checkpoint.map(|bytes| {
            let signature = Signature::from_bytes([7; 64]);
            Readiness { checkpoint: Hash::from_bytes(bytes), signature }
        });
        ProposedValidator { key: PublicKey::from_bytes(key), readiness }
    })
}

proptest! {
    #[test]
    fn transactions_survive_their_encoding_and_nothing_else_does(
        operations in vec(any_operation(), 0..6),
        (nonce, expires_at, fee, version) in any::<(u64, u64, u128, u8)>(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let expires_at = UnixMillis(expires_at);
        let payload = Payload { version, nonce, expires_at, fee, operations, ..payload(0) };
        let transaction = Transaction::sign(payload, &key(1));
        check_decoder(&transaction);
        let mut bytes = encode(&transaction);
        prop_assert_eq!(bytes.len(), transaction.size());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        check_bytes::<Transaction>(&bytes);
        if let Ok(other) = decode::<Transaction>(&bytes) {
            prop_assert_ne!(other.hash(), transaction.hash(), "other bytes under the same name");
        }
    }

    #[test]
    fn random_bytes_are_no_transaction_or_exactly_one(bytes in vec(any::<u8>(), 0..400)) {
        check_bytes::<Transaction>(&bytes);
        check_bytes::<Operation>(&bytes);
    }
}
