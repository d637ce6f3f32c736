//! The filter `sleep`: holds a worker, for tests and to slow a replay down.
//!
//! A worker that sleeps works on nothing else, which is the point; what waits behind it is bounded as
//! ever. An event cannot hold it for longer than `max_time`.
//!
//! COMPAT (logstash-filter-sleep): all workers count and keep the time of the last event together.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::common::template;
use super::{Context, Filter, Outcome};
use crate::event::Event;
use crate::language::{DurationUnit, Options};
use crate::number::float_prefix;
use crate::template::Template;

/// Default of `max_time`.
const MAX_TIME: Duration = Duration::from_hours(1);

/// The filter.
#[derive(Debug)]
pub struct Sleep {
    /// Seconds, or how much faster than the events a replay goes.
    time: Template,
    every: u64,
    replay: bool,
    max_time: Duration,
    count: AtomicU64,
    /// `@timestamp` of the last event in milliseconds, [`NO_EVENT`] before the first.
    last: AtomicI64,
}

/// No event came yet.
const NO_EVENT: i64 = i64::MIN;

impl Sleep {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let replay = options.boolean("replay").unwrap_or(false);
        let time = if replay {
            options.string("time").unwrap_or_else(|| "1".into())
        } else {
            options.required_string("time")?
        };
        let time = template(options, "time", &time)?;
        let every = options.integer("every", 1..=i64::MAX).unwrap_or(1);
        let max_time = options.duration("max_time", DurationUnit::Seconds);
        Some(Self {
            time,
            every: every as u64,
            replay,
            max_time: max_time.unwrap_or(MAX_TIME),
            count: AtomicU64::new(0),
            last: AtomicI64::new(NO_EVENT),
        })
    }

    /// How long to sleep for an event.
    fn pause<'b>(&'b self, event: &Event<'b>, context: &Context<'_, 'b>) -> Duration {
        let time = || float_prefix(self.time.fill(event, context.now, context.arena));
        let seconds = if self.replay {
            let clock = event.timestamp().unwrap_or(context.now).milliseconds();
            match self.last.swap(clock, Ordering::Relaxed) {
                NO_EVENT => 0.0,
                last => clock.saturating_sub(last) as f64 / 1000.0 / time(),
            }
        } else {
            let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(self.every) {
                time()
            } else {
                0.0
            }
        };
        if seconds > 0.0 {
            let pause = Duration::try_from_secs_f64(seconds);
            pause.map_or(self.max_time, |pause| pause.min(self.max_time))
        } else {
            Duration::ZERO
        }
    }
}

impl Filter for Sleep {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let pause = self.pause(event, context);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        Outcome::Applied
    }
}
