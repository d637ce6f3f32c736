//! The filter `urldecode`: replaces `%41` by `A`.
//!
//! A text without a `%` stays where it is; else the decoded bytes, read in `charset`, go into the
//! arena. Arrays and objects are decoded all through.
//!
//! COMPAT: `+` stays, and so does a `%` that two hexadecimal digits do not follow. What is no UTF-8
//! then is written as Ruby's `inspect` writes it, `\xD3` for a byte. Unlike in Logstash a field that is
//! not there is not made.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use crate::codec::Charset;
use crate::event::{Event, MESSAGE, Path, Value};
use crate::filter::common::tags;
use crate::filter::{Context, Filter, Outcome};
use crate::language::Options;

/// The filter.
#[derive(Debug)]
pub struct Urldecode {
    field: Path,
    all_fields: bool,
    charset: Charset,
}

impl Urldecode {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let field = options.field("field").map(|field| field.value);
        // COMPAT: for faults of a charset, none of which can happen here.
        tags(options, "tag_on_failure", &[]);
        let name = options.string("charset").unwrap_or_else(|| "UTF-8".into());
        let charset = match Charset::from_name(&name) {
            Ok(charset) => charset,
            Err(error) => {
                options.error("charset", format!("`charset`: {error}"));
                return None;
            }
        };
        Some(Self {
            field: field.map_or_else(|| Path::new([MESSAGE.as_str()]), |field| Path::from(&field)),
            all_fields: options.boolean("all_fields").unwrap_or(false),
            charset,
        })
    }

    /// Decodes a value, all through.
    fn decode<'b>(&self, value: &mut Value<'b>, arena: &'b Bump) {
        match value {
            Value::Text(text)
                if memchr::memchr(b'%', text).is_some() || self.charset != Charset::Utf8 =>
            {
                *text = self.charset.decode(unescaped(text, arena), arena);
                if std::str::from_utf8(text).is_err() {
                    *text = inspected(text, arena);
                }
            }
            Value::Array(values) => {
                for value in values.iter_mut() {
                    self.decode(value, arena);
                }
            }
            Value::Object(fields) => {
                for (_, value) in fields.iter_mut() {
                    self.decode(value, arena);
                }
            }
            _ => {}
        }
    }
}

impl Filter for Urldecode {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        if self.all_fields {
            for (_, value) in event.fields.iter_mut() {
                self.decode(value, context.arena);
            }
        } else if let Some(value) = event.get_mut(&self.field) {
            self.decode(value, context.arena);
        }
        Outcome::Applied
    }
}

/// The text with every `%41` replaced by its byte.
fn unescaped<'b>(text: &[u8], arena: &'b Bump) -> &'b [u8] {
    let mut bytes = ArenaVec::with_capacity_in(text.len(), arena);
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest) {
        bytes.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let digits = match rest {
            [_, high, low, ..] => digit(high).zip(digit(low)),
            _ => None,
        };
        match digits {
            Some((high, low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &rest[3..];
            }
            None => {
                bytes.push(b'%');
                rest = &rest[1..];
            }
        }
    }
    bytes.extend_from_slice(rest);
    bytes.into_bump_slice()
}

/// A text with broken bytes as Ruby's `inspect` writes it, without the quotes.
fn inspected<'b>(text: &[u8], arena: &'b Bump) -> &'b [u8] {
    let mut out = ArenaVec::with_capacity_in(text.len() * 2, arena);
    for chunk in text.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(character) = characters.next() {
            let escape: &[u8] = match character {
                '"' => b"\\\"",
                '\\' => b"\\\\",
                '\n' => b"\\n",
                '\r' => b"\\r",
                '\t' => b"\\t",
                '\u{1b}' => b"\\e",
                '#' if matches!(characters.peek(), Some('{' | '$' | '@')) => b"\\#",
                other => {
                    out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            out.extend_from_slice(escape);
        }
        for byte in chunk.invalid() {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'\\', b'x', DIGITS[high], DIGITS[low]]);
        }
    }
    out.into_bump_slice()
}
