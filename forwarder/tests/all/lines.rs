//! Lines that are not simply lines: encodings, container formats, events of several lines; whole, with
//! their offsets, over rotation and restart.

use std::path::PathBuf;
use std::time::Duration;

use super::support::{Place, Receiver, Running};

/// A config with options for the files.
fn with(place: &Place, receiver: &Receiver, pattern: &str, options: &str, more: &str) -> PathBuf {
    let config = place.config(receiver, pattern, more);
    let text = std::fs::read_to_string(&config).expect("reads");
    let text = text.replace("fields:", &format!("{options}, fields:"));
    std::fs::write(&config, text).expect("writes");
    config
}

const TRACE: &str = "java.lang.Error: no\n\tat a.b(C.java:1)\nCaused by: x\n\tat d.e(F.java:2)";

#[test]
fn complaint_11_an_event_goes_on_after_rename_and_restart() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = with(
        &place,
        &receiver,
        "app.log",
        "multiline: {preset: java, timeout: 2s}",
        "",
    );
    let (head, tail) = TRACE.split_at(TRACE.find("Caused").expect("there"));
    let running = Running::start(&config);
    place.append("app.log", "one\n");
    place.append("app.log", head);
    // `one` is complete; the trace is not, and is renamed in its middle.
    receiver.wait_for_message("one");
    std::fs::rename(place.log("app.log"), place.log("app.log.1")).expect("renames");
    place.append("app.log.1", tail);
    place.append("app.log.1", "\ntwo\n");
    place.append("app.log", "three\n");
    receiver.wait_for_message(TRACE);
    receiver.wait_for_message("three");
    // Stopped in the middle of another one.
    place.append("app.log", head);
    running.stop();
    place.append("app.log", &format!("{tail}\nfour\n"));
    let running = Running::start(&config);
    receiver.wait_for_message("four");
    running.stop();
    let mut messages = receiver.messages();
    messages.retain(|message| message != TRACE);
    messages.sort();
    assert_eq!(messages, ["four", "one", "three", "two"]);
    assert_eq!(receiver.messages().len(), 6);
    let offsets = receiver.arrived();
    let offsets: Vec<_> = offsets
        .iter()
        .filter(|event| event.message == TRACE)
        .map(|event| event.offset)
        .collect();
    assert_eq!(offsets, [4, 6]);
}

#[test]
fn complaint_11_an_event_goes_on_in_the_copy() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = with(
        &place,
        &receiver,
        "app.log*",
        "multiline: {preset: java, timeout: 2s}",
        "",
    );
    let running = Running::start(&config);
    place.append("app.log", &format!("one\n{TRACE}\n"));
    receiver.wait_for_message("one");
    std::fs::copy(place.log("app.log"), place.log("app.log.1")).expect("copies");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(place.log("app.log"));
    file.expect("opens").set_len(0).expect("truncates");
    place.append("app.log", "two\n");
    receiver.wait_for(3);
    running.stop();
    let mut messages = receiver.messages();
    messages.sort();
    assert_eq!(messages, [TRACE, "one", "two"]);
}

#[test]
fn complaint_11_the_timeout_completes_an_event() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let options = "multiline: {pattern: '^\\S', timeout: 300ms}";
    let config = with(&place, &receiver, "app.log", options, "");
    let running = Running::start(&config);
    place.append("app.log", "one\n more\n");
    receiver.wait_for_message("one\n more");
    place.append("app.log", " late\n");
    receiver.wait_for_message(" late");
    running.stop();
    let running = Running::start(&config);
    place.append("app.log", "two\n");
    receiver.wait_for_message("two");
    running.stop();
    assert_eq!(receiver.messages(), ["one\n more", " late", "two"]);
}

#[test]
fn encodings_are_decoded_and_offsets_count_bytes() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let append = |bytes: &[u8]| {
        let mut all = std::fs::read(place.log("app.log")).unwrap_or_default();
        all.extend_from_slice(bytes);
        std::fs::write(place.log("app.log"), all).expect("writes");
    };
    append(&wide("\u{feff}gr\u{fc}\u{df}e\r\n\u{a0d}\n\u{1f600} par"));
    let config = with(
        &place,
        &receiver,
        "app.log",
        "encoding: utf-16",
        "partial line timeout: 300ms",
    );
    let running = Running::start(&config);
    receiver.wait_for_message("\u{1f600} par");
    running.stop();
    append(&wide("t\nlast\n"));
    let running = Running::start(&config);
    receiver.wait_for_message("last");
    running.stop();
    let arrived = receiver.arrived();
    let found: Vec<_> = arrived
        .iter()
        .map(|event| (event.message.as_str(), event.offset))
        .collect();
    let expected = [
        ("gr\u{fc}\u{df}e", 0),
        ("\u{a0d}", 16),
        ("\u{1f600} par", 20),
        ("t", 32),
        ("last", 36),
    ];
    assert_eq!(found, expected);
}

