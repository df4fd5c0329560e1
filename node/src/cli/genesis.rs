//! `quorate genesis`: the document that makes a chain.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use quorate_crypto::{Hash, PublicKey};
use quorate_genesis::{Genesis, GenesisBuilder};
use quorate_ledger::{Account, Amount, Parameters, UnixMillis};
use serde::Serialize;

use super::{Globals, init, output, values};
use crate::exit::usage;

#[derive(Debug, Subcommand)]
pub(super) enum GenesisCommand {
    /// Build a document from keys and balances
    New(NewArgs),
    /// Check a document and say what it sets up
    Check(FileArgs),
    /// Print the document's hash, which is the chain id
    Hash(FileArgs),
}

#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// The genesis document
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// What to call the chain
    #[arg(long)]
    name: String,
    /// A validator's public key, with a name if wanted; repeat for each
    #[arg(long = "validator", value_name = "0xKEY[=NAME]", required = true, value_parser = validator)]
    validators: Vec<(PublicKey, String)>,
    /// An account and its balance; repeat for each
    #[arg(long = "account", value_name = "ADDRESS=BALANCE", value_parser = account)]
    accounts: Vec<(Account, Amount)>,
    /// A parameter that differs from its default; repeat for each
    #[arg(long = "parameter", value_name = "KEY=VALUE", value_parser = parameter)]
    parameters: Vec<(String, Amount)>,
    /// When the chain starts, in unix milliseconds [default: now]
    #[arg(long, value_name = "MILLISECONDS")]
    time: Option<u64>,
    /// Write the document here instead of to stdout; nothing is overwritten
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What a document sets up.
#[derive(Serialize)]
struct Summary {
    name: String,
    hash: Hash,
    engine: &'static str,
    time: UnixMillis,
    validators: usize,
    quorum: usize,
    faulty_max: usize,
    accounts: usize,
    supply: String,
    /// Parameters that differ from their defaults.
    parameters: serde_json::Map<String, serde_json::Value>,
}

pub(super) fn run(globals: &Globals, command: GenesisCommand) -> anyhow::Result<()> {
    match command {
        GenesisCommand::New(args) => new(globals, args),
        GenesisCommand::Check(args) => {
            let genesis = Genesis::load(&args.file)?;
            warn_without_coins(&genesis);
            output::result(globals.json, &Summary::of(&genesis), Summary::text)
        }
        GenesisCommand::Hash(args) => {
            let hash = Genesis::load(&args.file)?.hash();
            output::result(globals.json, &hash, Hash::to_string)
        }
    }
}

fn new(globals: &Globals, args: NewArgs) -> anyhow::Result<()> {
    let time = args.time.map_or_else(values::now, |time| Ok(UnixMillis(time)))?;
    let mut builder = GenesisBuilder::new(args.name, time)
        .parameters(parameters_over(&Parameters::default(), &args.parameters)?);
    for (key, name) in args.validators {
        builder = builder.validator(key, name);
    }
    for (account, balance) in args.accounts {
        builder = builder.account(account, balance);
    }
    let genesis = builder.build()?;
    warn_without_coins(&genesis);
    match args.out {
        None => output::write(std::io::stdout().lock(), &genesis.to_pretty_json()),
        Some(file) => {
            if file.exists() {
                return Err(usage(format!("{} exists; name another file", file.display())));
            }
            init::write_new(&file, genesis.to_pretty_json())?;
            output::result(globals.json, &Summary::of(&genesis), Summary::text)
        }
    }
}

fn warn_without_coins(genesis: &Genesis) {
    if let Some(warning) = without_coins(genesis) {
        output::note(&warning);
    }
}

/// What it means that a document gives coins to nobody, if it gives none: a mistake that no epoch can mend.
fn without_coins(genesis: &Genesis) -> Option<String> {
    if genesis.accounts().iter().any(|(_, balance)| *balance > 0) {
        return None;
    }
    let Parameters { fee_base, fee_per_byte, .. } = genesis.parameters();
    let taken = if *fee_base == 0 && *fee_per_byte == 0 {
        "Keys can be put and deleted only while fees are 0"
    } else {
        "Since fees are not 0, it takes no transactions but validators' approvals"
    };
    Some(format!(
        "warning: no account has coins, and no chain ever makes any: on this one nobody can ever pay an amount or a fee. \
         {taken}. To give coins to accounts, make keys (`quorate key generate FILE` prints the address) and name each with \
         --account ADDRESS=BALANCE in `quorate genesis new`."
    ))
}

