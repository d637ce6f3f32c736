//! The `beats` input (also called `lumberjack`): forwarders, Beats and Elastic Agents ship here.
//!
//! One listener for both versions of the protocol and for the native framing, which a forwarder of ours chooses
//! in the TLS handshake. Each connection is a task that reads windows
//! and waits for their acknowledgement; the memory that all of them hold is bounded by one
//! budget (`queue.max_memory_bytes`), their number by `max_connections`.
//!
//! COMPAT: of Logstash's `beats` input: the fields of a version 2 event stay as they are sent,
//! `message` goes through the codec, the tag `beats_input_codec_plain_applied` is added (unless
//! `include_codec_tag` is off), the peer's address is kept in the metadata. Of its `lumberjack`
//! input: `line` of a version 1 event becomes `message`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;
use skidder_lumberjack::{Delivery, Payload, ServerOptions, Window, serve_until};
use skidder_pipeline::event::{self, Event, Name, Timestamp, Value};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use skidder_pipeline::language::{DurationUnit, Options};

use super::Build;
use super::decoding::set_peer;
use super::decoration::Decoration;
use super::handshakes::Handshakes;
use super::identity::identify;
use super::listener::{self, told_to_stop};
use super::native_line;
use super::proxy_protocol;
use super::stored_window;
use super::tls::offer_native;
use super::tls_options::tls_from_options;
use crate::ack::Ack;
use crate::backoff::jitter;
use crate::monitor::Connections;
use crate::queue::stored::Form;
use crate::throttle::Throttle;
use crate::worker::{Batch, Records};

/// Connections at one time, unless `max_connections` says otherwise.
const MAX_CONNECTIONS: usize = 16_384;
/// TLS handshakes a second, unless `accept_rate` says otherwise.
const ACCEPT_RATE: usize = 1000;
/// TLS handshakes at one time, unless `max_handshakes` says otherwise.
const MAX_HANDSHAKES: usize = 128;
/// The part of all connections' memory that one may have unacknowledged, unless `max_pending_bytes` says otherwise.
const PENDING_PART: usize = 8;

/// A beats input, ready to listen.
pub struct BeatsInput {
    /// `host` and `port`.
    pub address: String,
    /// TLS, unless the input is plain.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Limits and times of the protocol.
    pub server: ServerOptions,
    /// Connections at a time; a further one waits in the kernel until another leaves.
    pub max_connections: usize,
    /// Those that there are.
    pub connections: Arc<Connections>,
    /// A connection is closed at this age, a fifth more or less; none for never.
    pub max_age: Option<Duration>,
    /// Turns of TLS handshakes.
    handshakes: Handshakes,
    /// Connections begin with a header of the PROXY protocol.
    pub proxied: bool,
    /// What the events get.
    pub decoder: Arc<Decoder>,
}

/// How payloads become events.
pub struct Decoder {
    /// The name of the input.
    pub name: String,
    /// `type`, `tags`, `add_field`.
    pub decoration: Decoration,
    /// The tag for events whose message went through the codec, if it is wanted.
    pub codec_tag: Option<&'static str>,
    /// Put the peer's address where ECS has it.
    pub ecs: bool,
}

