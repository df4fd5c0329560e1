//! What may happen to a replica, as a generator makes it up. Fields are small numbers that the [`World`] reads as one of
//! the few blocks, views and signers that there are, so that happenings meet.
//!
//! [`World`]: super::world::World

use bolero::TypeGenerator;

/// A run: who the replica is, whom it lives among, and what happens.
#[derive(Clone, Debug, TypeGenerator)]
pub(super) struct Life {
    pub(super) company: Company,
    /// Its place, within the set's size.
    pub(super) me: u8,
    /// The window is 1, 2, 3 or 4; small ones are reached.
    pub(super) window: u8,
    #[generator(bolero::produce::<Vec<Happening>>().with().len(0usize..=80))]
    pub(super) happenings: Vec<Happening>,
}

/// The others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TypeGenerator)]
pub(super) enum Company {
    /// None.
    Alone,
    /// At most f of four lie.
    Four,
    /// At most f of seven lie.
    Seven,
    /// All of the three others may lie: whatever comes of it, the replica keeps to its own rules.
    Liars,
}

/// A view, relative to the one the replica is in.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(super) enum Near {
    This,
    Next,
    Former,
    /// One of the first.
    Fixed(u8),
}

/// One thing that happens.
#[derive(Clone, Debug, TypeGenerator)]
pub(super) enum Happening {
    /// Time passes, for either clock; the wall clock may go back.
    Pass { millis: u8, scale: u8, wall: i8 },
    /// The deadline has passed, or somebody was too early.
    Tick { due: bool },
    /// A proposal of the view's primary, or something like one.
    Propose { view: Near, on: u8, oddity: u8, from: u8 },
    /// PREPAREs or COMMITs of some for a block.
    Votes { commit: bool, view: Near, block: u8, signers: u8 },
    /// CHECKPOINTs of some.
    Checkpoints { block: u8, signers: u8, wrong: bool },
    /// VIEW-CHANGEs of some, each with a report.
    Changes { view: Near, reports: [Report; 3], signers: u8 },
    /// A NEW-VIEW on what was asked for, or on what is made up now.
    Start { view: Near, reports: [Report; 6], wrong: bool },
    /// STATUS.
    Status { from: u8, view: Near, active: bool, delivered: u8, certificate: u8, checkpoint: u8, holds: u8 },
    /// A message that is not what it was signed as; it must be refused.
    Forged { which: u8, how: u8 },
    /// What was sent once comes again, from anybody.
    Again { which: u8, from: u8 },
    /// What waits in the pool.
    Backlog { count: u8, eligible: bool },
    /// The answer to a Build.
    Built { transaction: bool },
    /// The answer to a Check, or to one that nobody remembers.
    Checked { which: u8, verdict: u8 },
    /// A body that was asked for, or not.
    Fetched { which: u8 },
    /// The ledger executes and syncs some of what was delivered, and reports it or has not yet.
    Executed { count: u8, report: bool },
    /// Certified blocks.
    Certified { block: u8, from: u8 },
    /// All goes well for a while: the primary proposes and everybody votes.
    Progress { steps: u8, view: Near, on: u8 },
    /// The machine stops, in the middle of the next step or between two; the ledger may have lost what it was not
    /// asked to sync, or be an older copy.
    Crash { when: Boundary, ledger: LedgerAfter },
    /// Others answer what they hold of the replica.
    Answered { count: u8 },
    /// Another asks what is held of it.
    Asked { from: u8 },
    /// A checkpoint certificate comes from elsewhere.
    Certificate { block: u8 },
    /// The log is replaced by what matters.
    Compact,
}

/// What a VIEW-CHANGE reports.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub(super) struct Report {
    pub(super) base: u8,
    pub(super) prepared: [(u8, u8); 2],
}

/// Where the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TypeGenerator)]
pub(super) enum Boundary {
    /// Between two steps.
    Between,
    /// After the next step, before its records are synced.
    BeforeSync,
    /// After its records are synced, before any action is taken.
    BeforeActions,
}

/// What the ledger is found to be after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TypeGenerator)]
pub(super) enum LedgerAfter {
    /// All that it had synced.
    Synced,
    /// That, but for its last checkpoint certificate.
    WithoutStable,
    /// A copy from before.
    Restored(u8),
}
