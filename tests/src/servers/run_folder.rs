//! The folder that a server has its config, data and logs in, for one run of a test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// The folder of one run. A lock file tells whether the process that made it still lives;
/// folders of dead processes are removed when the next one is made.
#[derive(Debug)]
pub(super) struct RunFolder {
    /// Where it is.
    pub(super) path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// A new folder below this one, with a name that begins so.
    pub(super) fn new(cache: &Path, name: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let runs = cache.join("runs");
        std::fs::create_dir_all(&runs).with_context(|| format!("creating {}", runs.display()))?;
        remove_dead(&runs);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = runs.join(format!("{name}-{}-{number}", std::process::id()));
        // The lock is taken before the folder exists: nobody can think it dead in between.
        let lock_path = lock_file(&path);
        let lock = File::create(&lock_path)
            .with_context(|| format!("creating {}", lock_path.display()))?;
        lock.lock()
            .with_context(|| format!("locking {}", lock_path.display()))?;
        std::fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // A failing test keeps its server's logs until the next run.
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.path).ok();
            std::fs::remove_file(lock_file(&self.path)).ok();
        }
    }
}

/// `NAME.lock` beside the folder; versions hold dots, so the extension is added, not replaced.
fn lock_file(run: &Path) -> PathBuf {
    let mut name = run.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn remove_dead(runs: &Path) {
    let Ok(entries) = std::fs::read_dir(runs) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path
            .extension()
            .is_some_and(|extension| extension == "lock")
            && File::open(&path).is_ok_and(|file| file.try_lock().is_ok())
        {
            std::fs::remove_dir_all(path.with_extension("")).ok();
            std::fs::remove_file(&path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_a_dead_run_left_and_nothing_else() {
        let cache = tempfile::tempdir().unwrap();
        let alive = RunFolder::new(cache.path(), "alive-1.2.3").unwrap();
        let dead = cache.path().join("runs/dead-1.2.3-1-0");
        std::fs::create_dir_all(dead.join("data")).unwrap();
        std::fs::write(cache.path().join("runs/dead-1.2.3-1-0.lock"), "").unwrap();
        let second = RunFolder::new(cache.path(), "second").unwrap();
        assert!(!dead.is_dir());
        assert!(alive.path.is_dir() && second.path.is_dir());
        let path = second.path.clone();
        drop(second);
        assert!(!path.is_dir());
    }
}
