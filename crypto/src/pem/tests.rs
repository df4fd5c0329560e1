use ed25519_dalek::pkcs8::{KeypairBytes, PublicKeyBytes};
use pkcs8::{
    EncodePrivateKey,
    pkcs5::pbes2::{Pbkdf2Params, ScryptParams},
};
use proptest::{collection::vec, prelude::*};

use super::*;

const PASSPHRASE: &str = "correct horse";

fn problem(pem: &str, passphrase: Option<&str>) -> KeyFileProblem {
    SecretKey::from_pem(pem, passphrase).expect_err("it must be refused").problem
}

/// The DER of a plain key, to be damaged: version at 4, algorithm at 7 to 11, seed from 16 on (RFC 8410 §7).
fn plain_bytes(key: &SecretKey) -> Vec<u8> {
    plain_der(key).as_bytes().to_vec()
}

fn pem_of(label: &'static str, der: &[u8]) -> String {
    let document = SecretDocument::try_from(der).expect("it is DER");
    document.to_pem(label, LineEnding::LF).expect("DER has a PEM form").to_string()
}

#[test]
fn plain_reads_back() {
    let key = SecretKey::generate();
    let pem = key.to_pem(None).expect("no passphrase to refuse");
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(!is_encrypted(&pem).expect("it is a key"));
    assert_eq!(SecretKey::from_pem(&pem, None).expect("it was just written").seed(), key.seed());
}

/// RFC 8410 §10.3, the example of a private key without its public key.
#[test]
fn the_example_of_rfc_8410_reads_and_writes_alike() {
    let pem = "-----BEGIN PRIVATE KEY-----\n\
               MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
               -----END PRIVATE KEY-----\n";
    let key = SecretKey::from_pem(pem, None).expect("it is the standard's");
    assert_eq!(
        key.public().to_string(),
        "0x19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
    );
    assert_eq!(key.to_pem(None).expect("no passphrase to refuse").as_str(), pem);
}

#[test]
fn encrypted_reads_back_with_its_passphrase_only() {
    let key = SecretKey::generate();
    let pem = key.to_pem(Some(PASSPHRASE)).expect("the passphrase is not empty");
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    assert!(is_encrypted(&pem).expect("it is a key"));
    assert_eq!(SecretKey::from_pem(&pem, Some(PASSPHRASE)).expect("it was just written").seed(), key.seed());
    assert!(matches!(problem(&pem, Some("wrong")), KeyFileProblem::WrongPassphrase));
    assert!(matches!(problem(&pem, Some("")), KeyFileProblem::WrongPassphrase));
    assert!(matches!(problem(&pem, None), KeyFileProblem::PassphraseMissing));
    assert_ne!(
        *pem,
        *key.to_pem(Some(PASSPHRASE)).expect("it is not empty"),
        "salt and IV are fresh each time"
    );
}

#[test]
fn a_passphrase_for_what_is_not_encrypted_is_refused() {
    let pem = SecretKey::generate().to_pem(None).expect("no passphrase to refuse");
    assert!(matches!(problem(&pem, Some(PASSPHRASE)), KeyFileProblem::NotEncrypted));
}

#[test]
fn an_empty_passphrase_protects_nothing() {
    let refused = SecretKey::generate().to_pem(Some("")).expect_err("it is empty");
    assert!(matches!(refused.problem, KeyFileProblem::PassphraseEmpty));
}

#[test]
fn version_2_is_refused() {
    let key = SecretKey::generate();
    let pair =
        KeypairBytes { secret_key: key.seed(), public_key: Some(PublicKeyBytes(*key.public().as_bytes())) };
    let pem = pair.to_pkcs8_pem(LineEnding::LF).expect("a key has a PEM form");
    assert!(matches!(problem(&pem, None), KeyFileProblem::Version2));
}

#[test]
fn other_algorithms_are_refused() {
    let mut der = plain_bytes(&SecretKey::generate());
    assert_eq!(der[7..12], [0x06, 0x03, 0x2b, 0x65, 0x70], "id-Ed25519 stands here");
    der[11] = 0x6e;
    let KeyFileProblem::NotEd25519 { oid } = problem(&pem_of("PRIVATE KEY", &der), None) else {
        panic!("it is an X25519 key");
    };
    assert_eq!(oid.to_string(), "1.3.101.110");
}

#[test]
fn other_pem_is_refused_by_its_label() {
    let der = plain_bytes(&SecretKey::generate());
    for label in ["PUBLIC KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        let KeyFileProblem::WrongLabel { label: found } = problem(&pem_of(label, &der), None) else {
            panic!("{label} is another kind");
        };
        assert_eq!(found, label);
    }
}

