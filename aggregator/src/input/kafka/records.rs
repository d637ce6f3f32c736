//! Messages on their way to the workers, and the events that they become.

#![cfg_attr(
    not(feature = "kafka"),
    allow(dead_code, reason = "without the feature nothing is read")
)]

use std::ops::Range;
use std::sync::Arc;

use bumpalo::Bump;
use skidder_lumberjack::Reservation;
use skidder_pipeline::event::identity::{Identity, content_hash, stream_name};
use skidder_pipeline::event::{Event, Name, Object, Timestamp, Value};

use super::super::identity::usable_id;
use super::super::local;
use crate::kafka::IDENTITY_HEADER;
use crate::queue::packed::pack;
use crate::queue::stored::Form;
use crate::worker::{Records, now};

/// What of a message goes into `[@metadata][kafka]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decorate {
    Nothing,
    /// Where it is from.
    Basic,
    /// Its headers as well.
    Extended,
}

/// How messages become events.
pub(super) struct Decoder {
    pub(super) payload: local::Decoder,
    pub(super) decorate: Decorate,
    pub(super) group: String,
}

/// A message; its texts are in the bytes of its batch.
pub(super) struct Message {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// Milliseconds, if the broker tells.
    pub(super) timestamp: Option<i64>,
    pub(super) payload: Range<usize>,
    pub(super) key: Option<Range<usize>>,
    pub(super) headers: Vec<(Range<usize>, Range<usize>)>,
}

/// Messages of any number of partitions.
pub(super) struct MessageRecords {
    pub(super) bytes: Vec<u8>,
    pub(super) messages: Vec<Message>,
    pub(super) decoder: Arc<Decoder>,
    pub(super) _memory: Option<Reservation>,
}

impl MessageRecords {
    fn text(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }

    /// Which line a message is: as its header says, or else by its place.
    ///
    /// A topic can be made anew, and begins at 0 then, so the time of the message counts as well; it stays the same
    /// however often the message is read.
    fn identity<'b>(&'b self, message: &Message, arena: &'b Bump) -> Identity<'b> {
        let given = message.headers.iter().find_map(|(name, value)| {
            (self.text(name) == IDENTITY_HEADER.as_bytes()).then(|| self.text(value))
        });
        if let Some(id) = given.filter(|id| usable_id(id)) {
            return Identity::given(id);
        }
        let name = stream_name(&[
            b"kafka",
            message.topic.as_bytes(),
            &message.partition.to_le_bytes(),
            &message.timestamp.unwrap_or(-1).to_le_bytes(),
        ]);
        let content = content_hash(b"", self.text(&message.payload));
        Identity::of_line(
            arena.alloc_slice_copy(&name),
            message.offset.unsigned_abs(),
            content,
        )
    }

    /// `[@metadata][kafka]`.
    fn metadata<'b>(&'b self, message: &'b Message, arena: &'b Bump) -> Option<Value<'b>> {
        let decorate = self.decoder.decorate;
        if decorate == Decorate::Nothing {
            return None;
        }
        let mut kafka = Object::with_capacity_in(7, arena);
        let mut set = |name: &'static str, value| kafka.push_new(Name::new(name), value);
        set("topic", Value::Text(message.topic.as_bytes()));
        set("consumer_group", Value::Text(self.decoder.group.as_bytes()));
        set("partition", Value::Integer(message.partition.into()));
        set("offset", Value::Integer(message.offset));
        let key = message.key.as_ref();
        set(
            "key",
            key.map_or(Value::Null, |key| Value::Text(self.text(key))),
        );
        set(
            "timestamp",
            message.timestamp.map_or(Value::Null, Value::Integer),
        );
        if decorate == Decorate::Extended {
            let mut headers = Object::with_capacity_in(message.headers.len(), arena);
            for (name, value) in &message.headers {
                if let Ok(name) = std::str::from_utf8(self.text(name)) {
                    // COMPAT: of headers of one name the last one counts.
                    headers.set(Name::new(name), Value::Text(self.text(value)));
                }
            }
            kafka.push_new(Name::new("headers"), Value::object(headers, arena));
        }
        Some(Value::object(kafka, arena))
    }
}

impl Records for MessageRecords {
    fn len(&self) -> usize {
        self.messages.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let message = &self.messages[index];
        let decoder = &self.decoder.payload;
        let mut identity = self.identity(message, arena);
        let events = decoder.decode(self.text(&message.payload), arena, now);
        for (number, mut event) in events.into_iter().enumerate() {
            event.identity = Some(match number {
                0 => identity,
                _ => identity.derive(),
            });
            if let Some(kafka) = self.metadata(message, arena) {
                event.metadata.set(Name::new("kafka"), kafka);
            }
            decoder.finish(&mut event, arena);
            each(event);
        }
    }

    fn source(&self) -> &str {
        &self.decoder.payload.name
    }

    /// Packed, because that keeps the identity.
    fn store(&self, out: &mut Vec<u8>) -> Form {
        let mut arena = Bump::new();
        for index in 0..self.len() {
            self.decode(index, &arena, now(), &mut |event| pack(&event, out));
            arena.reset();
        }
        Form::Packed
    }
}
