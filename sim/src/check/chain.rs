//! One chain, the same everywhere and for ever.

use std::collections::BTreeMap;

use quorate_crypto::Hash;
use quorate_ledger::{Account, Amount, Block, ExecutionOutcome, Height, UnixMillis};

use super::Violation;
use super::balances::Balances;
use super::epochs::{EpochCheck, Expected};
use super::formats::{header_hash, transaction_hash, transaction_id};
use super::keys::Keys;
use crate::machine::Chain;

/// The claim of agreement, which no more than f liars can break.
pub const AGREEMENT: &str = "all nodes commit the same block at a height, for ever";
const CONTINUITY: &str = "each block stands on the one below: parent, height, time, order of delivery";
const VALIDITY: &str =
    "a committed block is what its header says, and holds only transactions that fit its time";
const ONCE: &str = "a transaction is committed at most once";
const EQUAL_ROOTS: &str = "all nodes come to the same state, also when they execute again";
const EPOCHS: &str = "epochs end, and sets follow, as the approvals in the blocks say";
const NOTHING_LOST: &str = "nothing that a node acknowledged is lost when it starts again";

/// What all nodes together have committed and executed.
#[derive(Debug)]
pub(crate) struct ChainCheck {
    genesis: Hash,
    genesis_time: UnixMillis,
    lifetime_max_ms: u64,
    /// Block 1 first.
    blocks: Vec<Agreed>,
    /// Where each transaction is.
    places: BTreeMap<Hash, Height>,
    nodes: Vec<Node>,
    balances: Balances,
    genesis_balances: Balances,
    pub(crate) keys: Keys,
    pub(crate) epochs: EpochCheck,
}

#[derive(Debug)]
struct Agreed {
    hash: Hash,
    time: UnixMillis,
    /// The node that was first.
    first: usize,
    /// What it says of epochs, by the approvals so far.
    expected: Expected,
    /// What executing it gave, once somebody has.
    outcome: Option<ExecutionOutcome>,
    /// What accounts hold after it.
    after: Balances,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Highest block that its running engine has delivered.
    delivered: Height,
    /// Highest block that it ever reported as executed and synced.
    acknowledged: Height,
}

impl ChainCheck {
    pub(crate) fn new(chain: &Chain, machines: usize) -> Self {
        Self {
            genesis: chain.genesis.chain,
            genesis_time: chain.genesis.time,
            lifetime_max_ms: chain.parameters().transaction_lifetime_max_ms,
            blocks: Vec::new(),
            places: BTreeMap::new(),
            nodes: vec![Node::default(); machines],
            balances: Balances::new(&chain.genesis),
            genesis_balances: Balances::new(&chain.genesis),
            keys: Keys::default(),
            epochs: EpochCheck::new(chain),
        }
    }

    /// Highest height that any node has committed.
    pub(crate) fn height(&self) -> Height {
        Height(self.blocks.len() as u64)
    }

    /// Time of the highest block.
    pub(crate) fn time(&self) -> UnixMillis {
        self.blocks.last().map_or(self.genesis_time, |block| block.time)
    }

    /// Where a transaction was committed.
    pub(crate) fn place_of(&self, id: &Hash) -> Option<Height> {
        self.places.get(id).copied()
    }

    /// How many transactions are committed.
    pub(crate) fn transactions(&self) -> usize {
        self.places.len()
    }

    /// The balances after the highest block.
    pub(crate) fn balances(&self) -> &Balances {
        &self.balances
    }

    /// What an account holds after the block at a height, if there is one.
    pub(crate) fn balance_at(&self, height: Height, account: &Account) -> Option<Amount> {
        if height == Height(0) {
            return Some(self.genesis_balances.of(*account));
        }
        Some(self.agreed(height)?.after.of(*account))
    }

    /// What executing the block at a height gave.
    pub(crate) fn outcome_at(&self, height: Height) -> Option<ExecutionOutcome> {
        self.agreed(height)?.outcome
    }

    /// The hash of the block at a height.
    pub(crate) fn hash_at(&self, height: Height) -> Option<Hash> {
        Some(self.agreed(height)?.hash)
    }

    fn agreed(&self, height: Height) -> Option<&Agreed> {
        self.blocks.get(usize::try_from(height.0.checked_sub(1)?).ok()?)
    }

    /// A node has started on these blocks.
    pub(crate) fn opened(
        &mut self,
        node: usize,
        tip: Height,
        outcome: &ExecutionOutcome,
        blocks: &[Hash],
    ) -> Result<(), Violation> {
        let acknowledged = self.nodes[node].acknowledged;
        if tip < acknowledged {
            let detail = format!("n{node} had acknowledged height {acknowledged} and starts at {tip}");
            return Err(Violation::new(NOTHING_LOST, detail));
        }
        for (height, hash) in (1..).map(Height).zip(blocks) {
            if self.hash_at(height) != Some(*hash) {
                let detail = format!(
                    "n{node} starts with {hash} at height {height}, others have {:?}",
                    self.hash_at(height)
                );
                return Err(Violation::new(AGREEMENT, detail));
            }
        }
        self.nodes[node].delivered = tip;
        self.nodes[node].acknowledged = tip;
        if tip > Height(0) { self.compare(node, tip, outcome) } else { Ok(()) }
    }

