//! Several pipelines in one process, by the real program: `pipelines.yml`, and events from one pipeline to the next.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(2);

/// A directory of settings, with a place for data and for what outputs write.
struct Site(tempfile::TempDir);

impl Site {
    /// `AT` in the text stands for the directory.
    fn new(pipelines: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let text = pipelines.replace("AT", site.path().to_str().unwrap());
        site.write("pipelines.yml", &text);
        site
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text.replace("AT", self.path().to_str().unwrap())).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"));
        command.args(arguments);
        if arguments.first() != Some(&"check") {
            command.arg("--path.data").arg(self.path().join("data"));
        }
        command.arg("--path.settings").arg(self.path());
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The child may end before it reads.
        let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Running<'_> {
        let log = std::fs::File::create(self.path().join("log")).unwrap();
        let child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Running { site: self, child }
    }

    /// The events in a file, whole lines only.
    fn events(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path().join(name)).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn messages(&self, name: &str) -> Vec<String> {
        let events = self.events(name);
        let mut messages: Vec<_> = events
            .iter()
            .map(|event| event["message"].as_str().unwrap().to_owned())
            .collect();
        messages.sort();
        messages
    }
}

struct Running<'s> {
    site: &'s Site,
    child: Child,
}

impl Running<'_> {
    fn log(&self) -> String {
        std::fs::read_to_string(self.site.path().join("log")).unwrap()
    }

    fn wait_for(&self, what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(
                started.elapsed() < PATIENCE,
                "never: {what}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for_log(&self, text: &str) {
        self.wait_for(text, || self.log().contains(text));
    }

    fn write(&mut self, lines: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(lines.as_bytes()).unwrap();
    }

    fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    fn wait(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    fn stop(mut self) -> String {
        self.terminate();
        assert_eq!(self.wait(), 0, "{}", self.log());
        self.log()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It has ended in most cases.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn lines(count: usize) -> String {
    let lines: Vec<String> = (0..count)
        .map(|number| format!("line {number:05}"))
        .collect();
    lines.join("\n") + "\n"
}

#[test]
fn pipelines_run_beside_each_other_each_with_its_settings() {
    let site = Site::new(
        r#"
- pipeline.id: one
  path.config: "AT/one/*.conf"
- pipeline.id: two
  pipeline:
    workers: 1
    ecs_compatibility: v8
  config.support_escapes: true
  config.string: |
    input { generator { lines => ["a"] count => 3 } }
    filter { mutate { add_field => { "tab" => "x\ty" } } }
    output { file { path => "AT/two.ndjson" } }
"#,
    );
    std::fs::create_dir(site.path().join("one")).unwrap();
    // The files of a glob are one pipeline.
    site.write("one/1.conf", "input { generator { count => 2 } }");
    site.write(
        "one/2.conf",
        r#"filter { mutate { add_field => { "tab" => "x\ty" } } }"#,
    );
    site.write(
        "one/3.conf",
        r#"output { file { path => "AT/one.ndjson" } }"#,
    );
    site.write("one/readme.txt", "this is no configuration");
    let output = site.run(&[], "");
    assert!(output.status.success(), "{}", stderr(&output));
    let (one, two) = (site.events("one.ndjson"), site.events("two.ndjson"));
    assert_eq!((one.len(), two.len()), (2, 3));
    assert_eq!(
        (&one[0]["tab"], &two[0]["tab"]),
        (&r"x\ty".into(), &"x\ty".into())
    );
    assert!(one[0]["host"].is_string() && two[0]["host"]["name"].is_string());
    let log = stderr(&output);
    for line in [
        "pipeline{id=\"one\"}: pipeline started",
        "pipeline{id=\"two\"}: pipeline stopped",
    ] {
        assert!(log.contains(line), "{log}");
    }
}

#[test]
fn a_configuration_on_the_command_line_counts_alone() {
    let site = Site::new("- pipeline.id: one\n  config.string: this is nothing\n");
    let configuration = "output { stdout { codec => line { format => '%{message}' } } }";
    let output = site.run(&["-e", configuration], "x\n");
    assert_eq!(
        (stdout(&output).as_str(), output.status.code()),
        ("x\n", Some(0))
    );
    assert!(
        stderr(&output).contains("ignoring pipelines.yml"),
        "{}",
        stderr(&output)
    );
    // A flag alone is no configuration.
    let output = site.run(&["-w", "1"], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("config.string of one:1:1"),
        "{}",
        stderr(&output)
    );
    std::fs::remove_file(site.path().join("pipelines.yml")).unwrap();
    let output = site.run(&[], "");
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    assert!(
        said.contains("-f") && said.contains("/pipelines.yml"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_with_pipelines_yml_starts_nothing() {
    let site = Site::new(
        "- pipeline.id: a\n  config.string: input { generator { count => 1 } } output { file { path => 'AT/a' } }\n\
         - pipeline.id: a\n  path.config: x\n  pipeline.worker: 4\n",
    );
    for arguments in [&[][..], &["check"]] {
        let output = site.run(arguments, "");
        assert_eq!(output.status.code(), Some(78));
        let said = stderr(&output);
        for text in [
            "pipelines.yml:3:16",
            "a second pipeline is called `a`",
            "pipelines.yml:5:3",
            "did you mean `pipeline.workers`?",
        ] {
            assert!(said.contains(text), "{said}");
        }
    }
    assert!(!site.path().join("a").try_exists().unwrap());
}

#[test]
fn one_refused_pipeline_keeps_no_other_from_running() {
    let site = Site::new(
        "- pipeline.id: good\n  config.string: input { generator { count => 2 } } output { file { path => 'AT/good' } }\n\
         - pipeline.id: bad\n  config.string: input { generater { } } output { }\n\
         - pipeline.id: gone\n  path.config: AT/no.conf\n",
    );
    let output = site.run(&[], "");
    // The others have run to their end, and the exit code says that something was refused.
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(site.events("good").len(), 2);
    let said = stderr(&output);
    for text in [
        "config.string of bad:1:9",
        "did you mean `generator`?",
        "no.conf",
        "pipeline=\"bad\"",
        "pipeline=\"gone\"",
    ] {
        assert!(said.contains(text), "{said}");
    }
    // One that cannot start, because its port is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    site.write("pipelines.yml", &format!(
        "- pipeline.id: good\n  config.string: input {{ generator {{ count => 2 }} }} output {{ file {{ path => 'AT/good' }} }}\n\
         - pipeline.id: bad\n  config.string: input {{ tcp {{ host => '127.0.0.1' port => {port} }} }} output {{ null {{ }} }}\n"));
    let output = site.run(&[], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(site.events("good").len(), 4);
    assert!(
        stderr(&output).contains("cannot listen on"),
        "{}",
        stderr(&output)
    );
}

/// Every pattern of Logstash's documentation sends each event to where it belongs, and to nowhere else.
#[test]
fn distributor() {
    let site = Site::new(
        r#"
- pipeline.id: intake
  config.string: |
    input { stdin { codec => json_lines } }
    output {
      if [type] == "web" { pipeline { send_to => web } }
      else if [type] == "db" { pipeline { send_to => ["db"] } }
      else { pipeline { send_to => rest } }
    }
- pipeline.id: web
  config.string: |
    input { pipeline { address => web tags => ["by-web"] } }
    output { file { path => "AT/web" } }
- pipeline.id: db
  config.string: |
    input { pipeline { address => db add_field => { "[@metadata][x]" => "y" } } }
    filter { mutate { add_field => { "seen" => "%{[@metadata][x]}-%{[@metadata][from]}" } } }
    output { file { path => "AT/db" } }
- pipeline.id: rest
  config.string: |
    input { pipeline { address => rest type => "other" } }
    output { file { path => "AT/rest" } }
"#,
    );
    let output = site.run(
        &["-w", "2"],
        "{\"type\":\"web\",\"n\":1,\"message\":\"a\"}\n{\"type\":\"db\",\"@metadata\":{\"from\":\"f\"},\"message\":\"b\"}\n{\"message\":\"c\",\"big\":123456789012345678901234567890}\n",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let [web, db, rest] = ["web", "db", "rest"].map(|name| site.events(name));
    assert_eq!((web.len(), db.len(), rest.len()), (1, 1, 1));
    assert_eq!(
        (&web[0]["n"], &web[0]["tags"]),
        (&1.into(), &serde_json::json!(["by-web"]))
    );
    assert_eq!(db[0]["seen"], "y-f");
    assert_eq!(rest[0]["type"], "other");
    let text = std::fs::read_to_string(site.path().join("rest")).unwrap();
    assert!(
        text.contains(r#""big":123456789012345678901234567890"#),
        "{text}"
    );
}

/// A slow output, here one that takes nothing, does not hold up the other: a disk queue is between.
#[test]
fn output_isolator() {
    let site = Site::new(
        r#"
- pipeline.id: intake
  config.string: |
    input { stdin { } }
    output { pipeline { send_to => ["files", "search"] } }
- pipeline.id: files
  queue.type: persisted
  config.string: |
    input { pipeline { address => files } }
    output { file { path => "AT/files" } }
- pipeline.id: search
  queue.type: persisted
  config.string: |
    input { pipeline { address => search } }
    output { elasticsearch { hosts => ["http://127.0.0.1:1"] } }
"#,
    );
    let mut running = site.start(&["--pipeline.shutdown_timeout", "1s"]);
    running.write(&lines(1000));
    running.wait_for("events", || site.events("files").len() == 1000);
    drop(running.child.stdin.take());
    let export = |id: &str| {
        let output = site.run(
            &[
                "queue",
                "export",
                "--pipeline.id",
                id,
                "--log.level",
                "error",
            ],
            "",
        );
        stdout(&output).lines().count()
    };
    running.wait_for("the queue", || export("search") == 1000);
    let log = running.stop();
    assert!(
        log.contains("pipeline{id=\"search\"}: left in the queue for the next start"),
        "{log}"
    );
    // Both queues are shown without a word about which.
    let shown = site.run(&["queue", "show"], "");
    let shown = stdout(&shown);
    assert!(
        shown.contains("pipeline: files\n") && shown.contains("pipeline: search\n"),
        "{shown}"
    );
    assert_eq!(export("files"), 0);
    // With another output they come out of the queue as they were.
    let text = std::fs::read_to_string(site.path().join("pipelines.yml")).unwrap();
    let hosts = text.find("elasticsearch {").unwrap();
    site.write(
        "pipelines.yml",
        &format!("{}file {{ path => 'AT/late' }} }}\n", &text[..hosts]),
    );
    let output = site.run(&[], "");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(site.messages("late"), site.messages("files"));
}

#[test]
fn forked_path() {
    let site = Site::new(
        r#"
- pipeline.id: intake
  queue.type: persisted
  config.string: |
    input { stdin { } }
    output { pipeline { send_to => ["internal", "partner"] } }
- pipeline.id: internal
  queue.type: persisted
  config.string: |
    input { pipeline { address => internal } }
    filter { mutate { add_field => { "kind" => "all" } } }
    output { file { path => "AT/internal" } }
- pipeline.id: partner
  config.string: |
    input { pipeline { address => partner } }
    filter { mutate { remove_field => ["host"] } if [message] =~ /7$/ { drop { } } }
    output { file { path => "AT/partner" } }
"#,
    );
    let output = site.run(
        &["--queue.max_bytes", "8mb", "--queue.page_capacity", "1mb"],
        &lines(5000),
    );
    assert!(output.status.success(), "{}", stderr(&output));
    // What the pipelines behind have is not left in the queue before them.
    let left = ["queue", "export", "--pipeline.id", "intake"];
    assert_eq!(stdout(&site.run(&left, "")), "");
    assert!(
        !stderr(&output).contains("left in the queue"),
        "{}",
        stderr(&output)
    );
    let (internal, partner) = (site.events("internal"), site.events("partner"));
    assert_eq!((internal.len(), partner.len()), (5000, 4500));
    // What one does to its copy the other does not see.
    assert!(
        internal
            .iter()
            .all(|event| event["kind"] == "all" && event["host"].is_string())
    );
    assert!(
        partner
            .iter()
            .all(|event| event.get("kind").is_none() && event.get("host").is_none())
    );
}

#[test]
fn collector() {
    let site = Site::new(
        r#"
- pipeline.id: out
  config.string: |
    input { pipeline { address => out } }
    output { file { path => "AT/out" } }
- pipeline.id: one
  config.string: |
    input { generator { lines => ["one"] count => 300 } }
    output { pipeline { send_to => out } }
- pipeline.id: two
  config.string: |
    input { generator { lines => ["two"] count => 200 } }
    filter { date { match => ["when", "ISO8601"] } }
    output { pipeline { send_to => out ensure_delivery => false } }
"#,
    );
    let output = site.run(&[], "");
    assert!(output.status.success(), "{}", stderr(&output));
    let messages = site.messages("out");
    assert_eq!(
        messages.iter().filter(|message| *message == "one").count(),
        300
    );
    assert_eq!(
        messages.iter().filter(|message| *message == "two").count(),
        200
    );
}

/// A time stays a time, and bytes that are no text stay what they are, in memory and through a disk queue.
#[test]
fn values_keep_their_kind() {
    for queue in ["memory", "persisted"] {
        let site = Site::new(&format!(
            r#"
- pipeline.id: first
  config.string: |
    input {{ stdin {{ }} }}
    filter {{ date {{ match => ["message", "ISO8601"] target => "when" }} }}
    output {{ pipeline {{ send_to => second }} }}
- pipeline.id: second
  queue.type: {queue}
  config.string: |
    input {{ pipeline {{ address => second }} }}
    filter {{ if [when] < [@timestamp] {{ mutate {{ add_tag => "earlier" }} }} }}
    output {{ file {{ path => "AT/second" }} }}
"#
        ));
        let output = site.run(&[], "2020-01-02T03:04:05.678Z\n");
        assert!(output.status.success(), "{}", stderr(&output));
        let events = site.events("second");
        assert_eq!(events[0]["tags"], serde_json::json!(["earlier"]), "{queue}");
        assert_eq!(events[0]["when"], "2020-01-02T03:04:05.678Z");
    }
}

#[test]
fn what_nobody_listens_to_waits_or_is_dropped() {
    let site = Site::new(
        r"
- pipeline.id: waits
  config.string: |
    input { generator { count => 10 } }
    output { pipeline { send_to => nobody } }
",
    );
    let running = site.start(&["--pipeline.shutdown_timeout", "200ms"]);
    running.wait_for_log("no pipeline listens at this address: waiting until one does");
    assert!(running.log().contains("address=\"nobody\""));
    let mut running = running;
    running.terminate();
    // What was not delivered is said.
    assert_eq!(running.wait(), 1, "{}", running.log());
    drop(running);
    let text = std::fs::read_to_string(site.path().join("pipelines.yml")).unwrap();
    site.write(
        "pipelines.yml",
        &text.replace("=> nobody", "=> nobody ensure_delivery => false"),
    );
    let output = site.run(&[], "");
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("dropped events") && said.contains("dropped=10"),
        "{said}"
    );
}

/// An upstream batch is acknowledged when the pipeline behind it has it, and not before: a sender of HTTP waits for that.
#[test]
fn acknowledgements_go_from_end_to_end() {
    let site = Site::new(
        r#"
- pipeline.id: intake
  config.string: |
    input { http { host => "127.0.0.1" port => 0 ack_timeout => "1s" } }
    output { pipeline { send_to => ["middle"] } }
- pipeline.id: middle
  config.string: |
    input { pipeline { address => middle } }
    output { pipeline { send_to => last } }
- pipeline.id: last
  queue.type: TYPE
  config.string: |
    input { pipeline { address => last } }
    output { elasticsearch { hosts => ["http://127.0.0.1:1"] } }
"#,
    );
    let text = std::fs::read_to_string(site.path().join("pipelines.yml")).unwrap();
    for (queue, status) in [("memory", "503"), ("persisted", "200")] {
        site.write("pipelines.yml", &text.replace("TYPE", queue));
        let mut running = site.start(&["--pipeline.shutdown_timeout", "200ms"]);
        running.wait_for_log("address=\"127.0.0.1:");
        let log = running.log();
        let address = log
            .split_once("address=\"")
            .unwrap()
            .1
            .split('"')
            .next()
            .unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream
            .write_all(
                b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
            )
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{queue}: {answer}\n{}",
            running.log()
        );
        running.terminate();
        // What is in the queue is safe, what is in memory was not delivered.
        assert_eq!(
            running.wait(),
            i32::from(queue == "memory"),
            "{}",
            running.log()
        );
    }
}

/// On a signal the pipelines upstream end first, and those behind them take what these still have.
#[test]
fn a_stop_loses_nothing_that_is_under_way() {
    let site = Site::new(
        r#"
- pipeline.id: third
  config.string: |
    input { pipeline { address => third } }
    output { file { path => "AT/third" } }
- pipeline.id: second
  pipeline.workers: 1
  config.string: |
    input { pipeline { address => second } }
    filter { sleep { time => 0.0005 } }
    output { pipeline { send_to => third } }
- pipeline.id: first
  config.string: |
    input { stdin { } }
    output { file { path => "AT/first" } pipeline { send_to => second } }
"#,
    );
    let mut running = site.start(&["-w", "2"]);
    running.write(&lines(2000));
    running.wait_for("events", || site.events("third").len() > 100);
    let log = running.stop();
    let position = |text: &str| log.find(text).unwrap_or_else(|| panic!("{text}\n{log}"));
    let order = ["first", "second", "third"].map(|id| {
        position(&format!(
            "pipeline{{id=\"{id}\"}}: pipeline stopped, everything is delivered"
        ))
    });
    assert!(order.is_sorted(), "{log}");
    assert_eq!(site.messages("third"), site.messages("first"));
    assert!(!site.messages("first").is_empty());
}

#[test]
fn check_knows_all_pipelines_and_what_is_between_them() {
    let site = Site::new(
        r"
- pipeline.id: a
  config.string: input { stdin { } pipeline { address => from_b } } output { pipeline { send_to => [to_b, to_nobody] } }
- pipeline.id: b
  path.config: AT/b.conf
- pipeline.id: c
  config.string: input { stdin { } pipeline { address => to_b } } output { null { } }
",
    );
    site.write("b.conf", "input { pipeline { address => to_b } }\nfilter { mutat { } }\noutput { pipeline { send_to => from_b } }\n");
    let output = site.run(&["check", "--format", "json"], "");
    assert_eq!(output.status.code(), Some(78));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["pipelines"], serde_json::json!(["a", "b", "c"]));
    let said: Vec<String> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default();
            let file = text("file").rsplit('/').next().unwrap();
            format!(
                "{} {file}:{} {}",
                text("pipeline"),
                finding["line"],
                text("message")
            )
        })
        .collect();
    for expected in [
        "a config.string of a:1 events would go round for ever: `a` sends to `b`, which sends to `a`",
        "b b.conf:2 unknown filter `mutat`",
        "b b.conf:3 events would go round for ever: `b` sends to `a`, which sends to `b`",
        "c config.string of c:1 pipeline `a` reads standard input already",
        "c config.string of c:1 pipeline `b` listens at `to_b` already",
    ] {
        assert!(
            said.iter().any(|each| each == expected),
            "no {expected:?} in {said:#?}"
        );
    }
    // For people the same.
    for arguments in ["check", "-t"] {
        let output = site.run(&[arguments], "");
        assert_eq!(output.status.code(), Some(78), "{arguments}");
        assert!(
            stderr(&output).contains("round for ever"),
            "{}",
            stderr(&output)
        );
    }
    // The start refuses them, too.
    site.write(
        "b.conf",
        "input { pipeline { address => in_b } }\noutput { pipeline { send_to => from_b } }\n",
    );
    site.write(
        "pipelines.yml",
        "- pipeline.id: aa\n  config.string: input { pipeline { address => from_b } } output { pipeline { send_to => in_b } }\n\
         - pipeline.id: bb\n  path.config: AT/b.conf\n",
    );
    let output = site.run(&[], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("round for ever"),
        "{}",
        stderr(&output)
    );
    // Alone, a pipeline that sends to itself.
    let alone = "input { pipeline { address => xx } } output { pipeline { send_to => xx } }";
    let output = site.run(&["check", "-e", alone], "");
    assert!(
        stderr(&output).contains("round for ever"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn commands_about_one_pipeline_take_the_one_that_is_chosen() {
    let site = Site::new(
        "- pipeline.id: a\n  config.string: filter { mutate { replace => { message => 'by a' } } }\n\
         - pipeline.id: b\n  config.string: filter { mutate { replace => { message => 'by b' } } }\n",
    );
    let output = site.run(&["filter", "--lines", "--pipeline.id", "b"], "x\n");
    assert!(stdout(&output).contains("by b"), "{}", stderr(&output));
    let output = site.run(&["explain", "--pipeline.id", "a"], "x\n");
    assert!(stdout(&output).contains("by a"), "{}", stderr(&output));
    for (arguments, message) in [
        (&["filter"][..], "choose one with --pipeline.id: a, b"),
        (
            &["filter", "--pipeline.id", "c"],
            "has no pipeline `c`, it has a, b",
        ),
    ] {
        let output = site.run(arguments, "x\n");
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
}

/// Events of a file that have a tag.
fn tagged(site: &Site, name: &str, tag: &str) -> usize {
    let events = site.events(name);
    let has = |event: &&Value| {
        let tags = event["tags"].as_array();
        tags.is_some_and(|tags| tags.iter().any(|each| each == tag))
    };
    events.iter().filter(has).count()
}

#[test]
fn what_has_changed_is_run_anew_and_what_is_wrong_changes_nothing() {
    let intake = "- pipeline.id: intake\n  config.string: input { stdin { } } output { pipeline { send_to => out } }\n";
    let out = |filter: &str| {
        format!(
            "- pipeline.id: out\n  config.string: input {{ pipeline {{ address => out }} }} filter {{ {filter} }} output {{ file {{ path => 'AT/out' }} }}\n"
        )
    };
    let site = Site::new(&format!("{intake}{}", out("mutate { add_tag => 'first' }")));
    let mut running = site.start(&["-r", "--config.reload.interval", "100ms"]);
    running.write("one\n");
    running.wait_for("the first", || tagged(&site, "out", "first") == 1);
    // Lines that come while it is stopped wait for the new one.
    site.write(
        "pipelines.yml",
        &format!("{intake}{}", out("mutate { add_tag => 'second' }")),
    );
    let mut written = 1;
    while tagged(&site, "out", "second") == 0 {
        running.write("more\n");
        written += 1;
        std::thread::sleep(Duration::from_millis(10));
        assert!(written < 10_000, "{}", running.log());
    }
    running.wait_for("all of them", || site.events("out").len() == written);
    assert_eq!(
        running.log().matches("pipeline started").count(),
        3,
        "{}",
        running.log()
    );
    // A mistake, in a pipeline or in the file, changes nothing.
    site.write("pipelines.yml", &format!("{intake}{}", out("mutat { }")));
    running.wait_for_log("its configuration has changed and is refused: it runs as before");
    assert!(running.log().contains("did you mean `mutate`?"));
    site.write(
        "pipelines.yml",
        "- pipeline.id: out\n  pipeline.worker: 4\n",
    );
    running.wait_for_log("what has changed is refused: everything runs as before");
    running.write("still\n");
    written += 1;
    running.wait_for("more", || site.events("out").len() == written);
    // One that reads standard input stays, one that goes round is refused, a new one comes.
    let changed = intake.replace("stdin { }", "stdin { type => x1 }");
    let round = out("").replace("output {", "output { pipeline { send_to => out }");
    let new = "- pipeline.id: new\n  config.string: input { generator { count => 5 } } output { file { path => 'AT/new' } }\n";
    site.write("pipelines.yml", &format!("{changed}{round}{new}"));
    running.wait_for("the new one", || site.events("new").len() == 5);
    running.wait_for_log("it reads standard input");
    assert!(
        running.log().contains("go round for ever"),
        "{}",
        running.log()
    );
    running.write("last\n");
    running.wait_for("the last", || site.events("out").len() == written + 1);
    // What is not in the file any more ends.
    site.write("pipelines.yml", intake);
    running.wait_for_log("pipeline{id=\"out\"}: pipeline stopped");
    running.stop();
}

#[test]
fn a_hangup_looks_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let site = Site::new("");
    let configuration = |tag: &str| {
        format!(
            "input {{ tcp {{ host => '127.0.0.1' port => {port} tags => '{tag}' }} }} output {{ file {{ path => 'AT/out' }} }}"
        )
    };
    let path = site.write("one.conf", &configuration("before"));
    let running = site.start(&["-f", path.to_str().unwrap()]);
    running.wait_for_log("pipeline started");
    let send = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"x\n").unwrap();
    };
    send();
    running.wait_for("the first", || tagged(&site, "out", "before") == 1);
    site.write("one.conf", &configuration("after"));
    let id = rustix::process::Pid::from_child(&running.child);
    rustix::process::kill_process(id, rustix::process::Signal::HUP).unwrap();
    running.wait_for_log("the changed configuration is in use");
    send();
    running.wait_for("the second", || tagged(&site, "out", "after") == 1);
    assert_eq!(tagged(&site, "out", "before"), 1);
    running.stop();
}

/// A pipeline that could not start is tried again.
#[test]
fn what_could_not_start_is_tried_again() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let site = Site::new(&format!(
        "- pipeline.id: late\n  config.string: input {{ tcp {{ host => '127.0.0.1' port => {port} }} }} output {{ file {{ path => 'AT/late' }} }}\n"
    ));
    let running = site.start(&["-r", "--config.reload.interval", "100ms"]);
    running.wait_for_log("the pipeline has failed");
    drop(taken);
    running.wait_for_log("pipeline started");
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"x\n").unwrap();
    running.wait_for("the event", || site.events("late").len() == 1);
    running.stop();
}
