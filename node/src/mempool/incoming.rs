//! Transfers on their way to an account: of what waits here, and of blocks that are committed and not executed yet. Whoever is
//! paid by one may have more to spend than the committed balance shows.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use quorate_ledger::{Account, Amount, Block, Height, Operation, Transaction};

/// The transfers on their way.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// How many there are to an account.
    counts: HashMap<Account, usize>,
    /// Blocks whose transfers count until they are executed, in the order of their heights.
    blocks: VecDeque<Arc<Block>>,
}

impl Incoming {
    /// Whether an account waits for any.
    pub(super) fn is_expected_by(&self, account: &Account) -> bool {
        self.counts.contains_key(account)
    }

    /// Counts those of a transaction that waits.
    pub(super) fn expect(&mut self, transaction: &Transaction) {
        for (to, _) in transfers(transaction) {
            *self.counts.entry(to).or_default() += 1;
        }
    }

    /// Counts them no longer: they have come, or will not, or count with their block.
    pub(super) fn forget(&mut self, transaction: &Transaction) {
        for (to, _) in transfers(transaction) {
            let count = self.counts.get_mut(&to).expect("each transfer was counted before");
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&to);
            }
        }
    }

    /// Counts those of a committed block, until it is executed.
    pub(super) fn commit(&mut self, block: &Arc<Block>) {
        self.blocks.push_back(Arc::clone(block));
        block.transactions().iter().for_each(|transaction| self.expect(transaction));
    }

    /// Balances now show what the blocks up to `height` moved.
    pub(super) fn execute(&mut self, height: Height) {
        while self.blocks.front().is_some_and(|block| block.height() <= height) {
            let block = self.blocks.pop_front().expect("there is a first one");
            block.transactions().iter().for_each(|transaction| self.forget(transaction));
        }
    }
}

/// To whom a transaction moves how much; what it moves to its own sender is left out.
fn transfers(transaction: &Transaction) -> impl Iterator<Item = (Account, Amount)> {
    let sender = transaction.sender();
    transaction.payload().operations.iter().filter_map(move |operation| match operation {
        Operation::Transfer { to, amount } if *to != sender => Some((*to, *amount)),
        Operation::Transfer { .. }
        | Operation::Put { .. }
        | Operation::Delete { .. }
        | Operation::Check(_)
        | Operation::Approve { .. } => None,
    })
}

/// What a transaction takes from its sender, if it moves anything; whether the fee alone can be paid is another rule's.
pub(super) fn needed(transaction: &Transaction) -> Option<Amount> {
    transfers(transaction)
        .any(|(_, amount)| amount > 0)
        .then(|| transaction.least_balance().unwrap_or(Amount::MAX))
}
