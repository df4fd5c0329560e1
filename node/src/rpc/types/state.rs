//! Records of the state, and who keeps it, by which rules.

use quorate_crypto::{Hash, PublicKey, Signature};
use quorate_ledger::{
    Account, Amount, Epoch, EpochChange, Height, Parameters, ValidatorIndex, Version, decimal,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, Bytes};

/// An account as it was after `height`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct AccountAnswer {
    /// The height after which this was so.
    #[schemars(with = "schema::Number")]
    pub(crate) height: Height,
    /// The account asked about.
    #[schemars(with = "schema::Address")]
    pub(crate) account: Account,
    /// What it has; `null` if there is no such account.
    #[serde(with = "optional_decimal")]
    #[schemars(with = "Option<schema::Decimal>")]
    pub(crate) balance: Option<Amount>,
}

/// A key as it was after `height`: all of `value`, `version` and `owner` are `null` if there is no such key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct KeyAnswer {
    /// The height after which this was so.
    #[schemars(with = "schema::Number")]
    pub(crate) height: Height,
    /// The key asked about.
    pub(crate) key: Bytes,
    /// Its value.
    pub(crate) value: Option<Bytes>,
    /// Names the operation that set it; it only grows over the life of the chain.
    #[schemars(with = "Option<schema::Decimal>")]
    pub(crate) version: Option<Version>,
    /// The account it belongs to.
    #[schemars(with = "Option<schema::Address>")]
    pub(crate) owner: Option<Account>,
}

/// The epoch of a height: its validators, its parameters, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ValidatorsAnswer {
    /// The height asked about, or the newest executed on this node.
    #[schemars(with = "schema::Number")]
    pub(crate) height: Height,
    /// The epoch that height belongs to; if none was asked about, that of the next block.
    #[schemars(with = "schema::Number")]
    pub(crate) epoch: Epoch,
    /// The first height of the epoch; 0, the genesis, for the first.
    #[schemars(with = "schema::Number")]
    pub(crate) start: Height,
    /// The last height of the epoch; `null` while that is not decided.
    #[schemars(with = "Option<schema::Number>")]
    pub(crate) ends: Option<Height>,
    /// What takes effect after that height: of the epoch of the next block only. What followed an epoch that is over is
    /// in force at the height after its last.
    #[schemars(with = "Option<schema::Change>")]
    pub(crate) next: Option<Change>,
    /// The changes that validators approve of without being a quorum, those of most approvals first: of the epoch of the
    /// next block only, and only so many. While an end is decided they are for the epoch that follows.
    pub(crate) approvals: Vec<OpenChange>,
    /// Hash of the set, as checkpoints name it.
    #[schemars(with = "schema::Hash")]
    pub(crate) hash: Hash,
    /// How many votes decide.
    pub(crate) quorum: u64,
    /// How many may be faulty.
    pub(crate) faulty_max: u64,
    /// The validators, in the order of the set.
    pub(crate) validators: Vec<ValidatorEntry>,
    /// The blocks over which participation was counted; `null` if there are none yet.
    pub(crate) participation: Option<Participation>,
    /// The parameters in force.
    #[schemars(with = "schema::Parameters")]
    pub(crate) parameters: Parameters,
}

/// What an epoch changes when it begins: one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// All validators from then on.
    Validators(Vec<PublicKey>),
    /// All parameters from then on.
    Parameters(Box<Parameters>),
}

impl From<&EpochChange> for Change {
    fn from(change: &EpochChange) -> Self {
        match change {
            EpochChange::Validators(validators) => Self::Validators(validators.keys().to_vec()),
            EpochChange::Parameters(parameters) => Self::Parameters(parameters.clone()),
        }
    }
}

/// A change that some validators approve of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct OpenChange {
    /// What names it in receipts.
    #[schemars(with = "schema::Hash")]
    pub(crate) hash: Hash,
    /// The change.
    #[schemars(with = "schema::Change")]
    pub(crate) change: Change,
    /// Who approves of it.
    #[schemars(with = "Vec<schema::PublicKey>")]
    pub(crate) validators: Vec<PublicKey>,
}

/// One validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ValidatorEntry {
    /// Its place in the set.
    #[schemars(with = "schema::Number")]
    pub(crate) index: ValidatorIndex,
    /// The key it votes with.
    #[schemars(with = "schema::PublicKey")]
    pub(crate) key: PublicKey,
    /// The same key as an account: where its fees go.
    #[schemars(with = "schema::Address")]
    pub(crate) account: Account,
    /// What the genesis calls it, if it was in the genesis.
    pub(crate) name: Option<String>,
    /// Whether this node has its streams open; `null` for this node itself.
    pub(crate) connected: Option<bool>,
    /// How many of the blocks counted it proposed.
    pub(crate) proposed: u64,
    /// In how many of the certificates counted its signature stands. One that is not needed is left out, so a healthy
    /// validator need not be in every one.
    pub(crate) signed: u64,
}

/// What participation was counted over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Participation {
    /// First height counted.
    #[schemars(with = "schema::Number")]
    pub(crate) from: Height,
    /// Last height counted.
    #[schemars(with = "schema::Number")]
    pub(crate) to: Height,
    /// How many of these blocks have a commit certificate of their own.
    pub(crate) certificates: u64,
}

/// The statement of a key's holder that it is ready to be a validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReadinessAnswer {
    /// The key asked about.
    #[schemars(with = "schema::PublicKey")]
    pub(crate) key: PublicKey,
    /// The epoch in which it is taken.
    #[schemars(with = "schema::Number")]
    pub(crate) epoch: Epoch,
    /// The height whose header anchors the checkpoint: it is taken in the 1,000 blocks above.
    #[schemars(with = "schema::Number")]
    pub(crate) height: Height,
    /// The checkpoint that it names.
    #[schemars(with = "schema::Hash")]
    pub(crate) checkpoint: Hash,
    /// The key's signature over chain, epoch and checkpoint.
    #[schemars(with = "schema::Signature")]
    pub(crate) signature: Signature,
}

/// An amount or `null`.
mod optional_decimal {
    use super::decimal;
    use quorate_ledger::Amount;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Decimal(#[serde(with = "decimal")] Amount);

    pub(super) fn serialize<S: Serializer>(value: &Option<Amount>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Decimal).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Amount>, D::Error> {
        Ok(Option::<Decimal>::deserialize(deserializer)?.map(|decimal| decimal.0))
    }
}
