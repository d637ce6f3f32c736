//! Times as texts: what the `date` filter reads, and what `%{+yyyy.MM.dd}` prints.
//!
//! A pattern of Joda-Time (or of `java.time`, for `%{{…}}`) is compiled once into a short list of
//! steps, a [`Pattern`], which both parses and prints; a [`Format`] is a pattern or one of the
//! words that `date` knows. The commonest shapes (HTTPDATE, syslog, ISO 8601) have a hand-written
//! way in front, which gives up on anything unusual and leaves it to the general one. Nothing here
//! allocates while it parses or prints.
//!
//! The clock is handed in (for years that a text does not name), and so is the time zone of texts
//! without one.
//!
//! COMPAT: as in Logstash times are read with milliseconds (finer digits are cut), a local time
//! that a change to summer time leaves out is refused, and one that exists twice is the first of
//! the two.

mod epoch;
mod fast;
mod fields;
mod iso8601;
mod java;
mod locale;
mod parse;
mod pattern;
mod print;
mod zone;

pub use locale::Locale;
pub use pattern::{MAX_PATTERN_LENGTH, Pattern, PatternError};
pub use zone::Zone;

use crate::event::{Timestamp, Value};

/// What the meaning of a text depends on besides the text.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The zone of texts that name none.
    pub zone: &'a Zone,
    /// The language of month and weekday names.
    pub locale: &'static Locale,
    /// The time now, for texts without a year.
    pub now: Timestamp,
}

/// A format of the `date` filter.
#[derive(Debug)]
pub enum Format {
    /// `ISO8601`, and the same with a space, as Logstash takes it.
    Iso8601,
    /// `UNIX`: seconds since 1970, whole or with a fraction, up to 2038.
    Unix,
    /// `UNIX_MS`: milliseconds since 1970.
    UnixMilliseconds,
    /// `TAI64N`: 24 hexadecimal digits behind an optional `@`.
    Tai64n,
    /// A pattern of Joda-Time.
    Pattern(Pattern),
}

impl Format {
    /// Reads a format as it stands in a configuration.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Ok(match text {
            "ISO8601" => Self::Iso8601,
            "UNIX" => Self::Unix,
            "UNIX_MS" => Self::UnixMilliseconds,
            "TAI64N" => Self::Tai64n,
            pattern => {
                let pattern = Pattern::joda(pattern)?;
                pattern.check_parsable()?;
                Self::Pattern(pattern)
            }
        })
    }

    /// Whether names of months or weekdays are read, so that the language matters.
    pub fn reads_names(&self) -> bool {
        matches!(self, Self::Pattern(pattern) if pattern.has_names())
    }

    /// Whether every text of this format is an instant by itself, in whatever zone.
    pub fn is_absolute(&self) -> bool {
        matches!(self, Self::Unix | Self::UnixMilliseconds | Self::Tai64n)
    }

    /// The instant that a value of an event stands for, if it has this format.
    pub fn read(&self, value: &Value<'_>, reading: &Reading<'_>) -> Option<Timestamp> {
        match value {
            Value::Text(text) => self.read_text(text, reading),
            Value::Integer(number) => match self {
                Self::Unix => epoch::seconds(*number),
                Self::UnixMilliseconds => Some(Timestamp::from_milliseconds(*number)),
                _ => None,
            },
            Value::Float(number) => self.read_float(*number),
            Value::Numeral(number) => self.read_float(number.parse().ok()?),
            _ => None,
        }
    }

    /// The instant that a text stands for, if it has this format.
    pub fn read_text(&self, text: &[u8], reading: &Reading<'_>) -> Option<Timestamp> {
        match self {
            Self::Iso8601 => iso8601::parse_casual(text, reading.zone),
            Self::Unix => epoch::parse_seconds(text),
            Self::UnixMilliseconds => epoch::parse_milliseconds(text),
            Self::Tai64n => epoch::parse_tai64n(text),
            Self::Pattern(pattern) => pattern.parse(text, reading),
        }
    }

    fn read_float(&self, number: f64) -> Option<Timestamp> {
        match self {
            Self::Unix => epoch::float_seconds(number),
            Self::UnixMilliseconds if number.is_finite() => {
                Some(Timestamp::from_milliseconds(number as i64))
            }
            _ => None,
        }
    }
}
