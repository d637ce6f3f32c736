//! The filter `metrics`: counts events and times, and tells about it in events of its own.
//!
//! All workers share the counts, behind one lock. An event with the figures is emitted when the
//! filters are flushed and `flush_interval` is over, and a last one at the end.
//!
//! COMPAT: rates are exponentially weighted averages with a tick of five seconds, percentiles those
//! of 1028 values that are drawn so that those of the last five minutes weigh most, as Metriks has
//! them. Unlike in Logstash `stddev` is the standard deviation, not its square root, and the number
//! of names is bounded ([`DEFAULT_MAX_METRICS`]).

use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use bumpalo::Bump;

use super::elapsed::nanoseconds_between;
use crate::Build;
use crate::event::{Event, MESSAGE, Name, Object, Timestamp, Value};
use crate::filter::common::{host_name, template};
use crate::filter::{Context, Filter, Outcome};
use crate::language::Options;
use crate::number::float_prefix;
use crate::template::Template;

/// How many names of meters and timers there may be, unless `max_metrics` says otherwise.
pub const DEFAULT_MAX_METRICS: usize = 10_000;
/// The tag of an event whose metric is one too many.
const TOO_MANY: &[u8] = b"_metrics_too_many";

/// Seconds between two ticks of a rate.
const TICK: f64 = 5.0;
/// How many values of a timer are kept.
const SAMPLES: usize = 1028;
/// How fast old values lose weight, per second.
const DECAY: f64 = 0.015;
/// The averages there are, in minutes.
const RATES: [(u8, &str); 3] = [(1, "rate_1m"), (5, "rate_5m"), (15, "rate_15m")];

/// The filter.
#[derive(Debug)]
pub struct Metrics {
    meters: Box<[Template]>,
    timers: Box<[(Template, Template)]>,
    /// In seconds; zero for never.
    ignore_older_than: f64,
    flush_interval: f64,
    clear_interval: f64,
    rates: Box<[u8]>,
    percentiles: Box<[(Box<str>, f64)]>,
    max_names: usize,
    host: Box<[u8]>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    meters: BTreeMap<Box<[u8]>, Meter>,
    timers: BTreeMap<Box<[u8]>, Timer>,
    /// Something was counted since the last event.
    is_new: bool,
    last_flush: Option<Timestamp>,
    last_clear: Option<Timestamp>,
    random: Random,
}

#[derive(Debug)]
struct Meter {
    count: u64,
    /// Since the last tick.
    uncounted: u64,
    last_tick: Timestamp,
    rates: [Option<f64>; RATES.len()],
}

#[derive(Debug)]
struct Timer {
    meter: Meter,
    start: Timestamp,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of the squares of the differences from the mean (Welford).
    squares: f64,
    samples: BinaryHeap<Sample>,
}

/// A value with the logarithm of its priority; the least is the greatest in the heap.
#[derive(Clone, Copy, Debug)]
struct Sample {
    priority: f64,
    value: f64,
}

impl Metrics {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let mut meters = Vec::new();
        for name in options.strings("meter").unwrap_or_default() {
            meters.extend(template(options, "meter", &name.value));
        }
        let mut timers = Vec::new();
        for (name, value) in options.string_hash("timer").unwrap_or_default() {
            let name = template(options, "timer", &name.value);
            let value = template(options, "timer", &value.value);
            timers.extend(name.zip(value));
        }
        if meters.is_empty() && timers.is_empty() && options.is_valid() {
            options.warning("meter", "`metrics` counts nothing: add `meter` or `timer`");
        }
        let mut rates = Vec::new();
        let written = options.strings("rates");
        let all = written.is_none();
        for rate in written.unwrap_or_default() {
            match RATES
                .iter()
                .find(|(minutes, _)| minutes.to_string() == rate.value)
            {
                Some((minutes, _)) => rates.push(*minutes),
                None => options
                    .diagnostics()
                    .error(rate.span, "`rates` may be 1, 5 and 15"),
            }
        }
        if all {
            rates.extend(RATES.map(|(minutes, _)| minutes));
        }
        let mut percentiles = Vec::new();
        let written = options.strings("percentiles").map_or_else(
            || {
                ["1", "5", "10", "90", "95", "99", "100"]
                    .map(|text| (text.to_owned(), None))
                    .to_vec()
            },
            |texts| {
                texts
                    .into_iter()
                    .map(|text| (text.value, Some(text.span)))
                    .collect()
            },
        );
        for (text, span) in written {
            match text.parse::<f64>() {
                Ok(number) if (0.0..=100.0).contains(&number) => {
                    percentiles.push((format!("p{text}").into(), number / 100.0));
                }
                _ => options.diagnostics().error(
                    span.unwrap_or_default(),
                    "`percentiles` must be numbers from 0 to 100",
                ),
            }
        }
        Some(Self {
            meters: meters.into(),
            timers: timers.into(),
            ignore_older_than: options.number("ignore_older_than").unwrap_or(0.0),
            flush_interval: options.number("flush_interval").unwrap_or(5.0),
            clear_interval: options.number("clear_interval").unwrap_or(-1.0),
            rates: rates.into(),
            percentiles: percentiles.into(),
            max_names: options
                .count("max_metrics", 1..=1_000_000)
                .unwrap_or(DEFAULT_MAX_METRICS),
            host: host_name(build),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The figures that all meters have.
    fn rates<'b>(&self, meter: &mut Meter, now: Timestamp, arena: &'b Bump) -> Object<'b> {
        meter.tick(now);
        let mut figures = Object::with_capacity_in(16, arena);
        figures.set(Name::new("count"), Value::Integer(meter.count as i64));
        for ((minutes, name), rate) in RATES.iter().zip(meter.rates) {
            if self.rates.contains(minutes) {
                figures.set(Name::new(name), Value::Float(rate.unwrap_or(0.0)));
            }
        }
        figures
    }
}

