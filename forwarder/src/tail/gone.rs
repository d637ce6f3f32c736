//! Files that went away before anything of them was read.
//!
//! Two things can happen to a file that nobody has opened yet. While it waits for a descriptor it is renamed or
//! deleted; or it is made and renamed while no forwarder runs, twice in one night when logrotate is asked to. A file that was
//! renamed is sought where it was: in its directory. What cannot be found is lost: that is logged and counted, and an event in
//! its place tells the receiver.
//!
//! INVARIANT: nothing is counted as lost that a pattern finds under another name, so that it takes a whole round until it is.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use tokio::time::Instant;
use tracing::error;

use super::Tails;
use super::deleted::MAX_LOSSES;
use super::identity::{Identity, birth_of};
use super::likeness::related_names;
use super::open::source_of;
use crate::batch::{Batch, Extra};
use crate::report::add;

/// A file that was there, and is not any more where it was.
#[derive(Debug)]
pub(super) struct Gone {
    path: PathBuf,
    group: usize,
    identity: Identity,
    size: u64,
    /// The round in which that was noticed.
    round: u64,
}

impl Tails {
    /// Notes that a file that was to be opened for the first time may have gone.
    pub(super) fn note_gone(&mut self, path: &Path, group: usize, identity: Identity, size: u64) {
        let there = std::fs::symlink_metadata(path);
        let there = there.is_ok_and(|metadata| Identity::of(&metadata) == identity);
        if there || size == 0 || self.gone.len() >= MAX_LOSSES {
            return;
        }
        self.gone.push(Gone {
            path: path.to_owned(),
            group,
            identity,
            size,
            round: self.round_number,
        });
    }

    /// After a round: seeks those of which no pattern has found anything since.
    pub(super) fn judge_gone(&mut self, now: Instant) {
        if self.gone.is_empty() {
            return;
        }
        let round = self.round_number;
        let (due, rest) = std::mem::take(&mut self.gone)
            .into_iter()
            .partition(|gone| gone.round < round);
        self.gone = rest;
        let waiting: HashSet<Identity> = self.room.unread().collect();
        let mut listed = HashMap::new();
        for gone in due {
            let known = self.by_identity.contains_key(&gone.identity)
                || self.left_out.contains_key(&gone.identity)
                || self.held.contains_key(&gone.identity)
                || waiting.contains(&gone.identity);
            let Some(directory) = gone.path.parent().filter(|_| !known) else {
                continue;
            };
            let files = listed
                .entry(directory.to_owned())
                .or_insert_with(|| files_in(directory));
            if let Some(path) = files.get(&gone.identity) {
                self.consider_as(path, &gone.path, gone.group, now);
            } else {
                self.lose(&gone);
            }
        }
    }

    fn lose(&mut self, gone: &Gone) {
        const REASON: &str = "it went away while it waited for a descriptor";
        let (path, bytes) = (gone.path.display(), gone.size);
        error!(%path, bytes, reason = REASON, "lines are lost: a file was never read");
        add(&self.counters.lost_files, 1);
        add(&self.counters.lost_bytes, bytes);
        if self.losses.len() >= MAX_LOSSES || gone.group >= self.config.groups.len() {
            return;
        }
        let id = self.new_id();
        let source = source_of(&self.config, id, &gone.path, gone.group, None);
        let read_at = jiff::Timestamp::now().as_millisecond();
        let text = format!("{bytes} bytes of {path} were given up, from byte 0 on: {REASON}");
        let extra = Extra::lost(bytes, REASON);
        let mut last = Batch::default();
        last.push_extra(&source, read_at, text.as_bytes(), 0, bytes, extra);
        self.losses.push_back(last);
    }

    /// After a start: files that were made and renamed while nobody looked, to where no pattern finds them.
    ///
    /// They are younger than our last look, and bear a name that we know and what a rotation adds to it.
    /// [`Tails::find_renamed`] finds those that are known.
    pub(super) fn find_born_meanwhile(&mut self, now: Instant) {
        let Some(last_look) = self.last_look else {
            return;
        };
        let mut known: HashMap<PathBuf, HashSet<PathBuf>> = HashMap::new();
        for (_, entry) in self.ledger.borrow().entries() {
            if let Some(directory) = entry.path.parent() {
                let names = known.entry(directory.to_owned()).or_default();
                names.insert(entry.path.clone());
            }
        }
        for (directory, names) in known {
            let Ok(entries) = std::fs::read_dir(&directory) else {
                continue;
            };
            for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
                let Some(first_path) = before_rotation(&path, &names) else {
                    continue;
                };
                let Ok(metadata) = std::fs::symlink_metadata(&path) else {
                    continue;
                };
                let born = birth_of(&metadata);
                let meanwhile = born.is_some_and(|born| born / 1_000_000_000 >= last_look);
                if meanwhile
                    && metadata.is_file()
                    && !self.by_identity.contains_key(&Identity::of(&metadata))
                    && self.group_of(&path).is_none()
                    && let Some(group) = self.group_of(first_path)
                    && !self.config.groups[group].exclude.covers(&path)
                {
                    self.consider_as(&path, first_path, group, now);
                }
            }
        }
    }
}

/// The known path whose file may have been renamed to this one.
fn before_rotation<'a>(path: &Path, known: &'a HashSet<PathBuf>) -> Option<&'a Path> {
    let name = path.file_name()?.to_str()?;
    related_names(path)
        .filter(|first| {
            let first = first.file_name().and_then(|first| first.to_str());
            first
                .and_then(|first| name.strip_prefix(first))
                .is_some_and(is_of_rotation)
        })
        .filter_map(|first| known.get(&first))
        .last()
        .map(PathBuf::as_path)
}

/// `.1`, `-20261126`, `.2026-11-26T04:15`, `-1795666523`, `.old`.
fn is_of_rotation(suffix: &str) -> bool {
    let of_a_time = |byte: u8| byte.is_ascii_digit() || b".-_:TZ".contains(&byte);
    suffix == ".old"
        || suffix.bytes().any(|byte| byte.is_ascii_digit()) && suffix.bytes().all(of_a_time)
}

fn files_in(directory: &Path) -> HashMap<Identity, PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let files = paths.filter_map(|path| {
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        metadata.is_file().then(|| (Identity::of(&metadata), path))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rotation_adds_to_a_name() {
        let known = HashSet::from([PathBuf::from("/l/app.log")]);
        for name in [
            "app.log.1",
            "app.log-20261126",
            "app.log.2026-11-26T04:15",
            "app.log.old",
            "app.log-1795666523.2",
        ] {
            let path = Path::new("/l").join(name);
            let found = before_rotation(&path, &known);
            assert_eq!(found, Some(Path::new("/l/app.log")), "{name}");
        }
        for name in [
            "app.log",
            "app.log.gz",
            "app.log.1.gz",
            "app.log-errors",
            "app.log.bak1x",
            "other.log.1",
            "app.log1",
        ] {
            assert_eq!(
                before_rotation(&Path::new("/l").join(name), &known),
                None,
                "{name}"
            );
        }
    }
}
