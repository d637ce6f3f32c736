//! What a running forwarder tells and takes orders for: the socket, HTTP, the service manager, another
//! config, other certificates, several servers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::support::{
    Authority, Behaviour, PATIENCE, Place, Program, Receiver, assert_each_once, lines, server_tls,
};

const KEEP_ALIVE: Duration = Duration::from_millis(200);

fn start(place: &Place, config: &Path) -> Program {
    let config = config.to_str().expect("text");
    Program::start(&["run", "--config", config], place.root.path())
}

fn ask(place: &Place, arguments: &[&str]) -> (bool, String) {
    let data = place.root.path().join("data");
    let output = Command::new(env!("CARGO_BIN_EXE_skidder-forwarder"))
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .output()
        .expect("runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    (output.status.success(), text)
}

fn status(place: &Place) -> Value {
    let (good, text) = ask(place, &["status", "--json"]);
    assert!(good, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// Asks until the status is as wanted.
fn wait_for_status(place: &Place, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(place);
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what} is not in {status:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn rewrite(config: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(config).expect("reads");
    assert!(text.contains(from), "{text}");
    let new = config.with_extension("new");
    std::fs::write(&new, text.replace(from, to)).expect("writes");
    std::fs::rename(&new, config).expect("renames");
}

#[test]
fn complaint_37_where_is_my_log() {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::Hold, KEEP_ALIVE);
    let config = place.config(&receiver, "*.log", "status socket mode: 0640");
    place.append("app.log", "one\ntwo\n");
    place.append("idle.log", "");
    let mut program = start(&place, &config);
    receiver.wait_for_unacknowledged(2);
    program.wait_for_log("connected");
    let held_back = wait_for_status(&place, "the age of a line", |status| {
        status["totals"]["lag_seconds"].as_f64() > Some(0.5)
    });
    let totals = &held_back["totals"];
    assert_eq!(totals["lag_bytes"], 8, "{held_back:#}");
    assert_eq!(totals["unread_bytes"], 0);
    assert_eq!(totals["oldest_offset"], 0);
    assert_eq!(held_back["events_in_flight"], 2);
    assert_eq!(held_back["links"][0]["state"], "connected");
    assert_eq!(held_back["links"][0]["windows_in_flight"], 1);
    let files = held_back["files"].as_array().expect("a list");
    assert_eq!(files.len(), 2);
    let app = files.iter().find(|file| file["lag_bytes"] == 8);
    let app = app.expect("the file that lags");
    assert_eq!((&app["read"], &app["acknowledged"]), (&8.into(), &0.into()));
    let (good, table) = ask(&place, &["status"]);
    assert!(good && table.contains("8 B not acknowledged"), "{table}");
    let socket = place.root.path().join("data/status.sock");
    let mode = std::fs::metadata(socket).expect("is there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o640);
    program.signal(Signal::KILL);
    program.wait();
    let (good, text) = ask(&place, &["status"]);
    assert!(
        !good && text.contains("is the forwarder running?"),
        "{text}"
    );
}

#[test]
fn complaint_10_held_bytes_of_deleted_files_are_told() {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::Hold, KEEP_ALIVE);
    let config = place.config(&receiver, "*.log", "spool size: 100");
    place.append("app.log", &lines("line", 0..10_000));
    let program = start(&place, &config);
    receiver.wait_for_unacknowledged(100);
    std::fs::remove_file(place.log("app.log")).expect("removes");
    let status = wait_for_status(&place, "what is held", |status| {
        status["totals"]["held_bytes"].as_u64() > Some(0)
    });
    assert_eq!(status["totals"]["held_files"], 1);
    assert_eq!(status["files"][0]["state"], "deleted");
    receiver.behave(Behaviour::Acknowledge);
    drop(program);
}

#[test]
fn the_log_level_changes_while_running() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    let program = start(&place, &config);
    receiver.wait_for_connections(1);
    let (good, text) = ask(&place, &["log-level", "debug"]);
    assert!(good && text.contains("debug"), "{text}");
    assert_eq!(status(&place)["log_level"], "debug");
    place.append("a.log", "line\n");
    receiver.wait_for(1);
    std::fs::rename(place.log("a.log"), place.log("a.gone")).expect("renames");
    program.wait_for_log("DEBUG");
    let (good, text) = ask(&place, &["log-level", "loud"]);
    assert!(!good && text.contains("unknown log level"), "{text}");
}

fn get(address: &str, request: &[u8]) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    stream.write_all(request).expect("writes");
    let mut answer = Vec::new();
    // A refused request may end in a reset.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn metrics_and_health_are_served_on_request() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let config = place.config(&receiver, "*.log", &format!("http: {port}"));
    place.append("app.log", "one\ntwo\n");
    let program = start(&place, &config);
    receiver.wait_for(2);
    wait_for_status(&place, "the acknowledgement", |status| {
        status["totals"]["lag_bytes"] == 0
    });
    let address = format!("127.0.0.1:{port}");
    let metrics = get(&address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    for expected in [
        "HTTP/1.1 200 OK",
        "skidder_forwarder_events_acknowledged_total 2",
        "skidder_forwarder_files 1",
        "skidder_forwarder_lag_bytes 0",
        "skidder_forwarder_held_bytes 0",
        "skidder_forwarder_healthy 1",
        &format!(
            "skidder_forwarder_link_connected{{link=\"0\",server=\"{}\"}} 1",
            receiver.address
        ),
    ] {
        assert!(metrics.contains(expected), "no `{expected}` in\n{metrics}");
    }
    let health = get(&address, b"GET /health HTTP/1.1\r\n\r\n");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"),
        "{health}"
    );
    assert!(get(&address, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(get(&address, b"POST /health HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 8 << 10]].concat();
    assert!(get(&address, &endless).starts_with("HTTP/1.1 400"));
    drop(program);
}

#[test]
fn the_service_manager_is_told() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    let name = format!("skidder-test-manager-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let manager = UnixDatagram::bind_addr(&address).expect("binds");
    manager.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let wait_for = |expected: &str| {
        let mut buffer = [0; 256];
        loop {
            let length = manager.recv(&mut buffer).expect(expected);
            if buffer[..length].starts_with(expected.as_bytes()) {
                return;
            }
        }
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_skidder-forwarder"))
        .args(["run", "--config", config.to_str().expect("text")])
        .env("NOTIFY_SOCKET", format!("@{name}"))
        .env("WATCHDOG_USEC", "400000")
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let signal = |signal| {
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, signal).expect("signals");
    };
    for expected in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        wait_for(expected);
    }
    signal(Signal::HUP);
    wait_for("RELOADING=1\nMONOTONIC_USEC=");
    wait_for("READY=1");
    signal(Signal::TERM);
    wait_for("STOPPING=1");
    assert!(child.wait().expect("ends").success());
}

#[test]
fn complaint_39_another_config_is_taken_over_and_a_wrong_one_is_refused() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "a.log", "");
    place.append("a.log", "one\n");
    place.append("b.log", "other\n");
    let program = start(&place, &config);
    receiver.wait_for(1);

    rewrite(&config, "rescan interval", "rescan intervall");
    let (good, text) = ask(&place, &["reload"]);
    assert!(
        !good && text.contains("did you mean `rescan interval`"),
        "{text}"
    );
    program.wait_for_log("the new config is refused, the old one goes on");
    rewrite(&config, "rescan intervall", "rescan interval");
    let data = format!("{}/data", place.root.path().display());
    rewrite(&config, &data, "/nowhere");
    let (good, text) = ask(&place, &["reload"]);
    assert!(!good && text.contains("`data dir`"), "{text}");
    rewrite(&config, "/nowhere", &data);
    place.append("a.log", "two\n");
    receiver.wait_for(2);

    // Another file, and another field for the one that stays: on the same connection.
    rewrite(&config, "a.log", "{a,b}.log");
    rewrite(&config, "type: test", "type: new");
    program.signal(Signal::HUP);
    receiver.wait_for(3);
    place.append("a.log", "three\n");
    receiver.wait_for(4);
    let arrived = receiver.arrived();
    assert_eq!(arrived[2].message, "other");
    assert_eq!(
        (arrived[3].message.as_str(), arrived[3].offset),
        ("three", 8)
    );
    assert_eq!(arrived[1].fields["type"], "test");
    assert_eq!(arrived[3].fields["type"], "new");
    let now = status(&place);
    assert_eq!(
        (&now["reloads"], &now["reloads_refused"]),
        (&1.into(), &2.into())
    );
    assert_eq!(now["links"][0]["connections"], 1, "{now:#}");

    // A file that is not named any more is let go.
    rewrite(&config, "{a,b}.log", "b.log");
    let (good, text) = ask(&place, &["reload"]);
    assert!(good, "{text}");
    wait_for_status(&place, "one file", |status| status["totals"]["files"] == 1);
    place.append("a.log", "not wanted\n");
    place.append("b.log", "wanted\n");
    receiver.wait_for_message("wanted");
    assert!(!receiver.messages().contains(&"not wanted".to_owned()));
    assert_eq!(receiver.messages().len(), 5);
}

#[test]
fn complaint_39_a_changed_config_is_seen() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "a.log", "reload: auto");
    place.append("b.log", "other\n");
    let program = start(&place, &config);
    receiver.wait_for_connections(1);
    rewrite(&config, "a.log", "b.log");
    receiver.wait_for_message("other");
    drop(program);
}

