//! From a log record to an event.
//!
//! Without ECS the event has the parts of the data model, each under its name; with ECS they go where it has a place for them, and
//! attributes are spread out at their dots, as OpenTelemetry's names and those of ECS mostly agree. The table is in
//! `docs/aggregator.md`.
//!
//! INVARIANT: nothing is lost by the mapping. An attribute that cannot stand where its name says (it would take the place of another
//! field, or is called as the event's own ones are) stands in `[otel][attributes]` under its whole name, one of the resource in
//! `[otel][resource]`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;
use skidder_pipeline::event::{Array, Event, MESSAGE, Name, Object, Timestamp, Value};

use super::protobuf::{Fields, Wire};
use super::schema::{any_value, key_value, list, log_record, resource, scope};

/// Names of attributes with more parts than this are not spread out.
const MAX_PARTS: usize = 16;

/// First parts of names that belong to the event itself.
const RESERVED: &[&str] = &["@metadata", "@timestamp", "@version", "message", "tags"];

/// The messages that make an event.
pub(super) struct Parts<'b> {
    pub(super) resource: &'b [u8],
    pub(super) scope: &'b [u8],
    pub(super) record: &'b [u8],
}

/// What stands in a record besides attributes.
#[derive(Default)]
struct Record<'b> {
    time: u64,
    observed: u64,
    severity_number: u64,
    severity_text: &'b [u8],
    body: Option<&'b [u8]>,
    flags: u32,
    trace_id: &'b [u8],
    span_id: &'b [u8],
    event_name: &'b [u8],
}

impl<'b> Record<'b> {
    fn of(message: &'b [u8]) -> Self {
        let mut record = Self::default();
        for (number, value) in Fields::of(message).flatten() {
            match (number, value) {
                (log_record::TIME, Wire::Fixed64(time)) => record.time = time,
                (log_record::OBSERVED_TIME, Wire::Fixed64(time)) => record.observed = time,
                (log_record::SEVERITY_NUMBER, Wire::Varint(number)) => {
                    record.severity_number = number;
                }
                (log_record::SEVERITY_TEXT, Wire::Bytes(text)) => record.severity_text = text,
                (log_record::BODY, Wire::Bytes(body)) => record.body = Some(body),
                (log_record::FLAGS, Wire::Fixed32(flags)) => record.flags = flags,
                (log_record::TRACE_ID, Wire::Bytes(id)) => record.trace_id = id,
                (log_record::SPAN_ID, Wire::Bytes(id)) => record.span_id = id,
                (log_record::EVENT_NAME, Wire::Bytes(name)) => record.event_name = name,
                _ => {}
            }
        }
        record
    }

    /// The level: as it was logged, or by its number.
    fn level(&self) -> &'b [u8] {
        match (self.severity_text, self.severity_number) {
            ([], 1..=4) => b"TRACE",
            ([], 5..=8) => b"DEBUG",
            ([], 9..=12) => b"INFO",
            ([], 13..=16) => b"WARN",
            ([], 17..=20) => b"ERROR",
            ([], 21..=24) => b"FATAL",
            (text, _) => text,
        }
    }
}

/// The event of a record.
pub(super) fn event<'b>(
    parts: &Parts<'b>,
    ecs: bool,
    now: Timestamp,
    arena: &'b Bump,
) -> Event<'b> {
    let record = Record::of(parts.record);
    let time = [record.time, record.observed]
        .into_iter()
        .find(|time| *time > 0);
    let mut event = Event::with_timestamp_in(time.map_or(now, timestamp), arena);
    match record.body.map(|body| any(body, arena)) {
        Some(text @ Value::Text(_)) => event.fields.set(MESSAGE, text),
        Some(Value::Null) | None => {}
        Some(other) => event.fields.set(Name::new("body"), other),
    }
    let shared = Shared {
        level: record.level(),
        severity: record.severity_number as i64,
        observed: (record.observed > 0).then(|| timestamp(record.observed)),
        trace_id: hex(record.trace_id, arena),
        span_id: hex(record.span_id, arena),
    };
    if ecs {
        with_ecs(&mut event, parts, &record, shared, arena);
    } else {
        without_ecs(&mut event, parts, &record, shared, arena);
    }
    event
}

/// What is worked out once for both kinds of names.
#[derive(Clone, Copy)]
struct Shared<'b> {
    level: &'b [u8],
    severity: i64,
    observed: Option<Timestamp>,
    trace_id: &'b [u8],
    span_id: &'b [u8],
}

