//! What a peer may cost us: every length and count on the wire has a limit with a name.
//!
//! Invariants: a limit is checked as soon as the number is read, before anything is allocated
//! for it, and nothing is ever allocated by a count alone. The limits hold per connection; what
//! all connections may hold together is [`crate::ByteBudget`].

use std::fmt;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The limits of one connection's decoder.
///
/// The defaults let through what real senders send (Filebeat: 2048 events of up to 10 MiB;
/// logstash-forwarder: `-spool-size` events, whatever its user set).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events in one window. Memory is bounded by bytes, so this may be generous; default
    /// 100,000.
    pub max_window_events: u32,
    /// Payload bytes of one window over all its frames, after decompression; default 128 MiB.
    pub max_window_bytes: usize,
    /// Compressed bytes of one `C` frame; default 64 MiB.
    pub max_compressed_bytes: usize,
    /// Bytes that one `C` frame may inflate to; default 128 MiB.
    pub max_inflated_bytes: usize,
    /// How many times its size a `C` frame may inflate to; default none, because a hole in a
    /// log file (NUL bytes after a truncation) legitimately compresses a thousandfold, and a
    /// refusal would make its sender retry for ever. `max_inflated_bytes` is the bound.
    pub max_inflate_ratio: Option<u32>,
    /// Payload bytes of one event; default 32 MiB.
    pub max_event_bytes: usize,
    /// Key-value pairs of one `D` frame; default 10,000.
    pub max_pairs: u32,
    /// Bytes of one key in a `D` frame; default 64 KiB. A value is bounded by
    /// `max_event_bytes`.
    pub max_key_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_window_events: 100_000,
            max_window_bytes: 128 * MIB,
            max_compressed_bytes: 64 * MIB,
            max_inflated_bytes: 128 * MIB,
            max_inflate_ratio: None,
            max_event_bytes: 32 * MIB,
            max_pairs: 10_000,
            max_key_bytes: 64 * KIB,
        }
    }
}

/// The name of a limit, for errors: it is written as the field of [`Limits`] that sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitName {
    /// [`Limits::max_window_events`]
    WindowEvents,
    /// [`Limits::max_window_bytes`]
    WindowBytes,
    /// [`Limits::max_compressed_bytes`]
    CompressedBytes,
    /// [`Limits::max_inflated_bytes`]
    InflatedBytes,
    /// [`Limits::max_inflate_ratio`]
    InflateRatio,
    /// [`Limits::max_event_bytes`]
    EventBytes,
    /// [`Limits::max_pairs`]
    Pairs,
    /// [`Limits::max_key_bytes`]
    KeyBytes,
    /// [`crate::native::MAX_SOURCES`]
    Sources,
    /// [`crate::native::MAX_SOURCES_BYTES`]
    SourcesBytes,
}

impl fmt::Display for LimitName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WindowEvents => "max_window_events",
            Self::WindowBytes => "max_window_bytes",
            Self::CompressedBytes => "max_compressed_bytes",
            Self::InflatedBytes => "max_inflated_bytes",
            Self::InflateRatio => "max_inflate_ratio",
            Self::EventBytes => "max_event_bytes",
            Self::Pairs => "max_pairs",
            Self::KeyBytes => "max_key_bytes",
            Self::Sources => "the sources of a connection",
            Self::SourcesBytes => "the bytes of the sources of a connection",
        })
    }
}
