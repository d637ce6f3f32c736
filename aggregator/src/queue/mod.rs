//! The disk queue (`queue.type: persisted`): what has been received and not yet delivered, in files.
//!
//! With it a batch is acknowledged to its sender when it is on the disk (fsync); without it, when
//! the outputs have it. A record is one batch as it was received, not decoded: the workers do
//! that, whether they get the batch from memory (as long as they keep up) or from the disk.
//!
//! # Files
//!
//! All in one directory, `<path.queue>/<pipeline.id>`; numbers are little-endian, checksums are
//! XXH3 with 64 bits, seeded with the queue's salt.
//!
//! | name | what |
//! |---|---|
//! | `lock` | locked by the process that has the queue |
//! | `checkpoint` | which records are done with |
//! | `reserve` | space that a stop may use when the queue or the disk is full; holds nothing |
//! | `000000001.segment` … | records, in the order of their sequence numbers |
//! | `000000001-4096.damaged` | bytes of a segment (from that offset) that could not be read: moved aside, nothing here looks at them again |
//!
//! A segment starts with 64 bytes:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `SKIDQSEG` |
//! | 8 | 2 | version of the format: 1 |
//! | 10 | 2 | length of this header: 64 |
//! | 12 | 4 | 0 |
//! | 16 | 8 | number of the segment, as in its name |
//! | 24 | 8 | sequence number of its first record |
//! | 32 | 8 | when it was begun, milliseconds since 1970 |
//! | 40 | 8 | the queue's salt |
//! | 48 | 8 | 0 |
//! | 56 | 8 | checksum of bytes 0 to 55, without salt |
//!
//! Records follow each other without gaps: a header of 48 bytes, the payload, and its checksum (8 bytes).
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | `A5 53 52 5A` |
//! | 4 | 1 | compression of the payload: 0 none, 1 zstd |
//! | 5 | 3 | 0 |
//! | 8 | 8 | sequence number: one more for each record of the queue, the first is 1 |
//! | 16 | 8 | when it was received, milliseconds since 1970 |
//! | 24 | 4 | records (lines, frames) in the batch |
//! | 28 | 4 | length of the payload as it stands here |
//! | 32 | 4 | length of the payload unpacked |
//! | 36 | 4 | 0 |
//! | 40 | 8 | checksum of bytes 0 to 39 |
//!
//! What the payload means is said in [`stored`]: the name of the input, a form, and the bytes.
//! The salt is there because payloads are written by strangers: without it a log line could hold
//! something that looks like a record, and be taken for one behind a damaged place.
//!
//! The checkpoint has two slots of 4096 bytes:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `SKIDQCKP` |
//! | 8 | 2 | version of the format: 1 |
//! | 10 | 2 | number of cursors: 1 |
//! | 12 | 4 | 0 |
//! | 16 | 8 | generation: the slot with the higher one counts |
//! | 24 | 8 | the queue's salt |
//! | 32 | 8 | the sequence number after the last one that was given out |
//! | 40 | 2 | length of the cursor's name: 0, for "all outputs" |
//! | 42 | 2 | number of ranges |
//! | 44 | 4 | 0 |
//! | 48 | 8 | the first sequence number that is not done with |
//! | 56 | 16 each | ranges of later ones that are done with: first, and after the last |
//! | 4088 | 8 | checksum of bytes 0 to 4087, without salt |
//!
//! There is one cursor. An output that must not hold the others back has a queue of its own instead ([`places`]), whose
//! records are packed events.
//!
//! # Invariants
//!
//! * A batch is acknowledged upstream only after a sync of the segment that holds it has
//!   succeeded. After a sync that failed, nothing written to that file since the one before it is
//!   trusted: the file is closed at the length that was synced last, and the records are written
//!   again to a new one.
//! * A record is handed to the workers only after that, so sequence numbers that have been seen
//!   outside never change their meaning.
//! * A record is done with when every output has every event of it safe (see [`crate::ack`]). A segment
//!   is removed only after a checkpoint that says that all of it is done with has been synced.
//! * Of the two slots, the one that was synced last is never written to; so a torn write costs
//!   the newer state and nothing else. Checkpoints between syncs survive a kill of the process, but not a
//!   power cut.
//! * No file is written to by two processes; a segment that is closed is never written to again.
//!
//! # Recovery
//!
//! Opening looks at every segment: at the headers of the records only, and in the last segment at the payloads
//! too. In the last segment, bytes at the end without a whole record behind them are what a crash
//! left of a write that was not acknowledged: they are cut off. Everywhere else bytes that
//! are no record are damage: they are copied to a `.damaged` file, said in the log, and skipped;
//! the search for the next record goes on behind them. Damage in a payload is found
//! when the record is read. Writing goes on in a new segment. What a checkpoint did not know yet to
//! be delivered is delivered again.
//!
//! # Full
//!
//! A group that does not fit below `queue.max_bytes` (less the reserve), or that the disk does not
//! take, is tried again until it fits; meanwhile nothing is taken from the inputs, which stops the
//! senders. When the process is asked to stop, the reserve is given to what has been received.

