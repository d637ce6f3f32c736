//! CONNECT, of RFC 9110 §9.3.6.
//!
//! The answer is a head without a body: whatever its headers say, what follows a 2xx is the server's. The
//! bytes are looked at before they are taken, so that none of these is lost. Not done: other ways to log in
//! than Basic (RFC 7617), and redirects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Target, broken};
use crate::config::proxy::Credentials;

/// The longest answer of a proxy, with all the interim ones before it.
const MAX_ANSWER_BYTES: usize = 16 << 10;
/// So much of the proxy's own words is repeated.
const MAX_REASON_BYTES: usize = 80;
/// Long enough to tell that it is no HTTP.
const BEGINNING: &[u8] = b"HTTP/1.";

/// Asks for a tunnel, and returns when the stream is the server's.
pub(super) async fn connect(
    stream: &mut TcpStream,
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<(), String> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(Credentials { user, password }) = credentials {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        request.extend(["Proxy-Authorization: Basic ", &encoded, "\r\n"]);
    }
    request.push_str("\r\n");
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(|error| broken(&error))?;
    let mut read = 0;
    loop {
        let head = read_head(stream, MAX_ANSWER_BYTES - read).await?;
        read += head.len();
        match Answer::parse(&head)? {
            Answer { status: 101, .. } => return Err(not_http()),
            Answer {
                status: 100..=199, ..
            } => {}
            Answer {
                status: 200..=299, ..
            } => return Ok(()),
            answer => return Err(answer.refusal(target, credentials.is_some())),
        }
    }
}

/// Reads up to and including the empty line.
async fn read_head(stream: &mut TcpStream, limit: usize) -> Result<Vec<u8>, String> {
    let mut head = Vec::new();
    let mut line_is_empty = false;
    loop {
        let mut peeked = [0; 2048];
        let count = stream.peek(&mut peeked).await;
        let count = count.map_err(|error| broken(&error))?;
        if count == 0 {
            return Err(broken(&std::io::ErrorKind::UnexpectedEof.into()));
        }
        let mut end = None;
        for (index, byte) in peeked[..count].iter().enumerate() {
            match byte {
                b'\n' if line_is_empty => {
                    end = Some(index + 1);
                    break;
                }
                b'\n' => line_is_empty = true,
                b'\r' => {}
                _ => line_is_empty = false,
            }
        }
        let taken = end.unwrap_or(count);
        let begun = head.len();
        head.resize(begun + taken, 0);
        let read = stream.read_exact(&mut head[begun..]).await;
        read.map_err(|error| broken(&error))?;
        let known = head.len().min(BEGINNING.len());
        if head[..known] != BEGINNING[..known] {
            return Err(other_protocol(&head));
        }
        if head.len() > limit {
            return Err(format!(
                "the proxy's answer is longer than {MAX_ANSWER_BYTES} bytes; is it an HTTP proxy?"
            ));
        }
        if end.is_some() {
            return Ok(head);
        }
    }
}

fn other_protocol(head: &[u8]) -> String {
    match head.first() {
        Some(5) => "what answers there speaks SOCKS5; write `socks5://`".to_owned(),
        Some(0x15 | 0x16) => {
            "what answers there wants TLS, and TLS to the proxy itself is not supported; use its plain port"
                .to_owned()
        }
        _ => not_http(),
    }
}

fn not_http() -> String {
    "what answers there is no HTTP proxy; is it the right port?".to_owned()
}

struct Answer {
    status: u16,
    /// As the proxy says it, cut and cleaned.
    reason: String,
    /// The ways to log in that it offers.
    schemes: Vec<String>,
}

impl Answer {
    fn parse(head: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines();
        let mut words = lines.next().unwrap_or_default().splitn(3, ' ');
        let status = words.nth(1).filter(|digits| digits.len() == 3);
        let status = status.and_then(|digits| digits.parse().ok());
        let mut schemes: Vec<String> = Vec::new();
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            // Schemes are letters; what else a challenge says is of no use here.
            let scheme = value.split_whitespace().next().unwrap_or_default();
            if name.eq_ignore_ascii_case("proxy-authenticate")
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && schemes.len() < 4
            {
                schemes.push(clean(scheme));
            }
        }
        Ok(Self {
            status: status.ok_or_else(not_http)?,
            reason: clean(words.next().unwrap_or_default()),
            schemes,
        })
    }

    /// Why there is no tunnel, and what to do.
    fn refusal(&self, target: &Target, has_credentials: bool) -> String {
        let Self { status, reason, .. } = self;
        let advice = match status {
            407 => return self.wants_login(has_credentials),
            403 => format!("its rules forbid it: allow CONNECT to {target} there (port and name)"),
            400 | 405 | 501 => "is it a proxy, and does it allow CONNECT?".to_owned(),
            404 | 500 | 502..=504 => {
                format!(
                    "it does not reach {target}: is the server running, does the proxy resolve its name?"
                )
            }
            429 => "it has too many connections".to_owned(),
            _ => "see the proxy's log".to_owned(),
        };
        format!("the proxy answers {status} {reason}; {advice}")
    }

    fn wants_login(&self, has_credentials: bool) -> String {
        let Self { reason, .. } = self;
        let offered = self.schemes.join(", ");
        let knows_basic = self
            .schemes
            .iter()
            .any(|scheme| scheme.eq_ignore_ascii_case("basic"));
        if !self.schemes.is_empty() && !knows_basic {
            return format!(
                "the proxy answers 407 {reason}; it wants a log-in by {offered}, and only Basic is supported"
            );
        }
        if has_credentials {
            return format!(
                "the proxy answers 407 {reason}; it does not accept the user and password in `proxy`"
            );
        }
        format!(
            "the proxy answers 407 {reason}; it wants a user and a password: \
             `proxy: http://user:password@host:port`"
        )
    }
}

/// Words of the proxy for the log.
fn clean(text: &str) -> String {
    let visible = text.chars().filter(|letter| !letter.is_control());
    let mut cleaned = String::new();
    for letter in visible {
        if cleaned.len() + letter.len_utf8() > MAX_REASON_BYTES {
            break;
        }
        cleaned.push(letter);
    }
    cleaned.trim().to_owned()
}
