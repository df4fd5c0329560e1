//! The replica's ledger: what was delivered, how much of it is synced, how much of that was reported.

use std::{collections::BTreeMap, sync::Arc};

use quorate_crypto::Hash;
use quorate_ledger::{
    Anchor, Block, CheckpointCertificate, CommitCertificate, ExecutionOutcome, Height, Tip,
};

use super::super::{
    super::bench::{Bench, genesis_tip},
    happening::LedgerAfter,
};

#[derive(Default)]
pub(super) struct Ledger {
    /// From height 1.
    delivered: Vec<(Arc<Block>, Option<CommitCertificate>)>,
    synced: usize,
    reported: usize,
    /// Checkpoint certificates, as they came.
    pub(super) stable: Vec<CheckpointCertificate>,
    /// What was ever delivered at a height.
    ever: BTreeMap<Height, Hash>,
}

pub(super) fn outcome(bench: &Bench, block: &Block) -> ExecutionOutcome {
    ExecutionOutcome { checkpoint: bench.result(block), due: None, epoch_ends: None }
}

impl Ledger {
    /// A block is delivered: right above the last, on it, and where at most f lie never another one at its height.
    pub(super) fn commit(
        &mut self,
        genesis: Hash,
        block: Arc<Block>,
        certificate: Option<CommitCertificate>,
        honest: bool,
    ) {
        let below = self.delivered.last().map_or((Height(0), genesis), |(it, _)| (it.height(), it.hash()));
        assert_eq!((below.0.next(), below.1), (block.height(), block.parent()), "blocks come in order");
        let first = *self.ever.entry(block.height()).or_insert(block.hash());
        assert!(!honest || first == block.hash(), "two blocks were delivered at height {}", block.height());
        self.delivered.push((block, certificate));
    }

    pub(super) fn sync(&mut self) {
        self.synced = self.delivered.len().min(self.synced + 1);
    }

    /// The next block to report as executed, if one is synced.
    pub(super) fn report(&mut self) -> Option<Arc<Block>> {
        let (block, _) = self.delivered[..self.synced].get(self.reported)?;
        self.reported += 1;
        Some(Arc::clone(block))
    }

    /// Height of the last delivered block.
    pub(super) fn height(&self) -> Height {
        self.last().map_or(Height(0), |it| it.height())
    }

    pub(super) fn last(&self) -> Option<Arc<Block>> {
        self.delivered.last().map(|(block, _)| Arc::clone(block))
    }

    pub(super) fn synced_block(&self, height: Height) -> Option<Arc<Block>> {
        let place = usize::try_from(height.0).ok()?.checked_sub(1)?;
        self.delivered[..self.synced].get(place).map(|(block, _)| Arc::clone(block))
    }

    /// What is not synced is gone.
    pub(super) fn crash(&mut self, after: LedgerAfter) {
        match after {
            LedgerAfter::Synced => {}
            LedgerAfter::WithoutStable => drop(self.stable.pop()),
            LedgerAfter::Restored(height) => self.synced = usize::from(height) % (self.synced + 1),
        }
        self.delivered.truncate(self.synced);
        self.reported = self.synced;
        let height = self.height();
        self.stable.retain(|it| it.payload.height <= height);
    }

    pub(super) fn genesis_anchor(&self, bench: &Bench) -> Anchor {
        genesis_tip(&bench.scope).anchor
    }

    /// What an engine is opened on.
    pub(super) fn tip(&self, bench: &Bench) -> Tip {
        let genesis = genesis_tip(&bench.scope);
        let stable = self.stable.iter().max_by_key(|it| it.payload.height).cloned();
        let base = self.delivered.iter().rev().find_map(|(_, it)| it.clone());
        let tip = Tip {
            base_height: base.as_ref().map_or(Height(0), |it| it.payload.height),
            base,
            stable: stable.as_ref().map_or(genesis.stable, |it| it.payload.anchor()),
            stable_certificate: stable,
            ..genesis
        };
        let Some(block) = self.last() else { return tip };
        Tip {
            height: block.height(),
            hash: block.hash(),
            time: block.time(),
            anchor: block.header().anchor,
            outcome: outcome(bench, &block),
            ..tip
        }
    }
}
