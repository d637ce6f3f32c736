//! Uploads objects, and again, until each is stored.
//!
//! Writers add events from their threads and wait while there is no room ([`Objects::add`]); a task looks after time, and
//! uploads what is closed, `upload_workers_count` objects at a time.
//!
//! INVARIANT: an event is acknowledged only when its object is stored and the journal has it on the disk.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{Instrument as _, error, info, warn};

use super::client::{Client, Request};
use super::collector::{Added, Closed, Collector, Incoming};
use super::journal::{Journal, Replay, Upload};
use super::object::Position;
use super::options::S3Options;
use super::row::Record;
use crate::ack::Ack;
use crate::backoff::Backoff;
use crate::monitor::DeliveryFigures;
use crate::output::deadline::{Deadline, passed};
use crate::output::elasticsearch::DeliverySummary;
use crate::queue::QueueGauge;
use crate::throttle::Throttle;
use crate::tls::Verification;

/// The longest wait before another attempt.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How often is looked whether objects are due.
const TICK: Duration = Duration::from_millis(500);

/// How long a writer waits for room before it looks again.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// How long a journal that cannot be written is left alone.
const JOURNAL_WAIT: Duration = Duration::from_secs(1);

/// Where events come from: the output's own queue.
#[derive(Debug)]
pub(in crate::output) struct Origin {
    /// Where the queue lies; the journal goes there, too.
    pub(in crate::output) directory: PathBuf,
    pub(in crate::output) salt: u64,
    pub(in crate::output) gauge: QueueGauge,
}

/// The way into the output; each writer has a clone.
#[derive(Clone)]
pub struct Objects {
    shared: Arc<Shared>,
    /// Dropped with the last writer: then the output ends.
    #[expect(dead_code, reason = "it is there to be dropped")]
    alive: mpsc::Sender<Infallible>,
}

impl Objects {
    pub(super) fn options(&self) -> &Arc<S3Options> {
        &self.shared.options
    }

    /// What tells how deliveries go, also when they are over.
    pub(in crate::output) fn figures(&self) -> impl Fn() -> DeliveryFigures + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            DeliveryFigures {
                delivered: count(&shared.delivered),
                requests: shared.client.requests(),
                failed_requests: count(&shared.failed),
                bytes: count(&shared.bytes),
                column_misfits: shared
                    .options
                    .encoding
                    .has_columns()
                    .then(|| count(&shared.misfits)),
                concurrency: shared.options.uploads,
                ..DeliveryFigures::default()
            }
        }
    }

    /// Adds an event to the object of its partition; blocks while there is no room. What comes after the end is dropped,
    /// unacknowledged.
    pub(super) fn add(
        &self,
        position: Position,
        partition: &str,
        record: Record<'_>,
        ack: &Ack,
        time: impl FnOnce() -> String,
    ) {
        let shared = &self.shared;
        let mut state = shared.lock();
        let before = state.collector.uploads();
        while !state.ended && !state.collector.has_room() {
            shared.wake.notify_one();
            let waited = shared.room.wait_timeout(state, ROOM_WAIT);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.ended {
            return;
        }
        let position = match shared.origin {
            Some(_) => position,
            None => Position {
                record: state.next_position(),
                event: 0,
            },
        };
        ack.hold(1);
        shared.received.fetch_add(1, Ordering::Relaxed);
        let event = Incoming {
            position,
            partition,
            record,
            ack,
        };
        match state.collector.add(&event, time) {
            Ok(Added::Taken) => {
                let misfits = record.misfits();
                shared.misfits.fetch_add(misfits, Ordering::Relaxed);
            }
            Ok(Added::Known) => {
                ack.done(1);
                shared.delivered.fetch_add(1, Ordering::Relaxed);
                shared.duplicates.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                if let Some(count) = shared.failing.due(1) {
                    error!(
                        plugin = %shared.options.plugin_id, %error, count,
                        "cannot put events into an object: they stay unacknowledged until the next start"
                    );
                }
            }
        }
        let is_closed = state.collector.uploads() > before;
        drop(state);
        if is_closed {
            shared.wake.notify_one();
        }
    }
}

/// What all have in common.
struct Shared {
    options: Arc<S3Options>,
    client: Client,
    origin: Option<Origin>,
    journal: Option<Journal>,
    state: Mutex<State>,
    /// Something is stored, or all is over.
    room: Condvar,
    /// Something is closed, or an upload has ended.
    wake: Notify,
    received: AtomicU64,
    delivered: AtomicU64,
    /// Of `delivered`, what was stored before the start.
    duplicates: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    /// Values that did not fit their columns.
    misfits: AtomicU64,
    failing: Throttle,
    stuck: Throttle,
}

