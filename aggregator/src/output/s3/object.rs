//! An object: which events it has, what it is called, and its bytes while it grows.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::GzBuilder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::columns::Columns;
use super::row::Record;
use super::table::Table;

/// Bytes of a part of a multipart upload, all but the last. S3 wants 5 MiB at least, and 10,000 parts at most.
pub(super) const PART_BYTES: usize = 8 << 20;

/// What a gzip encoder takes, about.
const GZIP_BYTES: usize = 320 << 10;

/// What a zstd encoder takes, about, with its window.
const ZSTD_BYTES: usize = 2 << 20;

/// Level and window (as a power of two) of zstd: an encoder for each open object must not take much memory.
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW_LOG: u32 = 19;

/// Longest filled prefix: a key has 1024 bytes at most, with the name of the object.
pub(super) const MAX_PREFIX_BYTES: usize = 512;

/// Where an event stands in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Position {
    /// The sequence number of its record.
    pub(super) record: u64,
    /// Its place in the record.
    pub(super) event: u32,
}

/// Which events an object has, and where it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) key: String,
    pub(super) partition: String,
    pub(super) first: Position,
    pub(super) last: Position,
    pub(super) events: u64,
}

/// `format` and `encoding`: what the bytes of an object are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    None,
    Gzip,
    Zstd,
    /// Columns, whose pages are as they are.
    Parquet,
    /// Columns, whose pages are packed.
    ParquetZstd,
}

impl Encoding {
    /// How names of such objects end.
    fn extension(self) -> &'static str {
        match self {
            Self::None => "txt",
            Self::Gzip => "txt.gz",
            Self::Zstd => "txt.zst",
            Self::Parquet => "parquet",
            Self::ParquetZstd => "zstd.parquet",
        }
    }

    /// The encoding of an object with this key: it stays what it was when the options change.
    pub(super) fn of_key(key: &str) -> Self {
        // The last one's name is an end of that before it.
        let named = [Self::Gzip, Self::Zstd, Self::ParquetZstd, Self::Parquet];
        let mut named = named
            .into_iter()
            .filter(|encoding| key.ends_with(encoding.extension()));
        named.next().unwrap_or_default()
    }

    /// Whether objects of it have columns.
    pub(super) fn has_columns(self) -> bool {
        matches!(self, Self::Parquet | Self::ParquetZstd)
    }

    /// The value of `Content-Encoding`.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Parquet | Self::ParquetZstd => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

impl Plan {
    /// The plan of an object that begins at `time`, which is written as it goes into the name.
    ///
    /// COMPAT: names are those of Logstash, `ls.s3.<id>.<time>[.tag_a.b].part0.txt`. There the id is random, and the time
    /// that of the file; here both follow from the events.
    pub(super) fn new(
        salt: u64,
        partition: &str,
        (first, last, events): (Position, Position, u64),
        (time, tags, encoding): (&str, &[String], Encoding),
    ) -> Self {
        let identity = format!(
            "{salt:016x} {}.{} {}.{} {events} {partition}",
            first.record, first.event, last.record, last.event
        );
        let id = uuid(xxh3_128(identity.as_bytes()));
        let tags = if tags.is_empty() {
            String::new()
        } else {
            format!(".tag_{}", tags.join("."))
        };
        let extension = encoding.extension();
        Self {
            key: format!("{partition}ls.s3.{id}.{time}{tags}.part0.{extension}"),
            partition: partition.to_owned(),
            first,
            last,
            events,
        }
    }
}

/// 128 bits as an id is usually written.
fn uuid(bits: u128) -> String {
    let digits = format!("{bits:032x}");
    let pieces = [0..8, 8..12, 12..16, 16..20, 20..32];
    pieces.map(|piece| &digits[piece]).join("-")
}

/// The partition of a filled prefix: what keys begin with, a folder with its slash, or nothing.
///
/// COMPAT: as in Logstash, no slash in front, one between prefix and name, and `_` for four characters.
/// Beyond it `_` for control characters, and for the segments `.` and `..`, which servers and tools take for directions.
pub(super) fn partition(filled: &[u8]) -> String {
    let text = String::from_utf8_lossy(filled);
    let plain = |character: char| {
        if character.is_control() || "^`><".contains(character) {
            '_'
        } else {
            character
        }
    };
    let text: String = text.chars().map(plain).collect();
    let segments = text.trim_matches('/').split('/');
    let segments = segments.map(|segment| match segment {
        "." | ".." => "_",
        other => other,
    });
    let mut text = segments.collect::<Vec<_>>().join("/");
    if text.len() > MAX_PREFIX_BYTES {
        // What is cut off still makes it another partition.
        let hash = xxh3_128(text.as_bytes());
        text.truncate(text.floor_char_boundary(MAX_PREFIX_BYTES - 33));
        text = format!("{text}~{hash:032x}");
    }
    if !text.is_empty() {
        text.push('/');
    }
    text
}

