//! Clients: they submit transactions at some node, ask again elsewhere when nothing comes of it, and remember what they
//! were told.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::{Account, Amount, Height, Operation, Payload, RecordKey, Transaction};

use crate::machine::Chain;
use crate::random::{Random, Stream};

/// What clients do in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// How many transactions they make.
    pub transactions: u32,
    /// Milliseconds from one to the next.
    pub every_ms: RangeInclusive<u64>,
    /// How many accounts they own.
    pub accounts: u8,
    /// After how many milliseconds without an outcome they submit the same bytes at another node.
    pub retry_ms: u64,
    /// So many of 1,000 transactions go to two nodes at once.
    pub double_permille: u32,
    /// So many of 1,000 transactions expire within `short_expiry_ms`.
    pub short_permille: u32,
    /// How soon those expire.
    pub short_expiry_ms: u64,
    /// When they stop, if not at a number of transactions.
    pub lasting: Option<Lasting>,
}

/// Clients go on until both are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// So long since the start.
    pub for_ms: u64,
    /// So many blocks.
    pub blocks: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            transactions: 200,
            every_ms: 1..=40,
            accounts: 5,
            retry_ms: 1_000,
            double_permille: 100,
            short_permille: 30,
            short_expiry_ms: 300,
            lasting: None,
        }
    }
}

impl Workload {
    /// Nobody submits anything.
    #[must_use]
    pub fn none() -> Self {
        Self { transactions: 0, ..Self::default() }
    }
}

/// What each of the clients' accounts has at the start; small enough that transfers fail at times.
const START_BALANCE: Amount = 1_000;
/// The largest transfer.
const TRANSFER_MAX: u64 = 300;
/// So many of 1,000 transactions set a key instead of moving coins.
const PUT_PERMILLE: u32 = 150;
/// So many of 1,000 of the others move coins twice.
const TWO_TRANSFERS_PERMILLE: u32 = 200;

/// How many keys they set.
const KEYS: u64 = 8;
/// So many of 1,000 questions are about a key.
const KEY_QUESTIONS_PERMILLE: u32 = 400;
/// So many of 1,000 answers are to be proven.
const PROOFS_PERMILLE: u32 = 200;

/// Milliseconds from one transaction to the next where clients hurry: each finds its own block.
const HURRY_MS: u64 = 25;

/// All clients together.
#[derive(Debug)]
pub(crate) struct Clients {
    workload: Workload,
    keys: Vec<SecretKey>,
    random: Random,
    made: u32,
    open: BTreeMap<u32, Open>,
    /// Whether they have made all that they are going to make.
    done: bool,
    by_id: BTreeMap<Hash, u32>,
    acknowledged: BTreeMap<Hash, Height>,
}

/// A transaction without an outcome.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) transaction: Arc<Transaction>,
    /// When it was made.
    pub(crate) made: Mono,
    /// When a correct node said that it waits there, of those since faults stopped: it loses its pool no more.
    pub(crate) accepted: Option<Mono>,
    /// The node that it was submitted at last.
    tried: usize,
}

/// Keys of the clients' accounts of a run.
pub(crate) fn account_keys(seed: u64, accounts: u8) -> Vec<SecretKey> {
    (0..accounts)
        .map(|number| {
            SecretKey::from_seed(
                *Hash::of(&[&seed.to_le_bytes()[..], b"account", &[number]].concat()).as_bytes(),
            )
        })
        .collect()
}

/// What those accounts hold at the start.
pub(crate) fn start_balances(keys: &[SecretKey]) -> Vec<(Account, Amount)> {
    keys.iter().map(|key| (Account(key.public()), START_BALANCE)).collect()
}

impl Clients {
    pub(crate) fn new(seed: u64, workload: Workload) -> Self {
        Self {
            keys: account_keys(seed, workload.accounts),
            random: Random::new(seed, Stream::Clients),
            workload,
            made: 0,
            done: false,
            open: BTreeMap::new(),
            by_id: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
        }
    }

    /// Milliseconds until the next transaction is made, if there is one. Where blocks are wanted that are not there yet
    /// while faults have stopped, clients hurry. Those that last go on while somebody is `awaited`.
    pub(crate) fn next_in_ms(&mut self, now: Mono, height: Height, calm: bool, awaited: bool) -> Option<u64> {
        let mut every_ms = self.random.within(&self.workload.every_ms);
        if let Some(Lasting { for_ms, blocks }) = self.workload.lasting {
            let (left_ms, missing) =
                (for_ms.saturating_sub(now.0 / 1_000_000), blocks.saturating_sub(height.0));
            self.done = left_ms == 0 && missing == 0 && !awaited;
            if calm && missing > 0 {
                every_ms = every_ms.min((left_ms / missing).max(HURRY_MS));
            }
        }
        self.done |= self.made >= self.workload.transactions;
        (!self.done).then_some(every_ms)
    }

