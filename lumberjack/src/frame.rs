//! Finds the frames in a run of bytes, checking every length before it is believed.
//!
//! Pure and without memory of its own, but for [`DataScan`]: a `D` frame does not say how long
//! it is, so that one that arrives in pieces is scanned on from where the last piece ended, not
//! from its start.

use std::ops::Range;

use crate::{
    LimitName, Limits, ProtocolError, Version,
    version::{COMPRESSED, DATA, EVENT_HEADER_BYTES, JSON, SHORT_HEADER_BYTES, WINDOW, read_u32},
};

/// A frame at the start of the bytes, or how many bytes are needed to know more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Fewer bytes than the frame has; at least `needed`, counted from its start, are wanted.
    Incomplete {
        needed: usize,
    },
    Frame(Frame),
}

/// A whole frame; ranges count from its start and end where it ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Window {
        count: u32,
    },
    Event {
        sequence: u32,
        kind: EventKind,
        body: Range<usize>,
    },
    Compressed {
        body: Range<usize>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Json,
    Pairs(u32),
}

/// How far the pairs of a `D` frame have been walked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DataScan {
    /// Fields (keys and values) walked; an even number of them are pairs.
    fields: u64,
    /// Where the next field begins, from the start of the pairs.
    position: usize,
}

/// Looks at the frame at the start of `bytes`.
///
/// `version` is that of the connection, set by the first frame. `scan` has to be kept between
/// calls for the same frame and is reset when it is complete.
pub(crate) fn parse(
    bytes: &[u8],
    version: &mut Option<Version>,
    scan: &mut DataScan,
    limits: &Limits,
) -> Result<Parsed, ProtocolError> {
    let Some(&version_byte) = bytes.first() else {
        return Ok(Parsed::Incomplete {
            needed: SHORT_HEADER_BYTES,
        });
    };
    check_version(version_byte, version)?;
    let Some(&kind) = bytes.get(1) else {
        return Ok(Parsed::Incomplete {
            needed: SHORT_HEADER_BYTES,
        });
    };
    let header = match kind {
        WINDOW | COMPRESSED => SHORT_HEADER_BYTES,
        DATA | JSON => EVENT_HEADER_BYTES,
        got => return Err(ProtocolError::UnknownFrame { got }),
    };
    if bytes.len() < header {
        return Ok(Parsed::Incomplete { needed: header });
    }
    let number = |at| read_u32(bytes, at).unwrap_or_default();
    match kind {
        WINDOW => {
            let count = number(2);
            check(LimitName::WindowEvents, limits.max_window_events, count)?;
            Ok(Parsed::Frame(Frame::Window { count }))
        }
        COMPRESSED => {
            let length = number(2) as usize;
            check_bytes(
                LimitName::CompressedBytes,
                limits.max_compressed_bytes,
                length,
            )?;
            let end = header + length;
            if bytes.len() < end {
                return Ok(Parsed::Incomplete { needed: end });
            }
            Ok(Parsed::Frame(Frame::Compressed { body: header..end }))
        }
        JSON => {
            let length = number(6) as usize;
            check_bytes(LimitName::EventBytes, limits.max_event_bytes, length)?;
            let end = header + length;
            if bytes.len() < end {
                return Ok(Parsed::Incomplete { needed: end });
            }
            Ok(Parsed::Frame(Frame::Event {
                sequence: number(2),
                kind: EventKind::Json,
                body: header..end,
            }))
        }
        _ => {
            let count = number(6);
            check(LimitName::Pairs, limits.max_pairs, count)?;
            let pairs = bytes.get(header..).unwrap_or_default();
            if let Some(needed) = scan.walk(pairs, count, limits)? {
                return Ok(Parsed::Incomplete {
                    needed: header + needed,
                });
            }
            let end = header + scan.position;
            *scan = DataScan::default();
            Ok(Parsed::Frame(Frame::Event {
                sequence: number(2),
                kind: EventKind::Pairs(count),
                body: header..end,
            }))
        }
    }
}

impl DataScan {
    /// Walks on over the fields of `count` pairs. Returns how many bytes are needed at least, or
    /// `None` when all are there.
    fn walk(
        &mut self,
        pairs: &[u8],
        count: u32,
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        while self.fields < u64::from(count) * 2 {
            let Some(length) = read_u32(pairs, self.position) else {
                check_bytes(
                    LimitName::EventBytes,
                    limits.max_event_bytes,
                    self.position.saturating_add(4),
                )?;
                return Ok(Some(self.position + 4));
            };
            let length = length as usize;
            if self.fields.is_multiple_of(2) {
                check_bytes(LimitName::KeyBytes, limits.max_key_bytes, length)?;
            }
            let end = self.position.saturating_add(4).saturating_add(length);
            check_bytes(LimitName::EventBytes, limits.max_event_bytes, end)?;
            if pairs.len() < end {
                return Ok(Some(end));
            }
            self.position = end;
            self.fields += 1;
        }
        Ok(None)
    }
}

fn check_version(got: u8, version: &mut Option<Version>) -> Result<(), ProtocolError> {
    match (*version, Version::from_byte(got)) {
        (None, Some(first)) => {
            *version = Some(first);
            Ok(())
        }
        (None, None) => Err(ProtocolError::NotLumberjack { got }),
        (Some(began), same) if same == Some(began) => Ok(()),
        (Some(began), _) => Err(ProtocolError::VersionChanged { began, got }),
    }
}

fn check(limit: LimitName, allowed: u32, got: u32) -> Result<(), ProtocolError> {
    check_bytes(limit, allowed as usize, got as usize)
}

pub(crate) fn check_bytes(
    limit: LimitName,
    allowed: usize,
    got: usize,
) -> Result<(), ProtocolError> {
    if got <= allowed {
        return Ok(());
    }
    Err(ProtocolError::LimitExceeded {
        limit,
        allowed: allowed as u64,
        got: got as u64,
    })
}
