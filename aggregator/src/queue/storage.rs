//! The few things the queue asks of a file system, so that tests can take its place and fail.
//!
//! All names are plain file names in the queue's one directory.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::QueueError;

/// A directory of files.
pub(crate) trait Storage: Debug + Send + Sync {
    /// Where it is, for messages.
    fn path(&self) -> &Path;
    /// Names and sizes of all files.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Makes a file that is not there yet.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;
    /// Opens a file that is there, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when files that were made or removed before this stay so through a crash.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub(crate) trait StoredFile: Debug + Send + Sync {
    /// Its length.
    fn length(&self) -> io::Result<u64>;
    /// Reads up to `bytes.len()` bytes; fewer only at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes`; when that fails, any part of them may be there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts it off, or adds zeros.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Takes disk space for so many bytes and makes the file that long.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Returns when everything written before this stays so through a crash.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the real file system.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Held for as long as the queue is used.
    _lock: Option<File>,
}

impl Directory {
    /// Makes the directory if need be, and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Self, QueueError> {
        let failed = |operation: &str| {
            let (path, operation) = (path.to_owned(), operation.to_owned());
            move |source| QueueError::Disk {
                path,
                operation,
                source,
            }
        };
        fs::create_dir_all(path).map_err(failed("make the directory"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(failed("open the file lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.into(),
                _lock: Some(lock),
            }),
            Err(fs::TryLockError::WouldBlock) => Err(QueueError::Locked { path: path.into() }),
            Err(fs::TryLockError::Error(error)) => Err(failed("lock the file lock")(error)),
        }
    }

    /// The directory without a lock, for looking only.
    pub(crate) fn look(path: &Path) -> Result<Self, QueueError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self {
                path: path.into(),
                _lock: None,
            }),
            _ => Err(QueueError::Missing { path: path.into() }),
        }
    }

    fn options(&self, name: &str, create: bool) -> io::Result<Arc<dyn StoredFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create)
            .open(self.path.join(name))?;
        Ok(Arc::new(file))
    }
}

impl Storage for Directory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed meanwhile by the process that has the queue.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Ok(name) = entry.file_name().into_string()
                && metadata.is_file()
            {
                files.push((name, metadata.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.options(name, true)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.options(name, false)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl StoredFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            match std::os::unix::fs::FileExt::read_at(
                self,
                &mut bytes[read..],
                offset + read as u64,
            ) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, length)
            .map_err(io::Error::from)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
