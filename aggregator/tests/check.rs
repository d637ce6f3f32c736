//! The subcommands `check` and `format`, and `-t`, as a user sees them.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use skidder_aggregator::manual::has_anchor;

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(arguments)
        .env_remove("SKIDDER_NO_SUCH_VARIABLE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The child may refuse its arguments before it reads.
    let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn planted(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check");
    path.join(name).to_str().unwrap().to_owned()
}

/// The findings of `check --format json`.
fn report(arguments: &[&str]) -> (Value, Option<i32>) {
    let output = run(&[&["check", "--format", "json"], arguments].concat(), "");
    let report = serde_json::from_str(&stdout(&output));
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    (report, output.status.code())
}

/// Each finding as `line:column-end severity code`, with the place, as a check of all that is told.
fn places(report: &Value, path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| {
            assert_eq!(finding["file"], path);
            let link = finding["doc"].as_str().unwrap();
            assert!(has_anchor(link), "{link}");
            assert!(!finding["message"].as_str().unwrap().is_empty());
            let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
            let (line, column) = (number(&finding["line"]), number(&finding["column"]));
            let end = &finding["end"];
            assert_eq!(number(&end["line"]), line, "{finding}");
            let length = number(&end["column"]) - column;
            let piece: String = lines[line - 1]
                .chars()
                .skip(column - 1)
                .take(length)
                .collect();
            let [severity, code] = ["severity", "code"].map(|key| finding[key].as_str().unwrap());
            format!("{line} {severity} {code} {piece}")
        })
        .collect()
}

#[test]
fn ten_planted_mistakes_are_ten_findings() {
    let path = planted("filters.conf");
    let (found, code) = report(&["-f", &path]);
    assert_eq!(code, Some(78));
    let expected = [
        "3 error option-value 123456",
        "6 error pattern %{IPP:client}",
        "7 error unknown-option mathc",
        "8 error plugin \"dd/MMM/yyyy:HH:mm:ss ZQ\"",
        "9 error plugin \"interger\"",
        "10 error option-value \"%{[a}\"",
        "11 warning never-holds [verb] == \"PUT\"",
        "12 error condition /(/",
        "13 error unknown-plugin gork",
        "16 error variable ${SKIDDER_NO_SUCH_VARIABLE}",
    ];
    assert_eq!(places(&found, &path), expected);
    assert_eq!(
        (&found["version"], &found["errors"], &found["warnings"]),
        (&1.into(), &9.into(), &1.into())
    );
    assert_eq!(found["files"][0], path.as_str());
    let unknown = &found["findings"][8];
    assert_eq!(unknown["suggestion"], "grok");
    assert_eq!(unknown["help"], "did you mean `grok`?");
    assert_eq!(unknown["doc"], "docs/filters.md#filters");
    // For people, the same.
    let output = run(&["check", "-f", &path], "");
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(78), "")
    );
    let said = stderr(&output);
    assert_eq!(
        said.matches("error: ").count() + said.matches("warning: ").count(),
        10,
        "{said}"
    );
    assert!(
        said.contains("= note: see docs/filters.md#mutate"),
        "{said}"
    );
}

#[test]
fn mistakes_of_the_grammar_do_not_hide_each_other() {
    let path = planted("grammar.conf");
    let (found, code) = report(&["-f", &path]);
    assert_eq!(code, Some(78));
    let expected = [
        "2 error unknown-plugin josn",
        "3 error syntax ,",
        "6 error value-syntax ,",
        "7 error value \"a\"",
        "8 error value-syntax a.b",
        "9 error condition-syntax =",
        "10 error condition-syntax {",
        "11 error value-syntax ;",
        "12 error field-reference \"[ua\"",
        "14 error syntax outptu",
        "15 error option-value maybe",
    ];
    assert_eq!(places(&found, &path), expected);
}

#[test]
fn warnings_and_hints_are_told_and_do_not_refuse() {
    let path = planted("meaning.conf");
    let (found, _) = report(&["-f", &path]);
    let expected = [
        "2 error plugin \"UTF-9\"",
        "5 warning fallback-pattern \\k<w>",
        "6 error pattern 1",
        "9 warning unreachable-branch [client] == \"a\"",
        "11 warning always-holds \"x\" == \"x\"",
        "14 hint unset-field [cleint]",
        "15 error unsupported-option remove",
        "16 warning deprecated-option field",
        "16 error plugin \"/no/such/dictionary.yml\"",
        "17 hint unset-field \"nowhere\"",
        "17 error plugin \"Mars/Olympus\"",
        "20 hint unset-field %{[@metadata][day]}",
        "20 warning option-without-effect flush_interval",
        "21 warning deprecated-option ssl",
    ];
    assert_eq!(places(&found, &path), expected);
    let hint = &found["findings"][5];
    assert_eq!(hint["suggestion"], "[client]");
    assert_eq!(found["findings"][3]["related"][0]["line"], 7);
}

