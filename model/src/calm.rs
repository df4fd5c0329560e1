//! What happens once faults end: the liar is silent, every message arrives, and timers run out only where everything that
//! was to arrive has, as after long enough waits. From any state, a block must commit everywhere within a few views.
//!
//! The states of the model do not say who has received what. So this is run for each thing that may matter: whether what
//! was sent before is remembered or lost, who has heard the liar ask for a view that is far away, and who is first to
//! lose patience.

use std::fmt;
use std::iter;

use crate::block::{Block, HEIGHTS};
use crate::normal::{Heard, Protocol, QUORUM, REPLICAS};
use crate::rules::NewViewTimer;
use crate::state::{State, VIEWS, View};
use crate::view_change::{NewView, ViewChange};

/// How the replicas fail to recover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// No block can commit, and no timer runs that would change that.
    StandStill(Box<State>),
    /// View after view ends without a block.
    NoView(Box<State>),
}

impl Stuck {
    /// Where that ends.
    #[must_use]
    pub fn state(&self) -> &State {
        match self {
            Self::StandStill(state) | Self::NoView(state) => state,
        }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandStill(_) => write!(f, "no timer runs")?,
            Self::NoView(_) => write!(f, "view after view ends without a block")?,
        }
        for (index, replica) in self.state().replicas.iter().enumerate() {
            match replica.started {
                Some(new_view) => write!(f, "; r{index} is in view {} ({new_view})", replica.view())?,
                None => write!(f, "; r{index} waits for view {}", replica.view())?,
            }
        }
        Ok(())
    }
}

/// What is known of messages that correct replicas sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// What is repeated: votes by those who are in a view, requests for a view that has not started.
    Lost,
    /// All votes, all NEW-VIEWs, and who asked for what.
    Kept,
}

impl Memory {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Lost, Self::Kept];
}

/// Whose timer runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// All those that run, at once.
    Alike,
    /// One after another, the replica in the lowest view first.
    Differs,
}

/// One way in which faults may end.
#[derive(Clone, Copy, Debug)]
pub struct Calm<'a> {
    protocol: &'a Protocol,
    memory: Memory,
    patience: Patience,
    /// Who has heard the liar ask for the highest view there is.
    told: [bool; REPLICAS],
}

impl<'a> Calm<'a> {
    /// Every way, with this memory.
    pub fn all(protocol: &'a Protocol, memory: Memory) -> impl Iterator<Item = Self> {
        let subsets = (0..1 << REPLICAS).map(|bits: u8| [0, 1, 2, 3].map(|r| bits & 1 << r != 0));
        let told = subsets.filter(|told| !told[protocol.liar]);
        told.flat_map(move |told| {
            [Patience::Alike, Patience::Differs].map(|patience| Self { protocol, memory, patience, told })
        })
    }

