//! What a node does to the world around it, as data: the run carries it out, and the checkers see it.

use std::rc::Rc;
use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_crypto::Hash;
use quorate_ledger::{Block, Epoch, ExecutionOutcome, Height};

use crate::coverage::Counter;
use crate::observe::{Accusation, Kept, Vote};
use crate::wire::Parcel;

/// Why a node wants to be woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Its engine takes the events that have gathered.
    Turn,
    /// The log's fsync has come back.
    Synced,
    /// Candidates have built or judged a block.
    Answer,
    /// The ledger's executor has finished its batch.
    Executed,
    /// A liar says something that nobody asked for.
    Lie,
    /// The engine's deadline; stale if the engine has changed its mind since.
    Tick(Mono),
    /// Bodies of this proposal should have come by now. Beside the queue: all else that waits there is small.
    Refetch(Box<Hash>),
    /// Transactions may have waited long enough to be handed to everybody.
    HandOut,
    /// A node without a place in the set asks for blocks.
    Follow,
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
    /// Records with this are safe on its disk, in this order.
    Kept(Vec<Kept>),
    /// It has sent these votes, its own or what others had sent it, alone or in certificates and other messages.
    Sent(Vec<Vote>),
    /// It has gone over to this epoch, and has done all that the step before wanted.
    Began(Epoch),
    /// Its key is refused for its log or mark: it follows, and signs nothing.
    Refused,
    /// Its key begins anew with this epoch, with a log that has no voice in those before.
    Renewed(Epoch),
    /// Its engine holds this block for final.
    Committed(Arc<Block>),
    /// Its ledger has executed and synced this block; from here on it would tell clients so.
    Executed {
        /// The block.
        block: Arc<Block>,
        /// What came of it.
        outcome: ExecutionOutcome,
    },
    /// It does not take what came from another, or blames another: right only if that one lies.
    Blames {
        /// Whose fault it says that it is.
        whom: usize,
        /// What it is called.
        what: &'static str,
        /// Its own words.
        detail: String,
    },
    /// It proves to the world that another did what a correct validator never does.
    Accuses(Box<Accusation>),
    /// Its engine has been given what these liars signed.
    Heard(Vec<Heard>),
    /// Somebody has shown it a signed message of its own that its log does not know: it signs nothing more.
    Abstains(String),
    /// Something that never happens at a correct node: a halt, a failed start.
    Wrong {
        /// What it is called.
        what: &'static str,
        /// Its own words.
        detail: String,
    },
}

/// What a liar signed, as a node's engine was given it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) vote: Vote,
    /// Whether it is surely one that the engine has counted, by what `docs/pbft.md` §8 says that it counts.
    pub(crate) counted: bool,
    /// Whether it is of an earlier view, and counts if another vote of that view at its height has counted before.
    pub(crate) continued: bool,
    /// Whether it came inside another message, which the engine may not have taken.
    pub(crate) inside: bool,
    /// Whether it is a NEW-VIEW whose blocks do not follow from its claims: one of the ways to be false by itself.
    pub(crate) proposes_wrongly: bool,
}

/// Something a node does.
pub(crate) enum Effect<M> {
    /// It sends a packet to a member.
    Send {
        /// Which.
        to: usize,
        /// The packet.
        parcel: Rc<Parcel<M>>,
        /// After so many microseconds; only a liar waits.
        after_us: u64,
    },
    /// It wants to be woken.
    Wake {
        /// When, by its own clock.
        at: Mono,
        /// Why.
        why: Wake,
    },
    /// It is seen doing something.
    See(Box<Sighting>),
    /// A line for the trace.
    Note(String),
    /// It is counted for the report.
    Count(Counter),
    /// Its process ends here.
    Die(Death),
}

/// How a process ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Where a fault wanted it to.
    Struck,
    /// With none of the last batch on disk.
    BeforeAppend,
    /// With all of the last batch on disk, and nothing done about it.
    BeforeActions,
    /// Because its disk has failed.
    Disk,
}

/// The effects of one step, in order.
pub(crate) struct Effects<M> {
    list: Vec<Effect<M>>,
    traced: bool,
}

impl<M> Effects<M> {
    /// None yet; notes are written down only for a trace. Every step takes the memory of the one before.
    pub(crate) fn new(traced: bool, spare: Vec<Effect<M>>) -> Self {
        assert!(spare.is_empty(), "each step begins without effects");
        Self { list: spare, traced }
    }

    /// The effects, in order.
    pub(crate) fn into_list(self) -> Vec<Effect<M>> {
        self.list
    }

    pub(crate) fn send(&mut self, to: usize, parcel: Rc<Parcel<M>>, after_us: u64) {
        self.list.push(Effect::Send { to, parcel, after_us });
    }

    pub(crate) fn wake(&mut self, at: Mono, why: Wake) {
        self.list.push(Effect::Wake { at, why });
    }

    /// Wakes in `micros` microseconds.
    pub(crate) fn wake_after(&mut self, now: Mono, micros: u64, why: Wake) {
        self.wake(Mono(now.0 + micros * 1_000), why);
    }

    pub(crate) fn see(&mut self, sighting: Sighting) {
        self.list.push(Effect::See(Box::new(sighting)));
    }

    pub(crate) fn die(&mut self, how: Death) {
        self.list.push(Effect::Die(how));
    }

    /// Something of interest happened, for the report.
    pub(crate) fn count(&mut self, what: Counter) {
        self.list.push(Effect::Count(what));
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.traced {
            self.list.push(Effect::Note(text()));
        }
    }
}
