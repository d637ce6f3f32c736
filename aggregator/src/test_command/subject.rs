//! What is tested: the filters of a configuration, with what is needed of its inputs and outputs.
//!
//! Nothing is listened on or connected to. Of an input only what it makes of events counts (`codec`,
//! `type`, `tags`, `add_field`), of an output only its `id` and the conditions around it, so that a
//! variable that has no value here (`${ES_PASSWORD}`) does not matter there.
//!
//! Mocks are put in before plugins are looked at: a filter that does not exist here can be replaced.

use std::path::PathBuf;
use std::sync::Arc;

use skidder_pipeline::codec::Codec;
use skidder_pipeline::language::{
    self, Config, Diagnostic, Diagnostics, Options, ParseOptions, Plugin, Section, SourceMap,
    Spanned, Statement, Value, Variables,
};
use skidder_pipeline::{CompileOptions, Pipeline};

use super::case_file::Mock;
use crate::commands::Disk;
use crate::input::decoration::Decoration;
use crate::plugins;
use crate::settings::Settings;
use crate::{manual, sources};

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// `-e`
    Text(String),
    /// `-f`
    Pattern(String),
    /// What the case files say or stand beside.
    Files(Vec<PathBuf>),
}

/// A compiled configuration.
pub(crate) struct Subject {
    config: Config,
    sources: SourceMap,
    settings: Settings,
    /// What runs.
    pub(crate) pipeline: Pipeline,
    /// Names of the outputs, by the index that the pipeline gives them.
    pub(crate) outputs: Vec<String>,
    /// A filter remembers something from event to event.
    pub(crate) remembers: bool,
    /// What it consists of, to be looked at for changes.
    pub(crate) files: Vec<PathBuf>,
    /// Mocks for which there is no plugin.
    pub(crate) unused_mocks: Vec<Spanned<String>>,
}

/// How the lines of an input become events.
pub(crate) struct Entry {
    /// The codec's name.
    pub(crate) name: String,
    pub(crate) codec: Arc<dyn Codec>,
    /// What ends a record, if records are lines of a stream.
    pub(crate) delimiter: Option<Vec<u8>>,
    /// A line end at the end of a text is none of the event's.
    pub(crate) chomp: bool,
    /// `type`, `tags` and `add_field` of the input.
    pub(crate) decoration: Decoration,
}

impl Subject {
    /// Reads and compiles a configuration; gives what to print if it is refused.
    pub(crate) fn load(
        origin: &Origin,
        mocks: &[Mock],
        settings: &Settings,
    ) -> Result<Self, String> {
        let read = match origin {
            Origin::Text(text) => Ok(sources::from_text(text)),
            Origin::Pattern(pattern) => sources::from_path(pattern),
            Origin::Files(files) => {
                let mut map = SourceMap::new();
                let mut add = |file: &PathBuf| {
                    sources::read(file).map(|text| map.add(file.to_string_lossy(), text))
                };
                files
                    .iter()
                    .try_for_each(|file| add(file).map(drop))
                    .map(|()| map)
            }
        };
        let mut sources = read.map_err(|error| format!("error: {error}\n"))?;
        let files = match origin {
            Origin::Text(_) => Vec::new(),
            _ => sources
                .iter()
                .map(|source| PathBuf::from(&source.name))
                .collect(),
        };
        let mut diagnostics = Diagnostics::new();
        let (mut config, unused_mocks) = parse(&mut sources, mocks, settings, &mut diagnostics);
        config
            .inputs
            .retain(|input| matches!(input, Statement::Plugin(_)));
        config.inputs.iter_mut().for_each(|input| {
            keep_options(input, &["id", "codec", "type", "tags", "add_field"]);
        });
        config
            .outputs
            .iter_mut()
            .for_each(|output| keep_options(output, &["id"]));
        let variables = Variables {
            secrets: &|_| None,
            environment: &|name| std::env::var(name).ok(),
        };
        language::substitute(&mut config, &variables, &mut diagnostics);
        let pipeline = compile(&config, settings, &mut diagnostics);
        manual::link_findings(&mut diagnostics, &config);
        let Some(pipeline) = pipeline else {
            return Err(diagnostics.render(&sources, crate::log::color()));
        };
        let outputs = names_of(&pipeline.output_plugins);
        let mut remembers = false;
        for_plugins(&config.filters, &mut |plugin| {
            remembers |= !is_forgetful(plugin);
        });
        Ok(Self {
            config,
            sources,
            settings: settings.clone(),
            pipeline,
            outputs,
            remembers,
            files,
            unused_mocks,
        })
    }