/// Parameters with some of them as given.
pub(super) fn parameters_over(base: &Parameters, given: &[(String, Amount)]) -> anyhow::Result<Parameters> {
    let mut tree = serde_json::to_value(base).context("parameters are plain numbers")?;
    for (key, value) in given {
        let Some(slot) = tree.get_mut(key) else {
            let known: Vec<_> = Parameters::table().iter().map(|row| row.key).collect();
            return Err(usage(format!("parameter {key}: unknown; there are {}", known.join(", "))));
        };
        // Fees are strings of digits in JSON, everything else is a number: as the default has it.
        *slot = if slot.is_string() {
            value.to_string().into()
        } else {
            u64::try_from(*value).map_err(|_| usage(format!("parameter {key}={value} is too large")))?.into()
        };
    }
    serde_json::from_value(tree).map_err(|error| usage(format!("parameter: {error}")))
}

fn validator(text: &str) -> Result<(PublicKey, String), String> {
    let (key, name) = text.split_once('=').unwrap_or((text, ""));
    let key = key.parse().map_err(|error| format!("{error}; expected 0x and 64 hex digits"))?;
    Ok((key, name.to_owned()))
}

fn account(text: &str) -> Result<(Account, Amount), String> {
    let (address, balance) = text.split_once('=').ok_or("expected ADDRESS=BALANCE")?;
    let address: Account = address.parse().map_err(|error| format!("{error}"))?;
    Ok((address, values::amount(balance)?))
}

/// A parameter and its value.
pub(super) fn parameter(text: &str) -> Result<(String, Amount), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), values::amount(value)?))
}

impl Summary {
    fn of(genesis: &Genesis) -> Self {
        let quorum = genesis.validators().quorum();
        let total: Amount = genesis.accounts().iter().map(|(_, balance)| balance).sum();
        let tree = |parameters| serde_json::to_value(parameters).expect("parameters are plain numbers");
        let (set, defaults) = (tree(genesis.parameters()), tree(&Parameters::default()));
        let set = set.as_object().expect("parameters are a struct");
        let changed = set.iter().filter(|(key, value)| defaults[key.as_str()] != **value);
        Summary {
            name: genesis.name().to_owned(),
            hash: genesis.hash(),
            engine: genesis.engine(),
            time: genesis.time(),
            validators: genesis.validators().len(),
            quorum: quorum.q(),
            faulty_max: quorum.f(),
            accounts: genesis.accounts().len(),
            supply: total.to_string(),
            parameters: changed.map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    fn text(&self) -> String {
        let changed: Vec<_> = self.parameters.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        output::pairs(&[
            ("chain", self.name.clone()),
            ("hash", self.hash.to_string()),
            ("engine", self.engine.to_owned()),
            ("time", values::shown_time(self.time)),
            (
                "validators",
                format!("{}; {} decide, {} may be faulty", self.validators, self.quorum, self.faulty_max),
            ),
            ("accounts", format!("{} with {} in all", self.accounts, self.supply)),
            ("parameters", if changed.is_empty() { "defaults".to_owned() } else { changed.join(", ") }),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_by_name_over_the_defaults() {
        let set = |given: &[(&str, Amount)]| {
            let given: Vec<_> = given.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
            parameters_over(&Parameters::default(), &given)
        };
        assert_eq!(set(&[]).expect("defaults"), Parameters::default());
        let changed = set(&[("window", 4), ("fee_base", 1 << 70)]).expect("both are known");
        assert_eq!(changed, Parameters { window: 4, fee_base: 1 << 70, ..Parameters::default() });
        assert!(set(&[("windw", 4)]).expect_err("unknown").to_string().contains("log_window"));
        assert!(set(&[("window", 1 << 64)]).is_err());
    }

    #[test]
    fn a_document_without_coins_is_warned_of_and_one_with_a_single_coin_is_not() {
        let key = quorate_crypto::SecretKey::from_seed([1; 32]).public();
        let built = |balance: Option<Amount>, fee_base| {
            let parameters = Parameters { fee_base, fee_per_byte: 0, ..Parameters::default() };
            let builder = GenesisBuilder::new("x", UnixMillis(1)).parameters(parameters).validator(key, "");
            let builder = match balance {
                Some(balance) => builder.account(Account(key), balance),
                None => builder,
            };
            builder.build().expect("well formed")
        };
        assert_eq!(without_coins(&built(Some(1), 0)), None);
        let free = without_coins(&built(None, 0)).expect("nobody has any");
        assert!(free.contains("--account ADDRESS=BALANCE") && free.contains("while fees are 0"), "{free}");
        let dear = without_coins(&built(None, 1)).expect("nobody has any");
        assert!(dear.contains("takes no transactions but validators' approvals"), "{dear}");
    }

    #[test]
    fn validators_may_have_names() {
        let key = quorate_crypto::SecretKey::from_seed([1; 32]).public();
        assert_eq!(validator(&format!("{key}=node 0")), Ok((key, "node 0".to_owned())));
        assert_eq!(validator(&key.to_string()), Ok((key, String::new())));
        assert!(validator("node0").is_err());
    }
}
