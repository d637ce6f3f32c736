//! From Ruby's syntax of regular expressions to that of the crates `regex` and `fancy-regex`.
//!
//! One pass from left to right over the characters. Everything that the two syntaxes read
//! differently is rewritten (escapes, classes, options, braces), the rest is copied; comments and
//! the white space of `(?x)` are dropped, so that the result never needs that option. The result
//! starts with `(?m)`, which in the target syntax is what Ruby always does with `^` and `$`.

use super::RegexError;
use super::classes::{posix, shorthand};

/// A translated pattern.
pub(super) struct Translated {
    /// In the target syntax.
    pub(super) pattern: String,
    /// Whether it needs an engine that backtracks.
    pub(super) backtracking: bool,
}

/// Translates a pattern.
pub(super) fn translate(pattern: &str) -> Result<Translated, RegexError> {
    let source: Vec<char> = pattern.chars().collect();
    let (captures, named) = count_groups(&source);
    let mut translator = Translator {
        source,
        at: 0,
        out: String::from("(?m)"),
        captures,
        opened: 0,
        named,
        extended: false,
        backtracking: false,
        groups: vec![Group::default()],
        last: Last::Nothing,
        last_start: 0,
    };
    translator.run()?;
    Ok(Translated {
        pattern: translator.out,
        backtracking: translator.backtracking,
    })
}

struct Translator {
    source: Vec<char>,
    at: usize,
    out: String,
    /// Number of capturing groups in the whole pattern, and in what was read.
    captures: usize,
    opened: usize,
    /// Whether a group has a name, in which case those without do not capture.
    named: bool,
    extended: bool,
    backtracking: bool,
    /// The open groups; the first is the pattern itself.
    groups: Vec<Group>,
    last: Last,
    /// Where the last item starts in `out`, to put it into a group.
    last_start: usize,
}

/// What stands before the place we are at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Item,
    /// `*`, `+` or `?`, which `+` makes possessive.
    Repeat,
    /// `{n}`, which `?` makes optional.
    Count,
    /// `{n,m}`.
    Range,
    /// A repeat with its `?` or `+`.
    FullRepeat,
}

#[derive(Default)]
struct Group {
    start: usize,
    extended_outside: bool,
    /// Groups that were opened for options that hold up to the end of this one.
    options: usize,
}

impl Translator {
    fn run(&mut self) -> Result<(), RegexError> {
        while let Some(character) = self.next() {
            match character {
                '\\' => self.escape()?,
                '[' => {
                    self.item();
                    self.class()?;
                }
                '(' => self.group()?,
                ')' => self.close()?,
                '|' => {
                    self.out.push('|');
                    self.last = Last::Nothing;
                }
                '^' | '$' | '.' => {
                    self.item();
                    self.out.push(character);
                }
                '*' | '+' | '?' => self.repeat(character),
                '{' => self.count(),
                '#' if self.extended => while self.next().is_some_and(|each| each != '\n') {},
                _ if self.extended && character.is_ascii_whitespace() => {}
                _ => self.literal(character),
            }
        }
        if self.groups.len() > 1 {
            return Err(self.fault("a parenthesis is not closed"));
        }
        for _ in 0..self.groups[0].options {
            self.out.push(')');
        }
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let character = self.source.get(self.at).copied()?;
        self.at += 1;
        Some(character)
    }

    fn peek(&self) -> Option<char> {
        self.source.get(self.at).copied()
    }

    fn next_if(&mut self, character: char) -> bool {
        let is_it = self.peek() == Some(character);
        if is_it {
            self.at += 1;
        }
        is_it
    }

    fn fault(&self, reason: &'static str) -> RegexError {
        RegexError::Invalid {
            reason,
            at: self.at,
        }
    }

    /// An item begins here.
    fn item(&mut self) {
        self.last = Last::Item;
        self.last_start = self.out.len();
    }

    fn literal(&mut self, character: char) {
        self.item();
        push_literal(&mut self.out, character);
    }

    fn push_item(&mut self, text: &str) {
        self.item();
        self.out.push_str(text);
    }

