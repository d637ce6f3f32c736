//! Events out of JSON objects.
//!
//! COMPAT: Logstash's `Event` constructor. `@timestamp` is read as ISO 8601; what is none moves to
//! `_@timestamp`, the event gets the time now and the tag `_timestampparsefailure`. `@version` is
//! `"1"` unless given. `@metadata` becomes the metadata. `tags` must be a text or an array of
//! texts; anything else moves to `_tags` (as the one element of an array) and the event gets the
//! tag `_tagsparsefailure`.

use bumpalo::Bump;

use super::json_error::{JsonError, JsonFault};
use super::json_read::{JsonLimits, read_json, read_json_object};
use super::{Array, Event, Name, Object, TAGS, TIMESTAMP, Timestamp, VERSION, Value};
use crate::time::Zone;

/// Name under which `@metadata` comes in.
const METADATA: Name<'static> = Name::new("@metadata");
/// Name of the field that keeps a `@metadata` that is not an object.
const FAILED_METADATA: Name<'static> = Name::new("_@metadata");
/// Name of the field that keeps a `@timestamp` that is not a time.
const FAILED_TIMESTAMP: Name<'static> = Name::new("_@timestamp");
/// Tag of an event with such a `@timestamp`.
const TIMESTAMP_FAILURE: &[u8] = b"_timestampparsefailure";
/// Name of the field that keeps `tags` that are none.
const FAILED_TAGS: Name<'static> = Name::new("_tags");
/// Tag of an event with such `tags`.
const TAGS_FAILURE: &[u8] = b"_tagsparsefailure";

impl<'b> Event<'b> {
    /// The event that a JSON object describes.
    pub fn from_json(text: &'b [u8], now: Timestamp, arena: &'b Bump) -> Result<Self, JsonError> {
        let fields = read_json_object(text, JsonLimits::default(), arena)?;
        Ok(Self::from_object(fields, now, arena))
    }

    /// Appends the event that a JSON object describes, or the events of an array of objects; none
    /// for blank text. If anything in the array is not an object, none is appended.
    pub fn all_from_json(
        text: &'b [u8],
        now: Timestamp,
        arena: &'b Bump,
        events: &mut Vec<Self>,
    ) -> Result<(), JsonError> {
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let not_an_event = Err(JsonError {
            fault: JsonFault::NotAnEvent,
            offset: 0,
        });
        match read_json(text, JsonLimits::default(), arena)? {
            Value::Object(fields) => {
                events.push(Self::from_object(take(fields, arena), now, arena));
            }
            Value::Array(values) => {
                if !values.iter().all(|value| matches!(value, Value::Object(_))) {
                    return not_an_event;
                }
                events.reserve(values.len());
                for value in values.drain(..) {
                    if let Value::Object(fields) = value {
                        events.push(Self::from_object(take(fields, arena), now, arena));
                    }
                }
            }
            _ => return not_an_event,
        }
        Ok(())
    }

    /// The event of these fields: `@timestamp`, `@version`, `@metadata` and `tags` are brought into
    /// order.
    pub fn from_object(fields: Object<'b>, now: Timestamp, arena: &'b Bump) -> Self {
        let mut event = Self {
            fields,
            metadata: Object::new_in(arena),
            identity: None,
            cancelled: false,
        };
        if event.fields.get(&VERSION).is_none() {
            event.fields.push_new(VERSION, Value::Text(b"1"));
        }
        if event.fields.get(&METADATA).is_some() {
            match event.fields.remove(&METADATA) {
                Some(Value::Object(metadata)) => event.metadata = take(metadata, arena),
                Some(Value::Null) | None => {}
                Some(other) => event.fields.set(FAILED_METADATA, other),
            }
        }
        event.check_tags(arena);
        event.check_timestamp(now, arena);
        event
    }

    fn check_tags(&mut self, arena: &'b Bump) {
        let Some(tags) = self.fields.get_mut(&TAGS) else {
            return;
        };
        let legal = match tags {
            Value::Null | Value::Text(_) => true,
            Value::Array(tags) => tags.iter().all(|tag| matches!(tag, Value::Text(_))),
            _ => false,
        };
        if legal {
            return;
        }
        let illegal = std::mem::replace(tags, text_array(TAGS_FAILURE, arena));
        let mut kept = Array::new_in(arena);
        kept.push(illegal);
        self.fields.set(FAILED_TAGS, Value::array(kept, arena));
    }

