//! What the subcommands do, up to the exit code.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use skidder_pipeline::filter::dns;
use skidder_pipeline::language::{self, Config, Diagnostics, ParseOptions, SourceMap, Variables};
use skidder_pipeline::{CompileOptions, Files, Pipeline};

use crate::check::{self, CheckOptions};
use crate::cli::{self, ExplainArguments, FilterArguments, FormatArguments};
use crate::dead_letter_command::DeadLetterCommand;
use crate::filter_command::{self, Format};
use crate::names::NameServers;
use crate::queue::command::{CommandError, QueueCommand};
use crate::runtime::Shared;
use crate::selection::Selection;
use crate::settings::Settings;
use crate::sources::SourceError;
use crate::{
    dead_letter_command, doctor, explain, format_command, links, log, lsp, manual, output, queue,
    runtime, selection, sources,
};

/// Runs the pipelines, or with `-t` only checks them.
pub fn run(settings: &Settings) -> u8 {
    log::start(settings.log_level);
    for (name, why) in &settings.without_effect {
        tracing::warn!(setting = name, "has no effect: {why}");
    }
    if let Some(conflict) = settings.conflict() {
        log::complain(&conflict);
        return cli::EXIT_CONFIG;
    }
    if settings.test_and_exit {
        return check::run(settings, CheckOptions::default());
    }
    selection::say_ignored(settings);
    match selection::all(settings) {
        Ok(Selection::One(settings)) => {
            start(&settings, std::slice::from_ref(&settings), Use::Run, false)
        }
        Ok(Selection::File(pipelines)) => {
            show(&pipelines.findings, &pipelines.sources);
            if pipelines.findings.has_errors() {
                return cli::EXIT_CONFIG;
            }
            for pipeline in &pipelines.settings {
                for (name, why) in &pipeline.without_effect {
                    tracing::warn!(
                        pipeline = pipeline.pipeline_id,
                        setting = name,
                        "has no effect: {why}"
                    );
                }
            }
            start(settings, &pipelines.settings, Use::Run, true)
        }
        Err(error) => {
            log::complain(&error);
            cli::EXIT_CONFIG
        }
    }
}

/// Says what is wrong with a configuration.
pub fn check(settings: &Settings, options: CheckOptions) -> u8 {
    log::start(settings.log_level);
    check::run(settings, options)
}

/// Tries what the outputs of a configuration need of other machines.
pub fn doctor(settings: &Settings, as_json: bool) -> u8 {
    log::start(settings.log_level);
    let pipelines = match selection::all(settings) {
        Ok(Selection::One(settings)) => vec![*settings],
        Ok(Selection::File(pipelines)) => {
            show(&pipelines.findings, &pipelines.sources);
            if pipelines.findings.has_errors() {
                return cli::EXIT_CONFIG;
            }
            pipelines.settings
        }
        Err(error) => {
            log::complain(&error);
            return cli::EXIT_CONFIG;
        }
    };
    let mut all = Vec::new();
    for settings in pipelines {
        let Some((_, pipeline, mut diagnostics, sources)) = load(&settings, Use::Run) else {
            return cli::EXIT_CONFIG;
        };
        let outputs = output::build(&settings, &pipeline.output_plugins, &mut diagnostics);
        show(&diagnostics, &sources);
        if diagnostics.has_errors() {
            return cli::EXIT_CONFIG;
        }
        all.push((settings.pipeline_id, outputs));
    }
    doctor::run(all, as_json)
}

/// Brings configurations into one form.
pub fn format(arguments: &FormatArguments) -> u8 {
    log::start(arguments.settings.log_level);
    format_command::run(arguments)
}

/// Serves an editor.
pub fn language_server(settings: &Settings) -> u8 {
    log::start(settings.log_level);
    lsp::run(settings)
}

/// Delivers dead letters again: a run with another input.
pub fn replay(settings: &Settings, through_pipeline: bool, dry_run: bool) -> u8 {
    log::start(settings.log_level);
    let Some(mut settings) = selection::one(settings) else {
        return cli::EXIT_CONFIG;
    };
    // What is delivered here is in the dead letters until then, and the queue may be in use.
    settings.queue.persisted = false;
    // And it has a port.
    settings.api.enabled = false;
    settings.queue.own_queues = false;
    let replay = Use::Replay {
        through_pipeline,
        dry_run,
    };
    start(&settings, std::slice::from_ref(&settings), replay, false)
}

