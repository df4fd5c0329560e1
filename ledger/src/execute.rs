//! Executing a block: what it makes of the state, as a pure function of the records it reads and of the block.
//!
//! Nothing here refuses a block. What depends on the state (a balance, the owner of a key) makes a transaction fail,
//! with a receipt that says why (`docs/pbft.md §3.1`), so that validating a block never waits for executing another.
//!
//! For each transaction, in order:
//! 1. *The fee*: min(fee, balance of the sender) goes to the account of the block's proposer. If that is less than the
//!    fee, the outcome is `FeeUnpaid` and nothing else happens.
//! 2. *The operations*, one after the other, each seeing what those before it did. The first that fails undoes them
//!    all; the fee stays paid.
//!
//! Approvals and the ends of epochs are in [`epochs`].
//!
//! Two rules of the state are kept here. An account with a balance of 0 has no record, so that the root depends on
//! balances and not on history. And the sum of all balances never changes: the genesis refuses a sum that does not fit
//! [`Amount`], so no balance can overflow, and arithmetic is checked all the same.

mod epochs;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::anchors::RecentAnchors;
use crate::block::{Block, Header};
use crate::epoch::EpochStart;
use crate::operation::{Condition, Operation};
use crate::primitives::{Account, Amount, Height, UnixMillis, Version};
use crate::receipt::{Failure, LedgerEvent, Outcome, Receipt};
use crate::state::{Record, RecordKey};
use crate::store::StoreError;
use crate::transaction::Transaction;

/// Where the records are read from.
pub trait Records {
    /// The record under a key as it is before the block.
    ///
    /// # Errors
    /// The store's.
    fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError>;
}

/// What a block did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// One for each transaction, in their order.
    pub receipts: Vec<Receipt>,
    /// The records that are not as they were.
    pub changes: BTreeMap<RecordKey, Change>,
    /// When the state wants a block although nobody submits anything; `None`: it does not.
    pub due: Option<UnixMillis>,
    /// The last height of the block's epoch, once that is decided.
    pub epoch_ends: Option<Height>,
    /// The epoch that begins above the block, if the block is the last of its own.
    pub next_epoch: Option<EpochStart>,
}

/// A record before and after a block; `None`: there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As the block found it.
    pub before: Option<Arc<Record>>,
    /// As the block left it.
    pub after: Option<Arc<Record>>,
}

/// Executes a block on the state its parent left. `anchors` are of the headers below the block.
///
/// # Errors
/// The store's, when a record cannot be read; then nothing is known about the block.
pub fn execute(
    records: &impl Records,
    anchors: &RecentAnchors,
    block: &Block,
) -> Result<Execution, StoreError> {
    let mut working = Working { records, anchors, touched: BTreeMap::new(), journal: Vec::new() };
    let mut execution = Execution::default();
    working.begin_block(block.header())?;
    for (index, transaction) in (0u32..).zip(block.transactions()) {
        let place = Place { header: block.header(), index };
        execution.receipts.push(working.transaction(place, transaction)?);
    }
    working.end_block(block, &mut execution)?;
    execution.changes = working.touched;
    execution.changes.retain(|_, change| change.before != change.after);
    Ok(execution)
}

/// Where a transaction stands in the chain.
#[derive(Clone, Copy)]
struct Place<'a> {
    header: &'a Header,
    index: u32,
}

/// Why a transaction does not go on: a rule it broke (it fails, the block goes on) or the store (the block cannot be
/// executed).
enum Stop {
    Failed(Failure),
    Store(StoreError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Stop::Store(error)
    }
}

/// The state in the middle of a block: the records touched so far, over those it started from.
struct Working<'a, R> {
    records: &'a R,
    anchors: &'a RecentAnchors,
    touched: BTreeMap<RecordKey, Change>,
    /// What undoes the operations of the transaction at hand: each record set, as it was, oldest first.
    journal: Vec<(RecordKey, Option<Arc<Record>>)>,
}

