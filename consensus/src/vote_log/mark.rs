//! The mark beside a validator's key: which log it signs with, and what it has promised at least.

use std::{
    fmt, fs,
    fs::File,
    io::{self, Write as _},
    path::Path,
};

use quorate_crypto::durable::{directory_of, replace, sync_directory};
use quorate_ledger::{Epoch, View};

use super::{VoteLogError, at};
use crate::engine::Promise;

const UNUSED: &str = "unused";

/// A log's random name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogId(pub [u8; 16]);

impl LogId {
    pub(super) fn random() -> io::Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        Ok(Self(id))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What is known about a key's use. As text: `unused`, or `log <id> epoch <e> view <v>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The key has signed nothing.
    Unused,
    /// The key signs with this log.
    Entered {
        /// Which.
        log: LogId,
        /// What it has promised at least.
        promise: Promise,
    },
}

impl Mark {
    /// Writes the mark of a new key.
    ///
    /// # Errors
    /// When there is one already, or the machine fails.
    pub fn create_unused(path: &Path) -> io::Result<()> {
        let mut file = File::create_new(path)?;
        writeln!(file, "{UNUSED}")?;
        file.sync_all()?;
        sync_directory(directory_of(path))
    }

    /// Declares a key unused again. Only for a test network that forgets everything on every node at once: on a chain
    /// that goes on, the key could contradict what it signed before.
    ///
    /// # Errors
    /// When the machine fails.
    pub fn reset_unused(path: &Path) -> io::Result<()> {
        Self::Unused.write(path)
    }

    /// Reads a mark; none if there is no file.
    ///
    /// # Errors
    /// When the file is not a mark, or the machine fails.
    pub fn read(path: &Path) -> Result<Option<Self>, VoteLogError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::of(path, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(at(path, source)),
        }
    }

    /// What a mark's file holds.
    pub(super) fn of(path: &Path, text: &str) -> Result<Self, VoteLogError> {
        let bad = || VoteLogError::BadMark { path: path.to_owned(), what: format!("{text:?}") };
        Self::parse(text.trim()).ok_or_else(bad)
    }

    /// Replaces the file in one step, durably.
    pub(super) fn write(self, path: &Path) -> io::Result<()> {
        let mut next = path.as_os_str().to_owned();
        next.push(".next");
        replace(path, Path::new(&next), |file| writeln!(file, "{self}"))?;
        Ok(())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == UNUSED {
            return Some(Self::Unused);
        }
        let words: Vec<&str> = text.split(' ').collect();
        let ["log", id, "epoch", epoch, "view", view] = words[..] else { return None };
        if id.len() != 32 {
            return None;
        }
        let log = LogId(u128::from_str_radix(id, 16).ok()?.to_be_bytes());
        let promise = Promise { epoch: Epoch(epoch.parse().ok()?), view: View(view.parse().ok()?) };
        let mark = Self::Entered { log, promise };
        // Numbers can be written in more ways than one; a mark is written in one.
        (mark.to_string() == text).then_some(mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unused => f.write_str(UNUSED),
            Self::Entered { log, promise } => {
                write!(f, "log {log:?} epoch {} view {}", promise.epoch, promise.view)
            }
        }
    }
}