/// Starts pipelines. COMPAT: one whose configuration is refused keeps the others from nothing; the exit code tells.
fn start(process: &Settings, pipelines: &[Settings], purpose: Use, named: bool) -> u8 {
    let shared = Arc::new(Shared::new(process, named));
    let mut ready: Vec<Ready> = pipelines
        .iter()
        .filter_map(|settings| prepare(settings, purpose, &shared))
        .collect();
    let links: Vec<_> = ready.iter().map(|each| each.plan.links.clone()).collect();
    for (number, finding) in links::check(&links, ready.len() == pipelines.len()) {
        ready[number].diagnostics.push(finding);
    }
    let plans: Vec<_> = ready.into_iter().filter_map(Ready::shown).collect();
    let runs = |id: &str| plans.iter().any(|plan| plan.links.id == id);
    let refused: Vec<(String, u64)> = pipelines
        .iter()
        .filter(|settings| !runs(&settings.pipeline_id))
        .map(|settings| (settings.pipeline_id.clone(), fingerprint(settings)))
        .collect();
    if plans.is_empty() {
        return cli::EXIT_CONFIG;
    }
    for (id, _) in &refused {
        tracing::error!(
            pipeline = id,
            "the configuration is refused, the other pipelines run without this one"
        );
    }
    let source = Configuration {
        process: process.clone(),
        purpose,
    };
    match runtime::run(process, plans, refused, shared, Arc::new(source)) {
        Ok(runtime::Ended::Well) => cli::EXIT_OK,
        Ok(runtime::Ended::WithRefused) => cli::EXIT_CONFIG,
        Err(error) => {
            log::complain(&error);
            cli::EXIT_FAILED
        }
    }
}

/// The configuration of a process that runs, looked at again.
struct Configuration {
    process: Settings,
    purpose: Use,
}

impl runtime::Source for Configuration {
    fn find(&self) -> Option<Vec<runtime::Found>> {
        let pipelines = match selection::all(&self.process) {
            Ok(Selection::One(settings)) => vec![*settings],
            Ok(Selection::File(pipelines)) if pipelines.findings.has_errors() => {
                show(&pipelines.findings, &pipelines.sources);
                tracing::error!("what has changed is refused: everything runs as before");
                return None;
            }
            Ok(Selection::File(pipelines)) => pipelines.settings,
            Err(error) => {
                tracing::error!(%error, "cannot read the configuration: everything runs as before");
                return None;
            }
        };
        let found = pipelines.into_iter().map(|settings| runtime::Found {
            fingerprint: fingerprint(&settings),
            settings,
        });
        Some(found.collect())
    }

    fn build(&self, settings: &Settings, shared: &Shared) -> Option<runtime::Plan> {
        prepare(settings, self.purpose, shared)?.shown()
    }
}

