//! Files that are rotated, truncated, deleted, replaced: each line arrives, and once where nothing
//! was killed.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::support::{Place, Receiver, Running, assert_each_once, lines};

#[test]
fn rename_and_create_with_late_lines_to_the_old_file() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    place.append("app.log", &lines("first", 0..100));
    let mut old = OpenOptions::new()
        .append(true)
        .open(place.log("app.log"))
        .expect("opens");
    let running = Running::start(&config);
    receiver.wait_for(100);
    std::fs::rename(place.log("app.log"), place.log("app.log.1")).expect("renames");
    place.append("app.log", &lines("second", 0..50));
    old.write_all(lines("late", 0..50).as_bytes())
        .expect("writes");
    receiver.wait_for(200);
    let outcome = running.stop();
    assert_eq!((outcome.events_read, outcome.events_left), (200, 0));
    let expected = lines("first", 0..100) + &lines("second", 0..50) + &lines("late", 0..50);
    assert_each_once(&receiver, &expected);
    assert!(
        receiver
            .arrived()
            .iter()
            .all(|event| event.file.ends_with("/logs/app.log"))
    );
}

#[test]
fn renamed_files_that_a_pattern_finds_are_not_shipped_again() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log*", "");
    let running = Running::start(&config);
    let mut expected = String::new();
    for round in 0..5 {
        let text = lines(&format!("round{round}"), 0..100);
        place.append("app.log", &text);
        expected += &text;
        for number in (0..round).rev() {
            let name = |number| place.log(&format!("app.log.{number}"));
            std::fs::rename(name(number), name(number + 1)).expect("renames");
        }
        std::fs::rename(place.log("app.log"), place.log("app.log.0")).expect("renames");
    }
    receiver.wait_for(500);
    running.stop();
    assert_each_once(&receiver, &expected);
}

#[test]
fn rotation_quicker_than_any_scan_to_where_no_pattern_looks() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    place.append("app.log", "start\n");
    let running = Running::start(&config);
    receiver.wait_for(1);
    let mut expected = "start\n".to_owned();
    for round in 0..20 {
        let text = lines(&format!("round{round}"), 0..10);
        place.append("app.log", &text);
        expected += &text;
        std::fs::rename(place.log("app.log"), place.log(&format!("old.{round}"))).expect("renames");
    }
    receiver.wait_for(201);
    running.stop();
    assert_each_once(&receiver, &expected);
}

#[test]
fn copytruncate() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    let running = Running::start(&config);
    let mut expected = String::new();
    for round in 0..4 {
        // Each round is longer than the one before: the size alone would not tell.
        let text = lines(&format!("round{round}"), 0..100 * (round + 1));
        place.append("app.log", &text);
        expected += &text;
        receiver.wait_for(expected.lines().count());
        std::fs::copy(place.log("app.log"), place.log("copy")).expect("copies");
        let file = OpenOptions::new()
            .write(true)
            .open(place.log("app.log"))
            .expect("opens");
        file.set_len(0).expect("truncates");
    }
    running.stop();
    assert_each_once(&receiver, &expected);
}

