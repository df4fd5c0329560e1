//! What an approval carries: the change it is for, and for each new validator the proof that it is ready
//! (`docs/pbft.md §7`).

use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Domain, Hash, PublicKey, SecretKey, Signature, codec, verify};
use serde::{Deserialize, Serialize};

use crate::epoch::EpochChange;
use crate::parameters::{ParameterError, Parameters};
use crate::primitives::Epoch;
use crate::validators::{VALIDATORS_MAX, ValidatorSet, ValidatorSetError};

/// The change a validator approves of, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[repr(u8)]
pub enum ProposedChange {
    /// All validators from then on, in any order: it is the set that counts.
    Validators(#[borsh(deserialize_with = "proposed_validators")] Vec<ProposedValidator>) = 0,
    /// All parameters from then on.
    Parameters(Box<Parameters>) = 1,
}

/// One validator of a proposed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposedValidator {
    /// Its key.
    pub key: PublicKey,
    /// That it is ready: demanded of a key that is not in the set in force, and not looked at for others.
    #[serde(default)]
    pub readiness: Option<Readiness>,
}

/// A new validator's statement that it holds its key and has caught up: made by its running node, since only that has
/// executed the checkpoint it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    /// Hash of a CHECKPOINT that a recent header anchors.
    pub checkpoint: Hash,
    /// The new key's, over chain id, epoch and that hash.
    pub signature: Signature,
}

/// Why a proposed change can never be approved: its author's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposedChangeError {
    /// The keys are no validator set.
    #[error(transparent)]
    Validators(#[from] ValidatorSetError),
    /// The parameters are out of bounds or at odds with each other.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
}

impl ProposedChange {
    /// What the change comes to: the set in its order, without statements, or the parameters.
    ///
    /// # Errors
    /// What no epoch can have.
    pub fn resulting(&self) -> Result<EpochChange, ProposedChangeError> {
        match self {
            ProposedChange::Validators(proposed) => {
                let keys = proposed.iter().map(|validator| validator.key).collect();
                Ok(EpochChange::Validators(ValidatorSet::new(keys)?))
            }
            ProposedChange::Parameters(parameters) => {
                parameters.check()?;
                Ok(EpochChange::Parameters(parameters.clone()))
            }
        }
    }
}

impl Readiness {
    /// The statement of `key`'s holder for an approval in `epoch`. `checkpoint` is the hash of one that a header
    /// anchors and that the signer has executed: the anchor of the tip is both.
    #[must_use]
    pub fn sign(chain: &Hash, epoch: Epoch, checkpoint: Hash, key: &SecretKey) -> Self {
        Readiness { checkpoint, signature: key.sign(Domain::Readiness, chain, &(epoch, checkpoint)) }
    }

    /// Whether it is `key`'s, on this chain, for this epoch.
    #[must_use]
    pub fn verify(&self, chain: &Hash, epoch: Epoch, key: &PublicKey) -> bool {
        verify(key, &Domain::Readiness.message(chain, &(epoch, self.checkpoint)), &self.signature)
    }
}

fn proposed_validators<R: Read>(reader: &mut R) -> IoResult<Vec<ProposedValidator>> {
    codec::bounded_list(reader, VALIDATORS_MAX, "validators", ProposedValidator::deserialize_reader)
}
