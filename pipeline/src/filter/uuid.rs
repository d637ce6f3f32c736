//! The filter `uuid`: a random UUID (version 4) in a field.

use super::common::put;
use super::random::Randomness;
use super::{Context, Filter, Outcome, ScratchSlot};
use crate::compile::Build;
use crate::event::{Event, Path, Value};
use crate::language::Options;

/// The filter.
#[derive(Debug)]
pub struct Uuid {
    target: Path,
    overwrite: bool,
    slot: ScratchSlot,
}

impl Uuid {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        if !options.has("target") {
            options.missing("target");
        }
        let overwrite = options.boolean("overwrite").unwrap_or(false);
        let target = options.field("target")?;
        Some(Self {
            target: Path::from(&target.value),
            overwrite,
            slot: build.slots.take(),
        })
    }
}

impl Filter for Uuid {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let is_there = !matches!(self.target.get(event), None | Some(Value::Null));
        if self.overwrite || !is_there {
            let randomness = context.scratch.slot(self.slot, Randomness::new);
            let uuid = Value::copied_text(&randomness.uuid(), context.arena);
            put(&self.target, uuid, event, context.arena);
        }
        Outcome::Applied
    }
}
