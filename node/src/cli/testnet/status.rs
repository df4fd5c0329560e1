//! `quorate testnet status`, and the looks at all nodes at once that it shares with `up`.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use quorate_crypto::Hash;
use serde::Serialize;

use super::super::{Globals, output};
use super::DirArgs;
use super::layout::{Description, Node, Testnet};
use super::process;
use crate::client::Client;
use crate::rpc::types::NodeStatus;

/// How long a node may take to say where it stands.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Where a node stands.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// It does not run.
    Stopped,
    /// It runs and answers.
    Answers(Box<NodeStatus>),
    /// It runs and does not answer.
    Silent(String),
}

/// The names of the nodes that run, by the kernel's word: asking no node, so at once.
pub(super) fn running(testnet: &Testnet) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for node in &testnet.description.nodes {
        if process::running(node)?.is_some() {
            names.insert(node.name.clone());
        }
    }
    Ok(names)
}

/// Looks at every node, in their order.
pub(super) async fn look(testnet: &Testnet) -> anyhow::Result<Vec<Seen>> {
    join_all(testnet.description.nodes.iter().map(look_at)).await.into_iter().collect()
}

async fn look_at(node: &Node) -> anyhow::Result<Seen> {
    if process::running(node)?.is_none() {
        return Ok(Seen::Stopped);
    }
    Ok(match Client::with_timeout(&node.rpc, ANSWER_WITHIN)?.status().await {
        Ok(status) => Seen::Answers(Box::new(status)),
        Err(error) => Seen::Silent(error.to_string()),
    })
}

/// A node as `--json` shows it.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    node: &'a Node,
    state: &'static str,
    ready: bool,
    height: Option<u64>,
    view: Option<u64>,
    /// The node that leads that view.
    primary: Option<String>,
    peers: Option<u64>,
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    dir: String,
    chain: &'a str,
    genesis_hash: Hash,
    nodes: Vec<Row<'a>>,
}

pub(super) async fn run(globals: &Globals, args: &DirArgs) -> anyhow::Result<()> {
    let mut testnet = Testnet::open(&args.dir)?;
    testnet.refresh()?;
    let seen = look(&testnet).await?;
    let description = &testnet.description;
    let nodes = description.nodes.iter().zip(&seen).map(|(node, seen)| row(description, node, seen));
    let shown = Shown {
        dir: testnet.dir.display().to_string(),
        chain: &description.chain,
        genesis_hash: description.genesis_hash,
        nodes: nodes.collect(),
    };
    output::result(globals.json, &shown, text)
}

fn row<'a>(description: &'a Description, node: &'a Node, seen: &Seen) -> Row<'a> {
    let mut row = Row {
        node,
        state: "stopped",
        ready: false,
        height: None,
        view: None,
        primary: None,
        peers: None,
        reasons: vec![],
    };
    match seen {
        Seen::Stopped => {}
        Seen::Silent(reason) => {
            row.state = "silent";
            row.reasons.push(reason.clone());
        }
        Seen::Answers(status) if status.genesis_hash != description.genesis_hash => {
            row.state = "foreign";
            row.reasons.push(format!("runs another chain, {}", status.genesis_hash));
        }
        Seen::Answers(status) => {
            row.state = if status.ready { "ready" } else { "not ready" };
            row.ready = status.ready;
            row.height = Some(status.height.0);
            row.view = Some(status.view.0);
            row.primary = primary(&description.nodes, status);
            row.peers = Some(status.peers);
            row.reasons.clone_from(&status.not_ready);
            row.reasons.extend(status.refused.iter().map(|why| format!("does not vote: {why}")));
        }
    }
    row
}

/// The node that leads the view which a node is in, by its name: the chain numbers validators otherwise than their testnet
/// does. One that is no node of the testnet is told by its key.
fn primary(nodes: &[Node], status: &NodeStatus) -> Option<String> {
    let primary = status.primary.as_ref()?;
    let node = nodes.iter().find(|node| node.validator == Some(primary.key));
    Some(node.map_or_else(|| primary.key.to_string(), |node| node.name.clone()))
}

fn text(shown: &Shown<'_>) -> String {
    let mut table =
        output::table(&["node", "role", "state", "pid", "height", "view", "primary", "peers", "json-rpc"]);
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let mut notes = String::new();
    for row in &shown.nodes {
        table.add_row([
            row.node.name.clone(),
            if row.node.validator.is_some() { "validator" } else { "observer" }.to_owned(),
            row.state.to_owned(),
            row.node.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            number(row.height),
            number(row.view),
            row.primary.clone().unwrap_or_else(|| "-".to_owned()),
            number(row.peers),
            row.node.rpc.clone(),
        ]);
        for reason in &row.reasons {
            notes.push_str(&format!("{}: {reason}\n", row.node.name));
        }
    }
    let separator = if notes.is_empty() { "" } else { "\n" };
    let head = format!("{} {}\n{}\n\n", shown.chain, shown.genesis_hash, shown.dir);
    format!("{head}{}{separator}{notes}", output::lines(&table))
}

/// All nodes in a line.
pub(super) fn summary(nodes: &[Node], seen: &[Seen]) -> String {
    let statuses: Vec<&NodeStatus> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Answers(status) => Some(status.as_ref()),
            Seen::Stopped | Seen::Silent(_) => None,
        })
        .collect();
    let ready = statuses.iter().filter(|status| status.ready).count();
    let Some(first) = statuses.iter().max_by_key(|status| status.height) else {
        return format!("0 of {} nodes answer{}", seen.len(), stopped(nodes, seen));
    };
    let leading = statuses.iter().max_by_key(|status| status.view).unwrap_or(first);
    let view = leading.view;
    let primary = primary(nodes, leading).map_or(String::new(), |name| format!(", primary {name}"));
    let waiting = statuses.iter().map(|status| status.mempool.transactions).max().unwrap_or(0);
    format!(
        "height {} · view {view}{primary} · {ready} of {} nodes ready{} · {waiting} transactions waiting",
        first.height,
        seen.len(),
        stopped(nodes, seen)
    )
}

fn stopped(nodes: &[Node], seen: &[Seen]) -> String {
    let stopped = nodes.iter().zip(seen).filter(|(_, seen)| matches!(seen, Seen::Stopped));
    let names: Vec<&str> = stopped.map(|(node, _)| node.name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(", stopped: {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            pid: None,
            rpc: "http://127.0.0.1:1".to_owned(),
            p2p: "/ip4/127.0.0.1/tcp/1".to_owned(),
            home: name.into(),
            validator: None,
        }
    }

    #[test]
    fn nodes_that_do_not_run_are_named() {
        let nodes = [node("node0"), node("node1"), node("node2")];
        let silent = || Seen::Silent("connection refused".to_owned());
        assert_eq!(summary(&nodes, &[silent(), silent(), silent()]), "0 of 3 nodes answer");
        assert_eq!(
            summary(&nodes, &[Seen::Stopped, silent(), Seen::Stopped]),
            "0 of 3 nodes answer, stopped: node0, node2"
        );
    }
}
