//! Texts with `%{…}` in them, filled from an event (Logstash calls it sprintf).
//!
//! - `%{name}`, `%{[a][b]}`: the value of a field;
//! - `%{+yyyy.MM.dd}`: `@timestamp` by a pattern of Joda-Time, in UTC; `%{+%s}`: its seconds since
//!   1970;
//! - `%{{yyyy-MM-dd}}`: the same by a pattern of `java.time`; `%{{TIME_NOW}}`: the time now.
//!
//! A template is parsed once, when the configuration is compiled, and then filled for each event;
//! one that is a plain text, or nothing but a field that holds a text, costs no copy.
//!
//! COMPAT: a field that is missing or null leaves its `%{…}` standing. An array is joined by commas
//! (objects inside it look as Java prints a map), an object is JSON, floats look as Java prints
//! them. An event without `@timestamp` prints nothing for a time. What is opened by `%{` and not
//! closed is text. Unlike in Logstash, a pattern or a reference that is wrong is an error of the
//! configuration and not of the first event.

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use thiserror::Error;

use crate::event::{
    Event, Key, Name, Object, Path, TAGS, TIMESTAMP, Timestamp, Value, path, write_json_value,
};
use crate::language::{EscapeStyle, FieldReference, FieldReferenceError, METADATA};
use crate::number_text::{write_java_float, write_whole};
use crate::time::{Pattern, PatternError};

/// Why a text is no template.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// What stands in `%{…}` is no reference.
    #[error(transparent)]
    Reference(#[from] FieldReferenceError),
    /// The time in `%{+…}` or `%{{…}}` cannot be printed.
    #[error("`{text}`: {source}")]
    Time {
        /// The part that is wrong.
        text: String,
        /// What is wrong with it.
        source: PatternError,
    },
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Debug)]
enum Part {
    Literal(Box<[u8]>),
    Field {
        path: Path,
        /// `%{…}` as it was written.
        written: Box<[u8]>,
    },
    Time(Pattern),
    Seconds,
    Now,
}