    /// When a transaction without an outcome is submitted again.
    pub(crate) fn retry_ms(&self) -> u64 {
        self.workload.retry_ms
    }

    /// Makes the next transaction. Returns its number and the nodes it is given to.
    pub(crate) fn make(&mut self, chain: &Chain, now: Mono) -> (u32, Vec<usize>) {
        let number = self.made;
        self.made += 1;
        let key = self.random.index(self.keys.len());
        let operations = self.operations(number);
        let lifetime_ms = if self.random.chance(self.workload.short_permille) {
            self.workload.short_expiry_ms
        } else {
            // As long as the chain takes, with room for clocks that are behind.
            chain.parameters().transaction_lifetime_max_ms / 2
        };
        let payload = Payload {
            version: Payload::VERSION,
            chain: chain.genesis.chain,
            sender: Account(self.keys[key].public()),
            nonce: u64::from(number),
            expires_at: chain.wall(now).plus_millis(lifetime_ms),
            fee: 0,
            operations,
        };
        let transaction = Arc::new(Transaction::sign(payload, &self.keys[key]));
        self.by_id.insert(transaction.id(), number);
        let copies = if self.random.chance(self.workload.double_permille) { 2 } else { 1 };
        let nodes: Vec<usize> = (0..copies).map(|_| self.random.index(chain.keys.len())).collect();
        self.open.insert(number, Open { transaction, made: now, accepted: None, tried: nodes[0] });
        (number, nodes)
    }

    /// A key to set, or one or two transfers, of which the second may fail and then undoes the first.
    fn operations(&mut self, number: u32) -> Vec<Operation> {
        if self.random.chance(PUT_PERMILLE) {
            let key = self.key_of_choice(KEYS);
            return vec![Operation::Put { key, value: number.to_le_bytes().to_vec() }];
        }
        let transfers = if self.random.chance(TWO_TRANSFERS_PERMILLE) { 2 } else { 1 };
        let transfer = |random: &mut Random| Operation::Transfer {
            to: Account(self.keys[random.index(self.keys.len())].public()),
            amount: Amount::from(random.within(&(1..=TRANSFER_MAX))),
        };
        (0..transfers).map(|_| transfer(&mut self.random)).collect()
    }

    /// The node to try next: all in turn, so that nobody meets only those that are gone.
    pub(crate) fn next_node(&mut self, number: u32, chain: &Chain) -> usize {
        let Some(open) = self.open.get_mut(&number) else { return 0 };
        open.tried = (open.tried + 1) % chain.keys.len();
        open.tried
    }

    /// An account or a key to ask about, and a node to ask.
    pub(crate) fn question(&mut self, nodes: usize) -> (RecordKey, usize) {
        let what = if self.random.chance(KEY_QUESTIONS_PERMILLE) {
            // One in a few that nobody sets.
            RecordKey::Key(self.key_of_choice(KEYS + 2))
        } else {
            let key = self.random.index(self.keys.len());
            RecordKey::Account(Account(self.keys[key].public()))
        };
        (what, self.random.index(nodes))
    }

    /// Whether a client wants what it reads proven.
    pub(crate) fn wants_proof(&mut self) -> bool {
        self.random.chance(PROOFS_PERMILLE)
    }

    fn key_of_choice(&mut self, of: u64) -> Vec<u8> {
        format!("key{}", self.random.below(of)).into_bytes()
    }

    /// One that a client was told about, to see whether it still is so.
    pub(crate) fn remembered(&mut self) -> Option<(Hash, Height)> {
        let count = self.acknowledged.len();
        let place = (count > 0).then(|| self.random.index(count))?;
        self.acknowledged.iter().nth(place).map(|(id, height)| (*id, *height))
    }

    /// A transaction that has no outcome yet.
    pub(crate) fn open(&self, number: u32) -> Option<Arc<Transaction>> {
        self.open.get(&number).map(|open| Arc::clone(&open.transaction))
    }

    /// All that have none.
    pub(crate) fn all_open(&self) -> impl Iterator<Item = &Open> {
        self.open.values()
    }

    /// Whether everything that was to be made was made.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// A correct node says that a transaction waits there.
    pub(crate) fn accepted(&mut self, number: u32, now: Mono) {
        if let Some(open) = self.open.get_mut(&number) {
            open.accepted.get_or_insert(now);
        }
    }

    /// A node says that a transaction is committed. When it was made, if that is news.
    pub(crate) fn acknowledge(&mut self, id: Hash, height: Height) -> Option<Mono> {
        let number = self.by_id.get(&id)?;
        self.acknowledged.insert(id, height);
        Some(self.open.remove(number)?.made)
    }

    /// Every transaction of which a node ever said that it is committed, and where.
    pub(crate) fn acknowledged(&self) -> &BTreeMap<Hash, Height> {
        &self.acknowledged
    }

    /// How many were made.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }
}