#[test]
fn another_server_in_a_new_config_is_gone_to_without_a_line_twice() {
    let place = Place::new();
    let (old, new) = (Receiver::start(), Receiver::start());
    let config = place.config(&old, "a.log", "spool size: 50");
    place.append("a.log", &lines("line", 0..5000));
    let program = start(&place, &config);
    old.wait_for(100);
    rewrite(&config, &old.address.to_string(), &new.address.to_string());
    program.signal(Signal::HUP);
    new.wait_for_connections(1);
    place.append("a.log", &lines("line", 5000..6000));
    new.wait_for_message("line-5999");
    let mut all = old.messages();
    all.extend(new.messages());
    all.sort();
    let mut expected: Vec<_> = (0..6000).map(|number| format!("line-{number}")).collect();
    expected.sort();
    assert_eq!(all, expected);
}

#[test]
fn complaint_18_certificates_are_reloaded() {
    let (place, right) = (Place::new(), Authority::new("right"));
    let own = server_tls(&right.issue(&["127.0.0.1"]), None);
    let receiver = Receiver::start_with(Some(own), Behaviour::Acknowledge, KEEP_ALIVE);
    let ca = place.root.path().join("ca.pem");
    std::fs::write(&ca, Authority::new("old").pem).expect("writes");
    let network = format!(
        "{{servers: [\"{}\"], ssl ca: {}, reconnect delay: 200ms}}",
        receiver.address,
        ca.display()
    );
    let config = place.config_with(&network, "a.log", "");
    place.append("a.log", "one\n");
    let program = start(&place, &config);
    program.wait_for_log("a CA that is not trusted");
    std::fs::write(&ca, "half of a file").expect("writes");
    program.wait_for_log("the old ones are kept");
    std::fs::write(&ca, &right.pem).expect("writes");
    receiver.wait_for(1);
    // A connection with lines in flight is renewed between windows.
    receiver.behave(Behaviour::Slow(Duration::from_secs(1)));
    place.append("a.log", &lines("line", 0..100));
    std::fs::write(&ca, Authority::new("more").pem + &right.pem).expect("writes");
    receiver.wait_for_connections(2);
    place.append("a.log", "last\n");
    receiver.wait_for_message("last");
    assert_each_once(&receiver, &format!("one\n{}last\n", lines("line", 0..100)));
}