impl BeatsInput {
    /// Reads the options of the input, old names and new.
    pub fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let (codec, _) = build.codec(options, "plain", ecs)?;
        if codec.name.value != "plain" {
            let name = &codec.name.value;
            let message =
                format!("the beats input takes the message as it is, not by the codec `{name}`");
            options.error("codec", message);
        }
        let host = options.string("host").unwrap_or_else(|| "0.0.0.0".into());
        let port = options.integer("port", 0..=65_535);
        if !options.has("port") {
            options.missing("port");
        }
        let tls = tls_from_options(options).map(offer_native);
        let idle = options.duration("client_inactivity_timeout", DurationUnit::Seconds);
        let mut server = ServerOptions {
            budget: Arc::clone(build.budget),
            max_pending_bytes: build.budget.total() / PENDING_PART,
            ..ServerOptions::default()
        };
        if let Some(idle) = idle {
            // COMPAT: 0 keeps idle connections for ever; a year is as good.
            server.idle_timeout = if idle.is_zero() {
                Duration::from_hours(366 * 24)
            } else {
                idle
            };
        }
        let limits = &mut server.limits;
        if let Some(events) = options.integer("max_window_events", 1..=i64::from(u32::MAX)) {
            limits.max_window_events = events as u32;
        }
        let mut bytes = |name, limit: &mut usize| {
            if let Some(bytes) = options.bytes(name) {
                *limit = usize::try_from(bytes).unwrap_or(usize::MAX);
            }
        };
        bytes("max_window_bytes", &mut limits.max_window_bytes);
        bytes("max_compressed_bytes", &mut limits.max_compressed_bytes);
        bytes("max_inflated_bytes", &mut limits.max_inflated_bytes);
        bytes("max_event_bytes", &mut limits.max_event_bytes);
        bytes("max_key_bytes", &mut limits.max_key_bytes);
        bytes("max_pending_bytes", &mut server.max_pending_bytes);
        if let Some(pairs) = options.integer("max_pairs", 1..=i64::from(u32::MAX)) {
            server.limits.max_pairs = pairs as u32;
        }
        let max_connections = options.count("max_connections", 1..=1 << 20);
        let max_age = options.duration("max_connection_age", DurationUnit::Seconds);
        let accept_rate = options.count("accept_rate", 1..=1_000_000);
        let max_handshakes = options.count("max_handshakes", 1..=1 << 20);
        let handshakes = Handshakes::new(
            max_handshakes.unwrap_or(MAX_HANDSHAKES),
            accept_rate.unwrap_or(ACCEPT_RATE) as u32,
        );
        let proxied = options.boolean("proxy_protocol").unwrap_or(false);
        let tag = options.boolean("include_codec_tag").unwrap_or(true);
        for name in [
            "executor_threads",
            "event_loop_threads",
            "congestion_threshold",
            "target_field_for_codec",
        ] {
            options.without_effect(
                name,
                "connections cost no thread here, and a full queue simply stops reading",
            );
        }
        options.without_effect("add_hostname", "the address of the peer is in the metadata");
        options.without_effect("enrich", "the address of the peer is in the metadata");
        let decoration = Decoration::from_options(options);
        let decoder = Decoder {
            name: build.name.into(),
            decoration,
            codec_tag: tag.then_some("beats_input_codec_plain_applied"),
            ecs,
        };
        Some(Self {
            address: listener::address(&host, port?),
            tls,
            server,
            max_connections: max_connections.unwrap_or(MAX_CONNECTIONS),
            connections: Arc::default(),
            max_age: max_age.filter(|age| !age.is_zero()),
            handshakes,
            proxied,
            decoder: Arc::new(decoder),
        })
    }

    /// Binds the port, so that a mistake is found before anything starts.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        listener::bind(&self.address).await
    }

    /// Serves until `shutdown` changes: then it stops accepting, drains the connections and
    /// returns when the last is closed.
    pub async fn run(
        self,
        listener: TcpListener,
        queue: mpsc::Sender<Batch>,
        shutdown: watch::Receiver<bool>,
    ) {
        let acceptor = self.tls.map(TlsAcceptor::from);
        let server = Arc::new(self.server);
        let refused = Arc::new(Throttle::default());
        let handshakes = Arc::new(self.handshakes);
        let stopping = shutdown.clone();
        let most = self.max_connections;
        listener::accept(
            listener,
            most,
            &self.connections,
            stopping,
            |stream, peer| {
                let connection = Connection {
                    peer,
                    proxied: self.proxied,
                    acceptor: acceptor.clone(),
                    server: Arc::clone(&server),
                    decoder: Arc::clone(&self.decoder),
                    queue: queue.clone(),
                    shutdown: shutdown.clone(),
                    refused: Arc::clone(&refused),
                    handshakes: Arc::clone(&handshakes),
                    max_age: self.max_age,
                };
                connection.run(stream)
            },
        )
        .await;
    }
}

/// One accepted connection.
struct Connection {
    peer: SocketAddr,
    proxied: bool,
    acceptor: Option<TlsAcceptor>,
    server: Arc<ServerOptions>,
    decoder: Arc<Decoder>,
    queue: mpsc::Sender<Batch>,
    shutdown: watch::Receiver<bool>,
    refused: Arc<Throttle>,
    handshakes: Arc<Handshakes>,
    max_age: Option<Duration>,
}

impl Connection {
    async fn run(mut self, mut stream: TcpStream) {
        if self.proxied {
            let client = proxy_protocol::client(&mut stream, self.peer, &self.refused);
            let client = tokio::select! {
                client = client => client,
                () = told_to_stop(&mut self.shutdown) => return,
            };
            match client {
                Some(client) => self.peer = client,
                None => return,
            }
        }
        let Some(acceptor) = self.acceptor.clone() else {
            return self.serve(stream).await;
        };
        let hint = |first, reason: &str| match first {
            b'1' | b'2' => "the peer does not use TLS: check its configuration",
            _ if reason.contains("UnknownCA") || reason.contains("BadCertificate") => {
                "the peer does not trust our certificate: check its CA file and the server name"
            }
            _ => "check the certificates of both sides",
        };
        let handshakes = Arc::clone(&self.handshakes);
        let turn = async {
            let first = listener::first_byte(&stream, self.peer).await?;
            Some((first, handshakes.turn().await?))
        };
        let turn = tokio::select! {
            turn = turn => turn,
            () = told_to_stop(&mut self.shutdown) => return,
        };
        let Some((first, turn)) = turn else { return };
        let (peer, refused) = (self.peer, &self.refused);
        let shaken = listener::shake_hands(&acceptor, stream, first, peer, refused, hint).await;
        drop(turn);
        if let Some(stream) = shaken {
            self.serve(stream).await;
        }
    }

