//! Keeps a repeated warning to one line an interval, with a count of what was left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the same warning may be logged.
pub(crate) const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Decides for one kind of warning whether it is logged now.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logged: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// Counts `occurrences`; gives the number since the last line when a line is due.
    pub(crate) fn due(&self, occurrences: u64) -> Option<u64> {
        self.due_at(Instant::now(), occurrences)
    }

    fn due_at(&self, now: Instant, occurrences: u64) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held_back += occurrences;
        let quiet = state
            .logged
            .is_some_and(|logged| now.saturating_duration_since(logged) < WARNING_INTERVAL);
        if quiet {
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_an_interval_with_the_count() {
        let throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.due_at(start, 1), Some(1));
        assert_eq!(throttle.due_at(start + Duration::from_secs(1), 3), None);
        assert_eq!(throttle.due_at(start + WARNING_INTERVAL, 2), Some(5));
    }
}
