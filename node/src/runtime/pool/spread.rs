//! How transactions reach the other pools: by gossip at once, over the validators' streams when they wait too long.
//!
//! Gossip is fast and probabilistic. A primary may only be blamed for leaving out what it surely was given, so what has
//! waited half the base timeout is handed to every validator over the streams, oldest first, so many bytes a second, and
//! not while committed blocks are full (`docs/pbft.md` §5): then it waits because of load, and more load helps nobody.
//!
//! It only says what goes to whom; the pool sends it.

use std::sync::Arc;

use bytes::Bytes;
use quorate_consensus::Mono;
use quorate_crypto::{PublicKey, encode};
use quorate_ledger::{Block, Parameters, Transaction};

use crate::{
    mempool::Mempool,
    wire::{BUNDLE_BYTES, BUNDLE_TRANSACTIONS_MAX, Bundle, Frame, bundles},
};

/// How long the first transaction of a bundle waits for others.
const GOSSIP_DELAY_MS: u64 = 3;
/// Bytes handed to each validator in a second.
const HAND_OVER_BYTES_PER_SECOND: u64 = 2 << 20;
/// So many of them may be handed over at once.
const HAND_OVER_BYTES_BURST: i64 = 1 << 20;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// What is on its way out.
#[derive(Debug)]
pub(super) struct Spread {
    outgoing: Vec<Arc<Transaction>>,
    outgoing_bytes: usize,
    flush_at: Option<Mono>,
    /// Bytes that may be handed over, as of `budget_at`; below 0 what went beyond that and is to be earned first.
    budget: i64,
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

    /// What is to be gossiped now: it has waited for company long enough.
    pub(super) fn flush(&mut self, now: Mono) -> Vec<Bundle> {
        if self.flush_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.flush_at = None;
        self.outgoing_bytes = 0;
        bundles(self.outgoing.drain(..))
    }

    /// Remembers whether blocks are full; a word of that is good for one base timeout, so that a primary that stops
    /// after a full block is found out.
    pub(super) fn committed(&mut self, block: &Block, parameters: &Parameters, now: Mono) {
        self.full_until =
            if block.is_full(parameters) { now.plus_millis(parameters.base_timeout_ms) } else { now };
    }

    /// What is to be sent to whom now: what has waited too long, to every validator, as far as the budget goes. It counts as
    /// handed over from then on.
    pub(super) fn hand_over(
        &mut self,
        now: Mono,
        mempool: &mut Mempool,
        parameters: &Parameters,
        validators: &[PublicKey],
    ) -> Vec<(PublicKey, Bytes)> {
        if self.full_until > now {
            return Vec::new();
        }
        let Some(waited) = now.0.checked_sub(wait(parameters)) else { return Vec::new() };
        self.earn(now);
        let bytes_max = usize::try_from(self.budget).unwrap_or(0);
        if bytes_max == 0 {
            return Vec::new();
        }
        let chosen = mempool.to_hand_over(Mono(waited), bytes_max);
        let mut sent = Vec::new();
        for frame in frames(chosen.iter().cloned()) {
            sent.extend(validators.iter().map(|validator| (*validator, frame.clone())));
        }
        let spent: usize = chosen.iter().map(|transaction| transaction.size()).sum();
        // One that is larger than what is left may go, or it never could; the next ones wait the longer.
        self.budget = self.budget.saturating_sub(i64::try_from(spent).unwrap_or(i64::MAX));
        mempool.handed_over(&chosen, now);
        sent
    }

    /// When there is something to do next.
    pub(super) fn due(&self, mempool: &Mempool, parameters: &Parameters, hands_over: bool) -> Option<Mono> {
        let hand_over = mempool.oldest_unhanded().filter(|_| hands_over).map(|arrived| {
            let waited = Mono(arrived.0.saturating_add(wait(parameters)));
            waited.max(self.full_until).max(self.solvent_at())
        });
        self.flush_at.into_iter().chain(hand_over).min()
    }

    /// When something may be handed over again, as far as the budget goes.
    fn solvent_at(&self) -> Mono {
        let owed = u64::try_from(1i64.saturating_sub(self.budget)).unwrap_or(0);
        self.budget_at.plus_millis(owed.div_ceil(HAND_OVER_BYTES_PER_SECOND / 1_000))
    }

    fn earn(&mut self, now: Mono) {
        let nanos = u128::from(now.0.saturating_sub(self.budget_at.0));
        let earned = nanos * u128::from(HAND_OVER_BYTES_PER_SECOND) / NANOS_PER_SECOND;
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        self.budget = self.budget.saturating_add(earned).min(HAND_OVER_BYTES_BURST);
        self.budget_at = now;
    }
}

