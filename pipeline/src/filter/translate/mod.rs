//! The filter `translate`: replaces a value by what a dictionary says for it.
//!
//! The dictionary stands in the configuration or in a file that is read again when it changes
//! (see [`reload`](super::reload)). It is made ready for its kind of search when it is loaded.
//!
//! COMPAT (logstash-filter-translate): values are looked up as texts; of an array the first element
//! is; a target that is there is left alone unless `override`, which is on when the target is the
//! source.

mod dictionary;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bumpalo::Bump;

use super::common::{field_of, put, template};
use super::reload::{Reloadable, WatchedFile};
use super::text::text_of;
use super::{Context, Filter, Outcome, OwnedValue, ScratchSlot};
use crate::compile::Build;
use crate::event::{Array, Event, Key, Path, Value, path};
use crate::language::{FieldReference, LONGEST_DURATION, Options};
use crate::template::Template;

use dictionary::{Dictionary, Format, Search};

/// Default of `refresh_interval`.
const REFRESH_INTERVAL: Duration = Duration::from_mins(5);

/// The filter.
#[derive(Debug)]
pub struct Translate {
    source: Path,
    target: Path,
    over: Over,
    /// The target is the source.
    in_place: bool,
    overwrite: bool,
    fallback: Option<Template>,
    dictionary: Arc<Reloadable<Dictionary>>,
    slot: ScratchSlot,
}

/// What is looked up.
#[derive(Debug)]
enum Over {
    /// The source.
    Field,
    /// Each element of the source.
    Values,
    /// The source in each object of the array here.
    Objects(Path),
}

impl Translate {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        let source = either(options, "source", "field");
        let target = either(options, "target", "destination");
        if !options.has("source") && !options.has("field") {
            options.missing("source");
        }
        let ecs = build.ecs(options);
        let overwrite = options.boolean("override");
        let iterate_on = options.field("iterate_on").map(|field| field.value);
        let fallback = options
            .string("fallback")
            .and_then(|text| template(options, "fallback", &text));
        let dictionary = read_dictionary(options, build);
        let source = source?;
        let target = match target {
            Some(target) => target,
            None if ecs => source.clone(),
            None => field_of("translation"),
        };
        let in_place = is_same(&source, &target);
        if in_place && overwrite == Some(false) {
            options.error(
                "override",
                "`override => false` would do nothing: the target is the source itself; leave the \
                 option out, or name another `target`",
            );
        }
        let over = match iterate_on {
            None => Over::Field,
            Some(field) if is_same(&field, &source) => Over::Values,
            Some(field) => Over::Objects(Path::from(&field)),
        };
        Some(Self {
            source: Path::from(&source),
            target: Path::from(&target),
            over,
            in_place,
            overwrite: overwrite.unwrap_or(in_place),
            fallback,
            dictionary: dictionary?,
            slot: build.slots.take(),
        })
    }

    /// The value for one text.
    fn find<'b>(&self, text: &[u8], context: &mut Context<'_, 'b>) -> Option<Value<'b>> {
        let dictionary = self.dictionary.read(context.scratch, self.slot);
        dictionary.find(text, context.arena)
    }

    /// The value for one text, or what stands for those that have none.
    fn find_or_fallback<'b>(
        &'b self,
        text: &[u8],
        event: &Event<'b>,
        context: &mut Context<'_, 'b>,
    ) -> Option<Value<'b>> {
        self.find(text, context).or_else(|| {
            let fallback = self.fallback.as_ref()?;
            Some(Value::Text(fallback.fill(
                event,
                context.now,
                context.arena,
            )))
        })
    }

    fn translate_field<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> bool {
        let Some(value) = self.source.get(event) else {
            return false;
        };
        let text = match value {
            Value::Array(array) => array
                .first()
                .map_or(&b""[..], |first| text_of(first, context.arena)),
            other => text_of(other, context.arena),
        };
        match self.find_or_fallback(text, event, context) {
            Some(value) => put(&self.target, value, event, context.arena),
            None => false,
        }
    }

    fn translate_values<'b>(
        &'b self,
        event: &mut Event<'b>,
        context: &mut Context<'_, 'b>,
    ) -> bool {
        let Some(value) = self.source.get(event) else {
            return false;
        };
        let values = match value {
            Value::Null => &[],
            Value::Array(array) => array.as_slice(),
            other => std::slice::from_ref(other),
        };
        let mut found = false;
        let mut results = Array::with_capacity_in(values.len(), context.arena);
        for value in values {
            let text = text_of(value, context.arena);
            let result = self.find_or_fallback(text, event, context);
            found |= !matches!(result, None | Some(Value::Null | Value::Boolean(false)));
            results.push(result.unwrap_or(Value::Null));
        }
        let results = Value::array(results, context.arena);
        put(&self.target, results, event, context.arena) && found
    }

    fn translate_objects<'b>(
        &'b self,
        list: &'b Path,
        event: &mut Event<'b>,
        context: &mut Context<'_, 'b>,
    ) -> bool {
        let length = match list.get(event) {
            Some(Value::Array(array)) => array.len(),
            _ => return false,
        };
        let arena = context.arena;
        let mut found = false;
        for index in 0..length {
            let index = index_key(index, arena);
            let keys = |inner: &'b Path| list.keys().chain([index]).chain(inner.keys());
            let value = path::get(event, list.is_metadata(), keys(&self.source));
            let text = match value {
                None | Some(Value::Null) => continue,
                Some(value) => text_of(value, arena),
            };
            if let Some(value) = self.find_or_fallback(text, event, context) {
                path::set(event, list.is_metadata(), keys(&self.target), value, arena);
                found = true;
            }
        }
        found
    }
}

