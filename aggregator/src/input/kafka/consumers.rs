//! The consumers: each a thread that polls, hands on, and commits.
//!
//! INVARIANTS
//! * A consumer polls at least once in [`PATIENCE`] and `poll_timeout_ms`, whatever the pipeline does, so that it stays a member
//!   of its group.
//! * Offsets are committed by the thread of their consumer alone, and only as [`super::progress`] says.
//! * What is read and cannot be handed on yet is one batch.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use skidder_lumberjack::{Account, Reservation};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, info_span, warn};

use super::super::Running;
use super::super::listener::told_to_stop;
use super::collected::Collected;
use super::membership::{Consumer, Membership};
use super::options::KafkaOptions;
use super::records::MessageRecords;
use crate::ack::Ack;
use crate::backoff::Backoff;
use crate::kafka::client::config;
use crate::log;
use crate::worker::Batch;

/// How long is waited for room in the pipeline before fetching is paused, and between two polls then.
const PATIENCE: Duration = Duration::from_secs(1);
/// A batch of so many bytes is handed on; a single longer message still travels.
const BATCH_BYTES: usize = 1 << 20;
/// How long is polled at a time while the last batches come to be safe.
const DRAIN_POLL: Duration = Duration::from_millis(50);
/// The waits before a consumer is made anew that cannot go on.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Starts the threads.
pub(super) async fn start(
    options: KafkaOptions,
    queue: mpsc::Sender<Batch>,
    stopping: watch::Receiver<bool>,
) -> Result<Running, String> {
    let options = Arc::new(options);
    let mut ends = Vec::new();
    for number in 0..options.consumers {
        let (made, is_made) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        let thread = Thread {
            options: Arc::clone(&options),
            number,
            queue: queue.clone(),
            stopping: stopping.clone(),
            runtime: Handle::current(),
        };
        log::thread(&format!("kafka {number}"), move || {
            thread.run(made);
            if ended.send(()).is_err() {
                debug!("nobody waits for the consumer any more");
            }
        })
        .map_err(|error| format!("cannot start a thread: {error}"))?;
        is_made.await.map_err(|_| DIED.to_owned())??;
        ends.push(has_ended);
    }
    Ok(Box::pin(async move {
        for end in ends {
            assert!(end.await.is_ok(), "{DIED}");
        }
    }))
}

const DIED: &str = "the thread of a consumer ended, this is a bug";

/// What the thread of one consumer has.
struct Thread {
    options: Arc<KafkaOptions>,
    number: usize,
    queue: mpsc::Sender<Batch>,
    stopping: watch::Receiver<bool>,
    runtime: Handle,
}

impl Thread {
    /// Consumes until the input is to stop. `made` is told whether a consumer can be made of the options.
    fn run(self, made: oneshot::Sender<Result<(), String>>) {
        let name = &self.options.decoder.payload.name;
        let _span = info_span!("kafka", input = name, consumer = self.number).entered();
        let mut consumer = match self.make() {
            Ok(consumer) => consumer,
            Err(error) => return drop(made.send(Err(error.to_string()))),
        };
        if made.send(Ok(())).is_err() {
            return;
        }
        info!(topics = ?self.options.topics, group = self.options.decoder.group, "consuming");
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let begun = Instant::now();
            let mut reader = Reader::new(&self, consumer);
            let Err(reason) = reader.run() else {
                return;
            };
            error!(%reason, "the consumer cannot go on, making a new one; what was not safe is read again");
            drop(reader);
            if begun.elapsed() > LONGEST_WAIT {
                backoff.reset();
            }
            consumer = loop {
                let mut stopping = self.stopping.clone();
                let wait = tokio::time::timeout(backoff.next_wait(), told_to_stop(&mut stopping));
                if self.runtime.block_on(async { wait.await.is_ok() }) {
                    return;
                }
                match self.make() {
                    Ok(consumer) => break consumer,
                    Err(error) => error!(%error, "cannot make a consumer, trying again"),
                }
            };
        }
    }

    fn make(&self) -> KafkaResult<Consumer> {
        let options = &self.options;
        let client_id = format!("{}-{}", options.client_id, self.number);
        let instance = options.group_instance_id.as_ref();
        let instance = instance.map(|id| match options.consumers {
            1 => id.clone(),
            _ => format!("{id}-{}", self.number),
        });
        let mut more = vec![("client.id", client_id.as_str())];
        more.extend(instance.as_deref().map(|id| ("group.instance.id", id)));
        let membership = Membership::new(&options.decoder.payload.name);
        let consumer: Consumer = config(&options.client, &more).create_with_context(membership)?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(consumer)
    }
}

/// Reads by one consumer.
struct Reader<'t> {
    thread: &'t Thread,
    consumer: Consumer,
    stopping: watch::Receiver<bool>,
    memory: Account,
    collected: Collected,
    committed: Instant,
}

impl<'t> Reader<'t> {
    fn new(thread: &'t Thread, consumer: Consumer) -> Self {
        Self {
            thread,
            consumer,
            stopping: thread.stopping.clone(),
            memory: thread.options.budget.account(),
            collected: Collected::default(),
            committed: Instant::now(),
        }
    }

