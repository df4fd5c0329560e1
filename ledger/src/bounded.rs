//! Reading byte strings whose length a stranger claims, and the lists that stand in more than one record: the limit is
//! checked before anything is read, and memory grows with what has arrived, never with what was announced.

use borsh::BorshDeserialize;
use borsh::io::{Error, ErrorKind, Read, Result};
use quorate_crypto::codec::{bounded_length, bounded_list};

use crate::operation::Operation;
use crate::parameters::{KEY_BYTES_LIMIT, OPERATIONS_LIMIT, VALUE_BYTES_LIMIT};
use crate::receipt::LedgerEvent;

/// How much is allocated ahead of the bytes that fill it.
const PIECE: usize = 4_096;

/// An `InvalidData` error with this text.
pub(crate) fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, text.into())
}

/// At most `limit` bytes behind their `u32` length.
pub(crate) fn bytes<R: Read>(reader: &mut R, limit: usize, what: &str) -> Result<Vec<u8>> {
    let length = bounded_length(reader, limit, what)?;
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let start = bytes.len();
        bytes.resize(start + PIECE.min(length - start), 0);
        reader.read_exact(&mut bytes[start..])?;
    }
    Ok(bytes)
}

/// The key of a record.
pub(crate) fn key<R: Read>(reader: &mut R) -> Result<Vec<u8>> {
    bytes(reader, KEY_BYTES_LIMIT as usize, "bytes of a key")
}

/// The value of a record.
pub(crate) fn value<R: Read>(reader: &mut R) -> Result<Vec<u8>> {
    bytes(reader, VALUE_BYTES_LIMIT as usize, "bytes of a value")
}

/// The operations of a transaction.
pub(crate) fn operations<R: Read>(reader: &mut R) -> Result<Vec<Operation>> {
    bounded_list(reader, OPERATIONS_LIMIT as usize, "operations", Operation::deserialize_reader)
}

/// The events of a receipt: at most one per operation, and one when an epoch's end is decided, which no transaction does
/// twice.
pub(crate) fn events<R: Read>(reader: &mut R) -> Result<Vec<LedgerEvent>> {
    bounded_list(reader, OPERATIONS_LIMIT as usize + 1, "events", LedgerEvent::deserialize_reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_accepted_at_its_limit_and_refused_one_past_it() {
        let mut at = 3u32.to_le_bytes().to_vec();
        at.extend([1, 2, 3]);
        assert_eq!(bytes(&mut at.as_slice(), 3, "bytes").expect("at the limit"), [1, 2, 3]);
        let error = bytes(&mut at.as_slice(), 2, "bytes").expect_err("one past the limit");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_claimed_length_allocates_nothing_before_the_bytes_arrive() {
        struct Watch(usize);
        impl Read for Watch {
            fn read(&mut self, into: &mut [u8]) -> Result<usize> {
                self.0 = self.0.max(into.len());
                Ok(0)
            }
        }
        let length = u32::MAX.to_le_bytes();
        let mut claimed = length.chain(Watch(0));
        assert!(bytes(&mut claimed, u32::MAX as usize, "bytes").is_err());
        assert_eq!(claimed.into_inner().1.0, PIECE);
    }

    #[test]
    fn long_values_are_read_across_pieces() {
        let value: Vec<u8> = (0..PIECE * 2 + 17).map(|at| at as u8).collect();
        let encoded = borsh::to_vec(&value).expect("memory");
        assert_eq!(bytes(&mut encoded.as_slice(), value.len(), "bytes").expect("whole"), value);
    }
}
