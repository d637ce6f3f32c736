//! The sending side of the protocol without any I/O: events in, the bytes of a window out.
//!
//! A window is one `W` frame and then one `C` frame with all the events (go-lumber's server
//! takes no second one), or the bare event frames. The buffers are used again for the next
//! window.

use std::fmt;

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};

use crate::{
    EncodeError, Version,
    version::{COMPRESSED, DATA, JSON, SHORT_HEADER_BYTES, WINDOW},
};

/// How the events of a window are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: bare event frames.
    None,
    /// As one zlib stream of this level, 1 (fast) to 12 (small); others count as the nearest.
    Zlib {
        /// The level.
        level: u8,
    },
}

impl Default for Compression {
    /// Level 3, as logstash-forwarder and Filebeat.
    fn default() -> Self {
        Self::Zlib { level: 3 }
    }
}

/// The bytes of a window, ready to be sent any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodedWindow {
    /// All its frames.
    pub bytes: Bytes,
    /// How many events it has.
    pub events: u32,
    /// The sequence number of the first of them.
    pub first_sequence: u32,
    /// The version of its frames.
    pub version: Version,
}

impl EncodedWindow {
    /// The sequence number of the last event; of an empty window, the one before the first.
    pub fn last_sequence(&self) -> u32 {
        self.first_sequence
            .wrapping_add(self.events)
            .wrapping_sub(1)
    }
}

/// Builds windows one after the other.
pub struct WindowBuilder {
    version: Version,
    compressor: Option<Compressor>,
    max_events: u32,
    next_sequence: u32,
    events: u32,
    /// A `W` frame and the event frames after it.
    raw: Vec<u8>,
    /// Where a `C` frame is made. Kept at its greatest length: it need be zeroed only once.
    compressed: Vec<u8>,
}

/// What go-lumber takes by default; a server may refuse more.
pub const DEFAULT_MAX_EVENTS: u32 = 10_000;
/// Buffers beyond this are not kept for the next window.
const KEPT_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// From here on Logstash takes a sequence number for a negative one and never acknowledges it.
const LAST_SEQUENCE_FOR_ALL: u32 = u32::MAX / 2;

impl WindowBuilder {
    /// A builder whose first event has number 1.
    pub fn new(version: Version, compression: Compression) -> Self {
        let compressor = match compression {
            Compression::None => None,
            Compression::Zlib { level } => {
                let level = i32::from(level).clamp(1, 12);
                Some(Compressor::new(
                    CompressionLvl::new(level).unwrap_or_default(),
                ))
            }
        };
        let mut builder = Self {
            version,
            compressor,
            max_events: DEFAULT_MAX_EVENTS,
            next_sequence: 1,
            events: 0,
            raw: Vec::new(),
            compressed: Vec::new(),
        };
        builder.begin();
        builder
    }

    /// Lets a window have up to `max_events` events (at least 1) instead of
    /// [`DEFAULT_MAX_EVENTS`].
    #[must_use]
    pub fn with_max_events(mut self, max_events: u32) -> Self {
        self.max_events = max_events.max(1);
        self
    }

    /// Gives the next event of a version 1 window this number; in version 2 every window
    /// begins at 1. To be called between windows.
    pub fn set_next_sequence(&mut self, sequence: u32) {
        if self.version == Version::V1 {
            self.next_sequence = sequence;
        }
    }

    /// Whether version 1 numbers are at half their range. They wrap as they should, but Logstash
    /// never acknowledges one beyond it: connect anew and [`WindowBuilder::set_next_sequence`]
    /// to 1.
    pub fn should_restart_sequence(&self) -> bool {
        self.next_sequence > LAST_SEQUENCE_FOR_ALL - self.max_events.min(LAST_SEQUENCE_FOR_ALL)
    }

