//! YAML texts into values with places.
//!
//! COMPAT: plain words mean what they mean to logstash-filter-verifier, which reads YAML 1.1: `yes`,
//! `no`, `on`, `off`, `y` and `n` are booleans, `017` is fifteen, and what is in quotes is a text. Aliases
//! and merge keys (`<<`) are followed; a value that comes from an alias stands where the alias does.
//!
//! Bounds: [`MAX_VALUES`] values (those of aliases count each time), [`MAX_DEPTH`] levels.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Span as Range, Tag};
use skidder_pipeline::language::{Span, Spanned};

use super::json::Fault;
use super::node::{Kind, Member, Node};

/// Values that one file may hold.
pub(super) const MAX_VALUES: usize = 1 << 20;
/// Levels of nesting in one file.
pub(super) const MAX_DEPTH: usize = 100;

const TOO_MANY: &str = "too many values in one file";

/// Reads a YAML text of one document; `source` is its number for the places.
pub(super) fn read(text: &str, source: u32) -> Result<Node, Fault> {
    let mut builder = Builder {
        text,
        source,
        anchors: HashMap::new(),
        open: Vec::new(),
        root: None,
        values: 0,
        end: 0,
    };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, range) = event.map_err(|error| Fault {
            offset: offset(text, error.marker()),
            message: error.info(),
        })?;
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                return Err(builder.fault(&range, "a second document begins; keep one in a file"));
            }
        }
        builder.take(event, &range)?;
    }
    let end = Span::new(source, text.len(), text.len());
    Ok(builder.root.unwrap_or(Node::new(Kind::Null, end)))
}

/// Where a marker stands, in bytes.
fn offset(text: &str, marker: &Marker) -> usize {
    let bytes = marker.byte_offset();
    let mut offset = bytes.map_or_else(
        || {
            text.char_indices()
                .nth(marker.index())
                .map_or(text.len(), |(at, _)| at)
        },
        |bytes| bytes.min(text.len()),
    );
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

struct Builder<'t> {
    text: &'t str,
    source: u32,
    anchors: HashMap<usize, Node>,
    open: Vec<Open>,
    root: Option<Node>,
    values: usize,
    /// Where the last scalar, alias or bracket ended: there ends a block, too.
    end: usize,
}

struct Open {
    start: usize,
    anchor: usize,
    is_flow: bool,
    parts: Parts,
}

enum Parts {
    Array(Vec<Node>),
    Object {
        members: Vec<Member>,
        key: Option<Node>,
    },
}

