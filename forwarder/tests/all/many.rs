//! Many files: what is idle costs nothing, and nothing is missed for it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;

use super::support::{
    Behaviour, PATIENCE, Place, Program, Receiver, Running, assert_each_once, lines,
};

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
    receiver.behave(Behaviour::Slow(Duration::from_millis(500)));
    let running = Running::start(&config);
    receiver.wait_for_message("b");
    assert!(
        receiver.arrived().len() < 200_000,
        "it had to wait for all of it"
    );
    receiver.behave(Behaviour::Acknowledge);
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

#[test]
fn complaint_25_a_flood_does_not_starve_the_others() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    let mut written = lines("flood", 0..200_000);
    place.append("a-flood.log", &written);
    for file in 0..20 {
        let text = format!("line of the quiet file {file}\n");
        place.append(&format!("quiet-{file}.log"), &text);
        written += &text;
    }
    let running = Running::start(&config);
    receiver.wait_for(200_020);
    running.stop();
    let arrived = receiver.messages();
    let last = arrived.iter().rposition(|line| !line.starts_with("flood"));
    assert!(last.expect("they came") < 20_000, "{last:?}");
    assert_each_once(&receiver, &written);
}

#[test]
fn files_are_read_one_after_the_other_in_the_order_that_is_wanted() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "harvest buffer size: 4KiB");
    replace(&config, "fields:", "order: newest first, fields:");
    let mut expected = Vec::new();
    for (file, hours) in [("b", 1), ("c", 2), ("a", 3)] {
        let name = format!("{file}.log");
        let text = lines(file, 0..5000);
        place.append(&name, &text);
        expected.extend(text.lines().map(str::to_owned));
        let handle = OpenOptions::new().write(true).open(place.log(&name));
        let then = SystemTime::now() - Duration::from_hours(hours);
        handle.expect("opens").set_modified(then).expect("sets");
    }
    let running = Running::start(&config);
    receiver.wait_for(15_000);
    running.stop();
    assert!(receiver.messages() == expected, "they are out of order");
}

#[test]
fn a_rate_limit_is_kept_and_holds_up_nobody_else() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "slow*.log", "harvest buffer size: 4KiB");
    let text = std::fs::read_to_string(&config).expect("reads");
    let other = place.log("other.log");
    let other = format!("files: [{{paths: [\"{}\"]}}, ", other.display());
    let text = text.replace("files: [", &other);
    let text = text.replace("fields:", "rate limit: 20KiB, fields:");
    std::fs::write(&config, text).expect("writes");
    let mut written = String::new();
    for file in 0..2 {
        let text = lines(&"x".repeat(1000), 0..40);
        place.append(&format!("slow{file}.log"), &text);
        written += &text;
    }
    place.append("other.log", "other\n");
    written += "other\n";
    let began = Instant::now();
    let running = Running::start(&config);
    receiver.wait_for_message("other");
    assert!(receiver.arrived().len() < 60, "{:?}", began.elapsed());
    receiver.wait_for(81);
    // 80 KB, of which the first 20 are for nothing.
    assert!(
        began.elapsed() > Duration::from_millis(2500),
        "{:?}",
        began.elapsed()
    );
    running.stop();
    assert_each_once(&receiver, &written);
}

/// A deleted file that was not read to its end, with a receiver that takes nothing yet.
fn deleted(options: &str, more: &str) -> (Place, Receiver, Program) {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::Drop, Duration::from_secs(1));
    let more = format!("spool size: 100\n{more}");
    let config = place.config(&receiver, "*.log", &more);
    replace(&config, "fields:", &format!("{options} fields:"));
    replace(
        &config,
        "timeout: 20s",
        "timeout: 20s, max reconnect delay: 200ms",
    );
    place.append("app.log", &lines("line", 0..10_000));
    let program = start(&place, &config);
    receiver.wait_for_unacknowledged(100);
    std::fs::remove_file(place.log("app.log")).expect("removes");
    (place, receiver, program)
}