    /// How many events the window has so far.
    pub fn len(&self) -> u32 {
        self.events
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Whether it can take no more.
    pub fn is_full(&self) -> bool {
        self.events >= self.max_events
    }

    /// The size of the window so far, before compression.
    pub fn bytes(&self) -> usize {
        self.raw.len()
    }

    /// Adds an event as JSON text, which is not checked.
    pub fn push_json(&mut self, json: &[u8]) -> Result<(), EncodeError> {
        self.push(JSON, |raw| put_field(raw, json))
    }

    /// Adds an event as keys and values.
    pub fn push_pairs<'a, I>(&mut self, pairs: I) -> Result<(), EncodeError>
    where
        I: IntoIterator<Item = (&'a [u8], &'a [u8])>,
    {
        self.push(DATA, |raw| {
            let at = raw.len();
            raw.extend([0; 4]);
            let mut count = 0_u32;
            for (key, value) in pairs {
                put_field(raw, key)?;
                put_field(raw, value)?;
                count = count.checked_add(1)?;
            }
            put_number(raw, at, count);
            Some(())
        })
    }

    /// Ends the window and begins the next one. Of no events comes a window of size 0, which
    /// not every server answers.
    pub fn finish(&mut self) -> EncodedWindow {
        let events = self.events;
        put_number(&mut self.raw, 2, events);
        let first_sequence = self.next_sequence.wrapping_sub(events);
        let bytes = match &mut self.compressor {
            Some(compressor) if events > 0 => {
                compress(compressor, &self.raw, &mut self.compressed, self.version)
            }
            _ => None,
        };
        let window = EncodedWindow {
            bytes: bytes.unwrap_or_else(|| Bytes::copy_from_slice(&self.raw)),
            events,
            first_sequence,
            version: self.version,
        };
        self.begin();
        window
    }

    /// Forgets the events of the window so far.
    pub fn clear(&mut self) {
        self.next_sequence = self.next_sequence.wrapping_sub(self.events);
        self.begin();
    }

    fn begin(&mut self) {
        for buffer in [&mut self.raw, &mut self.compressed] {
            if buffer.capacity() > KEPT_BUFFER_BYTES {
                *buffer = Vec::new();
            }
        }
        self.raw.clear();
        self.raw.extend([self.version.byte(), WINDOW, 0, 0, 0, 0]);
        self.events = 0;
        if self.version == Version::V2 {
            self.next_sequence = 1;
        }
    }

    fn push(
        &mut self,
        kind: u8,
        body: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> Result<(), EncodeError> {
        if self.is_full() {
            return Err(EncodeError::WindowFull {
                limit: self.max_events,
            });
        }
        let start = self.raw.len();
        self.raw.extend([self.version.byte(), kind]);
        self.raw.extend(self.next_sequence.to_be_bytes());
        let fits = body(&mut self.raw).is_some() && u32::try_from(self.raw.len()).is_ok();
        if !fits {
            let bytes = self.raw.len() - start;
            self.raw.truncate(start);
            return Err(EncodeError::EventTooLarge { bytes });
        }
        self.next_sequence = self.next_sequence.wrapping_add(1);
        self.events += 1;
        Ok(())
    }
}

impl fmt::Debug for WindowBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WindowBuilder")
            .field("version", &self.version)
            .field("compressed", &self.compressor.is_some())
            .field("next_sequence", &self.next_sequence)
            .field("events", &self.events)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// A length and the bytes; `None` if the length does not fit its field.
fn put_field(raw: &mut Vec<u8>, field: &[u8]) -> Option<()> {
    let length = u32::try_from(field.len()).ok()?;
    raw.extend(length.to_be_bytes());
    raw.extend_from_slice(field);
    Some(())
}

fn put_number(raw: &mut [u8], at: usize, number: u32) {
    if let Some(field) = raw.get_mut(at..at + 4) {
        field.copy_from_slice(&number.to_be_bytes());
    }
}

/// The `W` frame of `raw` and a `C` frame of the rest of it; `None`, which means to send it
/// bare, if that is no shorter.
fn compress(
    compressor: &mut Compressor,
    raw: &[u8],
    output: &mut Vec<u8>,
    version: Version,
) -> Option<Bytes> {
    let (window, frames) = raw.split_at_checked(SHORT_HEADER_BYTES)?;
    let header = SHORT_HEADER_BYTES * 2;
    let bound = header + compressor.zlib_compress_bound(frames.len());
    if output.len() < bound {
        output.resize(bound, 0);
    }
    let (head, body) = output.split_at_mut_checked(header)?;
    let length = compressor.zlib_compress(frames, body).ok()?;
    if length + SHORT_HEADER_BYTES >= frames.len() {
        return None;
    }
    let (window_head, compressed_head) = head.split_at_mut_checked(SHORT_HEADER_BYTES)?;
    window_head.copy_from_slice(window);
    compressed_head.copy_from_slice(&[version.byte(), COMPRESSED, 0, 0, 0, 0]);
    put_number(compressed_head, 2, u32::try_from(length).ok()?);
    output.get(..header + length).map(Bytes::copy_from_slice)
}
