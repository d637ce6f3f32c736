//! How long to wait before connecting again: exponential, with full jitter, so that a thousand
//! forwarders do not come back at the same moment.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Nobody is asked again sooner than this.
const LEAST: Duration = Duration::from_millis(100);

/// The waits of one link.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    attempt: u32,
    random: Random,
}

impl Backoff {
    /// The bound of the wait starts at `first` and doubles up to `last`.
    pub fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            attempt: 0,
            random: Random::new(),
        }
    }

    /// The next wait: anything up to the current bound.
    pub fn next_wait(&mut self) -> Duration {
        let bound = self.bound();
        self.attempt = self.attempt.saturating_add(1);
        let least = LEAST.min(bound);
        least + bound.saturating_sub(least).mul_f64(self.random.fraction())
    }

    fn bound(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempt.min(30));
        self.first
            .saturating_mul(factor)
            .min(self.last.max(self.first))
    }

    /// Something was acknowledged: the next trouble is a new one.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// Numbers that need not be good, only different in each process.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Seeded by the standard library's random keys.
    pub fn new() -> Self {
        Self(RandomState::new().build_hasher().finish() | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Brings a list into a random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = (self.next() % (last as u64 + 1)) as usize;
            list.swap(last, other);
        }
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_never_vanish() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 60 * second);
        let bounds: Vec<_> = (0..8)
            .map(|_| {
                let bound = backoff.bound();
                let wait = backoff.next_wait();
                assert!(wait >= LEAST && wait <= bound, "{wait:?}");
                bound.as_secs()
            })
            .collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.bound(), second);
        for _ in 0..100 {
            backoff.next_wait();
        }
        assert_eq!(backoff.bound(), 60 * second);
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let mut backoff = Backoff::new(Duration::from_mins(1), Duration::from_mins(1));
        let waits: Vec<_> = (0..200).map(|_| backoff.next_wait().as_secs()).collect();
        for tenth in 0..6 {
            let range = tenth * 10..tenth * 10 + 10;
            assert!(
                waits.iter().any(|wait| range.contains(wait)),
                "none in {range:?}"
            );
        }
    }

    #[test]
    fn a_shuffled_list_has_the_same_elements() {
        let mut list: Vec<_> = (0..50).collect();
        Random::new().shuffle(&mut list);
        list.sort_unstable();
        assert_eq!(list, (0..50).collect::<Vec<_>>());
    }
}
