//! `quorate start`: runs the node of a home until it is told to stop.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{Globals, block_on, passphrase};
use crate::config::{Flag, LogConfig, Sources, load};
use crate::runtime;

/// Flags outrank the environment and the file; lists may be given by repeating the flag.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// Address to listen on for peers, such as /ip4/0.0.0.0/tcp/7600; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    p2p_listen: Vec<String>,
    /// Peer to dial first; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    bootstrap: Vec<String>,
    /// Address under which others reach this node; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    external: Vec<String>,
    /// Find peers on the local network
    #[arg(long)]
    mdns: bool,
    /// Address of the HTTP server, such as 127.0.0.1:7601
    #[arg(long, value_name = "IP:PORT")]
    rpc_listen: Option<String>,
    /// What to log: a level, or directives such as info,quorate_network=debug
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

pub(super) fn run(globals: &Globals, args: StartArgs) -> anyhow::Result<()> {
    let home = globals.home()?;
    home.check()?;
    let config = load(Sources::of_process(home.config_file(), args.flags()))?.config;
    let genesis = home.genesis()?;
    let keys = runtime::Keys {
        node: passphrase::read_key(globals, &home.node_key_file())?,
        validator: if home.validator_key_file().exists() {
            Some(passphrase::read_key(globals, &home.validator_key_file())?)
        } else {
            None
        },
    };
    // Before the log, so that the one thing to read about a second start is that the first one runs.
    let _lock = home.lock()?;
    log_to_stderr(&config.log)?;
    block_on(runtime::run(home, config, genesis, keys))
}

impl StartArgs {
    fn flags(self) -> Vec<Flag> {
        let list = |key, flag, values: Vec<String>| {
            (!values.is_empty()).then(|| Flag { key, flag, value: values.join(",") })
        };
        let one = |key, flag, value: Option<String>| value.map(|value| Flag { key, flag, value });
        [
            list("p2p.listen", "--p2p-listen", self.p2p_listen),
            list("p2p.bootstrap", "--bootstrap", self.bootstrap),
            list("p2p.external", "--external", self.external),
            one("p2p.mdns", "--mdns", self.mdns.then(|| "true".to_owned())),
            one("rpc.listen", "--rpc-listen", self.rpc_listen),
            one("log.filter", "--log", self.log),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn log_to_stderr(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).expect("the configuration was checked");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("logging cannot be started")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Start {
        #[command(flatten)]
        args: StartArgs,
    }

    #[test]
    fn every_flag_sets_its_key() {
        let line = "start --p2p-listen /ip4/127.0.0.1/tcp/1 --p2p-listen /ip4/127.0.0.1/tcp/2 --bootstrap \
                    /ip4/127.0.0.1/tcp/3 --external /ip4/192.0.2.1/tcp/4 --mdns --rpc-listen 127.0.0.1:5 --log debug";
        let flags = Start::parse_from(line.split_whitespace()).args.flags();
        let config = load(Sources { flags, ..Sources::default() }).expect("well formed").config;
        assert_eq!(config.p2p.listen.len(), 2);
        assert_eq!(config.p2p.bootstrap.len(), 1);
        assert_eq!(config.p2p.external.len(), 1);
        assert!(config.p2p.mdns);
        assert_eq!(config.rpc.listen.port(), 5);
        assert_eq!(config.log.filter, "debug");
    }

    #[test]
    fn without_flags_nothing_is_set() {
        assert!(Start::parse_from(["start"]).args.flags().is_empty());
    }
}
