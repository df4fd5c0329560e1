//! The numbers and names of the chain, each its own type so that none is taken for another.

use std::fmt;
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::PublicKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::decimal;

/// A sum of the chain's coin in its smallest unit. A decimal string in JSON.
pub type Amount = u128;

macro_rules! number {
    ($(#[doc = $doc:literal])* $name:ident($inner:ty)) => {
        $(#[doc = $doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            BorshSerialize, BorshDeserialize, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Place of a block in the chain; the genesis stands at 0.
    Height(u64)
}
number! {
    /// Number of the term of one primary, from 0 in each epoch.
    View(u64)
}
number! {
    /// Number of a span of heights with one validator set and one set of parameters, from 0.
    Epoch(u64)
}
number! {
    /// Place of a validator in the ordered set of its epoch.
    ValidatorIndex(u16)
}
number! {
    /// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
    UnixMillis(u64)
}

impl Height {
    /// The height above this one.
    ///
    /// # Panics
    /// Past `u64::MAX`, which no chain reaches.
    #[must_use]
    pub fn next(self) -> Height {
        self.plus(1)
    }

    /// The height `count` above this one.
    ///
    /// # Panics
    /// Past `u64::MAX`, which no chain reaches.
    #[must_use]
    pub fn plus(self, count: u64) -> Height {
        Height(self.0.checked_add(count).expect("no chain reaches a height of 2^64"))
    }
}

impl Epoch {
    /// The epoch after this one.
    ///
    /// # Panics
    /// Past `u64::MAX`, which no chain reaches.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0.checked_add(1).expect("no chain reaches an epoch of 2^64"))
    }

    /// The epoch before this one; none before the first.
    #[must_use]
    pub fn previous(self) -> Option<Epoch> {
        self.0.checked_sub(1).map(Epoch)
    }
}

impl ValidatorIndex {
    /// The index as what slices are indexed by.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::from(self.0)
    }
}

impl UnixMillis {
    /// `millis` later, or the end of time.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        UnixMillis(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to here; 0 when `earlier` is not earlier.
    #[must_use]
    pub fn millis_since(self, earlier: UnixMillis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What owns coins and keys: an ed25519 public key, shown as bech32m (BIP-350) with the prefix `qr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Account(pub PublicKey);

/// The prefix of every address.
const ADDRESS_PREFIX: Hrp = Hrp::parse_unchecked("qr");

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<Bech32m>(ADDRESS_PREFIX, self.0.as_bytes())
            .expect("32 bytes are far below the code's length");
        f.pad(&text)
    }
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Mistyped: letters, case or checksum are wrong.
    #[error(
        "not an address, which starts with `qr1` and has no mistyped letter ({reason}); names are not understood"
    )]
    NotBech32m {
        /// What the decoder says.
        reason: String,
    },
    /// An address of something else.
    #[error("an address starts with `qr1`, this one with `{prefix}1`")]
    WrongPrefix {
        /// The prefix found.
        prefix: String,
    },
    /// Not 32 bytes.
    #[error("an address holds 32 bytes, this one {length}")]
    WrongLength {
        /// The number of bytes found.
        length: usize,
    },
}

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        let decoded = CheckedHrpstring::new::<Bech32m>(text)
            .map_err(|error| AccountError::NotBech32m { reason: error.to_string() })?;
        if decoded.hrp() != ADDRESS_PREFIX {
            return Err(AccountError::WrongPrefix { prefix: decoded.hrp().to_lowercase() });
        }
        let bytes: Vec<u8> = decoded.byte_iter().collect();
        let length = bytes.len();
        let key: [u8; 32] = bytes.try_into().map_err(|_| AccountError::WrongLength { length })?;
        let account = Account(PublicKey::from_bytes(key));
        // Five-bit letters leave room for padding that says nothing; only the spelling we write is an address.
        if !text.eq_ignore_ascii_case(&account.to_string()) {
            return Err(AccountError::NotBech32m { reason: "padding is not zero".to_owned() });
        }
        Ok(account)
    }
}

impl Serialize for Account {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Which operation last set a record: `height << 64 | index << 32 | operation`.
///
/// They only grow over the life of the chain, so that deleting and creating a record never brings an old version back,
/// which a counter per record would.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Version(pub u128);

impl Version {
    /// The version that operation `operation` of the transaction at `index` of the block at `height` gives.
    #[must_use]
    pub fn new(height: Height, index: u32, operation: u32) -> Self {
        Version(u128::from(height.0) << 64 | u128::from(index) << 32 | u128::from(operation))
    }

    /// The height in it.
    #[must_use]
    pub fn height(self) -> Height {
        Height((self.0 >> 64) as u64)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a version: a decimal number below 2^128")]
pub struct VersionError {
    /// What was given.
    pub text: String,
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        decimal::parse(text).map(Version).ok_or_else(|| VersionError { text: text.to_owned() })
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        decimal::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decimal::deserialize(deserializer).map(Version)
    }
}

#[cfg(test)]
mod tests;
