//! The directory of a testnet: how it is made, and what stands in `testnet.json`.
//!
//! It is made beside its place and renamed there, so that what has the name is whole.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use quorate_crypto::durable::replace;
use quorate_crypto::{Hash, PublicKey, SecretKey, write_key_file};
use quorate_genesis::{Genesis, GenesisBuilder};
use quorate_ledger::{Account, Amount};
use serde::{Deserialize, Serialize};

use super::super::{init, values};
use super::ports::Ports;
use crate::config;
use crate::exit::usage;
use crate::home::{Holder, Home};

/// What each of the accounts has at genesis.
const BALANCE: Amount = 1_000_000_000_000;

/// The funded accounts.
const ACCOUNTS: [&str; 2] = ["alice", "bob"];

/// How many peers a node dials by itself; it finds the others through them.
const BOOTSTRAP_PEERS: usize = 4;

/// Most nodes of a testnet: each is a process with a database of its own.
pub(super) const NODES_MAX: usize = 200;

/// A testnet on disk.
#[derive(Clone, Debug)]
pub(super) struct Testnet {
    /// Its directory, absolute.
    pub(super) dir: PathBuf,
    /// What `testnet.json` says.
    pub(super) description: Description,
}

/// The content of `testnet.json`. The paths are those of when it was written; the commands go by the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    /// Name of the chain.
    pub(super) chain: String,
    /// Hash of the genesis.
    pub(super) genesis_hash: Hash,
    /// Accounts that have a balance from the start.
    pub(super) accounts: Vec<FundedAccount>,
    /// The nodes, validators first.
    pub(super) nodes: Vec<Node>,
}

/// An account to try things with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FundedAccount {
    pub(super) name: String,
    pub(super) address: Account,
    pub(super) key: PathBuf,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    /// Its process when this was written.
    pub(super) pid: Option<i32>,
    /// URL of its JSON-RPC.
    pub(super) rpc: String,
    /// Multiaddr at which it listens for peers.
    pub(super) p2p: String,
    pub(super) home: PathBuf,
    /// The key it votes with; none on an observer.
    pub(super) validator: Option<PublicKey>,
}

impl Testnet {
    /// The testnet in `dir`, which must be there.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        Self::open_if_there(dir)?.ok_or_else(|| {
            usage(format!(
                "there is no testnet in {}; make one with `quorate testnet up --dir {}`, or name its directory with --dir",
                dir.display(),
                super::output::quoted(dir)
            ))
        })
    }

    /// The testnet in `dir`, or nothing if `dir` is absent or empty.
    pub(super) fn open_if_there(dir: &Path) -> anyhow::Result<Option<Self>> {
        let dir = std::path::absolute(dir).with_context(|| dir.display().to_string())?;
        let file = dir.join("testnet.json");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let empty = std::fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none());
                if empty {
                    return Ok(None);
                }
                return Err(usage(format!(
                    "{} has files but no testnet.json; name another directory with --dir",
                    dir.display()
                )));
            }
            Err(error) => return Err(anyhow::Error::new(error).context(file.display().to_string())),
        };
        let mut description: Description = serde_json::from_str(&text).map_err(|error| {
            usage(format!("{}: {error}; it is written by `quorate testnet up` only", file.display()))
        })?;
        // The directory may have been moved since.
        for node in &mut description.nodes {
            node.home = dir.join(&node.name);
        }
        for account in &mut description.accounts {
            account.key = account_file(&dir, &account.name);
        }
        Ok(Some(Testnet { dir, description }))
    }

    /// Makes a testnet in `dir`, which must be absent or empty.
    pub(super) fn make(dir: &Path, validators: usize, ports: &[Ports]) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir).with_context(|| dir.display().to_string())?;
        let name = dir.file_name().with_context(|| format!("{} is no directory to make", dir.display()))?;
        let mut draft_name = std::ffi::OsString::from(".");
        draft_name.push(name);
        draft_name.push(format!(".{}", std::process::id()));
        let draft = dir.with_file_name(draft_name);
        if let Some(parent) = dir.parent() {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }

        let made = fill(&draft, &dir, validators, ports).and_then(|description| {
            // Over an empty directory, too; over anything else the system refuses.
            std::fs::rename(&draft, &dir).with_context(|| dir.display().to_string())?;
            Ok(Testnet { dir, description })
        });
        if made.is_err() {
            // What was half made has a name that nobody looks at; the first error is the one to show.
            let _ = std::fs::remove_dir_all(&draft);
        }
        made
    }

    /// The node a user means: `node2`, or `2`.
    pub(super) fn node(&self, name: &str) -> anyhow::Result<&Node> {
        let nodes = &self.description.nodes;
        nodes
            .iter()
            .find(|node| node.name == name || node.name.strip_prefix("node") == Some(name))
            .ok_or_else(|| {
                let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
                usage(format!("there is no node {name:?}; there are {}", names.join(", ")))
            })
    }

    /// Writes down which processes run now.
    pub(super) fn refresh(&mut self) -> anyhow::Result<()> {
        for node in &mut self.description.nodes {
            node.pid = match node.home().holder()? {
                Holder::Process(pid) => Some(pid.as_raw()),
                Holder::Nobody | Holder::Elsewhere => None,
            };
        }
        write_description(&self.dir, &self.description)
    }

    /// The file that is there while a reset is not done.
    pub(super) fn reset_mark(&self) -> PathBuf {
        self.dir.join("reset-not-done")
    }
}

