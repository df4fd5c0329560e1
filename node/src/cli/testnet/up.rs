//! `quorate testnet up`: from nothing, or from what is there, to a network that is ready.

mod watch;
mod welcome;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_ledger::VALIDATORS_MAX;
use tokio::time::{Instant, sleep};

use super::super::{Globals, output};
use super::layout::{NODES_MAX, Node, Testnet};
use super::process::{self, How, Readiness, Started};
use super::{DirArgs, ports, reset};
use crate::client::Client;
use crate::exit::usage;

use watch::{Signals, Stay};
use welcome::welcome;

/// How long all nodes together may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Between two looks at nodes that start.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How much of the log of a node that died is shown.
const DEATH_LINES: usize = 20;

const VALIDATORS_DEFAULT: usize = 4;
const BASE_PORT_DEFAULT: u16 = 7_600;

#[derive(Debug, Args)]
pub(in crate::cli) struct UpArgs {
    /// How many validators [default: 4]
    #[arg(long, value_name = "N")]
    validators: Option<usize>,
    /// How many nodes that follow without voting [default: 0]
    #[arg(long, value_name = "N")]
    observers: Option<usize>,
    #[command(flatten)]
    at: DirArgs,
    /// Ports from here on: node i has PORT + 10 i for peers and the one after it for JSON-RPC; 0: free ports [default: 7600]
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Return when all nodes are ready and leave them running
    #[arg(long)]
    detach: bool,
}

pub(super) async fn run(globals: &Globals, args: UpArgs) -> anyhow::Result<()> {
    let mut testnet = match Testnet::open_if_there(&args.at.dir)? {
        Some(testnet) => {
            check_same(&testnet, &args)?;
            testnet
        }
        None => make(&args)?,
    };
    reset::check_done(&testnet)?;
    let mut signals = Signals::new()?;

    let mut children = BTreeMap::new();
    let started = tokio::select! {
        ready = start(&testnet, &mut children) => ready,
        () = signals.next() => Err(anyhow::anyhow!("interrupted before all nodes were ready")),
    };
    if let Err(error) = started {
        // What this command started does not stay behind when it fails; what ran before does.
        for node in testnet.description.nodes.iter().filter(|node| children.contains_key(&node.name)) {
            // The first error is the one to show.
            let _ = process::stop(&testnet, node, How::Cleanly).await;
        }
        testnet.refresh()?;
        return Err(error);
    }
    testnet.refresh()?;
    let started: BTreeSet<String> = children.keys().cloned().collect();
    let stay = if args.detach { Stay::Detached } else { Stay::of(&testnet, &started) };
    output::result(globals.json, &testnet.description, |_| welcome(&testnet, &stay))?;
    if stay == Stay::Detached {
        return Ok(());
    }
    watch::watch(&testnet, &stay, children, &mut signals).await?;
    // What ran before belongs to whoever started it.
    let nodes = testnet.description.nodes.iter().filter(|node| started.contains(&node.name));
    watch::stop_all(&testnet, nodes, &mut signals).await?;
    testnet.refresh()
}

