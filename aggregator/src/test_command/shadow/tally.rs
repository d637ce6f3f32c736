//! What is counted, and how it is told.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Value as Json, json};

use super::super::compare::{FieldDifference, field_differences};
use super::super::node::Node;
use super::super::report::{Format, Paint, counted, push};
use super::super::run::CameOut;
use super::Document;
use crate::shown::cut;

/// Fields that are told apart; the differences in others are counted together.
pub(super) const MAX_FIELDS: usize = 10_000;

/// The name for fields beyond [`MAX_FIELDS`].
const OTHERS: &str = "(other fields)";

/// What was found.
pub(super) struct Tally {
    ignored: Vec<Vec<String>>,
    examples: usize,
    pub(super) documents: u64,
    equal: u64,
    different: u64,
    missing: Side,
    unexpected: Side,
    without_line: Side,
    unreadable: Side,
    fields: BTreeMap<String, FieldTally>,
}

/// Documents or events of one fate.
#[derive(Default)]
struct Side {
    count: u64,
    examples: Vec<(u64, String)>,
}

/// The differences in one field.
#[derive(Default)]
struct FieldTally {
    /// Both have it, with other values.
    differ: u64,
    /// Of those, how many are of another type.
    types: u64,
    only_theirs: u64,
    only_ours: u64,
    examples: Vec<Example>,
}

struct Example {
    line: u64,
    theirs: Option<String>,
    ours: Option<String>,
}

impl Tally {
    pub(super) fn new(ignored: Vec<Vec<String>>, examples: usize) -> Self {
        Self {
            ignored,
            examples,
            documents: 0,
            equal: 0,
            different: 0,
            missing: Side::default(),
            unexpected: Side::default(),
            without_line: Side::default(),
            unreadable: Side::default(),
            fields: BTreeMap::new(),
        }
    }

    /// Whether a document and an event are the same as far as they are compared.
    pub(super) fn is_same(&self, document: &Node, came: &CameOut) -> bool {
        let (theirs, ours) = self.compared(document, came);
        theirs == ours
    }

    fn compared(&self, document: &Node, came: &CameOut) -> (Node, Node) {
        let (mut theirs, mut ours) = (document.clone(), came.event.clone());
        for node in [&mut theirs, &mut ours] {
            for keys in &self.ignored {
                node.remove(keys);
            }
            if came.is_now {
                // Here no filter has set the time: what stands there is when it was received.
                node.remove(&["@timestamp".to_owned()]);
            }
        }
        (theirs, ours)
    }

    /// A document and its event were found.
    pub(super) fn pair(&mut self, document: &Document, came: &CameOut) {
        let (theirs, ours) = self.compared(&document.node, came);
        let differences = field_differences(&theirs, &ours);
        if differences.is_empty() {
            self.equal += 1;
            return;
        }
        self.different += 1;
        for difference in differences {
            self.field(document.line, difference);
        }
    }

