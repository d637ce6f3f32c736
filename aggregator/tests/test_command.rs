//! The subcommand `test` as a user sees it.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A directory of files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"));
        command
            .arg("test")
            .args(arguments)
            .current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().unwrap();
        (output.status.code(), said(&output))
    }

    /// The report as JSON; whatever the exit code.
    fn report(&self, arguments: &[&str]) -> Value {
        let output = self
            .command(&[arguments, &["--format", "json"]].concat())
            .output()
            .unwrap();
        let report = serde_json::from_slice(&output.stdout);
        report.unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
    }

    /// Fails with what is different unless all cases pass.
    fn passes(&self, arguments: &[&str]) {
        let (code, said) = self.run(arguments);
        assert_eq!(code, Some(0), "{said}");
    }
}

fn said(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    format!("{stdout}{}", String::from_utf8_lossy(&output.stderr))
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/aggregator")
}

const WEB: &str = r#"
input { stdin { } }
filter {
  if [message] =~ /^drop/ { drop { } }
  grok { match => { "message" => "^%{WORD:verb} %{NUMBER:size:int}$" } }
  if [message] =~ /,/ { split { field => "message" terminator => "," } }
}
output { elasticsearch { password => "${NO_SUCH_VARIABLE_HERE}" } }
"#;

#[test]
fn the_cases_of_the_examples_pass() {
    let examples = examples();
    let folder = Folder::new(&[]);
    let report = folder.report(&[examples.to_str().unwrap()]);
    assert_eq!(
        (&report["failed"], &report["refused"]),
        (&0.into(), &0.into()),
        "{report}"
    );
    let files = report["files"].as_array().unwrap();
    for name in [
        "apache.test.yml",
        "conditionals.test.yml",
        "csv.test.yml",
        "stack-traces.test.yml",
        "syslog.test.yml",
        "syslog-network.test.json",
    ] {
        let file = files
            .iter()
            .find(|file| file["file"].as_str().unwrap().ends_with(name));
        let cases = file.unwrap_or_else(|| panic!("{name} is not run"))["cases"].as_array();
        assert!(!cases.unwrap().is_empty(), "{name}");
    }
}

