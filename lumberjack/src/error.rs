//! What can go wrong, named after who is at fault.
//!
//! [`ProtocolError`] is the sending peer's fault alone (or a limit of ours that its user has to
//! know about); [`ServerError`] and [`ClientError`] add what the stream and our own side do.

use std::{io, time::Duration};

use thiserror::Error;

use crate::{LimitName, Version};

/// The bytes of the peer break the protocol, or one of our limits.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The first byte is no version.
    #[error("peer does not speak lumberjack: first byte is {got:#04x}{}", hint(*.got))]
    NotLumberjack {
        /// The byte that came.
        got: u8,
    },
    /// A later frame has another version byte than the first one.
    #[error(
        "peer changed the protocol version within a connection: began with {began}, then sent version byte {got:#04x}"
    )]
    VersionChanged {
        /// The version of the first frame.
        began: Version,
        /// The version byte that came.
        got: u8,
    },
    /// The type byte is none that a sender may use.
    #[error("peer sent a frame of unknown type {got:#04x}")]
    UnknownFrame {
        /// The byte that came.
        got: u8,
    },
    /// More events than the window announced, or none announced.
    #[error("peer sent event {sequence} outside of a window")]
    EventOutsideWindow {
        /// The sequence number of the event.
        sequence: u32,
    },
    /// A compressed frame inside a compressed frame.
    #[error("peer nested a compressed frame in a compressed frame, which no known sender does")]
    NestedCompression,
    /// The compressed bytes are no zlib stream.
    #[error("peer sent a compressed frame of {compressed} bytes that is not valid zlib data")]
    CorruptCompression {
        /// Length of the compressed data.
        compressed: usize,
    },
    /// A frame begins in a compressed frame and does not end in it.
    #[error("peer sent a compressed frame that ends in the middle of a frame")]
    TruncatedCompression,
    /// A native window of a kind that is not known here.
    #[error(
        "peer sent a native window with codec {codec} and flags {flags:#04x}, which are not known here"
    )]
    UnknownNative {
        /// How it is packed.
        codec: u8,
        /// What else is to be done.
        flags: u8,
    },
    /// The bytes of a native window are not those that were sent.
    #[error(
        "peer sent a native window of {bytes} bytes with a wrong checksum; something on the way, or in memory, changes bytes"
    )]
    Checksum {
        /// Length of its body.
        bytes: usize,
    },
    /// A native window does not unpack to what it says.
    #[error(
        "peer sent a native window of {packed} bytes that does not unpack to the length it names"
    )]
    CorruptNative {
        /// Length of its body.
        packed: usize,
    },
    /// A native window whose checksum is right and whose content is not.
    #[error("peer sent a native window that is malformed in {what}")]
    MalformedNative {
        /// Where.
        what: &'static str,
    },
    /// A limit is exceeded.
    #[error("peer exceeded {limit}: {got} where {allowed} is allowed")]
    LimitExceeded {
        /// Which limit.
        limit: LimitName,
        /// Its value.
        allowed: u64,
        /// What came; for inflated bytes, the least it can be.
        got: u64,
    },
}

/// Says what probably speaks on the other side, since the byte alone helps nobody.
fn hint(byte: u8) -> &'static str {
    match byte {
        0x16 => " (looks like TLS: the peer has TLS on and this port has it off)",
        b'G' | b'P' | b'H' => " (looks like HTTP)",
        b'{' | b'<' => " (looks like plain JSON or syslog)",
        _ => "",
    }
}

