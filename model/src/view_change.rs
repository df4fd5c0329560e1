//! The view change, §4: asking, choosing, taking up.

use std::fmt;

use crate::block::{Block, HEIGHTS, Height};
use crate::normal::{FAULTY, Protocol, QUORUM, REPLICAS};
use crate::rules::{Choice, Learning, Rules};
use crate::state::{State, View};

/// What a VIEW-CHANGE says (§4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewChange {
    /// The highest block with a commit certificate.
    pub base: Block,
    /// For each height above: the prepared certificate of the highest view, as that view and its block.
    pub prepared: [Option<(View, Block)>; HEIGHTS],
}

/// What follows from the VIEW-CHANGEs that a NEW-VIEW rests on (§4.2). Two with the same consequences are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NewView {
    /// Where it starts: heights up to here are closed.
    pub base: Block,
    /// The highest base among the VIEW-CHANGEs, whose certificate is learned. By the page it *is* the base.
    pub newest: Block,
    /// The blocks it proposes again.
    pub again: [Option<Block>; HEIGHTS],
}

impl NewView {
    /// View 0 starts without one.
    pub const FIRST: Self = Self { base: Block::GENESIS, newest: Block::GENESIS, again: [None; HEIGHTS] };

    /// The block it proposes again at `height`.
    #[must_use]
    pub fn again(&self, height: Height) -> Option<Block> {
        self.again[height - 1]
    }

    /// The highest block it proposes again.
    #[must_use]
    pub fn highest(&self) -> Option<Block> {
        self.again.iter().rev().find_map(|again| *again)
    }

    /// §4.2: the re-proposal. It begins with the highest base and takes at each next height the certificate of the
    /// highest view, as long as its block stands on the one chosen below; at the first that does not, it stops.
    ///
    /// # Panics
    /// Without VIEW-CHANGEs.
    #[must_use]
    pub fn choose(rules: &Rules, changes: &[ViewChange]) -> Self {
        let bases = || changes.iter().map(|change| change.base);
        let newest = bases().max_by_key(|base| base.height()).expect("a quorum is not empty");
        let base = match rules.choice {
            Choice::FromLowestBase => {
                bases().min_by_key(|base| base.height()).expect("a quorum is not empty")
            }
            Choice::Linked | Choice::Unlinked | Choice::FirstFound | Choice::Tip => newest,
        };
        let mut again = [None; HEIGHTS];
        if rules.choice == Choice::Tip {
            let prepared = changes.iter().flat_map(|change| change.prepared).flatten();
            if let Some((_, tip)) = prepared.max_by_key(|(view, block)| (*view, block.height())) {
                for height in base.height() + 1..=tip.height() {
                    again[height - 1] = Some(tip.at(height));
                }
            }
            return Self { base, newest, again };
        }
        let mut below = base;
        for height in base.height() + 1..=HEIGHTS {
            let mut found = changes.iter().filter_map(|change| change.prepared[height - 1]);
            let certificate = match rules.choice {
                Choice::FirstFound => found.next(),
                Choice::Linked | Choice::Unlinked | Choice::Tip | Choice::FromLowestBase => {
                    found.max_by_key(|(view, _)| *view)
                }
            };
            let Some((_, block)) = certificate else { break };
            if block.parent() != below && rules.choice != Choice::Unlinked {
                break;
            }
            again[height - 1] = Some(block);
            below = block;
        }
        Self { base, newest, again }
    }
}

impl fmt::Display for NewView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "base {}, ", self.base)?;
        if self.newest != self.base {
            write!(f, "though {} is certified, ", self.newest)?;
        }
        match self.highest() {
            None => write!(f, "nothing again"),
            Some(_) => write!(f, "again {:?}", self.again.iter().flatten().collect::<Vec<_>>()),
        }
    }
}

impl Protocol {
    /// §4.1: the VIEW-CHANGE with which a correct replica asked for `view`. It holds, for each height above the base, the
    /// prepared certificate of the highest view it ever held there, whether it links or not.
    pub(crate) fn view_change(state: &State, replica: usize, view: View) -> Option<ViewChange> {
        let replica = state.replica(replica);
        let base = replica.asked(view)?;
        let mut prepared = [None; HEIGHTS];
        for height in base.height() + 1..=HEIGHTS {
            let held = |below| replica.commit(below, height).map(|block| (below, block));
            prepared[height - 1] = (0..view).rev().find_map(held);
        }
        Some(ViewChange { base, prepared })
    }

    /// §4.2: every NEW-VIEW that some Q of the VIEW-CHANGEs for `view` allow, those of the liar included.
    pub(crate) fn new_views(&self, state: &State, view: View) -> Vec<NewView> {
        let correct: Vec<(usize, ViewChange)> =
            self.correct().filter_map(|r| Some((r, Self::view_change(state, r, view)?))).collect();
        let mut new_views = Vec::new();
        let mut rest_on = |changes: &[ViewChange]| {
            let new_view = NewView::choose(&self.rules, changes);
            if !new_views.contains(&new_view) {
                new_views.push(new_view);
            }
        };
        if correct.len() >= QUORUM {
            let changes: Vec<ViewChange> = correct.iter().map(|(_, change)| *change).collect();
            rest_on(&changes);
        }
        if correct.len() + 1 < QUORUM {
            return new_views;
        }
        for lie in self.lies(state, view) {
            // Q without one of the correct ones; a NEW-VIEW lists its VIEW-CHANGEs by signer.
            for (index, (signer, first)) in correct.iter().enumerate() {
                for (other, second) in &correct[index + 1..] {
                    let mut changes = [(*signer, *first), (*other, *second), (self.liar, lie)];
                    changes.sort_by_key(|(signer, _)| *signer);
                    rest_on(&changes.map(|(_, change)| change));
                }
            }
        }
        new_views
    }

    /// §4.3: a replica whose view has not started enters it with this NEW-VIEW.
    pub(crate) fn enter(&self, state: &mut State, replica: usize, new_view: NewView) {
        if self.rules.learning == Learning::AtOnce {
            Self::learn(state, replica, new_view.newest);
        }
        state.replicas[replica].started = Some(new_view);
    }

    /// §4.2: the primary signs one NEW-VIEW for its view, and enters with it.
    pub(crate) fn start(&self, state: &mut State, primary: usize, new_view: NewView) {
        let view = state.replica(primary).view();
        assert!(Self::primary(view) == primary && state.new_views[view].is_none());
        state.new_views[view] = Some(new_view);
        self.enter(state, primary, new_view);
    }

    /// §4: of the highest views that each asks for, the (f + 1)-th highest. A replica below it joins.
    pub(crate) fn joins(mut asks: [View; REPLICAS]) -> View {
        asks.sort_unstable();
        asks[REPLICAS - 1 - FAULTY]
    }
}
