//! The pieces of a text that follows the grammar, with the comments before each.
//!
//! What a piece is depends on where it stands (`[a]` is a field in a condition and a list behind
//! `=>`), so the printer says what it expects, as the parser does.

use crate::language::condition::selector_length;
use crate::language::cursor::{Cursor, Quoted, is_space};
use crate::language::parser::is_if;

/// A comment, with its `#` and without white space at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment<'a> {
    pub(super) text: &'a str,
    /// Whether something stands before it on its line.
    pub(super) trails: bool,
    /// Whether an empty line stands before it.
    pub(super) blank_before: bool,
}

/// What stands between two pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gap<'a> {
    pub(super) comments: Vec<Comment<'a>>,
    /// Whether the next piece is on another line than what stands before it.
    pub(super) newline: bool,
    /// Whether an empty line stands right before the next piece.
    pub(super) blank: bool,
}

/// A reader of pieces.
#[derive(Debug, Clone)]
pub(super) struct Tokens<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            cursor: Cursor::new(text, 0),
        }
    }

    pub(super) fn at_end(&self) -> bool {
        self.cursor.at_end()
    }

    pub(super) fn position(&self) -> usize {
        self.cursor.position()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.cursor.peek()
    }

    pub(super) fn rest(&self) -> &'a str {
        self.cursor.rest()
    }

    /// Moves over white space and comments.
    pub(super) fn gap(&mut self) -> Gap<'a> {
        let mut gap = Gap::default();
        let mut newlines = usize::from(self.position() == 0);
        while let Some(byte) = self.cursor.peek() {
            if byte == b'#' {
                let start = self.position();
                self.cursor.skip_line();
                let text = self.cursor.text()[start..self.position()].trim_end();
                gap.comments.push(Comment {
                    text,
                    trails: newlines == 0,
                    blank_before: newlines > 1,
                });
                newlines = 0;
            } else if is_space(byte) {
                newlines += usize::from(byte == b'\n');
                self.cursor.advance();
            } else {
                break;
            }
        }
        gap.newline = newlines > 0;
        gap.blank = newlines > 1;
        gap
    }

    /// A name of a section, plugin or option, in quotes or without.
    pub(super) fn name(&mut self) -> &'a str {
        self.take(|tokens| match tokens.peek() {
            Some(quote @ (b'"' | b'\'')) => tokens.quoted(quote),
            _ => {
                tokens.cursor.name();
            }
        })
    }

    /// A string, a word or a number: a value, or the key of a hash.
    pub(super) fn scalar(&mut self) -> &'a str {
        self.take(|tokens| match tokens.peek() {
            Some(quote @ (b'"' | b'\'')) => tokens.quoted(quote),
            _ => {
                if tokens.cursor.bareword().is_empty() {
                    tokens.cursor.number();
                }
            }
        })
    }

    /// Whether a name with a block behind it comes.
    pub(super) fn at_plugin(&self) -> bool {
        let mut ahead = self.clone();
        match self.peek() {
            Some(b'"' | b'\'') => {
                ahead.name();
            }
            _ if ahead.cursor.name().is_empty() => return false,
            _ => {}
        }
        ahead.cursor.followed_by("{")
    }

    /// Moves over `else`, or over the `else` of `elseif`, if that is what comes here.
    pub(super) fn eat_else(&mut self) -> bool {
        let mut ahead = self.cursor.clone();
        let word = ahead.name();
        let after = word.strip_prefix("else");
        let found =
            after.is_some_and(|rest| rest.is_empty() || (is_if(rest) && !ahead.followed_by("{")));
        found && self.cursor.eat("else")
    }

    /// Moves over the `if` of a branch, if one comes here.
    pub(super) fn eat_if(&mut self) -> bool {
        let mut ahead = self.cursor.clone();
        let found = is_if(ahead.name()) && !ahead.followed_by("{");
        found && self.cursor.eat("if")
    }

    /// What a reader moves over; one character at least, so that the end comes.
    fn take(&mut self, read: impl FnOnce(&mut Self)) -> &'a str {
        let start = self.position();
        read(self);
        if self.position() == start {
            self.cursor.advance();
        }
        &self.cursor.text()[start..self.position()]
    }

    /// The piece that starts here in a condition.
    pub(super) fn condition_piece(&mut self) -> &'a str {
        const SIGNS: [&str; 8] = ["==", "!=", "=~", "!~", "<=", ">=", "<", ">"];
        self.take(|tokens| match tokens.peek() {
            Some(quote @ (b'/' | b'"' | b'\'')) => tokens.quoted(quote),
            Some(b'[') => {
                while let Some(length) = selector_length(tokens.rest()) {
                    tokens.cursor.set_position(tokens.position() + length);
                }
            }
            Some(b'!' | b'=' | b'<' | b'>') => {
                SIGNS.iter().any(|sign| tokens.cursor.eat(sign));
            }
            // As in `5and[a]`: a number ends where its digits do, and a word where a digit comes.
            Some(first) if first.is_ascii_alphabetic() => {
                let is_letter = |byte: &u8| byte.is_ascii_alphabetic();
                let length = tokens.rest().bytes().take_while(is_letter).count();
                tokens.cursor.set_position(tokens.position() + length);
            }
            _ => {
                tokens.cursor.number();
            }
        })
    }

    /// Moves over exactly this.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        self.cursor.eat(text)
    }

    fn quoted(&mut self, quote: u8) {
        if let Quoted::Open(_) = self.cursor.quoted(quote) {
            // The text follows the grammar, so this cannot be.
            self.cursor.set_position(self.cursor.text().len());
        }
    }
}

/// The comments of a text that follows the grammar.
pub(super) fn comments(text: &str) -> Vec<&str> {
    super::print::Printer::new(text).comments()
}
