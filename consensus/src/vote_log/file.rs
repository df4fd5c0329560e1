//! The bytes of the log: encoding a frame, and reading them all back.

use std::{io, path::Path};

use borsh::{BorshDeserialize, BorshSerialize, object_length};

use super::{VoteLogError, mark::LogId};

const MAGIC: [u8; 8] = *b"QRVOTES2";
/// Magic and log id.
pub(super) const HEADER_BYTES: u64 = 24;
/// Tag, sequence, length, checksum.
const FRAME_HEADER_BYTES: usize = 20;
/// Most frames are shorter, but for those with a block in them.
const FRAME_BYTES: usize = 1024;

/// A compaction begins another frame before one would pass this: the log may hold more than a frame's length can say. Only a
/// frame of one record, a block's, a certificate's, is longer if that is.
pub(super) const COMPACTED_FRAME_BYTES: usize = 16 << 20;

/// What a log file holds.
pub(super) struct Contents {
    pub(super) id: LogId,
    /// Bodies of the whole frames, with where each begins.
    pub(super) bodies: Vec<(u64, Vec<u8>)>,
    /// Sequence number of the frame to be written next.
    pub(super) next: u64,
    /// Where the whole frames end.
    pub(super) end: u64,
}

impl Contents {
    /// The records in the frames.
    pub(super) fn records<R: BorshDeserialize>(&self, path: &Path) -> Result<Vec<R>, VoteLogError> {
        let mut records = Vec::new();
        for (offset, body) in &self.bodies {
            let batch: Vec<R> = borsh::from_slice(body)
                .map_err(|_| VoteLogError::Damaged { path: path.to_owned(), offset: *offset })?;
            records.extend(batch);
        }
        Ok(records)
    }
}

pub(super) fn encode_header(id: LogId) -> Vec<u8> {
    [&MAGIC[..], &id.0[..]].concat()
}

pub(super) fn encode_frame<R: BorshSerialize>(
    id: LogId,
    sequence: u64,
    records: &[R],
) -> io::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(FRAME_BYTES);
    append_frame(&mut frame, id, sequence, records)?;
    Ok(frame)
}

/// What the frames of a compacted log are to hold, each no more than `most` bytes, and at last nothing: the empty frame shows that
/// whatever does not check in those before it was damaged. The file takes its name whole, so none of them was being written.
pub(super) fn batches<R: BorshSerialize>(records: &[R], most: usize) -> io::Result<Vec<&[R]>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, record) in records.iter().enumerate() {
        let length = object_length(record)?;
        if place > start && bytes + length > most {
            batches.push(&records[start..place]);
            (start, bytes) = (place, 0);
        }
        bytes += length;
    }
    batches.push(&records[start..]);
    batches.push(&[]);
    Ok(batches)
}

/// Adds a frame to others; what an error leaves behind them is no frame.
pub(super) fn append_frame<R: BorshSerialize>(
    frames: &mut Vec<u8>,
    id: LogId,
    sequence: u64,
    records: &[R],
) -> io::Result<()> {
    // The body is written behind room for the header, which says how long it came to be.
    let start = frames.len();
    frames.resize(start + FRAME_HEADER_BYTES, 0);
    records.serialize(frames)?;
    let (header, body) = frames[start..].split_at_mut(FRAME_HEADER_BYTES);
    let length = u32::try_from(body.len())
        .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a frame of the vote log is above 4 GiB"))?;
    header[..4].copy_from_slice(&tag(id));
    header[4..12].copy_from_slice(&sequence.to_le_bytes());
    header[12..16].copy_from_slice(&length.to_le_bytes());
    header[16..].copy_from_slice(&checksum(id, sequence, body).to_le_bytes());
    Ok(())
}

