//! Half-open links: a peer that is gone without a word is noticed in seconds, idle or at work, and nothing is lost.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::support::{
    Authority, Behaviour, Place, Receiver, Running, assert_each_once, lines, native_tls,
};

const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// The `timeout` of these tests: what is noticed much sooner was noticed by something else.
const TIMEOUT: Duration = Duration::from_secs(40);

/// A connection through the relay.
struct Passage {
    cut: Arc<AtomicBool>,
    ends: [TcpStream; 2],
}

/// Stands between forwarder and receiver, and can turn into a black hole.
struct Relay {
    address: SocketAddr,
    passages: Arc<Mutex<Vec<Passage>>>,
}

impl Relay {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let passages = Arc::<Mutex<Vec<Passage>>>::default();
        let made = Arc::clone(&passages);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(to).expect("connects");
                let cut = Arc::new(AtomicBool::new(false));
                let clone = |stream: &TcpStream| stream.try_clone().expect("another handle");
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to, cut) = (clone(from), clone(to), Arc::clone(&cut));
                    std::thread::spawn(move || pass(from, to, &cut));
                }
                let ends = [client, server];
                made.lock()
                    .expect("not poisoned")
                    .push(Passage { cut, ends });
            }
        });
        Self { address, passages }
    }

    /// From now on nothing gets through the connections that there are, and none of them is closed.
    fn swallow(&self) {
        for passage in &*self.passages.lock().expect("not poisoned") {
            passage.cut.store(true, Ordering::SeqCst);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for passage in &*self.passages.lock().expect("not poisoned") {
            for end in &passage.ends {
                drop(end.shutdown(Shutdown::Both));
            }
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if cut.load(Ordering::SeqCst) {
            // The ends stay open: whoever writes sees a peer that takes no more.
            return;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    if !cut.load(Ordering::SeqCst) {
        drop(to.shutdown(Shutdown::Write));
    }
}

fn native_receiver(place: &Place) -> (Receiver, Relay, String) {
    let authority = Authority::new("right");
    let ca = place.root.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).expect("writes");
    let tls = native_tls(&authority.issue(&["127.0.0.1"]));
    let receiver = Receiver::start_with(Some(tls), Behaviour::Acknowledge, KEEP_ALIVE);
    let relay = Relay::start(receiver.address);
    let network = format!(
        "{{servers: [\"{}\"], ssl ca: {}, timeout: {}, heartbeat timeout: 4s, reconnect delay: 100ms}}",
        relay.address,
        ca.display(),
        TIMEOUT.as_secs()
    );
    (receiver, relay, network)
}

/// Ships lines, and returns when the forwarder knows that they have arrived.
fn ship_the_first(place: &Place, receiver: &Receiver, config: &Path) -> Running {
    let text = lines("line", 0..100);
    place.append("app.log", &text);
    let running = Running::start(config);
    receiver.wait_for(100);
    place.wait_for_registry("the acknowledgement", |entries| {
        entries
            .iter()
            .any(|entry| entry.offset == text.len() as u64)
    });
    running
}

/// The time until there is another connection.
fn time_to_return(receiver: &Receiver, connections: usize) -> Duration {
    let begun = Instant::now();
    receiver.wait_for_connections(connections);
    begun.elapsed()
}

#[test]
fn complaint_15_an_idle_link_over_the_native_framing() {
    let place = Place::new();
    let (receiver, relay, network) = native_receiver(&place);
    let config = place.config_with(&network, "app.log", "");
    let running = ship_the_first(&place, &receiver, &config);
    relay.swallow();
    let took = time_to_return(&receiver, 2);
    assert!(took < TIMEOUT / 2, "noticed after {took:?}");
    place.append("app.log", &lines("line", 100..200));
    receiver.wait_for(200);
    assert_eq!(running.stop().events_left, 0);
    assert_each_once(&receiver, &lines("line", 0..200));
}

#[test]
fn complaint_15_a_link_at_work_over_the_native_framing() {
    let place = Place::new();
    let (receiver, relay, network) = native_receiver(&place);
    let config = place.config_with(&network, "app.log", "spool size: 100");
    place.append("app.log", &lines("line", 0..50_000));
    let running = Running::start(&config);
    receiver.wait_for(1000);
    relay.swallow();
    let took = time_to_return(&receiver, 2);
    assert!(took < TIMEOUT / 2, "noticed after {took:?}");
    // What was acknowledged into the black hole comes once more, and has the same place in the file.
    let expected: BTreeSet<_> = lines("line", 0..50_000)
        .lines()
        .map(str::to_owned)
        .collect();
    receiver.wait_for_message("line-49999");
    assert_eq!(running.stop().events_left, 0);
    let arrived: BTreeSet<_> = receiver.messages().into_iter().collect();
    assert_eq!(arrived.len(), expected.len());
    assert_eq!(arrived, expected);
    let twice = receiver.messages().len() - expected.len();
    assert!(twice <= 300, "{twice} lines came twice");
}

#[test]
fn without_a_heartbeat_only_the_next_line_tells() {
    let place = Place::new();
    let (receiver, relay, network) = native_receiver(&place);
    let network = network
        .replace("heartbeat timeout: 4s", "heartbeat timeout: off")
        .replace("timeout: 40", "timeout: 1s");
    let config = place.config_with(&network, "app.log", "");
    let running = ship_the_first(&place, &receiver, &config);
    relay.swallow();
    place.append("app.log", &lines("line", 100..200));
    receiver.wait_for(200);
    running.stop();
    assert_each_once(&receiver, &lines("line", 0..200));
}

/// Over version 2 nothing is asked of an idle receiver: TCP has to find out that the machine is gone. Here a
/// filter in the receiver's kernel drops every packet of the connection.
#[test]
fn complaint_15_an_idle_link_over_version_2_whose_packets_vanish() {
    let (place, listener) = (
        Place::new(),
        TcpListener::bind("127.0.0.1:0").expect("a port"),
    );
    let address = listener.local_addr().expect("an address");
    let network = format!(
        "{{servers: [\"{address}\"], tls: off, timeout: {}, tcp keepalive: 1s, reconnect delay: 100ms}}",
        TIMEOUT.as_secs()
    );
    let config = place.config_with(&network, "app.log", "");
    place.append("app.log", "");
    let running = Running::start(&config);
    let (vanishing, _) = listener.accept().expect("a connection");
    // `ret 0`: not a byte of a packet is taken.
    let drop_all = socket2::SockFilter::new(0x06, 0, 0, 0);
    let socket = socket2::SockRef::from(&vanishing);
    socket.attach_filter(&[drop_all]).expect("a filter");
    let begun = Instant::now();
    let again = listener.accept().expect("another connection");
    let took = begun.elapsed();
    assert!(took < TIMEOUT / 2, "noticed after {took:?}");
    drop(again);
    running.kill();
}
