//! What the end-to-end tests and measurements stand on: a real network of real processes, and the means to use and to
//! hurt it as its users, its machines and its enemies would.
//!
//! ```text
//! program   the binary `quorate`: which one, and how its commands are run
//! testnet   validators in a directory of their own; whatever happens, no process and no file stays behind
//! client    JSON-RPC as any client speaks it, and bare HTTP for what no client would send
//! wallet    an account that signs
//! load      transfers one after the other from many hands, and what became of each
//! chain     what must hold of a network whatever was done to it
//! report    the machine, and times in order, for the measurements
//! wait      until something is so, at most so long
//! ```
//!
//! It uses the crates of the formats (keys, transactions, certificates) and none of the node's: what it knows of a node
//! is what the command line and JSON-RPC say. Whatever is not as it must be panics with what was seen instead.

pub mod chain;
pub mod client;
pub mod load;
pub mod program;
pub mod report;
pub mod testnet;
pub mod wait;
pub mod wallet;
