//! The filter `mutate`: changes fields.
//!
//! The operations run in a fixed order, whatever the order in the configuration is: coerce, rename,
//! update, replace, convert, gsub, uppercase, capitalize, lowercase, strip, split, join, merge,
//! copy. The first that fails ends them, and the event is tagged; what was done before stays.
//! Operations pass over what they do not apply to (a number to be split, a field that is not
//! there).
//!
//! COMPAT: as in Logstash only `rename` fills templates in names, and `@timestamp` takes nothing
//! but a time. Unlike there a rename that fails keeps the field, and `merge` of several fields into
//! one that is no array keeps them all.

pub(super) mod convert;
pub(super) mod texts;

use std::collections::HashMap;

use bumpalo::Bump;

use crate::event::{Event, Path, Value};
use crate::filter::common::{field_name, make_array, template};
use crate::filter::{Context, Filter, Outcome, ScratchSlot, ScratchSlots};
use crate::language::{Diagnostic, Options, Spanned, did_you_mean};
use crate::regex_dialect::{Regex, Replacement};
use crate::template::{FieldName, Template, refuses};

use convert::{CONVERSIONS, Conversion};
use texts::Case;

/// How many patterns that are made of an event's fields a worker keeps compiled.
pub const DYNAMIC_PATTERNS: usize = 64;

/// The filter.
#[derive(Debug)]
pub struct Mutate {
    operations: Box<[Operation]>,
    tag_on_failure: Box<[u8]>,
    slot: ScratchSlot,
}

#[derive(Debug)]
enum Operation {
    Coerce(Path, Template),
    Rename(FieldName, FieldName),
    Update(Path, Template),
    Replace(Path, Template),
    Convert(Path, Conversion),
    Substitute(Path, Needle, Substitute),
    ChangeCase(Path, Case),
    Strip(Path),
    Split(Path, Box<[u8]>),
    Join(Path, Box<[u8]>),
    Merge(Path, Box<[Path]>),
    Copy(Path, Path),
}

/// What `gsub` looks for.
#[derive(Debug)]
enum Needle {
    Fixed(Regex),
    Filled(Template),
}

/// What `gsub` puts there.
#[derive(Debug)]
enum Substitute {
    Fixed(Replacement),
    Filled(Template),
}

/// An operation could not be done.
#[derive(Debug)]
struct Failed;

/// A worker's memory.
#[derive(Default)]
struct Work {
    buffer: Vec<u8>,
    /// Patterns made of fields; none for a text that is no pattern.
    patterns: HashMap<Box<[u8]>, Option<Regex>>,
}

impl Mutate {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, slots: &mut ScratchSlots) -> Option<Self> {
        let mut operations = Vec::new();
        operations.extend(with_template(options, "coerce", Operation::Coerce));
        for (from, to) in options.string_hash("rename").unwrap_or_default() {
            let from = field_name(options, "rename", &from.value);
            let to = field_name(options, "rename", &to.value);
            operations.extend(from.zip(to).map(|(from, to)| Operation::Rename(from, to)));
        }
        operations.extend(with_template(options, "update", Operation::Update));
        operations.extend(with_template(options, "replace", Operation::Replace));
        operations.extend(conversions(options));
        operations.extend(substitutions(options));
        for (name, case) in [
            ("uppercase", Case::Upper),
            ("capitalize", Case::Capital),
            ("lowercase", Case::Lower),
        ] {
            let fields = options.fields(name).unwrap_or_default();
            operations.extend(
                fields
                    .iter()
                    .map(|field| Operation::ChangeCase(Path::from(&field.value), case)),
            );
        }
        let stripped = options.fields("strip").unwrap_or_default();
        operations.extend(
            stripped
                .iter()
                .map(|field| Operation::Strip(Path::from(&field.value))),
        );
        operations.extend(with_separator(options, "split", Operation::Split));
        operations.extend(with_separator(options, "join", Operation::Join));
        for entry in options.hash("merge").unwrap_or_default() {
            let to = field(options, &entry.key);
            let from = options.texts_of("merge", entry.value).unwrap_or_default();
            let from: Vec<_> = from
                .iter()
                .filter_map(|from| field(options, from))
                .collect();
            operations.extend(to.map(|to| Operation::Merge(to, from.into())));
        }
        for (from, to) in options.string_hash("copy").unwrap_or_default() {
            let from = field(options, &from);
            let to = field(options, &to);
            operations.extend(from.zip(to).map(|(from, to)| Operation::Copy(from, to)));
        }
        options.obsolete("remove", "write `remove_field`");
        let tag = options.string("tag_on_failure");
        Some(Self {
            operations: operations.into(),
            tag_on_failure: tag
                .map_or_else(|| b"_mutate_error".to_vec(), String::into_bytes)
                .into(),
            slot: slots.take(),
        })
    }
}

