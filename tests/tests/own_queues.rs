//! Queues of outputs of their own: one output is down, and what that means for the others, for the senders, and
//! for what waits.
//!
//! Forwarder and aggregator are real and talk mutual TLS; the clusters are stubs, of which the second one is not
//! there at first: its port refuses connections.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use skidder_tests::daemon::Daemon;
use skidder_tests::disk::{NO_MOUNTS, SmallDisk};
use skidder_tests::environment;
use skidder_tests::pair::Pair;
use skidder_tests::site::{Site, arrived_at_stub, elasticsearch_output};
use skidder_tests::stub::Stub;
use skidder_tests::writers::{Plan, Tally};

const DEADLINE: Duration = Duration::from_mins(3);

/// Both daemons, the aggregator with two outputs: the first one goes to a cluster that is there.
struct Scenario {
    pair: Pair,
    first: Stub,
    port: u16,
}

impl Scenario {
    /// `more` are options of the second output's queue.
    fn start(more: &str, arguments: &[&str], runner: &[String]) -> Self {
        let site = Site::new().unwrap();
        let first = Stub::recording().unwrap();
        let port = environment::free_port().unwrap();
        let quick = "retry_initial_interval => 1 retry_max_interval => 1 resurrect_delay => 1";
        let second = format!("id => second queue => own {more} {quick}");
        let outputs = format!(
            "{}{}",
            elasticsearch_output(&first.host(), "both", quick),
            elasticsearch_output(&format!("127.0.0.1:{port}"), "both", &second)
        );
        let pair = Pair::start(&outputs, arguments, runner, site).unwrap();
        Self { pair, first, port }
    }

    /// The second cluster comes.
    fn second(&self) -> Stub {
        Stub::recording_on(self.port).unwrap()
    }

    fn wait_for_all(&self, stub: &Stub, lines: u64) -> Tally {
        self.pair.wait_for_lines(stub, lines, DEADLINE).unwrap()
    }

    fn queue(&self, arguments: &[&str]) -> String {
        self.pair.queue(arguments).unwrap()
    }
}

/// The ids under which each line was stored.
fn ids(stub: &Stub) -> BTreeMap<String, BTreeSet<String>> {
    let mut ids: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for document in stub.documents() {
        let action: Value = serde_json::from_str(&document.action).unwrap();
        let source: Value = serde_json::from_str(&document.source).unwrap();
        let id = action["create"]["_id"].as_str().unwrap().to_owned();
        let message = source["message"].as_str().unwrap().to_owned();
        ids.entry(message).or_default().insert(id);
    }
    ids
}

#[test]
fn complaint_21_an_output_that_is_down_stops_nobody_and_gets_all_after_a_kill() {
    const LINES: u64 = 30_000;
    let mut scenario = Scenario::start("", &[], &[]);
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario
        .wait_for_all(&scenario.first, LINES)
        .assert_once_each();
    // The sender has every acknowledgement as soon as the queue has the lines.
    assert!(scenario.pair.forwarder.terminate().unwrap().success());
    std::fs::remove_file(scenario.pair.site.log()).unwrap();
    let waiting = format!("waiting:  {LINES} records");
    let texts = ["output:   second\n", waiting.as_str()];
    scenario.pair.wait_for_queue(&texts, DEADLINE).unwrap();
    scenario.pair.aggregator.kill().unwrap();
    assert_eq!(scenario.queue(&["check"]), "output:   second\nno damage\n");
    assert_eq!(scenario.queue(&["export"]).lines().count() as u64, LINES);

    let second = scenario.second();
    scenario.pair.restart().unwrap();
    scenario.wait_for_all(&second, LINES).assert_once_each();
    assert_eq!(ids(&second), ids(&scenario.first), "one id for a line");
    assert!(scenario.pair.aggregator.terminate().unwrap().success());
    let shown = scenario.queue(&["show"]);
    assert!(shown.contains("waiting:  0 records"), "{shown}");
}

#[test]
fn kills_in_between_lose_nothing_and_change_no_id() {
    const LINES: u64 = 40_000;
    let mut scenario = Scenario::start("", &[], &[]);
    let plan = Plan {
        rate: 15_000,
        ..Plan::new(&scenario.pair.site.log(), LINES)
    };
    let mut writer = plan.start();
    scenario.first.wait_for_taken(LINES / 4, DEADLINE).unwrap();
    scenario.pair.aggregator.kill().unwrap();
    let second = scenario.second();
    scenario.pair.restart().unwrap();
    second.wait_for_taken(LINES / 2, DEADLINE).unwrap();
    scenario.pair.aggregator.kill().unwrap();
    scenario.pair.restart().unwrap();
    writer.finish().unwrap();
    scenario.wait_for_all(&second, LINES).assert_nothing_lost();
    scenario
        .wait_for_all(&scenario.first, LINES)
        .assert_nothing_lost();
    scenario.pair.terminate().unwrap();
    // What came twice came under the id that it had.
    for (line, ids) in ids(&second) {
        assert_eq!(ids.len(), 1, "{line}: {ids:?}");
    }
}

