//! No captured field costs a heap allocation, nor does what is looked up or hashed, shown by an allocator
//! that counts.
//!
//! One test, alone in its binary, so that nothing else allocates beside it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bumpalo::Bump;
use skidder_pipeline::event::{Event, MESSAGE, Timestamp, Value, write_json};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{Diagnostics, EscapeStyle, ParseOptions, SourceMap, parse};
use skidder_pipeline::{CompileOptions, Files, Pipeline, compile};

#[path = "support/mmdb.rs"]
mod mmdb;

/// The system's allocator with a count of its calls.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator cannot be written without; it only counts"
)]
// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout, through `alloc` or `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `pointer` came from `System` with this layout, through `alloc` or `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONFIG: &str = r#"filter {
    if [message] =~ /HTTP/ {
        grok { match => { "message" => "%{COMBINEDAPACHELOG}" } }
        date { match => [ "timestamp", "dd/MMM/yyyy:HH:mm:ss Z" ] }
        mutate { convert => { "bytes" => "integer" } remove_field => [ "timestamp" ] add_tag => [ "web" ] }
    }
}"#;

const LINE: &[u8] = br#"216.160.83.56 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif?a=1 HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)""#;

/// What looks something up, once a worker has met the values.
const ENRICHMENT: &str = r#"filter {
    grok { match => { "message" => "%{COMBINEDAPACHELOG}" } }
    translate { source => "response" target => "text" dictionary => { "200" => "OK" "404" => "Not Found" } }
    translate { source => "message" target => "redacted" exact => false dictionary => { "frank" => "someone" } }
    cidr { address => ["%{clientip}"] network => ["10.0.0.0/8", "216.0.0.0/8"] add_tag => ["near"] }
    geoip { source => "clientip" database => "/city" }
    useragent { source => "agent" target => "ua" }
    fingerprint { method => "SHA256" key => "secret" }
    fingerprint { source => ["clientip", "verb"] concatenate_sources => true method => "MURMUR3" target => "hash" }
    redact { fields => ["request"] }
    throttle { key => "%{clientip}" after_count => 5 }
    dedupe { drop => false }
    truncate { length_bytes => 100 }
}"#;

/// A database of cities, whatever is asked for.
struct Cities;

impl Files for Cities {
    fn read(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
        Ok(mmdb::cities())
    }

    fn list(&self, _directory: &Path) -> std::io::Result<Vec<PathBuf>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// Filters, a line for them and how many fields it becomes at least.
const CASES: [(&str, &[u8], usize); 6] = [
    (CONFIG, LINE, 13),
    (ENRICHMENT, LINE, 21),
    (
        r#"filter { dissect { mapping => { "message" => '%{ip} %{} %{user} [%{day} %{+day}] "%{verb->} %{path}"%{rest}' } } }"#,
        LINE,
        9,
    ),
    (
        "filter { kv { } }",
        br#"IN=eth0 OUT=eth1 SRC=10.0.0.1 SRC=10.0.0.2 LEN = 60 MARK="a b" NOTE=(c d)"#,
        9,
    ),
    (
        r#"filter { json { source => "message" } }"#,
        br#"{"level":"info","msg":"a \"b\"","order":{"id":4711,"items":["nut"]},"took":12}"#,
        7,
    ),
    (
        r#"filter { csv { columns => ["id", "[a][name]"] convert => { "id" => "integer" } } }"#,
        br#"4711,"Doe, ""Ann""",,x,99.5"#,
        8,
    ),
];

fn pipeline(config: &str) -> Pipeline {
    let sources = SourceMap::single("test", config);
    let mut diagnostics = Diagnostics::new();
    let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
    let options = CompileOptions {
        ecs: false,
        escape_style: EscapeStyle::None,
        files: &Cities,
    };
    let pipeline = compile(&config, &options, &mut diagnostics);
    pipeline.unwrap_or_else(|| panic!("{}", diagnostics.render(&sources, false)))
}

/// How many heap allocations so many events cost, and how many fields the last one has.
fn allocations(config: &str, line: &'static [u8], events: usize) -> (u64, usize) {
    let pipeline = pipeline(config);
    let mut arena = Bump::with_capacity(1 << 20);
    let mut scratch = Scratch::default();
    let mut body = Vec::with_capacity(4 << 20);
    let mut fields = 0;
    // The first round builds the automaton and grows the buffers, the second is what counts.
    let mut calls = 0;
    for _ in 0..2 {
        let before = CALLS.load(Ordering::Relaxed);
        body.clear();
        for _ in 0..events {
            {
                let arena = &arena;
                let now = Timestamp::new(1_700_000_000, 0);
                let mut event = Event::with_timestamp_in(now, arena);
                event.fields.push_new(MESSAGE, Value::Text(line));
                pipeline
                    .filters
                    .run(event, arena, now, &mut scratch, |event| {
                        fields = event.fields.len();
                        write_json(&event, &mut body);
                        body.push(b'\n');
                    });
            }
            arena.reset();
        }
        calls = CALLS.load(Ordering::Relaxed) - before;
    }
    (calls, fields)
}

#[test]
fn fields_of_a_line_allocate_nothing() {
    const EVENTS: usize = 1000;
    for (config, line, least) in CASES {
        let (calls, fields) = allocations(config, line, EVENTS);
        assert!(
            fields >= least,
            "all fields are there: {fields} of {config}"
        );
        assert_eq!(
            calls, 0,
            "{calls} heap allocations for {EVENTS} events: {config}"
        );
    }
}
