//! Ruby's regular expressions, as configurations written for Logstash have them.
//!
//! A pattern is translated into the syntax of the crate `regex` once, when the configuration is
//! compiled, and then matches in time linear in the text. Only what that cannot express
//! (look-around, back-references, atomic groups, possessive repeats, `\Z`) runs in a backtracking
//! engine, whose work per search is bounded by [`BACKTRACK_LIMIT`].
//!
//! COMPAT: `^` and `$` match at every line; `.` matches a newline only after `(?m)`; `\d`, `\w`,
//! `\s` are ASCII and `[[:alpha:]]` is not; groups without a name do not capture when there is one
//! with a name. Texts that are not UTF-8 are matched as if each broken sequence were U+FFFD.
//!
//! Not done: `\X`, the absent operator `(?~…)`, the options `a`, `d` and `u` (the last two are
//! accepted and ignored).

mod classes;
mod translate;

use std::borrow::Cow;

use thiserror::Error;

/// How many steps a search may take in the backtracking engine before it gives up.
pub const BACKTRACK_LIMIT: usize = 1_000_000;

/// How many bytes a compiled pattern may take.
pub const SIZE_LIMIT: usize = 10 << 20;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegexError {
    /// It is no valid pattern.
    #[error("{reason} at character {at} of the pattern")]
    Invalid {
        /// What is wrong.
        reason: &'static str,
        /// Number of characters before the fault.
        at: usize,
    },
    /// An engine refuses it.
    #[error("{0}")]
    Refused(String),
}

/// A search that was given up after [`BACKTRACK_LIMIT`] steps.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the search took more than {BACKTRACK_LIMIT} steps and was given up")]
pub struct TooHard;

/// A compiled pattern.
#[derive(Debug)]
pub struct Regex(Engine);

#[derive(Debug)]
enum Engine {
    Linear(regex::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

impl Regex {
    /// Compiles a pattern, without the slashes around it.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let translated = translate::translate(pattern)?;
        let engine = if translated.backtracking {
            let regex = fancy_regex::RegexBuilder::new(&translated.pattern)
                .backtrack_limit(BACKTRACK_LIMIT)
                .delegate_size_limit(SIZE_LIMIT)
                .build()
                .map_err(|error| RegexError::Refused(error.to_string()))?;
            Engine::Backtracking(Box::new(regex))
        } else {
            let regex = regex::RegexBuilder::new(&translated.pattern)
                .size_limit(SIZE_LIMIT)
                .build()
                .map_err(|error| RegexError::Refused(last_line(&error.to_string())))?;
            Engine::Linear(regex)
        };
        Ok(Self(engine))
    }

    /// Whether every search takes time linear in the text.
    pub fn is_linear(&self) -> bool {
        matches!(self.0, Engine::Linear(_))
    }

    /// Whether the pattern matches somewhere in the text. A search that is given up counts as no
    /// match.
    pub fn is_match(&self, text: &[u8]) -> bool {
        let text = valid(text);
        match &self.0 {
            Engine::Linear(regex) => regex.is_match(&text),
            Engine::Backtracking(regex) => regex.is_match(&*text).unwrap_or(false),
        }
    }

    /// Calls `found` with the start and the end of each match, in order. A search that is given up
    /// ends it.
    pub fn find_all(&self, text: &[u8], found: &mut dyn FnMut(usize, usize)) {
        let mut offset = 0;
        // What is not UTF-8 matches nothing, and the places stay those of the text.
        for chunk in text.utf8_chunks() {
            let valid = chunk.valid();
            match &self.0 {
                Engine::Linear(regex) => {
                    for each in regex.find_iter(valid) {
                        found(offset + each.start(), offset + each.end());
                    }
                }
                Engine::Backtracking(regex) => {
                    for each in regex.find_iter(valid).map_while(Result::ok) {
                        found(offset + each.start(), offset + each.end());
                    }
                }
            }
            offset += valid.len() + chunk.invalid().len();
        }
    }

    /// Start and end of the first match from byte `at` on, which is the start of a character.
    pub fn find_at(&self, text: &str, at: usize) -> Result<Option<(usize, usize)>, TooHard> {
        match &self.0 {
            Engine::Linear(regex) => {
                let found = regex.find_at(text, at);
                Ok(found.map(|found| (found.start(), found.end())))
            }
            Engine::Backtracking(regex) => {
                let found = regex.find_from_pos(text, at).map_err(|_| TooHard)?;
                Ok(found.map(|found| (found.start(), found.end())))
            }
        }
    }

    /// Appends `text` with every match replaced to `out`; answers whether there was one. Without a
    /// match nothing is appended. When the search is given up, `out` is as it was.
    pub fn replace_all(
        &self,
        text: &[u8],
        replacement: &Replacement,
        out: &mut Vec<u8>,
    ) -> Result<bool, TooHard> {
        self.replace_within(text, replacement, usize::MAX, usize::MAX, out)
    }

    /// The same for at most `most` matches, given up also when `out` gets longer than `limit`.
    pub fn replace_within(
        &self,
        text: &[u8],
        replacement: &Replacement,
        most: usize,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool, TooHard> {
        let text = valid(text);
        let start = out.len();
        let mut groups = Groups::default();
        // What stands before this is copied; where the next search starts.
        let (mut copied, mut at) = (0, 0);
        let mut count = 0;
        while at <= text.len() && count < most {
            match self.find(&text, at, &mut groups) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    out.truncate(start);
                    return Err(error);
                }
            }
            let Some((match_start, match_end)) = groups.get(0) else {
                break;
            };
            count += 1;
            out.extend_from_slice(&text.as_bytes()[copied..match_start]);
            replacement.write(&text, self, &groups, out);
            if out.len() > limit {
                out.truncate(start);
                return Err(TooHard);
            }
            copied = match_end;
            at = match_end;
            if match_start == match_end {
                // An empty match: go on behind the next character.
                at += text[match_end..].chars().next().map_or(1, char::len_utf8);
            }
        }
        if count > 0 {
            out.extend_from_slice(&text.as_bytes()[copied..]);
        }
        Ok(count > 0)
    }

