//! References to fields of an event: `message`, `[message]`, `[http][request][method]`,
//! `[@metadata][beat]`, `[list][0]`, `[list][-1]`.
//!
//! A reference is parsed once, when a configuration is read, into its keys. Whether a key is
//! an index depends on the event (a key `0` of a hash is a key), so keys stay text here. A
//! reference that mixes brackets and bare text is refused, as in Logstash, because nobody can
//! say what it means.

use std::fmt;

use thiserror::Error;

use crate::event::Path;

/// The name of the part of an event that no output prints.
pub const METADATA: &str = "@metadata";

/// How `[` and `]` can be written inside a key (`config.field_reference.escape_style`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EscapeStyle {
    /// They cannot.
    #[default]
    None,
    /// As `%5B` and `%5D`, like in an address on the web.
    Percent,
    /// As `&#91;` and `&#93;`, like in HTML.
    Ampersand,
}

impl EscapeStyle {
    /// The style a setting names.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "percent" => Some(Self::Percent),
            "ampersand" => Some(Self::Ampersand),
            _ => None,
        }
    }
}

/// Why a text is no field reference.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FieldReferenceError {
    /// Text outside of brackets although there are brackets.
    #[error("`{reference}` mixes bracketed and bare names; write it as `{suggestion}`")]
    Mixed {
        /// The text.
        reference: String,
        /// The likely meaning.
        suggestion: String,
    },
    /// `[` without `]` or the reverse, or a bracket inside a name.
    #[error("the brackets of `{reference}` do not pair up; a nested field is written `[a][b]`")]
    Unbalanced {
        /// The text.
        reference: String,
    },
    /// `[]`.
    #[error("`{reference}` holds an empty name between brackets")]
    EmptyName {
        /// The text.
        reference: String,
    },
    /// An escape that names no character.
    #[error("`{reference}` holds the escape `{escape}`, which names no character")]
    BadEscape {
        /// The text.
        reference: String,
        /// The escape.
        escape: String,
    },
}

/// A parsed reference.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FieldReference {
    text: String,
    keys: Vec<String>,
    metadata: bool,
}

impl FieldReference {
    /// Parses a reference without escapes.
    pub fn parse(reference: &str) -> Result<Self, FieldReferenceError> {
        Self::parse_with(reference, EscapeStyle::None)
    }

    /// Parses a reference whose names may hold escapes of a style.
    pub fn parse_with(
        reference: &str,
        escape_style: EscapeStyle,
    ) -> Result<Self, FieldReferenceError> {
        let mut keys = Vec::new();
        for name in split(reference)? {
            keys.push(unescape(name, escape_style, reference)?);
        }
        let metadata = keys.first().is_some_and(|key| key == METADATA);
        if metadata {
            keys.remove(0);
        }
        Ok(Self {
            text: reference.to_owned(),
            keys,
            metadata,
        })
    }

    /// The reference as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys from the root down. For a reference into the metadata the root is the
    /// metadata and `@metadata` is not among the keys: `[@metadata]` itself has none.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Whether the root is the event's metadata.
    pub fn is_metadata(&self) -> bool {
        self.metadata
    }

    /// The name, if this is a plain field at the top of the event.
    pub fn top_level(&self) -> Option<&str> {
        match self.keys.as_slice() {
            [key] if !self.metadata => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for FieldReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for FieldReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FieldReference({})", self.text)
    }
}

/// The reference resolved, to be used on events.
impl From<&FieldReference> for Path {
    fn from(reference: &FieldReference) -> Self {
        let root = reference.metadata.then_some(METADATA);
        Self::new(
            root.into_iter()
                .chain(reference.keys.iter().map(String::as_str)),
        )
    }
}

/// A list index as Logstash reads one, `-1` being the last element.
pub fn list_index(key: &str) -> Option<i64> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    key.parse().ok()
}

/// Splits a reference into its names.
///
/// COMPAT: `[[a][b]]` is accepted and means `[a][b]`, as in Logstash; a fragment that is only
/// partly a reference (`[a[b]]`) is refused.
fn split(reference: &str) -> Result<Vec<&str>, FieldReferenceError> {
    let bytes = reference.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'[' | b']')) {
        return Ok(vec![reference]);
    }
    let unbalanced = || FieldReferenceError::Unbalanced {
        reference: reference.to_owned(),
    };
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut name_start = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        let after_close = index > 0 && bytes[index - 1] == b']';
        match byte {
            b'[' => {
                if name_start != index {
                    return Err(if depth == 0 {
                        mixed(reference)
                    } else {
                        unbalanced()
                    });
                }
                depth += 1;
                name_start = index + 1;
            }
            b']' => {
                if depth == 0 {
                    return Err(unbalanced());
                }
                if name_start == index && !after_close {
                    return Err(FieldReferenceError::EmptyName {
                        reference: reference.to_owned(),
                    });
                }
                if name_start < index {
                    names.push(&reference[name_start..index]);
                }
                depth -= 1;
                name_start = index + 1;
            }
            _ if after_close => {
                return Err(if depth == 0 {
                    mixed(reference)
                } else {
                    unbalanced()
                });
            }
            _ => {}
        }
    }
    if depth > 0 || names.is_empty() {
        return Err(unbalanced());
    }
    Ok(names)
}

