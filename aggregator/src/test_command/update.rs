//! `--update`: writes into a case file what came out.
//!
//! Only the events that differ are written anew, in the style of the file (block or flow, one line or
//! several, its indentation); fields of them that are right stay as they are written. The new text is read
//! again before it is put in place: if it does not say exactly what it should, which anchors and the like
//! can cause, the file is left alone and that is said.

use skidder_pipeline::language::{Diagnostics, SourceMap};

use super::case_file::{self, Case, CaseFile, Place};
use super::node::{Kind, Member, Node};
use super::yaml;

/// What a case is to say.
pub(super) struct Wanted {
    /// The number of the case, from 0.
    pub(super) case: usize,
    /// Its events, with the numbers of the expected ones whose place they take.
    pub(super) events: Vec<(Option<usize>, Node)>,
}

/// The text of a file with other expected events, or why it cannot be written.
pub(super) fn rewritten(
    name: &str,
    text: &str,
    file: &CaseFile,
    wanted: &[Wanted],
) -> Result<String, String> {
    let writer = Writer {
        text,
        unit: indentation(text),
        is_json: case_file::is_json(std::path::Path::new(name)),
    };
    let mut edits = Vec::new();
    for wanted in wanted {
        let case = &file.cases[wanted.case];
        edits.extend(writer.edits(case, &wanted.events).ok_or_else(|| {
            format!(
                "`{}` has neither input nor expected events to write at",
                case.name
            )
        })?);
    }
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.start));
    let mut new = text.to_owned();
    for edit in edits {
        if edit.start > edit.end || new.get(edit.start..edit.end).is_none() {
            return Err(UNSAFE.to_owned());
        }
        new.replace_range(edit.start..edit.end, &edit.text);
    }
    if says(name, &new, file, wanted) {
        Ok(new)
    } else {
        Err(UNSAFE.to_owned())
    }
}

const UNSAFE: &str = "this file cannot be rewritten without a change of its meaning (anchors or merged \
                      keys in expected events?); edit it by hand";

/// Whether a text says what a file says, but for the expected events that are wanted.
fn says(name: &str, text: &str, file: &CaseFile, wanted: &[Wanted]) -> bool {
    let sources = SourceMap::single(name, text);
    let Some(source) = sources.get(0) else {
        return false;
    };
    let Some(again) = case_file::read(source, &mut Diagnostics::new()) else {
        return false;
    };
    if again.cases.len() != file.cases.len() {
        return false;
    }
    let object = |members: &[Member]| Node::new(Kind::Object(members.to_vec()), sources_start());
    file.cases
        .iter()
        .zip(&again.cases)
        .enumerate()
        .all(|(at, (old, new))| {
            let is_expected = match wanted.iter().find(|wanted| wanted.case == at) {
                Some(wanted) => {
                    let events = wanted.events.iter().map(|(_, event)| event);
                    events.eq(new.expected.events.iter())
                }
                None => old.expected.events == new.expected.events,
            };
            is_expected
                && (old.expected.place.is_none() || old.expected.partial == new.expected.partial)
                && (&old.name, &old.input, old.now) == (&new.name, &new.input, new.now)
                && object(&old.fields) == object(&new.fields)
        })
}

fn sources_start() -> skidder_pipeline::language::Span {
    skidder_pipeline::language::Span::default()
}

/// A piece of the text that becomes another.
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

struct Writer<'t> {
    text: &'t str,
    /// What one level of indentation is.
    unit: String,
    is_json: bool,
}

