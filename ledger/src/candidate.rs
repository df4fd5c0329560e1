//! What may go into a block: used alike to build proposals, to check those of others, and by the simulator.
//!
//! [`Candidates`] holds the blocks that were built, checked or accepted here, by hash, and the ids of committed
//! transactions ([`IdWindow`]). From these alone it answers whether a proposal's transactions are fit
//! (`docs/pbft.md §3.1`, last point): limits hold, the root matches, each transaction is valid on its own and at the
//! block's time, and no id occurs twice in the block, nor in an ancestor. Ancestors are found in two parts:
//!
//! ```text
//!   … committed ──────────▶ tip ◀── in flight ◀── in flight ◀── proposal
//!     ids in the IdWindow         ids in the candidates, by parent link
//! ```
//!
//! What depends on the state never refuses a block, so nothing here waits for execution. A block fit once is fit
//! always: one that is held already is answered with itself and not judged again (`docs/pbft.md §3.1`, re-proposals).
//!
//! Bodies are kept past their commit, for validators that lack them, until [`Candidates::release`] says that the synced
//! base has passed them (`docs/pbft.md §3.2`). Their number is bounded by whoever asks: the engine has one build and W
//! checks outstanding and accepts one block for each view and height; what it does not accept can be forgotten.

#![allow(clippy::disallowed_types, reason = "the maps and sets of hashes are looked up by key, never walked")]

mod error;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use quorate_crypto::Hash;

use crate::block::{Anchor, Block, Header};
use crate::epoch::EpochStart;
use crate::primitives::{Account, Epoch, Height, UnixMillis};
use crate::transaction::{Transaction, TransactionError, TransactionRules};
use crate::window::IdWindow;

pub use error::BlockError;

/// How many transactions in a row that no longer fit a block being built are passed over before it counts as full.
const MISFITS_MAX: usize = 64;

/// A block that others can stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its height.
    pub height: Height,
    /// Its hash; the chain id for the genesis.
    pub hash: Hash,
    /// Its time.
    pub time: UnixMillis,
}

impl Parent {
    /// What a child needs to know of `block`.
    #[must_use]
    pub fn of(block: &Block) -> Self {
        Parent { height: block.height(), hash: block.hash(), time: block.time() }
    }
}

/// The blocks that are not committed yet, or not long, and the ids that must not come again.
#[derive(Clone, Debug)]
pub struct Candidates {
    rules: TransactionRules,
    tip: Parent,
    window: IdWindow,
    blocks: BTreeMap<Hash, Candidate>,
    /// The transactions of `blocks`, with the number of blocks that hold each.
    bodies: HashMap<Hash, (Arc<Transaction>, usize)>,
}

#[derive(Clone, Debug)]
struct Candidate {
    block: Arc<Block>,
    ids: HashSet<Hash>,
}

/// All ids that a child of some block may not hold.
struct Ancestors<'a> {
    committed: &'a IdWindow,
    in_flight: Vec<&'a HashSet<Hash>>,
}

impl Ancestors<'_> {
    fn include(&self, id: &Hash) -> bool {
        self.committed.height_of(id).is_some() || self.in_flight.iter().any(|ids| ids.contains(id))
    }
}

impl Candidates {
    /// Nothing in flight above `tip`, the highest committed block. The ids of committed blocks that still
    /// [matter](IdWindow::matters) must be given next, by [`Candidates::remember`].
    #[must_use]
    pub fn new(rules: TransactionRules, tip: Parent) -> Self {
        let window = IdWindow::new(rules.parameters.transaction_lifetime_max_ms);
        Candidates { rules, tip, window, blocks: BTreeMap::new(), bodies: HashMap::new() }
    }

    /// The highest committed block known here.
    #[must_use]
    pub fn tip(&self) -> Parent {
        self.tip
    }

    /// What the chain asks of transactions now.
    #[must_use]
    pub fn rules(&self) -> &TransactionRules {
        &self.rules
    }

