//! Asks name servers: over UDP from a port that the kernel picks, under an identifier that nobody can guess,
//! and again over TCP if the answer does not fit. What does not belong to the question is not looked at: the right
//! answer may still come.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::message::{self, MAX_UDP_BYTES, Record, Reply};
use crate::config::units::show;

/// Where the system says which name servers there are.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Name servers that are asked at most.
pub const MAX_NAME_SERVERS: usize = 8;
/// How long one of them is waited for before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often each of them is asked: a packet may be lost.
const ROUNDS: usize = 2;
/// The port of name servers.
const PORT: u16 = 53;

/// Asks one name server after the other until one has an answer, all of them [`ROUNDS`] times; `limit` is for all
/// of it. The error says what is wrong and what to do.
pub(super) async fn records(
    name: &str,
    name_servers: &[SocketAddr],
    limit: Duration,
) -> Result<Vec<Record>, String> {
    let name_servers = match name_servers {
        // By the thread that is outside of the sandbox.
        [] => spawn_blocking(of_the_system).await.unwrap_or_default(),
        given => given.to_vec(),
    };
    let deadline = Instant::now() + limit;
    let patience = PATIENCE.min(limit);
    let mut trouble = "nobody to ask".to_owned();
    for _ in 0..ROUNDS {
        for name_server in &name_servers {
            let until = deadline.min(Instant::now() + patience);
            trouble = match timeout_at(until, exchange(*name_server, name)).await {
                Ok(Ok(Reply::Found(records))) => return Ok(records),
                Ok(Ok(Reply::Missing)) => {
                    return Err(format!(
                        "{name_server} knows no SRV records of it; check the name in `servers`"
                    ));
                }
                Ok(Ok(Reply::Refused(code))) => {
                    format!("{name_server} refuses to answer ({})", in_words(code))
                }
                Ok(Ok(Reply::Truncated)) => format!("{name_server} cuts its answer off"),
                Ok(Err(error)) => format!("{name_server}: {error}"),
                Err(_) => format!("no answer from {name_server} for {}", show(patience)),
            };
        }
        if deadline <= Instant::now() {
            break;
        }
    }
    Err(format!("{trouble}; check `dns servers` or {RESOLV_CONF}"))
}

/// Those of the system; the machine itself if it names none.
fn of_the_system() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let mut found = from_resolv_conf(&text);
    if found.is_empty() {
        found.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    found
}

fn from_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().map(str::split_whitespace);
    let named = lines.filter_map(|mut words| match words.next() {
        Some("nameserver") => words.next().and_then(name_server),
        _ => None,
    });
    named.take(MAX_NAME_SERVERS).collect()
}

/// `192.0.2.1`, `2001:db8::1`, or with a port `192.0.2.1:5353`, `[2001:db8::1]:5353`.
pub fn name_server(text: &str) -> Option<SocketAddr> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address, PORT)),
        Err(_) => text.parse().ok(),
    }
}

async fn exchange(name_server: SocketAddr, name: &str) -> io::Result<Reply> {
    let id = RandomState::new().build_hasher().finish() as u16;
    let question = message::question(id, name);
    let any: SocketAddr = if name_server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    // Only this name server is heard from here on.
    socket.connect(name_server).await?;
    socket.send(&question).await?;
    let mut answer = [0; MAX_UDP_BYTES];
    loop {
        let length = socket.recv(&mut answer).await?;
        match message::reply(&answer[..length], id, name) {
            None => {}
            Some(Reply::Truncated) => break,
            Some(reply) => return Ok(reply),
        }
    }
    let mut stream = TcpStream::connect(name_server).await?;
    let mut framed = (question.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&question);
    stream.write_all(&framed).await?;
    // A length of two bytes bounds it.
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    let reply = message::reply(&answer, id, name);
    reply.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it answers another question"))
}

fn in_words(code: u16) -> String {
    match code {
        1 => "it does not understand the question".to_owned(),
        2 => "it has a failure".to_owned(),
        4 => "it does not know this kind of question".to_owned(),
        5 => "we are not allowed to ask".to_owned(),
        other => format!("code {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_the_system() {
        let text = "# nameserver 192.0.2.9\nsearch example.com\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n\
                    options timeout:1\n  nameserver 2001:db8::1 \nnameserver\n";
        let found: Vec<_> = from_resolv_conf(text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53"]);
        assert_eq!(
            from_resolv_conf(&"nameserver 192.0.2.1\n".repeat(20)).len(),
            MAX_NAME_SERVERS
        );
        assert_eq!(
            name_server("127.0.0.1:5353"),
            Some(([127, 0, 0, 1], 5353).into())
        );
        assert_eq!(name_server("localhost"), None);
    }
}
