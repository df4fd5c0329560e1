//! The node's configuration: what is in force, and where each value comes from.
//!
//! Four layers, the later outranking the earlier: built-in defaults, `config/config.toml` in the home directory,
//! `QUORATE_…` environment variables, command line flags. One table, [`KEYS`], names every key with its meaning
//! and what it allows; refusals, the file written by `quorate init` and `quorate config show` are all made from it,
//! so that they cannot disagree.
//!
//! - `rpc.listen` is `[rpc] listen = …` in the file, `QUORATE_RPC_LISTEN` in the environment.
//! - A key that is not in the table is an error wherever it stands: a limit misspelt is a limit not set.
//! - Rules that all validators must share are not here but in the genesis document.

mod layers;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use quorate_network::Multiaddr;
use serde::{Deserialize, Serialize};

pub(crate) use table::{KEYS, Key};

/// What every environment variable of ours starts with.
const ENVIRONMENT_PREFIX: &str = "QUORATE_";

/// A checked configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The peer-to-peer side.
    pub(crate) p2p: P2pConfig,
    /// The JSON-RPC server.
    pub(crate) rpc: RpcConfig,
    /// The pool of transactions that wait for a block.
    pub(crate) pool: PoolConfig,
    /// What is logged.
    pub(crate) log: LogConfig,
}

/// Section `p2p`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct P2pConfig {
    /// Addresses to listen on.
    pub(crate) listen: Vec<Multiaddr>,
    /// Peers to dial first; the others are found through them.
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Addresses under which others reach this node, where it cannot see them itself (NAT, containers).
    pub(crate) external: Vec<Multiaddr>,
    /// Whether peers on the local network are found by multicast DNS.
    pub(crate) mdns: bool,
}

/// Section `rpc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RpcConfig {
    /// Address of the HTTP server: JSON-RPC, health, metrics.
    pub(crate) listen: SocketAddr,
    /// Largest request body, in bytes.
    pub(crate) body_bytes_max: u32,
    /// Most requests in one batch.
    pub(crate) batch_max: u32,
    /// Most connections at a time.
    pub(crate) connections_max: u32,
    /// Most subscriptions per connection.
    pub(crate) subscriptions_max: u32,
    /// Longest time one request may take, in milliseconds.
    pub(crate) request_timeout_ms: u64,
    /// Origins of the web pages that may call, beside the node's own.
    pub(crate) origins: Vec<String>,
}

/// Section `pool`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolConfig {
    /// Most transactions.
    pub(crate) transactions_max: u32,
    /// Most bytes of transactions.
    pub(crate) bytes_max: u64,
    /// Most transactions of one account.
    pub(crate) per_account: u32,
}

/// Section `log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub(crate) filter: String,
}

impl Default for P2pConfig {
    fn default() -> Self {
        let parse = |text: &str| text.parse().expect("the default addresses are well formed");
        P2pConfig {
            listen: vec![parse("/ip4/0.0.0.0/tcp/7600"), parse("/ip4/0.0.0.0/udp/7600/quic-v1")],
            bootstrap: Vec::new(),
            external: Vec::new(),
            mdns: false,
        }
    }
}

impl Default for RpcConfig {
    fn default() -> Self {
        RpcConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 7601)),
            body_bytes_max: 2 << 20,
            batch_max: 100,
            connections_max: 1_024,
            subscriptions_max: 64,
            request_timeout_ms: 65_000,
            origins: Vec::new(),
        }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig { transactions_max: 100_000, bytes_max: 256 << 20, per_account: 4_096 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        // Every node announces the block it executed: that others were faster is not worth gossipsub's warning. What the
        // other two write at these levels a peer can make them write without end.
        let quiet = "libp2p_gossipsub=error,libp2p_identify=error,libp2p_request_response=error";
        LogConfig { filter: format!("info,{quiet}") }
    }
}

