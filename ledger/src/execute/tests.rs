//! What transactions do, one rule at a time, then all rules at once over random blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::epoch::EpochRecord;
use crate::fixtures::{GENESIS_TIME, account, block_on, chain, genesis, key, validators};
use crate::primitives::{Amount, Epoch};
use crate::transaction::{Payload, Transaction};

mod epochs;

/// The proposer of [`block_on`]'s blocks.
const PROPOSER: u16 = 100;

#[derive(Clone, Debug, PartialEq)]
struct Memory(BTreeMap<RecordKey, Arc<Record>>);

impl Records for Memory {
    fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }
}

impl Memory {
    fn with_balances(balances: &[(u16, Amount)]) -> Self {
        let record = |&(number, balance): &(u16, Amount)| {
            (RecordKey::Account(account(number)), Arc::new(Record::Account { balance }))
        };
        let accounts = balances.iter().filter(|(_, balance)| *balance > 0).map(record);
        let epoch = EpochRecord { number: Epoch(0), start: Height(0), ends: None };
        let fixed = [
            (RecordKey::Validators, Record::Validators(validators())),
            (RecordKey::Parameters, Record::Parameters(Box::default())),
            (RecordKey::Epoch, Record::Epoch(epoch)),
        ];
        Memory(accounts.chain(fixed.map(|(key, record)| (key, Arc::new(record)))).collect())
    }

    fn balance(&self, number: u16) -> Option<Amount> {
        self.0.get(&RecordKey::Account(account(number))).map(|record| {
            let Record::Account { balance } = **record else { panic!("not an account: {record:?}") };
            balance
        })
    }

    fn total(&self) -> Amount {
        let balance =
            |record: &Arc<Record>| if let Record::Account { balance } = **record { balance } else { 0 };
        self.0.values().map(balance).sum()
    }

    /// Executes a block of these transactions and takes its changes over.
    fn run(&mut self, transactions: Vec<Arc<Transaction>>) -> Vec<Receipt> {
        let block = block_on(genesis(), transactions);
        let execution = execute(self, &RecentAnchors::default(), &block).expect("memory reads");
        self.take(&execution);
        execution.receipts
    }

    /// Takes over what a block changed.
    fn take(&mut self, execution: &Execution) {
        for (key, change) in &execution.changes {
            assert_eq!(self.0.get(key), change.before.as_ref(), "before is what there was");
            assert_ne!(change.before, change.after, "what did not change is no change");
            match &change.after {
                Some(record) => self.0.insert(key.clone(), record.clone()),
                None => self.0.remove(key),
            };
        }
    }

    /// Executes a block of one transaction without a fee and returns its outcome.
    fn outcome(&mut self, sender: u16, operations: Vec<Operation>) -> Outcome {
        let receipts = self.run(vec![transaction(sender, 0, 0, operations)]);
        receipts.into_iter().next().expect("a receipt for the transaction").outcome
    }
}

fn transaction(sender: u16, nonce: u64, fee: Amount, operations: Vec<Operation>) -> Arc<Transaction> {
    let payload = Payload {
        version: Payload::VERSION,
        chain: chain(),
        sender: account(sender),
        nonce,
        expires_at: GENESIS_TIME.plus_millis(1_000),
        fee,
        operations,
    };
    Arc::new(Transaction::sign(payload, &key(sender)))
}

fn transfer(to: u16, amount: Amount) -> Operation {
    Operation::Transfer { to: account(to), amount }
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: key.into(), value: value.into() }
}

fn delete(key: &str) -> Operation {
    Operation::Delete { key: key.into() }
}

fn failed(operation: u32, reason: Failure) -> Outcome {
    Outcome::Failed { operation, reason }
}

#[test]
fn a_transfer_moves_coins_and_an_emptied_account_has_no_record() {
    let mut state = Memory::with_balances(&[(1, 10)]);
    assert_eq!(state.outcome(1, vec![transfer(2, 4)]), Outcome::Ok);
    assert_eq!((state.balance(1), state.balance(2)), (Some(6), Some(4)));
    assert_eq!(state.outcome(1, vec![transfer(2, 6)]), Outcome::Ok);
    assert_eq!((state.balance(1), state.balance(2)), (None, Some(10)));
    assert_eq!(state, Memory::with_balances(&[(2, 10)]), "as if the first had never been");
    assert_eq!(state.outcome(1, vec![transfer(2, 1)]), failed(0, Failure::InsufficientFunds));
    assert_eq!(state.outcome(1, vec![transfer(2, 0)]), Outcome::Ok, "nothing can be had from nobody");
}

