//! The `grok` filter: finds structure in a text by patterns.
//!
//! PERF: this is the hottest filter. Names, kinds and targets of captures are resolved when it
//! is compiled; a match fills slots, and each slot becomes a slice of the line in the event.
//!
//! COMPAT (logstash-filter-grok): a field that is missing is matched as an empty text; of an
//! array each element is tried; a capture into a field that is a text makes an array of both
//! unless the field is in `overwrite`, and one into a field of any other kind is left out; the
//! same name captured twice makes an array, unless the first is a number; empty captures are
//! left out unless `keep_empty_captures`; a pattern that needs the fallback engine and runs out
//! of steps tags the event with `tag_on_timeout` only; a capture into an `overwrite` field sets
//! it, the last one of a name counts.

mod ahead;
pub(crate) mod patterns;
pub mod probe;

use bumpalo::Bump;
use skidder_grok::{
    Capture, CaptureKind, CompileOptions, EngineKind, ListScratch, Matcher, MatcherList, Slots,
};

pub(crate) use self::ahead::compile_ahead;
use self::patterns::Patterns;
use super::{Context, Filter, Outcome, ScratchSlot};
use crate::compile::Build;
use crate::event::{Array, Event, Path, Value};
use crate::language::{FieldReference, METADATA, Options, Spanned};

/// Steps of the fallback engine that are taken as a millisecond of `timeout_millis`: about what
/// a core does.
pub const STEPS_PER_MILLISECOND: u64 = 100_000;

/// A compiled grok filter.
pub struct Grok {
    matches: Vec<FieldMatch>,
    break_on_match: bool,
    keep_empty_captures: bool,
    tags_on_failure: Vec<String>,
    tag_on_timeout: String,
    /// The steps that all expressions may take together on an event, if they share them.
    steps_of_event: Option<u64>,
}

/// The expressions for one field.
struct FieldMatch {
    source: Path,
    matchers: MatcherList,
    /// For each matcher, where its captures go.
    captures: Vec<Vec<Target>>,
    scratch: ScratchSlot,
}

/// Where a capture goes.
struct Target {
    /// Its number among the captures of the matcher.
    capture: usize,
    path: Path,
    kind: CaptureKind,
    overwrite: bool,
}

struct Memory {
    lists: ListScratch,
    slots: Slots,
}

enum Found {
    Nothing,
    Match,
    GaveUp,
}

