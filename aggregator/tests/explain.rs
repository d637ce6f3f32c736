//! The subcommand `explain` as a user sees it.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const CONFIG: &str = r#"filter {
  if [type] == "web" or ([message] =~ /HTTP/ and ![done]) {
    grok {
      match => { "message" => ["^%{SYSLOGLINE}$", "^%{IP:ip} %{WORD:verb} %{NUMBER:bytes:int}$"] }
      add_tag => ["ok"]
    }
    mutate { rename => { "verb" => "[http][verb]" } remove_field => ["ip"] }
  } else if [drop] {
    drop { }
  } else {
    mutate { add_field => { "[@metadata][kind]" => "other" } }
  }
  if "ok" in [tags] { mutate { uppercase => ["type"] } }
}"#;

fn explain(arguments: &[&str], input: &str) -> Output {
    run("explain", CONFIG, arguments, input)
}

/// Runs a subcommand with a configuration on an input.
fn run(command: &str, config: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args([command, "-e", config])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}

fn text(input: &str) -> String {
    String::from_utf8(explain(&[], input).stdout).unwrap()
}

fn explained(arguments: &[&str], input: &str) -> Vec<Value> {
    let output = explain(&[arguments, &["--json"]].concat(), input);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn each_step_with_what_it_changes() {
    let found = text(r#"{"message":"10.0.0.1 GET 512","type":"web"}"#);
    for part in [
        "if [type] == \"web\" or ([message] =~ /HTTP/ and ![done])   (config.string:2:6)\n",
        "    true  [type] == \"web\": [type] is \"web\"\n",
        "    false  [message] =~ /HTTP/: [message] is \"10.0.0.1 GET 512\"\n",
        "    false  [done]: [done] is missing\n",
        "grok   (config.string:3:5)\n  message does not match ^%{SYSLOGLINE}$\n",
        "  message matches ^%{IP:ip} %{WORD:verb} %{NUMBER:bytes:int}$\n",
        "  + bytes 512\n",
        "  + tags [\"ok\"]\n",
        "  + [http][verb] \"GET\"\n",
        "  - ip \"10.0.0.1\"\n",
        "if \"ok\" in [tags]   (config.string:13:6)\n  true: [tags] is [\"ok\"]\n",
        "  ~ type \"web\" → \"WEB\"\n",
    ] {
        assert!(found.contains(part), "{part}\n{found}");
    }
    // What was not reached is not there.
    assert!(!found.contains("[drop]"), "{found}");
}

#[test]
fn complaint_36_how_far_a_grok_came() {
    let found = text(r#"{"message":"10.0.0.1 GET x12","type":"web"}"#);
    for part in [
        "    as far as  `^%{IP:ip} %{WORD:verb} `\n",
        "    which took \"10.0.0.1 GET \"\n",
        "    then not   `%{NUMBER:bytes:int}`\n    where it is \"x12\"\n",
        "  + tags [\"_grokparsefailure\"]\n",
        "  changes nothing\n",
    ] {
        assert!(found.contains(part), "{part}\n{found}");
    }
    let found = &explained(&[], r#"{"message":"10.0.0.1 GET","type":"web"}"#)[0];
    let attempts = found["steps"][1]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    let expected = json!({
        "matched": false, "prefix": "^%{IP:ip} %{WORD:verb}", "prefix_text": "10.0.0.1 GET",
        "failed": " ", "within": [], "at_byte": 12, "found": "",
    });
    assert_eq!(attempts[1]["answer"], expected);
}

#[test]
fn the_event_after_each_step() {
    let found = &explained(
        &[],
        r#"{"message":"10.0.0.1 GET 512","type":"web","@timestamp":"2024-01-02T03:04:05Z"}"#,
    )[0];
    let steps = found["steps"].as_array().unwrap();
    let filters: Vec<_> = steps
        .iter()
        .filter_map(|step| step["filter"].as_str())
        .collect();
    assert_eq!(filters, ["grok", "mutate", "mutate"]);
    assert_eq!(steps[1]["event"]["verb"], "GET");
    assert_eq!(steps[2]["event"]["http"]["verb"], "GET");
    let last = json!({
        "@timestamp": "2024-01-02T03:04:05.000Z", "@version": "1", "message": "10.0.0.1 GET 512",
        "type": "WEB", "bytes": 512, "http": { "verb": "GET" }, "tags": ["ok"],
    });
    assert_eq!(found["results"], json!([last]));
    // The same as the filters themselves give.
    let mut filter = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(["filter", "-e", CONFIG])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = filter.stdin.take().unwrap();
    input
        .write_all(found["event"].to_string().as_bytes())
        .unwrap();
    drop(input);
    let output = filter.wait_with_output().unwrap();
    let filtered: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(filtered, last);
}

#[test]
fn drops_metadata_and_lines_that_are_no_json() {
    let found = text(r#"{"message":"m","drop":true}"#);
    assert!(
        found.contains("  dropped\n\nresult: none, it was dropped\n"),
        "{found}"
    );
    let found = explained(&[], "plain text\n{\"a\":\n");
    assert_eq!(found[0]["event"]["message"], "plain text");
    assert_eq!(
        found[0]["results"][0]["@metadata"],
        json!({ "kind": "other" })
    );
    assert_eq!(found[1]["event"]["message"], "{\"a\":");
    let found = explained(&["--lines"], r#"{"message":"m"}"#);
    assert_eq!(found[0]["event"]["message"], r#"{"message":"m"}"#);
}

/// Filters that make events: in the middle, of what another made, and at the end, with a map that
/// two of them share.
const MAKERS: &str = r#"filter {
  split { field => "parts" add_tag => ["part"] }
  if [parts] == "x" { clone { clones => ["copy"] } }
  if [parts] == "x" { aggregate { task_id => "%{id}" code => "map['seen'] ||= 0; map['seen'] += 1" } }
  if [parts] == "y" { aggregate { task_id => "%{id}" code => "map['seen'] += 10" push_previous_map_as_event => true } }
  mutate { add_field => { "end" => "yes" } }
}"#;

const MADE: &str = r#"{"id":"7","parts":["x","y"],"@timestamp":"2024-01-02T03:04:05Z"}"#;

#[test]
fn events_that_filters_make() {
    let text = run("explain", MAKERS, &[], MADE);
    let text = String::from_utf8(text.stdout).unwrap();
    for part in [
        "split   (config.string:2:3)\n  dropped\n  makes 2 events\n    {",
        "event 2, made by a filter\n",
        "clone   (config.string:3:23)\n  changes nothing\n  makes an event\n    {",
        "event 4, made by a filter\n",
        "end of the input\n\naggregate   (config.string:5:23)\n  makes an event\n    {",
        "event 1, made by a filter\n\nmutate   (config.string:6:3)\n  + end \"yes\"\n\nresult\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }

    let output = run("explain", MAKERS, &["--json"], MADE);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [line, end] = &lines[..] else {
        panic!("{text}");
    };
    let split = &line["steps"][0];
    assert!(split["event"].is_null() && split["before"].is_object());
    let emitted: Vec<_> = split["emitted"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (&event["parts"], &event["tags"]))
        .collect();
    let tags = json!(["part"]);
    assert_eq!(emitted, [(&json!("x"), &tags), (&json!("y"), &tags)]);
    assert!(end["event"].is_null());
    assert_eq!(end["results"][0]["seen"], 12);

    // The same as the filters themselves give, in the same order.
    let filtered = run("filter", MAKERS, &["-w", "1"], MADE).stdout;
    let filtered: Vec<Value> = String::from_utf8(filtered)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let results = [&line["results"], &end["results"]];
    let mut results: Vec<Value> = results
        .into_iter()
        .flat_map(|results| results.as_array().unwrap().clone())
        .collect();
    assert_eq!((filtered.len(), results.len()), (4, 4));
    // `filter` shows no version that was not there; the time of what is left at the end is the clock's.
    for event in filtered.iter().chain(&results) {
        assert_eq!(event["end"], "yes");
    }
    let mut filtered = filtered;
    for event in filtered.iter_mut().chain(&mut results) {
        let event = event.as_object_mut().unwrap();
        event.remove("@version");
        event.remove("@timestamp");
    }
    assert_eq!(filtered, results);
}

#[test]
fn a_wrong_configuration_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(["explain", "-e", "filter { grokk { } }"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `grok`"));
}