fn field(options: &mut Options<'_>, text: &Spanned<String>) -> Option<Path> {
    Some(Path::from(&options.field_of(text)?.value))
}

/// Operations that set a field by a template.
fn with_template(
    options: &mut Options<'_>,
    name: &'static str,
    operation: fn(Path, Template) -> Operation,
) -> Vec<Operation> {
    let pairs = options.string_hash(name).unwrap_or_default();
    let mut operations = Vec::with_capacity(pairs.len());
    for (to, text) in pairs {
        let to = field(options, &to);
        let text = template(options, name, &text.value);
        operations.extend(to.zip(text).map(|(to, text)| operation(to, text)));
    }
    operations
}

/// Operations with a separator.
fn with_separator(
    options: &mut Options<'_>,
    name: &'static str,
    operation: fn(Path, Box<[u8]>) -> Operation,
) -> Vec<Operation> {
    let pairs = options.string_hash(name).unwrap_or_default();
    let mut operations = Vec::with_capacity(pairs.len());
    for (of, separator) in pairs {
        let separator = separator.value.into_bytes().into();
        operations.extend(field(options, &of).map(|of| operation(of, separator)));
    }
    operations
}

fn conversions(options: &mut Options<'_>) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (of, kind) in options.string_hash("convert").unwrap_or_default() {
        let of = field(options, &of);
        let conversion = CONVERSIONS.iter().find(|(name, _)| *name == kind.value);
        match (of, conversion) {
            (Some(of), Some((_, conversion))) => {
                operations.push(Operation::Convert(of, *conversion));
            }
            (_, None) => {
                let names = CONVERSIONS.iter().map(|(name, _)| *name);
                let known: Vec<_> = names.clone().map(|name| format!("`{name}`")).collect();
                options.diagnostics().push(
                    Diagnostic::error(
                        kind.span,
                        format!("invalid conversion type `{}`", kind.value),
                    )
                    .label(format!("must be one of {}", known.join(", ")))
                    .maybe_hint(did_you_mean(&kind.value, names)),
                );
            }
            (None, Some(_)) => {}
        }
    }
    operations
}

/// `gsub`: a list of field, pattern, replacement, field, …
fn substitutions(options: &mut Options<'_>) -> Vec<Operation> {
    let words = options.strings("gsub").unwrap_or_default();
    if !words.len().is_multiple_of(3) {
        options.error(
            "gsub",
            "`gsub` must have three elements for each substitution: field, pattern, replacement",
        );
        return Vec::new();
    }
    let mut operations = Vec::with_capacity(words.len() / 3);
    for [of, needle, substitute] in words.as_chunks::<3>().0 {
        let of = field(options, of);
        let needle = if needle.value.contains("%{") {
            template(options, "gsub", &needle.value).map(Needle::Filled)
        } else {
            match Regex::new(&needle.value) {
                Ok(regex) => Some(Needle::Fixed(regex)),
                Err(error) => {
                    options.diagnostics().push(
                        Diagnostic::error(
                            needle.span,
                            "this regular expression cannot be compiled",
                        )
                        .label(error.to_string()),
                    );
                    None
                }
            }
        };
        let substitute =
            template(options, "gsub", &substitute.value).map(|template| match template.literal() {
                Some(text) => Substitute::Fixed(Replacement::parse(text)),
                None => Substitute::Filled(template),
            });
        if let (Some(of), Some(needle), Some(substitute)) = (of, needle, substitute) {
            operations.push(Operation::Substitute(of, needle, substitute));
        }
    }
    operations
}

