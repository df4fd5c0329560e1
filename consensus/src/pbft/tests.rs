//! What a replica must do, one claim a test: events in, whole outputs compared, no look inside.
//!
//! A [`Bench`] holds one replica under test and the keys of all validators, so that a test can speak for any of them.
//! Blocks are real ones; what execution came to is given by the test, since the engine only signs and compares it.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it looks for; anything else fails it")]

mod bench;
mod bodies;
mod checkpoints;
mod cluster;
mod commits;
mod epochs;
mod evidence;
mod falsehood;
mod fuzz;
mod proofs;
mod proposals;
mod recall;
mod repetition;
mod reproposals;
mod restart;
mod schedules;
mod sizes;
mod slow;
mod thinning;
mod timers;
mod verification;
mod views;
mod windows;
