//! `--watch`: runs again when a file changes that the result depends on.
//!
//! The kernel's hints wake it, and nothing else: there is no polling. A hint counts only if one of the
//! files has another size or time than when it was read, or if there is a file more or less, so that
//! reading, and writing a report, wake nobody for long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use notify::{RecursiveMode, Watcher as _};
use skidder_pipeline::filter::reload::WatchedFile;

use super::arguments::TestArguments;
use super::session::same_path;
use super::{discover, once, printed};
use crate::{cli, log};

/// Editors write a file in several steps: this long nothing must happen before cases run again.
const QUIET: Duration = Duration::from_millis(60);

/// What a result depends on.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Directories in which files can come and go.
    pub(super) directories: Vec<PathBuf>,
    pub(super) files: Vec<PathBuf>,
}

impl Watched {
    pub(super) fn add_configuration(&mut self, files: &[PathBuf], others: &[WatchedFile]) {
        self.files.extend(files.iter().cloned());
        self.files
            .extend(others.iter().map(|file| file.path().to_owned()));
    }

    /// The state of all of it.
    fn state(&self, paths: &[PathBuf]) -> State {
        // Files that have come since are there, too.
        let found = discover::discover(paths).unwrap_or_default();
        let files = self
            .files
            .iter()
            .chain(&found.files)
            .chain(&found.passed_over);
        let mut beside = BTreeSet::new();
        let mut state = State::new();
        for file in files {
            beside.extend(file.parent().map(same_path));
            state.insert(file.clone(), look(file));
        }
        // A configuration may consist of all that stands in a directory.
        for directory in beside {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            for path in entries.map(|entry| entry.path()) {
                if path
                    .extension()
                    .is_some_and(|extension| extension == "conf")
                {
                    let look = look(&path);
                    state.insert(path, look);
                }
            }
        }
        state
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
        let files = self.files.iter().map(parent);
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
    let (hint, hints) = channel();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is no change. A loss of hints is one.
        let counts = event.map_or(true, |event| !event.kind.is_access());
        if counts {
            // Whoever has stopped listening is gone with the process.
            hint.send(()).unwrap_or_default();
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
    first.files.extend(arguments.plugin_mock.clone());
    watch(&mut watcher, &mut places, first.places(&arguments.paths));
    loop {
        let (_code, watched) = once(arguments);
        watch(&mut watcher, &mut places, watched.places(&arguments.paths));
        // What has changed while it ran is seen as a change after the next hint only if it is looked
        // at now: the state is taken, and hints that came meanwhile are tried against it.
        let state = watched.state(&arguments.paths);
        printed("watching for changes, Ctrl-C ends this\n", cli::EXIT_OK);
        if !wait(&hints, || watched.state(&arguments.paths) != state) {
            log::complain(&"the watch has ended");
            return cli::EXIT_FAILED;
        }
        printed("\n", cli::EXIT_OK);
    }
}

/// Waits for a hint after which something has changed; whether there can be any more.
fn wait(hints: &Receiver<()>, has_changed: impl Fn() -> bool) -> bool {
    loop {
        if hints.recv().is_err() {
            return false;
        }
        // Until it is quiet.
        loop {
            match hints.recv_timeout(QUIET) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        if has_changed() {
            return true;
        }
    }
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