struct State {
    collector: Collector,
    /// Counts events that have no position in a queue.
    count: u64,
    ended: bool,
}

impl State {
    fn next_position(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Starts the output on the current runtime; no server needs to answer for that. It ends when every writer is gone and
/// all is stored, or when the deadline has passed.
pub(in crate::output) fn start(
    options: S3Options,
    origin: Option<Origin>,
    deadline: Deadline,
) -> Result<(Objects, JoinHandle<DeliverySummary>), String> {
    let client = Client::new(&options)?;
    if options.tls.verification == Verification::None {
        warn!(
            plugin = %options.plugin_id,
            "server certificates are not verified: anyone in between can read and change events"
        );
    }
    let options = Arc::new(options);
    let mut replay = Replay::default();
    let mut journal = None;
    if let Some(origin) = &origin {
        let done_below = origin.gauge.done_below();
        let opened = Journal::open(&origin.directory, origin.salt, done_below);
        let opened = opened.map_err(|error| {
            let path = origin.directory.display();
            format!("cannot open the journal of objects in {path}: {error}")
        })?;
        let known = opened.known();
        let unfinished = known.iter().filter(|known| !known.stored).count();
        if unfinished > 0 {
            info!(
                plugin = %options.plugin_id, objects = unfinished,
                "objects were being uploaded when the last process ended: they are made again, as they were"
            );
        }
        replay = Replay::new(known);
        journal = Some(opened);
    }
    // Without a queue positions count from one with each start: what makes keys of them must be another one.
    let salt = origin.as_ref().map_or_else(random, |origin| origin.salt);
    let shared = Arc::new(Shared {
        client,
        origin,
        journal,
        state: Mutex::new(State {
            collector: Collector::new(Arc::clone(&options), salt, replay),
            count: 0,
            ended: false,
        }),
        options,
        room: Condvar::new(),
        wake: Notify::new(),
        received: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        duplicates: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        misfits: AtomicU64::new(0),
        failing: Throttle::default(),
        stuck: Throttle::default(),
    });
    let (alive, writers) = mpsc::channel(1);
    let dispatching = dispatch(Arc::clone(&shared), writers, deadline);
    let handle = tokio::spawn(dispatching.in_current_span());
    Ok((Objects { shared, alive }, handle))
}

fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // Each new state has keys of its own.
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

async fn dispatch(
    shared: Arc<Shared>,
    mut writers: mpsc::Receiver<Infallible>,
    deadline: Deadline,
) -> DeliverySummary {
    let places = Arc::new(Semaphore::new(shared.options.uploads));
    let mut tasks = JoinSet::new();
    tasks.spawn(abort_left_over(Arc::clone(&shared)).in_current_span());
    let mut ticks = tokio::time::interval(TICK);
    let mut writers_are_gone = false;
    let deadline = passed(deadline);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            biased;
            () = &mut deadline => break,
            _ = writers.recv(), if !writers_are_gone => {
                writers_are_gone = true;
                shared.lock().collector.close_all();
            }
            _ = tasks.join_next(), if !tasks.is_empty() => {}
            () = shared.wake.notified() => {}
            _ = ticks.tick() => shared.close_due(),
        }
        while let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let Some(closed) = shared.lock().collector.next_closed() else {
                break;
            };
            tasks.spawn(upload(Arc::clone(&shared), closed, place).in_current_span());
        }
        if writers_are_gone && tasks.is_empty() {
            break;
        }
    }
    // Writers that still wait are told at once.
    shared.lock().ended = true;
    shared.room.notify_all();
    tasks.shutdown().await;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (received, delivered) = (count(&shared.received), count(&shared.delivered));
    DeliverySummary {
        delivered,
        duplicates: count(&shared.duplicates),
        dead_lettered: 0,
        undelivered: received.saturating_sub(delivered),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_due(&self) {
        // A queue in which half of the room is taken by events that wait in open objects could be full before
        // one of them is due.
        let half_full = self.origin.as_ref().is_some_and(|origin| {
            let figures = origin.gauge.figures();
            figures.waiting_bytes > figures.limit / 2
        });
        let mut state = self.lock();
        let too_full = half_full && state.collector.uploads() == 0;
        state.collector.close_due(Instant::now(), too_full);
    }

    fn done_below(&self) -> u64 {
        let origin = self.origin.as_ref();
        origin.map_or(0, |origin| origin.gauge.done_below())
    }

    /// Writes to the journal until it works.
    async fn note(
        self: &Arc<Self>,
        write: impl Fn(&Journal) -> io::Result<()> + Clone + Send + 'static,
    ) {
        loop {
            let shared = Arc::clone(self);
            let write = write.clone();
            let writing = move || shared.journal.as_ref().map_or(Ok(()), &write);
            let written = tokio::task::spawn_blocking(writing).await;
            let error = match written {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(died) => io::Error::other(died),
            };
            if let Some(count) = self.stuck.due(1) {
                error!(
                    plugin = %self.options.plugin_id, %error, count,
                    "cannot write the journal of objects, trying again until it works; nothing is uploaded meanwhile"
                );
            }
            tokio::time::sleep(JOURNAL_WAIT).await;
        }
    }

    /// Asks until the answer is success, and gives what it says. Ends without when the server has forgotten the multipart upload.
    async fn until_done(&self, key: &str, request: Request<'_>) -> Option<String> {
        let mut backoff = Backoff::new(self.options.retry_delay, LONGEST_WAIT);
        loop {
            let failure = match self.client.ask(key, request).await {
                Ok(said) => return Some(said),
                Err(failure) => failure,
            };
            self.failed.fetch_add(1, Ordering::Relaxed);
            if failure.is_upload_gone {
                return None;
            }
            if let Some(requests) = self.failing.due(1) {
                let reason = failure.to_string();
                warn!(
                    plugin = %self.options.plugin_id, bucket = self.options.bucket, key, requests, reason,
                    "an object cannot be stored, trying again until it is"
                );
            }
            let wait = backoff
                .next_wait()
                .max(failure.retry_after.unwrap_or_default());
            tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
        }
    }

    /// Stores an object.
    async fn store(self: &Arc<Self>, closed: &Closed) {
        let (key, parts) = (closed.plan.key.as_str(), closed.parts.as_slice());
        if let [whole] = parts {
            self.until_done(key, Request::Put(whole)).await;
            return;
        }
        // All parts are in memory: an upload that is gone begins anew. It may have been completed by an attempt whose
        // answer was lost; then the same object is written once more.
        while self.store_in_parts(key, parts).await.is_none() {}
    }

    async fn store_in_parts(self: &Arc<Self>, key: &str, parts: &[Bytes]) -> Option<()> {
        let id = self.until_done(key, Request::Begin).await?;
        let upload = Upload {
            key: key.to_owned(),
            id: id.clone(),
        };
        self.note(move |journal| journal.begun(&upload)).await;
        let mut tags = Vec::new();
        for (number, part) in (1..).zip(parts) {
            let request = Request::PutPart(&id, number, part);
            tags.push(self.until_done(key, request).await?);
        }
        let request = Request::Complete(&id, &tags);
        self.until_done(key, request).await.map(drop)
    }
}

