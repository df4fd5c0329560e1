use proptest::collection::vec;
use proptest::prelude::*;
use quorate_crypto::codec::{DecodeError, decode, encode};

use super::*;
use crate::fixtures::{check_bytes, check_decoder, key};

fn keys(count: usize) -> Vec<PublicKey> {
    (0..count).map(|number| key(u16::try_from(number).expect("few")).public()).collect()
}

/// > Two groups of `Q` always share a correct validator, and the correct ones alone are `Q`.
#[test]
fn two_quorums_share_an_honest_validator_and_the_honest_are_a_quorum() {
    for n in 1..=VALIDATORS_MAX {
        let quorum = Quorum::of(n);
        let (f, q) = (quorum.f(), quorum.q());
        assert_eq!(quorum.n(), n);
        assert!(2 * q - n > f, "two quorums of {n} could share liars only");
        assert!(q <= n - f, "liars among {n} could stop the rest");
        assert!(3 * f < n && n <= 3 * (f + 1), "f is the greatest below a third of {n}");
        if n == 3 * f + 1 {
            assert_eq!(q, 2 * f + 1);
        }
        assert!(2 * (q - 1) <= n + f, "no smaller quorum of {n} would do");
    }
    assert_eq!([1, 4, 5, 6, 7].map(|n| Quorum::of(n).q()), [1, 3, 4, 4, 5]);
}

#[test]
#[should_panic(expected = "a quorum of nobody")]
fn nobody_has_no_quorum() {
    let _ = Quorum::of(0);
}

#[test]
fn a_set_is_ordered_by_key_bytes_however_it_was_given() {
    let mut given = keys(7);
    let set = ValidatorSet::new(given.clone()).expect("seven keys");
    given.reverse();
    assert_eq!(ValidatorSet::new(given.clone()), Ok(set.clone()));
    assert!(set.keys().is_sorted_by(|low, high| low.as_bytes() < high.as_bytes()));
    for (place, key) in set.keys().iter().enumerate() {
        let index = ValidatorIndex(u16::try_from(place).expect("few"));
        assert_eq!(set.index_of(key), Some(index));
        assert_eq!(set.key(index), Some(key));
    }
    assert_eq!(set.key(ValidatorIndex(7)), None);
    assert_eq!(set.index_of(&key(500).public()), None);
    assert_eq!((set.len(), set.quorum()), (7, Quorum::of(7)));
}

#[test]
fn the_hash_is_that_of_the_format() {
    // Made by a separate program from the words of `docs/formats.md`.
    let set = ValidatorSet::new(keys(4)).expect("four keys");
    assert_eq!(set.hash().to_string(), "0x92217e394f43415fc82cad9e04e7a6b9a7638201bdb88b24f99a9de50fb3235e");
    assert_ne!(set.hash(), ValidatorSet::new(keys(5)).expect("five keys").hash());
}

#[test]
fn a_set_has_one_to_validators_max_keys() {
    assert_eq!(ValidatorSet::new(Vec::new()), Err(ValidatorSetError::Empty));
    let full = ValidatorSet::new(keys(VALIDATORS_MAX)).expect("at the limit");
    assert_eq!(decode(&encode(&full)), Ok(full));
    let more = keys(VALIDATORS_MAX + 1);
    assert_eq!(
        ValidatorSet::new(more.clone()),
        Err(ValidatorSetError::TooMany { count: VALIDATORS_MAX + 1 })
    );
    let mut sorted = more;
    sorted.sort_unstable();
    assert!(decode::<ValidatorSet>(&encode(&sorted)).is_err());
}

#[test]
fn duplicate_and_unusable_keys_are_refused_by_name() {
    let mut twice = keys(3);
    twice.push(twice[1]);
    assert_eq!(ValidatorSet::new(twice.clone()), Err(ValidatorSetError::Duplicate { key: twice[1] }));
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = PublicKey::from_bytes(identity);
    let mut unusable = keys(3);
    unusable.push(weak);
    assert_eq!(ValidatorSet::new(unusable), Err(ValidatorSetError::BadKey { key: weak }));
}

#[test]
fn decoding_checks_order_duplicates_keys_and_emptiness_again() {
    let set = ValidatorSet::new(keys(3)).expect("three keys");
    let [first, second, third] = [set.keys()[0], set.keys()[1], set.keys()[2]];
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = PublicKey::from_bytes(identity);
    let wrong = [
        (vec![], "at least one key"),
        (vec![second, first, third], "out of order"),
        (vec![first, second, second], "out of order"),
        (vec![weak, first], "not a usable key"),
    ];
    for (keys, why) in wrong {
        let refused = decode::<ValidatorSet>(&encode(&keys));
        assert!(
            matches!(&refused, Err(DecodeError::Malformed { reason }) if reason.contains(why)),
            "{refused:?} should say {why}"
        );
    }
}

#[test]
fn json_is_a_list_of_keys_and_is_checked() {
    let set = ValidatorSet::new(keys(3)).expect("three keys");
    let json = serde_json::to_value(&set).expect("json");
    assert_eq!(json[0], set.keys()[0].to_string());
    assert_eq!(serde_json::from_value::<ValidatorSet>(json.clone()).expect("own json"), set);
    let twice = serde_json::json!([json[0], json[0]]);
    assert!(serde_json::from_value::<ValidatorSet>(twice).is_err());
}

proptest! {
    #[test]
    fn sets_survive_their_encoding_and_nothing_else_does(count in 1..12usize) {
        check_decoder(&ValidatorSet::new(keys(count)).expect("distinct keys"));
    }

    #[test]
    fn random_bytes_are_no_set_or_exactly_one(bytes in vec(any::<u8>(), 0..200), count in 0..4u8) {
        check_bytes::<ValidatorSet>(&bytes);
        let mut counted = vec![count, 0, 0, 0];
        counted.extend(bytes);
        check_bytes::<ValidatorSet>(&counted);
    }
}
