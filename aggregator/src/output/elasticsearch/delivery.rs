//! Takes requests from the writers and keeps them going until every event is safe.
//!
//! Three limits bound what is held: requests that are under way or wait for another attempt
//! (`pending_requests`), the bytes of their bodies (`concurrency` × `bulk_max_bytes`), and
//! exchanges with servers at one time ([`Concurrency`]). A request that waits for another attempt
//! keeps its place in the first two but not in the third, and gives bytes back as its items are
//! stored, so a few refused items do not hold up the rest. When the limits are reached the queue is
//! not read, the writers block, and so the input does.
//!
//! What is left of a request when all of it is for blocked indices waits aside, under a limit of its
//! own (`blocked_max_bytes`); only when that is full too does it hold up the others.
//!
//! INVARIANT: an acknowledgement is counted only for an event that a server has stored (or has in
//! another form already) or that lies in the dead letters. What is under way when the shutdown's
//! deadline passes is dropped without one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bumpalo::Bump;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{Instrument as _, error, info, warn};

use super::bulk::{BulkRequest, Item};
use super::client::Client;
use super::concurrency::Concurrency;
use super::hosts::HostPool;
use super::mapping::{Guard, Moved, OnConflict};
use super::options::{BULK_BYTES_CAP, ElasticsearchOptions, OptionsError};
use super::original::original;
use super::request::deliver;
use super::{resolution, setup, with_type};
use crate::ack::Ack;
use crate::aws::{self, Service};
use crate::dead_letter::{DeadLetters, Letter};
use crate::monitor::{DeliveryFigures, MappingFigures};
use crate::output::deadline::{Deadline, passed};
use crate::throttle::Throttle;

/// The delivery has ended; the events given to it now stay unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the elasticsearch output has stopped; what it was not given in time stays unacknowledged")]
pub struct DeliveryClosed;

/// What became of everything, told when the delivery ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliverySummary {
    /// Events that are stored, or that the servers had already.
    pub delivered: u64,
    /// Events of `delivered` that came again, and are stored once.
    pub duplicates: u64,
    /// Events in the dead letters.
    pub dead_lettered: u64,
    /// Events taken from the writers that were given up at the deadline, not acknowledged.
    pub undelivered: u64,
}

/// Counters of one output; read at any time.
#[derive(Debug, Default)]
pub struct DeliveryStatistics {
    /// Events taken from the writers.
    pub received: AtomicU64,
    /// Events that are stored, or that the servers had already.
    pub delivered: AtomicU64,
    /// Events of `delivered` that the servers had already, or that `drop_error_types` names.
    pub conflicts: AtomicU64,
    /// Events of `delivered` that had been stored by an earlier attempt, known by their own ids.
    pub duplicates: AtomicU64,
    /// Events in the dead letters.
    pub dead_lettered: AtomicU64,
    /// Documents that did not fit the mapping of their index and were changed, counted each time.
    pub fitted: AtomicU64,
    /// Values of them that were kept beside their field.
    pub beside: AtomicU64,
    /// Values of them that were kept in `unmapped`.
    pub unmapped: AtomicU64,
    /// Documents that did not fit and are dead letters.
    pub unfit: AtomicU64,
    /// Items sent again, counted each time.
    pub retried: AtomicU64,
    /// Exchanges with servers, failed ones included.
    pub requests: AtomicU64,
    /// Exchanges that failed as a whole.
    pub failed_requests: AtomicU64,
    /// Bytes of documents and actions sent, before compression.
    pub bytes: AtomicU64,
}

impl DeliveryStatistics {
    /// So many documents were changed, and this was moved in them.
    pub(super) fn moved(&self, documents: u64, moved: Moved) {
        self.fitted.fetch_add(documents, Ordering::Relaxed);
        self.beside.fetch_add(moved.beside, Ordering::Relaxed);
        self.unmapped.fetch_add(moved.unmapped, Ordering::Relaxed);
    }
}

/// The way into the delivery; each worker has a clone. When the last is dropped, the delivery
/// finishes what it has and ends.
#[derive(Clone, Debug)]
pub struct BulkSender {
    queue: mpsc::Sender<Work>,
    shared: Arc<Shared>,
}

