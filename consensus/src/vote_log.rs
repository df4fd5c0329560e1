//! The engine's records on disk, and the mark beside the key (`docs/pbft.md` §6).
//!
//! The log is append-only. Each [`Log::append`] writes one *frame* and syncs it before anything that it allows is done:
//!
//! ```text
//! file  = magic (8) ‖ log id (16) ‖ frame*
//! frame = tag (4): CRC-32C of the log id ‖ sequence (u64 LE) ‖ length (u32 LE) ‖ CRC-32C of log id, sequence, length and body (u32 LE) ‖ body
//! body  = borsh(Vec<Record>)
//! ```
//!
//! A frame is synced before the next one is begun. So a frame that does not check and has no whole frame behind it was
//! being written when the machine stopped: nothing was sent because of it, and it is cut off. One that has a whole frame
//! behind it was damaged later, and the log is refused: a replica that no longer knows what it signed must not sign.
//! [`Log::compact`] writes as many frames as it takes, and an empty one behind them.
//!
//! The *mark* stands beside the key and names the log and the highest (epoch, view) promised. It tells a lost, cloned or
//! restored log from the right one: the same key with another log, or an older state of it, might contradict itself.

mod file;
#[cfg(test)]
mod fuzz;
mod image;
mod mark;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::durable::replace;
use quorate_ledger::Epoch;

use self::{
    file::{
        COMPACTED_FRAME_BYTES, Contents, HEADER_BYTES, batches, encode_frame, encode_header, position, scan,
    },
    mark::LogId,
};
pub use self::{image::Image, mark::Mark};
use crate::engine::{Log, OpenError, Promise, Promised};

/// The log's file in its directory.
const FILE: &str = "log";
/// Where the log is rewritten before it takes the place of the old one.
const FILE_NEXT: &str = "log.next";
/// Where a log goes that is refused, once a later epoch lets the key begin anew.
const FILE_REFUSED: &str = "log.refused";

/// The log asks to be compacted once it is this large and has grown fourfold since it was last compacted.
pub const COMPACT_ABOVE_BYTES: u64 = 64 << 20;
const COMPACT_GROWTH: u64 = 4;

/// Why a vote log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VoteLogError {
    /// The machine's fault.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A frame with whole frames behind it does not check.
    #[error("{path}: damaged at byte {offset}, with whole records behind the damage")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// It is not a vote log, or not one of this version.
    #[error("{path}: not a vote log of this version")]
    NotALog {
        /// Which file.
        path: PathBuf,
    },
    /// The mark is not readable.
    #[error("{path}: not a mark: {what}")]
    BadMark {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A key without a mark.
    #[error("{path} is missing: the key may have signed before, elsewhere")]
    NoMark {
        /// Where the mark should be.
        path: PathBuf,
    },
    /// The mark names a log that is not there.
    #[error("{path} is missing, and this key has signed with it")]
    Lost {
        /// Where the log should be.
        path: PathBuf,
    },
    /// The log is another than the one that the mark names.
    #[error("{path} is not the log that this key has signed with: copied or restored from elsewhere")]
    Foreign {
        /// The log.
        path: PathBuf,
    },
    /// The key may not begin anew in this epoch, for it has promised something in it or in a later one.
    #[error(
        "the key has signed in epoch {promised} already, as {path} says: it may begin anew in a later one only"
    )]
    Bound {
        /// The mark.
        path: PathBuf,
        /// The epoch of its promise.
        promised: Epoch,
    },
    /// No log that this software wrote says both.
    #[error("{path}: {source}")]
    Contradiction {
        /// The log.
        path: PathBuf,
        /// What it says.
        source: OpenError,
    },
    /// The log is older than the mark.
    #[error("{path} is older than what this key has promised since: restored from a copy")]
    Behind {
        /// The log.
        path: PathBuf,
    },
}

impl VoteLogError {
    /// Whether the key may still be used elsewhere or later: the node then follows without voting. What else can go
    /// wrong is the machine's fault, and the node stops.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Io { .. } => false,
            Self::Damaged { .. }
            | Self::NotALog { .. }
            | Self::BadMark { .. }
            | Self::NoMark { .. }
            | Self::Lost { .. }
            | Self::Foreign { .. }
            | Self::Bound { .. }
            | Self::Contradiction { .. }
            | Self::Behind { .. } => true,
        }
    }
}

/// An open vote log: the only place where a replica's promises are kept.
#[derive(Debug)]
pub struct VoteLog<R> {
    directory: PathBuf,
    mark_path: PathBuf,
    file: File,
    id: LogId,
    next_sequence: u64,
    bytes: u64,
    compacted_bytes: u64,
    promise: Promise,
    failed: bool,
    records: PhantomData<R>,
}

