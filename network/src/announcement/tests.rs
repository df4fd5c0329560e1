use proptest::prelude::*;
use quorate_crypto::{decode, encode};

use super::*;

pub(super) const DRIFT_MS: u64 = 5_000;
pub(super) const NOW_MS: u64 = 1_000_000;

pub(super) fn chain() -> Hash {
    Hash::of(b"chain")
}

pub(super) fn secret(byte: u8) -> SecretKey {
    SecretKey::from_seed([byte; 32])
}

fn address() -> Multiaddr {
    "/ip4/192.0.2.1/tcp/9000".parse().expect("an address")
}

/// Validators have the seeds 1 to 9, their nodes 101 to 109.
fn announce(validator: u8, node: u8, sequence: u64) -> SignedAnnouncement {
    SignedAnnouncement::sign(&chain(), &secret(validator), &secret(node), &[address()], sequence)
}

/// Signs what [`SignedAnnouncement::sign`] would not make.
fn sign(announcement: Announcement, validator: u8, node: u8) -> SignedAnnouncement {
    SignedAnnouncement {
        validator_signature: secret(validator).sign(Domain::Announcement, &chain(), &announcement),
        node_signature: secret(node).sign(Domain::Announcement, &chain(), &announcement),
        announcement,
    }
}

fn peer(node: u8) -> PeerId {
    peer_id(&secret(node).public()).expect("a key")
}

fn drift() -> ClockDrift {
    ClockDrift::new(DRIFT_MS)
}

/// A book of the validators 1 to 4.
fn book() -> Book {
    book_within(drift())
}

fn book_within(drift: ClockDrift) -> Book {
    let mut book = Book::new(chain(), drift, None);
    let removed = book.set_validators((1..=4).map(|seed| secret(seed).public()).collect());
    assert!(removed.is_empty());
    book
}

#[test]
fn peer_id_is_that_of_the_libp2p_identity() {
    let keypair = libp2p::identity::Keypair::ed25519_from_bytes(secret(101).seed()).expect("a seed");
    assert_eq!(peer(101), keypair.public().to_peer_id());
}

#[test]
fn announcement_binds_a_validator_to_its_peer() {
    let mut book = book();
    let signed = announce(1, 101, NOW_MS);
    let merged = book.merge(signed.clone(), NOW_MS).expect("valid");
    let binding = Binding {
        validator: secret(1).public(),
        peer: peer(101),
        addresses: vec![address()],
        sequence: NOW_MS,
        signed,
    };
    assert_eq!(merged, Merged { binding: binding.clone(), previous: None, displaced: None });
    assert_eq!(book.binding(&secret(1).public()), Some(&binding));
    assert_eq!(book.validator_of(&peer(101)), Some(secret(1).public()));
    assert!(!book.is_complete());
}

#[test]
fn newer_announcement_wins_and_the_older_never_returns() {
    let mut book = book();
    let older = announce(1, 101, NOW_MS);
    let first = book.merge(older.clone(), NOW_MS).expect("valid").binding;
    let newer = NOW_MS + ANNOUNCE_STEP_MS;
    let merged = book.merge(announce(1, 102, newer), NOW_MS).expect("newer");
    assert_eq!(merged.previous, Some(first));
    assert_eq!(book.validator_of(&peer(101)), None);
    assert_eq!(book.validator_of(&peer(102)), Some(secret(1).public()));
    let refused = Refusal::NotNewer { sequence: NOW_MS, known: newer };
    assert_eq!(book.merge(older, NOW_MS), Err(refused));
    let refused = Refusal::NotNewer { sequence: newer, known: newer };
    assert_eq!(book.merge(announce(1, 103, newer), NOW_MS), Err(refused), "the first of equals stays");
}

#[test]
fn announcements_are_a_step_apart_at_least() {
    let mut book = book();
    book.merge(announce(1, 101, NOW_MS), NOW_MS).expect("the first");
    let sequence = NOW_MS + ANNOUNCE_STEP_MS - 1;
    let refusal = book.merge(announce(1, 102, sequence), NOW_MS).expect_err("one below the step");
    assert_eq!(refusal, Refusal::TooSoon { sequence, known: NOW_MS });
    assert!(!refusal.is_fault(), "whoever passes it on may not know the other");
    book.merge(announce(1, 102, NOW_MS + ANNOUNCE_STEP_MS), NOW_MS).expect("at the step");
    assert_eq!(book.validator_of(&peer(102)), Some(secret(1).public()));
}