/// Why a configuration is refused; always the operator's to mend, so each says where and what is allowed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file is there but cannot be read.
    #[error("{}: {source}; mend the permissions or remove the file to run on defaults", file.display())]
    Unreadable {
        /// The configuration file.
        file: PathBuf,
        /// What the machine said.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}: {message}", file.display())]
    Syntax {
        /// The configuration file.
        file: PathBuf,
        /// The parser's words, with line and column.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`; allowed are: {allowed}")]
    UnknownKey {
        /// The file, or `environment`.
        origin: String,
        /// The key as it stands there.
        key: String,
        /// The keys that exist.
        allowed: String,
    },
    /// A value that its key does not allow.
    #[error("{origin}: `{key}` is {value}; allowed: {allowed}")]
    Value {
        /// The file, the environment variable or the flag.
        origin: String,
        /// The key.
        key: String,
        /// The value as given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

/// The outer layers of a configuration, as found by the caller: nothing here reads the process environment, so that
/// tests need not change it.
#[derive(Default)]
pub(crate) struct Sources {
    /// `config.toml`; need not exist.
    pub(crate) file: Option<PathBuf>,
    /// Environment variables; those that do not start with `QUORATE_` are not looked at.
    pub(crate) environment: BTreeMap<String, String>,
    /// Flags: key, flag as the user wrote it, value.
    pub(crate) flags: Vec<Flag>,
}

/// A command line flag that sets a key.
pub(crate) struct Flag {
    /// The key that it sets.
    pub(crate) key: &'static str,
    /// The flag, for refusals: `--rpc-listen`.
    pub(crate) flag: &'static str,
    /// Its value; lists are separated by commas.
    pub(crate) value: String,
}

/// A key with its value in force and the layer that gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setting {
    /// The key.
    pub(crate) key: &'static str,
    /// The value, as JSON.
    pub(crate) value: serde_json::Value,
    /// `default`, the file, the environment variable or the flag.
    pub(crate) source: String,
}

/// A configuration with the origin of each of its values.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What is in force.
    pub(crate) config: Config,
    /// The same, key by key, in the order of [`KEYS`].
    pub(crate) settings: Vec<Setting>,
}

impl Sources {
    /// The sources of a running command: the home's file, this process's environment and `flags`.
    pub(crate) fn of_process(file: PathBuf, flags: Vec<Flag>) -> Self {
        // A variable that is not Unicode cannot be one of ours: all values allowed are ASCII.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Sources { file: Some(file), environment, flags }
    }
}

/// Merges the layers and checks every value.
pub(crate) fn load(sources: Sources) -> Result<Loaded, ConfigError> {
    let mut sections = layers::merged(sources)?;
    let mut settings = Vec::with_capacity(KEYS.len());
    for key in &KEYS {
        let entries = sections.get_mut(key.section()).expect("the defaults hold every section");
        let value = entries.remove(key.entry()).expect("the defaults hold every key");
        settings.push(key.check(value)?);
    }
    let config = from_settings(&settings);
    Ok(Loaded { config, settings })
}

/// The file that `quorate init` writes: every key, with its default as a comment, and `set` as given.
pub(crate) fn file_text(set: &[(&str, serde_json::Value)]) -> String {
    let mut text = String::from(
        "# Configuration of a Quorate node. A key left out has the default shown here.\n\
         # QUORATE_SECTION_KEY in the environment and flags of `quorate start` outrank this file;\n\
         # `quorate config show` says what is in force and where it comes from.\n",
    );
    let defaults = layers::default_tree();
    let mut section_now = "";
    for key in &KEYS {
        let (section, name) = (key.section(), key.entry());
        if section != section_now {
            section_now = section;
            let _ = write!(text, "\n[{section}]\n");
        }
        let _ = writeln!(text, "# {}: {}", key.meaning, key.allowed.words());
        match set.iter().find(|(set, _)| *set == key.name) {
            Some((_, value)) => {
                let _ = writeln!(text, "{name} = {value}");
            }
            None => {
                let _ = writeln!(text, "# {name} = {}", defaults[section][name]);
            }
        }
    }
    text
}

/// The typed configuration of checked settings.
fn from_settings(settings: &[Setting]) -> Config {
    let mut sections = serde_json::Map::new();
    for setting in settings {
        let (section, name) = setting.key.split_once('.').expect("keys are section.name");
        let section = sections.entry(section).or_insert_with(|| serde_json::json!({}));
        section[name] = setting.value.clone();
    }
    serde_json::from_value(sections.into()).expect("every field has a key in the table, checked for its type")
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
