//! The second phase: what must have come about, and by when.

use quorate_consensus::Mono;

use super::{Calm, Happening, PROBE_MS, Simulation};
use crate::check::{Violation, sizes};
use crate::client::Open;
use crate::liar::Deceptive;

const RECOVERS: &str =
    "once faults have stopped the chain commits again within a time that follows from its parameters";
const GOES_ON: &str =
    "once faults have stopped the chain goes on committing within that time for as long as something waits";
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
            self.must_commit(calm)?;
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
        self.within(since, self.bound_ms)
    }

    fn within(&self, since: Mono, ms: u64) -> Mono {
        since.plus_millis(self.times(since) * ms)
    }

    /// How many epochs there may have been since.
    fn times(&self, since: Mono) -> u64 {
        let begun = self.epochs_began.iter().filter(|at| **at >= since).count();
        let begins = self.epochs_began.len() < self.checks.chain.epochs.spans().len() - 1;
        let ends = self.checks.chain.epochs.ending().is_some();
        1 + begun as u64 + u64::from(begins) + u64::from(ends)
    }

    /// The first block after the storm, and the next one, for as long as something waits.
    fn must_commit(&self, calm: Calm) -> Result<(), Violation> {
        let Some(work) = self.work_since() else { return Ok(()) };
        let last = calm.committed.map_or(calm.since, |(_, last)| last);
        let since = last.max(work);
        let until = self.within(since, self.scenario.recovery_ms(calm.behind));
        if self.queue.now() <= until {
            return Ok(());
        }
        let (height, since_ms) = (self.checks.chain.height(), since.0 / 1_000_000);
        let detail = format!("something waits, and the height is {height} since {since_ms} ms");
        Err(Violation::new(if calm.committed.is_none() { RECOVERS } else { GOES_ON }, detail))
    }

    /// Since when there is something for the next block, if there is: a transaction that may still be in one, the rest of
    /// an epoch that ends, a heartbeat.
    fn work_since(&self) -> Option<Mono> {
        let now = self.queue.now();
        let wall = self.chain.wall(now);
        let waits = self.clients.all_open().find(|open| open.transaction.expires_at() > wall);
        let (chain, epochs) = (&self.checks.chain, &self.checks.chain.epochs);
        let parameters = &epochs.newest().parameters;
        // Nobody is suspected before the due time is past by as much as a clock may be wrong (`docs/pbft.md` §5).
        let due = chain.time().plus_millis(parameters.heartbeat_ms + parameters.max_clock_drift_ms);
        let overdue_ms = wall.millis_since(due);
        let beats = parameters.heartbeat_ms > 0 && overdue_ms > 0;
        let heartbeat = beats.then(|| Mono(now.0.saturating_sub(overdue_ms * 1_000_000)));
        let ends = epochs.ending().map(|_| Mono(0));
        waits.map(|open| open.made).into_iter().chain(heartbeat).chain(ends).min()
    }

    /// Every transaction that is older than the bound must be committed, if it might be for so long. What a correct node has
    /// taken since faults stopped need not find one first.
    fn must_include(&self, calm: Calm) -> Result<(), Violation> {
        let now = self.queue.now();
        let late = |open: &&Open| {
            let found = open.accepted.map(|at| self.within(at, self.inclusion_ms));
            let made = self.bound(open.made.max(calm.since));
            let until = found.map_or(made, |found| found.min(made));
            until < now && open.transaction.expires_at() > self.chain.wall(until)
        };
        match self.clients.all_open().find(late) {
            None => Ok(()),
            Some(Open { transaction, made, accepted, .. }) => {
                let (id, made_ms) = (transaction.id(), made.0 / 1_000_000);
                let taken = accepted.map_or_else(String::new, |at| {
                    format!(", waits at a correct node since {} ms", at.0 / 1_000_000)
                });
                let detail = format!("{id} was made at {made_ms} ms{taken}, and is still open");
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

#[cfg(test)]
mod tests {
    use quorate_consensus::pbft::Pbft;
    use quorate_ledger::Parameters;

    use super::*;
    use crate::client::Workload;
    use crate::scenario::Scenario;

    fn scenario(heartbeat_ms: u64, short_permille: u32) -> Scenario {
        let scenario = Scenario::new("", 4, 1);
        let parameters = Parameters { heartbeat_ms, ..scenario.parameters.clone() };
        scenario.parameters(parameters).workload(Workload { short_permille, ..Workload::default() })
    }

    /// Faults have stopped, nothing runs, and nothing happens but what a test does.
    fn calm(scenario: &Scenario) -> Simulation<'_, Pbft> {
        let mut simulation = Simulation::new(scenario, false);
        simulation.calm = Some(Calm { since: Mono(0), behind: 0, committed: None, slowest: None });
        simulation
    }

    fn pass(simulation: &mut Simulation<'_, Pbft>, ms: u64) {
        let at = simulation.queue.now().plus_millis(ms);
        simulation.queue.at(at, Happening::Probe);
        simulation.queue.pop();
    }

    fn submit(simulation: &mut Simulation<'_, Pbft>) -> u32 {
        simulation.clients.make(&simulation.chain, simulation.queue.now()).0
    }

    /// The claim of liveness that does not hold.
    fn broken(simulation: &Simulation<'_, Pbft>) -> Option<&'static str> {
        let calm = simulation.calm.expect("it is");
        simulation.must_commit(calm).err().map(|it| it.claim)
    }

    fn left_out(simulation: &Simulation<'_, Pbft>) -> bool {
        let calm = simulation.calm.expect("it is");
        simulation.must_include(calm).is_err_and(|it| it.claim == INCLUDED)
    }

    #[test]
    fn a_chain_that_does_not_recover_is_caught_where_something_waits() {
        let scenario = scenario(0, 0);
        let mut simulation = calm(&scenario);
        pass(&mut simulation, 1_000_000);
        assert_eq!(broken(&simulation), None, "nothing to commit is no fault");
        submit(&mut simulation);
        pass(&mut simulation, scenario.recovery_ms(0));
        assert_eq!(broken(&simulation), None);
        pass(&mut simulation, 1);
        assert_eq!(broken(&simulation), Some(RECOVERS));
    }

    #[test]
    fn a_chain_that_stands_still_after_it_has_recovered_is_caught() {
        let scenario = scenario(0, 0);
        let mut simulation = calm(&scenario);
        submit(&mut simulation);
        pass(&mut simulation, 5_000);
        let now = simulation.queue.now();
        simulation.calm.as_mut().expect("it is").committed = Some((now, now));
        pass(&mut simulation, scenario.recovery_ms(0));
        assert_eq!(broken(&simulation), None);
        pass(&mut simulation, 1);
        assert_eq!(broken(&simulation), Some(GOES_ON));
    }

    #[test]
    fn a_heartbeat_that_stays_away_is_caught() {
        let scenario = scenario(60_000, 0);
        let mut simulation = calm(&scenario);
        pass(&mut simulation, 60_000 + scenario.parameters.max_clock_drift_ms + scenario.recovery_ms(0));
        assert_eq!(broken(&simulation), None);
        pass(&mut simulation, 2);
        assert_eq!(broken(&simulation), Some(RECOVERS));
    }

    #[test]
    fn a_transaction_that_is_left_out_is_caught_although_it_has_expired() {
        let scenario = scenario(0, 0);
        let mut simulation = calm(&scenario);
        submit(&mut simulation);
        pass(&mut simulation, scenario.bound_ms());
        assert!(!left_out(&simulation));
        pass(&mut simulation, 1);
        assert!(left_out(&simulation));
        pass(&mut simulation, scenario.parameters.transaction_lifetime_max_ms);
        assert!(left_out(&simulation));
        assert_eq!(broken(&simulation), None, "nothing is left to be committed");
    }

    #[test]
    fn what_a_correct_node_holds_is_to_be_committed_sooner() {
        let scenario = scenario(0, 0);
        let mut simulation = calm(&scenario);
        let number = submit(&mut simulation);
        simulation.clients.accepted(number, Mono(0));
        pass(&mut simulation, scenario.inclusion_ms());
        assert!(!left_out(&simulation));
        pass(&mut simulation, 1);
        assert!(left_out(&simulation));
    }

    #[test]
    fn what_was_to_expire_before_the_bound_may() {
        let scenario = scenario(0, 1_000);
        let mut simulation = calm(&scenario);
        submit(&mut simulation);
        pass(&mut simulation, 1_000_000);
        assert!(!left_out(&simulation));
    }

    #[test]
    fn what_clients_of_random_runs_submit_outlives_every_bound() {
        for seed in 0..500 {
            let scenario = Scenario::random("", seed);
            let epochs = 1 + scenario.plans.len() as u64;
            let lives_ms = scenario.parameters.transaction_lifetime_max_ms / 2;
            // The longest that parameters allow is less than twice the bound of the slowest.
            assert!(lives_ms >= (2 * epochs * scenario.bound_ms()).min(1_800_000), "seed {seed}");
            assert!(lives_ms > scenario.bound_ms(), "seed {seed}");
            let same = |it: &Parameters| it.transaction_lifetime_max_ms == 2 * lives_ms;
            assert!(scenario.all_parameters().all(same), "seed {seed}: no epoch changes it");
        }
    }
}
