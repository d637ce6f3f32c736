//! A line as a sequence of tokens: times, addresses, numbers, words and what stands between.
//!
//! Kinds that have a standard pattern are recognised by that pattern, anchored where the token
//! begins, so that what is proposed later is what was seen. INVARIANT: the texts of the tokens
//! put together are the line.

use skidder_grok::{CompileOptions, Matcher, PatternSet, Scratch, Slots};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// One of [`TYPED`], by its index.
    Typed(usize),
    /// A method, a path and a version in quotes.
    Request,
    /// Text in double quotes.
    Quoted,
    /// A name with an equals sign behind it.
    Key,
    /// A whole number.
    Integer,
    /// A number with a point.
    Decimal,
    /// A path of a file.
    Path,
    /// Letters only.
    Word,
    /// Letters, digits, points, dashes and underscores.
    Name,
    /// A dash that stands for nothing.
    Dash,
    /// White space.
    Space,
    /// Any other character, for itself.
    Punctuation,
    /// All that is left of the line.
    Rest,
}

/// A kind that a standard pattern recognises.
pub(super) struct Typed {
    pub(super) pattern: &'static str,
    /// What such a field is called.
    pub(super) field: &'static str,
}

/// The kinds, in the order in which they are tried.
pub(super) const TYPED: &[Typed] = &[
    typed("TIMESTAMP_ISO8601", "timestamp"),
    typed("HTTPDATE", "timestamp"),
    typed("SYSLOGTIMESTAMP", "timestamp"),
    typed("HTTPDERROR_DATE", "timestamp"),
    typed("NGINX_TIME", "timestamp"),
    typed("UUID", "uuid"),
    typed("MAC", "mac"),
    typed("IP", "ip"),
    typed("TIME", "time"),
    typed("URI", "url"),
    typed("EMAILADDRESS", "email"),
    typed("LOGLEVEL", "level"),
];

/// Index of the level of a log in [`TYPED`].
pub(super) const LEVEL: Kind = Kind::Typed(11);
/// Index of an address in [`TYPED`].
pub(super) const ADDRESS: Kind = Kind::Typed(7);

/// Patterns that are not standard, written out where they are used.
pub(super) const OWN: &[(&str, &str)] =
    &[("NGINX_TIME", "%{YEAR}/%{MONTHNUM2}/%{MONTHDAY} %{TIME}")];

/// Longest text that is looked at for a typed token.
const LONGEST_TYPED: usize = 256;

const fn typed(pattern: &'static str, field: &'static str) -> Typed {
    Typed { pattern, field }
}

/// A token of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'l> {
    pub(super) kind: Kind,
    pub(super) text: &'l str,
}

/// Cuts lines into tokens.
pub(super) struct Tokenizer {
    typed: Vec<(Matcher, Scratch)>,
    request: (Matcher, Scratch),
    slots: Slots,
}