impl BulkSender {
    /// The counters of this output.
    pub fn statistics(&self) -> &DeliveryStatistics {
        &self.shared.statistics
    }

    /// What tells how deliveries go, also when they are over.
    pub(crate) fn figures(&self) -> impl Fn() -> DeliveryFigures + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let counted = &shared.statistics;
            DeliveryFigures {
                delivered: read(&counted.delivered),
                duplicates: read(&counted.duplicates),
                dead_lettered: read(&counted.dead_lettered),
                retried: read(&counted.retried),
                requests: read(&counted.requests),
                failed_requests: read(&counted.failed_requests),
                bytes: read(&counted.bytes),
                column_misfits: None,
                concurrency: shared.concurrency.limit(),
                hosts: shared.pool.figures(),
                mapping: Some(MappingFigures {
                    documents: read(&counted.fitted),
                    beside: read(&counted.beside),
                    unmapped: read(&counted.unmapped),
                    refused: read(&counted.unfit),
                    fields: shared.mapping.said(),
                }),
            }
        }
    }

    /// The options of this output.
    pub fn options(&self) -> &ElasticsearchOptions {
        &self.shared.options
    }

    /// How many requests go out at a time at most, for now.
    pub fn concurrency(&self) -> usize {
        self.shared.concurrency.limit()
    }

    /// Bodies are cut at this size: the configured one, or less where a server has refused it.
    pub fn body_limit(&self) -> usize {
        self.shared.pool.body_limit()
    }

    /// Whether items may have ids of ours.
    pub(super) fn takes_ids(&self) -> bool {
        self.shared.takes_ids.load(Ordering::Relaxed)
    }

    /// Whether the servers want a type with each item.
    pub(super) fn wants_types(&self) -> bool {
        self.shared.wants_types.load(Ordering::Relaxed)
    }

    /// Hands work over; blocks while there is no room.
    pub(super) fn send(&self, work: Work) -> Result<(), DeliveryClosed> {
        self.queue.blocking_send(work).map_err(|_| DeliveryClosed)
    }

    /// An empty buffer for a body, used before if possible.
    ///
    /// PERF: room for a whole request at once: growing by doubling copies each body once more and
    /// touches twice the pages. Pages that are not written to cost nothing.
    pub(super) fn buffer(&self) -> Vec<u8> {
        let kept = self
            .shared
            .buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        kept.unwrap_or_else(|| Vec::with_capacity(self.body_limit() + BODY_SLACK))
    }

    pub(super) fn write_letter(
        &self,
        lines: &mut Vec<u8>,
        item: &Item,
        body: &[u8],
        status: u16,
        reason: &str,
    ) {
        self.shared.write_letter(lines, item, body, status, reason);
    }
}

/// What goes through the queue.
#[derive(Debug)]
pub(super) enum Work {
    Bulk(BulkRequest),
    Rejected(Rejected),
}

/// Events that no server is asked to take: their letters, ready to be written.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    pub(super) lines: Vec<u8>,
    pub(super) acks: Vec<(Ack, u32)>,
}

/// The running delivery of one output.
#[derive(Debug)]
pub struct Delivery;

