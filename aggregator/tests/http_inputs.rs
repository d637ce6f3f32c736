//! The inputs that are HTTP servers, with the clients that are meant for them: Elastic's and OpenSearch's for Python, and our
//! own `elasticsearch` output.
//!
//! The clients for Python are put into a virtual environment below cargo's folder for such things, once. Where there is no
//! Python, or no network, these tests say that they are skipped; with `SKIDDER_REQUIRE_ALL=1` that is a failure.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use self::daemon::{Daemon, PATIENCE};

#[path = "support/daemon.rs"]
mod daemon;
#[path = "../../tests/src/python.rs"]
#[expect(unreachable_pub, reason = "it is a module of the tests' crate")]
mod python_packages;

/// The Python of an environment with the clients; none if that cannot be had here.
#[expect(
    clippy::print_stderr,
    reason = "the reader of a test run must see what was not tested"
)]
fn python() -> Option<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match MADE.get_or_init(environment) {
        Ok(python) => Some(python),
        Err(reason) => {
            let required =
                std::env::var_os("SKIDDER_REQUIRE_ALL").is_some_and(|value| value == "1");
            assert!(!required, "this test cannot run: {reason}");
            eprintln!("SKIPPED: {reason}");
            None
        }
    }
}

/// The clients, in the versions that the tests were written with.
const PACKAGES: &[&str] = &[
    "elasticsearch==9.5.1",
    "opensearch-py==3.2.0",
    "opentelemetry-sdk==1.45.2",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
    "opentelemetry-exporter-otlp-proto-grpc==1.45.2",
];

fn environment() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-clients");
    python_packages::environment(&folder, PACKAGES)
}

/// Runs a client to its end; gives what it said.
fn client(python: &Path, script: &str, arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(script);
    let output = Command::new(python)
        .arg(path)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}\n{errors}");
    said
}

/// What the events of `elasticsearch_bulk` carry in their metadata, as fields that can be seen.
const SHOW_METADATA: &str = "filter { mutate { add_field => {
    'index' => '%{[@metadata][_index]}' 'id' => '%{[@metadata][_id]}' 'action' => '%{[@metadata][action]}'
    'pipeline' => '%{[@metadata][pipeline]}' } } }";

#[test]
fn elastics_client_indexes_into_it() {
    let Some(python) = python() else { return };
    let daemon = Daemon::start(
        "elasticsearch_bulk { host => '127.0.0.1' port => 0 }",
        SHOW_METADATA,
    );
    let url = format!("http://{}", daemon.address());
    let said = client(python, "elasticsearch_client.py", &[&url]);
    let expected = "version 8.19.0\nhealth green\nlicense active\ntemplate True\nstored 1000 errors 0\ndocument created\nrefused False 400\n";
    assert_eq!(said, expected, "{}", daemon.log());
    let events = daemon.stop();
    assert_eq!(events.len(), 1001);
    let mut numbers: Vec<u64> = events
        .iter()
        .filter_map(|event| event["number"].as_u64())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..1000));
    for event in &events {
        let Some(number) = event["number"].as_u64() else {
            assert_eq!(
                (&event["index"], &event["id"]),
                (&"single".into(), &"a/b".into())
            );
            continue;
        };
        assert_eq!(event["message"], format!("line {number}"));
        assert_eq!(event["index"], "logs-shop");
        assert_eq!(event["id"], number.to_string());
        assert_eq!(
            (&event["action"], &event["pipeline"]),
            (&"create".into(), &"geo".into())
        );
    }
}

#[test]
fn opensearchs_client_indexes_into_it_through_the_disk_queue() {
    let Some(python) = python() else { return };
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("events");
    let configuration = format!(
        "input {{ elasticsearch_bulk {{ host => '127.0.0.1' port => 0 distribution => opensearch user => ann password => secret }} }}
         {SHOW_METADATA} output {{ file {{ path => '{}' }} }}",
        out.display()
    );
    let daemon = Daemon::run(
        directory,
        &configuration,
        &["--queue.type", "persisted", "--queue.drain"],
    );
    let url = format!("http://{}", daemon.address());
    let said = client(python, "opensearch_client.py", &[&url]);
    assert_eq!(
        said,
        "distribution opensearch\nstored 1000 errors 0\n",
        "{}",
        daemon.log()
    );
    let events = daemon.stop();
    assert_eq!(events.len(), 1000);
    assert!(events.iter().all(|event| event["index"] == "logs-shop"));
}

