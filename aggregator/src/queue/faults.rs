//! A file system in memory that fails on purpose, for the tests of the queue.
//!
//! It knows what is safe and what only seems to be there: a crash ([`Disk::crash`]) throws away
//! what was not synced, or keeps any part of it. Names of files are only safe after
//! [`Storage::sync_names`], contents after [`StoredFile::sync`]. It can be full, and it can fail the next
//! write or sync after having done a part of it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage::{Storage, StoredFile};

/// The file system.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    /// Contents by inode.
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    safe_names: BTreeMap<String, u64>,
    next_inode: u64,
    capacity: Option<u64>,
    fail: Option<Failure>,
    syncs: u64,
    /// Handles of before a crash are dead.
    life: u64,
}

#[derive(Clone, Debug, Default)]
struct Content {
    seen: Vec<u8>,
    safe: Vec<u8>,
    /// Writes since the last sync, in order.
    unsafe_writes: Vec<(u64, Vec<u8>)>,
}

/// What goes wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A write stops after so many bytes.
    Write(usize),
    /// A sync fails; what it should have made safe never will be.
    Sync,
}

/// What survives of a write that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// So many bytes of what was written to each file, in order.
    Bytes(u64),
    /// Of each file only every other write, as pages may reach the disk in any order.
    Alternate,
}

impl Disk {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    pub(super) fn fail_next(&self, failure: Failure) {
        self.lock().fail = Some(failure);
    }

    pub(super) fn heal(&self) {
        self.lock().fail = None;
    }

    pub(super) fn used(&self) -> u64 {
        self.lock().used()
    }

    pub(super) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The contents of a file as they seem.
    pub(super) fn content(&self, name: &str) -> Vec<u8> {
        let inside = self.lock();
        inside.files[&inside.names[name]].seen.clone()
    }

    /// Changes a file behind the queue's back, as a disk that rots does.
    pub(super) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inside = self.lock();
        let inode = inside.names[name];
        let content = inside.files.get_mut(&inode).unwrap();
        change(&mut content.seen);
        content.safe = content.seen.clone();
        content.unsafe_writes.clear();
    }

    /// Power is cut. Every handle is dead afterwards.
    pub(super) fn crash(&self, survival: Survival) {
        let mut inside = self.lock();
        inside.life += 1;
        inside.fail = None;
        if survival == Survival::Everything {
            inside.safe_names = inside.names.clone();
        }
        inside.names = inside.safe_names.clone();
        for content in inside.files.values_mut() {
            let writes = std::mem::take(&mut content.unsafe_writes);
            let mut left = content.safe.clone();
            match survival {
                Survival::Nothing => {}
                Survival::Everything => left = content.seen.clone(),
                Survival::Bytes(mut bytes) => {
                    for (offset, mut write) in writes {
                        write.truncate(usize::try_from(bytes).unwrap());
                        bytes -= write.len() as u64;
                        put(&mut left, offset, &write);
                    }
                }
                Survival::Alternate => {
                    for (offset, write) in writes.into_iter().skip(1).step_by(2) {
                        put(&mut left, offset, &write);
                    }
                }
            }
            content.safe.clone_from(&left);
            content.seen = left;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn used(&self) -> u64 {
        self.names
            .values()
            .map(|inode| self.files[inode].seen.len() as u64)
            .sum()
    }

    fn room_for(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used() + more > capacity => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let offset = usize::try_from(offset).unwrap();
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Storage for Disk {
    fn path(&self) -> &Path {
        Path::new("/test")
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let inside = self.lock();
        let size = |inode: &u64| inside.files[inode].seen.len() as u64;
        let names = inside.names.iter();
        Ok(names
            .map(|(name, inode)| (name.clone(), size(inode)))
            .collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let mut inside = self.lock();
        if inside.names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let inode = inside.next_inode;
        inside.next_inode += 1;
        inside.files.insert(inode, Content::default());
        inside.names.insert(name.into(), inode);
        Ok(Arc::new(Handle {
            disk: self.clone(),
            inode,
            life: inside.life,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let inside = self.lock();
        let inode = inside.names.get(name).copied();
        Ok(Arc::new(Handle {
            disk: self.clone(),
            inode: inode.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?,
            life: inside.life,
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.lock().names.remove(name);
        removed
            .map(drop)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inside = self.lock();
        inside.safe_names = inside.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    disk: Disk,
    inode: u64,
    life: u64,
}

impl Handle {
    fn with<T>(&self, work: impl FnOnce(&mut Inside) -> io::Result<T>) -> io::Result<T> {
        let mut inside = self.disk.lock();
        assert_eq!(
            inside.life, self.life,
            "a handle of before the crash was used"
        );
        work(&mut inside)
    }
}

impl StoredFile for Handle {
    fn length(&self) -> io::Result<u64> {
        self.with(|inside| Ok(inside.files[&self.inode].seen.len() as u64))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|inside| {
            let seen = &inside.files[&self.inode].seen;
            let start = usize::try_from(offset).unwrap().min(seen.len());
            let read = bytes.len().min(seen.len() - start);
            bytes[..read].copy_from_slice(&seen[start..start + read]);
            Ok(read)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|inside| {
            let length = inside.files[&self.inode].seen.len() as u64;
            let more = (offset + bytes.len() as u64).saturating_sub(length);
            let mut result = inside.room_for(more);
            let mut part = bytes;
            if let Some(Failure::Write(written)) = inside.fail {
                inside.fail = None;
                part = &bytes[..written.min(bytes.len())];
                result = Err(io::Error::from(io::ErrorKind::StorageFull));
            } else if result.is_err() {
                // A full disk takes what fits.
                let left = inside.capacity.unwrap_or(0).saturating_sub(inside.used());
                part = &bytes[..bytes.len().min(usize::try_from(left).unwrap())];
            }
            let content = inside.files.get_mut(&self.inode).unwrap();
            put(&mut content.seen, offset, part);
            content.unsafe_writes.push((offset, part.to_vec()));
            result
        })
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.with(|inside| {
            let content = inside.files.get_mut(&self.inode).unwrap();
            content.seen.resize(usize::try_from(length).unwrap(), 0);
            content.unsafe_writes.retain_mut(|(offset, write)| {
                write.truncate(usize::try_from(length.saturating_sub(*offset)).unwrap());
                !write.is_empty()
            });
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.with(|inside| {
            inside.room_for(length)?;
            let content = inside.files.get_mut(&self.inode).unwrap();
            content.seen.resize(usize::try_from(length).unwrap(), 0);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|inside| {
            inside.syncs += 1;
            let failed = inside.fail == Some(Failure::Sync);
            let content = inside.files.get_mut(&self.inode).unwrap();
            if failed {
                // The pages count as clean now: no later sync writes them.
                content.unsafe_writes.clear();
                inside.fail = None;
                return Err(io::Error::other("the disk failed"));
            }
            // Only what is still known to be dirty: a failed sync has made the rest look clean.
            for (offset, write) in std::mem::take(&mut content.unsafe_writes) {
                put(&mut content.safe, offset, &write);
            }
            content.safe.resize(content.seen.len(), 0);
            Ok(())
        })
    }
}