mod appender;
mod checkpoint;
pub mod command;
mod done;
mod format;
mod open;
pub(crate) mod packed;
pub(crate) mod places;
mod reader;
mod running;
mod scan;
mod state;
pub(crate) mod storage;
pub mod stored;
mod writing;

#[cfg(test)]
mod faults;
#[cfg(test)]
mod model;

use std::path::PathBuf;

pub(crate) use self::running::{DiskQueue, QueueGauge, RunningQueue};
pub(crate) use self::writing::WhenFull;

/// How much zstd does to records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    None,
    /// Level 1.
    Speed,
    /// Level 3.
    Balanced,
    /// Level 9.
    Size,
}

impl Compression {
    /// The value of `queue.compression` that is called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "speed" => Self::Speed,
            "balanced" => Self::Balanced,
            "size" => Self::Size,
            _ => return None,
        })
    }

    fn level(self) -> Option<i32> {
        match self {
            Self::None => None,
            Self::Speed => Some(1),
            Self::Balanced => Some(3),
            Self::Size => Some(9),
        }
    }
}

/// The settings of the disk queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// `queue.type` is `persisted`.
    pub persisted: bool,
    /// `path.queue`, if it is set.
    pub path: Option<PathBuf>,
    /// `queue.page_capacity`: a segment is closed when it has reached this size.
    pub page_capacity: u64,
    /// `queue.max_bytes`
    pub max_bytes: u64,
    /// `queue.max_events` or `queue.max_unread_events`; 0 for no limit.
    pub max_events: u64,
    /// `queue.checkpoint.acks`; 0 for only by time.
    pub checkpoint_acks: u64,
    /// `queue.checkpoint.interval`
    pub checkpoint_interval: std::time::Duration,
    /// `queue.drain`
    pub drain: bool,
    /// `queue.compression`
    pub compression: Compression,
    /// Outputs may have queues of their own. Not in what runs beside a process that has them.
    pub own_queues: bool,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            persisted: false,
            path: None,
            page_capacity: 64 << 20,
            max_bytes: 1 << 30,
            max_events: 0,
            checkpoint_acks: 1024,
            checkpoint_interval: std::time::Duration::from_secs(1),
            drain: false,
            compression: Compression::None,
            own_queues: true,
        }
    }
}

impl QueueOptions {
    /// The part of `queue.max_bytes` that is kept for a stop.
    pub fn reserve(&self) -> u64 {
        (self.max_bytes / 16).min(MAX_RESERVE_BYTES)
    }
}

/// What is in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFigures {
    /// Records (lines) that no worker has taken.
    pub events: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// The same, but 0 if all in them is delivered.
    pub waiting_bytes: u64,
    /// `queue.max_bytes`
    pub max_bytes: u64,
    /// The part of it at which the inputs are stopped.
    pub limit: u64,
    /// `queue.max_events`
    pub max_events: u64,
}

/// Most bytes of the reserve; it is a sixteenth of `queue.max_bytes` if that is less.
pub const MAX_RESERVE_BYTES: u64 = 16 << 20;

/// Why the queue cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The disk refused.
    #[error("the queue in {}: cannot {operation}: {source}", path.display())]
    Disk {
        /// The queue's directory.
        path: PathBuf,
        /// What was tried, with the name of the file.
        operation: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "the queue in {} is in use by another process: stop it, or give this one another `path.data` \
         or `pipeline.id`", path.display()
    )]
    Locked {
        /// The queue's directory.
        path: PathBuf,
    },
    /// Made by a version to come.
    #[error(
        "the queue in {}: {file} has format version {version}, and this program knows versions up to \
         {known}: use the program that wrote it, or let that one drain it", path.display()
    )]
    Newer {
        /// The queue's directory.
        path: PathBuf,
        /// The file.
        file: String,
        /// Its version.
        version: u16,
        /// The newest version that is known here.
        known: u16,
    },
    /// There is no queue.
    #[error("there is no queue in {}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
}
