//! Times as counts: seconds and milliseconds since 1970, and TAI64N labels.
//!
//! COMPAT: `UNIX` refuses what does not fit 31 bits, so that `[ "UNIX", "UNIX_MS" ]` tells the two
//! apart. TAI is taken as ten seconds ahead of UTC, as Logstash takes it, whatever leap seconds
//! there were.

use crate::event::Timestamp;

/// The last second that `UNIX` accepts.
const LAST_SECOND: i64 = i32::MAX as i64;

/// Seconds that TAI is ahead.
const TAI_AHEAD: i64 = 10;

/// Whole seconds.
pub(super) fn seconds(seconds: i64) -> Option<Timestamp> {
    (seconds <= LAST_SECOND).then(|| Timestamp::new(seconds, 0))
}

/// Seconds with a fraction, cut to milliseconds.
pub(super) fn float_seconds(seconds: f64) -> Option<Timestamp> {
    if !seconds.is_finite() || seconds as i64 > LAST_SECOND {
        return None;
    }
    Some(Timestamp::from_milliseconds((seconds * 1000.0) as i64))
}

/// Seconds as text, with at most three digits of a fraction looked at.
pub(super) fn parse_seconds(text: &[u8]) -> Option<Timestamp> {
    let Some(dot) = memchr::memchr(b'.', text) else {
        return seconds(integer(text)?);
    };
    let whole = integer(&text[..dot])?;
    let digits = &text[dot + 1..text.len().min(dot + 4)];
    let fraction = integer(digits)?;
    if whole > LAST_SECOND {
        return None;
    }
    let milliseconds = fraction * [0, 100, 10, 1][digits.len()];
    Some(Timestamp::from_milliseconds(
        whole.checked_mul(1000)?.checked_add(milliseconds)?,
    ))
}

/// Milliseconds as text.
pub(super) fn parse_milliseconds(text: &[u8]) -> Option<Timestamp> {
    integer(text).map(Timestamp::from_milliseconds)
}

/// A TAI64N label; what stands behind its digits is not looked at.
pub(super) fn parse_tai64n(text: &[u8]) -> Option<Timestamp> {
    let digits = text.strip_prefix(b"@").unwrap_or(text);
    let seconds = hexadecimal(digits.get(..16)?)?;
    let nanoseconds = hexadecimal(digits.get(16..24)?)?;
    if seconds > i64::MAX as u64 || nanoseconds > i32::MAX as u64 {
        return None;
    }
    let seconds = (seconds & ((1 << 62) - 1)) as i64 - TAI_AHEAD;
    Some(Timestamp::from_milliseconds(
        seconds.checked_mul(1000)? + (nanoseconds / 1_000_000) as i64,
    ))
}

/// A whole number with an optional sign, as `Long.parseLong` takes it.
fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(timestamp: Option<Timestamp>) -> Option<i64> {
        timestamp.map(Timestamp::milliseconds)
    }

    #[test]
    fn seconds_as_text() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1478207457.456789", Some(1_478_207_457_456)),
            ("1.5", Some(1500)),
            ("-1.5", Some(-500)),
            ("2147483647", Some(2_147_483_647_000)),
            ("2147483648", None),
            ("1.", None),
            ("", None),
            ("1 ", None),
            ("%{x}", None),
        ] {
            assert_eq!(
                milliseconds(parse_seconds(text.as_bytes())),
                expected,
                "{text}"
            );
        }
        assert_eq!(
            milliseconds(float_seconds(1_478_207_457.456)),
            Some(1_478_207_457_456)
        );
        assert_eq!(float_seconds(1e12), None);
    }

    #[test]
    fn labels() {
        let expected = Some(1_356_138_046_767);
        assert_eq!(
            milliseconds(parse_tai64n(b"@4000000050d506482dbdf024")),
            expected
        );
        assert_eq!(
            milliseconds(parse_tai64n(b"4000000050d506482dbdf024 x")),
            expected
        );
        assert_eq!(parse_tai64n(b"@40000000"), None);
        assert_eq!(parse_tai64n(b"@4000000050d506482dbdf02g"), None);
    }
}
