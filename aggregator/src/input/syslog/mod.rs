//! The `syslog` input: messages of RFC 3164 and RFC 5424 over UDP, TCP and TLS (RFC 5425).
//!
//! Both protocols listen on one port. How a stream is cut into messages is in [`framing`], how connections
//! are read and what bounds them in [`super::connection`], how datagrams are received in [`super::udp`], and
//! what a message becomes in [`skidder_pipeline::syslog`].
//!
//! COMPAT (logstash-input-syslog): the default codec is `plain`; the sender's address is in `host` (`[host][ip]`
//! with ECS), whatever the codec has put there, and the common options apply before the message is
//! taken apart. Unlike there the line end is no part of the message, and with TLS nothing listens on UDP
//! unless `protocols` says so.

mod framing;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bumpalo::Bump;
use skidder_pipeline::codec::Codec;
use skidder_pipeline::event::{Event, Path, Timestamp, Value};
use skidder_pipeline::filter::{Context, Scratch, ScratchSlots};
use skidder_pipeline::language::Options;
use skidder_pipeline::syslog::Syslog;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tracing::info;

use self::framing::{Framing, trimmed};
use super::connection::{Connections, Cutting};
use super::decoding::decode_whole;
use super::decoration::Decoration;
use super::received::{Decode, Origin, Stored};
use super::tls_options::tls_from_options;
use super::{Build, Running, listener, udp};
use crate::commands::Disk;
use crate::queue::stored::{Form, Restore};
use crate::worker::Batch;

/// How often a port that is free for TCP is looked for that is free for UDP as well, if any will do.
const PORT_ATTEMPTS: usize = 20;

/// A syslog input, ready to start.
pub(super) struct SyslogInput {
    host: String,
    port: u16,
    over_tcp: bool,
    over_udp: bool,
    tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) connections: Arc<Connections>,
    receiver: udp::Receiver,
}

/// How messages become events.
struct Decoder {
    name: String,
    codec: Arc<dyn Codec>,
    host: Path,
    decoration: Decoration,
    syslog: Syslog,
    /// Which memory of [`SCRATCH`] is its own.
    number: u64,
}

thread_local! {
    /// For each decoder, this worker's memory for its filters.
    static SCRATCH: RefCell<HashMap<u64, Scratch>> = RefCell::default();
}

/// Of the next decoder.
static NUMBER: AtomicU64 = AtomicU64::new(0);

