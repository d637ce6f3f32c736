//! What a script may do with the event it works on.
//!
//! INVARIANT: that the event is dropped, and events that the script makes, count only when the script
//! has come to its end, so that a script that fails loses and doubles nothing.

use std::collections::HashMap;

use bumpalo::Bump;
use mlua::{Error, LuaString, Result, Value as LuaValue};

use super::convert::{Converter, Time, template};
use crate::event::{Event, Name, Object, Path, TIMESTAMP, Timestamp, VERSION, Value};
use crate::filter::Context;
use crate::language::{EscapeStyle, FieldReference};
use crate::template::Place;

/// How many references a virtual machine keeps resolved.
const MAX_KNOWN_PATHS: usize = 256;
/// What a reference takes that is resolved for one event.
const REFERENCE_BYTES: usize = 64;
/// What an event takes that a script makes.
const EVENT_BYTES: usize = 1500;

/// References that were resolved before.
pub(super) type Paths = HashMap<Box<[u8]>, Path>;

/// One event while a script works on it.
pub(super) struct Host<'h, 'b> {
    pub(super) event: &'h mut Event<'b>,
    pub(super) arena: &'b Bump,
    pub(super) now: Timestamp,
    pub(super) escape_style: EscapeStyle,
    pub(super) paths: &'h mut Paths,
    pub(super) is_cancelled: bool,
    pub(super) emitted: Vec<Event<'b>>,
}

impl<'h, 'b> Host<'h, 'b> {
    pub(super) fn new(
        event: &'h mut Event<'b>,
        context: &Context<'_, 'b>,
        escape_style: EscapeStyle,
        paths: &'h mut Paths,
    ) -> Self {
        Self {
            event,
            arena: context.arena,
            now: context.now,
            escape_style,
            paths,
            is_cancelled: false,
            emitted: Vec::new(),
        }
    }

    /// Answers the prelude, which asks by number.
    pub(super) fn answer(
        &mut self,
        converter: Converter<'_>,
        question: u8,
        first: &LuaValue,
        second: &LuaValue,
    ) -> Result<LuaValue> {
        converter.meter.charge_instructions(1)?;
        let nothing = Ok(LuaValue::Nil);
        match question {
            1 => self.field(converter, first),
            2 => {
                let name = copied_name(text(first, "the name of a field")?, converter, self.arena)?;
                let place = self.place(name)?;
                let value = converter.take_lua(second, self.arena)?;
                if place.refuses(&value) {
                    let name = String::from_utf8_lossy(name);
                    let kind = value.kind();
                    return Err(Error::runtime(format!("{name} cannot be set to a {kind}")));
                }
                place.set(self.event, value, self.arena);
                nothing
            }
            3 => {
                let name = copied_name(text(first, "the name of a field")?, converter, self.arena)?;
                match self.place(name)?.remove(self.event) {
                    Some(value) => converter.to_lua(&value),
                    None => nothing,
                }
            }
            4 => {
                let name = text(first, "the name of a field")?;
                let path = known_path(self.paths, name, self.escape_style)?;
                let there = path.get(self.event).is_some();
                Ok(LuaValue::Boolean(there))
            }
            5 => {
                let tag = copied_name(text(first, "a tag")?, converter, self.arena)?;
                self.event.tag(tag, self.arena);
                nothing
            }
            6 => {
                self.event.untag(&text(first, "a tag")?.as_bytes());
                nothing
            }
            7 => {
                self.is_cancelled = true;
                nothing
            }
            8 => converter
                .object_to_lua(&self.event.fields)
                .map(LuaValue::Table),
            9 => {
                let names = self.event.fields.iter().map(|(name, _)| name.as_str());
                converter
                    .meter
                    .charge_instructions(self.event.fields.len() as u64)?;
                let names = converter.lua.create_sequence_from(names)?;
                Ok(LuaValue::Table(names))
            }
            10 => {
                let text = text(first, "a template")?.as_bytes();
                converter.meter.charge_length(text.len() * 8)?;
                let template = template(&text, self.escape_style)?;
                let mut out = Vec::new();
                template.write(self.event, self.now, &mut out);
                converter.meter.charge_length(out.len())?;
                converter.lua.create_string(&out).map(LuaValue::String)
            }
            11 => {
                let LuaValue::Table(table) = first else {
                    return Err(Error::runtime("emit needs a table of fields"));
                };
                converter.meter.charge_bytes(EVENT_BYTES)?;
                let object = converter.object(table, self.arena, 1)?;
                let event = self.made_event(object)?;
                self.emitted.push(event);
                nothing
            }
            12 => converter
                .lua
                .create_userdata(Time(self.now))
                .map(LuaValue::UserData),
            other => Err(Error::runtime(format!(
                "no question has the number {other}"
            ))),
        }
    }

