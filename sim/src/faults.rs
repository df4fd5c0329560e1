//! What can go wrong, and when.

mod draw;

use std::fmt;
use std::ops::RangeInclusive;

use crate::coverage::Counter;

pub(crate) use draw::{draw_marks, draw_ms, draw_network, draw_point, draw_rates, draw_script};

/// What a network does to packets: each is lost, doubled, delayed or changed on its own, so order means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFaults {
    /// So many of 1,000 packets are lost.
    pub loss_permille: u32,
    /// So many of 1,000 packets arrive twice.
    pub duplicate_permille: u32,
    /// So many of 1,000 packets arrive with a bit turned, a byte lost or a byte added.
    pub corrupt_permille: u32,
    /// How long a packet usually takes, in microseconds; the wider, the more is reordered.
    pub delay_us: RangeInclusive<u64>,
    /// Whether most take a short time and a few nearly the longest; else all times are as likely.
    pub long_tail: bool,
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
            corrupt_permille: 0,
            delay_us: 100..=1_000,
            long_tail: false,
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

    /// Sets how many of 1,000 packets arrive changed.
    #[must_use]
    pub fn corrupting(self, permille: u32) -> Self {
        Self { corrupt_permille: permille, ..self }
    }

    /// Sets how long packets take, in microseconds.
    #[must_use]
    pub fn delaying(self, micros: RangeInclusive<u64>) -> Self {
        Self { delay_us: micros, ..self }
    }

    /// Lets most packets take a short time and a few nearly the longest.
    #[must_use]
    pub fn with_long_tail(self) -> Self {
        Self { long_tail: true, ..self }
    }

    /// Lets so many of 1,000 packets take so many microseconds.
    #[must_use]
    pub fn spiking(self, permille: u32, micros: RangeInclusive<u64>) -> Self {
        Self { spike_permille: permille, spike_us: micros, ..self }
    }
}

/// One direction between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who sends.
    pub from: usize,
    /// Who would receive.
    pub to: usize,
}

/// Where in its work a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The engine has stepped, nothing of it is in the log.
    BeforeAppend,
    /// The records are written, and it is not known how many bytes of them reached the disk.
    BeforeSync,
    /// The records are safe, and the promise among them is not in the mark yet. Where none rises the process lives on.
    BeforeMark,
    /// The records are safe, no action was taken.
    BeforeActions,
    /// So many actions of a batch were taken, and there are more.
    AfterActions(usize),
    /// A batch of blocks is executed and synced, and nobody was told.
    BeforeExecuted,
}

/// What can happen to the mark beside a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkFault {
    /// It is gone: the key must be refused.
    Lost,
    /// It is cut short: the key must be refused.
    Torn,
    /// It is that of another log: the key must be refused.
    Foreign,
    /// It says again that the key is unused, which it is not: the key must be refused.
    Unused,
    /// It is put back to an earlier promise. The log knows better, and the key goes on.
    Older,
}

