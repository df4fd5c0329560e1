//! The second phase: what must have come about, and by when.

use quorate_consensus::Mono;

use super::{Calm, Happening, PROBE_MS, Simulation};
use crate::check::{Violation, sizes};
use crate::liar::Deceptive;

const RECOVERS: &str =
    "once faults have stopped the chain commits again within a time that follows from its parameters";
const INCLUDED: &str = "once faults have stopped what is submitted is committed in bounded time";
const VOTES: &str = "once faults have stopped every correct validator comes to vote in bounded time";
const CAUGHT_UP: &str = "once everything has its outcome every node comes to know it in bounded time";
/// Within so long whoever was told two things accuses.
const ACCUSED_MS: u64 = 2_000;
/// How often a node's sizes are looked at: every so many probes.
const SIZES_EVERY: u64 = 16;

impl<E: Deceptive> Simulation<'_, E> {
    /// Whether the run is over; an error if something took too long or grew too large.
    pub(super) fn probe(&mut self) -> Result<bool, Violation> {
        let now = self.queue.now();
        if (now.0 / 1_000_000 / PROBE_MS).is_multiple_of(SIZES_EVERY) {
            self.measure()?;
        }
        if let Some(calm) = self.calm {
            self.must_recover(calm)?;
            self.must_include(calm)?;
            self.must_decide(calm)?;
            self.must_vote(calm)?;
            if self.is_settled()? {
                return Ok(true);
            }
        }
        self.queue.at(now.plus_millis(PROBE_MS), Happening::Probe);
        Ok(false)
    }

    fn measure(&self) -> Result<(), Violation> {
        let made = self.clients.made() as usize + self.operators.made();
        let most = sizes::Most::of(self.scenario.all_parameters());
        for (index, node) in self.nodes.iter().enumerate().filter(|(index, _)| self.checks.is_correct(*index))
        {
            if let Some(sizes) = node.sizes() {
                sizes::bounded(index, &sizes, most, made)?;
            }
        }
        Ok(())
    }

    /// Until when something must have come about that could from `since` on. With an epoch it may begin anew: what is
    /// bounded is the time within one.
    pub(super) fn bound(&self, since: Mono) -> Mono {
        since.plus_millis(self.times(since) * self.bound_ms)
    }

    /// How many epochs there may have been since.
    fn times(&self, since: Mono) -> u64 {
        let begun = self.epochs_began.iter().filter(|at| **at >= since).count();
        let begins = self.epochs_began.len() < self.checks.chain.epochs.spans().len() - 1;
        let ends = self.checks.chain.epochs.ending().is_some();
        1 + begun as u64 + u64::from(begins) + u64::from(ends)
    }

    /// The first block after the storm.
    fn must_recover(&self, calm: Calm) -> Result<(), Violation> {
        if calm.recovered.is_some() {
            return Ok(());
        }
        let bound_ms = self.times(calm.since) * self.scenario.recovery_ms(calm.behind);
        let late = self.queue.now() > calm.since.plus_millis(bound_ms);
        // Nothing to commit is no fault.
        if late && self.has_waiting(calm) {
            let since_ms = calm.since.0 / 1_000_000;
            let detail =
                format!("the height is {} since {since_ms} ms, and {bound_ms} ms have passed", calm.height);
            return Err(Violation::new(RECOVERS, detail));
        }
        Ok(())
    }

    /// Whether a transaction waits that came early enough.
    fn has_waiting(&self, calm: Calm) -> bool {
        let wall = self.chain.wall(self.queue.now());
        self.clients.all_open().any(|open| open.made <= calm.since && open.transaction.expires_at() > wall)
    }

    /// Every transaction that is older than the bound must have its outcome.
    fn must_include(&self, calm: Calm) -> Result<(), Violation> {
        let now = self.queue.now();
        let wall = self.chain.wall(now);
        let late = self
            .clients
            .all_open()
            .find(|open| self.bound(open.made.max(calm.since)) < now && open.transaction.expires_at() > wall);
        match late {
            None => Ok(()),
            Some(open) => {
                let made_ms = open.made.0 / 1_000_000;
                let detail = format!("{} was made at {made_ms} ms and is still open", open.transaction.id());
                Err(Violation::new(INCLUDED, detail))
            }
        }
    }

    /// A validator of the newest epoch that has not voted in it, and could.
    pub(super) fn silent(&self) -> Option<usize> {
        let epochs = &self.checks.chain.epochs;
        (0..self.chain.keys.len())
            .filter(|member| epochs.votes(*member) && self.can_vote(*member))
            .find(|member| !self.checks.votes.has_voted(*member, epochs.number()))
    }

    /// Whether nothing keeps a member from voting.
    fn can_vote(&self, member: usize) -> bool {
        self.checks.is_sound(member) && !self.gone[member] && !self.nodes[member].machine.is_refused()
    }

    /// While clients go on, every validator comes to vote.
    fn must_vote(&mut self, calm: Calm) -> Result<(), Violation> {
        let (now, silent) = (self.queue.now(), self.silent());
        let waits = silent.filter(|_| self.scenario.workload.lasting.is_some());
        let since = waits.map(|_| self.silent_since.unwrap_or(now).max(calm.since));
        self.silent_since = since;
        match (waits, since) {
            (Some(member), Some(since)) if now > self.bound(since) => {
                let epoch = self.checks.chain.epochs.number();
                Err(Violation::new(VOTES, format!("n{member} has not voted in epoch {epoch}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether every transaction has its outcome, and every node that should stands at least where the chain stood then. An
    /// idle chain with a heartbeat goes on meanwhile.
    fn is_settled(&mut self) -> Result<bool, Violation> {
        // What has expired by every clock is in no block any more, and no block need come to say so.
        let now = self.queue.now();
        let wall = self.chain.wall(now);
        let open = self.clients.all_open().any(|open| open.transaction.expires_at() > wall);
        if !self.clients.is_done() || open || self.are_deciding() {
            return Ok(false);
        }
        let goal = *self.goal.get_or_insert(self.checks.chain.height());
        let since = *self.done.get_or_insert(now);
        let behind = (0..self.nodes.len())
            .filter(|index| self.checks.is_correct(*index) && !self.gone[*index])
            .find(|index| self.nodes[*index].certified().is_none_or(|height| height < goal));
        match behind {
            // What was heard just now is answered when the disk comes back.
            None => {
                let quiet = *self.quiet.get_or_insert(now);
                Ok(!self.checks.evidence.is_owed() || now > quiet.plus_millis(ACCUSED_MS))
            }
            Some(behind) if now > self.bound(since) => {
                let executed = self.nodes[behind].certified();
                Err(Violation::new(
                    CAUGHT_UP,
                    format!("n{behind} has executed {executed:?} of {goal} blocks"),
                ))
            }
            Some(_) => Ok(false),
        }
    }
}