/// Starts one node and waits until it runs; whether it can be ready depends on the others.
pub(super) async fn start_one(testnet: &Testnet, node: &Node) -> anyhow::Result<()> {
    reset::check_done(testnet)?;
    if process::running(node)?.is_some() {
        return Ok(());
    }
    ports::check_free(node.ports()?)?;
    let mut started = process::spawn(node)?;
    let address = node.rpc_address()?;
    let end = Instant::now() + READY_WITHIN;
    while matches!(process::readiness(address).await, Readiness::Silent(_)) {
        check_alive(node, &mut started)?;
        if Instant::now() >= end {
            return Err(anyhow::anyhow!(
                "{}\n{}",
                not_in_time(&node.name, "does not answer"),
                log_end(node, started.log_begin)
            ));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// What is asked for must be what is there: nodes are not added or moved by starting them.
fn check_same(testnet: &Testnet, args: &UpArgs) -> anyhow::Result<()> {
    let nodes = &testnet.description.nodes;
    let validators = nodes.iter().filter(|node| node.validator.is_some()).count();
    let observers = nodes.len() - validators;
    let differs = |flag: &str, there: usize, asked: usize| {
        usage(format!(
            "{flag} {asked}: the testnet in {} has {there}; leave the flag out to start it as it is, or name another --dir",
            testnet.dir.display()
        ))
    };
    if let Some(asked) = args.validators.filter(|asked| *asked != validators) {
        return Err(differs("--validators", validators, asked));
    }
    if let Some(asked) = args.observers.filter(|asked| *asked != observers) {
        return Err(differs("--observers", observers, asked));
    }
    // Port 0 asked for free ports; those it has were free when it was made.
    if let (Some(asked), Some(first)) = (args.base_port.filter(|asked| *asked != 0), nodes.first()) {
        let there = first.ports()?.p2p;
        if there != asked {
            return Err(differs("--base-port", usize::from(there), usize::from(asked)));
        }
    }
    Ok(())
}

fn make(args: &UpArgs) -> anyhow::Result<Testnet> {
    let validators = args.validators.unwrap_or(VALIDATORS_DEFAULT);
    let observers = args.observers.unwrap_or(0);
    if validators == 0 || validators > VALIDATORS_MAX {
        return Err(usage(format!("--validators {validators}: 1 to {VALIDATORS_MAX} are allowed")));
    }
    let nodes = validators.saturating_add(observers);
    if nodes > NODES_MAX {
        return Err(usage(format!("{nodes} nodes: at most {NODES_MAX} are allowed on one machine")));
    }
    let ports = ports::choose(nodes, args.base_port.unwrap_or(BASE_PORT_DEFAULT))?;
    Testnet::make(&args.at.dir, validators, &ports)
}

/// Starts every node that does not run, puts its process into `children`, and waits until all nodes are ready.
async fn start(testnet: &Testnet, children: &mut BTreeMap<String, Started>) -> anyhow::Result<()> {
    let nodes = &testnet.description.nodes;
    let mut stopped = Vec::new();
    for node in nodes {
        if process::running(node)?.is_none() {
            ports::check_free(node.ports()?)?;
            stopped.push(node);
        }
    }
    for node in stopped {
        children.insert(node.name.clone(), process::spawn(node)?);
    }

    let bar = ProgressBar::new(nodes.len() as u64).with_style(
        ProgressStyle::with_template("starting {bar:30} {pos}/{len} nodes ready {wide_msg}")
            .expect("a constant template"),
    );
    let mut waiting: Vec<(&Node, String)> = nodes.iter().map(|node| (node, "starting".to_owned())).collect();
    let end = Instant::now() + READY_WITHIN;
    while !waiting.is_empty() {
        let mut still = Vec::new();
        for (node, _) in waiting {
            if let Some(started) = children.get_mut(&node.name) {
                check_alive(node, started)?;
            }
            match ready(testnet, node).await? {
                None => {
                    bar.inc(1);
                    if bar.is_hidden() {
                        output::note(&format!("{} is ready", node.name));
                    }
                }
                Some(reason) => still.push((node, reason)),
            }
        }
        if let Some((node, reason)) = still.first() {
            bar.set_message(format!("{}: {reason}", node.name));
            if Instant::now() >= end {
                let begin = children.get(&node.name).map_or(0, |started| started.log_begin);
                bar.finish_and_clear();
                return Err(anyhow::anyhow!("{}\n{}", not_in_time(&node.name, reason), log_end(node, begin)));
            }
            sleep(LOOK_EVERY).await;
        }
        waiting = still;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Nothing if a node is ready and on our chain, else why not.
async fn ready(testnet: &Testnet, node: &Node) -> anyhow::Result<Option<String>> {
    match process::readiness(node.rpc_address()?).await {
        Readiness::Silent(_) => return Ok(Some("does not answer yet".to_owned())),
        Readiness::NotYet(reason) => return Ok(Some(reason)),
        Readiness::Ready => {}
    }
    let status = Client::new(&node.rpc)?.status().await?;
    if status.genesis_hash != testnet.description.genesis_hash {
        return Err(anyhow::anyhow!(
            "at {} a node of another chain answers ({} {}); stop it, or make a testnet on free ports with \
             --base-port 0 and another --dir",
            node.rpc,
            status.chain,
            status.genesis_hash
        ));
    }
    Ok(None)
}

/// Fails with the end of its log if a node that was started is no more.
fn check_alive(node: &Node, started: &mut Started) -> anyhow::Result<()> {
    match started.child.try_wait().with_context(|| format!("{} cannot be watched", node.name))? {
        None => Ok(()),
        Some(status) => Err(anyhow::anyhow!(
            "{} ended while starting ({status})\n{}",
            node.name,
            log_end(node, started.log_begin)
        )),
    }
}

fn not_in_time(name: &str, reason: &str) -> String {
    format!("{name} was not ready within {} s: {reason}", READY_WITHIN.as_secs())
}

/// The end of a node's log, without what was in it before `begin`.
fn log_end(node: &Node, begin: u64) -> String {
    let file = node.log_file();
    match process::tail(&file, begin, DEATH_LINES) {
        Ok((lines, _)) => format!("the end of {}:\n{}", file.display(), lines.trim_end()),
        Err(error) => format!("its log cannot be read: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    pub(super) fn args(dir: &Path) -> UpArgs {
        UpArgs {
            validators: Some(2),
            observers: Some(1),
            at: DirArgs { dir: dir.join("net") },
            base_port: Some(0),
            detach: false,
        }
    }

    #[test]
    fn an_existing_testnet_is_started_as_it_is_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let testnet = make(&args(dir.path())).expect("made");
        let plain = UpArgs { validators: None, observers: None, base_port: None, ..args(dir.path()) };
        check_same(&testnet, &plain).expect("nothing is asked for");
        check_same(&testnet, &args(dir.path())).expect("what it is");
        let more = UpArgs { validators: Some(3), ..args(dir.path()) };
        assert!(check_same(&testnet, &more).expect_err("other").to_string().contains("has 2"));
        let fewer = UpArgs { observers: Some(0), ..args(dir.path()) };
        assert!(check_same(&testnet, &fewer).is_err());
        let elsewhere = UpArgs { base_port: Some(1), ..args(dir.path()) };
        assert!(check_same(&testnet, &elsewhere).is_err());
    }

    #[test]
    fn the_number_of_nodes_is_bounded() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let none = UpArgs { validators: Some(0), ..args(dir.path()) };
        assert!(make(&none).is_err());
        let too_many = UpArgs { validators: Some(VALIDATORS_MAX + 1), observers: None, ..args(dir.path()) };
        assert!(make(&too_many).is_err());
        let too_many = UpArgs { validators: Some(1), observers: Some(NODES_MAX), ..args(dir.path()) };
        assert!(make(&too_many).is_err());
    }
}
