//! The receiving side: whole frames in, windows of lines out.

use std::sync::Arc;

use bytes::Bytes;

use super::number::{take, take_text, unfold};
use super::{
    CHECKED_BYTES, CODEC_NONE, CODEC_ZSTD, FLAG_FORGET, HEAD_LENGTH_BYTES, HEADER_BYTES,
    MAX_SOURCES, MAX_SOURCES_BYTES, WINDOW, checksum,
};
use crate::budget::Account;
use crate::chunk::into_bytes;
use crate::frame::check_bytes;
use crate::version::read_u32;
use crate::{Event, LimitName, Limits, Payload, ProtocolError};

/// What the lines of a source have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The name of the stream; empty if it has none.
    pub stream: Box<[u8]>,
    /// Fields of its events that stand before the offset.
    pub before: Fields,
    /// Fields of its events behind it.
    pub after: Fields,
}

/// A line as it was read, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it is from.
    pub source: Arc<Source>,
    /// When it was read, in milliseconds since 1970.
    pub read_at: i64,
    /// Where in its source it begins.
    pub offset: u64,
    /// Its bytes, in whatever encoding.
    pub text: Bytes,
    /// Fields of this line alone, as they came; see [`Line::extra`].
    extra: Bytes,
}

impl Line {
    /// Fields of this line alone, in their order.
    pub fn extra(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &*self.extra;
        // The bytes were walked when the window was decoded.
        std::iter::from_fn(move || Some((take_text(&mut rest)?, take_text(&mut rest)?)))
    }
}

/// Names and values, in their order.
pub type Fields = Vec<(Box<str>, Box<[u8]>)>;

/// What the bytes so far are.
pub(crate) enum Parsed {
    /// The beginning of a frame of at least so many bytes.
    Incomplete { needed: usize },
    /// To be tried again when so much memory is reserved.
    NeedMemory(usize),
    /// A whole frame, of so many bytes.
    Window {
        events: Vec<Event>,
        payload_bytes: usize,
        end: usize,
    },
}

/// What is known of one connection.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    sources: Vec<Arc<Source>>,
    sources_bytes: usize,
}

struct Header {
    codec: u8,
    flags: u8,
    lines: u32,
    unpacked: usize,
    packed: usize,
    checksum: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let number = |at| read_u32(header, at).unwrap_or_default();
        Some(Self {
            codec: header[2],
            flags: header[3],
            lines: number(4),
            unpacked: number(8) as usize,
            packed: number(12) as usize,
            checksum: u64::from(number(16)) << 32 | u64::from(number(20)),
        })
    }

    fn check(&self, limits: &Limits) -> Result<(), ProtocolError> {
        if self.codec > CODEC_ZSTD || self.flags > FLAG_FORGET {
            return Err(ProtocolError::UnknownNative {
                codec: self.codec,
                flags: self.flags,
            });
        }
        check_bytes(
            LimitName::WindowEvents,
            limits.max_window_events as usize,
            self.lines as usize,
        )?;
        check_bytes(
            LimitName::CompressedBytes,
            limits.max_compressed_bytes,
            self.packed,
        )?;
        let by_ratio = limits.max_inflate_ratio.map_or(usize::MAX, |ratio| {
            self.packed.saturating_mul(ratio as usize)
        });
        check_bytes(LimitName::InflateRatio, by_ratio, self.unpacked)?;
        check_bytes(
            LimitName::InflatedBytes,
            limits.max_inflated_bytes,
            self.unpacked,
        )
    }
}

impl Frames {
    /// Looks at the frame at the start of `bytes`, whose version is known.
    pub(crate) fn parse(
        &mut self,
        bytes: &[u8],
        account: &mut Account,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        if let Some(&got) = bytes.get(1)
            && got != WINDOW
        {
            return Err(ProtocolError::UnknownFrame { got });
        }
        let Some(header) = Header::read(bytes) else {
            return Ok(Parsed::Incomplete {
                needed: HEADER_BYTES,
            });
        };
        header.check(limits)?;
        let end = HEADER_BYTES + header.packed;
        let Some(packed) = bytes.get(HEADER_BYTES..end) else {
            return Ok(Parsed::Incomplete { needed: end });
        };
        let checked = bytes.get(..CHECKED_BYTES).unwrap_or_default();
        if checksum(checked, packed) != header.checksum {
            return Err(ProtocolError::Checksum {
                bytes: header.packed,
            });
        }
        let Some(hold) = account.try_reserve(header.unpacked) else {
            return Ok(Parsed::NeedMemory(header.unpacked));
        };
        let body = into_bytes(unpack(&header, packed)?, hold);
        if header.flags & FLAG_FORGET != 0 {
            self.sources.clear();
            self.sources_bytes = 0;
        }
        let mut payload_bytes = 0;
        let events = if header.lines == 0 {
            Vec::new()
        } else {
            self.lines(&header, &body, limits, &mut payload_bytes)?
        };
        Ok(Parsed::Window {
            events,
            payload_bytes,
            end,
        })
    }

