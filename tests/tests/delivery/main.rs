//! From a log file to a search result, through both daemons, into a real OpenSearch 2.
//!
//! One server for all tests here; they run one after the other, because some of them kill it.
//! `SKIDDER_KILL_ROUNDS` repeats the kill tests (default 1; ten before a release).

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test is a failed test"
)]

mod dead_letters;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use skidder_tests::daemon::Daemon;
use skidder_tests::environment;
use skidder_tests::servers::{OPENSEARCH_2, Search, Server};
use skidder_tests::site::{Site, arrived_in_index, elasticsearch_output};
use skidder_tests::wait;
use skidder_tests::writers::{Plan, Rotation, Tally};

const DEADLINE: Duration = Duration::from_mins(5);
/// The options of the outputs here: a cluster that comes back is found within a second.
const QUICK: &str = "retry_initial_interval => 1 retry_max_interval => 1 resurrect_delay => 1";

/// The server, for one test at a time.
fn server() -> Option<MutexGuard<'static, Server>> {
    static SERVER: OnceLock<Option<Mutex<Server>>> = OnceLock::new();
    let server = SERVER
        .get_or_init(|| Server::start_or_skip(&OPENSEARCH_2, &[]).map(Mutex::new))
        .as_ref()?;
    let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
    // A failed test may have left it dead.
    if server.search().ready().is_err() {
        server.resume().unwrap();
    }
    Some(server)
}

fn kill_rounds() -> u64 {
    environment::number("SKIDDER_KILL_ROUNDS", 1)
}

/// A site with both daemons running, shipping into an index of its own.
struct Line {
    site: Site,
    index: String,
    aggregator: Daemon,
    forwarder: Daemon,
    search: Search,
}

impl Line {
    fn start(server: &Server, index: &str) -> Self {
        let site = Site::new().unwrap();
        let search = server.search();
        search.delete(index).unwrap();
        let output = elasticsearch_output(&server.host(), index, QUICK);
        let mut aggregator = site.aggregator(&output).unwrap();
        aggregator.start_listening(site.port).unwrap();
        let mut forwarder = site.forwarder().unwrap();
        forwarder.start().unwrap();
        Self {
            site,
            index: index.to_owned(),
            aggregator,
            forwarder,
            search,
        }
    }

    /// Waits until so many documents are there: the point "in the middle" for a fault.
    fn reach(&self, documents: u64) {
        let reached = self.search.wait_for_count(&self.index, documents, DEADLINE);
        reached.unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()));
    }

    /// Waits until all lines are there, ends both daemons, and counts again: nothing may come
    /// or vanish at the end.
    fn finish(mut self, lines: u64) -> Tally {
        let tally = arrived_in_index(&self.search, &self.index, lines, DEADLINE).unwrap();
        assert!(
            tally.missing.is_empty(),
            "{} missing\n{}",
            tally.missing.len(),
            self.logs()
        );
        assert!(
            self.forwarder.terminate().unwrap().success(),
            "{}",
            self.logs()
        );
        assert!(
            self.aggregator.terminate().unwrap().success(),
            "{}",
            self.logs()
        );
        let tally = arrived_in_index(&self.search, &self.index, lines, DEADLINE).unwrap();
        self.search.delete(&self.index).unwrap();
        tally
    }

    fn logs(&self) -> String {
        format!(
            "aggregator:\n{}\nforwarder:\n{}",
            self.aggregator.log(),
            self.forwarder.log()
        )
    }
}

#[test]
fn a_hundred_thousand_lines_arrive_once_each() {
    const LINES: u64 = 100_000;
    let Some(server) = server() else { return };
    let line = Line::start(&server, "hundred-thousand");
    Plan::new(&line.site.log(), LINES).write().unwrap();
    line.finish(LINES).assert_once_each();
}

#[test]
fn lines_arrive_through_rotation_by_rename() {
    const LINES: u64 = 60_000;
    let Some(server) = server() else { return };
    let line = Line::start(&server, "renamed");
    let plan = Plan {
        rate: 20_000,
        burst: 37,
        torn: true,
        rotation: Rotation::Rename { lines: 4_001 },
        ..Plan::new(&line.site.log(), LINES)
    };
    assert!(plan.start().finish().unwrap() >= 14);
    line.finish(LINES).assert_once_each();
}

#[test]
fn renamed_files_that_match_the_glob_are_not_read_again() {
    const LINES: u64 = 40_000;
    let Some(server) = server() else { return };
    let mut line = Line::start(&server, "renamed-in-glob");
    line.forwarder.terminate().unwrap();
    let mut shipping = line.site.shipping();
    shipping.paths = vec![line.site.path().join("app.log*")];
    line.forwarder =
        Daemon::forwarder(line.site.path(), "globbing", &shipping.yaml().unwrap()).unwrap();
    line.forwarder.start().unwrap();
    let plan = Plan {
        rate: 20_000,
        burst: 50,
        rotation: Rotation::Rename { lines: 5_000 },
        ..Plan::new(&line.site.log(), LINES)
    };
    plan.write().unwrap();
    line.finish(LINES).assert_once_each();
}

