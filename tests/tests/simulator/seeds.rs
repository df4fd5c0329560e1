//! Random runs, and what makes them worth keeping: the same seed gives the same run.

use std::ops::Range;
use std::thread;

use quorate_consensus::pbft::Pbft;
use quorate_sim::{NetworkFaults, Scenario, Workload};

use crate::{asked_seed, attempt, hold, number, seed};

/// How many random runs are made where `QUORATE_SEEDS` does not say: less than a minute of two cores.
const SEEDS: u64 = 400;

/// How many of them are made at a time.
const WORKERS: usize = 2;

/// The seeds of random runs.
fn seeds() -> Range<u64> {
    if let Some(seed) = asked_seed() {
        return seed..seed + 1;
    }
    match std::env::var("QUORATE_SEEDS") {
        Ok(text) => match text.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => 0..number(&text),
        },
        Err(_) => 0..SEEDS,
    }
}

/// Real signatures are slow, so few runs have them; the code is the same but for the curve.
#[test]
fn real_signatures_change_nothing() {
    let run = |real| {
        let scenario = scenario!(4, 43)
            .real_signatures(real)
            .workload(Workload { transactions: 30, ..Workload::default() })
            .network(NetworkFaults::calm().losing(50));
        let report = hold(&scenario);
        (report.height, report.committed, report.votes, report.lasted_ms)
    };
    assert_eq!(run(true), run(false));
}

/// The switch that lets a simulator sign by the model is compiled into nothing that anybody is given.
#[test]
fn the_released_binary_knows_no_model_signatures() {
    let features = |package: &str| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = std::process::Command::new(cargo)
            .args(["tree", "--locked", "--edges", "normal,features", "--package", package])
            .args(["--invert", "quorate-crypto"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("cargo prints text")
    };
    assert!(features("quorate-sim").contains("model-signatures"), "the test looks for the right name");
    assert!(!features("quorate-node").contains("model-signatures"));
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    for random in 0..5 {
        let scenario = Scenario::random(name!(), seed(1_000 + random));
        let (first, second) = (hold(&scenario), hold(&scenario));
        assert!(!first.trace.text().is_empty());
        assert!(first.trace.text() == second.trace.text(), "seed {}", 1_000 + random);
    }
}

#[test]
fn any_seed_holds_every_claim() {
    let work = |worker| {
        let mut seeds = seeds().skip(worker).step_by(WORKERS);
        seeds.try_for_each(|seed| {
            let scenario = Scenario::random(name!(), seed);
            // A trace costs more than the run, and is made anew where something fails.
            let run = if asked_seed().is_some() { attempt(&scenario) } else { scenario.run::<Pbft>() };
            run.map(|report| assert!(report.recovered_after_ms.is_some(), "seed {seed} measured no recovery"))
        })
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a run turns panics into failures")).collect()
    });
    for outcome in outcomes {
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }
}
