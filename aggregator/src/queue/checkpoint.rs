//! Writes down what is done with, and removes segments of which nothing is needed any more.

use std::io;
use std::sync::Arc;

use super::format::{BadHeader, Checkpoint, MAX_RANGES, SLOT};
use super::state::{Shared, segment_name};
use super::storage::{Storage, StoredFile};

/// The name of the file.
pub(super) const NAME: &str = "checkpoint";

/// Keeps the checkpoint of a queue. There is one for a queue.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    file: Arc<dyn StoredFile>,
    generation: u64,
    /// The slot that was not synced last.
    slot: u64,
    /// What the slot that was synced last says.
    synced: Option<Checkpoint>,
    /// Removed segments whose files are still there.
    undeletable: Vec<u64>,
}

impl Keeper {
    /// A keeper that goes on behind what was read from the file.
    pub(super) fn new(shared: Arc<Shared>, file: Arc<dyn StoredFile>, read: &Read) -> Self {
        Self {
            shared,
            file,
            generation: read.newest.as_ref().map_or(0, |newest| newest.generation),
            slot: read.free_slot,
            synced: None,
            undeletable: Vec::new(),
        }
    }

    /// Writes the state into the free slot. It survives a kill of the process from now on.
    pub(super) fn write(&mut self) -> io::Result<Checkpoint> {
        let mut state = self.shared.lock();
        state.acknowledged_events = 0;
        let checkpoint = Checkpoint {
            generation: self.generation + 1,
            salt: self.shared.salt,
            next: state.end,
            done: state.done.truncated(MAX_RANGES),
        };
        drop(state);
        self.generation += 1;
        self.file
            .write_at(&checkpoint.to_bytes(), self.slot * SLOT as u64)?;
        Ok(checkpoint)
    }

    /// Writes the state, syncs it, and removes the segments that are not needed any more. Nothing
    /// is done if nothing has changed.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let unchanged = |synced: &Checkpoint| {
            let state = self.shared.lock();
            synced.done == state.done && synced.next == state.end
        };
        if !self.synced.as_ref().is_some_and(unchanged) {
            let checkpoint = self.write()?;
            self.file.sync()?;
            self.slot = 1 - self.slot;
            self.shared.lock().synced_below = checkpoint.done.watermark();
            self.synced = Some(checkpoint);
        }
        self.remove_segments();
        Ok(())
    }

    fn remove_segments(&mut self) {
        let Some(synced) = &self.synced else {
            return;
        };
        let mut state = self.shared.lock();
        let needless: Vec<(u64, u64)> = state
            .segments
            .iter()
            .filter(|(_, segment)| segment.closed && synced.done.covers(segment.first, segment.end))
            .map(|(number, segment)| (*number, segment.length))
            .collect();
        for (number, _) in &needless {
            state.segments.remove(number);
        }
        drop(state);
        self.undeletable
            .extend(needless.iter().map(|(number, _)| *number));
        let storage = &self.shared.storage;
        self.undeletable.retain(|number| {
            let name = segment_name(*number);
            match storage.remove(&name) {
                Ok(()) => false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => {
                    tracing::warn!(queue = %storage.path().display(), file = name, %error, "cannot remove a segment that is not needed any more");
                    true
                }
            }
        });
        if !needless.is_empty() {
            // Not synced: a removed segment that comes back is known to be done with.
            let mut state = self.shared.lock();
            state.bytes -= needless.iter().map(|(_, length)| length).sum::<u64>();
            drop(state);
            self.shared.freed.notify_all();
        }
    }
}

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The newer of the slots that can be read.
    pub(super) newest: Option<Checkpoint>,
    /// The other slot.
    pub(super) free_slot: u64,
    /// Slots that hold something that is no checkpoint.
    pub(super) damaged: u32,
}

/// Reads the file; `Err` with the version, if it is of one to come.
pub(super) fn read(file: &dyn StoredFile) -> io::Result<Result<Read, u16>> {
    let mut read = Read::default();
    for slot in 0..2 {
        let mut bytes = [0; SLOT];
        let length = file.read_at(&mut bytes, slot * SLOT as u64)?;
        match Checkpoint::from_bytes(&bytes) {
            Ok(checkpoint) => {
                let newest = read.newest.as_ref();
                if newest.is_none_or(|newest| newest.generation < checkpoint.generation) {
                    read.newest = Some(checkpoint);
                    read.free_slot = 1 - slot;
                }
            }
            Err(BadHeader::Version(version)) => return Ok(Err(version)),
            Err(BadHeader::Damaged) => {
                if bytes[..length].iter().any(|byte| *byte != 0) {
                    read.damaged += 1;
                }
            }
        }
    }
    Ok(Ok(read))
}

/// Makes the file, with its space taken, so that it can be written on a full disk.
pub(super) fn create(storage: &dyn Storage) -> io::Result<Arc<dyn StoredFile>> {
    let file = storage.create(NAME)?;
    file.write_at(&[0; 2 * SLOT], 0)?;
    file.sync()?;
    storage.sync_names()?;
    Ok(file)
}
