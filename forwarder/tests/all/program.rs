//! The program itself: signals, exit codes, the lock, standard input, memory, old command lines.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::support::{Behaviour, Place, Program, Receiver, assert_each_once, lines};

fn output(arguments: &[&str], place: &Place) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_skidder-forwarder"))
        .args(arguments)
        .current_dir(place.root.path())
        .env_remove("SKIDDER_TEST_UNSET")
        .output()
        .expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let place = Place::new();
    let slow = Behaviour::Slow(Duration::from_secs(1));
    let receiver = Receiver::start_with(None, slow, Duration::from_secs(3));
    let config = place.config(&receiver, "app.log", "spool size: 1000");
    place.append("app.log", &lines("line", 0..1500));
    let config = config.to_str().expect("text");
    let mut program = Program::start(&["run", "--config", config], place.root.path());
    receiver.wait_for_connections(1);
    receiver.wait_for(1);
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), 0, "{}", program.log());
    let arrived = receiver.arrived().len();
    // What arrived is registered: the next run sends the rest and nothing twice.
    let mut program = Program::start(&["run", "--config", config], place.root.path());
    receiver.behave(Behaviour::Acknowledge);
    receiver.wait_for_connections(2);
    receiver.wait_for(1500);
    program.signal(Signal::INT);
    assert_eq!(program.wait(), 0, "{}", program.log());
    assert!(arrived >= 1000, "{arrived}");
    assert_each_once(&receiver, &lines("line", 0..1500));
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_registry_is_whole() {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::Hold, Duration::from_millis(200));
    let config = place.config(&receiver, "app.log", "shutdown timeout: 1h");
    place.append("app.log", &lines("line", 0..10));
    let config = config.to_str().expect("text");
    let mut program = Program::start(&["run", "--config", config], place.root.path());
    receiver.wait_for_unacknowledged(10);
    program.signal(Signal::TERM);
    program.wait_for_log("stopping");
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), 1, "{}", program.log());
    receiver.behave(Behaviour::Acknowledge);
    let program = Program::start(&["run", "--config", config], place.root.path());
    receiver.wait_for(10);
    assert!(!program.log().contains("damaged"), "{}", program.log());
}

#[test]
fn nothing_is_lost_by_kill_9() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log*", "spool size: 50");
    let config = config.to_str().expect("text");
    let mut written = 0;
    for round in 0..4 {
        let program = Program::start(&["run", "--config", config], place.root.path());
        place.append("app.log", &lines("line", written..written + 2000));
        written += 2000;
        receiver.wait_for(written - 1900);
        program.signal(Signal::KILL);
        drop(program);
        let rotated = place.log(&format!("app.log.{round}"));
        std::fs::rename(place.log("app.log"), rotated).expect("renames");
    }
    let program = Program::start(&["run", "--config", config], place.root.path());
    receiver.wait_for_message("line-7999");
    let deadline = std::time::Instant::now() + super::support::PATIENCE;
    let missing = || {
        let messages: std::collections::HashSet<_> = receiver.messages().into_iter().collect();
        (0..written)
            .filter(|number| !messages.contains(&format!("line-{number}")))
            .count()
    };
    while missing() > 0 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} are missing",
            missing()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(program);
    println!(
        "{} of {written} lines came twice",
        receiver.messages().len() - written
    );
}

#[test]
fn a_second_process_on_the_same_registry_is_refused() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    let config = config.to_str().expect("text");
    let program = Program::start(&["run", "--config", config], place.root.path());
    receiver.wait_for_connections(1);
    let (code, _, log) = output(&["run", "--config", config], &place);
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains(&format!("in use by process {}", program.id())),
        "{log}"
    );
    assert!(log.contains("`data dir`"), "{log}");
}

#[test]
fn complaint_09_the_registry_is_shown_and_mended() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    place.append("app.log", "one\ntwo\n");
    let path = config.to_str().expect("text");
    let log = place.log("app.log");
    let log = log.to_str().expect("text");
    let mut program = Program::start(&["run", "--config", path], place.root.path());
    receiver.wait_for(2);
    let (code, _, refused) = output(&["state", "forget", log, "--config", path], &place);
    assert!(
        code == 1 && refused.contains("in use by process"),
        "{refused}"
    );
    program.signal(Signal::TERM);
    program.wait();
    let (code, shown, _) = output(&["state", "show", "--config", path], &place);
    assert!(code == 0 && shown.contains(log), "{shown}");
    let data = place.root.path().join("data");
    let data = data.to_str().expect("text");
    let (code, checked, _) = output(&["state", "check", "--data-dir", data], &place);
    assert!(code == 0 && checked.contains("files      1"), "{checked}");
    let (code, _, _) = output(&["state", "forget", log, "--data-dir", data], &place);
    assert_eq!(code, 0);
    let (code, exported, _) = output(&["state", "export", "--data-dir", data], &place);
    assert!(code == 0 && exported.contains("\"files\":[]"), "{exported}");
    // What is forgotten is shipped again.
    let program = Program::start(&["run", "--config", path], place.root.path());
    receiver.wait_for(4);
    drop(program);
    let (code, nothing, _) = output(&["state", "check", "--registry", "/nowhere/r"], &place);
    assert!(code == 1 && nothing.contains("no registry"), "{nothing}");
}