impl Builder<'_> {
    fn fault(&self, range: &Range, message: &str) -> Fault {
        Fault {
            offset: offset(self.text, &range.start),
            message: message.to_owned(),
        }
    }

    fn take(&mut self, event: Event<'_>, range: &Range) -> Result<(), Fault> {
        let start = offset(self.text, &range.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.end = self.content_end(start, offset(self.text, &range.end));
                let kind = scalar(text, style, tag.as_deref());
                let kind = kind.map_err(|message| self.fault(range, message))?;
                let span = Span::new(self.source, start.min(self.end), self.end);
                self.finish(Node::new(kind, span), anchor, range)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(start, anchor, Parts::Array(Vec::new()), range)
            }
            Event::MappingStart(_, anchor, _) => {
                let parts = Parts::Object {
                    members: Vec::new(),
                    key: None,
                };
                self.open(start, anchor, parts, range)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                if open.is_flow {
                    self.end = offset(self.text, &range.end);
                }
                let kind = match open.parts {
                    Parts::Array(values) => Kind::Array(values),
                    Parts::Object { members, .. } => Kind::Object(merged(members)),
                };
                let end = self.end.max(open.start);
                let span = Span::new(self.source, open.start, end);
                self.finish(Node::new(kind, span), open.anchor, range)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(self.fault(range, "an alias inside the value it stands for"));
                };
                self.values += count(node);
                if self.values > MAX_VALUES {
                    return Err(self.fault(range, TOO_MANY));
                }
                let mut node = node.clone();
                self.end = offset(self.text, &range.end);
                node.span = Span::new(self.source, start.min(self.end), self.end);
                self.finish(node, 0, range)
            }
            _ => Ok(()),
        }
    }

    /// Where the content of a scalar ends, without what follows a block.
    fn content_end(&self, start: usize, end: usize) -> usize {
        let content = self.text.get(start..end.max(start)).unwrap_or_default();
        start + content.trim_end_matches([' ', '\t', '\r', '\n']).len()
    }

    fn open(
        &mut self,
        start: usize,
        anchor: usize,
        parts: Parts,
        range: &Range,
    ) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fault(range, "nested too deeply"));
        }
        let first = self.text.as_bytes().get(start);
        self.open.push(Open {
            start,
            anchor,
            is_flow: matches!(first, Some(b'[' | b'{')),
            parts,
        });
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize, range: &Range) -> Result<(), Fault> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.fault(range, TOO_MANY));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(node),
            Some(Parts::Array(values)) => values.push(node),
            Some(Parts::Object { members, key }) => match key.take() {
                None => *key = Some(node),
                Some(key) => {
                    let name = match (&key.kind, self.text.get(key.span.range())) {
                        (Kind::Text(text), _) => text.to_string(),
                        (_, Some(typed)) => typed.to_owned(),
                        _ => String::new(),
                    };
                    members.push(Member {
                        key: Spanned::new(name, key.span),
                        value: node,
                    });
                }
            },
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    match &node.kind {
        Kind::Array(values) => 1 + values.iter().map(count).sum::<usize>(),
        Kind::Object(members) => {
            let values = members.iter().map(|member| count(&member.value));
            1 + values.sum::<usize>()
        }
        _ => 1,
    }
}

/// Puts the fields of `<<` where they are not given otherwise.
fn merged(members: Vec<Member>) -> Vec<Member> {
    if members.iter().all(|member| member.key.value != "<<") {
        return members;
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = members
        .into_iter()
        .partition(|member| member.key.value == "<<");
    for merge in merges {
        let bases = match merge.value.kind {
            Kind::Array(bases) => bases,
            _ => vec![merge.value],
        };
        for base in bases {
            for member in base.members() {
                if own.iter().all(|own| own.key.value != member.key.value) {
                    own.push(member.clone());
                }
            }
        }
    }
    own
}

/// What a scalar means.
fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Kind, &'static str> {
    let is_text = tag.is_some_and(|tag| tag.suffix() == "str");
    if is_text || !matches!(style, ScalarStyle::Plain) {
        return Ok(Kind::Text(text.into_owned().into()));
    }
    Ok(match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Kind::Boolean(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Kind::Boolean(false)
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF"
        | ".nan" | ".NaN" | ".NAN" => {
            return Err("no event can hold this number; write it in quotes if it is a text");
        }
        plain => match number(plain) {
            Some(number) => Kind::Number(number.into()),
            None => Kind::Text(plain.into()),
        },
    })
}

/// Whether a text without quotes would be read as a text.
pub(super) fn is_plain_text(text: &str) -> bool {
    let read = scalar(Cow::Borrowed(text), ScalarStyle::Plain, None);
    matches!(read, Ok(Kind::Text(_)))
}

