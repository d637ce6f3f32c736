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
use crate::worker::Records;

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
}

#[cfg(test)]
mod tests {
    use skidder_pipeline::codec::{CodecDefaults, build_codec};
    use skidder_pipeline::event::write_json_value;
    use skidder_pipeline::language::{Diagnostics, Plugin, Span, Spanned};

    use super::*;
    use crate::input::decoration::Decoration;
    use crate::queue::packed::{PackedRecords, Receiver};
    use crate::queue::stored::Form;

    fn decoder(codec: &str, decorate: Decorate) -> Arc<Decoder> {
        let span = Span::new(0, 0, 0);
        let plugin = Plugin {
            name: Spanned::new(codec.into(), span),
            attributes: Vec::new(),
            span,
        };
        let built = build_codec(&plugin, CodecDefaults::default(), &mut Diagnostics::new());
        Arc::new(Decoder {
            payload: local::Decoder {
                name: "kafka".into(),
                codec: built.unwrap(),
                plain: codec == "plain",
                marks: local::Marks::default(),
                decoration: Decoration::default(),
            },
            decorate,
            group: "shop".into(),
        })
    }

    /// One message at offset 7 with a payload and a header.
    fn records(payload: &str, header: (&str, &str), decoder: Arc<Decoder>) -> MessageRecords {
        let mut bytes = Vec::new();
        let mut keep = |text: &str| {
            let start = bytes.len();
            bytes.extend_from_slice(text.as_bytes());
            start..bytes.len()
        };
        let message = Message {
            topic: "logs".into(),
            partition: 3,
            offset: 7,
            timestamp: Some(1_700_000_000_123),
            payload: keep(payload),
            key: Some(keep("k")),
            headers: vec![(keep(header.0), keep(header.1))],
        };
        MessageRecords {
            bytes,
            messages: vec![message],
            decoder,
            _memory: None,
        }
    }

    /// The ids and `[@metadata][kafka]` of the events.
    fn events(records: &dyn Records) -> Vec<(String, String)> {
        let arena = Bump::new();
        let mut events = Vec::new();
        records.decode(0, &arena, Timestamp::new(0, 0), &mut |event| {
            let mut id = Vec::new();
            event.identity.unwrap().write(&mut id);
            let mut metadata = Vec::new();
            if let Some(kafka) = event.metadata.get(&Name::new("kafka")) {
                write_json_value(kafka, &mut metadata);
            }
            events.push((
                String::from_utf8(id).unwrap(),
                String::from_utf8(metadata).unwrap(),
            ));
        });
        events
    }

    #[test]
    fn a_message_is_known_by_its_header_or_by_its_place() {
        let plain = |payload: &str, header: (&str, &str)| {
            events(&records(
                payload,
                header,
                decoder("plain", Decorate::Nothing),
            ))[0]
                .0
                .clone()
        };
        assert_eq!(plain("a", (IDENTITY_HEADER, "of the line")), "of the line");
        let too_long = "x".repeat(501);
        let by_place = plain("a", ("other", "of the line"));
        for header in [(IDENTITY_HEADER, ""), (IDENTITY_HEADER, &too_long)] {
            assert_eq!(plain("a", header), by_place);
        }
        assert_ne!(plain("b", ("other", "")), by_place);
        let mut later = records("a", ("x", ""), decoder("plain", Decorate::Nothing));
        later.messages[0].offset = 8;
        assert_ne!(events(&later)[0].0, by_place);
        // A topic that was made anew.
        later.messages[0].offset = 7;
        later.messages[0].timestamp = Some(1_700_000_000_124);
        assert_ne!(events(&later)[0].0, by_place);
    }

    #[test]
    fn several_events_of_a_message_are_told_apart_and_survive_the_disk_queue() {
        let payload = r#"[{"message":"a"},{"message":"a"}]"#;
        let given = records(
            payload,
            (IDENTITY_HEADER, "line"),
            decoder("json", Decorate::Basic),
        );
        let events_of_it = events(&given);
        assert_eq!(events_of_it.len(), 2);
        assert_eq!(events_of_it[0].0, "line");
        assert_ne!(events_of_it[1].0, "line");
        let mut stored = Vec::new();
        assert_eq!(given.store(&mut stored), Form::Packed);
        let restored = PackedRecords::new(stored.into(), Arc::new(Receiver::bare())).unwrap();
        assert_eq!(restored.len(), 2);
        assert_eq!(events(&restored)[0], events_of_it[0]);
    }

    #[test]
    fn the_metadata_is_logstashs() {
        let of = |decorate| {
            events(&records("a", ("h", "v"), decoder("plain", decorate)))[0]
                .1
                .clone()
        };
        assert_eq!(of(Decorate::Nothing), "");
        let basic = r#"{"topic":"logs","consumer_group":"shop","partition":3,"offset":7,"key":"k","timestamp":1700000000123"#;
        assert_eq!(of(Decorate::Basic), format!("{basic}}}"));
        assert_eq!(
            of(Decorate::Extended),
            format!(r#"{basic},"headers":{{"h":"v"}}}}"#)
        );
    }
}
