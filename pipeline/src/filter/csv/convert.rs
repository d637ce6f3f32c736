//! The conversions of `csv`.
//!
//! COMPAT: as the converters of Ruby's library: what cannot be converted stays a text. Whole numbers
//! may be hexadecimal, octal (with a leading 0) or binary. Times without a zone are in UTC; so are
//! days, unlike in Logstash, where they begin in the zone of the system.

use std::sync::LazyLock;

use bumpalo::Bump;

use crate::event::{Timestamp, Value};
use crate::time::{Format, Locale, Reading, Zone};

/// What a field is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conversion {
    Integer,
    Float,
    Date,
    DateTime,
    Boolean,
}

/// Names of the conversions in a configuration.
pub(crate) const CONVERSIONS: [(&str, Conversion); 5] = [
    ("integer", Conversion::Integer),
    ("float", Conversion::Float),
    ("date", Conversion::Date),
    ("date_time", Conversion::DateTime),
    ("boolean", Conversion::Boolean),
];

/// How days are written.
static DAYS: LazyLock<Vec<Format>> = LazyLock::new(|| {
    formats(&[
        "yyyy-MM-dd",
        "MMM d, yyyy",
        "MMM d yyyy",
        "EEE, MMM d, yyyy",
        "EEE, MMM d yyyy",
        "EEE MMM d yyyy",
        "EEE MMM d, yyyy",
    ])
});

/// How times are written.
static TIMES: LazyLock<Vec<Format>> = LazyLock::new(|| {
    formats(&[
        "yyyy-MM-dd HH:mm:ss",
        "yyyy-MM-dd HH:mm:ss.SSS",
        "yyyy-MM-dd HH:mm:ss Z",
        "yyyy-MM-dd HH:mm:ss z",
        "yyyy-MM-dd HH:mm",
        "ISO8601",
        "MMM d HH:mm:ss yyyy",
        "MMM d HH:mm:ss, yyyy",
        "EEE, MMM d HH:mm:ss, yyyy",
        "EEE, MMM d HH:mm:ss yyyy",
        "EEE MMM d HH:mm:ss yyyy",
        "yyyy-MM-dd",
    ])
});

fn formats(patterns: &[&str]) -> Vec<Format> {
    let patterns = patterns.iter();
    patterns
        .filter_map(|pattern| Format::parse(pattern).ok())
        .collect()
}

impl Conversion {
    /// The value of a field; the text itself if it cannot be converted.
    pub(crate) fn convert<'b>(self, text: &'b [u8], now: Timestamp, arena: &'b Bump) -> Value<'b> {
        self.converted(text, now, arena)
            .unwrap_or(Value::Text(text))
    }

    fn converted<'b>(self, text: &'b [u8], now: Timestamp, arena: &'b Bump) -> Option<Value<'b>> {
        let utf8 = std::str::from_utf8(text).ok()?;
        match self {
            Self::Integer => integer(utf8.trim(), arena),
            Self::Float => float(utf8.trim()).map(Value::Float),
            Self::Date => time(&DAYS, text, now).map(Value::Time),
            Self::DateTime => time(&TIMES, text, now).map(Value::Time),
            Self::Boolean => {
                let word = utf8.trim();
                if word.eq_ignore_ascii_case("true") {
                    Some(Value::Boolean(true))
                } else if word.eq_ignore_ascii_case("false") {
                    Some(Value::Boolean(false))
                } else {
                    None
                }
            }
        }
    }
}

fn time(formats: &[Format], text: &[u8], now: Timestamp) -> Option<Timestamp> {
    let reading = Reading {
        zone: &Zone::UTC,
        locale: Locale::find("en")?,
        now,
    };
    formats
        .iter()
        .find_map(|format| format.read_text(text, &reading))
}

/// Digits with single underscores between them, without these.
fn digits(text: &str, radix: u32) -> Option<String> {
    let wrong = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    let digits: String = text.chars().filter(|character| *character != '_').collect();
    let right = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    (right && !wrong).then_some(digits)
}

