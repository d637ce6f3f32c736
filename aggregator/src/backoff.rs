//! Waiting times between attempts: doubled up to a limit, with full jitter.
//!
//! Each wait is drawn evenly from zero to the current interval, so that many senders that were
//! refused together do not come back together.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// The waits of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    maximum: Duration,
    interval: Duration,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, maximum: Duration) -> Self {
        Self {
            initial,
            maximum,
            interval: initial.min(maximum),
        }
    }

    /// The next wait; the interval after it is twice as long.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = jitter(self.interval);
        self.interval = self.interval.saturating_mul(2).min(self.maximum);
        wait
    }

    /// Starts over after progress.
    pub(crate) fn reset(&mut self) {
        self.interval = self.initial.min(self.maximum);
    }
}

/// A duration drawn evenly from zero to `limit`.
pub(crate) fn jitter(limit: Duration) -> Duration {
    // Each new state has keys of its own: enough randomness to spread senders, without a crate.
    let random = RandomState::new().build_hasher().finish();
    limit.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(64));
        let mut intervals = Vec::new();
        for _ in 0..8 {
            intervals.push(backoff.interval.as_secs());
            assert!(backoff.next_wait() <= Duration::from_secs(64));
        }
        assert_eq!(intervals, [2, 4, 8, 16, 32, 64, 64, 64]);
        backoff.reset();
        assert_eq!(backoff.interval.as_secs(), 2);
    }

    #[test]
    fn jitter_spreads_over_the_whole_interval() {
        let limit = Duration::from_secs(1);
        let drawn: Vec<Duration> = (0..1_000).map(|_| jitter(limit)).collect();
        assert!(drawn.iter().all(|wait| *wait <= limit));
        let low = drawn.iter().filter(|wait| **wait < limit / 2).count();
        assert!((300..700).contains(&low), "{low} of 1000 in the lower half");
    }
}
