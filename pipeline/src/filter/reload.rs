//! Files of filters that may change while the pipeline runs: dictionaries, databases, lists.
//!
//! This crate reads no file. A filter that depends on one reads it through
//! [`Files`](crate::Files) when it is compiled, and leaves a [`WatchedFile`] in the pipeline.
//! Whoever runs the pipeline looks at these files from a thread of its own, at their interval, and
//! hands new contents in. What was made of them goes into a [`Reloadable`], which workers read
//! without a lock: a worker keeps the state it saw last in its [`Scratch`] and only compares a
//! number for each event, so a reload of any size costs the hot path a pointer's exchange.
//!
//! INVARIANT: contents that cannot be used change nothing; the old state stays.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::filter::{Scratch, ScratchSlot};
use crate::language::LONGEST_DURATION;

/// What takes the new contents of a file. The error is a text for the log.
type Load = dyn Fn(Vec<u8>) -> Result<(), String> + Send + Sync;

/// A file that is to be read again when it changes.
pub struct WatchedFile {
    path: PathBuf,
    interval: Duration,
    load: Box<Load>,
}

impl WatchedFile {
    /// A file, how often to look at it (at least once in a hundred years, so that no sum of times
    /// overflows), and what takes its contents.
    pub fn new(
        path: PathBuf,
        interval: Duration,
        load: impl Fn(Vec<u8>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let interval = interval.min(LONGEST_DURATION);
        let load = Box::new(load);
        Self {
            path,
            interval,
            load,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How often to look whether it has changed.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Takes the new contents. After an error the old ones are still in use.
    pub fn load(&self, contents: Vec<u8>) -> Result<(), String> {
        (self.load)(contents)
    }
}

/// A state that is replaced as a whole while workers read it.
#[derive(Debug)]
pub(crate) struct Reloadable<T> {
    /// Counts the replacements. Changed only under the lock of `current`.
    generation: AtomicU64,
    current: Mutex<Arc<T>>,
}

impl<T: Send + Sync + 'static> Reloadable<T> {
    /// The first state.
    pub(crate) fn new(state: T) -> Self {
        Self {
            generation: AtomicU64::new(0),
            current: Mutex::new(Arc::new(state)),
        }
    }

    /// The state now, for a worker; only after a replacement a lock is taken.
    #[inline]
    pub(crate) fn read<'s>(&self, scratch: &'s mut Scratch, slot: ScratchSlot) -> &'s Arc<T> {
        self.read_with::<()>(scratch, slot, || ()).0
    }

    /// The same, with something that the worker keeps as long as the state is the same: what it
    /// has worked out from it, say.
    #[inline]
    pub(crate) fn read_with<'s, E: 'static>(
        &self,
        scratch: &'s mut Scratch,
        slot: ScratchSlot,
        make: impl Fn() -> E,
    ) -> (&'s Arc<T>, &'s mut E) {
        let (generation, state, extra) = scratch.slot(slot, || {
            let (generation, state) = self.fetch();
            (generation, state, make())
        });
        if *generation != self.generation.load(Ordering::Acquire) {
            (*generation, *state) = self.fetch();
            *extra = make();
        }
        (state, extra)
    }

    /// The state now, for whoever makes a new one of it.
    pub(crate) fn current(&self) -> Arc<T> {
        self.fetch().1
    }

    /// Replaces the state.
    pub(crate) fn replace(&self, state: T) {
        let state = Arc::new(state);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, state);
        self.generation.fetch_add(1, Ordering::Release);
        // A large state is freed outside of the lock.
        drop(current);
        drop(old);
    }

    fn fetch(&self) -> (u64, Arc<T>) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.load(Ordering::Acquire);
        (generation, Arc::clone(&current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::ScratchSlots;

    #[test]
    fn every_worker_sees_the_newest_state() {
        let slot = ScratchSlots::default().take();
        let (mut one, mut other) = (Scratch::default(), Scratch::default());
        let state = Reloadable::new(1);
        assert_eq!(**state.read(&mut one, slot), 1);
        state.replace(2);
        state.replace(3);
        assert_eq!(**state.read(&mut one, slot), 3);
        assert_eq!(**state.read(&mut other, slot), 3);
        assert_eq!(*state.current(), 3);
    }
}
