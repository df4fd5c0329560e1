//! Judging a bundle: what of it goes to the pool, and whether whoever sent it is to blame.
//!
//! Blamed is what no honest node sends: a transaction that breaks a rule which no parameters change, or whose signature is bad.
//! What this node has no use for is left out and nobody's fault: peers may be in another epoch, behind, or have clocks that are
//! not this one's.
//!
//! Whether a bundle was worth its signatures only the pool knows, since it depends on what waits and on balances. So it is
//! forwarded once the pool has taken most of what was verified ([`is_worth_forwarding`]): whoever makes this node verify what
//! no pool takes makes the others do so only by speaking to each of them.

use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_crypto::{Batch, Hash};
use quorate_ledger::{Transaction, TransactionError, TransactionRules};

use super::{
    super::conduct::{Conduct, Source, Trust},
    sift::{self, Sifted, Span, Way},
};

/// What a bundle is judged by.
pub(super) struct Facts<'a, K, C> {
    pub(super) rules: &'a TransactionRules,
    pub(super) span: Span,
    /// The hash of the transaction of an id that waits here.
    pub(super) known: K,
    /// Whether the chain holds an id.
    pub(super) committed: C,
}

/// What a bundle is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Nothing for the pool, and nobody's fault.
    Nothing,
    /// Nothing that an honest node sends.
    Offence(Offence),
    /// All of these are verified.
    Verified {
        /// For the pool.
        transactions: Vec<Arc<Transaction>>,
        /// Whether all others were verified here before, byte for byte.
        may_be_forwarded: bool,
    },
}

/// What whoever sent a bundle is to blame for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Offence {
    /// No parameters allow it.
    #[error("a transaction that no pool takes: {0}")]
    Transaction(TransactionError),
    /// A signature.
    #[error("a transaction with a bad signature")]
    Signature,
}

/// Verifies what is new in a bundle: all of it is given back, or nothing.
pub(super) fn judge<K, C>(
    bundle: Vec<Arc<Transaction>>,
    source: Source,
    facts: Facts<'_, K, C>,
    conduct: &Conduct,
    now: Mono,
) -> Judged
where
    K: Fn(&Hash) -> Option<Hash>,
    C: Fn(&Hash) -> bool,
{
    let Fitting { transactions, all } = match fitting(bundle, facts.rules) {
        Ok(fitting) => fitting,
        Err(error) => return Judged::Offence(Offence::Transaction(error)),
    };
    let sifted = sift::sift(transactions, way_of(source), facts.span, facts.known, facts.committed);
    let (transactions, may_be_forwarded) = match sifted {
        Sifted::Nothing => return Judged::Nothing,
        Sifted::Fresh { transactions, may_be_forwarded } => (transactions, may_be_forwarded && all),
    };
    let valid = match conduct.trust(source, transactions.len(), now) {
        Trust::Batch => verify_batch(&transactions),
        Trust::Singly => transactions.iter().all(|transaction| transaction.verify_signature()),
        Trust::NotNow => return Judged::Nothing,
    };
    if !valid {
        conduct.batch_failed(source, now);
        return Judged::Offence(Offence::Signature);
    }
    Judged::Verified { transactions, may_be_forwarded }
}

/// Whether others should see a bundle, of whose new transactions the pool took so many of so many. Half is enough: pools near
/// their limits differ. So for each signature that came to nothing there is one at least that did not.
pub(super) fn is_worth_forwarding(taken: usize, offered: usize) -> bool {
    taken > 0 && taken >= offered.div_ceil(2)
}

fn verify_batch(transactions: &[Arc<Transaction>]) -> bool {
    let mut batch = Batch::default();
    for transaction in transactions {
        batch.push(transaction.sender().0, transaction.message(), *transaction.signature());
    }
    batch.verify().into_iter().all(|valid| valid)
}

fn way_of(source: Source) -> Way {
    match source {
        Source::Validator(_) => Way::HandedOver,
        Source::Peer(_) => Way::Gossiped,
    }
}

/// What of a bundle the rules of this node's epoch allow.
#[derive(Debug, PartialEq, Eq)]
struct Fitting {
    transactions: Vec<Arc<Transaction>>,
    /// Whether that is the whole bundle.
    all: bool,
}

