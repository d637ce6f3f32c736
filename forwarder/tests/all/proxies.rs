//! Two proxies: one for HTTP's CONNECT and one for SOCKS5, both of which can be told to misbehave.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

/// What a proxy does with a connection.
#[derive(Clone)]
pub(crate) enum Manner {
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
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) login: Option<(String, String)>,
}

pub(crate) fn login(user: &str, password: &str) -> (String, String) {
    (user.to_owned(), password.to_owned())
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) asked: mpsc::Receiver<Asked>,
}

impl Proxy {
    /// A proxy that knows these names. Its threads end with their connections.
    pub(crate) fn start(scheme: &str, manner: Manner, names: &[(&str, SocketAddr)]) -> Self {
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
