//! Which file is this? One test for each way in which files are confused, named after the complaint
//! in the field notes that tells of it: each line arrives, and arrives once.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::support::{Behaviour, Place, Program, Receiver, Running, assert_each_once, lines};

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).expect("is there").ino()
}

fn truncate(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("opens");
    file.set_len(length).expect("truncates");
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("packs");
    encoder.finish().expect("packs")
}

#[test]
fn complaint_01_a_reused_inode_is_another_file() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "close rotated: 100ms");
    let (mut expected, mut reused) = (String::new(), 0);
    for round in 0..5 {
        let old = lines(&format!("old{round}"), 0..30);
        place.append("app.log", &old);
        expected += &old;
        let running = Running::start(&config);
        receiver.wait_for(expected.lines().count());
        running.stop();
        let was = inode(&place.log("app.log"));
        std::fs::remove_file(place.log("app.log")).expect("removes");
        // Longer than the old one: its size does not give it away.
        let new = lines(&format!("new{round}"), 0..60);
        place.append("other.log", &new);
        expected += &new;
        reused += usize::from(inode(&place.log("other.log")) == was);
        let running = Running::start(&config);
        receiver.wait_for(expected.lines().count());
        running.stop();
        std::fs::remove_file(place.log("other.log")).expect("removes");
    }
    println!("the inode was reused in {reused} of 5 rounds");
    assert_each_once(&receiver, &expected);
}

#[test]
fn complaint_02_files_with_equal_beginnings_are_both_read() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    let banner = format!("{}\n", "=".repeat(100)).repeat(40);
    for name in ["a.log", "b.log"] {
        place.append(name, &format!("{banner}this is {name}\n"));
    }
    let running = Running::start(&config);
    receiver.wait_for(82);
    // One that comes later, and is equal for a while.
    place.append("c.log", &banner);
    std::thread::sleep(Duration::from_secs(1));
    place.append("c.log", "this is c.log\n");
    receiver.wait_for(123);
    running.stop();
    // Nor does a restart confuse them.
    for name in ["a.log", "b.log", "c.log"] {
        place.append(name, &format!("more of {name}\n"));
    }
    let running = Running::start(&config);
    receiver.wait_for(126);
    running.stop();
    assert_eq!(receiver.messages().len(), 126);
}

#[test]
fn complaint_02_a_file_that_is_equal_in_all_is_read_after_a_moment() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    let text = lines("equal", 0..300);
    place.append("a.log", &text);
    let running = Running::start(&config);
    receiver.wait_for(300);
    place.append("b.log", &text);
    receiver.wait_for(600);
    running.stop();
    assert_each_once(&receiver, &(text.clone() + &text));
}

#[test]
fn complaint_03_a_file_smaller_than_any_fingerprint_is_shipped_and_known() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    place.append("tiny.log", "x\n");
    place.append("tiny2.log", "x\n");
    for expected in 2..6 {
        let running = Running::start(&config);
        receiver.wait_for(expected);
        running.stop();
        place.append("tiny.log", &format!("{expected}\n"));
    }
    assert_each_once(&receiver, "x\nx\n2\n3\n4\n");
}

#[test]
fn complaint_04_a_volume_that_was_copied_is_not_shipped_again() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    place.append("app.log", &lines("a", 0..300));
    let running = Running::start(&config);
    receiver.wait_for(300);
    running.stop();
    // As `cp -p` or rsync would, to the same path: another inode, the same time.
    let modified = std::fs::metadata(place.log("app.log")).and_then(|data| data.modified());
    std::fs::copy(place.log("app.log"), place.log("new")).expect("copies");
    let copy = OpenOptions::new().write(true).open(place.log("new"));
    let copy = copy.expect("opens");
    copy.set_modified(modified.expect("a time")).expect("sets");
    let old = place.root.path().join("kept");
    std::fs::rename(place.log("app.log"), &old).expect("renames");
    std::fs::rename(place.log("new"), place.log("app.log")).expect("renames");
    let running = Running::start(&config);
    place.append("app.log", "last\n");
    receiver.wait_for(301);
    running.stop();
    assert_each_once(&receiver, &(lines("a", 0..300) + "last\n"));
}

