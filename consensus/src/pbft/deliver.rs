//! From commit certificates to the ledger, in height order (`docs/pbft.md` §3.4), and what is forgotten once it is there
//! (§6).
//!
//! A certificate commits its block and all its ancestors. It may be known before their bodies are: the height is then
//! *committed* and closed, and *delivered* once the bodies have come, as accepted proposals or as certified blocks.

use std::sync::Arc;

use quorate_crypto::Hash;
use quorate_ledger::{Block, CertifiedBlocks, CommitCertificate, ExecutionOutcome, Height};

use super::{Pbft, message::Base, proposal::Parent};
use crate::engine::{Action, Now, Output};

impl Pbft {
    /// Highest height that a known commit certificate covers, body here or not.
    pub(super) fn committed(&self) -> Height {
        let known = self.certificates.last_key_value().map(|(height, _)| *height);
        known.map_or(self.delivered.height, |height| height.max(self.delivered.height))
    }

    /// The certificate of the highest committed height that has one.
    pub(super) fn highest_certificate(&self) -> Option<&CommitCertificate> {
        self.certificates.last_key_value().map(|(_, it)| it).or(self.base.certificate.as_ref())
    }

    /// Learns a commit certificate, wherever it came from. Two for different blocks at one height mean that more than f
    /// validators lie: nothing that this replica could sign would be safe.
    pub(super) fn learn_commit(&mut self, certificate: CommitCertificate, out: &mut Output<Self>) {
        let height = certificate.payload.height;
        if height <= self.delivered.height {
            if height == self.delivered.height && certificate.payload.block != self.delivered.hash {
                self.halt_forked(height, out);
            }
            return;
        }
        match self.certificates.get(&height) {
            Some(known) if known.payload.block != certificate.payload.block => {
                self.halt_forked(height, out);
            }
            Some(_) => {}
            None => {
                // Far above the window only the highest is worth keeping: the blocks below it come certified.
                let window = self.highest_buffered();
                self.certificates.retain(|it, _| *it <= window || *it > height);
                if height > self.committed() {
                    self.timers.committed();
                }
                self.certificates.insert(height, certificate);
            }
        }
    }

    /// The same for what one's own log holds, which was learned before.
    pub(super) fn restore_commit(&mut self, certificate: CommitCertificate) {
        if certificate.payload.height > self.delivered.height {
            self.certificates.entry(certificate.payload.height).or_insert(certificate);
        }
    }

    fn halt_forked(&mut self, height: Height, out: &mut Output<Self>) {
        self.halt(format!("two different blocks are committed at height {height}"), out);
    }

    /// Delivers what is committed and here.
    pub(super) fn deliver_committed(&mut self, now: Now, out: &mut Output<Self>) -> bool {
        let mut changed = false;
        while self.halted.is_none()
            && let Some((path, certificate)) = self.next_path()
        {
            self.deliver_path(now, path, &certificate, out);
            changed = true;
        }
        changed
    }

    /// The blocks from the delivered one up to the lowest certified one whose ancestors are all here.
    fn next_path(&self) -> Option<(Vec<Arc<Block>>, CommitCertificate)> {
        self.certificates.values().find_map(|certificate| {
            let mut path = Vec::new();
            let mut height = certificate.payload.height;
            let mut hash = certificate.payload.block;
            while height > self.delivered.height {
                let block = self.slots.get(&height)?.blocks.get(&hash)?;
                path.push(Arc::clone(block));
                hash = block.parent();
                height = Height(height.0 - 1);
            }
            path.reverse();
            Some((path, certificate.clone()))
        })
    }

    /// Takes certified blocks from elsewhere. What is delivered already is skipped; what does not start right above it
    /// came too early or too late and is left alone.
    pub(super) fn on_certified(&mut self, now: Now, certified: CertifiedBlocks, out: &mut Output<Self>) {
        let CertifiedBlocks { mut blocks, certificate } = certified;
        blocks.retain(|block| block.height() > self.delivered.height);
        let Some(first) = blocks.first() else { return };
        if first.height() != self.delivered.height.next() {
            return;
        }
        if certificate.payload.height > self.committed() {
            self.timers.committed();
        }
        self.deliver_path(now, blocks, &certificate, out);
    }

    /// Hands a chain of blocks on top of the delivered one to the ledger, the last with its certificate: whole or not at all,
    /// since a ledger takes blocks only up to one that has a certificate (§6).
    fn deliver_path(
        &mut self,
        now: Now,
        path: Vec<Arc<Block>>,
        certificate: &CommitCertificate,
        out: &mut Output<Self>,
    ) {
        let certified = certificate.payload.block;
        if let Some(height) = self.forks(&path) {
            self.halt_forked(height, out);
            return;
        }
        for block in path {
            if block.is_full(&self.setup.parameters) {
                self.timers.full(now);
            }
            let height = block.height();
            let own = self.own_certificate(&block, certificate, certified);
            self.delivered = Parent::of(&block);
            self.timers.delivered();
            if let Some(own) = &own {
                self.base = Base { height, block: block.hash(), certificate: Some(own.clone()) };
                self.unsynced_bases.insert(height);
                let mut signers = self.round(height, own.payload.view).commits.signers();
                own.signatures.signers().iter().for_each(|place| {
                    signers.insert(place);
                });
                self.participation.committed(height, block.hash(), signers);
            }
            out.act(Action::Commit { block, certificate: own });
        }
        self.certificates = self.certificates.split_off(&self.delivered.height.next());
        self.prune();
    }

    /// Where a certified chain leaves what is delivered here, or what another certificate names.
    fn forks(&self, path: &[Arc<Block>]) -> Option<Height> {
        let mut parent = self.delivered.hash;
        let contradicts = |block: &&Arc<Block>| {
            let known = self.certificates.get(&block.height()).map(|it| it.payload.block);
            let follows = std::mem::replace(&mut parent, block.hash()) == block.parent();
            !follows || known.is_some_and(|it| it != block.hash())
        };
        path.iter().find(contradicts).map(|block| block.height())
    }

    fn own_certificate(
        &self,
        block: &Block,
        certificate: &CommitCertificate,
        certified: Hash,
    ) -> Option<CommitCertificate> {
        if block.hash() == certified {
            return Some(certificate.clone());
        }
        self.certificates.get(&block.height()).cloned()
    }

    /// Takes the result of a block that is executed and synced.
    pub(super) fn on_executed(&mut self, outcome: ExecutionOutcome) {
        let height = outcome.checkpoint.height;
        if height <= self.executed.checkpoint.height {
            return; // it was in the tip that this instance was opened with
        }
        assert_eq!(height, self.executed.checkpoint.height.next(), "blocks execute in height order");
        assert!(height <= self.delivered.height, "only delivered blocks execute");
        self.checkpoints.remember(outcome.checkpoint, self.log_window());
        self.executed = outcome;
        self.prune();
    }

    /// Forgets heights up to the highest base that the ledger has synced: from there on the chain itself is the proof. Up to
    /// the base itself would be too far: after a crash the replica stands on the one that is synced, and would say nothing of
    /// the committed blocks above it. Between two of them nothing is forgotten, though their results are reported one by one.
    fn prune(&mut self) {
        let executed = self.executed.checkpoint.height;
        let open = self.unsynced_bases.split_off(&executed.next());
        let synced = std::mem::replace(&mut self.unsynced_bases, open);
        if let Some(height) = synced.last().copied().filter(|it| *it > self.pruned) {
            self.pruned = height;
            self.slots = self.slots.split_off(&height.next());
        }
    }
}
