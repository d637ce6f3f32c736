//! Reading a text by the steps of a pattern.
//!
//! COMPAT: literals match in any case; a number takes fewer digits than its letters, but no space
//! for a zero; what is left over behind the last step is an error.

use super::fields::Fields;
use super::pattern::{Fast, Field, Pattern, Step};
use super::{Reading, Zone, fast};
use crate::event::{Timestamp, civil_from_days};

/// Years that a year of two digits can mean lie from this many years back, a century long.
const PIVOT_YEARS_BACK: i64 = 80;

impl Pattern {
    /// The instant that a text stands for, if it follows the pattern.
    #[inline]
    pub fn parse(&self, text: &[u8], reading: &Reading<'_>) -> Option<Timestamp> {
        let instant = match self.fast {
            Fast::HttpDate => fast::http_date(text, reading),
            Fast::Syslog(two_spaces) => fast::syslog(text, two_spaces, reading),
            Fast::None => None,
        };
        instant.or_else(|| self.parse_steps(text, reading))
    }

    /// The general way.
    pub(super) fn parse_steps(&self, text: &[u8], reading: &Reading<'_>) -> Option<Timestamp> {
        let mut fields = Fields::default();
        let mut rest = text;
        for step in &self.steps {
            let length = read(step, rest, &mut fields, reading)?;
            rest = rest.get(length..)?;
        }
        if !rest.is_empty() {
            return None;
        }
        fields.instant(reading)
    }
}

/// Reads one step and answers the bytes it took.
fn read(step: &Step, text: &[u8], fields: &mut Fields, reading: &Reading<'_>) -> Option<usize> {
    match step {
        Step::Literal(literal) => text
            .get(..literal.len())?
            .eq_ignore_ascii_case(literal)
            .then_some(literal.len()),
        Step::Number {
            field,
            most,
            signed,
            ..
        } => {
            let (number, length) = number(text, usize::from(*most), *signed)?;
            store(fields, *field, number)?;
            Some(length)
        }
        Step::TwoDigitYear { field, lenient } => {
            let (mut year, length) = number(text, if *lenient { 9 } else { 2 }, *lenient)?;
            let has_sign = text[0] == b'-' || text[0] == b'+';
            if length == 2 && !has_sign {
                let now = reading.now.seconds().div_euclid(86_400);
                let first = civil_from_days(now).0 - PIVOT_YEARS_BACK;
                year = first + (year - first).rem_euclid(100);
            } else if !*lenient {
                return None;
            }
            store(fields, *field, year)?;
            Some(length)
        }
        Step::Fraction { digits, .. } => {
            let (nanoseconds, length) = fraction(text, usize::from(*digits))?;
            // COMPAT: finer digits are cut.
            fields.nanoseconds = nanoseconds / 1_000_000 * 1_000_000;
            Some(length)
        }
        Step::Month(_) => {
            let (month, length) = reading.locale.month(text)?;
            fields.month = Some(month);
            Some(length)
        }
        Step::Weekday(_) => {
            let (weekday, length) = reading.locale.weekday(text)?;
            fields.weekday = Some(weekday);
            Some(length)
        }
        Step::Half => {
            let (half, length) = reading.locale.half(text)?;
            fields.half = Some(half);
            Some(length)
        }
        Step::Era(_) => {
            let (before_christ, length) =
                [("BCE", true), ("BC", true), ("AD", false), ("CE", false)]
                    .into_iter()
                    .find(|(name, _)| starts_with(text, name))
                    .map(|(name, before)| (before, name.len()))?;
            fields.before_christ = before_christ;
            Some(length)
        }
        Step::Offset(_) => {
            let (seconds, length) = offset(text)?;
            fields.offset = Some(seconds);
            Some(length)
        }
        Step::ZoneId => {
            let (zone, length) = zone_id(text)?;
            fields.zone = Some(zone);
            Some(length)
        }
        Step::ZoneShort => {
            let (name, zone) = SHORT_ZONES
                .iter()
                .find(|(name, _)| text.starts_with(name.as_bytes()))?;
            fields.zone = Some(Zone::find(zone)?);
            Some(name.len())
        }
        Step::ZoneLong => None,
    }
}

