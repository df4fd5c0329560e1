//! Faults, as they happen and as they end.

use super::{Calm, Happening, Simulation};
use crate::check::Violation;
use crate::faults::{Fault, NetworkFaults};
use crate::liar::Deceptive;
use crate::log::Failing;
use crate::network::links;
use crate::trace::Place;

impl<E: Deceptive> Simulation<'_, E> {
    /// The fault at a place of the script.
    pub(super) fn strike(&mut self, place: usize) {
        let fault = self.scenario.script[place].fault.clone();
        let now = self.queue.now();
        self.note(Place::World, format_args!("{fault}"));
        self.coverage.count(fault.counter());
        match fault {
            Fault::Crash { node, restart_after_ms } => {
                let torn = self.nodes[node].crash();
                self.has_died(torn);
                match restart_after_ms {
                    Some(ms) => self.start_in(node, ms),
                    None => self.gone[node] = true,
                }
            }
            Fault::CrashAt { node, point, restart_after_ms } => {
                self.nodes[node].machine.doom = Some(point).filter(|_| self.nodes[node].is_up());
                self.restart_ms[node] = restart_after_ms;
            }
            Fault::CrashAtEnd { node, point, restart_after_ms } => {
                self.nodes[node].machine.doom_at_end = Some(point);
                self.restart_ms[node] = restart_after_ms;
            }
            Fault::PowerCut { node, restart_after_ms } => {
                let torn = self.nodes[node].power_cut();
                self.has_died(torn);
                self.start_in(node, restart_after_ms);
            }
            Fault::PowerCutAll { restart_after_ms } => {
                for node in 0..self.nodes.len() {
                    let torn = self.nodes[node].power_cut();
                    self.has_died(torn);
                    let pause_ms = self.random.within(&(0..=restart_after_ms));
                    self.start_in(node, restart_after_ms + pause_ms);
                }
            }
            Fault::Pause { node, for_ms } => self.nodes[node].pause(now.plus_millis(for_ms)),
            Fault::SyncFails { node, restart_after_ms } => {
                if self.nodes[node].is_up() {
                    self.nodes[node].machine.log.fail(Failing::Sync);
                }
                self.restart_ms[node] = restart_after_ms;
            }
            Fault::MarkSyncFails { node, restart_after_ms } => {
                if self.nodes[node].is_up() {
                    self.nodes[node].machine.log.fail(Failing::Mark);
                }
                self.restart_ms[node] = restart_after_ms;
            }
            Fault::Mark { node, what, restart_after_ms } => {
                let torn = self.nodes[node].crash();
                self.has_died(torn);
                self.nodes[node].machine.strike_mark(what);
                self.start_in(node, restart_after_ms);
            }
            Fault::DiskFull { node, ledger, restart_after_ms } => {
                match (self.nodes[node].is_up(), ledger) {
                    (true, true) => self.nodes[node].machine.fill_store(),
                    (true, false) => self.nodes[node].machine.log.fail(Failing::Full),
                    (false, _) => {}
                }
                self.restart_ms[node] = restart_after_ms;
            }
            Fault::BitRot { node, restart_after_ms } => {
                let torn = self.nodes[node].crash();
                self.has_died(torn);
                self.nodes[node].machine.rot();
                self.start_in(node, restart_after_ms);
            }
            Fault::LogRestored { node, syncs, restart_after_ms } => {
                let torn = self.nodes[node].crash();
                self.has_died(torn);
                if self.nodes[node].machine.log.forget(syncs) {
                    self.checks.forgets(node);
                }
                self.start_in(node, restart_after_ms);
            }
            Fault::ClockJump { node, by_ms } => {
                self.latest = self.latest();
                self.nodes[node].machine.jump_clock(by_ms);
            }
            Fault::ClockDrift { node, ppm } => self.nodes[node].machine.drift_clock(now, ppm),
            Fault::ClockRate { node, ppm } => self.nodes[node].machine.pace(now, Some(ppm)),
            Fault::Isolate { node, for_ms } => {
                let cut = self.links_of(node);
                self.network.cut(&cut);
                self.queue.at(now.plus_millis(for_ms), Happening::Undo(place));
            }
            Fault::Cut { links, for_ms } => {
                self.network.cut(&links);
                self.queue.at(now.plus_millis(for_ms), Happening::Undo(place));
            }
            Fault::Slow { links, by_ms, for_ms } => {
                self.network.slow(&links, 1_000 * by_ms);
                self.queue.at(now.plus_millis(for_ms), Happening::Undo(place));
            }
            Fault::Reconnect { node } => self.network.reconnect(node),
            Fault::Network(faults) => self.network.become_like(faults),
        }
    }

    /// What lasted for a time is over.
    pub(super) fn undo(&mut self, place: usize) {
        if self.calm.is_some() {
            return;
        }
        let fault = self.scenario.script[place].fault.clone();
        self.note(Place::World, format_args!("over: {}", fault.counter()));
        match fault {
            Fault::Isolate { node, .. } => {
                let cut = self.links_of(node);
                self.network.join(&cut);
            }
            Fault::Cut { links, .. } => self.network.join(&links),
            Fault::Slow { links, .. } => self.network.slow(&links, 0),
            Fault::Crash { .. }
            | Fault::CrashAt { .. }
            | Fault::CrashAtEnd { .. }
            | Fault::PowerCut { .. }
            | Fault::PowerCutAll { .. }
            | Fault::Pause { .. }
            | Fault::SyncFails { .. }
            | Fault::MarkSyncFails { .. }
            | Fault::Mark { .. }
            | Fault::DiskFull { .. }
            | Fault::BitRot { .. }
            | Fault::LogRestored { .. }
            | Fault::ClockJump { .. }
            | Fault::ClockDrift { .. }
            | Fault::ClockRate { .. }
            | Fault::Reconnect { .. }
            | Fault::Network(_) => {}
        }
    }

    fn links_of(&self, node: usize) -> Vec<crate::faults::Link> {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        let mut of = links(&[node], &all);
        of.extend(links(&all, &[node]));
        of
    }

    fn start_in(&mut self, node: usize, ms: u64) {
        self.queue.at(self.queue.now().plus_millis(ms), Happening::Start(node));
    }

    /// Faults stop: the network is calm, clocks are set right, and everybody who is meant to comes back.
    pub(super) fn calm(&mut self) -> Result<(), Violation> {
        self.note(Place::World, format_args!("calm"));
        let now = self.queue.now();
        let height = self.checks.chain.height();
        self.calm = Some(Calm { since: now, behind: 0, committed: None, slowest: None });
        self.network.become_like(NetworkFaults::calm());
        self.network.mend();
        self.latest = self.latest();
        for index in 0..self.nodes.len() {
            self.nodes[index].machine.set_clock();
            self.nodes[index].machine.pace(now, None);
            self.nodes[index].resume();
            let machine = &mut self.nodes[index].machine;
            machine.doom_at_end = None;
            if machine.doom.take().is_some() || machine.store_fails() || machine.log.is_failing() {
                // What was to kill it does so now, and it comes back.
                let torn = self.nodes[index].crash();
                self.has_died(torn);
            }
            self.start(index)?;
        }
        let running = self.nodes.iter().enumerate().filter(|(index, _)| self.checks.is_correct(*index));
        let lowest = running.filter_map(|(_, node)| node.ledger()).map(|ledger| ledger.height()).min();
        if let Some(calm) = &mut self.calm {
            calm.behind = height.0.saturating_sub(lowest.unwrap_or(height).0);
        }
        Ok(())
    }
}