    /// A node's engine holds this block for final.
    pub(crate) fn committed(&mut self, node: usize, block: &Block) -> Result<(), Violation> {
        let height = block.height();
        let expected = self.nodes[node].delivered.next();
        if height != expected {
            let detail = format!("n{node} delivers height {height}, {expected} is next");
            return Err(Violation::new(CONTINUITY, detail));
        }
        self.nodes[node].delivered = height;
        match self.agreed(height) {
            Some(agreed) if agreed.hash == block.hash() => Ok(()),
            Some(agreed) => {
                let detail = format!(
                    "at height {height} n{node} commits {}, n{} committed {}",
                    block.hash(),
                    agreed.first,
                    agreed.hash
                );
                Err(Violation::new(AGREEMENT, detail))
            }
            None => self.append(node, block),
        }
    }

    fn append(&mut self, node: usize, block: &Block) -> Result<(), Violation> {
        let height = block.height();
        let parent = self.blocks.last().map_or(self.genesis, |below| below.hash);
        let (time, time_below) = (block.header().time, self.time());
        let linked = block.header().parent == parent && time > time_below && height == self.height().next();
        if !linked {
            let detail = format!("n{node} commits {:?} on {parent} of time {time_below}", block.header());
            return Err(Violation::new(CONTINUITY, detail));
        }
        self.validate(block)?;
        for transaction in block.transactions() {
            let id = transaction_id(transaction);
            if let Some(before) = self.places.insert(id, height) {
                let detail = format!("{id} is in block {before} and in block {height}");
                return Err(Violation::new(ONCE, detail));
            }
        }
        self.balances.apply(block);
        self.keys.apply(block);
        let after = self.balances.clone();
        let expected = self.epochs.apply(block)?;
        self.blocks.push(Agreed { hash: block.hash(), time, first: node, expected, outcome: None, after });
        Ok(())
    }

    fn validate(&self, block: &Block) -> Result<(), Violation> {
        let height = block.height();
        let header = header_hash(block.header());
        if header != block.hash() {
            return Err(Violation::new(
                VALIDITY,
                format!("block {height} has hash {}, not {header}", block.hash()),
            ));
        }
        let leaves: Vec<Hash> =
            block.transactions().iter().map(|transaction| transaction_hash(transaction)).collect();
        let root = merkle_root(&leaves);
        if root != block.header().transactions_root {
            return Err(Violation::new(
                VALIDITY,
                format!("the transactions of block {height} have root {root}"),
            ));
        }
        let (time, latest) = (block.time().0, block.time().0 + self.lifetime_max_ms);
        let unfit = block.transactions().iter().find(|transaction| {
            let expires_at = transaction.expires_at().0;
            expires_at <= time || expires_at > latest || transaction.payload().chain != self.genesis
        });
        match unfit {
            None => Ok(()),
            Some(unfit) => {
                let detail = format!("block {height} of time {time} holds {:?}", unfit.payload());
                Err(Violation::new(VALIDITY, detail))
            }
        }
    }

    /// A node has executed and synced this block.
    pub(crate) fn executed(
        &mut self,
        node: usize,
        block: &Block,
        outcome: &ExecutionOutcome,
    ) -> Result<(), Violation> {
        let height = block.height();
        let expected = self.nodes[node].acknowledged.next();
        if height != expected || height > self.nodes[node].delivered {
            let detail = format!("n{node} executes height {height}, {expected} is next");
            return Err(Violation::new(CONTINUITY, detail));
        }
        self.nodes[node].acknowledged = height;
        self.compare(node, height, outcome)
    }

    fn compare(&mut self, node: usize, height: Height, outcome: &ExecutionOutcome) -> Result<(), Violation> {
        let index = usize::try_from(height.0 - 1).expect("heights of a run fit in memory");
        let agreed = &mut self.blocks[index];
        if outcome.checkpoint.height != height || outcome.checkpoint.block != agreed.hash {
            let detail = format!("n{node} reports {outcome:?} for height {height}");
            return Err(Violation::new(EQUAL_ROOTS, detail));
        }
        if !agreed.expected.agrees(outcome) {
            let detail = format!("n{node} has {outcome:?} for height {height}, not {:?}", agreed.expected);
            return Err(Violation::new(EPOCHS, detail));
        }
        let first = agreed.outcome.get_or_insert(*outcome);
        if first != outcome {
            let detail = format!("at height {height} n{node} has {outcome:?}, others {first:?}");
            return Err(Violation::new(EQUAL_ROOTS, detail));
        }
        Ok(())
    }
}

/// RFC 6962 §2.1, written down once more.
fn merkle_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(b""),
        [leaf] => Hash::of(&[&[0], leaf.as_bytes().as_slice()].concat()),
        _ => {
            // The largest power of two below the number of leaves; this is called once a block, so depth is no matter.
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let (left, right) = (merkle_root(left), merkle_root(right));
            Hash::of(&[&[1], left.as_bytes().as_slice(), right.as_bytes()].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_merkle_root_is_that_of_the_standard() {
        // RFC 6962's tree over one leaf, and over three: ((a b) c).
        let [a, b, c] = [b"a", b"b", b"c"].map(|leaf| Hash::of(leaf));
        let inner = |left: Hash, right: Hash| {
            Hash::of(&[&[1], left.as_bytes().as_slice(), right.as_bytes()].concat())
        };
        let leaf = |hash: Hash| merkle_root(&[hash]);
        assert_eq!(merkle_root(&[a, b, c]), inner(inner(leaf(a), leaf(b)), leaf(c)));
        assert_eq!(merkle_root(&[a, b, c, a]), inner(inner(leaf(a), leaf(b)), inner(leaf(c), leaf(a))));
    }
}
