//! Copies: a file whose content we know under another inode.
//!
//! `copytruncate` copies a file and truncates the original; moving a file to another file system
//! copies it and removes the original. Either way the content goes on in the copy: what was sent of
//! the original is sent of the copy, and what was not read yet is only there. So the *stream*
//! (source, position, what is in flight) moves to the copy, and the truncated file starts anew.
//!
//! While the original is still there, a file that is byte for byte a beginning of it is held back
//! for a moment: it may be such a copy in the making. INVARIANT: equal content alone never
//! makes a file known. Either the original was seen to be truncated or removed, or the name says
//! it, or the copy is older than our last look at the original; else both files are read.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;
use tracing::{debug, info};

use super::Tails;
use super::file::{Beginning, Tail};
use super::identity::{FINGERPRINT_BYTES, Fingerprint, Identity, birth_of, read_fully_at};
use super::links::{open_of, open_to_compare};
use super::open::{entry_of, still_the_same};
use crate::event::Source;
use crate::registry::Entry;

/// A file that may be a copy in the making is held back until it has not grown for this time.
pub const COPY_PATIENCE: Duration = Duration::from_secs(5);
/// Files of a directory that are looked at in search of a copy.
const MAX_SIBLINGS: usize = 10_000;
/// Files that are remembered by a name they had before; the last renamed ones.
const MAX_RENAMED: usize = 16;
/// Content is compared whole up to this length, beyond it in [`SAMPLES`] blocks.
const WHOLE_BYTES: u64 = 64 << 10;
const SAMPLES: u64 = 16;
const SAMPLE_BYTES: usize = 4096;

/// A file that is held back.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    group: usize,
    /// The key of the file it is equal to.
    original: u64,
    size: u64,
    since: Instant,
}

/// What becomes of a file that may be a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is a file of its own.
    Independent,
    /// It cannot be told yet.
    Wait,
}

impl Tails {
    /// Whether a file that nobody knows may be a copy in the making.
    pub(super) fn may_be_copy(
        &mut self,
        path: &Path,
        group: usize,
        file: &File,
        metadata: &Metadata,
        now: Instant,
    ) -> io::Result<Verdict> {
        let (identity, size) = (Identity::of(metadata), metadata.len());
        let mut since = now;
        if let Some(mut held) = self.held.remove(&identity) {
            let original = self.known.get(&held.original);
            // A truncated original that is not read on, because what was read of it is still on its way,
            // does not know it yet. Then its stream goes on here, however long that takes.
            if let Some(tail) = original
                && !tail.is_whole()?
            {
                (held.path, held.group) = (path.to_owned(), group);
                self.held.insert(identity, held);
                return Ok(Verdict::Wait);
            }
            // A removed original is read to its end first: its rest may be in the copy as well.
            let removed = original.is_some_and(|tail| tail.is_deleted());
            if held.size == size {
                since = held.since;
            }
            if !removed && now.saturating_duration_since(since) >= COPY_PATIENCE {
                return Ok(Verdict::Independent);
            }
        }
        if size == 0 {
            return Ok(Verdict::Independent);
        }
        let Some(original) = self.original_of(path, file, size)? else {
            return Ok(Verdict::Independent);
        };
        self.held.insert(
            identity,
            Held {
                path: path.to_owned(),
                group,
                original,
                size,
                since,
            },
        );
        Ok(Verdict::Wait)
    }

    /// Whether a file that was empty when it was found may be a copy in the making: then it is held
    /// back like one that was not.
    pub(super) fn turns_out_a_copy(&mut self, key: u64, now: Instant) -> io::Result<bool> {
        let Some(tail) = self.known.get_mut(&key) else {
            return Ok(false);
        };
        tail.own = true;
        let (path, group) = (tail.path.clone(), tail.group);
        let Some(file) = tail.file().map(File::try_clone).transpose()? else {
            return Ok(false);
        };
        let metadata = file.metadata()?;
        if self.may_be_copy(&path, group, &file, &metadata, now)? == Verdict::Independent {
            return Ok(false);
        }
        debug!(path = %path.display(), "the file may be a copy in the making, it has to wait");
        self.let_go(key, true);
        Ok(true)
    }