#[test]
fn complaint_05_the_copy_of_copytruncate_is_known() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log*", "");
    let running = Running::start(&config);
    let mut expected = String::new();
    for round in 0..4 {
        let text = lines(&format!("round{round}"), 0..100 * (round + 1));
        place.append("app.log", &text);
        expected += &text;
        receiver.wait_for(expected.lines().count());
        for number in (1..=round).rev() {
            let name = |number| place.log(&format!("app.log.{number}"));
            std::fs::rename(name(number), name(number + 1)).expect("renames");
        }
        std::fs::copy(place.log("app.log"), place.log("app.log.1")).expect("copies");
        truncate(&place.log("app.log"), 0);
    }
    place.append("app.log", "last\n");
    expected += "last\n";
    receiver.wait_for_message("last");
    running.stop();
    // Nor after a restart.
    place.append("app.log", "very last\n");
    expected += "very last\n";
    let running = Running::start(&config);
    receiver.wait_for_message("very last");
    running.stop();
    assert_each_once(&receiver, &expected);
}

/// A copy is empty at first, and may be looked at just then; what is looked at next is the original,
/// truncated.
#[test]
fn complaint_05_a_copy_that_was_empty_when_it_was_found_is_known() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log*", "");
    let config = config.to_str().expect("UTF-8");
    let text = lines("first", 0..10);
    place.append("app.log", &text);
    let mut forwarder = Program::start(&["--config", config], place.root.path());
    receiver.wait_for(10);
    place.append("app.log.1", "");
    forwarder.wait_for_log(&format!("path={}", place.log("app.log.1").display()));
    // The order of what it will be told of, when it goes on.
    forwarder.signal(Signal::STOP);
    truncate(&place.log("app.log"), 0);
    place.append("app.log", "second\n");
    place.append("app.log.1", &text);
    forwarder.signal(Signal::CONT);
    receiver.wait_for_message("second");
    place.append("app.log.1", "third\n");
    receiver.wait_for_message("third");
    forwarder.signal(Signal::TERM);
    assert_eq!(forwarder.wait(), 0);
    assert_each_once(&receiver, &(text + "second\nthird\n"));
}

/// The receiver is down: what was not read when the file was truncated is only in the copy.
#[test]
fn complaint_05_what_was_not_read_before_copytruncate_is_read_from_the_copy() {
    for pattern in ["app.log", "app.log*"] {
        let (place, receiver) = (Place::new(), Receiver::start());
        let config = place.config(&receiver, pattern, "spool size: 10\nspool bytes: 4KiB");
        place.append("app.log", &lines("first", 0..20));
        let running = Running::start(&config);
        receiver.wait_for(20);
        place.wait_for_registry("all of the first lines", |entries| {
            let offset = lines("first", 0..20).len() as u64;
            entries.iter().any(|entry| entry.offset == offset)
        });
        receiver.behave(Behaviour::Hold);
        place.append("app.log", &lines("second", 0..5000));
        receiver.wait_for_unacknowledged(10);
        std::fs::copy(place.log("app.log"), place.log("app.log.1")).expect("copies");
        truncate(&place.log("app.log"), 0);
        place.append("app.log", &lines("third", 0..30));
        std::thread::sleep(Duration::from_secs(1));
        // It is killed, too: what was in flight is in the copy as well.
        running.kill();
        receiver.behave(Behaviour::Acknowledge);
        let running = Running::start(&config);
        receiver.wait_for(5050);
        running.stop();
        let expected = lines("first", 0..20) + &lines("second", 0..5000) + &lines("third", 0..30);
        assert_each_once(&receiver, &expected);
    }
}

/// The receiver takes longer for a window than a copy of a file that is whole is held back. The original is not read on
/// meanwhile, so it is not noticed that it was truncated. Then the copy has another name, and its name has another copy.
#[test]
fn complaint_05_the_copy_is_known_however_late_the_original_is_looked_at() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log*", "spool size: 10\nspool bytes: 4KiB");
    place.append("app.log", &lines("first", 0..20));
    let running = Running::start(&config);
    receiver.wait_for(20);
    let windows = receiver.window_sizes().len();
    receiver.behave(Behaviour::Slow(Duration::from_secs(8)));
    place.append("app.log", &lines("second", 0..5000));
    receiver.wait_for_windows(windows + 1);
    receiver.behave(Behaviour::Acknowledge);
    // It is not empty when it is found: such a one is not held back.
    let copy_and_truncate = || {
        std::fs::copy(place.log("app.log"), place.log("new")).expect("copies");
        std::fs::rename(place.log("new"), place.log("app.log.1")).expect("renames");
        truncate(&place.log("app.log"), 0);
    };
    copy_and_truncate();
    place.append("app.log", &lines("third", 0..10));
    std::thread::sleep(Duration::from_secs(1));
    std::fs::rename(place.log("app.log.1"), place.log("app.log.2")).expect("renames");
    copy_and_truncate();
    place.append("app.log", &lines("fourth", 0..30));
    for last in ["second-4999", "third-9", "fourth-29"] {
        receiver.wait_for_message(last);
    }
    running.stop();
    let expected = lines("first", 0..20)
        + &lines("second", 0..5000)
        + &lines("third", 0..10)
        + &lines("fourth", 0..30);
    assert_each_once(&receiver, &expected);
}