impl Delivery {
    /// Starts delivering on the current tokio runtime.
    ///
    /// No server needs to answer for that. The handle ends when every sender is dropped and all is
    /// delivered, or when the deadline passes.
    pub fn start(
        options: ElasticsearchOptions,
        dead_letters: Arc<DeadLetters>,
        deadline: Deadline,
    ) -> Result<(BulkSender, JoinHandle<DeliverySummary>), OptionsError> {
        options.validate()?;
        let names = options.names()?;
        if options.is_unverified() {
            warn!(
                plugin = %options.plugin_id,
                "server certificates are not verified: anyone in between can read and change events"
            );
        }
        let client = Arc::new(Client::new(&options)?);
        say_what_lacks(&options, client.signs_for());
        let body_limit = options.bulk_max_bytes.min(BULK_BYTES_CAP);
        let pool = Arc::new(HostPool::new(options.endpoints()?, body_limit));
        let management = match client.signs_for() {
            // A pipeline has no indices to set up.
            Some(Service::Ingestion) => None,
            _ => options.management.clone(),
        };
        let (ready, watched) = watch::channel(management.is_none());
        let blocked = kibibytes(options.blocked_max_bytes).min(u32::MAX as usize);
        let on_conflict = if options.mapping_guard {
            options.on_conflict
        } else {
            OnConflict::DeadLetter
        };
        let shared = Arc::new(Shared {
            mapping: Guard::new(on_conflict, options.max_fields),
            takes_ids: AtomicBool::new(true),
            wants_types: AtomicBool::new(false),
            ready: watched,
            concurrency: Concurrency::new(
                options.concurrency_min,
                CONCURRENCY_START,
                options.concurrency,
                options.concurrency_adaptive,
            ),
            blocked: Arc::new(Semaphore::new(blocked)),
            blocked_kib: blocked,
            buffers: Mutex::new(Vec::new()),
            statistics: DeliveryStatistics::default(),
            alarms: Alarms::default(),
            client,
            pool,
            dead_letters,
            options,
        });
        // One request in the queue is enough: the others wait in their writers.
        let (queue, receiver) = mpsc::channel(1);
        let mut background = JoinSet::new();
        let resolving = resolution::watch(
            Arc::clone(&shared.client),
            Arc::clone(&shared.pool),
            names,
            shared.options.dns_interval,
            resolution::system(),
        );
        background.spawn(resolving.in_current_span());
        if let Some(management) = management {
            let setting_up = setup::run(Arc::clone(&shared), management, ready);
            background.spawn(setting_up.in_current_span());
        }
        let dispatching = dispatch(Arc::clone(&shared), background, receiver, deadline);
        let handle = tokio::spawn(dispatching.in_current_span());
        Ok((BulkSender { queue, shared }, handle))
    }
}

/// What all requests of one output have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: ElasticsearchOptions,
    pub(super) client: Arc<Client>,
    pub(super) pool: Arc<HostPool>,
    pub(super) dead_letters: Arc<DeadLetters>,
    /// What documents have to fit.
    pub(super) mapping: Guard,
    /// Whether the servers take ids of ours.
    takes_ids: AtomicBool,
    /// Whether the servers want a type with each item.
    wants_types: AtomicBool,
    /// Whether everything is set up that events need.
    ready: watch::Receiver<bool>,
    /// Exchanges with servers at one time.
    pub(super) concurrency: Concurrency,
    /// Room for what waits for blocked indices, in KiB.
    blocked: Arc<Semaphore>,
    blocked_kib: usize,
    pub(super) statistics: DeliveryStatistics,
    pub(super) alarms: Alarms,
    /// Bodies to be used again: fresh memory costs a page fault each 4 KiB.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Shared {
    pub(super) fn write_letter(
        &self,
        lines: &mut Vec<u8>,
        item: &Item,
        body: &[u8],
        status: u16,
        reason: &str,
    ) {
        let arena = Bump::new();
        let letter = Letter {
            plugin: &self.options.plugin_id,
            original: original(item, body, &arena),
            reason,
            status,
            action: item.action_line(body),
            document: item.document_line(body),
            ..Letter::default()
        };
        self.dead_letters.write_letter(lines, &letter);
    }

    /// Waits until events may go.
    pub(super) async fn ready(&self) {
        // An error means that the setup is over without a word, which it never is.
        drop(self.ready.clone().wait_for(|ready| *ready).await);
    }

    /// What to do when a server denies access with these words.
    pub(super) fn what_to_check(&self, reason: &str) -> &'static str {
        match self.client.signs_for() {
            Some(service) => aws::explain(service, reason),
            None => "check `user` and `password` or `api_key`, and the right to write to the index",
        }
    }

    /// The servers have refused an id of ours: no item has one from now on.
    pub(super) fn refuses_ids(&self, host: &str, reason: &str) {
        if self.takes_ids.swap(false, Ordering::Relaxed) {
            error!(
                plugin = %self.options.plugin_id, host, reason,
                "the server takes no ids: from now on they are in the field `dedupe_id` of the documents, \
                 and a line that is sent again is stored again"
            );
        }
    }

    /// The servers have refused items without a type: all have one from now on.
    pub(super) fn wants_types(&self, host: &str) {
        if !self.wants_types.swap(true, Ordering::Relaxed) {
            info!(
                plugin = %self.options.plugin_id, host,
                "the server wants a type: it gets `{}` where `document_type` is not set", with_type::TYPE
            );
        }
    }

    /// How much waits for blocked indices.
    pub(super) fn waiting_kib(&self) -> usize {
        self.blocked_kib - self.blocked.available_permits()
    }

    /// Keeps the memory of a body that is no longer needed.
    pub(super) fn recycle(&self, body: Bytes) {
        // Someone else's hold on the bytes would make this a copy.
        if !body.is_unique() {
            return;
        }
        let mut body = Vec::from(body);
        body.clear();
        if body.capacity() > self.options.bulk_max_bytes * 2 {
            return;
        }
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < self.options.concurrency {
            buffers.push(body);
        }
    }
}