    /// The whole of the first match and its groups, if there is one.
    pub fn captures(&self, text: &[u8]) -> Result<Option<Vec<Option<String>>>, TooHard> {
        let text = valid(text);
        let mut groups = Groups::default();
        if !self.find(&text, 0, &mut groups)? {
            return Ok(None);
        }
        let span = |(start, end): (usize, usize)| text.get(start..end).map(str::to_owned);
        let groups = (0..groups.len()).map(|number| groups.get(number).and_then(span));
        Ok(Some(groups.collect()))
    }

    /// Searches from byte `at` on and keeps where the groups of the match are.
    fn find(&self, text: &str, at: usize, groups: &mut Groups) -> Result<bool, TooHard> {
        match &self.0 {
            Engine::Linear(regex) => {
                let locations = groups
                    .locations
                    .get_or_insert_with(|| regex.capture_locations());
                Ok(regex.captures_read_at(locations, text, at).is_some())
            }
            Engine::Backtracking(regex) => {
                let captures = regex.captures_from_pos(text, at).map_err(|_| TooHard)?;
                let Some(captures) = captures else {
                    return Ok(false);
                };
                groups.ranges.clear();
                groups.ranges.extend((0..captures.len()).map(|number| {
                    captures
                        .get(number)
                        .map(|group| (group.start(), group.end()))
                }));
                Ok(true)
            }
        }
    }

    /// How many groups the pattern has.
    pub fn group_count(&self) -> usize {
        match &self.0 {
            Engine::Linear(regex) => regex.captures_len() - 1,
            Engine::Backtracking(regex) => regex.captures_len() - 1,
        }
    }

    fn group_number(&self, name: &str) -> Option<usize> {
        let is_it = |candidate: Option<&str>| candidate == Some(name);
        match &self.0 {
            Engine::Linear(regex) => regex.capture_names().position(is_it),
            Engine::Backtracking(regex) => regex.capture_names().position(is_it),
        }
    }
}

/// Where the groups of one match are.
#[derive(Default)]
struct Groups {
    locations: Option<regex::CaptureLocations>,
    ranges: Vec<Option<(usize, usize)>>,
}

impl Groups {
    fn len(&self) -> usize {
        match &self.locations {
            Some(locations) => locations.len(),
            None => self.ranges.len(),
        }
    }

    fn get(&self, number: usize) -> Option<(usize, usize)> {
        match &self.locations {
            Some(locations) => locations.get(number),
            None => self.ranges.get(number).copied().flatten(),
        }
    }
}

