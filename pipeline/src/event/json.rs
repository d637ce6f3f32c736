//! Events and values as JSON text (RFC 8259), straight into a buffer.
//!
//! This is on the hot path: every document of a bulk request is written here. Texts that are not
//! UTF-8 are made so by U+FFFD, as RFC 8259 asks for; numbers that JSON has no word for (NaN,
//! infinities) become null.

use std::io::Write as _;

use super::{Event, Object, Timestamp, Value};
use crate::number_text::write_whole;

/// Appends the event as a JSON object. `@metadata` is left out.
pub fn write_json(event: &Event<'_>, out: &mut Vec<u8>) {
    write_object(&event.fields, out);
}

/// Appends one value as JSON.
pub fn write_json_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Integer(integer) => write_whole(*integer, out),
        Value::Float(float) => write_float(*float, out),
        Value::Numeral(numeral) => out.extend_from_slice(numeral.as_bytes()),
        Value::Text(text) => write_json_text(text, out),
        Value::Time(timestamp) => write_timestamp(*timestamp, out),
        Value::Array(array) => {
            out.push(b'[');
            for (at, value) in array.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_json_value(value, out);
            }
            out.push(b']');
        }
        Value::Object(object) => write_object(object, out),
    }
}

fn write_object(object: &Object<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (name, value)) in object.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_json_text(name.as_str().as_bytes(), out);
        out.push(b':');
        write_json_value(value, out);
    }
    out.push(b'}');
}

fn write_timestamp(timestamp: Timestamp, out: &mut Vec<u8>) {
    out.push(b'"');
    timestamp.write_iso8601(out);
    out.push(b'"');
}

/// The shortest decimal that reads back as the same number, always with a point or an exponent, so
/// that a float stays one for whoever reads it.
fn write_float(float: f64, out: &mut Vec<u8>) {
    if float.is_finite() {
        // Writing to memory does not fail.
        write!(out, "{float:?}").unwrap_or_default();
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends `text` as a JSON string.
pub fn write_json_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    // One test for the whole text keeps the common case (ASCII or valid UTF-8) off the slow path.
    if text.is_ascii() || std::str::from_utf8(text).is_ok() {
        write_escaped(text, out);
    } else {
        for chunk in text.utf8_chunks() {
            write_escaped(chunk.valid().as_bytes(), out);
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{FFFD}".as_bytes());
            }
        }
    }
    out.push(b'"');
}

/// Appends valid UTF-8 with `"`, `\` and control characters escaped; runs without any are copied
/// whole.
fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| ESCAPE[*byte as usize] != 0) {
        out.extend_from_slice(&rest[..at]);
        match ESCAPE[rest[at] as usize] {
            b'u' => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let byte = rest[at] as usize;
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[byte >> 4], HEX[byte & 15]]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// For each byte, 0 if it stands for itself, else the letter after the backslash.
const ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_json_text(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts() {
        assert_eq!(text(b"a\"b\\c\n\x01"), r#""a\"b\\c\n\u0001""#);
        assert_eq!(text("é\u{1F600}".as_bytes()), "\"é\u{1F600}\"");
        assert_eq!(text(b"a\xffb\xc3"), "\"a\u{FFFD}b\u{FFFD}\"");
    }

    #[test]
    fn numbers() {
        for (value, expected) in [
            (Value::Integer(i64::MIN), "-9223372036854775808"),
            (Value::Integer(0), "0"),
            (Value::Float(1.0), "1.0"),
            (Value::Float(0.1), "0.1"),
            (Value::Float(f64::NAN), "null"),
            (
                Value::Numeral("123456789012345678901234567890"),
                "123456789012345678901234567890",
            ),
        ] {
            let mut out = Vec::new();
            write_json_value(&value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_json_string(bytes: Vec<u8>) {
            let expected = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert_eq!(serde_json::from_str::<String>(&text(&bytes)).unwrap(), expected);
        }

        #[test]
        fn any_float_reads_back(float: f64) {
            let mut out = Vec::new();
            write_float(float, &mut out);
            let back = String::from_utf8(out).unwrap().parse().ok();
            prop_assert_eq!(back, float.is_finite().then_some(float));
        }
    }
}