    fn check_timestamp(&mut self, now: Timestamp, arena: &'b Bump) {
        let slot = self.fields.slot(TIMESTAMP);
        let parsed = match slot {
            Value::Time(_) => return,
            Value::Null => Some(now),
            Value::Text(text) => Timestamp::parse_iso8601(text, &Zone::UTC),
            _ => None,
        };
        let given = std::mem::replace(slot, Value::Time(parsed.unwrap_or(now)));
        if parsed.is_none() {
            self.tag(TIMESTAMP_FAILURE, arena);
            self.fields.set(FAILED_TIMESTAMP, given);
        }
    }
}

fn text_array<'b>(text: &'b [u8], arena: &'b Bump) -> Value<'b> {
    let mut array = Array::new_in(arena);
    array.push(Value::Text(text));
    Value::array(array, arena)
}

/// Moves an object out of the arena.
fn take<'b>(object: &mut Object<'b>, arena: &'b Bump) -> Object<'b> {
    std::mem::replace(object, Object::new_in(arena))
}

#[cfg(test)]
mod tests {
    use super::super::write_json;
    use super::*;

    const NOW: Timestamp = Timestamp::new(1_700_000_000, 0);

    fn read(text: &str) -> (String, String) {
        let arena = Bump::new();
        let event = Event::from_json(text.as_bytes(), NOW, &arena).unwrap();
        let mut fields = Vec::new();
        write_json(&event, &mut fields);
        let mut metadata = Vec::new();
        super::super::write_json_value(&Value::object(event.metadata, &arena), &mut metadata);
        (
            String::from_utf8(fields).unwrap(),
            String::from_utf8(metadata).unwrap(),
        )
    }

    #[test]
    fn the_reserved_fields_are_brought_into_order() {
        for (text, expected, metadata) in [
            (
                "{}",
                r#"{"@version":"1","@timestamp":"2023-11-14T22:13:20.000Z"}"#,
                "{}",
            ),
            (
                r#"{"@timestamp":"2015-05-28T23:02:05.350Z","@version":"2","@metadata":{"a":1}}"#,
                r#"{"@timestamp":"2015-05-28T23:02:05.350Z","@version":"2"}"#,
                r#"{"a":1}"#,
            ),
            (
                r#"{"@timestamp":null,"@metadata":null}"#,
                r#"{"@timestamp":"2023-11-14T22:13:20.000Z","@version":"1"}"#,
                "{}",
            ),
            (
                r#"{"@timestamp":"soon","tags":"a"}"#,
                r#"{"@timestamp":"2023-11-14T22:13:20.000Z","tags":["a","_timestampparsefailure"],"@version":"1","_@timestamp":"soon"}"#,
                "{}",
            ),
            (
                r#"{"@timestamp":12,"tags":{"a":1}}"#,
                r#"{"@timestamp":"2023-11-14T22:13:20.000Z","tags":["_tagsparsefailure","_timestampparsefailure"],"@version":"1","_tags":[{"a":1}],"_@timestamp":12}"#,
                "{}",
            ),
            (
                r#"{"@timestamp":"2015-05-28T23:02:05.350Z","tags":["a",1],"@metadata":5}"#,
                r#"{"@timestamp":"2015-05-28T23:02:05.350Z","tags":["_tagsparsefailure"],"@version":"1","_@metadata":5,"_tags":[["a",1]]}"#,
                "{}",
            ),
        ] {
            assert_eq!(read(text), (expected.to_owned(), metadata.to_owned()));
        }
    }

    #[test]
    fn an_array_makes_all_events_or_none() {
        let arena = Bump::new();
        let mut events = Vec::new();
        let mut count = |text: &'static [u8]| {
            let result = Event::all_from_json(text, NOW, &arena, &mut events);
            (result.is_ok(), std::mem::take(&mut events).len())
        };
        assert_eq!(count(b" \n"), (true, 0));
        assert_eq!(count(b"[]"), (true, 0));
        assert_eq!(count(b"{}"), (true, 1));
        assert_eq!(count(b"[{},{}]"), (true, 2));
        assert_eq!(count(b"[{},1]"), (false, 0));
        assert_eq!(count(b"1"), (false, 0));
        assert_eq!(count(b"[{}"), (false, 0));
    }
}
