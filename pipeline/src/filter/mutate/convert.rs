//! The conversions of `mutate`.
//!
//! COMPAT: as version 3.6 of Logstash's plugin converts. Commas between digits are dropped (points,
//! for the `_eu` kinds), whole numbers may be of any size, decimals are cut, hexadecimal numbers
//! and exponents are read. What is no number at all is an error. A word that is no boolean stays
//! what it is.

use bumpalo::Bump;

use super::texts;
use crate::event::{Array, Value};

/// What a value is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    Integer,
    IntegerEu,
    Float,
    FloatEu,
    Text,
    Boolean,
}

/// Names of the conversions in a configuration.
pub(super) const CONVERSIONS: [(&str, Conversion); 6] = [
    ("integer", Conversion::Integer),
    ("integer_eu", Conversion::IntegerEu),
    ("float", Conversion::Float),
    ("float_eu", Conversion::FloatEu),
    ("string", Conversion::Text),
    ("boolean", Conversion::Boolean),
];

/// The most digits of a whole number that a short text with an exponent may grow to.
const MOST_DIGITS: usize = 400;

/// A value that cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::filter) struct NotConvertible;

impl Conversion {
    /// Converts a value in place, an array element by element. Objects and nulls stay.
    pub(super) fn convert<'b>(
        self,
        value: &mut Value<'b>,
        arena: &'b Bump,
    ) -> Result<(), NotConvertible> {
        match value {
            Value::Null | Value::Object(_) => {}
            Value::Array(array) => {
                // All or nothing, as in Ruby, where the array is set when it is complete.
                let mut converted = Array::with_capacity_in(array.len(), arena);
                for each in array.iter() {
                    converted.push(match each {
                        Value::Null => Value::Null,
                        _ => self.convert_one(each, arena)?,
                    });
                }
                **array = converted;
            }
            _ => *value = self.convert_one(value, arena)?,
        }
        Ok(())
    }

    fn convert_one<'b>(
        self,
        value: &Value<'b>,
        arena: &'b Bump,
    ) -> Result<Value<'b>, NotConvertible> {
        match self {
            Self::Integer => integer(value, false, arena),
            Self::IntegerEu => integer(value, true, arena),
            Self::Float => float(value, false),
            Self::FloatEu => float(value, true),
            Self::Text => Ok(match value {
                Value::Text(text) => Value::Text(text),
                _ => {
                    let mut text = Vec::new();
                    texts::to_s(value, &mut text);
                    Value::copied_text(&text, arena)
                }
            }),
            Self::Boolean => {
                let mut text = Vec::new();
                texts::to_s(value, &mut text);
                Ok(boolean(&text).map_or_else(|| value.copy_in(arena), Value::Boolean))
            }
        }
    }
}

fn boolean(text: &[u8]) -> Option<bool> {
    if text.is_empty() {
        return Some(false);
    }
    // COMPAT: the pattern's anchors match at every line.
    let any = |words: [&[u8]; 6]| {
        text.split(|byte| *byte == b'\n')
            .any(|line| words.iter().any(|word| word.eq_ignore_ascii_case(line)))
    };
    if any([b"true", b"t", b"yes", b"y", b"1", b"1.0"]) {
        Some(true)
    } else if any([b"false", b"f", b"no", b"n", b"0", b"0.0"]) {
        Some(false)
    } else {
        None
    }
}

/// The text of a number without group separators, with a point for the fraction, in lower case.
fn digits_of(text: &[u8], european: bool) -> Result<String, NotConvertible> {
    let text = std::str::from_utf8(texts::strip(text)).map_err(|_| NotConvertible)?;
    let (group, point) = if european { ('.', ',') } else { (',', '.') };
    Ok(text
        .chars()
        .filter(|character| *character != group)
        .map(|character| {
            if character == point {
                '.'
            } else {
                character.to_ascii_lowercase()
            }
        })
        .collect())
}

/// A whole number written the usual way: a sign perhaps, then at most 18 digits.
///
/// PERF: nearly every number of a log is, and this way it costs no allocation.
fn plain_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let plain = matches!(digits.len(), 1..=18)
        && digits.iter().all(u8::is_ascii_digit)
        && (digits[0] != b'0' || digits.len() == 1);
    if !plain {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
    Some(if negative { -number } else { number })
}

