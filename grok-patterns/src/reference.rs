//! The `%{NAME:field:type=definition}` notation.
//!
//! COMPAT: Logstash recognises a reference by a regular expression with some quirks that
//! patterns in the wild lean on, and they are kept: a name is made of `A`–`z` (which includes
//! `[ \ ] ^ _` and the backtick) and digits; whatever follows the parts it knows is skipped up
//! to the closing brace, so that `%{WORD-X:foo}` matches a WORD and captures nothing.

/// One reference, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference<'t> {
    /// The pattern's name.
    pub(crate) name: &'t str,
    /// What stands after the first colon: a field and perhaps a type.
    pub(crate) field: Option<&'t str>,
    /// A definition given on the spot.
    pub(crate) definition: Option<&'t str>,
    /// Length of the whole reference in bytes, braces included.
    pub(crate) length: usize,
}

impl<'t> Reference<'t> {
    /// Reads a reference at the very start of `text`; `None` when there is none, in which case
    /// the characters stand for themselves.
    pub(crate) fn read(text: &'t str) -> Option<Self> {
        let inside = text.strip_prefix("%{")?;
        let bytes = inside.as_bytes();
        let name_end = span(bytes, 0, |byte| matches!(byte, b'A'..=b'z' | b'0'..=b'9'));
        if name_end == 0 {
            return None;
        }
        let mut at = name_end;
        let mut field = None;
        if bytes.get(at) == Some(&b':') {
            let end = span(bytes, at + 1, is_field_byte);
            if end > at + 1 {
                field = Some(&inside[at + 1..end]);
                at = end;
            }
        }
        let mut definition = None;
        if bytes.get(at) == Some(&b'=')
            && let Some(end) = definition_end(bytes, at + 1)
        {
            definition = Some(&inside[at + 1..end]);
            at = end;
        }
        let close = at + inside[at..].find('}')?;
        Some(Self {
            name: &inside[..name_end],
            field,
            definition,
            length: 2 + close + 1,
        })
    }
}

/// Splits what stands after a name into the field and the type that is wanted.
pub(crate) fn split_type(field: &str) -> (&str, Option<&str>) {
    match field.split_once(':') {
        Some((name, rest)) => (name, Some(rest.split(':').next().unwrap_or(rest))),
        None => (field, None),
    }
}

fn is_field_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'[' | b']' | b'_' | b':' | b'.' | b'-')
}

fn span(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    from + bytes[from..]
        .iter()
        .take_while(|byte| wanted(**byte))
        .count()
}

/// Where a definition ends: at the brace that closes the reference, counting the pairs between.
fn definition_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'{' => depth += 1,
            b'}' if depth == 0 => return (at > from).then_some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(&str, Option<&str>, Option<&str>, usize)> {
        Reference::read(text).map(|r| (r.name, r.field, r.definition, r.length))
    }

    #[test]
    fn reads_the_usual_forms() {
        assert_eq!(parts("%{WORD} x"), Some(("WORD", None, None, 7)));
        assert_eq!(parts("%{WORD:a}"), Some(("WORD", Some("a"), None, 9)));
        assert_eq!(
            parts("%{INT:[a][b]:int}"),
            Some(("INT", Some("[a][b]:int"), None, 17))
        );
        assert_eq!(split_type("[a][b]:int"), ("[a][b]", Some("int")));
    }

    #[test]
    fn reads_definitions_with_balanced_braces() {
        assert_eq!(
            parts(r"%{FOO:f=\d{2}}"),
            Some(("FOO", Some("f"), Some(r"\d{2}"), 14))
        );
        assert_eq!(parts("%{FOO=a}b}"), Some(("FOO", None, Some("a"), 8)));
        assert_eq!(
            parts(r"%{FOO=a\}b}"),
            Some(("FOO", None, Some(r"a\}b"), 11))
        );
    }

    #[test]
    fn keeps_the_quirks() {
        assert_eq!(parts("%{WORD-X:foo}"), Some(("WORD", None, None, 13)));
        assert_eq!(
            parts("%{WORD:foo bar}"),
            Some(("WORD", Some("foo"), None, 15))
        );
        assert_eq!(parts("%{WORD:}"), Some(("WORD", None, None, 8)));
        assert_eq!(parts("%{}"), None);
        assert_eq!(parts("%{-}"), None);
        assert_eq!(parts("%{WORD"), None);
    }
}
