//! Filters that cut a line into fields: `dissect`, `kv`, `json` and `csv`, each on the kind of line it
//! is for, beside the pipeline without any filter; and `script`, from a call that does nothing to a loop.
//!
//! Each figure is for one event; throughput is in bytes of lines.

use std::hint::black_box;

use bumpalo::Bump;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skidder_benches::pipelines::{NOW, compiled};
use skidder_pipeline::event::{Event, MESSAGE, Value};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::{NoFiles, Pipeline};

/// A line of an access log.
const ACCESS: &str = r#"203.0.113.77 - frank [23/Nov/2026:19:30:00 +0000] "GET /products/4711?ref=start HTTP/1.1" 200 5316 "https://shop.example.com/start" "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0""#;

/// A line of a firewall.
const PAIRS: &str = r#"IN=eth0 OUT=eth1 MAC=00:16:3e:5e:6c:00 SRC=203.0.113.77 DST=198.51.100.4 LEN=60 TOS=0x00 PREC=0x00 TTL=51 ID=43211 PROTO=TCP SPT=44321 DPT=443 WINDOW=29200 RES=0x00 MARK="a b""#;

/// A line of an application.
const JSON: &str = r#"{"level":"info","logger":"shop.checkout","thread":"worker-7","msg":"order placed","order":{"id":4711,"total":99.5,"items":["nut","bolt"]},"took_ms":12,"ok":true,"user":null}"#;

/// A row of an export.
const ROW: &str = r#"4711,2026-11-23,"Doe, Ann",ann@example.com,DE,99.50,3,paid,,"said ""thanks""",203.0.113.77,web"#;

/// How many fields one line becomes.
fn fields<'b>(
    pipeline: &'b Pipeline,
    line: &'b str,
    arena: &'b Bump,
    scratch: &mut Scratch,
) -> usize {
    let mut event = Event::with_timestamp_in(NOW, arena);
    event.fields.push_new(MESSAGE, Value::Text(line.as_bytes()));
    let mut fields = 0;
    pipeline.filters.run(event, arena, NOW, scratch, |event| {
        fields = event.fields.len();
    });
    fields
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filters");
    for (name, filter, line, expected) in [
        ("none", "", ACCESS, 3),
        (
            "dissect access log",
            r#"dissect { mapping => { "message" => '%{clientip} %{ident} %{auth} [%{timestamp}] "%{verb} %{request} HTTP/%{httpversion}" %{response} %{bytes} "%{referrer}" "%{agent}"' } }"#,
            ACCESS,
            14,
        ),
        ("kv firewall", "kv { }", PAIRS, 19),
        (
            "kv firewall, by patterns",
            r#"kv { field_split_pattern => "\s+" value_split_pattern => "=" }"#,
            PAIRS,
            19,
        ),
        (
            "json application",
            r#"json { source => "message" }"#,
            JSON,
            11,
        ),
        (
            "csv export",
            r#"csv { columns => ["id", "day", "name", "mail", "country", "total", "items", "state", "note", "said", "ip", "via"] }"#,
            ROW,
            15,
        ),
        (
            "csv export, converted",
            r#"csv { columns => ["id", "day", "name", "mail", "country", "total", "items", "state", "note", "said", "ip", "via"] convert => { "id" => "integer" "total" => "float" "items" => "integer" } }"#,
            ROW,
            15,
        ),
        ("script nothing", "script { code => '' }", ACCESS, 3),
        (
            "script reads and sets",
            r#"script { code => 'event:set("length", #event:get("message"))' }"#,
            ACCESS,
            4,
        ),
        (
            "script pairs",
            r#"script { code => 'for k, v in event:get("message"):gmatch("(%u+)=(%S+)") do event:set(k, v) end' }"#,
            PAIRS,
            19,
        ),
    ] {
        let pipeline = compiled(filter, &NoFiles);
        let mut arena = Bump::new();
        let mut scratch = Scratch::default();
        assert_eq!(
            fields(&pipeline, line, &arena, &mut scratch),
            expected,
            "{name}"
        );
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                arena.reset();
                black_box(fields(&pipeline, black_box(line), &arena, &mut scratch))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
