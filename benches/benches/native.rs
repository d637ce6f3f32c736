//! What packs the windows of the native framing: bytes on the wire and time, for each line.
//!
//! The same windows by each packer: access log lines and lines of applications, with the head that the framing puts
//! before them. `v2` is the window of Lumberjack version 2 with zlib, which the native one must not exceed. The bytes
//! of a line are in the names; the time is for the whole window.
//!
//! ```text
//! cargo bench -p skidder-benches --bench native
//! ```

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use libdeflater::{CompressionLvl, Compressor as Zlib};
use skidder_benches::access_log::AccessLog;
use skidder_benches::app_log::AppLog;
use skidder_lumberjack::native::{LineBuilder, NativeCompression, SourceFields};
use skidder_lumberjack::{Compression, Version, WindowBuilder};
use zstd::bulk::Compressor as Zstd;

const EVENTS: usize = 2048;
/// Before the body of a window.
const HEADER_BYTES: usize = 24;
/// The levels of zstd; the lower, the faster.
const LEVELS: [i32; 8] = [3, 2, 1, -1, -2, -3, -5, -10];

/// A packer and its buffer; gives the number of bytes.
type Pack = Box<dyn FnMut(&[u8]) -> usize>;

fn app_lines() -> Vec<Vec<u8>> {
    let mut log = AppLog::new(7);
    (0..EVENTS).map(|_| log.java().into_bytes()).collect()
}

/// A window that names no source, as all but the first of a connection.
fn native(builder: &mut LineBuilder, lines: &[Vec<u8>]) -> Vec<u8> {
    let mut offset = 0;
    for line in lines {
        let describe = |fields: SourceFields<'_>| {
            let before = [
                (&b"host"[..], &b"app-01"[..]),
                (b"file", b"/var/log/app.log"),
            ];
            fields.write(b"m0JXq7yJr2cVbY4d", before.into_iter(), [].into_iter());
        };
        let read_at = 1_764_100_000_123;
        let pushed = builder.push(1, describe, read_at, offset, line, [].into_iter());
        pushed.expect("fits");
        offset += line.len() as u64 + 1;
    }
    builder.finish().bytes.to_vec()
}

fn version_2(builder: &mut WindowBuilder, lines: &[Vec<u8>]) -> usize {
    let mut offset = 0;
    for line in lines {
        let event = serde_json::json!({
            "@timestamp": "2026-11-23T19:45:00.123Z",
            "message": String::from_utf8_lossy(line),
            "host": "app-01",
            "file": "/var/log/app.log",
            "offset": offset.to_string(),
            "@metadata": {"stream": "m0JXq7yJr2cVbY4d"},
        });
        builder
            .push_json(event.to_string().as_bytes())
            .expect("fits");
        offset += line.len() + 1;
    }
    builder.finish().bytes.len()
}

fn packers() -> Vec<(String, Pack)> {
    let mut packers: Vec<(String, Pack)> = Vec::new();
    for level in LEVELS {
        let mut zstd = Zstd::new(level).expect("a compressor");
        let mut out = Vec::new();
        let pack = move |body: &[u8]| {
            out.resize(zstd::zstd_safe::compress_bound(body.len()), 0);
            zstd.compress_to_buffer(body, &mut out).expect("packs")
        };
        packers.push((format!("zstd {level}"), Box::new(pack)));
    }
    let mut zlib = Zlib::new(CompressionLvl::new(1).expect("a level"));
    let mut out = Vec::new();
    let pack = move |body: &[u8]| {
        out.resize(zlib.zlib_compress_bound(body.len()), 0);
        zlib.zlib_compress(body, &mut out).expect("packs")
    };
    packers.push(("zlib 1".to_owned(), Box::new(pack)));
    let mut out = Vec::new();
    let pack = move |body: &[u8]| {
        out.resize(lz4_flex::block::get_maximum_output_size(body.len()), 0);
        lz4_flex::block::compress_into(body, &mut out).expect("packs")
    };
    packers.push(("lz4".to_owned(), Box::new(pack)));
    packers
}

fn packing(criterion: &mut Criterion) {
    for (kind, lines) in [
        ("access", AccessLog::new(7).lines(EVENTS)),
        ("java", app_lines()),
    ] {
        let bytes: usize = lines.iter().map(Vec::len).sum();
        let mut builder = LineBuilder::new(NativeCompression::None, EVENTS as u32);
        native(&mut builder, &lines);
        let window = native(&mut builder, &lines);
        let body = &window[HEADER_BYTES..];
        let mut zlib = WindowBuilder::new(Version::V2, Compression::Zlib { level: 1 });
        let of_version_2 = version_2(&mut zlib, &lines);
        let each = |bytes: usize| format!("{:.1} bytes a line", bytes as f64 / EVENTS as f64);
        let mut group = criterion.benchmark_group(format!("{kind}, {}", each(bytes)));
        group.throughput(Throughput::Elements(EVENTS as u64));
        group.bench_function(format!("not packed, {}", each(body.len())), |bencher| {
            bencher.iter(|| black_box(native(&mut builder, &lines)).len());
        });
        for (name, mut pack) in packers() {
            let packed = HEADER_BYTES + pack(body);
            group.bench_function(format!("{name}, {}", each(packed)), |bencher| {
                bencher.iter(|| pack(black_box(body)));
            });
        }
        group.bench_function(format!("v2 zlib 1, {}", each(of_version_2)), |bencher| {
            bencher.iter(|| version_2(&mut zlib, black_box(&lines)));
        });
        group.finish();
    }
}

criterion_group!(benches, packing);
criterion_main!(benches);
