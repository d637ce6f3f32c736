//! A client for the few small requests to a metadata service and to Auto Scaling: HTTP/1.1, one request for
//! each connection, an answer of bounded size in bounded time.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::link::connect::Stream;
use crate::link::tls::{self, TlsSettings};

/// The longest answer, its head included.
pub const MAX_ANSWER_BYTES: usize = 256 << 10;

/// A server, as `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no endpoint; write it like http://169.254.169.254");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong()),
        };
        let rest = rest.trim_end_matches('/');
        let after_address = rest.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match rest[after_address..].find(':') {
            Some(at) => {
                let (host, port) = rest.split_at(after_address + at);
                (host, port[1..].parse().map_err(|_| wrong())?)
            }
            None => (rest, if tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', ' ', '@', '\r', '\n']) {
            return Err(wrong());
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority())
    }
}

impl Endpoint {
    /// As the header `Host` has it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Sends a request; `headers` without `Host` and what the body needs.
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        limit: Duration,
    ) -> io::Result<Answer> {
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n",
            self.authority()
        );
        for (name, value) in headers {
            if value.contains(['\r', '\n']) {
                let message = format!("the header `{name}` has a line end in it");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            request.extend([name, ": ", value, "\r\n"]);
        }
        let length = body.len().to_string();
        request.extend(["Content-Length: ", &length, "\r\nConnection: close\r\n\r\n"]);
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        match timeout(limit, self.exchange(&request)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer for {}", crate::config::units::show(limit)),
            )),
        }
    }

    async fn exchange(&self, request: &[u8]) -> io::Result<Answer> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let mut stream: Box<dyn Stream> = if self.tls {
            Box::new(self.encrypted(stream).await?)
        } else {
            Box::new(stream)
        };
        stream.write_all(request).await?;
        stream.flush().await?;
        let mut bytes = Vec::with_capacity(2048);
        loop {
            let ended = stream.read_buf(&mut bytes).await? == 0;
            if let Some(answer) = parse(&bytes, ended)? {
                return Ok(answer);
            }
            if ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if bytes.len() > MAX_ANSWER_BYTES {
                return Err(misbehaved("the answer is larger than 256KiB"));
            }
        }
    }

    async fn encrypted(
        &self,
        stream: TcpStream,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let tls = tls::build(&TlsSettings::default()).map_err(|errors| {
            io::Error::other(errors.first().map_or_else(String::new, ToString::to_string))
        })?;
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        TlsConnector::from(tls.config).connect(name, stream).await
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 and the like.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

fn misbehaved(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The answer, if these bytes are all of it.
fn parse(bytes: &[u8], ended: bool) -> io::Result<Option<Answer>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| misbehaved("what answers there does not speak HTTP"))?;
    let header = |wanted: &str| {
        let mut headers = lines.clone().filter_map(|line| line.split_once(':'));
        let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let body = if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        match unchunked(body)? {
            Some(body) => body,
            None => return Ok(None),
        }
    } else if let Some(length) = header("content-length") {
        let length: usize = length
            .parse()
            .map_err(|_| misbehaved("the answer has no valid length"))?;
        match body.get(..length) {
            Some(body) => body.to_vec(),
            None => return Ok(None),
        }
    } else if ended {
        body.to_vec()
    } else {
        return Ok(None);
    };
    Ok(Some(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}

fn unchunked(mut rest: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = memchr::memmem::find(rest, b"\r\n") else {
            return Ok(None);
        };
        let digits = String::from_utf8_lossy(&rest[..end]);
        let digits = digits.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16)
            .ok()
            .filter(|length| *length <= MAX_ANSWER_BYTES)
            .ok_or_else(|| misbehaved("the answer has a chunk without a valid length"))?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Ok(Some(body));
        }
        let Some(chunk) = rest.get(..length) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        let Some(after) = rest.get(length + 2..) else {
            return Ok(None);
        };
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_as_they_are_written() {
        for (text, shown) in [
            ("http://169.254.169.254", "http://169.254.169.254"),
            ("http://169.254.169.254/", "http://169.254.169.254"),
            ("http://[fd00:ec2::254]", "http://[fd00:ec2::254]"),
            ("http://[::1]:81", "http://[::1]:81"),
            ("https://a.b:443", "https://a.b"),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), shown);
        }
        for text in ["a:1", "ftp://a", "http://", "http://a:b", "http://a/path"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_complete_or_not() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length], false).expect("fine"), None);
        }
        let answer = parse(whole, false).expect("fine").expect("whole");
        assert_eq!((answer.status, answer.body.as_str()), (200, "abc"));
        let chunked = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n";
        for length in 0..chunked.len() - 2 {
            assert_eq!(parse(&chunked[..length], false).expect("fine"), None);
        }
        let answer = parse(chunked, false).expect("fine").expect("whole");
        assert_eq!((answer.status, answer.body.as_str()), (404, "abc"));
        let open = b"HTTP/1.0 200 OK\r\n\r\nab";
        assert_eq!(parse(open, false).expect("fine"), None);
        assert_eq!(parse(open, true).expect("fine").expect("whole").body, "ab");
        assert!(parse(b"SSH-2.0\r\n\r\n", true).is_err());
        let endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n";
        assert!(parse(endless, false).is_err());
    }
}
