//! Fuzz targets (`docs/testing.md`, Fuzzing): any bytes as an announcement, or as all that a peer knows.

use quorate_crypto::{decode, encode};

use super::{
    tests::{DRIFT_MS, NOW_MS, chain, secret},
    *,
};

fn announce(validator: u8, node: u8, addresses: &[Multiaddr]) -> SignedAnnouncement {
    SignedAnnouncement::sign(&chain(), &secret(validator), &secret(node), addresses, NOW_MS)
}

/// Announcements of two validators, and one without addresses.
fn honest() -> [SignedAnnouncement; 3] {
    let parse = |text: &str| text.parse::<Multiaddr>().expect("an address");
    let peer = peer_id(&secret(101).public()).expect("a key");
    let named = parse("/dns4/node.example/udp/9000/quic-v1").with_p2p(peer).expect("no peer yet");
    [
        announce(1, 101, &[parse("/ip4/192.0.2.1/tcp/9000"), named]),
        announce(2, 102, &[parse("/ip6/2001:db8::1/tcp/443/tls/ws")]),
        announce(3, 103, &[]),
    ]
}

/// What nobody signed changes nothing; what is bound is what was signed.
fn learn(signed: SignedAnnouncement) {
    let mut book = Book::new(chain(), ClockDrift::new(DRIFT_MS), None);
    book.set_validators((1..=3).map(|seed| secret(seed).public()).collect());
    let validator = signed.announcement.validator;
    match book.merge(signed.clone(), NOW_MS) {
        Ok(merged) => {
            assert!(honest().contains(&signed), "nothing else was signed");
            assert_eq!(book.validator_of(&merged.binding.peer), Some(validator), "both maps say the same");
        }
        Err(_) => assert_eq!(book.bindings().count(), 0, "what is refused binds nobody"),
    }
    // Whoever holds both keys may sign anything: what the addresses say is judged without the signatures, too.
    let Announcement { node, addresses, .. } = &signed.announcement;
    if let Some(peer) = peer_id(node)
        && let Ok(parsed) = parse_addresses(addresses, &peer)
    {
        let again: Vec<Vec<u8>> = parsed.iter().map(Multiaddr::to_vec).collect();
        assert_eq!(&again, addresses, "what is dialled is what was signed");
        for address in &parsed {
            // As a log shows it.
            let _ = address.to_string();
        }
    }
}

#[test]
fn announcement() {
    let samples = honest().map(|signed| encode(&signed));
    bolero::check!(name = "announcement").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let signed = decode::<SignedAnnouncement>(bytes).ok()?;
            learn(signed.clone());
            Some(encode(&signed))
        });
    });
}

#[test]
fn exchange() {
    let samples = [encode(&Exchange(honest().to_vec())), encode(&Exchange(Vec::new()))];
    bolero::check!(name = "exchange").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let exchange = decode::<Exchange>(bytes).ok()?;
            exchange.0.iter().cloned().for_each(learn);
            Some(encode(&exchange))
        });
    });
}
