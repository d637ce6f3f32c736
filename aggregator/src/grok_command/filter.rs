//! The expressions of a command line as the filter `grok`: what it does with a line is what a
//! pipeline would do, and what is wrong with them is reported as it would be there.

use std::path::Path;

use bumpalo::Bump;
use skidder_pipeline::event::{self, Event, Name, Value};
use skidder_pipeline::filter::Scratch;
use skidder_pipeline::language::{
    Attribute, Config, Diagnostics, EscapeStyle, HashEntry, Plugin, SourceMap, Span, Spanned,
    Statement, Value as OptionValue,
};
use skidder_pipeline::{CompileOptions, Pipeline};

use super::Refused;
use super::arguments::{Expressions, Library};
use crate::commands::Disk;
use crate::worker::now;

/// The field that a line is in: one that no capture goes to.
const LINE: &str = "line";
const LINE_FIELD: &str = "[@metadata][line]";
/// The tags of a line that did not match.
const FAILURE_TAG: &str = "_grokparsefailure";
const TIMEOUT_TAG: &str = "_groktimeout";

/// The filter, compiled.
pub(super) struct GrokFilter {
    pipeline: Pipeline,
    /// What is odd about the expressions, as text.
    pub(super) warnings: String,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Match,
    NoMatch,
}

/// An expression with the place it came from.
pub(super) type Expression = Spanned<String>;

/// The expressions in order, and the texts they stand in.
pub(super) fn expressions(wanted: &Expressions) -> Result<(Vec<Expression>, SourceMap), Refused> {
    let mut sources = SourceMap::new();
    let mut found = Vec::new();
    for (index, text) in wanted.given.iter().enumerate() {
        let name = match wanted.given.len() {
            1 => "pattern".to_owned(),
            _ => format!("pattern {}", index + 1),
        };
        let source = sources.add(name, text.as_str());
        found.push(Spanned::new(text.clone(), Span::new(source, 0, text.len())));
    }
    if let Some(path) = &wanted.file {
        let text = read_text(path)?;
        let source = sources.add(path.display().to_string(), text.as_str());
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let expression = line.trim_end_matches(['\n', '\r']);
            if !expression.is_empty() && !expression.starts_with('#') {
                let span = Span::new(source, start, start + expression.len());
                found.push(Spanned::new(expression.to_owned(), span));
            }
            start += line.len();
        }
    }
    if found.is_empty() {
        return Err(Refused::Message("there is no pattern in the file".into()));
    }
    Ok((found, sources))
}

fn read_text(path: &Path) -> Result<String, Refused> {
    let refused = |error: &dyn std::fmt::Display| {
        Refused::Message(format!(
            "cannot read the patterns {}: {error}",
            path.display()
        ))
    };
    let length = std::fs::metadata(path)
        .map_err(|error| refused(&error))?
        .len();
    if length > crate::sources::MAX_FILE_BYTES {
        return Err(refused(&"the file is too large"));
    }
    std::fs::read_to_string(path).map_err(|error| refused(&error))
}

impl GrokFilter {
    pub(super) fn new(wanted: &Expressions, keep_empty: bool) -> Result<Self, Refused> {
        let (expressions, mut sources) = expressions(wanted)?;
        let plugin = plugin(wanted, &expressions, keep_empty, &mut sources);
        let config = Config {
            filters: vec![Statement::Plugin(plugin)],
            ..Config::default()
        };
        let options = CompileOptions {
            ecs: wanted.library.ecs,
            escape_style: EscapeStyle::None,
            files: &Disk,
        };
        let mut diagnostics = Diagnostics::new();
        let pipeline = skidder_pipeline::compile(&config, &options, &mut diagnostics);
        let findings = diagnostics.render(&sources, crate::log::color());
        match pipeline {
            Some(pipeline) => Ok(Self {
                pipeline,
                warnings: findings,
            }),
            None => Err(Refused::Findings(findings)),
        }
    }

    /// Matches a line and appends what it captures to `out`, as JSON.
    pub(super) fn apply<'b>(
        &'b self,
        line: &'b [u8],
        arena: &'b Bump,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Answer {
        let mut event = Event::new_in(arena);
        event.metadata.push_new(Name::new(LINE), Value::Text(line));
        let mut answer = Answer::Match;
        self.pipeline
            .filters
            .run(event, arena, now(), scratch, |mut event| {
                if is_tagged(&event) {
                    answer = Answer::NoMatch;
                    let tags = event.fields.remove(&event::TAGS);
                    event.fields.push_new(event::MESSAGE, Value::Text(line));
                    event.fields.set(event::TAGS, tags.unwrap_or(Value::Null));
                }
                event::write_json(&event, out);
                out.push(b'\n');
            });
        answer
    }
}

/// Whether the filter tagged the event; a capture called `tags` looks different, since the tag
/// that the filter adds is the only field then.
fn is_tagged(event: &Event<'_>) -> bool {
    let Some(Value::Array(tags)) = event.fields.get(&event::TAGS) else {
        return false;
    };
    let failed = |tag: &Value<'_>| {
        let tag = tag.as_text().unwrap_or_default();
        tag == FAILURE_TAG.as_bytes() || tag == TIMEOUT_TAG.as_bytes()
    };
    event.fields.len() == 1 && tags.len() == 1 && failed(&tags[0])
}

/// The filter as the parser would have read it.
fn plugin(
    wanted: &Expressions,
    expressions: &[Expression],
    keep_empty: bool,
    sources: &mut SourceMap,
) -> Plugin {
    let nowhere = Span::default();
    let word = |text: &str| Spanned::new(OptionValue::String(text.to_owned()), nowhere);
    let list = expressions
        .iter()
        .map(|each| each.as_ref().map(|text| OptionValue::String(text.clone())))
        .collect();
    let matching = OptionValue::Hash(vec![HashEntry {
        key: word(LINE_FIELD),
        value: Spanned::new(OptionValue::Array(list), nowhere),
    }]);
    let flag = |on: bool| OptionValue::Bareword(on.to_string());
    let mut options = vec![
        ("match", matching),
        ("keep_empty_captures", flag(keep_empty)),
        ("named_captures_only", flag(!wanted.all_captures)),
    ];
    let Library {
        directories,
        definitions,
        ..
    } = &wanted.library;
    if !definitions.is_empty() {
        // A later definition of a name replaces an earlier one.
        let mut entries: Vec<HashEntry> = Vec::new();
        for (name, text) in definitions {
            let source = sources.add(format!("--define {name}"), text.as_str());
            let span = Span::new(source, 0, text.len());
            entries.retain(|entry| entry.key_text() != *name);
            entries.push(HashEntry {
                key: word(name),
                value: Spanned::new(OptionValue::String(text.clone()), span),
            });
        }
        options.push(("pattern_definitions", OptionValue::Hash(entries)));
    }
    if !directories.is_empty() {
        let mut all = Vec::new();
        for directory in directories {
            let source = sources.add("--patterns-dir", directory.as_str());
            let span = Span::new(source, 0, directory.len());
            all.push(Spanned::new(OptionValue::String(directory.clone()), span));
        }
        options.push(("patterns_dir", OptionValue::Array(all)));
    }
    let attributes = options
        .into_iter()
        .map(|(name, value)| Attribute {
            name: Spanned::new(name.to_owned(), nowhere),
            value: Spanned::new(value, nowhere),
        })
        .collect();
    Plugin {
        name: Spanned::new("grok".to_owned(), nowhere),
        attributes,
        span: nowhere,
    }
}
