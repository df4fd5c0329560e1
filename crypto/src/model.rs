//! Model signatures: a keyed hash in the place of Ed25519, for simulations that would spend nine tenths of their time on
//! the curve. Compiled only with the feature `model-signatures`, which the simulator alone asks for.
//!
//! Whoever holds a [`Modelled`] has [`SecretKey`](crate::SecretKey), [`verify`](crate::verify()) and
//! [`Batch`](crate::Batch) of its own thread speak the model. Sizes, messages and domains stay what they are, so
//! everything above runs the same code. Only a `SecretKey` makes a signature here too: the function is private to this
//! crate, so a simulated liar can sign with the keys that it holds and with no others.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::marker::PhantomData;

use foldhash::quality::FixedState;

use crate::{KeyError, PublicKey, Signature};

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static KEYS: RefCell<BTreeMap<PublicKey, Result<(), KeyError>>> = const { RefCell::new(BTreeMap::new()) };
}

/// More keys than a simulation has, but for those that corruption makes.
const KEYS_MAX: usize = 256;

/// Each makes another eight bytes of a signature out of the same key and message.
const SEEDS: [u64; 2] = [1, 2];

/// While this lives, signatures made and verified by this thread are model ones.
#[derive(Debug)]
pub struct Modelled {
    before: bool,
    /// It must be dropped by the thread that began it.
    thread: PhantomData<*const ()>,
}

impl Modelled {
    /// Switches this thread over.
    #[must_use]
    pub fn begin() -> Self {
        Self { before: ON.replace(true), thread: PhantomData }
    }
}

impl Drop for Modelled {
    fn drop(&mut self) {
        ON.set(self.before);
    }
}

/// Whether this thread signs and verifies by the model.
pub(crate) fn is_on() -> bool {
    ON.get()
}

/// What `check` says of a key. It says the same each time, and asks the curve: a thirtieth of a simulation, for the few
/// keys that there are.
pub(crate) fn remembered(
    key: &PublicKey,
    check: impl FnOnce(&PublicKey) -> Result<(), KeyError>,
) -> Result<(), KeyError> {
    KEYS.with_borrow_mut(|keys| {
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        *keys.entry(*key).or_insert_with(|| check(key))
    })
}

/// The signature of whoever holds the secret half of `key`. Nobody here looks for collisions, so a hash that is quick is
/// good enough: SHA-256 was a twelfth of what a simulation costs.
pub(crate) fn sign(key: &PublicKey, message: &[u8]) -> Signature {
    let words = SEEDS.map(|seed| {
        let mut hasher = FixedState::with_seed(seed).build_hasher();
        hasher.write(key.as_bytes());
        hasher.write(message);
        hasher.finish().to_le_bytes()
    });
    let mut bytes = [0; 64];
    bytes.chunks_exact_mut(8).zip(words.iter().cycle()).for_each(|(to, word)| to.copy_from_slice(word));
    Signature::from_bytes(bytes)
}

/// Whether it is that signature.
pub(crate) fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    sign(key, message) == *signature
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, SecretKey, verify};

    #[test]
    fn a_model_signature_holds_for_its_key_and_message_alone() {
        let _modelled = Modelled::begin();
        let (key, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let signature = key.sign_bytes(b"message");
        assert!(verify(&key.public(), b"message", &signature));
        assert!(!verify(&other.public(), b"message", &signature));
        assert!(!verify(&key.public(), b"massage", &signature));
        let mut broken = *signature.as_bytes();
        broken[63] ^= 1;
        assert!(!verify(&key.public(), b"message", &Signature::from_bytes(broken)));
    }

    #[test]
    fn a_key_is_what_it_is_however_often_it_is_asked_about() {
        let keys = [SecretKey::from_seed([1; 32]).public(), PublicKey::from_bytes([0; 32])];
        let alone = keys.map(|key| key.check());
        assert!(alone[0].is_ok() && alone[1].is_err());
        let _modelled = Modelled::begin();
        for _ in 0..2 {
            assert_eq!(keys.map(|key| key.check()), alone);
        }
        for number in 0..2 * KEYS_MAX {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
            let _ = PublicKey::from_bytes(bytes).check();
        }
        assert!(KEYS.with_borrow(BTreeMap::len) <= KEYS_MAX);
    }

    #[test]
    fn a_batch_answers_as_its_signatures_one_by_one() {
        let _modelled = Modelled::begin();
        let key = SecretKey::from_seed([1; 32]);
        let mut batch = Batch::default();
        batch.push(key.public(), b"a".to_vec(), key.sign_bytes(b"a"));
        batch.push(key.public(), b"b".to_vec(), key.sign_bytes(b"a"));
        assert_eq!((batch.len(), batch.is_empty()), (2, false));
        assert_eq!(batch.verify(), [true, false]);
    }

    #[test]
    fn real_and_model_signatures_are_never_taken_for_each_other() {
        let key = SecretKey::from_seed([1; 32]);
        let real = key.sign_bytes(b"message");
        let model = {
            let _modelled = Modelled::begin();
            assert!(!verify(&key.public(), b"message", &real));
            key.sign_bytes(b"message")
        };
        assert!(!verify(&key.public(), b"message", &model));
        assert!(verify(&key.public(), b"message", &real), "the switch is back where it was");
    }

    #[test]
    fn other_threads_are_not_switched() {
        let _modelled = Modelled::begin();
        let elsewhere = std::thread::spawn(is_on).join().expect("it only reads");
        assert!(is_on() && !elsewhere);
    }
}
