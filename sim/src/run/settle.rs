//! The second phase: what must have come about, and by when.

use quorate_consensus::Mono;

use super::{Calm, Happening, PROBE_MS, Simulation};
use crate::check::{Violation, bounds};
use crate::liar::Deceptive;

const RECOVERS: &str =
    "once faults have stopped the chain commits again within a time that follows from its parameters";
const INCLUDED: &str = "once faults have stopped what is submitted is committed in bounded time";
const CAUGHT_UP: &str = "once everything has its outcome every node comes to know it in bounded time";
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
            if self.is_settled()? {
                return Ok(true);
            }
        }
        self.queue.at(now.plus_millis(PROBE_MS), Happening::Probe);
        Ok(false)
    }

    fn measure(&self) -> Result<(), Violation> {
        let made = self.clients.made() as usize;
        for (index, node) in self.nodes.iter().enumerate().filter(|(index, _)| self.checks.is_correct(*index))
        {
            if let Some(sizes) = node.sizes() {
                bounds::bounded(index, &sizes, self.chain.parameters(), made)?;
            }
        }
        Ok(())
    }

    fn bound(&self, since: Mono) -> Mono {
        since.plus_millis(self.scenario.bound_ms())
    }

    /// The first block after the storm.
    fn must_recover(&self, calm: Calm) -> Result<(), Violation> {
        let late = self.queue.now() > self.bound(calm.since);
        // Nothing to commit is no fault.
        if late && calm.recovered.is_none() && self.has_waiting(calm) {
            let detail = format!("the height is {} since {} ms", calm.height, calm.since.0 / 1_000_000);
            return Err(Violation::new(RECOVERS, detail));
        }
        Ok(())
    }

    /// Whether a transaction waits that came early enough.
    fn has_waiting(&self, calm: Calm) -> bool {
        self.clients.all_open().any(|open| open.made <= calm.since)
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

    /// Whether every transaction has its outcome, and every node that should stands at least where the chain stood then. An
    /// idle chain with a heartbeat goes on meanwhile.
    fn is_settled(&mut self) -> Result<bool, Violation> {
        // What has expired by every clock is in no block any more, and no block need come to say so.
        let now = self.queue.now();
        let wall = self.chain.wall(now);
        let open = self.clients.all_open().any(|open| open.transaction.expires_at() > wall);
        if !self.clients.is_done() || open {
            return Ok(false);
        }
        let goal = *self.goal.get_or_insert(self.checks.chain.height());
        let since = *self.done.get_or_insert(now);
        let behind = (0..self.nodes.len())
            .filter(|index| self.checks.is_correct(*index) && !self.gone[*index])
            .find(|index| self.nodes[*index].certified().is_none_or(|height| height < goal));
        match behind {
            None => Ok(true),
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
