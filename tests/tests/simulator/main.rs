//! Claims about a whole chain, held against the production engine and ledger in the simulator.
//!
//! Every run checks agreement, continuity, equal states, exactly-once, votes on disk before the wire, no second vote in
//! one place, nothing acknowledged lost, and progress once faults stop (`quorate_sim`); a test here says under which
//! faults. What fails prints the command that runs it again:
//!
//! - `QUORATE_SEED=n` replaces a test's seeds by that one, and leaves the whole trace in `QUORATE_TRACE` if that names a
//!   file;
//! - `QUORATE_SEEDS=n` makes `any_seed_holds_every_claim` try the seeds below `n`, `QUORATE_SEEDS=m..n` those from `m` on.

/// The name of the test that it stands in: what a failing run is run again by.
macro_rules! name {
    () => {{
        fn here() {}
        $crate::test_around(std::any::type_name_of_val(&here))
    }};
}

/// A calm run of so many validators, in the name of the test that it stands in, with the seed that is asked for or this one.
macro_rules! scenario {
    ($nodes:expr, $seed:expr) => {
        quorate_sim::Scenario::new(name!(), $nodes, $crate::seed($seed))
    };
}

mod crashes;
mod disks;
mod epochs;
mod liars;
mod network;
mod seeds;

use quorate_consensus::pbft::Pbft;
use quorate_ledger::Epoch;
use quorate_sim::{Change, Failure, NetworkFaults, Report, Scenario, VoteKind};

/// The sizes that matter: alone, `3f + 1`, and those between, where `2f + 1` would be too few.
const SIZES: [usize; 6] = [1, 4, 5, 6, 7, 10];

/// The test in whose body, or in a closure there, a function of this path is.
fn test_around(path: &'static str) -> &'static str {
    path.rsplit("::").skip(1).find(|part| *part != "{{closure}}").expect("a function is in a module")
}

/// A number from the environment.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

/// The seed that is asked for, if one is.
fn asked_seed() -> Option<u64> {
    std::env::var("QUORATE_SEED").ok().map(|text| number(&text))
}

/// The seed that is asked for, or this one.
fn seed(default: u64) -> u64 {
    asked_seed().unwrap_or(default)
}

/// Runs a scenario, and leaves the trace where it is asked for.
fn attempt(scenario: &Scenario) -> Result<Report, Box<Failure>> {
    let outcome = scenario.run_traced::<Pbft>();
    if let Some(path) = std::env::var_os("QUORATE_TRACE") {
        let trace = outcome.as_ref().map_or_else(|failure| &failure.trace, |report| &report.trace);
        std::fs::write(&path, trace.text()).expect("QUORATE_TRACE names a file that can be written");
    }
    outcome
}

/// Runs a scenario that must hold every claim.
fn hold(scenario: &Scenario) -> Report {
    attempt(scenario).unwrap_or_else(|failure| panic!("{failure}"))
}

fn lossy() -> NetworkFaults {
    NetworkFaults::calm().losing(200).doubling(200).delaying(100..=30_000).spiking(20, 50_000..=500_000)
}

/// The change to a set of these members.
fn set(members: impl IntoIterator<Item = usize>) -> Change {
    Change::Validators(members.into_iter().collect())
}

/// How many votes of a kind a node has sent in an epoch.
fn votes(report: &Report, node: usize, kind: VoteKind, epoch: u64) -> u64 {
    report.votes_of.get(&(node, kind, Epoch(epoch))).copied().unwrap_or_default()
}

#[test]
fn a_scenario_has_the_name_of_its_test() {
    let name = "a_scenario_has_the_name_of_its_test";
    let closures = || [0].map(|_| name!());
    assert_eq!((name!(), closures()), (name, [name]));
}
