//! In which order transactions are proposed: senders in turn, so that nobody waits behind all of another's.

use std::{
    collections::{VecDeque, btree_map},
    sync::Arc,
};

use quorate_ledger::{Account, Transaction};

use super::{Mempool, Sequence, Turn};

impl Mempool {
    /// What may be proposed, senders in turn.
    pub(crate) fn in_turn(&self) -> InTurn<'_> {
        InTurn { pool: self, first: self.turns.values(), later: VecDeque::new() }
    }
}

/// What may be proposed: the first of each sender, then the second of each, and so on.
pub(crate) struct InTurn<'a> {
    pool: &'a Mempool,
    first: btree_map::Values<'a, Turn, Account>,
    later: VecDeque<btree_map::Values<'a, Sequence, Arc<Transaction>>>,
}

impl Iterator for InTurn<'_> {
    type Item = Arc<Transaction>;

    fn next(&mut self) -> Option<Self::Item> {
        // Senders are opened one by one, so that a block of a few transactions does not cost a walk over all of them.
        if let Some(account) = self.first.next() {
            let mut queue = self.pool.senders[account].waiting.values();
            let transaction = queue.next().map(Arc::clone);
            assert!(transaction.is_some(), "a sender with a turn has something waiting");
            self.later.push_back(queue);
            return transaction;
        }
        while let Some(mut queue) = self.later.pop_front() {
            if let Some(transaction) = queue.next() {
                self.later.push_back(queue);
                return Some(Arc::clone(transaction));
            }
        }
        None
    }
}
