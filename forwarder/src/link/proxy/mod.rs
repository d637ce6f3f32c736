//! Through a proxy to a server: the few words that are said to the proxy before its stream is the
//! server's.
//!
//! INVARIANT: not a byte is read beyond the proxy's answer (what follows belongs to the server), and no more
//! than a bounded number of it; [`open`] ends within the time it is given, whatever the proxy does. User and
//! password are in no error.

mod http;
mod socks5;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::network::Server;
use crate::config::proxy::{Proxy, ProxyKind};
use crate::config::units::show;

/// What a proxy is asked to connect to.
#[derive(Clone, Debug)]
pub enum Target {
    /// As typed; the proxy resolves it.
    Named(Server),
    /// Resolved here.
    Address(SocketAddr),
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(server) => server.fmt(formatter),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

/// Makes a fresh connection to the proxy one to the target. The error says what to do.
pub async fn open(
    stream: &mut TcpStream,
    proxy: &Proxy,
    target: &Target,
    limit: Duration,
) -> Result<(), String> {
    let credentials = proxy.credentials.as_ref();
    let opening = async {
        match proxy.kind {
            ProxyKind::Http => http::connect(stream, target, credentials).await,
            ProxyKind::Socks5 => socks5::connect(stream, target, credentials).await,
        }
    };
    timeout(limit, opening).await.unwrap_or_else(|_| {
        Err(format!(
            "no answer from the proxy for {}; does it speak {}, and does it reach the server?",
            show(limit),
            proxy.kind.name()
        ))
    })
}

impl ProxyKind {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Socks5 => "SOCKS5",
        }
    }
}

/// What a failure of the stream means while the proxy is spoken with.
fn broken(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        "the proxy closed the connection without an answer; is it the right port, and are we allowed to use it?"
            .to_owned()
    } else {
        format!("the connection to the proxy broke: {error}")
    }
}
