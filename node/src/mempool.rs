//! The transactions that wait: who may put in how many, whose turn is next, and what is left when blocks come.
//!
//! Rules (`docs/pbft.md` §3 and §5):
//! - An account has at most [`Limits::per_account_max`] transactions here, and together their fees are at most its
//!   committed balance. A pool at its limits refuses; what it took it keeps until the transaction is included or has
//!   expired, so that `Ok` to a client means something.
//! - A client is told at once that its transaction cannot pay what it moves ([`Mempool::check_funds`]). That is advice, no
//!   rule of the chain: only the committed balance is looked at, and what comes from a peer is not judged by it, since two
//!   pools may see different balances for a moment and neither may be blamed for what the other left out.
//! - Senders are taken in turn, each in order of arrival; a sender that was served goes behind those that were not.
//!   One account with thousands of transactions delays another's by one place, not by thousands.
//! - *Expired* is a fact of the chain: the tip's time has reached `expires_at`. Before that, when only the wall clock has,
//!   a transaction is *lapsed*: kept, but no longer counted as work, since no honest primary could include it.
//! - One payload can have several valid signatures, so several hashes for one id: the first that came is kept.
//! - A transaction in a block that was accepted and is not yet delivered is *in flight*: it is no work, and becomes work
//!   again when the block is given up.
//!
//! It is pure: no clock, no lock, no thread; what it is told is what it knows. Order comes from sequence numbers in
//! ordered maps, never from hashing.

mod handing;
mod incoming;
#[cfg(test)]
mod tests;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use quorate_consensus::{Backlog, Mono};
use quorate_crypto::Hash;
use quorate_ledger::{Account, Amount, Block, Height, Transaction, TransactionRules, UnixMillis};

use self::incoming::{Incoming, needed};

/// The most transactions, bytes, and transactions of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Transactions in all.
    pub(crate) transactions_max: usize,
    /// Encoded bytes in all.
    pub(crate) bytes_max: usize,
    /// Transactions of one account.
    pub(crate) per_account_max: usize,
}

/// What became of a transaction that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It waits now.
    New,
    /// One of its id waits already.
    Known,
}

/// Why the pool does not take a transaction now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No room for anybody's.
    #[error("the pool is full")]
    Full,
    /// No room for this sender's.
    #[error("{max} transactions of the account wait already")]
    AccountFull {
        /// The limit.
        max: usize,
    },
    /// The sender's balance pays the fees of what waits, but not this one's too.
    #[error("the balance of {balance} does not pay this fee beside the {pending} of what waits")]
    FeesExceedBalance {
        /// Committed balance.
        balance: Amount,
        /// Fees of what waits or was included and is not yet executed.
        pending: Amount,
    },
    /// The sender's balance does not pay what this transaction moves and its fee, and nothing here pays the sender.
    #[error("the balance of {balance} at height {height} does not pay the {needed} that it takes")]
    InsufficientFunds {
        /// Committed balance.
        balance: Amount,
        /// The height it is of.
        height: Height,
        /// What is moved and the fee; the largest number there is if it is more than that.
        needed: Amount,
    },
}

/// Place in the order of arrival.
type Sequence = u64;
/// Place in the order of senders.
type Turn = u64;

#[derive(Debug)]
struct Entry {
    transaction: Arc<Transaction>,
    sequence: Sequence,
    arrived: Mono,
    /// When it had been handed to every validator.
    eligible: Option<Mono>,
    /// Whether the rules of the epoch let it into a block; it stays all the same, since later ones may.
    fit: bool,
    /// Whether it stands in the queues of what may be proposed.
    waiting: bool,
}

#[derive(Debug, Default)]
struct Sender {
    /// Those that may be proposed, in order of arrival.
    waiting: BTreeMap<Sequence, Arc<Transaction>>,
    /// Its place among the senders, while any waits.
    turn: Option<Turn>,
    /// Transactions in the pool.
    count: usize,
    /// Fees of those in the pool and of those included and not yet executed.
    fees: Amount,
    /// Transactions included and not yet executed that paid a fee.
    settling: usize,
}

