//! What an expression is written of: references, groups, classes and characters, with their
//! places. For tools that talk about an expression; matching does not need it.
//!
//! It takes any text. Where the text is not a valid expression, or is written in the extended
//! form `(?x)` with parentheses in comments, the outline is a guess.

use std::ops::Range;

use crate::reference::{Reference, split_type};

/// One piece of an expression, its quantifier included.
///
/// ```
/// let part = &skidder_grok::outline("%{INT:n}{2}")[0];
/// assert_eq!((part.range.clone(), part.quantifier), (0..11, "{2}"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part<'t> {
    /// What it is.
    pub kind: PartKind<'t>,
    /// The bytes of the expression it takes, its quantifier included.
    pub range: Range<usize>,
    /// The quantifier: `*`, `{1,3}?`, or empty.
    pub quantifier: &'t str,
}

/// What a [`Part`] is.
///
/// ```
/// use skidder_grok::{PartKind, outline};
///
/// let parts = outline(r"^\d|a");
/// assert!(matches!(parts[0].kind, PartKind::Assertion));
/// assert!(matches!(parts[1].kind, PartKind::Class));
/// assert!(matches!(parts[2].kind, PartKind::Or));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartKind<'t> {
    /// `%{NAME:field:type=definition}`.
    Reference {
        /// The pattern's name.
        name: &'t str,
        /// The field, without the type.
        field: Option<&'t str>,
        /// The type as it is written.
        kind: Option<&'t str>,
        /// A definition on the spot: its bytes.
        definition: Option<Range<usize>>,
    },
    /// Anything in parentheses.
    Group {
        /// What the parentheses do.
        kind: GroupKind,
        /// The bytes inside of them.
        inside: Range<usize>,
    },
    /// `\1` or `\k<name>`.
    BackReference,
    /// A class, `.` or an escape for one.
    Class,
    /// `^`, `$`, `\b` and the like: a condition without a text.
    Assertion,
    /// `|`.
    Or,
    /// `(?i)`.
    Flags,
    /// A character that stands for itself.
    Character,
}

/// What parentheses do.
///
/// ```
/// use skidder_grok::{GroupKind, PartKind, outline};
///
/// let group = &outline("(?!ab)")[0];
/// let ahead = GroupKind::LookAhead { negative: true };
/// assert!(matches!(&group.kind, PartKind::Group { kind, inside } if *kind == ahead && *inside == (3..5)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupKind {
    /// `(…)`, `(?:…)` or `(?i:…)`.
    Plain,
    /// `(?<name>…)`.
    Named,
    /// `(?=…)` or `(?!…)`.
    LookAhead {
        /// Whether it must not match.
        negative: bool,
    },
    /// `(?<=…)` or `(?<!…)`.
    LookBehind {
        /// Whether it must not match.
        negative: bool,
    },
    /// `(?>…)`.
    Atomic,
    /// `(?#…)`.
    Comment,
}

/// The parts of an expression, in order; what is inside of groups is outlined by calling this on
/// their inside.
///
/// ```
/// use skidder_grok::{PartKind, outline};
///
/// let parts = outline("^%{IP:client} (?:a|b)+");
/// assert_eq!(parts.len(), 4);
/// assert!(matches!(parts[1].kind, PartKind::Reference { name: "IP", .. }));
/// assert_eq!(parts[3].quantifier, "+");
/// ```
pub fn outline(expression: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < expression.len() {
        let (kind, length) = part(expression, at);
        let end = at + length;
        let quantifier = match kind {
            PartKind::Or | PartKind::Flags => "",
            _ => quantifier(&expression[end..]),
        };
        let range = at..end + quantifier.len();
        at = range.end;
        parts.push(Part {
            kind,
            range,
            quantifier,
        });
    }
    parts
}