impl Filter for Metrics {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let (now, arena) = (context.now, context.arena);
        if self.ignore_older_than > 0.0
            && let Some(time) = event.timestamp()
            && nanoseconds_between(time, now) as f64 / 1e9 > self.ignore_older_than
        {
            return Outcome::Unapplied;
        }
        let mut too_many = false;
        let mut state = self.state();
        let state = &mut *state;
        state.last_flush.get_or_insert(now);
        state.last_clear.get_or_insert(now);
        for name in &self.meters {
            let name = name.fill(event, now, arena);
            let room = state.meters.len() + state.timers.len() < self.max_names;
            match state.meters.get_mut(name) {
                Some(meter) => meter.mark(now),
                None if room => {
                    let mut meter = Meter::new(now);
                    meter.mark(now);
                    state.meters.insert(name.into(), meter);
                }
                None => too_many = true,
            }
            state.is_new = true;
        }
        for (name, value) in &self.timers {
            let name = name.fill(event, now, arena);
            // COMPAT: what is no number is zero.
            let value = float_prefix(value.fill(event, now, arena));
            let room = state.meters.len() + state.timers.len() < self.max_names;
            if !state.timers.contains_key(name) {
                if !room {
                    too_many = true;
                    continue;
                }
                state.timers.insert(name.into(), Timer::new(now));
            }
            if let Some(timer) = state.timers.get_mut(name) {
                timer.update(value, now, &mut state.random);
            }
            state.is_new = true;
        }
        if too_many {
            event.tag(TOO_MANY, arena);
        }
        Outcome::Unapplied
    }

    fn has_flush(&self) -> bool {
        true
    }

    fn flush<'b>(&'b self, last: bool, context: &mut Context<'_, 'b>) -> Outcome {
        let (now, arena) = (context.now, context.arena);
        let mut state = self.state();
        let state = &mut *state;
        let since = |time: Option<Timestamp>| {
            time.map_or(0.0, |time| nanoseconds_between(time, now) as f64 / 1e9)
        };
        let is_due = since(state.last_flush) >= self.flush_interval;
        let is_empty = state.meters.is_empty() && state.timers.is_empty();
        if is_empty || !(is_due || (last && state.is_new)) {
            return Outcome::Unapplied;
        }
        let mut event = Event::with_timestamp_in(now, arena);
        event.fields.set(MESSAGE, Value::Text(&self.host));
        let name_of = |name: &[u8]| Name::copied_in(&String::from_utf8_lossy(name), arena);
        for (name, meter) in &mut state.meters {
            let figures = Value::object(self.rates(meter, now, arena), arena);
            event.fields.set(name_of(name), figures);
        }
        for (name, timer) in &mut state.timers {
            let mut figures = self.rates(&mut timer.meter, now, arena);
            let values = timer.sorted();
            for (name, value) in [
                ("min", timer.min),
                ("max", timer.max),
                ("stddev", timer.deviation()),
                ("mean", timer.mean),
            ] {
                figures.set(Name::new(name), Value::Float(value));
            }
            for (name, part) in &self.percentiles {
                let value = Value::Float(percentile(&values, *part));
                figures.set(Name::new(name), value);
            }
            event
                .fields
                .set(name_of(name), Value::object(figures, arena));
        }
        state.is_new = false;
        state.last_flush = Some(now);
        if self.clear_interval > 0.0 && since(state.last_clear) >= self.clear_interval {
            state.last_clear = Some(now);
            state.meters.clear();
            state.timers.clear();
        }
        context.emitted.push(event);
        Outcome::Emitted
    }
}

impl Meter {
    fn new(now: Timestamp) -> Self {
        Self {
            count: 0,
            uncounted: 0,
            last_tick: now,
            rates: [None; RATES.len()],
        }
    }