#[test]
fn complaint_05_copytruncate_while_the_forwarder_is_down() {
    for pattern in ["app.log", "app.log*"] {
        let (place, receiver) = (Place::new(), Receiver::start());
        let config = place.config(&receiver, pattern, "");
        place.append("app.log", &lines("first", 0..20));
        let running = Running::start(&config);
        receiver.wait_for(20);
        running.stop();
        place.append("app.log", &lines("second", 0..20));
        std::fs::copy(place.log("app.log"), place.log("app.log.1")).expect("copies");
        truncate(&place.log("app.log"), 0);
        place.append("app.log", &lines("third", 0..50));
        let running = Running::start(&config);
        receiver.wait_for(90);
        running.stop();
        let expected = lines("first", 0..20) + &lines("second", 0..20) + &lines("third", 0..50);
        assert_each_once(&receiver, &expected);
    }
}

/// What is truncated was renamed as well before anybody looked: the copy has the name of neither.
#[test]
fn complaint_05_copied_truncated_and_renamed_before_it_is_looked_at() {
    for (pattern, copy, renamed) in [
        ("app.log*", "app.log.1", "app.log.2"),
        ("app.log*", "app.log.2", "app.log.1"),
        ("app.log", "app.log.1", "app.log.2"),
        ("app.log", "app.log.2", "app.log.1"),
    ] {
        // Less than a fingerprint, and more.
        for (count, down) in [(20, false), (20, true), (400, false), (400, true)] {
            let (place, receiver) = (Place::new(), Receiver::start());
            let config = place.config(&receiver, pattern, "");
            place.append("app.log", &lines("first", 0..count));
            let mut running = Some(Running::start(&config));
            receiver.wait_for(count);
            if down {
                running.take().expect("runs").stop();
            }
            place.append("app.log", &lines("second", 0..20));
            std::fs::copy(place.log("app.log"), place.log(copy)).expect("copies");
            truncate(&place.log("app.log"), 0);
            std::fs::rename(place.log("app.log"), place.log(renamed)).expect("renames");
            place.append("app.log", &lines("third", 0..50));
            let running = running.unwrap_or_else(|| Running::start(&config));
            receiver.wait_for_message(lines("third", 49..50).trim_end());
            receiver.wait_for_message(lines("second", 19..20).trim_end());
            running.stop();
            let expected =
                lines("first", 0..count) + &lines("second", 0..20) + &lines("third", 0..50);
            assert_each_once(&receiver, &expected);
        }
    }
}

/// All that was sent of a removed file stands at the beginning of another one, which has its inode and a name
/// that a copy could have.
#[test]
fn complaint_01_a_reused_inode_is_no_copy_of_what_it_was() {
    let mut reused = 0;
    for _ in 0..5 {
        let (place, receiver) = (Place::new(), Receiver::start());
        let config = place.config(&receiver, "app.log*", "");
        place.append("app.log", "started\n");
        let running = Running::start(&config);
        receiver.wait_for(1);
        running.stop();
        let was = inode(&place.log("app.log"));
        std::fs::remove_file(place.log("app.log")).expect("removes");
        place.append("app.log.1", "started\nsecond\n");
        place.append("app.log", "third\n");
        reused += usize::from(inode(&place.log("app.log.1")) == was);
        let running = Running::start(&config);
        receiver.wait_for_message("second");
        receiver.wait_for_message("third");
        running.stop();
        assert_each_once(&receiver, "started\nstarted\nsecond\nthird\n");
    }
    println!("the inode was reused in {reused} of 5 rounds");
}

