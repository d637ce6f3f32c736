//! The registry: up to where each file has been acknowledged.
//!
//! INVARIANT: a position moves only when the receiver has acknowledged the lines before it. So
//! after any crash reading begins at or before the first line that is not safe: lines may be
//! sent twice, none is skipped.
//!
//! [`Ledger`] is the copy in memory, [`format`] its bytes on disk, [`store`] the files and the
//! lock, [`import`] the one-time reading of logstash-forwarder's registry.

pub mod format;
pub mod import;
pub mod store;

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::tail::identity::{Fingerprint, Identity, Mark};

/// What is known about one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Device and inode.
    #[serde(flatten)]
    pub identity: Identity,
    /// Time of birth in nanoseconds since 1970, where the file system tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<u64>,
    /// Hash of its first bytes.
    pub fingerprint: Fingerprint,
    /// Everything before this position is acknowledged.
    pub offset: u64,
    /// Hash of text just before the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The path it was found at first; its events carry this one.
    #[serde(with = "format::path")]
    pub path: PathBuf,
    /// When it was last seen, in seconds since 1970.
    pub seen: u64,
}

/// The registry in memory: entries by the id of the source that feeds them, and the entries
/// of the last run that no source has claimed yet.
#[derive(Debug, Default)]
pub struct Ledger {
    /// When the first registry was made here, in seconds since 1970; 0 if not known.
    pub created: u64,
    active: HashMap<u64, Entry>,
    unclaimed: Vec<Entry>,
    dirty: bool,
}

impl Ledger {
    /// A ledger with the entries of an earlier run.
    pub fn new(created: u64, entries: Vec<Entry>) -> Self {
        Self {
            created,
            active: HashMap::new(),
            unclaimed: entries,
            dirty: false,
        }
    }

    /// The entries that no file of this run has been recognised as.
    pub fn unclaimed(&self) -> &[Entry] {
        &self.unclaimed
    }

    /// Whether a source with this identity could be in the ledger unclaimed.
    pub fn find_unclaimed(&self, identity: Identity) -> Option<&Entry> {
        self.unclaimed
            .iter()
            .find(|entry| entry.identity == identity)
    }

    /// Takes the entry of this identity out, to be given to a source or thrown away.
    pub fn claim(&mut self, identity: Identity) -> Option<Entry> {
        let index = self
            .unclaimed
            .iter()
            .position(|entry| entry.identity == identity)?;
        self.dirty = true;
        Some(self.unclaimed.swap_remove(index))
    }

    /// Begins to keep the position of a source.
    pub fn insert(&mut self, source: u64, entry: Entry) {
        self.dirty = true;
        self.active.insert(source, entry);
    }

    /// What is known of a source.
    pub fn entry(&self, source: u64) -> Option<&Entry> {
        self.active.get(&source)
    }

    /// The first bytes of a file have become more.
    pub fn update_fingerprint(&mut self, source: u64, fingerprint: Fingerprint) {
        if let Some(entry) = self.active.get_mut(&source)
            && entry.fingerprint != fingerprint
        {
            entry.fingerprint = fingerprint;
            self.dirty = true;
        }
    }

    /// The file has been seen now.
    pub fn touch(&mut self, source: u64, now: u64) {
        if let Some(entry) = self.active.get_mut(&source) {
            entry.seen = now;
        }
    }

    /// The file's content is gone (deleted and drained, or truncated).
    pub fn remove(&mut self, source: u64) {
        self.dirty |= self.active.remove(&source).is_some();
    }

    /// The file is no longer followed, but may come back.
    pub fn release(&mut self, source: u64) {
        if let Some(entry) = self.active.remove(&source) {
            self.unclaimed.push(entry);
        }
    }

    /// The receiver has these lines of the batch.
    pub fn acknowledge(&mut self, batch: &Batch, lines: Range<usize>) {
        for line in batch.last_lines(lines) {
            let Some(entry) = self.active.get_mut(&line.source.id) else {
                continue;
            };
            debug_assert!(line.next >= entry.offset, "positions only move forward");
            entry.offset = entry.offset.max(line.next);
            entry.mark = Mark::of(line.text, line.start + line.text.len() as u64).or(entry.mark);
            self.dirty = true;
        }
    }

    /// Whether there is something to save, which the caller is about to do.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Whether there is something to save.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// There is something to save after all: saving failed.
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// Forgets the unclaimed entries that were last seen before this time.
    pub fn forget(&mut self, seen_before: u64) -> usize {
        let before = self.unclaimed.len();
        self.unclaimed.retain(|entry| entry.seen >= seen_before);
        let forgotten = before - self.unclaimed.len();
        self.dirty |= forgotten > 0;
        forgotten
    }

    /// Every entry, in the order of the paths, for saving.
    pub fn entries(&self) -> Vec<&Entry> {
        let mut entries: Vec<_> = self.active.values().chain(&self.unclaimed).collect();
        entries.sort_by(|left, right| {
            let key = |entry: &Entry| (entry.identity.device, entry.identity.inode);
            left.path
                .cmp(&right.path)
                .then_with(|| key(left).cmp(&key(right)))
        });
        entries
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::rc::Rc;

    use super::*;
    use crate::event::Source;

    pub(crate) fn entry(inode: u64, offset: u64) -> Entry {
        Entry {
            identity: Identity { device: 7, inode },
            born: Some(inode * 1000),
            fingerprint: Fingerprint::of(b"head"),
            offset,
            mark: Mark::of(b"last line", offset),
            path: format!("/var/log/{inode}.log").into(),
            seen: 1_700_000_000,
        }
    }

    #[test]
    fn positions_follow_the_acknowledged_lines_of_each_source() {
        let source = |id| Rc::new(Source::new(id, true, Path::new("/a"), "h", &[]));
        let (one, two) = (source(1), source(2));
        let mut batch = Batch::default();
        batch.push(&one, 0, b"a", 10, 12);
        batch.push(&two, 0, b"b", 0, 2);
        batch.push(&one, 0, b"c", 12, 14);
        let mut ledger = Ledger::default();
        ledger.insert(1, entry(1, 10));
        ledger.insert(2, entry(2, 0));
        ledger.acknowledge(&batch, 0..1);
        assert_eq!(ledger.entry(1).map(|entry| entry.offset), Some(12));
        assert_eq!(ledger.entry(2).map(|entry| entry.offset), Some(0));
        ledger.acknowledge(&batch, 1..3);
        assert_eq!(ledger.entry(1).map(|entry| entry.offset), Some(14));
        assert_eq!(
            ledger.entry(1).and_then(|entry| entry.mark),
            Mark::of(b"c", 13)
        );
        assert_eq!(ledger.entry(2).map(|entry| entry.offset), Some(2));
    }

    #[test]
    fn a_source_that_was_replaced_does_not_move_its_successor() {
        let source = Rc::new(Source::new(1, true, Path::new("/a"), "h", &[]));
        let mut batch = Batch::default();
        batch.push(&source, 0, b"a", 10, 12);
        let mut ledger = Ledger::default();
        ledger.insert(1, entry(1, 10));
        ledger.remove(1);
        ledger.insert(2, entry(1, 0));
        ledger.acknowledge(&batch, 0..1);
        assert_eq!(ledger.entry(2).map(|entry| entry.offset), Some(0));
    }

    #[test]
    fn old_entries_are_forgotten() {
        let mut ledger = Ledger::new(0, vec![entry(1, 5)]);
        assert_eq!(ledger.forget(1_600_000_000), 0);
        assert_eq!(ledger.forget(1_800_000_000), 1);
        assert!(ledger.take_dirty() && !ledger.take_dirty());
    }
}
