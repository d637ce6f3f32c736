//! The pieces of the hot path after the frame: a time read, a template filled, an event written, and all of it
//! together on access log lines: grok, `date`, the line of a bulk request.
//!
//! Each figure is for one event; that of the whole pipeline has the throughput in events.

use std::hint::black_box;

use bumpalo::Bump;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skidder_benches::access_log::AccessLog;
use skidder_benches::pipelines::{NOW, bulk_body, compiled};
use skidder_pipeline::NoFiles;
use skidder_pipeline::event::{Event, Name, Value};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::EscapeStyle;
use skidder_pipeline::template::Template;
use skidder_pipeline::time::{Format, Locale, Reading, Zone};

fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("date");
    let paris = Zone::find("Europe/Paris").expect("the time zone database has Paris");
    let locale = Locale::find("en").expect("English is there");
    for (name, format, text, zone) in [
        (
            "httpdate",
            "dd/MMM/yyyy:HH:mm:ss Z",
            "14/Nov/2023:22:13:20 +0100",
            &Zone::UTC,
        ),
        ("iso8601", "ISO8601", "2023-11-14T22:13:20.123Z", &Zone::UTC),
        ("syslog", "MMM dd HH:mm:ss", "Nov 14 22:13:20", &Zone::UTC),
        (
            "syslog in paris",
            "MMM dd HH:mm:ss",
            "Nov 14 22:13:20",
            &paris,
        ),
        (
            "any pattern",
            "yyyy-MM-dd HH:mm:ss,SSS",
            "2023-11-14 22:13:20,123",
            &Zone::UTC,
        ),
        ("unix", "UNIX", "1700000000.123", &Zone::UTC),
    ] {
        let format = Format::parse(format).expect("the format is right");
        let reading = Reading {
            zone,
            locale,
            now: NOW,
        };
        assert!(format.read_text(text.as_bytes(), &reading).is_some());
        group.bench_function(name, |bencher| {
            bencher.iter(|| format.read_text(black_box(text.as_bytes()), black_box(&reading)));
        });
    }
    group.finish();
}

fn templates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("template");
    let arena = Bump::new();
    let mut event = Event::with_timestamp_in(NOW, &arena);
    event.fields.set(Name::new("type"), Value::Text(b"access"));
    for (name, text) in [
        ("index by day", "logs-%{+YYYY.MM.dd}"),
        ("field", "logs-%{type}"),
    ] {
        let template = Template::parse(text, EscapeStyle::None).expect("the template is right");
        let mut out = Vec::with_capacity(64);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                template.write(black_box(&event), NOW, &mut out);
                out.len()
            });
        });
    }
    group.finish();
}

const PIPELINE: &str = r#"
    grok { match => { "message" => "%{COMBINEDAPACHELOG}" } }
    date { match => [ "timestamp", "dd/MMM/yyyy:HH:mm:ss Z" ] }
    mutate { convert => { "bytes" => "integer" } remove_field => [ "timestamp" ] }
"#;

fn pipelines(criterion: &mut Criterion) {
    const LINES: usize = 1000;
    let lines = AccessLog::new(7).lines(LINES);
    let index = Template::parse("logs-%{+YYYY.MM.dd}", EscapeStyle::None).expect("a template");
    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(LINES as u64));
    for (name, config) in [
        ("bulk body alone", ""),
        (
            "grok",
            r#"grok { match => { "message" => "%{COMBINEDAPACHELOG}" } }"#,
        ),
        ("grok, date, mutate", PIPELINE),
    ] {
        let pipeline = compiled(config, &NoFiles);
        let mut arena = Bump::new();
        let mut scratch = Scratch::default();
        let mut body = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                arena.reset();
                body.clear();
                bulk_body(&pipeline, &index, &lines, &arena, &mut scratch, &mut body);
                body.len()
            });
        });
        let tagged = memchr::memmem::find(&body, b"failure").is_some();
        assert!(!tagged, "{name}: a line was not parsed");
    }
    group.finish();
}

criterion_group!(benches, times, templates, pipelines);
criterion_main!(benches);
