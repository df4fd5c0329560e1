//! Ed25519 keys and signatures (RFC 8032 §5.1).
//!
//! A [`PublicKey`] or [`Signature`] is bytes as they came: whether a signature holds is for
//! [`verify`](crate::verify()) alone to say, and it accepts any bytes. Where a key *enters* the chain
//! (genesis, validator change, sender) [`PublicKey::check`] refuses those nobody can own: under a key of
//! small order everybody can sign anything.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{Domain, Hash, bytes::hex_newtype};

/// The 32 bytes of an Ed25519 public key, or any other 32 bytes; shown as `0x` hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PublicKey([u8; 32]);

hex_newtype!(PublicKey, 32);

/// Why 32 bytes may not serve as the key of an account or a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// They encode no point of the curve, so no signature can ever hold.
    #[error("not a point of the curve")]
    NotAPoint,
    /// They encode one of the eight points of small order, for which anybody can make signatures.
    #[error("a point of small order, for which anybody can make signatures")]
    SmallOrder,
}

impl PublicKey {
    /// Refuses keys nobody can own. To be asked where a key enters the chain; not part of verifying a
    /// signature.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the bytes are no point of the curve or one of small order, in any encoding.
    pub fn check(&self) -> Result<(), KeyError> {
        #[cfg(feature = "model-signatures")]
        if crate::model::is_on() {
            return crate::model::remembered(self, Self::check_point);
        }
        self.check_point()
    }

    fn check_point(&self) -> Result<(), KeyError> {
        let point = VerifyingKey::from_bytes(&self.0).map_err(|_| KeyError::NotAPoint)?;
        if point.is_weak() { Err(KeyError::SmallOrder) } else { Ok(()) }
    }
}

/// The 64 bytes `R ‖ S` of an Ed25519 signature, or any other 64 bytes; shown as `0x` hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature([u8; 64]);

hex_newtype!(Signature, 64);

/// An Ed25519 private key. Never printed; wiped from memory when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Panics
    ///
    /// If the operating system gives no randomness; there is no safe way on.
    #[must_use]
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).expect("the operating system gives randomness");
        Self(SigningKey::from_bytes(&seed))
    }

    /// The key of a seed (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(SigningKey::from_bytes(&seed))
    }

    /// The seed: the secret itself, for what must hold the key in another form. The caller wipes it.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a payload for a domain and a chain: `tag ‖ chain id ‖ borsh(payload)`.
    #[must_use]
    pub fn sign<T: BorshSerialize + ?Sized>(&self, domain: Domain, chain: &Hash, payload: &T) -> Signature {
        self.sign_bytes(&domain.message(chain, payload))
    }

    /// Signs bytes that already carry their domain, as [`Domain::message`] makes them.
    #[must_use]
    pub fn sign_bytes(&self, message: &[u8]) -> Signature {
        #[cfg(feature = "model-signatures")]
        if crate::model::is_on() {
            return crate::model::sign(&self.public(), message);
        }
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