fn assert_given_up(receiver: &Receiver, program: &Program, reason: &str) {
    program.wait_for_log("lines are lost");
    let held = || {
        let held = std::fs::read_dir(format!("/proc/{}/fd", program.id())).expect("is there");
        let mut held = held.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        held.any(|path| path.to_string_lossy().ends_with("app.log (deleted)"))
    };
    // It is closed right after that.
    let deadline = Instant::now() + PATIENCE;
    while held() {
        assert!(Instant::now() < deadline, "the file is held");
        std::thread::sleep(Duration::from_millis(10));
    }
    receiver.behave(Behaviour::Acknowledge);
    receiver.wait_for_given_up();
    let arrived = receiver.arrived();
    let (loss, read) = arrived.split_last().expect("some");
    assert!(loss.message.contains(reason), "{loss:?}");
    assert!(loss.file.ends_with("/app.log") && loss.message.contains("/app.log"));
    // What was read comes before it, and nothing is missing in between.
    let all = lines("line", 0..10_000);
    let lost: u64 = loss.fields["lost_bytes"].parse().expect("a number");
    assert!(loss.fields["lost_reason"].contains(reason));
    assert_eq!(loss.offset + lost, all.len() as u64);
    let text = read
        .iter()
        .fold(String::new(), |text, event| text + &event.message + "\n");
    assert_eq!(text, all[..loss.offset as usize]);
}

#[test]
fn complaint_10_more_than_max_held_bytes_is_given_up_and_told() {
    let (_place, receiver, program) = deleted("", "max held bytes: 16KiB");
    assert_given_up(&receiver, &program, "`max held bytes`");
}

#[test]
fn complaint_10_what_is_held_for_max_held_time_is_given_up_and_told() {
    let (_place, receiver, program) = deleted("max held time: 700ms,", "");
    assert_given_up(&receiver, &program, "`max held time`");
}

#[test]
fn complaint_10_deleted_files_may_be_dropped_at_once_and_that_is_told() {
    let (_place, receiver, program) = deleted("deleted files: drop,", "");
    assert_given_up(&receiver, &program, "`deleted files`");
}

#[test]
fn complaint_39_files_that_wait_for_a_descriptor_are_found_by_another_config() {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::Drop, Duration::from_secs(1));
    let config = place.config(&receiver, "b*.log", "max open files: 1\nspool size: 100");
    let text = std::fs::read_to_string(&config).expect("reads");
    let first = format!(
        "files: [{{paths: [\"{}\"]}}, ",
        place.log("a.log").display()
    );
    std::fs::write(&config, text.replace("files: [", &first)).expect("writes");
    replace(
        &config,
        "timeout: 20s",
        "timeout: 20s, max reconnect delay: 200ms",
    );
    place.append("a.log", &lines("a", 0..5000));
    for file in 0..3 {
        place.append(&format!("b{file}.log"), &format!("b{file}\n"));
    }
    let program = start(&place, &config);
    receiver.wait_for_unacknowledged(100);
    program.wait_for_log("the file has to wait");
    // What was the second element is the first one.
    replace(&config, &first, "files: [");
    program.signal(Signal::HUP);
    program.wait_for_log("go on with the new config");
    receiver.behave(Behaviour::Acknowledge);
    for file in 0..3 {
        receiver.wait_for_message(&format!("b{file}"));
    }
}

#[test]
fn complaint_10_a_file_that_goes_while_it_waits_for_a_descriptor_is_sought_and_else_told() {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::Drop, Duration::from_secs(1));
    let config = place.config(&receiver, "*.log", "max open files: 1\nspool size: 100");
    replace(
        &config,
        "timeout: 20s",
        "timeout: 20s, max reconnect delay: 200ms",
    );
    place.append("a.log", &lines("a", 0..5000));
    let program = start(&place, &config);
    receiver.wait_for_unacknowledged(100);
    for name in ["deleted.log", "left.log", "renamed.log"] {
        place.append(name, &format!("{name}\n"));
    }
    program.wait_for_log("the file has to wait");
    std::thread::sleep(Duration::from_millis(1200));
    std::fs::remove_file(place.log("deleted.log")).expect("removes");
    std::fs::rename(place.log("left.log"), place.log("left.log.1")).expect("renames");
    std::fs::rename(place.log("renamed.log"), place.log("again.log")).expect("renames");
    receiver.behave(Behaviour::Acknowledge);
    receiver.wait_for_message("left.log");
    receiver.wait_for_message("renamed.log");
    program.wait_for_log("lines are lost: a file was never read");
    receiver.wait_for_given_up();
    let loss = receiver.arrived();
    let losses: Vec<_> = loss
        .iter()
        .filter_map(|event| Some((event.file.clone(), event.fields.get("lost_bytes")?.clone())))
        .collect();
    let deleted = place.log("deleted.log").display().to_string();
    assert_eq!(losses, [(deleted, "12".to_owned())]);
}
