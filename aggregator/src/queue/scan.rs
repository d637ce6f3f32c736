//! Finds the records of a segment, and where they begin again behind damage.

use std::io;

use memchr::memmem;

use super::format::{
    MAX_PAYLOAD, RECORD_HEADER, RECORD_MAGIC, RecordHeader, TRAILER, ZSTD, payload_checksum,
};
use super::storage::StoredFile;

/// What stands at an offset of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record.
    Record {
        /// Its header.
        header: RecordHeader,
        /// Its payload as it is stored, if that was to be read.
        payload: Vec<u8>,
    },
    /// No record up to `end`, where one begins, or the segment ends.
    Damage {
        /// Where that is.
        end: u64,
    },
}

/// How much of a record is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Only the header.
    Header,
    /// All of it.
    Payload,
}

/// Bytes that are searched at once for the next record.
const SEARCH_BYTES: usize = 1 << 20;

/// What stands at `offset`, in a segment of `length` bytes; nothing at its end.
pub(super) fn find(
    file: &dyn StoredFile,
    offset: u64,
    length: u64,
    salt: u64,
    depth: Depth,
) -> io::Result<Option<Found>> {
    if offset >= length {
        return Ok(None);
    }
    if let Some((header, payload)) = record_at(file, offset, length, salt, depth)? {
        return Ok(Some(Found::Record { header, payload }));
    }
    // Behind the damage a record counts only if all of it is right.
    let mut at = offset + 1;
    let mut bytes = Vec::new();
    while at < length {
        bytes.resize(SEARCH_BYTES.min((length - at) as usize), 0);
        let read = file.read_at(&mut bytes, at)?;
        for position in memmem::find_iter(&bytes[..read], &RECORD_MAGIC) {
            let candidate = at + position as u64;
            if record_at(file, candidate, length, salt, Depth::Payload)?.is_some() {
                return Ok(Some(Found::Damage { end: candidate }));
            }
        }
        if read < bytes.len() || at + read as u64 >= length {
            break;
        }
        // A beginning may lie across the border.
        at += (read - (RECORD_MAGIC.len() - 1)) as u64;
    }
    Ok(Some(Found::Damage { end: length }))
}

fn record_at(
    file: &dyn StoredFile,
    offset: u64,
    length: u64,
    salt: u64,
    depth: Depth,
) -> io::Result<Option<(RecordHeader, Vec<u8>)>> {
    let mut bytes = [0; RECORD_HEADER];
    if length - offset < RECORD_HEADER as u64 || file.read_at(&mut bytes, offset)? < bytes.len() {
        return Ok(None);
    }
    let Some(header) = RecordHeader::from_bytes(&bytes, salt) else {
        return Ok(None);
    };
    if header.size() > length - offset {
        return Ok(None);
    }
    if depth == Depth::Header {
        return Ok(Some((header, Vec::new())));
    }
    let mut payload = vec![0; header.length as usize + TRAILER];
    if file.read_at(&mut payload, offset + RECORD_HEADER as u64)? < payload.len() {
        return Ok(None);
    }
    let checksum = payload.split_off(header.length as usize);
    if checksum != payload_checksum(&payload, salt) {
        return Ok(None);
    }
    Ok(Some((header, payload)))
}

/// The payload as it was before it was packed; nothing if it cannot be unpacked.
pub(super) fn unpack(header: &RecordHeader, payload: Vec<u8>) -> Option<Vec<u8>> {
    if header.compression != ZSTD {
        return (payload.len() == header.unpacked as usize).then_some(payload);
    }
    let length = header.unpacked as usize;
    if length > MAX_PAYLOAD {
        return None;
    }
    let unpacked = zstd::bulk::decompress(&payload, length).ok()?;
    (unpacked.len() == length).then_some(unpacked)
}
