//! The original definitions of the standard patterns, expanded to plain regular expressions.
//!
//! The crate `grok` ships them; nothing of them is kept here.

use std::collections::HashMap;

/// An expression with the definitions of all its `%{NAME}` and `%{NAME:field}` put in.
///
/// Captures are called `c0`, `c1` and so on: some engines allow a name only once, or only letters
/// in it. A group without a name captures nothing, as in grok.
pub fn expand(expression: &str) -> String {
    expanded(expression, "(?:")
}

/// Like [`expand`], but groups without a name are left as they are written, so that an engine
/// which knows nothing of grok captures them too.
pub fn expand_as_written(expression: &str) -> String {
    expanded(expression, "(")
}

fn expanded(expression: &str, nameless: &'static str) -> String {
    let mut expansion = Expansion {
        definitions: grok::patterns().iter().copied().collect(),
        nameless,
        captures: 0,
        text: String::new(),
    };
    expansion.put(expression);
    expansion.text
}

/// An expression in the making.
struct Expansion {
    definitions: HashMap<&'static str, &'static str>,
    /// What opens a group without a name.
    nameless: &'static str,
    /// How many captures have their new names.
    captures: usize,
    text: String,
}

impl Expansion {
    /// Appends an expression, and what it refers to.
    fn put(&mut self, expression: &str) {
        let mut rest = expression;
        while let Some(at) = rest.find("%{") {
            self.put_renamed(&rest[..at]);
            let end = at + rest[at..].find('}').expect("a reference ends");
            let mut parts = rest[at + 2..end].split(':');
            let name = parts.next().expect("a name stands first");
            if parts.next().is_some_and(|field| !field.is_empty()) {
                self.put_renamed("(?<field>");
            } else {
                self.text.push_str("(?:");
            }
            let definition = *self
                .definitions
                .get(name)
                .unwrap_or_else(|| panic!("the crate grok has no pattern {name}"));
            self.put(definition);
            self.text.push(')');
            rest = &rest[end + 1..];
        }
        self.put_renamed(rest);
    }

    /// Appends a piece without references, in which groups get their new names.
    fn put_renamed(&mut self, piece: &str) {
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            let length = match rest.strip_prefix("(?<") {
                Some(name) if !name.starts_with(['=', '!']) => {
                    self.text.extend(["(?<c", &self.captures.to_string()]);
                    self.captures += 1;
                    at += rest.find('>').expect("a name ends");
                    continue;
                }
                _ => whole_token(rest),
            };
            if rest.starts_with('(') && !rest.starts_with("(?") {
                self.text.push_str(self.nameless);
            } else {
                self.text.push_str(&rest[..length]);
            }
            at += length;
        }
    }
}

/// Like [`token_end`], but never within a character.
fn whole_token(text: &str) -> usize {
    text.ceil_char_boundary(token_end(text.as_bytes()))
}

/// The expression without look-around, and with atomic groups made plain: what the crate `regex`
/// can run. It matches a little more than the original, and is a little less work.
pub fn without_look_around(expression: &str) -> String {
    let bytes = expression.as_bytes();
    let mut left = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if ["(?=", "(?!", "(?<=", "(?<!"]
            .iter()
            .any(|open| rest.starts_with(open.as_bytes()))
        {
            at += group_end(rest);
        } else if rest.starts_with(b"(?>") {
            left.extend_from_slice(b"(?:");
            at += 3;
        } else {
            let length = token_end(rest);
            left.extend_from_slice(&rest[..length]);
            at += length;
        }
    }
    String::from_utf8(left).expect("whole characters are taken out")
}

/// Length of the group that begins here.
fn group_end(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text[at] {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        at += token_end(&text[at..]);
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of the escape, the bracketed class or the single byte that stands here.
fn token_end(text: &[u8]) -> usize {
    match text[0] {
        b'\\' => text.len().min(2),
        b'[' => {
            let (mut depth, mut at) = (0_usize, 0);
            while at < text.len() {
                match text[at] {
                    b'\\' => at += 1,
                    b'[' => depth += 1,
                    // A bracket that stands first in its class is a member of it.
                    b']' if at > 1 && !text[..at].ends_with(b"[^") => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            at
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_to_the_last() {
        assert_eq!(
            expand(r"(?<!x)(?<a>%{WORD:[verb][b]:int})(?<=y)(?<a>z)!"),
            r"(?<!x)(?<c0>(?<c1>\b\w+\b))(?<=y)(?<c2>z)!"
        );
        assert_eq!(expand(r"(a|(?:b))\([(](?i:é)"), r"(?:a|(?:b))\([(](?i:é)");
        assert_eq!(
            expand_as_written(r"(a|(?:b))\([(](?<a>c)"),
            r"(a|(?:b))\([(](?<c0>c)"
        );
        assert!(!expand("%{COMBINEDAPACHELOG}").contains("%{"));
    }

    #[test]
    fn look_around_goes_and_all_else_stays() {
        for (with, without) in [
            (r"a(?<![0-9(])b(?!<\))c", "abc"),
            (r"(?>[(?!]|\(?=)(?=x(y)z)", r"(?:[(?!]|\(?=)"),
            (r"(?<name>[][(?=)]+)", r"(?<name>[][(?=)]+)"),
            (r"[[[:alnum:]](?!]é(?!é)", r"[[[:alnum:]](?!]é"),
        ] {
            assert_eq!(without_look_around(with), without);
        }
    }
}
