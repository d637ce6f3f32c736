//! The native framing: chosen in the TLS handshake, and what holds over it.

use std::sync::Arc;
use std::time::Duration;

use skidder_lumberjack::Version;
use skidder_lumberjack::native::ALPN;

use super::support::{
    Authority, Behaviour, Place, Receiver, Running, assert_each_once, lines, native_tls, server_tls,
};

const KEEP_ALIVE: Duration = Duration::from_secs(1);

fn network(place: &Place, authority: &Authority, servers: &str, more: &str) -> String {
    let path = place.root.path().join("ca.crt");
    std::fs::write(&path, &authority.pem).expect("writes");
    format!(
        "{{servers: [{servers}], ssl ca: {}, reconnect delay: 50ms{more}}}",
        path.display()
    )
}

/// What is spoken with a server that has these application protocols.
fn version_with(protocol: &str, spoken: &[&[u8]]) -> Version {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let own = authority.issue(&["127.0.0.1"]);
    let mut tls = server_tls(&own, None);
    let spoken = spoken.iter().map(|name| name.to_vec()).collect();
    Arc::make_mut(&mut tls).alpn_protocols = spoken;
    let receiver = Receiver::start_with(Some(tls), Behaviour::Acknowledge, KEEP_ALIVE);
    let server = format!("\"{}\"", receiver.address);
    let network = network(&place, &authority, &server, protocol);
    let config = place.config_with(&network, "app.log", "spool size: 64");
    place.append("app.log", &lines("line", 0..1000));
    let running = Running::start(&config);
    receiver.wait_for(1000);
    assert_eq!(running.stop().events_left, 0);
    assert_each_once(&receiver, &lines("line", 0..1000));
    let first = &receiver.arrived()[0];
    assert_eq!((first.offset, &first.fields["type"][..]), (0, "test"));
    assert!(first.fields.contains_key("host") && first.fields["@timestamp"].ends_with('Z'));
    first.version
}

#[test]
fn the_framing_is_that_which_both_ends_speak() {
    assert_eq!(version_with("", &[b"http/1.1", ALPN]), Version::Native);
    let uncompressed = ", protocol: native, compression level: 0";
    assert_eq!(version_with(uncompressed, &[ALPN]), Version::Native);
    assert_eq!(version_with("", &[]), Version::V2);
    assert_eq!(version_with(", protocol: v2", &[ALPN]), Version::V2);
    // It refuses the handshake of a client that offers none of its own.
    assert_eq!(version_with("", &[b"http/1.1"]), Version::V2);
}

#[test]
fn lines_come_once_over_reconnects_and_in_either_framing() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let own = authority.issue(&["127.0.0.1"]);
    let native = Receiver::start_with(Some(native_tls(&own)), Behaviour::Drop, KEEP_ALIVE);
    let old = Receiver::start_with(Some(server_tls(&own, None)), Behaviour::Drop, KEEP_ALIVE);
    let servers = format!("\"{}\", \"{}\"", native.address, old.address);
    let network = network(&place, &authority, &servers, "");
    let config = place.config_with(&network, "app.log", "spool size: 64");
    place.append("app.log", &lines("line", 0..500));
    let running = Running::start(&config);
    native.wait_for_connections(2);
    old.wait_for_connections(1);
    native.behave(Behaviour::Acknowledge);
    native.wait_for(500);
    running.stop();
    assert_each_once(&native, &lines("line", 0..500));
    assert_eq!(native.arrived()[0].version, Version::Native);
}

#[test]
fn more_files_than_a_connection_knows_at_a_time() {
    let (place, authority) = (Place::new(), Authority::new("right"));
    let own = authority.issue(&["127.0.0.1"]);
    let receiver = Receiver::start_with(Some(native_tls(&own)), Behaviour::Acknowledge, KEEP_ALIVE);
    let server = format!("\"{}\"", receiver.address);
    let network = network(&place, &authority, &server, "");
    let config = place.config_with(&network, "*.log", "");
    let files = skidder_lumberjack::native::MAX_SOURCES + 100;
    let mut expected = String::new();
    for file in 0..files {
        let text = lines("line of file", file..file + 1);
        place.append(&format!("{file}.log"), &text);
        expected.push_str(&text);
    }
    let running = Running::start(&config);
    receiver.wait_for(files);
    running.stop();
    assert_each_once(&receiver, &expected);
}