    /// Characters up to `end`, which is consumed too.
    fn until(&mut self, end: char) -> Result<String, RegexError> {
        let start = self.at;
        while let Some(character) = self.next() {
            if character == end {
                return Ok(self.source[start..self.at - 1].iter().collect());
            }
        }
        Err(self.fault("a name is not closed"))
    }

    // Repeats.

    fn repeat(&mut self, character: char) {
        match (self.last, character) {
            (Last::Repeat | Last::Range, '?') => {
                self.out.push('?');
                self.last = Last::FullRepeat;
            }
            (Last::Repeat, '+') => {
                self.out.push('+');
                self.backtracking = true;
                self.last = Last::FullRepeat;
            }
            (Last::Repeat | Last::Range | Last::Count | Last::FullRepeat, _) => {
                self.wrap_last();
                self.out.push(character);
                self.last = Last::Repeat;
            }
            (Last::Item | Last::Nothing, _) => {
                self.out.push(character);
                self.last = Last::Repeat;
            }
        }
    }

    /// Puts the last item with its repeats into a group, so that it can be repeated as a whole.
    fn wrap_last(&mut self) {
        self.out.insert_str(self.last_start, "(?:");
        self.out.push(')');
    }

    /// `{n}`, `{n,}`, `{,m}`, `{n,m}`; any other brace is itself.
    fn count(&mut self) {
        let rest = &self.source[self.at..];
        let close = rest.iter().position(|each| *each == '}');
        let inside: String = rest[..close.unwrap_or(0)].iter().collect();
        let (low, high) = match inside.split_once(',') {
            Some((low, high)) => (low, Some(high)),
            None => (inside.as_str(), None),
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_count = is_number(low)
            && high.is_none_or(is_number)
            && !(low.is_empty() && high.is_none_or(str::is_empty));
        if close.is_none() || !is_count || self.last == Last::Nothing {
            self.literal('{');
            return;
        }
        if self.last != Last::Item {
            self.wrap_last();
        }
        let low = if low.is_empty() { "0" } else { low };
        let (text, last) = match high {
            None => (format!("{{{low}}}"), Last::Count),
            Some(high) => (format!("{{{low},{high}}}"), Last::Range),
        };
        self.out.push_str(&text);
        self.last = last;
        self.at += inside.chars().count() + 1;
    }

    // Groups.

    fn open(&mut self, text: &str) {
        self.groups.push(Group {
            start: self.out.len(),
            extended_outside: self.extended,
            options: 0,
        });
        self.out.push_str(text);
        self.last = Last::Nothing;
    }

    fn open_backtracking(&mut self, text: &str) {
        self.backtracking = true;
        self.open(text);
    }

    fn close(&mut self) -> Result<(), RegexError> {
        if self.groups.len() == 1 {
            return Err(self.fault("a parenthesis is closed that was not opened"));
        }
        let Some(group) = self.groups.pop() else {
            return Ok(());
        };
        for _ in 0..=group.options {
            self.out.push(')');
        }
        self.extended = group.extended_outside;
        self.last = Last::Item;
        self.last_start = group.start;
        Ok(())
    }

    fn group(&mut self) -> Result<(), RegexError> {
        if !self.next_if('?') {
            if self.named {
                self.open("(?:");
            } else {
                self.opened += 1;
                self.open("(");
            }
            return Ok(());
        }
        match self.next() {
            Some('#') => {
                self.until(')')?;
            }
            Some(':') => self.open("(?:"),
            Some('=') => self.open_backtracking("(?="),
            Some('!') => self.open_backtracking("(?!"),
            Some('>') => self.open_backtracking("(?>"),
            Some('<') if self.next_if('=') => self.open_backtracking("(?<="),
            Some('<') if self.next_if('!') => self.open_backtracking("(?<!"),
            Some(quote @ ('<' | '\'')) => {
                let name = self.until(if quote == '<' { '>' } else { quote })?;
                self.opened += 1;
                self.open(&format!("(?<{name}>"));
            }
            Some('(') => {
                let condition = self.until(')')?;
                self.open_backtracking(&format!("(?({condition})"));
            }
            Some('~') => return Err(self.fault("the absent operator is not supported")),
            _ => {
                self.at -= 1;
                self.options()?;
            }
        }
        Ok(())
    }

    /// `(?imx-imx)` and `(?imx-imx:…)`.
    fn options(&mut self) -> Result<(), RegexError> {
        let (mut on, mut off) = (String::new(), String::new());
        let mut negated = false;
        let mut extended = self.extended;
        let isolated = loop {
            let flag = match self.next() {
                Some('i') => 'i',
                // COMPAT: what Ruby calls multi-line is that `.` matches a newline.
                Some('m') => 's',
                Some('x') => {
                    extended = !negated;
                    continue;
                }
                Some('d' | 'u' | 'a') if !negated => continue,
                Some('-') => {
                    negated = true;
                    continue;
                }
                Some(':') => break false,
                Some(')') => break true,
                _ => return Err(self.fault("an option of a group is not known")),
            };
            let flags = if negated { &mut off } else { &mut on };
            if !flags.contains(flag) {
                flags.push(flag);
            }
        };
        let minus = if off.is_empty() { "" } else { "-" };
        let text = format!("(?{on}{minus}{off}:");
        if isolated {
            // COMPAT: isolated options hold up to the end of the group around them, `|` included.
            self.out.push_str(&text);
            self.last = Last::Nothing;
            if let Some(group) = self.groups.last_mut() {
                group.options += 1;
            }
        } else {
            self.open(&text);
        }
        self.extended = extended;
        Ok(())
    }

    // Escapes outside of classes.

    fn escape(&mut self) -> Result<(), RegexError> {
        let Some(character) = self.next() else {
            return Err(self.fault("a backslash stands at the end"));
        };
        if let Some(class) = shorthand(character) {
            let text = format!("[{class}]");
            self.push_item(&text);
            return Ok(());
        }
        match character {
            'b' | 'B' | 'A' | 'z' => self.push_item(&format!("\\{character}")),
            'Z' => {
                self.push_item(r"(?=\n?\z)");
                self.backtracking = true;
            }
            'G' | 'K' => {
                self.push_item(&format!("\\{character}"));
                self.backtracking = true;
            }
            'R' => self.push_item(r"(?:\r\n|[\n-\r\u{85}\u{2028}\u{2029}])"),
            'X' => return Err(self.fault(r"`\X` is not supported")),
            'p' | 'P' => {
                let class = self.property(character == 'P')?;
                self.push_item(&class);
            }
            '1'..='9' if self.is_back_reference(character) => {
                let mut number = character.to_digit(10).unwrap_or_default() as usize;
                while let Some(digit) = self.peek().and_then(|each| each.to_digit(10)) {
                    let longer = number * 10 + digit as usize;
                    if longer > self.captures {
                        break;
                    }
                    number = longer;
                    self.at += 1;
                }
                self.back_reference(&number.to_string());
            }
            'k' => {
                let end = match self.next() {
                    Some('<') => '>',
                    Some('\'') => '\'',
                    _ => return Err(self.fault(r"`\k` without a name")),
                };
                let name = self.until(end)?;
                // A negative number counts back from here.
                let relative = name.strip_prefix('-').and_then(|back| back.parse().ok());
                match relative {
                    Some(back) => {
                        let number = (self.opened + 1).checked_sub(back).filter(|it| *it > 0);
                        let Some(number) = number else {
                            return Err(self.fault("a back-reference to no group"));
                        };
                        self.back_reference(&number.to_string());
                    }
                    None if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                        self.back_reference(&name);
                    }
                    None => {
                        self.push_item(&format!("\\k<{name}>"));
                        self.backtracking = true;
                    }
                }
            }
            'g' => {
                let end = match self.next() {
                    Some('<') => '>',
                    Some('\'') => '\'',
                    _ => return Err(self.fault(r"`\g` without a name")),
                };
                let name = self.until(end)?;
                self.push_item(&format!("\\g<{name}>"));
                self.backtracking = true;
            }
            _ => {
                for character in self.characters(character)? {
                    self.literal(character);
                }
            }
        }
        Ok(())
    }

