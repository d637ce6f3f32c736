//! Sends messages, and sends them again, until each is taken or lies in the dead letters.
//!
//! The library tries again by itself what may succeed: a broker that is down, a leader that has moved, a request without an answer.
//! What it gives back goes one of these ways ([`Fate`]): it is sent again, since it is somebody's configuration that is wrong and not the
//! event; it is sent once more by itself, since brokers refuse whole batches for one message; it becomes a dead letter; or, when the
//! producer cannot go on, it is for a new one.
//!
//! INVARIANTS
//! * An event is acknowledged only when its message was acknowledged as `acks` says, or when its letter is on the disk.
//! * Messages on their way take no more than `buffer_memory`, or are a single one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, Weak};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, ProducerContext};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument as _, debug, error, warn};

use super::fate::Fate;
use super::message::Message;
use super::options::{KafkaOptions, NO_TOPIC, is_topic};
use super::round_robin::RoundRobin;
use crate::dead_letter::{DeadLetters, Letter};
use crate::kafka::client::{Voice, config};
use crate::log;
use crate::monitor::DeliveryFigures;
use crate::output::deadline::Deadline;
use crate::output::elasticsearch::DeliverySummary;
use crate::throttle::Throttle;

/// How long what the library has to tell is waited for at a time.
const POLL: Duration = Duration::from_millis(50);
/// How long a message waits that was given back and is to be sent again.
const RESEND_AFTER: Duration = Duration::from_secs(5);

/// How long a producer that cannot be made is tried again after.
const RENEW_AFTER: Duration = Duration::from_secs(1);

type Producer = BaseProducer<Reports, RoundRobin>;

/// The way to the producer; each worker has a clone.
#[derive(Clone)]
pub struct Messages {
    shared: Arc<Shared>,
    /// As long as there is one, there may be more messages.
    _open: Arc<()>,
}

impl Messages {
    /// What tells how deliveries go, also when they are over.
    pub(in crate::output) fn figures(&self) -> impl Fn() -> DeliveryFigures + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || DeliveryFigures {
            delivered: shared.delivered.load(Ordering::Relaxed),
            dead_lettered: shared.dead_lettered.load(Ordering::Relaxed),
            retried: shared.retried.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            ..DeliveryFigures::default()
        }
    }

    pub(super) fn options(&self) -> &Arc<KafkaOptions> {
        &self.shared.options
    }

    /// Hands a message over; blocks while there is no room. What comes after the end is dropped, unacknowledged.
    pub(super) fn send(&self, message: Message) {
        let shared = &self.shared;
        if !shared.admit(message.bytes()) {
            return;
        }
        let message = Arc::new(message);
        if is_topic(&message.topic) {
            shared.produce(message);
        } else {
            shared.returned().push_back(Returned {
                message,
                fate: Fate::Buried(NO_TOPIC.to_owned()),
            });
        }
    }
}

/// What writers, the library's reports and the thread have in common.
struct Shared {
    options: Arc<KafkaOptions>,
    producers: RwLock<Producers>,
    flying: Mutex<Flying>,
    /// Told when there is room, and at the end.
    room: Condvar,
    returned: Mutex<VecDeque<Returned>>,
    received: AtomicU64,
    delivered: AtomicU64,
    dead_lettered: AtomicU64,
    retried: AtomicU64,
    bytes: AtomicU64,
    failing: Throttle,
    refused: Throttle,
}

/// Who sends.
#[derive(Default)]
struct Producers {
    usual: Option<Arc<Producer>>,
    /// Sends each message by itself; made when there is one for it.
    alone: Option<Arc<Producer>>,
}

/// What is on its way, or waits to be sent again.
#[derive(Default)]
struct Flying {
    messages: usize,
    bytes: usize,
    closed: bool,
}

/// A message that the library gives back.
struct Returned {
    message: Arc<Message>,
    fate: Fate,
}

