//! Connections whose bytes are cut into records: what the inputs `tcp` and `syslog` do alike.
//!
//! There is no acknowledgement: what has arrived when the input stops is taken, what is still on its
//! way is the sender's. A full queue is felt by the sender, since nothing is read. What a peer can take is
//! bounded: connections (`max_connections`), a record (`max_record_bytes`; a longer one comes in
//! pieces), the time without a byte (`client_inactivity_timeout`), and the memory that all inputs share
//! (`queue.max_memory_bytes`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use skidder_lumberjack::{Account, ByteBudget};
use skidder_pipeline::language::{DurationUnit, Options};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use super::Build;
use super::listener::{self, told_to_stop};
use super::proxy_protocol;
use super::received::{Decode, Origin, Received, Record};
use crate::ack::Ack;
use crate::monitor::Connections as Counts;
use crate::throttle::Throttle;
use crate::worker::Batch;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// How long reading what has arrived may take when the input stops, all of it together.
const LAST_READ: Duration = Duration::from_millis(200);

/// Finds the records in what one connection brings.
pub(super) trait Cutting: Send {
    /// Room for the next read. What a read that was called off has left in it does not count.
    fn room(&mut self, bytes: usize) -> &mut [u8];

    /// So many bytes were read into the room: appends the records that are whole now.
    fn filled(&mut self, bytes: usize, records: &mut Vec<Bytes>);

    /// The connection is at its end: appends what is left.
    fn rest(&mut self, records: &mut Vec<Bytes>);

    /// Bytes of what is not whole.
    fn pending(&self) -> usize;

    /// How long nothing may come before what is kept is to be flushed; nothing if it can wait.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Nothing has come for so long: appends what is kept.
    fn flush(&mut self, _records: &mut Vec<Bytes>) {}
}

/// Makes what cuts a new connection, into records of so many bytes at most.
pub(super) type MakeCutting = Box<dyn Fn(usize) -> Box<dyn Cutting> + Send + Sync>;

/// What all connections of an input share.
pub(super) struct Connections {
    pub(super) decode: Arc<dyn Decode>,
    cutting: MakeCutting,
    max_record_bytes: usize,
    /// Connections at a time.
    most: usize,
    /// Those that there are.
    pub(super) counts: Arc<Counts>,
    idle: Option<Duration>,
    keep_alive: bool,
    /// Each begins with a header of the PROXY protocol.
    proxied: bool,
    budget: Arc<ByteBudget>,
    pub(super) refused: Throttle,
}

impl Connections {
    /// Reads the options that are about connections.
    pub(super) fn from_options(
        options: &mut Options<'_>,
        build: &Build<'_>,
        decode: Arc<dyn Decode>,
        cutting: MakeCutting,
    ) -> Self {
        let idle = options.duration("client_inactivity_timeout", DurationUnit::Seconds);
        let max_record_bytes = options.bytes("max_record_bytes").unwrap_or(1 << 20);
        let max_connections = options.count("max_connections", 1..=1 << 20);
        Self {
            decode,
            cutting,
            max_record_bytes: usize::try_from(max_record_bytes)
                .unwrap_or(usize::MAX)
                .max(1),
            most: max_connections.unwrap_or(1024),
            counts: Arc::default(),
            // COMPAT: Logstash's inputs have none.
            idle: idle.filter(|idle| !idle.is_zero()),
            keep_alive: options.boolean("tcp_keep_alive").unwrap_or(false),
            proxied: options.boolean("proxy_protocol").unwrap_or(false),
            budget: Arc::clone(build.budget),
            refused: Throttle::default(),
        }
    }

