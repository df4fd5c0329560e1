//! Queues in front of the verifiers, one for each source and urgency, taken in turn.
//!
//! Invariants:
//! - What one source sent on one lane is handled in order, one item at a time.
//! - Sources are taken in turn: one that floods fills its own queue and loses its own oldest items, nothing else.
//! - What waits is bounded in bytes, for each source and for all of a lane; when the lane is full, the source with most
//!   bytes in it loses its oldest, so that many that flood do not turn those away that do not.
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
/// Bytes of one source that wait on one lane; two of the largest frames.
pub(super) const BYTES_PER_SOURCE_MAX: usize = 16 << 20;
/// Bytes of all sources that wait on one lane; there are two lanes.
pub(super) const BYTES_PER_LANE_MAX: usize = 128 << 20;

/// What is queued here.
pub(super) trait Weigh {
    /// How many bytes it keeps in memory.
    fn bytes(&self) -> usize;
}

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
    bytes: usize,
}

#[derive(Debug)]
struct Source<T> {
    items: VecDeque<T>,
    bytes: usize,
    handling: bool,
}

impl<K: Clone + Eq + Hash, T: Weigh> Lanes<K, T> {
    /// Empty ones.
    pub(super) fn new() -> Self {
        let queues = || Queues { sources: HashMap::new(), turn: VecDeque::new(), bytes: 0 };
        let state = State { urgent: queues(), bulk: queues(), closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new() }
    }

