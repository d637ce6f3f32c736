//! Connections that bring messages one after the other.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::framing::{Framer, Message};
use super::{Messages, QUIET, Settings};
use crate::feed::{Gone, Outlet};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// After an error that every `accept` would meet.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What connections come to.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket.
    Unix(UnixListener),
    /// A port.
    Tcp(TcpListener),
}

/// How long connections are still taken when it is told to stop.
const LAST_CONNECTIONS: Duration = Duration::from_secs(1);

trait Incoming: AsyncRead + AsFd + Send + Unpin {}

impl<T: AsyncRead + AsFd + Send + Unpin> Incoming for T {}

type Stream = Box<dyn Incoming>;

impl Listener {
    /// The next connection, and who it is.
    async fn accept(&self) -> io::Result<(Stream, String)> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = credentials(&stream);
                Ok((Box::new(stream), peer))
            }
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Box::new(stream), address.to_string()))
            }
        }
    }
}

/// Who is at the other end: `pid=4711,uid=1000`.
fn credentials(stream: &UnixStream) -> String {
    match stream.peer_cred() {
        Ok(peer) => match peer.pid() {
            Some(pid) => format!("pid={pid},uid={}", peer.uid()),
            None => format!("uid={}", peer.uid()),
        },
        Err(_) => String::new(),
    }
}

/// Takes connections until it is told to stop, or nobody takes messages any more.
pub async fn run(
    listener: Listener,
    settings: Settings,
    outlet: Outlet,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut last_accept = None;
    loop {
        let has_room = connections.len() < settings.max_connections;
        let accepted = async {
            match last_accept {
                // Those that have connected by now are taken.
                Some(last) => timeout_at(last, timeout(QUIET, listener.accept()))
                    .await
                    .ok()?
                    .ok(),
                None => Some(listener.accept().await),
            }
        };
        tokio::select! {
            accepted = accepted, if has_room => match accepted {
                Some(Ok((stream, peer))) => {
                    let (settings, outlet) = (settings.clone(), outlet.clone());
                    let connection = Connection::new(settings, outlet, peer);
                    connections.spawn(connection.run(stream, stop.clone()));
                }
                Some(Err(error)) => {
                    warn!(listen = %settings.listen, %error, "cannot take a connection, trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
                None => break,
            },
            Some(_) = connections.join_next() => {}
            () = stopped(&mut stop), if last_accept.is_none() => {
                last_accept = Some(Instant::now() + LAST_CONNECTIONS);
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until it is told to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can tell us any more: they are gone.
    drop(stop.wait_for(|stop| *stop).await);
}

struct Connection {
    settings: Settings,
    outlet: Outlet,
    peer: String,
    framer: Framer,
    messages: Messages,
}

impl Connection {
    fn new(settings: Settings, outlet: Outlet, peer: String) -> Self {
        let message = Message::new(settings.max_message_bytes, settings.long_lines);
        Self {
            framer: Framer::new(settings.framing, message),
            messages: Messages::default(),
            settings,
            outlet,
            peer,
        }
    }

    async fn run(mut self, stream: Stream, stop: watch::Receiver<bool>) {
        if self.read(stream, stop).await.is_err() {
            // Nobody takes messages any more.
            return;
        }
        let (messages, peer) = (&mut self.messages, &self.peer);
        let mut take = |text: &[u8], truncated| messages.add(text, truncated, peer);
        self.framer.end(&mut take);
        let cuts = &mut self.framer.message.cuts;
        // Whoever took messages may be gone.
        drop(self.messages.send(&self.outlet, cuts).await);
    }

    /// Reads until the end of the connection, or when it is told to stop, what has come by then.
    async fn read(
        &mut self,
        mut stream: Stream,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Gone> {
        let (listen, peer) = (self.settings.listen.clone(), self.peer.clone());
        let idle = self.settings.idle_timeout.unwrap_or(Duration::MAX);
        let mut buffer = vec![0; READ_BYTES];
        let mut left = None;
        loop {
            let read = match left {
                Some(0) => return Ok(()),
                Some(left) => stream.read(&mut buffer[..READ_BYTES.min(left)]).await,
                None => tokio::select! {
                    read = timeout(idle, stream.read(&mut buffer)) => match read {
                        Ok(read) => read,
                        Err(_) => {
                            debug!(%listen, peer, "closing a connection that was silent for `idle timeout`");
                            return Ok(());
                        }
                    },
                    () = stopped(&mut stop) => {
                        let waiting = rustix::io::ioctl_fionread(&stream).unwrap_or(0);
                        left = Some(usize::try_from(waiting).unwrap_or(usize::MAX));
                        continue;
                    }
                },
            };
            let bytes = match read {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    left = left.map(|left| left.saturating_sub(count));
                    &buffer[..count]
                }
                Err(error) => {
                    debug!(%listen, peer, %error, "a connection has failed");
                    return Ok(());
                }
            };
            let messages = &mut self.messages;
            let mut take = |text: &[u8], truncated| messages.add(text, truncated, &peer);
            let fed = self.framer.feed(bytes, &mut take);
            let cuts = &mut self.framer.message.cuts;
            self.messages.send(&self.outlet, cuts).await?;
            if let Err(error) = fed {
                warn!(%listen, peer, %error, "closing a connection");
                return Ok(());
            }
        }
    }
}
