//! `quorate query ready`: makes the statement by which a new validator proves its key and that it has caught up.
//!
//! It is made at the node that will vote, from its key and from what that node has executed: a node that is behind could
//! name no checkpoint that the chain still takes.

use quorate_ledger::{Epoch, Height, READINESS_HEADERS};
use serde::Serialize;

use super::statement::Statement;
use super::{Globals, block_on, output, passphrase};
use crate::client::Client;
use crate::exit::usage;
use crate::home::Home;
use crate::rpc::types::{BlockParameters, HeightOrLatest, NodeStatus};

/// A statement, and how long it holds.
#[derive(Serialize)]
struct Ready {
    statement: String,
    validator: quorate_crypto::PublicKey,
    epoch: Epoch,
    /// The height whose header anchors the checkpoint that it names.
    height: Height,
    /// The last height at whose block it is taken, if the epoch lasts so long.
    until: Height,
}

pub(super) fn run(globals: &Globals) -> anyhow::Result<()> {
    let home = globals.home()?;
    home.check()?;
    if !home.validator_key_file().exists() {
        return Err(usage(format!(
            "{} has no validator key; make one with `quorate init --validator --home {}` and start the node again",
            home.dir().display(),
            output::quoted(home.dir())
        )));
    }
    let genesis = home.genesis()?;
    let client = globals.client()?;
    let (status, validators, header) = block_on(seen(&client))?;
    if status.genesis_hash != genesis.hash() {
        return Err(usage(format!(
            "the node at {} is of the chain {} {}, this home of {} {}; name this home's node with --rpc",
            client.url(),
            status.chain,
            status.genesis_hash,
            genesis.name(),
            genesis.hash()
        )));
    }
    let Some(header) = header else {
        return Err(anyhow::anyhow!(
            "the chain has no block yet, so no header anchors a checkpoint; make one with any transaction"
        ));
    };
    let key = passphrase::read_key(globals, &home.validator_key_file())?;
    ready_or_why(&home, &client, &status)?;
    if validators.validators.iter().any(|validator| validator.key == key.public()) {
        output::note(&format!(
            "{} is a validator of epoch {} already: it needs a statement only if it is to leave and come back",
            key.public(),
            validators.epoch
        ));
    }
    let anchor = header.header.anchor;
    let statement = Statement::sign(genesis.hash(), validators.epoch, anchor.checkpoint, &key);
    let until = Height(header.header.height.0.saturating_add(READINESS_HEADERS));
    output::note(&format!(
        "The statement of {}: hand it to the validators for `quorate tx approve validators --add`. It is taken up to block \
         {until}, {READINESS_HEADERS} blocks from now, and only in epoch {}.",
        key.public(),
        validators.epoch
    ));
    let ready = Ready {
        statement: statement.to_string(),
        validator: key.public(),
        epoch: validators.epoch,
        height: header.header.height,
        until,
    };
    output::result(globals.json, &ready, |ready| ready.statement.clone())
}

type Seen = (NodeStatus, crate::rpc::types::ValidatorsAnswer, Option<crate::rpc::types::HeaderAnswer>);

async fn seen(client: &Client) -> anyhow::Result<Seen> {
    let status = client.status().await?;
    let latest = BlockParameters { height: Some(HeightOrLatest::LATEST), hash: None };
    let header = client.header(&latest).await?;
    // Last: of an epoch that began meanwhile the header is below, which does no harm.
    let validators = client.validators(None).await?;
    let validators =
        validators.ok_or_else(|| anyhow::anyhow!("the node knows no validators of its chain"))?;
    Ok((status, validators, header))
}

/// That the node has what the statement says it has.
fn ready_or_why(home: &Home, client: &Client, status: &NodeStatus) -> anyhow::Result<()> {
    if status.ready {
        return Ok(());
    }
    Err(anyhow::anyhow!(
        "the node of {} at {} has not caught up: {}; ask again when it has (`quorate query status`)",
        home.dir().display(),
        client.url(),
        status.not_ready.join("; ")
    ))
}
