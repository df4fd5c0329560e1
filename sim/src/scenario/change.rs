//! What validators are to approve of, and when: the changes that end epochs, and those that come to nothing.

use quorate_ledger::Parameters;

/// A change of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Who votes from then on, by number: the first set has the numbers from 0 on, whoever comes later those above.
    Validators(Vec<usize>),
    /// The parameters from then on.
    Parameters(Box<Parameters>),
}

/// Who approves of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approvers {
    /// Every validator that does not lie, until it is decided or another change that all approve of takes its place.
    All,
    /// These, as far as they are validators, for a while.
    These(Vec<usize>),
}

/// A change, and how it is brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From when on it is approved of, in milliseconds after the start.
    pub at_ms: u64,
    /// What.
    pub change: Change,
    /// By whom.
    pub approvers: Approvers,
}

impl Plan {
    /// The set that it makes, if it makes one.
    pub(crate) fn validators(&self) -> Option<&[usize]> {
        match &self.change {
            Change::Validators(validators) => Some(validators),
            Change::Parameters(_) => None,
        }
    }

    /// The parameters that it makes, if it makes any.
    pub(crate) fn parameters(&self) -> Option<&Parameters> {
        match &self.change {
            Change::Validators(_) => None,
            Change::Parameters(parameters) => Some(parameters),
        }
    }
}
