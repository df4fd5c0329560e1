//! Runs random seeds of the simulator on all cores, and says how fast, what failed and what they went through.
//!
//! ```text
//! seeds --seeds A..B [--workers N] [--twice N] [--shrink N]
//! seeds --seed N [--trace FILE]
//! seeds --engine BLOCKS
//! ```
//!
//! A failing seed prints the claim, the command that runs it again, and the smallest scenario near it that fails in the
//! same way, as the lines of a test. Exit code 1: something failed.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::{ArgGroup, Parser, value_parser};
use quorate_consensus::pbft::Pbft;
use quorate_sim::bench::engine_steps;
use quorate_sim::{Counter, Coverage, Inclusion, Report, Scenario};

/// A simulation allocates a few thousand small things a millisecond: a fifth of its time with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The name that random scenarios of this program carry.
const NAME: &str = "any_seed_holds_every_claim";
/// Of so many seeds one is run twice, if nothing else is said: one run in a hundred that costs double is not noticed.
const TWICE: u64 = 100;
/// Runs that finding a smaller failure may cost.
const SHRINKING_RUNS: usize = 400;
/// Failures that are made smaller, if nothing else is said; the others are only named.
const SHRINK: usize = 5;

/// What all workers together have seen.
#[derive(Default)]
struct Sum {
    coverage: Coverage,
    failures: Vec<u64>,
    slowest: Span,
    /// The one nearest to its bound.
    nearest: Span,
    /// Of the transactions that took longest in their runs, the one nearest to its bound.
    included: Span,
    twice: u64,
}

/// How long a chain took to commit again, or a transaction to be committed, and how long it might have.
#[derive(Clone, Copy, Default)]
struct Span {
    seed: u64,
    after_ms: u64,
    bound_ms: u64,
}

impl Span {
    /// The one of both that is nearer to its bound.
    fn nearer(self, other: Self) -> Self {
        let is_nearer = other.after_ms * self.bound_ms.max(1) > self.after_ms * other.bound_ms.max(1);
        if is_nearer { other } else { self }
    }

    /// Of its bound, in hundredths.
    fn percent(&self) -> u64 {
        100 * self.after_ms / self.bound_ms.max(1)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, after_ms, bound_ms } = self;
        write!(f, "{after_ms} ms of {bound_ms} ms, {} % (seed {seed})", self.percent())
    }
}

#[derive(Parser)]
#[command(about = "Runs random seeds of the simulator", group(ArgGroup::new("what").required(true)))]
struct Args {
    /// Run these, from A on and below B
    #[arg(long, value_name = "A..B", group = "what", value_parser = range)]
    seeds: Option<Range<u64>>,
    /// On so many threads, if not on all cores
    #[arg(long, value_name = "N", requires = "seeds", value_parser = value_parser!(u64).range(1..))]
    workers: Option<u64>,
    /// One in so many is run twice, and the traces are compared
    #[arg(long, value_name = "N", default_value_t = TWICE, value_parser = value_parser!(u64).range(1..))]
    twice: u64,
    /// At most so many failures are made smaller; the others are only named
    #[arg(long, value_name = "N", default_value_t = SHRINK)]
    shrink: usize,
    /// Run this one
    #[arg(long, value_name = "N", group = "what")]
    seed: Option<u64>,
    /// Leave its trace in a file
    #[arg(long, value_name = "FILE", requires = "seed")]
    trace: Option<PathBuf>,
    /// Say how fast the engine alone is, by so many blocks
    #[arg(long, value_name = "BLOCKS", group = "what")]
    engine: Option<u64>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is not a number"));
    let (first, end) = text.split_once("..").ok_or("it has the form A..B")?;
    Ok(number(first)?..number(end)?)
}

fn main() -> ExitCode {
    let Args { seeds, workers, twice, shrink, seed, trace, engine: blocks } = Args::parse();
    // Panics of the code under test are failures of their run, and those of a liar's own machine nothing at all.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(blocks) = blocks {
        return engine(blocks);
    }
    if let Some(seed) = seed {
        return one(seed, trace.as_deref());
    }
    let cores = thread::available_parallelism().map_or(1, usize::from) as u64;
    let seeds = seeds.expect("one of the group is asked for");
    many(seeds, workers.unwrap_or(cores), twice, shrink)
}

