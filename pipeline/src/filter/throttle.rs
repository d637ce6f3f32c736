//! The filter `throttle`: counts events by a key in slots of time, and succeeds for those before a
//! lower and after an upper count; the options of every filter say what becomes of them.
//!
//! All workers count together. Memory is bounded by `max_counters`: a counter takes the same few
//! bytes whatever its key (a hash stands for it). When there are too many, those of keys that are
//! out of age go, and if that is not enough the half that was counted longest ago.
//!
//! COMPAT (logstash-filter-throttle): time is `@timestamp`; a slot starts with the first event of its
//! key, and slots follow one another by `period`; a period that is no number is 60 s.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::cache::Seed;
use super::common::template;
use super::{Context, Filter, Outcome};
use crate::event::Event;
use crate::language::Options;
use crate::number::integer_prefix;
use crate::template::Template;

/// Default of `max_counters`.
const MAX_COUNTERS: usize = 100_000;

/// What -1 for `max_counters` stands for: no bound in Logstash, about a gigabyte here.
pub const MOST_COUNTERS: usize = 10_000_000;

/// Default of `period`, and what a period that is no number is, in seconds.
const PERIOD: i64 = 60;

/// Parts that the counters are divided into, so that workers seldom wait for one another.
const SHARDS: usize = 16;

/// Counters for each part that make it worth to divide them.
const LEAST_COUNTERS_TO_DIVIDE: usize = 1000;

/// The filter.
#[derive(Debug)]
pub struct Throttle {
    key: Template,
    period: Template,
    before: Option<i64>,
    after: Option<i64>,
    max_age: i64,
    seed: Seed,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug)]
struct Shard {
    keys: HashMap<u128, Slots>,
    counters: usize,
    max_counters: usize,
}

/// The slots of one key.
#[derive(Debug)]
struct Slots {
    created: i64,
    latest: i64,
    counts: Vec<(i64, i64)>,
}

impl Throttle {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let key = options.required_string("key");
        let key = key.and_then(|key| template(options, "key", &key));
        let period = options
            .string("period")
            .unwrap_or_else(|| PERIOD.to_string());
        let period = template(options, "period", &period);
        let mut count = |name| {
            let count = options.integer(name, -1..=i64::MAX);
            count.filter(|count| *count >= 0)
        };
        let (before, after) = (count("before_count"), count("after_count"));
        let max_age = options.integer("max_age", 0..=i64::MAX).unwrap_or(3600);
        let max_counters = match options.integer("max_counters", -1..=MOST_COUNTERS as i64) {
            None => MAX_COUNTERS,
            Some(count) => usize::try_from(count).unwrap_or(MOST_COUNTERS).max(1),
        };
        let shards = if max_counters >= SHARDS * LEAST_COUNTERS_TO_DIVIDE {
            SHARDS
        } else {
            1
        };
        let shard = || Shard {
            keys: HashMap::new(),
            counters: 0,
            max_counters: max_counters / shards,
        };
        Some(Self {
            key: key?,
            period: period?,
            before,
            after,
            max_age,
            seed: Seed::random(),
            shards: (0..shards).map(|_| Mutex::new(shard())).collect(),
        })
    }
}

impl Filter for Throttle {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let key = self.key.fill(event, context.now, context.arena);
        let period = integer_prefix(self.period.fill(event, context.now, context.arena));
        let period = if period <= 0 { PERIOD } else { period };
        let time = event.timestamp().unwrap_or(context.now).seconds();
        let key = self.seed.hash(key);
        let shard = &self.shards[key as usize % self.shards.len()];
        let count = shard.lock().unwrap_or_else(PoisonError::into_inner).count(
            key,
            time,
            period,
            self.max_age,
        );
        Outcome::of(
            self.before.is_some_and(|before| count < before)
                || self.after.is_some_and(|after| count > after),
        )
    }
}

impl Shard {
    /// Counts an event and answers how many its slot has now.
    fn count(&mut self, key: u128, time: i64, period: i64, max_age: i64) -> i64 {
        if self.counters >= self.max_counters {
            self.make_room(max_age);
        }
        let slots = self.keys.entry(key).or_insert_with(|| Slots {
            created: time,
            latest: time,
            counts: Vec::new(),
        });
        slots.latest = slots.latest.max(time);
        let since = time.wrapping_sub(slots.created).rem_euclid(period);
        let slot = time.wrapping_sub(since);
        let before = slots.counts.len();
        let count = match slots.counts.iter_mut().find(|(start, _)| *start == slot) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                slots.counts.push((slot, 1));
                let newest = slots.counts.iter().map(|(start, _)| *start).max();
                let oldest = newest.unwrap_or(slot).saturating_sub(max_age);
                slots.counts.retain(|(start, _)| *start >= oldest);
                1
            }
        };
        self.counters = self.counters + slots.counts.len() - before;
        count
    }

    fn make_room(&mut self, max_age: i64) {
        let latest = self.keys.values().map(|slots| slots.latest).max();
        let oldest = latest.unwrap_or(0).saturating_sub(max_age);
        self.keys.retain(|_, slots| slots.latest >= oldest);
        self.recount();
        if self.counters < self.max_counters {
            return;
        }
        let mut times: Vec<i64> = self.keys.values().map(|slots| slots.latest).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        // Of those at the median itself so many that half are left.
        let mut to_go = middle + 1;
        for strictly in [true, false] {
            self.keys.retain(|_, slots| {
                let goes = if strictly {
                    slots.latest < median
                } else {
                    slots.latest == median && to_go > 0
                };
                to_go -= usize::from(goes);
                !goes
            });
        }
        self.recount();
    }

    fn recount(&mut self) {
        self.counters = self.keys.values().map(|slots| slots.counts.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stay_below_their_bound() {
        let mut shard = Shard {
            keys: HashMap::new(),
            counters: 0,
            max_counters: 100,
        };
        for number in 0..10_000_u32 {
            let (key, time) = (u128::from(number % 777), i64::from(number / 50));
            shard.count(key, time, 10, 1_000_000);
            assert!(shard.counters <= 100);
            let counted: usize = shard.keys.values().map(|slots| slots.counts.len()).sum();
            assert_eq!(counted, shard.counters);
        }
        // One key with many slots.
        for time in 0..1000 {
            shard.count(1, time, 1, 1_000_000);
            assert!(shard.counters <= 100);
        }
        // Times at both ends of what a number holds.
        for time in [i64::MIN, i64::MAX, 0] {
            shard.count(2, time, i64::MAX, i64::MAX);
        }
    }
}