impl Filter for Mutate {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        for operation in &self.operations {
            if operation.apply(event, context, self.slot).is_err() {
                event.tag(&self.tag_on_failure, context.arena);
                return Outcome::Unapplied;
            }
        }
        Outcome::Applied
    }
}

impl Operation {
    fn apply<'b>(
        &'b self,
        event: &mut Event<'b>,
        context: &mut Context<'_, 'b>,
        slot: ScratchSlot,
    ) -> Result<(), Failed> {
        let (now, arena) = (context.now, context.arena);
        match self {
            Self::Coerce(path, template) => {
                if matches!(path.get(event), Some(Value::Null)) {
                    let value = Value::Text(template.fill(event, now, arena));
                    set(event, path, value, arena)?;
                }
            }
            Self::Rename(from, to) => {
                let from = from.resolve(event, now, arena).map_err(|_| Failed)?;
                let to = to.resolve(event, now, arena).map_err(|_| Failed)?;
                let Some(value) = from.get(event) else {
                    return Ok(());
                };
                if to.refuses(value) {
                    return Err(Failed);
                }
                if let Some(value) = from.remove(event) {
                    to.set(event, value, arena);
                }
            }
            Self::Update(path, template) => {
                if path.get(event).is_some() {
                    let value = Value::Text(template.fill(event, now, arena));
                    set(event, path, value, arena)?;
                }
            }
            Self::Replace(path, template) => {
                let value = Value::Text(template.fill(event, now, arena));
                set(event, path, value, arena)?;
            }
            Self::Convert(path, conversion) => {
                if let Some(value) = path.get_mut(event) {
                    let time = matches!(value, Value::Time(_));
                    if time && refuses(path, &Value::Null) {
                        return Err(Failed);
                    }
                    conversion.convert(value, arena).map_err(|_| Failed)?;
                }
            }
            Self::Substitute(path, needle, substitute) => {
                return self::substitute(event, context, slot, path, needle, substitute);
            }
            Self::ChangeCase(path, case) => each_text(path, event, |text| {
                *text = texts::change_case(text, *case, arena);
            }),
            Self::Strip(path) => {
                // COMPAT: an array with anything but texts fails.
                if let Some(Value::Array(array)) = path.get(event)
                    && array.iter().any(|each| each.as_text().is_none())
                {
                    return Err(Failed);
                }
                each_text(path, event, |text| *text = texts::strip(text));
            }
            Self::Split(path, separator) => {
                if let Some(value) = path.get_mut(event)
                    && let Value::Text(text) = value
                {
                    *value = texts::split(text, separator, arena);
                }
            }
            Self::Join(path, separator) => {
                if let Some(value) = path.get_mut(event)
                    && let Value::Array(array) = value
                {
                    let work = context.scratch.slot(slot, Work::default);
                    work.buffer.clear();
                    texts::join(array, separator, &mut work.buffer);
                    *value = Value::copied_text(&work.buffer, arena);
                }
            }
            Self::Merge(to, from) => {
                for from in from {
                    merge(event, context, to, from)?;
                }
            }
            Self::Copy(from, to) => {
                if let Some(value) = from.get(event)
                    && !matches!(value, Value::Null)
                {
                    let copy = value.copy_in(arena);
                    set(event, to, copy, arena)?;
                }
            }
        }
        Ok(())
    }
}

/// Sets a field, unless it is one that does not take such a value.
fn set<'b>(
    event: &mut Event<'b>,
    path: &'b Path,
    value: Value<'b>,
    arena: &'b Bump,
) -> Result<(), Failed> {
    if refuses(path, &value) {
        return Err(Failed);
    }
    path.set(event, value, arena);
    Ok(())
}