    /// COMPAT: a single digit always refers to a group, more of them only if there are so many.
    fn is_back_reference(&self, first: char) -> bool {
        let more = self.peek().is_some_and(|each| each.is_ascii_digit());
        let number = first.to_digit(10).unwrap_or_default() as usize;
        !more || number <= self.captures
    }

    fn back_reference(&mut self, number: &str) {
        self.backtracking = true;
        // In a group, so that a digit behind it stays a digit.
        self.push_item(&format!("(?:\\{number})"));
    }

    /// The characters that an escape stands for, inside and outside of classes.
    fn characters(&mut self, character: char) -> Result<Vec<char>, RegexError> {
        let one = match character {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'f' => '\x0C',
            'v' => '\x0B',
            'a' => '\x07',
            'e' => '\x1B',
            '0'..='7' => {
                self.at -= 1;
                let number = self.number(8, 3);
                return Ok(vec![char::from_u32(number).unwrap_or('\u{FFFD}')]);
            }
            'c' => self.control()?,
            'C' if self.next_if('-') => self.control()?,
            'M' => return Err(self.fault("meta characters are not supported")),
            'x' | 'u' if self.next_if('{') => return self.code_points(),
            'x' => return Ok(self.bytes()),
            'u' => match char::from_u32(self.number(16, 4)) {
                Some(character) => character,
                None => return Err(self.fault("an escape names no character")),
            },
            _ => character,
        };
        Ok(vec![one])
    }

