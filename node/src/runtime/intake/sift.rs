//! What of a bundle is worth verifying, decided by look-ups alone.
//!
//! Old transactions can be put together into new bundles by anybody, without a key, and a bundle that is forwarded costs
//! every node its signatures. So nothing is verified that cannot be included any more or is here already, and nothing is
//! forwarded that has nothing new.
//!
//! What a validator hands over on its stream counts as eligible from then on, and a primary that leaves it out is suspected
//! (`docs/pbft.md` §5). So whatever is fresh in there is taken, however much of the rest is committed.
//!
//! Invariant: a bundle is forwarded only if every signature in it was verified here, now or before, for the next node may
//! know less than this one and blames whom it got a bad signature from.

use std::sync::Arc;

use quorate_crypto::Hash;
use quorate_ledger::{Transaction, UnixMillis};

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

/// Leaves out what has expired at the chain's `time`, what waits here under the same hash, and what is committed.
/// `known` gives the hash of the transaction of an id that waits here.
pub(super) fn sift(
    bundle: Vec<Arc<Transaction>>,
    way: Way,
    time: UnixMillis,
    known: impl Fn(&Hash) -> Option<Hash>,
    committed: impl Fn(&Hash) -> bool,
) -> Sifted {
    let (mut expired, mut included) = (0, 0);
    let mut fresh = Vec::with_capacity(bundle.len());
    for transaction in bundle {
        if transaction.expires_at() <= time {
            expired += 1;
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
    Sifted::Fresh { transactions: fresh, may_be_forwarded: expired + included == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    const NOW: UnixMillis = UnixMillis(1_000);

    fn transaction(nonce: u64, expires_at: u64) -> Arc<Transaction> {
        fixtures::transaction(nonce, expires_at, Vec::new())
    }

    fn fresh(transactions: Vec<Arc<Transaction>>, may_be_forwarded: bool) -> Sifted {
        Sifted::Fresh { transactions, may_be_forwarded }
    }

    #[test]
    fn what_has_expired_is_left_out_and_not_passed_on() {
        let (dead, alive) = (transaction(1, NOW.0), transaction(2, NOW.0 + 1));
        let sifted = |bundle| sift(bundle, Way::Gossiped, NOW, |_| None, |_| false);
        assert_eq!(sifted(vec![Arc::clone(&dead)]), Sifted::Nothing);
        assert_eq!(sifted(vec![dead, Arc::clone(&alive)]), fresh(vec![Arc::clone(&alive)], false));
        assert_eq!(sifted(vec![Arc::clone(&alive)]), fresh(vec![alive], true));
    }

    #[test]
    fn what_waits_here_is_not_verified_again_unless_its_signature_is_another() {
        let (known, new) = (transaction(1, 2_000), transaction(2, 2_000));
        let here = |id: &Hash| (*id == known.id()).then(|| known.hash());
        let sift = |bundle, known: &dyn Fn(&Hash) -> Option<Hash>| {
            sift(bundle, Way::Gossiped, NOW, known, |_| false)
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
        sift(bundle, way, NOW, |_| None, |id| *id != new.id())
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