impl Template {
    /// Parses a template; references in it are read by `escape_style`.
    pub fn parse(text: &str, escape_style: EscapeStyle) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("%{") {
            let Some(length) = rest[open..].find('}') else {
                break;
            };
            let (mut close, inside) = (open + length, &rest[open + 2..open + length]);
            if open > 0 {
                parts.push(Part::Literal(rest.as_bytes()[..open].into()));
            }
            let java = inside
                .strip_prefix('{')
                .filter(|_| rest[close + 1..].starts_with('}'));
            let time_error = |end: usize| {
                let text = rest[open..=end].to_owned();
                move |source| TemplateError::Time { text, source }
            };
            // COMPAT: Logstash takes `%{}`, `%{+}` and `%{+%}` for `%{+%s}` as well.
            parts.push(if "+%s".starts_with(inside) {
                Part::Seconds
            } else if let Some(pattern) = java {
                close += 1;
                if pattern == "TIME_NOW" {
                    Part::Now
                } else {
                    Part::Time(Pattern::java(pattern).map_err(time_error(close))?)
                }
            } else if let Some(pattern) = inside.strip_prefix('+') {
                Part::Time(Pattern::joda(pattern).map_err(time_error(close))?)
            } else {
                let reference = FieldReference::parse_with(inside, escape_style)?;
                Part::Field {
                    path: Path::from(&reference),
                    written: rest.as_bytes()[open..=close].into(),
                }
            });
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.as_bytes().into()));
        }
        Ok(Self {
            text: text.into(),
            parts: parts.into(),
        })
    }

    /// A text without anything to fill in, whatever it looks like.
    pub fn literal_text(text: &str) -> Self {
        Self {
            text: text.into(),
            parts: [Part::Literal(text.as_bytes().into())].into(),
        }
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is the same text for every event.
    pub fn is_literal(&self) -> bool {
        self.parts
            .iter()
            .all(|part| matches!(part, Part::Literal(_)))
    }

    /// The text that it is for every event, if it [is literal](Self::is_literal).
    pub fn literal(&self) -> Option<&[u8]> {
        self.is_literal().then_some(self.text.as_bytes())
    }

    /// The path, if it is one reference and nothing else.
    pub fn only_field(&self) -> Option<&Path> {
        match &*self.parts {
            [Part::Field { path, .. }] => Some(path),
            _ => None,
        }
    }

    /// Appends the text for an event; `now` is what `%{{TIME_NOW}}` prints.
    pub fn write(&self, event: &Event<'_>, now: Timestamp, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Field { path, written } => {
                    if path.is_root() {
                        // `%{[@metadata]}`
                        out.extend_from_slice(b"{");
                        write_fields(event, out);
                        out.push(b'}');
                        continue;
                    }
                    match path.get(event) {
                        None | Some(Value::Null) => out.extend_from_slice(written),
                        Some(value) => write_value(value, out),
                    }
                }
                Part::Time(pattern) => {
                    if let Some(timestamp) = event.timestamp() {
                        pattern.write(timestamp, out);
                    }
                }
                Part::Seconds => {
                    if let Some(timestamp) = event.timestamp() {
                        write_whole(timestamp.seconds(), out);
                    }
                }
                Part::Now => now.write_iso8601(out),
            }
        }
    }

    /// Whether every field it names is there, so that nothing of `%{…}` is left in the text.
    pub fn is_complete_for(&self, event: &Event<'_>) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Field { path, .. } => {
                path.is_root() || !matches!(path.get(event), None | Some(Value::Null))
            }
            Part::Time(_) | Part::Seconds => event.timestamp().is_some(),
            Part::Literal(_) | Part::Now => true,
        })
    }

    /// The text for an event, copied only where it must be put together.
    pub fn fill<'b>(&'b self, event: &Event<'b>, now: Timestamp, arena: &'b Bump) -> &'b [u8] {
        match &*self.parts {
            [] => b"",
            [Part::Literal(text)] => text,
            [Part::Field { path, .. }] => match path.get(event) {
                Some(Value::Text(text)) => text,
                _ => self.assemble(event, now, arena),
            },
            _ => self.assemble(event, now, arena),
        }
    }

    fn assemble<'b>(&self, event: &Event<'_>, now: Timestamp, arena: &'b Bump) -> &'b [u8] {
        let mut text = Vec::with_capacity(self.text.len() * 2);
        self.write(event, now, &mut text);
        arena.alloc_slice_copy(&text)
    }
}

/// A field that a configuration names, perhaps by a template: `message`, `[a][b]`, `field_%{x}`.
#[derive(Debug)]
pub struct FieldName(Naming);

#[derive(Debug)]
enum Naming {
    Fixed(Path),
    Filled(Template, EscapeStyle),
}

impl FieldName {
    /// Reads a name with templates in it.
    pub fn parse(text: &str, escape_style: EscapeStyle) -> Result<Self, TemplateError> {
        let template = Template::parse(text, escape_style)?;
        Ok(Self(if template.is_literal() {
            Naming::Fixed(Path::from(&FieldReference::parse_with(text, escape_style)?))
        } else {
            Naming::Filled(template, escape_style)
        }))
    }

    /// A name without templates in it.
    pub fn fixed(reference: &FieldReference) -> Self {
        Self(Naming::Fixed(Path::from(reference)))
    }

    /// The place of the field for an event. A name that the event's fields make no reference of is
    /// an error.
    #[inline]
    pub fn resolve<'b>(
        &'b self,
        event: &Event<'b>,
        now: Timestamp,
        arena: &'b Bump,
    ) -> Result<Place<'b>, FieldReferenceError> {
        match &self.0 {
            Naming::Fixed(path) => Ok(Place(PlaceKind::Path(path))),
            Naming::Filled(template, escape_style) => {
                let name = template.fill(event, now, arena);
                Place::named(name, *escape_style, arena)
            }
        }
    }
}