/// A thing that happens to nodes. Nodes are named by the number of their member; twins come after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies at once; what it wrote stays with the operating system.
    Crash {
        /// Which node.
        node: usize,
        /// When it is started again; never, if not given.
        restart_after_ms: Option<u64>,
    },
    /// The process dies the next time that it comes to this point.
    CrashAt {
        /// Which node.
        node: usize,
        /// Where.
        point: Point,
        /// When it is started again.
        restart_after_ms: u64,
    },
    /// The process dies at this point of its work, once it has executed the last block of an epoch.
    CrashAtEnd {
        /// Which node.
        node: usize,
        /// Where.
        point: Point,
        /// When it is started again.
        restart_after_ms: u64,
    },
    /// The machine dies: of what was not synced, a prefix survives at most, and what was being written may be torn.
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
    /// The process stands still, and goes on as if nothing had happened.
    Pause {
        /// Which node.
        node: usize,
        /// For how long.
        for_ms: u64,
    },
    /// The next sync of the vote log fails: the node must stop.
    SyncFails {
        /// Which node.
        node: usize,
        /// When it is started again, on a disk that works.
        restart_after_ms: u64,
    },
    /// The next sync of the mark fails, the log beside it is safe: the node must stop.
    MarkSyncFails {
        /// Which node.
        node: usize,
        /// When it is started again, on a disk that works.
        restart_after_ms: u64,
    },
    /// The process dies, and something happens to the mark.
    Mark {
        /// Which node.
        node: usize,
        /// What.
        what: MarkFault,
        /// When it is started again.
        restart_after_ms: u64,
    },
    /// The disk is full, for the vote log or for the ledger: the node must stop.
    DiskFull {
        /// Which node.
        node: usize,
        /// Whether it is the ledger's disk.
        ledger: bool,
        /// When it is started again, on a disk with room.
        restart_after_ms: u64,
    },
    /// The process dies, and a bit of its vote log turns: the log must be refused, and the node follow without voting.
    BitRot {
        /// Which node.
        node: usize,
        /// When it is started again.
        restart_after_ms: u64,
    },
    /// The process dies, and its vote log is put back to what it was some syncs earlier, its mark with it: the answers of
    /// others must keep it from voting, unless it had said nothing that anybody holds.
    LogRestored {
        /// Which node.
        node: usize,
        /// How many syncs are forgotten.
        syncs: usize,
        /// When it is started again.
        restart_after_ms: u64,
    },
    /// The wall clock jumps.
    ClockJump {
        /// Whose.
        node: usize,
        /// By so much, forward or back.
        by_ms: i64,
    },
    /// From now on the wall clock runs too fast, or too slow.
    ClockDrift {
        /// Whose.
        node: usize,
        /// By so many millionths.
        ppm: i64,
    },
    /// From now on the monotonic clock runs too fast, or too slow, and every timer of the node with it.
    ClockRate {
        /// Whose.
        node: usize,
        /// By so many millionths.
        ppm: i64,
    },
    /// The node is cut off from all others, both ways.
    Isolate {
        /// Which node.
        node: usize,
        /// For how long.
        for_ms: u64,
    },
    /// These links carry nothing, each in its one direction: a partition, half of one, or a single deaf ear.
    Cut {
        /// Which.
        links: Vec<Link>,
        /// For how long.
        for_ms: u64,
    },
    /// These links take longer.
    Slow {
        /// Which.
        links: Vec<Link>,
        /// By how much.
        by_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The node's connections are torn down and made anew: what was under way on them is lost.
    Reconnect {
        /// Which node.
        node: usize,
    },
    /// From now on the network is so.
    Network(NetworkFaults),
}

impl Fault {
    /// What counts it.
    #[must_use]
    pub fn counter(&self) -> Counter {
        let name = match self {
            Fault::Crash { restart_after_ms: None, .. } => "gone for good",
            Fault::Crash { .. } => "crash",
            Fault::CrashAt { point, .. } => match point {
                Point::BeforeAppend => "crash before append",
                Point::BeforeSync => "crash before sync",
                Point::BeforeMark => "crash before mark",
                Point::BeforeActions => "crash before actions",
                Point::AfterActions(_) => "crash between actions",
                Point::BeforeExecuted => "crash before executed",
            },
            Fault::CrashAtEnd { .. } => "crash at an epoch's end planned",
            Fault::PowerCut { .. } => "power cut",
            Fault::PowerCutAll { .. } => "power cut of all",
            Fault::Pause { .. } => "pause",
            Fault::SyncFails { .. } => "sync fails",
            Fault::MarkSyncFails { .. } => "sync of the mark fails",
            Fault::Mark { what, .. } => match what {
                MarkFault::Lost => "mark lost",
                MarkFault::Torn => "mark torn",
                MarkFault::Foreign => "mark of another log",
                MarkFault::Unused => "mark unused again",
                MarkFault::Older => "mark restored",
            },
            Fault::DiskFull { ledger: false, .. } => "disk full (votes)",
            Fault::DiskFull { ledger: true, .. } => "disk full (ledger)",
            Fault::BitRot { .. } => "bit rot",
            Fault::LogRestored { .. } => "vote log restored",
            Fault::ClockJump { .. } => "clock jump",
            Fault::ClockDrift { .. } => "clock drift",
            Fault::ClockRate { .. } => "monotonic clock at a wrong rate",
            Fault::Isolate { .. } => "isolation",
            Fault::Cut { .. } => "links cut",
            Fault::Slow { .. } => "links slow",
            Fault::Reconnect { .. } => "reconnect",
            Fault::Network(_) => "network changes",
        };
        Counter::named(name)
    }

