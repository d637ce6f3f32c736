//! The link against receivers good and bad: TLS in every wrong way, servers that die, wait, or
//! answer half.

use std::path::PathBuf;
use std::time::Duration;

use skidder_lumberjack::Version;

use super::support::{
    Authority, Behaviour, Issued, Place, Program, Receiver, Running, assert_each_once, lines,
    self_signed_ca, server_tls,
};

const KEEP_ALIVE: Duration = Duration::from_secs(3);

fn write(place: &Place, name: &str, text: &str) -> PathBuf {
    let path = place.root.path().join(name);
    std::fs::write(&path, text).expect("writes");
    path
}

fn tls_receiver(own: &Issued, clients: Option<&Authority>) -> Receiver {
    Receiver::start_with(
        Some(server_tls(own, clients)),
        Behaviour::Acknowledge,
        KEEP_ALIVE,
    )
}

/// `network` with TLS: the CA file, and the client's certificate if there is one.
fn network(place: &Place, server: &str, ca: &str, own: Option<&Issued>) -> String {
    let ca = write(place, "ca.pem", ca);
    let mut text = format!("{{servers: [\"{server}\"], ssl ca: {}", ca.display());
    if let Some(own) = own {
        let certificate = write(place, "own.pem", &own.certificate);
        let key = write(place, "own.key", &own.key);
        let (certificate, key) = (certificate.display(), key.display());
        text.extend([
            ", ssl certificate: ",
            &certificate.to_string(),
            ", ssl key: ",
            &key.to_string(),
        ]);
    }
    text + ", timeout: 20s, reconnect delay: 200ms}"
}

/// Runs the program until its log has all the texts; nothing may have arrived.
fn assert_refused(receiver: &Receiver, network: &str, place: &Place, texts: &[&str]) {
    place.append("app.log", &lines("secret", 0..10));
    let config = place.config_with(network, "app.log", "");
    let mut program = Program::start(
        &["run", "--config", config.to_str().expect("text")],
        place.root.path(),
    );
    for text in texts {
        program.wait_for_log(text);
    }
    program.signal(rustix::process::Signal::TERM);
    // What cannot be delivered is not waited for beyond the time for it.
    program.signal(rustix::process::Signal::TERM);
    program.wait();
    assert_eq!(
        receiver.total(),
        0,
        "something was sent; log:\n{}",
        program.log()
    );
}

#[test]
fn mutual_tls_with_a_bundle_of_authorities() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let receiver = tls_receiver(&authority.issue(&["127.0.0.1"]), Some(&authority));
    // The right one is the second of the file.
    let bundle = Authority::new("other").pem + &authority.pem;
    let own = authority.issue(&["client"]);
    let network = network(&place, &receiver.address.to_string(), &bundle, Some(&own));
    let config = place.config_with(&network, "app.log", "");
    place.append("app.log", &lines("line", 0..5000));
    let running = Running::start(&config);
    receiver.wait_for(5000);
    assert_eq!(running.stop().events_left, 0);
    assert_each_once(&receiver, &lines("line", 0..5000));
    let first = &receiver.arrived()[0];
    assert_eq!(first.version, Version::V2);
    assert_eq!(first.fields["type"], "test");
    assert!(first.fields.contains_key("host") && first.fields["@timestamp"].ends_with('Z'));
}

#[test]
fn a_certificate_for_another_name() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let receiver = tls_receiver(&authority.issue(&["logs.example.com", "10.1.2.3"]), None);
    let server = receiver.address.to_string();
    let network = network(&place, &server, &authority.pem, None);
    let texts = [
        server.as_str(),
        "expected `127.0.0.1`",
        "it has `logs.example.com`, `10.1.2.3`",
        "tls server name",
    ];
    assert_refused(&receiver, &network, &place, &texts);
}

#[test]
fn another_name_can_be_expected() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let receiver = tls_receiver(&authority.issue(&["logs.example.com"]), None);
    let network = network(&place, &receiver.address.to_string(), &authority.pem, None)
        .replace("timeout", "tls server name: logs.example.com, timeout");
    let config = place.config_with(&network, "app.log", "");
    place.append("app.log", "line\n");
    let running = Running::start(&config);
    receiver.wait_for(1);
    running.stop();
}

