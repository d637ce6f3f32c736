//! Queues of outputs of their own, from the command line.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::process::{Command, Output, Stdio};

use self::daemon::Daemon;

#[path = "support/daemon.rs"]
mod daemon;

/// An output to a server that is not there, with a queue.
const NOWHERE: &str = "http { url => 'http://127.0.0.1:1/' http_method => post queue => own }";

fn run(directory: &tempfile::TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(arguments)
        .arg("--path.data")
        .arg(directory.path().join("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// So many events through the output; ends when `waiting` are on the disk.
fn put(directory: tempfile::TempDir, count: usize, waiting: usize) -> tempfile::TempDir {
    let generator = format!("input {{ generator {{ count => {count} }} }} output {{ {NOWHERE} }}");
    let arguments = ["--pipeline.shutdown_timeout", "200ms"];
    let mut daemon = Daemon::run(directory, &generator, &arguments);
    let wanted = format!("waiting:  {waiting} records");
    daemon.wait_for("events in the queue", |daemon| {
        out(&run(&daemon.directory, &["queue", "show"])).contains(&wanted)
    });
    daemon.terminate();
    std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap())
}

#[test]
fn the_commands_see_the_queue_of_an_output() {
    let directory = put(tempfile::tempdir().unwrap(), 30, 30);
    // The damage is to be in a segment that is not the last one.
    let directory = put(directory, 10, 40);
    let shown = out(&run(&directory, &["queue", "show"]));
    let path = directory.path().join("data/queue/main/outputs/http");
    assert!(shown.starts_with("output:   http\n"), "{shown}");
    assert!(shown.contains(path.to_str().unwrap()), "{shown}");
    assert!(shown.contains("of 1073741824 bytes"), "{shown}");
    let exported = out(&run(&directory, &["queue", "export"]));
    assert_eq!(exported.lines().count(), 40);
    assert!(exported.contains("\"message\":\"Hello world!\""));
    let checked = run(&directory, &["queue", "check"]);
    assert_eq!(out(&checked), "output:   http\nno damage\n");
    let repaired = run(&directory, &["queue", "repair"]);
    assert!(repaired.status.success(), "{}", err(&repaired));
    // A segment that is damaged is told with its owner's queue.
    let segment = path.join("000000001.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let checked = run(&directory, &["queue", "check"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(err(&checked).contains("are no batch"), "{}", err(&checked));
}

#[test]
fn pipeline_and_output_have_a_queue_each() {
    let directory = tempfile::tempdir().unwrap();
    let generator = format!("input {{ generator {{ count => 7 }} }} output {{ {NOWHERE} }}");
    let arguments = [
        "--queue.type",
        "persisted",
        "--pipeline.shutdown_timeout",
        "200ms",
    ];
    let mut daemon = Daemon::run(directory, &generator, &arguments);
    daemon.wait_for("events in both queues", |daemon| {
        let shown = out(&run(&daemon.directory, &["queue", "show"]));
        let queues: Vec<&str> = shown.split("\n\n").collect();
        // The pipeline's is done with them as soon as the output's has them.
        matches!(queues[..], [first, second]
            if first.contains("waiting:  0 records") && second.contains("waiting:  7 records"))
    });
    daemon.terminate();
    let shown = out(&run(&daemon.directory, &["queue", "show"]));
    assert!(shown.contains("\n\noutput:   http\n"), "{shown}");
}

#[test]
fn what_waits_is_not_given_away_unnoticed() {
    let directory = put(tempfile::tempdir().unwrap(), 5, 5);
    // The first of its kind is another one now.
    let other = "http { url => 'http://127.0.0.1:2/' http_method => post queue => own }";
    let daemon = Daemon::run(
        directory,
        &format!("input {{ stdin {{ }} heartbeat {{ count => 1 }} }} output {{ {other} }}"),
        &["--pipeline.shutdown_timeout", "200ms"],
    );
    daemon.wait_for("warning", |daemon| {
        daemon.log().contains("had other options")
    });
    // Nobody has it at all.
    let mut daemon = daemon;
    daemon.signal(rustix::process::Signal::TERM);
    daemon.child.wait().unwrap();
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap());
    let daemon = Daemon::run(
        directory,
        "input { heartbeat { count => 1 } } output { null { } }",
        &[],
    );
    daemon.wait_for("warning", |daemon| {
        let log = daemon.log();
        log.contains("events wait for an output that the configuration does not have")
            && log.contains("output=\"http\"")
    });
}

#[test]
fn options_that_cannot_work_are_refused_and_doubtful_ones_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    for (options, said, code) in [
        ("when_full => shed", "add `queue => own`", 78),
        ("queue_max_bytes => '1 GiB'", "add `queue => own`", 78),
        (
            "queue => own queue_max_bytes => '1 KiB'",
            "at least 1 MiB",
            78,
        ),
        ("queue => mine", "shared", 78),
        (
            "queue => own } null { queue => own",
            "found again by its place",
            0,
        ),
    ] {
        let configuration = format!("input {{ stdin {{ }} }} output {{ null {{ {options} }} }}");
        let output = run(&directory, &["-t", "-e", &configuration]);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{options}: {}",
            err(&output)
        );
        assert!(err(&output).contains(said), "{options}: {}", err(&output));
    }
    let named =
        "input { stdin { } } output { null { queue => own } null { queue => own id => b } }";
    let output = run(&directory, &["-t", "-e", named]);
    assert!(!err(&output).contains("its place"), "{}", err(&output));
}

#[test]
fn dead_letters_are_delivered_beside_a_process_that_has_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    let letters = "input { generator { count => 3 } } output { dead_letter_queue { stage => filter reason => none } }";
    let written = run(&directory, &["-e", letters]);
    assert!(written.status.success(), "{}", err(&written));
    let place = directory.path().join("data/queue/main/outputs/file");
    std::fs::create_dir_all(&place).unwrap();
    let lock = std::fs::File::create(place.join("lock")).unwrap();
    lock.lock().unwrap();
    let events = directory.path().join("events");
    let outputs = format!(
        "output {{ file {{ path => '{}' queue => own }} }}",
        events.display()
    );
    let replayed = run(&directory, &["dlq", "replay", "-e", &outputs]);
    assert!(replayed.status.success(), "{}", err(&replayed));
    assert_eq!(std::fs::read_to_string(events).unwrap().lines().count(), 3);
}
