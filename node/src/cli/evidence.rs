//! `quorate evidence`: checks a proof that a validator broke the protocol, without trusting a node.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use quorate_consensus::Evidence;
use quorate_crypto::{Hash, PublicKey, decode, from_hex};
use quorate_genesis::Genesis;
use quorate_ledger::{Epoch, Height, ValidatorSet};
use serde::Serialize;

use super::{Globals, block_on, epochs, output, values};
use crate::exit::usage;

#[derive(Debug, Subcommand)]
pub(super) enum EvidenceCommand {
    /// Check a proof with the genesis document, and for later epochs with what leads there from it
    ///
    /// For a proof about a later epoch the validators are learnt from --epochs, or else from the node at --rpc, which is
    /// not trusted: each epoch is proven by the one before. Ends with 0 only if the proof holds: signatures of one validator of that chain under statements that no correct
    /// validator makes, whatever went wrong around it.
    Verify {
        /// A proof, as `quorate query evidence --out` and a node's data/evidence hold it: its bytes, or 0x hex
        file: PathBuf,
        /// The chain's genesis document
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// The line of epochs, as `quorate query epochs --out` wrote it [default: ask the node at --rpc]
        #[arg(long, value_name = "FILE")]
        epochs: Option<PathBuf>,
    },
}

/// What a proof says, and whether it holds.
#[derive(Serialize)]
struct Verdict {
    holds: bool,
    kind: &'static str,
    validator: PublicKey,
    name: Option<String>,
    epoch: Epoch,
    height: Height,
    hash: Hash,
}

pub(super) fn run(globals: &Globals, command: EvidenceCommand) -> anyhow::Result<()> {
    let EvidenceCommand::Verify { file, genesis, epochs } = command;
    let genesis = Genesis::load(&genesis)?;
    let (hash, evidence) = read(&file)?;
    let (epoch, height) = evidence.place();
    let validators = validators(globals, &genesis, epochs.as_deref(), epoch)?;
    let verdict = Verdict {
        holds: evidence.holds(&genesis.hash(), &validators),
        kind: evidence.kind(),
        validator: *evidence.signer(),
        name: genesis.validator_name(evidence.signer()).map(str::to_owned),
        epoch,
        height,
        hash,
    };
    output::result(globals.json, &verdict, text)?;
    if verdict.holds { Ok(()) } else { Err(anyhow::anyhow!("{}", why_not(&genesis, &validators, &evidence))) }
}

fn read(file: &Path) -> anyhow::Result<(Hash, Evidence)> {
    parse(values::read(file)?).map_err(|why| usage(format!("{}: {why}", file.display())))
}

/// A proof with its hash, from its bytes or their hex.
pub(super) fn parse(content: Vec<u8>) -> Result<(Hash, Evidence), String> {
    let bytes = match std::str::from_utf8(&content).map(str::trim) {
        Ok(text) if text.starts_with("0x") => from_hex(text).map_err(|error| format!("not hex: {error}"))?,
        Ok(_) | Err(_) => content,
    };
    let evidence = decode(&bytes).map_err(|error| format!("not one piece of evidence: {error}"))?;
    Ok((Hash::of(&bytes), evidence))
}

/// Who votes in the epoch that a proof is about.
fn validators(
    globals: &Globals,
    genesis: &Genesis,
    file: Option<&Path>,
    epoch: Epoch,
) -> anyhow::Result<ValidatorSet> {
    let line = match file {
        Some(file) => epochs::read(file)?,
        None if epoch == Epoch(0) => Vec::new(),
        None => {
            let client = globals.client()?;
            block_on(epochs::fetch(&client, Some(epoch))).with_context(|| {
                format!("this proof is about epoch {epoch}, whose validators are to be learnt")
            })?
        }
    };
    epochs::validators_of(genesis, &line, epoch)
}

pub(super) fn why_not(genesis: &Genesis, validators: &ValidatorSet, evidence: &Evidence) -> String {
    let signer = evidence.signer();
    if validators.index_of(signer).is_none() {
        let (epoch, _) = evidence.place();
        return format!("it proves nothing: {signer} is no validator of {} in epoch {epoch}", genesis.name());
    }
    "it proves nothing: a signature is not the validator's on this chain, or the statements can both be honest".to_owned()
}

