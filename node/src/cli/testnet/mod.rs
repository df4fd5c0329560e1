//! `quorate testnet`: a whole network of nodes on this machine, each a process of its own.
//!
//! ```text
//! DIR/testnet.json          what is there: per node its name, process, addresses, home and validator key
//!    /genesis.json          the chain
//!    /accounts/alice.pem    funded accounts, for trying things
//!    /nodeN/                the home of node N, and node.log
//! ```
//!
//! - `layout` makes the directory and knows it; `process` starts, watches and stops nodes; `up`, `status`, `logs` and
//!   `reset` are the commands.
//! - Which process is a node is never remembered but asked of the kernel: the holder of the lock on its home
//!   ([`crate::home`]). So a stale pid can do no harm, and several shells may manage one testnet at a time.

mod layout;
mod logs;
mod ports;
mod process;
mod reset;
mod status;
mod up;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Globals, block_on, output};
use layout::Testnet;

#[derive(Debug, Subcommand)]
pub(super) enum TestnetCommand {
    /// Make the network if it is not there, start what does not run, wait until every node is ready
    ///
    /// Stays until Ctrl-C, which stops the nodes that it started; where all run already it only watches. With --detach it
    /// returns and leaves them running.
    Up(up::UpArgs),
    /// Show every node
    Status(DirArgs),
    /// Stop all nodes cleanly
    Down(DirArgs),
    /// Stop one node cleanly (SIGTERM)
    Stop(NodeArgs),
    /// Kill one node (SIGKILL), as a power cut would
    Kill(NodeArgs),
    /// Start one node
    Start(NodeArgs),
    /// Print the end of a node's log
    Logs(logs::LogsArgs),
    /// Drop all data of a stopped network; keep keys and genesis
    Reset(DirArgs),
}

/// Which testnet.
#[derive(Clone, Debug, Args)]
pub(super) struct DirArgs {
    /// Directory of the testnet
    #[arg(long, value_name = "DIR", default_value = "./testnet")]
    dir: PathBuf,
}

/// Which node of which testnet.
#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// The node: node2, or 2
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    at: DirArgs,
}

pub(super) fn run(globals: &Globals, command: TestnetCommand) -> anyhow::Result<()> {
    match command {
        TestnetCommand::Up(args) => block_on(up::run(globals, args)),
        TestnetCommand::Status(args) => block_on(status::run(globals, &args)),
        TestnetCommand::Down(args) => {
            let mut testnet = Testnet::open(&args.dir)?;
            let nodes = testnet.description.nodes.iter();
            block_on(process::stop_all(&testnet, nodes, process::How::Cleanly))?;
            after(globals, &mut testnet, "all nodes are stopped")
        }
        TestnetCommand::Stop(args) => {
            let mut testnet = Testnet::open(&args.at.dir)?;
            let node = testnet.node(&args.node)?.clone();
            let done = if process::running(&node)?.is_some() { "is stopped" } else { "was not running" };
            block_on(process::stop(&testnet, &node, process::How::Cleanly))?;
            after(globals, &mut testnet, &format!("{} {done}", node.name))
        }
        TestnetCommand::Kill(args) => {
            let mut testnet = Testnet::open(&args.at.dir)?;
            let node = testnet.node(&args.node)?.clone();
            let done = if process::running(&node)?.is_some() { "is killed" } else { "was not running" };
            block_on(process::stop(&testnet, &node, process::How::AtOnce))?;
            after(globals, &mut testnet, &format!("{} {done}", node.name))
        }
        TestnetCommand::Start(args) => {
            let mut testnet = Testnet::open(&args.at.dir)?;
            let node = testnet.node(&args.node)?.clone();
            block_on(up::start_one(&testnet, &node))?;
            after(globals, &mut testnet, &format!("{} is running; its JSON-RPC is {}", node.name, node.rpc))
        }
        TestnetCommand::Logs(args) => block_on(logs::run(globals, args)),
        TestnetCommand::Reset(args) => {
            let mut testnet = Testnet::open(&args.dir)?;
            reset::run(&testnet)?;
            let dir = output::quoted(&testnet.dir);
            after(
                globals,
                &mut testnet,
                &format!("all data is dropped; start anew with `quorate testnet up --dir {dir}`"),
            )
        }
    }
}

/// Writes down who runs now, and says what was done.
fn after(globals: &Globals, testnet: &mut Testnet, done: &str) -> anyhow::Result<()> {
    testnet.refresh()?;
    output::result(globals.json, &testnet.description, |_| done.to_owned())
}