#[test]
fn container_logs_are_joined_with_their_stream_time_and_pod() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let directory = place.log("pods/shop_web-1_0b1c/nginx");
    std::fs::create_dir_all(&directory).expect("creates");
    let time = "2026-11-25T08:00:00.123456789Z";
    let text = format!(
        "{time} stdout P begin, \n{time} stderr F error\n{time} stdout F end\n{time} stdout P cut"
    );
    place.append("pods/shop_web-1_0b1c/nginx/0.log", &text);
    let config = with(&place, &receiver, "pods/*/*/*.log", "format: container", "");
    let running = Running::start(&config);
    receiver.wait_for_message("begin, end");
    running.kill();
    place.append(
        "pods/shop_web-1_0b1c/nginx/0.log",
        &format!(" \n{time} stdout F short\n"),
    );
    let running = Running::start(&config);
    receiver.wait_for_message("cut short");
    running.stop();
    let arrived = receiver.arrived();
    let event = arrived
        .iter()
        .find(|event| event.message == "begin, end")
        .expect("there");
    for (name, value) in [
        ("stream", "stdout"),
        ("time", time),
        ("namespace", "shop"),
        ("pod", "web-1"),
        ("container", "nginx"),
        ("type", "test"),
    ] {
        assert_eq!(event.fields[name], value, "{name}");
    }
    assert!(
        arrived
            .iter()
            .any(|event| event.fields["stream"] == "stderr")
    );
}

#[test]
fn binary_junk_and_holes_do_not_stop_it() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = with(
        &place,
        &receiver,
        "app.log",
        "long lines: truncate",
        "max line bytes: 1000",
    );
    let junk: Vec<u8> = (0..100_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .chain([b'x'; 3000])
        .collect();
    let bytes = [
        b"one\n",
        &vec![0; 300_000][..],
        b"two\n",
        &junk,
        b"\nlast\n",
    ]
    .concat();
    std::fs::write(place.log("app.log"), bytes).expect("writes");
    let running = Running::start(&config);
    receiver.wait_for_message("last");
    running.stop();
    let arrived = receiver.arrived();
    assert_eq!((arrived[0].message.as_str(), arrived[0].offset), ("one", 0));
    assert_eq!(
        (arrived[1].message.as_str(), arrived[1].offset),
        ("two", 300_004)
    );
    let last = arrived.last().expect("some");
    assert_eq!(last.offset, 4 + 300_000 + 4 + 103_000 + 1);
    assert!(
        arrived
            .iter()
            .any(|event| event.fields.contains_key("truncated"))
    );
}

#[test]
fn standard_input_knows_events_of_several_lines() {
    use std::io::Write;

    use super::support::Program;

    let (place, receiver) = (Place::new(), Receiver::start());
    let config = with(
        &place,
        &receiver,
        "x",
        "multiline: {preset: java, timeout: 300ms}",
        "",
    );
    let text = std::fs::read_to_string(&config).expect("reads");
    let root = place.root.path().display();
    std::fs::write(&config, text.replace(&format!("{root}/logs/x"), "-")).expect("writes");
    let config = config.to_str().expect("text");
    let mut program = Program::start(&["run", "--config", config], place.root.path());
    let mut stdin = program.stdin.take().expect("piped");
    stdin
        .write_all(format!("one\n{TRACE}\n").as_bytes())
        .expect("writes");
    // The time-out completes it, while the input is still open.
    receiver.wait_for_message(TRACE);
    std::thread::sleep(Duration::from_millis(10));
    stdin
        .write_all(b"last\n\tat the.end(X:1)\n")
        .expect("writes");
    drop(stdin);
    assert_eq!(program.wait(), 0, "{}", program.log());
    assert_eq!(
        receiver.messages(),
        ["one", TRACE, "last\n\tat the.end(X:1)"]
    );
}
