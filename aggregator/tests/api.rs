//! The HTTP API of a real process: what it says while all is well, while the queue is full, while it stops, and to those who misuse it.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use self::daemon::{Daemon, PATIENCE};

#[path = "support/daemon.rs"]
mod daemon;

/// An answer: the status and the body.
type Answer = (u16, String);

trait Ask {
    /// Where the API listens.
    fn api(&self) -> String;

    /// Asks for a page.
    fn get(&self, path: &str) -> Answer {
        ask(
            &self.api(),
            &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"),
        )
        .unwrap()
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

impl Ask for Daemon {
    fn api(&self) -> String {
        let url = |log: &str| {
            let (_, rest) = log.split_once("url=\"http://")?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        self.wait_for("API", |daemon| url(&daemon.log()).is_some());
        url(&self.log()).unwrap()
    }
}

fn ask(address: &str, request: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok((status.unwrap_or(0), body.to_owned()))
}

/// Posts events to an input `http`, and does not wait for the answer.
fn post(address: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

/// Waits until the API says so of the path.
fn wait_for_status(daemon: &Daemon, path: &str, status: u16) -> Value {
    let started = Instant::now();
    loop {
        let answer = daemon.get(path);
        if answer.0 == status {
            return serde_json::from_str(&answer.1).unwrap();
        }
        assert!(started.elapsed() < PATIENCE, "{answer:?}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

const HTTP: &str = "http { host => '127.0.0.1' port => 0 id => 'in \"1\"' }";

#[test]
fn events_are_counted_by_logstashs_names_and_by_prometheus() {
    let more = "filter { if [drop] { drop { } } if [twice] { clone { clones => ['x'] } } }";
    let daemon = Daemon::start(HTTP, more);
    let address = daemon.address();
    let body = r#"[{"n":1},{"n":2},{"drop":true},{"twice":true}]"#;
    let mut answer = [0; 15];
    post(&address, body).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");

    let stats = daemon.json("/_node/stats?pretty");
    let main = &stats["pipelines"]["main"];
    for events in [&stats["events"], &main["events"]] {
        let counts = ["in", "filtered", "out"].map(|name| events[name].as_u64().unwrap());
        assert_eq!(counts, [4, 4, 4], "{events}");
    }
    let input = &main["plugins"]["inputs"][0];
    assert_eq!(input["name"], "http");
    assert_eq!(input["id"], "in \"1\"");
    assert!(input["accepted_connections"].as_u64() >= Some(1));
    let output = &main["plugins"]["outputs"][0];
    assert_eq!(
        (&output["id"], &output["name"]),
        (&"file".into(), &"file".into())
    );
    assert_eq!(output["events"], serde_json::json!({ "in": 4, "out": 4 }));
    assert_eq!(main["queue"]["type"], "memory");
    assert!(stats["process"]["open_file_descriptors"].as_u64() > Some(3));
    assert!(stats["jvm"]["uptime_in_millis"].is_u64());
    assert_eq!(
        stats["reloads"],
        serde_json::json!({ "successes": 0, "failures": 0 })
    );

    let one = daemon.json("/_node/stats/pipelines/main");
    assert_eq!(one["pipelines"]["main"]["events"]["in"], 4);
    assert!(one.get("process").is_none(), "{one}");
    assert!(daemon.json("/_node/stats/events,process")["process"].is_object());
    assert_eq!(
        daemon.json("/_node/pipelines")["pipelines"]["main"]["workers"],
        2
    );
    let root = daemon.json("/");
    assert_eq!(root["http_address"], daemon.api());
    assert_eq!(root["status"], "green");
    assert_eq!(root["pipeline"]["workers"], 2);

    let (status, page) = daemon.get("/metrics");
    assert_eq!(status, 200);
    for line in [
        "skidder_events_in_total{pipeline=\"main\"} 4",
        "skidder_events_out_total{pipeline=\"main\"} 4",
        "skidder_output_events_total{pipeline=\"main\",output=\"file\"} 4",
        "skidder_ready 1",
        "skidder_pipeline_up{pipeline=\"main\"} 1",
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "{line}\n{page}");
    }
    let input = "skidder_connections_total{pipeline=\"main\",input=\"in \\\"1\\\"\"} ";
    assert!(page.contains(input), "{page}");
    let manual = include_str!("../../docs/aggregator.md");
    let (_, table) = manual.split_once("| metric | labels | |\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let documented: BTreeSet<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let announced = page.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let announced: BTreeSet<&str> = announced
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(announced, documented);
    // Each sample belongs to a family that was announced, and is a number.
    let mut family = String::new();
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            family = kind.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&family), "{line} in {family}");
            let number = line.rsplit(' ').next().unwrap();
            assert!(number.parse::<f64>().is_ok(), "{line}");
        }
    }
    daemon.stop();
}

#[test]
fn a_full_memory_makes_it_unready_and_an_empty_one_ready() {
    let directory = tempfile::tempdir().unwrap();
    // A pipe that nobody reads: the output waits.
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let configuration = format!(
        "input {{ {HTTP} }} output {{ file {{ path => '{}' codec => line {{ format => 'x' }} }} }}",
        pipe.display()
    );
    let arguments = [
        "--queue.max_memory_bytes",
        "1mb",
        "--health.queue_mark",
        "0.5",
    ];
    let mut daemon = Daemon::run(directory, &configuration, &arguments);
    let address = daemon.address();
    let ready = wait_for_status(&daemon, "/readyz", 200);
    assert_eq!(ready, serde_json::json!({ "ready": true, "reasons": [] }));
    let large = format!(r#"{{"text":"{}"}}"#, "0".repeat(600_000));
    let mut sender = post(&address, &large);
    let full = wait_for_status(&daemon, "/readyz", 503);
    let reason = full["reasons"][0].as_str().unwrap();
    assert!(
        reason.starts_with("the memory for received batches is ") && reason.ends_with("(50 %)"),
        "{reason}"
    );
    let alive = daemon.json("/healthz");
    assert_eq!(alive, serde_json::json!({ "alive": true, "reasons": [] }));
    assert!(daemon.get("/metrics").1.contains("\nskidder_ready 0\n"));
    // Somebody reads: the event is safe, and the memory free.
    let mut reader = std::fs::File::open(&pipe).unwrap();
    let mut answer = [0; 15];
    sender.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let mut event = [0];
    reader.read_exact(&mut event).unwrap();
    drop(sender);
    wait_for_status(&daemon, "/readyz", 200);
    daemon.terminate();
}

#[test]
fn a_stop_is_told_before_anything_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_in(directory, HTTP, "", &["--drain.delay", "3s"]);
    let address = daemon.address();
    wait_for_status(&daemon, "/readyz", 200);
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let stopping = wait_for_status(&daemon, "/readyz", 503);
    assert_eq!(stopping["reasons"], serde_json::json!(["stopping"]));
    assert_eq!(daemon.get("/healthz").0, 200);
    // New connections are served as before.
    let mut answer = [0; 15];
    post(&address, r#"{"late":true}"#)
        .read_exact(&mut answer)
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let status = daemon.child.wait().unwrap();
    assert!(status.success(), "{}", daemon.log());
    assert!(asked.elapsed() >= Duration::from_secs(3));
    assert_eq!(daemon.events().len(), 1);
}

#[test]
fn a_second_signal_does_not_wait_for_the_delay() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_in(directory, HTTP, "", &["--drain.delay", "1h"]);
    daemon.address();
    daemon.signal(Signal::TERM);
    wait_for_status(&daemon, "/readyz", 503);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
}

#[test]
fn what_is_no_question_gets_no_answer() {
    let daemon = Daemon::start(HTTP, "");
    let api = daemon.api();
    let missing: Value = serde_json::from_str(&daemon.get("/nothing").1).unwrap();
    assert_eq!(missing["status"], 404);
    for path in [
        "/_nodes",
        "/_node/x",
        "/_node/stats/pipelines/x",
        "/_node/stats/events/main",
    ] {
        assert_eq!(daemon.get(path).0, 404, "{path}");
    }
    let refused = ask(
        &api,
        "POST /readyz HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!(refused.unwrap().0, 405);
    let large = format!("GET /{:010000} HTTP/1.1\r\nhost: x\r\n\r\n", 0);
    // It may be closed before all of it is written.
    let (status, _) = ask(&api, &large).unwrap_or((431, String::new()));
    assert!([0, 414, 431].contains(&status), "{status}");
    // As many as there can be say nothing: others are answered when the time of those is over.
    let idle: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&api).unwrap()).collect();
    let asked = Instant::now();
    assert_eq!(daemon.get("/healthz").0, 200);
    assert!(
        asked.elapsed() > Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    drop(idle);
    daemon.stop();
}

#[test]
fn the_first_free_port_of_the_range_is_taken_and_none_is_an_error() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let range = format!("{taken}-{}", taken.saturating_add(20));
    let start = |port: &str| {
        let directory = tempfile::tempdir().unwrap();
        Daemon::start_in(directory, HTTP, "", &["--api.http.port", port])
    };
    let daemon = start(&range);
    let port: u16 = daemon.api().rsplit(':').next().unwrap().parse().unwrap();
    assert!(port > taken, "{port}");
    daemon.stop();
    let mut refused = start(&taken.to_string());
    assert_eq!(refused.child.wait().unwrap().code(), Some(1));
    let said = refused.log();
    assert!(
        said.contains("the API cannot listen on 127.0.0.1:"),
        "{said}"
    );
    assert!(said.contains("api.enabled"), "{said}");

    let directory = tempfile::tempdir().unwrap();
    let without = Daemon::start_in(directory, HTTP, "", &["--api.enabled=false"]);
    without.address();
    assert!(!without.log().contains("url="), "{}", without.log());
    without.stop();
}

#[test]
fn a_pipeline_that_fails_makes_the_process_unready() {
    let directory = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let settings = directory.path().join("settings");
    std::fs::create_dir(&settings).unwrap();
    let text = format!(
        "- pipeline.id: good\n  config.string: input {{ {HTTP} }} output {{ null {{ }} }}\n\
         - pipeline.id: bad\n  config.string: input {{ tcp {{ host => '127.0.0.1' port => {taken} }} }} output {{ null {{ }} }}\n"
    );
    std::fs::write(settings.join("pipelines.yml"), text).unwrap();
    let mut daemon = Daemon::run_pipelines(directory, &settings);
    let unready = wait_for_status(&daemon, "/readyz", 503);
    let wait = |daemon: &Daemon| daemon.log().contains("the others go on without it");
    daemon.wait_for("failure", wait);
    let unready_later = wait_for_status(&daemon, "/readyz", 503);
    assert_eq!(
        unready_later["reasons"],
        serde_json::json!(["pipeline `bad` has failed"]),
        "{unready}"
    );
    assert_eq!(daemon.json("/")["status"], "red");
    assert_eq!(
        daemon.json("/_node/stats")["pipelines"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
}

/// A daemon whose second output goes nowhere, behind a queue of its own of 1 MiB, and events for more than that.
fn with_own_queue(when_full: &str) -> Daemon {
    let configuration = format!(
        "input {{ generator {{ count => 4000 message => '{}' }} {HTTP} }}\n\
         output {{ http {{ url => 'http://127.0.0.1:1/' http_method => post id => partner\n\
         queue => own queue_max_bytes => '1 MiB' when_full => {when_full} }} }}",
        "0123456789abcdefghijklmnopqrstuvwxyz".repeat(50)
    );
    let arguments = [
        "--health.queue_mark",
        "0.5",
        "--queue.compression",
        "none",
        "--pipeline.shutdown_timeout",
        "1s",
    ];
    Daemon::run(tempfile::tempdir().unwrap(), &configuration, &arguments)
}

#[test]
fn a_full_queue_of_an_output_is_told_and_makes_it_unready_if_it_blocks() {
    let daemon = with_own_queue("block");
    let full = wait_for_status(&daemon, "/readyz", 503);
    let is_told = |full: &Value| {
        let reason = full["reasons"][0].as_str().unwrap_or_default();
        reason.starts_with("the queue of output `partner` of pipeline `main` is ")
    };
    daemon.wait_for("reason", |daemon| {
        is_told(&wait_for_status(daemon, "/readyz", 503))
    });
    assert!(full["reasons"][0].is_string(), "{full}");
    let stats = daemon.json("/_node/stats/pipelines/main");
    let queue = &stats["pipelines"]["main"]["plugins"]["outputs"][0]["queue"];
    assert_eq!(queue["type"], "own");
    assert_eq!(queue["when_full"], "block");
    assert_eq!(queue["shed"], 0);
    assert_eq!(queue["max_queue_size_in_bytes"], 1 << 20);
    assert!(
        queue["queue_size_in_bytes"].as_u64() > Some(1 << 19),
        "{queue}"
    );
    assert!(queue["events_count"].is_u64(), "{queue}");
}

#[test]
fn a_full_queue_that_throws_away_counts_and_stays_ready() {
    let daemon = with_own_queue("shed");
    let labels = "{pipeline=\"main\",output=\"partner\"} ";
    let value = |page: &str, name: &str| -> u64 {
        let start = format!("{name}{labels}");
        let line = page.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {name}\n{page}"))
            .parse()
            .unwrap()
    };
    daemon.wait_for("events thrown away", |daemon| {
        let (_, page) = daemon.get("/metrics");
        page.contains("skidder_output_queue_shed_total{")
            && value(&page, "skidder_output_queue_shed_total") > 0
    });
    let (_, page) = daemon.get("/metrics");
    let share = value(&page, "skidder_output_queue_bytes") as f64
        / value(&page, "skidder_output_queue_limit_bytes") as f64;
    assert!(share > 0.5, "{share}");
    let ready = wait_for_status(&daemon, "/readyz", 200);
    assert_eq!(ready["reasons"], serde_json::json!([]));
    let stats = daemon.json("/_node/stats/pipelines/main");
    let queue = &stats["pipelines"]["main"]["plugins"]["outputs"][0]["queue"];
    assert!(queue["shed"].as_u64() > Some(0), "{queue}");
}
