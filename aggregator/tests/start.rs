//! How long it takes to check a configuration of a thousand lines, and to start with it.
//!
//! The limits hold for a release build on a machine that is not busy; a debug build may take twenty times
//! as long. The best of several runs counts: what else the machine does only ever makes it slower.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How much more time a debug build has.
const SLOWER: u32 = if cfg!(debug_assertions) { 20 } else { 1 };

const CHECKED_WITHIN: Duration = Duration::from_millis(100);
const FIRST_EVENT_WITHIN: Duration = Duration::from_millis(50);

const RUNS: usize = 7;

/// A configuration as it grows over the years: for each kind of log a branch with a grok and what
/// follows from it, no expression twice.
fn thousand_lines() -> String {
    let mut text = String::from("input {\n  stdin { }\n}\nfilter {\n");
    let mut number = 0;
    while text.lines().count() < 990 {
        number += 1;
        write!(
            text,
            r#"  if [type] == "kind{number}" {{
    grok {{
      match => {{ "message" => "^%{{IPORHOST:client{number}}} %{{USER:user}} \[%{{HTTPDATE:time}}\] %{{WORD:verb}} %{{NOTSPACE:path}} %{{INT:status{number}:int}}" }}
      overwrite => ["message"]
    }}
    date {{ match => ["time", "dd/MMM/yyyy:HH:mm:ss Z", "ISO8601"] }}
    mutate {{
      convert => {{ "status{number}" => "integer" }}
      add_field => {{ "[@metadata][index]" => "kind{number}-%{{+YYYY.MM.dd}}" }}
    }}
    if [status{number}] >= 500 and "slow" not in [tags] {{ mutate {{ add_tag => ["alarm"] }} }}
  }}
"#
        )
        .unwrap();
    }
    text.push_str("}\noutput {\n  stdout { codec => json_lines }\n}\n");
    assert!((990..1010).contains(&text.lines().count()));
    text
}

fn best(mut run: impl FnMut() -> Duration) -> Duration {
    (0..RUNS).map(|_| run()).min().unwrap()
}

#[test]
fn a_thousand_lines_are_checked_and_started_soon() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.conf");
    std::fs::write(&path, thousand_lines()).unwrap();
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"));
        command
            .arg("-f")
            .arg(&path)
            .arg("--path.data")
            .arg(directory.path().join("data"))
            .stderr(Stdio::null());
        command
    };
    let checked = best(|| {
        let start = Instant::now();
        let output = command().arg("-t").output().unwrap();
        assert!(output.status.success());
        start.elapsed()
    });
    let started = best(|| {
        let start = Instant::now();
        let mut child = command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"hello\n").unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let elapsed = start.elapsed();
        assert!(line.contains("hello"), "{line}");
        drop(input);
        assert!(child.wait().unwrap().success());
        elapsed
    });
    assert!(checked < CHECKED_WITHIN * SLOWER, "-t took {checked:?}");
    assert!(
        started < FIRST_EVENT_WITHIN * SLOWER,
        "the first event took {started:?}"
    );
}
