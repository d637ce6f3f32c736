//! The codecs `json` and `json_lines`: JSON documents, whole or one a line.
//!
//! COMPAT: an object is an event, an array of objects is as many; the event's own `@timestamp`,
//! `@metadata` and `tags` count, unless a `target` puts the object under a field. What is not that
//! becomes the `message` of an event with the tag `_jsonparsefailure`. `json_lines` skips blank
//! lines. A line over the limit comes in pieces with the tag `_jsonparsetoobigfailure`.

use bumpalo::Bump;

use super::build::{self, CodecDefaults};
use super::{Charset, Codec, DECODE_SIZE_LIMIT, Decoder, Sink, Token, Tokenizer, set_original};
use crate::event::path;
use crate::event::{Event, JsonLimits, Key, Value, read_json, write_json};
use crate::language::{FieldReference, Options};

/// Tag of an event whose text is not JSON, or not an object.
pub(super) const PARSE_FAILURE: &[u8] = b"_jsonparsefailure";
/// Tag of a piece of a line that is too long.
const TOO_BIG: &[u8] = b"_jsonparsetoobigfailure";

/// The codec `json`: what is decoded at once is one document.
#[derive(Clone, Debug, Default)]
pub struct Json {
    /// `charset`: what the bytes are written in.
    pub charset: Charset,
    /// `target`: the field under which the document is put.
    pub target: Option<FieldReference>,
    /// Whether `[event][original]` keeps the text (ECS).
    pub keep_original: bool,
}

impl Json {
    /// Reads the options of the codec.
    pub fn from_options(options: &mut Options<'_>, defaults: CodecDefaults) -> Option<Self> {
        let target = options.field("target").map(|target| target.value);
        let keep_original = build::keep_original(options, defaults);
        Some(Self {
            charset: build::charset(options)?,
            target,
            keep_original,
        })
    }
}

impl Codec for Json {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(self.clone()))
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        write_json(event, out);
    }
}

impl Decoder for Json {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        let text = self.charset.decode(data, sink.arena);
        decode(text, self.target.as_ref(), self.keep_original, sink);
    }
}

/// The codec `json_lines`: a document ends at the delimiter.
#[derive(Clone, Debug)]
pub struct JsonLines {
    /// `charset`: what the bytes are written in.
    pub charset: Charset,
    /// `delimiter`: what ends a line.
    pub delimiter: Vec<u8>,
    /// `target`: the field under which the document is put.
    pub target: Option<FieldReference>,
    /// `decode_size_limit_bytes`: how long a line may be.
    pub limit: usize,
    /// Whether `[event][original]` keeps the text (ECS).
    pub keep_original: bool,
}

/// # Defaults
/// UTF-8, a newline, no target, [`DECODE_SIZE_LIMIT`], no original.
impl Default for JsonLines {
    fn default() -> Self {
        Self {
            charset: Charset::default(),
            delimiter: b"\n".to_vec(),
            target: None,
            limit: DECODE_SIZE_LIMIT,
            keep_original: false,
        }
    }
}

impl JsonLines {
    /// Reads the options of the codec.
    pub fn from_options(options: &mut Options<'_>, defaults: CodecDefaults) -> Option<Self> {
        let target = options.field("target").map(|target| target.value);
        let delimiter = build::delimiter(options);
        let limit = build::size_limit(options);
        let keep_original = build::keep_original(options, defaults);
        Some(Self {
            charset: build::charset(options)?,
            delimiter,
            target,
            limit,
            keep_original,
        })
    }
}

impl Codec for JsonLines {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(JsonLinesDecoder {
            tokenizer: Tokenizer::new(&self.delimiter, self.limit),
            codec: self.clone(),
        }))
    }

    fn takes_pieces(&self) -> bool {
        true
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        write_json(event, out);
        out.extend_from_slice(&self.delimiter);
    }
}

struct JsonLinesDecoder {
    tokenizer: Tokenizer,
    codec: JsonLines,
}

impl Decoder for JsonLinesDecoder {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        let (codec, arena) = (&self.codec, sink.arena);
        self.tokenizer
            .feed(data, arena, |token| codec.decode_line(token, sink));
    }

    fn flush(&mut self, sink: &mut Sink<'_, '_>) {
        let (codec, arena) = (&self.codec, sink.arena);
        self.tokenizer
            .flush(arena, |token| codec.decode_line(token, sink));
    }

    fn pending(&self) -> usize {
        self.tokenizer.pending()
    }
}

impl JsonLines {
    fn decode_line<'b>(&self, token: Token<'b>, sink: &mut Sink<'_, 'b>) {
        let text = self.charset.decode(token.bytes, sink.arena);
        if token.is_piece {
            let arena = sink.arena;
            sink.push_message(text, self.keep_original)
                .tag(TOO_BIG, arena);
        } else if !text.trim_ascii().is_empty() {
            decode(text, self.target.as_ref(), self.keep_original, sink);
        }
    }
}

fn decode<'b>(
    text: &'b [u8],
    target: Option<&FieldReference>,
    keep_original: bool,
    sink: &mut Sink<'_, 'b>,
) {
    let arena = sink.arena;
    match read_json(text, JsonLimits::default(), arena) {
        Ok(Value::Array(values)) if values.iter().all(is_object) => {
            for value in values.drain(..) {
                let event = event_of(value, target, sink);
                sink.events.push(event);
            }
        }
        Ok(value) if is_object(&value) => {
            let mut event = event_of(value, target, sink);
            if keep_original {
                set_original(&mut event, text, arena);
            }
            sink.events.push(event);
        }
        _ => sink.push_message(text, false).tag(PARSE_FAILURE, arena),
    }
}

fn is_object(value: &Value<'_>) -> bool {
    matches!(value, Value::Object(_))
}

pub(super) fn event_of<'b>(
    value: Value<'b>,
    target: Option<&FieldReference>,
    sink: &Sink<'_, 'b>,
) -> Event<'b> {
    match (value, target) {
        (Value::Object(fields), None) => {
            let fields = std::mem::replace(fields, crate::event::Object::new_in(sink.arena));
            Event::from_object(fields, sink.now, sink.arena)
        }
        (value, target) => {
            let mut event = Event::with_timestamp_in(sink.now, sink.arena);
            if let Some(target) = target {
                let keys = copied_keys(target, sink.arena);
                path::set(
                    &mut event,
                    target.is_metadata(),
                    keys.iter().copied(),
                    value,
                    sink.arena,
                );
            }
            event
        }
    }
}

/// The keys of a reference in the arena, since the decoder may be gone before the event is.
fn copied_keys<'b>(reference: &FieldReference, arena: &'b Bump) -> &'b [Key<'b>] {
    let keys = reference.keys();
    arena.alloc_slice_fill_iter(keys.iter().map(|key| Key::new(arena.alloc_str(key))))
}
