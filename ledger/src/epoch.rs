//! Epochs: spans of heights with one validator set and one set of parameters (`docs/pbft.md §7`).
//!
//! ```text
//!   epoch e                                                  epoch e + 1
//!   … ── h ──────────────────────── h + W ──┃── h + W + 1 ── …
//!        │ the approval that makes    │     ┃    │ start: anchors exactly the checkpoint of h + W
//!        │ a quorum: decided          │
//!        └ outcomes say `epoch_ends`  └ applied: records, `next_validators` of its CHECKPOINT
//! ```
//!
//! Between the two nothing above `h + W` is proposed, so no block is ever decided by a set that did not know that it
//! was the one to decide.

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Domain, Hash, codec};

use crate::parameters::Parameters;
use crate::primitives::{Epoch, Height, Version};
use crate::validators::{self, ValidatorSet};

/// An epoch: who decides its blocks, by which rules, from where on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochStart {
    /// Its number.
    pub number: Epoch,
    /// The first height whose block its validators decide; 0, the genesis itself, for the first.
    pub start: Height,
    /// Hash of the last block of the epoch before; the chain id for the first.
    pub below: Hash,
    /// Who votes in it.
    pub validators: ValidatorSet,
    /// The parameters in force.
    pub parameters: Parameters,
}

impl EpochStart {
    /// The block that everything in the epoch stands on and that needs no certificate in it: the last of the epoch
    /// before; in the first the genesis.
    #[must_use]
    pub fn base(&self) -> (Height, Hash) {
        (Height(self.start.0.saturating_sub(1)), self.below)
    }

    /// The epoch that follows this one when `change` takes effect with the block `below` at height `last`.
    ///
    /// # Panics
    /// When the lifetime of transactions would change: it is fixed by the genesis, since lowering it would let a
    /// forgotten transaction in again.
    #[must_use]
    pub fn followed_by(&self, change: EpochChange, last: Height, below: Hash) -> EpochStart {
        let number =
            Epoch(self.number.0.checked_add(1).expect("each epoch has a block, and heights are u64"));
        let (validators, parameters) = match change {
            EpochChange::Validators(validators) => (validators, self.parameters.clone()),
            EpochChange::Parameters(parameters) => (self.validators.clone(), *parameters),
        };
        assert_eq!(
            parameters.transaction_lifetime_max_ms, self.parameters.transaction_lifetime_max_ms,
            "the lifetime of transactions is fixed by the genesis"
        );
        EpochStart { number, start: last.next(), below, validators, parameters }
    }
}

/// What the end of an epoch changes. Approvals count together when these are equal.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum EpochChange {
    /// Who votes from then on; the set in force is allowed, and makes a new epoch all the same.
    Validators(#[borsh(deserialize_with = "validators::approved")] ValidatorSet) = 0,
    /// The parameters from then on.
    Parameters(Box<Parameters>) = 1,
}

impl EpochChange {
    /// What names it in receipts: the hash of the set, as a CHECKPOINT's `next_validators`, or of the parameters.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            EpochChange::Validators(validators) => validators.hash(),
            EpochChange::Parameters(parameters) => Domain::Parameters.hash(&[&codec::encode(&**parameters)]),
        }
    }
}

/// What the state says of the epoch in force.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochRecord {
    /// Its number.
    pub number: Epoch,
    /// The first height it decides; 0, the genesis itself, for the first.
    pub start: Height,
    /// How it ends, once a quorum has decided that.
    pub ends: Option<EpochEnd>,
}

/// The end of an epoch that a quorum has decided.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochEnd {
    /// The last height of the epoch.
    pub last: Height,
    /// What takes effect with it.
    pub change: EpochChange,
}

/// A validator's open approval.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Approval {
    /// What it is for.
    pub change: EpochChange,
    /// Which operation gave it.
    pub given: Version,
}