fn text(verdict: &Verdict) -> String {
    let name = verdict.name.as_deref().map_or(String::new(), |name| format!(" ({name})"));
    output::pairs(&[
        ("proof", if verdict.holds { "holds" } else { "DOES NOT HOLD" }.to_owned()),
        ("offence", format!("{}: {}", verdict.kind, in_words(verdict.kind))),
        ("validator", format!("{}{name}", verdict.validator)),
        ("place", format!("epoch {}, height {}", verdict.epoch, verdict.height)),
        ("hash", verdict.hash.to_string()),
    ])
}

/// What was done, by the name that [`Evidence::kind`] gives it.
pub(super) fn in_words(kind: &str) -> &'static str {
    match kind {
        "double_prepare" => "two PREPAREs for different blocks at one height of one view",
        "double_commit" => "two COMMITs for different blocks at one height of one view",
        "double_checkpoint" => "two CHECKPOINTs of one height with different results",
        "double_view_change" => "two different VIEW-CHANGEs for one view",
        "double_new_view" => "two different NEW-VIEWs for one view",
        "false_new_view" => "a NEW-VIEW that no correct validator signs",
        _ => "of a kind that this version does not know",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_consensus::evidence::{Signed, VoteKind};
    use quorate_crypto::{Domain, SecretKey, encode, to_hex};
    use quorate_genesis::GenesisBuilder;
    use quorate_ledger::{CommitPayload, UnixMillis, View};

    fn genesis(key: &SecretKey) -> Genesis {
        let builder = GenesisBuilder::new("test", UnixMillis(1_700_000_000_000));
        builder.validator(key.public(), "only").build().expect("every rule holds")
    }

    fn double_prepare(key: &SecretKey, chain: &Hash) -> Evidence {
        let vote = |block: &[u8]| {
            let payload =
                CommitPayload { epoch: Epoch(0), view: View(2), height: Height(7), block: Hash::of(block) };
            let signature = key.sign(Domain::Prepare, chain, &payload);
            Signed { payload, signature }
        };
        Evidence::DoubleVote {
            signer: key.public(),
            kind: VoteKind::Prepare,
            first: vote(b"one"),
            second: vote(b"two"),
        }
    }

    #[test]
    fn a_proof_is_read_as_bytes_and_as_hex_and_nothing_else_is_taken_for_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("proof");
        let evidence = double_prepare(&SecretKey::from_seed([1; 32]), &Hash::ZERO);
        let bytes = encode(&evidence);
        let hex = format!("{}\n", to_hex(&bytes)).into_bytes();
        for content in [bytes.clone(), hex] {
            std::fs::write(&file, content).expect("writable");
            assert_eq!(read(&file).expect("a proof"), (Hash::of(&bytes), evidence.clone()));
        }
        for wrong in [Vec::new(), b"0x0".to_vec(), bytes[1..].to_vec(), [bytes, vec![0]].concat()] {
            std::fs::write(&file, wrong).expect("writable");
            assert_eq!(crate::exit::number(&read(&file).expect_err("no proof")), 2);
        }
    }

    #[test]
    fn a_proof_that_does_not_hold_says_what_is_missing() {
        let (member, stranger) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let genesis = genesis(&member);
        let holds = |evidence: &Evidence| evidence.holds(&genesis.hash(), genesis.validators());
        assert!(holds(&double_prepare(&member, &genesis.hash())));
        let foreign = double_prepare(&stranger, &genesis.hash());
        assert!(!holds(&foreign));
        assert!(why_not(&genesis, genesis.validators(), &foreign).contains("is no validator of test"));
        let elsewhere = double_prepare(&member, &Hash::of(b"another chain"));
        assert!(!holds(&elsewhere));
        assert!(why_not(&genesis, genesis.validators(), &elsewhere).contains("on this chain"));
    }

    #[test]
    fn every_offence_has_words() {
        let kind = double_prepare(&SecretKey::from_seed([1; 32]), &Hash::ZERO).kind();
        for kind in [
            kind,
            "double_commit",
            "double_checkpoint",
            "double_view_change",
            "double_new_view",
            "false_new_view",
        ] {
            assert_ne!(in_words(kind), in_words("else"), "{kind}");
        }
    }
}
