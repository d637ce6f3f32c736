//! How conditions compare two values: truth, equality, order, and how a value reads as text.

use std::cmp::Ordering;

use crate::event::{Timestamp, Value};

pub(super) fn contains(whole: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(whole, part).is_some()
}

/// Calls `test` with how a scalar reads as text; false for arrays and objects.
pub(super) fn as_text(value: &Value<'_>, test: impl FnOnce(&[u8]) -> bool) -> bool {
    match value {
        Value::Null => test(b""),
        Value::Boolean(true) => test(b"true"),
        Value::Boolean(false) => test(b"false"),
        Value::Integer(integer) => test(integer.to_string().as_bytes()),
        Value::Float(float) => test(format!("{float:?}").as_bytes()),
        Value::Numeral(numeral) => test(numeral.as_bytes()),
        Value::Text(text) => test(text),
        Value::Time(time) => test(time.to_string().as_bytes()),
        Value::Array(_) | Value::Object(_) => false,
    }
}

pub(super) fn is_truthy(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Boolean(false) => false,
        Value::Text(text) => text_is_truthy(text),
        _ => true,
    }
}

pub(super) fn text_is_truthy(text: &[u8]) -> bool {
    !text.is_empty() && text != b"false"
}

/// Equality that tells kinds apart, unlike that of values: `5` is not `5.0`.
#[expect(clippy::float_cmp, reason = "equality of values is exact")]
pub(super) fn is_same(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Boolean(left), Value::Boolean(right)) => left == right,
        (Value::Integer(left), Value::Integer(right)) => left == right,
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Numeral(left), Value::Numeral(right)) => left == right,
        // A constant with too many digits for 64 bits is read as a double.
        (Value::Numeral(numeral), Value::Float(float))
        | (Value::Float(float), Value::Numeral(numeral)) => numeral.parse() == Ok(*float),
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::Time(left), Value::Time(right)) => left == right,
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right.iter())
                    .all(|(left, right)| is_same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, value)| {
                    right.get(&name).is_some_and(|other| is_same(value, other))
                })
        }
        _ => false,
    }
}

pub(super) fn order(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Some((*left).cmp(*right)),
        (Value::Integer(left), Value::Integer(right)) => Some(left.cmp(right)),
        (Value::Time(left), Value::Time(right)) => Some(Timestamp::cmp(left, right)),
        (left, right) => as_float(left)?.partial_cmp(&as_float(right)?),
    }
}

fn as_float(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Integer(integer) => Some(*integer as f64),
        Value::Float(float) => Some(*float),
        Value::Numeral(numeral) => numeral.parse().ok(),
        _ => None,
    }
}
