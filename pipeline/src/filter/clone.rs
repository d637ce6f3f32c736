//! The filter `clone`: makes copies of an event.
//!
//! The original goes on first, the copies behind it; the options of every filter apply to the
//! copies. With names of the Elastic Common Schema the name of a copy becomes a tag, otherwise its
//! `type`.

use crate::Build;
use crate::event::{Event, Name, TAGS, Value};
use crate::filter::common::make_array;
use crate::filter::{Context, Filter, Outcome};
use crate::language::Options;

/// The field that says which copy it is.
const TYPE: Name<'static> = Name::new("type");

/// The filter.
#[derive(Debug)]
pub struct Clone {
    names: Box<[Box<[u8]>]>,
    as_tag: bool,
}

impl Clone {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let as_tag = build.ecs(options);
        if !options.has("clones") {
            options.value("clones");
            options.missing("clones");
        }
        let names = options.strings("clones")?;
        if names.is_empty() {
            options.warning("clones", "`clones` is empty: no copies are made");
        }
        Some(Self {
            names: names
                .into_iter()
                .map(|name| name.value.into_bytes().into())
                .collect(),
            as_tag,
        })
    }
}

impl Filter for Clone {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        for name in &self.names {
            let mut copy = event.derive_in(arena);
            if self.as_tag {
                if let Value::Array(tags) = make_array(copy.fields.slot(TAGS), arena) {
                    tags.push(Value::Text(name));
                }
            } else {
                copy.fields.set(TYPE, Value::Text(name));
            }
            context.emitted.push(copy);
        }
        Outcome::Emitted
    }
}
