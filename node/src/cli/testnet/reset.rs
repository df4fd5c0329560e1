//! `quorate testnet reset`: the same network again from its genesis.
//!
//! A key whose votes are forgotten may vote against them; that is harmless only if all nodes forget together. So a
//! reset is of all nodes, all stopped and locked; and one that was cut short is remembered, and finished before anything
//! starts.

use std::fs;

use anyhow::Context as _;
use quorate_consensus::vote_log::Mark;

use super::layout::{Node, Testnet};
use super::process;
use crate::exit::usage;

/// Drops the data of all nodes and sets the marks of their keys to unused.
pub(super) fn run(testnet: &Testnet) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for node in &testnet.description.nodes {
        if process::running(node)?.is_some() {
            names.push(node.name.as_str());
        }
    }
    if !names.is_empty() {
        let dir = super::output::quoted(&testnet.dir);
        return Err(usage(format!(
            "{} still running; stop all with `quorate testnet down --dir {dir}` first",
            names.join(", ")
        )));
    }
    let locks = testnet.description.nodes.iter().map(|node| node.home().lock());
    let _locks: Vec<_> = locks.collect::<Result<_, _>>()?;

    let mark = testnet.reset_mark();
    fs::write(&mark, "").with_context(|| mark.display().to_string())?;
    for node in &testnet.description.nodes {
        drop_data(node)?;
    }
    fs::remove_file(&mark).with_context(|| mark.display().to_string())
}

/// Fails if a reset was cut short: some nodes may have forgotten what others remember.
pub(super) fn check_done(testnet: &Testnet) -> anyhow::Result<()> {
    if !testnet.reset_mark().exists() {
        return Ok(());
    }
    let dir = super::output::quoted(&testnet.dir);
    Err(usage(format!("a reset was cut short; finish it with `quorate testnet reset --dir {dir}`")))
}

fn drop_data(node: &Node) -> anyhow::Result<()> {
    let home = node.home();
    let data = home.data_dir();
    match fs::remove_dir_all(&data) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(anyhow::Error::new(error).context(data.display().to_string()));
        }
        Ok(()) | Err(_) => {}
    }
    home.create()?;
    if !home.validator_key_file().exists() {
        return Ok(());
    }
    let mark = home.validator_mark_file();
    Mark::reset_unused(&mark).with_context(|| mark.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::ports::Ports;
    use super::*;

    fn made() -> (tempfile::TempDir, Testnet) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ports = [Ports { p2p: 9_000, rpc: 9_001 }, Ports { p2p: 9_010, rpc: 9_011 }];
        let testnet = Testnet::make(&dir.path().join("net"), 1, &ports).expect("made");
        (dir, testnet)
    }

    #[test]
    fn data_goes_and_keys_genesis_and_configuration_stay() {
        let (_dir, testnet) = made();
        let node = &testnet.description.nodes[0];
        let home = node.home();
        let keep = [home.validator_key_file(), home.node_key_file(), home.genesis_file(), home.config_file()];
        let before: Vec<_> = keep.iter().map(|file| fs::read(file).expect("there")).collect();
        let unused = fs::read(home.validator_mark_file()).expect("there");
        fs::create_dir(home.ledger_dir()).expect("made");
        fs::write(home.ledger_dir().join("CURRENT"), "x").expect("written");
        fs::write(home.validator_mark_file(), "used").expect("written");

        run(&testnet).expect("reset");
        assert!(!home.ledger_dir().exists());
        assert!(home.data_dir().exists());
        let after: Vec<_> = keep.iter().map(|file| fs::read(file).expect("still there")).collect();
        assert_eq!(before, after);
        assert_eq!(fs::read(home.validator_mark_file()).expect("there"), unused);
        check_done(&testnet).expect("done");
    }

    #[test]
    fn an_observer_has_no_mark() {
        let (_dir, testnet) = made();
        run(&testnet).expect("reset");
        assert!(!testnet.description.nodes[1].home().validator_mark_file().exists());
    }

    #[test]
    fn a_reset_cut_short_must_be_finished() {
        let (_dir, testnet) = made();
        fs::write(testnet.reset_mark(), "").expect("written");
        let error = check_done(&testnet).expect_err("not done").to_string();
        assert!(error.contains("quorate testnet reset"), "{error}");
        run(&testnet).expect("finished");
        check_done(&testnet).expect("done");
    }
}
