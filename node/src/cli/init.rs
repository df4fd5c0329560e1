//! `quorate init`: makes a node's home. What is there stays, so running it again completes a home.
//!
//! A validator's key is made here and never copied in: a key that may have voted elsewhere must not start with an
//! *unused* mark (docs/pbft.md §6). So validators of a new chain first run `init --validator` without a genesis, share
//! the public key it prints, and run `init --genesis FILE` when the document is there.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use quorate_consensus::vote_log::{Mark, VoteLogError};
use quorate_crypto::{Hash, PublicKey, SecretKey, write_key_file};
use quorate_genesis::Genesis;
use serde::Serialize;

use super::{Globals, output, passphrase};
use crate::config;
use crate::exit::usage;
use crate::home::Home;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The chain's genesis document; may be added later by running init again
    #[arg(long, value_name = "FILE", required_unless_present = "validator")]
    genesis: Option<PathBuf>,
    /// Make a validator key too; print its public key
    #[arg(long)]
    validator: bool,
}

/// What was made, and what is still to do.
#[derive(Serialize)]
struct Made {
    home: String,
    genesis_hash: Option<Hash>,
    validator: Option<PublicKey>,
    /// Whether that key votes from the start; nothing without a key or a genesis.
    in_genesis: Option<bool>,
    /// Why the node will not vote with that key at first, if so.
    refused: Option<String>,
}

pub(super) fn run(globals: &Globals, args: InitArgs) -> anyhow::Result<()> {
    let home = globals.home()?;
    // Refuse a bad document before anything is made.
    let genesis = args.genesis.as_deref().map(Genesis::load).transpose()?;
    home.create()?;
    let _lock = home.lock()?;

    if let Some(genesis) = &genesis {
        write_genesis(&home, genesis)?;
    }
    if !home.config_file().exists() {
        write_new(&home.config_file(), config::file_text(&[]))?;
    }
    if !home.node_key_file().exists() {
        // Only the identity towards peers: it can be made anew, so it is never encrypted.
        write_key_file(&home.node_key_file(), &SecretKey::generate(), None)?;
    }
    if args.validator && !home.validator_key_file().exists() {
        let passphrase = passphrase::given(globals)?;
        make_validator_key(&home, &SecretKey::generate(), passphrase.as_ref().map(|text| text.as_str()))?;
    }

    let genesis = if home.genesis_file().exists() { Some(home.genesis()?) } else { None };
    let validator = if home.validator_key_file().exists() {
        Some(passphrase::read_key(globals, &home.validator_key_file())?.public())
    } else {
        None
    };
    let refused = if validator.is_some() { refused(&home)? } else { None };
    let in_genesis =
        genesis.as_ref().zip(validator).map(|(genesis, key)| genesis.validators().index_of(&key).is_some());
    let made = Made {
        home: home.dir().display().to_string(),
        genesis_hash: genesis.as_ref().map(Genesis::hash),
        validator,
        in_genesis,
        refused,
    };
    output::result(globals.json, &made, |made| text(&home, made))
}

/// Writes a new validator key with its mark. The mark goes first: a key without one is refused at start, whereas a
/// mark without a key does no harm.
pub(super) fn make_validator_key(
    home: &Home,
    key: &SecretKey,
    passphrase: Option<&str>,
) -> anyhow::Result<()> {
    let mark = home.validator_mark_file();
    Mark::create_unused(&mark).with_context(|| format!("{} cannot be written", mark.display()))?;
    Ok(write_key_file(&home.validator_key_file(), key, passphrase)?)
}

/// Why a node of this home will follow without voting, as far as its files tell that are not opened before the start: a key
/// that came from elsewhere has no mark, and one whose data were lost has one without a log.
fn refused(home: &Home) -> anyhow::Result<Option<String>> {
    let (mark, log) = (home.validator_mark_file(), home.votes_dir());
    let error = match Mark::read(&mark) {
        Ok(None) => VoteLogError::NoMark { path: mark },
        Ok(Some(Mark::Entered { .. })) if !log.exists() => VoteLogError::Lost { path: log },
        Ok(Some(Mark::Entered { .. } | Mark::Unused)) => return Ok(None),
        Err(error) if error.is_refusal() => error,
        Err(error) => return Err(error.into()),
    };
    Ok(Some(error.to_string()))
}

