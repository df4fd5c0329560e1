//! A secret key as PKCS#8 PEM text, plain or encrypted, that stock `openssl pkey` reads.
//!
//! Plain is PKCS#8 version 1 (RFC 5208, RFC 8410 §7): version 2 (RFC 5958) adds the public key, which OpenSSL
//! 3.0 refuses to read. Encrypted is PBES2 (RFC 8018 §6.2) with scrypt (RFC 7914) and AES-256-CBC.
//!
//! CBC does not authenticate: a wrong passphrase shows only in that what comes out is no PKCS#8. So a damaged
//! file and a wrong passphrase cannot be told apart, and the error says so.

use std::{fmt, io, path::PathBuf};

use ed25519_dalek::pkcs8::{ALGORITHM_ID, ALGORITHM_OID};
use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument,
    der::{asn1::OctetStringRef, pem::PemLabel},
    pkcs5::{
        pbes2::{Kdf, Parameters},
        scrypt,
    },
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::SecretKey;

/// scrypt's cost for what we write: N = 2^14, r = 8, p = 5, 16 MiB and a fraction of a second. Of the equally
/// strong settings that OWASP names it is the largest that fits the 32 MiB OpenSSL allows scrypt.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 5;

/// The most memory a file may make scrypt take (128·N·r bytes).
const SCRYPT_MEMORY_MAX: u64 = 256 << 20;
/// The most lanes a file may make scrypt compute, one after the other.
const SCRYPT_P_MAX: u16 = 32;
/// The most iterations a file may ask of PBKDF2.
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// Within the private key's OCTET STRING the seed stands in another one (RFC 8410 §7): its tag and length.
const SEED_HEADER: [u8; 2] = [0x04, 32];

/// What is wrong with a key file, and which one. The culprit is the operator.
#[derive(Debug, Error)]
pub struct KeyFileError {
    /// The file; `None` for PEM text that came from elsewhere.
    pub path: Option<PathBuf>,
    /// What is wrong, and what to do.
    #[source]
    pub problem: KeyFileProblem,
}

/// What is wrong with a key file, and what to do about it.
#[derive(Debug, Error)]
pub enum KeyFileProblem {
    /// The operating system refuses.
    #[error("cannot be {action}: {error}")]
    Io {
        /// What was tried, as a participle.
        action: &'static str,
        /// Why it did not succeed.
        error: io::Error,
    },
    /// Something is at the path already; keys are never overwritten.
    #[error("is there already; a key is never overwritten: move the file away, or choose another path")]
    Exists,
    /// Not a regular file.
    #[error("is not a regular file")]
    NotAFile,
    /// Others than the owner may do something with it.
    #[error("has mode {mode:04o}: others than its owner can get at it; run `chmod 600` on it")]
    Permissions {
        /// The file's permission bits.
        mode: u32,
    },
    /// Larger than any key file.
    #[error("is larger than {max} bytes, which no key file is")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// Not PEM, or not PKCS#8 within.
    #[error("is not a PKCS#8 PEM file ({reason}); `openssl genpkey -algorithm ed25519` makes one")]
    Malformed {
        /// The parser's words.
        reason: String,
    },
    /// PEM of something else.
    #[error("holds a {label:?}, not a PKCS#8 private key; `openssl pkcs8 -topk8` converts private keys")]
    WrongLabel {
        /// What the PEM says it holds.
        label: String,
    },
    /// A private key of another algorithm.
    #[error(
        "holds a key of algorithm {oid}, not an Ed25519 key; `openssl genpkey -algorithm ed25519` makes one"
    )]
    NotEd25519 {
        /// The algorithm's object identifier.
        oid: ObjectIdentifier,
    },
    /// PKCS#8 version 2.
    #[error(
        "is PKCS#8 version 2, with the public key in it, which OpenSSL 3.0 cannot read; \
         export the key as PKCS#8 version 1, without its public key"
    )]
    Version2,
    /// Encrypted, and no passphrase was given.
    #[error("is encrypted and needs a passphrase")]
    PassphraseMissing,
    /// An empty passphrase, most likely a variable that is not set.
    #[error("cannot be protected by an empty passphrase; give one, or leave the key unencrypted")]
    PassphraseEmpty,
    /// The passphrase is not the one it was encrypted with, or the file is damaged; nobody can tell which.
    #[error("does not open with this passphrase: it is the wrong one, or the file is damaged")]
    WrongPassphrase,
    /// A passphrase was given and the file is not encrypted.
    #[error("is not encrypted though a passphrase was given; encrypt it, or give no passphrase")]
    NotEncrypted,
    /// Encrypted in a way we do not read.
    #[error(
        "is encrypted in a way that is not supported ({reason}); \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256` encrypts it in one that is"
    )]
    Encryption {
        /// What about it.
        reason: String,
    },
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "key file {} {}", path.display(), self.problem),
            None => write!(f, "the key {}", self.problem),
        }
    }
}