    /// Runs until every correct replica knows a block committed above all that any of them knew, and says which view that
    /// took.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn run(&self, mut state: State) -> Result<View, Stuck> {
        let before = self.highest(&state).height();
        loop {
            self.deliver(&mut state);
            if self.protocol.correct().all(|r| state.replica(r).committed().height() > before) {
                return Ok(self.protocol.correct().map(|r| state.replica(r).view()).max().unwrap_or(0));
            }
            let expired = self.expired(&state);
            if expired.is_empty() {
                return Err(Stuck::StandStill(Box::new(state)));
            }
            for replica in expired {
                let next = state.replica(replica).view() + 1;
                if next == VIEWS {
                    return Err(Stuck::NoView(Box::new(state)));
                }
                state.replicas[replica].send_view_change(next);
            }
        }
    }

    /// Lets every correct replica act on what it hears until nothing is new.
    fn deliver(&self, state: &mut State) {
        let mut moved = true;
        while moved {
            moved = false;
            for replica in self.protocol.correct() {
                moved |= self.hear(state, replica);
            }
        }
    }

    /// One replica hears what the others repeat and does the first thing that follows.
    fn hear(&self, state: &mut State, replica: usize) -> bool {
        let known = state.replica(replica).committed().height();
        let view = state.replica(replica).view();
        // §5, STATUS: who has committed more sends it; who holds Q COMMITs needs nobody.
        let news =
            self.certified(state, view).chain([self.highest(state)]).find(|block| block.height() > known);
        if let Some(block) = news {
            Protocol::learn(state, replica, block);
            return true;
        }
        // §4.3: NEW-VIEW is repeated to who is below it or has not entered.
        if let Some((view, new_view)) = self.new_view(state, replica) {
            if state.replica(replica).view() < view {
                state.replicas[replica].send_view_change(view);
            }
            self.protocol.enter(state, replica, new_view);
            return true;
        }
        // §4: f + 1 that ask for higher views carry one along.
        let joins = Protocol::joins(self.asks(state, replica)).min(VIEWS - 1);
        if joins > view {
            state.replicas[replica].send_view_change(joins);
            return true;
        }
        if !state.replica(replica).is_active() {
            return self.starts(state, replica);
        }
        self.votes(state, replica)
    }

    /// §4.2: a primary that has Q VIEW-CHANGEs for its view starts it.
    fn starts(&self, state: &mut State, primary: usize) -> bool {
        let view = state.replica(primary).view();
        if Protocol::primary(view) != primary || state.new_views[view].is_some() {
            return false;
        }
        let repeats = |r: &usize| state.replica(*r).view() == view;
        let changes: Vec<ViewChange> = self
            .protocol
            .correct()
            .filter(repeats)
            .filter_map(|r| Protocol::view_change(state, r, view))
            .collect();
        if changes.len() < QUORUM {
            return false;
        }
        let new_view = NewView::choose(&self.protocol.rules, &changes);
        self.protocol.start(state, primary, new_view);
        true
    }

    /// §3: proposes, accepts and votes.
    fn votes(&self, state: &mut State, replica: usize) -> bool {
        let view = state.replica(replica).view();
        let heard = self.heard(state, view);
        let now: &State = state;
        // §3: work waits, so a primary proposes; §5: proposals come from whoever accepted them.
        let again = now.replica(replica).started.into_iter().flat_map(|new_view| new_view.again).flatten();
        let accepted = |height| {
            let by = self.protocol.correct().filter(|&r| heard[r]);
            by.filter_map(move |r| now.replica(r).prepare(view, height))
        };
        let proposals = again.chain((1..=HEIGHTS).flat_map(accepted));
        let fresh = iter::once_with(|| self.protocol.fresh(now, replica)).flatten();
        let found = proposals.chain(fresh).find(|block| self.protocol.accepts(now, replica, *block));
        if let Some(block) = found {
            state.replicas[replica].send_prepare(block);
            return true;
        }
        let prepared = (1..=HEIGHTS).find(|height| self.protocol.prepares(state, replica, *height, heard));
        if let Some(height) = prepared {
            state.replicas[replica].send_commit(height);
        }
        prepared.is_some()
    }

    /// The highest block that a correct replica knows committed.
    fn highest(&self, state: &State) -> Block {
        let committed = self.protocol.correct().map(|r| state.replica(r).committed());
        committed.max_by_key(|block| block.height()).expect("somebody is correct")
    }

    /// §3.4: the blocks with Q COMMITs, in this view, or in any if they are remembered.
    fn certified(&self, state: &State, view: View) -> impl Iterator<Item = Block> {
        let views = (0..VIEWS).filter(move |&of| of == view || self.memory == Memory::Kept);
        views.flat_map(move |of| self.protocol.certified_in(state, of, self.heard(state, of)))
    }

    /// Whose votes and proposals of `view` arrive: those of replicas that are in it, and those that are remembered.
    fn heard(&self, state: &State, view: View) -> Heard {
        let mut heard = self.protocol.honest();
        if self.memory == Memory::Lost {
            for replica in self.protocol.correct() {
                heard[replica] = state.replica(replica).view() == view;
            }
        }
        heard
    }

    /// A NEW-VIEW that is repeated and takes this replica further.
    fn new_view(&self, state: &State, replica: usize) -> Option<(View, NewView)> {
        let (view, active) = (state.replica(replica).view(), state.replica(replica).is_active());
        let held = |r: usize| Some((state.replica(r).view(), state.replica(r).started?));
        let signed = (0..VIEWS).filter_map(|view| Some((view, state.new_views[view]?)));
        let remembered = signed.filter(|_| self.memory == Memory::Kept);
        let repeated = self.protocol.correct().filter_map(held).chain(remembered);
        repeated.filter(|(of, _)| *of > view || *of == view && !active).max_by_key(|(of, _)| *of)
    }

    /// The highest view that each is known to ask for. A request is repeated until its view has started.
    fn asks(&self, state: &State, replica: usize) -> [View; REPLICAS] {
        let mut asks = [0; REPLICAS];
        for other in self.protocol.correct() {
            let repeated =
                other == replica || self.memory == Memory::Kept || !state.replica(other).is_active();
            asks[other] = if repeated { state.replica(other).view() } else { 0 };
        }
        asks[self.protocol.liar] = if self.told[replica] { View::MAX } else { 0 };
        asks
    }

    /// §5: the replicas whose timer runs out. In an active view work waits, so suspicion runs.
    fn expired(&self, state: &State) -> Vec<usize> {
        let runs = |&replica: &usize| {
            let view = state.replica(replica).view();
            let asks = self.asks(state, replica).into_iter();
            state.replica(replica).is_active()
                || match self.protocol.rules.new_view_timer {
                    NewViewTimer::OrHigher => asks.filter(|&asked| asked >= view).count() >= QUORUM,
                    NewViewTimer::Exactly => asks.filter(|&asked| asked == view).count() >= QUORUM,
                }
        };
        let mut expired: Vec<usize> = self.protocol.correct().filter(runs).collect();
        if self.patience == Patience::Differs {
            expired.sort_by_key(|&r| state.replica(r).view());
            expired.truncate(1);
        }
        expired
    }
}
