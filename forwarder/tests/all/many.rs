//! Many files: what is idle costs nothing, and nothing is missed for it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::support::{PATIENCE, Place, Program, Receiver, Running, assert_each_once, lines};

fn start(place: &Place, config: &Path) -> Program {
    let config = config.to_str().expect("text");
    Program::start(&["run", "--config", config], place.root.path())
}

/// A config with which everything is looked at once, and then for an hour only what is hinted at.
fn hints_alone(place: &Place, receiver: &Receiver, pattern: &str, more: &str) -> PathBuf {
    let config = place.config(receiver, pattern, more);
    replace(&config, "rescan interval: 500ms", "rescan interval: 1h");
    config
}

fn replace(config: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(config).expect("reads");
    assert!(text.contains(from), "{text}");
    std::fs::write(config, text.replace(from, to)).expect("writes");
}

/// The time that all threads of a process have run.
fn processor_time(id: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("is there");
    let times = tasks.map(|task| {
        let path = task.expect("reads").path().join("schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let time = text.split(' ').next().and_then(|time| time.parse().ok());
        time.unwrap_or(0)
    });
    Duration::from_nanos(times.sum())
}

#[test]
fn complaint_12_idle_files_cost_nothing() {
    let (place, receiver) = (Place::new(), Receiver::start());
    for directory in 0..20 {
        std::fs::create_dir(place.log(&directory.to_string())).expect("creates");
    }
    for file in 0..2000 {
        let name = format!("{}/{file}.log", file % 20);
        place.append(&name, &format!("line {file} of its own\n"));
    }
    // Rounds are limited by their share of the time alone.
    let config = place.config(&receiver, "**/*.log", "");
    let program = start(&place, &config);
    receiver.wait_for(2000);
    let deadline = Instant::now() + PATIENCE;
    let (mut from, mut began) = (processor_time(program.id()), Instant::now());
    loop {
        std::thread::sleep(Duration::from_secs(4));
        let now = processor_time(program.id());
        let used = now.saturating_sub(from);
        // It may not have come to rest yet. What is allowed is five times what is promised, for a build
        // that is not optimised.
        if used.as_secs_f64() < 0.01 * began.elapsed().as_secs_f64() {
            break;
        }
        assert!(Instant::now() < deadline, "{used:?} in 4 s");
        (from, began) = (now, Instant::now());
    }
    assert!(program.memory("VmRSS") < 24 << 10);
}

#[test]
fn complaint_12_hints_are_enough() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = hints_alone(&place, &receiver, "**/*.log", "max open files: 4");
    let mut written = String::new();
    let mut write = |name: &str, text: String| {
        place.append(name, &text);
        written += &text;
    };
    for file in 0..12 {
        write(
            &format!("{file}.log"),
            lines(&format!("first-{file}"), 0..50),
        );
    }
    let mut held = OpenOptions::new();
    let mut held = held.append(true).open(place.log("0.log")).expect("opens");
    let running = Running::start(&config);
    receiver.wait_for(600);
    // Files that are closed by now.
    for file in 0..12 {
        write(
            &format!("{file}.log"),
            lines(&format!("more-{file}"), 0..50),
        );
    }
    receiver.wait_for(1200);
    // A new one, one in a new directory, one under a name of before, one that is renamed into the pattern.
    std::fs::create_dir(place.log("sub")).expect("creates");
    std::fs::rename(place.log("0.log"), place.log("0.log.1")).expect("renames");
    write("other.tmp", "other\n".to_owned());
    std::fs::rename(place.log("other.tmp"), place.log("other.log")).expect("renames");
    std::fs::remove_file(place.log("1.log")).expect("removes");
    for file in ["new.log", "sub/deep.log", "0.log", "1.log"] {
        write(file, lines(file, 0..50));
    }
    receiver.wait_for(1401);
    // What goes on in a renamed file that was closed when it was renamed.
    held.write_all(b"late\n").expect("writes");
    written += "late\n";
    receiver.wait_for(1402);
    // A directory that is moved, with what is written to its file there.
    std::fs::rename(place.log("sub"), place.log("moved")).expect("renames");
    place.append("moved/deep.log", "moved\n");
    written += "moved\n";
    receiver.wait_for(1403);
    running.stop();
    assert_each_once(&receiver, &written);
}

#[test]
fn complaint_12_a_flood_of_events_is_not_the_end_of_hints() {
    // More than the kernel keeps for us, or we for ourselves, leads to a look at everything.
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = hints_alone(&place, &receiver, "*.log", "");
    let running = Running::start(&config);
    let mut written = String::new();
    for file in 0..6000 {
        let text = format!("file {file} with some words of its own\n");
        place.append(&format!("{file}.log"), &text);
        written += &text;
    }
    receiver.wait_for(6000);
    running.stop();
    assert_each_once(&receiver, &written);
}

#[test]
fn complaint_12_files_take_turns_where_more_are_written_to_than_may_be_open() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = hints_alone(&place, &receiver, "*.log", "max open files: 1");
    // It is never read to its end while the other one waits.
    let text = lines("flood", 0..200_000);
    place.append("a.log", &text);
    place.append("b.log", "b\n");
    receiver.behave(super::support::Behaviour::Slow(Duration::from_millis(500)));
    let running = Running::start(&config);
    receiver.wait_for_message("b");
    assert!(
        receiver.arrived().len() < 200_000,
        "it had to wait for all of it"
    );
    receiver.behave(super::support::Behaviour::Acknowledge);
    receiver.wait_for(200_001);
    running.stop();
    assert_each_once(&receiver, &(text + "b\n"));
}

#[test]
fn files_older_than_ignore_older_are_shipped_from_their_end() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    replace(&config, "fields:", "ignore older: 1h, fields:");
    let program = start(&place, &config);
    place.append("new.log", "new\n");
    receiver.wait_for(1);
    // It comes while the forwarder runs, as files do that a backup brings back.
    place.append("old.tmp", "old\n");
    let file = OpenOptions::new().write(true).open(place.log("old.tmp"));
    let then = SystemTime::now() - Duration::from_hours(2);
    file.expect("opens").set_modified(then).expect("sets");
    std::fs::rename(place.log("old.tmp"), place.log("old.log")).expect("renames");
    program.wait_for_log("longer than `ignore older` ago");
    place.append("old.log", "added\n");
    receiver.wait_for(2);
    assert_eq!(receiver.messages(), ["new", "added"]);
}

#[test]
fn a_file_closed_after_close_inactive_is_opened_again_when_it_grows() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = hints_alone(&place, &receiver, "app.log", "log level: debug");
    replace(&config, "fields:", "close inactive: 200ms, fields:");
    let program = start(&place, &config);
    place.append("app.log", "one\n");
    receiver.wait_for(1);
    program.wait_for_log("has not grown for `close inactive`");
    place.append("app.log", "two\n");
    receiver.wait_for(2);
    assert_each_once(&receiver, "one\ntwo\n");
}