    /// Consumes until the input is to stop and everything is safe; an error is a consumer that cannot go on.
    fn run(&mut self) -> Result<(), KafkaError> {
        while !*self.stopping.borrow() && self.stopping.has_changed().is_ok() {
            self.commit_when_due();
            if !self.read()? && !self.collected.messages.is_empty() && self.hand_on().is_break() {
                break;
            }
        }
        self.drain()
    }

    /// Reads a message if there is one; whether there is room in the batch for another.
    fn read(&mut self) -> Result<bool, KafkaError> {
        let options = &self.thread.options;
        let wait = if self.collected.messages.is_empty() {
            options.poll_timeout
        } else {
            Duration::ZERO
        };
        match self.consumer.poll(wait) {
            None => Ok(false),
            Some(Ok(message)) => {
                let membership = self.consumer.context();
                let progress = membership.progress(message.topic(), message.partition());
                self.collected.push(&message, progress, options.headers);
                Ok(self.collected.messages.len() < options.batch_messages
                    && self.collected.bytes.len() < BATCH_BYTES)
            }
            Some(Err(error)) => {
                Self::look_at(error)?;
                Ok(false)
            }
        }
    }

    /// An error of the library, which goes on unless it says otherwise; the voice has told of it already.
    fn look_at(error: KafkaError) -> Result<(), KafkaError> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives the batch to the workers, if they have room soon; stops fetching until they have.
    fn hand_on(&mut self) -> ControlFlow<()> {
        self.collected.forget_what_was_revoked();
        if self.collected.messages.is_empty() {
            self.collected = Collected::default();
            return ControlFlow::Continue(());
        }
        let bytes = self.collected.bytes.len();
        let room = async {
            tokio::select! {
                biased;
                () = told_to_stop(&mut self.stopping) => None,
                room = room(&mut self.memory, bytes, &self.thread.queue) => Some(room),
            }
        };
        let found = self
            .thread
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, room).await });
        let (place, memory) = match found {
            Err(_) => {
                self.pause(true);
                return ControlFlow::Continue(());
            }
            Ok(None | Some(None)) => return ControlFlow::Break(()),
            Ok(Some(Some(room))) => room,
        };
        let flights: Vec<_> = self
            .collected
            .ends()
            .into_iter()
            .map(|(progress, end)| {
                let number = progress.begin(end);
                (progress, number)
            })
            .collect();
        let collected = std::mem::take(&mut self.collected);
        let records = MessageRecords {
            bytes: collected.bytes,
            messages: collected.messages,
            decoder: Arc::clone(&self.thread.options.decoder),
            _memory: memory,
        };
        place.send(Batch {
            records: Box::new(records),
            ack: Ack::new(Box::new(move || {
                for (progress, number) in flights {
                    progress.safe(number);
                }
            })),
        });
        self.pause(false);
        ControlFlow::Continue(())
    }

    /// Stops fetching, or goes on with it.
    fn pause(&self, pause: bool) {
        if !self.consumer.context().pause(pause) {
            return;
        }
        debug!(pause, "the pipeline is full, or has room again");
        let changed = self.consumer.assignment().and_then(|partitions| {
            if pause {
                self.consumer.pause(&partitions)
            } else {
                self.consumer.resume(&partitions)
            }
        });
        if let Err(error) = changed {
            warn!(%error, pause, "cannot stop fetching or go on with it");
        }
    }

    fn commit_when_due(&mut self) {
        if self.committed.elapsed() >= self.thread.options.commit_interval {
            self.committed = Instant::now();
            self.commit(CommitMode::Async);
        }
    }

    fn commit(&self, mode: CommitMode) {
        let membership = self.consumer.context();
        let partitions = membership.partitions().clone();
        membership.commit(&self.consumer, &partitions, mode);
    }

    /// Waits until everything on its way is safe, and commits it. What is read meanwhile is read again by the next start. The
    /// process, or the pipeline, may end before that: it is up to them how long this takes.
    fn drain(&mut self) -> Result<(), KafkaError> {
        self.collected = Collected::default();
        self.pause(true);
        while self.consumer.context().under_way() > 0 && self.stopping.has_changed().is_ok() {
            if let Some(Err(error)) = self.consumer.poll(DRAIN_POLL) {
                Self::look_at(error)?;
            }
            self.commit(CommitMode::Async);
        }
        self.commit(CommitMode::Sync);
        Ok(())
    }
}

/// Waits for room for a batch of so many bytes; nothing if nobody takes batches any more.
async fn room(
    memory: &mut Account,
    bytes: usize,
    queue: &mpsc::Sender<Batch>,
) -> Option<(mpsc::OwnedPermit<Batch>, Option<Reservation>)> {
    let place = queue.clone().reserve_owned().await.ok()?;
    memory.reserve(bytes).await;
    let reserved = memory.try_reserve(bytes);
    memory.settle();
    Some((place, reserved))
}
