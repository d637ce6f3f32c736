//! A receiver of the test's own: Lumberjack over TLS, by the crate's server, that keeps book of
//! every line.
//!
//! It writes an event down before it acknowledges it, and keeps the book when it is "killed": then
//! it drops all connections and its listener, with whatever they have not acknowledged. What comes
//! again is told by its identity, the stream and the offset that travel with each event.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use skidder_lumberjack::{Delivery, Payload, ServerOptions, serve};
use skidder_tests::certificates::{Authority, Identity};
use skidder_tests::environment::loopback;
use skidder_tests::writers::number;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// What has come to all receivers together.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// The message of each identity.
    lines: HashMap<(String, u64), u64>,
    /// How often each number came with an identity of its own.
    times: HashMap<u64, u32>,
    /// Lines of each writer, by the million of their numbers.
    of_writer: HashMap<u64, u64>,
    /// Events that came again with their identity.
    pub(crate) repeated: u64,
    /// What is wrong with what came.
    pub(crate) wrong: Vec<String>,
}

/// How many numbers a writer has.
pub(crate) const NUMBERS: u64 = 10_000_000;

/// A book that several write into.
pub(crate) type Books = Arc<Mutex<Book>>;

/// A poisoned book is still a book: the panic itself fails the test.
pub(crate) fn open(books: &Books) -> MutexGuard<'_, Book> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// How many different lines of a writer have come.
    pub(crate) fn count(&self, first: u64) -> u64 {
        self.of_writer.get(&(first / NUMBERS)).copied().unwrap_or(0)
    }

    /// How often a line came, repetitions with the same identity left out.
    pub(crate) fn times(&self, number: u64) -> u32 {
        self.times.get(&number).copied().unwrap_or(0)
    }

    fn enter(&mut self, json: &[u8]) -> Result<()> {
        let event: Value = serde_json::from_slice(json).context("an event that is not JSON")?;
        let text = |value: &Value| {
            let text = value
                .as_str()
                .with_context(|| format!("no text in {event}"));
            text.map(str::to_owned)
        };
        let stream = text(&event["@metadata"]["stream"])?;
        let offset = text(&event["offset"])?.parse()?;
        let message = text(&event["message"])?;
        let Some(line) = number(&message) else {
            bail!("a damaged line: {event}");
        };
        if let Some(before) = self.lines.insert((stream, offset), line) {
            if before != line {
                bail!("an identity that was line {before} before: {event}");
            }
            self.repeated += 1;
            return Ok(());
        }
        let times = self.times.entry(line).or_default();
        *times += 1;
        if *times == 1 {
            *self.of_writer.entry(line / NUMBERS).or_default() += 1;
        }
        if *times == 2 {
            self.wrong.push(format!("twice: {event}"));
        }
        Ok(())
    }
}

/// A receiver with a port, which can be killed and started again.
pub(crate) struct Receiver {
    /// Its port.
    pub(crate) port: u16,
    acceptor: TlsAcceptor,
    books: Books,
    runtime: Option<Runtime>,
}

impl Receiver {
    /// A receiver that demands client certificates; nothing listens yet.
    pub(crate) fn new(
        port: u16,
        identity: &Identity,
        authority: &Authority,
        books: &Books,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&authority.certificate)?)?;
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&identity.certificate)?],
                PrivateKeyDer::from_pem_file(&identity.key)?,
            )?;
        Ok(Self {
            port,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            books: Arc::clone(books),
            runtime: None,
        })
    }

    /// Listens.
    pub(crate) fn start(&mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let address: SocketAddr = loopback(self.port);
        let listener = {
            let _inside = runtime.enter();
            let listener = StdListener::bind(address)
                .with_context(|| format!("binding the receiver's port {}", self.port))?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(
            listener,
            self.acceptor.clone(),
            Arc::clone(&self.books),
        ));
        self.runtime = Some(runtime);
        Ok(())
    }

    /// Drops everything at once.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waits for the tasks to be dropped, so that the port is free.
            runtime.shutdown_timeout(Duration::from_secs(30));
        }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, books: Books) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (acceptor, books) = (acceptor.clone(), Arc::clone(&books));
        connections.spawn(async move {
            // Connections that break are what the test makes.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let (sender, receiver) = mpsc::channel(8);
            let options = ServerOptions::default();
            let (_, ()) = tokio::join!(serve(stream, &options, sender), enter_all(receiver, books));
        });
    }
}

async fn enter_all(mut deliveries: mpsc::Receiver<Delivery>, books: Books) {
    while let Some(Delivery { window, ack }) = deliveries.recv().await {
        {
            let mut book = open(&books);
            for event in &window.events {
                let entered = match &event.payload {
                    Payload::Json(json) => book.enter(json),
                    other => Err(anyhow::anyhow!("an event not of version 2: {other:?}")),
                };
                if let Err(error) = entered {
                    book.wrong.push(format!("{error:#}"));
                }
            }
        }
        ack.acknowledge();
    }
}
