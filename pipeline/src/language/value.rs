//! Values: what stands right of `=>`, and in arrays and hashes.
//!
//! The second half of [`Parser`]. Two things are stricter than they need to be, because the
//! official grammar is: words have two letters or more, and hashes know no commas. Both slips
//! are common, so both get an error of their own.

use std::collections::HashMap;

use super::cursor::{Quoted, is_name, is_space};
use super::diagnostic::Diagnostic;
use super::escape::process_escapes;
use super::parser::{Failure, Parsed, Parser};
use super::recovery::at_attribute;
use super::source::{Span, Spanned};
use super::syntax::{HashEntry, Number, Value};

impl<'a> Parser<'a> {
    /// A value; the cursor stands behind `=>`.
    pub(super) fn value_after_arrow(&mut self, name: Span) -> Parsed<Spanned<Value>> {
        let before = self.cursor.position();
        self.cursor.skip_space();
        let hidden = self.cursor.text()[before..self.cursor.position()].contains('#');
        if !matches!(self.cursor.peek(), None | Some(b'}' | b']' | b',')) {
            return self.value();
        }
        let found = self.found();
        let at = self.cursor.span_here();
        let mut diagnostic =
            Diagnostic::error(at, format!("expected a value after `=>`, found {found}"))
                .related(name, "this one has no value");
        if hidden {
            diagnostic = diagnostic
                .hint("`#` starts a comment; text that holds one must be in quotes: `\"#…\"`");
        }
        Err(self.fail(diagnostic, Failure::Here))
    }

    /// Any value.
    pub(super) fn value(&mut self) -> Parsed<Spanned<Value>> {
        let start = self.cursor.position();
        match self.cursor.peek() {
            Some(b'"' | b'\'') => {
                let raw = self.string()?;
                if self.cursor.followed_by("{") {
                    let plugin = self.plugin(raw.map(str::to_owned))?;
                    let span = plugin.span;
                    return Ok(Spanned::new(Value::Plugin(Box::new(plugin)), span));
                }
                Ok(raw.map(|raw| Value::String(self.unescaped(raw))))
            }
            Some(b'[') => self.array(),
            Some(b'{') => self.hash(),
            Some(byte) if is_name(byte) => self.word_or_number(start),
            _ => Err(self.no_value()),
        }
    }

    /// A bareword, a number or a plugin.
    fn word_or_number(&mut self, start: usize) -> Parsed<Spanned<Value>> {
        let name = self.cursor.name();
        let name_span = self.cursor.span_from(start);
        if self.cursor.followed_by("{") {
            let plugin = self.plugin(Spanned::new(name.to_owned(), name_span))?;
            let span = plugin.span;
            return Ok(Spanned::new(Value::Plugin(Box::new(plugin)), span));
        }
        self.cursor.set_position(start);
        let word = self.cursor.bareword();
        let value = match word {
            "" => self.number_value()?,
            _ => Value::Bareword(word.to_owned()),
        };
        let span = self.cursor.span_from(start);
        if self.is_glued() {
            return Err(self.needs_quotes(start));
        }
        if word.len() == 1 {
            self.report(
                Diagnostic::error(
                    span,
                    format!("the one-letter word `{word}` must be in quotes"),
                )
                .hint(format!("write `\"{word}\"`")),
            );
        }
        Ok(Spanned::new(value, span))
    }

    /// Whether something that cannot follow a word or number touches it, as in `10s`, `a.log`
    /// or `127.0.0.1`.
    fn is_glued(&self) -> bool {
        let Some(byte) = self.cursor.peek() else {
            return false;
        };
        let touches = is_name(byte) || byte >= 0x80 || b".:/%@$*+?\\|~^&;([".contains(&byte);
        // COMPAT: a hash needs no white space between its entries: `{ "a" => 5bc => 6 }`.
        let mut ahead = self.cursor.clone();
        let is_entry = !ahead.name().is_empty() && ahead.followed_by("=>");
        touches && !is_entry
    }

    /// Moves over what was meant as one piece and reports that it needs quotes.
    fn needs_quotes(&mut self, start: usize) -> Failure {
        let mut braces = 0;
        while let Some(byte) = self.cursor.peek() {
            match byte {
                // As in `${NAME}` and `%{[field]}`.
                b'{' => braces += 1,
                b'}' if braces > 0 => braces -= 1,
                b']' if braces > 0 => {}
                b',' | b']' | b'}' | b'"' | b'\'' | b'#' => break,
                _ if is_space(byte) || self.cursor.rest().starts_with("=>") => break,
                _ => {}
            }
            self.cursor.advance();
        }
        let span = self.cursor.span_from(start);
        let piece = &self.cursor.text()[span.range()];
        let diagnostic = Diagnostic::error(span, format!("`{piece}` must be in quotes"))
            .hint(format!("write `\"{piece}\"`"));
        self.fail(diagnostic, Failure::Resumable)
    }