    /// Reads whoever connects, until `stopping` changes and all are done.
    pub(super) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) {
        let acceptor = tls.map(TlsAcceptor::from);
        let stop = stopping.clone();
        let counts = Arc::clone(&self.counts);
        listener::accept(listener, self.most, &counts, stop, |connection, peer| {
            let (queue, stopping) = (queue.clone(), stopping.clone());
            let (all, acceptor) = (Arc::clone(&self), acceptor.clone());
            async move {
                all.take(connection, peer, acceptor, &queue, stopping).await;
            }
        })
        .await;
    }

    /// Reads a connection that was accepted.
    async fn take(
        &self,
        mut connection: TcpStream,
        mut peer: SocketAddr,
        acceptor: Option<TlsAcceptor>,
        queue: &mpsc::Sender<Batch>,
        mut stopping: watch::Receiver<bool>,
    ) {
        self.keep_alive(&connection, peer);
        if self.proxied {
            let client = proxy_protocol::client(&mut connection, peer, &self.refused);
            let client = tokio::select! {
                client = client => client,
                () = told_to_stop(&mut stopping) => return,
            };
            match client {
                Some(client) => peer = client,
                None => return,
            }
        }
        let Some(acceptor) = acceptor else {
            return self.read(connection, peer, queue, stopping).await;
        };
        let hint = |first: u8, _: &str| match first {
            0x20..0x7f => "the peer does not use TLS: check its configuration",
            _ => "check the certificates of both sides",
        };
        let shaken = listener::handshake(&acceptor, connection, peer, &self.refused, hint).await;
        if let Some(connection) = shaken {
            self.read(connection, peer, queue, stopping).await;
        }
    }

    /// Lets the kernel find out whether the peer is still there, if that is asked for.
    pub(super) fn keep_alive(&self, connection: &TcpStream, peer: SocketAddr) {
        if self.keep_alive
            && let Err(error) = socket2::SockRef::from(connection).set_keepalive(true)
        {
            debug!(%peer, %error, "cannot set SO_KEEPALIVE");
        }
    }

    /// Reads a connection to its end.
    pub(super) async fn read<S>(
        &self,
        mut connection: S,
        peer: SocketAddr,
        queue: &mpsc::Sender<Batch>,
        mut stopping: watch::Receiver<bool>,
    ) where
        S: AsyncRead + Unpin,
    {
        debug!(%peer, "connected");
        let mut sending = Sending {
            origin: Arc::new(Origin::from(peer)),
            account: self.budget.account(),
            decode: &self.decode,
            queue,
        };
        let mut cutting = (self.cutting)(self.max_record_bytes);
        // When the input is to stop, until when is read.
        let mut last: Option<Instant> = None;
        loop {
            let to_flush = cutting.patience();
            let patience = to_flush.into_iter().chain(self.idle).min();
            let until = last.or(patience.map(|patience| Instant::now() + patience));
            let read = async {
                let read = connection.read(cutting.room(READ_BYTES));
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
            let mut records = Vec::new();
            let read = match read {
                Some(Ok(read)) => read,
                Some(Err(error)) => {
                    info!(%peer, %error, "the connection broke");
                    0
                }
                None if last.is_none() && to_flush.is_some() => {
                    cutting.flush(&mut records);
                    if !sending.hand_on(records).await {
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
            if read == 0 {
                cutting.rest(&mut records);
                sending.hand_on(records).await;
                return debug!(%peer, "disconnected");
            }
            cutting.filled(read, &mut records);
            if !sending.hand_on(records).await {
                return;
            }
            // What is not whole yet counts as well.
            sending.account.reserve(cutting.pending()).await;
        }
    }
}

/// Where the records of one connection go.
struct Sending<'c> {
    origin: Arc<Origin>,
    account: Account,
    decode: &'c Arc<dyn Decode>,
    queue: &'c mpsc::Sender<Batch>,
}

impl Sending<'_> {
    /// Puts whole records into the queue. False if it is gone.
    async fn hand_on(&mut self, records: Vec<Bytes>) -> bool {
        if records.is_empty() {
            return true;
        }
        let bytes = records.iter().map(Bytes::len).sum();
        self.account.reserve(bytes).await;
        let memory = self.account.try_reserve(bytes);
        self.account.settle();
        let records = records.into_iter().map(|bytes| Record {
            bytes,
            origin: Arc::clone(&self.origin),
        });
        let received = Received::new(records.collect(), memory, Arc::clone(self.decode));
        let batch = Batch {
            records: Box::new(received),
            ack: Ack::ignored(),
        };
        self.queue.send(batch).await.is_ok()
    }
}
