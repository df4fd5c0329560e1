//! What a liar can show that a correct replica would take. It signs whatever it likes; what it lacks are the signatures
//! of others.

use crate::block::{Block, HEIGHTS, Height, Label};
use crate::normal::{ALL, Protocol, QUORUM};
use crate::state::{State, View};
use crate::view_change::ViewChange;

impl Protocol {
    /// Every VIEW-CHANGE for `view` that the liar can sign so that it is valid: any base that is certified, and at each
    /// height above it none or any of the prepared certificates that exist.
    pub(crate) fn lies(&self, state: &State, view: View) -> Vec<ViewChange> {
        let mut bases = self.certified(state);
        bases.push(Block::GENESIS);
        let mut lies = Vec::new();
        for base in bases {
            let mut partial = vec![ViewChange { base, prepared: [None; HEIGHTS] }];
            for height in base.height() + 1..=HEIGHTS {
                let certificates = self.prepared(state, view, height);
                for index in 0..partial.len() {
                    for &certificate in &certificates {
                        let mut lie = partial[index];
                        lie.prepared[height - 1] = Some(certificate);
                        partial.push(lie);
                    }
                }
            }
            lies.append(&mut partial);
        }
        lies
    }

    /// The prepared certificates at `height`, of views below `view`, that exist.
    fn prepared(&self, state: &State, view: View, height: Height) -> Vec<(View, Block)> {
        let mut certificates = Vec::new();
        for below in 0..view {
            for block in self.correct().filter_map(|r| state.replica(r).prepare(below, height)) {
                let exists = self.prepares_of(state, below, block, ALL) >= QUORUM;
                if exists && !certificates.contains(&(below, block)) {
                    certificates.push((below, block));
                }
            }
        }
        certificates
    }

    /// What a lying primary of `view` proposes on `parent`: two blocks of its own, or one that others proposed before.
    ///
    /// The two differ in nothing but their name, so the second is proposed only where the first is accepted somewhere.
    pub(crate) fn lying_proposals(&self, state: &State, view: View, parent: Block) -> Vec<Block> {
        let first = parent.child(Label::of(view));
        let accepted = |view, block: Block| {
            self.correct().any(|r| state.replica(r).prepare(view, block.height()) == Some(block))
        };
        let mut proposals = vec![first];
        if accepted(view, first) {
            proposals.push(parent.child(Label::SECOND));
        }
        for earlier in 0..view {
            let old = parent.child(Label::of(earlier));
            if accepted(earlier, old) {
                proposals.push(old);
            }
        }
        proposals
    }
}
