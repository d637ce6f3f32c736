//! Which line an event is of, by what its sender tells: see [`Identity`].
//!
//! | sender | identity |
//! |---|---|
//! | our forwarder, version 2 | `[@metadata][stream]`, `offset`, `host`, and the message |
//! | a Beat that was told to (`add_id`, `fingerprint`) | `[@metadata][_id]` as it is |
//! | Filebeat | the agent, the file, `[log][offset]`, the time of reading and the message |
//! | our `kafka` output | a header of the message, as it is; set by the input `kafka` |
//! | others, over Kafka | topic, partition, offset and time of the message, and its payload; set by the input |
//! | our `file` input | the stream of the forwarder's engine, the offset, the host and the line; set by the input |
//! | others | none |
//!
//! INVARIANT: two lines never have one identity; the later would not be stored. A line that comes twice
//! may have two: then there are two documents. So what Filebeat tells counts together with the time at
//! which it read the line: by path, inode and offset alone a file that was truncated, or that has
//! the inode of a removed one, is the old one.

use bumpalo::Bump;
use skidder_pipeline::event::identity::{Identity, content_hash, stream_name};
use skidder_pipeline::event::{Event, MESSAGE, Name, Object, Value};

const STREAM: Name<'static> = Name::new("stream");
const OFFSET: Name<'static> = Name::new("offset");
const HOST: Name<'static> = Name::new("host");
const ID: Name<'static> = Name::new("_id");
const LOG: Name<'static> = Name::new("log");
const FILE: Name<'static> = Name::new("file");
const PATH: Name<'static> = Name::new("path");
const AGENT: Name<'static> = Name::new("agent");

/// Longer ids are refused by the servers (512 bytes), and a derived event's is twelve longer.
const MAX_GIVEN_BYTES: usize = 500;

/// Gives the event the identity that its fields tell.
pub(super) fn identify<'b>(event: &mut Event<'b>, arena: &'b Bump) {
    event.identity = own(event)
        .or_else(|| given(event))
        .or_else(|| filebeat(event, arena));
}

fn own<'b>(event: &Event<'b>) -> Option<Identity<'b>> {
    let stream = event.metadata.get(&STREAM)?.as_text()?;
    if stream.is_empty() || stream.len() > MAX_GIVEN_BYTES {
        return None;
    }
    let offset = number(event.fields.get(&OFFSET)?)?;
    let host = text(&event.fields, &HOST);
    let content = content_hash(host, text(&event.fields, &MESSAGE));
    Some(Identity::of_line(stream, offset, content))
}

fn given<'b>(event: &Event<'b>) -> Option<Identity<'b>> {
    let id = event.metadata.get(&ID)?.as_text()?;
    usable_id(id).then(|| Identity::given(id))
}

/// Whether the id that a sender gives can be that of a document.
pub(super) fn usable_id(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= MAX_GIVEN_BYTES && std::str::from_utf8(id).is_ok()
}

fn filebeat<'b>(event: &Event<'b>, arena: &'b Bump) -> Option<Identity<'b>> {
    let log = object(&event.fields, &LOG)?;
    let offset = number(log.get(&OFFSET)?)?;
    let file = object(log, &FILE)?;
    let path = file.get(&PATH)?.as_text()?;
    let agent = object(&event.fields, &AGENT)?;
    let agent_id = ["id", "ephemeral_id"].map(|name| text(agent, &Name::new(name)));
    let [device, inode, fingerprint] =
        ["device_id", "inode", "fingerprint"].map(|name| text(file, &Name::new(name)));
    let read_at = event.timestamp()?;
    let (seconds, nanoseconds) = (
        read_at.seconds().to_le_bytes(),
        read_at.nanoseconds().to_le_bytes(),
    );
    let name = stream_name(&[
        agent_id[0],
        agent_id[1],
        path,
        device,
        inode,
        fingerprint,
        &seconds,
        &nanoseconds,
    ]);
    let content = content_hash(b"", text(&event.fields, &MESSAGE));
    let name = arena.alloc_slice_copy(&name);
    Some(Identity::of_line(name, offset, content))
}

