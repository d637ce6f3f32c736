//! `doctor`: the real program against real servers, files and registries that are right or wrong.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::Value;

use super::discovery::{self, NameServer, Says, record};
use super::proxies::{Manner, Proxy};
use super::support::{
    Authority, Behaviour, Issued, Place, Receiver, native_tls, self_signed_ca, server_tls,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_skidder-forwarder");

/// Exit code and report.
fn examine(config: &Path, more: &[&str]) -> (i32, Value) {
    let output = Command::new(PROGRAM)
        .args(["doctor", "--json", "--config"])
        .arg(config)
        .args(more)
        .output()
        .expect("runs");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap_or(-1), report)
}

fn text(config: &Path) -> String {
    let output = Command::new(PROGRAM)
        .args(["doctor", "--config"])
        .arg(config)
        .output();
    String::from_utf8(output.expect("runs").stdout).expect("text")
}

fn receiver(tls: std::sync::Arc<rustls::ServerConfig>) -> Receiver {
    Receiver::start_with(Some(tls), Behaviour::Acknowledge, Duration::from_secs(3))
}

fn write(place: &Place, name: &str, text: &str) -> String {
    let path = place.root.path().join(name);
    std::fs::write(&path, text).expect("writes");
    path.display().to_string()
}

/// The first thing that is wrong at the first address of the first server.
fn trouble(report: &Value) -> String {
    let message = &report["servers"][0]["addresses"][0]["findings"][0]["message"];
    message.as_str().unwrap_or_default().to_owned()
}

#[test]
fn all_is_well() {
    let (place, authority) = (Place::new(), Authority::new("the one"));
    let receiver = receiver(native_tls(&authority.issue(&["127.0.0.1", "logs"])));
    let ca = write(&place, "ca", &authority.pem);
    let network = format!("{{servers: [\"{}\"], ssl ca: {ca}}}", receiver.address);
    let config = place.config_with(&network, "*.log", "");
    place.append("a.log", "line\n");
    place.append("b.log", "line\n");
    let (code, report) = examine(&config, &[]);
    assert_eq!((code, &report["good"]), (0, &Value::Bool(true)), "{report}");
    let path = &report["paths"][0];
    assert_eq!((&path["files"], &path["readable"]), (&2.into(), &2.into()));
    assert!(report["data"]["known_files"].is_null(), "{report}");
    let tls = &report["servers"][0]["addresses"][0]["tls"];
    assert_eq!(tls["version"], "TLS 1.3");
    assert_eq!(tls["protocol"], "the native framing");
    assert_eq!(tls["wants_certificate"], false);
    let own = &tls["chain"][0];
    assert_eq!(own["subject"], "CN=localhost");
    assert_eq!(own["names"][1], "logs");
    assert!(own["days_left"].as_i64().expect("a number") > 365, "{own}");
    let text = text(&config);
    for part in [
        "all is well",
        "CN=localhost",
        "2 files, 2 can be read",
        "the native framing",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    // Nothing was read, sent or written.
    assert_eq!(receiver.total(), 0);
    assert!(std::fs::metadata(place.root.path().join("data")).is_err());
}

/// The name is known to the proxy alone.
#[test]
fn servers_are_looked_at_through_the_proxy() {
    let (place, authority) = (Place::new(), Authority::new("the one"));
    let receiver = receiver(native_tls(&authority.issue(&["logs.invalid"])));
    let ca = write(&place, "ca", &authority.pem);
    let proxy = Proxy::start("http", Manner::Open, &[("logs.invalid", receiver.address)]);
    let port = receiver.address.port();
    let through = |proxy: SocketAddr| {
        let network = format!(
            "{{servers: [\"logs.invalid:{port}\"], proxy: \"http://{proxy}\", ssl ca: {ca}}}"
        );
        examine(&place.config_with(&network, "*.log", ""), &[])
    };
    let (code, report) = through(proxy.address);
    assert_eq!(code, 0, "{report}");
    let found = &report["servers"][0]["addresses"][0];
    assert_eq!(found["address"], proxy.address.to_string());
    assert_eq!(found["tls"]["chain"][0]["names"][0], "logs.invalid");
    // One that is not there is what is wrong, not the server.
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let (code, report) = through(address);
    assert_eq!(code, 1, "{report}");
    let said = trouble(&report);
    assert!(said.contains("is the proxy running"), "{said}");
}

#[test]
fn servers_of_srv_records_are_looked_at() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let name_server = NameServer::start(Says::Records(vec![record(0, 0, &receiver)]), 60);
    let network = discovery::network(&name_server, "");
    let config = place.config_with(&network, "*.log", "");
    let (code, report) = examine(&config, &[]);
    assert_eq!(code, 0, "{report}");
    let server = format!("localhost:{}", receiver.address.port());
    assert_eq!(report["servers"][0]["server"], server, "{report}");
    name_server.say(Says::Code(3));
    let (code, report) = examine(&config, &[]);
    assert_eq!(code, 1, "{report}");
    let said = report["servers"][0]["findings"][0]["message"].to_string();
    assert!(said.contains("cannot resolve srv+_beats"), "{said}");
}