#[test]
fn what_the_disk_queue_has_comes_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let input = "input { http { host => '127.0.0.1' port => 0 codec => json type => hook } }";
    let nowhere =
        format!("{input} output {{ elasticsearch {{ hosts => ['http://127.0.0.1:1'] }} }}");
    let persisted = [
        "--queue.type",
        "persisted",
        "--pipeline.shutdown_timeout",
        "100ms",
    ];
    let mut daemon = Daemon::run(directory, &nowhere, &persisted);
    let posted = post(&daemon.address(), "/a", r#"{"message":"kept"}"#);
    assert!(posted.starts_with("HTTP/1.1 200"), "{posted}");
    daemon.terminate();
    let out = daemon.directory.path().join("events");
    let configuration = format!(
        "{input} output {{ file {{ path => '{}' }} }}",
        out.display()
    );
    let log = std::fs::File::create(daemon.directory.path().join("log")).unwrap();
    daemon.child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args([
            "-w",
            "1",
            "-e",
            &configuration,
            "--queue.type",
            "persisted",
            "--path.data",
        ])
        .arg(daemon.directory.path().join("data"))
        .stderr(log)
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !std::fs::read_to_string(&out).is_ok_and(|text| text.ends_with('\n')) {
        assert!(started.elapsed() < PATIENCE, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let events = daemon.stop();
    assert_eq!(events[0]["message"], "kept");
    assert_eq!(events[0]["type"], "hook");
    assert_eq!(events[0]["headers"]["request_path"], "/a");
}

/// Posts something over a connection of its own.
fn post(address: &str, path: &str, body: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A folder with throw-away certificates.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .arg("certificates")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    folder
}

#[test]
fn our_own_output_delivers_to_it_over_tls() {
    let certificates = certificates();
    let folder = certificates.path().display().to_string();
    let receiver = Daemon::start(
        &format!(
            "elasticsearch_bulk {{ host => '127.0.0.1' port => 0 user => ann password => secret ssl_enabled => true
             ssl_certificate => '{folder}/aggregator.pem' ssl_key => '{folder}/aggregator-key.pem' }}"
        ),
        SHOW_METADATA,
    );
    let address = receiver.address();
    let (_, port) = address.rsplit_once(':').unwrap();
    let configuration = format!(
        "input {{ generator {{ lines => ['one', 'two'] count => 500 }} }}
         output {{ elasticsearch {{ hosts => ['https://localhost:{port}'] index => 'logs' action => create user => ann password => secret
         document_id => '%{{sequence}}' ssl_certificate_authorities => ['{folder}/ca.pem'] }} }}"
    );
    let mut sender = Daemon::run(tempfile::tempdir().unwrap(), &configuration, &[]);
    let started = Instant::now();
    while sender.child.try_wait().unwrap().is_none() {
        assert!(
            started.elapsed() < PATIENCE,
            "{}\n{}",
            sender.log(),
            receiver.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(sender.child.wait().unwrap().success(), "{}", sender.log());
    let events = receiver.stop();
    assert_eq!(events.len(), 1000, "{}", sender.log());
    assert!(
        events
            .iter()
            .all(|event| event["index"] == "logs" && event["action"] == "create")
    );
}

#[test]
fn opentelemetrys_exporters_over_http_and_grpc() {
    let Some(python) = python() else { return };
    let certificates = certificates();
    let folder = certificates.path().display();
    let authority = format!("{folder}/ca.pem");
    let tls = format!(
        "ssl_enabled => true ssl_certificate => '{folder}/aggregator.pem' ssl_key => '{folder}/aggregator-key.pem'"
    );
    for (transport, tls) in [
        ("http", None),
        ("grpc", None),
        ("http", Some(&tls)),
        ("grpc", Some(&tls)),
    ] {
        let options = tls.map_or("", String::as_str);
        let input = format!(
            "otlp {{ host => '127.0.0.1' port => 0 user => ann password => secret {options} }}"
        );
        let daemon = Daemon::start(&input, "");
        let address = daemon.address();
        let mut arguments = vec![transport, &address];
        arguments.extend(tls.map(|_| authority.as_str()));
        let said = client(python, "otlp_client.py", &arguments);
        assert_eq!(said, "flushed True\n", "{transport}: {}", daemon.log());
        let log = daemon.log();
        let mut events = daemon.stop();
        assert_eq!(events.len(), 1000, "{transport}: {log}");
        events.sort_by_key(|event| event["attributes"]["number"].as_u64());
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["message"], format!("line {number}"));
            let time = format!("2024-01-02T03:04:05.{number:09}Z");
            let shown = event["@timestamp"].as_str().unwrap();
            // Without digits that say nothing.
            assert!(
                time.starts_with(shown.trim_end_matches('Z')),
                "{time} {shown}"
            );
            assert_eq!(
                event["attributes"],
                serde_json::json!({"number": number, "ok": true, "parts": ["a", "b"], "ratio": 0.5})
            );
            assert_eq!(event["resource"]["service.name"], "shop");
            assert_eq!(
                event["scope"],
                serde_json::json!({"name": "cart", "version": "1.2"})
            );
            assert_eq!(
                (&event["severity"], &event["severity_number"]),
                (&"WARN".into(), &13.into())
            );
            assert_eq!(event["event_name"], "cart.full");
        }
    }
}