    fn lines(
        &mut self,
        header: &Header,
        body: &Bytes,
        limits: &Limits,
        payload_bytes: &mut usize,
    ) -> Result<Vec<Event>, ProtocolError> {
        let malformed = |what| move || ProtocolError::MalformedNative { what };
        let length = read_u32(body, 0).ok_or_else(malformed("the length of the head"))? as usize;
        let head_end = HEAD_LENGTH_BYTES.saturating_add(length);
        let mut head = body
            .get(HEAD_LENGTH_BYTES..head_end)
            .ok_or_else(malformed("the head"))?;
        self.take_sources(&mut head, limits)?;
        // A line takes two bytes of the head at least, so a count that lies costs no memory.
        let most = (header.lines as usize).min(head.len() / 2);
        let mut events = Vec::with_capacity(most);
        let mut start = head_end;
        while !head.is_empty() {
            let run = malformed("the beginning of a run");
            let number = take(&mut head).ok_or_else(run)?;
            let read_at = unfold(take(&mut head).ok_or_else(run)?);
            let lines = take(&mut head).ok_or_else(run)?;
            let source = usize::try_from(number)
                .ok()
                .and_then(|number| self.sources.get(number))
                .ok_or_else(malformed("the source of a run"))?;
            let mut expected = 0_u64;
            for _ in 0..lines {
                if events.len() >= header.lines as usize {
                    return Err(malformed("the number of lines")());
                }
                let line = malformed("a line");
                let size = take(&mut head).ok_or_else(line)?;
                let folded = take(&mut head).ok_or_else(line)?;
                let offset = expected.wrapping_add(unfold(folded) as u64);
                let extra = if size & 1 == 1 {
                    body.slice_ref(skip_fields(&mut head, limits)?)
                } else {
                    Bytes::new()
                };
                let length = usize::try_from(size >> 1).map_err(|_| line())?;
                check_bytes(LimitName::EventBytes, limits.max_event_bytes, length)?;
                let end = start.saturating_add(length);
                if end > body.len() {
                    return Err(malformed("the text of a line")());
                }
                *payload_bytes += length;
                check_bytes(
                    LimitName::WindowBytes,
                    limits.max_window_bytes,
                    *payload_bytes,
                )?;
                expected = offset.wrapping_add(length as u64).wrapping_add(1);
                events.push(Event {
                    sequence: events.len() as u32 + 1,
                    payload: Payload::Line(Line {
                        source: Arc::clone(source),
                        read_at,
                        offset,
                        text: body.slice(start..end),
                        extra,
                    }),
                });
                start = end;
            }
        }
        if events.len() != header.lines as usize || start != body.len() {
            return Err(malformed("the number of lines")());
        }
        Ok(events)
    }

    fn take_sources(&mut self, head: &mut &[u8], limits: &Limits) -> Result<(), ProtocolError> {
        let malformed = || ProtocolError::MalformedNative { what: "a source" };
        let count = take(head).ok_or_else(malformed)?;
        for _ in 0..count {
            let mut description = take_text(head).ok_or_else(malformed)?;
            check_bytes(LimitName::Sources, MAX_SOURCES, self.sources.len() + 1)?;
            self.sources_bytes += description.len();
            check_bytes(
                LimitName::SourcesBytes,
                MAX_SOURCES_BYTES,
                self.sources_bytes,
            )?;
            let stream = take_text(&mut description).ok_or_else(malformed)?;
            let source = Source {
                stream: stream.into(),
                before: take_fields(&mut description, limits)?,
                after: take_fields(&mut description, limits)?,
            };
            if !description.is_empty() {
                return Err(malformed());
            }
            self.sources.push(Arc::new(source));
        }
        Ok(())
    }
}

fn unpack(header: &Header, packed: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let corrupt = || ProtocolError::CorruptNative {
        packed: packed.len(),
    };
    if header.codec == CODEC_NONE {
        return if header.unpacked == packed.len() {
            Ok(packed.to_vec())
        } else {
            Err(corrupt())
        };
    }
    let mut body = vec![0; header.unpacked];
    // PERF: as with zlib, kept in the connection its memory would weigh on thousands of idle ones.
    let unpacked = zstd::bulk::decompress_to_buffer(packed, &mut body[..]);
    match unpacked {
        Ok(length) if length == header.unpacked => Ok(body),
        _ => Err(corrupt()),
    }
}

/// The bytes of fields that are within the limits, without their number.
fn skip_fields<'a>(bytes: &mut &'a [u8], limits: &Limits) -> Result<&'a [u8], ProtocolError> {
    let malformed = || ProtocolError::MalformedNative { what: "a field" };
    let count = take(bytes).ok_or_else(malformed)?;
    let count = usize::try_from(count).map_err(|_| malformed())?;
    check_bytes(LimitName::Pairs, limits.max_pairs as usize, count)?;
    let all = *bytes;
    for _ in 0..count {
        let name = take_text(bytes).ok_or_else(malformed)?;
        check_bytes(LimitName::KeyBytes, limits.max_key_bytes, name.len())?;
        take_text(bytes).ok_or_else(malformed)?;
    }
    let length = all.len() - bytes.len();
    Ok(all.get(..length).unwrap_or_default())
}

fn take_fields(bytes: &mut &[u8], limits: &Limits) -> Result<Fields, ProtocolError> {
    let mut rest = skip_fields(bytes, limits)?;
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (take_text(&mut rest), take_text(&mut rest)) {
        let name = String::from_utf8_lossy(name).into_owned();
        fields.push((name.into_boxed_str(), value.into()));
    }
    Ok(fields)
}
