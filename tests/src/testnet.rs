//! A network of real processes in a directory of its own.
//!
//! It is used as its users do: by `quorate testnet`, whose `testnet.json` says where everything is. Nothing of it stays
//! behind, whatever becomes of the tests (`reaper`).

mod reaper;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quorate_crypto::{Hash, PublicKey};
use quorate_genesis::Genesis;
use quorate_ledger::ValidatorIndex;
use serde::Deserialize;
use serde_json::{Value, json};

use self::reaper::{Reaper, turn};
use crate::client::{Client, number};
use crate::program::{self, Finished};
use crate::wait::{SOON, soon, until};
use crate::wallet::Wallet;

/// Validators of a network unless a test asks for more.
const VALIDATORS: usize = 4;

/// A filter for the logs of all nodes, such as `debug`, in place of the usual one.
const LOG: &str = "QUORATE_TEST_LOG";

/// How long after a start a node may take to be ready: on a machine that does much else.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How much of each log a failed test shows.
const LOG_LINES: usize = 25;

/// What stands in `testnet.json`, as far as it is needed here.
#[derive(Clone, Debug, Deserialize)]
struct Description {
    genesis_hash: Hash,
    accounts: Vec<AccountEntry>,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Deserialize)]
struct AccountEntry {
    name: String,
    address: String,
    key: PathBuf,
}

/// One node.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// `node0`, `node1`, …
    pub name: String,
    /// Its process, when it was last started or stopped.
    pub pid: Option<i32>,
    /// URL of its JSON-RPC.
    pub rpc: String,
    /// Where it listens for peers.
    pub p2p: String,
    /// Its home directory.
    pub home: PathBuf,
    /// The key it votes with; none on an observer.
    pub validator: Option<PublicKey>,
}

impl Node {
    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.home.join("node.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The TCP port at which it listens for peers.
    ///
    /// # Panics
    /// If the address does not end in one.
    #[must_use]
    pub fn p2p_port(&self) -> u16 {
        self.p2p.rsplit('/').next().and_then(|port| port.parse().ok()).expect("/ip4/…/tcp/port")
    }
}

/// Whose turn it is to propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The view.
    pub view: u64,
    /// Its primary, by the number of its node.
    pub primary: usize,
}

/// Validators, and observers if any were asked for; the validators come first.
#[derive(Debug)]
pub struct Testnet {
    dir: PathBuf,
    description: Description,
    welcome: String,
    // In this order: the next one comes up when everything of this one is gone.
    _reaper: Reaper,
    _turn: File,
}

impl Testnet {
    /// Four validators that are ready.
    ///
    /// # Panics
    /// If they do not come up.
    pub async fn up() -> Self {
        Self::of(VALIDATORS, 0).await
    }

    /// So many validators, and observers behind them, that are ready.
    ///
    /// # Panics
    /// If they do not come up.
    pub async fn of(validators: usize, observers: usize) -> Self {
        let turn = turn();
        let root =
            tempfile::Builder::new().prefix("quorate-e2e-").tempdir().expect("a temporary directory").keep();
        // A blank in the name: whatever is printed for pasting must survive it.
        let dir = root.join("a net");
        let reaper = Reaper::of(&root, &dir);
        let size = [
            "--base-port",
            "0",
            "--validators",
            &validators.to_string(),
            "--observers",
            &observers.to_string(),
        ];
        let welcome = up(&dir, &size).await.success();
        let mut testnet = Self { description: describe(&dir), dir, welcome, _reaper: reaper, _turn: turn };
        if let Ok(filter) = std::env::var(LOG) {
            for node in 0..testnet.nodes().len() {
                testnet.manage("stop", node).await;
                testnet.configure(node, "# filter = ", &format!("filter = \"{filter}\" # "));
            }
            testnet.up_again().await;
        }
        testnet
    }

    /// Starts whatever does not run, and waits until all are ready.
    ///
    /// # Panics
    /// If they do not come up.
    pub async fn up_again(&mut self) {
        up(&self.dir, &[]).await.success();
        self.description = describe(&self.dir);
    }

