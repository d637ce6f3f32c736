//! The kernel's hints: which files changed, and that something appeared, moved or went.
//!
//! Hints only. inotify loses events when its queue is full, sees nothing of other machines on a
//! network file system, and its watches are limited; so the patterns are evaluated at intervals
//! as well, and a lost hint costs time, never a line.
//!
//! PERF: under a busy writer there is an event per write. The watching thread pauses after each
//! burst, so that the kernel folds equal events into one and we wake a few times a second only.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{CreateKind, EventKind, ModifyKind, RenameMode};
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
    /// Files that appeared.
    pub created: HashSet<PathBuf>,
    /// Files that were renamed: from where, to where.
    pub renamed: Vec<(PathBuf, PathBuf)>,
    /// The patterns have to be evaluated: a directory appeared, something went, or hints were
    /// lost.
    pub rescan: bool,
}

impl Hints {
    fn is_empty(&self) -> bool {
        self.modified.is_empty()
            && self.created.is_empty()
            && self.renamed.is_empty()
            && !self.rescan
    }

    fn overflow(&mut self) {
        if self.modified.len() + self.created.len() + self.renamed.len() > MAX_HINTS {
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
    /// With the identity they had: a directory that was replaced has lost its watch.
    watched: HashMap<PathBuf, Identity>,
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
            },
            error,
        )
    }

    /// Watches exactly these directories. Returns the first failure.
    pub fn watch(&mut self, directories: HashSet<PathBuf>) -> Option<(PathBuf, notify::Error)> {
        let watcher = self.kernel.as_mut()?;
        let mut failure = None;
        let wanted: HashMap<PathBuf, Identity> = directories
            .into_iter()
            .filter_map(|path| {
                let identity = Identity::of(&std::fs::metadata(&path).ok()?);
                Some((path, identity))
            })
            .collect();
        if wanted == self.watched {
            return None;
        }
        self.shared.adding.store(true, Ordering::Relaxed);
        for (gone, identity) in &self.watched {
            if wanted.get(gone) != Some(identity) {
                // It may be gone from the disk, and its watch with it.
                drop(watcher.unwatch(gone));
            }
        }
        let mut watched = HashMap::with_capacity(wanted.len());
        for (directory, identity) in wanted {
            if self.watched.get(&directory) != Some(&identity)
                && let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive)
            {
                if !is_missing(&directory) {
                    failure.get_or_insert((directory, error));
                }
                continue;
            }
            watched.insert(directory, identity);
        }
        self.watched = watched;
        self.shared.adding.store(false, Ordering::Relaxed);
        failure
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
        EventKind::Create(CreateKind::Folder) | EventKind::Remove(_) => hints.rescan = true,
        // A move into the directory has only the second half of a rename.
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            hints.created.extend(paths);
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
            if let (Some(from), Some(to)) = (paths.next(), paths.next()) {
                hints.renamed.push((from, to));
            }
        }
        // A move out of it has only the first.
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
    async fn writes_creations_and_renames_are_hinted() {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut watcher, error) = Watcher::new();
        assert!(error.is_none(), "{error:?}");
        assert!(
            watcher
                .watch([directory.path().to_owned()].into())
                .is_none()
        );
        let (first, second) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&first, "text").expect("writes");
        std::fs::rename(&first, &second).expect("renames");
        let mut seen = Hints::default();
        let wanted = async {
            loop {
                let hints = watcher.hints().await;
                seen.created.extend(hints.created);
                seen.modified.extend(hints.modified);
                seen.renamed.extend(hints.renamed);
                let renamed = seen.renamed.contains(&(first.clone(), second.clone()));
                if renamed && seen.created.contains(&first) && seen.modified.contains(&first) {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wanted)
            .await
            .expect("hints come");
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
