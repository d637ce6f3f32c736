//! A place in a text, and the smallest pieces of the language read from there.
//!
//! What a character means depends on where it stands (`[a]` is a list right of `=>` and a
//! field in a condition, `-` belongs to a name but not to a bareword, `/` opens a regular
//! expression only after an operator), so there is no separate list of tokens: the parser
//! asks for the piece it expects.
//!
//! INVARIANT: the position only stops at character boundaries: every piece ends before or after an
//! ASCII character, and [`Cursor::advance`] moves by whole characters.

use super::source::Span;

/// A text and a position in it.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    position: usize,
    source: u32,
    /// The first carriage return inside a comment that no newline follows.
    pub(super) stray_return: Option<usize>,
}

/// How the scan for the end of a quoted piece ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoted {
    /// Closed; the span covers the quotes.
    Closed(Span),
    /// The text ended first; the offset is the one of the opening quote.
    Open(usize),
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, source: u32) -> Self {
        Self {
            text,
            position: 0,
            source,
            stray_return: None,
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Moves to an offset that an earlier position or span gave.
    pub(super) fn set_position(&mut self, position: usize) {
        debug_assert!(self.text.is_char_boundary(position));
        self.position = position;
    }

    pub(super) fn at_end(&self) -> bool {
        self.position >= self.text.len()
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    /// The span from an earlier offset to here.
    pub(super) fn span_from(&self, start: usize) -> Span {
        Span::new(self.source, start, self.position)
    }

    /// The span of an offset range.
    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.source, start, end)
    }

    /// The span of what stands here: a word, or one character; empty at the end.
    pub(super) fn span_here(&self) -> Span {
        let name = name_length(self.rest());
        let length = if name > 0 {
            name
        } else {
            self.rest().chars().next().map_or(0, char::len_utf8)
        };
        self.span(self.position, self.position + length)
    }

    /// Moves over one character.
    pub(super) fn advance(&mut self) {
        if let Some(character) = self.rest().chars().next() {
            self.position += character.len_utf8();
        }
    }

    /// Moves over this ASCII text if it stands here.
    pub(super) fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.position += expected.len();
        }
        found
    }

    /// Moves over this word if it stands here and ends here: `and [a]`, `and[a]` and `and5`, but
    /// not `android`.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let rest = self.rest().strip_prefix(word);
        let ends =
            |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphabetic() || next == '_');
        let found = rest.is_some_and(ends);
        if found {
            self.position += word.len();
        }
        found
    }

    /// Moves over white space and comments. Tells whether white space stood right here, which
    /// is what separates two options.
    pub(super) fn skip_space(&mut self) -> bool {
        let separated = self.peek().is_some_and(is_space);
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.position) {
            if is_space(byte) {
                self.position += 1;
            } else if byte == b'#' {
                self.skip_comment();
            } else {
                break;
            }
        }
        separated
    }

    /// Moves to the newline that ends a comment.
    fn skip_comment(&mut self) {
        let start = self.position;
        self.skip_line();
        let comment = &self.text[start..self.position];
        if self.stray_return.is_none() {
            // A return right before the newline is one half of a line end.
            let body = comment
                .strip_suffix('\r')
                .filter(|_| !self.at_end())
                .unwrap_or(comment);
            self.stray_return = body.find('\r').map(|index| start + index);
        }
    }

    /// Moves to the next newline, or to the end.
    pub(super) fn skip_line(&mut self) {
        self.position += memchr::memchr(b'\n', self.rest().as_bytes()).unwrap_or(self.rest().len());
    }

    /// A name of a plugin or an option: letters, digits, `_` and `-`. Empty if none is here.
    pub(super) fn name(&mut self) -> &'a str {
        let name = &self.rest()[..name_length(self.rest())];
        self.position += name.len();
        name
    }

    /// A bareword: a letter or `_`, then letters, digits and `_`. Empty if none is here.
    /// (The grammar wants two characters; the caller says so.)
    pub(super) fn bareword(&mut self) -> &'a str {
        let rest = self.rest();
        if !rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            return "";
        }
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let length = rest.bytes().take_while(is_part).count();
        self.position += length;
        &rest[..length]
    }

    /// A number: `-?[0-9]+(\.[0-9]*)?`. Empty if none is here.
    pub(super) fn number(&mut self) -> &'a str {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let digits = |from: usize| {
            bytes[from..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count()
        };
        let sign = usize::from(bytes.first() == Some(&b'-'));
        let whole = digits(sign);
        if whole == 0 {
            return "";
        }
        let mut length = sign + whole;
        if bytes.get(length) == Some(&b'.') {
            length += 1 + digits(length + 1);
        }
        self.position += length;
        &rest[..length]
    }

    /// A piece between two equal quotes (`"`, `'` or `/`), where only a backslash right before
    /// the quote keeps it from ending the piece.
    ///
    /// COMPAT: a backslash does not protect a backslash, so `"a\\"` is not closed.
    pub(super) fn quoted(&mut self, quote: u8) -> Quoted {
        debug_assert_eq!(self.peek(), Some(quote));
        let bytes = self.text.as_bytes();
        let start = self.position;
        let mut index = start + 1;
        while let Some(found) = memchr::memchr(quote, &bytes[index..]) {
            index += found + 1;
            if bytes[index - 2] != b'\\' {
                self.position = index;
                return Quoted::Closed(self.span_from(start));
            }
        }
        Quoted::Open(start)
    }

    /// Tries to read something; if it is not there the position stays.
    pub(super) fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let start = self.position;
        let result = read(self);
        if result.is_none() {
            self.position = start;
        }
        result
    }

    /// Whether the next thing behind white space and comments is this text.
    pub(super) fn followed_by(&self, expected: &str) -> bool {
        let mut ahead = self.clone();
        ahead.skip_space();
        ahead.eat(expected)
    }

    /// The column of an offset in bytes from the start of its line, if only white space stands
    /// before it.
    pub(super) fn indentation(&self, offset: usize) -> Option<usize> {
        let line_start = self.line_start(offset)?;
        let before = &self.text[line_start..offset];
        before.bytes().all(is_space).then_some(before.len())
    }

    /// How far the line of an offset is indented; 0 if the line is too long to say.
    pub(super) fn line_indentation(&self, offset: usize) -> usize {
        let line_start = self.line_start(offset).unwrap_or(self.text.len());
        self.text.as_bytes()[line_start..]
            .iter()
            .take_while(|&&byte| matches!(byte, b' ' | b'\t'))
            .count()
    }

    /// Where the line of an offset starts, if that is near. The bound keeps a text of one huge
    /// line from costing the square of its length.
    fn line_start(&self, offset: usize) -> Option<usize> {
        let nearest = offset.saturating_sub(LONGEST_LOOK_BACK);
        let before = &self.text.as_bytes()[nearest..offset];
        match memchr::memrchr(b'\n', before) {
            Some(newline) => Some(nearest + newline + 1),
            None => (nearest == 0).then_some(0),
        }
    }
}