fn without_ecs<'b>(
    event: &mut Event<'b>,
    parts: &Parts<'b>,
    record: &Record<'b>,
    shared: Shared<'b>,
    arena: &'b Bump,
) {
    let fields = &mut event.fields;
    for (name, text) in [
        ("severity", shared.level),
        ("trace_id", shared.trace_id),
        ("span_id", shared.span_id),
        ("event_name", record.event_name),
    ] {
        if !text.is_empty() {
            fields.set(Name::new(name), Value::Text(text));
        }
    }
    for (name, number) in [
        ("severity_number", shared.severity),
        ("trace_flags", i64::from(record.flags)),
    ] {
        if number != 0 {
            fields.set(Name::new(name), Value::Integer(number));
        }
    }
    if let Some(time) = shared.observed {
        fields.set(Name::new("observed_timestamp"), Value::Time(time));
    }
    let scope_attributes = attributes(parts.scope, scope::ATTRIBUTES, arena);
    let mut of_scope = Object::new_in(arena);
    for (name, text) in scope_texts(parts.scope) {
        of_scope.set(Name::new(name), Value::Text(text));
    }
    if !scope_attributes.is_empty() {
        let attributes = Value::object(scope_attributes, arena);
        of_scope.set(Name::new("attributes"), attributes);
    }
    for (name, object) in [
        (
            "attributes",
            attributes(parts.record, log_record::ATTRIBUTES, arena),
        ),
        (
            "resource",
            attributes(parts.resource, resource::ATTRIBUTES, arena),
        ),
        ("scope", of_scope),
    ] {
        if !object.is_empty() {
            fields.set(Name::new(name), Value::object(object, arena));
        }
    }
}

fn with_ecs<'b>(
    event: &mut Event<'b>,
    parts: &Parts<'b>,
    record: &Record<'b>,
    shared: Shared<'b>,
    arena: &'b Bump,
) {
    let mut put = |path: &[&'b str], value| put(&mut event.fields, path, value, arena);
    let text = |text: &'b [u8]| (!text.is_empty()).then_some(Value::Text(text));
    let number = |number| (number != 0).then_some(Value::Integer(number));
    for (path, value) in [
        (["log", "level"], text(shared.level)),
        (["event", "severity"], number(shared.severity)),
        (["event", "created"], shared.observed.map(Value::Time)),
        (["event", "action"], text(record.event_name)),
        (["trace", "id"], text(shared.trace_id)),
        (["trace", "flags"], number(i64::from(record.flags))),
        (["span", "id"], text(shared.span_id)),
    ] {
        if let Some(value) = value {
            put(&path, value);
        }
    }
    for (name, text) in scope_texts(parts.scope) {
        let text = Value::Text(text);
        match name {
            "name" => put(&["log", "logger"], text),
            name => put(&["otel", "scope", name], text),
        }
    }
    let of_scope = attributes(parts.scope, scope::ATTRIBUTES, arena);
    if !of_scope.is_empty() {
        let of_scope = Value::object(of_scope, arena);
        put(&["otel", "scope", "attributes"], of_scope);
    }
    for (message, number, displaced) in [
        (parts.record, log_record::ATTRIBUTES, "attributes"),
        (parts.resource, resource::ATTRIBUTES, "resource"),
    ] {
        for (name, value) in key_values(message, number, arena) {
            spread(event, name, value, displaced, arena);
        }
    }
}

/// Name and version of a scope.
fn scope_texts(message: &[u8]) -> impl Iterator<Item = (&'static str, &[u8])> {
    Fields::of(message)
        .flatten()
        .filter_map(|field| match field {
            (scope::NAME, Wire::Bytes(text)) if !text.is_empty() => Some(("name", text)),
            (scope::VERSION, Wire::Bytes(text)) if !text.is_empty() => Some(("version", text)),
            _ => None,
        })
}

/// Puts an attribute where the dots of its name say, or under its whole name if it cannot stand there.
fn spread<'b>(
    event: &mut Event<'b>,
    name: &'b str,
    value: Value<'b>,
    displaced: &'b str,
    arena: &'b Bump,
) {
    let parts: Vec<&str> = name.splitn(MAX_PARTS + 1, '.').collect();
    let ours = match parts[..] {
        ["otel", "attributes" | "resource" | "scope", ..] | ["otel"] | [] => true,
        [first, ..] => RESERVED.contains(&first),
    };
    let fits = !ours
        && parts.len() <= MAX_PARTS
        && parts.iter().all(|part| !part.is_empty())
        && is_free(&event.fields, &parts);
    if fits {
        put(&mut event.fields, &parts, value, arena);
    } else {
        put(&mut event.fields, &["otel", displaced, name], value, arena);
    }
}

