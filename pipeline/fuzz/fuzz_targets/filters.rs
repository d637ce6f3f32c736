//! Any bytes in the fields of an event, through every filter: nothing panics, what is kept of an event is bounded,
//! and whatever comes out can be written.
#![no_main]

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use skidder_pipeline::event::{Event, MESSAGE, Name, Timestamp, Value, write_json};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::{CompileOptions, Files, Pipeline, compile};

#[path = "../../tests/support/mmdb.rs"]
mod mmdb;

const NOW: Timestamp = Timestamp::new(1_700_000_000, 0);
/// Memory of an event that came as one of a few hundred bytes: much more than any filter needs for it.
const MOST_BYTES: usize = 64 << 20;

/// Each filter with as many of its options as go together.
const FILTERS: &[&str] = &[
    "aggregate { task_id => '%{a}' code => \"map['n'] ||= 0; map['n'] += 1; map['m'] = event.get('message')\" push_previous_map_as_event => true timeout => 5 }",
    "anonymize { fields => [message, 'a'] algorithm => SHA1 key => 'k' }",
    "bytes { source => message target => bytes }",
    "cidr { address => ['%{message}', '%{a}'] network => ['10.0.0.0/8', '::/0'] add_tag => in }",
    "clone { clones => [one, two] }",
    "csv { convert => { column1 => integer column2 => float column3 => boolean column4 => date_time } }",
    "csv { autodetect_column_names => true quote_char => \"'\" separator => ';' skip_empty_columns => true }",
    "date { match => [message, 'ISO8601', 'UNIX', 'UNIX_MS', 'TAI64N', 'dd/MMM/yyyy:HH:mm:ss Z', 'MMM d HH:mm:ss', 'yyyy-MM-dd HH:mm:ss,SSS z'] timezone => 'Europe/Vienna' target => when }",
    "date { match => [message, 'EEEE d MMMM yyyy HH:mm', \"xxxx-'W'ww-'e'\", 'yyyyDDDHHmmss'] locale => fr target => when }",
    "de_dot { nested => true }",
    "dedupe { }",
    "dissect { mapping => { message => '%{a} %{+a/2} %{?b}=%{&b} [%{c->}] %{+a/1}' } convert_datatype => { 'c' => int } }",
    "drop { percentage => 50 }",
    "elapsed { start_tag => 's' end_tag => 'e' unique_id_field => 'a' timeout => 5 }",
    "fingerprint { source => [message, 'a'] concatenate_sources => true method => SHA256 key => 'k' }",
    "fingerprint { source => message method => IPV4_NETWORK key => 16 }",
    "geoip { source => message target => geo database => '/city' }",
    "grok { match => { message => ['%{COMBINEDAPACHELOG}', '%{SYSLOGLINE}', '%{IP:ip} %{NUMBER:n:int} %{QUOTEDSTRING:q}', '(?<x>a+)b\\k<x>'] } overwrite => [message] }",
    "json { source => message target => json }",
    "json { source => message }",
    "json_encode { source => 'a' target => text }",
    "kv { source => message field_split => ' &;' value_split => '=:' trim_key => '<> ' include_brackets => true recursive => true transform_key => lowercase }",
    "kv { source => message field_split_pattern => '\\s*,\\s*' whitespace => strict allow_duplicate_values => false prefix => p_ }",
    "metrics { meter => ['%{a}'] timer => { 't' => '%{message}' } }",
    "mutate { convert => { message => integer 'a' => float 'b' => boolean } }",
    "mutate { gsub => [message, '[aeiou]+', '<\\0>', 'a', '(.)(.)', '\\2\\1'] split => { 'b' => ',' } join => { 'b' => ';' } merge => { 'a' => message } rename => { message => '[x][y]' } copy => { 'a' => 'c' } capitalize => ['b'] strip => ['a'] }",
    "prune { interpolate => true whitelist_names => ['%{a}', 'm'] blacklist_values => { 'b' => '%{a}' } }",
    "redact { }",
    "split { field => message terminator => ',' target => part }",
    "syslog_pri { syslog_pri_field_name => message }",
    "throttle { key => '%{message}' after_count => 2 add_tag => often }",
    "tld { source => message suffix_list => '/suffixes' }",
    "translate { source => message target => 't' dictionary => { 'a' => '1' '^b.*' => '2' } regex => true fallback => '%{a}' }",
    "truncate { length_bytes => 5 }",
    "urldecode { all_fields => true charset => 'UTF-8' }",
    "useragent { source => message target => ua }",
    "uuid { target => id }",
    "xml { source => message target => xml xpath => { '//a/@b' => 'x' } force_array => false }",
    "if [message] =~ /a.c/ and [a] in [b] or ![c] { mutate { add_field => { '%{a}' => '%{[b][c]} %{+YYYY.MM.dd} %{message}' } add_tag => ['%{b}'] remove_field => ['%{message}'] } }",
];