/// A whole number as Ruby's `Integer()` reads it.
fn integer<'b>(text: &str, arena: &'b Bump) -> Option<Value<'b>> {
    // PERF: nearly all numbers.
    if !text.starts_with(['0', '+', '_'])
        && let Ok(number) = text.parse()
    {
        return Some(Value::Integer(number));
    }
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = magnitude.to_ascii_lowercase();
    let (radix, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'd', ..] => (10, &lower[2..]),
        [b'0', _, ..] => (8, lower[1..].strip_prefix('_').unwrap_or(&lower[1..])),
        _ => (10, &*lower),
    };
    let digits = digits(rest, radix)?;
    let sign = if negative { "-" } else { "" };
    if let Ok(number) = i64::from_str_radix(&format!("{sign}{digits}"), radix) {
        return Some(Value::Integer(number));
    }
    let digits = match radix {
        10 => digits,
        _ => u128::from_str_radix(&digits, radix).ok()?.to_string(),
    };
    Some(Value::Numeral(arena.alloc_str(&format!("{sign}{digits}"))))
}

/// A number as Ruby's `Float()` reads it.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    if !(whole.is_empty() && fraction.is_some()) {
        digits(whole, 10)?;
    }
    if let Some(fraction) = fraction {
        digits(fraction, 10)?;
    }
    if let Some(exponent) = exponent {
        digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), 10)?;
    }
    let number: f64 = if text.contains('_') {
        text.replace('_', "").parse().ok()?
    } else {
        text.parse().ok()?
    };
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::write_json_value;

    #[test]
    fn fields_are_converted_as_ruby_does() {
        use Conversion::{Boolean, Date, DateTime, Float, Integer};
        let arena = Bump::new();
        for (conversion, text, expected) in [
            (Integer, "1234", "1234"),
            (Integer, " -1_000 ", "-1000"),
            (Integer, "0x1F", "31"),
            (Integer, "017", "15"),
            (Integer, "0b11", "3"),
            (Integer, "0", "0"),
            (Integer, "09", r#""09""#),
            (Integer, "1.5", r#""1.5""#),
            (Integer, "12345678901234567890", "12345678901234567890"),
            (Float, "3.14159265359", "3.14159265359"),
            (Float, "-1e3", "-1000.0"),
            (Float, ".5", "0.5"),
            (Float, "5.", r#""5.""#),
            (Float, "nan", r#""nan""#),
            (Float, "1e999", r#""1e999""#),
            (Boolean, " TRUE ", "true"),
            (Boolean, "false", "false"),
            (Boolean, "yes", r#""yes""#),
            (Date, "2017-06-01", r#""2017-06-01T00:00:00.000Z""#),
            (Date, "Aug 3, 2017", r#""2017-08-03T00:00:00.000Z""#),
            (Date, "2017-06-01 10:00:00", r#""2017-06-01 10:00:00""#),
            (
                DateTime,
                "2001-02-03 04:05:06",
                r#""2001-02-03T04:05:06.000Z""#,
            ),
            (
                DateTime,
                "2001-02-03T04:05:06+01:00",
                r#""2001-02-03T03:05:06.000Z""#,
            ),
            (
                DateTime,
                "Sat Feb 3 04:05:06 2001",
                r#""2001-02-03T04:05:06.000Z""#,
            ),
            (DateTime, "soon", r#""soon""#),
        ] {
            let mut out = Vec::new();
            let now = Timestamp::new(0, 0);
            write_json_value(&conversion.convert(text.as_bytes(), now, &arena), &mut out);
            assert_eq!(
                String::from_utf8_lossy(&out),
                expected,
                "{conversion:?} {text}"
            );
        }
        assert_eq!(DAYS.len(), 7, "every format of days is one");
        assert_eq!(TIMES.len(), 12, "every format of times is one");
    }
}