#[test]
fn what_is_wrong_with_a_server_is_said() {
    let (place, authority) = (Place::new(), Authority::new("the one"));
    let other = Authority::new("another");
    let namesake = Authority::new("the one");
    let ca = write(&place, "ca", &authority.pem);
    let aged = |from, until| {
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("valid");
        (parameters.not_before, parameters.not_after) = (from, until);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("signed").pem();
        Issued {
            certificate,
            key: key.serialize_pem(),
        }
    };
    let old = aged(date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let early = aged(date_time_ymd(2100, 1, 1), date_time_ymd(2102, 1, 1));
    let (old_ca, early_ca) = (
        write(&place, "old", &old.certificate),
        write(&place, "early", &early.certificate),
    );
    for (own, ca, expected) in [
        (authority.issue(&["elsewhere"]), &ca, "for another name"),
        (other.issue(&["127.0.0.1"]), &ca, "issued by `CN=another"),
        (
            namesake.issue(&["127.0.0.1"]),
            &ca,
            "it has another key, or was renewed",
        ),
        (old, &old_ca, "has expired"),
        (early, &early_ca, "not valid yet"),
    ] {
        let receiver = receiver(server_tls(&own, None));
        let network = format!("{{servers: [\"{}\"], ssl ca: {ca}}}", receiver.address);
        let config = place.config_with(&network, "*.log", "");
        let (code, report) = examine(&config, &[]);
        assert_eq!(code, 1, "{expected}: {report}");
        assert!(
            trouble(&report).contains(expected),
            "no {expected} in {report}"
        );
        // What the server showed is told all the same.
        let tls = &report["servers"][0]["addresses"][0]["tls"];
        assert_eq!(tls["complete"], false);
        assert!(tls["chain"][0]["sha256"].is_string(), "{report}");
        if expected == "not valid yet" {
            let clock = report["findings"][0]["message"].as_str().expect("text");
            assert!(clock.contains("set the clock right"), "{report}");
        }
    }
}

#[test]
fn a_client_certificate_that_is_demanded() {
    let (place, authority) = (Place::new(), Authority::new("the one"));
    let own = authority.issue(&["127.0.0.1"]);
    let receiver = receiver(server_tls(&own, Some(&authority)));
    let ca = write(&place, "ca", &authority.pem);
    let network = format!("servers: [\"{}\"], ssl ca: {ca}", receiver.address);
    let report = |network: &str| {
        let config = place.config_with(&format!("{{{network}}}"), "*.log", "");
        let (code, report) = examine(&config, &[]);
        let tls = &report["servers"][0]["addresses"][0]["tls"];
        assert_eq!(tls["wants_certificate"], true, "{report}");
        let accepted = tls["accepted_authorities"][0].as_str().unwrap_or_default();
        assert!(accepted.contains("CN=the one"), "{report}");
        (code, report)
    };
    let (code, without) = report(&network);
    assert_eq!(code, 1, "{without}");
    assert!(
        trouble(&without).contains("set `ssl certificate`"),
        "{without}"
    );
    let with = |name: &str, issued: &Issued| {
        let certificate = write(&place, &format!("{name}.crt"), &issued.certificate);
        let key = write(&place, &format!("{name}.key"), &issued.key);
        report(&format!(
            "{network}, ssl certificate: {certificate}, ssl key: {key}"
        ))
    };
    let (code, right) = with("right", &authority.issue(&["client"]));
    assert_eq!(code, 0, "{right}");
    assert_eq!(right["own_chain"][0]["names"][0], "client");
    let (code, wrong) = with("wrong", &self_signed_ca(&["client"]));
    assert_eq!(code, 1, "{wrong}");
    assert!(
        trouble(&wrong).contains("refused our client certificate"),
        "{wrong}"
    );
}

#[test]
fn servers_that_do_not_answer_are_told_in_time() {
    let place = Place::new();
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("an address");
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed_address = closed.local_addr().expect("an address");
    drop(closed);
    let network = format!(
        "{{servers: [\"{silent}\", \"{closed_address}\", \"no.such.host.invalid:1\"], timeout: 500ms, ssl ca: {}}}",
        write(&place, "ca", &Authority::new("one").pem)
    );
    let config = place.config_with(&network, "*.log", "");
    let (code, report) = examine(&config, &[]);
    assert_eq!(code, 1);
    let all = report.to_string();
    for expected in [
        "no answer to the TLS handshake",
        "cannot connect",
        "cannot resolve",
    ] {
        assert!(all.contains(expected), "no {expected} in {report}");
    }
    let network = network.replace("500ms", "1h");
    let config = place.config_with(&network, "*.log", "");
    let began = Instant::now();
    let (code, report) = examine(&config, &["--timeout", "300ms"]);
    assert_eq!(code, 1);
    assert!(
        report
            .to_string()
            .contains("were not done with after 300ms"),
        "{report}"
    );
    assert!(began.elapsed() < super::support::PATIENCE);
    let (code, _) = exit(&["doctor", "--config", "/nowhere/f.yml"]);
    assert_eq!(code, 78);
}

fn exit(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .output()
        .expect("runs");
    let errors = String::from_utf8(output.stderr).expect("text");
    (output.status.code().unwrap_or(-1), errors)
}

#[test]
fn what_is_wrong_on_this_machine_is_said() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let config = place.config(&receiver, "*.log", "");
    let path = config.to_str().expect("text");
    let (code, report) = examine(&config, &[]);
    assert_eq!(code, 0, "{report}");
    assert!(
        report.to_string().contains("no file matches now"),
        "{report}"
    );
    let data = place.root.path().join("data");
    std::fs::create_dir(&data).expect("creates");
    std::fs::write(data.join("registry"), "junk").expect("writes");
    let (code, report) = examine(&config, &[]);
    assert_eq!(code, 1, "{report}");
    let finding = report["data"]["findings"].to_string();
    assert!(finding.contains("state repair"), "{report}");
    std::fs::remove_file(data.join("registry")).expect("removes");
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // As nobody, who may not look into the one directory, nor read the other file.
    place.append("secret.log", "line\n");
    let mode = |path: &Path, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("sets");
    };
    mode(place.root.path(), 0o755);
    mode(&place.log("secret.log"), 0o600);
    let program = place.root.path().join("skidder-forwarder");
    std::fs::copy(PROGRAM, &program).expect("copies");
    let as_nobody = || {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(["doctor", "--config", path])
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let told = as_nobody();
    for part in [
        "1 files, 0 can be read",
        "secret.log (owner root, group root, mode 0600)",
        "CAP_DAC_READ_SEARCH",
        "the registry cannot be written",
        "(chown nobody ",
    ] {
        assert!(told.contains(part), "no {part} in\n{told}");
    }
    mode(&place.root.path().join("logs"), 0o700);
    let told = as_nobody();
    let directory = format!("the directory {}", place.root.path().join("logs").display());
    assert!(told.contains(&directory), "no {directory} in\n{told}");
    // Not even the name of a file that is named can be looked up.
    let text = std::fs::read_to_string(&config).expect("reads");
    std::fs::write(&config, text.replace("*.log", "secret.log")).expect("writes");
    let told = as_nobody();
    assert!(told.contains(&directory), "no {directory} in\n{told}");
}

