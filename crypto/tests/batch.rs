//! A batch answers exactly as its signatures one by one, whatever is in it: otherwise two validators that
//! batch differently would disagree about a block.

use proptest::{collection::vec, prelude::*, sample::Index};
use quorate_crypto::{Batch, PublicKey, SecretKey, Signature, from_hex, verify};
use serde::Deserialize;

type Item = (PublicKey, Vec<u8>, Signature);

/// Where a signature comes from, and what was done to it.
#[derive(Clone, Debug)]
enum Recipe {
    /// Signed as it should be.
    Honest { key: u8, message: Vec<u8> },
    /// Signed over another message.
    OtherMessage { key: u8, message: Vec<u8> },
    /// Signed by another key.
    OtherKey { key: u8, message: Vec<u8> },
    /// One bit of the signature flipped.
    Flipped { key: u8, message: Vec<u8>, bit: Index },
    /// Nothing but noise.
    Noise { key: [u8; 32], signature: [u8; 32] },
    /// One of the CCTV signatures, many of which hold by ZIP-215 alone.
    Edge { which: Index },
    /// One of the CCTV signatures over another message.
    EdgeOtherMessage { which: Index },
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let key = 0..4u8;
    let message = || vec(any::<u8>(), 0..16);
    prop_oneof![
        6 => (key.clone(), message()).prop_map(|(key, message)| Recipe::Honest { key, message }),
        1 => (key.clone(), message()).prop_map(|(key, message)| Recipe::OtherMessage { key, message }),
        1 => (key.clone(), message()).prop_map(|(key, message)| Recipe::OtherKey { key, message }),
        1 => (key, message(), any::<Index>())
            .prop_map(|(key, message, bit)| Recipe::Flipped { key, message, bit }),
        1 => any::<([u8; 32], [u8; 32])>().prop_map(|(key, signature)| Recipe::Noise { key, signature }),
        4 => any::<Index>().prop_map(|which| Recipe::Edge { which }),
        1 => any::<Index>().prop_map(|which| Recipe::EdgeOtherMessage { which }),
    ]
}

fn make(recipe: Recipe, edges: &[Item]) -> Item {
    let secret = |key: u8| SecretKey::from_seed([key; 32]);
    match recipe {
        Recipe::Honest { key, message } => {
            let signature = secret(key).sign_bytes(&message);
            (secret(key).public(), message, signature)
        }
        Recipe::OtherMessage { key, mut message } => {
            let signature = secret(key).sign_bytes(&message);
            message.push(0);
            (secret(key).public(), message, signature)
        }
        Recipe::OtherKey { key, message } => {
            let signature = secret(key).sign_bytes(&message);
            (secret(key + 1).public(), message, signature)
        }
        Recipe::Flipped { key, message, bit } => {
            let mut signature = *secret(key).sign_bytes(&message).as_bytes();
            let bit = bit.index(8 * signature.len());
            signature[bit / 8] ^= 1 << (bit % 8);
            (secret(key).public(), message, Signature::from_bytes(signature))
        }
        Recipe::Noise { key, signature } => {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&signature);
            (PublicKey::from_bytes(key), Vec::new(), Signature::from_bytes(bytes))
        }
        Recipe::Edge { which } => which.get(edges).clone(),
        Recipe::EdgeOtherMessage { which } => {
            let (key, mut message, signature) = which.get(edges).clone();
            message.push(0);
            (key, message, signature)
        }
    }
}

fn edges() -> Vec<Item> {
    #[derive(Deserialize)]
    struct Cctv {
        key: String,
        sig: String,
        msg: String,
    }
    fn array<const N: usize>(digits: &str) -> [u8; N] {
        let bytes = from_hex(&format!("0x{digits}")).expect("vectors are in hex");
        bytes.try_into().expect("vectors have the length of their kind")
    }
    let cases: Vec<Cctv> = serde_json::from_str(include_str!("vectors/cctv-ed25519.json"))
        .expect("the file is what its README says");
    let item = |case: Cctv| {
        (
            PublicKey::from_bytes(array(&case.key)),
            case.msg.into_bytes(),
            Signature::from_bytes(array(&case.sig)),
        )
    };
    cases.into_iter().map(item).collect()
}

fn assert_same_answers(items: Vec<Item>) -> Result<(), TestCaseError> {
    let singly: Vec<bool> =
        items.iter().map(|(key, message, signature)| verify(key, message, signature)).collect();
    let mut batch = Batch::default();
    for (key, message, signature) in items {
        batch.push(key, message, signature);
    }
    prop_assert_eq!(batch.len(), singly.len());
    prop_assert_eq!(batch.verify(), singly);
    Ok(())
}

#[test]
fn batches_answer_as_singles() {
    let edges = edges();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(96));
    runner
        .run(&vec(recipe(), 0..40), |recipes| {
            assert_same_answers(recipes.into_iter().map(|recipe| make(recipe, &edges)).collect())
        })
        .expect("batch and single agree");
}

/// The case that matters for speed as well: a large honest batch with few bad signatures in random places.
#[test]
fn few_bad_signatures_in_a_large_batch_are_found() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(16));
    runner
        .run(&(1..300usize, vec(any::<Index>(), 0..4)), |(size, bad)| {
            let mut items: Vec<Item> = (0..size)
                .map(|number| {
                    let secret = SecretKey::from_seed([(number % 7) as u8; 32]);
                    let message = number.to_le_bytes().to_vec();
                    let signature = secret.sign_bytes(&message);
                    (secret.public(), message, signature)
                })
                .collect();
            for place in bad {
                place.get_mut(&mut items).1.push(0);
            }
            assert_same_answers(items)
        })
        .expect("batch and single agree");
}