#[test]
fn lines_arrive_through_rotation_by_copy_and_truncate() {
    const LINES: u64 = 40_000;
    let Some(server) = server() else { return };
    let line = Line::start(&server, "truncated");
    let (search, index) = (line.search, line.index.clone());
    let plan = Plan {
        rate: 20_000,
        burst: 50,
        torn: true,
        // Files of different lengths: the new content is longer than the old at times, shorter
        // at others, when the forwarder looks again.
        rotation: Rotation::CopyTruncate {
            lines: 6_500,
            before_cut: Box::new(move |written| {
                search.wait_for_count(&index, written, DEADLINE).map(|_| ())
            }),
        },
        ..Plan::new(&line.site.log(), LINES)
    };
    assert_eq!(plan.start().finish().unwrap(), 6);
    line.finish(LINES).assert_once_each();
}

#[test]
fn complaint_31_each_line_once_when_the_forwarder_is_killed() {
    const LINES: u64 = 60_000;
    let Some(server) = server() else { return };
    for round in 0..kill_rounds() {
        let mut line = Line::start(&server, "killed-forwarder");
        let mut writer = Plan {
            rate: 15_000,
            ..Plan::new(&line.site.log(), LINES)
        }
        .start();
        for kill in 1..=4 {
            line.reach(kill * LINES / 6);
            line.forwarder.kill().unwrap();
            line.forwarder.start().unwrap();
        }
        writer.finish().unwrap();
        let tally = line.finish(LINES);
        println!(
            "round {round}: forwarder killed 4 times, {} duplicates",
            tally.duplicates
        );
        tally.assert_once_each();
    }
}

#[test]
fn complaint_31_each_line_once_when_the_aggregator_is_killed() {
    const LINES: u64 = 60_000;
    let Some(server) = server() else { return };
    for round in 0..kill_rounds() {
        let mut line = Line::start(&server, "killed-aggregator");
        let mut writer = Plan {
            rate: 15_000,
            ..Plan::new(&line.site.log(), LINES)
        }
        .start();
        for kill in 1..=4 {
            line.reach(kill * LINES / 6);
            line.aggregator.kill().unwrap();
            line.aggregator.start_listening(line.site.port).unwrap();
        }
        writer.finish().unwrap();
        let tally = line.finish(LINES);
        println!(
            "round {round}: aggregator killed 4 times, {} duplicates",
            tally.duplicates
        );
        tally.assert_once_each();
    }
}

#[test]
fn complaint_31_each_line_of_the_aggregators_own_files_once_when_it_is_killed() {
    own_files("memory", "killed-file-input");
}

/// What is read back from the queue is of the same lines as what is read again.
#[test]
fn complaint_31_each_line_of_the_aggregators_own_files_once_behind_a_disk_queue() {
    own_files("persisted", "killed-file-input-with-queue");
}

fn own_files(queue: &str, index: &str) {
    const LINES: u64 = 40_000;
    let Some(server) = server() else { return };
    let (site, search) = (Site::new().unwrap(), server.search());
    search.delete(index).unwrap();
    let input = format!(
        "input {{ file {{ path => \"{}\" start_position => beginning sincedb_path => \"{}\" }} }}\n",
        site.log().display(),
        site.path().join("sincedb").display()
    );
    let pipeline = input + &elasticsearch_output(&server.host(), index, QUICK);
    let mut aggregator = Daemon::aggregator(site.path(), "aggregator", &pipeline)
        .unwrap()
        .with_arguments(&["--queue.type", queue]);
    aggregator.start().unwrap();
    let mut writer = Plan {
        rate: 15_000,
        ..Plan::new(&site.log(), LINES)
    }
    .start();
    for kill in 1..=4 {
        let reached = search.wait_for_count(index, kill * LINES / 6, DEADLINE);
        reached.unwrap_or_else(|error| panic!("{error:#}\n{}", aggregator.log()));
        aggregator.kill().unwrap();
        aggregator.start().unwrap();
    }
    writer.finish().unwrap();
    let tally = arrived_in_index(&search, index, LINES, DEADLINE).unwrap();
    assert!(tally.missing.is_empty(), "{}", aggregator.log());
    assert!(aggregator.terminate().unwrap().success());
    let tally = arrived_in_index(&search, index, LINES, DEADLINE).unwrap();
    search.delete(index).unwrap();
    tally.assert_once_each();
}

#[test]
fn complaint_31_each_line_once_when_the_cluster_is_killed() {
    const LINES: u64 = 60_000;
    let Some(mut server) = server() else { return };
    for round in 0..kill_rounds() {
        let line = Line::start(&server, "killed-cluster");
        let mut writer = Plan {
            rate: 10_000,
            ..Plan::new(&line.site.log(), LINES)
        }
        .start();
        line.reach(LINES / 3);
        server.kill().unwrap();
        server.resume().unwrap();
        writer.finish().unwrap();
        let tally = line.finish(LINES);
        println!(
            "round {round}: OpenSearch killed once, {} duplicates",
            tally.duplicates
        );
        tally.assert_once_each();
    }
}