impl Node {
    /// Its home.
    pub(super) fn home(&self) -> Home {
        Home::new(&self.home)
    }

    /// Where its process writes.
    pub(super) fn log_file(&self) -> PathBuf {
        self.home.join("node.log")
    }

    /// The address of its HTTP server.
    pub(super) fn rpc_address(&self) -> anyhow::Result<SocketAddr> {
        self.rpc
            .strip_prefix("http://")
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("testnet.json: {} is not http://IP:PORT", self.rpc))
    }

    /// Its ports.
    pub(super) fn ports(&self) -> anyhow::Result<Ports> {
        let p2p = self.p2p.rsplit('/').next().and_then(|port| port.parse().ok());
        let p2p = p2p.with_context(|| format!("testnet.json: {} does not end in a port", self.p2p))?;
        Ok(Ports { p2p, rpc: self.rpc_address()?.port() })
    }
}

fn account_file(dir: &Path, name: &str) -> PathBuf {
    dir.join("accounts").join(format!("{name}.pem"))
}

fn p2p_address(ports: Ports) -> String {
    format!("/ip4/127.0.0.1/tcp/{}", ports.p2p)
}

/// Makes everything in `draft`; what is described is as it will be in `dir`.
fn fill(draft: &Path, dir: &Path, validators: usize, ports: &[Ports]) -> anyhow::Result<Description> {
    let accounts_dir = draft.join("accounts");
    std::fs::create_dir_all(&accounts_dir).with_context(|| accounts_dir.display().to_string())?;

    let mut genesis = GenesisBuilder::new("testnet", values::now()?);
    let mut accounts = Vec::new();
    for name in ACCOUNTS {
        let key = SecretKey::generate();
        write_key_file(&account_file(draft, name), &key, None)?;
        let address = Account(key.public());
        genesis = genesis.account(address, BALANCE);
        accounts.push(FundedAccount { name: name.to_owned(), address, key: account_file(dir, name) });
    }

    let mut nodes = Vec::new();
    for (index, own) in ports.iter().enumerate() {
        let name = format!("node{index}");
        let home = Home::new(draft.join(&name));
        home.create()?;
        write_key_file(&home.node_key_file(), &SecretKey::generate(), None)?;
        let validator = (index < validators).then(SecretKey::generate);
        if let Some(key) = &validator {
            init::make_validator_key(&home, key, None)?;
            genesis = genesis.validator(key.public(), &name);
        }
        let others = ports.iter().filter(|other| *other != own).take(BOOTSTRAP_PEERS);
        let bootstrap: Vec<String> = others.map(|other| p2p_address(*other)).collect();
        let listen = vec![p2p_address(*own), format!("/ip4/127.0.0.1/udp/{}/quic-v1", own.p2p)];
        let rpc = format!("127.0.0.1:{}", own.rpc);
        let text = config::file_text(&[
            ("p2p.listen", listen.into()),
            ("p2p.bootstrap", bootstrap.into()),
            ("rpc.listen", rpc.as_str().into()),
        ]);
        init::write_new(&home.config_file(), text)?;
        nodes.push(Node {
            home: dir.join(&name),
            name,
            pid: None,
            rpc: format!("http://{rpc}"),
            p2p: p2p_address(*own),
            validator: validator.map(|key| key.public()),
        });
    }

    let genesis = genesis.build()?;
    write_genesis(draft, &genesis, &nodes)?;
    let description =
        Description { chain: genesis.name().to_owned(), genesis_hash: genesis.hash(), accounts, nodes };
    write_description(draft, &description)?;
    Ok(description)
}

fn write_genesis(draft: &Path, genesis: &Genesis, nodes: &[Node]) -> anyhow::Result<()> {
    let text = genesis.to_pretty_json();
    init::write_new(&draft.join("genesis.json"), &text)?;
    for node in nodes {
        init::write_new(&Home::new(draft.join(&node.name)).genesis_file(), &text)?;
    }
    Ok(())
}

