//! `drain`: everything is shipped and acknowledged, or it is said what is left and why.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::support::{Behaviour, Place, Program, Receiver, assert_each_once, lines};

fn start(place: &Place, config: &Path) -> Program {
    let config = config.to_str().expect("text");
    Program::start(&["run", "--config", config], place.root.path())
}

/// The exit code and what was printed.
fn order(place: &Place, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_skidder-forwarder"))
        .args(arguments)
        .arg("--data-dir")
        .arg(place.root.path().join("data"))
        .output()
        .expect("runs");
    let text = [output.stdout, output.stderr].concat();
    let code = output.status.code().expect("an exit code");
    (code, String::from_utf8(text).expect("text"))
}

#[test]
fn complaint_40_everything_is_shipped_and_then_no_more_is_read() {
    let place = Place::new();
    let receiver = Receiver::start_with(
        None,
        Behaviour::Slow(Duration::from_millis(20)),
        Duration::from_millis(200),
    );
    // Nothing would be found by itself for a long time.
    let more = "rescan interval: 1h\nspool size: 500\npartial line timeout: 300ms";
    let config = place.config(&receiver, "*.log", "");
    let text = std::fs::read_to_string(&config).expect("reads");
    let text = text.replace("rescan interval: 500ms", more);
    std::fs::write(&config, text).expect("writes");
    let many = lines("many", 0..5_000);
    place.append("many.log", &many);
    let program = start(&place, &config);
    program.wait_for_log("connected");
    let few = lines("few", 0..10);
    place.append("few.log", &few);
    place.append("open.log", "no line end");
    let (code, text) = order(&place, &["drain", "--timeout", "50s"]);
    assert_eq!((code, text.as_str()), (0, "drained, 0 bytes left\n"));
    let shipped = format!("{many}{few}no line end\n");
    assert_each_once(&receiver, &shipped);

    place.append("few.log", "late\n");
    place.append("new.log", "later\n");
    let (code, text) = order(&place, &["status", "--json"]);
    assert_eq!(code, 0, "{text}");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status["on_hold"], true, "{status:#}");
    assert_each_once(&receiver, &shipped);
    assert_eq!(order(&place, &["resume"]).0, 0);
    receiver.wait_for_message("late");
    receiver.wait_for_message("later");
    assert_each_once(&receiver, &format!("{shipped}late\nlater\n"));
}

#[test]
fn what_is_left_is_said_for_each_file() {
    let place = Place::new();
    let receiver = Receiver::start();
    let config = place.config(&receiver, "*.log", "");
    drop(receiver);
    place.append("app.log", "one\ntwo\n");
    place.append("other.log", "three\n");
    let program = start(&place, &config);
    program.wait_for_log("cannot connect");
    let (code, text) = order(&place, &["drain", "--timeout", "700ms"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.starts_with("not drained, 14 bytes left in 2 files"),
        "{text}"
    );
    assert!(text.contains("link: cannot connect to 127.0.0.1"), "{text}");
    assert!(
        text.contains("app.log: 8 bytes left: sent or about to be, and not acknowledged"),
        "{text}"
    );
    let (code, text) = order(&place, &["drain", "--timeout", "0s", "--json"]);
    assert_eq!(code, 1, "{text}");
    let drained: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(drained["left"]["bytes"], 14, "{drained:#}");
    assert_eq!(drained["events_left"], 3, "{drained:#}");
}

#[test]
fn a_receiver_that_does_not_acknowledge_is_told_from_one_that_is_gone() {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::Hold, Duration::from_millis(200));
    let config = place.config(&receiver, "*.log", "");
    place.append("app.log", "one\n");
    let program = start(&place, &config);
    receiver.wait_for_unacknowledged(1);
    let (code, text) = order(&place, &["drain", "--timeout", "300ms"]);
    assert_eq!(code, 1);
    assert!(text.contains("1 lines of them in flight"), "{text}");
    assert!(!text.contains("link:"), "{text}");
    drop(program);
}
