//! Who takes part: whose COMMITs were seen for the last committed heights (`docs/pbft.md` §3, rotation). A planned change
//! of views passes over validators of whom there was none, so that a dead one costs nothing at each of its turns.

use std::collections::BTreeMap;

use quorate_crypto::{Hash, Signers};
use quorate_ledger::{Height, ValidatorIndex};

/// Committed heights that are looked back on; with fewer seen nobody is absent.
pub(super) const HEIGHTS: usize = 100;

/// COMMITs of the last [`HEIGHTS`] heights that had a certificate of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Participation {
    heights: BTreeMap<Height, (Hash, Signers)>,
}

impl Participation {
    /// A height has committed with the COMMITs of these.
    pub(super) fn committed(&mut self, height: Height, block: Hash, signers: Signers) {
        self.heights.insert(height, (block, signers));
        while self.heights.len() > HEIGHTS {
            self.heights.pop_first();
        }
    }

    /// A COMMIT came, perhaps late.
    pub(super) fn seen(&mut self, height: Height, block: Hash, signer: ValidatorIndex) {
        if let Some((committed, signers)) = self.heights.get_mut(&height)
            && *committed == block
        {
            signers.insert(usize::from(signer.0));
        }
    }

    /// Whether nothing was seen of a validator for all of the last heights.
    pub(super) fn is_absent(&self, validator: ValidatorIndex) -> bool {
        self.heights.len() >= HEIGHTS
            && !self.heights.values().any(|(_, signers)| signers.contains(usize::from(validator.0)))
    }
}
