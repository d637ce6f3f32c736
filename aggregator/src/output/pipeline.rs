//! The `pipeline` output: events to other pipelines of this process.
//!
//! An event is packed once, whatever the number of addresses, and sent at the end of the batch that it came
//! with, or earlier if there are many. It is safe when every address has it: see [`crate::addresses`].
//!
//! INVARIANT: the output ends when all that it sent is safe or lost, so that the pipeline's disk queue, which is closed after that,
//! knows of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skidder_pipeline::language::{Options, Spanned};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::deadline::Deadline;
use super::packing::{Destination, Packed};
use crate::ack::Ack;
use crate::addresses::{Address, Addresses};

/// What the configuration says.
pub(crate) struct PipelineOutput {
    /// `send_to`
    pub(crate) send_to: Vec<Spanned<String>>,
    ensure_delivery: bool,
}

/// Where the writers of an output send to.
pub struct Targets {
    addresses: Vec<Arc<Address>>,
    ensure_delivery: bool,
    /// Events that no pipeline took, without `ensure_delivery`.
    dropped: AtomicU64,
    under_way: Arc<UnderWay>,
}

/// What was sent and is not safe yet.
#[derive(Default)]
struct UnderWay {
    batches: AtomicU64,
    /// Events of batches that somebody gave up.
    lost: AtomicU64,
    less: Notify,
}

/// One batch that is under way, until it is dropped.
struct Token {
    under_way: Arc<UnderWay>,
    /// Those that are not safe.
    events: u64,
}

impl Token {
    fn safe(mut self) {
        self.events = 0;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.under_way.lost.fetch_add(self.events, Ordering::AcqRel);
        self.under_way.batches.fetch_sub(1, Ordering::AcqRel);
        self.under_way.less.notify_one();
    }
}

impl Targets {
    /// Waits until nothing is under way; answers how many events were given up. Every writer must be gone.
    pub(super) async fn finish(&self) -> u64 {
        // A notice that comes before the wait is kept.
        while self.under_way.batches.load(Ordering::Acquire) > 0 {
            self.under_way.less.notified().await;
        }
        self.under_way.lost.load(Ordering::Acquire)
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        let dropped = *self.dropped.get_mut();
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "output pipeline ended, no pipeline took these events"
            );
        }
    }
}

impl PipelineOutput {
    pub(super) fn from_options(options: &mut Options<'_>) -> Option<Self> {
        options.without_effect("codec", "events go as they are");
        let send_to = options.strings("send_to");
        if !options.has("send_to") {
            options.missing("send_to");
        }
        let named = |addresses: &[Spanned<String>]| {
            !addresses.is_empty() && addresses.iter().all(|address| !address.value.is_empty())
        };
        if send_to
            .as_deref()
            .is_some_and(|addresses| !named(addresses))
        {
            options.error("send_to", "this names no address");
        }
        let mut send_to = send_to?;
        let mut seen = std::collections::HashSet::new();
        send_to.retain(|address| seen.insert(address.value.clone()));
        Some(Self {
            send_to,
            ensure_delivery: options.boolean("ensure_delivery").unwrap_or(true),
        })
    }

    pub(super) fn targets(&self, addresses: &Addresses) -> Targets {
        let at = |address: &Spanned<String>| addresses.at(&address.value);
        Targets {
            addresses: self.send_to.iter().map(at).collect(),
            ensure_delivery: self.ensure_delivery,
            dropped: AtomicU64::new(0),
            under_way: Arc::default(),
        }
    }
}

/// A worker's end of the output: gives up what it cannot send at the deadline.
pub(super) struct PipelineEnd {
    pub(super) targets: Arc<Targets>,
    pub(super) deadline: Deadline,
}

impl Destination for PipelineEnd {
    fn send(&mut self, packed: Packed) {
        let Packed {
            bytes: packed,
            events,
            acks,
        } = packed;
        let under_way = &self.targets.under_way;
        under_way.batches.fetch_add(1, Ordering::AcqRel);
        let token = Token {
            under_way: Arc::clone(under_way),
            events: u64::from(events),
        };
        let acknowledge = move || {
            for ack in &acks {
                ack.done(1);
            }
            token.safe();
        };
        let ack = Ack::new(Box::new(acknowledge));
        ack.hold(self.targets.addresses.len() as u32 - 1);
        let give_up = || {
            let deadline = self.deadline.borrow();
            deadline.is_some_and(|at| Instant::now() >= at)
        };
        let ensure = self.targets.ensure_delivery;
        for address in &self.targets.addresses {
            if address.send(&packed, events, ack.clone(), ensure, &give_up) {
                let dropped = &self.targets.dropped;
                dropped.fetch_add(u64::from(events), Ordering::Relaxed);
            }
        }
    }
}
