//! The first row of a text in CSV.
//!
//! COMPAT: as Ruby's library reads it: a field is quoted as a whole or not at all, a quote in it is
//! doubled, nothing stands beside the quotes, and an empty field without quotes is null. A row ends
//! at the first line end outside of quotes.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

/// What separates and quotes fields.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) separator: Box<[u8]>,
    /// One character.
    pub(super) quote: Box<[u8]>,
    /// More fields than this are a fault.
    pub(super) max_columns: usize,
}

/// The text is no CSV, or has too many fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of a row: null if nothing stands there.
pub(super) type Row<'b> = ArenaVec<'b, Option<&'b [u8]>>;

impl Dialect {
    /// The first row of a text; nothing if the text is empty, no fields if the row is.
    pub(super) fn row<'b>(
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
        let (field, behind) = text.split_at(at);
        Ok(((!field.is_empty()).then_some(field), behind))
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
            let end = match &*self.quote {
                [quote] => memchr::memchr(*quote, rest),
                quote => memchr::memmem::find(rest, quote),
            };
            let end = end.ok_or(Malformed)?;
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
