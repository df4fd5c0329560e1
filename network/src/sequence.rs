//! The sequence of our own announcements, kept on disk so that it grows across restarts even if the clock does not:
//! others keep the newer announcement and would ignore one that goes back.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use quorate_crypto::durable::replace;

use crate::limits::ANNOUNCE_STEP_MS;

/// The last sequence used, in memory and on disk.
#[derive(Debug)]
pub(crate) struct Sequence {
    path: PathBuf,
    last: u64,
}

impl Sequence {
    /// Reads the file; a missing one means that nothing was announced yet.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let last = match fs::read_to_string(path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "not a number; remove the file if no newer announcement of this validator is in use",
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), last })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that a sequence of ours is known to others, so that the next one exceeds it.
    pub(crate) fn observe(&mut self, sequence: u64) {
        self.last = self.last.max(sequence);
    }

    /// The next sequence: the time, or a step more than the last if that is later, as after a quick restart or where the
    /// clock went back. It is on disk when this returns.
    pub(crate) fn next(&mut self, now_ms: u64) -> io::Result<u64> {
        let next = now_ms.max(self.last.saturating_add(ANNOUNCE_STEP_MS));
        replace(&self.path, &self.path.with_extension("new"), |file| writeln!(file, "{next}"))?;
        self.last = next;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_the_clock_and_without_it_and_across_restarts() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("sequence");
        let mut sequence = Sequence::open(&path).expect("no file yet");
        let step = ANNOUNCE_STEP_MS;
        assert_eq!(sequence.next(1_000).expect("written"), 1_000);
        assert_eq!(sequence.next(1_000).expect("written"), 1_000 + step);
        assert_eq!(sequence.next(10).expect("written"), 1_000 + 2 * step);
        let mut sequence = Sequence::open(&path).expect("written before");
        assert_eq!(sequence.next(900).expect("written"), 1_000 + 3 * step);
        sequence.observe(5_000);
        sequence.observe(4_000);
        assert_eq!(sequence.next(2_000).expect("written"), 5_000 + step);
        assert_eq!(sequence.next(9_000).expect("written"), 9_000);
    }

    #[test]
    fn damaged_file_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("sequence");
        fs::write(&path, "12x").expect("written");
        assert_eq!(Sequence::open(&path).expect_err("damaged").kind(), io::ErrorKind::InvalidData);
    }
}