/// Repeated complaints, each kept to one line an interval.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    pub(super) exchange: Throttle,
    pub(super) busy: Throttle,
    pub(super) denied: Throttle,
    pub(super) refused: Throttle,
    pub(super) unreadable: Throttle,
    pub(super) blocked: Throttle,
    pub(super) blocked_full: Throttle,
    pub(super) crowded: Throttle,
    pub(super) lowered: Throttle,
    pub(super) items_retried: Throttle,
    pub(super) items_denied: Throttle,
    pub(super) conflicts: Throttle,
    pub(super) dead_lettered: Throttle,
}

/// The share in the limits that one request holds until it is done.
#[derive(Debug)]
pub(super) struct Held {
    /// None for one that waits aside.
    place: Option<OwnedSemaphorePermit>,
    bytes: OwnedSemaphorePermit,
}

impl Held {
    /// Gives back what is not needed for `length` bytes of bodies.
    pub(super) fn shrink_to(&mut self, length: usize) {
        let surplus = self.bytes.num_permits().saturating_sub(kibibytes(length));
        drop(self.bytes.split(surplus));
    }

    /// All that is left is for blocked indices: holds its share of the room for that instead, if there
    /// is some.
    pub(super) fn wait_aside(&mut self, shared: &Shared, length: usize) {
        if self.place.is_none() {
            return;
        }
        let share = kibibytes(length) as u32;
        match Arc::clone(&shared.blocked).try_acquire_many_owned(share) {
            Ok(bytes) => {
                self.bytes = bytes;
                self.place = None;
            }
            Err(_) => {
                if let Some(requests) = shared.alarms.blocked_full.due(1) {
                    error!(
                        plugin = %shared.options.plugin_id, requests,
                        "what waits for blocked indices fills `blocked_max_bytes`: from now on it holds \
                         up the other events too"
                    );
                }
            }
        }
    }
}

struct Limits {
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_total: usize,
}

impl Limits {
    fn new(options: &ElasticsearchOptions) -> Self {
        let bytes_total = kibibytes(options.concurrency * options.bulk_max_bytes)
            .min(u32::MAX as usize)
            .min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(options.pending_requests)),
            bytes: Arc::new(Semaphore::new(bytes_total)),
            bytes_total,
        }
    }

    /// The next work and its share in the limits; `None` when no more will come.
    async fn next(&self, queue: &mut mpsc::Receiver<Work>) -> Option<(Work, Held)> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let work = queue.recv().await?;
        let length = match &work {
            Work::Bulk(request) => request.body.len(),
            Work::Rejected(rejected) => rejected.lines.len(),
        };
        // A request larger than the whole budget goes when it is alone.
        let share = kibibytes(length).min(self.bytes_total);
        let bytes = Arc::clone(&self.bytes)
            .acquire_many_owned(share as u32)
            .await
            .ok()?;
        Some((
            work,
            Held {
                place: Some(place),
                bytes,
            },
        ))
    }
}

