//! The event: a small tree of fields whose bytes live in the batch.
//!
//! A worker owns one [`bumpalo::Bump`] (the *arena*) and runs one batch after the other through it:
//! every name, text and container of an event is either a slice of the bytes the batch arrived in,
//! a slice of the compiled pipeline, or a slice of the arena; `'b` is the lifetime of all three.
//! Nothing of an event is freed by itself: the arena is reset when the batch is done. Therefore:
//!
//! - setting a captured field allocates nothing on the heap and copies nothing,
//! - values are 24 bytes, without drop glue, and cheap to move,
//! - an event cannot outlive its batch; what must (state between events) is copied out on purpose.
//!
//! Fields are found by a linear search over 32-bit hashes that are computed when the configuration
//! is compiled (for names of a config) or when the name is read (for names of the input). For the
//! 10 to 30 fields of a log event that is faster than a hash map, and it keeps the order in which
//! fields were set.

mod decimal;
mod from_json;
pub mod identity;
mod json;
mod json_error;
mod json_read;
mod json_scan;
mod name;
pub mod path;
mod timestamp;
mod value;

pub(crate) use decimal::holds_exactly;
pub use identity::Identity;
pub use json::{write_json, write_json_text, write_json_value};
pub use json_error::{JsonError, JsonFault};
pub use json_read::{JsonLimits, read_json, read_json_object};
pub use name::Name;
pub use path::{Key, Path};
pub(crate) use timestamp::push_digits;
pub use timestamp::{Timestamp, civil_from_days, days_from_civil};
pub use value::{Array, Object, Value};

use bumpalo::Bump;

/// Name of the field that holds the event's time.
pub const TIMESTAMP: Name<'static> = Name::new("@timestamp");
/// Name of the field that holds the event schema's version, always `"1"`.
pub const VERSION: Name<'static> = Name::new("@version");
/// Name of the field that holds the tags.
pub const TAGS: Name<'static> = Name::new("tags");
/// Name of the field that holds the line.
pub const MESSAGE: Name<'static> = Name::new("message");

/// One event: its fields and its metadata (`[@metadata]`, never output).
#[derive(Debug)]
pub struct Event<'b> {
    /// The fields that are output.
    pub fields: Object<'b>,
    /// The fields under `[@metadata]`.
    pub metadata: Object<'b>,
    /// Which line it was made of, if the input could tell.
    pub identity: Option<Identity<'b>>,
    cancelled: bool,
}

impl<'b> Event<'b> {
    /// An event without any field.
    pub fn new_in(arena: &'b Bump) -> Self {
        Self {
            fields: Object::with_capacity_in(24, arena),
            metadata: Object::new_in(arena),
            identity: None,
            cancelled: false,
        }
    }

    /// An event as an input makes it: `@timestamp`, `@version` and nothing else.
    pub fn with_timestamp_in(timestamp: Timestamp, arena: &'b Bump) -> Self {
        let mut event = Self::new_in(arena);
        event.fields.push_new(TIMESTAMP, Value::Time(timestamp));
        event.fields.push_new(VERSION, Value::Text(b"1"));
        event
    }

    /// The value at `path`, if there is one (which may be [`Value::Null`]).
    pub fn get(&self, path: &Path) -> Option<&Value<'b>> {
        path.get(self)
    }

    /// The value at `path`, to change in place.
    pub fn get_mut(&mut self, path: &Path) -> Option<&mut Value<'b>> {
        path.get_mut(self)
    }

    /// Sets the value at `path`; what lies on the way and is not a container becomes an object.
    /// COMPAT: on the way, an index into an array that is there is followed (`[list][0]`),
    /// otherwise a key that looks like a number is a key.
    pub fn set(&mut self, path: &'b Path, value: Value<'b>, arena: &'b Bump) {
        path.set(self, value, arena);
    }

    /// Takes the value at `path` out of the event.
    pub fn remove(&mut self, path: &Path) -> Option<Value<'b>> {
        path.remove(self)
    }

    /// Appends `tag` to `tags` unless it is there. COMPAT: a `tags` that is a text becomes an array
    /// of both; one of any other kind is replaced.
    pub fn tag(&mut self, tag: &'b [u8], arena: &'b Bump) {
        match self.fields.get_mut(&TAGS) {
            Some(Value::Array(tags)) => {
                if !tags
                    .iter()
                    .any(|each| matches!(each, Value::Text(text) if *text == tag))
                {
                    tags.push(Value::Text(tag));
                }
            }
            Some(other) => {
                let mut tags = Array::new_in(arena);
                if let Value::Text(text) = other {
                    if *text == tag {
                        return;
                    }
                    tags.push(Value::Text(text));
                }
                tags.push(Value::Text(tag));
                *other = Value::array(tags, arena);
            }
            None => {
                let mut tags = Array::new_in(arena);
                tags.push(Value::Text(tag));
                self.fields.push_new(TAGS, Value::array(tags, arena));
            }
        }
    }

    /// Removes `tag` from `tags`, every time it is there.
    pub fn untag(&mut self, tag: &[u8]) {
        match self.fields.get_mut(&TAGS) {
            Some(Value::Array(tags)) => {
                tags.retain(|each| !matches!(each, Value::Text(text) if *text == tag));
            }
            Some(Value::Text(text)) if *text == tag => {
                self.fields.remove(&TAGS);
            }
            _ => {}
        }
    }

    /// `@timestamp`, unless something that is not a time stands there.
    pub fn timestamp(&self) -> Option<Timestamp> {
        match self.fields.get(&TIMESTAMP) {
            Some(Value::Time(timestamp)) => Some(*timestamp),
            _ => None,
        }
    }

    /// Marks the event as dropped: no later filter and no output sees it.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Whether [`Event::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// A deep copy of the containers; texts and names are shared, as they are immutable. It has no
    /// identity: there is one event of each.
    pub fn copy_in(&self, arena: &'b Bump) -> Self {
        Self {
            fields: self.fields.copy_in(arena),
            metadata: self.metadata.copy_in(arena),
            identity: None,
            cancelled: self.cancelled,
        }
    }

    /// A copy that is one more event made of the same line, with an identity of its own.
    pub fn derive_in(&mut self, arena: &'b Bump) -> Self {
        let mut copy = self.copy_in(arena);
        copy.identity = self.identity.as_mut().map(Identity::derive);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_set_in_order() {
        let arena = Bump::new();
        let mut event = Event::new_in(&arena);
        event.tag(b"one", &arena);
        event.tag(b"two", &arena);
        event.tag(b"one", &arena);
        let mut out = Vec::new();
        write_json(&event, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), r#"{"tags":["one","two"]}"#);
        event.untag(b"one");
        out.clear();
        write_json(&event, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), r#"{"tags":["two"]}"#);
    }

    #[test]
    fn values_stay_small() {
        assert_eq!(size_of::<Value<'_>>(), 24);
        assert!(!std::mem::needs_drop::<Value<'_>>());
    }
}