    async fn serve<S>(mut self, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
    {
        debug!(peer = %self.peer, "connected");
        let (windows, mut deliveries) = mpsc::channel::<Delivery>(1);
        let address: Arc<str> = self.peer.ip().to_string().into();
        let forward = async {
            while let Some(Delivery { window, ack }) = deliveries.recv().await {
                let records = WindowRecords {
                    window,
                    peer: Arc::clone(&address),
                    decoder: Arc::clone(&self.decoder),
                };
                let ack = Ack::new(Box::new(move || ack.acknowledge()));
                let batch = Batch {
                    records: Box::new(records),
                    ack,
                };
                if self.queue.send(batch).await.is_err() {
                    break;
                }
            }
        };
        let peer = self.peer;
        let old = grown_old(self.max_age);
        let stopping = told_to_stop(&mut self.shutdown);
        let shutdown = async move {
            tokio::select! {
                () = stopping => {}
                age = old => debug!(%peer, ?age, "old enough: closing between two windows"),
            }
        };
        let serving = serve_until(stream, &self.server, windows, shutdown);
        let (result, ()) = tokio::join!(serving, forward);
        match result {
            Ok(()) => debug!(peer = %self.peer, "disconnected"),
            Err(error) if error.is_peer_fault() => {
                if let Some(count) = self.refused.due(1) {
                    warn!(peer = %self.peer, %error, count, "closed the connection, the peer broke the protocol");
                }
            }
            Err(error) => info!(peer = %self.peer, %error, "connection ended"),
        }
    }
}

/// Waits until a connection that begins now is old; says how old. Those that began together do not end together.
async fn grown_old(max_age: Option<Duration>) -> Duration {
    let Some(age) = max_age else {
        return std::future::pending().await;
    };
    let age = age.mul_f64(0.8) + jitter(age.mul_f64(0.4));
    tokio::time::sleep(age).await;
    age
}

/// A window in the queue.
struct WindowRecords {
    window: Window,
    peer: Arc<str>,
    decoder: Arc<Decoder>,
}

impl Records for WindowRecords {
    fn len(&self) -> usize {
        self.window.events.len()
    }

    fn decode<'b>(
        &'b self,
        index: usize,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let payload = &self.window.events[index].payload;
        self.decoder.decode(payload, &self.peer, arena, now, each);
    }

    fn source(&self) -> &str {
        &self.decoder.name
    }

    fn store(&self, out: &mut Vec<u8>) -> Form {
        let payloads = self.window.events.iter().map(|event| &event.payload);
        stored_window::write(&self.peer, payloads, out);
        Form::Window
    }
}

/// An event that could not be read: its text is the message.
fn not_json<'b>(text: &'b [u8], now: Timestamp, arena: &'b Bump) -> Event<'b> {
    let mut event = Event::with_timestamp_in(now, arena);
    event.fields.push_new(event::MESSAGE, Value::Text(text));
    event.tag(b"_jsonparsefailure", arena);
    event
}

impl Decoder {
    /// A decoder without any options.
    pub fn bare(ecs: bool) -> Self {
        Self {
            name: String::new(),
            decoration: Decoration::default(),
            codec_tag: None,
            ecs,
        }
    }

    /// Reads one payload into its events.
    pub(super) fn decode<'b>(
        &'b self,
        payload: &'b Payload,
        peer: &'b str,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        match payload {
            Payload::Json(text) => {
                let mut events = Vec::new();
                let mut event = match Event::from_json(text, now, arena) {
                    Ok(mut event) => {
                        identify(&mut event, arena);
                        event
                    }
                    // Some senders put an array of events into one frame; anything else is kept
                    // as it came.
                    Err(_) => match Event::all_from_json(text, now, arena, &mut events) {
                        Ok(()) => {
                            for mut event in events {
                                self.finish(&mut event, peer, arena);
                                each(event);
                            }
                            return;
                        }
                        Err(_) => not_json(text, now, arena),
                    },
                };
                self.finish(&mut event, peer, arena);
                each(event);
            }
            Payload::Line(line) => {
                let mut event = native_line::event(line, now, arena);
                identify(&mut event, arena);
                self.finish(&mut event, peer, arena);
                each(event);
            }
            Payload::Pairs(pairs) => {
                let mut event = Event::with_timestamp_in(now, arena);
                for (key, value) in pairs {
                    let name = match std::str::from_utf8(key) {
                        Ok("line") => event::MESSAGE,
                        Ok(name) => Name::new(name),
                        Err(_) => Name::copied_in(&String::from_utf8_lossy(key), arena),
                    };
                    event.fields.set(name, Value::Text(value));
                }
                self.finish(&mut event, peer, arena);
                each(event);
            }
        }
    }

    fn finish<'b>(&'b self, event: &mut Event<'b>, peer: &'b str, arena: &'b Bump) {
        set_peer(event, "beats", peer, self.ecs, arena);
        if let Some(tag) = self.codec_tag
            && event.fields.get(&event::MESSAGE).is_some()
        {
            event.tag(tag.as_bytes(), arena);
        }
        self.decoration.apply(event, arena);
    }
}
