//! A vote log as bytes, without a file: for those who have a disk of their own kind, such as a simulator whose disk tears
//! writes and rots. The frames, and the reading of them, are those of the file.

use std::{io, path::Path};

use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    Mark, TakenUp, VoteLogError,
    file::{COMPACTED_FRAME_BYTES, Contents, append_frame, batches, encode_header, scan},
    kept_promise,
    mark::LogId,
    take_up,
};
use crate::engine::Promise;

/// What errors call it, and the mark beside it.
const PATH: &str = "image";
const MARK_PATH: &str = "mark";

/// What a log's file would hold.
#[derive(Clone, Debug)]
pub struct Image {
    id: LogId,
    bytes: Vec<u8>,
    next_sequence: u64,
}

impl Image {
    /// An empty log of this id.
    #[must_use]
    pub fn new(id: [u8; 16]) -> Self {
        let id = LogId(id);
        Self { id, bytes: encode_header(id), next_sequence: 0 }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a frame with these records.
    ///
    /// # Errors
    /// When they are more than a frame can hold.
    pub fn append<R: BorshSerialize>(&mut self, records: &[R]) -> io::Result<()> {
        let end = self.bytes.len();
        append_frame(&mut self.bytes, self.id, self.next_sequence, records)
            .inspect_err(|_| self.bytes.truncate(end))?;
        self.next_sequence += 1;
        Ok(())
    }

    /// The log that holds these records in the place of all before.
    ///
    /// # Errors
    /// As [`Image::append`].
    pub fn compacted<R: BorshSerialize>(&self, records: &[R]) -> io::Result<Self> {
        let header = encode_header(self.id);
        let mut next = Self { id: self.id, bytes: header, next_sequence: self.next_sequence };
        next.bytes.reserve(self.bytes.len()); // it will be as long when it is compacted in its turn
        for batch in batches(records, COMPACTED_FRAME_BYTES)? {
            next.append(batch)?;
        }
        Ok(next)
    }

    /// Reads what a disk holds: the records, and the log to go on with, from which a frame that was being written is cut
    /// off.
    ///
    /// # Errors
    /// [`VoteLogError::NotALog`] and [`VoteLogError::Damaged`], as for a file.
    pub fn read<R: BorshDeserialize>(bytes: &[u8]) -> Result<(Self, Vec<R>), VoteLogError> {
        let path = Path::new(PATH);
        let contents = scan(path, bytes)?;
        Ok((Self::of(&contents, bytes), contents.records(path)?))
    }

    /// Takes up the log of a key whose mark's file holds this text, if there is one, as [`super::VoteLog::open`] does: the
    /// log to go on with, its records, and the mark as it is to be written then.
    ///
    /// # Errors
    /// [`VoteLogError::is_refusal`], for the same reasons.
    pub fn open<R: BorshDeserialize>(
        mark: Option<&str>,
        bytes: &[u8],
        promise_of: impl Fn(&R) -> Option<Promise>,
    ) -> Result<(Self, Vec<R>, Mark), VoteLogError> {
        let (path, mark_path) = (Path::new(PATH), Path::new(MARK_PATH));
        let text = mark.ok_or_else(|| VoteLogError::NoMark { path: mark_path.to_owned() })?;
        let known = Mark::of(mark_path, text)?;
        let contents = scan(path, bytes)?;
        let TakenUp::Old { contents, promised } = take_up(path, known, Some(contents))? else {
            unreachable!("there is a log");
        };
        let records = contents.records(path)?;
        let promise = kept_promise(path, &records, promise_of, promised)?;
        let image = Self::of(&contents, bytes);
        Ok((image, records, Mark::Entered { log: contents.id, promise }))
    }

    fn of(contents: &Contents, bytes: &[u8]) -> Self {
        let end = usize::try_from(contents.end).expect("it is within the bytes");
        Self { id: contents.id, bytes: bytes[..end].to_vec(), next_sequence: contents.next }
    }

    /// The mark of a key that signs with this log and has promised that.
    #[must_use]
    pub fn mark(&self, promise: Promise) -> Mark {
        Mark::Entered { log: self.id, promise }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_read_and_a_torn_tail_is_cut_off() {
        let mut image = Image::new([7; 16]);
        image.append(&[1u32, 2]).expect("memory");
        let whole = image.bytes().len();
        image.append(&[3u32]).expect("memory");
        for end in whole..image.bytes().len() {
            let (read, records) =
                Image::read::<u32>(&image.bytes()[..end]).expect("a torn tail is no damage");
            assert_eq!((records, read.bytes().len()), (vec![1, 2], whole));
        }
        assert_eq!(Image::read::<u32>(image.bytes()).expect("whole").1, [1, 2, 3]);
    }

    #[test]
    fn damage_before_the_last_frame_is_refused() {
        let mut image = Image::new([7; 16]);
        image.append(&[1u32]).expect("memory");
        let first = image.bytes().len();
        image.append(&[2u32]).expect("memory");
        let mut bytes = image.bytes().to_vec();
        bytes[first - 1] ^= 1;
        assert!(Image::read::<u32>(&bytes).is_err_and(|why| why.is_refusal()));
    }

    #[test]
    fn a_compacted_log_goes_on_counting() {
        let mut image = Image::new([7; 16]);
        image.append(&[1u32]).expect("memory");
        let mut image = image.compacted(&[9u32]).expect("memory");
        image.append(&[2u32]).expect("memory");
        assert_eq!(Image::read::<u32>(image.bytes()).expect("whole").1, [9, 2]);
    }
}
