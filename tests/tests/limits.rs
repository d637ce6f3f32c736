//! What the daemons may use: memory of the forwarder, time to the first event.
//!
//! Measured on the binaries of the profile the tests run with; a release build uses less of
//! both.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use skidder_lumberjack::{Compression, Version, WindowBuilder};
use skidder_tests::daemon::{Daemon, Program};
use skidder_tests::environment::loopback;
use skidder_tests::site::{Site, elasticsearch_output};
use skidder_tests::stub::{Reply, Stub};
use skidder_tests::wait;
use skidder_tests::writers::Plan;

const DEADLINE: Duration = Duration::from_mins(3);
const MIB: u64 = 1 << 20;
/// The forwarder's peak while it ships.
const MAX_SHIPPING: u64 = 20 * MIB;
/// The forwarder with nothing to do.
const MAX_IDLE: u64 = 10 * MIB;
/// The forwarder without libraries, as a file.
const MAX_STATIC: u64 = 6 * MIB;
/// From the start of the process to its first event on standard output.
const MAX_START: Duration = Duration::from_millis(50);

#[test]
#[ignore = "builds a release, and needs Rust's target and the C compiler for musl"]
fn the_static_forwarder_is_small() {
    const TARGET: &str = "x86_64-unknown-linux-musl";
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .current_dir(workspace)
        .args([
            "build",
            "--profile",
            "host",
            "--locked",
            "-p",
            "skidder-forwarder",
        ])
        .args(["--target", TARGET])
        .status()
        .unwrap();
    assert!(built.success());
    let binary = workspace.join(format!("target/{TARGET}/host/skidder-forwarder"));
    let size = std::fs::metadata(&binary).unwrap().len();
    println!("{size} bytes, {:.2} MiB", size as f64 / MIB as f64);
    assert!(size < MAX_STATIC, "{size} bytes");
    let version = Command::new(&binary).arg("--version").output().unwrap();
    assert!(version.status.success());
    let headers = Command::new("readelf").arg("-lW").arg(&binary).output();
    let headers = String::from_utf8(headers.unwrap().stdout).unwrap();
    assert!(headers.contains("DYNAMIC") && !headers.contains("INTERP"));
}

#[test]
fn the_forwarder_stays_small() {
    const LINES: u64 = 200_000;
    let (site, stub) = (Site::new().unwrap(), Stub::counting().unwrap());
    let output = elasticsearch_output(&stub.host(), "small", "");
    let mut aggregator = site.aggregator(&output).unwrap();
    aggregator.start_listening(site.port).unwrap();
    std::fs::write(site.log(), "the first line\n").unwrap();
    let mut forwarder = site.forwarder().unwrap();
    forwarder.start().unwrap();
    // Idle: everything is set up, connected, and one line has gone through.
    stub.wait_for_taken(1, DEADLINE).unwrap();
    let idle = forwarder.process().unwrap().usage().unwrap();

    let more = Plan::new(&site.log(), LINES);
    more.write().unwrap();
    stub.wait_for_taken(LINES + 1, DEADLINE).unwrap();
    let shipped = forwarder.process().unwrap().usage().unwrap();
    println!(
        "idle {:.1} MiB; after {LINES} lines: peak {:.1} MiB, {:.2} us of processor time a line",
        idle.resident as f64 / MIB as f64,
        shipped.peak_resident as f64 / MIB as f64,
        shipped
            .processor
            .saturating_sub(idle.processor)
            .as_secs_f64()
            * 1e6
            / LINES as f64,
    );
    assert!(idle.resident < MAX_IDLE, "{idle:?}");
    assert!(shipped.peak_resident < MAX_SHIPPING, "{shipped:?}");
}