    fn field(&mut self, line: u64, difference: FieldDifference) {
        let full = self.fields.len() >= MAX_FIELDS;
        let name = difference.field;
        let known = !full || self.fields.contains_key(&name);
        let name = if known { name } else { OTHERS.to_owned() };
        let tally = match self.fields.entry(name) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(FieldTally::default()),
        };
        match (&difference.expected, &difference.actual) {
            (Some(theirs), Some(ours)) => {
                tally.differ += 1;
                tally.types += u64::from(theirs.name() != ours.name());
            }
            (Some(_), None) => tally.only_theirs += 1,
            (None, _) => tally.only_ours += 1,
        }
        if tally.examples.len() < self.examples {
            let shown = |node: Option<Node>| node.map(|node| cut(&node.to_json()));
            tally.examples.push(Example {
                line,
                theirs: shown(difference.expected),
                ours: shown(difference.actual),
            });
        }
    }

    /// There is no event for a document.
    pub(super) fn missing(&mut self, document: &Document) {
        let text = || cut(&document.node.to_json());
        self.missing.add(document.line, text, self.examples);
    }

    /// There is no document for an event.
    pub(super) fn unexpected(&mut self, came: &CameOut) {
        self.unexpected
            .add(0, || cut(&came.event.to_json()), self.examples);
    }

    /// A document does not say of which line it was made.
    pub(super) fn without_line(&mut self, document: &Document) {
        let text = || cut(&document.node.to_json());
        self.without_line.add(document.line, text, self.examples);
    }

    /// A line is no document.
    pub(super) fn unreadable(&mut self, line: u64, reason: &str) {
        self.unreadable
            .add(line, || reason.to_owned(), self.examples);
    }

    pub(super) fn is_equal(&self) -> bool {
        self.equal == self.documents && self.unexpected.count == 0 && self.unreadable.count == 0
    }

    pub(super) fn render(&self, format: Format, color: bool) -> String {
        match format {
            Format::Json => format!("{}\n", self.json()),
            _ => self.text(Paint { color }),
        }
    }

    fn sides(&self) -> [(&'static str, &Side, &'static str); 4] {
        [
            (
                "missing",
                &self.missing,
                "documents for which no event came",
            ),
            (
                "unexpected",
                &self.unexpected,
                "events for which there is no document",
            ),
            (
                "without_line",
                &self.without_line,
                "documents without the line they were made of (give --key, or --input)",
            ),
            (
                "unreadable",
                &self.unreadable,
                "lines that are no JSON object",
            ),
        ]
    }

    fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        let documents = counted(self.documents as usize, "document");
        let (equal, different) = (self.equal, self.different);
        let verdict = format!("{documents}: {equal} equal, {different} different");
        push(&mut text, format_args!("{}", paint.bold(&verdict)));
        for (_, side, words) in self.sides() {
            if side.count == 0 {
                continue;
            }
            push(&mut text, format_args!("\n{} {words}", side.count));
            for (line, example) in &side.examples {
                let place = if *line > 0 {
                    format!("line {line}: ")
                } else {
                    String::new()
                };
                push(&mut text, format_args!("    {place}{example}"));
            }
        }
        if self.fields.is_empty() {
            return text;
        }
        // Those that differ most come first.
        let mut fields: Vec<(&String, &FieldTally)> = self.fields.iter().collect();
        fields.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.all()));
        let width = fields.iter().map(|(name, _)| name.chars().count()).max();
        let width = width.unwrap_or(0).clamp(5, 60);
        let head = format!(
            "{:width$}  {:>9}  {:>9}  {:>9}",
            "field", "differs", "there", "here"
        );
        push(&mut text, format_args!("\n{}", paint.bold(&head)));
        for (name, tally) in fields {
            push(
                &mut text,
                format_args!(
                    "{name:width$}  {:>9}  {:>9}  {:>9}{}",
                    tally.differ,
                    tally.only_theirs,
                    tally.only_ours,
                    match tally.types {
                        0 => String::new(),
                        types => format!("  ({types} of another type)"),
                    }
                ),
            );
            for example in &tally.examples {
                let theirs = example.theirs.as_deref().unwrap_or("nothing");
                let ours = example.ours.as_deref().unwrap_or("nothing");
                let (theirs, ours) = (paint.red(theirs), paint.green(ours));
                push(
                    &mut text,
                    format_args!("    line {}: there {theirs}, here {ours}", example.line),
                );
            }
        }
        text
    }

    fn json(&self) -> Json {
        let mut report = json!({
            "version": 1, "documents": self.documents, "equal": self.equal,
            "different": self.different,
        });
        for (name, side, _) in self.sides() {
            let examples = side.examples.iter().map(|(line, text)| {
                let line = Some(*line).filter(|line| *line > 0);
                json!({ "line": line, "text": text })
            });
            report[name] = json!({ "count": side.count, "examples": examples.collect::<Vec<_>>() });
        }
        let fields = self.fields.iter().map(|(name, tally)| {
            let examples = tally.examples.iter().map(|example| {
                json!({ "line": example.line, "there": example.theirs, "here": example.ours })
            });
            json!({
                "field": name, "differ": tally.differ, "other_type": tally.types,
                "only_there": tally.only_theirs, "only_here": tally.only_ours,
                "examples": examples.collect::<Vec<_>>(),
            })
        });
        report["fields"] = Json::from(fields.collect::<Vec<_>>());
        report
    }
}

impl FieldTally {
    fn all(&self) -> u64 {
        self.differ + self.only_theirs + self.only_ours
    }
}

impl Side {
    fn add(&mut self, line: u64, text: impl Fn() -> String, examples: usize) {
        self.count += 1;
        if self.examples.len() < examples {
            self.examples.push((line, text()));
        }
    }
}