    /// The node whose vote it takes away for good, if it does: an expendable one.
    pub(crate) fn takes_away(&self) -> Option<usize> {
        match self {
            Fault::Crash { node, restart_after_ms: None }
            | Fault::BitRot { node, .. }
            | Fault::LogRestored { node, .. } => Some(*node),
            Fault::Mark { what: MarkFault::Older, .. } => None,
            Fault::Mark { node, .. } => Some(*node),
            Fault::Crash { .. }
            | Fault::CrashAt { .. }
            | Fault::CrashAtEnd { .. }
            | Fault::PowerCut { .. }
            | Fault::PowerCutAll { .. }
            | Fault::Pause { .. }
            | Fault::SyncFails { .. }
            | Fault::MarkSyncFails { .. }
            | Fault::DiskFull { .. }
            | Fault::ClockJump { .. }
            | Fault::ClockDrift { .. }
            | Fault::ClockRate { .. }
            | Fault::Isolate { .. }
            | Fault::Cut { .. }
            | Fault::Slow { .. }
            | Fault::Reconnect { .. }
            | Fault::Network(_) => None,
        }
    }

    /// The same for half as long, where it lasts.
    pub(crate) fn halved(&self) -> Option<Self> {
        let mut half = self.clone();
        let lasts = match &mut half {
            Fault::Crash { restart_after_ms: Some(ms), .. }
            | Fault::CrashAt { restart_after_ms: ms, .. }
            | Fault::CrashAtEnd { restart_after_ms: ms, .. }
            | Fault::PowerCut { restart_after_ms: ms, .. }
            | Fault::PowerCutAll { restart_after_ms: ms }
            | Fault::Pause { for_ms: ms, .. }
            | Fault::SyncFails { restart_after_ms: ms, .. }
            | Fault::MarkSyncFails { restart_after_ms: ms, .. }
            | Fault::Mark { restart_after_ms: ms, .. }
            | Fault::DiskFull { restart_after_ms: ms, .. }
            | Fault::BitRot { restart_after_ms: ms, .. }
            | Fault::LogRestored { restart_after_ms: ms, .. }
            | Fault::Isolate { for_ms: ms, .. }
            | Fault::Cut { for_ms: ms, .. }
            | Fault::Slow { for_ms: ms, .. } => ms,
            Fault::Crash { restart_after_ms: None, .. }
            | Fault::ClockJump { .. }
            | Fault::ClockDrift { .. }
            | Fault::ClockRate { .. }
            | Fault::Reconnect { .. }
            | Fault::Network(_) => return None,
        };
        if *lasts <= 1 {
            return None;
        }
        *lasts /= 2;
        Some(half)
    }

    /// Whether every node that it names is one of so many.
    pub(crate) fn fits(&self, nodes: usize) -> bool {
        match self {
            Fault::Crash { node, .. }
            | Fault::CrashAt { node, .. }
            | Fault::CrashAtEnd { node, .. }
            | Fault::PowerCut { node, .. }
            | Fault::Pause { node, .. }
            | Fault::SyncFails { node, .. }
            | Fault::MarkSyncFails { node, .. }
            | Fault::Mark { node, .. }
            | Fault::DiskFull { node, .. }
            | Fault::BitRot { node, .. }
            | Fault::LogRestored { node, .. }
            | Fault::ClockJump { node, .. }
            | Fault::ClockDrift { node, .. }
            | Fault::ClockRate { node, .. }
            | Fault::Isolate { node, .. }
            | Fault::Reconnect { node } => *node < nodes,
            Fault::Cut { links, .. } | Fault::Slow { links, .. } => {
                links.iter().all(|link| link.from < nodes && link.to < nodes)
            }
            Fault::PowerCutAll { .. } | Fault::Network(_) => true,
        }
    }
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
