//! A scripted search server on 127.0.0.1: HTTP/1.1 written by hand, so that it can misbehave.
//!
//! Every request is read in full, unpacked, recorded and answered as the test's closure says. Items
//! that were answered with 200 to 299, or with 409, count as stored, whether or not the answer
//! arrived.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// One request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// Unpacked.
    pub(crate) body: Vec<u8>,
    /// The size on the wire.
    pub(crate) wire_length: usize,
}

impl Request {
    /// The document or, for a delete, the action of each item.
    pub(crate) fn documents(&self) -> Vec<String> {
        let text = String::from_utf8(self.body.clone()).unwrap();
        assert!(text.ends_with('\n'), "a bulk body ends in a newline");
        let mut lines = text.lines();
        let mut documents = Vec::new();
        while let Some(action) = lines.next() {
            if action.starts_with("{\"delete\"") {
                documents.push(action.to_owned());
            } else {
                documents.push(
                    lines
                        .next()
                        .expect("each action has its document")
                        .to_owned(),
                );
            }
        }
        documents
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Every item is stored; the short form that `filter_path` asks for.
    Stored,
    /// One status per item, with an error type for those that are errors.
    Items(Vec<(u16, &'static str)>),
    /// This status and body.
    Status(u16, String),
    /// This status with a header.
    Header(u16, &'static str, String),
    /// Every item is stored, but the answer has this body.
    Body(String),
    /// Every item is stored, but the answer stops after so many bytes.
    Truncated(usize),
    /// The connection is closed without an answer; nothing is stored.
    Close,
    /// Nothing is answered for so long, then [`Reply::Stored`].
    Slow(Duration),
}

type Script = Box<dyn FnMut(&Request) -> Reply + Send>;

struct State {
    script: Script,
    bulk: Vec<Request>,
    probes: Vec<Request>,
    calls: Vec<Request>,
    stored: Vec<String>,
}

/// The running server; ends when dropped.
pub(crate) struct Stub {
    port: u16,
    tls: bool,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Stub {
    pub(crate) async fn start(script: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, None, Box::new(script))
    }

    pub(crate) async fn start_tls(
        acceptor: TlsAcceptor,
        script: impl FnMut(&Request) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, Some(acceptor), Box::new(script))
    }

    fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, script: Script) -> Self {
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            script,
            bulk: Vec::new(),
            probes: Vec::new(),
            calls: Vec::new(),
            stored: Vec::new(),
        }));
        let tls = acceptor.is_some();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    // Errors here are the client going away, which is its right.
                    let _ended = connection(stream, acceptor, state).await;
                });
            }
        });
        Self {
            port,
            tls,
            state,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "{}://127.0.0.1:{}",
            if self.tls { "https" } else { "http" },
            self.port
        )
    }

    /// The bulk requests so far.
    pub(crate) fn bulk(&self) -> Vec<Request> {
        self.state.lock().unwrap().bulk.clone()
    }

    /// The health probes so far.
    pub(crate) fn probes(&self) -> Vec<Request> {
        self.state.lock().unwrap().probes.clone()
    }

    /// What else was asked so far.
    pub(crate) fn calls(&self) -> Vec<Request> {
        self.state.lock().unwrap().calls.clone()
    }

    /// What was stored so far, in order.
    pub(crate) fn stored(&self) -> Vec<String> {
        self.state.lock().unwrap().stored.clone()
    }
}