impl<R: BorshSerialize + BorshDeserialize + Promised> VoteLog<R> {
    /// Opens the log in `directory` for the key whose mark is at `mark`, and reads its records. A key that was never used
    /// gets a new log, whose id is then entered in the mark.
    ///
    /// # Errors
    /// [`VoteLogError`]; see [`VoteLogError::is_refusal`].
    pub fn open(directory: &Path, mark: &Path) -> Result<(Self, Vec<R>), VoteLogError> {
        let path = directory.join(FILE);
        let known = Mark::read(mark)?.ok_or_else(|| VoteLogError::NoMark { path: mark.to_owned() })?;
        let contents = match fs::read(&path) {
            Ok(bytes) => Some(scan(&path, &bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(VoteLogError::Io { path, source }),
        };
        match take_up(&path, known, contents)? {
            TakenUp::New => Self::create(directory, mark, &[]).map(|log| (log, Vec::new())),
            TakenUp::Old { contents, promised } => Self::resume(directory, mark, contents, promised),
        }
    }

    /// Gives a key whose log was refused a new one, in an epoch in which it has signed nothing: the epoch is in every
    /// signature, so nothing that was signed before can contradict what will be. The refused log is set aside, in place of
    /// one that was set aside before.
    ///
    /// That the epoch began after the key's last use is the caller's to know, where the mark does not tell.
    ///
    /// # Errors
    /// [`VoteLogError::Bound`] when the mark tells against it; the machine's. Whatever fails, the key is refused as before.
    pub fn renew(directory: &Path, mark: &Path, epoch: Epoch) -> Result<Self, VoteLogError> {
        if let Ok(Some(Mark::Entered { promise, .. })) = Mark::read(mark)
            && promise.epoch >= epoch
        {
            return Err(VoteLogError::Bound { path: mark.to_owned(), promised: promise.epoch });
        }
        let (path, aside) = (directory.join(FILE), directory.join(FILE_REFUSED));
        let has_log = fs::exists(&path).map_err(|source| at(&path, source))?;
        if has_log {
            set_aside(&path, &aside).map_err(|source| at(&aside, source))?;
        }
        Self::create(directory, mark, &[R::beginning(epoch)])
    }

    /// Makes a log that begins with these records, then enters it in the mark. It is written beside, whole, before it takes
    /// its name: a start that is cut short leaves no log, or a log that says all of it.
    fn create(directory: &Path, mark: &Path, records: &[R]) -> Result<Self, VoteLogError> {
        let (path, next) = (directory.join(FILE), directory.join(FILE_NEXT));
        let id = LogId::random().map_err(|source| at(&path, source))?;
        fs::create_dir_all(directory).map_err(|source| at(directory, source))?;
        let first = (!records.is_empty()).then(|| encode_frame(id, 0, records)).transpose();
        let first = first.map_err(|source| at(&path, source))?;
        let bytes = [encode_header(id), first.clone().unwrap_or_default()].concat();
        let file =
            replace(&path, &next, |file| file.write_all(&bytes)).map_err(|source| at(&path, source))?;
        let promise = records.iter().filter_map(Promised::promised).max().unwrap_or_default();
        let (frames, bytes) = (u64::from(first.is_some()), position(bytes.len()));
        let log = Self::assemble(directory, mark, file, id, frames, bytes, promise);
        log.write_mark().map_err(|source| at(mark, source))?;
        Ok(log)
    }

    /// Takes up an existing log: decodes its records, cuts off what was being written when the machine stopped.
    fn resume(
        directory: &Path,
        mark: &Path,
        contents: Contents,
        promised: Promise,
    ) -> Result<(Self, Vec<R>), VoteLogError> {
        let path = directory.join(FILE);
        let records: Vec<R> = contents.records(&path)?;
        R::check(&records).map_err(|source| VoteLogError::Contradiction { path: path.clone(), source })?;
        let promise = kept_promise(&path, &records, R::promised, promised)?;
        let reopen = || {
            let file = File::options().append(true).open(&path)?;
            file.set_len(contents.end)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = reopen().map_err(|source| at(&path, source))?;
        let log = Self::assemble(directory, mark, file, contents.id, contents.next, contents.end, promise);
        log.write_mark().map_err(|source| at(mark, source))?;
        Ok((log, records))
    }

    fn assemble(
        directory: &Path,
        mark: &Path,
        file: File,
        id: LogId,
        next_sequence: u64,
        bytes: u64,
        promise: Promise,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            mark_path: mark.to_owned(),
            file,
            id,
            next_sequence,
            bytes,
            compacted_bytes: HEADER_BYTES,
            promise,
            failed: false,
            records: PhantomData,
        }
    }

    fn write_mark(&self) -> io::Result<()> {
        Mark::Entered { log: self.id, promise: self.promise }.write(&self.mark_path)
    }

    /// Runs one write; after a failure the log takes no more, since nobody knows what is on disk then.
    fn guarded<T>(&mut self, write: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Err(io::Error::other("the vote log failed before and must not be written to again"));
        }
        let done = write(self);
        self.failed = done.is_err();
        done
    }
}

impl<R: BorshSerialize + BorshDeserialize + Promised> Log<R> for VoteLog<R> {
    fn append(&mut self, records: &[R]) -> io::Result<()> {
        self.guarded(|log| {
            let frame = encode_frame(log.id, log.next_sequence, records)?;
            log.file.write_all(&frame)?;
            log.file.sync_data()?;
            log.next_sequence += 1;
            log.bytes += u64::try_from(frame.len()).expect("a length fits 64 bits");
            let promise = records.iter().filter_map(Promised::promised).max().unwrap_or_default();
            if promise > log.promise {
                log.promise = promise;
                log.write_mark()?;
            }
            Ok(())
        })
    }

