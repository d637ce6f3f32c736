//! `skidder-aggregator queue` and the disk queue from the command line.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A cluster that is not there: nothing is ever delivered.
const NOWHERE: &str = "output { elasticsearch { hosts => ['http://127.0.0.1:1'] } }";

struct Queue(tempfile::TempDir);

impl Queue {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
            .args(arguments)
            .args(["--path.data", self.0.path().to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The child may end before it reads.
        let _closed = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// A queue in which `text` waits: put there by a process that could not deliver it and was
    /// told to stop.
    fn filled(text: &str, more: &[&str]) -> Self {
        let queue = Self::new();
        queue.fill(text, more);
        queue
    }

    fn fill(&self, text: &str, more: &[&str]) {
        let config = format!("input {{ stdin {{ id => pipe type => shell }} }} {NOWHERE}");
        let mut arguments = vec!["-e", &config, "--queue.type", "persisted"];
        arguments.extend(["--pipeline.shutdown_timeout", "100ms"]);
        arguments.extend(more);
        let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
            .args(&arguments)
            .args(["--path.data", self.0.path().to_str().unwrap()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let before = self.exported().len();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let wanted = before + text.lines().count();
        let started = std::time::Instant::now();
        while self.exported().len() < wanted {
            assert!(
                started.elapsed().as_secs() < 60,
                "the text does not come into the queue"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let stopped = Command::new("kill").arg(child.id().to_string()).status();
        assert!(stopped.unwrap().success());
        assert!(child.wait().unwrap().success());
    }

    /// The messages that wait.
    fn exported(&self) -> Vec<String> {
        let output = self.run(&["queue", "export", "--log.level", "error"], b"");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                event["message"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("queue/main")
    }

    /// Changes the file of the first segment.
    fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let path = first_segment(&self.folder());
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
}

fn first_segment(folder: &Path) -> PathBuf {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "segment"))
        .collect();
    segments.sort();
    segments.remove(0)
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_waits_is_shown_and_exported_and_delivered_with_the_configuration_of_the_next_start() {
    for compression in ["none", "size"] {
        let queue = Queue::filled("one\ntwo\n", &["--queue.compression", compression]);
        let shown = queue.run(&["queue", "show"], b"");
        assert!(shown.status.success(), "{}", err(&shown));
        let shown = out(&shown);
        for text in [
            "(not in use)",
            "in 1 batches",
            "000000001.segment",
            "of 1073741824 bytes",
        ] {
            assert!(shown.contains(text), "{shown}");
        }
        let checked = queue.run(&["queue", "check"], b"");
        assert_eq!(out(&checked), "no damage\n");
        let exported = queue.run(&["queue", "export", "--metadata"], b"");
        assert_eq!(out(&exported).lines().count(), 2);
        // The input of that name now has another type; one of the kind does for another name.
        for (id, kind) in [("pipe", "first"), ("other", "second")] {
            let config = format!(
                "input {{ stdin {{ id => {id} type => {kind} }} }} output {{ stdout {{ codec => json_lines }} }}"
            );
            let output = queue.run(&["-e", &config, "--queue.type", "persisted"], b"");
            assert!(output.status.success(), "{}", err(&output));
            let lines: Vec<serde_json::Value> = out(&output)
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert_eq!(
                (&lines[0]["message"], &lines[1]["message"]),
                (&"one".into(), &"two".into())
            );
            assert!(lines.iter().all(|line| line["type"] == kind), "{lines:?}");
            assert_eq!(queue.exported(), Vec::<String>::new());
            queue.fill("one\ntwo\n", &["--queue.compression", compression]);
        }
    }
}

#[test]
fn damage_is_found_moved_aside_and_costs_one_batch() {
    let queue = Queue::filled("first\n", &[]);
    queue.fill("second\n", &[]);
    queue.fill("third\n", &[]);
    assert_eq!(queue.exported(), ["first", "second", "third"]);
    queue.damage(|bytes| {
        let at = bytes.windows(5).position(|text| text == b"first").unwrap();
        bytes[at] = b'F';
    });
    let checked = queue.run(&["queue", "check"], b"");
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        err(&checked).contains("000000001.segment: bytes 64 to "),
        "{}",
        err(&checked)
    );
    // The rest can be read before and after.
    assert_eq!(queue.exported(), ["second", "third"]);
    let repaired = queue.run(&["queue", "repair"], b"");
    assert!(repaired.status.success(), "{}", err(&repaired));
    assert!(
        out(&repaired).contains("damaged places moved aside: 1"),
        "{}",
        out(&repaired)
    );
    let kept = std::fs::read(queue.folder().join("000000001-64.damaged")).unwrap();
    assert!(kept.windows(5).any(|text| text == b"First"));
    let checked = queue.run(&["queue", "check"], b"");
    assert!(checked.status.success(), "{}", err(&checked));
    assert!(
        out(&checked).contains("moved aside before"),
        "{}",
        out(&checked)
    );
    let config =
        "input { stdin { } } output { stdout { codec => line { format => '%{message}' } } }";
    let output = queue.run(&["-e", config, "--queue.type", "persisted"], b"fourth\n");
    assert!(output.status.success(), "{}", err(&output));
    let mut lines: Vec<String> = out(&output).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["fourth", "second", "third"]);
}

#[test]
fn an_unfinished_write_at_the_end_is_no_damage() {
    let queue = Queue::filled("whole\n", &[]);
    queue.damage(|bytes| bytes.extend_from_slice(b"\xa5SR\x5a and then the power failed"));
    let checked = queue.run(&["queue", "check"], b"");
    assert!(checked.status.success(), "{}", err(&checked));
    assert!(
        out(&checked).contains("unfinished write"),
        "{}",
        out(&checked)
    );
    assert_eq!(queue.exported(), ["whole"]);
    let repaired = queue.run(&["queue", "repair"], b"");
    assert!(
        out(&repaired).contains("unfinished writes cut off: 30 bytes"),
        "{}",
        out(&repaired)
    );
    assert_eq!(queue.exported(), ["whole"]);
}

#[test]
fn a_queue_has_one_user_and_must_be_there() {
    let queue = Queue::new();
    for command in ["show", "check", "repair", "export"] {
        let output = queue.run(&["queue", command], b"");
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(
            err(&output).contains("there is no queue in"),
            "{}",
            err(&output)
        );
    }
    assert!(
        !queue.folder().try_exists().unwrap(),
        "looking makes no queue"
    );
    let queue = Queue::filled("x\n", &[]);
    let lock = std::fs::File::open(queue.folder().join("lock")).unwrap();
    lock.lock().unwrap();
    for arguments in [
        vec!["queue", "repair"],
        vec!["-e", "filter { }", "--queue.type", "persisted"],
    ] {
        let output = queue.run(&arguments, b"");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            err(&output).contains("in use by another process"),
            "{}",
            err(&output)
        );
    }
    assert!(out(&queue.run(&["queue", "show"], b"")).contains("(in use)"));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let queue = Queue::new();
    for (flags, message) in [
        (
            [
                "--queue.page_capacity",
                "128mb",
                "--queue.max_bytes",
                "64mb",
            ],
            "queue.page_capacity",
        ),
        (
            ["--queue.max_bytes", "1kb", "--queue.max_events", "1"],
            "at least 1mb",
        ),
        (
            ["--queue.compression", "much", "--queue.max_events", "1"],
            "none, speed, balanced or size",
        ),
        (
            ["--queue.checkpoint.acks", "few", "--queue.max_events", "1"],
            "a whole number",
        ),
    ] {
        let mut arguments = vec!["-t", "-e", "filter { }", "--queue.type", "persisted"];
        arguments.extend(flags);
        let output = queue.run(&arguments, b"");
        assert_eq!(
            output.status.code(),
            Some(78),
            "{flags:?}: {}",
            err(&output)
        );
        assert!(err(&output).contains(message), "{}", err(&output));
    }
}
