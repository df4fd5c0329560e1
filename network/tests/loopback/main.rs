//! Real nodes on the loopback interface, on ports the system chooses. Timeouts only bound how long a test waits for
//! an event that must come.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test waits for one thing and drops the others")]

mod discovery;
mod faults;
mod gossip;
mod harness;
mod requests;
mod streams;