#[test]
fn a_full_queue_blocks_all_and_goes_on_by_itself() {
    const LINES: u64 = 120_000;
    let mut scenario = Scenario::start("queue_max_bytes => '1 MiB'", &[], &[]);
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario
        .pair
        .wait_for_log("the queue is full", DEADLINE)
        .unwrap();
    let second = scenario.second();
    scenario.wait_for_all(&second, LINES).assert_once_each();
    scenario
        .wait_for_all(&scenario.first, LINES)
        .assert_once_each();
    let log = scenario.pair.aggregator.log();
    assert!(!log.contains("thrown away"), "{log}");
    scenario.pair.terminate().unwrap();
}

#[test]
fn a_full_queue_that_sheds_stops_nobody_and_counts() {
    const LINES: u64 = 120_000;
    let more = "queue_max_bytes => '1 MiB' when_full => shed";
    let mut scenario = Scenario::start(more, &[], &[]);
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario
        .wait_for_all(&scenario.first, LINES)
        .assert_once_each();
    scenario
        .pair
        .wait_for_log("events are thrown away until", DEADLINE)
        .unwrap();
    let second = scenario.second();
    let empty = ["waiting:  0 records"];
    scenario.pair.wait_for_queue(&empty, DEADLINE).unwrap();
    scenario.pair.terminate().unwrap();
    let arrived = arrived_at_stub(&second, LINES).unwrap();
    assert_eq!((arrived.duplicates, arrived.damaged.len()), (0, 0));
    let log = scenario.pair.aggregator.log();
    let line = log
        .lines()
        .find(|line| line.contains("were thrown away while the queue was full"));
    let (_, count) = line.unwrap().split_once("shed=").unwrap();
    let shed: u64 = count.trim().parse().unwrap();
    assert!(shed > 0 && shed < LINES, "{shed}");
    assert_eq!(arrived.missing.len() as u64, shed, "{log}");
}

#[test]
fn a_full_disk_stops_the_senders_and_goes_on_by_itself() {
    const LINES: u64 = 60_000;
    let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(disk) = SmallDisk::mount(folder.path(), 3, logs.path()).unwrap() else {
        return environment::skip(NO_MOUNTS);
    };
    let folder = folder.path().to_str().unwrap();
    // A full disk is no full queue: nothing is thrown away.
    let place = ["--path.queue", folder, "--queue.page_capacity", "256kb"];
    let mut scenario = Scenario::start("when_full => shed", &place, &disk.runner());
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario
        .pair
        .wait_for_log("cannot write the queue", DEADLINE)
        .unwrap();
    assert!(scenario.pair.aggregator.process().unwrap().running());
    let second = scenario.second();
    scenario.wait_for_all(&second, LINES).assert_once_each();
    scenario
        .wait_for_all(&scenario.first, LINES)
        .assert_once_each();
    scenario.pair.terminate().unwrap();
    let log = scenario.pair.aggregator.log();
    assert!(!log.contains("thrown away"), "{log}");
}

#[test]
fn what_waits_for_an_output_that_is_gone_is_reported_and_not_lost() {
    const LINES: u64 = 500;
    let mut scenario = Scenario::start("", &[], &[]);
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario.wait_for_all(&scenario.first, LINES);
    scenario.pair.terminate().unwrap();
    // The configuration without the second output.
    let only = elasticsearch_output(&scenario.first.host(), "both", "");
    let path: PathBuf = scenario.pair.site.path().join("without");
    std::fs::create_dir(&path).unwrap();
    let mut without = Daemon::aggregator(
        &path,
        "aggregator",
        &format!("{}{only}", scenario.pair.site.input()),
    )
    .unwrap();
    let data = scenario.pair.aggregator.data();
    let queues = data.join("queue");
    without = without.with_arguments(&["--path.queue", queues.to_str().unwrap()]);
    without.start_listening(scenario.pair.site.port).unwrap();
    let said = format!("output=\"second\" events={LINES}");
    without
        .process()
        .unwrap()
        .wait_for_log(&said, DEADLINE)
        .unwrap();
    assert!(without.terminate().unwrap().success());
    assert_eq!(scenario.queue(&["export"]).lines().count() as u64, LINES);
    // And with it again.
    let second = scenario.second();
    scenario.pair.restart().unwrap();
    scenario.wait_for_all(&second, LINES).assert_once_each();
    assert!(scenario.pair.aggregator.terminate().unwrap().success());
}
