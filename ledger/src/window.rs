//! The ids of recently committed transactions: a transaction is included once (`docs/pbft.md §3.1`).
//!
//! Ids need not be remembered for ever, because a transaction's end is part of its id. Let `life` be
//! `transaction_lifetime_max` and `t` the time of the newest committed block. A block of time `b` holds only
//! transactions with `expires_at <= b + life`. Every later block has a time of at least `t + 1` and holds only
//! transactions with `expires_at > t + 1`. So once `b + life <= t + 1` no later block can hold any transaction of the
//! block again, and its ids may be forgotten; one millisecond earlier a transaction with `expires_at = b + life` could
//! still come back in a block of time `t + 1`. Times rise with heights, so the oldest block is always the first to go.

#![allow(clippy::disallowed_types, reason = "the map is looked up by key, never walked")]

use std::collections::{HashMap, VecDeque};

use quorate_crypto::Hash;

use crate::block::Block;
use crate::primitives::{Height, UnixMillis};

/// The ids in committed blocks that a later block could otherwise hold again.
#[derive(Clone, Debug)]
pub struct IdWindow {
    lifetime_max_ms: u64,
    blocks: VecDeque<Remembered>,
    heights: HashMap<Hash, Height>,
}

/// A block whose ids are remembered.
#[derive(Clone, Debug)]
struct Remembered {
    height: Height,
    time: UnixMillis,
    ids: Vec<Hash>,
}

impl IdWindow {
    /// An empty window of a chain with this `transaction_lifetime_max_ms`, which its genesis fixes for ever.
    #[must_use]
    pub fn new(lifetime_max_ms: u64) -> Self {
        IdWindow { lifetime_max_ms, blocks: VecDeque::new(), heights: HashMap::new() }
    }

    /// Whether the ids of a block of time `time` still matter when the newest committed block has time `newest`: what
    /// must be given to [`IdWindow::remember`] to rebuild a window.
    #[must_use]
    pub fn matters(time: UnixMillis, newest: UnixMillis, lifetime_max_ms: u64) -> bool {
        time.plus_millis(lifetime_max_ms) > newest.plus_millis(1)
    }

    /// Takes in the ids of the next committed block and forgets those that no block above it can hold.
    ///
    /// # Panics
    /// When heights or times do not rise, or when an id is remembered already: the block should never have been
    /// committed.
    pub fn remember(&mut self, block: &Block) {
        let (height, time) = (block.height(), block.time());
        if let Some(newest) = self.blocks.back() {
            assert!(newest.height < height, "block {height} is remembered after block {}", newest.height);
            assert!(newest.time < time, "the time of block {height} is not above that of the block before");
        }
        let ids: Vec<Hash> = block.transactions().iter().map(|transaction| transaction.id()).collect();
        for id in &ids {
            let before = self.heights.insert(*id, height);
            assert!(before.is_none(), "transaction {id} is committed a second time, at height {height}");
        }
        self.blocks.push_back(Remembered { height, time, ids });
        self.forget(time);
    }

    fn forget(&mut self, newest: UnixMillis) {
        while let Some(oldest) = self.blocks.front()
            && !Self::matters(oldest.time, newest, self.lifetime_max_ms)
        {
            for id in &oldest.ids {
                self.heights.remove(id);
            }
            self.blocks.pop_front();
        }
    }

    /// The height at which an id was committed, if it is still remembered.
    #[must_use]
    pub fn height_of(&self, id: &Hash) -> Option<Height> {
        self.heights.get(id).copied()
    }

    /// How many ids are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heights.len()
    }

    /// Whether no ids are remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heights.is_empty()
    }
}

#[cfg(test)]
mod tests;
