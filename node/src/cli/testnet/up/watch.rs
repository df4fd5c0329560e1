//! What `testnet up` does until it is told to end: it shows where the network stands, and then stops what it started.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::super::super::output;
use super::super::layout::{Node, Testnet};
use super::super::process::{self, How, Started};
use super::super::status;
use super::welcome::program;

/// Between two looks at which nodes run, which costs nothing.
const RUNNING_EVERY: Duration = Duration::from_millis(200);

/// Between two summaries on a terminal, where the line is drawn over.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);

/// Between two summaries elsewhere, where each is a line of its own and is printed only if it says something new. That a
/// node has ended or runs again is said at once.
const SUMMARY_LINE_EVERY: Duration = Duration::from_secs(10);

/// What this command does once all nodes are ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stay {
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
    pub(super) fn of(testnet: &Testnet, started: &BTreeSet<String>) -> Self {
        if started.is_empty() {
            Self::OwnsNone
        } else if started.len() == testnet.description.nodes.len() {
            Self::OwnsAll
        } else {
            Self::OwnsSome(started.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        }
    }

    /// What Ctrl-C does.
    pub(super) fn end(&self) -> String {
        match self {
            Self::Detached | Self::OwnsNone => "Ctrl-C leaves them running".to_owned(),
            Self::OwnsAll => "Ctrl-C stops all".to_owned(),
            Self::OwnsSome(names) => format!("Ctrl-C stops {names}"),
        }
    }
}

/// What asks this command to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be received");
        Ok(Signals {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            // The terminal was closed: nobody is left to stop the nodes.
            hangup: on(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Shows where the network stands until told to end.
pub(super) async fn watch(
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
pub(super) async fn stop_all(
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

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::super::welcome::welcome;
    use super::*;

    #[test]
    fn what_ends_with_this_command_is_what_it_started() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let testnet = super::super::make(&args(dir.path())).expect("made");
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
        let testnet = super::super::make(&args(dir.path())).expect("made");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let news =
            changes(&testnet, &names(&["node0", "node1"]), &names(&["node1", "node2"]), &mut BTreeMap::new());
        assert_eq!(news.len(), 2, "{news:?}");
        assert!(news[0].starts_with("node0 has ended; see "), "{news:?}");
        assert_eq!(news[1], "node2 runs again");
    }
}
