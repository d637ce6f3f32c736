//! One bound, in bytes, over what all connections hold at once.
//!
//! A connection reserves before it allocates and waits, without reading its socket, until there
//! is room: so the bound is felt by the peers as a full TCP window. Reservations follow the
//! memory: that of decoded bytes is released when the last slice of them is dropped.
//!
//! INVARIANT (no deadlock): were every connection to hold half a window with the budget used
//! up, none could finish. So one connection at a time, and only while the rest are within the
//! budget, may overdraw: it goes on to the end of its window, which is then handed on and
//! released. The most that can be held is the budget and one window, and between windows a
//! connection holds nothing.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// A bound over the memory of all the connections that share it.
#[derive(Debug)]
pub struct ByteBudget {
    total: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    peak: usize,
    overdrawing: bool,
}

impl State {
    fn add(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes);
        self.peak = self.peak.max(self.used);
    }
}

impl ByteBudget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            state: Mutex::new(State::default()),
            freed: Notify::new(),
        })
    }

    /// The bound.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.lock().used
    }

    /// The most bytes that were ever held.
    pub fn peak(&self) -> usize {
        self.lock().peak
    }

    /// The purse of one more connection.
    pub fn account(self: &Arc<Self>) -> Account {
        Account {
            prepaid: Reservation {
                budget: Arc::clone(self),
                bytes: 0,
            },
            overdrawing: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is two numbers and a flag, valid after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, bytes: usize, end_overdraft: bool) {
        if bytes == 0 && !end_overdraft {
            return;
        }
        {
            let mut state = self.lock();
            state.used = state.used.saturating_sub(bytes);
            if end_overdraft {
                state.overdrawing = false;
            }
        }
        self.freed.notify_waiters();
    }
}

/// One connection's access to a [`ByteBudget`].
#[derive(Debug)]
pub struct Account {
    /// Reserved by [`Account::reserve`] and not yet used.
    prepaid: Reservation,
    overdrawing: bool,
}

impl Account {
    /// Takes `bytes` if there is room for them now.
    pub fn try_reserve(&mut self, bytes: usize) -> Option<Reservation> {
        self.fill(bytes).then(|| self.prepaid.split_off(bytes))
    }

    /// Waits until [`Account::try_reserve`] of as many bytes will succeed.
    pub async fn reserve(&mut self, bytes: usize) {
        let budget = Arc::clone(&self.prepaid.budget);
        loop {
            let freed = budget.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, so that no release between the two is missed.
            freed.as_mut().enable();
            if self.fill(bytes) {
                return;
            }
            freed.await;
        }
    }

    /// Takes `bytes` whether or not there is room: for what is small beside the window that it
    /// belongs to, and cannot wait.
    pub(crate) fn charge(&self, bytes: usize) -> Reservation {
        self.prepaid.budget.lock().add(bytes);
        Reservation {
            budget: Arc::clone(&self.prepaid.budget),
            bytes,
        }
    }

    /// Ends the right to overdraw and gives back what was not used: the connection stands
    /// between two windows.
    pub fn settle(&mut self) {
        let unused = std::mem::take(&mut self.prepaid.bytes);
        let overdrawing = std::mem::take(&mut self.overdrawing);
        self.prepaid.budget.release(unused, overdrawing);
    }

    fn fill(&mut self, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.prepaid.bytes);
        if missing == 0 {
            return true;
        }
        let budget = &self.prepaid.budget;
        let mut state = budget.lock();
        let within = state.used.saturating_add(missing) <= budget.total;
        let may_overdraw = self.overdrawing || (!state.overdrawing && state.used <= budget.total);
        if !within && !may_overdraw {
            return false;
        }
        if !within {
            state.overdrawing = true;
            self.overdrawing = true;
        }
        state.add(missing);
        drop(state);
        self.prepaid.bytes += missing;
        true
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Bytes taken from a [`ByteBudget`], given back when this is dropped.
pub struct Reservation {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl Reservation {
    /// How many bytes are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.bytes -= excess;
        self.budget.release(excess, false);
    }

    /// Joins another reservation of the same budget to this one.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    fn split_off(&mut self, bytes: usize) -> Self {
        self.bytes -= bytes;
        Self {
            budget: Arc::clone(&self.budget),
            bytes,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes, false);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Reservation({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_reservation_is_given_back_when_dropped() {
        let budget = ByteBudget::new(100);
        let mut account = budget.account();
        let reservation = account.try_reserve(60).expect("room for 60 of 100");
        assert_eq!(budget.used(), 60);
        drop(reservation);
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.peak(), 60);
    }

    #[test]
    fn only_one_account_overdraws_and_only_from_within_the_budget() {
        let budget = ByteBudget::new(100);
        let mut first = budget.account();
        let mut second = budget.account();
        let mut third = budget.account();
        let _half = first.try_reserve(90).expect("fits");
        let overdrawn = second
            .try_reserve(50)
            .expect("the first to need it may overdraw");
        assert!(first.try_reserve(50).is_none(), "somebody else overdraws");
        second.settle();
        assert!(
            third.try_reserve(1).is_none(),
            "the window that overdrew is not yet released"
        );
        drop(overdrawn);
        assert!(third.try_reserve(50).is_some(), "now the next one may");
        assert!(budget.peak() <= 140);
    }

    #[tokio::test(start_paused = true)]
    async fn many_half_windows_do_not_deadlock() {
        let budget = ByteBudget::new(1000);
        let mut tasks = Vec::new();
        for _ in 0..50 {
            let budget = Arc::clone(&budget);
            tasks.push(tokio::spawn(async move {
                for _ in 0..20 {
                    let mut account = budget.account();
                    let mut held = Vec::new();
                    // Each window needs a sixth of the budget, in pieces.
                    for _ in 0..10 {
                        account.reserve(17).await;
                        held.push(account.try_reserve(17).expect("was reserved"));
                        tokio::task::yield_now().await;
                    }
                    account.settle();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }));
        }
        for task in tasks {
            timeout(PATIENCE, task)
                .await
                .expect("no deadlock")
                .expect("no panic");
        }
        assert_eq!(budget.used(), 0);
        assert!(budget.peak() <= 1000 + 170, "peak {}", budget.peak());
    }

    #[test]
    fn a_window_larger_than_the_whole_budget_still_passes() {
        let budget = ByteBudget::new(10);
        let mut account = budget.account();
        assert!(account.try_reserve(1000).is_some());
    }

    #[test]
    fn an_account_that_ends_lets_the_next_one_overdraw() {
        let budget = ByteBudget::new(10);
        let mut first = budget.account();
        let held = first.try_reserve(20);
        assert!(held.is_some());
        drop(held);
        drop(first);
        assert!(budget.account().try_reserve(20).is_some());
        assert_eq!(budget.used(), 0);
    }
}
