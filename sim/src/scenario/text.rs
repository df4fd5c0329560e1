//! A scenario in words: for a failure, and as the lines of a test.

use std::fmt;

use quorate_ledger::Parameters;

use super::{Approvers, Change, Scenario, calm_parameters};
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
        if self.parameters != calm_parameters() {
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
            // What `Debug` writes is Rust but for lists and for the names of enums within.
            let fault = format!("{:?}", scheduled.fault)
                .replace("point: ", "point: Point::")
                .replace("what: ", "what: MarkFault::")
                .replace("links: ", "links: vec!");
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
    use crate::{Fault, Lasting, Lie, Link, MarkFault, Point};

    /// The code that makes a scenario is what the scenario writes.
    macro_rules! assert_written {
        ($code:expr) => {
            assert_eq!(bare(&$code.as_code()), bare(stringify!($code)))
        };
    }

    /// Without what a formatter adds: gaps, commas at the end of lists, marks between digits.
    fn bare(code: &str) -> String {
        let code: String = code.chars().filter(|it| !it.is_whitespace() && *it != '_').collect();
        [")", "}", "]"].iter().fold(code, |code, end| code.replace(&format!(",{end}"), end))
    }

    #[test]
    fn a_scenario_is_written_as_it_is_made() {
        assert_written!(
            Scenario::new("name", 4, 7)
                .parameters(Parameters { window: 2, ..Parameters::default() })
                .network(NetworkFaults {
                    loss_permille: 10,
                    duplicate_permille: 20,
                    corrupt_permille: 30,
                    delay_us: 100..=30_000,
                    long_tail: true,
                    spike_permille: 40,
                    spike_us: 50_000..=800_000,
                })
                .workload(Workload {
                    transactions: 4_294_967_295,
                    every_ms: 1..=500,
                    accounts: 5,
                    retry_ms: 3_000,
                    double_permille: 100,
                    short_permille: 30,
                    short_expiry_ms: 300,
                    lasting: Some(Lasting { for_ms: 60_000, blocks: 200 }),
                })
                .timing(Timing {
                    step_us: 200..=2_000,
                    sync_us: 1_000..=10_000,
                    answer_us: 10..=1_000,
                    execute_us: 100..=4_000,
                })
                .clock_offset_max_ms(1_000)
                .chaos_ms(5_000)
                .real_signatures(true)
                .liar(1, &[Lie::Twin, Lie::HugeNumbers])
                .change(3, Change::Validators(vec![0, 4]), Approvers::All)
                .change(
                    4,
                    Change::Parameters(Box::new(Parameters { resend_ms: 100, ..Parameters::default() })),
                    Approvers::These(vec![1])
                )
        );
    }

    #[test]
    fn every_fault_is_written_as_it_is_made() {
        assert_written!(
            Scenario::new("faults", 4, 7)
                .clock_offset_max_ms(20)
                .chaos_ms(5_000)
                .fault(1, Fault::Crash { node: 0, restart_after_ms: Some(9) })
                .fault(1, Fault::Crash { node: 1, restart_after_ms: None })
                .fault(2, Fault::CrashAt { node: 0, point: Point::AfterActions(2), restart_after_ms: 9 })
                .fault(3, Fault::CrashAtEnd { node: 0, point: Point::BeforeMark, restart_after_ms: 9 })
                .fault(4, Fault::PowerCut { node: 0, restart_after_ms: 9 })
                .fault(5, Fault::PowerCutAll { restart_after_ms: 9 })
                .fault(6, Fault::Pause { node: 0, for_ms: 9 })
                .fault(7, Fault::SyncFails { node: 0, restart_after_ms: 9 })
                .fault(8, Fault::MarkSyncFails { node: 0, restart_after_ms: 9 })
                .fault(9, Fault::Mark { node: 0, what: MarkFault::Older, restart_after_ms: 9 })
                .fault(10, Fault::DiskFull { node: 0, ledger: true, restart_after_ms: 9 })
                .fault(11, Fault::BitRot { node: 0, restart_after_ms: 9 })
                .fault(12, Fault::LogRestored { node: 0, syncs: 3, restart_after_ms: 9 })
                .fault(13, Fault::ClockJump { node: 0, by_ms: -8 })
                .fault(14, Fault::ClockDrift { node: 0, ppm: -8 })
                .fault(15, Fault::ClockRate { node: 0, ppm: 8 })
                .fault(16, Fault::Isolate { node: 0, for_ms: 9 })
                .fault(17, Fault::Cut { links: vec![Link { from: 0, to: 1 }], for_ms: 9 })
                .fault(
                    18,
                    Fault::Slow {
                        links: vec![Link { from: 0, to: 1 }, Link { from: 2, to: 1 }],
                        by_ms: 5,
                        for_ms: 9
                    }
                )
                .fault(19, Fault::Reconnect { node: 0 })
                .fault(
                    20,
                    Fault::Network(NetworkFaults {
                        loss_permille: 0,
                        duplicate_permille: 0,
                        corrupt_permille: 0,
                        delay_us: 100..=1_000,
                        long_tail: false,
                        spike_permille: 0,
                        spike_us: 0..=0,
                    })
                )
        );
    }
}
