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
use super::proxy::{self, Target};
use super::tls;
use crate::config::Network;
use crate::config::network::{Protocol, Server};
use crate::config::proxy::Proxy;
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
    /// The proxy's name has no address.
    #[error("cannot resolve the proxy {proxy}: {error}; check the name in `proxy` and the DNS")]
    ResolveProxy {
        /// As typed, without user and password.
        proxy: Proxy,
        /// What the resolver said.
        #[source]
        error: io::Error,
    },
    /// The proxy is not there, or makes no connection.
    #[error("cannot connect to {target} through the proxy {proxy}: {reason}")]
    Proxy {
        /// What it was asked for.
        target: Target,
        /// As typed, without user and password.
        proxy: Proxy,
        /// What is wrong and what to do.
        reason: String,
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

/// One way to a server.
#[derive(Clone)]
pub(crate) struct Route {
    /// Where the TCP connection goes: to the server or the proxy.
    pub(crate) address: SocketAddr,
    /// What the proxy is asked for.
    through: Option<(Proxy, Target)>,
}

impl Route {
    /// What tells it from others.
    pub(crate) fn key(&self) -> (SocketAddr, String) {
        let through = self.through.as_ref();
        let target = through.map(|(_, target)| target.to_string());
        (self.address, target.unwrap_or_default())
    }
}

/// How TCP connections to servers are made.
#[derive(Clone)]
pub(crate) struct Dialer {
    proxy: Option<Proxy>,
    timeout: Duration,
    tcp_keepalive: Duration,
}

/// Connects to one server. Its addresses are resolved anew and tried in random order.
pub async fn connect(
    server: &Server,
    network: &Network,
    random: &mut Random,
) -> Result<Connected, ConnectError> {
    let dialer = Dialer::of(network);
    let routes = dialer.routes(server, random).await?;
    let nothing = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    let mut failure = ConnectError::Resolve {
        server: server.clone(),
        error: nothing,
    };
    let mut offer = matches!(network.protocol, Protocol::Auto | Protocol::Native);
    let mut routes = routes.into_iter().peekable();
    while let Some(route) = routes.peek() {
        match dialer.travel(route, server).await {
            Ok(stream) => match &network.tls {
                None => {
                    return Ok(Connected {
                        stream: Box::new(stream),
                        address: route.address,
                        version: network.protocol.without_tls(),
                    });
                }
                Some(tls) => match handshake(server, network, tls, stream, offer).await {
                    Ok((stream, version)) => {
                        return Ok(Connected {
                            stream,
                            address: route.address,
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
                debug!(address = %route.address, %error, "cannot connect");
                failure = error;
            }
        }
        routes.next();
    }
    Err(failure)
}

impl Dialer {
    pub(crate) fn of(network: &Network) -> Self {
        Self {
            proxy: network.proxy.clone(),
            timeout: network.timeout,
            tcp_keepalive: network.tcp_keepalive,
        }
    }

    /// All ways to a server, in the order in which they are tried.
    pub(crate) async fn routes(
        &self,
        server: &Server,
        random: &mut Random,
    ) -> Result<Vec<Route>, ConnectError> {
        let mut resolved = async |server: &Server| {
            let name = (server.host.as_str(), server.port);
            let resolved = timeout(self.timeout, tokio::net::lookup_host(name)).await;
            let resolved = resolved.unwrap_or_else(|_| Err(timed_out(self.timeout)));
            let mut addresses: Vec<SocketAddr> = resolved?.collect();
            random.shuffle(&mut addresses);
            Ok(addresses)
        };
        let unresolved = |error| ConnectError::Resolve {
            server: server.clone(),
            error,
        };
        let Some(proxy) = &self.proxy else {
            let direct = |address| Route {
                address,
                through: None,
            };
            let addresses = resolved(server).await.map_err(unresolved)?;
            return Ok(addresses.into_iter().map(direct).collect());
        };
        let targets = if proxy.resolve_here {
            let addresses = resolved(server).await.map_err(unresolved)?;
            addresses.into_iter().map(Target::Address).collect()
        } else {
            vec![Target::Named(server.clone())]
        };
        let proxies = resolved(&proxy.at).await;
        let proxies = proxies.map_err(|error| ConnectError::ResolveProxy {
            proxy: proxy.clone(),
            error,
        })?;
        let routes = targets.iter().flat_map(|target| {
            proxies.iter().map(|address| Route {
                address: *address,
                through: Some((proxy.clone(), target.clone())),
            })
        });
        Ok(routes.collect())
    }

    /// Makes a TCP connection that ends at the server.
    pub(crate) async fn travel(
        &self,
        route: &Route,
        server: &Server,
    ) -> Result<TcpStream, ConnectError> {
        let address = route.address;
        let connecting = timeout(self.timeout, TcpStream::connect(address)).await;
        let connected = connecting.unwrap_or_else(|_| Err(timed_out(self.timeout)));
        let connected = connected.and_then(|stream| prepare(stream, self.tcp_keepalive));
        let Some((proxy, target)) = &route.through else {
            return connected.map_err(|error| ConnectError::Connect {
                server: server.clone(),
                address,
                error,
            });
        };
        let failed = |reason| ConnectError::Proxy {
            target: target.clone(),
            proxy: proxy.clone(),
            reason,
        };
        let mut stream = connected.map_err(|error| {
            failed(format!(
                "{error} ({address}); is the proxy running, is a firewall between?"
            ))
        })?;
        let opened = proxy::open(&mut stream, proxy, target, self.timeout).await;
        opened.map(|()| stream).map_err(failed)
    }
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
    let name = name_of(server, tls).map_err(failed)?;
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

/// The name that the server's certificate has to have.
pub(crate) fn name_of(server: &Server, tls: &tls::Tls) -> Result<ServerName<'static>, String> {
    match &tls.server_name {
        Some(name) => Ok(name.clone()),
        None => ServerName::try_from(server.host.clone())
            .map_err(|_| format!("`{}` is not a valid host name", server.host)),
    }
}

/// Whether the server refuses us for the protocols that we offer.
pub(crate) fn is_no_such_protocol(error: &io::Error) -> bool {
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
