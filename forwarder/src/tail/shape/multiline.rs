//! Which lines belong together: by a pattern of the user's, or by what stack traces look like.
//!
//! The presets look at bytes, not through a regular expression. They keep lines together that
//! cannot be anything but a part of a trace; what begins one is an event of its own, not a
//! part of the line before.

use std::time::Duration;

use regex_automata::meta::Regex;

/// Lines in one event at most, unless configured.
pub const DEFAULT_MAX_LINES: usize = 500;
/// Bytes in one event at most, unless configured.
pub const DEFAULT_MAX_BYTES: usize = 256 << 10;

/// What a line is to the event before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The first line of an event that may go on.
    Begins,
    /// A further line.
    Continues,
    /// The last line.
    Ends,
}

/// The rules of one element of `files`.
#[derive(Debug)]
pub struct Multiline {
    /// How lines are told apart.
    pub by: By,
    /// An event with so many lines is complete.
    pub max_lines: usize,
    /// An event does not grow beyond this.
    pub max_bytes: usize,
    /// An event is complete when no line came for this time.
    pub timeout: Duration,
}

/// How lines are told apart.
#[derive(Debug)]
pub enum By {
    /// A pattern.
    Pattern {
        /// What is sought in the line.
        regex: Box<Regex>,
        /// What a line with it is.
        role: Role,
        /// A line without it, rather.
        negate: bool,
    },
    /// What traces of a language look like.
    Preset(Preset),
}

/// What a line that matches is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The first line of an event.
    Start,
    /// A further line.
    Continue,
    /// The last line.
    End,
}

/// Languages whose stack traces are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Java and other languages of its machine.
    Java,
    /// Python.
    Python,
    /// Go.
    Go,
    /// Ruby.
    Ruby,
    /// .NET.
    DotNet,
}

impl Preset {
    /// Their names in the config.
    pub const NAMES: &'static [&'static str] = &["java", "python", "go", "ruby", "dotnet"];

    /// The preset of this name.
    pub fn new(name: &str) -> Option<Self> {
        Some(match name {
            "java" => Self::Java,
            "python" => Self::Python,
            "go" => Self::Go,
            "ruby" => Self::Ruby,
            "dotnet" => Self::DotNet,
            _ => return None,
        })
    }
}

/// Where in a trace a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// In none.
    #[default]
    Outside,
    /// In one.
    Inside,
    /// Behind one, where another that it caused may follow.
    Behind,
}

impl Multiline {
    /// What this line is.
    pub(super) fn class(&self, state: &mut State, line: &[u8]) -> Class {
        match &self.by {
            By::Pattern {
                regex,
                role,
                negate,
            } => match (role, regex.is_match(line) != *negate) {
                (Role::Start, true) | (Role::Continue, false) => Class::Begins,
                (Role::Start | Role::End, false) | (Role::Continue, true) => Class::Continues,
                (Role::End, true) => Class::Ends,
            },
            By::Preset(preset) => preset.class(state, line),
        }
    }
}

impl Preset {
    fn class(self, state: &mut State, line: &[u8]) -> Class {
        let begins = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| line.starts_with(prefix));
        let indented = begins(&[b" ", b"\t"]);
        let trimmed = line.trim_ascii_start();
        let continues = match self {
            Self::Java => {
                let frame = [&b"at "[..], b"... ", b"Caused by:", b"Suppressed:"];
                begins(&[b"Caused by:", b"Suppressed:"])
                    || (indented && frame.iter().any(|prefix| trimmed.starts_with(prefix)))
            }
            Self::Ruby => {
                indented
                    && (trimmed.starts_with(b"from ")
                        || memchr::memmem::find(line, b":in ").is_some())
            }
            Self::DotNet => {
                (indented && (trimmed.starts_with(b"at ") || trimmed.starts_with(b"---")))
                    || begins(&[b"--- End of "])
            }
            Self::Python => return Self::python(state, line, indented),
            Self::Go => return Self::go(state, line),
        };
        if continues {
            Class::Continues
        } else {
            Class::Begins
        }
    }

    fn python(state: &mut State, line: &[u8], indented: bool) -> Class {
        let trace = line.starts_with(b"Traceback (most recent call last):");
        let chained = line.starts_with(b"During handling of the above exception")
            || line.starts_with(b"The above exception was the direct cause");
        match *state {
            State::Inside if indented => Class::Continues,
            // The exception itself.
            State::Inside if !line.is_empty() && !trace => {
                *state = if chained {
                    State::Inside
                } else {
                    State::Behind
                };
                Class::Continues
            }
            State::Inside | State::Behind if trace || chained => {
                *state = State::Inside;
                Class::Continues
            }
            State::Inside | State::Behind if line.is_empty() => Class::Continues,
            _ => {
                *state = if trace { State::Inside } else { State::Outside };
                Class::Begins
            }
        }
    }

    fn go(state: &mut State, line: &[u8]) -> Class {
        let begins = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| line.starts_with(prefix));
        if begins(&[b"panic: ", b"fatal error: "]) && *state == State::Outside {
            *state = State::Inside;
            return Class::Begins;
        }
        let call = line.ends_with(b")") && memchr::memchr(b'(', line).is_some_and(|at| at > 0);
        let belongs = line.is_empty()
            || begins(&[
                b"\t",
                b"goroutine ",
                b"created by ",
                b"exit status ",
                b"[signal ",
                b"panic: ",
            ])
            || (call
                && memchr::memchr(b' ', line).is_none_or(|space| line[..space].contains(&b'(')));
        if *state == State::Inside && belongs {
            return Class::Continues;
        }
        *state = State::Outside;
        Class::Begins
    }
}

#[cfg(test)]
mod tests {
    use regex_automata::util::syntax;

