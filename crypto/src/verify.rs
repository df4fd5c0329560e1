//! The one predicate that says whether a signature holds: ZIP-215, singly and in batches.
//!
//! RFC 8032 leaves open what to do with points of small order and with encodings that are not canonical, and
//! verifiers differ: in dalek alone `verify`, `verify_strict` and `verify_batch` give three answers on
//! crafted input. A validator that accepts what another refuses forks or halts the chain. [ZIP-215] settles
//! it: `S` must be below the group order, `A` and `R` may be any encodings of points, and `[8][S]B = [8]R +
//! [8][k]A` must hold, with the cofactor. Only with the cofactor does a batch answer exactly as its
//! signatures one by one.
//!
//! [ZIP-215]: https://zips.z.cash/zip-0215

use std::ops::Range;

use ed25519_zebra::{VerificationKey, VerificationKeyBytes, batch};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{PublicKey, Signature};

/// From this many signatures down, one by one costs no more than a batch (measured: a batch of three saves a
/// fifth, large ones half).
const SINGLES_MAX: usize = 2;

/// How many signatures go through batch equations before what is still in doubt is verified one by one, as a
/// multiple of the batch's size. The whole batch takes one, finding one bad signature up to two more; whoever
/// sends many bad ones must not make us bisect for each.
const BATCH_WORK_MAX: usize = 3;

/// Whether `signature` is one of `key` over `message`, by ZIP-215. Any bytes may be asked about.
#[must_use]
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    #[cfg(feature = "model-signatures")]
    if crate::model::is_on() {
        return crate::model::verify(key, message, signature);
    }
    VerificationKey::try_from(*key.as_bytes())
        .and_then(|key| key.verify(&(*signature.as_bytes()).into(), message))
        .is_ok()
}

/// Signatures to be verified together, at about half the price of one by one.
///
/// The answers are those of [`verify`]. A batch that fails is bisected to find the bad ones, at a bounded
/// price: put signatures of different sources into different batches, or one source's bad signatures slow
/// down another's.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    items: Vec<batch::Item>,
    /// Answers for model signatures, which need no batch.
    #[cfg(feature = "model-signatures")]
    modelled: Vec<bool>,
}

impl Batch {
    /// Adds a signature. The message is hashed here and not kept.
    pub fn push(&mut self, key: PublicKey, message: Vec<u8>, signature: Signature) {
        self.push_ref(&key, &message, &signature);
    }

    /// As [`push`](Self::push), for many signatures over one message.
    pub fn push_ref(&mut self, key: &PublicKey, message: &[u8], signature: &Signature) {
        #[cfg(feature = "model-signatures")]
        if crate::model::is_on() {
            self.modelled.push(crate::model::verify(key, message, signature));
            return;
        }
        let key = VerificationKeyBytes::from(*key.as_bytes());
        self.items.push((key, (*signature.as_bytes()).into(), message).into());
    }

    /// How many signatures were added.
    #[must_use]
    pub fn len(&self) -> usize {
        #[cfg(feature = "model-signatures")]
        if crate::model::is_on() {
            return self.modelled.len();
        }
        self.items.len()
    }

    /// Whether none was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Verifies all of them: one answer for each, in the order they were added.
    ///
    /// # Panics
    ///
    /// If the operating system gives no randomness: the coefficients of a batch must not be foreseeable.
    #[must_use]
    pub fn verify(self) -> Vec<bool> {
        #[cfg(feature = "model-signatures")]
        if crate::model::is_on() {
            return self.modelled;
        }
        let mut coefficients = random();
        answers(
            self.items.len(),
            |range| self.hold(range, &mut coefficients),
            |index| self.items[index].clone().verify_single().is_ok(),
        )
    }

    /// Whether all signatures of a range hold, by one batch equation.
    fn hold(&self, range: Range<usize>, coefficients: &mut ChaCha20Rng) -> bool {
        let mut verifier = batch::Verifier::new();
        for item in &self.items[range] {
            verifier.queue(item.clone());
        }
        verifier.verify(coefficients).is_ok()
    }
}

/// One answer for each of `count` signatures, from `hold`, which says of a range whether all in it hold, and
/// `holds`, which says it of one.
fn answers(
    count: usize,
    mut hold: impl FnMut(Range<usize>) -> bool,
    mut holds: impl FnMut(usize) -> bool,
) -> Vec<bool> {
    let mut answers = vec![true; count];
    let mut work_left = BATCH_WORK_MAX * count;
    let all = 0..count;
    let mut doubtful = vec![all];
    while let Some(range) = doubtful.pop() {
        if range.len() > SINGLES_MAX && spend(&mut work_left, range.len()) && hold(range.clone()) {
            continue;
        }
        // Here a bad signature is in the range, or batches have become too dear. Halve towards the leftmost
        // bad one: when the left half holds, the fault is in the right one, which needs no batch to say so.
        let mut faulty = range;
        while faulty.len() > SINGLES_MAX && work_left > 0 {
            let (left, right) = halves(&faulty);
            if spend(&mut work_left, left.len()) && hold(left.clone()) {
                faulty = right;
            } else {
                doubtful.push(right);
                faulty = left;
            }
        }
        for index in faulty {
            answers[index] = holds(index);
        }
    }
    answers
}

fn halves(range: &Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len() / 2;
    (range.start..middle, middle..range.end)
}

/// Takes `cost` out of what is left; if it is not there, nothing is left any more.
fn spend(left: &mut usize, cost: usize) -> bool {
    let affordable = cost <= *left;
    *left = left.saturating_sub(cost);
    affordable
}

/// One call to the operating system a batch, not one a signature.
fn random() -> ChaCha20Rng {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system gives randomness");
    ChaCha20Rng::from_seed(seed)
}

#[cfg(test)]
mod tests;