/// What stands at a place, and how many bytes it takes.
fn part(expression: &str, at: usize) -> (PartKind<'_>, usize) {
    let text = &expression[at..];
    if let Some(reference) = Reference::read(text) {
        let (field, kind) = match reference.field.map(split_type) {
            Some((field, kind)) => (Some(field), kind),
            None => (None, None),
        };
        let definition = reference.definition.and_then(|definition| {
            let from = at + text[..reference.length].find('=')? + 1;
            Some(from..from + definition.len())
        });
        let kind = PartKind::Reference {
            name: reference.name,
            field,
            kind,
            definition,
        };
        return (kind, reference.length);
    }
    let first = text.chars().next().unwrap_or_default();
    match first {
        '(' => group(text, at),
        '[' => (PartKind::Class, class_length(text)),
        '\\' => escape(text),
        '.' => (PartKind::Class, 1),
        '^' | '$' => (PartKind::Assertion, 1),
        '|' => (PartKind::Or, 1),
        other => (PartKind::Character, other.len_utf8()),
    }
}

fn escape(text: &str) -> (PartKind<'_>, usize) {
    let Some(letter) = text[1..].chars().next() else {
        return (PartKind::Character, 1);
    };
    let rest = &text[1 + letter.len_utf8()..];
    match letter {
        '1'..='9' => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (PartKind::BackReference, 2 + digits)
        }
        'k' if rest.starts_with(['<', '\'']) => {
            let close = if rest.starts_with('<') { '>' } else { '\'' };
            let length = rest[1..].find(close).map_or(rest.len(), |at| at + 2);
            (PartKind::BackReference, 2 + length)
        }
        'b' | 'B' | 'A' | 'z' | 'Z' => (PartKind::Assertion, 2),
        'p' | 'P' if rest.starts_with('{') => {
            let length = rest.find('}').map_or(rest.len(), |at| at + 1);
            (PartKind::Class, 2 + length)
        }
        'w' | 'W' | 'd' | 'D' | 's' | 'S' | 'h' | 'H' | 'R' => (PartKind::Class, 2),
        other => (PartKind::Character, 1 + other.len_utf8()),
    }
}

fn group(text: &str, at: usize) -> (PartKind<'_>, usize) {
    const OPENINGS: &[(&str, GroupKind)] = &[
        ("(?:", GroupKind::Plain),
        ("(?=", GroupKind::LookAhead { negative: false }),
        ("(?!", GroupKind::LookAhead { negative: true }),
        ("(?<=", GroupKind::LookBehind { negative: false }),
        ("(?<!", GroupKind::LookBehind { negative: true }),
        ("(?>", GroupKind::Atomic),
        ("(?#", GroupKind::Comment),
    ];
    let length = group_length(text);
    let closed = text[..length].ends_with(')') && length > 1;
    let end = length - usize::from(closed);
    let of = |kind, skip: usize| {
        let inside = at + skip.min(end)..at + end;
        (PartKind::Group { kind, inside }, length)
    };
    if let Some((opening, kind)) = OPENINGS
        .iter()
        .find(|(opening, _)| text.starts_with(opening))
    {
        return of(*kind, opening.len());
    }
    if text.starts_with("(?<") || text.starts_with("(?'") {
        let close = if text.starts_with("(?<") { '>' } else { '\'' };
        let skip = text[3..].find(close).map_or(end, |at| at + 4);
        return of(GroupKind::Named, skip);
    }
    if let Some(flags) = text.strip_prefix("(?") {
        let letters = flags
            .bytes()
            .take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'-')
            .count();
        return match flags.as_bytes().get(letters) {
            Some(b')') => (PartKind::Flags, 2 + letters + 1),
            Some(b':') => of(GroupKind::Plain, 2 + letters + 1),
            _ => of(GroupKind::Plain, 2 + letters),
        };
    }
    of(GroupKind::Plain, 1)
}

