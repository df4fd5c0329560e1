//! What makes a file's name last: a file that was made, renamed or removed is so after a crash only when the directory
//! that holds its name was synced, besides the file itself.
//!
//! A sync that fails is the caller's error, never only logged: nobody knows then what is on disk.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Makes the names in a directory durable.
///
/// # Errors
///
/// The machine's.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Puts what `write` writes in the place of a file, or makes the file, in one step: after a crash at any moment its name
/// stands for all of the old bytes or all of the new, and when this returns for the new. They are written to `draft` first,
/// a name in the same directory that nobody else uses; what a crash left there is written over.
///
/// Returns the file, open for more to be written behind.
///
/// # Errors
///
/// The machine's, and those of `write`. Where only the last sync failed the new bytes are there, and may be gone again after
/// a crash.
///
/// # Panics
///
/// When `draft` is in another directory than the file: a rename is one step only within a directory.
pub fn replace(
    path: &Path,
    draft: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let directory = directory_of(path);
    assert_eq!(directory_of(draft), directory, "a draft is beside its file");
    let mut file = File::create(draft)?;
    write(&mut file)?;
    // Before the rename: else the name may stand for bytes that a crash takes.
    file.sync_all()?;
    fs::rename(draft, path)?;
    sync_directory(directory)?;
    Ok(file)
}

/// The directory that holds a file's name; the current one for a bare name.
#[must_use]
pub fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A crash while a file is replaced leaves a draft of any length, and the old file.
    #[test]
    fn a_file_is_the_old_one_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (path, draft) = (folder.path().join("file"), folder.path().join("file.next"));
        let read = || fs::read_to_string(&path).expect("it is there");
        let new = |text: &'static str| replace(&path, &draft, move |file| file.write_all(text.as_bytes()));
        new("old").expect("made where nothing was");
        assert_eq!(read(), "old");

        let torn = replace(&path, &draft, |file| {
            file.write_all(b"torn, and longer than what is written next")?;
            assert_eq!(read(), "old", "while the new one is being written");
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(torn.expect_err("the disk is full").kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(), "old");
        assert!(draft.exists(), "as after a crash");

        let mut file = new("new").expect("the leftover is written over");
        assert_eq!(read(), "new");
        assert!(!draft.exists());
        file.write_all(b" and more").expect("it is open");
        assert_eq!(read(), "new and more");
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error_and_stays() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("directory");
        fs::create_dir(&path).expect("temporary folder");
        replace(&path, &folder.path().join("draft"), |_| Ok(())).expect_err("a directory is no file");
        assert!(path.is_dir());
    }

    #[test]
    #[should_panic(expected = "a draft is beside its file")]
    fn a_draft_in_another_directory_is_our_own_mistake() {
        let _ = replace(Path::new("file"), Path::new("elsewhere/file"), |_| Ok(()));
    }

    #[test]
    fn a_bare_name_stands_in_the_current_directory() {
        assert_eq!(directory_of(Path::new("key.pem")), Path::new("."));
        assert_eq!(directory_of(Path::new("./key.pem")), Path::new("."));
        assert_eq!(directory_of(Path::new("keys/key.pem")), Path::new("keys"));
        assert_eq!(directory_of(Path::new("/key.pem")), Path::new("/"));
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().expect("temporary folder");
        sync_directory(folder.path()).expect("it is there");
        let error = sync_directory(&folder.path().join("missing")).expect_err("it is not");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
