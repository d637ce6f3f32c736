//! The kernel's hints: which files changed, and that something appeared, moved or went.
//!
//! Hints only. inotify loses events when its queue is full, sees nothing of other machines on a
//! network file system, nothing of what is written through a mapping or another hard link, and its
//! watches are limited; so everything is looked at in rounds as well ([`super::rounds`]), and a
//! lost hint costs time, never a line.
//!
//! PERF: under a busy writer there is an event per write. The watching thread pauses after each
//! burst, so that the kernel folds equal events into one and we wake a few times a second only.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::identity::Identity;

/// Changed paths that are remembered between two looks; beyond that everything is looked at.
pub const MAX_HINTS: usize = 4096;
/// The pause of the watching thread.
const PAUSE: Duration = Duration::from_millis(25);

/// What happened since the last look.
#[derive(Debug, Default)]
pub struct Hints {
    /// Files that were written to.
    pub modified: HashSet<PathBuf>,
    /// Files and directories that appeared.
    pub created: HashSet<PathBuf>,
    /// Files and directories that were renamed: from where, to where.
    pub renamed: Vec<(PathBuf, PathBuf)>,
    /// What went from its path: removed, or moved to where nobody looks.
    pub removed: HashSet<PathBuf>,
    /// Hints were lost: everything has to be looked at.
    pub rescan: bool,
}

impl Hints {
    fn is_empty(&self) -> bool {
        self.modified.is_empty()
            && self.created.is_empty()
            && self.renamed.is_empty()
            && self.removed.is_empty()
            && !self.rescan
    }

    fn overflow(&mut self) {
        let files = self.modified.len() + self.created.len() + self.removed.len();
        if files + self.renamed.len() > MAX_HINTS {
            *self = Self {
                rescan: true,
                ..Self::default()
            };
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    hints: Mutex<Hints>,
    changed: Notify,
    /// No pauses while watches are being added: adding waits for the thread.
    adding: AtomicBool,
}

impl Shared {
    fn hints(&self) -> MutexGuard<'_, Hints> {
        // The state is a set of hints: it is usable whatever happened while it was locked.
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches directories.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    kernel: Option<RecommendedWatcher>,
    watched: HashMap<PathBuf, Watched>,
    /// The round of looking at everything that is under way, or was the last.
    round: u32,
    /// The first failure since it was asked for.
    failure: Option<(PathBuf, notify::Error)>,
}

#[derive(Debug)]
struct Watched {
    /// A directory that was replaced has lost its watch.
    identity: Identity,
    /// The last round in which it was wanted.
    round: u32,
}

impl Watcher {
    /// Starts the watching thread. If the kernel refuses, the error comes with a watcher that never
    /// hints.
    pub fn new() -> (Self, Option<notify::Error>) {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let mut last_pause = Instant::now();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let told = take(&mut for_thread.hints(), event);
            if told {
                for_thread.changed.notify_one();
            }
            if last_pause.elapsed() > PAUSE && !for_thread.adding.load(Ordering::Relaxed) {
                std::thread::sleep(PAUSE);
                last_pause = Instant::now();
            }
        });
        let (kernel, error) = match watcher {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error)),
        };
        (
            Self {
                shared,
                kernel,
                watched: HashMap::new(),
                round: 0,
                failure: None,
            },
            error,
        )
    }

    /// Whether the kernel gives hints at all.
    pub fn works(&self) -> bool {
        self.kernel.is_some()
    }

    /// Begins a round: what is not wanted until its end is not watched any more.
    pub fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Watches a directory from now on. To be called before its names are read, so that nothing
    /// appears unnoticed in between.
    pub fn want(&mut self, directory: &Path) {
        let Some(kernel) = self.kernel.as_mut() else {
            return;
        };
        let Ok(metadata) = std::fs::metadata(directory) else {
            return;
        };
        let identity = Identity::of(&metadata);
        if let Some(known) = self.watched.get_mut(directory) {
            if known.identity == identity {
                known.round = self.round;
                return;
            }
            // It is gone from the disk, and its watch with it.
            drop(kernel.unwatch(directory));
            self.watched.remove(directory);
        }
        self.shared.adding.store(true, Ordering::Relaxed);
        match kernel.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => {
                let round = self.round;
                let watched = Watched { identity, round };
                self.watched.insert(directory.to_owned(), watched);
            }
            Err(error) if !is_missing(directory) => {
                self.failure.get_or_insert((directory.to_owned(), error));
            }
            Err(_) => {}
        }
        self.shared.adding.store(false, Ordering::Relaxed);
    }

    /// Ends a round.
    pub fn end_round(&mut self) {
        let round = self.round;
        self.unwatch(|_, watched| watched.round != round);
    }

    /// A directory, with all below it, is not where it was. False if none was watched there.
    pub fn forget(&mut self, gone: &Path) -> bool {
        // PERF: most of what goes is a file.
        if !self.watched.contains_key(gone) {
            return false;
        }
        self.unwatch(|path, _| path.starts_with(gone));
        true
    }

    fn unwatch(&mut self, unwanted: impl Fn(&Path, &Watched) -> bool) {
        let Some(kernel) = self.kernel.as_mut() else {
            return;
        };
        self.shared.adding.store(true, Ordering::Relaxed);
        self.watched.retain(|path, watched| {
            let unwanted = unwanted(path, watched);
            if unwanted {
                // It may be gone from the disk, and its watch with it.
                drop(kernel.unwatch(path));
            }
            !unwanted
        });
        self.shared.adding.store(false, Ordering::Relaxed);
    }

    /// Why a directory is not watched, of the first since the last call.
    pub fn take_failure(&mut self) -> Option<(PathBuf, notify::Error)> {
        self.failure.take()
    }

    /// Waits until there are hints, and takes them.
    pub async fn hints(&self) -> Hints {
        loop {
            self.shared.changed.notified().await;
            let hints = std::mem::take(&mut *self.shared.hints());
            if !hints.is_empty() {
                return hints;
            }
        }
    }
}

