//! The filter `json`: reads JSON out of a field.
//!
//! Texts without escapes stay slices of the field.
//!
//! COMPAT: without a target the text must be an object, and its names are those of fields, which
//! may be references (`[a][b]`). A `@timestamp` that is no time becomes `_@timestamp`, the event
//! gets the time now and the tag `_timestampparsefailure`. A field that is missing, null or false is
//! left alone.

use bumpalo::Bump;

use crate::Build;
use crate::event::{
    Event, JsonLimits, Name, Path, TIMESTAMP, Timestamp, Value, read_json, write_json_value,
};
use crate::filter::common::tags;
use crate::filter::{Context, Filter, Outcome};
use crate::language::{EscapeStyle, Options};
use crate::template::{set_all_named, set_target};
use crate::time::Zone;

/// The field that keeps a `@timestamp` that is no time.
const FAILED_TIMESTAMP: Name<'static> = Name::new("_@timestamp");
/// The tag of an event with such a `@timestamp`.
const TIMESTAMP_FAILURE: &[u8] = b"_timestampparsefailure";

/// How deep the JSON of a field may be nested, unless `max_depth` says otherwise.
pub const DEFAULT_MAX_DEPTH: u16 = 100;
/// How many values the JSON of a field may hold, unless `max_values` says otherwise.
pub const DEFAULT_MAX_VALUES: u32 = 1_000_000;

/// The filter.
#[derive(Debug)]
pub struct Json {
    source: Path,
    target: Option<Path>,
    tags_on_failure: Vec<Box<[u8]>>,
    skip_invalid: bool,
    limits: JsonLimits,
    escape_style: EscapeStyle,
}

/// The JSON cannot be stored.
struct Failed;

impl Json {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        // COMPAT: changes nothing but a hint in Logstash's log.
        build.ecs(options);
        let source = options.field("source").map(|source| source.value);
        if source.is_none() && options.is_valid() {
            options.missing("source");
        }
        let target = options.field("target").map(|target| target.value);
        let depth = options.integer("max_depth", 1..=i64::from(JsonLimits::MAX_DEPTH));
        let values = options.integer("max_values", 1..=i64::from(JsonLimits::default().values));
        Some(Self {
            source: Path::from(&source?),
            target: target.map(|target| Path::from(&target)),
            tags_on_failure: tags(options, "tag_on_failure", &["_jsonparsefailure"]),
            skip_invalid: options.boolean("skip_on_invalid_json").unwrap_or(false),
            limits: JsonLimits {
                depth: depth.map_or(DEFAULT_MAX_DEPTH, |depth| depth as u16),
                values: values.map_or(DEFAULT_MAX_VALUES, |values| values as u32),
            },
            escape_style: options.escape_style(),
        })
    }

    fn store<'b>(
        &'b self,
        parsed: Value<'b>,
        event: &mut Event<'b>,
        now: Timestamp,
        arena: &'b Bump,
    ) -> Result<(), Failed> {
        if let Some(target) = &self.target {
            let set = set_target(event, target, parsed, arena);
            return set.then_some(()).ok_or(Failed);
        }
        let Value::Object(fields) = parsed else {
            return Err(Failed);
        };
        let time = fields.remove(&TIMESTAMP);
        if !set_all_named(event, fields, self.escape_style, arena) {
            return Err(Failed);
        }
        let time = match time {
            None | Some(Value::Null) => return Ok(()),
            Some(time) => time,
        };
        let parsed = match &time {
            Value::Text(text) => Timestamp::parse_iso8601(text, &Zone::UTC),
            _ => None,
        };
        let instant = Value::Time(parsed.unwrap_or(now));
        event.fields.set(TIMESTAMP, instant);
        if parsed.is_none() {
            event.tag(TIMESTAMP_FAILURE, arena);
            // COMPAT: kept as text.
            let text = match time {
                Value::Text(text) => text,
                other => {
                    let mut text = Vec::new();
                    write_json_value(&other, &mut text);
                    arena.alloc_slice_copy(&text)
                }
            };
            event.fields.set(FAILED_TIMESTAMP, Value::Text(text));
        }
        Ok(())
    }
}

impl Filter for Json {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let parsed = match event.get(&self.source) {
            None | Some(Value::Null | Value::Boolean(false)) => return Outcome::Unapplied,
            Some(Value::Text(text)) => read_json(text, self.limits, arena).ok(),
            Some(_) => None,
        };
        let stored = match parsed {
            Some(parsed) => self.store(parsed, event, context.now, arena).is_ok(),
            None if self.skip_invalid => return Outcome::Unapplied,
            None => false,
        };
        if stored {
            return Outcome::Applied;
        }
        for tag in &self.tags_on_failure {
            event.tag(tag, arena);
        }
        Outcome::Unapplied
    }
}
