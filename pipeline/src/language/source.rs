//! The texts a configuration is made of, and places in them.
//!
//! A pipeline is often several files, merged in name order. Each file is one [`Source`] of a
//! [`SourceMap`]; a [`Span`] names a range of bytes in one of them and is small enough to be
//! kept with every node of the tree. Lines and columns are worked out only when a message is
//! shown, because the happy path never needs them.
//!
//! INVARIANT: a span made by the parser lies inside its source and on character boundaries.

use std::ops::Range;
use std::sync::Arc;

/// One text: a file, or the string of `-e`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What messages call it: the path of the file, or a word like `config string`.
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
}

/// All texts of one configuration, in the order in which they are merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceMap {
    sources: Vec<Source>,
}

impl SourceMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// A map of one text.
    pub fn single(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        let mut map = Self::new();
        map.add(name, text);
        map
    }

    /// Adds a text and returns its number, which spans carry.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> u32 {
        let number = self.sources.len() as u32;
        self.sources.push(Source {
            name: name.into(),
            text: text.into(),
        });
        number
    }

    /// The text with that number.
    pub fn get(&self, number: u32) -> Option<&Source> {
        self.sources.get(number as usize)
    }

    /// All texts, in merge order.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The text a span covers; empty where the span does not fit (it came from another map).
    pub fn text(&self, span: Span) -> &str {
        self.get(span.source)
            .and_then(|source| source.text.get(span.range()))
            .unwrap_or_default()
    }

    /// Where a span starts, for people: lines and columns count from 1, columns in characters.
    pub fn position(&self, span: Span) -> Option<Position<'_>> {
        let source = self.get(span.source)?;
        let before = source.text.get(..span.start as usize)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some(Position {
            name: &source.name,
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }
}

/// A place as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'a> {
    /// Name of the source.
    pub name: &'a str,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl std::fmt::Display for Position<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}:{}", self.name, self.line, self.column)
    }
}

/// A range of bytes of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// Number of the source in its [`SourceMap`].
    pub source: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// A span from byte offsets.
    pub fn new(source: u32, start: usize, end: usize) -> Self {
        debug_assert!(start <= end);
        Self {
            source,
            start: start as u32,
            end: end as u32,
        }
    }

    /// The byte range.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// From the start of this span to the end of a later one of the same source.
    #[must_use]
    pub fn to(self, later: Self) -> Self {
        Self {
            source: self.source,
            start: self.start,
            end: later.end.max(self.end),
        }
    }

    /// Whether nothing is covered.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A value with the place it was written at.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Joins a value and its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// The same place with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: change(self.value),
            span: self.span,
        }
    }

    /// A borrowed twin.
    pub fn as_ref(&self) -> Spanned<&T> {
        Spanned {
            value: &self.value,
            span: self.span,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let map = SourceMap::single("a.conf", "input {}\n  füß x");
        let start = map.get(0).unwrap().text.find('x').unwrap();
        let position = map.position(Span::new(0, start, start + 1)).unwrap();
        assert_eq!(position.to_string(), "a.conf:2:7");
    }

    #[test]
    fn a_foreign_span_has_no_text() {
        let map = SourceMap::single("a.conf", "x");
        assert_eq!(map.text(Span::new(0, 5, 9)), "");
        assert_eq!(map.text(Span::new(3, 0, 1)), "");
        assert!(map.position(Span::new(3, 0, 1)).is_none());
    }
}
