//! A TCP proxy between a sender and a receiver that can be cut, stalled, slowed and made to lie.
//!
//! Bytes are passed on in both directions as they come. While the link is stalled nothing is read
//! from either side, so that the systems' buffers fill as they do when a host vanishes; what was in
//! the buffers goes on afterwards. A cut closes both sides at once, in the middle of whatever is
//! under way. Dropping the link closes everything; its threads end by themselves.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use skidder_tests::environment::loopback;

/// How long a thread sleeps before it looks at the state again.
const POLL: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CHUNK: usize = 16 * 1024;
/// What a slow link carries in [`POLL`].
const TRICKLE: usize = 256;

/// What a link does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Passes it on.
    Open,
    /// Reads nothing.
    Stalled,
    /// Passes on little at a time.
    Slow,
    /// Closes new connections at once.
    Refusing,
}

/// A proxy with a port of its own.
#[derive(Debug)]
pub(crate) struct Link {
    /// Where the sender connects to.
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    mode: AtomicU8,
    /// Chunks still to be damaged on the way to the receiver.
    damage: AtomicU32,
    closed: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Link {
    /// A link to a port of 127.0.0.1, open.
    pub(crate) fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(loopback(0)).context("binding a link's port")?;
        listener.set_nonblocking(true)?;
        let own = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            target: loopback(port),
            mode: AtomicU8::new(Mode::Open as u8),
            damage: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accepting.accept(&listener));
        Ok(Self { port: own, shared })
    }

    /// Changes what it does.
    pub(crate) fn set(&self, mode: Mode) {
        self.shared.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// Damages a byte of each of the next chunks that go to the receiver.
    pub(crate) fn damage(&self, chunks: u32) {
        self.shared.damage.store(chunks, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.cut();
    }
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u8
    }

    fn closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn cut(&self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while !self.closed() {
            match listener.accept() {
                Ok((sender, _)) => {
                    let shared = Arc::clone(&self);
                    // A connection that breaks while it is set up is one more cut.
                    std::thread::spawn(move || shared.connect(sender).ok());
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    fn connect(self: Arc<Self>, sender: TcpStream) -> Result<()> {
        if self.is(Mode::Refusing) {
            return Ok(());
        }
        let receiver = TcpStream::connect_timeout(&self.target, CONNECT_TIMEOUT)?;
        for stream in [&sender, &receiver] {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(POLL))?;
        }
        {
            let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            streams.retain(|stream| stream.peer_addr().is_ok());
            streams.push(sender.try_clone()?);
            streams.push(receiver.try_clone()?);
        }
        let (from, to) = (sender.try_clone()?, receiver.try_clone()?);
        let back = Arc::clone(&self);
        std::thread::spawn(move || back.pump(receiver, sender, false));
        self.pump(from, to, true);
        Ok(())
    }

    /// Carries bytes until one side closes.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, damaging: bool) {
        let mut chunk = vec![0; CHUNK];
        while !self.closed() {
            if self.is(Mode::Stalled) {
                std::thread::sleep(POLL);
                continue;
            }
            let slow = self.is(Mode::Slow);
            let room = if slow { TRICKLE } else { CHUNK };
            let length = match from.read(&mut chunk[..room]) {
                Ok(0) => {
                    to.shutdown(Shutdown::Write).ok();
                    return;
                }
                Ok(length) => length,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(_) => break,
            };
            if damaging && self.take_damage() {
                chunk[length / 2] ^= 0x10;
            }
            if to.write_all(&chunk[..length]).is_err() {
                break;
            }
            if slow {
                std::thread::sleep(POLL);
            }
        }
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
    }

    fn take_damage(&self) -> bool {
        self.damage
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
    }
}