/// Whether nothing stands at a path, and nothing but objects on the way there.
fn is_free(mut object: &Object<'_>, path: &[&str]) -> bool {
    for part in path {
        match object.get(&Name::new(part)) {
            None => return true,
            Some(Value::Object(below)) => object = below,
            Some(_) => return false,
        }
    }
    false
}

/// Sets the value at a path; what is no object on the way is replaced.
fn put<'b>(object: &mut Object<'b>, path: &[&'b str], value: Value<'b>, arena: &'b Bump) {
    let Some((last, above)) = path.split_last() else {
        return;
    };
    let mut object = object;
    for part in above {
        let slot = object.slot(Name::new(part));
        if !matches!(slot, Value::Object(_)) {
            *slot = Value::object(Object::new_in(arena), arena);
        }
        let Value::Object(below) = slot else { return };
        object = below;
    }
    object.set(Name::new(last), value);
}

fn attributes<'b>(message: &'b [u8], number: u64, arena: &'b Bump) -> Object<'b> {
    let mut object = Object::new_in(arena);
    for (name, value) in key_values(message, number, arena) {
        object.set(Name::new(name), value);
    }
    object
}

/// The attributes in a field.
fn key_values<'b>(
    message: &'b [u8],
    wanted: u64,
    arena: &'b Bump,
) -> impl Iterator<Item = (&'b str, Value<'b>)> {
    Fields::of(message)
        .flatten()
        .filter_map(move |(number, value)| {
            let Wire::Bytes(pair) = value else {
                return None;
            };
            if number != wanted {
                return None;
            }
            let mut key: &[u8] = b"";
            let mut value = Value::Null;
            for field in Fields::of(pair).flatten() {
                match field {
                    (key_value::KEY, Wire::Bytes(text)) => key = text,
                    (key_value::VALUE, Wire::Bytes(message)) => value = any(message, arena),
                    _ => {}
                }
            }
            let key = std::str::from_utf8(key)
                .unwrap_or_else(|_| arena.alloc_str(&String::from_utf8_lossy(key)));
            Some((key, value))
        })
}

/// An `AnyValue`. Its depth has been looked at before.
fn any<'b>(message: &'b [u8], arena: &'b Bump) -> Value<'b> {
    let mut value = Value::Null;
    for field in Fields::of(message).flatten() {
        value = match field {
            (any_value::STRING, Wire::Bytes(text)) => Value::Text(text),
            (any_value::BOOL, Wire::Varint(number)) => Value::Boolean(number != 0),
            (any_value::INT, Wire::Varint(number)) => Value::Integer(number as i64),
            (any_value::DOUBLE, Wire::Fixed64(bits)) => double(f64::from_bits(bits)),
            (any_value::BYTES, Wire::Bytes(bytes)) => {
                Value::copied_text(STANDARD.encode(bytes).as_bytes(), arena)
            }
            (any_value::ARRAY, Wire::Bytes(values)) => {
                let mut array = Array::new_in(arena);
                for field in Fields::of(values).flatten() {
                    if let (list::VALUES, Wire::Bytes(value)) = field {
                        array.push(any(value, arena));
                    }
                }
                Value::array(array, arena)
            }
            (any_value::KVLIST, Wire::Bytes(values)) => {
                Value::object(attributes(values, list::VALUES, arena), arena)
            }
            _ => continue,
        };
    }
    value
}

/// A number that JSON has, or the word for it.
fn double<'b>(number: f64) -> Value<'b> {
    if number.is_finite() {
        Value::Float(number)
    } else if number.is_nan() {
        Value::Text(b"NaN")
    } else if number > 0.0 {
        Value::Text(b"Infinity")
    } else {
        Value::Text(b"-Infinity")
    }
}

fn timestamp(nanoseconds: u64) -> Timestamp {
    const SECOND: u64 = 1_000_000_000;
    Timestamp::new((nanoseconds / SECOND) as i64, (nanoseconds % SECOND) as u32)
}

/// An identifier as text; none for one that is empty or nothing but zeros, which means that there is none.
fn hex<'b>(bytes: &[u8], arena: &'b Bump) -> &'b [u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if bytes.iter().all(|byte| *byte == 0) {
        return b"";
    }
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text: Vec<u8> = digits.map(|digit| DIGITS[usize::from(digit)]).collect();
    arena.alloc_slice_copy(&text)
}
