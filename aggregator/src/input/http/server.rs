//! The server: accepts connections, speaks TLS, HTTP/1.1 and HTTP/2, and closes what stands about.
//!
//! What a peer can take is bounded: connections (`max_connections`), the time of a TLS handshake, headers
//! (`max_header_bytes`), streams of one connection (`max_concurrent_streams`), and the time in which a connection has no
//! request under way (`client_inactivity_timeout`). The last covers every way to be slow before a request is there: a
//! preface that does not come, a header that comes byte by byte, a connection that is kept for nothing, an answer that is
//! not read. A body has a time of its own (`request_timeout`).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use skidder_lumberjack::ByteBudget;
use skidder_pipeline::language::{DurationUnit, Options};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::body::BodyLimits;
use super::exchange::{Call, Credentials, Exchange};
use super::reply::Reply;
use crate::input::listener::{self, told_to_stop};
use crate::input::tls_options::tls_from_options;
use crate::input::{Build, Running};
use crate::monitor::Connections;
use crate::queue::stored::Restore;
use crate::throttle::Throttle;
use crate::worker::Batch;

/// How long a connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// The least that `max_header_bytes` can be: hyper reads into a buffer of this size.
const SMALLEST_HEADER_LIMIT: usize = 8192;

/// The answer that is to come.
pub(super) type Answer = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What an input does with a request.
pub(super) trait Endpoint: Send + Sync + 'static {
    /// Answers one.
    fn answer(self: Arc<Self>, call: Call) -> Answer;

    /// What reads requests back from the disk queue; nothing if they are kept as their events.
    fn stored(self: Arc<Self>) -> Option<Arc<dyn Restore>> {
        None
    }
}

/// A server, ready to listen.
pub(in crate::input) struct Server {
    address: String,
    tls: Option<Arc<rustls::ServerConfig>>,
    max_connections: usize,
    /// Those that there are.
    pub(in crate::input) connections: Arc<Connections>,
    idle: Duration,
    max_header_bytes: usize,
    max_streams: u32,
    max_pending: usize,
    body: BodyLimits,
    queue_timeout: Duration,
    ack_timeout: Duration,
    pub(super) credentials: Vec<Credentials>,
    budget: Arc<ByteBudget>,
    name: String,
    endpoint: Arc<dyn Endpoint>,
}

impl Server {
    /// What reads its requests back from the disk queue.
    pub(in crate::input) fn stored(&self) -> Option<Arc<dyn Restore>> {
        Arc::clone(&self.endpoint).stored()
    }

    /// Reads the options that every one of these inputs has.
    pub(super) fn from_options(
        options: &mut Options<'_>,
        build: &Build<'_>,
        default_port: u16,
        endpoint: Option<Arc<dyn Endpoint>>,
    ) -> Option<Self> {
        let host = options.string("host").unwrap_or_else(|| "0.0.0.0".into());
        let port = options
            .integer("port", 0..=65_535)
            .unwrap_or(i64::from(default_port));
        let tls = tls_from_options(options).map(|config| {
            let mut config = Arc::unwrap_or_clone(config);
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Arc::new(config)
        });
        let user = options.string("user");
        let password = options.string("password");
        let credentials = match (user, password) {
            (Some(user), Some(password)) => Some(Credentials::basic(&user, &password)),
            (Some(_), None) => {
                options.missing("password");
                None
            }
            (None, Some(_)) => {
                options.missing("user");
                None
            }
            (None, None) => None,
        };
        let mut bytes = |name, default: usize| {
            options.bytes(name).map_or(default, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            })
        };
        let content_length = bytes("max_content_length", 100 << 20);
        let decompressed_length = bytes("max_decompressed_length", content_length.max(100 << 20));
        let max_header_bytes = bytes("max_header_bytes", 64 << 10);
        if max_header_bytes < SMALLEST_HEADER_LIMIT {
            let message = format!("it cannot be less than {SMALLEST_HEADER_LIMIT} bytes");
            options.error("max_header_bytes", message);
        }
        let mut seconds = |name, default| {
            let time = options.duration(name, DurationUnit::Seconds);
            time.unwrap_or(Duration::from_secs(default))
        };
        let idle = seconds("client_inactivity_timeout", 60);
        let time = seconds("request_timeout", 60);
        let queue_timeout = seconds("queue_timeout", 5);
        let ack_timeout = seconds("ack_timeout", 60);
        let max_connections = options.count("max_connections", 1..=1 << 20);
        let max_streams = options.count("max_concurrent_streams", 1..=1 << 20);
        let max_pending = options.count("max_pending_requests", 1..=1 << 20);
        options.without_effect("threads", "connections cost no thread here");
        Some(Self {
            address: listener::address(&host, port),
            tls,
            max_connections: max_connections.unwrap_or(4096),
            connections: Arc::default(),
            idle,
            max_header_bytes,
            max_streams: max_streams.unwrap_or(100) as u32,
            max_pending: max_pending.unwrap_or(200),
            body: BodyLimits {
                content_length,
                decompressed_length,
                time,
            },
            queue_timeout,
            ack_timeout,
            credentials: credentials.into_iter().collect(),
            budget: Arc::clone(build.budget),
            name: build.name.into(),
            endpoint: endpoint?,
        })
    }

    /// Binds the port, and says what is wrong if that cannot be.
    pub(in crate::input) async fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Running, String> {
        let listener = self
            .bind()
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", self.address))?;
        let address = listener
            .local_addr()
            .map_or_else(|_| self.address.clone(), |address| address.to_string());
        tracing::info!(
            input = self.name,
            address,
            tls = self.tls.is_some(),
            "listening"
        );
        Ok(Box::pin(self.run(listener, queue, stopping)))
    }

    pub(super) async fn bind(&self) -> io::Result<TcpListener> {
        listener::bind(&self.address).await
    }

    /// Serves until `stopping` changes: then nothing new is accepted, and it returns when the requests that are under
    /// way are answered.
    pub(super) async fn run(
        self,
        listener: TcpListener,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) {
        let acceptor = self.tls.map(TlsAcceptor::from);
        let exchange = Arc::new(Exchange {
            name: self.name,
            credentials: self.credentials,
            body: self.body,
            max_pending: self.max_pending,
            queue_timeout: self.queue_timeout,
            ack_timeout: self.ack_timeout,
            budget: self.budget,
            pending: Arc::new(Semaphore::new(self.max_pending)),
            queue,
            stopping: stopping.clone(),
            refused: Throttle::default(),
        });
        let mut protocols = auto::Builder::new(TokioExecutor::new());
        protocols.http1().max_buf_size(self.max_header_bytes);
        let headers = u32::try_from(self.max_header_bytes).unwrap_or(u32::MAX);
        protocols
            .http2()
            .max_header_list_size(headers)
            .max_concurrent_streams(self.max_streams);
        let connection = Arc::new(Connection {
            protocols,
            acceptor,
            idle: self.idle,
            exchange,
            endpoint: self.endpoint,
            handshakes: Throttle::default(),
        });
        let most = self.max_connections;
        listener::accept(
            listener,
            most,
            &self.connections,
            stopping,
            |stream, peer| {
                let connection = Arc::clone(&connection);
                async move { connection.run(stream, peer).await }
            },
        )
        .await;
    }
}

