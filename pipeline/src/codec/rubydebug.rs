//! The codec `rubydebug`: an event for people, as Ruby's "amazing print" lays out a hash.
//!
//! COMPAT: keys are aligned at their right end, each level is indented by four, elements of arrays
//! have their index in front, texts are quoted as `inspect` quotes them, times are bare. Fields
//! stand in the order in which they were set. There are no colours.

use super::{Codec, Decoder};
use crate::event::{Array, Event, Object, Value};
use crate::language::Options;

/// How far each level is indented.
const INDENT: usize = 4;

/// The codec `rubydebug`; it only encodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RubyDebug {
    /// `metadata`: whether `@metadata` is shown.
    pub metadata: bool,
}

impl RubyDebug {
    /// Reads the options of the codec.
    pub fn from_options(options: &mut Options<'_>) -> Self {
        Self {
            metadata: options.boolean("metadata").unwrap_or(false),
        }
    }
}

impl Codec for RubyDebug {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        None
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let metadata = (self.metadata && !event.metadata.is_empty()).then_some(&event.metadata);
        write_object(&event.fields, metadata, INDENT, out);
        out.push(b'\n');
    }
}

fn write_object(
    object: &Object<'_>,
    metadata: Option<&Object<'_>>,
    indent: usize,
    out: &mut Vec<u8>,
) {
    if object.is_empty() && metadata.is_none() {
        out.extend_from_slice(b"{}");
        return;
    }
    let mut names: Vec<(Vec<u8>, usize)> = object
        .iter()
        .map(|(name, _)| quoted(name.as_str()))
        .collect();
    if metadata.is_some() {
        names.push(quoted("@metadata"));
    }
    let width = names.iter().map(|(_, width)| *width).max().unwrap_or(0);
    out.extend_from_slice(b"{\n");
    let mut values = object.iter();
    for (at, (name, name_width)) in names.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b",\n");
        }
        spaces(indent + width - name_width, out);
        out.extend_from_slice(name);
        out.extend_from_slice(b" => ");
        match (values.next(), metadata) {
            (Some((_, value)), _) => write_value(value, indent + INDENT, out),
            (None, Some(metadata)) => write_object(metadata, None, indent + INDENT, out),
            (None, None) => {}
        }
    }
    out.push(b'\n');
    spaces(indent - INDENT, out);
    out.push(b'}');
}

fn write_array(array: &Array<'_>, indent: usize, out: &mut Vec<u8>) {
    if array.is_empty() {
        out.extend_from_slice(b"[]");
        return;
    }
    let width = (array.len() - 1).to_string().len();
    out.extend_from_slice(b"[\n");
    for (at, value) in array.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b",\n");
        }
        spaces(indent, out);
        out.extend_from_slice(format!("[{at:width$}] ").as_bytes());
        write_value(value, indent + INDENT, out);
    }
    out.push(b'\n');
    spaces(indent - INDENT, out);
    out.push(b']');
}

/// Writes a value whose inside, if it has one, is indented by `indent`.
fn write_value(value: &Value<'_>, indent: usize, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"nil"),
        Value::Boolean(boolean) => out.extend_from_slice(boolean.to_string().as_bytes()),
        Value::Integer(integer) => out.extend_from_slice(integer.to_string().as_bytes()),
        Value::Float(float) => out.extend_from_slice(ruby_float(*float).as_bytes()),
        Value::Numeral(numeral) => out.extend_from_slice(numeral.as_bytes()),
        Value::Text(text) => write_quoted(text, out),
        Value::Time(time) => time.write_iso8601(out),
        Value::Array(array) => write_array(array, indent, out),
        Value::Object(object) => write_object(object, None, indent, out),
    }
}

/// A name in quotes, and how many characters that are.
fn quoted(name: &str) -> (Vec<u8>, usize) {
    let mut text = Vec::with_capacity(name.len() + 2);
    write_quoted(name.as_bytes(), &mut text);
    let width = String::from_utf8_lossy(&text).chars().count();
    (text, width)
}

