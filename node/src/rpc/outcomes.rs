//! Wakes those who wait for the outcome of a transaction.
//!
//! Interest is registered before the transaction is submitted, so that no block can pass unseen between. One task
//! follows the tip and reads each new block once, however many wait; a waiter that is woken asks the store, which alone
//! decides. While nobody waits nothing is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use quorate_crypto::Hash;
use quorate_ledger::{Height, Reader, UnixMillis};
use tokio::sync::{Notify, watch};

use super::stopped;
use crate::runtime::TipView;

/// Those who wait. Their number is bounded by who registers: one permit each (`WAITS_MAX`).
#[derive(Clone, Default)]
pub(crate) struct Outcomes {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    by_id: HashMap<Hash, Vec<Waiter>>,
}

struct Waiter {
    token: u64,
    expires_at: UnixMillis,
    wake: Arc<Notify>,
}

/// An interest in one transaction, until it is dropped.
pub(crate) struct Interest {
    id: Hash,
    token: u64,
    wake: Arc<Notify>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Outcomes {
    /// Follows the tip until the server stops.
    pub(crate) fn follow(
        reader: Reader,
        mut tip: watch::Receiver<TipView>,
        mut stopping: watch::Receiver<bool>,
    ) -> Self {
        let outcomes = Self::default();
        let followed = outcomes.clone();
        tokio::spawn(async move {
            let mut seen = tip.borrow_and_update().height;
            loop {
                tokio::select! {
                    changed = tip.changed() => if changed.is_err() { return },
                    () = stopped(&mut stopping) => return,
                }
                let newest = *tip.borrow_and_update();
                if !followed.is_empty() {
                    let (reader, from) = (reader.clone(), seen.next());
                    let read = tokio::task::spawn_blocking(move || included(&reader, from, newest.height));
                    followed.wake(read.await.unwrap_or(None).as_deref(), newest.time);
                }
                seen = newest.height;
            }
        });
        outcomes
    }

    /// Registers an interest. What happened before is for the caller to ask.
    pub(crate) fn register(&self, id: Hash, expires_at: UnixMillis) -> Interest {
        let wake = Arc::new(Notify::new());
        let mut waiting = lock(&self.waiting);
        let token = waiting.next;
        waiting.next += 1;
        waiting.by_id.entry(id).or_default().push(Waiter { token, expires_at, wake: wake.clone() });
        Interest { id, token, wake, waiting: self.waiting.clone() }
    }

    fn is_empty(&self) -> bool {
        lock(&self.waiting).by_id.is_empty()
    }

    /// Wakes whoever waits for one of these ids, or for one that had expired at `time`. Without ids, which happens when
    /// a block could not be read, wakes all.
    fn wake(&self, ids: Option<&[Hash]>, time: UnixMillis) {
        let waiting = lock(&self.waiting);
        for waiter in ids.unwrap_or(&[]).iter().filter_map(|id| waiting.by_id.get(id)).flatten() {
            waiter.wake.notify_one();
        }
        for waiter in waiting.by_id.values().flatten() {
            if ids.is_none() || waiter.expires_at <= time {
                waiter.wake.notify_one();
            }
        }
    }
}

impl Interest {
    /// Waits until there may be news. News that came since the last call count.
    pub(crate) async fn news(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        let waiters = waiting.by_id.get_mut(&self.id).expect("registered until dropped");
        waiters.retain(|waiter| waiter.token != self.token);
        if waiters.is_empty() {
            waiting.by_id.remove(&self.id);
        }
    }
}

/// The ids in the blocks of a range; `None` if one could not be read.
fn included(reader: &Reader, from: Height, to: Height) -> Option<Vec<Hash>> {
    let mut ids = Vec::new();
    for height in (from.0..=to.0).map(Height) {
        match reader.receipts(height) {
            Ok(receipts) => ids.extend(receipts?.iter().map(|receipt| receipt.id)),
            Err(error) => {
                tracing::error!(%height, %error, "cannot read the receipts of a block");
                return None;
            }
        }
    }
    Some(ids)
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().expect("no holder of this lock panics")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LATER: UnixMillis = UnixMillis(1_000);

    fn has_news(interest: &Interest) -> bool {
        interest.news().now_or_never().is_some()
    }

    #[test]
    fn inclusion_wakes_those_who_wait_for_it_and_no_others() {
        let outcomes = Outcomes::default();
        let (a, b) = (Hash::of(b"a"), Hash::of(b"b"));
        let first = outcomes.register(a, LATER);
        let second = outcomes.register(a, LATER);
        let other = outcomes.register(b, LATER);
        outcomes.wake(Some(&[a]), UnixMillis(999));
        assert!(has_news(&first) && has_news(&second));
        assert!(!has_news(&other));
        assert!(!has_news(&first), "news are told once");
    }

    #[test]
    fn expiry_wakes_at_the_end_of_life_and_not_before() {
        let outcomes = Outcomes::default();
        let interest = outcomes.register(Hash::of(b"a"), LATER);
        outcomes.wake(Some(&[]), UnixMillis(999));
        assert!(!has_news(&interest));
        outcomes.wake(Some(&[]), LATER);
        assert!(has_news(&interest));
    }

    #[test]
    fn a_block_that_cannot_be_read_wakes_all() {
        let outcomes = Outcomes::default();
        let interest = outcomes.register(Hash::of(b"a"), LATER);
        outcomes.wake(None, UnixMillis(0));
        assert!(has_news(&interest));
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let outcomes = Outcomes::default();
        let first = outcomes.register(Hash::of(b"a"), LATER);
        let second = outcomes.register(Hash::of(b"a"), LATER);
        drop(first);
        assert!(!outcomes.is_empty());
        drop(second);
        assert!(outcomes.is_empty());
    }
}
