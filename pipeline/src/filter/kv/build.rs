//! The options of `kv`.

use super::scan::{Scanner, Splitters};
use super::{Changes, Characters, DEFAULT_MAX_FIELDS, Default, Keys, Kv};
use crate::Build;
use crate::event::{MESSAGE, Path};
use crate::filter::char_class::ByteSet;
use crate::filter::common::{tags, template};
use crate::filter::mutate::texts::Case;
use crate::language::{self, Number, Options};
use crate::regex_dialect::Regex;
use crate::template::Template;

/// The most that `max_fields` may be.
const HIGHEST_MAX_FIELDS: usize = 10_000;

impl Kv {
    /// Reads the options; what is wrong goes to the diagnostics.
    pub fn from_options(options: &mut Options<'_>, build: &mut Build<'_>) -> Option<Self> {
        // COMPAT: changes nothing but a hint in Logstash's log.
        build.ecs(options);
        let source = options.field("source").map(|source| source.value);
        let target = options.field("target").map(|target| target.value);
        let scanner = scanner(options);
        let key = changes(options, "trim_key", "remove_char_key", "transform_key");
        let value = changes(
            options,
            "trim_value",
            "remove_char_value",
            "transform_value",
        );
        // COMPAT: patterns run in linear time, or in a bounded number of steps; both ways there is
        // nothing left to time.
        options.integer("timeout_millis", 0..=i64::MAX);
        let tag_on_timeout = options
            .string("tag_on_timeout")
            .unwrap_or_else(|| "_kv_filter_timeout".into());
        let prefix = options.string("prefix").unwrap_or_default();
        Some(Self {
            source: source.map_or_else(
                || Path::new([MESSAGE.as_str()]),
                |source| Path::from(&source),
            ),
            target: target.map(|target| Path::from(&target)),
            key,
            value,
            prefix: template(options, "prefix", &prefix)?,
            include: keys(options, "include_keys"),
            exclude: keys(options, "exclude_keys"),
            defaults: defaults(options),
            allow_duplicate_values: options.boolean("allow_duplicate_values").unwrap_or(true),
            allow_empty_values: options.boolean("allow_empty_values").unwrap_or(false),
            recursive: options.boolean("recursive").unwrap_or(false),
            max_fields: options
                .count("max_fields", 1..=HIGHEST_MAX_FIELDS)
                .unwrap_or(DEFAULT_MAX_FIELDS),
            tags_on_failure: tags(options, "tag_on_failure", &["_kv_filter_error"]),
            tag_on_timeout: tag_on_timeout.into_bytes().into(),
            escape_style: options.escape_style(),
            scanner: scanner?,
        })
    }
}