/// The transactions that wait.
#[derive(Debug)]
pub(crate) struct Mempool {
    limits: Limits,
    entries: HashMap<Hash, Entry>,
    /// Ids by transaction hash.
    ids: HashMap<Hash, Hash>,
    senders: HashMap<Account, Sender>,
    /// Senders with something that may be proposed, the one served longest ago first.
    turns: BTreeMap<Turn, Account>,
    /// What may be proposed, oldest first.
    waiting: BTreeMap<Sequence, Hash>,
    waiting_bytes: u64,
    /// What may be proposed and was not handed to the validators yet, oldest first.
    unhanded: BTreeSet<Sequence>,
    /// What may be proposed and was handed to the validators, by when.
    eligible: BTreeSet<(Mono, Sequence)>,
    /// Everything, by expiry.
    expiry: BTreeMap<(UnixMillis, Sequence), Hash>,
    /// All that expires here or earlier is lapsed: the wall clock as it was last, which may be set back.
    lapsed_until: UnixMillis,
    /// Blocks accepted and not yet delivered.
    accepted: HashMap<Hash, Arc<Block>>,
    /// In how many of those an id stands.
    in_flight: HashMap<Hash, usize>,
    /// Fees that are owed until the block at that height is executed.
    settling: VecDeque<(Height, Account, Amount)>,
    incoming: Incoming,
    bytes: usize,
    next_sequence: Sequence,
    next_turn: Turn,
}

