//! Events packed into bytes: how they go from one pipeline to another, in memory and through a disk queue.
//!
//! JSON would do, but costs several times as much and forgets what is no JSON: a time in a field comes back
//! as a text, and bytes that are not UTF-8 not at all. What is unpacked is equal to what was packed.
//!
//! Numbers are little-endian; a *length* is a LEB128 of at most 32 bits. Packed events follow each other:
//!
//! | bytes | |
//! |---|---|
//! | 4 | length of what follows of this event |
//! | … | the id that says which line it is of (a length and bytes); empty if it has none |
//! | … | the fields: their number as a length, then for each its name (a length and UTF-8) and its value |
//! | … | the metadata, the same |
//!
//! A value is a byte that says what it is, and: 0 null, 1 false, 2 true, 3 integer (8 bytes), 4 float (8), 5 number as text
//! (a length and text), 6 text (a length and bytes), 7 time (seconds 8, nanoseconds 4), 8 array (their number as a length, values), 9 object (as
//! the fields).
//!
//! Texts are not copied when an event is unpacked: they are slices of the packed bytes.

use std::ops::Range;
use std::sync::Arc;

use bumpalo::Bump;
use bytes::Bytes;
use skidder_pipeline::event::{Array, Event, Identity, MESSAGE, Name, Object, Timestamp, Value};

use super::stored::{Form, Restore};
use crate::input::decoration::Decoration;
use crate::worker::Records;

/// Levels of arrays and objects that are unpacked: no input reads more than half of it.
const MAX_DEPTH: usize = 1024;

/// Appends an event.
pub(crate) fn pack(event: &Event<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    pack_identity(event, out);
    pack_object(&event.fields, out);
    pack_object(&event.metadata, out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn pack_identity(event: &Event<'_>, out: &mut Vec<u8>) {
    let mut id = Vec::new();
    if let Some(identity) = &event.identity {
        identity.write(&mut id);
    }
    pack_bytes(&id, out);
}

fn pack_object(object: &Object<'_>, out: &mut Vec<u8>) {
    pack_length(object.len(), out);
    for (name, value) in object.iter() {
        pack_bytes(name.as_str().as_bytes(), out);
        pack_value(value, out);
    }
}

fn pack_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Boolean(boolean) => out.push(1 + u8::from(*boolean)),
        Value::Integer(integer) => {
            out.push(3);
            out.extend_from_slice(&integer.to_le_bytes());
        }
        Value::Float(float) => {
            out.push(4);
            out.extend_from_slice(&float.to_le_bytes());
        }
        Value::Numeral(numeral) => {
            out.push(5);
            pack_bytes(numeral.as_bytes(), out);
        }
        Value::Text(text) => {
            out.push(6);
            pack_bytes(text, out);
        }
        Value::Time(time) => {
            out.push(7);
            out.extend_from_slice(&time.seconds().to_le_bytes());
            out.extend_from_slice(&time.nanoseconds().to_le_bytes());
        }
        Value::Array(array) => {
            out.push(8);
            pack_length(array.len(), out);
            array.iter().for_each(|value| pack_value(value, out));
        }
        Value::Object(object) => {
            out.push(9);
            pack_object(object, out);
        }
    }
}

fn pack_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    pack_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn pack_length(length: usize, out: &mut Vec<u8>) {
    let mut rest = length as u32;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The event that some bytes hold; nothing if they hold none.
fn unpack<'b>(bytes: &'b [u8], arena: &'b Bump) -> Option<Event<'b>> {
    let mut unpacking = Unpacking { rest: bytes, arena };
    let mut event = Event::new_in(arena);
    let id = unpacking.bytes()?;
    event.identity = (!id.is_empty()).then(|| Identity::given(id));
    unpacking.fields(&mut event.fields, 0)?;
    unpacking.fields(&mut event.metadata, 0)?;
    unpacking.rest.is_empty().then_some(event)
}

struct Unpacking<'b> {
    rest: &'b [u8],
    arena: &'b Bump,
}