#[test]
fn complaint_31_a_line_is_of_the_same_stream_after_a_kill_and_of_another_after_a_truncation() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log*", "");
    place.append("app.log", &lines("first", 0..100));
    let running = Running::start(&config);
    receiver.wait_for(100);
    running.kill();
    std::fs::rename(place.log("app.log"), place.log("app.log.1")).expect("renames");
    place.append("app.log.1", &lines("second", 0..100));
    let running = Running::start(&config);
    receiver.wait_for_message(lines("second", 99..100).trim_end());
    let streams = |receiver: &Receiver| {
        let arrived = receiver.arrived().into_iter();
        let streams: HashSet<_> = arrived.map(|event| event.stream).collect();
        assert!(!streams.contains(&None));
        streams.len()
    };
    assert_eq!(streams(&receiver), 1);

    let file = OpenOptions::new()
        .write(true)
        .open(place.log("app.log.1"))
        .expect("opens");
    file.set_len(0).expect("truncates");
    place.append("app.log.1", &lines("third", 0..10));
    receiver.wait_for_message(lines("third", 9..10).trim_end());
    assert_eq!(streams(&receiver), 2);
    running.stop();
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_then_let_go() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(
        &receiver,
        "app.log",
        "close rotated: 1s\npartial line timeout: 200ms",
    );
    place.append("app.log", "one\n");
    let mut writer = OpenOptions::new()
        .append(true)
        .open(place.log("app.log"))
        .expect("opens");
    let running = Running::start(&config);
    receiver.wait_for(1);
    std::fs::remove_file(place.log("app.log")).expect("removes");
    writer.write_all(b"two\nthree without end").expect("writes");
    receiver.wait_for(3);
    let links = || {
        let links = std::fs::read_dir("/proc/self/fd")
            .expect("reads")
            .filter_map(Result::ok);
        let root = place.root.path().to_str().expect("text").to_owned();
        let deleted = links.filter(|link| {
            let target = std::fs::read_link(link.path()).unwrap_or_default();
            target.to_string_lossy().starts_with(&root)
                && target.to_string_lossy().ends_with("(deleted)")
        });
        deleted.count()
    };
    // Ours is one of them.
    let deadline = std::time::Instant::now() + super::support::PATIENCE;
    while links() > 1 {
        assert!(
            std::time::Instant::now() < deadline,
            "the deleted file is held"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    running.stop();
    assert_each_once(&receiver, "one\ntwo\nthree without end\n");
}

#[test]
fn a_new_file_with_the_inode_and_the_first_bytes_of_the_old_one() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "close rotated: 100ms");
    let mut reused = 0;
    let mut expected = 0;
    for round in 0..10 {
        place.append("app.log", "started\nstarted\n");
        expected += 2;
        let inode = std::fs::metadata(place.log("app.log"))
            .expect("is there")
            .ino();
        let running = Running::start(&config);
        receiver.wait_for(expected);
        running.stop();
        std::fs::remove_file(place.log("app.log")).expect("removes");
        // Without the forwarder the inode is free, and most file systems give it out again.
        place.append("app.log", &format!("started\nstarted\nagain {round}\n"));
        expected += 3;
        reused += usize::from(
            std::fs::metadata(place.log("app.log"))
                .expect("is there")
                .ino()
                == inode,
        );
        let running = Running::start(&config);
        receiver.wait_for(expected);
        running.stop();
        std::fs::remove_file(place.log("app.log")).expect("removes");
    }
    println!("the inode was reused in {reused} of 10 rounds");
    assert_eq!(receiver.messages().len(), expected);
}

#[test]
fn a_restart_goes_on_where_it_was_and_finds_what_was_renamed_meanwhile() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    place.append("app.log", &lines("a", 0..100));
    let running = Running::start(&config);
    receiver.wait_for(100);
    running.stop();
    place.append("app.log", &lines("b", 0..10));
    std::fs::rename(place.log("app.log"), place.log("gone.1")).expect("renames");
    place.append("app.log", &lines("c", 0..10));
    let running = Running::start(&config);
    receiver.wait_for(120);
    running.stop();
    let expected = lines("a", 0..100) + &lines("b", 0..10) + &lines("c", 0..10);
    assert_each_once(&receiver, &expected);
}

#[test]
fn a_file_rewritten_while_nobody_looked_is_read_from_its_beginning() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    place.append("app.log", &lines("a", 0..10));
    let running = Running::start(&config);
    receiver.wait_for(10);
    running.stop();
    std::fs::write(place.log("app.log"), lines("other", 0..50)).expect("writes");
    let running = Running::start(&config);
    receiver.wait_for(60);
    running.stop();
    assert_each_once(&receiver, &(lines("a", 0..10) + &lines("other", 0..50)));
}

