//! The threads of a queue: one writes what the inputs bring, one hands out to the workers, one
//! keeps the checkpoint.
//!
//! Batches that come while a sync runs are written together by the next one, so many waiting
//! senders share one sync, and a single one waits for its own only.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{SendTimeoutError, Sender};
use skidder_pipeline::event::Timestamp;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::appender::{Appender, Group, NotAppended};
use super::checkpoint::Keeper;
use super::open::{Opened, open, release_reserve};
use super::reader::{Reader, Taken};
use super::scan::Depth;
use super::state::{Kept, Shared, State};
use super::storage::{Directory, Storage};
use super::stored::{Sources, write_payload};
use super::{QueueError, QueueOptions};
use crate::ack::Ack;
use crate::log;
use crate::settings::Settings;
use crate::throttle::Throttle;
use crate::worker::{Batch, Records};

/// A group is written when it has this size, even if more batches wait.
pub(super) const MAX_GROUP_BYTES: usize = 8 << 20;

/// How long a write that failed is left alone.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a thread waits before it looks whether it has to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// A queue that is open and not yet started.
#[derive(Debug)]
pub(crate) struct DiskQueue {
    opened: Opened,
    options: QueueOptions,
    /// Bytes of batches that may stay in memory until a worker takes them.
    keep_bytes: u64,
}

/// A running queue.
#[derive(Debug)]
pub(crate) struct RunningQueue {
    shared: Arc<Shared>,
    front: Vec<JoinHandle<()>>,
    keeper: JoinHandle<()>,
}

/// The directory of a pipeline's queue.
pub(crate) fn directory(settings: &Settings) -> PathBuf {
    let all = settings.queue.path.clone();
    let all = all.unwrap_or_else(|| settings.path_data.join("queue"));
    all.join(&settings.pipeline_id)
}

impl DiskQueue {
    /// Opens the queue of a pipeline; what a crash has left is put in order.
    pub(crate) fn open(settings: &Settings) -> Result<Self, QueueError> {
        let directory = directory(settings);
        let storage: Arc<dyn Storage> = Arc::new(Directory::lock(&directory)?);
        let started = Instant::now();
        let opened = open(&storage, &settings.queue, Depth::Header)?;
        let state = opened.shared.lock();
        info!(
            path = %directory.display(),
            events = state.unread_events,
            bytes = state.bytes,
            segments = state.segments.len(),
            took = ?started.elapsed(),
            "queue opened"
        );
        drop(state);
        Ok(Self {
            opened,
            options: settings.queue.clone(),
            keep_bytes: settings.queue_max_memory as u64 / 4,
        })
    }

    /// Starts the threads.
    pub(crate) fn start(
        self,
        from_inputs: mpsc::Receiver<Batch>,
        to_workers: Sender<Batch>,
        sources: Sources,
    ) -> io::Result<RunningQueue> {
        let Opened {
            shared,
            appender,
            reader,
            keeper,
            next,
            ..
        } = self.opened;
        let writing = Writing {
            group: Group::new(self.options.compression)?,
            appender,
            shared: Arc::clone(&shared),
            next,
            keep_bytes: self.keep_bytes,
            stuck: Throttle::default(),
        };
        let reading = Reading {
            reader,
            shared: Arc::clone(&shared),
            sources,
            stuck: Throttle::default(),
        };
        let front = vec![
            log::thread("queue writer", move || writing.run(from_inputs))?,
            log::thread("queue reader", move || reading.run(&to_workers))?,
        ];
        let interval = self.options.checkpoint_interval;
        let keeping = Arc::clone(&shared);
        let keeper = log::thread("queue keeper", move || keep(keeper, &keeping, interval))?;
        Ok(RunningQueue {
            shared,
            front,
            keeper,
        })
    }
}

impl RunningQueue {
    /// The threads that end by themselves: when the inputs are gone and, unless [`Self::stop`] said
    /// otherwise, all is handed out.
    pub(crate) fn front(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.front)
    }

    /// The process is to stop: what has been received may use the reserve, and unless the queue is
    /// to be drained, the workers get nothing more.
    pub(crate) fn stop(&self, drain: bool) {
        if let Err(error) = release_reserve(self.shared.storage.as_ref()) {
            warn!(%error, "cannot give the queue's reserve of disk space free");
        }
        self.shared.lock().stopped |= !drain;
        self.shared.free_reserve();
        self.shared.added.notify_all();
    }

    /// Whether all that was received is on the disk.
    pub(crate) fn is_all_written(&self) -> bool {
        self.shared.lock().finished
    }

    /// Writes the last checkpoint and ends; says how many records are left.
    pub(crate) fn finish(self) -> u64 {
        self.shared.lock().over = true;
        for condition in [
            &self.shared.added,
            &self.shared.freed,
            &self.shared.acknowledged,
        ] {
            condition.notify_all();
        }
        if self.keeper.join().is_err() {
            error!("the thread that keeps the queue's checkpoint has died, this is a bug");
        }
        let state = self.shared.lock();
        let after: u64 = state.done.ranges().map(|(first, end)| end - first).sum();
        state.end.saturating_sub(state.done.watermark() + after)
    }
}

