//! What the kernel's hints lead to: only what they name is looked at.
//!
//! A hint says where something happened, not what: by the time it is read the path may be another
//! file's. So it is looked at what is there now, and files are told apart by their identity.
//!
//! PERF: this is what makes the cost follow what happens, not what is known.

use std::path::Path;

use tokio::time::Instant;

use super::Tails;
use super::identity::Identity;
use super::watch::{Hints, Watcher};

impl Tails {
    /// Follows the hints. True if everything has to be looked at.
    pub fn follow(&mut self, hints: Hints, watcher: &mut Watcher, now: Instant) -> bool {
        let mut round = hints.rescan;
        let renamed = hints.renamed.iter().map(|(from, _)| from);
        for path in hints.removed.iter().chain(renamed) {
            // Everything below a directory that went is elsewhere now, without a hint of its own.
            round |= watcher.forget(path);
        }
        for (from, to) in hints.renamed {
            self.follow_renamed(&from, &to, watcher, now);
        }
        for path in hints.removed {
            self.leave(&path, now);
        }
        for path in hints.created {
            self.follow_created(&path, watcher, now);
        }
        for path in hints.modified {
            self.follow_written(&path, now);
        }
        round
    }

    fn follow_created(&mut self, path: &Path, watcher: &mut Watcher, now: Instant) {
        if path.is_dir() {
            self.look_below(path, watcher, now);
        } else if let Some(group) = self.group_of(path) {
            // At once, not with the next round: it may be renamed again by then.
            self.leave(path, now);
            if let Some(key) = self.consider(path, group, now) {
                self.saw(key);
            }
        }
    }

    fn follow_written(&mut self, path: &Path, now: Instant) {
        if let Some(key) = self.by_path.get(path).copied() {
            match self.known.get(&key) {
                Some(tail) if !tail.is_open() => {
                    let group = tail.group;
                    self.consider(path, group, now);
                }
                _ => self.wake(key),
            }
            return;
        }
        // It may have been left out for what it was, or have several names.
        if !self.room.is_waiting(path)
            && let Some(group) = self.group_of(path)
            && let Some(key) = self.consider(path, group, now)
        {
            self.saw(key);
        }
    }

    fn follow_renamed(&mut self, from: &Path, to: &Path, watcher: &mut Watcher, now: Instant) {
        if to.is_dir() {
            return self.look_below(to, watcher, now);
        }
        let wanted = self.group_of(to);
        let followed = self
            .group_of(from)
            .filter(|group| !self.config.groups[*group].exclude.covers(to));
        match followed {
            None => {
                self.leave(from, now);
                self.follow_created(to, watcher, now);
            }
            // A rotation: the file is followed where it went, even if no pattern finds it there,
            // and even if it was too quick to have been seen under its old name.
            Some(group) => {
                self.leave(to, now);
                match self.consider_as(to, from, group, now) {
                    Some(key) if wanted.is_some() => self.saw(key),
                    Some(key) => self.set_missing(key, now),
                    None => {}
                }
                self.leave(from, now);
            }
        }
    }

    /// If the file that was at this path is not there any more, no pattern finds it.
    fn leave(&mut self, path: &Path, now: Instant) {
        let Some(key) = self.by_path.get(path).copied() else {
            return;
        };
        let Some(tail) = self.known.get(&key).filter(|tail| tail.path == path) else {
            return;
        };
        let there = std::fs::metadata(path).map(|metadata| Identity::of(&metadata));
        if there.ok() != Some(tail.identity) {
            self.set_missing(key, now);
        }
    }
}
