//! Proxies: a real one for HTTP's CONNECT and a real one for SOCKS5, both of which can be told to misbehave.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use skidder_forwarder::config::{self, Overrides};
use skidder_forwarder::link::backoff::Random;
use skidder_forwarder::link::connect;
use skidder_lumberjack::Version;
use tokio::io::AsyncReadExt;

use super::support::{
    Authority, Behaviour, Place, Program, Receiver, Running, assert_each_once, lines, native_tls,
};

/// What a proxy does with a connection.
#[derive(Clone)]
enum Manner {
    /// Serves, whoever it is.
    Open,
    /// Serves this user.
    Login(&'static str, &'static str),
    /// Answers so, whatever is asked.
    Say(Vec<u8>),
    /// SOCKS5: takes the greeting, and answers the request so.
    Reply(u8),
    /// Takes everything, and is silent.
    Stall,
    /// Says this first, and then that, over and over.
    Babble(&'static str, &'static str),
}

/// What a proxy was asked for, and by whom.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    target: String,
    login: Option<(String, String)>,
}

fn login(user: &str, password: &str) -> (String, String) {
    (user.to_owned(), password.to_owned())
}

struct Proxy {
    address: SocketAddr,
    asked: mpsc::Receiver<Asked>,
}

impl Proxy {
    /// A proxy that knows these names. Its threads end with their connections.
    fn start(scheme: &str, manner: Manner, names: &[(&str, SocketAddr)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let names: HashMap<String, SocketAddr> = names
            .iter()
            .map(|(name, address)| (format!("{name}:{}", address.port()), *address))
            .collect();
        let serve = match scheme {
            "http" => serve_connect,
            _ => serve_socks5,
        };
        let (sender, asked) = mpsc::sync_channel(256);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (manner, names, sender) = (manner.clone(), names.clone(), sender.clone());
                // An error is the client's leaving.
                std::thread::spawn(move || drop(serve(stream, &manner, &names, &sender)));
            }
        });
        Self { address, asked }
    }
}

/// The manners that do not depend on what is spoken. Whether that was all.
fn misbehave(stream: &mut TcpStream, manner: &Manner) -> std::io::Result<bool> {
    match manner {
        Manner::Say(answer) => {
            stream.read_exact(&mut [0; 3])?;
            stream.write_all(answer)?;
            stream.shutdown(Shutdown::Write)?;
        }
        Manner::Stall => {}
        Manner::Babble(first, then) => {
            stream.write_all(first.as_bytes())?;
            loop {
                stream.write_all(then.as_bytes())?;
            }
        }
        Manner::Open | Manner::Login(..) | Manner::Reply(_) => return Ok(false),
    }
    std::io::copy(stream, &mut std::io::sink())?;
    Ok(true)
}

fn relay(client: &TcpStream, server: &TcpStream) -> std::io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        drop(std::io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(Shutdown::Write));
    });
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    drop(std::io::copy(&mut from_server, &mut to_client));
    client.shutdown(Shutdown::Both)
}

