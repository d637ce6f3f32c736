//! The filter `split`: one event for each line of a text, or each element of an array.
//!
//! The events go on in order, in place of the one they were made of; the options of every filter
//! apply to them.
//!
//! COMPAT: empty parts and nulls make no event, so that an event with nothing in the field is gone;
//! a text with one part stays as it is; what is neither text nor array is tagged.

use crate::event::{Event, MESSAGE, Object, Path, Value};
use crate::filter::{Context, Filter, Outcome};
use crate::language::Options;
use crate::template::refuses;

/// The tag of an event that cannot be split.
const FAILURE: &[u8] = b"_split_type_failure";

/// How many values all copies of one event may hold together, unless `max_values` says otherwise
/// (a value takes 40 bytes). An event that would take more is not split but tagged.
pub const DEFAULT_MAX_VALUES: usize = 2_000_000;

/// What an event costs besides its fields, in values.
const EVENT_VALUES: usize = 4;

/// The filter.
#[derive(Debug)]
pub struct Split {
    field: Path,
    target: Option<Path>,
    terminator: Box<[u8]>,
    max_values: usize,
}

impl Split {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let field = options.field("field").map(|field| field.value);
        let target = options.field("target").map(|target| target.value);
        let terminator = options.string("terminator");
        if terminator.as_deref() == Some("") {
            options.error("terminator", "`terminator` must not be empty");
        }
        Some(Self {
            field: field.map_or_else(|| Path::new([MESSAGE.as_str()]), |field| Path::from(&field)),
            target: target.map(|target| Path::from(&target)),
            terminator: terminator
                .map_or_else(|| b"\n".as_slice().into(), |text| text.into_bytes().into()),
            max_values: options
                .count("max_values", 1..=usize::MAX)
                .unwrap_or(DEFAULT_MAX_VALUES),
        })
    }

    /// Makes an event of a part.
    fn emit<'b>(&'b self, event: &mut Event<'b>, part: Value<'b>, context: &mut Context<'_, 'b>) {
        let mut copy = event.derive_in(context.arena);
        let target = self.target.as_ref().unwrap_or(&self.field);
        if refuses(target, &part) {
            copy.tag(FAILURE, context.arena);
        } else {
            target.set(&mut copy, part, context.arena);
        }
        context.emitted.push(copy);
    }

    fn fail<'b>(event: &mut Event<'b>, context: &Context<'_, 'b>) -> Outcome {
        event.tag(FAILURE, context.arena);
        Outcome::Unapplied
    }
}

impl Filter for Split {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        match event.get(&self.field) {
            Some(Value::Text(text)) => {
                let text = *text;
                let parts = || Parts {
                    rest: Some(text),
                    terminator: &self.terminator,
                };
                let count = parts().filter(|part| !part.is_empty()).count();
                if parts().nth(1).is_none() && !text.is_empty() {
                    return Outcome::Unapplied;
                }
                if self.exceeds(count, event) {
                    return Self::fail(event, context);
                }
                for part in parts().filter(|part| !part.is_empty()) {
                    self.emit(event, Value::Text(part), context);
                }
            }
            Some(Value::Array(array)) => {
                let count = array.len();
                // With a target every copy keeps the array.
                if self.target.is_some() && self.exceeds(count, event) {
                    return Self::fail(event, context);
                }
                let taken = match &self.target {
                    Some(_) => event
                        .get(&self.field)
                        .map(|array| array.copy_in(context.arena)),
                    None => event.remove(&self.field),
                };
                let Some(Value::Array(elements)) = taken else {
                    return Outcome::Unapplied;
                };
                if self.target.is_none() && self.exceeds(count, event) {
                    self.field.set(event, Value::Array(elements), context.arena);
                    return Self::fail(event, context);
                }
                for element in elements.iter_mut() {
                    let element = std::mem::replace(element, Value::Null);
                    if !matches!(element, Value::Null | Value::Text(b"")) {
                        self.emit(event, element, context);
                    }
                }
            }
            _ => return Self::fail(event, context),
        }
        event.cancel();
        Outcome::Emitted
    }
}

impl Split {
    /// Whether so many copies of the event would hold too many values.
    fn exceeds(&self, copies: usize, event: &Event<'_>) -> bool {
        let values = count_of(&event.fields) + count_of(&event.metadata) + EVENT_VALUES;
        copies.saturating_mul(values) > self.max_values
    }
}

/// How many values an object holds, at all levels.
fn count_of(object: &Object<'_>) -> usize {
    fn count(value: &Value<'_>) -> usize {
        1 + match value {
            Value::Array(array) => array.iter().map(count).sum(),
            Value::Object(object) => count_of(object),
            _ => 0,
        }
    }
    object.iter().map(|(_, value)| count(value)).sum()
}

/// The parts of a text between terminators; a space is any white space.
struct Parts<'t> {
    rest: Option<&'t [u8]>,
    terminator: &'t [u8],
}

impl<'t> Iterator for Parts<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let rest = self.rest?;
        // COMPAT: a space is any white space in Ruby's `split`.
        let end = match self.terminator {
            b" " => rest
                .iter()
                .position(|byte| matches!(byte, 0 | b'\t'..=b'\r' | b' ')),
            terminator => memchr::memmem::find(rest, terminator),
        };
        let Some(end) = end else {
            self.rest = None;
            return Some(rest);
        };
        self.rest = Some(&rest[end + self.terminator.len()..]);
        Some(&rest[..end])
    }
}
