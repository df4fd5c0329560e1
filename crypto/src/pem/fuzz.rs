//! Fuzz targets (`docs/testing.md`, Fuzzing): any text as a key file, any bytes as what is in one.
//!
//! PEM and DER leave choices (line ends, attributes), so what is read is not compared with what would be written: the key in
//! it must be the same when it is written and read again.

use pkcs8::pkcs5::pbes2::{Pbkdf2Params, ScryptParams};

use super::*;

const PASSPHRASE: &str = "passphrase";

/// What deriving a key may cost here, in the units of [`cost`]: files that ask for more are allowed, and only slow.
const CHEAP: u64 = 64;

fn reads_back(key: &SecretKey) {
    let pem = key.to_pem(None).expect("no passphrase to refuse");
    assert_eq!(SecretKey::from_pem(&pem, None).expect("it was just written").seed(), key.seed());
}

/// An encrypted key that costs next to nothing to open.
fn encrypted(parameters: Parameters) -> SecretDocument {
    let plain = plain_der(&SecretKey::from_seed([3; 32]));
    let info = PrivateKeyInfoRef::try_from(plain.as_bytes()).expect("just written");
    info.encrypt_with_params(parameters, PASSPHRASE).expect("it encrypts")
}

fn with_scrypt() -> SecretDocument {
    let cost = scrypt::Params::new(1, 1, 1).expect("in range");
    encrypted(Parameters::generate_scrypt_aes256cbc(cost, &[7; 16], [8; 16]).expect("in range"))
}

fn with_pbkdf2() -> SecretDocument {
    encrypted(Parameters::generate_pbkdf2_sha256_aes256cbc(2, &[7; 16], [8; 16]).expect("in range"))
}

/// Blocks of 128 bytes that scrypt mixes, or rounds of PBKDF2.
fn cost(kdf: &Kdf) -> u64 {
    let scrypt = |it: &ScryptParams| {
        it.cost_parameter.saturating_mul(it.block_size.into()).saturating_mul(it.parallelization.into())
    };
    let pbkdf2 = |it: &Pbkdf2Params| u64::from(it.iteration_count);
    kdf.scrypt().map(scrypt).or_else(|| kdf.pbkdf2().map(pbkdf2)).unwrap_or_default()
}

fn is_cheap(document: &[u8]) -> bool {
    EncryptedPrivateKeyInfoRef::try_from(document)
        .ok()
        .and_then(|info| info.encryption_algorithm.pbes2().map(|parameters| cost(&parameters.kdf)))
        .is_some_and(|cost| cost <= CHEAP)
}

/// Key files are given without a passphrase, or with one.
#[test]
fn key_file() {
    let key = SecretKey::from_seed([3; 32]);
    let plain = key.to_pem(None).expect("no passphrase to refuse");
    let label = EncryptedPrivateKeyInfoRef::PEM_LABEL;
    let of = |document: SecretDocument| document.to_pem(label, LineEnding::LF).expect("DER has a PEM form");
    let samples = [plain, of(with_scrypt()), of(with_pbkdf2())].map(|text| text.as_bytes().to_vec());
    bolero::check!(name = "key_file").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let text = std::str::from_utf8(bytes).ok()?;
            let encrypted = is_encrypted(text).ok()?;
            let read = SecretKey::from_pem(text, None);
            assert!(!encrypted || read.is_err(), "what is encrypted needs a passphrase");
            if encrypted {
                let (_, document) = read_pem(text).expect("it has a label, so it is PEM");
                if is_cheap(document.as_bytes())
                    && let Ok(key) = SecretKey::from_pem(text, Some(PASSPHRASE))
                {
                    reads_back(&key);
                }
            }
            reads_back(&read.ok()?);
            Some(bytes.to_vec())
        });
    });
}

/// What is under the base64, where damage to the text seldom comes.
#[test]
fn key_der() {
    let plain = plain_der(&SecretKey::from_seed([3; 32]));
    let samples = [&plain, &with_scrypt(), &with_pbkdf2()].map(|document| document.as_bytes().to_vec());
    bolero::check!(name = "key_der").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let document = SecretDocument::try_from(bytes).ok()?;
            if is_cheap(bytes)
                && let Ok(plain) = decrypt(&document, PASSPHRASE)
                && let Ok(info) = parse_plain(&plain)
                && let Ok(key) = ed25519_key(&info)
            {
                reads_back(&key);
            }
            reads_back(&ed25519_key(&parse_plain(&document).ok()?).ok()?);
            Some(bytes.to_vec())
        });
    });
}
