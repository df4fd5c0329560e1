//! What of a state can matter once faults end. Very many states are one in this, and [`Calm`](crate::Calm) has to run
//! for each but once.

use crate::block::Block;
use crate::calm::Memory;
use crate::normal::Protocol;
use crate::state::{State, VIEWS};
use crate::view_change::NewView;

impl State {
    /// The state as it is when all correct replicas know what one of them knows committed, or all of them can count, and
    /// without what is of no use from then on: what stands at those heights, and votes in views where nobody is who would
    /// repeat or remember them. What a pending or later VIEW-CHANGE reports stays.
    #[must_use]
    pub fn essence(&self, protocol: &Protocol, memory: Memory) -> Self {
        let committed = self.known(protocol, memory);
        let shorten = |new_view: NewView| NewView {
            base: if committed.is_on(new_view.base) { Block::GENESIS } else { new_view.base },
            newest: if committed.is_on(new_view.newest) { Block::GENESIS } else { new_view.newest },
            again: new_view.again.map(|again| again.filter(|block| block.height() > committed.height())),
        };
        let lowest = protocol.correct().map(|r| self.replica(r).view()).min().expect("somebody is correct");
        let mut essence = Self::new();
        for index in protocol.correct() {
            let replica = self.replica(index);
            let votes = match memory {
                Memory::Lost => replica.view(),
                Memory::Kept => lowest,
            };
            let mut left = replica.forget(votes, committed.height());
            left.started = left.started.map(shorten);
            essence.replicas[index] = left;
            Protocol::learn(&mut essence, index, committed);
        }
        if memory == Memory::Kept {
            for view in lowest..VIEWS {
                essence.new_views[view] = self.new_views[view].map(shorten);
            }
        }
        essence
    }

    /// The highest block of which some correct replica knows a commit certificate, or all can make one of what they
    /// remember.
    pub(crate) fn known(&self, protocol: &Protocol, memory: Memory) -> Block {
        let known = protocol.correct().map(|r| self.replica(r).committed());
        let remembered = match memory {
            Memory::Lost => 0..0,
            Memory::Kept => 0..VIEWS,
        };
        let counted = remembered.flat_map(|view| protocol.certified_in(self, view, protocol.honest()));
        known.chain(counted).max_by_key(|block| block.height()).expect("somebody is correct")
    }
}
