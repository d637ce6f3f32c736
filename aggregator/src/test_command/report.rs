//! What was found, for people and for programs: text, JSON, the XML of `JUnit`, TAP.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::compare::{Difference, FieldDifference};
use super::node::Node;

/// The result of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) files: Vec<FileReport>,
    pub(super) elapsed: Duration,
}

/// The result of a file.
#[derive(Debug)]
pub(super) struct FileReport {
    pub(super) path: String,
    pub(super) cases: Vec<CaseReport>,
    /// Why it was not run.
    pub(super) refused: Option<String>,
    /// What is to be known of it although it was run.
    pub(super) notes: Vec<String>,
    /// How many cases were rewritten.
    pub(super) updated: usize,
    pub(super) elapsed: Duration,
}

/// The result of a case.
#[derive(Debug)]
pub(super) struct CaseReport {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) column: usize,
    /// None if it passed.
    pub(super) differences: Vec<Difference>,
    /// The file says nothing of what is to come out.
    pub(super) says_nothing: bool,
}

/// A form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object.
    Json,
    /// The XML of `JUnit`.
    Junit,
    /// The Test Anything Protocol, version 13.
    Tap,
}

impl Format {
    /// The form of a name of [`Format::NAMES`].
    pub fn from_name(name: &str) -> Option<Self> {
        let forms = [Self::Text, Self::Json, Self::Junit, Self::Tap];
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        forms.get(at).copied()
    }

    /// The names.
    pub const NAMES: [&'static str; 4] = ["text", "json", "junit", "tap"];
}

impl Report {
    pub(super) fn failed(&self) -> usize {
        self.cases()
            .filter(|case| !case.differences.is_empty())
            .count()
    }

    pub(super) fn refused(&self) -> usize {
        self.files
            .iter()
            .filter(|file| file.refused.is_some())
            .count()
    }

    pub(super) fn cases(&self) -> impl Iterator<Item = &CaseReport> {
        self.files.iter().flat_map(|file| &file.cases)
    }

    fn updated(&self) -> usize {
        self.files.iter().map(|file| file.updated).sum()
    }

    /// The report in a form.
    pub(super) fn render(&self, format: Format, color: bool, quiet: bool) -> String {
        match format {
            Format::Text => self.text(color, quiet),
            Format::Json => format!("{}\n", self.json()),
            Format::Junit => self.junit(),
            Format::Tap => self.tap(),
        }
    }

    fn text(&self, color: bool, quiet: bool) -> String {
        let paint = Paint { color };
        let mut text = String::new();
        for file in &self.files {
            let failed = file
                .cases
                .iter()
                .filter(|case| !case.differences.is_empty());
            let failed = failed.count();
            let count = counted(file.cases.len(), "case");
            if let Some(reason) = &file.refused {
                let word = paint.red("refused");
                push(
                    &mut text,
                    format_args!("{word} {}\n{}", file.path, indented(reason)),
                );
            } else if failed > 0 {
                let word = paint.red("failed");
                push(
                    &mut text,
                    format_args!("{word}  {}  {failed} of {count}", file.path),
                );
            } else if !quiet {
                let word = paint.green("ok");
                push(
                    &mut text,
                    format_args!("{word}      {}  {count}", file.path),
                );
            }
            if file.updated > 0 {
                let count = counted(file.updated, "case");
                push(&mut text, format_args!("        {count} rewritten"));
            }
            for note in &file.notes {
                push(&mut text, format_args!("        note: {note}"));
            }
            for case in file
                .cases
                .iter()
                .filter(|case| !case.differences.is_empty())
            {
                let place = format!("{}:{}:{}", file.path, case.line, case.column);
                push(
                    &mut text,
                    format_args!("\n  {}  ({place})", paint.bold(&case.name)),
                );
                case.describe(&mut text, paint, "    ");
            }
            if failed > 0 {
                text.push('\n');
            }
        }
        if !quiet || self.failed() + self.refused() > 0 {
            text.push_str(&self.summary());
        }
        text
    }