    /// Something that starts no value.
    fn no_value(&mut self) -> Failure {
        let start = self.cursor.position();
        match self.cursor.peek() {
            Some(b'/') => {
                let closed = match self.cursor.quoted(b'/') {
                    Quoted::Closed(span) => {
                        let ends = |byte| is_space(byte) || b",]}".contains(&byte);
                        let is_line = !self.cursor.text()[span.range()].contains('\n');
                        is_line && self.cursor.peek().is_none_or(ends)
                    }
                    Quoted::Open(_) => false,
                };
                if !closed {
                    // A path.
                    self.cursor.set_position(start);
                    return self.needs_quotes(start);
                }
                let diagnostic = Diagnostic::error(
                    self.cursor.span_from(start),
                    "a regular expression between slashes can only stand in a condition",
                )
                .hint("put it in quotes, without the slashes");
                self.fail(diagnostic, Failure::Resumable)
            }
            Some(byte) if byte >= 0x80 || b"$%.*~<>!?\\^|&@+:(;".contains(&byte) => {
                if matches!(
                    self.cursor.rest().chars().next(),
                    Some('“' | '”' | '‘' | '’')
                ) {
                    let span = self.cursor.span_here();
                    while self
                        .cursor
                        .peek()
                        .is_some_and(|byte| !b"\n,]}".contains(&byte))
                    {
                        self.cursor.advance();
                    }
                    let diagnostic =
                        Diagnostic::error(span, "typographic quotes are no quotes here")
                            .hint("write straight quotes: `\"…\"`");
                    return self.fail(diagnostic, Failure::Resumable);
                }
                self.needs_quotes(start)
            }
            _ => {
                let found = self.found();
                let at = self.cursor.span_here();
                let diagnostic = Diagnostic::error(at, format!("expected a value, found {found}"));
                self.fail(diagnostic, Failure::Here)
            }
        }
    }

    /// `[ a, b ]`.
    pub(super) fn array(&mut self) -> Parsed<Spanned<Value>> {
        self.nested(|parser| {
            let start = parser.cursor.position();
            parser.cursor.advance();
            let opener = parser.cursor.span_from(start);
            let mut values = Vec::new();
            let mut comma: Option<Span> = None;
            loop {
                parser.cursor.skip_space();
                if parser.cursor.peek() == Some(b']') {
                    if let Some(comma) = comma {
                        parser.report(
                            Diagnostic::error(comma, "an array cannot end with a comma")
                                .hint("remove the comma"),
                        );
                    }
                    parser.cursor.advance();
                    let span = parser.cursor.span_from(start);
                    return Ok(Spanned::new(Value::Array(values), span));
                }
                if parser.cursor.at_end() || matches!(parser.cursor.peek(), Some(b'}')) {
                    return Err(parser.unclosed_piece(opener, "array", ']'));
                }
                if parser.cursor.peek() == Some(b',') {
                    let here = parser.cursor.span_here();
                    let diagnostic = Diagnostic::error(here, "expected a value before the comma");
                    let failure = parser.fail(diagnostic, Failure::Here);
                    return Err(parser.resume_behind(b']', failure));
                }
                let first_on_line = parser
                    .cursor
                    .indentation(parser.cursor.position())
                    .is_some();
                if comma.is_some() && first_on_line && at_attribute(&parser.cursor) {
                    return Err(parser.unclosed_piece(opener, "array", ']'));
                }
                match parser.value() {
                    Ok(value) => values.push(value),
                    // The rest of the array can be read if the value was skipped as a whole.
                    Err(Failure::Resumable) if parser.at_array_separator() => {}
                    Err(failure) => return Err(parser.resume_behind(b']', failure)),
                }
                parser.cursor.skip_space();
                comma = None;
                match parser.cursor.peek() {
                    Some(b',') => {
                        comma = Some(parser.cursor.span_here());
                        parser.cursor.advance();
                    }
                    Some(b']') => {}
                    None | Some(b'}') => return Err(parser.unclosed_piece(opener, "array", ']')),
                    Some(_) if at_attribute(&parser.cursor) => {
                        return Err(parser.unclosed_piece(opener, "array", ']'));
                    }
                    Some(_) => {
                        let found = parser.found();
                        let here = parser.cursor.span_here();
                        let hint = if parser.cursor.rest().starts_with("=>") {
                            "`=>` belongs in a hash: `{ key => value }`"
                        } else {
                            "the values of an array are separated by commas"
                        };
                        let diagnostic = Diagnostic::error(
                            here,
                            format!("expected `,` or `]` after the value, found {found}"),
                        )
                        .hint(hint);
                        let failure = parser.fail(diagnostic, Failure::Here);
                        return Err(parser.resume_behind(b']', failure));
                    }
                }
            }
        })
    }

