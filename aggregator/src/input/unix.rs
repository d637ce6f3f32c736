//! The `unix` input: records over a socket of this host, from whoever connects or from whom it connects to.
//!
//! COMPAT: of Logstash's input: the codec is `line`, events have this host's name and the socket's path. A
//! socket that nobody listens on any more is replaced without `force_unlink`; one that is in use never is.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skidder_pipeline::language::{DurationUnit, Options, Value};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::listener::told_to_stop;
use super::local::{Marks, Stream};
use super::{Build, Running};
use crate::throttle::Throttle;
use crate::worker::Batch;

/// How long reading what has arrived may take when the input stops.
const LAST_READ: Duration = Duration::from_millis(200);
/// The pause after a failed accept (out of descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket of this host, ready to be opened.
pub(super) struct UnixInput {
    path: String,
    client: bool,
    force_unlink: bool,
    retry: Duration,
    max_connections: usize,
    stream: Arc<Stream>,
}

impl UnixInput {
    /// Reads the options.
    pub(super) fn from_options(options: &mut Options<'_>, build: &Build<'_>) -> Option<Self> {
        let ecs = build.ecs(options);
        let path = options.required_string("path");
        let modes = [("server", false), ("client", true)];
        let client = options.enumeration("mode", &modes).unwrap_or(false);
        let force_unlink = options.boolean("force_unlink").unwrap_or(false);
        let given = options.value("data_timeout").map(|given| &given.value);
        let negative = match given {
            Some(Value::Number(number)) => number.to_string().starts_with('-'),
            other => other
                .and_then(Value::as_text)
                .is_some_and(|text| text.starts_with('-')),
        };
        // COMPAT: -1 is for ever.
        let idle = if negative {
            None
        } else {
            options.duration("data_timeout", DurationUnit::Seconds)
        };
        let name = "socket_not_present_retry_interval_seconds";
        let retry = options.duration(name, DurationUnit::Seconds);
        if retry.is_some_and(|retry| retry.is_zero()) {
            options.error(name, "the pause must be longer than nothing");
        }
        let max_connections = options.count("max_connections", 1..=1 << 20);
        let path = path?;
        let mut marks = Marks::host(ecs);
        marks.add(ecs, &["path"], &["file", "path"], path.clone());
        let idle = idle.filter(|idle| !idle.is_zero());
        let stream = Stream::from_options(options, build, ecs, marks, false, idle)?;
        Some(Self {
            path,
            client,
            force_unlink,
            retry: retry.unwrap_or(Duration::from_secs(5)),
            max_connections: max_connections.unwrap_or(1024),
            stream: Arc::new(stream),
        })
    }

    /// Opens the socket, or begins to connect.
    pub(super) async fn start(
        self,
        queue: mpsc::Sender<Batch>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Running, String> {
        if self.client {
            return Ok(Box::pin(self.connect(queue, stopping)));
        }
        let path = &self.path;
        let listener = self.bind().await;
        let listener = listener.map_err(|error| format!("cannot listen on `{path}`: {error}"))?;
        info!(input = self.stream.name(), address = path, "listening");
        Ok(Box::pin(self.serve(listener, queue, stopping)))
    }

    async fn bind(&self) -> io::Result<UnixListener> {
        let path = Path::new(&self.path);
        match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
        if !fs::symlink_metadata(path)?.file_type().is_socket() {
            return Err(io::Error::other(
                "there is something else than a socket; move it away",
            ));
        }
        match UnixStream::connect(path).await {
            // What a process has left that is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            _ if self.force_unlink => {}
            _ => {
                return Err(io::Error::other(
                    "another process listens there; stop it, or set `force_unlink => true` to take its place",
                ));
            }
        }
        fs::remove_file(path)?;
        UnixListener::bind(path)
    }

    async fn serve(
        self,
        listener: UnixListener,
        queue: mpsc::Sender<Batch>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let own = identity(&self.path);
        let permits = Arc::new(Semaphore::new(self.max_connections));
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                accepted = accepted => accepted,
                () = told_to_stop(&mut stopping) => break,
            };
            let connection = match accepted {
                Ok((connection, _)) => connection,
                Err(error) => {
                    warn!(path = self.path, %error, "cannot accept a connection, waiting");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let (stream, queue) = (Arc::clone(&self.stream), queue.clone());
            let mut stopping = stopping.clone();
            connections.spawn(async move {
                stream
                    .read(connection, &queue, &mut stopping, LAST_READ, || {})
                    .await;
                drop(permit);
            });
        }
        drop(listener);
        // COMPAT: the socket goes with the input, unless another process has put its own there.
        if own.is_some() && own == identity(&self.path) {
            let removed = fs::remove_file(&self.path);
            debug!(path = self.path, ?removed, "the socket goes with the input");
        }
        while connections.join_next().await.is_some() {}
    }

    /// Connects, and again whenever the other side has closed, until `stopping` changes.
    async fn connect(self, queue: mpsc::Sender<Batch>, mut stopping: watch::Receiver<bool>) {
        let failed = Throttle::default();
        while !*stopping.borrow() && !queue.is_closed() {
            match UnixStream::connect(&self.path).await {
                Ok(connection) => {
                    info!(path = self.path, "connected");
                    let stream = &self.stream;
                    stream
                        .read(connection, &queue, &mut stopping, LAST_READ, || {})
                        .await;
                }
                Err(error) => {
                    if let Some(count) = failed.due(1) {
                        warn!(path = self.path, %error, count, "cannot connect, trying again");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.retry) => {}
                () = told_to_stop(&mut stopping) => return,
            }
        }
    }
}

/// Which file is there.
fn identity(path: &str) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
