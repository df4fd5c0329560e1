//! The normal case, §3: what a correct replica may do in a view that has started.

use crate::block::{Block, HEIGHTS, Height, Label};
use crate::rules::{BaseHeights, Prepared, ProposedAgain, Rules};
use crate::state::{State, VIEWS, View};

/// Validators: n = 4, so f = 1 of them lies.
pub const REPLICAS: usize = 4;

/// `f = (n − 1) / 3` (§1).
pub(crate) const FAULTY: usize = (REPLICAS - 1) / 3;

/// `Q = (n + f) / 2 + 1` (§1).
pub const QUORUM: usize = (REPLICAS + FAULTY) / 2 + 1;

/// The protocol among four replicas of which one lies.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// The rules that correct replicas follow.
    pub rules: Rules,
    /// The replica that lies.
    pub liar: usize,
    /// `W`: how far above what is executed a block may stand.
    pub window: Height,
}

/// A set of replicas: those whose signatures one has heard.
pub(crate) type Heard = [bool; REPLICAS];

/// Every signature that exists may be heard, and those of the liar exist.
pub(crate) const ALL: Heard = [true; REPLICAS];

impl Protocol {
    /// §3: `primary(view) = validators[view mod n]`.
    #[must_use]
    pub fn primary(view: View) -> usize {
        view % REPLICAS
    }

    /// The replicas that follow the rules.
    pub fn correct(&self) -> impl Iterator<Item = usize> + use<> {
        let liar = self.liar;
        (0..REPLICAS).filter(move |&replica| replica != liar)
    }

    /// Only those may be heard that follow the rules: the liar is silent.
    pub(crate) fn honest(&self) -> Heard {
        let mut heard = ALL;
        heard[self.liar] = false;
        heard
    }

    /// §3: the block that a correct primary makes next: on the highest one accepted in its view, after all that
    /// NEW-VIEW proposes again. It is its own first to accept it.
    pub(crate) fn fresh(&self, state: &State, primary: usize) -> Option<Block> {
        let replica = state.replica(primary);
        let view = replica.view();
        if Self::primary(view) != primary
            || replica.started?.highest().is_some_and(|b| !self.is_done(state, primary, b))
        {
            return None;
        }
        let accepted = (1..=HEIGHTS).rev().find_map(|height| replica.prepare(view, height));
        let parent =
            accepted.filter(|b| b.height() > replica.committed.height()).unwrap_or(replica.committed);
        if parent.height() == HEIGHTS {
            return None;
        }
        let block = parent.child(Label::of(view));
        self.accepts(state, primary, block).then_some(block)
    }

    /// Whether a block that NEW-VIEW proposes again is accepted here, or its height closed.
    fn is_done(&self, state: &State, replica: usize, block: Block) -> bool {
        let replica = state.replica(replica);
        replica.prepare(replica.view(), block.height()).is_some()
            || block.height() <= replica.committed.height()
    }

    /// §3.1: whether a replica accepts `block` as a proposal of its view's primary.
    pub(crate) fn accepts(&self, state: &State, replica: usize, block: Block) -> bool {
        let replica = state.replica(replica);
        let (view, height) = (replica.view(), block.height());
        // The view is active …
        let Some(new_view) = replica.started else { return false };
        // … `committed < h ≤ executed + W`, and no other block was accepted for (view, h) …
        let committed = replica.committed;
        if height <= committed.height() || height > committed.height() + self.window {
            return false;
        }
        if replica.prepare(view, height).is_some() {
            return false;
        }
        // … its parent is the delivered block below, or the one accepted at h − 1 in this view …
        let parent = block.parent();
        let accepted_below = height > 1 && replica.prepare(view, height - 1) == Some(parent);
        if parent != committed && !accepted_below {
            return false;
        }
        // … heights up to NEW-VIEW's base are closed …
        if self.rules.base_heights == BaseHeights::Closed && height <= new_view.base.height() {
            return false;
        }
        // … and what NEW-VIEW proposes again comes exactly so.
        match (self.rules.proposed_again, new_view.again(height)) {
            (ProposedAgain::Exactly, Some(again)) => block == again,
            (ProposedAgain::Exactly, None) | (ProposedAgain::Anything, _) => true,
        }
    }

    /// §3.3: whether a replica that heard the PREPAREs of `heard` records a certificate for what it accepted at `height`,
    /// and casts COMMIT.
    pub(crate) fn prepares(&self, state: &State, index: usize, height: Height, heard: Heard) -> bool {
        let replica = state.replica(index);
        let view = replica.view();
        if !replica.is_active() || replica.commit(view, height).is_some() {
            return false;
        }
        let Some(block) = replica.prepare(view, height) else { return false };
        let parent = block.parent();
        let stands = replica.committed.is_on(parent)
            || height > 1 && replica.commit(view, height - 1) == Some(parent)
            || self.rules.prepared == Prepared::Alone;
        stands && self.prepares_of(state, view, block, heard) >= QUORUM
    }

    /// How many in `heard` signed a PREPARE. The liar signs whatever it likes.
    pub(crate) fn prepares_of(&self, state: &State, view: View, block: Block, heard: Heard) -> usize {
        let signed =
            |r: usize| r == self.liar || state.replica(r).prepare(view, block.height()) == Some(block);
        (0..REPLICAS).filter(|&r| heard[r] && signed(r)).count()
    }

    /// How many in `heard` signed a COMMIT.
    fn commits_of(&self, state: &State, view: View, block: Block, heard: Heard) -> usize {
        let signed =
            |r: usize| r == self.liar || state.replica(r).commit(view, block.height()) == Some(block);
        (0..REPLICAS).filter(|&r| heard[r] && signed(r)).count()
    }

    /// §3.4: the blocks with Q COMMITs in one view, each once: what can be certified.
    pub(crate) fn certified(&self, state: &State) -> Vec<Block> {
        let mut certified = Vec::new();
        for view in 0..VIEWS {
            for block in self.certified_in(state, view, ALL) {
                if !certified.contains(&block) {
                    certified.push(block);
                }
            }
        }
        certified
    }

    /// §3.4: the blocks with Q COMMITs of `view` among `heard`.
    pub(crate) fn certified_in(
        &self,
        state: &State,
        view: View,
        heard: Heard,
    ) -> impl Iterator<Item = Block> {
        let signed = move |height| self.correct().filter_map(move |r| state.replica(r).commit(view, height));
        let blocks = (1..=HEIGHTS).flat_map(signed);
        blocks.filter(move |block| self.commits_of(state, view, *block, heard) >= QUORUM)
    }

    /// §3.4: a commit certificate is learned; it covers all ancestors.
    pub(crate) fn learn(state: &mut State, replica: usize, block: Block) {
        let committed = &mut state.replicas[replica].committed;
        if block.height() > committed.height() {
            *committed = block;
        }
    }
}
