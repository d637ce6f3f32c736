//! The mappings of `dissect`: `%{a->} [%{b}] %{+b/2} %{?c}=%{&c}`.
//!
//! A mapping is a list of fields with the text before each of them, and perhaps text behind the
//! last. [`Mapping::find`] cuts a line, [`Mapping::saves`] says what becomes of the pieces.
//!
//! COMPAT: names and suffixes are read as version 1.2 of Logstash's plugin reads them; text behind
//! the last field counts only from its last `}` on.

use std::collections::HashMap;

use memchr::memmem::Finder;
use thiserror::Error;

use crate::event::Path;
use crate::language::{EscapeStyle, FieldReference, FieldReferenceError};

/// A compiled mapping.
#[derive(Debug)]
pub(super) struct Mapping {
    /// What the line must start with.
    lead: Box<[u8]>,
    /// What ends each field but the last.
    delimiters: Box<[Delimiter]>,
    /// What becomes of the values: plain fields, then those that are put together, then those whose
    /// names are values.
    pub(super) saves: Box<[Save]>,
    /// Text behind the last field that is not looked at.
    ignored: bool,
}

#[derive(Debug)]
struct Delimiter {
    text: Box<[u8]>,
    /// For delimiters longer than a byte.
    finder: Option<Finder<'static>>,
    /// Several of it in a row count as one.
    padding: bool,
}

/// A value that is stored.
#[derive(Debug)]
pub(super) struct Save {
    pub(super) target: Target,
    /// What it is put together of.
    pub(super) pieces: Box<[Piece]>,
    /// It goes behind the value that is there.
    pub(super) appends: bool,
}

/// Where a value is stored.
#[derive(Debug)]
pub(super) enum Target {
    Path(Path),
    /// The field with this name.
    Indirect(KeySource),
}

/// Where the name of a field is read.
#[derive(Debug)]
pub(super) enum KeySource {
    /// From the line.
    Capture(usize),
    /// From the event, or else from the line.
    Field(Path, Option<usize>),
}

/// A piece of a value and what joins it to the piece before.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) capture: usize,
    pub(super) join: Box<[u8]>,
}

/// Why a mapping cannot be used.
#[derive(Debug, Error)]
pub(super) enum MappingError {
    #[error("the mapping is empty: write text with fields such as `%{{name}}`")]
    Empty,
    #[error("the mapping has no field: write one as `%{{name}}`")]
    NoField,
    #[error("the field `%{{{0}}}` has both prefixes `+` and `&`, which cannot be combined")]
    MixedPrefixes(String),
    #[error("the field `%{{{0}}}` has a prefix but no name")]
    NoName(String),
    #[error("the field `%{{{0}}}`: {1}")]
    Reference(String, FieldReferenceError),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Skip,
    Normal,
    Append(u32),
    Key,
    Indirect,
}

/// A field as it is written.
struct Field<'m> {
    written: &'m str,
    kind: Kind,
    name: &'m str,
    padding: bool,
    /// The text before it.
    before: &'m str,
}

impl Mapping {
    /// Reads a mapping.
    pub(super) fn parse(text: &str, escape_style: EscapeStyle) -> Result<Self, MappingError> {
        if text.is_empty() {
            return Err(MappingError::Empty);
        }
        let (fields, rest) = fields_of(text)?;
        let (Some(first), true) = (fields.first(), text.contains('}')) else {
            return Err(MappingError::NoField);
        };
        // COMPAT: of the text behind the last field only what follows its last `}`.
        let end = rest.rsplit('}').next().unwrap_or_default();
        let mut delimiters: Vec<_> = fields
            .windows(2)
            .map(|pair| Delimiter::new(pair[1].before, pair[0].padding))
            .collect();
        if !end.is_empty() {
            let padding = fields.last().is_some_and(|field| field.padding);
            delimiters.push(Delimiter::new(end, padding));
        }
        Ok(Self {
            lead: first.before.as_bytes().into(),
            delimiters: delimiters.into(),
            saves: saves_of(&fields, escape_style)?.into(),
            ignored: end.len() != rest.len(),
        })
    }

    /// What is odd about it.
    pub(super) fn warnings(&self, text: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.delimiters.iter().any(|each| each.text.is_empty()) {
            warnings.push(format!(
                "`{text}` never matches: two fields need text between them"
            ));
        }
        if self.ignored {
            warnings.push(
                "of the text behind the last field only what follows its last `}` is looked at"
                    .to_owned(),
            );
        }
        warnings
    }

