//! What callers send: one struct a shape of parameters, its fields in the order in which they may be given by
//! position.

use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Account, Height};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::schema::{self, Bytes};

/// Parameters that can be given by name or by position.
pub(crate) trait Parameters: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// The names, in the order of the positions.
    const NAMES: &'static [&'static str];
}

macro_rules! parameters {
    ($(
        $(#[$meta:meta])*
        $name:ident { $( $(#[$field_meta:meta])* $field:ident: $type:ty, )* }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $( $(#[$field_meta])* pub(crate) $field: $type, )*
        }

        impl Parameters for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    )* };
}

parameters! {
    /// None.
    NoParameters {}

    /// A signed transaction.
    TransactionParameters {
        /// The signed bytes (borsh: payload and signature).
        transaction: Bytes,
    }

    /// A signed transaction and how long to wait for its outcome.
    WaitParameters {
        /// The signed bytes (borsh: payload and signature).
        transaction: Bytes,
        /// How long to wait, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    }

    /// Which transaction: give one of the two. With the signed bytes, which carry the end of its life, any node can also
    /// answer `expired`.
    TxGetParameters {
        /// Its id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<schema::Hash>")]
        id: Option<Hash>,
        /// Its signed bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transaction: Option<Bytes>,
    }

    /// Which block: give one of the two. By position a block hash may stand where the height stands.
    BlockParameters {
        /// Its height, or `latest`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        height: Option<HeightOrLatest>,
        /// Its hash.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<schema::Hash>")]
        hash: Option<Hash>,
    }

    /// Which certificate. By position a block hash may stand where the height stands.
    CertificateParameters {
        /// Height of the block it is about, or `latest`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        height: Option<HeightOrLatest>,
        /// What was certified: the order (`commit`) or the state (`checkpoint`).
        #[serde(default)]
        kind: CertificateKind,
        /// Hash of the block it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<schema::Hash>")]
        hash: Option<Hash>,
    }

    /// A range of blocks.
    BlocksParameters {
        /// Height of the first; without it the answer ends with the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<schema::Number>")]
        from: Option<Height>,
        /// How many at most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    }

    /// Which account.
    AccountParameters {
        /// Its address.
        #[schemars(with = "schema::Address")]
        account: Account,
        /// The state to be read must be at least of this height.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<schema::Number>")]
        min_height: Option<Height>,
    }

    /// Which key.
    KeyParameters {
        /// The bytes of the key.
        key: Bytes,
        /// The state to be read must be at least of this height.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<schema::Number>")]
        min_height: Option<Height>,
    }

    /// Whose term.
    ValidatorsParameters {
        /// The epoch of this height; without it, the one of the next block.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<schema::Number>")]
        height: Option<Height>,
    }

    /// Whose statement.
    ReadinessParameters {
        /// The key of who is to become a validator.
        #[schemars(with = "schema::PublicKey")]
        key: PublicKey,
    }

    /// Where notifications begin.
    SubscribeParameters {
        /// Height of the first block to be notified; without it, the one after the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<schema::Number>")]
        from: Option<Height>,
    }

    /// Which subscription.
    UnsubscribeParameters {
        /// What `chain_subscribe` answered.
        subscription: String,
    }
}

/// A height, or the newest block there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a height or \"latest\"")]
pub(crate) enum HeightOrLatest {
    /// This height.
    Height(#[schemars(with = "schema::Number")] Height),
    /// The newest block executed here.
    Latest(Latest),
}

/// The word `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Latest {
    /// The newest.
    Latest,
}

impl HeightOrLatest {
    /// The newest block executed here.
    pub(crate) const LATEST: HeightOrLatest = HeightOrLatest::Latest(Latest::Latest);
}

/// What a certificate proves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CertificateKind {
    /// That a quorum committed the block.
    #[default]
    Commit,
    /// That a quorum executed the block with the same result.
    Checkpoint,
}
