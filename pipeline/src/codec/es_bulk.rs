//! The codec `es_bulk`: the body of a request to the bulk interface of Elasticsearch.
//!
//! A line says what is to be done, the next one has the document, except for `delete`, which has
//! none. What the first line says goes to `[@metadata][codec][es_bulk]` with ECS and to `@metadata`
//! without, with the name of the action as `action`.
//!
//! INVARIANT: no line is lost. One that is not JSON, or not what must stand there, is the `message`
//! of an event with the tag `_jsonparsefailure`; an action whose document does not come is an event
//! without fields.
//!
//! COMPAT: Logstash leaves such a line out and only logs it. It cannot write this format, and
//! neither does this: what is encoded is the event as a line of JSON.

use std::time::Duration;

use bumpalo::Bump;

use super::build::{self, CodecDefaults};
use super::json::{PARSE_FAILURE, event_of};
use super::{Codec, Cutter, Decoder, Sink, Token, Tokenizer};
use crate::event::{Event, JsonLimits, Name, Object, Value, read_json, write_json};
use crate::language::{FieldReference, Options};

/// Name of the field with the name of the action.
const ACTION: Name<'static> = Name::new("action");
/// Where the action goes with ECS.
const CODEC: Name<'static> = Name::new("codec");
const ES_BULK: Name<'static> = Name::new("es_bulk");

/// The actions that there are.
const ACTIONS: [&str; 4] = ["create", "delete", "index", "update"];

/// The codec `es_bulk`.
#[derive(Clone, Debug)]
pub struct EsBulk {
    /// `target`: the field under which the document is put.
    target: Option<FieldReference>,
    /// `decode_size_limit_bytes`: how long a line may be.
    limit: usize,
    ecs: bool,
}

impl EsBulk {
    /// Reads the options of the codec.
    pub(super) fn from_options(options: &mut Options<'_>, defaults: CodecDefaults) -> Self {
        let target = options.field("target").map(|target| target.value);
        let limit = build::size_limit(options);
        let ecs = build::keep_original(options, defaults);
        Self { target, limit, ecs }
    }
}

impl Codec for EsBulk {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(EsBulkDecoder {
            tokenizer: Tokenizer::new(b"\n", self.limit),
            state: State {
                codec: self.clone(),
                action: None,
            },
        }))
    }

    fn cutter(&self) -> Option<Box<dyn Cutter>> {
        Some(Box::new(EsBulkCutter {
            limit: self.limit,
            kept: Vec::new(),
            arena: Bump::new(),
        }))
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        write_json(event, out);
        out.push(b'\n');
    }
}

