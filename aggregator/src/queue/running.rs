//! The threads of a queue: one writes what the inputs bring ([`super::writing`]), one hands out to the workers, one
//! keeps the checkpoint.
//!
//! Batches that come while a sync runs are written together by the next one, so many waiting
//! senders share one sync, and a single one waits for its own only.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{SendTimeoutError, Sender};
use skidder_pipeline::event::Timestamp;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::appender::Group;
use super::checkpoint::Keeper;
use super::open::{Opened, open, release_reserve};
use super::places::directory;
use super::reader::{Reader, Taken};
use super::scan::Depth;
use super::state::Shared;
use super::storage::{Directory, Storage};
use super::stored::Sources;
use super::writing::{WhenFull, Writing};
use super::{QueueError, QueueFigures, QueueOptions};
use crate::ack::Ack;
use crate::log;
use crate::settings::Settings;
use crate::throttle::Throttle;
use crate::worker::Batch;

/// How long a write that failed is left alone.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a thread waits before it looks whether it has to end.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// A queue that is open and not yet started.
#[derive(Debug)]
pub(crate) struct DiskQueue {
    opened: Opened,
    options: QueueOptions,
    /// Bytes of batches that may stay in memory until a worker takes them.
    keep_bytes: u64,
    when_full: WhenFull,
}

/// A running queue.
#[derive(Debug)]
pub(crate) struct RunningQueue {
    shared: Arc<Shared>,
    front: Vec<JoinHandle<()>>,
    keeper: JoinHandle<()>,
}

impl DiskQueue {
    /// Opens the queue of a pipeline; what a crash has left is put in order.
    pub(crate) fn open(settings: &Settings) -> Result<Self, QueueError> {
        let keep_bytes = settings.queue_max_memory as u64 / 4;
        Self::open_at(&directory(settings), settings.queue.clone(), keep_bytes)
    }

    /// Opens the queue in a directory.
    pub(crate) fn open_at(
        directory: &Path,
        options: QueueOptions,
        keep_bytes: u64,
    ) -> Result<Self, QueueError> {
        let storage: Arc<dyn Storage> = Arc::new(Directory::lock(directory)?);
        let started = Instant::now();
        let opened = open(&storage, &options, Depth::Header)?;
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
            options,
            keep_bytes,
            when_full: WhenFull::Block,
        })
    }

    /// With something else to do when it is full.
    pub(crate) fn when_full(self, when_full: WhenFull) -> Self {
        Self { when_full, ..self }
    }

    /// What tells this queue from all others, for as long as it is there.
    pub(crate) fn salt(&self) -> u64 {
        self.opened.shared.salt
    }

    /// What can be asked how full it is.
    pub(crate) fn gauge(&self) -> QueueGauge {
        QueueGauge(Arc::clone(&self.opened.shared))
    }

    /// Events that wait in it.
    pub(crate) fn waiting_events(&self) -> u64 {
        self.opened.shared.lock().unread_events
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
            when_full: self.when_full,
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

    /// What can be asked how full it is, also when it has ended.
    pub(crate) fn gauge(&self) -> QueueGauge {
        QueueGauge(Arc::clone(&self.shared))
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

/// Says what is in a queue.
#[derive(Clone, Debug)]
pub(crate) struct QueueGauge(Arc<Shared>);

impl QueueGauge {
    /// The sequence number below which no record comes again, not even after a power cut.
    pub(crate) fn done_below(&self) -> u64 {
        self.0.lock().synced_below
    }

    /// What is in it now.
    pub(crate) fn figures(&self) -> QueueFigures {
        let state = self.0.lock();
        let options = &self.0.options;
        QueueFigures {
            events: state.unread_events,
            bytes: state.bytes,
            waiting_bytes: if state.is_empty() { 0 } else { state.bytes },
            max_bytes: options.max_bytes,
            limit: options.max_bytes - options.reserve(),
            max_events: options.max_events,
        }
    }
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
        let ack = Ack::of_record(
            sequence,
            Box::new(move || shared.acknowledge(sequence, events)),
        );
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
