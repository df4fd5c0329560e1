//! `quorate testnet up`: from nothing, or from what is there, to a network that is ready.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quorate_ledger::VALIDATORS_MAX;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::super::{Globals, output};
use super::layout::{NODES_MAX, Node, Testnet};
use super::process::{self, How, Readiness, Started};
use super::{DirArgs, ports, reset, status};
use crate::client::{Client, DEFAULT_URL};
use crate::exit::usage;

/// How long all nodes together may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Between two looks at nodes that start.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Between two looks at which nodes run, which costs nothing.
const RUNNING_EVERY: Duration = Duration::from_millis(200);

/// Between two summaries on a terminal, where the line is drawn over.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);

/// Between two summaries elsewhere, where each is a line of its own and is printed only if it says something new. That a
/// node has ended or runs again is said at once.
const SUMMARY_LINE_EVERY: Duration = Duration::from_secs(10);

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
    watch(&testnet, &stay, children, &mut signals).await?;
    // What ran before belongs to whoever started it.
    let nodes = testnet.description.nodes.iter().filter(|node| started.contains(&node.name));
    stop_all(&testnet, nodes, &mut signals).await?;
    testnet.refresh()
}

/// What this command does once all nodes are ready.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stay {
    /// It returns.
    Detached,
    /// It watches, and at its end stops every node: it started them.
    OwnsAll,
    /// It watches, and at its end stops those of this text, which it started; the others ran before.
    OwnsSome(String),
    /// It only watches: all ran before.
    OwnsNone,
}

