//! Fuzz targets (`docs/testing.md`, Fuzzing): any bytes on a stream between validators, as a request or as its answer; any
//! text that a peer says about itself.

use futures::{executor::block_on, io::Cursor};
use libp2p::{StreamProtocol, request_response::Codec as _};
use quorate_crypto::Hash;

use crate::{
    Limits,
    bound::Bound,
    codec::{Codec, Request, Response},
    framing::{self, FrameError},
    limits::AGENT_CHARS_MAX,
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
