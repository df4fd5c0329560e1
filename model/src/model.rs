//! The model as the checker sees it: what may happen next at a state, and what must hold at each.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;

use stateright::Property;

use crate::block::{Block, HEIGHTS, Height};
use crate::calm::{Calm, Memory, Stuck};
use crate::normal::{ALL, Protocol, REPLICAS};
use crate::state::{State, VIEWS, View};
use crate::view_change::NewView;

/// No two blocks that can be certified fork: decided on the signatures that exist, not on what anybody learned.
pub const AGREEMENT: &str = "agreement";

/// Once all faults but f end, a view forms and a block commits.
pub const RECOVERY: &str = "recovery";

/// A block of the last view commits at the last height somewhere: the search is not empty.
pub const REACH: &str = "reach";

/// How much is searched.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Heights at which blocks are proposed.
    pub heights: Height,
    /// Views that are asked for, with view 0.
    pub views: View,
    /// What is checked at each state.
    pub claims: Claims,
}

/// What is checked at each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// [`AGREEMENT`], which is quick.
    Agreement,
    /// [`RECOVERY`], too.
    AgreementAndRecovery,
}

/// The protocol within bounds.
#[derive(Debug)]
pub struct Model {
    protocol: Protocol,
    bounds: Bounds,
    /// What was seen to recover, so that it is not tried again.
    recovered: Mutex<HashSet<u64>>,
}

/// One thing that happens: a correct replica acts. What the liar does is in the signatures that it acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// §3: the primary makes a block and accepts it.
    Propose(usize, Block),
    /// §3.1, §3.2: a replica accepts a proposal and sends PREPARE.
    Prepare(usize, Block),
    /// §3.3: a replica records the certificate of what it accepted at this height, and sends COMMIT.
    Commit(usize, Height),
    /// §3.4: a commit certificate reaches a replica.
    Learn(usize, Block),
    /// §4.1: a replica asks for a view.
    Ask(usize, View),
    /// §4.2: the primary signs its NEW-VIEW.
    Start(usize, NewView),
    /// §4.3: a replica takes up a NEW-VIEW.
    Enter(usize, NewView),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Propose(primary, block) => write!(f, "r{primary} proposes {block}"),
            Self::Prepare(replica, block) => write!(f, "r{replica} accepts {block} and sends PREPARE"),
            Self::Commit(replica, height) => write!(f, "r{replica} sends COMMIT at height {height}"),
            Self::Learn(replica, block) => write!(f, "r{replica} learns that {block} is committed"),
            Self::Ask(replica, view) => write!(f, "r{replica} asks for view {view}"),
            Self::Start(primary, new_view) => write!(f, "r{primary} sends NEW-VIEW: {new_view}"),
            Self::Enter(replica, new_view) => write!(f, "r{replica} takes up NEW-VIEW: {new_view}"),
        }
    }
}

impl Model {
    /// # Panics
    /// When the bounds are wider than states are, leave no height to recover at, or make the liar primary twice.
    #[must_use]
    pub fn new(protocol: Protocol, bounds: Bounds) -> Self {
        assert!((1..=HEIGHTS).contains(&bounds.heights) && (1..=REPLICAS).contains(&bounds.views));
        assert!(bounds.claims == Claims::Agreement || bounds.heights < HEIGHTS);
        Self { protocol, bounds, recovered: Mutex::default() }
    }

    /// The protocol that is checked.
    #[must_use]
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// Two certified blocks of which one is not on the other's chain.
    #[must_use]
    pub fn fork(&self, state: &State) -> Option<(Block, Block)> {
        let certified = self.protocol.certified(state);
        certified.iter().enumerate().find_map(|(index, one)| {
            Some((*one, *certified[..index].iter().find(|two| one.forks_from(**two))?))
        })
    }

    /// A way in which the replicas do not recover from `state`, though faults end.
    #[must_use]
    pub fn stuck(&self, state: &State) -> Option<Stuck> {
        Memory::ALL.into_iter().find_map(|memory| {
            let essence = state.essence(&self.protocol, memory);
            let mut hasher = DefaultHasher::new();
            (memory, &essence).hash(&mut hasher);
            let known = || self.recovered.lock().expect("no thread panics with it");
            if known().contains(&hasher.finish()) {
                return None;
            }
            let stuck = Calm::all(&self.protocol, memory).find_map(|calm| calm.run(essence.clone()).err());
            if stuck.is_none() {
                known().insert(hasher.finish());
            }
            stuck
        })
    }

