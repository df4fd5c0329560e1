//! The genesis document: the one file that all who take part in a chain must share, and whose hash names the chain.
//!
//! ```json
//! {
//!   "name": "my chain",
//!   "engine": "pbft",
//!   "time": 1767225600000,
//!   "validators": [{ "key": "0x3d40…", "name": "node0" }],
//!   "accounts": [{ "address": "qr1…", "balance": "1000000" }],
//!   "parameters": { "block_transactions_max": 5000 }
//! }
//! ```
//!
//! - [`Genesis`] is a checked document; it exists only if every rule holds. `time` is in unix milliseconds; `engine`,
//!   `accounts`, `parameters` and the names of validators may be left out. What a parameter means and allows is in
//!   [`quorate_ledger::Parameters::table`].
//! - [`Genesis::hash`] is SHA-256 over the *canonical* text: every key written, defaults too, sorted, without spaces,
//!   after RFC 8785. So two files that say the same are the same chain, whatever their layout, the order of their
//!   lists and what they leave to defaults; and a default changed in a later version changes no chain's identity
//!   silently: the hash would differ and the node refuse its peers. The hash is the chain id in every signature.
//! - [`GenesisError`] is for the operator: file, key, reason, and what is allowed. Unknown keys are refused, and keys
//!   written twice, which most JSON readers resolve silently and differently.
//! - [`GenesisBuilder`] makes new documents through the same checks.

mod builder;
mod canonical;
mod document;
mod error;
mod json;

use std::path::Path;

use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Account, Amount, GenesisState, Parameters, UnixMillis, ValidatorIndex, ValidatorSet};

pub use builder::GenesisBuilder;
pub use error::{GenesisError, Problem};

/// The largest document that is read, in bytes: room for [`ACCOUNTS_MAX`] accounts.
pub const DOCUMENT_BYTES_MAX: usize = 32 << 20;

/// Most accounts that a document may fund.
pub const ACCOUNTS_MAX: usize = 100_000;

/// Most characters of the chain's name or a validator's.
pub const NAME_CHARACTERS_MAX: usize = 64;

/// The latest time of a genesis, in unix milliseconds: the end of the year 9999. Beyond it a time was surely given in
/// another unit.
pub const TIME_MAX: UnixMillis = UnixMillis(253_402_300_799_999);

/// The only consensus engine so far.
const ENGINE: &str = "pbft";

/// A checked genesis document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    name: String,
    time: UnixMillis,
    validators: ValidatorSet,
    /// In the order of `validators`; empty for one without a name.
    validator_names: Vec<String>,
    /// In the order of addresses, no two equal.
    accounts: Vec<(Account, Amount)>,
    parameters: Parameters,
    hash: Hash,
}

impl Genesis {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// The first rule broken, with the key in question and what is allowed; or line and column of what is not JSON.
    pub fn parse(json: &str) -> Result<Self, GenesisError> {
        document::read(json).map_err(|problem| GenesisError { file: None, problem })
    }

    /// Reads and checks a document in a file.
    ///
    /// # Errors
    /// As [`Genesis::parse`], naming the file; or that it cannot be read.
    pub fn load(file: &Path) -> Result<Self, GenesisError> {
        document::read_file(file).map_err(|problem| GenesisError { file: Some(file.to_owned()), problem })
    }

    /// The text that is hashed: one spelling for everything that says the same.
    ///
    /// Every key is written, object keys in order of their code points, lists of validators and accounts in the order
    /// of their keys' bytes, no spaces, strings and integers as RFC 8785 has them. It is itself a document.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical::write(&document::tree(self))
    }

    /// SHA-256 of [`Genesis::canonical`]: the chain id.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The document for people: indented, every key written.
    #[must_use]
    pub fn to_pretty_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&document::tree(self)).expect("a tree of plain values");
        text.push('\n');
        text
    }

    /// What people call the chain.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The consensus engine.
    #[must_use]
    pub fn engine(&self) -> &'static str {
        ENGINE
    }

    /// The time of height 0.
    #[must_use]
    pub fn time(&self) -> UnixMillis {
        self.time
    }

    /// The validators of the first epoch.
    #[must_use]
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// The validators' names in the order of their indices; empty for one without a name.
    #[must_use]
    pub fn validator_names(&self) -> &[String] {
        &self.validator_names
    }

    /// What people call the validator of this key; nothing if it has no name or was not there at genesis.
    #[must_use]
    pub fn validator_name(&self, key: &PublicKey) -> Option<&str> {
        let ValidatorIndex(index) = self.validators.index_of(key)?;
        self.validator_names.get(usize::from(index)).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The accounts that have a balance from the start, in the order of their addresses' bytes.
    #[must_use]
    pub fn accounts(&self) -> &[(Account, Amount)] {
        &self.accounts
    }

    /// The rules of the first epoch.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What a ledger starts from.
    #[must_use]
    pub fn state(&self) -> GenesisState {
        GenesisState {
            chain: self.hash,
            time: self.time,
            validators: self.validators.clone(),
            parameters: self.parameters.clone(),
            accounts: self.accounts.clone(),
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
