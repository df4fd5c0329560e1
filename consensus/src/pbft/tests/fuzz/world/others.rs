//! The other validators: what they may sign. Liars sign anything; the rest one vote of a kind at a place, for sound blocks
//! that exclude nothing final, and CHECKPOINTs of final blocks as they are. A block is *final* once one of them signed
//! COMMIT for it, since it may then commit; so are its ancestors. Nobody signs for the replica itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_crypto::{Hash, MultiSignature};
use quorate_ledger::{Block, CheckpointCertificate, CommitCertificate, CommitPayload, Height, View};

use super::super::{super::bench::Bench, oracle::Oracle};
use crate::{
    evidence::VoteKind,
    pbft::message::{Base, CheckpointVote, NewView, PreparedCertificate, ViewChange, Vote},
};

/// Blocks that are remembered.
const BLOCKS_MAX: usize = 64;

/// A block, and whether it is well made on a well-made chain.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) block: Arc<Block>,
    pub(super) sound: bool,
}

pub(super) struct Others {
    n: usize,
    me: usize,
    liars: BTreeSet<usize>,
    /// Oldest first.
    pub(super) blocks: Vec<Known>,
    by_hash: BTreeMap<Hash, Arc<Block>>,
    signed: BTreeMap<(VoteKind, View, Height, usize), Hash>,
    finals: BTreeMap<Height, Hash>,
    changes: BTreeMap<(View, usize), ViewChange>,
    new_views: BTreeMap<View, NewView>,
}

impl Others {
    pub(super) fn new(n: usize, me: usize, liars: Vec<usize>) -> Self {
        Self {
            n,
            me,
            liars: liars.into_iter().collect(),
            blocks: Vec::new(),
            by_hash: BTreeMap::new(),
            signed: BTreeMap::new(),
            finals: BTreeMap::new(),
            changes: BTreeMap::new(),
            new_views: BTreeMap::new(),
        }
    }

    pub(super) fn is_liar(&self, validator: usize) -> bool {
        self.liars.contains(&validator)
    }

    pub(super) fn learn(&mut self, known: Known) {
        self.by_hash.insert(known.block.hash(), Arc::clone(&known.block));
        self.blocks.retain(|it| it.block.hash() != known.block.hash());
        if self.blocks.len() == BLOCKS_MAX {
            self.blocks.remove(0);
        }
        self.blocks.push(known);
    }

    /// The block that a good proposal extends: the highest the replica accepted, or the last delivered.
    pub(super) fn best(&self, accepted: &[Arc<Block>], delivered: Option<Arc<Block>>) -> Option<Known> {
        let block = accepted.last().cloned().or(delivered)?;
        let sound = self.blocks.iter().any(|it| it.sound && it.block.hash() == block.hash());
        Some(Known { block, sound })
    }

    pub(super) fn is_final(&self, block: &Block) -> bool {
        self.finals.get(&block.height()) == Some(&block.hash())
    }

    /// The highest final block that this one stands on.
    pub(super) fn final_ancestor(&self, block: &Block) -> Option<Arc<Block>> {
        let mut below = self.by_hash.get(&block.hash())?;
        while !self.is_final(below) {
            below = self.by_hash.get(&below.parent())?;
        }
        Some(Arc::clone(below))
    }

    /// The chain from a height up to a block, if all of it is known.
    pub(super) fn path(&self, last: &Arc<Block>, first: Height) -> Option<Vec<Arc<Block>>> {
        let mut path = vec![Arc::clone(last)];
        while path.last()?.height() > first {
            let below = self.by_hash.get(&path.last()?.parent())?;
            path.push(Arc::clone(below));
        }
        path.reverse();
        (path[0].height() == first).then_some(path)
    }

    /// Whether nothing final is excluded by it.
    fn fits(&self, block: &Arc<Block>) -> bool {
        let highest = self.finals.last_key_value().map(|(height, _)| *height);
        if highest.is_some_and(|it| it >= block.height()) {
            return self.is_final(block);
        }
        match highest {
            None => true,
            Some(highest) => self.path(block, highest).is_some_and(|it| self.is_final(&it[0])),
        }
    }

    fn may_vote(&self, kind: VoteKind, view: View, known: &Known, signer: usize) -> bool {
        if signer == self.me {
            return false;
        }
        let place = (kind, view, known.block.height(), signer);
        let first = self.signed.get(&place).is_none_or(|it| *it == known.block.hash());
        self.is_liar(signer) || (first && known.sound && self.fits(&known.block))
    }

    fn note(&mut self, kind: VoteKind, view: View, known: &Known, signer: usize) {
        if self.is_liar(signer) {
            return;
        }
        self.signed.insert((kind, view, known.block.height(), signer), known.block.hash());
        if kind == VoteKind::Commit {
            let mut block = Some(&known.block);
            while let Some(one) = block {
                self.finals.insert(one.height(), one.hash());
                block = self.by_hash.get(&one.parent());
            }
        }
    }

