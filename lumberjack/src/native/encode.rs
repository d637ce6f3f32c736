//! The sending side: lines in, the bytes of a window out.
//!
//! The builder belongs to one connection, for it remembers which sources the receiver knows;
//! [`LineBuilder::restart`] makes it fit for the next one.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use zstd::bulk::Compressor;

use super::number::{fold, put, put_text};
use super::{
    CHECKED_BYTES, CODEC_NONE, CODEC_ZSTD, FLAG_FORGET, HEAD_LENGTH_BYTES, HEADER_BYTES,
    MAX_SOURCES, MAX_SOURCES_BYTES, WINDOW, checksum,
};
use crate::{EncodeError, EncodedWindow, Version};

/// How windows are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeCompression {
    /// Not at all.
    None,
    /// By zstd at this level, 1 (fast) to 22 (small); others count as the nearest.
    Zstd {
        /// The level.
        level: u8,
    },
}

/// What the lines of a source have in common, as it is written down.
#[derive(Debug)]
pub struct SourceFields<'a> {
    out: &'a mut Vec<u8>,
}

impl SourceFields<'_> {
    /// The name of the stream (empty for none), the fields that stand before the offset of an event, and those
    /// behind it.
    pub fn write<'f, B, A>(self, stream: &[u8], before: B, after: A)
    where
        B: ExactSizeIterator<Item = (&'f [u8], &'f [u8])>,
        A: ExactSizeIterator<Item = (&'f [u8], &'f [u8])>,
    {
        put_text(self.out, stream);
        put_pairs(self.out, before);
        put_pairs(self.out, after);
    }
}

/// Builds the windows of one connection.
pub struct LineBuilder {
    compressor: Option<Compressor<'static>>,
    max_events: u32,
    /// The receiver's number of each source that it knows, by ours.
    known: HashMap<u64, u64>,
    known_bytes: usize,
    flags: u8,
    /// Sources that are new in this window.
    news: Vec<u8>,
    new_sources: u64,
    runs: Vec<u8>,
    run: Option<Run>,
    /// The lines of the run that is open.
    run_lines: Vec<u8>,
    text: Vec<u8>,
    events: u32,
    raw: Vec<u8>,
    /// Kept at its greatest length: it need be zeroed only once.
    packed: Vec<u8>,
}

/// Lines of one source that were read at one time, one after the other.
#[derive(Debug)]
struct Run {
    key: u64,
    number: u64,
    read_at: i64,
    lines: u64,
    /// Where the next line begins if nothing but a line end is between.
    expected: u64,
}

/// Buffers beyond this are not kept for the next window.
const KEPT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

impl LineBuilder {
    /// A builder for a new connection, of windows of so many lines at most.
    pub fn new(compression: NativeCompression, max_events: u32) -> Self {
        let compressor = match compression {
            NativeCompression::None => None,
            // It fails only for want of memory; windows then go as they are.
            NativeCompression::Zstd { level } => {
                Compressor::new(i32::from(level).clamp(1, 22)).ok()
            }
        };
        Self {
            compressor,
            max_events: max_events.max(1),
            known: HashMap::new(),
            known_bytes: 0,
            flags: 0,
            news: Vec::new(),
            new_sources: 0,
            runs: Vec::new(),
            run: None,
            run_lines: Vec::new(),
            text: Vec::new(),
            events: 0,
            raw: Vec::new(),
            packed: Vec::new(),
        }
    }

    /// Forgets the window so far and what the receiver knows: another connection begins.
    pub fn restart(&mut self) {
        self.known.clear();
        self.known_bytes = 0;
        self.begin();
    }

    /// Adds a line of the source that is known here as `key`, and described by `describe` if the receiver
    /// does not know it yet. `extra` are fields of this line alone.
    pub fn push<'f, E>(
        &mut self,
        key: u64,
        describe: impl FnOnce(SourceFields<'_>),
        read_at: i64,
        offset: u64,
        text: &[u8],
        extra: E,
    ) -> Result<(), EncodeError>
    where
        E: ExactSizeIterator<Item = (&'f [u8], &'f [u8])>,
    {
        if self.events >= self.max_events {
            return Err(EncodeError::WindowFull {
                limit: self.max_events,
            });
        }
        if u32::try_from(self.text.len() + text.len()).is_err() {
            return Err(EncodeError::EventTooLarge { bytes: text.len() });
        }
        let same = self
            .run
            .as_ref()
            .is_some_and(|run| run.key == key && run.read_at == read_at);
        if !same {
            let number = self.source(key, describe)?;
            self.end_run();
            self.run = Some(Run {
                key,
                number,
                read_at,
                lines: 0,
                expected: 0,
            });
        }
        let Some(run) = &mut self.run else {
            return Ok(());
        };
        let has_extra = extra.len() > 0;
        put(
            &mut self.run_lines,
            (text.len() as u64) << 1 | u64::from(has_extra),
        );
        put(
            &mut self.run_lines,
            fold(offset.wrapping_sub(run.expected) as i64),
        );
        if has_extra {
            put_pairs(&mut self.run_lines, extra);
        }
        run.expected = offset.wrapping_add(text.len() as u64).wrapping_add(1);
        run.lines += 1;
        self.text.extend_from_slice(text);
        self.events += 1;
        Ok(())
    }