/// A port that refuses connections until the server on it is started.
pub(crate) struct Reserved {
    socket: tokio::net::TcpSocket,
    port: u16,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = socket.local_addr().unwrap().port();
        Self { socket, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn start(self, script: impl FnMut(&Request) -> Reply + Send + 'static) -> Stub {
        Stub::serve(self.socket.listen(64).unwrap(), None, Box::new(script))
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
) -> io::Result<()> {
    // Head and body go in two writes: without this each answer takes 40 ms.
    stream.set_nodelay(true)?;
    match acceptor {
        Some(acceptor) => requests(acceptor.accept(stream).await?, state).await,
        None => requests(stream, state).await,
    }
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    state: Arc<Mutex<State>>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    if stream.fill_buf().await?.first() == Some(&TLS_HANDSHAKE) {
        return stream
            .get_mut()
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await;
    }
    while let Some(request) = read_request(&mut stream).await? {
        if request.method == "HEAD" && request.target == "/" {
            state.lock().unwrap().probes.push(request);
            stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await?;
            continue;
        }
        let reply = {
            let mut state = state.lock().unwrap();
            let reply = (state.script)(&request);
            let is_bulk = request.target.contains("/_bulk");
            let documents = if is_bulk {
                state.bulk.push(request.clone());
                request.documents()
            } else {
                state.calls.push(request.clone());
                Vec::new()
            };
            match &reply {
                Reply::Stored | Reply::Body(_) | Reply::Truncated(_) | Reply::Slow(_) => {
                    state.stored.extend(documents);
                }
                Reply::Items(items) => {
                    let taken = documents.into_iter().zip(items);
                    state.stored.extend(
                        taken
                            .filter(|(_, (status, _))| *status < 300 || *status == 409)
                            .map(|(text, _)| text),
                    );
                }
                Reply::Status(..) | Reply::Header(..) | Reply::Close => {}
            }
            reply
        };
        let all = || {
            let items = vec![r#"{"index":{"status":201}}"#; request.documents().len()].join(",");
            format!("{{\"errors\":false,\"items\":[{items}]}}")
        };
        let (status, header, body, sent) = match reply {
            Reply::Stored => (200, String::new(), all(), None),
            Reply::Slow(time) => {
                tokio::time::sleep(time).await;
                (200, String::new(), all(), None)
            }
            Reply::Items(items) => (200, String::new(), answer(&items), None),
            Reply::Status(status, body) => (status, String::new(), body, None),
            Reply::Header(status, name, value) => {
                (status, format!("{name}: {value}\r\n"), String::new(), None)
            }
            Reply::Body(body) => (200, String::new(), body, None),
            Reply::Truncated(length) => (200, String::new(), all(), Some(length)),
            Reply::Close => return Ok(()),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes()).await?;
        if request.method == "HEAD" {
            stream.get_mut().flush().await?;
            continue;
        }
        if let Some(length) = sent {
            stream
                .get_mut()
                .write_all(&body.as_bytes()[..length])
                .await?;
            stream.get_mut().flush().await?;
            return Ok(());
        }
        stream.get_mut().write_all(body.as_bytes()).await?;
        stream.get_mut().flush().await?;
    }
    Ok(())
}

/// The answer to a bulk request as servers write it.
pub(crate) fn answer(items: &[(u16, &str)]) -> String {
    let texts: Vec<String> = items
        .iter()
        .map(|(status, error)| {
            if *status < 300 {
                format!("{{\"index\":{{\"status\":{status}}}}}")
            } else {
                format!(
                    "{{\"index\":{{\"status\":{status},\"error\":{{\"type\":\"{error}\",\"reason\":\"because\"}}}}}}"
                )
            }
        })
        .collect();
    let errors = items.iter().any(|(status, _)| *status >= 300);
    format!("{{\"errors\":{errors},\"items\":[{}]}}", texts.join(","))
}

/// The first byte that a TLS client sends; no HTTP method begins with it.
const TLS_HANDSHAKE: u8 = 22;

async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut BufReader<S>,
) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    if headers
        .get("content-encoding")
        .is_some_and(|encoding| encoding == "gzip")
    {
        let unpacked = headers["x-elastic-uncompressed-request-length"]
            .parse()
            .unwrap();
        let mut plain = vec![0; unpacked];
        let length = libdeflater::Decompressor::new()
            .gzip_decompress(&body, &mut plain)
            .unwrap();
        assert_eq!(
            length, unpacked,
            "the uncompressed length that was announced"
        );
        body = plain;
    }
    Ok(Some(Request {
        method,
        target,
        headers,
        body,
        wire_length: length,
    }))
}
