//! A worker's cache of what is dear to work out again, bounded by its number of entries.
//!
//! Entries stand in two generations. What is found in the old one moves to the young one; when the
//! young one is full it becomes the old one, and what was not asked for since is gone. That keeps
//! what a least-recently-used list would keep, without one, and never holds more than its capacity.
//!
//! Keys are seeded 128-bit hashes: an entry costs the same however long its text is, and nobody
//! outside can make two texts meet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The hash that stands for a text in this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    /// Another one in each process.
    pub(crate) fn random() -> Self {
        Self(RandomState::new().hash_one(0))
    }

    pub(crate) fn hash(self, text: &[u8]) -> u128 {
        xxh3_128_with_seed(text, self.0)
    }
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    young: HashMap<u128, V>,
    old: HashMap<u128, V>,
    /// Entries of one generation.
    half: usize,
}

impl<V> Cache<V> {
    /// A cache of at most so many entries, one for each generation at least.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (capacity / 2).max(1),
        }
    }

    /// The entry of a key, made if it is not there.
    pub(crate) fn get_or_insert(&mut self, key: u128, make: impl FnOnce() -> V) -> &V {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key).unwrap_or_else(make);
            if self.young.len() >= self.half {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(key, value);
        }
        &self.young[&key]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_used_and_no_more_than_it_may() {
        let mut cache = Cache::new(10);
        let mut made = 0;
        for round in 0..1000_u128 {
            for key in [7, 1000 + round] {
                cache.get_or_insert(key, || made += 1);
            }
            assert!(cache.young.len() + cache.old.len() <= 10);
        }
        assert_eq!(made, 1001);
    }
}
