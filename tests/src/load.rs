//! Transfers one after the other from many hands at a time, and what became of each.
//!
//! A hand does what a careful client does when nodes come and go: while it does not know the outcome it gives the same
//! bytes again, to another node if one does not answer. So in the end every transfer is committed or has expired, and
//! the chain can be held against that ([`crate::chain`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use quorate_ledger::{Account, Transaction};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::client::{CallError, Client, Place, Status};
use crate::testnet::Testnet;
use crate::wait::{SOON, until};
use crate::wallet::Wallet;

/// Hands of a load, unless a measure wants fewer.
pub const HANDS: usize = 32;

/// How long a node is told to wait for an outcome.
const OUTCOME_WITHIN: Duration = Duration::from_secs(3);

/// How long after that a node that says nothing is taken for dead.
const SILENCE: Duration = Duration::from_secs(2);

/// Between two attempts with one transaction.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How long the last transactions may take to have an outcome: until they have expired and a block says so.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

/// Load on some nodes, until it is stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    hands: JoinSet<Outcomes>,
}

#[derive(Debug)]
struct Shared {
    clients: Vec<Client>,
    wallet: Wallet,
    to: Account,
    stopped: AtomicBool,
    committed: AtomicUsize,
}

/// What became of the transactions of a load: each is in one of the two.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Acknowledged as committed, and where.
    pub committed: Vec<Place>,
    /// Ids of those that a node said had expired: they must never be in the chain.
    pub expired: Vec<String>,
}

impl Load {
    /// Begins to transfer one coin at a time from alice to bob through all nodes of a network.
    #[must_use]
    pub fn on(testnet: &Testnet) -> Self {
        Self::by(testnet, HANDS)
    }

    /// The same with so many hands.
    #[must_use]
    pub fn by(testnet: &Testnet, hands: usize) -> Self {
        Self::start(testnet.clients(), testnet.wallet("alice"), testnet.wallet("bob").account(), hands)
    }

    /// Begins to transfer one coin at a time with so many hands, which begin with one node each, in turn.
    #[must_use]
    pub fn start(clients: Vec<Client>, wallet: Wallet, to: Account, hands: usize) -> Self {
        let (stopped, committed) = (AtomicBool::new(false), AtomicUsize::new(0));
        let shared = Arc::new(Shared { clients, wallet, to, stopped, committed });
        let hands = (0..hands).map(|hand| work(Arc::clone(&shared), hand)).collect();
        Self { shared, hands }
    }

    /// Waits until so many more are committed.
    pub async fn goes_on(&self, more: usize) {
        self.goes_on_within(more, SOON).await;
    }

    /// The same, where it may take longer.
    pub async fn goes_on_within(&self, more: usize, within: Duration) {
        let before = self.shared.committed.load(Ordering::Relaxed);
        until("transactions are committed", within, async || {
            let now = self.shared.committed.load(Ordering::Relaxed) - before;
            if now >= more { Ok(()) } else { Err(format!("{now} of {more}")) }
        })
        .await;
    }

    /// Ends it, once everything that was begun has an outcome.
    ///
    /// # Panics
    /// If anything has none for long, or was refused or executed without success.
    pub async fn stop(self) -> Outcomes {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let outcomes = timeout(SETTLED_WITHIN, self.hands.join_all()).await;
        let outcomes = outcomes
            .unwrap_or_else(|_| panic!("transactions without an outcome {} s", SETTLED_WITHIN.as_secs()));
        let mut all = Outcomes::default();
        for one in outcomes {
            all.add(one);
        }
        all
    }
}

impl Outcomes {
    /// Takes in those of another load.
    pub fn add(&mut self, other: Self) {
        self.committed.extend(other.committed);
        self.expired.extend(other.expired);
    }
}

/// Transfers until it is told to stop.
async fn work(shared: Arc<Shared>, hand: usize) -> Outcomes {
    let mut at = hand;
    let mut outcomes = Outcomes::default();
    while !shared.stopped.load(Ordering::Relaxed) {
        let transaction = shared.wallet.transfer(shared.to, 1);
        match carry(&shared.clients, &mut at, &transaction).await {
            Status::Expired { id, .. } => outcomes.expired.push(id),
            status @ (Status::Committed { .. } | Status::Pending { .. } | Status::Unknown { .. }) => {
                outcomes.committed.push(status.place());
                shared.committed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    outcomes
}

/// Brings one transaction to its end, through whichever node answers, and leaves `at` there.
async fn carry(clients: &[Client], at: &mut usize, transaction: &Transaction) -> Status {
    let mut attempts = interval(AGAIN_AFTER);
    attempts.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        attempts.tick().await;
        let client = &clients[*at % clients.len()];
        let asked = async {
            match client.try_submit_and_wait(transaction, OUTCOME_WITHIN).await {
                // By that node's clock. Whether it is true, only the chain can say.
                Err(CallError::Refused { reason: Some(reason), .. }) if reason == "EXPIRED" => {
                    client.try_outcome(transaction).await
                }
                answer => answer,
            }
        };
        match timeout(OUTCOME_WITHIN + SILENCE, asked).await {
            Ok(Ok(status @ (Status::Committed { .. } | Status::Expired { .. }))) => return status,
            Ok(Ok(Status::Pending { .. } | Status::Unknown { .. })) => {}
            Ok(Err(CallError::Refused { reason: Some(reason), .. })) if reason == "SHUTTING_DOWN" => *at += 1,
            Ok(Err(refused @ CallError::Refused { .. })) => panic!("{refused:?}"),
            Ok(Err(CallError::NoAnswer(_))) | Err(_) => *at += 1,
        }
    }
}
