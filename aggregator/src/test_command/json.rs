//! JSON texts into values with places.
//!
//! What is wrong with a text is said by `serde_json`, which also bounds the depth; the reader here
//! goes through what is known to be right, so that it is short.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use skidder_pipeline::language::{Span, Spanned};

use super::node::{Kind, Member, Node};

/// Why a text is no JSON, and at which byte.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

/// Reads a JSON text; `source` is its number for the places.
pub(crate) fn read(text: &str, source: u32) -> Result<Node, Fault> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let whole = error.to_string();
        let message = whole.split(" at line ").next().unwrap_or(&whole);
        return Err(Fault {
            offset: offset_of(text, error.line(), error.column()),
            message: message.to_owned(),
        });
    }
    Ok(read_valid(text, source))
}

/// Reads a text that is known to be JSON.
pub(crate) fn read_valid(text: &str, source: u32) -> Node {
    let mut reader = Reader {
        text,
        at: 0,
        source,
    };
    reader.value()
}

/// The byte at a line and a column in bytes, both from 1, or the end.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut offset = (before + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    source: u32,
}

impl Reader<'_> {
    fn next(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or_default()
    }

    fn value(&mut self) -> Node {
        let first = self.next();
        let start = self.at;
        let kind = match first {
            b'{' => Kind::Object(self.members()),
            b'[' => {
                self.at += 1;
                let mut values = Vec::new();
                while !matches!(self.next(), b']' | 0) {
                    values.push(self.value());
                    if self.next() == b',' {
                        self.at += 1;
                    }
                }
                self.at += 1;
                Kind::Array(values)
            }
            b'"' => Kind::Text(self.string().into()),
            _ => {
                let rest = self.text.get(start..).unwrap_or_default();
                let end = rest.find([',', ']', '}', ' ', '\t', '\r', '\n']);
                let word = &rest[..end.unwrap_or(rest.len())];
                self.at += word.len();
                match word {
                    "null" | "" => Kind::Null,
                    "true" => Kind::Boolean(true),
                    "false" => Kind::Boolean(false),
                    number => Kind::Number(number.into()),
                }
            }
        };
        let end = self.at.min(self.text.len());
        Node::new(kind, Span::new(self.source, start.min(end), end))
    }

    fn members(&mut self) -> Vec<Member> {
        self.at += 1;
        let mut members: Vec<Member> = Vec::new();
        while !matches!(self.next(), b'}' | 0) {
            let start = self.at;
            let key = self.string();
            let key = Spanned::new(key, Span::new(self.source, start, self.at));
            if self.next() == b':' {
                self.at += 1;
            }
            let value = self.value();
            members.push(Member { key, value });
            if self.next() == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        members
    }

    /// A string, which begins here.
    fn string(&mut self) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut escaped = false;
        let end = rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let literal = &rest[..end.map_or(rest.len(), |end| end + 2)];
        self.at += literal.len().max(1);
        unescaped(literal)
    }
}

/// The text of a string in quotes.
fn unescaped(literal: &str) -> String {
    let inner = literal.get(1..literal.len().saturating_sub(1));
    let inner = inner.unwrap_or_default();
    if !inner.contains('\\') {
        return inner.to_owned();
    }
    match serde_json::from_str::<String>(literal) {
        Ok(text) => text,
        // Half of a surrogate pair stands alone: nothing else can be wrong here.
        Err(_) => String::from_utf8_lossy(&lone_surrogates(literal)).into_owned(),
    }
}

/// Reads a string as the pipeline does, which makes U+FFFD of the half of a pair.
fn lone_surrogates(literal: &str) -> Cow<'_, [u8]> {
    use skidder_pipeline::event::{JsonLimits, Value, read_json};
    let arena = bumpalo::Bump::new();
    match read_json(literal.as_bytes(), JsonLimits::default(), &arena) {
        Ok(Value::Text(text)) => Cow::Owned(text.to_vec()),
        _ => Cow::Borrowed(literal.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_have_their_places() {
        let text = " { \"a\\n\" : [ 1.50, \"b\\\"\" , {} ], \"c\":null} ";
        let node = read(text, 3).unwrap();
        assert_eq!(node.to_json(), r#"{"a\n":[1.50,"b\"",{}],"c":null}"#);
        let slice = |node: &Node| &text[node.span.range()];
        let array = node.get("a\n").unwrap();
        assert_eq!(slice(array), "[ 1.50, \"b\\\"\" , {} ]");
        let Kind::Array(values) = &array.kind else {
            panic!("an array")
        };
        assert_eq!(
            values.iter().map(slice).collect::<Vec<_>>(),
            ["1.50", "\"b\\\"\"", "{}"]
        );
        assert_eq!(&text[node.members()[1].key.span.range()], "\"c\"");
        assert_eq!(node.span.source, 3);
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        let fault = read("{\"a\": 1,\n \"ä\": }", 0).unwrap_err();
        assert_eq!(
            (fault.offset, fault.message.as_str()),
            (16, "expected value")
        );
        assert!(read(&"[".repeat(100_000), 0).is_err());
        assert_eq!(read("", 0).unwrap_err().offset, 0);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            drop(read(&text, 0));
            drop(read_valid(&text, 0));
        }

        #[test]
        fn reads_what_serde_reads(text in "[\\[\\]{}\":,0-9a\\\\u ]{0,30}") {
            let (ours, theirs) = (read(&text, 0), serde_json::from_str::<serde_json::Value>(&text));
            if let (Ok(ours), Ok(theirs)) = (&ours, &theirs) {
                let again: serde_json::Value = serde_json::from_str(&ours.to_json()).unwrap();
                // A name may stand in an object twice, and a number may be as exact as it likes.
                prop_assert_eq!(again, theirs.clone());
            }
        }
    }
}
