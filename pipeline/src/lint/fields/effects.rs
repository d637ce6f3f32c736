//! What plugins do to the fields of an event, as far as the configuration tells.
//!
//! A plugin that is not known here may set anything.

use std::collections::{HashMap, HashSet};

use skidder_grok::{GroupKind, PartKind, PatternSet, outline};

use super::{FieldCheck, FieldName, KnownFields};
use crate::language::{FieldReference, Plugin, Spanned, Value};

/// Gathers what is set.
pub(super) struct Effects<'s> {
    pub(super) known: KnownFields,
    patterns: &'s PatternSet,
    check: FieldCheck,
}

impl<'s> Effects<'s> {
    pub(super) fn new(patterns: &'s PatternSet, check: FieldCheck) -> Self {
        Self {
            known: KnownFields::default(),
            patterns,
            check,
        }
    }

    /// What every event has, or may have from any input.
    pub(super) fn of_every_event(&mut self) {
        for name in ["message", "@timestamp", "@version", "tags", "type", "host"] {
            self.set(name, "every input");
        }
        for tree in ["host", "event", "log", "path"] {
            self.below(tree);
        }
    }

    pub(super) fn of_input(&mut self, plugin: &Plugin) {
        self.common(plugin);
        let codec = option(plugin, "codec").map(|value| match value {
            Value::Plugin(codec) => codec.name.value.as_str(),
            other => other.as_text().unwrap_or_default(),
        });
        let plain = matches!(codec, None | Some("plain" | "line" | "multiline"));
        match plugin.name.value.as_str() {
            "stdin" | "generator" if plain => {
                self.set("sequence", &by(plugin));
            }
            _ => {
                self.known.open = true;
                self.known.metadata_open = true;
            }
        }
    }

    pub(super) fn of_filter(&mut self, plugin: &Plugin) {
        self.common(plugin);
        let by = by(plugin);
        let target = texts(plugin, "target").into_iter().next();
        let source = texts(plugin, "source").into_iter().next();
        let target_or = |default: &str| target.clone().unwrap_or_else(|| default.to_owned());
        match plugin.name.value.as_str() {
            "grok" => self.grok(plugin, target.as_deref()),
            "dissect" => self.dissect(plugin),
            "mutate" => self.mutate(plugin),
            "date" => self.set(&target_or("@timestamp"), &by),
            "bytes" | "fingerprint" | "json_encode" | "sampling" | "uuid" => {
                self.set_some(target.as_deref().or(source.as_deref()), &by);
                self.set(&target_or("fingerprint"), &by);
            }
            "json" | "kv" | "csv" => match &target {
                Some(target) => {
                    self.set(target, &by);
                    self.below(target);
                }
                None => {
                    if plugin.name.value == "csv" {
                        for column in texts(plugin, "columns") {
                            self.set(&column, &by);
                        }
                    }
                    self.known.open = true;
                    self.known.metadata_open |= plugin.name.value == "json";
                }
            },
            "geoip" | "useragent" | "tld" | "syslog_pri" | "elapsed" => {
                match plugin.name.value.as_str() {
                    "syslog_pri" => {
                        for what in ["facility", "severity"] {
                            self.set(&format!("syslog_{what}"), &by);
                            self.set(&format!("syslog_{what}_code"), &by);
                        }
                    }
                    "elapsed" => {
                        self.set("elapsed_time", &by);
                        self.set("elapsed_timestamp_start", &by);
                    }
                    name => {
                        let default = if name == "useragent" {
                            "user_agent"
                        } else {
                            name
                        };
                        self.set(&target_or(default), &by);
                        self.below(&target_or(default));
                    }
                }
                // With ECS, and without a target, names that the source decides about.
                self.known.open |= target.is_none() && plugin.name.value != "tld";
            }
            "translate" => {
                let destination = texts(plugin, "destination").into_iter().next();
                self.set_some(destination.as_deref(), &by);
                self.set(&target_or("translation"), &by);
                self.known.open |= option(plugin, "iterate_on").is_some();
            }
            "split" => {
                let field = texts(plugin, "field").into_iter().next();
                let field = target.or(field).unwrap_or_else(|| "message".into());
                self.set(&field, &by);
                self.below(&field);
            }
            "clone" => self.set("type", &by),
            "anonymize" | "cidr" | "dedupe" | "dns" | "drop" | "prune" | "redact" | "sleep"
            | "throttle" | "truncate" | "urldecode" => {}
            _ => {
                self.known.open = true;
                self.known.metadata_open = true;
            }
        }
    }

    /// `add_field`, which all have.
    fn common(&mut self, plugin: &Plugin) {
        for name in keys(plugin, "add_field") {
            self.set(&name, &by(plugin));
        }
    }

    fn mutate(&mut self, plugin: &Plugin) {
        let by = by(plugin);
        for option in ["update", "replace", "coerce", "merge"] {
            for name in keys(plugin, option) {
                self.set(&name, &by);
            }
        }
        for option in ["rename", "copy"] {
            for name in hash_texts(plugin, option) {
                self.set(&name, &by);
                self.below(&name);
            }
        }
    }

    fn dissect(&mut self, plugin: &Plugin) {
        let by = by(plugin);
        for mapping in hash_texts(plugin, "mapping") {
            for piece in mapping.split("%{").skip(1) {
                let inside = piece.split('}').next().unwrap_or_default();
                let name = inside.strip_suffix("->").unwrap_or(inside);
                let bare = name.trim_start_matches(['+', '?']);
                let bare = bare.split('/').next().unwrap_or(bare);
                match name.as_bytes().first() {
                    None => {}
                    // Names that are in the line.
                    Some(b'&' | b'*') => self.known.open = true,
                    _ => self.set(bare, &by),
                }
            }
        }
    }

