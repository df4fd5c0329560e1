//! The claims that every run is held to, judged from outside: by what nodes committed, signed, kept and sent.
//!
//! The checkers share no code with engine and ledger beyond the formats. They hash headers and fold Merkle roots
//! themselves, and execute transfers with their own few lines ([`model`]).

pub(crate) mod chain;
pub(crate) mod model;
pub(crate) mod votes;

use std::fmt;

use crate::effect::Sighting;
use crate::machine::Chain;
use chain::ChainCheck;
use votes::VoteCheck;

/// A claim that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The claim, as it should have been.
    pub claim: &'static str,
    /// What was seen instead.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(claim: &'static str, detail: impl Into<String>) -> Self {
        Self { claim, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "violated: {}\n  {}", self.claim, self.detail)
    }
}

/// All checkers of a run.
#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) chain: ChainCheck,
    pub(crate) votes: VoteCheck,
}

impl Checks {
    pub(crate) fn new(chain: &Chain) -> Self {
        Self { chain: ChainCheck::new(chain), votes: VoteCheck::new(chain.keys.len()) }
    }

    /// Judges one thing that a node was seen doing.
    pub(crate) fn see(&mut self, node: usize, sighting: &Sighting) -> Result<(), Violation> {
        match sighting {
            Sighting::Opened { tip, outcome, blocks } => self.chain.opened(node, *tip, outcome, blocks),
            Sighting::Kept(votes) => {
                self.votes.kept(node, votes);
                Ok(())
            }
            Sighting::Sent(votes) => votes.iter().try_for_each(|vote| self.votes.sent(node, vote)),
            Sighting::Committed(block) => self.chain.committed(node, block),
            Sighting::Executed { block, outcome } => self.chain.executed(node, block, outcome),
            Sighting::Wrong { what, detail } => Err(Violation::new(
                "nothing goes wrong among correct nodes",
                format!("n{node}: {what}: {detail}"),
            )),
        }
    }
}
