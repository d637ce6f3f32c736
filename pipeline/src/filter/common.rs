//! The options that every filter has: `add_field`, `remove_field`, `add_tag`, `remove_tag`, `id`
//! and two for metrics.
//!
//! They are applied in this order, after the filter, if it did its work. Names and values are
//! templates.
//!
//! COMPAT: `add_field` on a field that is there makes an array of both (an object becomes an array
//! of its pairs first); `add_tag` appends a tag even if it is there; `remove_tag` leaves an empty
//! array. Unlike in Logstash nothing but a time is ever put into `@timestamp`: such an `add_field`
//! does nothing.

use bumpalo::Bump;

use crate::Build;
use crate::event::{Array, Event, Name, Object, Path, TAGS, Timestamp, Value};
use crate::filter::Context;
use crate::language::{FieldReference, Options};
use crate::template::{FieldName, Template, refuses};

/// The common options of one filter.
#[derive(Debug, Default)]
pub struct CommonOptions {
    /// The filter's name in metrics.
    pub id: Option<String>,
    add_field: AddedFields,
    remove_field: Vec<FieldName>,
    add_tag: Vec<Template>,
    remove_tag: Vec<Template>,
}

impl CommonOptions {
    /// Reads them; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Self {
        let mut common = Self {
            id: options.string("id"),
            add_field: AddedFields::from_options(options),
            ..Self::default()
        };
        // COMPAT: accepted for any filter; metrics are always kept, and what needs a timer has its
        // own.
        options.boolean("enable_metric");
        options.boolean("periodic_flush");
        for text in options.strings("remove_field").unwrap_or_default() {
            common
                .remove_field
                .extend(field_name(options, "remove_field", &text.value));
        }
        for text in options.strings("add_tag").unwrap_or_default() {
            common
                .add_tag
                .extend(template(options, "add_tag", &text.value));
        }
        for text in options.strings("remove_tag").unwrap_or_default() {
            common
                .remove_tag
                .extend(template(options, "remove_tag", &text.value));
        }
        common
    }

    /// Whether there is nothing to do, for any event.
    pub fn is_empty(&self) -> bool {
        self.add_field.is_empty()
            && self.remove_field.is_empty()
            && self.add_tag.is_empty()
            && self.remove_tag.is_empty()
    }

    /// Applies them to an event.
    pub fn apply<'b>(&'b self, event: &mut Event<'b>, context: &Context<'_, 'b>) {
        let (now, arena) = (context.now, context.arena);
        self.add_field.apply_at(event, now, arena);
        for name in &self.remove_field {
            if let Ok(place) = name.resolve(event, now, arena) {
                place.remove(event);
            }
        }
        for tag in &self.add_tag {
            let tag = Value::Text(tag.fill(event, now, arena));
            push(event.fields.slot(TAGS), tag, arena);
        }
        if !self.remove_tag.is_empty() && event.fields.get(&TAGS).is_some() {
            self.remove_tags(event, context);
        }
    }

    fn remove_tags<'b>(&'b self, event: &mut Event<'b>, context: &Context<'_, 'b>) {
        for tag in &self.remove_tag {
            let tag = tag.fill(event, context.now, context.arena);
            let Some(tags) = event.fields.get_mut(&TAGS) else {
                return;
            };
            if let Value::Array(tags) = make_array(tags, context.arena) {
                tags.retain(|each| each.as_text() != Some(tag));
            }
        }
    }
}

/// The option `add_field`, which inputs have too.
#[derive(Debug, Default)]
pub struct AddedFields(Vec<(FieldName, Vec<Template>)>);

