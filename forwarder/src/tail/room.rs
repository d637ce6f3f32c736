//! Descriptors: which files are open, which wait for one, and whose turn it is.
//!
//! There are `max open files` of them. A file that is read to its end may be closed, the one that has been idle the
//! longest first, and is opened again when it grows. If none is idle, files wait in the order in which they
//! came; those that are open then have a turn of [`TURN`], and go behind those that wait.
//!
//! INVARIANT: nothing is forgotten of a file that is closed: it goes on at its position, if it is still
//! the same. A file that no pattern finds is not closed before it is done, as it might not be found again.
//!
//! PERF: every list has its entries in the order in which they are needed, and those that are out of
//! date are left in it until they are met, so that nothing here looks through all files.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::identity::Identity;
use super::{MAX_FILES, Tails};

/// How long a file that is not read to its end stays open while others wait.
const TURN: Duration = Duration::from_secs(10);
/// Files that waited are opened this many at a time, then others are read.
const OPENINGS: usize = 64;
/// Lists are cleared of what is out of date when it is more than half of them, and more than this.
const LEAST_STALE: usize = 64;

/// Who has a descriptor, and who wants one.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Open files of which everything is read, by element of `files`, the longest idle first.
    idle: Vec<VecDeque<(u64, u64)>>,
    /// Open files by the beginning of their turn.
    opened: VecDeque<(Instant, u64)>,
    waiting: VecDeque<Waiting>,
    /// The paths of those that wait, with what was there at the last look, and its size, if nothing of it was ever read.
    paths: HashMap<Rc<Path>, Option<(Identity, u64)>>,
    /// Counts what became idle.
    last: u64,
}

#[derive(Debug)]
struct Waiting {
    path: Rc<Path>,
    first_path: Rc<Path>,
    group: usize,
}

impl Room {
    /// Whether the file at this path waits for a descriptor.
    pub(super) fn is_waiting(&self, path: &Path) -> bool {
        self.paths.contains_key(path)
    }

    /// How many files do.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// None waits any more.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.paths.clear();
    }

    /// The files that wait and were never read.
    pub(super) fn unread(&self) -> impl Iterator<Item = Identity> {
        let unread = self.paths.values().flatten();
        unread.map(|(identity, _)| *identity)
    }

    fn wait(
        &mut self,
        path: &Path,
        first_path: &Path,
        group: usize,
        unread: Option<(Identity, u64)>,
    ) {
        if let Some(known) = self.paths.get_mut(path) {
            *known = unread.or(*known);
            return;
        }
        if self.paths.len() >= MAX_FILES {
            return;
        }
        let path: Rc<Path> = Rc::from(path);
        let first_path = if *path == *first_path {
            Rc::clone(&path)
        } else {
            Rc::from(first_path)
        };
        self.paths.insert(Rc::clone(&path), unread);
        self.waiting.push_back(Waiting {
            path,
            first_path,
            group,
        });
    }
}

impl Tails {
    /// Sees to it that one more file can be opened. If it cannot, the file waits.
    pub(super) fn make_room(&mut self, path: &Path, first_path: &Path, group: usize) -> bool {
        let limit = self.config.limits.max_open_files;
        if self.open_files < limit || self.close_an_idle() {
            return true;
        }
        let there = std::fs::metadata(path).ok();
        let there = there.map(|metadata| (Identity::of(&metadata), metadata.len()));
        let unread = there.filter(|(identity, _)| !self.by_identity.contains_key(identity));
        self.room.wait(path, first_path, group, unread);
        if let Some(suppressed) = self.throttle.admit("too many open files") {
            let path = path.display();
            warn!(%path, limit, suppressed, "`max open files` is reached and none is idle, the file has to wait");
        }
        false
    }

    /// The file has been opened: its turn begins.
    pub(super) fn begin_turn(&mut self, key: u64, now: Instant) {
        let Some(tail) = self.known.get_mut(&key) else {
            return;
        };
        (tail.turn_began, tail.had_turn) = (now, false);
        self.room.opened.push_back((now, key));
        if self.room.opened.len() > LEAST_STALE + 2 * self.open_files {
            let known = &self.known;
            self.room.opened.retain(|(began, key)| {
                let tail = known.get(key);
                tail.is_some_and(|tail| tail.is_open() && tail.turn_began == *began)
            });
        }
    }