#[test]
fn new_directories_below_a_double_star() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "**/*.log", "");
    let running = Running::start(&config);
    std::fs::create_dir_all(place.log("deep/er")).expect("creates");
    place.append("deep/er/app.log", "deep\n");
    receiver.wait_for_message("deep");
    std::fs::create_dir_all(place.log("deep/er/still")).expect("creates");
    place.append("deep/er/still/b.log", "deeper\n");
    receiver.wait_for_message("deeper");
    running.stop();
    assert_each_once(&receiver, "deep\ndeeper\n");
}

#[test]
fn a_partial_line_is_held_then_shipped_then_continued() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "partial line timeout: 300ms");
    let running = Running::start(&config);
    place.append("app.log", "whole\r\npart");
    receiver.wait_for_message("part");
    place.append("app.log", "\r\nnext\n");
    receiver.wait_for_message("next");
    place.append("app.log", "and ");
    receiver.wait_for_message("and ");
    place.append("app.log", "more\n");
    receiver.wait_for_message("more");
    running.stop();
    let offsets: Vec<_> = receiver
        .arrived()
        .iter()
        .map(|event| event.offset)
        .collect();
    assert_eq!(
        receiver.messages(),
        ["whole", "part", "next", "and ", "more"]
    );
    assert_eq!(offsets, [0, 7, 13, 18, 22]);
}

#[test]
fn a_long_line_arrives_in_pieces() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(
        &receiver,
        "app.log",
        "max line bytes: 1000\nspool bytes: 4KiB",
    );
    place.append("app.log", &format!("{}\nshort\n", "x".repeat(10_500)));
    let running = Running::start(&config);
    receiver.wait_for_message("short");
    running.stop();
    let messages = receiver.messages();
    assert_eq!(messages.len(), 12);
    assert_eq!(messages.concat().len(), 10_500 + "short".len());
    assert!(messages.iter().all(|message| message.len() <= 1000));
}

#[test]
fn a_file_closed_after_its_dead_time_is_opened_again_when_it_grows() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    let text = std::fs::read_to_string(&config).expect("reads");
    std::fs::write(
        &config,
        text.replace("fields:", "dead time: 200ms, fields:"),
    )
    .expect("writes");
    let running = Running::start(&config);
    place.append("app.log", "one\n");
    receiver.wait_for(1);
    std::thread::sleep(Duration::from_secs(2));
    place.append("app.log", "two\n");
    receiver.wait_for(2);
    running.stop();
    assert_each_once(&receiver, "one\ntwo\n");
}

#[test]
fn from_the_end_at_the_first_start_only() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    let text = std::fs::read_to_string(&config).expect("reads");
    std::fs::write(
        &config,
        text.replace("fields:", "start position: end, fields:"),
    )
    .expect("writes");
    place.append("old.log", "old\nunfinished ");
    let running = Running::start(&config);
    // It has been found when it is in the registry.
    let registry = place.root.path().join("data/registry");
    let deadline = std::time::Instant::now() + super::support::PATIENCE;
    while !std::fs::read_to_string(&registry)
        .unwrap_or_default()
        .contains("old.log")
    {
        assert!(std::time::Instant::now() < deadline, "not found");
        std::thread::sleep(Duration::from_millis(10));
    }
    place.append("old.log", "line\n");
    place.append("new.log", "new\n");
    receiver.wait_for(2);
    running.kill();
    place.append("newer.log", "newer\n");
    let running = Running::start(&config);
    receiver.wait_for_message("newer");
    running.stop();
    let mut messages = receiver.messages();
    messages.sort();
    messages.dedup();
    assert_eq!(messages, ["new", "newer", "unfinished line"]);
}