    /// Lets the filters forget what they remember.
    pub(crate) fn refresh(&mut self) {
        // It was compiled before: nothing can be wrong with it but a file that has gone since.
        if let Some(pipeline) = compile(&self.config, &self.settings, &mut Diagnostics::new()) {
            self.pipeline = pipeline;
        }
    }

    /// The only input there is, if there is one.
    pub(crate) fn only_input(&self) -> Option<&Plugin> {
        match self.config.inputs.as_slice() {
            [Statement::Plugin(plugin)] => Some(plugin),
            _ => None,
        }
    }

    /// The input of a name: its `id`, or the plugin's name if there is one of it only.
    pub(crate) fn input(&self, name: &str) -> Result<&Plugin, String> {
        let inputs = self.config.inputs.iter().filter_map(|input| match input {
            Statement::Plugin(plugin) => Some(plugin),
            Statement::If(_) => None,
        });
        let inputs: Vec<&Plugin> = inputs.collect();
        if let Some(input) = inputs.iter().find(|input| id_of(input) == Some(name)) {
            return Ok(input);
        }
        let mut of_name = inputs.iter().filter(|input| input.name.value == name);
        if let (Some(input), None) = (of_name.next(), of_name.next()) {
            return Ok(input);
        }
        let known: Vec<&str> = inputs
            .iter()
            .map(|input| id_of(input).unwrap_or(&input.name.value))
            .collect();
        let advice = match language::did_you_mean(name, known.iter().copied()) {
            Some(advice) => advice,
            None if known.is_empty() => "it has no input at all".to_owned(),
            None => format!("it has {}", known.join(", ")),
        };
        Err(format!(
            "the configuration has no input with the id `{name}`; {advice}"
        ))
    }

    /// How the lines of the only input are read, which nobody has named: as it would read them.
    pub(crate) fn inferred_entry(&self, input: &Plugin) -> Result<Entry, String> {
        let has_codec = input
            .attributes
            .iter()
            .any(|given| given.name.value == "codec");
        let is_stream = matches!(input.name.value.as_str(), "file" | "stdin" | "tcp" | "unix");
        let default = if is_stream { "line" } else { "plain" };
        let mut entry = self.entry(input, default)?;
        entry.chomp = !has_codec;
        Ok(entry)
    }

    /// How the lines of an input are read.
    ///
    /// COMPAT: logstash-filter-verifier gives an input that names no codec whole texts (`plain`).
    pub(crate) fn entry(&self, input: &Plugin, default: &str) -> Result<Entry, String> {
        let mut diagnostics = Diagnostics::new();
        let entry = entry(input, default, &self.settings, &mut diagnostics);
        entry.ok_or_else(|| diagnostics.render(&self.sources, false))
    }
}

/// The entry of `codec`, a text as it stands behind `codec =>`.
pub(crate) fn entry_of_codec(codec: &str, settings: &Settings) -> Result<Entry, String> {
    let text = format!("input {{ stdin {{ codec => {codec} }} }}");
    let sources = SourceMap::single("codec", text);
    let mut diagnostics = Diagnostics::new();
    let config = language::parse(&sources, parse_options(settings), &mut diagnostics);
    let entry = match config.inputs.as_slice() {
        [Statement::Plugin(input)] if !diagnostics.has_errors() => {
            entry(input, codec, settings, &mut diagnostics)
        }
        _ => None,
    };
    entry.ok_or_else(|| {
        let first = diagnostics.iter().next();
        let reason = first.map_or("it is none", |finding| finding.message.as_str());
        let hint = first.and_then(|finding| finding.hint.as_deref());
        format!(
            "`{codec}` is no codec: {reason}{}",
            hint.map_or(String::new(), |hint| format!("; {hint}"))
        )
    })
}

