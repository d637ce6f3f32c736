//! The `kafka` output and the `kafka` input around a real broker: lines go from a forwarder through one aggregator into a
//! topic, and through another out of it, while somebody is killed, leaves, or does not take anything.
//!
//! Each line has to arrive, under one id however often. The cluster behind is a stub.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use skidder_tests::daemon::{Daemon, Program, missing_for_kafka};
use skidder_tests::environment;
use skidder_tests::kafka::Cluster;
use skidder_tests::servers::Kafka;
use skidder_tests::site::{Site, elasticsearch_output, wait_for_lines_at_stub};
use skidder_tests::stub::Stub;
use skidder_tests::wait;
use skidder_tests::writers::Plan;

const DEADLINE: Duration = Duration::from_mins(3);
const PARTITIONS: i32 = 4;
const TOPIC: &str = "lines";

fn broker_or_skip() -> Option<Kafka> {
    if let Some(reason) = missing_for_kafka() {
        environment::skip(reason);
        return None;
    }
    Kafka::start_or_skip()
}

/// The broker of the tests that let it live.
fn shared_broker() -> Option<&'static Kafka> {
    static BROKER: OnceLock<Option<Kafka>> = OnceLock::new();
    BROKER.get_or_init(broker_or_skip).as_ref()
}

/// A forwarder, an aggregator that writes into a topic, and what is needed for others that read it.
struct Scene {
    site: Site,
    host: String,
    cluster: Cluster,
    /// Names the topic and the group.
    name: &'static str,
    writing: Daemon,
    forwarder: Daemon,
}

impl Scene {
    fn start(broker: &Kafka, name: &'static str) -> Self {
        let site = Site::new().unwrap();
        let (host, cluster) = (broker.host(), broker.cluster());
        cluster.create(name, PARTITIONS, &[]).unwrap();
        let output = format!(
            "output {{ kafka {{ bootstrap_servers => '{host}' topic_id => '{name}' codec => json \
             compression_type => zstd linger_ms => 5 batch_size => 100000 }} }}\n"
        );
        let writing = site.aggregator(&output).unwrap().with_kafka();
        let mut writing = writing.with_arguments(&["--pipeline.shutdown_timeout", "30s"]);
        writing.start_listening(site.port).unwrap();
        let mut forwarder = site.forwarder().unwrap();
        forwarder.start().unwrap();
        Self {
            site,
            host,
            cluster,
            name,
            writing,
            forwarder,
        }
    }

    /// An aggregator that reads the topic and delivers to a stub.
    fn reading(&self, called: &str, stub: &Stub, options: &str) -> Daemon {
        let output = elasticsearch_output(
            &stub.host(),
            "lines",
            "retry_initial_interval => 1 retry_max_interval => 1 resurrect_delay => 1",
        );
        let pipeline = format!(
            "input {{ kafka {{ bootstrap_servers => '{}' topics => '{name}' group_id => '{name}' \
             auto_offset_reset => earliest codec => json auto_commit_interval_ms => 50 {options} }} }}\n{output}",
            self.host,
            name = self.name,
        );
        let daemon = Daemon::aggregator(self.site.path(), called, &pipeline).unwrap();
        let mut daemon = daemon
            .with_kafka()
            .with_arguments(&["--pipeline.shutdown_timeout", "30s"])
            // Less than what there is to read, so that it has to stay in Kafka.
            .with_arguments(&["--queue.max_memory_bytes", "8mb"]);
        daemon.start().unwrap();
        daemon
    }

    /// Messages that are committed, and all that there are.
    fn committed(&self) -> (u64, u64) {
        let committed = self.cluster.committed(self.name, self.name, PARTITIONS);
        let ends = self.cluster.ends(self.name, PARTITIONS).unwrap();
        let sum = |offsets: Vec<i64>| offsets.iter().map(|offset| (*offset).max(0) as u64).sum();
        (sum(committed.unwrap()), sum(ends))
    }

    /// Ends a reader, which commits all that it has.
    fn finish(&mut self, readers: &mut [&mut Daemon]) {
        assert!(self.forwarder.terminate().unwrap().success());
        assert!(
            self.writing.terminate().unwrap().success(),
            "{}",
            self.writing.log()
        );
        for reader in readers {
            assert!(reader.terminate().unwrap().success(), "{}", reader.log());
        }
        let (committed, all) = self.committed();
        assert_eq!(committed, all, "everything was delivered");
    }
}

/// Each line came under one id, and no two under the same.
fn assert_one_id_each(stubs: &[&Stub], lines: u64) {
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for document in stubs.iter().flat_map(|stub| stub.documents()) {
        let action: Value = serde_json::from_str(&document.action).unwrap();
        let source: Value = serde_json::from_str(&document.source).unwrap();
        let id = action["create"]["_id"].as_str().unwrap().to_owned();
        let message = source["message"].as_str().unwrap().to_owned();
        ids.entry(message).or_default().insert(id);
    }
    let different: BTreeSet<_> = ids.values().flatten().collect();
    assert_eq!(ids.len() as u64, lines, "every line");
    assert_eq!(different.len() as u64, lines, "one id for a line");
}

