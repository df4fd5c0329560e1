//! What the genesis makes of the state: height 0, whose hash is the chain id (`docs/pbft.md §3`).

use std::collections::BTreeMap;

use quorate_crypto::Hash;
use thiserror::Error;

use super::ExecutionOutcome;
use crate::certificate::CheckpointPayload;
use crate::epoch::{EpochRecord, EpochStart};
use crate::parameters::Parameters;
use crate::primitives::{Account, Amount, Epoch, Height, UnixMillis};
use crate::receipt::receipts_root;
use crate::state::{Record, RecordKey, Trie};
use crate::tip::Tip;
use crate::validators::ValidatorSet;

/// What a chain starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisState {
    /// The hash of the genesis document, which is the chain id and the hash of "block" 0.
    pub chain: Hash,
    /// The time of height 0; the first block is later.
    pub time: UnixMillis,
    /// Who votes first.
    pub validators: ValidatorSet,
    /// The parameters in force first.
    pub parameters: Parameters,
    /// Who holds how much. An amount of 0 makes no record.
    pub accounts: Vec<(Account, Amount)>,
}

/// A genesis that cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GenesisStateError {
    /// An account is named twice.
    #[error("the genesis names account {account} twice")]
    DuplicateAccount {
        /// Which.
        account: Account,
    },
    /// No balance may ever overflow, so their sum must fit.
    #[error("the balances of the genesis add up to more than 2^128 - 1")]
    TooManyCoins,
}

impl GenesisState {
    /// The records of height 0.
    ///
    /// # Errors
    /// An account named twice, or balances whose sum does not fit [`Amount`].
    pub fn records(&self) -> Result<BTreeMap<RecordKey, Record>, GenesisStateError> {
        let mut records = BTreeMap::new();
        let mut coins: Amount = 0;
        for &(account, balance) in &self.accounts {
            coins = coins.checked_add(balance).ok_or(GenesisStateError::TooManyCoins)?;
            if records.insert(RecordKey::Account(account), Record::Account { balance }).is_some() {
                return Err(GenesisStateError::DuplicateAccount { account });
            }
        }
        records.retain(|_, record| *record != Record::Account { balance: 0 });
        records.insert(RecordKey::Validators, Record::Validators(self.validators.clone()));
        records.insert(RecordKey::Parameters, Record::Parameters(Box::new(self.parameters.clone())));
        let epoch = EpochRecord { number: Epoch(0), start: Height(0), ends: None };
        records.insert(RecordKey::Epoch, Record::Epoch(epoch));
        Ok(records)
    }

    /// The CHECKPOINT payload of height 0, which block 1 anchors without a certificate.
    ///
    /// # Errors
    /// As [`GenesisState::records`].
    pub fn checkpoint(&self) -> Result<CheckpointPayload, GenesisStateError> {
        let records = self.records()?;
        let leaves = records.iter().map(|(key, record)| (key.path(), record.hash()));
        Ok(CheckpointPayload {
            epoch: Epoch(0),
            height: Height(0),
            block: self.chain,
            state_root: Trie::build(Height(0), leaves, 0).root(),
            receipts_root: receipts_root(&[]),
            next_validators: self.validators.hash(),
        })
    }

    /// The first epoch.
    #[must_use]
    pub fn epoch(&self) -> EpochStart {
        EpochStart {
            number: Epoch(0),
            start: Height(0),
            below: self.chain,
            validators: self.validators.clone(),
            parameters: self.parameters.clone(),
        }
    }

    pub(super) fn tip(&self, checkpoint: CheckpointPayload) -> Tip {
        Tip {
            height: Height(0),
            hash: self.chain,
            time: self.time,
            anchor: checkpoint.anchor(),
            outcome: ExecutionOutcome { checkpoint, due: None, epoch_ends: None },
            base_height: Height(0),
            base: None,
            stable: checkpoint.anchor(),
            stable_certificate: None,
        }
    }
}