impl Grok {
    /// Reads the options of the filter.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let ahead = build.slots.shared(ahead::SHARED, ahead::Ahead::default);
        let mut patterns = Patterns::from_options(options, build, ahead);
        let compile = compile_options(options);
        let overwrite = options.fields("overwrite").unwrap_or_default();
        let target = options.field("target");
        let texts = |list: Option<Vec<Spanned<String>>>| -> Option<Vec<String>> {
            Some(list?.into_iter().map(|text| text.value).collect())
        };
        let scopes = [("pattern", false), ("event", true)];
        let shares_steps = options.enumeration("timeout_scope", &scopes) == Some(true);
        let mut filter = Self {
            matches: Vec::new(),
            break_on_match: options.boolean("break_on_match").unwrap_or(true),
            keep_empty_captures: options.boolean("keep_empty_captures").unwrap_or(false),
            tags_on_failure: texts(options.strings("tag_on_failure"))
                .unwrap_or_else(|| vec!["_grokparsefailure".into()]),
            tag_on_timeout: options
                .string("tag_on_timeout")
                .unwrap_or_else(|| "_groktimeout".into()),
            steps_of_event: None,
        };
        let mut any_fallback = false;
        for entry in options.hash("match").unwrap_or_default() {
            let source = options.field_of(&entry.key)?;
            let expressions = options.texts_of("match", entry.value)?;
            let Some(matchers) = patterns.compile(&expressions, &compile, options) else {
                continue;
            };
            any_fallback |= matchers
                .matchers()
                .iter()
                .any(|matcher| matcher.engine() != EngineKind::Automaton);
            let captures = matchers.matchers().iter();
            let captures = captures
                .map(|matcher| targets(matcher, target.as_ref(), &overwrite, build))
                .collect();
            filter.matches.push(FieldMatch {
                source: Path::from(&source.value),
                matchers,
                captures,
                scratch: build.slots.take(),
            });
        }
        patterns.check_unused(&compile, options);
        filter.steps_of_event = (shares_steps && any_fallback).then_some(compile.max_steps);
        Some(filter)
    }

    /// Tries the expressions of one field.
    fn try_field<'b>(
        &'b self,
        field: &'b FieldMatch,
        event: &mut Event<'b>,
        context: &mut Context<'_, 'b>,
        steps: &mut Option<u64>,
    ) -> Found {
        match event.get(&field.source) {
            None | Some(Value::Null) => self.try_text(field, b"", event, context, steps),
            Some(Value::Text(text)) => {
                let text = *text;
                self.try_text(field, text, event, context, steps)
            }
            Some(Value::Array(array)) => {
                let mut texts = bumpalo::collections::Vec::new_in(context.arena);
                texts.extend(array.iter().map(|value| text_of(value, context.arena)));
                let mut found = Found::Nothing;
                // COMPAT: every element is tried, whatever `break_on_match` says.
                for text in texts {
                    match self.try_text(field, text, event, context, steps) {
                        Found::Match => found = Found::Match,
                        Found::GaveUp => return Found::GaveUp,
                        Found::Nothing => {}
                    }
                }
                found
            }
            Some(other) => {
                let text = text_of(other, context.arena);
                self.try_text(field, text, event, context, steps)
            }
        }
    }

    #[inline]
    fn try_text<'b>(
        &'b self,
        field: &'b FieldMatch,
        text: &'b [u8],
        event: &mut Event<'b>,
        context: &mut Context<'_, 'b>,
        steps: &mut Option<u64>,
    ) -> Found {
        let arena = context.arena;
        let memory = context.scratch.slot(field.scratch, || Memory {
            lists: field.matchers.scratch(),
            slots: Slots::new(),
        });
        if self.break_on_match && steps.is_none() {
            return match field
                .matchers
                .find(text, &mut memory.lists, &mut memory.slots)
            {
                Ok(Some(index)) => {
                    self.store(&field.captures[index], text, &memory.slots, event, arena);
                    Found::Match
                }
                Ok(None) => Found::Nothing,
                Err(_) => Found::GaveUp,
            };
        }
        let mut found = Found::Nothing;
        for (index, matcher) in field.matchers.matchers().iter().enumerate() {
            let Some(scratch) = memory.lists.of(index) else {
                break;
            };
            if let Some(left) = steps {
                scratch.limit_steps(*left);
            }
            let answer = matcher.find(text, scratch, &mut memory.slots);
            if let Some(left) = steps {
                *left = left.saturating_sub(scratch.steps_taken());
            }
            match answer {
                Ok(true) => {
                    let targets = &field.captures[index];
                    self.store(targets, text, &memory.slots, event, arena);
                    // COMPAT: one that matches is enough; in Logstash the last one of the list
                    // decides (logstash-filter-grok#49, which its authors call a bug).
                    found = Found::Match;
                    if self.break_on_match {
                        break;
                    }
                }
                Ok(false) => {}
                Err(_) => return Found::GaveUp,
            }
        }
        found
    }

    /// Puts what was captured into the event.
    #[inline]
    fn store<'b>(
        &'b self,
        targets: &'b [Target],
        text: &'b [u8],
        slots: &Slots,
        event: &mut Event<'b>,
        arena: &'b Bump,
    ) {
        for target in targets {
            let span = slots.get(target.capture);
            let captured = span.map_or(&text[..0], |(start, end)| &text[start..end]);
            if captured.is_empty() && !self.keep_empty_captures {
                continue;
            }
            let value = match (span, target.kind) {
                (None, _) => Value::Null,
                (_, CaptureKind::Integer) => {
                    Value::Integer(crate::number::integer_prefix(captured))
                }
                (_, CaptureKind::Float) => Value::Float(crate::number::float_prefix(captured)),
                _ => Value::Text(captured),
            };
            put(target, value, event, arena);
        }
    }
}

fn put<'b>(target: &'b Target, value: Value<'b>, event: &mut Event<'b>, arena: &'b Bump) {
    if target.overwrite {
        event.set(&target.path, value, arena);
        return;
    }
    match event.get_mut(&target.path) {
        None | Some(Value::Null) => event.set(&target.path, value, arena),
        Some(slot @ Value::Text(_)) => {
            let Value::Text(old) = *slot else { return };
            let mut both = Array::with_capacity_in(2, arena);
            both.push(Value::Text(old));
            both.push(value);
            *slot = Value::array(both, arena);
        }
        Some(Value::Array(array)) => array.push(value),
        Some(_) => {}
    }
}

