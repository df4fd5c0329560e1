//! The command line: what is there, and which file does it.
//!
//! Results go to stdout, with `--json` as exactly one JSON value; everything else, progress too, to stderr. What failed is
//! said in the last line there, with `--json` as `{"error": {"code", "message", "reason"}}`.

mod approve;
mod config_show;
mod epochs;
mod evidence;
#[cfg(test)]
mod fuzz;
mod genesis;
mod init;
mod key;
mod output;
mod passphrase;
mod query;
mod ready;
mod start;
mod statement;
mod testnet;
mod tx;
mod values;

use std::future::Future;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::client::{Client, DEFAULT_URL};
use crate::exit::{self, Form, usage};
use crate::home::Home;

/// A node of a Quorate chain, and everything to run, use and examine one.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// In which form results and failures are told.
    pub(crate) fn form(&self) -> Form {
        if self.globals.json { Form::Json } else { Form::Words }
    }
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
struct Globals {
    /// The node's home directory [default: ~/.quorate]
    #[arg(long, global = true, env = "QUORATE_HOME", value_name = "DIR", hide_env_values = true)]
    home: Option<PathBuf>,
    /// JSON-RPC address of the node to ask
    #[arg(long, global = true, env = "QUORATE_RPC", value_name = "URL", default_value = DEFAULT_URL, hide_env_values = true)]
    rpc: String,
    /// Print the result as one JSON value, and what failed as one on the last line of stderr
    #[arg(long, global = true)]
    json: bool,
    /// Read the passphrase of encrypted keys from the first line of this file (else QUORATE_PASSPHRASE, else ask)
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole network of validators on this machine
    #[command(subcommand)]
    Testnet(testnet::TestnetCommand),
    /// Make a home directory for a node
    Init(init::InitArgs),
    /// Run a node
    Start(start::StartArgs),
    /// Build, check and identify genesis documents
    #[command(subcommand)]
    Genesis(genesis::GenesisCommand),
    /// Make and look at key files
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Build, sign and submit transactions
    #[command(subcommand)]
    Tx(tx::TxCommand),
    /// Read the chain and its state
    #[command(subcommand)]
    Query(query::QueryCommand),
    /// Check proofs that a validator broke the protocol
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
    /// Show the configuration in force
    #[command(subcommand)]
    Config(config_show::ConfigCommand),
}

/// The exit code of a command line that is not understood: clap's own too.
const USAGE: u8 = 2;

/// Options that every command takes, so that a script may set them for all, and which commands they mean something to.
const MEANT_FOR: [(&str, &[&str]); 4] = [
    ("home", &["init", "start", "config", "query ready"]),
    ("rpc", &["tx", "query", "evidence"]),
    ("json", &["testnet", "init", "genesis", "key", "tx", "query", "evidence", "config"]),
    ("passphrase_file", &["init", "start", "key", "tx", "query ready"]),
];

/// The command line of this process; ends it where it is wrong, or asks for help.
pub(crate) fn parse() -> Cli {
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| {
        // What could not be read has no fields, so the words themselves are looked at.
        let options = std::env::args_os().skip(1).take_while(|argument| argument != "--");
        if error.use_stderr() && options.into_iter().any(|argument| argument == "--json") {
            let text = error.to_string();
            let message = text.trim_start_matches("error: ").trim_end();
            eprintln!("{}", exit::json(USAGE, message, None));
            std::process::exit(i32::from(USAGE));
        }
        error.exit()
    })
}

/// The commands, each showing in its help those options that mean something to it.
fn command() -> clap::Command {
    let whole = Cli::command();
    let shared: Vec<clap::Arg> = whole.get_arguments().cloned().collect();
    let of_all = |option: &str| shared.iter().find(|argument| argument.get_id() == option).cloned();
    whole.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        let idle = MEANT_FOR.iter().filter(|(_, commands)| !commands.contains(&name.as_str()));
        // A command that has an option of that name already is not given the one that all share.
        idle.fold(command, |command, (option, commands)| {
            let Some(argument) = of_all(option) else { return command };
            let command = command.arg(argument.clone().hide(true));
            let below = commands.iter().filter_map(|path| path.strip_prefix(&format!("{name} "))).next();
            match below {
                Some(below) => command.mut_subcommand(below, |it| it.arg(argument)),
                None => command,
            }
        })
    })
}

/// Runs one command to its end.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { globals, command } = cli;
    match command {
        Command::Testnet(command) => testnet::run(&globals, command),
        Command::Init(args) => init::run(&globals, args),
        Command::Start(args) => start::run(&globals, args),
        Command::Genesis(command) => genesis::run(&globals, command),
        Command::Key(command) => key::run(&globals, command),
        Command::Tx(command) => tx::run(&globals, command),
        Command::Query(command) => query::run(&globals, command),
        Command::Evidence(command) => evidence::run(&globals, command),
        Command::Config(command) => config_show::run(&globals, command),
    }
}

impl Globals {
    fn home(&self) -> anyhow::Result<Home> {
        if let Some(dir) = &self.home {
            return Ok(Home::new(dir));
        }
        let user = std::env::home_dir().ok_or_else(|| {
            usage("this user has no home directory; say where the node's is with --home DIR")
        })?;
        Ok(Home::new(user.join(".quorate")))
    }

    fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.rpc).map_err(|error| usage(error.to_string()))
    }
}

/// Runs async work of a command to its end.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?
        .block_on(work)
}

#[cfg(test)]
mod tests;