/// The bytes from an opening parenthesis to the one that closes it.
fn group_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        if let Some(reference) = text.get(at..).and_then(Reference::read) {
            at += reference.length;
            continue;
        }
        match byte {
            b'\\' => at += 1,
            b'[' => {
                at += class_length(&text[at..]);
                continue;
            }
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The bytes from an opening bracket to the one that closes it; classes nest.
fn class_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => {
                depth += 1;
                // A bracket right at the start stands for itself.
                let start = at + 1 + usize::from(bytes.get(at + 1) == Some(&b'^'));
                if bytes.get(start) == Some(&b']') {
                    at = start;
                }
            }
            b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The quantifiers at the start of a text.
fn quantifier(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at = match bytes.get(at) {
            Some(b'*' | b'+' | b'?') => at + 1,
            Some(b'{') => match interval_length(&text[at..]) {
                Some(length) => at + length,
                None => break,
            },
            _ => break,
        };
    }
    &text[..at]
}

fn interval_length(text: &str) -> Option<usize> {
    let inside = &text[1..text.find('}')?];
    let valid = inside.bytes().any(|byte| byte.is_ascii_digit())
        && inside
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b',');
    valid.then_some(inside.len() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(expression: &str) -> Vec<&str> {
        outline(expression)
            .into_iter()
            .map(|part| &expression[part.range])
            .collect()
    }

    #[test]
    fn cuts_at_the_parts() {
        assert_eq!(
            texts(r"^%{IP:a}\s+[^\]\[]{2,}?(?<n>a(b)[)])*+\k<n>ü|x{a}"),
            [
                "^",
                "%{IP:a}",
                r"\s+",
                r"[^\]\[]{2,}?",
                "(?<n>a(b)[)])*+",
                r"\k<n>",
                "ü",
                "|",
                "x",
                "{",
                "a",
                "}"
            ]
        );
        assert_eq!(
            texts("[]a][^]b]+[[:alpha:]_]"),
            ["[]a]", "[^]b]+", "[[:alpha:]_]"]
        );
    }

    #[test]
    fn knows_groups_and_definitions() {
        let text = "(?i)(?<!a)(?>b)(?=c)%{N:f:int=(d)}";
        let parts = outline(text);
        assert_eq!(parts[0].kind, PartKind::Flags);
        for (index, kind, inside) in [
            (1, GroupKind::LookBehind { negative: true }, "a"),
            (2, GroupKind::Atomic, "b"),
            (3, GroupKind::LookAhead { negative: false }, "c"),
        ] {
            let PartKind::Group {
                kind: found,
                inside: range,
            } = &parts[index].kind
            else {
                panic!("{:?}", parts[index]);
            };
            assert_eq!((*found, &text[range.clone()]), (kind, inside));
        }
        let PartKind::Reference {
            field,
            kind,
            definition: Some(definition),
            ..
        } = &parts[4].kind
        else {
            panic!("{:?}", parts[4]);
        };
        assert_eq!((*field, *kind), (Some("f"), Some("int")));
        assert_eq!(&text[definition.clone()], "(d)");
    }

    #[test]
    fn takes_any_text_and_covers_all_of_it() {
        let mut texts: Vec<String> = [
            "(", "[", "(?", "(?<", r"\", "(?<a", "[^", "%{", r"\k<", "((?:)",
        ]
        .map(str::to_owned)
        .to_vec();
        let pieces = [
            "(", ")", "[", "]", "?", "*", "{1}", r"\", "%{A}", "ü", "|", "<", "^",
        ];
        let mut state = 7_u64;
        for _ in 0..5000 {
            let mut text = String::new();
            for _ in 0..8 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            texts.push(text);
        }
        for text in texts {
            let mut end = 0;
            for part in outline(&text) {
                assert_eq!(part.range.start, end, "{text}");
                assert!(text.get(part.range.clone()).is_some(), "{text}");
                end = part.range.end;
                if let PartKind::Group { inside, .. } = part.kind {
                    assert!(text.get(inside).is_some(), "{text}");
                }
            }
            assert_eq!(end, text.len());
        }
    }
}
