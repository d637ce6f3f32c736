//! The input `syslog`, with raw sockets, TLS, and what sends syslog in the wild: `logger` of util-linux and rsyslog. Where
//! these are missing their tests say that they are skipped; with `SKIDDER_REQUIRE_ALL=1` that is a failure.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use self::daemon::Daemon;

#[path = "support/daemon.rs"]
mod daemon;

const INPUT: &str = "port => 0 host => '127.0.0.1' timezone => 'UTC'";

/// A daemon with this input and these options.
fn start(options: &str) -> (Daemon, String) {
    let daemon = Daemon::start(&format!("syslog {{ {INPUT} {options} }}"), "");
    let address = daemon.address();
    (daemon, address)
}

/// The events, in the order of their messages.
fn sorted(mut events: Vec<Value>) -> Vec<Value> {
    events.sort_by_key(|event| event["message"].to_string());
    events
}

fn messages(events: &[Value]) -> Vec<&str> {
    let messages = events.iter();
    messages
        .map(|event| event["message"].as_str().unwrap())
        .collect()
}

/// Whether a program is there; says so if not.
fn is_there(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // rsyslogd has no such option, and says so.
    if found.is_ok() {
        return true;
    }
    assert!(
        std::env::var_os("SKIDDER_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "there is no {program}, and SKIDDER_REQUIRE_ALL allows no test to be skipped"
    );
    eprintln!("skipped: there is no {program}");
    false
}

#[test]
fn both_protocols_listen_on_one_port_and_both_framings_are_understood() {
    let (daemon, address) = start("type => 'net' tags => ['t']");
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    for message in [
        "<13>Oct 11 22:14:15 web1 app[7]: a datagram\n",
        "<13>1 2003-10-11T22:14:15.003Z web1 app 7 ID1 [x@1 a=\"b\"] a modern datagram\0",
    ] {
        datagrams.send_to(message.as_bytes(), &address).unwrap();
    }
    let mut stream = TcpStream::connect(&address).unwrap();
    let counted = "<14>1 2003-10-11T22:14:15Z web2 app - - - b counted\nover two lines";
    write!(
        stream,
        "<14>Oct 11 22:14:15 web2 app: b line\r\n{} {counted}",
        counted.len()
    )
    .unwrap();
    // Cut in the middle of a count, and without an end.
    let last = "<15>Oct 11 22:14:15 web2 app: b last";
    let framed = format!("{} {last}", last.len());
    stream.write_all(&framed.as_bytes()[..1]).unwrap();
    stream.flush().unwrap();
    daemon.wait_for_events(4);
    stream.write_all(&framed.as_bytes()[1..]).unwrap();
    stream.write_all(b"nothing of syslog").unwrap();
    drop(stream);
    daemon.wait_for_events(6);
    let events = sorted(daemon.stop());
    assert_eq!(
        messages(&events),
        [
            "a datagram",
            "a modern datagram",
            "b counted\nover two lines",
            "b last",
            "b line",
            "nothing of syslog"
        ]
    );
    let mut modern = events[1].clone();
    modern.as_object_mut().unwrap().remove("@version");
    assert_eq!(
        modern,
        json!({
            "message": "a modern datagram", "@timestamp": "2003-10-11T22:14:15.003Z", "type": "net", "tags": ["t"],
            "host": "127.0.0.1", "timestamp": "2003-10-11T22:14:15.003Z", "logsource": "web1", "program": "app",
            "pid": "7", "msgid": "ID1", "version": "1", "structured_data": {"x@1": {"a": "b"}},
            "priority": 13, "facility": 1, "severity": 5, "facility_label": "user-level", "severity_label": "Notice",
        })
    );
    assert_eq!(events[0]["logsource"], "web1");
    assert_eq!(events[3]["severity_label"], "Debug");
    let tags = json!(["t", "_grokparsefailure_sysloginput"]);
    assert_eq!(
        (&events[5]["tags"], &events[5]["priority"]),
        (&tags, &json!(13))
    );
}

#[test]
fn a_long_message_comes_in_pieces_and_what_follows_is_whole() {
    let (daemon, address) =
        start("max_record_bytes => 1000 protocols => tcp ecs_compatibility => v8");
    let mut stream = TcpStream::connect(&address).unwrap();
    let long = format!("<13>1 - h a - - - {}", "0123456789".repeat(250));
    write!(stream, "{} {long}", long.len()).unwrap();
    stream.write_all(b"<13>1 - h a - - - short\n").unwrap();
    daemon.wait_for_events(4);
    let events = daemon.stop();
    let short = events.iter().find(|event| event["message"] == "short");
    assert_eq!(
        short.unwrap()["host"],
        json!({"hostname": "h", "ip": "127.0.0.1"})
    );
    let bytes: usize = messages(&events).iter().map(|text| text.len()).sum();
    assert_eq!(bytes, 2500 + "short".len());
    // Nothing listens for datagrams.
    assert!(UdpSocket::bind(&address).is_ok());
}

#[test]
fn a_codec_and_a_pattern_of_ones_own() {
    let (daemon, address) = start(
        "syslog_field => 'syslog' codec => cef grok_pattern => '<%{POSINT:priority}>%{TIMESTAMP_ISO8601:timestamp} odd %{GREEDYDATA:rest}'",
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = "CEF:0|v|p|1|c|n|3|src=192.0.2.1 msg=Left out syslog=<134>2018-02-07T12:40:00.000Z odd foo bar host=mine";
    socket.send_to(text.as_bytes(), &address).unwrap();
    daemon.wait_for_events(1);
    let events = daemon.stop();
    let event = &events[0];
    assert_eq!(event["@timestamp"], "2018-02-07T12:40:00.000Z");
    assert_eq!(
        (&event["message"], &event["rest"]),
        (&json!("Left out"), &json!("foo bar"))
    );
    assert_eq!(
        (&event["priority"], &event["facility_label"]),
        (&json!(134), &json!("local0"))
    );
    assert_eq!(event["host"], "127.0.0.1");
}

#[test]
fn the_header_of_a_proxy_says_whose_a_connection_is() {
    let (daemon, address) = start("proxy_protocol => true");
    let mut one = TcpStream::connect(&address).unwrap();
    one.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 514\r\n<13>1 - - - - - - one\n")
        .unwrap();
    let mut two = TcpStream::connect(&address).unwrap();
    let mut header =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x02\x01\x01\x01\x01\0\x01\0\x02".to_vec();
    header.extend_from_slice(b"<13>1 - - - - - - two\n");
    two.write_all(&header).unwrap();
    let mut none = TcpStream::connect(&address).unwrap();
    none.write_all(b"<13>1 - - - - - - none\n").unwrap();
    daemon.wait_for_events(2);
    daemon.wait_for("word of the connection without a header", |daemon| {
        daemon
            .log()
            .contains("does not begin as the PROXY protocol does")
    });
    let events = sorted(daemon.stop());
    assert_eq!(messages(&events), ["one", "two"]);
    assert_eq!(
        (&events[0]["host"], &events[1]["host"]),
        (&json!("192.0.2.1"), &json!("192.0.2.2"))
    );
}

#[test]
fn with_the_disk_queue_messages_are_kept_as_they_came() {
    let directory = tempfile::tempdir().unwrap();
    let input = format!("syslog {{ {INPUT} id => 'net' }} tcp {{ port => 0 host => '127.0.0.1' }}");
    let queue = ["--queue.type", "persisted"];
    // The first one does not deliver anything.
    let slow = "filter { sleep { time => 3600 } }";
    let mut daemon = Daemon::start_in(directory, &input, slow, &queue);
    daemon.wait_for("both inputs", |daemon| {
        daemon.log().matches("address=").count() == 2
    });
    let log = daemon.log();
    let addresses: Vec<&str> = log
        .split("address=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let is_syslog = |address: &&&str| UdpSocket::bind(**address).is_err();
    let syslog = addresses.iter().find(is_syslog).unwrap();
    let tcp = addresses.iter().find(|address| *address != syslog).unwrap();
    let mut stream = TcpStream::connect(syslog).unwrap();
    stream
        .write_all(b"<13>1 2003-10-11T22:14:15Z h a - - - one\n<13>1 - h a - - - two\n")
        .unwrap();
    let mut other = TcpStream::connect(tcp).unwrap();
    other.write_all(b"three\n").unwrap();
    let data = daemon.directory.path().join("data");
    daemon.wait_for("the queue's file", |_| {
        let found = Command::new("grep")
            .args(["-rqa", "three"])
            .arg(&data)
            .status();
        found.unwrap().success()
    });
    daemon.signal(rustix::process::Signal::KILL);
    daemon.child.wait().unwrap();
    // One that is cleaned up when the daemon is dropped is not to be used any more.
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap());
    // Without the tcp input: what it had received is lines all the same.
    let input = format!("syslog {{ {INPUT} id => 'net' }}");
    let daemon = Daemon::start_in(directory, &input, "", &queue);
    daemon.wait_for_events(3);
    let events = sorted(daemon.stop());
    assert_eq!(messages(&events), ["one", "three", "two"]);
    assert!(events.iter().all(|event| event["host"] == "127.0.0.1"));
    assert_eq!(events[0]["@timestamp"], "2003-10-11T22:14:15.000Z");
    assert_eq!(events[2]["logsource"], "h");
}

#[test]
fn tls_carries_counted_messages() {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};

    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("tls");
    let made = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .arg("certificates")
        .arg(&folder)
        .output()
        .unwrap();
    assert!(made.status.success());
    let (certificate, key) = (
        folder.join("aggregator.pem"),
        folder.join("aggregator-key.pem"),
    );
    let input = format!(
        "syslog {{ {INPUT} ssl_enabled => true ssl_certificate => '{}' ssl_key => '{}' }}",
        certificate.display(),
        key.display()
    );
    let daemon = Daemon::start_in(directory, &input, "", &[]);
    let address = daemon.address();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(&address).unwrap();
    let mut tls = rustls::Stream::new(&mut session, &mut stream);
    let text = "<13>1 - h a - - - sealed";
    write!(tls, "{} {text}{} {text}", text.len(), text.len()).unwrap();
    tls.flush().unwrap();
    daemon.wait_for_events(2);
    assert_eq!(messages(&daemon.stop()), ["sealed", "sealed"]);
}

/// What `logger` sends with these arguments.
fn logger(address: &str, arguments: &[&str]) {
    let (host, port) = address.rsplit_once(':').unwrap();
    let sent = Command::new("logger")
        .args([
            "--server", host, "--port", port, "--tag", "deploy", "--id=42",
        ])
        .args(["--priority", "local3.warning"])
        .args(arguments)
        .status()
        .unwrap();
    assert!(sent.success(), "{arguments:?}");
}

#[test]
fn what_logger_sends_is_read() {
    if !is_there("logger") {
        return;
    }
    let (daemon, address) = start("");
    let modern = [
        "--rfc5424",
        "--msgid",
        "M7",
        "--sd-id",
        "shop@1",
        "--sd-param",
        r#"cart="a \"b\"""#,
    ];
    logger(
        &address,
        &[&["--udp"], &modern[..], &["1 udp modern"]].concat(),
    );
    logger(&address, &["--udp", "--rfc3164", "2 udp old"]);
    logger(
        &address,
        &[
            &["--tcp", "--octet-count"],
            &modern[..],
            &["3 tcp modern counted"],
        ]
        .concat(),
    );
    logger(&address, &["--tcp", "--rfc3164", "4 tcp old"]);
    logger(
        &address,
        &["--tcp", "--octet-count", "--rfc3164", "5 tcp old counted"],
    );
    daemon.wait_for_events(5);
    let events = sorted(daemon.stop());
    assert_eq!(
        messages(&events),
        [
            "1 udp modern",
            "2 udp old",
            "3 tcp modern counted",
            "4 tcp old",
            "5 tcp old counted"
        ]
    );
    for event in &events {
        assert_eq!(event.get("tags"), None, "{event}");
        assert_eq!(
            (&event["priority"], &event["facility_label"]),
            (&json!(156), &json!("local3"))
        );
        assert_eq!(
            (&event["program"], &event["pid"]),
            (&json!("deploy"), &json!("42"))
        );
        assert!(
            event["logsource"]
                .as_str()
                .is_some_and(|host| !host.is_empty()),
            "{event}"
        );
    }
    assert_eq!(events[0]["msgid"], "M7");
    assert_eq!(
        events[2]["structured_data"]["shop@1"],
        json!({"cart": "a \"b\""})
    );
    // Its time is that of now, by the clock of this machine.
    let time = events[0]["@timestamp"].as_str().unwrap();
    assert_eq!(events[0]["timestamp"].as_str().unwrap().len(), 32, "{time}");
}

/// A running rsyslogd.
struct Rsyslog(Child);

impl Drop for Rsyslog {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Rsyslog {
    /// Reads a file and forwards its lines in three ways.
    fn start(directory: &Path, address: &str) -> Self {
        let (host, port) = address.rsplit_once(':').unwrap();
        let path = |name: &str| directory.join(name).display().to_string();
        let configuration = format!(
            r#"
global(workDirectory="{work}")
module(load="imfile" PollingInterval="1")
input(type="imfile" File="{log}" Tag="shop:" Facility="local5" Severity="err" Ruleset="out" freshStartTail="off")
ruleset(name="out") {{
  action(type="omfwd" target="{host}" port="{port}" protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format")
  action(type="omfwd" target="{host}" port="{port}" protocol="tcp" TCP_Framing="traditional" template="RSYSLOG_ForwardFormat")
  action(type="omfwd" target="{host}" port="{port}" protocol="udp" template="RSYSLOG_TraditionalForwardFormat")
}}
"#,
            work = directory.display(),
            log = path("app.log"),
        );
        std::fs::write(directory.join("rsyslog.conf"), configuration).unwrap();
        let child = Command::new("rsyslogd")
            .args([
                "-n",
                "-f",
                &path("rsyslog.conf"),
                "-i",
                &path("rsyslog.pid"),
            ])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("rsyslog.err")).unwrap())
            .spawn()
            .unwrap();
        Self(child)
    }
}

#[test]
fn what_rsyslog_forwards_is_read() {
    if !is_there("rsyslogd") {
        return;
    }
    let (daemon, address) = start("");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("app.log"),
        "one\ntwo with \"quotes\"\n",
    )
    .unwrap();
    let _rsyslog = Rsyslog::start(directory.path(), &address);
    let said = || std::fs::read_to_string(directory.path().join("rsyslog.err")).unwrap();
    daemon.wait_for("what rsyslog forwards", |daemon| {
        let _shown = said();
        daemon.events().len() >= 6
    });
    let events = sorted(daemon.stop());
    let words = |event: &Value| event["message"].as_str().unwrap().trim().to_owned();
    let texts: Vec<String> = events.iter().map(words).collect();
    assert_eq!(texts[..3], ["one", "one", "one"]);
    assert_eq!(
        texts[3..],
        [
            "two with \"quotes\"",
            "two with \"quotes\"",
            "two with \"quotes\""
        ]
    );
    for event in &events {
        assert_eq!(event.get("tags"), None, "{event}");
        // local5.err
        assert_eq!(
            (&event["priority"], &event["program"]),
            (&json!(171), &json!("shop"))
        );
    }
    let modern = events
        .iter()
        .filter(|event| event["version"] == "1")
        .count();
    assert_eq!(modern, 2);
}
