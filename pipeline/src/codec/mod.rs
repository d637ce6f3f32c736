//! Codecs: bytes into events and events into bytes.
//!
//! A [`Codec`] is made once from its options and shared. What it must remember between two reads of
//! one stream (the start of a line whose end has not come yet) lives in a [`Decoder`], one for each
//! stream.
//!
//! Texts of events are slices of the bytes that are decoded wherever that can be; what must be put
//! together or converted is copied into the arena of the batch. No byte is lost: what cannot be
//! read as the codec wants it becomes the message of an event with a tag that says so.

mod build;
mod cef;
mod charset;
mod csv;
mod dots;
mod es_bulk;
mod graphite;
mod gzip_lines;
mod json;
mod line;
mod multiline;
mod rubydebug;
mod tokenizer;

pub use build::{CODECS, CodecDefaults, build_codec, build_codec_with};
pub use cef::{Cef, MAX_EXTENSIONS};
pub use charset::{Charset, UnknownCharset};
pub use csv::Csv;
pub use dots::Dots;
pub use es_bulk::EsBulk;
pub use graphite::Graphite;
pub use gzip_lines::{DECOMPRESS_SIZE_LIMIT, GzipLines, LINE_BYTES};
pub use json::{Json, JsonLines};
pub use line::{Line, Plain};
pub use multiline::Multiline;
pub use rubydebug::RubyDebug;
pub use tokenizer::{Token, Tokenizer};

use std::fmt::Debug;
use std::time::Duration;

use bumpalo::Bump;

use crate::event::{Event, MESSAGE, Name, Object, Timestamp, Value};

/// How many bytes a line (or a JSON document on a line) may have before it is cut, unless the
/// option `decode_size_limit_bytes` says otherwise.
///
/// COMPAT: Logstash allows 512 MiB and drops what is longer. Here nothing is dropped, so the bound
/// can be what a connection may sensibly cost.
pub const DECODE_SIZE_LIMIT: usize = 16 << 20;

/// A compiled codec.
pub trait Codec: Debug + Send + Sync {
    /// A decoder for one stream; nothing if the codec only encodes.
    fn decoder(&self) -> Option<Box<dyn Decoder>>;

    /// Whether a decoder may be given a text in pieces that end anywhere, and makes the events of it that it would make of the
    /// whole. Not so where each read is a text by itself.
    fn takes_pieces(&self) -> bool {
        false
    }

    /// What cuts a stream where events end; nothing if every line (or read) is decoded by itself.
    fn cutter(&self) -> Option<Box<dyn Cutter>> {
        None
    }

    /// Appends the event as bytes.
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>);
}

/// What decodes one stream.
pub trait Decoder: Send {
    /// Decodes the next bytes of the stream; what is not complete yet is kept.
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>);

    /// The stream is at its end, or idle: what is kept is all there will be.
    fn flush(&mut self, _sink: &mut Sink<'_, '_>) {}

    /// How many bytes are kept.
    fn pending(&self) -> usize {
        0
    }
}

/// Cuts a stream of lines where events end, for an input whose records are decoded by several
/// workers. There is one for each stream, so that lines of two never mix.
///
/// INVARIANTS: what comes out is what went in, in order; or it is written in another way, where a piece
/// of it could not be decoded by itself (the header of CSV, a piece of a gzip). A decoder that is given one
/// piece and is flushed makes the events of it that it would make of the whole stream.
pub trait Cutter: Send {
    /// Takes in whole lines; gives those of events that have ended, if any have.
    fn push(&mut self, lines: Vec<u8>) -> Option<Vec<u8>>;

    /// The stream is at its end, or idle: gives what is kept.
    fn flush(&mut self) -> Option<Vec<u8>>;

    /// How many bytes are kept.
    fn pending(&self) -> usize;

    /// How long a stream may be idle before what is kept is to be flushed; for ever if not said.
    fn patience(&self) -> Option<Duration>;
}

/// Where decoded events go.
pub struct Sink<'s, 'b> {
    /// Memory that lives as long as the batch.
    pub arena: &'b Bump,
    /// The time now, for events that do not bring their own.
    pub now: Timestamp,
    /// The events, in order.
    pub events: &'s mut Vec<Event<'b>>,
}

impl<'b> Sink<'_, 'b> {
    /// Appends an event of one text.
    fn push_message(&mut self, text: &'b [u8], keep_original: bool) -> &mut Event<'b> {
        let mut event = Event::with_timestamp_in(self.now, self.arena);
        event.fields.push_new(MESSAGE, Value::Text(text));
        if keep_original {
            set_original(&mut event, text, self.arena);
        }
        self.events.push(event);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    /// Appends an event of a text that is not what it should be.
    fn push_failure(&mut self, text: &'b [u8], tag: &'b [u8]) {
        let arena = self.arena;
        self.push_message(text, false).tag(tag, arena);
    }
}

/// Sets `[event][original]`, where the Elastic Common Schema has the text that an event was read
/// from, unless the event brought one, or brought an `event` that is no object.
fn set_original<'b>(event: &mut Event<'b>, text: &'b [u8], arena: &'b Bump) {
    const EVENT: Name<'static> = Name::new("event");
    const ORIGINAL: Name<'static> = Name::new("original");
    let slot = event.fields.slot(EVENT);
    if matches!(slot, Value::Null) {
        *slot = Value::object(Object::new_in(arena), arena);
    }
    if let Value::Object(object) = slot
        && object.get(&ORIGINAL).is_none()
    {
        object.set(ORIGINAL, Value::Text(text));
    }
}
