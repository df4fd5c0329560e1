//! The transactions that wait at one node, in the order in which they came.
//!
//! It is simpler than a node's pool (no fees held against balances, no turns between senders), but keeps to what the
//! engine relies on: what waits is handed to every validator after half the base wait and is eligible from then on
//! (`docs/pbft.md` §5), and what is in accepted blocks does not count as waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_consensus::{Backlog, Mono};
use quorate_crypto::Hash;
use quorate_ledger::{Transaction, UnixMillis};

/// Transactions of one node; they die with its process.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    pending: BTreeMap<u64, Pending>,
    by_id: BTreeMap<Hash, u64>,
    by_hash: BTreeMap<Hash, u64>,
    next: u64,
    changed: bool,
}

#[derive(Debug)]
struct Pending {
    transaction: Arc<Transaction>,
    arrived: Mono,
    eligible: Option<Mono>,
}

impl Pool {
    /// Takes a transaction in whose signature holds; false if its id is here already.
    pub(crate) fn insert(&mut self, transaction: Arc<Transaction>, now: Mono) -> bool {
        if self.by_id.contains_key(&transaction.id()) {
            return false;
        }
        self.by_id.insert(transaction.id(), self.next);
        self.by_hash.insert(transaction.hash(), self.next);
        self.pending.insert(self.next, Pending { transaction, arrived: now, eligible: None });
        self.next += 1;
        self.changed = true;
        true
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether a transaction waits here.
    pub(crate) fn contains(&self, id: &Hash) -> bool {
        self.by_id.contains_key(id)
    }

    /// A transaction by its hash.
    pub(crate) fn by_hash(&self, hash: &Hash) -> Option<Arc<Transaction>> {
        self.by_hash.get(hash).map(|place| Arc::clone(&self.pending[place].transaction))
    }

    /// All of them, oldest first.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = Arc<Transaction>> {
        self.pending.values().map(|pending| Arc::clone(&pending.transaction))
    }

    /// Lets go of one that was committed.
    pub(crate) fn remove(&mut self, id: &Hash) {
        if let Some(place) = self.by_id.remove(id) {
            let pending = self.pending.remove(&place).expect("both maps name the same transactions");
            self.by_hash.remove(&pending.transaction.hash());
            self.changed = true;
        }
    }

    /// Lets go of those that no block of `time` or later can hold.
    pub(crate) fn expire(&mut self, time: UnixMillis) {
        let ids: Vec<Hash> = self
            .pending
            .values()
            .filter(|pending| pending.transaction.expires_at() <= time)
            .map(|pending| pending.transaction.id())
            .collect();
        ids.iter().for_each(|id| self.remove(id));
    }

    /// Those that have waited `wait_ms`: they are to be handed to everybody, and are eligible from now on.
    pub(crate) fn hand_out(&mut self, now: Mono, wait_ms: u64) -> Vec<Arc<Transaction>> {
        self.changed = true;
        self.pending
            .values_mut()
            .filter(|pending| pending.arrived.plus_millis(wait_ms) <= now)
            .map(|pending| {
                pending.eligible.get_or_insert(now);
                Arc::clone(&pending.transaction)
            })
            .collect()
    }

    /// Whether something has changed since this was asked last.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What waits, without those that `included` knows in accepted blocks.
    pub(crate) fn backlog(&self, included: impl Fn(&Hash) -> bool) -> Backlog {
        let waiting = self.pending.values().filter(|pending| !included(&pending.transaction.id()));
        waiting.fold(Backlog::default(), |sum, pending| Backlog {
            bytes: sum.bytes + pending.transaction.size() as u64,
            count: sum.count + 1,
            oldest: sum.oldest.or(Some(pending.arrived)),
            eligible: earlier(sum.eligible, pending.eligible),
        })
    }
}

fn earlier(one: Option<Mono>, other: Option<Mono>) -> Option<Mono> {
    one.into_iter().chain(other).min()
}
