//! Reading a file that is followed: bytes to lines, lines to events, events into the batch.
//!
//! A partial last line is not kept in memory but read again when it has grown; what a shaper holds
//! back is the exception. NUL bytes at the beginning of a line are a hole if something follows them, and
//! are waited for at the end of the file.

use std::fs::File;
use std::io;

use super::file::Tail;
use super::identity::read_fully_at;
use super::lines;
use super::shape::{self, LongLines, Raw, Sink};
use super::trail::TRAIL_BYTES;
use crate::batch::Batch;
use crate::config::Limits;

/// So many NUL bytes at the beginning of a line are a hole, not text.
pub const LEAST_HOLE: usize = 16;
/// So much of a hole that the file system does not know of is looked through for its end.
pub const MAX_SEARCHED_HOLE: u64 = 64 << 20;

/// How a reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// There may be more.
    More,
    /// The batch is full.
    Full,
    /// The end of the file.
    End,
}

/// What was unusual in what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pieces cut off long lines.
    pub split: u64,
    /// Long lines that were left out.
    pub skipped: u64,
    /// Bytes of holes.
    pub hole_bytes: u64,
}

/// How much a reading may put into a batch, and how it treats lines.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Lines in the batch at most.
    pub events: usize,
    /// Bytes in the batch at most (but always one line).
    pub bytes: usize,
    /// A longer line is cut.
    pub max_line_bytes: usize,
}

impl Budget {
    /// The budget of the config.
    pub fn new(limits: &Limits) -> Self {
        Self {
            events: limits.spool_size,
            bytes: limits.spool_bytes,
            max_line_bytes: limits.max_line_bytes,
        }
    }

    /// Whether a line of this length still goes in.
    pub fn allows(&self, batch: &Batch, bytes: usize) -> bool {
        batch.is_empty() || (batch.len() < self.events && batch.bytes() + bytes <= self.bytes)
    }
}

/// The buffer that all files are read through: one for the process.
#[derive(Debug)]
pub struct ReadBuffer {
    pub(super) bytes: Vec<u8>,
    normal: usize,
}

impl ReadBuffer {
    /// A buffer of the normal size; it grows only for long lines, and shrinks again.
    pub fn new(normal: usize) -> Self {
        Self {
            bytes: vec![0; normal],
            normal,
        }
    }

    /// Doubles, up to `most`. False if it is that large already.
    fn grow(&mut self, most: usize) -> bool {
        if self.bytes.len() >= most {
            return false;
        }
        let length = (self.bytes.len() * 2).min(most);
        self.bytes.resize(length, 0);
        true
    }

    fn shrink(&mut self) {
        if self.bytes.len() > self.normal {
            self.bytes.truncate(self.normal);
            self.bytes.shrink_to_fit();
        }
    }
}