/// RFC 9110 §9.3.6, with the log-in of RFC 7617.
fn serve_connect(
    mut stream: TcpStream,
    manner: &Manner,
    names: &HashMap<String, SocketAddr>,
    asked: &mpsc::SyncSender<Asked>,
) -> std::io::Result<()> {
    if misbehave(&mut stream, manner)? {
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let mut lines = head.lines();
    let request: Vec<_> = lines.next().expect("a line").split(' ').collect();
    let &["CONNECT", target, "HTTP/1.1"] = request.as_slice() else {
        panic!("no request for a tunnel: {head}");
    };
    let headers: HashMap<_, _> = lines.filter_map(|line| line.split_once(": ")).collect();
    assert_eq!(headers["Host"], target);
    let given = headers.get("Proxy-Authorization").map(|value| {
        let encoded = value.strip_prefix("Basic ").expect("Basic");
        let decoded = decode_base64(encoded);
        let (user, password) = decoded.split_once(':').expect("a user");
        login(user, password)
    });
    asked
        .send(Asked {
            target: target.to_owned(),
            login: given.clone(),
        })
        .unwrap_or_default();
    if let Manner::Login(user, password) = manner
        && given
            .as_ref()
            .map(|(user, password)| (&**user, &**password))
            != Some((user, password))
    {
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
        return stream.write_all(answer.as_bytes());
    }
    let address = names.get(target).copied().or_else(|| target.parse().ok());
    match address.map(TcpStream::connect) {
        Some(Ok(server)) => {
            stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")?;
            relay(&stream, &server)
        }
        _ => stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"),
    }
}

fn decode_base64(text: &str) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    assert!(text.len().is_multiple_of(4), "padded");
    for letter in text.trim_end_matches('=').bytes() {
        let value = alphabet.iter().position(|known| *known == letter);
        bits = bits << 6 | value.expect("a digit") as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    String::from_utf8(bytes).expect("text")
}

/// RFC 1928, with the log-in of RFC 1929.
fn serve_socks5(
    mut stream: TcpStream,
    manner: &Manner,
    names: &HashMap<String, SocketAddr>,
    asked: &mpsc::SyncSender<Asked>,
) -> std::io::Result<()> {
    fn read<const COUNT: usize>(stream: &mut TcpStream) -> std::io::Result<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        stream.read_exact(&mut bytes).map(|()| bytes)
    }
    fn text(stream: &mut TcpStream) -> std::io::Result<String> {
        let [length] = read::<1>(stream)?;
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes)?;
        Ok(String::from_utf8(bytes).expect("text"))
    }
    if misbehave(&mut stream, manner)? {
        return Ok(());
    }
    let [5, count] = read::<2>(&mut stream)? else {
        panic!("no greeting of version 5");
    };
    let mut methods = vec![0; usize::from(count)];
    stream.read_exact(&mut methods)?;
    let mut login = None;
    if let Manner::Login(user, password) = manner {
        if !methods.contains(&2) {
            stream.write_all(&[5, 0xff])?;
            return Ok(());
        }
        stream.write_all(&[5, 2])?;
        assert_eq!(read::<1>(&mut stream)?, [1]);
        let given = (text(&mut stream)?, text(&mut stream)?);
        let right = (&*given.0, &*given.1) == (user, password);
        stream.write_all(&[1, u8::from(!right)])?;
        if !right {
            return Ok(());
        }
        login = Some(given);
    } else {
        assert!(methods.contains(&0));
        stream.write_all(&[5, 0])?;
    }
    let [5, 1, 0, kind] = read::<4>(&mut stream)? else {
        panic!("no request for a connection");
    };
    let host = match kind {
        1 => std::net::Ipv4Addr::from(read::<4>(&mut stream)?).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(read::<16>(&mut stream)?)),
        3 => text(&mut stream)?,
        other => panic!("an address of kind {other}"),
    };
    let target = format!("{host}:{}", u16::from_be_bytes(read::<2>(&mut stream)?));
    asked
        .send(Asked {
            target: target.clone(),
            login,
        })
        .unwrap_or_default();
    if let Manner::Reply(code) = manner {
        return stream.write_all(&[5, *code, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let address = names.get(&target).copied().or_else(|| target.parse().ok());
    match address.map(TcpStream::connect) {
        Some(Ok(server)) => {
            // Bound to a name, which is as long as it says.
            stream.write_all(b"\x05\x00\x00\x03\x04here\x00\x07")?;
            relay(&stream, &server)
        }
        _ => stream.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]),
    }
}

fn network(place: &Place, authority: &Authority, server: &str, proxy: &str) -> String {
    let ca = place.root.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).expect("writes");
    format!(
        "{{servers: [\"{server}\"], proxy: \"{proxy}\", ssl ca: {}, timeout: 20s, reconnect delay: 100ms}}",
        ca.display()
    )
}

#[test]
fn tls_goes_end_to_end_and_the_proxy_resolves_the_name() {
    for scheme in ["http", "socks5", "socks5h"] {
        let (place, authority) = (Place::new(), Authority::new("right"));
        let tls = native_tls(&authority.issue(&["logs.invalid"]));
        let keep_alive = Duration::from_secs(3);
        let receiver = Receiver::start_with(Some(tls), Behaviour::Acknowledge, keep_alive);
        let proxy = Proxy::start(scheme, Manner::Open, &[("logs.invalid", receiver.address)]);
        let server = format!("logs.invalid:{}", receiver.address.port());
        let url = format!("{scheme}://{}", proxy.address);
        let network = network(&place, &authority, &server, &url);
        let config = place.config_with(&network, "app.log", "");
        place.append("app.log", &lines("line", 0..5000));
        let running = Running::start(&config);
        receiver.wait_for(5000);
        assert_eq!(running.stop().events_left, 0);
        assert_each_once(&receiver, &lines("line", 0..5000));
        assert_eq!(receiver.arrived()[0].version, Version::Native, "{scheme}");
        let asked = proxy.asked.try_recv().expect("was asked");
        let expected = Asked {
            target: server,
            login: None,
        };
        assert_eq!(asked, expected, "{scheme}");
    }
}