impl Stay {
    fn of(testnet: &Testnet, started: &BTreeSet<String>) -> Self {
        if started.is_empty() {
            Self::OwnsNone
        } else if started.len() == testnet.description.nodes.len() {
            Self::OwnsAll
        } else {
            Self::OwnsSome(started.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        }
    }

    /// What Ctrl-C does.
    fn end(&self) -> String {
        match self {
            Self::Detached | Self::OwnsNone => "Ctrl-C leaves them running".to_owned(),
            Self::OwnsAll => "Ctrl-C stops all".to_owned(),
            Self::OwnsSome(names) => format!("Ctrl-C stops {names}"),
        }
    }
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

/// What asks this command to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be received");
        Ok(Signals {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            // The terminal was closed: nobody is left to stop the nodes.
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Shows where the network stands until told to end.
async fn watch(
    testnet: &Testnet,
    stay: &Stay,
    mut children: BTreeMap<String, Started>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let nodes = &testnet.description.nodes;
    let terminal = std::io::stderr().is_terminal();
    let line = ProgressBar::new_spinner();
    if !terminal {
        line.set_draw_target(ProgressDrawTarget::hidden());
    }
    line.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("a constant template"));
    let every = if terminal { SUMMARY_EVERY } else { SUMMARY_LINE_EVERY };
    let mut said = String::new();
    let mut running = status::running(testnet)?;
    let mut due = Instant::now();
    loop {
        let now = status::running(testnet)?;
        if now != running {
            let news = changes(testnet, &running, &now, &mut children);
            line.suspend(|| news.iter().for_each(|news| output::note(news)));
            running = now;
            due = Instant::now();
        }
        if due <= Instant::now() {
            let seen = tokio::select! {
                () = signals.next() => break,
                seen = status::look(testnet) => seen?,
            };
            let summary = status::summary(nodes, &seen);
            line.set_message(format!("{summary} · {}", stay.end()));
            line.tick();
            if !terminal && summary != said {
                output::note(&summary);
                said = summary;
            }
            due = Instant::now() + every;
        }
        tokio::select! {
            () = signals.next() => break,
            () = sleep(RUNNING_EVERY) => {}
        }
    }
    line.finish_and_clear();
    Ok(())
}

/// Which nodes have ended or run again, a line each; how one ended, if this command had started it.
fn changes(
    testnet: &Testnet,
    before: &BTreeSet<String>,
    now: &BTreeSet<String>,
    children: &mut BTreeMap<String, Started>,
) -> Vec<String> {
    let dir = output::quoted(&testnet.dir);
    let ended = before.difference(now).map(|name| {
        // Once: a process of the same name that comes later is another command's.
        let status = children.remove(name).and_then(|mut started| started.child.try_wait().ok().flatten());
        let how = status.map_or(String::new(), |status| format!(" ({status})"));
        let program = program();
        format!("{name} has ended{how}; see `{program} testnet logs {name} --dir {dir}`")
    });
    let begun = now.difference(before).map(|name| format!("{name} runs again"));
    ended.chain(begun).collect()
}

/// Stops nodes cleanly; at once if asked a second time.
async fn stop_all(
    testnet: &Testnet,
    nodes: impl Iterator<Item = &Node> + Clone,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let names: Vec<&str> = nodes.clone().map(|node| node.name.as_str()).collect();
    if names.is_empty() {
        output::note("the nodes go on running");
        return Ok(());
    }
    output::note(&format!("stopping {}", names.join(", ")));
    tokio::select! {
        stopped = process::stop_all(testnet, nodes.clone(), How::Cleanly) => stopped?,
        () = signals.next() => process::stop_all(testnet, nodes, How::AtOnce).await?,
    }
    let all = names.len() == testnet.description.nodes.len();
    output::note(&if all {
        "all nodes have stopped".to_owned()
    } else {
        format!("{} stopped", names.join(", "))
    });
    Ok(())
}

/// Where everything is, and what to try.
fn welcome(testnet: &Testnet, stay: &Stay) -> String {
    let description = &testnet.description;
    let program = program();
    let dir = output::quoted(&testnet.dir);
    let mut table = output::table(&["node", "role", "json-rpc", "log"]);
    for node in &description.nodes {
        table.add_row([
            node.name.clone(),
            if node.validator.is_some() { "validator" } else { "observer" }.to_owned(),
            node.rpc.clone(),
            node.log_file().display().to_string(),
        ]);
    }
    let mut text = format!(
        "{} nodes are ready. Chain {} {}\n\n{}\n",
        description.nodes.len(),
        description.chain,
        description.genesis_hash,
        output::lines(&table)
    );
    for account in &description.accounts {
        text.push_str(&format!("{:5}  {}  {}\n", account.name, account.address, account.key.display()));
    }
    if let (Some(first), Some(last), [alice, bob, ..]) =
        (description.nodes.first(), description.nodes.last(), description.accounts.as_slice())
    {
        let key = output::quoted(&alice.key);
        text.push_str(&format!(
            "\nTry:\n  {program} tx transfer {} 100 --key {key} --rpc {}\n  {program} query account {} --rpc {}\n  \
             {program} tx put greeting hello --key {key} --rpc {}\n",
            bob.address, first.rpc, bob.address, last.rpc, last.rpc
        ));
    }
    // The commands of this chain ask its first node, wherever that listens.
    if let Some(first) = description.nodes.first().filter(|first| first.rpc != DEFAULT_URL) {
        text.push_str(&format!(
            "\nTo leave out --rpc in this shell:\n  export QUORATE_RPC={}\n",
            output::quoted(first.rpc.as_ref())
        ));
    }
    let down = format!("{program} testnet down --dir {dir}");
    text.push_str(&match stay {
        Stay::Detached => format!("\nStop all: {down}\n"),
        Stay::OwnsAll => format!("\nState: {program} testnet status --dir {dir}\n"),
        Stay::OwnsSome(names) => format!(
            "\nThis command started {names}; the others ran already. Ctrl-C stops {names} and leaves the others running.\n\
             Stop all: {down}\n"
        ),
        Stay::OwnsNone => format!(
            "\nAll nodes ran already: this command only watches them, and Ctrl-C leaves them running.\nStop all: {down}\n"
        ),
    });
    text
}

/// How a user calls this program: by its name if that finds it, else by its path.
fn program() -> String {
    let Ok(binary) = std::env::current_exe() else { return "quorate".to_owned() };
    if found_on_path(&binary, std::env::var_os("PATH").as_deref()) {
        return "quorate".to_owned();
    }
    output::quoted(&binary)
}

/// Whether the shell finds exactly `binary` when it is asked for by name.
fn found_on_path(binary: &Path, path: Option<&std::ffi::OsStr>) -> bool {
    let Some(name) = binary.file_name() else { return false };
    let first: Option<PathBuf> = path
        .and_then(|path| std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| file.is_file()));
    let resolved = first.and_then(|file| file.canonicalize().ok());
    resolved.is_some() && resolved == binary.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path) -> UpArgs {
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

    #[test]
    fn what_to_try_names_files_and_addresses_that_exist() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let testnet = make(&args(dir.path())).expect("made");
        let text = welcome(&testnet, &Stay::Detached);
        let lines: Vec<&str> = text.lines().skip_while(|line| *line != "Try:").skip(1).take(3).collect();
        assert!(lines.iter().all(|line| line.contains("--rpc http://127.0.0.1:")), "{text}");
        assert!(lines[0].contains("tx transfer qr1") && lines[0].contains("alice.pem"), "{text}");
        assert!(lines[1].contains("query account qr1"), "{text}");
        assert!(lines[2].contains("tx put greeting hello"), "{text}");
        assert!(text.contains("testnet down --dir"), "{text}");
        let first = &testnet.description.nodes[0].rpc;
        assert!(text.contains(&format!("  export QUORATE_RPC={first}\n")), "{text}");
    }

    #[test]
    fn at_the_default_address_there_is_nothing_to_export() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut testnet = make(&args(dir.path())).expect("made");
        testnet.description.nodes[0].rpc = DEFAULT_URL.to_owned();
        assert!(!welcome(&testnet, &Stay::OwnsAll).contains("QUORATE_RPC"));
    }

