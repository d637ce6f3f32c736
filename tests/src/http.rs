//! A small blocking HTTP/1.1 client, for talking to servers on loopback.
//!
//! One request a connection (`Connection: close`), bodies by `Content-Length` or chunked, over TLS if
//! need be, no redirects, no compression: what asking a test server needs, and nothing that could
//! share a fault with the HTTP client of the daemons under test.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server's answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, with the transfer encoding removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!(
                "an answer with status {} that is not JSON: {}",
                self.status,
                self.text()
            )
        })
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request; a body is sent as JSON (or newline-delimited JSON to `_bulk`).
///
/// # Errors
/// When the server cannot be reached, or closes or stalls before the answer is complete.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&str>,
    timeout: Duration,
) -> Result<Response> {
    connect(address, timeout)
        .and_then(|stream| exchange(stream, address, method, path, body))
        .with_context(|| format!("{method} http://{address}{path}"))
}

/// The same over TLS, to a server whose certificate is for the address.
///
/// # Errors
/// As [`request`]; and when one of the two does not trust the other.
pub fn request_over_tls(
    tls: &Arc<ClientConfig>,
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&str>,
    timeout: Duration,
) -> Result<Response> {
    let name = ServerName::IpAddress(address.ip().into());
    let secured = || -> Result<Response> {
        let connection = ClientConnection::new(Arc::clone(tls), name)?;
        let stream = StreamOwned::new(connection, connect(address, timeout)?);
        exchange(stream, address, method, path, body)
    };
    secured().with_context(|| format!("{method} https://{address}{path}"))
}

fn connect(address: SocketAddr, timeout: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

fn exchange(
    mut stream: impl Read + Write,
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> Result<Response> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some(body) = body {
        let kind = if path
            .split('?')
            .next()
            .is_some_and(|path| path.ends_with("/_bulk"))
        {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        write!(
            head,
            "Content-Type: {kind}\r\nContent-Length: {}\r\n",
            body.len()
        )?;
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.unwrap_or_default().as_bytes())?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Without a farewell of TLS; whether the answer is whole is told by its head.
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
        _ => {}
    }
    parse(&answer, method == "HEAD")
}

/// The value of a header line of a request's or an answer's head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn parse(answer: &[u8], head_only: bool) -> Result<Response> {
    let end =
        memchr::memmem::find(answer, b"\r\n\r\n").context("closed before the answer's head")?;
    let head = std::str::from_utf8(&answer[..end]).context("an answer's head that is not text")?;
    let mut lines = head.split("\r\n");
    let status: u16 = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no status code in {head:?}"))?;
    let rest = &answer[end + 4..];
    let body = if head_only {
        Vec::new()
    } else if header(head, "transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        unchunked(rest)?
    } else if let Some(length) = header(head, "content-length") {
        let length: usize = length.parse().context("reading the content-length")?;
        if rest.len() < length {
            bail!(
                "closed after {} of {length} bytes of the answer",
                rest.len()
            );
        }
        rest[..length].to_vec()
    } else {
        rest.to_vec()
    };
    Ok(Response { status, body })
}

fn unchunked(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::with_capacity(rest.len());
    loop {
        let line = memchr::memmem::find(rest, b"\r\n").context("closed inside a chunk's head")?;
        let size = std::str::from_utf8(&rest[..line]).context("a chunk size that is not text")?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size =
            usize::from_str_radix(size, 16).with_context(|| format!("chunk size {size:?}"))?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = rest
            .get(line + 2..line + 2 + size)
            .context("closed inside a chunk")?;
        body.extend_from_slice(chunk);
        rest = rest
            .get(line + 2 + size + 2..)
            .context("closed after a chunk")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bodies_of_both_kinds() {
        let sized = parse(
            b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
            false,
        )
        .unwrap();
        assert_eq!((sized.status, sized.body.as_slice()), (201, &b"ok"[..]));
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        assert_eq!(parse(chunked, false).unwrap().body, b"abcde");
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        for cut in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"[..],
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
        ] {
            assert!(parse(cut, false).is_err());
        }
    }
}
