//! How files are followed, and the end of those that are complete.
//!
//! A log file is never complete: reading waits for what is added to it. Files that are dropped into a directory
//! whole are read to their end once, and then done with: [`Complete::done`] hears of each when all of
//! it is acknowledged, and may remove it. If such a file grows all the same it is read on, and done with again.
//!
//! Compressed ones are unpacked, one at a time ([`super::archive`]).

use std::cmp::Reverse;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tracing::{debug, warn};

use super::Tails;
use super::archive::{Archive, unpack};
use super::file::Look;
use super::identity::{Fingerprint, Identity, birth_of};
use super::open::source_of;
use super::turns::Priority;
use crate::registry::Entry;
use crate::registry::store::now as unix_now;

/// When the files of a group are begun, in which order they are read, and what ends them.
#[derive(Clone, Debug)]
pub struct Following {
    /// What becomes of a last line that has no end.
    pub partial_lines: PartialLines,
    /// A file that was last written to longer ago than this when it is found: only what is added to it is read, and
    /// nothing at all if files are complete.
    pub ignore_older: Option<Duration>,
    /// Whether the same goes for files that nobody has written to for their dead time before the first start.
    pub skip_old_stock: bool,
    /// In which order files that are found together are read.
    pub order: Order,
    /// Reads in a row from one file before the next one has its turn.
    pub reads_per_turn: u64,
    /// Whether each is read to its end before the next one, in that order.
    pub one_by_one: bool,
    /// Whether the files of other groups are read first.
    pub priority: Priority,
    /// Bytes that are read in a second at most, of all files together.
    pub rate_limit: Option<u64>,
    /// For how long deleted files are held open that were not read to their end; for as long as it takes
    /// if there is no limit.
    pub hold_deleted_for: Option<Duration>,
    /// Set if files are complete when they are found.
    pub complete: Option<Complete>,
}

impl Default for Following {
    fn default() -> Self {
        Self {
            partial_lines: PartialLines::Ship,
            ignore_older: None,
            skip_old_stock: true,
            order: Order::AsFound,
            reads_per_turn: 1,
            one_by_one: false,
            priority: Priority::Normal,
            rate_limit: None,
            hold_deleted_for: None,
            complete: None,
        }
    }
}

/// What becomes of a last line that has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialLines {
    /// It is shipped after `partial line timeout`; what is added to it comes as an event of its own.
    Ship,
    /// It is waited for, unless the file was rotated away or is complete.
    Await,
}

/// In which order files that are found together are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the patterns find them.
    AsFound,
    /// By the time they were last written to.
    Modified {
        /// The newest first.
        newest_first: bool,
    },
    /// By their paths.
    Path {
        /// The last first.
        descending: bool,
    },
}

impl Order {
    /// Brings them into order.
    pub(super) fn sort(self, paths: &mut [PathBuf]) {
        match self {
            Self::AsFound => {}
            Self::Path { descending: false } => paths.sort(),
            Self::Path { descending: true } => paths.sort_by(|left, right| right.cmp(left)),
            Self::Modified { newest_first } => {
                let modified = |path: &PathBuf| {
                    let metadata = std::fs::metadata(path);
                    metadata
                        .and_then(|metadata| metadata.modified())
                        .unwrap_or(UNIX_EPOCH)
                };
                if newest_first {
                    paths.sort_by_cached_key(|path| (Reverse(modified(path)), path.clone()));
                } else {
                    paths.sort_by_cached_key(|path| (modified(path), path.clone()));
                }
            }
        }
    }
}

/// What is done with complete files.
#[derive(Clone)]
pub struct Complete {
    /// Whether a compressed file is unpacked once to see that it is whole, before anything of it is read.
    pub verify_archives: bool,
    /// All of the file at this path is acknowledged. Gives what became of it.
    pub done: Done,
}

/// Is told of a file that is done with.
pub type Done = Rc<dyn Fn(&Path, Times) -> Outcome>;

impl fmt::Debug for Complete {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Complete({})", self.verify_archives)
    }
}

/// Whether a file was done with before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Some of it was read by this process.
    First,
    /// All of it was acknowledged before this process began.
    Again,
}

/// What became of a file that is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is where it was.
    Kept,
    /// It is removed.
    Removed,
}

/// For how long a last line is waited for that never ends.
pub(super) const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 100);

impl Tails {
    pub(super) fn complete(&self, group: usize) -> Option<&Complete> {
        self.config.groups[group].following.complete.as_ref()
    }

    /// How long the last line of a file is waited for.
    pub(super) fn partial_line_timeout(&self, group: usize, missing: bool) -> Duration {
        let awaits = self.config.groups[group].following.partial_lines == PartialLines::Await;
        if awaits && !missing && self.complete(group).is_none() {
            FOR_EVER
        } else {
            self.config.limits.partial_line_timeout
        }
    }

