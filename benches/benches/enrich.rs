//! Filters that look something up or hash: the cost for one event, beside that of an event without
//! a filter.
//!
//! Texts repeat as they do in logs: a thousand different addresses and user agents, all of which a
//! cache holds; the cases without a cache say so.

#[path = "../../pipeline/tests/support/mmdb.rs"]
mod mmdb;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bumpalo::Bump;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skidder_benches::access_log::AccessLog;
use skidder_benches::pipelines::{NOW, compiled};
use skidder_pipeline::Files;
use skidder_pipeline::event::{Event, MESSAGE, Name, Value};
use skidder_pipeline::filter::Scratch;

/// Different events.
const EVENTS: usize = 1000;

/// Keys of the dictionary.
const KEYS: usize = 100_000;

/// A dictionary and a database.
struct Memory;

impl Files for Memory {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        if path == Path::new("/city.mmdb") {
            return Ok(mmdb::cities());
        }
        let mut text = String::new();
        for key in 0..KEYS {
            writeln!(text, "key{key},the value of {key}").expect("memory");
        }
        Ok(text.into_bytes())
    }

    fn list(&self, _directory: &Path) -> std::io::Result<Vec<PathBuf>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// What an event has: a line, a key, an address, a user agent.
struct Fields {
    line: Vec<u8>,
    key: String,
    address: String,
    agent: String,
}

fn events() -> Vec<Fields> {
    let lines = AccessLog::new(7).lines(EVENTS);
    lines
        .into_iter()
        .enumerate()
        .map(|(number, line)| {
            let text = String::from_utf8_lossy(&line);
            let agent = text.rsplit('"').nth(1).unwrap_or_default();
            Fields {
                agent: format!("{agent} ({number})"),
                key: format!("key{}", number * 97 % KEYS),
                address: format!("216.160.83.{}", 56 + number % 8),
                line,
            }
        })
        .collect()
}

fn enrichment(criterion: &mut Criterion) {
    let events = events();
    let mut group = criterion.benchmark_group("enrich");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for (name, filters) in [
        ("no filter", ""),
        (
            "translate, 100k keys",
            "translate { source => 'key' target => 'text' dictionary_path => '/d.csv' }",
        ),
        (
            "translate, 3 expressions",
            "translate { source => 'key' target => 'text' regex => true dictionary => { '^x' => '1' '^y' => '2' '^key' => '3' } }",
        ),
        ("fingerprint, SHA1", "fingerprint { }"),
        (
            "fingerprint, SHA256 with key",
            "fingerprint { method => 'SHA256' key => 'secret' }",
        ),
        ("fingerprint, MD5", "fingerprint { method => 'MD5' }"),
        (
            "fingerprint, MURMUR3",
            "fingerprint { method => 'MURMUR3' }",
        ),
        ("uuid", "uuid { target => 'id' }"),
        (
            "geoip",
            "geoip { source => 'address' database => '/city.mmdb' }",
        ),
        (
            "useragent",
            "useragent { source => 'agent' target => 'ua' }",
        ),
        (
            "useragent, no cache",
            "useragent { source => 'agent' target => 'ua' lru_cache_size => 1 }",
        ),
        (
            "cidr, 3 networks",
            "cidr { address => '%{address}' network => ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'] }",
        ),
        ("redact", "redact { }"),
        ("throttle", "throttle { key => '%{key}' after_count => 5 }"),
        ("dedupe", "dedupe { drop => false }"),
    ] {
        let pipeline = compiled(filters, &Memory);
        let mut arena = Bump::new();
        let mut scratch = Scratch::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                arena.reset();
                let mut fields = 0;
                for each in &events {
                    let arena = &arena;
                    let mut event = Event::with_timestamp_in(NOW, arena);
                    let text = |text: &'_ str| Value::copied_text(text.as_bytes(), arena);
                    event
                        .fields
                        .push_new(MESSAGE, Value::copied_text(&each.line, arena));
                    event.fields.push_new(Name::new("key"), text(&each.key));
                    event
                        .fields
                        .push_new(Name::new("address"), text(&each.address));
                    event.fields.push_new(Name::new("agent"), text(&each.agent));
                    pipeline
                        .filters
                        .run(event, arena, NOW, &mut scratch, |event| {
                            fields += event.fields.len();
                        });
                }
                fields
            });
        });
    }
    group.finish();
}

criterion_group!(benches, enrichment);
criterion_main!(benches);
