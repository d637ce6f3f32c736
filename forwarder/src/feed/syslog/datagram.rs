//! Datagrams, each a message.
//!
//! Who writes to a Unix socket waits while its buffer is full. Of UDP the kernel drops what it has no room for, and says
//! how many of each socket in `/proc/net/udp`: they are counted from there.

use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::framing::Message;
use super::stream::stopped;
use super::{Messages, QUIET, Settings};
use crate::feed::{Gone, Noted, Outlet};

/// The largest datagram: of UDP there are none beyond 64KiB, and of a Unix socket none beyond `net.core.wmem_max`
/// unless somebody has raised that.
pub const MAX_DATAGRAM_BYTES: usize = 256 << 10;
/// Datagrams that are handed over together at most.
const MAX_TOGETHER: usize = 64;
/// How often the kernel is asked what it has dropped.
const DROPS_INTERVAL: Duration = Duration::from_secs(5);
/// A list of the kernel is not read beyond this.
const MAX_LIST_BYTES: u64 = 4 << 20;

/// A socket that takes datagrams.
#[derive(Debug)]
pub struct Datagrams {
    socket: Socket,
    /// By which the kernel's list knows it, if it has one.
    inode: Option<u64>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagrams {
    /// Of UDP.
    pub fn udp(socket: UdpSocket, buffer: usize) -> io::Result<Self> {
        set_socket_recv_buffer_size(&socket, buffer)?;
        let inode = rustix::fs::fstat(socket.as_fd())?.st_ino;
        Ok(Self {
            socket: Socket::Udp(socket),
            inode: Some(inode),
        })
    }

    /// Of a Unix socket.
    pub fn unix(socket: UnixDatagram, buffer: usize) -> io::Result<Self> {
        set_socket_recv_buffer_size(&socket, buffer)?;
        Ok(Self {
            socket: Socket::Unix(socket),
            inode: None,
        })
    }

    /// Takes datagrams until it is told to stop.
    pub async fn run(
        self,
        settings: &Settings,
        outlet: Outlet,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Gone> {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        let mut message = Message::new(settings.max_message_bytes, settings.long_lines);
        let mut messages = Messages::default();
        let mut drops = Drops::new(self.inode);
        let mut left = None;
        loop {
            let received = match left {
                Some(0) => break,
                Some(_) => match timeout(QUIET, self.receive(&mut buffer)).await {
                    Ok(received) => Some(received),
                    Err(_) => break,
                },
                None => tokio::select! {
                    received = self.receive(&mut buffer) => Some(received),
                    () = drops.due() => None,
                    () = stopped(&mut stop) => {
                        left = Some(settings.receive_buffer.max(MAX_DATAGRAM_BYTES));
                        continue;
                    }
                },
            };
            if drops.is_due() {
                drops.count(settings, &outlet).await?;
            }
            let mut next = received;
            let mut bytes = 0;
            while let Some(received) = next.take() {
                match received {
                    Ok((length, peer)) => {
                        bytes += length;
                        let mut take =
                            |text: &[u8], truncated| messages.add(text, truncated, &peer);
                        message.push(&buffer[..length], &mut take);
                        message.end(&mut take);
                    }
                    Err(error) => {
                        warn!(listen = %settings.listen, %error, "cannot receive a datagram");
                    }
                }
                if messages.records.len() < MAX_TOGETHER && bytes < MAX_DATAGRAM_BYTES {
                    next = self.try_receive(&mut buffer);
                }
            }
            left = left.map(|left: usize| left.saturating_sub(bytes));
            messages.send(&outlet, &mut message.cuts).await?;
        }
        drops.count(settings, &outlet).await
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, String)> {
        match &self.socket {
            Socket::Udp(socket) => {
                let (length, address) = socket.recv_from(buffer).await?;
                Ok((length, address.to_string()))
            }
            Socket::Unix(socket) => {
                let (length, address) = socket.recv_from(buffer).await?;
                let path = address.as_pathname().map(|path| path.display().to_string());
                Ok((length, path.unwrap_or_default()))
            }
        }
    }

    /// The next one, if it is there.
    fn try_receive(&self, buffer: &mut [u8]) -> Option<io::Result<(usize, String)>> {
        let received = match &self.socket {
            Socket::Udp(socket) => {
                let received = socket.try_recv_from(buffer);
                received.map(|(length, address)| (length, address.to_string()))
            }
            Socket::Unix(socket) => socket.try_recv_from(buffer).map(|(length, address)| {
                let path = address.as_pathname().map(|path| path.display().to_string());
                (length, path.unwrap_or_default())
            }),
        };
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            received => Some(received),
        }
    }
}

/// What the kernel has dropped.
struct Drops {
    inode: Option<u64>,
    known: u64,
    /// When it is asked.
    at: Option<Instant>,
}

impl Drops {
    fn new(inode: Option<u64>) -> Self {
        Self {
            inode,
            known: 0,
            at: inode.map(|_| Instant::now() + DROPS_INTERVAL),
        }
    }

    /// Waits until it is time to ask.
    async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }

    fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// Asks, counts what was dropped since the last time, and says it.
    async fn count(&mut self, settings: &Settings, outlet: &Outlet) -> Result<(), Gone> {
        let Some(inode) = self.inode else {
            return Ok(());
        };
        self.at = Some(Instant::now() + DROPS_INTERVAL);
        let lists = ["/proc/net/udp", "/proc/net/udp6"];
        let so_far = lists.iter().find_map(|list| dropped(&read(list)?, inode));
        let so_far = so_far.unwrap_or(self.known);
        let dropped = so_far.saturating_sub(self.known);
        self.known = so_far;
        if dropped == 0 {
            return Ok(());
        }
        warn!(listen = %settings.listen, dropped, "the kernel has dropped datagrams for want of room: they \
            came faster than they were shipped, raise `receive buffer` and `net.core.rmem_max`, or use TCP");
        outlet.note(Noted::DatagramsDropped, dropped).await
    }
}

fn read(list: &str) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(list).ok()?;
    file.take(MAX_LIST_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The last column of the line whose tenth is the inode.
fn dropped(list: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let line = list
        .lines()
        .find(|line| line.split_whitespace().nth(9) == Some(&inode))?;
    line.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list() {
        let list = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
            1042: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   104        0 18345 2 0000000000000000 0\n \
            5070: 0100007F:0202 00000000:0000 07 00000000:00034100 00:00000000 00000000     0        0 99 2 0000000000000000 4711\n";
        assert_eq!(dropped(list, 99), Some(4711));
        assert_eq!(dropped(list, 18345), Some(0));
        assert_eq!(dropped(list, 104), None);
    }
}
