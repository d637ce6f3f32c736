//! What every input that listens on TCP does alike: accept connections, no more than a number of
//! them, and shake hands.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{Instrument as _, debug, warn};

use super::tls;
use crate::monitor::Connections;
use crate::throttle::Throttle;

/// How long a TLS handshake may take.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that wait in the kernel to be accepted; it allows itself `net.core.somaxconn` at most.
const BACKLOG: u32 = 16_384;

/// The first pause after a failed accept (out of descriptors, say), and the longest.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn address(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Listens, with room in the kernel for those who come at once after a restart.
pub(super) async fn bind(address: &str) -> io::Result<TcpListener> {
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for address in tokio::net::lookup_host(address).await? {
        let bound = (|| {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        })();
        match bound {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Waits until the input is to stop, or nobody is left to say so.
pub(super) async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

/// Serves each connection in a task of its own until `stopping` changes: then nothing new is accepted,
/// and it returns when the last connection is done. A connection beyond `max_connections` waits in the
/// kernel until another leaves. All are counted in `counts`.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    max_connections: usize,
    counts: &Arc<Connections>,
    mut stopping: watch::Receiver<bool>,
    mut serve: impl FnMut(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    let mut pause = ACCEPT_PAUSE;
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = told_to_stop(&mut stopping) => break,
        };
        let Ok(permit) = permit else { break };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    let address = listener.local_addr().ok();
                    warn!(%error, ?address, "cannot accept a connection, waiting");
                    tokio::time::sleep(pause).await;
                    pause = MAX_ACCEPT_PAUSE.min(pause * 2);
                    continue;
                }
            },
            () = told_to_stop(&mut stopping) => break,
        };
        pause = ACCEPT_PAUSE;
        while connections.try_join_next().is_some() {}
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let serving = serve(stream, peer);
        let open = counts.opened();
        let serving = async move {
            serving.await;
            drop((open, permit));
        };
        connections.spawn(serving.in_current_span());
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Shakes hands. Nothing when that fails, which is said in the log now and then; `hint` says what to do, by
/// the first byte that came and the reason.
pub(super) async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    refused: &Throttle,
    hint: impl FnOnce(u8, &str) -> &'static str,
) -> Option<TlsStream<TcpStream>> {
    let first = first_byte(&stream, peer).await?;
    shake_hands(acceptor, stream, first, peer, refused, hint).await
}

/// Waits for the first byte, which stays where it is. Nothing if none comes: a load balancer's health check connects and
/// leaves, and that is no failed handshake.
pub(super) async fn first_byte(stream: &TcpStream, peer: SocketAddr) -> Option<u8> {
    let mut first = [0];
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await {
        Ok(Ok(0) | Err(_)) => None,
        Err(_) => {
            debug!(%peer, "connected and sent nothing");
            None
        }
        Ok(Ok(_)) => Some(first[0]),
    }
}

/// As [`handshake`], when the first byte is there.
pub(super) async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    first: u8,
    peer: SocketAddr,
    refused: &Throttle,
    hint: impl FnOnce(u8, &str) -> &'static str,
) -> Option<TlsStream<TcpStream>> {
    let reason = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls::accept(acceptor, stream)).await
    {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not done within {HANDSHAKE_TIMEOUT:?}"),
    };
    if let Some(count) = refused.due(1) {
        let hint = hint(first, &reason);
        warn!(%peer, reason, hint, count, "TLS handshake failed");
    }
    None
}
