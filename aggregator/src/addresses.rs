//! Virtual addresses: how events get from the `pipeline` output of one pipeline to the `pipeline` input of another.
//!
//! At an address wait at most [`MAX_WAITING_BYTES`] (and one batch, if it is larger alone). A sender for which there is no room, or
//! no listener, waits in its worker's thread: so a full or missing pipeline is felt upstream, all the way to whoever sends to the process. The bytes
//! count until the receiving pipeline has written the batch to its disk queue or read its events.
//!
//! INVARIANT: what is sent is acknowledged when the receiver has acknowledged the batch: when its disk queue or, without
//! one, its outputs have it. A batch that is given up or lost with its receiver acknowledges nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use crate::ack::Ack;
use crate::queue::packed::{PackedRecords, Receiver};
use crate::throttle::Throttle;
use crate::worker::Batch;

/// Bytes of events that may wait at one address.
pub const MAX_WAITING_BYTES: usize = 8 << 20;

/// What a batch counts in addition to its events.
const BATCH_COST: usize = 1 << 10;

/// How often a sender that waits looks whether it has to give up.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The addresses of a process.
#[derive(Default)]
pub struct Addresses(Mutex<HashMap<String, Arc<Address>>>);

impl Addresses {
    /// The address called `name`.
    pub(crate) fn at(&self, name: &str) -> Arc<Address> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = all
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Address::new(name)));
        Arc::clone(address)
    }
}

/// One address.
pub(crate) struct Address {
    name: String,
    state: Mutex<State>,
    /// There is room again, or a listener came or went.
    changed: Condvar,
    arrived: Notify,
    unheard: Throttle,
    dropped: Throttle,
}

#[derive(Default)]
struct State {
    listener: Option<Arc<Receiver>>,
    waiting: VecDeque<Batch>,
    bytes: usize,
}

