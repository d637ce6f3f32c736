//! From `host:port` to a stream: resolve, connect, shake hands; each with a limit in time, and
//! with an error that names the server and what to do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use skidder_lumberjack::Version;
use skidder_lumberjack::native::ALPN;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::backoff::Random;
use super::tls;
use crate::config::Network;
use crate::config::network::{Protocol, Server};
use crate::config::units::show;

/// What windows are sent over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A connection to a server.
pub struct Connected {
    /// Its stream.
    pub stream: Box<dyn Stream>,
    /// The server's address.
    pub address: SocketAddr,
    /// What is spoken over it.
    pub version: Version,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address.
    #[error("cannot resolve {server}: {error}; check the name in `servers` and the DNS")]
    Resolve {
        /// As typed.
        server: Server,
        /// What the resolver said.
        #[source]
        error: io::Error,
    },
    /// Nobody there.
    #[error(
        "cannot connect to {server} ({address}): {error}; is it running, is a firewall between?"
    )]
    Connect {
        /// As typed.
        server: Server,
        /// The last address that was tried.
        address: SocketAddr,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The server does not know our framing.
    #[error("{server} does not speak the native framing; set `protocol: auto`")]
    NoSuchProtocol {
        /// As typed.
        server: Server,
    },
    /// TLS failed.
    #[error("no TLS connection to {server}: {reason}")]
    Tls {
        /// As typed.
        server: Server,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// Connects to one server. Its addresses are resolved anew and tried in random order.
pub async fn connect(
    server: &Server,
    network: &Network,
    random: &mut Random,
) -> Result<Connected, ConnectError> {
    let unresolved = |error| ConnectError::Resolve {
        server: server.clone(),
        error,
    };
    let name = (server.host.as_str(), server.port);
    let resolved = timeout(network.timeout, tokio::net::lookup_host(name)).await;
    let resolved = resolved.unwrap_or_else(|_| Err(timed_out(network.timeout)));
    let mut addresses: Vec<SocketAddr> = resolved.map_err(unresolved)?.collect();
    random.shuffle(&mut addresses);
    let mut failure = unresolved(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    let mut offer = matches!(network.protocol, Protocol::Auto | Protocol::Native);
    let mut addresses = addresses.into_iter().peekable();
    while let Some(&address) = addresses.peek() {
        let connecting = timeout(network.timeout, TcpStream::connect(address)).await;
        let connected = connecting.unwrap_or_else(|_| Err(timed_out(network.timeout)));
        match connected.and_then(|stream| prepare(stream, network.tcp_keepalive)) {
            Ok(stream) => match &network.tls {
                None => {
                    return Ok(Connected {
                        stream: Box::new(stream),
                        address,
                        version: network.protocol.without_tls(),
                    });
                }
                Some(tls) => match handshake(server, network, tls, stream, offer).await {
                    Ok((stream, version)) => {
                        return Ok(Connected {
                            stream,
                            address,
                            version,
                        });
                    }
                    Err(ConnectError::NoSuchProtocol { .. })
                        if offer && network.protocol == Protocol::Auto =>
                    {
                        // COMPAT: who has protocols of its own, as a load balancer may, refuses a client that
                        // offers none of them, but not one that offers nothing.
                        offer = false;
                        continue;
                    }
                    Err(error) => failure = error,
                },
            },
            Err(error) => {
                debug!(%server, %address, %error, "cannot connect");
                failure = ConnectError::Connect {
                    server: server.clone(),
                    address,
                    error,
                };
            }
        }
        addresses.next();
    }
    Err(failure)
}

impl Protocol {
    /// What is spoken where no handshake chooses.
    const fn without_tls(self) -> Version {
        match self {
            Self::Auto | Self::V2 => Version::V2,
            Self::Native => Version::Native,
            Self::V1 => Version::V1,
        }
    }
}

fn timed_out(after: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer for {}", show(after)),
    )
}

fn prepare(stream: TcpStream, keepalive: Duration) -> io::Result<TcpStream> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    let idle = keepalive.max(Duration::from_secs(1));
    sockopt::set_tcp_keepidle(&stream, idle)?;
    sockopt::set_tcp_keepintvl(&stream, (idle / 3).max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    Ok(stream)
}

async fn handshake(
    server: &Server,
    network: &Network,
    tls: &tls::Tls,
    stream: TcpStream,
    offer_native: bool,
) -> Result<(Box<dyn Stream>, Version), ConnectError> {
    let failed = |reason| ConnectError::Tls {
        server: server.clone(),
        reason,
    };
    let name = match &tls.server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(server.host.clone())
            .map_err(|_| failed(format!("`{}` is not a valid host name", server.host)))?,
    };
    let mut config = Arc::clone(&tls.config);
    if offer_native {
        Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
    }
    let connector = TlsConnector::from(config);
    let deadline = tokio::time::Instant::now() + network.timeout;
    match timeout_at(deadline, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => {
            let is_native = stream.get_ref().1.alpn_protocol() == Some(ALPN);
            let version = match network.protocol {
                Protocol::Auto | Protocol::Native if is_native => Version::Native,
                Protocol::Auto | Protocol::V2 => Version::V2,
                Protocol::V1 => Version::V1,
                Protocol::Native => {
                    return Err(ConnectError::NoSuchProtocol {
                        server: server.clone(),
                    });
                }
            };
            Ok((Box::new(stream), version))
        }
        Ok(Err(error)) if is_no_such_protocol(&error) => Err(ConnectError::NoSuchProtocol {
            server: server.clone(),
        }),
        Ok(Err(error)) => Err(failed(explain_io(&error, tls.has_certificate))),
        Err(_) => Err(failed(format!(
            "no answer to the TLS handshake for {}; is it a TLS port? for a server without TLS set \
             `tls: off`",
            show(network.timeout)
        ))),
    }
}

/// Whether the server refuses us for the protocols that we offer.
fn is_no_such_protocol(error: &io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let refused = rustls::AlertDescription::NoApplicationProtocol;
    inner == Some(&rustls::Error::AlertReceived(refused))
}

/// What a failure of the stream means, looking for a TLS error inside.
pub fn explain_io(error: &io::Error, has_certificate: bool) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(error) => tls::explain(error, has_certificate),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection; is it the right port, and does it speak TLS?"
                .to_owned()
        }
        None => error.to_string(),
    }
}
