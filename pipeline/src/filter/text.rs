//! Values as texts, the way Ruby's `to_s` prints them: what filters look up, hash and compare.

use std::fmt::Write as _;

use bumpalo::Bump;

use crate::event::Value;
use crate::number_text::{write_ruby_float, write_whole};

/// The text of a value; only one that is no text takes memory of the arena.
pub(crate) fn text_of<'b>(value: &Value<'b>, arena: &'b Bump) -> &'b [u8] {
    match value {
        Value::Text(text) => text,
        Value::Null => b"",
        Value::Boolean(true) => b"true",
        Value::Boolean(false) => b"false",
        Value::Numeral(numeral) => numeral.as_bytes(),
        Value::Integer(integer) => printed(format_args!("{integer}"), arena).as_bytes(),
        other => {
            let mut out = Vec::with_capacity(32);
            write_text(other, &mut out);
            arena.alloc_slice_copy(&out)
        }
    }
}

/// A text that is put together in the arena.
pub(crate) fn printed<'b>(text: std::fmt::Arguments<'_>, arena: &'b Bump) -> &'b str {
    let mut out = bumpalo::collections::String::new_in(arena);
    // Writing to memory does not fail.
    out.write_fmt(text).unwrap_or_default();
    out.into_bump_str()
}

/// Appends the text of a value.
pub(crate) fn write_text(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Boolean(boolean) => out.extend_from_slice(boolean.to_string().as_bytes()),
        Value::Integer(integer) => write_whole(*integer, out),
        Value::Float(float) => write_ruby_float(*float, out),
        Value::Numeral(numeral) => out.extend_from_slice(numeral.as_bytes()),
        Value::Text(text) => out.extend_from_slice(text),
        Value::Time(time) => time.write_iso8601(out),
        Value::Array(_) | Value::Object(_) => inspect(value, out),
    }
}

/// Appends a value as Ruby's `inspect` shows it: `["a", {"b"=>1}]`.
fn inspect(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"nil"),
        Value::Text(text) => crate::event::write_json_text(text, out),
        Value::Array(array) => {
            out.push(b'[');
            for (at, each) in array.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                inspect(each, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (at, (name, each)) in object.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                crate::event::write_json_text(name.as_str().as_bytes(), out);
                out.extend_from_slice(b"=>");
                inspect(each, out);
            }
            out.push(b'}');
        }
        other => write_text(other, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{JsonLimits, read_json};

    #[test]
    fn prints_as_ruby_does() {
        let arena = Bump::new();
        for (json, expected) in [
            (r#""a b""#, "a b"),
            ("1", "1"),
            ("1.0", "1.0"),
            ("1e20", "1.0e+20"),
            ("true", "true"),
            ("null", ""),
            ("12345678901234567890", "12345678901234567890"),
            (r#"["a",null,{"b":[1]}]"#, r#"["a", nil, {"b"=>[1]}]"#),
        ] {
            let value = read_json(json.as_bytes(), JsonLimits::default(), &arena).unwrap();
            let text = text_of(&value, &arena);
            assert_eq!(String::from_utf8_lossy(text), expected);
        }
    }
}
