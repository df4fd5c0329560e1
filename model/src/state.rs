//! What exists: every signature of a correct replica, and where each replica stands.

use crate::block::{Block, HEIGHTS, Height};
use crate::normal::REPLICAS;
use crate::view_change::NewView;

/// A view's number.
pub type View = usize;

/// Views that fit into a [`State`]: those that are searched, and room to recover in.
pub const VIEWS: usize = 8;

/// All replicas. That of the liar stays as it began: whatever it may sign exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) replicas: [Replica; REPLICAS],
    /// The NEW-VIEWs that correct primaries signed, by view.
    pub(crate) new_views: [Option<NewView>; VIEWS],
}

/// One correct replica: its place, and what it signed. It has sent all of that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// The view it is in or has asked for; it votes in no lower one.
    pub(crate) view: u8,
    /// The NEW-VIEW with which its view started; until then it votes for nothing.
    pub(crate) started: Option<NewView>,
    /// The highest block it knows a commit certificate of. Bodies are everywhere, so this is its base, too, and what it
    /// has delivered and executed.
    pub(crate) committed: Block,
    /// PREPAREs: the block it accepted, by view and height.
    prepares: [[Option<Block>; HEIGHTS]; VIEWS],
    /// COMMITs, each for the block accepted there: a bit for each height, by view. A COMMIT is cast where the prepared
    /// certificate is recorded, so these are the certificates that the replica holds, too.
    commits: [u8; VIEWS],
    /// VIEW-CHANGEs: the base each reports, by view. The certificates above it follow from the COMMITs, since none is cast
    /// below a view that was asked for.
    asked: [Option<Block>; VIEWS],
}

impl State {
    /// View 0 has started everywhere, on the genesis.
    #[must_use]
    pub fn new() -> Self {
        let replica = Replica {
            view: 0,
            started: Some(NewView::FIRST),
            committed: Block::GENESIS,
            prepares: [[None; HEIGHTS]; VIEWS],
            commits: [0; VIEWS],
            asked: [None; VIEWS],
        };
        Self { replicas: [const { 0 }; REPLICAS].map(|_| replica.clone()), new_views: [None; VIEWS] }
    }

    /// A replica.
    ///
    /// # Panics
    /// When there is no such replica.
    #[must_use]
    pub fn replica(&self, index: usize) -> &Replica {
        &self.replicas[index]
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl Replica {
    /// The view it is in or has asked for.
    #[must_use]
    pub fn view(&self) -> View {
        View::from(self.view)
    }

    /// Whether that view has started here.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.started.is_some()
    }

    /// The highest block it knows a commit certificate of.
    #[must_use]
    pub fn committed(&self) -> Block {
        self.committed
    }

    /// The block it sent a PREPARE for.
    #[must_use]
    pub fn prepare(&self, view: View, height: Height) -> Option<Block> {
        self.prepares[view][height - 1]
    }

    /// The block it sent a COMMIT for.
    #[must_use]
    pub fn commit(&self, view: View, height: Height) -> Option<Block> {
        if self.commits[view] & 1 << height == 0 { None } else { self.prepare(view, height) }
    }

    /// The base it reported when it asked for `view`.
    #[must_use]
    pub fn asked(&self, view: View) -> Option<Block> {
        self.asked[view]
    }

    /// What is left of it when votes below the view `votes`, or at heights up to `closed`, have no use any more: its place,
    /// its pending request, and the certificates that a request reports.
    pub(crate) fn forget(&self, votes: View, closed: Height) -> Self {
        let view = self.view();
        let mut left = Self {
            view: self.view,
            started: self.started,
            committed: self.committed,
            prepares: [[None; HEIGHTS]; VIEWS],
            commits: [0; VIEWS],
            asked: [None; VIEWS],
        };
        if !self.is_active() {
            left.asked[view] = self.asked[view];
        }
        let base = left.asked[view].map_or(closed, Block::height);
        for height in 1..=HEIGHTS {
            let useful = if height > closed { votes..view + 1 } else { 0..0 };
            let held = (0..view).rev().find(|&below| self.commit(below, height).is_some());
            for of in useful.chain(held.filter(|_| height > base)) {
                left.prepares[of][height - 1] = self.prepares[of][height - 1];
                left.commits[of] |= self.commits[of] & 1 << height;
            }
        }
        left
    }

    /// Accepts a block in its view and sends a PREPARE: one a height.
    pub(crate) fn send_prepare(&mut self, block: Block) {
        let slot = &mut self.prepares[usize::from(self.view)][block.height() - 1];
        assert!(slot.is_none());
        *slot = Some(block);
    }

    /// Records the certificate of the block accepted at `height` in its view and sends a COMMIT.
    pub(crate) fn send_commit(&mut self, height: Height) {
        self.commits[usize::from(self.view)] |= 1 << height;
    }

    /// Promises to vote in no view below, and says what is committed and prepared.
    pub(crate) fn send_view_change(&mut self, view: View) {
        assert!(view > self.view());
        self.view = u8::try_from(view).expect("a small number");
        self.started = None;
        self.asked[view] = Some(self.committed);
    }
}