/// What the others have been handed, for a validator that was not there then: as much as may be handed over at once. As the
/// primary it would be blamed for leaving it out.
pub(super) fn hand_again(mempool: &Mempool) -> Vec<Bytes> {
    let bytes_max = usize::try_from(HAND_OVER_BYTES_BURST).expect("a burst fits memory");
    frames(mempool.handed(bytes_max)).collect()
}

fn frames(transactions: impl IntoIterator<Item = Arc<Transaction>>) -> impl Iterator<Item = Bytes> {
    bundles(transactions).into_iter().map(|bundle| encode(&Frame::<()>::Transactions(bundle)).into())
}

/// Half the base timeout, in nanoseconds.
fn wait(parameters: &Parameters) -> u64 {
    parameters.base_timeout_ms.saturating_mul(1_000_000) / 2
}

#[cfg(test)]
mod tests {
    use quorate_crypto::{Hash, SecretKey, decode};
    use quorate_ledger::{Operation, UnixMillis};

    use super::*;
    use crate::{fixtures, mempool::Limits};

    const LATER: u64 = 1_000_000;

    fn pool() -> Mempool {
        Mempool::new(Limits { transactions_max: 10_000, bytes_max: 64 << 20, per_account_max: 10_000 })
    }

    fn sized(nonce: u64, bytes: usize) -> Arc<Transaction> {
        let put = Operation::Put { key: vec![1], value: vec![0; bytes] };
        fixtures::transaction(nonce, LATER, vec![put])
    }

    fn admit(pool: &mut Mempool, transaction: &Arc<Transaction>, now: Mono) {
        pool.admit(Arc::clone(transaction), now, || 0).expect("there is room");
    }

    fn validators() -> Vec<PublicKey> {
        (1..=3).map(|seed| SecretKey::from_seed([seed; 32]).public()).collect()
    }

    fn opened(frame: &Bytes) -> Vec<Arc<Transaction>> {
        match decode::<Frame<()>>(frame) {
            Ok(Frame::Transactions(Bundle(transactions))) => transactions,
            other => panic!("{other:?}"),
        }
    }

    /// What each validator is handed, which must be the same for all of them; nothing if nobody is.
    fn handed(spread: &mut Spread, pool: &mut Mempool, parameters: &Parameters, now: Mono) -> Vec<Hash> {
        let sent = spread.hand_over(now, pool, parameters, &validators());
        let of = |validator: &PublicKey| -> Vec<Hash> {
            let frames = sent.iter().filter(|(to, _)| to == validator);
            frames.flat_map(|(_, frame)| opened(frame)).map(|transaction| transaction.hash()).collect()
        };
        let all: Vec<Vec<Hash>> = validators().iter().map(of).collect();
        assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
        all[0].clone()
    }

    fn start() -> Mono {
        Mono(0).plus_millis(10_000)
    }

    /// > A transaction that has waited half of `base_timeout` in a pool, while committed blocks are not full, is sent to all
    /// > validators over their streams
    #[test]
    fn what_has_waited_half_the_base_timeout_is_handed_to_every_validator_once() {
        let parameters = Parameters { base_timeout_ms: 1_000, ..Parameters::default() };
        let (mut spread, mut pool) = (Spread::new(start()), pool());
        let waiting = sized(1, 0);
        admit(&mut pool, &waiting, start());
        let then = start().plus_millis(500);
        assert_eq!(spread.due(&pool, &parameters, true), Some(then));
        assert_eq!(
            spread.due(&pool, &parameters, false),
            None,
            "a node that does not vote hands nothing over"
        );
        assert_eq!(handed(&mut spread, &mut pool, &parameters, Mono(then.0 - 1)), []);
        assert_eq!(pool.backlog().eligible, None);
        assert_eq!(handed(&mut spread, &mut pool, &parameters, then), [waiting.hash()]);
        assert_eq!(pool.backlog().eligible, Some(then), "from then on it is eligible");
        assert_eq!(handed(&mut spread, &mut pool, &parameters, then.plus_millis(9_000)), []);
    }

