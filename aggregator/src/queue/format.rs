//! The bytes of segments, records and checkpoints; their layout is in the head of [`super`].
//!
//! Pure: bytes in, values out. Nothing here trusts a byte that no checksum covers.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::done::Done;

/// The newest version of the format.
pub(super) const VERSION: u16 = 1;

/// Length of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 64;

/// Length of a record's header.
pub(super) const RECORD_HEADER: usize = 48;

/// Length of the checksum behind a payload.
pub(super) const TRAILER: usize = 8;

/// Longest payload, packed or not. A batch is bounded by the limits of its input, which are far
/// below this.
pub(super) const MAX_PAYLOAD: usize = 1 << 30;

/// Length of a slot of the checkpoint.
pub(super) const SLOT: usize = 4096;

/// Most ranges that a slot holds.
pub(super) const MAX_RANGES: usize = (SLOT - TRAILER - RANGES_AT) / 16;

/// What every record starts with.
pub(super) const RECORD_MAGIC: [u8; 4] = [0xa5, b'S', b'R', 0x5a];

const SEGMENT_MAGIC: &[u8; 8] = b"SKIDQSEG";
const CHECKPOINT_MAGIC: &[u8; 8] = b"SKIDQCKP";
const RANGES_AT: usize = 56;

/// Payload packed by zstd.
pub(super) const ZSTD: u8 = 1;

/// Why a header is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// It is no such header, or its checksum is wrong.
    Damaged,
    /// It is whole, and of a version that is not known.
    Version(u16),
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) first: u64,
    pub(super) created: u64,
    pub(super) salt: u64,
}

impl SegmentHeader {
    pub(super) fn to_bytes(self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &(SEGMENT_HEADER as u16).to_le_bytes());
        put(&mut bytes, 16, &self.number.to_le_bytes());
        put(&mut bytes, 24, &self.first.to_le_bytes());
        put(&mut bytes, 32, &self.created.to_le_bytes());
        put(&mut bytes, 40, &self.salt.to_le_bytes());
        let checksum = xxh3_64(&bytes[..56]);
        put(&mut bytes, 56, &checksum.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; SEGMENT_HEADER]) -> Result<Self, BadHeader> {
        if &bytes[..8] != SEGMENT_MAGIC || read_u64(bytes, 56) != xxh3_64(&bytes[..56]) {
            return Err(BadHeader::Damaged);
        }
        let version = read_u16(bytes, 8);
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        Ok(Self {
            number: read_u64(bytes, 16),
            first: read_u64(bytes, 24),
            created: read_u64(bytes, 32),
            salt: read_u64(bytes, 40),
        })
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) compression: u8,
    pub(super) sequence: u64,
    pub(super) received: u64,
    pub(super) events: u32,
    pub(super) length: u32,
    pub(super) unpacked: u32,
}

impl RecordHeader {
    pub(super) fn to_bytes(self, salt: u64) -> [u8; RECORD_HEADER] {
        let mut bytes = [0; RECORD_HEADER];
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4] = self.compression;
        put(&mut bytes, 8, &self.sequence.to_le_bytes());
        put(&mut bytes, 16, &self.received.to_le_bytes());
        put(&mut bytes, 24, &self.events.to_le_bytes());
        put(&mut bytes, 28, &self.length.to_le_bytes());
        put(&mut bytes, 32, &self.unpacked.to_le_bytes());
        let checksum = xxh3_64_with_seed(&bytes[..40], salt);
        put(&mut bytes, 40, &checksum.to_le_bytes());
        bytes
    }

    /// The header that these bytes are, if they are one.
    pub(super) fn from_bytes(bytes: &[u8; RECORD_HEADER], salt: u64) -> Option<Self> {
        if bytes[..4] != RECORD_MAGIC
            || read_u64(bytes, 40) != xxh3_64_with_seed(&bytes[..40], salt)
        {
            return None;
        }
        let header = Self {
            compression: bytes[4],
            sequence: read_u64(bytes, 8),
            received: read_u64(bytes, 16),
            events: read_u32(bytes, 24),
            length: read_u32(bytes, 28),
            unpacked: read_u32(bytes, 32),
        };
        let fits = header.length as usize <= MAX_PAYLOAD && header.unpacked as usize <= MAX_PAYLOAD;
        (fits && header.compression <= ZSTD && header.sequence > 0).then_some(header)
    }

    /// Bytes of the whole record.
    pub(super) fn size(&self) -> u64 {
        (RECORD_HEADER + TRAILER) as u64 + u64::from(self.length)
    }
}

/// The checksum that stands behind a payload.
pub(super) fn payload_checksum(payload: &[u8], salt: u64) -> [u8; TRAILER] {
    xxh3_64_with_seed(payload, salt).to_le_bytes()
}

/// The state of one slot of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) generation: u64,
    pub(super) salt: u64,
    pub(super) next: u64,
    pub(super) done: Done,
}