impl Filter for Grok {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let mut matched = false;
        let mut steps = self.steps_of_event;
        for field in &self.matches {
            match self.try_field(field, event, context, &mut steps) {
                Found::Match => {
                    matched = true;
                    if self.break_on_match {
                        break;
                    }
                }
                Found::Nothing => {}
                Found::GaveUp => {
                    event.tag(self.tag_on_timeout.as_bytes(), context.arena);
                    return Outcome::Unapplied;
                }
            }
        }
        if matched {
            return Outcome::Applied;
        }
        for tag in &self.tags_on_failure {
            event.tag(tag.as_bytes(), context.arena);
        }
        Outcome::Unapplied
    }
}

/// A value as the text that is matched.
fn text_of<'b>(value: &Value<'b>, arena: &'b Bump) -> &'b [u8] {
    match value {
        Value::Text(text) => text,
        Value::Null => b"",
        other => {
            let mut out = Vec::new();
            crate::event::write_json_value(other, &mut out);
            arena.alloc_slice_copy(&out)
        }
    }
}

/// Resolves where the captures of a matcher go.
fn targets(
    matcher: &Matcher,
    target: Option<&Spanned<FieldReference>>,
    overwrite: &[Spanned<FieldReference>],
    build: &Build<'_>,
) -> Vec<Target> {
    let mut targets = Vec::new();
    for (index, repeated) in order(matcher.captures()) {
        let capture = &matcher.captures()[index];
        // COMPAT: a name without brackets is one key, even with dots in it.
        let reference = FieldReference::parse_with(&capture.name, build.escape_style).ok();
        let keys: Vec<&str> = match &reference {
            Some(reference) => reference.keys().iter().map(String::as_str).collect(),
            None => vec![capture.name.as_str()],
        };
        let in_metadata = reference.as_ref().is_some_and(FieldReference::is_metadata);
        let overwrite = overwrite.iter().any(|each| {
            each.value.is_metadata() == in_metadata && each.value.keys().iter().eq(keys.iter())
        });
        // A capture in the metadata stays there; below a target it is a key like any other.
        let root = match target {
            Some(target) => target.value.is_metadata(),
            None => in_metadata,
        };
        let root = root.then_some(METADATA);
        let prefix = target.map(|target| target.value.keys()).unwrap_or_default();
        let prefix = prefix.iter().map(String::as_str);
        let path = Path::new(root.into_iter().chain(prefix).chain(keys));
        targets.push(Target {
            capture: index,
            path,
            // COMPAT: of several captures that are written the same, only the first is coerced.
            kind: if repeated {
                CaptureKind::Text
            } else {
                capture.kind
            },
            overwrite,
        });
    }
    targets
}

/// The captures in the order in which they are stored, and whether one before is written the
/// same.
///
/// COMPAT: captures that are written the same, pattern and type included, are stored together,
/// where the first of them stands.
fn order(captures: &[Capture]) -> Vec<(usize, bool)> {
    let same = |left: &Capture, right: &Capture| {
        (&left.name, &left.pattern, left.kind) == (&right.name, &right.pattern, right.kind)
    };
    let first = |index: usize| {
        let before = captures[..index].iter();
        let mut before = before.enumerate();
        before
            .find(|(_, capture)| same(capture, &captures[index]))
            .map_or(index, |(first, _)| first)
    };
    let mut order: Vec<(usize, usize)> = (0..captures.len()).map(|at| (first(at), at)).collect();
    order.sort_unstable();
    order
        .into_iter()
        .map(|(first, index)| (index, first != index))
        .collect()
}

/// The limits and switches of compiling the expressions.
fn compile_options(options: &mut Options<'_>) -> CompileOptions {
    let mut compile = CompileOptions::default();
    compile.named_captures_only = options.boolean("named_captures_only").unwrap_or(true);
    // COMPAT: 0 turns the time-out off in Logstash; here the default stays, since a pattern
    // without any bound could hold a worker for ever.
    let milliseconds = options
        .integer("timeout_millis", 0..=i64::MAX)
        .unwrap_or_default();
    if milliseconds > 0 {
        compile.max_steps = (milliseconds as u64).saturating_mul(STEPS_PER_MILLISECOND);
    }
    compile
}