    fn grok(&mut self, plugin: &Plugin, target: Option<&str>) {
        let mut own = HashMap::new();
        if let Some(Value::Hash(entries)) = option(plugin, "pattern_definitions") {
            for entry in entries {
                let definition = entry.value.value.as_text().unwrap_or_default();
                own.insert(entry.key_text(), definition.to_owned());
            }
        }
        let named_only = option(plugin, "named_captures_only").and_then(Value::as_text);
        self.known.open |= named_only == Some("false");
        let mut captures = Captures {
            standard: self.patterns,
            own,
            seen: HashSet::new(),
            names: Vec::new(),
            unknown: false,
        };
        for expression in hash_texts(plugin, "match") {
            captures.of(&expression);
        }
        // Patterns of files may capture anything.
        self.known.open |= captures.unknown;
        let by = by(plugin);
        for name in captures.names {
            let Some(target) = target else {
                self.set(&name, &by);
                continue;
            };
            let style = self.check.escape_style;
            let outer = FieldReference::parse_with(target, style);
            let inner = FieldReference::parse_with(&name, style);
            if let (Ok(outer), Ok(inner)) = (outer, inner) {
                let mut whole = FieldName::new(&outer);
                whole.keys.extend_from_slice(inner.keys());
                self.known.set.push((whole, by.clone()));
            }
        }
    }

    fn set_some(&mut self, name: Option<&str>, by: &str) {
        if let Some(name) = name {
            self.set(name, by);
        }
    }

    /// A field that is set. A name that the event decides about may be any.
    fn set(&mut self, name: &str, by: &str) {
        if name.contains("%{") {
            self.known.open = true;
            self.known.metadata_open = true;
        } else if let Ok(reference) = FieldReference::parse_with(name, self.check.escape_style) {
            let name = FieldName::new(&reference);
            if name.keys.is_empty() {
                self.known.metadata_open = true;
            } else {
                self.known.set.push((name, by.to_owned()));
            }
        }
    }

    /// A field below which there may be anything.
    fn below(&mut self, name: &str) {
        if let Ok(reference) = FieldReference::parse_with(name, self.check.escape_style) {
            self.known.subtrees.push(FieldName::new(&reference));
        }
    }
}

/// What an expression captures, by way of all patterns that it names.
struct Captures<'s> {
    standard: &'s PatternSet,
    own: HashMap<String, String>,
    seen: HashSet<String>,
    names: Vec<String>,
    /// Some pattern is not known.
    unknown: bool,
}

impl Captures<'_> {
    fn of(&mut self, expression: &str) {
        for part in outline(expression) {
            match &part.kind {
                PartKind::Reference {
                    name,
                    field,
                    definition,
                    ..
                } => {
                    self.names.extend(field.map(str::to_owned));
                    if let Some(definition) = definition {
                        self.of(&expression[definition.clone()]);
                    } else if self.seen.insert((*name).to_owned()) {
                        let own = self.own.get(*name).cloned();
                        let standard = || self.standard.definition(name).map(str::to_owned);
                        match own.or_else(standard) {
                            Some(definition) => self.of(&definition),
                            None => self.unknown = true,
                        }
                    }
                }
                PartKind::Group { kind, inside } => {
                    if *kind == GroupKind::Named {
                        let opening = &expression[part.range.start..inside.start];
                        let name = opening.split(['<', '\'']).nth(1);
                        let name = name.and_then(|name| name.split(['>', '\'']).next());
                        self.names.extend(name.map(str::to_owned));
                    }
                    if inside.len() < expression.len() {
                        self.of(&expression[inside.clone()]);
                    }
                }
                _ => {}
            }
        }
    }
}

/// A plugin for people.
fn by(plugin: &Plugin) -> String {
    format!("`{}`", plugin.name.value)
}

fn option<'p>(plugin: &'p Plugin, name: &str) -> Option<&'p Value> {
    let attribute = plugin
        .attributes
        .iter()
        .find(|each| each.name.value == name);
    attribute.map(|attribute| &attribute.value.value)
}

fn texts(plugin: &Plugin, name: &str) -> Vec<String> {
    let attribute = plugin
        .attributes
        .iter()
        .find(|each| each.name.value == name);
    let texts = attribute.map(|attribute| text_elements(&attribute.value));
    texts.into_iter().flatten().map(|text| text.value).collect()
}

/// The texts of a value: its own, or those of its elements.
pub(super) fn text_elements(value: &Spanned<Value>) -> Vec<Spanned<String>> {
    let each = |value: &Spanned<Value>| {
        let text = value.value.as_text()?.to_owned();
        Some(Spanned::new(text, value.span))
    };
    match &value.value {
        Value::Array(values) => values.iter().filter_map(each).collect(),
        _ => each(value).into_iter().collect(),
    }
}

/// The keys of a hash, or of an array that stands for one.
fn keys(plugin: &Plugin, name: &str) -> Vec<String> {
    match option(plugin, name) {
        Some(Value::Hash(entries)) => entries
            .iter()
            .map(crate::language::HashEntry::key_text)
            .collect(),
        Some(Value::Array(_)) => texts(plugin, name).into_iter().step_by(2).collect(),
        _ => Vec::new(),
    }
}

/// The texts in the values of a hash, or of an array that stands for one.
fn hash_texts(plugin: &Plugin, name: &str) -> Vec<String> {
    match option(plugin, name) {
        Some(Value::Hash(entries)) => {
            let values = entries.iter().flat_map(|entry| text_elements(&entry.value));
            values.map(|text| text.value).collect()
        }
        Some(Value::Array(_)) => texts(plugin, name).into_iter().skip(1).step_by(2).collect(),
        _ => Vec::new(),
    }
}
