//! Bytes as text: `0x` and two lower-case digits a byte, the one form in JSON, on the command line and in
//! logs.
//!
//! As a module it serves serde: `#[serde(with = "quorate_crypto::hex_bytes")]` on a `Vec<u8>`.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use thiserror::Error;

const PREFIX: &str = "0x";

/// Why a text is not the hex of the bytes that were expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HexError {
    /// The text does not begin with `0x`.
    #[error("hex must begin with 0x")]
    MissingPrefix,
    /// A digit is left over.
    #[error("hex must have two digits a byte, this has an odd number")]
    OddLength,
    /// A character is no hex digit.
    #[error("{character:?} is not a hex digit")]
    BadDigit {
        /// The first such character.
        character: char,
    },
    /// Well-formed, but of another length than the type has.
    #[error("expected {expected} bytes of hex, found {found}")]
    WrongLength {
        /// Bytes the type has.
        expected: usize,
        /// Bytes the text has.
        found: usize,
    },
}

/// `0x` and the bytes in lower-case hex.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(PREFIX.len() + 2 * bytes.len());
    text.push_str(PREFIX);
    text.push_str(&hex::encode(bytes));
    text
}

/// The bytes of a `0x` hex text; digits of either case.
///
/// # Errors
///
/// [`HexError`] if the prefix is missing, a digit is left over, or a character is no hex digit.
pub fn from_hex(text: &str) -> Result<Vec<u8>, HexError> {
    let digits = text.strip_prefix(PREFIX).ok_or(HexError::MissingPrefix)?;
    if let Some(character) = digits.chars().find(|character| !character.is_ascii_hexdigit()) {
        return Err(HexError::BadDigit { character });
    }
    // Only hex digits are left to decode, so their number is all that can be wrong.
    hex::decode(digits).map_err(|_| HexError::OddLength)
}

/// Exactly `N` bytes from a `0x` hex text.
pub(crate) fn array_from_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let bytes = from_hex(text)?;
    bytes.try_into().map_err(|bytes: Vec<u8>| HexError::WrongLength { expected: N, found: bytes.len() })
}

/// Writes bytes as a `0x` hex string.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<T: AsRef<[u8]> + ?Sized, S: Serializer>(
    bytes: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_hex(bytes.as_ref()))
}

/// Reads bytes from a `0x` hex string.
///
/// # Errors
///
/// Those of the deserializer, and a [`HexError`] in its words.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    from_hex(&text).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    struct Sheet {
        #[serde(with = "crate::hex_bytes")]
        value: Vec<u8>,
    }

    #[test]
    fn hex_reads_back_what_it_wrote() {
        for bytes in [&[][..], &[0], &[0xab, 0xcd, 0xef], &[0xff; 100]] {
            assert_eq!(from_hex(&to_hex(bytes)).as_deref(), Ok(bytes));
        }
        assert_eq!(to_hex(&[0x0a, 0xff]), "0x0aff");
        assert_eq!(from_hex("0xAbcD"), Ok(vec![0xab, 0xcd]));
    }

    #[test]
    fn each_fault_of_a_text_has_its_error() {
        assert_eq!(from_hex("abcd"), Err(HexError::MissingPrefix));
        assert_eq!(from_hex(""), Err(HexError::MissingPrefix));
        assert_eq!(from_hex("0X00"), Err(HexError::MissingPrefix));
        assert_eq!(from_hex("0xabc"), Err(HexError::OddLength));
        assert_eq!(from_hex("0x0é"), Err(HexError::BadDigit { character: 'é' }));
        assert_eq!(from_hex("0x 0"), Err(HexError::BadDigit { character: ' ' }));
        assert_eq!(array_from_hex::<2>("0x000102"), Err(HexError::WrongLength { expected: 2, found: 3 }));
        assert_eq!(array_from_hex::<2>("0x00"), Err(HexError::WrongLength { expected: 2, found: 1 }));
    }

    #[test]
    fn json_carries_bytes_as_hex() {
        let sheet = Sheet { value: vec![1, 2, 3] };
        let json = serde_json::to_string(&sheet).expect("a string serializes");
        assert_eq!(json, r#"{"value":"0x010203"}"#);
        assert_eq!(serde_json::from_str::<Sheet>(&json).expect("what was written reads back"), sheet);
        let escaped = r#"{"value":"0\u007801"}"#;
        assert_eq!(serde_json::from_str::<Sheet>(escaped).expect("escapes are JSON's").value, [1]);
        assert!(serde_json::from_str::<Sheet>(r#"{"value":"010203"}"#).is_err());
    }
}