#[test]
fn what_is_no_pem_is_refused() {
    for text in ["", "\n", "key", "-----BEGIN PRIVATE KEY-----\n", "0x00", "é"] {
        assert!(matches!(problem(text, None), KeyFileProblem::Malformed { .. }), "{text:?}");
        assert!(matches!(is_encrypted(text), Err(KeyFileProblem::Malformed { .. })), "{text:?}");
    }
}

#[test]
fn damaged_ciphertext_is_told_as_what_it_may_be() {
    let key = SecretKey::generate();
    let pem = key.to_pem(Some(PASSPHRASE)).expect("it is not empty");
    let (_, document) = SecretDocument::from_pem(&pem).expect("it was just written");
    let mut der = document.as_bytes().to_vec();
    *der.last_mut().expect("it is not empty") ^= 1;
    let damaged = pem_of("ENCRYPTED PRIVATE KEY", &der);
    assert!(matches!(problem(&damaged, Some(PASSPHRASE)), KeyFileProblem::WrongPassphrase));
}

/// What an encrypted file asks of us is bounded before it is done.
#[test]
fn costs_at_the_limit_pass_and_one_past_are_refused() {
    let cost = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P).expect("they are in range");
    let ours = ScryptParams::from_params_and_salt(cost, &[0; 16]).expect("they are in range");
    let scrypt = |cost_parameter: u64, block_size: u16, parallelization: u16| {
        let mut scrypt = ours;
        scrypt.cost_parameter = cost_parameter;
        scrypt.block_size = block_size;
        scrypt.parallelization = parallelization;
        check_cost(&Kdf::Scrypt(scrypt)).is_ok()
    };
    assert!(check_cost(&Kdf::Scrypt(ours)).is_ok());
    assert!(scrypt(SCRYPT_MEMORY_MAX / (128 * 8), 8, SCRYPT_P_MAX));
    assert!(!scrypt(SCRYPT_MEMORY_MAX / (128 * 8), 9, SCRYPT_P_MAX));
    assert!(!scrypt(SCRYPT_MEMORY_MAX / (128 * 8) * 2, 8, SCRYPT_P_MAX));
    assert!(!scrypt(SCRYPT_MEMORY_MAX / (128 * 8), 8, SCRYPT_P_MAX + 1));
    assert!(!scrypt(0, 8, 1) && !scrypt(3, 8, 1) && !scrypt(u64::MAX, u16::MAX, 1), "no powers of two");
    assert!(!scrypt(1 << 63, u16::MAX, 1), "no overflow");

    let pbkdf2 = |iterations| {
        check_cost(&Kdf::Pbkdf2(Pbkdf2Params::hmac_sha256(iterations, &[0; 16]).expect("it is in range")))
            .is_ok()
    };
    assert!(pbkdf2(PBKDF2_ITERATIONS_MAX));
    assert!(!pbkdf2(PBKDF2_ITERATIONS_MAX + 1));
}

#[test]
fn errors_say_what_to_do() {
    let pem = SecretKey::generate().to_pem(None).expect("no passphrase to refuse");
    let refused = SecretKey::from_pem(&pem, Some(PASSPHRASE)).expect_err("it is not encrypted");
    assert_eq!(
        refused.to_string(),
        "the key is not encrypted though a passphrase was given; encrypt it, or give no passphrase"
    );
    let refused = KeyFileError { path: Some("validator.pem".into()), ..refused };
    assert!(refused.to_string().starts_with("key file validator.pem is not encrypted"));
}

proptest! {
    #[test]
    fn random_der_never_panics(der in vec(any::<u8>(), 0..100)) {
        for label in ["PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            let sequence = [&[0x30, der.len() as u8][..], &der].concat();
            let _ = SecretKey::from_pem(&pem_of(label, &sequence), None);
        }
    }

    #[test]
    fn changed_keys_never_panic(place in 0..48usize, change in 1..=255u8) {
        let mut der = plain_bytes(&SecretKey::from_seed([5; 32]));
        der[place] ^= change;
        if let Ok(document) = SecretDocument::try_from(der.as_slice()) {
            let pem = document.to_pem("PRIVATE KEY", LineEnding::LF).expect("DER has a PEM form");
            let read = SecretKey::from_pem(&pem, None);
            prop_assert_eq!(read.is_ok(), place >= 16, "only the seed may be anything");
        }
    }
}