/// Whether a line is an action with a document on the next line, an action without, or none.
enum Line<'b> {
    Action(Object<'b>),
    Delete(Object<'b>),
    Other,
}

/// Reads a line that should be an action: what it says, with the name of the action.
fn read_action<'b>(text: &'b [u8], arena: &'b Bump) -> Line<'b> {
    let Ok(Value::Object(line)) = read_json(text, JsonLimits::default(), arena) else {
        return Line::Other;
    };
    let Some((name, Value::Object(given))) = line.iter().next() else {
        return Line::Other;
    };
    let Some(action) = ACTIONS.iter().find(|action| **action == name.as_str()) else {
        return Line::Other;
    };
    let mut given = given.copy_in(arena);
    given.set(ACTION, Value::Text(action.as_bytes()));
    if *action == "delete" {
        Line::Delete(given)
    } else {
        Line::Action(given)
    }
}

struct EsBulkDecoder {
    tokenizer: Tokenizer,
    state: State,
}

struct State {
    codec: EsBulk,
    /// The action line whose document has not come.
    action: Option<Vec<u8>>,
}

impl State {
    fn line<'b>(&mut self, token: Token<'b>, sink: &mut Sink<'_, 'b>) {
        let arena = sink.arena;
        let text = token.bytes;
        if token.is_piece {
            self.end(sink);
            sink.push_message(text, false).tag(PARSE_FAILURE, arena);
            return;
        }
        if text.trim_ascii().is_empty() {
            return;
        }
        let Some(action) = self.action.take() else {
            match read_action(text, arena) {
                // Read again with its document, which may come in another read.
                Line::Action(_) => self.action = Some(text.to_vec()),
                Line::Delete(given) => {
                    self.push(Event::with_timestamp_in(sink.now, arena), given, sink);
                }
                Line::Other => sink.push_message(text, false).tag(PARSE_FAILURE, arena),
            }
            return;
        };
        let event = match read_json(text, JsonLimits::default(), arena) {
            Ok(value @ Value::Object(_)) => event_of(value, self.codec.target.as_ref(), sink),
            _ => {
                let mut event = Event::with_timestamp_in(sink.now, arena);
                event
                    .fields
                    .push_new(crate::event::MESSAGE, Value::Text(text));
                event.tag(PARSE_FAILURE, arena);
                event
            }
        };
        self.push_with(&action, event, sink);
    }

    /// The document of the action at hand does not come.
    fn end(&mut self, sink: &mut Sink<'_, '_>) {
        if let Some(action) = self.action.take() {
            let mut event = Event::with_timestamp_in(sink.now, sink.arena);
            event.tag(PARSE_FAILURE, sink.arena);
            self.push_with(&action, event, sink);
        }
    }

    fn push_with<'b>(&self, action: &[u8], event: Event<'b>, sink: &mut Sink<'_, 'b>) {
        let arena = sink.arena;
        match read_action(arena.alloc_slice_copy(action), arena) {
            Line::Action(given) | Line::Delete(given) => self.push(event, given, sink),
            Line::Other => sink.events.push(event),
        }
    }

    fn push<'b>(&self, mut event: Event<'b>, given: Object<'b>, sink: &mut Sink<'_, 'b>) {
        let arena = sink.arena;
        if self.codec.ecs {
            let mut inner = Object::new_in(arena);
            inner.set(ES_BULK, Value::object(given, arena));
            event.metadata.set(CODEC, Value::object(inner, arena));
        } else {
            event.metadata = given;
        }
        sink.events.push(event);
    }
}

impl Decoder for EsBulkDecoder {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        let (state, arena) = (&mut self.state, sink.arena);
        self.tokenizer
            .feed(data, arena, |token| state.line(token, sink));
    }

    fn flush(&mut self, sink: &mut Sink<'_, '_>) {
        let (state, arena) = (&mut self.state, sink.arena);
        self.tokenizer.flush(arena, |token| state.line(token, sink));
        state.end(sink);
    }

    fn pending(&self) -> usize {
        self.tokenizer.pending() + self.state.action.as_ref().map_or(0, Vec::len)
    }
}

/// Keeps the action line at the end of a read until its document comes.
struct EsBulkCutter {
    limit: usize,
    kept: Vec<u8>,
    arena: Bump,
}

impl Cutter for EsBulkCutter {
    fn push(&mut self, mut lines: Vec<u8>) -> Option<Vec<u8>> {
        let mut whole = std::mem::take(&mut self.kept);
        whole.append(&mut lines);
        let (mut at, mut end, mut awaits_document) = (0, 0, false);
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            at += line.len();
            if text.len() > self.limit {
                awaits_document = false;
            } else if !text.trim_ascii().is_empty() {
                // PERF: a document need not be read for this.
                awaits_document = !awaits_document && {
                    let text = self.arena.alloc_slice_copy(text);
                    matches!(read_action(text, &self.arena), Line::Action(_))
                };
                self.arena.reset();
            }
            if !awaits_document {
                end = at;
            }
        }
        self.kept = whole.split_off(end);
        (!whole.is_empty()).then_some(whole)
    }

    fn flush(&mut self) -> Option<Vec<u8>> {
        let whole = std::mem::take(&mut self.kept);
        (!whole.is_empty()).then_some(whole)
    }

    fn pending(&self) -> usize {
        self.kept.len()
    }

    fn patience(&self) -> Option<Duration> {
        None
    }
}
