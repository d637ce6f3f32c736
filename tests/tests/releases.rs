//! A hundred thousand lines into each of the other search servers that are supported.
//!
//! OpenSearch 2 has `delivery.rs`. One server at a time: two JVMs that start together on two
//! cores take longer than one after the other.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use skidder_tests::servers::{ELASTICSEARCH_8, ELASTICSEARCH_9, OPENSEARCH_3, Release, Server};
use skidder_tests::site::{Site, arrived_in_index, elasticsearch_output};
use skidder_tests::writers::Plan;

const LINES: u64 = 100_000;
const DEADLINE: Duration = Duration::from_mins(5);

#[test]
fn opensearch_3() {
    a_hundred_thousand_lines_arrive_once_each(&OPENSEARCH_3, "opensearch");
}

#[test]
fn elasticsearch_8() {
    a_hundred_thousand_lines_arrive_once_each(&ELASTICSEARCH_8, "elasticsearch");
}

#[test]
#[ignore = "a third JVM costs more time than it tells beside Elasticsearch 8; run before a release"]
fn elasticsearch_9() {
    a_hundred_thousand_lines_arrive_once_each(&ELASTICSEARCH_9, "elasticsearch");
}

fn a_hundred_thousand_lines_arrive_once_each(release: &Release, output: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(server) = Server::start_or_skip(release, &[]) else {
        return;
    };
    let site = Site::new().unwrap();
    // Each is addressed by its own name of the output, too.
    let pipeline =
        elasticsearch_output(&server.host(), "lines", "").replace("elasticsearch", output);
    let mut aggregator = site.aggregator(&pipeline).unwrap();
    aggregator.start_listening(site.port).unwrap();
    let mut forwarder = site.forwarder().unwrap();
    forwarder.start().unwrap();
    Plan::new(&site.log(), LINES).write().unwrap();
    let tally = arrived_in_index(&server.search(), "lines", LINES, DEADLINE).unwrap();
    assert!(
        tally.missing.is_empty(),
        "{}\n{}",
        aggregator.log(),
        forwarder.log()
    );
    assert!(
        forwarder.terminate().unwrap().success(),
        "{}",
        forwarder.log()
    );
    assert!(
        aggregator.terminate().unwrap().success(),
        "{}",
        aggregator.log()
    );
    arrived_in_index(&server.search(), "lines", LINES, DEADLINE)
        .unwrap()
        .assert_once_each();
}
