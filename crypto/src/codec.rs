//! Borsh with exactly one encoding for each value.
//!
//! Whatever is hashed or signed is hashed and signed in its encoded form, so a second encoding of the same
//! value would be a second name for it. Borsh nearly excludes that (fixed-width integers, `de_strict_order`
//! for maps and sets); [`decode`] closes the rest: it reads the whole input, encodes the value again and
//! demands the same bytes.

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;

/// Why bytes are not the encoding of a value. The culprit is whoever sent them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end early, go on too long, or say something the type does not allow.
    #[error("malformed bytes: {reason}")]
    Malformed {
        /// The decoder's words.
        reason: String,
    },
    /// The bytes decode, but the value is encoded differently.
    #[error("not the canonical encoding of its value")]
    NotCanonical,
}

/// Decodes a value from the whole input.
///
/// # Errors
///
/// [`DecodeError::Malformed`] if the bytes do not decode or some are left over, [`DecodeError::NotCanonical`]
/// if encoding the value again would give other bytes.
pub fn decode<T: BorshDeserialize + BorshSerialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    let value: T =
        borsh::from_slice(bytes).map_err(|error| DecodeError::Malformed { reason: error.to_string() })?;
    let mut comparison = Comparison { rest: bytes };
    match value.serialize(&mut comparison) {
        Ok(()) if comparison.rest.is_empty() => Ok(value),
        Ok(()) | Err(_) => Err(DecodeError::NotCanonical),
    }
}

/// Encodes a value.
///
/// # Panics
///
/// Only if a collection has more than `u32::MAX` elements, which no bounded type of ours can.
#[must_use]
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    const FITS: &str = "writing to memory does not fail and no collection of ours has 2^32 elements";
    // Measured first: many encodings are kept, and unmeasured each would keep the kibibyte that borsh begins with.
    let mut bytes = Vec::with_capacity(borsh::object_length(value).expect(FITS));
    value.serialize(&mut bytes).expect(FITS);
    bytes
}

/// Reads the `u32` length of what follows, at most `max`: for lengths that a stranger claims.
///
/// # Errors
///
/// Above `max`, naming `what` is counted; and the reader's.
pub fn bounded_length<R: io::Read>(reader: &mut R, max: usize, what: &str) -> io::Result<usize> {
    let claimed = u32::deserialize_reader(reader)?;
    match usize::try_from(claimed) {
        Ok(length) if length <= max => Ok(length),
        Ok(_) | Err(_) => {
            let reason = format!("{claimed} {what}, at most {max} are allowed");
            Err(io::Error::new(io::ErrorKind::InvalidData, reason))
        }
    }
}

/// Reads a borsh list of at most `max` items, each by `item`: for lists whose length a stranger claims. A longer one is
/// refused before any item is read, and memory grows as items arrive, never with what was announced.
///
/// # Errors
///
/// Above `max`, naming `what` the items are; and those of the reader and of `item`.
pub fn bounded_list<T, R: io::Read>(
    reader: &mut R,
    max: usize,
    what: &str,
    mut item: impl FnMut(&mut R) -> io::Result<T>,
) -> io::Result<Vec<T>> {
    let count = bounded_length(reader, max, what)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(reader)?);
    }
    Ok(items)
}

/// A writer that compares instead of storing, so that checking an encoding allocates nothing.
struct Comparison<'a> {
    rest: &'a [u8],
}

impl io::Write for Comparison<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A type that decodes leniently: every odd byte means the same.
    #[derive(Debug, PartialEq, Eq)]
    struct Lenient(bool);

    impl BorshSerialize for Lenient {
        fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
            u8::from(self.0).serialize(writer)
        }
    }

    impl BorshDeserialize for Lenient {
        fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
            Ok(Self(u8::deserialize_reader(reader)? % 2 == 1))
        }
    }

    #[test]
    fn only_the_canonical_encoding_decodes() {
        assert_eq!(decode::<Lenient>(&[1]), Ok(Lenient(true)));
        assert_eq!(decode::<Lenient>(&[3]), Err(DecodeError::NotCanonical));
    }

    #[test]
    fn trailing_and_missing_bytes_are_errors() {
        assert_eq!(decode::<u16>(&[1, 0]), Ok(1));
        assert!(matches!(decode::<u16>(&[1, 0, 0]), Err(DecodeError::Malformed { .. })));
        assert!(matches!(decode::<u16>(&[1]), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn a_list_is_read_up_to_its_bound_and_no_longer() {
        let bytes = encode(&vec![7u8, 8, 9]);
        let read = |max| bounded_list(&mut bytes.as_slice(), max, "things", u8::deserialize_reader);
        assert_eq!(read(3).expect("at the bound"), [7, 8, 9]);
        let refused = read(2).expect_err("one past it");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert_eq!(refused.to_string(), "3 things, at most 2 are allowed");
        // Nothing is set aside for what is only claimed.
        let mut claim = [255; 4].as_slice();
        assert!(bounded_list(&mut claim, usize::MAX, "things", u8::deserialize_reader).is_err());
    }

    #[test]
    fn sets_out_of_order_are_errors() {
        assert_eq!(decode::<BTreeSet<u8>>(&[2, 0, 0, 0, 1, 2]), Ok(BTreeSet::from([1, 2])));
        assert!(decode::<BTreeSet<u8>>(&[2, 0, 0, 0, 2, 1]).is_err());
        assert!(decode::<BTreeSet<u8>>(&[2, 0, 0, 0, 1, 1]).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_encode_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = decode::<Vec<Option<(u16, String)>>>(&bytes) {
                prop_assert_eq!(encode(&value), bytes);
            }
        }
    }
}