#[test]
fn standard_input_is_shipped_to_its_end() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "x", "");
    let text = std::fs::read_to_string(&config).expect("reads");
    let root = place.root.path().display();
    std::fs::write(&config, text.replace(&format!("{root}/logs/x"), "-")).expect("writes");
    let config = config.to_str().expect("text");
    let mut program = Program::start(&["run", "--config", config], place.root.path());
    let mut stdin = program.stdin.take().expect("piped");
    stdin
        .write_all((lines("line", 0..5000) + "last").as_bytes())
        .expect("writes");
    drop(stdin);
    assert_eq!(program.wait(), 0, "{}", program.log());
    assert_each_once(&receiver, &(lines("line", 0..5000) + "last\n"));
    assert_eq!(receiver.arrived()[0].file, "-");
}

#[test]
fn exit_codes_and_what_they_come_with() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    place.append("app.log", "line\n");
    let path = config.to_str().expect("text");
    let (code, plan, errors) = output(&["check", "--config", path], &place);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(plan.contains(&receiver.address.to_string()), "{plan}");
    assert!(
        plan.contains("(1 files now)") && plan.contains("type = test"),
        "{plan}"
    );
    assert_eq!(receiver.total(), 0);

    let (code, _, usage) = output(&["check"], &place);
    assert_eq!(code, 64, "{usage}");
    let (code, version, _) = output(&["--version"], &place);
    assert_eq!(
        (code, version.trim()),
        (0, concat!("skidder-forwarder ", env!("CARGO_PKG_VERSION")))
    );

    let text = "network:\n  servers: [nowhere]\n  ssl sertificate: x\nfiles:\n  - path: [a]\n    \
                paths: [\"/var/log/$SKIDDER_TEST_UNSET.log\"]\n    dead time: long\n";
    std::fs::write(&config, text).expect("writes");
    let (code, _, errors) = output(&["check", "--config", path], &place);
    assert_eq!(code, 78);
    for expected in [
        &format!("{path}:2:13: `nowhere` is not `host:port`"),
        &format!(
            "{path}:3:3: unknown key `ssl sertificate` in `network`; did you mean `ssl certificate`?"
        ),
        &format!("{path}:5:5: unknown key `path` in an element of `files`; did you mean `paths`?"),
        &format!("{path}:6:13: the environment variable `SKIDDER_TEST_UNSET` is not set"),
        &format!("{path}:7:16: `dead time`: `long` is not a duration"),
    ] {
        assert!(errors.contains(expected), "no `{expected}` in:\n{errors}");
    }
    assert_eq!(errors.lines().count(), 5, "{errors}");
}

#[test]
fn an_old_init_script_with_its_config_and_registry() {
    use std::os::unix::fs::MetadataExt;

    let (place, receiver) = (Place::new(), Receiver::start());
    place.append("access.log", "shipped before\nnew\n");
    let path = place.log("access.log");
    let metadata = std::fs::metadata(&path).expect("is there");
    let registry = format!(
        "{{\"{0}\":{{\"source\":\"{0}\",\"offset\":15,\"inode\":{1},\"device\":{2}}}}}",
        path.display(),
        metadata.ino(),
        metadata.dev()
    );
    std::fs::write(place.root.path().join(".logstash-forwarder"), registry).expect("writes");
    // The registry goes elsewhere than by default only because this test may not write there.
    let text = format!(
        "{{\n  # The network section\n\t\"network\": {{\n    \"servers\": [ \"{}\" ],\n    \"tls\": \"off\",\n    \
         \"Timeout\": 15\n  }},\n  \"data dir\": \"data\",\n\n  # The files\n  \"files\": [\n    {{\n      \"paths\": \
         [ \"{}\" ],\n      \"fields\": {{ \"type\": \"apache\" }},\n      \"dead time\": \"24h\"\n    }}\n  ]\n}}\n",
        receiver.address,
        path.display()
    );
    let config = place.root.path().join("logstash-forwarder.conf");
    std::fs::write(&config, text).expect("writes");
    let arguments = [
        "-config",
        "logstash-forwarder.conf",
        "-spool-size=100",
        "-idle-flush-time",
        "1s",
        "-quiet",
    ];
    let program = Program::start(&arguments, place.root.path());
    receiver.wait_for(1);
    drop(program);
    assert_eq!(receiver.messages(), ["new"]);
    assert_eq!(receiver.arrived()[0].fields["type"], "apache");
}

/// The goal of the release build is 20 MiB while shipping and 10 MiB idle. This build has no
/// optimisation of size and runs beside the receiver on a slow machine, but the bound is the same.
#[test]
fn memory_while_shipping() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "app.log", "");
    let line = format!(
        "{}\n",
        "127.0.0.1 - - \"GET /some/path HTTP/1.1\" 200 1234 ".repeat(4)
    );
    place.append("app.log", &line.repeat(150_000));
    let config = config.to_str().expect("text");
    let program = Program::start(&["run", "--config", config], place.root.path());
    receiver.wait_for(150_000);
    let (peak, now) = (program.memory("VmHWM"), program.memory("VmRSS"));
    println!("peak {peak} KiB, after {now} KiB");
    assert!(peak < 20 << 10, "peak memory is {peak} KiB");
}