impl Address {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            arrived: Notify::new(),
            unheard: Throttle::default(),
            dropped: Throttle::default(),
        }
    }

    /// Begins to receive; nothing if somebody does already.
    pub(crate) fn listen(self: &Arc<Self>, receiver: Arc<Receiver>) -> Option<Listening> {
        let mut state = self.lock();
        if state.listener.is_some() {
            return None;
        }
        state.listener = Some(receiver);
        drop(state);
        self.changed.notify_all();
        Some(Listening(Arc::clone(self)))
    }

    /// Sends `events` packed events, and waits for as long as that takes, or until `give_up` says so. Without `ensure` they are dropped,
    /// and count as delivered, when nobody listens: then it answers true. Gives one hold of `ack` back when they are safe.
    pub(crate) fn send(
        self: &Arc<Self>,
        packed: &Bytes,
        events: u32,
        ack: Ack,
        ensure: bool,
        give_up: &dyn Fn() -> bool,
    ) -> bool {
        let cost = packed.len() + BATCH_COST;
        let mut state = self.lock();
        loop {
            match &state.listener {
                Some(receiver) if state.bytes == 0 || state.bytes + cost <= MAX_WAITING_BYTES => {
                    let Some(records) = PackedRecords::new(packed.clone(), Arc::clone(receiver))
                    else {
                        debug_assert!(false, "what was just packed can be unpacked");
                        return false;
                    };
                    state.bytes += cost;
                    let room = Arc::new(Room {
                        address: Arc::clone(self),
                        bytes: AtomicUsize::new(cost),
                    });
                    let records = records.with_guard(Arc::clone(&room));
                    let acknowledge = move || {
                        room.give_back();
                        ack.done(1);
                    };
                    state.waiting.push_back(Batch {
                        records: Box::new(records),
                        ack: Ack::new(Box::new(acknowledge)),
                    });
                    drop(state);
                    self.arrived.notify_one();
                    return false;
                }
                Some(_) => {}
                None if !ensure => {
                    drop(state);
                    ack.done(1);
                    if let Some(count) = self.dropped.due(u64::from(events)) {
                        tracing::warn!(
                            address = self.name,
                            count,
                            "dropped events: no pipeline listens at this address, and ensure_delivery is false"
                        );
                    }
                    return true;
                }
                None => {
                    if self.unheard.due(1).is_some() {
                        tracing::warn!(
                            address = self.name,
                            "no pipeline listens at this address: waiting until one does"
                        );
                    }
                }
            }
            if give_up() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, LOOK_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The room that a batch takes, until it is given back or dropped.
struct Room {
    address: Arc<Address>,
    bytes: AtomicUsize,
}

impl Room {
    fn give_back(&self) {
        let bytes = self.bytes.swap(0, Ordering::AcqRel);
        if bytes > 0 {
            self.address.lock().bytes -= bytes;
            self.address.changed.notify_all();
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The receiving end of an address; when it is dropped another may listen.
pub(crate) struct Listening(Arc<Address>);

impl Listening {
    /// Hands batches on until `shutdown` says that no more will come, and then those that have come.
    pub(crate) async fn run(self, queue: mpsc::Sender<Batch>, mut shutdown: watch::Receiver<bool>) {
        let stopped = async move { drop(shutdown.wait_for(|stopped| *stopped).await) };
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                batch = self.next() => if queue.send(batch).await.is_err() { return },
                () = &mut stopped => break,
            }
        }
        let left = self.close();
        for batch in left {
            if queue.send(batch).await.is_err() {
                return;
            }
        }
    }

    async fn next(&self) -> Batch {
        loop {
            let batch = self.0.lock().waiting.pop_front();
            match batch {
                Some(batch) => return batch,
                None => self.0.arrived.notified().await,
            }
        }
    }

    /// Takes nothing more; gives what waits.
    fn close(&self) -> VecDeque<Batch> {
        let mut state = self.0.lock();
        state.listener = None;
        std::mem::take(&mut state.waiting)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Outside of the lock: batches that are dropped give their room back.
        drop(self.close());
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use bumpalo::Bump;
    use skidder_pipeline::event::{Event, Timestamp};

    use super::*;
    use crate::queue::packed::pack;

    fn packed() -> Bytes {
        let arena = Bump::new();
        let mut bytes = Vec::new();
        pack(
            &Event::with_timestamp_in(Timestamp::new(0, 0), &arena),
            &mut bytes,
        );
        bytes.into()
    }

    fn counted() -> (Ack, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let ack = Ack::new(Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        (ack, count)
    }

    fn receiver() -> Arc<Receiver> {
        Arc::new(Receiver::bare())
    }

    #[tokio::test]
    async fn a_batch_is_acknowledged_when_its_receiver_has_it() {
        let addresses = Addresses::default();
        let listening = addresses.at("a").listen(receiver()).unwrap();
        assert!(addresses.at("a").listen(receiver()).is_none());
        let (ack, count) = counted();
        addresses
            .at("a")
            .send(&packed(), 1, ack, true, &|| panic!("there is room"));
        let (queue, mut batches) = mpsc::channel(1);
        let (stop, shutdown) = watch::channel(false);
        let running = tokio::spawn(listening.run(queue, shutdown));
        let batch = batches.recv().await.unwrap();
        assert_eq!(batch.records.len(), 1);
        assert_eq!(count.load(Ordering::SeqCst), 0);
        batch.ack.done(1);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        drop(batch);
        assert_eq!(addresses.at("a").lock().bytes, 0);
        stop.send_replace(true);
        running.await.unwrap();
        // The next one may listen.
        assert!(addresses.at("a").listen(receiver()).is_some());
    }

    #[test]
    fn without_a_listener_events_wait_or_are_dropped() {
        let address = Addresses::default().at("a");
        let (ack, count) = counted();
        assert!(address.send(&packed(), 1, ack, false, &|| panic!("nobody waits")));
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let (ack, count) = counted();
        address.send(&packed(), 1, ack, true, &|| true);
        assert_eq!(count.load(Ordering::SeqCst), 0, "given up is not delivered");
        let (ack, count) = counted();
        let sender = std::thread::spawn({
            let address = Arc::clone(&address);
            move || address.send(&packed(), 1, ack, true, &|| false)
        });
        let listening = address.listen(receiver()).unwrap();
        sender.join().unwrap();
        let batch = listening.close().pop_front().unwrap();
        batch.ack.done(1);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_waits_is_bounded() {
        let address = Addresses::default().at("a");
        let listening = address.listen(receiver()).unwrap();
        let large: Bytes = {
            let arena = Bump::new();
            let mut event = Event::new_in(&arena);
            let text = vec![b'x'; MAX_WAITING_BYTES / 4];
            event.fields.push_new(
                skidder_pipeline::event::MESSAGE,
                skidder_pipeline::event::Value::copied_text(&text, &arena),
            );
            let mut bytes = Vec::new();
            pack(&event, &mut bytes);
            bytes.into()
        };
        let send = || {
            let given_up = std::cell::Cell::new(false);
            address.send(&large, 1, Ack::ignored(), true, &|| {
                given_up.set(true);
                true
            });
            !given_up.get()
        };
        let taken = (0..10).filter(|_| send()).count();
        assert_eq!(taken, 3);
        // Room comes back when the events are read, or when they are on the disk.
        let first = address.lock().waiting.pop_front().unwrap();
        let Batch { records, ack } = first;
        ack.done(1);
        assert!(send());
        drop(records);
        let second = address.lock().waiting.pop_front();
        drop(second);
        assert!(send() && !send());
        drop(listening);
        assert_eq!(address.lock().bytes, 0);
    }
}
