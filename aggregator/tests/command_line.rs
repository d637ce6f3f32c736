//! The program as a user sees it: arguments, standard streams, exit codes.

#![expect(
    clippy::unwrap_used,
    clippy::format_collect,
    reason = "a test says more by failing"
)]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn aggregator(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The child may refuse its configuration before it reads.
    let _closed = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ACCESS: &str = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08""#;

#[test]
fn stdin_to_json_lines() {
    let config = r#"
        input { stdin { type => "apache" } }
        filter {
          if [type] == "apache" {
            grok { match => { "message" => "%{COMBINEDAPACHELOG}" } }
            date { match => [ "timestamp", "dd/MMM/yyyy:HH:mm:ss Z" ] }
            mutate { convert => { "bytes" => "integer" } remove_field => [ "timestamp" ] }
          }
        }
        output { stdout { codec => json_lines } }"#;
    let output = aggregator(&["-e", config], format!("{ACCESS}\nnonsense").as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    assert_eq!(events.len(), 2);
    let (parsed, nonsense) = (&events[0], &events[1]);
    assert_eq!(parsed["clientip"], "127.0.0.1");
    assert_eq!(parsed["bytes"], 2326);
    assert_eq!(parsed["response"], "200");
    assert_eq!(parsed["@timestamp"], "2000-10-10T20:55:36.000Z");
    assert_eq!(parsed.get("timestamp"), None);
    assert_eq!(nonsense["tags"][0], "_grokparsefailure");
    assert_eq!(nonsense["message"], "nonsense");
}

#[test]
fn without_sections_it_reads_stdin_and_prints_for_people() {
    let output = aggregator(&["-e", "filter { }", "--log.level", "error"], b"hello\n");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(r#""message" => "hello""#), "{text}");
    assert!(text.contains(r#""type" => "stdin""#), "{text}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn many_lines_arrive_once_each_in_order() {
    let input: String = (0..50_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    let config = "input { stdin { } } output { stdout { codec => json_lines } }";
    let output = aggregator(&["-e", config], input.as_bytes());
    assert!(output.status.success());
    let events = lines(&output);
    assert_eq!(events.len(), 50_000);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["message"], format!("line {number}"));
    }
}

#[test]
fn generator_to_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("%{kind}/events.ndjson");
    let config = format!(
        r#"input {{ generator {{ lines => ["a", "b"] count => 1500 add_field => {{ "kind" => "k" }} }} }}
           output {{ file {{ path => "{}" }} null {{ }} }}"#,
        path.display()
    );
    let output = aggregator(&["-e", &config], b"");
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(directory.path().join("k/events.ndjson")).unwrap();
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 3000);
    let with_b = events
        .iter()
        .filter(|event| event["message"] == "b" && event["sequence"] == 1499);
    assert_eq!(with_b.count(), 1);
}

#[test]
fn compressed_files_are_whole_and_are_appended_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.gz");
    let config = format!(
        r#"input {{ generator {{ count => 30000 message => "a" }} }}
           output {{ file {{ path => "{}" gzip => true codec => line {{ format => "%{{sequence}}" }} }} }}"#,
        path.display()
    );
    for _ in 0..2 {
        let output = aggregator(&["-e", &config], b"");
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let output = Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let mut numbers: Vec<u32> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let twice: Vec<u32> = (0..30_000).flat_map(|number| [number, number]).collect();
    assert!(numbers == twice);
}

#[test]
fn no_event_chooses_a_file_outside_of_the_fixed_part() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("out");
    let config = format!(
        r#"input {{ stdin {{ }} }} output {{ file {{ path => "{}/%{{message}}" codec => line }} }}"#,
        root.display()
    );
    let output = aggregator(&["-e", &config], b"../../escaped\nfine\n");
    assert!(output.status.success(), "{}", stderr(&output));
    let mut names: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["_filepath_failures", "fine"]);
}

