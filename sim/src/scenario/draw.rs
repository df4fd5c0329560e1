//! Any run: everything that is not given follows from the seed.

mod plans;

use super::{Change, Scenario};
use crate::client::{Lasting, Workload};
use crate::faults::{draw_marks, draw_network, draw_rates, draw_script};
use crate::liar::{LiarPlan, Lie};
use crate::machine::Timing;
use crate::random::{Random, Stream};

/// How long the clients of a random run go on, at the least.
const LASTS_MS: u64 = 60_000;
/// How many blocks a random run makes, at the least.
const BLOCKS: u64 = 200;
/// One in so many runs has a single validator, and one has ten: many, and ten cost four times what others do.
const RARELY: u64 = 200;
/// One in so many runs signs with real signatures, which cost ten times what the rest of a run does: of a long run that is
/// one part in a hundred, and some hundred times the real thing.
const REAL_EVERY: u64 = 1_000;

impl Scenario {
    /// Any run: everything that is not given follows from the seed. Lists are drawn from evenly: what stands in one twice comes
    /// twice as often. Values are at the ends of what is sensible and between, so that each limit is reached in some runs.
    #[must_use]
    pub fn random(name: &str, seed: u64) -> Self {
        let mut random = Random::new(seed, Stream::Scenario);
        let nodes = match random.below(RARELY) {
            0 => 1,
            1 => 10,
            _ => [4, 4, 4, 5, 6, 7][random.index(6)],
        };
        let chaos_ms = random.within(&(15_000..=45_000));
        let mut scenario = Self::new(name, nodes, seed)
            .chaos_ms(chaos_ms)
            .network(draw_network(&mut random))
            .clock_offset_max_ms([0, 20, 1_000][random.index(3)])
            .real_signatures(seed % REAL_EVERY == REAL_EVERY - 1)
            .workload(Workload {
                transactions: u32::MAX,
                every_ms: 1..=500,
                retry_ms: [1_000, 3_000][random.index(2)],
                lasting: Some(Lasting { for_ms: LASTS_MS, blocks: BLOCKS }),
                ..Workload::default()
            });
        let parameters = &mut scenario.parameters;
        parameters.window = [1, 2, 4, 8, 8][random.index(5)];
        parameters.log_window = [16, 32, 128][random.index(3)];
        parameters.heartbeat_ms = [0, 1_000, 60_000][random.index(3)];
        parameters.base_timeout_ms = [60, 150, 500][random.index(3)];
        parameters.timeout_cap_ms = [1_000, 2_000, 4_000, 10_000][random.index(4)];
        parameters.inclusion_timeout_ms = [500, 2_000][random.index(2)];
        parameters.rotation_blocks = [0, 5, 20, 1_000][random.index(4)];
        parameters.resend_ms = [500, 1_000, 2_000][random.index(3)];
        parameters.rotation_time_ms = [0, 2_000, 30_000][random.index(3)];
        parameters.block_transactions_max = [3, 100, 5_000][random.index(3)];
        let (lying, expendable) = draw_faulty(&mut random, nodes);
        scenario.liars =
            lying.into_iter().map(|node| LiarPlan { node, lies: draw_lies(&mut random) }).collect();
        scenario.draw_plans(&expendable);
        let every_ms = [1_000, 3_000, 10_000][random.index(3)];
        let machines = scenario.machines();
        scenario.script = draw_script(&mut random, machines, chaos_ms, every_ms, &expendable);
        scenario.timing = draw_timing(&mut random);
        scenario.script.extend(draw_rates(&mut Random::new(seed, Stream::Rates), machines, chaos_ms));
        let marks = draw_marks(&mut Random::new(seed, Stream::Marks), machines, chaos_ms, &expendable);
        scenario.script.extend(marks);
        scenario.draw_crashes_at_ends();
        scenario.let_transactions_live();
        assert!(scenario.is_fair(), "no more than f validators are faulty");
        scenario
    }
}

impl Scenario {
    /// Nothing that clients submit, but for what they want to expire, does so before it must have been committed. No plan may
    /// change how long transactions live.
    fn let_transactions_live(&mut self) {
        let lifetime_ms = self.lifetime_ms();
        self.parameters.transaction_lifetime_max_ms = lifetime_ms;
        for plan in &mut self.plans {
            if let Change::Parameters(parameters) = &mut plan.change {
                parameters.transaction_lifetime_max_ms = lifetime_ms;
            }
        }
    }
}

/// Machines of any speed. On a slow one events gather while it steps or syncs, and are taken together.
fn draw_timing(random: &mut Random) -> Timing {
    let timing = Timing::default();
    Timing {
        step_us: [timing.step_us, 50..=500, 200..=2_000][random.index(3)].clone(),
        sync_us: [timing.sync_us, 1_000..=10_000][random.index(2)].clone(),
        ..timing
    }
}

/// Up to f validators that are faulty for good: those that lie, and those that the script may take away.
fn draw_faulty(random: &mut Random, nodes: usize) -> (Vec<usize>, Vec<usize>) {
    let faulty_max = (nodes - 1) / 3;
    let first = random.index(nodes);
    let faulty = (0..faulty_max).map(|next| (first + next) % nodes);
    let (mut lying, mut expendable) = (Vec::new(), Vec::new());
    for node in faulty {
        match random.below(4) {
            0..=1 => lying.push(node),
            2 => expendable.push(node),
            _ => {}
        }
    }
    (lying, expendable)
}

/// One to four ways to lie.
fn draw_lies(random: &mut Random) -> Vec<Lie> {
    let count = random.within(&(1..=4));
    let mut lies: Vec<Lie> = (0..count).map(|_| Lie::ALL[random.index(Lie::ALL.len())]).collect();
    if random.below(8) == 0 {
        lies.push(Lie::Twin);
    }
    lies.sort_unstable();
    lies.dedup();
    lies
}
