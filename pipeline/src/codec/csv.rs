//! The codec `csv`: rows of fields.
//!
//! Each row is an event; a quoted field may go on over line ends. Of a stream, rows are kept whole ([`Cutter`]).
//! With `autodetect_column_names` the first row of a stream (or of whatever is decoded by itself: a request, a
//! datagram) names the columns. A piece of the stream then begins with that row, so that any worker can
//! decode it by itself.
//!
//! INVARIANT: no row is lost. One that is no CSV is the `message` of an event with the tag
//! `_csvparsefailure`; it ends at its first line end.
//!
//! COMPAT: Logstash reads the first row of what it is given and leaves the others out, and an empty row
//! stops it; here it is passed over. Names of columns are names, not references, but when an event is
//! written. Objects and arrays are written as JSON, not as Ruby shows them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bumpalo::Bump;

use super::build::{self, CodecDefaults};
use super::json::event_of;
use super::{Charset, Codec, Cutter, Decoder, Sink, set_original};
use crate::event::{Event, Name, Object, Path, Value, write_json_value};
use crate::filter::csv::convert::Conversion;
use crate::filter::csv::row::{Dialect, Scan};
use crate::filter::csv::{conversions, dialect};
use crate::language::{FieldReference, Options};
use crate::template::write_value;

/// Tag of an event whose text is no row.
const FAILURE: &[u8] = b"_csvparsefailure";

/// The codec `csv`.
#[derive(Clone, Debug)]
pub struct Csv {
    rows: Arc<Rows>,
}

/// What the options say.
#[derive(Debug)]
struct Rows {
    dialect: Dialect,
    columns: Vec<Column>,
    conversions: Box<[(Box<str>, Conversion)]>,
    autodetect: bool,
    autogenerate: bool,
    skip_empty_columns: bool,
    include_headers: bool,
    /// The headers are written.
    written: AtomicBool,
    charset: Charset,
    target: Option<FieldReference>,
    limit: usize,
    keep_original: bool,
}

/// A column that the configuration names.
#[derive(Debug)]
struct Column {
    name: Box<str>,
    /// What is written in it.
    path: Path,
}

/// The names of columns while rows are decoded; nothing where a header has left one out.
type Names<'b> = Vec<Option<(Name<'b>, Option<Conversion>)>>;

impl Csv {
    /// Reads the options of the codec.
    pub(super) fn from_options(options: &mut Options<'_>, defaults: CodecDefaults) -> Option<Self> {
        let dialect = dialect(options);
        let columns = options.strings("columns").unwrap_or_default();
        let columns = columns.into_iter().map(|column| {
            let reference = FieldReference::parse_with(&column.value, defaults.escape_style);
            Column {
                path: reference.map_or_else(
                    |_| Path::new([column.value.as_str()]),
                    |reference| Path::from(&reference),
                ),
                name: column.value.into(),
            }
        });
        let columns = columns.collect();
        let charset = build::charset(options);
        if charset.is_some_and(|charset| !charset.is_ascii_compatible()) {
            let message = "`csv` cuts at line ends before it converts, and in this character set they \
                           are not the byte 10: convert the stream before, by iconv say";
            options.error("charset", message);
        }
        let rows = Rows {
            dialect,
            columns,
            conversions: conversions(options),
            autodetect: options.boolean("autodetect_column_names").unwrap_or(false),
            autogenerate: options.boolean("autogenerate_column_names").unwrap_or(true),
            skip_empty_columns: options.boolean("skip_empty_columns").unwrap_or(false),
            include_headers: options.boolean("include_headers").unwrap_or(false),
            written: AtomicBool::new(false),
            charset: charset?,
            target: options.field("target").map(|target| target.value),
            limit: build::size_limit(options),
            keep_original: build::keep_original(options, defaults),
        };
        Some(Self {
            rows: Arc::new(rows),
        })
    }
}

