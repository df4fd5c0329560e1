//! The published vectors for Ed25519: what is signed, and what holds by ZIP-215 (`vectors/README.md`).

use quorate_crypto::{Batch, KeyError, PublicKey, SecretKey, Signature, from_hex, verify};
use serde::Deserialize;

#[derive(Deserialize)]
struct Rfc8032 {
    name: String,
    secret: String,
    public: String,
    message: String,
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wycheproof {
    number_of_tests: usize,
    test_groups: Vec<WycheproofGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WycheproofGroup {
    public_key: WycheproofKey,
    tests: Vec<WycheproofCase>,
}

#[derive(Deserialize)]
struct WycheproofKey {
    pk: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WycheproofCase {
    tc_id: u32,
    msg: String,
    sig: String,
    result: String,
}

#[derive(Deserialize)]
struct Cctv {
    number: u32,
    key: String,
    sig: String,
    msg: String,
    flags: Option<Vec<String>>,
}

impl Cctv {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().flatten().any(|one| one == flag)
    }

    /// ZIP-215: "[8][S]B = [8]R + [8][k]A", any encodings of points, `k` over the bytes as they came.
    ///
    /// All 914 were made to satisfy the equation. With `reencoded_k` they satisfy it only for a `k` over
    /// other bytes than the signature's own; that matters unless [8]A is the neutral element, and then no `k`
    /// does.
    fn holds_by_zip_215(&self) -> bool {
        !self.has("reencoded_k") || self.has("low_order_A")
    }

    fn parts(&self) -> (PublicKey, Vec<u8>, Signature) {
        (
            PublicKey::from_bytes(array(&self.key)),
            self.msg.clone().into_bytes(),
            Signature::from_bytes(array(&self.sig)),
        )
    }
}

fn cctv() -> Vec<Cctv> {
    serde_json::from_str(include_str!("vectors/cctv-ed25519.json")).expect("the file is what its README says")
}

fn bytes(digits: &str) -> Vec<u8> {
    from_hex(&format!("0x{digits}")).expect("vectors are in hex")
}

fn array<const N: usize>(digits: &str) -> [u8; N] {
    bytes(digits).try_into().expect("vectors have the length of their kind")
}

/// RFC 8032 §7.1: the key of the seed, the signature to the bit, and that it holds.
#[test]
fn rfc_8032_keys_and_signatures_come_out_to_the_bit() {
    let cases: Vec<Rfc8032> = serde_json::from_str(include_str!("vectors/rfc8032-ed25519.json"))
        .expect("the file is what its README says");
    assert_eq!(cases.len(), 5);
    for case in cases {
        let secret = SecretKey::from_seed(array(&case.secret));
        let signature = Signature::from_bytes(array(&case.signature));
        let message = bytes(&case.message);
        assert_eq!(secret.public(), PublicKey::from_bytes(array(&case.public)), "{}", case.name);
        assert_eq!(secret.public().check(), Ok(()), "{}", case.name);
        assert_eq!(secret.sign_bytes(&message), signature, "{}", case.name);
        assert!(verify(&secret.public(), &message, &signature), "{}", case.name);
        assert!(!verify(&secret.public(), &[&message[..], &[0]].concat(), &signature), "{}", case.name);
    }
}

/// Wycheproof judges by RFC 8032 §5.1.3, which fails to decode `R` if x = 0 and the sign bit is set. ZIP-215
/// says of such bytes that "non-canonical encodings MUST be accepted", and [8][S]B = [8]R + [8][k]A holds for
/// this one. The same encoding of `R` is among the CCTV signatures (`non_canonical_R`).
const WYCHEPROOF_REFUSES_AND_ZIP_215_ACCEPTS: [u32; 1] = [151];

#[test]
fn wycheproof_verdicts_are_ours_but_for_one_encoding() {
    let file: Wycheproof = serde_json::from_str(include_str!("vectors/wycheproof-ed25519.json"))
        .expect("the file is what its README says");
    let (mut cases, mut batch, mut verdicts) = (0, Batch::default(), Vec::new());
    for group in &file.test_groups {
        let key = PublicKey::from_bytes(array(&group.public_key.pk));
        for case in &group.tests {
            cases += 1;
            let valid =
                case.result == "valid" || WYCHEPROOF_REFUSES_AND_ZIP_215_ACCEPTS.contains(&case.tc_id);
            // A signature of another length than 64 bytes does not even become one of our type.
            let Ok(signature) = <[u8; 64]>::try_from(bytes(&case.sig)).map(Signature::from_bytes) else {
                assert!(!valid, "case {}", case.tc_id);
                continue;
            };
            assert_eq!(verify(&key, &bytes(&case.msg), &signature), valid, "case {}", case.tc_id);
            batch.push(key, bytes(&case.msg), signature);
            verdicts.push(valid);
        }
    }
    assert_eq!((cases, file.number_of_tests), (151, 151));
    assert_eq!(batch.verify(), verdicts);
}

#[test]
fn cctv_signatures_hold_exactly_by_zip_215() {
    let cases = cctv();
    assert_eq!(cases.len(), 914);
    for case in &cases {
        let (key, message, signature) = case.parts();
        assert_eq!(verify(&key, &message, &signature), case.holds_by_zip_215(), "case {}", case.number);
    }
    let accepted = |reencoded: bool| {
        cases.iter().filter(|case| case.has("reencoded_k") == reencoded && case.holds_by_zip_215()).count()
    };
    assert_eq!((accepted(false), accepted(true)), (768, 58));
}

#[test]
fn cctv_signatures_in_a_batch_get_the_same_answers() {
    let cases = cctv();
    let mut all = Batch::default();
    for case in &cases {
        let (key, message, signature) = case.parts();
        let mut alone = Batch::default();
        alone.push(key, message.clone(), signature);
        assert_eq!(alone.verify(), [case.holds_by_zip_215()], "case {}", case.number);
        all.push(key, message, signature);
    }
    let expected: Vec<bool> = cases.iter().map(Cctv::holds_by_zip_215).collect();
    assert_eq!(all.verify(), expected);
}

/// All that hold, in one batch equation: it must not fail for the torsion in them.
#[test]
fn cctv_signatures_that_hold_hold_together() {
    let mut batch = Batch::default();
    for case in cctv().iter().filter(|case| case.holds_by_zip_215()) {
        let (key, message, signature) = case.parts();
        batch.push(key, message, signature);
    }
    assert_eq!(batch.len(), 826);
    assert!(batch.verify().into_iter().all(|holds| holds));
}

/// Under a key of small order anybody can sign anything, so no account or validator may have one, in any
/// encoding.
#[test]
fn exactly_the_keys_of_small_order_are_refused() {
    for case in cctv() {
        let (key, ..) = case.parts();
        let expected = if case.has("low_order_A") { Err(KeyError::SmallOrder) } else { Ok(()) };
        assert_eq!(key.check(), expected, "case {}", case.number);
    }
}
