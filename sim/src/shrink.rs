//! From a failing run to the smallest one near it that fails in the same way: what is left is what matters, and fits into
//! a test.

use crate::client::Workload;
use crate::faults::{Fault, NetworkFaults};
use crate::liar::Deceptive;
use crate::run::Failure;
use crate::scenario::Scenario;

impl Failure {
    /// Drops faults and lies, halves times, takes nodes away, as long as the same claim does not hold; at most `runs` runs. What
    /// is fair stays fair.
    #[must_use]
    pub fn shrink<E: Deceptive>(&self, runs: usize) -> Scenario {
        let (mut left, fair) = (runs, self.scenario.is_fair());
        let mut smallest = self.scenario.clone();
        smallest.name = "smaller".to_owned();
        let mut fails = |scenario: &Scenario| {
            left = left.saturating_sub(1);
            left > 0
                && (scenario.is_fair() || !fair)
                && scenario.violation::<E>().is_some_and(|it| it.claim == self.violation.claim)
        };
        if !fails(&smallest) {
            return self.scenario.clone();
        }
        while let Some(smaller) = steps(&smallest).into_iter().find(|scenario| fails(scenario)) {
            smallest = smaller;
        }
        smallest
    }
}

/// All ways to make a scenario a little smaller, the boldest first.
fn steps(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(without_plans(scenario));
    all.extend(fewer_nodes(scenario));
    all.extend(without_faults(scenario));
    all.extend(without_lies(scenario));
    all.extend(calmer(scenario));
    all.extend(shorter(scenario));
    all.extend(less_work(scenario));
    all
}

fn fewer_nodes(scenario: &Scenario) -> Vec<Scenario> {
    let nodes = scenario.nodes - 1;
    let fits = nodes > 0
        && scenario.plans.is_empty()
        && scenario.liars.iter().all(|liar| liar.node < nodes)
        && scenario.twins().next().is_none()
        && scenario.script.iter().all(|it| it.fault.fits(nodes));
    if fits { vec![Scenario { nodes, ..scenario.clone() }] } else { Vec::new() }
}

/// Without each of the changes. Members that none names any more are gone, with their lies and what was to happen to them.
fn without_plans(scenario: &Scenario) -> Vec<Scenario> {
    let all = (0..scenario.plans.len()).map(|place| {
        let mut fewer = scenario.clone();
        fewer.plans.remove(place);
        let members = fewer.members();
        fewer.liars.retain(|liar| liar.node < members);
        let machines = fewer.machines();
        fewer.script.retain(|it| it.fault.fits(machines));
        fewer
    });
    all.collect()
}

/// Without a half of the script, a quarter, and so on to each fault alone.
fn without_faults(scenario: &Scenario) -> Vec<Scenario> {
    let count = scenario.script.len();
    let mut all = Vec::new();
    let mut size = count;
    while size > 0 {
        for first in (0..count).step_by(size) {
            let mut fewer = scenario.clone();
            fewer.script.drain(first..(first + size).min(count));
            all.push(fewer);
        }
        size /= 2;
    }
    all
}

fn without_lies(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    for place in 0..scenario.liars.len() {
        let mut fewer = scenario.clone();
        fewer.liars.remove(place);
        all.push(fewer);
        if scenario.liars[place].lies.len() > 1 {
            for lie in 0..scenario.liars[place].lies.len() {
                let mut fewer = scenario.clone();
                fewer.liars[place].lies.remove(lie);
                all.push(fewer);
            }
        }
    }
    // A twin that is gone takes its machine along.
    all.retain(|fewer| fewer.script.iter().all(|it| it.fault.fits(fewer.machines())));
    all
}

fn calmer(scenario: &Scenario) -> Vec<Scenario> {
    let calm = NetworkFaults::calm();
    let now = &scenario.network;
    let networks = [
        calm.clone(),
        NetworkFaults { loss_permille: 0, ..now.clone() },
        NetworkFaults { duplicate_permille: 0, ..now.clone() },
        NetworkFaults { corrupt_permille: 0, ..now.clone() },
        NetworkFaults { spike_permille: 0, ..now.clone() },
        NetworkFaults { delay_us: calm.delay_us.clone(), long_tail: false, ..now.clone() },
    ];
    let changed = networks.into_iter().filter(|network| network != now);
    let mut all: Vec<Scenario> = changed.map(|network| scenario.clone().network(network)).collect();
    if scenario.clock_offset_max_ms > 0 {
        all.push(scenario.clone().clock_offset_max_ms(0));
    }
    all
}

fn shorter(scenario: &Scenario) -> Vec<Scenario> {
    let mut all = Vec::new();
    let last_ms = scenario.script.iter().map(|it| it.at_ms).max().unwrap_or_default();
    for chaos_ms in [scenario.chaos_ms / 2, scenario.chaos_ms * 9 / 10] {
        if chaos_ms > last_ms && chaos_ms < scenario.chaos_ms {
            all.push(scenario.clone().chaos_ms(chaos_ms));
        }
    }
    for (place, scheduled) in scenario.script.iter().enumerate() {
        if let Some(half) = scheduled.fault.halved() {
            let mut other = scenario.clone();
            other.script[place].fault = half;
            all.push(other);
        }
        if let Fault::Network(faults) = &scheduled.fault
            && *faults != NetworkFaults::calm()
        {
            let mut other = scenario.clone();
            other.script[place].fault = Fault::Network(NetworkFaults::calm());
            all.push(other);
        }
    }
    all
}

fn less_work(scenario: &Scenario) -> Vec<Scenario> {
    let now = &scenario.workload;
    let mut all = Vec::new();
    if let Some(lasting) = now.lasting {
        let until_ms = scenario.chaos_ms.max(1_000);
        if lasting.for_ms > until_ms || lasting.blocks > 0 {
            let lasting = Some(crate::client::Lasting { for_ms: until_ms, blocks: 0 });
            all.push(scenario.clone().workload(Workload { lasting, ..now.clone() }));
        }
    }
    for (short, double) in [(0, now.double_permille), (now.short_permille, 0)] {
        let workload = Workload { short_permille: short, double_permille: double, ..now.clone() };
        if workload != *now {
            all.push(scenario.clone().workload(workload));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_another_scenario() {
        for seed in 0..20 {
            let scenario = Scenario::random("", seed);
            assert!(steps(&scenario).iter().all(|step| *step != scenario), "seed {seed}");
        }
    }
}