#[test]
fn what_is_different_is_told_field_by_field() {
    let cases = r#"{"testcases": [
  {"input": ["GET 12"], "expected": [{"message": "GET 12", "verb": "GET", "size": "12", "more": 1}]},
  {"description": "passes", "input": ["GET 12", "drop it"],
   "expected": [{"message": "GET 12", "verb": "GET", "size": 12.0}]},
  {"description": "none came", "input": ["drop it"], "expected": [{"message": "x"}]}
]}"#;
    let folder = Folder::new(&[("web.conf", WEB), ("web.test.json", cases)]);
    let (code, text) = folder.run(&["."]);
    assert_eq!(code, Some(1));
    let expected = "failed  ./web.test.json  2 of 3 cases

  case 1  (./web.test.json:2:3)
    event 1 differs
      - more: 1
      - size: \"12\"
      + size: 12   (a number, not a text)

  none came  (./web.test.json:5:3)
    event 1 did not come
      - {\"message\":\"x\"}

3 cases: 1 passed, 2 failed (";
    assert!(text.starts_with(expected), "{text}");
    // Not a terminal: no colour.
    assert!(!text.contains('\u{1b}'), "{text}");
    let (code, text) = folder.run(&[".", "--filter", "passes"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 case: 1 passed"), "{text}");
    assert_eq!(
        folder.run(&[".", "--filter", "passes", "--quiet"]),
        (Some(0), String::new())
    );
    let (code, text) = folder.run(&[".", "--filter", "nothing like it"]);
    assert_eq!(code, Some(64), "{text}");
}

#[test]
fn reports_are_what_jenkins_reads() {
    let cases = "cases:\n  - { in: GET 1, name: 'a <b> & \"c\"', has: { size: 1 } }\n  - { in: GET 2, \
                 name: 'x # y', has: { size: '<2>' } }\n";
    let folder = Folder::new(&[
        ("web.conf", WEB),
        ("1.test.yml", cases),
        ("2.test.yml", "casse: []\n"),
    ]);
    let (code, text) = folder.run(&[".", "--format", "junit", "--output", "report.xml"]);
    assert_eq!(code, Some(78), "{text}");
    // People see text all the same.
    assert!(
        text.contains("2 cases: 1 passed, 1 failed, 1 file refused"),
        "{text}"
    );
    let report = folder.read("report.xml");
    let report = roxmltree::Document::parse(&report).unwrap();
    let root = report.root_element();
    let figures = |node: roxmltree::Node<'_, '_>| {
        ["tests", "failures", "errors"].map(|name| node.attribute(name).unwrap().to_owned())
    };
    assert_eq!(figures(root), ["3", "1", "1"]);
    let suites: Vec<_> = root
        .children()
        .filter(roxmltree::Node::is_element)
        .collect();
    assert_eq!(figures(suites[0]), ["2", "1", "0"]);
    assert_eq!(figures(suites[1]), ["1", "0", "1"]);
    let case = suites[0]
        .children()
        .find(|node| node.has_tag_name("testcase"))
        .unwrap();
    assert_eq!(case.attribute("name"), Some("a <b> & \"c\""));
    let failure = report
        .descendants()
        .find(|node| node.has_tag_name("failure"))
        .unwrap();
    assert!(
        failure
            .text()
            .unwrap()
            .contains("- size: \"<2>\"\n  + size: 2"),
        "{failure:?}"
    );

    let (_, tap) = folder.run(&[".", "--format", "tap"]);
    let results: Vec<&str> = tap.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        results,
        [
            "TAP version 13",
            "1..3",
            "ok 1 - ./1.test.yml: a <b> & \"c\"",
            "not ok 2 - ./1.test.yml: x \\# y",
            "not ok 3 - ./2.test.yml: (the file)"
        ]
    );
    let report = folder.report(&["."]);
    let figures = ["cases", "failed", "refused"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(figures, [2, 1, 1]);
    let difference = &report["files"][0]["cases"][1]["differences"][0];
    assert_eq!(
        difference["fields"][0],
        json!({"field": "size", "expected": "<2>", "actual": 2})
    );
}

#[test]
fn files_of_the_verifier_run_as_they_are() {
    let config = r#"
input {
  stdin { id => "lines" codec => multiline { pattern => "^\s" what => "previous" } tags => [ "in" ] }
  stdin { id => "whole" add_field => { "via" => "whole" } type => "t" }
  tcp { id => "json" codec => json_lines port => 1 }
}
filter {
  mutate { id => "m" add_field => { "[@metadata][m]" => "1" } }
  if [message] =~ /clone/ { clone { clones => ["copy"] } }
  if [message] == "drop" { drop { } }
}
output {
  if [message] == "two" { file { id => "a-file" path => "/tmp/x" } }
  if [message] != "none" { stdout { id => "stdout" } }
}
"#;
    let folder = Folder::new(&[("main.conf", config)]);
    for (name, text) in [
        // Version 1: a codec, and all fields.
        (
            "codec.json",
            r#"{"codec": "json_lines", "fields": {"[a][b]": "c", "type": "x", "n": [1, true]},
            "ignore": ["@timestamp", "[gone][x]"], "testcases": [{"input":
            ["{\"message\": \"m\", \"[log][file][path]\": \"/t\", \"gone\": {\"x\": 1}}", "{\"k\": 1.50}\n"],
            "expected": [
            {"message": "m", "log": {"file": {"path": "/t"}}, "a": {"b": "c"}, "type": "x", "n": [1, true]},
            {"k": 1.5, "[a][b]": "c", "type": "x", "n": [1, true]}]}]}"#,
        ),
        // A JSON object that YAML has folded, and one that was folded with its line ends.
        (
            "folded.yaml",
            "codec: json_lines\nignore: ['@timestamp']\ntestcases:\n  - input:\n      - >\n        {\n          \
             \"k\": \"v\"\n        }\n    expected:\n      - k: v\n",
        ),
        (
            "plain.yml",
            "codec: plain { charset => \"ISO-8859-1\" }\nignore: ['@timestamp']\ntestcases:\n  - input: [a b]\n    \
             expected: [{message: a b}]\n",
        ),
        // Lines are one stream; the expected events are in order, whatever is dropped.
        (
            "dropped.json",
            r#"{"ignore": ["@timestamp"], "testcases": [{"input": ["1", "drop", "2"],
            "expected": [{"message": "1"}, {"message": "2"}]}, {"input": ["drop"], "expected": []}]}"#,
        ),
        // Version 2: an input, whose codec and options count; one without a codec takes texts whole.
        (
            "lines.json",
            r#"{"input_plugin": "lines", "ignore": ["@timestamp"], "testcases": [
            {"input": ["a\n b\n c\n", "d\n e\n"], "expected": [
            {"message": "a\n b\n c", "tags": ["multiline", "in"]},
            {"message": "d\n e", "tags": ["multiline", "in"]}]}]}"#,
        ),
        (
            "whole.json",
            r#"{"input_plugin": "whole", "ignore": ["@timestamp"], "export_metadata": true,
            "fields": {"one": 1, "two": 2}, "testcases": [{"fields": {"two": 3}, "input": ["a\nb"],
            "expected": [{"message": "a\nb", "via": "whole", "type": "t", "one": 1, "two": 3,
            "@metadata": {"m": "1"}}]}]}"#,
        ),
        // No line at all: an event of fields only.
        (
            "empty.json",
            r#"{"input_plugin": "json", "ignore": ["@timestamp"], "fields": {"f": 1},
            "testcases": [{"expected": [{"f": 1}]}]}"#,
        ),
        // Each text is an event, an empty one as well.
        (
            "nothing.json",
            r#"{"input_plugin": "whole", "ignore": ["@timestamp", "type", "via"], "testcases": [
            {"input": [""], "expected": [{"message": ""}]}]}"#,
        ),
        (
            "nothing.yml",
            "ignore: ['@timestamp']\ncodec: line\ntestcases:\n  - input: ['', b]\n    expected: [{message: ''}, {message: b}]\n",
        ),
        // An event comes once for each output that it reaches, sorted by the outputs.
        (
            "outputs.json",
            r#"{"input_plugin": "json", "ignore": ["@timestamp"], "export_outputs": true, "testcases": [
            {"input": ["{\"message\": \"two\"}"], "expected": [
            {"message": "two", "__lfv_out_passed": "a_file"}, {"message": "two", "__lfv_out_passed": "stdout"}]},
            {"input": ["{\"message\": \"none\"}"], "expected": []}]}"#,
        ),
        (
            "clones.json",
            r#"{"input_plugin": "whole", "ignore": ["@timestamp", "type", "via"], "testcases": [
            {"input": ["clone"], "expected": [{"message": "clone"}, {"message": "clone"}]}]}"#,
        ),
    ] {
        folder.write(name, text);
        folder.passes(&[name, "-f", "main.conf"]);
        folder.passes(&[name]);
    }
}