#[test]
fn an_unknown_authority() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let receiver = tls_receiver(&authority.issue(&["127.0.0.1"]), None);
    let server = receiver.address.to_string();
    let network = network(&place, &server, &Authority::new("other").pem, None);
    let texts = [server.as_str(), "a CA that is not trusted", "`ssl ca`"];
    assert_refused(&receiver, &network, &place, &texts);
}

#[test]
fn a_missing_client_certificate() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let receiver = tls_receiver(&authority.issue(&["127.0.0.1"]), Some(&authority));
    let server = receiver.address.to_string();
    let network = network(&place, &server, &authority.pem, None);
    let texts = [
        server.as_str(),
        "demands a client certificate",
        "`ssl certificate` and `ssl key`",
    ];
    assert_refused(&receiver, &network, &place, &texts);
}

#[test]
fn a_client_certificate_of_an_unknown_authority() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let receiver = tls_receiver(&authority.issue(&["127.0.0.1"]), Some(&authority));
    let server = receiver.address.to_string();
    let own = Authority::new("other").issue(&["client"]);
    let network = network(&place, &server, &authority.pem, Some(&own));
    let texts = [server.as_str(), "refused our client certificate"];
    assert_refused(&receiver, &network, &place, &texts);
}

#[test]
fn a_certificate_with_a_common_name_only() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let receiver = tls_receiver(&authority.issue(&[]), None);
    let server = receiver.address.to_string();
    let network = network(&place, &server, &authority.pem, None);
    let texts = [
        server.as_str(),
        "common name (CN) does not count",
        "subjectAltName",
    ];
    assert_refused(&receiver, &network, &place, &texts);
}

#[test]
fn a_server_without_tls() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let server = receiver.address.to_string();
    let network = network(&place, &server, &Authority::new("any").pem, None);
    let texts = [server.as_str(), "TLS"];
    assert_refused(&receiver, &network, &place, &texts);
}

#[test]
fn a_server_with_tls_where_it_is_off() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let receiver = tls_receiver(&authority.issue(&["127.0.0.1"]), None);
    let network = format!(
        "{{servers: [\"{}\"], tls: off, reconnect delay: 200ms}}",
        receiver.address
    );
    assert_refused(
        &receiver,
        &network,
        &place,
        &["answers with TLS", "set `tls: on`"],
    );
}

#[test]
fn nobody_there() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = free.local_addr().expect("an address").to_string();
    drop(free);
    let network = format!("{{servers: [\"{server}\"], tls: off, reconnect delay: 200ms}}");
    assert_refused(
        &receiver,
        &network,
        &place,
        &["cannot connect to", &server, "firewall"],
    );
}

/// COMPAT: the set-up of logstash-forwarder's manual.
#[test]
fn one_self_signed_certificate_for_server_and_authority() {
    let place = Place::new();
    let own = self_signed_ca(&["localhost", "127.0.0.1"]);
    let receiver = tls_receiver(&own, None);
    let right = network(
        &place,
        &receiver.address.to_string(),
        &own.certificate,
        None,
    );
    let config = place.config_with(&right, "app.log", "");
    place.append("app.log", "line\n");
    let running = Running::start(&config);
    receiver.wait_for(1);
    running.stop();

    let (place, own) = (Place::new(), self_signed_ca(&["logs.example.com"]));
    let receiver = tls_receiver(&own, None);
    let wrong = network(
        &place,
        &receiver.address.to_string(),
        &own.certificate,
        None,
    );
    assert_refused(&receiver, &wrong, &place, &["expected `127.0.0.1`"]);
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_window_and_one_that_lives() {
    let place = Place::new();
    let dying = Receiver::start_with(None, Behaviour::Drop, KEEP_ALIVE);
    let living = Receiver::start();
    let network = format!(
        "{{servers: [\"{}\", \"{}\"], tls: off, reconnect delay: 50ms}}",
        dying.address, living.address
    );
    let config = place.config_with(&network, "app.log", "spool size: 100");
    place.append("app.log", &lines("line", 0..1000));
    let running = Running::start(&config);
    living.wait_for(1000);
    running.stop();
    assert_each_once(&living, &lines("line", 0..1000));
    assert!(dying.arrived().is_empty());
}

#[test]
fn after_a_partial_acknowledgement_only_the_rest_is_sent_again() {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::HalfThenDrop, KEEP_ALIVE);
    let network = format!(
        "{{servers: [\"{}\"], tls: off, reconnect delay: 50ms, pipelining: 1}}",
        receiver.address
    );
    let config = place.config_with(&network, "app.log", "spool size: 100");
    place.append("app.log", &lines("line", 0..100));
    let running = Running::start(&config);
    receiver.wait_for(90);
    receiver.behave(Behaviour::Acknowledge);
    receiver.wait_for(100);
    running.stop();
    assert_each_once(&receiver, &lines("line", 0..100));
    assert_eq!(receiver.window_sizes()[..3], [100, 50, 25]);
}

