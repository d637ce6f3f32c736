//! The registry: up to where each file has been acknowledged.
//!
//! INVARIANT: a position moves only when the receiver has acknowledged the lines before it. So
//! after any crash reading begins at or before the first line that is not safe: lines may be
//! sent twice, none is skipped.
//!
//! [`Ledger`] is the copy in memory and knows what has changed since it was last saved, [`format`]
//! its bytes on disk, [`store`] the files and the lock, `unclaimed` finds what no file was recognised as yet, [`machine`] whose it is, [`import`] the
//! one-time reading of another shipper's registry, [`state`] the command that shows and mends it.

pub mod filebeat;
pub mod format;
pub mod import;
pub mod machine;
mod sincedb;
pub mod state;
pub mod store;
mod unclaimed;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::unclaimed::Unclaimed;
use crate::batch::Batch;
use crate::event::StreamId;
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
    /// The position in the words of its source, where the number says nothing to it: of a journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Box<str>>,
    /// The path it was found at first; its events carry this one.
    #[serde(with = "format::path")]
    pub path: PathBuf,
    /// Whether this is a compressed file, and all of it is acknowledged; positions are in what it
    /// unpacks to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<bool>,
    /// The name of the stream that its lines are of; registries of before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamId>,
    /// When it was last seen, in seconds since 1970.
    pub seen: u64,
}

/// Where a batch leaves a source: what remains of its lines when they are acknowledged out of order.
#[derive(Clone, Debug)]
pub struct Position {
    source: u64,
    next: u64,
    mark: Option<Mark>,
    cursor: Option<Box<str>>,
}

impl Position {
    /// Notes the last of each source in these lines.
    pub fn collect(batch: &Batch, lines: Range<usize>, positions: &mut HashMap<u64, Self>) {
        for line in batch.last_lines(lines) {
            let position = Self {
                source: line.source.id,
                next: line.next,
                mark: line.mark(),
                cursor: line.cursor().map(Box::from),
            };
            positions.insert(position.source, position);
        }
    }
}

/// What has to be written about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Only its position has moved.
    Moved,
    /// Everything.
    All,
    /// That it is forgotten.
    Gone,
}

/// The registry in memory: entries by a number of their own, which of them a source feeds, and
/// those of the last run that no source has claimed yet.
#[derive(Debug, Default)]
pub struct Ledger {
    /// When the first registry was made here, in seconds since 1970; 0 if not known.
    pub created: u64,
    /// The machine it belongs to.
    pub machine: Option<String>,
    entries: BTreeMap<u64, Entry>,
    /// Source to number.
    active: HashMap<u64, u64>,
    unclaimed: Unclaimed,
    /// Sources whose file ends before what was read of them.
    limits: HashMap<u64, u64>,
    next_number: u64,
    changes: BTreeMap<u64, Change>,
    /// Whether there are streams whose names were not saved yet.
    new_streams: bool,
}

impl Ledger {
    /// A ledger with the entries of an earlier run.
    pub fn new(created: u64, machine: Option<String>, entries: Vec<Entry>) -> Self {
        let mut ledger = Self {
            created,
            machine,
            ..Self::default()
        };
        for entry in entries {
            let number = ledger.add(entry);
            ledger.set_unclaimed(number);
        }
        ledger.changes.clear();
        ledger
    }

    fn add(&mut self, entry: Entry) -> u64 {
        self.next_number += 1;
        self.entries.insert(self.next_number, entry);
        self.changes.insert(self.next_number, Change::All);
        self.next_number
    }

    fn set_unclaimed(&mut self, number: u64) {
        if let Some(entry) = self.entries.get(&number) {
            self.unclaimed.insert(number, entry);
        }
    }

    fn set_claimed(&mut self, number: u64) {
        if let Some(entry) = self.entries.get(&number) {
            self.unclaimed.remove(number, entry);
        }
    }

