//! A scenario in words: for a failure, and as the lines of a test.

use std::fmt;

use quorate_ledger::Parameters;

use super::{Approvers, Change, Scenario};
use crate::client::Workload;
use crate::faults::NetworkFaults;
use crate::machine::Timing;

impl Scenario {
    /// The command that runs this again, as long as it is what its name and seed give.
    #[must_use]
    pub fn replay(&self) -> String {
        let Self { name, seed, .. } = self;
        if *self == Self::random(name, *seed) {
            return format!(
                "cargo run --release -p quorate-tests --bin seeds -- --seed {seed} --trace trace.txt"
            );
        }
        format!("QUORATE_SEED={seed} cargo test --release -p quorate-tests --test simulator {name}")
    }

    /// The lines of Rust that make this scenario: what a failing run shrinks to becomes a test that way.
    #[must_use]
    pub fn as_code(&self) -> String {
        let mut lines = vec![format!("Scenario::new(\"{}\", {}, {})", self.name, self.nodes, self.seed)];
        if self.parameters != Parameters::default() {
            lines.push(format!(".parameters({})", parameters(&self.parameters)));
        }
        if self.network != NetworkFaults::calm() {
            lines.push(format!(".network({:?})", self.network));
        }
        if self.workload != Workload::default() {
            lines.push(format!(".workload({:?})", self.workload));
        }
        if self.timing != Timing::default() {
            lines.push(format!(".timing({:?})", self.timing));
        }
        lines.push(format!(".clock_offset_max_ms({})", self.clock_offset_max_ms));
        lines.push(format!(".chaos_ms({})", self.chaos_ms));
        if self.real_signatures {
            lines.push(".real_signatures(true)".to_owned());
        }
        for liar in &self.liars {
            let lies: Vec<String> = liar.lies.iter().map(|lie| format!("Lie::{lie:?}")).collect();
            lines.push(format!(".liar({}, &[{}])", liar.node, lies.join(", ")));
        }
        for plan in &self.plans {
            let change = match &plan.change {
                Change::Validators(members) => format!("Validators(vec!{members:?})"),
                Change::Parameters(all) => format!("Parameters(Box::new({}))", parameters(all)),
            };
            let approvers = match &plan.approvers {
                Approvers::All => "All".to_owned(),
                Approvers::These(members) => format!("These(vec!{members:?})"),
            };
            lines.push(format!(".change({}, Change::{change}, Approvers::{approvers})", plan.at_ms));
        }
        for scheduled in &self.script {
            let fault = format!("{:?}", scheduled.fault).replace("point: ", "point: Point::");
            lines.push(format!(".fault({}, Fault::{fault})", scheduled.at_ms));
        }
        lines.join("\n    ")
    }
}

/// Those that are not what they are by default.
fn parameters(parameters: &Parameters) -> String {
    let rows = Parameters::table().iter().zip(parameters.values());
    let changed: Vec<String> = rows
        .filter(|(row, value)| row.default != *value)
        .map(|(row, value)| format!("{}: {value}", row.key))
        .collect();
    format!("Parameters {{ {}, ..Parameters::default() }}", changed.join(", "))
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.as_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Lie, Point};

    #[test]
    fn a_scenario_is_written_as_it_is_made() {
        let fast = Parameters { resend_ms: 100, ..Parameters::default() };
        let scenario = Scenario::new("name", 4, 7)
            .parameters(Parameters { window: 2, ..Parameters::default() })
            .liar(1, &[Lie::Twin, Lie::HugeNumbers])
            .change(3, Change::Validators(vec![0, 4]), Approvers::All)
            .change(4, Change::Parameters(Box::new(fast)), Approvers::These(vec![1]))
            .fault(5, Fault::CrashAt { node: 0, point: Point::AfterActions(2), restart_after_ms: 9 });
        let expected = "Scenario::new(\"name\", 4, 7)
    .parameters(Parameters { window: 2, ..Parameters::default() })
    .clock_offset_max_ms(20)
    .chaos_ms(5000)
    .liar(1, &[Lie::Twin, Lie::HugeNumbers])
    .change(3, Change::Validators(vec![0, 4]), Approvers::All)
    .change(4, Change::Parameters(Box::new(Parameters { resend_ms: 100, ..Parameters::default() })), Approvers::These(vec![1]))
    .fault(5, Fault::CrashAt { node: 0, point: Point::AfterActions(2), restart_after_ms: 9 })";
        assert_eq!(scenario.as_code(), expected);
    }
}
