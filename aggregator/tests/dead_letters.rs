//! `skidder-aggregator dlq` and the input `dead_letter_queue`, by running the program.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Dead letters in two segments, the second with a line that is not finished.
struct Letters(tempfile::TempDir);

impl Letters {
    fn new() -> Self {
        let letters = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(letters.folder()).unwrap();
        let letter = |number: u32, reason: &str, day: u32| {
            let document = format!("{{\"message\":\"m{number}\",\"n\":{number}}}");
            let letter = json!({
                "time": format!("2026-11-{day}T08:00:00.000Z"), "pipeline": "main", "stage": "output",
                "plugin": "es", "reason": reason, "status": 400, "config": "0123456789abcdef",
                "action": "{\"index\":{\"_index\":\"logs\"}}", "document": document,
            });
            format!("{letter}\n")
        };
        let first = [
            letter(1, "mapping", 20),
            letter(2, "mapping", 21),
            letter(3, "too large", 22),
        ];
        std::fs::write(letters.segment(1), first.concat()).unwrap();
        let second = format!("{}{{\"time\":\"2026", letter(4, "mapping", 23));
        std::fs::write(letters.segment(2), second).unwrap();
        letters
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("dead_letter_queue/main")
    }

    fn segment(&self, number: u32) -> PathBuf {
        self.folder().join(format!("{number:09}.jsonl"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_on(Stdio::null(), arguments)
    }

    fn run_on(&self, input: Stdio, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
            .args(arguments)
            .args(["--path.data", self.0.path().to_str().unwrap()])
            .stdin(input)
            .output()
            .unwrap()
    }

    fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}\n{errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn letters_are_listed_counted_and_shown() {
    let letters = Letters::new();
    let listed = letters.lines(&["dlq", "list"]);
    assert_eq!(listed.len(), 2);
    assert!(
        listed[0].contains("000000001.jsonl: 3 letters"),
        "{listed:?}"
    );
    assert!(
        listed[0].ends_with("2026-11-20T08:00:00.000Z to 2026-11-22T08:00:00.000Z"),
        "{listed:?}"
    );
    assert!(
        listed[1].contains("1 letters"),
        "half a letter is none: {listed:?}"
    );
    assert_eq!(
        letters.lines(&["dlq", "stats"]),
        [
            "3\toutput\tes\t400\tmapping",
            "1\toutput\tes\t400\ttoo large"
        ]
    );
    assert_eq!(letters.lines(&["dlq", "show"]).len(), 4);
    let shown = letters.lines(&[
        "dlq", "show", "--reason", "map", "--plugin", "es", "--limit", "2",
    ]);
    let numbers: Vec<bool> = shown
        .iter()
        .zip(["m1", "m2"])
        .map(|(line, text)| line.contains(text))
        .collect();
    assert_eq!(numbers, [true, true], "{shown:?}");
    assert!(
        letters
            .lines(&["dlq", "show", "--plugin", "other"])
            .is_empty()
    );
    let none = Letters::new();
    std::fs::remove_dir_all(none.folder()).unwrap();
    assert_eq!(none.run(&["dlq", "list"]).status.code(), Some(1));
}

#[test]
fn a_purge_goes_by_time_and_leaves_what_may_be_written_to() {
    let letters = Letters::new();
    let there = || [1, 2].map(|number| letters.segment(number).try_exists().unwrap());
    let before = ["dlq", "purge", "--before", "2026-11-23T00:00:00Z"];
    let said = letters.lines(&[&before[..], &["--dry-run"]].concat());
    assert!(
        said.len() == 1 && said[0].contains("3 letters would be removed"),
        "{said:?}"
    );
    assert_eq!(there(), [true, true]);
    letters.lines(&before);
    assert_eq!(there(), [false, true]);
    let writer = std::fs::File::open(letters.folder()).unwrap();
    writer.lock_shared().unwrap();
    let said = letters.lines(&["dlq", "purge"]);
    assert!(said[0].contains("kept"), "{said:?}");
    assert_eq!(there(), [false, true]);
    drop(writer);
    letters.lines(&["dlq", "purge"]);
    assert_eq!(there(), [false, false]);
}

#[test]
fn complaint_29_a_replay_delivers_each_letter_once() {
    let letters = Letters::new();
    let output = letters.0.path().join("out");
    let config = format!(
        "input {{ stdin {{ }} }} filter {{ mutate {{ add_field => {{ \"why\" => \"%{{[@metadata][dead_letter_queue][reason]}}\" }} }} }} \
         output {{ file {{ path => '{}' }} }}",
        output.display()
    );
    let dry = [
        "dlq",
        "replay",
        "-e",
        &config,
        "--through-pipeline",
        "--dry-run",
    ];
    for _ in 0..2 {
        // Nothing is remembered of it.
        let printed: Vec<Value> = letters
            .lines(&dry)
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(printed.len(), 4, "{printed:?}");
        assert!(
            printed
                .iter()
                .any(|event| event["why"] == "too large" && event["n"] == 3)
        );
        assert!(!output.try_exists().unwrap());
    }
    letters.lines(&["dlq", "replay", "-e", &config]);
    let text = std::fs::read_to_string(&output).unwrap();
    let mut messages: Vec<String> = text
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(event.get("why"), None, "not through the filters");
            event["message"].as_str().unwrap().to_owned()
        })
        .collect();
    messages.sort();
    assert_eq!(messages, ["m1", "m2", "m3", "m4"]);
    // The first segment is done with; the last one may still be written to, and is known.
    assert!(!letters.segment(1).try_exists().unwrap());
    assert!(letters.segment(2).try_exists().unwrap());
    letters.lines(&["dlq", "replay", "-e", &config]);
    assert_eq!(std::fs::read_to_string(&output).unwrap(), text);
}

#[test]
fn the_input_starts_at_a_time_and_says_why() {
    let letters = Letters::new();
    let folder = letters.0.path().join("dead_letter_queue");
    let config = format!(
        "input {{ dead_letter_queue {{ path => '{}' follow => false start_timestamp => '2026-11-22T00:00:00Z' type => again }} }} \
         output {{ stdout {{ codec => line {{ format => '%{{message}} %{{type}} %{{[@metadata][dead_letter_queue][reason]}}' }} }} }}",
        folder.display()
    );
    let mut lines = letters.lines(&["-e", &config]);
    lines.sort();
    assert_eq!(lines, ["m3 again too large", "m4 again mapping"]);
    // Again, with the disk queue: everything is behind the position that was kept.
    assert!(
        letters
            .lines(&["-e", &config, "--queue.type", "persisted"])
            .is_empty()
    );
}

#[test]
fn a_codec_and_a_filter_make_letters_and_mended_filters_take_them() {
    let letters = Letters(tempfile::tempdir().unwrap());
    let source = letters.0.path().join("lines");
    let output = letters.0.path().join("out");
    std::fs::write(
        &source,
        b"{\"message\":\"GET /\",\"tags\":[\"web\"]}\n{\"message\":\"POST\"}\nno json \xff\n",
    )
    .unwrap();
    let config = |pattern: &str| {
        format!(
            "input {{ stdin {{ codec => json_lines {{ }} }} }} \
             filter {{ if \"_jsonparsefailure\" not in [tags] {{ grok {{ match => {{ message => \"^{pattern}$\" }} }} }} }} \
             output {{ \
               if \"_jsonparsefailure\" in [tags] {{ dead_letter_queue {{ stage => input id => json }} }} \
               else if \"_grokparsefailure\" in [tags] {{ dead_letter_queue {{ reason => \"no grok for %{{message}}\" }} }} \
               else {{ file {{ path => '{}' }} }} }}",
            output.display()
        )
    };
    let first = letters.run_on(
        std::fs::File::open(&source).unwrap().into(),
        &["-e", &config("%{WORD:verb}")],
    );
    assert!(first.status.success(), "{first:?}");
    let found: Vec<Value> = letters
        .lines(&["dlq", "show"])
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    let of = |stage: &str| {
        found
            .iter()
            .find(|letter| letter["stage"] == stage)
            .unwrap()
    };
    let filter = of("filter");
    assert_eq!(filter["plugin"], "dead_letter_queue");
    assert_eq!(filter["reason"], "no grok for GET /");
    assert_eq!(filter["original"], "GET /");
    assert_eq!(filter["config"].as_str().unwrap().len(), 16);
    let document: Value = serde_json::from_str(filter["document"].as_str().unwrap()).unwrap();
    assert_eq!(document["tags"], json!(["web", "_grokparsefailure"]));
    let input = of("input");
    assert_eq!(input["plugin"], "json");
    assert_eq!(input["reason"], "_jsonparsefailure");
    // The bytes as they came: not UTF-8.
    assert_eq!(input["original_base64"], "bm8ganNvbiD/");
    assert_eq!(
        std::fs::read_to_string(&output).unwrap().lines().count(),
        1,
        "what is a letter is not delivered"
    );

    let mended = config("%{WORD:verb}( %{NOTSPACE:path})?");
    letters.lines(&["dlq", "replay", "--through-pipeline", "-e", &mended]);
    let delivered: Vec<Value> = std::fs::read_to_string(&output)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let again = delivered.iter().find(|event| event["verb"] == "GET");
    let again = again.expect("the mended pattern takes it");
    assert_eq!(again["path"], "/");
    assert_eq!(again["tags"], json!(["web"]), "its failure is forgotten");
    // What is in the letters is a text that no filter here can mend: the same as a new letter.
    let unread = letters.lines(&["dlq", "show", "--reason", "no grok for no json"]);
    assert_eq!(unread.len(), 1, "{unread:?}");
}

#[test]
fn a_full_queue_drops_what_the_policy_says_and_says_so() {
    for (policy, kept) in [("drop_newer", "first"), ("drop_older", "second")] {
        let letters = Letters(tempfile::tempdir().unwrap());
        let run = |word: &str| {
            let large = format!(
                "input {{ generator {{ count => 1 message => '{word} {}' }} }} output {{ dead_letter_queue {{ }} }}",
                "x".repeat(40_000)
            );
            letters.run(&[
                "-e",
                &large,
                "--dead_letter_queue.max_bytes",
                "100kb",
                "--dead_letter_queue.storage_policy",
                policy,
            ])
        };
        assert!(run("first").status.success());
        let second = run("second");
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(second.status.success(), "{said}");
        assert!(
            said.contains("the dead letter queue is full, dropped"),
            "{said}"
        );
        let left = letters.lines(&["dlq", "show"]);
        assert_eq!(left.len(), 1, "{policy}");
        assert!(left[0].contains(&format!("{kept} xxx")), "{policy}");
    }
}