/// Where a field is in an event.
#[derive(Clone, Copy, Debug)]
pub struct Place<'b>(PlaceKind<'b>);

#[derive(Clone, Copy, Debug)]
enum PlaceKind<'b> {
    Path(&'b Path),
    Keys { metadata: bool, keys: &'b [Key<'b>] },
}

impl<'b> Place<'b> {
    /// The place that a name read from an event names: a bare name or a reference in brackets. One
    /// that is no reference is an error.
    pub fn named(
        name: &'b [u8],
        escape_style: EscapeStyle,
        arena: &'b Bump,
    ) -> Result<Self, FieldReferenceError> {
        // PERF: nearly every name is a plain one, which needs no parser and no copy.
        if is_plain(name, escape_style)
            && let Ok(name) = std::str::from_utf8(name)
        {
            return Ok(Self(PlaceKind::Keys {
                metadata: false,
                keys: std::slice::from_ref(arena.alloc(Key::new(name))),
            }));
        }
        let text = String::from_utf8_lossy(name);
        let reference = FieldReference::parse_with(&text, escape_style)?;
        let mut keys = ArenaVec::with_capacity_in(reference.keys().len(), arena);
        keys.extend(
            reference
                .keys()
                .iter()
                .map(|key| Key::new(arena.alloc_str(key))),
        );
        Ok(Self(PlaceKind::Keys {
            metadata: reference.is_metadata(),
            keys: keys.into_bump_slice(),
        }))
    }

    /// The value there.
    pub fn get<'e>(&self, event: &'e Event<'b>) -> Option<&'e Value<'b>> {
        match self.0 {
            PlaceKind::Path(path) => path.get(event),
            PlaceKind::Keys { metadata, keys } => path::get(event, metadata, keys.iter().copied()),
        }
    }

    /// The value there, to change in place.
    pub fn get_mut<'e>(&self, event: &'e mut Event<'b>) -> Option<&'e mut Value<'b>> {
        match self.0 {
            PlaceKind::Path(path) => path.get_mut(event),
            PlaceKind::Keys { metadata, keys } => {
                path::get_mut(event, metadata, keys.iter().copied())
            }
        }
    }

    /// Sets the value there.
    pub fn set(&self, event: &mut Event<'b>, value: Value<'b>, arena: &'b Bump) {
        match self.0 {
            PlaceKind::Path(path) => path.set(event, value, arena),
            PlaceKind::Keys { metadata, keys } => {
                path::set(event, metadata, keys.iter().copied(), value, arena);
            }
        }
    }

    /// Whether the field must not hold such a value; see [`refuses`].
    pub fn refuses(&self, value: &Value<'_>) -> bool {
        match self.0 {
            PlaceKind::Path(path) => refuses(path, value),
            PlaceKind::Keys { metadata, keys } => match keys {
                [key] if !metadata => top_level_refuses(&key.name(), value),
                _ => keys.is_empty(),
            },
        }
    }

    /// Whether it is all of the metadata.
    fn is_metadata(&self) -> bool {
        match self.0 {
            PlaceKind::Path(path) => path.is_root() && path.is_metadata(),
            PlaceKind::Keys { metadata, keys } => metadata && keys.is_empty(),
        }
    }

    /// Takes the value there out of the event. All of the metadata is emptied when it is named as a
    /// whole.
    pub fn remove(&self, event: &mut Event<'b>) -> Option<Value<'b>> {
        if self.is_metadata() {
            event.metadata.clear();
            return None;
        }
        match self.0 {
            PlaceKind::Path(path) => path.remove(event),
            PlaceKind::Keys { metadata, keys } => {
                path::remove(event, metadata, keys.iter().copied())
            }
        }
    }
}

/// Whether a name read from an event is one of a field at the top, and no reference.
fn is_plain(name: &[u8], escape_style: EscapeStyle) -> bool {
    escape_style == EscapeStyle::None
        && !name.is_empty()
        && memchr::memchr2(b'[', b']', name).is_none()
        && name != METADATA.as_bytes()
}