impl SyslogInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let codec = build.codec(options, "plain", ecs);
        if let Some((plugin, _)) = &codec {
            udp::names_its_columns(plugin, options);
        }
        let host = options.string("host").unwrap_or_else(|| "0.0.0.0".into());
        let port = options.integer("port", 0..=65_535).unwrap_or(514);
        let tls = tls_from_options(options);
        let (mut over_tcp, mut over_udp) = (true, tls.is_none());
        if let Some(protocols) = options.strings("protocols") {
            (over_tcp, over_udp) = (false, false);
            for protocol in protocols {
                match protocol.value.as_str() {
                    "tcp" => over_tcp = true,
                    "udp" => over_udp = true,
                    other => {
                        let message = format!("`{other}` is neither `tcp` nor `udp`");
                        options.diagnostics().error(protocol.span, message);
                    }
                }
            }
        }
        let syslog = Syslog::from_options(
            options,
            &mut skidder_pipeline::Build {
                ecs,
                escape_style: build.settings.escape_style,
                files: &Disk,
                slots: &mut ScratchSlots::default(),
                watched: &mut Vec::new(),
            },
            ecs,
        );
        let decoration = Decoration::from_options(options);
        let names: &[&str] = if ecs { &["host", "ip"] } else { &["host"] };
        let decoder: Arc<dyn Decode> = Arc::new(Decoder {
            name: build.name.to_owned(),
            codec: codec?.1,
            host: Path::new(names.iter().copied()),
            decoration,
            syslog: syslog?,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        });
        let cutting =
            |max_record_bytes| -> Box<dyn Cutting> { Box::new(Framing::new(max_record_bytes)) };
        let receiver = udp::Receiver::from_options(options, Arc::clone(&decoder));
        let connections = Connections::from_options(options, build, decoder, Box::new(cutting));
        Some(Self {
            host,
            port: u16::try_from(port).ok()?,
            over_tcp,
            over_udp,
            tls,
            connections: Arc::new(connections),
            receiver,
        })
    }

    /// What reads its messages back from the disk queue.
    pub(super) fn stored(&self) -> Arc<dyn Restore> {
        Arc::new(Stored(Arc::clone(&self.connections.decode)))
    }

    /// Binds the port.
    pub(super) async fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Running, String> {
        let bound = self.bind().await;
        let (listener, socket) = bound.map_err(|(protocol, error)| {
            let address = listener::address(&self.host, self.port);
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    ": ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)"
                }
                _ => "",
            };
            format!("cannot listen on {address} ({protocol}): {error}{hint}")
        })?;
        let input = self.connections.decode.name();
        let tcp = listener
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        let udp = socket.as_ref().and_then(|socket| socket.local_addr().ok());
        let address = tcp.or(udp).map(|address| address.to_string());
        info!(
            input,
            address,
            tcp = tcp.is_some(),
            udp = udp.is_some(),
            tls = self.tls.is_some(),
            "listening"
        );
        let connections = listener.map(|listener| {
            self.connections
                .serve(listener, self.tls, queue.clone(), stopping.clone())
        });
        let datagrams = socket.map(|socket| self.receiver.run(socket, queue, stopping));
        Ok(Box::pin(async move {
            let connections = async {
                if let Some(connections) = connections {
                    connections.await;
                }
            };
            let datagrams = async {
                if let Some(datagrams) = datagrams {
                    datagrams.await;
                }
            };
            tokio::join!(connections, datagrams);
        }))
    }

    /// Binds one port for what is wanted; an error says for which protocol.
    async fn bind(
        &self,
    ) -> Result<(Option<TcpListener>, Option<UdpSocket>), (&'static str, io::Error)> {
        let address = |port| listener::address(&self.host, port);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut port = self.port;
            let mut listener = None;
            if self.over_tcp {
                let bound = listener::bind(&address(port))
                    .await
                    .map_err(|error| ("tcp", error))?;
                port = bound.local_addr().map_err(|error| ("tcp", error))?.port();
                listener = Some(bound);
            }
            if !self.over_udp {
                return Ok((listener, None));
            }
            match UdpSocket::bind(address(port)).await {
                Ok(socket) => return Ok((listener, Some(socket))),
                // Port 0: another one may do.
                Err(_) if self.port == 0 && attempts < PORT_ATTEMPTS => {}
                Err(error) => return Err(("udp", error)),
            }
        }
    }
}

impl Decode for Decoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn form(&self) -> Form {
        Form::Syslog
    }

    fn decode<'b>(
        &'b self,
        record: &'b [u8],
        origin: &'b Origin,
        arena: &'b Bump,
        now: Timestamp,
        each: &mut dyn FnMut(Event<'b>),
    ) {
        let kept = SCRATCH.with_borrow_mut(|all| all.remove(&self.number));
        let mut scratch = kept.unwrap_or_default();
        let mut none = Vec::new();
        for mut event in decode_whole(&*self.codec, trimmed(record), arena, now) {
            self.decoration.apply(&mut event, arena);
            event.set(&self.host, Value::Text(origin.ip.as_bytes()), arena);
            let mut context = Context {
                arena,
                now,
                scratch: &mut scratch,
                emitted: &mut none,
            };
            self.syslog.apply(&mut event, &mut context);
            each(event);
        }
        SCRATCH.with_borrow_mut(|all| all.insert(self.number, scratch));
    }
}