/// A batch whose record is not on the disk yet.
struct Pending {
    sequence: u64,
    bytes: u64,
    records: Box<dyn Records>,
    ack: Ack,
}

struct Writing {
    group: Group,
    appender: Appender,
    shared: Arc<Shared>,
    next: u64,
    keep_bytes: u64,
    stuck: Throttle,
}

impl Writing {
    fn run(mut self, mut from_inputs: mpsc::Receiver<Batch>) {
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
                Err(NotAppended::Full) => self.say_full(),
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

struct Reading {
    reader: Reader,
    shared: Arc<Shared>,
    sources: Sources,
    stuck: Throttle,
}

impl Reading {
    fn run(mut self, to_workers: &Sender<Batch>) {
        while !self.is_stopped() {
            match self.reader.take() {
                Ok(Some(taken)) => {
                    let Some(batch) = self.batch(taken) else {
                        continue;
                    };
                    if !self.send(batch, to_workers) {
                        return;
                    }
                }
                Ok(None) => {
                    let state = self.shared.lock();
                    if state.taken < state.end {
                        continue;
                    }
                    if state.finished {
                        return;
                    }
                    drop(Shared::wait(&self.shared.added, state, LOOK_INTERVAL));
                }
                Err(error) => {
                    if let Some(count) = self.stuck.due(1) {
                        error!(
                            path = %self.shared.storage.path().display(), %error, count,
                            "cannot read the queue, trying again: `skidder-aggregator queue check` says more"
                        );
                    }
                    let state = self.shared.lock();
                    drop(Shared::wait(&self.shared.freed, state, RETRY_INTERVAL));
                }
            }
        }
    }

    fn is_stopped(&self) -> bool {
        let state = self.shared.lock();
        state.stopped || state.over
    }

    /// Waits until a worker is free; false if it is time to end. Then the batch stays in the queue.
    fn send(&self, batch: Batch, to_workers: &Sender<Batch>) -> bool {
        let mut batch = batch;
        loop {
            match to_workers.send_timeout(batch, LOOK_INTERVAL) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(back)) => batch = back,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
            if self.is_stopped() {
                return false;
            }
        }
    }

    fn batch(&self, taken: Taken) -> Option<Batch> {
        let (sequence, records) = match taken {
            Taken::Kept(kept) => (kept.sequence, kept.records),
            Taken::Read(header, payload) => {
                let received = Timestamp::from_milliseconds(header.received as i64);
                match self.sources.restore(&Bytes::from(payload), received) {
                    Ok(records) => (header.sequence, records),
                    Err(reason) => {
                        error!(
                            record = header.sequence, events = header.events, %reason,
                            "left a record in the queue that this program does not understand"
                        );
                        return None;
                    }
                }
            }
        };
        let shared = Arc::clone(&self.shared);
        let events = records.len() as u64;
        let ack = Ack::new(Box::new(move || shared.acknowledge(sequence, events)));
        Some(Batch { records, ack })
    }
}

fn keep(mut keeper: Keeper, shared: &Shared, interval: Duration) {
    let failing = Throttle::default();
    let mut synced = Instant::now();
    loop {
        let state = shared.lock();
        let time = if interval.is_zero() {
            Duration::from_hours(1)
        } else {
            interval.saturating_sub(synced.elapsed())
        };
        let over = state.over;
        let state = if over {
            state
        } else {
            Shared::wait(&shared.acknowledged, state, time)
        };
        let removable = state
            .segments
            .values()
            .any(|segment| segment.closed && state.done.covers(segment.first, segment.end));
        drop(state);
        let result = if over || removable || interval.is_zero() || synced.elapsed() >= interval {
            synced = Instant::now();
            keeper.sync()
        } else {
            keeper.write().map(drop)
        };
        if let Err(error) = result
            && let Some(count) = failing.due(1)
        {
            warn!(
                path = %shared.storage.path().display(), %error, count,
                "cannot write the queue's checkpoint: until it works, a crash makes delivered events come again"
            );
        }
        if over {
            return;
        }
    }
}
