//! The inputs whose events come from this host: `heartbeat`, `exec`, `pipe` and `unix`.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::daemon::{Daemon, PATIENCE};

#[path = "support/daemon.rs"]
mod daemon;

fn messages(events: &[Value]) -> Vec<&str> {
    let messages = events
        .iter()
        .map(|event| event["message"].as_str().unwrap());
    messages.collect()
}

/// Two workers may change the order of what comes in pieces.
fn sorted(events: &[Value]) -> Vec<&str> {
    let mut messages = messages(events);
    messages.sort_unstable();
    messages
}

/// Runs it until its inputs have ended.
fn run(input: &str) -> Vec<Value> {
    let mut daemon = Daemon::start(input, "");
    assert!(daemon.child.wait().unwrap().success(), "{}", daemon.log());
    daemon.events()
}

fn check(input: &str) -> (Option<i32>, String) {
    let configuration = format!("input {{ {input} }} output {{ null {{ }} }}");
    let output = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(["-t", "-e", &configuration])
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Whether a process is there, be it as a zombie.
fn is_there(process: &str) -> bool {
    Path::new("/proc")
        .join(process.trim())
        .try_exists()
        .unwrap()
}

fn wait_until_gone(processes: &[&str]) {
    let started = Instant::now();
    while processes.iter().any(|process| is_there(process)) {
        assert!(
            started.elapsed() < PATIENCE,
            "{processes:?} are still there"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_heart_beats_as_often_as_it_shall() {
    let events = run(
        "heartbeat { interval => 0.02 count => 3 sequence => sequence message => 'on' type => 'h' }",
    );
    let mut seen: Vec<_> = events
        .iter()
        .map(|event| json!([event["message"], event["clock"], event["type"]]))
        .collect();
    seen.sort_by_key(ToString::to_string);
    assert_eq!(
        seen,
        [
            json!(["on", 1, "h"]),
            json!(["on", 2, "h"]),
            json!(["on", 3, "h"])
        ]
    );
    assert!(events[0]["host"].is_string());
    let events = run(
        "heartbeat { interval => 0.02 count => 1 threads => 2 sequence => epoch ecs_compatibility => v8 }",
    );
    assert_eq!(messages(&events), ["ok", "ok"]);
    let seconds = events[0]["event"]["sequence"].as_u64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    assert!(now.unwrap().as_secs().abs_diff(seconds) < 600);
    assert!(events[0]["host"]["name"].is_string() && events[0].get("clock").is_none());
    let events = run("heartbeat { interval => 0.02 count => 1 message => epoch }");
    assert!(events[0]["clock"].is_u64() && events[0].get("message").is_none());
    let (code, said) = check("heartbeat { message => sequence }");
    assert!(
        code == Some(0) && said.contains("`sequence` says the same"),
        "{said}"
    );
}

#[test]
fn what_a_command_writes_is_an_event_with_how_it_ended() {
    let more = "filter { mutate { add_field => { 'status' => '%{[@metadata][exit_status]}' 'took' => '%{[@metadata][duration]}' } } }";
    let command = "echo one; echo two; sleep 0.05; exit 3";
    let daemon = Daemon::start(
        &format!("exec {{ command => '{command}' interval => 0.1 }}"),
        more,
    );
    daemon.wait_for_events(2);
    let events = daemon.stop();
    assert_eq!(events[0]["message"], "one\ntwo\n");
    assert_eq!(events[0]["command"], command);
    assert_eq!(events[0]["status"], "3");
    assert!(events[0]["took"].as_str().unwrap().parse::<f64>().unwrap() >= 0.05);
    assert!(events[0]["host"].is_string());

    let more = "filter { mutate { add_field => { 'took' => '%{[@metadata][input][exec][process][elapsed_time]}' } } }";
    let daemon = Daemon::start(
        "exec { command => 'printf \"{\\\"a\\\":1}\"' schedule => '* * * * * *' codec => json ecs_compatibility => v8 }",
        more,
    );
    daemon.wait_for_events(2);
    let events = daemon.stop();
    assert_eq!(events[1]["a"], 1);
    assert_eq!(events[1]["process"]["exit_code"], 0);
    assert!(
        events[1]["process"]["command_line"]
            .as_str()
            .unwrap()
            .contains("printf")
    );
    assert!(events[1]["took"].as_str().unwrap().parse::<u64>().unwrap() > 10_000);
    // Nothing written is something too.
    let daemon = Daemon::start("exec { command => 'true' interval => 60 }", "");
    daemon.wait_for_events(1);
    assert_eq!(messages(&daemon.stop()), [""]);
}

#[test]
fn a_command_that_goes_too_far_is_ended_with_all_that_it_has_started() {
    let command = "echo $$; sleep 1000 & echo $!; trap : TERM; wait; wait";
    let daemon = Daemon::start(
        &format!(
            "exec {{ command => '{command}' interval => 1000 timeout => 0.5 }} \
                  exec {{ command => 'yes' interval => 1000 max_output_bytes => 100001 }}"
        ),
        "",
    );
    daemon.wait_for_events(2);
    let events = daemon.events();
    let of_it = |tag: &str| {
        events
            .iter()
            .find(|event| event["tags"] == json!([tag]))
            .unwrap()
    };
    let processes = of_it("_exec_timeout")["message"].as_str().unwrap();
    let processes: Vec<&str> = processes.lines().collect();
    assert_eq!(processes.len(), 2);
    wait_until_gone(&processes);
    assert_eq!(
        of_it("_exec_output_truncated")["message"]
            .as_str()
            .unwrap()
            .len(),
        100_001
    );
    daemon.stop();
}

#[test]
fn a_stop_ends_what_runs() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let command = format!("sleep 1000 & echo $$ $! > {}; wait", pids.display());
    let daemon = Daemon::start(
        &format!("exec {{ command => '{command}' interval => 1 }}"),
        "",
    );
    let read = || std::fs::read_to_string(&pids).unwrap_or_default();
    daemon.wait_for("process", |_| read().ends_with('\n'));
    let started = Instant::now();
    assert!(daemon.stop().is_empty());
    assert!(started.elapsed() < PATIENCE);
    let pids = read();
    wait_until_gone(&pids.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn a_pipe_is_read_line_by_line_and_begun_again() {
    let daemon = Daemon::start("pipe { command => 'echo one; echo; printf two' }", "");
    daemon.wait_for_events(6);
    let log = daemon.log();
    let events = daemon.stop();
    let seen = sorted(&events);
    assert!(seen.iter().filter(|message| message.is_empty()).count() >= 2);
    assert_eq!(
        seen.iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([&"", &"one", &"two"])
    );
    assert!(events[0]["command"].is_string() && events[0]["host"].is_string());
    assert!(log.contains("starting it again"), "{log}");

    let codec = "codec => multiline { pattern => '^ ' what => previous } ecs_compatibility => v1";
    let daemon = Daemon::start(
        &format!("pipe {{ command => 'echo a; echo \" b\"; echo c' {codec} }}"),
        "",
    );
    daemon.wait_for_events(2);
    let events = daemon.stop();
    let seen: BTreeSet<&str> = sorted(&events).into_iter().collect();
    assert_eq!(seen, BTreeSet::from(["a\n b", "c"]));
    assert!(events[0]["process"]["command_line"].is_string());

    let daemon = Daemon::start("pipe { command => 'echo 1; echo {' codec => json }", "");
    daemon.wait_for_events(2);
    let events = daemon.stop();
    let broken = events.iter().find(|event| event["message"] == "{").unwrap();
    assert_eq!(broken["tags"], json!(["_jsonparsefailure"]));
}

#[test]
fn a_pipe_says_its_last_words() {
    // The shell itself is asked to end, and so is what it has started.
    let command = "trap \"echo bye; exit\" TERM; echo $$; sleep 1000 & echo $!; wait";
    let daemon = Daemon::start(&format!("pipe {{ command => '{command}' }}"), "");
    daemon.wait_for_events(2);
    let events = daemon.stop();
    let messages = messages(&events);
    assert_eq!(messages[2..], ["bye"]);
    wait_until_gone(&messages[..2]);
    // One that does not want to is killed.
    let command = "trap : TERM; echo $$; while :; do sleep 1000; done";
    let daemon = Daemon::start(&format!("pipe {{ command => '{command}' }}"), "");
    daemon.wait_for_events(1);
    let events = daemon.stop();
    wait_until_gone(&[events[0]["message"].as_str().unwrap()]);
}

#[test]
fn a_socket_of_this_host_is_listened_on_and_goes_with_the_input() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    // What somebody has left.
    drop(UnixListener::bind(&path).unwrap());
    let input = format!(
        "unix {{ path => '{}' data_timeout => 0.3 max_connections => 2 }}",
        path.display()
    );
    let daemon = Daemon::start(&input, "");
    daemon.wait_for("socket", |daemon| daemon.log().contains("listening"));
    let mut one = UnixStream::connect(&path).unwrap();
    let mut two = UnixStream::connect(&path).unwrap();
    one.write_all(b"one\nhalf").unwrap();
    two.write_all(b"two\n").unwrap();
    daemon.wait_for_events(2);
    // They are silent for too long: what is there is taken, and the connection closed.
    daemon.wait_for_events(3);
    assert_eq!(one.read(&mut [0]).unwrap(), 0);
    let mut three = UnixStream::connect(&path).unwrap();
    three.write_all(b"three\n").unwrap();
    daemon.wait_for_events(4);
    let second = {
        let mut daemon = Daemon::start(&input, "");
        assert!(!daemon.child.wait().unwrap().success());
        daemon.log()
    };
    assert!(second.contains("force_unlink"), "{second}");
    let taking = Daemon::start(
        &input.replace("data_timeout", "force_unlink => true data_timeout"),
        "",
    );
    taking.wait_for("socket", |daemon| daemon.log().contains("listening"));
    UnixStream::connect(&path)
        .unwrap()
        .write_all(b"other")
        .unwrap();
    taking.wait_for_events(1);
    let mut seen = daemon.stop();
    seen.sort_by_key(|event| event["message"].to_string());
    assert_eq!(messages(&seen), ["half", "one", "three", "two"]);
    assert_eq!(seen[0]["path"], path.to_str().unwrap());
    assert!(seen[0]["host"].is_string());
    // Which is not the first one's any more.
    assert!(path.try_exists().unwrap());
    taking.stop();
    assert!(!path.try_exists().unwrap());
    std::fs::write(&path, "a file").unwrap();
    let mut daemon = Daemon::start(
        &input.replace("data_timeout", "force_unlink => true data_timeout"),
        "",
    );
    assert!(!daemon.child.wait().unwrap().success());
    assert!(daemon.log().contains("something else"), "{}", daemon.log());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
}

#[test]
fn a_socket_of_this_host_is_connected_to_when_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let name = "socket_not_present_retry_interval_seconds";
    let input = format!(
        "unix {{ mode => client path => '{}' {name} => 0.05 data_timeout => -1 ecs_compatibility => v8 }}",
        path.display()
    );
    let daemon = Daemon::start(&input, "");
    daemon.wait_for("attempt", |daemon| daemon.log().contains("cannot connect"));
    let listener = UnixListener::bind(&path).unwrap();
    for text in ["one\n", "two\n"] {
        listener
            .accept()
            .unwrap()
            .0
            .write_all(text.as_bytes())
            .unwrap();
    }
    daemon.wait_for_events(2);
    let events = daemon.stop();
    assert_eq!(sorted(&events), ["one", "two"]);
    assert_eq!(events[0]["file"]["path"], path.to_str().unwrap());
    assert!(events[0]["host"]["name"].is_string());
}

#[test]
fn what_cannot_work_is_said() {
    for (input, expected) in [
        ("exec { interval => 1 }", "`command`"),
        ("exec { command => 'ls' }", "`interval`"),
        (
            "exec { command => 'ls' interval => 1 schedule => '* * * * *' }",
            "one of them",
        ),
        (
            "exec { command => 'ls' schedule => '61 * * * *' }",
            "the minute `61`",
        ),
        (
            "exec { command => 'ls' schedule => '0 0 30 feb *' }",
            "never comes",
        ),
        ("pipe { }", "`command`"),
        ("unix { mode => server }", "`path`"),
        (
            "unix { path => '/x' socket_not_present_retry_interval_seconds => 0 }",
            "longer than nothing",
        ),
        ("heartbeat { sequence => clock }", "epoch"),
    ] {
        let (code, said) = check(input);
        assert_eq!(code, Some(78), "{input}\n{said}");
        assert!(said.contains(expected), "{input}\n{said}");
    }
}