#[test]
fn sequence_may_be_ahead_by_the_drift_and_no_more() {
    let at = announce(1, 101, NOW_MS + DRIFT_MS);
    book().merge(at, NOW_MS).expect("at the bound");
    let sequence = NOW_MS + DRIFT_MS + 1;
    let refusal = book().merge(announce(1, 101, sequence), NOW_MS).expect_err("one past it");
    assert_eq!(refusal, Refusal::Ahead { sequence, now_ms: NOW_MS });
    assert!(!refusal.is_fault(), "clocks differ");
}

/// The chain's parameters change with its epochs, while the node runs.
#[test]
fn the_drift_that_was_set_last_counts() {
    let drift = drift();
    let mut book = book_within(drift.clone());
    drift.set(2 * DRIFT_MS);
    book.merge(announce(1, 101, NOW_MS + 2 * DRIFT_MS), NOW_MS).expect("at the new bound");
    drift.set(1);
    let refusal = book.merge(announce(2, 102, NOW_MS + 2), NOW_MS).expect_err("one past the newest");
    assert_eq!(refusal, Refusal::Ahead { sequence: NOW_MS + 2, now_ms: NOW_MS });
    book.merge(announce(2, 102, NOW_MS + 1), NOW_MS).expect("at the newest bound");
}

#[test]
fn only_validators_of_the_set_are_bound() {
    let mut book = book();
    let refusal = book.merge(announce(5, 105, NOW_MS), NOW_MS).expect_err("not of the set");
    assert_eq!(refusal, Refusal::NotAValidator(secret(5).public()));
    assert!(!refusal.is_fault(), "sets differ for a moment");

    let bound = book.merge(announce(1, 101, NOW_MS), NOW_MS).expect("valid").binding;
    assert_eq!(book.set_validators(BTreeSet::from([secret(5).public()])), [bound]);
    assert_eq!(book.validator_of(&peer(101)), None);
    book.merge(announce(5, 105, NOW_MS), NOW_MS).expect("of the set by now");
    assert!(book.is_complete());
}

#[test]
fn both_keys_must_sign() {
    let announcement = announce(1, 101, NOW_MS).announcement;
    let forged = sign(announcement.clone(), 2, 101);
    assert_eq!(book().merge(forged, NOW_MS), Err(Refusal::ValidatorSignature));
    let claimed = sign(announcement.clone(), 1, 102);
    assert_eq!(book().merge(claimed, NOW_MS), Err(Refusal::NodeSignature), "somebody else's node");
    for refusal in [Refusal::ValidatorSignature, Refusal::NodeSignature] {
        assert!(refusal.is_fault());
    }
    let other_chain = Book::new(Hash::of(b"other"), drift(), None);
    let mut other_chain = other_chain;
    other_chain.set_validators(BTreeSet::from([secret(1).public()]));
    assert_eq!(other_chain.merge(sign(announcement, 1, 101), NOW_MS), Err(Refusal::ValidatorSignature));
}

#[test]
fn peer_serves_the_validator_it_signed_for_last() {
    let mut book = book();
    let first = book.merge(announce(1, 101, NOW_MS), NOW_MS).expect("valid").binding;
    let refusal = book.merge(announce(2, 101, NOW_MS), NOW_MS);
    assert_eq!(refusal, Err(Refusal::PeerTaken(secret(1).public())));
    let merged = book.merge(announce(2, 101, NOW_MS + 1), NOW_MS).expect("newer");
    assert_eq!(merged.displaced, Some(first));
    assert_eq!(book.binding(&secret(1).public()), None);
    assert_eq!(book.validator_of(&peer(101)), Some(secret(2).public()));
}

#[test]
fn own_key_is_not_bound_to_another_node() {
    let own = secret(1).public();
    let mut book = Book::new(chain(), drift(), Some((own, peer(101))));
    book.set_validators(BTreeSet::from([own]));
    assert_eq!(book.merge(announce(1, 102, NOW_MS), NOW_MS), Err(Refusal::OurKey(peer(102))));
    book.merge(announce(1, 101, NOW_MS), NOW_MS).expect("our node");
}

#[test]
fn addresses_are_bounded_in_number_and_length() {
    let bytes = address().to_vec();
    let with = |addresses: Vec<Vec<u8>>| {
        let announcement = Announcement { addresses, ..announce(1, 101, NOW_MS).announcement };
        book().merge(sign(announcement, 1, 101), NOW_MS)
    };
    with(vec![bytes.clone(); ADDRESSES_MAX]).expect("at the bound");
    let refusal = with(vec![bytes; ADDRESSES_MAX + 1]).expect_err("one past it");
    assert_eq!(refusal, Refusal::Malformed("too many addresses"));
    assert!(refusal.is_fault());

    // `/unix/<path>`: code 400 as a varint (2 bytes), length as a varint (2 bytes), path.
    let unix = |length: usize| {
        let path = "p".repeat(length - 4);
        let bytes = format!("/unix/{path}").parse::<Multiaddr>().expect("an address").to_vec();
        assert_eq!(bytes.len(), length);
        bytes
    };
    with(vec![unix(ADDRESS_BYTES_MAX)]).expect("at the bound");
    let refusal = with(vec![unix(ADDRESS_BYTES_MAX + 1)]);
    assert_eq!(refusal, Err(Refusal::Malformed("an address is too long")), "one past it");
    assert_eq!(with(vec![vec![0xff; 3]]), Err(Refusal::Malformed("an address is no multiaddress")));
}

