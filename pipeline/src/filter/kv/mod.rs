//! The filter `kv`: fields out of a text like `key=value key2="the value"`.
//!
//! Keys and values are slices of the text; they are copied, into the arena, only where an option
//! changes them. What separates them is compiled once, into tables of bytes where it is a set of
//! characters, else into expressions.
//!
//! COMPAT: options work on a pair in this order: empty values are left out, the key is trimmed, rid
//! of characters, transformed, picked by `include_keys` and `exclude_keys`, prefixed; then the same
//! for the value, duplicates are left out, and what is left is searched for pairs in turn. A key that
//! comes twice makes an array. Fields that were there are overwritten.

mod build;
mod scan;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;

use crate::event::{Array, Event, Name, Object, Path, Value};
use crate::filter::char_class::ByteSet;
use crate::filter::mutate::texts::{Case, change_case};
use crate::filter::{Context, Filter, Outcome};
use crate::language::EscapeStyle;
use crate::regex_dialect::{Regex, Replacement, TooHard};
use crate::template::{Template, set_all_named, set_target};

use scan::Scanner;
pub use scan::{MAX_BACKTRACKING_SEARCHES, MAX_LOOKS};

/// How many pairs of one event become fields, unless `max_fields` says otherwise.
pub const DEFAULT_MAX_FIELDS: usize = 1_000;

/// How deep `recursive` goes; values below stay texts.
pub const MAX_DEPTH: usize = 16;

/// The filter.
#[derive(Debug)]
pub struct Kv {
    source: Path,
    target: Option<Path>,
    scanner: Scanner,
    key: Changes,
    value: Changes,
    prefix: Template,
    include: Option<Keys>,
    exclude: Option<Keys>,
    defaults: Box<[(Box<str>, Default)]>,
    allow_duplicate_values: bool,
    allow_empty_values: bool,
    recursive: bool,
    max_fields: usize,
    tags_on_failure: Vec<Box<[u8]>>,
    tag_on_timeout: Box<[u8]>,
    escape_style: EscapeStyle,
}

/// What is done to each key, or to each value.
#[derive(Debug)]
struct Changes {
    trim: Option<Characters>,
    remove: Option<Characters>,
    case: Option<Case>,
}

/// A set of characters, and an expression for it where a table does not do.
#[derive(Debug)]
struct Characters {
    set: Option<ByteSet>,
    regex: Regex,
}

/// The keys of `include_keys` or `exclude_keys`.
#[derive(Debug)]
enum Keys {
    /// Sorted.
    Fixed(Box<[Box<[u8]>]>),
    Filled(Box<[Template]>),
}

/// A value of `default_keys`.
#[derive(Debug)]
enum Default {
    Text(Box<[u8]>),
    Integer(i64),
    Float(f64),
}

/// Why there are no pairs.
enum Failure {
    /// A pattern took too many steps.
    TooHard,
    /// There are more than `max_fields`, or something cannot be a field.
    Failed,
}

impl From<TooHard> for Failure {
    fn from(_: TooHard) -> Self {
        Self::TooHard
    }
}

/// What is the same for all pairs of an event.
struct Run<'f, 'b> {
    filter: &'f Kv,
    arena: &'b Bump,
    prefix: &'b [u8],
    include: Option<&'b [&'b [u8]]>,
    exclude: Option<&'b [&'b [u8]]>,
    fields_left: usize,
}

impl<'b> Run<'b, 'b> {
    /// Adds the pairs of a text.
    fn parse(
        &mut self,
        text: &'b [u8],
        depth: usize,
        into: &mut Object<'b>,
    ) -> Result<(), Failure> {
        let (filter, arena) = (self.filter, self.arena);
        let text = if filter.scanner.needs_utf8() {
            valid(text, arena)
        } else {
            text
        };
        let mut pairs = filter.scanner.pairs(text);
        while let Some((key, value)) = pairs.next()? {
            if value.is_empty() && !filter.allow_empty_values {
                continue;
            }
            let key = filter.key.apply(key, arena)?;
            let picked = filter
                .include
                .as_ref()
                .is_none_or(|keys| keys.has(key, self.include))
                && !filter
                    .exclude
                    .as_ref()
                    .is_some_and(|keys| keys.has(key, self.exclude));
            if !picked {
                continue;
            }
            let key = if self.prefix.is_empty() {
                key
            } else {
                let mut whole = ArenaVec::with_capacity_in(self.prefix.len() + key.len(), arena);
                whole.extend_from_slice(self.prefix);
                whole.extend_from_slice(key);
                whole.into_bump_slice()
            };
            let value = filter.value.apply(value, arena)?;
            let name = Name::new(match std::str::from_utf8(key) {
                Ok(key) => key,
                Err(_) => arena.alloc_str(&String::from_utf8_lossy(key)),
            });
            let there = into.get_mut(&name);
            if !filter.allow_duplicate_values
                && there.as_ref().is_some_and(|there| includes(there, value))
            {
                continue;
            }
            self.fields_left = self.fields_left.checked_sub(1).ok_or(Failure::Failed)?;
            let mut value = Value::Text(value);
            if let (Value::Text(text), true) = (&value, filter.recursive && depth < MAX_DEPTH) {
                let mut inner = Object::new_in(arena);
                self.parse(text, depth + 1, &mut inner)?;
                if !inner.is_empty() {
                    value = Value::object(inner, arena);
                }
            }
            match there {
                None => into.push_new(name, value),
                Some(Value::Array(values)) => values.push(value),
                Some(there) => {
                    let mut both = Array::with_capacity_in(2, arena);
                    both.push(std::mem::replace(there, Value::Null));
                    both.push(value);
                    *there = Value::array(both, arena);
                }
            }
        }
        Ok(())
    }
}

