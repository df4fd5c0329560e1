//! Any changes of epochs, drawn from a seed: validators that come, go and take each other's places, other parameters, and
//! approvals that come to nothing.

use quorate_ledger::Parameters;

use super::draw_lies;
use crate::faults::{Fault, Scheduled, draw_ms, draw_point};
use crate::liar::LiarPlan;
use crate::random::{Random, Stream};
use crate::scenario::{Approvers, Change, Plan, Scenario, faulty_max};

/// One in so many runs has changes of epochs.
const EVERY: u64 = 3;
/// Most validators of a set.
const VALIDATORS_MAX: usize = 10;
/// So often another set is drawn where one has too many that are faulty.
const DRAWS: usize = 8;

impl Scenario {
    /// Plans changes in some runs, with members that are to come. Who is `expendable` may be gone for
    /// good, and does not come back in.
    pub(super) fn draw_plans(&mut self, expendable: &[usize]) {
        let mut random = Random::new(self.seed, Stream::Plans);
        if random.below(EVERY) != 0 {
            return;
        }
        let members = self.nodes + random.within(&(1..=4)) as usize;
        for node in self.nodes..members {
            if random.below(4) == 0 {
                self.liars.push(LiarPlan { node, lies: draw_lies(&mut random) });
            }
        }
        let faulty: Vec<usize> = self.liars.iter().map(|liar| liar.node).chain(expendable.to_vec()).collect();
        let mut draw = Draw { random, members, faulty, expendable: expendable.to_vec() };
        let count = draw.random.within(&(1..=5));
        let until_ms = self.chaos_ms * 5 / 4;
        let mut times: Vec<u64> = (0..count).map(|_| draw.random.below(until_ms)).collect();
        times.sort_unstable();
        let mut now: Vec<usize> = (0..self.nodes).collect();
        for at_ms in times {
            draw.plan(self, at_ms, &mut now);
        }
        // Members are those that the plans name: of the others none is left to lie.
        let members = self.members();
        self.liars.retain(|liar| liar.node < members);
    }

    /// Lets processes die where the planned epochs end.
    pub(super) fn draw_crashes_at_ends(&mut self) {
        let mut random = Random::new(self.seed, Stream::Ends);
        for plan in &self.plans {
            for _ in 0..random.below(3) {
                let (node, point) = (random.index(self.machines()), draw_point(&mut random));
                let fault = Fault::CrashAtEnd { node, point, restart_after_ms: draw_ms(&mut random) };
                self.script.push(Scheduled { at_ms: plan.at_ms, fault });
            }
        }
        self.script.retain(|scheduled| scheduled.at_ms < self.chaos_ms);
        self.script.sort_by_key(|scheduled| scheduled.at_ms);
    }
}

struct Draw {
    random: Random,
    members: usize,
    faulty: Vec<usize>,
    expendable: Vec<usize>,
}

impl Draw {
    /// One more plan, or two that contradict each other. `now` is the set that there is if all before succeed.
    fn plan(&mut self, scenario: &mut Scenario, at_ms: u64, now: &mut Vec<usize>) {
        match self.random.below(8) {
            0..=4 => {
                let next = self.set(now);
                now.clone_from(&next);
                let change = Change::Validators(next);
                scenario.plans.push(Plan { at_ms, change, approvers: Approvers::All });
            }
            5 => {
                let parameters = self.parameters(&scenario.parameters);
                let change = Change::Parameters(Box::new(parameters));
                scenario.plans.push(Plan { at_ms, change, approvers: Approvers::All });
            }
            6 => {
                let few = now.iter().copied().take(faulty_max(now.len()).max(now.len() / 2)).collect();
                let change = Change::Validators(self.set(now));
                scenario.plans.push(Plan { at_ms, change, approvers: Approvers::These(few) });
            }
            _ => {
                let (some, others) = now.split_at(now.len() / 2);
                for approvers in [some.to_vec(), others.to_vec()] {
                    let change = Change::Validators(self.set(now));
                    let approvers = Approvers::These(approvers);
                    scenario.plans.push(Plan { at_ms, change, approvers });
                }
            }
        }
    }

    /// A set that may follow this one, with no more in it that are faulty than the protocol is made for.
    fn set(&mut self, now: &[usize]) -> Vec<usize> {
        for _ in 0..DRAWS {
            let next = self.any_set(now);
            let faulty = next.iter().filter(|member| self.faulty.contains(member)).count();
            if !next.is_empty() && next.len() <= VALIDATORS_MAX && faulty <= faulty_max(next.len()) {
                return next;
            }
        }
        now.to_vec()
    }

    fn any_set(&mut self, now: &[usize]) -> Vec<usize> {
        let outside = |member: &usize| !now.contains(member) && !self.expendable.contains(member);
        let others: Vec<usize> = (0..self.members).filter(outside).collect();
        let mut next = now.to_vec();
        let add = |next: &mut Vec<usize>, random: &mut Random| {
            if !others.is_empty() {
                next.push(others[random.index(others.len())]);
            }
        };
        match self.random.below(10) {
            0..=2 => add(&mut next, &mut self.random),
            3..=4 => drop(next.swap_remove(self.random.index(now.len()))),
            5 => {
                next.swap_remove(self.random.index(now.len()));
                add(&mut next, &mut self.random);
            }
            // Heirs: nobody stays.
            6 => next = others,
            // Any of all.
            7..=8 => {
                next.extend(others);
                next.retain(|_| self.random.chance(500));
            }
            // The same again.
            _ => {}
        }
        next.sort_unstable();
        next
    }

    /// A few parameters are others.
    fn parameters(&mut self, from: &Parameters) -> Parameters {
        let (mut to, random) = (from.clone(), &mut self.random);
        for _ in 0..random.within(&(1..=3)) {
            match random.below(8) {
                0 => to.window = [1, 2, 4, 8][random.index(4)],
                1 => to.log_window = [16, 32, 128][random.index(3)],
                2 => to.rotation_blocks = [0, 5, 20][random.index(3)],
                3 => to.block_transactions_max = [3, 100][random.index(2)],
                4 => to.base_timeout_ms = [60, 150, 500][random.index(3)],
                5 => to.heartbeat_ms = [0, 1_000][random.index(2)],
                6 => to.resend_ms = [500, 1_000, 2_000][random.index(3)],
                _ => to.inclusion_timeout_ms = [500, 2_000][random.index(2)],
            }
        }
        to
    }
}