/// The registry knows the inodes of files that were removed while nobody looked, and the copy gets one of them.
#[test]
fn complaint_05_a_copy_with_the_inode_of_a_removed_file_is_known() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log*", "");
    let removed: Vec<_> = (0..40)
        .map(|number| format!("removed{number}.log"))
        .collect();
    let mut expected = lines("new", 0..20);
    place.append("app.log", &expected);
    for name in &removed {
        let line = format!("{name}\n");
        place.append(name, &line);
        expected += &line;
    }
    let running = Running::start(&config);
    receiver.wait_for(expected.lines().count());
    running.stop();
    let inodes: Vec<u64> = removed.iter().map(|name| inode(&place.log(name))).collect();
    for name in &removed {
        std::fs::remove_file(place.log(name)).expect("removes");
    }
    let running = Running::start(&config);
    place.append("app.log", "more\n");
    expected += "more\n";
    receiver.wait_for(expected.lines().count());
    std::fs::copy(place.log("app.log"), place.log("app.log.1")).expect("copies");
    // It is looked at before the original is truncated.
    std::thread::sleep(Duration::from_millis(300));
    truncate(&place.log("app.log"), 0);
    place.append("app.log", "next\n");
    expected += "next\n";
    receiver.wait_for_message("next");
    running.stop();
    let reused = inodes.contains(&inode(&place.log("app.log.1")));
    println!("the copy has the inode of a removed file: {reused}");
    assert_each_once(&receiver, &expected);
}

/// The file is known while it is empty, and its name is saved with the first lines of another one. Killed before the
/// registry is written once more, the forwarder has to know the first lines, else those that are written in their place
/// get their identities, and whoever stores each line once takes them for the same.
#[test]
fn complaint_05_truncated_in_place_after_a_kill_right_behind_the_first_lines() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    save_rarely(&config);
    place.append("app.log", "");
    let running = Running::start(&config);
    place.append("other.log", "other\n");
    receiver.wait_for(1);
    place.append("app.log", &lines("first", 0..3));
    receiver.wait_for(4);
    running.kill();
    truncate(&place.log("app.log"), 0);
    place.append("app.log", &lines("second", 0..30));
    let running = Running::start(&config);
    receiver.wait_for_message("second-29");
    running.stop();
    assert_no_two_lines_have_one_identity(&receiver);
}

/// The registry has the name of the stream and the first lines, and no position.
fn killed_right_behind_the_first_lines(place: &Place, receiver: &Receiver) -> PathBuf {
    let config = place.config(receiver, "app.log*", "");
    save_rarely(&config);
    place.append("app.log", "");
    let running = Running::start(&config);
    place.append("app.log", &lines("first", 0..3));
    receiver.wait_for(3);
    running.kill();
    config
}

fn save_rarely(config: &Path) {
    let text = std::fs::read_to_string(config).expect("reads");
    let rarely = text.replacen("registry interval: ", "registry interval: 1h #", 1);
    assert_ne!(rarely, text);
    std::fs::write(config, rarely).expect("writes");
}

fn assert_no_two_lines_have_one_identity(receiver: &Receiver) {
    let mut known = HashMap::new();
    for event in receiver.arrived() {
        let identity = (event.stream, event.offset);
        let first = known
            .entry(identity)
            .or_insert_with(|| event.message.clone());
        assert_eq!(*first, event.message, "two lines have one identity");
    }
}

#[test]
fn complaint_05_copied_and_truncated_after_a_kill_right_behind_the_first_lines() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = killed_right_behind_the_first_lines(&place, &receiver);
    place.append("app.log", &lines("more", 0..30));
    std::fs::copy(place.log("app.log"), place.log("app.log.1")).expect("copies");
    truncate(&place.log("app.log"), 0);
    place.append("app.log", &lines("second", 0..30));
    let running = Running::start(&config);
    receiver.wait_for_message("second-29");
    receiver.wait_for_message("more-29");
    running.stop();
    assert_no_two_lines_have_one_identity(&receiver);
    let mut known = HashMap::new();
    for event in receiver.arrived() {
        let identity = (event.stream, event.offset);
        let first = known
            .entry(event.message)
            .or_insert_with(|| identity.clone());
        assert_eq!(*first, identity, "a line has two identities");
    }
}

