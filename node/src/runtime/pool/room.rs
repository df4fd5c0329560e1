//! How much the bodies of a proposal may come to (`docs/pbft.md` §3.1).
//!
//! A header names its transactions by hash, so bodies that are too large for a block prove that the block is none, whoever
//! sent them. They are counted as they come: otherwise a primary could name as many as a block may hold, each as large as
//! they come, and have thousands of times a block fetched before anybody judges it.

use quorate_crypto::Hash;
use quorate_ledger::{Parameters, Transaction};

/// What is left of what a block's transactions may come to.
#[derive(Clone, Debug)]
pub(super) struct Room {
    transaction_bytes_max: usize,
    block_bytes_max: usize,
    taken: usize,
}

/// Why no block can be made of what a proposal names: its proposer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// It names a transaction that is not validly signed.
    #[error("the signature of transaction {0} is bad")]
    Signature(Hash),
    /// It names a transaction that no block may hold.
    #[error("transaction {hash} has {size} bytes, more than {max}")]
    Transaction {
        /// The transaction.
        hash: Hash,
        /// Its bytes.
        size: usize,
        /// `transaction_bytes_max`.
        max: usize,
    },
    /// Some of what it names is more than a block may hold.
    #[error("some of its transactions have {bytes} bytes, more than {max}")]
    Block {
        /// Their bytes.
        bytes: usize,
        /// `block_bytes_max`.
        max: usize,
    },
}

impl Room {
    /// All of a block.
    pub(super) fn new(parameters: &Parameters) -> Self {
        Self {
            transaction_bytes_max: parameters.transaction_bytes_max as usize,
            block_bytes_max: parameters.block_bytes_max as usize,
            taken: 0,
        }
    }

    /// Counts one transaction more.
    pub(super) fn take(&mut self, transaction: &Transaction) -> Result<(), Unfit> {
        let size = transaction.size();
        if size > self.transaction_bytes_max {
            let max = self.transaction_bytes_max;
            return Err(Unfit::Transaction { hash: transaction.hash(), size, max });
        }
        let bytes = self.taken.saturating_add(size);
        if bytes > self.block_bytes_max {
            return Err(Unfit::Block { bytes, max: self.block_bytes_max });
        }
        self.taken = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::put;

    #[test]
    fn a_block_has_room_up_to_its_bounds_and_not_one_byte_more() {
        let one = put(1, 100);
        let size = u32::try_from(one.size()).expect("a small one");
        let room = |transaction_bytes_max, block_bytes_max| {
            Room::new(&Parameters { transaction_bytes_max, block_bytes_max, ..Parameters::default() })
        };
        let mut at = room(size, 2 * size);
        assert_eq!([at.take(&one), at.take(&one)], [Ok(()), Ok(())]);
        let (bytes, max) = (3 * one.size(), 2 * one.size());
        assert_eq!(at.take(&one), Err(Unfit::Block { bytes, max }));
        let past = room(size - 1, 2 * size).take(&one);
        let (hash, size) = (one.hash(), one.size());
        assert_eq!(past, Err(Unfit::Transaction { hash, size, max: size - 1 }));
    }
}