#[test]
fn mocks_stand_in_for_plugins() {
    let config = r#"
input { kafka { id => "in" topics => ["x"] } }
filter {
  if [look] { http { id => "look" url => "http://127.0.0.1/" } }
  elasticsearch { id => "gone" query => "x" }
}
output { if [look] { kafka { id => "out" } } }
"#;
    let cases = "input_plugin: in\nignore: ['@timestamp']\nexport_outputs: true\ncases:\n  - in: a\n    fields: { \
                 look: 1 }\n    out: { message: a, look: 1, found: x, __lfv_out_passed: out }\n";
    let mocks = "---\n- id: gone\n- id: look\n  mock: |\n    mutate { add_field => { \"found\" => \"x\" } }\n\
                 - id: in\n  mock: stdin { }\n";
    let folder = Folder::new(&[
        ("a.conf", config),
        ("a.test.yml", cases),
        ("mocks.yml", mocks),
    ]);
    // Without mocks the filters are not known, and that is said with the place.
    let (code, text) = folder.run(&["a.test.yml"]);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("a.conf:4:15"), "{text}");
    folder.passes(&["a.test.yml", "--plugin-mock", "mocks.yml"]);
    // The same in the case file.
    folder.write(
        "a.test.yml",
        &format!("mocks:\n{}{cases}", mocks.trim_start_matches("---\n")),
    );
    folder.passes(&["a.test.yml"]);
    // A mock that stands in for nothing, and one that is wrong.
    folder.write("a.test.yml", &format!("mocks: [{{id: gnoe}}]\n{cases}"));
    let (code, text) = folder.run(&["a.test.yml", "--plugin-mock", "mocks.yml"]);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("a.test.yml:1:14"), "{text}");
    folder.write("a.test.yml", cases);
    folder.write("mocks.yml", &format!("{mocks}- id: never\n"));
    let (code, text) = folder.run(&["a.test.yml", "--plugin-mock", "mocks.yml"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("no configuration has a plugin with the id `never`"),
        "{text}"
    );
    folder.write(
        "mocks.yml",
        "- id: gone\n  mock: mutate { add_feld => { a => b } }\n",
    );
    let (code, text) = folder.run(&["a.test.yml", "--plugin-mock", "mocks.yml"]);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("mock of `gone`:2:10"), "{text}");
}

