//! Looks at the files that filters depend on and hands them in anew when they have changed.
//!
//! One thread for all of them, so that no worker ever waits for a disk or for a large dictionary
//! to be read. A file counts as changed when its time, size or inode is another one: writing a new
//! file beside it and renaming that is seen at once and whole. A file that cannot be read, or whose
//! contents are refused, changes nothing: a warning says so, once for each change.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use skidder_pipeline::Pipeline;
use skidder_pipeline::filter::reload::WatchedFile;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::log;

/// A file is looked at no more often than this, whatever its interval.
pub const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Watcher {
    _stop: Sender<()>,
}

/// Starts to look at the files of a pipeline, if it has any.
pub fn watch(pipeline: &Arc<Pipeline>) -> std::io::Result<Option<Watcher>> {
    if pipeline.watched_files.is_empty() {
        return Ok(None);
    }
    let (stop, stopped) = bounded(0);
    let pipeline = Arc::clone(pipeline);
    log::thread("reload", move || run(&pipeline.watched_files, &stopped))?;
    Ok(Some(Watcher { _stop: stop }))
}

/// What a file was when it was last looked at; none if it was not there.
type Seen = Option<(i64, i64, u64, u64)>;

struct State<'f> {
    file: &'f WatchedFile,
    interval: Duration,
    due: Instant,
    seen: Seen,
}

fn run(files: &[WatchedFile], stopped: &Receiver<()>) {
    let start = Instant::now();
    let mut states: Vec<State<'_>> = files
        .iter()
        .map(|file| {
            let interval = file.interval().max(LEAST_INTERVAL);
            State {
                file,
                interval,
                due: start + interval,
                seen: look(file),
            }
        })
        .collect();
    loop {
        let now = Instant::now();
        for state in &mut states {
            if state.due <= now {
                check(state);
                state.due = Instant::now() + state.interval;
            }
        }
        let next = states.iter().map(|state| state.due).min();
        let wait = next.map_or(LEAST_INTERVAL, |next| next.saturating_duration_since(now));
        match stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn check(state: &mut State<'_>) {
    let path = state.file.path();
    let seen = look(state.file);
    if seen == state.seen {
        return;
    }
    state.seen = seen;
    if seen.is_none() {
        warn!(path = %path.display(), "file is gone, its last contents stay in use");
        return;
    }
    let loaded = std::fs::read(path)
        .map_err(|error| error.to_string())
        .and_then(|contents| state.file.load(contents));
    match loaded {
        Ok(()) => info!(path = %path.display(), "file has changed, its new contents are in use"),
        Err(error) => warn!(
            path = %path.display(),
            error,
            "file has changed but cannot be used, the contents before stay in use"
        ),
    }
}

fn look(file: &WatchedFile) -> Seen {
    let identity = |metadata: Metadata| {
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        (seconds, nanoseconds, metadata.size(), metadata.ino())
    };
    std::fs::metadata(file.path()).ok().map(identity)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
        let patience = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < patience, "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn changes_are_handed_in_and_errors_do_not_end_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words");
        let beside = directory.path().join("new");
        std::fs::write(&path, "one").unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let file = WatchedFile::new(path.clone(), Duration::ZERO, {
            let seen = Arc::clone(&seen);
            move |contents| {
                let text = String::from_utf8_lossy(&contents).into_owned();
                let good = text != "bad";
                seen.lock().unwrap().push(text);
                good.then_some(()).ok_or_else(|| "bad words".to_owned())
            }
        });
        let (stop, stopped) = bounded(0);
        let thread = std::thread::spawn(move || run(&[file], &stopped));
        let last = || seen.lock().unwrap().last().cloned();
        for contents in ["two", "bad", "three", "four"] {
            // The file may be gone for a while.
            std::fs::remove_file(&path).unwrap();
            // By renaming, and until the thread has seen it: it may not have looked yet.
            wait_for(contents, || {
                std::fs::write(&beside, contents).unwrap();
                std::fs::rename(&beside, &path).unwrap();
                last().as_deref() == Some(contents)
            });
        }
        drop(stop);
        thread.join().unwrap();
    }
}
