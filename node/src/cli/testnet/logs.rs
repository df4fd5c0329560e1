//! `quorate testnet logs`: the end of a node's log, and what is added to it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::super::{Globals, output};
use super::NodeArgs;
use super::layout::Testnet;
use super::process;

/// Between two looks for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Most bytes copied at a time.
const PIECE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct LogsArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Go on printing what is added
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines to print first
    #[arg(long, default_value_t = 50)]
    lines: usize,
}

pub(super) async fn run(globals: &Globals, args: LogsArgs) -> anyhow::Result<()> {
    let testnet = Testnet::open(&args.node.at.dir)?;
    let file = testnet.node(&args.node.node)?.log_file();
    let (text, mut seen) = process::tail(&file, 0, args.lines)?;
    if globals.json && !args.follow {
        let lines: Vec<&str> = text.lines().collect();
        return output::result(true, &lines, |_| String::new());
    }
    output::write(std::io::stdout().lock(), &text)?;
    if !args.follow {
        return Ok(());
    }
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            result = &mut stop => return result.context("signals cannot be received"),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let mut log = std::fs::File::open(&file).with_context(|| file.display().to_string())?;
        let length = log.metadata()?.len();
        if length < seen {
            // Somebody emptied it.
            seen = 0;
        }
        log.seek(SeekFrom::Start(seen))?;
        let mut added = Vec::new();
        log.take(PIECE_BYTES_MAX.min(length - seen)).read_to_end(&mut added)?;
        seen += added.len() as u64;
        output::write(std::io::stdout().lock(), &String::from_utf8_lossy(&added))?;
    }
}