impl Tokenizer {
    /// Compiles the patterns of the kinds.
    pub(super) fn new(set: &PatternSet) -> Result<Self, skidder_grok::CompileError> {
        let compile = |expression: &str| {
            let matcher = set.compile(expression, &CompileOptions::default())?;
            let scratch = matcher.scratch();
            Ok((matcher, scratch))
        };
        let typed = TYPED
            .iter()
            .map(|typed| {
                compile(&format!(
                    r"\A(?<token>%{{{}}})(?![A-Za-z0-9_])",
                    typed.pattern
                ))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            typed,
            request: compile(r#"\A(?<token>"[A-Z]+ [^ "]+ HTTP/[0-9]\.?[0-9]?")"#)?,
            slots: Slots::new(),
        })
    }

    /// The tokens of a line; what is behind `most` tokens or `limit` bytes is one token.
    pub(super) fn tokens<'l>(
        &mut self,
        line: &'l str,
        most: usize,
        limit: usize,
    ) -> Vec<Token<'l>> {
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < line.len() {
            let rest = &line[at..];
            if tokens.len() + 1 >= most || at >= limit {
                tokens.push(Token {
                    kind: Kind::Rest,
                    text: rest,
                });
                break;
            }
            let before = line[..at].chars().next_back();
            let (kind, length) = self.token(rest, before);
            tokens.push(Token {
                kind,
                text: &rest[..length],
            });
            at += length;
        }
        tokens
    }

    fn token(&mut self, rest: &str, before: Option<char>) -> (Kind, usize) {
        let first = rest.chars().next().unwrap_or_default();
        if first.is_whitespace() {
            let length = rest.len() - rest.trim_start().len();
            return (Kind::Space, length);
        }
        if first == '"' {
            return self.quoted(rest);
        }
        let starts = first.is_ascii_alphanumeric() || matches!(first, ':' | '/' | '_');
        if starts && let Some(found) = self.typed(rest) {
            return found;
        }
        if let Some(length) = key(rest) {
            return (Kind::Key, length);
        }
        if let Some((kind, length)) = number(rest, before) {
            return (kind, length);
        }
        if first == '/' {
            let length = length_while(rest, |c| {
                !c.is_whitespace() && !"\"'<>|,;()[]{}".contains(c)
            });
            if length > 1 {
                return (Kind::Path, length);
            }
        }
        if first == '-' && !rest[1..].starts_with(is_name) && !before.is_some_and(is_name) {
            return (Kind::Dash, 1);
        }
        if first.is_alphanumeric() || first == '_' {
            let whole = length_while(rest, is_name);
            // What ends a sentence is no part of a word.
            let length = rest[..whole].trim_end_matches(['.', '-']).len();
            let text = &rest[..length];
            let is_word = text.chars().all(char::is_alphabetic);
            return (if is_word { Kind::Word } else { Kind::Name }, length);
        }
        (Kind::Punctuation, first.len_utf8())
    }

    fn quoted(&mut self, rest: &str) -> (Kind, usize) {
        if let Some(length) = find(&mut self.request, &mut self.slots, rest) {
            return (Kind::Request, length);
        }
        let mut escaped = false;
        for (at, byte) in rest.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return (Kind::Quoted, at + 1),
                _ => {}
            }
        }
        (Kind::Punctuation, 1)
    }

    fn typed(&mut self, rest: &str) -> Option<(Kind, usize)> {
        let mut end = rest.len().min(LONGEST_TYPED);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let slots = &mut self.slots;
        self.typed
            .iter_mut()
            .enumerate()
            .find_map(|(index, matcher)| {
                let length = find(matcher, slots, &rest[..end])?;
                // Half of a longer name is none.
                let whole = !rest[length..].starts_with(['-', '.'])
                    || !rest[length + 1..].starts_with(is_name);
                // `::` is an address, but hardly ever meant as one.
                let meant = rest[..length].contains(char::is_alphanumeric);
                (meant && whole).then_some((Kind::Typed(index), length))
            })
    }
}

/// The length of what a matcher finds at the start.
fn find(matcher: &mut (Matcher, Scratch), slots: &mut Slots, text: &str) -> Option<usize> {
    let (matcher, scratch) = matcher;
    match matcher.find(text.as_bytes(), scratch, slots) {
        // The token is the first capture, which starts at the start.
        Ok(true) => slots.get(0).map(|(_, end)| end),
        _ => None,
    }
}

/// The length of `name=`.
fn key(rest: &str) -> Option<usize> {
    if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '@')) {
        return None;
    }
    let length = length_while(rest, |c| is_name(c) || c == '@');
    let behind = &rest[length..];
    (behind.starts_with('=') && !behind.starts_with("==")).then_some(length + 1)
}

