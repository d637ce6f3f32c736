//! The output `lumberjack` into our own input: a second aggregator behind the first.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use self::daemon::Daemon;

#[path = "support/daemon.rs"]
mod daemon;

const LINES: usize = 20_000;

/// Numbered lines, as the first aggregator reads them from a file.
fn write_lines(directory: &Path) -> String {
    let path = directory.join("lines.log");
    let lines: Vec<String> = (0..LINES).map(|number| format!("line {number}")).collect();
    std::fs::write(
        &path,
        lines.join(
            "
",
        ) + "
",
    )
    .unwrap();
    path.display().to_string()
}

/// A first aggregator that sends the lines of a file to these hosts.
fn first(options: &str) -> Daemon {
    first_in(tempfile::tempdir().unwrap(), options)
}

/// The same, in the directory of one that ran before.
fn first_in(directory: tempfile::TempDir, options: &str) -> Daemon {
    let path = write_lines(directory.path());
    let configuration = format!(
        "input {{ file {{ path => '{path}' start_position => beginning stat_interval => 0.1 }} }}
         output {{ lumberjack {{ {options} }} }}"
    );
    Daemon::run(
        directory,
        &configuration,
        &["--pipeline.shutdown_timeout", "2s"],
    )
}

/// A second aggregator; `[id]` is which line the first one says that an event is.
fn second(port: u16, more: &str) -> Daemon {
    Daemon::start(
        &format!("beats {{ host => '127.0.0.1' port => {port} {more} }}"),
        "filter { mutate { add_field => { id => '%{[@metadata][_id]}' } } }",
    )
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The numbers of the lines, each once.
fn numbers(events: &[Value]) -> BTreeSet<usize> {
    let number = |event: &Value| {
        let message = event["message"].as_str().unwrap();
        message.strip_prefix("line ").unwrap().parse().unwrap()
    };
    events.iter().map(number).collect()
}

fn assert_complete(events: &[Value]) {
    let numbers = numbers(events);
    assert_eq!((numbers.len(), numbers.last()), (LINES, Some(&(LINES - 1))));
}

#[test]
fn events_pass_with_their_fields_and_their_identity_over_tls() {
    let certificates = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .arg("certificates")
        .arg(certificates.path())
        .output();
    assert!(made.unwrap().status.success());
    let pem = |name: &str| certificates.path().join(name).display().to_string();
    let second = second(
        0,
        &format!(
            "ssl_enabled => true ssl_certificate => '{}' ssl_key => '{}' \
             ssl_certificate_authorities => ['{}'] ssl_client_authentication => required",
            pem("aggregator.pem"),
            pem("aggregator-key.pem"),
            pem("ca.pem")
        ),
    );
    let mut first = first(&format!(
        "hosts => ['{}'] ssl_certificate_authorities => ['{}'] ssl_certificate => '{}' ssl_key => '{}'",
        second.address(),
        pem("ca.pem"),
        pem("forwarder.pem"),
        pem("forwarder-key.pem")
    ));
    second.wait_for_events(LINES);
    let events = second.events();
    assert_eq!(events.len(), LINES);
    assert_complete(&events);
    let event = &events[0];
    assert!(
        event["log"]["file"]["path"].is_string() || event["path"].is_string(),
        "{event}"
    );
    assert!(event["@timestamp"].is_string(), "{event}");
    let ids: BTreeSet<&str> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), LINES, "an id for each line");
    assert!(!ids.iter().any(|id| id.contains('%')), "{:?}", ids.first());
    first.terminate();
}

#[test]
fn a_host_that_is_down_gets_everything_when_it_is_up() {
    let port = free_port();
    let first = first(&format!(
        "hosts => ['127.0.0.1'] port => {port} ssl_enabled => false"
    ));
    first.wait_for("warning", |first| {
        first.log().contains("a connection failed")
    });
    let said = first.log();
    assert!(
        said.contains(&format!("127.0.0.1:{port}")) && said.contains("refused"),
        "{said}"
    );
    let mut up = second(port, "");
    up.wait_for_events(LINES / 20);
    // Killed in the middle, it has acknowledged nothing that is not written.
    up.signal(rustix::process::Signal::KILL);
    up.child.wait().unwrap();
    let before = up.events();
    let after = second(port, "");
    after.wait_for("all lines", |after| {
        let mut all = numbers(&before);
        all.extend(numbers(&after.events()));
        all.len() == LINES
    });
}

#[test]
fn what_a_silent_host_does_not_acknowledge_goes_to_another() {
    // Takes everything and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
            });
        }
    });
    let second = second(0, "");
    let mut first = first(&format!(
        "hosts => ['{silent}', '{}'] ssl_enabled => false timeout => 1 flush_size => 100",
        second.address()
    ));
    second.wait_for("all lines", |second| {
        numbers(&second.events()).len() == LINES
    });
    assert!(
        first.log().contains("a connection failed"),
        "{}",
        first.log()
    );
    first.terminate();
}

#[test]
fn what_is_not_acknowledged_at_the_end_is_said_and_not_lost() {
    let port = free_port();
    let options = format!("hosts => ['127.0.0.1:{port}'] ssl_enabled => false");
    let mut first = first(&options);
    first.wait_for("warning", |first| {
        first.log().contains("a connection failed")
    });
    first.signal(rustix::process::Signal::TERM);
    assert!(!first.child.wait().unwrap().success());
    let log = first.log();
    assert!(log.contains("before everything was delivered"), "{log}");
    // The next run reads the file from where lines are safe: from its beginning.
    let directory = std::mem::replace(&mut first.directory, tempfile::tempdir().unwrap());
    let second = second(port, "");
    let mut again = first_in(directory, &options);
    second.wait_for_events(LINES);
    assert_complete(&second.events());
    again.terminate();
}

#[test]
fn a_wrong_certificate_is_explained() {
    let certificates = tempfile::tempdir().unwrap();
    let others = tempfile::tempdir().unwrap();
    for directory in [&certificates, &others] {
        let made = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
            .arg("certificates")
            .arg(directory.path())
            .output();
        assert!(made.unwrap().status.success());
    }
    let second = second(
        0,
        &format!(
            "ssl_enabled => true ssl_certificate => '{0}/aggregator.pem' ssl_key => '{0}/aggregator-key.pem'",
            certificates.path().display()
        ),
    );
    // COMPAT: a lone `ssl_certificate` is what the server is known by.
    let first = first(&format!(
        "hosts => ['{}'] ssl_certificate => '{}/ca.pem'",
        second.address(),
        others.path().display()
    ));
    first.wait_for("warning", |first| {
        first.log().contains("a connection failed")
    });
    let log = first.log();
    assert!(log.contains("certificate"), "{log}");
    assert_eq!(json!(second.events().len()), json!(0));
}
