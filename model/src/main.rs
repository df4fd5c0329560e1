//! Searches the model. Prints what was found and how much was searched; ends with 1 if a claim does not hold.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use quorate_model::{
    Action, Bounds, Claims, HEIGHTS, Model, Planted, Protocol, REACH, RECOVERY, REPLICAS, Rules, State,
    Unhurried,
};
use stateright::{Checker, HasDiscoveries, Model as _, Path};

/// Searches a model of the protocol for forks, and for states from which it does not recover.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Heights at which blocks are proposed. With 3 only agreement is checked.
    #[arg(long, default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=HEIGHTS as u64))]
    heights: usize,
    /// Views that replicas may ask for, view 0 included.
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=REPLICAS as u64))]
    views: usize,
    /// The replica that lies.
    #[arg(long, default_value_t = 0, value_parser = RangedU64ValueParser::<usize>::new().range(0..REPLICAS as u64))]
    liar: usize,
    /// Check agreement only.
    #[arg(long)]
    agreement: bool,
    /// How far above what is executed a block may stand [default: the number of heights].
    #[arg(long)]
    window: Option<usize>,
    /// A mistake to put into the rules.
    #[arg(long, value_parser = PossibleValuesParser::new(Planted::ALL.map(Planted::name)))]
    planted: Option<String>,
    /// Search only states within so many steps.
    #[arg(long)]
    depth: Option<usize>,
    /// Visit so many states along random schedules instead.
    #[arg(long, conflicts_with = "depth")]
    random: Option<usize>,
    /// Where the random schedules begin.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that search. With one the depth is exact, and what is found is short.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let builder =
        arguments.model().checker().threads(arguments.threads).finish_when(HasDiscoveries::AnyFailures);
    match (arguments.random, arguments.depth) {
        (Some(states), _) => {
            let builder = builder.target_state_count(states);
            report(&arguments, builder.spawn_simulation(arguments.seed, Unhurried))
        }
        // The checker calls the first state depth 1, and does not look at those that have the depth it is given.
        (None, Some(depth)) => report(&arguments, builder.target_max_depth(depth + 2).spawn_bfs()),
        (None, None) => report(&arguments, builder.spawn_bfs()),
    }
}

impl Arguments {
    fn model(&self) -> Model {
        let planted =
            Planted::ALL.into_iter().find(|planted| self.planted.as_deref() == Some(planted.name()));
        let rules = planted.map_or_else(Rules::default, Planted::rules);
        let window = self.window.unwrap_or(self.heights);
        let only_agreement = self.agreement || self.heights == HEIGHTS;
        let claims = if only_agreement { Claims::Agreement } else { Claims::AgreementAndRecovery };
        let bounds = Bounds { heights: self.heights, views: self.views, claims };
        Model::new(Protocol { rules, liar: self.liar, window }, bounds)
    }
}

/// Waits for the search and prints what came of it.
fn report(arguments: &Arguments, checker: impl Checker<Model>) -> ExitCode {
    let start = Instant::now();
    let checker = checker.join();
    let seconds = start.elapsed().as_secs_f64();
    let Arguments { heights, views, liar, .. } = arguments;
    let (kind, steps) = match (arguments.random, arguments.depth) {
        (Some(_), _) => (format!("random from seed {}", arguments.seed), checker.max_depth()),
        (None, Some(depth)) => (format!("up to {depth} steps"), depth.min(checker.max_depth() - 1)),
        (None, None) => ("exhaustive".to_owned(), checker.max_depth() - 1),
    };
    let (visited, different) = (checker.state_count(), checker.unique_state_count());
    println!("{REPLICAS} replicas, r{liar} lies, heights: {heights}, views: {views}, {kind}");
    println!("states: {different}, on {visited} ways, {steps} steps deep, {seconds:.1} s");
    let recovered = checker.model().recovered();
    if recovered > 0 {
        println!("states that differ in what matters to recovery: {recovered}");
    }

    let mut holds = true;
    for property in checker.model().properties() {
        match (property.name, checker.discovery(property.name)) {
            (REACH, Some(_)) => {}
            (REACH, None) => println!("{REACH}: no block of the last view commits at the last height"),
            (claim, None) => println!("{claim}: holds"),
            (claim, Some(path)) => {
                holds = false;
                println!("{claim}: does not hold");
                explain(checker.model(), claim, path);
            }
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what leads to a state at which a claim does not hold, and why it does not.
fn explain(model: &Model, claim: &str, path: Path<State, Action>) {
    let last = path.last_state().clone();
    for (step, action) in path.into_actions().into_iter().enumerate() {
        println!("{:4} {action}", step + 1);
    }
    if let Some((one, other)) = model.fork(&last) {
        println!("now {one} and {other} can both be certified");
    }
    if let Some(stuck) = model.stuck(&last).filter(|_| claim == RECOVERY) {
        println!("once faults end, no block commits: {stuck}");
        for replica in model.protocol().correct() {
            println!("     r{replica} {}", stuck.state().replica(replica));
        }
    }
}