/// What stands in place of a match, in Ruby's syntax: `\1` to `\9`, `\0` and `\&` (the whole
/// match), `\k<name>`, `` \` `` and `\'` (what is before and after the match), `\\`. A backslash
/// before anything else is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    parts: Vec<ReplacementPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ReplacementPart {
    Literal(Vec<u8>),
    Group(usize),
    Named(String),
    Before,
    After,
}

impl Replacement {
    /// Reads a replacement; everything is one.
    pub fn parse(text: &[u8]) -> Self {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let mut length = 2;
            let part = match (text[at], text.get(at + 1)) {
                (b'\\', Some(digit @ b'0'..=b'9')) => {
                    Some(ReplacementPart::Group(usize::from(digit - b'0')))
                }
                (b'\\', Some(b'&')) => Some(ReplacementPart::Group(0)),
                (b'\\', Some(b'`')) => Some(ReplacementPart::Before),
                (b'\\', Some(b'\'')) => Some(ReplacementPart::After),
                (b'\\', Some(b'\\')) => {
                    literal.push(b'\\');
                    at += 2;
                    continue;
                }
                (b'\\', Some(b'k')) if text.get(at + 2) == Some(&b'<') => {
                    let name_start = at + 3;
                    text[name_start..]
                        .iter()
                        .position(|byte| *byte == b'>')
                        .map(|end| {
                            length = 4 + end;
                            let name = &text[name_start..name_start + end];
                            ReplacementPart::Named(String::from_utf8_lossy(name).into_owned())
                        })
                }
                _ => None,
            };
            match part {
                Some(part) => {
                    if !literal.is_empty() {
                        parts.push(ReplacementPart::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(part);
                    at += length;
                }
                None => {
                    literal.push(text[at]);
                    at += 1;
                }
            }
        }
        if !literal.is_empty() {
            parts.push(ReplacementPart::Literal(literal));
        }
        Self { parts }
    }

    fn write(&self, text: &str, regex: &Regex, groups: &Groups, out: &mut Vec<u8>) {
        let text = text.as_bytes();
        for part in &self.parts {
            match part {
                ReplacementPart::Literal(literal) => out.extend_from_slice(literal),
                ReplacementPart::Group(number) => {
                    if let Some((start, end)) = groups.get(*number) {
                        out.extend_from_slice(&text[start..end]);
                    }
                }
                ReplacementPart::Named(name) => {
                    // COMPAT: Ruby raises an error for a name that no group has; here it stands for
                    // nothing.
                    let number = name.parse().ok().or_else(|| regex.group_number(name));
                    if let Some((start, end)) = number.and_then(|number| groups.get(number)) {
                        out.extend_from_slice(&text[start..end]);
                    }
                }
                ReplacementPart::Before => {
                    if let Some((start, _)) = groups.get(0) {
                        out.extend_from_slice(&text[..start]);
                    }
                }
                ReplacementPart::After => {
                    if let Some((_, end)) = groups.get(0) {
                        out.extend_from_slice(&text[end..]);
                    }
                }
            }
        }
    }
}

fn valid(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// The last line of the crate's messages says what is wrong; the lines before draw the translated
/// pattern, which the user never wrote.
fn last_line(message: &str) -> String {
    let line = message.lines().next_back().unwrap_or(message);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Regex::new(pattern)
            .unwrap_or_else(|error| panic!("{pattern}: {error}"))
            .is_match(text.as_bytes())
    }

    fn gsub(pattern: &str, text: &str, replacement: &str) -> String {
        let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let mut out = Vec::new();
        let replacement = Replacement::parse(replacement.as_bytes());
        if !regex
            .replace_all(text.as_bytes(), &replacement, &mut out)
            .unwrap()
        {
            return text.to_owned();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn anchors_and_dots_are_rubys() {
        assert!(matches("^b$", "a\nb\nc"));
        assert!(!matches(r"\Ab", "a\nb"));
        assert!(matches(r"c\Z", "c\n") && !matches(r"c\z", "c\n"));
        assert!(!matches("a.b", "a\nb") && matches("(?m)a.b", "a\nb"));
        assert!(matches("x(?i)a|B", "xb") && !matches("x(?i)a|B", "B"));
    }

    #[test]
    fn classes_are_rubys() {
        assert!(matches(r"\A\h+\z", "0aF") && !matches(r"\H", "0aF"));
        assert!(!matches(r"\w", "é") && matches("[[:alpha:]]", "é"));
        assert!(!matches(r"\d", "٣") && !matches(r"\s", "\u{a0}"));
        assert!(matches(r"\A[\w-.]+\z", "a-b.c") && matches("[]x]", "]"));
        assert!(matches(r"[a-c&&[^b]]", "c") && !matches(r"[a-c&&[^b]]", "b"));
        assert!(matches(r"\A[+--~~]+\z", "~-,"));
        assert!(matches(r"[\x41\u0042]", "B") && matches(r"\xC3\xA9", "é"));
        assert!(matches(r"\A[[:^digit:]\d]+\z", "a1") && matches(r"\p{^Alpha}", "1"));
        assert!(matches(r"a\/b\-\<c\>\_", "a/b-<c>_"));
    }

    #[test]
    fn braces_and_repeats() {
        assert!(matches("a{b", "a{b") && matches(r"\A%{x}\z", "%{x}"));
        assert!(matches(r"\Aa{,2}\z", "aa") && !matches(r"\Aa{,2}\z", "aaa"));
        assert!(matches(r"\A(?:ab){2}{3}\z", &"ab".repeat(6)));
        assert!(matches(r"\Aa{2}?\z", "") && matches(r"\Aa{2}+\z", "aaaa"));
        assert!(!matches(r"\Aa++a\z", "aaa"));
        assert!(matches("(?x) a b # c\n [ ]", "ab "));
    }

    #[test]
    fn what_needs_backtracking_says_so() {
        for (pattern, text) in [
            (r"(?<=a)b(?!c)", "abd"),
            (r"(\w)\1", "xaa"),
            (r"(?<l>\w)\k<l>", "xaa"),
            (r"(?>a+)b", "aab"),
        ] {
            let regex = Regex::new(pattern).unwrap();
            assert!(
                !regex.is_linear() && regex.is_match(text.as_bytes()),
                "{pattern}"
            );
        }
        assert!(Regex::new(r"(?<year>\d+)-(x)").unwrap().is_linear());
    }

    #[test]
    fn a_runaway_is_given_up() {
        let regex = Regex::new(r"\A(?=x?)(a|aa|aaa)+\1\z").unwrap();
        let text = "a".repeat(60) + "b";
        assert!(!regex.is_match(text.as_bytes()));
        let mut out = b"kept".to_vec();
        let replacement = Replacement::parse(b"");
        assert_eq!(
            regex.replace_all(text.as_bytes(), &replacement, &mut out),
            Err(TooHard)
        );
        assert_eq!(out, b"kept");
    }

    #[test]
    fn replaces_like_gsub() {
        assert_eq!(gsub("b*", "abc", "-"), "-a--c-");
        assert_eq!(gsub("(a)(b)?", "abac", r"[\2\1\0]"), "[baab][aa]c");
        assert_eq!(gsub(r"(?<k>\w+)=(\w+)", "a=1", r"\k<k>\2"), "a");
        assert_eq!(gsub("x", "axb", r"\`\'\\n\q"), r"aab\n\qb");
        assert_eq!(gsub(r"(?<=,),", ",,a", "_"), ",_a");
        assert_eq!(gsub("é?", "aé", "."), ".a..");
        let mut out = Vec::new();
        let broken = Regex::new("a.").unwrap();
        assert!(
            broken
                .replace_all(b"a\xff!", &Replacement::parse(b"b"), &mut out)
                .unwrap()
        );
        assert_eq!(out, b"b!");
    }

    #[test]
    fn faults_are_named() {
        for pattern in [
            "(",
            ")",
            "[a",
            "a\\",
            r"\k<x",
            "(?y)",
            r"\X",
            "(?<n>a)(?<n>b)",
        ] {
            let error = Regex::new(pattern).expect_err(pattern).to_string();
            assert!(
                !error.is_empty() && !error.contains('\n'),
                "{pattern}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_pattern_compiles_or_is_refused(
            pattern in r"([a-c0-9.|*+?^$(){}\[\],\-&: ]|\\[a-zA-Z0-9]|\(\?[:=!<imx>#'-]|\[:alpha:\]){0,16}",
            text in "[a-c0-9 \n]{0,12}",
        ) {
            if let Ok(regex) = Regex::new(&pattern) {
                let mut out = Vec::new();
                let found = regex.replace_all(text.as_bytes(), &Replacement::parse(b"\\0"), &mut out);
                if found == Ok(true) {
                    prop_assert_eq!(out, text.as_bytes());
                } else {
                    prop_assert!(out.is_empty());
                }
            }
        }
    }
}
