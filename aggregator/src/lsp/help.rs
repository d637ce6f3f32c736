//! What can be written at a place, and what it means.
//!
//! Names and types are those that the plugins ask for when they are built; the words about them are
//! the manual's.

use serde_json::{Value as Json, json};
use skidder_grok::PatternSet;
use skidder_lumberjack::ByteBudget;
use skidder_pipeline::codec::{CodecDefaults, build_codec};
use skidder_pipeline::filter::ScratchSlots;
use skidder_pipeline::language::{
    Diagnostics, KnownOption, OptionKind, OptionStatus, ParseOptions, Plugin, SourceMap, Span,
    Spanned, Statement, parse,
};
use skidder_pipeline::lint::fields_at;
use skidder_pipeline::{Build, FilterStep, NoFiles};

use super::context::{self, Place, Value};
use super::document::Document;
use crate::manual::{self, PluginKind};
use crate::settings::Settings;
use crate::{check, input, output};

/// Kinds of completion items, as the protocol numbers them.
mod item {
    pub(super) const FIELD: u8 = 5;
    pub(super) const MODULE: u8 = 9;
    pub(super) const PROPERTY: u8 = 10;
    pub(super) const VALUE: u8 = 12;
    pub(super) const KEYWORD: u8 = 14;
    pub(super) const CONSTANT: u8 = 21;
}

/// Most proposals of one kind.
const MAX_PROPOSALS: usize = 1000;

/// What can be written at a byte of a document.
pub(super) fn complete(document: &Document, offset: usize, settings: &Settings) -> Vec<Json> {
    let context = context::at_end(&document.text[..offset]);
    let start = offset - context.prefix.len();
    let mut items = Items {
        range: document.range(start..offset),
        items: Vec::new(),
    };
    match &context.place {
        Place::Section => {
            for name in ["input", "filter", "output"] {
                items.add(name, item::KEYWORD, "section", None, name);
            }
        }
        Place::Statement(kind) => {
            for name in kind.names() {
                let text = plugin_text(*kind, name);
                items.add(name, item::MODULE, kind.word(), Some(text), name);
            }
            if *kind != PluginKind::Input {
                items.add("if", item::KEYWORD, "branch", None, "if");
                items.add("else", item::KEYWORD, "branch", None, "else");
            }
        }
        Place::Option {
            kind,
            plugin,
            written,
        } => {
            for option in options(*kind, plugin, settings) {
                if option.status == OptionStatus::Unsupported
                    || written.iter().any(|name| name == option.name)
                {
                    continue;
                }
                let text = option_text(*kind, plugin, &option);
                let written = format!("{} => ", option.name);
                let detail = option.kind.describe();
                items.add(option.name, item::PROPERTY, &detail, Some(text), &written);
            }
        }
        Place::Value(value) => values(value, document, offset, settings, &mut items),
        Place::Template(value) if takes_patterns(value) => {
            // Behind the colon the field is for the writer to name.
            if !context.prefix.contains(':') {
                for name in patterns(settings).names() {
                    items.add(name, item::CONSTANT, "pattern", None, name);
                }
            }
        }
        Place::Template(_) => fields(document, offset, settings, &mut items),
        Place::Field { before } => {
            let known = known_fields(document, offset, settings);
            for (name, by) in known.iter() {
                let name = name.bracketed();
                let below = name.strip_prefix(before.as_str());
                if let Some(rest) = below.and_then(|rest| rest.strip_prefix('[')) {
                    let label = rest.trim_end_matches(']');
                    items.add(label, item::FIELD, by, None, label);
                }
            }
        }
        Place::Nothing => {}
    }
    items.items
}

/// What the manual says about what stands at a byte of a document, as Markdown, and its bytes.
pub(super) fn hover(
    document: &Document,
    offset: usize,
    settings: &Settings,
) -> Option<(String, std::ops::Range<usize>)> {
    let text = &document.text;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'@');
    let end = offset
        + text.as_bytes()[offset..]
            .iter()
            .take_while(|byte| is_part(byte))
            .count();
    let before = text.as_bytes()[..offset].iter().rev();
    let start = offset - before.take_while(|byte| is_part(byte)).count();
    let word = &text[start..end];
    if word.is_empty() {
        return None;
    }
    let said = match context::at_end(&text[..end]).place {
        Place::Statement(kind) if kind.names().contains(&word) => plugin_text(kind, word),
        Place::Option { kind, plugin, .. } => {
            let options = options(kind, &plugin, settings);
            let option = options.into_iter().find(|option| option.name == word)?;
            option_text(kind, &plugin, &option)
        }
        Place::Template(value) if takes_patterns(&value) => {
            let set = patterns(settings);
            let definition = set.definition(word)?;
            let file = set.file_of(word).unwrap_or("standard");
            format!("pattern `{word}` ({file})\n\n```\n{definition}\n```")
        }
        Place::Template(_) | Place::Field { .. } => {
            let known = known_fields(document, offset, settings);
            let (name, by) = known.iter().find(|(name, _)| name.plain() == word)?;
            format!("field `{}`, set by {by}", name.plain())
        }
        Place::Value(value)
            if value.option == "codec" && PluginKind::Codec.names().contains(&word) =>
        {
            plugin_text(PluginKind::Codec, word)
        }
        _ => return None,
    };
    Some((said, start..end))
}

