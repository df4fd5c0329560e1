//! Integers that JSON cannot carry as numbers, as decimal strings: `#[serde(with = "decimal")]`.
//!
//! One spelling per value: digits only, no sign, no leading zero. A JSON number is refused, since many readers
//! would already have rounded it.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes `value` as a string of decimal digits.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Reads what [`serialize`] writes and nothing else.
///
/// # Errors
/// When the string is not the canonical decimal spelling of a value of `T`.
pub fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    parse(&text)
        .ok_or_else(|| D::Error::custom(format_args!("`{text}` is not a whole decimal number in range")))
}

/// Parses the canonical decimal spelling of an unsigned integer.
#[must_use]
pub fn parse<T: FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if digits && !leading_zero { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn one_spelling_per_value() {
        assert_eq!(parse::<u128>("0"), Some(0));
        assert_eq!(parse::<u128>("340282366920938463463374607431768211455"), Some(u128::MAX));
        for wrong in
            ["", "+1", "-1", "01", "00", " 1", "1 ", "1.0", "0x1", "340282366920938463463374607431768211456"]
        {
            assert_eq!(parse::<u128>(wrong), None, "{wrong:?}");
        }
    }
}