impl Mempool {
    /// An empty pool.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            ids: HashMap::new(),
            senders: HashMap::new(),
            turns: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            unhanded: BTreeSet::new(),
            eligible: BTreeSet::new(),
            expiry: BTreeMap::new(),
            lapsed_until: UnixMillis(0),
            accepted: HashMap::new(),
            in_flight: HashMap::new(),
            settling: VecDeque::new(),
            incoming: Incoming::default(),
            bytes: 0,
            next_sequence: 0,
            next_turn: 0,
        }
    }

    /// Takes a transaction that is valid on its own, verified, not expired and not in the chain. `balance` is asked for
    /// the sender's committed balance only if there is a fee to pay.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub(crate) fn admit(
        &mut self,
        transaction: Arc<Transaction>,
        now: Mono,
        balance: impl FnOnce() -> Amount,
    ) -> Result<Admitted, Refusal> {
        let id = transaction.id();
        if self.entries.contains_key(&id) {
            return Ok(Admitted::Known);
        }
        if self.entries.len() >= self.limits.transactions_max
            || self.bytes.saturating_add(transaction.size()) > self.limits.bytes_max
        {
            return Err(Refusal::Full);
        }
        let fee = transaction.payload().fee;
        let fees = self.check_sender(&transaction.sender(), fee, balance)?;

        let sender = self.senders.entry(transaction.sender()).or_default();
        sender.count += 1;
        sender.fees = fees;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.bytes += transaction.size();
        self.ids.insert(transaction.hash(), id);
        self.expiry.insert((transaction.expires_at(), sequence), id);
        self.incoming.expect(&transaction);
        self.entries.insert(
            id,
            Entry { transaction, sequence, arrived: now, eligible: None, fit: true, waiting: false },
        );
        self.settle_place(&id);
        Ok(Admitted::New)
    }

    /// The sender's fees with one more, if it may have one more.
    fn check_sender(
        &self,
        account: &Account,
        fee: Amount,
        balance: impl FnOnce() -> Amount,
    ) -> Result<Amount, Refusal> {
        let (count, pending) = self.senders.get(account).map_or((0, 0), |sender| (sender.count, sender.fees));
        if count >= self.limits.per_account_max {
            return Err(Refusal::AccountFull { max: self.limits.per_account_max });
        }
        if fee == 0 {
            return Ok(pending);
        }
        let balance = balance();
        match pending.checked_add(fee) {
            Some(fees) if fees <= balance => Ok(fees),
            Some(_) | None => Err(Refusal::FeesExceedBalance { balance, pending }),
        }
    }

    /// Whether a client's transaction can pay what it moves: from the sender's committed balance, or because a transfer to
    /// the sender is on its way here. `balance` is asked for only if something is moved.
    ///
    /// # Errors
    /// [`Refusal::InsufficientFunds`].
    pub(crate) fn check_funds(
        &self,
        transaction: &Transaction,
        balance: impl FnOnce() -> (Height, Amount),
    ) -> Result<(), Refusal> {
        let Some(needed) = needed(transaction) else { return Ok(()) };
        if self.incoming.is_expected_by(&transaction.sender()) {
            return Ok(());
        }
        let (height, balance) = balance();
        if needed <= balance { Ok(()) } else { Err(Refusal::InsufficientFunds { balance, height, needed }) }
    }

    /// Says which blocks are accepted and not yet delivered. What they hold is no work; what only a block that is no
    /// longer among them held is work again. Returns those blocks, in no order.
    pub(crate) fn accept(&mut self, blocks: &[Arc<Block>]) -> Vec<Arc<Block>> {
        let kept: BTreeSet<Hash> = blocks.iter().map(|block| block.hash()).collect();
        let gone: Vec<Arc<Block>> =
            self.accepted.values().filter(|block| !kept.contains(&block.hash())).cloned().collect();
        for block in blocks {
            self.take_off(block);
        }
        for block in &gone {
            self.put_back(block);
        }
        gone
    }

    /// Counts a block as accepted until [`Mempool::accept`] says which are: one that was just built or checked.
    pub(crate) fn take_off(&mut self, block: &Arc<Block>) {
        if self.accepted.insert(block.hash(), Arc::clone(block)).is_some() {
            return;
        }
        for transaction in block.transactions() {
            let id = transaction.id();
            *self.in_flight.entry(id).or_default() += 1;
            self.settle_place(&id);
            self.move_behind(&transaction.sender());
        }
    }

    fn put_back(&mut self, block: &Block) {
        self.accepted.remove(&block.hash());
        for transaction in block.transactions() {
            let id = transaction.id();
            let count = self.in_flight.get_mut(&id).expect("each id of an accepted block was counted");
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&id);
            }
            self.settle_place(&id);
        }
    }

    /// Forgets what a committed block holds. Its fees are owed until [`Mempool::settle`].
    pub(crate) fn include(&mut self, block: &Arc<Block>) {
        self.incoming.commit(block);
        for transaction in block.transactions() {
            let Some(kept) = self.remove(&transaction.id()) else { continue };
            let fee = kept.payload().fee;
            let account = kept.sender();
            if fee > 0 {
                let sender = self.senders.entry(account).or_default();
                sender.settling += 1;
                self.settling.push_back((block.height(), account, fee));
            } else {
                self.forget_idle(&account);
            }
        }
    }

    /// Says that balances now show what the blocks up to `height` cost.
    pub(crate) fn settle(&mut self, height: Height) {
        self.incoming.execute(height);
        while let Some((owed, account, fee)) = self.settling.front().copied() {
            if owed > height {
                break;
            }
            self.settling.pop_front();
            let sender = self.senders.get_mut(&account).expect("a sender that owes is kept");
            sender.settling -= 1;
            sender.fees -= fee;
            self.forget_idle(&account);
        }
    }

    /// Forgets what can be in no block any more, now that one of `time` is committed; returns the ids, with when
    /// each expired.
    pub(crate) fn expire(&mut self, time: UnixMillis) -> Vec<(Hash, UnixMillis)> {
        let mut expired = Vec::new();
        while let Some(((expires_at, _), id)) = self.expiry.first_key_value() {
            if *expires_at > time {
                break;
            }
            let (id, expires_at) = (*id, *expires_at);
            let transaction = self.remove(&id).expect("what has an expiry is in the pool");
            let sender = self.senders.get_mut(&transaction.sender()).expect("it had one here until now");
            sender.fees -= transaction.payload().fee;
            self.forget_idle(&transaction.sender());
            expired.push((id, expires_at));
        }
        expired
    }

    /// Stops counting as work what no honest primary would include at this time of the wall clock, and counts again what
    /// one that was set back allows again: a clock that is wrong for a moment must not mute the pool for longer.
    pub(crate) fn lapse(&mut self, wall: UnixMillis) {
        let (earlier, later) = (wall.min(self.lapsed_until), wall.max(self.lapsed_until));
        if earlier == later {
            return;
        }
        let from = (UnixMillis(earlier.0.saturating_add(1)), 0);
        let between: Vec<Hash> =
            self.expiry.range(from..=(later, Sequence::MAX)).map(|(_, id)| *id).collect();
        self.lapsed_until = wall;
        for id in between {
            self.settle_place(&id);
        }
    }

    /// Takes off its place what the rules of an epoch that begins refuse, and puts back what they allow again: nobody is to
    /// be blamed for leaving out what no block may hold.
    pub(crate) fn enter(&mut self, rules: &TransactionRules) {
        let ids: Vec<Hash> = self.entries.keys().copied().collect();
        for id in ids {
            let entry = self.entries.get_mut(&id).expect("its key was read above");
            entry.fit = entry.transaction.check(rules).is_ok();
            self.settle_place(&id);
        }
    }

    /// When the next transaction lapses.
    pub(crate) fn next_lapse(&self) -> Option<UnixMillis> {
        let from = (UnixMillis(self.lapsed_until.0.saturating_add(1)), 0);
        self.expiry.range(from..).next().map(|((expires_at, _), _)| *expires_at)
    }

    /// What the engine may want to know of the work that waits.
    pub(crate) fn backlog(&self) -> Backlog {
        Backlog {
            bytes: self.waiting_bytes,
            count: self.waiting.len() as u64,
            oldest: self.waiting.first_key_value().map(|(_, id)| self.entries[id].arrived),
            eligible: self.eligible.first().map(|(since, _)| *since),
        }
    }

    /// The transaction of this hash.
    pub(crate) fn transaction(&self, hash: &Hash) -> Option<Arc<Transaction>> {
        let id = self.ids.get(hash)?;
        Some(Arc::clone(&self.entries[id].transaction))
    }

    /// Whether one of this id is here.
    pub(crate) fn contains(&self, id: &Hash) -> bool {
        self.entries.contains_key(id)
    }

    /// The number of transactions.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Their encoded size.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a transaction into the queues of what may be proposed, or takes it out, as its state demands: the one place
    /// where that is decided.
    fn settle_place(&mut self, id: &Hash) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let alive = entry.transaction.expires_at() > self.lapsed_until;
        let waits = entry.fit && alive && !self.in_flight.contains_key(id);
        if waits == entry.waiting {
            return;
        }
        entry.waiting = waits;
        let (sequence, size) = (entry.sequence, entry.transaction.size() as u64);
        let account = entry.transaction.sender();
        let sender = self.senders.get_mut(&account).expect("every transaction here has its sender");
        if waits {
            self.waiting.insert(sequence, *id);
            self.waiting_bytes += size;
            sender.waiting.insert(sequence, Arc::clone(&entry.transaction));
            match entry.eligible {
                Some(since) => self.eligible.insert((since, sequence)),
                None => self.unhanded.insert(sequence),
            };
            if sender.turn.is_none() {
                sender.turn = Some(self.next_turn);
                self.turns.insert(self.next_turn, account);
                self.next_turn += 1;
            }
        } else {
            self.waiting.remove(&sequence);
            self.waiting_bytes -= size;
            sender.waiting.remove(&sequence);
            match entry.eligible {
                Some(since) => self.eligible.remove(&(since, sequence)),
                None => self.unhanded.remove(&sequence),
            };
            if sender.waiting.is_empty() {
                let turn = sender.turn.take().expect("a sender with something waiting has a turn");
                self.turns.remove(&turn);
            }
        }
    }

    /// A sender that was served goes behind the others.
    fn move_behind(&mut self, account: &Account) {
        let Some(sender) = self.senders.get_mut(account) else { return };
        let Some(turn) = sender.turn.as_mut() else { return };
        self.turns.remove(turn);
        *turn = self.next_turn;
        self.turns.insert(*turn, *account);
        self.next_turn += 1;
    }

    /// Takes a transaction out of everything but its sender's fees.
    fn remove(&mut self, id: &Hash) -> Option<Arc<Transaction>> {
        let entry = self.entries.get(id)?;
        // Out of the queues first: it counts as in flight for a moment, which `settle_place` understands.
        if entry.waiting {
            *self.in_flight.entry(*id).or_default() += 1;
            self.settle_place(id);
            self.in_flight.remove(id);
        }
        let entry = self.entries.remove(id).expect("it was there above");
        self.ids.remove(&entry.transaction.hash());
        self.expiry.remove(&(entry.transaction.expires_at(), entry.sequence));
        self.bytes -= entry.transaction.size();
        self.incoming.forget(&entry.transaction);
        let sender = self.senders.get_mut(&entry.transaction.sender()).expect("it had one here until now");
        sender.count -= 1;
        Some(entry.transaction)
    }

    /// Forgets a sender that has nothing here and owes nothing.
    fn forget_idle(&mut self, account: &Account) {
        if self.senders.get(account).is_some_and(|sender| sender.count == 0 && sender.settling == 0) {
            let sender = self.senders.remove(account).expect("it was there above");
            assert!(sender.fees == 0, "a sender with nothing here owes nothing");
        }
    }
}
