//! Fuzz targets (`docs/testing.md`, Fuzzing): any bytes as a log, any text as a mark.

use std::path::Path;

use quorate_ledger::{Epoch, View};

use super::{
    Mark,
    file::{encode_frame, encode_header, scan},
    mark::LogId,
};
use crate::engine::Promise;

/// A log of any bytes is refused, or is read up to where its whole frames end: what is cut off there reads the same.
#[test]
fn log_file() {
    let id = LogId([7; 16]);
    let frame = |sequence, records: &[&str]| {
        let records: Vec<String> = records.iter().map(|it| (*it).to_owned()).collect();
        encode_frame(id, sequence, &records).expect("memory")
    };
    let frames = [
        frame(5, &["a", "b"]),
        frame(6, &[]),
        frame(7, &["a longer one, so that there is something to tear"]),
    ];
    let whole = [encode_header(id), frames.concat()].concat();
    let samples = [whole.clone(), whole[..whole.len() - 9].to_vec(), encode_header(id)];
    let path = Path::new("log");
    bolero::check!(name = "log_file").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let contents = scan(path, bytes).ok()?;
            let end = usize::try_from(contents.end).expect("a position in memory");
            let again = scan(path, &bytes[..end]).expect("what is whole reads again");
            assert_eq!((again.bodies, again.next, again.end), (contents.bodies, contents.next, contents.end));
            // What follows the last whole frame is cut off, and says nothing.
            Some(bytes.to_vec())
        });
    });
}

/// A mark of any text is refused, or says what it is written as.
#[test]
fn mark() {
    let entered =
        Mark::Entered { log: LogId([0xab; 16]), promise: Promise { epoch: Epoch(3), view: View(17) } };
    let samples = [Mark::Unused.to_string().into_bytes(), entered.to_string().into_bytes()];
    bolero::check!(name = "mark").for_each(|input: &[u8]| {
        quorate_fuzz::decoder(input, &samples, |bytes| {
            let text = std::str::from_utf8(bytes).ok()?;
            let mark = Mark::parse(text)?;
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark), "what is written is read");
            Some(mark.to_string().into_bytes())
        });
    });
}