/// Twice, and both copies begin with the same lines: the older one is that of which they were read.
#[test]
fn complaint_05_copied_and_truncated_twice_after_a_kill_right_behind_the_first_lines() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = killed_right_behind_the_first_lines(&place, &receiver);
    for (copy, more) in [("app.log.2", "older"), ("app.log.1", "newer")] {
        if copy == "app.log.1" {
            place.append("app.log", &lines("first", 0..3));
        }
        place.append("app.log", &lines(more, 0..30));
        std::fs::copy(place.log("app.log"), place.log(copy)).expect("copies");
        truncate(&place.log("app.log"), 0);
        std::thread::sleep(Duration::from_millis(20));
    }
    let running = Running::start(&config);
    receiver.wait_for_message("older-29");
    receiver.wait_for_message("newer-29");
    running.stop();
    let events = receiver.arrived();
    let stream = |message: &str| {
        let event = events.iter().find(|event| event.message == message);
        event.expect("has come").stream.clone()
    };
    assert_eq!(stream("older-0"), stream("first-0"));
    assert_ne!(stream("newer-0"), stream("first-0"));
    assert_no_two_lines_have_one_identity(&receiver);
}

#[test]
fn complaint_05_truncated_in_place_without_a_copy() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    let running = Running::start(&config);
    let mut expected = String::new();
    for round in 0..4 {
        let text = lines(&format!("round{round}"), 0..10 * (round + 1));
        place.append("app.log", &text);
        expected += &text;
        receiver.wait_for(expected.lines().count());
        truncate(&place.log("app.log"), 0);
    }
    running.stop();
    assert_each_once(&receiver, &expected);
}

#[test]
fn complaint_06_a_size_of_zero_for_a_moment_is_not_believed() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    let with_network = |text: String| text.replace("fields:", "network files: on, fields:");
    let text = std::fs::read_to_string(&config).expect("reads");
    std::fs::write(&config, with_network(text)).expect("writes");
    let text = lines("a", 0..300);
    place.append("app.log", &text);
    let running = Running::start(&config);
    receiver.wait_for(300);
    for _ in 0..3 {
        truncate(&place.log("app.log"), 0);
        // Long enough to be looked at.
        std::thread::sleep(Duration::from_millis(700));
        std::fs::write(place.log("app.log"), &text).expect("writes");
        std::thread::sleep(Duration::from_millis(200));
    }
    place.append("app.log", "more\n");
    receiver.wait_for(301);
    running.stop();
    assert_each_once(&receiver, &(text.clone() + "more\n"));
    // Nor at the start.
    truncate(&place.log("app.log"), 0);
    let running = Running::start(&config);
    std::thread::sleep(Duration::from_secs(1));
    place.append("app.log", &(text.clone() + "more\nlast\n"));
    receiver.wait_for(302);
    running.stop();
    assert_each_once(&receiver, &(text + "more\nlast\n"));
    // What stays so is believed.
    let running = Running::start(&config);
    std::fs::write(place.log("app.log"), "other\n").expect("writes");
    receiver.wait_for_message("other");
    running.stop();
}

#[test]
fn complaint_07_renamed_and_created_anew_while_the_forwarder_is_down() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    place.append("app.log", &lines("a", 0..100));
    let running = Running::start(&config);
    receiver.wait_for(100);
    running.stop();
    place.append("app.log", &lines("b", 0..100));
    for number in [2, 1] {
        let from = if number == 2 { "app.log" } else { "app.log.2" };
        let to = place.log(&format!("app.log.{}", if number == 2 { 2 } else { 3 }));
        std::fs::rename(place.log(from), to).expect("renames");
    }
    place.append("app.log", &lines("c", 0..100));
    let running = Running::start(&config);
    receiver.wait_for(300);
    running.stop();
    let expected = lines("a", 0..100) + &lines("b", 0..100) + &lines("c", 0..100);
    assert_each_once(&receiver, &expected);
}

