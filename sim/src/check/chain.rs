//! One chain, the same everywhere and for ever.

use std::collections::BTreeMap;

use quorate_crypto::Hash;
use quorate_ledger::{Account, Amount, Anchor, Block, ExecutionOutcome, Height, UnixMillis};

use super::Violation;
use super::balances::Balances;
use super::block::{Below, genesis_anchor};
use super::epochs::{EpochCheck, Expected};
use super::formats::{Named, result_hash};
use super::keys::Keys;
use crate::machine::Chain;

/// The claim of agreement, which no more than f liars can break.
pub const AGREEMENT: &str = "all nodes commit the same block at a height, for ever";
const CONTINUITY: &str = "each block stands on the one below: parent, height, time, order of delivery";
const VALIDITY: &str = "a committed block is what its header says, keeps the limits, and holds only transactions that may be in it";
const ANCHORS: &str = "a committed block anchors a result that nodes have come to";
const ONCE: &str = "a transaction is committed at most once";
const EQUAL_ROOTS: &str = "all nodes come to the same state, also when they execute again";
const EPOCHS: &str = "epochs end, and sets follow, as the approvals in the blocks say";
const NOTHING_LOST: &str = "nothing that a node acknowledged is lost when it starts again";

/// What all nodes together have committed and executed.
#[derive(Debug)]
pub(crate) struct ChainCheck {
    genesis: Hash,
    genesis_time: UnixMillis,
    genesis_anchor: Anchor,
    /// What the highest block anchors.
    anchor: Anchor,
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
        let anchor = genesis_anchor(&chain.genesis);
        Self {
            genesis: chain.genesis.chain,
            genesis_time: chain.genesis.time,
            genesis_anchor: anchor,
            anchor,
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
        let (height, time) = (block.height(), block.header().time);
        let below = self.below();
        if !below.carries(block) {
            let (parent, time) = (below.hash, below.time);
            let detail = format!("n{node} commits {:?} on {parent} of time {time}", block.header());
            return Err(Violation::new(CONTINUITY, detail));
        }
        let named: Vec<Named> = block.transactions().iter().map(|it| Named::of(it)).collect();
        if let Some(wrong) = below.wrong(block, &named) {
            return Err(Violation::new(VALIDITY, format!("of block {height} {wrong}")));
        }
        self.anchored(block)?;
        for Named { id, .. } in named {
            if let Some(before) = self.places.insert(id, height) {
                let detail = format!("{id} is in block {before} and in block {height}");
                return Err(Violation::new(ONCE, detail));
            }
        }
        self.balances.apply(block);
        self.keys.apply(block);
        let after = self.balances.clone();
        let expected = self.epochs.apply(block)?;
        self.anchor = block.header().anchor;
        self.blocks.push(Agreed { hash: block.hash(), time, first: node, expected, outcome: None, after });
        Ok(())
    }

    /// What the next block stands on.
    fn below(&self) -> Below<'_> {
        let span = self.epochs.newest();
        Below {
            chain: self.genesis,
            height: self.height(),
            hash: self.blocks.last().map_or(self.genesis, |below| below.hash),
            time: self.time(),
            anchor: self.anchor,
            parameters: &span.parameters,
            validators: &span.validators,
        }
    }

    /// What its header anchors is what everybody came to who has executed that height.
    fn anchored(&self, block: &Block) -> Result<(), Violation> {
        let anchor = block.header().anchor;
        let outcome = self.outcome_at(anchor.height).map(|it| it.checkpoint);
        let known = match outcome {
            _ if anchor.height == Height(0) => anchor == self.genesis_anchor,
            Some(it) => {
                (it.height, it.state_root, result_hash(&it))
                    == (anchor.height, anchor.state_root, anchor.checkpoint)
            }
            None => false,
        };
        if known {
            return Ok(());
        }
        let detail = format!("block {} has {anchor:?}, which came to {outcome:?}", block.height());
        Err(Violation::new(ANCHORS, detail))
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

#[cfg(test)]
mod tests {
    use quorate_ledger::{Epoch, Header};

    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn an_anchor_of_what_nobody_came_to_is_caught() {
        let chain = Scenario::new("", 4, 1).chain();
        let check = ChainCheck::new(&chain, 4);
        let anchored = |anchor| {
            let header = Header {
                version: 1,
                chain: chain.genesis.chain,
                epoch: Epoch(0),
                height: Height(2),
                parent: Hash::ZERO,
                transactions_root: Hash::ZERO,
                time: UnixMillis(0),
                proposer: Account(chain.keys[0].public()),
                anchor,
            };
            check.anchored(&Block::new(header, Vec::new())).is_ok()
        };
        let genesis = check.genesis_anchor;
        assert!(anchored(genesis));
        assert!(!anchored(Anchor { state_root: Hash::ZERO, ..genesis }));
        assert!(!anchored(Anchor { checkpoint: Hash::ZERO, ..genesis }));
        assert!(!anchored(Anchor { height: Height(1), ..genesis }), "nobody has executed it");
    }
}