fn store(fields: &mut Fields, field: Field, number: i64) -> Option<()> {
    let small = u32::try_from(number);
    match field {
        Field::Century => fields.century = Some(number),
        Field::Year | Field::YearOfEra => fields.year = Some(number),
        Field::Weekyear => fields.weekyear = Some(number),
        Field::Month => fields.month = Some(small.ok()?),
        Field::Week => fields.week = Some(small.ok()?),
        Field::DayOfYear => fields.day_of_year = Some(small.ok()?),
        Field::Day => fields.day = Some(small.ok()?),
        Field::Weekday => fields.weekday = Some(small.ok()?),
        Field::Hour => fields.hour = Some(small.ok()?),
        Field::ClockHour => {
            let hour = small.ok().filter(|hour| (1..=24).contains(hour))?;
            fields.hour = Some(hour % 24);
        }
        Field::HalfHour => fields.half_hour = Some(small.ok()?),
        Field::HalfClockHour => {
            let hour = small.ok().filter(|hour| (1..=12).contains(hour))?;
            fields.half_hour = Some(hour % 12);
        }
        Field::Minute => fields.minute = small.ok()?,
        Field::Second => fields.second = small.ok()?,
        // Only patterns of java.time have these, and those are never read.
        Field::Quarter
        | Field::WeekOfMonth
        | Field::WeekdayInMonth
        | Field::MilliOfDay
        | Field::NanoOfSecond
        | Field::NanoOfDay => return None,
    }
    Some(())
}

/// A number of at most `most` digits, and the bytes it takes. A sign does not count as a digit.
pub(super) fn number(text: &[u8], most: usize, signed: bool) -> Option<(i64, usize)> {
    let sign = usize::from(signed && matches!(text.first(), Some(b'-' | b'+')));
    let mut number = 0_i64;
    let mut length = sign;
    while length < sign + most {
        let Some(digit) = text.get(length).filter(|byte| byte.is_ascii_digit()) else {
            break;
        };
        number = number.checked_mul(10)? + i64::from(digit - b'0');
        length += 1;
    }
    if length == sign {
        return None;
    }
    Some((
        if sign == 1 && text[0] == b'-' {
            -number
        } else {
            number
        },
        length,
    ))
}

/// The digits of a fraction, at most `most`, as nanoseconds of a second.
pub(super) fn fraction(text: &[u8], most: usize) -> Option<(u32, usize)> {
    let length = text
        .iter()
        .take(most)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if length == 0 {
        return None;
    }
    let digits = text[..length].iter().map(|byte| u32::from(byte - b'0'));
    let nanoseconds = digits
        .chain(std::iter::repeat(0))
        .take(9)
        .fold(0, |number, digit| number * 10 + digit);
    Some((nanoseconds, length))
}

/// An offset from UTC in seconds: `Z`, or a sign with hours, and minutes and seconds with colons or
/// without.
pub(super) fn offset(text: &[u8]) -> Option<(i32, usize)> {
    let two = |at: usize| {
        let high = text.get(at).filter(|byte| byte.is_ascii_digit())?;
        let low = text.get(at + 1).filter(|byte| byte.is_ascii_digit())?;
        Some(i32::from(high - b'0') * 10 + i32::from(low - b'0'))
    };
    let negative = match text.first()? {
        b'Z' | b'z' => return Some((0, 1)),
        b'+' => false,
        b'-' => true,
        _ => return None,
    };
    let mut seconds = two(1).filter(|hours| *hours <= 23)? * 3600;
    let mut length = 3;
    let colon = usize::from(text.get(3) == Some(&b':'));
    for unit in [60, 1] {
        if colon == 1 && text.get(length) != Some(&b':') {
            break;
        }
        if colon == 0 && !text.get(length).is_some_and(u8::is_ascii_digit) {
            break;
        }
        seconds += two(length + colon).filter(|part| *part <= 59)? * unit;
        length += 2 + colon;
    }
    Some((if negative { -seconds } else { seconds }, length))
}

/// The longest name of a zone at the start of `text`.
fn zone_id(text: &[u8]) -> Option<(Zone, usize)> {
    let most = text
        .iter()
        .take(Zone::MAX_NAME_LENGTH)
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"/_+-:".contains(byte))
        .count();
    (1..=most).rev().find_map(|length| {
        let name = std::str::from_utf8(&text[..length]).ok()?;
        Some((Zone::find(name)?, length))
    })
}

