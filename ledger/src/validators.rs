//! Who votes, and how many votes decide (`docs/pbft.md §1`).

use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Domain, Hash, PublicKey, codec};
use serde::{Deserialize, Serialize};

use crate::bounded::invalid;
use crate::primitives::ValidatorIndex;

/// Most validators of a set.
pub const VALIDATORS_MAX: usize = 200;

/// The validators of an epoch, ordered by key bytes; a validator's index is its place in that order.
///
/// A value of this type has 1 to [`VALIDATORS_MAX`] distinct usable keys, however it came about.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, Serialize, Deserialize)]
#[serde(try_from = "Vec<PublicKey>")]
pub struct ValidatorSet(Vec<PublicKey>);

/// Why keys are not a validator set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// Nobody would vote.
    #[error("a validator set needs at least one key")]
    Empty,
    /// More than votes are counted for.
    #[error("{count} validators, at most {VALIDATORS_MAX} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// One validator, one vote.
    #[error("the validator key {key} occurs twice")]
    Duplicate {
        /// The key in question.
        key: PublicKey,
    },
    /// Not a point of the curve, or one of small order, for which anybody can make signatures.
    #[error("the validator key {key} is not a usable key")]
    BadKey {
        /// The key in question.
        key: PublicKey,
    },
}

impl ValidatorSet {
    /// Orders and checks keys.
    ///
    /// # Errors
    /// See [`ValidatorSetError`].
    pub fn new(mut keys: Vec<PublicKey>) -> Result<Self, ValidatorSetError> {
        if keys.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        if keys.len() > VALIDATORS_MAX {
            return Err(ValidatorSetError::TooMany { count: keys.len() });
        }
        keys.sort_unstable_by_key(|key| *key.as_bytes());
        if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ValidatorSetError::Duplicate { key: pair[0] });
        }
        match keys.iter().find(|key| key.check().is_err()) {
            Some(key) => Err(ValidatorSetError::BadKey { key: *key }),
            None => Ok(ValidatorSet(keys)),
        }
    }

    /// The keys in order.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }

    /// How many validators there are: 1 to [`VALIDATORS_MAX`].
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of a key, if it is one of the set.
    #[must_use]
    pub fn index_of(&self, key: &PublicKey) -> Option<ValidatorIndex> {
        let place = self.0.binary_search_by_key(key.as_bytes(), |key| *key.as_bytes()).ok()?;
        Some(ValidatorIndex(u16::try_from(place).expect("at most VALIDATORS_MAX keys")))
    }

    /// The key at a place, if there is one.
    #[must_use]
    pub fn key(&self, index: ValidatorIndex) -> Option<&PublicKey> {
        self.0.get(index.as_usize())
    }

    /// The name of the set, as a CHECKPOINT carries that of the set that follows.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Domain::ValidatorSet.hash(&[&codec::encode(self)])
    }

    /// How many votes decide.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        Quorum::of(self.0.len())
    }
}

impl TryFrom<Vec<PublicKey>> for ValidatorSet {
    type Error = ValidatorSetError;

    fn try_from(keys: Vec<PublicKey>) -> Result<Self, ValidatorSetError> {
        ValidatorSet::new(keys)
    }
}

impl BorshDeserialize for ValidatorSet {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let ValidatorSet(keys) = approved(reader)?;
        ValidatorSet::new(keys).map_err(|error| invalid(error.to_string()))
    }
}

/// Reads the set in an approval, whose keys were found usable before anybody could approve of them: to ask again would
/// cost a millisecond for the largest set, and counting approvals reads one for each validator.
pub(crate) fn approved<R: Read>(reader: &mut R) -> IoResult<ValidatorSet> {
    let keys = codec::bounded_list(reader, VALIDATORS_MAX, "validators", PublicKey::deserialize_reader)?;
    if let Some(pair) = keys.windows(2).find(|pair| pair[0].as_bytes() >= pair[1].as_bytes()) {
        return Err(invalid(format!("the validator key {} is out of order", pair[1])));
    }
    if keys.is_empty() { Err(invalid(ValidatorSetError::Empty.to_string())) } else { Ok(ValidatorSet(keys)) }
}

/// How many of `n` validators may lie, and how many votes two of which always share an honest voter.
///
/// `f = (n - 1) / 3`, `q = (n + f) / 2 + 1`, in whole numbers: `2f + 1` when `n = 3f + 1`, and right for every other
/// `n` too, where a literal `2f + 1` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    n: usize,
    f: usize,
    q: usize,
}

impl Quorum {
    /// The numbers for a set of `n`.
    ///
    /// # Panics
    /// When `n` is 0.
    #[must_use]
    pub fn of(n: usize) -> Quorum {
        assert!(n > 0, "a quorum of nobody");
        let f = (n - 1) / 3;
        Quorum { n, f, q: (n + f) / 2 + 1 }
    }

    /// How many validators there are.
    #[must_use]
    pub fn n(self) -> usize {
        self.n
    }

    /// How many of them may be Byzantine.
    #[must_use]
    pub fn f(self) -> usize {
        self.f
    }

    /// How many votes decide.
    #[must_use]
    pub fn q(self) -> usize {
        self.q
    }
}

#[cfg(test)]
mod tests;
