//! What can go wrong, and when.

use std::fmt;
use std::ops::RangeInclusive;

use crate::random::Random;

/// What a network does to packets: each is lost, doubled or delayed on its own, so order means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFaults {
    /// So many of 1,000 packets are lost.
    pub loss_permille: u32,
    /// So many of 1,000 packets arrive twice.
    pub duplicate_permille: u32,
    /// How long a packet usually takes, in microseconds; the wider, the more is reordered.
    pub delay_us: RangeInclusive<u64>,
    /// So many of 1,000 packets take the longer time of `spike_us`.
    pub spike_permille: u32,
    /// How long those take, in microseconds.
    pub spike_us: RangeInclusive<u64>,
}

impl NetworkFaults {
    /// A network that loses nothing and is fast: the calm after every storm.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            loss_permille: 0,
            duplicate_permille: 0,
            delay_us: 100..=1_000,
            spike_permille: 0,
            spike_us: 0..=0,
        }
    }

    /// Sets how many of 1,000 packets are lost.
    #[must_use]
    pub fn losing(self, permille: u32) -> Self {
        Self { loss_permille: permille, ..self }
    }

    /// Sets how many of 1,000 packets arrive twice.
    #[must_use]
    pub fn doubling(self, permille: u32) -> Self {
        Self { duplicate_permille: permille, ..self }
    }

    /// Sets how long packets take, in microseconds.
    #[must_use]
    pub fn delaying(self, micros: RangeInclusive<u64>) -> Self {
        Self { delay_us: micros, ..self }
    }

    /// Lets so many of 1,000 packets take so many microseconds.
    #[must_use]
    pub fn spiking(self, permille: u32, micros: RangeInclusive<u64>) -> Self {
        Self { spike_permille: permille, spike_us: micros, ..self }
    }

    /// Any network up to very bad ones.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let slowest = [1_000, 5_000, 30_000, 150_000][random.index(4)];
        Self::calm()
            .losing([0, 10, 100, 300][random.index(4)])
            .doubling([0, 50, 200][random.index(3)])
            .delaying(100..=slowest)
            .spiking([0, 0, 20, 100][random.index(4)], 50_000..=800_000)
    }
}

/// A thing that happens to nodes. Nodes are named by their index in the validator set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies at once; what it wrote stays with the operating system.
    Crash {
        /// Which node.
        node: usize,
        /// When it is started again; never, if not given.
        restart_after_ms: Option<u64>,
    },
    /// The process dies the next time that it has taken so many actions of a batch and has more to take: the records
    /// are on disk, some of the messages out.
    CrashMidway {
        /// Which node.
        node: usize,
        /// Actions of that batch that are still taken.
        after_actions: usize,
        /// When it is started again.
        restart_after_ms: u64,
    },
    /// The machine dies: of what was not synced, a prefix survives at most.
    PowerCut {
        /// Which node.
        node: usize,
        /// When it is started again.
        restart_after_ms: u64,
    },
    /// All machines die at once.
    PowerCutAll {
        /// When they are started again, one after the other within as long again.
        restart_after_ms: u64,
    },
    /// The node is cut off from all others, both ways.
    Isolate {
        /// Which node.
        node: usize,
        /// For how long.
        for_ms: u64,
    },
    /// From now on the network is so.
    Network(NetworkFaults),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Milliseconds after the start.
    pub at_ms: u64,
    /// What happens.
    pub fault: Fault,
}

/// Any script for a run of `chaos_ms`, in the order of time. All nodes are meant to come back.
pub(crate) fn draw_script(random: &mut Random, nodes: usize, chaos_ms: u64) -> Vec<Scheduled> {
    let count = random.below(8);
    let mut script: Vec<Scheduled> = (0..count)
        .map(|_| Scheduled { at_ms: random.below(chaos_ms.max(1)), fault: draw_fault(random, nodes) })
        .collect();
    script.sort_by_key(|scheduled| scheduled.at_ms);
    script
}

/// Up to f nodes that do not come back, any of them.
pub(crate) fn draw_losses(random: &mut Random, nodes: usize, chaos_ms: u64) -> Vec<Scheduled> {
    let (first, gone) = (random.index(nodes), (nodes - 1) / 3);
    let lost = (0..gone).map(|next| Scheduled {
        at_ms: random.below(chaos_ms.max(1)),
        fault: Fault::Crash { node: (first + next) % nodes, restart_after_ms: None },
    });
    lost.collect()
}

fn draw_fault(random: &mut Random, nodes: usize) -> Fault {
    let node = random.index(nodes);
    let restart_after_ms = random.within(&(1..=2_000));
    match random.below(12) {
        0..=2 => Fault::Crash { node, restart_after_ms: Some(restart_after_ms) },
        3..=5 => Fault::CrashMidway { node, after_actions: random.index(6), restart_after_ms },
        6..=7 => Fault::PowerCut { node, restart_after_ms },
        8 => Fault::PowerCutAll { restart_after_ms },
        9..=10 => Fault::Isolate { node, for_ms: restart_after_ms },
        _ => Fault::Network(NetworkFaults::draw(random)),
    }
}
