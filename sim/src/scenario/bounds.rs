//! Within what time a chain commits again once faults have stopped, whatever happened before and for however long; and, more
//! loosely, by when all that was submitted has its outcome.
//!
//! Waits of views are at their cap `C`, for so they are after a long outage. `R` is `resend`, `B` is `base_timeout`. Of a
//! set `g` validators are faulty for good, and `f` could be. From the moment on at which faults stop:
//!
//! 1. *Ready.* Two things run beside each other.
//!    - Votes: a replica that has just started asks what it signed (`docs/pbft.md` §6). Those whom it asks may start at
//!      the same instant, so the question counts when it is repeated, and each is answered twice in `R`: `2R`. Who is
//!      behind gets a stretch of blocks with each STATUS that says so: `R` for each [`SERVE_BLOCKS`] blocks.
//!    - Work: a client tries one node after the other, `retry` for each that is gone and one more. The node gives what it
//!      got to all at once; those who miss it are handed it after `B / 2`, and again each `R`: it is eligible then.
//! 2. *One view.* Requests are repeated each `R`. Of the views that correct replicas ask for or are in let `v` be the
//!    highest. Whoever asked for it had seen `Q` ask for `v − 1`, or was in it, and so had others: `f + 1` correct ones are
//!    at `v − 1` or above, and the join rule brings all others there. Those below `v` leave when their timer runs out: `C`.
//!    Where the view is planned for, it may be further above: by as many as were absent, at most `f`, and those who do not
//!    know that climb by `C` for each. (Who is absent and faulty is in the next step.)
//! 3. *Faulty primaries.* Each of `g` may start its view as the new-view timer runs out, `C`, and propose nothing until the
//!    next one does, `C`; whom it left out hears of it by STATUS, `R`.
//! 4. *A correct primary.* Its NEW-VIEW leaves when `Q` ask; what it proposes is accepted, prepared and committed. While
//!    waits are shorter than that takes, views fail though nobody is faulty; waits double, so all of them together take no
//!    more than four times as long.
//!
//! Everything that is measured by a clock takes 0.1 % longer where that is slow.

use quorate_ledger::Parameters;

use super::{Scenario, faulty_max};
use crate::faults::NetworkFaults;
use crate::monotonic::PPM_MAX;
use crate::process::SERVE_BLOCKS;

/// Transactions live at least so long: then some run forgets those that have expired.
const LIFETIME_MIN_MS: u64 = 60_000;
/// The longest that parameters allow.
pub(super) const LIFETIME_MAX_MS: u64 = 3_600_000;

/// So many times the work of a node a commit takes: proposal, PREPARE, COMMIT and what asks for bodies between them.
const STEPS: u64 = 8;

impl Scenario {
    /// The claim of the second phase: within what time the chain commits again if somebody who must vote lacks so many
    /// blocks. It follows from the parameters alone; the derivation stands above.
    #[must_use]
    pub fn recovery_ms(&self, behind: u64) -> u64 {
        let under = |parameters: &Parameters| self.recovery_under(parameters, behind);
        self.all_parameters().map(under).max().unwrap_or_default()
    }

    /// The other claim of the second phase: within what time what is submitted is committed, everybody knows it, and who may
    /// vote does. It follows from the parameters alone.
    ///
    /// It is not tight: a transaction that a liar leaves out waits for the inclusion timer, a view that gets nowhere is
    /// left after at most the longest wait, the next one may take as long to start, and of the views that follow at most f
    /// have a faulty primary. Everything that was lost comes again with a STATUS. A client tries one node after the other,
    /// those that are gone too.
    #[must_use]
    pub fn bound_ms(&self) -> u64 {
        let tries = self.faulty().len() as u64 + 2;
        self.inclusion_ms() + tries * self.workload.retry_ms
    }

    /// The same for what a correct node holds that keeps it.
    pub(crate) fn inclusion_ms(&self) -> u64 {
        let largest = self.sets().iter().map(Vec::len).max().unwrap_or_default();
        let faulty = faulty_max(largest) as u64;
        let under = |parameters: &Parameters| {
            let view = 2 * parameters.timeout_cap_ms + 2 * parameters.resend_ms;
            let noticed = 2 * parameters.base_timeout_ms + parameters.inclusion_timeout_ms;
            noticed + (faulty + 2) * view
        };
        self.all_parameters().map(under).max().unwrap_or_default()
    }

    /// How long transactions may live where none is to expire before the bound is over: what clients submit lives half as
    /// long, and with each epoch that begins meanwhile the bound is as long again.
    pub(super) fn lifetime_ms(&self) -> u64 {
        (4 * (1 + self.plans.len() as u64) * self.bound_ms()).clamp(LIFETIME_MIN_MS, LIFETIME_MAX_MS)
    }

    fn recovery_under(&self, parameters: &Parameters, behind: u64) -> u64 {
        let (cap, resend) = (parameters.timeout_cap_ms.max(parameters.base_timeout_ms), parameters.resend_ms);
        let faulty = self.faulty();
        let votes = 2 * resend + behind.div_ceil(SERVE_BLOCKS as u64) * resend;
        let work =
            (faulty.len() as u64 + 1) * self.workload.retry_ms + parameters.base_timeout_ms / 2 + resend;
        let rotates = parameters.rotation_blocks > 0 || parameters.rotation_time_ms > 0;
        let views = |set: &Vec<usize>| {
            let gone = set.iter().filter(|member| faulty.contains(member)).count() as u64;
            let absent = if rotates { (faulty_max(set.len()) as u64).saturating_sub(gone) } else { 0 };
            resend + cap + absent * cap + gone * (2 * cap + resend)
        };
        let views = self.sets().iter().map(views).max().unwrap_or_default();
        let measured = votes.max(work) + views;
        measured + measured * PPM_MAX.unsigned_abs() / 1_000_000 + 1 + 4 * self.commit_ms()
    }

    /// How long a commit takes on a calm network.
    fn commit_ms(&self) -> u64 {
        let timing = &self.timing;
        let works = [&timing.step_us, &timing.sync_us, &timing.answer_us, &timing.execute_us];
        let work: u64 = works.iter().map(|range| *range.end()).sum();
        (STEPS * (work + NetworkFaults::calm().delay_us.end())).div_ceil(1_000)
    }
}
