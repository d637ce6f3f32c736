//! The event on the wire: one line with its identity, as JSON (version 2) or as pairs (version 1).
//!
//! The JSON is written by hand, straight into the buffer of the window: everything of it that
//! does not change from line to line is prepared once per file. Text that is not UTF-8 goes
//! through with each invalid sequence replaced by U+FFFD; the offset still counts raw bytes.
//!
//! A line is known by its stream and its offset there, wherever the file goes and however often the
//! line is sent. INVARIANT: what is another content is another stream, see [`StreamId`].

use std::io::Write;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use skidder_lumberjack::native::{NESTED, SourceFields};
use skidder_lumberjack::write_escaped;

use crate::batch::Field;
use crate::cloud::facts::{self, Facts};

/// The name of one run of content: a file from its beginning until it is truncated or rewritten.
///
/// It is random, not made of what the file system tells: an inode comes back, a truncated file keeps
/// its own, and a receiver that knows a line already leaves it out. The registry keeps it, and has it
/// on the disk before the first line is sent under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(String);

impl StreamId {
    /// A name that no other stream has; `None` if the system has no random numbers to give.
    pub fn random() -> Option<Self> {
        let mut bytes = [0; STREAM_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(base64(&bytes)))
    }

    /// The name of a stream that is known by what it is: always the same for the same parts.
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Context::new(&SHA256);
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Self(base64(&hash.finish().as_ref()[..STREAM_BYTES]))
    }

    /// Its 16 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Bytes of a name, a multiple of three.
const STREAM_BYTES: usize = 12;

