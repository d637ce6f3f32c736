//! The `udp` input: each datagram goes through the codec.
//!
//! Nothing can hold up a sender: when the queue is full, `queue_size` datagrams wait here, then those that
//! come are lost, as they would be on the wire. They are counted, and the log says so; so are those that
//! are longer than `buffer_size` and lose their end.
//!
//! COMPAT: of Logstash's input: the default codec is `line`; the sender's address is in `host`
//! (`[host][ip]` with ECS) unless the event has one, or where `source_ip_fieldname` says.

use std::net::SocketAddr;
use std::sync::Arc;

use bumpalo::Bump;
use bytes::{Bytes, BytesMut};
use skidder_pipeline::codec::{Codec, Line};
use skidder_pipeline::event::{Event, Path, Timestamp, Value};
use skidder_pipeline::language::{Options, Plugin};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::decoding::decode_whole;
use super::decoration::Decoration;
use super::listener::{self, told_to_stop};
use super::received::{Decode, Origin, Received, Record, Stored};
use super::{Build, Running};
use crate::ack::Ack;
use crate::queue::stored::{Form, Restore};
use crate::throttle::{Throttle, WARNING_INTERVAL};
use crate::worker::Batch;

/// Datagrams that go into one batch, at most.
const BATCH_DATAGRAMS: usize = 500;
/// The largest datagram there can be.
const MAX_DATAGRAM: usize = 65_535;
/// Memory for datagrams is taken from the system in pieces of this size.
const SLAB_BYTES: usize = 256 << 10;

/// A UDP input, ready to start.
pub(super) struct UdpInput {
    address: String,
    receiver: Receiver,
}

/// Receives datagrams and puts them into the queue.
pub(super) struct Receiver {
    buffer_size: usize,
    receive_buffer_bytes: Option<usize>,
    queue_size: usize,
    decode: Arc<dyn Decode>,
}

/// How datagrams become events.
struct Decoder {
    name: String,
    codec: Arc<dyn Codec>,
    source_ip: Path,
    decoration: Decoration,
}

impl UdpInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let codec = build.codec(options, "line", ecs);
        let host = options.string("host").unwrap_or_else(|| "0.0.0.0".into());
        let port = options.integer("port", 0..=65_535);
        if !options.has("port") {
            options.missing("port");
        }
        let buffer_size = options.count("buffer_size", 1..=MAX_DATAGRAM);
        options.without_effect("workers", "the workers of the pipeline decode");
        let field = options
            .field("source_ip_fieldname")
            .map(|field| field.value);
        let default: &[&str] = if ecs { &["host", "ip"] } else { &["host"] };
        let source_ip = field.map_or_else(
            || Path::new(default.iter().copied()),
            |field| Path::from(&field),
        );
        let (plugin, codec) = codec?;
        names_its_columns(&plugin, options);
        let decoder = Arc::new(Decoder {
            name: build.name.to_owned(),
            codec,
            source_ip,
            decoration: Decoration::from_options(options),
        });
        let mut receiver = Receiver::from_options(options, decoder);
        receiver.buffer_size = buffer_size.unwrap_or(MAX_DATAGRAM);
        Some(Self {
            address: listener::address(&host, port?),
            receiver,
        })
    }

    /// What reads its datagrams back from the disk queue.
    pub(super) fn stored(&self) -> Arc<dyn Restore> {
        Arc::new(Stored(Arc::clone(&self.receiver.decode)))
    }

    /// Binds the port.
    pub(super) async fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Running, String> {
        let socket = UdpSocket::bind(&self.address).await;
        let socket =
            socket.map_err(|error| format!("cannot listen on {}: {error}", self.address))?;
        let address = socket
            .local_addr()
            .map_or_else(|_| self.address.clone(), |address| address.to_string());
        info!(input = self.receiver.decode.name(), address, "listening");
        Ok(Box::pin(self.receiver.run(socket, queue, stopping)))
    }
}

/// A datagram is decoded by itself: there is no row before it that could name its columns.
pub(super) fn names_its_columns(codec: &Plugin, options: &mut Options<'_>) {
    let detects = codec.attributes.iter().any(|given| {
        given.name.value == "autodetect_column_names" && given.value.value.as_text() == Some("true")
    });
    if codec.name.value == "csv" && detects {
        options.error(
            "codec",
            "each record is decoded by itself, so none can name the columns of the others: name them with `columns`",
        );
    }
}

/// Reads datagrams of such inputs as lines, for those that are not there any more.
pub(super) fn bare(ecs: bool) -> Arc<dyn Restore> {
    let source_ip: &[&str] = if ecs { &["host", "ip"] } else { &["host"] };
    Arc::new(Stored(Arc::new(Decoder {
        name: String::new(),
        codec: Arc::new(Line {
            keep_original: ecs,
            ..Line::default()
        }),
        source_ip: Path::new(source_ip.iter().copied()),
        decoration: Decoration::default(),
    })))
}

impl Receiver {
    /// Reads the options that are about datagrams.
    pub(super) fn from_options(options: &mut Options<'_>, decode: Arc<dyn Decode>) -> Self {
        Self {
            buffer_size: MAX_DATAGRAM,
            receive_buffer_bytes: options.count("receive_buffer_bytes", 1..=1 << 30),
            queue_size: options.count("queue_size", 1..=1 << 20).unwrap_or(2000),
            decode,
        }
    }

