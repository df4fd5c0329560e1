//! Proposals that wait for their transactions: asked for by hash, first of the proposal's sender, then of the others
//! in turn (`docs/pbft.md` §3.1, last point).

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_consensus::Proposal;
use quorate_crypto::Hash;
use quorate_ledger::{Height, Transaction};

/// Proposals that are not complete yet; the engine has at most as many checks outstanding as its window is wide.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    waiting: BTreeMap<Hash, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    proposal: Arc<Proposal>,
    source: usize,
    asked: usize,
    found: BTreeMap<Hash, Arc<Transaction>>,
}

impl Bodies {
    /// How many proposals wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Begins to gather the bodies of `block`, which a proposal of `source` names, with those that `here` finds at once.
    pub(crate) fn begin(
        &mut self,
        block: Hash,
        proposal: Arc<Proposal>,
        source: usize,
        here: impl Fn(&Hash) -> Option<Arc<Transaction>>,
    ) {
        let found = proposal.transactions.iter().filter_map(|hash| Some((*hash, here(hash)?))).collect();
        self.waiting.insert(block, Waiting { proposal, source, asked: 0, found });
    }

    /// The hashes that a proposal still lacks, if it is waited for.
    pub(crate) fn missing(&self, block: &Hash) -> Option<Vec<Hash>> {
        let waiting = self.waiting.get(block)?;
        let lacking = |hash: &&Hash| !waiting.found.contains_key(*hash);
        Some(waiting.proposal.transactions.iter().filter(lacking).copied().collect())
    }

    /// Whom to ask next: the sender, then the other validators in turn, never `own`.
    pub(crate) fn next_source(&mut self, block: &Hash, validators: &[usize], own: usize) -> Option<usize> {
        let waiting = self.waiting.get_mut(block)?;
        let first = validators.iter().position(|it| *it == waiting.source).unwrap_or_default();
        (0..validators.len()).find_map(|_| {
            let source = validators[(first + waiting.asked) % validators.len()];
            waiting.asked += 1;
            (source != own).then_some(source)
        })
    }

    /// Takes in a body whose signature holds; those that no proposal lacks are left alone.
    pub(crate) fn found(&mut self, block: &Hash, transaction: Arc<Transaction>) {
        if let Some(waiting) = self.waiting.get_mut(block)
            && waiting.proposal.transactions.contains(&transaction.hash())
        {
            waiting.found.insert(transaction.hash(), transaction);
        }
    }

    /// Takes a proposal out that lacks nothing any more, with its transactions in order.
    pub(crate) fn complete(&mut self, block: &Hash) -> Option<(Arc<Proposal>, Vec<Arc<Transaction>>)> {
        if !self.missing(block)?.is_empty() {
            return None;
        }
        let Waiting { proposal, found, .. } = self.waiting.remove(block)?;
        let transactions = proposal.transactions.iter().map(|hash| Arc::clone(&found[hash])).collect();
        Some((proposal, transactions))
    }

    /// Gives up what is at or below a committed height.
    pub(crate) fn release(&mut self, height: Height) {
        self.waiting.retain(|_, waiting| waiting.proposal.header.height > height);
    }
}
