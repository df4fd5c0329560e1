//! The readable record of a run, one line for each thing that happened: time, place, what.
//!
//! ```text
//!     1.204117 n2  <- n0  PREPARE e0 v0 h7 1f3a9c04
//!     1.204117 n2  log    3 records
//!     1.205530 n2  -> all COMMIT e0 v0 h7 1f3a9c04
//! ```
//!
//! `n2` is a machine, `#2` a place in the validator set of an epoch. Two runs of one scenario give the same text byte for byte; that is what makes a seed worth keeping.

use std::fmt::{self, Write};

use quorate_consensus::Mono;
use quorate_crypto::Hash;

/// Where something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a node.
    Node(usize),
    /// In the world outside: network, faults, clients.
    World,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Node(index) => f.pad(&format!("n{index}")),
            Place::World => f.pad("--"),
        }
    }
}

/// The first bytes of a hash, enough to tell blocks of one run apart.
pub(crate) struct Short<'a>(pub(crate) &'a Hash);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes().iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    text: String,
}

impl Trace {
    /// Adds a line.
    pub(crate) fn line(&mut self, now: Mono, place: Place, what: fmt::Arguments<'_>) {
        let (seconds, micros) = (now.0 / 1_000_000_000, now.0 / 1_000 % 1_000_000);
        writeln!(self.text, "{seconds:>5}.{micros:06} {place:<4} {what}").expect("a string takes any text");
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The last `count` lines.
    #[must_use]
    pub fn tail(&self, count: usize) -> &str {
        let start = self
            .text
            .trim_end()
            .rmatch_indices('\n')
            .nth(count.saturating_sub(1))
            .map_or(0, |(at, _)| at + 1);
        &self.text[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_when_where_and_what() {
        let mut trace = Trace::default();
        trace.line(Mono(1_204_117_999), Place::Node(2), format_args!("tick"));
        trace.line(Mono(61_000_000_000), Place::World, format_args!("calm"));
        assert_eq!(trace.text(), "    1.204117 n2   tick\n   61.000000 --   calm\n");
        assert_eq!(trace.tail(1), "   61.000000 --   calm\n");
        assert_eq!(trace.tail(9), trace.text());
    }
}
