//! Queues in front of the verifiers, one for each source and urgency, taken in turn.
//!
//! Invariants:
//! - What one source sent on one lane is handled in order, one item at a time.
//! - Sources are taken in turn: one that floods fills its own queue and loses its own oldest items, nothing else.
//! - Everything urgent comes before everything in bulk, and some verifiers take nothing but urgent items, so a bundle of
//!   thousands of signatures never stands between a vote and the engine.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Condvar, Mutex, MutexGuard},
};

use crate::wire::Lane;

/// Items of one source that wait on one lane.
pub(super) const ITEMS_PER_SOURCE_MAX: usize = 1_024;
/// Sources with something waiting, on one lane.
pub(super) const SOURCES_MAX: usize = 1_024;

/// The queues.
#[derive(Debug)]
pub(super) struct Lanes<K, T> {
    state: Mutex<State<K, T>>,
    filled: Condvar,
}

/// Which lanes a worker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    /// Nothing but urgent items.
    Urgent,
    /// Urgent items first, then bulk.
    Both,
}

/// An item, to be given back with [`Lanes::done`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken<K, T> {
    pub(super) lane: Lane,
    pub(super) source: K,
    pub(super) item: T,
}

#[derive(Debug)]
struct State<K, T> {
    urgent: Queues<K, T>,
    bulk: Queues<K, T>,
    closed: bool,
}

#[derive(Debug)]
struct Queues<K, T> {
    sources: HashMap<K, Source<T>>,
    /// Sources with something waiting of which nothing is being handled.
    turn: VecDeque<K>,
}

#[derive(Debug)]
struct Source<T> {
    items: VecDeque<T>,
    handling: bool,
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// Empty ones.
    pub(super) fn new() -> Self {
        let queues = || Queues { sources: HashMap::new(), turn: VecDeque::new() };
        let state = State { urgent: queues(), bulk: queues(), closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new() }
    }

    /// Adds an item; returns one that had to go for it, the source's oldest.
    pub(super) fn push(&self, lane: Lane, source: K, item: T) -> Option<T> {
        let dropped = self.lock().queues(lane).push(source, item);
        // All are woken: the one that is woken might not serve this lane.
        self.filled.notify_all();
        dropped
    }

    /// Waits for an item; `None` when closed.
    pub(super) fn take(&self, serves: Serves) -> Option<Taken<K, T>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(taken) = state.take(serves) {
                return Some(taken);
            }
            state = self.filled.wait(state).expect("no holder of this lock panics");
        }
    }

    /// The item is handled; the source's next may be taken.
    pub(super) fn done(&self, lane: Lane, source: &K) {
        self.lock().queues(lane).done(source);
        self.filled.notify_all();
    }

    /// Ends all waiting.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<K, T>> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl<K: Clone + Eq + Hash, T> State<K, T> {
    fn queues(&mut self, lane: Lane) -> &mut Queues<K, T> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Bulk => &mut self.bulk,
        }
    }

    fn take(&mut self, serves: Serves) -> Option<Taken<K, T>> {
        let lanes: &[Lane] = match serves {
            Serves::Urgent => &[Lane::Urgent],
            Serves::Both => &[Lane::Urgent, Lane::Bulk],
        };
        lanes.iter().find_map(|lane| {
            let (source, item) = self.queues(*lane).take()?;
            Some(Taken { lane: *lane, source, item })
        })
    }
}

impl<K: Clone + Eq + Hash, T> Queues<K, T> {
    fn push(&mut self, source: K, item: T) -> Option<T> {
        if !self.sources.contains_key(&source) && self.sources.len() >= SOURCES_MAX {
            return Some(item);
        }
        let queue = self
            .sources
            .entry(source.clone())
            .or_insert_with(|| Source { items: VecDeque::new(), handling: false });
        let dropped = if queue.items.len() >= ITEMS_PER_SOURCE_MAX { queue.items.pop_front() } else { None };
        if queue.items.is_empty() && !queue.handling {
            self.turn.push_back(source);
        }
        queue.items.push_back(item);
        dropped
    }

    fn take(&mut self) -> Option<(K, T)> {
        let source = self.turn.pop_front()?;
        let queue = self.sources.get_mut(&source).expect("a source that has a turn is here");
        let item = queue.items.pop_front().expect("a source that has a turn has an item");
        queue.handling = true;
        Some((source, item))
    }

    fn done(&mut self, source: &K) {
        let queue = self.sources.get_mut(source).expect("what is handled came from here");
        queue.handling = false;
        if queue.items.is_empty() {
            self.sources.remove(source);
        } else {
            self.turn.push_back(source.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(lanes: &Lanes<u8, u32>, serves: Serves) -> Option<(u8, u32)> {
        lanes.lock().take(serves).map(|taken| (taken.source, taken.item))
    }

    #[test]
    fn sources_are_taken_in_turn_and_each_in_order() {
        let lanes = Lanes::new();
        for (source, item) in [(1, 10), (1, 11), (2, 20)] {
            assert_eq!(lanes.push(Lane::Urgent, source, item), None);
        }
        assert_eq!(take(&lanes, Serves::Both), Some((1, 10)));
        assert_eq!(take(&lanes, Serves::Both), Some((2, 20)));
        assert_eq!(take(&lanes, Serves::Both), None, "one item of a source at a time");
        lanes.done(Lane::Urgent, &1);
        assert_eq!(take(&lanes, Serves::Both), Some((1, 11)));
    }

    #[test]
    fn urgent_comes_before_bulk_and_some_take_nothing_else() {
        let lanes = Lanes::new();
        lanes.push(Lane::Bulk, 1, 1);
        lanes.push(Lane::Urgent, 1, 2);
        assert_eq!(take(&lanes, Serves::Both), Some((1, 2)));
        assert_eq!(take(&lanes, Serves::Urgent), None);
        assert_eq!(
            take(&lanes, Serves::Both),
            Some((1, 1)),
            "lanes of one source do not wait for each other"
        );
    }

    #[test]
    fn a_flood_costs_its_own_oldest_only() {
        let lanes = Lanes::new();
        lanes.push(Lane::Urgent, 2, 7);
        for item in 0..ITEMS_PER_SOURCE_MAX as u32 {
            assert_eq!(lanes.push(Lane::Urgent, 1, item), None);
        }
        assert_eq!(lanes.push(Lane::Urgent, 1, 9_999), Some(0), "one past the limit the oldest goes");
        assert_eq!(take(&lanes, Serves::Both), Some((2, 7)));
        assert_eq!(take(&lanes, Serves::Both), Some((1, 1)));
    }

    #[test]
    fn one_source_too_many_is_turned_away() {
        let lanes: Lanes<u32, u32> = Lanes::new();
        for source in 0..SOURCES_MAX as u32 {
            assert_eq!(lanes.push(Lane::Bulk, source, 0), None);
        }
        assert_eq!(lanes.push(Lane::Bulk, u32::MAX, 5), Some(5));
        assert_eq!(lanes.push(Lane::Bulk, 0, 1), None, "those that are here may go on");
    }

    #[test]
    fn closed_lanes_give_nothing() {
        let lanes = Lanes::new();
        lanes.push(Lane::Urgent, 1u8, 1u32);
        lanes.close();
        assert_eq!(lanes.take(Serves::Both), None);
    }
}