    /// Goes over to the rules of a later epoch, once the last block of the one before it is committed. Blocks of an
    /// earlier epoch are still held, for those who lack them, and none is judged or built any more.
    ///
    /// # Panics
    /// When the epoch is not a later one, or begins above the block that would be next, or when the lifetime of
    /// transactions would change, which the genesis fixes.
    pub fn enter_epoch(&mut self, epoch: &EpochStart) {
        let rules = TransactionRules::of(self.rules.chain, epoch);
        assert!(rules.epoch > self.rules.epoch, "from epoch {} to {}", self.rules.epoch, rules.epoch);
        assert!(epoch.start <= self.tip.height.next(), "the last block of the epoch before is committed");
        assert_eq!(
            rules.parameters.transaction_lifetime_max_ms, self.rules.parameters.transaction_lifetime_max_ms,
            "the lifetime of transactions is fixed by the genesis"
        );
        self.rules = rules;
    }

    /// Takes in a committed block, in the order of heights. Those at or below the tip rebuild the ids at start; above it
    /// each is the child of the tip and becomes the new one.
    ///
    /// # Panics
    /// When the order is broken, or a transaction is committed twice.
    pub fn remember(&mut self, block: &Block) {
        if block.height() > self.tip.height {
            assert_eq!(
                block.height(),
                self.tip.height.next(),
                "committed blocks come in the order of heights"
            );
            assert_eq!(block.parent(), self.tip.hash, "a committed block stands on the one before");
            self.tip = Parent::of(block);
        }
        self.window.remember(block);
    }

    /// The height a transaction was committed at, as long as that matters for others.
    #[must_use]
    pub fn contains_committed(&self, id: &Hash) -> Option<Height> {
        self.window.height_of(id)
    }

    /// Holds a block that was found fit before: one accepted before a restart, or a certified one.
    pub fn insert(&mut self, block: Arc<Block>) {
        if self.blocks.contains_key(&block.hash()) {
            return;
        }
        for transaction in block.transactions() {
            let body = self.bodies.entry(transaction.hash());
            body.or_insert_with(|| (Arc::clone(transaction), 0)).1 += 1;
        }
        let ids = block.transactions().iter().map(|transaction| transaction.id()).collect();
        self.blocks.insert(block.hash(), Candidate { block, ids });
    }

    /// Judges a proposal by its header and all its transactions, whose *signatures the caller has verified*, and holds
    /// it if it is fit. Clocks, proposer and anchor are the engine's to judge.
    ///
    /// # Errors
    /// The first rule it breaks; [`BlockError::is_fault`] says whether its proposer is to blame.
    pub fn check(
        &mut self,
        header: &Header,
        transactions: Vec<Arc<Transaction>>,
    ) -> Result<Arc<Block>, BlockError> {
        if let Some(known) = self.block(&header.hash()) {
            return Ok(known);
        }
        self.check_header(header)?;
        let block = Block::new(header.clone(), transactions);
        self.check_limits(&block)?;
        block.check_root()?;
        self.check_transactions(&block)?;
        let block = Arc::new(block);
        self.insert(Arc::clone(&block));
        Ok(block)
    }

    fn check_header(&self, header: &Header) -> Result<(), BlockError> {
        let (version, chain, expected) = (header.version, header.chain, self.rules.chain);
        if version != Header::VERSION {
            return Err(BlockError::WrongVersion { version });
        }
        if chain != expected {
            return Err(BlockError::WrongChain { chain, expected });
        }
        if header.epoch != self.rules.epoch {
            return Err(BlockError::WrongEpoch { epoch: header.epoch, expected: self.rules.epoch });
        }
        if header.height <= self.tip.height {
            return Err(BlockError::AlreadyCommitted { height: header.height, committed: self.tip.height });
        }
        let parent = self.parent(&header.parent)?;
        let (height, time, expected) = (header.height, header.time, parent.height.next());
        if height != expected {
            return Err(BlockError::WrongHeight { height, expected });
        }
        if time <= parent.time {
            return Err(BlockError::NotAfterParent { time, parent: parent.time });
        }
        Ok(())
    }