#[test]
fn a_password_of_the_environment_is_used_and_never_shown() {
    const PASSWORD: &str = "s3cr@t:/w";
    for scheme in ["http", "socks5"] {
        let (place, authority) = (Place::new(), Authority::new("right"));
        let tls = native_tls(&authority.issue(&["logs.invalid"]));
        let keep_alive = Duration::from_secs(3);
        let receiver = Receiver::start_with(Some(tls), Behaviour::Acknowledge, keep_alive);
        let names = [("logs.invalid", receiver.address)];
        let proxy = Proxy::start(scheme, Manner::Login("ship", PASSWORD), &names);
        let server = format!("logs.invalid:{}", receiver.address.port());
        let url = format!("{scheme}://ship:${{PROXY_PASSWORD}}@{}", proxy.address);
        let network = network(&place, &authority, &server, &url);
        let config = place.config_with(&network, "app.log", "log level: trace");
        place.append("app.log", &lines("line", 0..10));
        let config = config.to_str().expect("text");
        let arguments = ["run", "--config", config];
        let root = place.root.path();
        // First with a wrong one, which is not shown either.
        let wrong = [("PROXY_PASSWORD", "wr0ng")];
        let mut program = Program::start_with(&arguments, root, &wrong);
        program.wait_for_log("does not accept the user and password");
        program.signal(rustix::process::Signal::TERM);
        program.signal(rustix::process::Signal::TERM);
        program.wait();
        assert!(!program.log().contains("wr0ng"), "{}", program.log());
        let right = [("PROXY_PASSWORD", PASSWORD)];
        let program = Program::start_with(&arguments, root, &right);
        receiver.wait_for(10);
        let log = program.log();
        for secret in [PASSWORD, "s3cr", "c2hpcDp"] {
            assert!(!log.contains(secret), "{log}");
        }
        let asked = proxy
            .asked
            .iter()
            .find(|asked| asked.login == Some(login("ship", PASSWORD)));
        assert_eq!(asked.expect("was asked").target, server);
        // Nor does `check` show it.
        let environment = |name: &str| (name == "PROXY_PASSWORD").then(|| PASSWORD.to_owned());
        let loaded = config::load_with(config.as_ref(), &Overrides::default(), &environment);
        let loaded = loaded.expect("valid");
        let described = skidder_forwarder::check::describe(&loaded) + &format!("{loaded:?}");
        assert!(described.contains(&format!("{scheme}://{}, with user", proxy.address)));
        assert!(!described.contains("s3cr"), "{described}");
    }
}

