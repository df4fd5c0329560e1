//! The network between the nodes: it decides what becomes of each packet.

use std::collections::BTreeSet;

use crate::faults::NetworkFaults;
use crate::random::{Random, Stream};

/// The state of the network.
#[derive(Debug)]
pub(crate) struct Network {
    faults: NetworkFaults,
    isolated: BTreeSet<usize>,
    random: Random,
}

impl Network {
    /// A network with these faults.
    pub(crate) fn new(seed: u64, faults: NetworkFaults) -> Self {
        Self { faults, isolated: BTreeSet::new(), random: Random::new(seed, Stream::Network) }
    }

    /// Changes what it does from now on; packets under way are not called back.
    pub(crate) fn become_like(&mut self, faults: NetworkFaults) {
        self.faults = faults;
    }

    /// Cuts a node off, or joins it again.
    pub(crate) fn isolate(&mut self, node: usize) {
        self.isolated.insert(node);
    }

    /// Joins a node again.
    pub(crate) fn rejoin(&mut self, node: usize) {
        self.isolated.remove(&node);
    }

    /// Joins everybody again.
    pub(crate) fn rejoin_all(&mut self) {
        self.isolated.clear();
    }

    /// How long the copies of a packet take that arrive, in microseconds: none when it is lost, two when it is doubled.
    pub(crate) fn fate(&mut self, from: usize, to: usize) -> Vec<u64> {
        if self.isolated.contains(&from)
            || self.isolated.contains(&to)
            || self.random.chance(self.faults.loss_permille)
        {
            return Vec::new();
        }
        let copies = if self.random.chance(self.faults.duplicate_permille) { 2 } else { 1 };
        (0..copies).map(|_| self.delay()).collect()
    }

    fn delay(&mut self) -> u64 {
        if self.random.chance(self.faults.spike_permille) {
            self.random.within(&self.faults.spike_us)
        } else {
            self.random.within(&self.faults.delay_us)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_do_what_they_say() {
        let mut network = Network::new(1, NetworkFaults::calm().delaying(7..=7));
        assert_eq!(network.fate(0, 1), [7]);
        network.become_like(NetworkFaults::calm().losing(1_000));
        assert!(network.fate(0, 1).is_empty());
        network.become_like(NetworkFaults::calm().doubling(1_000).spiking(1_000, 9..=9));
        assert_eq!(network.fate(0, 1), [9, 9]);
    }

    #[test]
    fn an_isolated_node_neither_hears_nor_is_heard() {
        let mut network = Network::new(1, NetworkFaults::calm());
        network.isolate(1);
        assert!(network.fate(0, 1).is_empty() && network.fate(1, 2).is_empty());
        assert_eq!(network.fate(0, 2).len(), 1);
        network.rejoin(1);
        assert_eq!(network.fate(1, 0).len(), 1);
    }
}
