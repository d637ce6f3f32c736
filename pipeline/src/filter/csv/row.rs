//! The first row of a text in CSV.
//!
//! COMPAT: as Ruby's library reads it: a field is quoted as a whole or not at all, a quote in it is
//! doubled, nothing stands beside the quotes, and an empty field without quotes is null. A row ends
//! at the first line end outside of quotes.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

/// What separates and quotes fields.
#[derive(Clone, Debug)]
pub(crate) struct Dialect {
    pub(crate) separator: Box<[u8]>,
    /// One character.
    pub(crate) quote: Box<[u8]>,
    /// More fields than this are a fault.
    pub(crate) max_columns: usize,
}

/// The text is no CSV, or has too many fields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The fields of a row: null if nothing stands there.
pub(crate) type Row<'b> = ArenaVec<'b, Option<&'b [u8]>>;

/// How far the row at the start of a text has been looked through for its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    at: usize,
    in_quotes: bool,
}

impl Dialect {
    /// Where the row at the start of a text ends, behind its line end; goes on where `scan` has got to, with
    /// more text. Nothing if a quoted field is not closed yet. A row whose quotes reach beyond `limit` bytes is
    /// malformed.
    pub(crate) fn end(
        &self,
        text: &[u8],
        scan: &mut Scan,
        limit: usize,
    ) -> Option<Result<usize, Malformed>> {
        loop {
            let rest = &text[scan.at..];
            if scan.in_quotes {
                let Some(end) = self.find_quote(rest) else {
                    scan.at = text.len();
                    return (text.len() > limit).then_some(Err(Malformed));
                };
                scan.at += end + self.quote.len();
                if scan.at > limit {
                    return Some(Err(Malformed));
                }
                if text[scan.at..].starts_with(&self.quote) {
                    scan.at += self.quote.len();
                    continue;
                }
                scan.in_quotes = false;
            } else if rest.starts_with(&self.quote) {
                scan.at += self.quote.len();
                scan.in_quotes = true;
                continue;
            } else {
                match self.unquoted(rest) {
                    Ok(length) => scan.at += length,
                    Err(malformed) => return Some(Err(malformed)),
                }
            }
            let behind = &text[scan.at..];
            if behind.starts_with(&self.separator) {
                scan.at += self.separator.len();
                continue;
            }
            return Some(match behind {
                [] => Ok(scan.at),
                [b'\r', b'\n', ..] => Ok(scan.at + 2),
                [b'\r' | b'\n', ..] => Ok(scan.at + 1),
                _ => Err(Malformed),
            });
        }
    }