    /// How many states differed in what matters to recovery.
    ///
    /// # Panics
    /// When a thread that searched has panicked.
    #[must_use]
    pub fn recovered(&self) -> usize {
        self.recovered.lock().expect("no thread panics with it").len()
    }

    /// The proposals that exist for a replica in its view.
    fn proposals(&self, state: &State, replica: usize, new_view: NewView) -> Vec<Block> {
        let view = state.replica(replica).view();
        let primary = Protocol::primary(view);
        let mut proposals: Vec<Block> = new_view.again.into_iter().flatten().collect();
        if primary == self.protocol.liar {
            let accepted = (1..HEIGHTS).filter_map(|height| state.replica(replica).prepare(view, height));
            for parent in accepted.chain([state.replica(replica).committed()]) {
                if parent.height() < HEIGHTS {
                    proposals.extend(self.protocol.lying_proposals(state, view, parent));
                }
            }
        } else {
            proposals.extend((1..=HEIGHTS).filter_map(|height| state.replica(primary).prepare(view, height)));
        }
        proposals
    }

    /// The NEW-VIEWs that exist for the view that a replica asked for.
    fn new_views(&self, state: &State, view: View) -> Vec<NewView> {
        if Protocol::primary(view) == self.protocol.liar {
            self.protocol.new_views(state, view)
        } else {
            state.new_views[view].into_iter().collect()
        }
    }

    /// What a replica may do in a view that has started.
    fn normal_case(&self, state: &State, replica: usize, new_view: NewView, actions: &mut Vec<Action>) {
        let within = |block: &Block| block.height() <= self.bounds.heights;
        actions
            .extend(self.protocol.fresh(state, replica).filter(within).map(|b| Action::Propose(replica, b)));
        let mut seen = Vec::new();
        for block in self.proposals(state, replica, new_view) {
            if within(&block) && !seen.contains(&block) && self.protocol.accepts(state, replica, block) {
                seen.push(block);
                actions.push(Action::Prepare(replica, block));
            }
        }
        let prepared = |height: &Height| self.protocol.prepares(state, replica, *height, ALL);
        actions.extend((1..=HEIGHTS).filter(prepared).map(|height| Action::Commit(replica, height)));
    }

    /// What a replica may do while its view has not started.
    fn changing(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        let view = state.replica(replica).view();
        if Protocol::primary(view) == replica {
            let new_views = self.protocol.new_views(state, view);
            actions.extend(new_views.into_iter().map(|new_view| Action::Start(replica, new_view)));
        } else {
            let new_views = self.new_views(state, view);
            actions.extend(new_views.into_iter().map(|new_view| Action::Enter(replica, new_view)));
        }
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let certified = self.protocol.certified(state);
        for index in self.protocol.correct() {
            let replica = state.replica(index);
            let news = |block: &&Block| block.height() > replica.committed().height();
            actions.extend(certified.iter().filter(news).map(|block| Action::Learn(index, *block)));
            match replica.started {
                Some(new_view) => self.normal_case(state, index, new_view, actions),
                None => self.changing(state, index, actions),
            }
            actions.extend((replica.view() + 1..self.bounds.views).map(|view| Action::Ask(index, view)));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Propose(replica, block) | Action::Prepare(replica, block) => {
                state.replicas[replica].send_prepare(block);
            }
            Action::Commit(replica, height) => state.replicas[replica].send_commit(height),
            Action::Learn(replica, block) => Protocol::learn(&mut state, replica, block),
            Action::Ask(replica, view) => state.replicas[replica].send_view_change(view),
            Action::Start(primary, new_view) => self.protocol.start(&mut state, primary, new_view),
            Action::Enter(replica, new_view) => self.protocol.enter(&mut state, replica, new_view),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties =
            vec![Property::always(AGREEMENT, |model: &Self, state| model.fork(state).is_none())];
        if self.bounds.claims == Claims::AgreementAndRecovery {
            properties.push(Property::always(RECOVERY, |model: &Self, state| model.stuck(state).is_none()));
        }
        properties.push(Property::sometimes(REACH, |model: &Self, state: &State| {
            let Bounds { heights, views, .. } = model.bounds;
            model.protocol.correct().any(|r| state.replica(r).commit(views - 1, heights).is_some())
        }));
        properties
    }
}

// A liar is primary of one view that is searched, and as many follow to recover in.
const _: () = assert!(VIEWS >= 2 * REPLICAS);