/// What the connections of one server share.
struct Connection {
    protocols: auto::Builder<TokioExecutor>,
    acceptor: Option<TlsAcceptor>,
    idle: Duration,
    exchange: Arc<Exchange>,
    endpoint: Arc<dyn Endpoint>,
    handshakes: Throttle,
}

impl Connection {
    async fn run(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(acceptor) = &self.acceptor else {
            return self.serve(stream, peer).await;
        };
        let hint = |first: u8, _: &str| {
            if first.is_ascii_uppercase() {
                "the peer does not use TLS: use https in its configuration"
            } else {
                "check the certificates of both sides"
            }
        };
        if let Some(stream) =
            listener::handshake(acceptor, stream, peer, &self.handshakes, hint).await
        {
            self.serve(stream, peer).await;
        }
    }

    async fn serve<S>(&self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request: Request<Incoming>| {
            let (head, body) = request.into_parts();
            let call = Call {
                peer,
                head: Request::from_parts(head, ()),
                body,
                exchange: Arc::clone(&self.exchange),
            };
            let busy = Busy::new(&activity);
            let answer = Arc::clone(&self.endpoint).answer(call);
            async move {
                let reply = answer.await;
                drop(busy);
                Ok::<_, Infallible>(reply)
            }
        });
        let io = TokioIo::new(stream);
        let mut connection = pin!(self.protocols.serve_connection(io, service));
        let mut stopping = self.exchange.stopping.clone();
        let mut leaving = false;
        let reason = loop {
            let idle_at = activity.since().map(|since| since + self.idle);
            let look_at = idle_at.unwrap_or_else(|| Instant::now() + self.idle);
            tokio::select! {
                ended = connection.as_mut() => match ended {
                    Ok(()) => return,
                    Err(error) => return debug!(%peer, %error, "connection ended"),
                },
                () = told_to_stop(&mut stopping), if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                    if activity.since().is_some() {
                        break "stopping";
                    }
                }
                () = tokio::time::sleep_until(look_at) => {
                    if activity.since().is_some_and(|since| since + self.idle <= Instant::now()) {
                        break "no request for too long";
                    }
                }
            }
        };
        debug!(%peer, reason, "closing the connection");
        connection.as_mut().graceful_shutdown();
        if tokio::time::timeout(GOODBYE, connection).await.is_err() {
            debug!(%peer, "the peer did not say goodbye");
        }
    }
}

/// Whether a connection has requests under way, and since when it has none.
#[derive(Debug)]
struct Activity(Mutex<(usize, Instant)>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }
}

impl Activity {
    /// Since when there is no request; nothing while there is one.
    fn since(&self) -> Option<Instant> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.0 == 0).then_some(state.1)
    }
}

/// A request that is under way.
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: &Arc<Activity>) -> Self {
        let mut state = activity.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        drop(state);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0 - 1, Instant::now());
    }
}
