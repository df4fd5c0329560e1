//! Checks the signatures of what clients submit, away from the threads that serve them.
//!
//! Waiting transactions are verified in batches, which costs about half of one by one. A batch never mixes sources, and
//! sources take turns: who sends much does not delay who sends little. A batch with a bad signature costs more than its
//! parts, so a source that sent one is verified singly for a while, and since a turn is then one transaction, at a rate
//! that falls as others have more to do.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use quorate_crypto::Batch;
use quorate_ledger::Transaction;
use tokio::sync::oneshot;

/// Transactions of one source in one batch; beyond it a batch is hardly cheaper for each.
pub(crate) const BATCH_MAX: usize = 64;

/// Transactions that wait for a check, of all sources.
pub(crate) const WAITING_MAX: usize = 16_384;

/// How long a source that sent a bad signature is verified singly.
pub(crate) const DISTRUST: Duration = Duration::from_secs(10);

/// Sources remembered for that; while there are as many, further ones are not remembered.
pub(crate) const DISTRUSTED_MAX: usize = 1_024;

/// Who sends: an address, or for IPv6, where one party has many, the network it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    /// The source that an address belongs to.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }
}

/// The node has more signatures to check than it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{WAITING_MAX} transactions wait for their signatures to be checked")]
pub(crate) struct Full;

/// How many threads check signatures at a time: half of the machine, since consensus checks some too.
pub(crate) fn workers() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// The pool. Its threads are borrowed from the runtime's blocking ones while there is work.
#[derive(Clone)]
pub(crate) struct VerifyPool {
    queue: Arc<Mutex<Queue>>,
    workers_max: usize,
}

/// What waits, and for whom.
#[derive(Default)]
struct Queue {
    jobs: HashMap<Source, VecDeque<Job>>,
    /// The sources that have jobs, in the order of their turns.
    turns: VecDeque<Source>,
    waiting: usize,
    workers: usize,
    distrusted: HashMap<Source, Instant>,
}

struct Job {
    transaction: Arc<Transaction>,
    answer: oneshot::Sender<bool>,
}

impl VerifyPool {
    /// A pool of at most so many threads.
    pub(crate) fn new(workers_max: usize) -> Self {
        assert!(workers_max > 0, "someone must do the work");
        Self { queue: Arc::default(), workers_max }
    }

    /// Whether the transaction's signature is its sender's.
    pub(crate) async fn verify(&self, source: Source, transaction: Arc<Transaction>) -> Result<bool, Full> {
        let (answer, verdict) = oneshot::channel();
        let worker_needed = {
            let mut queue = lock(&self.queue);
            queue.push(source, Job { transaction, answer })?;
            let needed = queue.workers < self.workers_max;
            queue.workers += usize::from(needed);
            needed
        };
        if worker_needed {
            let queue = self.queue.clone();
            tokio::task::spawn_blocking(move || work(&queue));
        }
        Ok(verdict.await.expect("a worker answers every job"))
    }
}

/// Takes turns until nothing waits.
fn work(queue: &Mutex<Queue>) {
    loop {
        let Some((source, jobs)) = lock(queue).next_turn(Instant::now()) else { return };
        let mut batch = Batch::default();
        for job in &jobs {
            let transaction = &job.transaction;
            batch.push(transaction.sender().0, transaction.message(), *transaction.signature());
        }
        let verdicts = batch.verify();
        if verdicts.contains(&false) {
            lock(queue).distrust(source, Instant::now());
        }
        for (job, verdict) in jobs.into_iter().zip(verdicts) {
            // Whoever asked may be gone: its connection was closed or its time was up.
            let _ = job.answer.send(verdict);
        }
    }
}

impl Queue {
    fn push(&mut self, source: Source, job: Job) -> Result<(), Full> {
        if self.waiting == WAITING_MAX {
            return Err(Full);
        }
        self.waiting += 1;
        let jobs = self.jobs.entry(source).or_default();
        if jobs.is_empty() {
            self.turns.push_back(source);
        }
        jobs.push_back(job);
        Ok(())
    }

    /// What the next source has waiting, as much as one turn allows. If there is nothing, the worker that asked is no
    /// longer counted.
    fn next_turn(&mut self, now: Instant) -> Option<(Source, Vec<Job>)> {
        let Some(source) = self.turns.pop_front() else {
            assert_eq!(self.waiting, 0, "whatever waits has a turn");
            self.workers -= 1;
            return None;
        };
        let allowed = if self.is_distrusted(source, now) { 1 } else { BATCH_MAX };
        let jobs = self.jobs.get_mut(&source).expect("who has a turn has jobs");
        let taken: Vec<Job> = jobs.drain(..allowed.min(jobs.len())).collect();
        if jobs.is_empty() {
            self.jobs.remove(&source);
        } else {
            self.turns.push_back(source);
        }
        self.waiting -= taken.len();
        Some((source, taken))
    }

    fn is_distrusted(&self, source: Source, now: Instant) -> bool {
        self.distrusted.get(&source).is_some_and(|until| now < *until)
    }

    fn distrust(&mut self, source: Source, now: Instant) {
        if self.distrusted.len() >= DISTRUSTED_MAX {
            self.distrusted.retain(|_, until| now < *until);
        }
        if self.distrusted.len() < DISTRUSTED_MAX || self.distrusted.contains_key(&source) {
            self.distrusted.insert(source, now + DISTRUST);
        }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().expect("no holder of this lock panics")
}

#[cfg(test)]
mod tests;