#[test]
fn mistakes_are_told_with_their_places() {
    let folder = Folder::new(&[("a.conf", WEB)]);
    for (text, place, words) in [
        ("cases:\n  - inn: x\n", "1.test.yml:2:5", "did you mean"),
        ("cases:\n\t- a", "1.test.yml:2:2", "no YAML"),
        (
            "input_plugin: stdn\ncases: []\n",
            "1.test.yml:1:15",
            "did you mean `stdin`?",
        ),
        (
            "codec: jsn\ncases: []\n",
            "1.test.yml:1:8",
            "there is no codec `jsn`",
        ),
        ("codec: 'line {'\ncases: []\n", "1.test.yml:1:8", "no codec"),
        (
            "fields: { '@timestamp': soon }\ncases: []\n",
            "1.test.yml:1:25",
            "no time",
        ),
        ("config: none.conf\ncases: []\n", "none.conf", "cannot read"),
    ] {
        folder.write("1.test.yml", text);
        let (code, said) = folder.run(&["."]);
        assert_eq!(code, Some(78), "{text}{said}");
        assert!(said.contains(place) && said.contains(words), "{text}{said}");
    }
    folder.write("1.test.yml", "cases: []\n");
    folder.write("a.conf", "filter { gork { } }");
    let (code, said) = folder.run(&["."]);
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("did you mean `grok`?") && said.contains("a.conf:1:10"),
        "{said}"
    );
    // Nothing to run is no success.
    let empty = Folder::new(&[("dictionary.yml", "a: b\n")]);
    assert_eq!(empty.run(&["."]).0, Some(64));
    assert_eq!(empty.run(&["missing"]).0, Some(64));
    assert_eq!(empty.run(&[]).0, Some(64));
    assert_eq!(empty.run(&[".", "-f", "x", "-e", "y"]).0, Some(64));
}

#[test]
fn any_bytes_are_read_or_refused() {
    let folder = Folder::new(&[("a.conf", WEB)]);
    let mut seed = 7_u64;
    let mut next = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    };
    for number in 0..100 {
        let bytes: Vec<u8> = (0..number).map(|_| next()).collect();
        for (extension, head) in [("json", "{\"testcases\": ["), ("yml", "cases: ")] {
            let path = folder.0.path().join(format!("{number}.test.{extension}"));
            std::fs::write(path, [head.as_bytes(), &bytes].concat()).unwrap();
        }
    }
    let report = folder.report(&["."]);
    assert_eq!(report["files"].as_array().unwrap().len(), 200);
}

#[test]
fn what_filters_remember_stays_in_a_file() {
    let config = r#"filter { aggregate { task_id => "%{id}" push_previous_map_as_event => true
        code => "map['n'] ||= 0; map['n'] += 1; event.set('n', map['n'])" } }"#;
    let one = "codec: json\nignore: ['@timestamp', tags]\ncases:\n  - in: '{\"id\": \"a\"}'\n    name: first\n    \
               out: { id: a, n: 1 }\n  - in: '{\"id\": \"a\"}'\n    name: second\n    out:\n      - { id: a, n: 2 }\n      \
               - { n: 2 }\n";
    let folder = Folder::new(&[("a.conf", config), ("1.yml", one), ("2.yml", one)]);
    folder.passes(&["."]);
    // A case alone has what came before it all the same.
    folder.passes(&[".", "--filter", "second"]);
    let report = folder.report(&[".", "--keep-state"]);
    assert_eq!(
        report["failed"], 0,
        "what was flushed is forgotten: {report}"
    );
    // The same without the flush at the end of a file: the filter has no timeout event.
    folder.write(
        "a.conf",
        &config.replace("push_previous_map_as_event => true", ""),
    );
    let one = one.replace("      - { n: 2 }\n", "");
    folder.write("1.yml", &one);
    folder.write("2.yml", &one);
    folder.passes(&["."]);
    // Unless that is wanted.
    let report = folder.report(&[".", "--keep-state"]);
    assert_eq!(report["files"][1]["cases"][0]["passed"], false, "{report}");
    assert_eq!(report["failed"], 2, "{report}");
    // `flush` says where else filters give out what they hold.
    let config = "filter { metrics { meter => \"m\" } }";
    let cases = "ignore: ['@timestamp']\ncases:\n  - in: a\n    flush: true\n    has:\n      - message: a\n      - m: { \
                 count: 1 }\n  - in: b\n    has:\n      - message: b\n      - {}\n";
    let folder = Folder::new(&[("a.conf", config), ("1.yml", cases)]);
    folder.passes(&["."]);
}

