//! The filter `de_dot`: takes the dots out of names of fields, by another separator or by making
//! objects of what stands between them.
//!
//! A name with more than [`MAX_PARTS`] dots is not taken apart into objects: the event is tagged.
//!
//! COMPAT (logstash-filter-de_dot): without `fields` the names of the top level are looked at.
//! Unlike in Logstash the other fields of `[a.b]` stay when `[a.b][c]` is named, and a field that is
//! in the way and no object is not overwritten: the event is tagged.

use bumpalo::collections::Vec as ArenaVec;

use super::{Context, Filter, Outcome};
use crate::event::{Event, Key, Path, Value, path};
use crate::language::Options;

/// Most levels of objects that one name becomes.
pub const MAX_PARTS: usize = 100;

/// The filter.
#[derive(Debug)]
pub struct DeDot {
    separator: String,
    nested: bool,
    recursive: bool,
    fields: Option<Vec<Path>>,
    tag_on_failure: String,
}

/// The keys of a field, `@metadata` aside.
type Keys<'b> = ArenaVec<'b, &'b str>;

/// A field could not be renamed.
struct InTheWay;

impl DeDot {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>) -> Self {
        let separator = options.string("separator").unwrap_or_else(|| "_".into());
        if separator.contains('.') {
            options.error("separator", "`separator` must not have a dot in it");
        }
        let fields = options.fields("fields");
        Self {
            separator,
            nested: options.boolean("nested").unwrap_or(false),
            recursive: options.boolean("recursive").unwrap_or(false),
            fields: fields.map(|fields| {
                let paths = fields.iter().map(|field| Path::from(&field.value));
                paths.collect()
            }),
            tag_on_failure: options
                .string("tag_on_failure")
                .unwrap_or_else(|| "_de_dot_error".into()),
        }
    }

    fn rename<'b>(
        &self,
        metadata: bool,
        keys: &Keys<'b>,
        event: &mut Event<'b>,
        context: &Context<'_, 'b>,
    ) -> Result<(), InTheWay> {
        let arena = context.arena;
        let mut renamed = Keys::new_in(arena);
        for key in keys {
            if !key.contains('.') {
                renamed.push(key);
            } else if self.nested {
                renamed.extend(key.split('.').filter(|part| !part.is_empty()));
            } else {
                let key = key.replace('.', &self.separator);
                renamed.push(arena.alloc_str(&key));
            }
        }
        if renamed != *keys {
            if renamed.is_empty() || renamed.len() > keys.len() + MAX_PARTS {
                return Err(InTheWay);
            }
            move_field(metadata, keys, &renamed, event, context)?;
        }
        if !self.recursive {
            return Ok(());
        }
        let mut inner = Keys::new_in(arena);
        if let Some(Value::Object(object)) = path::get(event, metadata, as_keys(&renamed)) {
            inner.extend(object.iter().map(|(name, _)| name.as_str()));
        }
        for name in inner {
            let mut keys = renamed.clone();
            keys.push(name);
            self.rename(metadata, &keys, event, context)?;
        }
        Ok(())
    }
}

impl Filter for DeDot {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let mut fields = ArenaVec::new_in(arena);
        match &self.fields {
            Some(paths) => {
                for path in paths.iter().filter(|path| path.get(event).is_some()) {
                    let mut keys = Keys::new_in(arena);
                    keys.extend(path.keys().map(|key| key.name().as_str()));
                    fields.push((path.is_metadata(), keys));
                }
            }
            None => {
                for (name, _) in event.fields.iter() {
                    let mut keys = Keys::new_in(arena);
                    keys.push(name.as_str());
                    fields.push((false, keys));
                }
            }
        }
        for (metadata, keys) in &fields {
            let is_for_us = self.recursive || keys.iter().any(|key| key.contains('.'));
            if is_for_us && self.rename(*metadata, keys, event, context).is_err() {
                event.tag(self.tag_on_failure.as_bytes(), arena);
                return Outcome::Unapplied;
            }
        }
        Outcome::Applied
    }
}

fn as_keys<'b>(keys: &[&'b str]) -> impl Iterator<Item = Key<'b>> {
    keys.iter().map(|key| Key::new(key))
}

/// Moves a value, and takes away the objects with dots in their names that it leaves empty.
fn move_field<'b>(
    metadata: bool,
    from: &[&'b str],
    to: &[&'b str],
    event: &mut Event<'b>,
    context: &Context<'_, 'b>,
) -> Result<(), InTheWay> {
    for length in 1..to.len() {
        match path::get(event, metadata, as_keys(&to[..length])) {
            None | Some(Value::Object(_) | Value::Array(_)) => {}
            Some(_) => return Err(InTheWay),
        }
    }
    let Some(value) = path::remove(event, metadata, as_keys(from)) else {
        return Ok(());
    };
    for length in (1..from.len()).rev() {
        let is_empty = matches!(
            path::get(event, metadata, as_keys(&from[..length])),
            Some(Value::Object(object)) if object.is_empty()
        );
        if !is_empty || !from[..length].iter().any(|key| key.contains('.')) {
            break;
        }
        path::remove(event, metadata, as_keys(&from[..length]));
    }
    path::set(event, metadata, as_keys(to), value, context.arena);
    Ok(())
}
