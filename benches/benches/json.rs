//! Reading the JSON of a Beats event into an event of a batch, beside `serde_json::Value`.

use std::hint::black_box;

use bumpalo::Bump;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skidder_pipeline::event::{Event, JsonLimits, Timestamp, read_json};

/// What a light shipper sends: five fields, the message being a line of an access log (about 190 bytes).
const LIGHT: &str = r#"{"@timestamp":"2026-11-23T19:30:00.123Z","@metadata":{"beat":"filebeat","version":"9.1.0"},"message":"203.0.113.77 - - [23/Nov/2026:19:30:00 +0000] \"GET /products/4711?ref=start HTTP/1.1\" 200 5316 \"https://shop.example.com/start\" \"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0\"","host":{"name":"web-17"},"log":{"offset":73914,"file":{"path":"/var/log/access.log"}}}"#;

/// The same with no escapes in the message, as most lines have none.
const PLAIN: &str = r#"{"@timestamp":"2026-11-23T19:30:00.123Z","@metadata":{"beat":"filebeat","version":"9.1.0"},"message":"Nov 23 19:30:00 web-17 kernel: [123456.789012] IN=eth0 OUT= MAC=00:16:3e:5e:6c:00:52:54:00:12:34:56:08:00 SRC=203.0.113.77 DST=198.51.100.4 LEN=60 TOS=0x00 PREC=0x00 TTL=51 ID=43211 DF PROTO=TCP","host":{"name":"web-17"},"log":{"offset":73914,"file":{"path":"/var/log/access.log"}}}"#;

fn read(criterion: &mut Criterion) {
    let now = Timestamp::new(1_700_000_000, 0);
    for (name, text) in [("escaped", LIGHT), ("plain", PLAIN)] {
        let text = text.as_bytes();
        let mut group = criterion.benchmark_group(format!("json_read/{name}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("event", |bencher| {
            let mut arena = Bump::new();
            bencher.iter(|| {
                arena.reset();
                let event = Event::from_json(black_box(text), now, &arena);
                black_box(event.is_ok_and(|event| event.fields.len() == 5))
            });
        });
        group.bench_function("value", |bencher| {
            let mut arena = Bump::new();
            bencher.iter(|| {
                arena.reset();
                let value = read_json(black_box(text), JsonLimits::default(), &arena);
                black_box(value.is_ok())
            });
        });
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| {
                black_box(serde_json::from_slice::<serde_json::Value>(black_box(text)).is_ok())
            });
        });
        group.finish();
    }
}

criterion_group!(benches, read);
criterion_main!(benches);
