//! A fake search cluster that only knows `_bulk`.
//!
//! Two uses. [`Stub::counting`] takes everything and counts it, fast enough to measure the
//! daemons in front of it. [`Stub::scripted`] asks a closure what to answer to each bulk
//! request: refusals, broken item lists, delays, resets. Both record the documents they took
//! when asked to.
//!
//! INVARIANT: a document counts as taken (and is recorded) exactly when a real cluster would
//! have made it durable: its item was answered with 200 or 201, or the answer to a request that
//! was taken got lost on the way ([`Reply::TakeThenReset`], [`Reply::TakeThenTruncate`]).
//!
//! HTTP/1.1 with keep-alive, `Content-Length` bodies, gzip request bodies; no TLS.

mod bulk;
mod connection;

pub use self::bulk::{Action, Item};

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::oneshot;

/// What to answer to one bulk request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Take everything.
    Take,
    /// Refuse the request as a whole.
    Refuse {
        /// The status code.
        status: u16,
        /// Further header lines, without line ends.
        headers: Vec<String>,
        /// The body.
        body: String,
    },
    /// Answer 200 with these items, one for one; a list that is too short or too long is sent
    /// as it is. What is taken is decided item by item.
    Items(Vec<Item>),
    /// Answer 200 with a body that is no bulk answer. Nothing is taken.
    Garbage(String),
    /// Take everything, then reset the connection instead of answering.
    TakeThenReset,
    /// Take everything, then send only the first half of the answer and close.
    TakeThenTruncate,
    /// Reset the connection. Nothing is taken.
    Reset,
    /// Never answer; the connection stays open until the client gives up.
    Silence,
    /// Wait first.
    After(Duration, Box<Self>),
}

impl Reply {
    /// A refusal with a body as the servers write it.
    pub fn refuse(status: u16) -> Self {
        let kind = match status {
            429 => "circuit_breaking_exception",
            413 => "content_too_long_exception",
            _ => "unavailable_exception",
        };
        Self::Refuse {
            status,
            headers: Vec::new(),
            body: format!(
                r#"{{"error":{{"type":"{kind}","reason":"refused by the test"}},"status":{status}}}"#
            ),
        }
    }
}

/// One bulk request, as a script sees it.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its number, from 0.
    pub number: u64,
    /// The path with its query.
    pub path: &'a str,
    /// The head as it came, with all header lines.
    pub head: &'a str,
    /// The length of the body as sent (compressed or not).
    pub wire_bytes: usize,
    /// The length of the body itself.
    pub body_bytes: usize,
    /// The actions in it.
    pub actions: &'a [Action<'a>],
}

/// Decides about each request.
pub type Script = Box<dyn FnMut(&Request<'_>) -> Reply + Send>;

/// A document that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The action line.
    pub action: String,
    /// The document; empty for a delete.
    pub source: String,
}

/// What a stub has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Bulk requests received, answered or not.
    pub requests: u64,
    /// Items taken.
    pub taken: u64,
    /// Items refused, with their request or by themselves.
    pub refused: u64,
    /// Body bytes as they came over the wire.
    pub wire_bytes: u64,
    /// Body bytes after decompression.
    pub body_bytes: u64,
    /// Requests that were no valid bulk request; the reason was answered with status 400.
    pub malformed: u64,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    requests: AtomicU64,
    taken: AtomicU64,
    refused: AtomicU64,
    wire_bytes: AtomicU64,
    body_bytes: AtomicU64,
    malformed: AtomicU64,
}

/// What the connections of a stub share.
struct Shared {
    counters: Counters,
    script: Option<Mutex<Script>>,
    documents: Option<Mutex<Vec<Document>>>,
}

/// A running stub; dropping it closes its port and all its connections.
pub struct Stub {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// Takes everything and only counts.
    pub fn counting() -> Result<Self> {
        Self::start(None, false, 0)
    }

    /// Takes everything and records it.
    pub fn recording() -> Result<Self> {
        Self::start(None, true, 0)
    }