    fn enlarge(&self, socket: &UdpSocket, wanted: usize) {
        let socket = socket2::SockRef::from(socket);
        let set = socket.set_recv_buffer_size(wanted);
        // Linux says twice what it has, and gives less than asked for without an error.
        let got = socket.recv_buffer_size().map_or(0, |bytes| bytes / 2);
        if set.is_err() || got < wanted {
            let input = self.decode.name();
            warn!(
                input,
                wanted,
                got,
                "the receive buffer is smaller than `receive_buffer_bytes`: raise net.core.rmem_max"
            );
        }
    }

    /// Receives until `stopping` changes.
    pub(super) async fn run(
        self,
        socket: UdpSocket,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) {
        if let Some(wanted) = self.receive_buffer_bytes {
            self.enlarge(&socket, wanted);
        }
        let (waiting, datagrams) = mpsc::channel(self.queue_size);
        let forward = forward(datagrams, queue, Arc::clone(&self.decode));
        tokio::join!(self.receive(socket, waiting, stopping), forward);
    }

    /// Takes datagrams off the socket until `stopping` changes.
    async fn receive(
        &self,
        socket: UdpSocket,
        waiting: mpsc::Sender<(Bytes, SocketAddr)>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let failed = Throttle::default();
        let mut losses = Losses::new(self.decode.name(), self.queue_size, self.buffer_size);
        // One byte more, which shows that a datagram was longer.
        let most = self.buffer_size + 1;
        let mut slab = BytesMut::new();
        loop {
            if slab.capacity() < most {
                slab = BytesMut::with_capacity(SLAB_BYTES.max(most));
            }
            slab.resize(most, 0);
            let received = tokio::select! {
                received = socket.recv_from(&mut slab) => received,
                () = tokio::time::sleep_until(losses.due), if losses.any() => {
                    losses.report();
                    continue;
                }
                () = told_to_stop(&mut stopping) => break,
            };
            match received {
                Ok((length, peer)) => {
                    losses.cut += u64::from(length > self.buffer_size);
                    let bytes = slab.split_to(length.min(self.buffer_size)).freeze();
                    match waiting.try_send((bytes, peer)) {
                        Ok(()) => {}
                        Err(mpsc::error::TrySendError::Full(_)) => losses.lost += 1,
                        Err(mpsc::error::TrySendError::Closed(_)) => break,
                    }
                    if losses.any() && losses.due <= Instant::now() {
                        losses.report();
                    }
                }
                Err(error) => {
                    if let Some(count) = failed.due(1) {
                        warn!(input = self.decode.name(), %error, count, "cannot receive");
                    }
                    // An error that stays must not take a whole processor.
                    tokio::task::yield_now().await;
                }
            }
        }
        if losses.any() {
            losses.report();
        }
    }
}

/// What was lost since the log said so last.
struct Losses<'i> {
    input: &'i str,
    queue_size: usize,
    buffer_size: usize,
    lost: u64,
    cut: u64,
    /// When the log may say so again.
    due: Instant,
}

impl<'i> Losses<'i> {
    fn new(input: &'i str, queue_size: usize, buffer_size: usize) -> Self {
        Self {
            input,
            queue_size,
            buffer_size,
            lost: 0,
            cut: 0,
            due: Instant::now(),
        }
    }

    fn any(&self) -> bool {
        self.lost + self.cut > 0
    }

    fn report(&mut self) {
        let (input, lost, cut) = (self.input, self.lost, self.cut);
        if lost > 0 {
            warn!(
                input,
                lost,
                queue_size = self.queue_size,
                "the queue is full, datagrams are lost: make the pipeline faster, or use tcp"
            );
        }
        if cut > 0 {
            warn!(
                input,
                cut,
                buffer_size = self.buffer_size,
                "datagrams are longer than `buffer_size` and lose their end: make it larger"
            );
        }
        (self.lost, self.cut) = (0, 0);
        self.due = Instant::now() + WARNING_INTERVAL;
    }
}

/// Puts what is waiting into the queue, as much as there is at once.
async fn forward(
    mut datagrams: mpsc::Receiver<(Bytes, SocketAddr)>,
    queue: mpsc::Sender<Batch>,
    decode: Arc<dyn Decode>,
) {
    loop {
        let mut together = Vec::new();
        if datagrams.recv_many(&mut together, BATCH_DATAGRAMS).await == 0 {
            return;
        }
        let mut last: Option<(SocketAddr, Arc<Origin>)> = None;
        let records = together.into_iter().map(|(bytes, peer)| {
            let same = last.as_ref().filter(|(address, _)| *address == peer);
            let origin = match same {
                Some((_, origin)) => Arc::clone(origin),
                None => Arc::new(Origin::from(peer)),
            };
            last = Some((peer, Arc::clone(&origin)));
            Record { bytes, origin }
        });
        let records = records.collect();
        let batch = Batch {
            records: Box::new(Received::new(records, None, Arc::clone(&decode))),
            ack: Ack::ignored(),
        };
        if queue.send(batch).await.is_err() {
            return;
        }
    }
}

impl Decode for Decoder {
    fn name(&self) -> &str {
        &self.name
    }

    fn form(&self) -> Form {
        Form::Datagrams
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
            if event.get(&self.source_ip).is_none() {
                let address = Value::Text(origin.ip.as_bytes());
                event.set(&self.source_ip, address, arena);
            }
            self.decoration.apply(&mut event, arena);
            each(event);
        }
    }
}