    /// One line about all.
    pub(super) fn summary(&self) -> String {
        let cases = self.cases().count();
        let failed = self.failed();
        let mut parts = vec![format!("{} passed", cases - failed)];
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        if self.refused() > 0 {
            parts.push(format!("{} refused", counted(self.refused(), "file")));
        }
        if self.updated() > 0 {
            parts.push(format!("{} rewritten", self.updated()));
        }
        let seconds = self.elapsed.as_secs_f64();
        format!(
            "{}: {} ({seconds:.3} s)\n",
            counted(cases, "case"),
            parts.join(", ")
        )
    }

    fn json(&self) -> Json {
        let files = self.files.iter().map(|file| {
            let cases = file.cases.iter().map(|case| {
                json!({
                    "name": case.name, "line": case.line, "column": case.column,
                    "passed": case.differences.is_empty(),
                    "differences": case.differences.iter().map(difference_json).collect::<Vec<_>>(),
                })
            });
            json!({
                "file": file.path, "refused": file.refused, "notes": file.notes,
                "updated": file.updated, "seconds": file.elapsed.as_secs_f64(),
                "cases": cases.collect::<Vec<_>>(),
            })
        });
        json!({
            "version": 1, "cases": self.cases().count(), "failed": self.failed(),
            "refused": self.refused(), "updated": self.updated(),
            "seconds": self.elapsed.as_secs_f64(), "files": files.collect::<Vec<_>>(),
        })
    }

    fn junit(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        push(
            &mut text,
            format_args!(
                "<testsuites name=\"skidder-aggregator test\" tests=\"{}\" failures=\"{}\" \
                 errors=\"{}\" time=\"{:.6}\">",
                self.cases().count() + self.refused(),
                self.failed(),
                self.refused(),
                self.elapsed.as_secs_f64()
            ),
        );
        for file in &self.files {
            let failed = file
                .cases
                .iter()
                .filter(|case| !case.differences.is_empty());
            let (failed, refused) = (failed.count(), usize::from(file.refused.is_some()));
            let (name, seconds) = (xml(&file.path), file.elapsed.as_secs_f64());
            let tests = file.cases.len() + refused;
            push(
                &mut text,
                format_args!(
                    "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\" \
                     errors=\"{refused}\" skipped=\"0\" time=\"{seconds:.6}\">"
                ),
            );
            let each = seconds / file.cases.len().max(1) as f64;
            for case in &file.cases {
                let head = format!(
                    "    <testcase classname=\"{name}\" name=\"{}\" file=\"{name}\" line=\"{}\" \
                     time=\"{each:.6}\"",
                    xml(&case.name),
                    case.line
                );
                if case.differences.is_empty() {
                    push(&mut text, format_args!("{head}/>"));
                    continue;
                }
                let mut details = String::new();
                case.describe(&mut details, Paint { color: false }, "");
                let message = xml(details.lines().next().unwrap_or_default());
                let details = xml(&details);
                push(
                    &mut text,
                    format_args!(
                        "{head}>\n      <failure type=\"difference\" message=\"{message}\">{details}\
                         </failure>\n    </testcase>"
                    ),
                );
            }
            if let Some(reason) = &file.refused {
                let (message, reason) =
                    (xml(reason.lines().next().unwrap_or_default()), xml(reason));
                push(
                    &mut text,
                    format_args!(
                        "    <testcase classname=\"{name}\" name=\"(the file)\" file=\"{name}\">\n      \
                         <error type=\"refused\" message=\"{message}\">{reason}</error>\n    \
                         </testcase>"
                    ),
                );
            }
            text.push_str("  </testsuite>\n");
        }
        text.push_str("</testsuites>\n");
        text
    }