impl From<KeyFileProblem> for KeyFileError {
    fn from(problem: KeyFileProblem) -> Self {
        Self { path: None, problem }
    }
}

impl SecretKey {
    /// The key as PKCS#8 version 1 PEM, encrypted if there is a passphrase.
    ///
    /// # Errors
    ///
    /// [`KeyFileProblem::PassphraseEmpty`].
    ///
    /// # Panics
    ///
    /// If the operating system gives no randomness.
    pub fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, KeyFileError> {
        let plain = plain_der(self);
        let (label, document) = match passphrase {
            None => (PrivateKeyInfoRef::PEM_LABEL, plain),
            Some("") => return Err(KeyFileProblem::PassphraseEmpty.into()),
            Some(passphrase) => (EncryptedPrivateKeyInfoRef::PEM_LABEL, encrypt(&plain, passphrase)),
        };
        Ok(document.to_pem(label, LineEnding::LF).expect("DER of fixed size has a PEM form"))
    }

    /// The key in a PKCS#8 version 1 PEM text, decrypted with the passphrase.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] without a path: not PEM, not PKCS#8 version 1, not Ed25519; encrypted and no
    /// passphrase or the wrong one; a passphrase and not encrypted.
    pub fn from_pem(pem: &str, passphrase: Option<&str>) -> Result<Self, KeyFileError> {
        let (label, document) = read_pem(pem)?;
        match (label, passphrase) {
            (Label::Plain, None) => Ok(ed25519_key(&parse_plain(&document)?)?),
            (Label::Plain, Some(_)) => Err(KeyFileProblem::NotEncrypted.into()),
            (Label::Encrypted, None) => Err(KeyFileProblem::PassphraseMissing.into()),
            (Label::Encrypted, Some(passphrase)) => {
                let plain = decrypt(&document, passphrase)?;
                let info = parse_plain(&plain).map_err(|_| KeyFileProblem::WrongPassphrase)?;
                Ok(ed25519_key(&info)?)
            }
        }
    }
}

/// Whether a PEM text is an encrypted key.
pub(crate) fn is_encrypted(pem: &str) -> Result<bool, KeyFileProblem> {
    Ok(read_pem(pem)?.0 == Label::Encrypted)
}

/// The two kinds of PEM we read.
#[derive(PartialEq, Eq)]
enum Label {
    Plain,
    Encrypted,
}

fn read_pem(pem: &str) -> Result<(Label, SecretDocument), KeyFileProblem> {
    // The label first: a PEM of another kind may not hold DER at all, and its label says more than the
    // parser.
    let label = match pkcs8::der::pem::decode_label(pem.as_bytes()).map_err(malformed)? {
        PrivateKeyInfoRef::PEM_LABEL => Label::Plain,
        EncryptedPrivateKeyInfoRef::PEM_LABEL => Label::Encrypted,
        other => return Err(KeyFileProblem::WrongLabel { label: other.to_owned() }),
    };
    let (_, document) = SecretDocument::from_pem(pem).map_err(malformed)?;
    Ok((label, document))
}

