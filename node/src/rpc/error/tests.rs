use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Account, ParameterError, UnixMillis, ValidatorSetError};

use super::*;

#[test]
fn every_reason_has_a_word_of_its_own() {
    for (place, row) in Reason::TABLE.iter().enumerate() {
        assert!(row.word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{}", row.word);
        assert!(!row.data.contains(&"reason"), "{}", row.word);
        for other in &Reason::TABLE[place + 1..] {
            assert_ne!(row.word, other.word);
        }
    }
}

#[test]
fn every_error_of_a_transaction_is_in_the_table_with_the_ledgers_word() {
    let account = Account(PublicKey::from_bytes([7; 32]));
    let errors = [
        TransactionError::WrongVersion { version: 9 },
        TransactionError::WrongChain { chain: Hash::ZERO, expected: Hash::of(b"genesis") },
        TransactionError::TooLarge { size: 70_000, max: 65_536 },
        TransactionError::NoOperations,
        TransactionError::TooManyOperations { count: 65, max: 64 },
        TransactionError::KeySize { operation: 1, size: 0, max: 256 },
        TransactionError::ValueSize { operation: 2, size: 16_385, max: 16_384 },
        TransactionError::FeeTooLow { fee: 1, least: 2 },
        TransactionError::BadSender { sender: account },
        TransactionError::BadValidators { operation: 0, source: ValidatorSetError::Empty },
        TransactionError::BadParameters {
            operation: 0,
            source: ParameterError { key: "window", value: 0, reason: "must be 1 to 128".to_owned() },
        },
        TransactionError::BadSignature,
        TransactionError::Expired { expires_at: UnixMillis(5), time: UnixMillis(6) },
        TransactionError::ExpiresTooLate { expires_at: UnixMillis(9), latest: UnixMillis(8) },
    ];
    for error in errors {
        let word = error.reason();
        let object = ErrorObjectOwned::from(RpcError::from(error));
        let row = Reason::TABLE.iter().find(|row| row.word == word).expect("in the table");
        assert_eq!(object.code(), row.code);
    }
}

#[test]
fn an_error_carries_what_is_needed_to_act() {
    let error = RpcError::from(TransactionError::FeeTooLow { fee: 1, least: u128::MAX });
    let object = serde_json::to_value(ErrorObjectOwned::from(error)).expect("plain values");
    assert_eq!(
        object,
        json!({
            "code": -32028,
            "message": "the fee is 1, at least 340282366920938463463374607431768211455 is required",
            "data": {
                "reason": "FEE_TOO_LOW",
                "fee": "1",
                "least": "340282366920938463463374607431768211455",
            },
        })
    );
}

#[test]
#[should_panic(expected = "NotYet promises")]
fn a_refusal_without_what_its_row_promises_is_our_fault() {
    let _ = RpcError::refused(Reason::NotYet, "later", json!({ "height": 1 }));
}