/// Reads a whole log: every frame in sequence up to the end, or up to one that was being written when the machine
/// stopped.
pub(super) fn scan(path: &Path, bytes: &[u8]) -> Result<Contents, VoteLogError> {
    let header = usize::try_from(HEADER_BYTES).expect("a small constant");
    let id = bytes.get(MAGIC.len()..header).filter(|_| bytes.starts_with(&MAGIC));
    let Some(id) = id.and_then(|id| id.try_into().ok()) else {
        return Err(VoteLogError::NotALog { path: path.to_owned() });
    };
    let id = LogId(id);
    let mut contents = Contents { id, bodies: Vec::new(), next: 0, end: HEADER_BYTES };
    let mut offset = header;
    while offset < bytes.len() {
        // The first frame of a compacted log goes on counting where the old one stopped.
        let expected = (!contents.bodies.is_empty()).then_some(contents.next);
        match frame_at(id, bytes, offset).filter(|it| expected.is_none_or(|next| it.sequence == next)) {
            Some(frame) => {
                contents.bodies.push((position(offset), frame.body.to_vec()));
                contents.next = frame.sequence + 1;
                offset += FRAME_HEADER_BYTES + frame.body.len();
                contents.end = position(offset);
            }
            None if (offset + 1..bytes.len())
                .any(|later| frame_at(id, bytes, later).is_some_and(|it| it.sequence >= contents.next)) =>
            {
                return Err(VoteLogError::Damaged { path: path.to_owned(), offset: position(offset) });
            }
            None => break,
        }
    }
    Ok(contents)
}

struct Frame<'a> {
    sequence: u64,
    body: &'a [u8],
}

/// The frame that begins here, if a whole one does.
fn frame_at(id: LogId, bytes: &[u8], offset: usize) -> Option<Frame<'_>> {
    let bytes = bytes.get(offset..)?;
    let header = bytes.get(..FRAME_HEADER_BYTES).filter(|it| it.starts_with(&tag(id)))?;
    let sequence = u64::from_le_bytes(header[4..12].try_into().expect("eight bytes"));
    let length = u32::from_le_bytes(header[12..16].try_into().expect("four bytes"));
    let sum = u32::from_le_bytes(header[16..20].try_into().expect("four bytes"));
    let length = usize::try_from(length).ok()?;
    let body = bytes.get(FRAME_HEADER_BYTES..)?.get(..length)?;
    (checksum(id, sequence, body) == sum).then_some(Frame { sequence, body })
}

/// What the frames of this log begin with. It follows from the id, which is random and known to nobody: else a transaction in
/// a body could be full of frames' beginnings that claim great lengths, and finding out that none of them is whole would
/// cost the square of a torn frame's size.
fn tag(id: LogId) -> [u8; 4] {
    crc32c::crc32c(&id.0).to_le_bytes()
}

/// CRC-32C (RFC 3720, appendix B.4) over log id, sequence, length and body. The id is random and known to nobody, so that
/// no transaction in a body can hold what passes for a frame.
fn checksum(id: LogId, sequence: u64, body: &[u8]) -> u32 {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let sum = crc32c::crc32c_append(crc32c::crc32c(&id.0), &sequence.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &length.to_le_bytes()), body)
}

pub(super) fn position(offset: usize) -> u64 {
    u64::try_from(offset).expect("a position in a file fits 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_what_fits_and_one_record_at_least() {
        let split = |lengths: &[usize]| -> Vec<usize> {
            let records: Vec<Vec<u8>> = lengths.iter().map(|it| vec![0; it - 4]).collect();
            let batches = batches(&records, 100).expect("memory");
            assert_eq!(batches.concat(), records, "all of them, in order");
            batches.iter().map(|it| it.len()).collect()
        };
        assert_eq!(split(&[]), [0, 0]);
        assert_eq!(split(&[40, 60]), [2, 0]);
        assert_eq!(split(&[40, 61]), [1, 1, 0]);
        assert_eq!(split(&[10, 10, 300, 10, 90]), [2, 1, 2, 0]);
    }
}
