//! `quorate query`: reads from a node.
//!
//! What does not exist is no error of the node, but a script must be able to tell: the command then ends with 1, says so on
//! stderr, and with `--json` prints the node's answer all the same.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Account, Amount, Height, Parameters};
use serde::Serialize;

use super::{Globals, block_on, epochs, evidence, init, output, ready, tx, values};
use crate::exit::usage;
use crate::rpc::types::{
    AccountAnswer, BlockAnswer, BlockParameters, Bytes, Change, EvidenceAnswer, HeightOrLatest, KeyAnswer,
    NodeStatus, TransactionStatus, ValidatorsAnswer,
};

#[derive(Debug, Subcommand)]
pub(super) enum QueryCommand {
    /// What the node is and where it stands
    Status,
    /// A block and what its transactions did
    Block {
        /// A height, a hash, or latest
        #[arg(value_name = "HEIGHT|HASH|latest", default_value = "latest", value_parser = which_block)]
        block: BlockParameters,
    },
    /// What became of a transaction
    Tx {
        /// Its id, or a file with the signed bytes, with which the answer can also be that it has expired
        #[arg(value_name = "ID|FILE")]
        transaction: String,
    },
    /// The balance of an account
    Account {
        /// Its address
        address: Account,
        #[command(flatten)]
        at: AtLeast,
    },
    /// The value, version and owner of a key
    Key {
        /// The key: text, or bytes as 0x hex
        #[arg(value_parser = values::bytes)]
        key: Bytes,
        #[command(flatten)]
        at: AtLeast,
    },
    /// The validators of an epoch, how they take part, and how the epoch ends
    Validators {
        /// The epoch of this height [default: that of the next block]
        #[arg(long, value_parser = height)]
        height: Option<Height>,
    },
    /// The parameters of an epoch
    Parameters {
        /// The epoch of this height [default: that of the next block]
        #[arg(long, value_parser = height)]
        height: Option<Height>,
    },
    /// Make the statement by which a new validator proves its key and that it has caught up
    ///
    /// Needed only by a validator whose node is not connected with that of the key: else `quorate tx approve validators --add
    /// KEY` asks for it. Run it where the node of the key runs: it reads the key from the node's home and asks the node at
    /// --rpc. What it prints is given to --add in place of the key, before 1,000 more blocks are made.
    Ready,
    /// The line of epochs: each set with the certificate by which the set before it hands over
    Epochs {
        /// Write it to this file, for `quorate evidence verify --epochs`
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Proofs of misbehaviour that the node holds
    Evidence {
        /// Write each proof to a file in this directory, for `quorate evidence verify`
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// How fresh the state must be.
#[derive(Debug, Args)]
pub(super) struct AtLeast {
    /// Answer only once this height is executed there
    #[arg(long, value_name = "HEIGHT", value_parser = height)]
    min_height: Option<Height>,
}

pub(super) fn run(globals: &Globals, command: QueryCommand) -> anyhow::Result<()> {
    let client = globals.client()?;
    let json = globals.json;
    match command {
        QueryCommand::Status => {
            let status = block_on(async { Ok(client.status().await?) })?;
            output::result(json, &status, status_text)
        }
        QueryCommand::Block { block } => {
            let block = block_on(async { Ok(client.block(&block).await?) })?;
            found(json, &block, block.as_ref(), block_text, || "there is no such block here".to_owned())
        }
        QueryCommand::Tx { transaction } => {
            let status = match transaction.parse::<Hash>() {
                Ok(id) => block_on(async { Ok(client.transaction(id).await?) })?,
                Err(_) if transaction.starts_with("0x") => {
                    return Err(usage(format!("{transaction} is no id: 0x and 64 hex digits")));
                }
                Err(_) => {
                    let transaction = tx::read(&PathBuf::from(transaction))?;
                    let bytes = quorate_crypto::encode(&transaction);
                    block_on(async { Ok(client.transaction_of_bytes(bytes).await?) })?
                }
            };
            let known = (!matches!(status, TransactionStatus::Unknown { .. })).then_some(&status);
            found(json, &status, known, tx::status::text, || {
                "this node has not seen the transaction; ask with its signed bytes, which carry the expiry, or ask the \
                 node that took it"
                    .to_owned()
            })
        }
        QueryCommand::Account { address, at } => {
            let account = block_on(async { Ok(client.account(address, at.min_height).await?) })?;
            let there = account.balance.map(|balance| (&account, balance));
            found(json, &account, there, account_text, || {
                format!(
                    "there is no account {} at height {}: it holds nothing",
                    account.account, account.height
                )
            })
        }
        QueryCommand::Key { key: Bytes(key), at } => {
            let key = block_on(async { Ok(client.key(key, at.min_height).await?) })?;
            let there = key.value.is_some().then_some(&key);
            found(json, &key, there, key_text, || {
                format!("there is no key {} at height {}", values::shown(&key.key.0), key.height)
            })
        }
        QueryCommand::Validators { height } => {
            let validators = block_on(async { Ok(client.validators(height).await?) })?;
            found(json, &validators, validators.as_ref(), validators_text, || {
                "that height is not executed here yet".to_owned()
            })
        }
        QueryCommand::Parameters { height } => {
            let validators = block_on(async { Ok(client.validators(height).await?) })?;
            let parameters = validators.as_ref().map(|answer| &answer.parameters);
            found(json, &parameters, parameters, parameters_text, || {
                "that height is not executed here yet".to_owned()
            })
        }
        QueryCommand::Ready => ready::run(globals),
        QueryCommand::Epochs { out } => epochs::run(globals, out.as_deref()),
        QueryCommand::Evidence { out } => {
            let evidence = block_on(async { Ok(client.evidence().await?) })?;
            if let Some(dir) = &out {
                write_proofs(dir, &evidence)?;
            }
            output::result(json, &evidence, |evidence| evidence_text(evidence, out.as_deref()))
        }
    }
}

/// Prints an answer, or fails with `missing` if what was asked for is not there.
fn found<A: Serialize, T>(
    json: bool,
    answer: &A,
    there: Option<T>,
    text: impl FnOnce(T) -> String,
    missing: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match there {
        Some(there) => output::result(json, answer, |_| text(there)),
        None => {
            if json {
                output::result(json, answer, |_| String::new())?;
            }
            Err(anyhow::anyhow!(missing()))
        }
    }
}

fn height(text: &str) -> Result<Height, String> {
    text.parse().map(Height).map_err(|_| "a height: a whole number from 0".to_owned())
}

fn which_block(text: &str) -> Result<BlockParameters, String> {
    if text == "latest" {
        return Ok(BlockParameters { height: Some(HeightOrLatest::LATEST), hash: None });
    }
    if text.starts_with("0x") {
        let hash =
            text.parse::<Hash>().map_err(|error| format!("{error}; a hash is 0x and 64 hex digits"))?;
        return Ok(BlockParameters { height: None, hash: Some(hash) });
    }
    let height = height(text).map_err(|_| "a height, a hash (0x…) or `latest`".to_owned())?;
    Ok(BlockParameters { height: Some(HeightOrLatest::Height(height)), hash: None })
}

fn status_text(status: &NodeStatus) -> String {
    let primary = match &status.primary {
        Some(primary) => {
            let name = primary.name.clone().filter(|name| !name.is_empty());
            let name = name.unwrap_or_else(|| primary.key.to_string());
            format!("view {}, primary {name}", status.view)
        }
        None => format!("view {}, no primary yet", status.view),
    };
    let ready = if status.ready { "yes".to_owned() } else { format!("no: {}", status.not_ready.join("; ")) };
    let ends = status.epoch_ends.map_or(String::new(), |last| format!(" (ends with block {last})"));
    let votes = match (status.votes, &status.refused) {
        (true, _) => "yes".to_owned(),
        (false, Some(why)) => format!("no: {why}"),
        (false, None) => "no".to_owned(),
    };
    output::pairs(&[
        ("chain", format!("{} {}", status.chain, status.genesis_hash)),
        ("node", format!("{}, version {}", status.role, status.version)),
        ("ready", ready),
        ("height", format!("{}{}", status.height, if status.syncing { " (catching up)" } else { "" })),
        ("block", format!("{} of {}", status.hash, values::shown_time(status.time))),
        ("consensus", format!("epoch {}{ends}, {primary}", status.epoch)),
        ("votes", votes),
        (
            "peers",
            format!(
                "{}; {} validators connected, {} are a quorum",
                status.peers, status.validators_connected, status.quorum
            ),
        ),
        ("pool", format!("{} transactions, {} bytes", status.mempool.transactions, status.mempool.bytes)),
        ("fees", format!("{} + {} per byte", status.rules.fee_base, status.rules.fee_per_byte)),
    ])
}

fn block_text(block: &BlockAnswer) -> String {
    let header = &block.header;
    let mut text = output::pairs(&[
        ("height", header.height.to_string()),
        ("hash", block.hash.to_string()),
        ("parent", header.parent.to_string()),
        ("time", values::shown_time(header.time)),
        ("epoch", header.epoch.to_string()),
        ("proposer", header.proposer.to_string()),
        ("anchor", format!("state {} after height {}", header.anchor.state_root, header.anchor.height)),
        ("certificate", if block.certified { "its own" } else { "a descendant's" }.to_owned()),
        ("size", format!("{} bytes, {} transactions", block.size, block.transactions.len())),
    ]);
    if !block.transactions.is_empty() {
        let mut table = output::table(&["#", "transaction", "outcome", "operations"]);
        for (index, transaction) in block.transactions.iter().enumerate() {
            let operations: Vec<_> = transaction.payload.operations.iter().map(tx::operation_text).collect();
            table.add_row([
                index.to_string(),
                transaction.id.to_string(),
                tx::status::outcome_text(&transaction.receipt),
                operations.join("; "),
            ]);
        }
        text.push('\n');
        text.push_str(&output::lines(&table));
    }
    text
}

fn account_text((answer, balance): (&AccountAnswer, Amount)) -> String {
    output::pairs(&[
        ("account", answer.account.to_string()),
        ("balance", balance.to_string()),
        ("at height", answer.height.to_string()),
    ])
}

fn key_text(answer: &KeyAnswer) -> String {
    let mut pairs = vec![("key", values::shown(&answer.key.0))];
    pairs.extend(answer.value.as_ref().map(|value| ("value", values::shown(&value.0))));
    pairs.extend(answer.version.map(|version| ("version", version.to_string())));
    pairs.extend(answer.owner.map(|owner| ("owner", owner.to_string())));
    pairs.push(("at height", answer.height.to_string()));
    output::pairs(&pairs)
}

fn validators_text(answer: &ValidatorsAnswer) -> String {
    let mut table = output::table(&["name", "key", "connected", "proposed", "signed", "index"]);
    for entry in &answer.validators {
        let connected = match entry.connected {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "this node",
        };
        table.add_row([
            entry.name.clone().unwrap_or_default(),
            entry.key.to_string(),
            connected.to_owned(),
            entry.proposed.to_string(),
            entry.signed.to_string(),
            entry.index.to_string(),
        ]);
    }
    let end = ending_text(answer);
    let counted = answer.participation.as_ref().map_or(String::new(), |over| {
        format!("Counted over heights {} to {}, {} certificates.\n", over.from, over.to, over.certificates)
    });
    format!(
        "Height {}, epoch {} from block {} on: {} votes decide, {} may be faulty.\n\n{}\n{counted}{end}",
        answer.height,
        answer.epoch,
        answer.start,
        answer.quorum,
        answer.faulty_max,
        output::lines(&table)
    )
}

/// How the epoch ends, and who approves of what.
fn ending_text(answer: &ValidatorsAnswer) -> String {
    let mut text = match (answer.ends, &answer.next) {
        (Some(last), Some(next)) => {
            format!("It ends with block {last}; then in force: {}\n", change_text(next, answer))
        }
        (Some(last), None) => format!("It ended with block {last}.\n"),
        (None, _) => String::new(),
    };
    for open in &answer.approvals {
        let names: Vec<String> = open.validators.iter().map(|key| name_of(key, answer)).collect();
        text.push_str(&format!(
            "Approved of by {}: {}\n",
            names.join(", "),
            change_text(&open.change, answer)
        ));
    }
    text
}

/// A change relative to the epoch that it was asked with.
fn change_text(change: &Change, answer: &ValidatorsAnswer) -> String {
    match change {
        Change::Validators(keys) => {
            let before = |key: &PublicKey| answer.validators.iter().any(|validator| validator.key == *key);
            let added = keys.iter().filter(|key| !before(key)).map(|key| format!("with {key}"));
            let gone = answer.validators.iter().filter(|validator| !keys.contains(&validator.key));
            let gone = gone.map(|validator| format!("without {}", name_of(&validator.key, answer)));
            let words: Vec<String> = added.chain(gone).collect();
            if words.is_empty() {
                return "the same validators".to_owned();
            }
            format!("{} validators, {}", keys.len(), words.join(", "))
        }
        Change::Parameters(parameters) => {
            let values = parameters.values().into_iter().zip(answer.parameters.values());
            let rows = Parameters::table().iter().zip(values);
            let words: Vec<String> = rows
                .filter(|(_, (after, before))| after != before)
                .map(|(row, (after, before))| format!("{} = {after} instead of {before}", row.key))
                .collect();
            if words.is_empty() { "the same parameters".to_owned() } else { words.join(", ") }
        }
    }
}

/// What the genesis calls a validator, else its key.
fn name_of(key: &PublicKey, answer: &ValidatorsAnswer) -> String {
    let entry = answer.validators.iter().find(|validator| validator.key == *key);
    let name = entry.and_then(|validator| validator.name.clone()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| key.to_string())
}

fn parameters_text(parameters: &Parameters) -> String {
    let mut table = output::table(&["name", "value", "unit", "meaning"]);
    for (row, value) in Parameters::table().iter().zip(parameters.values()) {
        table.add_row([row.key.to_owned(), value.to_string(), row.unit.to_owned(), row.meaning.to_owned()]);
    }
    output::lines(&table)
}

/// Writes each proof to a file named after its hash; what is there already is the same proof.
fn write_proofs(dir: &Path, answer: &EvidenceAnswer) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for entry in &answer.evidence {
        let file = proof_file(dir, &entry.hash);
        match &entry.proof {
            Some(Bytes(_)) if file.exists() => {}
            Some(Bytes(bytes)) => init::write_new(&file, bytes)?,
            None => output::note(&format!(
                "{}: {} bytes, too many for one answer; the node has it in data/evidence",
                entry.hash, entry.size
            )),
        }
    }
    Ok(())
}

fn proof_file(dir: &Path, hash: &Hash) -> PathBuf {
    dir.join(format!("{}.evidence", &hash.to_string()[2..]))
}

fn evidence_text(answer: &EvidenceAnswer, dir: Option<&Path>) -> String {
    if answer.evidence.is_empty() {
        return "The node holds no evidence against any validator.\n".to_owned();
    }
    let mut text = format!("{} pieces of evidence, the newest last.\n", answer.count);
    for entry in &answer.evidence {
        let name = entry.name.as_deref().map_or(String::new(), |name| format!(" ({name})"));
        let mut pairs = vec![
            ("offence", format!("{}: {}", entry.kind, evidence::in_words(&entry.kind))),
            ("validator", format!("{}{name}", entry.validator)),
            ("place", format!("epoch {}, height {}", entry.epoch, entry.height)),
            ("found", values::shown_time(entry.at)),
            ("hash", entry.hash.to_string()),
        ];
        if let (Some(dir), Some(_)) = (dir, &entry.proof) {
            pairs.push(("file", proof_file(dir, &entry.hash).display().to_string()));
        }
        text.push('\n');
        text.push_str(&output::pairs(&pairs));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_named_by_height_hash_or_latest() {
        let latest = which_block("latest").expect("a word");
        assert_eq!(latest, BlockParameters { height: Some(HeightOrLatest::LATEST), hash: None });
        let at = which_block("7").expect("a height");
        assert_eq!(at, BlockParameters { height: Some(HeightOrLatest::Height(Height(7))), hash: None });
        let hash = Hash::of(b"block");
        let by_hash = which_block(&hash.to_string()).expect("a hash");
        assert_eq!(by_hash, BlockParameters { height: None, hash: Some(hash) });
        for wrong in ["", "-1", "0x12", "newest", "1.5"] {
            assert!(which_block(wrong).is_err(), "{wrong:?}");
        }
    }
}