#[test]
fn complaint_08_a_twin_compressed_while_the_forwarder_was_down_is_read_on() {
    for (pattern, format) in [("app.log", "gz"), ("app.log*", "gz"), ("app.log", "zst")] {
        let (place, receiver) = (Place::new(), Receiver::start());
        let config = place.config(&receiver, pattern, "spool size: 100");
        place.append("app.log", &lines("first", 0..300));
        let running = Running::start(&config);
        receiver.wait_for(300);
        running.stop();
        place.append("app.log", &lines("second", 0..20_000));
        let text = std::fs::read(place.log("app.log")).expect("reads");
        let (one, two) = text.split_at(text.len() / 3);
        let pack = |text: &[u8]| match format {
            "gz" => gzip(text),
            _ => zstd::bulk::compress(text, 1).expect("packs"),
        };
        let packed = [pack(one), pack(two)].concat();
        std::fs::write(place.log(&format!("app.log.1.{format}")), packed).expect("writes");
        std::fs::remove_file(place.log("app.log")).expect("removes");
        place.append("app.log", &lines("third", 0..50));
        // Stopped in the middle, it goes on there; and when it is done, it is not read again.
        let running = Running::start(&config);
        receiver.wait_for(1000);
        running.stop();
        let running = Running::start(&config);
        receiver.wait_for(20_350);
        running.stop();
        let running = Running::start(&config);
        place.append("app.log", "last\n");
        receiver.wait_for_message("last");
        running.stop();
        let expected = lines("first", 0..300)
            + &lines("second", 0..20_000)
            + &lines("third", 0..50)
            + "last\n";
        assert_each_once(&receiver, &expected);
    }
}

#[test]
fn complaint_08_compressed_while_it_is_followed() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log*", "");
    place.append("app.log", &lines("a", 0..500));
    let running = Running::start(&config);
    receiver.wait_for(500);
    std::fs::rename(place.log("app.log"), place.log("app.log.1")).expect("renames");
    place.append("app.log", "next\n");
    let text = std::fs::read(place.log("app.log.1")).expect("reads");
    std::fs::write(place.log("app.log.1.gz"), gzip(&text)).expect("writes");
    std::fs::remove_file(place.log("app.log.1")).expect("removes");
    receiver.wait_for_message("next");
    running.stop();
    let running = Running::start(&config);
    place.append("app.log", "last\n");
    receiver.wait_for_message("last");
    running.stop();
    assert_each_once(&receiver, &(lines("a", 0..500) + "next\nlast\n"));
}

/// Another file system is another device and inode; here it is another directory.
#[test]
fn complaint_04_a_file_moved_to_another_file_system_goes_on_there() {
    let (place, receiver) = (Place::new(), Receiver::start());
    std::fs::create_dir(place.log("archive")).expect("creates");
    let config = place.config(&receiver, "**/*.log", "");
    place.append("app.log", &lines("a", 0..500));
    let running = Running::start(&config);
    receiver.wait_for(500);
    std::fs::copy(place.log("app.log"), place.log("archive/app.log")).expect("copies");
    std::fs::remove_file(place.log("app.log")).expect("removes");
    std::thread::sleep(Duration::from_secs(1));
    place.append("archive/app.log", "more\n");
    receiver.wait_for_message("more");
    running.stop();
    let running = Running::start(&config);
    place.append("archive/app.log", "last\n");
    receiver.wait_for_message("last");
    running.stop();
    assert_each_once(&receiver, &(lines("a", 0..500) + "more\nlast\n"));
}

#[test]
fn complaint_01_hard_links_are_one_file() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    place.append("a.log", "one\n");
    std::fs::hard_link(place.log("a.log"), place.log("b.log")).expect("links");
    let running = Running::start(&config);
    receiver.wait_for(1);
    place.append("b.log", "two\n");
    receiver.wait_for(2);
    std::fs::remove_file(place.log("a.log")).expect("removes");
    place.append("b.log", "three\n");
    receiver.wait_for(3);
    running.stop();
    assert_each_once(&receiver, "one\ntwo\nthree\n");
}

#[test]
fn complaint_07_a_symbolic_link_that_points_to_another_file() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let target = |name: &str| place.root.path().join(name);
    let point = |name: &str| {
        let new = place.log("new");
        std::os::unix::fs::symlink(target(name), &new).expect("links");
        std::fs::rename(new, place.log("current.log")).expect("renames");
    };
    let append = |name: &str, text: &str| {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(target(name));
        file.expect("opens")
            .write_all(text.as_bytes())
            .expect("writes");
    };
    append("monday", "one\n");
    append("tuesday", "two\n");
    point("monday");
    let config = super::links::with(&place, &receiver, "current.log", "symlink targets: [ROOT]");
    let running = Running::start(&config);
    receiver.wait_for(1);
    point("tuesday");
    receiver.wait_for(2);
    append("monday", "late\n");
    append("tuesday", "three\n");
    receiver.wait_for(4);
    point("monday");
    append("monday", "back\n");
    receiver.wait_for(5);
    running.stop();
    assert_each_once(&receiver, "one\ntwo\nlate\nthree\nback\n");
}