    /// > So that is when what waits, waits because of load: […] handing over would only add to the load.
    #[test]
    fn nothing_is_handed_over_while_blocks_are_full() {
        let parameters =
            Parameters { base_timeout_ms: 1_000, block_transactions_max: 1, ..Parameters::default() };
        let (full, empty) = (
            fixtures::block_on(Hash::ZERO, 1, vec![sized(9, 0)]),
            fixtures::block_on(Hash::ZERO, 1, Vec::new()),
        );
        let now = start().plus_millis(2_000);
        let spread_after = |blocks: &[&Block]| {
            let mut spread = Spread::new(start());
            blocks.iter().for_each(|block| spread.committed(block, &parameters, now));
            spread
        };
        let mut waiting = pool();
        admit(&mut waiting, &sized(1, 0), start());
        let mut spread = spread_after(&[&full]);
        let found_out = now.plus_millis(1_000);
        assert_eq!(spread.due(&waiting, &parameters, true), Some(found_out));
        assert_eq!(handed(&mut spread, &mut waiting, &parameters, Mono(found_out.0 - 1)), []);
        let after = handed(&mut spread, &mut waiting, &parameters, found_out);
        assert_eq!(after, [sized(1, 0).hash()], "a primary that stops after a full block is found out");

        let mut waiting = pool();
        admit(&mut waiting, &sized(1, 0), start());
        let mut spread = spread_after(&[&full, &empty]);
        assert_eq!(handed(&mut spread, &mut waiting, &parameters, now), [sized(1, 0).hash()]);
    }

    /// > oldest first and a bounded number of bytes a second
    #[test]
    fn the_oldest_is_handed_over_first_and_so_many_bytes_a_second() {
        const BYTES: usize = 64 << 10;
        let parameters = Parameters { base_timeout_ms: 1_000, ..Parameters::default() };
        let (mut spread, mut pool) = (Spread::new(start()), pool());
        let all: Vec<Arc<Transaction>> = (0..200).map(|nonce| sized(nonce, BYTES)).collect();
        all.iter().for_each(|one| admit(&mut pool, one, start()));
        let names: Vec<Hash> = all.iter().map(|one| one.hash()).collect();
        let (burst, second) = (HAND_OVER_BYTES_BURST as usize, HAND_OVER_BYTES_PER_SECOND as usize);
        // Whatever was not used in a long time is not saved up.
        let mut now = start().plus_millis(60_000);
        let mut gone = handed(&mut spread, &mut pool, &parameters, now);
        assert!(gone.len() * all[0].size() <= burst && gone.len() >= burst / all[0].size(), "{}", gone.len());
        for _ in 0..1_000 {
            now = now.plus_millis(1);
            gone.extend(handed(&mut spread, &mut pool, &parameters, now));
        }
        // One that is larger than what is left of the budget may go, and is earned before the next one goes.
        let bytes = gone.len() * all[0].size();
        assert!(bytes <= burst + second + all[0].size() * 2, "{bytes}");
        assert!(bytes >= burst + second / 2, "{bytes}");
        assert_eq!(gone, names[..gone.len()], "the oldest first, none twice");
    }

    /// > A validator that comes up is handed again what the others got, the oldest first and a bounded number of bytes
    #[test]
    fn whoever_comes_up_is_handed_what_the_others_got_the_oldest_first() {
        const BYTES: usize = 256 << 10;
        let parameters = Parameters { base_timeout_ms: 1_000, ..Parameters::default() };
        let (mut spread, mut pool) = (Spread::new(start()), pool());
        let all: Vec<Arc<Transaction>> = (0..8).map(|nonce| sized(nonce, BYTES)).collect();
        all.iter().for_each(|one| admit(&mut pool, one, start()));
        let again = |pool: &Mempool| -> Vec<Hash> {
            let frames = hand_again(pool);
            frames.iter().flat_map(opened).map(|transaction| transaction.hash()).collect()
        };
        assert_eq!(again(&pool), [], "nobody was handed any");
        let gone = handed(&mut spread, &mut pool, &parameters, start().plus_millis(500));
        assert_eq!(again(&pool), gone);
        let more = handed(&mut spread, &mut pool, &parameters, start().plus_millis(5_000));
        assert!(!gone.is_empty() && !more.is_empty());
        assert_eq!(again(&pool), gone, "as much as at once");
        pool.expire(UnixMillis(LATER));
        assert_eq!(again(&pool), []);
    }

    #[test]
    fn a_client_waits_for_company_in_a_bundle_a_moment_at_most() {
        let mut spread = Spread::new(start());
        let (one, two) = (sized(1, 0), sized(2, 0));
        spread.gossip(Arc::clone(&one), start());
        spread.gossip(Arc::clone(&two), start().plus_millis(1));
        let then = start().plus_millis(GOSSIP_DELAY_MS);
        assert_eq!(spread.flush(Mono(then.0 - 1)), []);
        assert_eq!(spread.flush(then), [Bundle(vec![one, two])]);
        assert_eq!(spread.flush(then.plus_millis(99)), []);
        spread.gossip(sized(3, BUNDLE_BYTES), then);
        assert_eq!(spread.flush(then).len(), 1, "a full one does not wait");
    }
}