impl Checkpoint {
    /// The slot; ranges of `done` that do not fit are left out.
    pub(super) fn to_bytes(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[..8].copy_from_slice(CHECKPOINT_MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &1_u16.to_le_bytes());
        put(&mut bytes, 16, &self.generation.to_le_bytes());
        put(&mut bytes, 24, &self.salt.to_le_bytes());
        put(&mut bytes, 32, &self.next.to_le_bytes());
        put(&mut bytes, 48, &self.done.watermark().to_le_bytes());
        let mut count = 0_u16;
        for (first, end) in self.done.ranges().take(MAX_RANGES) {
            let at = RANGES_AT + usize::from(count) * 16;
            put(&mut bytes, at, &first.to_le_bytes());
            put(&mut bytes, at + 8, &end.to_le_bytes());
            count += 1;
        }
        put(&mut bytes, 42, &count.to_le_bytes());
        let checksum = xxh3_64(&bytes[..SLOT - TRAILER]);
        put(&mut bytes, SLOT - TRAILER, &checksum.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; SLOT]) -> Result<Self, BadHeader> {
        let whole = &bytes[..8] == CHECKPOINT_MAGIC
            && read_u64(bytes, SLOT - TRAILER) == xxh3_64(&bytes[..SLOT - TRAILER]);
        if !whole {
            return Err(BadHeader::Damaged);
        }
        let version = read_u16(bytes, 8);
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let mut done = Done::new(read_u64(bytes, 48));
        for range in 0..usize::from(read_u16(bytes, 42)).min(MAX_RANGES) {
            let at = RANGES_AT + range * 16;
            done.insert(read_u64(bytes, at), read_u64(bytes, at + 8));
        }
        Ok(Self {
            generation: read_u64(bytes, 16),
            salt: read_u64(bytes, 24),
            next: read_u64(bytes, 32),
            done,
        })
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_every_changed_bit_is_noticed() {
        let segment = SegmentHeader {
            number: 7,
            first: 1234,
            created: 1_700_000_000_000,
            salt: 99,
        };
        let bytes = segment.to_bytes();
        assert_eq!(SegmentHeader::from_bytes(&bytes), Ok(segment));
        for bit in 0..SEGMENT_HEADER * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::from_bytes(&damaged),
                Err(BadHeader::Damaged),
                "bit {bit}"
            );
        }
        let record = RecordHeader {
            compression: ZSTD,
            sequence: u64::MAX,
            received: 5,
            events: 125,
            length: 1000,
            unpacked: 4000,
        };
        let bytes = record.to_bytes(42);
        assert_eq!(RecordHeader::from_bytes(&bytes, 42), Some(record));
        assert_eq!(RecordHeader::from_bytes(&bytes, 43), None, "another queue");
        for bit in 0..RECORD_HEADER * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::from_bytes(&damaged, 42), None, "bit {bit}");
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = SegmentHeader {
            number: 1,
            first: 2,
            created: 3,
            salt: 4,
        }
        .to_bytes();
        assert_eq!(&bytes[..12], b"SKIDQSEG\x01\x00\x40\x00");
        assert_eq!((bytes[16], bytes[24], bytes[32], bytes[40]), (1, 2, 3, 4));
        let bytes = RecordHeader {
            compression: 0,
            sequence: 1,
            received: 2,
            events: 3,
            length: 4,
            unpacked: 5,
        }
        .to_bytes(0);
        assert_eq!(&bytes[..5], b"\xa5SR\x5a\0");
        assert_eq!(
            (bytes[8], bytes[16], bytes[24], bytes[28], bytes[32]),
            (1, 2, 3, 4, 5)
        );
    }

    #[test]
    fn a_version_to_come_is_told_from_damage() {
        let mut bytes = SegmentHeader {
            number: 1,
            first: 1,
            created: 0,
            salt: 0,
        }
        .to_bytes();
        bytes[8] = 2;
        let checksum = xxh3_64(&bytes[..56]);
        put(&mut bytes, 56, &checksum.to_le_bytes());
        assert_eq!(
            SegmentHeader::from_bytes(&bytes),
            Err(BadHeader::Version(2))
        );
    }

    #[test]
    fn a_checkpoint_keeps_as_many_ranges_as_fit() {
        let mut done = Done::new(10);
        for first in 0..1000 {
            done.insert(20 + first * 2, 21 + first * 2);
        }
        let checkpoint = Checkpoint {
            generation: 3,
            salt: 1,
            next: 5000,
            done,
        };
        let read = Checkpoint::from_bytes(&checkpoint.to_bytes()).unwrap();
        assert_eq!(read.done.watermark(), 10);
        assert_eq!(read.done.ranges().count(), MAX_RANGES);
        assert!(
            read.done
                .ranges()
                .eq(checkpoint.done.ranges().take(MAX_RANGES))
        );
        assert_eq!((read.generation, read.next), (3, 5000));
    }
}