/// Of a multiple of three bytes.
fn base64(bytes: &[u8]) -> String {
    let digits = bytes.chunks_exact(3).flat_map(|three| {
        let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        [18, 12, 6, 0].map(|shift| BASE64[(word >> shift & 63) as usize] as char)
    });
    digits.collect()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Where a line comes from, with the parts of its events that are always the same.
#[derive(Debug)]
pub struct Source {
    /// Unique for one run of the process; a truncated file becomes a new source.
    pub id: u64,
    /// Whether the registry keeps its position (standard input has none).
    pub persistent: bool,
    /// The name of its stream.
    pub stream: Option<StreamId>,
    /// The path that its events carry.
    pub path: PathBuf,
    /// `","host":"…","file":"…","offset":"`
    middle: Vec<u8>,
    /// `","field":"value"}`
    end: Vec<u8>,
    /// The pairs before the offset, in the order of version 1.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The pairs of the config, then what is known of the host.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many of these are of the config.
    own_fields: usize,
}

impl Source {
    /// Prepares the constant parts for the lines of one file.
    ///
    /// COMPAT: a field named `host` or `file` takes the place of the event's own, as the last of
    /// two equal keys does for a receiver of version 1.
    pub fn new(
        id: u64,
        persistent: bool,
        file: &Path,
        hostname: &str,
        fields: &[(String, String)],
    ) -> Self {
        let path = file.to_owned();
        let file = file.as_os_str().as_encoded_bytes();
        let own = [("host", hostname.as_bytes()), ("file", file)];
        let own = || {
            own.iter()
                .filter(|(name, _)| !fields.iter().any(|(field, _)| field == name))
        };
        let mut middle = vec![b'"'];
        for (name, value) in own() {
            write_member(&mut middle, name.as_bytes(), value);
        }
        middle.extend_from_slice(b",\"offset\":\"");
        let mut end = vec![b'"'];
        for (name, value) in fields {
            write_member(&mut end, name.as_bytes(), value.as_bytes());
        }
        end.push(b'}');
        let mut pairs: Vec<_> = own()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
            .collect();
        pairs.reverse();
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.clone().into(), value.clone().into()))
            .collect();
        // There is one of them for each file, which may be many.
        middle.shrink_to_fit();
        Self {
            id,
            persistent,
            stream: None,
            path,
            middle,
            end,
            pairs,
            own_fields: fields.len(),
            fields,
        }
    }

    /// The same with the name of its stream, which events of version 2 carry.
    ///
    /// In the metadata, which Logstash does not put out: documents have no further field.
    #[must_use]
    pub fn with_stream(mut self, stream: Option<StreamId>) -> Self {
        let taken = self.fields.iter().any(|(name, _)| name == b"@metadata");
        if let Some(stream) = stream.filter(|_| !taken) {
            self.end.pop();
            self.end.extend_from_slice(b",\"@metadata\":{\"stream\":\"");
            write_escaped(&mut self.end, stream.as_str().as_bytes());
            self.end.extend_from_slice(b"\"}}");
            self.end.shrink_to_fit();
            self.stream = Some(stream);
        }
        self
    }

    /// The same with what is known of the host, except what fields of the config say otherwise.
    #[must_use]
    pub fn with_facts(mut self, facts: Option<&Facts>) -> Self {
        let taken = |name: &str| {
            let top = name.split('.').next().unwrap_or(name).as_bytes();
            self.fields.iter().any(|(field, _)| field == top)
        };
        let facts: Vec<_> = facts.map_or(&[][..], Facts::pairs).iter().collect();
        let facts: Vec<_> = facts.into_iter().filter(|(name, _)| !taken(name)).collect();
        if facts.is_empty() {
            return self;
        }
        let object = facts::nested(facts.iter().map(|(name, value)| (name.as_str(), value)));
        let members = object.to_string();
        // The inside of the object, in place of the end of ours.
        self.end.pop();
        self.end.push(b',');
        self.end.extend_from_slice(&members.as_bytes()[1..]);
        let pairs = facts.into_iter().cloned();
        let pairs = pairs.map(|(name, value)| (name.into_bytes(), value.into_bytes()));
        self.fields.extend(pairs);
        self
    }

    /// Appends the event of version 2: one JSON object.
    pub fn write_json(&self, json: &mut Vec<u8>, timestamp: &[u8], text: &[u8], offset: u64) {
        json.reserve(64 + text.len() + self.middle.len() + self.end.len());
        json.extend_from_slice(b"{\"@timestamp\":\"");
        json.extend_from_slice(timestamp);
        json.extend_from_slice(b"\",\"message\":\"");
        write_escaped(json, text);
        json.extend_from_slice(&self.middle);
        let mut digits = [0; 20];
        json.extend_from_slice(decimal(offset, &mut digits));
        json.extend_from_slice(&self.end);
    }

    /// What all lines have in common, for the native framing.
    pub fn describe(&self, description: SourceFields<'_>) {
        let stream = self.stream.as_ref().map_or("", StreamId::as_str);
        let own = self.pairs.iter().rev().map(as_slices);
        let mut after = self.fields.clone();
        // What is known of the host is objects, in the order in which they write their members.
        let facts = &mut after[self.own_fields..];
        for (name, _) in facts.iter_mut() {
            for byte in name.iter_mut().filter(|byte| **byte == b'.') {
                *byte = NESTED as u8;
            }
        }
        facts.sort();
        description.write(stream.as_bytes(), own, after.iter().map(as_slices));
    }

    /// The pairs of the event of version 1; `offset` as [`decimal`] writes it.
    ///
    /// COMPAT: logstash-forwarder's order: file, host, offset, line, then the fields.
    pub fn pairs<'a>(
        &'a self,
        text: &'a [u8],
        offset: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let own = self.pairs.iter().map(as_slices);
        let line = [(&b"offset"[..], offset), (&b"line"[..], text)];
        own.chain(line).chain(self.fields.iter().map(as_slices))
    }
}

/// Adds fields to an event of version 2 that has just been written.
///
/// Fields of one object have to follow each other.
pub fn write_fields(json: &mut Vec<u8>, fields: &[Field]) {
    let end = json.pop();
    let mut open: Vec<&str> = Vec::new();
    for (name, value) in fields {
        let (path, name) = name.rsplit_once(NESTED).unwrap_or(("", name));
        let parts = path.split(NESTED).filter(|part| !part.is_empty());
        let shared = parts.clone().zip(&open).take_while(|(a, b)| a == *b);
        let shared = shared.count();
        json.extend(open.drain(shared..).map(|_| b'}'));
        for part in parts.skip(shared) {
            write_name(json, part.as_bytes());
            json.push(b'{');
            open.push(part);
        }
        write_member(json, name.as_bytes(), value);
    }
    json.extend(open.iter().map(|_| b'}'));
    json.extend(end);
}

fn as_slices(pair: &(Vec<u8>, Vec<u8>)) -> (&[u8], &[u8]) {
    (&pair.0, &pair.1)
}

fn write_member(json: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_name(json, name);
    json.push(b'"');
    write_escaped(json, value);
    json.push(b'"');
}

fn write_name(json: &mut Vec<u8>, name: &[u8]) {
    if json.last() != Some(&b'{') {
        json.push(b',');
    }
    json.push(b'"');
    write_escaped(json, name);
    json.extend_from_slice(b"\":");
}

