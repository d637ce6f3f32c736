//! The inputs `tcp` and `udp`, with real sockets and real TLS.

#![expect(clippy::unwrap_used, reason = "a test says more by failing")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::daemon::{Daemon, PATIENCE};

#[path = "support/daemon.rs"]
mod daemon;

fn messages(events: &[Value]) -> Vec<&str> {
    let messages = events
        .iter()
        .map(|event| event["message"].as_str().unwrap());
    messages.collect()
}

#[test]
fn lines_of_many_connections_arrive_each_with_its_peer() {
    let daemon = Daemon::start("tcp { port => 0 host => '127.0.0.1' type => 'app' }", "");
    let address = daemon.address();
    let mut ports = Vec::new();
    for connection in 0..20 {
        let mut stream = TcpStream::connect(&address).unwrap();
        ports.push(stream.local_addr().unwrap().port());
        // In two pieces, and without a newline at the end.
        let text = format!("{connection} one\n{connection} two\n{connection} three");
        let (head, tail) = text.split_at(5);
        stream.write_all(head.as_bytes()).unwrap();
        stream.flush().unwrap();
        stream.write_all(tail.as_bytes()).unwrap();
    }
    daemon.wait_for_events(60);
    let events = daemon.stop();
    assert_eq!(events.len(), 60);
    for (connection, port) in ports.iter().enumerate() {
        let of_it: Vec<&Value> = events
            .iter()
            .filter(|event| event["port"] == *port)
            .collect();
        let mut said: Vec<&str> = of_it
            .iter()
            .map(|event| event["message"].as_str().unwrap())
            .collect();
        said.sort_unstable();
        let expected = ["one", "three", "two"].map(|word| format!("{connection} {word}"));
        assert_eq!(said, expected);
        assert!(
            of_it
                .iter()
                .all(|event| event["host"] == "127.0.0.1" && event["type"] == "app")
        );
    }
}

#[test]
fn json_is_read_line_by_line_and_keeps_its_own_host() {
    let daemon = Daemon::start(
        "tcp { port => 0 host => '127.0.0.1' codec => json ecs_compatibility => 'v8' }",
        "filter { mutate { add_field => { 'from' => '%{[@metadata][input][tcp][source][ip]}' } } }",
    );
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    stream
        .write_all(
            b"{\"message\":\"a\",\"host\":{\"name\":\"web1\"}}\n{\"message\":\"b\"}\nnot json\n",
        )
        .unwrap();
    daemon.wait_for_events(3);
    let events = daemon.stop();
    assert_eq!(messages(&events), ["a", "b", "not json"]);
    assert_eq!(events[0]["host"]["name"], "web1");
    assert_eq!(events[1]["from"], "127.0.0.1");
    assert_eq!(events[2]["tags"][0], "_jsonparsefailure");
}

#[test]
fn lines_that_belong_together_are_joined_for_each_connection() {
    let daemon = Daemon::start(
        "tcp { port => 0 host => '127.0.0.1' codec => multiline { pattern => '^\\s' what => previous auto_flush_interval => 0.2 } }",
        "",
    );
    let address = daemon.address();
    let mut one = TcpStream::connect(&address).unwrap();
    let mut other = TcpStream::connect(&address).unwrap();
    one.write_all(b"one\n a\n").unwrap();
    other.write_all(b"other\n b\nnext\n").unwrap();
    one.write_all(b" c\n").unwrap();
    // Nothing follows, and both stay open.
    daemon.wait_for_events(3);
    let events = daemon.stop();
    let mut got = messages(&events);
    got.sort_unstable();
    assert_eq!(got, ["next", "one\n a\n c", "other\n b"]);
}

#[test]
fn a_record_over_the_limit_comes_in_pieces_and_loses_nothing() {
    let daemon = Daemon::start(
        "tcp { port => 0 host => '127.0.0.1' max_record_bytes => 20000 }",
        "",
    );
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    let long: String = ('a'..='z').cycle().take(200_000).collect();
    stream.write_all(long.as_bytes()).unwrap();
    stream.write_all(b"\nshort\n").unwrap();
    daemon.wait_for("the last line", |daemon| {
        daemon
            .events()
            .iter()
            .any(|event| event["message"].as_str().unwrap().ends_with("short"))
    });
    let events = daemon.stop();
    assert!(events.len() > 2, "{}", events.len());
    assert!(
        messages(&events)
            .iter()
            .all(|message| message.len() <= 20_000 + (16 << 10))
    );
    // Workers may pass each other.
    let bytes: usize = messages(&events).iter().map(|message| message.len()).sum();
    assert_eq!(bytes, long.len() + "short".len());
}

