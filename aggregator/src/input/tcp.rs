//! The `tcp` input: records over TCP, one after the other, from whoever connects or from whom it
//! connects to.
//!
//! How connections are read, and what bounds them, is in [`super::connection`].
//!
//! COMPAT: of Logstash's input: the default codec is `line`, a codec `json` means `json_lines`; each event gets
//! the peer's address and port (`host`, `port`, `[@metadata][ip_address]`; with ECS below
//! `[@metadata][input][tcp][source]`) unless it has a `host` or a `port` of its own.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;
use bytes::Bytes;
use rustls_pki_types::ServerName;
use skidder_pipeline::codec::{Codec, Cutter, Line};
use skidder_pipeline::event::{Event, Name, Object, Timestamp, Value};
use skidder_pipeline::language::Options;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{info, warn};

use super::connection::{Connections, Cutting};
use super::decoding::{decode_whole, object};
use super::decoration::Decoration;
use super::listener::{self, HANDSHAKE_TIMEOUT, told_to_stop};
use super::received::{Decode, Origin, Stored};
use super::tls_options::tls_from_options;
use super::{Build, Running, streamed_codec};
use crate::chunks::Cut;
use crate::queue::stored::{Form, Restore};
use crate::tls::{ClientTlsOptions, Verification, client_config, explain_stream};
use crate::worker::Batch;

/// Before a client connects again: the first pause, and the longest.
const RECONNECT: Duration = Duration::from_millis(100);
const MAX_RECONNECT: Duration = Duration::from_secs(10);

/// A TCP input, ready to start.
pub(super) struct TcpInput {
    address: String,
    side: Side,
    pub(super) connections: Arc<Connections>,
}

/// Who connects to whom.
enum Side {
    Server(Option<Arc<rustls::ServerConfig>>),
    Client(Option<Seal>),
}

/// TLS of a client.
struct Seal {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// How bytes become events.
struct Decoder {
    name: String,
    codec: Arc<dyn Codec>,
    ecs: bool,
    decoration: Decoration,
}

/// Cuts a stream at the delimiter of its codec, and where events end.
struct Records {
    cut: Cut,
    cutter: Option<Box<dyn Cutter>>,
}

impl TcpInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        // What ends a record; empty if each read is one.
        let (codec, delimiter) = streamed_codec(options, build, ecs)?;
        let host = options.string("host").unwrap_or_else(|| "0.0.0.0".into());
        let port = options.integer("port", 0..=65_535);
        if !options.has("port") {
            options.missing("port");
        }
        let modes = [("server", false), ("client", true)];
        let is_client = options.enumeration("mode", &modes).unwrap_or(false);
        let side = if is_client {
            Side::Client(Seal::from_options(options, &host))
        } else {
            Side::Server(tls_from_options(options))
        };
        options.without_effect(
            "dns_reverse_lookup_enabled",
            "addresses are never resolved: nothing may wait for a name server",
        );
        let decoder = Arc::new(Decoder {
            name: build.name.to_owned(),
            codec: Arc::clone(&codec),
            ecs,
            decoration: Decoration::from_options(options),
        });
        let cutting = move |max_record_bytes| -> Box<dyn Cutting> {
            Box::new(Records {
                cut: Cut::new(&delimiter, max_record_bytes),
                cutter: codec.cutter(),
            })
        };
        let connections = Connections::from_options(options, build, decoder, Box::new(cutting));
        if is_client && options.boolean("proxy_protocol") == Some(true) {
            options.error(
                "proxy_protocol",
                "only who connects sends the header of a proxy: `mode` must be `server`",
            );
        }
        Some(Self {
            address: listener::address(&host, port?),
            side,
            connections: Arc::new(connections),
        })
    }

    /// What reads its records back from the disk queue.
    pub(super) fn stored(&self) -> Arc<dyn Restore> {
        Arc::new(Stored(Arc::clone(&self.connections.decode)))
    }

    /// Binds the port, or begins to connect.
    pub(super) async fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Running, String> {
        let tls = match self.side {
            Side::Client(seal) => {
                let client = Client {
                    address: self.address,
                    seal,
                    connections: self.connections,
                };
                return Ok(Box::pin(client.run(queue, stopping)));
            }
            Side::Server(tls) => tls,
        };
        let listener = listener::bind(&self.address).await;
        let listener =
            listener.map_err(|error| format!("cannot listen on {}: {error}", self.address))?;
        let address = listener
            .local_addr()
            .map_or_else(|_| self.address.clone(), |address| address.to_string());
        let input = self.connections.decode.name();
        info!(input, address, tls = tls.is_some(), "listening");
        let serving = self.connections.serve(listener, tls, queue, stopping);
        Ok(Box::pin(serving))
    }
}

