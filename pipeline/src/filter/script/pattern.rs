//! Lua's patterns (`%a+`, `[^,]*`, `()`, `%b()`), matched under a budget of steps.
//!
//! Lua's own matcher is C that nothing can interrupt, and a pattern such as `.-.-.-.-x` keeps it busy
//! for years. This one does the same by the reference manual of Lua 5.4 and pays for every
//! step it takes.
//!
//! INVARIANT: recursion is as deep as the pattern has items that may be tried again, at most
//! [`MAX_DEPTH`]; time is bounded by the budget that the caller hands in.

/// How many captures a pattern may have. As in Lua.
pub(super) const MAX_CAPTURES: usize = 32;
/// How deep a match may recurse. As in Lua.
const MAX_DEPTH: usize = 200;

/// What a match has captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    /// From this byte to that one.
    Span(usize, usize),
    /// A place, for `()`.
    Position(usize),
}

/// A match: where it starts and ends, and its captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) captures: Vec<Capture>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The pattern is wrong.
    Malformed(&'static str),
    /// The budget is used up.
    OutOfSteps,
}

/// Whether a text has no sign with a meaning in patterns.
pub(super) fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

/// The first match at or behind `from`. Every step is taken off `steps`. With `anchors` a `^` at the
/// start of the pattern ties the match to `from`.
pub(super) fn find(
    text: &[u8],
    pattern: &[u8],
    from: usize,
    anchors: bool,
    steps: &mut u64,
) -> Result<Option<Found>, Fault> {
    let anchored = anchors && pattern.first() == Some(&b'^');
    let mut matcher = Matcher {
        text,
        pattern,
        captures: [Open::Position(0); MAX_CAPTURES],
        level: 0,
        depth: 0,
        steps,
    };
    for start in from..=text.len() {
        matcher.level = 0;
        matcher.depth = 0;
        if let Some(end) = matcher.matches(start, usize::from(anchored))? {
            let captures = matcher.captures[..matcher.level]
                .iter()
                .map(|capture| match *capture {
                    Open::Closed(start, end) => Ok(Capture::Span(start, end)),
                    Open::Position(at) => Ok(Capture::Position(at)),
                    Open::Unclosed(_) => Err(Fault::Malformed("unfinished capture")),
                })
                .collect::<Result<_, _>>()?;
            return Ok(Some(Found {
                start,
                end,
                captures,
            }));
        }
        if anchored {
            break;
        }
    }
    Ok(None)
}

#[derive(Clone, Copy)]
enum Open {
    Unclosed(usize),
    Closed(usize, usize),
    Position(usize),
}

struct Matcher<'t> {
    text: &'t [u8],
    pattern: &'t [u8],
    captures: [Open; MAX_CAPTURES],
    level: usize,
    depth: usize,
    steps: &'t mut u64,
}

type Answer = Result<Option<usize>, Fault>;