    /// The tip, or a block in flight above it.
    fn parent(&self, hash: &Hash) -> Result<Parent, BlockError> {
        if *hash == self.tip.hash {
            return Ok(self.tip);
        }
        let block = self.block(hash).ok_or(BlockError::UnknownParent { parent: *hash })?;
        match self.in_flight(hash).last() {
            Some(lowest) if lowest.block.parent() == self.tip.hash => Ok(Parent::of(&block)),
            _ => Err(BlockError::Abandoned { parent: *hash, committed: self.tip.hash }),
        }
    }

    fn check_limits(&self, block: &Block) -> Result<(), BlockError> {
        let parameters = &self.rules.parameters;
        let (count, max) = (block.transactions().len(), parameters.block_transactions_max);
        if count > max as usize {
            return Err(BlockError::TooManyTransactions { count, max });
        }
        let (bytes, max) = (block.transaction_bytes(), parameters.block_bytes_max);
        if bytes > max as usize {
            return Err(BlockError::TooLarge { bytes, max });
        }
        Ok(())
    }

    fn check_transactions(&self, block: &Block) -> Result<(), BlockError> {
        let ancestors = self.ancestors(&block.parent());
        let mut ids = HashSet::with_capacity(block.transactions().len());
        let mut counted = Counted::default();
        for (index, transaction) in block.transactions().iter().enumerate() {
            self.check_transaction(transaction, block.time())
                .map_err(|source| BlockError::Transaction { index, source })?;
            let id = transaction.id();
            if !ids.insert(id) {
                return Err(BlockError::Repeated { index, id });
            }
            if ancestors.include(&id) {
                return Err(BlockError::Included { index, id });
            }
            let sender = transaction.sender();
            counted.count(transaction, &self.rules).map_err(|second| match second {
                Second::Free => BlockError::SecondFreeApproval { index, sender },
                Second::Statements => BlockError::SecondStatements { index, sender },
            })?;
        }
        Ok(())
    }

    /// All that is asked of a transaction by itself, in a block of this time.
    fn check_transaction(&self, transaction: &Transaction, time: UnixMillis) -> Result<(), TransactionError> {
        transaction.check(&self.rules)?;
        transaction.fits_time(time, self.rules.parameters.transaction_lifetime_max_ms)
    }

    /// Builds the next proposal from `transactions`, in their order, and holds it: takes what is fit and fits, passes over
    /// the rest, and stops when the block is full. Signatures are verified already.
    ///
    /// On a parent that is neither the tip nor in flight above it, which happens when a commit overtook the engine's
    /// request, the block is empty: the engine does not want it any more, and nothing can be said about its ancestors. So
    /// is one of another epoch than the one whose rules are known here.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of the header")]
    pub fn build(
        &mut self,
        height: Height,
        parent: Hash,
        anchor: Anchor,
        time: UnixMillis,
        epoch: Epoch,
        proposer: Account,
        transactions: impl IntoIterator<Item = Arc<Transaction>>,
    ) -> Arc<Block> {
        let known = epoch == self.rules.epoch && self.parent(&parent).is_ok();
        let chosen = if known { self.choose(&parent, time, transactions) } else { Vec::new() };
        let hashes: Vec<Hash> = chosen.iter().map(|transaction| transaction.hash()).collect();
        let header = Header {
            version: Header::VERSION,
            chain: self.rules.chain,
            epoch,
            height,
            parent,
            transactions_root: Block::transactions_root(&hashes),
            time,
            proposer,
            anchor,
        };
        let block = Arc::new(Block::new(header, chosen));
        self.insert(Arc::clone(&block));
        block
    }

