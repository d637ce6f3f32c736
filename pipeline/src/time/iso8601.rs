//! ISO 8601: as `@timestamp` of an event takes it, and as the format `ISO8601` of `date` does.
//!
//! The first takes a whole date and time and keeps nanoseconds. The second takes what Joda-Time's
//! `dateTimeParser` does (a date or a time alone, days of the year, weeks, parts left out, a
//! fraction of an hour or minute), and what Logstash adds: a space for the `T` if there are
//! milliseconds. Both take a point or a comma before a fraction.

use super::fields::Fields;
use super::parse::{fraction, number, offset};
use super::{Locale, Reading, Zone, fast};
use crate::event::{Timestamp, days_from_civil};

impl Timestamp {
    /// Reads a date and time of ISO 8601 (`2026-11-23T19:30:00.123456789Z`); one without an offset
    /// is in `zone`.
    pub fn parse_iso8601(text: &[u8], zone: &Zone) -> Option<Self> {
        let (local, rest) = date_and_time(text, |byte| matches!(byte, b'T' | b't'))?;
        let (nanoseconds, rest) = match rest {
            [b'.' | b',', digits @ ..] => {
                let (nanoseconds, length) = fraction(digits, 9)?;
                (nanoseconds, &digits[length..])
            }
            _ => (0, rest),
        };
        let seconds = finish(local, rest, zone)?;
        Some(Self::new(seconds, nanoseconds))
    }
}

/// What the format `ISO8601` takes, with milliseconds.
pub(super) fn parse_casual(text: &[u8], zone: &Zone) -> Option<Timestamp> {
    // The usual shape first; anything else goes the long way.
    if let Some((local, rest)) = date_and_time(text, |byte| byte == b'T') {
        let (nanoseconds, rest) = fraction_of_second(rest, 9).unwrap_or((0, rest));
        if let Some(seconds) = finish(local, rest, zone) {
            return Some(milliseconds(seconds, nanoseconds));
        }
    }
    if let Some((local, rest)) = date_and_time(text, |byte| byte == b' ') {
        let (nanoseconds, rest) = fraction_of_second(rest, 3)?;
        return Some(milliseconds(finish(local, rest, zone)?, nanoseconds));
    }
    parse_joda(text, zone)
}

fn milliseconds(seconds: i64, nanoseconds: u32) -> Timestamp {
    Timestamp::new(seconds, nanoseconds / 1_000_000 * 1_000_000)
}

/// `yyyy-MM-ddTHH:mm:ss` with all its zeros, as seconds since 1970 in local time, and what follows.
#[inline]
fn date_and_time(text: &[u8], is_separator: impl Fn(u8) -> bool) -> Option<(i64, &[u8])> {
    let (head, rest) = text.split_first_chunk::<19>()?;
    if [head[4], head[7], head[13], head[16]] != *b"--::" || !is_separator(head[10]) {
        return None;
    }
    let two = |at: usize| fast::two(head[at], head[at + 1]);
    let year = i64::from(two(0)? * 100 + two(2)?);
    let (month, day) = (two(5)?, two(8)?);
    let seconds = fast::time_of_day([two(11)?, two(14)?, two(17)?])?;
    if !(1..=12).contains(&month) || day == 0 || day > super::fields::days_in_month(year, month) {
        return None;
    }
    Some((days_from_civil(year, month, day) * 86_400 + seconds, rest))
}

fn fraction_of_second(text: &[u8], most: usize) -> Option<(u32, &[u8])> {
    let [b'.' | b',', digits @ ..] = text else {
        return None;
    };
    let (nanoseconds, length) = fraction(digits, most)?;
    Some((nanoseconds, &digits[length..]))
}

/// The instant of a local time, given what stands behind it: an offset or nothing.
#[inline]
fn finish(local: i64, rest: &[u8], zone: &Zone) -> Option<i64> {
    if rest.is_empty() {
        return zone.instant(local);
    }
    let (seconds, length) = offset(rest)?;
    (length == rest.len()).then(|| local - i64::from(seconds))
}

/// A text and a place in it.
struct Cursor<'t> {
    rest: &'t [u8],
}

