//! The words of Ruby, as far as the code of filters uses them.

/// A word, with the line it stands on and whether white space stands before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) line: usize,
    pub(super) spaced: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A name or a keyword; `empty?` and `gsub!` are names.
    Word(String),
    /// `Time`, `JSON`.
    Constant(String),
    /// `@count`, `$1`.
    Variable(String),
    /// `:name`.
    Symbol(String),
    /// `name:` in a hash.
    Label(String),
    Integer(i64),
    Float(f64),
    /// A text; with parts if there is `#{…}` in it.
    Text(Vec<Part>),
    Regex(String),
    /// `%w[a b]`.
    Words(Vec<String>),
    Sign(&'static str),
    Break,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    /// The code in `#{…}`.
    Code(String),
}

/// What cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// Longer ones first.
const SIGNS: [&str; 52] = [
    "<=>", "**=", "||=", "&&=", "...", "===", "<<=", "&.", "::", "->", "**", "<<", ">>", "<=",
    ">=", "==", "!=", "=~", "!~", "=>", "&&", "||", "+=", "-=", "*=", "/=", "%=", "..", "=", "<",
    ">", "+", "-", "*", "/", "%", "!", "(", ")", "[", "]", "{", "}", ",", ".", "?", ":", "&", "|",
    "^", "~", "\\",
];

/// Splits code into words.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut lexer = Lexer {
        rest: text,
        line: 1,
        tokens: Vec::new(),
    };
    while lexer.token()? {}
    Ok(lexer.tokens)
}