#[test]
fn exit_codes_and_what_is_printed() {
    let good = "input { stdin { } } output { null { } }";
    let warns = "input { stdin { } } output { if [a] == 1 and [a] == 2 { null { } } }";
    let bad = "input { stdin { } } output { nul { } }";
    for (arguments, code, out) in [
        (&["check", "-e", good][..], 0, "configuration OK\n"),
        (&["-t", "-e", good], 0, "configuration OK\n"),
        (
            &["--config.test_and_exit", "-e", good],
            0,
            "configuration OK\n",
        ),
        (&["check", "-e", warns], 0, "configuration OK\n"),
        (&["-t", "-e", warns], 0, "configuration OK\n"),
        (&["check", "--deny-warnings", "-e", warns], 78, ""),
        (
            &["check", "--deny-warnings", "-e", good],
            0,
            "configuration OK\n",
        ),
        (&["check", "-e", bad], 78, ""),
        (&["-t", "-e", bad], 78, ""),
        (
            &["check", "--syntax-only", "-e", bad],
            0,
            "configuration OK\n",
        ),
        (&["-t", "--syntax-only", "-e", bad], 0, "configuration OK\n"),
        (&["-t", "--syntax-only", "-e", "input { stdin { }"], 78, ""),
        (&["check", "-f", "/no/such/file.conf"], 78, ""),
        (&["check"], 78, ""),
        (&["check", "--format", "xml", "-e", good], 64, ""),
    ] {
        let output = run(arguments, "");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}");
        assert_eq!(stdout(&output), out, "{arguments:?}\n{said}");
        assert_eq!(
            said.is_empty(),
            code == 0 && !arguments.contains(&warns),
            "{arguments:?}\n{said}"
        );
    }
    // Filters and outputs are looked at although the input is wrong, and the other way round.
    let all = "input { stdni { } } filter { gork { } } output { nul { } }";
    let (found, _) = report(&["-e", all]);
    assert_eq!(found["errors"], 3, "{found}");
    let (found, code) = report(&["-f", "/no/such/file.conf"]);
    assert_eq!(
        (&found["findings"][0]["code"], code),
        (&"source".into(), Some(78))
    );
    assert_eq!(found["findings"][0]["line"], Value::Null);
}

#[test]
fn every_kind_of_finding_is_in_the_manual() {
    let manual = include_str!("../../docs/aggregator.md");
    for code in skidder_pipeline::language::Code::ALL {
        let row = format!("| `{}` |", code.name());
        assert!(
            manual.contains(&row),
            "docs/aggregator.md lacks the row {row}"
        );
    }
}

#[test]
fn nothing_is_found_in_the_examples() {
    let certificates = tempfile::tempdir().unwrap();
    let path = certificates.path().to_str().unwrap();
    assert!(run(&["certificates", path], "").status.success());
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/aggregator");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let example = entry.unwrap().path();
        if example
            .extension()
            .is_none_or(|extension| extension != "conf")
        {
            continue;
        }
        seen += 1;
        let output = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
            .args(["check", "--deny-warnings", "-f", example.to_str().unwrap()])
            .env("CERTIFICATES", certificates.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stderr(&output), "", "{}", example.display());
    }
    assert!(seen >= 5);
}

#[test]
fn files_are_formatted_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ugly, pretty) = ("filter{drop{}} # x", "filter {\n  drop { }\n} # x\n");
    let (one, two) = (write("1.conf", ugly), write("2.conf", pretty));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let folder = directory.path().to_str().unwrap();
    let output = run(&["format", "--check", folder], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), format!("{}\n", one.display()));
    assert_eq!(std::fs::read_to_string(&one).unwrap(), ugly);

    let before = std::fs::metadata(&two).unwrap().modified().unwrap();
    let output = run(
        &["format", link.to_str().unwrap(), two.to_str().unwrap()],
        "",
    );
    assert_eq!(
        (output.status.code(), stdout(&output).as_str()),
        (Some(0), "")
    );
    assert_eq!(std::fs::read_to_string(&one).unwrap(), pretty);
    assert!(link.is_symlink());
    assert_eq!(
        std::fs::metadata(&two).unwrap().modified().unwrap(),
        before,
        "it was in form"
    );
    assert_eq!(
        run(&["format", "--check", folder], "").status.code(),
        Some(0)
    );

    let bad = write("3.conf", "filter { drop { }");
    let output = run(&["format", bad.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("3.conf:1:8"),
        "{}",
        stderr(&output)
    );
    assert_eq!(run(&["format", "/no/such/file"], "").status.code(), Some(1));
    let output = run(&["format"], ugly);
    assert_eq!(
        (stdout(&output).as_str(), output.status.code()),
        (pretty, Some(0))
    );
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 4, "nothing is left beside the files");
}
