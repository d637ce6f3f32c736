//! The registry's files: the registry itself, its lock, and one set aside when it is damaged.
//!
//! Saving writes a new file beside the old one, syncs it, renames it over and syncs the
//! directory: at any moment there is one whole registry. The lock is a separate file,
//! because the registry's own inode changes with every save.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::format::{self, Decoded};
use super::{Entry, Ledger};
use crate::config::plan::directory_of;

/// The largest registry that is read: a million files.
pub const MAX_REGISTRY_BYTES: u64 = 512 << 20;

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
    /// Held for the lock; unlocked when dropped.
    _lock: File,
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

impl Store {
    /// Makes the directory if need be, takes the lock, reads what is there.
    pub fn open(path: &Path) -> Result<(Self, Loaded), RegistryError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |error| RegistryError::Io {
                action,
                path,
                error,
            }
        };
        let parent = directory_of(path);
        std::fs::create_dir_all(parent).map_err(failed("create", parent))?;
        let lock = lock(path)?;
        let directory = File::open(parent).map_err(failed("open", parent))?;
        let mut bytes = Vec::new();
        let existed = match File::open(path) {
            Ok(file) => {
                let mut limited = file.take(MAX_REGISTRY_BYTES + 1);
                limited
                    .read_to_end(&mut bytes)
                    .map_err(failed("read", path))?;
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed("open", path)(error)),
        };
        if bytes.len() as u64 > MAX_REGISTRY_BYTES {
            return Err(RegistryError::TooLarge {
                path: path.to_owned(),
            });
        }
        let mut loaded = Loaded {
            decoded: Decoded::default(),
            existed,
            set_aside: None,
        };
        if existed {
            loaded.decoded = format::decode(&bytes);
            if loaded.decoded.damage.is_some() {
                let aside = with_suffix(path, &format!(".damaged-{}", now()));
                std::fs::copy(path, &aside)
                    .map_err(failed("copy the damaged registry to", &aside))?;
                loaded.set_aside = Some(aside);
            }
        } else {
            loaded.decoded.created = now();
        }
        Ok((
            Self {
                path: path.to_owned(),
                directory,
                _lock: lock,
            },
            loaded,
        ))
    }

    /// Writes the ledger so that it survives a crash of the machine.
    pub fn save(&self, ledger: &Ledger) -> Result<(), RegistryError> {
        self.write(ledger.created, &ledger.entries())
    }

    fn write(&self, created: u64, entries: &[&Entry]) -> Result<(), RegistryError> {
        let new = with_suffix(&self.path, ".new");
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |error| RegistryError::Io {
                action,
                path,
                error,
            }
        };
        let text = format::encode(created, entries)
            .map_err(|error| failed("encode", &self.path)(error.into()))?;
        let mut file = File::create(&new).map_err(failed("create", &new))?;
        file.write_all(text.as_bytes())
            .map_err(failed("write", &new))?;
        file.sync_all().map_err(failed("sync", &new))?;
        std::fs::rename(&new, &self.path).map_err(failed("rename", &new))?;
        self.directory
            .sync_all()
            .map_err(failed("sync the directory of", &self.path))
    }
}

fn lock(path: &Path) -> Result<File, RegistryError> {
    let path_of_lock = with_suffix(path, ".lock");
    let failed = |action| {
        let path = path_of_lock.clone();
        move |error| RegistryError::Io {
            action,
            path,
            error,
        }
    };
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
    use super::super::tests::entry;
    use super::*;

    #[test]
    fn saved_and_opened_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/er/registry");
        let (store, loaded) = Store::open(&path).expect("opens");
        assert!(!loaded.existed);
        let ledger = Ledger::new(42, vec![entry(1, 10)]);
        store.save(&ledger).expect("saves");
        drop(store);
        let (_store, loaded) = Store::open(&path).expect("opens");
        assert_eq!((loaded.decoded.created, loaded.set_aside), (42, None));
        assert_eq!(loaded.decoded.entries, [entry(1, 10)]);
    }

    #[test]
    fn a_second_user_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("registry");
        let (_store, _) = Store::open(&path).expect("opens");
        let error = Store::open(&path).expect_err("is refused").to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_registry_is_set_aside_and_its_whole_lines_are_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("registry");
        let (store, _) = Store::open(&path).expect("opens");
        store
            .save(&Ledger::new(1, vec![entry(1, 10), entry(2, 20)]))
            .expect("saves");
        drop(store);
        let bytes = std::fs::read(&path).expect("reads");
        std::fs::write(&path, &bytes[..bytes.len() - 20]).expect("writes");
        let (_store, loaded) = Store::open(&path).expect("opens");
        assert_eq!(loaded.decoded.entries, [entry(1, 10)]);
        let aside = loaded.set_aside.expect("set aside");
        assert_eq!(std::fs::read(aside).expect("reads").len(), bytes.len() - 20);
    }

    #[test]
    fn a_leftover_of_an_interrupted_save_does_no_harm() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("registry");
        std::fs::write(directory.path().join("registry.new"), "half").expect("writes");
        let (store, _) = Store::open(&path).expect("opens");
        store
            .save(&Ledger::new(1, vec![entry(1, 10)]))
            .expect("saves");
        drop(store);
        assert_eq!(
            Store::open(&path).expect("opens").1.decoded.entries.len(),
            1
        );
    }
}