fn feeds(report: &Value) -> Vec<String> {
    let feeds = report["feeds"].as_array().expect("a list");
    let words = feeds.iter().map(|feed| {
        let findings = feed["findings"].as_array().expect("a list");
        let findings = findings
            .iter()
            .map(|finding| format!("{} {}", finding["level"], finding["message"]));
        let findings: Vec<_> = findings.collect();
        format!("{}: {}", feed["name"], findings.join("; "))
    });
    words.collect()
}

#[test]
fn journals_and_sockets_are_tried() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let root = place.root.path();
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let journalctl = |script: &str| {
        let path = write(&place, "journalctl", &format!("#!/bin/sh\n{script}\n"));
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("sets");
        path
    };
    let path = journalctl("echo '__CURSOR=s=1;i=1'");
    let root = root.display();
    let more = format!(
        "journal: [{{journalctl: {path}}}]\nsyslog: [{{listen: \"tcp:{}\"}}, {{listen: \"udp:127.0.0.1:0\"}}, \
         {{listen: \"unix:{root}/missing/log\"}}, {{listen: \"unix:{root}/log\"}}, \
         {{listen: \"tcp:192.0.2.1:5514\", allow remote: on}}]",
        taken.local_addr().expect("has one"),
    );
    let config = place.config(&receiver, "*.log", &more);
    let (code, report) = examine(&config, &[]);
    assert_eq!(code, 1, "{report}");
    let found = feeds(&report);
    let expected = [
        "shows entries",
        "somebody listens there already",
        "syslog udp:127.0.0.1:0\": ",
        "there is no directory",
        "/log\": ",
        "this machine has no address 192.0.2.1",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found} instead of {expected}");
    }
    assert!(found[4].ends_with(": "), "{found:?}");
    let listed = text(&config);
    assert!(listed.contains("journal system\n  note"), "{listed}");

    for (script, expected) in [
        ("exit 0", "shows no entry"),
        (
            "echo no rights >&2; exit 3",
            "ends with exit status: 3: no rights",
        ),
        (
            "echo '__CURSOR=s=1'; echo not all >&2",
            "shows entries, and says: not all",
        ),
    ] {
        journalctl(script);
        let found = feeds(&examine(&config, &[]).1);
        assert!(found[0].contains(expected), "{found:?}");
    }
}
