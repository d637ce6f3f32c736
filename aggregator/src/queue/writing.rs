//! The thread that writes what the inputs bring: in groups, each with one sync.
//!
//! INVARIANT: a batch is acknowledged when its record is synced, or when the queue is full and of the
//! kind that sheds ([`WhenFull::Shed`]), and never else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::appender::{Appender, Group, NotAppended};
use super::running::{LOOK_INTERVAL, RETRY_INTERVAL};
use super::state::{Kept, Shared, State};
use super::stored::write_payload;
use crate::ack::Ack;
use crate::throttle::Throttle;
use crate::worker::{Batch, Records};

/// A group is written when it has this size, even if more batches wait.
pub(super) const MAX_GROUP_BYTES: usize = 8 << 20;

/// What a queue does with batches that it has no space for.
#[derive(Clone, Debug)]
pub(crate) enum WhenFull {
    /// Takes nothing until there is.
    Block,
    /// Throws them away, and counts their events.
    Shed(Arc<AtomicU64>),
}

/// A batch whose record is not on the disk yet.
struct Pending {
    sequence: u64,
    bytes: u64,
    records: Box<dyn Records>,
    ack: Ack,
}

pub(super) struct Writing {
    pub(super) group: Group,
    pub(super) appender: Appender,
    pub(super) shared: Arc<Shared>,
    /// The sequence number of the next record.
    pub(super) next: u64,
    /// Bytes of batches that may stay in memory until a worker takes them.
    pub(super) keep_bytes: u64,
    pub(super) when_full: WhenFull,
    pub(super) stuck: Throttle,
}

impl Writing {
    pub(super) fn run(mut self, mut from_inputs: mpsc::Receiver<Batch>) {
        let mut pending = VecDeque::new();
        while let Some(batch) = from_inputs.blocking_recv() {
            self.add(batch, &mut pending);
            while self.group.bytes() < MAX_GROUP_BYTES
                && let Ok(batch) = from_inputs.try_recv()
            {
                self.add(batch, &mut pending);
            }
            if !self.write(&mut pending) {
                // Given up: what is pending is not acknowledged.
                return;
            }
            self.group.clear();
        }
        self.appender.close();
        self.shared.lock().finished = true;
        self.shared.added.notify_all();
    }

    fn add(&mut self, batch: Batch, pending: &mut VecDeque<Pending>) {
        let Batch { records, ack } = batch;
        if records.is_empty() {
            ack.done(1);
            return;
        }
        let events = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let pushed = self
            .group
            .push(self.shared.salt, self.next, events, |payload| {
                write_payload(records.as_ref(), payload);
            });
        match pushed {
            Ok(bytes) => {
                pending.push_back(Pending {
                    sequence: self.next,
                    bytes: bytes as u64,
                    records,
                    ack,
                });
                self.next += 1;
            }
            // Dropping the batch tells its sender that it was not taken.
            Err(too_long) => error!(
                bytes = too_long.bytes,
                source = records.source(),
                "refused a batch that is larger than the queue's limit of 1 GiB for one: make its sender send smaller ones"
            ),
        }
    }

    /// Writes the group however long that takes; false if the queue was given up meanwhile.
    fn write(&mut self, pending: &mut VecDeque<Pending>) -> bool {
        let mut written = 0;
        let mut waited = None;
        while written < self.group.len() {
            let mut acks = Vec::new();
            let keep_bytes = self.keep_bytes;
            let appended = self.appender.append(&self.group, written, |state, count| {
                acks.extend(
                    pending
                        .drain(..count)
                        .map(|batch| keep_in_memory(state, batch, keep_bytes)),
                );
            });
            match appended {
                Ok(count) => {
                    written += count;
                    for ack in acks {
                        ack.done(1);
                    }
                    continue;
                }
                Err(NotAppended::Full) => {
                    if let WhenFull::Shed(count) = self.when_full.clone() {
                        if self.space_comes() {
                            continue;
                        }
                        self.shed(&count, pending);
                        return true;
                    }
                    self.say_full();
                }
                Err(NotAppended::Disk {
                    operation,
                    file,
                    error,
                }) => {
                    if let Some(count) = self.stuck.due(1) {
                        error!(
                            path = %self.shared.storage.path().display(), file, %error, count,
                            "cannot {operation} the queue: nothing is received until it works, trying again"
                        );
                    }
                }
            }
            waited.get_or_insert_with(Instant::now);
            let state = self.shared.lock();
            if state.over {
                return false;
            }
            let state = Shared::wait(&self.shared.freed, state, RETRY_INTERVAL);
            if state.over {
                return false;
            }
        }
        if let Some(since) = waited
            && since.elapsed() >= RETRY_INTERVAL
        {
            info!(waited = ?since.elapsed(), "the queue takes batches again");
        }
        true
    }

    /// Waits for segments that are done with and not yet removed; false if there are none.
    fn space_comes(&self) -> bool {
        let state = self.shared.lock();
        let mut segments = state.segments.values();
        if state.over || !segments.any(|segment| state.done.covers(segment.first, segment.end)) {
            return false;
        }
        self.shared.acknowledged.notify_one();
        drop(Shared::wait(&self.shared.freed, state, LOOK_INTERVAL));
        true
    }

    /// Gives up what is left of the group. It is the end of it, so its numbers are given anew.
    fn shed(&mut self, count: &AtomicU64, pending: &mut VecDeque<Pending>) {
        let Some(first) = pending.front() else {
            return;
        };
        self.next = first.sequence;
        let mut events = 0;
        for batch in pending.drain(..) {
            events += batch.records.len() as u64;
            batch.ack.done(1);
        }
        let total = count.fetch_add(events, Ordering::Relaxed) + events;
        if let Some(shed) = self.stuck.due(events) {
            warn!(
                path = %self.shared.storage.path().display(), shed, total,
                max_bytes = self.shared.options.max_bytes,
                "the queue is full: events are thrown away until the output has taken some of it"
            );
        }
    }

    fn say_full(&self) {
        if let Some(count) = self.stuck.due(1) {
            let state = self.shared.lock();
            let (bytes, events) = (state.bytes, state.unread_events);
            drop(state);
            let options = &self.shared.options;
            warn!(
                path = %self.shared.storage.path().display(), bytes, events, count,
                max_bytes = options.max_bytes, max_events = options.max_events,
                "the queue is full: nothing is received until the outputs have taken some of it"
            );
        }
    }
}

/// Keeps the records for the workers while there is room; gives what is to be acknowledged.
fn keep_in_memory(state: &mut State, batch: Pending, keep_bytes: u64) -> Ack {
    if state.kept_bytes + batch.bytes <= keep_bytes {
        state.kept_bytes += batch.bytes;
        state.kept.push_back(Kept {
            sequence: batch.sequence,
            records: batch.records,
            bytes: batch.bytes,
        });
    }
    batch.ack
}