/// A number written the usual way: digits, a point, digits.
fn plain_float(text: &[u8]) -> Option<f64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let point = digits.iter().position(|byte| *byte == b'.')?;
    let is_plain =
        |digits: &[u8]| matches!(digits.len(), 1..=18) && digits.iter().all(u8::is_ascii_digit);
    if !is_plain(&digits[..point]) || !is_plain(&digits[point + 1..]) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn integer<'b>(
    value: &Value<'b>,
    european: bool,
    arena: &'b Bump,
) -> Result<Value<'b>, NotConvertible> {
    match value {
        Value::Boolean(boolean) => Ok(Value::Integer(i64::from(*boolean))),
        Value::Integer(integer) => Ok(Value::Integer(*integer)),
        Value::Float(float) => whole_of_float(*float, arena),
        Value::Numeral(numeral) => whole_of_decimal(numeral, arena),
        Value::Time(timestamp) => Ok(Value::Integer(timestamp.seconds())),
        Value::Text(text) => {
            if let Some(number) = plain_integer(text) {
                return Ok(Value::Integer(number));
            }
            let text = digits_of(text, european)?;
            match hexadecimal(&text) {
                None => whole_of_decimal(&text, arena),
                Some((_, digits)) if digits.contains('.') => {
                    whole_of_float(hexadecimal_float(&text)?, arena)
                }
                Some((negative, digits)) => {
                    let number = i128::from_str_radix(digits, 16).map_err(|_| NotConvertible)?;
                    Ok(whole(
                        &(if negative { -number } else { number }).to_string(),
                        arena,
                    ))
                }
            }
        }
        Value::Null | Value::Array(_) | Value::Object(_) => Err(NotConvertible),
    }
}

fn float<'b>(value: &Value<'b>, european: bool) -> Result<Value<'b>, NotConvertible> {
    let float = match value {
        Value::Boolean(boolean) => f64::from(u8::from(*boolean)),
        Value::Integer(integer) => *integer as f64,
        Value::Float(float) => *float,
        Value::Numeral(numeral) => numeral.parse().map_err(|_| NotConvertible)?,
        Value::Time(timestamp) => {
            timestamp.seconds() as f64 + f64::from(timestamp.nanoseconds()) / 1e9
        }
        Value::Text(text) => {
            if !european && let Some(number) = plain_float(text) {
                return Ok(Value::Float(number));
            }
            let text = digits_of(text, european)?;
            if hexadecimal(&text).is_some() {
                hexadecimal_float(&text)?
            } else {
                let number = Decimal::parse(&text)?;
                if number.ends_in_point {
                    return Err(NotConvertible);
                }
                // Underscores are Ruby's, not Rust's.
                text.replace('_', "").parse().map_err(|_| NotConvertible)?
            }
        }
        Value::Null | Value::Array(_) | Value::Object(_) => return Err(NotConvertible),
    };
    // Unlike in Ruby infinity is refused, which could not be told to anybody.
    if float.is_finite() {
        Ok(Value::Float(float))
    } else {
        Err(NotConvertible)
    }
}

/// A decimal number taken apart.
struct Decimal<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
    exponent: i64,
    ends_in_point: bool,
}

impl<'t> Decimal<'t> {
    /// `[sign] digits [. digits] [e [sign] digits]`, digits perhaps with single underscores between
    /// them.
    fn parse(text: &'t str) -> Result<Self, NotConvertible> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once('e') {
            Some((mantissa, exponent)) => {
                let exponent = exponent.parse().map_err(|_| NotConvertible)?;
                (mantissa, exponent)
            }
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let are_digits = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'_')
                && !text.starts_with('_')
                && !text.ends_with('_')
                && !text.contains("__")
        };
        if !are_digits(whole) || !are_digits(fraction) || (whole.is_empty() && fraction.is_empty())
        {
            return Err(NotConvertible);
        }
        Ok(Self {
            negative,
            whole,
            fraction,
            exponent,
            ends_in_point: mantissa.ends_with('.'),
        })
    }
}

/// The whole part of a decimal number of any size.
pub(in crate::filter) fn whole_of_decimal<'b>(
    text: &str,
    arena: &'b Bump,
) -> Result<Value<'b>, NotConvertible> {
    if let Ok(integer) = text.parse() {
        return Ok(Value::Integer(integer));
    }
    let lower;
    let text = if text.contains('E') {
        lower = text.to_ascii_lowercase();
        &lower
    } else {
        text
    };
    let number = Decimal::parse(text)?;
    let mut digits: String = [number.whole, number.fraction].concat().replace('_', "");
    let whole_length = number.whole.replace('_', "").len() as i64;
    let length = whole_length.saturating_add(number.exponent).max(0);
    let length = usize::try_from(length).map_err(|_| NotConvertible)?;
    if length > digits.len() && digits.bytes().any(|digit| digit != b'0') {
        if length > MOST_DIGITS {
            return Err(NotConvertible);
        }
        digits.extend(std::iter::repeat_n('0', length - digits.len()));
    }
    digits.truncate(length);
    if number.negative {
        digits.insert(0, '-');
    }
    Ok(whole(&digits, arena))
}