    /// The unclaimed entries whose first bytes have this hash, the youngest first.
    pub fn find_unclaimed_content(&self, hash: u64) -> impl Iterator<Item = u64> {
        self.unclaimed.of_content(hash)
    }

    /// The unclaimed entries of this path, the youngest first.
    pub fn find_unclaimed_path<'a>(&'a self, path: &Path) -> impl Iterator<Item = u64> + use<'a> {
        self.unclaimed.of_path(path)
    }

    /// The unclaimed entry with this number.
    pub fn unclaimed_entry(&self, number: u64) -> Option<&Entry> {
        let entry = self.entries.get(&number)?;
        self.unclaimed.contains(number).then_some(entry)
    }

    /// The identity is now that of a file with other content than the unclaimed entries tell of. Those of which something
    /// was read are kept for a copy of it, but not found by their identity any more.
    pub fn pass_on(&mut self, identity: Identity) {
        let numbers: Vec<u64> = self.unclaimed.of_identity(identity).collect();
        for number in numbers {
            match self.entries.get(&number) {
                Some(entry) if entry.offset > 0 || entry.fingerprint.length > 0 => {
                    self.unclaimed.orphan(number, entry);
                }
                _ => self.delete(number),
            }
        }
    }

    /// The file of a source ends here, though more was read before it was copied to where it is now.
    pub fn limit(&mut self, source: u64, end: u64) {
        self.limits.insert(source, end);
        self.change(source, |entry| {
            if entry.offset > end {
                (entry.offset, entry.mark) = (end, None);
            }
        });
    }

    fn delete(&mut self, number: u64) {
        self.set_claimed(number);
        if self.entries.remove(&number).is_some() {
            self.changes.insert(number, Change::Gone);
        }
    }

    /// The entries that no file of this run has been recognised as, with their numbers.
    pub fn unclaimed(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let numbers = self.unclaimed.numbers();
        numbers.filter_map(|number| Some((number, self.entries.get(&number)?)))
    }

    /// The unclaimed entries of this identity with their numbers, the youngest first.
    pub fn find_unclaimed(&self, identity: Identity) -> impl Iterator<Item = (u64, &Entry)> {
        let numbers = self.unclaimed.of_identity(identity);
        numbers.filter_map(|number| Some((number, self.entries.get(&number)?)))
    }

    /// Drops the unclaimed entries of this identity: what they tell of is gone.
    pub fn forget_unclaimed(&mut self, identity: Identity) {
        let numbers: Vec<u64> = self.unclaimed.of_identity(identity).collect();
        for number in numbers {
            self.delete(number);
        }
    }

    /// Begins to keep the position of a source.
    pub fn insert(&mut self, source: u64, entry: Entry) {
        self.new_streams = true;
        let number = self.add(entry);
        self.active.insert(source, number);
    }

    /// A source goes on with an unclaimed entry, which is now this.
    pub fn claim(&mut self, source: u64, number: u64, entry: Entry) {
        self.set_claimed(number);
        let known = self.entries.get(&number);
        self.new_streams |= known.is_none_or(|known| known.stream != entry.stream);
        if known != Some(&entry) {
            self.changes.insert(number, Change::All);
            self.entries.insert(number, entry);
        }
        self.active.insert(source, number);
    }

    /// What is known of a source.
    pub fn entry(&self, source: u64) -> Option<&Entry> {
        self.entries.get(self.active.get(&source)?)
    }

    /// Changes what is known of a source, other than its position.
    pub fn change(&mut self, source: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(number) = self.active.get(&source)
            && let Some(entry) = self.entries.get_mut(number)
        {
            change(entry);
            self.changes.insert(*number, Change::All);
        }
    }

    /// The first bytes of a file have become more.
    pub fn update_fingerprint(&mut self, source: u64, fingerprint: Fingerprint) {
        let Some(entry) = self.entry(source) else {
            return;
        };
        if entry.fingerprint != fingerprint {
            // The name alone does not tell the lines that are sent under it from those that are written in their
            // place after a crash.
            self.new_streams |= entry.fingerprint.length == 0;
            self.change(source, |entry| entry.fingerprint = fingerprint);
        }
    }

    /// The file has been seen now. Written only with the next change of it, or with all of it.
    pub fn touch(&mut self, source: u64, now: u64) {
        if let Some(number) = self.active.get(&source)
            && let Some(entry) = self.entries.get_mut(number)
        {
            entry.seen = now;
        }
    }

    /// The file's content is gone (deleted and drained, or truncated).
    pub fn remove(&mut self, source: u64) {
        self.limits.remove(&source);
        if let Some(number) = self.active.remove(&source) {
            self.delete(number);
        }
    }

    /// The file is no longer followed, but may come back.
    pub fn release(&mut self, source: u64) {
        self.limits.remove(&source);
        if let Some(number) = self.active.remove(&source) {
            self.set_unclaimed(number);
        }
    }

    /// The receiver has these lines of the batch.
    pub fn acknowledge(&mut self, batch: &Batch, lines: Range<usize>) {
        for line in batch.last_lines(lines) {
            let cursor = || line.cursor().map(Box::from);
            self.move_to(line.source.id, line.next, || line.mark(), cursor);
        }
    }

    /// Whether a name of a stream has to be saved, or what its file begins with, before lines are sent under it: after
    /// a crash they are sent again, and are to be known by the same name, and no others.
    pub fn has_new_streams(&self) -> bool {
        self.new_streams
    }

    /// The receiver has everything up to these positions.
    pub fn acknowledge_positions(&mut self, positions: impl IntoIterator<Item = Position>) {
        for position in positions {
            self.move_to(
                position.source,
                position.next,
                || position.mark,
                || position.cursor,
            );
        }
    }

    fn move_to(
        &mut self,
        source: u64,
        next: u64,
        mark: impl FnOnce() -> Option<Mark>,
        cursor: impl FnOnce() -> Option<Box<str>>,
    ) {
        let Some(number) = self.active.get(&source) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(number) else {
            return;
        };
        if let Some(end) = self.limits.get(&source)
            && next > *end
        {
            (entry.offset, entry.mark) = (*end, None);
            self.changes.entry(*number).or_insert(Change::Moved);
            return;
        }
        debug_assert!(next >= entry.offset, "positions only move forward");
        entry.offset = entry.offset.max(next);
        entry.mark = mark().or(entry.mark);
        if let Some(cursor) = cursor() {
            entry.cursor = Some(cursor);
        }
        self.changes.entry(*number).or_insert(Change::Moved);
    }

    /// Whether there is something to save.
    pub fn is_dirty(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What has to be saved.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (u64, Change, Option<&Entry>)> {
        self.changes
            .iter()
            .map(|(number, change)| (*number, *change, self.entries.get(number)))
    }

    /// Everything is saved.
    pub(crate) fn saved(&mut self) {
        self.changes.clear();
        self.new_streams = false;
    }

    /// Forgets the unclaimed entries that are like this.
    pub fn forget(&mut self, condition: impl Fn(&Entry) -> bool) -> usize {
        let forgotten: Vec<u64> = self
            .unclaimed()
            .filter(|(_, entry)| condition(entry))
            .map(|(number, _)| number)
            .collect();
        for number in &forgotten {
            self.delete(*number);
        }
        forgotten.len()
    }

    /// Every entry with its number.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
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
            cursor: None,
            path: format!("/var/log/{inode}.log").into(),
            packed: None,
            stream: None,
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
        let mut ledger = Ledger::new(0, None, vec![entry(1, 5)]);
        assert_eq!(ledger.forget(|entry| entry.seen < 1_600_000_000), 0);
        assert!(!ledger.is_dirty());
        assert_eq!(ledger.forget(|entry| entry.seen < 1_800_000_000), 1);
        let changes: Vec<_> = ledger.changes().collect();
        assert_eq!(changes, [(1, Change::Gone, None)]);
    }
}
