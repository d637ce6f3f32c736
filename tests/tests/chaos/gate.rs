//! An HTTP proxy between an aggregator and the search cluster.
//!
//! It passes requests on one by one, and can refuse them, keep them waiting, or keep the answers to
//! itself: then the cluster has the documents and the aggregator does not know it. A cluster that
//! does not answer shows as a closed connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use skidder_tests::environment::loopback;

const POLL: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a side may take for one message.
const PATIENCE: Duration = Duration::from_mins(2);

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// They are passed on.
    Open,
    /// They are answered with 429.
    TooMany,
    /// They are answered with 503.
    Unavailable,
    /// They are passed on, and the connection is closed in the place of an answer.
    NoAnswer,
    /// They are passed on, and half of the answer comes.
    HalfAnswer,
    /// They wait.
    Stalled,
    /// The connection is closed.
    Refusing,
}

/// A proxy with a port of its own.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Where the aggregator sends its requests.
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cluster: SocketAddr,
    mode: AtomicU8,
    /// All are answered with 429, whatever the mode is.
    storm: AtomicBool,
    closed: AtomicBool,
    disturbed: AtomicU64,
}

impl Gate {
    /// A gate before a cluster, open.
    pub(crate) fn to(cluster: &str) -> Result<Self> {
        let listener = TcpListener::bind(loopback(0)).context("binding a gate's port")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            cluster: cluster.parse().context("the cluster's address")?,
            mode: AtomicU8::new(Mode::Open as u8),
            storm: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            disturbed: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            while !accepting.closed.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let shared = Arc::clone(&accepting);
                        // The end of a connection is no error here, whatever its reason.
                        std::thread::spawn(move || shared.serve(&stream).ok());
                    }
                    Err(_) => std::thread::sleep(POLL),
                }
            }
        });
        Ok(Self { port, shared })
    }

    /// Changes what it does.
    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Begins or ends a storm: everything that would be passed on is answered with 429.
    pub(crate) fn storm(&self, on: bool) {
        self.shared.storm.store(on, Ordering::SeqCst);
    }

    /// How many requests were not passed on, or not answered.
    pub(crate) fn disturbed(&self) -> u64 {
        self.shared.disturbed.load(Ordering::SeqCst)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
    }
}

/// The head and the body of a request or an answer, as they came.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        let storm = self.storm.load(Ordering::SeqCst);
        let set = self.mode.load(Ordering::SeqCst) == mode as u8;
        match mode {
            Mode::TooMany => set || storm,
            Mode::Open => set && !storm,
            _ => set,
        }
    }

    fn serve(&self, client: &TcpStream) -> Result<()> {
        client.set_nonblocking(false)?;
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(PATIENCE))?;
        let mut requests = BufReader::new(client);
        let mut cluster: Option<BufReader<TcpStream>> = None;
        while let Some(request) = read(&mut requests, false)? {
            while self.is(Mode::Stalled) && !self.closed.load(Ordering::SeqCst) {
                std::thread::sleep(POLL);
            }
            if !self.is(Mode::Open) {
                self.disturbed.fetch_add(1, Ordering::SeqCst);
            }
            if self.is(Mode::Refusing) {
                return Ok(());
            }
            if self.is(Mode::TooMany) {
                refuse(client, "429 Too Many Requests")?;
                continue;
            }
            if self.is(Mode::Unavailable) {
                refuse(client, "503 Service Unavailable")?;
                continue;
            }
            let upstream = match &mut cluster {
                Some(upstream) => upstream,
                None => {
                    let stream = TcpStream::connect_timeout(&self.cluster, CONNECT_TIMEOUT)?;
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    cluster.insert(BufReader::new(stream))
                }
            };
            upstream.get_mut().write_all(request.head.as_bytes())?;
            upstream.get_mut().write_all(&request.body)?;
            let bodiless = request.head.starts_with("HEAD ");
            let answer = read(upstream, bodiless)?.context("the cluster closed the connection")?;
            if self.is(Mode::NoAnswer) {
                return Ok(());
            }
            let mut writer = client;
            writer.write_all(answer.head.as_bytes())?;
            if self.is(Mode::HalfAnswer) {
                writer.write_all(&answer.body[..answer.body.len() / 2])?;
                return Ok(());
            }
            writer.write_all(&answer.body)?;
        }
        Ok(())
    }
}

fn refuse(mut client: &TcpStream, status: &str) -> Result<()> {
    let body = r#"{"error":{"type":"rejected_execution_exception","reason":"by the test"}}"#;
    let head = "content-type: application/json";
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status}\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    Ok(())
}

/// Reads one message whose body has a length; `None` at the end of the connection.
fn read<R: BufRead>(reader: &mut R, bodiless: bool) -> Result<Option<Message>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            if head.is_empty() {
                return Ok(None);
            }
            bail!("closed in a head: {head}");
        }
    }
    let mut length = 0;
    for line in head.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("a body without a length is not expected here: {head}");
        }
    }
    let mut body = vec![0; if bodiless { 0 } else { length }];
    reader.read_exact(&mut body)?;
    Ok(Some(Message { head, body }))
}