impl Kv {
    fn pairs_of<'b>(
        &'b self,
        event: &Event<'b>,
        context: &Context<'_, 'b>,
    ) -> Result<Object<'b>, Failure> {
        let arena = context.arena;
        let keys = |keys: &'b Option<Keys>| match keys {
            Some(Keys::Filled(templates)) => {
                let mut filled = ArenaVec::with_capacity_in(templates.len(), arena);
                let keys = templates.iter();
                filled.extend(keys.map(|key| key.fill(event, context.now, arena)));
                Some(filled.into_bump_slice() as &[_])
            }
            _ => None,
        };
        let mut run = Run {
            filter: self,
            arena,
            prefix: self.prefix.fill(event, context.now, arena),
            include: keys(&self.include),
            exclude: keys(&self.exclude),
            fields_left: self.max_fields,
        };
        let mut pairs = Object::with_capacity_in(16, arena);
        match event.get(&self.source) {
            Some(Value::Text(text)) => run.parse(text, 0, &mut pairs)?,
            Some(Value::Array(texts)) => {
                for text in texts.iter() {
                    let text = text.as_text().ok_or(Failure::Failed)?;
                    run.parse(text, 0, &mut pairs)?;
                }
            }
            // COMPAT: what is no text has no pairs.
            _ => {}
        }
        for (name, value) in &self.defaults {
            let name = Name::new(name);
            if pairs.get(&name).is_none() {
                let value = match value {
                    Default::Text(text) => Value::Text(text),
                    Default::Integer(integer) => Value::Integer(*integer),
                    Default::Float(float) => Value::Float(*float),
                };
                pairs.push_new(name, value);
            }
        }
        Ok(pairs)
    }

    fn store<'b>(
        &'b self,
        mut pairs: Object<'b>,
        event: &mut Event<'b>,
        arena: &'b Bump,
    ) -> Result<(), Failure> {
        if let Some(target) = &self.target {
            let pairs = Value::object(pairs, arena);
            let set = set_target(event, target, pairs, arena);
            return set.then_some(()).ok_or(Failure::Failed);
        }
        if !set_all_named(event, &mut pairs, self.escape_style, arena) {
            return Err(Failure::Failed);
        }
        Ok(())
    }
}

impl Filter for Kv {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        let arena = context.arena;
        let stored = self.pairs_of(event, context).and_then(|pairs| {
            let found = !pairs.is_empty();
            if found {
                self.store(pairs, event, arena)?;
            }
            Ok(found)
        });
        match stored {
            Ok(true) => return Outcome::Applied,
            Ok(false) => {}
            Err(Failure::TooHard) => event.tag(&self.tag_on_timeout, arena),
            Err(Failure::Failed) => {
                for tag in &self.tags_on_failure {
                    event.tag(tag, arena);
                }
            }
        }
        Outcome::Unapplied
    }
}

impl Keys {
    fn has(&self, key: &[u8], filled: Option<&[&[u8]]>) -> bool {
        match self {
            Self::Fixed(keys) => keys.binary_search_by(|each| (**each).cmp(key)).is_ok(),
            Self::Filled(_) => filled.unwrap_or_default().contains(&key),
        }
    }
}

impl Changes {
    fn apply<'b>(&self, text: &'b [u8], arena: &'b Bump) -> Result<&'b [u8], TooHard> {
        let mut text = text;
        if let Some(trim) = &self.trim {
            text = match &trim.set {
                // The expression's anchors match at every line.
                Some(set) if !text.contains(&b'\n') => set.trim(text),
                _ => trim.erase(text, arena)?,
            };
        }
        if let Some(remove) = &self.remove {
            let any = |set: &ByteSet| text.iter().any(|byte| set.has(*byte));
            text = match &remove.set {
                Some(set) if !any(set) => text,
                Some(set) => {
                    let mut kept = ArenaVec::with_capacity_in(text.len(), arena);
                    kept.extend(text.iter().copied().filter(|byte| !set.has(*byte)));
                    kept.into_bump_slice()
                }
                None => remove.erase(text, arena)?,
            };
        }
        Ok(match self.case {
            Some(case) => change_case(text, case, arena),
            None => text,
        })
    }
}

impl Characters {
    /// The text without what the expression matches.
    fn erase<'b>(&self, text: &'b [u8], arena: &'b Bump) -> Result<&'b [u8], TooHard> {
        let mut out = Vec::new();
        let nothing = Replacement::parse(b"");
        Ok(if self.regex.replace_all(text, &nothing, &mut out)? {
            arena.alloc_slice_copy(&out)
        } else {
            text
        })
    }
}

/// Whether a value has a text: as an element, as a part of it, or as a name of a field in it.
fn includes(there: &Value<'_>, text: &[u8]) -> bool {
    match there {
        Value::Text(there) => memchr::memmem::find(there, text).is_some(),
        Value::Array(values) => values.iter().any(|value| value.as_text() == Some(text)),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, _)| name.as_str().as_bytes() == text),
        _ => false,
    }
}

/// The text as UTF-8, copied only if it is none.
fn valid<'b>(text: &'b [u8], arena: &'b Bump) -> &'b [u8] {
    match std::str::from_utf8(text) {
        Ok(_) => text,
        Err(_) => arena.alloc_slice_copy(String::from_utf8_lossy(text).as_bytes()),
    }
}