    /// Whether the file was last written to too long ago for its content to be wanted.
    pub(super) fn is_too_old(&self, group: usize, metadata: &Metadata) -> bool {
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        let age = SystemTime::now().duration_since(modified);
        let limit = self.config.groups[group].following.ignore_older;
        limit.is_some_and(|limit| age.unwrap_or_default() >= limit)
    }

    /// Whether everything is read that there was to read.
    pub fn all_is_read(&self) -> bool {
        self.scanned
            && self.turns.is_empty()
            && self.losses.is_empty()
            && self.archives.is_empty()
            && self.archives_read.is_empty()
            && self.held.is_empty()
            && self.room.waiting() == 0
            && self.unfinished.keys().all(|key| {
                let tail = self.known.get(key);
                tail.is_none_or(|tail| tail.size == 0)
            })
    }

    /// Ends the complete files of which all is acknowledged.
    pub(super) fn finish_complete(&mut self, now: Instant) {
        let keys: Vec<u64> = self.unfinished.keys().copied().collect();
        for key in keys {
            let Some(tail) = self.known.get_mut(&key) else {
                self.unfinished.remove(&key);
                continue;
            };
            let read = tail.is_open() && !tail.queued && tail.size > 0 && tail.is_settled();
            if !read || tail.missing_since.is_some() {
                continue;
            }
            let acknowledged = self
                .ledger
                .borrow()
                .entry(tail.source.id)
                .map(|entry| entry.offset);
            if acknowledged.is_none_or(|offset| offset < tail.shipped_to)
                || !matches!(tail.look(now), Ok(Look::Unchanged))
            {
                continue;
            }
            let began = self.unfinished.remove(&key).unwrap_or_default();
            let times = if began > 0 && began == tail.shipped_to {
                Times::Again
            } else {
                Times::First
            };
            let (path, group) = (tail.path.clone(), tail.group);
            tail.close();
            self.open_files -= 1;
            if self.is_gone(group, &path, times) {
                self.let_go(key, true);
            }
        }
    }

    /// Says that a file is done with. True if that was its end.
    pub(super) fn is_gone(&self, group: usize, path: &Path, times: Times) -> bool {
        let Some(complete) = self.complete(group) else {
            return false;
        };
        debug!(path = %path.display(), "all of the file is acknowledged");
        (complete.done)(path, times) == Outcome::Removed
    }

    /// A complete file is compressed: what it unpacks to is read to its end.
    pub(super) fn begin_archive(
        &mut self,
        path: &Path,
        group: usize,
        file: File,
        metadata: &Metadata,
        format: &'static str,
    ) -> io::Result<()> {
        let identity = Identity::of(metadata);
        // Once, unless it changes.
        self.leave_out(identity, metadata);
        let born = birth_of(metadata);
        let known = self
            .ledger
            .borrow()
            .find_unclaimed(identity)
            .next()
            .map(|(number, entry)| {
                let same = entry.packed.is_some() && entry.born == born;
                (number, same.then(|| entry.clone()))
            });
        if let Some((_, Some(entry))) = &known
            && entry.packed == Some(true)
        {
            if self.is_gone(group, path, Times::Again) {
                self.ledger.borrow_mut().forget_unclaimed(identity);
            }
            return Ok(());
        }
        let verify = self
            .complete(group)
            .is_some_and(|complete| complete.verify_archives);
        if verify && let Some(mut unpacked) = unpack(file.try_clone()?, format) {
            // Its position is shared with the clone's.
            let checked = io::copy(&mut *unpacked, &mut io::sink());
            rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
            if let Err(error) = checked {
                let path = path.display();
                warn!(%path, %error, "the compressed file is damaged, nothing of it is read");
                return Ok(());
            }
        }
        let Some(unpacked) = unpack(file, format) else {
            let path = path.display();
            warn!(%path, format, "files of this kind cannot be unpacked here, nothing of it is read");
            return Ok(());
        };
        let id = self.new_id();
        let entry = Entry {
            identity,
            born,
            fingerprint: Fingerprint::default(),
            offset: 0,
            mark: None,
            cursor: None,
            path: path.to_owned(),
            packed: Some(false),
            stream: None,
            seen: unix_now(),
        };
        let (mut entry, number) = match known {
            Some((number, Some(entry))) => (entry, Some(number)),
            _ => (entry, None),
        };
        let stream = entry.stream.take();
        let source = source_of(&self.config, id, &entry.path, group, stream);
        entry.stream.clone_from(&source.stream);
        let rules = Rc::clone(&self.config.groups[group].lines);
        let (from, mark) = (entry.offset, entry.mark);
        let mut ledger = self.ledger.borrow_mut();
        match number {
            Some(number) => ledger.claim(id, number, entry),
            None => {
                ledger.forget_unclaimed(identity);
                ledger.insert(id, entry);
            }
        }
        drop(ledger);
        let archive = Archive::new(path, source, unpacked, &rules, from, mark, Some(group));
        self.archives.push_back(archive);
        Ok(())
    }
}
