//! Sockets for programs that only speak syslog: real ones, and what is lost of them and what is not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::support::{Behaviour, Place, Program, Receiver, Running, assert_each_once, lines};

/// A port that nobody listens on, of TCP and of UDP.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn config(place: &Place, receiver: &Receiver, sockets: &str, more: &str) -> PathBuf {
    let root = place.root.path().display();
    let text = format!(
        "network: {{servers: [\"{}\"], tls: off, timeout: 20s, reconnect delay: 20ms}}\n\
         syslog: [{sockets}]\n\
         data_dir: {root}/data\nregistry interval: 50ms\nflush interval: 20ms\n{more}\n",
        receiver.address
    );
    let path = place.root.path().join("forwarder.yml");
    std::fs::write(&path, text).expect("writes");
    path
}

/// Tries until it works.
fn eventually<T, E: std::fmt::Debug>(attempt: impl Fn() -> Result<T, E>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn tcp(port: u16) -> TcpStream {
    eventually(|| TcpStream::connect(("127.0.0.1", port)))
}

#[test]
fn every_kind_of_socket_ships_messages_as_they_come_and_says_who_sent_them() {
    let (place, receiver, port) = (Place::new(), Receiver::start(), free_port());
    let root = place.root.path().display().to_string();
    let sockets = format!(
        "{{listen: \"unix:{root}/stream\", mode: 0600, fields: {{type: app}}}}, {{listen: \"unixgram:{root}/gram\"}}, \
         {{listen: \"udp:{port}\"}}, {{listen: \"tcp:127.0.0.1:{port}\"}}"
    );
    let running = Running::start(&config(&place, &receiver, &sockets, ""));
    let mut stream = eventually(|| UnixStream::connect(format!("{root}/stream")));
    stream
        .write_all(b"<13>one\n<13>c library\0")
        .expect("writes");
    let datagram = UnixDatagram::unbound().expect("a socket");
    eventually(|| datagram.send_to(b"<13>two\nof two lines\n", format!("{root}/gram")));
    let mut connection = tcp(port);
    connection
        .write_all(b"9 <13>three<13>four\r\n")
        .expect("writes");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.send_to(b"<13>five", ("127.0.0.1", port))
        .expect("sends");
    receiver.wait_for(6);
    // The end of a connection is the end of a message.
    connection.write_all(b"<13>six").expect("writes");
    connection.shutdown(Shutdown::Write).expect("shuts");
    receiver.wait_for(7);
    let arrived = receiver.arrived();
    let find = |message: &str| {
        let found = arrived.iter().find(|event| event.message == message);
        found.unwrap_or_else(|| panic!("no `{message}` in {arrived:?}"))
    };
    let one = find("<13>one");
    assert_eq!(one.file, format!("unix:{root}/stream"));
    assert_eq!(one.fields["type"], "app");
    let own = format!(
        "pid={},uid={}",
        std::process::id(),
        rustix::process::getuid().as_raw()
    );
    assert_eq!(one.fields["peer"], own);
    assert_ne!(one.offset, find("<13>c library").offset);
    assert_eq!(
        find("<13>two\nof two lines").file,
        format!("unixgram:{root}/gram")
    );
    assert_eq!(find("<13>three").file, format!("tcp:127.0.0.1:{port}"));
    assert_eq!(
        find("<13>four").fields["peer"],
        connection.local_addr().expect("one").to_string()
    );
    assert_eq!(
        find("<13>five").fields["peer"],
        udp.local_addr().expect("one").to_string()
    );
    find("<13>six");
    let mode = |name: &str| {
        let metadata = std::fs::metadata(Path::new(&root).join(name)).expect("is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("stream"), mode("gram")), (0o600, 0o666));
    running.stop();
    assert!(!Path::new(&root).join("stream").try_exists().expect("looks"));
}

#[test]
fn what_was_received_is_shipped_at_the_end() {
    let (place, receiver, port) = (Place::new(), Receiver::start(), free_port());
    // About four seconds for all of it, and nothing is read ahead of it.
    receiver.behave(Behaviour::Slow(Duration::from_millis(50)));
    let root = place.root.path().display().to_string();
    let sockets = format!("{{listen: \"tcp:{port}\"}}, {{listen: \"unixgram:{root}/gram\"}}");
    let more = "spool size: 16\nspool bytes: 4KiB\nshutdown timeout: 60s";
    let running = Running::start(&config(&place, &receiver, &sockets, more));
    let mut connection = tcp(port);
    let mut sent = lines("tcp", 0..1000);
    connection.write_all(sent.as_bytes()).expect("writes");
    connection.write_all(b"without an end").expect("writes");
    let datagram = UnixDatagram::unbound().expect("a socket");
    eventually(|| datagram.connect(format!("{root}/gram")));
    for number in 0..10 {
        datagram
            .send(format!("gram-{number}").as_bytes())
            .expect("sends");
    }
    receiver.wait_for(16);
    assert_eq!(running.stop().events_left, 0);
    sent += &lines("gram", 0..10);
    assert_each_once(&receiver, &(sent + "without an end\n"));
    // The connection was closed, and is not held open by anybody.
    let mut byte = [0];
    assert!(matches!(connection.read(&mut byte), Ok(0) | Err(_)));
}

#[test]
fn what_the_kernel_drops_of_udp_is_counted_and_said() {
    let (place, receiver, port) = (Place::new(), Receiver::start(), free_port());
    receiver.behave(Behaviour::Slow(Duration::from_millis(20)));
    let sockets = format!("{{listen: \"udp:{port}\", receive buffer: 4KiB}}");
    let more = "spool size: 16\nspool bytes: 16KiB\nshutdown timeout: 60s";
    let path = config(&place, &receiver, &sockets, more);
    let arguments = ["run", "--config", path.to_str().expect("text")];
    let mut program = Program::start(&arguments, place.root.path());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(("127.0.0.1", port)).expect("connects");
    // Until it listens: that nobody does is an error at the next sending.
    eventually(|| {
        socket.send(b"first")?;
        std::thread::sleep(Duration::from_millis(20));
        socket.send(b"second")
    });
    receiver.wait_for(2);
    let text = vec![b'x'; 1000];
    for _ in 0..5000 {
        socket.send(&text).expect("sends");
    }
    program.wait_for_log("the kernel has dropped datagrams");
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.wait(), 0);
    let log = program.log();
    let counted = log.split("dropped=").skip(1).map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<usize>().expect("a number")
    });
    // What was sent before it listened did not come.
    let arrived = receiver.messages();
    let arrived = arrived
        .iter()
        .filter(|message| message.starts_with('x'))
        .count();
    assert_eq!(
        arrived + counted.sum::<usize>(),
        5000,
        "{arrived} arrived; {log}"
    );
}

