//! The line of epochs, from the genesis on: how anyone who has the genesis document learns the validators of a later one
//! from a node that need not be trusted, or from a file that it gave (`docs/formats.md`, epochs).
//!
//! ```text
//! set of e ── signs ──▶ CHECKPOINT of the last block of e: hash of the set of e + 1
//!                           ▲ anchored by
//! set of e + 1 ── signs ──▶ the first block of e + 1, which stands on that last block
//! ```
//!
//! The first without the second would not do: every CHECKPOINT names a set that follows, and only the block above tells
//! that an epoch begins there.
//!
//! What no signatures can tell is whether they are old: keys of an epoch that is over can be stolen later, and sign another
//! line. Against that helps only a newer checkpoint from somebody who is trusted.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use quorate_crypto::{Hash, PublicKey, decode};
use quorate_genesis::Genesis;
use quorate_ledger::{CheckpointCertificate, CommitCertificate, Epoch, Header, Height, ValidatorSet};
use serde::{Deserialize, Serialize};

use super::{Globals, block_on, init, output, values};
use crate::client::Client;
use crate::exit::usage;
use crate::rpc::types::{Bytes, ValidatorsAnswer};

/// Epochs that are asked for, at most; more take a file that another node wrote.
const EPOCHS_MAX: u64 = 100_000;

/// How an epoch came to be, and who votes in it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handover {
    /// The epoch that begins.
    epoch: Epoch,
    /// Its first height.
    start: Height,
    /// Its validators.
    validators: Vec<PublicKey>,
    /// CHECKPOINT certificate of the last block of the epoch before (borsh).
    checkpoint: Bytes,
    /// The headers from the first of the epoch up to the one that `commit` names.
    headers: Vec<Header>,
    /// COMMIT certificate of the epoch (borsh).
    commit: Bytes,
}

/// `quorate query epochs`.
pub(super) fn run(globals: &Globals, out: Option<&Path>) -> anyhow::Result<()> {
    let client = globals.client()?;
    let line = block_on(fetch(&client, None))?;
    if let Some(file) = out {
        let text = serde_json::to_string_pretty(&line).context("plain values")?;
        init::write_new(file, text + "\n")?;
    }
    output::result(globals.json, &line, |line| {
        let mut table = output::table(&["epoch", "from block", "validators", "set"]);
        for handover in line {
            let set = ValidatorSet::new(handover.validators.clone());
            table.add_row([
                handover.epoch.to_string(),
                handover.start.to_string(),
                handover.validators.len().to_string(),
                set.map_or_else(|error| error.to_string(), |set| set.hash().to_string()),
            ]);
        }
        if line.is_empty() {
            return "The chain is in its first epoch, whose validators stand in the genesis document.\n"
                .to_owned();
        }
        output::lines(&table)
    })
}

/// What the node says of the epochs after the first, up to `last` or as far as they can be proven.
pub(super) async fn fetch(client: &Client, last: Option<Epoch>) -> anyhow::Result<Vec<Handover>> {
    let mut line = Vec::new();
    let mut epoch = validators(client, Height(0)).await?;
    while last.is_none_or(|last| epoch.as_ref().is_some_and(|epoch| epoch.epoch < last)) {
        let Some(ends) = epoch.as_ref().and_then(|epoch| epoch.ends) else { break };
        let Some(next) = validators(client, ends.next()).await? else { break };
        let checkpoint = client.checkpoint(ends).await?.with_context(|| {
            format!("the node at {} has no checkpoint certificate of block {ends}; ask another", client.url())
        })?;
        let Some((first, commit)) = client.header_with_commit(next.start).await? else { break };
        let headers = std::iter::once(first).chain(commit.headers).collect();
        line.push(Handover {
            epoch: next.epoch,
            start: next.start,
            validators: next.validators.iter().map(|validator| validator.key).collect(),
            checkpoint: checkpoint.bytes,
            headers,
            commit: commit.bytes,
        });
        ensure!(
            next.epoch.0 == line.len() as u64,
            "the node at {} tells of epoch {} where epoch {} begins; ask another",
            client.url(),
            next.epoch,
            line.len()
        );
        ensure!(next.epoch.0 < EPOCHS_MAX, "the node tells of more than {EPOCHS_MAX} epochs");
        epoch = Some(next);
    }
    Ok(line)
}

async fn validators(client: &Client, height: Height) -> anyhow::Result<Option<ValidatorsAnswer>> {
    Ok(client.validators(Some(height)).await?)
}

/// A line that [`run`] wrote.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<Handover>> {
    parse(&values::read(file)?)
        .map_err(|error| usage(format!("{}: no line of epochs: {error}", file.display())))
}

pub(super) fn parse(content: &[u8]) -> serde_json::Result<Vec<Handover>> {
    serde_json::from_slice(content)
}

/// The validators of an epoch, by the genesis and what leads there from it.
///
/// # Errors
/// Where the line breaks, or that it does not lead so far.
pub(super) fn validators_of(
    genesis: &Genesis,
    line: &[Handover],
    epoch: Epoch,
) -> anyhow::Result<ValidatorSet> {
    let (mut at, mut set) = (Epoch(0), genesis.validators().clone());
    for handover in line {
        if at == epoch {
            break;
        }
        set = handover
            .verified(&genesis.hash(), at, &set)
            .with_context(|| format!("epoch {} does not follow from epoch {at}", handover.epoch))?;
        at = at.next();
    }
    if at != epoch {
        bail!("the epochs lead to {at}, not to {epoch}: ask a node that has executed a block of it");
    }
    Ok(set)
}

impl Handover {
    /// The set that takes over from `before`, the set of epoch `ending`.
    fn verified(&self, chain: &Hash, ending: Epoch, before: &ValidatorSet) -> anyhow::Result<ValidatorSet> {
        let set = ValidatorSet::new(self.validators.clone())?;
        let checkpoint: CheckpointCertificate = decode(&self.checkpoint.0).context("the checkpoint")?;
        ensure!(
            checkpoint.payload.epoch == ending,
            "the checkpoint is of epoch {}",
            checkpoint.payload.epoch
        );
        ensure!(checkpoint.payload.next_validators == set.hash(), "the checkpoint names another set");
        checkpoint.verify(chain, before).context("the checkpoint")?;

        let commit: CommitCertificate = decode(&self.commit.0).context("the commit certificate")?;
        let first = self.headers.first().context("there is no first header")?;
        ensure!(
            first.chain == *chain
                && Some(first.height.0) == checkpoint.payload.height.0.checked_add(1)
                && first.parent == checkpoint.payload.block
                && first.anchor == checkpoint.payload.anchor(),
            "the first header does not stand on the checkpoint"
        );
        let epoch = ending.next();
        ensure!(self.headers.iter().all(|header| header.epoch == epoch), "a header is of another epoch");
        let linked = self.headers.windows(2).all(|pair| pair[1].parent == pair[0].hash());
        let last = self.headers.last().map(Header::hash);
        ensure!(linked && last == Some(commit.payload.block), "the headers do not lead to the certified one");
        ensure!(commit.payload.epoch == epoch, "the commit certificate is of epoch {}", commit.payload.epoch);
        commit.verify(chain, &set).context("the commit certificate")?;
        Ok(set)
    }
}

#[cfg(test)]
pub(super) mod tests;
