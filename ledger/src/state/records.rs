//! What the state is made of.
//!
//! Discriminants are part of the format; 2 is kept for locks.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Hash, PublicKey, encode};

use crate::bounded;
use crate::epoch::{Approval, EpochRecord};
use crate::parameters::Parameters;
use crate::primitives::{Account, Amount, Version};
use crate::validators::ValidatorSet;

/// What names a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum RecordKey {
    /// An account's balance.
    Account(Account) = 0,
    /// A key that applications set.
    Key(#[borsh(deserialize_with = "bounded::key")] Vec<u8>) = 1,
    /// The validator set in force.
    Validators = 3,
    /// The parameters in force.
    Parameters = 4,
    /// The open approval of a validator.
    Approval(Account) = 5,
    /// The epoch in force.
    Epoch = 6,
}

/// A record, of the same kind as its key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Record {
    /// Under [`RecordKey::Account`]. An account whose balance is 0 has no record, so that an emptied account and
    /// one that never was leave the same state.
    Account {
        /// What it holds, above 0.
        balance: Amount,
    } = 0,
    /// Under [`RecordKey::Key`].
    Key {
        /// Who created it and alone may change it.
        owner: Account,
        /// Which operation set it last.
        version: Version,
        /// What it is set to.
        #[borsh(deserialize_with = "bounded::value")]
        value: Vec<u8>,
    } = 1,
    /// Under [`RecordKey::Validators`].
    Validators(ValidatorSet) = 3,
    /// Under [`RecordKey::Parameters`].
    Parameters(Box<Parameters>) = 4,
    /// Under [`RecordKey::Approval`].
    Approval(Approval) = 5,
    /// Under [`RecordKey::Epoch`].
    Epoch(EpochRecord) = 6,
}

impl RecordKey {
    /// Where the record stands in the trie: the SHA-256 of the key's encoding, read from its most significant bit.
    #[must_use]
    pub fn path(&self) -> Hash {
        Hash::of(&encode(self))
    }

    /// The key of its row in the store: the discriminant and the bytes, without the length that the encoding puts
    /// between them, so that rows are sorted as keys are and can be listed by prefix.
    #[must_use]
    pub fn row(&self) -> Vec<u8> {
        match self {
            RecordKey::Account(account) => [&[0][..], account.0.as_bytes()].concat(),
            RecordKey::Key(key) => [&[1][..], key].concat(),
            RecordKey::Validators => vec![3],
            RecordKey::Parameters => vec![4],
            RecordKey::Approval(validator) => [&[5][..], validator.0.as_bytes()].concat(),
            RecordKey::Epoch => vec![6],
        }
    }

    /// The key a row of the store is for; `None` if it is not one of [`RecordKey::row`].
    #[must_use]
    pub fn from_row(row: &[u8]) -> Option<Self> {
        let (discriminant, rest) = row.split_first()?;
        match (discriminant, rest.len()) {
            (0, 32) => Some(RecordKey::Account(account_of(rest))),
            (1, _) => Some(RecordKey::Key(rest.to_vec())),
            (3, 0) => Some(RecordKey::Validators),
            (4, 0) => Some(RecordKey::Parameters),
            (5, 32) => Some(RecordKey::Approval(account_of(rest))),
            (6, 0) => Some(RecordKey::Epoch),
            _ => None,
        }
    }
}

/// The account whose 32 bytes end a row's key.
fn account_of(bytes: &[u8]) -> Account {
    Account(PublicKey::from_bytes(bytes.try_into().expect("32 bytes")))
}

impl Record {
    /// What the trie commits to beside the path: the SHA-256 of the record's encoding.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&encode(self))
    }

    /// True when this is the kind of record that `key` names.
    #[must_use]
    pub fn belongs_to(&self, key: &RecordKey) -> bool {
        match key {
            RecordKey::Account(_) => matches!(self, Record::Account { .. }),
            RecordKey::Key(_) => matches!(self, Record::Key { .. }),
            RecordKey::Validators => matches!(self, Record::Validators(_)),
            RecordKey::Parameters => matches!(self, Record::Parameters(_)),
            RecordKey::Approval(_) => matches!(self, Record::Approval(_)),
            RecordKey::Epoch => matches!(self, Record::Epoch(_)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_crypto::decode;

    use super::*;
    use crate::primitives::{Epoch, Height};

    fn key() -> impl Strategy<Value = RecordKey> {
        prop_oneof![
            any::<[u8; 32]>().prop_map(|bytes| RecordKey::Account(Account(PublicKey::from_bytes(bytes)))),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(RecordKey::Key),
            Just(RecordKey::Validators),
            Just(RecordKey::Parameters),
            any::<[u8; 32]>().prop_map(|bytes| RecordKey::Approval(Account(PublicKey::from_bytes(bytes)))),
            Just(RecordKey::Epoch),
        ]
    }

    proptest! {
        #[test]
        fn rows_and_encodings_read_back_and_sort_as_keys(one in key(), other in key()) {
            prop_assert_eq!(RecordKey::from_row(&one.row()), Some(one.clone()));
            prop_assert_eq!(decode::<RecordKey>(&encode(&one)).expect("what was encoded"), one.clone());
            prop_assert_eq!(one.row().cmp(&other.row()), one.cmp(&other));
        }
    }

    #[test]
    fn rows_of_no_kind_are_refused() {
        for row in [&[][..], &[0], &[0; 32], &[2], &[3, 0], &[5], &[5; 32], &[6, 6], &[7]] {
            assert_eq!(RecordKey::from_row(row), None, "{row:?}");
        }
    }

    #[test]
    fn discriminants_are_those_of_the_format() {
        assert_eq!(encode(&RecordKey::Key(b"k".to_vec())), [1, 1, 0, 0, 0, b'k']);
        assert_eq!(encode(&RecordKey::Epoch), [6]);
        assert_eq!(encode(&Record::Account { balance: 1 })[..2], [0, 1]);
        let epoch = Record::Epoch(EpochRecord { number: Epoch(1), start: Height(2), ends: None });
        assert_eq!(encode(&epoch)[0], 6);
    }
}