/// A number that is not a part of a name.
fn number(rest: &str, before: Option<char>) -> Option<(Kind, usize)> {
    if before.is_some_and(is_name) {
        return None;
    }
    let sign = usize::from(rest.starts_with(['-', '+']));
    let digits = |text: &str| length_while(text, |c| c.is_ascii_digit());
    let whole = digits(&rest[sign..]);
    if whole == 0 {
        return None;
    }
    let mut length = sign + whole;
    let mut kind = Kind::Integer;
    let behind = &rest[length..];
    if behind.starts_with('.') && digits(&behind[1..]) > 0 {
        length += 1 + digits(&behind[1..]);
        kind = Kind::Decimal;
    }
    let behind = &rest[length..];
    let ends = !behind.starts_with(is_name)
        || (behind.starts_with(['.', '-']) && !behind[1..].starts_with(is_name));
    // A unit may follow without a space.
    let unit = length_while(behind, |c| c.is_ascii_alphabetic());
    let has_unit = UNITS.contains(&&behind[..unit]) && !behind[unit..].starts_with(is_name);
    (ends || has_unit).then_some((kind, length))
}

/// Units of numbers.
pub(super) const UNITS: &[&str] = &[
    "ns", "us", "ms", "s", "m", "h", "B", "KB", "kB", "MB", "GB", "K", "M", "G",
];

/// Whether a character may be in a name.
pub(super) fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.')
}

fn length_while(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|c| !wanted(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> PatternSet {
        let mut set = PatternSet::legacy();
        for (name, expression) in OWN {
            set.add(*name, *expression);
        }
        set
    }

    fn values(line: &str) -> Vec<(Kind, String)> {
        let mut tokenizer = Tokenizer::new(&set()).unwrap();
        let tokens = tokenizer.tokens(line, 100, 1000);
        let whole: String = tokens.iter().map(|token| token.text).collect();
        assert_eq!(whole, line);
        tokens
            .into_iter()
            .filter(|token| !matches!(token.kind, Kind::Space | Kind::Punctuation))
            .map(|token| (token.kind, token.text.to_owned()))
            .collect()
    }

    fn assert_values(line: &str, expected: &[(Kind, &str)]) {
        let found = values(line);
        let found: Vec<_> = found.iter().map(|(kind, text)| (*kind, &**text)).collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn typed_tokens() {
        assert_values(
            "2024-01-02T03:04:05.678Z ERROR [10.0.0.1] took 35ms id=7 -",
            &[
                (Kind::Typed(0), "2024-01-02T03:04:05.678Z"),
                (LEVEL, "ERROR"),
                (ADDRESS, "10.0.0.1"),
                (Kind::Word, "took"),
                (Kind::Integer, "35"),
                (Kind::Word, "ms"),
                (Kind::Key, "id="),
                (Kind::Integer, "7"),
                (Kind::Dash, "-"),
            ],
        );
        assert_values(
            r#""GET /a?b HTTP/1.1" "a \" b" /var/log/x.log, web-1.example.com 1.5."#,
            &[
                (Kind::Request, r#""GET /a?b HTTP/1.1""#),
                (Kind::Quoted, r#""a \" b""#),
                (Kind::Path, "/var/log/x.log"),
                (Kind::Name, "web-1.example.com"),
                (Kind::Decimal, "1.5"),
            ],
        );
        assert_values(
            "Nov  3 07:09:01 9f86d081-884c-4d65-9a2f-eaa0c55ad015 sshd[812]",
            &[
                (Kind::Typed(2), "Nov  3 07:09:01"),
                (Kind::Typed(5), "9f86d081-884c-4d65-9a2f-eaa0c55ad015"),
                (Kind::Word, "sshd"),
                (Kind::Integer, "812"),
            ],
        );
    }

    #[test]
    fn any_text_is_cut() {
        for line in [
            "",
            "\"",
            "ü=ä \u{3000}x",
            "a\0b",
            "---",
            "=1",
            "\"\\",
            "1.2.3.4.5.6",
            "é-",
            "+5-",
        ] {
            values(line);
        }
        let mut tokenizer = Tokenizer::new(&set()).unwrap();
        let tokens = tokenizer.tokens("a b c d", 4, 100);
        assert_eq!(
            tokens[3],
            Token {
                kind: Kind::Rest,
                text: " c d"
            }
        );
    }
}