impl<R: Records> Working<'_, R> {
    fn transaction(&mut self, place: Place<'_>, transaction: &Transaction) -> Result<Receipt, StoreError> {
        let fee = transaction.payload().fee;
        let fee_paid = self.take_fee(transaction.sender(), place.header.proposer, fee)?;
        let mut events = Vec::new();
        let outcome = if fee_paid < fee {
            Outcome::FeeUnpaid
        } else {
            self.journal.clear();
            self.operations(place, transaction, &mut events)?
        };
        if outcome != Outcome::Ok {
            events.clear();
        }
        Ok(Receipt {
            id: transaction.id(),
            height: place.header.height,
            index: place.index,
            fee_paid,
            outcome,
            events,
        })
    }

    /// Moves the fee, or what there is of it, and returns how much it was.
    fn take_fee(&mut self, sender: Account, proposer: Account, fee: Amount) -> Result<Amount, StoreError> {
        let balance = self.balance(sender)?;
        let paid = fee.min(balance);
        if paid > 0 {
            self.set_balance(sender, balance - paid)?;
            let proposers = self.balance(proposer)?;
            let sum =
                proposers.checked_add(paid).expect("the sum of all balances fits, and no coins are made");
            self.set_balance(proposer, sum)?;
        }
        Ok(paid)
    }

    fn operations(
        &mut self,
        place: Place<'_>,
        transaction: &Transaction,
        events: &mut Vec<LedgerEvent>,
    ) -> Result<Outcome, StoreError> {
        for (number, operation) in (0u32..).zip(&transaction.payload().operations) {
            let version = Version::new(place.header.height, place.index, number);
            match self.operation(place.header, transaction.sender(), version, operation, events) {
                Ok(()) => {}
                Err(Stop::Store(error)) => return Err(error),
                Err(Stop::Failed(reason)) => {
                    self.undo();
                    return Ok(Outcome::Failed { operation: number, reason });
                }
            }
        }
        Ok(Outcome::Ok)
    }

    fn operation(
        &mut self,
        header: &Header,
        sender: Account,
        version: Version,
        operation: &Operation,
        events: &mut Vec<LedgerEvent>,
    ) -> Result<(), Stop> {
        match operation {
            Operation::Transfer { to, amount } => {
                self.transfer(sender, *to, *amount)?;
                events.push(LedgerEvent::Transferred { from: sender, to: *to, amount: *amount });
            }
            Operation::Put { key, value } => {
                if let Some(entry) = self.key(key)? {
                    entry.must_belong_to(sender)?;
                }
                let record = Record::Key { owner: sender, version, value: value.clone() };
                self.set(RecordKey::Key(key.clone()), Some(Arc::new(record)))?;
                events.push(LedgerEvent::KeyPut { key: key.clone(), version });
            }
            Operation::Delete { key } => {
                self.key(key)?.ok_or(Failure::KeyNotFound)?.must_belong_to(sender)?;
                self.set(RecordKey::Key(key.clone()), None)?;
                events.push(LedgerEvent::KeyDeleted { key: key.clone() });
            }
            Operation::Check(condition) => self.check(condition)?,
            Operation::Approve { change } => self.approve(header, sender, version, change, events)?,
        }
        Ok(())
    }

    fn transfer(&mut self, from: Account, to: Account, amount: Amount) -> Result<(), Stop> {
        let left = self.balance(from)?.checked_sub(amount).ok_or(Failure::InsufficientFunds)?;
        self.set_balance(from, left)?;
        let sum = self.balance(to)?.checked_add(amount).ok_or(Failure::BalanceOverflow)?;
        self.set_balance(to, sum)?;
        Ok(())
    }

    fn check(&mut self, condition: &Condition) -> Result<(), Stop> {
        let found = self.key(condition.key())?;
        match condition {
            Condition::KeyAbsent { .. } => match found {
                Some(_) => Err(Failure::KeyExists.into()),
                None => Ok(()),
            },
            Condition::KeyPresent { .. } => {
                found.ok_or(Failure::KeyNotFound)?;
                Ok(())
            }
            Condition::KeyAtVersion { version, .. } => {
                let holds = found.ok_or(Failure::KeyNotFound)?.version() == *version;
                if holds { Ok(()) } else { Err(Failure::WrongVersion.into()) }
            }
            Condition::KeyEquals { value, .. } => {
                let holds = found.ok_or(Failure::KeyNotFound)?.value() == value;
                if holds { Ok(()) } else { Err(Failure::WrongValue.into()) }
            }
        }
    }

    fn balance(&mut self, account: Account) -> Result<Amount, StoreError> {
        match self.read(RecordKey::Account(account))?.as_deref() {
            Some(Record::Account { balance }) => Ok(*balance),
            None => Ok(0),
            Some(other) => unreachable!("records are read with their kind checked, an account is {other:?}"),
        }
    }

    fn set_balance(&mut self, account: Account, balance: Amount) -> Result<(), StoreError> {
        let record = (balance > 0).then(|| Arc::new(Record::Account { balance }));
        self.set(RecordKey::Account(account), record)
    }

    fn key(&mut self, key: &[u8]) -> Result<Option<KeyEntry>, StoreError> {
        Ok(self.read(RecordKey::Key(key.to_vec()))?.map(KeyEntry))
    }

    /// The record as it is now.
    fn read(&mut self, key: RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.touch(key)?.after.clone())
    }

    fn set(&mut self, key: RecordKey, record: Option<Arc<Record>>) -> Result<(), StoreError> {
        let change = self.touch(key.clone())?;
        let before = std::mem::replace(&mut change.after, record);
        self.journal.push((key, before));
        Ok(())
    }

    /// The record among those touched, where it is put the first time it is asked for.
    fn touch(&mut self, key: RecordKey) -> Result<&mut Change, StoreError> {
        use std::collections::btree_map::Entry;
        match self.touched.entry(key) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let record = self.records.record(entry.key())?;
                Ok(entry.insert(Change { before: record.clone(), after: record }))
            }
        }
    }

    /// Takes back what the operations of the transaction at hand did.
    fn undo(&mut self) {
        for (key, before) in self.journal.drain(..).rev() {
            self.touched.get_mut(&key).expect("what was set was touched").after = before;
        }
    }
}

/// A record known to be a key's.
struct KeyEntry(Arc<Record>);

impl KeyEntry {
    fn fields(&self) -> (&Account, &Version, &[u8]) {
        match &*self.0 {
            Record::Key { owner, version, value } => (owner, version, value),
            other @ (Record::Account { .. }
            | Record::Validators(_)
            | Record::Parameters(_)
            | Record::Approval(_)
            | Record::Epoch(_)) => {
                unreachable!("records are read with their kind checked, a key is {other:?}")
            }
        }
    }

    fn version(&self) -> Version {
        *self.fields().1
    }

    fn value(&self) -> &[u8] {
        self.fields().2
    }

    fn must_belong_to(&self, sender: Account) -> Result<(), Failure> {
        if *self.fields().0 == sender { Ok(()) } else { Err(Failure::NotOwner) }
    }
}

#[cfg(test)]
mod tests;
