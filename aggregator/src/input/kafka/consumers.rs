//! The consumers: each a thread that polls, hands on, and commits.
//!
//! INVARIANTS
//! * A consumer polls at least once in [`PATIENCE`] and `poll_timeout_ms`, whatever the pipeline does, so that it stays a member
//!   of its group.
//! * Offsets are committed by the thread of their consumer alone, and only as [`Progress`] says.
//! * What is read and cannot be handed on yet is one batch.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use skidder_lumberjack::{Account, Reservation};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, info_span, warn};

use super::super::Running;
use super::super::listener::told_to_stop;
use super::options::KafkaOptions;
use super::progress::Progress;
use super::records::{Message, MessageRecords};
use crate::ack::Ack;
use crate::backoff::Backoff;
use crate::kafka::client::{Voice, config};
use crate::log;
use crate::throttle::Throttle;
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

type Consumer = BaseConsumer<Membership>;

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
        let membership = Membership {
            voice: Voice::new(&options.decoder.payload.name),
            partitions: Mutex::default(),
            paused: AtomicBool::new(false),
            not_committed: Throttle::default(),
        };
        let consumer: Consumer = config(&options.client, &more).create_with_context(membership)?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        Ok(consumer)
    }
}

/// What the library calls: the partitions that are ours, and what it has to say.
struct Membership {
    voice: Voice,
    partitions: Mutex<Vec<Arc<Progress>>>,
    /// Nothing is to be fetched.
    paused: AtomicBool,
    not_committed: Throttle,
}

impl Membership {
    fn partitions(&self) -> MutexGuard<'_, Vec<Arc<Progress>>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The progress of a partition that something was read of.
    fn progress(&self, topic: &str, partition: i32) -> Arc<Progress> {
        let mut partitions = self.partitions();
        let known = partitions
            .iter()
            .find(|known| known.partition == partition && *known.topic == *topic);
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let new = Arc::new(Progress::new(topic, partition));
        partitions.push(Arc::clone(&new));
        new
    }

    /// Commits what has come to be safe of some partitions.
    fn commit(&self, consumer: &Consumer, partitions: &[Arc<Progress>], mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        let mut taken = Vec::new();
        for progress in partitions {
            let Some(offset) = progress.to_commit() else {
                continue;
            };
            let offset = Offset::Offset(offset);
            match list.add_partition_offset(&progress.topic, progress.partition, offset) {
                Ok(()) => taken.push(progress),
                Err(error) => self.say_not_committed(&error),
            }
        }
        if taken.is_empty() {
            return;
        }
        if let Err(error) = consumer.commit(&list, mode) {
            for progress in taken {
                progress.not_committed();
            }
            self.say_not_committed(&error);
        }
    }

    fn say_not_committed(&self, error: &KafkaError) {
        if let Some(count) = self.not_committed.due(1) {
            warn!(%error, count, "offsets could not be committed: they are with the next ones, or what is behind them is read again");
        }
    }

    /// Batches on their way.
    fn under_way(&self) -> usize {
        self.partitions()
            .iter()
            .map(|progress| progress.under_way())
            .sum()
    }

    /// Commits what is safe of partitions that go to somebody else, and forgets them.
    fn give_back(&self, consumer: &Consumer, list: &TopicPartitionList) {
        let leaving: Vec<_> = {
            let mut partitions = self.partitions();
            let leaves = |progress: &mut Arc<Progress>| {
                list.find_partition(&progress.topic, progress.partition)
                    .is_some()
            };
            partitions.extract_if(.., leaves).collect()
        };
        // Once they are lost they are another's, and so is their offset.
        if !consumer.assignment_lost() {
            self.commit(consumer, &leaving, CommitMode::Sync);
        }
        for progress in leaving {
            progress.revoke();
        }
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.voice.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.failure(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, consumer: &Consumer, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(list) => {
                info!(partitions = list.count(), "partitions are taken back");
                self.give_back(consumer, list);
            }
            Rebalance::Error(error) => warn!(%error, "partitions could not be shared out"),
            Rebalance::Assign(_) => {}
        }
    }

    fn post_rebalance(&self, consumer: &Consumer, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            info!(
                partitions = list.count(),
                "partitions are given to this consumer"
            );
            if self.paused.load(Ordering::Relaxed)
                && let Err(error) = consumer.pause(list)
            {
                warn!(%error, "cannot pause");
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let Err(error) = result else { return };
        // There is nothing to commit.
        if error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::NoOffset) {
            return;
        }
        for progress in self.partitions().iter() {
            if offsets
                .find_partition(&progress.topic, progress.partition)
                .is_some()
            {
                progress.not_committed();
            }
        }
        self.say_not_committed(&error);
    }
}

/// Messages that were read and not handed on.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// Of which partition each is.
    partitions: Vec<Arc<Progress>>,
}

impl Collected {
    fn push(&mut self, message: &BorrowedMessage<'_>, progress: Arc<Progress>, headers: bool) {
        let last = self
            .messages
            .last()
            .filter(|last| *last.topic == *message.topic());
        let topic = last.map_or_else(|| message.topic().into(), |last| Arc::clone(&last.topic));
        let mut keep = |bytes: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            start..self.bytes.len()
        };
        let headers = headers.then(|| message.headers()).flatten();
        let headers = headers.into_iter().flat_map(|headers| headers.iter());
        let message = Message {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            payload: keep(message.payload().unwrap_or_default()),
            key: message.key().map(&mut keep),
            headers: headers
                .filter_map(|header| Some((keep(header.key.as_bytes()), keep(header.value?))))
                .collect(),
        };
        self.messages.push(message);
        self.partitions.push(progress);
    }

    /// Drops what is another's by now.
    fn forget_what_was_revoked(&mut self) {
        if self.partitions.iter().all(|progress| progress.is_ours()) {
            return;
        }
        let ours: Vec<bool> = self
            .partitions
            .iter()
            .map(|progress| progress.is_ours())
            .collect();
        let mut keep = ours.iter();
        self.messages.retain(|_| keep.next() == Some(&true));
        let mut keep = ours.iter();
        self.partitions.retain(|_| keep.next() == Some(&true));
    }

    /// The ends of what is here, for each partition.
    fn ends(&self) -> Vec<(Arc<Progress>, i64)> {
        let mut ends: Vec<(Arc<Progress>, i64)> = Vec::new();
        for (message, progress) in self.messages.iter().zip(&self.partitions) {
            let end = message.offset + 1;
            match ends
                .iter_mut()
                .rev()
                .find(|(known, _)| Arc::ptr_eq(known, progress))
            {
                Some((_, last)) => *last = end,
                None => ends.push((Arc::clone(progress), end)),
            }
        }
        ends
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
        if self
            .consumer
            .context()
            .paused
            .swap(pause, Ordering::Relaxed)
            == pause
        {
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
