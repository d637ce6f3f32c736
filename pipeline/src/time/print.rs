//! Printing an instant by the steps of a pattern, always in UTC.
//!
//! PERF: an index name is printed for every event, so a step is a few bytes pushed and the calendar
//! is asked once.

use super::fields::{week_of, weekday_of};
use super::locale::Locale;
use super::pattern::{Field, OffsetForm, Pattern, Step, Width};
use crate::event::{Timestamp, days_from_civil, push_digits};

/// An instant taken apart.
struct Parts {
    days: i64,
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    nanoseconds: u32,
}

impl Pattern {
    /// Appends the instant as this pattern prints it.
    pub fn write(&self, instant: Timestamp, out: &mut Vec<u8>) {
        let (year, month, day) = instant.date();
        let (hour, minute, second) = instant.time();
        let parts = Parts {
            days: instant.seconds().div_euclid(86_400),
            year,
            month,
            day,
            hour,
            minute,
            second,
            nanoseconds: instant.nanoseconds(),
        };
        for step in &self.steps {
            write(step, &parts, out);
        }
    }
}

fn write(step: &Step, parts: &Parts, out: &mut Vec<u8>) {
    match step {
        Step::Literal(text) => out.extend_from_slice(text),
        Step::Number { field, least, .. } => write_number(parts.number(*field), *least, out),
        Step::TwoDigitYear { field, .. } => {
            write_number(parts.number(*field).rem_euclid(100), 2, out);
        }
        Step::Fraction { digits, fine } => {
            let nanoseconds = if *fine {
                parts.nanoseconds
            } else {
                parts.nanoseconds / 1_000_000 * 1_000_000
            };
            let start = out.len();
            push_digits(out, nanoseconds, 9);
            out.resize(start + usize::from(*digits), b'0');
        }
        Step::Month(width) => {
            write_name(
                Locale::english_month(parts.month, *width == Width::Long),
                *width,
                out,
            );
        }
        Step::Weekday(width) => {
            let weekday = weekday_of(parts.days) as u32;
            write_name(
                Locale::english_weekday(weekday, *width == Width::Long),
                *width,
                out,
            );
        }
        Step::Half => out.extend_from_slice(if parts.hour < 12 { b"AM" } else { b"PM" }),
        Step::Era(width) => {
            let name = match (width, parts.year > 0) {
                (Width::Short | Width::Narrow, true) => "AD",
                (Width::Short | Width::Narrow, false) => "BC",
                (Width::Long, true) => "Anno Domini",
                (Width::Long, false) => "Before Christ",
            };
            write_name(name, *width, out);
        }
        Step::Offset(form) => out.extend_from_slice(match form {
            OffsetForm::Hours => b"+00".as_slice(),
            OffsetForm::Plain => b"+0000",
            OffsetForm::Colon => b"+00:00",
            OffsetForm::Zulu => b"Z",
            OffsetForm::Gmt => b"GMT",
        }),
        Step::ZoneId | Step::ZoneShort => out.extend_from_slice(b"UTC"),
        Step::ZoneLong => out.extend_from_slice(b"Coordinated Universal Time"),
    }
}

impl Parts {
    fn number(&self, field: Field) -> i64 {
        let small = match field {
            Field::Century => return self.number(Field::YearOfEra) / 100,
            Field::YearOfEra if self.year < 1 => return 1 - self.year,
            Field::Year | Field::YearOfEra => return self.year,
            Field::Weekyear => return week_of(self.days).0,
            Field::NanoOfDay => {
                return i64::from(self.second_of_day()) * 1_000_000_000
                    + i64::from(self.nanoseconds);
            }
            Field::DayOfYear => return self.days - days_from_civil(self.year, 1, 1) + 1,
            Field::Weekday => return weekday_of(self.days),
            Field::Quarter => (self.month - 1) / 3 + 1,
            Field::Month => self.month,
            Field::Week => week_of(self.days).1,
            Field::WeekOfMonth => {
                // By ISO 8601: a first week of less than four days is number 0.
                let first = weekday_of(days_from_civil(self.year, self.month, 1)) as u32;
                let shift = if first <= 4 { first + 6 } else { first - 1 };
                (self.day + shift - 1) / 7
            }
            Field::Day => self.day,
            Field::WeekdayInMonth => (self.day - 1) / 7 + 1,
            Field::Hour => self.hour,
            Field::ClockHour => (self.hour + 23) % 24 + 1,
            Field::HalfHour => self.hour % 12,
            Field::HalfClockHour => (self.hour + 11) % 12 + 1,
            Field::Minute => self.minute,
            Field::Second => self.second,
            Field::MilliOfDay => self.second_of_day() * 1000 + self.nanoseconds / 1_000_000,
            Field::NanoOfSecond => self.nanoseconds,
        };
        i64::from(small)
    }

