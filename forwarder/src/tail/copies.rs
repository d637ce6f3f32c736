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
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use super::Tails;
use super::file::{Beginning, Tail};
use super::identity::{FINGERPRINT_BYTES, Fingerprint, Identity};
use super::likeness::{is_related, modified, related_names, sibling, siblings};
use super::links::open_of;
use super::open::entry_of;
use crate::event::Source;

/// A file that may be a copy in the making is held back until it has not grown for this time.
pub const COPY_PATIENCE: Duration = Duration::from_secs(5);
/// Files that are remembered by a name they had before; the last renamed ones.
const MAX_RENAMED: usize = 16;

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
        siblings(&tail.path)
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
        ledger.pass_on(tail.identity);
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