fn object<'e, 'b>(fields: &'e Object<'b>, name: &Name<'_>) -> Option<&'e Object<'b>> {
    match fields.get(name)? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// A text, or nothing.
fn text<'b>(fields: &Object<'b>, name: &Name<'_>) -> &'b [u8] {
    fields.get(name).and_then(Value::as_text).unwrap_or(b"")
}

fn number(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use skidder_pipeline::event::Timestamp;

    use super::*;

    fn id(json: &str) -> Option<String> {
        let arena = Bump::new();
        let now = Timestamp::new(1_700_000_000, 0);
        let mut event = Event::from_json(json.as_bytes(), now, &arena).unwrap();
        identify(&mut event, &arena);
        let mut out = Vec::new();
        event.identity?.write(&mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn lines_of_our_forwarder() {
        let line = |stream: &str, offset: &str, host: &str, message: &str, time: &str| {
            id(&format!(
                r#"{{"@timestamp":"{time}","message":"{message}","host":"{host}","file":"/a","offset":"{offset}",
                    "@metadata":{{"stream":"{stream}"}}}}"#
            ))
        };
        let time = "2026-01-01T00:00:00.000Z";
        let first = line("AAAAAAAAAAAAAAAA", "64", "h", "m", time).unwrap();
        assert!(first.starts_with("AAAAAAAAAAAAAAAA------0-"), "{first}");
        // The time at which it was read is another one when it is read again.
        let again = line(
            "AAAAAAAAAAAAAAAA",
            "64",
            "h",
            "m",
            "2026-01-02T00:00:00.000Z",
        );
        assert_eq!(again.as_ref(), Some(&first));
        for other in [
            line("AAAAAAAAAAAAAAAB", "64", "h", "m", time),
            line("AAAAAAAAAAAAAAAA", "65", "h", "m", time),
            line("AAAAAAAAAAAAAAAA", "64", "i", "m", time),
            line("AAAAAAAAAAAAAAAA", "64", "h", "n", time),
        ] {
            assert_ne!(other.unwrap(), first);
        }
        assert_eq!(line("", "64", "h", "m", time), None);
        assert_eq!(line("AAAAAAAAAAAAAAAA", "-", "h", "m", time), None);
    }

    #[test]
    fn complaint_31_lines_of_filebeat() {
        let line = |agent: &str, file: &str, offset: &str, time: &str, message: &str| {
            id(&format!(
                r#"{{"@timestamp":"{time}","message":"{message}","agent":{{"id":"{agent}","type":"filebeat"}},
                    "log":{{"offset":{offset},"file":{{"path":"/a",{file}}}}}}}"#
            ))
        };
        let (inode, time) = (r#""inode":"7","device_id":"1""#, "2026-01-01T00:00:00.123Z");
        let first = line("a", inode, "5", time, "m");
        assert!(first.is_some());
        assert_eq!(first, line("a", inode, "5", time, "m"));
        for other in [
            line("b", inode, "5", time, "m"),
            line("a", r#""inode":"8","device_id":"1""#, "5", time, "m"),
            line("a", inode, "6", time, "m"),
            line("a", inode, "5", "2026-01-01T00:00:00.124Z", "m"),
            line("a", inode, "5", time, "n"),
        ] {
            assert!(other.is_some());
            assert_ne!(other, first);
        }
        // Nothing says where a line of another Beat is from.
        assert_eq!(id(r#"{"message":"m","agent":{"id":"a"}}"#), None);
        assert_eq!(id(r#"{"log":{"offset":1},"agent":{"id":"a"}}"#), None);
    }

    #[test]
    fn ids_that_a_beat_gives() {
        let given = |id_: &str| {
            id(&format!(
                r#"{{"message":"m","@metadata":{{"_id":"{id_}"}}}}"#
            ))
        };
        assert_eq!(given("my id").as_deref(), Some("my id"));
        assert_eq!(given(""), None);
        assert_eq!(given(&"x".repeat(501)), None);
    }
}
