use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    SecretKey,
    codec::{decode, encode},
};

fn key(number: usize) -> SecretKey {
    SecretKey::from_seed([number as u8; 32])
}

fn keys(n: usize) -> Vec<PublicKey> {
    (0..n).map(|number| key(number).public()).collect()
}

fn vote(number: usize, message: &[u8]) -> (usize, Signature) {
    (number, key(number).sign_bytes(message))
}

fn votes(numbers: &[usize], message: &[u8]) -> Vec<(usize, Signature)> {
    numbers.iter().map(|number| vote(*number, message)).collect()
}

#[test]
fn signers_are_a_set_of_indices() {
    let mut signers = Signers::new(10);
    assert_eq!((signers.size(), signers.count()), (10, 0));
    assert!(signers.insert(9));
    assert!(signers.insert(0));
    assert!(!signers.insert(9), "it was there");
    assert!(signers.contains(0) && signers.contains(9));
    assert!(!signers.contains(1) && !signers.contains(10) && !signers.contains(usize::MAX));
    assert_eq!(signers.iter().collect::<Vec<_>>(), [0, 9]);
    assert_eq!(format!("{signers:?}"), "{0, 9} of 10");
}

#[test]
#[should_panic(expected = "validator 10 of 10")]
fn one_past_the_last_validator_cannot_be_inserted() {
    Signers::new(10).insert(10);
}

#[test]
fn as_many_validators_as_the_number_on_the_wire_can_say() {
    let mut signers = Signers::new(usize::from(u16::MAX));
    assert!(signers.insert(usize::from(u16::MAX) - 1));
    assert_eq!(decode(&encode(&signers)), Ok(signers));
}

#[test]
#[should_panic(expected = "at most u16::MAX")]
fn one_more_than_that_is_refused() {
    let _ = Signers::new(usize::from(u16::MAX) + 1);
}

#[test]
fn the_bitmap_is_little_endian_in_bytes_and_bits() {
    let mut signers = Signers::new(10);
    for index in [0, 2, 9] {
        signers.insert(index);
    }
    assert_eq!(encode(&signers), [10, 0, 0b0000_0101, 0b0000_0010]);
    assert_eq!(encode(&Signers::new(0)), [0, 0]);
}

#[test]
fn every_bit_past_the_last_validator_is_refused() {
    for n in 0..=24usize {
        let mut full = Signers::new(n);
        (0..n).for_each(|index| assert!(full.insert(index)));
        let bytes = encode(&full);
        assert_eq!(decode::<Signers>(&bytes), Ok(full));
        for stray in n..n.div_ceil(8) * 8 {
            let mut bytes = bytes.clone();
            bytes[2 + stray / 8] |= 1 << (stray % 8);
            assert!(decode::<Signers>(&bytes).is_err(), "bit {stray} of {n}");
        }
    }
}