#[test]
fn time_is_the_clocks_unless_a_filter_sets_it() {
    let config = r#"filter { if [when] { date { match => ["when", "MMM dd HH:mm:ss", "ISO8601"] timezone => "UTC" } } }"#;
    let cases = "ignore: [message]\ncases:\n  - in: not set\n    out: {}\n  - in: set\n    fields: { when: \
                 '2020-01-02T03:04:05Z' }\n    out: { when: '2020-01-02T03:04:05Z', '@timestamp': \
                 '2020-01-02T03:04:05.000Z' }\n  - in: a year is guessed\n    now: '2019-06-01T00:00:00Z'\n    fields: { \
                 when: Mar 04 05:06:07 }\n    has: { '@timestamp': '2019-03-04T05:06:07.000Z' }\n  - in: given\n    \
                 fields: { '@timestamp': '2001-01-01T00:00:00Z' }\n    out: { '@timestamp': '2001-01-01T00:00:00.000Z' }\n  \
                 - in: the clock\n    now: '2019-06-01T00:00:00Z'\n    out: { '@timestamp': '2019-06-01T00:00:00.000Z' }\n";
    let folder = Folder::new(&[("a.conf", config), ("1.yml", cases)]);
    folder.passes(&["."]);
    // One that was set and is not expected is a difference.
    let cases = cases.replace(", '@timestamp': '2020-01-02T03:04:05.000Z'", "");
    folder.write("1.yml", &cases);
    let (code, text) = folder.run(&["."]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("+ @timestamp: \"2020-01-02T03:04:05.000Z\""),
        "{text}"
    );
}