/// The bytes of an object that grows.
pub(super) struct Body(Encoder);

enum Encoder {
    None(Parts),
    Gzip(GzEncoder<Parts>),
    Zstd(zstd::stream::write::Encoder<'static, Parts>),
    Parquet(Box<Table>),
}

impl Body {
    /// The body of a new object. The columns are for those that have some.
    pub(super) fn new(encoding: Encoding, columns: &Columns) -> io::Result<Self> {
        let parts = Parts::default();
        Ok(Self(match encoding {
            Encoding::None => Encoder::None(parts),
            Encoding::Gzip => {
                // Without a time or a system in its header: the same events make the same bytes.
                let builder = GzBuilder::new().operating_system(255);
                Encoder::Gzip(builder.write(parts, flate2::Compression::default()))
            }
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(parts, ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW_LOG)?;
                Encoder::Zstd(encoder)
            }
            Encoding::Parquet => Encoder::Parquet(Box::new(Table::new(parts, columns, false)?)),
            Encoding::ParquetZstd => Encoder::Parquet(Box::new(Table::new(parts, columns, true)?)),
        }))
    }

    /// Takes an event, in the form that this object is of.
    pub(super) fn add(&mut self, record: Record<'_>) -> io::Result<()> {
        match &mut self.0 {
            Encoder::None(parts) => parts.write_all(record.text()),
            Encoder::Gzip(encoder) => encoder.write_all(record.text()),
            Encoder::Zstd(encoder) => encoder.write_all(record.text()),
            Encoder::Parquet(table) => match record {
                Record::Row(row) => table.add(row),
                Record::Text(_, row) => table.add(&row()),
            },
        }
    }

    /// Bytes of the object so far. What an encoder of text still has in it is not counted; rows that wait for their
    /// columns to be written are, by a guess.
    pub(super) fn stored_bytes(&self) -> usize {
        match &self.0 {
            Encoder::Parquet(table) => table.stored_bytes(),
            _ => self.parts().bytes,
        }
    }

    /// Memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        let encoder = match &self.0 {
            Encoder::None(_) => 0,
            Encoder::Gzip(_) => GZIP_BYTES,
            Encoder::Zstd(_) => ZSTD_BYTES,
            Encoder::Parquet(table) => table.held_bytes(),
        };
        encoder + self.parts().bytes
    }

    /// The bytes, in parts of [`PART_BYTES`] and a last one.
    pub(super) fn finish(self) -> io::Result<Vec<Bytes>> {
        let parts = match self.0 {
            Encoder::None(parts) => parts,
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
            Encoder::Parquet(table) => table.finish()?,
        };
        let mut all = parts.full;
        if !parts.last.is_empty() || all.is_empty() {
            all.push(parts.last.into());
        }
        Ok(all)
    }

    fn parts(&self) -> &Parts {
        match &self.0 {
            Encoder::None(parts) => parts,
            Encoder::Gzip(encoder) => encoder.get_ref(),
            Encoder::Zstd(encoder) => encoder.get_ref(),
            Encoder::Parquet(table) => table.parts(),
        }
    }
}

/// Bytes in pieces of which each can be sent by itself.
#[derive(Default)]
pub(super) struct Parts {
    full: Vec<Bytes>,
    last: Vec<u8>,
    /// Of all of them.
    pub(super) bytes: usize,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PART_BYTES - self.last.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.last.extend_from_slice(taken);
        self.bytes += taken.len();
        if self.last.len() == PART_BYTES {
            self.full.push(std::mem::take(&mut self.last).into());
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::row::Row;
    use super::*;

    fn at(record: u64, event: u32) -> Position {
        Position { record, event }
    }

    fn text(text: &[u8]) -> Record<'_> {
        Record::Text(text, &Row::default)
    }

    fn empty(encoding: Encoding) -> Body {
        Body::new(encoding, &Columns::default()).unwrap()
    }

    fn plan(salt: u64, partition: &str, first: Position, last: Position, events: u64) -> Plan {
        let name = ("2026-11-25T10.00", &[] as &[String], Encoding::Gzip);
        Plan::new(salt, partition, (first, last, events), name)
    }

