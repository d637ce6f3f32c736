//! The filter `dissect`: cuts a text into fields at fixed pieces of text.
//!
//! A mapping is compiled once into the list of its delimiters and the list of what is stored; a
//! line is then cut by searching one delimiter after the other, each byte looked at once. Values
//! are slices of the line; only a value that is put together of pieces that do not stand side by
//! side in it is copied, into the arena.
//!
//! COMPAT: a field that is not there is left alone without a tag; one that is empty or null, or
//! does not match, is tagged. Mappings are independent: one that fails does not undo another, and
//! conversions run in any case. Unlike in Logstash an empty value at the start of the line is one
//! (there the cut slips by one field), the options of every filter are applied once however many
//! mappings match, and `%{*name}` names the key for `%{&name}`, as it does in Elasticsearch.

mod convert;
mod mapping;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use crate::Build;
use crate::event::{Event, Path, Value};
use crate::filter::common::tags;
use crate::filter::mutate::texts;
use crate::filter::{Context, Filter, Outcome, ScratchSlot};
use crate::language::{Diagnostic, EscapeStyle, Options, did_you_mean};
use crate::template::{Place, refuses, write_java};

use convert::{Conversion, KINDS};
use mapping::{KeySource, Mapping, Piece, Save, Target};

/// The filter.
#[derive(Debug)]
pub struct Dissect {
    mappings: Box<[FieldMapping]>,
    conversions: Box<[Conversion]>,
    tags_on_failure: Vec<Box<[u8]>>,
    escape_style: EscapeStyle,
    slot: ScratchSlot,
}

/// The mapping of one field.
#[derive(Debug)]
struct FieldMapping {
    source: Path,
    mapping: Mapping,
}

/// Something could not be stored.
struct Failed;

/// A worker's memory: where the values of a line stand.
#[derive(Default)]
struct Work {
    spans: Vec<(usize, usize)>,
}

impl Dissect {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let mut mappings = Vec::new();
        for (field, text) in options.string_hash("mapping").unwrap_or_default() {
            let source = options.field_of(&field);
            let mapping = match Mapping::parse(&text.value, options.escape_style()) {
                Ok(mapping) => {
                    for warning in mapping.warnings(&text.value) {
                        options.diagnostics().warning(text.span, warning);
                    }
                    Some(mapping)
                }
                Err(error) => {
                    options.diagnostics().error(text.span, error.to_string());
                    None
                }
            };
            if let (Some(source), Some(mapping)) = (source, mapping) {
                let source = Path::from(&source.value);
                mappings.push(FieldMapping { source, mapping });
            }
        }
        let mut conversions = Vec::new();
        for (field, kind) in options.string_hash("convert_datatype").unwrap_or_default() {
            let path = options.field_of(&field);
            let lower = kind.value.to_lowercase();
            let Some((_, converted)) = KINDS.iter().find(|(name, _)| *name == lower) else {
                let names = KINDS.iter().map(|(name, _)| *name);
                options.diagnostics().push(
                    Diagnostic::error(kind.span, format!("invalid data type `{}`", kind.value))
                        .label("must be `int` or `float`")
                        .maybe_hint(did_you_mean(&kind.value, names)),
                );
                continue;
            };
            if let Some(path) = path {
                let path = Path::from(&path.value);
                conversions.push(Conversion::new(path, *converted, &field.value, &kind.value));
            }
        }
        Some(Self {
            mappings: mappings.into(),
            conversions: conversions.into(),
            tags_on_failure: tags(options, "tag_on_failure", &["_dissectfailure"]),
            escape_style: options.escape_style(),
            slot: build.slots.take(),
        })
    }

    fn tag_failure<'b>(&'b self, event: &mut Event<'b>, arena: &'b Bump) {
        for tag in &self.tags_on_failure {
            event.tag(tag, arena);
        }
    }

    /// Stores what a mapping found.
    fn store<'b>(
        &'b self,
        mapping: &'b Mapping,
        text: &'b [u8],
        spans: &[(usize, usize)],
        event: &mut Event<'b>,
        arena: &'b Bump,
    ) -> Result<(), Failed> {
        for save in &mapping.saves {
            match &save.target {
                Target::Path(path) => {
                    let old = save
                        .appends
                        .then(|| event.get(path).map(|value| text_of(value, arena)))
                        .flatten();
                    let value = Value::Text(joined(old, save, text, spans, arena));
                    if refuses(path, &value) {
                        return Err(Failed);
                    }
                    path.set(event, value, arena);
                }
                Target::Indirect(source) => {
                    let name = match source {
                        KeySource::Capture(index) => slice(text, spans[*index]),
                        KeySource::Field(path, other) => match (event.get(path), other) {
                            (Some(value), _) => text_of(value, arena),
                            (None, Some(index)) => slice(text, spans[*index]),
                            (None, None) => b"",
                        },
                    };
                    if name.is_empty() {
                        continue;
                    }
                    let value = Value::Text(joined(None, save, text, spans, arena));
                    let place = Place::named(name, self.escape_style, arena).map_err(|_| Failed)?;
                    if place.refuses(&value) {
                        return Err(Failed);
                    }
                    place.set(event, value, arena);
                }
            }
        }
        Ok(())
    }
}