impl Filter for Translate {
    fn apply<'b>(&'b self, event: &mut Event<'b>, context: &mut Context<'_, 'b>) -> Outcome {
        if let Over::Objects(list) = &self.over {
            let found = self.translate_objects(list, event, context);
            return Outcome::of(found);
        }
        if !self.overwrite && self.target.get(event).is_some() {
            return Outcome::Unapplied;
        }
        if self.source.get(event).is_none() {
            return Outcome::Unapplied;
        }
        let found = match self.over {
            Over::Values => self.translate_values(event, context),
            Over::Field | Over::Objects(_) => self.translate_field(event, context),
        };
        // COMPAT: in its own place a translation always counts as done.
        Outcome::of(found || self.in_place)
    }
}

/// The place of an element as a key.
fn index_key(index: usize, arena: &Bump) -> Key<'_> {
    Key::new(arena.alloc_str(&index.to_string()))
}

fn is_same(left: &FieldReference, right: &FieldReference) -> bool {
    left.is_metadata() == right.is_metadata() && left.keys() == right.keys()
}

/// The field of an option that had another name before.
fn either(
    options: &mut Options<'_>,
    name: &'static str,
    old: &'static str,
) -> Option<FieldReference> {
    let new_value = options.field(name);
    if !options.has(old) {
        options.value(old);
        return Some(new_value?.value);
    }
    if options.has(name) {
        options.value(old);
        options.error(
            old,
            format!("`{old}` is the old name of `{name}`: remove `{old} => …`"),
        );
        return None;
    }
    options.deprecated(old, &format!("write `{name}`"));
    Some(options.field(old)?.value)
}

/// The dictionary of the options, and its file among the watched ones.
fn read_dictionary(
    options: &mut Options<'_>,
    build: &mut Build<'_>,
) -> Option<Arc<Reloadable<Dictionary>>> {
    let exact = options.boolean("exact").unwrap_or(true);
    let regex = options.boolean("regex").unwrap_or(false);
    let search = match (exact, regex) {
        (true, false) => Search::Exact,
        (true, true) => Search::Regex,
        // COMPAT: keys are no expressions when parts of the text are replaced.
        (false, _) => Search::Parts,
    };
    let merge = options
        .enumeration("refresh_behaviour", &[("merge", true), ("replace", false)])
        .unwrap_or(true);
    let interval = options
        .number("refresh_interval")
        .unwrap_or(REFRESH_INTERVAL.as_secs_f64());
    // COMPAT: files are always read as a whole.
    options.enumeration("yaml_load_strategy", &[("one_shot", ()), ("streaming", ())]);
    let limit = options.integer("yaml_dictionary_code_point_limit", 1..=i64::MAX);
    let has_entries = options.has("dictionary");
    let mut entries = Vec::new();
    for entry in options.hash("dictionary").unwrap_or_default() {
        match OwnedValue::from_option(&entry.value.value) {
            Some(value) => entries.push((entry.key.value.into_bytes(), value)),
            None => options.mismatch("dictionary", entry.value, "a hash of values"),
        }
    }
    let Some(path) = options.spanned_string("dictionary_path") else {
        return match Dictionary::new(entries, search) {
            Ok(dictionary) => Some(Arc::new(Reloadable::new(dictionary))),
            Err(error) => {
                options.error("dictionary", format!("`dictionary`: {error}"));
                None
            }
        };
    };
    if has_entries {
        options.error(
            "dictionary",
            "`dictionary` and `dictionary_path` exclude each other; put all entries into one",
        );
    }
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let format = match Format::of_file(&path.value, limit) {
        Ok(format) => format,
        Err(error) => {
            options.error("dictionary_path", error);
            return None;
        }
    };
    let file = FilePath::new(&path.value);
    let load = move |contents: Vec<u8>, old: Option<&Dictionary>| {
        let entries = format.read(&contents)?;
        match old {
            Some(old) if merge => old.merged(entries),
            _ => Dictionary::new(entries, search),
        }
    };
    let first = match build.files.read(file) {
        Ok(contents) => load(contents, None),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    let dictionary = match first {
        Ok(dictionary) => Arc::new(Reloadable::new(dictionary)),
        Err(error) => {
            options.error(
                "dictionary_path",
                format!("dictionary {}: {error}", path.value),
            );
            return None;
        }
    };
    // COMPAT: zero or less turns looking off.
    if interval > 0.0 {
        let interval = Duration::try_from_secs_f64(interval).unwrap_or(LONGEST_DURATION);
        let shared = Arc::clone(&dictionary);
        build.watched.push(WatchedFile::new(
            file.to_owned(),
            interval,
            move |contents| {
                let old = shared.current();
                shared.replace(load(contents, Some(&old))?);
                Ok(())
            },
        ));
    }
    Some(dictionary)
}
