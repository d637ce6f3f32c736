//! The `tcp` input: records over TCP, one after the other, from whoever connects or from whom it
//! connects to.
//!
//! There is no acknowledgement in this protocol: what has arrived when the input stops is taken, what
//! is still on its way is the sender's. A full queue is felt by the sender, since nothing is read.
//! What a peer can take is bounded: connections (`max_connections`), a record (`max_record_bytes`; a longer
//! one comes in pieces), the time without a byte (`client_inactivity_timeout`), and the memory that all inputs
//! share (`queue.max_memory_bytes`).
//!
//! COMPAT: of Logstash's input: the default codec is `line`, a codec `json` means `json_lines`; each event gets
//! the peer's address and port (`host`, `port`, `[@metadata][ip_address]`; with ECS below
//! `[@metadata][input][tcp][source]`) unless it has a `host` or a `port` of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;
use bytes::Bytes;
use skidder_lumberjack::{Account, ByteBudget, Reservation};
use skidder_pipeline::codec::Codec;
use skidder_pipeline::event::{Event, Name, Object, Timestamp, Value};
use skidder_pipeline::language::{DurationUnit, Options};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::beats::tls_from_options;
use super::decoding::{decode_whole, object};
use super::decoration::Decoration;
use super::listener::{self, told_to_stop};
use super::{Build, Running, streamed_codec};
use crate::ack::Ack;
use crate::chunks::Cut;
use crate::throttle::Throttle;
use crate::worker::{Batch, Records};

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// Before a client connects again: the first pause, and the longest.
const RECONNECT: Duration = Duration::from_millis(100);
const MAX_RECONNECT: Duration = Duration::from_secs(10);
/// How long reading what has arrived may take when the input stops, all of it together.
const LAST_READ: Duration = Duration::from_millis(200);

/// A TCP input, ready to start.
pub(super) struct TcpInput {
    address: String,
    client: bool,
    tls: Option<Arc<rustls::ServerConfig>>,
    max_connections: usize,
    stream: Arc<Stream>,
}

/// What all connections share.
struct Stream {
    decoder: Arc<Decoder>,
    /// What ends a record; empty if each read is one.
    delimiter: Vec<u8>,
    max_record_bytes: usize,
    idle: Option<Duration>,
    keep_alive: bool,
    budget: Arc<ByteBudget>,
    refused: Throttle,
}

/// How bytes become events.
struct Decoder {
    name: String,
    codec: Arc<dyn Codec>,
    ecs: bool,
    decoration: Decoration,
}