impl Codec for Csv {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(CsvDecoder {
            rows: Arc::clone(&self.rows),
            detected: OnceLock::new(),
        }))
    }

    fn cutter(&self) -> Option<Box<dyn Cutter>> {
        Some(Box::new(CsvCutter {
            rows: Arc::clone(&self.rows),
            kept: Vec::new(),
            header: None,
            is_given: false,
            row: Vec::new(),
            scan: Scan::default(),
            arena: Bump::new(),
        }))
    }

    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let rows = &*self.rows;
        if rows.include_headers && !rows.written.swap(true, Ordering::Relaxed) {
            let names = event.fields.iter().map(|(name, _)| name.as_str());
            if rows.columns.is_empty() {
                rows.write(names.map(|name| Some(Value::Text(name.as_bytes()))), out);
            } else {
                let names = rows.columns.iter().map(|column| &*column.name);
                rows.write(names.map(|name| Some(Value::Text(name.as_bytes()))), out);
            }
        }
        if rows.columns.is_empty() {
            rows.write_all(event.fields.iter().map(|(_, value)| Some(value)), out);
        } else {
            rows.write_all(
                rows.columns.iter().map(|column| event.get(&column.path)),
                out,
            );
        }
    }
}

impl Rows {
    fn has_header(&self) -> bool {
        self.autodetect && self.columns.is_empty()
    }

    fn conversion(&self, name: &str) -> Option<Conversion> {
        let found = self.conversions.iter().find(|(of, _)| **of == *name);
        found.map(|(_, conversion)| *conversion)
    }

    /// The columns of the configuration.
    fn names<'b>(&self, arena: &'b Bump) -> Names<'b> {
        let names = self.columns.iter().map(|column| {
            let name = Name::copied_in(&column.name, arena);
            Some((name, self.conversion(&column.name)))
        });
        names.collect()
    }

    /// The fields of a row.
    fn fields<'b>(
        &self,
        row: &[Option<&'b [u8]>],
        names: &Names<'b>,
        sink: &Sink<'_, 'b>,
    ) -> Object<'b> {
        let arena = sink.arena;
        let mut fields = Object::with_capacity_in(row.len() + 4, arena);
        for (at, field) in row.iter().enumerate() {
            if self.skip_empty_columns && field.is_none_or(<[u8]>::is_empty) {
                continue;
            }
            let (name, conversion) = match names.get(at) {
                Some(Some(named)) => *named,
                _ if self.autogenerate => {
                    let name = arena.alloc_str(&format!("column{}", at + 1));
                    (Name::new(name), self.conversion(name))
                }
                _ => continue,
            };
            let value = match (field, conversion) {
                (None, _) => Value::Null,
                (Some(text), None) => Value::Text(text),
                (Some(text), Some(conversion)) => conversion.convert(text, sink.now, arena),
            };
            fields.set(name, value);
        }
        fields
    }

    fn write<'v>(&self, values: impl Iterator<Item = Option<Value<'v>>>, out: &mut Vec<u8>) {
        let values: Vec<Option<Value<'v>>> = values.collect();
        self.write_all(values.iter().map(Option::as_ref), out);
    }

    /// Appends a row.
    fn write_all<'v, 'e: 'v>(
        &self,
        values: impl Iterator<Item = Option<&'v Value<'e>>>,
        out: &mut Vec<u8>,
    ) {
        let mut text = Vec::new();
        for (at, value) in values.enumerate() {
            if at > 0 {
                out.extend_from_slice(&self.dialect.separator);
            }
            text.clear();
            match value {
                None | Some(Value::Null) => continue,
                Some(value @ (Value::Array(_) | Value::Object(_))) => {
                    write_json_value(value, &mut text);
                }
                Some(value) => write_value(value, &mut text),
            }
            self.write_field(&text, out);
        }
        out.push(b'\n');
    }

    /// COMPAT: quotes stand around an empty text and one in which they, separators or line ends
    /// are.
    fn write_field(&self, text: &[u8], out: &mut Vec<u8>) {
        let (quote, separator) = (&*self.dialect.quote, &*self.dialect.separator);
        let holds = |part: &[u8]| memchr::memmem::find(text, part).is_some();
        let plain = !text.is_empty()
            && memchr::memchr2(b'\n', b'\r', text).is_none()
            && !holds(quote)
            && !holds(separator);
        if plain {
            return out.extend_from_slice(text);
        }
        out.extend_from_slice(quote);
        let mut rest = text;
        while let Some(at) = memchr::memmem::find(rest, quote) {
            out.extend_from_slice(&rest[..at + quote.len()]);
            out.extend_from_slice(quote);
            rest = &rest[at + quote.len()..];
        }
        out.extend_from_slice(rest);
        out.extend_from_slice(quote);
    }
}

