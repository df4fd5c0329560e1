//! Consensus engines without input or output of their own.
//!
//! An [`Engine`] takes one [`Event`] at a time and says what must be written down ([`Engine::Record`]) and what is to
//! be done ([`Action`]). The actions can only be had by writing the records first ([`Output::commit`]): *disk before
//! wire* is a type, not a habit. An engine lives for one epoch; a [`Replica`] is the line of them. The same [`drive`] loop
//! runs a replica in a node and in the simulator.
//!
//! ```text
//!  inputs ──▶ Replica ──▶ Engine::step ──▶ Output { records, actions } ──commit(log)──▶ actions ──▶ runtime
//! ```
//!
//! Engines: [`pbft`]. Nothing here knows a socket, a disk other than the [`vote_log`], a clock or a thread.

pub mod drive;
pub mod engine;
pub mod evidence;
pub mod pbft;
pub mod rejection;
pub mod replica;
pub mod vote_log;

pub use drive::drive;
pub use engine::{
    Action, Backlog, Engine, Event, Evidence, Horizon, InFlight, Input, Log, Mono, Now, OpenError, Output,
    Places, Promise, Promised, Proposal, Rejection, Role, Scope, Setup, Status, To, Verdict, Verified, Voice,
    Voter,
};
pub use replica::Replica;
