//! A search cluster that misbehaves: refuses, answers half, answers nonsense, goes away.
//!
//! Forwarder and aggregator are real and talk mutual TLS; the cluster is scripted. Where the
//! fault leaves no doubt about what was taken, every line must arrive exactly once; where an
//! answer is lost, lines may arrive again, but none may be missing.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]
#![expect(
    clippy::print_stdout,
    reason = "duplicates are allowed in some tests, but shown"
)]

use std::time::Duration;

use skidder_tests::daemon::Daemon;
use skidder_tests::site::{Site, arrived_at_stub, elasticsearch_output, wait_for_lines_at_stub};
use skidder_tests::stub::{Item, Reply, Request, Stub};
use skidder_tests::wait;
use skidder_tests::writers::{Plan, Tally, number};

const LINES: u64 = 5_000;
const DEADLINE: Duration = Duration::from_mins(3);

/// Ships `LINES` lines into a scripted cluster and waits until all were taken.
struct Scenario {
    site: Site,
    stub: Stub,
    aggregator: Daemon,
    forwarder: Daemon,
}

impl Scenario {
    fn start<S>(script: S) -> Self
    where
        S: FnMut(&Request<'_>) -> Reply + Send + 'static,
    {
        Self::start_with("", script)
    }

    fn start_with<S>(options: &str, script: S) -> Self
    where
        S: FnMut(&Request<'_>) -> Reply + Send + 'static,
    {
        let site = Site::new().unwrap();
        let stub = Stub::scripted(script).unwrap();
        let options = format!("retry_initial_interval => 1 retry_max_interval => 2 {options}");
        let output = elasticsearch_output(&stub.host(), "faults", &options);
        let mut aggregator = site.aggregator(&output).unwrap();
        aggregator.start_listening(site.port).unwrap();
        let mut forwarder = site.forwarder().unwrap();
        forwarder.start().unwrap();
        Plan::new(&site.log(), LINES).write().unwrap();
        Self {
            site,
            stub,
            aggregator,
            forwarder,
        }
    }

    fn finish(mut self) -> Tally {
        let waited = wait_for_lines_at_stub(&self.stub, LINES, DEADLINE);
        waited.unwrap_or_else(|error| {
            panic!(
                "{error:#}\n{}\n{}",
                self.aggregator.log(),
                self.forwarder.log()
            )
        });
        // Both end cleanly, and nothing more arrives after the end.
        assert!(
            self.forwarder.terminate().unwrap().success(),
            "{}",
            self.forwarder.log()
        );
        assert!(
            self.aggregator.terminate().unwrap().success(),
            "{}",
            self.aggregator.log()
        );
        let tally = arrived_at_stub(&self.stub, LINES).unwrap();
        println!("{} duplicates", tally.duplicates);
        assert_eq!(self.stub.counts().malformed, 0);
        drop(self.site);
        tally
    }
}

#[test]
fn refused_requests_are_sent_again_until_they_are_taken() {
    for status in [429, 503] {
        let scenario = Scenario::start(move |request| match request.number {
            0..3 => Reply::refuse(status),
            3 => Reply::Reset,
            _ => Reply::Take,
        });
        scenario.finish().assert_once_each();
    }
}

#[test]
fn a_request_that_is_too_large_is_split() {
    const LIMIT: usize = 64 << 10;
    let scenario = Scenario::start(|request| {
        if request.body_bytes > LIMIT {
            Reply::refuse(413)
        } else {
            Reply::Take
        }
    });
    scenario.finish().assert_once_each();
}

#[test]
fn only_the_items_that_were_refused_are_sent_again() {
    // Every third item is refused the first two times it comes.
    let mut refusals = std::collections::HashMap::new();
    let scenario = Scenario::start(move |request| {
        let items = request.actions.iter().enumerate().map(|(place, action)| {
            let times: &mut u32 = refusals.entry(action.source.to_vec()).or_default();
            if place % 3 == 0 && *times < 2 {
                *times += 1;
                let status = if place % 2 == 0 { 429 } else { 503 };
                Item::error(status, "es_rejected_execution_exception", "queue full")
            } else {
                Item::ok(201)
            }
        });
        Reply::Items(items.collect())
    });
    scenario.finish().assert_once_each();
}

#[test]
fn a_broken_answer_is_no_answer() {
    let scenario = Scenario::start(|request| {
        let count = request.actions.len();
        match request.number {
            0 => Reply::Garbage("<html>bad gateway</html>".to_owned()),
            1 => Reply::Items(vec![Item::ok(201); count / 2]),
            2 => Reply::TakeThenTruncate,
            3 => Reply::TakeThenReset,
            4 => Reply::Items(vec![Item::ok(201); count + 1]),
            5 => Reply::Garbage(r#"{"took":1,"errors":false}"#.to_owned()),
            _ => Reply::Take,
        }
    });
    scenario.finish().assert_nothing_lost();
}

#[test]
fn a_document_that_no_server_takes_is_kept_as_a_dead_letter() {
    let mut scenario = Scenario::start(|request| {
        let items = request.actions.iter().map(|action| {
            if action
                .source
                .windows(10)
                .any(|window| window == b"line 00000")
                && is_bad(action.source)
            {
                Item::error(400, "mapper_parsing_exception", "failed to parse field [n]")
            } else {
                Item::ok(201)
            }
        });
        Reply::Items(items.collect())
    });
    let bad: Vec<u64> = (0..LINES).filter(|number| number % 100 == 17).collect();
    let wanted = LINES - bad.len() as u64;
    scenario.stub.wait_for_taken(wanted, DEADLINE).unwrap();
    let data = scenario.aggregator.data();
    let mut letters = Vec::new();
    wait::until("the dead letters", DEADLINE, || {
        letters = dead_letters(&data);
        if letters.len() >= bad.len() {
            Ok(())
        } else {
            Err(format!("{} letters", letters.len()))
        }
    })
    .unwrap();
    assert!(
        scenario.forwarder.terminate().unwrap().success(),
        "{}",
        scenario.forwarder.log()
    );
    assert!(
        scenario.aggregator.terminate().unwrap().success(),
        "{}",
        scenario.aggregator.log()
    );

    let tally = arrived_at_stub(&scenario.stub, LINES).unwrap();
    assert_eq!(tally.missing, bad);
    assert_eq!(tally.duplicates, 0);
    let mut kept: Vec<u64> = Vec::new();
    for letter in dead_letters(&data) {
        assert_eq!(letter["status"], 400, "{letter}");
        assert!(
            letter["reason"]
                .as_str()
                .unwrap()
                .contains("failed to parse field [n]"),
            "{letter}"
        );
        let document: serde_json::Value =
            serde_json::from_str(letter["document"].as_str().unwrap()).unwrap();
        kept.push(number(document["message"].as_str().unwrap()).unwrap());
    }
    kept.sort_unstable();
    assert_eq!(kept, bad);
}

/// Lines whose number ends in 17.
fn is_bad(source: &[u8]) -> bool {
    let document: serde_json::Value = serde_json::from_slice(source).unwrap();
    document["message"]
        .as_str()
        .and_then(number)
        .is_some_and(|number| number % 100 == 17)
}

fn dead_letters(data: &std::path::Path) -> Vec<serde_json::Value> {
    let mut letters = Vec::new();
    let Ok(pipelines) = std::fs::read_dir(data.join("dead_letter_queue")) else {
        return letters;
    };
    for pipeline in pipelines {
        for segment in std::fs::read_dir(pipeline.unwrap().path()).unwrap() {
            let text = std::fs::read_to_string(segment.unwrap().path()).unwrap();
            // The last line may be half written while the aggregator runs.
            letters.extend(
                text.lines()
                    .filter_map(|line| serde_json::from_str(line).ok()),
            );
        }
    }
    letters
}

#[test]
fn an_outage_is_waited_for() {
    let site = Site::new().unwrap();
    let port = skidder_tests::environment::free_port().unwrap();
    let options = "retry_initial_interval => 1 retry_max_interval => 1 resurrect_delay => 1";
    let output = elasticsearch_output(&format!("127.0.0.1:{port}"), "outage", options);
    let mut aggregator = site.aggregator(&output).unwrap();
    aggregator.start_listening(site.port).unwrap();
    let mut forwarder = site.forwarder().unwrap();
    forwarder.start().unwrap();
    Plan::new(&site.log(), LINES).write().unwrap();
    // Nobody listens yet: the aggregator must have noticed before the cluster comes up.
    wait::until("the aggregator to notice the outage", DEADLINE, || {
        let log = aggregator.log();
        if log.contains(&port.to_string()) {
            Ok(())
        } else {
            Err(log)
        }
    })
    .unwrap();
    let stub = Stub::recording_on(port).unwrap();
    wait_for_lines_at_stub(&stub, LINES, DEADLINE)
        .unwrap()
        .assert_once_each();
}