/// COMPAT: the short names that Joda-Time reads, and the places it takes them for.
const SHORT_ZONES: [(&str, &str); 11] = [
    ("UTC", "UTC"),
    ("UT", "UTC"),
    ("GMT", "UTC"),
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
];

fn starts_with(text: &[u8], name: &str) -> bool {
    text.get(..name.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Locale;

    fn parse_at(pattern: &str, text: &str, zone: &str, now: i64) -> Option<String> {
        let reading = Reading {
            zone: &Zone::find(zone).unwrap(),
            locale: Locale::find("en").unwrap(),
            now: Timestamp::new(now, 0),
        };
        let pattern = Pattern::joda(pattern).unwrap();
        let instant = pattern.parse(text.as_bytes(), &reading);
        // The general way must agree with the fast one.
        assert_eq!(
            instant,
            pattern.parse_steps(text.as_bytes(), &reading),
            "{text}"
        );
        instant.map(|instant| instant.to_string())
    }

    /// Read in the middle of 2024.
    fn parse(pattern: &str, text: &str) -> Option<String> {
        parse_at(pattern, text, "UTC", 1_718_452_800)
    }

    #[test]
    fn common_patterns() {
        for (pattern, text, expected) in [
            (
                "dd/MMM/yyyy:HH:mm:ss Z",
                "25/Mar/2013:20:33:56 +0000",
                "2013-03-25T20:33:56.000Z",
            ),
            (
                "dd/MMM/yyyy:HH:mm:ss Z",
                "1/mar/2013:20:33:56 -01:30",
                "2013-03-01T22:03:56.000Z",
            ),
            (
                "MMM dd HH:mm:ss",
                "Jun 15 20:33:56",
                "2024-06-15T20:33:56.000Z",
            ),
            (
                "MMM  d HH:mm:ss",
                "Jun  5 20:33:56",
                "2024-06-05T20:33:56.000Z",
            ),
            (
                "MMM d HH:mm:ss",
                "June 15 20:33:56",
                "2024-06-15T20:33:56.000Z",
            ),
            (
                "yyyy-MM-dd HH:mm:ss,SSS",
                "2013-03-25 20:33:56,7",
                "2013-03-25T20:33:56.700Z",
            ),
            (
                "yyyy-MM-dd HH:mm:ss.SSSSSS",
                "2013-03-25 20:33:56.123999",
                "2013-03-25T20:33:56.123Z",
            ),
            (
                "yyyyMMddHHmmss",
                "20130325203356",
                "2013-03-25T20:33:56.000Z",
            ),
            ("yy/MM/dd", "13/03/25", "2013-03-25T00:00:00.000Z"),
            ("yy/MM/dd", "60/03/25", "1960-03-25T00:00:00.000Z"),
            ("yyMMdd", "130325", "2013-03-25T00:00:00.000Z"),
            (
                "MM/dd/yyyy hh:mm a",
                "3/25/2013 12:05 am",
                "2013-03-25T00:05:00.000Z",
            ),
            (
                "MM/dd/yyyy hh:mm a",
                "03/25/2013 12:05 PM",
                "2013-03-25T12:05:00.000Z",
            ),
            (
                "EEE, dd MMM yyyy HH:mm:ss Z",
                "Mon, 25 Mar 2013 20:33:56 Z",
                "2013-03-25T20:33:56.000Z",
            ),
            ("yyyy-DDD", "2013-084", "2013-03-25T00:00:00.000Z"),
            ("xxxx-'W'ww-e", "2013-w13-1", "2013-03-25T00:00:00.000Z"),
            ("xxxx-'W'ww", "2013-W13", "2013-03-28T00:00:00.000Z"),
            ("yyyy-MM-dd kk", "2013-03-25 24", "2013-03-25T00:00:00.000Z"),
            (
                "yyyy-MM-dd HH:mm ZZZ",
                "2013-03-25 20:33 Europe/Paris",
                "2013-03-25T19:33:00.000Z",
            ),
            (
                "yyyy-MM-dd HH:mm z",
                "2013-03-25 20:33 PDT",
                "2013-03-26T03:33:00.000Z",
            ),
            ("HH:mm:ss", "10:11:12", "2024-01-01T10:11:12.000Z"),
            ("yyyy", "1999", "1999-01-01T00:00:00.000Z"),
            ("yyyy G", "0044 BC", "-43-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(
                parse(pattern, text).as_deref(),
                Some(expected),
                "{pattern}: {text}"
            );
        }
    }

    #[test]
    fn refused() {
        for (pattern, text) in [
            ("yyyy-MM-dd", "2013-02-29"),
            ("yyyy-MM-dd", "2013-13-01"),
            ("yyyy-MM-dd", "2013-01-00"),
            ("yyyy-MM-dd", "2013-01-01 "),
            ("yyyy-MM-dd", "2013-01-"),
            ("yyyy-MM-dd", ""),
            ("HH:mm:ss", "24:00:00"),
            ("HH:mm:ss", "10:11:60"),
            ("hh:mm a", "13:00 AM"),
            ("MMM dd HH:mm:ss", "Jun  5 20:33:56"),
            ("dd/MMM/yyyy:HH:mm:ss Z", "31/Feb/2013:20:33:56 +0000"),
            ("dd/MMM/yyyy:HH:mm:ss Z", "25/Mar/2013:20:33:56 +2400"),
            ("dd/MMM/yyyy:HH:mm:ss Z", "25/Mar/2013:20:33:56 +0000 "),
            ("yyMMdd", "1303"),
            ("yyyy ZZZ", "2013 Mars/Olympus"),
        ] {
            assert_eq!(parse(pattern, text), None, "{pattern}: {text}");
        }
    }

    #[test]
    fn complaint_38_the_year_is_guessed_in_the_zone_of_the_text() {
        let new_year = 1_388_534_400;
        let parse = |text, now| parse_at("MMM dd HH:mm:ss", text, "UTC", now);
        let december = Some("2013-12-31T23:59:00.000Z".to_owned());
        assert_eq!(parse("Dec 31 23:59:00", new_year + 1800), december);
        let january = Some("2014-01-01T01:00:00.000Z".to_owned());
        assert_eq!(parse("Jan 01 01:00:00", new_year - 10), january);
        assert_eq!(parse("Feb 29 01:00:00", new_year), None);
        let paris = parse_at(
            "MMM dd HH:mm:ss",
            "Jan 01 00:30:00",
            "Europe/Paris",
            new_year - 10,
        );
        assert_eq!(paris.as_deref(), Some("2013-12-31T23:30:00.000Z"));
    }

    proptest! {
        /// What is printed with all its parts reads back as the same instant, in the fast way and
        /// the general one.
        #[test]
        fn printed_times_read_back(seconds in -62_000_000_000_i64..253_402_300_800) {
            let instant = Timestamp::new(seconds, 0);
            for pattern in [
                "dd/MMM/yyyy:HH:mm:ss Z",
                "yyyy-MM-dd'T'HH:mm:ss.SSSZZ",
                "xxxx-'W'ww-e kk:mm:ss",
                "yyyy DDD hh:mm:ss a",
                "EEEE, d MMMM yyyy HH:mm:ss ZZZ",
            ] {
                let mut text = Vec::new();
                Pattern::joda(pattern).unwrap().write(instant, &mut text);
                let text = String::from_utf8(text).unwrap();
                prop_assert_eq!(parse(pattern, &text), Some(instant.to_string()), "{}", text);
            }
        }

        #[test]
        fn any_pattern_and_text_are_taken(pattern in "[a-zA-Z' /:.]{1,12}", text in "[0-9A-Za-z /:+-]{0,24}") {
            if let Ok(pattern) = Pattern::joda(&pattern) {
                let reading = Reading {
                    zone: &Zone::UTC,
                    locale: Locale::find("en").unwrap(),
                    now: Timestamp::new(0, 0),
                };
                if let Some(instant) = pattern.parse(text.as_bytes(), &reading) {
                    pattern.write(instant, &mut Vec::new());
                }
            }
        }

        #[test]
        fn http_dates_with_one_wrong_byte(at in 0_usize..26, byte: u8) {
            let mut text = *b"25/Mar/2013:20:33:56 +0000";
            text[at] = byte;
            if let Ok(text) = std::str::from_utf8(&text) {
                // Compares the two ways.
                parse("dd/MMM/yyyy:HH:mm:ss Z", text);
            }
        }
    }
}
