//! Sockets for programs that can only speak syslog: messages are shipped as they come, with who sent them.
//!
//! There is no position to come back to. INVARIANT: what was taken from a socket is shipped as long as the
//! process lives, also when it is told to stop: then what has come is read, and no more. While there is no room for
//! more messages nothing is read, so that who writes to a stream or a Unix socket waits; what the kernel drops of UDP
//! meanwhile is counted ([`datagram`]).

pub mod datagram;
pub mod framing;
pub mod stream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use tokio::net::{TcpListener, UdpSocket, UnixDatagram, UnixListener};
use tokio::sync::watch;
use tracing::warn;

use self::framing::{Cuts, Framing};
use super::{Gone, Noted, Outlet, Parcel, Record};
use crate::batch::Field;
use crate::socket_file::SocketFile;
use crate::tail::shape::LongLines;

/// When it is told to stop: after so long without a connection or a datagram all that have come are there.
pub const QUIET: Duration = Duration::from_millis(100);

/// One element of `syslog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The socket.
    pub listen: Listen,
    /// Added to each event.
    pub fields: Vec<(String, String)>,
    /// The mode of a Unix socket.
    pub mode: u32,
    /// Its user and its group.
    pub owner: (Option<u32>, Option<u32>),
    /// How messages of a stream are told apart.
    pub framing: Framing,
    /// Connections at once.
    pub max_connections: usize,
    /// A connection that is silent for so long is closed.
    pub idle_timeout: Option<Duration>,
    /// The kernel's buffer for datagrams, as far as it allows.
    pub receive_buffer: usize,
    /// A longer message is …
    pub max_message_bytes: usize,
    /// … treated like this.
    pub long_lines: LongLines,
}

/// Where messages come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket that takes connections.
    Unix(PathBuf),
    /// A Unix socket that takes datagrams, as `/dev/log` is.
    UnixDatagram(PathBuf),
    /// UDP.
    Udp(SocketAddr),
    /// TCP.
    Tcp(SocketAddr),
}

impl Listen {
    /// Its address in the network.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(address) | Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::UnixDatagram(_) => None,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::UnixDatagram(path) => write!(formatter, "unixgram:{}", path.display()),
            Self::Udp(address) => write!(formatter, "udp:{address}"),
            Self::Tcp(address) => write!(formatter, "tcp:{address}"),
        }
    }
}

/// A socket that is open, and its file.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Streams(stream::Listener),
    Datagrams(datagram::Datagrams),
}

impl Bound {
    /// Opens the socket. An error is a sentence.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let opened = match &settings.listen {
            Listen::Unix(path) => {
                file(path, settings, |path| UnixListener::bind(path)).map(|(socket, file)| {
                    (Socket::Streams(stream::Listener::Unix(socket)), Some(file))
                })
            }
            Listen::UnixDatagram(path) => file(path, settings, |path| UnixDatagram::bind(path))
                .and_then(|(socket, file)| {
                    let socket = datagram::Datagrams::unix(socket, settings.receive_buffer)?;
                    Ok((Socket::Datagrams(socket), Some(file)))
                }),
            Listen::Udp(address) => {
                udp(*address, settings).map(|socket| (Socket::Datagrams(socket), None))
            }
            Listen::Tcp(address) => {
                tcp(*address).map(|socket| (Socket::Streams(stream::Listener::Tcp(socket)), None))
            }
        };
        let listen = &settings.listen;
        let (socket, file) = opened.map_err(|error| {
            format!(
                "cannot listen on `{listen}`: {error}; see `listen` of this element of `syslog`"
            )
        })?;
        if let Some(address) = listen
            .address()
            .filter(|address| !address.ip().is_loopback())
        {
            warn!(%address, "whoever reaches this address can write into the log, under any name: \
                syslog has no proof of the sender");
        }
        Ok(Self {
            socket,
            _file: file,
        })
    }

    /// Takes messages until it is told to stop, or nobody takes them any more.
    pub async fn run(self, settings: Settings, outlet: Outlet, stop: watch::Receiver<bool>) {
        match self.socket {
            Socket::Streams(listener) => stream::run(listener, settings, outlet, stop).await,
            Socket::Datagrams(socket) => {
                // Nobody is left to be told.
                drop(socket.run(&settings, outlet, stop).await);
            }
        }
    }
}

/// A Unix socket in place of one that nobody listens on.
fn file<T>(
    path: &Path,
    settings: &Settings,
    bind: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<(T, SocketFile)> {
    let stream = std::os::unix::net::UnixStream::connect(path).is_ok();
    let datagrams = || std::os::unix::net::UnixDatagram::unbound()?.connect(path);
    if stream || datagrams().is_ok() {
        let message = "somebody listens there, is it another forwarder or a syslog daemon?";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    SocketFile::make(path, settings.mode, settings.owner, bind)
}

fn udp(address: SocketAddr, settings: &Settings) -> io::Result<datagram::Datagrams> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    datagram::Datagrams::udp(socket, settings.receive_buffer)
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Messages that came together.
#[derive(Debug, Default)]
struct Messages {
    records: Vec<Record>,
}

impl Messages {
    /// One more, of this sender.
    fn add(&mut self, text: &[u8], truncated: bool, peer: &str) {
        let mut fields: Vec<Field> = Vec::new();
        if !peer.is_empty() {
            fields.push(("peer".into(), peer.as_bytes().to_vec()));
        }
        if truncated {
            fields.push(("truncated".into(), b"true".to_vec()));
        }
        self.records.push(Record {
            text: text.to_vec(),
            offset: None,
            read_at: jiff::Timestamp::now().as_millisecond(),
            fields,
            cursor: None,
        });
    }

    /// Hands them over, and what was cut.
    async fn send(&mut self, outlet: &Outlet, cuts: &mut Cuts) -> Result<(), Gone> {
        let cuts = std::mem::take(cuts);
        for (what, count) in [
            (Noted::LinesSplit, cuts.split),
            (Noted::MessagesTruncated, cuts.truncated),
            (Noted::LinesSkipped, cuts.skipped),
        ] {
            if count > 0 {
                outlet.note(what, count).await?;
            }
        }
        if !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            outlet.send(Parcel::Records(records)).await?;
        }
        Ok(())
    }
}