/// A text as Ruby's `String#inspect` shows it.
fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\x0c' => out.extend_from_slice(b"\\f"),
                '\x0b' => out.extend_from_slice(b"\\v"),
                '\x08' => out.extend_from_slice(b"\\b"),
                '\x07' => out.extend_from_slice(b"\\a"),
                '\x1b' => out.extend_from_slice(b"\\e"),
                // What would begin an interpolation.
                '#' if matches!(characters.peek(), Some('{' | '$' | '@')) => {
                    out.extend_from_slice(b"\\#");
                }
                '\x7f' => out.extend_from_slice(b"\\x7F"),
                other if other.is_control() => {
                    out.extend_from_slice(format!("\\u{:04X}", u32::from(other)).as_bytes());
                }
                other => {
                    out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
        }
    }
    out.push(b'"');
}

/// A float as Ruby prints it: with an exponent from 1e16 up and below 1e-4.
fn ruby_float(float: f64) -> String {
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        let infinity = if float > 0.0 { "Infinity" } else { "-Infinity" };
        return infinity.to_owned();
    }
    let magnitude = float.abs();
    if magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{float:?}");
    }
    let text = format!("{float:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}{point}e{sign}{digits:0>2}")
}

fn spaces(count: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + count, b' ');
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;
    use proptest::prelude::*;

    use super::*;
    use crate::event::Timestamp;

    fn shown(json: &str, metadata: bool) -> String {
        let arena = Bump::new();
        let event = Event::from_json(json.as_bytes(), Timestamp::new(0, 0), &arena).unwrap();
        let mut out = Vec::new();
        RubyDebug { metadata }.encode(&event, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn layout() {
        let json = r#"{"message":"a \"b\"\n#{c} # \u0001\u001b","@timestamp":"2023-11-14T22:13:20.123Z","host":{"name":"x","ip":[]},"tags":["a","b"],"list":[[1,{"k":null}],2.5,true],"e":{},"@metadata":{"beat":"f"}}"#;
        let expected = r#"{
       "message" => "a \"b\"\n\#{c} # \u0001\e",
    "@timestamp" => 2023-11-14T22:13:20.123Z,
          "host" => {
        "name" => "x",
          "ip" => []
    },
          "tags" => [
        [0] "a",
        [1] "b"
    ],
          "list" => [
        [0] [
            [0] 1,
            [1] {
                "k" => nil
            }
        ],
        [1] 2.5,
        [2] true
    ],
             "e" => {},
      "@version" => "1"
}
"#;
        assert_eq!(shown(json, false), expected);
        let with_metadata = expected.replace(
            "      \"@version\" => \"1\"\n",
            "      \"@version\" => \"1\",\n     \"@metadata\" => {\n        \"beat\" => \"f\"\n    }\n",
        );
        assert_eq!(shown(json, true), with_metadata);
    }

    #[test]
    fn long_arrays_align_their_indices() {
        let text = shown(r#"{"a":[0,1,2,3,4,5,6,7,8,9,10]}"#, false);
        assert!(
            text.contains("        [ 9] 9,\n        [10] 10\n"),
            "{text}"
        );
    }

    #[test]
    fn floats() {
        for (float, expected) in [
            (1.0, "1.0"),
            (0.0001, "0.0001"),
            (0.00001, "1.0e-05"),
            (1e16, "1.0e+16"),
            (-1.25e100, "-1.25e+100"),
            (123_456_789.5, "123456789.5"),
        ] {
            assert_eq!(ruby_float(float), expected);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown() {
        let mut out = Vec::new();
        write_quoted(b"a\xff\x7f\xc3", &mut out);
        assert_eq!(out, br#""a\xFF\x7F\xC3""#);
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, name: String) {
            let arena = Bump::new();
            let mut event = Event::with_timestamp_in(Timestamp::new(0, 0), &arena);
            event.metadata.set(crate::event::Name::copied_in(&name, &arena), Value::copied_text(&bytes, &arena));
            let mut out = Vec::new();
            RubyDebug { metadata: true }.encode(&event, &mut out);
            prop_assert!(String::from_utf8(out).is_ok());
        }
    }
}