    use super::super::Rules;
    use super::super::tests::{rules, shape};
    use super::*;

    fn by(by: By, max_lines: usize, max_bytes: usize) -> Rules {
        Rules {
            multiline: Some(Multiline {
                by,
                max_lines,
                max_bytes,
                timeout: Duration::from_secs(5),
            }),
            ..rules()
        }
    }

    fn pattern(pattern: &str, role: Role, negate: bool) -> By {
        let regex = Regex::builder()
            .syntax(syntax::Config::new().utf8(false))
            .build(pattern);
        By::Pattern {
            regex: Box::new(regex.expect("valid")),
            role,
            negate,
        }
    }

    fn texts(rules: Rules, text: &str) -> Vec<String> {
        let events = shape(rules, text);
        // Together they are the file, and each ends where the next begins.
        let mut at = 0;
        for (_, start, next, _) in &events {
            assert_eq!(*start, at);
            at = *next;
        }
        assert_eq!(at, text.len() as u64);
        events.into_iter().map(|(text, ..)| text).collect()
    }

    #[test]
    fn the_pattern_is_of_the_first_a_further_or_the_last_line() {
        let text = "1 a\n  b\n  c\n2 d\n3 e\n  f\n";
        let expected = ["1 a\n  b\n  c", "2 d", "3 e\n  f"];
        for rule in [
            pattern(r"^\d", Role::Start, false),
            pattern(r"^\s", Role::Start, true),
            pattern(r"^\s", Role::Continue, false),
            pattern(r"^\d", Role::Continue, true),
        ] {
            assert_eq!(texts(by(rule, 100, 1000), text), expected);
        }
        let text = "a\nb;\nc;\nd\n";
        let expected = ["a\nb;", "c;", "d"];
        assert_eq!(
            texts(by(pattern(";$", Role::End, false), 100, 1000), text),
            expected
        );
        assert_eq!(
            texts(by(pattern("[^;]$", Role::End, true), 100, 1000), text),
            expected
        );
        // A further line without a first one is an event, too.
        let rule = pattern(r"^\s", Role::Continue, false);
        assert_eq!(texts(by(rule, 100, 1000), " x\n y\nz\n"), [" x\n y", "z"]);
    }

    #[test]
    fn complaint_11_an_event_is_bounded_in_lines_and_bytes() {
        let text = "1\n".to_owned() + &" more\n".repeat(1000);
        let rule = || pattern(r"^\d", Role::Start, false);
        let found = texts(by(rule(), 100, 1_000_000), &text);
        assert_eq!(found.len(), 11);
        assert!(found.iter().all(|text| text.lines().count() <= 100));
        let found = texts(by(rule(), 1_000_000, 1000), &text);
        assert!(found.len() >= 6 && found.iter().all(|text| text.len() <= 1000));
        assert_eq!(found.join("\n"), text.trim_end());
    }

    fn preset(preset: Preset, text: &str) -> Vec<String> {
        texts(by(By::Preset(preset), 500, 1 << 20), text)
    }

    #[test]
    fn java() {
        let trace = "java.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)\n\t... 3 more\n\
                     Caused by: java.io.IOException: x\n\tat a.B.d(B.java:2)\n\
                     \tSuppressed: java.lang.Error\n\t\tat a.B.e(B.java:3)\n";
        let text = format!("INFO one\nINFO two\n{trace}INFO three\n{trace}");
        let trace = trace.trim_end();
        let expected = ["INFO one", "INFO two", trace, "INFO three", trace];
        assert_eq!(preset(Preset::Java, &text), expected);
    }

    #[test]
    fn python() {
        let trace = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\n\
                     ValueError: no\n\nDuring handling of the above exception, another exception \
                     occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 2, in g\n\
                     KeyError: 'x'\n";
        let text = format!("one\n  two\n{trace}three\n{trace}");
        let trace = trace.trim_end();
        assert_eq!(
            preset(Preset::Python, &text),
            ["one", "  two", trace, "three", trace]
        );
    }

    #[test]
    fn go() {
        let trace = "panic: runtime error: index out of range [3] with length 1\n\n\
                     goroutine 1 [running]:\nmain.f(...)\n\t/a/main.go:8\nmain.main()\n\
                     \t/a/main.go:12 +0x1d\ncreated by main.start in goroutine 7\n\t/a/main.go:3\n\
                     exit status 2\n";
        let text = format!("one (1)\n\n{trace}2026/11/25 two (2)\nthree\n{trace}");
        let trace = trace.trim_end();
        let expected = ["one (1)", "", trace, "2026/11/25 two (2)", "three", trace];
        assert_eq!(preset(Preset::Go, &text), expected);
    }

    #[test]
    fn ruby_and_dotnet() {
        let trace =
            "a.rb:2:in `f': no (RuntimeError)\n\tfrom a.rb:6:in `g'\n\tfrom a.rb:9:in `<main>'";
        assert_eq!(
            preset(Preset::Ruby, &format!("one\n{trace}\ntwo\n")),
            ["one", trace, "two"]
        );
        let trace = "Unhandled exception. System.Exception: no\n ---> System.IO.IOException: x\n   \
                     at A.B.C() in /a/b.cs:line 1\n   --- End of inner exception stack trace ---\n   \
                     at A.B.D()\n--- End of stack trace from previous location ---\n   at A.B.E()";
        assert_eq!(
            preset(Preset::DotNet, &format!("one\n{trace}\ntwo\n")),
            ["one", trace, "two"]
        );
    }

    #[test]
    fn every_preset_has_its_name() {
        assert!(Preset::NAMES.iter().all(|name| Preset::new(name).is_some()));
        assert_eq!(Preset::new("cobol"), None);
    }
}