/// A number that is another one when a pipeline's settings or texts are.
fn fingerprint(settings: &Settings) -> u64 {
    // What there is to say about files is said when they are read to be used.
    let silence = tracing::subscriber::NoSubscriber::default();
    let sources = tracing::subscriber::with_default(silence, || sources(settings));
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    let settings = Settings {
        // It depends on the number of the other pipelines.
        queue_max_memory: 0,
        ..settings.clone()
    };
    hash.update(format!("{settings:?}").as_bytes());
    let sources = match sources {
        Ok(sources) => sources,
        Err(error) => SourceMap::single("", error.to_string()),
    };
    for source in sources.iter() {
        for part in [source.name.as_bytes(), source.text.as_bytes()] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.digest()
}

/// A pipeline that can start, if the others do not contradict.
struct Ready {
    plan: runtime::Plan,
    config: Config,
    diagnostics: Diagnostics,
    sources: SourceMap,
}

impl Ready {
    /// Shows what was found; gives the plan if that is no error.
    fn shown(mut self) -> Option<runtime::Plan> {
        manual::link_findings(&mut self.diagnostics, &self.config);
        show(&self.diagnostics, &self.sources);
        (!self.diagnostics.has_errors()).then_some(self.plan)
    }
}

/// Reads and builds a pipeline; shows why, if that cannot be.
fn prepare(settings: &Settings, purpose: Use, shared: &Shared) -> Option<Ready> {
    // Before it is read: what changes meanwhile is found by the next look.
    let fingerprint = fingerprint(settings);
    let (config, pipeline, mut diagnostics, sources) = load(settings, purpose)?;
    let settings = &Settings {
        config_hash: hash(&sources),
        ..settings.clone()
    };
    let plan = runtime::plan(settings, &config, pipeline, shared, &mut diagnostics);
    match plan {
        Some(plan) if !diagnostics.has_errors() => Some(Ready {
            plan: plan.with_fingerprint(fingerprint),
            config,
            diagnostics,
            sources,
        }),
        _ => {
            manual::link_findings(&mut diagnostics, &config);
            show(&diagnostics, &sources);
            None
        }
    }
}

/// Applies the filters of a configuration to standard input.
pub fn filter(arguments: &FilterArguments) -> u8 {
    log::start(arguments.settings.log_level);
    let Some(settings) = selection::one(&arguments.settings) else {
        return cli::EXIT_CONFIG;
    };
    let Some((_, pipeline, diagnostics, sources)) = load(&settings, Use::Filter) else {
        return cli::EXIT_CONFIG;
    };
    show(&diagnostics, &sources);
    let format = Format {
        lines: arguments.lines,
        metadata: arguments.metadata,
    };
    let input = std::io::stdin();
    let mut output = std::io::stdout().lock();
    let done = filter_command::run(
        &pipeline,
        format,
        settings.workers_or(false),
        input,
        &mut output,
    );
    match done {
        Ok(()) => cli::EXIT_OK,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => cli::EXIT_OK,
        Err(error) => {
            log::complain(&error);
            cli::EXIT_FAILED
        }
    }
}

/// Shows what the filters of a configuration do with the lines of standard input.
pub fn explain(arguments: &ExplainArguments) -> u8 {
    log::start(arguments.settings.log_level);
    let Some(settings) = &selection::one(&arguments.settings) else {
        return cli::EXIT_CONFIG;
    };
    let Some((config, _, diagnostics, sources)) = load(settings, Use::Filter) else {
        return cli::EXIT_CONFIG;
    };
    show(&diagnostics, &sources);
    let format = explain::Format {
        lines: arguments.lines,
        json: arguments.json,
    };
    let options = CompileOptions {
        ecs: settings.ecs_compatibility.is_enabled(),
        escape_style: settings.escape_style,
        files: &Disk,
    };
    let input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    match explain::run(&config, &sources, &options, format, input, &mut output) {
        Ok(()) => cli::EXIT_OK,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => cli::EXIT_OK,
        Err(error) => {
            log::complain(&error);
            cli::EXIT_FAILED
        }
    }
}

/// Looks at a disk queue, or repairs it.
pub fn queue(command: QueueCommand, settings: &Settings) -> u8 {
    log::start(settings.log_level);
    let pipelines = match selection::on_disk(settings) {
        Ok(pipelines) => pipelines,
        Err(error) => {
            log::complain(&error);
            return cli::EXIT_CONFIG;
        }
    };
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let done = queue::command::run_all(command, &pipelines, &mut output);
    let done = done.and_then(|()| output.flush().map_err(CommandError::Output));
    match done {
        Ok(()) => cli::EXIT_OK,
        Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            cli::EXIT_OK
        }
        Err(error) => {
            // What was found before the error is part of the answer.
            let _flushed = output.flush();
            log::complain(&error);
            cli::EXIT_FAILED
        }
    }
}

/// Looks at dead letters, or removes them.
pub fn dead_letters(command: &DeadLetterCommand, settings: &Settings) -> u8 {
    use crate::dead_letter_command::CommandError;
    log::start(settings.log_level);
    let pipelines = match selection::on_disk(settings) {
        Ok(pipelines) => pipelines,
        Err(error) => {
            log::complain(&error);
            return cli::EXIT_CONFIG;
        }
    };
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let done = dead_letter_command::run_all(command, &pipelines, &mut output);
    match done.and_then(|()| output.flush().map_err(CommandError::Output)) {
        Ok(()) => cli::EXIT_OK,
        Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            cli::EXIT_OK
        }
        Err(error) => {
            log::complain(&error);
            cli::EXIT_FAILED
        }
    }
}