fn mixed(reference: &str) -> FieldReferenceError {
    let mut suggestion = String::new();
    for name in reference.split(['[', ']']).filter(|name| !name.is_empty()) {
        suggestion.push('[');
        suggestion.push_str(name);
        suggestion.push(']');
    }
    FieldReferenceError::Mixed {
        reference: reference.to_owned(),
        suggestion,
    }
}

fn unescape(
    name: &str,
    style: EscapeStyle,
    reference: &str,
) -> Result<String, FieldReferenceError> {
    match style {
        EscapeStyle::None => Ok(name.to_owned()),
        EscapeStyle::Percent => Ok(unescape_percent(name)),
        EscapeStyle::Ampersand => unescape_ampersand(name, reference),
    }
}

/// COMPAT: only upper-case digits make an escape; any other `%` is itself. Bytes that are no
/// UTF-8 become the replacement character.
fn unescape_percent(name: &str) -> String {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let bytes = name.as_bytes();
    let mut unescaped = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        if let [b'%', high, low, ..] = bytes[index..]
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            unescaped.push(high << 4 | low);
            index += 3;
            continue;
        }
        unescaped.push(bytes[index]);
        index += 1;
    }
    String::from_utf8_lossy(&unescaped).into_owned()
}

/// COMPAT: an escape has two digits or more: `&#91;` is one, `&#9;` is not.
fn unescape_ampersand(name: &str, reference: &str) -> Result<String, FieldReferenceError> {
    let mut unescaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(start) = rest.find("&#") {
        let digits_start = start + 2;
        let digits = rest[digits_start..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        let end = digits_start + digits;
        if digits < 2 || rest.as_bytes().get(end) != Some(&b';') {
            unescaped.push_str(&rest[..digits_start]);
            rest = &rest[digits_start..];
            continue;
        }
        let character = rest[digits_start..end]
            .parse()
            .ok()
            .and_then(char::from_u32);
        let Some(character) = character else {
            return Err(FieldReferenceError::BadEscape {
                reference: reference.to_owned(),
                escape: rest[start..=end].to_owned(),
            });
        };
        unescaped.push_str(&rest[..start]);
        unescaped.push(character);
        rest = &rest[end + 1..];
    }
    unescaped.push_str(rest);
    Ok(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(reference: &str) -> Vec<String> {
        FieldReference::parse(reference).unwrap().keys().to_vec()
    }

    #[test]
    fn bare_and_bracketed_names() {
        assert_eq!(keys("message"), ["message"]);
        assert_eq!(keys("[message]"), ["message"]);
        assert_eq!(keys("[a][b c][-1]"), ["a", "b c", "-1"]);
        assert_eq!(keys("[[a][b]]"), ["a", "b"]);
        assert_eq!(keys("a.b"), ["a.b"]);
        assert_eq!(FieldReference::parse("[a]").unwrap().top_level(), Some("a"));
        assert_eq!(FieldReference::parse("[a][b]").unwrap().top_level(), None);
    }

    #[test]
    fn metadata_is_a_root_of_its_own() {
        let parent = FieldReference::parse("[@metadata]").unwrap();
        assert!(parent.is_metadata() && parent.keys().is_empty());
        let child = FieldReference::parse("[@metadata][a][b]").unwrap();
        assert!(child.is_metadata());
        assert_eq!(child.keys(), ["a", "b"]);
        assert!(
            !FieldReference::parse("[a][@metadata]")
                .unwrap()
                .is_metadata()
        );
    }

    #[test]
    fn faults_say_what_to_write() {
        let error = FieldReference::parse("foo[bar]").unwrap_err();
        assert!(
            error.to_string().contains("write it as `[foo][bar]`"),
            "{error}"
        );
        for reference in [
            "[", "]", "[a", "a]", "[]", "[a][]", "[a[b]]", "[a]b", "[[]]",
        ] {
            assert!(FieldReference::parse(reference).is_err(), "{reference}");
        }
    }

    #[test]
    fn escapes() {
        let percent = |text| FieldReference::parse_with(text, EscapeStyle::Percent).unwrap();
        assert_eq!(percent("[a%5Bb%5D][%5b][5%]").keys(), ["a[b]", "%5b", "5%"]);
        let ampersand = |text| FieldReference::parse_with(text, EscapeStyle::Ampersand);
        assert_eq!(
            ampersand("[a&#91;b&#93;][&#9;&&#]").unwrap().keys(),
            ["a[b]", "&#9;&&#"]
        );
        assert!(ampersand("[&#99999999;]").is_err());
        assert!(ampersand("[&#55296;]").is_err());
    }

    #[test]
    fn indexes() {
        assert_eq!(list_index("0"), Some(0));
        assert_eq!(list_index("-1"), Some(-1));
        assert_eq!(list_index("+1"), None);
        assert_eq!(list_index("-"), None);
        assert_eq!(list_index("1a"), None);
    }
}
