//! The page for Prometheus and for health checks: `/metrics` and `/health`, and no more.
//!
//! Everything is bounded: connections, the request, the time. One request for each connection.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{Health, metrics};
use crate::crowd::Crowd;

/// Connections at once; others wait.
pub const MAX_CONNECTIONS: usize = 8;
/// The longest request, with its headers.
pub const MAX_REQUEST_BYTES: usize = 8 << 10;
/// From the connection to the end of the answer.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// After an error that every `accept` would meet.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Answers for ever. If the address cannot be had, that is said and shipping goes on without.
pub async fn serve(address: SocketAddr, health: Rc<Health>) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%address, %error, "cannot listen on the address of `http`, there are no metrics");
            return std::future::pending().await;
        }
    };
    let address = listener.local_addr().unwrap_or(address);
    info!(%address, "metrics and health are served by HTTP");
    let mut crowd = Crowd::new(MAX_CONNECTIONS);
    loop {
        tokio::select! {
            accepted = listener.accept(), if crowd.has_room() => match accepted {
                Ok((stream, _)) => {
                    let health = Rc::clone(&health);
                    crowd.add((), async move {
                        // Whoever asked has gone, or was too slow: nobody is left to be told.
                        drop(timeout(DEADLINE, answer(stream, &health)).await);
                    });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            () = crowd.next(), if !crowd.is_empty() => {}
        }
    }
}

async fn answer(mut stream: TcpStream, health: &Health) -> io::Result<()> {
    let mut request = Vec::with_capacity(1024);
    let complete = loop {
        if request.windows(4).any(|end| end == b"\r\n\r\n") {
            break true;
        }
        if request.len() >= MAX_REQUEST_BYTES || stream.read_buf(&mut request).await? == 0 {
            break false;
        }
    };
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or(&[]);
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = target.split('?').next().unwrap_or("");
    let plain = "text/plain; charset=utf-8";
    let (status, kind, body) = match (complete, method, path) {
        (false, ..) => ("400 Bad Request", plain, "not a request\n".to_owned()),
        (_, "GET" | "HEAD", "/metrics") => {
            let totals = health.totals().await;
            let text = metrics::text(health, totals.as_ref());
            ("200 OK", metrics::CONTENT_TYPE, text)
        }
        (_, "GET" | "HEAD", "/health") => {
            let totals = health.totals().await;
            match health.complaint(totals.as_ref()) {
                None => ("200 OK", plain, "ok\n".to_owned()),
                Some(complaint) => ("503 Service Unavailable", plain, complaint + "\n"),
            }
        }
        (_, "GET" | "HEAD", _) => {
            let text = "there are /metrics and /health\n";
            ("404 Not Found", plain, text.to_owned())
        }
        _ => ("405 Method Not Allowed", plain, "only GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if method != "HEAD" {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}
