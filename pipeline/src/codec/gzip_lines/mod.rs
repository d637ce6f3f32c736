//! The codec `gzip_lines`: lines that are packed by gzip; it only decodes.
//!
//! There may be several members one behind the other, as `gzip` appends them. Of a stream of any length, lines come out
//! as they come in: it is unpacked before it is cut ([`Cutter`]), and what the workers get are members with some whole
//! lines each, which are not packed.
//!
//! INVARIANTS: what is decoded at once takes at most `decompress_size_limit_bytes` of memory, of which a line takes
//! [`LINE_BYTES`] besides its own. No byte is lost: what cannot be unpacked any further, or would be over the
//! limit, is the `message` of an event with the tag `_gzipparsefailure`, as it came; lines before it are
//! events. Of a stream that ends too early the last event has this tag and no text.
//!
//! COMPAT: Logstash leaves the line ends in the messages and stops at what is no gzip.

mod member;

use std::time::Duration;

use self::member::{Member, write_cut_off, write_stored};
use super::build;
use super::{Charset, Codec, Cutter, Decoder, Plain, Sink};
use crate::event::Event;
use crate::language::Options;

/// How much memory what is decoded at once takes, unless `decompress_size_limit_bytes` says
/// otherwise.
pub const DECOMPRESS_SIZE_LIMIT: usize = 64 << 20;

/// What the event of a line takes in memory besides the line.
pub const LINE_BYTES: usize = 1 << 10;

/// The unpacked bytes of a stream that make a piece of it.
const PIECE_BYTES: usize = 64 << 10;

/// Tag of an event with what cannot be unpacked.
const FAILURE: &[u8] = b"_gzipparsefailure";

/// The codec `gzip_lines`.
#[derive(Clone, Copy, Debug)]
pub struct GzipLines {
    charset: Charset,
    /// `decompress_size_limit_bytes`.
    limit: usize,
    /// `decode_size_limit_bytes`: how long a line of a stream may be.
    line_limit: usize,
}

impl GzipLines {
    /// Reads the options of the codec.
    pub(super) fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let limit = options.count("decompress_size_limit_bytes", 1..=usize::MAX >> 1);
        let charset = build::charset(options);
        if charset.is_some_and(|charset| !charset.is_ascii_compatible()) {
            let message = "`gzip_lines` cuts at line ends before it converts, and in this character \
                           set they are not the byte 10: convert the lines before, by iconv say";
            options.error("charset", message);
        }
        Some(Self {
            charset: charset?,
            limit: limit.unwrap_or(DECOMPRESS_SIZE_LIMIT),
            line_limit: build::size_limit(options),
        })
    }
}

impl Codec for GzipLines {
    fn decoder(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(*self))
    }

    fn cutter(&self) -> Option<Box<dyn Cutter>> {
        Some(Box::new(GzipCutter {
            line_limit: self.line_limit,
            packed: Vec::new(),
            member: Member::new(),
            lines: Vec::new(),
            is_broken: false,
        }))
    }

    /// COMPAT: it is no format to write; what is written is that of `plain`.
    fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        Plain::default().encode(event, out);
    }
}

impl Decoder for GzipLines {
    fn decode<'b>(&mut self, data: &'b [u8], sink: &mut Sink<'_, 'b>) {
        let mut lines = Lines {
            charset: self.charset,
            line: Vec::new(),
            left: self.limit,
        };
        let mut rest = data;
        while !rest.is_empty() {
            let mut member = Member::new();
            while !member.is_done() {
                let whole = match member.step(rest) {
                    Ok(Some((read, bytes))) => {
                        let taken = lines.push(bytes, sink);
                        if taken {
                            rest = &rest[read..];
                        }
                        taken
                    }
                    Ok(None) | Err(_) => false,
                };
                if !whole {
                    lines.end(sink);
                    sink.push_failure(rest, FAILURE);
                    return;
                }
            }
        }
        lines.end(sink);
    }
}

/// Makes events of lines that come in pieces.
struct Lines {
    charset: Charset,
    /// The start of a line.
    line: Vec<u8>,
    /// The memory that may be taken.
    left: usize,
}

impl Lines {
    /// Takes in what follows. False if there is no memory for it any more.
    fn push(&mut self, bytes: &[u8], sink: &mut Sink<'_, '_>) -> bool {
        let ends = memchr::memchr_iter(b'\n', bytes).count();
        let Some(left) = self.left.checked_sub(bytes.len() + ends * LINE_BYTES) else {
            return false;
        };
        self.left = left;
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.line.extend_from_slice(&rest[..end]);
            self.emit(sink);
            rest = &rest[end + 1..];
        }
        self.line.extend_from_slice(rest);
        true
    }

    /// There is no more of the last line.
    fn end(&mut self, sink: &mut Sink<'_, '_>) {
        if !self.line.is_empty() {
            self.emit(sink);
        }
    }

    fn emit(&mut self, sink: &mut Sink<'_, '_>) {
        let arena = sink.arena;
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let text = self.charset.decode(arena.alloc_slice_copy(line), arena);
        sink.push_message(text, false);
        self.line.clear();
    }
}

/// Unpacks a stream.
struct GzipCutter {
    line_limit: usize,
    /// What cannot be unpacked yet: a part of a header or a trailer.
    packed: Vec<u8>,
    member: Member,
    /// The line that has begun, and at times whole ones.
    lines: Vec<u8>,
    /// What comes is no gzip any more.
    is_broken: bool,
}

impl GzipCutter {
    /// Appends the lines that are whole as a member.
    fn write_lines(&mut self, pieces: &mut Vec<u8>) {
        let end = match memchr::memrchr(b'\n', &self.lines) {
            Some(end) => end + 1,
            None if self.lines.len() >= self.line_limit => self.lines.len(),
            None => return,
        };
        write_stored(&self.lines[..end], pieces);
        self.lines.drain(..end);
    }

    /// Appends all that is left of the lines.
    fn write_rest(&mut self, pieces: &mut Vec<u8>) {
        if !self.lines.is_empty() {
            write_stored(&self.lines, pieces);
            self.lines.clear();
        }
    }
}

impl Cutter for GzipCutter {
    fn push(&mut self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        if self.is_broken {
            return Some(bytes);
        }
        self.packed.append(&mut bytes);
        let mut pieces = Vec::new();
        let mut at = 0;
        loop {
            match self.member.step(&self.packed[at..]) {
                Ok(Some((read, unpacked))) => {
                    at += read;
                    self.lines.extend_from_slice(unpacked);
                }
                Ok(None) => break,
                Err(_) => {
                    self.is_broken = true;
                    break;
                }
            }
            if self.member.is_done() {
                self.member = Member::new();
            }
            if self.lines.len() >= PIECE_BYTES {
                self.write_lines(&mut pieces);
            }
        }
        self.packed.drain(..at);
        if self.is_broken {
            self.write_rest(&mut pieces);
            pieces.append(&mut self.packed);
        } else {
            self.write_lines(&mut pieces);
        }
        (!pieces.is_empty()).then_some(pieces)
    }

    fn flush(&mut self) -> Option<Vec<u8>> {
        let mut pieces = Vec::new();
        self.write_rest(&mut pieces);
        if !self.is_broken && self.member.has_begun() && self.packed.is_empty() {
            write_cut_off(&mut pieces);
        }
        pieces.append(&mut self.packed);
        self.member = Member::new();
        (!pieces.is_empty()).then_some(pieces)
    }

    fn pending(&self) -> usize {
        self.packed.len() + self.lines.len()
    }

    fn patience(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests;
