//! What the threads of a queue share: which segments there are, what is done with, what waits.
//!
//! INVARIANT: the lock is never held over anything that touches the disk, because acknowledgements
//! come from the tasks that deliver.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::QueueOptions;
use super::done::Done;
use super::storage::Storage;
use crate::worker::Records;

/// The shared part of a queue.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) options: QueueOptions,
    pub(super) salt: u64,
    state: Mutex<State>,
    /// Records were added, or there will be no more.
    pub(super) added: Condvar,
    /// Segments were removed, or the reserve was given free.
    pub(super) freed: Condvar,
    /// There is something for the checkpoint.
    pub(super) acknowledged: Condvar,
}

/// One segment that is on the disk.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Its first sequence number.
    pub(super) first: u64,
    /// The number after its last.
    pub(super) end: u64,
    /// Its length, as far as it is synced.
    pub(super) length: u64,
    /// Nothing more will be written to it.
    pub(super) closed: bool,
}

/// A record that the workers may get without a look at the disk.
pub(super) struct Kept {
    pub(super) sequence: u64,
    pub(super) records: Box<dyn Records>,
    pub(super) bytes: u64,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Kept({}, {} bytes)", self.sequence, self.bytes)
    }
}

/// What the lock holds.
#[derive(Debug)]
pub(super) struct State {
    /// By number.
    pub(super) segments: BTreeMap<u64, Segment>,
    /// Bytes of all segments.
    pub(super) bytes: u64,
    pub(super) done: Done,
    /// The sequence number after the last record that is safe on the disk.
    pub(super) end: u64,
    /// Records before this sequence number are done with, by a checkpoint that is synced.
    pub(super) synced_below: u64,
    /// The sequence number that the reader takes next; those before are with the workers or
    /// done with.
    pub(super) taken: u64,
    /// Events (records of batches) that are on the disk and that no worker has got.
    pub(super) unread_events: u64,
    /// Events that were acknowledged since the last checkpoint.
    pub(super) acknowledged_events: u64,
    /// The youngest records, oldest first.
    pub(super) kept: VecDeque<Kept>,
    pub(super) kept_bytes: u64,
    /// The reserve may be used.
    pub(super) reserve_free: bool,
    /// No more records will be added.
    pub(super) finished: bool,
    /// No more records are to be handed to the workers.
    pub(super) stopped: bool,
    /// The threads have to end: the queue is given up, or everything is over.
    pub(super) over: bool,
}

impl Shared {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        options: QueueOptions,
        salt: u64,
        state: State,
    ) -> Arc<Self> {
        Arc::new(Self {
            storage,
            options,
            salt,
            state: Mutex::new(state),
            added: Condvar::new(),
            freed: Condvar::new(),
            acknowledged: Condvar::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `condition` to be notified, or for the time to pass.
    pub(super) fn wait<'s>(
        condition: &Condvar,
        guard: MutexGuard<'s, State>,
        time: Duration,
    ) -> MutexGuard<'s, State> {
        let waited = condition.wait_timeout(guard, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The record `sequence` with so many events is safe in every output.
    pub(super) fn acknowledge(&self, sequence: u64, events: u64) {
        let mut state = self.lock();
        state.done.insert(sequence, sequence + 1);
        state.acknowledged_events += events.max(1);
        let limit = self.options.checkpoint_acks;
        let due = limit > 0 && state.acknowledged_events >= limit;
        // Somebody waits for space: what is done with can go at once.
        let wanted =
            self.options.max_bytes.saturating_sub(state.bytes) < self.options.page_capacity;
        drop(state);
        if due || wanted {
            self.acknowledged.notify_one();
        }
    }

    /// What was received before the stop may use the reserve from now on.
    pub(super) fn free_reserve(&self) {
        self.lock().reserve_free = true;
        self.freed.notify_all();
    }
}

impl State {
    /// Whether nothing on the disk is needed any more.
    pub(super) fn is_empty(&self) -> bool {
        self.done.watermark() >= self.end
    }

    /// Forgets what is kept in memory of records before `sequence`.
    pub(super) fn forget_before(&mut self, sequence: u64) {
        while self
            .kept
            .front()
            .is_some_and(|kept| kept.sequence < sequence)
        {
            self.take_kept();
        }
    }

    /// The oldest kept record.
    pub(super) fn take_kept(&mut self) -> Option<Kept> {
        let kept = self.kept.pop_front()?;
        self.kept_bytes -= kept.bytes;
        Some(kept)
    }
}

/// The name of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:09}.segment")
}

/// The number of the segment with this name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// The time by the system's clock, in milliseconds since 1970.
pub(super) fn milliseconds_now() -> u64 {
    u64::try_from(crate::worker::now().milliseconds()).unwrap_or(0)
}
