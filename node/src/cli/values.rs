//! Values as users write and read them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use quorate_crypto::{from_hex, to_hex};
use quorate_ledger::{Amount, UnixMillis, decimal};
use time::OffsetDateTime;

use crate::rpc::types::Bytes;

/// Bytes: `0x` hex, or any other text as its UTF-8 bytes.
pub(super) fn bytes(text: &str) -> Result<Bytes, String> {
    if text.starts_with("0x") {
        return from_hex(text)
            .map(Bytes)
            .map_err(|error| format!("{error}; text that starts with 0x is read as hex"));
    }
    Ok(Bytes(text.as_bytes().to_vec()))
}

/// Bytes for people: as text where that reads back the same, else as hex.
pub(super) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && !text.starts_with("0x") && !text.contains(char::is_control) => {
            text.to_owned()
        }
        Ok(_) | Err(_) => to_hex(bytes),
    }
}

/// An amount: decimal digits.
pub(super) fn amount(text: &str) -> Result<Amount, String> {
    decimal::parse(text).ok_or_else(|| format!("a whole number from 0 to {}, in decimal digits", Amount::MAX))
}

/// A length of time: `500ms`, `30s`, `2m`, `1h`; without a unit, seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a whole number with a unit (ms, s, m, h), such as 30s".to_owned();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or_else(wrong)
}

/// This machine's clock.
pub(super) fn now() -> anyhow::Result<UnixMillis> {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("this machine's clock is before 1970; set it")?;
    Ok(UnixMillis(u64::try_from(since.as_millis()).context("this machine's clock is out of range; set it")?))
}

/// A time for people: in UTC, and how far it is from this machine's clock.
pub(super) fn from_now(time: UnixMillis, now: UnixMillis) -> String {
    let words = |millis: u64| match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..120_000 => format!("{} s", millis / 1_000),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        7_200_000..172_800_000 => format!("{} h", millis / 3_600_000),
        _ => format!("{} days", millis / 86_400_000),
    };
    if time > now {
        format!("{} (in {})", utc(time), words(time.millis_since(now)))
    } else {
        format!("{} ({} ago)", utc(time), words(now.millis_since(time)))
    }
}

/// A time for people, wherever their clock stands.
pub(super) fn shown_time(time: UnixMillis) -> String {
    // Only a nicety: without a clock the time alone is shown.
    now().map_or_else(|_| utc(time), |now| from_now(time, now))
}

/// A time in UTC, to the second; one that no calendar has, as the number it is.
fn utc(time: UnixMillis) -> String {
    let seconds = i64::try_from(time.0 / 1_000).ok();
    match seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()) {
        Some(at) => format!(
            "{}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        ),
        None => format!("{} ms after 1970", time.0),
    }
}

/// Reads a small file whole, naming it when that fails.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| crate::exit::usage(format!("{}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text_or_hex() {
        assert_eq!(bytes("greeting").expect("text").0, b"greeting");
        assert_eq!(bytes("ü").expect("text").0, [0xc3, 0xbc]);
        assert_eq!(bytes("0x00ff").expect("hex").0, [0, 255]);
        assert_eq!(bytes("").expect("empty").0, b"");
        assert!(bytes("0x0").expect_err("odd").contains("read as hex"));
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        for original in [&b"greeting"[..], &[0, 255], b"0x12", b"a\nb", "ü".as_bytes()] {
            assert_eq!(bytes(&shown(original)).expect("as shown").0, original);
        }
        assert_eq!(shown(b"greeting"), "greeting");
        assert_eq!(shown(b"0x"), "0x3078");
    }

    #[test]
    fn amounts_are_whole_decimal_numbers() {
        assert_eq!(amount("0"), Ok(0));
        assert_eq!(amount("340282366920938463463374607431768211455"), Ok(u128::MAX));
        for wrong in ["", "-1", "1.5", "1e3", "0x10", "340282366920938463463374607431768211456"] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        for wrong in ["", "s", "1 s", "-1s", "1.5s", "1d", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let now = UnixMillis(1_709_210_096_789);
        assert_eq!(from_now(UnixMillis(now.0 + 30_000), now), "2024-02-29 12:35:26 UTC (in 30 s)");
        assert_eq!(from_now(UnixMillis(now.0 - 500), now), "2024-02-29 12:34:56 UTC (500 ms ago)");
        assert_eq!(from_now(UnixMillis(0), now), "1970-01-01 00:00:00 UTC (19782 days ago)");
        assert!(from_now(UnixMillis(u64::MAX), now).starts_with("18446744073709551615 ms after 1970 (in "));
    }
}
