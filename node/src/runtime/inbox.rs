//! What waits for the consensus thread.
//!
//! ```text
//!  pool, executor, sync ──answer──▶ answers    never waits: there are only as many as were asked for
//!  pool ─────────────────backlog──▶ one slot   the newest counts
//!  verified messages ────message──▶ messages   bounded in number and bytes; the verifier waits, and behind it the peer's own queue fills
//! ```
//!
//! Because answers never wait, the consensus thread may wait for the executor and the pool without both waiting for each
//! other. Answers come before messages in a turn, so that a flood of messages cannot keep the engine from its own work.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard},
    time::Instant,
};

use quorate_consensus::{Backlog, Event};
use quorate_ledger::{CheckpointCertificate, EpochStart, Tip};

/// Verified messages that wait; verifiers wait beyond it.
pub(super) const MESSAGES_MAX: usize = 1_024;
/// Encoded bytes of verified messages at which verifiers wait; each may hold one message beyond it.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Events taken in one turn, which share one sync of the log.
pub(super) const EVENTS_PER_TURN_MAX: usize = 256;

/// The queue in front of the engine.
#[derive(Debug)]
pub(super) struct Inbox<M> {
    state: Mutex<State<M>>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Debug)]
struct State<M> {
    answers: VecDeque<Arrival<M>>,
    backlog: Option<Backlog>,
    /// Messages with their encoded bytes.
    messages: VecDeque<(Event<M>, usize)>,
    message_bytes: usize,
    closed: bool,
}

/// One thing that has come.
#[derive(Debug)]
pub(super) enum Arrival<M> {
    /// Something for an instance of the engine.
    Event(Event<M>),
    /// The last block of an epoch is executed, and this follows.
    Epoch(Box<(EpochStart, Tip)>),
    /// The checkpoint certificate of an executed height, for the store; the engine may have use for it too.
    Checkpoint(Box<CheckpointCertificate>),
}

/// What a wait ended with.
#[derive(Debug)]
pub(super) enum Turn<M> {
    /// What has come, perhaps nothing when the time was up.
    Arrivals(Vec<Arrival<M>>),
    /// The node is stopping.
    Closed,
}

