//! Puts groups of records at the end of the queue: one write and one sync for all of a group.
//!
//! INVARIANT: what [`Appender::append`] says is appended is synced. What it does not say is
//! appended may be on the disk all the same, in part or whole, and is written again under the same
//! sequence numbers.

use std::io;
use std::sync::Arc;

use zstd::bulk::Compressor;

use super::Compression;
use super::format::{
    MAX_PAYLOAD, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader, ZSTD, payload_checksum,
};
use super::state::{Segment, Shared, State, milliseconds_now, segment_name};
use super::storage::StoredFile;

/// Writes the segments. There is one for a queue.
#[derive(Debug)]
pub(super) struct Appender {
    shared: Arc<Shared>,
    tail: Option<Tail>,
    /// The number of the next segment.
    number: u64,
}

#[derive(Debug)]
struct Tail {
    number: u64,
    file: Arc<dyn StoredFile>,
    /// How much of it is synced.
    length: u64,
}

/// Why nothing was appended.
#[derive(Debug)]
pub(super) enum NotAppended {
    /// There is no space below `queue.max_bytes`, or there are `queue.max_events`.
    Full,
    /// The disk refused.
    Disk {
        operation: &'static str,
        file: String,
        error: io::Error,
    },
}

impl Appender {
    /// Begins with segment `number`, once there is something to write.
    pub(super) fn new(shared: Arc<Shared>, number: u64) -> Self {
        Self {
            shared,
            tail: None,
            number,
        }
    }

    /// Appends the records of `group` from number `from` on, as many as there is space for; says
    /// how many that are, at least one. `appended` is told so before any reader can see them.
    pub(super) fn append(
        &mut self,
        group: &Group,
        from: usize,
        appended: impl FnOnce(&mut State, usize),
    ) -> Result<usize, NotAppended> {
        let start = if from == 0 {
            0
        } else {
            group.records[from - 1].end
        };
        let until = self.fitting(group, from, start);
        let Some(last) = until.checked_sub(1).filter(|last| *last >= from) else {
            // What is done with in the last segment can only go when that is closed.
            self.close();
            return Err(NotAppended::Full);
        };
        let capacity = self.shared.options.page_capacity;
        if self
            .tail
            .as_ref()
            .is_some_and(|tail| tail.length >= capacity)
        {
            self.close();
        }
        let records = &group.records[from..until];
        if self.tail.is_none() {
            self.begin(records[0].sequence)?;
        }
        let Some(tail) = &mut self.tail else {
            return Err(NotAppended::Full);
        };
        let bytes = &group.bytes[start..group.records[last].end];
        let written = tail
            .file
            .write_at(bytes, tail.length)
            .map_err(|error| ("write", error));
        let written = written.and_then(|()| tail.file.sync().map_err(|error| ("sync", error)));
        if let Err((operation, error)) = written {
            // What is there of the group would only be read again; a failure here is no worse.
            let _cut = tail.file.set_length(tail.length);
            let file = segment_name(tail.number);
            if operation == "sync" {
                // The system may call pages clean that never reached the disk: this file gets
                // nothing more.
                self.close();
            }
            return Err(NotAppended::Disk {
                operation,
                file,
                error,
            });
        }
        tail.length += bytes.len() as u64;
        let mut state = self.shared.lock();
        state.bytes += bytes.len() as u64;
        state.end = group.records[last].sequence + 1;
        state.unread_events += records
            .iter()
            .map(|record| u64::from(record.events))
            .sum::<u64>();
        let end = state.end;
        if let Some(segment) = state.segments.get_mut(&tail.number) {
            segment.length = tail.length;
            segment.end = end;
        }
        appended(&mut state, until - from);
        drop(state);
        self.shared.added.notify_all();
        Ok(until - from)
    }

    /// Closes the last segment: nothing more is written to it.
    pub(super) fn close(&mut self) {
        let Some(tail) = self.tail.take() else {
            return;
        };
        if let Some(segment) = self.shared.lock().segments.get_mut(&tail.number) {
            segment.closed = true;
        }
        self.shared.acknowledged.notify_one();
    }

    /// The number after the last record that fits.
    fn fitting(&self, group: &Group, from: usize, start: usize) -> usize {
        let options = &self.shared.options;
        let state = self.shared.lock();
        let limit = if state.reserve_free {
            options.max_bytes
        } else {
            options.max_bytes - options.reserve()
        };
        let free = limit.saturating_sub(state.bytes + SEGMENT_HEADER as u64);
        let free_events = match options.max_events {
            0 => u64::MAX,
            limit => limit.saturating_sub(state.unread_events),
        };
        let mut events = 0;
        let mut until = from;
        for record in &group.records[from..] {
            events += u64::from(record.events);
            if (record.end - start) as u64 > free || events > free_events {
                break;
            }
            until += 1;
        }
        // A batch that is larger than the queue goes into it alone.
        let alone = state.is_empty() && state.unread_events == 0;
        if until == from && alone {
            from + 1
        } else {
            until
        }
    }