#[test]
#[ignore = "builds the aggregator with librdkafka, which takes minutes: cargo test -p skidder-tests --test kafka -- --ignored"]
fn kills_on_both_sides_lose_nothing_and_no_offset_is_ahead() {
    const LINES: u64 = 40_000;
    let Some(broker) = shared_broker() else {
        return;
    };
    let mut scene = Scene::start(broker, "killed");
    let stub = Stub::recording().unwrap();
    let mut reading = scene.reading("reading", &stub, "");
    let plan = Plan {
        rate: 8_000,
        ..Plan::new(&scene.site.log(), LINES)
    };
    let mut writer = plan.start();
    for wanted in [LINES / 5, LINES * 2 / 5, LINES * 3 / 5] {
        wait::until("lines at the stub", DEADLINE, || {
            // What was taken is asked last: it can only have grown since.
            let (committed, _) = scene.committed();
            let taken = stub.counts().taken;
            assert!(
                committed <= taken,
                "{committed} committed, {taken} delivered"
            );
            if taken >= wanted {
                Ok(())
            } else {
                Err(format!("{taken} delivered"))
            }
        })
        .unwrap();
        reading.kill().unwrap();
        reading.start().unwrap();
    }
    scene.writing.kill().unwrap();
    scene.writing.start_listening(scene.site.port).unwrap();
    writer.finish().unwrap();
    let tally = wait_for_lines_at_stub(&stub, LINES, DEADLINE).unwrap();
    tally.assert_nothing_lost();
    scene.finish(&mut [&mut reading]);
    assert_one_id_each(&[&stub], LINES);
}

#[test]
#[ignore = "builds the aggregator with librdkafka, which takes minutes: cargo test -p skidder-tests --test kafka -- --ignored"]
fn two_members_share_and_one_leaves() {
    const LINES: u64 = 20_000;
    let Some(broker) = shared_broker() else {
        return;
    };
    let mut scene = Scene::start(broker, "shared");
    let stubs = [Stub::recording().unwrap(), Stub::recording().unwrap()];
    let strategy = "partition_assignment_strategy => cooperative_sticky session_timeout_ms => 6000";
    let mut first = scene.reading("first", &stubs[0], strategy);
    let mut second = scene.reading("second", &stubs[1], strategy);
    for daemon in [&mut first, &mut second] {
        let process = daemon.process().unwrap();
        process
            .wait_for_log("partitions are given to this consumer", DEADLINE)
            .unwrap();
    }
    let plan = Plan {
        rate: 5_000,
        ..Plan::new(&scene.site.log(), LINES)
    };
    let mut writer = plan.start();
    stubs[0].wait_for_taken(LINES / 5, DEADLINE).unwrap();
    stubs[1].wait_for_taken(LINES / 5, DEADLINE).unwrap();
    assert!(second.terminate().unwrap().success(), "{}", second.log());
    writer.finish().unwrap();
    wait::until("every line at one of the stubs", DEADLINE, || {
        let taken = stubs[0].counts().taken + stubs[1].counts().taken;
        (taken >= LINES)
            .then_some(())
            .ok_or(format!("{taken} delivered"))
    })
    .unwrap();
    scene.finish(&mut [&mut first]);
    assert_one_id_each(&[&stubs[0], &stubs[1]], LINES);
    // Who left had committed what it had, and who stayed kept what it had.
    let taken = stubs[0].counts().taken + stubs[1].counts().taken;
    assert_eq!(taken, LINES, "none came twice");
}

#[test]
#[ignore = "builds the aggregator with librdkafka, which takes minutes: cargo test -p skidder-tests --test kafka -- --ignored"]
fn while_nothing_is_taken_the_lag_stays_in_kafka_and_the_member_in_its_group() {
    // Some 150 MiB as JSON.
    const LINES: u64 = 300_000;
    // What is fetched is packed, to a tenth or less here; unpacked, a message has half a kilobyte of the library's
    // own. A build for debugging held 184 MiB of 60,000 lines and 229 of these.
    const MOST_MEMORY: u64 = 280 << 20;
    let Some(broker) = shared_broker() else {
        return;
    };
    let mut scene = Scene::start(broker, "blocked");
    let (stub, up) = Stub::switched(false).unwrap();
    // Whoever did not poll for four seconds would be out.
    let limits = "prefetch_max_bytes => '1 MiB' max_poll_interval_ms => 4000 session_timeout_ms => 4000 heartbeat_interval_ms => 1000";
    let mut reading = scene.reading("reading", &stub, limits);
    Plan::new(&scene.site.log(), LINES).write().unwrap();
    wait::until("every line in Kafka", DEADLINE, || {
        let (_, all) = scene.committed();
        (all >= LINES)
            .then_some(())
            .ok_or(format!("{all} messages"))
    })
    .unwrap();
    let blocked = Instant::now();
    wait::until("eight seconds", DEADLINE, || {
        let memory = reading
            .process()
            .and_then(|process| process.usage())
            .unwrap();
        assert!(memory.resident < MOST_MEMORY, "{memory:?}");
        assert_eq!(scene.committed().0, 0, "nothing was delivered");
        (blocked.elapsed() > Duration::from_secs(8))
            .then_some(())
            .ok_or(String::new())
    })
    .unwrap();
    up.store(true, Ordering::SeqCst);
    let tally = wait_for_lines_at_stub(&stub, LINES, DEADLINE).unwrap();
    tally.assert_nothing_lost();
    let log = reading.log();
    assert!(!log.contains("partitions are taken back"), "{log}");
    scene.finish(&mut [&mut reading]);
    assert_one_id_each(&[&stub], LINES);
}