/// Replaces `testnet.json` as a whole: whoever reads it meanwhile sees the old or the new one.
fn write_description(dir: &Path, description: &Description) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(description)?;
    text.push('\n');
    let draft = dir.join(format!(".testnet.json.{}", std::process::id()));
    let file = dir.join("testnet.json");
    replace(&file, &draft, |draft| draft.write_all(text.as_bytes()))
        .with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn ports(count: u16) -> Vec<Ports> {
        (0..count).map(|index| Ports { p2p: 9_000 + 10 * index, rpc: 9_001 + 10 * index }).collect()
    }

    fn made() -> (tempfile::TempDir, Testnet) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let testnet = Testnet::make(&dir.path().join("net"), 4, &ports(5)).expect("made");
        (dir, testnet)
    }

    #[test]
    fn what_is_made_is_what_is_opened() {
        let (_dir, testnet) = made();
        let opened = Testnet::open(&testnet.dir).expect("there");
        assert_eq!(opened.description, testnet.description);
        assert_eq!(opened.description.nodes.len(), 5);
    }

    #[test]
    fn validators_are_in_the_genesis_and_observers_are_not() {
        let (_dir, testnet) = made();
        let genesis = Genesis::load(&testnet.dir.join("genesis.json")).expect("every rule holds");
        assert_eq!(genesis.hash(), testnet.description.genesis_hash);
        assert_eq!(genesis.validators().len(), 4);
        for (index, node) in testnet.description.nodes.iter().enumerate() {
            let home = node.home();
            home.check().expect("whole");
            assert_eq!(home.genesis().expect("every rule holds").hash(), genesis.hash());
            assert_eq!(node.validator.is_some(), index < 4, "{}", node.name);
            assert_eq!(home.validator_key_file().exists(), index < 4);
            assert_eq!(home.validator_mark_file().exists(), index < 4);
            if let Some(key) = &node.validator {
                assert_eq!(genesis.validator_name(key), Some(node.name.as_str()));
            }
        }
    }

    #[test]
    fn configurations_are_well_formed_and_name_the_others() {
        let (_dir, testnet) = made();
        for node in &testnet.description.nodes {
            let sources = Sources { file: Some(node.home().config_file()), ..Sources::default() };
            let config = load(sources).expect("well formed").config;
            assert_eq!(config.rpc.listen, node.rpc_address().expect("an address"));
            assert_eq!(config.p2p.listen.len(), 2);
            assert_eq!(config.p2p.bootstrap.len(), 4);
            assert!(config.p2p.bootstrap.iter().all(|peer| peer.to_string() != node.p2p));
        }
    }

    #[test]
    fn accounts_are_funded() {
        let (_dir, testnet) = made();
        let genesis = Genesis::load(&testnet.dir.join("genesis.json")).expect("every rule holds");
        for account in &testnet.description.accounts {
            assert!(genesis.accounts().contains(&(account.address, BALANCE)), "{}", account.name);
            let key = quorate_crypto::read_key_file(&account.key, None).expect("a key file");
            assert_eq!(Account(key.public()), account.address);
        }
    }

    #[test]
    fn nodes_are_found_by_name_and_number() {
        let (_dir, testnet) = made();
        assert_eq!(testnet.node("node2").expect("there").name, "node2");
        assert_eq!(testnet.node("2").expect("there").name, "node2");
        let error = testnet.node("7").expect_err("not there").to_string();
        assert!(error.contains("there are node0, node1"), "{error}");
    }

    #[test]
    fn nothing_is_made_over_something() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let other = dir.path().join("other");
        std::fs::create_dir(&other).expect("made");
        assert!(Testnet::open_if_there(&other).expect("empty").is_none());
        std::fs::write(other.join("thesis.txt"), "years of work").expect("written");
        assert!(Testnet::open_if_there(&other).is_err());
        assert!(Testnet::make(&other, 1, &ports(1)).is_err());
        assert!(other.join("thesis.txt").exists());
        let left: Vec<_> = std::fs::read_dir(dir.path()).expect("readable").collect();
        assert_eq!(left.len(), 1, "nothing half made stays: {left:?}");
    }

    #[test]
    fn a_moved_testnet_goes_by_its_new_place() {
        let (dir, testnet) = made();
        let moved = dir.path().join("moved");
        std::fs::rename(&testnet.dir, &moved).expect("renamed");
        let testnet = Testnet::open(&moved).expect("there");
        assert!(testnet.description.nodes.iter().all(|node| node.home.starts_with(&moved)));
        assert!(testnet.description.accounts.iter().all(|account| account.key.exists()));
    }

    #[test]
    fn where_no_testnet_is_the_error_says_how_to_make_one() {
        let error = Testnet::open(Path::new("/nonexistent/net")).expect_err("not there").to_string();
        assert!(error.contains("quorate testnet up --dir /nonexistent/net"), "{error}");
    }
}
