//! The network between the machines: it decides what becomes of each packet.

use crate::faults::{Link, NetworkFaults};
use crate::random::{Random, Stream};

/// What becomes of one copy of a packet that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// How long it takes, in microseconds.
    pub(crate) micros: u64,
    /// Whether it arrives changed.
    pub(crate) corrupted: bool,
}

/// The state of the network.
#[derive(Debug)]
pub(crate) struct Network {
    faults: NetworkFaults,
    machines: usize,
    /// How many faults cut each link now.
    cuts: Vec<u32>,
    /// How much longer each link takes now.
    slow_us: Vec<u64>,
    /// How often each machine's connections were torn down: what was under way then is lost.
    connections: Vec<u32>,
    random: Random,
}

impl Network {
    /// A network with these faults.
    pub(crate) fn new(seed: u64, machines: usize, faults: NetworkFaults) -> Self {
        Self {
            faults,
            machines,
            cuts: vec![0; machines * machines],
            slow_us: vec![0; machines * machines],
            connections: vec![0; machines],
            random: Random::new(seed, Stream::Network),
        }
    }

    /// Changes what it does from now on; packets under way are not called back.
    pub(crate) fn become_like(&mut self, faults: NetworkFaults) {
        self.faults = faults;
    }

    /// What it does now.
    pub(crate) fn faults(&self) -> &NetworkFaults {
        &self.faults
    }

    /// Whether any link is cut.
    pub(crate) fn is_parted(&self) -> bool {
        self.cuts.iter().any(|cuts| *cuts > 0)
    }

    fn place(&self, link: Link) -> usize {
        link.from * self.machines + link.to
    }

    /// Cuts links, each in its one direction.
    pub(crate) fn cut(&mut self, links: &[Link]) {
        for link in links {
            let place = self.place(*link);
            self.cuts[place] += 1;
        }
    }

    /// Takes back one [`Network::cut`] of these links.
    pub(crate) fn join(&mut self, links: &[Link]) {
        for link in links {
            let place = self.place(*link);
            self.cuts[place] = self.cuts[place].saturating_sub(1);
        }
    }

    /// Makes links slower by so much; 0 makes them as fast as the others.
    pub(crate) fn slow(&mut self, links: &[Link], micros: u64) {
        for link in links {
            let place = self.place(*link);
            self.slow_us[place] = micros;
        }
    }

    /// All links work, as fast as the network is.
    pub(crate) fn mend(&mut self) {
        self.cuts.fill(0);
        self.slow_us.fill(0);
    }

    /// A machine's connections are torn down and made anew.
    pub(crate) fn reconnect(&mut self, machine: usize) {
        self.connections[machine] += 1;
    }

    /// The connection between two machines, as a number that a new one changes.
    pub(crate) fn connection(&self, from: usize, to: usize) -> u32 {
        self.connections[from].wrapping_add(self.connections[to])
    }

    /// The copies of a packet that arrive: none when it is lost, two when it is doubled.
    pub(crate) fn fate(&mut self, from: usize, to: usize) -> [Option<Arrival>; 2] {
        let place = self.place(Link { from, to });
        if self.cuts[place] > 0 || self.random.chance(self.faults.loss_permille) {
            return [None, None];
        }
        let slow_us = self.slow_us[place];
        let doubled = self.random.chance(self.faults.duplicate_permille);
        let first = self.arrival(slow_us);
        let second = doubled.then(|| self.arrival(slow_us));
        [Some(first), second]
    }

    fn arrival(&mut self, slow_us: u64) -> Arrival {
        let faults = &self.faults;
        let micros = if self.random.chance(faults.spike_permille) {
            self.random.within(&faults.spike_us)
        } else if faults.long_tail {
            // The cube of a uniform number: most are short, a few come near the end of the range.
            let share = u128::from(self.random.below(1 << 20));
            let width = u128::from(faults.delay_us.end() - faults.delay_us.start());
            faults.delay_us.start() + ((width * share * share * share) >> 60) as u64
        } else {
            self.random.within(&faults.delay_us)
        };
        let corrupted = self.random.chance(faults.corrupt_permille);
        Arrival { micros: micros + slow_us, corrupted }
    }
}

/// The links between two groups, in one direction.
pub(crate) fn links(from: &[usize], to: &[usize]) -> Vec<Link> {
    let pairs = from.iter().flat_map(|from| to.iter().map(|to| Link { from: *from, to: *to }));
    pairs.filter(|link| link.from != link.to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(network: &mut Network, from: usize, to: usize) -> Vec<u64> {
        network.fate(from, to).into_iter().flatten().map(|it| it.micros).collect()
    }

    #[test]
    fn faults_do_what_they_say() {
        let mut network = Network::new(1, 2, NetworkFaults::calm().delaying(7..=7));
        assert_eq!(micros(&mut network, 0, 1), [7]);
        network.become_like(NetworkFaults::calm().losing(1_000));
        assert!(micros(&mut network, 0, 1).is_empty());
        network.become_like(NetworkFaults::calm().doubling(1_000).spiking(1_000, 9..=9));
        assert_eq!(micros(&mut network, 0, 1), [9, 9]);
        network.become_like(NetworkFaults::calm().corrupting(1_000));
        assert!(network.fate(0, 1)[0].is_some_and(|it| it.corrupted));
    }

    #[test]
    fn a_long_tail_stays_in_its_range_and_is_mostly_short() {
        let mut network = Network::new(1, 2, NetworkFaults::calm().delaying(100..=100_100).with_long_tail());
        let all: Vec<u64> = (0..1_000).flat_map(|_| micros(&mut network, 0, 1)).collect();
        assert!(all.iter().all(|it| (100..=100_100).contains(it)));
        let short = all.iter().filter(|it| **it < 12_600).count();
        assert!((430..570).contains(&short), "half are below an eighth: {short}");
    }

    #[test]
    fn a_cut_link_is_cut_in_its_direction_alone_until_every_cut_is_taken_back() {
        let mut network = Network::new(1, 3, NetworkFaults::calm());
        let one_way = links(&[0], &[1]);
        network.cut(&one_way);
        network.cut(&one_way);
        assert!(micros(&mut network, 0, 1).is_empty());
        assert_eq!(micros(&mut network, 1, 0).len(), 1);
        network.join(&one_way);
        assert!(micros(&mut network, 0, 1).is_empty());
        network.join(&one_way);
        assert_eq!(micros(&mut network, 0, 1).len(), 1);
    }

    #[test]
    fn a_slow_link_only_takes_longer() {
        let mut network = Network::new(1, 2, NetworkFaults::calm().delaying(7..=7));
        network.slow(&links(&[0], &[1]), 100);
        assert_eq!((micros(&mut network, 0, 1), micros(&mut network, 1, 0)), (vec![107], vec![7]));
        network.mend();
        assert_eq!(micros(&mut network, 0, 1), [7]);
    }

    #[test]
    fn a_new_connection_is_another_for_both_ends_and_nobody_else() {
        let mut network = Network::new(1, 3, NetworkFaults::calm());
        let before = [network.connection(0, 1), network.connection(1, 2)];
        network.reconnect(0);
        assert_ne!(network.connection(0, 1), before[0]);
        assert_eq!(network.connection(1, 2), before[1]);
    }
}
