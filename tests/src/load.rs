//! Transfers one after the other from many hands at a time, and what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use quorate_ledger::Account;
use tokio::task::JoinSet;

use crate::client::{CallError, Client, Place, Status};
use crate::wait::{SOON, until};
use crate::wallet::Wallet;

/// Hands that give transactions to each node.
const HANDS: usize = 8;

/// How long one waits for an outcome before it goes on to the next.
const OUTCOME_WITHIN: Duration = Duration::from_secs(10);

/// Load on some nodes, until it is stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    hands: JoinSet<Vec<Place>>,
}

#[derive(Debug)]
struct Shared {
    wallet: Wallet,
    to: Account,
    stopped: AtomicBool,
    committed: AtomicUsize,
}

impl Load {
    /// Begins to transfer one coin at a time.
    #[must_use]
    pub fn start(clients: &[Client], wallet: Wallet, to: Account) -> Self {
        let shared =
            Arc::new(Shared { wallet, to, stopped: AtomicBool::new(false), committed: AtomicUsize::new(0) });
        let mut hands = JoinSet::new();
        for client in clients {
            for _ in 0..HANDS {
                hands.spawn(hand(client.clone(), Arc::clone(&shared)));
            }
        }
        Self { shared, hands }
    }

    /// Waits until so many more are committed.
    pub async fn goes_on(&self, more: usize) {
        let before = self.shared.committed.load(Ordering::Relaxed);
        until("transactions are committed", SOON, async || {
            let now = self.shared.committed.load(Ordering::Relaxed) - before;
            if now >= more { Ok(()) } else { Err(format!("{now} of {more}")) }
        })
        .await;
    }

    /// Ends it; what was acknowledged as committed.
    ///
    /// # Panics
    /// If anything was not executed with success.
    pub async fn stop(self) -> Vec<Place> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.hands.join_all().await.concat()
    }
}

/// Sends until it is told to stop or its node is gone.
async fn hand(client: Client, shared: Arc<Shared>) -> Vec<Place> {
    let mut places = Vec::new();
    while !shared.stopped.load(Ordering::Relaxed) {
        let transaction = shared.wallet.transfer(shared.to, 1);
        match client.try_submit_and_wait(&transaction, OUTCOME_WITHIN).await {
            Ok(status @ Status::Committed { .. }) => {
                places.push(status.place());
                shared.committed.fetch_add(1, Ordering::Relaxed);
            }
            // No outcome yet is none to rely on.
            Ok(Status::Pending { .. } | Status::Unknown { .. } | Status::Expired { .. }) => {}
            Err(CallError::NoAnswer(_)) => return places,
            Err(refused @ CallError::Refused { .. }) => panic!("{refused:?}"),
        }
    }
    places
}
