//! The options of an element of `files` that say how lines become events.

use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use super::Problems;
use super::raw::RawSection;
use super::values::Reader;
use super::yaml::{Node, Value};
use crate::tail::shape::container::Format;
use crate::tail::shape::multiline::{
    By, DEFAULT_MAX_BYTES, DEFAULT_MAX_LINES, Multiline, Preset, Role,
};
use crate::tail::shape::{Charset, LongLines, Rules};

/// The memory that a compiled pattern may take.
pub const MAX_PATTERN_BYTES: usize = 1 << 20;

/// The options as they were typed, to tell whether another config says the same.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Typed(String);

impl std::fmt::Debug for Typed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Typed")
    }
}

impl Typed {
    pub(super) fn new(section: &RawSection) -> Self {
        let names = ["encoding", "format", "long lines", "multiline"];
        let mut text = String::new();
        for name in names {
            // Where it stands is no part of it.
            let value = match section.find(name).map(|node| &node.value) {
                Some(Value::Scalar { text, .. }) => text,
                _ => "",
            };
            text.push_str(value);
            text.push(';');
        }
        for name in MULTILINE {
            let section = section.multiline.as_ref();
            let value = section
                .and_then(|section| section.find(name))
                .and_then(Node::text);
            text.push_str(value.unwrap_or(""));
            text.push(';');
        }
        Self(text)
    }
}

/// The options under `multiline`.
const MULTILINE: &[&str] = &[
    "preset",
    "pattern",
    "match",
    "negate",
    "max lines",
    "max bytes",
    "timeout",
];

/// Builds the rules; what is wrong becomes a problem and the default.
pub(super) fn build(section: &RawSection, problems: &mut Problems) -> Rules {
    let mut reader = Reader { section, problems };
    let charset = match reader.text("encoding") {
        None => Charset::Utf8,
        Some(label) => Charset::new(&label).unwrap_or_else(|| {
            let place = reader.place("encoding");
            let message = format!(
                "unknown encoding `{label}`; use a name of the WHATWG encoding standard, like \
                 utf-16, latin1, windows-1252, shift_jis or gbk"
            );
            reader.problems.add(place.as_ref(), message);
            Charset::Utf8
        }),
    };
    let format = match reader.choice("format", &["plain", "docker", "cri", "container"]) {
        "docker" => Format::Docker,
        "cri" => Format::Cri,
        "container" => Format::Container,
        _ => Format::Plain,
    };
    let long_lines = long_lines(&mut reader);
    let multiline = match &section.multiline {
        Some(section) => multiline(section, problems),
        None => match reader.text("multiline").as_deref() {
            None | Some("none") => None,
            Some(_) => {
                let words = Preset::NAMES;
                Preset::new(reader.choice("multiline", words)).map(|preset| Multiline {
                    by: By::Preset(preset),
                    max_lines: DEFAULT_MAX_LINES,
                    max_bytes: DEFAULT_MAX_BYTES,
                    timeout: DEFAULT_TIMEOUT,
                })
            }
        },
    };
    Rules {
        charset,
        format,
        multiline,
        long_lines,
        delimiter: None,
        joiner: None,
    }
}

/// What becomes of lines that are too long.
pub(super) fn long_lines(reader: &mut Reader<'_>) -> LongLines {
    match reader.choice("long lines", &["split", "truncate", "skip"]) {
        "truncate" => LongLines::Truncate,
        "skip" => LongLines::Skip,
        _ => LongLines::Split,
    }
}

const DEFAULT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

fn multiline(section: &RawSection, problems: &mut Problems) -> Option<Multiline> {
    let mut reader = Reader { section, problems };
    let role = match reader.choice("match", &["start", "continue", "end"]) {
        "continue" => Role::Continue,
        "end" => Role::End,
        _ => Role::Start,
    };
    let negate = reader.switch("negate", false);
    let typed =
        |reader: &mut Reader<'_>, name: &str| reader.text(name).filter(|text| text != "none");
    let by = match (typed(&mut reader, "preset"), typed(&mut reader, "pattern")) {
        (Some(_), None) => Preset::new(reader.choice("preset", Preset::NAMES)).map(By::Preset),
        (None, Some(pattern)) => {
            let built = Regex::builder()
                .syntax(syntax::Config::new().utf8(false))
                .configure(
                    Regex::config()
                        .utf8_empty(false)
                        .nfa_size_limit(Some(MAX_PATTERN_BYTES)),
                )
                .build(&pattern);
            match built {
                Ok(regex) => Some(By::Pattern {
                    regex: Box::new(regex),
                    role,
                    negate,
                }),
                Err(error) => {
                    let place = reader.place("pattern");
                    let cause = error
                        .syntax_error()
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    let message = format!("`pattern` is not a regular expression: {cause}");
                    reader.problems.add(place.as_ref(), message);
                    None
                }
            }
        }
        _ => {
            let place = section.place.as_ref();
            let message = "`multiline` needs either a `preset` or a `pattern`";
            reader.problems.add(place, message);
            None
        }
    };
    let max_lines = reader.number("max lines", DEFAULT_MAX_LINES as u64, 2, 1_000_000) as usize;
    let max_bytes = reader.size("max bytes", DEFAULT_MAX_BYTES, 1 << 10, 16 << 20);
    let timeout = reader.seconds("timeout", DEFAULT_TIMEOUT.as_secs());
    Some(Multiline {
        by: by?,
        max_lines,
        max_bytes,
        timeout,
    })
}
