//! The filter `sampling`: keeps so many of a hundred events and drops the others.
//!
//! This filter is ours. With a `key` events of one key share their fate, on every machine and after
//! every restart, so that what belongs together stays together; without one the fate is random.

use xxhash_rust::xxh3::xxh3_64;

use super::common::{put, template};
use super::random::Randomness;
use super::{Context, Filter, Outcome, ScratchSlot};
use crate::compile::Build;
use crate::event::{Event, Path, Value};
use crate::language::Options;
use crate::template::Template;

/// The filter.
#[derive(Debug)]
pub struct Sampling {
    /// Of 2^64 numbers, those below this one keep the event; none if all are kept.
    threshold: Option<u64>,
    key: Option<Template>,
    target: Option<Path>,
    /// How many events one that is kept stands for.
    weight: f64,
    slot: ScratchSlot,
}

impl Sampling {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        const ALL: f64 = 18_446_744_073_709_551_616.0;
        if !options.has("percentage") {
            options.missing("percentage");
        }
        let key = options
            .string("key")
            .map(|key| template(options, "key", &key));
        let target = options.field("target");
        let percentage = options.number("percentage")?;
        if !(percentage > 0.0 && percentage <= 100.0) {
            options.error(
                "percentage",
                "`percentage` must be more than 0 and at most 100; to drop all events, write `drop { }`",
            );
            return None;
        }
        let key = match key {
            Some(key) => Some(key?),
            None => None,
        };
        Some(Self {
            threshold: (percentage < 100.0).then_some((percentage / 100.0 * ALL) as u64),
            key,
            target: target.map(|field| Path::from(&field.value)),
            weight: 100.0 / percentage,
            slot: build.slots.take(),
        })
    }
}

impl Filter for Sampling {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        if let Some(threshold) = self.threshold {
            let number = match &self.key {
                Some(key) => xxh3_64(key.fill(event, context.now, context.arena)),
                None => {
                    let randomness = context.scratch.slot(self.slot, Randomness::new);
                    u64::from_le_bytes(randomness.take())
                }
            };
            if number >= threshold {
                event.cancel();
                return Outcome::Unapplied;
            }
        }
        if let Some(target) = &self.target {
            put(target, Value::Float(self.weight), event, context.arena);
        }
        Outcome::Applied
    }
}
