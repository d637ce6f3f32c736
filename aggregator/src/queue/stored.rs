//! What the payload of a record means: a batch as it was received, and how it becomes one again.
//!
//! | bytes | |
//! |---|---|
//! | 2 | length of the name of the input |
//! | … | the name: its `id`, or the plugin's name, with `#2` for the second of that name |
//! | 1 | the form: 0 events, 1 window, 2 chunk, 3 packed, 4 stream, 5 datagrams, 6 syslog, 7 request |
//! | … | the body |
//!
//! Events of inputs without a form of their own are packed ([`super::packed`]), as those of another pipeline are. The other
//! forms are those of [`crate::input::beats`], [`crate::input::stdin`], of `input/http/plain.rs`, and of
//! `input/received.rs`: stream, datagrams and syslog, which are written alike. A body of the form *events* is JSON lines, one event each,
//! with `@metadata` as a member: queues of before have them, and they have forgotten which line an event is of.
//!
//! An input's name and not its options are kept: when a batch is read back, the input of that name
//! decodes it, as it is configured now. If there is none, any input that understands the form does;
//! if there is none either, one without any options. So a changed configuration never makes the
//! queue unreadable.

use std::collections::HashMap;
use std::sync::Arc;

use bumpalo::Bump;
use bytes::{Buf, Bytes};
use skidder_pipeline::event::{Event, MESSAGE, Timestamp, Value, write_json, write_json_value};

use crate::throttle::Throttle;
use crate::worker::Records;

/// How a body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// JSON lines.
    Events,
    /// A window of the Lumberjack protocol.
    Window,
    /// A piece of a stream.
    Chunk,
    /// Packed events.
    Packed,
    /// Records that came over TCP.
    Stream,
    /// Datagrams.
    Datagrams,
    /// Messages of syslog.
    Syslog,
    /// A request of HTTP.
    Request,
}

impl Form {
    fn from_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Events,
            Self::Window,
            Self::Chunk,
            Self::Packed,
            Self::Stream,
            Self::Datagrams,
            Self::Syslog,
            Self::Request,
        ];
        all.into_iter().find(|form| *form as u8 == byte)
    }
}

/// Reads batches of one input back.
pub trait Restore: Send + Sync {
    /// The form of its batches.
    fn form(&self) -> Form;

    /// The batch whose body this is; nothing if the body is none. `received` is its time.
    fn restore(self: Arc<Self>, body: Bytes, received: Timestamp) -> Option<Box<dyn Records>>;
}

/// A record cannot be turned into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRestored {
    /// The form is not known here.
    #[error("it has the form {0}, which only a newer version knows")]
    Form(u8),
    /// The payload does not follow the rules.
    #[error("its content is not what its form says")]
    Content,
}

/// All that can read batches back.
#[derive(Default)]
pub struct Sources {
    by_name: HashMap<String, Arc<dyn Restore>>,
    bare: Vec<Arc<dyn Restore>>,
    renamed: Throttle,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Sources {
    /// The input called `name`.
    pub fn add(&mut self, name: &str, source: Arc<dyn Restore>) {
        self.by_name.insert(name.to_owned(), source);
    }

    /// What reads batches of inputs that are gone.
    pub fn add_bare(&mut self, source: Arc<dyn Restore>) {
        self.bare.push(source);
    }

    /// The batch that a payload holds.
    pub fn restore(
        &self,
        payload: &Bytes,
        received: Timestamp,
    ) -> Result<Box<dyn Records>, NotRestored> {
        let mut rest = payload.clone();
        let length = usize::from(rest.try_get_u16_le().map_err(|_| NotRestored::Content)?);
        if rest.len() <= length {
            return Err(NotRestored::Content);
        }
        let name = rest.split_to(length);
        let byte = rest.get_u8();
        let form = Form::from_byte(byte).ok_or(NotRestored::Form(byte))?;
        if form == Form::Events {
            return Ok(Box::new(StoredEvents::new(rest, received)));
        }
        let name = std::str::from_utf8(&name).map_err(|_| NotRestored::Content)?;
        let named = self
            .by_name
            .get(name)
            .filter(|source| source.form() == form);
        let source = named.or_else(|| {
            // Without a configuration there are no inputs to miss.
            if !self.by_name.is_empty()
                && let Some(count) = self.renamed.due(1)
            {
                tracing::warn!(
                    input = name, count,
                    "the queue holds batches of an input that is not there any more: they are decoded by another of its kind"
                );
            }
            let same = |source: &&Arc<dyn Restore>| source.form() == form;
            self.by_name.values().find(same).or_else(|| self.bare.iter().find(same))
        });
        let restored = source.and_then(|source| Arc::clone(source).restore(rest, received));
        restored.ok_or(NotRestored::Content)
    }
}

/// Appends the payload of a batch.
pub fn write_payload(records: &dyn Records, out: &mut Vec<u8>) {
    let name = records.source().as_bytes();
    let name = &name[..name.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend_from_slice(name);
    let at = out.len();
    out.push(0);
    let form = records.store(out);
    out[at] = form as u8;
}

/// Appends one event with its metadata, and a line end.
pub(crate) fn write_event(event: &Event<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    write_json(event, out);
    if !event.metadata.is_empty() {
        let comma = if event.fields.is_empty() { "" } else { "," };
        out.pop();
        out.extend_from_slice(comma.as_bytes());
        out.extend_from_slice(b"\"@metadata\":{");
        for (at, (name, value)) in event.metadata.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_json_value(&Value::Text(name.as_str().as_bytes()), out);
            out.push(b':');
            write_json_value(value, out);
        }
        out.extend_from_slice(b"}}");
    }
    debug_assert!(!out[start..].contains(&b'\n'), "JSON is one line");
    out.push(b'\n');
}

/// Events that were read back.
struct StoredEvents {
    lines: Vec<Bytes>,
    received: Timestamp,
}

impl StoredEvents {
    fn new(mut body: Bytes, received: Timestamp) -> Self {
        let mut lines = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', &body) {
            lines.push(body.split_to(end));
            body.advance(1);
        }
        Self { lines, received }
    }
}

impl Records for StoredEvents {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        _now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let line = &self.lines[index];
        let event = Event::from_json(line, self.received, arena).unwrap_or_else(|_| {
            // Not written by us; kept as it is.
            let mut event = Event::with_timestamp_in(self.received, arena);
            event.fields.push_new(MESSAGE, Value::Text(line));
            event
        });
        each(event);
    }

    fn store(&self, out: &mut Vec<u8>) -> Form {
        for line in &self.lines {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        Form::Events
    }
}
