//! The conversions of `dissect`.
//!
//! COMPAT: as Java's `BigDecimal` reads a text: a sign, digits, a point, an exponent, and nothing
//! else around them. `int` cuts the fraction; whole numbers may be of any size. Fractions keep all
//! their digits.

use bumpalo::Bump;

use super::text_of;
use crate::event::{Event, Path, Value, holds_exactly};
use crate::filter::mutate::convert::whole_of_decimal;

/// What a field is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Float,
}

/// Names of the kinds in a configuration.
pub(super) const KINDS: [(&str, Kind); 2] = [("int", Kind::Int), ("float", Kind::Float)];

/// The conversion of a field.
#[derive(Debug)]
pub(super) struct Conversion {
    path: Path,
    kind: Kind,
    /// The tag if there is nothing to convert.
    null_tag: Box<[u8]>,
    /// The tag if it is no number.
    failure_tag: Box<[u8]>,
}

impl Conversion {
    pub(super) fn new(path: Path, kind: Kind, field: &str, written: &str) -> Self {
        let tag = |what: &str| format!("_dataconversion{what}_{field}_{written}");
        Self {
            path,
            kind,
            null_tag: tag("nullvalue").into_bytes().into(),
            failure_tag: tag("uncoercible").into_bytes().into(),
        }
    }

    /// Converts the field, or tags the event.
    pub(super) fn apply<'b>(&'b self, event: &mut Event<'b>, arena: &'b Bump) {
        let Some(value) = self.path.get_mut(event) else {
            event.tag(&self.null_tag, arena);
            return;
        };
        let tag = match value {
            Value::Null => &self.null_tag,
            _ => match self.converted(value, arena) {
                Some(number) => {
                    *value = number;
                    return;
                }
                None => &self.failure_tag,
            },
        };
        event.tag(tag, arena);
    }

    fn converted<'b>(&self, value: &Value<'b>, arena: &'b Bump) -> Option<Value<'b>> {
        let text = match (value, self.kind) {
            (Value::Integer(integer), Kind::Int) => return Some(Value::Integer(*integer)),
            (Value::Integer(integer), Kind::Float) => return Some(Value::Float(*integer as f64)),
            (Value::Float(float), Kind::Float) => return Some(Value::Float(*float)),
            _ => std::str::from_utf8(text_of(value, arena)).ok()?,
        };
        if !is_decimal(text) {
            return None;
        }
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        match self.kind {
            Kind::Int => whole_of_decimal(unsigned, arena).ok(),
            Kind::Float => {
                let float: f64 = unsigned.parse().ok()?;
                if holds_exactly(float, unsigned) {
                    Some(Value::Float(float))
                } else if is_json_number(unsigned) {
                    Some(Value::Numeral(arena.alloc_str(unsigned)))
                } else {
                    float.is_finite().then_some(Value::Float(float))
                }
            }
        }
    }
}

/// `[sign] digits [. digits] [e [sign] digits]`, with a digit on one side of the point.
fn is_decimal(text: &str) -> bool {
    let unsigned = |text: &str| usize::from(text.starts_with(['+', '-']));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(&exponent[unsigned(exponent)..])),
        None => (text, None),
    };
    let mantissa = &mantissa[unsigned(mantissa)..];
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|digits| !digits.is_empty() && all_digits(digits))
}

/// Whether a decimal is written as JSON writes it: no zeros in front, digits around the point.
fn is_json_number(decimal: &str) -> bool {
    let mantissa = decimal.split(['e', 'E']).next().unwrap_or_default();
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    (whole == "0" || !whole.starts_with('0')) && !whole.is_empty() && !fraction.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::write_json_value;

    #[test]
    fn numbers_of_java() {
        let arena = Bump::new();
        for (text, int, float) in [
            ("1234", "1234", "1234.0"),
            ("-12.75", "-12", "-12.75"),
            ("+7", "7", "7.0"),
            (".5", "0", "0.5"),
            ("5.", "5", "5.0"),
            ("1e3", "1000", "1000.0"),
            ("00012", "12", "12.0"),
            (
                "439474042575071862892",
                "439474042575071862892",
                "439474042575071862892",
            ),
            ("0.1234567890123456789", "0", "0.1234567890123456789"),
            ("1e999999999", "none", "1e999999999"),
            ("", "none", "none"),
            (" 1", "none", "none"),
            ("1_000", "none", "none"),
            ("0x1f", "none", "none"),
            ("1e", "none", "none"),
            (".", "none", "none"),
        ] {
            for (kind, expected) in [(Kind::Int, int), (Kind::Float, float)] {
                let conversion = Conversion::new(Path::new(["a"]), kind, "a", "x");
                let mut out = Vec::new();
                match conversion.converted(&Value::Text(text.as_bytes()), &arena) {
                    Some(number) => write_json_value(&number, &mut out),
                    None => out.extend_from_slice(b"none"),
                }
                assert_eq!(String::from_utf8_lossy(&out), expected, "{text} {kind:?}");
            }
        }
    }
}
