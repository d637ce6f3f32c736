//! `--watch`: runs again when a file changes that the result depends on.
//!
//! The kernel's hints wake it, and nothing else: there is no polling. A hint counts only if one of the
//! files has another size or time than when it was read, or if there is a file more or less, so that
//! reading, and writing a report, wake nobody for long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, SystemTime};

use notify::{RecursiveMode, Watcher as _};

use super::arguments::TestArguments;
use super::session::same_path;
use super::{discover, once};
use crate::{cli, log};

/// Editors write a file in several steps: this long nothing must happen before cases run again.
const QUIET: Duration = Duration::from_millis(60);

/// What a result depends on.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Directories in which files can come and go.
    pub(super) directories: Vec<PathBuf>,
    /// Files as they were before they were read.
    files: State,
}

impl Watched {
    /// Adds files that are about to be read.
    pub(super) fn add<'p>(&mut self, files: impl IntoIterator<Item = &'p PathBuf>) {
        for file in files {
            self.files.entry(file.clone()).or_insert_with(|| look(file));
        }
    }

    /// The state of all of it: as it was when it was read, or as it is now.
    fn state(&self, paths: &[PathBuf], is_now: bool) -> State {
        // Files that have come since are there, too.
        let found = discover::discover(paths).unwrap_or_default();
        let mut files: BTreeSet<PathBuf> = self.files.keys().cloned().collect();
        files.extend(found.files);
        files.extend(found.passed_over);
        // A configuration may consist of all that stands in a directory.
        let beside: BTreeSet<PathBuf> = files
            .iter()
            .filter_map(|file| file.parent())
            .map(same_path)
            .collect();
        for directory in beside {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            let is_conf = |path: &PathBuf| {
                path.extension()
                    .is_some_and(|extension| extension == "conf")
            };
            files.extend(entries.map(|entry| entry.path()).filter(is_conf));
        }
        let states = files.into_iter().map(|file| {
            let seen = self.files.get(&file).filter(|_| !is_now);
            let state = seen.copied().unwrap_or_else(|| look(&file));
            (file, state)
        });
        states.collect()
    }

    /// The directories to be watched.
    fn places(&self, paths: &[PathBuf]) -> BTreeSet<PathBuf> {
        let parent = |file: &PathBuf| {
            let parent = file
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
        };
        let given = paths.iter().map(|path| {
            if path.is_dir() {
                path.clone()
            } else {
                parent(path)
            }
        });
        let files = self.files.keys().map(parent);
        let all = self.directories.iter().cloned().chain(files).chain(given);
        all.filter(|place| place.is_dir())
            .map(|place| same_path(&place))
            .collect()
    }
}

/// Size and time of each file; nothing for one that is not there.
type State = BTreeMap<PathBuf, Option<(u64, SystemTime)>>;

fn look(file: &Path) -> Option<(u64, SystemTime)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// Runs until it is ended by a signal; the exit code if it cannot watch.
pub(super) fn run(arguments: &TestArguments) -> u8 {
    let (hint, hints) = sync_channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is no change. A loss of hints is one.
        let counts = event.map_or(true, |event| !event.kind.is_access());
        if counts {
            // If one waits already, that is enough.
            hint.try_send(()).unwrap_or_default();
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            log::complain(&format!("cannot watch files: {error}"));
            return cli::EXIT_FAILED;
        }
    };
    let mut places: BTreeSet<PathBuf> = BTreeSet::new();
    let mut first = Watched::default();
    first.add(&arguments.plugin_mock);
    watch(&mut watcher, &mut places, first.places(&arguments.paths));
    loop {
        let (_code, watched) = once(arguments);
        watch(&mut watcher, &mut places, watched.places(&arguments.paths));
        let state = watched.state(&arguments.paths, false);
        log::say("watching for changes, Ctrl-C ends this\n\n");
        let has_changed = || watched.state(&arguments.paths, true) != state;
        if !wait(&hints, has_changed) {
            log::complain(&"the watch has ended");
            return cli::EXIT_FAILED;
        }
    }
}

/// Waits until something has changed and it is quiet; false if there can be no hint any more.
fn wait(hints: &Receiver<()>, has_changed: impl Fn() -> bool) -> bool {
    // What has changed while the cases ran may have given its hint then.
    while !has_changed() {
        if hints.recv().is_err() {
            return false;
        }
        while hints.recv_timeout(QUIET).is_ok() {}
    }
    while hints.recv_timeout(QUIET).is_ok() {}
    true
}

fn watch(
    watcher: &mut notify::RecommendedWatcher,
    places: &mut BTreeSet<PathBuf>,
    wanted: BTreeSet<PathBuf>,
) {
    for place in places.difference(&wanted) {
        // It may be gone, and its watch with it.
        drop(watcher.unwatch(place));
    }
    for place in wanted.difference(places) {
        if let Err(error) = watcher.watch(place, RecursiveMode::NonRecursive) {
            let path = place.display();
            tracing::warn!(%error, "changes in {path} are not noticed");
        }
    }
    *places = wanted;
}