#[test]
fn the_registry_of_logstash_forwarder_is_taken_over() {
    let (place, receiver) = (Place::new(), Receiver::start());
    place.append("app.log", "shipped\r\nnot shipped\r\n");
    let metadata = std::fs::metadata(place.log("app.log")).expect("is there");
    let path = place.log("app.log");
    let old = place.root.path().join("old-registry");
    // One short, as it counts one byte for each line end.
    let text = format!(
        "{{\"{path}\":{{\"source\":\"{path}\",\"offset\":8,\"inode\":{},\"device\":{}}}}}",
        metadata.ino(),
        metadata.dev(),
        path = path.display()
    );
    std::fs::write(&old, text).expect("writes");
    let config = place.config(
        &receiver,
        "app.log",
        &format!("import registry: {}", old.display()),
    );
    let running = Running::start(&config);
    receiver.wait_for(1);
    running.stop();
    assert_eq!(receiver.messages(), ["not shipped"]);
}

#[test]
fn compressed_files_are_left_out_and_links_are_followed() {
    let (place, receiver) = (Place::new(), Receiver::start());
    std::fs::write(place.log("app.log.gz"), b"\x1f\x8b\x08\0rest\n").expect("writes");
    let elsewhere = place.root.path().join("elsewhere");
    std::fs::write(&elsewhere, "linked\n").expect("writes");
    std::os::unix::fs::symlink(&elsewhere, place.log("link.log")).expect("links");
    let config = place.config(&receiver, "*", "rescan interval: 60s");
    let text = std::fs::read_to_string(&config).expect("reads");
    let text = text
        .replace("fields:", "follow symlinks: on, fields:")
        .replacen("rescan interval: 500ms\n", "", 1);
    std::fs::write(&config, text).expect("writes");
    let running = Running::start(&config);
    receiver.wait_for(1);
    let mut file = OpenOptions::new()
        .append(true)
        .open(&elsewhere)
        .expect("opens");
    file.write_all(b"more\n").expect("writes");
    receiver.wait_for(2);
    running.stop();
    assert_each_once(&receiver, "linked\nmore\n");
}

#[test]
fn more_files_than_may_be_open() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let mut expected = String::new();
    for number in 0..40 {
        let text = lines(&format!("file{number}"), 0..5);
        place.append(&format!("{number}.log"), &text);
        expected += &text;
    }
    let config = place.config(&receiver, "*.log", "max open files: 7");
    let running = Running::start(&config);
    receiver.wait_for(200);
    for number in 0..40 {
        place.append(&format!("{number}.log"), &lines("more", number..number + 1));
        expected += &lines("more", number..number + 1);
    }
    receiver.wait_for(240);
    running.stop();
    assert_each_once(&receiver, &expected);
}

/// Rotated twice while we were down: the file in between was never seen, and no pattern names it.
#[test]
fn a_file_that_was_made_and_rotated_while_we_were_down_is_found() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    // The time of birth is compared in seconds.
    place.append("app.log.7", "older than the first start\n");
    std::thread::sleep(Duration::from_millis(1100));
    place.append("app.log", &lines("first", 0..100));
    let running = Running::start(&config);
    receiver.wait_for(100);
    running.stop();
    place.append("app.log", &lines("unread", 0..10));
    std::fs::rename(place.log("app.log"), place.log("app.log.2")).expect("renames");
    place.append("app.log", &lines("second", 0..50));
    std::fs::rename(place.log("app.log"), place.log("app.log.1")).expect("renames");
    place.append("app.log", &lines("third", 0..50));
    place.append("app.log-errors", "of another program\n");
    let expected = lines("first", 0..100)
        + &lines("unread", 0..10)
        + &lines("second", 0..50)
        + &lines("third", 0..50);
    let running = Running::start(&config);
    receiver.wait_for(210);
    running.stop();
    // And it is known from now on.
    let running = Running::start(&config);
    place.append("app.log", "last\n");
    receiver.wait_for(211);
    running.stop();
    assert_each_once(&receiver, &(expected + "last\n"));
    let files: HashSet<_> = receiver
        .arrived()
        .into_iter()
        .map(|event| event.file)
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
}
