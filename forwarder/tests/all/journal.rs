//! The systemd journal: real files of it, written by `systemd-journal-remote` and read by `journalctl`, and a
//! `journalctl` that fails in the ways a real one does not on demand.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{
    Arrived, Authority, Behaviour, Place, Program, Receiver, Running, assert_each_once, native_tls,
};

/// Where Debian has it.
const WRITER: &str = "/lib/systemd/systemd-journal-remote";

/// Whether the systemd programs are here; without them the test is skipped, or fails where nothing may be skipped.
fn systemd() -> bool {
    let here =
        Path::new(WRITER).is_file() && Command::new("journalctl").arg("--version").output().is_ok();
    assert!(
        here || std::env::var_os("SKIDDER_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "journalctl or {WRITER} is missing: install systemd and systemd-journal-remote"
    );
    if !here {
        let note = format!("skipped: journalctl or {WRITER} is not here\n");
        std::io::stderr()
            .write_all(note.as_bytes())
            .expect("writes");
    }
    here
}

/// Entries `prefix-from` … in the export format; the time goes on with the number.
fn entries(prefix: &str, range: std::ops::Range<usize>) -> String {
    range.fold(String::new(), |mut text, number| {
        let time = 1_700_000_000_000_000 + number * 1_000_000;
        writeln!(
            text,
            "__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={number}\n\
             _BOOT_ID=0123456789abcdef0123456789abcdef\n_HOSTNAME=else\nMESSAGE={prefix}-{number}\n\
             _PID={number}\n_SYSTEMD_UNIT={prefix}.service\nPRIORITY={}\nOWN_FIELD=own\n",
            number % 8
        )
        .expect("a string");
        text
    })
}

fn lines(prefix: &str, range: std::ops::Range<usize>) -> String {
    super::support::lines(prefix, range)
}

struct Journal {
    directory: PathBuf,
}

impl Journal {
    fn new(place: &Place) -> Self {
        let directory = place.root.path().join("journal");
        std::fs::create_dir(&directory).expect("creates");
        Self { directory }
    }

    fn append(&self, exported: &[u8]) {
        let mut writer = Command::new(WRITER)
            .arg("-o")
            .arg(self.directory.join("system.journal"))
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut input = writer.stdin.take().expect("piped");
        input.write_all(exported).expect("writes");
        drop(input);
        assert!(writer.wait().expect("waits").success());
    }

    /// Removes everything that is there, as a limit on the journal's size does with old files.
    fn vacuum(&self) {
        for file in std::fs::read_dir(&self.directory).expect("reads") {
            std::fs::remove_file(file.expect("a file").path()).expect("removes");
        }
    }
}

/// A config that reads a journal and nothing else.
fn config(place: &Place, receiver: &Receiver, options: &str, more: &str) -> PathBuf {
    let root = place.root.path().display();
    let text = format!(
        "network: {{servers: [\"{}\"], tls: off, timeout: 20s, reconnect delay: 20ms}}\n\
         journal: [{{directory: {root}/journal{options}}}]\n\
         data_dir: {root}/data\nregistry interval: 50ms\nflush interval: 20ms\n{more}\n",
        receiver.address
    );
    let path = place.root.path().join("forwarder.yml");
    std::fs::write(&path, text).expect("writes");
    path
}

/// A `journalctl` of our own; its arguments are in `arguments`, its process in `pid`: it writes what the real one does not, and
/// what a sandbox would not let it.
fn stand_in(place: &Place, reads: &str) -> String {
    let path = place.root.path().join("journalctl");
    let root = place.root.path().display();
    let script = format!(
        "#!/bin/sh\ncd {root}\necho \"$@\" >> arguments\ncase \"$*\" in *--version*) echo systemd 252; exit;; esac\n\
         echo $$ > pid.new && mv pid.new pid\n{reads}\n"
    );
    std::fs::write(&path, script).expect("writes");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("sets");
    format!(", journalctl: {}", path.display())
}

/// An entry as it comes out, with a cursor.
fn exported(number: usize) -> String {
    format!("__CURSOR=s=ab;i={number};b=cd;m={number};t=1;x={number}\nMESSAGE=e-{number}\n\n")
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_for_cursor(place: &Place, count: u64) {
    place.wait_for_registry("the cursor", |entries| {
        let mut entries = entries.iter();
        entries.any(|entry| entry.offset >= count && entry.cursor.is_some())
    });
}

fn field(event: &Arrived, object: &str, name: &str) -> Option<String> {
    let object: serde_json::Value = serde_json::from_str(event.fields.get(object)?).expect("JSON");
    let value = name
        .split('.')
        .try_fold(&object, |value, part| value.get(part))?;
    value.as_str().map(str::to_owned)
}

#[test]
fn entries_come_once_with_their_time_and_fields_and_new_ones_follow() {
    if !systemd() {
        return;
    }
    let place = Place::new();
    let journal = Journal::new(&place);
    journal.append(entries("a", 0..100).as_bytes());
    let receiver = Receiver::start();
    let config = config(
        &place,
        &receiver,
        ", keep: all, fields: {type: journal}",
        "",
    );
    let running = Running::start(&config);
    receiver.wait_for(100);
    journal.append(entries("a", 100..150).as_bytes());
    receiver.wait_for(150);
    wait_for_cursor(&place, 150);
    assert_eq!(running.stop().events_left, 0);
    // What comes while nobody is there is found.
    journal.append(entries("a", 150..200).as_bytes());
    let running = Running::start(&config);
    receiver.wait_for(200);
    assert_eq!(running.stop().events_left, 0);
    assert_each_once(&receiver, &lines("a", 0..200));
    let arrived = receiver.arrived();
    let event = &arrived[7];
    assert_eq!(event.message, "a-7");
    assert_eq!(event.file, "journal:system");
    assert_eq!(event.fields["@timestamp"], "2023-11-14T22:13:27.000Z");
    assert_eq!(event.fields["type"], "journal");
    assert_eq!(
        field(event, "systemd", "unit").as_deref(),
        Some("a.service")
    );
    assert_eq!(field(event, "journald", "pid").as_deref(), Some("7"));
    assert_eq!(
        field(event, "journald", "host.hostname").as_deref(),
        Some("else")
    );
    assert_eq!(
        field(event, "journald", "custom.own_field").as_deref(),
        Some("own")
    );
    assert_eq!(field(event, "syslog", "priority").as_deref(), Some("7"));
}

#[test]
fn the_native_framing_brings_the_same_events() {
    if !systemd() {
        return;
    }
    let (place, authority) = (Place::new(), Authority::new("right"));
    let journal = Journal::new(&place);
    journal.append(entries("a", 0..50).as_bytes());
    let plain = Receiver::start();
    let path = config(&place, &plain, ", keep: all", "");
    let running = Running::start(&path);
    plain.wait_for(50);
    running.stop();
    let own = authority.issue(&["127.0.0.1"]);
    let wait = Duration::from_secs(1);
    let native = Receiver::start_with(Some(native_tls(&own)), Behaviour::Acknowledge, wait);
    std::fs::write(place.root.path().join("ca.crt"), &authority.pem).expect("writes");
    let path = config(&place, &native, ", keep: all", "");
    let text = std::fs::read_to_string(&path).expect("reads");
    let ca = format!("ssl ca: {}/ca.crt", place.root.path().display());
    std::fs::write(&path, text.replace("tls: off", &ca)).expect("writes");
    // Nothing is known: the whole journal is read anew.
    std::fs::remove_dir_all(place.root.path().join("data")).expect("removes");
    let running = Running::start(&path);
    native.wait_for(50);
    running.stop();
    // An object of the one is fields of the other, with a NUL between the parts of their names.
    for (one, two) in plain.arrived().iter().zip(native.arrived()) {
        assert_eq!((&one.stream, one.offset), (&two.stream, two.offset));
        assert_eq!(one.message, two.message);
        assert_eq!(one.fields["@timestamp"], two.fields["@timestamp"]);
        assert_eq!(
            field(one, "systemd", "unit").as_ref(),
            two.fields.get("systemd\0unit")
        );
        assert_eq!(
            field(one, "journald", "custom.own_field").as_ref(),
            two.fields.get("journald\0custom\0own_field")
        );
    }
}

#[test]
fn a_kill_loses_nothing_and_an_entry_that_comes_twice_has_one_identity() {
    if !systemd() {
        return;
    }
    let place = Place::new();
    let journal = Journal::new(&place);
    journal.append(entries("a", 0..500).as_bytes());
    let receiver = Receiver::start();
    let config = config(&place, &receiver, "", "spool size: 64");
    receiver.behave(Behaviour::HalfThenDrop);
    let running = Running::start(&config);
    receiver.wait_for(1);
    receiver.behave(Behaviour::Hold);
    receiver.wait_for_unacknowledged(64);
    running.kill();
    receiver.behave(Behaviour::Acknowledge);
    let running = Running::start(&config);
    receiver.wait_for_message("a-499");
    running.stop();
    let arrived = receiver.arrived();
    let identities: HashSet<_> = arrived
        .iter()
        .map(|event| (&event.stream, event.offset))
        .collect();
    let messages: HashSet<_> = arrived.iter().map(|event| &event.message).collect();
    assert_eq!((identities.len(), messages.len()), (500, 500));
    assert!(arrived.len() <= 500 + 64, "{} came", arrived.len());

    // Even if nothing is known of what was sent.
    std::fs::remove_dir_all(place.root.path().join("data")).expect("removes");
    let running = Running::start(&config);
    receiver.wait_for(arrived.len() + 500);
    running.stop();
    let again = receiver.arrived();
    let identities: HashSet<_> = again
        .iter()
        .map(|event| (&event.stream, event.offset))
        .collect();
    assert_eq!(identities.len(), 500);
}

#[test]
fn from_the_end_and_only_what_is_asked_for() {
    if !systemd() {
        return;
    }
    let place = Place::new();
    let journal = Journal::new(&place);
    journal.append(entries("a", 0..50).as_bytes());
    let receiver = Receiver::start();
    let options = ", start position: end, units: [a], priority: 4..6, keep: [_PID]";
    let config = config(&place, &receiver, options, "");
    let running = Running::start(&config);
    place.wait_for_registry("the end of the journal", |entries| {
        entries.iter().any(|entry| entry.cursor.is_some())
    });
    // Before anything was shipped, and again from there.
    running.kill();
    journal.append(entries("b", 50..60).as_bytes());
    journal.append(entries("a", 60..76).as_bytes());
    let running = Running::start(&config);
    receiver.wait_for_message("a-70");
    running.stop();
    let expected = [60, 61, 62, 68, 69, 70].map(|number| format!("a-{number}\n"));
    assert_each_once(&receiver, &expected.concat());
    let event = &receiver.arrived()[0];
    assert_eq!(event.fields["journald"], "{\"pid\":\"60\"}");
    assert!(!event.fields.contains_key("systemd"));
}

#[test]
fn a_journal_that_was_vacuumed_goes_on_with_what_is_left_and_says_so() {
    if !systemd() {
        return;
    }
    let place = Place::new();
    let journal = Journal::new(&place);
    journal.append(entries("a", 0..20).as_bytes());
    let receiver = Receiver::start();
    let config = config(&place, &receiver, "", "");
    let running = Running::start(&config);
    receiver.wait_for(20);
    wait_for_cursor(&place, 20);
    running.stop();
    journal.vacuum();
    journal.append(entries("a", 30..40).as_bytes());
    let arguments = ["run", "--config", config.to_str().expect("text")];
    let mut program = Program::start(&arguments, place.root.path());
    program.wait_for_log("is not in the journal any more");
    receiver.wait_for(30);
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.wait(), 0);
    // `journalctl --after-cursor` would have left the first one out.
    assert_each_once(&receiver, &(lines("a", 0..20) + &lines("a", 30..40)));
}

#[test]
fn a_journalctl_that_ends_is_started_again_where_it_was_and_ends_with_us() {
    let place = Place::new();
    for (name, numbers) in [("first", 1..4), ("second", 3..7)] {
        let text: String = numbers.map(exported).collect();
        std::fs::write(place.root.path().join(name), text).expect("writes");
    }
    let options = stand_in(
        &place,
        "case \"$*\" in *--cursor=s=ab*i=3*) cat second; exec sleep 1000;; esac\n\
         cat first; printf '__CURSOR=s=ab;i=9\\nMESSAGE=cut off'; echo file is corrupted >&2; exit 3",
    );
    let receiver = Receiver::start();
    let config = config(&place, &receiver, &options, "sandbox: off");
    let arguments = ["run", "--config", config.to_str().expect("text")];
    let mut program = Program::start(&arguments, place.root.path());
    program.wait_for_log("exit status: 3: file is corrupted");
    receiver.wait_for(6);
    assert_each_once(&receiver, &lines("e", 1..7));
    let pid = std::fs::read_to_string(place.root.path().join("pid")).expect("reads");
    let process = PathBuf::from(format!("/proc/{}", pid.trim()));
    assert!(process.is_dir());
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.wait(), 0);
    wait_until("the end of journalctl", || !process.is_dir());
    let arguments = std::fs::read_to_string(place.root.path().join("arguments")).expect("reads");
    assert!(arguments.contains("--boot=all"), "{arguments}");
}