/// The digits of a number, without formatting machinery: this runs once per event.
pub fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// RFC 3339 in UTC with milliseconds, of milliseconds since 1970.
pub fn timestamp(milliseconds: i64) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    let timestamp = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    // Writing to a vector cannot fail.
    write!(text, "{timestamp:.3}").unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_event_of_version_2() {
        let file = Path::new("/var/log/a \"b\".log");
        let source = Source::new(1, true, file, "web1", &fields(&[("type", "apache")]));
        let mut json = Vec::new();
        source.write_json(
            &mut json,
            &timestamp(1_700_000_000_123),
            b"GET \"/\"\x01\xff",
            1234,
        );
        let expected = "{\"@timestamp\":\"2023-11-14T22:13:20.123Z\",\
            \"message\":\"GET \\\"/\\\"\\u0001\u{fffd}\",\"host\":\"web1\",\
            \"file\":\"/var/log/a \\\"b\\\".log\",\"offset\":\"1234\",\"type\":\"apache\"}";
        assert_eq!(String::from_utf8(json).expect("valid"), expected);
    }

    #[test]
    fn the_name_of_the_stream_is_metadata_and_never_the_same() {
        let stream = StreamId::random().expect("random");
        assert_eq!(stream.as_str().len(), 16);
        assert_ne!(StreamId::random().as_ref(), Some(&stream));
        let source = Source::new(1, true, Path::new("/a"), "h", &fields(&[("type", "x")]));
        let source = source.with_stream(Some(stream.clone()));
        let mut json = Vec::new();
        source.write_json(&mut json, b"t", b"m", 7);
        write_fields(&mut json, &[("stream".into(), b"stdout".to_vec())]);
        let event: serde_json::Value = serde_json::from_slice(&json).expect("valid");
        assert_eq!(event["@metadata"]["stream"], stream.as_str());
        assert_eq!(event["stream"], "stdout");
        assert_eq!(event["type"], "x");
    }

    #[test]
    fn the_event_of_version_1() {
        let source = Source::new(1, true, Path::new("/a"), "h", &fields(&[("type", "x")]));
        let mut digits = [0; 20];
        let pairs: Vec<_> = source
            .pairs(b"text", decimal(u64::MAX, &mut digits))
            .map(|(key, value)| {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                (text(key), text(value))
            })
            .collect();
        let expected = fields(&[
            ("file", "/a"),
            ("host", "h"),
            ("offset", "18446744073709551615"),
            ("line", "text"),
            ("type", "x"),
        ]);
        assert_eq!(pairs, expected);
    }

    #[test]
    fn fields_of_one_event() {
        let source = Source::new(1, true, Path::new("/a"), "h", &fields(&[("type", "x")]));
        let mut json = Vec::new();
        source.write_json(&mut json, b"t", b"m", 0);
        write_fields(
            &mut json,
            &[
                ("stream".into(), b"std\"out".to_vec()),
                ("time".into(), b"now".to_vec()),
            ],
        );
        let text = String::from_utf8(json).expect("valid");
        assert!(
            text.ends_with(r#","type":"x","stream":"std\"out","time":"now"}"#),
            "{text}"
        );
    }

    #[test]
    fn fields_of_several_parts_are_objects() {
        let mut json = b"{}".to_vec();
        let names = ["a\0b\0c", "a\0b\0d", "a\0e", "f", "g\0h", "g\0i\0j", "k\0l"];
        let fields: Vec<Field> = names.map(|name| (name.into(), b"v".to_vec())).into();
        write_fields(&mut json, &fields);
        let expected = r#"{"a":{"b":{"c":"v","d":"v"},"e":"v"},"f":"v","g":{"h":"v","i":{"j":"v"}},"k":{"l":"v"}}"#;
        assert_eq!(String::from_utf8(json).expect("text"), expected);
    }

    #[test]
    fn a_field_may_replace_the_host() {
        let source = Source::new(1, true, Path::new("/a"), "h", &fields(&[("host", "other")]));
        let mut json = Vec::new();
        source.write_json(&mut json, b"t", b"m", 0);
        let text = String::from_utf8(json).expect("valid");
        assert_eq!(text.matches("\"host\"").count(), 1, "{text}");
        assert!(text.contains("\"host\":\"other\""), "{text}");
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_they_are(number: u64) {
            let mut digits = [0; 20];
            let expected = number.to_string();
            prop_assert_eq!(decimal(number, &mut digits), expected.as_bytes());
        }
    }
}
