//! The filter `bytes`: reads sizes such as `5.6 GB` as a number of bytes.
//!
//! COMPAT (logstash-filter-bytes): blanks, underscores, commas and points may separate groups of
//! digits, wherever they stand; letters of units may be of either case, and a `b` never means bits.

use super::common::{field_of, put, tags};
use super::text::printed;
use super::{Context, Filter, Outcome};
use crate::event::{Event, Path, Value};
use crate::language::Options;
use crate::number::float_prefix;

/// The filter.
#[derive(Debug)]
pub struct Bytes {
    source: Path,
    target: Path,
    /// What a kilobyte has.
    thousand: f64,
    decimal: u8,
    tags_on_failure: Vec<Box<[u8]>>,
}

impl Bytes {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let source = options.field("source").map(|field| field.value);
        let source = source.unwrap_or_else(|| field_of("message"));
        if !options.has("target") {
            options.missing("target");
        }
        let target = options.field("target");
        let methods = [("binary", 1024.0), ("metric", 1000.0)];
        let thousand = options.enumeration("conversion_method", &methods);
        let decimal = options.enumeration("decimal_separator", &[(".", b'.'), (",", b',')]);
        let tags_on_failure = tags(options, "tag_on_failure", &["_bytesparsefailure"]);
        Some(Self {
            source: Path::from(&source),
            target: Path::from(&target?.value),
            thousand: thousand.unwrap_or(1024.0),
            decimal: decimal.unwrap_or(b'.'),
            tags_on_failure,
        })
    }

    /// The bytes that a text stands for.
    fn read(&self, text: &[u8]) -> Option<f64> {
        let text = text.trim_ascii();
        let text = match text {
            [before @ .., b'b' | b'B'] => before,
            _ => text,
        };
        let (number, power) = match text {
            [before @ .., letter] if letter.is_ascii_alphabetic() => {
                let power = b"kmgtpe"
                    .iter()
                    .position(|each| *each == letter.to_ascii_lowercase())?;
                (before, power as i32 + 1)
            }
            _ => (text, 0),
        };
        let mut digits = [0; MAX_DIGITS];
        let mut length = 0;
        let mut decimals = 0;
        for byte in number.trim_ascii() {
            let digit = match byte {
                byte if *byte == self.decimal => {
                    decimals += 1;
                    b'.'
                }
                b'0'..=b'9' => *byte,
                b' ' | b'_' | b',' | b'.' => continue,
                _ => return None,
            };
            *digits.get_mut(length)? = digit;
            length += 1;
        }
        if decimals > 1 || length == 0 {
            return None;
        }
        // `.5` counts, as in Ruby only a number in front of the point would.
        let digits = &digits[..length];
        let number = if digits[0] == b'.' {
            let text = std::str::from_utf8(digits).ok()?;
            text.parse().unwrap_or(0.0)
        } else {
            float_prefix(digits)
        };
        Some((number * self.thousand.powi(power)).round())
    }
}

/// What a whole number of 64 bits does not hold any more.
const INTEGER_LIMIT: f64 = 9_223_372_036_854_775_808.0;

/// Digits of a number; more are no size.
const MAX_DIGITS: usize = 64;

impl Filter for Bytes {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let text = self.source.get(event).and_then(Value::as_text);
        let Some(bytes) = text.and_then(|text| self.read(text)) else {
            for tag in &self.tags_on_failure {
                event.tag(tag, context.arena);
            }
            return Outcome::Unapplied;
        };
        let value = if bytes < INTEGER_LIMIT {
            Value::Integer(bytes as i64)
        } else {
            Value::Numeral(printed(format_args!("{bytes:.0}"), context.arena))
        };
        put(&self.target, value, event, context.arena);
        Outcome::Applied
    }
}