#[test]
fn idle_connections_are_closed_and_those_too_many_wait() {
    let daemon = Daemon::start(
        "tcp { port => 0 host => '127.0.0.1' max_connections => 1 client_inactivity_timeout => 0.5 }",
        "",
    );
    let address = daemon.address();
    let mut first = TcpStream::connect(&address).unwrap();
    first.write_all(b"first\n").unwrap();
    daemon.wait_for_events(1);
    // In the kernel until the first one is closed for saying nothing more.
    let mut second = TcpStream::connect(&address).unwrap();
    second.write_all(b"second\n").unwrap();
    daemon.wait_for_events(2);
    assert_eq!(first.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(messages(&daemon.stop()), ["first", "second"]);
}

#[test]
fn a_client_connects_again_and_again() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let daemon = Daemon::start(
        &format!(
            "tcp {{ mode => 'client' host => '127.0.0.1' port => {port} tcp_keep_alive => true }}"
        ),
        "",
    );
    for round in 0..3 {
        let (mut stream, _) = server.accept().unwrap();
        writeln!(stream, "round {round}").unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    daemon.wait_for_events(3);
    let mut events = daemon.stop();
    events.sort_by_key(|event| event["message"].to_string());
    assert_eq!(messages(&events), ["round 0", "round 1", "round 2"]);
    assert!(events.iter().all(|event| event["port"] == port));
}

/// Makes certificates with the program's own command.
fn certificates(directory: &Path) {
    let made = Command::new(env!("CARGO_BIN_EXE_skidder-aggregator"))
        .arg("certificates")
        .arg(directory)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

/// A client's side of TLS that trusts these certificates, and asks for these protocols.
fn session(folder: &Path, protocols: &[&[u8]]) -> rustls::ClientConnection {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};

    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    rustls::ClientConnection::new(Arc::new(config), name).unwrap()
}

#[test]
fn who_asks_for_other_protocols_is_served_as_one_that_asks_for_none() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("tls");
    certificates(&folder);
    let input = format!(
        "beats {{ port => 0 host => '127.0.0.1' ssl_enabled => true ssl_certificate => '{}' ssl_key => '{}' }}",
        folder.join("aggregator.pem").display(),
        folder.join("aggregator-key.pem").display()
    );
    let daemon = Daemon::start_in(directory, &input, "", &[]);
    let address = daemon.address();
    let cases: [(&[&[u8]], _); 4] = [
        (&[b"h2"], None),
        (&[b"http/1.1", b"lumberjack"], None),
        (&[], None),
        (&[b"h2", b"skidder/1"], Some(&b"skidder/1"[..])),
    ];
    for (protocols, chosen) in cases {
        let mut session = session(&folder, protocols);
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        let event = br#"{"message":"one"}"#;
        tls.write_all(b"2W\0\0\0\x012J\0\0\0\x01\0\0\0").unwrap();
        tls.write_all(&[event.len() as u8]).unwrap();
        tls.write_all(event).unwrap();
        tls.flush().unwrap();
        let mut answer = [0; 6];
        tls.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"2A\0\0\0\x01", "{protocols:?}");
        assert_eq!(session.alpn_protocol(), chosen, "{protocols:?}");
    }
    daemon.wait_for_events(4);
    assert_eq!(messages(&daemon.stop()), ["one"; 4]);
}

#[test]
fn tls_is_spoken_and_who_does_not_speak_it_is_told_of_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("tls");
    certificates(&folder);
    let (certificate, key) = (
        folder.join("aggregator.pem"),
        folder.join("aggregator-key.pem"),
    );
    let input = format!(
        "tcp {{ port => 0 host => '127.0.0.1' ssl_enabled => true ssl_certificate => '{}' ssl_key => '{}' }}",
        certificate.display(),
        key.display()
    );
    let daemon = Daemon::start_in(directory, &input, "", &[]);
    let address = daemon.address();
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.write_all(b"in the clear\n").unwrap();
    daemon.wait_for("word of the failed handshake", |daemon| {
        daemon.log().contains("the peer does not use TLS")
    });
    let mut session = session(&folder, &[]);
    let mut stream = TcpStream::connect(&address).unwrap();
    let mut tls = rustls::Stream::new(&mut session, &mut stream);
    tls.write_all(b"under the seal\n").unwrap();
    tls.flush().unwrap();
    daemon.wait_for_events(1);
    assert_eq!(messages(&daemon.stop()), ["under the seal"]);
}

