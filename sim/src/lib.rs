//! The deterministic simulator: the production engine and ledger of a handful of validators, in virtual time, over a
//! network and disks that fail, with checkers that look on from outside.
//!
//! ```text
//!               ┌───────────────────────── run: queue of what happens next ─────────────────────────┐
//!   clients ──▶ │  node ── process: engine ∙ ledger ∙ candidates ∙ pool      network: loses, doubles, │ ◀── faults
//!               │       └─ machine: log, store, clock (survive crashes)               delays          │
//!               └──────────┬─────────────────────────────────────────────────────────────────────────┘
//!                          ▼ what is committed, kept, sent, executed
//!                       checkers, trace
//! ```
//!
//! - A [`Scenario`] says everything about a run: nodes, seed, faults, work. [`Scenario::run`] gives a [`Report`], or a
//!   [`Failure`] with the claim that did not hold, the trace, and the command that runs it again.
//! - Nothing here reads a clock, starts a thread or depends on the order of a hash table. The same scenario gives the
//!   same [`Trace`], byte for byte.
//! - The code under test is what the node runs: messages are encoded, decoded and verified, records go through a log
//!   that forgets what was not synced, actions wait for that sync, as `docs/pbft.md` §6 demands.
//!
//! An engine takes part by saying which votes its messages and records carry ([`Observed`]), and how it is lied about
//! ([`Deceptive`]).
//!
//! Who is who: a *member* is a key that is a validator, was one or may become one, by its number in [`Scenario`]; a *machine*
//! is what has its disks and clock, one for each member and one more for each twin; a *node* is a machine with or without the
//! *process* that runs on it, named `n2` by the number of the machine, which up to the twins is the member's; a *place* or
//! index, `#2`, is where a member stands in the validator set of an epoch, as signatures name it.

pub mod bench;
mod bodies;
mod check;
mod client;
mod coverage;
mod effect;
mod faults;
mod liar;
mod log;
mod machine;
mod monotonic;
mod network;
mod node;
mod observe;
mod pool;
mod process;
mod queue;
mod random;
mod run;
mod scenario;
mod shrink;
mod trace;
mod wire;

pub use check::{Violation, chain::AGREEMENT};
pub use client::{Lasting, Workload};
pub use coverage::{Counter, Coverage};
pub use faults::{Fault, Link, MarkFault, NetworkFaults, Point, Scheduled};
pub use liar::{Deceptive, Liar, LiarPlan, Lie, Told};
pub use machine::Timing;
pub use observe::{Kept, Observed, Slot, Vote, VoteKind};
pub use run::{Failure, Inclusion, Report};
pub use scenario::{Approvers, Change, Plan, Scenario};
pub use trace::Trace;