impl<'b> Unpacking<'b> {
    fn fields(&mut self, object: &mut Object<'b>, depth: usize) -> Option<()> {
        for _ in 0..self.length()? {
            let name = std::str::from_utf8(self.bytes()?).ok()?;
            let value = self.value(depth)?;
            object.push_unsearched(Name::new(name), value);
        }
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<Value<'b>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(match kind {
            0 => Value::Null,
            1 => Value::Boolean(false),
            2 => Value::Boolean(true),
            3 => Value::Integer(i64::from_le_bytes(self.array()?)),
            4 => Value::Float(f64::from_le_bytes(self.array()?)),
            5 => Value::Numeral(std::str::from_utf8(self.bytes()?).ok()?),
            6 => Value::Text(self.bytes()?),
            7 => {
                let seconds = i64::from_le_bytes(self.array()?);
                Value::Time(Timestamp::new(seconds, u32::from_le_bytes(self.array()?)))
            }
            8 => {
                let length = self.length()?;
                let mut array = Array::with_capacity_in(length, self.arena);
                for _ in 0..length {
                    array.push(self.value(depth + 1)?);
                }
                Value::array(array, self.arena)
            }
            9 => {
                let mut object = Object::new_in(self.arena);
                self.fields(&mut object, depth + 1)?;
                Value::object(object, self.arena)
            }
            _ => return None,
        })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.length()?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// A length. Whatever it counts takes a byte or more, so one that is longer than the rest is wrong.
    fn length(&mut self) -> Option<usize> {
        let mut length = 0;
        for shift in [0, 7, 14, 21, 28] {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return (length <= self.rest.len()).then_some(length);
            }
        }
        None
    }
}

/// A batch of packed events.
pub(crate) struct PackedRecords {
    bytes: Bytes,
    /// Where each event stands in them, without its length.
    events: Vec<Range<usize>>,
    receiver: Arc<Receiver>,
    /// Dropped with the records.
    _guard: Option<Box<dyn Send>>,
}

/// The input at which packed events come in.
pub(crate) struct Receiver {
    /// What the disk queue calls it.
    pub(crate) name: String,
    /// What it is called by those who send to it; empty if the events have not left their pipeline.
    pub(crate) address: String,
    /// `type`, `tags`, `add_field`.
    pub(crate) decoration: Decoration,
}

impl Receiver {
    /// What reads events back whose input is gone.
    pub(crate) fn bare() -> Self {
        Self {
            name: String::new(),
            address: String::new(),
            decoration: Decoration::default(),
        }
    }
}

impl PackedRecords {
    /// The events that some bytes hold; nothing if they are cut wrongly.
    pub(crate) fn new(bytes: Bytes, receiver: Arc<Receiver>) -> Option<Self> {
        let mut events = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let length = u32::from_le_bytes(*bytes[at..].first_chunk()?) as usize;
            let start = at + 4;
            if bytes.len() - start < length {
                return None;
            }
            at = start + length;
            events.push(start..at);
        }
        Some(Self {
            events,
            bytes,
            receiver,
            _guard: None,
        })
    }

    /// Drops `guard` when the records are not needed any more.
    pub(crate) fn with_guard(self, guard: impl Send + 'static) -> Self {
        Self {
            _guard: Some(Box::new(guard)),
            ..self
        }
    }
}

impl Records for PackedRecords {
    fn len(&self) -> usize {
        self.events.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let bytes = &self.bytes[self.events[index].clone()];
        let mut event = unpack(bytes, arena).unwrap_or_else(|| {
            // Not written by us; kept as it is.
            let mut event = Event::with_timestamp_in(now, arena);
            event.fields.push_new(MESSAGE, Value::Text(bytes));
            event
        });
        // The same event may go to other addresses, too, and each of them may store it. What waits for an
        // output of its own pipeline has no address: it stays the event that it is.
        let address = self.receiver.address.as_bytes();
        if !address.is_empty() {
            event.identity = event.identity.map(|identity| identity.branch(address));
        }
        self.receiver.decoration.apply(&mut event, arena);
        each(event);
    }

    fn source(&self) -> &str {
        &self.receiver.name
    }

    fn store(&self, out: &mut Vec<u8>) -> Form {
        out.extend_from_slice(&self.bytes);
        Form::Packed
    }
}

impl Restore for Receiver {
    fn form(&self) -> Form {
        Form::Packed
    }