    /// Cuts a line; answers whether it fits. `spans` are start and end of each value then.
    pub(super) fn find(&self, line: &[u8], spans: &mut Vec<(usize, usize)>) -> bool {
        spans.clear();
        if line.is_empty() || !line.starts_with(&self.lead) {
            return false;
        }
        let mut start = self.lead.len();
        for delimiter in &self.delimiters {
            let Some(length) = delimiter.find(&line[start..]) else {
                return false;
            };
            spans.push((start, start + length));
            start += length + delimiter.text.len();
            while delimiter.padding && line[start..].starts_with(&delimiter.text) {
                start += delimiter.text.len();
            }
        }
        // Without a field behind the last delimiter nothing asks for it.
        spans.push((start, line.len()));
        true
    }
}

impl Delimiter {
    fn new(text: &str, padding: bool) -> Self {
        let text: Box<[u8]> = text.as_bytes().into();
        Self {
            finder: (text.len() > 1).then(|| Finder::new(&text).into_owned()),
            text,
            padding,
        }
    }

    fn find(&self, line: &[u8]) -> Option<usize> {
        match (&self.finder, &*self.text) {
            (Some(finder), _) => finder.find(line),
            (None, [byte]) => memchr::memchr(*byte, line),
            // COMPAT: nothing between two fields is never found.
            (None, _) => None,
        }
    }
}

/// The fields of a mapping and the text behind the last.
fn fields_of(text: &str) -> Result<(Vec<Field<'_>>, &str), MappingError> {
    let mut fields = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find("%{") {
        let Some(length) = rest[open + 2..].find('}') else {
            break;
        };
        let written = &rest[open + 2..open + 2 + length];
        fields.push(Field::parse(written, &rest[..open])?);
        rest = &rest[open + 2 + length + 1..];
    }
    Ok((fields, rest))
}

impl<'m> Field<'m> {
    fn parse(written: &'m str, before: &'m str) -> Result<Self, MappingError> {
        let mixed = ["+&", "&+"].iter().any(|both| written.starts_with(both));
        if mixed {
            return Err(MappingError::MixedPrefixes(written.to_owned()));
        }
        let prefix = written.chars().next();
        let rest = match prefix {
            Some('?' | '+' | '&' | '*') => &written[1..],
            _ => written,
        };
        let (name, order, padding) = suffix_of(rest);
        let kind = match prefix {
            Some('?') => Kind::Skip,
            Some('+') => Kind::Append(order.unwrap_or(0)),
            Some('&') => Kind::Indirect,
            Some('*') => Kind::Key,
            _ if name.is_empty() => Kind::Skip,
            _ => Kind::Normal,
        };
        if name.is_empty() && kind != Kind::Skip {
            return Err(MappingError::NoName(written.to_owned()));
        }
        Ok(Self {
            written,
            kind,
            name,
            padding,
            before,
        })
    }

    fn path(&self, escape_style: EscapeStyle) -> Result<Path, MappingError> {
        FieldReference::parse_with(self.name, escape_style)
            .map(|reference| Path::from(&reference))
            .map_err(|error| MappingError::Reference(self.written.to_owned(), error))
    }
}

/// Takes `->` and `/12` off the end of a name, in any order, each once.
fn suffix_of(text: &str) -> (&str, Option<u32>, bool) {
    let order = |text: &str| -> Option<(usize, u32)> {
        let slash = text.rfind('/')?;
        let digits = &text[slash + 1..];
        let is_order =
            matches!(digits.len(), 1..=2) && digits.bytes().all(|byte| byte.is_ascii_digit());
        Some((slash, is_order.then(|| digits.parse().ok()).flatten()?))
    };
    if let Some(name) = text.strip_suffix("->") {
        return match order(name) {
            Some((slash, number)) => (&name[..slash], Some(number), true),
            None => (name, None, true),
        };
    }
    match order(text) {
        Some((slash, number)) => match text[..slash].strip_suffix("->") {
            Some(name) => (name, Some(number), true),
            None => (&text[..slash], Some(number), false),
        },
        None => (text, None, false),
    }
}

