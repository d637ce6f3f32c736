//! How far the events of a partition are safe.
//!
//! Messages of a partition go on their way in batches, in the order of their offsets, and come to be safe in any order. What
//! may be committed is the offset behind the last batch before which all are safe.
//!
//! INVARIANT: [`Progress::to_commit`] never gives an offset behind a message that is not safe. Offsets have gaps (compaction,
//! transactions), so the order in which batches were begun counts, and not whether offsets follow each other.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One partition, for as long as it is ours.
pub(super) struct Progress {
    pub(super) topic: Box<str>,
    pub(super) partition: i32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Batches on their way, the oldest first.
    flights: VecDeque<Flight>,
    /// The number of the first of them.
    first: u64,
    /// The offset behind all that is safe.
    safe: Option<i64>,
    /// The offset that was committed last.
    committed: Option<i64>,
    /// The partition is another's now, or will be read again.
    revoked: bool,
}

struct Flight {
    /// The offset behind its last message.
    end: i64,
    safe: bool,
}

impl Progress {
    pub(super) fn new(topic: &str, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages before the offset `end` go on their way; answers the number of the batch.
    pub(super) fn begin(&self, end: i64) -> u64 {
        let mut state = self.state();
        state.flights.push_back(Flight { end, safe: false });
        state.first + state.flights.len() as u64 - 1
    }

    /// The messages of a batch are safe.
    pub(super) fn safe(&self, number: u64) {
        let mut guard = self.state();
        let state = &mut *guard;
        let at = number.checked_sub(state.first).map(|at| at as usize);
        if let Some(flight) = at.and_then(|at| state.flights.get_mut(at)) {
            flight.safe = true;
        }
        while let Some(flight) = state.flights.pop_front_if(|flight| flight.safe) {
            state.first += 1;
            state.safe = Some(flight.end);
        }
    }

    /// The offset to commit, if there is a new one. It counts as committed then.
    pub(super) fn to_commit(&self) -> Option<i64> {
        let mut state = self.state();
        let safe = state.safe.filter(|_| state.safe != state.committed);
        state.committed = state.safe;
        safe
    }

    /// What was to be committed last was not.
    pub(super) fn not_committed(&self) {
        self.state().committed = None;
    }

    /// Batches on their way.
    pub(super) fn under_way(&self) -> usize {
        self.state().flights.len()
    }

    /// The partition is not ours any more.
    pub(super) fn revoke(&self) {
        self.state().revoked = true;
    }

    /// Whether what is read of it is still wanted.
    pub(super) fn is_ours(&self) -> bool {
        !self.state().revoked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_offset_is_committed_once_and_again_when_that_failed() {
        let progress = Progress::new("logs", 3);
        assert_eq!(progress.to_commit(), None);
        let first = progress.begin(10);
        let second = progress.begin(25);
        progress.safe(second);
        assert_eq!(progress.to_commit(), None);
        progress.safe(first);
        assert_eq!((progress.to_commit(), progress.under_way()), (Some(25), 0));
        assert_eq!(progress.to_commit(), None);
        progress.not_committed();
        assert_eq!(progress.to_commit(), Some(25));
    }

    proptest! {
        /// Batches become safe in any order, now and then with a look at what to commit in between.
        #[test]
        fn nothing_is_committed_that_is_not_safe(
            sizes in prop::collection::vec(1i64..100, 1..30),
            order in prop::collection::vec(any::<prop::sample::Index>(), 30),
        ) {
            let progress = Progress::new("logs", 0);
            let mut end = 0;
            let mut waiting: Vec<(u64, i64)> = sizes
                .iter()
                .map(|size| {
                    end += size;
                    (progress.begin(end), end)
                })
                .collect();
            for index in &order {
                if waiting.is_empty() {
                    break;
                }
                let (number, _) = waiting.remove(index.index(waiting.len()));
                progress.safe(number);
                let first_unsafe = waiting.iter().map(|(_, end)| *end).min();
                if let (Some(committed), Some(first)) = (progress.to_commit(), first_unsafe) {
                    prop_assert!(committed < first);
                }
            }
            if waiting.is_empty() {
                progress.not_committed();
                prop_assert_eq!(progress.to_commit(), Some(end));
            }
        }
    }
}