fn whole_of_float(float: f64, arena: &Bump) -> Result<Value<'_>, NotConvertible> {
    if !float.is_finite() {
        return Err(NotConvertible);
    }
    Ok(whole(&format!("{:.0}", float.trunc()), arena))
}

/// A whole number of any size from its digits.
fn whole<'b>(digits: &str, arena: &'b Bump) -> Value<'b> {
    let (sign, magnitude) = match digits.strip_prefix('-') {
        Some(magnitude) => ("-", magnitude),
        None => ("", digits),
    };
    let magnitude = magnitude.trim_start_matches('0');
    if magnitude.is_empty() {
        return Value::Integer(0);
    }
    let text = [sign, magnitude].concat();
    text.parse()
        .map_or_else(|_| Value::Numeral(arena.alloc_str(&text)), Value::Integer)
}

/// The sign and what follows `0x`, if that is how the text starts.
fn hexadecimal(text: &str) -> Option<(bool, &str)> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    Some((negative, rest.strip_prefix("0x")?))
}

/// `[sign] 0x digits [. digits] [p [sign] digits]`.
fn hexadecimal_float(text: &str) -> Result<f64, NotConvertible> {
    let (negative, digits) = hexadecimal(text).ok_or(NotConvertible)?;
    let (mantissa, exponent) = match digits.split_once('p') {
        Some((mantissa, exponent)) => {
            let exponent: i32 = exponent.parse().map_err(|_| NotConvertible)?;
            (mantissa, exponent)
        }
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || (mantissa.contains('.') && fraction.is_empty()) {
        return Err(NotConvertible);
    }
    let mut number = 0.0;
    for character in whole.chars().chain(fraction.chars()) {
        let digit = character.to_digit(16).ok_or(NotConvertible)?;
        number = number * 16.0 + f64::from(digit);
    }
    let exponent = exponent.saturating_sub(4 * fraction.len() as i32);
    let number = number * 2.0_f64.powi(exponent);
    Ok(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_short_ways_agree_with_the_long_ones() {
        let arena = Bump::new();
        for text in [
            "0",
            "-0",
            "7",
            "-7",
            "42",
            "007",
            "123456789012345678",
            "1234567890123456789",
            "1_0",
            "",
            "-",
            "+5",
            "1.5",
            "-1.5",
            "01.50",
            "1.",
            ".5",
            "1e3",
            "0.1",
            "123456789.987654321",
        ] {
            let bytes = text.as_bytes();
            if let Some(number) = plain_integer(bytes) {
                assert_eq!(
                    whole_of_decimal(text, &arena).ok(),
                    Some(Value::Integer(number)),
                    "{text}"
                );
            }
            if let Some(number) = plain_float(bytes) {
                assert_eq!(text.parse(), Ok(number), "{text}");
                assert!(Decimal::parse(text).is_ok(), "{text}");
            }
        }
        assert_eq!(plain_integer(b"-7"), Some(-7));
        assert_eq!(plain_float(b"-1.5"), Some(-1.5));
        assert_eq!(plain_float(b"1."), None);
    }
    use crate::event::write_json_value;

    fn converted<'b>(arena: &'b Bump, conversion: Conversion, mut value: Value<'b>) -> String {
        match conversion.convert(&mut value, arena) {
            Ok(()) => {
                let mut out = Vec::new();
                write_json_value(&value, &mut out);
                String::from_utf8(out).unwrap()
            }
            Err(NotConvertible) => "error".to_owned(),
        }
    }

    #[test]
    fn integers() {
        for (text, expected) in [
            ("1,234", "1234"),
            (" 12.9 ", "12"),
            ("-1.5e2", "-150"),
            ("0x1F", "31"),
            ("-0x1f", "-31"),
            ("1_000", "1000"),
            ("9223372036854775808.0", "9223372036854775808"),
            ("1e20", "100000000000000000000"),
            ("0e99999999", "0"),
            ("5e-99999999", "0"),
            (".5", "0"),
            ("007", "7"),
            ("-0.5", "0"),
            ("1e99999999", "error"),
            ("abc", "error"),
            ("", "error"),
            ("1__0", "error"),
            ("12 13", "error"),
            ("0xg", "error"),
            ("nan", "error"),
        ] {
            assert_eq!(
                converted(
                    &Bump::new(),
                    Conversion::Integer,
                    Value::Text(text.as_bytes())
                ),
                expected,
                "{text}"
            );
        }
        assert_eq!(
            converted(
                &Bump::new(),
                Conversion::IntegerEu,
                Value::Text(b"1.234,56")
            ),
            "1234"
        );
        assert_eq!(
            converted(&Bump::new(), Conversion::Integer, Value::Float(-1.9)),
            "-1"
        );
        assert_eq!(
            converted(&Bump::new(), Conversion::Integer, Value::Float(1e20)),
            "100000000000000000000"
        );
        assert_eq!(
            converted(&Bump::new(), Conversion::Integer, Value::Float(f64::NAN)),
            "error"
        );
        assert_eq!(
            converted(&Bump::new(), Conversion::Integer, Value::Boolean(true)),
            "1"
        );
        assert_eq!(
            converted(&Bump::new(), Conversion::Integer, Value::Numeral("12.75")),
            "12"
        );
    }

    #[test]
    fn floats() {
        for (text, expected) in [
            ("3,141", "3141.0"),
            ("-123.45", "-123.45"),
            ("0x1.edcdp6", "123.4501953125"),
            ("1_0.5", "10.5"),
            (".5", "0.5"),
            ("1.", "error"),
            ("1e400", "error"),
            ("infinity", "error"),
            ("", "error"),
        ] {
            assert_eq!(
                converted(
                    &Bump::new(),
                    Conversion::Float,
                    Value::Text(text.as_bytes())
                ),
                expected,
                "{text}"
            );
        }
        assert_eq!(
            converted(&Bump::new(), Conversion::FloatEu, Value::Text(b"1.234,5")),
            "1234.5"
        );
        assert_eq!(
            converted(&Bump::new(), Conversion::Float, Value::Boolean(false)),
            "0.0"
        );
    }

    #[test]
    fn booleans_and_texts() {
        let arena = Bump::new();
        for (value, expected) in [
            (Value::Text(b"Yes"), "true"),
            (Value::Text(b""), "false"),
            (Value::Float(0.0), "false"),
            (Value::Integer(2), "2"),
            (Value::Text(b"maybe"), "\"maybe\""),
        ] {
            assert_eq!(converted(&arena, Conversion::Boolean, value), expected);
        }
        assert_eq!(
            converted(&Bump::new(), Conversion::Text, Value::Float(123.0)),
            "\"123.0\""
        );
        assert_eq!(
            converted(&Bump::new(), Conversion::Text, Value::Float(1e16)),
            "\"1.0e+16\""
        );
        assert_eq!(
            converted(&Bump::new(), Conversion::Text, Value::Boolean(true)),
            "\"true\""
        );
    }

    #[test]
    fn arrays_are_converted_as_a_whole_or_not_at_all() {
        let arena = Bump::new();
        let mut array = Array::new_in(&arena);
        array.extend([Value::Text(b"1"), Value::Null, Value::Text(b"x")]);
        let mut value = Value::array(array, &arena);
        assert_eq!(
            Conversion::Integer.convert(&mut value, &arena),
            Err(NotConvertible)
        );
        let mut out = Vec::new();
        write_json_value(&value, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), r#"["1",null,"x"]"#);
    }

    proptest! {
        #[test]
        fn any_text_is_converted_or_refused(text in "[-+0-9a-fxpe.,_ ]{0,24}") {
            for (_, conversion) in CONVERSIONS {
                let arena = Bump::new();
                let mut value = Value::copied_text(text.as_bytes(), &arena);
                let converted = conversion.convert(&mut value, &arena);
                if converted.is_err() || conversion == Conversion::Text {
                    prop_assert_eq!(value, Value::Text(text.as_bytes()));
                } else {
                    prop_assert!(value.as_text().is_none() || conversion == Conversion::Boolean);
                }
            }
        }

        #[test]
        fn integers_survive(integer: i64) {
            let text = integer.to_string();
            let arena = Bump::new();
            let mut value = Value::copied_text(text.as_bytes(), &arena);
            prop_assert_eq!(Conversion::Integer.convert(&mut value, &arena), Ok(()));
            prop_assert_eq!(value, Value::Integer(integer));
        }

        #[test]
        fn floats_survive_as_texts(float: f64) {
            prop_assume!(float.is_finite());
            let arena = Bump::new();
            let mut value = Value::Float(float);
            prop_assert_eq!(Conversion::Text.convert(&mut value, &arena), Ok(()));
            prop_assert_eq!(Conversion::Float.convert(&mut value, &arena), Ok(()));
            prop_assert_eq!(value, Value::Float(float));
        }
    }
}
