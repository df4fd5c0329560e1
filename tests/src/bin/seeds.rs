//! Runs random seeds of the simulator on all cores, and says how fast, what failed and what they went through.
//!
//! ```text
//! seeds --seeds A..B [--workers N] [--twice N] [--shrink N]
//!                                                 run them; one in N twice, comparing the traces; at most N failures are
//!                                                 made smaller
//! seeds --seed N [--trace FILE]                   run one, and leave its trace in a file
//! seeds --engine BLOCKS                           how fast the engine alone is
//! ```
//!
//! A failing seed prints the claim, the command that runs it again, and the smallest scenario near it that fails in the
//! same way, as the lines of a test. Exit code 1: something failed.

use std::fmt;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use quorate_consensus::pbft::Pbft;
use quorate_sim::bench::engine_steps;
use quorate_sim::{Coverage, Report, Scenario};

/// A simulation allocates a few thousand small things a millisecond: a fifth of its time with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The name that random scenarios of this program carry.
const NAME: &str = "any_seed_holds_every_claim";
/// Of so many seeds one is run twice, if nothing else is said.
const TWICE: u64 = 100;
/// Runs that finding a smaller failure may cost.
const SHRINKING_RUNS: usize = 400;
/// Failures that are made smaller, if nothing else is said; the others are only named.
const SHRINK: u64 = 5;

/// What all workers together have seen.
#[derive(Default)]
struct Sum {
    coverage: Coverage,
    failures: Vec<u64>,
    slowest: Recovery,
    /// The one nearest to its bound.
    nearest: Recovery,
    twice: u64,
}

/// How long a chain took to commit again, and how long it might have.
#[derive(Clone, Copy, Default)]
struct Recovery {
    seed: u64,
    after_ms: u64,
    bound_ms: u64,
}

impl Recovery {
    /// Of its bound, in hundredths.
    fn percent(&self) -> u64 {
        100 * self.after_ms / self.bound_ms.max(1)
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, after_ms, bound_ms } = self;
        write!(f, "{after_ms} ms of {bound_ms} ms, {} % (seed {seed})", self.percent())
    }
}

fn main() -> ExitCode {
    // Panics of the code under test are failures of their run, and those of a liar's own machine nothing at all.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match parse(&arguments) {
        Ok(Command::Many { seeds, workers, twice, shrink }) => many(seeds, workers, twice, shrink),
        Ok(Command::One { seed, trace }) => one(seed, trace.as_deref()),
        Ok(Command::Engine { blocks }) => engine(blocks),
        Err(why) => {
            eprintln!(
                "{why}\nusage: seeds --seeds A..B [--workers N] [--twice N] [--shrink N] | --seed N [--trace FILE] | --engine BLOCKS"
            );
            ExitCode::from(2)
        }
    }
}

enum Command {
    Many { seeds: Range<u64>, workers: usize, twice: u64, shrink: usize },
    One { seed: u64, trace: Option<String> },
    Engine { blocks: u64 },
}

fn parse(arguments: &[String]) -> Result<Command, String> {
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(place + 1).cloned().unwrap_or_default())
    };
    let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is not a number"));
    if let Some(blocks) = value("--engine") {
        return Ok(Command::Engine { blocks: number(blocks)? });
    }
    if let Some(seed) = value("--seed") {
        return Ok(Command::One { seed: number(seed)?, trace: value("--trace") });
    }
    let seeds = value("--seeds").ok_or("no seeds are named")?;
    let (first, end) = seeds.split_once("..").ok_or_else(|| format!("`{seeds}` is not A..B"))?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = value("--workers").map_or(Ok(cores as u64), number)?;
    Ok(Command::Many {
        seeds: number(first.to_owned())?..number(end.to_owned())?,
        workers: usize::try_from(workers.max(1)).map_err(|why| why.to_string())?,
        twice: value("--twice").map_or(Ok(TWICE), number)?.max(1),
        shrink: usize::try_from(value("--shrink").map_or(Ok(SHRINK), number)?)
            .map_err(|why| why.to_string())?,
    })
}

fn many(seeds: Range<u64>, workers: usize, twice: u64, shrink: usize) -> ExitCode {
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
         slowest recovery {}, nearest to its bound {}; {} failures",
        seeds.end - seeds.start,
        (seeds.end - seeds.start) as f64 / minutes,
        sum.twice,
        sum.slowest,
        sum.nearest,
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
            let (after_ms, bound_ms) = (report.recovered_after_ms, report.recovery_bound_ms);
            let recovery = Recovery { seed, after_ms, bound_ms };
            if after_ms > sum.slowest.after_ms {
                sum.slowest = recovery;
            }
            if after_ms * sum.nearest.bound_ms.max(1) > sum.nearest.after_ms * bound_ms {
                sum.nearest = recovery;
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

fn one(seed: u64, trace: Option<&str>) -> ExitCode {
    let outcome = Scenario::random(NAME, seed).run_traced::<Pbft>();
    let text = outcome.as_ref().map_or_else(|failure| failure.trace.text(), |report| report.trace.text());
    if let Some(path) = trace
        && let Err(why) = std::fs::write(path, text)
    {
        eprintln!("{path}: {why}");
    }
    match outcome {
        Ok(report) => {
            println!("{}", report.coverage);
            let Report { recovered_after_ms, recovery_bound_ms, .. } = report;
            println!(
                "height {}, recovered after {recovered_after_ms} ms of {recovery_bound_ms} ms",
                report.height
            );
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