    /// The first row of a text; nothing if the text is empty, no fields if the row is.
    pub(crate) fn row<'b>(
        &self,
        text: &'b [u8],
        arena: &'b Bump,
    ) -> Result<Option<Row<'b>>, Malformed> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut row = Row::with_capacity_in(16.min(self.max_columns), arena);
        if is_line_end(text[0]) {
            return Ok(Some(row));
        }
        let mut rest = text;
        loop {
            let (field, behind) = self.field(rest, arena)?;
            if row.len() >= self.max_columns {
                return Err(Malformed);
            }
            row.push(field);
            match behind.strip_prefix(&*self.separator) {
                Some(next) => rest = next,
                None if behind.first().is_none_or(|byte| is_line_end(*byte)) => {
                    return Ok(Some(row));
                }
                None => return Err(Malformed),
            }
        }
    }

    /// The field at the start of the text and what stands behind it.
    fn field<'b>(
        &self,
        text: &'b [u8],
        arena: &'b Bump,
    ) -> Result<(Option<&'b [u8]>, &'b [u8]), Malformed> {
        if let Some(inside) = text.strip_prefix(&*self.quote) {
            return self.quoted(inside, arena);
        }
        let (field, behind) = text.split_at(self.unquoted(text)?);
        Ok(((!field.is_empty()).then_some(field), behind))
    }

    /// The length of the field without quotes at the start of the text.
    fn unquoted(&self, text: &[u8]) -> Result<usize, Malformed> {
        // Neither is empty.
        let (separator, quote) = (self.separator[0], self.quote[0]);
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let is_end =
                is_line_end(byte) || (byte == separator && text[at..].starts_with(&self.separator));
            if is_end {
                break;
            }
            if byte == quote && text[at..].starts_with(&self.quote) {
                return Err(Malformed);
            }
            at += 1;
        }
        Ok(at)
    }

    fn find_quote(&self, text: &[u8]) -> Option<usize> {
        match &*self.quote {
            [quote] => memchr::memchr(*quote, text),
            quote => memchr::memmem::find(text, quote),
        }
    }

    /// The field whose opening quote stands before the text.
    fn quoted<'b>(
        &self,
        text: &'b [u8],
        arena: &'b Bump,
    ) -> Result<(Option<&'b [u8]>, &'b [u8]), Malformed> {
        let mut rest = text;
        // Put together only if a doubled quote is in it.
        let mut pieces: Option<ArenaVec<'b, u8>> = None;
        loop {
            let end = self.find_quote(rest).ok_or(Malformed)?;
            let (piece, behind) = (&rest[..end], &rest[end + self.quote.len()..]);
            let Some(next) = behind.strip_prefix(&*self.quote) else {
                let field = match pieces {
                    None => piece,
                    Some(mut whole) => {
                        whole.extend_from_slice(piece);
                        whole.into_bump_slice()
                    }
                };
                return Ok((Some(field), behind));
            };
            let whole = pieces.get_or_insert_with(|| ArenaVec::new_in(arena));
            whole.extend_from_slice(piece);
            whole.extend_from_slice(&self.quote);
            rest = next;
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dialect(separator: &str, quote: &str) -> Dialect {
        Dialect {
            separator: separator.as_bytes().into(),
            quote: quote.as_bytes().into(),
            max_columns: 5,
        }
    }

    fn row(dialect: &Dialect, text: &str) -> String {
        let arena = Bump::new();
        match dialect.row(arena.alloc_str(text).as_bytes(), &arena) {
            Err(Malformed) => "malformed".to_owned(),
            Ok(None) => "none".to_owned(),
            Ok(Some(row)) => row
                .iter()
                .map(|field| match field {
                    None => "-".to_owned(),
                    Some(field) => format!("<{}>", String::from_utf8_lossy(field)),
                })
                .collect(),
        }
    }

    #[test]
    fn rows() {
        let usual = dialect(",", "\"");
        for (text, expected) in [
            ("", "none"),
            ("\n", ""),
            ("a", "<a>"),
            ("a,b", "<a><b>"),
            (",", "--"),
            (r#""",x"#, "<><x>"),
            (r#""a,b","c""d""e""#, r#"<a,b><c"d"e>"#),
            ("\"a\nb\",c\nd", "<a\nb><c>"),
            ("a,b\r\n", "<a><b>"),
            (" a , b ", "< a >< b >"),
            (r#"a"b"#, "malformed"),
            (r#""a"b"#, "malformed"),
            (r#"a, "b""#, "malformed"),
            (r#""a"#, "malformed"),
            (r#"""""#, "malformed"),
            (r#""""""#, r#"<">"#),
            ("1,2,3,4,5", "<1><2><3><4><5>"),
            ("1,2,3,4,5,6", "malformed"),
        ] {
            assert_eq!(row(&usual, text), expected, "{text}");
        }
        let other = dialect("||", "é");
        assert_eq!(row(&other, "a|b||éc||ééé||d"), "<a|b><c||é><d>");
    }

    #[test]
    fn rows_end_where_they_do_however_they_come() {
        let usual = dialect(",", "\"");
        for (text, expected) in [
            ("a,b\nc", Some(Ok(4))),
            ("a,b\r\nc", Some(Ok(5))),
            ("a\rb", Some(Ok(2))),
            ("\na", Some(Ok(1))),
            ("a", Some(Ok(1))),
            ("\"a\nb\",\"c\"\"\n\"\nd", Some(Ok(13))),
            ("\"a\nb", None),
            ("a\"\n", Some(Err(Malformed))),
            ("\"a\"b\n", Some(Err(Malformed))),
            ("\"0123456789\n0123456789", Some(Err(Malformed))),
            ("\"0123456789\n01234567\"\n", Some(Err(Malformed))),
        ] {
            let whole = usual.end(text.as_bytes(), &mut Scan::default(), 20);
            assert_eq!(whole, expected, "{text}");
            let mut scan = Scan::default();
            let mut at = 0;
            let lines = text.split_inclusive('\n').find_map(|line| {
                at += line.len();
                usual.end(&text.as_bytes()[..at], &mut scan, 20)
            });
            assert_eq!(lines, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(fields in prop::collection::vec("[a,\"\n é]{0,6}", 1..5)) {
            let usual = dialect(",", "\"");
            let quoted: Vec<_> = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            let expected: Vec<_> = fields.iter().map(|field| format!("<{field}>")).collect();
            prop_assert_eq!(row(&usual, &quoted.join(",")), expected.concat());
        }

        #[test]
        fn no_text_does_harm(text in "[a,\"\r\n é]{0,24}", separator in "[,;é]{1,2}", quote in "[\"'é]") {
            row(&dialect(&separator, &quote), &text);
        }
    }
}
