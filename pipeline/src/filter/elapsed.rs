//! The filter `elapsed`: the time between the event that starts something and the one that ends it.
//!
//! What has started is kept by its identity until it ends or expires; all workers share it, behind
//! one lock.
//!
//! COMPAT: expired starts become events of their own (tags `elapsed` and `elapsed_expired_error`)
//! when the filters are flushed. An end without a start is tagged, as is a start beyond
//! [`DEFAULT_MAX_STARTS`], which Logstash does not bound.

use std::collections::HashMap;
use std::sync::Mutex;

use bumpalo::Bump;

use super::OwnedValue;
use crate::Build;
use crate::event::{Event, Name, Path, TAGS, Timestamp, Value, write_json_value};
use crate::filter::common::host_name;
use crate::filter::{Context, Filter, Outcome};
use crate::language::Options;
use crate::template::refuses;

const ELAPSED: &[u8] = b"elapsed";
const MATCH: &[u8] = b"elapsed_match";
const EXPIRED: &[u8] = b"elapsed_expired_error";
const END_WITHOUT_START: &[u8] = b"elapsed_end_without_start";
const TOO_MANY: &[u8] = b"elapsed_too_many_starts";
const TIME: Name<'static> = Name::new("elapsed_time");
const START: Name<'static> = Name::new("elapsed_timestamp_start");
const HOST: Name<'static> = Name::new("host");

/// How many starts may wait for their end, unless `max_starts` says otherwise.
pub const DEFAULT_MAX_STARTS: usize = 100_000;

/// The filter.
#[derive(Debug)]
pub struct Elapsed {
    start_tag: Box<[u8]>,
    end_tag: Box<[u8]>,
    id: Path,
    /// In nanoseconds.
    timeout: i128,
    new_event_on_match: bool,
    keep_first: bool,
    max_starts: usize,
    host: Box<[u8]>,
    /// By their identity as JSON.
    starts: Mutex<HashMap<Box<[u8]>, Start>>,
}

#[derive(Debug)]
struct Start {
    id: OwnedValue,
    /// The time of its event.
    timestamp: Timestamp,
    /// When it came.
    received: Timestamp,
}

impl Elapsed {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let start_tag = options.required_string("start_tag");
        let end_tag = options.required_string("end_tag");
        let id = options.required_string("unique_id_field");
        let id = id.and_then(|_| options.field("unique_id_field"));
        let timeout = options.number("timeout").unwrap_or(1800.0);
        if timeout < 0.0 {
            options.error("timeout", "`timeout` must not be negative");
        }
        Some(Self {
            timeout: (timeout * 1e9) as i128,
            new_event_on_match: options.boolean("new_event_on_match").unwrap_or(false),
            keep_first: options
                .enumeration("keep_start_event", &[("first", true), ("last", false)])
                .unwrap_or(true),
            max_starts: options
                .count("max_starts", 1..=10_000_000)
                .unwrap_or(DEFAULT_MAX_STARTS),
            host: host_name(build),
            starts: Mutex::default(),
            start_tag: start_tag?.into_bytes().into(),
            end_tag: end_tag?.into_bytes().into(),
            id: Path::from(&id?.value),
        })
    }

    /// The starts. A worker that panicked left them whole: each change is one call.
    fn starts(&self) -> std::sync::MutexGuard<'_, HashMap<Box<[u8]>, Start>> {
        self.starts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn new_event<'b>(&'b self, now: Timestamp, arena: &'b Bump) -> Event<'b> {
        let mut event = Event::with_timestamp_in(now, arena);
        event.fields.set(HOST, Value::Text(&self.host));
        event
    }

    /// Says in an event how long it took.
    fn describe<'b>(&'b self, event: &mut Event<'b>, start: &Start, elapsed: f64, arena: &'b Bump) {
        event.fields.set(TIME, Value::Float(elapsed));
        let id = start.id.copied_in(arena);
        if !refuses(&self.id, &id) {
            self.id.set(event, id, arena);
        }
        event.fields.set(START, Value::Time(start.timestamp));
    }
}

impl Filter for Elapsed {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let id = match event.get(&self.id) {
            None | Some(Value::Null) => return Outcome::Unapplied,
            Some(id) => id,
        };
        let timestamp = event.timestamp().unwrap_or(context.now);
        if has_tag(event, &self.start_tag) {
            let key = key(id);
            let mut starts = self.starts();
            let there = starts.contains_key(&*key);
            if there && self.keep_first {
                return Outcome::Applied;
            }
            if !there && starts.len() >= self.max_starts {
                drop(starts);
                event.tag(TOO_MANY, arena);
                return Outcome::Applied;
            }
            let start = Start {
                id: OwnedValue::from_value(id),
                timestamp,
                received: context.now,
            };
            starts.insert(key, start);
            return Outcome::Applied;
        }
        if !has_tag(event, &self.end_tag) {
            return Outcome::Unapplied;
        }
        let start = self.starts().remove(&*key(id));
        let Some(start) = start else {
            event.tag(END_WITHOUT_START, arena);
            return Outcome::Applied;
        };
        let elapsed = nanoseconds_between(start.timestamp, timestamp) as f64 / 1e9;
        if self.new_event_on_match {
            let mut new = self.new_event(context.now, arena);
            new.tag(ELAPSED, arena);
            new.tag(MATCH, arena);
            self.describe(&mut new, &start, elapsed, arena);
            context.emitted.push(new);
            return Outcome::AppliedAndEmitted;
        }
        event.tag(ELAPSED, arena);
        event.tag(MATCH, arena);
        self.describe(event, &start, elapsed, arena);
        Outcome::Applied
    }

    fn has_flush(&self) -> bool {
        true
    }

    fn flush<'b>(&'b self, _last: bool, context: &mut Context<'_, 'b>) -> Outcome {
        let (now, arena) = (context.now, context.arena);
        let mut expired = Vec::new();
        let mut starts = self.starts();
        starts.retain(|_, start| {
            let age = nanoseconds_between(start.received, now);
            let keep = age < self.timeout;
            if !keep {
                let mut event = self.new_event(now, arena);
                event.tag(ELAPSED, arena);
                event.tag(EXPIRED, arena);
                self.describe(&mut event, start, age as f64 / 1e9, arena);
                expired.push((start.received, event));
            }
            keep
        });
        drop(starts);
        expired.sort_by_key(|(received, _)| (received.seconds(), received.nanoseconds()));
        context
            .emitted
            .extend(expired.into_iter().map(|(_, event)| event));
        Outcome::Emitted
    }
}

/// Whether `tags` has a tag. COMPAT: of a `tags` that is a text, whether it is a part of it.
fn has_tag(event: &Event<'_>, tag: &[u8]) -> bool {
    match event.fields.get(&TAGS) {
        Some(Value::Array(tags)) => tags.iter().any(|each| each.as_text() == Some(tag)),
        Some(Value::Text(text)) => memchr::memmem::find(text, tag).is_some(),
        _ => false,
    }
}

/// What tells identities apart: 1 is not "1".
fn key(id: &Value<'_>) -> Box<[u8]> {
    let mut key = Vec::new();
    write_json_value(id, &mut key);
    key.into()
}

/// From one instant to a later one; negative if it is earlier.
pub(crate) fn nanoseconds_between(from: Timestamp, to: Timestamp) -> i128 {
    let nanoseconds = |time: Timestamp| {
        i128::from(time.seconds()) * 1_000_000_000 + i128::from(time.nanoseconds())
    };
    nanoseconds(to) - nanoseconds(from)
}