#[test]
fn votes_in_any_order_make_the_same_certificate() {
    let one = MultiSignature::from_votes(4, votes(&[3, 0, 2], b"message"));
    let other = MultiSignature::from_votes(4, votes(&[0, 2, 3], b"message"));
    assert_eq!(one, other);
    assert_eq!(one.signers().iter().collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(one.signatures()[1], key(2).sign_bytes(b"message"));
}

/// `docs/pbft.md §2`:
///
/// > a duplicate signer cannot be written down
#[test]
fn a_second_vote_of_a_validator_does_not_count() {
    let mut twice = votes(&[1, 2], b"message");
    twice.push((1, key(1).sign_bytes(b"another")));
    let certificate = MultiSignature::from_votes(4, twice);
    assert_eq!(certificate, MultiSignature::from_votes(4, votes(&[1, 2], b"message")));
    assert_eq!(certificate.signatures().len(), certificate.signers().count());
}

#[test]
fn a_quorum_verifies_and_one_less_does_not() {
    let quorum = MultiSignature::from_votes(4, votes(&[0, 1, 3], b"message"));
    assert_eq!(quorum.verify(&keys(4), 3, b"message"), Ok(()));
    assert_eq!(
        quorum.verify(&keys(4), 4, b"message"),
        Err(CertificateError::NoQuorum { needed: 4, found: 3 })
    );
    let all = MultiSignature::from_votes(4, votes(&[0, 1, 2, 3], b"message"));
    assert_eq!(all.verify(&keys(4), 3, b"message"), Ok(()), "more than a quorum is one");
}

#[test]
fn a_certificate_holds_for_its_message_and_its_validators_only() {
    let certificate = MultiSignature::from_votes(4, votes(&[1, 2, 3], b"message"));
    assert_eq!(
        certificate.verify(&keys(4), 3, b"another"),
        Err(CertificateError::BadSignature { signer: 1 })
    );
    assert_eq!(
        certificate.verify(&keys(5), 3, b"message"),
        Err(CertificateError::WrongSize { expected: 5, found: 4 })
    );
    let mut others = keys(4);
    others.swap(2, 3);
    assert_eq!(certificate.verify(&others, 3, b"message"), Err(CertificateError::BadSignature { signer: 2 }));
}

#[test]
fn one_bad_signature_spoils_more_than_a_quorum() {
    let mut four = votes(&[0, 1, 2], b"message");
    four.push((3, key(3).sign_bytes(b"another")));
    let certificate = MultiSignature::from_votes(4, four);
    assert_eq!(
        certificate.verify(&keys(4), 3, b"message"),
        Err(CertificateError::BadSignature { signer: 3 })
    );
}

#[test]
fn certificates_read_back_from_bytes() {
    let certificate = MultiSignature::from_votes(9, votes(&[8, 0, 4], b"message"));
    let bytes = encode(&certificate);
    assert_eq!(bytes[..8], [9, 0, 0b0001_0001, 1, 3, 0, 0, 0]);
    assert_eq!(bytes.len(), 8 + 3 * 64);
    assert_eq!(decode(&bytes), Ok(certificate));
}

#[test]
fn not_one_signature_for_each_bit_is_refused() {
    let bytes = encode(&MultiSignature::from_votes(4, votes(&[0, 1, 2], b"message")));
    let mut one_bit_more = bytes.clone();
    one_bit_more[2] |= 0b1000;
    assert!(decode::<MultiSignature>(&one_bit_more).is_err());
    let mut one_bit_less = bytes.clone();
    one_bit_less[2] &= 0b0110;
    assert!(decode::<MultiSignature>(&one_bit_less).is_err());
    let mut one_signature_more = bytes.clone();
    one_signature_more[3] += 1;
    one_signature_more.extend_from_slice(&[0; 64]);
    assert!(decode::<MultiSignature>(&one_signature_more).is_err());
    let mut count_of_the_largest = bytes;
    count_of_the_largest[3..7].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(decode::<MultiSignature>(&count_of_the_largest).is_err());
}

#[test]
fn no_prefix_of_a_certificate_decodes() {
    let bytes = encode(&MultiSignature::from_votes(4, votes(&[0, 1, 2], b"message")));
    for length in 0..bytes.len() {
        assert!(decode::<MultiSignature>(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(decode::<MultiSignature>(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn certificates_read_back_from_json() {
    let certificate = MultiSignature::from_votes(4, votes(&[3, 1], b"message"));
    let json = serde_json::to_value(&certificate).expect("it serializes");
    assert_eq!(json["validators"], 4);
    assert_eq!(json["signers"], serde_json::json!([1, 3]));
    assert_eq!(json["signatures"][0], key(1).sign_bytes(b"message").to_string());
    assert_eq!(
        serde_json::from_value::<MultiSignature>(json).expect("what was written reads back"),
        certificate
    );
}

#[test]
fn json_that_is_no_certificate_is_refused() {
    let signature = key(0).sign_bytes(b"message");
    let case = |signers: &[u16], signatures: usize| {
        serde_json::from_value::<MultiSignature>(serde_json::json!({
            "validators": 4, "signers": signers, "signatures": vec![signature; signatures],
        }))
        .map_err(|error| error.to_string())
    };
    assert!(case(&[0, 3], 2).is_ok());
    assert_eq!(case(&[0, 4], 2), Err("signers past the last validator".to_owned()));
    assert_eq!(case(&[3, 0], 2), Err("signers must be in rising order".to_owned()));
    assert_eq!(case(&[3, 3], 2), Err("signers must be in rising order".to_owned()));
    assert_eq!(case(&[0, 3], 1), Err("not one signature for each signer".to_owned()));
    assert_eq!(case(&[0, 3], 3), Err("not one signature for each signer".to_owned()));
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_encode_back(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(signers) = decode::<Signers>(&bytes) {
            prop_assert_eq!(encode(&signers), &bytes[..]);
        }
        if let Ok(certificate) = decode::<MultiSignature>(&bytes) {
            prop_assert_eq!(encode(&certificate), bytes);
        }
    }

    /// Bytes that are nearly right get further into the decoder than noise does.
    #[test]
    fn changed_bytes_never_panic_and_encode_back(
        n in 0..40usize,
        chosen in vec(any::<prop::sample::Index>(), 0..8),
        place in any::<prop::sample::Index>(),
        change in any::<u8>(),
    ) {
        let chosen = chosen.iter().filter(|_| n > 0).map(|index| index.index(n));
        let votes = chosen.map(|index| (index, Signature::from_bytes([7; 64])));
        let certificate = MultiSignature::from_votes(n, votes);
        let mut bytes = encode(&certificate);
        prop_assert_eq!(decode(&bytes), Ok(certificate));
        *place.get_mut(&mut bytes) ^= change;
        if let Ok(certificate) = decode::<MultiSignature>(&bytes) {
            prop_assert_eq!(encode(&certificate), bytes);
        }
    }
}
