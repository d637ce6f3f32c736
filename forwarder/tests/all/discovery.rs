//! Servers by SRV records, from a name server that is a part of the test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::support::{Behaviour, Place, Program, Receiver, Running, assert_each_once, lines};

const NAME: &str = "_beats._tcp.example.com";
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// A record: priority, weight, port, target.
pub(crate) type Record = (u16, u16, u16, &'static str);

/// What the name server does.
#[derive(Clone)]
pub(crate) enum Says {
    Records(Vec<Record>),
    /// Over UDP only that it does not fit.
    RecordsOverTcp(Vec<Record>),
    Code(u8),
    Nothing,
    /// The answer to another question first, and rubbish, then the right one.
    RubbishFirst(Vec<Record>),
}

pub(crate) struct NameServer {
    address: SocketAddr,
    says: Arc<Mutex<(Says, u32)>>,
}

impl NameServer {
    pub(crate) fn start(says: Says, ttl: u32) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = tcp.local_addr().expect("an address");
        let udp = UdpSocket::bind(address).expect("the same port");
        let shared = Arc::new(Mutex::new((says, ttl)));
        let (for_udp, for_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
                let (says, ttl) = for_udp.lock().expect("not poisoned").clone();
                for answer in answers(&buffer[..length], &says, ttl, false) {
                    udp.send_to(&answer, peer).expect("sends");
                }
            }
        });
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().map_while(Result::ok) {
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("reads");
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).expect("reads");
                let (says, ttl) = for_tcp.lock().expect("not poisoned").clone();
                for answer in answers(&question, &says, ttl, true) {
                    let length = (answer.len() as u16).to_be_bytes();
                    stream
                        .write_all(&[&length[..], &answer].concat())
                        .expect("writes");
                }
            }
        });
        Self {
            address,
            says: shared,
        }
    }

    pub(crate) fn say(&self, says: Says) {
        self.says.lock().expect("not poisoned").0 = says;
    }
}

fn name(text: &str) -> Vec<u8> {
    let mut name = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        name.push(label.len() as u8);
        name.extend(label.bytes());
    }
    name.push(0);
    name
}

/// The messages of RFC 1035 that answer a question.
fn answers(question: &[u8], says: &Says, ttl: u32, over_tcp: bool) -> Vec<Vec<u8>> {
    let mut expected = name(NAME);
    expected.extend([0, 33, 0, 1]);
    assert_eq!(
        question[12..],
        expected,
        "it asks for SRV records of the name"
    );
    let message = |flags: u16, records: &[Record]| {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (priority, weight, port, target) in records {
            let target = name(target);
            message.extend([0xc0, 12, 0, 33, 0, 1]);
            message.extend(ttl.to_be_bytes());
            message.extend((6 + target.len() as u16).to_be_bytes());
            for number in [priority, weight, port] {
                message.extend(number.to_be_bytes());
            }
            message.extend(target);
        }
        message
    };
    match says {
        Says::Records(records) => vec![message(0, records)],
        Says::RecordsOverTcp(records) if over_tcp => vec![message(0, records)],
        Says::RecordsOverTcp(_) => vec![message(0x0200, &[])],
        Says::Code(code) => vec![message(u16::from(*code), &[])],
        Says::Nothing => Vec::new(),
        Says::RubbishFirst(records) => {
            let right = message(0, records);
            let mut other = message(0, &[(0, 0, 1, "wrong.invalid")]);
            other[0] ^= 0xff;
            vec![other, b"rubbish".to_vec(), question.to_vec(), right]
        }
    }
}

pub(crate) fn network(name_server: &NameServer, more: &str) -> String {
    format!(
        "{{servers: [srv+{NAME}], dns servers: [\"{}\"], tls: off, timeout: 2s, reconnect delay: 100ms, \
         max reconnect delay: 200ms{more}}}",
        name_server.address
    )
}

pub(crate) fn record(priority: u16, weight: u16, receiver: &Receiver) -> Record {
    (priority, weight, receiver.address.port(), "localhost")
}