    fn original_of(&self, path: &Path, file: &File, size: u64) -> io::Result<Option<u64>> {
        let fingerprint = Fingerprint::take(file)?;
        let by_content = self.by_fingerprint.get(&fingerprint.hash);
        let by_content = by_content.filter(|_| fingerprint.is_full()).copied();
        // Of a file that is hardly read yet the fingerprint is not full: only its name leads there, the
        // one it has or the one it had when it was copied.
        let by_name = related_names(path).flat_map(|name| {
            let renamed = self.renamed.get(&name).into_iter().flatten();
            self.by_path.get(&name).into_iter().chain(renamed).copied()
        });
        let candidates: Vec<u64> = by_content.into_iter().chain(by_name).collect();
        for key in candidates {
            let Some(tail) = self.known.get(&key) else {
                continue;
            };
            if tail.path != path && tail.first_path != path && tail.is_copied_in(file, size)? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Looks at what is held back: at each tick.
    pub(super) fn look_at_held(&mut self, now: Instant) {
        let due: Vec<_> = self
            .held
            .values()
            .map(|held| (held.path.clone(), held.group, held.original))
            .collect();
        for (path, group, original) in due {
            if !self.moves_with(original, &path, now) {
                self.consider(&path, group, now);
            }
        }
        let held = &mut self.held;
        held.retain(|_, held| std::fs::symlink_metadata(&held.path).is_ok());
    }

    /// The original is removed and all of it is acknowledged: its stream goes on in the copy.
    fn moves_with(&mut self, key: u64, path: &Path, now: Instant) -> bool {
        let Some(tail) = self.known.get(&key) else {
            return false;
        };
        if !tail.is_deleted() || !tail.is_drained() {
            return false;
        }
        let acknowledged = self
            .ledger
            .borrow()
            .entry(tail.source.id)
            .is_some_and(|entry| entry.offset >= tail.shipped_to);
        let Some((file, metadata)) = self.copy_at(key, path).filter(|_| acknowledged) else {
            return false;
        };
        let Some(mut tail) = self.known.remove(&key) else {
            return false;
        };
        self.forget_places(key, &tail);
        info!(from = %tail.path.display(), to = %path.display(), "the file was moved, going on with its copy");
        tail.replace_file(Some(file), &metadata, path);
        tail.last_growth = now;
        self.held.remove(&Identity::of(&metadata));
        self.take_place(key, tail);
        true
    }

    /// A regular file at the path that has the content of the tail up to its position.
    fn copy_at(&self, key: u64, path: &Path) -> Option<(File, Metadata)> {
        let tail = self.known.get(&key)?;
        let file = open_of(&self.config, tail.group, path).ok()?;
        let metadata = file.metadata().ok()?;
        let is_copy = metadata.is_file()
            && !self.is_someone_elses(Identity::of(&metadata))
            && metadata.len() >= tail.offset
            && tail.has_its_content(&file).ok()?;
        is_copy.then_some((file, metadata))
    }

    /// Whether a file has a stream of its own. One that was empty when it was found, and of which
    /// nothing was read since, has none yet: a copy begins like that.
    fn is_someone_elses(&self, identity: Identity) -> bool {
        let tail = self
            .by_identity
            .get(&identity)
            .and_then(|key| self.known.get(key));
        tail.is_some_and(|tail| tail.own || tail.offset > 0)
    }

    /// The file was truncated: if its content is in a copy, its stream goes on there. The file
    /// itself starts anew with `fresh`. False if there is no copy.
    pub(super) fn move_to_copy(&mut self, key: u64, fresh: &Rc<Source>, now: Instant) -> bool {
        let Some(copy) = self.find_copy(key) else {
            return false;
        };
        if let Some(found_empty) = self.by_identity.get(&Identity::of(&copy.metadata)).copied() {
            self.let_go(found_empty, true);
        }
        let Some(mut old) = self.known.remove(&key) else {
            return false;
        };
        let Some(truncated) = old.take_file() else {
            self.known.insert(key, old);
            return false;
        };
        let started = truncated.metadata().and_then(|metadata| {
            let beginning = Beginning {
                offset: 0,
                fingerprint: Fingerprint::default(),
            };
            let (group, path) = (old.group, old.path.clone());
            let source = Rc::clone(fresh);
            Tail::new(
                source,
                group,
                &path,
                &old.first_path,
                truncated,
                &metadata,
                beginning,
            )
        });
        let Ok(mut tail) = started else {
            self.known.insert(key, old);
            return false;
        };
        let unread = copy.metadata.len().saturating_sub(old.offset);
        info!(from = %old.path.display(), to = %copy.path.display(), position = old.offset, unread,
            "the file was copied and truncated, what was not read of it is read from the copy");
        (tail.polled, tail.cautious, tail.last_growth) = (old.polled, old.cautious, now);
        (tail.round, tail.turn_began) = (old.round, old.turn_began);
        if let Err(error) = tail.shape(&self.config.groups[old.group].lines) {
            debug!(%error, "cannot read the beginning of the truncated file");
        }
        let mut ledger = self.ledger.borrow_mut();
        ledger.insert(fresh.id, entry_of(&tail));
        drop(ledger);
        self.known.insert(key, Box::new(tail));

        let copy_key = self.new_id();
        self.held.remove(&Identity::of(&copy.metadata));
        old.replace_file(Some(copy.file), &copy.metadata, &copy.path);
        if copy.metadata.len() < old.offset {
            // The end was written after the copy was made, and we have read it: the copy is done.
            self.ledger
                .borrow_mut()
                .limit(old.source.id, copy.metadata.len());
            old.end_at(copy.metadata.len());
        }
        old.last_growth = now;
        old.queued = false;
        old.polled = false;
        old.missing_since = None;
        if self.group_of(&copy.path) != Some(old.group) {
            old.missing_since = Some(now);
            self.missing.insert(copy_key);
        }
        self.open_files += 1;
        self.take_place(copy_key, old);
        true
    }

    fn find_copy(&self, key: u64) -> Option<Copy> {
        let tail = self.known.get(&key)?;
        let held = self.held.iter().filter(|(_, held)| held.original == key);
        let held = held.filter_map(|(identity, held)| {
            let copy = self.open_held(*identity, held)?;
            // It was compared while the original was whole: its length decides nothing.
            let shorter = copy.metadata.len() < tail.offset;
            (shorter || tail.has_its_content(&copy.file).ok()?).then_some(copy)
        });
        if let Some(copy) = held.max_by_key(Copy::modified) {
            return Some(copy);
        }
        let exclude = &self.config.groups[tail.group].exclude;
        let siblings = std::fs::read_dir(tail.path.parent()?).ok()?;
        siblings
            .take(MAX_SIBLINGS)
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| *path != tail.path && !exclude.covers(path))
            .filter(|path| {
                tail.offset >= FINGERPRINT_BYTES as u64
                    || is_related(path, &tail.path)
                    || is_related(path, &tail.first_path)
            })
            .filter_map(|path| {
                let (file, metadata) = self.copy_at(key, &path)?;
                Some(Copy::new(&path, file, metadata))
            })
            .max_by_key(Copy::modified)
    }

    /// What is held back, wherever it was renamed to since: another file under its name must not be
    /// taken for it.
    fn open_held(&self, identity: Identity, held: &Held) -> Option<Copy> {
        let open = |path: &Path| {
            let file = open_of(&self.config, held.group, path).ok()?;
            let metadata = file.metadata().ok()?;
            let is_it = Identity::of(&metadata) == identity;
            is_it.then(|| Copy::new(path, file, metadata))
        };
        open(&held.path).or_else(|| open(&sibling(&held.path, identity)?))
    }

    /// Files the tail under its identity, path and fingerprint.
    pub(super) fn take_place(&mut self, key: u64, tail: Box<Tail>) {
        let entry = entry_of(&tail);
        let mut ledger = self.ledger.borrow_mut();
        ledger.change(tail.source.id, |known| {
            (known.identity, known.born) = (entry.identity, entry.born);
        });
        // A copy that was empty when the last run ended.
        ledger.forget_unclaimed(tail.identity);
        drop(ledger);
        self.by_identity.insert(tail.identity, key);
        if tail.fingerprint.is_full() {
            self.by_fingerprint.insert(tail.fingerprint.hash, key);
        }
        let path = tail.path.clone();
        self.known.insert(key, tail);
        self.take_path(key, &path);
        self.wake(key);
    }

    /// Files the tail under its path. Whoever had that until now was renamed, which may not have been seen
    /// yet.
    pub(super) fn take_path(&mut self, key: u64, path: &Path) {
        let before = self.by_path.insert(path.to_owned(), key);
        for key in before.into_iter().chain([key]) {
            let Some(tail) = self.known.get(&key) else {
                continue;
            };
            if self.by_path.get(&tail.first_path) == Some(&key) {
                continue;
            }
            let renamed = self.renamed.entry(tail.first_path.clone()).or_default();
            renamed.retain(|known| *known != key);
            if renamed.len() >= MAX_RENAMED {
                renamed.remove(0);
            }
            renamed.push(key);
        }
    }

    /// Takes the tail out of the indices.
    pub(super) fn forget_places(&mut self, key: u64, tail: &Tail) {
        if self.by_identity.get(&tail.identity) == Some(&key) {
            self.by_identity.remove(&tail.identity);
        }
        if self.by_path.get(&tail.path) == Some(&key) {
            self.by_path.remove(&tail.path);
        }
        if self.by_fingerprint.get(&tail.fingerprint.hash) == Some(&key) {
            self.by_fingerprint.remove(&tail.fingerprint.hash);
        }
        if let Some(renamed) = self.renamed.get_mut(&tail.first_path) {
            renamed.retain(|known| *known != key);
            if renamed.is_empty() {
                self.renamed.remove(&tail.first_path);
            }
        }
    }

    /// The entry of the last run whose content this file has, under another inode.
    pub(super) fn recognise_copy(
        &self,
        path: &Path,
        file: &File,
        metadata: &Metadata,
    ) -> io::Result<Option<(u64, Entry, Fingerprint)>> {
        let ledger = self.ledger.borrow();
        let fingerprint = Fingerprint::take(file)?;
        let mut numbers = Vec::new();
        if fingerprint.is_full() {
            numbers.extend(ledger.find_unclaimed_content(fingerprint.hash));
        }
        for name in std::iter::once(path.to_owned()).chain(related_names(path)) {
            numbers.extend(ledger.find_unclaimed_path(&name));
        }
        for number in numbers {
            let Some(entry) = ledger.unclaimed_entry(number) else {
                continue;
            };
            if let Some(fingerprint) = is_copy_of(entry, path, file, metadata)?
                && !self.has_older_twin(entry, path, metadata)
            {
                return Ok(Some((number, entry.clone(), fingerprint)));
            }
        }
        Ok(None)
    }
}

impl Tails {
    /// Whether the entry may as well be that of an older copy that nobody knows.
    ///
    /// A forwarder that was killed right behind the first lines has saved what they are and the name of their stream, but
    /// no position, and nothing but the beginning tells copies apart. If two of them begin alike the
    /// older one has those lines: under their name another line would be taken for one of them.
    fn has_older_twin(&self, entry: &Entry, path: &Path, metadata: &Metadata) -> bool {
        if entry.offset > 0 {
            return false;
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        let siblings = std::fs::read_dir(directory).into_iter().flatten();
        let mut siblings = siblings
            .take(MAX_SIBLINGS)
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|sibling| sibling != path && is_related(sibling, &entry.path));
        siblings.any(|sibling| {
            let twin = || -> io::Result<bool> {
                let file = open_to_compare(&sibling)?;
                let other = file.metadata()?;
                let identity = Identity::of(&other);
                let known = self.by_identity.contains_key(&identity)
                    || self.ledger.borrow().find_unclaimed(identity).is_some();
                Ok(!known
                    && other.modified()? < metadata.modified()?
                    && entry.fingerprint.grown(&file)?.is_some())
            };
            twin().unwrap_or(false)
        })
    }
}

struct Copy {
    path: PathBuf,
    file: File,
    metadata: Metadata,
}

impl Copy {
    fn new(path: &Path, file: File, metadata: Metadata) -> Self {
        Self {
            path: path.to_owned(),
            file,
            metadata,
        }
    }