impl Matcher<'_> {
    fn step(&mut self) -> Result<(), Fault> {
        *self.steps = self.steps.checked_sub(1).ok_or(Fault::OutOfSteps)?;
        Ok(())
    }

    /// Where a match of the pattern from `item` on ends that starts at `at`.
    fn matches(&mut self, at: usize, item: usize) -> Answer {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::Malformed("pattern too complex"));
        }
        let answer = self.follow(at, item);
        self.depth -= 1;
        answer
    }

    fn follow(&mut self, mut at: usize, mut item: usize) -> Answer {
        loop {
            self.step()?;
            let Some(&sign) = self.pattern.get(item) else {
                return Ok(Some(at));
            };
            let next = self.pattern.get(item + 1).copied();
            match sign {
                b'(' if next == Some(b')') => {
                    return self.open(Open::Position(at), at, item + 2);
                }
                b'(' => return self.open(Open::Unclosed(at), at, item + 1),
                b')' => return self.close(at, item + 1),
                b'$' if item + 1 == self.pattern.len() => {
                    return Ok((at == self.text.len()).then_some(at));
                }
                b'%' if next == Some(b'b') => match self.balance(at, item + 2)? {
                    Some(end) => (at, item) = (end, item + 4),
                    None => return Ok(None),
                },
                b'%' if next == Some(b'f') => {
                    let set = item + 2;
                    if self.pattern.get(set) != Some(&b'[') {
                        return Err(Fault::Malformed("missing '[' after '%f' in pattern"));
                    }
                    let end = self.class_end(set)?;
                    let byte_at = |at: Option<usize>| {
                        at.and_then(|at| self.text.get(at)).copied().unwrap_or(0)
                    };
                    let before = byte_at(at.checked_sub(1));
                    let here = byte_at(Some(at));
                    if self.in_set(before, set, end) || !self.in_set(here, set, end) {
                        return Ok(None);
                    }
                    item = end;
                }
                b'%' if next.is_some_and(|next| next.is_ascii_digit()) => {
                    match self.back_reference(at, next.unwrap_or_default())? {
                        Some(end) => (at, item) = (end, item + 2),
                        None => return Ok(None),
                    }
                }
                _ => {
                    let end = self.class_end(item)?;
                    match self.pattern.get(end) {
                        Some(b'?') => {
                            if self.is_single(at, item, end)
                                && let Some(found) = self.matches(at + 1, end + 1)?
                            {
                                return Ok(Some(found));
                            }
                            item = end + 1;
                        }
                        Some(b'+') => {
                            return if self.is_single(at, item, end) {
                                self.most(at + 1, item, end)
                            } else {
                                Ok(None)
                            };
                        }
                        Some(b'*') => return self.most(at, item, end),
                        Some(b'-') => return self.least(at, item, end),
                        _ => {
                            if !self.is_single(at, item, end) {
                                return Ok(None);
                            }
                            (at, item) = (at + 1, end);
                        }
                    }
                }
            }
        }
    }

    /// As many as there are, then fewer.
    fn most(&mut self, at: usize, item: usize, end: usize) -> Answer {
        let mut count = 0;
        while self.is_single(at + count, item, end) {
            self.step()?;
            count += 1;
        }
        loop {
            if let Some(found) = self.matches(at + count, end + 1)? {
                return Ok(Some(found));
            }
            match count.checked_sub(1) {
                Some(fewer) => count = fewer,
                None => return Ok(None),
            }
        }
    }

    /// As few as possible, then more.
    fn least(&mut self, mut at: usize, item: usize, end: usize) -> Answer {
        loop {
            if let Some(found) = self.matches(at, end + 1)? {
                return Ok(Some(found));
            }
            if !self.is_single(at, item, end) {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn open(&mut self, capture: Open, at: usize, item: usize) -> Answer {
        if self.level >= MAX_CAPTURES {
            return Err(Fault::Malformed("too many captures"));
        }
        self.captures[self.level] = capture;
        self.level += 1;
        let answer = self.matches(at, item)?;
        if answer.is_none() {
            self.level -= 1;
        }
        Ok(answer)
    }

    fn close(&mut self, at: usize, item: usize) -> Answer {
        let opened = (0..self.level)
            .rev()
            .find_map(|number| match self.captures[number] {
                Open::Unclosed(start) => Some((number, start)),
                _ => None,
            });
        let Some((number, start)) = opened else {
            return Err(Fault::Malformed("invalid pattern capture"));
        };
        self.captures[number] = Open::Closed(start, at);
        let answer = self.matches(at, item)?;
        if answer.is_none() {
            self.captures[number] = Open::Unclosed(start);
        }
        Ok(answer)
    }

    /// The end of `%bxy`, whose signs stand at `item`.
    fn balance(&mut self, at: usize, item: usize) -> Answer {
        let (Some(&open), Some(&close)) = (self.pattern.get(item), self.pattern.get(item + 1))
        else {
            return Err(Fault::Malformed("missing arguments to '%b'"));
        };
        if self.text.get(at) != Some(&open) {
            return Ok(None);
        }
        let mut level = 1;
        for (offset, &byte) in self.text[at + 1..].iter().enumerate() {
            *self.steps = self.steps.checked_sub(1).ok_or(Fault::OutOfSteps)?;
            if byte == close {
                level -= 1;
                if level == 0 {
                    return Ok(Some(at + offset + 2));
                }
            } else if byte == open {
                level += 1;
            }
        }
        Ok(None)
    }

    fn back_reference(&mut self, at: usize, digit: u8) -> Answer {
        let number = usize::from(digit).wrapping_sub(usize::from(b'1'));
        let Some(Open::Closed(start, end)) = self.captures[..self.level].get(number).copied()
        else {
            return Err(Fault::Malformed("invalid capture index"));
        };
        let length = end - start;
        *self.steps = self
            .steps
            .checked_sub(length as u64)
            .ok_or(Fault::OutOfSteps)?;
        let same = self.text[at..].starts_with(&self.text[start..end]);
        Ok(same.then_some(at + length))
    }

    /// The place behind the class at `item`.
    fn class_end(&self, item: usize) -> Result<usize, Fault> {
        let missing_bracket = Fault::Malformed("malformed pattern (missing ']')");
        match self.pattern[item] {
            b'%' if item + 1 >= self.pattern.len() => {
                Err(Fault::Malformed("malformed pattern (ends with '%')"))
            }
            b'%' => Ok(item + 2),
            b'[' => {
                let mut at = item + 1;
                if self.pattern.get(at) == Some(&b'^') {
                    at += 1;
                }
                // A `]` in the first place is a sign like any other.
                loop {
                    let sign = *self.pattern.get(at).ok_or(missing_bracket)?;
                    at += if sign == b'%' { 2 } else { 1 };
                    match self.pattern.get(at) {
                        None => return Err(missing_bracket),
                        Some(b']') => return Ok(at + 1),
                        Some(_) => {}
                    }
                }
            }
            _ => Ok(item + 1),
        }
    }

    /// Whether the byte at `at` is in the class from `item` to `end`.
    fn is_single(&self, at: usize, item: usize, end: usize) -> bool {
        let Some(&byte) = self.text.get(at) else {
            return false;
        };
        match self.pattern[item] {
            b'.' => true,
            b'%' => in_class(byte, self.pattern[item + 1]),
            b'[' => self.in_set(byte, item, end),
            sign => sign == byte,
        }
    }

    /// Whether a byte is in the set from `item` to `end`, brackets included.
    fn in_set(&self, byte: u8, item: usize, end: usize) -> bool {
        let mut at = item + 1;
        let last = end - 1;
        let negated = self.pattern[at] == b'^';
        if negated {
            at += 1;
        }
        while at < last {
            let sign = self.pattern[at];
            if sign == b'%' {
                if in_class(byte, self.pattern[at + 1]) {
                    return !negated;
                }
                at += 2;
            } else if at + 2 < last && self.pattern[at + 1] == b'-' {
                if (sign..=self.pattern[at + 2]).contains(&byte) {
                    return !negated;
                }
                at += 3;
            } else {
                if sign == byte {
                    return !negated;
                }
                at += 1;
            }
        }
        negated
    }
}

/// Whether a byte is in the class of a letter behind `%`; a capital letter is its opposite.
fn in_class(byte: u8, letter: u8) -> bool {
    let is = match letter.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'g' => byte.is_ascii_graphic(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        _ => return letter == byte,
    };
    is != letter.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, pattern: &str) -> Option<(String, Vec<String>)> {
        let mut steps = 100_000;
        let found = find(text.as_bytes(), pattern.as_bytes(), 0, true, &mut steps).unwrap()?;
        let captures = found.captures.iter().map(|capture| match *capture {
            Capture::Span(start, end) => text[start..end].to_owned(),
            Capture::Position(at) => (at + 1).to_string(),
        });
        Some((text[found.start..found.end].to_owned(), captures.collect()))
    }

    #[test]
    fn matches_as_the_manual_says() {
        // What Lua 5.4 answers.
        for (text, pattern, whole, captures) in [
            (
                "key = value",
                "^(%w+)%s*=%s*(%w+)$",
                "key = value",
                &["key", "value"][..],
            ),
            ("THE (quick) fox", "%((%a+)%)", "(quick)", &["quick"]),
            ("a.b.c", "^(.-)%.", "a.", &["a"]),
            ("a.b.c", "^(.*)%.", "a.b.", &["a.b"]),
            ("f(a(b)c)d", "%b()", "(a(b)c)", &[]),
            ("THE (quick) fox", "%f[%a]%a+%f[%A]", "THE", &[]),
            ("say 'it' \"x\"", "(['\"])(.-)%1", "'it'", &["'", "it"]),
            ("hello", "()ll()", "ll", &["3", "5"]),
            ("a]b", "[]]", "]", &[]),
            ("x-y", "[a-]", "-", &[]),
            ("x^y", "[x^]+", "x^", &[]),
            ("abc123", "[^%d]+", "abc", &[]),
            ("0x1F", "^0[xX](%x+)$", "0x1F", &["1F"]),
            ("colour", "colou?r", "colour", &[]),
            ("price: $5", "%$(%d)", "$5", &["5"]),
            ("a$", "a$$", "a$", &[]),
            ("", "^$", "", &[]),
        ] {
            let captures = captures.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(
                found(text, pattern),
                Some((whole.to_owned(), captures)),
                "{pattern}"
            );
        }
        assert_eq!(found("abc", "^b"), None);
        assert_eq!(found("abc", "%d"), None);
    }

    #[test]
    fn wrong_patterns_are_told() {
        for pattern in ["[a", "%", "(a", "a)", "%b", "%fa", "%1", "[%", "[a%]"] {
            let answer = find(b"aaa", pattern.as_bytes(), 0, true, &mut 1000);
            assert!(
                matches!(answer, Err(Fault::Malformed(_))),
                "{pattern}: {answer:?}"
            );
        }
        let deep = "(".repeat(MAX_CAPTURES + 1);
        assert!(find(b"a", deep.as_bytes(), 0, true, &mut 1000).is_err());
        let many = "a?".repeat(MAX_DEPTH + 1);
        let text = "a".repeat(MAX_DEPTH + 1);
        let answer = find(text.as_bytes(), many.as_bytes(), 0, true, &mut 100_000);
        assert_eq!(answer, Err(Fault::Malformed("pattern too complex")));
    }

    #[test]
    fn a_pattern_that_runs_away_is_stopped() {
        let text = "a".repeat(200);
        let pattern = ".-".repeat(20) + "b";
        let mut steps = 1_000_000;
        let answer = find(text.as_bytes(), pattern.as_bytes(), 0, true, &mut steps);
        assert_eq!((answer, steps), (Err(Fault::OutOfSteps), 0));
    }
}