#[test]
fn a_client_speaks_tls_with_whom_it_trusts() {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let directory = tempfile::tempdir().unwrap();
    let (folder, other) = (directory.path().join("tls"), directory.path().join("other"));
    certificates(&folder);
    certificates(&other);
    let chain = CertificateDer::pem_file_iter(folder.join("aggregator.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("aggregator-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let config = Arc::new(config);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let input = |ca: &Path| {
        format!(
            "tcp {{ mode => 'client' host => 'localhost' port => {port} ssl_enabled => true ssl_certificate_authorities => '{}' }}",
            ca.join("ca.pem").display()
        )
    };
    // Serves one connection; whether its handshake succeeds is the client's to say.
    let serve = || {
        let (mut stream, _) = server.accept().unwrap();
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        let _refused = tls.write_all(b"under the seal\n");
        let _refused = tls.flush();
        session.send_close_notify();
        let _refused = session.complete_io(&mut stream);
    };
    let stranger = Daemon::start_in(tempfile::tempdir().unwrap(), &input(&other), "", &[]);
    serve();
    stranger.wait_for("word of the stranger", |daemon| {
        daemon.log().contains("ssl_certificate_authorities")
    });
    drop(stranger);
    let daemon = Daemon::start_in(tempfile::tempdir().unwrap(), &input(&folder), "", &[]);
    // What the first one had begun in the meantime is of no use to anyone.
    while daemon.events().is_empty() {
        serve();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(messages(&daemon.stop())[0], "under the seal");
}

#[test]
fn a_proxy_in_front_of_tcp_says_whose_a_connection_is() {
    let daemon = Daemon::start(
        "tcp { port => 0 host => '127.0.0.1' proxy_protocol => true }",
        "",
    );
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    stream
        .write_all(b"PROXY TCP6 2001:db8::7 ::1 40000 5000\r\none\ntwo\n")
        .unwrap();
    daemon.wait_for_events(2);
    let events = daemon.stop();
    assert!(
        events
            .iter()
            .all(|event| event["host"] == "2001:db8::7" && event["port"] == 40000),
        "{events:?}"
    );
}

#[test]
fn a_proxy_in_front_of_beats_says_whose_a_connection_is() {
    let input = "beats { port => 0 host => '127.0.0.1' proxy_protocol => true \
                 add_field => { 'by' => '%{[@metadata][ip_address]}' } }";
    let daemon = Daemon::start(input, "");
    // The balancer looks whether anybody is there.
    drop(TcpStream::connect(daemon.address()).unwrap());
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    let event = br#"{"message":"one"}"#;
    let window = [
        &b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 5044\r\n2W\0\0\0\x012J\0\0\0\x01\0\0\0"[..],
        &[event.len() as u8],
        event,
    ];
    stream.write_all(&window.concat()).unwrap();
    daemon.wait_for_events(1);
    let events = daemon.stop();
    assert_eq!(events[0]["message"], "one");
    assert_eq!(events[0]["by"], "192.0.2.7");
}

#[test]
fn what_came_before_the_end_is_taken_with_a_disk_queue_too() {
    let directory = tempfile::tempdir().unwrap();
    let input = "tcp { port => 0 host => '127.0.0.1' add_field => { 'by' => '%{[@metadata][ip_address]}' } }";
    let daemon = Daemon::start_in(
        directory,
        input,
        "",
        &["--queue.type", "persisted", "--queue.drain"],
    );
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    let lines: Vec<String> = (0..5000).map(|number| format!("line {number}")).collect();
    stream
        .write_all((lines.join("\n") + "\nlast").as_bytes())
        .unwrap();
    daemon.wait_for_events(1);
    // The last line has no end, and the connection stays open.
    let events = daemon.stop();
    let mut got: Vec<&str> = messages(&events);
    got.sort_unstable();
    let mut expected: Vec<&str> = lines.iter().map(String::as_str).collect();
    expected.push("last");
    expected.sort_unstable();
    assert!(got == expected, "{} of {}", got.len(), expected.len());
    assert!(events.iter().all(|event| event["by"] == "127.0.0.1"));
}

#[test]
fn datagrams_arrive_and_those_there_is_no_room_for_are_counted() {
    let daemon = Daemon::start(
        "udp { port => 0 host => '127.0.0.1' buffer_size => 100 queue_size => 5 receive_buffer_bytes => 8000000 }",
        "filter { if [message] == 'stop' { sleep { time => 2 } } }",
    );
    let address = daemon.address();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"one\ntwo", &address).unwrap();
    socket.send_to(&[b'x'; 150], &address).unwrap();
    daemon.wait_for_events(3);
    let events = daemon.events();
    let mut got = messages(&events);
    got.sort_unstable();
    let cut = "x".repeat(100);
    assert_eq!(got, ["one", "two", &cut]);
    assert!(events.iter().all(|event| event["host"] == "127.0.0.1"));
    // Both workers sleep, and what comes then finds no room sooner or later.
    let started = Instant::now();
    while !daemon.log().contains("datagrams are lost") {
        assert!(started.elapsed() < PATIENCE, "{}", daemon.log());
        for _ in 0..50 {
            socket.send_to(b"stop", &address).unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let log = daemon.log();
    assert!(
        log.contains("queue_size=5") && log.contains("cut=1"),
        "{log}"
    );
    daemon.signal(rustix::process::Signal::KILL);
}
