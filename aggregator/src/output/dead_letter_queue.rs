//! The `dead_letter_queue` output: events that the pipeline itself gives up.
//!
//! The output `elasticsearch` keeps what no server takes by itself. What a codec could not read or a filter failed on is not
//! lost, only tagged, and a condition on the tag says whether it is to be kept here instead of being delivered. So the choice
//! is in the configuration's own language, and nobody else pays for it.
//!
//! Letters of a batch are written together at its end; events are safe when they are synced.

use std::sync::Arc;

use skidder_pipeline::event::{Event, MESSAGE, Name, Path, TAGS, Timestamp, Value, write_json};
use skidder_pipeline::language::Options;
use skidder_pipeline::template::Template;

use super::{Writer, template};
use crate::ack::Ack;
use crate::dead_letter::{DeadLetters, Letter, Stage};
use crate::settings::Settings;

/// Bytes after which a worker writes in the middle of a batch.
const BUFFER_BYTES: usize = 256 << 10;

/// What the configuration says.
pub struct LetterOptions {
    plugin: String,
    stage: Stage,
    reason: Option<Template>,
    original: Option<Path>,
}

impl LetterOptions {
    pub(super) fn from_options(options: &mut Options<'_>, settings: &Settings) -> Self {
        options.without_effect("codec", "letters are always JSON");
        let stages =
            [Stage::Input, Stage::Filter, Stage::Output].map(|stage| (stage.name(), stage));
        let stage = options.enumeration("stage", &stages);
        let reason = template(options, "reason", settings.escape_style);
        let original = options
            .field("original")
            .map(|field| Path::from(&field.value));
        let plugin = options
            .string("id")
            .unwrap_or_else(|| options.plugin().name.value.clone());
        Self {
            plugin,
            stage: stage.unwrap_or(Stage::Filter),
            reason,
            original,
        }
    }
}

/// A worker's end of the output.
pub(super) struct LetterWriter {
    options: Arc<LetterOptions>,
    letters: Arc<DeadLetters>,
    lines: Vec<u8>,
    count: u64,
    /// One hold on each.
    acks: Vec<Ack>,
    document: Vec<u8>,
    reason: Vec<u8>,
    give_up: Box<dyn Fn() -> bool + Send>,
}

impl LetterWriter {
    /// A writer; `give_up` says when a failing write is not tried again.
    pub(super) fn new(
        options: Arc<LetterOptions>,
        letters: Arc<DeadLetters>,
        give_up: Box<dyn Fn() -> bool + Send>,
    ) -> Self {
        Self {
            options,
            letters,
            lines: Vec::new(),
            count: 0,
            acks: Vec::new(),
            document: Vec::new(),
            reason: Vec::new(),
            give_up,
        }
    }

    fn write_out(&mut self) {
        if self.count == 0 {
            return;
        }
        let written = self
            .letters
            .append_or(&self.lines, self.count, self.give_up.as_ref());
        self.lines.clear();
        self.count = 0;
        let acks = self.acks.drain(..);
        if written {
            acks.for_each(|ack| ack.done(1));
        }
    }
}

impl Writer for LetterWriter {
    fn write(&mut self, event: &Event<'_>, now: Timestamp, ack: &Ack) {
        self.document.clear();
        self.reason.clear();
        write_json(event, &mut self.document);
        match &self.options.reason {
            Some(reason) => reason.write(event, now, &mut self.reason),
            None => write_failure_tags(event, &mut self.reason),
        }
        let original = match &self.options.original {
            Some(field) => field.get(event),
            None => original(event),
        };
        let letter = Letter {
            stage: self.options.stage,
            plugin: &self.options.plugin,
            reason: &String::from_utf8_lossy(&self.reason),
            document: &self.document,
            original: original.and_then(Value::as_text),
            ..Letter::default()
        };
        self.letters.write_letter(&mut self.lines, &letter);
        self.count += 1;
        if !self.acks.last().is_some_and(|last| last.is(ack)) {
            ack.hold(1);
            self.acks.push(ack.clone());
        }
        if self.lines.len() >= BUFFER_BYTES {
            self.write_out();
        }
    }

    fn end_of_batch(&mut self) {
        self.write_out();
    }

    fn flush(&mut self) {
        self.write_out();
    }
}

/// The record as it came, as far as it is known: ECS keeps it in a field of its own.
fn original<'e, 'b>(event: &'e Event<'b>) -> Option<&'e Value<'b>> {
    let kept = match event.fields.get(&Name::new("event")) {
        Some(Value::Object(about)) => about.get(&Name::new("original")),
        _ => None,
    };
    kept.or_else(|| event.fields.get(&MESSAGE))
}

/// What says that something failed: the tags that begin with `_`.
fn write_failure_tags(event: &Event<'_>, out: &mut Vec<u8>) {
    let tags: &[Value<'_>] = match event.fields.get(&TAGS) {
        Some(Value::Array(tags)) => tags,
        Some(tag) => std::slice::from_ref(tag),
        None => &[],
    };
    let failures = tags.iter().filter_map(Value::as_text);
    for tag in failures.filter(|tag| tag.starts_with(b"_")) {
        if !out.is_empty() {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(tag);
    }
}