fn entry(
    input: &Plugin,
    default: &str,
    settings: &Settings,
    diagnostics: &mut Diagnostics,
) -> Option<Entry> {
    let mut options =
        Options::new(input, "input", diagnostics).with_escape_style(settings.escape_style);
    let ecs = settings.ecs_compatibility.is_enabled();
    // `plain` as the default keeps a codec `json` what it is: each text is one document.
    let default = if options.has("codec") {
        "plain"
    } else {
        default
    };
    let (plugin, codec) = plugins::codec(&mut options, default, ecs, settings)?;
    let decoration = Decoration::from_options(&mut options);
    if !options.is_valid() {
        return None;
    }
    let is_stream = STREAMS.contains(&plugin.name.value.as_str());
    let delimiter = plugin
        .attributes
        .iter()
        .find(|attribute| attribute.name.value == "delimiter")
        .and_then(|attribute| attribute.value.value.as_text())
        .filter(|delimiter| !delimiter.is_empty())
        .unwrap_or("\n");
    Some(Entry {
        name: plugin.name.value.clone(),
        codec,
        delimiter: is_stream.then(|| delimiter.as_bytes().to_vec()),
        chomp: false,
        decoration,
    })
}

/// Codecs whose records are lines.
const STREAMS: &[&str] = &["es_bulk", "graphite", "json_lines", "line", "multiline"];

/// Whether a filter makes the same of an event whatever came before.
fn is_forgetful(plugin: &Plugin) -> bool {
    // The first event names the columns.
    let learns = |name: &str| name == "autodetect_column_names";
    let mut attributes = plugin.attributes.iter();
    FORGETFUL.contains(&plugin.name.value.as_str())
        && !attributes.any(|attribute| learns(&attribute.name.value))
}

/// Filters that make the same of an event whatever came before. One that is not known here is
/// taken to remember something, which costs time and nothing else.
const FORGETFUL: &[&str] = &[
    "anonymize",
    "bytes",
    "cidr",
    "clone",
    "csv",
    "date",
    "de_dot",
    "dissect",
    "drop",
    "fingerprint",
    "geoip",
    "grok",
    "json",
    "json_encode",
    "kv",
    "mutate",
    "prune",
    "redact",
    "split",
    "syslog_pri",
    "tld",
    "translate",
    "truncate",
    "urldecode",
    "useragent",
    "uuid",
    "xml",
];

fn parse_options(settings: &Settings) -> ParseOptions {
    ParseOptions {
        support_escapes: settings.support_escapes,
        escape_style: settings.escape_style,
    }
}

/// Parses the texts and puts the mocks in.
fn parse(
    sources: &mut SourceMap,
    mocks: &[Mock],
    settings: &Settings,
    diagnostics: &mut Diagnostics,
) -> (Config, Vec<Spanned<String>>) {
    let first_mock = sources.len() as u32;
    for mock in mocks {
        let name = format!("mock of `{}`", mock.id.value);
        sources.add(name, format!("filter {{\n{}\n}}\n", mock.text));
    }
    let mut config = language::parse(sources, parse_options(settings), diagnostics);
    // Mocks were read as if they were filters at the end.
    let split = config
        .filters
        .iter()
        .position(|statement| statement.span().source >= first_mock);
    let stand_ins = config
        .filters
        .split_off(split.unwrap_or(config.filters.len()));
    let mut unused = Vec::new();
    for (number, mock) in (first_mock..).zip(mocks) {
        let stand_in: Vec<Statement> = stand_ins
            .iter()
            .filter(|statement| statement.span().source == number)
            .cloned()
            .map(|statement| named(statement, &mock.id))
            .collect();
        let mut used = false;
        for section in Section::ALL {
            used |= replace(config.section_mut(section), &mock.id.value, &stand_in);
        }
        if !used {
            unused.push(mock.id.clone());
        }
    }
    (config, unused)
}