    fn at_array_separator(&self) -> bool {
        self.cursor.followed_by(",") || self.cursor.followed_by("]")
    }

    /// `{ a => b  c => d }`.
    fn hash(&mut self) -> Parsed<Spanned<Value>> {
        self.nested(|parser| {
            let start = parser.cursor.position();
            parser.open_block(start, "this hash");
            let opener = parser.cursor.span_from(start);
            let mut entries: Vec<HashEntry> = Vec::new();
            let mut places = HashMap::new();
            loop {
                parser.cursor.skip_space();
                match parser.cursor.peek() {
                    Some(b'}') => {
                        parser.close_block();
                        let span = parser.cursor.span_from(start);
                        return Ok(Spanned::new(Value::Hash(entries), span));
                    }
                    None => return Err(parser.unclosed_at_end()),
                    Some(b']') => return Err(parser.unclosed_piece(opener, "hash", '}')),
                    Some(b',') => {
                        let here = parser.cursor.span_here();
                        parser.cursor.advance();
                        let diagnostic = Diagnostic::error(
                            here,
                            "the entries of a hash are not separated by commas",
                        );
                        let hint = "remove the comma: white space is enough";
                        parser.report(diagnostic.hint(hint));
                    }
                    Some(_) => match parser.hash_entry() {
                        Ok(entry) => parser.add_entry(&mut entries, &mut places, entry),
                        Err(Failure::Resumable) if parser.at_hash_entry() => {}
                        Err(failure) => return Err(parser.resume_behind(b'}', failure)),
                    },
                }
            }
        })
    }

    /// Whether the next thing is the end of a hash or another entry.
    fn at_hash_entry(&self) -> bool {
        if self.cursor.followed_by("}") || self.cursor.followed_by(",") {
            return true;
        }
        let mut ahead = self.cursor.clone();
        ahead.skip_space();
        match ahead.peek() {
            Some(quote @ (b'"' | b'\'')) => {
                matches!(ahead.quoted(quote), Quoted::Closed(_)) && ahead.followed_by("=>")
            }
            _ => !ahead.name().is_empty() && ahead.followed_by("=>"),
        }
    }

    fn hash_entry(&mut self) -> Parsed<HashEntry> {
        let start = self.cursor.position();
        let key = match self.cursor.peek() {
            Some(b'"' | b'\'') => {
                let raw = self.string()?;
                raw.map(|raw| Value::String(self.unescaped(raw)))
            }
            Some(byte) if is_name(byte) => {
                let word = self.cursor.bareword();
                let value = match word {
                    "" => self.number_value()?,
                    _ => Value::Bareword(word.to_owned()),
                };
                if word.len() == 1 || self.cursor.peek().is_some_and(|b| is_name(b) || b == b'.') {
                    return Err(self.key_needs_quotes(start));
                }
                Spanned::new(value, self.cursor.span_from(start))
            }
            Some(b'[' | b'%' | b'$' | b'@') => return Err(self.key_needs_quotes(start)),
            _ => {
                let found = self.found();
                let here = self.cursor.span_here();
                let diagnostic =
                    Diagnostic::error(here, format!("expected a key or `}}`, found {found}"));
                return Err(self.fail(diagnostic, Failure::Here));
            }
        };
        if !self.cursor.followed_by("=>") {
            self.cursor.skip_space();
            let found = self.found();
            let here = self.cursor.span_here();
            let text = &self.cursor.text()[key.span.range()];
            let diagnostic =
                Diagnostic::error(here, format!("expected `=>` after the key, found {found}"))
                    .related(key.span, "this key")
                    .hint(format!("an entry of a hash is written `{text} => value`"));
            return Err(self.fail(diagnostic, Failure::Here));
        }
        self.cursor.skip_space();
        self.cursor.eat("=>");
        let value = self.value_after_arrow(key.span)?;
        Ok(HashEntry { key, value })
    }