impl Tail {
    /// Reads once and puts the whole lines into the batch.
    pub fn read(
        &mut self,
        buffer: &mut ReadBuffer,
        batch: &mut Batch,
        budget: Budget,
        read_at: i64,
        tally: &mut Tally,
    ) -> io::Result<Reading> {
        let Some(file) = &self.file else {
            return Ok(Reading::End);
        };
        let wide = self.shaper.as_ref().and_then(|shaper| shaper.line_end());
        let delimiter = self.delimiter.clone();
        let most = most_bytes(budget, delimiter.as_deref());
        let holes = wide.is_none() && delimiter.as_deref().is_none_or(|end| !end.contains(&0));
        loop {
            let filled = read_fully_at(file, &mut buffer.bytes, self.offset)?;
            let ended = filled < buffer.bytes.len();
            let bytes = &buffer.bytes[..filled];
            let (mut at, mut full, mut waiting) = (0, false, false);
            loop {
                if holes && bytes.get(at) == Some(&0) {
                    let hole = nul_bytes(&bytes[at..]);
                    if at + hole < bytes.len() {
                        let skipped = if hole >= LEAST_HOLE { hole } else { 0 };
                        at += skipped;
                        tally.hole_bytes += skipped as u64;
                    } else {
                        break;
                    }
                }
                let line = next_line(bytes, at, budget, delimiter.as_deref(), wide);
                let Some(mut line) = line else { break };
                // Text and then a hole: either the writer goes on there, or it is all of the line.
                if line.split
                    && holes
                    && let Some(text) = text_before_hole(&bytes[line.start..line.end])
                {
                    let hole = self.offset + (line.start + text) as u64;
                    if end_of_hole(file, hole, &mut [0; 4096])?.is_none() {
                        waiting = true;
                        break;
                    }
                    line.end = line.start + text;
                    (line.next, line.split) = (line.end, false);
                }
                let held = self
                    .shaper
                    .as_ref()
                    .map_or(0, |shaper| shaper.pending_bytes());
                if !budget.allows(batch, line.end - line.start + held) {
                    full = true;
                    break;
                }
                let text = &bytes[line.start..line.end];
                let (start, next) = (
                    self.offset + line.start as u64,
                    self.offset + line.next as u64,
                );
                let (mut cut, mut truncated) = (false, false);
                if line.split || self.cut {
                    tally.split += u64::from(line.split);
                    // Not of a piece that was shipped as it was: the rest of it is wanted.
                    let whole = !self.mid_line || self.cut;
                    cut = self.cut || (whole && self.long_lines == LongLines::Skip);
                    tally.skipped += u64::from(cut && !self.cut);
                    truncated = !cut && whole && self.long_lines == LongLines::Truncate;
                    self.cut = line.split && (cut || truncated);
                }
                // Of a line whose first part was shipped already, a mere line end is swallowed.
                if !(cut || (self.mid_line && text.is_empty())) {
                    match &mut self.shaper {
                        None if !truncated => {
                            self.shipped_to = next;
                            batch.push(&self.source, read_at, text, start, next);
                        }
                        None => {
                            self.shipped_to = next;
                            let extra = shape::truncated(text, start);
                            batch.push_extra(&self.source, read_at, text, start, next, extra);
                        }
                        Some(shaper) => {
                            let raw = Raw {
                                text,
                                start,
                                next,
                                continued: self.mid_line,
                                truncated,
                            };
                            let before = batch.len();
                            let source = &self.source;
                            shaper.line(
                                raw,
                                &mut Sink {
                                    batch,
                                    source,
                                    read_at,
                                },
                            );
                            if batch.len() > before {
                                self.shipped_to = shaper.safe();
                            }
                        }
                    }
                }
                self.mid_line = line.split;
                at = line.next;
            }
            self.trail.append(&bytes[..at]);
            self.offset += at as u64;
            self.size = self.size.max(self.offset);
            if full {
                return Ok(Reading::Full);
            }
            if waiting {
                buffer.shrink();
                return Ok(Reading::End);
            }
            let rest = &bytes[at..];
            if holes && rest.first() == Some(&0) && !ended {
                let Some(end) = end_of_hole(file, self.offset, &mut buffer.bytes)? else {
                    return Ok(Reading::End);
                };
                tally.hole_bytes += end - self.offset;
                self.trail.append(&[0; TRAIL_BYTES]);
                self.offset = end;
                return Ok(Reading::More);
            }
            if at == 0 && !ended && buffer.grow(most) {
                continue;
            }
            buffer.shrink();
            return Ok(if ended { Reading::End } else { Reading::More });
        }
    }

    /// Makes an event of what is held back, as no more of it will come.
    pub fn flush_pending(&mut self, batch: &mut Batch, read_at: i64) {
        if let Some(shaper) = &mut self.shaper {
            let source = &self.source;
            shaper.flush(
                self.offset,
                &mut Sink {
                    batch,
                    source,
                    read_at,
                },
            );
            self.shipped_to = self.offset;
        }
    }

