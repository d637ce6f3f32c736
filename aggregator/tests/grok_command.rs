//! The subcommand `grok` as a user sees it: arguments, standard streams, exit codes.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn grok(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .arg("grok")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The child may refuse its arguments before it reads.
    let _closed = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The lines that are printed, and the exit code.
fn objects(arguments: &[&str], input: &str) -> (Vec<Value>, Option<i32>) {
    let output = grok(arguments, input.as_bytes());
    let lines = stdout(&output).lines();
    let objects = lines.map(|line| serde_json::from_str(line).unwrap());
    (objects.collect(), output.status.code())
}

fn json_of(arguments: &[&str], input: &str) -> Value {
    let output = grok(arguments, input.as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(stdout(&output)).unwrap()
}

fn failed(line: &str) -> Value {
    json!({ "message": line, "tags": ["_grokparsefailure"] })
}

#[test]
fn lines_become_what_the_filter_would_store() {
    let pattern = "%{IP:[source][ip]} %{WORD:w} %{WORD:w} %{NUMBER:n:int}%{DATA:empty}(?: |$)";
    let input = "10.0.0.1 a b 7\nnothing\n10.0.0.2 c d 8 more\n";
    let first = json!({ "source": { "ip": "10.0.0.1" }, "w": ["a", "b"], "n": 7 });
    let second = json!({ "source": { "ip": "10.0.0.2" }, "w": ["c", "d"], "n": 8 });
    let (found, code) = objects(&[pattern], input);
    assert_eq!(found, [first.clone(), failed("nothing"), second.clone()]);
    assert_eq!(code, Some(0));
    let (found, _) = objects(&[pattern, "--matching"], input);
    assert_eq!(found, [first, second]);
    let (found, _) = objects(&[pattern, "--failing"], input);
    assert_eq!(found, [failed("nothing")]);
    let (found, _) = objects(&["--keep-empty", pattern], "10.0.0.1 a b 7");
    assert_eq!(found[0]["empty"], "");
    // Captures called `message` or `tags` are captures like any other.
    let (found, code) = objects(&["%{WORD:message} %{WORD:tags} (?<tags>.*)"], "a b c\n");
    assert_eq!(found, [json!({ "message": "a", "tags": ["b", "c"] })]);
    assert_eq!(code, Some(0));
}

#[test]
fn exit_codes_are_those_of_grep() {
    assert_eq!(objects(&["a"], "b\na\n").1, Some(0));
    assert_eq!(objects(&["a"], "b\n").1, Some(1));
    // As with grep, whether a line matches counts, not whether one is printed.
    assert_eq!(objects(&["a", "--failing"], "b\n").1, Some(1));
    assert_eq!(objects(&["a"], ""), (vec![], Some(1)));
    assert_eq!(objects(&[], "").1, Some(64));
    assert_eq!(objects(&["a", "--matching", "--failing"], "").1, Some(64));
    let output = grok(&["%{WORDD:w}", "(a"], b"");
    assert_eq!(output.status.code(), Some(78));
    let message = stderr(&output);
    for part in ["pattern 1:1:1", "did you mean `WORD`", "pattern 2:1:"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let output = grok(&["--file", "/nowhere/patterns"], b"");
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("/nowhere/patterns"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn patterns_from_files_and_definitions() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(path("d")).unwrap();
    std::fs::write(path("d/shop"), "TICKET #\\d+\nCODE x\n").unwrap();
    std::fs::write(path("list"), "# first\n^%{TICKET:t}\n\n^%{CODE:c}$\r\n").unwrap();
    let arguments = [
        "--file",
        &path("list"),
        "--patterns-dir",
        &path("d"),
        "--define",
        "CODE=[a-c]=?",
    ];
    let (found, _) = objects(&arguments, "#1\nb=\nx\n");
    assert_eq!(
        found,
        [json!({ "t": "#1" }), json!({ "c": "b=" }), failed("x")]
    );
    // A pattern of the command line comes before those of the file.
    let (found, _) = objects(&[&["^%{DATA:first}$"], &arguments[..]].concat(), "#1\n");
    assert_eq!(found, [json!({ "first": "#1" })]);
    // What is wrong in the file is shown there.
    std::fs::write(path("list"), "fine\n^%{TICKETT:t}\n").unwrap();
    let output = grok(&arguments, b"");
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("list:2:2"), "{}", stderr(&output));
    // A name after -- is a pattern.
    let (found, _) = objects(&["--", "list"], "a list\n");
    assert_eq!(found, [json!({})]);
}

#[test]
fn field_names_and_unnamed_captures() {
    let line = "10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 5\n";
    let (found, _) = objects(&["%{COMMONAPACHELOG}"], line);
    assert_eq!(found[0]["clientip"], "10.0.0.1");
    let (found, _) = objects(&["%{COMMONAPACHELOG}", "--ecs"], line);
    assert_eq!(found[0]["source"]["address"], "10.0.0.1");
    assert_eq!(found[0]["http"]["response"]["status_code"], 200);
    let (found, _) = objects(&["%{WORD} %{INT:n}", "--all-captures"], "a 1");
    assert_eq!(found, [json!({ "WORD": "a", "n": "1" })]);
}

#[test]
fn bytes_that_are_no_text_and_slow_patterns() {
    let output = grok(&["(?<a>.+)"], b"\xff\xfe\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).starts_with("{\"a\":"),
        "{}",
        stdout(&output)
    );
    let slow = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxzy";
    let output = grok(&[r"^(?:(x+x+)+)\1y"], slow.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let expected = json!({ "message": slow, "tags": ["_groktimeout"] });
    assert_eq!(stdout(&output).trim(), expected.to_string());
    assert!(
        stderr(&output).contains("bounded fallback"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn list() {
    let all = json_of(&["list", "--json"], "");
    let count: usize = all
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["patterns"].as_array().unwrap().len())
        .sum();
    assert!(count > 300, "{count}");
    let output = grok(&["list", "apachelog"], b"");
    let text = stdout(&output);
    assert!(
        text.lines().any(|line| line == "  COMBINEDAPACHELOG"),
        "{text}"
    );
    assert!(!text.contains("SYSLOGLINE"), "{text}");
    let output = grok(&["list", "CISCOFW10600?"], b"");
    let text = stdout(&output);
    assert!(
        text.contains("  CISCOFW106001\n") && !text.contains("106006_"),
        "{text}"
    );
    let own = json_of(&["list", "MINE", "--json", "--define", "MINE_X=a"], "");
    assert_eq!(own, json!([{ "file": "--define", "patterns": ["MINE_X"] }]));
    assert_eq!(grok(&["list", "nonesuch"], b"").status.code(), Some(1));
}

#[test]
fn show() {
    let output = grok(&["show", "REDISLOG"], b"");
    let text = stdout(&output);
    for part in [
        "REDISLOG (",
        "engine: automaton",
        "  pid        text     POSINT",
        "  timestamp  text     REDISTIMESTAMP",
        "\n  REDISTIMESTAMP  %{MONTHDAY} %{MONTH} %{TIME}\n",
        "\n      HOUR  ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let shown = json_of(&["show", "HTTPD_COMMONLOG", "--ecs", "--json"], "");
    let bytes = shown["captures"]
        .as_array()
        .unwrap()
        .iter()
        .find(|capture| capture["field"] == "[http][response][body][bytes]");
    assert_eq!(bytes.unwrap()["type"], "integer");
    assert_eq!(shown["engine"], json!({ "kind": "automaton" }));
    let flat = grok(&["show", "REDISTIMESTAMP", "--flat"], b"");
    let flat = stdout(&flat).trim();
    assert!(
        !flat.contains("%{") && flat.contains("[0-5][0-9]"),
        "{flat}"
    );
    assert_eq!(
        flat,
        json_of(&["show", "REDISTIMESTAMP", "--json"], "")["expanded"]
    );
    let output = grok(&["show", "MINE", "--define", r"MINE=(?<a>.)x\k<a>"], b"");
    let text = stdout(&output);
    assert!(
        text.contains("fallback, because of a back-reference"),
        "{text}"
    );
    let output = grok(&["show", "IPORHOSTS"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("did you mean `IPORHOST`"));
}

#[test]
fn cost() {
    let good = "10.0.0.1 GET /index.html 200 0.031\n";
    let bad = "something else that no pattern takes, with 10.0.0.1 in it\n";
    let input = format!("{}{}", good.repeat(300), bad.repeat(100));
    let pattern = "%{IP:ip} %{DATA:verb} %{DATA:path} %{INT:status:int} %{NUMBER:time:float}";
    let arguments = ["cost", "--json", "--passes", "3", "--slowest", "2"];
    let cost = json_of(&[&arguments[..], &[pattern]].concat(), &input);
    assert_eq!(
        (&cost["lines"], &cost["matched"]),
        (&json!(400), &json!(300))
    );
    assert_eq!(cost["failing"], 100);
    let time = &cost["ns_per_line"];
    let number = |value: &Value| value.as_f64().unwrap();
    assert!(number(&time["min"]) > 1.0);
    assert!(number(&time["min"]) <= number(&time["median"]));
    assert!(number(&time["failing"]) > 0.0 && number(&time["matching"]) > 0.0);
    assert!(number(&cost["automaton"]["states"]) > 3.0);
    let parts = cost["parts"].as_array().unwrap();
    assert_eq!(parts[1]["part"], " %{DATA:verb}");
    assert_eq!(parts.len(), 5);
    let slowest = cost["slowest"].as_array().unwrap();
    assert_eq!(slowest.len(), 2);
    assert!(number(&slowest[0]["ns"]) >= number(&slowest[1]["ns"]));
    let advice = cost["advice"].to_string();
    for part in [
        "`%{NOTSPACE:verb}` for `%{DATA:verb}`",
        "100 of 400 lines do not match",
    ] {
        assert!(advice.contains(part), "{part}: {advice}");
    }

    let output = grok(
        &["cost", r"(?<q>['x]).*\k<q>", "%{GREEDYDATA:rest}"],
        good.as_bytes(),
    );
    let text = stdout(&output);
    for part in [
        "pattern 1: bounded fallback, because of a back-reference, 0 lines",
        "pattern 2: automaton, 1 lines",
        "compare the fields in a condition",
        "1 match, 0 do not",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Only whole lines within the limit are taken.
    let limited = [&arguments[..], &[pattern, "--max-sample-bytes", "100"]].concat();
    assert_eq!(json_of(&limited, &input)["lines"], 2);
    assert_eq!(grok(&["cost", "x"], b"").status.code(), Some(1));
    assert_eq!(grok(&["cost", "(x"], b"a").status.code(), Some(78));
}

#[test]
fn discover() {
    let mut lines = Vec::new();
    for number in 0..60 {
        lines.push(format!(
            "Nov {:2} 07:09:01 web-{} sshd[{}]: Accepted publickey for {} from 10.0.0.{number} port {} ssh2",
            number % 28 + 1,
            number % 3,
            800 + number,
            ["ann", "bob"][number % 2],
            40_000 + number,
        ));
        lines.push(format!(
            r#"10.1.1.{number} - {} [10/Oct/2000:13:55:{:02} -0700] "GET /a/{number}?b HTTP/1.1" 200 {} "-" "curl/8.{number}""#,
            ["-", "ann"][number % 2],
            number % 60,
            ["-", "17"][number % 2],
        ));
        // Free text behind a head.
        let text = [
            "disk is full",
            "user logged in at last",
            "bye",
            "cache miss on a key",
            "no",
            "retrying it now",
        ];
        lines.push(format!(
            "2024-01-02T03:04:05.{number:03}Z {} [main] - {}",
            ["INFO", "WARN", "ERROR"][number % 3],
            text[number % text.len()],
        ));
    }
    let sample = lines.join("\n");
    let found = json_of(&["discover", "--json"], &sample);
    assert_eq!(
        (&found["lines"], &found["left_out"]),
        (&json!(180), &json!(0))
    );
    let clusters = found["clusters"].as_array().unwrap();
    let patterns: Vec<_> = clusters
        .iter()
        .map(|cluster| cluster["pattern"].as_str().unwrap())
        .collect();
    assert_eq!(
        patterns,
        [
            r"^%{SYSLOGTIMESTAMP:timestamp} (?<host>[\w.-]+) sshd\[%{INT:pid:int}\]: Accepted publickey for %{WORD:word} from %{IP:ip} port %{INT:port:int} (?<name>[\w.-]+)$",
            r#"^%{IP:ip} - (?:%{WORD:user}|-) \[%{HTTPDATE:timestamp}\] "%{WORD:method} %{NOTSPACE:request} HTTP/(?<http_version>[0-9.]+)" %{INT:status:int} (?:%{INT:bytes:int}|-) "(?<referrer>[^"]*)" "(?<agent>[^"]*)"$"#,
            r"^%{TIMESTAMP_ISO8601:timestamp} %{LOGLEVEL:level} \[main\] - %{GREEDYDATA:message}$",
        ]
    );
    // Each matches its lines, as the filter sees them.
    for (cluster, pattern) in clusters.iter().zip(&patterns) {
        let (matching, code) = objects(&[pattern, "--matching"], &sample);
        assert_eq!((matching.len(), code), (60, Some(0)), "{pattern}");
        assert_eq!(cluster["lines"], 60);
        let example = cluster["example"].as_str().unwrap();
        assert!(lines.iter().any(|line| line == example), "{example}");
    }
    // The same lines give the same text.
    let text = |arguments: &[&str]| stdout(&grok(arguments, sample.as_bytes())).to_owned();
    assert_eq!(text(&["discover"]), text(&["discover"]));
    assert!(text(&["discover"]).starts_with("33.3 %  60 of 180 lines\n  ^%{SYSLOG"));
    // The limits.
    assert!(text(&["discover", "--max-clusters", "1"]).contains("lines are of further kinds"));
    let short = json_of(&["discover", "--json", "--max-line-bytes", "16"], &lines[0]);
    let pattern = short["clusters"][0]["pattern"].as_str().unwrap();
    assert_eq!(
        pattern,
        "^%{SYSLOGTIMESTAMP:timestamp} %{GREEDYDATA:message}$"
    );
    let few = json_of(
        &["discover", "--json", "--max-sample-bytes", "150"],
        &sample,
    );
    assert_eq!(few["lines"], 1);
    assert_eq!(grok(&["discover"], b"\n \n").status.code(), Some(1));
}

/// The flags that clap prints for a command.
fn flags(command: &[&str]) -> Vec<String> {
    let help = grok(&[command, &["--help"]].concat(), b"");
    let flags = stdout(&help).lines().filter_map(|line| {
        let (_, flag) = line.split_once("--")?;
        let name: String = flag
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '-')
            .collect();
        line.trim_start().starts_with('-').then_some(name)
    });
    flags.filter(|name| name != "help").collect()
}

#[test]
fn every_flag_is_documented() {
    let manual = include_str!("../../docs/aggregator.md");
    let start = manual.find("### `grok`").unwrap();
    let section = &manual[start..start + manual[start..].find("### `certificates`").unwrap()];
    let mut count = 0;
    for command in [&[][..], &["list"], &["show"], &["cost"], &["discover"]] {
        for flag in flags(command) {
            count += 1;
            assert!(
                section.contains(&format!("`--{flag}`")),
                "{command:?} --{flag}"
            );
        }
    }
    assert!(count > 20, "the flags are found: {count}");
    for (flag, default) in [
        ("passes", "20"),
        ("slowest", "5"),
        ("max-sample-bytes", "67108864"),
        ("max-clusters", "1000"),
        ("max-line-bytes", "4096"),
    ] {
        let row = format!("| `--{flag}` | {default} |");
        assert!(section.contains(&row), "{row}");
    }
}