/// Sets the field that a name read from an event names. Answers false if that is no reference, or a
/// field that does not take such a value.
pub fn set_named<'b>(
    event: &mut Event<'b>,
    name: Name<'b>,
    value: Value<'b>,
    escape_style: EscapeStyle,
    arena: &'b Bump,
) -> bool {
    let text = name.as_str().as_bytes();
    if is_plain(text, escape_style) {
        let refused = top_level_refuses(&name, &value);
        if !refused {
            event.fields.set(name, value);
        }
        return !refused;
    }
    match Place::named(text, escape_style, arena) {
        Ok(place) if place.is_metadata() => set_metadata(event, value, arena),
        Ok(place) if !place.refuses(&value) => {
            place.set(event, value, arena);
            true
        }
        _ => false,
    }
}

/// Sets a field, or all of the metadata, to what a filter made. Answers false if it does not take
/// such a value.
pub fn set_target<'b>(
    event: &mut Event<'b>,
    path: &'b Path,
    value: Value<'b>,
    arena: &'b Bump,
) -> bool {
    if path.is_root() && path.is_metadata() {
        return set_metadata(event, value, arena);
    }
    let refused = refuses(path, &value);
    if !refused {
        path.set(event, value, arena);
    }
    !refused
}

fn set_metadata<'b>(event: &mut Event<'b>, value: Value<'b>, arena: &'b Bump) -> bool {
    let Value::Object(fields) = value else {
        return false;
    };
    event.metadata = std::mem::replace(fields, Object::new_in(arena));
    true
}

/// Moves the fields of an object into the event, as [`set_named`] does one. Answers false at the
/// first that cannot be set.
pub fn set_all_named<'b>(
    event: &mut Event<'b>,
    fields: &mut Object<'b>,
    escape_style: EscapeStyle,
    arena: &'b Bump,
) -> bool {
    /// To search for each of more names than this would take time by the square of their number.
    const SEARCHED: usize = 64;
    let many = fields.len() > SEARCHED;
    let mut all = true;
    for (name, value) in fields.iter_mut() {
        let value = std::mem::replace(value, Value::Null);
        let unsearched = many
            && is_plain(name.as_str().as_bytes(), escape_style)
            && !top_level_refuses(&name, &value);
        if unsearched {
            event.fields.push_unsearched(name, value);
        } else if !set_named(event, name, value, escape_style, arena) {
            all = false;
            break;
        }
    }
    if many {
        event.fields.keep_last_of_each_name();
    }
    all
}

/// Whether a field must not hold such a value.
///
/// INVARIANT: `@timestamp` holds a time or is not there, and `tags` is no object, as search
/// clusters expect them. The event as a whole and its metadata cannot be set.
pub fn refuses(path: &Path, value: &Value<'_>) -> bool {
    path.is_root()
        || path
            .top_level_name()
            .is_some_and(|name| top_level_refuses(&name, value))
}

fn top_level_refuses(name: &Name<'_>, value: &Value<'_>) -> bool {
    (name.is(&TIMESTAMP) && !matches!(value, Value::Time(_)))
        || (name.is(&TAGS) && matches!(value, Value::Object(_)))
}

fn write_fields(event: &Event<'_>, out: &mut Vec<u8>) {
    for (at, (name, value)) in event.metadata.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_json_value(&Value::Text(name.as_str().as_bytes()), out);
        out.push(b':');
        write_json_value(value, out);
    }
}

/// A value as the text that `%{…}` is for it.
pub fn write_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => out.extend_from_slice(text),
        Value::Array(array) => {
            for (at, each) in array.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                match each {
                    Value::Null => {}
                    Value::Array(_) => write_value(each, out),
                    _ => write_java(each, out),
                }
            }
        }
        Value::Object(_) => write_json_value(value, out),
        _ => write_java(value, out),
    }
}