impl TcpInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let (codec, delimiter) = streamed_codec(options, build, ecs)?;
        let host = options.string("host").unwrap_or_else(|| "0.0.0.0".into());
        let port = options.integer("port", 0..=65_535);
        if !options.has("port") {
            options.missing("port");
        }
        let modes = [("server", false), ("client", true)];
        let client = options.enumeration("mode", &modes).unwrap_or(false);
        let tls = tls_from_options(options);
        if client && tls.is_some() {
            options.error(
                "mode",
                "a client speaks no TLS here: let the other side connect to us",
            );
        }
        let idle = options.duration("client_inactivity_timeout", DurationUnit::Seconds);
        let max_record_bytes = options.bytes("max_record_bytes").unwrap_or(1 << 20);
        let max_connections = options.count("max_connections", 1..=1 << 20);
        let keep_alive = options.boolean("tcp_keep_alive").unwrap_or(false);
        if options.boolean("proxy_protocol") == Some(true) {
            options.error("proxy_protocol", "the PROXY protocol is not supported here");
        }
        options.without_effect(
            "dns_reverse_lookup_enabled",
            "addresses are never resolved: nothing may wait for a name server",
        );
        Some(Self {
            address: listener::address(&host, port?),
            client,
            tls,
            max_connections: max_connections.unwrap_or(1024),
            stream: Arc::new(Stream {
                decoder: Arc::new(Decoder {
                    name: build.name.to_owned(),
                    codec,
                    ecs,
                    decoration: Decoration::from_options(options),
                }),
                delimiter,
                max_record_bytes: usize::try_from(max_record_bytes)
                    .unwrap_or(usize::MAX)
                    .max(1),
                // COMPAT: Logstash's has none.
                idle: idle.filter(|idle| !idle.is_zero()),
                keep_alive,
                budget: Arc::clone(build.budget),
                refused: Throttle::default(),
            }),
        })
    }

    /// Binds the port, or begins to connect.
    pub(super) async fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Running, String> {
        if self.client {
            return Ok(Box::pin(self.connect(queue, stopping)));
        }
        let listener = TcpListener::bind(&self.address).await;
        let listener =
            listener.map_err(|error| format!("cannot listen on {}: {error}", self.address))?;
        let address = listener
            .local_addr()
            .map_or_else(|_| self.address.clone(), |address| address.to_string());
        let (input, tls) = (&self.stream.decoder.name, self.tls.is_some());
        info!(input, address, tls, "listening");
        Ok(Box::pin(self.serve(listener, queue, stopping)))
    }

    async fn serve(
        self,
        listener: TcpListener,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) {
        let acceptor = self.tls.map(TlsAcceptor::from);
        let stop = stopping.clone();
        listener::accept(listener, self.max_connections, stop, |connection, peer| {
            let (queue, stopping) = (queue.clone(), stopping.clone());
            let (stream, acceptor) = (Arc::clone(&self.stream), acceptor.clone());
            async move {
                if stream.keep_alive {
                    keep_alive(&connection, peer);
                }
                let Some(acceptor) = acceptor else {
                    return stream.read(connection, peer, &queue, stopping).await;
                };
                let hint = |first: u8, _: &str| match first {
                    0x20..0x7f => "the peer does not use TLS: check its configuration",
                    _ => "check the certificates of both sides",
                };
                let shaken =
                    listener::handshake(&acceptor, connection, peer, &stream.refused, hint).await;
                if let Some(connection) = shaken {
                    stream.read(connection, peer, &queue, stopping).await;
                }
            }
        })
        .await;
    }

    /// Connects, and again whenever the other side has closed, until `stopping` changes.
    async fn connect(self, queue: mpsc::Sender<Batch>, mut stopping: watch::Receiver<bool>) {
        let mut pause = RECONNECT;
        while !*stopping.borrow() && !queue.is_closed() {
            let connected = tokio::select! {
                connected = TcpStream::connect(&self.address) => connected,
                () = told_to_stop(&mut stopping) => return,
            };
            match connected.and_then(|stream| Ok((stream.peer_addr()?, stream))) {
                Ok((peer, connection)) => {
                    info!(%peer, "connected");
                    pause = RECONNECT;
                    if self.stream.keep_alive {
                        keep_alive(&connection, peer);
                    }
                    let stopping = stopping.clone();
                    self.stream.read(connection, peer, &queue, stopping).await;
                }
                Err(error) => {
                    if let Some(count) = self.stream.refused.due(1) {
                        warn!(address = self.address, %error, count, "cannot connect, trying again");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = told_to_stop(&mut stopping) => return,
            }
            pause = MAX_RECONNECT.min(pause * 2);
        }
    }
}

fn keep_alive(connection: &TcpStream, peer: SocketAddr) {
    if let Err(error) = socket2::SockRef::from(connection).set_keepalive(true) {
        debug!(%peer, %error, "cannot set SO_KEEPALIVE");
    }
}

impl Stream {
    /// Reads a connection to its end.
    async fn read<S>(
        &self,
        mut connection: S,
        peer: SocketAddr,
        queue: &mpsc::Sender<Batch>,
        mut stopping: watch::Receiver<bool>,
    ) where
        S: AsyncRead + Unpin,
    {
        debug!(%peer, "connected");
        let origin = Arc::new(Origin {
            ip: peer.ip().to_string(),
            port: peer.port(),
        });
        let mut account = self.budget.account();
        let mut cutter = self.decoder.codec.cutter();
        let mut cut = Cut::new(&self.delimiter, self.max_record_bytes);
        // When the input is to stop, until when is read.
        let mut last: Option<Instant> = None;
        loop {
            let waits = cutter.as_ref().filter(|cutter| cutter.pending() > 0);
            let to_flush = waits.and_then(|cutter| cutter.patience());
            let patience = to_flush.into_iter().chain(self.idle).min();
            let until = last.or(patience.map(|patience| Instant::now() + patience));
            let read = async {
                let read = connection.read(cut.room(READ_BYTES));
                match until {
                    Some(until) => tokio::time::timeout_at(until, read).await.ok(),
                    None => Some(read.await),
                }
            };
            let read = tokio::select! {
                read = read => read,
                () = told_to_stop(&mut stopping), if last.is_none() => {
                    // What has arrived is taken.
                    last = Some(Instant::now() + LAST_READ);
                    continue;
                }
            };
            let read = match read {
                Some(Ok(read)) => read,
                Some(Err(error)) => {
                    info!(%peer, %error, "the connection broke");
                    0
                }
                None if last.is_none() && to_flush.is_some() => {
                    let kept = cutter.as_mut().and_then(|cutter| cutter.flush());
                    if !self.hand_on(kept, &origin, &mut account, queue).await {
                        return;
                    }
                    continue;
                }
                None => {
                    if last.is_none() {
                        info!(%peer, timeout = ?self.idle, "nothing came for too long, closing the connection");
                    }
                    0
                }
            };
            let mut whole = if read == 0 {
                cut.rest()
            } else {
                cut.filled(read)
            };
            if let Some(cutter) = &mut cutter {
                whole = whole.and_then(|lines| cutter.push(lines));
            }
            if !self.hand_on(whole, &origin, &mut account, queue).await {
                return;
            }
            // What is not whole yet counts as well.
            account.reserve(cut.pending()).await;
            if read == 0 {
                let kept = cutter.and_then(|mut cutter| cutter.flush());
                self.hand_on(kept, &origin, &mut account, queue).await;
                return debug!(%peer, "disconnected");
            }
        }
    }

    /// Puts whole records into the queue. False if it is gone.
    async fn hand_on(
        &self,
        bytes: Option<Vec<u8>>,
        origin: &Arc<Origin>,
        account: &mut Account,
        queue: &mpsc::Sender<Batch>,
    ) -> bool {
        let Some(bytes) = bytes else {
            return true;
        };
        account.reserve(bytes.len()).await;
        let records = ChunkRecords {
            _memory: account.try_reserve(bytes.len()),
            bytes: bytes.into(),
            origin: Arc::clone(origin),
            decoder: Arc::clone(&self.decoder),
        };
        account.settle();
        let batch = Batch {
            records: Box::new(records),
            ack: Ack::ignored(),
        };
        queue.send(batch).await.is_ok()
    }
}

/// Where records came from.
struct Origin {
    ip: String,
    port: u16,
}

/// Whole records of one connection.
struct ChunkRecords {
    bytes: Bytes,
    _memory: Option<Reservation>,
    origin: Arc<Origin>,
    decoder: Arc<Decoder>,
}

impl Records for ChunkRecords {
    fn len(&self) -> usize {
        1
    }

    fn decode<'b>(
        &'b self,
        _index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let decoder = &*self.decoder;
        let events = decode_whole(&*decoder.codec, &self.bytes, arena, now);
        for mut event in events {
            self.origin.mark(&mut event, decoder.ecs, arena);
            decoder.decoration.apply(&mut event, arena);
            each(event);
        }
    }

    fn source(&self) -> &str {
        &self.decoder.name
    }
}

impl Origin {
    fn mark<'b>(&'b self, event: &mut Event<'b>, ecs: bool, arena: &'b Bump) {
        let ip = || Value::Text(self.ip.as_bytes());
        let port = || Value::Integer(self.port.into());
        if ecs {
            let mut source = Object::with_capacity_in(3, arena);
            source.push_new(Name::new("ip"), ip());
            source.push_new(Name::new("name"), ip());
            source.push_new(Name::new("port"), port());
            let source = object("source", Value::object(source, arena), arena);
            let input = object("tcp", source, arena);
            event.metadata.set(Name::new("input"), input);
            return;
        }
        event.metadata.set(Name::new("ip_address"), ip());
        for (name, value) in [("host", ip()), ("port", port())] {
            let name = Name::new(name);
            if event.fields.get(&name).is_none() {
                event.fields.push_new(name, value);
            }
        }
    }
}