#[test]
fn a_transfer_to_oneself_needs_the_coins_and_changes_nothing() {
    let mut state = Memory::with_balances(&[(1, 10)]);
    let before = state.clone();
    assert_eq!(state.outcome(1, vec![transfer(1, 10)]), Outcome::Ok);
    assert_eq!(state.outcome(1, vec![transfer(1, 11)]), failed(0, Failure::InsufficientFunds));
    assert_eq!(state, before);
}

#[test]
fn a_balance_does_not_overflow() {
    // No genesis allows such a state; the arithmetic is checked all the same.
    let mut state = Memory::with_balances(&[(1, 1), (2, Amount::MAX)]);
    let before = state.clone();
    assert_eq!(state.outcome(1, vec![transfer(2, 1)]), failed(0, Failure::BalanceOverflow));
    assert_eq!(state, before);
}

#[test]
fn all_operations_happen_or_none() {
    let mut state = Memory::with_balances(&[(1, 10)]);
    let before = state.clone();
    let operations = vec![transfer(2, 4), put("a", "1"), transfer(2, 6), transfer(2, 1)];
    assert_eq!(state.outcome(1, operations), failed(3, Failure::InsufficientFunds));
    assert_eq!(state, before);
}

#[test]
fn the_fee_goes_to_the_proposer_and_stays_paid_when_the_transaction_fails() {
    let mut state = Memory::with_balances(&[(1, 10)]);
    let receipts = state.run(vec![transaction(1, 0, 3, vec![transfer(2, 100)])]);
    assert_eq!(receipts[0].outcome, failed(0, Failure::InsufficientFunds));
    assert_eq!((receipts[0].fee_paid, receipts[0].events.len()), (3, 0));
    assert_eq!((state.balance(1), state.balance(2), state.balance(PROPOSER)), (Some(7), None, Some(3)));
}

#[test]
fn what_there_is_of_an_unpaid_fee_is_taken_and_nothing_else_happens() {
    let mut state = Memory::with_balances(&[(1, 2)]);
    let receipts =
        state.run(vec![transaction(1, 0, 3, vec![put("a", "1")]), transaction(1, 1, 3, vec![put("a", "1")])]);
    assert_eq!(receipts[0].outcome, Outcome::FeeUnpaid);
    assert_eq!(receipts[1].outcome, Outcome::FeeUnpaid);
    assert_eq!((receipts[0].fee_paid, receipts[1].fee_paid), (2, 0));
    assert_eq!(state, Memory::with_balances(&[(PROPOSER, 2)]));
}

#[test]
fn a_proposer_that_sends_pays_itself() {
    let mut state = Memory::with_balances(&[(PROPOSER, 5)]);
    let before = state.clone();
    let receipts = state.run(vec![transaction(PROPOSER, 0, 5, vec![transfer(PROPOSER, 5)])]);
    assert_eq!((receipts[0].outcome.clone(), receipts[0].fee_paid), (Outcome::Ok, 5));
    assert_eq!(state, before);
}

#[test]
fn a_key_belongs_to_who_created_it() {
    let mut state = Memory::with_balances(&[]);
    assert_eq!(state.outcome(1, vec![put("a", "1")]), Outcome::Ok);
    assert_eq!(state.outcome(2, vec![put("a", "2")]), failed(0, Failure::NotOwner));
    assert_eq!(state.outcome(2, vec![delete("a")]), failed(0, Failure::NotOwner));
    assert_eq!(state.outcome(1, vec![delete("b")]), failed(0, Failure::KeyNotFound));
    assert_eq!(state.outcome(1, vec![delete("a"), delete("a")]), failed(1, Failure::KeyNotFound));
    assert_eq!(state.outcome(1, vec![put("a", "2"), delete("a")]), Outcome::Ok);
    assert_eq!(state.outcome(2, vec![put("a", "2")]), Outcome::Ok, "what is gone is anybody's");
}

#[test]
fn a_version_is_height_index_and_operation() {
    let mut state = Memory::with_balances(&[]);
    let receipts = state
        .run(vec![transaction(1, 0, 0, vec![]), transaction(1, 1, 0, vec![put("b", ""), put("a", "1")])]);
    let version = Version::new(Height(1), 1, 1);
    let record = Record::Key { owner: account(1), version, value: b"1".to_vec() };
    assert_eq!(state.0.get(&RecordKey::Key(b"a".to_vec())), Some(&Arc::new(record)));
    assert_eq!(receipts[1].events[1], LedgerEvent::KeyPut { key: b"a".to_vec(), version });
}

