//! The test servers themselves: they start, take documents, survive a kill.
//!
//! What the other suites rely on is checked here once, so that a failure there is a failure of
//! the daemons. One release is enough: the others are started the same way by those suites.

use std::time::Duration;

use serde_json::json;
use skidder_tests::daemon::Program;
use skidder_tests::http;
use skidder_tests::servers::{OPENSEARCH_2, Server};

#[test]
fn documents_survive_a_kill() {
    let Some(mut server) = Server::start_or_skip(&OPENSEARCH_2, &[]) else {
        return;
    };
    let search = server.search();
    assert_eq!(search.count("kept").unwrap(), 0);

    let mut body = String::new();
    for number in 0..12_000 {
        body.push_str("{\"index\":{}}\n");
        body.push_str(&json!({ "number": number }).to_string());
        body.push('\n');
    }
    let address = server.host().parse().unwrap();
    let answer = http::request(
        address,
        "POST",
        "/kept/_bulk",
        Some(&body),
        Duration::from_mins(2),
    )
    .unwrap();
    assert_eq!(answer.json().unwrap()["errors"], false);

    server.kill().unwrap();
    assert!(search.ready().is_err());
    server.resume().unwrap();

    search
        .wait_for_count("kept", 12_000, Duration::from_mins(2))
        .unwrap();
    // More than one page.
    let numbers = search.every("kept", "number").unwrap();
    let mut numbers: Vec<_> = numbers
        .iter()
        .map(|number| number.as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..12_000).collect::<Vec<_>>());
    search.delete("kept").unwrap();
    assert_eq!(search.count("kept").unwrap(), 0);
}

#[test]
fn doctor_looks_and_changes_nothing() {
    let Some(server) = Server::start_or_skip(&OPENSEARCH_2, &[]) else {
        return;
    };
    let host = server.host();
    let output = format!(
        "elasticsearch {{ hosts => ['http://{host}'] index => 'looked-at' manage_template => true }}"
    );
    let said = Program::Aggregator
        .command()
        .args(["doctor", "-e"])
        .arg(format!("input {{ stdin {{ }} }} output {{ {output} }}"))
        .output()
        .unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success(), "{text}");
    for line in [
        "ok       server      opensearch 2.",
        "ok       writing     into `looked-at`",
        "ok       template    `logstash` is not there yet",
        "ok       requests    may have 104857600 bytes",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let address = host.parse().unwrap();
    let index = http::request(address, "HEAD", "/looked-at", None, Duration::from_secs(30));
    assert_eq!(index.unwrap().status, 404, "no index is made");
}