impl Seal {
    /// Reads the options; nothing without TLS.
    fn from_options(options: &mut Options<'_>, host: &str) -> Option<Self> {
        let enabled = options.boolean("ssl_enabled").unwrap_or(false);
        let path = |text: Option<String>| text.map(PathBuf::from);
        let modes = [("full", Verification::Full), ("none", Verification::None)];
        let authorities = options.strings("ssl_certificate_authorities");
        let tls = ClientTlsOptions {
            certificate_authorities: authorities
                .unwrap_or_default()
                .into_iter()
                .map(|path| path.value.into())
                .collect(),
            certificate: path(options.string("ssl_certificate")),
            key: path(options.string("ssl_key")),
            verification: options
                .enumeration("ssl_verification_mode", &modes)
                .unwrap_or_default(),
        };
        if !enabled {
            return None;
        }
        let name = ServerName::try_from(host.to_owned());
        if name.is_err() {
            options.error(
                "host",
                format!("`{host}` is no name that a certificate has"),
            );
        }
        match client_config(&tls) {
            Ok(config) => Some(Self {
                connector: TlsConnector::from(Arc::new(config)),
                name: name.ok()?,
            }),
            Err(error) => {
                options.error("ssl_enabled", error.to_string());
                None
            }
        }
    }

    /// Shakes hands, within a time.
    async fn shake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let shaking = self.connector.connect(self.name.clone(), stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await {
            Ok(shaken) => shaken,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Connects to the other side.
struct Client {
    address: String,
    seal: Option<Seal>,
    connections: Arc<Connections>,
}

impl Client {
    /// Connects, and again whenever the other side has closed, until `stopping` changes.
    async fn run(self, queue: mpsc::Sender<Batch>, mut stopping: watch::Receiver<bool>) {
        let connections = &*self.connections;
        let mut pause = RECONNECT;
        while !*stopping.borrow() && !queue.is_closed() {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = told_to_stop(&mut stopping) => return,
            };
            match connected {
                Ok((peer, connection)) => {
                    info!(%peer, "connected");
                    pause = RECONNECT;
                    let stopping = stopping.clone();
                    match connection {
                        Connection::Plain(plain) => {
                            connections.read(plain, peer, &queue, stopping).await;
                        }
                        Connection::Sealed(sealed) => {
                            connections.read(*sealed, peer, &queue, stopping).await;
                        }
                    }
                }
                Err(error) => {
                    if let Some(count) = connections.refused.due(1) {
                        let reason = explain_stream(&error);
                        warn!(address = self.address, %reason, count, "cannot connect, trying again");
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

    async fn connect(&self) -> io::Result<(SocketAddr, Connection)> {
        let stream = TcpStream::connect(&self.address).await?;
        let peer = stream.peer_addr()?;
        self.connections.keep_alive(&stream, peer);
        let connection = match &self.seal {
            None => Connection::Plain(stream),
            Some(seal) => Connection::Sealed(Box::new(seal.shake(stream).await?)),
        };
        Ok((peer, connection))
    }
}

/// A connection that is open.
enum Connection {
    Plain(TcpStream),
    Sealed(Box<TlsStream<TcpStream>>),
}

/// Reads records of such inputs as lines, for those that are not there any more.
pub(super) fn bare(ecs: bool) -> Arc<dyn Restore> {
    Arc::new(Stored(Arc::new(Decoder {
        name: String::new(),
        codec: Arc::new(Line {
            keep_original: ecs,
            ..Line::default()
        }),
        ecs,
        decoration: Decoration::default(),
    })))
}

impl Cutting for Records {
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        self.cut.room(bytes)
    }

    fn filled(&mut self, bytes: usize, records: &mut Vec<Bytes>) {
        let whole = self.cut.filled(bytes);
        self.push(whole, records);
    }

    fn rest(&mut self, records: &mut Vec<Bytes>) {
        let rest = self.cut.rest();
        self.push(rest, records);
        self.flush(records);
    }

    fn pending(&self) -> usize {
        self.cut.pending() + self.cutter.as_ref().map_or(0, |cutter| cutter.pending())
    }

    fn patience(&self) -> Option<Duration> {
        let waits = self.cutter.as_ref().filter(|cutter| cutter.pending() > 0);
        waits.and_then(|cutter| cutter.patience())
    }

    fn flush(&mut self, records: &mut Vec<Bytes>) {
        let kept = self.cutter.as_mut().and_then(|cutter| cutter.flush());
        records.extend(kept.map(Bytes::from));
    }
}

impl Records {
    fn push(&mut self, whole: Option<Vec<u8>>, records: &mut Vec<Bytes>) {
        let whole = match &mut self.cutter {
            Some(cutter) => whole.and_then(|lines| cutter.push(lines)),
            None => whole,
        };
        records.extend(whole.map(Bytes::from));
    }
}

impl Decode for Decoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn form(&self) -> Form {
        Form::Stream
    }

    fn decode<'b>(
        &'b self,
        record: &'b [u8],
        origin: &'b Origin,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        for mut event in decode_whole(&*self.codec, record, arena, now) {
            mark(&mut event, origin, self.ecs, arena);
            self.decoration.apply(&mut event, arena);
            each(event);
        }
    }
}

/// Says whose an event is.
fn mark<'b>(event: &mut Event<'b>, origin: &'b Origin, ecs: bool, arena: &'b Bump) {
    let ip = || Value::Text(origin.ip.as_bytes());
    let port = || Value::Integer(origin.port.into());
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
