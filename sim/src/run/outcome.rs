//! What comes of a run.

use std::collections::BTreeMap;
use std::fmt;

use quorate_ledger::{Epoch, Height};

use super::Simulation;
use crate::check::Violation;
use crate::coverage::{Counter, Coverage};
use crate::liar::Deceptive;
use crate::observe::VoteKind;
use crate::scenario::Scenario;
use crate::trace::Trace;

/// Lines of the trace that a failure shows; the whole is in [`Failure::trace`].
const TAIL_LINES: usize = 60;

/// What a run that held all claims has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The height of the chain at the end.
    pub height: Height,
    /// Transactions made by clients.
    pub made: u32,
    /// Transactions committed.
    pub committed: usize,
    /// Votes sent by correct validators, each counted once.
    pub votes: u64,
    /// Those of each validator, by kind and epoch.
    pub votes_of: BTreeMap<(usize, VoteKind, Epoch), u64>,
    /// When each height was first committed by a correct node, in virtual milliseconds; height 1 first.
    pub committed_at_ms: Vec<u64>,
    /// Virtual milliseconds from the last fault until the chain committed again; none where nothing was left to commit.
    pub recovered_after_ms: Option<u64>,
    /// Within how many it had to, in the epoch of then.
    pub recovery_bound_ms: u64,
    /// Of the transactions that were committed since the last fault, the one that took longest.
    pub slowest_inclusion: Option<Inclusion>,
    /// Virtual milliseconds from the last fault until everything had its outcome.
    pub settled_after_ms: u64,
    /// Virtual milliseconds of the whole run.
    pub lasted_ms: u64,
    /// What happened.
    pub coverage: Coverage,
    /// Everything that happened, where [`Scenario::run_traced`] was asked for it.
    pub trace: Trace,
}

/// How long a transaction took to be committed, and how long it might have, in virtual milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inclusion {
    /// From when it was made, or from the last fault.
    pub after_ms: u64,
    /// Within how many it had to, in one epoch.
    pub bound_ms: u64,
}

/// A run in which a claim did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was run.
    pub scenario: Scenario,
    /// The claim.
    pub violation: Violation,
    /// Everything that happened until then.
    pub trace: Trace,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        writeln!(f, "{}", self.scenario)?;
        writeln!(f, "the last of what happened:\n{}", self.trace.tail(TAIL_LINES))?;
        writeln!(f, "run it again: {}", self.scenario.replay())
    }
}

impl std::error::Error for Failure {}

impl<E: Deceptive> Simulation<'_, E> {
    pub(super) fn report(mut self) -> Report {
        let now_ms = self.queue.now().0 / 1_000_000;
        let settled_after_ms = now_ms.saturating_sub(self.scenario.chaos_ms);
        let recovered = self.calm.and_then(|calm| Some((calm.committed?.0.0 - calm.since.0) / 1_000_000));
        self.coverage.add(Counter::RUNS_THAT_MEASURED_A_RECOVERY, u64::from(recovered.is_some()));
        self.coverage.add(Counter::EVENTS_OF_THE_SIMULATION, self.happenings);
        self.coverage.add(Counter::APPROVALS_MADE, self.operators.made() as u64);
        self.coverage.add(Counter::APPROVALS_THAT_FAILED, self.checks.chain.epochs.failed());
        self.coverage.add(Counter::BLOCKS, self.checks.chain.height().0);
        self.coverage.add(Counter::VOTES, self.checks.votes.count());
        self.coverage.add(Counter::ACCUSATIONS, self.checks.evidence.count());
        self.coverage.add(Counter::TRANSACTIONS_COMMITTED, self.checks.chain.transactions() as u64);
        self.coverage.add(Counter::SIMULATED_SECONDS, now_ms / 1_000);
        Report {
            height: self.checks.chain.height(),
            made: self.clients.made(),
            committed: self.checks.chain.transactions(),
            votes: self.checks.votes.count(),
            votes_of: self.checks.votes.counts(),
            committed_at_ms: self.committed_at_ms,
            recovered_after_ms: recovered,
            recovery_bound_ms: self.scenario.recovery_ms(self.calm.map_or(0, |calm| calm.behind)),
            slowest_inclusion: self.calm.and_then(|calm| calm.slowest),
            settled_after_ms,
            lasted_ms: now_ms,
            coverage: self.coverage,
            trace: self.trace.unwrap_or_default(),
        }
    }
}
