//! The filter `truncate`: cuts texts to a number of bytes, at the start of a character.
//!
//! COMPAT (logstash-filter-truncate): texts inside of objects are cut, and those that are elements
//! of an array, but not what is inside of an array's objects. The options of every filter apply only
//! if something was cut.

use super::{Context, Filter, Outcome};
use crate::event::{Event, Path, Value};
use crate::language::Options;

/// The filter.
#[derive(Debug)]
pub struct Truncate {
    /// All fields if there are none here.
    fields: Option<Vec<Path>>,
    length: usize,
}

impl Truncate {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Option<Self> {
        let fields = options.fields("fields");
        let fields = fields.map(|fields| {
            let paths = fields.iter().map(|field| Path::from(&field.value));
            paths.collect()
        });
        if !options.has("length_bytes") {
            options.missing("length_bytes");
        }
        let length = options.count("length_bytes", 0..=usize::MAX)?;
        Some(Self { fields, length })
    }

    fn cut(&self, value: &mut Value<'_>) -> bool {
        match value {
            Value::Text(text) => cut(text, self.length),
            Value::Array(values) => {
                let mut changed = false;
                for value in values.iter_mut() {
                    if let Value::Text(text) = value {
                        changed |= cut(text, self.length);
                    }
                }
                changed
            }
            Value::Object(object) => {
                let mut changed = false;
                for (_, value) in object.iter_mut() {
                    changed |= self.cut(value);
                }
                changed
            }
            _ => false,
        }
    }
}

impl Filter for Truncate {
    fn apply<'b>(&'b self, event: &mut Event<'b>, _context: &mut Context<'_, 'b>) -> Outcome {
        let mut changed = false;
        match &self.fields {
            Some(fields) => {
                for field in fields {
                    if let Some(value) = field.get_mut(event) {
                        changed |= self.cut(value);
                    }
                }
            }
            None => {
                for (_, value) in event.fields.iter_mut() {
                    changed |= self.cut(value);
                }
            }
        }
        Outcome::of(changed)
    }
}

/// Shortens a text that is too long, back to where a character starts.
fn cut(text: &mut &[u8], length: usize) -> bool {
    if text.len() <= length {
        return false;
    }
    let is_inside = |at: usize| text[at] & 0xC0 == 0x80;
    let mut end = length;
    // A character has four bytes at most; a longer run of such bytes is none.
    while end > 0 && length - end < 3 && is_inside(end) {
        end -= 1;
    }
    *text = &text[..end];
    true
}