    fn control(&mut self) -> Result<char, RegexError> {
        match self.next() {
            Some('?') => Ok('\x7F'),
            Some(character) if character.is_ascii() => {
                Ok(char::from((character as u32 & 0x1F) as u8))
            }
            _ => Err(self.fault("a control character is not named")),
        }
    }

    /// A number of up to `longest` digits.
    fn number(&mut self, radix: u32, longest: usize) -> u32 {
        let mut number = 0;
        for _ in 0..longest {
            let Some(digit) = self.peek().and_then(|each| each.to_digit(radix)) else {
                break;
            };
            number = number * radix + digit;
            self.at += 1;
        }
        number
    }

    fn code_points(&mut self) -> Result<Vec<char>, RegexError> {
        let text = self.until('}')?;
        text.split_ascii_whitespace()
            .map(|each| {
                u32::from_str_radix(each, 16)
                    .ok()
                    .and_then(char::from_u32)
                    .ok_or_else(|| self.fault("an escape names no character"))
            })
            .collect()
    }

    /// `\xHH`, and those right behind it: together they are UTF-8, or else each is a character.
    fn bytes(&mut self) -> Vec<char> {
        let mut bytes = vec![self.number(16, 2) as u8];
        while bytes[0] >= 0x80
            && bytes.len() < 4
            && self.peek() == Some('\\')
            && self.source.get(self.at + 1) == Some(&'x')
            && self.source.get(self.at + 2) != Some(&'{')
        {
            if std::str::from_utf8(&bytes).is_ok() {
                break;
            }
            self.at += 2;
            bytes.push(self.number(16, 2) as u8);
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => text.chars().collect(),
            Err(_) => bytes.into_iter().map(char::from).collect(),
        }
    }

    /// What follows `\p`, as a class or a property of the target syntax.
    fn property(&mut self, negated: bool) -> Result<String, RegexError> {
        if !self.next_if('{') {
            return Err(self.fault(r"`\p` without braces"));
        }
        let negated = negated ^ self.next_if('^');
        let name = self.until('}')?;
        Ok(match posix(&name) {
            Some(class) if negated => format!("[^{class}]"),
            Some(class) => format!("[{class}]"),
            None if negated => format!("\\P{{{name}}}"),
            None => format!("\\p{{{name}}}"),
        })
    }

    // Classes.

