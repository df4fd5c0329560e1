use quorate_crypto::codec::{decode, encode};

use super::*;
use crate::fixtures::account;

/// Made by another implementation of BIP-350.
const ADDRESS: &str = "qr15uekaymyt6v5e8wdtpqwnrvnqy60nzj4smka0wtnv9r298wvv4yqnsc8h3";

#[test]
fn addresses_are_bech32m_with_the_prefix_qr() {
    assert_eq!(account(1).to_string(), ADDRESS);
    assert_eq!(ADDRESS.parse(), Ok(account(1)));
    let bytes: [u8; 32] = std::array::from_fn(|at| at as u8);
    let counting = "qr1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0s3dgk8n";
    assert_eq!(Account(PublicKey::from_bytes(bytes)).to_string(), counting);
}

#[test]
fn addresses_may_be_shouted_but_not_mixed() {
    assert_eq!(ADDRESS.to_uppercase().parse(), Ok(account(1)));
    let mixed = ADDRESS.replacen('u', "U", 1);
    assert!(matches!(mixed.parse::<Account>(), Err(AccountError::NotBech32m { .. })));
}

#[test]
fn a_mistyped_letter_is_noticed_anywhere() {
    for at in 3..ADDRESS.len() {
        let other = if &ADDRESS[at..=at] == "q" { "p" } else { "q" };
        let mistyped = format!("{}{other}{}", &ADDRESS[..at], &ADDRESS[at + 1..]);
        assert!(matches!(mistyped.parse::<Account>(), Err(AccountError::NotBech32m { .. })), "{mistyped}");
    }
}

#[test]
fn an_address_has_one_prefix_one_length_and_one_spelling() {
    let short = "qr1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq6h23q6";
    assert_eq!(short.parse::<Account>(), Err(AccountError::WrongLength { length: 31 }));
    let other = "qs1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq8jn365";
    assert_eq!(other.parse::<Account>(), Err(AccountError::WrongPrefix { prefix: "qs".to_owned() }));
    let padded = "qr1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc03vmur6p";
    assert!(matches!(padded.parse::<Account>(), Err(AccountError::NotBech32m { .. })));
    assert!("".parse::<Account>().is_err());
}

#[test]
fn bech32_with_the_old_checksum_is_refused() {
    let old = bech32::encode::<bech32::Bech32>(ADDRESS_PREFIX, account(1).0.as_bytes()).expect("encodes");
    assert!(matches!(old.parse::<Account>(), Err(AccountError::NotBech32m { .. })));
}

#[test]
fn numbers_are_numbers_and_versions_are_strings_in_json() {
    assert_eq!(serde_json::to_string(&Height(7)).expect("json"), "7");
    assert_eq!(serde_json::from_str::<UnixMillis>("8").expect("json"), UnixMillis(8));
    let version = Version::new(Height(u64::MAX), u32::MAX, u32::MAX);
    assert_eq!(version, Version(u128::MAX));
    let json = serde_json::to_string(&version).expect("json");
    assert_eq!(json, format!("\"{}\"", u128::MAX));
    assert_eq!(serde_json::from_str::<Version>(&json).expect("own json"), version);
    assert!(serde_json::from_str::<Version>("7").is_err(), "a number may have been rounded on its way");
    let account_json = serde_json::to_string(&account(1)).expect("json");
    assert_eq!(account_json, format!("\"{ADDRESS}\""));
    assert_eq!(serde_json::from_str::<Account>(&account_json).expect("own json"), account(1));
}

#[test]
fn versions_grow_with_height_then_index_then_operation() {
    let rising = [(0, 0, 1), (0, 1, 0), (0, u32::MAX, u32::MAX), (1, 0, 0), (1, 0, 1), (1, 1, 0)];
    let versions = rising.map(|(height, index, operation)| Version::new(Height(height), index, operation));
    assert!(versions.is_sorted_by(|low, high| low < high));
    assert!(versions.iter().zip(rising).all(|(version, (height, ..))| version.height() == Height(height)));
    assert_eq!("18446744073709551616".parse(), Ok(Version::new(Height(1), 0, 0)));
    assert!("+1".parse::<Version>().is_err());
}

#[test]
fn times_saturate_at_both_ends() {
    assert_eq!(UnixMillis(u64::MAX - 1).plus_millis(5), UnixMillis(u64::MAX));
    assert_eq!(UnixMillis(5).millis_since(UnixMillis(7)), 0);
    assert_eq!(UnixMillis(7).millis_since(UnixMillis(5)), 2);
}

#[test]
#[should_panic(expected = "no chain reaches a height of 2^64")]
fn heights_do_not_wrap() {
    let _ = Height(u64::MAX).next();
}

#[test]
fn an_account_is_encoded_as_its_key() {
    assert_eq!(encode(&account(3)), account(3).0.as_bytes());
    assert_eq!(decode::<Account>(account(3).0.as_bytes()), Ok(account(3)));
}