    fn second_of_day(&self) -> u32 {
        self.hour * 3600 + self.minute * 60 + self.second
    }
}

/// A number of at least so many digits.
#[inline]
fn write_number(number: i64, least: u8, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    match u32::try_from(number.unsigned_abs()) {
        Ok(number) if least <= 10 => push_digits(out, number, usize::from(least.max(1))),
        _ => {
            let text = format!(
                "{:0width$}",
                number.unsigned_abs(),
                width = usize::from(least)
            );
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn write_name(name: &str, width: Width, out: &mut Vec<u8>) {
    let length = if width == Width::Narrow {
        1
    } else {
        name.len()
    };
    out.extend_from_slice(&name.as_bytes()[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-10-01T08:05:09.012345678Z, a Thursday.
    fn print(pattern: Result<Pattern, super::super::PatternError>) -> String {
        let mut out = Vec::new();
        pattern
            .unwrap()
            .write(Timestamp::new(1_443_686_709, 12_345_678), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn joda() {
        for (pattern, expected) in [
            ("YYYY.MM.dd", "2015.10.01"),
            (
                "yyyy-MM-dd'T'HH:mm:ss.SSSZZ",
                "2015-10-01T08:05:09.012+00:00",
            ),
            ("xxxx-'W'ww-e", "2015-W40-4"),
            (
                "yy D E EEEE MMM MMMM a h K k",
                "15 274 Thu Thursday Oct October AM 8 8 8",
            ),
            (
                "SSSSSS Z ZZZ z zzzz",
                "012000 +0000 UTC UTC Coordinated Universal Time",
            ),
            ("G C yyyyyy M.d", "AD 20 002015 10.1"),
            ("%ss", "%09"),
        ] {
            assert_eq!(print(Pattern::joda(pattern)), expected, "{pattern}");
        }
    }

    #[test]
    fn java() {
        for (pattern, expected) in [
            (
                "uuuu-MM-dd'T'HH:mm:ss.SSSSSSSSSXXX",
                "2015-10-01T08:05:09.012345678Z",
            ),
            ("YYYY-'W'ww", "2015-W40"),
            ("yy QQQ QQQQQ e W F", "15 Q4 4 4 1 1"),
            ("EEE EEEE EEEEE LLL LLLLL", "Thu Thursday T Oct O"),
            (
                "[yyyy][x xx xxx Z ZZZZ O VV]",
                "2015+00 +0000 +00:00 +0000 GMT GMT Z",
            ),
            ("A n N", "29109012 12345678 29109012345678"),
            ("G GGGG hh''a", "AD Anno Domini 08'AM"),
        ] {
            assert_eq!(print(Pattern::java(pattern)), expected, "{pattern}");
        }
        for pattern in ["{", "[yyyy", "yyyy]", "b", "'x", "MMMMMM", "pH", "#"] {
            assert!(Pattern::java(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn years_out_of_the_ordinary() {
        let mut out = Vec::new();
        let pattern = Pattern::joda("yyyy|YYYY|yy").unwrap();
        pattern.write(Timestamp::new(-62_200_000_000, 0), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "-0002|0003|98");
    }
}