    /// Ends the window and begins the next one. One without lines asks for a sign of life.
    pub fn finish(&mut self) -> EncodedWindow {
        self.end_run();
        let events = self.events;
        let raw = &mut self.raw;
        raw.clear();
        raw.extend([0; HEADER_BYTES]);
        if events > 0 {
            raw.extend([0; HEAD_LENGTH_BYTES]);
            put(raw, self.new_sources);
            raw.extend_from_slice(&self.news);
            raw.extend_from_slice(&self.runs);
            let head = raw.len() - HEADER_BYTES - HEAD_LENGTH_BYTES;
            put_number(raw, HEADER_BYTES, head);
            raw.extend_from_slice(&self.text);
        }
        let body = raw.get(HEADER_BYTES..).unwrap_or_default();
        let unpacked = body.len();
        let packed = self
            .compressor
            .as_mut()
            .filter(|_| events > 0)
            .and_then(|compressor| pack(compressor, body, &mut self.packed));
        let (codec, frame) = match packed {
            Some(packed) => (CODEC_ZSTD, packed),
            None => (CODEC_NONE, &mut self.raw[..]),
        };
        let packed = frame.len() - HEADER_BYTES;
        if let Some(start) = frame.first_chunk_mut::<4>() {
            *start = [Version::Native.byte(), WINDOW, codec, self.flags];
        }
        put_number(frame, 4, events as usize);
        put_number(frame, 8, unpacked);
        put_number(frame, 12, packed);
        let (header, body) = frame.split_at_mut(HEADER_BYTES);
        let (checked, sum) = header.split_at_mut(CHECKED_BYTES);
        sum.copy_from_slice(&checksum(checked, body).to_be_bytes());
        let bytes = Bytes::copy_from_slice(frame);
        self.begin();
        EncodedWindow {
            bytes,
            events,
            first_sequence: 1,
            version: Version::Native,
        }
    }

    fn begin(&mut self) {
        for buffer in [
            &mut self.news,
            &mut self.runs,
            &mut self.run_lines,
            &mut self.text,
            &mut self.raw,
        ] {
            buffer.clear();
            if buffer.capacity() > KEPT_BUFFER_BYTES {
                *buffer = Vec::new();
            }
        }
        if self.packed.capacity() > KEPT_BUFFER_BYTES {
            self.packed = Vec::new();
        }
        self.run = None;
        self.events = 0;
        self.new_sources = 0;
        self.flags = 0;
    }

    /// The receiver's number of a source, which is named to it if need be.
    fn source(
        &mut self,
        key: u64,
        describe: impl FnOnce(SourceFields<'_>),
    ) -> Result<u64, EncodeError> {
        if let Some(&number) = self.known.get(&key) {
            return Ok(number);
        }
        let mut description = Vec::new();
        describe(SourceFields {
            out: &mut description,
        });
        let bytes = description.len();
        if bytes > MAX_SOURCES_BYTES {
            return Err(EncodeError::EventTooLarge { bytes });
        }
        if self.known.len() >= MAX_SOURCES || self.known_bytes + bytes > MAX_SOURCES_BYTES {
            // Those of this window are forgotten too, so it ends here if it has any.
            if self.events > 0 {
                return Err(EncodeError::SourcesFull);
            }
            self.known.clear();
            self.known_bytes = 0;
            self.flags |= FLAG_FORGET;
        }
        let number = self.known.len() as u64;
        self.known.insert(key, number);
        self.known_bytes += bytes;
        self.new_sources += 1;
        put_text(&mut self.news, &description);
        Ok(number)
    }

    fn end_run(&mut self) {
        if let Some(run) = self.run.take() {
            put(&mut self.runs, run.number);
            put(&mut self.runs, fold(run.read_at));
            put(&mut self.runs, run.lines);
            self.runs.append(&mut self.run_lines);
        }
    }
}

impl fmt::Debug for LineBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LineBuilder")
            .field("packed", &self.compressor.is_some())
            .field("known", &self.known.len())
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// Packs a body behind room for a header; nothing if that is no shorter.
fn pack<'o>(
    compressor: &mut Compressor<'_>,
    body: &[u8],
    out: &'o mut Vec<u8>,
) -> Option<&'o mut [u8]> {
    let bound = HEADER_BYTES + zstd::zstd_safe::compress_bound(body.len());
    if out.len() < bound {
        out.resize(bound, 0);
    }
    let room = out.get_mut(HEADER_BYTES..)?;
    let length = compressor.compress_to_buffer(body, room).ok()?;
    if length >= body.len() {
        return None;
    }
    out.get_mut(..HEADER_BYTES + length)
}

fn put_pairs<'f>(out: &mut Vec<u8>, pairs: impl ExactSizeIterator<Item = (&'f [u8], &'f [u8])>) {
    put(out, pairs.len() as u64);
    for (name, value) in pairs {
        put_text(out, name);
        put_text(out, value);
    }
}

/// Writes a number that fits, for bodies are bounded by the length of their texts.
fn put_number(frame: &mut [u8], at: usize, number: usize) {
    if let Some(field) = frame.get_mut(at..at + 4) {
        field.copy_from_slice(&(number as u32).to_be_bytes());
    }
}
