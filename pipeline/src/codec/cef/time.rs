//! Times of the Common Event Format.
//!
//! Milliseconds since 1970, or `Jul 19 2017 10:50:21.127 CEST`, where the year, the fraction and the zone may be
//! missing. Without a year it is the one that makes the time recent: at most two days ahead.

use crate::event::Timestamp;
use crate::time::{Format, Locale, Reading, Zone};

/// Reads times.
#[derive(Debug)]
pub(super) struct Times {
    zone: Zone,
    locale: &'static Locale,
    format: Format,
}

impl Times {
    /// Times without a zone are in `zone`, unless the message names that of its device.
    pub(super) fn new(zone: Zone, locale: &'static Locale) -> Option<Self> {
        let format = Format::parse("MMM dd yyyy HH:mm:ss").ok()?;
        Some(Self {
            zone,
            locale,
            format,
        })
    }

    /// The instant of a text; nothing if it is no time. `zone` is that of the device.
    pub(super) fn read(&self, text: &str, zone: Option<&str>, now: Timestamp) -> Option<Timestamp> {
        if text.starts_with(|first: char| matches!(first, '1'..='9'))
            && let Some(milliseconds) = milliseconds(text)
        {
            return Some(milliseconds);
        }
        let mut words = text.split_ascii_whitespace().peekable();
        let (month, day) = (words.next()?, words.next()?);
        let year = words.next_if(|word| word.len() == 4 && is_number(word));
        let time = words.next()?;
        let zone = match (words.next(), zone) {
            (Some(written), _) => &Zone::find(written)?,
            (None, Some(device)) => &Zone::find(device)?,
            (None, None) => &self.zone,
        };
        if words.next().is_some() || day.len() != 2 {
            return None;
        }
        let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
        let nanoseconds = match fraction.len() {
            0 => 0,
            digits @ (3 | 6 | 9) if is_number(fraction) => {
                fraction.parse::<u32>().ok()? * 10_u32.pow(9 - digits as u32)
            }
            _ => return None,
        };
        let reading = Reading {
            zone,
            locale: self.locale,
            now,
        };
        let read = |year: &str| {
            let text = format!("{month} {day} {year} {time}");
            let read = self.format.read_text(text.as_bytes(), &reading)?;
            Some(Timestamp::new(read.seconds(), nanoseconds))
        };
        match year {
            Some(year) => read(year),
            None => recent(now, read),
        }
    }
}

/// Two days.
const AHEAD: i64 = 2 * 86_400;

/// The time in the year that makes it recent.
fn recent(now: Timestamp, read: impl Fn(&str) -> Option<Timestamp>) -> Option<Timestamp> {
    let (year, month, _) = crate::event::civil_from_days(now.seconds().div_euclid(86_400));
    let in_year = |year: i64| read(&format!("{year:04}"));
    let this_year = in_year(year);
    let is_ahead = |time: Timestamp| time.seconds() > now.seconds() + AHEAD;
    if month == 12
        && let Some(next) = in_year(year + 1).filter(|next| !is_ahead(*next))
    {
        return Some(next);
    }
    match this_year {
        Some(time) if is_ahead(time) => in_year(year - 1),
        other => other,
    }
}

/// `1500464384997`, perhaps with a fraction.
fn milliseconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let nanoseconds = (whole % 1000) as u32 * 1_000_000 + fraction.parse::<u32>().ok()?;
    Some(Timestamp::new(whole / 1000, nanoseconds))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let times = Times::new(Zone::fixed(3600), Locale::find("en").unwrap()).unwrap();
        // 2026-11-25T09:46:40Z and 2026-12-31T12:00:00Z.
        let (november, new_year) = (
            Timestamp::new(1_795_600_000, 0),
            Timestamp::new(1_798_718_400, 0),
        );
        for (text, zone, now, expected) in [
            (
                "Jul 19 2017 10:50:21.127",
                Some("Europe/Moscow"),
                november,
                "2017-07-19T07:50:21.127Z",
            ),
            (
                "Sep 07 2018 14:50:39",
                None,
                november,
                "2018-09-07T13:50:39.000Z",
            ),
            (
                "sep 07 2018 14:50:39.000123 UTC",
                Some("Europe/Moscow"),
                november,
                "2018-09-07T14:50:39.000123Z",
            ),
            ("1500464384997", None, november, "2017-07-19T11:39:44.997Z"),
            (
                "1500464384997.5",
                None,
                november,
                "2017-07-19T11:39:44.997500Z",
            ),
            (
                "Nov 27 01:00:00",
                None,
                november,
                "2026-11-27T00:00:00.000Z",
            ),
            (
                "Nov 28 01:00:00",
                None,
                november,
                "2025-11-28T00:00:00.000Z",
            ),
            (
                "Jan 01 02:00:00",
                None,
                new_year,
                "2027-01-01T01:00:00.000Z",
            ),
            (
                "Jan 03 02:00:00",
                None,
                new_year,
                "2026-01-03T01:00:00.000Z",
            ),
            (
                "Dec 31 02:00:00",
                None,
                new_year,
                "2026-12-31T01:00:00.000Z",
            ),
            ("yesterday", None, november, "none"),
            ("Jul 19 2017 10:50:21.1", None, november, "none"),
            ("Jul 19 2017 10:50:21 Mars/North", None, november, "none"),
            ("Jul 19 2017 10:50:21 UTC more", None, november, "none"),
            ("Jul 1 2017 10:50:21", None, november, "none"),
            ("Jul 19 2017 10:50:21", Some("nowhere"), november, "none"),
            ("99999999999999999999", None, november, "none"),
        ] {
            let read = times.read(text, zone, now);
            let mut shown = Vec::new();
            match read {
                Some(time) => time.write_iso8601(&mut shown),
                None => shown.extend_from_slice(b"none"),
            }
            assert_eq!(String::from_utf8_lossy(&shown), expected, "{text}");
        }
    }
}