/// Why a connection that we serve ended otherwise than by the peer closing it between windows.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The peer broke the protocol or a limit.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// Reading failed.
    #[error("reading from the peer failed: {0}")]
    Read(#[source] io::Error),
    /// Writing an acknowledgement failed.
    #[error("writing an acknowledgement failed: {0}")]
    Write(#[source] io::Error),
    /// The peer did not take an acknowledgement in time.
    #[error("peer did not take an acknowledgement within {after:?}")]
    WriteTimeout {
        /// [`crate::ServerOptions::write_timeout`]
        after: Duration,
    },
    /// The peer was silent between windows for too long.
    #[error("peer was idle for {after:?}")]
    Idle {
        /// [`crate::ServerOptions::idle_timeout`]
        after: Duration,
    },
    /// The peer was silent in the middle of a frame or window for too long.
    #[error(
        "peer stopped in the middle of a window for {after:?}: {received} of {announced} events had come"
    )]
    FrameTimeout {
        /// [`crate::ServerOptions::frame_timeout`]
        after: Duration,
        /// Events of the open window that had come.
        received: u32,
        /// Events that the window announced.
        announced: u32,
    },
    /// The peer closed the connection in the middle of a frame or window, which it will resend.
    #[error(
        "peer closed the connection in the middle of a window: {received} of {announced} events had come"
    )]
    ClosedMidWindow {
        /// Events of the open window that had come.
        received: u32,
        /// Events that the window announced.
        announced: u32,
    },
    /// The peer was gone before its last windows could be acknowledged; it will resend them.
    #[error("peer left before {windows} of its windows were acknowledged: {source}")]
    LeftUnacknowledged {
        /// Windows that were taken and not acknowledged.
        windows: usize,
        /// What writing to it said.
        source: io::Error,
    },
    /// A window was dropped without being acknowledged: the peer has to send it again.
    #[error("a window was given up by the receiver, closing so that the peer sends it again")]
    WindowAbandoned,
    /// The receiver of the windows is gone.
    #[error("the receiver of the windows is gone")]
    ReceiverGone,
}

impl ServerError {
    /// Whether the peer misbehaved, rather than the network or our own side.
    pub const fn is_peer_fault(&self) -> bool {
        matches!(
            self,
            Self::Protocol(_) | Self::WriteTimeout { .. } | Self::FrameTimeout { .. }
        )
    }
}

/// Why a window cannot take another event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The window has as many events as it may.
    #[error("the window is full: {limit} events")]
    WindowFull {
        /// The most events that it may have.
        limit: u32,
    },
    /// The receiver would have to forget the sources of lines that are in the window: end it first.
    #[error("the window has no room for a further source")]
    SourcesFull,
    /// The event would make the frames longer than a length field of the wire can say.
    #[error("an event of {bytes} bytes does not fit a window")]
    EventTooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Why a connection to a server cannot go on. Every window in flight has to be sent again,
/// except for the events that were acknowledged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Reading failed.
    #[error("reading an acknowledgement failed: {0}")]
    Read(#[source] io::Error),
    /// Writing failed.
    #[error("sending a window failed: {0}")]
    Write(#[source] io::Error),
    /// The server closed the connection.
    #[error("server closed the connection with {in_flight} windows not acknowledged")]
    Closed {
        /// Windows that it had not acknowledged.
        in_flight: usize,
    },
    /// The server neither acknowledged nor kept alive.
    #[error("server sent neither an acknowledgement nor a keep-alive for {after:?}")]
    AckTimeout {
        /// [`crate::ClientOptions::ack_timeout`]
        after: Duration,
    },
    /// The server owed nothing, was asked for a sign of life, and gave none.
    #[error("server gave no sign of life for {after:?}")]
    HeartbeatTimeout {
        /// [`crate::ClientOptions::heartbeat_timeout`]
        after: Duration,
    },
    /// The server took no bytes and sent no keep-alive.
    #[error("server took no data and sent no keep-alive for {after:?}")]
    WriteTimeout {
        /// [`crate::ClientOptions::write_timeout`]
        after: Duration,
    },
    /// What came is not an acknowledgement.
    #[error("server sent {got:02x?} where an acknowledgement was due{}", hint(.got[0]))]
    NotAnAck {
        /// The bytes.
        got: [u8; 2],
    },
    /// The acknowledgement is of another protocol version.
    #[error("server acknowledged in protocol version {got} on a connection of version {expected}")]
    WrongVersion {
        /// Ours.
        expected: Version,
        /// Its.
        got: Version,
    },
    /// The acknowledgement names no event of the oldest window.
    #[error("server acknowledged event {got}, but the oldest window has {first} to {last}")]
    AckOutOfRange {
        /// What it named.
        got: u32,
        /// First sequence number of the window.
        first: u32,
        /// Last sequence number of the window.
        last: u32,
    },
    /// An acknowledgement came with nothing in flight.
    #[error("server acknowledged event {got} while nothing was in flight")]
    UnexpectedAck {
        /// What it named.
        got: u32,
    },
    /// The window was built for the other version, or is empty.
    #[error("a window of version {version} with {events} events cannot be sent on this connection")]
    UnsuitableWindow {
        /// Version of the window.
        version: Version,
        /// Events in it.
        events: u32,
    },
    /// An earlier `send` was given up half-way, so the stream is in the middle of a frame.
    #[error("an earlier window was only partly sent, the connection cannot be used any more")]
    SendInterrupted,
}
