//! The filter `json_encode`: writes a field as JSON text.
//!
//! COMPAT: a field that is missing or null becomes `null`.

use crate::Build;
use crate::event::{Event, Path, Value, write_json_value};
use crate::filter::{Context, Filter, Outcome, ScratchSlot};
use crate::language::Options;
use crate::template::refuses;

/// The filter.
#[derive(Debug)]
pub struct JsonEncode {
    source: Path,
    target: Path,
    slot: ScratchSlot,
}

/// The tag of an event whose JSON cannot be stored.
const FAILURE: &[u8] = b"_jsongeneratefailure";

impl JsonEncode {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let source = options.field("source").map(|source| source.value);
        if source.is_none() && options.is_valid() {
            options.missing("source");
        }
        let target = options.field("target").map(|target| target.value);
        let source = source?;
        Some(Self {
            target: Path::from(target.as_ref().unwrap_or(&source)),
            source: Path::from(&source),
            slot: build.slots.take(),
        })
    }
}

impl Filter for JsonEncode {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let text: &mut Vec<u8> = context.scratch.slot(self.slot, Vec::new);
        text.clear();
        write_json_value(self.source.get(event).unwrap_or(&Value::Null), text);
        let value = Value::copied_text(text, arena);
        if refuses(&self.target, &value) {
            event.tag(FAILURE, arena);
            return Outcome::Unapplied;
        }
        self.target.set(event, value, arena);
        Outcome::Applied
    }
}