/// What [`connect::connect`] says with these options.
async fn attempt(options: &str) -> Result<connect::Connected, String> {
    let place = Place::new();
    let config = place.config_with(&format!("{{{options}}}"), "app.log", "");
    let network = config::load(&config, &Overrides::default())
        .expect("valid")
        .network;
    let mut random = Random::new();
    let connecting = connect::connect(&network.servers[0], &network, &mut random);
    connecting.await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn names_can_be_resolved_here() {
    for scheme in ["http", "socks5"] {
        let receiver = Receiver::start();
        let proxy = Proxy::start(scheme, Manner::Open, &[]);
        let (at, port) = (proxy.address, receiver.address.port());
        // Filebeat's name of the option, where it is Filebeat's proxy.
        let name = if scheme == "http" {
            "proxy"
        } else {
            "proxy_url"
        };
        let options = format!(
            "servers: [\"localhost:{port}\"], tls: off, {name}: \"{scheme}://{at}\", proxy_use_local_resolver: true"
        );
        attempt(&options).await.map(drop).expect("connects");
        let asked: Vec<_> = proxy.asked.try_iter().map(|asked| asked.target).collect();
        assert_eq!(
            asked.last(),
            Some(&receiver.address.to_string()),
            "{asked:?}"
        );
        assert!(
            asked.iter().all(|target| !target.contains("localhost")),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn what_the_server_says_first_is_not_the_proxys() {
    let head = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\nhello";
    let socks = "\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00hello";
    for (scheme, answer) in [("http", head), ("socks5", socks)] {
        let proxy = Proxy::start(scheme, Manner::Say(answer.into()), &[]);
        let (at, server) = (proxy.address, "logs.invalid:5044");
        let options = format!("servers: [\"{server}\"], tls: off, proxy: \"{scheme}://{at}\"");
        let mut stream = attempt(&options).await.expect("a tunnel").stream;
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.expect("reads");
        assert_eq!(&said, b"hello");
    }
}

#[tokio::test]
async fn every_failure_of_a_proxy_says_what_to_do() {
    let said = |text: &str| Manner::Say(text.as_bytes().to_vec());
    let negotiate = "HTTP/1.1 407 Login\r\nProxy-Authenticate: Negotiate\r\n\r\n";
    let cases = [
        (
            "http",
            Manner::Login("a", "b"),
            "proxy: http://user:password@host:port",
        ),
        (
            "http",
            said(negotiate),
            "a log-in by Negotiate, and only Basic",
        ),
        (
            "http",
            said("HTTP/1.1 403 Forbidden\r\n\r\n"),
            "403 Forbidden; its rules forbid it",
        ),
        (
            "http",
            said("HTTP/1.1 405 No\r\n\r\n"),
            "does it allow CONNECT",
        ),
        (
            "http",
            Manner::Open,
            "502 Bad Gateway; it does not reach logs.invalid:5044",
        ),
        ("http", said("\x05\x00"), "write `socks5://`"),
        ("http", said("\x15\x03\x01"), "wants TLS"),
        (
            "http",
            said("220 smtp.example.com\r\n"),
            "no HTTP proxy; is it the right port",
        ),
        ("http", said("HTTP/1.1 banana\r\n\r\n"), "no HTTP proxy"),
        (
            "http",
            said("HTTP/1.1 20"),
            "closed the connection without an answer",
        ),
        (
            "http",
            Manner::Stall,
            "no answer from the proxy for 300ms; does it speak HTTP",
        ),
        ("http", Manner::Babble("junk", "junk"), "no HTTP proxy"),
        (
            "http",
            Manner::Babble("HTTP/1.1 200 OK\r\n", "a: b\r\n"),
            "longer than 16384 bytes",
        ),
        (
            "http",
            Manner::Babble("", "HTTP/1.1 100 Wait\r\n\r\n"),
            "longer than 16384 bytes",
        ),
        (
            "socks5",
            Manner::Login("a", "b"),
            "wants a log-in: `socks5://user:password@host:port`",
        ),
        (
            "socks5",
            Manner::Open,
            "logs.invalid:5044 refuses the connection",
        ),
        ("socks5", Manner::Reply(1), "general failure"),
        (
            "socks5",
            Manner::Reply(2),
            "its rules forbid it; allow connections to logs.invalid:5044",
        ),
        (
            "socks5",
            Manner::Reply(3),
            "the network of logs.invalid:5044 is not reachable",
        ),
        ("socks5", Manner::Reply(4), "does it resolve the name?"),
        ("socks5", Manner::Reply(6), "TTL expired"),
        (
            "socks5",
            Manner::Reply(7),
            "does not know the command CONNECT",
        ),
        ("socks5", Manner::Reply(8), "kind of address"),
        ("socks5", Manner::Reply(99), "failure 99"),
        (
            "socks5",
            said("\x05\x01"),
            "the log-in 1, which was not offered",
        ),
        (
            "socks5",
            said("HTTP/1.1 400 Bad Request\r\n\r\n"),
            "write `http://`",
        ),
        ("socks5", said("\x04\x5b"), "speaks SOCKS4"),
        ("socks5", said("\x05\x00\x05\x00\x00\x09"), "unknown kind 9"),
        (
            "socks5",
            said("\x05"),
            "closed the connection without an answer",
        ),
        (
            "socks5",
            Manner::Stall,
            "no answer from the proxy for 300ms; does it speak SOCKS5",
        ),
        ("socks5", Manner::Babble("junk", "junk"), "no SOCKS5 proxy"),
    ];
    for (scheme, manner, expected) in cases {
        let proxy = Proxy::start(scheme, manner.clone(), &[]);
        let url = format!("{scheme}://{}", proxy.address);
        let patience = if matches!(manner, Manner::Stall) {
            "300ms"
        } else {
            "20s"
        };
        let options = format!(
            "servers: [\"logs.invalid:5044\"], tls: off, proxy: \"{url}\", timeout: {patience}"
        );
        let error = attempt(&options).await.map(drop).expect_err(expected);
        assert!(error.contains(expected), "no `{expected}` in `{error}`");
        let begun = format!("cannot connect to logs.invalid:5044 through the proxy {url}");
        assert!(error.contains(&begun), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = free.local_addr().expect("an address");
    drop(free);
    let options =
        |at: &str| format!("servers: [\"a.invalid:1\"], tls: off, proxy: \"http://{at}\"");
    let error = attempt(&options(&at.to_string()))
        .await
        .map(drop)
        .expect_err("down");
    assert!(
        error.contains("is the proxy running, is a firewall between?"),
        "{error}"
    );
    let error = attempt(&options(&format!("{}:1", "a".repeat(64))))
        .await
        .map(drop)
        .expect_err("no such name");
    assert!(
        error.contains("cannot resolve the proxy http://aaa"),
        "{error}"
    );
}
