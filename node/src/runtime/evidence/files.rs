//! The files of evidence: one a piece, its name the time when it was found and the hash of what it holds.
//!
//! ```text
//! data/evidence/1700000000000-HASH      the proof's bytes and nothing else: `quorate evidence verify` reads them
//! ```
//!
//! So a damaged file is told by its name, and damages no other. A file is written beside its place, synced and renamed.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use quorate_consensus::Evidence;
use quorate_crypto::{Hash, decode, durable::replace, encode, to_hex};
use quorate_ledger::UnixMillis;

use super::{FoundEvidence, KEPT_BYTES_MAX};

/// The file that is being written. A leftover is written over.
const DRAFT: &str = ".draft";

/// The directory.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
}

/// What the machine refused.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub(super) struct FileError {
    path: PathBuf,
    source: io::Error,
}

impl Files {
    /// Makes `dir` if it is not there, and reads what it holds, oldest first. Files that are no evidence are named in the
    /// log and left alone.
    ///
    /// # Errors
    /// When the directory cannot be made or listed.
    pub(super) fn open(dir: PathBuf) -> Result<(Self, Vec<FoundEvidence>), FileError> {
        let failed = |source| FileError { path: dir.clone(), source };
        fs::create_dir_all(&dir).map_err(failed)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        let mut found = Vec::new();
        for name in names.iter().filter(|name| *name != DRAFT) {
            let path = dir.join(name);
            match read(&path, &name.to_string_lossy()) {
                Ok(piece) => found.push(piece),
                Err(why) => {
                    tracing::warn!(path = %path.display(), why, "not evidence, or damaged; the file is left as it is");
                }
            }
        }
        Ok((Self { dir }, found))
    }

    /// Writes a piece; it is on disk when this returns.
    ///
    /// # Errors
    /// The machine's.
    pub(super) fn write(&self, found: &FoundEvidence) -> Result<(), FileError> {
        let draft = self.dir.join(DRAFT);
        let path = self.path(found);
        match replace(&path, &draft, |file| file.write_all(&encode(&*found.evidence))) {
            Ok(_) => Ok(()),
            Err(source) => Err(FileError { path, source }),
        }
    }

    /// Drops a piece that is no longer kept.
    pub(super) fn remove(&self, found: &FoundEvidence) {
        let path = self.path(found);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "evidence that is no longer kept cannot be removed");
        }
    }

    fn path(&self, found: &FoundEvidence) -> PathBuf {
        self.dir.join(name(found.at, &found.hash))
    }
}

/// Thirteen digits of milliseconds last until the year 2286: in the order of the names the oldest is first.
pub(super) fn name(at: UnixMillis, hash: &Hash) -> String {
    format!("{:013}-{}", at.0, &to_hex(hash.as_bytes())[2..])
}

fn read(path: &Path, file_name: &str) -> Result<FoundEvidence, String> {
    let at = file_name.split_once('-').and_then(|(at, _)| at.parse().ok()).map(UnixMillis);
    let at = at.ok_or("its name is not TIME-HASH")?;
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > KEPT_BYTES_MAX as u64 {
        return Err(format!("{length} bytes, at most {KEPT_BYTES_MAX} are allowed"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    if name(at, &Hash::of(&bytes)) != file_name {
        return Err("what it holds has not the hash of its name".to_owned());
    }
    let evidence: Evidence = decode(&bytes).map_err(|error| error.to_string())?;
    Ok(FoundEvidence::new(at, evidence))
}
