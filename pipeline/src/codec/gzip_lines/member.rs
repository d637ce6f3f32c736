//! A member of a gzip stream (RFC 1952), unpacked in steps.
//!
//! ```text
//! 1F 8B 08 FLAGS MTIME(4) XFL OS [extra] [name 0] [comment 0] [CRC16]  deflate  CRC32(4) LENGTH(4)
//! ```
//!
//! INVARIANT: a step takes in and gives out a bounded number of bytes, whatever the member holds.

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// How many bytes a step unpacks at most.
const STEP: usize = 32 << 10;

/// The longest header: names in it have no length of their own.
pub(super) const MAX_HEADER: usize = 128 << 10;

const FIXED: usize = 10;
const TRAILER: usize = 8;

/// It is no gzip, or damaged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// A member that is being unpacked.
pub(super) struct Member {
    stage: Stage,
    inflate: Decompress,
    sum: Crc,
    unpacked: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    Body,
    Trailer,
    Done,
}

impl Member {
    /// One of which nothing has been read.
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Header,
            inflate: Decompress::new(false),
            sum: Crc::new(),
            unpacked: Vec::new(),
        }
    }

    /// Whether it was read to its end, and is sound.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether something of it was read.
    pub(super) fn has_begun(&self) -> bool {
        self.stage != Stage::Header
    }

    /// Goes on with what follows in the stream: how many bytes of it are done with, and what is
    /// unpacked. Nothing if more is needed.
    pub(super) fn step(&mut self, packed: &[u8]) -> Result<Option<(usize, &[u8])>, Broken> {
        match self.stage {
            Stage::Header => {
                let length = header_length(packed)?;
                if length.is_some() {
                    self.stage = Stage::Body;
                    self.unpacked.resize(STEP, 0);
                }
                Ok(length.map(|length| (length, &[][..])))
            }
            Stage::Body => {
                let before = (self.inflate.total_in(), self.inflate.total_out());
                let status = self
                    .inflate
                    .decompress(packed, &mut self.unpacked, FlushDecompress::None)
                    .map_err(|_| Broken)?;
                let read = (self.inflate.total_in() - before.0) as usize;
                let unpacked = (self.inflate.total_out() - before.1) as usize;
                let unpacked = &self.unpacked[..unpacked];
                self.sum.update(unpacked);
                if status == Status::StreamEnd {
                    self.stage = Stage::Trailer;
                } else if read == 0 && unpacked.is_empty() {
                    return Ok(None);
                }
                Ok(Some((read, unpacked)))
            }
            Stage::Trailer => {
                let Some(trailer) = packed.first_chunk::<TRAILER>() else {
                    return Ok(None);
                };
                let [c0, c1, c2, c3, l0, l1, l2, l3] = *trailer;
                let sum = u32::from_le_bytes([c0, c1, c2, c3]);
                let length = u32::from_le_bytes([l0, l1, l2, l3]);
                if sum != self.sum.sum() || length != self.sum.amount() {
                    return Err(Broken);
                }
                self.stage = Stage::Done;
                Ok(Some((TRAILER, &[])))
            }
            Stage::Done => Ok(None),
        }
    }
}

/// The length of the header at the start of some bytes; nothing if it is not whole.
fn header_length(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    const EXTRA: u8 = 1 << 2;
    const NAME: u8 = 1 << 3;
    const COMMENT: u8 = 1 << 4;
    const SUM: u8 = 1 << 1;
    const MAGIC: [u8; 3] = [0x1F, 0x8B, 8];
    let there = bytes.len().min(MAGIC.len());
    if bytes[..there] != MAGIC[..there] {
        return Err(Broken);
    }
    let whole = || {
        let flags = *bytes.get(3)?;
        let mut end = FIXED;
        if flags & EXTRA != 0 {
            let length = [*bytes.get(end)?, *bytes.get(end + 1)?];
            end += 2 + usize::from(u16::from_le_bytes(length));
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                end += memchr::memchr(0, bytes.get(end..)?)? + 1;
            }
        }
        if flags & SUM != 0 {
            end += 2;
        }
        (end <= bytes.len()).then_some(end)
    };
    let length = whole();
    if length.unwrap_or(bytes.len()) > MAX_HEADER {
        return Err(Broken);
    }
    Ok(length)
}

/// Appends a member with a text that is not packed.
pub(super) fn write_stored(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF]);
    let mut blocks = text.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    if text.is_empty() {
        out.extend_from_slice(&[1, 0, 0, 0xFF, 0xFF]);
    }
    let mut sum = Crc::new();
    sum.update(text);
    out.extend_from_slice(&sum.sum().to_le_bytes());
    out.extend_from_slice(&sum.amount().to_le_bytes());
}

/// Appends the start of a member that is cut off.
pub(super) fn write_cut_off(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF]);
}
