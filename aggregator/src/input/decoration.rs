//! What every input can add to its events: `type`, `tags`, `add_field`.
//!
//! COMPAT: `type` is set only if the event has none; tags are added to those it has; a field
//! that is there becomes an array with the added value.

use bumpalo::Bump;
use skidder_pipeline::event::{Event, Name, Value};
use skidder_pipeline::filter::AddedFields;
use skidder_pipeline::language::Options;

/// The decoration of one input.
#[derive(Debug, Default)]
pub struct Decoration {
    kind: Option<String>,
    tags: Vec<String>,
    fields: AddedFields,
}

impl Decoration {
    /// Reads the options, and those that every input has and that change nothing here.
    pub fn from_options(options: &mut Options<'_>) -> Self {
        options.string("id");
        options.boolean("enable_metric");
        let tags = options.strings("tags").unwrap_or_default();
        Self {
            kind: options.string("type"),
            tags: tags.into_iter().map(|tag| tag.value).collect(),
            fields: AddedFields::from_options(options),
        }
    }

    /// Decorates an event.
    pub fn apply<'b>(&'b self, event: &mut Event<'b>, arena: &'b Bump) {
        const TYPE: Name<'static> = Name::new("type");
        if let Some(kind) = &self.kind
            && event.fields.get(&TYPE).is_none()
        {
            event.fields.push_new(TYPE, Value::Text(kind.as_bytes()));
        }
        for tag in &self.tags {
            event.tag(tag.as_bytes(), arena);
        }
        self.fields.apply(event, arena);
    }
}