    /// Notes that everything of the file is read, so that it may be closed.
    pub(super) fn note_idle(&mut self, key: u64) {
        let Some(tail) = self.known.get_mut(&key).filter(|tail| tail.is_open()) else {
            return;
        };
        self.room.last += 1;
        tail.idle = self.room.last;
        let group = tail.group;
        if self.room.idle.len() <= group {
            self.room.idle.resize_with(group + 1, VecDeque::new);
        }
        let list = &mut self.room.idle[group];
        list.push_back((self.room.last, key));
        if list.len() > LEAST_STALE + 2 * self.open_files {
            let known = &self.known;
            list.retain(|(idle, key)| known.get(key).is_some_and(|tail| tail.idle == *idle));
        }
    }

    /// The file of an element that has been idle the longest.
    fn longest_idle(&mut self, group: usize) -> Option<(u64, u64)> {
        let list = self.room.idle.get_mut(group)?;
        while let Some((idle, key)) = list.front().copied() {
            let tail = self.known.get(&key);
            let still = tail.is_some_and(|tail| {
                tail.idle == idle
                    && tail.group == group
                    && tail.is_open()
                    && tail.is_drained()
                    && !tail.queued
                    && tail.missing_since.is_none()
            });
            if still {
                return Some((idle, key));
            }
            // It is noted again when it is read to its end the next time.
            list.pop_front();
        }
        None
    }

    /// Closes the file that has been idle the longest; false if none is.
    fn close_an_idle(&mut self) -> bool {
        let groups = 0..self.room.idle.len();
        let idle = groups.filter_map(|group| self.longest_idle(group)).min();
        if let Some((_, key)) = idle {
            self.close(key);
        }
        idle.is_some()
    }

    fn close(&mut self, key: u64) {
        if let Some(tail) = self.known.get_mut(&key).filter(|tail| tail.is_open()) {
            tail.close();
            self.open_files -= 1;
        }
    }

    /// Closes what has been idle for `close inactive`. Returns when the next one will have been.
    pub fn close_inactive(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for group in 0..self.room.idle.len() {
            let Some(limit) = self
                .config
                .groups
                .get(group)
                .map(|group| group.close_inactive)
            else {
                continue;
            };
            while let Some((_, key)) = self.longest_idle(group) {
                let Some(tail) = self.known.get(&key) else {
                    break;
                };
                let due = tail.last_growth + limit;
                if due > now {
                    next = Some(next.map_or(due, |next: Instant| next.min(due)));
                    break;
                }
                let path = tail.path.display();
                debug!(%path, "the file has not grown for `close inactive`, closed until it grows");
                self.close(key);
            }
        }
        next
    }

    fn has_room(&mut self) -> bool {
        self.open_files < self.config.limits.max_open_files
            || (0..self.room.idle.len()).any(|group| self.longest_idle(group).is_some())
    }

    /// Opens some of the files that wait, if there is room for them. True if it has.
    pub fn open_waiting(&mut self, now: Instant) -> bool {
        let mut opened = false;
        for _ in 0..OPENINGS {
            if self.room.waiting.is_empty() || !self.has_room() {
                break;
            }
            let Some(waiting) = self.room.waiting.pop_front() else {
                break;
            };
            let unread = self.room.paths.remove(&*waiting.path).flatten();
            opened = true;
            let key = self.consider_as(&waiting.path, &waiting.first_path, waiting.group, now);
            if waiting.path == waiting.first_path
                && let Some(key) = key
            {
                self.saw(key);
            }
            if let (None, Some((identity, size))) = (key, unread) {
                self.note_gone(&waiting.path, waiting.group, identity, size);
            }
        }
        opened
    }

    /// Closes files whose turn is over, if others wait.
    pub(super) fn end_turns(&mut self, now: Instant) {
        let mut wanted = self.room.waiting.len().min(OPENINGS);
        if wanted == 0 || self.has_room() {
            return;
        }
        for _ in 0..self.room.opened.len() {
            let Some((began, key)) = self.room.opened.front().copied() else {
                break;
            };
            if wanted == 0 || now.saturating_duration_since(began) < TURN {
                break;
            }
            self.room.opened.pop_front();
            let Some(tail) = self.known.get_mut(&key) else {
                continue;
            };
            if !tail.is_open() || tail.turn_began != began {
                continue;
            }
            let complete = self.config.groups[tail.group].following.complete.is_some();
            if !tail.had_turn || tail.missing_since.is_some() || tail.is_pending() || complete {
                tail.turn_began = now;
                self.room.opened.push_back((now, key));
                continue;
            }
            let (path, first_path, group) =
                (tail.path.clone(), tail.first_path.clone(), tail.group);
            debug!(path = %path.display(), "others wait for a descriptor, the file goes behind them");
            self.close(key);
            self.room.wait(&path, &first_path, group, None);
            wanted -= 1;
        }
    }
}
