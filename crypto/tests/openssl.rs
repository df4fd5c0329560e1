//! The key files are what they claim to be: the stock `openssl` reads ours, and we read its.

#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use quorate_crypto::{
    KeyFileProblem, SecretKey, is_key_file_encrypted, read_key_file, verify, write_key_file,
};
use tempfile::TempDir;

/// Runs openssl; the test fails, and says what to install, where there is none.
fn openssl(arguments: &[&str]) -> Output {
    Command::new("openssl")
        .args(arguments)
        .output()
        .expect("this test needs the `openssl` program (Debian: `apt-get install openssl`)")
}

/// Runs openssl and demands success; gives what it printed.
fn openssl_ok(arguments: &[&str]) -> Vec<u8> {
    let output = openssl(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "openssl {arguments:?}: {complaint}");
    output.stdout
}

fn directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("key.pem");
    (directory, file)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn own_only(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file's mode can be set");
}

/// The last 32 bytes of a SubjectPublicKeyInfo are the key (RFC 8410 §4).
fn public_by_openssl(path: &Path, passphrase: &[&str]) -> Vec<u8> {
    let der = openssl_ok(&[&["pkey", "-in", text(path), "-pubout", "-outform", "DER"], passphrase].concat());
    der[der.len() - 32..].to_vec()
}

#[test]
fn openssl_reads_our_plain_file() {
    let (_directory, file) = directory();
    let key = SecretKey::generate();
    write_key_file(&file, &key, None).expect("a new file can be written");
    let shown = openssl_ok(&["pkey", "-in", text(&file), "-noout", "-text"]);
    assert!(String::from_utf8_lossy(&shown).contains("ED25519 Private-Key"));
    assert_eq!(public_by_openssl(&file, &[]), key.public().as_bytes());
}

#[test]
fn openssl_reads_our_encrypted_file_with_the_passphrase_only() {
    let (_directory, file) = directory();
    let key = SecretKey::generate();
    write_key_file(&file, &key, Some("correct horse")).expect("a new file can be written");
    let shown = openssl_ok(&["pkey", "-in", text(&file), "-passin", "pass:correct horse", "-noout", "-text"]);
    assert!(String::from_utf8_lossy(&shown).contains("ED25519 Private-Key"));
    assert_eq!(public_by_openssl(&file, &["-passin", "pass:correct horse"]), key.public().as_bytes());
    assert!(!openssl(&["pkey", "-in", text(&file), "-passin", "pass:wrong", "-noout"]).status.success());
}

#[test]
fn we_read_openssls_plain_file() {
    let (_directory, file) = directory();
    openssl_ok(&["genpkey", "-algorithm", "ed25519", "-out", text(&file)]);
    own_only(&file);
    let key = read_key_file(&file, None).expect("openssl writes PKCS#8 version 1");
    assert_eq!(public_by_openssl(&file, &[]), key.public().as_bytes());
    assert_eq!(
        key.to_pem(None).expect("no passphrase to refuse").as_bytes(),
        fs::read(&file).expect("it is there")
    );
}

#[test]
fn we_read_openssls_encrypted_files() {
    let (directory, plain) = directory();
    openssl_ok(&["genpkey", "-algorithm", "ed25519", "-out", text(&plain)]);
    own_only(&plain);
    let key = read_key_file(&plain, None).expect("openssl writes PKCS#8 version 1");
    let ways: [&[&str]; 4] =
        [&[], &["-v2", "aes-128-cbc"], &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"], &["-scrypt"]];
    for (number, way) in ways.iter().enumerate() {
        let file = directory.path().join(format!("encrypted-{number}.pem"));
        let common =
            ["pkcs8", "-topk8", "-in", text(&plain), "-out", text(&file), "-passout", "pass:open sesame"];
        openssl_ok(&[&common, *way].concat());
        own_only(&file);
        assert!(is_key_file_encrypted(&file).expect("it is a key file"), "{way:?}");
        let read =
            read_key_file(&file, Some("open sesame")).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        assert_eq!(read.public(), key.public(), "{way:?}");
        let refused = read_key_file(&file, Some("open says me")).expect_err("the passphrase is wrong");
        assert!(matches!(refused.problem, KeyFileProblem::WrongPassphrase), "{way:?}: {refused}");
    }
}

#[test]
fn keys_of_other_algorithms_are_refused_by_name() {
    for algorithm in ["x25519", "ed448"] {
        let (_directory, file) = directory();
        openssl_ok(&["genpkey", "-algorithm", algorithm, "-out", text(&file)]);
        own_only(&file);
        let refused = read_key_file(&file, None).expect_err("it is no Ed25519 key");
        assert!(matches!(refused.problem, KeyFileProblem::NotEd25519 { .. }), "{refused}");
        assert!(refused.to_string().contains(text(&file)), "{refused}");
    }
}

#[test]
fn openssl_signs_and_verifies_as_we_do() {
    let (directory, file) = directory();
    let key = SecretKey::generate();
    write_key_file(&file, &key, None).expect("a new file can be written");
    let (message, signature) = (directory.path().join("message"), directory.path().join("signature"));
    fs::write(&message, b"one message").expect("the temporary directory can be written");
    let common = ["pkeyutl", "-rawin", "-inkey", text(&file), "-in", text(&message)];

    let theirs = openssl_ok(&[&common[..], &["-sign"]].concat());
    let ours = key.sign_bytes(b"one message");
    assert_eq!(theirs, ours.as_bytes());
    assert!(verify(&key.public(), b"one message", &ours));

    fs::write(&signature, ours.as_bytes()).expect("the temporary directory can be written");
    openssl_ok(&[&common[..], &["-verify", "-sigfile", text(&signature)]].concat());
}