impl AddedFields {
    /// Reads the option; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Self {
        let mut fields = Vec::new();
        for entry in options.hash("add_field").unwrap_or_default() {
            let name = field_name(options, "add_field", &entry.key.value);
            let values = options.texts_of("add_field", entry.value);
            if let (Some(name), Some(values)) = (name, values) {
                let values = values
                    .iter()
                    .filter_map(|value| template(options, "add_field", &value.value))
                    .collect();
                fields.push((name, values));
            }
        }
        Self(fields)
    }

    /// Whether no field is added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the fields to an event that an input has just made, whose time is the time now.
    pub fn apply<'b>(&'b self, event: &mut Event<'b>, arena: &'b Bump) {
        let now = event.timestamp().unwrap_or(Timestamp::new(0, 0));
        self.apply_at(event, now, arena);
    }

    fn apply_at<'b>(&'b self, event: &mut Event<'b>, now: Timestamp, arena: &'b Bump) {
        for (name, values) in &self.0 {
            for value in values {
                let value = Value::Text(value.fill(event, now, arena));
                // A name that the event makes no reference of names no field.
                let Ok(place) = name.resolve(event, now, arena) else {
                    continue;
                };
                if place.refuses(&value) {
                    continue;
                }
                if let Some(there) = place.get_mut(event) {
                    push(there, value, arena);
                } else {
                    place.set(event, value, arena);
                }
            }
        }
    }
}

/// The name of this machine, for events that a filter makes.
pub(crate) fn host_name(build: &Build<'_>) -> Box<[u8]> {
    const FILE: &str = "/proc/sys/kernel/hostname";
    let name = build.files.read(std::path::Path::new(FILE));
    let name = name.unwrap_or_default().trim_ascii().to_vec();
    if name.is_empty() {
        b"localhost".as_slice().into()
    } else {
        name.into()
    }
}

/// Reads a template of an option; what is wrong goes to the diagnostics.
pub(crate) fn template(
    options: &mut Options<'_>,
    option: &'static str,
    text: &str,
) -> Option<Template> {
    Template::parse(text, options.escape_style())
        .map_err(|error| options.error_in(option, text, format!("`{option}`: {error}")))
        .ok()
}

/// Reads the name of a field in an option, with templates in it.
pub(crate) fn field_name(
    options: &mut Options<'_>,
    option: &'static str,
    text: &str,
) -> Option<FieldName> {
    FieldName::parse(text, options.escape_style())
        .map_err(|error| options.error_in(option, text, format!("`{option}`: {error}")))
        .ok()
}

/// The reference of a field whose name stands in the source.
pub(crate) fn field_of(name: &str) -> FieldReference {
    FieldReference::parse(name).expect("a name in the source is a reference")
}

/// Sets a field, unless it must not hold such a value (see [`refuses`]); answers whether it did.
pub(crate) fn put<'b>(
    path: &'b Path,
    value: Value<'b>,
    event: &mut Event<'b>,
    arena: &'b Bump,
) -> bool {
    let allowed = !refuses(path, &value);
    if allowed {
        path.set(event, value, arena);
    }
    allowed
}

/// Reads a list of tags, such as `tag_on_failure`.
pub(crate) fn tags(
    options: &mut Options<'_>,
    name: &'static str,
    default: &[&str],
) -> Vec<Box<[u8]>> {
    match options.strings(name) {
        Some(tags) => tags
            .into_iter()
            .map(|tag| tag.value.into_bytes().into())
            .collect(),
        None => default.iter().map(|tag| tag.as_bytes().into()).collect(),
    }
}

/// Appends to a value, which becomes an array if it is none.
fn push<'b>(there: &mut Value<'b>, value: Value<'b>, arena: &'b Bump) {
    if let Value::Array(array) = make_array(there, arena) {
        array.push(value);
    }
}

/// Turns a value into an array as Ruby's `Array()` does.
pub(crate) fn make_array<'v, 'b>(there: &'v mut Value<'b>, arena: &'b Bump) -> &'v mut Value<'b> {
    if !matches!(there, Value::Array(_)) {
        let mut array = Array::new_in(arena);
        match std::mem::replace(there, Value::Null) {
            Value::Null => {}
            Value::Object(object) => array.extend(pairs(object, arena)),
            other => array.push(other),
        }
        *there = Value::array(array, arena);
    }
    there
}

/// `{a: 1}` as `[["a", 1]]`.
fn pairs<'b>(object: &mut Object<'b>, arena: &'b Bump) -> Vec<Value<'b>> {
    object
        .iter_mut()
        .map(|(name, value): (Name<'b>, &mut Value<'b>)| {
            let mut pair = Array::with_capacity_in(2, arena);
            pair.push(Value::Text(name.as_str().as_bytes()));
            pair.push(std::mem::replace(value, Value::Null));
            Value::array(pair, arena)
        })
        .collect()
}
