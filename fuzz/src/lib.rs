//! What the fuzz targets of all crates have in common: what they feed to a decoder, and what every decoder must do with
//! it (`docs/testing.md`, Fuzzing).
//!
//! A target is an ordinary test: a function in a module `fuzz` beside the decoder, made of `bolero::check!`. Its input is
//! taken twice, as it is and as a *script* that damages a well-formed sample, since random bytes alone seldom come past
//! the first length. Whatever comes of it, a decoder
//!
//! - returns, without a panic;
//! - refuses the bytes, or yields a value whose encoding is exactly these bytes;
//! - holds no more memory than [`ALLOWANCE_FACTOR`] times what arrived, whatever lengths are claimed.

mod script;

pub use script::damaged;

/// Memory that a decoder may hold at once for each byte that arrived. The smallest operation takes five bytes and is kept
/// in a hundred or so, a growing list is for a moment there twice, and the value is encoded again to be compared.
pub const ALLOWANCE_FACTOR: u64 = 64;
/// Memory beyond that, in bytes: for words of refusal, a signers' bitmap (8 KiB) and what is reserved ahead of a list.
pub const ALLOWANCE_BYTES: u64 = 64 << 10;

/// Feeds one input to a decoder, as it is and as damage to one of the samples. `decode` returns the encoding of what it
/// decoded, and may do more with the value: whatever a stranger's bytes can set in motion belongs in there.
///
/// # Panics
/// When the decoder does not do what it must.
pub fn decoder(input: &[u8], samples: &[Vec<u8>], decode: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    check(input, &decode);
    check(&damaged(input, samples), &decode);
}

/// The same for one sequence of bytes.
fn check(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let (encoding, held) = measured(|| decode(bytes));
    if let Some(encoding) = encoding {
        assert_eq!(encoding, bytes, "what is decoded encodes to the same bytes");
    }
    let allowed = ALLOWANCE_BYTES + ALLOWANCE_FACTOR * u64::try_from(bytes.len()).expect("a length fits");
    assert!(
        held <= allowed,
        "{} bytes made the decoder hold {held}, at most {allowed} are allowed",
        bytes.len()
    );
}

/// Runs `work` and says how many bytes of memory it held at most.
///
/// # Panics
/// With the panic of `work`.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let mut done = None;
    let info = allocation_counter::measure(|| {
        // Caught so that the count of this thread ends where it began.
        done = Some(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)));
    });
    match done.expect("the work was run") {
        Ok(value) => (value, info.bytes_max),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests;