    #[test]
    fn what_ends_with_this_command_is_what_it_started() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let testnet = make(&args(dir.path())).expect("made");
        let started = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let all = Stay::of(&testnet, &started(&["node0", "node1", "node2"]));
        assert_eq!(all, Stay::OwnsAll);
        let some = Stay::of(&testnet, &started(&["node0", "node2"]));
        assert_eq!(some, Stay::OwnsSome("node0, node2".to_owned()));
        assert!(welcome(&testnet, &some).contains("Ctrl-C stops node0, node2 and leaves the others running"));
        let none = Stay::of(&testnet, &started(&[]));
        assert_eq!(none, Stay::OwnsNone);
        assert!(welcome(&testnet, &none).contains("Ctrl-C leaves them running"));
    }

    #[test]
    fn what_has_changed_is_told_by_name() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let testnet = make(&args(dir.path())).expect("made");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let news =
            changes(&testnet, &names(&["node0", "node1"]), &names(&["node1", "node2"]), &mut BTreeMap::new());
        assert_eq!(news.len(), 2, "{news:?}");
        assert!(news[0].starts_with("node0 has ended; see "), "{news:?}");
        assert_eq!(news[1], "node2 runs again");
    }

    #[test]
    fn a_program_is_called_by_name_only_if_the_shell_finds_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (here, other) = (dir.path().join("here"), dir.path().join("other"));
        for place in [&here, &other] {
            std::fs::create_dir(place).expect("made");
            std::fs::write(place.join("quorate"), "").expect("written");
        }
        let binary = here.join("quorate");
        let join = |dirs: &[&PathBuf]| std::env::join_paths(dirs).expect("no colons");
        assert!(found_on_path(&binary, Some(&join(&[&here, &other]))));
        assert!(!found_on_path(&binary, Some(&join(&[&other, &here]))));
        assert!(!found_on_path(&binary, None));
    }
}
