//! The registry's files: the registry itself, its lock, and one set aside when it is damaged.
//!
//! Saving appends what has changed and syncs it (`fdatasync`): its cost is that of the change,
//! however many files are known. What was appended is folded into a new file now and then: that is
//! written beside the old one, synced, renamed over it, and the directory is synced. So at any moment
//! there is one whole registry, and after a power failure it is at most one save behind. The lock is a
//! separate file, because the registry's own inode changes with every folding.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::format::{self, Decoded, Record};
use super::{Change, Entry, Ledger};
use crate::config::plan::directory_of;

/// The largest registry that is read: a million files.
pub const MAX_REGISTRY_BYTES: u64 = 512 << 20;
/// What is appended is folded in when it is this many times as large as the rest, …
pub const FOLD_FACTOR: u64 = 2;
/// … and at least this large; or after [`FOLD_INTERVAL`].
pub const FOLD_BYTES: u64 = 256 << 10;
/// So that the times at which files were last seen get to the disk.
pub const FOLD_INTERVAL: Duration = Duration::from_hours(24);

/// Why the registry cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Another process has it.
    #[error(
        "the registry `{path}` is in use by process {holder}; stop that one first, or give \
         this one a registry of its own with `data dir`"
    )]
    InUse {
        /// The registry.
        path: PathBuf,
        /// The process as its lock file names it.
        holder: String,
    },
    /// The file system refused.
    #[error("cannot {action} `{path}`: {error}; the registry's directory must be writable")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// It has to be read but is not there in a usable form.
    #[error("the registry `{path}` is larger than {MAX_REGISTRY_BYTES} bytes; move it away")]
    TooLarge {
        /// The registry.
        path: PathBuf,
    },
}

/// An opened and locked registry.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    directory: File,
    /// Where changes are appended; `None` before the first save and after a failed one.
    log: Option<Log>,
    /// Held for the lock; unlocked when dropped.
    _lock: File,
}

#[derive(Debug)]
struct Log {
    file: File,
    folded: u64,
    appended: u64,
    since: Instant,
}

