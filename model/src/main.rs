//! Searches the model. Prints what was found and how much was searched; ends with 1 if a claim does not hold.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use quorate_model::{
    AGREEMENT, Bounds, Claims, Model, Planted, Protocol, REACH, RECOVERY, REPLICAS, Rules, Unhurried,
};
use stateright::{Checker, HasDiscoveries, Model as _};

/// Searches a model of the protocol for forks, and for states from which it does not recover.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Heights at which blocks are proposed, at most 3.
    #[arg(long, default_value_t = 1)]
    heights: usize,
    /// Views that replicas may ask for, view 0 included, at most 4.
    #[arg(long, default_value_t = 3)]
    views: usize,
    /// The replica that lies, 0 to 3.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..4))]
    liar: u8,
    /// Check agreement only. With 3 heights nothing else can be.
    #[arg(long)]
    agreement: bool,
    /// How far above what is executed a block may stand [default: the number of heights].
    #[arg(long)]
    window: Option<usize>,
    /// A mistake to put into the rules.
    #[arg(long, value_parser = PossibleValuesParser::new(Planted::ALL.map(Planted::name)))]
    planted: Option<String>,
    /// Search breadth first, but only states within so many steps.
    #[arg(long)]
    depth: Option<usize>,
    /// Visit so many states along random schedules instead.
    #[arg(long, conflicts_with = "depth")]
    random: Option<usize>,
    /// Where the random schedules begin.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads that search. With one, the depth is exact and a counterexample short.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let planted =
        Planted::ALL.into_iter().find(|planted| arguments.planted.as_deref() == Some(planted.name()));
    let rules = planted.map_or_else(Rules::default, Planted::rules);
    let window = arguments.window.unwrap_or(arguments.heights);
    let protocol = Protocol { rules, liar: arguments.liar.into(), window };
    let claims = if arguments.agreement { Claims::Agreement } else { Claims::AgreementAndRecovery };
    let model = Model::new(protocol, Bounds { heights: arguments.heights, views: arguments.views, claims });
    let builder = model.checker().threads(arguments.threads).finish_when(HasDiscoveries::AnyFailures);
    match (arguments.random, arguments.depth) {
        (Some(states), _) => {
            let builder = builder.target_state_count(states);
            report(&arguments, builder.spawn_simulation(arguments.seed, Unhurried))
        }
        // The checker counts the first state as depth 1, and skips what is at the bound.
        (None, Some(depth)) => report(&arguments, builder.target_max_depth(depth + 2).spawn_bfs()),
        (None, None) => report(&arguments, builder.spawn_bfs()),
    }
}

/// Waits for the search and prints what came of it.
fn report(arguments: &Arguments, checker: impl Checker<Model>) -> ExitCode {
    let start = Instant::now();
    let checker = checker.join();
    let Arguments { heights, views, liar, .. } = arguments;
    let kind = match (arguments.random, arguments.depth) {
        (Some(_), _) => format!("random from seed {}", arguments.seed),
        (None, Some(depth)) => format!("up to {depth} steps"),
        (None, None) => "exhaustive".to_owned(),
    };
    println!("{REPLICAS} replicas, r{liar} lies, {heights} heights, {views} views, {kind}");
    let steps = if arguments.random.is_some() { checker.max_depth() } else { checker.max_depth() - 1 };
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} states, {} different, {steps} steps deep, {seconds:.1} s",
        checker.state_count(),
        checker.unique_state_count()
    );
    if !arguments.agreement {
        println!("{} of them differ in what matters to recovery", checker.model().recovered());
    }
    if checker.discovery(REACH).is_none() {
        println!("no block of the last view commits at the last height: the search is too small");
    }
    let mut holds = true;
    for claim in [AGREEMENT, RECOVERY].into_iter().filter(|claim| *claim == AGREEMENT || !arguments.agreement)
    {
        match checker.discovery(claim) {
            None => println!("{claim}: holds"),
            Some(path) => {
                holds = false;
                let last = path.last_state().clone();
                println!("{claim}: does not hold");
                for (step, action) in path.into_actions().into_iter().enumerate() {
                    println!("{:4} {action}", step + 1);
                }
                if let Some((one, other)) = checker.model().fork(&last) {
                    println!("now {one} and {other} can both be certified");
                }
                if let Some(stuck) = checker.model().stuck(&last).filter(|_| claim == RECOVERY) {
                    println!("no block commits any more: {stuck}");
                }
            }
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