/// A plain word as a number of JSON.
fn number(word: &str) -> Option<String> {
    let first = word.bytes().next()?;
    if !matches!(first, b'0'..=b'9' | b'+' | b'-' | b'.') {
        return None;
    }
    let digits = word.replace('_', "");
    let (sign, magnitude) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let (radix, rest) = match magnitude.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &magnitude[2..]),
        [b'0', b'o' | b'O', ..] => (8, &magnitude[2..]),
        [b'0', b'b' | b'B', ..] => (2, &magnitude[2..]),
        [b'0', b'0'..=b'9', ..] => (8, &magnitude[1..]),
        _ => (10, magnitude),
    };
    let is_whole = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_whole && let Ok(whole) = u64::from_str_radix(rest, radix) {
        return Some(format!("{sign}{whole}"));
    }
    if !is_decimal(magnitude) {
        return None;
    }
    // JSON wants digits on both sides of a point, and no zeros in front.
    let (mantissa, exponent) = match magnitude.find(['e', 'E']) {
        Some(at) => magnitude.split_at(at),
        None => (magnitude, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let fraction = if fraction.is_empty() {
        String::new()
    } else {
        format!(".{fraction}")
    };
    Some(format!("{sign}{whole}{fraction}{exponent}"))
}

/// Digits with a point and an exponent, as the verifier has it.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa && exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_mean_what_the_verifier_takes_them_for() {
        for (word, json) in [
            ("yes", "true"),
            ("'yes'", "\"yes\""),
            ("off", "false"),
            ("~", "null"),
            ("12", "12"),
            ("-012", "-10"),
            ("08", "8"),
            ("0x1F", "31"),
            ("+1_000", "1000"),
            ("1.", "1"),
            (".5", "0.5"),
            ("1e3", "1e3"),
            ("007.50", "7.50"),
            ("1.2.3.4", "\"1.2.3.4\""),
            ("12:30", "\"12:30\""),
            ("2015-10-06T20:55:29.000Z", "\"2015-10-06T20:55:29.000Z\""),
            ("!!str 12", "\"12\""),
            ("-", "\"-\""),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
        ] {
            let text = format!("a: {word}");
            if word == "-" {
                continue;
            }
            let node = read(&text, 0).unwrap();
            assert_eq!(node.get("a").unwrap().to_json(), json, "{word}");
        }
        assert!(read("a: .inf", 0).is_err());
    }

    #[test]
    fn places_end_where_the_content_does() {
        let text = "---\na: # x\n  - b: 1   # y\n    c: |\n      one\n      two\n\n  - [ x,\n    y ]\nd: 'q'\n";
        let node = read(text, 0).unwrap();
        let slice = |node: &Node| &text[node.span.range()];
        let Kind::Array(values) = &node.get("a").unwrap().kind else {
            panic!("an array")
        };
        assert_eq!(
            slice(&values[0]),
            "b: 1   # y\n    c: |\n      one\n      two"
        );
        assert_eq!(slice(&values[1]), "[ x,\n    y ]");
        assert_eq!(slice(node.get("d").unwrap()), "'q'");
        assert_eq!(values[0].get("c").unwrap().text(), Some("one\ntwo\n"));
    }

    #[test]
    fn aliases_and_merges_are_followed_within_bounds() {
        let text = "base: &b { x: 1, y: 2 }\nuse:\n  <<: *b\n  y: 3\n7: *b\n";
        let node = read(text, 0).unwrap();
        let expected = r#"{"base":{"x":1,"y":2},"use":{"y":3,"x":1},"7":{"x":1,"y":2}}"#;
        assert_eq!(node.to_json(), expected);
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb = format!("{bomb}a{level}: &a{level} [{below}]\n");
        }
        let fault = read(&bomb, 0).unwrap_err();
        assert!(
            fault.message.contains("too many values"),
            "{}",
            fault.message
        );
        assert!(read(&"[".repeat(500), 0).is_err());
        assert!(read("a: 1\n---\nb: 2\n", 0).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\PC\n\t]{0,60}") {
            drop(read(&text, 0));
        }

        #[test]
        fn pieces_of_yaml_are_read_or_refused(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "a", ": ", "- ", "\n", "  ", "[", "]", "{", "}", ", ", "&x ", "*x", "<<", "|",
                    ">", "'", "\"", "\\", "#", "é", "---\n", "!!str ", "0x", "1", "e9", "? ",
                ]),
                0..25,
            )
        ) {
            let text = pieces.concat();
            if let Ok(node) = read(&text, 0) {
                prop_assert!(text.get(node.span.range()).is_some());
            }
        }
    }
}
