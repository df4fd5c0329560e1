//! Key files on disk: mode 0600, whole or absent, never overwritten.
//!
//! A new file is written beside its place under a name of its own, synced, and only then linked to its place,
//! which fails if anything is there; then the directory is synced. So after a crash there is the whole key or
//! none, and of two writers one fails. (Hard links need a file system with Unix modes, but so does 0600.)

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    SecretKey,
    durable::{directory_of, sync_directory},
    hex_bytes,
    pem::{self, KeyFileError, KeyFileProblem},
};

/// No PEM of a key, encrypted or not, comes near this size.
pub const KEY_FILE_BYTES_MAX: u64 = 16_384;

/// Mode of a new key file: its owner reads and writes it, others nothing.
const MODE: u32 = 0o600;
/// Permission bits that a key file may not have.
const OTHERS: u32 = 0o077;

/// Reads the key from a PKCS#8 PEM file, decrypted with the passphrase.
///
/// # Errors
///
/// [`KeyFileError`] with the path: the file cannot be read, is open to others than its owner, or does not
/// hold what [`SecretKey::from_pem`] reads.
pub fn read_key_file(path: &Path, passphrase: Option<&str>) -> Result<SecretKey, KeyFileError> {
    let text = read(path).map_err(|problem| at(path, problem))?;
    SecretKey::from_pem(&text, passphrase).map_err(|error| at(path, error.problem))
}

/// Whether the key in a file is encrypted: whether a passphrase must be asked for.
///
/// # Errors
///
/// As [`read_key_file`].
pub fn is_key_file_encrypted(path: &Path) -> Result<bool, KeyFileError> {
    read(path).and_then(|text| pem::is_encrypted(&text)).map_err(|problem| at(path, problem))
}

/// Writes a key to a new file as PKCS#8 PEM with mode 0600, encrypted if there is a passphrase. When it
/// returns, the file is on disk.
///
/// # Errors
///
/// [`KeyFileError`] with the path: something is there already, the passphrase is empty, or the disk fails.
pub fn write_key_file(path: &Path, key: &SecretKey, passphrase: Option<&str>) -> Result<(), KeyFileError> {
    let text = key.to_pem(passphrase).map_err(|error| at(path, error.problem))?;
    write(path, text.as_bytes()).map_err(|problem| at(path, problem))
}

fn read(path: &Path) -> Result<Zeroizing<String>, KeyFileProblem> {
    let failed = |error| KeyFileProblem::Io { action: "read", error };
    // Asked of the open file, so that what is checked is what is read.
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyFileProblem::NotAFile);
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(KeyFileProblem::Permissions { mode });
    }
    // Room for the largest file at once: a string that grew would leave copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX as usize + 1));
    file.take(KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| {
        let binary = error.kind() == io::ErrorKind::InvalidData;
        if binary { KeyFileProblem::Malformed { reason: "not text".to_owned() } } else { failed(error) }
    })?;
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(KeyFileProblem::TooLarge { max: KEY_FILE_BYTES_MAX });
    }
    Ok(text)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), KeyFileProblem> {
    let failed = |error| KeyFileProblem::Io { action: "written", error };
    let draft = draft_of(path).map_err(failed)?;
    let linked = write_synced(&draft, bytes).and_then(|()| fs::hard_link(&draft, path));
    // The draft goes either way; if even that fails, the key is not where anybody looks for it, so say so.
    let removed = match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    linked.map_err(|error| {
        let taken = error.kind() == io::ErrorKind::AlreadyExists;
        if taken { KeyFileProblem::Exists } else { failed(error) }
    })?;
    removed.and_then(|()| sync_directory(directory_of(path))).map_err(failed)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name nobody else uses, in the same directory.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).expect("the operating system gives randomness");
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(".");
    draft.push(hex_bytes::to_hex(&salt));
    Ok(directory_of(path).join(draft))
}

fn at(path: &Path, problem: KeyFileProblem) -> KeyFileError {
    KeyFileError { path: Some(path.to_owned()), problem }
}

#[cfg(test)]
mod tests;