/// Reads and compiles the configuration; prints what is wrong with it and gives nothing if it
/// is refused.
fn load(settings: &Settings, purpose: Use) -> Option<(Config, Pipeline, Diagnostics, SourceMap)> {
    let mut sources = match sources(settings) {
        Ok(sources) => sources,
        Err(error) => {
            log::complain(&error);
            return None;
        }
    };
    let options = ParseOptions {
        support_escapes: settings.support_escapes,
        escape_style: settings.escape_style,
    };
    let mut diagnostics = Diagnostics::new();
    let mut config = language::parse(&sources, options, &mut diagnostics);
    match purpose {
        Use::Run if settings.config_string.is_some() => {
            add_defaults(&mut config, &mut sources, options, &diagnostics);
        }
        Use::Replay {
            through_pipeline,
            dry_run,
        } => {
            turn_to_letters(&mut config, &mut sources, settings, options, dry_run);
            if !through_pipeline {
                config.filters.clear();
            }
        }
        Use::Run | Use::Filter => {}
    }
    let variables = Variables {
        secrets: &|_| None,
        environment: &|name| std::env::var(name).ok(),
    };
    language::substitute(&mut config, &variables, &mut diagnostics);
    let compile_options = CompileOptions {
        ecs: settings.ecs_compatibility.is_enabled(),
        escape_style: settings.escape_style,
        files: &Disk,
    };
    let pipeline = skidder_pipeline::compile(&config, &compile_options, &mut diagnostics);
    manual::link_findings(&mut diagnostics, &config);
    match pipeline {
        Some(pipeline) if !diagnostics.has_errors() => {
            Some((config, pipeline, diagnostics, sources))
        }
        _ => {
            show(&diagnostics, &sources);
            None
        }
    }
}

/// The texts of the configuration that the settings name.
pub(crate) fn sources(settings: &Settings) -> Result<SourceMap, SourceError> {
    match (&settings.config_string, &settings.path_config) {
        (Some(_), Some(_)) => Err(SourceError::Both),
        (Some(text), None) if settings.in_file => {
            Ok(sources::from_text_of(&settings.pipeline_id, text))
        }
        (Some(text), None) => Ok(sources::from_text(text)),
        (None, Some(pattern)) => sources::from_path(pattern),
        (None, None) => Err(SourceError::None(settings.pipelines_file())),
    }
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug)]
enum Use {
    Run,
    Filter,
    Replay {
        through_pipeline: bool,
        dry_run: bool,
    },
}

/// A hash of the configuration, as it is written: whoever looks at a dead letter can tell whether
/// it was another one.
fn hash(sources: &SourceMap) -> String {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for source in sources.iter() {
        hash.update(source.text.as_bytes());
        hash.update(&[0]);
    }
    format!("{:016x}", hash.digest())
}

/// Makes the dead letters the only input; in a dry run the screen is the only output.
fn turn_to_letters(
    config: &mut Config,
    sources: &mut SourceMap,
    settings: &Settings,
    options: ParseOptions,
    dry_run: bool,
) {
    let path = settings.dead_letters();
    let path = path.display();
    let id = &settings.pipeline_id;
    let mut text = format!(
        "input {{ dead_letter_queue {{ path => '{path}' pipeline_id => '{id}' follow => false \
         commit_offsets => {} clean_consumed => {} }} }}\n",
        !dry_run, !dry_run
    );
    if dry_run {
        text.push_str("output { stdout { codec => json_lines } }\n");
    }
    let (inputs, outputs) = (config.inputs.len(), config.outputs.len());
    sources.add("replay", text.as_str());
    // What is wrong with the rest has been said.
    let mut again = Diagnostics::new();
    let mut whole = language::parse(sources, options, &mut again);
    config.inputs = whole.inputs.split_off(inputs.min(whole.inputs.len()));
    if dry_run {
        config.outputs = whole.outputs.split_off(outputs.min(whole.outputs.len()));
    }
}

/// COMPAT: a configuration given as text reads stdin and prints, if it does not say otherwise.
pub(crate) fn add_defaults(
    config: &mut Config,
    sources: &mut SourceMap,
    options: ParseOptions,
    diagnostics: &Diagnostics,
) {
    let mut text = String::new();
    if config.inputs.is_empty() {
        text.push_str("input { stdin { type => stdin } }\n");
    }
    if config.outputs.is_empty() {
        text.push_str("output { stdout { codec => rubydebug } }\n");
    }
    if !text.is_empty() {
        // The sources are parsed anew with the addition behind them, so that places stay right.
        sources.add("defaults", text.as_str());
        let mut again = Diagnostics::new();
        let whole = language::parse(sources, options, &mut again);
        if !diagnostics.has_errors() {
            *config = whole;
        }
    }
}

fn show(diagnostics: &Diagnostics, sources: &SourceMap) {
    if !diagnostics.is_empty() {
        log::say(&diagnostics.render(sources, log::color()));
    }
}

/// Files that filters name (pattern files, dictionaries), and name servers.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn list(&self, directory: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn resolver(&self, settings: dns::Settings) -> Result<Arc<dyn dns::Resolver>, String> {
        Ok(Arc::new(NameServers::new(settings)))
    }
}