#[test]
fn checks_guard_what_comes_after_them() {
    let absent = || Condition::KeyAbsent { key: b"a".to_vec() };
    let present = || Condition::KeyPresent { key: b"a".to_vec() };
    let at = |version| Condition::KeyAtVersion { key: b"a".to_vec(), version };
    let equals = |value: &str| Condition::KeyEquals { key: b"a".to_vec(), value: value.into() };
    let first = Version::new(Height(1), 0, 1);

    let mut state = Memory::with_balances(&[]);
    for condition in [present(), at(first), equals("1")] {
        assert_eq!(state.outcome(1, vec![Operation::Check(condition)]), failed(0, Failure::KeyNotFound));
    }
    let create = vec![Operation::Check(absent()), put("a", "1"), Operation::Check(present())];
    assert_eq!(state.outcome(1, create.clone()), Outcome::Ok, "each operation sees those before it");
    assert_eq!(state.outcome(1, create), failed(0, Failure::KeyExists));
    for (condition, outcome) in [
        (present(), Outcome::Ok),
        (at(first), Outcome::Ok),
        (equals("1"), Outcome::Ok),
        (at(Version(first.0 + 1)), failed(0, Failure::WrongVersion)),
        (equals("2"), failed(0, Failure::WrongValue)),
    ] {
        // Anyone may check a key, and what guards a transfer keeps it from happening.
        let before = state.clone();
        assert_eq!(state.outcome(2, vec![Operation::Check(condition), transfer(3, 0)]), outcome);
        assert_eq!(state, before);
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || prop_oneof![Just("a"), Just("b")];
    prop_oneof![
        4 => (0..4u16, 0..40u128).prop_map(|(to, amount)| transfer(to, amount)),
        2 => (name(), name()).prop_map(|(key, value)| put(key, value)),
        1 => name().prop_map(delete),
        1 => name().prop_map(|key| Operation::Check(Condition::KeyPresent { key: key.into() })),
        1 => name().prop_map(|key| Operation::Check(Condition::KeyAbsent { key: key.into() })),
    ]
}

fn transactions() -> impl Strategy<Value = Vec<(u16, Amount, Vec<Operation>)>> {
    let sender = prop_oneof![4 => 0..4u16, 1 => Just(PROPOSER)];
    proptest::collection::vec((sender, 0..6u128, proptest::collection::vec(operation(), 1..4)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn coins_are_neither_made_nor_lost(transactions in transactions()) {
        let mut state = Memory::with_balances(&[(0, 50), (1, 20), (2, 3)]);
        let signed = (0..).zip(transactions).map(|(nonce, (sender, fee, operations))| {
            transaction(sender, nonce, fee, operations)
        });
        state.run(signed.collect());
        prop_assert_eq!(state.total(), 73);
        let empty = Record::Account { balance: 0 };
        prop_assert!(state.0.values().all(|record| **record != empty));
    }

    #[test]
    fn a_failed_transaction_does_what_paying_its_fee_does(transactions in transactions()) {
        let mut state = Memory::with_balances(&[(0, 50), (1, 20), (2, 3)]);
        for (nonce, (sender, fee, operations)) in (0..).zip(transactions) {
            let mut paid_only = state.clone();
            let receipts = state.run(vec![transaction(sender, nonce, fee, operations)]);
            if receipts[0].outcome != Outcome::Ok {
                // Paying the fee and nothing more: the same transaction with a check that always fails.
                let never = Operation::Check(Condition::KeyPresent { key: b"never".to_vec() });
                let expected = paid_only.run(vec![transaction(sender, nonce, fee, vec![never])]);
                prop_assert_eq!(&state, &paid_only);
                prop_assert_eq!(receipts[0].fee_paid, expected[0].fee_paid);
                prop_assert!(receipts[0].events.is_empty());
            }
        }
    }

    #[test]
    fn a_block_does_what_its_transactions_do_one_by_one(transactions in transactions()) {
        let start = Memory::with_balances(&[(0, 50), (1, 20), (2, 3)]);
        // Without keys: their versions name the place in the block.
        let signed: Vec<_> = (0..).zip(transactions).map(|(nonce, (sender, fee, mut operations))| {
            operations.retain(|operation| matches!(operation, Operation::Transfer { .. }));
            transaction(sender, nonce, fee, operations)
        }).collect();
        let (mut whole, mut single) = (start.clone(), start);
        let receipts = whole.run(signed.clone());
        for (receipt, transaction) in receipts.iter().zip(signed) {
            prop_assert_eq!(&single.run(vec![transaction])[0].outcome, &receipt.outcome);
        }
        prop_assert_eq!(whole, single);
    }
}