struct Databases;

impl Files for Databases {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        Ok(if path == Path::new("/city") {
            mmdb::cities()
        } else {
            b"com\nco.uk\n*.ck\n!www.ck\n".to_vec()
        })
    }

    fn list(&self, _directory: &Path) -> std::io::Result<Vec<PathBuf>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

fn compiled(filter: &str) -> Pipeline {
    let sources = SourceMap::single("fuzz", format!("filter {{ {filter} }}"));
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files: &Databases,
    };
    compile(&config, &options, &mut diagnostics)
        .unwrap_or_else(|| panic!("{}", diagnostics.render(&sources, false)))
}

thread_local! {
    static PIPELINES: RefCell<Vec<(Pipeline, Scratch)>> = RefCell::new(
        FILTERS.iter().map(|filter| (compiled(filter), Scratch::default())).collect()
    );
}

/// A field's value: of the type that the first byte says.
fn value<'b>(bytes: &'b [u8], arena: &'b Bump) -> Value<'b> {
    let text = bytes.get(1..).unwrap_or_default();
    match bytes.first().map(|first| first % 8) {
        Some(0) => Value::Integer(text.iter().fold(0, |all, byte| {
            i64::wrapping_add(i64::wrapping_mul(all, 256), i64::from(*byte))
        })),
        Some(1) => Value::Float(text.first_chunk().map_or(0.5, |eight| f64::from_le_bytes(*eight))),
        Some(2) => Value::Boolean(text.is_empty()),
        Some(3) => {
            let mut array = skidder_pipeline::event::Array::new_in(arena);
            array.extend(text.split(|byte| *byte == b',').map(Value::Text));
            Value::array(array, arena)
        }
        Some(4) => {
            let mut object = skidder_pipeline::event::Object::new_in(arena);
            object.push_new(Name::new("c"), Value::Text(text));
            Value::object(object, arena)
        }
        Some(5) => Value::Time(Timestamp::new(i64::from(text.len() as u32), 7)),
        _ => Value::Text(text),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else {
        return;
    };
    // The message, and two more fields behind zero bytes.
    let mut parts = rest.splitn(3, |byte| *byte == 0);
    let message = parts.next().unwrap_or_default();
    let (a, b) = (parts.next(), parts.next());
    PIPELINES.with_borrow_mut(|pipelines| {
        let count = pipelines.len();
        let (pipeline, scratch) = &mut pipelines[usize::from(which) % count];
        let arena = Bump::new();
        let mut out = Vec::new();
        // Twice: some remember.
        for _ in 0..2 {
            let mut event = Event::with_timestamp_in(NOW, &arena);
            event.fields.push_new(MESSAGE, Value::Text(message));
            for (name, bytes) in [("a", a), ("b", b)] {
                if let Some(bytes) = bytes {
                    event.fields.push_new(Name::new(name), value(bytes, &arena));
                }
            }
            pipeline.filters.run(event, &arena, NOW, scratch, |event| {
                out.clear();
                write_json(&event, &mut out);
            });
        }
        let bytes = arena.allocated_bytes();
        assert!(bytes <= MOST_BYTES, "{bytes} bytes by {}", FILTERS[usize::from(which) % count]);
    });
});