#[test]
fn update_writes_what_came_and_leaves_the_rest() {
    let yaml = "# the head\nignore: ['@timestamp']   # not this\ncases:\n  - name: kept\n    in: GET 1\n    out: \
                {verb: GET, message: GET 1, size: 1}   # as it is\n  - in: |\n      GET 2\n    out:\n      # two\n      - \
                verb:   \"GET\"\n        message: GET 2\n        size: 3\n        [x]: 1\n      - message: never\n  - in: \
                'a,b: c'\n  # the end\n  - in: GET 4\n    has: { size: 5, verb: GET }\n";
    let yaml = yaml.replace("        [x]: 1\n", "");
    let folder = Folder::new(&[("web.conf", WEB), ("web.test.yml", &yaml)]);
    let (code, text) = folder.run(&[".", "--update"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("3 cases rewritten"), "{text}");
    let expected = "# the head\nignore: ['@timestamp']   # not this\ncases:\n  - name: kept\n    in: GET 1\n    out: \
                    {verb: GET, message: GET 1, size: 1}   # as it is\n  - in: |\n      GET 2\n    out:\n      - verb:   \
                    \"GET\"\n        message: GET 2\n        size: 2\n  - in: 'a,b: c'\n    out:\n      - message: a\n        \
                    tags: [\"_grokparsefailure\"]\n      - message: \"b: c\"\n        tags: [\"_grokparsefailure\"]\n  # the \
                    end\n  - in: GET 4\n    has: {\"size\": 4, verb: GET}\n";
    assert_eq!(folder.read("web.test.yml"), expected);
    folder.passes(&["."]);

    let json = "{\n    \"ignore\": [\"@timestamp\"],\n    \"testcases\": [\n        {\n            \"input\": [\"GET 1\"],\n            \
                \"expected\": [\n                {\n                    \"message\": \"GET 1\",\n                    \"verb\" : \
                \"PUT\"\n                }\n            ]\n        },\n        {\"input\": [\"drop\"], \"expected\": [{\"a\": 1}]},\n        \
                {\"input\": [\"GET 7\"]}\n    ]\n}\n";
    let folder = Folder::new(&[("web.conf", WEB), ("web.json", json)]);
    let (code, text) = folder.run(&[".", "--update"]);
    assert_eq!(code, Some(0), "{text}");
    let expected = "{\n    \"ignore\": [\"@timestamp\"],\n    \"testcases\": [\n        {\n            \"input\": [\"GET 1\"],\n            \
                    \"expected\": [\n                {\n                    \"message\": \"GET 1\",\n                    \"verb\": \
                    \"GET\",\n                    \"size\": 1\n                }\n            ]\n        },\n        {\"input\": \
                    [\"drop\"], \"expected\": []},\n        {\"input\": [\"GET 7\"], \"expected\": [{\"message\": \"GET 7\", \"verb\": \
                    \"GET\", \"size\": 7}]}\n    ]\n}\n";
    assert_eq!(folder.read("web.json"), expected);
    folder.passes(&["."]);

    // What cannot be written without a change of something else is left alone.
    let anchors = "ignore: ['@timestamp']\ncases:\n  - in: GET 1\n    out: &one { message: GET 1, verb: GET, size: 9 \
                   }\n  - in: GET 9\n    out: *one\n";
    folder.write("web.json", "{\"testcases\": []}");
    folder.write("anchors.yml", anchors);
    let (code, text) = folder.run(&["anchors.yml", "--update"]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(folder.read("anchors.yml"), anchors);
    assert!(text.contains("not rewritten"), "{text}");
}

#[test]
fn a_thousand_cases_take_less_than_a_second() {
    let config = std::fs::read_to_string(examples().join("apache.conf")).unwrap();
    let mut cases =
        String::from("ignore: ['@timestamp', message]\nfields: { type: apache }\ncases:\n");
    for number in 0..1000 {
        let case = format!(
            "  - name: request {number}\n    in: '192.0.2.7 - - [10/Oct/2026:13:55:36 -0700] \"GET /{number} \
             HTTP/1.1\" 200 {number} \"-\" \"curl/8\"'\n    has: {{ verb: GET, bytes: {number}, response: '200' }}\n"
        );
        cases.push_str(&case);
    }
    let folder = Folder::new(&[("web.conf", &config), ("web.test.yml", &cases)]);
    // Built without optimisation and on a busy machine it may take its time; what ships has to hold
    // the second.
    let limit = if cfg!(debug_assertions) { 10 } else { 1 };
    let started = Instant::now();
    folder.passes(&["."]);
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(limit), "{elapsed:?}");
}

#[test]
fn watch_runs_again_when_something_changes_and_only_then() {
    let case = |size: u32| format!("cases:\n  - {{ in: GET 1, has: {{ size: {size} }} }}\n");
    let folder = Folder::new(&[("web.conf", WEB), ("tests/web.yml", &case(1))]);
    // As editors do it: at no time is half of a file there.
    let replace = |name: &str, text: &str| {
        folder.write("new", text);
        let path = folder.0.path();
        std::fs::rename(path.join("new"), path.join(name)).unwrap();
    };
    let child = folder
        .command(&["tests", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let child = Arc::new(Mutex::new(child));
    let (stdout, stderr) = {
        let mut child = child.lock().unwrap();
        (child.stdout.take().unwrap(), child.stderr.take().unwrap())
    };
    let mut lines = BufReader::new(stdout).lines().map(Result::unwrap);
    let mut said = BufReader::new(stderr).lines().map(Result::unwrap);
    // A change may be seen in two runs; in the end it is this.
    let mut wait_for = |summary: &str| {
        // Its end ends the waiting.
        let (done, is_done) = std::sync::mpsc::sync_channel::<()>(1);
        let victim = Arc::clone(&child);
        let guard = std::thread::spawn(move || {
            if is_done.recv_timeout(Duration::from_mins(2)).is_err() {
                victim.lock().unwrap().kill().unwrap();
            }
        });
        loop {
            // After this changes are noticed.
            said.find(|line| line.starts_with("watching"))
                .unwrap_or_else(|| panic!("no {summary}"));
            if lines
                .find(|line| line.ends_with(" s)"))
                .unwrap()
                .starts_with(summary)
            {
                break;
            }
        }
        done.send(()).unwrap();
        guard.join().unwrap();
    };
    wait_for("1 case: 1 passed (");
    replace("tests/web.yml", &case(2));
    wait_for("1 case: 0 passed, 1 failed (");
    // A new file, and then the configuration.
    folder.write(
        "tests/more/other.yml",
        "config: ../../web.conf\ncases:\n  - { in: drop, out: [] }\n",
    );
    replace("tests/web.yml", &case(1));
    wait_for("2 cases: 2 passed (");
    replace("web.conf", &WEB.replace("size:int", "size"));
    wait_for("2 cases: 1 passed, 1 failed (");
    let id = child.lock().unwrap().id();
    let waiting = |id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = waiting(id);
    std::thread::sleep(Duration::from_secs(1));
    let used = waiting(id) - before;
    let mut child = child.lock().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // Hundredths of a second of processor time in a second in which nothing happens.
    assert!(used <= 5, "{used}");
}

const SHADOW: &str = r#"
input { stdin { } }
filter {
  grok { match => { "message" => "^%{WORD:verb} %{NUMBER:size:int}$" } overwrite => ["message"] }
  if [verb] == "DROP" { drop { } }
  if [verb] == "TWICE" { clone { clones => ["copy"] } }
  date { match => ["none", "ISO8601"] }
}
"#;

#[test]
fn shadow_compares_with_the_documents_of_a_logstash() {
    let documents = [
        json!({"@timestamp": "2020-01-01T00:00:00Z", "@version": "1", "message": "GET 1", "verb": "GET", "size": 1, "host": "x"}),
        json!({"@timestamp": "2020-01-01T00:00:01.000Z", "message": "GET 2", "verb": "GET", "size": "2", "host": "x"}),
        json!({"_index": "i", "_id": "7", "_source": {"message": "PUT 3", "verb": "PUT", "size": 3, "more": {"of": 1}}}),
        json!({"event": {"original": "GET 4"}, "message": "cut", "verb": "GET", "size": 4}),
        json!({"message": "TWICE 1", "verb": "TWICE", "size": 1}),
        json!({"message": "TWICE 1", "verb": "TWICE", "size": 1, "type": "copy"}),
        json!({"message": "DROP 1", "verb": "DROP", "size": 1}),
        json!({"verb": "GET"}),
    ];
    let lines: Vec<String> = documents.iter().map(Value::to_string).collect();
    let text = format!("{}\nno json\n", lines.join("\n"));
    let folder = Folder::new(&[("a.conf", SHADOW), ("docs.ndjson", &text)]);
    let base = [
        "--shadow",
        "docs.ndjson",
        "-f",
        "a.conf",
        "--ignore",
        "host",
    ];
    let report = folder.report(&[&base[..], &["--ignore", "event", "--ignore", "tags"]].concat());
    let counts = |report: &Value| {
        let figures =
            ["documents", "equal", "different"].map(|name| report[name].as_u64().unwrap());
        let sides = ["missing", "unexpected", "without_line", "unreadable"]
            .map(|name| report[name]["count"].as_u64().unwrap());
        (figures, sides)
    };
    assert_eq!(counts(&report), ([8, 3, 3], [1, 0, 1, 1]), "{report}");
    let fields: Vec<(&str, u64, u64, u64)> = report["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| {
            let count = |name: &str| field[name].as_u64().unwrap();
            let name = field["field"].as_str().unwrap();
            (
                name,
                count("differ"),
                count("only_there"),
                count("only_here"),
            )
        })
        .collect();
    assert_eq!(
        fields,
        [("message", 1, 0, 0), ("more", 0, 1, 0), ("size", 1, 0, 0)]
    );
    assert_eq!(
        report["fields"][2]["examples"][0],
        json!({"line": 2, "there": "\"2\"", "here": "2"})
    );
    let (code, text) = folder.run(&base);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("8 documents: 3 equal"), "{text}");
    assert!(text.contains("line 2: there \"2\", here 2"), "{text}");
    assert!(
        text.contains("size") && text.contains("(1 of another type)"),
        "{text}"
    );
    // Fields that events had before the filters.
    let document =
        json!({"message": "GET 1", "verb": "GET", "size": 1, "log": {"file": "f"}, "kind": "k"});
    folder.write("docs.ndjson", &format!("{document}\n"));
    assert_eq!(folder.run(&base).0, Some(1));
    let carried = [
        &base[..],
        &["--carry", "[log][file]", "--carry", "kind", "--quiet"],
    ]
    .concat();
    assert_eq!(folder.run(&carried), (Some(0), String::new()));
    assert_eq!(
        folder.run(&["--shadow", "none", "-f", "a.conf"]).0,
        Some(78)
    );
    assert_eq!(folder.run(&["--shadow", "docs.ndjson"]).0, Some(78));
    let junit = [&base[..], &["--format", "junit"]].concat();
    assert_eq!(folder.run(&junit).0, Some(64));
}

#[test]
fn shadow_finds_documents_in_another_order_within_the_window() {
    let mut input = String::new();
    let mut documents = Vec::new();
    for number in 0..2000_u32 {
        let verb = if number % 10 == 3 { "DROP" } else { "GET" };
        let line = format!("{verb} {number}\n");
        input.push_str(&line);
        // Here Logstash drops others than we do, and has one more at the end.
        if number % 7 != 0 {
            documents
                .push(json!({"message": format!("{verb} {number}"), "verb": verb, "size": number}));
        }
    }
    // Several workers: neighbours change places.
    documents.chunks_mut(5).for_each(<[Value]>::reverse);
    let lines: Vec<String> = documents.iter().map(Value::to_string).collect();
    let folder = Folder::new(&[
        ("a.conf", SHADOW),
        ("docs.ndjson", &lines.join("\n")),
        ("input.log", &input),
    ]);
    let base = [
        "--shadow",
        "docs.ndjson",
        "-f",
        "a.conf",
        "--input",
        "input.log",
        "--key",
        "message",
    ];
    let both = (0..2000)
        .filter(|number| number % 7 != 0 && number % 10 != 3)
        .count();
    let ours_only = (0..2000)
        .filter(|number| number % 7 == 0 && number % 10 != 3)
        .count();
    let theirs_only = (0..2000)
        .filter(|number| number % 7 != 0 && number % 10 == 3)
        .count();
    for window in ["50", "10000"] {
        let report = folder.report(&[&base[..], &["--window", window]].concat());
        assert_eq!(report["equal"], both, "{window}: {report}");
        assert_eq!(report["missing"]["count"], theirs_only, "{window}");
        assert_eq!(report["unexpected"]["count"], ours_only, "{window}");
        assert_eq!(report["different"], 0, "{window}");
    }
}

/// The names in the first column of the tables with this head.
fn documented<'t>(page: &'t str, head: &str) -> Vec<&'t str> {
    let mut is_in = false;
    let mut names = Vec::new();
    for line in page.lines() {
        is_in = line.starts_with(head) || (is_in && line.starts_with('|'));
        let Some(cell) = line.strip_prefix("| `").filter(|_| is_in) else {
            continue;
        };
        let cell = cell.split(" | ").next().unwrap().trim_end_matches('`');
        let words = cell
            .split("`, `")
            .map(|word| word.split(' ').next().unwrap());
        names.extend(words.map(|word| word.trim_end_matches('`')));
    }
    names.sort_unstable();
    names
}