#[test]
fn the_classic_configs_run_unchanged() {
    let Some(server) = server() else { return };
    let site = Site::new().unwrap();
    let search = server.search();
    search.delete("logs-2023.11.14,logs-2023.11.15").unwrap();

    // The pipeline of a thousand tutorials; only port, certificate paths and host are the test's.
    let pipeline = format!(
        r#"input {{ beats {{ port => {port} ssl => true ssl_certificate => "{certificate}" ssl_key => "{key}" }} }}
filter {{
  if [type] == "apache" {{
    grok {{ match => {{ "message" => "%{{COMBINEDAPACHELOG}}" }} }}
    date {{ match => [ "timestamp", "dd/MMM/yyyy:HH:mm:ss Z" ] }}
    mutate {{ convert => {{ "bytes" => "integer" }} remove_field => [ "timestamp" ] }}
  }}
}}
output {{ elasticsearch {{ hosts => ["{host}"] index => "logs-%{{+YYYY.MM.dd}}" }} }}
"#,
        port = site.port,
        certificate = site.server.certificate.display(),
        key = site.server.key.display(),
        host = server.host(),
    );
    let mut aggregator = Daemon::aggregator(site.path(), "aggregator", &pipeline)
        .unwrap()
        .with_arguments(&["--pipeline.ecs_compatibility", "disabled"]);
    aggregator.start_listening(site.port).unwrap();

    // A logstash-forwarder config with comments, as its README has it.
    let config = site.path().join("logstash-forwarder.conf");
    let json = format!(
        r#"{{
  # The network section covers network configuration :)
  "network": {{
    "servers": [ "localhost:{port}" ],
    # The path to your trusted ssl CA file.
    "ssl ca": "{ca}",
    "timeout": 15
  }},
  # The list of files configurations
  "files": [
    {{
      "paths": [
        "{log}"
      ],
      # A dictionary of fields to annotate on each event.
      "fields": {{ "type": "apache" }}
    }}
  ]
}}
"#,
        port = site.port,
        ca = site.authority.certificate.display(),
        log = site.log().display(),
    );
    std::fs::write(&config, json).unwrap();
    std::fs::write(
        site.log(),
        concat!(
            "192.0.2.1 - alice [14/Nov/2023:22:13:20 +0000] \"GET /a?x=1 HTTP/1.1\" 200 1234 \"-\" \"curl/8.4.0\"\n",
            "192.0.2.2 - - [15/Nov/2023:01:02:03 +0200] \"POST /b HTTP/1.0\" 304 - \"http://example.com/\" \"Mozilla/5.0\"\n",
            "192.0.2.3 - - [15/Nov/2023:23:59:59 -0500] \"GET /c HTTP/1.1\" 500 7 \"-\" \"-\"\n",
        ),
    )
    .unwrap();
    let mut forwarder = Daemon::unchanged_forwarder(site.path(), "forwarder", &config).unwrap();
    forwarder.start().unwrap();

    let arrived = search.wait_for_count("logs-2023.11.*", 3, DEADLINE);
    arrived.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", aggregator.log(), forwarder.log()));
    let documents = search.documents("logs-2023.11.*", None).unwrap();
    let find = |address: &str| -> &Value {
        documents
            .iter()
            .find(|document| document["_source"]["clientip"] == address)
            .unwrap()
    };
    let first = find("192.0.2.1");
    assert_eq!(first["_index"], "logs-2023.11.14");
    let source = &first["_source"];
    assert_eq!(source["@timestamp"], "2023-11-14T22:13:20.000Z");
    assert_eq!(source["auth"], "alice");
    assert_eq!(source["verb"], "GET");
    assert_eq!(source["request"], "/a?x=1");
    assert_eq!(source["response"], "200");
    assert_eq!(source["bytes"], 1234);
    assert_eq!(source["type"], "apache");
    assert_eq!(source["timestamp"], Value::Null);
    assert_eq!(source["tags"], json!(["beats_input_codec_plain_applied"]));
    // Two hours east of Greenwich it was still the day before.
    let second = find("192.0.2.2");
    assert_eq!(second["_index"], "logs-2023.11.14");
    assert_eq!(second["_source"]["@timestamp"], "2023-11-14T23:02:03.000Z");
    assert_eq!(second["_source"]["bytes"], Value::Null);
    let third = find("192.0.2.3");
    assert_eq!(third["_index"], "logs-2023.11.16");

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
    search.delete("logs-2023.11.*").unwrap();
    wait::until("the test's indices to be gone", DEADLINE, || {
        match search.count("logs-2023.11.*") {
            Ok(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .unwrap();
}
