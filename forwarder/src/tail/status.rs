//! What there is to tell about the files, when somebody asks.
//!
//! Looking through all of them costs what there are; it is done for a question only.

use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use super::Tails;
use super::file::Tail;
use crate::health::PAGE;
use crate::health::status::{FileRow, Totals};

/// The size of the blocks that `stat` counts in.
pub(super) const BLOCK: u64 = 512;

impl Tails {
    /// All files taken together.
    pub fn totals(&self) -> Totals {
        let now = SystemTime::now();
        let mut totals = Totals {
            files: self.known.len(),
            open_files: self.open_files,
            rotated_files: self.missing.len(),
            waiting_files: self.room.waiting(),
            ..Totals::default()
        };
        let mut oldest: Option<(f64, &Tail, u64)> = None;
        for tail in self.known.values() {
            let acknowledged = self.acknowledged(tail);
            totals.unread_bytes += tail.behind();
            totals.lag_bytes += lag(tail, acknowledged);
            if let Some(age) = age(tail, acknowledged, now)
                && oldest.is_none_or(|(known, ..)| known < age)
            {
                oldest = Some((age, tail, acknowledged));
            }
        }
        if let Some((age, tail, offset)) = oldest {
            totals.lag_seconds = age;
            totals.oldest_file = Some(tail.path.to_string_lossy().into_owned());
            totals.oldest_offset = Some(offset);
        }
        for key in &self.missing {
            let held = self.known.get(key).map_or(0, |tail| held_bytes(tail));
            totals.held_bytes += held;
            totals.held_files += usize::from(held > 0);
        }
        totals
    }

    /// The next files after this key, by key, and the last key of them.
    pub fn page(&self, after: u64) -> (Vec<FileRow>, u64) {
        let now = SystemTime::now();
        // PERF: keys are in no order. To look through all of them for each page costs a
        // millisecond for 100,000 files, and needs no second list of them.
        let mut keys: Vec<u64> = Vec::with_capacity(2 * PAGE);
        for key in self.known.keys().filter(|key| **key > after) {
            keys.push(*key);
            if keys.len() == keys.capacity() {
                keys.select_nth_unstable(PAGE);
                keys.truncate(PAGE);
            }
        }
        keys.sort_unstable();
        keys.truncate(PAGE);
        let rows = keys.iter().filter_map(|key| {
            let tail = self.known.get(key)?;
            let acknowledged = self.acknowledged(tail);
            let held_bytes = if tail.missing_since.is_some() {
                held_bytes(tail)
            } else {
                0
            };
            Some(FileRow {
                path: tail.path.to_string_lossy().into_owned(),
                state: state(tail).to_owned(),
                size: tail.size.max(tail.offset),
                read: tail.offset,
                acknowledged,
                lag_bytes: lag(tail, acknowledged),
                lag_seconds: age(tail, acknowledged, now).unwrap_or(0.0),
                held_bytes,
            })
        });
        (rows.collect(), keys.last().copied().unwrap_or(after))
    }

    pub(super) fn acknowledged(&self, tail: &Tail) -> u64 {
        let ledger = self.ledger.borrow();
        ledger
            .entry(tail.source.id)
            .map_or(tail.offset, |entry| entry.offset)
    }
}

fn state(tail: &Tail) -> &'static str {
    match (tail.missing_since.is_some(), tail.is_open()) {
        (true, true) if tail.is_deleted() => "deleted",
        (true, _) => "rotated",
        (false, true) => "open",
        (false, false) => "closed",
    }
}

fn lag(tail: &Tail, acknowledged: u64) -> u64 {
    // A last line end may be left that is never shipped.
    let end = tail.size.saturating_sub(tail.rest).max(tail.shipped_to);
    end.saturating_sub(acknowledged)
}

fn age(tail: &Tail, acknowledged: u64, now: SystemTime) -> Option<f64> {
    if lag(tail, acknowledged) == 0 {
        return None;
    }
    let since = tail.arrivals.since(acknowledged)?;
    Some(now.duration_since(since).unwrap_or_default().as_secs_f64())
}

/// The disk space that is free only when we close the file.
pub(super) fn held_bytes(tail: &Tail) -> u64 {
    let metadata = tail.file().and_then(|file| file.metadata().ok());
    metadata
        .filter(|metadata| metadata.nlink() == 0)
        .map_or(0, |metadata| metadata.blocks() * BLOCK)
}
