//! Balances by a second, simpler hand: what transfers and fees should have come to.
//!
//! It knows transfers and fees alone. Operations on keys matter to it only where they could undo a transfer, and the
//! simulated clients never put both into one transaction.

use std::collections::BTreeMap;

use quorate_ledger::{Account, Amount, Block, GenesisState, Operation, Transaction};

/// Balances after the blocks so far; accounts without coins are left out.
#[derive(Clone, Debug)]
pub(crate) struct Balances {
    of_accounts: BTreeMap<Account, Amount>,
}

impl Balances {
    pub(crate) fn new(genesis: &GenesisState) -> Self {
        Self { of_accounts: genesis.accounts.iter().copied().collect() }
    }

    /// All balances.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Account, Amount)> {
        self.of_accounts.iter().map(|(account, balance)| (account, *balance))
    }

    /// Takes in the next block.
    pub(crate) fn apply(&mut self, block: &Block) {
        for transaction in block.transactions() {
            let fee = transaction.payload().fee;
            let paid = fee.min(self.of(transaction.sender()));
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
                if attempt.of(transaction.sender()) < *amount {
                    return;
                }
                attempt.shift(transaction.sender(), *to, *amount);
            }
        }
        *self = attempt;
    }

    /// What an account holds.
    pub(crate) fn of(&self, account: Account) -> Amount {
        self.of_accounts.get(&account).copied().unwrap_or_default()
    }

    fn shift(&mut self, from: Account, to: Account, amount: Amount) {
        let left = self.of(from) - amount;
        self.of_accounts.insert(from, left);
        let sum = self.of(to) + amount;
        self.of_accounts.insert(to, sum);
    }
}
