//! What of a bundle is worth verifying, decided by look-ups alone.
//!
//! Old transactions can be put together into new bundles by anybody, without a key, and a bundle that is forwarded costs
//! every node its signatures. So nothing is verified that cannot be included any more, or not for long, or is here already,
//! and nothing is forwarded that has nothing new.
//!
//! What a validator hands over on its stream counts as eligible from then on, and a primary that leaves it out is suspected
//! (`docs/pbft.md` §5). So whatever is fresh in there is taken, however much of the rest is committed.
//!
//! Invariant: a bundle is forwarded only if every signature in it was verified here, now or before, for the next node may
//! know less than this one and blames whom it got a bad signature from.

use std::sync::Arc;

use quorate_crypto::Hash;
use quorate_ledger::{Parameters, Transaction, UnixMillis};

/// How a bundle came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Through whoever gossips.
    Gossiped,
    /// Over the stream of a validator.
    HandedOver,
}

/// Committed transactions that an honest gossiped bundle may hold: it meets a block on its way by chance, one that is full of them
/// was put together from the chain, and finding each there costs a read.
pub(super) const COMMITTED_MAX: usize = 8;

/// What is left of a bundle.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sifted {
    /// Nothing new.
    Nothing,
    /// These are to be verified.
    Fresh {
        /// In the order they stood there.
        transactions: Vec<Arc<Transaction>>,
        /// Whether all others were verified here before, byte for byte.
        may_be_forwarded: bool,
    },
}

/// When a transaction may expire that a pool takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Time of the chain: what expires then or before is in no block any more.
    pub(super) after: UnixMillis,
    /// No pool takes what expires later, whatever its clock says that may be apart from this one as far as clocks may.
    pub(super) until: UnixMillis,
}

impl Span {
    /// Above a block of this time, by this wall clock. Nobody is blamed for what lies outside: blocks come one by one, and clocks
    /// may be wrong.
    pub(super) fn of(tip: UnixMillis, wall: UnixMillis, parameters: &Parameters) -> Self {
        let drift_and_life =
            parameters.max_clock_drift_ms.saturating_add(parameters.transaction_lifetime_max_ms);
        Self { after: tip, until: tip.plus_millis(1).max(wall).plus_millis(drift_and_life) }
    }

    fn holds(&self, transaction: &Transaction) -> bool {
        self.after < transaction.expires_at() && transaction.expires_at() <= self.until
    }
}

