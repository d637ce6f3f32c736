//! The input `file`, with real files that grow, are rotated, truncated, compressed and removed.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::collections::BTreeSet;
use std::fs::{OpenOptions, read_to_string, rename, write};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use self::daemon::{Daemon, PATIENCE};

#[path = "support/daemon.rs"]
mod daemon;

/// A directory with log files, which outlives the daemons.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new();
        let file = file.append(true).create(true).open(self.at(name));
        file.unwrap().write_all(text.as_ref()).unwrap();
    }

    /// The input, with its positions here.
    fn input(&self, pattern: &str, more: &str) -> String {
        let path = self.at(pattern);
        let positions = self.at("positions");
        let (path, positions) = (path.display(), positions.display());
        format!(
            "file {{ path => '{path}' sincedb_path => '{positions}' stat_interval => 0.1 {more} }}"
        )
    }

    /// Daemons whose events go here, one after the other.
    fn start(&self, input: &str, arguments: &[&str]) -> Daemon {
        let events = self.at("events");
        let output = format!("output {{ file {{ path => '{}' }} }}", events.display());
        let configuration = format!("input {{ {input} }} {output}");
        Daemon::run(tempfile::tempdir().unwrap(), &configuration, arguments)
    }

    fn messages(&self) -> Vec<String> {
        let text = read_to_string(self.at("events")).unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| {
                let event: Value = serde_json::from_str(line).unwrap();
                event["message"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}

fn messages(events: &[Value]) -> Vec<&str> {
    let messages = events
        .iter()
        .map(|event| event["message"].as_str().unwrap());
    messages.collect()
}

const ALL: &str = "start_position => beginning";

#[test]
fn lines_come_with_their_path_host_and_place() {
    let place = Place::new();
    place.append("a.log", "one\r\ntwo\n");
    place.append(".hidden.log", "hidden\n");
    place.append("b.log.gz", "not wanted\n");
    let (log, positions) = (place.at("*.log*"), place.at("positions"));
    let input = format!(
        "file {{ path => ['/nowhere/x.log', '{}'] exclude => '*.gz' sincedb_path => '{}' {ALL} type => 'app' \
         ecs_compatibility => ECS }}",
        log.display(),
        positions.display()
    );
    let more = "filter { mutate { add_field => { 'place' => '%{[@metadata][path]}:%{[@metadata][offset]}' } } }";
    let daemon = Daemon::start(&input.replace("ECS", "disabled"), more);
    daemon.wait_for_events(2);
    // A file that only the next look at the directory finds.
    place.append("c.log", "three\n");
    daemon.wait_for_events(3);
    let events = daemon.stop();
    assert_eq!(messages(&events), ["one", "two", "three"]);
    let path = place.at("a.log").display().to_string();
    assert_eq!(events[1]["path"], path.as_str());
    assert_eq!(events[1]["place"], format!("{path}:5"));
    assert_eq!(events[1]["type"], "app");
    let host = events[1]["host"].as_str().unwrap().to_owned();
    assert!(!host.is_empty());

    // The positions are there: only what is new comes.
    place.append("a.log", "{\"message\":\"four\"}\n");
    let input = input.replace("type =>", "codec => json type =>");
    let daemon = Daemon::start(&input.replace("ECS", "v8"), "");
    daemon.wait_for_events(1);
    let events = daemon.stop();
    assert_eq!(messages(&events), ["four"]);
    assert_eq!(events[0]["log"]["file"]["path"], path.as_str());
    assert_eq!(events[0]["host"]["name"], host.as_str());
    assert_eq!(events[0]["event"]["original"], "{\"message\":\"four\"}");
    assert!(events[0].get("path").is_none());
}

#[test]
fn rotation_by_rename_and_by_copy_loses_nothing_and_repeats_nothing() {
    let place = Place::new();
    place.append("a.log", "before\n");
    let daemon = place.start(&place.input("a.log", "start_position => end"), &[]);
    // What was there is not wanted, what comes is. A line that has no end is waited for.
    daemon.wait_for("start", |daemon| {
        daemon.log().contains("following the file")
    });
    let mut expected = Vec::new();
    let mut write_some = |round: usize| {
        for line in 0..500 {
            expected.push(format!("{round}-{line}"));
            place.append("a.log", format!("{round}-{line}\n"));
        }
    };
    write_some(0);
    rename(place.at("a.log"), place.at("a.log.1")).unwrap();
    write_some(1);
    let all = |place: &Place, count: usize| place.messages().len() >= count;
    daemon.wait_for("first two", |_| all(&place, 1000));
    // As logrotate's copytruncate does it.
    std::fs::copy(place.at("a.log"), place.at("a.log.2")).unwrap();
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(place.at("a.log"))
        .unwrap();
    write_some(2);
    daemon.wait_for("third", |_| all(&place, 1500));
    daemon.stop();
    // Two workers may change the order.
    let mut seen = place.messages();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn a_kill_in_the_middle_loses_nothing() {
    for arguments in [&[][..], &["--queue.type", "persisted"]] {
        let place = Place::new();
        let data = place.at("data");
        let data = data.to_str().unwrap();
        let arguments: Vec<&str> = arguments.to_vec();
        let mut written = 0;
        for round in 0..4 {
            for file in ["a.log", "b.log"] {
                let lines = (written..written + 20_000).map(|line| format!("{file} {line}\n"));
                place.append(file, lines.collect::<String>());
            }
            written += 20_000;
            let input = place.input("?.log", &format!("{ALL} sincedb_write_interval => 0.05"));
            let events = place.at("events");
            let configuration = format!(
                "input {{ {input} }} output {{ file {{ path => '{}' }} }}",
                events.display()
            );
            let mut command = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"));
            command.args(["-w", "2", "--path.data", data, "-e", &configuration]);
            let log = std::fs::File::create(place.at("stderr")).unwrap();
            let mut child = command.args(&arguments).stderr(log).spawn().unwrap();
            // Killed when some of it is delivered, the last one when all of it is.
            let before = place.messages().len();
            let started = std::time::Instant::now();
            loop {
                let seen = place.messages();
                let enough = if round < 3 {
                    seen.len() > before + 3000 * (round + 1)
                } else {
                    seen.iter().collect::<BTreeSet<_>>().len() == 2 * written
                };
                if enough {
                    break;
                }
                let log = || read_to_string(place.at("stderr")).unwrap();
                assert!(
                    started.elapsed() < PATIENCE,
                    "{} of {}\n{}",
                    seen.len(),
                    2 * written,
                    log()
                );
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            // A line that was cut by the kill would be in the way of the next.
            let text = std::fs::read(&events).unwrap();
            let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
            write(&events, &text[..whole]).unwrap();
        }
        let seen = place.messages();
        assert!(
            seen.len() < 8 * written,
            "positions did not move: {}",
            seen.len()
        );
        let seen: BTreeSet<&str> = seen.iter().map(String::as_str).collect();
        let lines =
            (0..written).flat_map(|line| [format!("a.log {line}"), format!("b.log {line}")]);
        let written: Vec<String> = lines.collect();
        assert_eq!(seen, written.iter().map(String::as_str).collect());
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut packed = vec![0; compressor.gzip_compress_bound(text.len())];
    let length = compressor
        .gzip_compress(text.as_bytes(), &mut packed)
        .unwrap();
    packed.truncate(length);
    packed
}

#[test]
fn complete_files_are_read_to_their_end_and_removed() {
    let place = Place::new();
    std::fs::create_dir_all(place.at("in/deep/er")).unwrap();
    place.append("in/a.txt", "a1\na2\nlast without end");
    place.append("in/deep/er/b.txt.gz", gzip("b1\nb2\n"));
    // Half of an archive is not read at all.
    place.append("in/broken.txt.gz", &gzip(&"broken\n".repeat(100))[..30]);
    let log = place.at("done");
    let more = format!(
        "mode => read file_completed_action => log_and_delete file_completed_log_path => '{}' \
         check_archive_validity => true exit_after_read => true file_sort_by => path",
        log.display()
    );
    let mut daemon = place.start(&place.input("in/**/*.txt*", &more), &[]);
    assert!(daemon.child.wait().unwrap().success(), "{}", daemon.log());
    let mut seen = place.messages();
    seen.sort();
    assert_eq!(seen, ["a1", "a2", "b1", "b2", "last without end"]);
    let mut done: Vec<PathBuf> = read_to_string(&log)
        .unwrap()
        .lines()
        .map(PathBuf::from)
        .collect();
    done.sort();
    assert_eq!(
        done,
        [place.at("in/a.txt"), place.at("in/deep/er/b.txt.gz")]
    );
    let is_there = |name| place.at(name).try_exists().unwrap();
    assert!(!is_there("in/a.txt") && !is_there("in/deep/er/b.txt.gz"));
    assert!(is_there("in/broken.txt.gz") && daemon.log().contains("damaged"));
}

#[test]
fn a_file_is_kept_until_its_events_are_safe() {
    let place = Place::new();
    place.append("a.txt", "one\ntwo\n");
    let input = place.input("*.txt", "mode => read");
    // Nobody listens there: nothing is ever delivered.
    let output = "output { elasticsearch { hosts => 'http://127.0.0.1:9' } }";
    let configuration = format!("input {{ {input} }} {output}");
    let mut daemon = Daemon::run(
        tempfile::tempdir().unwrap(),
        &configuration,
        &["--pipeline.shutdown_timeout", "2s"],
    );
    daemon.wait_for("delivery", |daemon| daemon.log().contains("127.0.0.1:9"));
    daemon.signal(rustix::process::Signal::TERM);
    daemon.child.wait().unwrap();
    assert!(place.at("a.txt").try_exists().unwrap(), "{}", daemon.log());
    let mut daemon = place.start(
        &place.input("*.txt", "mode => read exit_after_read => true"),
        &[],
    );
    assert!(daemon.child.wait().unwrap().success(), "{}", daemon.log());
    assert_eq!(place.messages(), ["one", "two"]);
    assert!(!place.at("a.txt").try_exists().unwrap());
}

#[test]
fn lines_are_joined_file_by_file_before_the_queue() {
    let place = Place::new();
    for line in 0..300 {
        for file in ["a.log", "b.log"] {
            place.append(file, format!("{file} {line}\n  at {line}\n"));
        }
    }
    let codec =
        "codec => multiline { pattern => '^\\s' what => previous auto_flush_interval => 1 }";
    let daemon = place.start(&place.input("*.log", &format!("{ALL} {codec}")), &[]);
    daemon.wait_for("all", |_| place.messages().len() >= 600);
    daemon.stop();
    let mut seen = place.messages();
    seen.sort();
    let files = ["a.log", "b.log"].into_iter();
    let expected =
        files.flat_map(|file| (0..300).map(move |line| format!("{file} {line}\n  at {line}")));
    let mut expected: Vec<String> = expected.collect();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn what_an_event_still_waits_for_is_read_again_after_a_stop() {
    let place = Place::new();
    place.append("a.log", "one\n at 1\ntwo\n at 2\n");
    let codec = "codec => multiline { pattern => '^\\s' what => previous }";
    let daemon = place.start(&place.input("*.log", &format!("{ALL} {codec}")), &[]);
    daemon.wait_for("first", |_| place.messages().len() == 1);
    daemon.stop();
    place.append("a.log", " at 3\nthree\n");
    let daemon = place.start(&place.input("*.log", &format!("{ALL} {codec}")), &[]);
    daemon.wait_for("second", |_| place.messages().len() >= 2);
    daemon.stop();
    assert_eq!(place.messages(), ["one\n at 1", "two\n at 2\n at 3"]);
}

#[test]
fn positions_of_logstash_are_taken_over_and_its_file_is_left_alone() {
    let place = Place::new();
    place.append("a.log", "seen\nnew\n");
    let metadata = std::fs::metadata(place.at("a.log")).unwrap();
    // As JRuby counts: the whole device number is the minor one.
    let sincedb = format!(
        "{} 0 {} 5 1700000000.1 {}\n",
        metadata.ino(),
        metadata.dev(),
        place.at("a.log").display()
    );
    write(place.at("positions"), &sincedb).unwrap();
    let input = place.input("*.log", "");
    let daemon = place.start(&input, &[]);
    daemon.wait_for("events", |_| !place.messages().is_empty());
    daemon.stop();
    assert_eq!(place.messages(), ["new"]);
    assert_eq!(read_to_string(place.at("positions")).unwrap(), sincedb);
    assert!(place.at("positions.skidder").try_exists().unwrap());
}

#[test]
fn nothing_is_remembered_in_dev_null_and_delimiters_are_free() {
    let place = Place::new();
    place.append("a.log", "one\nmore||two||rest");
    let path = place.at("a.log");
    let input = format!(
        "file {{ path => '{}' sincedb_path => '/dev/null' delimiter => '||' {ALL} }}",
        path.display()
    );
    for round in 1..=2 {
        let daemon = place.start(&input, &[]);
        daemon.wait_for("events", |_| place.messages().len() == 2 * round);
        daemon.stop();
    }
    assert_eq!(place.messages(), ["one\nmore", "two"].repeat(2));
}

#[test]
fn old_files_give_only_what_is_added_to_them() {
    let place = Place::new();
    place.append("old.log", "old\n");
    place.append("new.log", "new\n");
    let file = OpenOptions::new()
        .append(true)
        .open(place.at("old.log"))
        .unwrap();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    file.set_modified(hour_ago).unwrap();
    let daemon = place.start(
        &place.input("*.log", &format!("{ALL} ignore_older => 600")),
        &[],
    );
    daemon.wait_for("new", |_| place.messages() == ["new"]);
    place.append("old.log", "added\n");
    daemon.wait_for("added", |_| place.messages().len() == 2);
    daemon.stop();
    assert_eq!(place.messages(), ["new", "added"]);
}

#[test]
fn what_cannot_work_is_said() {
    let place = Place::new();
    let check = |options: &str| {
        let configuration = format!("input {{ file {{ {options} }} }} output {{ null {{ }} }}");
        let output = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
            .args(["-t", "-e", &configuration])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for (options, expected) in [
        ("path => 'logs/*.log'", "must begin with `/`"),
        ("", "`path`"),
        ("path => '/a/{b' ", "without"),
        ("path => '/a' delimiter => ''", "1 to 64 bytes"),
        ("path => '/a' exit_after_read => true", "mode => \"read\""),
        (
            "path => '/a' mode => read file_completed_action => log",
            "file_completed_log_path",
        ),
        (
            "path => '/a' mode => read file_completed_log_path => '/l'",
            "log_and_delete",
        ),
        ("path => '/a' file_sort_by => size", "last_modified"),
    ] {
        let (code, said) = check(options);
        assert_eq!(code, Some(78), "{options}\n{said}");
        assert!(said.contains(expected), "{options}\n{said}");
    }
    let (code, said) = check("path => '/a/**' mode => read start_position => end");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("changes nothing"), "{said}");

    // Two inputs with the same positions.
    let input = place.input("*.log", "");
    let mut daemon = place.start(&format!("{input} {input}"), &[]);
    assert!(!daemon.child.wait().unwrap().success());
    assert!(
        daemon.log().contains("in use by process"),
        "{}",
        daemon.log()
    );
    let folder = format!("sincedb_path => '{}'", Path::new("/tmp").display());
    let mut daemon = place.start(&format!("file {{ path => '/a' {folder} }}"), &[]);
    assert!(!daemon.child.wait().unwrap().success());
    assert!(daemon.log().contains("is a directory"), "{}", daemon.log());
}