#[test]
#[ignore = "builds the aggregator with librdkafka, which takes minutes: cargo test -p skidder-tests --test kafka -- --ignored"]
fn a_broker_that_dies_and_comes_back_is_waited_for() {
    const LINES: u64 = 20_000;
    let Some(mut broker) = broker_or_skip() else {
        return;
    };
    let mut scene = Scene::start(&broker, TOPIC);
    let stub = Stub::recording().unwrap();
    let mut reading = scene.reading("reading", &stub, "");
    let plan = Plan {
        rate: 5_000,
        ..Plan::new(&scene.site.log(), LINES)
    };
    let mut writer = plan.start();
    stub.wait_for_taken(LINES / 4, DEADLINE).unwrap();
    broker.kill().unwrap();
    let process = scene.writing.process().unwrap();
    process.wait_for_log("Kafka", DEADLINE).unwrap();
    broker.resume().unwrap();
    writer.finish().unwrap();
    let tally = wait_for_lines_at_stub(&stub, LINES, DEADLINE).unwrap();
    tally.assert_nothing_lost();
    scene.finish(&mut [&mut reading]);
    assert_one_id_each(&[&stub], LINES);
}

#[test]
#[ignore = "builds the aggregator with librdkafka, which takes minutes: cargo test -p skidder-tests --test kafka -- --ignored"]
fn a_batch_that_is_refused_goes_message_by_message_and_only_what_is_too_large_is_buried() {
    const ROUNDS: usize = 100;
    let Some(broker) = shared_broker() else {
        return;
    };
    let site = Site::new().unwrap();
    let cluster = broker.cluster();
    let limit = [("max.message.bytes", "3000")];
    cluster.create("small", 1, &limit).unwrap();
    let (fits, too_large) = ("x".repeat(200), "y".repeat(5000));
    let pipeline = format!(
        "input {{ generator {{ lines => ['{fits}', '{too_large}'] count => {ROUNDS} }} }}\n\
         output {{ kafka {{ bootstrap_servers => '{}' topic_id => small codec => json batch_size => 200000 linger_ms => 300 }} }}\n",
        broker.host()
    );
    let mut daemon = Daemon::aggregator(site.path(), "writing", &pipeline)
        .unwrap()
        .with_kafka();
    daemon.start().unwrap();
    let ended = daemon.process().unwrap().wait(DEADLINE).unwrap();
    assert!(ended.success(), "{}", daemon.log());
    assert_eq!(cluster.ends("small", 1).unwrap(), [ROUNDS as i64]);
    let letters = std::fs::read_dir(daemon.data().join("dead_letter_queue/main")).unwrap();
    let letters: String = letters
        .map(|segment| std::fs::read_to_string(segment.unwrap().path()).unwrap())
        .collect();
    assert_eq!(letters.lines().count(), ROUNDS);
    assert!(letters.lines().all(|letter| letter.contains("yyyy")));
}

#[test]
#[ignore = "builds the aggregator with librdkafka, which takes minutes: cargo test -p skidder-tests --test kafka -- --ignored"]
fn doctor_asks_the_brokers_and_makes_no_topic() {
    let Some(broker) = shared_broker() else {
        return;
    };
    let (host, cluster) = (broker.host(), broker.cluster());
    cluster.create("examined", PARTITIONS, &[]).unwrap();
    let doctor = |host: &str, topic: &str| {
        let output = Program::AggregatorWithKafka
            .command()
            .args(["doctor", "-e"])
            .arg(format!(
                "input {{ stdin {{ }} }} output {{ kafka {{ bootstrap_servers => '{host}' topic_id => '{topic}' codec => json }} }}"
            ))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), said)
    };
    let (fine, said) = doctor(&host, "examined");
    assert!(fine && said.contains(&host), "{said}");
    assert!(said.contains("`examined` with 4 partitions"), "{said}");
    let (fine, said) = doctor(&host, "of-%{type}");
    assert!(fine && said.contains("follows from the event"), "{said}");
    for _ in 0..2 {
        // Still not there when it is asked for again.
        let (fine, said) = doctor(&host, "nobodys");
        assert!(fine && said.contains("`nobodys` is not there"), "{said}");
    }
    let closed = format!("127.0.0.1:{}", environment::free_port().unwrap());
    let (fine, said) = doctor(&closed, "examined");
    assert!(!fine && said.contains("refused"), "{said}");
    assert!(said.contains("`security_protocol`"), "{said}");
}
