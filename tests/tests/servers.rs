//! The test servers themselves: each release starts, takes documents, survives a kill.
//!
//! What the other suites rely on is checked here once, so that a failure there is a failure of
//! the daemons. One release at a time: two JVMs starting on two cores take more than twice as
//! long.

use std::time::Duration;

use serde_json::json;
use skidder_tests::http;
use skidder_tests::servers::{ELASTICSEARCH_8, OPENSEARCH_2, OPENSEARCH_3, Release, Server};

#[test]
fn documents_survive_a_kill() {
    for release in [OPENSEARCH_2, OPENSEARCH_3, ELASTICSEARCH_8] {
        keeps_documents(&release);
    }
}

fn keeps_documents(release: &Release) {
    let Some(mut server) = Server::start_or_skip(release, &[]) else {
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
        Duration::from_secs(120),
    )
    .unwrap();
    assert_eq!(answer.json().unwrap()["errors"], false, "{release:?}");

    server.kill().unwrap();
    assert!(search.ready().is_err());
    server.resume().unwrap();

    search
        .wait_for_count("kept", 12_000, Duration::from_secs(120))
        .unwrap();
    // More than one page.
    let mut numbers: Vec<_> = search
        .every("kept", "number")
        .unwrap()
        .iter()
        .map(|number| number.as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..12_000).collect::<Vec<_>>());
    search.delete("kept").unwrap();
    assert_eq!(search.count("kept").unwrap(), 0);
}
