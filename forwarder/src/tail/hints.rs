//! What the kernel's hints lead to: only the files that they name are looked at.
//!
//! PERF: this is what makes the cost follow what happens, not what is known. The patterns are evaluated
//! only if a directory appeared or went, or hints were lost.

use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::Tails;
use super::identity::Identity;
use super::watch::Hints;

impl Tails {
    /// Follows the hints. True if the patterns have to be evaluated.
    pub fn follow(&mut self, hints: Hints, now: Instant) -> bool {
        let mut rescan = hints.rescan;
        for path in hints.modified {
            self.follow_written(&path, now);
        }
        for (from, to) in hints.renamed {
            rescan |= !self.follow_renamed(&from, &to, now);
        }
        for path in hints.removed {
            self.follow_removed(&path, now);
        }
        for path in hints.created {
            let group = self.group_of(&path);
            // At once, not with the next scan: it may be renamed again by then.
            let found = group.and_then(|group| self.consider_at(&path, &path, group, now));
            match found {
                Some(key) => self.found_again(key),
                None => rescan |= path.is_dir(),
            }
        }
        rescan
    }

    fn follow_written(&mut self, path: &Path, now: Instant) {
        match self.by_path.get(path).copied() {
            Some(key) => match self.known.get(&key) {
                Some(tail) if !tail.is_open() => {
                    let group = tail.group;
                    self.consider(path, group, now);
                }
                _ => self.wake(key),
            },
            // It may have been left out for what it was.
            None if !self.left_out.is_empty() => {
                if let Some(group) = self.group_of(path) {
                    self.consider(path, group, now);
                }
            }
            None => {}
        }
    }

    /// False if it cannot be told where the file went.
    fn follow_renamed(&mut self, from: &Path, to: &Path, now: Instant) -> bool {
        let wanted = self.group_of(to);
        let Some(group) = self.group_of(from) else {
            let Some(group) = wanted else {
                return !to.is_dir();
            };
            let found = self.consider_at(to, to, group, now);
            found.inspect(|key| self.found_again(*key));
            return found.is_some() || !to.is_dir();
        };
        if self.config.groups[group].exclude.covers(to) {
            self.follow_removed(from, now);
            return true;
        }
        // A rotation: the file is followed where it went, even if no pattern finds it there,
        // and even if it was too quick to have been seen under its old name.
        let Some(key) = self.consider_at(to, from, group, now) else {
            return false;
        };
        if wanted.is_some() {
            self.found_again(key);
        } else {
            self.set_missing(key, now);
        }
        true
    }

    fn follow_removed(&mut self, path: &Path, now: Instant) {
        let Some(key) = self.by_path.get(path).copied() else {
            return;
        };
        let identity = std::fs::metadata(path).map(|metadata| Identity::of(&metadata));
        let tail = self.known.get(&key);
        if tail.is_some_and(|tail| identity.ok() != Some(tail.identity)) {
            self.set_missing(key, now);
        }
    }

    /// Looks at a path where another file may have been.
    fn consider_at(
        &mut self,
        path: &Path,
        first_path: &Path,
        group: usize,
        now: Instant,
    ) -> Option<u64> {
        let before: Option<(u64, PathBuf)> = self
            .by_path
            .get(path)
            .and_then(|key| Some((*key, self.known.get(key)?.path.clone())));
        let found = self.consider_as(path, first_path, group, now);
        if let Some((old, at)) = before
            && found.is_some()
            && found != Some(old)
            && at == path
        {
            // Its name was taken from it.
            self.set_missing(old, now);
        }
        found
    }

    fn set_missing(&mut self, key: u64, now: Instant) {
        if let Some(tail) = self.known.get_mut(&key) {
            tail.missing_since.get_or_insert(now);
            self.missing.insert(key);
        }
        self.wake(key);
    }

    fn found_again(&mut self, key: u64) {
        if let Some(tail) = self.known.get_mut(&key).filter(|tail| !tail.unwanted) {
            tail.missing_since = None;
            self.missing.remove(&key);
        }
    }

    /// Notes that everything of the file is read, so that it may be closed when room is needed.
    pub(super) fn note_idle(&mut self, key: u64) {
        if let Some(tail) = self.known.get_mut(&key)
            && tail.is_open()
            && !tail.listed_idle
        {
            tail.listed_idle = true;
            self.idle.push_back(key);
        }
    }

    /// Closes the file that has been idle the longest; false if none is.
    pub(super) fn close_an_idle(&mut self) -> bool {
        while let Some(key) = self.idle.pop_front() {
            let Some(tail) = self.known.get_mut(&key) else {
                continue;
            };
            tail.listed_idle = false;
            // One that is not idle any more is listed again when it is.
            let idle = tail.is_drained() && !tail.queued && tail.missing_since.is_none();
            if tail.is_open() && idle {
                tail.close();
                self.open_files -= 1;
                return true;
            }
        }
        false
    }
}