    /// Puts the partial last line into the batch; false if there was no room for it.
    pub fn flush_partial(
        &mut self,
        buffer: &mut ReadBuffer,
        batch: &mut Batch,
        budget: Budget,
        read_at: i64,
    ) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(true);
        };
        let delimiter = self.delimiter.clone();
        let most = most_bytes(budget, delimiter.as_deref());
        let filled = loop {
            let filled = read_fully_at(file, &mut buffer.bytes, self.offset)?;
            if filled < buffer.bytes.len() || !buffer.grow(most) {
                break filled;
            }
        };
        let bytes = &buffer.bytes[..filled];
        let wide = self.shaper.as_ref().and_then(|shaper| shaper.line_end());
        let bytes = if wide.is_none() {
            without_nul_bytes(bytes)
        } else {
            bytes
        };
        if bytes.is_empty() {
            self.rest = self.size - self.offset;
            self.flush_pending(batch, read_at);
            buffer.shrink();
            return Ok(true);
        }
        if next_line(bytes, 0, budget, delimiter.as_deref(), wide).is_some() {
            // It has grown to a line meanwhile: that is for an ordinary reading.
            return Ok(true);
        }
        // A return may be half of a line end: it stays for what comes. So do NUL bytes: they may be
        // room that was allocated ahead, and text will be written over them.
        let text = match wide {
            None if delimiter.is_some() => bytes,
            None => lines::strip_return(bytes),
            Some(end) => lines::strip_wide_return(bytes, end),
        };
        self.rest = self.size.saturating_sub(self.offset + text.len() as u64);
        if let Some(shaper) = &mut self.shaper {
            if !budget.allows(batch, text.len() + shaper.pending_bytes()) {
                return Ok(false);
            }
            let (start, next) = (self.offset, self.offset + text.len() as u64);
            let mut sink = Sink {
                batch,
                source: &self.source,
                read_at,
            };
            if !text.is_empty() && !self.cut {
                let raw = Raw {
                    text,
                    start,
                    next,
                    continued: self.mid_line,
                    truncated: false,
                };
                shaper.line(raw, &mut sink);
            }
            shaper.flush(next, &mut sink);
            self.trail.append(text);
            (self.offset, self.shipped_to) = (next, next);
            self.mid_line |= !text.is_empty();
            buffer.shrink();
            return Ok(true);
        }
        if self.cut {
            self.trail.append(text);
            self.offset += text.len() as u64;
            buffer.shrink();
            return Ok(true);
        }
        if text.is_empty() {
            return Ok(true);
        }
        if !budget.allows(batch, text.len()) {
            return Ok(false);
        }
        let next = self.offset + text.len() as u64;
        batch.push(&self.source, read_at, text, self.offset, next);
        self.trail.append(text);
        self.offset = next;
        self.shipped_to = next;
        self.mid_line = true;
        buffer.shrink();
        Ok(true)
    }
}

/// The line that begins at `at`, whatever ends it.
fn next_line(
    bytes: &[u8],
    at: usize,
    budget: Budget,
    delimiter: Option<&[u8]>,
    wide: Option<[u8; 2]>,
) -> Option<lines::Framed> {
    let most = budget.max_line_bytes;
    match (delimiter, wide) {
        (Some(delimiter), _) => lines::next_delimited(bytes, at, most, delimiter),
        (None, Some(end)) => lines::next_wide_line(bytes, at, most, end),
        (None, None) => lines::next_line(bytes, at, most),
    }
}

/// Bytes that must be at hand at most to see where a line ends.
fn most_bytes(budget: Budget, delimiter: Option<&[u8]>) -> usize {
    lines::lookahead(budget.max_line_bytes) + delimiter.map_or(2, <[u8]>::len)
}

/// NUL bytes at the beginning.
fn nul_bytes(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| *byte != 0);
    end.unwrap_or(bytes.len())
}

/// How much text there is before a hole, if there is one behind some text.
fn text_before_hole(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = memchr::memchr(0, &bytes[from..]) {
        let at = from + found;
        let length = nul_bytes(&bytes[at..]);
        if length >= LEAST_HOLE {
            return Some(at);
        }
        from = at + length;
    }
    None
}

/// The bytes without a hole at their end.
fn without_nul_bytes(bytes: &[u8]) -> &[u8] {
    let text = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    if bytes.len() - text >= LEAST_HOLE {
        &bytes[..text]
    } else {
        bytes
    }
}

/// Where something else than NUL bytes follows; `None` if nothing does: then they may be room that
/// was allocated ahead.
fn end_of_hole(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<Option<u64>> {
    let data = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        // Not every file system tells.
        Err(_) => offset,
    };
    let mut at = data.max(offset);
    while at - data.max(offset) < MAX_SEARCHED_HOLE {
        let filled = read_fully_at(file, buffer, at)?;
        let hole = nul_bytes(&buffer[..filled]);
        at += hole as u64;
        if hole < filled {
            return Ok(Some(at));
        }
        if filled < buffer.len() {
            break;
        }
    }
    Ok(None)
}
