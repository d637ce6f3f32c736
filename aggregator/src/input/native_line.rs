//! Lines of the native framing as events: the same that version 2 brings as JSON.
//!
//! INVARIANT: for one line both ways give one event, field by field and in one order, and so one `_id`. What
//! the forwarder does as it writes JSON is done here: U+FFFD for what is not UTF-8, the offset as text.

use bumpalo::Bump;
use skidder_lumberjack::native::{Line, NESTED};
use skidder_pipeline::event::{
    Event, MESSAGE, Name, Object, TIMESTAMP, Timestamp, Value, write_json_value,
};

const OFFSET: Name<'static> = Name::new("offset");
const METADATA: Name<'static> = Name::new("@metadata");
const STREAM: Name<'static> = Name::new("stream");

/// The times that RFC 3339 can say: the years from -9999 to 9999. Others count as 1970.
const TIMES: std::ops::RangeInclusive<i64> = -377_705_023_201_000..=253_402_207_200_999;

/// The event of a line.
pub(super) fn event<'b>(line: &'b Line, now: Timestamp, arena: &'b Bump) -> Event<'b> {
    Event::from_object(object(line, arena), now, arena)
}

/// Appends the JSON that version 2 has for a line.
pub(super) fn write_json(line: &Line, out: &mut Vec<u8>) {
    let arena = Bump::new();
    write_json_value(&Value::object(object(line, &arena), &arena), out);
}

fn object<'b>(line: &'b Line, arena: &'b Bump) -> Object<'b> {
    let source = &*line.source;
    // Time, message, offset, metadata, version, and one for whatever is added.
    let own = 6;
    let count = own + source.before.len() + source.after.len();
    let mut fields = Object::with_capacity_in(count, arena);
    let milliseconds = if TIMES.contains(&line.read_at) {
        line.read_at
    } else {
        0
    };
    let time = Timestamp::from_milliseconds(milliseconds);
    fields.push_new(TIMESTAMP, Value::Time(time));
    fields.push_new(MESSAGE, text(&line.text, arena));
    for (name, value) in &source.before {
        fields.set(Name::new(name), text(value, arena));
    }
    let offset = bumpalo::format!(in arena, "{}", line.offset).into_bump_str();
    fields.set(OFFSET, Value::Text(offset.as_bytes()));
    for (name, value) in &source.after {
        set(&mut fields, name, text(value, arena), arena, MAX_DEPTH);
    }
    if !source.stream.is_empty() {
        let mut metadata = Object::new_in(arena);
        metadata.push_new(STREAM, text(&source.stream, arena));
        fields.set(METADATA, Value::object(metadata, arena));
    }
    for (name, value) in line.extra() {
        let name = arena.alloc_str(&String::from_utf8_lossy(name));
        set(&mut fields, name, text(value, arena), arena, MAX_DEPTH);
    }
    fields
}

/// Objects in each other that the name of a field may ask for; the rest of a longer name is one name.
const MAX_DEPTH: usize = 16;

/// Sets a field, whose name may say which objects it is in.
fn set<'b>(
    fields: &mut Object<'b>,
    name: &'b str,
    value: Value<'b>,
    arena: &'b Bump,
    depth: usize,
) {
    let parts = name.split_once(NESTED).filter(|_| depth > 0);
    let Some((outer, rest)) = parts else {
        fields.set(Name::new(name), value);
        return;
    };
    let outer = Name::new(outer);
    if !matches!(fields.get(&outer), Some(Value::Object(_))) {
        fields.set(outer, Value::object(Object::new_in(arena), arena));
    }
    if let Some(Value::Object(inner)) = fields.get_mut(&outer) {
        set(inner, rest, value, arena, depth - 1);
    }
}