    fn field(&mut self, converter: Converter<'_>, name: &LuaValue) -> Result<LuaValue> {
        let name = text(name, "the name of a field")?;
        let path = known_path(self.paths, name, self.escape_style)?;
        if path.is_root() {
            let object = &self.event.metadata;
            return converter.object_to_lua(object).map(LuaValue::Table);
        }
        match path.get(self.event) {
            Some(value) => converter.to_lua(value),
            None => Ok(LuaValue::Nil),
        }
    }

    /// A reference to set something at.
    fn place(&self, name: &'b [u8]) -> Result<Place<'b>> {
        Place::named(name, self.escape_style, self.arena)
            .map_err(|error| Error::runtime(error.to_string()))
    }

    /// A new event of a table: with a time and a version if it has none.
    fn made_event(&self, mut object: Object<'b>) -> Result<Event<'b>> {
        let metadata = object.remove(&Name::new("@metadata"));
        let time = object.remove(&TIMESTAMP);
        let version = object.remove(&VERSION);
        let time = match time {
            None | Some(Value::Null) => self.now,
            Some(Value::Time(time)) => time,
            Some(_) => return Err(Error::runtime("@timestamp must be a time")),
        };
        if matches!(object.get(&crate::event::TAGS), Some(Value::Object(_))) {
            return Err(Error::runtime("tags must be a list of texts"));
        }
        let mut event = Event::with_timestamp_in(time, self.arena);
        if let Some(version) = version {
            event.fields.set(VERSION, version);
        }
        if let Some(Value::Object(metadata)) = metadata {
            event.metadata = std::mem::replace(metadata, Object::new_in(self.arena));
        }
        for (name, value) in object.iter_mut() {
            event
                .fields
                .push_unsearched(name, std::mem::replace(value, Value::Null));
        }
        event.fields.keep_last_of_each_name();
        Ok(event)
    }
}

/// A reference, resolved once.
fn known_path<'p>(
    paths: &'p mut Paths,
    name: &LuaString,
    escape_style: EscapeStyle,
) -> Result<&'p Path> {
    let bytes = name.as_bytes();
    if !paths.contains_key(&*bytes) {
        let reference = FieldReference::parse_with(&name.to_string_lossy(), escape_style)
            .map_err(|error| Error::runtime(error.to_string()))?;
        // Names that are made up from event to event must not fill the memory.
        if paths.len() >= MAX_KNOWN_PATHS {
            paths.clear();
        }
        paths.insert((*bytes).into(), Path::from(&reference));
    }
    paths
        .get(&*bytes)
        .ok_or_else(|| Error::runtime("a reference was not kept"))
}

/// A text that is an argument.
fn text<'v>(value: &'v LuaValue, what: &str) -> Result<&'v LuaString> {
    value.as_string().ok_or_else(|| {
        let kind = value.type_name();
        Error::runtime(format!("{what} must be a text, not a {kind}"))
    })
}

fn copied_name<'b>(
    name: &LuaString,
    converter: Converter<'_>,
    arena: &'b Bump,
) -> Result<&'b [u8]> {
    let name = name.as_bytes();
    converter.meter.charge_bytes(name.len() + REFERENCE_BYTES)?;
    Ok(arena.alloc_slice_copy(&name))
}

/// The part of an error that the author of a script needs.
pub(super) fn message_of(error: &Error) -> String {
    match error {
        Error::RuntimeError(text) => first_line(text),
        Error::SyntaxError { message, .. } => first_line(message),
        Error::CallbackError { cause, .. }
        | Error::WithContext { cause, .. }
        | Error::BadArgument { cause, .. } => message_of(cause),
        Error::FromLuaConversionError {
            from, to, message, ..
        } => match message {
            Some(message) => first_line(message),
            None => format!("a {from} was given where a {to} is needed"),
        },
        other => first_line(&other.to_string()),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The line of the script that an error comes from, by the traces that are in it.
pub(super) fn line_of(error: &Error, chunk: &str) -> Option<usize> {
    let text = match error {
        Error::CallbackError { traceback, cause } => {
            return line_of(cause, chunk).or_else(|| line_in(traceback, chunk));
        }
        Error::WithContext { cause, .. } | Error::BadArgument { cause, .. } => {
            return line_of(cause, chunk);
        }
        Error::RuntimeError(text) | Error::MemoryError(text) => text,
        Error::SyntaxError { message, .. } => message,
        _ => return None,
    };
    line_in(text, chunk)
}

/// The first `chunk:12:` in a text.
fn line_in(text: &str, chunk: &str) -> Option<usize> {
    text.match_indices(chunk).find_map(|(at, _)| {
        let rest = text[at + chunk.len()..].strip_prefix(':')?;
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        rest[..digits].parse().ok()
    })
}