fn many(seeds: Range<u64>, workers: u64, twice: u64, shrink: usize) -> ExitCode {
    let started = Instant::now();
    let (next, sum) = (AtomicU64::new(seeds.start), Mutex::new(Sum::default()));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    attempt(seed, twice, &sum);
                }
            });
        }
    });
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let mut sum = sum.into_inner().expect("workers do not panic while they add");
    sum.failures.sort_unstable();
    println!("{}", sum.coverage);
    println!(
        "{} seeds in {minutes:.1} minutes: {:.0} a minute on {workers} threads; {} of them run twice with identical traces; \
         {} recoveries measured: slowest {}, nearest to its bound {}; inclusion nearest to its bound {}; {} failures",
        seeds.end - seeds.start,
        (seeds.end - seeds.start) as f64 / minutes,
        sum.twice,
        sum.coverage.of(Counter::RUNS_THAT_MEASURED_A_RECOVERY),
        sum.slowest,
        sum.nearest,
        sum.included,
        sum.failures.len()
    );
    for seed in &sum.failures {
        println!("  seed {seed}: {}", Scenario::random(NAME, *seed).replay());
    }
    sum.failures.iter().take(shrink).for_each(|seed| explain(*seed));
    if sum.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one seed, at times twice.
fn attempt(seed: u64, twice: u64, sum: &Mutex<Sum>) {
    let scenario = Scenario::random(NAME, seed);
    let again = seed.is_multiple_of(twice);
    let outcome = if again { scenario.run_traced::<Pbft>() } else { scenario.run::<Pbft>() };
    let same = match &outcome {
        Ok(report) if again => scenario.run_traced::<Pbft>().is_ok_and(|other| other == *report),
        Ok(_) | Err(_) => true,
    };
    let mut sum = sum.lock().expect("workers do not panic while they add");
    match outcome {
        Ok(report) => {
            sum.coverage.merge(&report.coverage);
            if let Some(after_ms) = report.recovered_after_ms {
                let recovery = Span { seed, after_ms, bound_ms: report.recovery_bound_ms };
                if after_ms > sum.slowest.after_ms {
                    sum.slowest = recovery;
                }
                sum.nearest = sum.nearest.nearer(recovery);
            } else {
                eprintln!("seed {seed}: no recovery was measured");
                sum.failures.push(seed);
            }
            if let Some(Inclusion { after_ms, bound_ms }) = report.slowest_inclusion {
                sum.included = sum.included.nearer(Span { seed, after_ms, bound_ms });
            }
            sum.twice += u64::from(again);
            if !same {
                eprintln!("seed {seed}: two runs differ");
                sum.failures.push(seed);
            }
        }
        Err(failure) => {
            eprintln!("seed {seed}: {}", failure.violation);
            sum.failures.push(seed);
        }
    }
}

/// What failed, and the smallest scenario near it that does.
fn explain(seed: u64) {
    if let Err(failure) = Scenario::random(NAME, seed).run::<Pbft>() {
        println!("\n{failure}");
        println!("smaller:\n{}", failure.shrink::<Pbft>(SHRINKING_RUNS));
    }
}

fn one(seed: u64, trace: Option<&Path>) -> ExitCode {
    let outcome = Scenario::random(NAME, seed).run_traced::<Pbft>();
    let text = outcome.as_ref().map_or_else(|failure| failure.trace.text(), |report| report.trace.text());
    if let Some(path) = trace
        && let Err(why) = std::fs::write(path, text)
    {
        eprintln!("{}: {why}", path.display());
    }
    match outcome {
        Ok(report) => {
            println!("{}", report.coverage);
            let Report { recovered_after_ms, recovery_bound_ms, .. } = report;
            let recovered = recovered_after_ms.map_or_else(
                || "no recovery was measured".to_owned(),
                |after_ms| format!("recovered after {after_ms} ms of {recovery_bound_ms} ms"),
            );
            println!("height {}, {recovered}", report.height);
            ExitCode::SUCCESS
        }
        Err(_) => {
            explain(seed);
            ExitCode::FAILURE
        }
    }
}

fn engine(blocks: u64) -> ExitCode {
    for nodes in [4, 7] {
        let started = Instant::now();
        let steps = engine_steps(nodes, blocks);
        let pace = steps as f64 / started.elapsed().as_secs_f64();
        println!("n = {nodes}: {steps} steps, {pace:.0} a second on one core");
    }
    ExitCode::SUCCESS
}
