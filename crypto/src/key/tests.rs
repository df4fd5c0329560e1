use super::*;
use crate::{
    codec::{decode, encode},
    verify,
};

/// The eight points of small order in their canonical encodings: 1, 2, 4, 4, 8, 8, 8, 8.
const SMALL_ORDER: [&str; 8] = [
    "0x0100000000000000000000000000000000000000000000000000000000000000",
    "0xecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0x0000000000000000000000000000000000000000000000000000000000000000",
    "0x0000000000000000000000000000000000000000000000000000000000000080",
    "0x26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "0x26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0xc7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "0xc7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

/// Encodings of the points of order 1 and 4 with y + p instead of y.
const SMALL_ORDER_NOT_CANONICAL: [&str; 2] = [
    "0xeeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0xedffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn keys_nobody_owns_are_refused() {
    for text in SMALL_ORDER.into_iter().chain(SMALL_ORDER_NOT_CANONICAL) {
        let key: PublicKey = text.parse().expect("it is a key in hex");
        assert_eq!(key.check(), Err(KeyError::SmallOrder), "{text}");
    }
    // y = 2 is on no point of the curve.
    let mut bytes = [0; 32];
    bytes[0] = 2;
    assert_eq!(PublicKey::from_bytes(bytes).check(), Err(KeyError::NotAPoint));
    assert_eq!(SecretKey::generate().public().check(), Ok(()));
}

#[test]
fn a_key_is_its_seed() {
    let key = SecretKey::generate();
    assert_eq!(SecretKey::from_seed(key.seed()).public(), key.public());
    assert_ne!(SecretKey::generate().public(), key.public());
}

#[test]
fn debug_shows_the_public_half_only() {
    let key = SecretKey::generate();
    let shown = format!("{key:?}");
    assert!(shown.contains(&key.public().to_string()), "{shown}");
    assert!(!shown.contains(&hex::encode(key.seed())), "{shown}");
    assert!(!shown.contains(&format!("{:?}", key.seed())), "{shown}");
}

/// `docs/pbft.md §2`:
///
/// > no signature can be replayed as another kind, in another protocol version or chain
#[test]
fn a_signature_holds_for_its_domain_chain_and_payload_only() {
    let (key, chain) = (SecretKey::generate(), Hash::of(b"chain"));
    let signature = key.sign(Domain::Prepare, &chain, &7u64);
    let holds = |domain: Domain, chain: &Hash, payload: u64| {
        verify(&key.public(), &domain.message(chain, &payload), &signature)
    };
    assert!(holds(Domain::Prepare, &chain, 7));
    assert!(!holds(Domain::Commit, &chain, 7));
    assert!(!holds(Domain::Prepare, &Hash::of(b"another"), 7));
    assert!(!holds(Domain::Prepare, &chain, 8));
}

#[test]
fn bytes_text_and_json_read_back() {
    let key = SecretKey::generate();
    let (public, signature) = (key.public(), key.sign_bytes(b"message"));
    assert_eq!(encode(&public), public.as_bytes());
    assert_eq!(decode(&encode(&public)), Ok(public));
    assert_eq!(public.to_string().parse(), Ok(public));
    assert_eq!(encode(&signature), signature.as_bytes());
    assert_eq!(decode(&encode(&signature)), Ok(signature));
    assert_eq!(signature.to_string().parse(), Ok(signature));
    let json = serde_json::to_string(&(public, signature)).expect("strings serialize");
    assert_eq!(
        serde_json::from_str::<(PublicKey, Signature)>(&json).expect("what was written reads back"),
        (public, signature)
    );
}

#[test]
fn other_lengths_are_neither_keys_nor_signatures() {
    for length in [0, 31, 33, 63, 65] {
        let bytes = vec![0; length];
        assert!(decode::<PublicKey>(&bytes).is_err());
        assert!(decode::<Signature>(&bytes).is_err());
        assert!(crate::to_hex(&bytes).parse::<PublicKey>().is_err());
        assert!(crate::to_hex(&bytes).parse::<Signature>().is_err());
    }
}
