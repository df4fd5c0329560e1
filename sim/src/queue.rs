//! What happens next: a queue of events by virtual time.
//!
//! Events of the same instant come out in the order in which they were put in, so nothing depends on how a heap breaks
//! ties. Time only moves when an event is taken out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use quorate_consensus::Mono;

/// Nanoseconds in a microsecond.
const MICROSECOND: u64 = 1_000;

/// A discrete-event queue, and with it the clock of the simulated world.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// When it happens, how many were put in before it, and its place in `events`: the heap moves only these about.
    heap: BinaryHeap<Reverse<(Mono, u64, usize)>>,
    events: Vec<Option<T>>,
    /// Places in there that are empty.
    free: Vec<usize>,
    now: Mono,
    next: u64,
}

impl<T> Queue<T> {
    /// An empty queue at time 0.
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), now: Mono(0), next: 0 }
    }

    /// The virtual time.
    pub(crate) fn now(&self) -> Mono {
        self.now
    }

    /// Lets `event` happen at `at`, or now if that has passed.
    pub(crate) fn at(&mut self, at: Mono, event: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.heap.push(Reverse((at.max(self.now), self.next, place)));
        self.next += 1;
    }

    /// Lets `event` happen in `micros` microseconds.
    pub(crate) fn after_micros(&mut self, micros: u64, event: T) {
        let at = Mono(self.now.0.saturating_add(micros.saturating_mul(MICROSECOND)));
        self.at(at, event);
    }

    /// The next event; time moves to it.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.now = at;
        self.free.push(place);
        self.events[place].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_arrival() {
        let mut queue = Queue::new();
        queue.after_micros(5, 'c');
        queue.after_micros(1, 'a');
        queue.after_micros(5, 'd');
        queue.at(Mono(2_000), 'b');
        let order: String = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, "abcd");
        assert_eq!(queue.now(), Mono(5_000));
    }

    #[test]
    fn time_never_goes_back() {
        let mut queue = Queue::new();
        queue.after_micros(9, ());
        queue.pop();
        queue.at(Mono(0), ());
        queue.pop();
        assert_eq!(queue.now(), Mono(9_000));
    }
}