/// What was found on opening.
#[derive(Debug)]
pub struct Loaded {
    /// The entries.
    pub decoded: Decoded,
    /// Whether there was a registry at all.
    pub existed: bool,
    /// Where a damaged registry was put.
    pub set_aside: Option<PathBuf>,
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> RegistryError + use<> {
    let path = path.to_owned();
    move |error| RegistryError::Io {
        action,
        path: path.clone(),
        error,
    }
}

/// Reads a registry without taking it. `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Decoded>, RegistryError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            let mut limited = file.take(MAX_REGISTRY_BYTES + 1);
            limited
                .read_to_end(&mut bytes)
                .map_err(failed("read", path))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    }
    if bytes.len() as u64 > MAX_REGISTRY_BYTES {
        return Err(RegistryError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(Some(format::decode(&bytes)))
}

impl Store {
    /// Makes the directory if need be, takes the lock, reads what is there.
    pub fn open(path: &Path) -> Result<(Self, Loaded), RegistryError> {
        let parent = directory_of(path);
        std::fs::create_dir_all(parent).map_err(failed("create", parent))?;
        let lock = lock(path)?;
        let directory = File::open(parent).map_err(failed("open", parent))?;
        let store = Self {
            path: path.to_owned(),
            directory,
            log: None,
            _lock: lock,
        };
        let mut loaded = Loaded {
            decoded: Decoded::default(),
            existed: false,
            set_aside: None,
        };
        match read(path)? {
            Some(decoded) => {
                (loaded.decoded, loaded.existed) = (decoded, true);
                if loaded.decoded.damage.is_some() {
                    loaded.set_aside = Some(store.set_aside("damaged")?);
                }
            }
            None => loaded.decoded.created = now(),
        }
        Ok((store, loaded))
    }

    /// Keeps a copy of the registry as it is, for whoever wants to look into it.
    pub fn set_aside(&self, why: &str) -> Result<PathBuf, RegistryError> {
        let aside = with_suffix(&self.path, &format!(".{why}-{}", now()));
        std::fs::copy(&self.path, &aside).map_err(failed("copy the registry to", &aside))?;
        Ok(aside)
    }

    /// Writes what has changed so that it survives a crash of the machine.
    pub fn save(&mut self, ledger: &mut Ledger) -> Result<(), RegistryError> {
        let due = match &self.log {
            None => true,
            Some(log) => {
                log.appended > FOLD_BYTES.max(log.folded * FOLD_FACTOR)
                    || log.since.elapsed() >= FOLD_INTERVAL
            }
        };
        if due {
            return self.fold(ledger);
        }
        // After a failure the end of the file is not known: the next save writes a new one.
        let Some(mut log) = self.log.take() else {
            return Ok(());
        };
        let mut text = String::new();
        for (number, change, entry) in ledger.changes() {
            let appended = match (change, entry) {
                (Change::Gone, _) | (_, None) => {
                    format::append(&mut text, &Record::<&Entry>::Gone { number })
                }
                (Change::All, Some(entry)) => {
                    format::append(&mut text, &Record::File { number, entry })
                }
                (Change::Moved, Some(entry)) => {
                    let record = Record::<&Entry>::At {
                        number,
                        offset: entry.offset,
                        mark: entry.mark,
                        cursor: entry.cursor.clone(),
                        seen: entry.seen,
                    };
                    format::append(&mut text, &record)
                }
            };
            appended.map_err(|error| failed("encode", &self.path)(error.into()))?;
        }
        if !text.is_empty() {
            log.file
                .write_all(text.as_bytes())
                .map_err(failed("write", &self.path))?;
            log.file.sync_data().map_err(failed("sync", &self.path))?;
            log.appended += text.len() as u64;
        }
        self.log = Some(log);
        ledger.saved();
        Ok(())
    }

    /// Writes all of the ledger into a new file, and that in the place of the old one.
    pub fn fold(&mut self, ledger: &mut Ledger) -> Result<(), RegistryError> {
        let new = with_suffix(&self.path, ".new");
        self.log = None;
        let text = format::encode(ledger.created, ledger.machine.as_deref(), ledger.entries())
            .map_err(|error| failed("encode", &self.path)(error.into()))?;
        let mut file = File::create(&new).map_err(failed("create", &new))?;
        file.write_all(text.as_bytes())
            .map_err(failed("write", &new))?;
        file.sync_all().map_err(failed("sync", &new))?;
        std::fs::rename(&new, &self.path).map_err(failed("rename", &new))?;
        self.directory
            .sync_all()
            .map_err(failed("sync the directory of", &self.path))?;
        self.log = Some(Log {
            file,
            folded: text.len() as u64,
            appended: 0,
            since: Instant::now(),
        });
        ledger.saved();
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, RegistryError> {
    let path_of_lock = with_suffix(path, ".lock");
    let failed = |action| failed(action, &path_of_lock);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path_of_lock)
        .map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = file.take(32).read_to_string(&mut holder);
            let holder = match read {
                Ok(_) if !holder.trim().is_empty() => holder.trim().to_owned(),
                _ => "(unknown)".to_owned(),
            };
            return Err(RegistryError::InUse {
                path: path.to_owned(),
                holder,
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
    }
    file.set_len(0).map_err(failed("truncate"))?;
    file.rewind().map_err(failed("write"))?;
    writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
    Ok(file)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::super::tests::entry;
    use super::*;
    use crate::batch::Batch;
    use crate::event::Source;

    #[tokio::test]
    async fn saved_and_opened_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/er/registry");
        let (mut store, loaded) = Store::open(&path).expect("opens");
        assert!(!loaded.existed);
        let mut ledger = Ledger::new(42, Some("m".to_owned()), vec![entry(1, 10)]);
        store.save(&mut ledger).expect("saves");
        drop(store);
        let (_store, loaded) = Store::open(&path).expect("opens");
        assert_eq!((loaded.decoded.created, loaded.set_aside), (42, None));
        assert_eq!(loaded.decoded.machine.as_deref(), Some("m"));
        assert_eq!(loaded.decoded.entries, [entry(1, 10)]);
    }

    #[tokio::test]
    async fn a_second_user_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("registry");
        let (_store, _) = Store::open(&path).expect("opens");
        let error = Store::open(&path).expect_err("is refused").to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_damaged_registry_is_set_aside_and_its_whole_lines_are_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("registry");
        let (mut store, _) = Store::open(&path).expect("opens");
        store
            .save(&mut Ledger::new(1, None, vec![entry(1, 10), entry(2, 20)]))
            .expect("saves");
        drop(store);
        let mut bytes = std::fs::read(&path).expect("reads");
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).expect("writes");
        let (_store, loaded) = Store::open(&path).expect("opens");
        assert_eq!(loaded.decoded.entries.len(), 1);
        let aside = loaded.set_aside.expect("set aside");
        assert_eq!(std::fs::read(aside).expect("reads"), bytes);
    }

    #[tokio::test]
    async fn a_leftover_of_an_interrupted_save_does_no_harm() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("registry");
        std::fs::write(directory.path().join("registry.new"), "half").expect("writes");
        let (mut store, _) = Store::open(&path).expect("opens");
        store
            .save(&mut Ledger::new(1, None, vec![entry(1, 10)]))
            .expect("saves");
        drop(store);
        assert_eq!(
            Store::open(&path).expect("opens").1.decoded.entries.len(),
            1
        );
    }

    fn acknowledge(ledger: &mut Ledger, source: u64, to: u64) {
        let from = Rc::new(Source::new(source, true, Path::new("/a"), "h", &[]));
        let mut batch = Batch::default();
        batch.push(&from, 0, format!("line to {to}").as_bytes(), to - 20, to);
        ledger.acknowledge(&batch, 0..1);
    }

    /// With many files known, a save of one position writes about a hundred bytes.
    #[tokio::test]
    async fn complaint_09_a_save_costs_what_has_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("registry");
        let (mut store, _) = Store::open(&path).expect("opens");
        let mut ledger = Ledger::new(1, None, (1..10_000).map(|n| entry(n, 10)).collect());
        ledger.insert(1, entry(77_777, 0));
        store.save(&mut ledger).expect("saves");
        let size = || std::fs::metadata(&path).expect("is there").len();
        let folded = size();
        for round in 1..=50 {
            acknowledge(&mut ledger, 1, round * 100);
            store.save(&mut ledger).expect("saves");
        }
        let each = (size() - folded) / 50;
        assert!((50..250).contains(&each), "{each} bytes for each save");
        // And the file does not grow for ever.
        let mut largest = 0;
        for round in 51..300 {
            acknowledge(&mut ledger, 1, round * 100);
            ledger.touch(1, round);
            store.log.as_mut().expect("open").appended += 100_000;
            store.save(&mut ledger).expect("saves");
            largest = largest.max(size());
        }
        assert!(largest < folded * 4, "{largest} bytes, folded {folded}");
        drop(store);
        let (_store, loaded) = Store::open(&path).expect("opens");
        assert_eq!(loaded.decoded.entries.len(), 10_000);
        let last = loaded.decoded.entries.last().expect("some");
        assert_eq!(last.offset, 29_900);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert,
        Acknowledge(prop::sample::Index),
        Grow(prop::sample::Index),
        Remove(prop::sample::Index),
        Release(prop::sample::Index),
        ForgetReleased,
        Save,
        Fold,
        Reopen,
        /// The machine fails: of what was not synced any part may be missing.
        Crash(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let index = any::<prop::sample::Index>;
        prop_oneof![
            3 => Just(Step::Insert),
            6 => index().prop_map(Step::Acknowledge),
            1 => index().prop_map(Step::Grow),
            1 => index().prop_map(Step::Remove),
            1 => index().prop_map(Step::Release),
            1 => Just(Step::ForgetReleased),
            4 => Just(Step::Save),
            1 => Just(Step::Fold),
            1 => Just(Step::Reopen),
            1 => index().prop_map(Step::Crash),
        ]
    }

    fn all(ledger: &Ledger) -> Vec<Entry> {
        sorted(ledger.entries().map(|(_, entry)| entry.clone()).collect())
    }

    fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
        entries.sort_by_key(|entry| entry.identity.inode);
        entries
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 24,
            max_shrink_iters: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Whatever happens, and wherever the power fails: what is read afterwards is what was in
        /// memory at the last save, or at one that was under way.
        #[test]
        fn complaint_09_what_was_saved_is_there_after_any_history(
            steps in proptest::collection::vec(step(), 1..40)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.expect("a runtime");
            let _context = runtime.enter();
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("registry");
            let (mut store, _) = Store::open(&path).expect("opens");
            let mut ledger = Ledger::new(1, None, Vec::new());
            store.save(&mut ledger).expect("saves");
                        let (mut sources, mut next): (Vec<u64>, u64) = (Vec::new(), 1);
            let size = |path: &Path| std::fs::metadata(path).expect("is there").len();
            let (mut saved, mut synced) = (Vec::new(), size(&path));
            for step in steps {
                match step {
                    Step::Insert => {
                        ledger.insert(next, entry(next, 0));
                        sources.push(next);
                        next += 1;
                    }
                    Step::Acknowledge(_) | Step::Grow(_) | Step::Remove(_) | Step::Release(_)
                        if sources.is_empty() => {}
                    Step::Acknowledge(index) => {
                        let source = *index.get(&sources);
                        let offset = ledger.entry(source).expect("active").offset;
                        acknowledge(&mut ledger, source, offset + 20);
                    }
                    Step::Grow(index) => {
                        let source = *index.get(&sources);
                        let text = source.to_string();
                        let fingerprint = crate::tail::identity::Fingerprint::of(text.as_bytes());
                        ledger.update_fingerprint(source, fingerprint);
                    }
                    Step::Remove(index) => {
                        ledger.remove(sources.swap_remove(index.index(sources.len())));
                    }
                    Step::Release(index) => {
                        ledger.release(sources.swap_remove(index.index(sources.len())));
                    }
                    Step::ForgetReleased => drop(ledger.forget(|_| true)),
                    Step::Save => {
                        store.save(&mut ledger).expect("saves");
                        (saved, synced) = (all(&ledger), size(&path));
                    }
                    Step::Fold => {
                        store.fold(&mut ledger).expect("saves");
                        (saved, synced) = (all(&ledger), size(&path));
                    }
                    Step::Reopen | Step::Crash(_) => {
                        if let Step::Crash(index) = step {
                            // A save begins, and any part of it gets to the disk.
                            let before = saved.clone();
                            let folds = store.log.is_none();
                            store.save(&mut ledger).expect("saves");
                            let end = size(&path);
                            if !folds && end > synced {
                                let cut = synced + index.index((end - synced) as usize + 1) as u64;
                                let file = OpenOptions::new().write(true).open(&path);
                                file.expect("opens").set_len(cut).expect("cuts");
                                if cut == synced {
                                    prop_assert_eq!(
                                        sorted(read(&path).expect("reads").expect("some").entries),
                                        before
                                    );
                                }
                                let read = read(&path).expect("reads").expect("some");
                                prop_assert_eq!(&read.damage, &None);
                                saved = sorted(read.entries);
                            } else {
                                saved = all(&ledger);
                            }
                        }
                        drop(store);
                        let (opened, loaded) = Store::open(&path).expect("opens");
                        prop_assert_eq!(&loaded.decoded.damage, &None);
                        prop_assert_eq!(&sorted(loaded.decoded.entries.clone()), &saved);
                        store = opened;
                        ledger = Ledger::new(1, None, Vec::new());
                        sources.clear();
                        for entry in loaded.decoded.entries {
                            sources.push(next);
                            ledger.insert(next, entry);
                            next += 1;
                        }
                        store.save(&mut ledger).expect("saves");
                        (saved, synced) = (all(&ledger), size(&path));
                    }
                }
            }
        }
    }
}
