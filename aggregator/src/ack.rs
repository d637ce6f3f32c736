//! Acknowledgement of a batch: told upstream once everything that came of it is safe.
//!
//! INVARIANT: upstream is acknowledged exactly once, and only when every hold was given back with
//! [`Ack::done`]. Losing an [`Ack`] (a panic, a shutdown, a request that is given up) acknowledges
//! nothing: upstream sends the batch again.
//!
//! The worker that reads a batch has the first hold; it takes one more for each event it hands to
//! each output, and gives its own back when it has handed out the last. So it does not matter how
//! many events the filters drop or add.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is called when the batch is safe. Dropped without a call when it never will be.
pub type Acknowledge = Box<dyn FnOnce() + Send>;

/// A handle on the acknowledgement of one batch. Clones are handles on the same one.
#[derive(Clone)]
pub struct Ack(Arc<Shared>);

struct Shared {
    /// The sequence number of the record that the batch is, if it comes out of a disk queue.
    record: Option<u64>,
    holds: AtomicU64,
    acknowledge: Mutex<Option<Acknowledge>>,
}

impl Ack {
    /// An acknowledgement with one hold, the caller's.
    pub fn new(acknowledge: Acknowledge) -> Self {
        Self::with(None, acknowledge)
    }

    /// The same, of the record with this sequence number of a disk queue.
    pub fn of_record(sequence: u64, acknowledge: Acknowledge) -> Self {
        Self::with(Some(sequence), acknowledge)
    }

    fn with(record: Option<u64>, acknowledge: Acknowledge) -> Self {
        Self(Arc::new(Shared {
            record,
            holds: AtomicU64::new(1),
            acknowledge: Mutex::new(Some(acknowledge)),
        }))
    }

    /// An acknowledgement that nobody waits for (an input that cannot send again).
    pub fn ignored() -> Self {
        Self::new(Box::new(|| {}))
    }

    /// Takes `events` more holds. The caller must have one itself.
    pub fn hold(&self, events: u32) {
        self.0.holds.fetch_add(u64::from(events), Ordering::Relaxed);
    }

    /// Gives `events` holds back: that many events are safe. The last one acknowledges upstream.
    pub fn done(&self, events: u32) {
        if events == 0 {
            return;
        }
        let before = self.0.holds.fetch_sub(u64::from(events), Ordering::AcqRel);
        debug_assert!(before >= u64::from(events), "more events done than held");
        if before == u64::from(events) {
            let acknowledge = self
                .0
                .acknowledge
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(acknowledge) = acknowledge {
                acknowledge();
            }
        }
    }

    /// Has `then` called, too, just before upstream is acknowledged. The caller must have a hold.
    pub fn also(&self, then: impl FnOnce() + Send + 'static) {
        let mut slot = self
            .0
            .acknowledge
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(acknowledge) = slot.take() {
            *slot = Some(Box::new(move || {
                then();
                acknowledge();
            }));
        }
    }

    /// Which record of a disk queue the batch is.
    pub fn record(&self) -> Option<u64> {
        self.0.record
    }

    /// Whether the two are handles on the same acknowledgement.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Ack({} held)",
            self.0.holds.load(Ordering::Relaxed)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn counted() -> (Ack, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let ack = Ack::new(Box::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        (ack, count)
    }

    #[test]
    fn acknowledges_once_when_the_last_hold_is_given_back() {
        let (ack, count) = counted();
        ack.hold(10);
        ack.done(1);
        let other = ack.clone();
        other.done(4);
        assert_eq!(count.load(Ordering::SeqCst), 0);
        ack.done(6);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_else_is_to_be_done_is_done_once() {
        let (ack, count) = counted();
        let also = Arc::clone(&count);
        ack.also(move || {
            also.fetch_add(10, Ordering::SeqCst);
        });
        assert_eq!(count.load(Ordering::SeqCst), 0);
        ack.done(1);
        assert_eq!(count.load(Ordering::SeqCst), 11);
    }

    #[test]
    fn a_lost_handle_acknowledges_nothing() {
        let (ack, count) = counted();
        ack.hold(2);
        ack.done(2);
        drop(ack);
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }
}
