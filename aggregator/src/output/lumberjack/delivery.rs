//! Windows that wait for a connection, and the connections.
//!
//! A window is with one connection until it is acknowledged; one that fails gives back what it has, and the next that has
//! room takes it. What is under way is bounded: `pipelining` windows for each host and one that waits. When all are there
//! the writers block, and so the input does.
//!
//! INVARIANT: an event is acknowledged only when a host has acknowledged its window.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tracing::{Instrument as _, warn};

use super::link::Link;
use super::options::LumberjackOptions;
use super::writer::Window;
use crate::monitor::DeliveryFigures;
use crate::output::deadline::{Deadline, passed};
use crate::output::elasticsearch::DeliverySummary;
use crate::tls::{Verification, client_config};

/// The way into the delivery; each worker has a clone.
#[derive(Clone, Debug)]
pub struct Windows {
    queue: mpsc::Sender<Window>,
    options: Arc<LumberjackOptions>,
    delivered: Arc<AtomicU64>,
}

impl Windows {
    /// What tells how deliveries go, also when they are over.
    pub(in crate::output) fn figures(&self) -> impl Fn() -> DeliveryFigures + Send + Sync + use<> {
        let delivered = Arc::clone(&self.delivered);
        move || DeliveryFigures {
            delivered: delivered.load(Ordering::Relaxed),
            ..DeliveryFigures::default()
        }
    }

    pub(super) fn options(&self) -> &Arc<LumberjackOptions> {
        &self.options
    }

    /// Hands a window over; blocks while there is no room. What comes after the end is dropped, unacknowledged.
    pub(super) fn send(&self, window: Window) {
        drop(self.queue.blocking_send(window));
    }
}

/// What the connections share.
pub(super) struct Shared {
    queue: tokio::sync::Mutex<mpsc::Receiver<Window>>,
    waiting: Mutex<Waiting>,
    /// Told when windows come back, and when nothing is under way any more.
    changed: Notify,
    received: AtomicU64,
    delivered: Arc<AtomicU64>,
}

#[derive(Default)]
struct Waiting {
    /// Given back by a connection that failed.
    returned: VecDeque<Window>,
    /// Windows that are with a connection, or were given back.
    under_way: usize,
    /// Every writer is gone.
    no_more: bool,
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next window to send; `None` when all that there ever will be are delivered. Cancel-safe.
    pub(super) async fn next(&self) -> Option<Window> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let no_more = {
                let mut waiting = self.waiting();
                if let Some(window) = waiting.returned.pop_front() {
                    return Some(window);
                }
                if waiting.no_more && waiting.under_way == 0 {
                    return None;
                }
                waiting.no_more
            };
            if no_more {
                changed.await;
                continue;
            }
            tokio::select! {
                () = changed => {}
                next = async { self.queue.lock().await.recv().await } => {
                    let mut waiting = self.waiting();
                    let Some(window) = next else {
                        waiting.no_more = true;
                        self.changed.notify_waiters();
                        continue;
                    };
                    waiting.under_way += 1;
                    self.received.fetch_add(window.encoded.events.into(), Ordering::Relaxed);
                    return Some(window);
                }
            }
        }
    }

    /// Takes windows back, those that were sent first in front.
    pub(super) fn give_back(&self, windows: impl DoubleEndedIterator<Item = Window>) {
        let mut waiting = self.waiting();
        for window in windows.rev() {
            waiting.returned.push_front(window);
        }
        self.changed.notify_waiters();
    }

    /// A window has arrived.
    pub(super) fn done(&self, window: Window) {
        self.delivered
            .fetch_add(window.encoded.events.into(), Ordering::Relaxed);
        for (ack, events) in window.acks {
            ack.done(events);
        }
        let mut waiting = self.waiting();
        waiting.under_way -= 1;
        if waiting.under_way == 0 {
            self.changed.notify_waiters();
        }
    }
}

/// Starts the delivery on the current runtime; no host needs to answer for that. It ends when every sender is gone and
/// all is delivered, or when the deadline has passed.
pub(in crate::output) fn start(
    options: LumberjackOptions,
    deadline: Deadline,
) -> Result<(Windows, JoinHandle<DeliverySummary>), String> {
    let connector = match &options.tls {
        None => None,
        Some(tls) => {
            if tls.verification == Verification::None {
                warn!(
                    plugin = %options.plugin_id,
                    "server certificates are not verified: anyone in between can read and change events"
                );
            }
            let config = client_config(tls).map_err(|error| error.to_string())?;
            Some(TlsConnector::from(Arc::new(config)))
        }
    };
    let options = Arc::new(options);
    let (queue, receiver) = mpsc::channel(1);
    let delivered = Arc::<AtomicU64>::default();
    let shared = Arc::new(Shared {
        queue: tokio::sync::Mutex::new(receiver),
        waiting: Mutex::default(),
        changed: Notify::new(),
        received: AtomicU64::new(0),
        delivered: Arc::clone(&delivered),
    });
    let links = options.hosts.iter().map(|host| {
        let (shared, options) = (Arc::clone(&shared), Arc::clone(&options));
        Link::new(shared, options, host.clone(), connector.clone())
    });
    let delivery = deliver(Arc::clone(&shared), links.collect(), deadline);
    let delivery = tokio::spawn(delivery.in_current_span());
    let windows = Windows {
        queue,
        options,
        delivered,
    };
    Ok((windows, delivery))
}

async fn deliver(shared: Arc<Shared>, links: Vec<Link>, deadline: Deadline) -> DeliverySummary {
    let mut tasks = JoinSet::new();
    for link in links {
        tasks.spawn(link.run().in_current_span());
    }
    tokio::select! {
        biased;
        () = passed(deadline) => {}
        () = async { while tasks.join_next().await.is_some() {} } => {}
    }
    tasks.shutdown().await;
    // Writers that still block are told at once.
    shared.queue.lock().await.close();
    let delivered = shared.delivered.load(Ordering::Relaxed);
    let received = shared.received.load(Ordering::Relaxed);
    DeliverySummary {
        delivered,
        duplicates: 0,
        dead_lettered: 0,
        undelivered: received.saturating_sub(delivered),
    }
}
