//! The wire: a window of access log lines, encoded and decoded, compressed and bare.
//!
//! Throughput is given in bytes of the events, so that the figures of the compressed and of the
//! bare window can be compared.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skidder_lumberjack::native::{LineBuilder, NativeCompression, SourceFields};
use skidder_lumberjack::{
    ByteBudget, Compression, Decoder, EncodedWindow, Limits, Payload, Step, Version, Window,
    WindowBuilder,
};

const EVENTS: usize = 2048;

/// Lines of about 190 bytes that differ as those of a busy site do.
fn lines() -> Vec<String> {
    const PATHS: [&str; 5] = [
        "/",
        "/images/logo.png",
        "/search",
        "/api/v1/orders",
        "/static/app.js",
    ];
    // A linear congruential generator: the same lines in every run.
    let mut state = 1_u32;
    let mut random = move |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    (0..EVENTS)
        .map(|number| {
            format!(
                "{}.{}.{}.{} - - [23/Nov/2026:10:{:02}:{:02} +0000] \"GET {}?id={} HTTP/1.1\" \
                 200 {} \"https://www.example.com/start\" \"Mozilla/5.0 (X11; Linux x86_64; \
                 rv:{}.0) Gecko/20100101 Firefox/{}.0\"",
                random(223) + 1,
                random(256),
                random(256),
                random(256),
                number / 60 % 60,
                number % 60,
                PATHS[random(5) as usize],
                random(100_000),
                random(60_000),
                random(40) + 100,
                random(40) + 100,
            )
        })
        .collect()
}

fn json_events(lines: &[String]) -> Vec<Vec<u8>> {
    lines
        .iter()
        .enumerate()
        .map(|(offset, line)| {
            let event = serde_json::json!({
                "message": line,
                "host": "app-01",
                "file": "/var/log/nginx/access.log",
                "offset": offset * 190,
            });
            event.to_string().into_bytes()
        })
        .collect()
}

fn encode(
    builder: &mut WindowBuilder,
    version: Version,
    lines: &[String],
    json: &[Vec<u8>],
) -> EncodedWindow {
    match version {
        Version::V1 => {
            for line in lines {
                let pairs: [(&[u8], &[u8]); 4] = [
                    (b"file", b"/var/log/nginx/access.log"),
                    (b"host", b"app-01"),
                    (b"offset", b"123456"),
                    (b"line", line.as_bytes()),
                ];
                builder.push_pairs(pairs).expect("fits");
            }
        }
        Version::V2 => {
            for event in json {
                builder.push_json(event).expect("fits");
            }
        }
        Version::Native => unreachable!("it has a builder of its own"),
    }
    builder.finish()
}

fn decode(decoder: &mut Decoder, mut bytes: &[u8]) -> Window {
    loop {
        let taken = decoder.feed(bytes);
        bytes = &bytes[taken..];
        match decoder.step().expect("valid") {
            Step::Window(window) => return window,
            Step::NeedInput => {}
            Step::NeedMemory(_) => unreachable!("the budget is unlimited"),
        }
    }
}

fn wire(criterion: &mut Criterion) {
    let lines = lines();
    let json = json_events(&lines);
    let mut group = criterion.benchmark_group("lumberjack");
    for version in [Version::V1, Version::V2] {
        for (name, compression) in [
            ("bare", Compression::None),
            ("zlib 3", Compression::Zlib { level: 3 }),
        ] {
            let mut builder = WindowBuilder::new(version, compression);
            let window = encode(&mut builder, version, &lines, &json);
            let mut decoder =
                Decoder::new(Limits::default(), ByteBudget::new(usize::MAX).account());
            let decoded = decode(&mut decoder, &window.bytes);
            let payload: usize = decoded
                .events
                .iter()
                .map(|event| match &event.payload {
                    Payload::Json(json) => json.len(),
                    Payload::Pairs(pairs) => pairs.body().len(),
                    Payload::Line(line) => line.text.len(),
                })
                .sum();
            assert_eq!(decoded.events.len(), EVENTS);
            drop(decoded);
            group.throughput(Throughput::Bytes(payload as u64));
            group.bench_function(format!("encode v{version} {name}"), |bencher| {
                bencher.iter(|| black_box(encode(&mut builder, version, &lines, &json)));
            });
            group.bench_function(format!("decode v{version} {name}"), |bencher| {
                // The window is dropped within the time: its memory is used for the next one.
                bencher.iter(|| decode(&mut decoder, black_box(&window.bytes)).events.len());
            });
        }
    }
    group.finish();
}

/// The same lines by the native framing, as a forwarder has them.
fn encode_native(builder: &mut LineBuilder, lines: &[String]) -> EncodedWindow {
    for (index, line) in lines.iter().enumerate() {
        let describe = |fields: SourceFields<'_>| {
            let before = [
                (&b"host"[..], &b"app-01"[..]),
                (b"file", b"/var/log/nginx/access.log"),
            ];
            fields.write(b"m0JXq7yJr2cVbY4d", before.into_iter(), [].into_iter());
        };
        let offset = index as u64 * 190;
        builder
            .push(1, describe, 0, offset, line.as_bytes(), [].into_iter())
            .expect("fits");
    }
    builder.finish()
}

fn native(criterion: &mut Criterion) {
    let lines = lines();
    let bytes: usize = lines.iter().map(String::len).sum();
    let mut group = criterion.benchmark_group("lumberjack");
    group.throughput(Throughput::Bytes(bytes as u64));
    for (name, compression) in [
        ("bare", NativeCompression::None),
        ("zstd 1", NativeCompression::Zstd { level: 1 }),
    ] {
        let mut builder = LineBuilder::new(compression, EVENTS as u32);
        let first = encode_native(&mut builder, &lines);
        let window = encode_native(&mut builder, &lines);
        let mut decoder = Decoder::new(Limits::default(), ByteBudget::new(usize::MAX).account());
        // It names the source, which the other one does not.
        assert_eq!(decode(&mut decoder, &first.bytes).events.len(), EVENTS);
        group.bench_function(format!("encode native {name}"), |bencher| {
            bencher.iter(|| black_box(encode_native(&mut builder, &lines)));
        });
        group.bench_function(format!("decode native {name}"), |bencher| {
            bencher.iter(|| decode(&mut decoder, black_box(&window.bytes)).events.len());
        });
    }
    group.finish();
}

criterion_group!(benches, wire, native);
criterion_main!(benches);