#[test]
fn complaint_14_the_best_priority_is_used_and_the_records_are_asked_for_again() {
    let place = Place::new();
    let [best, second, other] = [(); 3].map(|()| Receiver::start());
    let records = vec![record(20, 0, &second), record(10, 0, &best)];
    let name_server = NameServer::start(Says::Records(records), 1);
    let config = place.config_with(&network(&name_server, ""), "app.log", "spool size: 50");
    place.append("app.log", &lines("line", 0..500));
    let running = Running::start(&config);
    best.wait_for(500);
    // When the records no longer hold, another server is gone to; nothing is sent twice for it.
    name_server.say(Says::Records(vec![record(10, 0, &other)]));
    other.wait_for_connections(1);
    place.append("app.log", &lines("line", 500..1000));
    other.wait_for(500);
    // A name server that fails takes no server away.
    name_server.say(Says::Code(2));
    place.append("app.log", &lines("line", 1000..1500));
    other.wait_for(1000);
    assert_eq!(running.stop().events_left, 0);
    assert_each_once(&best, &lines("line", 0..500));
    assert_each_once(&other, &lines("line", 500..1500));
    assert_eq!(second.total(), 0);
}

#[test]
fn answers_that_do_not_fit_or_are_not_ours() {
    for says in [Says::RecordsOverTcp, Says::RubbishFirst] {
        let (place, receiver) = (Place::new(), Receiver::start());
        let name_server = NameServer::start(says(vec![record(0, 0, &receiver)]), 300);
        let config = place.config_with(&network(&name_server, ""), "app.log", "");
        place.append("app.log", &lines("line", 0..10));
        let running = Running::start(&config);
        receiver.wait_for(10);
        running.stop();
        assert_each_once(&receiver, &lines("line", 0..10));
    }
}

#[test]
fn what_is_wrong_is_said_and_lines_wait() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let name_server = NameServer::start(Says::Code(3), 1);
    let config = place.config_with(&network(&name_server, ""), "app.log", "");
    place.append("app.log", &lines("line", 0..10));
    let arguments = ["run", "--config", config.to_str().expect("text")];
    let program = Program::start(&arguments, place.root.path());
    program.wait_for_log(&format!(
        "cannot resolve srv+{NAME}: {} knows no SRV records",
        name_server.address
    ));
    name_server.say(Says::Code(5));
    program.wait_for_log("refuses to answer (we are not allowed to ask)");
    name_server.say(Says::Nothing);
    program.wait_for_log("no answer from");
    // "Decidedly not available at this domain", says RFC 2782.
    name_server.say(Says::Records(vec![(0, 0, 0, ".")]));
    program.wait_for_log("says that there is no such service");
    name_server.say(Says::Records(vec![record(0, 0, &receiver)]));
    receiver.wait_for(10);
    assert_each_once(&receiver, &lines("line", 0..10));
}

#[test]
fn with_loadbalance_the_worse_wait_for_the_better_to_fail() {
    let place = Place::new();
    let good = Receiver::start();
    let failing = Receiver::start();
    let spare = Receiver::start_with(None, Behaviour::Acknowledge, KEEP_ALIVE);
    let records = vec![
        record(2, 0, &spare),
        record(1, 1, &good),
        record(1, 1, &failing),
    ];
    let name_server = NameServer::start(Says::Records(records), 300);
    let network = network(&name_server, ", servers mode: loadbalance, pipelining: 1");
    let config = place.config_with(&network, "app.log", "spool size: 50");
    place.append("app.log", &lines("line", 0..5000));
    let running = Running::start(&config);
    good.wait_for(1);
    failing.wait_for_connections(1);
    let ports = [good.address, failing.address];
    drop(failing);
    place.append("app.log", &lines("line", 5000..6000));
    good.wait_for_message("line-5999");
    assert_eq!(spare.total(), 0, "one of {ports:?} is there");
    drop(good);
    place.append("app.log", &lines("line", 6000..6100));
    spare.wait_for_message("line-6099");
    // What the idle link to a server had taken that is gone was given back.
    assert_eq!(running.stop().events_left, 0);
}
