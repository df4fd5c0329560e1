//! What a node does to the world around it, as data: the run carries it out, and the checkers see it.

use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_crypto::Hash;
use quorate_ledger::{Block, ExecutionOutcome, Height};

use crate::observe::Vote;

/// Why a node wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Its engine takes the events that have gathered.
    Turn,
    /// The log's fsync has come back.
    Synced,
    /// Candidates have built or judged a block.
    Answer,
    /// The ledger's executor has finished its batch.
    Executed,
    /// The engine's deadline; stale if the engine has changed its mind since.
    Tick(Mono),
    /// Bodies of this proposal should have come by now.
    Refetch(Hash),
    /// Transactions may have waited long enough to be handed to everybody.
    HandOut,
}

/// Something a checker wants to know.
#[derive(Clone, Debug)]
pub(crate) enum Sighting {
    /// A process has started on what its disk held.
    Opened {
        /// The ledger's tip.
        tip: Height,
        /// What executing it gave.
        outcome: ExecutionOutcome,
        /// Hashes of the blocks in the ledger from height 1 to the tip.
        blocks: Vec<Hash>,
    },
    /// Records with these votes are safe on its disk.
    Kept(Vec<Vote>),
    /// It has sent these votes of its own.
    Sent(Vec<Vote>),
    /// Its engine holds this block for final.
    Committed(Arc<Block>),
    /// Its ledger has executed and synced this block; from here on it would tell clients so.
    Executed {
        /// The block.
        block: Arc<Block>,
        /// What came of it.
        outcome: ExecutionOutcome,
    },
    /// Something that never happens among correct nodes: an accusation, a refusal, a halt, a failed start.
    Wrong {
        /// What it is called.
        what: &'static str,
        /// Its own words.
        detail: String,
    },
}

/// Something a node does.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// It sends these bytes to a node.
    Send {
        /// Index of the receiver.
        to: usize,
        /// An encoded packet.
        bytes: Arc<[u8]>,
    },
    /// It wants to be woken.
    Wake {
        /// When.
        at: Mono,
        /// Why.
        why: Wake,
    },
    /// It is seen doing something.
    See(Sighting),
    /// A line for the trace.
    Note(String),
    /// Its process dies here.
    Die,
}

/// The effects of one step, in order.
#[derive(Debug, Default)]
pub(crate) struct Effects(Vec<Effect>);

impl Effects {
    pub(crate) fn send(&mut self, to: usize, bytes: Arc<[u8]>) {
        self.0.push(Effect::Send { to, bytes });
    }

    pub(crate) fn wake(&mut self, at: Mono, why: Wake) {
        self.0.push(Effect::Wake { at, why });
    }

    /// Wakes in `micros` microseconds.
    pub(crate) fn wake_after(&mut self, now: Mono, micros: u64, why: Wake) {
        self.wake(Mono(now.0 + micros * 1_000), why);
    }

    pub(crate) fn see(&mut self, sighting: Sighting) {
        self.0.push(Effect::See(sighting));
    }

    pub(crate) fn die(&mut self) {
        self.0.push(Effect::Die);
    }

    pub(crate) fn note(&mut self, text: String) {
        self.0.push(Effect::Note(text));
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = std::vec::IntoIter<Effect>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