    /// Adds an item; returns those that had to go for it, perhaps itself.
    pub(super) fn push(&self, lane: Lane, source: K, item: T) -> Vec<T> {
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

impl<K: Clone + Eq + Hash, T: Weigh> State<K, T> {
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

impl<K: Clone + Eq + Hash, T: Weigh> Queues<K, T> {
    fn push(&mut self, source: K, item: T) -> Vec<T> {
        let bytes = item.bytes();
        let one_too_many = !self.sources.contains_key(&source) && self.sources.len() >= SOURCES_MAX;
        if one_too_many || bytes > BYTES_PER_SOURCE_MAX {
            return vec![item];
        }
        let queue = self.sources.entry(source.clone()).or_insert_with(Source::new);
        if queue.items.is_empty() && !queue.handling {
            self.turn.push_back(source.clone());
        }
        queue.items.push_back(item);
        queue.bytes += bytes;
        self.bytes += bytes;
        self.make_room(&source)
    }

    /// Drops what exceeds a bound: the oldest of the source that something came from, then of those that hold most.
    fn make_room(&mut self, source: &K) -> Vec<T> {
        let mut dropped = Vec::new();
        while self.sources.get(source).is_some_and(Source::is_over) {
            dropped.push(self.drop_oldest(source));
        }
        while self.bytes > BYTES_PER_LANE_MAX {
            let most =
                self.sources.iter().max_by_key(|(_, queue)| queue.bytes).map(|(source, _)| source.clone());
            dropped.push(self.drop_oldest(&most.expect("bytes that wait are a source's")));
        }
        dropped
    }

    fn drop_oldest(&mut self, source: &K) -> T {
        let queue = self.sources.get_mut(source).expect("the caller found it here");
        let item = queue.pop().expect("a source with bytes has an item");
        self.bytes -= item.bytes();
        if queue.items.is_empty() && !queue.handling {
            self.sources.remove(source);
            self.turn.retain(|one| one != source);
        }
        item
    }

    fn take(&mut self) -> Option<(K, T)> {
        let source = self.turn.pop_front()?;
        let queue = self.sources.get_mut(&source).expect("a source that has a turn is here");
        let item = queue.pop().expect("a source that has a turn has an item");
        queue.handling = true;
        self.bytes -= item.bytes();
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

impl<T: Weigh> Source<T> {
    fn new() -> Self {
        Self { items: VecDeque::new(), bytes: 0, handling: false }
    }

    fn is_over(&self) -> bool {
        self.items.len() > ITEMS_PER_SOURCE_MAX || self.bytes > BYTES_PER_SOURCE_MAX
    }

    fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.bytes -= item.bytes();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for u32 {
        fn bytes(&self) -> usize {
            1
        }
    }

    /// A name and a weight.
    impl Weigh for (u32, usize) {
        fn bytes(&self) -> usize {
            self.1
        }
    }

    fn take(lanes: &Lanes<u8, u32>, serves: Serves) -> Option<(u8, u32)> {
        lanes.lock().take(serves).map(|taken| (taken.source, taken.item))
    }

    #[test]
    fn sources_are_taken_in_turn_and_each_in_order() {
        let lanes = Lanes::new();
        for (source, item) in [(1, 10), (1, 11), (2, 20)] {
            assert!(lanes.push(Lane::Urgent, source, item).is_empty());
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
            assert!(lanes.push(Lane::Urgent, 1, item).is_empty());
        }
        assert_eq!(lanes.push(Lane::Urgent, 1, 9_999), [0], "one past the limit the oldest goes");
        assert_eq!(take(&lanes, Serves::Both), Some((2, 7)));
        assert_eq!(take(&lanes, Serves::Both), Some((1, 1)));
    }

    #[test]
    fn one_source_too_many_is_turned_away() {
        let lanes: Lanes<u32, u32> = Lanes::new();
        for source in 0..SOURCES_MAX as u32 {
            assert!(lanes.push(Lane::Bulk, source, 0).is_empty());
        }
        assert_eq!(lanes.push(Lane::Bulk, u32::MAX, 5), [5]);
        assert!(lanes.push(Lane::Bulk, 0, 1).is_empty(), "those that are here may go on");
    }

    #[test]
    fn a_source_keeps_its_newest_bytes_up_to_a_bound() {
        const HALF: usize = BYTES_PER_SOURCE_MAX / 2;
        let lanes: Lanes<u8, (u32, usize)> = Lanes::new();
        assert_eq!(lanes.push(Lane::Bulk, 1, (0, HALF)), []);
        assert_eq!(lanes.push(Lane::Bulk, 1, (1, HALF)), []);
        assert_eq!(lanes.push(Lane::Bulk, 1, (2, 1)), [(0, HALF)]);
        assert_eq!(lanes.push(Lane::Bulk, 1, (3, 2 * HALF)), [(1, HALF), (2, 1)]);
        assert_eq!(lanes.push(Lane::Bulk, 1, (4, 2 * HALF + 1)), [(4, 2 * HALF + 1)]);
        assert_eq!(lanes.push(Lane::Urgent, 1, (5, 2 * HALF)), [], "the other lane has room");
    }

    #[test]
    fn a_full_lane_costs_the_source_that_holds_most() {
        const SOURCES: usize = BYTES_PER_LANE_MAX / BYTES_PER_SOURCE_MAX;
        let lanes: Lanes<u8, (u32, usize)> = Lanes::new();
        for source in 1..=SOURCES as u8 {
            let bytes = if source == 1 { BYTES_PER_SOURCE_MAX } else { BYTES_PER_SOURCE_MAX - 1 };
            assert_eq!(lanes.push(Lane::Bulk, source, (u32::from(source), bytes)), []);
        }
        let others = SOURCES - 1;
        assert_eq!(lanes.push(Lane::Bulk, 99, (7, others)), [], "the last that fits");
        assert_eq!(lanes.push(Lane::Bulk, 99, (8, 1)), [(1, BYTES_PER_SOURCE_MAX)]);
        let mut taken = Vec::new();
        while let Some(Taken { source, .. }) = lanes.lock().take(Serves::Both) {
            taken.push(source);
        }
        assert_eq!(
            taken,
            (2..=SOURCES as u8).chain([99]).collect::<Vec<_>>(),
            "it has no turn without an item"
        );
        assert_eq!(lanes.lock().bulk.bytes, 1, "what is taken waits no more");
    }

    #[test]
    fn closed_lanes_give_nothing() {
        let lanes = Lanes::new();
        lanes.push(Lane::Urgent, 1u8, 1u32);
        lanes.close();
        assert_eq!(lanes.take(Serves::Both), None);
    }
}