    #[test]
    fn the_key_follows_from_what_is_in_the_object() {
        let one = plan(7, "logs/", at(1, 0), at(9, 3), 100);
        assert_eq!(one, plan(7, "logs/", at(1, 0), at(9, 3), 100));
        let name = one.key.strip_prefix("logs/ls.s3.").unwrap();
        let (id, rest) = name.split_once('.').unwrap();
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(rest, "2026-11-25T10.00.part0.txt.gz");
        for other in [
            plan(8, "logs/", at(1, 0), at(9, 3), 100),
            plan(7, "logs/", at(1, 1), at(9, 3), 100),
            plan(7, "logs/", at(1, 0), at(9, 4), 100),
            plan(7, "logs/", at(1, 0), at(9, 3), 99),
        ] {
            assert_ne!(one.key, other.key);
        }
        let tags = ["a".to_owned(), "b".to_owned()];
        let name = ("2026-11-25T10.00", &tags[..], Encoding::None);
        let tagged = Plan::new(7, "", (at(1, 0), at(1, 0), 1), name);
        assert!(tagged.key.ends_with(".2026-11-25T10.00.tag_a.b.part0.txt"));
        assert_eq!(Encoding::of_key(&one.key), Encoding::Gzip);
        assert_eq!(Encoding::of_key(&tagged.key), Encoding::None);
        for encoding in [Encoding::Zstd, Encoding::Parquet, Encoding::ParquetZstd] {
            let name = ("2026-11-25T10.00", &tags[..], encoding);
            let Plan { key, .. } = Plan::new(7, "", (at(1, 0), at(1, 0), 1), name);
            assert_eq!(Encoding::of_key(&key), encoding, "{key}");
            assert_eq!(key.ends_with(".parquet"), encoding.has_columns(), "{key}");
        }
    }

    #[test]
    fn a_prefix_is_a_folder_and_leads_nowhere_else() {
        for (filled, expected) in [
            ("", ""),
            ("/", ""),
            ("logs", "logs/"),
            ("/logs/2026/11/", "logs/2026/11/"),
            ("a/../../b/./c", "a/_/_/b/_/c/"),
            ("a<b>^`\n", "a_b____/"),
            ("%{missing}/ü", "%{missing}/ü/"),
        ] {
            assert_eq!(partition(filled.as_bytes()), expected, "{filled}");
        }
        let long = |end: char| format!("{}{end}", "ü".repeat(400));
        let (one, other) = (
            partition(long('1').as_bytes()),
            partition(long('2').as_bytes()),
        );
        assert!(one.len() <= MAX_PREFIX_BYTES + 1, "{}", one.len());
        assert_ne!(one, other);
    }

    #[test]
    fn every_encoding_gives_back_what_went_in_and_the_same_bytes_each_time() {
        let lines: Vec<String> = (0..200_000)
            .map(|number| {
                format!(
                    "{{\"number\":{number},\"hash\":{}}}\n",
                    number * 7919 % 100_003
                )
            })
            .collect();
        let made = |encoding| {
            let mut body = empty(encoding);
            for line in &lines {
                body.add(text(line.as_bytes())).unwrap();
            }
            assert!(body.held_bytes() >= body.stored_bytes());
            body.finish().unwrap().concat()
        };
        for encoding in [Encoding::None, Encoding::Gzip, Encoding::Zstd] {
            let bytes = made(encoding);
            assert_eq!(bytes, made(encoding));
            let mut text = String::new();
            match encoding {
                Encoding::None => text = String::from_utf8(bytes).unwrap(),
                Encoding::Gzip => {
                    // One member: some readers stop after the first.
                    let mut decoder = flate2::read::GzDecoder::new(bytes.as_slice());
                    decoder.read_to_string(&mut text).unwrap();
                }
                Encoding::Zstd => {
                    let mut decoder = zstd::stream::read::Decoder::new(bytes.as_slice())
                        .unwrap()
                        .single_frame();
                    decoder.read_to_string(&mut text).unwrap();
                }
                Encoding::Parquet | Encoding::ParquetZstd => unreachable!(),
            }
            assert!(text == lines.concat(), "{encoding:?}");
        }
    }

    #[test]
    fn parts_have_the_size_that_the_server_wants() {
        let mut body = empty(Encoding::None);
        let piece = vec![b'x'; 3 << 20];
        for _ in 0..6 {
            body.add(text(&piece)).unwrap();
        }
        let sizes: Vec<usize> = body.finish().unwrap().iter().map(Bytes::len).collect();
        assert_eq!(sizes, [PART_BYTES, PART_BYTES, 2 << 20]);
        let exact = {
            let mut body = empty(Encoding::None);
            body.add(text(&vec![b'x'; PART_BYTES])).unwrap();
            body.finish().unwrap()
        };
        assert_eq!(exact.len(), 1);
    }
}