struct CsvDecoder {
    rows: Arc<Rows>,
    /// What the first row named the columns.
    detected: OnceLock<Vec<Option<Box<str>>>>,
}

impl CsvDecoder {
    /// The names that the first row gave.
    fn detected_names<'b>(&self, arena: &'b Bump) -> Option<Names<'b>> {
        let names = self.detected.get()?.iter().map(|name| {
            let name = name.as_deref()?;
            Some((Name::copied_in(name, arena), self.rows.conversion(name)))
        });
        Some(names.collect())
    }
}

impl Decoder for CsvDecoder {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        let rows = Arc::clone(&self.rows);
        let arena = sink.arena;
        let mut rest = rows.charset.decode(data, arena);
        let mut names = if rows.has_header() {
            self.detected_names(arena)
        } else {
            Some(rows.names(arena))
        };
        while !rest.is_empty() {
            let end = rows.dialect.end(rest, &mut Scan::default(), rows.limit);
            let row_end = match end {
                Some(Ok(end)) => Ok(end),
                _ => Err(first_line(rest)),
            };
            let (row, behind) = rest.split_at(row_end.unwrap_or_else(|end| end));
            rest = behind;
            let text = without_line_end(row);
            if text.is_empty() {
                continue;
            }
            let Ok(Ok(Some(row))) = row_end.map(|_| rows.dialect.row(text, arena)) else {
                sink.push_failure(text, FAILURE);
                continue;
            };
            let Some(names) = &names else {
                let header = row.iter().map(|name| {
                    let name = String::from_utf8_lossy((*name)?);
                    Some(name.into_owned().into())
                });
                let _there = self.detected.set(header.collect());
                names = self.detected_names(arena);
                continue;
            };
            let fields = rows.fields(&row, names, sink);
            let fields = Value::object(fields, arena);
            let mut event = event_of(fields, rows.target.as_ref(), sink);
            if rows.keep_original {
                set_original(&mut event, text, arena);
            }
            sink.events.push(event);
        }
    }
}

/// The length of the first line with its end.
fn first_line(text: &[u8]) -> usize {
    match memchr::memchr2(b'\n', b'\r', text) {
        Some(at) if text[at..].starts_with(b"\r\n") => at + 2,
        Some(at) => at + 1,
        None => text.len(),
    }
}

fn without_line_end(row: &[u8]) -> &[u8] {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    row.strip_suffix(b"\r").unwrap_or(row)
}

/// Keeps a row whose quotes are open until they are closed.
struct CsvCutter {
    rows: Arc<Rows>,
    /// The bytes of the row that has begun.
    kept: Vec<u8>,
    /// The first row, which names the columns.
    header: Option<Vec<u8>>,
    /// That row is in a piece that came out.
    is_given: bool,
    /// The row that has begun, in UTF-8.
    row: Vec<u8>,
    scan: Scan,
    /// For lines in another character set.
    arena: Bump,
}

