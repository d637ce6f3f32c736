//! The disk queue of the aggregator under real faults: kills, outages, full queues, full disks.
//!
//! Forwarder and aggregator are real and talk mutual TLS; the cluster is a stub that can be switched off.
//! `SKIDDER_KILL_ROUNDS` repeats the kills (default 3).

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]
#![expect(
    clippy::print_stdout,
    reason = "duplicates are allowed in some tests, but shown"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skidder_tests::disk::{NO_MOUNTS, SmallDisk};
use skidder_tests::environment;
use skidder_tests::pair::Pair;
use skidder_tests::site::{Site, arrived_at_stub, elasticsearch_output};
use skidder_tests::stub::Stub;
use skidder_tests::writers::{Plan, Tally};

const DEADLINE: Duration = Duration::from_mins(3);

/// Both daemons, the aggregator with a disk queue, and a cluster with a switch.
struct Scenario {
    pair: Pair,
    stub: Stub,
    up: Arc<AtomicBool>,
}

impl Scenario {
    fn start(up: bool, arguments: &[&str], runner: &[String]) -> Self {
        let site = Site::new().unwrap();
        let (stub, up) = Stub::switched(up).unwrap();
        let quick = "retry_initial_interval => 1 retry_max_interval => 1 resurrect_delay => 1";
        let output = elasticsearch_output(&stub.host(), "queue", quick);
        let mut all = vec!["--queue.type", "persisted"];
        all.extend(arguments);
        let pair = Pair::start(&output, &all, runner, site).unwrap();
        Self { pair, stub, up }
    }

    fn switch_on(&self) {
        self.up.store(true, Ordering::SeqCst);
    }

    /// Waits until so many lines are on the aggregator's disk.
    fn wait_for_queued(&self, lines: u64) {
        let waiting = format!("waiting:  {lines} records");
        self.pair.wait_for_queue(&[&waiting], DEADLINE).unwrap();
    }

    fn wait_for_all(&self, lines: u64) -> Tally {
        let arrived = self.pair.wait_for_lines(&self.stub, lines, DEADLINE);
        arrived.unwrap()
    }

    fn queue(&self, arguments: &[&str]) -> String {
        self.pair.queue(arguments).unwrap()
    }

    /// Ends both and looks once more at what arrived.
    fn finish(mut self, lines: u64) -> Tally {
        self.wait_for_all(lines);
        self.pair.terminate().unwrap();
        let tally = arrived_at_stub(&self.stub, lines).unwrap();
        println!("{} duplicates", tally.duplicates);
        assert_eq!(self.stub.counts().malformed, 0);
        tally
    }
}

#[test]
fn complaint_22_kills_under_load_lose_nothing() {
    const LINES: u64 = 60_000;
    let rounds = environment::number("SKIDDER_KILL_ROUNDS", 3);
    let mut scenario = Scenario::start(true, &["--queue.page_capacity", "256kb"], &[]);
    let plan = Plan {
        rate: 15_000,
        ..Plan::new(&scenario.pair.site.log(), LINES)
    };
    let mut writer = plan.start();
    for round in 1..=rounds {
        let wanted = LINES * round / (rounds + 1);
        scenario.stub.wait_for_taken(wanted, DEADLINE).unwrap();
        scenario.pair.aggregator.kill().unwrap();
        scenario.pair.restart().unwrap();
    }
    writer.finish().unwrap();
    scenario.finish(LINES).assert_nothing_lost();
}

#[test]
fn what_was_acknowledged_is_delivered_though_its_file_is_gone_and_the_aggregator_was_killed() {
    const LINES: u64 = 20_000;
    let mut scenario = Scenario::start(false, &[], &[]);
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario.wait_for_queued(LINES);
    // The forwarder has every acknowledgement, and the only other copy goes.
    assert!(scenario.pair.forwarder.terminate().unwrap().success());
    std::fs::remove_file(scenario.pair.site.log()).unwrap();
    scenario.pair.aggregator.kill().unwrap();
    assert_eq!(scenario.stub.counts().taken, 0);
    assert_eq!(scenario.queue(&["check"]), "no damage\n");
    assert_eq!(scenario.queue(&["export"]).lines().count() as u64, LINES);
    scenario.switch_on();
    scenario.pair.restart().unwrap();
    scenario.wait_for_all(LINES).assert_once_each();
    assert!(scenario.pair.aggregator.terminate().unwrap().success());
    assert!(scenario.queue(&["show"]).contains("waiting:  0 records"));
}

#[test]
fn a_stop_while_the_cluster_is_down_keeps_all_for_the_next_start() {
    const LINES: u64 = 10_000;
    let mut scenario = Scenario::start(false, &["--queue.compression", "speed"], &[]);
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario.wait_for_queued(LINES);
    assert!(scenario.pair.forwarder.terminate().unwrap().success());
    // Nothing is lost, so that is no failure.
    let status = scenario.pair.aggregator.terminate().unwrap();
    assert!(status.success(), "{}", scenario.pair.logs());
    assert!(
        scenario
            .pair
            .aggregator
            .log()
            .contains("left in the queue for the next start")
    );
    scenario.switch_on();
    scenario.pair.restart().unwrap();
    scenario.wait_for_all(LINES).assert_once_each();
}

#[test]
fn a_full_queue_is_felt_by_the_sender_and_goes_on_by_itself() {
    const LINES: u64 = 60_000;
    let limits = ["--queue.max_bytes", "2mb", "--queue.page_capacity", "256kb"];
    let mut scenario = Scenario::start(false, &limits, &[]);
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario
        .pair
        .wait_for_log("the queue is full", DEADLINE)
        .unwrap();
    scenario.switch_on();
    scenario.finish(LINES).assert_once_each();
}

#[test]
fn a_stop_with_a_full_queue_uses_the_reserve() {
    const LINES: u64 = 200_000;
    let limits = ["--queue.max_bytes", "32mb", "--queue.page_capacity", "1mb"];
    let mut scenario = Scenario::start(false, &limits, &[]);
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario
        .pair
        .wait_for_log("the queue is full", DEADLINE)
        .unwrap();
    // Windows that were received and did not fit are put down all the same.
    let status = scenario.pair.aggregator.terminate().unwrap();
    assert!(status.success(), "{}", scenario.pair.logs());
    assert_eq!(scenario.queue(&["check"]), "no damage\n");
    scenario.switch_on();
    scenario.pair.restart().unwrap();
    scenario.finish(LINES).assert_once_each();
}

#[test]
fn complaint_23_a_full_disk_stops_the_senders_and_not_the_process() {
    const LINES: u64 = 60_000;
    let (folder, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(disk) = SmallDisk::mount(folder.path(), 3, logs.path()).unwrap() else {
        return environment::skip(NO_MOUNTS);
    };
    let folder = folder.path().to_str().unwrap();
    // The queue may have far more than there is.
    let place = ["--path.queue", folder, "--queue.page_capacity", "256kb"];
    let mut scenario = Scenario::start(false, &place, &disk.runner());
    Plan::new(&scenario.pair.site.log(), LINES).write().unwrap();
    scenario
        .pair
        .wait_for_log("cannot write the queue", DEADLINE)
        .unwrap();
    assert!(scenario.pair.aggregator.process().unwrap().running());
    scenario.switch_on();
    scenario.finish(LINES).assert_once_each();
}