    fn tap(&self) -> String {
        let mut text = String::from("TAP version 13\n");
        push(
            &mut text,
            format_args!("1..{}", self.cases().count() + self.refused()),
        );
        let mut number = 0;
        for file in &self.files {
            let path = tap_name(&file.path);
            for note in &file.notes {
                push(&mut text, format_args!("# {path}: {}", tap_name(note)));
            }
            for case in &file.cases {
                number += 1;
                let name = tap_name(&case.name);
                if case.differences.is_empty() {
                    push(&mut text, format_args!("ok {number} - {path}: {name}"));
                    continue;
                }
                let mut details = String::new();
                case.describe(&mut details, Paint { color: false }, "    ");
                push(&mut text, format_args!("not ok {number} - {path}: {name}"));
                let (line, column) = (case.line, case.column);
                push(
                    &mut text,
                    format_args!(
                        "  ---\n  file: {}\n  line: {line}\n  column: {column}\n  message: \
                         |\n{}\n  ...",
                        Json::from(file.path.as_str()),
                        details.trim_end()
                    ),
                );
            }
            if let Some(reason) = &file.refused {
                number += 1;
                push(
                    &mut text,
                    format_args!("not ok {number} - {path}: (the file)"),
                );
                let reason = indented(reason);
                push(
                    &mut text,
                    format_args!("  ---\n  message: |\n{}\n  ...", reason.trim_end()),
                );
            }
        }
        text
    }
}

impl CaseReport {
    /// What is different, one line for each field.
    fn describe(&self, text: &mut String, paint: Paint, indent: &str) {
        for difference in &self.differences {
            match difference {
                Difference::Fields { number, fields } => {
                    push(text, format_args!("{indent}event {number} differs"));
                    for field in fields {
                        field_lines(field, text, paint, indent);
                    }
                }
                Difference::Missing { number, event } => {
                    push(text, format_args!("{indent}event {number} did not come"));
                    let line = paint.red(&format!("- {}", event.to_json()));
                    push(text, format_args!("{indent}  {line}"));
                }
                Difference::Unexpected { number, event } => {
                    let why = if self.says_nothing {
                        " (the case does not say what is to come: --update writes it down)"
                    } else {
                        ""
                    };
                    push(
                        text,
                        format_args!("{indent}event {number} that came was not expected{why}"),
                    );
                    let line = paint.green(&format!("+ {}", event.to_json()));
                    push(text, format_args!("{indent}  {line}"));
                }
            }
        }
    }
}

fn field_lines(difference: &FieldDifference, text: &mut String, paint: Paint, indent: &str) {
    let field = &difference.field;
    let line = |sign: &str, node: &Node| format!("{sign} {field}: {}", node.to_json());
    if let Some(expected) = &difference.expected {
        let line = paint.red(&line("-", expected));
        push(text, format_args!("{indent}  {line}"));
    }
    if let Some(actual) = &difference.actual {
        let hint = match &difference.expected {
            Some(expected) if expected.name() != actual.name() => {
                format!("   ({}, not {})", actual.name(), expected.name())
            }
            _ => String::new(),
        };
        let line = paint.green(&line("+", actual));
        push(text, format_args!("{indent}  {line}{hint}"));
    }
}

fn difference_json(difference: &Difference) -> Json {
    let parsed = |node: &Node| serde_json::from_str::<Json>(&node.to_json()).unwrap_or_default();
    match difference {
        Difference::Fields { number, fields } => {
            let fields = fields.iter().map(|field| {
                let mut object = json!({ "field": field.field });
                if let Some(expected) = &field.expected {
                    object["expected"] = parsed(expected);
                }
                if let Some(actual) = &field.actual {
                    object["actual"] = parsed(actual);
                }
                object
            });
            json!({ "kind": "fields", "event": number, "fields": fields.collect::<Vec<_>>() })
        }
        Difference::Missing { number, event } => {
            json!({ "kind": "missing", "event": number, "expected": parsed(event) })
        }
        Difference::Unexpected { number, event } => {
            json!({ "kind": "unexpected", "event": number, "actual": parsed(event) })
        }
    }
}

/// Colours, if they are wanted.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    pub(super) color: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
}

/// Appends a line.
pub(super) fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a text does not fail.
    let _done = writeln!(text, "{line}");
}

pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

fn indented(text: &str) -> String {
    let lines = text.trim_end().lines();
    lines
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A text in XML; what XML cannot hold at all becomes U+FFFD.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            '\r' => escaped.push_str("&#13;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A name in TAP: on one line, and without what begins a directive.
fn tap_name(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
        .replace('\\', "\\\\")
        .replace('#', "\\#")
}