impl Shared {
    fn flying(&self) -> MutexGuard<'_, Flying> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn producers(&self) -> RwLockWriteGuard<'_, Producers> {
        self.producers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn returned(&self) -> MutexGuard<'_, VecDeque<Returned>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for so many bytes; false at the end.
    fn admit(&self, bytes: usize) -> bool {
        let limit = self.options.buffer_bytes;
        let is_full = |flying: &mut Flying| {
            !flying.closed && flying.messages > 0 && flying.bytes.saturating_add(bytes) > limit
        };
        let waited = self.room.wait_while(self.flying(), is_full);
        let mut flying = waited.unwrap_or_else(PoisonError::into_inner);
        if flying.closed {
            return false;
        }
        flying.messages += 1;
        flying.bytes += bytes;
        self.received.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A message has come to its end.
    fn leave(&self, message: &Message) {
        let mut flying = self.flying();
        flying.messages -= 1;
        flying.bytes -= message.bytes();
        drop(flying);
        self.room.notify_all();
    }

    /// Its event is safe.
    fn done(&self, message: &Message, count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
        message.ack.done(1);
        self.leave(message);
    }

    /// Gives a message to the library, which copies it.
    fn produce(&self, message: Arc<Message>) {
        let producer = {
            let producers = self
                .producers
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if message.alone.load(Ordering::Relaxed) {
                producers.alone.clone()
            } else {
                producers.usual.clone()
            }
        };
        let Some(producer) = producer else {
            return self.give_back(message, Fate::Again("there is no producer".into()));
        };
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (name, value) in &message.headers {
            headers = headers.insert(Header {
                key: name,
                value: Some(value.as_slice()),
            });
        }
        let sent = Arc::clone(&message);
        let mut record =
            BaseRecord::with_opaque_to(&sent.topic, message).payload(sent.payload.as_slice());
        if let Some(key) = &sent.key {
            record = record.key(key.as_slice());
        }
        if !sent.headers.is_empty() {
            record = record.headers(headers);
        }
        if let Err((error, record)) = producer.send(record) {
            let fate = Fate::of(&error, self.options.topic.is_literal());
            self.give_back(record.delivery_opaque, fate);
        }
    }

    fn give_back(&self, message: Arc<Message>, fate: Fate) {
        self.returned().push_back(Returned { message, fate });
    }
}

/// What the library calls.
struct Reports {
    shared: Arc<Shared>,
    voice: Voice,
    round_robin: Option<RoundRobin>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.voice.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.failure(&error, reason);
    }
}

impl ProducerContext<RoundRobin> for Reports {
    type DeliveryOpaque = Arc<Message>;

    fn delivery(&self, result: &DeliveryResult<'_>, message: Arc<Message>) {
        match result {
            Ok(_) => {
                let bytes = message.payload.len() as u64;
                self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.shared.done(&message, &self.shared.delivered);
            }
            Err((error, _)) => {
                let fate = Fate::of(error, self.shared.options.topic.is_literal());
                self.shared.give_back(message, fate);
            }
        }
    }

    fn get_custom_partitioner(&self) -> Option<&RoundRobin> {
        self.round_robin.as_ref()
    }
}

/// A producer with the options, and what differs from them.
fn producer(shared: &Arc<Shared>, more: &[(&str, &str)]) -> KafkaResult<Arc<Producer>> {
    let options = &shared.options;
    let producer = config(&options.client, more).create_with_context(Reports {
        shared: Arc::clone(shared),
        voice: Voice::new(&options.plugin_id),
        round_robin: options.round_robin.then(RoundRobin::default),
    })?;
    Ok(Arc::new(producer))
}

/// Starts the producer and its thread; no broker needs to answer for that. It ends when every sender is gone and all is
/// delivered, or when the deadline has passed.
pub(in crate::output) fn start(
    options: KafkaOptions,
    dead_letters: Arc<DeadLetters>,
    deadline: Deadline,
) -> Result<(Messages, JoinHandle<DeliverySummary>), String> {
    let shared = Arc::new(Shared {
        options: Arc::new(options),
        producers: RwLock::default(),
        flying: Mutex::default(),
        room: Condvar::new(),
        returned: Mutex::default(),
        received: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        dead_lettered: AtomicU64::new(0),
        retried: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        failing: Throttle::default(),
        refused: Throttle::default(),
    });
    let usual = producer(&shared, &[]).map_err(|error| error.to_string())?;
    shared.producers().usual = Some(usual);
    let open = Arc::new(());
    let delivery = Delivery {
        shared: Arc::clone(&shared),
        open: Arc::downgrade(&open),
        dead_letters,
        deadline,
        runtime: Handle::current(),
        waiting: VecDeque::new(),
    };
    let (ended, has_ended) = oneshot::channel();
    log::thread("kafka", move || {
        if ended.send(delivery.run()).is_err() {
            debug!("nobody waits for the delivery any more");
        }
    })
    .map_err(|error| format!("cannot start a thread: {error}"))?;
    let handle = tokio::spawn(async move {
        let summary = has_ended.await;
        assert!(
            summary.is_ok(),
            "the thread of the producer ended, this is a bug"
        );
        summary.unwrap_or_default()
    });
    let messages = Messages {
        shared,
        _open: open,
    };
    Ok((messages, handle))
}

/// The thread.
struct Delivery {
    shared: Arc<Shared>,
    open: Weak<()>,
    dead_letters: Arc<DeadLetters>,
    deadline: Deadline,
    runtime: Handle,
    /// What is to be sent again, and when.
    waiting: VecDeque<(Instant, Arc<Message>)>,
}

impl Delivery {
    fn run(mut self) -> DeliverySummary {
        while !self.is_at_end() {
            self.poll();
            self.look_at_returned();
            self.send_again();
        }
        self.shared.flying().closed = true;
        self.shared.room.notify_all();
        // What is on its way is given up, and whoever sent it keeps it.
        let gone = std::mem::take(&mut *self.shared.producers());
        drop(gone);
        self.shared.returned().clear();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (delivered, dead_lettered) = (
            read(&self.shared.delivered),
            read(&self.shared.dead_lettered),
        );
        DeliverySummary {
            delivered,
            duplicates: 0,
            dead_lettered,
            undelivered: read(&self.shared.received).saturating_sub(delivered + dead_lettered),
        }
    }

