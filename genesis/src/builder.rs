//! The making of a genesis, by a program or by the reader of documents: where all rules but syntax are checked.

use std::collections::BTreeMap;

use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Account, Amount, Parameters, UnixMillis, VALIDATORS_MAX, ValidatorSet};

use crate::error::{GenesisError, Problem};
use crate::{ACCOUNTS_MAX, Genesis, NAME_CHARACTERS_MAX, TIME_MAX};

/// What a document says, not yet checked.
///
/// ```
/// use quorate_crypto::SecretKey;
/// use quorate_genesis::GenesisBuilder;
/// use quorate_ledger::{Account, UnixMillis};
///
/// let validator = SecretKey::from_seed([1; 32]).public();
/// let alice = Account(SecretKey::from_seed([2; 32]).public());
/// let genesis = GenesisBuilder::new("example", UnixMillis(1_767_225_600_000))
///     .validator(validator, "node0")
///     .account(alice, 1_000_000)
///     .build()
///     .expect("every rule holds");
/// assert_eq!(genesis.validators().len(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct GenesisBuilder {
    name: String,
    time: UnixMillis,
    validators: Vec<(PublicKey, String)>,
    accounts: Vec<(Account, Amount)>,
    parameters: Parameters,
}

impl GenesisBuilder {
    /// A chain without validators yet, with default parameters.
    #[must_use]
    pub fn new(name: impl Into<String>, time: UnixMillis) -> Self {
        GenesisBuilder {
            name: name.into(),
            time,
            validators: Vec::new(),
            accounts: Vec::new(),
            parameters: Parameters::default(),
        }
    }

    /// Adds a validator; an empty name is none.
    #[must_use]
    pub fn validator(mut self, key: PublicKey, name: impl Into<String>) -> Self {
        self.validators.push((key, name.into()));
        self
    }

    /// Adds an account with a balance.
    #[must_use]
    pub fn account(mut self, account: Account, balance: Amount) -> Self {
        self.accounts.push((account, balance));
        self
    }

    /// Replaces all parameters.
    #[must_use]
    pub fn parameters(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters;
        self
    }

    /// Checks every rule.
    ///
    /// # Errors
    /// The first rule broken, with the key as it would stand in a document.
    pub fn build(self) -> Result<Genesis, GenesisError> {
        self.check().map_err(|problem| GenesisError { file: None, problem })
    }

    pub(crate) fn check(self) -> Result<Genesis, Problem> {
        if self.name.is_empty() {
            return Err(Problem::value("name", "is empty", name_words()));
        }
        check_name("name", &self.name)?;
        if self.time > TIME_MAX {
            let allowed = format!("unix milliseconds from 0 to {}", TIME_MAX.0);
            return Err(Problem::value("time", format!("is {}", self.time.0), allowed));
        }
        check_parameters(&self.parameters)?;
        let (validators, validator_names) = check_validators(self.validators)?;
        let accounts = check_accounts(self.accounts)?;

        let mut genesis = Genesis {
            name: self.name,
            time: self.time,
            validators,
            validator_names,
            accounts,
            parameters: self.parameters,
            hash: Hash::ZERO,
        };
        genesis.hash = Hash::of(genesis.canonical().as_bytes());
        Ok(genesis)
    }
}

/// What a parameter of the table allows, in words.
pub(crate) fn parameter_words(key: &str) -> String {
    match Parameters::table().iter().find(|row| row.key == key) {
        Some(row) => format!("{} to {} {} (default {})", row.min, row.max, row.unit, row.default),
        None => Parameters::table().iter().map(|row| row.key).collect::<Vec<_>>().join(", "),
    }
}

fn check_parameters(parameters: &Parameters) -> Result<(), Problem> {
    parameters.check().map_err(|error| {
        let allowed = error.reason.replace("must be ", "").replace("must not be ", "not ");
        Problem::value(format!("parameters.{}", error.key), format!("is {}", error.value), allowed)
    })
}

fn check_validators(validators: Vec<(PublicKey, String)>) -> Result<(ValidatorSet, Vec<String>), Problem> {
    let count = validators.len();
    if count == 0 || count > VALIDATORS_MAX {
        let allowed = format!("1 to {VALIDATORS_MAX} validators");
        return Err(Problem::value("validators", format!("has {count}"), allowed));
    }
    let mut keys: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, (key, name)) in validators.iter().enumerate() {
        let path = format!("validators[{position}].key");
        key.check().map_err(|error| Problem::value(&path, format!("{key} is {error}"), KEY_WORDS))?;
        if let Some(first) = keys.insert(*key.as_bytes(), position) {
            let reason = format!("{key} is also the key of validators[{first}]");
            return Err(Problem::value(path, reason, "each key once: one validator, one vote"));
        }
        let path = format!("validators[{position}].name");
        check_name(&path, name)?;
        if !name.is_empty()
            && let Some(first) = names.insert(name, position)
        {
            let reason = format!("{name:?} is also the name of validators[{first}]");
            return Err(Problem::value(path, reason, "each name once, or none"));
        }
    }
    let set = ValidatorSet::new(validators.iter().map(|(key, _)| *key).collect())
        .map_err(|error| Problem::value("validators", error.to_string(), KEY_WORDS))?;
    let mut names = vec![String::new(); set.len()];
    for (key, name) in validators {
        let index = set.index_of(&key).expect("the set was made of these keys");
        names[usize::from(index.0)] = name;
    }
    Ok((set, names))
}

/// What a validator's key must be.
pub(crate) const KEY_WORDS: &str = "an Ed25519 public key that somebody holds, as 0x and 64 hex digits \
                                    (`quorate key show FILE` prints it)";

fn check_accounts(mut accounts: Vec<(Account, Amount)>) -> Result<Vec<(Account, Amount)>, Problem> {
    if accounts.len() > ACCOUNTS_MAX {
        let reason = format!("has {}", accounts.len());
        return Err(Problem::value("accounts", reason, format!("at most {ACCOUNTS_MAX}")));
    }
    let mut seen: BTreeMap<Account, usize> = BTreeMap::new();
    let mut total: Amount = 0;
    for (position, (account, balance)) in accounts.iter().enumerate() {
        let path = format!("accounts[{position}].address");
        let Account(key) = account;
        key.check().map_err(|error| {
            Problem::value(&path, format!("{account} is {error}"), "the address of a key that somebody holds")
        })?;
        if let Some(first) = seen.insert(*account, position) {
            let reason = format!("{account} is also the address of accounts[{first}]");
            return Err(Problem::value(path, reason, "each address once"));
        }
        let path = format!("accounts[{position}].balance");
        if *balance == 0 {
            return Err(Problem::value(path, "is 0", "1 or more: an account without a balance is left out"));
        }
        total = total.checked_add(*balance).ok_or_else(|| {
            let allowed = format!("balances whose total is at most {}", Amount::MAX);
            Problem::value(path, format!("{balance} takes the total beyond that"), allowed)
        })?;
    }
    accounts.sort_unstable_by_key(|(Account(key), _)| *key.as_bytes());
    Ok(accounts)
}

fn check_name(path: &str, name: &str) -> Result<(), Problem> {
    let count = name.chars().count();
    let printable = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if count > NAME_CHARACTERS_MAX || !printable || name.trim() != name {
        let reason = format!("{:?} ({count} characters)", crate::json::shortened(name));
        return Err(Problem::value(path, reason, name_words()));
    }
    Ok(())
}

fn name_words() -> String {
    format!("1 to {NAME_CHARACTERS_MAX} printable ASCII characters, no space at either end")
}
