//! The binary `quorate`: a node of a Quorate chain, and the commands of those who run, use and examine one.
//!
//! ```text
//! cli/        one file a group of commands; the only place that prints
//! client      JSON-RPC as the commands speak it
//! config      what the node is told, in layers
//! home        where a node's files are, and who runs there
//! exit        what an error is to a script
//! runtime/    the threads that join the parts of a running node; mempool, metrics and wire are theirs
//! rpc/        the JSON-RPC server
//! ```

mod cli;
mod client;
mod config;
mod exit;
#[cfg(test)]
mod fixtures;
mod home;
mod mempool;
mod metrics;
mod rpc;
mod runtime;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::parse();
    let form = cli.form();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", exit::told(&error, form));
            exit::code(&error)
        }
    }
}