struct Lexer<'t> {
    rest: &'t str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal {
            line: self.line,
            reason: reason.into(),
        })
    }

    fn push(&mut self, kind: Kind, spaced: bool) {
        self.tokens.push(Token {
            kind,
            line: self.line,
            spaced,
        });
    }

    /// Whether a value ends here, so that `/` divides and `[` asks for an element.
    fn after_value(&self) -> bool {
        match self.tokens.last().map(|token| &token.kind) {
            Some(Kind::Word(word)) => !matches!(
                word.as_str(),
                "if" | "elsif"
                    | "unless"
                    | "while"
                    | "until"
                    | "and"
                    | "or"
                    | "not"
                    | "when"
                    | "return"
                    | "in"
                    | "then"
                    | "do"
                    | "else"
                    | "case"
            ),
            Some(Kind::Sign(sign)) => matches!(*sign, ")" | "]" | "}"),
            Some(Kind::Break | Kind::End | Kind::Label(_)) | None => false,
            Some(_) => true,
        }
    }

    /// Reads one word; answers whether there may be more.
    fn token(&mut self) -> Result<bool, Refusal> {
        let before = self.rest.len();
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
        while let Some(rest) = self.rest.strip_prefix("\\\n") {
            self.line += 1;
            self.rest = rest.trim_start_matches([' ', '\t', '\r']);
        }
        let spaced = self.rest.len() < before;
        let Some(first) = self.rest.chars().next() else {
            self.push(Kind::End, spaced);
            return Ok(false);
        };
        let second = self.rest[first.len_utf8()..].chars().next();
        match first {
            '#' => {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            }
            '\n' => {
                self.rest = &self.rest[1..];
                // A line that begins with a dot goes on with the one before.
                let next = self.rest.trim_start();
                let goes_on =
                    next.starts_with('.') && !next.starts_with("..") || next.starts_with("&.");
                if !goes_on {
                    self.push(Kind::Break, spaced);
                }
                self.line += 1;
            }
            ';' => {
                self.rest = &self.rest[1..];
                self.push(Kind::Break, spaced);
            }
            '\'' | '"' => {
                self.rest = &self.rest[1..];
                let parts = self.text(first, None, first == '"')?;
                let is_label =
                    first == '"' && self.rest.starts_with(':') && !self.rest.starts_with("::")
                        || first == '\'' && self.rest.starts_with(": ");
                if is_label && let [Part::Text(name)] = parts.as_slice() {
                    let name = name.clone();
                    self.rest = &self.rest[1..];
                    self.push(Kind::Label(name), spaced);
                    return Ok(true);
                }
                self.push(Kind::Text(parts), spaced);
            }
            '`' => {
                return self
                    .refuse("commands in back quotes run programs, which no filter here does");
            }
            '%' if second.is_some_and(|second| "wiqQr".contains(second)) && !self.after_value() => {
                self.percent(spaced)?;
            }
            '/' if !self.after_value()
                || spaced
                    && matches!(
                        self.tokens.last().map(|token| &token.kind),
                        Some(Kind::Word(_))
                    )
                    && second.is_some_and(|second| second != ' ') =>
            {
                self.rest = &self.rest[1..];
                let pattern = self.regex('/')?;
                self.push(Kind::Regex(pattern), spaced);
            }
            '<' if self.rest.starts_with("<<~") || self.rest.starts_with("<<-") => {
                return self.refuse("texts that end at a word (`<<~END`) are not read here");
            }
            ':' if second.is_some_and(|second| second.is_alphabetic() || second == '_') => {
                let length = word_length(&self.rest[1..]);
                let name = self.rest[1..=length].to_owned();
                self.rest = &self.rest[1 + length..];
                self.push(Kind::Symbol(name), spaced);
            }
            ':' if second == Some('"') => {
                self.rest = &self.rest[2..];
                match self.text('"', None, true)?.as_slice() {
                    [Part::Text(name)] => self.push(Kind::Symbol(name.clone()), spaced),
                    _ => return self.refuse("a symbol with `#{…}` is not read here"),
                }
            }
            '@' | '$' => {
                let at = if self.rest.starts_with("@@") { 2 } else { 1 };
                let length = word_length(&self.rest[at..]);
                if length == 0 {
                    return self.refuse(format!("`{first}` is not read here"));
                }
                let name = self.rest[..at + length].to_owned();
                self.rest = &self.rest[at + length..];
                self.push(Kind::Variable(name), spaced);
            }
            '0'..='9' => self.number(spaced)?,
            _ if first.is_alphabetic() || first == '_' => self.word(first, spaced),
            _ => match SIGNS.into_iter().find(|sign| self.rest.starts_with(sign)) {
                Some(sign) => {
                    self.rest = &self.rest[sign.len()..];
                    self.push(Kind::Sign(sign), spaced);
                }
                None => return self.refuse(format!("`{first}` is not read here")),
            },
        }
        Ok(true)
    }

    fn word(&mut self, first: char, spaced: bool) {
        let mut length = word_length(self.rest);
        let rest = &self.rest[length..];
        let follows = rest.chars().nth(1);
        // `empty?` and `gsub!`, but neither `a ? b : c` nor `a != b`.
        let has_mark = rest.starts_with('?') && follows != Some(':')
            || rest.starts_with('!') && follows != Some('=');
        let is_ternary = rest.starts_with('?')
            && follows.is_some_and(|next| next == ' ')
            && is_ternary(&rest[1..]);
        if has_mark && !is_ternary {
            length += 1;
        }
        let word = self.rest[..length].to_owned();
        let rest = &self.rest[length..];
        let after_dot = matches!(
            self.tokens.last().map(|token| &token.kind),
            Some(Kind::Sign("." | "&." | "?"))
        );
        if rest.starts_with(':') && !rest.starts_with("::") && !after_dot {
            self.rest = &rest[1..];
            self.push(Kind::Label(word), spaced);
            return;
        }
        self.rest = rest;
        let kind = if first.is_uppercase() {
            Kind::Constant(word)
        } else {
            Kind::Word(word)
        };
        self.push(kind, spaced);
    }

    fn number(&mut self, spaced: bool) -> Result<(), Refusal> {
        if let Some(digits) = self.rest.strip_prefix("0x") {
            let length = digits
                .find(|c: char| !c.is_ascii_hexdigit())
                .unwrap_or(digits.len());
            let Ok(value) = i64::from_str_radix(&digits[..length], 16) else {
                return self.refuse("a number is too long");
            };
            self.rest = &digits[length..];
            self.push(Kind::Integer(value), spaced);
            return Ok(());
        }
        let digits = |text: &str| {
            text.find(|c: char| !c.is_ascii_digit() && c != '_')
                .unwrap_or(text.len())
        };
        let mut length = digits(self.rest);
        let mut is_float = false;
        if let Some(fraction) = self.rest[length..].strip_prefix('.')
            && fraction.starts_with(|c: char| c.is_ascii_digit())
        {
            length += 1 + digits(fraction);
            is_float = true;
        }
        if let Some(exponent) = self.rest[length..].strip_prefix(['e', 'E']) {
            let unsigned = exponent.trim_start_matches(['+', '-']);
            if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
                length += 1 + (exponent.len() - unsigned.len()) + digits(unsigned);
                is_float = true;
            }
        }
        let text = self.rest[..length].replace('_', "");
        let kind = if is_float {
            text.parse().ok().map(Kind::Float)
        } else {
            text.parse().ok().map(Kind::Integer)
        };
        let Some(kind) = kind else {
            return self.refuse("a number is too long");
        };
        self.rest = &self.rest[length..];
        self.push(kind, spaced);
        Ok(())
    }

    fn percent(&mut self, spaced: bool) -> Result<(), Refusal> {
        let letter = self.rest.as_bytes().get(1).copied().unwrap_or_default();
        let Some(open) = self.rest[2..].chars().next() else {
            return self.refuse("a text is not closed");
        };
        let close = match open {
            '(' => ')',
            '[' => ']',
            '{' => '}',
            '<' => '>',
            other if other.is_alphanumeric() || other == ' ' => {
                return self.refuse("`%` is not read here");
            }
            other => other,
        };
        self.rest = &self.rest[2 + open.len_utf8()..];
        if letter == b'r' {
            let pattern = self.regex(close)?;
            self.push(Kind::Regex(pattern), spaced);
            return Ok(());
        }
        let nested = (open != close).then_some(open);
        let parts = self.text(close, nested, letter == b'Q')?;
        if matches!(letter, b'w' | b'i') {
            let words = parts.iter().flat_map(|part| match part {
                Part::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
                Part::Code(_) => Vec::new(),
            });
            let words = words.collect();
            self.push(Kind::Words(words), spaced);
        } else {
            self.push(Kind::Text(parts), spaced);
        }
        Ok(())
    }

    /// A text up to its end, behind its beginning.
    fn text(
        &mut self,
        close: char,
        open: Option<char>,
        escapes: bool,
    ) -> Result<Vec<Part>, Refusal> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut level = 0;
        loop {
            let Some(character) = self.rest.chars().next() else {
                return self.refuse("a text is not closed");
            };
            if escapes && self.rest.starts_with("#{") {
                let Some(end) = closing_brace(&self.rest[2..]) else {
                    return self.refuse("`#{` is not closed");
                };
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Code(self.rest[2..2 + end].to_owned()));
                self.rest = &self.rest[3 + end..];
                continue;
            }
            self.rest = &self.rest[character.len_utf8()..];
            if character == '\n' {
                self.line += 1;
            }
            if character == close && level == 0 {
                break;
            }
            if character == close {
                level -= 1;
            } else if Some(character) == open {
                level += 1;
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            let Some(escaped) = self.rest.chars().next() else {
                return self.refuse("a text is not closed");
            };
            self.rest = &self.rest[escaped.len_utf8()..];
            if escapes {
                match escaped {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    '0' => text.push('\0'),
                    'e' => text.push('\u{1b}'),
                    's' => text.push(' '),
                    '\n' => self.line += 1,
                    'u' | 'x' | '1'..='7' | 'a' | 'b' | 'c' | 'f' | 'v' | 'M' | 'C' => {
                        return self.refuse(format!("`\\{escaped}` in a text is not read here"));
                    }
                    other => text.push(other),
                }
            } else if escaped == close || escaped == '\\' {
                text.push(escaped);
            } else {
                text.extend(['\\', escaped]);
            }
        }
        if !text.is_empty() || parts.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(parts)
    }

    fn regex(&mut self, close: char) -> Result<String, Refusal> {
        let mut pattern = String::new();
        loop {
            let Some(character) = self.rest.chars().next() else {
                return self.refuse("a regular expression is not closed");
            };
            if self.rest.starts_with("#{") {
                return self.refuse("`#{…}` in a regular expression is not read here");
            }
            self.rest = &self.rest[character.len_utf8()..];
            if character == close {
                break;
            }
            if character == '\n' {
                self.line += 1;
            }
            pattern.push(character);
            if character == '\\'
                && let Some(escaped) = self.rest.chars().next()
            {
                self.rest = &self.rest[escaped.len_utf8()..];
                if escaped == close {
                    pattern.pop();
                }
                pattern.push(escaped);
            }
        }
        let length = word_length(self.rest);
        let flags = &self.rest[..length];
        let refused = flags.chars().find(|flag| !"imxu".contains(*flag));
        if let Some(flag) = refused {
            return self.refuse(format!(
                "the flag `{flag}` of a regular expression is not read here"
            ));
        }
        let flags: String = flags.chars().filter(|flag| *flag != 'u').collect();
        self.rest = &self.rest[length..];
        Ok(if flags.is_empty() {
            pattern
        } else {
            format!("(?{flags}:{pattern})")
        })
    }
}

fn word_length(text: &str) -> usize {
    text.find(|character: char| !character.is_alphanumeric() && character != '_')
        .unwrap_or(text.len())
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut level = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' => level += 1,
            '}' if level == 0 => return Some(at),
            '}' => level -= 1,
            _ => {}
        }
    }
    None
}

/// Whether behind `name?` comes `… : …`, so that the mark asks and does not belong to the name.
fn is_ternary(rest: &str) -> bool {
    let line = rest.lines().next().unwrap_or_default();
    // `x.nil? ? a : b` has a mark of its own.
    !line.trim_start().starts_with('?') && line.contains(" : ") && !line.contains(" ? ")
}