fn is_missing(directory: &Path) -> bool {
    matches!(directory.try_exists(), Ok(false))
}

/// Files an event under the hints; whether there is something new to tell.
fn take(hints: &mut Hints, event: notify::Result<notify::Event>) -> bool {
    let Ok(event) = event else {
        hints.rescan = true;
        return true;
    };
    if event.need_rescan() {
        hints.rescan = true;
        return true;
    }
    let mut paths = event.paths.into_iter();
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => hints.modified.extend(paths),
        // A move into the directory has only the second half of a rename.
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            hints.created.extend(paths);
        }
        // A move out of it has only the first.
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            hints.removed.extend(paths);
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
            if let (Some(from), Some(to)) = (paths.next(), paths.next()) {
                hints.renamed.push((from, to));
            }
        }
        EventKind::Modify(ModifyKind::Name(_)) => hints.rescan = true,
        _ => return false,
    }
    hints.overflow();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_creations_renames_and_removals_are_hinted() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut watcher, error) = Watcher::new();
        assert!(error.is_none(), "{error:?}");
        watcher.want(directory.path());
        assert!(watcher.take_failure().is_none());
        let (first, second) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&first, "text").expect("writes");
        std::fs::rename(&first, &second).expect("renames");
        std::fs::remove_file(&second).expect("removes");
        let mut seen = Hints::default();
        let wanted = async {
            loop {
                let hints = watcher.hints().await;
                seen.created.extend(hints.created);
                seen.modified.extend(hints.modified);
                seen.renamed.extend(hints.renamed);
                seen.removed.extend(hints.removed);
                let renamed = seen.renamed.contains(&(first.clone(), second.clone()));
                let made = seen.created.contains(&first) && seen.modified.contains(&first);
                if made && renamed && seen.removed.contains(&second) {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wanted)
            .await
            .expect("hints come");
    }

    #[test]
    fn a_round_lets_go_of_what_is_not_wanted_any_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = ["a", "b", "b/c"].map(|name| directory.path().join(name));
        let (mut watcher, error) = Watcher::new();
        assert!(error.is_none(), "{error:?}");
        for name in &names {
            std::fs::create_dir(name).expect("creates");
            watcher.want(name);
        }
        watcher.begin_round();
        watcher.want(&names[1]);
        watcher.want(&names[2]);
        watcher.end_round();
        assert_eq!(watcher.watched.len(), 2);
        assert!(!watcher.forget(&names[0]) && watcher.forget(&names[1]));
        assert!(watcher.watched.is_empty());
    }

    #[test]
    fn too_many_hints_become_one() {
        let mut hints = Hints::default();
        for index in 0..=MAX_HINTS {
            hints.modified.insert(index.to_string().into());
        }
        hints.overflow();
        assert!(hints.rescan && hints.modified.is_empty());
    }
}