/// What finds the pairs.
fn scanner(options: &mut Options<'_>) -> Option<Scanner> {
    let field = options.string("field_split");
    let value = options.string("value_split");
    let field_pattern = options.string("field_split_pattern");
    let value_pattern = options.string("value_split_pattern");
    let lenient = options
        .enumeration("whitespace", &[("lenient", true), ("strict", false)])
        .unwrap_or(true);
    let brackets = options.boolean("include_brackets").unwrap_or(true);
    for (name, text) in [
        ("field_split", &field),
        ("value_split", &value),
        ("field_split_pattern", &field_pattern),
        ("value_split_pattern", &value_pattern),
    ] {
        if text.as_deref() == Some("") {
            options.error(name, format!("`{name}` must not be empty"));
            return None;
        }
    }
    for (name, text) in [("field_split", &field), ("value_split", &value)] {
        if text.as_deref().is_some_and(|text| text.starts_with('^')) {
            options.error(
                name,
                format!(
                    "`{name}` must not start with `^`, which Logstash takes in two contrary ways; write `\\^` \
                     for the character, or use `{name}_pattern`"
                ),
            );
            return None;
        }
    }
    let field = field.unwrap_or_else(|| " ".into());
    let value = value.unwrap_or_else(|| "=".into());
    if field_pattern.is_none()
        && value_pattern.is_none()
        && let (Some(field), Some(value)) = (ByteSet::parse(&field), ByteSet::parse(&value))
    {
        return Some(Scanner {
            splitters: Splitters::Sets { field, value },
            lenient,
            brackets,
        });
    }
    // COMPAT: where an expression ends a key or value, it cannot span lines.
    let lines_in_keys = field_pattern.is_none() && value_pattern.is_none();
    let lines_in_values = field_pattern.is_none();
    let characters = format!("[{value}{field}]");
    let (field_name, field) = match field_pattern {
        Some(pattern) => ("field_split_pattern", pattern),
        None => ("field_split", format!("[{field}]")),
    };
    let (value_name, value) = match value_pattern {
        Some(pattern) => ("value_split_pattern", pattern),
        None => ("value_split", format!("[{value}]")),
    };
    let spaces = if lenient { " *" } else { "" };
    let value = format!("{spaces}(?:{value}){spaces}");
    let key_end = if lines_in_keys {
        characters
    } else {
        format!("(?:{value})|(?:{field})")
    };
    let field = expression(options, field_name, &field);
    let value = expression(options, value_name, &value);
    // What is wrong with it has been said.
    let key_end = Regex::new(&key_end).ok();
    Some(Scanner {
        splitters: Splitters::Patterns {
            field: field?,
            value: value?,
            key_end: key_end?,
            lines_in_keys,
            lines_in_values,
        },
        lenient,
        brackets,
    })
}

fn changes(
    options: &mut Options<'_>,
    trim: &'static str,
    remove: &'static str,
    case: &'static str,
) -> Changes {
    Changes {
        trim: characters(options, trim, |class| format!("^[{class}]+|[{class}]+$")),
        remove: characters(options, remove, |class| format!("[{class}]")),
        case: options.enumeration(
            case,
            &[
                ("lowercase", Case::Lower),
                ("uppercase", Case::Upper),
                ("capitalize", Case::Capital),
            ],
        ),
    }
}

fn characters(
    options: &mut Options<'_>,
    name: &'static str,
    pattern: fn(&str) -> String,
) -> Option<Characters> {
    let class = options.string(name)?;
    Some(Characters {
        set: ByteSet::parse(&class),
        regex: expression(options, name, &pattern(&class))?,
    })
}

fn expression(options: &mut Options<'_>, name: &'static str, pattern: &str) -> Option<Regex> {
    match Regex::new(pattern) {
        Ok(regex) => {
            if !regex.is_linear() {
                options.warning(
                    name,
                    format!("`{name}` runs in the bounded fallback engine, which is slow"),
                );
            }
            Some(regex)
        }
        Err(error) => {
            options.error(
                name,
                format!("`{name}` makes no regular expression: {error}"),
            );
            None
        }
    }
}

fn keys(options: &mut Options<'_>, name: &'static str) -> Option<Keys> {
    let texts = options.strings(name)?;
    if texts.is_empty() {
        return None;
    }
    let templates: Vec<_> = texts
        .iter()
        .filter_map(|text| template(options, name, &text.value))
        .collect();
    if templates.iter().all(Template::is_literal) {
        let texts = texts.into_iter().map(|text| text.value.into_bytes().into());
        let mut keys: Vec<Box<[u8]>> = texts.collect();
        keys.sort_unstable();
        return Some(Keys::Fixed(keys.into()));
    }
    Some(Keys::Filled(templates.into()))
}

fn defaults(options: &mut Options<'_>) -> Box<[(Box<str>, Default)]> {
    let mut defaults = Vec::new();
    for entry in options.hash("default_keys").unwrap_or_default() {
        let value = match &entry.value.value {
            language::Value::Number(Number::Integer(integer)) => Some(Default::Integer(*integer)),
            language::Value::Number(Number::Decimal(decimal)) => Some(Default::Float(*decimal)),
            _ => options
                .text_in("default_keys", entry.value)
                .map(|text| Default::Text(text.value.into_bytes().into())),
        };
        defaults.extend(value.map(|value| (entry.key.value.into_boxed_str(), value)));
    }
    defaults.into()
}