#[test]
fn complaint_13_a_server_is_picked_anew_from_time_to_time() {
    let place = Place::new();
    let (one, two) = (Receiver::start(), Receiver::start());
    let network = format!(
        "{{servers: [\"{}\", \"{}\"], tls: off, repick interval: 1s}}",
        one.address, two.address
    );
    let config = place.config_with(&network, "a.log", "spool size: 10");
    let program = start(&place, &config);
    let deadline = Instant::now() + PATIENCE;
    let mut written = 0;
    while one.arrived().is_empty() || two.arrived().is_empty() {
        place.append("a.log", &lines("line", written..written + 5));
        written += 5;
        assert!(Instant::now() < deadline, "one server got nothing");
        std::thread::sleep(Duration::from_millis(50));
    }
    let deadline = Instant::now() + PATIENCE;
    while one.arrived().len() + two.arrived().len() < written {
        assert!(Instant::now() < deadline, "lines are missing");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(program);
    assert_eq!(one.arrived().len() + two.arrived().len(), written);
}

#[test]
fn complaint_17_a_silent_server_does_not_hold_up_the_others() {
    let place = Place::new();
    let silent = Receiver::start_with(None, Behaviour::Hold, KEEP_ALIVE);
    let living = Receiver::start();
    let network = format!(
        "{{servers: [\"{}\", \"{}\"], tls: off, servers mode: loadbalance, timeout: 20s, \
         reconnect delay: 50ms}}",
        silent.address, living.address
    );
    let config = place.config_with(&network, "a.log", "spool size: 100");
    place.append("a.log", &lines("line", 0..10_000));
    let program = start(&place, &config);
    silent.wait_for_unacknowledged(100);
    let on_silent = 200;
    living.wait_for(10_000 - on_silent);
    // The registry waits for the silent one: a crash now would lose nothing.
    let status = status(&place);
    assert!(
        status["totals"]["lag_bytes"].as_u64() > Some(50_000),
        "{status:#}"
    );
    // It dies: the others get what it has.
    silent.behave(Behaviour::Drop);
    drop(silent);
    living.wait_for(10_000);
    wait_for_status(&place, "the registry's progress", |status| {
        status["totals"]["lag_bytes"] == 0
    });
    drop(program);
    assert_each_once(&living, &lines("line", 0..10_000));
}

#[test]
fn all_servers_get_their_share() {
    let place = Place::new();
    let receivers = [Receiver::start(), Receiver::start(), Receiver::start()];
    let servers: Vec<_> = receivers
        .iter()
        .map(|receiver| format!("\"{}\"", receiver.address))
        .collect();
    let network = format!(
        "{{servers: [{}], tls: off, servers mode: loadbalance}}",
        servers.join(", ")
    );
    let config = place.config_with(&network, "a.log", "spool size: 100");
    place.append("a.log", &lines("line", 0..20_000));
    let mut program = start(&place, &config);
    let deadline = Instant::now() + PATIENCE;
    let total = || {
        receivers
            .iter()
            .map(|receiver| receiver.arrived().len())
            .sum::<usize>()
    };
    while total() < 20_000 {
        assert!(Instant::now() < deadline, "only {}", total());
        std::thread::sleep(Duration::from_millis(20));
    }
    program.signal(Signal::TERM);
    assert_eq!(program.wait(), 0, "{}", program.log());
    assert_eq!(total(), 20_000);
    for receiver in &receivers {
        assert!(
            receiver.arrived().len() > 1000,
            "{}",
            receiver.arrived().len()
        );
    }
}