    fn mark(&mut self, now: Timestamp) {
        self.tick(now);
        self.count += 1;
        self.uncounted += 1;
    }

    /// Lets the averages catch up with the time.
    fn tick(&mut self, now: Timestamp) {
        // After a day nothing is left of any average.
        const MOST_TICKS: f64 = 86_400.0 / TICK;
        let ticks = (nanoseconds_between(self.last_tick, now) as f64 / 1e9 / TICK).floor();
        if ticks < 1.0 {
            return;
        }
        let passed = (ticks * TICK) as i64;
        self.last_tick = Timestamp::new(
            self.last_tick.seconds().saturating_add(passed),
            self.last_tick.nanoseconds(),
        );
        for _ in 0..ticks.min(MOST_TICKS) as u32 {
            let current = std::mem::take(&mut self.uncounted) as f64 / TICK;
            for ((minutes, _), rate) in RATES.iter().zip(&mut self.rates) {
                let weight = 1.0 - (-TICK / 60.0 / f64::from(*minutes)).exp();
                *rate = Some(match *rate {
                    None => current,
                    Some(rate) => rate + weight * (current - rate),
                });
            }
        }
    }
}

impl Timer {
    fn new(now: Timestamp) -> Self {
        Self {
            meter: Meter::new(now),
            start: now,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            mean: 0.0,
            squares: 0.0,
            samples: BinaryHeap::new(),
        }
    }

    fn update(&mut self, value: f64, now: Timestamp, random: &mut Random) {
        self.meter.mark(now);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let difference = value - self.mean;
        self.mean += difference / self.meter.count as f64;
        self.squares += difference * (value - self.mean);
        let age = nanoseconds_between(self.start, now) as f64 / 1e9;
        let sample = Sample {
            priority: DECAY * age - random.next().ln(),
            value,
        };
        if self.samples.len() < SAMPLES {
            self.samples.push(sample);
        } else if let Some(mut least) = self.samples.peek_mut()
            && least.priority < sample.priority
        {
            *least = sample;
        }
    }

    fn deviation(&self) -> f64 {
        if self.meter.count < 2 {
            return 0.0;
        }
        (self.squares / (self.meter.count - 1) as f64).sqrt()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values: Vec<_> = self.samples.iter().map(|sample| sample.value).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

/// The value below which a part of all lies, between two of them where it falls between them.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return 0.0;
    };
    let position = part * (sorted.len() + 1) as f64;
    if position < 1.0 {
        return *first;
    }
    if position >= sorted.len() as f64 {
        return *last;
    }
    let (below, above) = (sorted[position as usize - 1], sorted[position as usize]);
    below + (position - position.floor()) * (above - below)
}

impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Sample {}

impl PartialOrd for Sample {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sample {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.priority.total_cmp(&self.priority)
    }
}

/// Random numbers (Steele, Lea and Flood's `SplitMix64`).
#[derive(Debug)]
struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl Random {
    /// A number above 0, at most 1.
    fn next(&mut self) -> f64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        const STEPS: f64 = 9_007_199_254_740_992.0;
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^= number >> 31;
        ((number >> 11) + 1) as f64 / STEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0)
    }

    #[test]
    fn rates_follow_the_events() {
        let mut meter = Meter::new(at(0));
        for second in 0..60 {
            for _ in 0..10 {
                meter.mark(at(second));
            }
        }
        meter.tick(at(60));
        assert_eq!(meter.count, 600);
        for rate in meter.rates {
            let rate = rate.unwrap();
            assert!((rate - 10.0).abs() < 0.5, "{rate}");
        }
        meter.tick(at(60 + 300));
        let [one, five, fifteen] = meter.rates.map(Option::unwrap);
        assert!(
            one < 0.1 && five < fifteen && fifteen < 10.0,
            "{one} {five} {fifteen}"
        );
    }

    #[test]
    fn timers_know_their_values() {
        let mut timer = Timer::new(at(0));
        let mut random = Random::default();
        for value in 1..=999 {
            timer.update(f64::from(value), at(0), &mut random);
        }
        let sorted = timer.sorted();
        assert!((percentile(&sorted, 0.5) - 500.0).abs() < 1e-9);
        assert!((percentile(&sorted, 0.999) - 999.0).abs() < 1e-9);
        assert!((percentile(&sorted, 1.0) - 999.0).abs() < 1e-9);
        assert!((percentile(&sorted, 0.0) - 1.0).abs() < 1e-9);
        assert!((timer.mean - 500.0).abs() < 1e-9);
        assert!((timer.deviation() - 288.530_6).abs() < 1e-3);
        for _ in 0..10_000 {
            timer.update(5.0, at(3600), &mut random);
        }
        assert_eq!(timer.samples.len(), SAMPLES);
        // After an hour the old values are gone.
        assert!((percentile(&timer.sorted(), 0.99) - 5.0).abs() < 1e-9);
    }
}