/// What is stored, in order.
fn saves_of(fields: &[Field<'_>], escape_style: EscapeStyle) -> Result<Vec<Save>, MappingError> {
    let mut saves = Vec::new();
    // Where the value of each name is put together.
    let mut places: HashMap<&str, usize> = HashMap::new();
    let piece = |capture: usize| Piece {
        capture,
        join: match fields[capture].before {
            "" => b" ".as_slice().into(),
            before => before.as_bytes().into(),
        },
    };
    let numbered = |wanted: fn(Kind) -> bool| {
        let numbered = fields.iter().enumerate();
        numbered.filter(move |(_, field)| wanted(field.kind))
    };
    let mut pieces: Vec<Vec<Piece>> = Vec::new();
    for (capture, field) in numbered(|kind| kind == Kind::Normal) {
        // Of two with one name the last counts.
        places.insert(field.name, saves.len());
        saves.push((Target::Path(field.path(escape_style)?), false));
        pieces.push(vec![piece(capture)]);
    }
    let mut appended: Vec<_> = numbered(|kind| matches!(kind, Kind::Append(_))).collect();
    appended.sort_by_key(|(_, field)| match field.kind {
        Kind::Append(order) => order,
        _ => 0,
    });
    for (capture, field) in appended {
        if let Some(place) = places.get(field.name) {
            pieces[*place].push(piece(capture));
            continue;
        }
        places.insert(field.name, saves.len());
        saves.push((Target::Path(field.path(escape_style)?), true));
        pieces.push(vec![piece(capture)]);
    }
    for (capture, field) in numbered(|kind| kind == Kind::Indirect) {
        let named = |kind: fn(Kind) -> bool| {
            fields.iter().enumerate().position(|(index, other)| {
                index != capture && other.name == field.name && kind(other.kind)
            })
        };
        let source = match named(|kind| kind == Kind::Key) {
            Some(key) => KeySource::Capture(key),
            None => KeySource::Field(field.path(escape_style)?, named(|_| true)),
        };
        saves.push((Target::Indirect(source), false));
        pieces.push(vec![piece(capture)]);
    }
    let saves = saves.into_iter().zip(pieces);
    Ok(saves
        .map(|((target, appends), pieces)| Save {
            target,
            pieces: pieces.into(),
            appends,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn suffixes() {
        for (text, expected) in [
            ("a", ("a", None, false)),
            ("a->", ("a", None, true)),
            ("a/2", ("a", Some(2), false)),
            ("a/12->", ("a", Some(12), true)),
            ("a->/3", ("a", Some(3), true)),
            ("a/123", ("a/123", None, false)),
            ("a/b", ("a/b", None, false)),
            ("->", ("", None, true)),
            ("", ("", None, false)),
        ] {
            assert_eq!(suffix_of(text), expected, "{text}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (mapping, message) in [
            ("", "is empty"),
            ("text", "has no field"),
            ("%{open", "has no field"),
            ("%{+&a}", "both prefixes"),
            ("%{&+a}", "both prefixes"),
            ("%{+}", "no name"),
            ("%{&->}", "no name"),
            ("%{*}", "no name"),
            ("%{a[b]}", "[a][b]"),
        ] {
            let error = Mapping::parse(mapping, EscapeStyle::None)
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{mapping}: {error}");
        }
    }

    fn cut(mapping: &str, line: &str) -> Option<Vec<String>> {
        let mapping = Mapping::parse(mapping, EscapeStyle::None).unwrap();
        let mut spans = Vec::new();
        mapping.find(line.as_bytes(), &mut spans).then(|| {
            let spans = spans.iter();
            spans
                .map(|(start, end)| line[*start..*end].to_owned())
                .collect()
        })
    }

    #[test]
    fn lines_are_cut() {
        for (mapping, line, expected) in [
            ("%{a},%{b}", ",x", Some(vec!["", "x"])),
            ("%{a},%{b},%{c}", ",,x", Some(vec!["", "", "x"])),
            ("<%{a}>", "<x> y", Some(vec!["x", " y"])),
            ("<%{a}>", "x <y>", None),
            ("%{a->} %{b}", "x    y", Some(vec!["x", "y"])),
            ("%{a->}", "x", Some(vec!["x"])),
            ("%{a}%{b}", "xy", None),
            ("%{a}", "", None),
            (r#"{"a":"%{a}"}"#, r#"{"a":"x"}"#, Some(vec![r#"x"}"#])),
        ] {
            let expected = expected.map(|values| values.into_iter().map(String::from).collect());
            assert_eq!(cut(mapping, line), expected, "{mapping} {line}");
        }
    }

    proptest! {
        #[test]
        fn no_mapping_and_no_line_does_harm(mapping in r"([%{}>/&+?*a 0-9-]|%\{\PC{0,3}\}){0,12}", line in "[a %0-9-]{0,40}") {
            if let Ok(mapping) = Mapping::parse(&mapping, EscapeStyle::None) {
                let mut spans = Vec::new();
                if mapping.find(line.as_bytes(), &mut spans) {
                    prop_assert!(spans.iter().all(|(start, end)| start <= end && *end <= line.len()));
                    for save in &mapping.saves {
                        prop_assert!(save.pieces.iter().all(|piece| piece.capture < spans.len()));
                    }
                }
            }
        }
    }
}