impl CsvCutter {
    /// Takes in a line; answers whether no row is open behind it.
    fn line(&mut self, line: &[u8]) -> bool {
        let rows = Arc::clone(&self.rows);
        self.row
            .extend_from_slice(rows.charset.decode(line, &self.arena));
        while !self.row.is_empty() {
            let end = match rows.dialect.end(&self.row, &mut self.scan, rows.limit) {
                None => break,
                Some(Ok(end)) => {
                    self.look_at_header(end);
                    end
                }
                Some(Err(_)) => first_line(&self.row),
            };
            self.row.drain(..end);
            self.scan = Scan::default();
        }
        self.arena.reset();
        self.row.is_empty()
    }

    /// What stands before a piece: the first row, unless it is in the piece itself.
    fn first_row(&self) -> Vec<u8> {
        let header = self.header.as_ref().filter(|_| self.is_given);
        header.cloned().unwrap_or_default()
    }

    /// Keeps the first row of the stream, if that names the columns.
    fn look_at_header(&mut self, end: usize) {
        if !self.rows.has_header() || self.header.is_some() {
            return;
        }
        let row = without_line_end(&self.row[..end]);
        let is_row =
            !row.is_empty() && matches!(self.rows.dialect.row(row, &self.arena), Ok(Some(_)));
        if is_row {
            // Written in the character set of the stream again.
            let mut header = Vec::new();
            self.rows.charset.encode(row, &mut header);
            header.push(b'\n');
            self.header = Some(header);
        }
    }
}

