//! The HTTP side of the stub: one task a connection, one reused buffer for each direction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use libdeflater::Decompressor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::bulk::{self, Action, Shape};
use crate::http::header;

use super::{Document, Reply, Request, Shared};

/// The largest request body, compressed or not: more than any daemon under test may send.
const MAX_BODY_BYTES: usize = 512 << 20;
const MAX_HEAD_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 256 << 10;

const ROOT: &str = r#"{"name":"stub","cluster_name":"stub","version":{"number":"8.19.21","build_flavor":"default"},"tagline":"You Know, for Search"}"#;

pub(super) async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                shared.counters.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A client that goes away ends its connection, nothing else.
                    Connection::new(stream, shared).serve().await.ok();
                });
            }
            // Out of descriptors, most likely: let some connections end.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    input: Vec<u8>,
    plain: Vec<u8>,
    answer: Vec<u8>,
    decompressor: Decompressor,
}

/// What to do with the connection after a request.
enum Next {
    KeepAlive,
    Close,
}

impl Connection {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        Self {
            stream,
            shared,
            input: Vec::with_capacity(READ_BYTES),
            plain: Vec::new(),
            answer: Vec::new(),
            decompressor: Decompressor::new(),
        }
    }

    async fn serve(mut self) -> std::io::Result<()> {
        self.stream.set_nodelay(true)?;
        while let Some((head, head_bytes)) = self.read_head().await? {
            let length = header(&head, "content-length").map_or(Ok(0), str::parse::<usize>);
            let Some(length) = length.ok().filter(|length| *length <= MAX_BODY_BYTES) else {
                self.respond("413 Content Too Large", &[], b"{}").await?;
                return Ok(());
            };
            if header(&head, "transfer-encoding").is_some() {
                self.respond("411 Length Required", &[], b"{}").await?;
                return Ok(());
            }
            if header(&head, "expect")
                .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
            {
                self.stream
                    .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                    .await?;
            }
            let total = head_bytes + length;
            self.input.reserve(total.saturating_sub(self.input.len()));
            while self.input.len() < total {
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Ok(());
                }
            }
            let next = self.answer_request(&head, head_bytes..total).await?;
            self.input.drain(..total);
            let close = header(&head, "connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("close"));
            if close || matches!(next, Next::Close) {
                self.stream.shutdown().await?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// The head of the next request and its length; `None` when the client has closed.
    async fn read_head(&mut self) -> std::io::Result<Option<(String, usize)>> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.input, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.input[..end]).into_owned();
                return Ok(Some((head, end + 4)));
            }
            if self.input.len() > MAX_HEAD_BYTES {
                return Ok(None);
            }
            self.input.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn answer_request(
        &mut self,
        head: &str,
        body: std::ops::Range<usize>,
    ) -> std::io::Result<Next> {
        let mut words = head.split(' ');
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        if !path
            .split('?')
            .next()
            .is_some_and(|path| path.ends_with("/_bulk"))
        {
            let body = if method == "HEAD" {
                &[][..]
            } else {
                ROOT.as_bytes()
            };
            self.respond("200 OK", &[], body).await?;
            return Ok(Next::KeepAlive);
        }
        let shared = Arc::clone(&self.shared);
        let counters = &shared.counters;
        let number = counters.requests.fetch_add(1, Ordering::Relaxed);
        let wire_bytes = body.len();
        add(&counters.wire_bytes, wire_bytes);

        let input = std::mem::take(&mut self.input);
        let mut plain = std::mem::take(&mut self.plain);
        let compressed = header(head, "content-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("gzip"));
        let inflated = if compressed {
            inflate(&mut self.decompressor, &input[body.clone()], &mut plain)
        } else {
            Ok(())
        };
        let document_bytes = if compressed { &plain[..] } else { &input[body] };
        add(&counters.body_bytes, document_bytes.len());
        let mut actions = Vec::new();
        let parsed = inflated.and_then(|()| bulk::parse(document_bytes, &mut actions));
        let result = match parsed {
            Ok(()) => {
                let request = Request {
                    number,
                    path,
                    head,
                    wire_bytes,
                    body_bytes: document_bytes.len(),
                    actions: &actions,
                };
                let reply = shared.script.as_ref().map_or(Reply::Take, |script| {
                    (script.lock().unwrap_or_else(PoisonError::into_inner))(&request)
                });
                self.carry_out(reply, &actions, Shape::of(path)).await
            }
            Err(reason) => {
                add(&counters.malformed, 1);
                let error = serde_json::json!({
                    "error": { "type": "illegal_argument_exception", "reason": reason },
                    "status": 400
                });
                self.respond("400 Bad Request", &[], error.to_string().as_bytes())
                    .await
                    .map(|()| Next::KeepAlive)
            }
        };
        drop(actions);
        self.input = input;
        self.plain = plain;
        result
    }

    async fn carry_out(
        &mut self,
        mut reply: Reply,
        actions: &[Action<'_>],
        shape: Shape,
    ) -> std::io::Result<Next> {
        while let Reply::After(delay, then) = reply {
            tokio::time::sleep(delay).await;
            reply = *then;
        }
        match reply {
            Reply::Take => {
                self.shared.take(actions, |_| true);
                let mut answer = std::mem::take(&mut self.answer);
                bulk::all_taken(actions, shape, &mut answer);
                let written = self.respond("200 OK", &[], &answer).await;
                self.answer = answer;
                written.map(|()| Next::KeepAlive)
            }
            Reply::Refuse {
                status,
                headers,
                body,
            } => {
                self.shared.take(actions, |_| false);
                self.respond(&format!("{status} Refused"), &headers, body.as_bytes())
                    .await?;
                Ok(Next::KeepAlive)
            }
            Reply::Items(items) => {
                self.shared.take(actions, |number| {
                    items.get(number).is_some_and(bulk::Item::taken)
                });
                let answer = bulk::with_items(actions, &items, shape);
                self.respond("200 OK", &[], answer.as_bytes()).await?;
                Ok(Next::KeepAlive)
            }
            Reply::Garbage(body) => {
                self.shared.take(actions, |_| false);
                self.respond("200 OK", &[], body.as_bytes()).await?;
                Ok(Next::KeepAlive)
            }
            Reply::TakeThenReset => {
                self.shared.take(actions, |_| true);
                self.stream.set_zero_linger()?;
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
            Reply::TakeThenTruncate => {
                self.shared.take(actions, |_| true);
                let mut answer = Vec::new();
                bulk::all_taken(actions, shape, &mut answer);
                let head = response_head("200 OK", &[], answer.len());
                self.stream.write_all(head.as_bytes()).await?;
                self.stream.write_all(&answer[..answer.len() / 2]).await?;
                Ok(Next::Close)
            }
            Reply::Reset => {
                self.shared.take(actions, |_| false);
                self.stream.set_zero_linger()?;
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
            Reply::Silence => {
                self.shared.take(actions, |_| false);
                // Until the client closes; whatever it still sends is of no interest.
                let mut rest = [0; 4096];
                while self.stream.read(&mut rest).await? > 0 {}
                Ok(Next::Close)
            }
            Reply::After(..) => unreachable!("unwrapped above"),
        }
    }

    async fn respond(
        &mut self,
        status: &str,
        headers: &[String],
        body: &[u8],
    ) -> std::io::Result<()> {
        let head = response_head(status, headers, body.len());
        // One write for small answers; big ones are not copied.
        if body.len() < 16 << 10 {
            let mut whole = head.into_bytes();
            whole.extend_from_slice(body);
            return self.stream.write_all(&whole).await;
        }
        self.stream.write_all(head.as_bytes()).await?;
        self.stream.write_all(body).await
    }
}

impl Shared {
    /// Counts and records what was taken of a request. Called before the answer is written: a
    /// client that has its answer finds the documents.
    fn take(&self, actions: &[Action<'_>], taken: impl Fn(usize) -> bool) {
        let mut count = 0;
        let mut documents = self
            .documents
            .as_ref()
            .map(|documents| documents.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, action) in actions.iter().enumerate() {
            if taken(number) {
                count += 1;
                if let Some(documents) = &mut documents {
                    documents.push(Document {
                        action: String::from_utf8_lossy(action.line).into_owned(),
                        source: String::from_utf8_lossy(action.source).into_owned(),
                    });
                }
            }
        }
        add(&self.counters.taken, count);
        add(&self.counters.refused, actions.len() - count);
    }
}

fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}

fn response_head(status: &str, headers: &[String], length: usize) -> String {
    let mut head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
    );
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head
}

/// Inflates a single-member gzip body; its last four bytes tell the size.
fn inflate(
    decompressor: &mut Decompressor,
    body: &[u8],
    plain: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let size = body
        .last_chunk::<4>()
        .map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let size = size
        .filter(|size| *size <= MAX_BODY_BYTES)
        .ok_or("not gzip, or too large")?;
    plain.resize(size, 0);
    match decompressor.gzip_decompress(body, plain) {
        Ok(length) if length == size => Ok(()),
        _ => Err("not valid gzip"),
    }
}
