//! The checkpoints that recent headers anchor: what a new validator's statement may name (`docs/pbft.md §7`).

use std::collections::VecDeque;

use quorate_crypto::Hash;

use crate::block::Header;
use crate::primitives::Height;

/// How many headers below a block may anchor the checkpoint that a statement in it names.
pub const READINESS_HEADERS: u64 = 1_000;

/// The hashes of the checkpoints anchored by the last [`READINESS_HEADERS`] headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentAnchors {
    /// One for each header, oldest first.
    checkpoints: VecDeque<Hash>,
}

impl RecentAnchors {
    /// The lowest height whose header is among them when the next block stands on `tip`; the genesis has no header.
    #[must_use]
    pub fn first_height(tip: Height) -> Height {
        Height((tip.0 + 1).saturating_sub(READINESS_HEADERS).max(1))
    }

    /// Takes in the header of the next height and lets go of the one that is too old now.
    pub fn push(&mut self, header: &Header) {
        self.checkpoints.push_back(header.anchor.checkpoint);
        if self.checkpoints.len() as u64 > READINESS_HEADERS {
            self.checkpoints.pop_front();
        }
    }

    /// Whether one of the headers anchors this checkpoint.
    #[must_use]
    pub fn contains(&self, checkpoint: &Hash) -> bool {
        self.checkpoints.contains(checkpoint)
    }
}
