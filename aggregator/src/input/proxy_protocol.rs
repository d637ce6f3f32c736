//! The header that a proxy (nginx, a load balancer of a cloud) sends in front of a connection, to say
//! whose it is: PROXY protocol, versions 1 and 2.
//!
//! ```text
//! PROXY TCP4 192.0.2.1 198.51.100.9 56324 514\r\n
//! ```
//!
//! or, for version 2, twelve fixed bytes, version and command, family, the length of the rest (two
//! bytes, high one first), addresses and ports, and extensions that are passed over.
//!
//! Exactly the header is read, nothing of what follows it: that may be a TLS handshake. It has
//! [`TIMEOUT`] to come, and [`MAX_LENGTH`] bytes at most.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tracing::{debug, warn};

use crate::throttle::Throttle;

/// How long the header may take to come.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest rest of a header of version 2.
pub(super) const MAX_LENGTH: usize = 4096;
/// The longest header of version 1, as the protocol has it.
const MAX_LINE: usize = 107;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Why a connection has no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// It broke, or ended.
    #[error("{0}")]
    Broken(#[from] std::io::Error),
    /// It ended before a byte came.
    #[error("nothing came")]
    Nothing,
    /// It took too long.
    #[error("no header came within {TIMEOUT:?}")]
    Slow,
    /// Something else came.
    #[error("what came is no header: is it a proxy that connects, and is it told to send one?")]
    NoHeader,
    /// The header is wrong.
    #[error("the header says `{0}`")]
    Malformed(String),
    /// The header is too long.
    #[error("the header has {0} bytes, more than {MAX_LENGTH}")]
    TooLong(usize),
}

/// Whose connection it is: what the header says, or `peer` if the proxy speaks for itself. Nothing if there is
/// no header, which is said in the log now and then; a health check that connects and leaves is no such case.
pub(super) async fn client<S: AsyncRead + Unpin>(
    stream: &mut S,
    peer: SocketAddr,
    refused: &Throttle,
) -> Option<SocketAddr> {
    match read(stream).await {
        Ok(client) => Some(client.unwrap_or(peer)),
        Err(ProxyError::Nothing) => {
            debug!(%peer, "connected and sent nothing");
            None
        }
        Err(error) => {
            if let Some(count) = refused.due(1) {
                warn!(%peer, %error, count, "closed the connection: it does not begin as the PROXY protocol does");
            }
            None
        }
    }
}

/// Reads the header: the address of the client, or nothing if the proxy says none.
async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<SocketAddr>, ProxyError> {
    tokio::time::timeout(TIMEOUT, read_header(stream))
        .await
        .map_err(|_| ProxyError::Slow)?
}

async fn read_header<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<Option<SocketAddr>, ProxyError> {
    // The shortest line of version 1 is longer than this.
    let mut start = [0; SIGNATURE.len()];
    let first = stream.read(&mut start).await?;
    if first == 0 {
        return Err(ProxyError::Nothing);
    }
    stream.read_exact(&mut start[first..]).await?;
    if start == SIGNATURE {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let [version, family, high, low] = head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_LENGTH {
            return Err(ProxyError::TooLong(length));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        return binary(version, family, &rest);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(ProxyError::NoHeader);
    }
    let mut line = start.to_vec();
    while line.last() != Some(&b'\n') {
        if line.len() == MAX_LINE {
            return Err(ProxyError::Malformed(text(&line)));
        }
        line.push(stream.read_u8().await?);
    }
    if line[b"PROXY ".len()..].starts_with(b"UNKNOWN") {
        return Ok(None);
    }
    let address = line_address(&line);
    address
        .map(Some)
        .ok_or_else(|| ProxyError::Malformed(text(&line)))
}

/// The address that a line of version 1 says; nothing if it is wrong.
fn line_address(line: &[u8]) -> Option<SocketAddr> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace().skip(1);
    let family = words.next()?;
    let (source, _destination, port) = (words.next()?, words.next()?, words.next()?);
    let ip: IpAddr = source.parse().ok()?;
    let fits = match family {
        "TCP4" => ip.is_ipv4(),
        "TCP6" => ip.is_ipv6(),
        _ => false,
    };
    fits.then_some(SocketAddr::new(ip, port.parse().ok()?))
}

/// What a header of version 2 says.
fn binary(version: u8, family: u8, rest: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let malformed = || ProxyError::Malformed(format!("{version:02x} {family:02x}"));
    match version {
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(malformed()),
    }
    let address = match family >> 4 {
        1 => rest.first_chunk::<12>().map(|addresses| {
            let [a, b, c, d, .., high, low, _, _] = *addresses;
            let ip = Ipv4Addr::new(a, b, c, d).into();
            SocketAddr::new(ip, u16::from_be_bytes([high, low]))
        }),
        2 => rest.first_chunk::<36>().and_then(|addresses| {
            let ip: [u8; 16] = addresses[..16].try_into().ok()?;
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), port))
        }),
        // Not said, or a socket without an address.
        0 | 3 => return Ok(None),
        _ => None,
    };
    address.map(Some).ok_or_else(malformed)
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the header says and what is left behind it.
    async fn answer(bytes: &[u8]) -> (String, Vec<u8>) {
        let mut stream = bytes;
        let said = match read(&mut stream).await {
            Ok(Some(address)) => address.to_string(),
            Ok(None) => "none".into(),
            Err(error) => error.to_string(),
        };
        (said, stream.to_vec())
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn headers_are_read_and_nothing_behind_them() {
        let ipv4 = [192, 0, 2, 1, 198, 51, 100, 9, 0xdc, 0x04, 2, 2];
        let mut ipv6 = vec![0; 36];
        (ipv6[15], ipv6[33]) = (1, 80);
        // With an extension behind the addresses.
        let extended = [&ipv4[..], &[4, 0, 1, 0]].concat();
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.9 56324 514\r\n".to_vec(),
                "192.0.2.1:56324",
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 1 514\n".to_vec(),
                "[2001:db8::1]:1",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), "none"),
            (b"PROXY UNKNOWN ff::1 ff::2 3 4\r\n".to_vec(), "none"),
            (version_2(0x21, 0x11, &extended), "192.0.2.1:56324"),
            (version_2(0x21, 0x21, &ipv6), "[::1]:80"),
            (version_2(0x20, 0x00, b""), "none"),
            (version_2(0x21, 0x31, &[0; 216]), "none"),
        ] {
            let (said, left) = answer(&[&header[..], b"<13>text"].concat()).await;
            assert_eq!(said, expected, "{header:?}");
            assert_eq!(left, b"<13>text");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        for (bytes, part) in [
            (&b"<13>Oct 11 22:14:15 host su: x\n"[..], "no header"),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n", "TCP4 ::1"),
            (b"PROXY TCP4 192.0.2.1\r\n", "192.0.2.1"),
            (b"PROXY TCP4 192.0.2.1 1.1.1.1 70000 1\r\n", "70000"),
            (b"", "nothing came"),
            (b"PROXY", "early eof"),
            (&[b"PROXY ".as_slice(), &[b'x'; 200]].concat(), "xxx"),
            (&version_2(0x31, 0x11, &[0; 12]), "31 11"),
            (&version_2(0x21, 0x11, &[0; 11]), "21 11"),
            (&version_2(0x21, 0x51, &[0; 12]), "21 51"),
            (&version_2(0x21, 0x11, &[0; 5000]), "5000 bytes"),
        ] {
            let (said, _) = answer(bytes).await;
            assert!(said.contains(part), "{said}");
        }
    }
}
