//! The filter `dedupe`: events that came before within a window of time are dropped, or only
//! succeed, so that the options of every filter mark them.
//!
//! This filter is ours. All workers remember together what came, by a hash of the key, in two
//! generations that follow one another: by half of `window` in time, or when half of `max_keys` is
//! reached. So a key is remembered for half a window at least (unless there are too many keys) and
//! for one at most, and memory is bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cache::Seed;
use super::common::template;
use super::{Context, Filter, Outcome};
use crate::event::Event;
use crate::language::{DurationUnit, Options};
use crate::template::Template;

/// Default of `window`.
const WINDOW: Duration = Duration::from_mins(1);

/// Default of `max_keys`.
const MAX_KEYS: usize = 100_000;

/// The most that `max_keys` may be.
pub const MOST_KEYS: usize = 100_000_000;

/// Parts that keys are divided into, so that workers seldom wait for one another.
const SHARDS: usize = 16;

/// The filter.
#[derive(Debug)]
pub struct Dedupe {
    key: Template,
    /// In milliseconds.
    window: i64,
    drop: bool,
    seed: Seed,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug)]
struct Shard {
    /// Keys and when they came first, in milliseconds.
    young: HashMap<u128, i64>,
    old: HashMap<u128, i64>,
    /// When the young generation began.
    since: i64,
    /// Keys of one generation.
    half: usize,
}

impl Dedupe {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let key = options.string("key").unwrap_or_else(|| "%{message}".into());
        let key = template(options, "key", &key);
        let window = options.duration("window", DurationUnit::Seconds);
        let max_keys = options.count("max_keys", SHARDS..=MOST_KEYS);
        let drop = options.boolean("drop").unwrap_or(true);
        let half = (max_keys.unwrap_or(MAX_KEYS) / SHARDS / 2).max(1);
        let shard = || Shard {
            young: HashMap::new(),
            old: HashMap::new(),
            since: i64::MIN,
            half,
        };
        Some(Self {
            key: key?,
            window: window.unwrap_or(WINDOW).as_millis() as i64,
            drop,
            seed: Seed::random(),
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
        })
    }
}

impl Filter for Dedupe {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let key = self
            .seed
            .hash(self.key.fill(event, context.now, context.arena));
        let shard = &self.shards[key as usize % SHARDS];
        let is_new = shard.lock().unwrap_or_else(PoisonError::into_inner).is_new(
            key,
            context.now.milliseconds(),
            self.window,
        );
        if is_new {
            return Outcome::Unapplied;
        }
        if self.drop {
            event.cancel();
            return Outcome::Unapplied;
        }
        Outcome::Applied
    }
}

impl Shard {
    /// Whether the key did not come within the window; it is remembered then.
    fn is_new(&mut self, key: u128, now: i64, window: i64) -> bool {
        let age = now.saturating_sub(self.since);
        if age > window / 2 || age < 0 || self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        let came = |map: &HashMap<u128, i64>| {
            let at = map.get(&key)?;
            (0..=window)
                .contains(&now.saturating_sub(*at))
                .then_some(())
        };
        if came(&self.young).or_else(|| came(&self.old)).is_some() {
            return false;
        }
        self.young.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_for_a_window_and_no_more_than_it_may() {
        let mut shard = Shard {
            young: HashMap::new(),
            old: HashMap::new(),
            since: i64::MIN,
            half: 50,
        };
        assert!(shard.is_new(1, 1000, 100));
        assert!(!shard.is_new(1, 1001, 100));
        assert!(!shard.is_new(1, 1050, 100));
        assert!(shard.is_new(1, 1200, 100));
        // The clock was set back.
        assert!(shard.is_new(1, 5, 100));
        for key in 0..10_000 {
            shard.is_new(key, 6, 1_000_000);
            assert!(shard.young.len() + shard.old.len() <= 100);
        }
    }
}