/// Changes a text, or the texts of an array.
fn each_text<'b>(path: &Path, event: &mut Event<'b>, mut change: impl FnMut(&mut &'b [u8])) {
    match path.get_mut(event) {
        Some(Value::Text(text)) => change(text),
        Some(Value::Array(array)) => {
            for each in array.iter_mut() {
                if let Value::Text(text) = each {
                    change(text);
                }
            }
        }
        _ => {}
    }
}

/// `gsub`.
fn substitute<'b>(
    event: &mut Event<'b>,
    context: &mut Context<'_, 'b>,
    slot: ScratchSlot,
    path: &'b Path,
    needle: &'b Needle,
    substitute: &'b Substitute,
) -> Result<(), Failed> {
    let (now, arena) = (context.now, context.arena);
    if !matches!(path.get(event), Some(Value::Text(_) | Value::Array(_))) {
        return Ok(());
    }
    let Work { buffer, patterns } = context.scratch.slot(slot, Work::default);
    let regex = match needle {
        Needle::Fixed(regex) => regex,
        Needle::Filled(template) => {
            let pattern = template.fill(event, now, arena);
            if !patterns.contains_key(pattern) {
                if patterns.len() >= DYNAMIC_PATTERNS {
                    patterns.clear();
                }
                let regex = Regex::new(&String::from_utf8_lossy(pattern)).ok();
                patterns.insert(pattern.into(), regex);
            }
            patterns
                .get(pattern)
                .and_then(Option::as_ref)
                .ok_or(Failed)?
        }
    };
    let filled;
    let replacement = match substitute {
        Substitute::Fixed(replacement) => replacement,
        Substitute::Filled(template) => {
            filled = Replacement::parse(template.fill(event, now, arena));
            &filled
        }
    };
    let mut outcome = Ok(());
    each_text(path, event, |text| {
        buffer.clear();
        match regex.replace_all(text, replacement, buffer) {
            Ok(true) => *text = arena.alloc_slice_copy(buffer),
            Ok(false) => {}
            Err(_) => outcome = Err(Failed),
        }
    });
    outcome
}