async fn dispatch(
    shared: Arc<Shared>,
    _background: JoinSet<()>,
    mut queue: mpsc::Receiver<Work>,
    deadline: Deadline,
) -> DeliverySummary {
    let limits = Limits::new(&shared.options);
    let _probes = shared
        .pool
        .start_probes(&shared.client, shared.options.resurrect_delay);
    let mut tasks = JoinSet::new();
    let deadline = passed(deadline);
    tokio::pin!(deadline);

    let in_time = loop {
        while let Some(ended) = tasks.try_join_next() {
            report_panic(ended);
        }
        let next = tokio::select! {
            biased;
            () = &mut deadline => break false,
            next = limits.next(&mut queue) => next,
        };
        match next {
            Some((Work::Bulk(request), held)) => {
                let events = request.items.len() as u64;
                shared
                    .statistics
                    .received
                    .fetch_add(events, Ordering::Relaxed);
                let delivering = deliver(Arc::clone(&shared), request, held);
                tasks.spawn(delivering.in_current_span());
            }
            Some((Work::Rejected(rejected), held)) => {
                let burying = bury(Arc::clone(&shared), rejected, held);
                tasks.spawn(burying.in_current_span());
            }
            None => break true,
        }
    };
    // Writers that still block are told at once.
    drop(queue);
    if in_time {
        tokio::select! {
            biased;
            () = &mut deadline => {}
            () = async { while let Some(ended) = tasks.join_next().await { report_panic(ended); } } => {}
        }
    }
    tasks.shutdown().await;

    let statistics = &shared.statistics;
    let delivered = statistics.delivered.load(Ordering::Relaxed);
    let dead_lettered = statistics.dead_lettered.load(Ordering::Relaxed);
    let received = statistics.received.load(Ordering::Relaxed);
    let undelivered = received.saturating_sub(delivered + dead_lettered);
    if undelivered > 0 {
        warn!(
            plugin = %shared.options.plugin_id, events = undelivered,
            "stopped before everything was delivered; the rest is not acknowledged and will be sent again"
        );
    }
    DeliverySummary {
        delivered,
        duplicates: statistics.duplicates.load(Ordering::Relaxed),
        dead_lettered,
        undelivered,
    }
}

/// Writes the letters of rejected events, then acknowledges them.
async fn bury(shared: Arc<Shared>, rejected: Rejected, _held: Held) {
    let events = rejected
        .acks
        .iter()
        .map(|(_, length)| u64::from(*length))
        .sum();
    shared
        .statistics
        .received
        .fetch_add(events, Ordering::Relaxed);
    if let Some(count) = shared.alarms.dead_lettered.due(events) {
        warn!(
            plugin = %shared.options.plugin_id, events = count,
            "events that cannot be sent are written to the dead letters"
        );
    }
    shared.dead_letters.append(rejected.lines, events).await;
    shared
        .statistics
        .dead_lettered
        .fetch_add(events, Ordering::Relaxed);
    for (ack, length) in rejected.acks {
        ack.done(length);
    }
}

/// Says at the start what a service of Amazon's does not give.
fn say_what_lacks(options: &ElasticsearchOptions, service: Option<&Service>) {
    let plugin = options.plugin_id.as_str();
    match service {
        Some(Service::Serverless) => warn!(
            plugin,
            "a serverless collection of the type time series takes no ids: they go into the field \
             `dedupe_id`, and a line that is sent again is stored again. One of the type search takes \
             ids, and has each line once"
        ),
        Some(Service::Ingestion) => warn!(
            plugin,
            "an ingestion pipeline stores later what it has taken: an event is acknowledged when the \
             pipeline has it, what becomes of it there is not seen here"
        ),
        Some(Service::Domain | Service::Other(_)) | None => {}
    }
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a delivery task failed; its events are not acknowledged and will be sent again");
    }
}

/// So many requests go out at a time at first.
const CONCURRENCY_START: usize = 4;

/// Room in a body's buffer for the item that passes the limit and starts the next request.
const BODY_SLACK: usize = 16 * 1024;

fn kibibytes(length: usize) -> usize {
    length / 1024 + 1
}
