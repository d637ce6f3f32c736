//! The first command of the README, as a new user runs it.

use std::path::Path;
use std::process::Command;

/// Seconds that it shows events before it stops by itself.
const SECONDS: &str = "8";

#[test]
fn quickstart_shows_events_and_loses_none() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(root.join("quickstart"))
        .args(["--dev", "--rate", "100", "--seconds", SECONDS])
        .output()
        .expect("bash runs the script");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    // A parsed access log line and a parsed syslog line were shown.
    assert!(text.contains(r#""verb":"#), "{text}\n{errors}");
    assert!(text.contains(r#""program":"#), "{text}\n{errors}");
    let last = text.lines().find(|line| line.starts_with("written: "));
    let last = last.unwrap_or_else(|| panic!("no summary: {text}\n{errors}"));
    let numbers: Vec<u64> = last
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect();
    let [written, arrived] = numbers[..] else {
        panic!("two counts in {last}")
    };
    assert!(written > 0, "{last}");
    assert_eq!(written, arrived, "{last}");
}