fn text<'b>(bytes: &'b [u8], arena: &'b Bump) -> Value<'b> {
    if std::str::from_utf8(bytes).is_ok() {
        return Value::Text(bytes);
    }
    Value::copied_text(String::from_utf8_lossy(bytes).as_bytes(), arena)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use skidder_forwarder::batch::Field;
    use skidder_forwarder::event::{Source, StreamId, timestamp, write_fields};
    use skidder_lumberjack::native::{LineBuilder, NativeCompression};
    use skidder_lumberjack::{ByteBudget, Decoder, Limits, Payload, Step};
    use skidder_pipeline::event::write_json as write_document;

    use super::*;
    use crate::input::beats;

    type Extra = Vec<Field>;

    const READ_AT: i64 = 1_764_100_000_123;
    const OFFSET: u64 = u64::MAX - 5;

    /// The line as it comes over the native framing.
    fn sent(source: &Source, text: &[u8], extra: &Extra) -> Payload {
        let mut builder = LineBuilder::new(NativeCompression::Zstd { level: 1 }, 10);
        let pairs = extra
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let describe =
            |fields: skidder_lumberjack::native::SourceFields<'_>| source.describe(fields);
        builder
            .push(1, describe, READ_AT, OFFSET, text, pairs)
            .unwrap();
        let window = builder.finish();
        let budget = ByteBudget::new(usize::MAX);
        let mut decoder = Decoder::new(Limits::default(), budget.account());
        decoder.feed(&window.bytes);
        loop {
            match decoder.step().unwrap() {
                Step::Window(mut window) => return window.events.remove(0).payload,
                Step::NeedInput => {
                    let taken = window.bytes.len().min(16 << 10);
                    decoder.feed(&window.bytes[taken..]);
                }
                Step::NeedMemory(_) => unreachable!("the budget is unlimited"),
            }
        }
    }

    /// The document, the metadata and the id.
    fn documents(payload: &Payload) -> Vec<[String; 3]> {
        let decoder = beats::Decoder::bare(false);
        let arena = Bump::new();
        let now = Timestamp::from_milliseconds(0);
        let mut documents = Vec::new();
        decoder.decode(payload, "10.0.0.7", &arena, now, &mut |event| {
            let (mut fields, mut metadata, mut id) = (Vec::new(), Vec::new(), Vec::new());
            write_document(&event, &mut fields);
            for (name, value) in event.metadata.iter() {
                metadata.extend_from_slice(name.as_str().as_bytes());
                write_json_value(value, &mut metadata);
            }
            if let Some(identity) = &event.identity {
                identity.write(&mut id);
            }
            documents.push([fields, metadata, id].map(|text| String::from_utf8(text).unwrap()));
        });
        documents
    }

    #[test]
    fn a_line_gives_the_same_event_by_both_framings() {
        let fields = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        let configured = [
            fields(&[]),
            fields(&[("type", "nginx"), ("env", "a \"b\"")]),
            fields(&[("host", "other"), ("file", "mine")]),
            fields(&[("message", "mine"), ("offset", "7"), ("tags", "one")]),
            fields(&[("@timestamp", "soon"), ("@version", "9")]),
            fields(&[("@metadata", "text")]),
            fields(&[("[a][b]", "c"), ("", "empty")]),
        ];
        let texts: [&[u8]; 5] = [
            b"",
            b"GET / HTTP/1.1\t\"quoted\" \\ end",
            b"bad \xff\xe2\x82 utf-8 \xc3",
            "na\u{ef}ve \u{1f600}".as_bytes(),
            b"one\ntwo\0\x1f",
        ];
        let extra = |names: &[&'static str], value: &[u8]| -> Extra {
            let fields = names.iter().map(|name| ((*name).into(), value.to_vec()));
            fields.collect()
        };
        let extras = [
            Extra::new(),
            extra(&["stream", "type"], b"std\xffout"),
            extra(&["a\0b\0c", "a\0b\0d", "a\0e", "type", "x\0y"], b"v"),
        ];
        for fields in &configured {
            for text in texts {
                for extra in &extras {
                    let source =
                        Source::new(1, true, Path::new("/var/log/a \"b\".log"), "web1", fields)
                            .with_stream(StreamId::random());
                    let native = sent(&source, text, extra);
                    let mut json = Vec::new();
                    source.write_json(&mut json, &timestamp(READ_AT), text, OFFSET);
                    if !extra.is_empty() {
                        write_fields(&mut json, extra);
                    }
                    let by_version_2 = documents(&Payload::Json(Bytes::from(json)));
                    assert_eq!(documents(&native), by_version_2);
                    // And once it has been in the disk queue.
                    let Payload::Line(line) = &native else {
                        panic!("no line: {native:?}");
                    };
                    let mut stored = Vec::new();
                    write_json(line, &mut stored);
                    assert_eq!(documents(&Payload::Json(Bytes::from(stored))), by_version_2);
                }
            }
        }
    }

    #[test]
    fn a_time_that_cannot_be_said_is_1970() {
        let source = Source::new(1, true, Path::new("/a"), "h", &[]);
        let Payload::Line(line) = sent(&source, b"m", &Vec::new()) else {
            panic!("no line");
        };
        for read_at in [i64::MIN, i64::MAX] {
            let mut line = line.clone();
            line.read_at = read_at;
            let expected = String::from_utf8(timestamp(read_at)).unwrap();
            let document = &documents(&Payload::Line(line))[0][0];
            assert!(document.contains(&expected), "{document} {expected}");
        }
    }
}
