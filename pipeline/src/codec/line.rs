//! The codecs `plain` and `line`: texts, whole or cut at a delimiter.
//!
//! COMPAT: both make an event with the text as its `message`; `plain` makes nothing of nothing.
//! Encoded without a `format` an event is its `@timestamp`, `host` and `message` with blanks
//! between them. A line over the limit comes in pieces, each an event of its own.

use std::sync::Arc;

use super::build::{self, CodecDefaults};
use super::{Charset, Codec, DECODE_SIZE_LIMIT, Decoder, Sink, Token, Tokenizer};
use crate::event::{Event, MESSAGE, Name, TIMESTAMP, Timestamp, Value};
use crate::language::Options;
use crate::template::{Template, write_value};

/// Name of the field that says where the event comes from.
const HOST: Name<'static> = Name::new("host");

/// The codec `plain`: what is decoded at once is one text.
#[derive(Clone, Debug, Default)]
pub struct Plain {
    /// `charset`: what the bytes are written in.
    pub charset: Charset,
    /// `format`: what an event is when it is encoded.
    pub format: Option<Arc<Template>>,
    /// Whether `[event][original]` keeps the text (ECS).
    pub keep_original: bool,
}

impl Plain {
    /// Reads the options of the codec.
    pub fn from_options(options: &mut Options<'_>, defaults: CodecDefaults) -> Option<Self> {
        let keep_original = build::keep_original(options, defaults);
        let format = build::format(options, defaults);
        Some(Self {
            charset: build::charset(options)?,
            format,
            keep_original,
        })
    }
}

impl Codec for Plain {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(self.clone()))
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        write_formatted(event, self.format.as_deref(), self.charset, out);
    }
}

impl Decoder for Plain {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        if !data.is_empty() {
            let text = self.charset.decode(data, sink.arena);
            sink.push_message(text, self.keep_original);
        }
    }
}

/// The codec `line`: a text ends at the delimiter.
#[derive(Clone, Debug)]
pub struct Line {
    /// `charset`: what the bytes are written in.
    pub charset: Charset,
    /// `delimiter`: what ends a line.
    pub delimiter: Vec<u8>,
    /// `decode_size_limit_bytes`: how long a line may be.
    pub limit: usize,
    /// `format`: what an event is when it is encoded.
    pub format: Option<Arc<Template>>,
    /// Whether `[event][original]` keeps the text (ECS).
    pub keep_original: bool,
}

/// # Defaults
/// UTF-8, a newline, [`DECODE_SIZE_LIMIT`], no format, no original.
impl Default for Line {
    fn default() -> Self {
        Self {
            charset: Charset::default(),
            delimiter: b"\n".to_vec(),
            limit: DECODE_SIZE_LIMIT,
            format: None,
            keep_original: false,
        }
    }
}

impl Line {
    /// Reads the options of the codec.
    pub fn from_options(options: &mut Options<'_>, defaults: CodecDefaults) -> Option<Self> {
        let delimiter = build::delimiter(options);
        let limit = build::size_limit(options);
        let keep_original = build::keep_original(options, defaults);
        let format = build::format(options, defaults);
        Some(Self {
            charset: build::charset(options)?,
            delimiter,
            limit,
            format,
            keep_original,
        })
    }
}

impl Codec for Line {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(LineDecoder {
            tokenizer: Tokenizer::new(&self.delimiter, self.limit),
            charset: self.charset,
            keep_original: self.keep_original,
        }))
    }

    fn takes_pieces(&self) -> bool {
        true
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        write_formatted(event, self.format.as_deref(), self.charset, out);
        self.charset.encode(&self.delimiter, out);
    }
}

struct LineDecoder {
    tokenizer: Tokenizer,
    charset: Charset,
    keep_original: bool,
}

impl Decoder for LineDecoder {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        let push = push(self.charset, self.keep_original);
        self.tokenizer
            .feed(data, sink.arena, |token| push(token, sink));
    }

    fn flush(&mut self, sink: &mut Sink<'_, '_>) {
        let push = push(self.charset, self.keep_original);
        self.tokenizer.flush(sink.arena, |token| push(token, sink));
    }

    fn pending(&self) -> usize {
        self.tokenizer.pending()
    }
}

/// What makes an event of a line.
fn push(charset: Charset, keep_original: bool) -> impl for<'b> Fn(Token<'b>, &mut Sink<'_, 'b>) {
    move |token, sink| {
        let text = charset.decode(token.bytes, sink.arena);
        sink.push_message(text, keep_original);
    }
}

fn write_formatted(
    event: &Event<'_>,
    format: Option<&Template>,
    charset: Charset,
    out: &mut Vec<u8>,
) {
    let write = |out: &mut Vec<u8>| match format {
        // A format does not ask for the time now, see where it is read.
        Some(format) => format.write(event, NO_TIME, out),
        None => write_default(event, out),
    };
    if charset == Charset::Utf8 {
        write(out);
    } else {
        let mut text = Vec::new();
        write(&mut text);
        charset.encode(&text, out);
    }
}

/// Stands for a time that nobody looks at.
const NO_TIME: Timestamp = Timestamp::new(0, 0);

/// COMPAT: `%{@timestamp} %{host} %{message}`, but an event without a time has no blank in its
/// place.
fn write_default(event: &Event<'_>, out: &mut Vec<u8>) {
    if let Some(Value::Time(time)) = event.fields.get(&TIMESTAMP) {
        time.write_iso8601(out);
        out.push(b' ');
    }
    write_field(event, HOST, b"%{host}", out);
    out.push(b' ');
    write_field(event, MESSAGE, b"%{message}", out);
}

fn write_field(event: &Event<'_>, name: Name<'static>, otherwise: &[u8], out: &mut Vec<u8>) {
    match event.fields.get(&name) {
        None | Some(Value::Null) => out.extend_from_slice(otherwise),
        Some(value) => write_value(value, out),
    }
}
