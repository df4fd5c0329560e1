//! How transactions reach the other pools: by gossip at once, over the validators' streams when they wait too long.
//!
//! Gossip is fast and probabilistic. A primary may only be blamed for leaving out what it surely was given, so what has
//! waited half the base timeout is handed to every validator over the streams, oldest first, so many bytes a second, and
//! not while committed blocks are full (`docs/pbft.md` §5): then it waits because of load, and more load helps nobody.

use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_crypto::{PublicKey, encode};
use quorate_ledger::{Block, Parameters, Transaction};
use quorate_network::{Class, Network, Topic};

use crate::{
    mempool::Mempool,
    wire::{BUNDLE_BYTES, BUNDLE_TRANSACTIONS_MAX, Frame, bundles},
};

/// How long the first transaction of a bundle waits for others.
const GOSSIP_DELAY_MS: u64 = 3;
/// Bytes handed to each validator in a second.
const HAND_OVER_BYTES_PER_SECOND: u64 = 2 << 20;
/// So many of them may be handed over at once.
const HAND_OVER_BYTES_BURST: u64 = 1 << 20;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What is on its way out.
#[derive(Debug)]
pub(super) struct Spread {
    outgoing: Vec<Arc<Transaction>>,
    outgoing_bytes: usize,
    flush_at: Option<Mono>,
    /// Bytes that may be handed over, as of `budget_at`.
    budget: u64,
    budget_at: Mono,
    /// Committed blocks count as full until then.
    full_until: Mono,
}

impl Spread {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            outgoing: Vec::new(),
            outgoing_bytes: 0,
            flush_at: None,
            budget: HAND_OVER_BYTES_BURST,
            budget_at: now,
            full_until: now,
        }
    }

    /// A client's new transaction goes into the next bundle.
    pub(super) fn gossip(&mut self, transaction: Arc<Transaction>, now: Mono) {
        self.outgoing_bytes += transaction.size();
        self.outgoing.push(transaction);
        let full = self.outgoing.len() >= BUNDLE_TRANSACTIONS_MAX || self.outgoing_bytes >= BUNDLE_BYTES;
        let at = if full { now } else { now.plus_millis(GOSSIP_DELAY_MS) };
        self.flush_at = Some(self.flush_at.map_or(at, |before| before.min(at)));
    }

    /// Gossips what has waited for company long enough.
    pub(super) fn flush(&mut self, now: Mono, network: &Network) {
        if self.flush_at.is_none_or(|at| at > now) {
            return;
        }
        self.flush_at = None;
        self.outgoing_bytes = 0;
        for bundle in bundles(self.outgoing.drain(..)) {
            network.publish(Topic::Transactions, encode(&bundle));
        }
    }

    /// Remembers whether blocks are full; a word of that is good for one base timeout, so that a primary that stops
    /// after a full block is found out.
    pub(super) fn committed(&mut self, block: &Block, parameters: &Parameters, now: Mono) {
        self.full_until =
            if block.is_full(parameters) { now.plus_millis(parameters.base_timeout_ms) } else { now };
    }

    /// Hands to the validators what has waited too long, as far as the budget goes.
    pub(super) fn hand_over(
        &mut self,
        now: Mono,
        mempool: &mut Mempool,
        parameters: &Parameters,
        validators: &[PublicKey],
        network: &Network,
    ) {
        if self.full_until > now {
            return;
        }
        let Some(waited) = now.0.checked_sub(wait(parameters)) else { return };
        self.earn(now);
        if self.budget == 0 {
            return;
        }
        let bytes_max = usize::try_from(self.budget).expect("a burst fits memory");
        let chosen = mempool.to_hand_over(Mono(waited), bytes_max);
        for bundle in bundles(chosen.iter().cloned()) {
            let bytes: bytes::Bytes = encode(&Frame::<()>::Transactions(bundle)).into();
            for validator in validators {
                network.send(validator, Class::Bulk, bytes.clone());
            }
        }
        let spent: usize = chosen.iter().map(|transaction| transaction.size()).sum();
        self.budget = self.budget.saturating_sub(spent as u64);
        mempool.handed_over(&chosen, now);
    }

    /// Hands what the others have been handed to a validator that was not there then, as much as may be handed over at once:
    /// as the primary it would be blamed for leaving it out.
    pub(super) fn hand_again(&self, mempool: &Mempool, validator: &PublicKey, network: &Network) {
        let bytes_max = usize::try_from(HAND_OVER_BYTES_BURST).expect("a burst fits memory");
        for bundle in bundles(mempool.handed(bytes_max)) {
            network.send(validator, Class::Bulk, encode(&Frame::<()>::Transactions(bundle)));
        }
    }

    /// When there is something to do next.
    pub(super) fn due(&self, mempool: &Mempool, parameters: &Parameters, hands_over: bool) -> Option<Mono> {
        let hand_over = mempool.oldest_unhanded().filter(|_| hands_over).map(|arrived| {
            let waited = Mono(arrived.0.saturating_add(wait(parameters)));
            let refill = if self.budget == 0 { self.budget_at.plus_millis(1) } else { Mono(0) };
            waited.max(self.full_until).max(refill)
        });
        self.flush_at.into_iter().chain(hand_over).min()
    }

    fn earn(&mut self, now: Mono) {
        let nanos = u128::from(now.0.saturating_sub(self.budget_at.0));
        let earned = nanos * u128::from(HAND_OVER_BYTES_PER_SECOND) / NANOS_PER_SECOND;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        self.budget = self.budget.saturating_add(earned).min(HAND_OVER_BYTES_BURST);
        self.budget_at = now;
    }
}

/// Half the base timeout, in nanoseconds.
fn wait(parameters: &Parameters) -> u64 {
    parameters.base_timeout_ms.saturating_mul(1_000_000) / 2
}
