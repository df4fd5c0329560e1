//! Balances by a second, simpler hand: what transfers and fees should have come to.
//!
//! It knows transfers and fees alone. Operations on keys matter to it only where they could undo a transfer, and the
//! simulated clients never put both into one transaction.

use std::collections::BTreeMap;

use quorate_ledger::{Account, Amount, Block, GenesisState, Operation, Transaction};

/// Balances after the blocks so far; accounts without coins are left out.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    balances: BTreeMap<Account, Amount>,
}

impl Model {
    pub(crate) fn new(genesis: &GenesisState) -> Self {
        Self { balances: genesis.accounts.iter().copied().collect() }
    }

    /// All balances.
    pub(crate) fn balances(&self) -> impl Iterator<Item = (&Account, Amount)> {
        self.balances.iter().map(|(account, balance)| (account, *balance))
    }

    /// Takes in the next block.
    pub(crate) fn apply(&mut self, block: &Block) {
        for transaction in block.transactions() {
            let fee = transaction.payload().fee;
            let paid = fee.min(self.balance(transaction.sender()));
            self.shift(transaction.sender(), block.header().proposer, paid);
            if paid == fee {
                self.transfers(transaction);
            }
        }
    }

    /// All transfers of a transaction or none.
    fn transfers(&mut self, transaction: &Transaction) {
        let mut attempt = self.clone();
        for operation in &transaction.payload().operations {
            if let Operation::Transfer { to, amount } = operation {
                if attempt.balance(transaction.sender()) < *amount {
                    return;
                }
                attempt.shift(transaction.sender(), *to, *amount);
            }
        }
        *self = attempt;
    }

    /// What an account holds.
    pub(crate) fn balance(&self, account: Account) -> Amount {
        self.balances.get(&account).copied().unwrap_or_default()
    }

    fn shift(&mut self, from: Account, to: Account, amount: Amount) {
        let left = self.balance(from) - amount;
        self.balances.insert(from, left);
        let sum = self.balance(to) + amount;
        self.balances.insert(to, sum);
    }
}
