//! The dialect of regular expressions: Oniguruma's, in the form that Ruby and so Logstash use.
//!
//! The parser turns text, with every `%{NAME}` in it, into a [`Node`] tree. The tree says what
//! was written; whether an automaton can run it is decided when it is compiled to a program.
//!
//! Differences to Perl's dialect that matter: `^` and `$` always work at line ends, `.` matches
//! a newline too (Logstash compiles so), `\h` is a hexadecimal digit, classes nest, `{,n}` is a
//! quantifier and `{n}?` means "n times or not at all".

mod brackets;
mod class;
mod groups;
mod parser;

pub(crate) use class::{ByteSet, CharacterClass, EDGE};
pub(crate) use parser::{Parsed, parse};

/// A regular expression as a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Matches the empty text.
    Empty,
    /// One character out of a class.
    Class(CharacterClass),
    /// One after the other.
    Concat(Vec<Self>),
    /// The first that leads to a match.
    Alternate(Vec<Self>),
    /// Again and again.
    Repeat {
        node: Box<Self>,
        min: u32,
        max: Option<u32>,
        kind: RepeatKind,
    },
    /// A group whose span is wanted, by its number.
    Group { group: u32, node: Box<Self> },
    /// A condition on the neighbouring text.
    Assertion(Assertion),
    /// Look-ahead or look-behind.
    Look {
        ahead: bool,
        negative: bool,
        node: Box<Self>,
    },
    /// A group that gives nothing back once it has matched.
    Atomic(Box<Self>),
    /// The text that one of these groups matched; the last one that is set counts.
    BackReference { groups: Vec<u32>, ignore_case: bool },
}

/// How eagerly a repetition takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RepeatKind {
    /// As often as possible, giving back.
    Greedy,
    /// As seldom as possible.
    Lazy,
    /// As often as possible, keeping all.
    Possessive,
}

/// Conditions without a text of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assertion {
    /// `^`
    LineStart,
    /// `$`
    LineEnd,
    /// `\A`
    TextStart,
    /// `\z`
    TextEnd,
    /// `\Z`
    TextEndOrLastNewline,
    /// `\b`
    WordBoundary,
    /// `\B`
    NotWordBoundary,
}