async fn upload(shared: Arc<Shared>, closed: Closed, place: OwnedSemaphorePermit) {
    let plan = closed.plan.clone();
    let done_below = shared.done_below();
    shared
        .note(move |journal| journal.plan(&plan, done_below))
        .await;
    shared.store(&closed).await;
    let key = closed.plan.key.clone();
    shared.note(move |journal| journal.stored(&key)).await;
    for (ack, events) in closed.acks {
        ack.done(events);
    }
    let bytes: usize = closed.parts.iter().map(Bytes::len).sum();
    shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    shared
        .delivered
        .fetch_add(closed.plan.events, Ordering::Relaxed);
    shared.lock().collector.ended(closed.held);
    shared.room.notify_all();
    drop(place);
}

/// Gives up the multipart uploads that the last process has begun: their parts cost money.
async fn abort_left_over(shared: Arc<Shared>) {
    let left_over = shared.journal.as_ref().map(Journal::left_over);
    for Upload { key, id } in left_over.unwrap_or_default() {
        match shared.client.ask(&key, Request::Abort(&id)).await {
            Ok(_) => {
                info!(plugin = %shared.options.plugin_id, key, "gave up a multipart upload of the last process");
            }
            Err(failure) if failure.is_upload_gone => {}
            Err(failure) => {
                let reason = failure.to_string();
                warn!(
                    plugin = %shared.options.plugin_id, key, reason,
                    "cannot give up a multipart upload of the last process: its parts stay until a lifecycle rule of the bucket removes them"
                );
            }
        }
    }
}
