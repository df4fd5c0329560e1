//! Length-prefixed messages: `u32` big-endian length, then that many bytes.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::bound::Bound;

/// A buffer grows at least by this much while a message is read, and never much beyond what has arrived: a length
/// is only a claim until the bytes are there.
const READ_STEP_BYTES: usize = 64 << 10;

/// A message larger than it may be; nothing but its length has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {bytes} bytes, at most {max} are allowed")]
pub(crate) struct TooLarge {
    pub(crate) bytes: usize,
    pub(crate) max: usize,
}

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge(error) => io::Error::new(io::ErrorKind::InvalidData, error),
            FrameError::Io(error) => error,
        }
    }
}

/// Reads one message of at most `bound` bytes, as it is when the message begins.
pub(crate) async fn read<T: AsyncRead + Unpin>(stream: &mut T, bound: &Bound) -> Result<Vec<u8>, FrameError> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await?;
    let length = u32::from_be_bytes(prefix) as usize;
    let max = bound.max();
    if length > max {
        return Err(TooLarge { bytes: length, max }.into());
    }
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let start = bytes.len();
        bytes.resize(length.min(start.saturating_mul(2).max(READ_STEP_BYTES)), 0);
        stream.read_exact(&mut bytes[start..]).await?;
    }
    Ok(bytes)
}

/// Appends a message to a buffer that is to be written.
pub(crate) fn append(buffer: &mut Vec<u8>, message: &[u8]) {
    buffer.extend_from_slice(&prefix(message));
    buffer.extend_from_slice(message);
}

/// Writes one message; does not flush.
pub(crate) async fn write<T: AsyncWrite + Unpin>(stream: &mut T, message: &[u8]) -> io::Result<()> {
    stream.write_all(&prefix(message)).await?;
    stream.write_all(message).await
}

fn prefix(message: &[u8]) -> [u8; 4] {
    u32::try_from(message.len()).expect("Limits::check bounds every message").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};

    use super::*;

    fn parse(bytes: &[u8], max: usize) -> Result<Vec<u8>, FrameError> {
        block_on(read(&mut Cursor::new(bytes), &Bound::new(max)))
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, READ_STEP_BYTES - 1, READ_STEP_BYTES, 3 * READ_STEP_BYTES + 7] {
            let message: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut buffer = Vec::new();
            append(&mut buffer, &message);
            let mut written = Cursor::new(Vec::new());
            block_on(write(&mut written, &message)).expect("memory");
            assert_eq!(written.into_inner(), buffer);
            assert_eq!(parse(&buffer, length).expect("at the limit"), message);
        }
    }

    #[test]
    fn one_byte_past_the_limit_is_refused_unread() {
        let mut buffer = Vec::new();
        append(&mut buffer, &[7; 11]);
        assert!(matches!(parse(&buffer, 10), Err(FrameError::TooLarge(TooLarge { bytes: 11, max: 10 }))));
        assert!(matches!(parse(&buffer[..4], 10), Err(FrameError::TooLarge(_))));
    }

    #[test]
    fn truncated_message_is_an_error() {
        let mut buffer = Vec::new();
        append(&mut buffer, &[7; 11]);
        for length in 0..buffer.len() {
            assert!(matches!(parse(&buffer[..length], 11), Err(FrameError::Io(_))), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, max in 0..64usize) {
            if let Ok(message) = parse(&bytes, max) {
                assert!(message.len() <= max);
                assert_eq!(message, bytes[4..4 + message.len()]);
            }
        }
    }
}