impl Writer<'_> {
    fn edits(&self, case: &Case, events: &[(Option<usize>, Node)]) -> Option<Vec<Edit>> {
        let old = &case.expected.events;
        let one_for_one = old.len() == events.len()
            && events
                .iter()
                .enumerate()
                .all(|(at, (place, _))| *place == Some(at));
        match case.expected.place {
            Some(_) if one_for_one && !old.is_empty() => {
                let pairs = old.iter().zip(events);
                let changed = pairs.filter(|(old, (_, new))| old != &new);
                Some(
                    changed
                        .map(|(old, (_, new))| self.event(old, new))
                        .collect(),
                )
            }
            Some(place) => Some(vec![self.list(place, old, events)]),
            None => self.insertion(case, events).map(|edit| vec![edit]),
        }
    }

    /// One event in the place of another.
    fn event(&self, old: &Node, new: &Node) -> Edit {
        let range = old.span.range();
        let typed = self.slice(range.clone());
        let text = if self.is_json || typed.starts_with('{') {
            self.flow(
                new,
                Some(old),
                self.line_indent(range.start).len(),
                typed.contains('\n'),
            )
        } else {
            self.block(new, Some(old), self.column(range.start))
        };
        Edit {
            start: range.start,
            end: range.end,
            text,
        }
    }

    /// All events of a case anew.
    fn list(&self, place: Place, old: &[Node], events: &[(Option<usize>, Node)]) -> Edit {
        let typed = self.slice(place.value.range());
        let is_flow = self.is_json || typed.starts_with(['[', '{']) && !events.is_empty();
        if is_flow {
            let indent = self.line_indent(place.key.range().start).len();
            return Edit {
                start: place.value.range().start,
                end: place.value.range().end,
                text: self.flow_list(old, events, indent, typed.contains('\n')),
            };
        }
        // Behind the colon, whatever the value is: it may be nothing at all.
        let after_key = place.key.range().end;
        let colon = self.text[after_key..]
            .find(':')
            .map_or(after_key, |at| after_key + at + 1);
        let end = place.value.range().end.max(colon);
        let key_column = self.column(place.key.range().start);
        let rest = &self.text[colon..];
        let dash = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let column = if dash.starts_with("- ") && rest.len() > dash.len() {
            self.column(self.text.len() - dash.len())
        } else {
            key_column + self.unit.len()
        };
        Edit {
            start: colon,
            end: if typed.trim().is_empty() { colon } else { end },
            text: self.block_list(old, events, column),
        }
    }

    /// A key for expected events behind the input.
    fn insertion(&self, case: &Case, events: &[(Option<usize>, Node)]) -> Option<Edit> {
        let input = case.expected.input?;
        let is_short =
            self.slice(input.key.range()).contains("in\"") || self.slice(input.key.range()) == "in";
        let word = if is_short { "out" } else { "expected" };
        let end = input.value.range().end;
        let is_flow = self.is_json || self.slice(case.span.range()).starts_with('{');
        let text = if is_flow {
            let indent = self.line_indent(input.key.range().start);
            let lines = self.slice(case.span.range()).contains('\n');
            let separator = if lines {
                format!(",\n{indent}")
            } else {
                ", ".to_owned()
            };
            let list = self.flow_list(&[], events, indent.len(), lines);
            format!("{separator}\"{word}\": {list}")
        } else {
            let column = self.column(input.key.range().start);
            let list = self.block_list(&[], events, column + self.unit.len());
            format!("\n{}{word}:{list}", " ".repeat(column))
        };
        Some(Edit {
            start: end,
            end,
            text,
        })
    }

    fn block_list(&self, old: &[Node], events: &[(Option<usize>, Node)], column: usize) -> String {
        if events.is_empty() {
            return " []".to_owned();
        }
        let mut text = String::new();
        for (place, event) in events {
            let before = place.and_then(|place| old.get(place));
            text.push('\n');
            text.push_str(&" ".repeat(column));
            text.push_str("- ");
            text.push_str(&self.block(event, before, column + 2));
        }
        text
    }

    fn flow_list(
        &self,
        old: &[Node],
        events: &[(Option<usize>, Node)],
        indent: usize,
        lines: bool,
    ) -> String {
        let inner = format!("{}{}", " ".repeat(indent), self.unit);
        let each = events.iter().map(|(place, event)| {
            let before = place.and_then(|place| old.get(place));
            self.flow(event, before, inner.len(), lines)
        });
        let each: Vec<String> = each.collect();
        match (each.is_empty(), lines) {
            (true, _) => "[]".to_owned(),
            (false, true) => {
                let separator = format!(",\n{inner}");
                format!(
                    "[\n{inner}{}\n{}]",
                    each.join(&separator),
                    " ".repeat(indent)
                )
            }
            (false, false) => format!("[{}]", each.join(", ")),
        }
    }

    /// A value as a block whose first line begins at a column.
    fn block(&self, new: &Node, old: Option<&Node>, column: usize) -> String {
        let members = in_order(new, old);
        if members.is_empty() {
            return scalar(new);
        }
        let mut lines = Vec::with_capacity(members.len());
        for member in members {
            if let Some(typed) = self.typed(member, old) {
                lines.push(typed.to_owned());
                continue;
            }
            let key = plain_or_quoted(&member.key.value);
            let before = old.and_then(|old| old.get(&member.key.value));
            let inner = column + self.unit.len();
            lines.push(match &member.value.kind {
                Kind::Object(members) if !members.is_empty() => {
                    let value = self.block(&member.value, before, inner);
                    format!("{key}:\n{}{value}", " ".repeat(inner))
                }
                _ => format!("{key}: {}", scalar(&member.value)),
            });
        }
        lines.join(&format!("\n{}", " ".repeat(column)))
    }

    /// A value in braces.
    fn flow(&self, new: &Node, old: Option<&Node>, indent: usize, lines: bool) -> String {
        let members = in_order(new, old);
        if members.is_empty() {
            return spaced(new);
        }
        let inner = format!("{}{}", " ".repeat(indent), self.unit);
        let fields = members.into_iter().map(|member| {
            if let Some(typed) = self.typed(member, old) {
                return typed.to_owned();
            }
            let before = old.and_then(|old| old.get(&member.key.value));
            let value = match &member.value.kind {
                Kind::Object(_) if lines => self.flow(&member.value, before, inner.len(), lines),
                _ => spaced(&member.value),
            };
            format!("{}: {value}", quoted(&member.key.value))
        });
        let fields: Vec<String> = fields.collect();
        if lines {
            let separator = format!(",\n{inner}");
            let end = " ".repeat(indent);
            format!("{{\n{inner}{}\n{end}}}", fields.join(&separator))
        } else {
            format!("{{{}}}", fields.join(", "))
        }
    }

    /// How a field is written that stays what it is.
    fn typed(&self, member: &Member, old: Option<&Node>) -> Option<&str> {
        let old = old?;
        let before = old
            .members()
            .iter()
            .find(|old| old.key.value == member.key.value)?;
        let (key, value) = (before.key.span.range(), before.value.span.range());
        let inside = old.span.range();
        let is_here =
            inside.start <= key.start && key.end <= value.start && value.end <= inside.end;
        // A name in brackets stands for more than itself.
        let is_plain = !self.slice(key.clone()).contains('[');
        let same = before.value == member.value && is_here && is_plain;
        same.then(|| self.slice(key.start..value.end))
    }

    fn slice(&self, range: std::ops::Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    fn line(&self, at: usize) -> &str {
        let before = self.text.get(..at).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default()
    }

    /// How many characters stand before a place in its line.
    fn column(&self, at: usize) -> usize {
        self.line(at).chars().count()
    }

    /// The blanks at the start of the line of a place.
    fn line_indent(&self, at: usize) -> &str {
        let line = self.line(at);
        let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
        &line[..blanks]
    }
}

