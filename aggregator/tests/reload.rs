//! A dictionary that changes while the program runs, with events under way.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn a_dictionary_is_read_again_while_events_flow() {
    let directory = tempfile::tempdir().unwrap();
    let dictionary = directory.path().join("words.yml");
    let beside = directory.path().join("new.yml");
    std::fs::write(&dictionary, "a: one\n").unwrap();
    let configuration = format!(
        "input {{ stdin {{ codec => line }} }}
         filter {{ translate {{ source => 'message' target => 'word' dictionary_path => '{}'
                                refresh_interval => 0.1 refresh_behaviour => 'replace' }} }}
         output {{ stdout {{ codec => line {{ format => '%{{message}}=%{{word}}' }} }} }}",
        dictionary.display()
    );
    let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .args(["-w", "1", "-e", &configuration])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut ask = |word: &str| {
        writeln!(input, "{word}").unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    assert_eq!(ask("a"), "a=one");
    let mut becomes = |contents: &str, expected: &str| {
        std::fs::write(&beside, contents).unwrap();
        std::fs::rename(&beside, &dictionary).unwrap();
        let patience = Instant::now() + Duration::from_mins(1);
        while ask("a") != expected {
            assert!(Instant::now() < patience, "never {expected}");
        }
    };
    becomes("a: two\n", "a=two");
    // What is no dictionary changes nothing; what comes after it does.
    std::fs::write(&dictionary, "a: [").unwrap();
    becomes("a: three\n", "a=three");
    becomes("b: four\n", "a=%{word}");
    drop(input);
    assert!(child.wait().unwrap().success());
}