/// A stand-in has the `id` of what it stands in for, unless it has one of its own.
fn named(statement: Statement, id: &Spanned<String>) -> Statement {
    let Statement::Plugin(mut plugin) = statement else {
        return statement;
    };
    if id_of(&plugin).is_none() {
        let span = plugin.name.span;
        plugin.attributes.push(language::Attribute {
            name: Spanned::new("id".to_owned(), span),
            value: Spanned::new(Value::String(id.value.clone()), span),
        });
    }
    Statement::Plugin(plugin)
}

/// Puts statements in place of the plugin with an `id`, wherever it stands.
fn replace(statements: &mut Vec<Statement>, id: &str, stand_in: &[Statement]) -> bool {
    let mut replaced = false;
    let mut at = 0;
    while at < statements.len() {
        match &mut statements[at] {
            Statement::Plugin(plugin) if id_of(plugin) == Some(id) => {
                statements.splice(at..=at, stand_in.iter().cloned());
                at += stand_in.len();
                replaced = true;
                continue;
            }
            Statement::Plugin(_) => {}
            Statement::If(branches) => {
                for branch in &mut branches.branches {
                    replaced |= replace(&mut branch.body, id, stand_in);
                }
                if let Some(otherwise) = &mut branches.otherwise {
                    replaced |= replace(otherwise, id, stand_in);
                }
            }
        }
        at += 1;
    }
    replaced
}

fn keep_options(statement: &mut Statement, names: &[&str]) {
    match statement {
        Statement::Plugin(plugin) => plugin
            .attributes
            .retain(|attribute| names.contains(&attribute.name.value.as_str())),
        Statement::If(branches) => {
            let bodies = branches
                .branches
                .iter_mut()
                .flat_map(|branch| &mut branch.body);
            for statement in bodies.chain(branches.otherwise.iter_mut().flatten()) {
                keep_options(statement, names);
            }
        }
    }
}

fn for_plugins(statements: &[Statement], each: &mut dyn FnMut(&Plugin)) {
    for statement in statements {
        match statement {
            Statement::Plugin(plugin) => each(plugin),
            Statement::If(branches) => {
                for branch in &branches.branches {
                    for_plugins(&branch.body, each);
                }
                for_plugins(branches.otherwise.as_deref().unwrap_or_default(), each);
            }
        }
    }
}

fn compile(
    config: &Config,
    settings: &Settings,
    diagnostics: &mut Diagnostics,
) -> Option<Pipeline> {
    let options = CompileOptions {
        ecs: settings.ecs_compatibility.is_enabled(),
        escape_style: settings.escape_style,
        files: &Disk,
    };
    let pipeline = skidder_pipeline::compile(config, &options, diagnostics);
    pipeline.filter(|_| !diagnostics.has_errors())
}

fn id_of(plugin: &Plugin) -> Option<&str> {
    let attributes = plugin.attributes.iter();
    let id = attributes
        .clone()
        .find(|attribute| attribute.name.value == "id");
    id.and_then(|id| id.value.value.as_text())
}

/// What outputs are called: their `id`, or the plugin's name with a number from the second on.
fn names_of(plugins: &[Plugin]) -> Vec<String> {
    let mut names = Vec::with_capacity(plugins.len());
    for (at, plugin) in plugins.iter().enumerate() {
        let kind = &plugin.name.value;
        let before = plugins[..at]
            .iter()
            .filter(|other| other.name.value == *kind);
        let name = match (id_of(plugin), before.count()) {
            (Some(id), _) => id.to_owned(),
            (None, 0) => kind.clone(),
            (None, others) => format!("{kind}#{}", others + 1),
        };
        names.push(name);
    }
    names
}

/// What to say of a mock in a case file for which there is no plugin.
pub(super) fn unused_mock(id: &Spanned<String>) -> Diagnostic {
    let message = format!("the configuration has no plugin with the id `{}`", id.value);
    Diagnostic::error(id.span, message).hint("set `id => …` in the plugin that is to be replaced")
}
