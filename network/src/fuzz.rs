//! Fuzz targets (`docs/testing.md`, Fuzzing): any bytes on a stream between validators, as a request or as its answer; any
//! text that a peer says about itself.

use std::cell::{Cell, RefCell};

use futures::{executor::block_on, io::Cursor};
use libp2p::{
    Multiaddr, StreamProtocol, identify, identity::Keypair, multiaddr::Protocol, request_response::Codec as _,
};
use quorate_crypto::Hash;

use crate::{
    Limits,
    bound::Bound,
    codec::{Codec, Request, Response},
    framing::{self, FrameError},
    identity::{self, Identity, Occasion},
    limits::{ADDRESSES_MAX, AGENT_CHARS_MAX},
    names::Names,
    peer::printable,
};

const NAME: StreamProtocol = StreamProtocol::new("/fuzz");

/// Messages of different lengths, one after the other.
fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in [&b"first"[..], b"", &[7; 300]] {
        framing::append(&mut bytes, message);
    }
    bytes
}

/// A stream is read frame by frame until it ends or a frame is too large; what was read is what was sent.
#[test]
fn frames() {
    let samples = [stream()];
    let bound = Bound::new(Limits::default().frame_bytes_max);
    bolero::check!(name = "frames").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let mut source = Cursor::new(bytes);
            let mut again = Vec::new();
            let end = loop {
                match block_on(framing::read(&mut source, &bound)) {
                    Ok(frame) => framing::append(&mut again, &frame),
                    Err(end) => break end,
                }
            };
            assert!(bytes.starts_with(&again), "frames are what was sent");
            match end {
                FrameError::TooLarge(error) => {
                    assert!(error.bytes > bound.max(), "a frame of that size is allowed")
                }
                FrameError::Io(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "memory only ends");
                }
            }
            Some(bytes.to_vec())
        });
    });
}

/// What is read of a request or an answer, written again, is what came of it.
#[test]
fn requests() {
    let samples = [stream(), response(Response::Answer(vec![7; 40])), response(Response::Refused)];
    bolero::check!(name = "requests").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            match block_on(codec().read_request(&NAME, &mut Cursor::new(bytes))).ok()? {
                Request::TooLarge(error) => {
                    assert!(
                        error.bytes > codec().request_bytes_max.max(),
                        "a request of that size is allowed"
                    );
                    None
                }
                request @ Request::Message(_) => {
                    let mut wire = Cursor::new(Vec::new());
                    block_on(codec().write_request(&NAME, &mut wire, request)).expect("memory");
                    Some(with_rest(wire.into_inner(), bytes))
                }
            }
        });
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let read = block_on(codec().read_response(&NAME, &mut Cursor::new(bytes))).ok()?;
            Some(with_rest(response(read), bytes))
        });
    });
}

fn codec() -> Codec {
    let limits = Limits::default();
    Codec {
        request_bytes_max: Bound::new(limits.request_bytes_max),
        response_bytes_max: Bound::new(limits.response_bytes_max),
    }
}

/// An answer as it is written.
fn response(response: Response) -> Vec<u8> {
    let mut wire = Cursor::new(Vec::new());
    block_on(codec().write_response(&NAME, &mut wire, response)).expect("memory");
    wire.into_inner()
}

/// What was read, followed by what came after it, which nobody reads: one stream carries one request.
fn with_rest(mut read: Vec<u8>, all: &[u8]) -> Vec<u8> {
    read.extend_from_slice(&all[read.len()..]);
    read
}

/// What one of our own says about itself, and says again: what is kept of it is bounded and fit for a log, and every address
/// that is kept names the peer.
#[test]
fn identity_accepted() {
    let names = Names::new(&Hash::of(b"chain"));
    let key = Keypair::ed25519_from_bytes([7; 32]).expect("a seed");
    let peer = key.public().to_peer_id();
    let parse = |text: &str| text.parse::<Multiaddr>().expect("an address");
    let honest = [
        parse("/ip4/192.0.2.1/tcp/7600"),
        parse("/ip4/192.0.2.1/udp/7600/quic-v1").with_p2p(peer).expect("none"),
    ];
    let samples =
        [framed(&honest), framed(&[parse("/dns4/node.example/tcp/443/tls/ws"), Multiaddr::empty()])];
    bolero::check!(name = "identity_accepted").for_each(|input: &[u8]| {
        let routing = RefCell::new(identity::tests::routing());
        let occasion = Cell::new(Occasion::First);
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let info = identify::Info {
                public_key: key.public(),
                protocol_version: names.version.clone(),
                agent_version: String::from_utf8_lossy(bytes).into_owned(),
                listen_addrs: unframed(bytes),
                protocols: vec![names.requests.clone(), names.announcements.clone(), names.routing.clone()],
                observed_addr: Multiaddr::empty(),
                signed_peer_record: None,
            };
            let told = info.listen_addrs.len();
            let identity = Identity::of(info, &names).expect("it is of this chain");
            assert!(identity.agent.chars().count() <= AGENT_CHARS_MAX, "it is short");
            assert!(!identity.agent.chars().any(char::is_control), "it moves no cursor");
            assert_eq!(identity.addresses.len(), told.min(ADDRESSES_MAX));
            let routing = &mut routing.borrow_mut();
            identity::enter(routing, peer, identity.addresses, occasion.replace(Occasion::Again));
            let known = identity::known(routing, &peer);
            assert!(known.len() <= identity::tests::KNOWN_MAX, "however often it tells");
            for address in known {
                assert_eq!(address.iter().last(), Some(Protocol::P2p(peer)), "it is dialled as who it is");
                let _ = address.to_string();
            }
            None
        });
    });
}

/// Addresses in their binary form, each with its length.
fn framed(addresses: &[Multiaddr]) -> Vec<u8> {
    let mut bytes = Vec::new();
    addresses.iter().for_each(|address| framing::append(&mut bytes, &address.to_vec()));
    bytes
}

/// The addresses in bytes, as many as are some.
fn unframed(bytes: &[u8]) -> Vec<Multiaddr> {
    let (mut source, bound) = (Cursor::new(bytes), Bound::new(Limits::default().frame_bytes_max));
    let frames = std::iter::from_fn(|| block_on(framing::read(&mut source, &bound)).ok());
    frames.filter_map(|frame| Multiaddr::try_from(frame).ok()).collect()
}

/// What a peer says it is may be any text: what comes into a log is short and moves no cursor.
#[test]
fn identity() {
    let names = Names::new(&Hash::of(b"chain"));
    let samples = [names.version.clone().into_bytes(), b"/quorate/1/0x\n\x1b[31m".to_vec()];
    bolero::check!(name = "identity").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let agent = printable(&text, AGENT_CHARS_MAX);
            assert!(agent.chars().count() <= AGENT_CHARS_MAX, "it is short");
            let protocols: Vec<StreamProtocol> = text
                .split(' ')
                .filter_map(|name| StreamProtocol::try_from_owned(name.to_owned()).ok())
                .collect();
            let stranger = names.stranger(&text, &protocols);
            assert!(stranger.is_some(), "it lacks our protocols");
            let shown = [agent, stranger.unwrap_or_default()];
            assert!(!shown.iter().any(|text| text.chars().any(char::is_control)), "it moves no cursor");
            None
        });
    });
}