impl Cutter for CsvCutter {
    fn push(&mut self, lines: Vec<u8>) -> Option<Vec<u8>> {
        let mut is_given = self.is_given;
        let (mut at, mut end) = (0, None);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            if self.line(line) {
                end = Some(at);
                is_given = self.header.is_some();
            }
        }
        let Some(end) = end else {
            self.kept.extend_from_slice(&lines);
            return None;
        };
        let mut whole = self.first_row();
        self.is_given = is_given;
        whole.append(&mut self.kept);
        whole.extend_from_slice(&lines[..end]);
        self.kept = lines[end..].to_vec();
        Some(whole)
    }

    fn flush(&mut self) -> Option<Vec<u8>> {
        let kept = std::mem::take(&mut self.kept);
        self.row.clear();
        self.scan = Scan::default();
        if kept.is_empty() {
            return None;
        }
        let mut whole = self.first_row();
        self.is_given = self.header.is_some();
        whole.extend(kept);
        Some(whole)
    }

    fn pending(&self) -> usize {
        self.kept.len() + self.row.len()
    }

    fn patience(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::build::tests::{codec, decoded, encoded, events_of};

    #[test]
    fn rows_are_events() {
        for (text, ecs, reads, expected) in [
            (
                "csv",
                false,
                &[&b"big,bird,\"sesame\nstreet\"\n\n1,,\"\""[..]][..],
                &[
                    r#"{"column1":"big","column2":"bird","column3":"sesame\nstreet"}"#,
                    r#"{"column1":"1","column2":null,"column3":""}"#,
                ][..],
            ),
            (
                "csv { columns => [first, last] target => '[csv-root]' autogenerate_column_names => false skip_empty_columns => true }",
                true,
                &[b"a,,c\r\n", b"x,y"],
                &[
                    r#"{"csv-root":{"first":"a"},"event":{"original":"a,,c"}}"#,
                    r#"{"csv-root":{"first":"x","last":"y"},"event":{"original":"x,y"}}"#,
                ],
            ),
            (
                r#"csv { separator => ";" quote_char => "'" convert => { "column1" => "integer" "column3" => "boolean" } }"#,
                false,
                &[b"12;'a;''b';FALSE"],
                &[r#"{"column1":12,"column2":"a;'b","column3":false}"#],
            ),
            (
                r#"csv { quote_char => "\x00" }"#,
                false,
                &[b"big,\"sesame\" street"],
                &[r#"{"column1":"big","column2":"\"sesame\" street"}"#],
            ),
            (
                "csv { autodetect_column_names => true convert => { size => float } }",
                false,
                &[b"size,,movie", b"1.5,bird,x,y"],
                &[r#"{"size":1.5,"column2":"bird","movie":"x","column4":"y"}"#],
            ),
            (
                "csv { charset => 'CP1252' decode_size_limit_bytes => 10 }",
                true,
                &[b"a\"b\n\x92\n\"0123\n567890\",x\n"],
                &[
                    r#"{"message":"a\"b","tags":["_csvparsefailure"]}"#,
                    r#"{"column1":"’","event":{"original":"’"}}"#,
                    r#"{"message":"\"0123","tags":["_csvparsefailure"]}"#,
                    r#"{"message":"567890\",x","tags":["_csvparsefailure"]}"#,
                ],
            ),
            // Names are names, and what an event must have it has.
            (
                r#"csv { columns => ["a.b", "[c][d]", "@timestamp", "tags"] }"#,
                false,
                &[b"1,2,no time,t"],
                &[
                    r#"{"a.b":"1","[c][d]":"2","tags":["t","_timestampparsefailure"],"_@timestamp":"no time"}"#,
                ],
            ),
        ] {
            assert_eq!(decoded(text, ecs, reads), expected, "{text}");
        }
    }

    #[test]
    fn events_are_rows() {
        let event = r#"{"a":"x,\"y\"","b":null,"c":"","d":{"e":[1,"\n"]},"f":1.5,"@timestamp":"1970-01-01T00:00:00.000Z"}"#;
        for (text, expected) in [
            (
                "csv",
                "\"x,\"\"y\"\"\",,\"\",\"{\"\"e\"\":[1,\"\"\\n\"\"]}\",1.5,1970-01-01T00:00:00.000Z\n",
            ),
            (
                "csv { columns => [f, '[d][e]', none, a] separator => ';' quote_char => \"'\" include_headers => true }",
                "f;[d][e];none;a\n1.5;[1,\"\\n\"];;x,\"y\"\n",
            ),
        ] {
            assert_eq!(encoded(text, event), expected, "{text}");
        }
        let codec = codec("csv { include_headers => true }", false).unwrap();
        let arena = bumpalo::Bump::new();
        let now = crate::event::Timestamp::new(0, 0);
        let mut out = Vec::new();
        for text in [r#"{"a":1}"#, r#"{"b":2}"#] {
            let mut event = crate::event::Event::from_json(text.as_bytes(), now, &arena).unwrap();
            event.fields.remove(&crate::event::TIMESTAMP);
            event.fields.remove(&crate::event::VERSION);
            codec.encode(&event, &mut out);
        }
        assert_eq!(String::from_utf8_lossy(&out), "a\n1\n2\n");
    }

    proptest! {
        /// The pieces of a stream, each decoded by itself, are its rows.
        #[test]
        fn a_stream_is_cut_between_rows(
            chunks in prop::collection::vec(prop::collection::vec(prop::sample::select(b"a,\"\r\n\xff".to_vec()), 0..20), 0..6),
            limit in 1usize..30,
            header: bool,
        ) {
            let codec = codec(&format!("csv {{ decode_size_limit_bytes => {limit} autodetect_column_names => {header} }}"), true).unwrap();
            // Inputs give whole lines.
            let chunks: Vec<Vec<u8>> = chunks.into_iter().map(|mut chunk| { chunk.push(b'\n'); chunk }).collect();
            let mut cutter = codec.cutter().unwrap();
            let mut pieces: Vec<_> = chunks.iter().filter_map(|chunk| cutter.push(chunk.clone())).collect();
            pieces.extend(cutter.flush());
            prop_assert_eq!(cutter.pending(), 0);
            if !header {
                prop_assert_eq!(pieces.concat(), chunks.concat());
            }
            prop_assert_eq!(events_of(&*codec, &pieces, true), events_of(&*codec, &[chunks.concat()], false));
        }
    }
}