    /// Hears what became of messages.
    fn poll(&self) {
        let (usual, alone) = {
            let producers = self.shared.producers();
            (producers.usual.clone(), producers.alone.clone())
        };
        match usual {
            Some(producer) => producer.poll(POLL),
            None => {
                if let Some(producer) = self.renew(&[]) {
                    self.shared.producers().usual = Some(producer);
                }
            }
        }
        if let Some(producer) = alone {
            producer.poll(Duration::ZERO);
        }
    }

    /// Whether nothing is left to do, or no time to do it.
    fn is_at_end(&self) -> bool {
        let is_late = self
            .deadline
            .borrow()
            .is_some_and(|at| Instant::now() >= at);
        let is_done = self.open.strong_count() == 0 && self.shared.flying().messages == 0;
        is_late || is_done || self.deadline.has_changed().is_err()
    }

    /// Makes a producer while this runs.
    fn renew(&self, more: &[(&str, &str)]) -> Option<Arc<Producer>> {
        producer(&self.shared, more)
            .inspect_err(|error| {
                error!(plugin = %self.shared.options.plugin_id, %error, "cannot make a producer, trying again");
                std::thread::sleep(RENEW_AFTER);
            })
            .ok()
    }

    /// Sends a refused message by itself.
    fn send_alone(&self, message: Arc<Message>) {
        if self.shared.producers().alone.is_none()
            && let Some(producer) = self.renew(&[("batch.num.messages", "1")])
        {
            self.shared.producers().alone = Some(producer);
        }
        self.shared.retried.fetch_add(1, Ordering::Relaxed);
        self.shared.produce(message);
    }

    fn look_at_returned(&mut self) {
        let returned = std::mem::take(&mut *self.shared.returned());
        let plugin = &self.shared.options.plugin_id;
        let mut orphaned = None;
        for Returned { message, fate } in returned {
            let reason = match fate {
                Fate::Refused(_) if !message.alone.swap(true, Ordering::Relaxed) => {
                    self.send_alone(message);
                    continue;
                }
                Fate::Buried(reason) | Fate::Refused(reason) => {
                    self.bury(message, &reason);
                    continue;
                }
                Fate::Orphaned(reason) => {
                    orphaned = Some(reason.clone());
                    reason
                }
                Fate::Again(reason) => reason,
            };
            if let Some(messages) = self.shared.failing.due(1) {
                warn!(
                    %plugin, topic = message.topic, messages, reason,
                    "a message was not taken, sending it again until it is"
                );
            }
            self.shared.retried.fetch_add(1, Ordering::Relaxed);
            self.waiting
                .push_back((Instant::now() + RESEND_AFTER, message));
        }
        if let Some(reason) = orphaned {
            error!(%plugin, reason, "a producer cannot go on: making a new one, messages may be in the topic twice");
            // What they have comes back, to be sent again.
            let gone = std::mem::take(&mut *self.shared.producers());
            drop(gone);
        }
    }

    fn send_again(&mut self) {
        let now = Instant::now();
        while let Some((_, message)) = self.waiting.pop_front_if(|(at, _)| *at <= now) {
            self.shared.produce(message);
        }
    }

    /// Writes the event of a message to the dead letters.
    fn bury(&self, message: Arc<Message>, reason: &str) {
        let shared = Arc::clone(&self.shared);
        let plugin = &shared.options.plugin_id;
        if let Some(count) = shared.refused.due(1) {
            error!(
                %plugin, topic = message.topic, events = count, reason,
                "events that no broker takes are written to the dead letters"
            );
        }
        let mut lines = Vec::new();
        let letter = Letter {
            plugin,
            reason,
            action: message.topic.as_bytes(),
            document: message.document(),
            ..Letter::default()
        };
        self.dead_letters.write_letter(&mut lines, &letter);
        let letters = Arc::clone(&self.dead_letters);
        let burying = async move {
            letters.append(lines, 1).await;
            shared.done(&message, &shared.dead_lettered);
        };
        self.runtime.spawn(burying.in_current_span());
    }
}
