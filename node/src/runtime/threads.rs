//! The node's named threads and long tasks, and the word of how the first of them ended.
//!
//! A thread that fails or panics ends the node: what it owned is in a state nobody knows. The others are then stopped in
//! good order, so that what can be saved is saved.

use std::{
    io,
    thread::{Builder, JoinHandle},
};

use quorate_ledger::LedgerError;
use tokio::{sync::mpsc, task::AbortHandle};

/// Words of ends that wait to be read; only the first matters.
const ENDS_MAX: usize = 16;

/// Why the node cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The vote log cannot be written. Whether a record is on disk is then unknown, and trying again could only hide
    /// that it is not.
    #[error("the vote log cannot be written: {0}; nothing was sent that it does not hold")]
    VoteLog(#[source] io::Error),
    /// The ledger cannot go on.
    #[error("the ledger stopped: {0}")]
    Ledger(#[source] LedgerError),
    /// A fault of this program.
    #[error("the {0} thread panicked; the message above says where: please report it")]
    Panicked(&'static str),
}

/// All threads and tasks.
pub(super) struct Threads {
    threads: Vec<(&'static str, JoinHandle<()>)>,
    tasks: Vec<AbortHandle>,
    ends: mpsc::Sender<Failure>,
}

impl Threads {
    /// None yet; failures are told to the receiver.
    pub(super) fn new() -> (Self, mpsc::Receiver<Failure>) {
        let (ends, failures) = mpsc::channel(ENDS_MAX);
        (Self { threads: Vec::new(), tasks: Vec::new(), ends }, failures)
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
    ) -> io::Result<()> {
        let mut end = End { name, ends: self.ends.clone(), panicked: true };
        let handle = Builder::new().name(name.to_owned()).spawn(move || {
            let result = work();
            end.panicked = false;
            if let Err(failure) = result {
                end.tell(failure);
            }
        })?;
        self.threads.push((name, handle));
        Ok(())
    }

    /// Starts a task of the async runtime.
    pub(super) fn spawn_task(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let mut end = End { name, ends: self.ends.clone(), panicked: true };
        let task = tokio::spawn(async move {
            // Dropping the task at its end or when it is aborted is no panic; unwinding through it is.
            end.panicked = false;
            let end = end;
            work.await;
            drop(end);
        });
        self.tasks.push(task.abort_handle());
    }

    /// Ends the tasks, and waits for the threads, which somebody must have told to stop.
    pub(super) async fn join(self) {
        for task in self.tasks {
            task.abort();
        }
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for (name, thread) in threads {
                // A panic was told already.
                let _ = thread.join();
                tracing::debug!(thread = name, "ended");
            }
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "waiting for the threads failed");
        }
    }
}

/// Tells how a thread ended, also when it unwinds.
struct End {
    name: &'static str,
    ends: mpsc::Sender<Failure>,
    panicked: bool,
}

impl End {
    fn tell(&self, failure: Failure) {
        // Full: an earlier failure is what matters. Closed: the node is stopping already.
        let _ = self.ends.try_send(failure);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.panicked || std::thread::panicking() {
            self.tell(Failure::Panicked(self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_is_told_and_names_its_thread() {
        let (mut threads, mut failures) = Threads::new();
        threads.spawn("quiet", || Ok(())).expect("a thread");
        threads.spawn("loud", || panic!("on purpose")).expect("a thread");
        let failure = failures.recv().await.expect("told");
        assert!(matches!(failure, Failure::Panicked("loud")), "{failure}");
        threads.join().await;
        assert!(failures.recv().await.is_none(), "nothing else was told");
    }

    #[tokio::test]
    async fn a_panicking_task_is_told_and_an_aborted_one_is_not() {
        let (mut threads, mut failures) = Threads::new();
        threads.spawn_task("endless", std::future::pending());
        threads.spawn_task("loud", async { panic!("on purpose") });
        assert!(matches!(failures.recv().await, Some(Failure::Panicked("loud"))));
        threads.join().await;
        assert!(failures.recv().await.is_none(), "nothing else was told");
    }

    #[tokio::test]
    async fn an_error_is_told_as_it_is() {
        let (mut threads, mut failures) = Threads::new();
        threads.spawn("disk", || Err(Failure::VoteLog(io::Error::other("gone")))).expect("a thread");
        assert!(matches!(failures.recv().await, Some(Failure::VoteLog(_))));
        threads.join().await;
    }
}