    fn wants_compaction(&self) -> bool {
        self.bytes > COMPACT_ABOVE_BYTES && self.bytes > COMPACT_GROWTH * self.compacted_bytes
    }

    fn compact(&mut self, records: &[R]) -> io::Result<()> {
        let promise = records.iter().filter_map(Promised::promised).max().unwrap_or_default();
        assert!(promise >= self.promise, "a log that is compacted keeps what the mark says of it");
        self.guarded(|log| {
            let next = log.directory.join(FILE_NEXT);
            let (mut sequence, mut bytes) = (log.next_sequence, HEADER_BYTES);
            log.file = replace(&log.directory.join(FILE), &next, |file| {
                file.write_all(&encode_header(log.id))?;
                for batch in batches(records, COMPACTED_FRAME_BYTES)? {
                    let frame = encode_frame(log.id, sequence, batch)?;
                    file.write_all(&frame)?;
                    sequence += 1;
                    bytes += position(frame.len());
                }
                Ok(())
            })?;
            log.next_sequence = sequence;
            log.bytes = bytes;
            log.compacted_bytes = log.bytes;
            Ok(())
        })
    }
}

/// What a key goes on with.
enum TakenUp {
    /// It has signed nothing, and has no log.
    New,
    /// It has signed with this log, and promised at least that.
    Old { contents: Contents, promised: Promise },
}

/// Judges a mark and the log beside it, by nothing but what is in them.
fn take_up(path: &Path, mark: Mark, contents: Option<Contents>) -> Result<TakenUp, VoteLogError> {
    let foreign = || Err(VoteLogError::Foreign { path: path.to_owned() });
    match (mark, contents) {
        (Mark::Unused, None) => Ok(TakenUp::New),
        // The first start was cut short between making the log and entering it in the mark.
        (Mark::Unused, Some(contents)) if contents.bodies.is_empty() => {
            Ok(TakenUp::Old { contents, promised: Promise::default() })
        }
        (Mark::Unused, Some(_)) => foreign(),
        (Mark::Entered { .. }, None) => Err(VoteLogError::Lost { path: path.to_owned() }),
        (Mark::Entered { log, .. }, Some(contents)) if log != contents.id => foreign(),
        (Mark::Entered { promise, .. }, Some(contents)) => Ok(TakenUp::Old { contents, promised: promise }),
    }
}

/// The highest promise in a log, which is no lower than the mark knows.
fn kept_promise<R>(
    path: &Path,
    records: &[R],
    promise_of: impl Fn(&R) -> Option<Promise>,
    promised: Promise,
) -> Result<Promise, VoteLogError> {
    let promise = records.iter().filter_map(promise_of).max().unwrap_or_default();
    if promise < promised { Err(VoteLogError::Behind { path: path.to_owned() }) } else { Ok(promise) }
}

/// Gives a refused log a second name until a new one takes its first: at no moment is no log there, which beside an unused
/// mark would look like a key that has signed nothing.
fn set_aside(log: &Path, aside: &Path) -> io::Result<()> {
    match fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::hard_link(log, aside)
}

fn at(path: &Path, source: io::Error) -> VoteLogError {
    VoteLogError::Io { path: path.to_owned(), source }
}