#[test]
fn a_slow_cluster_does_not_make_the_daemons_grow() {
    const LINES: u64 = 400_000;
    let site = Site::new().unwrap();
    // Nothing is taken at all: everything waits, first in the aggregator, then in the file.
    let stub = Stub::scripted(|_| Reply::refuse(429)).unwrap();
    let output = elasticsearch_output(&stub.host(), "slow", "");
    let mut aggregator = site.aggregator(&output).unwrap();
    aggregator.start_listening(site.port).unwrap();
    Plan::new(&site.log(), LINES).write().unwrap();
    let mut forwarder = site.forwarder().unwrap();
    forwarder.start().unwrap();
    wait::until("some refusals", DEADLINE, || {
        let counts = stub.counts();
        if counts.requests >= 6 {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    })
    .unwrap();
    let forwarder_usage = forwarder.process().unwrap().usage().unwrap();
    let aggregator_usage = aggregator.process().unwrap().usage().unwrap();
    println!(
        "held back: forwarder {:.1} MiB, aggregator {:.1} MiB",
        forwarder_usage.peak_resident as f64 / MIB as f64,
        aggregator_usage.peak_resident as f64 / MIB as f64
    );
    assert!(
        forwarder_usage.peak_resident < MAX_SHIPPING,
        "{forwarder_usage:?}"
    );
    assert_eq!(stub.counts().taken, 0);
}

/// What connections may hold in the test below: received and not yet delivered.
const BUDGET: u64 = 32 * MIB;
/// The aggregator's peak then: the budget once as received and once as bulk requests, the events
/// that the workers have in hand, and the process itself. Measured: 180 MiB with 10, 40 and 100
/// connections alike.
const MAX_HELD_BACK: u64 = 256 * MIB;

#[test]
fn many_connections_do_not_make_the_aggregator_grow() {
    const CONNECTIONS: usize = 60;
    const WINDOWS: usize = 4;
    let site = Site::new().unwrap();
    let stub = Stub::scripted(|_| Reply::refuse(503)).unwrap();
    let mut input = site.input();
    (input.identity, input.client_authority) = (None, None);
    let pipeline = format!("{input}{}", elasticsearch_output(&stub.host(), "many", ""));
    let mut aggregator = Daemon::aggregator(site.path(), "aggregator", &pipeline)
        .unwrap()
        .with_arguments(&["--queue.max_memory_bytes", &BUDGET.to_string()]);
    aggregator.start_listening(site.port).unwrap();

    // Windows of 5 MB; all together more than thirty times what may be held.
    let event = format!(r#"{{"message":"{}"}}"#, "x".repeat(500));
    let mut window = WindowBuilder::new(Version::V2, Compression::None);
    for _ in 0..10_000 {
        window.push_json(event.as_bytes()).unwrap();
    }
    let bytes = window.finish().bytes;
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(loopback(site.port)).unwrap();
                // Back-pressure shows as a write that does not end; that is the point, not an
                // error.
                stream
                    .set_write_timeout(Some(Duration::from_secs(5)))
                    .unwrap();
                for part in
                    std::iter::repeat_n(&bytes, WINDOWS).flat_map(|bytes| bytes.chunks(64 << 10))
                {
                    if stream.write_all(part).is_err() {
                        break;
                    }
                    sent.fetch_add(part.len() as u64, Ordering::Relaxed);
                }
                wait::until("the cluster to be asked several times", DEADLINE, || {
                    let counts = stub.counts();
                    if counts.requests >= 4 {
                        Ok(())
                    } else {
                        Err(format!("{counts:?}"))
                    }
                })
                .unwrap();
            });
        }
    });
    let usage = aggregator.process().unwrap().usage().unwrap();
    println!(
        "{CONNECTIONS} connections, {} MiB taken off them: peak {:.1} MiB",
        sent.load(Ordering::Relaxed) / MIB,
        usage.peak_resident as f64 / MIB as f64
    );
    assert!(usage.peak_resident < MAX_HELD_BACK, "{usage:?}");
    // It did not buy that with refusing to work.
    assert!(stub.counts().refused > 0);
}

#[test]
fn complaint_20_the_first_event_comes_within_fifty_milliseconds() {
    let pipeline = r#"input { stdin { } }
        filter { grok { match => { "message" => "%{COMBINEDAPACHELOG}" } } date { match => [ "timestamp", "dd/MMM/yyyy:HH:mm:ss Z" ] } }
        output { stdout { codec => json_lines } }"#;
    // The best of several: other processes of the machine are not what is measured.
    let best = (0..15)
        .map(|_| time_to_first_event(pipeline))
        .min()
        .unwrap();
    println!("first event after {:.1} ms", best.as_secs_f64() * 1e3);
    assert!(best < MAX_START, "{best:?}");
}

fn time_to_first_event(pipeline: &str) -> Duration {
    let data = tempfile::tempdir().unwrap();
    let program = Program::Aggregator.binary();
    let started = Instant::now();
    let mut child = Command::new(program)
        .arg("-e")
        .arg(pipeline)
        .arg("--path.data")
        .arg(data.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(b"192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] \"GET /a HTTP/1.1\" 200 12 \"-\" \"curl/8.4.0\"\n")
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let elapsed = started.elapsed();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["@timestamp"], "2023-11-14T22:13:20.000Z", "{line}");
    // The end of its input ends it, with nothing left on stdout.
    drop(input);
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    output.read_line(&mut rest).unwrap();
    assert_eq!(rest, "");
    elapsed
}