#[test]
fn address_may_name_its_own_peer_only() {
    let with = |named: u8| {
        let address = address().with_p2p(peer(named)).expect("no peer yet");
        let signed = SignedAnnouncement::sign(&chain(), &secret(1), &secret(101), &[address], NOW_MS);
        book().merge(signed, NOW_MS)
    };
    with(101).expect("its own");
    assert_eq!(with(102), Err(Refusal::Malformed("an address names another peer")));
}

#[test]
fn signing_leaves_out_what_would_be_refused() {
    let many: Vec<_> = vec![address(); ADDRESSES_MAX + 1];
    let signed = SignedAnnouncement::sign(&chain(), &secret(1), &secret(101), &many, NOW_MS);
    assert_eq!(book().merge(signed, NOW_MS).expect("valid").binding.addresses.len(), ADDRESSES_MAX);
}

#[test]
fn largest_exchange_fits_its_limit() {
    let mut signed = announce(1, 101, NOW_MS);
    signed.announcement.addresses = vec![vec![0; ADDRESS_BYTES_MAX]; ADDRESSES_MAX];
    let exchange = Exchange(vec![signed; VALIDATORS_MAX]);
    assert!(encode(&exchange).len() <= crate::limits::ANNOUNCEMENTS_BYTES_MAX);
}

#[test]
fn lists_are_read_up_to_their_bounds_and_no_longer() {
    let with = |addresses: Vec<Vec<u8>>| {
        let announcement = Announcement { addresses, ..announce(1, 101, NOW_MS).announcement };
        decode::<Announcement>(&encode(&announcement)).is_ok()
    };
    assert!(with(vec![vec![0; ADDRESS_BYTES_MAX]; ADDRESSES_MAX]), "both at their bounds");
    assert!(!with(vec![Vec::new(); ADDRESSES_MAX + 1]), "an address too many");
    assert!(!with(vec![vec![0; ADDRESS_BYTES_MAX + 1]]), "a byte too many");
    let exchange = |count| encode(&Exchange(vec![announce(1, 101, NOW_MS); count]));
    assert!(decode::<Exchange>(&exchange(VALIDATORS_MAX)).is_ok(), "at the bound");
    assert!(decode::<Exchange>(&exchange(VALIDATORS_MAX + 1)).is_err(), "one past it");
}

proptest! {
    #[test]
    fn any_bytes_decode_to_what_encodes_to_them_or_not_at_all(bytes: Vec<u8>) {
        if let Ok(signed) = decode::<SignedAnnouncement>(&bytes) {
            prop_assert_eq!(encode(&signed), bytes);
        }
    }

    #[test]
    fn changed_byte_is_never_accepted(position in any::<prop::sample::Index>(), change in 1..=255u8) {
        let mut bytes = encode(&announce(1, 101, NOW_MS));
        let position = position.index(bytes.len());
        bytes[position] ^= change;
        if let Ok(signed) = decode::<SignedAnnouncement>(&bytes) {
            prop_assert!(book().merge(signed, NOW_MS).is_err());
        }
    }

    #[test]
    fn truncated_announcement_does_not_decode(length in any::<prop::sample::Index>()) {
        let bytes = encode(&announce(1, 101, NOW_MS));
        prop_assert!(decode::<SignedAnnouncement>(&bytes[..length.index(bytes.len())]).is_err());
    }

    #[test]
    fn order_of_arrival_does_not_matter(
        steps in prop::collection::hash_set(1..1_000u64, 1..8),
    ) {
        let mut sequences: Vec<u64> = steps.iter().map(|step| step * ANNOUNCE_STEP_MS).collect();
        let mut book = book();
        for sequence in &sequences {
            // Older ones are refused.
            let _ = book.merge(announce(1, 101, *sequence), NOW_MS);
        }
        sequences.sort_unstable();
        let bound = book.binding(&secret(1).public()).expect("one was the first");
        prop_assert_eq!(Some(&bound.sequence), sequences.last());
    }
}