/// Leaves out what does not expire within the span, what waits here under the same hash, and what is committed.
/// `known` gives the hash of the transaction of an id that waits here.
pub(super) fn sift(
    bundle: Vec<Arc<Transaction>>,
    way: Way,
    span: Span,
    known: impl Fn(&Hash) -> Option<Hash>,
    committed: impl Fn(&Hash) -> bool,
) -> Sifted {
    let (mut misfits, mut included) = (0, 0);
    let mut fresh = Vec::with_capacity(bundle.len());
    for transaction in bundle {
        if !span.holds(&transaction) {
            misfits += 1;
            continue;
        }
        match known(&transaction.id()) {
            // The same payload with the same signature, which is verified.
            Some(hash) if hash == transaction.hash() => {}
            // Another signature of the same payload: nothing to take, but nothing known of it either.
            Some(_) => fresh.push(transaction),
            None if committed(&transaction.id()) => {
                included += 1;
                if way == Way::Gossiped && included > COMMITTED_MAX {
                    return Sifted::Nothing;
                }
            }
            None => fresh.push(transaction),
        }
    }
    if fresh.is_empty() {
        return Sifted::Nothing;
    }
    Sifted::Fresh { transactions: fresh, may_be_forwarded: misfits + included == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    const NOW: UnixMillis = UnixMillis(1_000);
    const SPAN: Span = Span { after: NOW, until: UnixMillis(5_000) };

    fn transaction(nonce: u64, expires_at: u64) -> Arc<Transaction> {
        fixtures::transaction(nonce, expires_at, Vec::new())
    }

    fn fresh(transactions: Vec<Arc<Transaction>>, may_be_forwarded: bool) -> Sifted {
        Sifted::Fresh { transactions, may_be_forwarded }
    }

    #[test]
    fn what_has_expired_is_left_out_and_not_passed_on() {
        let (dead, alive) = (transaction(1, NOW.0), transaction(2, NOW.0 + 1));
        let sifted = |bundle| sift(bundle, Way::Gossiped, SPAN, |_| None, |_| false);
        assert_eq!(sifted(vec![Arc::clone(&dead)]), Sifted::Nothing);
        assert_eq!(sifted(vec![dead, Arc::clone(&alive)]), fresh(vec![Arc::clone(&alive)], false));
        assert_eq!(sifted(vec![Arc::clone(&alive)]), fresh(vec![alive], true));
    }

    #[test]
    fn what_expires_later_than_any_pool_takes_is_neither_verified_nor_passed_on() {
        let (last, later) = (transaction(1, SPAN.until.0), transaction(2, SPAN.until.0 + 1));
        for way in [Way::Gossiped, Way::HandedOver] {
            let sifted = |bundle| sift(bundle, way, SPAN, |_| None, |_| false);
            assert_eq!(sifted(vec![Arc::clone(&later), transaction(3, u64::MAX)]), Sifted::Nothing);
            assert_eq!(sifted(vec![Arc::clone(&last), Arc::clone(&later)]), fresh(vec![last.clone()], false));
        }
    }

    /// A pool whose clock is ahead as far as clocks may be takes this, and so does one with a higher tip.
    #[test]
    fn what_a_pool_takes_whose_clock_is_ahead_is_sifted_out_nowhere() {
        let parameters =
            Parameters { max_clock_drift_ms: 50, transaction_lifetime_max_ms: 600, ..Parameters::default() };
        let span = |tip, wall| Span::of(UnixMillis(tip), UnixMillis(wall), &parameters);
        assert_eq!(span(1_000, 4_000), Span { after: UnixMillis(1_000), until: UnixMillis(4_650) });
        assert_eq!(span(9_000, 4_000), Span { after: UnixMillis(9_000), until: UnixMillis(9_651) });
        assert_eq!(span(1, u64::MAX).until, UnixMillis(u64::MAX));
    }

    #[test]
    fn what_waits_here_is_not_verified_again_unless_its_signature_is_another() {
        let (known, new) = (transaction(1, 2_000), transaction(2, 2_000));
        let here = |id: &Hash| (*id == known.id()).then(|| known.hash());
        let sift = |bundle, known: &dyn Fn(&Hash) -> Option<Hash>| {
            sift(bundle, Way::Gossiped, SPAN, known, |_| false)
        };
        assert_eq!(sift(vec![Arc::clone(&known)], &here), Sifted::Nothing);
        let both = vec![Arc::clone(&known), Arc::clone(&new)];
        assert_eq!(sift(both, &here), fresh(vec![new], true));
        let other = |id: &Hash| (*id == known.id()).then_some(Hash::ZERO);
        let twin = vec![Arc::clone(&known)];
        assert_eq!(sift(twin.clone(), &other), fresh(twin, true));
    }

    /// A bundle of so many committed ones and one that is new.
    fn sifted(committed: usize, way: Way) -> Sifted {
        let new = transaction(NEW, 2_000);
        let old = (0..committed as u64).map(|nonce| transaction(nonce, 2_000));
        let bundle = old.chain([Arc::clone(&new)]).collect();
        sift(bundle, way, SPAN, |_| None, |id| *id != new.id())
    }

    const NEW: u64 = 999;

    #[test]
    fn committed_ones_are_left_out_and_a_gossiped_bundle_full_of_them_is_dropped() {
        assert_eq!(sifted(COMMITTED_MAX, Way::Gossiped), fresh(vec![transaction(NEW, 2_000)], false));
        assert_eq!(sifted(COMMITTED_MAX + 1, Way::Gossiped), Sifted::Nothing);
    }

    /// "Who is handed some takes all that is new to it, whatever else came along."
    #[test]
    fn what_is_new_in_a_bundle_that_was_handed_over_is_taken_however_much_is_committed() {
        for committed in [0, COMMITTED_MAX + 1, 100] {
            let taken = sifted(committed, Way::HandedOver);
            assert_eq!(taken, fresh(vec![transaction(NEW, 2_000)], committed == 0), "{committed}");
        }
    }
}