#[test]
fn too_long_and_too_many_and_too_silent() {
    let (place, receiver, port) = (Place::new(), Receiver::start(), free_port());
    let other = free_port();
    let sockets = format!(
        "{{listen: \"tcp:{port}\", long lines: truncate, max connections: 1, idle timeout: 1s}}, \
         {{listen: \"udp:{other}\", long lines: skip}}"
    );
    let running = Running::start(&config(&place, &receiver, &sockets, "max line bytes: 16"));
    let mut silent = tcp(port);
    silent
        .write_all(b"0123456789abcdefghi\nshort\n")
        .expect("writes");
    // It waits in the kernel until the first one was silent for long enough.
    let mut next = tcp(port);
    next.write_all(b"next\n").expect("writes");
    receiver.wait_for(3);
    assert_eq!(silent.read(&mut [0]).expect("closed"), 0);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.send_to(b"0123456789abcdefghi", ("127.0.0.1", other))
        .expect("sends");
    udp.send_to(b"fits", ("127.0.0.1", other)).expect("sends");
    receiver.wait_for(4);
    assert_each_once(&receiver, "0123456789abcdef\nshort\nnext\nfits\n");
    assert_eq!(receiver.arrived()[0].fields["truncated"], "true");
    running.stop();
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    let (place, receiver) = (Place::new(), Receiver::start());
    let path = place.root.path().join("log.sock");
    let sockets = format!("{{listen: \"unixgram:{}\"}}", path.display());
    let file = config(&place, &receiver, &sockets, "");
    let arguments = ["run", "--config", file.to_str().expect("text")];
    let used = UnixDatagram::bind(&path).expect("binds");
    let mut program = Program::start(&arguments, place.root.path());
    assert_eq!(program.wait(), 1);
    let log = program.log();
    assert!(
        log.contains("somebody listens there") && log.contains("see `listen`"),
        "{log}"
    );
    // Its file stays.
    drop(used);
    let running = Running::start(&file);
    let datagram = UnixDatagram::unbound().expect("a socket");
    eventually(|| datagram.send_to(b"<13>hello", &path));
    receiver.wait_for(1);
    running.stop();
}