/// Writes a file that must not be there yet, and syncs it.
pub(super) fn write_new(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    use std::io::Write as _;
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create_new(path)?;
        file.write_all(content.as_ref())?;
        file.sync_all()
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

fn write_genesis(home: &Home, genesis: &Genesis) -> anyhow::Result<()> {
    let file = home.genesis_file();
    if !file.exists() {
        return write_new(&file, genesis.to_pretty_json());
    }
    let there = Genesis::load(&file)?;
    if there.hash() == genesis.hash() {
        return Ok(());
    }
    Err(usage(format!(
        "{} is of another chain ({} {}, asked for {} {}); nothing was changed, use another --home",
        file.display(),
        there.name(),
        there.hash(),
        genesis.name(),
        genesis.hash()
    )))
}

fn text(home: &Home, made: &Made) -> String {
    let mut pairs = vec![("home", made.home.clone())];
    if let Some(hash) = made.genesis_hash {
        pairs.push(("genesis", hash.to_string()));
    }
    if let Some(key) = made.validator {
        pairs.push(("validator", key.to_string()));
    }
    let dir = output::quoted(home.dir());
    let key = made.validator.map_or("KEY".to_owned(), |key| key.to_string());
    let first = made.refused.as_ref().map_or(String::new(), |why| until_it_votes(home, why));
    let next = match (made.genesis_hash, made.in_genesis) {
        (None, _) => format!(
            "Next: give the validator key to whoever makes the genesis document; then run\n  \
             quorate init --home {dir} --genesis FILE"
        ),
        (Some(_), Some(false)) => format!(
            "The validator key is not in the genesis: the node follows the chain, and votes from the epoch on whose\n\
             validators it is among. Next: name peers under p2p.bootstrap in {}, run\n  quorate start --home {dir}\n\
             When it has caught up, each of the validators gives\n  quorate tx approve validators --add {key}",
            home.config_file().display()
        ),
        (Some(_), Some(true) | None) => format!(
            "Next: name peers under p2p.bootstrap in {}, then run\n  quorate start --home {dir}",
            home.config_file().display()
        ),
    };
    format!("{}\n{first}{next}\n", output::pairs(&pairs))
}

/// What to do with a key of which it is not known here what it has signed.
fn until_it_votes(home: &Home, why: &str) -> String {
    format!(
        "This node will not vote at first: {why}.\n\
         - If the log with which the key last signed still exists, stop its node for good and bring config/validator.mark\n  \
           and data/votes from there before the first start here; never older copies of them.\n\
         - Else start this node and leave it running: it follows the chain. From twice max_clock_drift_ms (10 s by default)\n  \
           after its start the other validators can make a new epoch, in which it votes; each of them gives\n    \
             quorate tx approve validators --same --key HOME/config/validator.pem\n\
         - If the chain has not begun, use a new key: remove {}, run\n    \
             quorate init --home {} --validator\n  \
           and give the key that this prints to whoever makes the genesis document.\n\n",
        output::quoted(&home.validator_key_file()),
        output::quoted(home.dir())
    )
}

#[cfg(test)]
mod tests {
    use quorate_consensus::{pbft::Record, vote_log::VoteLog};

    use super::*;

    /// A home whose validator key was made in it.
    fn validator() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = Home::new(dir.path().join("home"));
        home.create().expect("directories");
        make_validator_key(&home, &SecretKey::generate(), None).expect("a new key");
        (dir, home)
    }

    fn told(home: &Home, in_genesis: bool) -> String {
        let made = Made {
            home: home.dir().display().to_string(),
            genesis_hash: Some(Hash::ZERO),
            validator: Some(SecretKey::from_seed([1; 32]).public()),
            in_genesis: Some(in_genesis),
            refused: refused(home).expect("readable"),
        };
        text(home, &made)
    }

    #[test]
    fn a_key_that_was_made_here_votes_from_the_start() {
        let (_dir, home) = validator();
        assert_eq!(refused(&home).expect("readable"), None);
        assert!(!told(&home, true).contains("will not vote"), "{}", told(&home, true));
    }

    #[test]
    fn of_a_key_that_came_without_its_mark_it_is_said_what_to_do_before_it_votes() {
        let (_dir, home) = validator();
        std::fs::remove_file(home.validator_mark_file()).expect("made with the key");
        for in_genesis in [true, false] {
            let told = told(&home, in_genesis);
            let (before, next) = told.split_once("Next: ").expect("it can be started all the same");
            assert!(
                before.contains("will not vote at first") && before.contains("validator.mark is missing"),
                "{told}"
            );
            assert!(before.contains("quorate tx approve validators --same"), "{told}");
            assert!(next.contains("quorate start"), "{told}");
        }
    }

    #[test]
    fn a_key_that_has_signed_and_has_no_log_will_not_vote_either() {
        let (_dir, home) = validator();
        drop(
            VoteLog::<Record>::open(&home.votes_dir(), &home.validator_mark_file()).expect("its first start"),
        );
        assert_eq!(refused(&home).expect("readable"), None);
        std::fs::remove_dir_all(home.votes_dir()).expect("made at the first start");
        assert!(told(&home, true).contains("data/votes is missing"), "{}", told(&home, true));
    }
}