/// Leaves out what other parameters would allow: its sender may be in another epoch than this node, or have taken it in the
/// one before, and is owed the rest of what it hands over.
///
/// # Errors
/// What no parameters allow.
fn fitting(bundle: Vec<Arc<Transaction>>, rules: &TransactionRules) -> Result<Fitting, TransactionError> {
    let offered = bundle.len();
    let mut transactions = Vec::with_capacity(offered);
    for transaction in bundle {
        match transaction.check(rules) {
            Ok(()) => transactions.push(transaction),
            Err(error) if is_of_the_epoch(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let all = transactions.len() == offered;
    Ok(Fitting { transactions, all })
}

/// Whether other parameters would allow a transaction that these refuse.
fn is_of_the_epoch(error: &TransactionError) -> bool {
    match error {
        TransactionError::TooLarge { .. }
        | TransactionError::TooManyOperations { .. }
        | TransactionError::KeySize { .. }
        | TransactionError::ValueSize { .. }
        | TransactionError::FeeTooLow { .. } => true,
        TransactionError::WrongVersion { .. }
        | TransactionError::WrongChain { .. }
        | TransactionError::NoOperations
        | TransactionError::BadSender { .. }
        | TransactionError::BadValidators { .. }
        | TransactionError::BadParameters { .. }
        | TransactionError::BadSignature
        | TransactionError::Expired { .. }
        | TransactionError::ExpiresTooLate { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use quorate_crypto::SecretKey;
    use quorate_ledger::{Account, EpochStart, Operation, Parameters, Payload, UnixMillis};
    use quorate_network::PeerId;

    use super::*;
    use crate::fixtures;

    /// "Who is handed some takes all that is new to it, whatever else came along."
    #[test]
    fn what_only_another_epoch_allows_is_left_out_of_a_bundle_and_the_rest_is_not() {
        let parameters = Parameters { value_bytes_max: 100, ..fixtures::epoch().parameters };
        let epoch = EpochStart { parameters, ..fixtures::epoch() };
        let rules = TransactionRules::of(Hash::ZERO, &epoch);
        let (fit, large, other) = (fixtures::put(1, 100), fixtures::put(2, 101), fixtures::put(4, 100));
        let some = fitting(vec![Arc::clone(&fit), large, Arc::clone(&other)], &rules);
        assert_eq!(some, Ok(Fitting { transactions: vec![Arc::clone(&fit), other], all: false }));
        let all = fitting(vec![Arc::clone(&fit)], &rules);
        assert_eq!(all, Ok(Fitting { transactions: vec![Arc::clone(&fit)], all: true }));
        let never = fixtures::transaction(3, 1, Vec::new());
        assert_eq!(fitting(vec![fit, never], &rules), Err(TransactionError::NoOperations));
    }

    const SPAN: Span = Span { after: UnixMillis(0), until: UnixMillis(1_000) };

    fn judged(bundle: Vec<Arc<Transaction>>, source: Source, conduct: &Conduct) -> Judged {
        let rules = TransactionRules::of(Hash::ZERO, &fixtures::epoch());
        let facts = Facts { rules: &rules, span: SPAN, known: |_: &Hash| None, committed: |_: &Hash| false };
        judge(bundle, source, facts, conduct, Mono(0))
    }

    fn sources() -> [Source; 2] {
        let key = SecretKey::from_seed([1; 32]).public();
        [Source::Peer(PeerId::random()), Source::Validator(key)]
    }

    /// One that its sender did not sign.
    fn forged() -> Arc<Transaction> {
        let payload = Payload {
            version: Payload::VERSION,
            chain: Hash::ZERO,
            sender: Account(SecretKey::from_seed([7; 32]).public()),
            nonce: 99,
            expires_at: UnixMillis(1),
            fee: 0,
            operations: vec![Operation::Delete { key: vec![1] }],
        };
        Arc::new(Transaction::sign(payload, &SecretKey::from_seed([8; 32])))
    }

    /// > the sender is usable and the signature holds
    #[test]
    fn nothing_reaches_the_pool_from_a_bundle_with_a_bad_signature_whoever_sent_it() {
        for source in sources() {
            let conduct = Conduct::default();
            let good = vec![fixtures::put(1, 0), fixtures::put(2, 0)];
            let bad = vec![fixtures::put(1, 0), forged(), fixtures::put(2, 0)];
            let verified = Judged::Verified { transactions: good.clone(), may_be_forwarded: true };
            assert_eq!(judged(good.clone(), source, &conduct), verified);
            assert_eq!(judged(bad.clone(), source, &conduct), Judged::Offence(Offence::Signature), "at once");
            assert_eq!(conduct.trust(source, 1, Mono(0)), Trust::Singly);
            assert_eq!(judged(bad, source, &conduct), Judged::Offence(Offence::Signature), "one by one");
            assert_eq!(judged(good, source, &conduct), verified);
        }
    }

    #[test]
    fn what_expires_too_late_is_not_verified_and_blames_nobody() {
        let late = fixtures::transaction(1, SPAN.until.0 + 1, vec![Operation::Delete { key: vec![1] }]);
        for source in sources() {
            let conduct = Conduct::default();
            assert_eq!(judged(vec![Arc::clone(&late)], source, &conduct), Judged::Nothing);
            let beside = vec![fixtures::put(1, 0), Arc::clone(&late)];
            let transactions = vec![fixtures::put(1, 0)];
            let verified = Judged::Verified { transactions, may_be_forwarded: false };
            assert_eq!(judged(beside, source, &conduct), verified);
            assert_eq!(
                conduct.trust(source, usize::MAX, Mono(0)),
                Trust::Batch,
                "nothing is remembered of it"
            );
        }
    }

    #[test]
    fn a_bundle_is_forwarded_if_the_pool_took_half_of_what_was_new_in_it() {
        let worth = |taken, offered| is_worth_forwarding(taken, offered);
        assert!(worth(1, 1) && worth(1, 2) && worth(1_024, 2_048) && worth(2, 3));
        assert!(!worth(0, 0) && !worth(0, 1) && !worth(1, 3) && !worth(1_023, 2_048));
    }
}