fn parse_plain(document: &SecretDocument) -> Result<PrivateKeyInfoRef<'_>, KeyFileProblem> {
    PrivateKeyInfoRef::try_from(document.as_bytes()).map_err(malformed)
}

fn ed25519_key(info: &PrivateKeyInfoRef<'_>) -> Result<SecretKey, KeyFileProblem> {
    if info.algorithm.oid != ALGORITHM_OID {
        return Err(KeyFileProblem::NotEd25519 { oid: info.algorithm.oid });
    }
    if info.public_key.is_some() {
        return Err(KeyFileProblem::Version2);
    }
    match info.private_key.as_bytes() {
        [tag, length, seed @ ..] if [*tag, *length] == SEED_HEADER && info.algorithm.parameters.is_none() => {
            let seed = seed.try_into().map_err(|_| malformed("its seed has not 32 bytes"))?;
            Ok(SecretKey::from_seed(seed))
        }
        _ => Err(malformed("no Ed25519 seed in it")),
    }
}

/// The key as PKCS#8 version 1 DER; by hand, for the library's own conversion leaves a copy of the seed in
/// memory.
fn plain_der(key: &SecretKey) -> SecretDocument {
    let seed = Zeroizing::new(key.seed());
    let mut nested = Zeroizing::new([0; SEED_HEADER.len() + 32]);
    let (header, content) = nested.split_at_mut(SEED_HEADER.len());
    header.copy_from_slice(&SEED_HEADER);
    content.copy_from_slice(seed.as_ref());
    OctetStringRef::new(nested.as_ref())
        .and_then(|seed| SecretDocument::encode_msg(&PrivateKeyInfoRef::new(ALGORITHM_ID, seed)))
        .expect("a key of fixed size has a DER form")
}

fn encrypt(plain: &SecretDocument, passphrase: &str) -> SecretDocument {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    getrandom::fill(&mut salt).expect("the operating system gives randomness");
    getrandom::fill(&mut iv).expect("the operating system gives randomness");
    let cost =
        scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P).expect("the constants are in scrypt's range");
    let parameters =
        Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).expect("a salt of 16 bytes is in range");
    PrivateKeyInfoRef::try_from(plain.as_bytes())
        .and_then(|info| info.encrypt_with_params(parameters, passphrase))
        .expect("DER that was just written reads back and encrypts")
}

fn decrypt(document: &SecretDocument, passphrase: &str) -> Result<SecretDocument, KeyFileProblem> {
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(malformed)?;
    let parameters = info.encryption_algorithm.pbes2().ok_or_else(|| unsupported("PBES1"))?;
    check_cost(&parameters.kdf)?;
    info.decrypt(passphrase).map_err(|error| {
        // Either the padding is wrong, or what came out from under it is no DER.
        let undecipherable = matches!(
            error,
            pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_)
        );
        if undecipherable { KeyFileProblem::WrongPassphrase } else { unsupported(error) }
    })
}

/// Refuses files whose key derivation would take all memory or time before it fails.
fn check_cost(kdf: &Kdf) -> Result<(), KeyFileProblem> {
    if let Some(scrypt) = kdf.scrypt() {
        let memory = scrypt.cost_parameter.saturating_mul(128).saturating_mul(scrypt.block_size.into());
        if !scrypt.cost_parameter.is_power_of_two()
            || memory > SCRYPT_MEMORY_MAX
            || scrypt.parallelization > SCRYPT_P_MAX
        {
            return Err(unsupported("scrypt's cost is out of bounds"));
        }
    }
    if kdf.pbkdf2().is_some_and(|pbkdf2| pbkdf2.iteration_count > PBKDF2_ITERATIONS_MAX) {
        return Err(unsupported("PBKDF2's iterations are out of bounds"));
    }
    Ok(())
}

fn malformed(error: impl fmt::Display) -> KeyFileProblem {
    KeyFileProblem::Malformed { reason: error.to_string() }
}

fn unsupported(reason: impl fmt::Display) -> KeyFileProblem {
    KeyFileProblem::Encryption { reason: reason.to_string() }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
