//! Measures, on networks of real processes with default parameters, how soon a chain goes on when validators die, return
//! and take turns. `make recovery` runs it; `docs/benchmarks.md` has what it gave.
//!
//! ```text
//! primary     one of four validators dies while it is the primary: until the next block
//! primaries   the primaries of three views in a row, of ten validators, die at once: until the next block
//! outage      two of four are dead for minutes, then one returns: until the first block
//! restart     one of four is killed and started again: until its vote stands in a certificate
//! behind      one of four starts 10,000 blocks behind: until it has them all, and votes
//! rotation    what it costs that primaries take turns, with all alive and with one dead
//! ```
//!
//! Every time is what a client of another node sees: blocks count when that node says that they are committed, executed
//! and on its disk. Nothing is asserted about times; that the chains are sound in the end is.

mod back;
mod outage;
mod primary;
mod rotation;
mod watch;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use quorate_tests::report::{Times, load, machine, millis};

#[derive(Parser)]
#[command(about = "Measures how soon a chain goes on when validators die, return and take turns")]
struct Args {
    /// What to measure; everything if nothing is named
    measures: Vec<Measure>,
    /// How often, where that can be chosen
    #[arg(long, value_name = "N")]
    tries: Option<usize>,
    /// How long the outage lasts
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    outage: u64,
    /// How many blocks the one that is behind has missed
    #[arg(long, value_name = "BLOCKS", default_value_t = 10_000)]
    missed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Measure {
    Primary,
    Primaries,
    Outage,
    Restart,
    Behind,
    Rotation,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    println!("{}", machine());
    let measures =
        if args.measures.is_empty() { Measure::value_variants().to_vec() } else { args.measures.clone() };
    for measure in measures {
        let report = match measure {
            Measure::Primary => primary::alone(args.tries.unwrap_or(50)).await,
            Measure::Primaries => primary::in_a_row(args.tries.unwrap_or(5)).await,
            Measure::Outage => {
                outage::measure(args.tries.unwrap_or(1), Duration::from_secs(args.outage)).await
            }
            Measure::Restart => back::restarted(args.tries.unwrap_or(10)).await,
            Measure::Behind => back::behind(args.missed).await,
            Measure::Rotation => rotation::measure(args.tries.unwrap_or(rotation::CHANGES)).await,
        };
        println!("{report}({} now)\n", load());
    }
}

/// How many of the times are within what is aimed at.
fn within(times: &Times, target: Duration) -> String {
    let held = times.iter().filter(|time| **time <= target).count();
    format!("  within {:.0} ms: {held} of {}\n", millis(target), times.count())
}