#[test]
fn the_page_says_what_the_program_knows() {
    let page = std::fs::read_to_string(examples().join("../../docs/testing.md")).unwrap();
    let folder = Folder::new(&[("a.conf", WEB)]);
    let help = folder.run(&["--help"]).1;
    let mut flags: Vec<&str> = help
        .split_whitespace()
        .map(|word| word.trim_end_matches(','))
        .filter(|word| {
            word.starts_with('-') && !word.contains('.') && *word != "--help" && *word != "-h"
        })
        .filter(|word| !["-f", "-e", "-"].contains(word))
        .collect();
    flags.sort_unstable();
    flags.dedup();
    assert_eq!(documented(&page, "| flag |"), flags);
    // A key that is like none makes the program say all of them.
    let known = |text: &str| {
        folder.write("1.test.yml", text);
        let said = folder.run(&["."]).1;
        let (_, list) = said
            .split_once("= help: it has ")
            .unwrap_or_else(|| panic!("{said}"));
        let list = list.lines().next().unwrap();
        list.split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    let mut keys = known("cases: []\nqqqqqqqqqqqq: 1\n");
    keys.extend(known("cases: [{ qqqqqqqqqqqq: 1 }]\n"));
    keys.sort_unstable();
    assert_eq!(documented(&page, "| key |"), keys);
    // The cases pass with the configuration above them.
    let block = |kind: &str, number: usize| {
        let start = page
            .match_indices(&format!("```{kind}\n"))
            .nth(number)
            .unwrap()
            .0;
        let text = page[start..].split_once('\n').unwrap().1;
        text.split_once("```").unwrap().0
    };
    let shop = r#"filter { jdbc_streaming { id => "lookup" statement => "x" } mutate { remove_field => "message" } }"#;
    let folder = Folder::new(&[
        ("web.conf", block("logstash", 0)),
        ("web.test.yml", block("yaml", 0)),
        ("web.test.json", block("json", 0)),
        ("shop.conf", shop),
        ("mock.test.yml", block("yaml", 1)),
    ]);
    let report = folder.report(&["."]);
    assert_eq!(
        (&report["cases"], &report["failed"], &report["refused"]),
        (&6.into(), &0.into(), &0.into()),
        "{report}"
    );
}