    /// A vote, if its signer would cast it.
    pub(super) fn vote(
        &mut self,
        bench: &Bench,
        kind: VoteKind,
        view: View,
        known: &Known,
        signer: usize,
    ) -> Option<Vote> {
        if !self.may_vote(kind, view, known, signer) {
            return None;
        }
        self.note(kind, view, known, signer);
        Some(bench.vote_in(view.0, kind, signer, &known.block))
    }

    /// Q signatures, the replica's own among them only if it gave it.
    fn certify(
        &mut self,
        bench: &Bench,
        own: &Oracle,
        kind: VoteKind,
        view: View,
        known: &Known,
    ) -> Option<(CommitPayload, MultiSignature)> {
        let payload = bench.payload_in(view.0, &known.block);
        let mine = own.vote(kind, view, known.block.height()).filter(|it| it.payload == payload);
        let mine = mine.map(|it| (self.me, it.signature));
        let willing = (0..self.n).filter(|it| self.may_vote(kind, view, known, *it));
        let willing: Vec<usize> = willing.take(bench.scope.quorum().q() - mine.iter().count()).collect();
        if willing.len() + mine.iter().count() < bench.scope.quorum().q() {
            return None;
        }
        willing.iter().for_each(|it| self.note(kind, view, known, *it));
        let chain = &bench.scope.chain;
        let votes = willing.iter().map(|it| (*it, bench.keys[*it].sign(kind.domain(), chain, &payload)));
        Some((payload, MultiSignature::from_votes(self.n, votes.chain(mine))))
    }

    pub(super) fn prepared(
        &mut self,
        bench: &Bench,
        own: &Oracle,
        view: View,
        known: &Known,
    ) -> Option<PreparedCertificate> {
        let (payload, signatures) = self.certify(bench, own, VoteKind::Prepare, view, known)?;
        Some(PreparedCertificate { header: known.block.header().clone(), payload, signatures })
    }

    /// A commit certificate, of the first view in which there can be one.
    pub(super) fn certificate(
        &mut self,
        bench: &Bench,
        own: &Oracle,
        known: &Known,
    ) -> Option<CommitCertificate> {
        (0..4).find_map(|view| {
            let (payload, signatures) = self.certify(bench, own, VoteKind::Commit, View(view), known)?;
            Some(CommitCertificate { payload, signatures })
        })
    }

    pub(super) fn checkpoint_vote(
        &self,
        bench: &Bench,
        known: &Known,
        signer: usize,
        wrong: bool,
    ) -> Option<CheckpointVote> {
        let lies = self.is_liar(signer);
        if signer == self.me || !(lies || self.is_final(&known.block)) {
            return None;
        }
        let mut result = bench.result(&known.block);
        if wrong && lies {
            result.state_root = Hash::of(b"another state");
        }
        Some(bench.checkpoint(signer, result))
    }

    /// The checkpoint certificate of a final block, where all others are a quorum.
    pub(super) fn checkpoint(&self, bench: &Bench, block: &Arc<Block>) -> Option<CheckpointCertificate> {
        let others: Vec<usize> = (0..self.n).filter(|it| *it != self.me).collect();
        let enough = others.len() >= bench.scope.quorum().q();
        enough.then(|| bench.checkpoint_certificate(bench.result(block), &others))
    }

    /// A VIEW-CHANGE: what its signer said before, if it is no liar.
    pub(super) fn change(
        &mut self,
        bench: &Bench,
        own: &Oracle,
        view: View,
        signer: usize,
        base: Option<&Known>,
        mut prepared: Vec<PreparedCertificate>,
    ) -> Option<ViewChange> {
        if signer == self.me {
            return None;
        }
        if let Some(said) = self.changes.get(&(view, signer)).filter(|_| !self.is_liar(signer)) {
            return Some(said.clone());
        }
        let genesis = Base { height: Height(0), block: bench.scope.chain, certificate: None };
        let certificate = base.and_then(|it| self.certificate(bench, own, it));
        let base = certificate.map_or(genesis, |it| Base {
            height: it.payload.height,
            block: it.payload.block,
            certificate: Some(it),
        });
        prepared.retain(|it| it.payload.height > base.height && it.payload.view < view);
        prepared.sort_by_key(|it| it.payload.height);
        prepared.dedup_by_key(|it| it.payload.height);
        let change = bench.change_from(signer, view.0, base, prepared);
        self.changes.insert((view, signer), change.clone());
        Some(change)
    }

    /// A NEW-VIEW: what its signer said before, if it is no liar.
    pub(super) fn new_view(&mut self, signer: usize, made: NewView) -> NewView {
        if self.is_liar(signer) {
            return made;
        }
        self.new_views.entry(made.payload.view).or_insert(made).clone()
    }
}