/// How far back the start of a line is looked for.
const LONGEST_LOOK_BACK: usize = 4096;

/// Whether a byte is white space to the language.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether a byte can be part of a name.
pub(super) fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn name_length(text: &str) -> usize {
    text.bytes().take_while(|&byte| is_name(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> Option<&str> {
        let mut cursor = Cursor::new(text, 0);
        match cursor.quoted(text.as_bytes()[0]) {
            Quoted::Closed(span) => Some(&text[span.range()]),
            Quoted::Open(_) => None,
        }
    }

    #[test]
    fn only_a_backslash_before_the_quote_keeps_a_string_open() {
        assert_eq!(quoted(r#""a" b"#), Some(r#""a""#));
        assert_eq!(quoted(r#""" b"#), Some(r#""""#));
        assert_eq!(quoted(r#""a\"b" c"#), Some(r#""a\"b""#));
        assert_eq!(quoted(r#""back\\" x"#), None);
        assert_eq!(quoted(r#""\" x"#), None);
        assert_eq!(quoted(r"'it''s"), Some("'it'"));
        assert_eq!(quoted("\"ü\n\" x"), Some("\"ü\n\""));
    }

    #[test]
    fn numbers() {
        let number = |text| Cursor::new(text, 0).number();
        assert_eq!(number("-12.50x"), "-12.50");
        assert_eq!(number("1."), "1.");
        assert_eq!(number("1.2.3"), "1.2");
        assert_eq!(number("-x"), "");
        assert_eq!(number("+5"), "");
        assert_eq!(number(".5"), "");
    }

    #[test]
    fn space_and_comments() {
        let mut cursor = Cursor::new("# a\r\n \t# b\n#c", 0);
        assert!(!cursor.skip_space());
        assert!(cursor.at_end() && cursor.stray_return.is_none());
        let mut cursor = Cursor::new(" #a\rb\nx", 0);
        assert!(cursor.skip_space());
        assert_eq!((cursor.peek(), cursor.stray_return), (Some(b'x'), Some(3)));
    }
}