    /// Answers as the script says and records what was taken.
    pub fn scripted<S>(script: S) -> Result<Self>
    where
        S: FnMut(&Request<'_>) -> Reply + Send + 'static,
    {
        Self::start(Some(Box::new(script)), true, 0)
    }

    /// Takes everything while the switch is on, and nothing (503) while it is off.
    pub fn switched(on: bool) -> Result<(Self, Arc<AtomicBool>)> {
        let switch = Arc::new(AtomicBool::new(on));
        let read = Arc::clone(&switch);
        let stub = Self::scripted(move |_| {
            if read.load(Ordering::SeqCst) {
                Reply::Take
            } else {
                Reply::refuse(503)
            }
        })?;
        Ok((stub, switch))
    }

    /// A recording stub on a given port, for a cluster that comes back after an outage.
    pub fn recording_on(port: u16) -> Result<Self> {
        Self::start(None, true, port)
    }

    fn start(script: Option<Script>, record: bool, port: u16) -> Result<Self> {
        let shared = Arc::new(Shared {
            counters: Counters::default(),
            script: script.map(Mutex::new),
            documents: record.then(Mutex::default),
        });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("binding 127.0.0.1:{port}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("bulk-stub".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = connection::accept(listener, for_thread) => {}
                        _ = stopped => {}
                    }
                });
                // Dropping the runtime here drops the tasks, and with them every connection.
            })?;
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `127.0.0.1:PORT`, as the `hosts` option of an output takes it.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen so far.
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: read(&counters.connections),
            requests: read(&counters.requests),
            taken: read(&counters.taken),
            refused: read(&counters.refused),
            wire_bytes: read(&counters.wire_bytes),
            body_bytes: read(&counters.body_bytes),
            malformed: read(&counters.malformed),
        }
    }

    /// The documents taken so far, in the order they were taken; none when it only counts.
    pub fn documents(&self) -> Vec<Document> {
        self.shared
            .documents
            .as_ref()
            .map_or_else(Vec::new, |documents| {
                documents
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone()
            })
    }

    /// Waits until so many items were taken.
    pub fn wait_for_taken(&self, wanted: u64, deadline: Duration) -> Result<()> {
        crate::wait::until(&format!("{wanted} items at the stub"), deadline, || {
            let counts = self.counts();
            if counts.taken >= wanted {
                Ok(())
            } else {
                Err(format!("{counts:?}"))
            }
        })
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl std::fmt::Debug for Stub {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Stub")
            .field("address", &self.address)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    const BULK: &str = "{\"index\":{\"_index\":\"a\"}}\n{\"n\":1}\n{\"delete\":{\"_id\":\"x\"}}\n{\"create\":{}}\n{\"n\":2}\n";
    const TIMEOUT: Duration = Duration::from_secs(30);

    fn post(stub: &Stub) -> Result<http::Response> {
        http::request(stub.address(), "POST", "/_bulk", Some(BULK), TIMEOUT)
    }

    #[test]
    fn takes_counts_and_records() {
        let stub = Stub::recording().unwrap();
        let answer = post(&stub).unwrap().json().unwrap();
        assert_eq!(answer["errors"], false);
        let items = answer["items"].as_array().unwrap();
        assert_eq!(items.len(), 3);
        assert_eq!(items[0]["index"]["status"], 201);
        assert_eq!(items[1]["delete"]["status"], 200);
        assert_eq!(items[2]["create"]["status"], 201);
        assert_eq!(stub.counts().taken, 3);
        let documents = stub.documents();
        assert_eq!(documents[0].source, "{\"n\":1}");
        assert_eq!(documents[1].source, "");
        assert_eq!(documents[2].action, "{\"create\":{}}");
    }

    #[test]
    fn the_counting_stub_reads_gzip_and_keeps_the_connection() {
        let stub = Stub::counting().unwrap();
        let mut compressor =
            libdeflater::Compressor::new(libdeflater::CompressionLvl::new(1).unwrap());
        let mut body = vec![0; compressor.gzip_compress_bound(BULK.len())];
        let length = compressor
            .gzip_compress(BULK.as_bytes(), &mut body)
            .unwrap();
        body.truncate(length);
        let mut stream = TcpStream::connect(stub.address()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        for round in 1..=2 {
            write!(
                stream,
                "POST /_bulk HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
            )
            .unwrap();
            stream.write_all(&body).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"]}") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.push(byte[0]);
            }
            assert_eq!(stub.counts().taken, 3 * round);
        }
        let counts = stub.counts();
        assert_eq!(counts.connections, 1);
        assert_eq!(counts.wire_bytes, 2 * length as u64);
        assert_eq!(counts.body_bytes, 2 * BULK.len() as u64);
    }

    #[test]
    fn follows_its_script() {
        let stub = Stub::scripted(|request| match request.number {
            0 => Reply::refuse(429),
            1 => Reply::Items(vec![Item::ok(201), Item::error(429, "es_rejected", "busy")]),
            2 => Reply::Garbage("<html>".to_owned()),
            3 => Reply::Reset,
            4 => Reply::TakeThenReset,
            5 => Reply::TakeThenTruncate,
            _ => Reply::After(Duration::from_millis(1), Box::new(Reply::Take)),
        })
        .unwrap();
        let refused = post(&stub).unwrap();
        assert_eq!(refused.status, 429);
        assert_eq!(refused.json().unwrap()["status"], 429);
        let partial = post(&stub).unwrap().json().unwrap();
        assert_eq!(partial["errors"], true);
        assert_eq!(partial["items"].as_array().unwrap().len(), 2);
        assert_eq!(partial["items"][1]["delete"]["error"]["reason"], "busy");
        assert_eq!(stub.counts().taken, 1);
        assert!(post(&stub).unwrap().json().is_err());
        assert!(post(&stub).is_err());
        assert_eq!(stub.counts().taken, 1);
        assert!(post(&stub).is_err());
        assert_eq!(stub.counts().taken, 4);
        assert!(post(&stub).is_err());
        assert_eq!(stub.counts().taken, 7);
        assert_eq!(post(&stub).unwrap().status, 200);
        assert_eq!(stub.documents().len(), 10);
        assert_eq!(stub.counts().requests, 7);
    }

    #[test]
    fn answers_what_a_health_check_asks() {
        let stub = Stub::counting().unwrap();
        assert_eq!(
            http::request(stub.address(), "HEAD", "/", None, TIMEOUT)
                .unwrap()
                .status,
            200
        );
        let root = http::request(stub.address(), "GET", "/", None, TIMEOUT).unwrap();
        assert!(root.json().unwrap()["version"]["number"].is_string());
        assert_eq!(stub.counts().requests, 0);
    }

    #[test]
    fn refuses_what_a_real_cluster_refuses() {
        let stub = Stub::recording().unwrap();
        for body in [
            "{\"index\":{}}\n{\"n\":1}",
            "{\"index\":{}}\n",
            "{\"frobnicate\":{}}\n{}\n",
            "",
        ] {
            let answer =
                http::request(stub.address(), "POST", "/_bulk", Some(body), TIMEOUT).unwrap();
            assert_eq!(answer.status, 400, "{body:?}");
        }
        assert_eq!(stub.counts().malformed, 4);
        assert_eq!(stub.counts().taken, 0);
    }
}