    fn begin(&mut self, first: u64) -> Result<(), NotAppended> {
        let number = self.number;
        let name = segment_name(number);
        let failed = |operation| {
            let file = name.clone();
            move |error| NotAppended::Disk {
                operation,
                file,
                error,
            }
        };
        let storage = &self.shared.storage;
        let file = storage.create(&name).map_err(failed("create"))?;
        // Whatever happens to this one, its name is used.
        self.number += 1;
        let header = SegmentHeader {
            number,
            first,
            created: milliseconds_now(),
            salt: self.shared.salt,
        };
        let begun = file
            .write_at(&header.to_bytes(), 0)
            .and_then(|()| storage.sync_names());
        if let Err(error) = begun {
            // An empty segment is removed by the next start, if it cannot be now.
            let _removed = storage.remove(&name);
            return Err(failed("begin")(error));
        }
        let length = SEGMENT_HEADER as u64;
        let segment = Segment {
            first,
            end: first,
            length,
            closed: false,
        };
        let mut state = self.shared.lock();
        state.bytes += length;
        state.segments.insert(number, segment);
        drop(state);
        self.tail = Some(Tail {
            number,
            file,
            length,
        });
        Ok(())
    }
}

/// Records that are written together.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    records: Vec<GroupRecord>,
    payload: Vec<u8>,
    compressor: Option<Packer>,
}

#[derive(Debug)]
struct GroupRecord {
    /// Where it ends in `bytes`.
    end: usize,
    sequence: u64,
    events: u32,
}

/// A compressor with its level; zstd's own has no `Debug`.
struct Packer(Compressor<'static>);

impl std::fmt::Debug for Packer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Packer")
    }
}

/// The payload of a batch is longer than a record can be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    pub(super) bytes: usize,
}

impl Group {
    /// A group whose records are packed as `compression` says.
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        let level = compression.level();
        let compressor = level
            .map(|level| Compressor::new(level).map(Packer))
            .transpose()?;
        Ok(Self {
            compressor,
            ..Self::default()
        })
    }

    /// Adds a record whose payload is what `write` appends; gives the payload's length.
    pub(super) fn push(
        &mut self,
        salt: u64,
        sequence: u64,
        events: u32,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<usize, TooLong> {
        let start = self.bytes.len();
        self.bytes.resize(start + RECORD_HEADER, 0);
        let (mut compression, unpacked) = match &mut self.compressor {
            None => {
                write(&mut self.bytes);
                (0, self.bytes.len() - start - RECORD_HEADER)
            }
            Some(packer) => {
                self.payload.clear();
                write(&mut self.payload);
                let unpacked = self.payload.len();
                let bound = zstd::zstd_safe::compress_bound(unpacked);
                let mut packed = Vec::with_capacity(bound);
                match packer.0.compress_to_buffer(&self.payload, &mut packed) {
                    Ok(length) if length < unpacked => {
                        self.bytes.extend_from_slice(&packed);
                        (ZSTD, unpacked)
                    }
                    _ => {
                        self.bytes.extend_from_slice(&self.payload);
                        (0, unpacked)
                    }
                }
            }
        };
        let length = self.bytes.len() - start - RECORD_HEADER;
        if length > MAX_PAYLOAD || unpacked > MAX_PAYLOAD {
            self.bytes.truncate(start);
            return Err(TooLong { bytes: unpacked });
        }
        if unpacked == 0 {
            compression = 0;
        }
        let checksum = payload_checksum(&self.bytes[start + RECORD_HEADER..], salt);
        self.bytes.extend_from_slice(&checksum);
        let header = RecordHeader {
            compression,
            sequence,
            received: milliseconds_now(),
            events,
            length: length as u32,
            unpacked: unpacked as u32,
        };
        self.bytes[start..start + RECORD_HEADER].copy_from_slice(&header.to_bytes(salt));
        self.records.push(GroupRecord {
            end: self.bytes.len(),
            sequence,
            events,
        });
        Ok(unpacked)
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of all records.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    #[cfg(test)]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the records. Memory that only a giant needed is given back.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        for buffer in [&mut self.bytes, &mut self.payload] {
            buffer.clear();
            buffer.shrink_to(MAX_KEPT_BYTES);
        }
    }
}

/// Size above which the buffers of a group are not kept.
const MAX_KEPT_BYTES: usize = 16 << 20;
