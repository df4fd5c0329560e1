use std::thread;

use tempfile::TempDir;

use super::*;

fn directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("validator.pem");
    (directory, file)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file's mode can be set");
}

fn names(directory: &TempDir) -> Vec<OsString> {
    let entries = fs::read_dir(directory.path()).expect("it is there");
    entries.map(|entry| entry.expect("it can be listed").file_name()).collect()
}

fn refused(path: &Path) -> KeyFileError {
    let error = read_key_file(path, None).expect_err("it must be refused");
    assert!(error.to_string().contains(&path.display().to_string()), "{error} names the file");
    error
}

#[test]
fn a_key_reads_back_and_only_its_owner_may_read_it() {
    let (directory, file) = directory();
    let key = SecretKey::generate();
    write_key_file(&file, &key, None).expect("the path is free");
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(names(&directory), ["validator.pem"], "the draft is gone");
    assert_eq!(read_key_file(&file, None).expect("it was just written").seed(), key.seed());
    assert!(!is_key_file_encrypted(&file).expect("it is a key file"));
}

#[test]
fn an_encrypted_key_reads_back_and_shows_that_it_is() {
    let (_directory, file) = directory();
    let key = SecretKey::generate();
    write_key_file(&file, &key, Some("correct horse")).expect("the path is free");
    assert!(is_key_file_encrypted(&file).expect("it is a key file"));
    assert_eq!(read_key_file(&file, Some("correct horse")).expect("it was just written").seed(), key.seed());
    assert!(matches!(refused(&file).problem, KeyFileProblem::PassphraseMissing));
}

#[test]
fn a_key_is_never_overwritten() {
    let (directory, file) = directory();
    let key = SecretKey::generate();
    write_key_file(&file, &key, None).expect("the path is free");
    let error = write_key_file(&file, &SecretKey::generate(), None).expect_err("the path is taken");
    assert!(matches!(error.problem, KeyFileProblem::Exists), "{error}");
    assert_eq!(read_key_file(&file, None).expect("it is as it was").seed(), key.seed());
    assert_eq!(names(&directory), ["validator.pem"], "the draft is gone");
}

#[test]
fn of_two_writers_one_succeeds() {
    let (directory, file) = directory();
    let keys: Vec<SecretKey> = (0..8).map(|_| SecretKey::generate()).collect();
    let written: Vec<bool> = thread::scope(|scope| {
        let writers: Vec<_> =
            keys.iter().map(|key| scope.spawn(|| write_key_file(&file, key, None).is_ok())).collect();
        writers.into_iter().map(|writer| writer.join().expect("it does not panic")).collect()
    });
    let winner = written.iter().position(|written| *written).expect("one succeeds");
    assert_eq!(written.iter().filter(|written| **written).count(), 1);
    assert_eq!(read_key_file(&file, None).expect("it is whole").seed(), keys[winner].seed());
    assert_eq!(names(&directory), ["validator.pem"]);
}

#[test]
fn any_bit_for_others_is_refused_with_what_to_do() {
    let (_directory, file) = directory();
    write_key_file(&file, &SecretKey::generate(), None).expect("the path is free");
    for mode in (0..6).map(|bit| 0o600 | 1 << bit) {
        set_mode(&file, mode);
        let error = refused(&file);
        assert!(
            matches!(error.problem, KeyFileProblem::Permissions { mode: found } if found == mode),
            "{error}"
        );
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    for mode in [0o600, 0o400] {
        set_mode(&file, mode);
        assert!(read_key_file(&file, None).is_ok(), "{mode:o}");
    }
}

#[test]
fn a_file_of_the_largest_size_is_read_and_one_byte_more_is_not() {
    let (_directory, file) = directory();
    let key = SecretKey::generate();
    write_key_file(&file, &key, None).expect("the path is free");
    let pem = fs::read(&file).expect("it is there");
    for (size, fits) in [(KEY_FILE_BYTES_MAX, true), (KEY_FILE_BYTES_MAX + 1, false)] {
        // Text before the first line of PEM is allowed (RFC 7468 §2).
        let mut padded = vec![b'\n'; size as usize - pem.len()];
        padded.extend_from_slice(&pem);
        fs::write(&file, &padded).expect("it is ours");
        match read_key_file(&file, None) {
            Ok(read) => assert!(fits && read.seed() == key.seed()),
            Err(error) => {
                assert!(!fits && matches!(error.problem, KeyFileProblem::TooLarge { .. }), "{error}")
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_its_path() {
    let (directory, file) = directory();
    assert!(matches!(refused(&file).problem, KeyFileProblem::Io { action: "read", .. }));
    assert!(matches!(refused(directory.path()).problem, KeyFileProblem::NotAFile));
    fs::write(&file, [0xff, 0xfe]).expect("the directory can be written");
    set_mode(&file, 0o600);
    assert!(matches!(refused(&file).problem, KeyFileProblem::Malformed { .. }));
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let (directory, file) = directory();
    let key = SecretKey::generate();
    let error =
        write_key_file(&directory.path().join("absent/key.pem"), &key, None).expect_err("no such directory");
    assert!(matches!(error.problem, KeyFileProblem::Io { action: "written", .. }), "{error}");
    let error = write_key_file(&file, &key, Some("")).expect_err("the passphrase is empty");
    assert!(matches!(error.problem, KeyFileProblem::PassphraseEmpty) && error.path == Some(file), "{error}");
    assert!(names(&directory).is_empty());
}
