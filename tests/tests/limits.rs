//! What the daemons may use: memory of the forwarder, time to the first event.
//!
//! Measured on the binaries of the profile the tests run with; a release build uses less of
//! both.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use skidder_tests::daemon::Program;
use skidder_tests::site::{Site, elasticsearch_output};
use skidder_tests::stub::Stub;
use skidder_tests::wait;
use skidder_tests::writers::Plan;

const DEADLINE: Duration = Duration::from_mins(3);
const MIB: u64 = 1 << 20;
/// The forwarder's peak while it ships.
const MAX_SHIPPING: u64 = 20 * MIB;
/// The forwarder with nothing to do.
const MAX_IDLE: u64 = 10 * MIB;
/// From the start of the process to its first event on standard output.
const MAX_START: Duration = Duration::from_millis(50);

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
    let stub = Stub::scripted(|_| skidder_tests::stub::Reply::refuse(429)).unwrap();
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

#[test]
fn the_first_event_comes_within_fifty_milliseconds() {
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
