//! Keys by a second, simpler hand: who owns which, and what it was set to, after every block.
//!
//! It knows keys that are set, by transactions that do nothing else, as the simulated clients make them.

use std::collections::BTreeMap;

use quorate_ledger::{Account, Block, Height, Operation};

/// A key as somebody set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Who was the first to set it.
    pub(crate) owner: Account,
    /// Which operation set it last: height, place of the transaction, place of the operation.
    pub(crate) version: (Height, u32, u32),
    /// To what.
    pub(crate) value: Vec<u8>,
}

/// All keys, with what they ever were.
#[derive(Debug, Default)]
pub(crate) struct Keys(BTreeMap<Vec<u8>, Vec<Entry>>);

impl Keys {
    /// Takes in the next block.
    pub(crate) fn apply(&mut self, block: &Block) {
        for (index, transaction) in (0..).zip(block.transactions()) {
            let owner = transaction.sender();
            for (place, operation) in (0..).zip(&transaction.payload().operations) {
                let Operation::Put { key, value } = operation else { continue };
                let entries = self.0.entry(key.clone()).or_default();
                if entries.last().is_none_or(|entry| entry.owner == owner) {
                    let version = (block.height(), index, place);
                    entries.push(Entry { owner, version, value: value.clone() });
                }
            }
        }
    }

    /// A key after the block at a height.
    pub(crate) fn at(&self, height: Height, key: &[u8]) -> Option<&Entry> {
        let entries = self.0.get(key)?;
        let after = entries.partition_point(|entry| entry.version.0 <= height);
        entries.get(after.checked_sub(1)?)
    }
}