/// The options of a plugin, as it asks for them.
pub(super) fn options(kind: PluginKind, name: &str, settings: &Settings) -> Vec<KnownOption> {
    let place = Span::default();
    let plugin = Plugin {
        name: Spanned::new(name.to_owned(), place),
        attributes: Vec::new(),
        span: place,
    };
    let mut notes = Diagnostics::noting_options();
    match kind {
        PluginKind::Filter => {
            let mut build = Build {
                ecs: settings.ecs_compatibility.is_enabled(),
                escape_style: settings.escape_style,
                files: &NoFiles,
                slots: &mut ScratchSlots::default(),
                watched: &mut Vec::new(),
            };
            drop(FilterStep::build(&plugin, &mut build, &mut notes));
        }
        PluginKind::Input => {
            let budget = ByteBudget::new(0);
            let plugin = [Statement::Plugin(plugin)];
            drop(input::build(settings, &plugin, &budget, &mut notes));
        }
        PluginKind::Output => drop(output::build(settings, &[plugin], &mut notes)),
        PluginKind::Codec => drop(build_codec(&plugin, CodecDefaults::default(), &mut notes)),
    }
    let mut noted = notes.noted_options().iter();
    let asked = noted.find(|noted| noted.kind == kind.word() && noted.plugin == name);
    asked.map(|noted| noted.options.clone()).unwrap_or_default()
}

struct Items {
    /// What is replaced.
    range: Json,
    items: Vec<Json>,
}

impl Items {
    fn add(&mut self, label: &str, kind: u8, detail: &str, text: Option<String>, written: &str) {
        if self.items.len() >= MAX_PROPOSALS {
            return;
        }
        let mut item = json!({
            "label": label, "kind": kind, "detail": detail,
            "textEdit": { "range": self.range, "newText": written },
        });
        if let Some(text) = text {
            item["documentation"] = markdown(&text);
        }
        self.items.push(item);
    }
}

pub(super) fn markdown(text: &str) -> Json {
    json!({ "kind": "markdown", "value": text })
}

fn values(
    value: &Value,
    document: &Document,
    offset: usize,
    settings: &Settings,
    items: &mut Items,
) {
    let options = options(value.kind, &value.plugin, settings);
    let Some(option) = options.iter().find(|option| option.name == value.option) else {
        return;
    };
    match &option.kind {
        OptionKind::Codec => {
            for name in PluginKind::Codec.names() {
                let text = plugin_text(PluginKind::Codec, name);
                items.add(name, item::MODULE, "codec", Some(text), name);
            }
        }
        OptionKind::Field | OptionKind::Fields => fields(document, offset, settings, items),
        _ if takes_patterns(value) && value.is_key => fields(document, offset, settings, items),
        kind => {
            for word in kind.words() {
                items.add(word, item::VALUE, value.option.as_str(), None, word);
            }
        }
    }
}

fn fields(document: &Document, offset: usize, settings: &Settings, items: &mut Items) {
    for (name, by) in known_fields(document, offset, settings).iter() {
        let name = name.plain();
        items.add(&name, item::FIELD, by, None, &name);
    }
}

/// The fields that are known behind the plugins before a place.
fn known_fields(
    document: &Document,
    offset: usize,
    settings: &Settings,
) -> skidder_pipeline::lint::KnownFields {
    let sources = SourceMap::single("", document.text.as_str());
    let parsing = ParseOptions {
        support_escapes: settings.support_escapes,
        escape_style: settings.escape_style,
    };
    let config = parse(&sources, parsing, &mut Diagnostics::new());
    let place = Span::new(0, offset, offset);
    fields_at(&config, check::field_check(settings), Some(place))
}

/// Whether `%{…}` in a value names a pattern, not a field.
fn takes_patterns(value: &Value) -> bool {
    value.plugin == "grok" && matches!(value.option.as_str(), "match" | "pattern_definitions")
}

fn patterns(settings: &Settings) -> PatternSet {
    if settings.ecs_compatibility.is_enabled() {
        PatternSet::ecs_v1()
    } else {
        PatternSet::legacy()
    }
}

fn plugin_text(kind: PluginKind, name: &str) -> String {
    let summary = manual::summary(kind, name).unwrap_or_default();
    let link = manual::plugin_link(kind, name);
    format!("{} `{name}`\n\n{summary}\n\n{}", kind.word(), linked(&link))
}

fn option_text(kind: PluginKind, plugin: &str, option: &KnownOption) -> String {
    let said = manual::options(kind, plugin);
    let said = said.iter().find(|text| text.name == option.name);
    let kind_of_value = option.kind.describe();
    let default = said
        .map(|said| said.default)
        .filter(|text| !text.is_empty());
    let default = default.map_or_else(String::new, |text| format!(", default {text}"));
    let meaning = said.map_or("", |said| said.meaning);
    let status = match option.status {
        OptionStatus::Current => "",
        OptionStatus::Deprecated => "\n\nDeprecated.",
        OptionStatus::Unsupported => "\n\nNot supported here.",
        OptionStatus::WithoutEffect => "\n\nAccepted, does nothing here.",
    };
    let link = manual::plugin_link(kind, plugin);
    format!(
        "`{}`: {kind_of_value}{default}\n\n{meaning}{status}\n\n{}",
        option.name,
        linked(&link)
    )
}

fn linked(link: &str) -> String {
    format!("[{link}]({})", manual::address(link))
}