#[test]
fn a_silent_server_gets_smaller_windows_and_a_busy_one_is_waited_for() {
    let place = Place::new();
    let silent = Receiver::start_with(None, Behaviour::Hold, Duration::from_hours(1));
    let network = format!(
        "{{servers: [\"{}\"], tls: off, timeout: 1s, reconnect delay: 50ms, pipelining: 1}}",
        silent.address
    );
    let config = place.config_with(&network, "app.log", "spool size: 400");
    place.append("app.log", &lines("line", 0..400));
    let running = Running::start(&config);
    silent.wait_for_connections(3);
    silent.behave(Behaviour::Acknowledge);
    silent.wait_for(400);
    running.stop();
    let sizes = silent.window_sizes();
    assert_eq!(sizes[..2], [400, 200]);

    // Four times the time-out, but with keep-alives: not sent again.
    let place = Place::new();
    let busy = Receiver::start_with(
        None,
        Behaviour::Slow(Duration::from_secs(8)),
        Duration::from_millis(200),
    );
    let network = format!("{{servers: [\"{}\"], tls: off, timeout: 2s}}", busy.address);
    let config = place.config_with(&network, "app.log", "");
    place.append("app.log", &lines("line", 0..10));
    let running = Running::start(&config);
    busy.wait_for(10);
    running.stop();
    assert_each_once(&busy, &lines("line", 0..10));
}

#[test]
fn version_1_over_reconnects() {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::Drop, KEEP_ALIVE);
    let network = format!(
        "{{servers: [\"{}\"], tls: off, protocol: v1, compression level: 0, reconnect delay: 50ms}}",
        receiver.address
    );
    let config = place.config_with(&network, "app.log", "spool size: 64");
    place.append("app.log", &lines("line", 0..500));
    let running = Running::start(&config);
    receiver.wait_for_connections(2);
    receiver.behave(Behaviour::Acknowledge);
    receiver.wait_for(500);
    running.stop();
    assert_each_once(&receiver, &lines("line", 0..500));
    let first = &receiver.arrived()[0];
    assert_eq!((first.version, first.offset), (Version::V1, 0));
    assert_eq!(first.fields["type"], "test");
}

#[test]
fn a_slow_server_stops_the_reading() {
    let place = Place::new();
    let receiver = Receiver::start_with(None, Behaviour::Hold, Duration::from_millis(200));
    let network = format!("{{servers: [\"{}\"], tls: off}}", receiver.address);
    let more = "spool size: 100\nshutdown timeout: 100ms";
    let config = place.config_with(&network, "app.log", more);
    place.append("app.log", &lines("line", 0..10_000));
    let running = Running::start(&config);
    receiver.wait_for_unacknowledged(200);
    let outcome = running.stop();
    // Two windows in flight and two batches beside them.
    assert!(outcome.events_read <= 400, "{outcome:?}");
    assert_eq!(outcome.events_acknowledged, 0);
    // The registry has not moved: the next run sends everything.
    receiver.behave(Behaviour::Acknowledge);
    let running = Running::start(&config);
    receiver.wait_for(10_000);
    running.stop();
    assert_each_once(&receiver, &lines("line", 0..10_000));
}