impl<M> Inbox<M> {
    /// An empty one.
    pub(super) fn new() -> Self {
        let (answers, messages) = (VecDeque::new(), VecDeque::new());
        let state = State { answers, backlog: None, messages, message_bytes: 0, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), drained: Condvar::new() }
    }

    /// Hands in what the engine asked for, in order.
    pub(super) fn answer(&self, event: Event<M>) {
        self.arrive(Arrival::Event(event));
    }

    /// Hands in that an epoch begins, behind the word that the last block of the one before is executed.
    pub(super) fn epoch(&self, epoch: EpochStart, tip: Tip) {
        self.arrive(Arrival::Epoch(Box::new((epoch, tip))));
    }

    /// Hands in a verified checkpoint certificate that the store lacks; its height is executed.
    pub(super) fn checkpoint(&self, certificate: CheckpointCertificate) {
        self.arrive(Arrival::Checkpoint(Box::new(certificate)));
    }

    fn arrive(&self, arrival: Arrival<M>) {
        self.lock().answers.push_back(arrival);
        self.filled.notify_one();
    }

    /// Hands in what waits in the pool; an older word that was not taken yet is replaced.
    pub(super) fn backlog(&self, backlog: Backlog) {
        self.lock().backlog = Some(backlog);
        self.filled.notify_one();
    }

    /// Hands in a message of so many encoded bytes; waits while there are too many.
    pub(super) fn message(&self, event: Event<M>, bytes: usize) {
        let mut state = self.lock();
        while state.is_full() && !state.closed {
            state = self.drained.wait(state).expect("no holder of this lock panics");
        }
        if !state.closed {
            state.messages.push_back((event, bytes));
            state.message_bytes += bytes;
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Ends all waiting; what is here is not taken any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Waits until there is something, or until a time, and takes what is there: answers, the backlog, messages.
    pub(super) fn next(&self, until: Option<Instant>) -> Turn<M> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Turn::Closed;
            }
            if !state.is_empty() {
                let events = state.take();
                drop(state);
                self.drained.notify_all();
                return Turn::Arrivals(events);
            }
            state = match until {
                None => self.filled.wait(state).expect("no holder of this lock panics"),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Turn::Arrivals(Vec::new());
                    }
                    self.filled.wait_timeout(state, left).expect("no holder of this lock panics").0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl<M> State<M> {
    fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.backlog.is_none() && self.messages.is_empty()
    }

    /// Whether there is no room for a message. Its own size is not asked: large ones would wait behind small ones for ever.
    fn is_full(&self) -> bool {
        self.messages.len() >= MESSAGES_MAX || self.message_bytes >= MESSAGE_BYTES_MAX
    }

    fn take(&mut self) -> Vec<Arrival<M>> {
        let answers = self.answers.len().min(EVENTS_PER_TURN_MAX);
        let mut events: Vec<Arrival<M>> = self.answers.drain(..answers).collect();
        // After the answers: a backlog says what waits once the block that was just built is taken off.
        if self.answers.is_empty() {
            events.extend(self.backlog.take().map(|backlog| Arrival::Event(Event::Backlog(backlog))));
        }
        let messages = self.messages.len().min(EVENTS_PER_TURN_MAX.saturating_sub(events.len()));
        for (message, bytes) in self.messages.drain(..messages) {
            self.message_bytes -= bytes;
            events.push(Arrival::Event(message));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    fn backlog(count: u64) -> Backlog {
        Backlog { count, ..Backlog::default() }
    }

    fn taken(inbox: &Inbox<()>) -> Vec<Arrival<()>> {
        match inbox.next(Some(Instant::now())) {
            Turn::Arrivals(arrivals) => arrivals,
            Turn::Closed => panic!("it is open"),
        }
    }

    /// Any event does for a message here: the inbox does not look inside.
    fn message() -> Event<()> {
        Event::Tick
    }

    #[test]
    fn answers_come_first_then_the_newest_backlog_then_messages() {
        let inbox = Inbox::new();
        inbox.message(message(), 1);
        inbox.backlog(backlog(1));
        inbox.backlog(backlog(2));
        inbox.answer(Event::Backlog(backlog(9)));
        let counts: Vec<Option<u64>> = taken(&inbox)
            .into_iter()
            .map(|arrival| match arrival {
                Arrival::Event(Event::Backlog(backlog)) => Some(backlog.count),
                Arrival::Event(_) | Arrival::Epoch(_) | Arrival::Checkpoint(_) => None,
            })
            .collect();
        assert_eq!(counts, [Some(9), Some(2), None]);
        assert!(taken(&inbox).is_empty());
    }

    #[test]
    fn a_turn_is_bounded_and_loses_nothing() {
        let inbox = Inbox::new();
        for _ in 0..=EVENTS_PER_TURN_MAX {
            inbox.message(message(), 1);
        }
        assert_eq!(taken(&inbox).len(), EVENTS_PER_TURN_MAX);
        assert_eq!(taken(&inbox).len(), 1);
    }

    #[test]
    fn a_full_inbox_makes_the_verifier_wait_until_there_is_room() {
        let inbox = Arc::new(Inbox::new());
        for _ in 0..MESSAGES_MAX {
            inbox.message(message(), 1);
        }
        let verifier = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || inbox.message(message(), 1)
        });
        let mut seen = 0;
        while seen < MESSAGES_MAX + 1 {
            seen += match inbox.next(None) {
                Turn::Arrivals(arrivals) => arrivals.len(),
                Turn::Closed => panic!("it is open"),
            };
        }
        verifier.join().expect("it got room");
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too_and_a_large_message_waits_no_longer_than_a_small_one() {
        let inbox = Arc::new(Inbox::new());
        inbox.message(message(), MESSAGE_BYTES_MAX - 1);
        assert!(!inbox.lock().is_full());
        inbox.message(message(), MESSAGE_BYTES_MAX);
        assert!(inbox.lock().is_full(), "with two of them");
        let verifier = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || inbox.message(message(), 1)
        });
        let mut seen = 0;
        while seen < 3 {
            seen += match inbox.next(None) {
                Turn::Arrivals(arrivals) => arrivals.len(),
                Turn::Closed => panic!("it is open"),
            };
        }
        verifier.join().expect("it got room");
        assert_eq!(inbox.lock().message_bytes, 0, "what is taken waits no more");
    }

    #[test]
    fn closing_ends_every_wait() {
        let inbox = Arc::new(Inbox::<()>::new());
        let waiting = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || matches!(inbox.next(None), Turn::Closed)
        });
        inbox.close();
        assert!(waiting.join().expect("it returned"));
        for _ in 0..=MESSAGES_MAX {
            inbox.message(message(), 1);
        }
    }
}