    fn choose(
        &self,
        parent: &Hash,
        time: UnixMillis,
        transactions: impl IntoIterator<Item = Arc<Transaction>>,
    ) -> Vec<Arc<Transaction>> {
        let parameters = &self.rules.parameters;
        let ancestors = self.ancestors(parent);
        let mut room = parameters.block_bytes_max as usize;
        let mut misfits = 0;
        let mut ids = HashSet::new();
        let mut counted = Counted::default();
        let mut chosen = Vec::new();
        for transaction in transactions {
            if chosen.len() == parameters.block_transactions_max as usize || misfits == MISFITS_MAX {
                break;
            }
            if transaction.size() > room {
                misfits += 1;
                continue;
            }
            let id = transaction.id();
            let fit = self.check_transaction(&transaction, time).is_ok();
            if fit && !ancestors.include(&id) && !ids.contains(&id) {
                if counted.count(&transaction, &self.rules).is_err() {
                    continue;
                }
                ids.insert(id);
                room -= transaction.size();
                misfits = 0;
                chosen.push(transaction);
            }
        }
        chosen
    }

    /// A block held here.
    #[must_use]
    pub fn block(&self, hash: &Hash) -> Option<Arc<Block>> {
        self.blocks.get(hash).map(|candidate| Arc::clone(&candidate.block))
    }

    /// A transaction of a block held here, by its hash (not its id).
    #[must_use]
    pub fn transaction(&self, hash: &Hash) -> Option<Arc<Transaction>> {
        self.bodies.get(hash).map(|(transaction, _)| Arc::clone(transaction))
    }

    /// Whether a transaction is in the block `parent` or an ancestor of it, so that no child may hold it.
    #[must_use]
    pub fn included(&self, parent: &Hash, id: &Hash) -> bool {
        self.ancestors(parent).include(id)
    }

    fn ancestors(&self, parent: &Hash) -> Ancestors<'_> {
        let in_flight = self.in_flight(parent).map(|candidate| &candidate.ids).collect();
        Ancestors { committed: &self.window, in_flight }
    }

    /// The block `hash` and its ancestors above the committed height, downwards, as far as they are here.
    fn in_flight(&self, hash: &Hash) -> impl Iterator<Item = &Candidate> {
        let above = |hash: &Hash| {
            self.blocks.get(hash).filter(|candidate| candidate.block.height() > self.tip.height)
        };
        std::iter::successors(above(hash), move |child| {
            // A link that does not go down by one is no link: nothing an attacker inserts makes this walk long.
            let parent = above(&child.block.parent())?;
            (parent.block.height().next() == child.block.height()).then_some(parent)
        })
    }

    /// Lets go of a block that was built or checked and that the engine did not accept.
    pub fn forget(&mut self, hash: &Hash) {
        let Some(candidate) = self.blocks.remove(hash) else {
            return;
        };
        for transaction in candidate.block.transactions() {
            if let Entry::Occupied(mut body) = self.bodies.entry(transaction.hash()) {
                body.get_mut().1 -= 1;
                if body.get().1 == 0 {
                    body.remove();
                }
            }
        }
    }

    /// Lets go of all blocks at or below `height`: the base is there and synced, the ledger serves them now.
    ///
    /// # Panics
    /// When `height` is not committed.
    pub fn release(&mut self, height: Height) {
        assert!(height <= self.tip.height, "height {height} is not committed, only {}", self.tip.height);
        let past = |candidate: &Candidate| candidate.block.height() <= height;
        let hashes: Vec<Hash> =
            self.blocks.iter().filter(|(_, candidate)| past(candidate)).map(|(hash, _)| *hash).collect();
        for hash in &hashes {
            self.forget(hash);
        }
    }

    /// How many blocks are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether no blocks are held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

/// Who has had what a block holds once of each sender (`docs/pbft.md` §3.1).
#[derive(Default)]
struct Counted {
    free: HashSet<Account>,
    statements: HashSet<Account>,
}

/// What its sender has in the block already.
enum Second {
    Free,
    Statements,
}

impl Counted {
    /// Counts a transaction, unless it is a second one.
    fn count(&mut self, transaction: &Transaction, rules: &TransactionRules) -> Result<(), Second> {
        let sender = transaction.sender();
        let (free, statements) = (transaction.is_free_approval(rules), transaction.carries_statements());
        if free && self.free.contains(&sender) {
            return Err(Second::Free);
        }
        if statements && !self.statements.insert(sender) {
            return Err(Second::Statements);
        }
        if free {
            self.free.insert(sender);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