    fn modified(&self) -> u64 {
        modified(&self.metadata)
    }
}

fn modified(metadata: &Metadata) -> u64 {
    let time = metadata.modified().unwrap_or(UNIX_EPOCH);
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// Whether the file is a copy of the one that the entry was made for, which is not there any more as
/// it was. Its fingerprint, if so.
fn is_copy_of(
    entry: &Entry,
    path: &Path,
    file: &File,
    metadata: &Metadata,
) -> io::Result<Option<Fingerprint>> {
    let covered = u64::from(entry.fingerprint.length);
    let known = entry.mark.is_some() || entry.offset <= covered;
    if entry.packed.is_some() || covered == 0 || !known {
        return Ok(None);
    }
    let born = birth_of(metadata);
    let as_ours = Entry {
        born,
        ..entry.clone()
    };
    let Some(fingerprint) = still_the_same(&as_ours, file, metadata)? else {
        return Ok(None);
    };
    let strong = entry.offset.max(covered) >= FINGERPRINT_BYTES as u64;
    let elsewhere = path != entry.path;
    let believed = match open_original(entry) {
        Some((own, own_metadata)) => {
            // Truncated, that is: while the original is whole, both are read.
            let whole = still_the_same(entry, &own, &own_metadata)?.is_some();
            !whole && elsewhere && (strong || is_related(path, &entry.path))
        }
        None => {
            let moved = strong && metadata_device(metadata) != entry.identity.device;
            moved
                || (elsewhere && strong && is_related(path, &entry.path))
                || modified(metadata) <= entry.seen && strong
        }
    };
    debug!(path = %path.display(), of = %entry.path.display(), believed, "a file with known content");
    Ok(believed.then_some(fingerprint))
}

/// The file that the entry was made for, whatever it holds now: where it was, or renamed in its
/// directory.
fn open_original(entry: &Entry) -> Option<(File, Metadata)> {
    let open = |path: &Path| {
        let file = open_to_compare(path).ok()?;
        let metadata = file.metadata().ok()?;
        (Identity::of(&metadata) == entry.identity).then_some((file, metadata))
    };
    open(&entry.path).or_else(|| open(&sibling(&entry.path, entry.identity)?))
}

/// The path that a file has in the directory of another one.
fn sibling(path: &Path, identity: Identity) -> Option<PathBuf> {
    let siblings = std::fs::read_dir(path.parent()?).ok()?;
    let mut siblings = siblings.take(MAX_SIBLINGS).filter_map(Result::ok);
    let sibling = siblings.find(|entry| {
        let metadata = entry.metadata();
        metadata.is_ok_and(|metadata| Identity::of(&metadata) == identity)
    });
    Some(sibling?.path())
}

fn metadata_device(metadata: &Metadata) -> u64 {
    Identity::of(metadata).device
}

/// Paths that this one may be a copy of, by its name: `app.log` for `app.log.1` and
/// `app.log-20260101.gz`, also for `app-20260101.log`.
pub(super) fn related_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default().to_owned();
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let extension = name.rfind('.').map(|dot| name[dot..].to_owned());
    let cuts: Vec<usize> = name
        .char_indices()
        .filter(|(at, character)| *at > 0 && matches!(character, '.' | '-' | '_' | '~' | '@'))
        .map(|(at, _)| at)
        .collect();
    cuts.into_iter().rev().flat_map(move |cut| {
        let base = name[..cut].to_owned();
        let with_extension = extension.as_ref().map(|extension| base.clone() + extension);
        let names = std::iter::once(base).chain(with_extension.filter(|other| *other != name));
        let directory = directory.clone();
        names
            .map(move |name| directory.join(name))
            .collect::<Vec<_>>()
    })
}

pub(super) fn is_related(path: &Path, original: &Path) -> bool {
    let name = original.file_name();
    related_names(path).any(|related| related.file_name() == name)
}

/// Whether both files have the same first bytes, as far as a few looks tell.
pub(super) fn same_beginning(left: &File, right: &File, length: u64) -> io::Result<bool> {
    let same = |offset: u64, length: usize| -> io::Result<bool> {
        let (mut one, mut other) = ([0; SAMPLE_BYTES], [0; SAMPLE_BYTES]);
        let read = read_fully_at(left, &mut one[..length], offset)?;
        let also = read_fully_at(right, &mut other[..length], offset)?;
        Ok(read == length && also == length && one == other)
    };
    if length <= WHOLE_BYTES {
        let mut offset = 0;
        while offset < length {
            let block = (length - offset).min(SAMPLE_BYTES as u64);
            if !same(offset, block as usize)? {
                return Ok(false);
            }
            offset += block;
        }
        return Ok(true);
    }
    let last = length - SAMPLE_BYTES as u64;
    for sample in 0..=SAMPLES {
        if !same(last / SAMPLES * sample, SAMPLE_BYTES)? {
            return Ok(false);
        }
    }
    same(last, SAMPLE_BYTES)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn names_of_rotated_files_tell_what_they_were() {
        for (rotated, original) in [
            ("/d/app.log.1", "/d/app.log"),
            ("/d/app.log.1.gz", "/d/app.log"),
            ("/d/app.log-20260101", "/d/app.log"),
            ("/d/app-2026-01-01.log", "/d/app.log"),
            ("/d/app.1", "/d/app"),
        ] {
            assert!(
                is_related(Path::new(rotated), Path::new(original)),
                "{rotated}"
            );
        }
        for (other, original) in [
            ("/d/app.log", "/d/app.log"),
            ("/d/worker2.log", "/d/worker1.log"),
            ("/d/app.log", "/d/app.log.1"),
            ("/d/.log", "/d/app.log"),
        ] {
            assert!(
                !is_related(Path::new(other), Path::new(original)),
                "{other}"
            );
        }
    }

    #[test]
    fn beginnings_are_compared_over_their_whole_length() {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at * 7 / 3) as u8).collect();
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(bytes).expect("writes");
            file
        };
        let (left, right) = (file(&bytes), file(&bytes[..900_000]));
        for length in [0, 1, 4096, 4097, 65_536, 65_537, 900_000] {
            assert!(
                same_beginning(&left, &right, length).expect("reads"),
                "{length}"
            );
        }
        assert!(!same_beginning(&left, &right, 900_001).expect("reads"));
        right.write_all_at(b"!", 899_999).expect("writes");
        assert!(!same_beginning(&left, &right, 900_000).expect("reads"));
        right
            .write_all_at(&bytes[899_999..900_000], 899_999)
            .expect("writes");
        right.write_all_at(b"!", 10).expect("writes");
        assert!(!same_beginning(&left, &right, 900_000).expect("reads"));
        assert!(!same_beginning(&left, &right, 100).expect("reads"));
    }
}
