//! Frames written out by hand, independently of the encoder under test, and both ends of a
//! connection to play with.

use std::{sync::Arc, time::Duration};

use libdeflater::{CompressionLvl, Compressor};
use skidder_lumberjack::{
    ByteBudget, Decoder, Delivery, Limits, ProtocolError, ServerError, ServerOptions, Step, Window,
    serve,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

/// Long enough for a loaded machine; with paused time it costs nothing.
pub(crate) const PATIENCE: Duration = Duration::from_hours(1);

pub(crate) fn window(version: u8, count: u32) -> Vec<u8> {
    [&[version, b'W'][..], &count.to_be_bytes()].concat()
}

pub(crate) fn json(version: u8, sequence: u32, body: &[u8]) -> Vec<u8> {
    [
        &[version, b'J'][..],
        &sequence.to_be_bytes(),
        &(body.len() as u32).to_be_bytes(),
        body,
    ]
    .concat()
}

pub(crate) fn data(version: u8, sequence: u32, pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut frame = [
        &[version, b'D'][..],
        &sequence.to_be_bytes(),
        &(pairs.len() as u32).to_be_bytes(),
    ]
    .concat();
    for (key, value) in pairs {
        for field in [key, value] {
            frame.extend((field.len() as u32).to_be_bytes());
            frame.extend_from_slice(field);
        }
    }
    frame
}

pub(crate) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::default());
    let mut output = vec![0; compressor.zlib_compress_bound(bytes.len())];
    let length = compressor
        .zlib_compress(bytes, &mut output)
        .expect("the bound is enough");
    output.truncate(length);
    output
}

pub(crate) fn compressed(version: u8, frames: &[u8]) -> Vec<u8> {
    compressed_raw(version, &zlib(frames))
}

pub(crate) fn compressed_raw(version: u8, body: &[u8]) -> Vec<u8> {
    [
        &[version, b'C'][..],
        &(body.len() as u32).to_be_bytes(),
        body,
    ]
    .concat()
}

/// `count` events numbered from `first`, as bare frames.
pub(crate) fn events(version: u8, first: u32, count: u32) -> Vec<u8> {
    (0..count)
        .flat_map(|index| {
            let sequence = first.wrapping_add(index);
            if version == b'1' {
                data(version, sequence, &[(b"line", b"text")])
            } else {
                json(version, sequence, b"{\"message\":\"text\"}")
            }
        })
        .collect()
}

/// A whole window with its events as bare frames.
pub(crate) fn bare(version: u8, first: u32, count: u32) -> Vec<u8> {
    [window(version, count), events(version, first, count)].concat()
}

pub(crate) fn sequences(window: &Window) -> Vec<u32> {
    window.events.iter().map(|event| event.sequence).collect()
}

/// Decodes `bytes` in pieces of `piece` bytes, without a bound over all connections.
pub(crate) fn decode(
    bytes: &[u8],
    piece: usize,
    limits: &Limits,
) -> Result<Vec<Window>, ProtocolError> {
    let budget = ByteBudget::new(usize::MAX);
    let mut decoder = Decoder::new(limits.clone(), budget.account());
    decode_with(&mut decoder, bytes.chunks(piece.max(1)))
}

pub(crate) fn decode_with<'a>(
    decoder: &mut Decoder,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Window>, ProtocolError> {
    let mut windows = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let taken = decoder.feed(piece);
            piece = &piece[taken..];
            loop {
                match decoder.step()? {
                    Step::Window(window) => windows.push(window),
                    Step::NeedInput => break,
                    Step::NeedMemory(bytes) => panic!("the budget is unlimited, not {bytes}"),
                }
            }
        }
    }
    Ok(windows)
}

pub(crate) fn decode_whole(bytes: &[u8]) -> Result<Vec<Window>, ProtocolError> {
    decode(bytes, bytes.len(), &Limits::default())
}

/// A served connection: the peer's end of it, and what the server hands on.
pub(crate) struct Served {
    pub(crate) peer: DuplexStream,
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    pub(crate) server: JoinHandle<Result<(), ServerError>>,
    pub(crate) budget: Arc<ByteBudget>,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self::with(&ServerOptions::default())
    }

    pub(crate) fn with(options: &ServerOptions) -> Self {
        let (peer, stream) = tokio::io::duplex(64 * 1024);
        let (sender, deliveries) = mpsc::channel(64);
        let budget = Arc::clone(&options.budget);
        let options = options.clone();
        let server = tokio::spawn(async move { serve(stream, &options, sender).await });
        Self {
            peer,
            deliveries,
            server,
            budget,
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.peer.write_all(bytes))
            .await
            .expect("the server reads")
            .expect("the server is there");
    }

    pub(crate) async fn delivery(&mut self) -> Delivery {
        timeout(PATIENCE, self.deliveries.recv())
            .await
            .expect("a window in time")
            .expect("a window")
    }

    /// The next acknowledgement, as it is on the wire.
    pub(crate) async fn ack(&mut self) -> (u8, u32) {
        read_ack(&mut self.peer).await
    }

    /// Asserts that the server sends nothing for so long.
    pub(crate) async fn silence(&mut self, duration: Duration) {
        let mut byte = [0; 1];
        let read = timeout(duration, self.peer.read(&mut byte)).await;
        assert!(read.is_err(), "the server sent {byte:02x?} ({read:?})");
    }

    /// Asserts that the server has closed without another byte, and returns how it ended.
    pub(crate) async fn ended(mut self) -> Result<(), ServerError> {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.peer.read_to_end(&mut rest))
            .await
            .expect("closes in time")
            .expect("reads to the end");
        assert_eq!(rest, b"", "nothing more is sent");
        timeout(PATIENCE, self.server)
            .await
            .expect("ends in time")
            .expect("no panic")
    }

    /// Closes the peer's end and returns how serving it ended.
    pub(crate) async fn close(self) -> Result<(), ServerError> {
        drop(self.peer);
        timeout(PATIENCE, self.server)
            .await
            .expect("ends in time")
            .expect("no panic")
    }
}

pub(crate) async fn read_ack(peer: &mut DuplexStream) -> (u8, u32) {
    let mut frame = [0; 6];
    timeout(PATIENCE, peer.read_exact(&mut frame))
        .await
        .expect("an acknowledgement in time")
        .expect("an acknowledgement");
    let [version, kind, number @ ..] = frame;
    assert_eq!(kind, b'A', "an acknowledgement frame");
    (version, u32::from_be_bytes(number))
}
