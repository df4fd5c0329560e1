//! A vote log as bytes, without a file: for those who have a disk of their own kind, such as a simulator whose disk tears
//! writes and rots. The frames, and the reading of them, are those of the file.

use std::{io, path::Path};

use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    VoteLogError,
    file::{append_frame, encode_header, scan},
    mark::LogId,
};

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
        next.append(records)?;
        Ok(next)
    }

    /// Reads what a disk holds: the records, and the log to go on with, from which a frame that was being written is cut
    /// off.
    ///
    /// # Errors
    /// [`VoteLogError::NotALog`] and [`VoteLogError::Damaged`], as for a file.
    pub fn read<R: BorshDeserialize>(bytes: &[u8]) -> Result<(Self, Vec<R>), VoteLogError> {
        let path = Path::new("image");
        let contents = scan(path, bytes)?;
        let mut records = Vec::new();
        for (offset, body) in &contents.bodies {
            let batch: Vec<R> = borsh::from_slice(body)
                .map_err(|_| VoteLogError::Damaged { path: path.to_owned(), offset: *offset })?;
            records.extend(batch);
        }
        let end = usize::try_from(contents.end).expect("it is within the bytes");
        let image = Self { id: contents.id, bytes: bytes[..end].to_vec(), next_sequence: contents.next };
        Ok((image, records))
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