impl Cursor<'_> {
    fn next_if(&mut self, accepted: &[u8]) -> bool {
        match self.rest {
            [first, rest @ ..] if accepted.contains(first) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn number(&mut self, most: usize, signed: bool) -> Option<i64> {
        let (number, length) = number(self.rest, most, signed)?;
        self.rest = &self.rest[length..];
        Some(number)
    }

    fn small(&mut self, most: usize) -> Option<u32> {
        u32::try_from(self.number(most, false)?).ok()
    }
}

/// COMPAT: the grammar of Joda-Time's `ISODateTimeFormat.dateTimeParser`.
fn parse_joda(text: &[u8], zone: &Zone) -> Option<Timestamp> {
    let mut cursor = Cursor { rest: text };
    let mut fields = Fields::default();
    if matches!(text.first(), Some(b'T' | b't')) {
        fields.year = Some(1970);
    } else {
        date(&mut cursor, &mut fields)?;
    }
    if cursor.next_if(b"Tt") {
        if cursor.rest.first().is_some_and(u8::is_ascii_digit) {
            time(&mut cursor, &mut fields)?;
        }
        if !cursor.rest.is_empty() {
            let (seconds, length) = offset(cursor.rest)?;
            fields.offset = Some(seconds);
            cursor.rest = &cursor.rest[length..];
        }
    }
    if !cursor.rest.is_empty() {
        return None;
    }
    // There always is a year, so the clock is not asked.
    let reading = Reading {
        zone,
        locale: Locale::find("en")?,
        now: Timestamp::new(0, 0),
    };
    fields.instant(&reading)
}

/// `yyyy[-MM[-dd]]`, `yyyy-DDD`, `xxxx-Www[-e]`.
fn date(cursor: &mut Cursor<'_>, fields: &mut Fields) -> Option<()> {
    let year = cursor.number(9, true)?;
    if let [b'-', b'W' | b'w', rest @ ..] = cursor.rest {
        cursor.rest = rest;
        fields.weekyear = Some(year);
        fields.week = Some(cursor.small(2)?);
        if cursor.next_if(b"-") {
            fields.weekday = Some(cursor.small(1)?);
        }
        return Some(());
    }
    fields.year = Some(year);
    if !cursor.next_if(b"-") {
        return Some(());
    }
    let digits = cursor
        .rest
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits == 3 {
        fields.day_of_year = Some(cursor.small(3)?);
        return Some(());
    }
    fields.month = Some(cursor.small(2)?);
    if cursor.next_if(b"-") {
        fields.day = Some(cursor.small(2)?);
    }
    Some(())
}

/// `HH[:mm[:ss]]`, the last of them with a fraction.
fn time(cursor: &mut Cursor<'_>, fields: &mut Fields) -> Option<()> {
    fields.hour = Some(cursor.small(2)?);
    let mut unit = 3600;
    if cursor.next_if(b":") {
        fields.minute = cursor.small(2)?;
        unit = 60;
        if cursor.next_if(b":") {
            fields.second = cursor.small(2)?;
            unit = 1;
        }
    }
    if let Some((nanoseconds, rest)) = fraction_of_second(cursor.rest, 9) {
        cursor.rest = rest;
        let milliseconds = u64::from(nanoseconds) * unit / 1_000_000;
        let seconds = (milliseconds / 1000) as u32;
        fields.nanoseconds = (milliseconds % 1000) as u32 * 1_000_000;
        if unit == 3600 {
            fields.minute = seconds / 60;
        }
        if unit > 1 {
            fields.second = seconds % 60;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(text: &str) -> Option<String> {
        Timestamp::parse_iso8601(text.as_bytes(), &Zone::fixed(-8 * 3600))
            .map(|instant| instant.to_string())
    }

    fn casual(text: &str) -> Option<String> {
        parse_casual(text.as_bytes(), &Zone::UTC).map(|instant| instant.to_string())
    }

    #[test]
    fn timestamps_of_events() {
        for (text, expected) in [
            (
                "2014-09-23T12:34:56.789012345-0800",
                Some("2014-09-23T20:34:56.789012345Z"),
            ),
            ("2014-09-23T12:34:56", Some("2014-09-23T20:34:56.000Z")),
            ("2014-09-23T13:49:52,5Z", Some("2014-09-23T13:49:52.500Z")),
            ("2014-09-23T12:34:56.7890123451Z", None),
            ("2014-09-23T12:34:56 Z", None),
            ("2014-09-23 12:34:56Z", None),
            ("2014-02-30T12:34:56Z", None),
            ("foobar", None),
            ("", None),
        ] {
            assert_eq!(exact(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn casual_texts() {
        for (text, expected) in [
            (
                "2001-12-07T23:54:54.1239Z",
                Some("2001-12-07T23:54:54.123Z"),
            ),
            (
                "2001-12-07T23:54:54,123+01:00",
                Some("2001-12-07T22:54:54.123Z"),
            ),
            ("2001-12-07 23:54:54.123", Some("2001-12-07T23:54:54.123Z")),
            (
                "2001-12-07 23:54:54,12-0100",
                Some("2001-12-08T00:54:54.120Z"),
            ),
            ("2001-12-07 23:54:54", None),
            ("2001-12-07 23:54:54.1234", None),
            ("2001-12-07", Some("2001-12-07T00:00:00.000Z")),
            ("2001-12", Some("2001-12-01T00:00:00.000Z")),
            ("2001", Some("2001-01-01T00:00:00.000Z")),
            ("2001-341", Some("2001-12-07T00:00:00.000Z")),
            ("2001-W49-5T10Z", Some("2001-12-07T10:00:00.000Z")),
            ("2001-1-2T3:4:5", Some("2001-01-02T03:04:05.000Z")),
            ("2001-12-07T10:30.5", Some("2001-12-07T10:30:30.000Z")),
            ("2001-12-07T10.25", Some("2001-12-07T10:15:00.000Z")),
            ("2001-12-07T", Some("2001-12-07T00:00:00.000Z")),
            ("T10:00", Some("1970-01-01T10:00:00.000Z")),
            ("20231005T101010Z", None),
            ("2001-12-07T10:00:60Z", None),
            ("2001-12-07T10:00:00Zx", None),
            ("2001-13-07T10:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(casual(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_timestamps_read_back(seconds in -62_000_000_000_i64..253_402_300_800, nanoseconds in 0_u32..1_000_000_000) {
            let instant = Timestamp::new(seconds, nanoseconds);
            let text = instant.to_string();
            prop_assert_eq!(Timestamp::parse_iso8601(text.as_bytes(), &Zone::UTC), Some(instant));
            let cut = Timestamp::new(seconds, nanoseconds / 1_000_000 * 1_000_000);
            prop_assert_eq!(parse_casual(text.as_bytes(), &Zone::UTC), Some(cut));
            // The short way and the long one agree.
            let long = parse_joda(text.as_bytes(), &Zone::UTC);
            prop_assert_eq!(long, Some(cut));
        }

        #[test]
        fn what_an_event_takes_the_filter_takes_too(text in "[0-9TWZ:.,+ -]{0,32}") {
            prop_assert!(exact(&text).is_none() || casual(&text).is_some());
        }
    }
}