/// What the first indented line is indented by.
fn indentation(text: &str) -> String {
    let indents = text.lines().filter_map(|line| {
        let blanks = line.len() - line.trim_start_matches(' ').len();
        let is_text = blanks > 0 && blanks < line.len();
        is_text.then_some(blanks)
    });
    " ".repeat(indents.min().unwrap_or(2).clamp(1, 8))
}

/// The fields of an object: those that were there before in their order, then the new ones.
fn in_order<'n>(new: &'n Node, old: Option<&Node>) -> Vec<&'n Member> {
    let place = |member: &&Member| {
        let members = old.map(Node::members).unwrap_or_default();
        let found = members
            .iter()
            .position(|old| old.key.value == member.key.value);
        found.unwrap_or(usize::MAX)
    };
    let mut members: Vec<&Member> = new.members().iter().collect();
    members.sort_by_key(place);
    members
}

/// A value behind a key of a block.
fn scalar(node: &Node) -> String {
    match &node.kind {
        Kind::Text(text) => plain_or_quoted(text),
        _ => spaced(node),
    }
}

fn plain_or_quoted(text: &str) -> String {
    let is_plain = text
        .starts_with(|first: char| first.is_ascii_alphabetic() || first == '_' || first == '/')
        && text
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || " _-./=+()".contains(each))
        && !text.ends_with(' ')
        && yaml::is_plain_text(text);
    if is_plain {
        text.to_owned()
    } else {
        quoted(text)
    }
}

fn quoted(text: &str) -> String {
    Node::new(Kind::Text(text.into()), sources_start()).to_json()
}

/// JSON on one line with a blank behind each comma and colon.
fn spaced(node: &Node) -> String {
    match &node.kind {
        Kind::Array(values) => {
            let values: Vec<String> = values.iter().map(spaced).collect();
            format!("[{}]", values.join(", "))
        }
        Kind::Object(members) => {
            let fields: Vec<String> = members
                .iter()
                .map(|member| format!("{}: {}", quoted(&member.key.value), spaced(&member.value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        _ => node.to_json(),
    }
}
