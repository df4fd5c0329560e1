//! What waits for the pool's thread, in two queues: what consensus asks is taken before what clients and peers send, however
//! much of that waits.
//!
//! ```text
//!  consensus, executor, fetched bodies ──▶ asked      taken first, in order
//!  clients, verifiers, peers' questions ─▶ offered    taken when nothing is asked, in order
//! ```
//!
//! Each queue is bounded. Threads wait for room ([`PoolSender::send`]); what serves clients and peers is refused instead
//! ([`PoolSender::try_send`]).

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::PoolCommand;

/// Commands that wait in each of the queues.
pub(super) const COMMANDS_MAX: usize = 4_096;

/// Two empty queues: the end that asks and the end that does.
pub(crate) fn commands() -> (PoolSender, PoolReceiver) {
    let queues = Arc::new(Queues {
        state: Mutex::new(State { asked: VecDeque::new(), offered: VecDeque::new(), ended: false }),
        filled: Condvar::new(),
        drained: Condvar::new(),
    });
    (PoolSender(Arc::clone(&queues)), PoolReceiver(queues))
}

/// The way to the pool's thread.
#[derive(Clone, Debug)]
pub(crate) struct PoolSender(Arc<Queues>);

/// The thread's end. When it is gone, whoever asks is told so.
#[derive(Debug)]
pub(crate) struct PoolReceiver(Arc<Queues>);

/// The pool has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolEnded;

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Too much waits.
    Full,
    /// The pool has stopped.
    Ended,
}

#[derive(Debug)]
struct Queues {
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Debug)]
struct State {
    asked: VecDeque<PoolCommand>,
    offered: VecDeque<PoolCommand>,
    ended: bool,
}

impl PoolSender {
    /// Hands a command in; waits while its queue is full.
    ///
    /// # Errors
    /// [`PoolEnded`].
    pub(crate) fn send(&self, command: PoolCommand) -> Result<(), PoolEnded> {
        let mut state = self.0.lock();
        while !state.ended && state.queue_of(&command).len() >= COMMANDS_MAX {
            state = self.0.drained.wait(state).expect("no holder of this lock panics");
        }
        if state.ended {
            return Err(PoolEnded);
        }
        self.push(state, command);
        Ok(())
    }

    /// Hands a command in, if there is room at once.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) fn try_send(&self, command: PoolCommand) -> Result<(), NotTaken> {
        let mut state = self.0.lock();
        if state.ended {
            return Err(NotTaken::Ended);
        }
        if state.queue_of(&command).len() >= COMMANDS_MAX {
            return Err(NotTaken::Full);
        }
        self.push(state, command);
        Ok(())
    }

    fn push(&self, mut state: MutexGuard<'_, State>, command: PoolCommand) {
        state.queue_of(&command).push_back(command);
        drop(state);
        self.0.filled.notify_one();
    }
}

impl PoolReceiver {
    /// The next command; `None` when none has come in time.
    pub(super) fn next(&self, within: Duration) -> Option<PoolCommand> {
        let until = Instant::now() + within;
        let mut state = self.0.lock();
        loop {
            if let Some(command) = state.take() {
                drop(state);
                self.0.drained.notify_all();
                return Some(command);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.0.filled.wait_timeout(state, left).expect("no holder of this lock panics").0;
        }
    }

    /// The next command, if one is here.
    pub(crate) fn try_next(&self) -> Option<PoolCommand> {
        self.next(Duration::ZERO)
    }
}

impl Drop for PoolReceiver {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        // Whoever waits for an answer hears that none will come.
        let (asked, offered) = (std::mem::take(&mut state.asked), std::mem::take(&mut state.offered));
        drop(state);
        drop((asked, offered));
        self.0.drained.notify_all();
    }
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    fn queue_of(&mut self, command: &PoolCommand) -> &mut VecDeque<PoolCommand> {
        if command.may_wait() { &mut self.offered } else { &mut self.asked }
    }

    fn take(&mut self) -> Option<PoolCommand> {
        self.asked.pop_front().or_else(|| self.offered.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use quorate_crypto::Hash;
    use quorate_ledger::Height;
    use tokio::sync::oneshot;

    use super::*;

    fn asked(height: u64) -> PoolCommand {
        PoolCommand::Executed(Height(height))
    }

    fn offered() -> PoolCommand {
        PoolCommand::Block { hash: Hash::ZERO, reply: oneshot::channel().0 }
    }

    /// The heights that are taken as long as something is here; 0 for what may wait.
    fn taken(receiver: &PoolReceiver) -> Vec<u64> {
        let commands = std::iter::from_fn(|| receiver.try_next());
        commands.map(|command| if let PoolCommand::Executed(Height(it)) = command { it } else { 0 }).collect()
    }

    #[test]
    fn what_consensus_asks_comes_before_all_that_clients_and_peers_have_sent() {
        let (sender, receiver) = commands();
        for command in [offered(), asked(1), offered(), asked(2)] {
            assert_eq!(sender.send(command), Ok(()));
        }
        assert_eq!(taken(&receiver), [1, 2, 0, 0]);
    }

    #[test]
    fn a_full_queue_of_clients_leaves_consensus_its_own() {
        let (sender, receiver) = commands();
        for _ in 0..COMMANDS_MAX {
            assert_eq!(sender.try_send(offered()), Ok(()));
        }
        assert_eq!(sender.try_send(offered()), Err(NotTaken::Full));
        for height in 1..=COMMANDS_MAX as u64 {
            assert_eq!(sender.try_send(asked(height)), Ok(()));
        }
        assert_eq!(sender.try_send(asked(1)), Err(NotTaken::Full));
        assert_eq!(taken(&receiver).len(), 2 * COMMANDS_MAX);
    }

    #[test]
    fn whoever_waits_for_room_gets_it() {
        let (sender, receiver) = commands();
        for height in 0..COMMANDS_MAX as u64 {
            assert_eq!(sender.send(asked(height)), Ok(()));
        }
        let waiting = thread::spawn(move || sender.send(asked(9_999)));
        let mut last = 0;
        for _ in 0..=COMMANDS_MAX {
            let command = receiver.next(Duration::from_secs(60)).expect("one more was sent");
            last = if let PoolCommand::Executed(Height(it)) = command { it } else { 0 };
        }
        assert_eq!((last, waiting.join().expect("it returned")), (9_999, Ok(())));
    }

    #[test]
    fn when_the_pool_has_stopped_nobody_waits_for_it() {
        let (sender, receiver) = commands();
        let (reply, answer) = oneshot::channel();
        assert_eq!(sender.send(PoolCommand::Block { hash: Hash::ZERO, reply }), Ok(()));
        for height in 0..COMMANDS_MAX as u64 {
            assert_eq!(sender.send(asked(height)), Ok(()));
        }
        let waiting = thread::spawn({
            let sender = sender.clone();
            move || sender.send(asked(0))
        });
        drop(receiver);
        assert_eq!(waiting.join().expect("it returned"), Err(PoolEnded));
        assert_eq!(sender.try_send(offered()), Err(NotTaken::Ended));
        assert!(answer.blocking_recv().is_err(), "no answer will come");
    }
}