/// Merges one field into another: arrays (and single values) are joined, objects united.
fn merge<'b>(
    event: &mut Event<'b>,
    context: &Context<'_, 'b>,
    to: &'b Path,
    from: &'b Path,
) -> Result<(), Failed> {
    let arena = context.arena;
    let mut added = from
        .get(event)
        .map_or(Value::Null, |value| value.copy_in(arena));
    match (to.get_mut(event), &mut added) {
        (Some(Value::Object(there)), Value::Object(added)) => {
            for (name, value) in added.iter_mut() {
                there.set(name, std::mem::replace(value, Value::Null));
            }
            return Ok(());
        }
        // COMPAT: an object and anything else do not mix; Logstash logs it and goes on.
        (Some(Value::Object(_)), _) | (_, Value::Object(_)) => return Ok(()),
        _ => {}
    }
    if refuses(to, &Value::Null) {
        return Err(Failed);
    }
    if to.get(event).is_none() {
        to.set(event, Value::Null, arena);
    }
    if let Some(there) = to.get_mut(event)
        && let Value::Array(there) = make_array(there, arena)
        && let Value::Array(added) = make_array(&mut added, arena)
    {
        there.extend(added.drain(..));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{JsonLimits, Timestamp, read_json_object, write_json};
    use crate::filter::Scratch;
    use crate::language::{Diagnostics, ParseOptions, SourceMap, Statement, parse};

    fn build(text: &str) -> Result<Mutate, String> {
        let sources = SourceMap::single("t", format!("filter {{ mutate {{ {text} }} }}"));
        let mut diagnostics = Diagnostics::new();
        let config = parse(&sources, ParseOptions::default(), &mut diagnostics);
        let Statement::Plugin(plugin) = &config.filters[0] else {
            panic!("no plugin")
        };
        let mut options = Options::new(plugin, "filter", &mut diagnostics);
        let filter = Mutate::from_options(&mut options, &mut ScratchSlots::default());
        options.finish();
        filter
            .filter(|_| options.is_valid())
            .ok_or_else(|| diagnostics.render(&sources, false))
    }

    fn mutate(text: &str, fields: &str) -> String {
        let arena = Bump::new();
        let filter = arena.alloc(Some(build(text).unwrap_or_else(|error| panic!("{error}"))));
        let filter = filter.as_ref().unwrap();
        let mut event = Event::new_in(&arena);
        event.fields = read_json_object(fields.as_bytes(), JsonLimits::default(), &arena).unwrap();
        let mut context = Context {
            arena: &arena,
            now: Timestamp::new(0, 0),
            scratch: &mut Scratch::default(),
            emitted: &mut Vec::new(),
        };
        filter.apply(&mut event, &mut context);
        let mut out = Vec::new();
        write_json(&event, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn operations_run_in_their_order() {
        let config = r#"copy => { "b" => "c" } rename => { "a" => "b" } gsub => ["b", "x(.)", "<\1>"]
            uppercase => ["b"] split => { "b" => "," } merge => { "b" => "d" }"#;
        assert_eq!(
            mutate(config, r#"{"a":"xy,z","d":1}"#),
            r#"{"d":1,"b":["<Y>","Z",1],"c":["<Y>","Z",1]}"#
        );
    }

    #[test]
    fn the_first_failure_ends_it() {
        let config =
            r#"replace => { "a" => "1" } convert => { "b" => "integer" } lowercase => ["c"]"#;
        assert_eq!(
            mutate(config, r#"{"b":"x","c":"X"}"#),
            r#"{"b":"x","c":"X","a":"1","tags":["_mutate_error"]}"#
        );
        assert_eq!(
            mutate(r#"rename => { "a" => "@timestamp" }"#, r#"{"a":"x"}"#),
            r#"{"a":"x","tags":["_mutate_error"]}"#
        );
        assert_eq!(
            mutate(r#"strip => "a" tag_on_failure => "t""#, r#"{"a":[" x",1]}"#),
            r#"{"a":[" x",1],"tags":["t"]}"#
        );
    }

    #[test]
    fn patterns_are_made_of_fields() {
        let config = r#"gsub => ["a", "%{p}+", "%{r}"]"#;
        assert_eq!(
            mutate(config, r#"{"a":["boo","b",1],"p":"o","r":"[\\0]"}"#),
            r#"{"a":["b[oo]","b",1],"p":"o","r":"[\\0]"}"#
        );
        let broken = mutate(config, r#"{"a":"x","p":"("}"#);
        assert!(broken.contains("_mutate_error"), "{broken}");
    }

    #[test]
    fn merges() {
        let config = r#"merge => { "a" => ["b", "c"] }"#;
        for (fields, expected) in [
            (r#"{"a":"x","b":"y","c":["z"]}"#, r#"["x","y","z"]"#),
            (r#"{"b":null}"#, "[]"),
            (
                r#"{"a":{"k":1,"l":1},"b":{"k":2},"c":"x"}"#,
                r#"{"k":2,"l":1}"#,
            ),
            (r#"{"a":"x","b":{"k":2}}"#, r#"["x"]"#),
        ] {
            let merged = mutate(config, fields);
            assert!(merged.contains(&format!(r#""a":{expected}"#)), "{merged}");
        }
    }

    #[test]
    fn mistakes_are_found() {
        for (config, message) in [
            (
                r#"convert => { "a" => "int" }"#,
                "invalid conversion type `int`",
            ),
            (r#"gsub => ["a", "b"]"#, "three elements"),
            (r#"gsub => ["a", "(", "c"]"#, "cannot be compiled"),
            (r#"replace => { "a[b]" => "c" }"#, "[a][b]"),
            (
                r#"replace => { "a" => "%{+bogus}" }"#,
                "is no part of a time",
            ),
            (r#"remove => ["a"]"#, "remove_field"),
            (r#"uppercas => ["a"]"#, "did you mean `uppercase`"),
        ] {
            let error = build(config).map(|_| ()).unwrap_err();
            assert!(error.contains(message), "{config}: {error}");
        }
    }
}