    /// What follows `[`.
    fn class(&mut self) -> Result<(), RegexError> {
        /// What stands before the place in the class.
        #[derive(PartialEq, Eq)]
        enum Before {
            Character,
            RangeOpen,
            Other,
        }
        self.out.push('[');
        if self.next_if('^') {
            self.out.push('^');
        }
        if self.next_if(']') {
            self.out.push_str("\\]");
        }
        let mut before = Before::Other;
        loop {
            let Some(character) = self.next() else {
                return Err(self.fault("a class is not closed"));
            };
            let mut characters = Vec::new();
            match character {
                ']' => break,
                '[' => {
                    match self.posix_class() {
                        Some(class) => self.out.push_str(&class),
                        None => self.class()?,
                    }
                    before = Before::Other;
                }
                '&' if self.next_if('&') => {
                    self.out.push_str("&&");
                    before = Before::Other;
                }
                '-' => {
                    if before == Before::Character && self.character_follows() {
                        self.out.push('-');
                        before = Before::RangeOpen;
                    } else {
                        characters.push('-');
                    }
                }
                '\\' => {
                    let Some(escaped) = self.next() else {
                        return Err(self.fault("a class is not closed"));
                    };
                    if let Some(class) = shorthand(escaped) {
                        self.out.extend(["[", class, "]"]);
                        before = Before::Other;
                    } else if matches!(escaped, 'p' | 'P') {
                        let class = self.property(escaped == 'P')?;
                        self.out.push_str(&class);
                        before = Before::Other;
                    } else if escaped == 'b' {
                        characters.push('\x08');
                    } else {
                        characters = self.characters(escaped)?;
                    }
                }
                _ => characters.push(character),
            }
            for character in characters {
                if matches!(character, '[' | ']' | '^' | '-' | '&' | '~' | '\\') {
                    self.out.push('\\');
                }
                self.out.push(character);
                before = if before == Before::RangeOpen {
                    Before::Other
                } else {
                    Before::Character
                };
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// Whether a single character follows a `-`, so that the two sides make a range.
    fn character_follows(&self) -> bool {
        match self.peek() {
            None | Some(']' | '[') => false,
            Some('&') => self.source.get(self.at + 1) != Some(&'&'),
            Some('\\') => !self
                .source
                .get(self.at + 1)
                .is_some_and(|each| shorthand(*each).is_some() || matches!(each, 'p' | 'P')),
            Some(_) => true,
        }
    }

    /// `[:alpha:]` and `[:^alpha:]`, of which the first bracket was read.
    fn posix_class(&mut self) -> Option<String> {
        let rest = &self.source[self.at..];
        let rest = rest.strip_prefix(&[':'])?;
        let length = rest.windows(2).position(|pair| pair == [':', ']'])?;
        let name: String = rest[..length].iter().collect();
        let (negated, name) = match name.strip_prefix('^') {
            Some(name) => (true, name),
            None => (false, name.as_str()),
        };
        let class = posix(name)?;
        self.at += length + 3;
        Some(if negated {
            format!("[^{class}]")
        } else {
            format!("[{class}]")
        })
    }
}

/// Number of groups that capture, and whether one of them has a name.
fn count_groups(source: &[char]) -> (usize, bool) {
    let (mut plain, mut named) = (0, 0);
    let mut in_class = 0_usize;
    let mut at = 0;
    while at < source.len() {
        match source[at] {
            '\\' => at += 1,
            '[' => in_class += 1,
            ']' => in_class = in_class.saturating_sub(1),
            '(' if in_class == 0 => match (source.get(at + 1), source.get(at + 2)) {
                (Some('?'), Some('<')) => {
                    if !matches!(source.get(at + 3), Some('=' | '!')) {
                        named += 1;
                    }
                }
                (Some('?'), Some('\'')) => named += 1,
                (Some('?'), _) => {}
                _ => plain += 1,
            },
            _ => {}
        }
        at += 1;
    }
    if named > 0 {
        (named, true)
    } else {
        (plain, false)
    }
}

fn push_literal(out: &mut String, character: char) {
    if matches!(
        character,
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' | '#'
    ) {
        out.push('\\');
    }
    out.push(character);
}