    fn restore(self: Arc<Self>, body: Bytes, _received: Timestamp) -> Option<Box<dyn Records>> {
        Some(Box::new(PackedRecords::new(body, self)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skidder_pipeline::event::write_json;

    use super::super::stored::write_event;
    use super::*;

    fn json(event: &Event<'_>) -> String {
        let mut out = Vec::new();
        write_event(event, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_was() {
        let long = "x".repeat(300);
        let arena = Bump::new();
        let text = br#"{"@timestamp":"2026-11-25T10:00:00.123456789Z","a":[1,-2.5,null,true,false,{"b":{"c":[]}}],
            "big":123456789012345678901234567890,"@metadata":{"x":{"y":"z"}},"empty":{}}"#;
        let mut event = Event::from_json(text, Timestamp::new(0, 0), &arena).unwrap();
        event
            .fields
            .push_new(Name::new("when"), Value::Time(Timestamp::new(-5, 7)));
        event
            .fields
            .push_new(Name::new("bytes"), Value::Text(b"\xff\x00a"));
        event
            .fields
            .push_new(Name::new("long"), Value::Text(long.as_bytes()));
        let mut packed = Vec::new();
        pack(&event, &mut packed);
        pack(&Event::new_in(&arena), &mut packed);
        let records = PackedRecords::new(packed.into(), Arc::new(Receiver::bare())).unwrap();
        let copies = Bump::new();
        assert_eq!(records.len(), 2);
        let mut seen = 0;
        records.decode(0, &copies, Timestamp::new(0, 0), &mut |copy| {
            seen += 1;
            assert_eq!(json(&copy), json(&event));
            // What JSON would not show.
            let value = |name| copy.fields.get(&Name::new(name));
            assert!(
                matches!(value("when"), Some(Value::Time(time)) if *time == Timestamp::new(-5, 7))
            );
            assert!(matches!(value("bytes"), Some(Value::Text(b"\xff\x00a"))));
            assert!(matches!(value("big"), Some(Value::Numeral(_))));
        });
        records.decode(1, &copies, Timestamp::new(0, 0), &mut |copy| {
            seen += 1;
            let mut out = Vec::new();
            write_json(&copy, &mut out);
            assert_eq!(out, b"{}");
        });
        assert_eq!(seen, 2);
        let mut stored = Vec::new();
        assert_eq!(records.store(&mut stored), Form::Packed);
        assert_eq!(stored, records.bytes);
    }

    #[test]
    fn an_event_has_one_id_at_each_address() {
        let arena = Bump::new();
        let mut event = Event::new_in(&arena);
        event.identity = Some(Identity::of_line(b"stream", 7, 8));
        let mut packed = Vec::new();
        pack(&event, &mut packed);
        let ids = ["a", "a", "b"].map(|address| {
            let receiver = Receiver {
                address: address.to_owned(),
                ..Receiver::bare()
            };
            let records =
                PackedRecords::new(packed.clone().into(), Arc::new(receiver)).expect("packed");
            let (arena, mut id) = (Bump::new(), Vec::new());
            records.decode(0, &arena, Timestamp::new(0, 0), &mut |event| {
                event.identity.expect("it has one").write(&mut id);
            });
            String::from_utf8(id).expect("text")
        });
        assert_eq!(ids[0], ids[1]);
        assert_ne!(ids[0], ids[2]);
        assert!(ids[0].starts_with("stream"));
    }

    #[test]
    fn an_event_that_stays_in_its_pipeline_keeps_its_id() {
        let arena = Bump::new();
        let mut event = Event::new_in(&arena);
        event.identity = Some(Identity::of_line(b"stream", 7, 8));
        let mut id = Vec::new();
        event.identity.as_ref().unwrap().write(&mut id);
        let mut packed = Vec::new();
        pack(&event, &mut packed);
        let records = PackedRecords::new(packed.into(), Arc::new(Receiver::bare())).unwrap();
        let copies = Bump::new();
        records.decode(0, &copies, Timestamp::new(0, 0), &mut |copy| {
            let mut copied = Vec::new();
            copy.identity.as_ref().unwrap().write(&mut copied);
            assert_eq!(copied, id);
        });
    }

    proptest! {
        #[test]
        fn bytes_that_nobody_packed_harm_nobody(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(unpack(&bytes, &Bump::new()));
            let mut framed = (bytes.len() as u32).to_le_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            let records = PackedRecords::new(framed.into(), Arc::new(Receiver::bare())).unwrap();
            let arena = Bump::new();
            let mut events = 0;
            records.decode(0, &arena, Timestamp::new(0, 0), &mut |_| events += 1);
            prop_assert_eq!(events, 1);
        }
    }

    #[test]
    fn deep_values_do_not_use_up_the_stack() {
        let mut bytes = vec![1, 1, b'a'];
        for _ in 0..100_000 {
            bytes.extend_from_slice(&[8, 1]);
        }
        let arena = Bump::new();
        assert!(unpack(&bytes, &arena).is_none());
        assert!(
            PackedRecords::new(
                Bytes::from_static(b"\x09\0\0\0a"),
                Arc::new(Receiver::bare())
            )
            .is_none()
        );
    }
}