/// A value as Java's `toString` prints it.
pub(crate) fn write_java(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(boolean) => {
            out.extend_from_slice(if *boolean { b"true" } else { b"false" });
        }
        Value::Integer(integer) => write_whole(*integer, out),
        Value::Float(float) => write_java_float(*float, out),
        Value::Numeral(numeral) => out.extend_from_slice(numeral.as_bytes()),
        Value::Text(text) => out.extend_from_slice(text),
        Value::Time(timestamp) => timestamp.write_iso8601(out),
        Value::Array(array) => {
            out.push(b'[');
            for (at, each) in array.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                write_java(each, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (at, (name, each)) in object.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(name.as_str().as_bytes());
                out.push(b'=');
                write_java(each, out);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::read_json_object;

    /// 2015-10-01T00:00:00Z.
    const TIME: Timestamp = Timestamp::new(1_443_657_600, 0);

    fn fill(template: &str, fields: &str) -> String {
        let arena = Bump::new();
        let mut event = Event::with_timestamp_in(TIME, &arena);
        let object = read_json_object(
            fields.as_bytes(),
            crate::event::JsonLimits::default(),
            &arena,
        );
        for (name, value) in object.unwrap().iter() {
            event.fields.set(name, value.copy_in(&arena));
        }
        event.metadata.set(Name::new("m"), Value::Integer(1));
        let template = arena.alloc(Some(Template::parse(template, EscapeStyle::None).unwrap()));
        let template = template.as_ref().unwrap();
        let now = Timestamp::new(0, 0);
        let filled = template.fill(&event, now, &arena);
        let mut written = Vec::new();
        template.write(&event, now, &mut written);
        assert_eq!(filled, written);
        let complete = memchr::memmem::find(filled, b"%{").is_none();
        assert_eq!(template.is_complete_for(&event), complete);
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn fields_and_texts() {
        let fields = r#"{"a":"x","b":{"c":[1,"d"]},"n":null,"t":true}"#;
        for (template, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("%{a}", "x"),
            ("/%{a}/%{t}.", "/x/true."),
            ("%{missing}-%{n}", "%{missing}-%{n}"),
            ("%{[b][c][1]} %{[b][c]} %{b}", r#"d 1,d {"c":[1,"d"]}"#),
            ("%{[@metadata][m]} %{[@metadata]}", r#"1 {"m":1}"#),
            ("%{@timestamp}", "2015-10-01T00:00:00.000Z"),
            ("50% {x} }", "50% {x} }"),
        ] {
            assert_eq!(fill(template, fields), expected, "{template}");
        }
        let arena = Bump::new();
        let template = Template::parse("%{a", EscapeStyle::None).unwrap();
        let mut out = Vec::new();
        template.write(&Event::new_in(&arena), TIME, &mut out);
        assert_eq!(out, b"%{a");
    }

    #[test]
    fn values_look_as_in_java() {
        let fields = r#"{"f":1.5,"g":1e20,"h":1e-4,"z":-0.0,"l":[null,{"k":[1,null]},[2,3]],"i":12345678901234567890}"#;
        for (template, expected) in [
            ("%{f} %{g} %{h} %{z}", "1.5 1.0E20 1.0E-4 -0.0"),
            ("%{l}", ",{k=[1, null]},2,3"),
            ("%{i}", "12345678901234567890"),
        ] {
            assert_eq!(fill(template, fields), expected, "{template}");
        }
    }

    #[test]
    fn times() {
        for (template, expected) in [
            ("i-%{+YYYY.MM.dd}", "i-2015.10.01"),
            ("%{+%s}", "1443657600"),
            ("%{+%ss}", "%00"),
            ("%{{YYYY-'W'ww}}", "2015-W40"),
            ("%{{TIME_NOW}}", "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(fill(template, "{}"), expected, "{template}");
        }
    }

    #[test]
    fn faults_are_found_when_parsed() {
        for template in ["%{+bogus}", "%{{bogus}}", "%{a[b]}", "%{[]}"] {
            assert!(
                Template::parse(template, EscapeStyle::None).is_err(),
                "{template}"
            );
        }
    }
}
