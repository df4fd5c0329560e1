//! The cryptography of Quorate: what a hash is, what a signature covers, when it holds, and how many together
//! make a certificate. It knows nothing of blocks, transactions or votes.
//!
//! - [`struct@Hash`]: SHA-256, and [`Domain`], the tag that keeps one kind of hashed or signed bytes from ever
//!   being taken for another.
//! - [`SecretKey`], [`PublicKey`], [`Signature`]: Ed25519 (RFC 8032). Made by `ed25519-dalek`.
//! - [`verify()`] and [`Batch`]: the one predicate, ZIP-215, by `ed25519-zebra`. Validators that disagree about
//!   a signature fork or halt a chain, and the usual verifiers do disagree on crafted input, each even with its
//!   own batch form; so nothing else in this project decides whether a signature holds.
//! - [`Signers`] and [`MultiSignature`]: a bitmap of validators and their signatures over one message.
//! - [`merkle`]: the tree of RFC 6962.
//! - [`codec`]: borsh with exactly one encoding for each value.
//! - [`hex_bytes`], [`to_hex`], [`from_hex`]: how bytes are shown.
//! - `model` (feature `model-signatures`, for simulations alone): a keyed hash in the place of signatures.
//! - [`key_file`]: PKCS#8 PEM files that stock `openssl pkey` reads.
//! - [`durable`]: what makes a file's name last, for key files and all others.
//!
//! Invariants every module keeps: decoding never panics and never allocates more than a small multiple of its
//! input; what decodes encodes to the same bytes; a secret is never printed and is wiped when dropped.

mod bytes;
mod certificate;
pub mod codec;
mod domain;
pub mod durable;
#[cfg(test)]
mod fuzz;
mod hash;
pub mod hex_bytes;
mod key;
#[cfg(unix)]
pub mod key_file;
pub mod merkle;
#[cfg(feature = "model-signatures")]
pub mod model;
mod pem;
mod verify;

pub use certificate::{CertificateError, MultiSignature, Signers};
pub use codec::{DecodeError, decode, encode};
pub use domain::Domain;
pub use hash::Hash;
pub use hex_bytes::{HexError, from_hex, to_hex};
pub use key::{KeyError, PublicKey, SecretKey, Signature};
#[cfg(unix)]
pub use key_file::{is_key_file_encrypted, read_key_file, write_key_file};
pub use merkle::MerkleProof;
pub use pem::{KeyFileError, KeyFileProblem};
pub use verify::{Batch, verify};
