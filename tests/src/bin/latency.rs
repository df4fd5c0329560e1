//! Measures a testnet with default parameters on an idle loopback: how long a transfer takes until it is final, and what
//! a node costs that has nothing to do. `make latency` runs it; `docs/benchmarks.md` has what it gave.
//!
//! A transfer's time is what a client sees: from handing the signed bytes to a node until that node says that the block
//! is committed by a quorum, executed, and on its disk. Transfers go one at a time, to each node in turn.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};
use quorate_tests::report::{Times, machine};
use quorate_tests::testnet::{Node, Testnet};
use tokio::time::interval;

/// Transfers that are measured.
const TRANSFERS: usize = 50;

/// Transfers before, so that connections and caches are as they are in use.
const WARM_UP: usize = 8;

/// How long idle nodes are watched.
const IDLE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() {
    let testnet = Testnet::up().await;
    let primary = testnet.primary().await;
    let mut text = machine();

    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let clients = testnet.clients();
    let mut all = Times::default();
    let mut by_node = vec![Times::default(); clients.len()];
    for transfer in 0..WARM_UP + TRANSFERS {
        let node = transfer % clients.len();
        let transaction = alice.transfer(bob.account(), 1);
        let start = Instant::now();
        clients[node].execute(&transaction).await;
        if transfer >= WARM_UP {
            let taken = start.elapsed();
            all.push(taken);
            by_node[node].push(taken);
        }
    }
    let _ = writeln!(text, "\n{TRANSFERS} transfers one at a time, until final, in ms:");
    let _ = writeln!(text, "{}\n{}", Times::head("through"), all.row("all nodes in turn"));
    for (node, taken) in testnet.nodes().iter().zip(&by_node) {
        let is_primary = testnet.nodes()[primary].name == node.name;
        let name = format!("{}{}", node.name, if is_primary { " (primary)" } else { "" });
        let _ = writeln!(text, "{}", taken.row(&name));
    }

    let before: Vec<Duration> = testnet.nodes().iter().map(processor_time).collect();
    let start = Instant::now();
    let mut end = interval(IDLE);
    end.tick().await; // the first is at once
    end.tick().await;
    let watched = start.elapsed();
    let _ = writeln!(text, "\nIdle for {} s:", watched.as_secs());
    let _ = writeln!(text, "  {:18} {:>12} {:>16}", "node", "of a core", "resident memory");
    for (node, before) in testnet.nodes().iter().zip(before) {
        let share = (processor_time(node) - before).as_secs_f64() / watched.as_secs_f64();
        let _ = writeln!(
            text,
            "  {:18} {:>10.2} % {:>12.1} MiB",
            node.name,
            100.0 * share,
            resident_mebibytes(node)
        );
    }
    print!("{text}");
}

/// What the process of a node has used of the processor, user and system together (proc(5), `stat`).
fn processor_time(node: &Node) -> Duration {
    let stat = process_file(node, "stat");
    // The name of the program stands in parentheses and may hold anything; behind it, fields 3 and on.
    let (_, fields) = stat.rsplit_once(") ").expect("proc(5)");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: f64 =
        [14, 15].map(|field: usize| fields[field - 3].parse::<f64>().expect("proc(5)")).iter().sum();
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("POSIX");
    #[expect(clippy::cast_precision_loss, reason = "it is 100")]
    Duration::from_secs_f64(ticks / ticks_per_second as f64)
}

/// What it holds of memory now (`VmRSS`).
fn resident_mebibytes(node: &Node) -> f64 {
    let status = process_file(node, "status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("proc(5)");
    let kibibytes: f64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("proc(5)");
    kibibytes / 1_024.0
}

fn process_file(node: &Node, name: &str) -> String {
    let pid = node.pid.expect("it runs");
    fs::read_to_string(format!("/proc/{pid}/{name}")).expect("its process")
}