#[test]
fn what_is_no_export_and_no_cursor_is_said() {
    let place = Place::new();
    let options = stand_in(
        &place,
        "[ -e junk ] || { touch junk; printf '%01000d' 7; exec sleep 1000; }\n\
         printf '__CURSOR=strange\\nMESSAGE=one\\n\\n'; exec sleep 1000",
    );
    let receiver = Receiver::start();
    let config = config(&place, &receiver, &options, "sandbox: off");
    let arguments = ["run", "--config", config.to_str().expect("text")];
    let program = Program::start(&arguments, place.root.path());
    program.wait_for_log("is not the export format: a name without an end");
    receiver.wait_for(1);
    wait_for_cursor(&place, 1);
    program.signal(rustix::process::Signal::KILL);
    drop(program);
    let program = Program::start(&arguments, place.root.path());
    program.wait_for_log("the cursor in the registry is none");
    receiver.wait_for(2);
    let missing = options.replace("journalctl: ", "journalctl: /nowhere");
    let other = Place::new();
    let config = self::config(&other, &receiver, &missing, "");
    let arguments = ["run", "--config", config.to_str().expect("text")];
    let program = Program::start(&arguments, other.root.path());
    program.wait_for_log("install systemd, or say where it is with `journalctl`");
}

#[test]
fn a_receiver_that_does_not_answer_stops_journalctl() {
    let place = Place::new();
    let options = stand_in(
        &place,
        "exec awk 'BEGIN { x = sprintf(\"%05000d\", 7); for (n = 1; ; n++) \
         printf \"__CURSOR=s=ab;i=%x;b=cd;m=%x\\nMESSAGE=%s\\n\\n\", n, n, x }'",
    );
    let receiver = Receiver::start();
    receiver.behave(Behaviour::Hold);
    let config = config(
        &place,
        &receiver,
        &options,
        "spool bytes: 128KiB\nsandbox: off",
    );
    let running = Running::start(&config);
    receiver.wait_for_unacknowledged(1);
    let written = || {
        let pid = std::fs::read_to_string(place.root.path().join("pid")).expect("reads");
        let io = std::fs::read_to_string(format!("/proc/{}/io", pid.trim())).expect("reads");
        let line = io
            .lines()
            .find(|line| line.starts_with("wchar"))
            .expect("is there");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse::<u64>()
            .expect("a number")
    };
    // Until it stands still.
    let last = std::cell::Cell::new((0, Instant::now()));
    wait_until("an end of the reading", || {
        let now = written();
        if now != last.get().0 {
            last.set((now, Instant::now()));
        }
        last.get().1.elapsed() > Duration::from_secs(1)
    });
    assert!(written() < 2 << 20, "{} bytes were read", written());
    running.kill();
}