#[test]
fn check_says_ok_or_every_mistake_with_its_place() {
    let output = aggregator(&["-t", "-e", "input { stdin { } }"], b"");
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "configuration OK\n"
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.conf");
    let config = "input { stdn { } }\nfilter {\n  grok { mtch => { \"a\" => \"b\" } }\n  \
                  grok { match => { \"a\" => \"%{IPP:x}\" } }\n}\noutput { stdout { codec => jsn } }\n";
    std::fs::write(&path, config).unwrap();
    let output = aggregator(&["-t", "-f", path.to_str().unwrap()], b"");
    assert_eq!(output.status.code(), Some(78));
    let message = stderr(&output);
    for part in [
        "bad.conf:3:10",
        "did you mean `match`",
        "bad.conf:4:29",
        "IPP",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn mistakes_in_inputs_and_outputs() {
    for (config, part) in [
        ("input { stdn { } }", "did you mean `stdin`"),
        (
            "input { stdin { } } output { stdot { } }",
            "did you mean `stdout`",
        ),
        ("input { stdin { colour => red } }", "no option `colour`"),
        ("input { beats { } }", "needs the option `port`"),
        (
            "input { beats { port => 5044 ssl => true } }",
            "needs the option `ssl_certificate`",
        ),
        (
            r#"input { beats { port => 5044 ssl => true ssl_certificate => "/nowhere.pem" ssl_key => "/nowhere.key" } }"#,
            "/nowhere.pem: No such file",
        ),
        (
            "output { elasticsearch { action => \"destroy\" } }",
            "`action` must be",
        ),
        ("input { if [a] { stdin { } } }", "condition"),
        (
            "filter { mutate { convert => { \"a\" => \"complex\" } } }",
            "complex",
        ),
        (
            "input { stdin { type => \"${NO_SUCH_VARIABLE_HERE}\" } }",
            "NO_SUCH_VARIABLE_HERE",
        ),
    ] {
        let output = aggregator(&["-t", "-e", config], b"");
        assert_eq!(
            output.status.code(),
            Some(78),
            "{config}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(part),
            "{config}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn wrong_usage() {
    for (arguments, code, part) in [
        (&["--pipline.workers", "1"][..], 64, "--pipeline.workers"),
        (&[], 78, "no pipeline"),
        (&["-e", "", "-f", "x"], 78, "cannot be used together"),
        (&["-e", "", "-w", "0"], 78, "at least 1"),
        (&["-f", "/nowhere/x.conf"], 78, "/nowhere/x.conf"),
    ] {
        let output = aggregator(arguments, b"");
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(part),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
    let output = aggregator(&["--version"], b"");
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"skidder-aggregator "));
}

#[test]
fn filter_adds_nothing_that_the_filters_do_not_add() {
    let config = r#"filter { mutate { add_field => { "b" => "%{a}!" "[@metadata][m]" => "x" } } }"#;
    let output = aggregator(
        &["filter", "-e", config],
        b"{\"a\":1}\n[{\"a\":2},{\"a\":3}]\n",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "{\"a\":1,\"b\":\"1!\"}\n{\"a\":2,\"b\":\"2!\"}\n{\"a\":3,\"b\":\"3!\"}\n"
    );
    let output = aggregator(&["filter", "--metadata", "-e", config], b"{\"a\":1}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "{\"a\":1,\"b\":\"1!\",\"@metadata\":{\"m\":\"x\"}}\n"
    );
    let output = aggregator(&["filter", "--lines", "-e", "filter { }"], b"one\n\ntwo\n");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "{\"message\":\"one\"}\n{\"message\":\"\"}\n{\"message\":\"two\"}\n"
    );
}

#[test]
fn filter_keeps_the_order_with_many_workers() {
    let input: String = (0..100_000)
        .map(|number| format!("{{\"n\":{number}}}\n"))
        .collect();
    let config = r#"filter { mutate { add_field => { "copy" => "%{n}" } } }"#;
    let output = aggregator(&["filter", "-w", "4", "-e", config], input.as_bytes());
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 100_000);
    for (number, line) in text.lines().enumerate() {
        assert_eq!(line, format!("{{\"n\":{number},\"copy\":\"{number}\"}}"));
    }
}

#[test]
fn filter_refuses_a_bad_configuration() {
    let output = aggregator(
        &[
            "filter",
            "-e",
            "filter { grok { match => { a => \"(\" } } }",
        ],
        b"",
    );
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("config.string:1:"),
        "{}",
        stderr(&output)
    );
    let output = aggregator(&["filter", "-e", "filter { "], b"");
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn the_pipeline_of_the_readme_runs() {
    let readme = include_str!("../../README.md");
    let config = readme
        .split("skidder-aggregator -e '")
        .nth(1)
        .and_then(|rest| rest.split('\'').next());
    let output = aggregator(&["-e", config.unwrap()], b"hello 42\n");
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    assert_eq!(events[0]["greeting"], "hello");
    assert_eq!(events[0]["answer"], 42);
}

#[test]
fn the_throw_away_certificates_pass_the_strictest_check() {
    let directory = tempfile::tempdir().unwrap();
    let output = aggregator(&["certificates", directory.path().to_str().unwrap()], b"");
    assert!(output.status.success(), "{}", stderr(&output));
    for name in ["aggregator.pem", "forwarder.pem"] {
        let checked = Command::new("openssl")
            .args(["verify", "-x509_strict", "-CAfile"])
            .arg(directory.path().join("ca.pem"))
            .arg(directory.path().join(name))
            .output();
        let Ok(checked) = checked else {
            eprintln!("SKIPPED: there is no openssl");
            return;
        };
        assert!(checked.status.success(), "{name}: {}", stderr(&checked));
    }
}
