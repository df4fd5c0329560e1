//! What makes a file's name last: a file that was made, renamed or removed is so after a crash only when the directory
//! that holds its name was synced, besides the file itself.
//!
//! A sync that fails is the caller's error, never only logged: nobody knows then what is on disk.

use std::{fs::File, io, path::Path};

/// Makes the names in a directory durable.
///
/// # Errors
///
/// The machine's.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
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
    use super::*;

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