    /// Reports an unquoted key, then reads its value so that what follows makes sense.
    fn key_needs_quotes(&mut self, start: usize) -> Failure {
        while let Some(byte) = self.cursor.peek() {
            let ends = is_space(byte) || b",}\"'#=".contains(&byte);
            if ends {
                break;
            }
            self.cursor.advance();
        }
        let span = self.cursor.span_from(start);
        let piece = self.cursor.text()[span.range()].to_owned();
        let diagnostic = Diagnostic::error(span, format!("the key `{piece}` must be in quotes"))
            .hint(format!("write `\"{piece}\"`"));
        let failure = self.fail(diagnostic, Failure::Here);
        if self.cursor.followed_by("=>") {
            self.cursor.skip_space();
            self.cursor.eat("=>");
            return match self.value_after_arrow(span) {
                Ok(_) => Failure::Resumable,
                Err(failure) => failure,
            };
        }
        failure
    }

    /// Adds an entry; `places` says where each key is.
    ///
    /// COMPAT: keys are compared as written, quotes included: `a1` and `"a1"` are two keys to
    /// the check, and the later value wins.
    fn add_entry(
        &mut self,
        entries: &mut Vec<HashEntry>,
        places: &mut HashMap<String, usize>,
        entry: HashEntry,
    ) {
        let key = entry.key_text();
        let Some(earlier) = places.get(&key).and_then(|&index| entries.get_mut(index)) else {
            places.insert(key, entries.len());
            entries.push(entry);
            return;
        };
        let text = self.cursor.text();
        let same_form = text[earlier.key.span.range()] == text[entry.key.span.range()];
        let earlier_span = earlier.key.span;
        self.note(if same_form {
            Diagnostic::error(
                entry.key.span,
                format!("the key `{key}` is in this hash twice"),
            )
            .related(earlier_span, "first here")
            .hint("put both values in one array, or repeat the whole option")
        } else {
            Diagnostic::warning(
                entry.key.span,
                format!("the key `{key}` is in this hash twice; this value counts"),
            )
            .related(earlier_span, "this value is lost")
        });
        *earlier = entry;
    }

    /// A number, which the cursor stands before (or a `-` that starts none).
    pub(super) fn number_value(&mut self) -> Parsed<Value> {
        let start = self.cursor.position();
        let text = self.cursor.number();
        if text.is_empty() {
            return Err(self.needs_quotes(start));
        }
        let span = self.cursor.span_from(start);
        Ok(Value::Number(self.number_from(text, span)))
    }

    fn number_from(&mut self, text: &str, span: Span) -> Number {
        if text.contains('.') {
            if text.ends_with('.') {
                self.note(
                    Diagnostic::error(span, format!("`{text}` has no digits after the point"))
                        .hint(format!("write `{text}0`, or leave the point out")),
                );
            }
            return Number::Decimal(text.parse().unwrap_or_default());
        }
        let digits = text.trim_start_matches('-');
        // COMPAT: Logstash reads an integer as Ruby does, where a leading 0 means octal.
        if digits.len() > 1 && digits.starts_with('0') && digits.bytes().any(|digit| digit != b'0')
        {
            let sign = if text.starts_with('-') { -1 } else { 1 };
            return match i64::from_str_radix(digits, 8) {
                Ok(value) => {
                    if value > 7 {
                        self.note(
                            Diagnostic::warning(
                                span,
                                format!(
                                    "`{text}` has a leading 0 and so is octal: {}",
                                    sign * value
                                ),
                            )
                            .hint("leave the 0 out, or put the text in quotes"),
                        );
                    }
                    Number::Integer(sign * value)
                }
                Err(_) => {
                    self.note(
                        Diagnostic::error(
                            span,
                            format!(
                                "`{text}` has a leading 0 and so is octal, but is no octal number"
                            ),
                        )
                        .hint("leave the 0 out, or put the text in quotes"),
                    );
                    Number::Integer(0)
                }
            };
        }
        text.parse().map_or_else(
            |_| {
                self.note(Diagnostic::warning(
                    span,
                    format!("`{text}` does not fit into 64 bits and is rounded"),
                ));
                Number::Decimal(text.parse().unwrap_or_default())
            },
            Number::Integer,
        )
    }

    /// A string in quotes, without them and with its backslashes.
    pub(super) fn string(&mut self) -> Parsed<Spanned<&'a str>> {
        let quote = self.cursor.peek().unwrap_or(b'"');
        match self.cursor.quoted(quote) {
            Quoted::Closed(span) => {
                self.blocks.note_quote(self.cursor.text(), span);
                let text = self.cursor.text();
                Ok(Spanned::new(
                    &text[span.start as usize + 1..span.end as usize - 1],
                    span,
                ))
            }
            Quoted::Open(start) => Err(self.unclosed_quote(start)),
        }
    }

    /// A string as its value is meant.
    pub(super) fn unescaped(&self, raw: &str) -> String {
        if self.options.support_escapes {
            process_escapes(raw).into_owned()
        } else {
            raw.to_owned()
        }
    }
}
