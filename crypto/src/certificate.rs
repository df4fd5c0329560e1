//! Certificates: a bitmap of signers and their signatures over one message (`docs/pbft.md §2`).
//!
//! Signatures stand in the order of the bits, one for each, so a duplicate signer cannot be written down.
//! What the message says, and how many signers are enough, is the caller's affair.

use std::{collections::BTreeMap, io};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Batch, PublicKey, Signature};

/// A set of validators, by index, out of a known number of them.
///
/// Encoded as that number (u16) and a bit for each, validator `i` at bit `i % 8` of byte `i / 8`, the least
/// significant first; bits past the last validator must be 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signers {
    size: u16,
    bits: Vec<u8>,
}

impl Signers {
    /// Nobody yet, out of `n` validators.
    ///
    /// # Panics
    ///
    /// If `n` is above `u16::MAX`; validator sets are far smaller.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let size = u16::try_from(n).expect("a validator set has at most u16::MAX members");
        Self { size, bits: vec![0; n.div_ceil(8)] }
    }

    /// Adds a validator; `false` if it was there.
    ///
    /// # Panics
    ///
    /// If there is no validator of that index.
    pub fn insert(&mut self, index: usize) -> bool {
        assert!(index < self.size(), "validator {index} of {}", self.size);
        let fresh = !self.contains(index);
        self.bits[index / 8] |= 1 << (index % 8);
        fresh
    }

    /// Whether a validator is in the set; `false` for indices past the last.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// How many validators are in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bits.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// The validators in the set, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.size()).filter(|index| self.contains(*index))
    }

    /// How many validators there are to choose from.
    #[must_use]
    pub fn size(&self) -> usize {
        usize::from(self.size)
    }
}

impl std::fmt::Debug for Signers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()?;
        write!(f, " of {}", self.size)
    }
}

impl BorshSerialize for Signers {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        BorshSerialize::serialize(&self.size, writer)?;
        writer.write_all(&self.bits)
    }
}

impl BorshDeserialize for Signers {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let size = u16::deserialize_reader(reader)?;
        let mut signers = Self::new(usize::from(size));
        reader.read_exact(&mut signers.bits)?;
        let strays = match (signers.bits.last(), size % 8) {
            (None, _) | (_, 0) => 0,
            (Some(byte), used) => byte >> used,
        };
        if strays == 0 { Ok(signers) } else { Err(invalid("signers past the last validator")) }
    }
}

/// Signatures of several validators over one message.
///
/// In JSON `{"validators": n, "signers": [index…], "signatures": ["0x…"…]}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Plain", try_from = "Plain")]
pub struct MultiSignature {
    signers: Signers,
    /// One for each signer, in the same order.
    signatures: Vec<Signature>,
}

/// Why a [`MultiSignature`] is not what a quorum of these validators signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Made for a validator set of another size.
    #[error("made for {found} validators, there are {expected}")]
    WrongSize {
        /// Size of the validator set.
        expected: usize,
        /// Size the bitmap was made for.
        found: usize,
    },
    /// Fewer signers than the quorum.
    #[error("{found} signers, a quorum is {needed}")]
    NoQuorum {
        /// The quorum.
        needed: usize,
        /// Signers there are.
        found: usize,
    },
    /// A signature does not hold. One is enough to refuse the whole, though the others may be a quorum.
    #[error("the signature of validator {signer} does not hold")]
    BadSignature {
        /// Index of the first such signer.
        signer: usize,
    },
}

impl MultiSignature {
    /// From votes in any order, out of `n` validators. The first vote of a validator counts.
    ///
    /// # Panics
    ///
    /// If a vote is of no validator among `n`, or `n` is above `u16::MAX`.
    #[must_use]
    pub fn from_votes(n: usize, votes: impl IntoIterator<Item = (usize, Signature)>) -> Self {
        let mut signers = Signers::new(n);
        let votes: BTreeMap<usize, Signature> =
            votes.into_iter().filter(|(index, _)| signers.insert(*index)).collect();
        Self { signers, signatures: votes.into_values().collect() }
    }

    /// Who signed.
    #[must_use]
    pub fn signers(&self) -> &Signers {
        &self.signers
    }

    /// The signatures, in the order of the signers.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The signature of one validator, if it signed.
    #[must_use]
    pub fn of(&self, signer: usize) -> Option<&Signature> {
        let place = self.signers.iter().position(|it| it == signer)?;
        self.signatures.get(place)
    }

    /// Checks that at least `quorum` of the validators with these keys signed the message, and that all
    /// signatures hold.
    ///
    /// # Errors
    ///
    /// [`CertificateError`], the first that applies; counting comes before arithmetic.
    pub fn verify(&self, keys: &[PublicKey], quorum: usize, message: &[u8]) -> Result<(), CertificateError> {
        if self.signers.size() != keys.len() {
            return Err(CertificateError::WrongSize { expected: keys.len(), found: self.signers.size() });
        }
        if self.signatures.len() < quorum {
            return Err(CertificateError::NoQuorum { needed: quorum, found: self.signatures.len() });
        }
        let mut batch = Batch::default();
        for (signer, signature) in self.signers.iter().zip(&self.signatures) {
            batch.push_ref(&keys[signer], message, signature);
        }
        match self.signers.iter().zip(batch.verify()).find(|(_, holds)| !holds) {
            None => Ok(()),
            Some((signer, _)) => Err(CertificateError::BadSignature { signer }),
        }
    }
}

impl BorshSerialize for MultiSignature {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        BorshSerialize::serialize(&self.signers, writer)?;
        BorshSerialize::serialize(&self.signatures, writer)
    }
}

impl BorshDeserialize for MultiSignature {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let signers = Signers::deserialize_reader(reader)?;
        // The number is checked before anything of that number is read.
        let count = u32::deserialize_reader(reader)?;
        if usize::try_from(count).ok() != Some(signers.count()) {
            return Err(invalid("not one signature for each signer"));
        }
        let signatures =
            signers.iter().map(|_| Signature::deserialize_reader(reader)).collect::<Result<_, _>>()?;
        Ok(Self { signers, signatures })
    }
}

/// The form in JSON, where a list of indices reads better than a bitmap.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    validators: u16,
    signers: Vec<u16>,
    signatures: Vec<Signature>,
}

impl From<MultiSignature> for Plain {
    fn from(whole: MultiSignature) -> Self {
        let signers =
            (0..whole.signers.size).filter(|index| whole.signers.contains(usize::from(*index))).collect();
        Self { validators: whole.signers.size, signers, signatures: whole.signatures }
    }
}

impl TryFrom<Plain> for MultiSignature {
    type Error = &'static str;

    fn try_from(plain: Plain) -> Result<Self, Self::Error> {
        if plain.signers.len() != plain.signatures.len() {
            return Err("not one signature for each signer");
        }
        if !plain.signers.is_sorted_by(|one, next| one < next) {
            return Err("signers must be in rising order");
        }
        if plain.signers.last().is_some_and(|last| *last >= plain.validators) {
            return Err("signers past the last validator");
        }
        let votes = plain.signers.into_iter().map(usize::from).zip(plain.signatures);
        Ok(Self::from_votes(usize::from(plain.validators), votes))
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests;