    /// What `testnet up` printed.
    #[must_use]
    pub fn welcome(&self) -> &str {
        &self.welcome
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The genesis document.
    #[must_use]
    pub fn genesis_file(&self) -> PathBuf {
        self.dir.join("genesis.json")
    }

    /// The chain as the document has it.
    ///
    /// # Panics
    /// If the document breaks a rule.
    #[must_use]
    pub fn genesis(&self) -> Genesis {
        Genesis::load(&self.genesis_file()).expect("a genesis document that the program made")
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.description.nodes
    }

    /// JSON-RPC of a node.
    #[must_use]
    pub fn client(&self, node: usize) -> Client {
        Client::new(&self.nodes()[node].rpc)
    }

    /// JSON-RPC of every node.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        (0..self.nodes().len()).map(|node| self.client(node)).collect()
    }

    /// A funded account, `alice` or `bob`.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn wallet(&self, name: &str) -> Wallet {
        let account =
            self.description.accounts.iter().find(|account| account.name == name).expect("alice or bob");
        let wallet = Wallet::open(&account.key, self.description.genesis_hash);
        assert_eq!(wallet.account().to_string(), account.address, "the key is the account's");
        wallet
    }

    /// The key file of a funded account.
    #[must_use]
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.dir.join("accounts").join(format!("{name}.pem"))
    }

    /// Which node is the primary, and of which view, as the first one sees it.
    ///
    /// # Panics
    /// If nobody is, for long.
    pub async fn leadership(&self) -> Leadership {
        let client = self.client(0);
        until("a primary", SOON, async || {
            let status = client.status().await;
            let key = status["primary"]["key"].as_str().and_then(|key| key.parse::<PublicKey>().ok());
            let primary = self.nodes().iter().position(|node| key.is_some() && node.validator == key);
            let primary = primary.ok_or_else(|| status["primary"].to_string())?;
            Ok(Leadership { view: number(&status["view"]), primary })
        })
        .await
    }

    /// Which node is the primary.
    pub async fn primary(&self) -> usize {
        self.leadership().await.primary
    }

    /// Which node is the primary of a view, by the set of the genesis.
    ///
    /// # Panics
    /// If the set has no members.
    #[must_use]
    pub fn primary_of(&self, view: u64) -> usize {
        let genesis = self.genesis();
        let keys = genesis.validators().keys();
        let place = view % u64::try_from(keys.len()).expect("a small number");
        let key = keys[usize::try_from(place).expect("a small number")];
        self.nodes().iter().position(|node| node.validator == Some(key)).expect("a node of the testnet")
    }

    /// The validators that are not the primary, by their number.
    pub async fn backups(&self) -> Vec<usize> {
        let primary = self.primary().await;
        let is_backup = |node: &usize| *node != primary && self.nodes()[*node].validator.is_some();
        (0..self.nodes().len()).filter(is_backup).collect()
    }

    /// All nodes but these, by their number.
    #[must_use]
    pub fn but(&self, nodes: &[usize]) -> Vec<usize> {
        (0..self.nodes().len()).filter(|node| !nodes.contains(node)).collect()
    }

    /// The place of a validator in the set of the genesis.
    ///
    /// # Panics
    /// If it is none of that set.
    #[must_use]
    pub fn place(&self, node: usize) -> ValidatorIndex {
        let key = self.nodes()[node].validator.expect("a validator");
        self.genesis().validators().index_of(&key).expect("of the genesis")
    }

    /// Runs `quorate testnet VERB NODE`.
    ///
    /// # Panics
    /// If that fails.
    pub async fn manage(&mut self, verb: &str, node: usize) {
        let name = &self.nodes()[node].name;
        let dir = self.dir.to_string_lossy();
        program::run(["testnet", verb, name, "--dir", &dir]).await.success();
        self.description = describe(&self.dir);
    }

    /// Starts a node, and waits until it says that it is ready.
    pub async fn start(&mut self, node: usize) {
        self.manage("start", node).await;
        let client = self.client(node);
        until("the node is ready", READY_WITHIN, async || client.is_ready().await).await;
    }

    /// Stops a node as its operator does, having looked at what it holds against others.
    pub async fn stop(&mut self, node: usize) {
        self.assert_accuses_nobody(node).await;
        self.manage("stop", node).await;
    }

    /// Sends a signal to the process of a node.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, node: usize, signal: Signal) {
        let pid = self.nodes()[node].pid.expect("it runs");
        kill(Pid::from_raw(pid), signal).unwrap_or_else(|errno| panic!("process {pid}: {signal}: {errno}"));
    }

    /// Kills nodes as a power cut does: all are hit before any is waited for. What they hold against others does not
    /// outlive them, so it is looked at first.
    pub async fn kill_at_once(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.assert_accuses_nobody(*node).await;
        }
        for node in nodes {
            self.signal(*node, Signal::SIGKILL);
        }
        for node in nodes {
            self.manage("kill", *node).await;
        }
    }

    /// Takes from a node, which must not run, all it has learned: the chain, and what it signed. Keys stay.
    ///
    /// # Panics
    /// If the files cannot be removed.
    pub fn wipe(&self, node: usize) {
        let data = self.nodes()[node].home.join("data");
        std::fs::remove_dir_all(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
        std::fs::create_dir(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
    }

    /// Changes the configuration file of a node, which must not run.
    ///
    /// # Panics
    /// If the file does not have the text.
    pub fn configure(&self, node: usize, from: &str, to: &str) {
        let file = self.nodes()[node].home.join("config/config.toml");
        let text = std::fs::read_to_string(&file).expect("a configuration file");
        assert!(text.contains(from), "{}: no {from:?} in\n{text}", file.display());
        std::fs::write(&file, text.replace(from, to)).expect("writable");
    }

    /// Waits until every node has executed a height, and returns what all of them say of it: hash of the block, state
    /// root after it.
    ///
    /// # Panics
    /// If they do not say the same.
    pub async fn agreed(&self, height: u64) -> (String, String) {
        let mut said = Vec::new();
        for client in self.clients() {
            client.reach(height).await;
            let block = client.block(height).await;
            let parameters = json!({ "height": height, "kind": "checkpoint" });
            // Follows as soon as a quorum has executed the block.
            let checkpoint = until("a checkpoint certificate", SOON, async || {
                let certificate = client.call("chain_getCertificate", parameters.clone()).await;
                if certificate.is_null() { Err("none".to_owned()) } else { Ok(certificate) }
            })
            .await;
            let checkpoint = &checkpoint["certificate"];
            assert_eq!(checkpoint["block"], block["hash"], "a checkpoint of this block");
            said.push((block["hash"].clone(), checkpoint["state_root"].clone()));
        }
        assert!(said.iter().all(|one| *one == said[0]), "height {height}: {said:?}");
        let text = |value: &Value| value.as_str().expect("a hash").to_owned();
        (text(&said[0].0), text(&said[0].1))
    }

    /// Waits until a vote of a node stands in the certificate of a block above a height; that block's height.
    ///
    /// # Panics
    /// If none does soon, though blocks are made.
    pub async fn votes(&self, node: usize, above: u64) -> u64 {
        let place = self.place(node);
        let witness = self.client((node + 1) % self.nodes().len());
        let look = async {
            let mut blocks = witness.follow(above + 1).await;
            loop {
                let height = blocks.next().await.height;
                // That of a later block, which covers this one, may be still to come.
                if witness.decision(height).await.is_some_and(|it| it.voters.contains(&place)) {
                    return height;
                }
            }
        };
        soon("its vote in a certificate", look).await
    }

    /// The greatest height that any of these nodes has executed.
    pub async fn newest(&self, nodes: &[usize]) -> u64 {
        let mut newest = 0;
        for node in nodes {
            newest = newest.max(self.client(*node).height().await);
        }
        newest
    }

    /// Waits until all nodes have executed the same height, as they do soon when no work is left, and returns it.
    pub async fn settled(&self) -> u64 {
        let clients = self.clients();
        until("all nodes are equally far", SOON, async || {
            let heights = join_all(clients.iter().map(Client::height)).await;
            let same = heights.iter().all(|height| *height == heights[0]);
            if same { Ok(heights[0]) } else { Err(format!("{heights:?}")) }
        })
        .await
    }

    /// Fails if any node holds a proof that anybody has contradicted itself.
    ///
    /// # Panics
    /// Then.
    pub async fn assert_no_evidence(&self) {
        for node in 0..self.nodes().len() {
            self.assert_accuses_nobody(node).await;
        }
    }

    async fn assert_accuses_nobody(&self, node: usize) {
        let evidence = self.client(node).call("consensus_getEvidence", json!({})).await;
        assert_eq!(number(&evidence["count"]), 0, "{}: {evidence}", self.nodes()[node].name);
    }
}

impl Drop for Testnet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut text = String::new();
        for node in self.nodes() {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            let _ = write!(text, "\n--- the end of the log of {}\n{end}\n", node.name);
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

async fn up(dir: &Path, size: &[&str]) -> Finished {
    let dir = dir.to_string_lossy();
    program::run(["testnet", "up", "--detach", "--dir", &dir].iter().chain(size)).await
}

fn describe(dir: &Path) -> Description {
    let file = dir.join("testnet.json");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", file.display()))
}