impl Filter for Dissect {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let mut matched = false;
        for FieldMapping { source, mapping } in &self.mappings {
            let text: &'b [u8] = match event.get(source) {
                None => continue,
                Some(Value::Text(text)) => text,
                Some(Value::Null) => b"",
                Some(other) => {
                    let mut text = Vec::new();
                    texts::to_s(other, &mut text);
                    arena.alloc_slice_copy(&text)
                }
            };
            let Work { spans } = context.scratch.slot(self.slot, Work::default);
            if mapping.find(text, spans) && self.store(mapping, text, spans, event, arena).is_ok() {
                matched = true;
            } else {
                self.tag_failure(event, arena);
            }
        }
        for conversion in &self.conversions {
            conversion.apply(event, arena);
        }
        if matched {
            Outcome::Applied
        } else {
            Outcome::Unapplied
        }
    }
}

fn slice(text: &[u8], (start, end): (usize, usize)) -> &[u8] {
    &text[start..end]
}

/// The value of a field: its pieces with what joins them.
fn joined<'b>(
    old: Option<&'b [u8]>,
    save: &Save,
    text: &'b [u8],
    spans: &[(usize, usize)],
    arena: &'b Bump,
) -> &'b [u8] {
    let Some((first, rest)) = save.pieces.split_first() else {
        return old.unwrap_or_default();
    };
    if old.is_none() {
        let (start, mut end) = spans[first.capture];
        // PERF: pieces mostly stand side by side in the line, as they are to be joined.
        let together = rest.iter().all(|Piece { capture, join }| {
            let (next, next_end) = spans[*capture];
            let is_next = next >= end && text[end..next] == **join;
            end = next_end;
            is_next
        });
        if together {
            return &text[start..end];
        }
    }
    let mut value = ArenaVec::new_in(arena);
    if let Some(old) = old {
        value.extend_from_slice(old);
        value.extend_from_slice(&first.join);
    }
    value.extend_from_slice(slice(text, spans[first.capture]));
    for Piece { capture, join } in rest {
        value.extend_from_slice(join);
        value.extend_from_slice(slice(text, spans[*capture]));
    }
    value.into_bump_slice()
}

/// A value as Java's `toString` prints it.
fn text_of<'b>(value: &Value<'b>, arena: &'b Bump) -> &'b [u8] {
    match value {
        Value::Text(text) => text,
        other => {
            let mut text = Vec::new();
            write_java(other, &mut text);
            arena.alloc_slice_copy(&text)
        }
    }
}
